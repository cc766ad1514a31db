"""The networks of shared/spec/architectures.md in plain PyTorch, written from that text and not from nibble's code.
Only the names of the layers are nibble's. Each is a function (layers, images, options) -> list of outputs."""
import torch
import torch.nn.functional as F
from torch.nn.functional import relu, relu6

from layers import max_pool_same, mean_of_map


def scaled(channels, multiplier):
    return max(int(channels * multiplier), 8)


# ---- Residual networks (sections 2 and 7, and lq-nets.md section 5)

def shortcut_a(x, out, stride, pool, pad):
    if stride > 1:
        x = F.avg_pool2d(x, stride, stride) if pool == "average" else x[:, :, ::stride, ::stride]
    missing = out - x.shape[1]
    before = missing // 2 if pad == "both" else 0
    return F.pad(x, (0, 0, 0, 0, before, missing - before))


def residual_block(n, name, x, spec, options, opening):
    """spec: list of (channels, kernel, stride). opening: BN - ReLU stand in front of the whole block."""
    order, stride, out = options["order"], max(s for _, _, s in spec), spec[-1][0]
    bns = iter(range(1, 9))
    active = relu(n.bn(f"{name}.bn{next(bns)}", x)) if opening else x
    if order != "post" and not opening:
        next(bns)
    y = active
    for i, (channels, kernel, step) in enumerate(spec):
        y = n.conv(f"{name}.conv{i + 1}", y, channels, kernel, step)
        last = i == len(spec) - 1
        if not last or order != "pre":
            y = n.bn(f"{name}.bn{next(bns)}", y)
        if not last:
            y = relu(y)
    if x.shape[1] != out or stride > 1:
        if options["shortcut"] == "A":
            x = shortcut_a(x, out, stride, options["pool"], options["pad"])
        else:
            x = n.conv(f"{name}.{options['bypass']}.0", active, out, 1, stride)
            if order != "pre":
                x = n.bn(f"{name}.{options['bypass']}.1", x)
    return relu(y + x) if order == "post" else y + x


def residual_stages(n, x, blocks, widths, options):
    order = options["order"]
    for stage, (count, width) in enumerate(zip(blocks, widths), 1):
        for i in range(count):
            stride = 2 if stage > 1 and i == 0 else 1
            if options.get("bottleneck"):
                strides = (stride, 1) if options.get("stride") == "1x1" else (1, stride)
                spec = [(width, 1, strides[0]), (width, 3, strides[1]), (4 * width, 1, 1)]
            else:
                spec = [(width, 3, stride), (width, 3, 1)]
            opening = {"post": False, "pre": stage > 1 or i > 0, "lq": i > 0}[order]
            x = residual_block(n, f"layer{stage}.{i}", x, spec, options, opening)
        if order == "lq":
            x = relu(n.bn(f"layer{stage}.bn", x))
    return mean_of_map(relu(n.bn("bn", x)) if order == "pre" else x)


RESIDUAL = {"shortcut": "A", "pool": "subsample", "pad": "both", "order": "post"}


def cifar_resnet(n, x, options):
    options = {**RESIDUAL, "bypass": "shortcut", **options}
    width, blocks = options.get("width", 16), (options.get("depth", 20) - 2) // 6
    x = relu(n.bn("bn1", n.conv("conv1", x, width, 3)))
    x = residual_stages(n, x, [blocks] * 3, [width, 2 * width, 4 * width], options)
    return [n.linear("linear", x, 10)]


def imagenet_resnet(n, x, options):
    options = {**RESIDUAL, "bypass": "downsample", **options}
    options["bottleneck"] = options["type"] == "resnet50"
    blocks = [3, 4, 6, 3] if options["bottleneck"] else [2, 2, 2, 2]
    width = options.get("width", 64)
    if options.get("stem") == "3x3":
        x = relu(n.bn("bn1", n.conv("conv1", x, width, 3)))
    else:
        x = F.max_pool2d(relu(n.bn("bn1", n.conv("conv1", x, width, 7, 2))), 3, 2, 1)
    x = residual_stages(n, x, blocks, [width << i for i in range(4)], options)
    return [n.linear("fc", x, options["classes"])]


# ---- VGG-Small, VGG-7, ConvNet (section 3)

def small_features(n, x, width, bias=False, affine=lambda name: True):
    for stage in (1, 2, 3):
        for i in (1, 2):
            name = f"{stage}_{i}"
            x = n.conv("conv" + name, x, width << (stage - 1), 3, bias=bias)
            x = F.max_pool2d(x, 2) if i == 2 else x
            x = relu(n.bn("bn" + name, x, affine(name), affine(name)))
    return x.flatten(1)


def vgg_small(n, x, options):
    every = options.get("affine", "all") == "all"
    x = small_features(n, x, options["width"], affine=lambda name: every or name == "3_2")
    return [n.linear("fc", x, 10)]


