"""YAML -> validated partials: what `i2i run experiment.yaml task.lambda_cycle=5` reads.

One rule: `use:` names something in the catalog, the other keys are its keyword arguments, the result is a
`functools.partial`. The schema is the constructor's signature with its types; positional-only parameters are
for whoever calls the partial, and are no keys. A config comes from anywhere, also out of a stranger's weights,
so it can only name what is installed: no tags, no imports, no interpolation, and bounds on everything.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Lt
from pydantic import ConfigDict, PlainValidator, PositiveFloat, PositiveInt, TypeAdapter, ValidationError, WithJsonSchema
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError, PydanticSerializationError, to_jsonable_python
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, DocumentStartEvent, Event, MappingStartEvent, ScalarEvent, SequenceStartEvent
from ruamel.yaml.representer import SafeRepresenter

from .catalog import KINDS, Catalog, Entry, Metric
from .errors import ConfigError, PluginError

MAX_BYTES, MAX_DEPTH, MAX_VALUES, MAX_ALIASES, MAX_INT = 1_000_000, 64, 10_000, 100, 2**53

TaskPart = Annotated[Callable[..., Any], "task"]
DataPart = Annotated[Callable[..., Any], "data"]
Schedule = Annotated[Callable[..., Any], "schedule"]
Optimizers = Annotated[Any, "optimizers"]  # one part for all players, or a mapping of player -> part

Keys = tuple[Any, ...]  # where a value stands: ("metrics", 0, "size")
Problem = tuple[Keys, str]


class Part(functools.partial):  # type: ignore[type-arg]
    """What a config named, ready to be called; `use` is the name."""

    use: str


@dataclass(frozen=True, kw_only=True)
class Train:
    """How long and how to train.

    Args:
        epochs: length of the training in passes over the data; give this or `steps`
        steps: length of the training in steps; give this or `epochs`
        precision: auto picks what was measured to be fastest on the device
        seed: decides weights, data order and augmentation, 0 to 2^32 - 1
        ema: decay of the averaged weights per step, between 0 and 1; null for the task's own choice
        accumulate: batches whose gradients are averaged before a step
        clip: largest norm of a player's gradient; null for no limit
        log_every: steps between two lines of log.jsonl
        sample_every: steps between two sample pictures
        evaluate_every: steps between two runs of the metrics; null for once, at the end
        checkpoint_every: steps between two checkpoints
        keep: number of checkpoints kept, the newest ones
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
            raise ConfigError(f"`epochs` is {self.epochs:g} and `steps` is {self.steps}, give one and set the other to null")


class Config:
    """A validated config. Its keyword arguments are the top-level keys of the file.

    Args:
        task: the method
        data: the data set
        optimizer: one for all players, or a mapping of player to optimizer
        schedule: factor of the learning rate over the epochs; null keeps it constant
        train: how long and how to train
        metrics: what is measured when evaluating
    """

    def __init__(
        self,
        name: str,
        /,
        *,
        task: TaskPart,
        data: DataPart,
        optimizer: Optimizers,
        schedule: Schedule | None = None,
        train: Train,
        metrics: tuple[Metric, ...] = (),
    ) -> None:
        self.name = name
        self.task, self.data, self.optimizer, self.schedule, self.train = task, data, optimizer, schedule, train
        self.metrics: list[tuple[str, Part]] = [(metric.use, metric) for metric in metrics]  # type: ignore[attr-defined]
        parts = dict(task=task, data=data, optimizer=optimizer, schedule=schedule, train=train, metrics=metrics)
        self.tree: dict[str, Any] = _plain(parts)

    def text(self) -> str:
        """Return the config as YAML with all defaults filled in; reading it again gives the same text."""
        return dump(self.tree)


def load(path: str | Path, overrides: Sequence[str], catalog: Catalog) -> Config:
    """Read a config file; `overrides` are `KEY=VALUE` with dotted keys, the values YAML.

    Raises:
        ConfigError: all mistakes, one on a line, each with its file and line, or its override.
    """
    path = Path(path)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
        raise ConfigError(f"{path}: there is no such file" + f", did you mean {near[0]}?" * bool(near))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read, {error.strerror}") from error
    return parse(raw, str(path), overrides, catalog)


