"""What a fixed network sees of pictures: three of its layers, for the discriminator and the matching encoder.

Papers: projected GANs arXiv:2111.01007; ResNet-20 arXiv:1512.03385. Test with: `pytest tests/test_text2image.py`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import interpolate

from i2i.losses import backbone

Fixed = Literal["resnet20", "random_conv"]

LAYERS: dict[Fixed, dict[str, int]] = {
    "resnet20": {"layer1.2": 16, "layer2.2": 32, "layer3.2": 64},
    "random_conv": {"stage1": 16, "stage2": 32, "stage3": 64},
}
"""The layers of each network that are used, and their channels. The metrics' squeezenet is not among them."""

SIDE = 32  # pixels, height and width that the networks see


def seen(image: Tensor, network: Fixed, weights_dir: str | None = None) -> tuple[Tensor, list[Tensor]]:
    """Return images [N, C, H, W] in [-1, 1] at 32 pixels, and what the layers of a fixed network make of them.

    Raises:
        WeightsError: the network's file is missing.
    """
    small = interpolate(image, (SIDE, SIDE), mode="area")
    found = backbone(network, weights_dir, str(image.device))(small, LAYERS[network])
    return small, [found[name] for name in LAYERS[network]]
