"""`check_data`: that samples are pure functions of (index, rng), well formed, and can be stacked and sent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.base import Data, Sample, shapes
from ..errors import blame
from .states import check_pickles, equal, random_states


def check_data(data: Data, *, images: Sequence[str] | None = None, samples: int = 4) -> None:
    """Check all that the order of a training and an exact resume rely on.

    Args:
        data: the data set to check.
        images: the entries that hold pictures, by default every floating-point one with three axes.
        samples: how many training samples are looked at, far apart.

    Raises:
        AssertionError: a point of the contract is broken; the message says which.
        PluginError: the data set itself raises; the message names its file and line.
    """
    name = type(data).__name__
    with blame(data, "len()"):
        length = len(data)
    assert length > 0, f"{name} has no training samples: len() is {length}"
    whole = isinstance(data.batch_size, int) and data.batch_size > 0
    assert whole, f"{name}.batch_size is {data.batch_size!r}: set it to the samples of one step"
    indices = [i * length // min(samples, length) for i in range(min(samples, length))]
    with blame(data, "sample"):
        sample = data.sample(0, generator(0))
    check_sample(f"{name}.sample(0)", sample, images)
    made = check_samples(data, indices, images)
    check_batch(data, indices)
    for i, sample in enumerate(check_validation(data, made)):
        check_sample(f"{name}.validation()[{i}]", sample, images)
    check_pickles(data, name)


def generator(index: int) -> np.random.Generator:
    """Return the random generator with which the checks ask for a sample."""
    return np.random.default_rng([0, index])


def check_samples(data: Data, indices: Sequence[int], images: Sequence[str] | None) -> dict[int, Sample]:
    """Check samples, and that each depends on its index and generator alone; return them by index."""
    name = type(data).__name__
    before = random_states()
    with blame(data, "sample"):
        first = {index: data.sample(index, generator(index)) for index in indices}
    assert equal(before, random_states()), f"{name}.sample draws from the global random numbers: use `rng` only"
    for index, sample in first.items():
        check_sample(f"{name}.sample({index})", sample, images)
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(1)
    with blame(data, "sample"):  # in another order, after other global random numbers
        again = {index: data.sample(index, generator(index)) for index in reversed(indices)}
    for index in indices:
        assert equal(first[index], again[index]), (
            f"{name}.sample({index}) gives another result the second time: it must depend on `index` and `rng` only"
        )
    return first


def check_batch(data: Data, indices: Sequence[int]) -> None:
    """Check that samples can be stacked, by the data set's own `batch` or the default one."""
    name, own = type(data).__name__, type(data).batch is not Data.batch
    if not own:
        first, *others = (data.sample(index, generator(index)) for index in indices)
        for other in others:
            assert shapes(other) == shapes(first), (
                f"{name}: samples {shapes(first)} and {shapes(other)} cannot be stacked: give all entries one size, "
                f"or override batch()"
            )
    with blame(data, "batch"):
        batch, again = (data.batch(indices, lambda i: generator(indices[i])) for _ in range(2))
    assert equal(batch, again), f"{name}.batch gives another result the second time: use the given `rng` only"
    assert isinstance(batch, dict), f"{name}.batch returns a {type(batch).__name__}, not a dict of stacked entries"


def check_validation(data: Data, training: dict[int, Sample]) -> list[Sample]:
    """Check that validation samples are fixed and not the training samples; return some."""
    name = type(data).__name__
    before = random_states()
    with blame(data, "validation"):
        validation = data.validation()
        chosen = list(range(min(4, len(validation))))
        first = [validation[i] for i in chosen]
        renewed = data.validation()
        again = [renewed[i] for i in chosen]
    assert equal(before, random_states()), f"{name}.validation draws from the global random numbers"
    assert len(renewed) == len(validation), f"{name}.validation has {len(validation)} samples, then {len(renewed)}"
    for i in chosen:
        assert equal(first[i], again[i]), f"{name}.validation()[{i}] is another one the second time: it must be fixed"
        twin = next((index for index, sample in training.items() if equal(sample, first[i])), None)
        assert twin is None, f"{name}.validation()[{i}] is training sample {twin}: validate on samples held back"
    return first


def check_sample(where: str, sample: Any, images: Sequence[str] | None) -> None:
    """Check that a sample is a dict, and that its pictures are float32 [C, H, W] in [-1, 1]."""
    assert isinstance(sample, dict), f"{where} is a {type(sample).__name__}, not a dict of tensors by name"
    assert sample, f"{where} is empty"
    for key, value in sample.items():
        assert not isinstance(value, np.ndarray), f'{where}["{key}"] is a numpy array: use torch.from_numpy'
        if not isinstance(value, Tensor):
            continue
        if value.is_floating_point():
            assert value.isfinite().all(), f'{where}["{key}"] contains values that are not finite'
        if key in images if images is not None else value.is_floating_point() and value.ndim == 3:
            check_image(f'{where}["{key}"]', value)
    missing = [key for key in images or () if key not in sample]
    assert not missing, f"{where} has no {', '.join(missing)}, but {', '.join(map(str, sample))}"


def check_image(where: str, image: Tensor) -> None:
    """Check that a picture is float32 [1 or 3, H, W] in [-1, 1]."""
    assert image.ndim == 3, f"{where} is {tuple(image.shape)}: pictures are [C, H, W]"
    assert image.shape[0] <= 4 or image.shape[2] > 4, (
        f"{where} is {tuple(image.shape)}, which looks like [H, W, C]: use .permute(2, 0, 1)"
    )
    assert image.dtype == torch.float32, f"{where} is {image.dtype}: pictures are float32"
    low, high = image.min().item(), image.max().item()
    assert max(-low, high) <= 1, f"{where} has values from {low:.3g} to {high:.3g}: pictures are in [-1, 1]"
