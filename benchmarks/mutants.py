"""Plant bugs in the engine, one at a time, and run the tests that should notice: a test suite is as good as this.

    python benchmarks/mutants.py --json benchmarks/results/mutants.json
    python benchmarks/mutants.py --only "no fsync,no clipping"

Each bug is one replacement in a temporary copy of the sources, which the tests then import in place of the real ones.
It is caught if a test fails; a bug whose text is no longer found in the source is an error, so that the list follows
the code. `--unchanged` first checks that the same tests pass without a bug. Each run is a fork of this process, which
has imported PyTorch and other libraries, but nothing of i2i.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).parent.parent
LIBRARIES = (
    "torch",
    "numpy",
    "PIL.Image",
    "pydantic",
    "pluggy",
    "safetensors.torch",
    "typer",
    "ruamel.yaml",
    "kornia",
)
COPIED = ("i2i", "plugins", "configs", "tests", "docs", "benchmarks", "setup.cfg", "pyproject.toml", "ruff.toml")


class Mutant(NamedTuple):
    """A bug: what is replaced in which file, and the tests that should fail, as arguments of pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


FILES, CHECKPOINT = "tests/test_files.py", "tests/test_checkpoint.py"
ENGINE, RUN, TILE = "tests/test_engine.py", "tests/test_run.py", "tests/test_tile.py"
MUTANTS = [
    Mutant(
        "no fsync", "i2i/files/whole.py", "        calls.system(os.fsync, out.fileno())\n", "", (FILES, "-k", "power")
    ),
    Mutant(
        "saves in place",
        "i2i/files/whole.py",
        "        temporary = _temporary_for(path)\n        try:\n            yield temporary\n"
        "            calls.system(os.replace, temporary, path)",
        "        temporary = path\n        try:\n            yield temporary",
        (FILES, "-k", "leaves or any_call_of_a_write"),
    ),
    Mutant(
        "checkpoints are not verified",
        "i2i/checkpoint/manifest.py",
        "        intact = content == sealed(manifest)\n",
        "        intact = True\n",
        (CHECKPOINT, "-k", "manifest"),
    ),
    Mutant(
        "weights are not verified",
        "i2i/checkpoint/weights.py",
        "memoryview(content)[end:]]) != digest:",
        "memoryview(content)[end:]]) == 0:",
        (CHECKPOINT, "-k", "flipped"),
    ),
    Mutant(
        "missing tensors are ignored",
        "i2i/checkpoint/weights.py",
        "    if (listed and not partial) or not matching:",
        "    if not matching:",
        ("tests/faults/test_weights.py", "-k", "D9"),
    ),
    Mutant(
        "optimizers are not restored",
        "i2i/engine.py",
        '            load_state(optimizer, state["optimizers"][name])',
        "            pass",
        ("tests/faults/test_weights.py", "-k", "D13"),
    ),
    Mutant(
        "averages are not restored",
        "i2i/engine.py",
        '            average.load_state_dict(state["averages"][name])',
        "            pass",
        ("tests/faults/test_weights.py", "-k", "D13"),
    ),
    Mutant(
        "random numbers do not follow the step",
        "i2i/engine.py",
        "np.random.SeedSequence([seed, step, rank])",
        "np.random.SeedSequence([seed, rank])",
        ("tests/faults/test_training.py", "-k", "F14"),
    ),
    Mutant(
        "gradients are not reset",
        "i2i/engine.py",
        "                self.optimizers[player].zero_grad(set_to_none=True)\n",
        "                pass\n",
        (ENGINE, "-k", "loop_by_hand or accumulated"),
    ),
    Mutant(
        "no clipping",
        "i2i/engine.py",
        "        if self.train.clip is not None:",
        "        if self.train.clip == -1:",
        (ENGINE, "-k", "clipped"),
    ),
    Mutant(
        "NaN passes",
        "i2i/engine.py",
        "        if self.late or not hold:",
        "        if True:",
        (ENGINE, "-k", "F6 or F7"),
    ),
    Mutant(
        "micro-batches are summed, not averaged",
        "i2i/engine.py",
        "self.players[player], scale / len(turns))",
        "self.players[player], scale)",
        (ENGINE, "-k", "accumulated"),
    ),
    Mutant(
        "the average is published too late",
        "i2i/engine.py",
        "            setattr(self.task, name, average.module)",
        "            pass",
        (ENGINE, "-k", "average"),
    ),
    Mutant(
        "the learning rate ignores the schedule",
        "i2i/engine.py",
        '                group["lr"] = rate * self.factor(self.number)',
        '                group["lr"] = rate',
        (ENGINE, RUN, "-k", "loop_by_hand or schedule or F14 or rate"),
    ),
    Mutant(
        "the order of samples ignores the seed",
        "i2i/data/stream.py",
        "np.random.default_rng([self.seed, 1, epoch])",
        "np.random.default_rng([1, epoch])",
        ("tests/faults/test_training.py", "-k", "F14"),
    ),
    Mutant(
        "a failing tile is swallowed",
        "i2i/images/tile.py",
        "            out = network(piece)[\n",
        "            try:\n                found = network(piece)\n"
        "            except Exception:\n                found = piece.repeat(1, 1, scale, scale)\n"
        "            out = found[\n",
        (TILE, "-k", "G3"),
    ),
    Mutant(
        "tiles without overlap",
        "i2i/images/tile.py",
        "    overlap = -(-overlap // multiple) * multiple\n",
        "    overlap = 0\n",
        (TILE, "-k", "G1_tiled"),
    ),
    Mutant(
        "a hook may change the process",
        "i2i/runs/observers.py",
        "            write(before[what])\n",
        "",
        (RUN, "-k", "E8"),
    ),
]


