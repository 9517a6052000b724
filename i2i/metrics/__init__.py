"""Metrics: callables `metric(task, data) -> dict[str, float]` on the validation samples of a data set.

`base` gives what a task predicts or samples, `pairs` and `lpips` compare each with its truth, `colour` says how
colourful they are, `sets` compares them all together with all true pictures, through the fixed networks of
`features`, and `classes` reads what they show.
`animals` scores the translation of the embedded horses and zebras, where the truth is known.
"""

from __future__ import annotations

from ..catalog import Catalog
from .animals import AnimalTruth
from .base import PAIRS, Needs, answers, batches, check_needs, device_of, sampled
from .classes import ClassAccuracy, ClassShare
from .colour import Colourfulness
from .lpips import LPIPS
from .pairs import PSNR, SSIM
from .sets import KID, Frechet

__all__ = [
    "KID",
    "LPIPS",
    "PAIRS",
    "PSNR",
    "SSIM",
    "AnimalTruth",
    "ClassAccuracy",
    "ClassShare",
    "Colourfulness",
    "Frechet",
    "Needs",
    "answers",
    "batches",
    "check_needs",
    "device_of",
    "register",
    "sampled",
]


def register(catalog: Catalog) -> None:
    """Add the metrics of this folder to `catalog`."""
    catalog.metric("animal_truth", AnimalTruth)
    catalog.metric("psnr", PSNR)
    catalog.metric("ssim", SSIM)
    catalog.metric("lpips", LPIPS)
    catalog.metric("colourfulness", Colourfulness)
    catalog.metric("kid", KID)
    catalog.metric("frechet", Frechet)
    catalog.metric("class_accuracy", ClassAccuracy)
    catalog.metric("class_share", ClassShare)
