#!/usr/bin/env python3
"""Compares nibble's integer inference with ONNX Runtime's: images per second of the same network, paired in one run.

The ONNX side is a QDQ graph (QuantizeLinear / DequantizeLinear around every operator) with u8 activations and s8
weights, per output channel, built here with random values: speed does not depend on them. The nibble side is a model
that `nibble lower` wrote. Both take a float image. The programs take turns, so that a machine that slows down slows
down both; the medians over the rounds are compared.

Needs the packages onnx and onnxruntime from PyPI:  python3 -m venv ort && ort/bin/pip install onnx onnxruntime

usage: ort/bin/python apps/bench/compare_onnxruntime.py --model MODEL [--network resnet20] [--batch 1 128]
           [--threads 1 2] [--rounds 5] [--seconds 1.0] [--float] [--isa avx2] [--nibble build/nibble] [--json FILE]
       ort/bin/python apps/bench/compare_onnxruntime.py --bitwise [lq dorefa] [--batch 1] [--threads 1] [...]
--model is nibble's file; with --float the ONNX side computes in float, without quantizers. --isa limits nibble alone.
--bitwise compares networks of few bits with ONNX Runtime's float: ResNet-18 at 224 with 1/1, 1/2 and 2/2 bits (weights
/ activations) and VGG-Small with 1/2, first convolution and classifier at 8 bits. By default with LQ-Nets, whose levels
are learned; DoReFa's are equally spaced. Their nibble side is made on the spot: random weights, quantizers calibrated
on noise, engine auto.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """An ONNX graph under construction; values are (name, channels, size) triples."""

    def __init__(self, image, quantized):
        self.nodes, self.constants, self.count = [], [], 0
        self.random = np.random.default_rng(1)
        self.quantized = quantized
        self.highest = None  # ReLU6 where it is 6
        self.input = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *image])

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op, inputs, **attributes):
        self.count += 1
        name = f"v{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def codes(self, name, scale=0.05, zero=128):
        """Rounds a value to u8 and back, which is what marks an edge as quantized."""
        if not self.quantized:
            return name
        grid = [self.constant(np.float32(scale)), self.constant(np.uint8(zero))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [name, *grid])] + grid)

    def weight(self, shape):
        if not self.quantized:
            return self.constant(self.random.normal(0, 0.05, shape).astype(np.float32))
        codes = self.random.integers(-127, 128, shape, dtype=np.int8)
        scale = self.constant(np.full(shape[0], 0.001, np.float32))
        zero = self.constant(np.zeros(shape[0], np.int8))
        return self.node("DequantizeLinear", [self.constant(codes), scale, zero], axis=0)

    def bias(self, channels):
        if not self.quantized:
            return self.constant(np.zeros(channels, np.float32))
        scale = self.constant(np.full(channels, 0.001 * 0.05, np.float32))
        zero = self.constant(np.zeros(channels, np.int32))
        return self.node("DequantizeLinear", [self.constant(np.zeros(channels, np.int32)), scale, zero], axis=0)

    def conv(self, x, out, kernel, stride=1, groups=1, relu=True):
        name, channels, size = x
        pad = kernel // 2
        y = self.node("Conv", [name, self.weight((out, channels // groups, kernel, kernel)), self.bias(out)],
                      kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[pad] * 4, group=groups)
        if relu and self.highest:
            ends = [self.constant(np.float32(end)) for end in (0, self.highest)]
            y = self.codes(self.node("Clip", [y, *ends]), scale=self.highest / 255, zero=0)
        elif relu:
            y = self.codes(self.node("Relu", [y]), zero=0)
        else:
            y = self.codes(y)
        return y, out, (size + 2 * pad - kernel) // stride + 1

    def add(self, x, y, relu=True):
        name = self.node("Add", [x[0], y[0]])
        if relu:
            name = self.node("Relu", [name])
        return self.codes(name, zero=0 if relu else 128), x[1], x[2]

    def head(self, x, classes):
        name = self.codes(self.node("GlobalAveragePool", [x[0]]), zero=0)
        name = self.node("Flatten", [name])
        name = self.node("Gemm", [name, self.weight((classes, x[1])), self.bias(classes)], transB=1)
        self.nodes.append(helper.make_node("Identity", [self.codes(name)], ["logits"]))

    def model(self, classes):
        output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])
        graph = helper.make_graph(self.nodes, "network", [self.input], [output], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def resnet20(quantized):
    b = Builder((3, 32, 32), quantized)
    x = b.conv((b.codes("image"), 3, 32), 16, 3)
    for out, first in ((16, 1), (32, 2), (64, 2)):
        for index in range(3):
            stride = first if index == 0 else 1
            y = b.conv(b.conv(x, out, 3, stride), out, 3, relu=False)
            if stride == 2:  # option A: every second pixel, zeros for the new channels
                even = [b.constant(np.array(v, np.int64)) for v in ([0, 0], [2**31, 2**31], [2, 3], [2, 2])]
                name = b.node("Slice", [x[0], *even])
                quarter = out // 4
                pads = b.constant(np.array([0, quarter, 0, 0, 0, quarter, 0, 0], np.int64))
                x = (b.codes(b.node("Pad", [name, pads]), zero=0), out, y[2])
            x = b.add(y, x)
    b.head(x, 10)
    return b.model(10), (3, 32, 32)


def resnet18(quantized):
    b = Builder((3, 224, 224), quantized)
    x = b.conv((b.codes("image"), 3, 224), 64, 7, 2)
    x = (b.codes(b.node("MaxPool", [x[0]], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), zero=0), 64, 56)
    for out, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for index in range(2):
            stride = first if index == 0 else 1
            y = b.conv(b.conv(x, out, 3, stride), out, 3, relu=False)
            x = b.add(y, x if stride == 1 else b.conv(x, out, 1, stride, relu=False))
    b.head(x, 1000)
    return b.model(1000), (3, 224, 224)


def mobilenet_v1(quantized, highest=6):
    b = Builder((3, 224, 224), quantized)
    b.highest = highest
    x = b.conv((b.codes("image"), 3, 224), 32, 3, 2)
    for out, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1)):
        x = b.conv(b.conv(x, x[1], 3, stride, groups=x[1]), out, 1)
    b.head(x, 1000)
    return b.model(1000), (3, 224, 224)


def mobilenet_v1_relu(quantized):
    """With ReLU in place of the network's ReLU6: ONNX Runtime fuses it better."""
    return mobilenet_v1(quantized, None)


