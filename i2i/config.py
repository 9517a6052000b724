"""YAML -> validated partials: what `i2i run experiment.yaml task.lambda_cycle=5` reads.

One rule: `use:` names something in the catalog, the other keys are its keyword arguments, the result is a
`functools.partial`. The schema is the constructor's signature with its types; positional-only parameters, and
the first one of an optimizer, are for whoever calls the partial and are no keys. Configs travel, also inside
weights, so a config can only name what is installed: no tags, imports, includes or interpolation, all bounded.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import itertools
import json
import math
import operator
import re
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pydantic
from annotated_types import Ge, Gt, Lt
from pydantic import PositiveFloat, PositiveInt, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python
from ruamel.yaml import YAML, events
from ruamel.yaml.error import YAMLError

from .catalog import KINDS, Catalog, Entry, Metric
from .errors import ConfigError, PluginError

MAX_BYTES, MAX_DEPTH, MAX_VALUES, MAX_INT = 200_000, 64, 5_000, 2**53

Keys = tuple[Any, ...]  # where a value stands: ("metrics", 0, "size")
Problem = tuple[Keys, str]


class Part(functools.partial):
    """What a config named, ready to be called; `use` is the name."""

    use: str


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
        checkpoint_every: steps from one checkpoint to the next
        keep: how many checkpoints are kept, the newest ones
        on_nan: stop at a loss that is not finite, or skip that step and count it
        timeout: seconds that a silent process or data loader is waited for
        threads: CPU threads of each process; null for PyTorch's choice

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
        metrics: what an evaluation measures
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
        self.metrics: list[tuple[str, Any]] = [(getattr(metric, "use", ""), metric) for metric in metrics]
        self.tree: dict[str, Any] = _plain(
            dict(task=task, data=data, optimizer=optimizer, schedule=schedule, train=train, metrics=metrics)
        )

    def text(self) -> str:
        """Return the config as YAML with all defaults filled in; reading that gives the same text again."""
        return dump(self.tree)


def load(path: str | Path, overrides: Sequence[str], catalog: Catalog) -> Config:
    """Read a config file; `overrides` are `KEY=VALUE`, the keys dotted, the values YAML.

    Raises:
        ConfigError: all mistakes, one on a line, each with its file and line or its override.
    """
    path = Path(path)
    try:
        if not path.is_file():
            near = difflib.get_close_matches(path.name, [file.name for file in path.parent.glob("*.y*ml")], n=1)
            raise ConfigError(f"{path}: there is no such file" + (f", did you mean {near[0]}?" if near else ""))
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read, {error.strerror}") from error
    return parse(raw, str(path), overrides, catalog)


def parse(text: str | bytes, name: str, overrides: Sequence[str], catalog: Catalog) -> Config:
    """Read a config given as text; `name` is the file that errors speak of. See `load`."""
    source = _Source(text, name)
    tree = _completed(source.tree, source)
    for override in overrides:
        _override(tree, override, source)
    return Config(Path(name).stem, **_arguments(tree, catalog, source))


def from_dict(tree: Any, catalog: Catalog, name: str = "config") -> Config:
    """Validate a config that is a plain tree already. See `load`."""
    try:
        tree = json.loads(json.dumps(tree))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not a plain tree, {error}") from error
    source = _Source("", name, numbered=False)
    return Config(Path(name).stem, **_arguments(_completed(tree, source), catalog, source))


def task_of(text: str | bytes, name: str, catalog: Catalog) -> tuple[dict[str, Any], Part]:
    """Return the tree of a config that came with weights, and its task; nothing else needs to be installed."""
    source = _Source(text, name)
    tree = _completed(source.tree, source)
    task = {key: value for key, value in tree.items() if key == "task"}
    return tree, _arguments(task, catalog, source, only=("task",))["task"]


def schema(catalog: Catalog) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of every config that this catalog allows, for editors."""
    grammar = _Grammar(catalog)
    players = {"type": "object", "not": {"required": ["use"]}, "additionalProperties": {"$ref": "#/$defs/optimizer"}}
    defs: dict[str, Any] = {"players": {"anyOf": [{"$ref": "#/$defs/optimizer"}, players]}}
    for kind in KINDS:
        names = [f"{kind}.{name}" for name in catalog.names(kind)]
        defs[kind] = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]} if names else {"not": {}}
    top = grammar.describe(_CONFIG, defs)
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


