"""The metric `caption_rank`: an encoder trained on real pictures ranks the captions of generated ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from i2i_text2image.caption_rank import CaptionRank, Matcher, top1, trained
from i2i_text2image.captions import Captions
from i2i_text2image.text import Text, to_text
from PIL import Image as Pil
from torch import Tensor

from i2i import Task
from i2i.data import Data
from i2i.errors import ConfigError, WeightsError
from i2i.plugins import registry

DATA = os.environ.get("I2I_DATA")
COLOURS = {"red": (210, 40, 40), "green": (40, 190, 60), "blue": (40, 60, 220), "yellow": (220, 210, 40)}
THINGS = {"wall": 0, "fence": 1, "sea": 2}  # plain, upright stripes, lying stripes


def pixels(colour: str, thing: str, rng: np.random.Generator, size: int = 32) -> np.ndarray:
    """Draw something in a colour: uint8 [size, size, 3]."""
    image = np.full((size, size, 3), COLOURS[colour], float)
    image[..., :] *= rng.uniform(0.7, 1.1)
    if thing == "fence":
        image[:, :: int(rng.integers(3, 6))] *= 0.2
    if thing == "sea":
        image[:: int(rng.integers(3, 6))] *= 0.2
    return (image + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Captions:
    """Pictures of walls, fences and seas in four colours, with two captions each."""
    root, rng = tmp_path_factory.mktemp("captions"), np.random.default_rng(0)
    for part, copies in (("train", 10), ("val", 1)):
        (root / part).mkdir()
        lines = []
        for n, (colour, thing) in enumerate([(c, t) for c in COLOURS for t in THINGS] * copies):
            Pil.fromarray(pixels(colour, thing, rng)).save(root / part / f"{n:03}.png")
            lines += [f"{n:03}.png#0\ta {colour} {thing} .", f"{n:03}.png#1\tthis {thing} is {colour} ."]
        (root / f"captions_{part}.txt").write_text("\n".join(lines) + "\n")
    return Captions(str(root), size=32)


class Painter(Task):
    """Draws what a caption says, in the colour it says or another one."""

    takes, source, target = Text(), "text", "image"

    def __init__(self, other: dict[str, str] | None = None) -> None:
        super().__init__()
        self.other = other or {}

    def translate(self, text: Tensor) -> Tensor:
        """Return pictures [N, 3, 32, 32] of captions, code points [N, L]."""
        made = []
        for n, row in enumerate(text):
            said = to_text(row).split()
            colour = next(word for word in said if word in COLOURS)
            thing = next(word for word in said if word in THINGS)
            made.append(pixels(self.other.get(colour, colour), thing, np.random.default_rng(1000 + n)))
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 127.5 - 1


# ---- the score


def test_pictures_that_fit_their_captions_rank_high_and_others_do_not(data: Captions) -> None:
    metric = CaptionRank(among=12)
    right = metric(Painter(), data)
    assert right["top1"] > 0.8
    assert right["real/top1"] > 0.8
    assert right["chance/top1"] < 0.2
    wrong = metric(Painter({"red": "green", "green": "red", "blue": "yellow", "yellow": "blue"}), data)
    assert wrong["top1"] < 0.2
    assert wrong["real/top1"] == right["real/top1"]


def test_the_score_is_the_expectation_over_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    similarity = torch.randn(30, 30, generator=generator) + 1.5 * torch.eye(30)
    draws = []
    for _ in range(300):
        for n in range(30):
            others = torch.randperm(29, generator=generator)[:4]
            others = others + (others >= n).long()
            draws.append(bool((similarity[n, others] < similarity[n, n]).all()))
    assert top1(similarity, 5) == pytest.approx(np.mean(draws), abs=0.02)


def test_scores_of_known_similarities() -> None:
    assert top1(torch.eye(20), 20) == 1
    assert top1(torch.ones(20, 20), 20) == 0  # an encoder that tells nothing apart gets nothing
    assert top1(1 - torch.eye(20), 2) == 0
    three = torch.tensor([[2.0, 1.0, 3.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert top1(three, 2) == pytest.approx((0.5 + 1 + 1) / 3)


def test_the_encoder_is_the_same_each_time_and_leaves_the_random_state_alone(data: Captions) -> None:
    features = torch.randn(len(data), 8, generator=torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state()
    first, again = (trained(data.train, features, steps=3) for _ in range(2))
    assert before.equal(torch.random.get_rng_state())
    assert first.embed_captions(["a red wall"]).equal(again.embed_captions(["a red wall"]))


def test_words_are_weighted_by_rarity_and_unknown_ones_left_out() -> None:
    matcher = Matcher(["a red dog", "a red cat", "a dog", "a cat"], torch.randn(4, 3))
    bag = matcher.bags(["a Red zebra", "a dog", "zebra"])
    assert bag.shape == (3, 4)
    assert bag[0, matcher.number["red"]] == 1  # "a" is in every caption, so its weight is 0
    assert bag[2].eq(0).all()


# ---- refusals


class Other(Data):
    """No captions."""

    def validation(self) -> Sequence[dict[str, Tensor]]:
        return [{"image": torch.zeros(3, 8, 8), "text": torch.zeros(200).long()}]


def test_what_cannot_be_scored_is_rejected_before_training(data: Captions) -> None:
    metric = registry().catalog.find("metric", "caption_rank").build()
    with pytest.raises(ConfigError, match="but the data is Other: use it with the data set captions"):
        metric.refuse(Painter(), Other())
    with pytest.raises(ConfigError, match="ranks 20 captions, but there are 12 validation samples"):
        metric.refuse(Painter(), data)
    CaptionRank(among=12).refuse(Painter(), data)


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("I2I_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="squeezenet"):
        CaptionRank("squeezenet", weights_dir=str(tmp_path))
