"""One experiment: what `i2i run experiment.yaml task.lambda_cycle=5` reads, checked and ready to be built."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import PositiveFloat, PositiveInt

from .. import files
from ..catalog import KINDS, Catalog, Entry, Metric
from ..errors import ConfigError
from . import shipped
from .grammar import Grammar, Part, Problems, flaws, plain
from .source import MAX_BYTES, Source, change, dotted, show
from .write import dump


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """How long and how to train.

    Args:
        epochs: length of the training in passes over the data; give this or `steps`
        steps: length of the training in steps; give this or `epochs`
        precision: auto picks what was measured to be fastest on the device
        seed: decides weights, data order and augmentation, 0 to 2^32 - 1
        ema: decay per step of the averaged weights, between 0 and 1; null for no averaging
        accumulate: batches whose gradients are averaged in one step
        clip: largest norm of a player's gradient; null for no limit
        log_every: steps from one line of log.jsonl to the next
        sample_every: steps from one sample picture to the next
        evaluate_every: steps from one run of the metrics to the next; null for once, at the end
        best: the evaluation result, such as "psnr/db", by which the weights that are published are chosen; null
            for the last ones
        best_is: whether the highest or the lowest result is the best
        checkpoint_every: steps from one checkpoint to the next
        keep: how many checkpoints are kept, the newest ones
        on_nan: stop at a loss that is not finite, or skip that step and count it
        timeout: seconds that a silent process or data loader is waited for
        threads: CPU threads of each process; null for PyTorch's choice. Another number rounds sums otherwise: runs
            are equal bit for bit with the same number only

    Raises:
        ConfigError: both or none of `epochs` and `steps` are given.
    """

    epochs: PositiveFloat | None = None
    steps: PositiveInt | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    accumulate: PositiveInt = 1
    clip: PositiveFloat | None = None
    log_every: PositiveInt = 50
    sample_every: PositiveInt = 500
    evaluate_every: PositiveInt | None = None
    best: str | None = None
    best_is: Literal["highest", "lowest"] = "highest"
    checkpoint_every: PositiveInt = 1000
    keep: PositiveInt = 3
    on_nan: Literal["stop", "skip"] = "stop"
    timeout: PositiveFloat = 120.0
    threads: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            raise ConfigError("neither `epochs` nor `steps` is given, give one of them")
        if self.epochs is not None and self.steps is not None:
            raise ConfigError(f"`epochs` is {self.epochs:g} and `steps` is {self.steps}, set one of them to null")


class Config:
    """One experiment. Its keyword arguments are the top-level keys of the file.

    Args:
        task: the method
        data: the data set
        optimizer: one for all players, or a mapping of player to optimizer
        schedule: factor on the learning rate; null keeps it constant
        train: how long and how to train
        metrics: what an evaluation measures; a second psnr is called psnr_2 in its results
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        task: Annotated[Any, "task"],
        data: Annotated[Any, "data"],
        optimizer: Annotated[Any, "players"],
        schedule: Annotated[Any, "schedule"] | None = None,
        train: Train,
        metrics: tuple[Metric, ...] = (),
    ) -> None:
        self.name, self.task, self.data, self.optimizer = name, task, data, optimizer
        self.schedule, self.train = schedule, train
        names = [getattr(metric, "use", "") for metric in metrics]
        self.metrics: list[tuple[str, Any]] = list(zip(numbered(names), metrics, strict=True))
        self.tree: dict[str, Any] = plain(
            dict(task=task, data=data, optimizer=optimizer, schedule=schedule, train=train, metrics=metrics)
        )

    def text(self) -> str:
        """Return the config as YAML with all defaults filled in; reading that gives the same text again."""
        return dump(self.tree)


def numbered(names: Sequence[str]) -> list[str]:
    """Return the names, each different: the second psnr is psnr_2."""
    counts = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if count == 1 else f"{name}_{count}" for name, count in zip(names, counts, strict=True)]


CONFIG = Entry("record", "config", Config, "i2i")


