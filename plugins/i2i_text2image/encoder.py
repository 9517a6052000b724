"""Text encoders: code points of captions -> sentence embeddings.

    encoder: {use: word_encoder, words: 8000}                        # a vocabulary learned from the training captions
    encoder: {use: character_encoder}
    encoder: {use: sentence_encoder, model: all-MiniLM-L6-v2}        # any model of sentence-transformers

An encoder works in two steps: `tokens(codes)` splits captions and numbers their parts, without gradients, and
`forward(tokens)` embeds them. Papers: bidirectional text encoders of GANs arXiv:1711.10485; GRU arXiv:1406.1078.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from i2i import ConfigError, DataError

from .text import to_text, words

log = logging.getLogger("i2i")

Share = Annotated[float, Ge(0), Lt(1)]

PADDING, UNKNOWN = 0, 1
FIRST = 2  # number of the first word of a vocabulary


class Vocabulary(nn.Module):
    """Words and their numbers, from 2 on; 0 is padding and 1 stands for every unknown word.

    Words are numbered in the order in which training meets them, which the seed determines. They are a buffer, so
    they are saved with the weights, and it stays on the host, where captions are read.

    Args:
        words: how many words it can hold.
        longest: bytes of a word in UTF-8 that distinguish it from others.
    """

    table: Tensor

    def __init__(self, words: int, longest: int = 32) -> None:
        super().__init__()
        self.words, self.longest = words, longest
        self.register_buffer("table", torch.zeros(words, longest, dtype=torch.uint8))
        self._numbers: dict[bytes, int] = {}
        self._read: tuple[int, int] | None = None  # the table, and its version, that `_numbers` was read from

    def _apply(self, fn: Any, recurse: bool = True) -> Vocabulary:
        return self  # to no device

    def numbers(self) -> dict[bytes, int]:
        """Return the number of each word; read again after a checkpoint or an average has changed the table."""
        if self._read != (id(self.table), self.table._version):
            rows = (bytes(row).rstrip(b"\0") for row in self.table.numpy())
            self._numbers = {word: n for n, word in enumerate(rows, FIRST) if word}
            self._read = id(self.table), self.table._version
        return self._numbers

    def learn(self, sentences: Iterable[Sequence[str]]) -> None:
        """Add the words that are new, as long as there is room."""
        known = self.numbers()
        for word in dict.fromkeys(word for sentence in sentences for word in sentence):
            key = self.key(word)
            if key in known or len(known) == self.words:
                continue
            self.table[len(known), : len(key)] = torch.tensor([*key], dtype=torch.uint8)
            known[key] = len(known) + FIRST
            if len(known) == self.words:
                log.warning(
                    "text2image: the vocabulary is full (%d words): words that appear from now on are treated as "
                    "unknown; for more, set task.encoder.words",
                    self.words,
                )
        self._read = id(self.table), self.table._version

    def key(self, word: str) -> bytes:
        """Return the bytes under which a word is stored."""
        return word.encode()[: self.longest]

    def __len__(self) -> int:
        return len(self.numbers())

    def __contains__(self, word: str) -> bool:
        return self.key(word) in self.numbers()

    def forward(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Return the numbers of the words of N sentences: int64 [N, T], padded with 0; T is at least 1."""
        known = self.numbers()
        rows = [[known.get(self.key(word), UNKNOWN) for word in sentence] for sentence in sentences]
        longest = max(1, *map(len, rows))
        return torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])