def copy(folder: Path) -> None:
    """Copy the sources and the tests into a folder."""
    for name in COPIED:
        source = ROOT / name
        skipped = shutil.ignore_patterns("__pycache__", "*.safetensors.tmp", ".hypothesis")
        shutil.copytree(source, folder / name, ignore=skipped) if source.is_dir() else shutil.copy(source, folder)
    for name in ("README.md", "Makefile", "constraints.txt"):
        shutil.copy(ROOT / name, folder)


def failing(folder: Path, arguments: tuple[str, ...], seconds: float) -> tuple[str, float]:
    """Run tests on the sources in a folder; return the first that fails, or "", and the seconds that it took."""
    began, report = time.monotonic(), folder / "report.txt"
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.path[:0] = [str(folder), str(folder / "plugins")]
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # for tests that start processes
        sys.dont_write_bytecode = True
        code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--no-header", *arguments])
        sys.stdout.flush()
        os._exit(int(code))
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() - began > seconds:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise SystemExit(f"{' '.join(arguments)}: no answer within {seconds:g} s")
        time.sleep(0.05)
    taken, lines = time.monotonic() - began, report.read_text().splitlines()
    if ended[1] == 0:
        return "", taken
    named = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if not named:
        raise SystemExit(f"{' '.join(arguments)}: " + "\n".join(lines[-12:]))
    return named[0].split(" ")[1], taken


def planted(mutant: Mutant, folder: Path, seconds: float) -> tuple[str, float]:
    """Plant a bug, run its tests, and take it out again."""
    file = folder / mutant.file
    source = file.read_text()
    if source.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.name}: {mutant.file} has its text {source.count(mutant.old)} times: update it")
    try:
        file.write_text(source.replace(mutant.old, mutant.new))
        return failing(folder, mutant.tests, seconds)
    finally:
        file.write_text(source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="names of bugs, with commas in between")
    parser.add_argument("--unchanged", action="store_true", help="run the tests without a bug first")
    parser.add_argument("--seconds", type=float, default=900, help="for the tests of one bug")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    wanted = [mutant for mutant in MUTANTS if not chosen.only or mutant.name in chosen.only.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        for library in LIBRARIES:
            importlib.import_module(library)
        if chosen.unchanged:
            for tests in sorted({mutant.tests for mutant in wanted}):
                test, taken = failing(folder, tests, chosen.seconds)
                print(f"unchanged, {' '.join(tests)}: {test or 'passes'} ({taken:.0f} s)", file=sys.stderr)
                if test:
                    raise SystemExit(f"{test} fails without a bug")
        result: dict[str, dict[str, object]] = {}
        if chosen.only and chosen.json and chosen.json.exists():  # the others stay as they were
            result = json.loads(chosen.json.read_text())["mutants"]
        for mutant in wanted:
            test, taken = planted(mutant, folder, chosen.seconds)
            result[mutant.name] = {"file": mutant.file, "caught_by": test, "seconds": round(taken)}
            print(f"{mutant.name}: {test or 'NOT CAUGHT'} ({taken:.0f} s)", file=sys.stderr)
            if chosen.json:  # after each, so that what was found is not lost
                chosen.json.write_text(json.dumps(summary(result), indent=1) + "\n")
    print(json.dumps(summary(result), indent=1))
    raise SystemExit(not all(one["caught_by"] for one in result.values()))


def summary(result: dict[str, dict[str, object]]) -> dict[str, object]:
    """Return what is recorded: the bugs in the order of their list, and how many were caught."""
    ordered = {mutant.name: result[mutant.name] for mutant in MUTANTS if mutant.name in result}
    caught = sum(bool(one["caught_by"]) for one in ordered.values())
    return {"caught": caught, "mutants": ordered, "command": "python benchmarks/mutants.py"}


if __name__ == "__main__":
    main()
