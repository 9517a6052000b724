"""`i2i verify`: does a method here agree with what was published, does it learn, and what differs from the paper?

i2i verify cyclegan                   # parity, results, a learning check of seconds, distance from the paper
i2i verify paper/spade_coco --quick   # one config, without the learning check
i2i verify --all                      # every method; writes docs/ledger.md
i2i record check                      # rerun the records: fewest CPU-minutes to a fixed bar

parity.py compares networks with `published.json`, learning.py trains, ledger.py reports, records.py keeps records.
All are imported on first use, so that `i2i --help` stays fast.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from i2i import ConfigError


def verify(
    name: Annotated[str | None, typer.Argument(help="A method, a task or a config, such as cyclegan.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Verify every method, and write the ledger.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the learning checks.")] = False,
    out: Annotated[str, typer.Option("-o", "--out", help="--all: the ledger to write.")] = "docs/ledger.md",
) -> None:
    """Compare a method with published numbers, train it for seconds, and state its distance from the paper.

    Exits with 1 if a number differs or a learning check misses its bar.
    """
    if (name is None) != all_:
        raise ConfigError("give either the name of a method, such as cyclegan, or --all")
    from pathlib import Path

    from . import ledger

    good = ledger.verify_all(quick, Path(out), print) if name is None else ledger.verify(name, quick, print)
    if not good:
        raise typer.Exit(1)


class What(str, Enum):
    """What can be done with records."""

    check = "check"
    new = "new"


def record(
    what: Annotated[What, typer.Argument(help="check: train again; new: train, and keep it as a record.")],
    folder: Annotated[
        str, typer.Argument(help="A record, a task's folder of records, or the folder of all of them.")
    ] = "records",
    config: Annotated[str | None, typer.Option("--config", help="new: the config file to train.")] = None,
    root: Annotated[str | None, typer.Option("--root", help="The folder of the data set, as data.root.")] = None,
    note: Annotated[str, typer.Option("--note", help="new: one sentence about what makes it fast.")] = "",
) -> None:
    """Train to a fixed bar in the fewest CPU-minutes; the records and their rules are in a checkout of i2i.

    Exits with 1 if a record misses its bar.
    """
    from pathlib import Path

    from . import records

    if what is What.check:
        good = records.check(Path(folder), root, print)
    else:
        good = records.new(Path(folder), config, root, note, print)
    if not good:
        raise typer.Exit(1)
