"""Loader processes: `for batch in read_ahead(read, tasks, workers=2, seconds=120, named=str): ...`

Each process answers through a pipe of its own, so one that is killed or frozen in the middle of an answer concerns no
other, and nothing is in shared memory. PyTorch's DataLoader shares its pipe and hangs in both cases, and in a
container with little shared memory it fails. The price is about a millisecond for a batch of 12 MB.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, PluginError, ResourceError

WITHOUT_ARRAY = (torch.bfloat16,)  # dtypes that NumPy does not have
KEEP = "return tensors, numbers and text, or use data.workers=0"
MOST = 1024  # processes
AHEAD = 2  # batches that each process has been asked for
Numbers = Sequence[int]  # a range, which is short as a message however large the batch
Read = Callable[[Numbers], Any]


class Loader:
    """A process that reads batches, asked by `ask` and answering in order in `answers`; None once it has ended."""

    def __init__(self, read: Read) -> None:
        context = multiprocessing.get_context("fork")  # data sets of plugins need not be picklable
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(read, other, self.pipe), daemon=True)
        try:
            self.process.start()
        except OSError as error:
            why = f"a loader process cannot be started ({error.strerror})"
            raise ResourceError(f"{why}: set a smaller data.workers, 0 for none") from error
        other.close()
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._receive, daemon=True).start()  # receiving from a frozen process never ends

    def _receive(self) -> None:
        try:
            while True:
                self.answers.put(receive(self.pipe))
        except (EOFError, OSError):
            self.answers.put(None)

    def ask(self, numbers: Numbers) -> None:
        """Ask for the batch of these sample numbers."""
        with suppress(OSError):  # it has ended, which `answer` says
            self.pipe.send(numbers)

    def answer(self, seconds: float) -> Any:
        """Return the next batch. Raises ResourceError if the process has ended, or does not answer in time."""
        end = time.monotonic() + seconds
        while True:
            try:
                found = self.answers.get(timeout=max(0.0, min(0.5, end - time.monotonic())))  # signals come between
            except queue.Empty:
                if time.monotonic() >= end:
                    raise ResourceError(f"has not answered for {seconds:g} s") from None
                continue
            if found is None:
                self.process.join(5)
                raise ResourceError(how_it_ended(self.process.exitcode))
            return found[0]

    def kill(self) -> None:
        """End the process, also a frozen one."""
        self.process.kill()
        self.process.join()


def read_ahead(
    read: Read, tasks: Iterable[Numbers], workers: int, seconds: float, named: Callable[[Numbers], str]
) -> Iterator[Any]:
    """Yield `read(numbers)` for each task in order, read ahead by loader processes.

    When a process dies or does not answer, all are replaced, and the batch is tried a second time.

    Args:
        read: called in the processes; what it returns must be picklable.
        tasks: the sample numbers of each batch.
        workers: how many processes; 0 to read in this one.
        seconds: how long to wait for a batch.
        named: describes the samples of a batch, for messages.

    Raises:
        ConfigError: there are to be more processes than is sensible.
        ResourceError: a process cannot be started, or died or did not answer twice at the same batch.
    """
    if workers > MOST:
        raise ConfigError(
            f"data.workers is {workers}, and at most {MOST} are possible: one for each processor is usual"
        )
    if not workers:
        yield from map(read, tasks)
        return
    loaders = [Loader(read) for _ in range(workers)]
    tasks, waiting = iter(tasks), deque[Numbers]()
    asked = answered = 0
    failed: Numbers | None = None
    try:
        while True:
            while len(waiting) < AHEAD * workers and (numbers := next(tasks, None)) is not None:
                loaders[asked % workers].ask(numbers)
                waiting.append(numbers)
                asked += 1
            if not waiting:
                return
            loader = loaders[answered % workers]
            try:
                batch = loader.answer(seconds)
            except ResourceError as error:
                what = f"loader process {loader.process.pid} {error} while reading {named(waiting[0])}"
                if failed == waiting[0]:
                    hint = "look at these samples, use a smaller batch, or data.workers=0; continue with --resume"
                    raise ResourceError(f"{what}, for the second time: {hint}") from None
                print(f"i2i: {what}: trying again with new processes", file=sys.stderr)
                failed = waiting[0]
                for one in loaders:
                    one.kill()
                loaders = [Loader(read) for _ in range(workers)]
                for number, numbers in enumerate(waiting, start=answered):
                    loaders[number % workers].ask(numbers)
                continue
            waiting.popleft()
            answered += 1
            yield batch
    finally:
        for one in loaders:
            one.kill()


def serve(read: Read, pipe: Connection, other: Connection) -> None:
    """Answer one request after another until the parent process ends."""
    other.close()
    # The main process decides when a run ends. One thread leaves the cores to the networks.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    parent = os.getppid()
    while os.getppid() == parent:
        if pipe.poll(2.0):
            try:
                send(pipe, read(pipe.recv()))
            except (EOFError, OSError):
                return


def send(pipe: Connection, batch: Any) -> None:
    """Send a batch: its structure, and then the values of each array as they are."""
    arrays: list[pickle.PickleBuffer] = []
    structure = io.BytesIO()
    try:
        Pickler(structure, protocol=5, buffer_callback=arrays.append).dump(batch)
    except Exception as error:
        why = f"the batch cannot be sent to the main process ({type(error).__name__}: {error})"
        return send(pipe, PluginError(f"{why}; {KEEP}"))
    values = [array.raw() for array in arrays]
    pipe.send([len(one) for one in values])
    pipe.send_bytes(structure.getbuffer())
    for one in values:
        pipe.send_bytes(one)
    return None


def receive(pipe: Connection) -> tuple[Any]:
    """Return the batch that `send` has sent."""
    sizes, structure = pipe.recv(), pipe.recv_bytes()
    values = [np.empty(size, np.uint8) for size in sizes]
    for one in values:
        pipe.recv_bytes_into(one.data) if len(one) else pipe.recv_bytes()
    try:
        return (pickle.loads(structure, buffers=values),)
    except Exception as error:
        why = f"a batch cannot be read from its loader process ({type(error).__name__}: {error})"
        return (PluginError(f"{why}; {KEEP}"),)


class Pickler(pickle.Pickler):
    """Pickles tensors as arrays."""

    def reducer_override(self, thing: Any) -> Any:
        """Convert a tensor to an array, unless NumPy lacks its dtype."""
        if type(thing) is Tensor and thing.layout == torch.strided and thing.dtype not in WITHOUT_ARRAY:
            return torch.from_numpy, (thing.detach().numpy(),)
        return NotImplemented


def how_it_ended(code: int | None) -> str:
    """Describe the exit code of a process."""
    if code is None or code >= 0:
        return f"has ended with exit code {code}"
    why = " (often for lack of memory)" if -code == signal.SIGKILL else ""
    return f"was killed by signal {-code}{why}"
