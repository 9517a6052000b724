"""Perceptual loss: the distance of two pictures in the layers of a fixed network.

    perceptual: {use: perceptual}                                                       # SPADE, pix2pixHD
    perceptual: {use: perceptual, layers: {conv5_4: 1.0}, inputs: imagenet}                       # ESRGAN
    perceptual: {use: perceptual, layers: {relu5_4: 0.00615}, distance: l2, inputs: imagenet}     # SRGAN, VGG54
    perceptual: {use: perceptual, network: squeezenet}                                  # a small network

Papers: arXiv:1603.08155; SPADE arXiv:1903.07291, SRGAN arXiv:1609.04802, ESRGAN arXiv:1809.00219.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from ..errors import ConfigError
from .backbones import KNOWN, Inputs, Name, backbone

LAYERS: dict[Name, dict[str, float]] = {
    "vgg19": {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1.0},
    "squeezenet": {"relu1": 0.0082, "fire3": 0.0049, "fire5": 0.0057, "fire7": 0.0093, "fire9": 0.043},
    "random_conv": {"stage1": 1.0, "stage2": 1.0, "stage3": 1.0, "stage4": 1.0},
}


class Perceptual:
    """The weighted distances of two pictures in some layers of a fixed network.

    It holds no network: that is read at the first call, once for each process and device. So it has no parameter
    and no state, published weights carry none of it, and a trained model works where its file is missing.

    Args:
        network: "vgg19" as published; "squeezenet", a small one; "random_conv", which needs no file and has learned
            nothing, so that it says little more than colours, edges and textures do.
        layers: name of a layer -> weight. By default SPADE's for vgg19. For the others they are ours: each layer
            counts the same, and the sum is about 1 for two photographs that have nothing to do with each other.
        distance: "l1" is the mean absolute, "l2" the mean squared difference.
        inputs: what the network is given: "imagenet", "caffe" or "plain" (see `backbones.Backbone`). By default
            what it was trained with; but "plain" for vgg19, as SPADE and pix2pixHD do.
        weights_dir: where else to look for the network's file.

    Raises:
        ConfigError: an unknown layer.

    Source:
        The weights 1/32 ... 1 with L1 and unscaled inputs: the published code of SPADE. SRGAN divides features by
        12.75, which is a weight of 1 / 12.75^2 = 0.00615. ESRGAN: features before the activation, L1.

    Example:
        >>> loss = Perceptual("random_conv")
        >>> image = torch.rand(2, 3, 32, 32) * 2 - 1
        >>> loss(image, image)
        tensor(0.)
    """

    def __init__(
        self,
        network: Name = "vgg19",
        layers: dict[str, Annotated[float, Field(ge=0)]] | None = None,
        distance: Literal["l1", "l2"] = "l1",
        inputs: Inputs | None = None,
        weights_dir: str | None = None,
    ) -> None:
        self.network, self.distance, self.weights_dir = network, distance, weights_dir
        self.layers = LAYERS[network] if layers is None else layers
        self.inputs = inputs or ("plain" if network == "vgg19" else KNOWN[network].inputs)
        with torch.device("meta"):
            names = list(KNOWN[network].layers())
        unknown = sorted(set(self.layers) - set(names))
        if unknown or not self.layers:
            given = f"no layer {', '.join(unknown)}" if unknown else "layers, and none is asked for"
            raise ConfigError(f"{network} has {given}: possible are {', '.join(names)}")

    def __call__(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the loss, a scalar, differentiable in `fake` only.

        Args:
            fake: generated images [N, 1 or 3, H, W] in [-1, 1], on the device where the network is to run.
            real: what they should look like, the same shape.

        Raises:
            WeightsError: the network's file is missing; the message says where to get it.
        """
        network = backbone(self.network, self.weights_dir, str(fake.device), self.inputs)
        with torch.no_grad():
            wanted = network(real, self.layers)
        found = network(fake, self.layers)
        distance = l1_loss if self.distance == "l1" else mse_loss
        return torch.stack([w * distance(found[name], wanted[name]) for name, w in self.layers.items()]).sum()
