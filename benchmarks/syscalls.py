"""Let the n-th system call of a short run fail, for every n: nothing may be lost, and a resume must be exact.

    python benchmarks/syscalls.py --json benchmarks/results/syscalls.json        # all places, three errors
    python benchmarks/syscalls.py --every 5 --errors ENOSPC
    python benchmarks/syscalls.py --add --json benchmarks/results/syscalls.json  # go on where that was stopped

The run trains pix2pix on folders of pictures, with loaders off, so that everything happens in one process. Counted
are the calls with which i2i writes (open, write, fsync, rename, mkdir, ...; all go through `i2i.files.calls.system`)
and every file that Python opens below the folder of the run or of the pictures, seen by an audit hook. One of them
fails, with ENOSPC, EIO or EMFILE, in a process of its own, forked from one that has trained once. It leaves out the
rehearsals before the first step, which write nothing.

What must hold, for each: the process ends by itself, with success (a read that is tried again, a cache that is not
needed) or with an error of i2i's; then `--resume` without a fault finishes, and the weights, the log, the metrics and
the newest checkpoint equal those of a run without a fault, bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import io
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tally
from PIL import Image
from tiny import CONFIGS, memory_folder

from i2i import I2IError, api, loop
from i2i.files import calls
from i2i.plugins import registry

LONGEST = 120  # seconds for a run that takes two
ERRORS = ("ENOSPC", "EIO", "EMFILE")


class Faults:
    """Counts calls, and lets number `n` fail; 0 for none."""

    def __init__(self, n: int, code: int, roots: tuple[str, ...]) -> None:
        self.n, self.code, self.roots = n, code, roots
        self.count, self.inside = 0, False
        self.failed = ""

    def at(self, name: str) -> None:
        """Count a call, and raise if it is the one that fails."""
        self.count += 1
        if self.count == self.n:
            self.failed = name
            raise OSError(self.code, os.strerror(self.code))

    def system(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Stand in for `calls.system`."""
        self.at(call.__name__)
        self.inside = True  # its own open is not counted a second time
        try:
            return call(*arguments)
        finally:
            self.inside = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Be called by Python before each event."""
        if event != "open" or self.inside or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(arguments[0])
        if path.startswith(self.roots):
            self.at(f"open {os.path.basename(path)}")


def folder_of_pictures(root: Path) -> None:
    """Write two pictures for each part."""
    noise = np.random.default_rng(0)
    for part in ("trainA", "trainB", "testA", "testB"):
        (root / part).mkdir(parents=True)
        for name in "ab":
            Image.fromarray(noise.integers(0, 256, (40, 40, 3), np.uint8)).save(root / part / f"{name}.png")


def train(folder: Path, n: int = 0, error: str = "EIO") -> tuple[str, int, str]:
    """Train in a child, in which call `n` fails; return the outcome, the number of calls, and which one failed."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        faults = Faults(n, getattr(errno, error), (str(folder / "run"), str(folder / "pictures")))
        calls.system = faults.system  # type: ignore[assignment]
        sys.addaudithook(faults.hook)
        loop.refuse_unfit_data = loop.check_answers = lambda *_: None  # type: ignore[assignment]
        try:
            api.run(folder / "c.yaml", out=folder / "run", resume=True)
            outcome = "done"
        except I2IError as problem:
            outcome = type(problem).__name__
        except BaseException as problem:
            outcome = f"found: {type(problem).__name__}: {problem}"[:300]
        faults.n = 0
        report.write_text(json.dumps([outcome, faults.count, faults.failed]))
        os._exit(0)
    deadline = time.monotonic() + LONGEST
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "found: hangs", n, ""
        time.sleep(0.005)
    if not report.exists():
        return "found: died", n, ""
    outcome, count, failed = json.loads(report.read_text())
    return outcome, count, failed


