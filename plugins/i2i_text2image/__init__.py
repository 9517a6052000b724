"""Text to image: DF-GAN arXiv:2008.05865, StackGAN arXiv:1612.03242, and a projection GAN arXiv:1802.05637.

Matching of captions and pictures that is learned before the GAN: AttnGAN arXiv:1711.10485.

i2i run configs/text2image.yaml                                     # embedded pictures of coloured shapes, minutes
i2i translate "a red circle" -m runs/text2image -o out
i2i translate captions.txt -m runs/text2image -o out                # a picture for each line
i2i sample 8 -m runs/text2image -o out -c text="two red circles above a blue square"
"""

from __future__ import annotations

from i2i import Catalog, hookimpl


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the tasks `text2image` and `text_matching`, their networks, and what belongs to captions."""
    from .caption_rank import CaptionRank
    from .captions import Captions
    from .encoder import CharacterEncoder, SentenceEncoder, WordEncoder
    from .matcher import MatchingEncoder, TextMatching
    from .networks import DFGANDiscriminator, DFGANGenerator
    from .projected import TextProjectedDiscriminator
    from .projection import TextGenerator, TextProjectionDiscriminator
    from .stackgan import ConditioningAugmentation, StackGANDiscriminator, StackGANGenerator, StackGANRefiner
    from .task import Text2Image
    from .text import Text

    catalog.data("captions", Captions)
    catalog.metric("caption_rank", CaptionRank)
    catalog.modality("text", Text)
    catalog.task("text2image", Text2Image)
    catalog.task("text_matching", TextMatching)
    catalog.network("matching_encoder", MatchingEncoder)
    catalog.network("word_encoder", WordEncoder)
    catalog.network("character_encoder", CharacterEncoder)
    catalog.network("sentence_encoder", SentenceEncoder)
    catalog.network("text_generator", TextGenerator)
    catalog.network("text_projection_discriminator", TextProjectionDiscriminator)
    catalog.network("text_projected_discriminator", TextProjectedDiscriminator)
    catalog.network("df_gan_generator", DFGANGenerator)
    catalog.network("df_gan_discriminator", DFGANDiscriminator)
    catalog.network("conditioning_augmentation", ConditioningAugmentation)
    catalog.network("stackgan_generator", StackGANGenerator)
    catalog.network("stackgan_refiner", StackGANRefiner)
    catalog.network("stackgan_discriminator", StackGANDiscriminator)