def vgg_small(quantized):
    b = Builder((3, 32, 32), quantized)
    x = (b.codes("image"), 3, 32)
    for out in (128, 256, 512):
        x = b.conv(b.conv(x, out, 3), out, 3)
        x = (b.node("MaxPool", [x[0]], kernel_shape=[2, 2], strides=[2, 2]), out, x[2] // 2)
    name = b.node("Flatten", [x[0]])
    name = b.node("Gemm", [name, b.weight((10, x[1] * x[2] ** 2)), b.bias(10)], transB=1)
    b.nodes.append(helper.make_node("Identity", [b.codes(name)], ["logits"]))
    return b.model(10), (3, 32, 32)


NETWORKS = {
    "resnet20": resnet20,
    "resnet18": resnet18,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_relu": mobilenet_v1_relu,
    "vgg_small": vgg_small,
}

# Network, its first convolution, bits of weights and of activations.
BITWISE = (("resnet18", "conv1", 1, 1), ("resnet18", "conv1", 1, 2), ("resnet18", "conv1", 2, 2),
           ("vgg_small", "conv1_1", 1, 2))


def time_ort(network, quantized, batch, threads, seconds):
    """Images per second: the median over passes that fill the given time."""
    model, image = NETWORKS[network](quantized)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"image": np.random.default_rng(2).normal(size=(batch, *image)).astype(np.float32)}
    for _ in range(5):
        session.run(None, feed)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return batch / statistics.median(times)


