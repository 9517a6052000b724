"""Kill -9 training runs, resume them, and compare with uninterrupted runs, bit for bit.

    python benchmarks/kills.py --kills 2000 --json benchmarks/results/kills.json         # all kinds of tasks in turn
    python benchmarks/kills.py --kills 20 --kinds cyclegan
    python benchmarks/kills.py --kills 500 --add --json benchmarks/results/kills.json    # more of them

Every run is one of the small ones of tiny.py, with a checkpoint every second step. It is killed up to eight times,
also while resuming, then finishes, and its last checkpoint, weights, log, metrics and sample pictures are compared
with those of a run that nobody killed. Half of the kills come at a random time. A third come within a save: half of
these from outside, at a random time after it began, half at a random system call, before it, after it or, for a
write, with half of the data on the disk. The others come before the first step, while a run starts or reads its
checkpoint. A kind that takes long gets fewer kills: all get the same time.

Children are forked from one process that has trained each kind once, so that a kill takes a fraction of a second.
They use the config and the data set that it has read, and leave out the checks before the first step, which the run
that nobody kills makes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import math
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import RawArray
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tally
from tiny import CONFIGS, memory_folder, write

from i2i import api, checkpoint, loop
from i2i.config import Config, load
from i2i.engine import Engine
from i2i.files import calls
from i2i.plugins import registry
from i2i.runs import Record, Run

PER_RUN = 8  # kills of one run, which then finishes and is compared
LONGEST = 600  # seconds for a run
TIMED = 3  # runs that are timed, of which the shortest counts: other processes may have the processors for a while
PLANS = {"at any time": 6, "in a save": 2, "at a system call of a save": 2, "before the first step": 2}
"""When a kill comes, and how often."""


class Plan(NamedTuple):
    """When a child is killed: seconds after its start, or after a save began, or at a system call of a save."""

    seconds: float = math.inf
    save: int = 0  # the first is 1; 0 for no save
    call: int = 0  # of this save; the first is 1, 0 for none
    how: str = "before"  # or "after" or "within" the system call


class Seen:
    """What a child does, in memory that it shares with its parent."""

    def __init__(self) -> None:
        self.numbers = RawArray("i", 5)
        self.begun, self.begin = os.pipe()  # readable when the save of the plan begins
        os.set_blocking(self.begun, False)

    saving = property(lambda self: self.numbers[0])  # 1 in a save
    saves = property(lambda self: self.numbers[1])  # saves begun
    steps = property(lambda self: self.numbers[2])  # steps begun
    calls = property(lambda self: self.numbers[3])  # system calls in this or the last save
    most_calls = property(lambda self: self.numbers[4])  # in any save

    def follow(self, plan: Plan) -> None:
        """Follow the saves and steps of this process from now on, and kill it as planned."""
        save, step, system = Record.save, Engine.step, calls.system
        numbers = self.numbers

        def followed_save(record: Record) -> None:
            numbers[0], numbers[1], numbers[3] = 1, numbers[1] + 1, 0
            if numbers[1] == plan.save:
                os.write(self.begin, b"s")
            save(record)
            numbers[0] = 0

        def followed_step(engine: Engine, batches: Any) -> Any:
            numbers[2] += 1
            return step(engine, batches)

        def followed_call(call: Callable[..., Any], *arguments: Any) -> Any:
            if numbers[0]:
                numbers[3] += 1
                numbers[4] = max(numbers[4], numbers[3])
                if (plan.save, plan.call) == (numbers[1], numbers[3]):
                    if plan.how == "within" and call.__name__ == "write":
                        call(memoryview(arguments[0])[: len(arguments[0]) // 2])
                    elif plan.how == "after":
                        call(*arguments)
                    os.kill(os.getpid(), signal.SIGKILL)
            return system(call, *arguments)

        Record.save, Engine.step = followed_save, followed_step  # type: ignore[method-assign]
        calls.system = followed_call


def start(config: Config, run: Path, plan: Plan, seen: Seen) -> int:
    """Fork a child that trains; return its process id."""
    seen.numbers[:] = [0] * 5
    with contextlib.suppress(BlockingIOError):
        os.read(seen.begun, 9)  # of the child before
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(run.parent / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        seen.follow(plan)
        loop.refuse_unfit_data = loop.check_answers = lambda *_: None  # type: ignore[assignment]
        api.planned = lambda *_, **__: (config, Run(run))  # type: ignore[assignment]
        api.run("", out=run, resume=True)
        code = 0
    except BaseException as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
    finally:
        os._exit(code)


def fingerprint(run: Path) -> dict[str, str]:
    """Hash all outputs of a run: final checkpoint, weights, log, metrics, images."""
    last = sorted((run / "checkpoints").glob("step_*"))[-1]
    found = [*last.iterdir(), run / "model.safetensors", run / "log.jsonl", run / "metrics.json"]
    found += sorted((run / "samples").iterdir())
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


class Target:
    """A kind of task: its config, what an uninterrupted run of it leaves behind, and how long its parts take."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder, self.seen, self.runs = kind, folder / kind, Seen(), 0
        self.folder.mkdir()
        file = write(kind, self.folder)
        with contextlib.redirect_stderr(io.StringIO()):
            api.run(file, out=self.folder / "unbroken")  # also imports all that the children need
        self.config = load(file, (), registry().catalog)
        data = self.config.data()
        self.config.data = lambda: data
        self.expected = fingerprint(self.folder / "unbroken")
        times = [self.timed(self.folder / f"timed{n}") for n in range(TIMED)]
        self.seconds, self.to_first_step, self.in_a_save = map(min, zip(*times, strict=True))
        self.calls = self.seen.most_calls

    def timed(self, run: Path) -> tuple[float, float, float]:
        """Train without a kill; return the seconds of the run, until its first step, and of one save."""
        began = time.monotonic()
        child, to_first_step, in_saves = start(self.config, run, Plan(), self.seen), 0.0, 0.0
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
            now = time.monotonic()
            time.sleep(0.0005)
            to_first_step = to_first_step if self.seen.steps else now - began
            in_saves += (time.monotonic() - now) * self.seen.saving
        if ended[1] or fingerprint(run) != self.expected:
            raise SystemExit(f"{self.kind}: a run that nobody kills failed or differs: {self.stderr()}")
        return time.monotonic() - began, to_first_step, in_saves / max(1, self.seen.saves)

    def stderr(self) -> str:
        """Return the end of what its runs wrote to stderr."""
        return (self.folder / "stderr.txt").read_text()[-500:]

    def plan(self, dice: random.Random) -> Plan:
        """Return when to kill next."""
        when = dice.choices([*PLANS], [*PLANS.values()])[0]
        if when == "at any time":
            return Plan(dice.uniform(0, 0.95 * self.seconds))
        if when == "before the first step":
            return Plan(dice.uniform(0, self.to_first_step))
        save = dice.choice((1, 1, 1, 2))
        if when == "in a save":
            return Plan(dice.uniform(0, self.in_a_save), save)
        return Plan(save=save, call=dice.randint(1, self.calls), how=dice.choice(("before", "after", "within")))

    def killed(self, run: Path, plan: Plan) -> bool:
        """Train, resuming if there is something to resume; return whether it was killed, and not finished before."""
        child = start(self.config, run, plan, self.seen)
        end = os.pidfd_open(child)
        if plan.save:
            select.select([end, self.seen.begun], [], [])  # it ends, or begins that save
        if not select.select([end], [], [], min(plan.seconds, LONGEST))[0]:
            signal.pidfd_send_signal(end, signal.SIGKILL)
        os.close(end)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in (0, -signal.SIGKILL):
            raise SystemExit(f"{run}: a resumed run failed: {self.stderr()}")
        return code != 0

    def killed_run(self, dice: random.Random, kills: int) -> Counter[str]:
        """Train once, killed up to `kills` times; return what was counted."""
        run, counted = self.folder / f"run{self.runs}", Counter[str](runs=1, runs_that_differ=0)
        self.runs += 1
        while True:
            begun = any((run / "checkpoints").glob("step_*"))
            if not self.killed(run, self.plan(dice) if counted["kills"] < kills else Plan()):
                break
            counted["kills"] += 1
            counted["kills_in_a_save"] += self.seen.saving
            counted["kills_before_the_first_step"] += not self.seen.steps
            counted["kills_of_a_resumed_run"] += begun
        found = fingerprint(run)
        differ = sorted(name for name in {*found, *self.expected} if found.get(name) != self.expected.get(name))
        if differ:
            counted["runs_that_differ"] = 1
            kept = Path(tempfile.mkdtemp(prefix=f"i2i-differs-{self.kind}-"))
            print(f"{run}: {', '.join(differ)} differ; kept in {kept}", file=sys.stderr)
            shutil.copytree(self.folder, kept / self.kind)
        assert checkpoint.newest(run / "checkpoints", say=print) is not None
        shutil.rmtree(run)
        return counted


