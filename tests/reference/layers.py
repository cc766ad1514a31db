"""Layers that draw their weights when they are first called, so that a network is one function of its input."""
import math

import torch
import torch.nn.functional as F


class Layers:
    """state: name -> tensor, with PyTorch's names of parameters and buffers."""

    def __init__(self, seed, eps=1e-5, gain=0.03, spread=1.0):
        """gain: of convolutions. It is small, so that the variances that batch norm divides by are not far above its
        epsilon. spread: about the largest standard deviation behind batch norms; what a ReLU6 clips lies beyond 6."""
        self.random = torch.Generator().manual_seed(seed)
        self.eps, self.gain, self.spread = eps, gain, spread
        self.state = {}

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.random)

    def uniform(self, low, high, count):
        return low + (high - low) * torch.rand(count, generator=self.random)

    def weight(self, name, gain, *shape):
        self.state[name + ".weight"] = self.normal(*shape) * gain * math.prod(shape[1:])**-0.5
        return self.state[name + ".weight"]

    def bias(self, name, count, wanted):
        if not wanted:
            return None
        self.state[name + ".bias"] = 0.3 * self.gain * self.normal(count)
        return self.state[name + ".bias"]

    def conv(self, name, x, out, kernel, stride=1, pad=None, groups=1, bias=False):
        """pad: pixels on every side, "same" for TensorFlow's rule; by default half the kernel."""
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        weight = self.weight(name, self.gain, out, x.shape[1] // groups, *kernel)
        if pad == "same":
            x, pad = same(x, kernel, stride, 0.0), 0
        elif pad is None:
            pad = (kernel[0] // 2, kernel[1] // 2)
        return F.conv2d(x, weight, self.bias(name, out, bias), stride, pad, groups=groups)

    def linear(self, name, x, out, bias=True):
        return F.linear(x, self.weight(name, 1.4, out, x.shape[1]), self.bias(name, out, bias))

    def bn(self, name, x, scale=True, offset=True):
        """Running statistics near those of x, so that no part of the network falls silent. The variances are so far
        above those of x that a hundred layers do not make much of PyTorch's own rounding."""
        count, axes = x.shape[1], [axis for axis in range(x.dim()) if axis != 1]
        var, square = x.var(axes, unbiased=False), (x * x).mean()
        state = {"running_mean": x.mean(axes) + 0.3 * var.sqrt() * self.normal(count),
                 "running_var": (var + square) / self.spread**2 * self.uniform(1, 3, count)}
        if scale:
            state["weight"] = self.uniform(0.5, 1.5, count)
        if offset:
            state["bias"] = 0.5 * self.spread * self.normal(count)
        self.state.update({f"{name}.{key}": value for key, value in state.items()})
        return F.batch_norm(x, state["running_mean"], state["running_var"], state.get("weight"), state.get("bias"),
                            eps=self.eps)


def same(x, kernel, stride, value):
    """TensorFlow's border: ceil(n / stride) pixels come out, the smaller half of the border stands in front."""
    border = []
    for n, k in ((x.shape[3], kernel[1]), (x.shape[2], kernel[0])):
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        border += [total // 2, total - total // 2]
    return F.pad(x, border, value=value)


def max_pool_same(x):
    return F.max_pool2d(same(x, (3, 3), 2, float("-inf")), 3, 2)


def mean_of_map(x):
    return x.mean((2, 3))
