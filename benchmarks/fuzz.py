"""Damage inputs at random and read them: only documented errors are allowed, in bounded time and memory.

    python benchmarks/fuzz.py --seconds 3600 --json benchmarks/results/fuzz.json          # an hour for each kind
    python benchmarks/fuzz.py --seconds 600 --add --json benchmarks/results/fuzz.json  # go on with it
    python benchmarks/fuzz.py --kinds pictures --seed 7 --case 1234                         # one case again

Kinds: pictures (read for training and for translation), configs, headers of weights files (half of them with a
sha256 that fits), and label maps. Each case is a function of the kind, the seed and its number: a valid input of a
small corpus, changed by a few random edits: bits, bytes, numbers, pieces removed, repeated or taken from another.

A child process reads the cases, and its parent watches. Found are: exceptions that are not i2i's own, cases that take
more than 10 seconds of CPU (the child is then killed), and those after which the process has 512 MB more than at the
start.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import random
import resource
import select
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tally
from corpora import configs, edited, headers, labels, pictures, with_checksums, with_other_words, with_sha256

from i2i import I2IError, checkpoint, config
from i2i.images import read_labels, read_rgb, take, take_labels
from i2i.plugins import registry

SLOWEST, LARGEST, BATCH = 10.0, 512, 500  # CPU seconds of a case, MB, cases of a child
ASLEEP = 600  # seconds without computing after which a child is stuck; a busy machine may stop it for a while
Read = Callable[[bytes], Any]


def read_picture(data: bytes) -> None:
    """Read a picture as training and as translation do."""
    read_rgb(data)
    take(data)


def read_label_map(data: bytes) -> None:
    """Read a label map as training and as translation do."""
    read_labels(data)
    take_labels(data)


def read_config(data: bytes) -> None:
    """Read a config, write it out, and read it again."""
    text = config.parse(data, "fuzz.yaml", (), registry().catalog).text()
    assert config.parse(text, "fuzz.yaml", (), registry().catalog).text() == text


def read_weights(data: bytes) -> None:
    """Read a weights file."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".safetensors") as file:
        file.write(data)
        file.flush()
        checkpoint.load_model(file.name)


KINDS: dict[str, tuple[Callable[[], list[bytes]], Read, Callable[[bytes], bytes]]] = {
    "pictures": (pictures, read_picture, with_checksums),
    "configs": (configs, read_config, lambda data: data),
    "headers": (headers, read_weights, with_sha256),
    "label maps": (labels, read_label_map, with_checksums),
}


class Kind:
    """A kind of input: makes case number n, and reads it."""

    def __init__(self, name: str, seed: int) -> None:
        make, self.read, self.sealed = KINDS[name]
        self.name, self.seed, self.corpus = name, seed, make()

    def case(self, number: int) -> bytes:
        """Return the input of a case."""
        dice = random.Random(f"{self.name} {self.seed} {number}")
        if self.name == "configs" and dice.random() < 0.7:
            return with_other_words(dice.choice(self.corpus), dice)
        data = edited(self.corpus, dice)
        return self.sealed(data) if dice.random() < 0.5 else data

    def outcome(self, number: int) -> str:
        """Read a case; return "read", the name of i2i's error, or "found: ..."."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.read(self.case(number))
        except I2IError as error:
            longest = max(map(len, str(error).splitlines()), default=0)  # a config has a line for each mistake
            return type(error).__name__ if longest < 2000 else f"found: a message of {longest} characters"
        except BaseException as error:
            return f"found: {type(error).__name__}: {error}"[:300]
        return "read"

    def batch(self, first: int, last: int) -> tuple[dict[int, str], int | None]:
        """Read cases in a child; return their outcomes, and the case that killed it or took too long."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with os.fdopen(writing, "w") as out:
                for number in range(first, last):
                    what = self.outcome(number)
                    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024
                    if grown > LARGEST:
                        what = f"found: {grown} MB more memory"
                    print(json.dumps([number, what]), file=out, flush=True)
                    if grown > LARGEST:
                        break
            os._exit(0)
        os.close(writing)
        outcomes: dict[int, str] = {}
        with os.fdopen(reading) as lines:
            while True:
                if not answers(lines, child):
                    os.kill(child, 9)
                    break
                line = lines.readline()
                if not line:
                    break
                number, what = json.loads(line)
                outcomes[number] = what
        os.waitpid(child, 0)
        following = first + len(outcomes)
        over = following < last and not any("more memory" in what for what in outcomes.values())
        return outcomes, following if over else None


def answers(lines: TextIO, child: int) -> bool:
    """Wait for a line of a child; False if it computes for `SLOWEST` seconds or sleeps for `ASLEEP` without one."""
    clock = (~child << 3) | 2  # Linux' number of the CPU clock of a process
    before = time.clock_gettime(clock)
    for _ in range(ASLEEP):
        if select.select([lines], [], [], 1.0)[0]:
            return True
        if time.clock_gettime(clock) - before > SLOWEST:
            return False
    return False


def campaign(
    kinds: list[str], seconds: float, cases: float, seed: int, old: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Read cases of each kind in turn for so many CPU seconds, after the old ones; yield what came of them so far."""
    result: dict[str, Any] = {"kinds": {}, "found": []}
    registry()
    for name in kinds:
        kind, counts = Kind(name, seed), dict[str, int]()
        first = number = old.get("kinds", {}).get(name, {}).get("cases", 0)
        began = computed()
        while computed() - began < seconds and number - first < cases:
            outcomes, stuck = kind.batch(number, number + BATCH)
            if stuck is not None:
                outcomes[stuck] = "found: killed, or no answer in time"
            for case, what in outcomes.items():
                group = what.split(":")[0]
                counts[group] = counts.get(group, 0) + 1
                if group == "found":
                    data = base64.b64encode(kind.case(case)[:3000]).decode()
                    result["found"].append({"kind": name, "case": case, "what": what, "input": data})
                    print(f"{name} {case}: {what}", file=sys.stderr)
            number += len(outcomes)
            taken = round(computed() - began)
            result["kinds"][name] = {"cases": number - first, "outcomes": counts, "seconds": taken}
            yield result


def computed() -> float:
    """Return the CPU seconds of the children so far: on a busy machine, an hour of waiting reads nothing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def without_repaired(old: dict[str, Any], seed: int) -> dict[str, Any]:
    """Read the recorded findings again, and leave out those that are none any more."""
    left = []
    for finding in old.get("found", []):
        kind, case = Kind(finding["kind"], seed), finding["case"]
        outcome = kind.batch(case, case + 1)[0].get(case, "found")
        if outcome.startswith("found"):
            left.append(finding)
        else:
            counts = old["kinds"][kind.name]["outcomes"]
            counts[outcome] = counts.get(outcome, 0) + 1
            counts["found"] -= 1
    return {**old, "found": left} if old else old


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="CPU seconds for each kind")
    parser.add_argument("--cases", type=float, default=math.inf, help="of each kind, at most")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="read one case again, with its traceback")
    tally.arguments(parser)
    chosen = parser.parse_args()
    kinds = chosen.kinds.split(",")
    if chosen.case is not None:
        kind = Kind(kinds[0], chosen.seed)
        kind.read(kind.case(chosen.case))
        return
    figures, result = tally.Tally(chosen), dict[str, Any]()
    figures.old = without_repaired(figures.old, chosen.seed)
    for result in campaign(kinds, chosen.seconds, chosen.cases, chosen.seed, figures.old):
        figures.write(result)
    print(json.dumps(result, indent=1))
    raise SystemExit(1 if result["found"] else 0)


if __name__ == "__main__":
    main()
