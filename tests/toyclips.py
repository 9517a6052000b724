"""A single-file plugin with two tasks for clips, as small as possible: one predicts, one imagines.

i2i run predict.yaml --plugin toyclips.py
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from i2i import Catalog, Task, hookimpl
from i2i.modalities import Clip


class Predict(Task):
    """Predicts six frames from four, with one convolution."""

    takes, makes = Clip(frames=4, multiple=4), Clip(fps=8)

    def __init__(self) -> None:
        super().__init__()
        self.G = nn.Conv2d(12, 18, 3, padding=1)

    def players(self) -> dict[str, list[nn.Module]]:
        """There is one network."""
        return {"G": [self.G]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Learn "B", [N, 6, 3, H, W], from "A", [N, 4, 3, H, W]."""
        yield "G", {"l1": (self.translate(batch["A"]) - batch["B"]).abs().mean()}

    def translate(self, clip: Tensor) -> Tensor:
        """Return the next six frames."""
        return self.G(clip.flatten(1, 2)).unflatten(1, (6, 3)).tanh()


class Imagine(Task):
    """Draws clips of five frames from noise, with one linear layer."""

    makes = Clip(frames=5, size=16, fps=8)

    def __init__(self) -> None:
        super().__init__()
        self.G = nn.Linear(8, 5 * 3 * 16 * 16)

    def players(self) -> dict[str, list[nn.Module]]:
        """There is one network."""
        return {"G": [self.G]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Come near "clip" on average."""
        yield "G", {"l1": (self.sample(len(batch["clip"])) - batch["clip"]).abs().mean()}

    def sample(self, n: int) -> Tensor:
        """Return `n` clips [n, 5, 3, 16, 16]."""
        return self.G(torch.randn(n, 8, device=self.G.weight.device)).view(n, 5, 3, 16, 16).tanh()


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the tasks."""
    catalog.task("predict", Predict)
    catalog.task("imagine", Imagine)
