"""Super-resolution: published networks and degradations, aligned patches, and the two-stage task."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from i2i_scenes.photos import SyntheticPhotos, photo, write
from i2i_superres import SuperResolution as Task
from i2i_superres import charbonnier, milestones
from PIL import Image
from torch import Tensor, nn

from i2i import api
from i2i.config import Train
from i2i.data import degrade
from i2i.data.degrade import DEGRADATIONS, bicubic, real_world
from i2i.data.superres import SuperResolution, rows_of
from i2i.engine import Engine
from i2i.errors import ConfigError, DataError, WeightsError
from i2i.images import reach, read_rgb
from i2i.losses import Perceptual, Relativistic, Vanilla
from i2i.networks import EDSR, SPAN, CompactSR, MSRResNet, RRDBNet, SRResNet, UnetDiscriminator, VGGDiscriminator
from i2i.optim import adam
from i2i.testing import check_task

ROOT = Path(__file__).parent.parent
real_data = pytest.mark.skipif("I2I_DATA" not in os.environ, reason="needs $I2I_DATA")


def pictures(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def levels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(folder: Path, *names: str, size: tuple[int, int] = (40, 52)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(levels(*size, seed=number)).save(folder / name)
    return folder


# ------------------------------------------------------------------------------------------------- networks

SMALL: dict[str, Any] = {
    "srresnet": partial(SRResNet, width=8, blocks=1),
    "msrresnet": partial(MSRResNet, width=8, blocks=1),
    "edsr": partial(EDSR, width=8, blocks=1),
    "compact": partial(CompactSR, width=8, blocks=1),
    "rrdb": partial(RRDBNet, width=8, blocks=1, growth=4),
    "span": partial(SPAN, width=8, blocks=1, shift=0.5, base=True),
}


# REFERENCE.md section 2; the counts of EDSR and SRGAN themselves follow from the tables in their papers.
@pytest.mark.parametrize(
    ("network", "published"),
    [
        (SRResNet, 1_549_462),
        (MSRResNet, 1_517_571),
        (RRDBNet, 16_697_987),
        (EDSR, 1_517_571),
        (partial(EDSR, blocks=32, width=256), 43_089_923),
        (VGGDiscriminator, 14_499_401),
        (partial(VGGDiscriminator, size=96, halvings=4, kernel=3, hidden=1024), 23_563_649),
        (UnetDiscriminator, 4_376_897),
        (CompactSR, 366_432),
    ],
)
def test_parameter_counts_are_the_published_ones(network: Any, published: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in network().parameters()) == published


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", SMALL)
def test_a_network_upscales_any_size_by_its_scale(name: str, scale: int) -> None:
    network = SMALL[name](scale=scale)
    assert network.scale == scale
    assert network(pictures(2, 3, 9, 13)).shape == (2, 3, 9 * scale, 13 * scale)


@pytest.mark.parametrize("name", ["msrresnet", "compact"])
def test_a_residual_network_starts_near_bilinear_upscaling(name: str) -> None:
    torch.manual_seed(0)
    x = pictures(1, 3, 12, 12)
    base = F.interpolate(x, scale_factor=4, mode="bilinear")
    assert (SMALL[name]()(x) - base).abs().mean() < 0.1


def test_span_works_at_half_size_and_starts_as_the_identity() -> None:
    network = SPAN(scale=1, width=8, blocks=1, shift=0.5, base=True, unshuffle=2)
    x = pictures(2, 3, 10, 14)
    assert network.multiple == 2
    assert network.head.in_channels == 12
    for p in network.tail.parameters():
        p.data.zero_()
    assert torch.equal(network(x), x)
    with pytest.raises(ConfigError, match="scale 3 and unshuffle 2: their product must be 4 at most"):
        SPAN(scale=3, unshuffle=2)


@pytest.mark.parametrize("size", [(9, 13), (10, 13), (9, 14), (10, 14)])
def test_images_that_do_not_fit_the_network_are_padded_and_cropped(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    task = Task(partial(SPAN, scale=2, width=8, blocks=1, shift=0.5, base=True, unshuffle=2), values=(0, 1)).eval()
    x = pictures(1, 3, *size)
    found = task.translate(x)
    assert found.shape == (1, 3, size[0] * 2, size[1] * 2)
    even = F.pad(x, (0, size[1] % 2, 0, size[0] % 2), mode="replicate")
    assert torch.equal(found, task.translate(even)[..., : size[0] * 2, : size[1] * 2])


def test_published_networks_convert_the_value_range_internally() -> None:
    # With all weights zero, the published networks output 0 in their own range (EDSR: the mean), which is -1 in ours.
    for name, answer in (("rrdb", -1.0), ("edsr", None)):
        network = SMALL[name]()
        for p in network.parameters():
            p.data.zero_()
        y = network(pictures(1, 3, 8, 8)).mean((0, 2, 3))
        expected = network.mean.flatten() if answer is None else torch.full((3,), answer)
        assert torch.allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_networks_have_a_finite_reach_so_they_can_be_tiled(name: str) -> None:
    torch.manual_seed(0)
    network = SMALL[name](scale=2).eval()
    found = reach(network, pictures(1, 3, 8, 8))
    assert found is not None
    assert found <= 20


@pytest.mark.parametrize("name", SMALL)
def test_G1_a_tiled_image_equals_the_untiled_one(name: str) -> None:
    torch.manual_seed(0)
    task = Task(partial(SMALL[name], scale=2))
    for layer in task.modules():
        if isinstance(layer, nn.Conv2d) and name != "edsr":  # small initial weights would hide tiling errors
            layer.weight.data.mul_(2)
    model, picture = api.Model(task, {}, Path("here")), levels(70, 91)
    whole, cut = model(picture).astype(int), model(picture, tile=32).astype(int)
    assert whole.shape == (140, 182, 3)
    assert whole.std() > 10
    assert np.abs(whole - cut).max() <= 1


def test_compact_network_gives_the_same_in_both_memory_formats_and_after_a_copy() -> None:
    network, x = SMALL["compact"](), pictures(2, 3, 16, 16)
    there = copy.deepcopy(network).to(memory_format=torch.channels_last)
    y = network(x)
    assert y.is_contiguous()
    assert torch.allclose(there(x.contiguous(memory_format=torch.channels_last)), y, atol=1e-5)


def test_gate_of_the_compact_network_can_close() -> None:
    network, x = SMALL["compact"](), pictures(1, 3, 8, 8)
    block = network.body.body[0]
    h = network.head(x)
    assert not torch.equal(block(h), h)
    block.gate.bias.data.fill_(-100.0)
    assert torch.equal(block(h), h)


def test_discriminators_reject_sizes_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="cannot halve 100 pixels 5 times: use a multiple of 32"):
        VGGDiscriminator(size=100)
    with pytest.raises(DataError, match=r"built for 32x32 pixels and got 64x32"):
        VGGDiscriminator(size=32, width=4)(pictures(1, 3, 64, 32))
    with pytest.raises(DataError, match=r"12x16 pixels .* multiples of 8"):
        UnetDiscriminator(width=4)(pictures(1, 3, 12, 16))


def test_unet_discriminator_has_unit_spectral_norms_and_one_logit_per_pixel() -> None:
    torch.manual_seed(0)
    network = UnetDiscriminator(width=4)
    for _ in range(60):
        logits = network(pictures(1, 3, 16, 24))
    assert logits.shape == (1, 1, 16, 24)
    for layer in (*network.downs, *network.ups):
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=0.02)


# ---------------------------------------------------------------------------------------------------- loss


def test_relativistic_objective_matches_the_paper() -> None:
    real, fake = torch.tensor([[2.0], [0.5]]), torch.tensor([[-1.0], [1.5]])
    logits = {"real": real, "fake": fake}
    s = torch.sigmoid

    def D(x: Any) -> Tensor:
        return logits["real" if x.mean() > 0 else "fake"]

    images = torch.ones(2, 1, 1, 1), -torch.ones(2, 1, 1, 1)
    r, f = real - fake.mean(), fake - real.mean()
    expected_d = -(s(r).log().mean() + (1 - s(f)).log().mean()) / 2
    expected_g = -(s(f).log().mean() + (1 - s(r)).log().mean()) / 2
    gan = Relativistic()
    assert torch.allclose(gan.discriminator(D, *images), expected_d)
    assert torch.allclose(gan.generator(D, images[1], images[0]), expected_g)


def test_relativistic_objective_requires_real_images() -> None:
    with pytest.raises(ConfigError, match="needs real images, which this task does not pass"):
        Relativistic().generator(lambda x: x.mean((1, 2, 3)), torch.zeros(1, 3, 4, 4))


def test_relativistic_objective_supports_several_scales() -> None:
    one, two = (lambda x: x[:, :1]), (lambda x: [x[:, :1], x[:, :1]])
    a, b = pictures(2, 3, 4, 4), -pictures(2, 3, 4, 4)
    gan = Relativistic()
    assert torch.allclose(gan.discriminator(one, a, b), gan.discriminator(two, a, b))


# --------------------------------------------------------------------------------------------- degradations


@real_data
def test_bicubic_matches_the_published_images_bit_for_bit() -> None:
    root = Path(os.environ["I2I_DATA"]) / "sr"
    for scale in (2, 4):
        for high, low in (pair for name in ("Set5", "Set14") for pair in rows_of(root / name, scale)):
            assert low is not None
            wanted, picture = np.asarray(Image.open(low)), np.asarray(Image.open(high))
            rows, columns = (side * scale for side in wanted.shape[:2])
            assert np.array_equal(bicubic(picture[:rows, :columns], scale), wanted), f"{high} x{scale}"


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_preserves_constants_and_ramps(scale: int) -> None:
    flat = np.full((24, 36, 3), 77, np.uint8)
    assert (bicubic(flat, scale) == 77).all()
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[None, :, None] * 4, (24, 48, 3))
    small = bicubic(ramp, scale)
    middle = (np.arange(48 // scale) + 0.5) * scale * 4 - 2
    assert np.abs(small[0, 3:-3, 0] - middle[3:-3]).max() <= 0.5


def test_bicubic_crops_to_a_multiple_of_the_scale() -> None:
    picture = levels(27, 34)
    assert np.array_equal(bicubic(picture, 4), bicubic(picture[:24, :32], 4))


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_degradation_is_a_pure_function_of_its_generator(name: str, scale: int) -> None:
    picture = photo(3)[:97, :120]
    before = picture.copy()
    first, second, other = (DEGRADATIONS[name](picture, scale, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (97 // scale, 120 // scale, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(picture, before)
    assert np.array_equal(first, other) == (name == "bicubic")


def test_second_degradation_round_works_at_about_the_target_size(monkeypatch: pytest.MonkeyPatch) -> None:
    # As published: noise added at the large size would be averaged out by the final downsampling.
    sizes: list[tuple[int, int]] = []
    noisy = degrade.noisy
    monkeypatch.setattr(degrade, "noisy", lambda x, *rest: sizes.append(x.shape[:2]) or noisy(x, *rest))
    for seed in range(20):
        real_world(photo(3), 4, np.random.default_rng(seed))
    first, second = sizes[::2], sizes[1::2]
    assert max(first) > (256, 256)
    assert all(0.3 * 64 - 1 < side <= 1.2 * 64 for size in second for side in size)
    assert len(set(second)) > 8


def test_real_world_degradation_does_not_shift_the_image_but_damages_it() -> None:
    # The average over seeds must not be shifted, and each result must be worse than bicubic downsampling.
    picture = photo(5)[:192, :192]
    clean = bicubic(picture, 4).astype(float)
    found = [real_world(picture, 4, np.random.default_rng(seed)).astype(float) for seed in range(12)]
    errors = [np.abs(one - clean).mean() for one in found]
    assert min(errors) > 1
    inner = np.mean(found, 0)[4:-4, 4:-4].mean(2)
    apart = {
        (y, x): np.abs(inner - clean[4 + y : 44 + y, 4 + x : 44 + x].mean(2)).mean()
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    }
    assert min(apart, key=lambda shift: apart[shift]) == (0, 0)


def test_jpeg_degradation_adds_noise_or_artefacts_and_leaves_one_in_five_alone() -> None:
    picture = photo(5)[:96, :104]
    found = [degrade.jpeg(picture, 1, np.random.default_rng(seed)) for seed in range(200)]
    errors = np.array([np.abs(one.astype(float) - picture).mean() for one in found])
    same = (errors == 0).mean()
    assert 0.09 < same < 0.22  # 15 %
    assert {one.shape for one in found} == {picture.shape}
    assert errors.max() > 5
    mean = np.mean(found, 0)[2:-2, 2:-2]
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    apart = {(y, x): np.abs(mean - picture[2 + y : 94 + y, 2 + x : 102 + x]).mean() for y, x in shifts}
    assert min(apart, key=lambda shift: apart[shift]) == (0, 0)


def test_restoring_data_has_pairs_of_one_size(tmp_path: Path) -> None:
    for n in range(3):
        Image.fromarray(photo(n)).save(tmp_path / f"{n}.png")
    data = SuperResolution(
        str(tmp_path), scale=1, degradation="jpeg", size=32, validation=str(tmp_path), validation_samples=2
    )
    one = data.sample(0, np.random.default_rng(5))
    assert one["A"].shape == one["B"].shape == (3, 32, 32)
    assert (one["A"] - one["B"]).abs().mean() < 0.2
    held = data.validation()[1]
    assert held["A"].shape == held["B"].shape


# ----------------------------------------------------------------------------------------------------- data


def test_a_low_resolution_patch_is_a_crop_of_the_downsampled_image(tmp_path: Path) -> None:
    folder = save(tmp_path, "a.png", size=(60, 84))
    data = SuperResolution(str(folder), size=32, validation=str(folder), turn=False)
    whole, small = levels(60, 84), bicubic(levels(60, 84), 4)
    seen = set()
    for seed in range(80):
        sample = data.sample(0, np.random.default_rng(seed))
        low, high = (((sample[name] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy() for name in "AB")
        places = [(y, x) for y in range(8) for x in range(14) if np.array_equal(low, small[y : y + 8, x : x + 8])]
        assert len(places) == 1
        y, x = places[0]
        assert np.array_equal(high, whole[4 * y : 4 * y + 32, 4 * x : 4 * x + 32])
        seen.add((y, x))
    assert {y for y, _ in seen} == set(range(8))
    assert {x for _, x in seen} == set(range(14))


def test_turning_applies_to_both_images(tmp_path: Path) -> None:
    folder = save(tmp_path, "a.png", size=(32, 32))
    plain = SuperResolution(str(folder), size=32, validation=str(folder), turn=False).sample(
        0, np.random.default_rng(0)
    )
    data = SuperResolution(str(folder), size=32, validation=str(folder))
    kinds = set()
    for seed in range(40):
        sample = data.sample(0, np.random.default_rng(seed))
        same = []
        for name in "AB":
            versions = [torch.rot90(plain[name], k, (1, 2)) for k in range(4)]
            versions += [version.flip(2) for version in versions]
            same.append([n for n, version in enumerate(versions) if torch.equal(version, sample[name])])
        assert same[0] == same[1]
        kinds.add(same[1][0])
    assert kinds == set(range(8))


def test_images_smaller_than_a_sample_are_padded_by_mirroring(tmp_path: Path) -> None:
    data = SuperResolution(str(save(tmp_path, "a.png", size=(20, 30))), size=32, validation=str(tmp_path), turn=False)
    high = data.sample(0, np.random.default_rng(0))["B"]
    assert high.shape == (3, 32, 32)
    assert torch.equal(high[:, 20:], high[:, 8:20].flip(1))


def test_a_folder_listed_twice_counts_twice_and_images_are_shrunk(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", "1.png"), save(tmp_path / "b", "2.png", "3.png")
    data = SuperResolution([str(a), str(a), str(b)], size=16, validation=str(a), shrink=[1.0, 0.5])
    assert len(data) == 4
    assert data.pictures[0] is data.pictures[1]
    assert [picture.shape[:2] for picture in data.pictures[0]] == [(40, 52), (20, 26)]


def test_without_a_validation_folder_every_tenth_image_is_held_out(tmp_path: Path) -> None:
    folder = save(tmp_path, *(f"{n:02d}.png" for n in range(20)))
    data = SuperResolution(str(folder), size=16)
    assert (len(data), len(data.validation())) == (18, 2)
    whole = torch.from_numpy(levels(40, 52, seed=9)).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(data.validation()[0]["B"], whole, atol=1e-6)


def test_validation_uses_published_pairs_and_crops_the_large_images(tmp_path: Path) -> None:
    train = save(tmp_path / "train", "a.png")
    save(tmp_path / "Set/HR", "x.png", "y.png", size=(43, 50))
    save(tmp_path / "Set/LR_x4", "x.png", "y.png", size=(10, 12))
    held = SuperResolution(str(train), size=16, validation=str(tmp_path / "Set")).validation()
    assert [tuple(held[1][name].shape) for name in "AB"] == [(3, 10, 12), (3, 40, 48)]
    whole = torch.from_numpy(levels(43, 50, seed=1)).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(held[1]["B"], whole[:, :40, :48], atol=1e-6)
    small = torch.from_numpy(levels(10, 12, seed=1)).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(held[1]["A"], small, atol=1e-6)


def test_pairs_of_mismatched_sizes_are_named(tmp_path: Path) -> None:
    train = save(tmp_path / "train", "a.png")
    save(tmp_path / "Set/HR", "x.png", size=(40, 40))
    save(tmp_path / "Set/LR_x4", "x.png", size=(11, 10))
    held = SuperResolution(str(train), size=16, validation=str(tmp_path / "Set")).validation()
    with pytest.raises(DataError, match=r"x\.png.* is 10x11 pixels, which times 4 exceeds the 40x40 of .*HR"):
        held[0]
    save(tmp_path / "Set/HR", "x.png", "z.png")
    with pytest.raises(DataError, match=r"1 image without a counterpart in .*LR_x4.*: .*z\.png"):
        SuperResolution(str(train), size=16, validation=str(tmp_path / "Set"))


def test_bad_images_are_skipped_and_too_many_are_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save(tmp_path, "a.png", "b.png", "c.png")
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    data = SuperResolution(str(folder), size=16, validation=str(folder), bad_limit=0.5)
    assert len(data) == 2
    assert data.note() == "1 of 3 images could not be read and were skipped"
    assert "b.png" in caplog.text
    with pytest.raises(DataError, match="1 of 3 training images cannot be read"):
        SuperResolution(str(folder), size=16, validation=str(folder))


def test_a_bad_held_out_image_is_skipped_and_one_for_validation_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save(tmp_path, *(f"{n:02d}.png" for n in range(20)))
    (folder / "09.png").write_bytes((folder / "09.png").read_bytes()[:200])
    held = SuperResolution(str(folder), size=16).validation()
    assert (len(held), tuple(held[0]["B"].shape)) == (1, (3, 40, 52))
    assert re.search(r"skipped in validation: .*09\.png", caplog.text)
    held = SuperResolution(str(folder), size=16, validation=str(folder), bad_limit=0.5).validation()
    with pytest.raises(DataError, match=r"09\.png"):
        len(held)


def test_images_for_validation_inside_root_are_not_trained_on(tmp_path: Path) -> None:
    save(tmp_path / "train", "1.png", "2.png", "3.png")
    save(tmp_path / "valid", "1.png", "2.png")
    data = SuperResolution(str(tmp_path), size=16, validation=str(tmp_path / "valid"))
    assert (len(data), len(data.validation())) == (3, 2)


def test_invalid_data_arguments_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere': no such folder"):
        SuperResolution(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no images found"):
        SuperResolution(str(tmp_path))
    with pytest.raises(ConfigError, match="size 34 is not a multiple of the scale 4: use 32"):
        SuperResolution(str(save(tmp_path, "a.png")), size=34)


def test_data_sets_can_be_pickled(tmp_path: Path) -> None:
    for data in (
        SuperResolution(str(save(tmp_path, "a.png")), size=16, validation=str(tmp_path)),
        SyntheticPhotos(size=32, samples=1, validation_samples=1),
    ):
        other = pickle.loads(pickle.dumps(data))
        first, second = (one.sample(0, np.random.default_rng(4)) for one in (data, other))
        assert torch.equal(first["A"], second["A"])
        assert torch.equal(data.validation()[0]["B"], other.validation()[0]["B"])


def test_drawn_images_depend_on_the_seed_and_have_detail() -> None:
    first = photo(1)
    assert first.shape == (256, 256, 3)
    assert np.array_equal(first, photo(1))
    others = [photo(seed).astype(float) for seed in range(4)]
    assert all(np.abs(others[0] - other).mean() > 10 for other in others[1:])
    lost = [np.abs(one - np.repeat(np.repeat(bicubic(one.astype(np.uint8), 4), 4, 0), 4, 1)).mean() for one in others]
    assert min(lost) > 1.5  # something to restore in each


def test_printed_text_is_drawn_on_request_and_changes_nothing_else(tmp_path: Path) -> None:
    plain, printed = (photo(3, 64, letters=letters) for letters in (False, True))
    assert np.array_equal(printed, photo(3, 64, letters=True))
    assert not np.array_equal(plain, printed)
    write(tmp_path / "printed", 2, letters=True)
    assert [path.name for path in sorted((tmp_path / "printed").iterdir())] == ["00000.png", "00001.png"]
    assert np.array_equal(read_rgb(tmp_path / "printed" / "00001.png"), photo(1, letters=True))


def test_drawn_validation_images_are_not_training_images() -> None:
    data = SyntheticPhotos(size=32, samples=3, validation_samples=2)
    held = [((sample["B"] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy() for sample in data.validation()[:]]
    assert not any(np.array_equal(one, kept[0]) for one in held for kept in data.pictures)


# ----------------------------------------------------------------------------------------------------- task


def batch(scale: int = 2, n: int = 2, size: int = 16) -> dict[str, Tensor]:
    high = F.interpolate(pictures(n, 3, 8, 8), size=(size * scale, size * scale), mode="bicubic").clamp(-1, 1)
    return {"A": F.avg_pool2d(high, scale), "B": high}


def two_stages(**options: Any) -> Task:
    torch.manual_seed(0)
    parts = dict(discriminator=partial(UnetDiscriminator, width=4), gan=Vanilla)
    return Task(partial(CompactSR, scale=2, width=8, blocks=1), **(parts | options))


@pytest.mark.parametrize("pixel", ["l1", "l2", "charbonnier"])
def test_the_pixel_stage_satisfies_the_task_contract(pixel: Any) -> None:
    torch.manual_seed(0)
    check_task(Task(partial(CompactSR, scale=2, width=8, blocks=1), pixel=pixel), batch())


@pytest.mark.parametrize("gan", [Vanilla, Relativistic])
def test_the_gan_stage_satisfies_the_task_contract(gan: Any) -> None:
    check_task(two_stages(gan=gan, perceptual=lambda: F.l1_loss), batch())
    torch.manual_seed(0)
    judge = partial(VGGDiscriminator, size=32, width=4, halvings=3)
    check_task(Task(partial(SRResNet, scale=2, width=8, blocks=1), discriminator=judge, gan=gan), batch())


def test_stages_follow_each_other_and_accumulated_batches_count_as_one_step() -> None:
    for together in (1, 2):
        engine = Engine(two_stages(pixel_steps=2), partial(adam, lr=1e-3), Train(steps=4, accumulate=together))
        losses = [set(engine.step([batch()] * together).losses) for _ in range(4)]
        assert losses == [{"G/pixel"}] * 2 + [{"G/pixel", "G/gan", "D/gan"}] * 2
        assert int(engine.task.done) == 4


def test_a_resumed_run_continues_in_its_stage() -> None:
    def engine() -> Engine:
        return Engine(two_stages(pixel_steps=2), partial(adam, lr=1e-3), Train(steps=4))

    first, second = engine(), engine()
    for _ in range(3):
        first.step([batch()])
    second.load_state(first.state())
    assert set(second.step([batch()]).losses) == {"G/pixel", "G/gan", "D/gan"}


def test_a_missing_perceptual_loss_file_is_reported_in_the_pixel_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("I2I_HOME", "TORCH_HOME", "I2I_DATA"):
        monkeypatch.setenv(name, str(tmp_path))
    task = two_stages(pixel_steps=9, perceptual=partial(Perceptual, weights_dir=str(tmp_path)))
    with pytest.raises(WeightsError, match=r"vgg19-dcbb9e9d\.pth not found"):
        next(task.step(batch()))


def test_losses_have_the_configured_weights() -> None:
    task = two_stages(perceptual=lambda: F.mse_loss, lambda_pixel=2.0, lambda_perceptual=3.0, lambda_gan=0.5)
    given = batch()
    player, losses = next(task.step(given))
    fake = task.G(given["A"])
    assert player == "G"
    assert torch.allclose(losses["pixel"], 2 * F.l1_loss(fake, given["B"]))
    assert torch.allclose(losses["perceptual"], 3 * F.mse_loss(fake, given["B"]))
    assert torch.allclose(losses["gan"], 0.5 * F.softplus(-task.D(fake)).mean(), rtol=1e-2)
    assert "pixel" not in next(two_stages(lambda_pixel=0.0).step(given))[1]


def test_drawn_pictures_become_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "i2i_scenes.photos"]
    subprocess.run([*command, str(tmp_path / "new" / "drawn"), "2"], check=True)
    found = sorted((tmp_path / "new" / "drawn").iterdir())
    assert [path.name for path in found] == ["00000.png", "00001.png"]
    assert np.array_equal(np.asarray(Image.open(found[1])), photo(1))
    (tmp_path / "file").touch()
    for wrong, code in ((tmp_path / "file" / "drawn", 6), (tmp_path, 2)):
        done = subprocess.run([*command, str(wrong), "2" if code == 6 else "x"], capture_output=True, text=True)
        assert done.returncode == code
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("discriminator", [None, partial(UnetDiscriminator, width=4)])
def test_the_luma_is_added_to_the_pixel_loss_with_its_weight(discriminator: Any) -> None:
    task = two_stages(luma=9.0, lambda_pixel=1.0, discriminator=discriminator, gan=discriminator and Vanilla)
    given = batch()
    losses = next(task.step(given))[1]
    error = task.G(given["A"]) - given["B"]
    luma = 0.299 * error[:, 0] + 0.587 * error[:, 1] + 0.114 * error[:, 2]
    assert torch.allclose(losses["pixel"], error.abs().mean() + 9 * luma.abs().mean())


def test_charbonnier_is_smooth_at_zero_and_approaches_l1() -> None:
    x = torch.zeros(3, requires_grad=True)
    charbonnier(x, torch.zeros(3)).backward()
    assert torch.equal(x.grad, torch.zeros(3))  # type: ignore[arg-type]
    assert charbonnier(torch.ones(4), torch.zeros(4)).item() == pytest.approx(1, abs=1e-5)


def test_the_network_sets_the_scale_and_the_data_must_agree() -> None:
    task = two_stages()
    assert task.makes.scale == 2
    with pytest.raises(ConfigError, match=r"upscales 2 times, but the data has \[16, 16\] pixels for \[64, 64\]"):
        next(task.step(batch(scale=4)))


def test_parts_that_do_not_go_together_are_rejected() -> None:
    generator = partial(CompactSR, scale=2, width=8, blocks=1)
    with pytest.raises(ConfigError, match="`discriminator` and `gan` belong together"):
        Task(generator, gan=Vanilla)
    with pytest.raises(ConfigError, match="`perceptual` belongs to the GAN stage"):
        Task(generator, perceptual=lambda: F.l1_loss)
    with pytest.raises(ConfigError, match="Conv2d has no `scale`"):
        Task(partial(nn.Conv2d, 3, 3, 1))


def test_translate_stays_in_range_and_previews_show_bicubic_and_output() -> None:
    task = two_stages()
    task.G.tail[0].bias.data.fill_(5.0)
    given = batch()
    assert task.translate(given["A"]).max() == 1
    shown = task.pictures(given)
    assert list(shown) == ["A", "bicubic", "enlarged", "B"]
    assert shown["bicubic"].shape == shown["enlarged"].shape == given["B"].shape


def test_milestones_multiply_the_learning_rate() -> None:
    factor = milestones(at=[10, 20], factor=0.1)
    assert [factor(0, step) for step in (0, 9, 10, 19, 20, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_gan_stage_starts_from_a_finished_run_and_then_no_longer_needs_it(tmp_path: Path) -> None:
    small = ["task.generator.width=8", "task.generator.blocks=1", "data.samples=2", "data.validation_samples=1"]
    small += ["data.batch_size=2", "data.size=32", "schedule=null", "metrics=[]", "train.ema=null"]
    config = ROOT / "configs" / "superres.yaml"
    first = api.run(config, *small, "train.steps=3", out=tmp_path / "pixel")
    stage = ["task.discriminator={use: unet_discriminator, width: 4}", "task.gan={use: relativistic}"]
    stage += ["optimizer={use: adam, lr: 1.0e-9}", f"train.start_from={first}"]
    second = api.run(config, *small, *stage, "train.steps=1", out=tmp_path / "gan")
    first.rename(tmp_path / "away")
    before, after = api.load(tmp_path / "away").task, api.load(second).task
    for p, q in zip(before.G.parameters(), after.G.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-7)
    with pytest.raises(WeightsError, match=r"train.start_from: .*pixel does not exist: give a run"):
        api.run(config, *small, *stage, "train.steps=1", out=tmp_path / "again")


def test_x4_starts_from_x2_but_for_its_last_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["data.samples=2", "data.validation_samples=1", "data.batch_size=2", "data.size=32", "schedule=null"]
    small += ["metrics=[]", "train.ema=null", "train.steps=1", "optimizer.lr=1.0e-9"]
    given, network = ROOT / "configs" / "superres.yaml", "{{use: span, scale: {}, width: 4, blocks: 1}}"
    x2 = api.run(given, *small, f"task.generator={network.format(2)}", "data.scale=2", out=tmp_path / "x2")
    capsys.readouterr()
    more = [f"task.generator={network.format(4)}", "data.scale=4", f"train.start_from={x2}"]
    x4 = api.run(given, *small, *more, out=tmp_path / "x4")
    assert re.search(r"2 with another shape or type \(G.tail.0.weight: \[12, 4, 3, 3\]", capsys.readouterr().err)
    before, after = api.load(x2).task.G, api.load(x4).task.G
    assert torch.allclose(after.head.weight, before.head.weight, atol=1e-7)
    assert after.tail[0].weight.shape == (48, 4, 3, 3)


def test_a_few_steps_beat_bicubic_on_drawn_images() -> None:
    data = SyntheticPhotos(scale=2, size=48, samples=6, validation_samples=2, batch_size=4)
    torch.manual_seed(0)
    task = Task(partial(CompactSR, scale=2, width=16, blocks=1))
    engine = Engine(task, partial(adam, lr=3e-3), Train(steps=150))
    for step in range(150):
        samples = [data.sample((4 * step + n) % 6, np.random.default_rng([step, n])) for n in range(4)]
        engine.step([{name: torch.stack([sample[name] for sample in samples]) for name in "AB"}])

    def error(fake: Tensor, real: Tensor) -> float:
        return F.mse_loss(fake.clamp(-1, 1), real).item()

    ours = others = 0.0
    for sample in data.validation()[:]:
        shown = engine.task.pictures({name: value[None] for name, value in sample.items()})
        ours += error(shown["enlarged"], shown["B"])
        others += error(shown["bicubic"], shown["B"])
    assert ours < 0.95 * others
