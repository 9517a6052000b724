"""Frozen networks with named layers, the feature extractors of perceptual losses and metrics.

    vgg19          VGG-19 of torchvision, arXiv:1409.1556: conv1_1, relu1_1, ..., pool5
    squeezenet     SqueezeNet 1.1, arXiv:1602.07360, converted from a Keras port: relu1, fire2, ..., fire9
    resnet20       ResNet-20 trained on CIFAR-10, arXiv:1512.03385, at 32 px: conv1, layer1.0, ..., layer3.2
    random_conv    four convolutions with random weights, needs no file, the same on every machine: stage1 ... stage4

Test with: `pytest tests/test_perceptual.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from ..errors import ConfigError
from .pretrained import Weights

Name = Literal["vgg19", "squeezenet", "resnet20", "random_conv"]
Inputs = Literal["imagenet", "caffe", "plain"]

VGG19 = Weights(
    "vgg19-dcbb9e9d.pth",
    "VGG-19 of torchvision, trained on ImageNet",
    "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "dcbb9e9d",
)
SQUEEZENET = Weights(
    "squeezenet1_1_keras_features.pth",
    "convolutions of SqueezeNet 1.1 under torchvision's names, not shown to equal torchvision's",
    "converted by a script that i2i does not contain, from squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5 of "
    "https://github.com/DeepCognition/keras-squeezenet at a73d433, which itself cannot be read",
    "73c05f151a3e1260b30f92b8b709ef5cf5bf8c302175eb1c7e7405f1cc609a47",
)
RESNET20 = Weights(
    "cifar_resnet20.th",
    "ResNet-20 trained on CIFAR-10",
    "https://github.com/akamaster/pytorch_resnet_cifar10, pretrained_models/resnet20-12fca82f.th",
    "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
)


class Backbone(nn.Module):
    """A sequence of named layers that returns the outputs of the requested ones.

    Args:
        layers: the layers by name, in order.
        inputs: input normalisation: "imagenet" is RGB standardised with ImageNet's mean and standard deviation,
            "caffe" is BGR in 0..255 minus ImageNet's mean, "plain" is RGB in [-1, 1].
    """

    def __init__(self, layers: dict[str, nn.Module], inputs: Inputs) -> None:
        super().__init__()
        self.names, self.inputs = list(layers), inputs
        self.features = nn.Sequential(*layers.values())

    def forward(self, image: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
        """Return the outputs of the `wanted` layers by name; layers after the last of them do not run.

        Args:
            image: [N, 1 or 3, H, W] in [-1, 1]; a grey channel is repeated.
            wanted: names of layers.

        Raises:
            ConfigError: unknown layer; the message lists the known ones.
        """
        unknown = sorted(set(wanted) - set(self.names))
        if unknown:
            raise ConfigError(f"unknown layer {', '.join(unknown)}: choose from {', '.join(self.names)}")
        found: dict[str, Tensor] = {}
        x = prepared(image, self.inputs)
        for name, layer in zip(self.names, self.features, strict=True):
            if len(found) == len(set(wanted)):
                break
            x = layer(x)
            if name in wanted:
                found[name] = x
        return found


def prepared(image: Tensor, inputs: Inputs) -> Tensor:
    """Convert images [N, 1 or 3, H, W] in [-1, 1] to network inputs [N, 3, H, W]."""

    def channels(*values: float) -> Tensor:
        return image.new_tensor(values)[:, None, None]

    image = image.expand(-1, 3, -1, -1)
    if inputs == "imagenet":
        return ((image + 1) / 2 - channels(0.485, 0.456, 0.406)) / channels(0.229, 0.224, 0.225)
    if inputs == "caffe":
        return (image.flip(1) + 1) * 127.5 - channels(103.939, 116.779, 123.68)
    return image


# ------------------------------------------------------------------------------------------------- layers


def vgg19_layers() -> dict[str, nn.Module]:
    """Return the convolutional layers of VGG-19: `conv{block}_{n}`, `relu{block}_{n}` and `pool{block}`."""
    layers: dict[str, nn.Module] = {}
    before = 3
    for block, (count, width) in enumerate(((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), start=1):
        for n in range(1, count + 1):
            layers[f"conv{block}_{n}"] = nn.Conv2d(before, width, 3, padding=1)
            layers[f"relu{block}_{n}"] = nn.ReLU()
            before = width
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return layers


class Fire(nn.Module):
    """Fire module of SqueezeNet: a 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, before: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 2 * expand, H, W]."""
        x = relu(self.squeeze(x))
        return relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


def squeezenet_layers() -> dict[str, nn.Module]:
    """Return the convolutional layers of SqueezeNet 1.1 up to fire9: 512 channels at 1/16 of the size."""
    layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, 64, 3, stride=2), "relu1": nn.ReLU()}
    before, fire = 64, 2
    for block, widths in enumerate(((16, 16), (32, 32), (48, 48, 64, 64)), start=1):
        layers[f"pool{block}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
        for squeeze in widths:
            layers[f"fire{fire}"] = Fire(before, squeeze, 4 * squeeze)
            before, fire = 8 * squeeze, fire + 1
    return layers


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut without parameters.

    Where `before` and `after` differ, it halves height and width: the shortcut drops every second pixel and pads the
    channels with zeros.

    Source: arXiv:1512.03385, 4.2, option A.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.stride, self.more = (1 if before == after else 2), (after - before) // 2
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, self.stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, before, H, W] to [N, after, H / stride, W / stride]."""
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return relu(pad(shortcut, (0, 0, 0, 0, self.more, self.more)) + y)


