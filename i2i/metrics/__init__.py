"""Metrics: callables `metric(task, data) -> dict[str, float]` on the validation samples of a data set.

`base` yields what a task predicts or samples, `pairs` and `lpips` compare each prediction with its ground truth,
`colour` measures colourfulness, and `sets` compares the sets of generated and real images with the fixed networks in
`features` and `inception`. Metrics that use the ground truth of drawn scenes are in plugins/i2i_scenes.
"""

from __future__ import annotations

from ..catalog import Catalog
from .base import PAIRS, Needs, answers, batches, check_needs, device_of, sampled
from .colour import Colourfulness
from .features import check as check_weights
from .features import features as features_of
from .features import lenet_logits, squared
from .inception import FID, InceptionScore
from .lpips import LPIPS
from .pairs import PSNR, SSIM, psnr, ssim
from .sets import KID, Frechet

__all__ = [
    "FID",
    "KID",
    "LPIPS",
    "PAIRS",
    "PSNR",
    "SSIM",
    "Colourfulness",
    "Frechet",
    "InceptionScore",
    "Needs",
    "answers",
    "batches",
    "check_needs",
    "check_weights",
    "device_of",
    "features_of",
    "lenet_logits",
    "psnr",
    "sampled",
    "squared",
    "ssim",
]


def register(catalog: Catalog) -> None:
    """Register the metrics of this package in `catalog`."""
    catalog.metric("psnr", PSNR)
    catalog.metric("ssim", SSIM)
    catalog.metric("lpips", LPIPS)
    catalog.metric("colourfulness", Colourfulness)
    catalog.metric("kid", KID)
    catalog.metric("frechet", Frechet)
    catalog.metric("fid", FID)
    catalog.metric("inception_score", InceptionScore)
