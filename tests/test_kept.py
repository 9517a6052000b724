"""A large picture whose translation was stopped goes on from the rows that are finished."""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_rows import pixels
from torch import Tensor, nn

import i2i
from i2i import Task, files
from i2i.errors import WeightsError
from i2i.files import scratch as scratch_module
from i2i.images import Output, kept, shown, write
from i2i.modalities import Image as ImageModality
from i2i.model import moving, translate_files
from i2i.model.workers import Terminated


class Sharp(Task):
    """A local network; with `norm`, one that sees the whole picture. It stops at the call `stop`."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Conv2d(3, 3, 3, 1, 1)
        self.takes = self.makes = ImageModality(reach=None if norm else 1)
        self.norm, self.calls, self.stop = norm, 0, 10**6

    def translate(self, image: Tensor) -> Tensor:
        made = self.net(image)
        return nn.functional.instance_norm(made).tanh() if self.norm else made.tanh()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a picture of which every row is kept at once."""
    monkeypatch.setattr(kept, "LARGE", 0)
    monkeypatch.setattr(kept, "SAVED", 0)
    Image.fromarray(pixels(3, np.uint8, 100, 70)).save(tmp_path / "a.png")
    return tmp_path


def stopped(home: Path, norm: bool, rows: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Translate a picture up to a row, and return the folder of the rows."""
    done = kept.Kept.done

    def until(keep: kept.Kept, at: int, height: int) -> None:
        done(keep, at, height)
        if at >= rows:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kept.Kept, "done", until)
        with pytest.raises(KeyboardInterrupt):
            translated(home, "out", norm)
    assert not (home / "out" / "a.png").exists()
    return home / "out" / ".i2i-a.png.rows"


def translated(home: Path, out: str, norm: bool) -> list[str]:
    """Translate the picture, and return the progress messages."""
    said: list[str] = []
    model = i2i.Model(Sharp(norm), {}, Path("here"), "exact")
    output = Output(tile=16)
    assert translate_files([str(home / "a.png")], home / out, model, output=output, note=said.append) == []
    return said


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("rows", [1, 50, 100])
def test_a_stopped_picture_goes_on_from_its_rows(
    norm: bool, rows: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "SELDOM", 0)
    folder = stopped(home, norm, rows, monkeypatch)
    found = json.loads((folder / "rows.json").read_text())["rows"]
    assert rows <= found <= rows + 60
    said = translated(home, "out", norm)
    assert [line for line in said if "continuing" in line] == [
        f"[1/1] {shown(home / 'a.png')}: continuing at row {found}/100"
    ]
    counted = [line for line in said if ": row " in line]
    assert len(counted) < 7
    assert all(int(line.split(": row ")[1].split("/")[0]) > found for line in counted)
    assert any("ETA" in line for line in counted) or rows == 100
    translated(home, "whole", norm)
    first, second = (np.asarray(Image.open(home / out / "a.png")) for out in ("out", "whole"))
    assert np.array_equal(first, second)
    assert not folder.exists()


@pytest.mark.parametrize("what", ["input", "model", "torn"])
def test_rows_of_something_else_are_not_used(what: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(home, False, 40, monkeypatch)
    if what == "input":
        Image.fromarray(255 - pixels(3, np.uint8, 100, 70)).save(home / "a.png")
    if what == "torn":
        (folder / "rows.json").write_text('{"key": ')
    (folder / "rows.raw").write_bytes(bytes((folder / "rows.raw").stat().st_size))
    translated(home, "out", norm := what == "model")
    translated(home, "whole", norm)
    first, second = (np.asarray(Image.open(home / out / "a.png")) for out in ("out", "whole"))
    assert np.array_equal(first, second)


def test_a_picture_stopped_while_it_is_written_is_not_translated_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Terminated

    with monkeypatch.context() as patch:
        patch.setattr(write, "write_rows", stop)
        patch.setattr(write, "LARGE", 0)
        with pytest.raises(SystemExit):
            translated(home, "out", False)
    monkeypatch.setattr(nn.Conv2d, "forward", stop)
    translated(home, "out", False)
    assert Image.open(home / "out" / "a.png").size == (70, 100)


def test_rows_of_a_picture_that_fails_are_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(home, False, 40, monkeypatch)
    (home / "a.png").write_bytes((home / "a.png").read_bytes()[:2000])
    model = i2i.Model(Sharp(False), {}, Path("here"))
    failed = translate_files([str(home / "a.png")], home / "out", model, output=Output(tile=16), note=print)
    assert len(failed) == 1
    assert not folder.exists()


@pytest.mark.parametrize("used", [False, True])
def test_rows_of_another_format_are_removed_unless_another_process_uses_them(
    used: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(home, False, 40, monkeypatch)
    other = home / "out" / ".i2i-b.png.rows"  # of another input
    shutil.copytree(folder, other)
    (other / "rows.json").write_text((folder / "rows.json").read_text().replace("a.png", "b.png"))
    model = i2i.Model(Sharp(False), {}, Path("here"), "exact")
    output = Output(tile=16, format="bmp")
    with files.lock(folder) if used else nullcontext():
        assert translate_files([str(home / "a.png")], home / "out", model, output=output, note=print) == []
    assert (home / "out" / "a.bmp").exists()
    assert folder.exists() == used
    assert (other / "rows.raw").exists()


def test_two_processes_do_not_write_the_same_rows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(home, False, 40, monkeypatch)
    with files.lock(folder), pytest.raises(WeightsError, match="is in use by process"):
        translated(home, "out", False)
    assert folder.exists()


def test_a_small_result_is_not_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LARGE", 1e9)
    assert not stopped(home, False, 40, monkeypatch).exists()


def test_of_a_picture_without_room_nothing_is_left_and_the_others_go_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    Image.fromarray(pixels(3, np.uint8, 30, 20)).save(home / "b.png")
    monkeypatch.setattr(kept, "LARGE", 3 * 50 * 50)
    monkeypatch.setattr(scratch_module.os, "posix_fallocate", full)
    model = i2i.Model(Sharp(norm=False), {}, Path("here"))
    (why,) = translate_files([str(home)], home / "out", model, output=Output(tile=32))
    assert "No space left on device; free some space" in why
    assert (home / "out" / "b.png").exists()
    assert not (home / "out" / ".i2i-a.png.rows").exists()
