"""Trajectory prediction: Social GAN (arXiv:1803.10892), and a small forecaster of our own that is better.

i2i run configs/trajectory.yaml                                       # embedded crowds, minutes
i2i run configs/real/trajectory.yaml data.root=DIR data.scene=zara1   # ours on ETH/UCY
i2i run configs/real/social_gan.yaml data.root=DIR data.scene=zara1   # the published networks and losses
i2i translate scene.txt -m RUN -o OUT                                 # paths as text, a picture and an animation
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from i2i import Catalog, hookimpl

from .data import Trajectories
from .forecaster import HeadingForecaster
from .losses import DistanceVariety, SmoothedCrossEntropy, SquaredVariety
from .metrics import DisplacementErrors
from .official import adopted
from .optim import clipped_adam
from .social_gan import SocialGANDiscriminator, SocialGANGenerator
from .task import Trajectory
from .tracks import Forecast, Forecasts, Tracks

__all__ = [
    "DisplacementErrors",
    "DistanceVariety",
    "Forecast",
    "Forecasts",
    "HeadingForecaster",
    "SmoothedCrossEntropy",
    "SocialGANDiscriminator",
    "SocialGANGenerator",
    "SquaredVariety",
    "Tracks",
    "Trajectories",
    "Trajectory",
    "clipped_adam",
]


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `trajectory` with its modalities, networks, losses, data set, metric and optimizer."""
    catalog.task("trajectory", Trajectory)
    catalog.modality("tracks", Tracks)
    catalog.network("social_gan_generator", SocialGANGenerator)
    catalog.network("social_gan_discriminator", SocialGANDiscriminator)
    catalog.network("heading_forecaster", HeadingForecaster)
    catalog.loss("squared_variety", SquaredVariety)
    catalog.loss("distance_variety", DistanceVariety)
    catalog.loss("smoothed_cross_entropy", SmoothedCrossEntropy)
    catalog.data("trajectories", Trajectories)
    catalog.metric("displacement_errors", DisplacementErrors)
    catalog.optimizer("clipped_adam", clipped_adam)


@hookimpl
def adopt_weights(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise a generator of Social GAN."""
    return adopted(tensors, metadata)
