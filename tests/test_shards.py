"""Shards of tar files give the samples of the same pictures in folders; damage is found and named."""

from __future__ import annotations

import io
import logging
import pickle
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2i import ConfigError, DataError, api, testing
from i2i.data import PairedFolders
from i2i.data.check import check
from i2i.data.shards import Shards

PARTS = {"A": "sketch.png", "B": "photo.png"}


def encoded(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture = np.random.default_rng(seed).integers(0, 256, (40, 44, 3), np.uint8)
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def shard(file: Path, contents: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """Write ten training and two validation pairs, as shards of four pairs and in folders."""
    for split, count in (("train", 10), ("val", 2)):
        for first in range(0, count, 4):
            rows = range(first, min(first + 4, count))
            contents = {f"{n:03}.{PARTS[d]}": encoded(2 * n + (d == "B")) for n in rows for d in "AB"}
            shard(tmp_path / f"{split}-{first // 4:03}.tar", contents)
        for n in range(count):
            for d in "AB":
                (tmp_path / f"{split}{d}").mkdir(exist_ok=True)
                (tmp_path / f"{split}{d}" / f"{n:03}.png").write_bytes(encoded(2 * n + (d == "B")))
    return str(tmp_path / "train-*.tar")


def test_samples_equal_those_of_the_same_pictures_in_folders(pairs: str) -> None:
    data = Shards(pairs, PARTS, validation=pairs.replace("train", "val"), size=32)
    folders = PairedFolders(str(Path(pairs).parent), size=32, cache=False)
    assert len(data) == len(folders) == 10
    for index in range(10):
        one, two = (d.sample(index, np.random.default_rng(index)) for d in (data, folders))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    held_out = data.validation()
    assert len(held_out) == len(folders.validation()) == 2
    for one, two in zip(held_out, folders.validation(), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert len(held_out[:1]) == 1


def test_shards_keep_the_contract_of_data(pairs: str) -> None:
    testing.check_data(Shards(pairs, PARTS, size=32, batch_size=2))
    data = Shards(pairs, PARTS, size=32)
    assert (len(data), len(data.validation())) == (9, 1)
    data.sample(0, np.random.default_rng(0))
    again = pickle.loads(pickle.dumps(data))  # as a loader process gets it: without open files
    assert torch.equal(again.sample(3, np.random.default_rng(3))["A"], data.sample(3, np.random.default_rng(3))["A"])


def test_shards_for_validation_are_not_trained_on_and_bad_samples_in_them_are_left_out(
    pairs: str, caplog: pytest.LogCaptureFixture
) -> None:
    every, held = pairs.replace("train-", ""), pairs.replace("train", "val")
    data = Shards(every, PARTS, validation=held, size=32)
    assert (len(data), len(data.validation())) == (10, 2)
    assert len(Shards(held, PARTS, validation=held, size=32)) == 2
    contents = {f"{n}.{end}": encoded(n) for n in range(3) for end in PARTS.values()}
    contents["1.photo.png"] = contents["1.photo.png"][:300]
    shard(Path(held).parent / "val-000.tar", contents)
    assert len(Shards(every, PARTS, validation=held, size=32).validation()) == 2
    assert "skipped in validation" in caplog.text
    told = check(Path(pairs).parent, data=[Shards])
    assert (
        f'`root: "{Path(pairs).parent}/train-*.tar"`, `validation: "{Path(pairs).parent}/val-*.tar"`' in told.text()
    )


def test_the_ends_of_names_may_be_in_upper_case(tmp_path: Path) -> None:
    shard(tmp_path / "x-0.tar", {"1.PNG": encoded(1)})
    assert len(Shards(str(tmp_path / "x-*.tar"), {"image": "PNG"}, validation=str(tmp_path / "x-*.tar"))) == 1


def test_classes_are_numbers_in_digits(tmp_path: Path) -> None:
    contents = {
        f"a/{n}.{end}": encoded(n) if end == "jpg" else b"%d\n" % n for n in range(3) for end in ("jpg", "cls")
    }
    shard(tmp_path / "x.tar", contents)
    data = Shards(str(tmp_path / "x.tar"), {"image": "jpg", "label": "cls"}, size=16)
    assert [data.sample(n, np.random.default_rng(0))["label"].item() for n in range(3)] == [0, 1, 2]
    assert data.sample(1, np.random.default_rng(0))["label"].dtype == torch.int64
    shard(tmp_path / "x.tar", {**contents, "a/1.cls": b"cat"})
    data = Shards(str(tmp_path / "x.tar"), {"image": "jpg", "label": "cls"}, size=16, bad_limit=0)
    with pytest.raises(DataError, match="1 of 3 training images cannot be read"):
        data.sample(1, np.random.default_rng(0))


def test_an_unreadable_picture_is_replaced_by_the_next_and_reported(pairs: str, caplog: Any) -> None:
    folder = Path(pairs).parent
    contents = {f"{n}.{end}": encoded(n) for n in range(20) for end in PARTS.values()}
    contents["4.photo.png"] = contents["4.photo.png"][:300]
    shard(folder / "train-bad.tar", contents)
    data = Shards(str(folder / "train-bad.tar"), PARTS, size=32, flip=False, load_size=32, bad_limit=0.1)
    with caplog.at_level(logging.WARNING, "i2i"):
        made = data.sample(4, np.random.default_rng(0))
    assert torch.equal(made["A"], data.sample(5, np.random.default_rng(0))["A"])
    assert "train-bad.tar/4.photo.png: " in caplog.text
    assert data.note() == "1 of 18 samples could not be read and were skipped"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, r"none-\*.tar: no file matches; shards needs tar files"),
        (lambda folder: (folder / "none-1.tar").write_bytes(b"x" * 2000), "cannot be read as a tar file"),
        (lambda folder: shard(folder / "none-1.tar", {"a.jpg": b""}, "w:gz"), "cannot be read as a tar file"),
        (
            lambda folder: shard(folder / "none-1.tar", {"a.jpg": b"", "a.b.txt": b""}),
            "only b.txt, jpg: set data.parts",
        ),
    ],
)
def test_wrong_shards_are_one_sentence(make: Any, says: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=says):
        Shards(str(tmp_path / "none-*.tar"), PARTS)


