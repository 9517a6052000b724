"""Image classification data sets, read from folders and tar files."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.data import LabelledFolders
from i2i.data.classes import class_names, class_numbers
from i2i.errors import DataError
from i2i.plugins import registry

CLASSES = ("cat", "dog", "eel")


def colour(split: str, name: str, number: int) -> tuple[int, int, int]:
    return (40 * CLASSES.index(name) + 20, 10 * number, 100 if split == "train" else 200)


def folders(root: Path, splits: tuple[str, ...] = ("train", "test"), each: int = 3) -> Path:
    """Write images of one colour, which encodes split, class and number, to <split>/<class>/."""
    for split in splits:
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(each):
                Image.new("RGB", (12, 8), colour(split, name, number)).save(root / split / name / f"{number}.png")
    return root


def packed(root: Path, pack: str = "") -> Path:
    """Replace the folder of each split with a tar file of the same images."""
    for split in [entry for entry in root.iterdir() if entry.is_dir()]:
        with tarfile.open(root / f"{split.name}.tar", f"w:{pack}") as tar:
            for file in sorted(split.rglob("*.png")):
                tar.add(file, file.relative_to(split))
        for file in sorted(split.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        split.rmdir()
    return root


@pytest.mark.parametrize("tarred", [False, True], ids=["folders", "tars"])
def test_each_image_has_the_index_of_its_class(tmp_path: Path, tarred: bool) -> None:
    root = packed(folders(tmp_path)) if tarred else folders(tmp_path)
    data = LabelledFolders(str(root), size=8, flip=False)
    assert data.classes == CLASSES
    assert (data.channels, data.size, len(data), len(data.validation())) == (3, 8, 9, 9)
    for split, samples in (
        ("train", [data.sample(i, np.random.default_rng(0)) for i in range(9)]),
        ("test", [data.validation()[i] for i in range(9)]),
    ):
        for index, sample in enumerate(samples):
            assert sample["image"].shape == (3, 8, 8)
            assert sample["image"].dtype == torch.float32
            assert (sample["label"].item(), sample["label"].dtype) == (index // 3, torch.int64)
            shown = ((sample["image"][:, 4, 4] + 1) * 127.5).round().tolist()
            assert shown == list(colour(split, CLASSES[index // 3], index % 3))


def test_folders_and_tars_give_the_same_samples(tmp_path: Path) -> None:
    rng = np.random.default_rng
    (tmp_path / "train" / "a").mkdir(parents=True)
    noise = rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "train" / "a" / "0.png")
    before = LabelledFolders(str(tmp_path), size=9)
    after = LabelledFolders(str(packed(tmp_path, "xz")), size=9)
    for seed in range(4):
        assert torch.equal(before.sample(0, rng(seed))["image"], after.sample(0, rng(seed))["image"])


def test_half_of_the_training_images_are_flipped(tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    ramp = np.arange(16, dtype=np.uint8)[None, :, None].repeat(16, 0).repeat(3, 2) * 16
    Image.fromarray(ramp).save(tmp_path / "train" / "a" / "0.png")
    data = LabelledFolders(str(tmp_path), size=16)
    rising = [bool(data.sample(0, np.random.default_rng(n))["image"][0, 0].diff().min() > 0) for n in range(100)]
    assert 30 < sum(rising) < 70
    again = LabelledFolders(str(tmp_path), size=16, flip=False)
    assert all((again.sample(0, np.random.default_rng(n))["image"][0, 0].diff() > 0).all() for n in range(5))


def test_grey_is_the_luma_of_the_image(tmp_path: Path) -> None:
    folders(tmp_path, ("train",))
    data = LabelledFolders(str(tmp_path), size=8, channels=1)
    image = data.sample(0, np.random.default_rng(0))["image"]
    assert image.shape == (1, 8, 8)
    expected = np.asarray(Image.new("RGB", (1, 1), colour("train", "cat", 0)).convert("L")).item()
    assert ((image[0, 0, 0] + 1) * 127.5).item() == pytest.approx(expected, abs=1.01)


def test_validation_images_are_spread_over_the_classes(tmp_path: Path) -> None:
    folders(tmp_path, each=4)
    samples = LabelledFolders(str(tmp_path), size=8, validation_samples=3).validation()
    assert [samples[i]["label"].item() for i in range(len(samples))] == [0, 1, 2]


def test_a_bad_image_is_skipped_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = folders(tmp_path, ("train",), each=10)
    (root / "train" / "dog" / "3.png").write_bytes(b"not an image")
    assert len(LabelledFolders(str(root), size=8)) == 29
    assert "unreadable images skipped: 1" in caplog.text
    assert "3.png" in caplog.text
    with pytest.raises(DataError, match=r"1 of 30 images cannot be read, .* fraction of 0\.01.*3\.png"):
        LabelledFolders(str(root), size=8, bad_limit=0.01)


def test_a_bad_image_in_a_tar_file_is_named(tmp_path: Path) -> None:
    root = folders(tmp_path, ("train",))
    (root / "train" / "dog" / "1.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"train\.tar': dog/1\.png: .*"):
        LabelledFolders(str(packed(root)), size=8)


def test_a_class_that_is_not_in_train_is_rejected(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "test" / "yak").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "test" / "yak" / "0.png")
    with pytest.raises(DataError, match="unknown class yak; train has cat, dog, eel: use the same"):
        LabelledFolders(str(tmp_path), size=8)


def test_missing_splits_and_class_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither train nor train\.tar found; labelled_folders needs"):
        LabelledFolders(str(tmp_path), size=8)
    (tmp_path / "train").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "no class.png")
    with pytest.raises(DataError, match="no images in class folders"):
        LabelledFolders(str(tmp_path), size=8)


def test_a_damaged_tar_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(b"not a tar file" * 100)
    with pytest.raises(DataError, match=r"train\.tar': cannot be read as a tar"):
        LabelledFolders(str(tmp_path), size=8)


def test_a_tar_file_is_never_unpacked(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    root = tmp_path / "data"
    root.mkdir()
    with tarfile.open(root / "train.tar", "w") as tar:
        for name in ("../../evil/0.png", "a/0.png"):
            member = tarfile.TarInfo(name)
            member.size = len(picture.getvalue())
            tar.addfile(member, io.BytesIO(picture.getvalue()))
    assert LabelledFolders(str(root), size=8).classes == ("a", "evil")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "train.tar"]


def test_labelled_folders_are_in_the_catalog() -> None:
    assert registry().catalog.find("data", "labelled_folders").build is LabelledFolders


def test_cifar10_is_read(tmp_path: Path) -> None:
    if not os.environ.get("I2I_DATA"):
        pytest.skip("I2I_DATA is not set")
    source = Path(os.environ["I2I_DATA"]) / "cifar10" / "test.tar"
    (tmp_path / "train.tar").symlink_to(source)  # the smaller split, to keep this fast
    data = LabelledFolders(str(tmp_path))
    assert len(data) == 2000
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    labels = data.train.labels
    assert labels.bincount().tolist() == [200] * 10
    assert labels[:10].tolist() == list(range(10))  # interleaved, as in the tar file


# ---- classes by name and index


def test_without_a_label_classes_are_drawn_uniformly() -> None:
    torch.manual_seed(0)
    drawn = class_numbers(("a", "b", "c"), 600, None, torch.device("cpu"))
    assert drawn is not None
    assert drawn.bincount().tolist() == pytest.approx([200, 200, 200], abs=45)


def test_classes_are_requested_by_name_or_index() -> None:
    labels = class_numbers(("cat", "dog", "7"), 5, ["dog", 0, "2", "7", torch.tensor(1).item()], torch.device("cpu"))
    assert labels is not None
    assert labels.tolist() == [1, 0, 2, 2, 1]
    again = class_numbers(("cat", "dog", "7"), 2, torch.tensor([2, 0]), torch.device("cpu"))
    assert again is not None
    assert again.tolist() == [2, 0]


def test_classes_are_given_by_count_by_names_or_not_at_all() -> None:
    assert class_names(3) == ("0", "1", "2")
    assert class_names(["cat", "dog"]) == ("cat", "dog")
    assert class_names(None) == ()
    assert class_numbers((), 4, None, torch.device("cpu")) is None
