"""The modality `text` and the data set `captions`: sentences, files of captions, and what is not a caption."""

from __future__ import annotations

import io
import logging
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_text2image.captions import Captions
from i2i_text2image.text import LENGTH, Text, file_name_of, to_codes, to_text, words
from PIL import Image as Pil

from i2i import Task
from i2i.data.check import check
from i2i.errors import DataError
from i2i.modalities import Image
from i2i.model import translate_files
from i2i.model.trained import Model
from i2i.plugins import registry
from i2i.testing import check_data, check_modality

DATA = os.environ.get("I2I_DATA")


class Length(Task):
    """Paints a sentence as a grey picture that is as light as the sentence is long."""

    takes, makes, source = Text(), Image(), "text"

    def translate(self, text: torch.Tensor) -> torch.Tensor:
        """Return pictures [N, 3, 8, 8] for code points [N, L]."""
        level = (text > 0).sum(1) / 100 - 1
        return level[:, None, None, None].expand(-1, 3, 8, 8)


def model() -> Model:
    return Model(Length(), {}, Path("test"))


# ---- tensors


def test_the_modality_fulfils_the_contract(tmp_path: Path) -> None:
    assert registry().catalog.find("modality", "text").build is Text
    check_modality(Text(), "two red circles", tmp_path, wrong=np.zeros((8, 8, 3), np.uint8))


def test_a_caption_becomes_padded_code_points() -> None:
    values = Text().take("A  cat,\n\there. ").values
    assert (values.shape, values.dtype) == ((1, LENGTH), torch.int64)
    assert to_text(values[0]) == "A cat, here."
    assert values[0, :3].tolist() == [65, 32, 99]
    assert values[0, 12:].eq(0).all()


def test_the_same_letters_give_the_same_tensor() -> None:
    assert to_codes("cafe\u0301").equal(to_codes("caf\u00e9"))


def test_captions_stack_and_come_back() -> None:
    text = Text(length=40)
    batch = text.gather(["a dog", "猫 и кошка"])
    assert batch.shape == (2, 40)
    assert list(text.release(batch)) == ["a dog", "猫 и кошка"]


