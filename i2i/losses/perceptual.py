"""Perceptual loss: the distance between two images in the feature space of a pretrained network.

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
    "resnet20": {"conv1": 0.68, "layer1.2": 0.38, "layer2.2": 0.41, "layer3.2": 0.28},
    "random_conv": {"stage1": 1.0, "stage2": 1.0, "stage3": 1.0, "stage4": 1.0},
}


class Perceptual:
    """Weighted sum of the distances between two images in some layers of a pretrained network.

    The network is loaded at the first call, once per process and device, and is not a submodule. So the loss has no
    parameters and no state, published weights do not contain it, and a trained model works without its file.

    Args:
        network: "vgg19" as published; "squeezenet", a small one; "resnet20", a smaller one for tiny images;
            "random_conv", which is untrained and needs no file, so it compares little more than colours, edges and
            textures.
        layers: layer name -> weight. The default for vgg19 is SPADE's. For the others it is ours: all layers count
            the same, and the loss of two unrelated photographs is about 1.
        distance: "l1" for the mean absolute, "l2" for the mean squared difference.
        inputs: input normalisation: "imagenet", "caffe" or "plain" (see `backbones.Backbone`). By default the one the
            network was trained with, except "plain" for vgg19, as in SPADE and pix2pixHD.
        weights_dir: an additional folder to search for the network's file.

    Raises:
        ConfigError: unknown layer.

    Source:
        SPADE's code for the weights 1/32 ... 1 with L1 and unnormalised inputs. SRGAN divides features by 12.75,
        which is a weight of 1 / 12.75^2 = 0.00615. ESRGAN uses features before the activation, with L1.

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
            problem = f"{network} has no layer {', '.join(unknown)}" if unknown else f"{network}: no layer is named"
            raise ConfigError(f"{problem}: choose from {', '.join(names)}")

    def __call__(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the loss, a scalar, differentiable in `fake` only.

        Args:
            fake: generated images [N, 1 or 3, H, W] in [-1, 1]; the network runs on their device.
            real: target images of the same shape.

        Raises:
            WeightsError: the network's file is missing; the message states where to get it.
        """
        network = backbone(self.network, self.weights_dir, str(fake.device), self.inputs)
        with torch.no_grad():
            targets = network(real, self.layers)
        features = network(fake, self.layers)
        distance = l1_loss if self.distance == "l1" else mse_loss
        return torch.stack([w * distance(features[name], targets[name]) for name, w in self.layers.items()]).sum()
