"""Captions <-> pictures, learned before a GAN, whose generator then has to match its captions: AttnGAN's DAMSM.

    i2i run configs/real/matching_flickr.yaml data.root=DIR         # the task text_matching trains a matching_encoder
    encoder: {use: matching_encoder, fixed: true}      # in a config of text2image, with
    train: {start_from: runs/matching_flickr, ...}

Pictures are seen through a fixed network, ResNet-20 trained on CIFAR-10, never through the one of the metrics.
Paper: arXiv:1711.10485 section 3.2. Test with: `pytest tests/test_text2image.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Lt
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, dropout, layer_norm, normalize

from i2i import ConfigError, Network, Task

from .caption_rank import top1
from .encoder import WordEncoder
from .fixed import LAYERS, Fixed, seen
from .matching import contrastive, equal_rows
from .text import Text

Share = Annotated[float, Ge(0), Lt(1)]

GRID, COLOURS = 2, 4  # what is compared: features in 2 x 2 fields of a picture, and the colours of 4 x 4


class MatchingEncoder(WordEncoder):
    """A word encoder that also embeds pictures, so that those that belong together are similar.

    Pictures are seen through a fixed network, which is not a submodule: it is neither trained nor saved.

    Args:
        words: size of the vocabulary.
        embedding: length of a word's embedding.
        width: length of a sentence's embedding; even.
        dropout: share of the words that count as unknown in training, and of the features of pictures left out.
        shared: length of the vectors that are compared.
        network: resnet20, trained on CIFAR-10, whose file must be found, or random_conv, which needs none.
        fixed: nothing of the encoder is trained: `train.start_from` names a run of `text_matching`, which trained it.
        weights_dir: another folder to search for the network's file.

    Raises:
        ConfigError: `width` is odd.
        WeightsError: the network's file is missing, when training begins.
    """

    TEMPERATURE = 0.1

    def __init__(
        self,
        words: PositiveInt = 8000,
        embedding: PositiveInt = 64,
        width: PositiveInt = 128,
        dropout: Share = 0.3,
        shared: PositiveInt = 128,
        network: Fixed = "resnet20",
        fixed: bool = False,
        weights_dir: str | None = None,
    ) -> None:
        super().__init__(words, embedding, width, dropout)
        self.network, self.fixed, self.weights_dir = network, fixed, weights_dir
        self.of_image = nn.Linear(GRID**2 * sum(LAYERS[network].values()) + COLOURS**2 * 3, shared)
        self.of_text = nn.Linear(width, shared)
        self.requires_grad_(not fixed)
        self.lacking: list[str] | None = None  # the tensors that loaded weights did not contain, once there are any
        self.register_load_state_dict_pre_hook(note_lacking)

    def begin(self) -> None:
        """Check that a fixed encoder has got its weights.

        Raises:
            ConfigError: `train.start_from` is missing, or its encoder differs.
        """
        if not self.fixed or self.lacking == []:
            return
        if self.lacking is None:
            raise ConfigError("task.encoder is fixed, so it needs train.start_from=RUN, a run of text_matching")
        raise ConfigError(
            f"task.encoder is fixed, but train.start_from has no {self.lacking[0]} that fits it: name a run of "
            f"text_matching, and give the encoder the settings of that run"
        )

    def tokens(self, codes: Tensor, learn: bool = False) -> Tensor:
        """Return the word numbers int64 [N, T] of captions, code points int64 [N, L]; a fixed encoder learns none."""
        return super().tokens(codes, learn and not self.fixed)

    def train(self, mode: bool = True) -> MatchingEncoder:
        """Set the mode; a fixed encoder leaves nothing out in training either."""
        return super().train(mode and not self.fixed)

    def of_pictures(self, image: Tensor) -> Tensor:
        """Return vectors [N, shared] of length 1 of images [N, C, H, W] in [-1, 1]."""
        small, maps = seen(image, self.network, self.weights_dir)
        fields = [adaptive_avg_pool2d(x, GRID).flatten(1) for x in maps]
        colours = 2 * adaptive_avg_pool2d(small.expand(-1, 3, -1, -1), COLOURS).flatten(1)
        features = torch.cat([*(layer_norm(x, x.shape[1:]) for x in fields), colours], 1)
        return normalize(self.of_image(dropout(features, self.dropout, self.training)))

    def of_sentences(self, sentence: Tensor) -> Tensor:
        """Return vectors [N, shared] of length 1 of sentences [N, width]."""
        return normalize(self.of_text(sentence))


def note_lacking(encoder: MatchingEncoder, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Note which tensors of an encoder are not in a state that is about to be loaded."""
    encoder.lacking = [f"encoder.{name}" for name in encoder.state_dict() if prefix + name not in state]


class TextMatching(Task):
    """Trains an encoder to find the caption of each picture in a batch, and the picture of each caption.

    Player: "M".

    Args:
        encoder: the network matching_encoder.

    Raises:
        ConfigError: another encoder, or a fixed one.

    Source: arXiv:1711.10485 eq. 10, on whole pictures and sentences; the loss as in arXiv:2103.00020.
    """

    takes = Text()
    source, target = "text", "image"
    on_host: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, encoder: Network) -> None:
        super().__init__()
        self.encoder = encoder()
        if not isinstance(self.encoder, MatchingEncoder) or self.encoder.fixed:
            raise ConfigError("text_matching trains a matching_encoder: use that as `encoder`, without `fixed`")

    def players(self) -> dict[str, list[nn.Module]]:
        """The encoder."""
        return {"M": [self.encoder]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on `image` [N, C, H, W] in [-1, 1] and its captions `text`, code points int64 [N, L]."""
        tokens = self.over_processes(lambda text: self.encoder.tokens(text, learn=True), batch["text"])
        similar = self.similarity(batch["image"], tokens) / self.encoder.TEMPERATURE
        yield "M", {"match": contrastive(similar, equal_rows(tokens).to(similar.device))}

    def similarity(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Return the cosine similarities [N, M] of images [N, C, H, W] with captions, word numbers int64 [M, T]."""
        return self.encoder.of_pictures(image) @ self.encoder.of_sentences(self.encoder(tokens)).T

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return `top1`: how often the caption of a picture ranks first of 20, or of all if the batch has fewer."""
        similar = self.similarity(batch["image"], self.encoder.tokens(batch["text"])).float()
        return {"top1": top1(similar, min(20, len(similar)))}

    def pictures(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The captions, their own pictures, and the one of the batch that is most similar to each caption."""
        similar = self.similarity(batch["image"], self.encoder.tokens(batch["text"]))
        return {
            "text": (self.takes, batch["text"]),
            "own": batch["image"],
            "found": batch["image"][similar.argmax(0)],
        }
