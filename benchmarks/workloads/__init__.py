"""What benchmarks/speed.py measures: each family on both sides, a plain reference and i2i.

A workload is a function with the published sizes as defaults. It returns a `Training` or an `Inference`, which build
and check both sides.
"""

from __future__ import annotations

from collections.abc import Callable

from .checks import Missing, Sides
from .families import cyclegan, dcgan, pix2pix, spade, srresnet, vqvae2
from .inference import Inference, resnet_inference, rrdb_inference, srresnet_inference
from .recorded import social_gan, vae
from .training import Training

__all__ = ["WORKLOADS", "Inference", "Missing", "Sides", "Training"]

WORKLOADS: dict[str, Callable[..., Training | Inference]] = {
    "cyclegan": cyclegan,
    "pix2pix": pix2pix,
    "spade": spade,
    "srresnet": srresnet,
    "dcgan": dcgan,
    "vqvae2": vqvae2,
    "vae": vae,
    "social_gan": social_gan,
    "resnet_inference": resnet_inference,
    "srresnet_inference": srresnet_inference,
    "rrdb_inference": rrdb_inference,
}
