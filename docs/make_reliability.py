"""Writes docs/reliability.md from the table of faults and the recorded results: `make docs`.

The table is tests/faults/cases.py. `tests/faults/test_catalogue.py` makes the page again and compares, so that it is
never stale.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "benchmarks" / "results"
HEAD = """\
# Reliability

`make docs` writes this page from `tests/faults/cases.py` and `benchmarks/results/`.

You are about to start a run of ten days. These are the things that go wrong in ten days, and what i2i does then.

- **The machine goes down, or the job is killed.** Start the same command with `--resume`. The run continues from the
  newest checkpoint that is whole, and ends with the same weights as if nothing had happened, bit for bit. What is
  lost is the time since the last checkpoint: set `train.checkpoint_every` to what you can afford to lose. On SIGTERM,
  SIGUSR1, SIGHUP and Ctrl-C it saves first, and exits with 75 (130 for Ctrl-C).
- **The disk fills up or breaks.** The run ends with exit code 6 and one sentence. The last checkpoint is whole: files
  are written beside their target, synced and renamed. Free some space and resume.
- **A file is damaged.** Checkpoints and weights carry checksums. A damaged checkpoint is reported and the one before
  is used, so keep at least two (`train.keep`). A damaged picture is replaced and reported, up to a limit; run
  `i2i data check` before you start.
- **The training itself goes wrong.** NaN stops it before the weights are touched. A loss that explodes, or a
  discriminator that always wins, is reported on stderr and in `report.html`. Look at it after an hour.
- **The terminal closes.** The training goes on.
- **A process hangs.** Loaders and other processes that do not answer within `train.timeout` are replaced or end the
  run with a sentence that names them.

Exit codes: 0 done, 2 config, 3 data, 4 weights or checkpoint, 5 NaN, 6 memory, disk or process, 7 plugin, 75 saved
after a signal, 130 interrupted.

The tables below list {total} ways to fail: {held} are held, which a test or a recorded result shows{others}.
"""


def load(file: Path) -> Any:
    """Import a Python file by its path."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page() -> str:
    """Return the page."""
    table = load(ROOT / "tests" / "faults" / "cases.py")
    count = Counter(case.state for case in table.CASES)
    others = {"not held": "are not, and say what happens today", "missing": "concern parts that i2i does not have"}
    rest = "".join(f"; {count[state]} {what}" for state, what in others.items() if count[state])
    head = HEAD.format(total=count.total(), held=count["held"], others=rest)
    parts = [head, "## Recorded campaigns\n", *campaigns()]
    for letter, (title, _) in table.FAMILIES.items():
        parts += [f"## {letter}. {title}\n", *rows([case for case in table.CASES if case.id[0] == letter])]
    return "\n".join(parts)


def campaigns() -> Iterator[str]:
    """Yield a table of what the benchmarks of faults have done and found."""
    lines = ["| what was done | found | command |", "|---|---|---|"]
    for name, describe in DESCRIBED.items():
        result = json.loads((RESULTS / name).read_text())
        done, found = describe(result)
        commands = result["commands"] if "commands" in result else [result["command"]]
        first, *others = dict.fromkeys(map(without_file, commands))
        more = f"<br>and {len(others)} more, see [{name}](../benchmarks/results/{name})" if others else ""
        lines.append(f"| {done} | {found} | `{first}`{more} |")
    yield "\n".join(lines) + "\n"


def without_file(command: str) -> str:
    """Return a command without the file that its figures went to."""
    return re.sub(r" --(add|json \S+)", "", command)


def kills(result: dict[str, Any]) -> tuple[str, str]:
    """Describe kills.json."""
    kinds = sum(kind["kills"] > 0 for kind in result["kinds"].values())
    done = f"{result['kills']:,} kills (-9) of {result['runs']:,} runs of {kinds} kinds of tasks"
    when = (
        f"{result['kills_in_a_save']:,} of them in a save, {result['kills_before_the_first_step']:,} in a start or a "
        f"resume before its first step, {result['kills_of_a_resumed_run']:,} of a run that had been resumed"
    )
    return f"{done}: {when}", f"{result['runs_that_differ']} runs differ"


def flips(result: dict[str, Any]) -> tuple[str, str]:
    """Describe flips.json."""
    done = f"{result['flips']:,} bits flipped in run folders, one at a time"
    return done, f"{result['silent']} loaded silently, {result['crashed']} tracebacks"


def syscalls(result: dict[str, Any]) -> tuple[str, str]:
    """Describe syscalls.json."""
    places = len(set().union(*result["tried"].values()))
    done = f"{result['faults']:,} failing system calls: {', '.join(result['errors'])}"
    return (
        f"{done}, at {places:,} of the {result['calls']:,} calls of a run",
        f"{len(result['found'])} that lost or broke something",
    )


def mutants(result: dict[str, Any]) -> tuple[str, str]:
    """Describe mutants.json."""
    return (
        f"{len(result['mutants'])} bugs planted in the engine, one at a time",
        f"{result['caught']} caught by tests",
    )


def fuzz(result: dict[str, Any]) -> tuple[str, str]:
    """Describe fuzz.json."""
    done = ", ".join(f"{kind['cases']:,} {name}" for name, kind in result["kinds"].items())
    return f"damaged inputs: {done}", f"{len(result['found'])} that gave a traceback, a hang or a flood of memory"


def endless(result: dict[str, Any]) -> tuple[str, str]:
    """Describe endless.json."""
    (before, after), (few, many) = result["memory_mb"], result["files"]
    first = result["marks"][1][0]
    return (
        f"{result['steps']:,} steps of one training",
        f"from step {first:,} on, memory grew from {before:g} to {after:g} MB ({100 * result['growth']:.1f} %), and "
        f"open files from {few} to {many}",
    )


def serve(result: dict[str, Any]) -> tuple[str, str]:
    """Describe serve.json."""
    clients, hostile, requests = result["clients"], result["hostile"], sum(result["answers"].values())
    done = f"{requests:,} requests to a server, of {clients} clients at once, of which {hostile} were hostile"
    before, after = result["memory_mb"]["server"]
    return done, (
        f"{len(result['wrong'])} unplanned errors or answers for another client; the server's memory went from "
        f"{before:g} to {after:g} MB, and a killed worker was replaced in {result['worker_restart_seconds']:g} s"
    )


DESCRIBED = {
    "kills.json": kills,
    "flips.json": flips,
    "syscalls.json": syscalls,
    "mutants.json": mutants,
    "fuzz.json": fuzz,
    "endless.json": endless,
    "serve.json": serve,
}


def rows(cases: list[Any]) -> Iterator[str]:
    """Yield the table of a family."""
    lines = ["| | What happens | What i2i does | | Where |", "|---|---|---|---|---|"]
    for case in cases:
        where = "<br>".join(linked(place) for place in case.where) or case.why
        cells = [case.id, case.fault, case.answer, case.state, where]
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    yield "\n".join(lines) + "\n"


def linked(place: str) -> str:
    """Return a test or a result as a link."""
    file, _, name = place.partition("::")
    target = f"../tests/{file}" if name else f"../{file}"
    return f"[{name or Path(file).name}]({target})"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE}: written")