def dump(tree: dict[str, Any]) -> str:
    """Write a plain tree as YAML: what fits a line is on one line. It is read back as the same tree."""
    return "\n".join(_lines(tree, "")) + "\n"


def _lines(tree: dict[str, Any], indent: str) -> Iterator[str]:
    for key, value in tree.items():
        line = f"{indent}{_word(key)}: {_flow(value)}"
        long = len(line) > 100 or (isinstance(value, dict) and any(isinstance(v, dict) for v in value.values()))
        if isinstance(value, dict) and value and long:
            yield f"{indent}{_word(key)}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list) and long:
            yield f"{indent}{_word(key)}:"
            yield from (f"{indent}  - {_flow(item)}" for item in value)
        else:
            yield line


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_word(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _word(value) if isinstance(value, str) else json.dumps(value)


def _word(text: str) -> str:
    """Return a string bare if it can only be read as that string, else in double quotes, as JSON has them."""
    if re.fullmatch(r"[A-Za-z_/][\w./-]*( [\w./-]+)*", text, re.ASCII) and _scalar(text) == text:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(r"[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _scalar(text: str) -> Any:
    """Resolve a bare scalar as YAML 1.2's core schema does: `no` and `12:30` are strings, `010` is ten."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text[0] in "tT"
    if re.fullmatch(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", text) and len(text) < 1000:
        return int(text, 0 if text[1:2] in ("o", "x") else 10)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return float(text.replace(".", ""))
    return text


class _Source:
    """One YAML document: its tree, the place of each value, and what was wrong with it."""

    def __init__(self, text: str | bytes, name: str, *, numbered: bool = True) -> None:
        self.name, self.numbered = name, numbered
        self.places: dict[Keys, str] = {(): self.place(1)}
        self.problems: list[str] = []
        self._anchors: dict[str, int] = {}
        self._at = self._read = 0
        self._events = self._parse(self._decode(text))
        self.tree = self._next((), 0) if self._events else None

    def place(self, line: int) -> str:
        return f"{self.name}:{line}" if self.numbered else self.name

    def refuse(self, line: int, why: str) -> ConfigError:
        return ConfigError(f"{self.place(line)}: {why}")

    def _decode(self, text: str | bytes) -> str:
        """Return the text if it is of bearable size, UTF-8, and of the characters that YAML allows."""
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        if len(raw) > MAX_BYTES:
            raise self.refuse(1, f"this is too large, a config has at most {MAX_BYTES} bytes")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise self.refuse(line, f"byte {raw[error.start]:#04x} is not UTF-8, save the file as UTF-8") from error
        bad = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ufffd\U00010000-\U0010ffff]|^[^#\n]*?\t", text, re.M)
        if bad:
            line = text.count("\n", 0, bad.end()) + 1
            what = "a tab, use spaces" if bad[0][-1] == "\t" else f"the character U+{ord(bad[0]):04X}, remove it"
            raise self.refuse(line, f"there is {what}")
        return text

    def _parse(self, text: str) -> list[Any]:
        """Return the parser's events, as long as depth and number are bearable and there is one document."""
        found: list[Any] = []
        depth = 0
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                line = event.start_mark.line + 1
                depth += isinstance(event, events.CollectionStartEvent) - isinstance(event, events.CollectionEndEvent)
                if depth > MAX_DEPTH or len(found) > MAX_VALUES:
                    raise self.refuse(line, f"this is more than {MAX_DEPTH} levels deep or {MAX_VALUES} values long")
                if found and isinstance(event, events.DocumentStartEvent):
                    raise self.refuse(line, "a second document starts, a config is one")
                if isinstance(event, (events.NodeEvent, events.CollectionEndEvent)):
                    found.append(event)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            why = getattr(error, "problem", None) or getattr(error, "context", None) or "unreadable"
            raise self.refuse(mark.line + 1 if mark else 1, f"not YAML, {why}") from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # the parser's slips
            raise self.refuse(1, f"not YAML, {error}") from error
        return found

    def _next(self, keys: Keys, depth: int) -> Any:
        """Return the value that starts at the next event. An alias is read again in its place."""
        event = self._events[self._at]
        line = event.start_mark.line + 1
        self._at, self._read = self._at + 1, self._read + 1
        if depth > MAX_DEPTH or self._read > MAX_VALUES:
            raise self.refuse(line, f"with its aliases this is deeper than {MAX_DEPTH} or longer than {MAX_VALUES}")
        self.places.setdefault(keys, self.place(line))
        if isinstance(event, events.AliasEvent):
            if event.anchor not in self._anchors:
                raise self.refuse(line, f"nothing above has the anchor of *{event.anchor}")
            back, self._at = self._at, self._anchors[event.anchor]
            value = self._next(keys, depth + 1)
            self._at = back
            return value
        if event.anchor:
            self._anchors[event.anchor] = self._at - 1
        if event.tag is not None:
            self.problems.append(f"{self.place(line)}: the tag {event.tag} is refused, write the value without it")
        if isinstance(event, events.ScalarEvent):
            return _scalar(event.value) if event.style is None else event.value
        value = self._list(keys, depth) if isinstance(event, events.SequenceStartEvent) else self._dict(keys, depth)
        self._at += 1
        return value

    def _list(self, keys: Keys, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(self._events[self._at], events.CollectionEndEvent):
            items.append(self._next((*keys, len(items)), depth + 1))
        return items

    def _dict(self, keys: Keys, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := self._events[self._at], events.CollectionEndEvent):
            self._at += 1
            place = self.place(event.start_mark.line + 1)
            if not isinstance(event, events.ScalarEvent) or event.tag is not None or event.anchor:
                raise ConfigError(f"{place}: a key is a plain word")
            inner = (*keys, event.value)  # keys are text, also `no` and `1`
            if event.value in items:
                self.problems.append(
                    f"{place}: the key `{event.value}` is there twice, first at {self.places[inner]}"
                )
            self.places.setdefault(inner, place)
            items[event.value] = self._next(inner, depth + 1)
        return items


def _completed(tree: Any, source: _Source) -> dict[str, Any]:
    """Return the tree with the top-level keys that need not be written."""
    if not isinstance(tree, dict):
        why = f"{source.places[()]}: {_show(tree)} should be a mapping with the keys task, data, train, ..."
        raise ConfigError("\n".join([*source.problems, why]))
    return {"optimizer": {"use": "adam"}, "train": {}, "metrics": [], **tree}


def _override(tree: dict[str, Any], text: str, source: _Source) -> None:
    """Set in the tree what `text`, a KEY=VALUE, says; a key that nobody knows is found later, as any other."""
    place = f"override {_show(text)}"
    name, equals, value = text.partition("=")
    if not equals or "" in name.split("."):
        raise ConfigError(f"{place}: should be KEY=VALUE, as in train.steps=100")
    new = _Source(value, place, numbered=False)
    parent: Any = None
    node: Any = tree
    keys: Keys = ()
    for step in name.split("."):
        if not isinstance(node, dict) and not (isinstance(node, list) and step in map(str, range(len(node)))):
            raise ConfigError(f"{place}: `{_dotted(keys)}` is {_show(node)} and has no `{step}`")
        parent, keys = node, (*keys, step if isinstance(node, dict) else int(step))
        node = parent.get(step) if isinstance(parent, dict) else parent[keys[-1]]
        if node is None:
            node = parent[keys[-1]] = {}
        source.places.setdefault(keys, place)
    parent[keys[-1]] = new.tree
    source.places |= {keys + inner: where for inner, where in new.places.items()}
    source.problems += new.problems


class _Wrong(ValueError):
    """What is wrong with a part, all of it; pydantic carries it to the whole."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems


class _Key(NamedTuple):
    """A parameter that a config may set."""

    type: TypeAdapter[Any]
    required: bool
    default: Any  # as a config says it; `...` if a config cannot, and the constructor fills it in
    description: str


class _Grammar:
    """The constructors of a catalog as a schema."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.records: list[Entry] = []  # dataclasses that are types of parameters
        self._keys: dict[tuple[str, str], dict[str, _Key]] = {}  # of each kind and name, once

    def keys(self, entry: Entry) -> dict[str, _Key]:
        """Return the parameters of a constructor that a config may set.

        Raises:
            PluginError: its signature cannot be read.
        """
        if entry[:2] not in self._keys:
            try:
                parameters = list(inspect.signature(entry.build, eval_str=True).parameters.values())
                about = _documented(entry.build)
                self._keys[entry[:2]] = {
                    parameter.name: self._key(parameter, about.get(parameter.name, ""))
                    for parameter in parameters[entry.kind == "optimizer" :]
                    if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
                }
            except (NameError, AttributeError, TypeError, ValueError, SyntaxError, PydanticUserError) as error:
                raise PluginError(
                    f"the {entry.kind} '{entry.name}' of {entry.owner} cannot be used, the types of its parameters "
                    f"cannot be read: {str(error).partition(chr(10))[0]}"
                ) from error
        return self._keys[entry[:2]]

    def _key(self, parameter: inspect.Parameter, about: str) -> _Key:
        hint, default = parameter.annotation, parameter.default
        if hint is parameter.empty:
            hint = type(default) if isinstance(default, (bool, int, float, str, list, tuple, dict)) else Any
        hint = self._typed(hint if default is not None else hint | None)
        try:
            adapter = TypeAdapter(hint, config={"arbitrary_types_allowed": True, "extra": "forbid"})
        except PydanticUserError:  # a model, which brings its own configuration
            adapter = TypeAdapter(hint)
        if default is parameter.empty:
            return _Key(adapter, True, ..., about)
        try:
            default = _plain(default)
            adapter.validate_json(json.dumps(default), strict=True)
        except ValueError:  # such as a class
            default = ...
        return _Key(adapter, False, ... if any(_flaws(default)) else default, about)

    def _typed(self, hint: Any) -> Any:
        """Return a type in which what is marked as a part, such as `Network`, and each dataclass is read here."""
        origin, args = get_origin(hint), get_args(hint)
        kind = next((mark for mark in getattr(hint, "__metadata__", ()) if mark in (*KINDS, "players")), None)
        if kind:
            read = pydantic.PlainValidator(functools.partial(self.part, kind))
            return Annotated[Any, read, pydantic.WithJsonSchema({"$part": kind})]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            entry = Entry("record", f"{hint.__module__}.{hint.__qualname__}", hint, hint.__module__)
            self.records += [entry] * (entry not in self.records)
            read = pydantic.PlainValidator(functools.partial(self.record, entry))
            return Annotated[Any, read, pydantic.WithJsonSchema({"$part": f"record.{entry.name}"})]
        if origin is None or origin is Literal:
            return hint
        if origin is Annotated:
            return Annotated[(self._typed(args[0]), *hint.__metadata__)]
        args = tuple(self._typed(arg) for arg in args)
        return functools.reduce(operator.or_, args) if origin in (Union, types.UnionType) else origin[args]

    def part(self, kind: str, node: Any) -> Any:
        """Read one part; for players also a mapping of player to optimizer."""
        if kind == "players":
            kind = "optimizer"
            if isinstance(node, dict) and node and all(isinstance(value, dict) for value in node.values()):
                player = inspect.Parameter("player", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Any, kind])
                return self.arguments(dict.fromkeys(node, self._key(player, "")), node)
        names = ", ".join(self.catalog.names(kind)) or "none"
        if not isinstance(node, dict):
            raise _Wrong([((), f"{_show(node)} should be a mapping, as in {{use: NAME}}, possible names: {names}")])
        if "use" not in node:
            near = difflib.get_close_matches("use", node, n=1)
            if near:
                raise _Wrong([((near[0],), f"unknown key `{near[0]}`, did you mean `use`?")])
            raise _Wrong([((), f"the key `use` is missing, possible names: {names}")])
        if node["use"] not in self.catalog.names(kind):
            raise _Wrong([(("use",), self.catalog.unknown(kind, node["use"]))])
        entry = self.catalog.find(kind, node["use"])
        part = Part(entry.build, **self.arguments(self.keys(entry), {k: v for k, v in node.items() if k != "use"}))
        part.use = entry.name
        return part

    def record(self, entry: Entry, node: Any) -> Any:
        """Read a dataclass, such as `Train`: a mapping without `use`."""
        keys = self.keys(entry)
        if not isinstance(node, dict):
            raise _Wrong([((), f"{_show(node)} should be a mapping, possible keys: {', '.join(keys)}")])
        arguments = self.arguments(keys, node)
        try:
            return entry.build(**arguments)
        except (ConfigError, ValueError) as error:
            raise _Wrong([((), str(error))]) from error

    def arguments(self, keys: dict[str, _Key], node: dict[str, Any]) -> dict[str, Any]:
        """Return the values for all keys, the defaults too.

        Raises:
            _Wrong: with everything that is wrong.
        """
        found: dict[str, Any] = {}
        problems: list[Problem] = []
        meant = {key: _nearest(key, keys, node) for key in node if key not in keys}
        for unknown, near in meant.items():
            hint = f"did you mean `{near}`?" if near else f"possible: {', '.join(keys) or 'none'}"
            problems.append(((unknown,), f"unknown key `{unknown}`, {hint}"))
        for name, key in keys.items():
            value = node.get(name, key.default)
            if value is ...:
                if key.required and name not in meant.values():
                    about = f" ({key.description.rstrip('.')})" if key.description else ""
                    problems.append(((), f"the key `{name}` is missing{about}"))
                continue
            try:
                found[name] = key.type.validate_json(json.dumps(value), strict=True)
            except pydantic.ValidationError as error:
                problems += [((name, *inner), why) for inner, why in _explained(error, value)]
        if problems:
            raise _Wrong(problems)
        return found

    def describe(self, entry: Entry, defs: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON schema of one entry; types that it defines besides go into `defs`."""
        about = (inspect.getdoc(entry.build) or "").partition("\n\n")[0].replace("\n", " ")
        properties: dict[str, Any] = {"use": {"const": entry.name}} if entry.kind in KINDS else {}
        required = list(properties)
        try:
            keys = self.keys(entry)
        except PluginError as error:
            return {"description": str(error), "not": {}}
        for name, key in keys.items():
            prefix = f"{entry.kind}.{entry.name}."
            one = key.type.json_schema(ref_template=f"#/$defs/{prefix}{{model}}", schema_generator=_JsonSchema)
            defs.update({prefix + model: value for model, value in one.pop("$defs", {}).items()})
            one |= {"description": key.description} if key.description else {}
            one |= {"default": key.default} if key.default is not ... else {}
            properties[name] = one
            required += [name] * key.required
        tree: dict[str, Any] = {"title": entry.name.rpartition(".")[2], "description": about, "type": "object"}
        tree |= {"properties": properties, "required": required, "additionalProperties": False}
        return json.loads(re.sub(r'"\$part": "([^"]+)"', r'"$ref": "#/$defs/\1"', json.dumps(tree)))


class _JsonSchema(GenerateJsonSchema):
    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        return {"not": {}}  # a type that no config can say, such as a tensor


_CONFIG = Entry("record", "config", Config, "i2i")


def _arguments(
    tree: dict[str, Any], catalog: Catalog, source: _Source, only: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the keyword arguments of `Config` that the tree says, or raise everything that is wrong."""
    grammar = _Grammar(catalog)
    keys = {name: key for name, key in grammar.keys(_CONFIG).items() if only is None or name in only}
    flaws, problems = list(_flaws(tree)), []
    arguments: dict[str, Any] = {}
    try:
        arguments = grammar.arguments(keys, tree)
    except _Wrong as error:
        # What stands above a flaw, or on it, fails because of it.
        problems = [p for p in error.problems if not any(flaw[: len(p[0])] == p[0] for flaw, _ in flaws)]
    lines = dict.fromkeys(source.problems)
    for inner, why in flaws + problems:
        where = next(source.places[inner[:n]] for n in range(len(inner), -1, -1) if inner[:n] in source.places)
        lines[": ".join(filter(None, (where, _dotted(inner), why)))] = None
    if lines:
        raise ConfigError("\n".join(lines).encode("utf-8", "replace").decode())
    return arguments


def _flaws(node: Any, keys: Keys = ()) -> Iterator[Problem]:
    """Yield what no config may hold, whatever its schema says."""
    if len(keys) > MAX_DEPTH:
        yield keys, f"this is more than {MAX_DEPTH} levels deep"
    elif isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from (*_flaws(key, keys), *_flaws(value, (*keys, key)))
    elif isinstance(node, float) and not math.isfinite(node):
        yield keys, f"{node} is not a finite number"
    elif isinstance(node, int) and abs(node) > MAX_INT:
        yield keys, "an integer lies between -2^53 and 2^53, write a large number as 1e30"
    elif isinstance(node, str) and re.search("[\0\ud800-\udfff]", node):
        yield keys, "a NUL or half of a surrogate pair is no character"


def _plain(value: Any) -> Any:
    """Return parts, paths, tuples, enumerations ... as a config says them."""
    return to_jsonable_python(value, fallback=_described)


def _described(value: Any) -> Any:
    if isinstance(value, Part):
        return {"use": value.use, **value.keywords}
    raise ValueError(f"a config cannot say {value!r}")


def _explained(error: pydantic.ValidationError, node: Any) -> Iterator[Problem]:
    """Yield one problem for each place in `node` that pydantic complains of."""
    found: dict[Keys, list[str]] = {}
    for item in error.errors(include_url=False):
        keys: Keys = ()
        value = node
        for step in item["loc"]:  # the branches of a union are in there too, and are no keys
            if step in (value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()):
                keys, value = (*keys, step), value[step]
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, _Wrong):
            for inner, why in cause.problems:
                yield (*keys, *inner), why
        else:
            said = f"should have `{item['loc'][-1]}`" if item["type"] == "missing" else item["msg"]
            found.setdefault(keys, [_show(value)]).append(said.removeprefix("Input "))
    for keys, (shown, *whys) in found.items():
        yield keys, f"{shown} {' or '.join(dict.fromkeys(whys))}"


def _nearest(key: str, known: dict[str, _Key], given: dict[str, Any]) -> str:
    """Return the key that was meant, or ""; of two that are about as near, the one that is not given."""
    near = {name: difflib.SequenceMatcher(None, key, name).ratio() for name in known}
    best = max(known, key=lambda name: near[name] + 0.2 * (name not in given), default="")
    return best if near.get(best, 0) >= 0.5 else ""


def _documented(build: Callable[..., Any]) -> dict[str, str]:
    """Return what the docstring says of the arguments, in its `Args:`."""
    text = "\n".join(inspect.cleandoc(part.__doc__ or "") for part in (build, getattr(build, "__init__", None)))
    section = "".join(re.findall(r"^Args:\n((?: .*\n?|\n)*)", text, re.M))
    found = re.findall(r"^ {4}(\w+)(?: \([^)]*\))?: *(.+(?:\n {5,}.+)*)", section, re.M)
    return {name: " ".join(about.split()) for name, about in found}


def _dotted(keys: Keys) -> str:
    return ".".join(map(str, keys))


def _show(value: Any) -> str:
    """Return a value as a config says it, on one line of bearable length."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    return text if len(text) <= 60 else f"{text[:57]}..."
