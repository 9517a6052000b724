"""The metric `caption_truth`: painters with known faults get the expected scores, and its judge reads real scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from i2i_scenes import caption_truth, scene_reader
from i2i_scenes.caption_truth import CaptionTruth, agreement, aligned, compared
from i2i_scenes.captioned import CaptionedScenes, chosen, codes, draw, drawn, first_caption, sentence_of
from i2i_scenes.captions import ATTRIBUTES, COLOURS, Group, Scene, parse
from torch import Tensor

from i2i import Task
from i2i.data import Data, Sample, to_tensor
from i2i.errors import ConfigError
from i2i.plugins import registry

SHOWN: dict[bytes, Scene] = {}
"""What the pictures of these tests show, which the perfect judge looks up."""

RED, BLUE = Group("red", "circle", 2), Group("blue", "square", 1)


def picture(scene: Scene, seed: int) -> Tensor:
    """Draw a scene so that the perfect judge knows it."""
    image = to_tensor(draw(scene, seed))
    SHOWN[image.numpy().tobytes()] = scene
    return image


class Painter(Task):
    """Draws what a caption says, after `fault` has changed it."""

    def __init__(self, fault: Callable[[Scene], Scene] = lambda scene: scene) -> None:
        super().__init__()
        self.fault, self.seeds = fault, list[int]()

    def sample(self, n: int, text: Sequence[Tensor]) -> Tensor:
        """Return n pictures [n, 3, 32, 32] of captions [1, L]."""
        seeds = torch.randint(1 << 40, (n,)).tolist()
        self.seeds += seeds
        scenes = [self.fault(parse(sentence_of(one[0]))) for one in text]
        return torch.stack([picture(scene, seed) for scene, seed in zip(scenes, seeds, strict=True)])


class Held(Data):
    """Validation samples of scenes, with their plainest captions."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.samples: Sequence[Sample] = [
            {"image": picture(scene, n), "text": codes(first_caption(scene, n))} for n, scene in enumerate(scenes)
        ]

    def validation(self) -> Sequence[Sample]:
        return self.samples


