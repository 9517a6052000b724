"""Metrics: callables `metric(task, data) -> dict[str, float]` on the validation samples of a data set.

`base` gives what a task predicts or samples, `pairs` and `lpips` compare each with its truth, `colour` says how
colourful they are, `sets` compares them all together with all true pictures, through the fixed networks of
`features`. Metrics that know the truth about drawn pictures are in plugins/i2i_scenes.
"""

from __future__ import annotations

from ..catalog import Catalog
from .base import PAIRS, Needs, answers, batches, check_needs, device_of, sampled
from .colour import Colourfulness
from .features import check as check_weights
from .features import lenet_logits, squared
from .lpips import LPIPS
from .pairs import PSNR, SSIM
from .sets import KID, Frechet

__all__ = [
    "KID",
    "LPIPS",
    "PAIRS",
    "PSNR",
    "SSIM",
    "Colourfulness",
    "Frechet",
    "Needs",
    "answers",
    "batches",
    "check_needs",
    "check_weights",
    "device_of",
    "lenet_logits",
    "sampled",
    "squared",
]


def register(catalog: Catalog) -> None:
    """Add the metrics of this folder to `catalog`."""
    catalog.metric("psnr", PSNR)
    catalog.metric("ssim", SSIM)
    catalog.metric("lpips", LPIPS)
    catalog.metric("colourfulness", Colourfulness)
    catalog.metric("kid", KID)
    catalog.metric("frechet", Frechet)
