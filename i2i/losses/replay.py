"""The replay pool: the discriminator also sees older fakes, so that it does not forget them.

Papers: Shrivastava et al. arXiv:1612.07828 section 2.3, CycleGAN arXiv:1703.10593 section 4.
Run with: `i2i run configs/cyclegan.yaml` (`pool: 50`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ReplayPool(nn.Module):
    """A buffer of generated images, mixed into those that pass through.

    For each image: until the pool is full, store and return it. Then, with probability 1/2, return a random stored
    image and store the new one in its place.

    Images and random state are extra state of the module rather than buffers: checkpoints contain them, published
    weights do not. The pool has its own CPU generator, so nothing else affects its random numbers.

    Args:
        size: number of images to store; 0 disables the pool.
        seed: seed of the pool's generator; pools with different seeds are independent.

    Source: pytorch-CycleGAN-and-pix2pix, with a pool of 50 and a swap probability of 1/2.

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
            images: [N, C, H, W]; C, H and W are the same in all calls.

        Returns:
            The same shape, detached.
        """
        images = images.detach()
        if self.size == 0:
            return images
        return torch.stack([self.exchange(image) for image in images])

    def exchange(self, image: Tensor) -> Tensor:
        """Return `image` [C, H, W], or a stored one in its place."""
        if image.device.type == "cpu" and not image.isfinite().all():
            return image  # of a step that is skipped with `train.on_nan=skip`
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
        self.stored = [image for image in self.stored if image.isfinite().all()]
        stored = [image.to(self.stored[0]) for image in self.stored]  # one device, even if the task was moved
        images = torch.stack(stored) if stored else torch.empty(0)
        return {"images": images, "count": len(self.stored), "random": self.random.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned; images move to the device of later calls."""
        self.stored = [image.clone() for image in state["images"][: int(state["count"])]]
        self.random.set_state(state["random"].cpu())