def vgg7(n, x, options):
    x = n.linear("fc1", small_features(n, x, options["width"]), 8 * options["width"], bias=False)
    return [n.linear("fc2", relu(n.bn("bn_fc1", x)), 10)]


def bnn_convnet(n, x, options):
    x = small_features(n, x, options["width"], bias=True)
    for name in ("fc1", "fc2"):
        x = relu(n.bn("bn_" + name, n.linear(name, x, 8 * options["width"])))
    return [n.bn("bn_fc3", n.linear("fc3", x, 10))]


# ---- AlexNet variants, VGG-Variant, VGG-16bn (sections 4 to 6)

def hidden_head(n, x, names, options, affine):
    """Two hidden layers with BN - ReLU, and the classifier with a bias."""
    x = x.flatten(1)
    for name in names[:2]:
        x = n.linear(f"fc{name}", x, scaled(4096, options["multiplier"]), bias=options.get("fc_bias", False))
        x = relu(n.bn(f"bn{name}", x, affine, affine))
    return [n.linear(f"fc{names[2]}", x, options["classes"])]


def alexnet_bn(n, x, options):
    affine = options.get("affine", "all")
    for i, (out, kernel, stride, pad, pool) in enumerate(
            [(96, 11, 4, 0, True), (256, 5, 1, 2, True), (384, 3, 1, 1, False), (384, 3, 1, 1, False),
             (256, 3, 1, 1, True)], 1):
        x = n.conv(f"conv{i}", x, scaled(out, options["multiplier"]), kernel, stride, pad)
        x = F.max_pool2d(x, 3, 2) if pool else x
        x = relu(n.bn(f"bn{i}", x, affine != "none", affine != "none"))
    return hidden_head(n, x, (6, 7, 8), options, affine == "all")


def alexnet_xnor(n, x, options):
    """With ReLU where the quantizer takes the sign, so that the network is one of real numbers."""
    def width(channels):
        return scaled(channels, options["multiplier"])
    x = n.conv("conv1", x, width(96), 11, 4, 2, bias=True)
    x = F.max_pool2d(relu(n.bn("bn1", x)), 3, 2)
    for i, (out, kernel, pool) in enumerate([(256, 5, True), (384, 3, False), (384, 3, False), (256, 3, True)], 2):
        # One batch norm per layer with weights is affine: this one follows bn1.
        x = relu(n.bn(f"bn{i}", x, i != 2, i != 2))
        x = n.conv(f"conv{i}", x, width(out), kernel, bias=True)
        x = F.max_pool2d(x, 3, 2) if pool else x
    for i, kernel in ((6, 6), (7, 1)):
        x = n.conv(f"fc{i}", relu(n.bn(f"bn{i}", x)), width(4096), kernel, pad=0, bias=True)
    return [n.conv("fc8", relu(n.bn("bn8", x)), options["classes"], 1, bias=True).flatten(1)]


def alexnet_dorefa(n, x, options):
    def width(channels):
        return scaled(channels, options["multiplier"])
    x = relu(n.conv("conv0", x, width(96), 12, 4, 0, bias=True))
    x = n.bn("bn1", n.conv("conv1", x, width(256), 5, pad="same", groups=2))
    x = relu(max_pool_same(x))
    x = relu(max_pool_same(n.bn("bn2", n.conv("conv2", x, width(384), 3, pad="same"))))
    x = relu(n.bn("bn3", n.conv("conv3", x, width(384), 3, pad="same", groups=2)))
    x = n.bn("bn4", n.conv("conv4", x, width(256), 3, pad="same", groups=2))
    x = relu(F.max_pool2d(x, 3, 2)).flatten(1)
    x = relu(n.bn("bnfc0", n.linear("fc0", x, width(4096))))
    x = relu(n.bn("bnfc1", n.linear("fc1", x, width(4096), bias=False)))
    return [n.linear("fct", x, options["classes"])]


def vgg_variant(n, x, options):
    x = relu(n.conv("conv1", x, scaled(96, options["multiplier"]), 7, 2, 3))
    x = relu(n.bn("bn1", F.max_pool2d(x, 2)))
    for stage, out in ((2, 256), (3, 512), (4, 512)):
        for i in (1, 2, 3):
            x = n.conv(f"conv{stage}_{i}", x, scaled(out, options["multiplier"]), 3)
            x = relu(n.bn(f"bn{stage}_{i}", F.max_pool2d(x, 2) if i == 3 else x))
    return hidden_head(n, x, (5, 6, 7), options, True)


