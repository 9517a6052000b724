"""Paired data sets: layouts, directions, alignment, derivers, drawn facades. Cases B1, B2, B6, B7."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from i2i_scenes.animals import HorsesAndZebras
from i2i_scenes.facades import PALETTE, DrawnFacades, front, label_map, plan
from PIL import Image

from i2i.data import Derived, DerivedFrom, PairedFolders, PairedSideBySide, folders
from i2i.data.derive import DERIVERS, encoded, grey, linear
from i2i.data.transforms import fit, to_tensor
from i2i.errors import ConfigError, DataError

SMALL = {"size": 16, "load_size": 20, "workers": 0}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(folders, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.delenv("I2I_CACHE", raising=False)


def picture(seed, width=24, height=20):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def inverted(pixels):
    """Return the negative of an image, as a counterpart that reveals any misalignment."""
    return 255 - pixels


def two_folders(root, n=6, parts=("trainA", "trainB", "testA", "testB")):
    for number, (a, b) in enumerate((parts[:2], parts[2:])):
        for index in range(n):
            pixels = picture([number, index])
            write(root / a / f"{index:02d}.png", pixels)
            write(root / b / f"{index:02d}.png", inverted(pixels))
    return root


def side_by_side(root, n=6):
    for number, part in enumerate(("train", "val")):
        for index in range(n):
            pixels = picture([number, index])
            write(root / part / f"{index:02d}.png", np.concatenate([pixels, inverted(pixels)], axis=1))
    return root


def samples(data, seed=0):
    return [data.sample(index, np.random.default_rng([seed, index])) for index in range(len(data))]


def same(one, other):
    return all(torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in ("A", "B"))


def opposite(sample, tolerance=4.5 / 255):
    """Return whether B is the negative of A; the tolerance allows for resizing, which rounds both images twice."""
    return (sample["A"] + sample["B"]).abs().max() <= tolerance


# ---- layouts


@pytest.mark.parametrize(
    "parts",
    [
        ("trainA", "trainB", "testA", "testB"),
        ("trainA", "trainB", "valA", "valB"),
        ("train/A", "train/B", "test/A", "test/B"),
        ("train/A", "train/B", "val/A", "val/B"),
    ],
)
def test_two_folders_are_paired_by_name_in_every_layout(tmp_path, parts):
    data = PairedFolders(str(two_folders(tmp_path, parts=parts)), **SMALL)
    assert len(data) == len(data.validation()) == 6
    assert all(opposite(sample) for sample in [*samples(data), *data.validation()])
    assert data.sample(0, np.random.default_rng(0))["A"].shape == (3, 16, 16)
    assert torch.equal(data.validation()[2]["A"], to_tensor(fit(picture([1, 2]), 16)))


def test_pairing_ignores_suffixes_and_supports_subfolders(tmp_path):
    for name in ("x/1", "y/1", "2"):
        pixels = picture(len(name) + ord(name[0]))
        write(tmp_path / "trainA" / f"{name}.png", pixels)
        write(tmp_path / "trainB" / f"{name}.bmp", inverted(pixels))
    data = PairedFolders(str(tmp_path), **SMALL)
    assert len(data) == 3
    assert all(opposite(sample) for sample in samples(data))


def test_side_by_side_images_are_split_and_direction_swaps_the_halves(tmp_path):
    side_by_side(tmp_path)
    there = PairedSideBySide(str(tmp_path), **SMALL)
    back = PairedSideBySide(str(tmp_path), direction="BtoA", **SMALL)
    assert torch.equal(there.validation()[3]["A"], to_tensor(fit(picture([1, 3]), 16)))
    for one, other in zip([*samples(there), *there.validation()], [*samples(back), *back.validation()], strict=True):
        assert opposite(one)
        assert torch.equal(one["A"], other["B"])
        assert torch.equal(one["B"], other["A"])
    files = sorted(path.name for path in (tmp_path / ".i2i-cache").iterdir())
    assert files == ["train-left-20.npy", "train-right-20.npy"]  # shared by both directions


def test_an_odd_width_drops_the_middle_column(tmp_path):
    pixels = picture(0, 24)
    write(tmp_path / "train" / "a.png", np.concatenate([pixels, np.zeros((20, 1, 3), np.uint8), inverted(pixels)], 1))
    data = PairedSideBySide(str(tmp_path), **SMALL)
    assert opposite(data.sample(0, np.random.default_rng(0)))


def test_direction_swaps_two_folders_too(tmp_path):
    two_folders(tmp_path)
    there, back = (PairedFolders(str(tmp_path), direction=d, **SMALL) for d in ("AtoB", "BtoA"))
    assert torch.equal(samples(there)[1]["A"], samples(back)[1]["B"])


# ---- alignment


@pytest.mark.parametrize("extra", [None, {"Affine": {"rotate": [-25, 25], "p": 1.0}}, {"Morphological": {"p": 1.0}}])
def test_a_and_b_get_the_same_crop_flip_and_extra_steps(tmp_path, extra):
    for index in range(4):
        pixels = picture(index, 40, 40)
        write(tmp_path / "trainA" / f"{index}.png", pixels)
        write(tmp_path / "trainB" / f"{index}.png", pixels)
    data = PairedFolders(str(tmp_path), augment=extra, **SMALL)
    first = samples(data)
    assert all(torch.equal(sample["A"], sample["B"]) for seed in range(4) for sample in samples(data, seed))
    assert len({tuple(sample["A"].flatten().tolist()) for seed in range(4) for sample in samples(data, seed)}) == 16
    assert same(first, samples(pickle.loads(pickle.dumps(data))))


def test_colour_steps_change_both_images_of_a_pair_equally(tmp_path):
    pixels = picture(0, 40, 40)
    write(tmp_path / "trainA" / "0.png", pixels)
    write(tmp_path / "trainB" / "0.png", pixels)
    jitter = {"ColorJitter": {"brightness": 0.4, "hue": 0.3, "p": 1.0}, "GaussNoise": {"p": 1.0}}
    plain, changed = (PairedFolders(str(tmp_path), augment=a, flip=False, **SMALL) for a in (None, jitter))
    for seed in range(5):
        before, after = (data.sample(0, np.random.default_rng(seed)) for data in (plain, changed))
        assert torch.equal(after["A"], after["B"])
        assert not torch.equal(before["A"], after["A"])


def test_a_is_derived_from_the_augmented_image(tmp_path):
    for index in range(3):
        write(tmp_path / "train" / f"{index}.png", picture(index, 40, 40))
    jitter = {"ColorJitter": {"brightness": 0.4, "saturation": 0.5, "hue": 0.3, "p": 1.0}}
    data = Derived(str(tmp_path), derive="grey", augment=jitter, **SMALL)
    for sample in samples(data):
        pixels = ((sample["B"] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        assert torch.equal(sample["A"], to_tensor(grey(pixels, np.random.default_rng(0))))


# ---- bad data


def test_images_without_a_counterpart_are_named(tmp_path):  # B6
    two_folders(tmp_path, n=14)
    for index in range(12):
        (tmp_path / "trainB" / f"{index:02d}.png").unlink()
    with pytest.raises(DataError, match="12 images without a counterpart: ") as caught:
        PairedFolders(str(tmp_path), **SMALL)
    assert str(caught.value).count("trainA/") == 10
    assert ", ...;" in str(caught.value)


def test_two_images_of_the_same_name_in_one_folder_are_an_error(tmp_path):
    two_folders(tmp_path, n=2)
    write(tmp_path / "trainA" / "00.bmp", picture(5))
    with pytest.raises(DataError, match=r"1 image without a counterpart: .*00\."):
        PairedFolders(str(tmp_path), **SMALL)


def test_pairs_that_differ_in_aspect_ratio_are_named_with_both_sizes(tmp_path):  # B7
    two_folders(tmp_path, n=3)
    write(tmp_path / "trainA" / "01.png", picture(0, 48, 40))  # twice as large: same aspect ratio
    PairedFolders(str(tmp_path), **SMALL)
    write(tmp_path / "trainA" / "02.png", picture(0, 20, 24))
    with pytest.raises(DataError, match=r"trainA/02.png' \(20x24\), .*trainB/02.png' \(24x20\)"):
        PairedFolders(str(tmp_path), **SMALL)


@pytest.mark.parametrize("cached", [True, False])
def test_a_pair_with_one_bad_half_is_replaced_as_a_whole(tmp_path, caplog, cached):  # B1
    two_folders(tmp_path)
    for name in ("trainB/02.png", "trainA/05.png"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:300])
    data = PairedFolders(str(tmp_path), bad_limit=0.5, cache=cached, flip=False, **{**SMALL, "load_size": 16})
    found = samples(data)
    assert all(opposite(sample) for sample in found)
    assert same(found[2:3], found[3:4])  # replaced by the next one
    assert same(found[5:], found[:1])  # wrapping around
    assert data.skipped == 2
    assert data.note() == "2 of 12 images could not be read and were skipped"
    assert all(
        sum(name in r.getMessage() for r in caplog.records) == 1 for name in ("trainB/02.png", "trainA/05.png")
    )


def test_a_bad_side_by_side_image_counts_once(tmp_path):  # B2
    side_by_side(tmp_path)
    (tmp_path / "train" / "03.png").write_bytes(b"")
    (tmp_path / "val" / "01.png").write_bytes(b"")
    data = PairedSideBySide(str(tmp_path), bad_limit=0.2, **SMALL)
    samples(data)
    assert data.note() == "1 of 6 images could not be read and were skipped"
    assert len(data.validation()) == 5
    with pytest.raises(DataError, match="2 of 12 images cannot be read"):
        PairedSideBySide(str(tmp_path), on_bad="fail", **SMALL)


@pytest.mark.parametrize("kind", [PairedFolders, PairedSideBySide, Derived])
def test_a_missing_folder_is_an_error_that_states_what_is_needed(tmp_path, kind):  # B5
    with pytest.raises(DataError, match=r"no such folder; .* needs images \(\.png"):
        kind(str(tmp_path / "none"), **SMALL)
    write(tmp_path / "train" / "A" / "notes" / "x.png", picture(0))
    with pytest.raises(DataError, match="no such folder"):
        PairedFolders(str(tmp_path), **SMALL)


# ---- derivers


def test_a_folder_of_photographs_is_a_paired_data_set_with_every_tenth_held_out(tmp_path):
    for index in range(25):
        write(tmp_path / f"{index % 3}" / f"{index:02d}.png", picture(index))
    data = Derived(str(tmp_path), **SMALL)
    assert (len(data), len(data.validation())) == (23, 2)
    trained = {path for path in data.train["B"].paths}
    assert not trained & set(data._held_out.sources["B"].test)


def test_derived_images_keep_their_aspect_ratio(tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 255
    write(tmp_path / "train" / "a.png", wide)
    data = Derived(str(tmp_path), size=40, load_size=40, workers=0)
    assert (data.sample(0, np.random.default_rng(0))["B"] == 1).all()


@pytest.mark.parametrize("name", DERIVERS)
def test_a_deriver_is_a_pure_function_of_image_and_generator(name):
    given = fit(front(3, 64)[1], 48)
    before = given.copy()
    one, again, other = (DERIVERS[name](given, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == given.shape
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert np.array_equal(given, before)
    assert np.array_equal(one, other) == (name in ("grey", "edges"))


def test_grey_preserves_lightness():
    from kornia.color import rgb_to_lab

    given = picture(0, 64, 64)
    lightness = [rgb_to_lab((to_tensor(x) + 1) / 2)[0] for x in (given, grey(given, np.random.default_rng(0)))]
    assert (lightness[0] - lightness[1]).abs().max() < 0.26  # half a level of grey
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    assert np.array_equal(grey(greys, np.random.default_rng(0)), greys)


def test_linear_light_is_encoded_back_exactly():
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(encoded(linear(values)), values)
    assert linear(np.array([188], np.uint8)) == pytest.approx(0.5029, abs=1e-4)  # from the formula of the standard


def test_edges_are_black_lines_on_white_where_the_image_changes():
    given = np.full((40, 40, 3), 200, np.uint8)
    given[:, 20:] = 40
    lines = DERIVERS["edges"](given, np.random.default_rng(0))
    assert set(np.unique(lines)) == {0, 255}
    columns = np.flatnonzero((lines == 0).any((0, 2)))
    assert 18 <= columns.min() <= columns.max() <= 21
    flat = DERIVERS["edges"](np.full((20, 20, 3), 90, np.uint8), np.random.default_rng(0))
    assert (flat == 255).all()


def test_low_light_dims_to_its_range_and_noise_has_the_given_strength():
    given = np.full((200, 200, 3), 128, np.uint8)
    dark = [linear(DERIVERS["low_light"](given, np.random.default_rng(seed))).mean() for seed in range(20)]
    assert 0.1 <= min(dark) / linear(given).mean() < max(dark) / linear(given).mean() <= 0.34
    spreads = [DERIVERS["noise"](given, np.random.default_rng(seed)).std() for seed in range(20)]
    assert 9 < min(spreads) < 20 < 40 < max(spreads) < 51


def test_an_embedded_data_set_becomes_pairs(tmp_path):
    source = HorsesAndZebras(size=32, samples=2, batch_size=2, validation_samples=2)
    data = DerivedFrom(lambda: source, picture="B", derive="grey")
    assert (len(data), data.batch_size, len(data.validation())) == (2, 2, 2)
    sample = data.sample(1, np.random.default_rng(0))
    assert torch.equal(sample["B"], source.sample(1, np.random.default_rng(0))["B"])
    assert torch.equal(sample["A"][0], sample["A"][2])
    assert torch.equal(data.validation()[1]["B"], source.validation()[1]["B"])
    with pytest.raises(ConfigError, match="no image 'C', only A, B"):
        DerivedFrom(lambda: source, picture="C").sample(0, np.random.default_rng(0))


# ---- drawn facades


def test_a_facade_is_deterministic_and_differs_for_every_seed():
    a, b = front(7, 64)
    assert a.shape == b.shape == (64, 64, 3)
    assert a.dtype == b.dtype == np.uint8
    assert all(np.array_equal(x, y) for x, y in zip((a, b), front(7, 64), strict=True))
    assert len({front(seed, 32)[0].tobytes() for seed in range(30)}) == 30


def test_label_maps_contain_only_palette_colours():
    colours = set(PALETTE.values())
    seen = set()
    for seed in range(40):
        found = set(map(tuple, front(seed, 48)[0].reshape(-1, 3).tolist()))
        assert found <= colours
        seen |= found
    assert seen == colours


def test_the_photograph_follows_the_label_map():
    """Each class has its own look: within a facade, windows are darker than the surrounding wall."""
    darker = []
    for seed in range(40):
        a, b = front(seed, 64)
        light = b.mean(2)
        window, wall = ((a == PALETTE[kind]).all(2) for kind in ("window", "wall"))
        darker.append(light[window].mean() < light[wall].mean())
    assert np.mean(darker) > 0.7
    steady = label_map(plan(np.random.default_rng(0)), 128)[::2, ::2]
    assert (steady != label_map(plan(np.random.default_rng(0)), 64)).any(2).mean() < 0.08  # at any size


def test_drawn_facades_are_flipped_in_pairs_and_validated_on_unseen_seeds():
    data = DrawnFacades(size=32, samples=3, validation_samples=4)
    a, b = (to_tensor(x) for x in front(data.first + 1, 32))
    kinds = set()
    for seed in range(8):
        sample = data.sample(1, np.random.default_rng(seed))
        flipped = torch.equal(sample["A"], a.flip(2))
        assert torch.equal(sample["A"], a.flip(2) if flipped else a)
        assert torch.equal(sample["B"], b.flip(2) if flipped else b)
        kinds.add(flipped)
    assert kinds == {True, False}
    others = DrawnFacades(size=32, samples=3, validation_samples=4, seed=5)
    assert same(data.validation(), others.validation())
    assert not same(samples(data), samples(others))
    drawn = {image.tobytes() for index in range(3) for image in mirrored(front(data.first + index, 32)[0])}
    assert not drawn & {
        ((s["A"] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy().tobytes() for s in data.validation()
    }


def mirrored(image):
    return image, np.ascontiguousarray(image[:, ::-1])


# ---- real data


@pytest.mark.skipif("I2I_DATA" not in os.environ, reason="needs the data in $I2I_DATA")
def test_facades_and_caltech101_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_CACHE", str(tmp_path))
    root = Path(os.environ["I2I_DATA"])
    facades = PairedSideBySide(str(root / "facades"), size=32, direction="BtoA", validation_samples=4)
    assert (len(facades), len(facades.validation())) == (400, 4)
    image = np.asarray(Image.open(root / "facades" / "val" / "1.jpg").convert("RGB"))
    first = fit(image[:, 256:], 32)
    assert torch.equal(facades.validation()[0]["A"], to_tensor(first))
    colours = Derived(str(root / "caltech101"), size=32, validation_samples=200, cache=False)
    assert (len(colours), len(colours.validation())) == (1100, 200)
