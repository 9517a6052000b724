"""What processes need to meet and to agree on: the variables of torchrun, and the same config, data and versions."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import torch.distributed as dist

from ..errors import ConfigError, ResourceError

STARTED = "torchrun and `i2i run --nproc` set it"
PATIENCE = 10  # seconds that the first process, which serves the others, stays for them after a disagreement


def number(name: str, default: int) -> int:
    """Return a variable of torchrun.

    Raises:
        ConfigError: it is not a number.
    """
    given = os.environ.get(name, str(default))
    try:
        return int(given)
    except ValueError:
        raise ConfigError(f"the variable {name} is {given!r}, which is not a whole number: {STARTED}") from None


def refuse_variables(rank: int, size: int) -> None:
    """Reject variables with which processes cannot meet.

    Raises:
        ResourceError: one is missing or out of range.
        ConfigError: one is not a number.
    """
    if not 0 <= rank < size:
        raise ResourceError(f"RANK is {rank} and WORLD_SIZE is {size}: ranks count from 0 to WORLD_SIZE - 1")
    if size == 1:
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise ResourceError(f"WORLD_SIZE is {size}, but {' and '.join(missing)} is not set: {STARTED}")
    if not 0 < number("MASTER_PORT", 0) < 65536:
        raise ResourceError(f"MASTER_PORT is {os.environ['MASTER_PORT']}: a port is a number from 1 to 65535")


@contextmanager
def meeting() -> Iterator[None]:
    """Turn a failure of processes to meet into a ResourceError of one line."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:  # of torch, too: DistError is a RuntimeError
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        if "EADDRINUSE" in str(error):
            why, todo = "the port is in use", "choose another MASTER_PORT"
        else:
            why, todo = str(error).splitlines()[0][:120], "check that the first process runs and can be reached there"
        raise ResourceError(f"the processes cannot meet at {place}: {why}; {todo}") from error


def refuse_disagreement(store: dist.Store, rank: int, size: int, topic: str, own: Mapping[str, str]) -> None:
    """Compare values of all processes with those of the first one.

    Args:
        store: what the processes share.
        rank, size: of this process.
        topic: a name that is used once.
        own: values by name.

    Raises:
        ConfigError: they differ; on the first process and on each that differs from it.
    """
    store.set(f"{topic}/{rank}", json.dumps(dict(own), sort_keys=True))
    try:
        for other in range(1, size) if rank == 0 else [0]:
            theirs = json.loads(store.get(f"{topic}/{other}"))
            for name in sorted({*own, *theirs}):
                mine, its = own.get(name, "not given"), theirs.get(name, "not given")
                if mine != its:
                    raise ConfigError(f"{name} is {mine} here and {its} on rank {other}: start all with the same")
    finally:
        store.add(f"{topic}/done", 1)
        deadline = time.monotonic() + PATIENCE
        with suppress(RuntimeError):
            while rank == 0 and time.monotonic() < deadline and store.add(f"{topic}/done", 0) < size:
                time.sleep(0.01)
