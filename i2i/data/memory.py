"""Labelled images kept decoded in memory as uint8, used by `digits`, `mnist` and `labelled`.

A training step of a small network takes milliseconds, so a sample must take microseconds: nothing is decoded twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .base import Sample

VALUES = np.arange(256, dtype=np.float32) / np.float32(127.5) - 1
"""The float value of each byte, bit-identical to `to_tensor`; a lookup is three times as fast as computing it."""


class InMemory(Sequence[Sample]):
    """In-memory images with labels; samples are built on access.

    Args:
        pictures: uint8 [N, H, W], or [N, C, H, W].
        labels: integers [N].

    Example:
        >>> held = InMemory(np.full((3, 28, 28), 255, np.uint8), np.arange(3))
        >>> held[2]["image"].shape, held[2]["image"].max(), held[2]["label"]
        (torch.Size([1, 28, 28]), tensor(1.), tensor(2))
    """

    def __init__(self, pictures: np.ndarray, labels: np.ndarray) -> None:
        self.pictures = np.ascontiguousarray(pictures[:, None] if pictures.ndim == 3 else pictures)
        self.labels = torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """Return {"image": float32 [C, H, W] in [-1, 1], "label": int64 []}."""
        image = torch.from_numpy(VALUES.take(self.pictures[index]))
        return {"image": image, "label": self.labels[index]}

    def batch(self, indices: Sequence[int]) -> Sample:
        """Return the samples at `indices`, stacked, with a single lookup."""
        chosen = list(indices)
        return {"image": torch.from_numpy(VALUES.take(self.pictures[chosen])), "label": self.labels[chosen]}
