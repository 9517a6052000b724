"""What surrounds a training and must not matter, or must be reported: clock, locale, slow data, many steps."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i import Data, api, loop
from i2i.data.stream import Numbered
from i2i.engine import seed_everything
from i2i.runs import Progress, Run

CONFIG = """
task:
  use: vae
  encoder: {use: dense_encoder, widths: [4]}
  decoder: {use: dense_decoder, widths: [4]}
  latent: 2
  size: 28
data: {use: digits, size: 28, batch_size: 4, samples: 20, validation_samples: 4}
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 8, ema: 0.9, log_every: 2, sample_every: 4, checkpoint_every: 4, threads: 1}
"""
OTHERWISE = """
import random, sys, time
time.time = lambda: 1e9  # the year 2001
from i2i import api
api.run(sys.argv[1], out=sys.argv[2])
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    return tmp_path / "tiny.yaml"


def test_F12_clock_zone_locale_and_hash_seed_change_nothing(config: Path, tmp_path: Path) -> None:
    api.run(config, out=tmp_path / "here")
    other = {"TZ": "Asia/Kathmandu", "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "77"}
    line = [sys.executable, "-c", OTHERWISE, str(config), str(tmp_path / "there")]
    done = subprocess.run(line, env={**os.environ, **other}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    names = ["model.safetensors", "log.jsonl", "metrics.json", "checkpoints/step_00000008/state.safetensors"]
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name


def test_F14_random_numbers_depend_on_seed_step_and_rank_alone() -> None:
    def drawn(*place: int) -> tuple[float, float, float]:
        seed_everything(*place)
        return torch.rand(()).item(), float(np.random.random()), random.random()

    places = [(seed, step, rank) for seed in (0, 1) for step in (0, 1, 2) for rank in (0, 1)]
    first = [drawn(*place) for place in places]
    for numbers in zip(*first, strict=True):
        assert len(set(numbers)) == len(places)
    assert [drawn(*place) for place in reversed(places)] == first[::-1]


class Numbers(Data):
    """A data set of ten numbers."""

    def __len__(self) -> int:
        return 10

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"i": index}


def test_F14_the_order_of_samples_depends_on_seed_and_epoch() -> None:
    places = [(seed, 10 * epoch) for seed in (0, 1) for epoch in (0, 1)]
    orders = [Numbered(Numbers(), seed).indices(range(first, first + 10)) for seed, first in places]
    assert all(sorted(order) == [*range(10)] for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)


def memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_F17_memory_and_files_stay_flat_over_a_hundred_steps(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(
        Progress, "show", lambda self, step, losses: seen.update({step: (memory(), len(os.listdir("/proc/self/fd")))})
    )
    api.run(config, "train.steps=120", "train.log_every=10", "train.sample_every=20", out=tmp_path / "run")
    (before, open_before), (after, open_after) = seen[60], seen[120]
    assert after < 1.02 * before
    assert open_after == open_before


def slowed(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let each batch take so much longer to arrive."""
    usual = loop.stream

    def slow(*arguments: Any) -> Iterator[Any]:
        for batch in usual(*arguments):
            time.sleep(seconds)
            yield batch

    monkeypatch.setattr(loop, "stream", slow)


def test_F18_the_share_of_waiting_for_data_is_shown_and_written(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slowed(monkeypatch, 0.5)
    run = Run(api.run(config, out=tmp_path / "run"))
    assert "  waiting for data " in capfd.readouterr().err
    lines = run.timing()
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert 4 <= sum(line["seconds"] * line["waiting"] for line in lines) < sum(line["seconds"] for line in lines)
    assert "of the time was spent waiting for data" in run.report_file.read_text()
    monkeypatch.undo()
    api.run(config, "train.steps=10", out=run.folder, resume=True)
    assert [line["step"] for line in run.timing()] == [2, 4, 6, 8, 10]


def test_F18_a_training_that_hardly_waits_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(0, 10)
    for batch in progress.timed(range(3)):
        time.sleep(0.02)
        progress.show(batch + 1, {"G/l1": 0.5})
        assert progress.waiting < 0.2
        assert progress.seconds >= 0.02
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 3
    assert not any("waiting" in line for line in shown)
