"""The embedded horses and zebras, and the metric that knows the truth about them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from i2i_scenes.animals.data import HorsesAndZebras, Pictures
from i2i_scenes.animals.landscape import landscape
from i2i_scenes.animals.painting import Painting, paint
from i2i_scenes.animals.pictures import mask, render
from i2i_scenes.animals.scene import CLASSIFIER, VALIDATION, scene
from i2i_scenes.animals.truth import AnimalTruth, chroma, classifier, stripe_energy
from torch import Tensor

from i2i import ConfigError, Data, Task
from i2i.data import to_tensor

# The classifier is trained once: some 15 seconds of processor time.
pytestmark = pytest.mark.timeout(300)

CHECKSUM = """
import hashlib
from i2i_scenes.animals.pictures import mask, render
from i2i_scenes.animals.scene import scene
pictures = [render(scene(s), animal, 64) for s in (0, 1 << 60) for animal in ("horse", "zebra")]
print(hashlib.sha256(b"".join(p.tobytes() for p in [*pictures, mask(scene(0), 64)])).hexdigest())
"""


# ------------------------------------------------------------------------------------------------ the pictures


def test_a_seed_gives_the_same_image_in_another_process() -> None:
    other = subprocess.run([sys.executable, "-c", CHECKSUM], capture_output=True, text=True, check=True)
    pictures = [render(scene(s), animal, 64) for s in (0, 1 << 60) for animal in ("horse", "zebra")]
    here = hashlib.sha256(b"".join(p.tobytes() for p in [*pictures, mask(scene(0), 64)])).hexdigest()
    assert other.stdout.strip() == here


def test_what_pictures_share_is_painted_once_and_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    painted = list[str]()
    original = Painting.__init__
    monkeypatch.setattr(
        Painting,
        "__init__",
        lambda self, scene, animal, grid: painted.append(animal) or original(self, scene, animal, grid),
    )
    for shared in (paint, landscape):
        shared.cache_clear()
    first, other = render(scene(7), "horse", 64), render(scene(7), "zebra", 64)
    mask(scene(7), 64)
    assert np.array_equal(render(scene(7), "horse", 64), first)
    assert np.array_equal(render(scene(7), "zebra", 64), other)
    assert painted == ["horse", "zebra"]
    for shared in (paint, landscape):
        shared.cache_clear()
    assert np.array_equal(render(scene(7), "zebra", 64), other)


@pytest.mark.parametrize("size", [64, 65, 100, 128, 256])
def test_every_size_can_be_drawn(size: int) -> None:
    for animal in ("horse", "zebra"):
        picture = render(scene(3), animal, size)  # type: ignore[arg-type]
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 20
    assert mask(scene(3), size).shape == (size, size)


def test_a_scene_is_the_same_at_every_size() -> None:
    for seed in range(4):
        large = render(scene(seed), "zebra", 256).reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(large - render(scene(seed), "zebra", 64)).mean() < 4
        large_mask = mask(scene(seed), 256).reshape(64, 4, 64, 4).any((1, 3))
        assert (large_mask != mask(scene(seed), 64)).mean() < 0.03


@pytest.mark.parametrize("size", [64, 90, 128])
def test_horse_and_zebra_differ_only_inside_the_mask(size: int) -> None:
    for seed in range(12):
        drawn = scene(seed)
        differs = (render(drawn, "horse", size) != render(drawn, "zebra", size)).any(2)
        body = mask(drawn, size)
        assert not differs[~body].any()
        assert differs[body].mean() > 0.95
        assert 0.12 < body.mean() < 0.45


def test_scenes_vary_in_pose_coat_light_and_land() -> None:
    scenes = [scene(seed) for seed in range(80)]
    assert {s.pose.facing for s in scenes} == {-1, 1}
    assert {s.pose.neck > 0 for s in scenes} == {True, False}  # heads up, and grazing
    assert {any(lift > 0 for _, lift in s.pose.legs) for s in scenes} == {True, False}  # walking, and standing
    assert {s.land.fence for s in scenes} == {s.land.acacias for s in scenes} == {True, False}
    assert {s.land.trees for s in scenes} == {s.land.ridges for s in scenes} == {0, 1, 2, 3}
    for numbers in ([s.coat.body for s in scenes], [s.light.direct for s in scenes], [s.land.near for s in scenes]):
        assert np.std(numbers, 0).max() > 0.05


def test_a_zebra_is_striped_and_a_horse_is_coloured() -> None:
    drawn = [scene(seed) for seed in range(16)]
    horses, zebras = (
        torch.stack([to_tensor(render(s, animal, 64)) for s in drawn])  # type: ignore[arg-type]
        for animal in ("horse", "zebra")
    )
    masks = torch.stack([torch.from_numpy(mask(s, 64)).float()[None] for s in drawn])
    assert stripe_energy(zebras, masks).mean() > 8 * stripe_energy(horses, masks).mean()
    assert chroma(horses, masks).mean() > 1.5 * chroma(zebras, masks).mean()


# ------------------------------------------------------------------------------------------------ the data set


def test_training_scenes_are_unpaired_and_disjoint_from_those_held_out() -> None:
    held_out = HorsesAndZebras(validation_samples=1000).validation()
    validation = {seed for seeds in held_out.seeds() for seed in seeds}  # type: ignore[attr-defined]
    assert len(validation) == 2000
    for seed in (0, 1, (1 << 20) - 1):
        horses, zebras = HorsesAndZebras(samples=1000, seed=seed).seeds()
        assert not set(horses) & set(zebras)
        assert not (set(horses) | set(zebras)) & validation
        assert max(*horses, *zebras) < VALIDATION <= min(validation) <= max(validation) < CLASSIFIER
    assert set(HorsesAndZebras(seed=1).seeds()[0]).isdisjoint(HorsesAndZebras(seed=0).seeds()[0])
    assert len({str(scene(seed).pose) for seed in (0, 1, VALIDATION, VALIDATION + 1, CLASSIFIER)}) == 5


def test_a_sample_is_a_function_of_index_and_rng() -> None:
    warm, cold = HorsesAndZebras(samples=20), HorsesAndZebras(samples=20)
    assert len(warm) == 20
    for index in range(20):
        warm.sample(index, np.random.default_rng(index))
    for index in (0, 19):
        one, two = (data.sample(index, np.random.default_rng(5)) for data in (warm, cold))
        assert torch.equal(one["A"], two["A"])
        assert torch.equal(one["B"], two["B"])
        assert one["A"].shape == (3, 64, 64)
        assert one["A"].dtype == torch.float32
        assert -1 <= one["A"].min() < one["A"].max() <= 1
    zebras = [cold.sample(0, np.random.default_rng(n))["B"] for n in range(6)]
    assert any(not torch.equal(zebras[0], zebra) for zebra in zebras[1:])


def test_the_memory_for_images_is_bounded() -> None:
    pictures = Pictures(64)
    assert pictures.most * 64 * 64 * 3 <= 1 << 29
    pictures.most = 2
    first = [pictures(seed, "horse") for seed in range(4)]
    assert len(pictures.kept) == 2
    assert all(np.array_equal(pictures(seed, "horse"), first[seed]) for seed in range(4))


def test_validation_knows_the_truth() -> None:
    held_out = HorsesAndZebras(size=72, validation_samples=3).validation()
    assert len(held_out) == len(list(held_out)) == 3
    for sample in held_out:
        for side in "AB":
            outside = sample[f"mask_{side}"] == 0
            assert sample[f"mask_{side}"].shape == (1, 72, 72)
            assert torch.equal(*(sample[name] * outside for name in (side, f"truth_{side}")))
            assert not torch.equal(sample[side], sample[f"truth_{side}"])
        assert not torch.equal(sample["A"], sample["truth_B"])
    assert torch.equal(held_out[-1]["A"], held_out[2]["A"])
    with pytest.raises(IndexError):
        held_out[3]


# ------------------------------------------------------------------------------------------------ the metric


class Painter(Task):
    """A task that was not trained: it knows the validation samples and paints what `paint` says."""

    def __init__(self, data: Data, paint: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.samples, self.paint = list(data.validation()), paint

    def translate(self, image: Tensor, **condition: object) -> Tensor:
        side = {"AtoB": "A", "BtoA": "B"}[str(condition["direction"])]
        known = [next(s for s in self.samples if torch.equal(s[side], one)) for one in image]
        truth, where = (torch.stack([s[f"{name}_{side}"] for s in known]) for name in ("truth", "mask"))
        return self.paint(image, truth, where)


@pytest.fixture(scope="module")
def data() -> HorsesAndZebras:
    return HorsesAndZebras(validation_samples=48)


def scores(data: Data, paint: Callable[[Tensor, Tensor, Tensor], Tensor]) -> dict[str, float]:
    with torch.inference_mode():
        return AnimalTruth()(Painter(data, paint), data)


def test_the_classifier_recognises_unseen_animals_without_touching_the_global_generator(
    data: HorsesAndZebras,
) -> None:
    torch.manual_seed(3)
    classifier.cache_clear()
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr, index]
    found = scores(data, lambda image, truth, where: image)
    assert found["classifier/accuracy"] >= 0.99
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # type: ignore[index]


def test_the_classifier_is_the_same_for_any_number_of_threads() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(classifier.__wrapped__(4, 3, 4).state_dict())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*(state.values() for state in found), strict=True))


def test_the_truth_scores_perfectly(data: HorsesAndZebras) -> None:
    found = scores(data, lambda image, truth, where: truth)
    for way in ("AtoB", "BtoA"):
        assert found[f"{way}/called"] >= 0.98
        assert found[f"{way}/saturation"] == pytest.approx(1)
        assert found[f"{way}/stripes"] == pytest.approx(1)
        assert found[f"{way}/background_psnr"] == pytest.approx(100)


def test_unchanged_images_fail_the_metric(data: HorsesAndZebras) -> None:
    found = scores(data, lambda image, truth, where: image)
    assert found["AtoB/called"] <= 0.02
    assert found["BtoA/called"] <= 0.02
    assert found["AtoB/stripes"] < 0.15
    assert found["BtoA/stripes"] > 5
    assert found["AtoB/saturation"] > 1.5
    assert found["BtoA/saturation"] < 0.7


def test_a_third_of_the_truth_mostly_fails_the_metric(data: HorsesAndZebras) -> None:
    found = scores(data, lambda image, truth, where: 0.7 * image + 0.3 * truth)
    assert max(found["AtoB/called"], found["BtoA/called"]) < 0.3


def test_grey_animals_and_noisy_animals_fail_the_metric(data: HorsesAndZebras) -> None:
    chance = torch.Generator().manual_seed(0)
    grey = scores(data, lambda image, truth, where: image.mean(1, keepdim=True) * where + image * (1 - where))
    noise = scores(
        data,
        lambda image, truth, where: torch.where(
            where > 0, torch.randn(len(image), 1, 64, 64, generator=chance).clamp(-1, 1), image
        ),
    )
    for found in (grey, noise):
        assert max(found["AtoB/called"], found["BtoA/called"]) < 0.1
    assert grey["AtoB/saturation"] == 0


def test_stripes_over_the_whole_image_lower_the_background_psnr(data: HorsesAndZebras) -> None:
    bars = 0.8 * torch.sin(torch.arange(64) * torch.pi / 2 + 0.5)
    found = scores(data, lambda image, truth, where: bars.expand_as(image))
    assert found["AtoB/background_psnr"] < 12
    assert found["AtoB/saturation"] == 0


def test_washed_out_stripes_are_detected_as_weak(data: HorsesAndZebras) -> None:
    found = scores(data, lambda image, truth, where: torch.nn.functional.avg_pool2d(truth, 3, 1, 1))
    assert found["AtoB/stripes"] < 0.5


def test_background_psnr_matches_its_definition(data: HorsesAndZebras) -> None:
    found = scores(data, lambda image, truth, where: image * 0 + (image - 0.02) * (1 - where))
    assert found["AtoB/background_psnr"] == pytest.approx(10 * np.log10(4 / 0.02**2), abs=0.2)  # -1 stays -1


def test_a_data_set_without_truth_is_rejected_in_one_sentence() -> None:
    class Bare(HorsesAndZebras):
        def validation(self) -> list[dict[str, Tensor]]:
            return [{"A": torch.zeros(3, 64, 64), "B": torch.zeros(3, 64, 64)}]

    with pytest.raises(ConfigError, match="horses_zebras"):
        AnimalTruth()(Painter(Bare(), lambda image, truth, where: image), Bare())