def parse(text: str | bytes, name: str, overrides: Sequence[str], catalog: Catalog) -> Config:
    """Read a config given as text; `name` is the file that errors speak of. See `load`."""
    source = _Source(text, lambda line: f"{name}:{line}")
    tree = source.tree
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: a config is a mapping with the keys task, data, train, ..., this one is {_show(tree)}")
    tree = {"optimizer": {"use": "adam"}, "train": {}} | tree
    for override in overrides:
        _override(tree, override, source)
    return _resolve(tree, name, catalog, source)


def from_dict(tree: dict[str, Any], catalog: Catalog, name: str = "config") -> Config:
    """Validate a config that is a plain tree already, such as the one inside a weights file.

    Raises:
        ConfigError: all mistakes, one on a line, each with its key.
    """
    source = _Source("", lambda line: name)
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: a config is a mapping with the keys task, data, train, ..., this one is {_show(tree)}")
    return _resolve({"optimizer": {"use": "adam"}, "train": {}} | tree, name, catalog, source)


def schema(catalog: Catalog) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of all configs that this catalog allows, for editors."""
    grammar, parts = _Grammar(catalog), {kind: [f"{kind}.{name}" for name in catalog.names(kind)] for kind in KINDS}
    defs: dict[str, Any] = {
        kind: {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]} if names else {"not": {}}
        for kind, names in parts.items()
    }
    for entry in catalog:
        defs[f"{entry.kind}.{entry.name}"] = grammar.describe(entry, defs)
    defs["train"] = grammar.describe(Entry("section", "train", Train, "i2i"), defs)
    top = grammar.describe(Entry("section", "config", Config, "i2i"), defs)
    top["required"] = [key for key in top["required"] if key != "optimizer"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": defs}


def changed(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys at which two trees differ; a key that only one of them has counts as one."""
    if isinstance(old, dict) and isinstance(new, dict):
        steps: list[Any] = [*old, *(key for key in new if key not in old)]
        pairs = [(step, old.get(step, math.nan), new.get(step, math.nan)) for step in steps]  # nan equals nothing
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(step, *pair) for step, pair in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new and isinstance(old, bool) == isinstance(new, bool) else [prefix]
    return [key for step, a, b in pairs for key in changed(a, b, f"{prefix}.{step}".lstrip("."))]


def dump(tree: dict[str, Any]) -> str:
    """Write a plain tree as YAML that this module reads back to the same tree."""
    yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
    yaml.Representer, yaml.default_flow_style, yaml.width = _Representer, None, 110
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(tree, stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    """Quotes every string that is not plainly a word."""

    def represent_str(self, data: str) -> Any:
        plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./ -]*(?<! )", data) and isinstance(_scalar(data), str)
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else '"')

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Representer.add_representer(str, _Representer.represent_str)


