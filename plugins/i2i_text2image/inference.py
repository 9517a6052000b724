"""From captions to pictures with a trained model: codes, truncation, seeds, and words that the model does not know.

i2i translate "two red circles above a blue square" -m runs/text2image -o out
i2i sample 8 -m runs/text2image -o out -c text="a green star" -c truncation=0.7
i2i latent interpolate -m runs/text2image -o noise.png -c text="a green star"                          # of noises
i2i latent interpolate -m runs/text2image -o words.png -c text="a green star" -c text="a red star"     # of sentences
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from i2i import ConfigError, DataError, Task
from i2i.data import number, whole_seed
from i2i.devices import random_state_kept
from i2i.errors import counted
from i2i.metrics import device_of
from i2i.modalities import Modality
from i2i.networks import in_parts

from .text import Text, to_codes

log = logging.getLogger("i2i")


class Painter(Task):
    """A task that makes pictures of captions.

    Subclasses have `encoder`, `latent`, and `made(noise, sentence)`, and set `text` to the length of a sentence.
    """

    takes = Text()
    conditions: Mapping[str, Modality] = MappingProxyType({"text": Text()})
    source, target = "text", "image"
    on_host: ClassVar[tuple[str, ...]] = ("text",)
    encoder: Any
    generator: nn.Module
    latent: int
    text: int

    def made(self, noise: Tensor, sentence: Tensor) -> Tensor:
        """Return images [N, C, H, W] in [-1, 1] of noise [N, latent] and sentences [N, text]."""
        raise NotImplementedError

    def prior(self, n: int, text: Any = None, truncation: float | str | None = None) -> Tensor:
        """Return `n` codes: noise [n, latent], or with captions noise and sentences [n, latent + sentence].

        With several captions, each noise is followed by every caption in turn: the codes are (noise 1, caption 1),
        (noise 1, caption 2), ..., (noise 2, caption 1), ... So the path from the first code to the second is one from
        sentence to sentence, with the noise fixed; with one caption it is one from noise to noise.

        Args:
            n: how many.
            text: a caption, or a list of them.
            truncation: see `sample`.
        """
        if text is None:
            return self._truncated(n, truncation)
        sentences = self._read(text)
        k = len(sentences)
        noise = self._truncated(-(-n // k), truncation).repeat_interleave(k, 0)[:n]
        return torch.cat([noise, sentences.repeat(-(-n // k), 1)[:n]], 1)

    def decode(self, z: Tensor, text: Any = None) -> Tensor:
        """Return the images [N, C, H, W] in [-1, 1] of codes.

        Args:
            z: codes as returned by `prior`: [N, latent + sentence], or [N, latent], which need `text`.
            text: a caption, or a list of them, which are used in turn; ignored if the codes contain sentences.

        Raises:
            ConfigError: no caption is given, or it cannot be used.
            DataError: the codes have another length.
        """
        if z.ndim != 2 or z.shape[1] not in (self.latent, self.latent + self.text):
            raise DataError(
                f"codes must be [N, {self.latent}], or [N, {self.latent + self.text}] with sentences, not "
                f"{list(z.shape)}"
            )
        noise, sentences = z[:, : self.latent], z[:, self.latent :]
        if z.shape[1] == self.latent:
            if text is None:
                raise ConfigError('text2image: give a caption, such as -c text="a red circle"')
            read = self._read(text)
            sentences = read.repeat(-(-len(z) // len(read)), 1)[: len(z)]
        return in_parts(self.made, noise, sentences)

    def sample(self, n: int, text: Any = None, truncation: float | str | None = None) -> Tensor:
        """Return `n` new images [n, C, H, W] in [-1, 1].

        Args:
            n: how many.
            text: a caption, or a list of them, which are used in turn.
            truncation: draws noise from N(0, I) with each component within this distance of 0: smaller values trade
                diversity for fidelity (arXiv:1809.11096, section 3.1); null for no truncation.

        Raises:
            ConfigError: no caption, one that cannot be used, more captions than images, or a truncation that is not
                a number above 0.
        """
        if isinstance(text, list | tuple) and len(text) > n:
            captions, pictures = counted(len(text), "caption"), counted(n, "image")
            raise ConfigError(f"text: {captions} for {pictures}: ask for at least {len(text)}")
        return self.decode(self._truncated(n, truncation), text)

    def translate(self, text: Tensor, seed: int | str = 0, truncation: float | str | None = None) -> Tensor:
        """Return a picture [N, C, H, W] in [-1, 1] of each caption, code points int64 [N, L].

        The noise depends on the seed and the caption, so a caption always gives the same picture.

        Args:
            text: the captions.
            seed: another seed gives another picture.
            truncation: see `sample`.
        """
        self._report_unknown(text)
        return self._translated(text, whole_seed(seed), truncation)

    def predict(self, batch: dict[str, Any]) -> Tensor:
        """Return the translation of the captions of a batch, for metrics; `validate` counts unknown words."""
        return self._translated(batch[self.source], 0, None)

    def _translated(self, text: Tensor, seed: int, truncation: float | str | None) -> Tensor:
        noise = []
        with random_state_kept(device_of(self)):
            for row in text.cpu():
                torch.manual_seed((seed + zlib.crc32(row[row > 0].numpy().tobytes())) % 2**63)
                noise.append(self._truncated(1, truncation))
        return in_parts(self.made, torch.cat(noise), self._sentences(text))

    def _truncated(self, n: int, truncation: float | str | None) -> Tensor:
        """Return noise [n, latent], with each component within `truncation` of 0 if given."""
        noise = self._noise(n)
        if truncation is None:
            return noise
        rule = "a number above 0, such as 0.5; leave it out for none"
        most = number("truncation", truncation, rule, lambda most: 0 < most < float("inf"))
        return nn.init.trunc_normal_(noise, a=-most, b=most)

    def _read(self, text: Any) -> Tensor:
        """Return the sentences [k, text] of one caption or a list of k: str, or code points [1, L].

        Raises:
            ConfigError: no caption is given, or one has only unknown words, or is empty or too long.
        """
        given = text if isinstance(text, list | tuple) else [text]
        if not given:
            raise ConfigError("text2image: no caption given")
        try:
            codes = torch.cat([to_codes(one)[None] if isinstance(one, str) else one.cpu() for one in given])
            self._report_unknown(codes)
            return self._sentences(codes)
        except DataError as error:  # here a caption is a condition, not an input
            raise ConfigError(f"text: {error}") from error

    def _sentences(self, codes: Tensor) -> Tensor:
        """Return the embeddings [N, text] of captions, code points int64 [N, L]."""
        return in_parts(lambda part: self.encoder(self.encoder.tokens(part)), codes)

    def _report_unknown(self, codes: Tensor) -> None:
        """Warn of unknown words; raise DataError if a caption has no others."""
        unknown = list(dict.fromkeys(word for words in self.encoder.unknown(codes) for word in words))
        if unknown and len(self.encoder.vocabulary):
            log.warning(
                "text2image: unknown %s: %s; the model knows only words from its training captions",
                "word" if len(unknown) == 1 else "words",
                ", ".join(map(repr, unknown[:10])) + (", ..." if len(unknown) > 10 else ""),
            )

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.latent, device=device_of(self))
