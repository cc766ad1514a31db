"""Compares float inference with PyTorch: usage: torch_reference.py NIBBLE NIBBLE_FORWARD [PATTERN]
The networks of networks.py with random weights go through a safetensors file, `nibble import` and nibble_forward; so do
torchvision's models where it is installed. PATTERN: only cases with that in their names. Exits with 77 if there is no
PyTorch."""
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy  # noqa: F401, for tensor_file
    import torch
except ImportError as error:
    print(f"skipped: no PyTorch for {sys.executable} ({error}); Debian: apt-get install python3-torch")
    sys.exit(77)
try:
    import torchvision
except ImportError as error:
    torchvision = None
    print(f"skipped the cases of torchvision: {error}")

sys.dont_write_bytecode = True  # the source tree stays as it is
import networks
import tensor_file
from layers import Layers

TOLERANCE = 1e-4  # of the largest logit
NIBBLE, FORWARD = sys.argv[1:3]
PATTERN = sys.argv[3] if len(sys.argv) > 3 else ""
SMALL = {"multiplier": 0.25, "classes": 10}
CLIPPED = {"gain": 0.3, "spread": 4.0}


def run(*command):
    """Returns (exit status, everything printed)."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def imports(folder, model, state):
    """Writes the state and imports it; returns (checkpoint, exit status, text)."""
    weights, checkpoint = os.path.join(folder, "weights.safetensors"), os.path.join(folder, "checkpoint.safetensors")
    tensor_file.write(weights, {name: tensor.detach().numpy() for name, tensor in state.items()})
    data = {"type": "folder", "root": "nowhere", "classes": model.get("classes", 10)}
    status, text = run(NIBBLE, "import", weights, "--model", json.dumps(model), "--data", json.dumps(data),
                       "--out", checkpoint)
    return checkpoint, status, text


def difference(model, state, images, expected):
    """The largest error of an output, relative to the output's largest value. Raises on anything but a result."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, status, text = imports(folder, model, state)
        if status != 0:
            raise RuntimeError(text.strip())
        source, result = os.path.join(folder, "input.safetensors"), os.path.join(folder, "output.safetensors")
        tensor_file.write(source, {"input": images.permute(0, 2, 3, 1).contiguous().numpy()})
        status, text = run(FORWARD, checkpoint, source, result)
        if status != 0:
            raise RuntimeError(text.strip())
        outputs = tensor_file.read(result)
    if len(outputs) < len(expected):
        raise RuntimeError(f"{len(outputs)} outputs, expected {len(expected)}")
    worst = 0.0
    for i, reference in enumerate(expected):
        output = torch.tensor(outputs[f"output{i}"])
        if output.shape != reference.shape or not torch.isfinite(reference).all():
            raise RuntimeError(f"output {i} is {tuple(output.shape)}, expected {tuple(reference.shape)}, finite")
        worst = max(worst, ((output - reference).abs().max() / reference.abs().max()).item())
    return worst if worst == worst else float("inf")


def spec_case(model, network, size, seed=1, **layers):
    """A network of networks.py."""
    with torch.no_grad():
        n = Layers(seed, **layers)
        images = n.normal(2, 3, size, size)
        return {**model, "input": [size, size, 3]}, n.state, images, network(n, images, model)


def library_case(model, net, size, seen=64):
    """A model of torchvision with batch norms that have seen images of that size; nibble gets its state dict as it
    is."""
    torch.manual_seed(1)
    images = torch.randn(1, 3, size, size)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    net.eval()
    for module in norms:
        module.train().momentum = 1.0
    with torch.no_grad():
        net(torch.randn(4, 3, seen, seen))
        for module in norms:
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.5)
            module.running_var *= 1 + 2 * torch.rand(module.num_features)
        return {**model, "input": [size, size, 3]}, net.state_dict(), images, [net.eval()(images)]


