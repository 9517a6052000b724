"""The replay pool: a discriminator also sees older fakes, so that it does not forget what G once did.

Papers: Shrivastava et al. arXiv:1612.07828 section 2.3, CycleGAN arXiv:1703.10593 section 4.
Run by: `i2i run configs/cyclegan.yaml` (`pool: 50`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ReplayPool(nn.Module):
    """Remember `size` images and mix them into those that pass.

    Image by image: while the pool is not full, the image is stored and returned. Afterwards, half the time, a
    random stored image is returned and the new one takes its place.

    All that a resume needs (the images, the generator) is extra state of the module, no buffer: a published
    weights file does not carry it. The random numbers are the pool's own, drawn on the CPU, so nothing else
    shifts them.

    Args:
        size: images to remember; 0 returns what comes.
        seed: start of the pool's random numbers; pools with different seeds decide independently.

    Source: pytorch-CycleGAN-and-pix2pix, pool of 50 and one swap in two.

    Example:
        >>> pool = ReplayPool(size=1)
        >>> bool((pool(torch.zeros(1, 3, 4, 4)) == 0).all())
        True
    """

    def __init__(self, size: int = 50, seed: int = 0) -> None:
        super().__init__()
        self.size = size
        self.stored: list[Tensor] = []
        self.random = torch.Generator().manual_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        """Pass images through the pool.

        Args:
            images: [N, C, H, W], all calls alike in C, H and W.

        Returns:
            The same shape, detached.
        """
        images = images.detach()
        if self.size == 0:
            return images
        return torch.stack([self.exchange(image) for image in images])

    def exchange(self, image: Tensor) -> Tensor:
        """Return `image` [C, H, W] or a stored one in its stead."""
        if len(self.stored) < self.size:
            self.stored.append(image.clone())  # a view would keep the whole batch in memory
            return image
        if torch.rand((), generator=self.random).item() < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self.random))
        older, self.stored[place] = self.stored[place], image.clone()
        return older.to(image)

    def get_extra_state(self) -> dict[str, Any]:
        """Return {"images": [count, C, H, W] or empty, "count": int, "random": uint8 [n]}."""
        stored = [image.to(self.stored[0]) for image in self.stored]  # one device, if the task has moved
        images = torch.stack(stored) if stored else torch.empty(0)
        return {"images": images, "count": len(self.stored), "random": self.random.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Continue where `get_extra_state` was called; images move to the device of those that come next."""
        self.stored = [image.clone() for image in state["images"][: int(state["count"])]]
        self.random.set_state(state["random"].cpu())
