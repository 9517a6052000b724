"""Flip random bits in the folder of a finished run, and load what was hit: nothing damaged may be loaded silently.

    python benchmarks/flips.py --flips 10000 --json benchmarks/results/flips.json
    python benchmarks/flips.py --seconds 60
    python benchmarks/flips.py --flips 5000 --add --json benchmarks/results/flips.json   # more of them

Each flip hits a checkpoint, the weights, the config or the log of one of three small runs (tiny.py: gan, vae and
pix2pix), and is undone afterwards. What reads the file then is called as a command would:

    checkpoints/        `--resume`: the newest intact checkpoint is wanted, and one with a flipped bit is not
    log.jsonl           `--resume`: it is compared with what the newest checkpoint says of it
    model.safetensors   `i2i translate`, `i2i.load`
    config.yaml         `i2i evaluate`

Outcomes: "reported", an error of i2i's or a sentence on stderr; "harmless", what was loaded equals the original, as
with a changed comment; "silent", something else was loaded without a word; "crashed", any other exception.
metrics.json, report.html and the pictures are for people, no command loads them, so they are left out.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import io
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tally
import torch
from tiny import memory_folder, write

from i2i import I2IError, api, checkpoint, config
from i2i.plugins import registry
from i2i.runs import Run
from i2i.runs.resume import state_to_resume

OFTEN = 100  # flips between two records
KINDS = ("gan", "vae", "pix2pix")
SHARES = {"checkpoint": 0.4, "weights": 0.25, "config": 0.15, "log": 0.2}


@functools.cache
def given(folder: Path) -> config.Config:
    """Return the config that a resume is started with, which is not damaged."""
    return config.load(folder / "given.yaml", (), registry().catalog)


def resumed(run: Run) -> Any:
    """Return the state that a resume starts from."""
    return state_to_resume(run, given(run.folder), leads=True)


def weights(run: Run) -> Any:
    """Return what the weights file contains."""
    return checkpoint.load_model(run.weights_file)


def evaluated(run: Run) -> Any:
    """Return the numbers of an evaluation, and forget that it was made."""
    try:
        return api.evaluate(run.folder)
    finally:
        run.evaluations_file.unlink(missing_ok=True)


READERS: dict[str, Callable[[Run], Any]] = {
    "checkpoint": resumed,
    "log": resumed,
    "weights": weights,
    "config": evaluated,
}


class Target:
    """A finished run, its files by kind, and what each reader returns while nothing is damaged."""

    def __init__(self, kind: str, folder: Path) -> None:
        given = write(kind, folder)
        run = self.run = Run(folder / f"run_{kind}")
        with contextlib.redirect_stderr(io.StringIO()):
            api.run(given, "metrics=[{use: psnr}]" if kind == "pix2pix" else "metrics=[]", out=run.folder)
        (run.folder / "given.yaml").write_text(run.config_text())
        self.files = {
            "checkpoint": sorted(sorted(run.checkpoints.iterdir())[-1].iterdir()),
            "weights": [run.weights_file],
            "config": [run.config_file],
            "log": [run.log_file],
        }
        self.intact = {}
        for kind_of_file, read in READERS.items():
            value, said = heard(read, run)
            self.intact[kind_of_file] = value, said

    def flip(self, kind: str, dice: random.Random) -> tuple[str, str]:
        """Flip a bit of a file, read it, and restore it; return the outcome and what was hit."""
        file = dice.choice(self.files[kind])
        content = file.read_bytes()
        place, bit = dice.randrange(len(content)), dice.randrange(8)
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        hit = f"{file.relative_to(self.run.folder)} byte {place} bit {bit}"
        file.write_bytes(changed)
        try:
            value, said = heard(READERS[kind], self.run)
        except I2IError:
            return "reported", hit
        except Exception as error:
            return "crashed", f"{hit}: {type(error).__name__}: {error}"
        finally:
            file.write_bytes(content)
        expected, usual = self.intact[kind]
        if said != usual:
            return "reported", hit
        return ("harmless" if same(value, expected) else "silent"), hit


def heard(read: Callable[[Run], Any], run: Run) -> tuple[Any, str]:
    """Return what a reader returns, and what it says on stderr."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        value = read(run)
    return value, said.getvalue()


def same(one: Any, other: Any) -> bool:
    """Return whether two nested values are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


def campaign(folder: Path, flips: int, seconds: float, seed: str) -> Iterator[dict[str, Any]]:
    """Flip `flips` bits, or for `seconds`; yield the outcomes so far, by kind of file and in all, now and then."""
    dice = random.Random(seed)
    registry()
    targets = [Target(kind, folder) for kind in KINDS]
    outcomes: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in SHARES}
    found: list[str] = []
    began = time.monotonic()
    for number in range(flips):
        if time.monotonic() - began > seconds:
            break
        kind = dice.choices(list(SHARES), list(SHARES.values()))[0]
        outcome, hit = targets[number % len(targets)].flip(kind, dice)
        outcomes[kind][outcome] += 1
        if outcome in ("silent", "crashed"):
            found.append(f"{KINDS[number % len(KINDS)]}: {outcome}: {hit}")
            print(found[-1], file=sys.stderr)
        if number % OFTEN == OFTEN - 1:
            yield recorded(outcomes, found, began)
    yield recorded(outcomes, found, began)


def recorded(outcomes: dict[str, collections.Counter[str]], found: list[str], began: float) -> dict[str, Any]:
    """Return what is recorded."""
    total = sum(outcomes.values(), collections.Counter())
    return {
        "flips": total.total(),
        **{name: total[name] for name in ("reported", "harmless", "silent", "crashed")},
        "files": outcomes,
        "found": found[:20],
        "seconds": round(time.monotonic() - began),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=0)
    tally.arguments(parser)
    chosen = parser.parse_args()
    figures, result = tally.Tally(chosen), dict[str, Any]()
    seed = f"{chosen.seed} {figures.old.get('flips', 0)}"  # so that more flips are other flips
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        for result in campaign(Path(folder), chosen.flips, chosen.seconds, seed):
            figures.write(result)
    print(json.dumps(result, indent=1))
    raise SystemExit(1 if result["silent"] or result["crashed"] else 0)


if __name__ == "__main__":
    main()
