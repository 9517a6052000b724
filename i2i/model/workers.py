"""Translate files in several processes: `i2i translate photos -o out -m RUN --nproc 4`.

Each worker is a Python process that loads the model and gets one input at a time. One that is killed costs the input
it was working on, and is replaced. All of them end when the process that started them does, in whatever way.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from multiprocessing import connection
from pathlib import Path
from typing import Any

from ..errors import DataError, I2IError, NumericError, ResourceError, WeightsError
from ..images import Output, shown
from ..plugins import load_file, registry
from .manifest import Manifest, fingerprint
from .trained import Model

Todo = Sequence[tuple[Path, Any]]
Results = Generator[tuple[int, I2IError | None], None, None]
One = Callable[[Any, Path, Model, Manifest, Output, dict[str, Any]], None]


class Terminated(KeyboardInterrupt):
    """SIGTERM has come; unlike a SystemExit, it is not blamed on a plugin."""


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block with exit code 75, after cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except Terminated:
        raise SystemExit(75) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def in_processes(
    todo: Todo, model: Model, manifest: Manifest, output: Output, condition: dict[str, Any], nproc: int
) -> Results:
    """Translate (target, input) pairs in `nproc` processes; yield the number of each, and its error, as they end.

    Args:
        todo: the pairs.
        model: loaded again by each process from `model.source`.
        manifest: the record of the results.
        output, condition: see `translate_files`.
        nproc: how many processes at most.

    Raises:
        I2IError: an error that concerns all inputs.
    """
    queue, digest = deque(range(len(todo))), fingerprint(model)
    nproc = min(nproc, len(todo))
    start = partial(Worker, str(model.source), (manifest, output, condition), nproc)
    workers = [start() for _ in range(nproc)]
    started = list(workers)
    try:
        while queue or any(worker.at is not None for worker in workers):
            ready = connection.wait([worker.pipe for worker in workers])
            for worker in [worker for worker in workers if worker.pipe in ready]:
                at = worker.at
                try:
                    error = worker.answer(digest)
                except (EOFError, OSError):
                    workers.remove(worker)
                    if at is not None:
                        yield at, ResourceError(f"{name_of(todo[at])}: the process that translated it {worker.end()}")
                        if queue:
                            started.append(start())
                            workers.append(started[-1])
                    elif queue and not workers:
                        why = f"the process that loaded the model {worker.end()}: use fewer with --nproc"
                        raise ResourceError(why) from None
                    continue
                if at is not None:
                    yield at, error
                if queue:
                    worker.send(queue[0], *todo[queue.popleft()])
                else:
                    workers.remove(worker)
                    worker.pipe.close()
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in started:
            worker.end()


def name_of(pair: tuple[Path, Any]) -> str:
    """Return the name of an input for messages."""
    target, thing = pair
    return shown(thing) if isinstance(thing, Path) else target.stem


class Worker:
    """One process and what it is working on.

    Args:
        source: the model to load.
        how: the further arguments of `translate_one`, sent once it is loaded, as plugin files may define them.
        nproc: how many processes share the memory and the cores.
    """

    def __init__(self, source: str, how: tuple[Any, ...], nproc: int) -> None:
        self.at: int | None = None
        self.how, self.loaded = how, False
        self.pipe, theirs = connection.Pipe()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment = {"OMP_NUM_THREADS": str(max(1, cores // nproc)), **os.environ}
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from i2i.model import many, memory, workers; memory.sharing = {nproc}; "
            f"workers.work({theirs.fileno()}, many.translate_one)"
        )
        self.process = subprocess.Popen(  # in its own session: Ctrl-C is for the parent, which ends it
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        theirs.close()
        self._send((source, list(registry().files.values())))

    def send(self, at: int, target: Path, thing: Any) -> None:
        """Let it translate the pair number `at`; that it is dead is noticed by `answer`."""
        self.at = at
        self._send((thing, target))

    def _send(self, what: Any) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(what)

    def answer(self, digest: str) -> I2IError | None:
        """Return the error of the pair that it has finished; None if it succeeded, or has loaded the model.

        Raises:
            I2IError: it could not load this model, or met an error that concerns all inputs.
            EOFError, OSError: it is dead.
        """
        found, notes = self.pipe.recv()
        for category, text in notes:
            warnings.warn(text, category, stacklevel=2)
        if isinstance(found, I2IError) and not (self.loaded and isinstance(found, DataError | NumericError)):
            raise found
        if not self.loaded and found != digest:
            raise WeightsError("the weights have changed since the model was loaded: start again")
        error = found if self.loaded else None
        if not self.loaded:
            self._send(self.how)
        self.at, self.loaded = None, True
        return error

    def end(self) -> str:
        """Wait until it has ended, for at most ten seconds, and say how it did."""
        self.pipe.close()
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def work(handle: int, translate_one: One) -> None:
    """Be a worker: load the model, then translate what comes, until the other side is gone."""
    pipe = connection.Connection(handle)
    with ended_by_sigterm(), contextlib.suppress(EOFError, ConnectionError):
        source, plugins = pipe.recv()
        try:
            model = loaded(source, plugins)
        except I2IError as error:
            pipe.send((error, []))
            return
        pipe.send((fingerprint(model), []))
        how = pipe.recv()
        while True:
            thing, target = pipe.recv()
            found = None
            with warnings.catch_warnings(record=True) as noted:
                warnings.simplefilter("always")
                try:
                    translate_one(thing, target, model, *how)
                except I2IError as error:
                    found = error
            pipe.send((found, [(note.category, str(note.message)) for note in noted]))


def loaded(source: str, plugins: Sequence[Any]) -> Model:
    """Load the model, without repeating what the first process has said about it."""
    from .loading import load

    with contextlib.redirect_stderr(io.StringIO()):
        for plugin in plugins:
            load_file(plugin.path, plugin.sha256)
        return load(source)