def fingerprint(run: Path) -> dict[str, str]:
    """Hash the newest checkpoint, the weights, the log and the metrics of a run."""
    last = sorted((run / "checkpoints").glob("step_*"))[-1]
    found = [*last.iterdir(), run / "model.safetensors", run / "log.jsonl", run / "metrics.json"]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def fresh(folder: Path) -> None:
    """Forget the run, and the cache of decoded pictures, so that it is written again."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    for cache in folder.rglob(".i2i-cache"):
        shutil.rmtree(cache)


def without_findings(old: dict[str, Any]) -> dict[str, Any]:
    """Forget the faults that broke something, so that they are tried again."""
    for finding in old.get("found", []):
        old["tried"][finding["error"]].remove(finding["call"])
        old["faults"] -= 1
        old["outcomes"][finding["outcome"].split(":")[0]] -= 1
    return {**old, "found": []} if old else old


def campaign(
    folder: Path, every: int, errors: list[str], seconds: float, old: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Let every `every`-th call fail with each of the errors; yield what happened so far, after each."""
    registry()
    folder_of_pictures(folder / "pictures")
    data = f"data: {{use: paired_folders, root: {folder / 'pictures'}, size: 32, load_size: 36, workers: 0}}"
    lines = ["train: {steps: 2, ema: 0.9, log_every: 1, sample_every: 2, checkpoint_every: 1, keep: 1, threads: 1}"]
    kept = [line for line in CONFIGS["pix2pix"].splitlines() if not line.startswith(("data:", "train:"))]
    (folder / "c.yaml").write_text("\n".join([*kept, data, *lines]))
    with contextlib.redirect_stderr(io.StringIO()):
        api.run(folder / "c.yaml", out=folder / "warm")  # imports all that a training imports, once for all children
    fresh(folder)
    outcome, total, _ = train(folder)
    assert outcome == "done", outcome
    if old and old["calls"] != total:
        raise SystemExit(f"the run now makes {total} calls, not the {old['calls']} of the recorded one: start over")
    expected = fingerprint(folder / "run")
    began, outcomes, found = time.monotonic(), Counter[str](), list[dict[str, Any]]()
    faults = [(n, error) for n in range(1, total + 1, every) for error in errors]
    faults = [(n, error) for n, error in faults if n not in old.get("tried", {}).get(error, [])]
    random.Random(0).shuffle(faults)  # so that a campaign that ends early has been everywhere
    tried: dict[str, list[int]] = {error: [] for error in errors}
    for n, error in faults:
        if time.monotonic() - began > seconds:
            break
        tried[error].append(n)
        fresh(folder)
        outcome, _, failed = train(folder, n, error)
        outcomes[outcome.split(":")[0]] += 1
        trouble = outcome if outcome.startswith("found") else ""
        again, _, _ = train(folder)
        if again != "done":
            trouble += f"; a resume ends with {again}"
        elif fingerprint(folder / "run") != expected:
            trouble += "; a resume gives another result"
        if trouble:
            found.append({"error": error, "call": n, "of": failed, "outcome": outcome, "trouble": trouble})
            print(found[-1], file=sys.stderr)
        yield {
            "calls": total,
            "faults": outcomes.total(),
            "errors": errors,
            "outcomes": outcomes,
            "found": found,
            "seconds": round(time.monotonic() - began),
            "tried": tried,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="let only each n-th call fail")
    parser.add_argument("--errors", default=",".join(ERRORS))
    parser.add_argument("--seconds", type=float, default=math.inf)
    tally.arguments(parser)
    chosen = parser.parse_args()
    figures, result = tally.Tally(chosen), dict[str, Any]()
    figures.old = without_findings(figures.old)
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        for result in campaign(Path(folder), chosen.every, chosen.errors.split(","), chosen.seconds, figures.old):
            figures.write(result)
    result.pop("tried", None)
    print(json.dumps(result, indent=1))
    raise SystemExit(1 if result.get("found") else 0)


if __name__ == "__main__":
    main()
