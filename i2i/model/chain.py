"""`Chain`: several models one after the other, as one model: `i2i.load("restore | colorize | upscale-x2")`.

    i2i translate old.jpg -m "restore | colorize | upscale-x2" -o out

The input is decoded once and the result encoded once; in between are float tensors, never rounded. Each part pads its
input to what its network accepts and crops its own result. Alpha is kept beside the network, and resized at the end.

A condition goes to every part that has one of this name. With a number it goes to that part only: `2.direction=BtoA`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.conditions import address
from ..errors import ConfigError, I2IError
from ..images.kept import Kept
from ..metrics.base import device_of
from ..modalities import Modality, Taken
from ..task import Task
from .memory import Stage
from .trained import Model


def parts_of(source: str | Path) -> list[str | Path]:
    """Split a chain into what `load` takes: "a | b" -> ["a", "b"]. A file or folder that exists is never split.

    Raises:
        ConfigError: a part is empty.
    """
    pieces = str(source).split("|")
    if len(pieces) == 1:
        return [source]
    parts: list[str | Path] = []
    while pieces:
        whole = ("|".join(pieces[:n]).strip() for n in range(len(pieces), 1, -1))
        part = next((path for path in whole if Path(path).exists()), pieces[0].strip())
        if not part:
            raise ConfigError(f"'{source}': a part of this chain is empty: write it as \"first | second\"")
        del pieces[: part.count("|") + 1]
        parts.append(part)
    return parts


class Chained(Task):
    """The tasks of a chain as one: what it takes, makes and returns. Only `Model` knows the conditions."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.parts = nn.ModuleList(part.task for part in chain.parts)
        tasks = [part.task for part in chain.parts]
        self.takes, self.makes = tasks[0].takes, chain.makes[-1]
        self.source, self.target = tasks[0].source, tasks[-1].target
        self._chain = [chain]  # in a list, so that it is not a submodule

    def translate(self, given: Tensor, **condition: Any) -> Tensor:
        """Translate a batch of what the first part takes into what the last one makes."""
        chain = self._chain[0]
        return chain._translate(Taken(given), chain._prepared("translate", condition), None)


