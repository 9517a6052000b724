"""`launch`: `i2i run config.yaml --nproc 2` in processes on this machine, by torchrun's agent."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sys
import tempfile

from ..errors import ResourceError

SAID = "I2I_SAID"  # the variable that names a folder with a file for each error that was reported


def launch(arguments: list[str], nproc: int) -> int:
    """Run `i2i ARGUMENTS` in `nproc` processes on this machine and return their common exit code.

    The first process to fail stops all of them and is reported by its rank. All use the `sys.path` of this process:
    `python -m i2i` alone would put the working folder first.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logs = tempfile.TemporaryDirectory(prefix="i2i-")  # PyTorch would leave one of its own behind
    os.environ[SAID] = logs.name
    config = LaunchConfig(
        logs_specs=DefaultLogsSpecs(log_dir=logs.name),
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id=f"i2i-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the ranks print their own errors
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        start = f"import sys; sys.path[:] = {sys.path!r}; import runpy; runpy.run_module('i2i', run_name='__main__')"
        elastic_launch(config, sys.executable)("-c", start, *arguments)
    except ChildFailedError as error:
        rank, code = culprit({rank: (each.timestamp, each.exitcode) for rank, each in error.failures.items()})
        if code in (75, 130):
            return code
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        todo = "see its message above" if 0 < code < 10 else "continue with --resume"
        print(f"i2i: rank {rank} {how}, so all were stopped; {todo}", file=sys.stderr)
        return code if 0 < code < 10 else ResourceError.exit_code
    except SignalException as error:
        return 130 if error.sigval.name == "SIGINT" else 75
    finally:
        logs.cleanup()
        del os.environ[SAID]
        # PyTorch leaves its own handlers, which processes forked later would inherit
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
    return 0


def first_with(error: str) -> bool:
    """Return whether no other process of `launch` has asked this about the same error."""
    folder = os.environ.get(SAID)
    if folder is None:  # started by torchrun or Slurm
        return True
    try:
        name = hashlib.sha256(error.encode(errors="replace")).hexdigest()
        os.close(os.open(os.path.join(folder, name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    except OSError:  # a full disk
        return True
    return True


def culprit(failures: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return the rank that failed first, and its exit code.

    One that only noticed that another does not answer ends with a ResourceError, perhaps within the same second; one
    that was stopped for the sake of another, with SIGTERM.

    Args:
        failures: by rank, the time in seconds and the exit code; below 0 for a signal.
    """
    follows = (ResourceError.exit_code, -signal.SIGTERM)
    rank = min(failures, key=lambda rank: (failures[rank][1] in follows, failures[rank][0], rank))
    return rank, failures[rank][1]
