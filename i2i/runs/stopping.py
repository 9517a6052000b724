"""How a run ends early: a signal ends it after the current step or in an evaluation, a second Ctrl-C at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from ..engine import Engine
from ..errors import I2IError
from .folder import Run


class Stopped(I2IError):
    """The run was asked to stop and has saved its state (exit code 75, or 130 after an interrupt)."""

    def __init__(self, engine: Engine, run: Run, *, trained: bool = False) -> None:
        what = ", the training is complete and only its evaluation is missing" if trained else ""
        super().__init__(
            f"stopped and saved at step {engine.number} in {run.folder}{what}: "
            f"continue with the same command and --resume"
        )
        self.exit_code = 130 if engine.stop_signal == signal.SIGINT else 75


@contextmanager
def repeatable(engine: Engine, run: Run) -> Iterator[None]:
    """Let a signal end the block at once: for work that --resume does again, with everything else saved.

    Raises:
        Stopped: the run was asked to stop, before the block or inside.
    """
    run.repeatable = True
    try:
        if engine.stop_signal is None:
            yield
    finally:
        run.repeatable = False
    if engine.stop_signal is not None:  # or code in the block took `Stopped` for a failure of its own
        raise Stopped(engine, run)


@contextmanager
def signals(engine: Engine, run: Run) -> Iterator[None]:
    """Let SIGINT, SIGTERM, SIGUSR1 and SIGHUP end the run after the current step, and a second SIGINT at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and engine.stop_signal == signal.SIGINT:
            print("i2i: stopped at once; --resume continues from the last checkpoint", file=sys.stderr)
            raise KeyboardInterrupt
        engine.stop_signal = number
        if run.repeatable:
            raise Stopped(engine, run)
        again = "; press Ctrl-C again to stop at once, without saving" if number == signal.SIGINT else ""
        with suppress(OSError):  # after SIGHUP there may be no terminal
            print(f"i2i: saving after this step, then stopping{again}", file=sys.stderr, flush=True)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asking = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # ignored under nohup
        asking.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in asking}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
