"""One experiment: the config of `i2i run experiment.yaml task.lambda_cycle=5`, validated and ready to be built."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import math
import os
import sys
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
        epochs: length of training in passes over the data; give this or `steps`
        steps: length of training in steps; give this or `epochs`
        speed: exact is PyTorch's own way; auto takes the fastest kernel for each convolution on the CPU, with
            results within 1e-4 of the largest value; fast is auto with bf16 where the device multiplies it
        precision: auto picks bf16 on GPUs (fp16 where they lack it), and fp32 elsewhere unless `speed` is fast
        device: auto takes an accelerator if there is one; or cpu, cuda, cuda:1, mps, xpu
        start_from: a run, weights file or model whose weights the training begins with; null for random ones
        seed: determines weights, data order and augmentation, 0 to 2^32 - 1
        ema: decay per step of the averaged weights, between 0 and 1; null disables averaging
        accumulate: number of batches whose gradients are averaged in one step
        clip: maximum norm of a player's gradient; null for no limit
        log_every: steps between lines of log.jsonl
        sample_every: steps between sample pictures
        evaluate_every: steps between evaluations; null evaluates once, at the end
        best: the evaluation result, e.g. "psnr/db", by which the published weights are chosen; null for the last
            ones
        best_is: whether the highest or the lowest result is the best
        checkpoint_every: steps between checkpoints
        keep: number of checkpoints to keep, the newest ones
        on_nan: on a loss or gradient that is not finite, stop, or skip the step and count it
        timeout: seconds to wait for a process or data loader that does not respond
        shard: divide weights, gradients and optimizer states among the processes, for networks larger than one device
        threads: CPU threads of each process; null for PyTorch's choice. Runs are identical bit for bit only with the
            same number, as sums are rounded differently

    Raises:
        ConfigError: both or neither of `epochs` and `steps` are given.
    """

    epochs: PositiveFloat | None = None
    steps: PositiveInt | None = None
    speed: Literal["exact", "auto", "fast"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: str = "auto"
    start_from: str | None = None
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
    shard: bool = False
    threads: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            raise ConfigError("neither `epochs` nor `steps` is given, give one of them")
        if self.epochs is not None and self.steps is not None:
            raise ConfigError(
                f"`epochs` is {self.epochs:g} and `steps` is {self.steps}, set one of them to null, e.g. with "
                f"train.epochs=null"
            )

    def length(self, samples: int, batch_size: int) -> int:
        """Return how many steps the training has, with so many samples in an epoch and in a step."""
        return self.steps or math.ceil((self.epochs or 0) * samples / batch_size)


class Config:
    """One experiment. Its keyword arguments are the top-level keys of the file.

    Args:
        task: the method
        data: the data set
        optimizer: one for all players, or a mapping of player to optimizer
        schedule: factor of the learning rate; null keeps it constant
        train: how long and how to train
        metrics: what an evaluation measures; a second psnr is called psnr_2 in the results
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
        """Return the config as YAML with all defaults filled in; reading and writing it gives the same text."""
        return dump(self.tree)


def numbered(names: Sequence[str]) -> list[str]:
    """Return the names made unique: the second psnr is psnr_2."""
    counts = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if count == 1 else f"{name}_{count}" for name, count in zip(names, counts, strict=True)]


CONFIG = Entry("record", "config", Config, "i2i")


def load(path: str | Path, overrides: Sequence[str], catalog: Catalog) -> Config:
    """Read a config.

    Args:
        path: a file, or the name of a shipped config; see `shipped.find`. Where there is no file configs/NAME.yaml,
            the shipped config NAME is read, and stderr of the first process says so.
        overrides: `KEY=VALUE` each; keys are dotted, values are YAML.

    Raises:
        ConfigError: all mistakes, one per line, each with its file and line or its override.
    """
    path = shipped.find(path)
    own = None if shipped.may_exist(path) else shipped.instead_of(path)
    if own is not None:
        if os.environ.get("RANK", "0") == "0" and "I2I_SAID" not in os.environ:  # `--nproc` has said it already
            print(f"i2i: there is no file {path} here: using the one that comes with i2i", file=sys.stderr)
        path = own
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
    """Read a config given as text; `name` is the file named in errors. See `load`."""
    source = Source(text, name)
    tree = completed(source.tree, source)
    for override in overrides:
        change(tree, override, source)
    return Config(Path(name).stem, **arguments_of(tree, catalog, source))


def from_dict(tree: Any, catalog: Catalog, name: str = "config") -> Config:
    """Validate a config given as a plain tree. See `load`."""
    try:
        tree = json.loads(json.dumps(tree))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not a plain tree, {error}") from error
    source = Source("", name, numbered=False)
    return Config(Path(name).stem, **arguments_of(completed(tree, source), catalog, source))


def task_of(
    text: str | bytes, name: str, catalog: Catalog, overrides: Sequence[str] = ()
) -> tuple[dict[str, Any], Part]:
    """Return the tree of a config that came with weights, and its task; only what the task uses must be installed."""
    source = Source(text, name)
    tree = completed(source.tree, source)
    for override in overrides:
        change(tree, override, source)
    task = {key: value for key, value in tree.items() if key == "task"}
    return tree, arguments_of(task, catalog, source, only=("task",))["task"]


def metrics_of(chosen: str | Sequence[Any], catalog: Catalog) -> list[tuple[str, Any]]:
    """Return (name, metric) for names, "psnr,ssim" or ["psnr", "ssim"], or for what `metrics` may be in a config."""
    if isinstance(chosen, str) and chosen.lstrip().startswith("["):
        text = chosen
    else:
        names = chosen.split(",") if isinstance(chosen, str) else chosen
        text = json.dumps([{"use": one.strip()} if isinstance(one, str) else one for one in names], default=str)
    source = Source(f"metrics: {text}", "--metrics", numbered=False)
    tree = {key: value for key, value in completed(source.tree, source).items() if key == "metrics"}
    metrics = arguments_of(tree, catalog, source, only=("metrics",))["metrics"]
    return list(zip(numbered([metric.use for metric in metrics]), metrics, strict=True))


def schema(catalog: Catalog) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of all configs that this catalog allows, for editors."""
    grammar = Grammar(catalog)
    players = {"type": "object", "not": {"required": ["use"]}, "additionalProperties": {"$ref": "#/$defs/optimizer"}}
    defs: dict[str, Any] = {"players": {"anyOf": [{"$ref": "#/$defs/optimizer"}, players]}}
    for kind in KINDS:
        names = [f"{kind}.{name}" for name in catalog.names(kind)]
        defs[kind] = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]} if names else {"not": {}}
    top = grammar.describe(CONFIG, defs)
    top["required"].remove("optimizer")
    for entry in itertools.chain(catalog, grammar.records):  # describing one may add further records
        defs[f"{entry.kind}.{entry.name}"] = grammar.describe(entry, defs)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": defs}