@pytest.fixture
def perfect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the judge by one that knows every picture."""

    def read(images: Iterable[Tensor]) -> list[Scene]:
        return [SHOWN[image.numpy().tobytes()] for image in images]

    monkeypatch.setattr(caption_truth, "read", read)


DATA = Held(chosen(1 << 60, 150, 0.4, unseen=True))


def scores(fault: Callable[[Scene], Scene] = lambda scene: scene) -> dict[str, float]:
    return CaptionTruth(samples=200, swaps=60)(Painter(fault), DATA)


# ---- the scores


@pytest.mark.usefixtures("perfect")
def test_a_faultless_painter_scores_one() -> None:
    found = scores()
    names = {f"{prefix}{name}" for prefix in ("", "real/", "chance/", "swapped/", "kept/") for name in ATTRIBUTES}
    assert set(found) == names | {"swapped/mean", "kept/mean"}
    assert all(value == 1 for name, value in found.items() if not name.startswith("chance/"))
    assert 0.1 < found["chance/colour"] < 0.3  # 1 of 6, and either of two groups may match
    assert 0.15 < found["chance/shape"] < 0.4
    assert found["chance/place"] < 0.3


@pytest.mark.usefixtures("perfect")
def test_a_painter_that_ignores_captions_scores_chance_and_changes_nothing() -> None:
    found = scores(lambda scene: Scene((BLUE,), "centre"))
    assert found["colour"] == pytest.approx(found["chance/colour"], abs=0.05)
    assert found["colour"] < 0.35
    assert found["kept/place"] == 1
    assert found["swapped/mean"] < 0.3
    assert found["real/colour"] == 1


@pytest.mark.usefixtures("perfect")
def test_a_painter_of_one_colour_loses_colour_alone() -> None:
    def grey(scene: Scene) -> Scene:
        return replace(scene, groups=tuple(replace(group, colour="green") for group in scene.groups))

    found = scores(grey)
    assert found["colour"] < 0.4
    assert found["swapped/colour"] < 0.4
    for name in ("shape", "count", "place", "relation", "swapped/shape", "kept/shape", "kept/colour"):
        assert found[name] == 1, name


@pytest.mark.usefixtures("perfect")
def test_an_exchange_of_two_groups_is_an_error_of_the_relation_alone() -> None:
    found = scores(lambda scene: replace(scene, groups=scene.groups[::-1]))
    assert found["relation"] == 0
    assert all(found[name] == 1 for name in ("colour", "shape", "count", "place", "kept/relation"))


@pytest.mark.usefixtures("perfect")
def test_a_word_that_changes_more_than_it_says_is_noticed() -> None:
    def entangled(scene: Scene) -> Scene:
        shape = {"red": "star", "blue": "circle"}
        return replace(
            scene, groups=tuple(replace(group, shape=shape.get(group.colour, group.shape)) for group in scene.groups)
        )

    found = scores(entangled)
    assert found["colour"] == found["swapped/colour"] == 1
    assert found["kept/colour"] < 0.95
    assert found["kept/place"] == found["kept/count"] == 1


@pytest.mark.usefixtures("perfect")
def test_both_pictures_of_a_swap_come_from_the_same_noise() -> None:
    painter = Painter()
    CaptionTruth(samples=20, swaps=10)(painter, DATA)
    pairs = [painter.seeds[20 + 10 * k : 30 + 10 * k] for k in range(10)]
    assert len(painter.seeds) == 120
    assert all(pairs[2 * k] == pairs[2 * k + 1] for k in range(5))


@pytest.mark.usefixtures("perfect")
def test_attributes_that_no_caption_names_have_no_score() -> None:
    data = Held(chosen(1 << 60, 40, 0.0, unseen=True))
    found = CaptionTruth(samples=40, swaps=20)(Painter(), data)
    assert {"relation", "swapped/relation", "kept/relation"}.isdisjoint(found)
    assert found["place"] == 1


# ---- comparing scenes


def test_groups_are_matched_by_what_they_have_in_common() -> None:
    asked = Scene((RED, BLUE), "vertical")
    assert aligned(asked, Scene((BLUE, RED), "vertical")) == ([RED, BLUE], False)
    assert aligned(asked, Scene((replace(RED, colour="green"), BLUE), "vertical"))[1]
    assert aligned(asked, Scene((BLUE,), "centre")) == ([None, BLUE], False)
    assert aligned(Scene((BLUE,), "left"), asked) == ([BLUE], False)


def test_a_missing_or_additional_group_is_an_error_of_the_count_and_the_layout() -> None:
    one, two = Scene((RED,), "top"), Scene((RED, BLUE), "vertical")
    right = {key for key, value in agreement(two, one).items() if value}
    assert right == {("colour", 0), ("shape", 0)}
    assert agreement(one, two) == {("colour", 0): True, ("shape", 0): True, ("count", 0): False, ("place", 0): False}


def test_a_place_that_is_not_mentioned_is_not_judged() -> None:
    assert ("place", 0) not in agreement(Scene((RED,), ""), Scene((RED,), "top"))


def test_a_swap_compares_each_other_attribute_between_the_pictures() -> None:
    asked, changed = Scene((RED, BLUE), "vertical"), Scene((replace(RED, colour="green"), BLUE), "vertical")
    assert compared("colour", asked, changed, asked, changed) == (True, [True] * 6)
    made, kept = compared("colour", asked, changed, asked, asked)
    assert (made, all(kept)) == (False, True)
    worse = Scene((replace(RED, colour="green", count=1), BLUE), "horizontal")
    made, kept = compared("colour", asked, changed, asked, worse)
    assert (made, kept.count(False)) == (True, 2)
    # Both pictures may show the same mistake: it was kept.
    wrong = [replace(scene, groups=(replace(scene.groups[0], shape="star"), BLUE)) for scene in (asked, changed)]
    assert compared("colour", asked, changed, *wrong) == (True, [True] * 6)
    reverse = Scene((BLUE, RED), "vertical")
    assert compared("relation", asked, reverse, asked, reverse) == (True, [True] * 6)
    assert compared("relation", asked, reverse, asked, asked) == (False, [True] * 6)


# ---- refusals


class Unconditional(Task):
    """Takes no captions."""

    def sample(self, n: int) -> Tensor:
        """Return n grey pictures."""
        return torch.zeros(n, 3, 32, 32)


def test_what_cannot_be_scored_is_rejected_before_training() -> None:
    metric = registry().catalog.find("metric", "caption_truth").build()
    with pytest.raises(ConfigError, match=r"Unconditional\.sample takes no text"):
        metric.refuse(Unconditional(), DATA)
    other = Held([])
    with pytest.raises(ConfigError, match="needs validation samples with 'image' and 'text'"):
        metric.refuse(Painter(), other)
    other.samples = [{"image": torch.zeros(3, 32, 32), "text": codes("a brown dog")}]
    with pytest.raises(ConfigError, match="'a brown dog' is not a sentence about coloured shapes"):
        metric.refuse(Painter(), other)
    metric.refuse(Painter(), CaptionedScenes(samples=1, validation_samples=20))


# ---- the judge


def test_numbers_of_scenes_can_be_reversed() -> None:
    for scene in chosen(0, 60, 0.5, unseen=None):
        numbers = scene_reader.numbers_of(scene)
        assert scene_reader.scene_of([max(n, 0) for n in numbers]) == scene


def test_the_judge_reads_held_out_scenes() -> None:
    some = chosen(1 << 62, 250, 0.4, unseen=True)
    for size in (32, 64):
        seen = scene_reader.read(to_tensor(picture) for picture in drawn(some, 1 << 62, size))
        right: dict[str, list[bool]] = {name: [] for name in ATTRIBUTES}
        for scene, read in zip(some, seen, strict=True):
            for (name, _), value in agreement(scene, read).items():
                right[name].append(value)
        assert all(np.mean(values) >= 0.97 for values in right.values()), {k: np.mean(v) for k, v in right.items()}


def test_the_judge_is_trained_on_other_pictures() -> None:
    first, last = scene_reader.DRAWN, scene_reader.DRAWN + (1 << 40)
    assert not any(first <= seed < last for seed in (1 << 60, (1 << 60) + (1 << 40), ((1 << 20) - 1) << 32))
    assert len(COLOURS) == len(scene_reader.KINDS[0])
