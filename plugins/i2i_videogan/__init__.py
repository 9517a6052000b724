"""Video generation and prediction: MoCoGAN, VGAN and DVD-GAN, arXiv:1707.04993, 1609.02612, 1907.06571.

i2i run configs/videogan.yaml                 # embedded moving digits, class-conditional, minutes
i2i run configs/video_prediction.yaml         # 4 frames given, 12 predicted
i2i sample 8 -o OUT -m runs/videogan -c label=3
i2i translate clip.gif -o OUT -m runs/video_prediction
"""

from __future__ import annotations

from i2i import Catalog, hookimpl

from .dvdgan import DVDGANGenerator, SpatialDiscriminator, TemporalDiscriminator
from .layered import LayeredGenerator, SolidGenerator, StackedDiscriminator
from .metrics import ClipDistance, FrameScores, Motion
from .mocogan import (
    MoCoGANGenerator,
    PatchPictureDiscriminator,
    PatchVideoDiscriminator,
    PictureDiscriminator,
    VideoDiscriminator,
)
from .prediction import VideoPrediction
from .predictor import FramePredictor
from .task import VideoGAN
from .vgan import VGANGenerator

__all__ = [
    "ClipDistance",
    "DVDGANGenerator",
    "FramePredictor",
    "FrameScores",
    "LayeredGenerator",
    "MoCoGANGenerator",
    "Motion",
    "PatchPictureDiscriminator",
    "PatchVideoDiscriminator",
    "PictureDiscriminator",
    "SolidGenerator",
    "SpatialDiscriminator",
    "StackedDiscriminator",
    "TemporalDiscriminator",
    "VGANGenerator",
    "VideoDiscriminator",
    "VideoGAN",
    "VideoPrediction",
    "register",
]


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the tasks, networks and metrics of this folder to `catalog`."""
    catalog.task("videogan", VideoGAN)
    catalog.task("video_prediction", VideoPrediction)
    catalog.network("mocogan_generator", MoCoGANGenerator)
    catalog.network("picture_discriminator", PictureDiscriminator)
    catalog.network("patch_picture_discriminator", PatchPictureDiscriminator)
    catalog.network("video_discriminator", VideoDiscriminator)
    catalog.network("patch_video_discriminator", PatchVideoDiscriminator)
    catalog.network("dvdgan_generator", DVDGANGenerator)
    catalog.network("spatial_discriminator", SpatialDiscriminator)
    catalog.network("temporal_discriminator", TemporalDiscriminator)
    catalog.network("vgan_generator", VGANGenerator)
    catalog.network("layered_generator", LayeredGenerator)
    catalog.network("solid_generator", SolidGenerator)
    catalog.network("stacked_discriminator", StackedDiscriminator)
    catalog.network("frame_predictor", FramePredictor)
    catalog.metric("motion", Motion)
    catalog.metric("clip_distance", ClipDistance)
    catalog.metric("frame_scores", FrameScores)