def test_words_are_lower_case_and_punctuation_stands_alone() -> None:
    assert words("The dog's ball, RED-blue 3.") == ["the", "dog's", "ball", ",", "red", "-", "blue", "3", "."]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "the caption is empty"),
        (" \t\n", "the caption is empty"),
        ("x" * 201, "has 201 characters, but 200 are possible"),
        (b"caf\xe9", "not UTF-8 (byte 3 is 0xe9)"),
        ("caf\udce9", "not valid UTF-8"),
        ("nowhere/captions.txt", "no such file"),
        (7, "7 is not a caption"),
    ],
)
def test_what_is_no_caption_is_rejected_in_one_sentence(given: Any, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        Text().take(given)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_bytes("\ufeffein Kätzchen\r\n\r\n".encode())
    for given in (path, str(path)):
        assert to_text(Text().take(given).values[0]) == "ein Kätzchen"
    path.write_text("a cat\na dog\n")
    with pytest.raises(DataError, match="has 2 captions"):
        Text().take(path)


def test_captions_are_drawn_in_black_on_white() -> None:
    shown = Text().show(torch.stack([to_codes("a red circle"), to_codes("äöü " * 40), torch.zeros(LENGTH).long()]))
    assert shown.shape == (3, 160, 160, 3)
    ink = [int((picture < 128).sum()) for picture in shown]
    assert ink[1] > ink[0] > ink[2] == 0


# ---- names and files


def test_a_sentence_names_its_result() -> None:
    assert Text().find("a red circle") == ([("a red circle", Path("a-red-circle"))], [])
    names = [
        file_name_of(one) for one in ("a red circle", "A red circle", "a red, circle", "../a/b", "猫", "x" * 300)
    ]
    assert len(set(names)) == len(names)
    assert all(len(name) < 80 and name.replace("-", "").isalnum() and name.isascii() for name in names)


def test_a_line_may_name_the_picture_that_it_is_about(tmp_path: Path) -> None:
    (tmp_path / "captions_val.txt").write_text("12_ab.jpg#0\ta red circle\n12_ab.jpg#1\ta blue square #1\tbig\n")
    found, _ = Text().find(str(tmp_path / "captions_val.txt"))
    assert [caption for caption, _ in found] == ["a red circle", "a blue square #1\tbig"]


def test_the_name_of_a_picture_that_does_not_exist_is_not_a_caption() -> None:
    found, skipped = Text().find("a red circle.png")
    assert (found, skipped[0][1].startswith("no such file; a caption is")) == ([], True)
    said: list[str] = []
    assert translate_files(["a red circle.png"], "out", model(), say=said.append) == [said[0]]


def test_a_file_gives_a_picture_per_line(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a red circle\n\na blue square\na red circle\n")
    found, skipped = Text().find(str(tmp_path / "captions.txt"))
    names = ["captions-0001", "captions-0003", "captions-0004"]
    assert found == [
        (line, Path(name))
        for line, name in zip(("a red circle", "a blue square", "a red circle"), names, strict=True)
    ]
    assert skipped == []
    assert translate_files([str(tmp_path / "captions.txt")], tmp_path / "out", model(), say=lambda line: None) == []
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.png")) == names


def test_sentences_are_translated_and_bad_ones_reported(tmp_path: Path) -> None:
    given = ["a dog", "", "x" * 300, str(tmp_path / "missing.txt")]
    failed = translate_files(given, tmp_path / "out", model(), say=lambda line: None)
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["a-dog.png"]
    assert len(failed) == 3
    for reason in ("the caption is empty", "has 300 characters", "no such file"):
        assert sum(reason in sentence for sentence in failed) == 1


def test_folders_of_captions_are_searched(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("a cat\n")
    (tmp_path / "b.txt").write_text("a dog\nanother dog\n")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "d.txt").write_text("\n\n")
    (tmp_path / "photo.png").touch()
    found, skipped = Text().find(str(tmp_path))
    assert [name for _, name in found] == [Path("b-0001"), Path("b-0002"), Path("deep/a.txt")]
    reasons = {path.name: why for path, why in skipped}
    assert reasons == {
        "c.txt": "not UTF-8 (byte 0 is 0xff); save the text as UTF-8",
        "d.txt": "contains no caption; write one per line",
        "photo.png": "not a caption (possible: .txt)",
    }


def test_the_same_sentence_twice_is_one_result_but_of_two_files_of_one_name_one_is_reported(tmp_path: Path) -> None:
    assert translate_files(["a dog", "a dog"], tmp_path / "out", model(), say=lambda line: None) == []
    assert len(list((tmp_path / "out").glob("*.png"))) == 1
    for folder, line in (("one", "a cat\na dog\n"), ("two", "a bird\na fish\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "captions.txt").write_text(line)
    both = [str(tmp_path / folder / "captions.txt") for folder in ("one", "two")]
    failed = translate_files(both, tmp_path / "out", model(), say=lambda line: None)
    assert len(failed) == 2
    assert all("becomes" in line and line.endswith("too: translate it into another folder") for line in failed)


def test_the_python_call_takes_a_sentence() -> None:
    assert model()("a dog").size == (8, 8)
    assert [picture.size for picture in model()(["a dog", "a cat"])] == [(8, 8)] * 2


# ---- pictures with captions

LINES = {"a.png#0": "a red dog", "a.png#1": "one dog", "b.png#0": "two cats", "c.png#0": "a bird", "c.png#2": "no"}


def laid_out(root: Path, lines: dict[str, str] | None = None, pictures: str = "abc", tar: bool = True) -> Path:
    """Create pictures, each of one grey level and twice as wide as high, and their captions; return the folder."""
    root.mkdir(parents=True)
    for part in ("train", "val"):
        text = "".join(f"{name}\t{caption}\n" for name, caption in (LINES if lines is None else lines).items())
        (root / f"captions_{part}.txt").write_text(text)
        for number, name in enumerate(pictures):
            buffer = io.BytesIO()
            Pil.new("RGB", (80, 40), (50 * number, 50 * number, 100 + (part == "val"))).save(buffer, "png")
            if tar:
                with tarfile.open(root / f"{part}.tar", "a") as archive:
                    member = tarfile.TarInfo(f"Images/{name}.png")
                    member.size = buffer.tell()
                    archive.addfile(member, io.BytesIO(buffer.getvalue()))
            else:
                (root / part).mkdir(exist_ok=True)
                (root / part / f"{name}.png").write_bytes(buffer.getvalue())
    return root


@pytest.mark.parametrize("tar", [True, False], ids=["tar", "folder"])
def test_pictures_come_with_their_captions(tar: bool, tmp_path: Path) -> None:
    data = Captions(str(laid_out(tmp_path / "set", tar=tar)), size=16, batch_size=2)
    check_data(data)
    assert len(data) == 3
    said: dict[int, set[str]] = {n: set() for n in range(3)}
    for seed in range(40):
        for n in range(3):
            sample = data.sample(n, np.random.default_rng(seed))
            assert sample["image"].shape == (3, 16, 16)
            assert sample["text"].shape == (LENGTH,)
            assert sample["image"][0].add(1).mul(127.5).round().eq(50 * n).all()
            said[n].add(to_text(sample["text"]))
    assert said == {0: {"a red dog", "one dog"}, 1: {"two cats"}, 2: {"a bird", "no"}}
    assert [to_text(sample["text"]) for sample in data.validation()] == ["a red dog", "two cats", "a bird"]


def test_training_pictures_are_mirrored_and_validation_pictures_are_not(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", tar=False)
    for part in ("train", "val"):
        Pil.fromarray(np.arange(64, dtype=np.uint8)[None].repeat(64, 0)).save(root / part / "a.png")
    data = Captions(str(root), size=64)
    first = {float(data.sample(0, np.random.default_rng(n))["image"][0, 0, 0]) for n in range(20)}
    assert first == {-1.0, 63 / np.float32(127.5) - 1}
    assert data.validation()[0]["image"][0, 0, 0] == -1
    fixed = Captions(str(root), size=64, flip=False)
    assert {float(fixed.sample(0, np.random.default_rng(n))["image"][0, 0, 0]) for n in range(20)} == {-1.0}


def test_crops_are_parts_of_training_pictures_and_validation_pictures_are_whole(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", tar=False)
    slope = np.arange(80, dtype=np.uint8)[None].repeat(80, 0)  # from 0 at the left to 79
    for part in ("train", "val"):
        Pil.fromarray(slope).save(root / part / "a.png")
    data = Captions(str(root), size=64, flip=False, crop=0.8)
    check_data(data)
    rows = [data.sample(0, np.random.default_rng(n))["image"][0, 0].add(1).mul(127.5) for n in range(200)]
    sides = torch.stack([(row[-1] - row[0]) * 64 / 63 for row in rows])  # in pixels of the original
    assert 63 <= sides.min() < 66 < 76 < sides.max() <= 81
    left = torch.stack([row[0] for row in rows])
    assert left.min() < 2
    assert left.max() > 12
    assert (left + sides).max() <= 81
    assert data.validation()[0]["image"][0, 0, 0] < 1 / 127.5 - 1
    assert data.train.pixels.shape == (3, 64, 64, 3)


def test_what_lacks_a_partner_is_skipped_up_to_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = str(laid_out(tmp_path / "set", LINES | {"missing.png#0": "a ghost"}, pictures="abcd"))
    with pytest.raises(DataError, match=r"captions_train.txt': pictures without captions: 1 of 4.*d.png; add"):
        Captions(root, size=8)
    with pytest.raises(DataError, match=r"captions without pictures: 1 of 4.*missing.png"):
        Captions(str(laid_out(tmp_path / "other", LINES | {"missing.png#0": "a ghost"})), size=8)
    with caplog.at_level(logging.WARNING, "i2i"):
        assert len(Captions(root, size=8, bad_limit=0.3)) == 3
    assert "captions without pictures skipped: 1 (missing.png)" in caplog.text
    assert "pictures without captions skipped: 1 (d.png)" in caplog.text


def test_unreadable_pictures_are_skipped_up_to_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = laid_out(tmp_path / "set", tar=False)
    whole = (root / "train" / "b.png").read_bytes()
    (root / "train" / "b.png").write_bytes(whole[:60])
    with pytest.raises(DataError, match="unreadable pictures: 1 of 3"):
        Captions(str(root), size=8)
    with caplog.at_level(logging.WARNING, "i2i"):
        assert len(Captions(str(root), size=8, bad_limit=0.5)) == 2
    assert "b.png" in caplog.text
    assert "captions without pictures" not in caplog.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.png a dog", "line 2: 'a.png a dog' is not <file>#<number><tab><caption>"),
        ("a.png#1\t", "line 2: the caption is empty"),
        ("a.png#1\t" + "x" * 250, "line 2: the caption 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'... has 250 characters"),
    ],
)
def test_lines_out_of_format_are_named(line: str, reason: str, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set")
    (root / "captions_train.txt").write_text(f"a.png#0\ta dog\n{line}\nb.png#0\ta cat\n")
    with pytest.raises(DataError) as caught:
        Captions(str(root), size=8)
    assert f"captions_train.txt': {reason}" in str(caught.value)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"captions_train.txt': no such file; captions needs in its root train"):
        Captions(str(tmp_path), size=8)
    root = laid_out(tmp_path / "set")
    (root / "val.tar").unlink()
    with pytest.raises(DataError, match=r"neither val nor val\.tar found"):
        Captions(str(root), size=8)
    (root / "val.tar").write_bytes(b"no tar file" * 100)
    with pytest.raises(DataError, match="cannot be read as a tar file"):
        Captions(str(root), size=8)
    other = laid_out(tmp_path / "other", {"z.png#0": "a dog"})
    with pytest.raises(DataError, match="none of its 1 pictures is among the 3 of train"):
        Captions(str(other), size=8)


@pytest.mark.parametrize("tar", [True, False], ids=["tar", "folder"])
def test_data_check_recognises_the_layout(tar: bool, tmp_path: Path) -> None:
    report = check(laid_out(tmp_path / "set", tar=tar), data=[Captions])
    assert "looks like images with captions" in report.text()
    assert "`use: captions`" in report.text()
    assert report.ok


def test_data_check_reports_captions_without_pictures_and_no_captions(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", tar=False)
    first, *_ = sorted((root / "train").iterdir())
    first.unlink()
    (root / "captions_val.txt").write_text("")
    report = check(root, data=[Captions])
    assert not report.ok
    assert "captions without pictures: 1 of 3, more than the allowed share of 0.05" in report.text()
    assert "captions_val.txt': contains no captions" in report.text()


def test_data_check_reports_missing_splits_and_bad_lines(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", tar=False)
    (root / "train").rename(root / "elsewhere")
    (root / "captions_val.txt").write_text("a.png a dog\n")
    report = check(root, data=[Captions])
    assert "looks like images with captions" in report.kind
    assert "neither train nor train.tar found" in report.problems[0]
    assert "line 1: 'a.png a dog' is not" in report.problems[1]


@pytest.mark.skipif(DATA is None, reason="I2I_DATA is not set")
def test_flickr8k_is_read_whole() -> None:
    data = Captions(f"{DATA}/flickr8k", size=16)
    assert (len(data), len(data.held_out), len(data.train.codes)) == (1500, 300, 7500)
    assert to_text(data.validation()[0]["text"]).endswith(".")