def test_a_truncated_shard_is_rejected_at_the_start(pairs: str) -> None:
    first = Path(pairs).parent / "train-000.tar"
    whole = first.read_bytes()
    with tarfile.open(first) as tar:
        second = tar.getmembers()[2].offset
    for cut in (second, second + 700):
        first.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"train-000.tar'?: (truncated|cannot be read as a tar file)"):
            Shards(pairs, PARTS)


def test_samples_without_a_part_are_skipped_with_a_warning(pairs: str, caplog: Any) -> None:
    shard(Path(pairs).parent / "train-more.tar", {"1.sketch.png": encoded(1), "2.txt": b""})
    with caplog.at_level(logging.WARNING, "i2i"):
        assert len(Shards(pairs, PARTS)) == 9
    assert "samples skipped because they lack one of sketch.png, photo.png: 2" in caplog.text


def test_data_check_recognises_shards_and_finds_damaged_ones(pairs: str) -> None:
    folder = Path(pairs).parent / "shards"
    folder.mkdir()
    contents = {f"{n}.{end}": encoded(n) for n in range(3) for end in PARTS.values()}
    whole = shard(folder / "a-0.tar", contents).read_bytes()
    report = check(folder, data=[Shards])
    assert report.ok
    assert "looks like shards, for `use: shards`" in report.text()
    assert "1 tar files: 3 .photo.png, 3 .sketch.png" in report.text()
    (folder / "a-1.tar").write_bytes(whole[:3000])
    report = check(folder, data=[Shards])
    assert not report.ok
    assert "a-1.tar" in report.text()
    with pytest.raises(DataError, match="is a folder; give a pattern of tar files, such as"):
        Shards(str(folder), PARTS)


def test_a_shard_that_shrinks_and_parts_without_a_picture_are_errors(pairs: str) -> None:
    with pytest.raises(ConfigError, match=r"data.parts has no picture"):
        Shards(pairs, {"label": "cls"})
    data = Shards(pairs, PARTS, bad_limit=0.0)
    for file in Path(pairs).parent.glob("train-*.tar"):
        file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(DataError, match="cannot be read, more than the allowed fraction"):
        data.sample(0, np.random.default_rng(0))


def test_data_without_an_entry_that_the_task_needs_are_refused_before_training(tmp_path: Path) -> None:
    config = Path(__file__).parents[1] / "configs" / "vae.yaml"
    changes = ["data={use: horses_zebras, size: 32, batch_size: 2, samples: 2}", "train.steps=1", "train.epochs=null"]
    with pytest.raises(ConfigError, match=r"VAE needs the entry 'image' of each sample, .* are 'A', 'B', "):
        api.run(config, *changes, "metrics=[]", out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("name", "parts", "says"),
    [
        (
            "facades",
            "{A: cls, B: jpg}",
            "'A' of each sample is a single number, such as a class (data.parts.A",
        ),
        ("cyclegan", "{A: jpg, B: cls}", "(data.parts.B is cls), but CycleGAN needs images there, floats [channels,"),
        ("vae", "{image: cls, x: jpg}", "(data.parts.image is cls), but VAE needs images there"),
        (
            "spade",
            "{A: jpg, B: jpg}",
            "'A' of each sample is floats [3, 32, 32] (data.parts.A is jpg), but SPADE",
        ),
        ("text2image", "{image: jpg, text: cls}", "(data.parts.text is cls), but Text2Image needs captions there"),
    ],
)
def test_a_part_of_another_kind_than_the_task_takes_is_one_sentence(
    name: str, parts: str, says: str, tmp_path: Path
) -> None:
    shard(
        tmp_path / "x-0.tar",
        {f"{n}.{end}": encoded(n) if end == "jpg" else b"%d" % (n % 3) for n in range(20) for end in ("jpg", "cls")},
    )
    data = f"data={{use: shards, root: '{tmp_path}/x-*.tar', parts: {parts}, size: 32, workers: 0}}"
    with pytest.raises(DataError, match=re.escape(says)):
        api.run(name, data, "train.steps=1", "metrics=[]", out=tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_picture_where_a_class_belongs_is_one_sentence(tmp_path: Path) -> None:
    shard(tmp_path / "x-0.tar", {f"{n}.{end}": encoded(n) for n in range(20) for end in ("jpg", "png")})
    parts = "{image: jpg, label: png}"
    data = f"data={{use: shards, root: '{tmp_path}/x-*.tar', parts: {parts}, size: 32, workers: 0}}"
    with pytest.raises(ConfigError, match="gan needs a class as 'label' of each sample, one whole number, but these"):
        api.run("cgan", data, "task.channels=3", "train.steps=1", "metrics=[]", out=tmp_path / "run")