class Chain(Model):
    """Several models as one; created by `load("a | b")`.

    Attributes:
        parts: the models.
        names: how they were named.
        makes: what the chain makes up to and including each part.

    Raises:
        ConfigError: a part cannot take what the one before it makes.
    """

    def __init__(self, parts: Sequence[Model], names: Sequence[str] | None = None) -> None:
        self.parts = list(parts)
        self.names = list(names or (str(part.source) for part in parts))
        for number, (before, part) in enumerate(zip(self.parts, self.parts[1:]), start=1):
            refuse_mismatch(self.names[number - 1], before.task, self.names[number], part.task)
        made = [part.task.makes for part in self.parts]
        self.makes = [reduce(lambda first, second: first.then(second), made[: n + 1]) for n in range(len(made))]
        source = Path(" | ".join(str(part.source) for part in self.parts))
        super().__init__(Chained(self), {"chain": [part.config for part in self.parts]}, source)

    @property
    def name(self) -> str:
        """What messages call it: the names of its parts."""
        return " | ".join(part.name for part in self.parts)

    def __repr__(self) -> str:
        weights = sum(parameter.numel() for parameter in self.task.parameters())
        kinds = " | ".join(type(part.task).__name__ for part in self.parts)
        return f"<Chain {kinds} of {self.source}: {weights:,} weights on {device_of(self.task)}>"

    def knows(self, name: str, call: str = "translate") -> bool:
        """Return whether a part has a condition of this name, or the numbered one, such as "2.direction"."""
        number, rest = address(name)
        places = range(len(self.parts)) if number is None else [number - 1]
        return any(0 <= at < len(self.parts) and self._part_knows(at, rest, call) for at in places)

    def _part_knows(self, at: int, name: str, call: str) -> bool:
        return self.parts[at].knows(name, "translate" if at else call)

    def _is_input(self, name: str) -> bool:
        number, rest = address(name)
        return any(part._is_input(rest) for at, part in enumerate(self.parts, start=1) if number in (None, at))

    def _known(self, call: str) -> list[str] | None:
        known = [part._known("translate" if at else call) for at, part in enumerate(self.parts)]
        if None in known:
            return None
        return [f"{at}.{name}" for at, names in enumerate(known, start=1) for name in names or ()]

    def _prepared(self, call: str, condition: dict[str, Any]) -> dict[str, Any]:
        """Return the conditions of each part, by the index of the part."""
        self._check(call, condition)
        divided: dict[str, Any] = {}
        numbered = sorted(
            condition, key=lambda name: address(name)[0] is not None
        )  # these last: they take precedence
        for at, part in enumerate(self.parts):
            given = {}
            for name in numbered:
                number, rest = address(name)
                if number in (None, at + 1) and self._part_knows(at, rest, call):
                    given[rest] = condition[name]
            with self._named(at):
                divided[str(at)] = part._prepared("translate" if at else call, given)
        return divided

    def stages(self, condition: dict[str, Any]) -> list[Stage] | None:
        """Return the networks of all parts; None unless they map images to images."""
        found: list[Stage] = []
        for at, part in enumerate(self.parts):
            own = part.stages(condition[str(at)])
            if own is None:
                return None
            before = found[-1].after if found else 1
            found += [Stage(part, condition[str(at)], before, before * own[0].after)]
        return found

    def _translate(
        self,
        taken: Taken,
        condition: dict[str, Any],
        tile: int | None,
        depth: torch.dtype | None = None,
        keep: Kept | None = None,
        first: int = 0,
    ) -> Tensor:
        """Translate with the parts from `first` on; only the last one may return levels."""
        for at, part in enumerate(self.parts[first:], start=first):
            with self._named(at):
                values = taken.values
                if at > 0:
                    values = part.task.takes.receive(values, self.makes[at - 1], taken.like)
                last = (depth, keep) if at + 1 == len(self.parts) else (None, None)
                made = part._translate(Taken(values, taken.like), condition[str(at)], tile, *last)
                taken = Taken(made, taken.like)
        return taken.values

    def _sample(self, number: int, seed: int, condition: dict[str, Any]) -> Tensor:
        """Sample with the first part, and translate each sample with the others."""
        with self._named(0):
            made = self.parts[0]._sample(number, seed, condition["0"])
        done = [self._translate(Taken(one[None]), condition, None, first=1) for one in made]
        return torch.cat(done) if done else made

    def write(self, path: str | Path, half: bool = False) -> None:
        """Raise ConfigError: a chain is several models, and a weights file has one."""
        raise ConfigError(f"{path}: a chain cannot be written to one file; write its parts: {', '.join(self.names)}")

    @contextmanager
    def _named(self, at: int) -> Iterator[None]:
        """Name the part in every error raised inside."""
        try:
            yield
        except I2IError as error:
            error.args = (f"part {at + 1} of the chain ({self.names[at]}): {error}",)
            raise


def refuse_mismatch(name: str, task: Task, next_name: str, next_task: Task) -> None:
    """Raise ConfigError unless the second task takes what the first one makes."""
    made, takes = task.makes, next_task.takes
    if type(next_task).translate is Task.translate:
        raise ConfigError(
            f"'{next_name}' generates {next_task.makes.plural} and translates nothing: it can only be the first of a "
            f"chain"
        )
    if not fits(made, takes):
        raise ConfigError(
            f"'{name} | {next_name}' is not possible: '{name}' makes {made.plural}, but '{next_name}' takes "
            f"{takes.plural}"
        )


def fits(made: Modality, takes: Modality) -> bool:
    """Return whether results of one modality are inputs of the other; a label map is not an image of colours."""
    return isinstance(made, type(takes)) and made.name == takes.name
