#!/usr/bin/python3
"""Compares one training step of nibble with PyTorch's: speed and peak memory.

Both train ResNet-20 (option A) on one synthetic batch of 32x32 images: forward, softmax cross entropy, backward, SGD
with Nesterov momentum and weight decay. PyTorch (Debian: python3-torch) runs channels_last, with its default kernels
and with ATEN_CPU_CAPABILITY=avx512; the better one counts. The programs take turns, so that a machine that slows down
slows down all of them; medians over all steps are compared. Peak memory is the process's peak resident set; no data
set is loaded on either side. The part that was resident before the first step is also given.

usage: apps/bench/compare_torch.py [--batch 128] [--threads 2] [--steps 20] [--rounds 3] [--nibble build/nibble]
                                   [--config CONFIG] [--python /usr/bin/python3] [--json FILE]
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time


def peak_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_resnet20(torch):
    nn = torch.nn
    functional = nn.functional

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.stride, self.inputs, self.outputs = stride, inputs, outputs
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)

        def forward(self, x):
            y = functional.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            if self.inputs != self.outputs:
                quarter = self.outputs // 4
                x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, quarter, quarter))
            return functional.relu(y + x)

    blocks = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inputs = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for index in range(3):
            blocks.append(Block(inputs, outputs, 2 if stage > 0 and index == 0 else 1))
            inputs = outputs
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def run_torch(batch, threads, steps, warm_up=5):
    """Seconds per step and memory, measured in this process."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    net = make_resnet20(torch).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
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


def contestants(args):
    """Name -> function that runs it once and returns its figures."""
    sizes = ["--batch", str(args.batch), "--threads", str(args.threads), "--steps", str(args.steps)]
    nibble = [args.nibble, "bench", "train"] + ([args.config] if args.config else []) + sizes + ["--json"]
    torch = [args.python, os.path.abspath(__file__), "--child"] + sizes
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nibble", default="build/nibble")
    parser.add_argument("--config", help="what nibble trains (default: its own ResNet-20, option A)")
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter that has torch (default: Debian's)")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(run_torch(args.batch, args.threads, args.steps)))
        return

    entries = contestants(args)
    rounds = {name: [] for name in entries}
    for index in range(args.rounds):
        for name, run in entries.items():
            rounds[name].append(run())
            print(f"round {index + 1}: {name} {rounds[name][-1]['images_per_second']:.0f} images/s", file=sys.stderr)
    rows = summarise(rounds)
    best = max((name for name in rows if name != "nibble"), key=lambda name: rows[name]["images_per_second"])
    speed = rows["nibble"]["images_per_second"] / rows[best]["images_per_second"]
    memory = rows["nibble"]["peak_rss_bytes"] / rows[best]["peak_rss_bytes"]

    print(f"ResNet-20 training, batch {args.batch}, {args.threads} threads, {platform.machine()}")
    print(f"{'':14}{'images/s':>10}{'peak MiB':>10}{'at start':>10}")
    for name, row in rows.items():
        start = f"{row['start_rss_bytes'] / 2**20:10.0f}" if "start_rss_bytes" in row else f"{'':10}"
        print(f"{name:14}{row['images_per_second']:10.0f}{row['peak_rss_bytes'] / 2**20:10.0f}{start}")
    print(f"nibble / {best}: speed {speed:.2f}, peak memory {memory:.2f}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"batch": args.batch, "threads": args.threads, "steps": args.steps, "rows": rows,
                       "best_torch": best, "speed_ratio": speed, "memory_ratio": memory}, file, indent=1)


if __name__ == "__main__":
    main()
