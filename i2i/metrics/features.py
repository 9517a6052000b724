"""Feature extractors: fixed networks that map images to vectors, and that metrics are named after.

    squeezenet     512 features of SqueezeNet 1.1, at 224 px; for photographs
    vgg19          512 features of VGG-19, at 224 px; for photographs
    resnet20       64 features of a ResNet-20 trained on CIFAR-10, at 32 px
    lenet          84 features of a LeNet-5 trained on MNIST, at 32 px, grey
    inception      2048 features of the Inception-v3 of FID, at 299 px; see inception.py
    random_conv    240 features of random convolutions, at 128 px; needs no weights file, sees only colour and texture

Except with Inception, distances between features are not FIDs, nor comparable with FIDs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, linear, max_pool2d, relu

from ..errors import WeightsError
from ..losses.backbones import RESNET20, SQUEEZENET, VGG19, Backbone, backbone
from ..losses.pretrained import Weights
from .base import batches

Name = Literal["squeezenet", "vgg19", "resnet20", "lenet", "inception", "random_conv"]

LENET = Weights(
    "mnist_lenet.pth",
    "LeNet-5 trained on MNIST",
    "https://github.com/csinva/gan-vae-pretrained-pytorch, classifiers/weights/lenet_epoch=12_test_acc=0.991.pth",
    "7b3591ba5a63752a7e728d7f7e511266556a2ec66844810da9f475e07019b85e",
)


SIZES: dict[Name, int] = {"squeezenet": 224, "vgg19": 224, "resnet20": 32, "lenet": 32, "random_conv": 128}
FILES: dict[Name, Weights] = {"squeezenet": SQUEEZENET, "vgg19": VGG19, "resnet20": RESNET20, "lenet": LENET}


def check(name: Name, weights_dir: str | None = None) -> None:
    """Raise WeightsError early if the weights file of an extractor is missing or is the wrong file."""
    if name == "inception":
        from . import inception

        inception.check(weights_dir)
    if name in FILES:
        try:
            FILES[name].find(weights_dir)
        except WeightsError as error:
            raise WeightsError(f"{error}; or use extractor: random_conv, which needs no file") from error


def features(images: Iterable[Tensor], name: Name, weights_dir: str | None = None, device: str = "cpu") -> Tensor:
    """Return the features of images.

    Args:
        images: [1 or 3, H, W] in [-1, 1], of any sizes; each is resized to the extractor's square input size.
        name: the extractor, one of those listed in the module docstring.
        weights_dir: additional folder to search for its weights file.
        device: device to run on.

    Returns:
        float64 [N, D] on the CPU.

    Raises:
        WeightsError: the weights file is missing or is the wrong file; the message states where to get it.
    """
    if name == "inception":
        from . import inception

        return inception.outputs(images, weights_dir, device)[0]
    size, extract = extractor(name, weights_dir, device)
    found = []
    with torch.no_grad():
        for some in batches((squared(image, size) for image in images), 16):
            found.append(extract(torch.stack(some).to(device)).double().cpu())
    return torch.cat(found)


def prepared_as(name: Name) -> str:
    """Return how images are prepared for an extractor, for reports."""
    if name == "inception":
        return "resized to 299x299 pixels, bilinear without antialiasing, as in TensorFlow 1"
    return f"resized to {SIZES[name]}x{SIZES[name]} pixels, bilinear with antialiasing"


def squared(image: Tensor, size: int) -> Tensor:
    """Resize [1 or 3, H, W] to [3, size, size], bilinearly, with antialiasing when shrinking."""
    resized = interpolate(image[None].float(), (size, size), mode="bilinear", antialias=True)
    return resized[0].expand(3, -1, -1)


def extractor(name: Name, weights_dir: str | None, device: str) -> tuple[int, Callable[[Tensor], Tensor]]:
    """Return the input size of an extractor, and the function [N, 3, size, size] in [-1, 1] -> [N, D]."""
    size = SIZES[name]
    if name == "lenet":
        return size, functools.partial(lenet, kept(LENET, weights_dir, device))
    network = backbone(name, weights_dir, device)
    if name == "resnet20":
        return size, functools.partial(pooled, network, ["layer3.2"])
    if name == "random_conv":
        return size, lambda image: torch.log(pooled(network, network.names, image) + 0.01)  # log: ratios matter
    return size, functools.partial(pooled, network, ["fire9" if name == "squeezenet" else "relu5_4"])


def pooled(network: Backbone, layers: list[str], image: Tensor) -> Tensor:
    """Return the spatial means of the outputs of some layers, concatenated: [N, total channels]."""
    found = network(image, layers)
    return torch.cat([found[layer].mean((2, 3)) for layer in layers], 1)


@functools.lru_cache(2)
def kept(weights: Weights, weights_dir: str | None, device: str) -> dict[str, Tensor]:
    """Return the tensors of a weights file, loaded once per process."""
    return {name: value.to(device) for name, value in weights.load(weights_dir).items()}


def lenet(w: dict[str, Tensor], image: Tensor) -> Tensor:
    """Return the penultimate features of LeNet-5 with the weights `w`: [N, 3, 32, 32] -> [N, 84].

    Source: the network published with the weights: ReLU and max-pooling, grey in [0, 1].
    """
    x = (image.mean(1, keepdim=True) + 1) / 2
    for layer in ("c1", "c3"):
        x = max_pool2d(relu(conv2d(x, w[f"convnet.{layer}.weight"], w[f"convnet.{layer}.bias"])), 2)
    x = relu(conv2d(x, w["convnet.c5.weight"], w["convnet.c5.bias"])).flatten(1)
    return relu(linear(x, w["fc.f6.weight"], w["fc.f6.bias"]))


def lenet_logits(weights_dir: str | None = None) -> Callable[[Tensor], Tensor]:
    """Return LeNet-5 as a classifier of handwritten digits: images [N, 1, 32, 32] in [-1, 1] -> logits [N, 10].

    Raises:
        WeightsError: its file is missing or is not the expected one; the message says where to get it.
    """
    w = kept(LENET, weights_dir, "cpu")
    return lambda image: linear(lenet(w, image), w["fc.f7.weight"], w["fc.f7.bias"])