COUNTED = (
    "kills",
    "kills_in_a_save",
    "kills_before_the_first_step",
    "kills_of_a_resumed_run",
    "runs",
    "runs_that_differ",
)


def campaign(folder: Path, kinds: list[str], kills: int, seconds: float, seed: str) -> Iterator[dict[str, Any]]:
    """Kill `kills` times, or for `seconds`; yield what happened so far, by kind and in all, after each run."""
    dice = random.Random(seed)
    registry()
    targets = [Target(kind, folder) for kind in kinds]
    counts = {kind: Counter(dict.fromkeys(COUNTED, 0)) for kind in kinds}
    began, left = time.monotonic(), kills
    spent = dict.fromkeys(kinds, 0.0)
    while left > 0 and time.monotonic() - began < seconds:
        target = min(targets, key=lambda target: spent[target.kind])
        before = time.monotonic()
        counted = target.killed_run(dice, min(left, PER_RUN))
        spent[target.kind] += time.monotonic() - before
        counts[target.kind].update(counted)
        left -= counted["kills"]
        total = {name: sum(count[name] for count in counts.values()) for name in COUNTED}
        unbroken = {target.kind: round(target.seconds, 2) for target in targets}
        yield {**total, "kinds": counts, "unbroken_seconds": unbroken, "seconds": round(time.monotonic() - began)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(CONFIGS))
    tally.arguments(parser)
    chosen = parser.parse_args()
    figures, result = tally.Tally(chosen), dict[str, Any]()
    seed = f"{chosen.seed} {figures.old.get('kills', 0)}"  # so that more kills are other kills
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        for result in campaign(Path(folder), chosen.kinds.split(","), chosen.kills, chosen.seconds, seed):
            figures.write(result)
    print(json.dumps(result, indent=1))
    raise SystemExit(1 if result["runs_that_differ"] else 0)


if __name__ == "__main__":
    main()