def _scalar(text: str) -> Any:
    """Resolve a plain scalar as the core schema of YAML 1.2 does: `no` and `12:30` are strings, 010 is ten."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text[0] in "tT"
    if re.fullmatch(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", text):
        return int(text, 0 if text[1:2] in ("o", "x") else 10) if len(text) < 1000 else math.inf
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return float(text.replace(".", ""))
    return text


class _Source:
    """One YAML document as a plain tree, the place of every value, and what was wrong with it."""

    def __init__(self, text: str | bytes, place: Callable[[int], str]) -> None:
        self.place, self.places = place, {(): place(1)}
        self.problems: list[str] = []
        self.anchors: dict[str, int] = {}
        self.values = self.aliases = 0
        self.events = list(self._events(self._decode(text)))
        self.tree = self._value(0, (), 0)[0] if self.events else None

    def refuse(self, line: int, why: str) -> ConfigError:
        return ConfigError(f"{self.place(line)}: {why}")

    def _decode(self, text: str | bytes) -> str:
        """Return the text if it is of a bearable size, in UTF-8, and made of characters YAML allows."""
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        if len(raw) > MAX_BYTES:
            raise self.refuse(1, f"larger than {MAX_BYTES} bytes, a config is at most that large")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise self.refuse(line, f"byte {raw[error.start]:#04x} is not UTF-8, save the file as UTF-8") from error
        bad = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|(?m:^[^#\n]*?\t)", text)
        if bad:
            what = "a tab, indent with spaces" if bad[0][-1] == "\t" else f"the character U+{ord(bad[0]):04X}, remove it"
            raise self.refuse(text.count("\n", 0, bad.end()) + 1, f"there is {what}")
        return text

    def _events(self, text: str) -> Iterator[Event]:
        """Yield the parser's events of the values in the only document."""
        depth = count = documents = 0
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                line = event.start_mark.line + 1
                name = type(event).__name__
                depth += name.endswith("gStartEvent") or name == "SequenceStartEvent"
                depth -= name in ("MappingEndEvent", "SequenceEndEvent")
                documents += isinstance(event, DocumentStartEvent)
                count += 1
                if depth > MAX_DEPTH:
                    raise self.refuse(line, f"nested deeper than {MAX_DEPTH} levels")
                if count > 2 * MAX_VALUES:
                    raise self.refuse(line, f"more than {MAX_VALUES} values")
                if documents > 1:
                    raise self.refuse(line, "a second document starts, a config is one document")
                if not name.startswith(("Stream", "Document")):
                    yield event
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            why = getattr(error, "problem", None) or getattr(error, "context", None) or "not YAML"
            raise self.refuse(mark.line + 1 if mark else 1, f"not YAML, {why}") from error
        except (ValueError, OverflowError, AttributeError, TypeError, AssertionError, RecursionError) as error:
            raise self.refuse(1, f"not YAML, {error}") from error  # ruamel's own slips, such as chr(2^31)

    def _value(self, at: int, keys: Keys, depth: int) -> tuple[Any, int]:
        """Return the value that starts at event `at`, and the event after it. An alias is read again in place."""
        event = self.events[at]
        line = event.start_mark.line + 1
        self.values += 1
        self.aliases += isinstance(event, AliasEvent)
        if self.values > MAX_VALUES or self.aliases > MAX_ALIASES or depth > MAX_DEPTH:
            raise self.refuse(line, f"the aliases expand to more than {MAX_ALIASES} aliases or {MAX_VALUES} values")
        self.places.setdefault(keys, self.place(line))
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise self.refuse(line, f"the alias *{event.anchor} has no anchor before it")
            return self._value(self.anchors[event.anchor], keys, depth + 1)[0], at + 1
        if event.tag is not None:
            self.problems.append(f"{self.place(line)}: the tag {event.tag} is refused, a config holds plain values only")
        if event.anchor:
            self.anchors[event.anchor] = at
        if isinstance(event, ScalarEvent):
            return (_scalar(event.value) if event.style is None else event.value), at + 1
        if isinstance(event, SequenceStartEvent):
            return self._list(at + 1, keys, depth + 1)
        return self._dict(at + 1, keys, depth + 1)

    def _list(self, at: int, keys: Keys, depth: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        while type(self.events[at]).__name__ != "SequenceEndEvent":
            item, at = self._value(at, (*keys, len(items)), depth)
            items.append(item)
        return items, at + 1

    def _dict(self, at: int, keys: Keys, depth: int) -> tuple[dict[str, Any], int]:
        items: dict[str, Any] = {}
        while type(event := self.events[at]).__name__ != "MappingEndEvent":
            line = event.start_mark.line + 1
            if not isinstance(event, ScalarEvent) or event.tag is not None:
                raise self.refuse(line, "a key is a word")
            key = event.value  # keys are text whatever they look like
            if key in items:
                first = self.places[*keys, key]
                self.problems.append(f"{self.place(line)}: the key `{key}` is there twice, first at {first}")
            self.places.setdefault((*keys, key), self.place(line))
            items[key], at = self._value(at + 1, (*keys, key), depth)
        return items, at + 1


def _override(tree: dict[str, Any], text: str, source: _Source) -> None:
    """Set what `text`, a KEY=VALUE, says; a key that does not exist is found later, by the grammar."""
    place = f"override `{text}`"
    name, equals, value = text.partition("=")
    if not equals or not all(name.split(".")):
        raise ConfigError(f"{place}: not of the form KEY=VALUE, as in train.steps=100")
    new = _Source(value, lambda line: place)
    node: Any = tree
    keys: Keys = ()
    steps = name.split(".")
    for i, step in enumerate(steps):
        last = i == len(steps) - 1
        if isinstance(node, list):
            if not step.isdecimal() or int(step) >= len(node):
                raise ConfigError(f"{place}: `{'.'.join(map(str, keys))}` has {len(node)} items, counted from 0, no `{step}`")
            key: Any = int(step)
        elif isinstance(node, dict):
            key = step
        else:
            raise ConfigError(f"{place}: `{'.'.join(map(str, keys))}` is {_show(node)}, which has no keys")
        keys = (*keys, key)
        if last:
            node[key] = new.tree
        elif isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
            source.places[keys] = place
        node = node[key]
    kept = {k: v for k, v in source.places.items() if k[: len(keys)] != keys}
    source.places = kept | {(*keys, *k): v for k, v in new.places.items()}
    source.problems += new.problems


class _Key(NamedTuple):
    """One key of a part: how to read it, and what it is when absent."""

    adapter: TypeAdapter[Any]
    required: bool
    default: Any  # as in a config; `...` where a config could not say it
    description: str


class _Grammar:
    """Constructors' signatures as schemas, over one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._known: dict[tuple[str, str], dict[str, _Key]] = {}

    def keys(self, entry: Entry) -> dict[str, _Key]:
        """Return the keys of a catalog entry: the parameters of its constructor that have a name and a type.

        Raises:
            PluginError: the annotations cannot be read.
        """
        if entry[:2] in self._known:
            return self._known[entry[:2]]
        keys: dict[str, _Key] = {}
        try:
            parameters = list(inspect.signature(entry.build, eval_str=True).parameters.values())
            documented = _documented(entry.build)
            for parameter in parameters[entry.kind == "optimizer" :]:
                if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                    keys[parameter.name] = self._key(parameter, documented.get(parameter.name, ""))
        except (NameError, AttributeError, TypeError, ValueError, SyntaxError, PydanticUserError) as error:
            raise PluginError(
                f"the {entry.kind} '{entry.name}' of {entry.owner} cannot be used in a config, "
                f"its signature cannot be read: {str(error).splitlines()[0]}"
            ) from error
        self._known[entry[:2]] = keys
        return keys

    def _key(self, parameter: inspect.Parameter, description: str) -> _Key:
        default, hint = parameter.default, parameter.annotation
        required = default is parameter.empty
        if hint is parameter.empty:
            hint = type(default) if isinstance(default, (bool, int, float, str, list, tuple, dict)) else Any
        hint = self._typed(hint)
        if default is None:
            hint = Union[hint, None]
        try:
            adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError:  # a model or a dataclass, with a configuration of its own
            adapter = TypeAdapter(hint)
        plain: Any = ...
        if not required:
            try:
                plain, problems = _cleaned(_plain(default))
                adapter.validate_json(json.dumps(plain), strict=True)
                plain = ... if problems else plain
            except (ValidationError, PydanticSerializationError):
                plain = ...  # such as a class: the constructor's own business
        return _Key(adapter, required, plain, description)

    def _typed(self, hint: Any) -> Any:
        """Return a type in which `Network`, `Loss`, ... and `Train` read a part of the config."""
        for mark in getattr(hint, "__metadata__", ()):
            if mark in KINDS:
                return self._read_by(functools.partial(self.part, mark), {"$part": mark})
            if mark == "optimizers":
                mapping = {"type": "object", "additionalProperties": {"$part": "optimizer"}, "properties": {"use": {"not": {}}}}
                return self._read_by(self.optimizers, {"anyOf": [{"$part": "optimizer"}, mapping]})
        if hint is Train:
            return self._read_by(self.train, {"$part": "train"})
        origin, args = get_origin(hint), get_args(hint)
        if origin is None or origin is Literal:
            return hint
        if origin is Annotated:
            return Annotated[(self._typed(args[0]), *hint.__metadata__)]
        args = tuple(map(self._typed, args))
        return Union[args] if origin is Union or not hasattr(origin, "__class_getitem__") else origin[args]

    @staticmethod
    def _read_by(read: Callable[[Any], tuple[Any, list[Problem]]], json_schema: dict[str, Any]) -> Any:
        def validate(node: Any) -> Any:
            value, problems = read(node)
            if problems:
                raise PydanticCustomError("part", "not valid", {"problems": problems})
            return value

        return Annotated[Any, PlainValidator(validate), WithJsonSchema(json_schema)]

    def part(self, kind: str, node: Any) -> tuple[Any, list[Problem]]:
        """Read a mapping with `use`."""
        possible = ", ".join(self.catalog.names(kind)) or "none"
        if not isinstance(node, dict):
            return None, [((), f"{_show(node)} should be a {kind}, as in {{use: NAME}}, possible: {possible}")]
        if "use" not in node:
            near = difflib.get_close_matches("use", node, n=1, cutoff=0.6)
            if near:
                return None, [((near[0],), f"unknown key `{near[0]}`, did you mean `use`?")]
            return None, [((), f"the key `use` is missing, it names the {kind}, possible: {possible}")]
        name, given = node["use"], {key: value for key, value in node.items() if key != "use"}
        if not isinstance(name, str) or name not in self.catalog.names(kind):
            return None, [(("use",), self.catalog.unknown(kind, name))]
        entry = self.catalog.find(kind, name)
        arguments, problems = self.arguments(entry, given)
        part = Part(entry.build, **arguments)
        part.use = name
        return part, problems

    def optimizers(self, node: Any) -> tuple[Any, list[Problem]]:
        """Read one part, or a mapping of player -> part."""
        if not isinstance(node, dict) or "use" in node or not all(isinstance(v, dict) for v in node.values()) or not node:
            return self.part("optimizer", node)
        read = {player: self.part("optimizer", value) for player, value in node.items()}
        problems = [((player, *keys), why) for player in read for keys, why in read[player][1]]
        return {player: part for player, (part, _) in read.items()}, problems

    def train(self, node: Any) -> tuple[Any, list[Problem]]:
        """Read the `train` section."""
        if not isinstance(node, dict):
            return None, [((), f"{_show(node)} should be a mapping, as in {{epochs: 200}}")]
        arguments, problems = self.arguments(Entry("section", "train", Train, "i2i"), node)
        try:
            return (None if problems else Train(**arguments)), problems
        except ConfigError as error:
            return None, [((), str(error))]

    def arguments(self, entry: Entry, node: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        """Return the keyword arguments that `node` gives, with the defaults, and all that is wrong."""
        keys = self.keys(entry)
        arguments: dict[str, Any] = {}
        meant = {key: _nearest(key, keys, node) for key in node if key not in keys}
        problems: list[Problem] = [((key,), f"unknown key `{key}`, {hint}") for key, (_, hint) in meant.items()]
        excused = {near for near, _ in meant.values()}
        for name, key in keys.items():
            if name not in node and key.required and name not in excused:
                why = f": {key.description}" if key.description else ""
                problems.append(((), f"the key `{name}` is missing{why}"))
            value = node.get(name, key.default)
            if value is ... or (name not in node and key.required):
                continue
            try:
                arguments[name] = key.adapter.validate_json(json.dumps(value), strict=True)
            except ValidationError as error:
                problems += [((name, *keys), why) for keys, why in _explained(error, value)]
        return arguments, problems

    def describe(self, entry: Entry, defs: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON schema of one entry; the types that it needs besides go into `defs`."""
        about = (inspect.getdoc(entry.build) or "").partition("\n\n")[0].replace("\n", " ")
        tree: dict[str, Any] = {"title": entry.name, "description": about, "type": "object"}
        tree |= {"properties": {}, "required": [], "additionalProperties": False}
        if entry.kind in KINDS:
            tree |= {"properties": {"use": {"const": entry.name}}, "required": ["use"]}
        try:
            keys = self.keys(entry)
        except PluginError as error:
            return {"description": str(error), "not": {}}
        for name, key in keys.items():
            template = f"#/$defs/{entry.kind}.{entry.name}.{{model}}"
            one = key.adapter.json_schema(ref_template=template, schema_generator=_JsonSchema)
            for model, value in one.pop("$defs", {}).items():
                defs[f"{entry.kind}.{entry.name}.{model}"] = value
            one |= {"description": key.description} if key.description else {}
            one |= {} if key.default is ... else {"default": key.default}
            tree["properties"][name] = one
            tree["required"] += [name] * key.required
        return json.loads(re.sub(r'"\$part": "(\w+)"', r'"$ref": "#/$defs/\1"', json.dumps(tree)))


class _JsonSchema(GenerateJsonSchema):
    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        return {"not": {}}  # a type that no config can say, such as a tensor


def _resolve(tree: dict[str, Any], name: str, catalog: Catalog, source: _Source) -> Config:
    """Validate the raw tree, or raise all that is wrong with it."""
    tree, flaws = _cleaned(tree)
    arguments, problems = _Grammar(catalog).arguments(Entry("section", "config", Config, "i2i"), tree)
    lines = list(source.problems)
    for keys, why in flaws + [p for p in problems if p[0] not in dict(flaws)]:
        where = next(source.places[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in source.places)
        lines.append(": ".join(filter(None, (where, ".".join(map(str, keys)), why))))
    if lines:
        raise ConfigError("\n".join(lines))
    return Config(Path(name).stem, **arguments)


def _cleaned(node: Any, keys: Keys = ()) -> tuple[Any, list[Problem]]:
    """Return the tree with null for every value that no config may hold, and the list of those."""
    if isinstance(node, (dict, list, tuple)) and len(keys) > MAX_DEPTH:
        return None, [(keys[:8], f"nested deeper than {MAX_DEPTH} levels")]
    if isinstance(node, dict):
        items = {str(key): _cleaned(value, (*keys, str(key))) for key, value in node.items()}
        return {key: value for key, (value, _) in items.items()}, [p for _, found in items.values() for p in found]
    if isinstance(node, (list, tuple)):
        values = [_cleaned(value, (*keys, i)) for i, value in enumerate(node)]
        return [value for value, _ in values], [p for _, found in values for p in found]
    if isinstance(node, float) and not math.isfinite(node):
        return None, [(keys, f"{node} is not a number that a config may hold, write a finite one")]
    if isinstance(node, int) and abs(node) > MAX_INT:
        return None, [(keys, "an integer lies between -2^53 and 2^53, write 1e30 for a large number")]
    if isinstance(node, str) and re.search("[\ud800-\udfff]", node):
        return None, [(keys, "half a surrogate pair is not a character")]
    if node is not None and not isinstance(node, (bool, int, float, str)):
        return None, [(keys, f"a {type(node).__name__} is not a plain value")]
    return node, []


def _plain(value: Any) -> Any:
    """Return parts, paths, tuples, enumerations ... as a config would say them."""
    return to_jsonable_python(value, fallback=_described)


def _described(value: Any) -> Any:
    if isinstance(value, Part):
        return {"use": value.use, **value.keywords}
    raise PydanticSerializationError(f"{value!r} is not a plain value")


def _explained(error: ValidationError, node: Any) -> Iterator[Problem]:
    """Yield one problem for each place in `node` of which pydantic complains."""
    found: dict[Keys, list[str]] = {}
    for item in error.errors(include_url=False):
        keys, value = (), node  # without the names of a union's branches, which are no keys
        for step in item["loc"]:
            if (isinstance(value, dict) and step in value) or (isinstance(value, list) and step in range(len(value))):
                keys, value = (*keys, step), value[step]
        if item["type"] == "part":
            for more, why in item["ctx"]["problems"]:
                found.setdefault((*keys, *more), []).append(why)
        else:
            said = item["msg"].removeprefix("Input ")
            found.setdefault(keys, []).append(said if found.get(keys) else f"{_show(value)} {said}")
    for keys, whys in found.items():
        yield keys, " or ".join(dict.fromkeys(whys))


def _nearest(key: str, known: dict[str, _Key], given: dict[str, Any]) -> tuple[str, str]:
    """Return the key that was meant, or "", and the words that say so; of two as near, the one not given."""
    ratio = {name: difflib.SequenceMatcher(None, key, name).ratio() for name in known}
    best = sorted(known, key=lambda name: (-ratio[name], name in given))[:1]
    if best and ratio[best[0]] >= 0.5:
        return best[0], f"did you mean `{best[0]}`?"
    return "", f"possible: {', '.join(known) or 'none'}"


def _documented(build: Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions of the arguments, from the docstring's `Args:`."""
    text = "\n".join(inspect.cleandoc(f.__doc__ or "") for f in (build, getattr(build, "__init__", build)))
    section = "".join(re.findall(r"^Args:\n((?:[ ]+.*\n?|\n)*)", text, re.M))
    found = re.findall(r"^ {4}(\w+)(?: \([^)]*\))?: *(.+(?:\n {5,}.+)*)", section, re.M)
    return {name: re.sub(r"\s+", " ", about) for name, about in found}


def _show(value: Any) -> str:
    """Return a value as a config says it, on one line of bearable length."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."
