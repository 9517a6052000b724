"""Files and folders that the user may not read: one sentence about what was named, and the rest goes on."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import i2i
from i2i import config
from i2i.catalog import Catalog
from i2i.errors import ConfigError, DataError, ResourceError, WeightsError
from i2i.model.loading import located
from i2i.runs import Run, cards, overviews
from i2i.runs.starting import weights_at


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that everyone may read, with a folder "closed" that only root may enter."""
    folder = Path(tempfile.mkdtemp())  # those of pytest are closed themselves
    (folder / "closed").mkdir()
    folder.chmod(0o777)
    (folder / "closed").chmod(0)
    yield folder
    (folder / "closed").chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user who may not read everything, as root may."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def finished(folder: Path) -> Run:
    """Write what makes a folder a finished run for those who look for one."""
    run = Run(folder)
    folder.mkdir(parents=True)
    run.config_file.write_text("task: {use: gan}\ntrain: {steps: 1}\n")
    run.log_file.write_text('{"step": 1}\n')
    run.metrics_file.write_text('{"step": 1, "kid": 0.5}')
    return run


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_in_or_below_a_closed_folder_is_one_sentence(folder: Path, resume: bool) -> None:
    (folder / "unlisted").mkdir()
    (folder / "unlisted").chmod(0o333)
    for name in ("closed", "closed/run", "unlisted"):
        with nobody(), pytest.raises(ResourceError, match=rf"cannot write \S*{name}: Permission denied; \S.*-o"):
            Run(folder / name).claim(resume=resume, force=False)


def test_the_list_names_what_is_closed_and_has_the_rest(folder: Path) -> None:
    (folder / "group").mkdir()
    (folder / "group" / "link").symlink_to(folder / "closed" / "inside")
    finished(folder / "group" / "run")
    overviews(folder / "group")  # imports what it needs
    with nobody():
        found, bad = overviews(folder)
        with pytest.raises(
            DataError, match="closed/runs: cannot be read, Permission denied: give a folder with runs"
        ):
            overviews(folder / "closed" / "runs")
    assert bad == [(str(folder / "closed"), "Permission denied")]
    assert [one.folder for one in found] == [str(folder / "group" / "run")]


def test_the_newest_run_is_one_that_can_be_read(folder: Path) -> None:
    run = finished(folder / "group" / "run")
    finished(folder / "newer").folder.chmod(0)
    (folder / "group" / "link").symlink_to(folder / "closed" / "inside")
    before = [card.name for card in cards(os.devnull)]  # imports what it needs
    with nobody():
        newest = Run.newest(folder)
        assert [card.name for card in cards(folder)] == before  # without weights, the run is reported
    assert newest is not None
    assert newest.folder == run.folder


@pytest.mark.parametrize("name", ["closed/x", "closed/x.yaml"])
def test_a_config_that_cannot_be_read_is_one_sentence(folder: Path, name: str) -> None:
    with nobody(), pytest.raises(ConfigError, match=f"{name}: cannot be read, Permission denied"):
        config.load(str(folder / name), [], Catalog())


@pytest.mark.parametrize("name", ["closed", "closed/x", "closed/x.safetensors"])
def test_a_model_that_cannot_be_read_is_one_sentence(folder: Path, name: str) -> None:
    located("upscale-x2")  # imports what it needs
    with nobody(), pytest.raises(WeightsError, match=f"{name}: cannot be read, Permission denied; give a run"):
        i2i.load(folder / name, device="cpu")


def test_a_model_is_known_by_its_name_also_in_a_closed_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = located("upscale-x2")
    (folder / "closed").chmod(0o700)
    monkeypatch.chdir(folder / "closed")
    (folder / "closed").chmod(0)
    with nobody():
        assert located("upscale-x2") == known
        assert Run.newest() is None


def test_a_run_to_evaluate_that_cannot_be_read_is_one_sentence(folder: Path) -> None:
    with nobody(), pytest.raises(ConfigError, match=r"closed.*cannot be read, Permission denied"):
        i2i.evaluate(folder / "closed" / "x")


@pytest.mark.parametrize("name", ["closed", "closed/x"])
def test_weights_to_start_from_that_cannot_be_read_are_one_sentence(folder: Path, name: str) -> None:
    located("upscale-x2")
    with nobody(), pytest.raises(WeightsError, match=f"{name} cannot be read, Permission denied"):
        weights_at(str(folder / name), leads=False)
