#!/usr/bin/python3
"""Compares one training step of nibble with PyTorch's: speed and peak memory, network by network.

Both train the network on one synthetic batch with 10 classes: forward, softmax cross entropy, backward, SGD with
Nesterov momentum and weight decay. ResNet-20, ResNet-56 (option A) and VGG-Small take 32x32 images, 128 at a time (and
ResNet-20 also 32), ResNet-18 and MobileNet-v1 16 images of 224x224. PyTorch (Debian: python3-torch) runs channels_last,
with its default kernels and with ATEN_CPU_CAPABILITY=avx512; the better one counts. The programs take turns, so that a
machine that slows down slows down all of them; medians over all steps are compared. Peak memory is the process's peak
resident set; no data set is loaded on either side. The part that was resident before the first step is also given.

usage: apps/bench/compare_torch.py [--networks resnet20,resnet56,...] [--batch N] [--threads 2] [--steps 20]
                                   [--rounds 3] [--nibble build/nibble] [--python /usr/bin/python3] [--json FILE]
       apps/bench/compare_torch.py --networks resnet20 --config CONFIG    (nibble trains CONFIG instead)
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def peak_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def conv_bn(nn, inputs, outputs, kernel=3, stride=1, groups=1):
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


def make_resnet_cifar(torch, depth):
    """6n + 2 layers, shortcuts without parameters (option A)."""
    nn = torch.nn
    functional = nn.functional

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.stride, self.inputs, self.outputs = stride, inputs, outputs
            self.conv1, self.bn1 = conv_bn(nn, inputs, outputs, stride=stride)
            self.conv2, self.bn2 = conv_bn(nn, outputs, outputs)

        def forward(self, x):
            y = functional.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            if self.inputs != self.outputs:
                quarter = self.outputs // 4
                x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, quarter, quarter))
            return functional.relu(y + x)

    layers = conv_bn(nn, 3, 16) + [nn.ReLU()]
    inputs = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for index in range((depth - 2) // 6):
            layers.append(Block(inputs, outputs, 2 if stage > 0 and index == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def make_resnet18(torch):
    """Shortcuts are 1x1 convolutions (option B), as in torchvision."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.branch = nn.Sequential(*conv_bn(nn, inputs, outputs, stride=stride), nn.ReLU(inplace=True),
                                        *conv_bn(nn, outputs, outputs))
            same = inputs == outputs and stride == 1
            self.bypass = nn.Identity() if same else nn.Sequential(*conv_bn(nn, inputs, outputs, 1, stride))
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.branch(x) + self.bypass(x))

    layers = conv_bn(nn, 3, 64, 7, 2) + [nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for outputs in (64, 128, 256, 512):
        for index in range(2):
            layers.append(Block(inputs, outputs, 2 if outputs > 64 and index == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def make_mobilenet(torch):
    nn = torch.nn
    layers = conv_bn(nn, 3, 32, stride=2) + [nn.ReLU6(inplace=True)]
    inputs = 32
    for stride, outputs in ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512),
                            (1, 512), (1, 512), (2, 1024), (1, 1024)):
        layers += conv_bn(nn, inputs, inputs, stride=stride, groups=inputs) + [nn.ReLU6(inplace=True)]
        layers += conv_bn(nn, inputs, outputs, 1) + [nn.ReLU6(inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 10))


def make_vgg_small(torch):
    nn = torch.nn
    layers, inputs = [], 3
    for outputs in (128, 256, 512):
        convolution, norm = conv_bn(nn, inputs, outputs)
        layers += [convolution, norm, nn.ReLU(inplace=True)]
        convolution, norm = conv_bn(nn, outputs, outputs)
        layers += [convolution, nn.MaxPool2d(2), norm, nn.ReLU(inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 16, 10))


class Network:
    """A network on both sides, and how much faster than PyTorch nibble is to be."""

    def __init__(self, make, model, batch, side, bar, small_batch_bar=None):
        self.make, self.model, self.batch, self.side = make, model, batch, side
        self.bar, self.small_batch_bar = bar, small_batch_bar


NETWORKS = {
    "resnet20": Network(lambda t: make_resnet_cifar(t, 20), "resnet20", 128, 32, 1.6, 1.5),
    "resnet56": Network(lambda t: make_resnet_cifar(t, 56), "resnet56", 128, 32, 1.4),
    "vgg_small": Network(make_vgg_small, "vgg_small", 128, 32, 1.4),
    "resnet18": Network(make_resnet18, "resnet18", 16, 224, 1.1),
    "mobilenet_v1": Network(make_mobilenet, "mobilenet_v1", 16, 224, 1.1),
}


def run_torch(network, batch, threads, steps, warm_up=5):
    """Seconds per step and memory, measured in this process."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    net = network.make(torch).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    images = torch.randn(batch, 3, network.side, network.side).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    loss_of = torch.nn.CrossEntropyLoss()
    before = peak_rss()
    seconds = []
    for step in range(warm_up + steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss_of(net(images), labels).backward()
        optimizer.step()
        if step >= warm_up:
            seconds.append(time.perf_counter() - start)
    return {
        "images_per_second": batch / statistics.median(seconds),
        "peak_rss_bytes": peak_rss(),
        "start_rss_bytes": before,
        "version": torch.__version__,
    }


def run_child(command, environment=None):
    env = dict(os.environ)
    env.pop("ATEN_CPU_CAPABILITY", None)
    env.update(environment or {})
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout)


def write_config(network, folder):
    """A config for nibble, with as many empty images as it takes to tell 10 classes."""
    data = {"type": "cifar10"}
    if network.side != 32:
        for split in ("train", "val"):
            for label in range(10):
                place = os.path.join(folder, "images", split, str(label))
                os.makedirs(place)
                open(os.path.join(place, "none.png"), "wb").close()
        crop = [{"type": "resize", "size": network.side}, {"type": "center_crop", "size": network.side}]
        data = {"type": "folder", "root": os.path.join(folder, "images"), "transform": crop}
    config = {
        "model": {"type": network.model, "classes": 10},
        "data": data,
        "optim": {"type": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4},
    }
    path = os.path.join(folder, network.model + ".json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return path


def contestants(args, name, batch, config):
    """Name -> function that runs it once and returns its figures."""
    sizes = ["--batch", str(batch), "--threads", str(args.threads), "--steps", str(args.steps)]
    nibble = [args.nibble, "bench", "train", config] + sizes + ["--json"]
    torch = [args.python, os.path.abspath(__file__), "--child", "--networks", name] + sizes
    return {
        "nibble": lambda: run_child(nibble),
        "torch": lambda: run_child(torch),
        "torch avx512": lambda: run_child(torch, {"ATEN_CPU_CAPABILITY": "avx512"}),
    }


def summarise(rounds):
    """One row per contestant: the median speed and the largest peak of its rounds."""
    rows = {}
    for name, runs in rounds.items():
        rows[name] = {
            "images_per_second": statistics.median(run["images_per_second"] for run in runs),
            "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs),
            "runs": runs,
        }
        starts = [run["start_rss_bytes"] for run in runs if "start_rss_bytes" in run]
        if starts:
            rows[name]["start_rss_bytes"] = max(starts)
    return rows


def compare(args, name, batch, bar, config):
    """All contestants in turns, and nibble's figures over those of the better PyTorch."""
    entries = contestants(args, name, batch, config)
    rounds = {entry: [] for entry in entries}
    for index in range(args.rounds):
        for entry, run in entries.items():
            rounds[entry].append(run())
            speed = rounds[entry][-1]["images_per_second"]
            print(f"{name}, batch {batch}, round {index + 1}: {entry} {speed:.1f} images/s", file=sys.stderr)
    rows = summarise(rounds)
    best = max((row for row in rows if row != "nibble"), key=lambda row: rows[row]["images_per_second"])
    return {
        "network": name,
        "batch": batch,
        "rows": rows,
        "best_torch": best,
        "speed_ratio": rows["nibble"]["images_per_second"] / rows[best]["images_per_second"],
        "memory_ratio": rows["nibble"]["peak_rss_bytes"] / rows[best]["peak_rss_bytes"],
        "bar": bar,
    }


def print_table(args, results):
    print(f"training, {args.threads} threads, {platform.machine()}; images/s and peak MiB (at start)")
    for result in results:
        print(f"\n{result['network']}, batch {result['batch']}")
        for name, row in result["rows"].items():
            start = f" ({row['start_rss_bytes'] / 2**20:.0f})" if "start_rss_bytes" in row else ""
            print(f"  {name:14}{row['images_per_second']:10.1f}{row['peak_rss_bytes'] / 2**20:10.0f}{start}")
        bar = f" (bar {result['bar']})" if result["bar"] else ""
        print(f"  nibble / {result['best_torch']}: speed {result['speed_ratio']:.2f}{bar}, "
              f"peak memory {result['memory_ratio']:.2f}")


def cases(args):
    """(network, batch, bar) of every comparison."""
    for name in args.networks.split(","):
        network = NETWORKS[name]
        if args.batch:
            yield name, args.batch, {network.batch: network.bar, 32: network.small_batch_bar}.get(args.batch)
            continue
        yield name, network.batch, network.bar
        if network.small_batch_bar:
            yield name, 32, network.small_batch_bar


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="some of " + ", ".join(NETWORKS))
    parser.add_argument("--batch", type=int, help="images per step (default: what the network is usually trained with)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nibble", default="build/nibble")
    parser.add_argument("--config", help="what nibble trains (default: the same network)")
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter that has torch (default: Debian's)")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = [name for name in args.networks.split(",") if name not in NETWORKS]
    if unknown:
        parser.error(f"unknown network {unknown[0]}; known: {', '.join(NETWORKS)}")
    if args.child:
        print(json.dumps(run_torch(NETWORKS[args.networks], args.batch, args.threads, args.steps)))
        return

    results = []
    for name, batch, bar in cases(args):
        with tempfile.TemporaryDirectory() as folder:
            config = args.config or write_config(NETWORKS[name], folder)
            results.append(compare(args, name, batch, bar, config))
    print_table(args, results)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"threads": args.threads, "steps": args.steps, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
