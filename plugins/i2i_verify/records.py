"""Records: the fewest CPU-minutes to a fixed bar, each a folder that can be trained again.

records/<task>/bar.json               what counts: {"score": ..., "at_least" or "at_most": ..., "data": ...}
records/<task>/<record>/config.yaml   what is trained
records/<task>/<record>/log.jsonl     the log of that training
records/<task>/<record>/record.json   score, CPU-minutes, commit, machine, date, command, note

A record is trained by `i2i run` in a process of its own, and its CPU time, user and system, of all threads and child
processes, from start to evaluation, is what counts. Whether it is still the fastest is for its reader to see: another
machine needs another time.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i import ConfigError, DataError, __version__, files

Say = Callable[[str], None]


@dataclass(frozen=True)
class Bar:
    """What a training has to reach to be a record.

    Attributes:
        score: name of the score in metrics.json.
        value: the bar.
        higher: whether more is better.
        data: the data set, in words.
    """

    score: str
    value: float
    higher: bool
    data: str

    @classmethod
    def read(cls, task: Path) -> Bar:
        """Return the bar of a task's folder.

        Raises:
            DataError: there is none, or it is not as the module describes.
        """
        known = read(task / "bar.json")
        value = known.get("at_least", known.get("at_most"))
        if not {"score", "data"} <= set(known) or not isinstance(value, int | float):
            raise DataError(f"{task / 'bar.json'}: needs score, data and either at_least or at_most, a number")
        return cls(known["score"], float(value), "at_least" in known, known["data"])

    def reached(self, score: float) -> bool:
        """Return whether a score reaches the bar."""
        return score >= self.value if self.higher else score <= self.value

    def verdict(self, score: float) -> str:
        """Return whether a score reaches the bar, in words."""
        return f"{'reached' if self.reached(score) else 'MISSED'} {self}"

    def __str__(self) -> str:
        return f"{self.score} {'>=' if self.higher else '<='} {self.value:g} on {self.data}"


@dataclass(frozen=True)
class Trained:
    """One training: its score, its CPU-minutes, and its log."""

    score: float
    minutes: float
    log: bytes


def check(folder: Path, root: str | None, say: Say) -> bool:
    """Train records again and report; return whether all of them reach their bars.

    Args:
        folder: a record, a task's folder, or the folder of all tasks.
        root: the folder of the data set, or None if the data is embedded.
        say: called with each line of the report.

    Raises:
        ConfigError: there is no record.
    """
    found = sorted(path.parent for path in folder.rglob("record.json")) if folder.is_dir() else []
    if not found:
        raise ConfigError(f"{folder}: no record here; a record is a folder records/<task>/<name> with a record.json")
    good = True
    for place in found:
        bar, kept = Bar.read(place.parent), read(place / "record.json")
        made = train(place / "config.yaml", bar, root)
        say(
            f"{place}: {made.score:.2f} in {made.minutes:.2f} CPU-minutes: {bar.verdict(made.score)}\n"
            f"  recorded: {kept['score']:.2f} in {kept['cpu_minutes']:.2f} on {kept['machine']}"
        )
        good &= bar.reached(made.score)
    return good


def new(folder: Path, config: str | None, root: str | None, note: str, say: Say) -> bool:
    """Train a config and, if it reaches the bar, keep it as the record in `folder`; return whether it does.

    Args:
        folder: records/<task>/<name>, which must not exist; records/<task>/bar.json must.
        config: the config file.
        root: the folder of the data set, or None if the data is embedded.
        note: one sentence about what makes it fast.
        say: called with the result.

    Raises:
        ConfigError: no config is given, or the folder exists.
    """
    if config is None or not Path(config).is_file():
        raise ConfigError(f"--config {config}: no such file; give the config that the record trains")
    if folder.exists():
        raise ConfigError(f"{folder} already exists: give the record another name")
    bar = Bar.read(folder.parent)
    made = train(Path(config), bar, root)
    say(f"{made.score:.2f} in {made.minutes:.2f} CPU-minutes: {bar.verdict(made.score)}")
    if not bar.reached(made.score):
        return False
    about = {
        "score": round(made.score, 4),
        "cpu_minutes": round(made.minutes, 3),
        "bar": str(bar),
        "note": note,
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "version": __version__,
        "machine": machine(),
        "command": f"i2i record check {folder.as_posix()}" + (" --root PATH" if root else ""),
    }
    files.make_folder(folder)
    files.write(folder / "config.yaml", Path(config).read_bytes())
    files.write(folder / "log.jsonl", made.log)
    files.write(folder / "record.json", (json.dumps(about, indent=1) + "\n").encode())
    say(f"{folder}: written")
    return True


def train(config: Path, bar: Bar, root: str | None) -> Trained:
    """Train a config in a process of its own, and return its score and cost.

    Raises:
        ConfigError: the training failed, or has no such score.
    """
    with tempfile.TemporaryDirectory(prefix="i2i-record-") as place:
        home = Path(place) / "run"
        command = [sys.executable, "-m", "i2i", "run", str(config), "-o", str(home)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*command, *([f"data.root={root}"] if root else [])], stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise ConfigError(f"{config}: the training ended with exit code {done.returncode}, see above")
        scores = json.loads((home / "metrics.json").read_text())
        if bar.score not in scores:
            raise ConfigError(f"{config}: no score {bar.score}, only {', '.join(sorted(scores))}")
        seconds = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
        return Trained(float(scores[bar.score]), seconds / 60, (home / "log.jsonl").read_bytes())


def read(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file.

    Raises:
        DataError: it cannot be read, or is not one.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: is not a JSON object")
    return found


def commit() -> str:
    """Return the commit of the checkout, with "+" if files differ from it; "unknown" outside of one."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "HEAD").strip()[:12] + ("+" if git("status", "-s", "-uno").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> str:
    """Return the processor, the threads that torch may use, and the versions that decide speed."""
    import torch

    names = [line.partition(":")[2].strip() for line in processor() if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    threads = os.environ.get("OMP_NUM_THREADS", str(torch.get_num_threads()))
    return f"{name}, threads: {threads}, torch {torch.__version__}, Python {platform.python_version()}"


def processor() -> list[str]:
    """Return the lines of /proc/cpuinfo, where it exists."""
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