def load(path: str | Path, overrides: Sequence[str], catalog: Catalog) -> Config:
    """Read a config.

    Args:
        path: a file, or the name of a shipped config; see `shipped.find`.
        overrides: `KEY=VALUE`, the keys dotted, the values YAML.

    Raises:
        ConfigError: all mistakes, one on a line, each with its file and line or its override.
    """
    path = shipped.find(path)
    try:
        if not path.is_file():
            near = difflib.get_close_matches(path.name, [file.name for file in path.parent.glob("*.y*ml")], n=1)
            hint = f", did you mean {near[0]}?" if near else shipped.nearest(path)
            raise ConfigError(f"{path}: {files.lacking(path, 'file')}{hint}")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read, {error.strerror}") from error
    return parse(raw, str(path), overrides, catalog)


def parse(text: str | bytes, name: str, overrides: Sequence[str], catalog: Catalog) -> Config:
    """Read a config given as text; `name` is the file that errors speak of. See `load`."""
    source = Source(text, name)
    tree = completed(source.tree, source)
    for override in overrides:
        change(tree, override, source)
    return Config(Path(name).stem, **arguments_of(tree, catalog, source))


def from_dict(tree: Any, catalog: Catalog, name: str = "config") -> Config:
    """Validate a config that is a plain tree already. See `load`."""
    try:
        tree = json.loads(json.dumps(tree))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not a plain tree, {error}") from error
    source = Source("", name, numbered=False)
    return Config(Path(name).stem, **arguments_of(completed(tree, source), catalog, source))


def task_of(text: str | bytes, name: str, catalog: Catalog) -> tuple[dict[str, Any], Part]:
    """Return the tree of a config that came with weights, and its task; nothing else needs to be installed."""
    source = Source(text, name)
    tree = completed(source.tree, source)
    task = {key: value for key, value in tree.items() if key == "task"}
    return tree, arguments_of(task, catalog, source, only=("task",))["task"]


def schema(catalog: Catalog) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of every config that this catalog allows, for editors."""
    grammar = Grammar(catalog)
    players = {"type": "object", "not": {"required": ["use"]}, "additionalProperties": {"$ref": "#/$defs/optimizer"}}
    defs: dict[str, Any] = {"players": {"anyOf": [{"$ref": "#/$defs/optimizer"}, players]}}
    for kind in KINDS:
        names = [f"{kind}.{name}" for name in catalog.names(kind)]
        defs[kind] = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]} if names else {"not": {}}
    top = grammar.describe(CONFIG, defs)
    top["required"].remove("optimizer")
    for entry in itertools.chain(catalog, grammar.records):  # each description may find further records
        defs[f"{entry.kind}.{entry.name}"] = grammar.describe(entry, defs)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": defs}


def changed(old: Any, new: Any, at: str = "") -> list[str]:
    """Return the dotted keys at which two trees differ; what only one of them has is named by its topmost key."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = {key: (old.get(key, ...), new.get(key, ...)) for key in {**old, **new}}
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = dict(enumerate(zip(old, new, strict=True)))
    else:
        return [] if old == new and isinstance(old, bool) == isinstance(new, bool) else [at]
    return [found for key, pair in pairs.items() for found in changed(*pair, f"{at}.{key}".lstrip("."))]


def completed(tree: Any, source: Source) -> dict[str, Any]:
    """Return the tree with the top-level keys that need not be written."""
    if not isinstance(tree, dict):
        given = "this is empty and" if tree is None else show(tree)
        why = f"{source.places[()]}: {given} should be a mapping with the keys task, data, train, ..."
        raise ConfigError("\n".join([*source.problems, why]))
    return {"optimizer": {"use": "adam"}, "train": {}, "metrics": [], **tree}


def arguments_of(
    tree: dict[str, Any], catalog: Catalog, source: Source, only: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the keyword arguments of `Config` that the tree says, or raise everything that is wrong."""
    grammar = Grammar(catalog)
    keys = {name: key for name, key in grammar.keys(CONFIG).items() if only is None or name in only}
    found, problems = list(flaws(tree)), []
    arguments: dict[str, Any] = {}
    try:
        arguments = grammar.arguments(keys, tree)
    except Problems as error:
        # What stands above a flaw, or on it, fails because of it.
        problems = [p for p in error.problems if not any(flaw[: len(p[0])] == p[0] for flaw, _ in found)]
    lines = dict.fromkeys(source.problems)
    for inner, why in found + problems:
        where = next(source.places[inner[:n]] for n in range(len(inner), -1, -1) if inner[:n] in source.places)
        lines[": ".join(filter(None, (where, dotted(inner), why)))] = None
    if lines:
        raise ConfigError("\n".join(lines).encode("utf-8", "replace").decode())
    return arguments
