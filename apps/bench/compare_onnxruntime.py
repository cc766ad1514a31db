#!/usr/bin/env python3
"""Compares nibble's integer inference with ONNX Runtime's: images per second of the same network, paired in one run.

The ONNX side is a QDQ graph (QuantizeLinear / DequantizeLinear around every operator) with u8 activations and s8
weights, per output channel, built here with random values: speed does not depend on them. The nibble side is a model
that `nibble lower` wrote. Both take a float image. The programs take turns, so that a machine that slows down slows
down both; the medians over the rounds are compared.

Needs the packages onnx and onnxruntime from PyPI:  python3 -m venv ort && ort/bin/pip install onnx onnxruntime

usage: ort/bin/python apps/bench/compare_onnxruntime.py --model MODEL [--network resnet20] [--batch 1 128]
           [--threads 1 2] [--rounds 5] [--seconds 1.0] [--float] [--isa avx2] [--nibble build/nibble] [--json FILE]
--model is nibble's file; with --float the ONNX side computes in float, without quantizers. --isa limits nibble alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
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


NETWORKS = {
    "resnet20": resnet20,
    "resnet18": resnet18,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_relu": mobilenet_v1_relu,
}


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


def time_nibble(args, batch, threads):
    command = [args.nibble, "bench", args.model, "--batch", str(batch), "--threads", str(threads), "--json"]
    command += ["--steps", str(max(5, int(args.seconds * 2000 / batch)))] + (["--isa", args.isa] if args.isa else [])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout)["images_per_second"]


def run_ort_child(args, batch, threads):
    """In a process of its own, so that idle threads of one side do not disturb the other."""
    command = [sys.executable, os.path.abspath(__file__), "--child", "--network", args.network, "--model", "-",
               "--batch", str(batch), "--threads", str(threads), "--seconds", str(args.seconds)]
    command += ["--float"] if args.float else []
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resnet20")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 128])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
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

    kind = "float" if args.float else "int8 QDQ"
    print(f"{args.network}: nibble {args.model} and ONNX Runtime {ort.__version__} {kind}, images/s")
    print(f"{'batch':>6}{'threads':>9}{'nibble':>10}{'onnxruntime':>13}{'ratio':>8}")
    rows = []
    for batch in args.batch:
        for threads in args.threads:
            ours, theirs = [], []
            for _ in range(args.rounds):
                ours.append(time_nibble(args, batch, threads))
                theirs.append(run_ort_child(args, batch, threads))
            row = {"batch": batch, "threads": threads, "nibble": statistics.median(ours),
                   "onnxruntime": statistics.median(theirs)}
            row["ratio"] = row["nibble"] / row["onnxruntime"]
            rows.append(row)
            print(f"{batch:6}{threads:9}{row['nibble']:10.0f}{row['onnxruntime']:13.0f}{row['ratio']:8.2f}", flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"network": args.network, "kind": kind, "rows": rows, "onnx": onnx.__version__,
                       "onnxruntime": ort.__version__}, file, indent=1)


if __name__ == "__main__":
    main()
