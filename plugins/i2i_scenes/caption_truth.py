"""Do generated pictures of coloured shapes show what their captions say, and does one other word change one thing?

    metrics: [{use: caption_truth}]      # in a config whose data is captioned_scenes

The captions are those of the validation samples, whose combinations are never trained on. The judge is the network in
scene_reader.py.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import PositiveInt
from torch import Tensor

from i2i import ConfigError, Data, DataError
from i2i.metrics import Needs, device_of, sampled
from i2i.modalities import Image

from .captioned import codes, sentence_of
from .captions import ATTRIBUTES, Group, Scene, parse, swapped
from .scene_reader import read

Scores = dict[str, list[bool]]  # by attribute: whether it is as expected, for each time it was named


class CaptionTruth:
    """How often generated pictures show the colour, shape, count, place and relation that their caption names.

    Each is a share of the times that captions name the attribute; captions of two groups name two colours, shapes and
    counts. 1 is best.

    - `colour`, `shape`, `count`, `place`, `relation`: pictures of the captions of the validation samples, in turn.
    - `real/...`: the same for the validation pictures with their own captions: what the judge reads right.
    - `chance/...`: the same for generated pictures with the captions of others: the score of ignoring the text.
    - `swapped/...`: two pictures from the same noise, for a caption and the same caption with one attribute changed;
      how often the second picture shows the new value. `swapped/mean` is the mean over the attributes.
    - `kept/...`: how often the judge reads each of the *other* attributes alike in both pictures, where this one was
      swapped.

    Args:
        samples: the number of captions; with 512, a share of 0.9 is good to 0.03 (2 standard errors).
        swaps: the number of pairs for each attribute.

    Raises:
        ConfigError: the task does not generate pictures from text, or the captions are not about coloured shapes.

    Example:
        `CaptionTruth()(task, data)["colour"]`
    """

    needs = Needs(makes=Image)

    def __init__(self, samples: PositiveInt = 512, swaps: PositiveInt = 128) -> None:
        self.samples, self.swaps = samples, swaps

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before training, if the scores cannot be computed."""
        if "text" not in inspect.signature(task.sample).parameters:
            raise ConfigError(
                f"caption_truth generates pictures from captions, but {type(task).__name__}.sample takes no text: "
                f"remove this metric"
            )
        captions_of(data)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` that takes `sample(n, text=...)`, a list of code points [1, 200]."""
        self.refuse(task, data)
        captions = captions_of(data)
        asked = [captions[i % len(captions)] for i in range(self.samples)]
        seen = read(pictured(task, asked))
        samples = data.validation()
        real = read(samples[i]["image"] for i in range(len(samples)))
        other = np.random.default_rng(0).permutation(len(asked))
        found = shares("", scored(asked, seen))
        found |= shares("real/", scored(captions, real)) | shares("chance/", scored([asked[i] for i in other], seen))
        return found | self._on_swaps(task, asked)

    def _on_swaps(self, task: Any, captions: Sequence[str]) -> dict[str, float]:
        """Return how often swapped words change what they name, and nothing else."""
        changed: Scores = {}
        kept: Scores = {}
        for attribute in ATTRIBUTES:
            swaps = list(swapped_pairs(captions, attribute, self.swaps))
            if not swaps:
                continue
            before, after = zip(*swaps, strict=True)
            seen = zip(read(pictured(task, before)), read(pictured(task, after)), strict=True)
            changes = [
                compared(attribute, parse(a), parse(b), *both) for (a, b), both in zip(swaps, seen, strict=True)
            ]
            changed[attribute] = [change.made for change in changes]
            kept[attribute] = [same for change in changes for same in change.kept]
        found = shares("swapped/", changed) | shares("kept/", kept)
        for name, scores in (("swapped", changed), ("kept", kept)):
            found[f"{name}/mean"] = float(np.mean([np.mean(values) for values in scores.values()]))
        return found


# ---- captions and their pictures


def captions_of(data: Data) -> list[str]:
    """Return the captions of the validation samples.

    Raises:
        ConfigError: they have none, or some are not about coloured shapes.
    """
    samples = data.validation()
    if not len(samples) or not {"image", "text"} <= samples[0].keys():
        raise ConfigError(
            f"caption_truth needs validation samples with 'image' and 'text', which {type(data).__name__} does not "
            f"have: use it with captioned_scenes, or remove it"
        )
    captions = [sentence_of(samples[i]["text"]) for i in range(len(samples))]
    try:
        for caption in captions:
            parse(caption)
    except DataError as error:
        raise ConfigError(f"caption_truth: {error}: use it with captioned_scenes, or remove it") from error
    return captions


def pictured(task: Any, captions: Sequence[str]) -> Iterator[Tensor]:
    """Yield a generated picture [3, H, W] for each caption, always from the same noise."""
    device = device_of(task)
    return sampled(task, len(captions), text=[codes(caption)[None].to(device) for caption in captions])


def swapped_pairs(captions: Sequence[str], attribute: str, at_most: int) -> Iterator[tuple[str, str]]:
    """Yield captions with the same captions in which one attribute has another value, where it can change."""
    rng = np.random.default_rng(ATTRIBUTES.index(attribute))
    for caption in captions:
        other = swapped(caption, attribute, rng)
        if other is not None:
            yield caption, other
            at_most -= 1
        if not at_most:
            return


# ---- scores


class Change(NamedTuple):
    """What a swapped word did: whether what it names is shown, and for each other attribute whether it stayed."""

    made: bool
    kept: list[bool]


def scored(captions: Sequence[str], seen: Sequence[Scene]) -> Scores:
    """Return whether pictures show what captions name, by attribute."""
    found: Scores = defaultdict(list)
    for caption, scene in zip(captions, seen, strict=True):
        for (attribute, _), right in agreement(parse(caption), scene).items():
            found[attribute].append(right)
    return found


def shares(prefix: str, scores: Scores) -> dict[str, float]:
    """Return the share of each attribute that is as expected."""
    return {f"{prefix}{name}": float(np.mean(values)) for name, values in scores.items() if values}


def agreement(asked: Scene, seen: Scene) -> dict[tuple[str, int], bool]:
    """Return whether a picture shows what a caption names: by attribute and number of the group."""
    groups, in_order = aligned(asked, seen)
    complete = len(asked.groups) == len(seen.groups)
    found = {}
    for n, (wanted, group) in enumerate(zip(asked.groups, groups, strict=True)):
        found["colour", n] = group is not None and group.colour == wanted.colour
        found["shape", n] = group is not None and group.shape == wanted.shape
        found["count", n] = complete and group is not None and group.count == wanted.count
    if asked.layout:
        attribute = "place" if len(asked.groups) == 1 else "relation"
        found[attribute, 0] = complete and in_order and seen.layout == asked.layout
    return found


def compared(attribute: str, asked: Scene, changed: Scene, before: Scene, after: Scene) -> Change:
    """Compare two pictures from the same noise, of a scene and of the scene with one attribute changed.

    Args:
        attribute: which one.
        asked, changed: the scenes that the captions describe.
        before, after: what the judge reads in their pictures.
    """
    result = agreement(changed, after)
    if attribute in ("place", "relation"):
        altered = [(attribute, 0)]
    else:
        altered = [
            (attribute, n)
            for n, pair in enumerate(zip(asked.groups, changed.groups, strict=True))
            if pair[0] != pair[1]
        ]
    # Pair the groups of both pictures through the captions; a changed relation keeps the groups.
    first, first_order = aligned(asked, before)
    second, second_order = aligned(asked if attribute == "relation" else changed, after)
    kept = [
        one is not None and other is not None and getattr(one, name) == getattr(other, name)
        for n, (one, other) in enumerate(zip(first, second, strict=True))
        for name in ("colour", "shape", "count")
        if (name, n) not in altered
    ]
    if attribute not in ("place", "relation"):
        kept.append((before.layout, first_order) == (after.layout, second_order))
    return Change(all(result[key] for key in altered), kept)


def aligned(asked: Scene, seen: Scene) -> tuple[list[Group | None], bool]:
    """Return the group of a picture that is meant by each group of a caption, and whether their order agrees.

    Of two groups, the order with more attributes in common counts, so an exchange of both is an error of the relation
    and not of their colours.
    """
    here: list[Group | None] = [*seen.groups, None][:2]
    there = here[::-1]
    straight, crossed = (alike(asked.groups, groups) for groups in (here, there))
    groups = here if straight >= crossed else there
    return groups[: len(asked.groups)], straight >= crossed


def alike(asked: Sequence[Group], seen: Sequence[Group | None]) -> int:
    """Return how many attributes pairs of groups have in common."""
    pairs = [(wanted, group) for wanted, group in zip(asked, seen, strict=False) if group is not None]
    return sum(
        (wanted.colour == group.colour) + (wanted.shape == group.shape) + (wanted.count == group.count)
        for wanted, group in pairs
    )