def vgg16_bn(n, x, options):
    index = 0
    for stage in ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3):
        for out in stage:
            x = n.conv(f"features.{index}", x, scaled(out, options["multiplier"]), 3, bias=True)
            x = relu(n.bn(f"features.{index + 1}", x))
            index += 3
        x = F.max_pool2d(x, 2)
        index += 1
    x = x.flatten(1)
    for name in ("classifier.0", "classifier.3"):
        x = relu(n.linear(name, x, scaled(4096, options["multiplier"])))
    return [n.linear("classifier.6", x, options["classes"])]


# ---- DenseNet-121 (section 8)

def densenet121(n, x, options):
    growth, lq = scaled(32, options["multiplier"]), options.get("order") == "lq"

    def unit(prefix, number, x, out, kernel):
        if lq:
            return relu(n.bn(f"{prefix}.norm{number}", n.conv(f"{prefix}.conv{number}", x, out, kernel)))
        return n.conv(f"{prefix}.conv{number}", relu(n.bn(f"{prefix}.norm{number}", x)), out, kernel)

    x = relu(n.bn("features.norm0", n.conv("features.conv0", x, 2 * growth, 7, 2)))
    x = F.max_pool2d(x, 3, 2, 1)
    for block, count in enumerate((6, 12, 24, 16), 1):
        for i in range(1, count + 1):
            prefix = f"features.denseblock{block}.denselayer{i}"
            new = unit(prefix, 2, unit(prefix, 1, x, 4 * growth, 1), growth, 3)
            x = torch.cat([new, x] if lq else [x, new], 1)
        if block < 4:
            prefix = f"features.transition{block}"
            y = x if lq else relu(n.bn(prefix + ".norm", x))
            x = F.avg_pool2d(n.conv(prefix + ".conv", y, x.shape[1] // 2, 1), 2)
    return [n.linear("classifier", mean_of_map(relu(n.bn("features.norm5", x))), options["classes"])]


# ---- GoogLeNet-Variant (section 9)

def googlenet_variant(n, x, options):
    every = options.get("affine", "all") == "all"

    def unit(name, x, out, kernel, stride=1, pool=False, affine=every):
        x = n.conv(name + ".conv", x, scaled(out, options["multiplier"]), kernel, stride)
        return relu(n.bn(name + ".bn", max_pool_same(x) if pool else x, affine, affine))

    x = unit("conv1", x, 64, 7, 2, pool=True)
    x = unit("conv2", unit("conv2_reduce", x, 192, 1), 192, 3, pool=True)
    for block, a, b, d in (("3a", 96, 128, 32), ("3b", 192, 192, 96), ("4a", 256, 208, 48), ("4b", 224, 224, 64),
                           ("4c", 192, 256, 64), ("4d", 176, 288, 64), ("4e", 384, 320, 128), ("5a", 384, 320, 128),
                           ("5b", 512, 384, 128)):
        ends = {"pool": block in ("3b", "4e"), "affine": every or block == "5b"}
        name = f"inception{block}."
        x = torch.cat([unit(name + "1x1", x, a, 1, **ends),
                       unit(name + "3x3", unit(name + "3x3_reduce", x, b, 1), b, 3, **ends),
                       unit(name + "5x5", unit(name + "5x5_reduce", x, d, 1), d, 5, **ends)], 1)
    return [n.linear("fc", mean_of_map(x), options["classes"])]


# ---- Inception-v3 (section 10)

def inception_v3(n, x, options):
    act = {"relu": relu, "relu6": relu6}[options.get("activation", "relu")]

    def conv(name, x, out, kernel, stride=1, pad=None):
        x = n.conv(name + ".conv", x, scaled(out, options["multiplier"]), kernel, stride, pad)
        return act(n.bn(name + ".bn", x, scale=options.get("bn_scale", True)))

    def chain(prefix, x, *steps):
        for name, *spec in steps:
            x = conv(prefix + name, x, *spec)
        return x

    def pooled(prefix, x, out):
        y = F.avg_pool2d(x, 3, 1, 1, count_include_pad=options.get("count_padding", False))
        return conv(prefix + "branch_pool", y, out, 1)

    x = chain("", x, ("Conv2d_1a_3x3", 32, 3, 2, 0), ("Conv2d_2a_3x3", 32, 3, 1, 0), ("Conv2d_2b_3x3", 64, 3))
    x = F.max_pool2d(x, 3, 2)
    x = F.max_pool2d(chain("", x, ("Conv2d_3b_1x1", 80, 1), ("Conv2d_4a_3x3", 192, 3, 1, 0)), 3, 2)
    for p, out in (("Mixed_5b.", 32), ("Mixed_5c.", 64), ("Mixed_5d.", 64)):
        x = torch.cat([chain(p, x, ("branch1x1", 64, 1)),
                       chain(p, x, ("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
                       chain(p, x, ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
                       pooled(p, x, out)], 1)
    p = "Mixed_6a."
    x = torch.cat([chain(p, x, ("branch3x3", 384, 3, 2, 0)),
                   chain(p, x, ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2, 0)),
                   F.max_pool2d(x, 3, 2)], 1)
    row, column = (1, 7), (7, 1)
    for p, c in (("Mixed_6b.", 128), ("Mixed_6c.", 160), ("Mixed_6d.", 160), ("Mixed_6e.", 192)):
        x = torch.cat([chain(p, x, ("branch1x1", 192, 1)),
                       chain(p, x, ("branch7x7_1", c, 1), ("branch7x7_2", c, row), ("branch7x7_3", 192, column)),
                       chain(p, x, ("branch7x7dbl_1", c, 1), ("branch7x7dbl_2", c, column), ("branch7x7dbl_3", c, row),
                             ("branch7x7dbl_4", c, column), ("branch7x7dbl_5", 192, row)),
                       pooled(p, x, 192)], 1)
    outputs = []
    if options.get("aux"):
        y = chain("AuxLogits.", F.avg_pool2d(x, 5, 3), ("conv0", 128, 1))
        y = conv("AuxLogits.conv1", y, 768, (min(y.shape[2], 5), min(y.shape[3], 5)), 1, 0)
        outputs.append(n.linear("AuxLogits.fc", mean_of_map(y), options["classes"]))
    p = "Mixed_7a."
    x = torch.cat([chain(p, x, ("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2, 0)),
                   chain(p, x, ("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, row), ("branch7x7x3_3", 192, column),
                         ("branch7x7x3_4", 192, 3, 2, 0)),
                   F.max_pool2d(x, 3, 2)], 1)
    for p in ("Mixed_7b.", "Mixed_7c."):
        left = chain(p, x, ("branch3x3_1", 384, 1))
        right = chain(p, x, ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3))
        x = torch.cat([chain(p, x, ("branch1x1", 320, 1)),
                       conv(p + "branch3x3_2a", left, 384, (1, 3)), conv(p + "branch3x3_2b", left, 384, (3, 1)),
                       conv(p + "branch3x3dbl_3a", right, 384, (1, 3)), conv(p + "branch3x3dbl_3b", right, 384, (3, 1)),
                       pooled(p, x, 192)], 1)
    return [n.linear("fc", mean_of_map(x), options["classes"])] + outputs


# ---- MobileNet-v1 (section 11) and SqueezeNext-23 (section 12)

MOBILENET = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512), (1, 512),
             (1, 512), (2, 1024), (1, 1024))


def mobilenet_v1(n, x, options, name=lambda block, part: f"block{block}.{part}" if block else part):
    """name(block, part): what the file calls conv1, bn1, conv2 and bn2 of a block, block 0 being the stem, and fc."""
    act = {"relu": relu, "relu6": relu6}[options.get("activation", "relu6")]
    pad = {"same": "same", "symmetric": 1}[options.get("padding", "same")]
    multiplier = options.get("multiplier", 1)
    x = n.conv(name(0, "conv1"), x, scaled(32, multiplier), 3, 2, pad)
    x = act(n.bn(name(0, "bn1"), x))
    for block, (stride, out) in enumerate(MOBILENET, 1):
        x = n.conv(name(block, "conv1"), x, x.shape[1], 3, stride, pad, groups=x.shape[1])
        x = act(n.bn(name(block, "bn1"), x))
        x = act(n.bn(name(block, "bn2"), n.conv(name(block, "conv2"), x, scaled(out, multiplier), 1)))
    return [n.linear(name(0, "fc"), mean_of_map(x), options["classes"])]


def squeezenext23(n, x, options):
    def unit(name, x, out, kernel, stride=1, pad=None):
        return relu(n.bn(name + ".bn", n.conv(name + ".conv", x, out, kernel, stride, pad)))

    x = F.max_pool2d(unit("conv1", x, 64, 7, 2, 0), 3, 2, ceil_mode=True)
    number = 0
    for stage, count in enumerate((6, 6, 8, 1)):
        out = scaled(32 << stage, options["multiplier"])
        for i in range(count):
            number += 1
            p, stride = f"block{number}.", 2 if stage > 0 and i == 0 else 1
            kernels = ((3, 1), (1, 3)) if number % 2 else ((1, 3), (3, 1))
            y = unit(p + "reduce1", x, out // 2, 1, stride)
            y = unit(p + "reduce2", y, out // 4, 1)
            y = unit(p + "separable1", y, out // 2, kernels[0])
            y = unit(p + "separable2", y, out // 2, kernels[1])
            y = unit(p + "expand", y, out, 1)
            x = relu(y + (unit(p + "shortcut", x, out, 1, stride) if i == 0 else x))
    return [n.linear("fc", mean_of_map(unit("conv2", x, 128, 1)), options["classes"], bias=False)]
