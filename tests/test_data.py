"""Data sets: determinism, bad files, augmentation, the cache and `i2i data check`. Cases B1-B15, A5."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.data import Augment, Data, UnpairedFolders, cache, folders
from i2i.data.check import check
from i2i.data.loaders import read_ahead
from i2i.data.transforms import fit, to_tensor
from i2i.errors import ConfigError, DataError
from i2i.plugins import registry

SMALL = {"size": 16, "load_size": 18, "workers": 0}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(folders, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.delenv("I2I_CACHE", raising=False)


def picture(seed, width=24, height=20):
    """Return a random image, uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make(root, train=6, test=3, suffix=".png", width=24, height=20):
    """Write an unpaired data set of distinct random images and return its folder."""
    counts = {"trainA": train, "trainB": train, "testA": test, "testB": test}
    for number, (part, count) in enumerate(counts.items()):
        (root / part).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(picture([number, index], width, height))
            image.save(root / part / f"{index:03d}{suffix}")
    return root


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def samples(data, seed=0):
    return [data.sample(index, np.random.default_rng([seed, index])) for index in range(len(data))]


def same(one, other):
    return all(torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in ("A", "B"))


class Indexed:
    """Like the engine: draws sample `index` with its own generator."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data.sample(index, np.random.default_rng([0, index]))

    def first(self, indices):
        return self[indices[0]]


# ---- the layout and the recipe


def test_a_sample_contains_two_float_images_in_range(tmp_path):
    data = UnpairedFolders(str(make(tmp_path, train=4)), **SMALL)
    assert len(data) == 4
    for image in data.sample(0, np.random.default_rng(0)).values():
        assert image.shape == (3, 16, 16)
        assert image.dtype == torch.float32
        assert image.is_contiguous()
        assert -1 <= image.min() < -0.9 < 0.9 < image.max() <= 1


def test_an_epoch_is_as_long_as_the_larger_folder(tmp_path):
    make(tmp_path, train=3)
    for index in range(4):
        Image.fromarray(picture(index)).save(tmp_path / "trainB" / f"more{index}.png")
    assert len(UnpairedFolders(str(tmp_path), **SMALL)) == 7


def test_a_keeps_its_order_and_b_is_drawn_at_random(tmp_path):
    make(tmp_path, train=8)
    for part, values in (("trainA", range(8)), ("trainB", range(100, 108))):
        for index, value in enumerate(values):
            Image.new("RGB", (20, 20), (value, value, value)).save(tmp_path / part / f"{index:03d}.png")
    data = UnpairedFolders(str(tmp_path), **SMALL)

    def value(image):
        return round((float(image[0, 0, 0]) + 1) * 127.5)

    assert [value(sample["A"]) for sample in samples(data)] == list(range(8))
    drawn = [value(sample["B"]) for seed in range(10) for sample in samples(data, seed)]
    assert set(drawn) == set(range(100, 108))
    assert len({value(samples(data, seed)[0]["B"]) for seed in range(10)}) > 3  # not paired with A


def test_pixels_match_the_published_recipe(tmp_path):
    path = make(tmp_path, train=1, width=50, height=33) / "trainA" / "000.png"
    data = UnpairedFolders(str(tmp_path), size=32, load_size=40, workers=0)
    found = {tuple(data.sample(0, np.random.default_rng(seed))["A"].flatten().tolist()) for seed in range(8)}
    image = Image.open(path).resize((40, 40), Image.Resampling.BICUBIC)
    every = [
        version.crop((left, top, left + 32, top + 32))
        for version in (image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        for left in range(9)
        for top in range(9)
    ]
    planes = [torch.from_numpy(np.array(crop)).permute(2, 0, 1).float() for crop in every]
    published = {tuple(x.div(255).sub(0.5).div(0.5).flatten().tolist()) for x in planes}
    assert len(found) > 5
    assert found <= published


def test_images_smaller_than_the_crop_are_upscaled_without_borders(tmp_path):  # B8
    make(tmp_path, train=2)
    for part in ("trainA", "trainB", "testA", "testB"):
        for path in (tmp_path / part).iterdir():
            Image.new("RGB", (5, 3), "white").save(path)
    data = UnpairedFolders(str(tmp_path), **SMALL)
    every = [*samples(data), *data.validation()]
    assert all((image == 1).all() for sample in every for image in sample.values())


def test_load_size_defaults_to_286_of_256_and_must_not_be_smaller_than_size(tmp_path):
    make(tmp_path, train=1)
    assert UnpairedFolders(str(tmp_path), size=64, cache=False).augment.load_size == 72
    with pytest.raises(ConfigError, match="load_size 30 is smaller than size 32"):
        UnpairedFolders(str(tmp_path), size=32, load_size=30)


def test_validation_images_are_fixed_evenly_spaced_and_distinct(tmp_path):
    data = UnpairedFolders(str(make(tmp_path, test=9)), validation_samples=3, **SMALL)
    held_out = data.validation()
    assert len(held_out) == 3
    assert same(held_out[:], data.validation()[:])
    for sample, index in zip(held_out, (0, 3, 6), strict=True):
        assert torch.equal(sample["A"], to_tensor(fit(picture([2, index]), 16)))
    (tmp_path / "testB" / "000.png").unlink()
    assert len(UnpairedFolders(str(tmp_path), validation_samples=64, **SMALL).validation()) == 8


def test_fit_resizes_the_short_side_and_centre_crops():
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, 40:80] = 255
    assert (fit(image, 40) == 255).all()
    assert fit(image, 20).shape == (20, 20, 3)
    assert fit(image[:3, :7], 20).shape == (20, 20, 3)


def test_missing_test_folders_give_a_warning_and_no_validation(tmp_path, caplog):
    make(tmp_path)
    shutil.rmtree(tmp_path / "testA")
    assert len(UnpairedFolders(str(tmp_path), **SMALL).validation()) == 0
    assert "testA': no such folder" in caplog.text


def test_a_single_image_fills_a_batch_of_four(tmp_path):  # B9
    from i2i.data.stream import Numbered

    data = UnpairedFolders(str(make(tmp_path, train=1)), batch_size=4, **SMALL)
    batch = Numbered(data, seed=0).read([0, 1, 2, 3])
    assert len(data) == 1
    assert isinstance(batch, dict)
    assert len({tuple(image.flatten().tolist()) for image in batch["A"]}) > 1


# ---- determinism


@pytest.mark.parametrize("cached", [True, False])
def test_a_sample_depends_only_on_index_and_generator(tmp_path, cached):
    data = UnpairedFolders(str(make(tmp_path)), cache=cached, **SMALL)
    first = samples(data)
    samples(data, seed=9)
    assert same(first, [Indexed(data)[index] for index in (5, 4, 3, 2, 1, 0)][::-1])
    assert same(first, samples(UnpairedFolders(str(tmp_path), cache=cached, **SMALL)))
    assert not same(first, samples(data, seed=1))


def test_samples_do_not_depend_on_the_number_of_loader_processes(tmp_path):
    make(tmp_path, train=8)
    cut_short(tmp_path / "trainA" / "003.png")
    for cached in (True, False):
        data = UnpairedFolders(str(tmp_path), cache=cached, bad_limit=0.1, **SMALL)
        expected = [Indexed(data)[index] for index in range(8)]
        for workers in (0, 1, 2):
            fresh = UnpairedFolders(str(tmp_path), cache=cached, bad_limit=0.1, **SMALL)
            tasks = ([number] for number in range(8))
            read = read_ahead(Indexed(fresh).first, tasks, workers, 30, str)
            assert same(expected, list(read))
            assert fresh.skipped == 1  # visible here, although a worker found it


def test_a_pickled_data_set_contains_no_pixels_and_gives_the_same_samples(tmp_path):
    data = UnpairedFolders(str(make(tmp_path, train=4)), augment={"HorizontalFlip": {}}, size=64)
    pickled = pickle.dumps(data)
    assert len(pickled) < 10_000
    assert same(samples(data), samples(pickle.loads(pickled)))


def test_the_order_of_file_creation_does_not_matter(tmp_path):  # B13
    names = [f"{part}/{n:04d}.png" for part in ("trainA", "trainB", "testA", "testB") for n in range(100)]
    content = {name: picture(number, 6, 6) for number, name in enumerate(names)}
    found = []
    for seed in (0, 1):
        root = tmp_path / str(seed)
        for name in np.random.default_rng(seed).permutation(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content[str(name)]).save(root / str(name))
        found.append(samples(UnpairedFolders(str(root), **SMALL)))
    assert same(*found)


# ---- bad files


def damaged(root):
    """Damage three of a hundred training images in three ways and return their names."""
    make(root, train=50)
    cut_short(root / "trainA" / "007.png")
    (root / "trainA" / "008.png").write_bytes(b"")
    (root / "trainB" / "049.png").write_text("not an image")
    return ["trainA/007.png", "trainA/008.png", "trainB/049.png"]


@pytest.mark.parametrize("cached", [True, False])
def test_three_bad_images_of_a_hundred_are_replaced_and_reported_once(tmp_path, caplog, cached):  # B1
    bad = damaged(tmp_path)
    data = UnpairedFolders(str(tmp_path), cache=cached, **SMALL)
    first = samples(data) + [sample for seed in range(1, 6) for sample in samples(data, seed)]
    for name in bad:
        assert sum(name in record.getMessage() for record in caplog.records) == 1
    assert f"{data.skipped} of {data.pictures} skipped" == "3 of 100 skipped"
    resumed = UnpairedFolders(str(tmp_path), cache=cached, **SMALL)
    assert same(first[20:50], samples(resumed)[20:])
    assert same(first[:20], samples(resumed)[:20])


def test_a_bad_image_is_replaced_by_the_next_good_one_wrapping_around(tmp_path):
    make(tmp_path, train=5)
    for number in (1, 2, 4):
        cut_short(tmp_path / "trainA" / f"{number:03d}.png")
    data = UnpairedFolders(str(tmp_path), bad_limit=0.5, **SMALL)
    pixels = [data.train["A"][index] for index in range(5)]
    assert np.array_equal(pixels[1], pixels[3])
    assert np.array_equal(pixels[2], pixels[3])
    assert np.array_equal(pixels[4], pixels[0])


@pytest.mark.parametrize("cached", [True, False])
def test_on_bad_fail_lists_every_bad_file_before_training(tmp_path, cached):  # B2
    bad = damaged(tmp_path)
    cut_short(tmp_path / "testA" / "001.png")
    with pytest.raises(DataError, match="4 of 106 images cannot be read") as caught:
        UnpairedFolders(str(tmp_path), on_bad="fail", cache=cached, **SMALL)
    assert caught.value.exit_code == 3
    assert all(name in str(caught.value) for name in [*bad, "testA/001.png"])


def test_too_many_bad_files_stop_training(tmp_path):  # B3
    damaged(tmp_path)
    for number in range(20, 23):
        cut_short(tmp_path / "trainB" / f"{number:03d}.png")
    with pytest.raises(DataError, match=r"6 of 100 training images .* 0\.05: .*data check"):
        UnpairedFolders(str(tmp_path), **SMALL)  # before the first step, thanks to the cache
    with pytest.raises(DataError, match="6 of 100"):
        [samples(UnpairedFolders(str(tmp_path), cache=False, **SMALL), seed) for seed in range(9)]
    assert len(samples(UnpairedFolders(str(tmp_path), bad_limit=0.06, **SMALL))) == 50


def test_a_folder_without_readable_images_is_an_error_whatever_the_limit(tmp_path):
    make(tmp_path, train=3)
    for path in (tmp_path / "trainB").iterdir():
        cut_short(path)
    with pytest.raises(DataError, match="trainB': none of its 3 images can be read"):
        samples(UnpairedFolders(str(tmp_path), bad_limit=1.0, **SMALL))


def test_an_image_truncated_during_training_is_replaced(tmp_path, caplog):  # B4
    make(tmp_path, train=20)
    cached, direct = (UnpairedFolders(str(tmp_path), cache=c, **SMALL) for c in (True, False))
    before = samples(direct)
    cut_short(tmp_path / "trainA" / "005.png")
    after = samples(direct)
    assert not torch.equal(before[5]["A"], after[5]["A"])
    assert same(before[6:] + before[:5], after[6:] + after[:5])
    assert direct.skipped == 1
    assert "trainA/005.png" in caplog.text
    assert same(before, samples(cached))


def test_on_bad_fail_stops_at_an_image_truncated_during_training(tmp_path):
    data = UnpairedFolders(str(make(tmp_path)), on_bad="fail", cache=False, **SMALL)
    cut_short(tmp_path / "trainA" / "002.png")
    with pytest.raises(DataError, match=r"1 of 12 .*trainA/002.png"):
        samples(data)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOENT])
@pytest.mark.parametrize(("failures", "skipped"), [(3, 0), (4, 1)])
def test_a_failed_read_is_retried_three_times(tmp_path, monkeypatch, cached, code, failures, skipped):  # B10
    make(tmp_path, train=20)
    expected = samples(UnpairedFolders(str(tmp_path), cache=False, **SMALL))
    left, real = [0], os.open

    def failing(path, *arguments, **named):
        if str(path).endswith("trainA/004.png") and left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", failing)
    if cached:
        listing = folders.listed  # listing opens each file, too
        monkeypatch.setattr(folders, "listed", lambda f: (listing(f), left.__setitem__(0, failures))[0])
        data = UnpairedFolders(str(tmp_path), **SMALL)
    else:
        data = UnpairedFolders(str(tmp_path), cache=False, **SMALL)
        left[0] = failures
    found = samples(data)
    assert data.skipped == skipped
    assert same(expected, found) == (not skipped)
    if cached and skipped:  # the drive failed, not the image, so the next start tries again
        monkeypatch.undo()
        assert same(expected, samples(UnpairedFolders(str(tmp_path), **SMALL)))


@pytest.mark.parametrize(
    ("prepare", "names"),
    [
        (lambda root: shutil.rmtree(root), ["trainA': no such folder", "trainB", ".png"]),
        (lambda root: [shutil.rmtree(root), root.touch()], ["trainA': no such folder, ", "set is a file; "]),
        (lambda root: shutil.rmtree(root / "trainB"), ["trainB': no such folder", ".png"]),
        (lambda root: [p.unlink() for p in (root / "trainB").iterdir()], ["trainB': no images", ".jpg"]),
        (lambda root: [p.rename(p.with_suffix(".txt")).write_text("x") for p in (root / "trainA").iterdir()],
         ["trainA': no images found, only other files", "000.txt': not an image", ".webp"]),
    ],
    ids=["no root", "a file", "no trainB", "empty trainB", "only text"],
)  # fmt: skip
def test_a_missing_or_empty_folder_is_an_error_that_states_what_is_needed(tmp_path, prepare, names):  # B5, B6
    make(tmp_path / "set")
    prepare(tmp_path / "set")
    with pytest.raises(DataError) as caught:
        UnpairedFolders(str(tmp_path / "set"), **SMALL)
    assert all(name in str(caught.value) for name in names)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_images_are_skipped_counted_and_listed(tmp_path, caplog):  # A21, A24
    make(tmp_path, train=3)
    (tmp_path / "trainA" / "notes.txt").write_text("x")
    os.mkfifo(tmp_path / "trainA" / "pipe.png")
    (tmp_path / "trainA" / "loop.png").symlink_to(tmp_path / "trainA" / "loop.png")
    (tmp_path / "trainA" / "folder.png").mkdir()
    (tmp_path / "trainA" / "000.png").rename(tmp_path / "trainA" / "zero")
    data = UnpairedFolders(str(tmp_path), **SMALL)
    assert [path.name for path in data.train["A"].paths] == ["001.png", "002.png", "zero"]
    assert "trainA': non-image files skipped: 3" in caplog.text
    assert all(name in caplog.text for name in ("notes.txt", "pipe.png", "loop.png"))


# ---- augmentation


def test_all_images_of_a_sample_get_the_same_augmentation():
    numbers = np.arange(40 * 40).reshape(40, 40)
    image = np.stack([numbers // 256, numbers % 256, 0 * numbers], -1).astype(np.uint8)
    big = np.kron(numbers, np.ones((2, 2), int))
    augment = Augment(32, 40)
    seen = set()
    for seed in range(20):
        out = augment(np.random.default_rng(seed), {"A": image, "label": numbers, "B": image, "big": big})
        red, green, _ = ((out["A"] + 1) * 127.5).round().long()
        assert torch.equal(red * 256 + green, out["label"])
        assert torch.equal(out["A"], out["B"])
        assert torch.equal(out["label"], out["big"])
        seen.add((int(out["label"][0, 0]), int(out["label"][0, 1] - out["label"][0, 0])))
    assert {step for _, step in seen} == {1, -1}  # flipped and not flipped
    assert len({start for start, _ in seen}) > 10


def test_augmentation_without_crop_or_flip_is_deterministic():
    augment = Augment(20, 20, flip=False)
    images = [augment(np.random.default_rng(seed), {"x": picture(0, 20, 20)})["x"] for seed in range(5)]
    assert all(torch.equal(image, to_tensor(picture(0, 20, 20))) for image in images)


def test_every_crop_position_is_reached():
    label = np.arange(36).reshape(6, 6)
    rng = np.random.default_rng(0)
    starts = {int(Augment(4, 6, flip=False)(rng, {"x": label})["x"][0, 0]) for _ in range(200)}
    assert starts == {0, 1, 2, 6, 7, 8, 12, 13, 14}


def test_label_maps_keep_their_indices_when_resized():
    label = np.random.default_rng(0).choice(np.array([0, 7, 300], np.uint16), (37, 91))
    out = Augment(64)(np.random.default_rng(0), {"label": label})["label"]
    assert out.dtype == torch.int64
    assert set(out.unique().tolist()) == {0, 7, 300}
    nearest = Image.fromarray((label > 0).astype(np.uint8)).resize((72, 72), Image.Resampling.NEAREST)
    assert np.array_equal(Augment(64).resize(label) > 0, np.asarray(nearest) > 0)


def test_grey_images_keep_one_channel():
    assert Augment(16)(np.random.default_rng(0), {"x": picture(0)[:, :, :1]})["x"].shape == (1, 16, 16)


def test_extra_steps_depend_only_on_the_generator_and_stay_aligned():
    extra = {"ColorJitter": {"p": 0.7}, "Affine": {"rotate": [-20, 20], "p": 1.0}}
    label = (picture(1)[:, :, 0] > 127).astype(np.uint8)
    images = {"A": picture(0), "style": picture(0), "label": label}

    def augmented(augment, seed):
        return augment(np.random.default_rng(seed), images)

    augment = Augment(16, 18, extra=extra)
    first = [augmented(augment, seed) for seed in range(4)]
    augmented(augment, 99)
    again = [augmented(pickle.loads(pickle.dumps(augment)), seed) for seed in (3, 2, 1, 0)][::-1]
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in images)
        assert torch.equal(one["A"], one["style"])
    plain = augmented(Augment(16, 18), 0)
    assert not torch.equal(plain["A"], first[0]["A"])
    alone = augment(np.random.default_rng(2), {"label": label})
    assert torch.equal(alone["label"], first[2]["label"])


def test_an_unknown_extra_step_is_an_error_that_suggests_the_nearest_one():
    with pytest.raises(ConfigError, match="no transform 'ColourJitter': did you mean ColorJitter"):
        Augment(16, extra={"ColourJitter": {}})
    with pytest.raises(ConfigError, match="no transform 'os'"):
        Augment(16, extra={"os": {}})
    with pytest.raises(ConfigError, match="arguments of ColorJitter"):
        Augment(16, extra={"ColorJitter": {"brightness": "much"}})


def test_albumentations_is_imported_only_for_extra_steps_and_never_goes_online():
    code = (
        "import sys, socket; import i2i.data as d; assert 'albumentations' not in sys.modules\n"
        "def no(*a, **k): raise SystemExit('went online')\n"
        "socket.socket.connect = no; socket.getaddrinfo = no\n"
        "d.Augment(8, extra={'HorizontalFlip': {}}); assert 'albumentations' in sys.modules\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)


# ---- the cache


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_cached_images_are_bit_identical_to_decoded_ones(tmp_path, suffix):
    make(tmp_path, train=4, suffix=suffix, width=61, height=33)
    Image.fromarray(picture(5, 9, 44)).save(tmp_path / "trainA" / f"tall{suffix}")
    cut_short(tmp_path / "trainB" / f"002{suffix}")
    cached, direct = (UnpairedFolders(str(tmp_path), cache=c, bad_limit=0.5, **SMALL) for c in (True, False))
    for seed in range(5):
        assert same(samples(cached, seed), samples(direct, seed))


def caches_in(root):
    return sorted(path.name for path in (root / ".i2i-cache").iterdir())


def opened_with_stderr(root, capsys, **changed):
    """Open the data set and return its samples and its messages about the cache on stderr."""
    capsys.readouterr()
    found = samples(UnpairedFolders(str(root), **{**SMALL, **changed}))
    return found, capsys.readouterr().err


def test_the_cache_is_built_once(tmp_path, capsys):
    make(tmp_path)
    _, printed = opened_with_stderr(tmp_path, capsys)
    assert printed.count("caching 6 pictures") == 2
    assert opened_with_stderr(tmp_path, capsys)[1] == ""
    assert caches_in(tmp_path) == ["trainA-18.npy", "trainB-18.npy"]
    assert np.load(tmp_path / ".i2i-cache" / "trainA-18.npy", mmap_mode="r").shape == (6, 3, 18, 18)
    assert "trainA-20.npy" in opened_with_stderr(tmp_path, capsys, load_size=20)[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda a: Image.fromarray(picture(77)).save(a / "001.png"),
        lambda a: (a / "001.png").unlink(),
        lambda a: Image.fromarray(picture(77)).save(a / "new.png"),
        lambda a: (a / "001.png").rename(a / "01.png"),
    ],
    ids=["changed", "removed", "added", "renamed"],
)
def test_a_stale_cache_is_rebuilt_and_reported(tmp_path, capsys, change):
    make(tmp_path)
    opened_with_stderr(tmp_path, capsys)
    change(tmp_path / "trainA")
    found, printed = opened_with_stderr(tmp_path, capsys)
    assert printed.count("is out of date") == printed.count("caching") == 1
    assert same(found, samples(UnpairedFolders(str(tmp_path), cache=False, **SMALL)))


@pytest.mark.parametrize("change", ["replaced", "swapped"])
def test_a_cache_notices_changes_that_keep_name_size_and_time(tmp_path, capsys, change):
    for part in ("trainA", "trainB"):
        (tmp_path / part).mkdir()
        for n in range(3):
            Image.fromarray(np.full((40, 40, 3), 60 * n, np.uint8)).save(tmp_path / part / f"{n}.bmp")
            os.utime(tmp_path / part / f"{n}.bmp", (0, 0))
    a = tmp_path / "trainA"
    opened_with_stderr(tmp_path, capsys)
    if change == "replaced":
        Image.fromarray(np.full((40, 40, 3), 255, np.uint8)).save(a / "0.bmp")
        os.utime(a / "0.bmp", (0, 0))
    else:
        (a / "0.bmp").rename(a / "x.bmp")
        (a / "2.bmp").rename(a / "0.bmp")
        (a / "x.bmp").rename(a / "2.bmp")
    found, printed = opened_with_stderr(tmp_path, capsys)
    assert "is out of date" in printed
    assert same(found, samples(UnpairedFolders(str(tmp_path), cache=False, **SMALL)))


def test_any_flipped_bit_or_missing_byte_in_a_cache_is_detected_and_repaired(tmp_path, capsys):
    make(tmp_path)
    cut_short(tmp_path / "trainA" / "003.png")
    expected, _ = opened_with_stderr(tmp_path, capsys, bad_limit=0.2)
    file = tmp_path / ".i2i-cache" / "trainA-18.npy"
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    tail, open_ended = len(whole) - np.arange(1, 200), whole.replace(b"}", b" ", 1)
    for place in [*rng.integers(len(whole), size=40), *rng.choice(tail, 20), *range(0, 128, 16)]:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        found, printed = opened_with_stderr(tmp_path, capsys, bad_limit=0.2)
        assert same(expected, found), place
        assert "caching 6 pictures" in printed or place < 128, place  # several encodings of the header are valid
    for content in (b"", whole[: len(whole) // 2], whole[:-1], whole + b"\0", b"x" * 5000, open_ended):
        file.write_bytes(content)
        found, printed = opened_with_stderr(tmp_path, capsys, bad_limit=0.2)
        assert "is damaged" in printed
        assert same(expected, found)
        assert file.read_bytes() == whole


def test_a_cache_of_the_first_format_is_rebuilt(tmp_path, capsys):
    make(tmp_path)
    expected, _ = opened_with_stderr(tmp_path, capsys)
    for name in ("trainA-18.npy", "trainB-18.npy"):
        pixels = np.load(tmp_path / ".i2i-cache" / name)
        with open(tmp_path / ".i2i-cache" / name, "wb") as file:
            np.save(file, 255 - pixels)
            about = b'{"key": "0123", "bad": {}}'
            file.write(b"\n" + about + struct.pack("<QL", len(about), zlib.crc32(about, zlib.crc32(255 - pixels))))
    found, printed = opened_with_stderr(tmp_path, capsys)
    assert same(expected, found)
    assert printed.count("is out of date") == 2
    assert opened_with_stderr(tmp_path, capsys)[1] == ""


def test_concurrent_processes_leave_one_intact_cache(tmp_path):
    make(tmp_path, train=30)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        opened = pool.map(samples_at, [str(tmp_path)] * 8, chunksize=1)
    assert all(same(opened[0], other) for other in opened[1:])
    assert caches_in(tmp_path) == ["trainA-18.npy", "trainB-18.npy"]


def samples_at(root):
    torch.set_num_threads(1)
    return [{k: v.clone() for k, v in sample.items()} for sample in samples(UnpairedFolders(root, **SMALL))]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    make(tmp_path)
    (tmp_path / ".i2i-cache").mkdir()
    (tmp_path / ".i2i-cache" / ".tmp-i2i-trainA-18.npy-1-abcd").write_bytes(b"half")
    UnpairedFolders(str(tmp_path), **SMALL)
    assert caches_in(tmp_path) == ["trainA-18.npy", "trainB-18.npy"]


@pytest.mark.parametrize("fault", ["no folder", "full disk", "no room"])
def test_samples_are_the_same_if_no_cache_can_be_written(tmp_path, monkeypatch, caplog, fault):
    make(tmp_path)
    expected = samples(UnpairedFolders(str(tmp_path), cache=False, **SMALL))
    if fault == "no folder":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("I2I_CACHE", str(tmp_path / "file"))
    elif fault == "no room":
        monkeypatch.setattr(cache.files, "free_bytes", lambda folder: 1000)
    else:

        def full(*arguments):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
    data = UnpairedFolders(str(tmp_path), **SMALL)
    assert same(expected, samples(data))
    assert caplog.text.count("no cache in") == 2
    assert not list(tmp_path.glob(".i2i-cache/*"))


def test_the_cache_location_can_be_set(tmp_path, monkeypatch):
    make(tmp_path / "set")
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "elsewhere"))
    UnpairedFolders(str(tmp_path / "set"), **SMALL)
    assert not (tmp_path / "set" / ".i2i-cache").exists()
    assert len(list((tmp_path / "elsewhere").glob("set-*/*.npy"))) == 2


# ---- i2i data check


def test_check_reports_the_kind_of_data_set_and_no_problems(tmp_path):
    report = check(make(tmp_path, width=100, height=60))
    assert report.ok
    assert "looks like unpaired images" in report.text()
    assert "trainA         6  100x60 / 100x60 / 100x60" in report.text()
    assert "RGB 6" in report.text()
    assert "no problems found" in report.text()


def test_check_lists_all_unreadable_and_all_skipped_files(tmp_path):  # A1-A4, A21
    bad = damaged(tmp_path)
    (tmp_path / "trainA" / "Thumbs.db").write_text("x")
    report = check(tmp_path)
    assert not report.ok
    assert len(report.problems) == 3
    assert all(sum(name in problem for problem in report.problems) == 1 for name in bad)
    assert any("skipped in trainA" in line and "Thumbs.db" in line for line in report.warnings)
    assert "problems (3):" in report.text()


def test_a_folder_that_cannot_be_listed_is_a_problem(tmp_path, monkeypatch):  # F10
    make(tmp_path)
    closed = tmp_path / "trainA" / "closed"
    closed.mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may list everything
    assert check(tmp_path).problems == [f"'{closed}': this folder cannot be listed: Permission denied"]


def test_check_never_blocks_on_a_pipe(tmp_path):  # A24
    make(tmp_path)
    os.mkfifo(tmp_path / "trainA" / "pipe.png")
    assert any("pipe.png" in line for line in check(tmp_path).warnings)


def test_check_counts_images_in_both_train_and_test(tmp_path):  # B15
    make(tmp_path, test=4, width=40, height=40)
    for index in (1, 2):
        shutil.copy(tmp_path / "trainA" / f"00{index}.png", tmp_path / "testA" / f"copy{index}.png")
    shutil.copy(tmp_path / "trainB" / "001.png", tmp_path / "trainB" / "again.png")
    report = check(tmp_path)
    assert report.ok
    assert any(line.startswith("images in both train and test: 2 (") for line in report.warnings)
    assert any(line.startswith("duplicate images: 1 (") for line in report.warnings)


def test_check_warns_about_tiny_animated_and_mixed_mode_images(tmp_path):
    make(tmp_path, width=40, height=40)
    Image.new("RGB", (3, 90), "red").save(tmp_path / "trainA" / "tiny.png")
    Image.new("L", (40, 40), 9).save(tmp_path / "trainB" / "grey.png")
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green")]
    frames[0].save(tmp_path / "trainB" / "moving.webp", save_all=True, append_images=frames[1:])
    for _ in range(2):  # repeatable
        report = check(tmp_path)
        assert report.ok
        text = report.text()
        assert "images with a side shorter than 32 pixels: 1 (" in text
        assert "tiny.png' (3x90)" in text
        assert "mixed modes in trainB: most are RGB, except 1 (" in text
        assert "grey.png' (L)" in text
        assert "animated images, of which only the first frame is used: 1 (" in text


def test_check_accepts_nested_folders_and_reports_a_missing_domain(tmp_path):
    make(tmp_path / "set", width=40, height=40)
    report = check(tmp_path / "set" / "..")
    assert report.ok  # nested folders of images are not a problem
    shutil.rmtree(tmp_path / "set" / "trainB")
    shutil.rmtree(tmp_path / "set" / "testB")
    report = check(tmp_path / "set")
    assert [line for line in report.problems if line.startswith("trainB: no such folder")]
    assert [line for line in report.warnings if line.startswith("testB: no such folder")]


def test_check_rejects_an_empty_test_folder_as_training_does(tmp_path):
    make(tmp_path, test=0)
    assert check(tmp_path).problems == [
        f"{name}: no images found; add some or delete the folder" for name in ("testA", "testB")
    ]
    with pytest.raises(DataError, match="testA': no images found"):
        UnpairedFolders(str(tmp_path), **SMALL)
    for name in ("testA", "testB"):
        (tmp_path / name).rmdir()
    assert check(tmp_path).ok
    assert len(UnpairedFolders(str(tmp_path), **SMALL).validation()) == 0


def test_an_empty_folder_is_a_problem_and_a_missing_one_an_error(tmp_path):
    report = check(tmp_path)
    assert not report.ok
    assert "does not look like a data set" in report.text()
    with pytest.raises(DataError, match="no such folder"):
        check(tmp_path / "none")


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["train/a.png", "val/b.png"], "paired images, side by side"),
        (["train/images/a.png", "train/labels/a.png"], "label maps"),
        (["HR/a.png", "LR_x2/a.png"], "super-resolution"),
        (["a.png", "b.png"], "paired images, side by side"),
        (["train/cat/a.png", "train/dog/b.png", "val/cat/c.png"], "possibly one per class"),
    ],
)
def test_check_recognises_other_layouts(tmp_path, names, kind):
    wide = "side by side" in kind
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        drawn = Image.fromarray(picture(number, 80 if wide else 41, 40))
        (drawn.convert("1") if "labels" in name else drawn).save(tmp_path / name)
    report = check(tmp_path)
    assert kind in report.kind
    assert report.ok


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["mnist.npz"], "looks like MNIST in one file (mnist.npz), for `use: mnist`"),
        (
            ["train.tar", "test.tar", "classes.json"],
            "looks like images with class labels, one .tar per split (train.tar), for `use: labelled_folders`",
        ),
        (
            ["train.tar", "train.csv", "val.tar", "val.csv"],
            "looks like images with attributes (train.tar and train.csv), for `use: faces_with_attributes`",
        ),
    ],
)
def test_check_recognises_packed_layouts_without_opening_the_files(tmp_path, names, kind):
    for name in names:
        (tmp_path / name).write_bytes(b"not read")
    report = check(tmp_path, write_manifest=True)
    assert report.ok
    assert report.text().splitlines() == [
        f"'{tmp_path}': {kind}",
        "warnings (1):",
        "  the contents of these files are not checked and not added to manifest.sha256; training reads them",
    ]
    assert not (tmp_path / "manifest.sha256").exists()
    assert kind.split("`")[1].removeprefix("use: ") in registry().catalog.names("data")


def test_check_ignores_archives_next_to_images(tmp_path):
    (tmp_path / "train.tar").touch()
    Image.fromarray(picture(0, 41, 40)).save(tmp_path / "a.png")
    assert check(tmp_path).kind == "looks like a plain folder of images"
    (tmp_path / "a.png").unlink()
    (tmp_path / "train.tar").rename(tmp_path / "val.tar")
    assert not check(tmp_path).ok


def test_check_names_images_without_a_counterpart(tmp_path):
    for name in ("train/images/a.png", "train/images/b.png", "train/labels/a.png", "train/labels/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(0, 40, 40)).save(tmp_path / name)
    problems = check(tmp_path).problems
    assert "images in train/labels without a counterpart in train/images: 1 (c)" in problems
    assert "images in train/images without a counterpart in train/labels: 1 (b)" in problems


def test_a_manifest_reveals_silent_corruption(tmp_path):  # A5
    make(tmp_path, suffix=".jpg", width=200, height=150)
    assert "wrote 18 hashes" in check(tmp_path, write_manifest=True).text()
    assert check(tmp_path).ok
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--quiet", "manifest.sha256"], cwd=tmp_path, check=True)
    path = tmp_path / "trainA" / "002.jpg"
    content = bytearray(path.read_bytes())
    content[-400:-360] = bytes(40)
    path.write_bytes(content)
    (tmp_path / "trainB" / "003.jpg").unlink()
    Image.fromarray(picture(9, 200, 150)).save(tmp_path / "testA" / "new.jpg")
    report = check(tmp_path)
    assert len(report.problems) == 2
    assert any("trainA/002.jpg': changed or damaged" in line for line in report.problems)
    assert any("trainB/003.jpg': listed in manifest.sha256 but missing" in line for line in report.problems)
    assert any("images not listed in manifest.sha256: 1 (testA/new.jpg)" in line for line in report.warnings)


def test_a_manifest_supports_any_file_name_and_is_written_only_without_problems(tmp_path):
    make(tmp_path, width=40, height=40)
    names = ["-x.png", "two\nlines.png", "back\\slash\\n.png", "Ω 中.png", os.fsdecode(b"\xff.png")]
    for number, name in enumerate(names):
        Image.fromarray(picture(number, 40, 40)).save(tmp_path / "trainA" / name)
    assert check(tmp_path, write_manifest=True).ok
    assert check(tmp_path).ok
    report = check(tmp_path)
    assert len(report.text().splitlines()) < 15
    cut_short(tmp_path / "trainA" / "000.png")
    before = (tmp_path / "manifest.sha256").read_bytes()
    assert "was not written" in check(tmp_path, write_manifest=True).text()
    assert (tmp_path / "manifest.sha256").read_bytes() == before


# ---- real data


@pytest.mark.skipif("I2I_DATA" not in os.environ, reason="needs the data in $I2I_DATA")
def test_cats_and_dogs_are_read_and_checked(tmp_path, monkeypatch):
    root = Path(os.environ["I2I_DATA"]) / "catsdogs"
    monkeypatch.setenv("I2I_CACHE", str(tmp_path))
    report = check(root)
    assert report.ok, report.text()
    assert {name: len(found) for name, found in report.parts.items()} == {
        "trainA": 630, "trainB": 630, "testA": 70, "testB": 69,
    }  # fmt: skip
    data = UnpairedFolders(str(root), size=64)
    assert len(data) == 630
    assert len(data.validation()) == 64
    direct = UnpairedFolders(str(root), size=64, cache=False)
    for index in range(0, 630, 40):
        assert same(*([d.sample(index, np.random.default_rng(index))] for d in (data, direct)))
    logging.getLogger("i2i").debug("%d skipped", data.skipped)


class Batched(Data):
    """Integers in a tensor: `batch` fetches them all at once and records its calls."""

    batch_size = 4

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __len__(self) -> int:
        return 8

    def batch(self, indices, rng):
        self.calls.append(list(indices))
        return {"A": torch.arange(8)[list(indices)], "noise": torch.tensor([rng(i).random() for i in range(4)])}


def test_a_data_set_may_build_its_own_batches():
    from i2i.config import Train
    from i2i.data.stream import stream
    from i2i.processes import ProcessGroup

    data = Batched()
    taken = [batch for (batch,) in stream(data, Train(steps=2), 0, 2, ProcessGroup())]
    assert len(data.calls) == 2
    assert sorted(torch.cat([batch["A"] for batch in taken]).tolist()) == [*range(8)]
    resumed = [batch for (batch,) in stream(Batched(), Train(steps=2), 1, 2, ProcessGroup())]
    assert torch.equal(resumed[0]["A"], taken[1]["A"])
    assert torch.equal(resumed[0]["noise"], taken[1]["noise"])
