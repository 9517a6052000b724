"""The queue: jobs that wait for the worker, and their results until they are fetched or forgotten.

Clients take turns, so that one with a hundred pictures does not keep the others waiting.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from i2i.errors import counted

from .counts import Counts
from .limits import Account, Budget, Limits, Refusal

State = Literal["queued", "running", "done", "failed", "cancelled"]
SWEEP = 5.0  # seconds between two looks for results to forget


@dataclass
class Result:
    """One picture of a job."""

    content: bytes
    type: str  # "image/png"
    width: int
    height: int


@dataclass
class Job:
    """Something for the worker to do.

    Attributes:
        do: the name of one of the functions of `inference`.
        model: the name of a model.
        options: further arguments.
        blobs: bytes by name, such as "picture"; let go of when the job ends.
        client: the address of who asked.
        account: the bytes that it holds.
    """

    do: str
    model: str
    options: dict[str, Any]
    blobs: dict[str, bytes]
    client: str
    account: Account
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    state: State = "queued"
    error: Refusal | None = None
    data: Any = None
    results: list[Result] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    ended: float = 0.0  # time.monotonic()
    seen: float = field(default_factory=time.monotonic)  # when its client last asked for it
    watchers: int = 0  # requests that wait for its end


class Worker(Protocol):
    """What computes; see `worker.Worker`."""

    async def compute(self, job: Job) -> tuple[Any, list[Result]]:
        """Return the data and the pictures of a job. Raises: Refusal, it failed."""


class Queue:
    """Jobs by id, and those that wait by client.

    Args:
        worker: what computes them.
        limits: of the server.
        counts: for /metrics.
    """

    def __init__(self, worker: Worker, limits: Limits, counts: Counts) -> None:
        self.worker, self.limits, self.counts = worker, limits, counts
        self.budget = Budget(limits.memory)
        self.jobs: dict[str, Job] = {}
        self.waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self.more = asyncio.Event()
        self.running: Job | None = None
        self.stopping = False
        self.usual = 1.0  # seconds that a job takes, on average

    def __len__(self) -> int:
        return sum(map(len, self.waiting.values()))

    def room(self, client: str) -> None:
        """Raise Refusal unless a job of this client could wait; called before an upload is read, too."""
        if self.stopping:
            raise stopping()
        wait = max(1.0, len(self) * self.usual)
        if len(self) >= self.limits.queue:
            raise Refusal(
                503, f"The server is busy, with {counted(len(self), 'picture')} waiting: try again later.", wait
            )
        if len(self.waiting.get(client, ())) >= self.limits.share(client):
            raise Refusal(429, "Too many of your pictures are waiting already: wait for some of them.", wait)

    def add(
        self,
        do: str,
        model: str,
        options: Mapping[str, Any],
        blobs: Mapping[str, bytes],
        client: str,
        account: Account,
    ) -> Job:
        """Let a job wait, and return it. Raises: Refusal, too many do."""
        self.room(client)
        job = Job(do, model, dict(options), dict(blobs), client, account.move())
        self.jobs[job.id] = job
        self.waiting.setdefault(client, deque()).append(job)
        self.more.set()
        return job

    def get(self, id: str) -> Job:
        """Return a job. Raises: Refusal, there is none of this id, or no longer."""
        job = self.jobs.get(id)
        if job is None:
            raise Refusal(404, f"There is no such job; results are kept for {self.limits.keep / 60:g} minutes.")
        job.seen = time.monotonic()
        return job

    def place(self, job: Job) -> int:
        """Return how many jobs come before this one: 0 for the one that runs."""
        if job.state != "queued":
            return 0
        mine = self.waiting.get(job.client)
        at = mine.index(job) if mine else 0  # the others take turns with it
        return at + 1 + sum(min(len(jobs), at + 1) for client, jobs in self.waiting.items() if client != job.client)

    def forget(self, job: Job) -> None:
        """Drop a job and its results; one that runs is computed to the end, and its result is dropped."""
        if job.state == "queued":
            self.waiting[job.client].remove(job)
            if not self.waiting[job.client]:
                del self.waiting[job.client]
        if job.state in ("queued", "running"):
            self._end(job, "cancelled", Refusal(404, "The job was cancelled."))
        job.results, job.data = [], None
        job.account.close()
        self.jobs.pop(job.id, None)

    async def run(self) -> None:
        """Compute the jobs, for ever."""
        while True:
            while not self.waiting:
                self.more.clear()
                await self.more.wait()
            client, jobs = self.waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self.waiting[client] = jobs  # at the end: it is the turn of the others
            await self._compute(job)

    async def _compute(self, job: Job) -> None:
        job.state, self.running, started = "running", job, time.monotonic()
        try:
            data, results = await self.worker.compute(job)
            if job.state == "running":
                job.account.close()
                job.account.take(sum(len(result.content) for result in results))
                job.data, job.results = data, results
                self._end(job, "done")
        except Refusal as refusal:
            if job.state == "running":
                self._end(job, "failed", refusal)
        finally:
            self.running = None
            seconds = time.monotonic() - started
            self.counts.computed(job.do, job.state, seconds)
            self.usual += 0.2 * (seconds - self.usual)

    def _end(self, job: Job, state: State, error: Refusal | None = None) -> None:
        job.state, job.error, job.ended = state, error, time.monotonic()
        job.blobs = {}
        if state != "done":
            job.account.close()
        job.done.set()

    async def sweep(self) -> None:
        """Forget results that are old, and jobs that wait but for which nobody has asked, for ever."""
        while True:
            await asyncio.sleep(SWEEP)
            now = time.monotonic()
            for job in list(self.jobs.values()):
                old = job.done.is_set() and now - job.ended > self.limits.keep
                alone = job.state == "queued" and not job.watchers and now - job.seen > max(60.0, self.limits.seconds)
                if old or alone:
                    self.forget(job)

    async def drain(self) -> None:
        """Accept no more jobs, wait for the others at most `limits.drain` seconds, and fail those that are left."""
        self.stopping = True
        latest = time.monotonic() + self.limits.drain
        while (self.waiting or self.running) and time.monotonic() < latest:
            await asyncio.sleep(0.05)
        for job in [job for job in self.jobs.values() if not job.done.is_set()]:
            self._end(job, "failed", stopping())
        self.waiting.clear()


def stopping() -> Refusal:
    """Return the refusal of a server that is stopping."""
    return Refusal(503, "The server is stopping: try again later.", 10)