class Stem(nn.Module):
    """A 3x3 convolution with batch norm and ReLU, the first layer of a ResNet for small images."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, before, H, W] to [N, after, H, W]."""
        return relu(self.bn1(self.conv1(x)))


def resnet20_layers() -> dict[str, nn.Module]:
    """Return the layers of ResNet-20 but the last: 16 channels, 32 at half of the size, 64 at a quarter."""
    layers: dict[str, nn.Module] = {"conv1": Stem(3, 16)}
    before = 16
    for stage, after in enumerate((16, 32, 64), start=1):
        for block in range(3):
            layers[f"layer{stage}.{block}"] = Residual(before, after)
            before = after
    return layers


def resnet20_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the published weights under the names of a `Backbone`."""
    places = {f"layer{stage}.{block}.": 3 * stage + block - 2 for stage in (1, 2, 3) for block in range(3)}
    found = {}
    for name, value in state.items():
        plain = name.removeprefix("module.")
        at = next((at for at in places if plain.startswith(at)), "")
        found[f"features.{places.get(at, 0)}.{plain.removeprefix(at)}"] = value
    return found


def random_conv_layers() -> dict[str, nn.Module]:
    """Return four stages of convolution, ReLU and 2x2 average pooling, 240 channels in total."""

    def stage(before: int, width: int) -> nn.Module:
        convolution = nn.Conv2d(before, width, 3, padding=1, padding_mode="replicate")
        return nn.Sequential(convolution, nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True))

    widths = (3, 16, 32, 64, 128)
    return {f"stage{n}": stage(*pair) for n, pair in enumerate(pairwise(widths), start=1)}


def random_state(network: nn.Module) -> dict[str, Tensor]:
    """Return random weights for a network, the same on every machine and with every version of every library.

    Weights are uniform, scaled about as in He et al. (arXiv:1502.01852); biases are uniform in [-0.1, 0.1]. Each
    filter sums to 0, so that it responds to differences rather than to overall brightness. The numbers come from raw
    bits, because numpy guarantees a stable bit stream but not stable distributions.
    """
    bits, state = np.random.PCG64(0), {}
    for name, value in network.state_dict().items():
        unit = (bits.random_raw(value.numel()) >> np.uint64(11)) * 2.0**-53
        drawn = torch.from_numpy(2 * unit - 1).reshape(value.shape)
        if value.ndim > 1:
            drawn = 1.4 * (drawn - drawn.mean((1, 2, 3), keepdim=True)) * (6 / value[0].numel()) ** 0.5
        else:
            drawn = 0.1 * drawn
        state[name] = drawn.float()
    return state


# -------------------------------------------------------------------------------------------------- names


class Known(NamedTuple):
    """A named backbone; if `weights` is None, they are random. `renamed` renames those of a file."""

    layers: Callable[[], dict[str, nn.Module]]
    inputs: Inputs
    weights: Weights | None
    renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict


KNOWN: dict[Name, Known] = {
    "vgg19": Known(vgg19_layers, "imagenet", VGG19),
    "squeezenet": Known(squeezenet_layers, "caffe", SQUEEZENET),
    "resnet20": Known(resnet20_layers, "imagenet", RESNET20, resnet20_state),
    "random_conv": Known(random_conv_layers, "plain", None),
}


@functools.lru_cache(4)
def backbone(
    name: Name, weights_dir: str | None = None, device: str = "cpu", inputs: Inputs | None = None
) -> Backbone:
    """Return a frozen network, cached within this process.

    Args:
        name: name of the network.
        weights_dir: an additional folder to search for its file.
        device: the device it runs on.
        inputs: input normalisation, if not the one it was trained with.

    Raises:
        WeightsError: its file is missing, or has the wrong sha256.
    """
    known = KNOWN[name]
    # On "meta", no random numbers are drawn. Weights loaded in a metric's inference mode could not be used by a loss.
    with torch.inference_mode(False):
        with torch.device("meta"):
            network = Backbone(known.layers(), inputs or known.inputs)
        state = known.renamed(known.weights.load(weights_dir)) if known.weights else random_state(network)
        kept = {key: value for key, value in state.items() if key in network.state_dict()}
        network.load_state_dict(kept, assign=True)
        return network.eval().requires_grad_(False).to(device)