def changed(old: Any, new: Any, at: str = "") -> list[str]:
    """Return the dotted keys at which two trees differ; of a subtree that only one has, only the top key."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = {key: (old.get(key, ...), new.get(key, ...)) for key in {**old, **new}}
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = dict(enumerate(zip(old, new, strict=True)))
    else:
        return [] if old == new and isinstance(old, bool) == isinstance(new, bool) else [at]
    return [found for key, pair in pairs.items() for found in changed(*pair, f"{at}.{key}".lstrip("."))]


def completed(tree: Any, source: Source) -> dict[str, Any]:
    """Return the tree with the optional top-level keys filled in."""
    if not isinstance(tree, dict):
        given = "the config is empty but" if tree is None else show(tree)
        why = f"{source.places[()]}: {given} should be a mapping with the keys task, data, train, ..."
        raise ConfigError("\n".join([*source.problems, why]))
    return {"optimizer": {"use": "adam"}, "train": {}, "metrics": [], **tree}


def arguments_of(
    tree: dict[str, Any], catalog: Catalog, source: Source, only: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the keyword arguments of `Config` given by the tree, or raise all mistakes."""
    grammar = Grammar(catalog)
    keys = {name: key for name, key in grammar.keys(CONFIG).items() if only is None or name in only}
    found, problems = list(flaws(tree)), []
    arguments: dict[str, Any] = {}
    try:
        arguments = grammar.arguments(keys, tree)
    except Problems as error:
        # A part that contains a flaw fails because of it.
        problems = [p for p in error.problems if not any(flaw[: len(p[0])] == p[0] for flaw, _ in found)]
    lines = dict.fromkeys(source.problems)
    for inner, why in found + problems:
        where = next(source.places[inner[:n]] for n in range(len(inner), -1, -1) if inner[:n] in source.places)
        lines[": ".join(filter(None, (where, dotted(inner), why)))] = None
    if lines:
        raise ConfigError("\n".join(lines).encode("utf-8", "replace").decode())
    return arguments
