"""Two processes: a signal to one of them, and NaN in one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from i2i import checkpoint

from .tiny import digits

CONFIG = digits(steps=6, checkpoint_every=2, timeout=60)
NAN = """
import os
from i2i import hookimpl
from i2i_vae import VAE


class Odd(VAE):
    steps = 0

    def step(self, batch):
        Odd.steps += batch["image"].device.type == "cpu"  # not in the rehearsal
        for player, losses in super().step(batch):
            if Odd.steps == 4 and os.environ["RANK"] == "1":
                losses = {name: loss * float("nan") for name, loss in losses.items()}
            yield player, losses


@hookimpl
def register(catalog):
    catalog.task("odd", Odd)
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    return tmp_path / "tiny.yaml"


def command(config: Path, run: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "i2i", "run", str(config), "-o", str(run), "--nproc", "2", *more]


def steps(run: Path) -> list[int]:
    file = run / "log.jsonl"
    return [json.loads(line)["step"] for line in file.read_text().splitlines()] if file.exists() else []


def rank_of(pid: int, run: Path) -> int | None:
    """Return the rank of a process that trains in this folder."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    ranks = [int(part[5:]) for part in variables if part.startswith(b"RANK=")]
    return ranks[0] if ranks and str(run).encode() in words else None


@pytest.mark.timeout(240)
def test_I5_a_signal_to_one_rank_saves_once_for_all(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = command(config, run, "train.steps=100000", "train.checkpoint_every=100000")
    child = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(steps(run)) < 5:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (second,) = (pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if rank_of(pid, run) == 1)
    os.kill(second, signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 75, errors
    found = checkpoint.newest(run / "checkpoints", say=pytest.fail)
    assert found is not None
    assert found[1]["engine"]["step"] == steps(run)[-1]
    assert len(list((run / "checkpoints").iterdir())) == 1


@pytest.mark.timeout(180)
def test_I7_a_nan_on_one_rank_stops_all_at_the_same_step(config: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(NAN)
    run = tmp_path / "run"
    line = command(config, run, "task.use=odd", "--plugin", str(tmp_path / "odd.py"))
    done = subprocess.run(line, capture_output=True, text=True, timeout=150)
    assert done.returncode == 5, done.stderr
    assert "step 3" in done.stderr
    assert steps(run) == [1, 2, 3]
    found = checkpoint.newest(run / "checkpoints", say=pytest.fail)
    assert found is not None
    assert found[1]["engine"]["step"] == 2


@pytest.mark.parametrize("code", [0, 5])
def test_a_rank_ends_with_its_exit_code_while_threads_still_run(code: int) -> None:
    start = "import threading, time; threading.Thread(target=time.sleep, args=[600]).start(); "
    start += f"from i2i import __main__; __main__.main = lambda: exit({code}); __main__.run()"
    done = subprocess.run([sys.executable, "-c", start], env={**os.environ, "WORLD_SIZE": "2"}, timeout=60)
    assert done.returncode == code