def narrow_vgg16_bn():
    """torchvision's network and names with a quarter of the channels: the whole one is half a gigabyte."""
    make = torchvision.models.vgg
    net = make.VGG(make.make_layers([c if c == "M" else c // 4 for c in make.cfgs["D"]], batch_norm=True), 10, False)
    net.avgpool = torch.nn.Identity()  # of 7x7, which is what images of 224x224 leave
    for index, (features, out) in ((0, (128 * 4, 1024)), (3, (1024, 1024)), (6, (1024, 10))):
        net.classifier[index] = torch.nn.Linear(features, out)
    return net


def transformers_name(block, part):
    if part == "fc":
        return "classifier"
    layer = "conv_stem" if block == 0 else f"layer.{2 * block - (2 if part.endswith('1') else 1)}"
    return f"mobilenet_v1.{layer}.{'convolution' if part.startswith('conv') else 'normalization'}"


def timm_name(block, part):
    if block == 0:
        return {"conv1": "conv_stem", "bn1": "bn1", "fc": "classifier"}[part]
    stage = next(s for s, end in enumerate((1, 3, 5, 11, 13)) if block <= end)
    first = (1, 2, 4, 6, 12)[stage]
    return f"blocks.{stage}.{block - first}." + {"conv1": "conv_dw", "conv2": "conv_pw"}.get(part, part)


def sequential_name(block, part):
    if part == "fc":
        return "fc"
    return f"model.{block}.{('conv1', 'bn1', '', 'conv2', 'bn2').index(part)}"


def densenet_old_names(case):
    """As torchvision's published files have them."""
    model, state, images, expected = case
    old = {name: name for name in state}
    for name in state:
        for kind in ("norm", "conv"):
            for number in "12":
                if "denselayer" in name:
                    old[name] = old[name].replace(f".{kind}{number}.", f".{kind}.{number}.")
    return model, {old[name]: tensor for name, tensor in state.items()}, images, expected


def cases():
    """Yields (name, function that makes a case)."""
    def spec(name, network, size, options=None, **layers):
        model = {"type": name, **(options or {})}
        label = name + "".join(f" {key}={value}" for key, value in (options or {}).items()
                               if key not in ("classes", "multiplier", "width", "depth"))
        return label, lambda: spec_case(model, network, size, **layers)

    yield spec("resnet20", networks.cifar_resnet, 32)
    short = {"depth": 14, "width": 8}
    yield spec("resnet_cifar", networks.cifar_resnet, 32, {**short, "shortcut": "B"})
    yield spec("resnet_cifar", networks.cifar_resnet, 32, {**short, "pool": "average", "pad": "behind"})
    for order in ("pre", "lq"):
        for shortcut in ("A", "B"):
            yield spec("resnet_cifar", networks.cifar_resnet, 32, {**short, "order": order, "shortcut": shortcut},
                       gain=0.2)
    yield spec("vgg_small", networks.vgg_small, 32, {"width": 16})
    yield spec("vgg_small", networks.vgg_small, 32, {"width": 16, "affine": "last"})
    yield spec("vgg7", networks.vgg7, 32, {"width": 16})
    yield spec("bnn_convnet", networks.bnn_convnet, 32, {"width": 16})
    eighth = {"multiplier": 0.125, "classes": 10}
    yield spec("alexnet_bn", networks.alexnet_bn, 227, eighth)
    yield spec("alexnet_bn", networks.alexnet_bn, 227, {**eighth, "affine": "conv", "fc_bias": True})
    yield spec("alexnet_xnor", networks.alexnet_xnor, 224, {**eighth, "activation": "relu"})
    yield spec("alexnet_dorefa", networks.alexnet_dorefa, 224, eighth, gain=0.3)
    yield spec("vgg_variant", networks.vgg_variant, 96, eighth)
    yield spec("vgg16_bn", networks.vgg16_bn, 64, eighth)
    thin = {"width": 16, "classes": 10}
    yield spec("resnet18", networks.imagenet_resnet, 96, {**thin, "shortcut": "B"})
    yield spec("resnet18", networks.imagenet_resnet, 32, {**thin, "shortcut": "A", "stem": "3x3", "pad": "behind"})
    yield spec("resnet50", networks.imagenet_resnet, 96, {**thin, "shortcut": "B"})
    yield spec("resnet50", networks.imagenet_resnet, 96, {**thin, "shortcut": "B", "stride": "1x1"})
    yield spec("resnet50", networks.imagenet_resnet, 96, {**thin, "shortcut": "B", "order": "pre"}, gain=0.2)
    yield spec("resnet50", networks.imagenet_resnet, 96,
               {**thin, "shortcut": "A", "order": "lq", "pool": "average", "pad": "behind"}, gain=0.2)
    yield spec("densenet121", networks.densenet121, 96, SMALL)
    yield spec("densenet121", networks.densenet121, 96, {**SMALL, "order": "lq"})
    yield spec("googlenet_variant", networks.googlenet_variant, 99, SMALL)
    yield spec("googlenet_variant", networks.googlenet_variant, 96, {**SMALL, "affine": "last"})
    yield spec("inception_v3", networks.inception_v3, 139, {**SMALL, "aux": True}, eps=1e-3, gain=0.3)
    yield spec("inception_v3", networks.inception_v3, 107,
               {**SMALL, "bn_scale": False, "activation": "relu6", "count_padding": True}, eps=1e-3, **CLIPPED)
    for size in (96, 81):
        yield spec("mobilenet_v1", networks.mobilenet_v1, size, SMALL, eps=1e-3, **CLIPPED)
    yield spec("squeezenext23", networks.squeezenext23, 98, {"multiplier": 1, "classes": 10})

    def mobilenet(names, options, **layers):
        model = {"type": "mobilenet_v1", "multiplier": 0.25, "classes": 1001, **options}
        return spec_case(model, lambda n, x, o: networks.mobilenet_v1(n, x, o, names), 96, **CLIPPED, **layers)

    yield "mobilenet_v1 of transformers", lambda: mobilenet(transformers_name, {}, eps=1e-3)
    others = {"padding": "symmetric", "bn_epsilon": 1e-5}
    yield "mobilenet_v1 of timm", lambda: mobilenet(timm_name, others)
    yield "mobilenet_v1 nn.Sequential", lambda: mobilenet(sequential_name, {**others, "activation": "relu"})
    if torchvision is None:
        return
    models = torchvision.models
    for name, size in (("resnet18", 64), ("resnet50", 64)):
        yield f"torchvision {name}", lambda name=name, size=size: library_case(
            {"type": name, "shortcut": "B", "classes": 1000}, getattr(models, name)(weights=None), size)
    yield "torchvision vgg16_bn", lambda: library_case({"type": "vgg16_bn", **SMALL}, narrow_vgg16_bn(), 64)
    densenet = {"type": "densenet121", "classes": 1000}
    yield "torchvision densenet121", lambda: library_case(densenet, models.densenet121(weights=None), 64)
    yield "torchvision densenet121, published names", lambda: densenet_old_names(
        library_case(densenet, models.densenet121(weights=None), 64))
    yield "torchvision inception_v3", lambda: library_case(
        {"type": "inception_v3", "classes": 1000, "aux": True, "count_padding": True},
        models.inception_v3(weights=None, init_weights=False), 299, seen=107)


def refusals():
    """Yields (name, model, state, words of the error)."""
    if torchvision is None:
        return
    models = torchvision.models
    yield ("torchvision googlenet", {"type": "googlenet_variant", "classes": 1000},
           models.googlenet(weights=None, init_weights=False).state_dict(),
           ["missing: 'conv2_reduce.conv.weight'", "does not have: 'conv3.conv.weight'", "GoogLeNet-Variant"])
    for name in ("mobilenet_v2", "mobilenet_v3_small"):
        yield (f"torchvision {name}", {"type": "mobilenet_v1", "classes": 1000},
               getattr(models, name)(weights=None).state_dict(),
               ["missing: 'conv1.weight'", "does not have: 'features.0.0.weight'",
                name[:12].replace("mobilenet_v", "MobileNet-v")])
    resnet = models.resnet18(weights=None).state_dict()
    yield ("torchvision resnet18 without shortcut B", {"type": "resnet18", "shortcut": "A", "classes": 1000}, resnet,
           ["'layer2.0.downsample.0.weight'", '"shortcut": "B"'])
    yield ("torchvision resnet18 as resnet34", {"type": "resnet34", "shortcut": "B", "classes": 1000}, resnet,
           ["missing", "'layer1.2.conv1.weight'"])
    yield ("torchvision resnet18 of other classes", {"type": "resnet18", "shortcut": "B", "classes": 10}, resnet,
           ["'fc.weight'", "[1000,512]", "[10,512]"])


def agrees(make):
    """Returns (passed, what to print)."""
    try:
        found = difference(*make())
    except RuntimeError as error:
        return False, str(error)
    return found <= TOLERANCE, f"{found:.1e}"


def refuses(model, state, words):
    with tempfile.TemporaryDirectory() as folder:
        _, status, text = imports(folder, model, state)
    missing = [word for word in words if word not in text]
    return status == 1 and not missing, "refused" if not missing else f"{text.strip()}\nlacks {missing}"


def notices_an_epsilon():
    """That the comparison can fail: the same weights with twice the epsilon are another function."""
    model, state, images, expected = spec_case({"type": "mobilenet_v1", **SMALL}, networks.mobilenet_v1, 96, eps=1e-3,
                                               **CLIPPED)
    found = difference({**model, "bn_epsilon": 2e-3}, state, images, expected)
    return found > 10 * TOLERANCE, f"{found:.1e}"


def checks():
    """Yields (name, function that returns (passed, what to print))."""
    for name, make in cases():
        yield name, lambda make=make: agrees(make)
    for name, *arguments in refusals():
        yield f"not {name}", lambda arguments=arguments: refuses(*arguments)
    yield "another epsilon is noticed", notices_an_epsilon


def main():
    failed = total = 0
    for name, check in checks():
        if PATTERN not in name:
            continue
        passed, text = check()
        total += 1
        failed += not passed
        print(f"{'ok    ' if passed else 'FAILED'}  {name}: {text}", flush=True)
    print(f"{total - failed} of {total} agree within {TOLERANCE} of the largest logit")
    return 1 if failed or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
