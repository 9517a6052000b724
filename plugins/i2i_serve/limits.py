"""What a client may ask of the server, and `Refusal`: the answer when it asks for more.

A refusal is one sentence with a status: 413 for too many bytes, 422 for what cannot be done, 429 and 503 for later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MB = 1_000_000
ADVICE = re.compile(r"(,? or|;)?(, if it is intact,)? set I2I_LIMITS=\d+ to raise all limits on pictures")
"""What an error advises who runs the server to do."""


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
        body: bytes of a request.
        text: bytes of a request of JSON, and of a field of a form that is not a file.
        pixels: of a picture, before it is decoded, and of a result.
        seconds: that one job may compute.
        queue: jobs that wait; clients that are not on this computer get a quarter of it each.
        memory: bytes of uploads and results together.
        keep: seconds for which a result can be fetched.
        connections: at the same time.
        grace, rate: a client has `grace` seconds, and one more for every `rate` bytes that it sends or reads.
        drain: seconds to finish running jobs after SIGTERM.
        worker: bytes of memory of the process that computes; None for no limit.
    """

    body: int = 20 * MB
    text: int = 1 * MB
    pixels: int = 50_000_000
    seconds: float = 120
    queue: int = 64
    memory: int = 512 * MB
    keep: float = 600
    connections: int = 400
    grace: float = 10
    rate: int = 16_000
    drain: float = 8
    worker: int | None = None

    def share(self, client: str) -> int:
        """Return how many jobs of a client may wait; whatever comes through a proxy here is one client."""
        return self.queue if client in ("127.0.0.1", "::1", "") else max(1, self.queue // 4)


class Refusal(Exception):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        sentence: why, and what to do.
        retry: seconds after which it may succeed; None if it will not.
    """

    def __init__(self, status: int, sentence: str, retry: float | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry = status, sentence, retry


class Budget:
    """Bytes that are held in memory, of which there are only so many."""

    def __init__(self, total: int) -> None:
        self.total, self.held = total, 0

    def take(self, count: int) -> None:
        """Hold `count` more bytes. Raises: Refusal, there are not so many left."""
        if self.held + count > self.total:
            raise Refusal(503, "The server has too many pictures in memory at the moment: try again soon.", 5)
        self.held += count

    def give(self, count: int) -> None:
        """Let go of `count` bytes."""
        self.held -= count

    @contextmanager
    def account(self) -> Iterator[Account]:
        """Yield an account, whose bytes are given back at the end of the `with` block unless they were moved on."""
        account = Account(self)
        try:
            yield account
        finally:
            account.close()


class Account:
    """The bytes of one request or job."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.held = budget, 0

    def take(self, count: int) -> None:
        """Hold `count` more bytes. Raises: Refusal, there are not so many left."""
        self.budget.take(count)
        self.held += count

    def move(self) -> Account:
        """Return a new account that holds the bytes of this one."""
        other = Account(self.budget)
        other.held, self.held = self.held, 0
        return other

    def close(self) -> None:
        """Let go of all bytes."""
        self.budget.give(self.held)
        self.held = 0
