"""Metrics of generative tasks: tasks with known samples get the expected scores."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from i2i_scenes import register
from i2i_scenes.classes import DRAWN, ClassAccuracy, ClassShare, judged_by, read, reader
from i2i_scenes.digits import TRAINING, VALIDATION, drawn
from torch import Tensor

from i2i import api
from i2i.catalog import Catalog
from i2i.data import Data, Sample, classes_of
from i2i.data.memory import InMemory
from i2i.data.mnist import MNIST
from i2i.errors import ConfigError, NumericError, PluginError, WeightsError
from i2i.metrics import KID, Frechet, sampled
from i2i.task import Task

DATA = os.environ.get("I2I_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="I2I_DATA is not set")
DIGITS = tuple("0123456789")
HELD = drawn(VALIDATION, 400, 32)


class Held(Data):
    """A data set with validation samples only."""

    def __init__(self, samples: Sequence[Sample], classes: Sequence[str] = DIGITS) -> None:
        self.samples, self.classes = samples, tuple(classes)

    def validation(self) -> Sequence[Sample]:
        return self.samples


class Known(Task):
    """Samples by choosing known pictures of the requested class at random.

    Args:
        pictures: the pictures to choose from.
        classes: the names of the classes that can be requested.
        shows: for each of these, the label of the pictures shown; by default the same class.
    """

    def __init__(
        self, pictures: InMemory, classes: Sequence[str] = DIGITS, shows: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.pictures, self.classes = pictures, tuple(classes)
        self.shows = torch.tensor(shows or [DIGITS.index(one) for one in classes])
        self.asked: list[Any] = []

    def sample(self, n: int, label: Any = None) -> Tensor:
        self.asked.append(label)
        numbers = (
            torch.randint(len(self.shows), (n,)) if label is None else [self.classes.index(one) for one in label]
        )
        return torch.stack([self.one(int(self.shows[int(number)])) for number in numbers])

    def one(self, label: int) -> Tensor:
        of_that = (self.pictures.labels == label).nonzero().flatten()
        image: Tensor = self.pictures[int(of_that[torch.randint(len(of_that), ())])]["image"]
        return image


def only(*labels: int) -> Known:
    """Return a task that shows only these digits."""
    return Known(HELD, shows=[labels[i % len(labels)] for i in range(10)])


# ---- the embedded judge


@pytest.mark.parametrize("size", [16, 28, 32, 64])
def test_the_embedded_judge_reads_unseen_digits(size: int) -> None:
    held = drawn(VALIDATION, 1000, size)
    right = read("embedded", judged_by("embedded"), (sample["image"] for sample in held)) == held.labels
    assert right.double().mean() > 0.98
    assert right.double().unflatten(0, (100, 10)).mean(0).min() > 0.95


def test_the_embedded_judge_is_not_trained_on_pictures_of_a_data_set() -> None:
    assert (
        TRAINING + ((1 << 20) << 32) <= VALIDATION < VALIDATION + (1 << 40) < DRAWN
    )  # digits takes seeds below 1 << 20
    assert {s["image"].numpy().tobytes() for s in drawn(DRAWN, 200, 32)}.isdisjoint(
        s["image"].numpy().tobytes() for first in (TRAINING, VALIDATION) for s in drawn(first, 200, 32)
    )


def test_the_embedded_judge_is_deterministic_and_keeps_the_random_state() -> None:
    torch.manual_seed(1)
    with torch.inference_mode():  # training must work here, too
        first = reader.__wrapped__(100, 3).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = reader.__wrapped__(100, 3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)


# ---- class_accuracy


def test_a_task_that_shows_the_requested_class_is_nearly_always_right() -> None:
    task = Known(HELD)
    found = ClassAccuracy(per_class=30)(task, Held(HELD))
    assert found.keys() == {"mean", "smallest", "judge"}
    assert found["mean"] > 0.98
    assert found["smallest"] > 0.9
    asked = [one for some in task.asked for one in some]
    assert sorted(asked) == sorted(DIGITS * 30)
    assert set(task.asked[0]) == set(DIGITS)  # every batch mixes all classes


def test_a_task_that_ignores_the_class_has_chance_accuracy() -> None:
    class Deaf(Known):
        def sample(self, n: int, label: Any = None) -> Tensor:
            return super().sample(n)

    found = ClassAccuracy(per_class=60)(Deaf(HELD), Held(HELD))
    assert found["mean"] == pytest.approx(0.1, abs=0.05)  # 4 standard errors


def test_confused_classes_are_found() -> None:
    swapped = [0, 1, 2, 5, 4, 3, 6, 7, 8, 9]
    found = ClassAccuracy(per_class=20)(Known(HELD, shows=swapped), Held(HELD))
    assert found["mean"] == pytest.approx(0.8, abs=0.03)
    assert found["smallest"] < 0.1


def test_the_judge_itself_is_evaluated_on_the_validation_pictures() -> None:
    wrong = InMemory(
        HELD.pictures, np.where(np.arange(400) < 200, HELD.labels.numpy(), (HELD.labels.numpy() + 1) % 10)
    )
    found = ClassAccuracy(per_class=1)(Known(HELD), Held(wrong))
    assert found["judge"] == pytest.approx(0.5, abs=0.02)
    assert "judge" not in ClassAccuracy(per_class=1)(Known(HELD), Held([]))


def test_classes_are_matched_by_name_and_requested_by_the_names_of_the_task() -> None:
    order = ("7", "3", "9")
    wrongly_numbered = InMemory(HELD.pictures[:30], np.zeros(30, np.int64))  # all called the data's class 0, "7"
    task = Known(HELD, classes=("seven", "three", "nine"), shows=[7, 3, 9])
    found = ClassAccuracy(per_class=20)(task, Held(wrongly_numbered, classes=order))
    assert found["mean"] > 0.95
    assert found["judge"] == pytest.approx(0.1, abs=0.04)
    assert ClassAccuracy(per_class=20)(Known(HELD, classes=order), Held([], classes=()))["mean"] > 0.95


@pytest.mark.parametrize("size", [16, 28, 64])
def test_pictures_of_other_sizes_are_read_as_well(size: int) -> None:
    held = drawn(VALIDATION, 100, size)
    assert ClassAccuracy(per_class=10)(Known(held), Held(held))["mean"] > 0.95


# ---- class_share


def test_equally_frequent_classes_have_the_highest_entropy() -> None:
    found = ClassShare(samples=600)(Known(HELD), Held(HELD))
    assert found.keys() == {"smallest", "entropy", "present"}
    assert found["entropy"] > 0.98
    assert 0.05 < found["smallest"] <= 0.1
    assert found["present"] == 10


def test_a_single_class_has_zero_entropy() -> None:
    ones = InMemory(HELD.pictures[[1]], np.array([1]))
    found = ClassShare(samples=70)(Known(ones, shows=[1] * 10), Held(HELD))
    assert found == {"smallest": 0.0, "entropy": 0.0, "present": 1.0}


def test_half_of_the_classes_have_the_entropy_of_five() -> None:
    found = ClassShare(samples=600)(only(0, 1, 2, 3, 4), Held(HELD))
    assert found["entropy"] == pytest.approx(math.log(5) / math.log(10), abs=0.02)
    assert found["present"] == 5
    assert found["smallest"] < 0.01


def test_a_task_without_classes_uses_those_of_the_data() -> None:
    class Unlabelled(Known):
        def sample(self, n: int) -> Tensor:  # type: ignore[override]
            return super().sample(n)

    task = Unlabelled(HELD)
    task.classes = ()
    assert ClassShare(samples=100)(task, Held(HELD))["present"] == 10


# ---- kid and frechet of samples


def test_samples_are_compared_with_the_validation_images() -> None:
    data = Held([HELD[i] for i in range(100)])
    for metric in (KID(), Frechet()):
        same, ones = metric(Known(HELD), data), metric(only(1), data)
        assert list(same) == ["random_conv"]
        assert same["random_conv"] < 0.3 * ones["random_conv"]
    task = Known(HELD)
    KID()(task, data)
    assert task.asked == [None] * 2  # a batch of 64 and one of 36


def test_a_task_that_translates_is_evaluated_on_translations() -> None:
    class Same(Task):
        def translate(self, image: Tensor, *args: Any, **condition: Any) -> Tensor:
            return image

    pairs = [{"A": HELD[i]["image"], "B": HELD[i]["image"], "image": -HELD[i]["image"]} for i in range(4)]
    assert Frechet()(Same(), Held(pairs))["random_conv"] == pytest.approx(0, abs=1e-6)


# ---- sampling


METRICS = [ClassAccuracy(per_class=7), ClassShare(samples=70), KID(), Frechet()]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_scores_are_deterministic_and_the_random_state_is_kept(metric: Any) -> None:
    task, data = Known(HELD), Held([HELD[i] for i in range(70)])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = metric(task, data)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert metric(task, data) == first


def test_samples_differ_between_batches_and_have_their_own_conditions() -> None:
    class Counting(Task):
        def sample(self, n: int, *args: Any, **condition: Any) -> Tensor:
            return torch.tensor(condition["label"])[:, None, None, None] + torch.rand(n, 1, 2, 2) / 2

    found = torch.stack(list(sampled(Counting(), 5, 2, label=[-1, 0, -1, 0, -1])))
    assert found.shape == (5, 1, 2, 2)
    assert torch.equal(found.floor().flatten(1)[:, 0], torch.tensor([-1.0, 0, -1, 0, -1]))
    assert len(found.remainder(1).unique()) == 20


def test_samples_are_clipped_and_detached() -> None:
    class Bright(Task):
        def __init__(self) -> None:
            super().__init__()
            self.bright = torch.nn.Parameter(torch.tensor(3.0))

        def sample(self, n: int, *args: Any, **condition: Any) -> Tensor:
            return self.bright.expand(n, 1, 4, 4)

    (image,) = sampled(Bright(), 1)
    assert torch.equal(image, torch.ones(1, 4, 4))
    assert not image.requires_grad


# ---- what cannot be evaluated


class Makes(Task):
    """Always makes the same picture."""

    classes = DIGITS

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.like = like

    def sample(self, n: int, *args: Any, **condition: Any) -> Tensor:
        return self.like.expand(n, *self.like.shape[1:])


def test_a_task_without_classes_is_rejected() -> None:
    task = Known(HELD)
    task.classes = ()
    with pytest.raises(ConfigError, match=r"Known has no classes: train it with task\.classes, or use class_share"):
        ClassAccuracy()(task, Held(HELD))
    with pytest.raises(ConfigError, match=r"the data has 10 classes and Known 3: set task\.classes"):
        ClassAccuracy()(Known(HELD, classes="123"), Held(HELD))


def test_classes_unknown_to_the_judge_are_named() -> None:
    data = Held(HELD, classes=["7", "cat", "dog"])
    for metric in (ClassAccuracy(), ClassShare()):
        with pytest.raises(ConfigError, match=r"the judge embedded reads 0, 1, .*9, but not cat, dog: remove"):
            metric(Known(HELD, classes="123"), data)


def test_a_judge_of_grey_pictures_rejects_colour() -> None:
    for metric in (ClassAccuracy(), ClassShare()):
        with pytest.raises(ConfigError, match="the judge embedded reads grey pictures, but these have 3 channels"):
            metric(Makes(torch.zeros(1, 3, 32, 32)), Held(HELD))


def test_a_task_that_only_translates_is_rejected() -> None:
    class Translates(Task):
        def translate(self, given: Tensor, *args: Any, **condition: Any) -> Tensor:
            return given

    with pytest.raises(ConfigError, match=r"this model neither translates nor generates"):
        KID()(Task(), Held(HELD))
    for metric in (ClassShare(), KID()):
        with pytest.raises(
            ConfigError, match=r"this model does not generate, it translates: use `i2i translate FILE`"
        ):
            metric(Translates(), Held(HELD))


def test_generated_values_that_are_not_pictures_are_reported() -> None:
    with pytest.raises(NumericError, match=r"Makes\.sample returned values that are not finite"):
        ClassShare()(Makes(torch.full((1, 1, 32, 32), math.nan)), Held(HELD))
    with pytest.raises(PluginError, match=r"Makes\.sample made torch\.float32 \[64, 32, 32\]; images are floats"):
        KID()(Makes(torch.zeros(1, 32, 32)), Held(HELD))


def test_a_set_of_fewer_than_two_pictures_is_rejected() -> None:
    for samples, said in (([HELD[0]], "but there is only 1"), ([], "Held has none: use other data")):
        with pytest.raises(ConfigError, match=said):
            KID()(Known(HELD), Held(samples))


TINY = """
task: {use: vae, size: 16, latent: 2, encoder: {use: dense_encoder, widths: [8]}, decoder: {use: dense_decoder}}
data: {use: digits, size: 16, batch_size: 10, samples: 10, validation_samples: 20}
train: {steps: 1, threads: 1}
"""


@pytest.mark.parametrize("metric", ["class_accuracy", "class_share"])
def test_a_missing_judge_is_reported_before_training(
    metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("I2I_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("I2I_DATA", raising=False)
    (tmp_path / "tiny.yaml").write_text(TINY)
    said = rf"mnist_lenet\.pth not found .*https://.*put it in one of {tmp_path}/I2I_HOME/weights"
    with pytest.raises(WeightsError, match=said):
        api.run(tmp_path / "tiny.yaml", f"metrics=[{{use: {metric}, judge: lenet}}]", out=tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_run_writes_the_scores_to_its_metrics(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    asked = "metrics=[{use: class_share, samples: 20}, {use: kid}, {use: frechet}]"
    run = api.run(tmp_path / "tiny.yaml", asked, out=tmp_path / "run")
    found = json.loads((run / "metrics.json").read_text())
    names = {"class_share/smallest", "class_share/entropy", "class_share/present", "kid/random_conv"}
    assert names | {"frechet/random_conv"} <= found.keys()


def test_metrics_are_in_the_catalog() -> None:
    catalog = Catalog()
    register(catalog)
    assert {"class_accuracy", "class_share"} <= set(catalog.names("metric"))


# ---- real digits


@needs_data
def test_lenet_reads_handwritten_digits() -> None:
    data = MNIST(f"{DATA}/mnist", validation_samples=1000)
    task = Known(data.test)
    found = ClassAccuracy("lenet", per_class=30)(task, data)
    assert found["mean"] > 0.97
    assert found["judge"] > 0.98
    share = ClassShare("lenet", samples=500)(task, data)
    assert share["present"] == 10
    assert share["entropy"] > 0.98
    near, far = (KID("lenet")(task, data)["lenet"] for task in (Known(data.test), Known(data.test, shows=[4] * 10)))
    assert abs(near) < 0.02 * far


@pytest.mark.parametrize(("classes", "names"), [(("a", "b"), ("a", "b")), ([1, 2], ("1", "2")), (3, ()), (None, ())])
def test_the_names_of_the_classes_of_a_task_or_data_set(classes: Any, names: tuple[str, ...]) -> None:
    assert classes_of(SimpleNamespace(classes=classes)) == names
    assert classes_of(object()) == ()
