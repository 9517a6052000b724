"""Text to image: DF-GAN, StackGAN and a projection GAN, arXiv:2008.05865, 1612.03242."""

from __future__ import annotations

from i2i import Catalog, hookimpl


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the tasks, networks and data sets of this folder to `catalog`."""
    from .caption_rank import CaptionRank
    from .captions import Captions
    from .text import Text

    catalog.data("captions", Captions)
    catalog.metric("caption_rank", CaptionRank)
    catalog.modality("text", Text)
