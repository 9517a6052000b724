"""Colourfulness of predictions relative to the ground truth, for colorization, where hedging produces brown.

metrics: [{use: colourfulness}]      # in a config whose validation samples have "A" and "B"
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..data.base import Data
from ..modalities import Image
from .base import Needs, answers


class Colourfulness:
    """Colourfulness of the predictions and of the ground truth, and their ratio.

    - `fake`, `real`: mean of Hasler and Suesstrunk's M3 over the images, on values 0..255. Viewers in the paper rated
      15 as slightly, 33 as moderately and 59 as quite colourful; grey is 0.
    - `ratio`: `fake` / `real`. 1 is best.

    Raises:
        ConfigError: the validation samples have no "A" and "B".

    Source:
        Hasler and Suesstrunk, Measuring colourfulness in natural images, SPIE 5007, 2003, section 7.

    Example:
        `Colourfulness()(task, data)["ratio"]`
    """

    needs = Needs(makes=Image, source=True, target=True)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the three scores of a `Task` on `data.validation()`."""
        pairs = [(colourfulness(fake), colourfulness(sample[task.target])) for sample, fake in answers(task, data)]
        fake, real = torch.tensor(pairs).mean(0).tolist()
        return {"fake": fake, "real": real, "ratio": fake / max(real, 1e-9)}


def colourfulness(image: Tensor) -> float:
    """Return M3 of an image [1 or 3, H, W] in [-1, 1]: sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2).

    rg = R - G and yb = (R + G) / 2 - B on values 0..255; s is the standard deviation and m the mean over pixels.
    """
    r, g, b = (image.double().expand(3, -1, -1) + 1) * 127.5
    opponents = torch.stack([r - g, (r + g) / 2 - b]).flatten(1)
    spread, mean = opponents.std(1, correction=0), opponents.mean(1)
    return (spread.norm() + 0.3 * mean.norm()).item()
