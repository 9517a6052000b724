"""What the routes share: the queue, the worker, the limits and the counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .counts import Counts
from .jobs import Queue
from .limits import Limits
from .worker import Worker


@dataclass
class State:
    """The state of the server; `abilities` are those of the models that were asked for, by name."""

    queue: Queue
    worker: Worker
    limits: Limits
    counts: Counts
    abilities: dict[str, dict[str, Any]] = field(default_factory=dict)
