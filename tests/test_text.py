"""The modality `text`: sentences, files of captions, and everything that is not a caption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_text2image.text import LENGTH, Text, file_name_of, to_codes, to_text, words

from i2i import Task
from i2i.errors import ConfigError, DataError
from i2i.modalities import Image
from i2i.model import translate_files
from i2i.model.trained import Model
from i2i.plugins import registry
from i2i.testing import check_modality


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
        (7, "a int is not a caption"),
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
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == names


def test_sentences_are_translated_and_bad_ones_reported(tmp_path: Path) -> None:
    given = ["a dog", "", "x" * 300, str(tmp_path / "missing.txt")]
    failed = translate_files(given, tmp_path / "out", model(), say=lambda line: None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a-dog.png"]
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


def test_the_same_sentence_twice_is_one_result_but_two_files_of_one_name_are_an_error(tmp_path: Path) -> None:
    assert translate_files(["a dog", "a dog"], tmp_path / "out", model(), say=lambda line: None) == []
    assert len(list((tmp_path / "out").iterdir())) == 1
    for folder, line in (("one", "a cat\na dog\n"), ("two", "a bird\na fish\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "captions.txt").write_text(line)
    both = [str(tmp_path / folder / "captions.txt") for folder in ("one", "two")]
    with pytest.raises(ConfigError, match="would both become"):
        translate_files(both, tmp_path / "out", model(), say=lambda line: None)


def test_the_python_call_takes_a_sentence() -> None:
    assert model()("a dog").size == (8, 8)
    assert [picture.size for picture in model()(["a dog", "a cat"])] == [(8, 8)] * 2
