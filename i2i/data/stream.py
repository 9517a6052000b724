"""The training batches of a data set, a pure function of (seed, step).

    for micro_batches in stream(data, train, start=0, steps=1000, world=ProcessGroup()): ...  # as in `i2i run`

Resumed runs, any number of loader processes, and several processes that share a batch thus all see the same samples
with the same augmentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import default_collate

from ..errors import ConfigError, DataError, I2IError, NumericError, PluginError, blame
from .base import Data, Sample, shapes
from .loaders import read_ahead

if TYPE_CHECKING:
    from ..processes import ProcessGroup

Batch = dict[str, Any]


class Numbered:
    """The training samples, numbered over all epochs; each is a pure function of (seed, number)."""

    def __init__(self, data: Data, seed: int) -> None:
        self.data, self.seed = data, seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def read(self, numbers: Sequence[int]) -> Batch | I2IError:
        """Return the samples with these numbers, stacked."""
        indices = self.indices(numbers)

        def rng(i: int) -> np.random.Generator:
            return np.random.default_rng([self.seed, 2, numbers[i]])

        try:
            with blame(self.data, samples_named(indices)):
                try:
                    return self.data.batch(indices, rng)
                except Exception as error:
                    if type(self.data).batch is Data.batch and not isinstance(error, I2IError):
                        refuse_unequal(self.data, indices, [self._sample(n, rng(i)) for i, n in enumerate(indices)])
                    raise
        except I2IError as error:  # returned, not raised: it may have to travel between processes
            return error

    def _sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a sample. Raises: PluginError, it cannot be made; names it alone."""
        with blame(self.data, f"sample {index}"):
            return self.data.sample(index, rng)

    def indices(self, numbers: Sequence[int]) -> list[int]:
        """Return the indices of these samples in the data set."""
        return [self._index(number) for number in numbers]

    def _index(self, number: int) -> int:
        epoch, position = divmod(number, len(self.data))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.data))
        return int(self._order[1][position])


def refuse_unequal(data: Data, indices: Sequence[int], samples: Sequence[Sample]) -> None:
    """Name the first key whose shapes differ, so that the samples cannot be stacked.

    Raises:
        DataError: the data set is one of i2i, so its pictures differ.
        PluginError: it is that of a plugin, which has to make them equal.
    """
    while isinstance(source := getattr(data, "source", None), Data):
        data = source
    kind = type(data)
    ours = kind.__module__.partition(".")[0] == "i2i"
    first, *others = ({key: text(shape) for key, shape in shapes(sample).items()} for sample in samples)
    for index, other in zip(indices[1:], others, strict=True):
        for key in {**first, **other}:
            one, two = first.get(key, "missing"), other.get(key, "missing")
            if one != two:
                who = kind.__name__ if ours else f"{kind.__name__} ({kind.__module__})"
                why = f"{who}: samples {indices[0]} and {index} cannot be stacked, '{key}' is {one} and {two}"
                if ours:
                    raise DataError(f"{why}: make them equal, or use data.batch_size=1")
                raise PluginError(f"{why}: make them equal, override Data.batch, or use data.batch_size=1")


def text(shape: Any) -> str:
    """Format a shape for messages."""
    return "no tensor" if shape is None else str(tuple(shape))


def refuse_empty(data: Data) -> None:
    """Raise a DataError if a data set has no training samples."""
    if not len(data):
        raise DataError(f"{type(data).__name__} has no training samples: check data in the config")


def stream(data: Data, train: Any, start: int, steps: int, world: ProcessGroup) -> Iterator[list[Batch]]:
    """Yield, for each step from `start` on, this process's micro-batches.

    A step takes the next `data.batch_size` samples; micro-batches and processes divide them in order.

    Raises:
        ConfigError: the batch cannot be divided evenly.
        DataError: the data set is empty, a sample cannot be read, or the pictures of one of i2i cannot be stacked.
        PluginError: the data set's own code raised, or its samples cannot be stacked; names its file or module.
        ResourceError: a loader process died or hangs twice at the same batch.
    """
    refuse_empty(data)
    size, parts = data.batch_size, train.accumulate * world.size
    if size % parts:
        raise ConfigError(
            f"data.batch_size {size} cannot be divided among train.accumulate {train.accumulate} x {world.size} "
            f"process(es): make it a multiple of {parts}"
        )
    share = size // parts
    firsts = (
        step * size + (micro * world.size + world.rank) * share
        for step in range(start, steps)
        for micro in range(train.accumulate)
    )
    list(range(share))  # a batch far too large for memory fails here at once
    tasks = (range(first, first + share) for first in firsts)
    samples = Numbered(data, train.seed)

    def named(numbers: Sequence[int]) -> str:
        return samples_named(samples.indices(numbers))

    micro_batches: list[Batch] = []
    for batch in read_ahead(samples.read, tasks, data.workers, train.timeout, named):
        if isinstance(batch, I2IError):
            raise batch
        micro_batches.append(batch)
        if len(micro_batches) == train.accumulate:
            yield micro_batches
            micro_batches = []


def samples_named(indices: Sequence[int]) -> str:
    """Name samples in messages: the first eight of them."""
    return f"samples {', '.join(map(str, indices[:8]))}{', ...' * (len(indices) > 8)}"


@contextmanager
def samples_of_faults(data: Data, seed: int) -> Iterator[None]:
    """If a loss is not finite, name the training samples of that step too."""
    try:
        yield
    except NumericError as error:
        if error.step is None:
            raise
        first = error.step * data.batch_size
        samples = Numbered(data, seed).indices(range(first, first + data.batch_size))
        raise NumericError(f"{error}; samples of this step: {', '.join(map(str, samples))}") from error


def validation_batch(data: Data, n: int = 4) -> Batch:
    """Return up to `n` evenly spaced validation samples with the shapes of the first; {} if there are none."""
    with blame(data, "validation"):
        samples = data.validation()
        n = min(n, len(samples))
        chosen = [samples[i * len(samples) // n] for i in range(n)]  # neighbours often share a class
    return default_collate([sample for sample in chosen if shapes(sample) == shapes(chosen[0])]) if chosen else {}