def run_nibble(args, *command):
    done = subprocess.run([args.nibble, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join([args.nibble, *command])}: exit code {done.returncode}")


def make_bitwise(args, folder, method, network, first, weight, act):
    """Writes a lowered network with random weights; returns its file."""
    def quantizer(bits):
        return {"type": method, "bits": bits}
    eight = {"type": "lsq", "bits": 8}
    rules = [{"match": f"{first}|fc", "weight": eight, "act": eight},
             {"match": "*", "weight": quantizer(weight), "act": quantizer(act)}]
    stem = os.path.join(folder, f"{network}-{weight}{act}")
    for suffix, config in (("model", {"model": {"type": network}}), ("quant", {"quant": rules})):
        with open(f"{stem}-{suffix}.json", "w", encoding="utf-8") as file:
            json.dump(config, file)
    run_nibble(args, "init", f"{stem}-model.json", "-o", f"{stem}.ckpt")
    run_nibble(args, "quantize", f"{stem}.ckpt", "--config", f"{stem}-quant.json", "--noise", "16", "-o", f"{stem}.q")
    run_nibble(args, "lower", f"{stem}.q", "-o", f"{stem}.nib", "--threads", "1")
    return f"{stem}.nib"


def time_nibble(args, model, batch, threads):
    command = [args.nibble, "bench", model, "--batch", str(batch), "--threads", str(threads), "--json"]
    command += ["--steps", str(max(5, int(args.seconds * 2000 / batch)))] + (["--isa", args.isa] if args.isa else [])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout)["images_per_second"]


def run_ort_child(args, network, batch, threads):
    """In a process of its own, so that idle threads of one side do not disturb the other."""
    command = [sys.executable, os.path.abspath(__file__), "--child", "--network", network, "--model", "-",
               "--batch", str(batch), "--threads", str(threads), "--seconds", str(args.seconds)]
    command += ["--float"] if args.float else []
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout)


def measure(args, network, model, label):
    """Prints and returns a row for every batch and number of threads."""
    rows = []
    for batch in args.batch:
        for threads in args.threads:
            ours, theirs = [], []
            for _ in range(args.rounds):
                ours.append(time_nibble(args, model, batch, threads))
                theirs.append(run_ort_child(args, network, batch, threads))
            row = {"network": label, "batch": batch, "threads": threads, "nibble": statistics.median(ours),
                   "onnxruntime": statistics.median(theirs)}
            row["ratio"] = row["nibble"] / row["onnxruntime"]
            rows.append(row)
            print(f"{label:21}{batch:6}{threads:9}{row['nibble']:10.0f}{row['onnxruntime']:13.0f}{row['ratio']:8.2f}",
                  flush=True)
    return rows


def measure_bitwise(args):
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for method in args.bitwise:
            for network, first, weight, act in BITWISE:
                model = make_bitwise(args, folder, method, network, first, weight, act)
                rows += measure(args, network, model, f"{network} {weight}/{act} {method}")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--bitwise", choices=("lq", "dorefa"), nargs="*")
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resnet20")
    parser.add_argument("--batch", type=int, nargs="+")
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--float", action="store_true")
    parser.add_argument("--isa")
    parser.add_argument("--nibble", default="build/nibble")
    parser.add_argument("--json")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(time_ort(args.network, not args.float, args.batch[0], args.threads[0], args.seconds)))
        return

    bitwise = args.bitwise is not None
    if (args.model is None) != bitwise:
        parser.error("expected --model or --bitwise")
    args.bitwise = args.bitwise or ["lq"]
    args.float = args.float or bitwise
    args.batch = args.batch or ([1] if bitwise else [1, 128])
    args.threads = args.threads or ([1] if bitwise else [1, 2])

    kind = "float" if args.float else "int8 QDQ"
    what = "networks of few bits" if bitwise else args.model
    print(f"nibble ({what}) and ONNX Runtime {ort.__version__} {kind}, images/s")
    print(f"{'network':21}{'batch':>6}{'threads':>9}{'nibble':>10}{'onnxruntime':>13}{'ratio':>8}")
    rows = measure_bitwise(args) if bitwise else measure(args, args.network, args.model, args.network)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"kind": kind, "rows": rows, "onnx": onnx.__version__,
                       "onnxruntime": ort.__version__}, file, indent=1)


if __name__ == "__main__":
    main()
