"""Before the first step: do the keys of a config fit each other, and does the data fit the task?

Data of another kind, such as a class instead of a picture, is found by the modalities that the task declares; a wrong
number of channels by a rehearsal, see rehearsal.py. The latter is reported only with the key whose change has been
rehearsed too.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..config import Config
from ..config.grammar import Part
from ..contract import builder_for, name_of, players_of
from ..data.base import Data
from ..data.classes import class_names, classes_of
from ..data.stream import Batch, Numbered, refuse_empty
from ..errors import ConfigError, DataError, I2IError, blame
from ..task import Task
from .rehearsal import Misfit, rehearsed


class Change(NamedTuple):
    """One argument of one part of a config: `task.generator.in_channels`, now and changed."""

    part: tuple[str, ...]
    name: str
    now: int
    to: int

    @property
    def key(self) -> str:
        """The dotted key in the config."""
        return ".".join(("task", *self.part, self.name))


def refuse_what_does_not_fit(config: Config, task: Task) -> None:
    """Reject keys that are valid one by one, but not together.

    Raises:
        ConfigError: optimizers for other players than the task has, or a best result that nothing measures.
    """
    players = players_of(task)
    for player in players:
        builder_for(player, config.optimizer, players)
    known = ["validation", *(name for name, _ in config.metrics)]
    if config.train.best is not None and config.train.best.partition("/")[0] not in known:
        raise ConfigError(f"train.best is '{config.train.best}', but no metric has that name: {', '.join(known)}")


def refuse_unfit_data(config: Config, task: Task, data: Data) -> None:
    """Reject data of another kind than the task takes, and networks built for other numbers of channels.

    Raises:
        DataError: there are no samples, or an entry of theirs is of another kind; names it, and what is needed. Also
            from `Task.check`.
        ConfigError: the channels, or the classes, differ; names each key to change, and its value.
    """
    refuse_empty(data)
    refuse_other_classes(task, data)
    batch = Numbered(data, config.train.seed).read(range(min(2, len(data), data.batch_size)))
    if isinstance(batch, I2IError):
        return  # the first step reports it
    refuse_other_kinds(config.tree["data"], task, batch)
    with blame(task, "check"):
        task.check(batch)
    if isinstance(config.task, Part):
        refuse_other_channels(config.task, task, batch)


def refuse_other_classes(task: Task, data: Data) -> None:
    """Reject names of classes of a task that are not those of the data in the same order: each would mean another.

    Raises:
        ConfigError: as above; if either has only its numbers in order, and the other other names, `Task.check`
            compares how many there are.
    """
    own, known = classes_of(task), classes_of(data)
    named = all(names and names != class_names(len(names)) for names in (own, known))
    sorted_otherwise = sorted(own) == sorted(known)  # folders 0 to 11: "10" comes before "2"
    if own != known and (named or sorted_otherwise):
        right = f"[{','.join(known)}]" if len(known) <= 20 or sorted_otherwise else str(len(known))
        raise ConfigError(
            f"task.classes is [{', '.join(own)}], but the classes of the data are {right}: set task.classes={right}, "
            f"or use other data"
        )


def refuse_other_kinds(settings: Mapping[str, Any], task: Task, batch: Batch) -> None:
    """Reject a batch with an entry that is not of the modality which the task declares for it.

    Args:
        settings: those of the data set; a name that they give to an entry, as `data.parts` of shards, is quoted.
        task: declares its source, its target and its conditions; "image" is what generators are trained on.
        batch: some training samples.

    Raises:
        DataError: as above.
    """
    declared = {"image": task.makes, **task.conditions}
    if type(task).translate is not Task.translate:  # else its source and target mean nothing
        declared |= {task.target: task.makes, task.source: task.takes}
    for name, modality in declared.items():
        wanted = modality.unlike(batch[name]) if name in batch else ""
        if wanted:
            named = (
                f" (data.{key}.{name} is {part[name]})" for key, part in settings.items() if is_named(name, part)
            )
            raise DataError(
                f"'{name}' of each sample is {kind_of(batch[name])}{next(named, '')}, but {name_of(task)} needs "
                f"{modality.plural} there, {wanted}: use other data or another task"
            )


def is_named(name: str, part: Any) -> bool:
    """Return whether a setting gives an entry of the samples its content, by its name."""
    return isinstance(part, Mapping) and isinstance(part.get(name), str)


def kind_of(value: Any) -> str:
    """Describe an entry of a batch."""
    if not isinstance(value, Tensor):
        return "text" if value and all(isinstance(one, str) for one in value) else f"a {type(value).__name__}"
    kind = "floats" if value.is_floating_point() else "whole numbers"
    return f"{kind} {[*value.shape[1:]]}" if value.ndim > 1 else "a single number, such as a class"


def refuse_other_channels(build: Part, task: Task, batch: Batch) -> None:
    """Reject networks built for other numbers of channels than the data has.

    Raises:
        ConfigError: names each key to change, and its value.
    """
    batch = {name: value.to("meta") if isinstance(value, Tensor) else value for name, value in batch.items()}
    found = rehearsed(task, batch)
    changes: list[Change] = []
    while found is not None and len(changes) < 4:
        step = next(((c, after) for c, after in tried(build, found, batch) if after != found), None)
        if step is None or step[0].key in [change.key for change in changes]:
            break
        changes.append(step[0])
        build, found = changed(build, step[0]), step[1]
    if changes:
        wrong = ", ".join(f"{change.key} is {change.now}" for change in changes)
        right = " ".join(f"{change.key}={change.to}" for change in changes)
        raise ConfigError(f"{wrong}, which does not fit the data, {shown(batch)}: set {right}, or use other data")


def tried(build: Part, found: Misfit, batch: Batch) -> Iterator[tuple[Change, Misfit | None]]:
    """Yield each change that may cure a misfit, and the misfit that is left with it."""
    made: dict[int, tuple[str, ...]] = {}
    task = build_noting(build, made)
    home = next((made[id(m)] for name, m in task.named_modules() if id(m) in made and within(found.module, name)), ())
    counts = dict.fromkeys(v.shape[1] for v in batch.values() if isinstance(v, Tensor) and v.ndim > 2)
    changes = []
    if found.module:
        changes = [Change(home, name, now, found.given) for name, now in channels_of(part_at(build, home), "in")]
    for part in [(), *made.values()]:
        for name, now in channels_of(part_at(build, part), "out"):
            changes += [Change(part, name, now, count) for count in counts if count != now]
    for change in changes:
        try:
            other = changed(build, change)()
        except I2IError:
            continue
        yield change, rehearsed(other, batch)


def within(name: str, module: str) -> bool:
    """Return whether a module is another one or inside it, by their names."""
    return bool(name) and (name == module or name.startswith(f"{module}."))


def build_noting(build: Part, made: dict[int, tuple[str, ...]]) -> Task:
    """Build a task, and note the keys of the part that each network comes from by the id of the network."""

    def noting(part: Part, at: tuple[str, ...]) -> Part:
        def note(*args: Any, **keywords: Any) -> Any:
            network = part(*args, **keywords)
            made[id(network)] = at
            return network

        noted = Part(note)
        noted.use = part.use
        return noted

    parts = {key: noting(value, (key,)) for key, value in build.keywords.items() if isinstance(value, Part)}
    task: Task = build.func(*build.args, **{**build.keywords, **parts})
    return task


def part_at(build: Part, at: tuple[str, ...]) -> Part:
    """Return the part of a config at these keys."""
    for key in at:
        build = build.keywords[key]
    return build


def channels_of(part: Part, way: str) -> list[tuple[str, int]]:
    """Return names and values of the arguments that give the channels going in or out of what a part builds."""
    found: Mapping[str, inspect.Parameter] = inspect.signature(part.func).parameters
    values = {name: part.keywords.get(name, parameter.default) for name, parameter in found.items()}
    names = (f"{way}_channels", "channels")
    return [(name, value) for name, value in values.items() if name in names and isinstance(value, int)]


def changed(build: Part, change: Change) -> Part:
    """Return the part with one argument changed."""
    keywords = dict(build.keywords)
    if change.part:
        first, *rest = change.part
        keywords[first] = changed(keywords[first], change._replace(part=tuple(rest)))
    else:
        keywords[change.name] = change.to
    other = Part(build.func, *build.args, **keywords)
    other.use = build.use
    return other


def shown(batch: Batch) -> str:
    """Describe the images of a batch: "A 3 x 256 x 256, B 1 x 256 x 256"."""
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor) and value.ndim > 2}
    return ", ".join(f"{name} {' x '.join(map(str, value.shape[1:]))}" for name, value in tensors.items())
