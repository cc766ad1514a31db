"""The safetensors format: eight bytes of length, a JSON header, the tensors' bytes."""
import json
import struct

import numpy

TYPES = {"F32": numpy.dtype("<f4"), "I64": numpy.dtype("<i8")}
NAMES = {dtype: name for name, dtype in TYPES.items()}


def write(path, tensors):
    """tensors: name -> array of float32 or int64."""
    header, offset, parts = {}, 0, []
    for name, tensor in tensors.items():
        array = numpy.asarray(tensor, order="C")
        header[name] = {"dtype": NAMES[array.dtype], "shape": array.shape,
                        "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
        parts.append(array)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in parts:
            file.write(array.data)


def read(path):
    """Returns name -> array."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = numpy.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors
