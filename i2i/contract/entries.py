"""Batches that tell the author of a task, who asks for an entry that they do not have, which ones they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import ConfigError
from ..task import Task
from .places import name_of


class Entries(dict[str, Any]):
    """A batch that says, if a task asks for an entry which the data set does not have, which ones it has."""

    def __init__(self, task: Task, batch: Mapping[str, Any]) -> None:
        super().__init__(batch)
        self.who = name_of(task)

    def __missing__(self, key: str) -> NoReturn:
        """Raise ConfigError."""
        have = ", ".join(map(repr, self)) or "none"
        raise ConfigError(
            f"{self.who} needs the entry '{key}' of each sample, and those of this data set are {have}: use other "
            f"data, or name the entries after what the task needs where the data set lets you (data.parts of shards)"
        )


class MissingEntry(KeyError):
    """A KeyError that prints its text as it is."""

    def __str__(self) -> str:
        return str(self.args[0])


class Given(dict[str, Any]):
    """A batch of a training step. A missing entry stays a KeyError, to which `blame` adds the line of the task."""

    def __missing__(self, key: str) -> NoReturn:
        """Raise MissingEntry."""
        raise MissingEntry(f"there is no '{key}', the samples have {', '.join(map(repr, self)) or 'nothing'}")
