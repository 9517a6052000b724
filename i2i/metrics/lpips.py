"""LPIPS: a perceptual distance between images, learned from human judgements.

    metrics: [{use: lpips, net: alex}]                                  # LPIPS, as reported in papers
    metrics: [{use: lpips, net: squeeze, backbone: keras_squeezenet}]   # not LPIPS, but needs a smaller file

Paper: arXiv:1801.03924. Uses the package `lpips`, which includes the linear heads; the weights file of the backbone
must exist locally (see `i2i.losses.pretrained`). The package imports torchvision, so it is imported lazily.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.base import Data
from ..errors import ConfigError, WeightsError
from ..losses.backbones import SQUEEZENET, prepared
from ..losses.pretrained import Weights
from ..losses.torchvision_guard import import_torchvision
from .base import PAIRS, device_of
from .pairs import pairs

Net = Literal["alex", "vgg", "squeeze"]
BackboneName = Literal["official", "keras_squeezenet"]


def of_torchvision(file: str, what: str) -> Weights:
    """Return a torchvision weights file, whose name contains the first digits of its sha256."""
    address = f"https://download.pytorch.org/models/{file}"
    return Weights(file, f"{what} of torchvision, trained on ImageNet", address, file[-12:-4])


OFFICIAL: dict[Net, Weights] = {
    "alex": of_torchvision("alexnet-owt-7be5be79.pth", "AlexNet"),
    "vgg": of_torchvision("vgg16-397923af.pth", "VGG-16"),
    "squeeze": of_torchvision("squeezenet1_1-b8a52dc0.pth", "SqueezeNet 1.1"),
}


class LPIPS:
    """Mean learned perceptual distance between each prediction and its "B". 0 is best.

    The score is named after the network: `alex`, `vgg` or `squeeze`. `squeeze_keras`, with the SqueezeNet from Keras,
    is not LPIPS: it can rank models, but its values are not comparable with published ones.

    Args:
        net: the network. Papers report alex; vgg is the usual choice for losses.
        backbone: "official" needs torchvision's file. "keras_squeezenet", for net squeeze only, combines the LPIPS
            heads with a different SqueezeNet than the one they were trained on.
        weights_dir: additional folder to search for the weights file.

    Raises:
        ConfigError: the net has no such backbone, or a prediction cannot be compared with its "B".
        WeightsError: the weights file is missing; the message states where to get it.

    Source:
        Zhang et al., arXiv:1801.03924, version 0.1.
    """

    needs = PAIRS

    def __init__(
        self, net: Net = "alex", backbone: BackboneName = "official", weights_dir: str | None = None
    ) -> None:
        if backbone != "official" and net != "squeeze":
            raise ConfigError(
                f"lpips with net {net} has no backbone {backbone}: use backbone official, or net squeeze"
            )
        try:
            file_of(net, backbone).find(weights_dir)  # fail now rather than after hours of training
        except WeightsError as error:
            raise WeightsError(f"lpips with net {net} needs a weights file: {error}") from error
        self.net, self.backbone, self.weights_dir = net, backbone, weights_dir

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the score of a `Task` on `data.validation()`."""
        device = str(device_of(task))
        distance = distance_of(self.net, self.backbone, self.weights_dir, device)
        found = []
        with torch.no_grad():
            for _, fake, real in pairs(task, data):
                first, second = (image.expand(3, -1, -1)[None].to(device) for image in (fake, real))
                found.append(distance(first, second).item())
        name = self.net if self.backbone == "official" else f"{self.net}_keras"
        return {name: sum(found) / len(found)}


def file_of(net: Net, backbone: BackboneName) -> Weights:
    """Return the weights file of the backbone."""
    return OFFICIAL[net] if backbone == "official" else SQUEEZENET


@functools.lru_cache(2)
def distance_of(net: Net, backbone: BackboneName, weights_dir: str | None, device: str = "cpu") -> Any:
    """Return the frozen distance: two images [N, 3, H, W] in [-1, 1] -> [N, 1, 1, 1].

    Raises:
        WeightsError: the weights file is missing or is the wrong file.
    """
    state = file_of(net, backbone).load(weights_dir)
    import_torchvision()
    import lpips

    # The package would download the backbone, so build it with random weights and load the file instead.
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distance = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    trunk = {key: state[f"features.{key.split('.', 1)[1]}"] for key in distance.net.state_dict()}
    distance.net.load_state_dict(trunk)
    if backbone == "keras_squeezenet":
        distance.scaling_layer = Caffe()
    return distance.requires_grad_(False).to(device)


class Caffe(torch.nn.Module):
    """Caffe-style preprocessing that replaces LPIPS' own scaling layer."""

    def forward(self, image: Tensor) -> Tensor:
        """Convert images [N, 3, H, W] in [-1, 1] to BGR in 0..255 with the ImageNet mean subtracted."""
        return prepared(image, "caffe")
