"""Captioned scenes: what sentences claim, what pictures show, and what is kept for validation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from i2i_scenes.captioned import CaptionedScenes, chosen, codes, draw, sentence_of
from i2i_scenes.captions import (
    ATTRIBUTES,
    COLOURS,
    COUNTS,
    PLACES,
    SHAPES,
    WORDINGS,
    Group,
    Scene,
    held_out,
    parse,
    phrase,
    phrases,
    scenes,
    swapped,
)
from i2i_text2image.text import Text

from i2i.errors import DataError
from i2i.testing import check_data

ALL = scenes()


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ---- sentences


@pytest.mark.parametrize(
    ("sentence", "scene"),
    [
        ("three yellow stars", Scene((Group("yellow", "star", 3),), "")),
        ("a green triangle in the top left", Scene((Group("green", "triangle", 1),), "top left")),
        ("In the middle there is a pair of violet discs.", Scene((Group("purple", "circle", 2),), "centre")),
        (
            "two red circles above a blue square",
            Scene((Group("red", "circle", 2), Group("blue", "square", 1)), "vertical"),
        ),
        (
            "a blue box under a pair of red discs",
            Scene((Group("red", "circle", 2), Group("blue", "square", 1)), "vertical"),
        ),
        (
            "there is an orange star to the right of one red box",
            Scene((Group("red", "square", 1), Group("orange", "star", 1)), "horizontal"),
        ),
    ],
)
def test_sentences_are_understood(sentence: str, scene: Scene) -> None:
    assert parse(sentence) == scene


def test_every_wording_of_every_scene_means_that_scene() -> None:
    for number, scene in enumerate(ALL):
        for wording in WORDINGS[number % 7 :: 7]:
            unplaced = replace(scene, layout="") if len(scene.groups) == 1 and wording.where == 3 else scene
            assert parse(phrase(scene, wording)) == unplaced


def test_scenes_have_many_wordings() -> None:
    assert all(len(phrases(scene)) >= 16 for scene in ALL)
    said = phrases(Scene((Group("purple", "circle", 2),), "top"))
    assert said[0] == "two purple circles at the top"
    assert {"at the top, two purple circles", "there is a pair of violet discs in the upper half"} <= set(said)


@pytest.mark.parametrize(
    "sentence", ["", "a dog", "a red circle near a blue square", "four red circles", "red circle"]
)
def test_other_sentences_are_rejected(sentence: str) -> None:
    with pytest.raises(DataError, match="is not a sentence about coloured shapes"):
        parse(sentence)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_swapping_changes_one_attribute_and_keeps_the_wording(attribute: str) -> None:
    changed = 0
    for number, scene in enumerate(ALL[::5]):
        sentence = phrase(scene, WORDINGS[number * 11 % len(WORDINGS)])
        other = swapped(sentence, attribute, np.random.default_rng(number))
        if other is None:
            continue
        changed += 1
        before, after = parse(sentence), parse(other)
        assert differing(before, after) == {attribute}, (sentence, other)
        assert ("there" in sentence) == ("there" in other)
    assert changed > 50


def differing(a: Scene, b: Scene) -> set[str]:
    """Return the attributes in which two scenes differ; one group at most may have changed."""
    if len(a.groups) == 2 and {a.groups, a.groups[::-1]} == {b.groups, b.groups[::-1]}:
        return {"relation"}
    pairs = list(zip(a.groups, b.groups, strict=True))
    assert sum(one != other for one, other in pairs) <= 1
    found = {name for one, other in pairs for name in ATTRIBUTES[:3] if getattr(one, name) != getattr(other, name)}
    return found | ({"place"} if a.layout != b.layout else set())


def test_what_a_sentence_does_not_mention_cannot_be_swapped() -> None:
    assert swapped("two red circles", "place", rng()) is None
    assert swapped("a red circle on the left", "relation", rng()) is None
    assert swapped("a red circle in the top left", "count", rng()) is None  # corners have room for one


# ---- what is held out


def test_no_held_out_combination_is_trained_on() -> None:
    trained = {scene for seed in (0, 1) for scene in CaptionedScenes(samples=1500, seed=seed).scenes}
    validated = {parse(sentence_of(sample["text"])) for sample in CaptionedScenes(samples=1).validation()}
    assert len(trained) > 1000
    assert len(validated) > 50
    assert not trained & validated
    assert not any(map(held_out, trained))
    assert all(map(held_out, validated))


def test_every_value_and_every_pair_of_colour_and_shape_is_both_trained_on_and_held_out() -> None:
    single = [scene for scene in ALL if len(scene.groups) == 1]
    for part in ([s for s in single if held_out(s)], [s for s in single if not held_out(s)]):
        groups = [scene.groups[0] for scene in part]
        assert {(group.colour, group.shape) for group in groups} == {(c, s) for c in COLOURS for s in SHAPES}
        assert {group.count for group in groups} == set(COUNTS)
        assert {scene.layout for scene in part} == set(PLACES)
    assert 0.1 < np.mean([held_out(scene) for scene in ALL]) < 0.15


# ---- pictures


def test_the_data_set_fulfils_the_contract() -> None:
    check_data(CaptionedScenes(samples=20, validation_samples=8, batch_size=4))


@pytest.mark.parametrize("size", [32, 64])
def test_samples_are_pictures_with_code_points(size: int) -> None:
    data = CaptionedScenes(size=size, samples=10, validation_samples=4)
    for sample in (data.sample(3, rng()), data.validation()[2]):
        assert sample["image"].shape == (3, size, size)
        assert sample["image"].abs().max() <= 1
        sentence = sentence_of(sample["text"])
        assert sample["text"].equal(codes(sentence))
        assert sample["text"].equal(Text().take(sentence).values[0])  # the same encoding as the modality's
    assert {sentence_of(data.sample(3, np.random.default_rng(n))["text"]) for n in range(200)} <= set(
        data.captions(3)
    )


def test_training_captions_vary_and_stay_true() -> None:
    data = CaptionedScenes(samples=6, validation_samples=1)
    said = Counter(sentence_of(data.sample(2, np.random.default_rng(n))["text"]) for n in range(60))
    assert len(said) > 15
    assert {parse(sentence).groups for sentence in said} == {data.scenes[2].groups}


def test_pictures_are_pure_functions_of_scene_and_seed() -> None:
    scene = ALL[0]
    assert np.array_equal(draw(scene, 1), draw(scene, 1))
    assert not np.array_equal(draw(scene, 1), draw(scene, 2))
    assert not np.array_equal(draw(ALL[0], 1), draw(ALL[1], 1))


def test_shapes_are_where_the_scene_says() -> None:
    """The bright pixels: their centre for one group, and as many pieces as there are shapes."""
    import cv2

    for number, scene in enumerate(ALL[::9]):
        bright = draw(scene, number, 64).max(2) > 150
        y, x = np.nonzero(bright)
        place = "" if scene.layout in ("vertical", "horizontal") else scene.layout
        if place:
            assert abs(x.mean() / 64 - (0.25 if "left" in place else 0.75 if "right" in place else 0.5)) < 0.06
            assert abs(y.mean() / 64 - (0.25 if "top" in place else 0.75 if "bottom" in place else 0.5)) < 0.06
        _, _, statistics, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8))
        pieces = int((statistics[1:, cv2.CC_STAT_AREA] > 20).sum())
        total = sum(group.count for group in scene.groups)
        touching = any(group.shape == "star" for group in scene.groups)  # the tips of stars may touch
        assert pieces == total or (touching and pieces < total), phrase(scene)
        assert not bright[[0, -1]].any(), phrase(scene)
        assert not bright[:, [0, -1]].any(), phrase(scene)


def test_relations_and_counts_occur_as_often_as_asked() -> None:
    some = chosen(0, 2000, 0.25, unseen=False)
    single = [scene for scene in some if len(scene.groups) == 1]
    assert 0.22 < 1 - len(single) / 2000 < 0.28
    shares = Counter(scene.groups[0].count for scene in single)
    assert all(0.3 < shares[count] / len(single) < 0.37 for count in (1, 2, 3))
    assert not any(len(scene.groups) == 2 for scene in chosen(0, 200, 0.0, unseen=True))


def test_code_points_are_int64() -> None:
    assert codes("a").dtype == torch.int64
    assert codes("ab").shape == (200,)