class RecurrentEncoder(nn.Module):
    """Embeds the words (or characters) of a caption, and reads them with a bidirectional GRU.

    The embedding of a sentence is the last state of both directions, normalised to mean 0 and variance 1. Padding
    does not change it.

    Args:
        words: size of the vocabulary.
        embedding: length of a word's embedding.
        width: length of a sentence's embedding; even.
        dropout: share of the words that count as unknown in training, against overfitting.

    Raises:
        ConfigError: `width` is odd.

    Source: arXiv:1711.10485 section 3.2, with a GRU and the vocabulary learned during training.
    """

    def __init__(
        self,
        words: PositiveInt = 8000,
        embedding: PositiveInt = 64,
        width: PositiveInt = 128,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        if width % 2:
            raise ConfigError(f"the width of a text encoder must be even, not {width}: half is for each direction")
        self.width, self.dropout = width, dropout
        self.vocabulary = Vocabulary(words)
        self.embedding = nn.Embedding(words + FIRST, embedding, padding_idx=PADDING)
        with torch.no_grad():
            self.embedding.weight[UNKNOWN] = 0
        self.gru = nn.GRU(embedding, width // 2, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def split(self, sentence: str) -> list[str]:
        """Return the parts of a sentence that are embedded."""
        raise NotImplementedError

    def tokens(self, codes: Tensor, learn: bool = False) -> Tensor:
        """Return the word numbers int64 [N, T] of captions, code points int64 [N, L]; optionally learn new words.

        They are on the host, as the lengths of sentences decide about sizes. Equal captions get equal rows, up to
        case and spaces.
        """
        sentences = [self.split(to_text(row)) for row in codes.cpu()]
        if learn:
            self.vocabulary.learn(sentences)
        return self.vocabulary(sentences)

    def unknown(self, codes: Tensor) -> list[list[str]]:
        """Return the unknown words of each caption.

        Raises:
            DataError: all words of a caption are unknown, unless nothing has been learned yet.
        """
        found = []
        for row in codes.cpu():
            sentence = self.split(to_text(row))
            unknown = [word for word in dict.fromkeys(sentence) if word not in self.vocabulary]
            found.append(
                [word for word in unknown if any(map(str.isalnum, word))]
            )  # a full stop is not worth a warning
            if len(self.vocabulary) and len(unknown) == len({*sentence}):
                raise DataError(
                    f"the caption {to_text(row)!r} contains no word that the model knows; it has learned "
                    f"{len(self.vocabulary)} words, such as {self.some_words()}"
                )
        return found

    def unknown_share(self, tokens: Tensor) -> Tensor:
        """Return the share of words in [N, T] that are unknown."""
        return (tokens == UNKNOWN).sum() / (tokens != PADDING).sum()

    def some_words(self) -> str:
        """Return the first few words of the vocabulary, for a message."""
        return ", ".join(repr(word.decode(errors="replace")) for word in list(self.vocabulary.numbers())[:6])

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embeddings [N, width] of sentences, word numbers int64 [N, T] padded with 0."""
        if self.training and self.dropout:
            left_out = torch.rand(tokens.shape, device=tokens.device) < self.dropout
            tokens = tokens.masked_fill(left_out & (tokens != PADDING), UNKNOWN)
        lengths = (tokens != PADDING).sum(1).clamp_min(1).cpu()
        embedded = self.embedding(tokens.to(self.embedding.weight.device))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed)
        return self.norm(torch.cat([*last], 1))


class WordEncoder(RecurrentEncoder):
    """A bidirectional GRU over words and punctuation marks, in lower case."""

    def split(self, sentence: str) -> list[str]:
        """Return the words of a sentence."""
        return words(sentence)


class CharacterEncoder(RecurrentEncoder):
    """A bidirectional GRU over characters, in lower case: no word is unknown, but sequences are five times longer.

    Args:
        words: how many different characters it can learn.
        embedding: length of a character's embedding.
        width: length of a sentence's embedding; even.
        dropout: share of the characters that count as unknown in training.
    """

    def __init__(
        self,
        words: PositiveInt = 500,
        embedding: PositiveInt = 32,
        width: PositiveInt = 128,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__(words, embedding, width, dropout)

    def split(self, sentence: str) -> list[str]:
        """Return the characters of a sentence."""
        return [*sentence.lower()]


class SentenceEncoder(nn.Module):
    """A sentence encoder of the package sentence-transformers, with a linear layer that is trained here.

    Its own weights are neither trained nor saved with the run: the same model must be installed to use the run.

    Args:
        model: the name of a model that is installed, or its folder.
        width: length of a sentence's embedding.

    Raises:
        ConfigError: the package or the model is not installed.
    """

    def __init__(self, model: str, width: PositiveInt = 128) -> None:
        super().__init__()
        self.model, self.width = model, width
        self.project = nn.Linear(pretrained(model).get_sentence_embedding_dimension(), width)
        self.norm = nn.LayerNorm(width)

    def tokens(self, codes: Tensor, learn: bool = False) -> Tensor:
        """Return the code points themselves."""
        return codes

    def unknown(self, codes: Tensor) -> list[list[str]]:
        """Return no words: the model splits words that it does not know."""
        return [[] for _ in codes]

    def unknown_share(self, tokens: Tensor) -> Tensor:
        """Return 0."""
        return torch.zeros((), device=tokens.device)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embeddings [N, width] of captions, code points int64 [N, L]."""
        with torch.no_grad():
            sentences = [to_text(row) for row in tokens.cpu()]
            found = torch.as_tensor(pretrained(self.model).encode(sentences, show_progress_bar=False))
        return self.norm(self.project(found.to(self.project.weight)))


@functools.lru_cache(maxsize=2)
def pretrained(model: str) -> Any:
    """Return an installed model of sentence-transformers, without downloading anything.

    Raises:
        ConfigError: the package or the model is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ConfigError(
            "task.encoder: sentence_encoder needs the package sentence-transformers, which is not installed: "
            "`pip install sentence-transformers`, or use word_encoder"
        ) from error
    try:
        return SentenceTransformer(model, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"task.encoder: sentence-transformers finds no model '{model}' on this computer: give the folder of a "
            f"downloaded model, or use word_encoder"
        ) from error
