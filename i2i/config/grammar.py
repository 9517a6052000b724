"""The schema of a config: the signatures of the constructors in the catalog, with their types and docstrings.

`use:` names something in the catalog and the other keys are its keyword arguments; the result is a `Part`, a partial.
Positional-only parameters, and the first one of an optimizer, are for the caller of the partial and are not keys.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import math
import operator
import re
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pydantic
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from ..catalog import KINDS, Catalog, Entry
from ..errors import ConfigError, PluginError, blame
from .source import MAX_DEPTH, Keys, show

MAX_INT = 2**53
# Words in pydantic's messages that mean nothing to the author of a config.
PYDANTICS_OWN = re.compile(r"^(Input|Tuple|List|Dictionary|Value error,) | after validation.*")

Problem = tuple[Keys, str]


class Part(functools.partial):
    """What a config names, ready to be called; `use` is the name."""

    use: str

    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        """Build it, with the arguments given by the part that contains it.

        Raises:
            ConfigError: it does not take these arguments, e.g. a decoder in place of a discriminator.
        """
        try:
            inspect.signature(self.func).bind(*self.args, *args, **{**self.keywords, **keywords})
        except TypeError as error:
            raise ConfigError(
                f"`{self.use}` cannot be used here: it is called with {len(args)} positional arguments ({error}); "
                f"use another of its kind, see `i2i catalog`"
            ) from error
        with blame(self.func, "its constructor"):
            return super().__call__(*args, **keywords)


class Problems(ValueError):
    """All mistakes in a part; pydantic passes them on to the whole."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems


class Key(NamedTuple):
    """A parameter that a config may set."""

    type: TypeAdapter[Any]
    required: bool
    default: Any  # as written in a config; `...` if a config cannot express it, and the constructor fills it in
    description: str


class Grammar:
    """The constructors of a catalog as a schema."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.records: list[Entry] = []  # dataclasses that are types of parameters
        self._keys: dict[tuple[str, str], dict[str, Key]] = {}  # cached, by kind and name

    def keys(self, entry: Entry) -> dict[str, Key]:
        """Return the parameters of a constructor that a config may set.

        Raises:
            PluginError: its signature cannot be read.
        """
        if entry[:2] not in self._keys:
            try:
                parameters = list(inspect.signature(entry.build, eval_str=True).parameters.values())
                about = documented(entry.build)
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

    def _key(self, parameter: inspect.Parameter, about: str) -> Key:
        hint, default = parameter.annotation, parameter.default
        if hint is parameter.empty:
            known = isinstance(default, (bool, int, float, str, list, tuple, dict))
            hint = type(default) if known else Annotated[Any, pydantic.AfterValidator(no_part)]
        hint = self._typed(hint if default is not None else hint | None)
        try:
            adapter = TypeAdapter(hint, config={"arbitrary_types_allowed": True, "extra": "forbid"})
        except PydanticUserError:  # a model with a configuration of its own
            adapter = TypeAdapter(hint)
        if default is parameter.empty:
            return Key(adapter, True, ..., about)
        try:
            default = plain(default)
            adapter.validate_json(json.dumps(default), strict=True)
        except ValueError:  # such as a class
            default = ...
        return Key(adapter, False, ... if any(flaws(default)) else default, about)

    def _typed(self, hint: Any) -> Any:
        """Return a type in which parts (marked types, e.g. `Network`) and dataclasses are read by this grammar."""
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
        """Read one part or, for players, a mapping of player to optimizer."""
        if kind == "players":
            kind = "optimizer"
            if isinstance(node, dict) and node and all(isinstance(value, dict) for value in node.values()):
                player = inspect.Parameter("player", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Any, kind])
                return self.arguments(dict.fromkeys(node, self._key(player, "")), node)
        names = ", ".join(self.catalog.names(kind)) or "none"
        if not isinstance(node, dict):
            raise Problems([((), f"{show(node)} should be a mapping such as {{use: NAME}}, possible names: {names}")])
        if "use" not in node:
            near = difflib.get_close_matches("use", node, n=1)
            if near:
                raise Problems([((near[0],), f"unknown key `{near[0]}`, did you mean `use`?")])
            raise Problems([((), f"the key `use` is missing, possible names: {names}")])
        try:
            entry = self.catalog.find(kind, str(node["use"]))
        except ConfigError as error:
            raise Problems([(("use",), str(error))]) from error
        part = Part(entry.build, **self.arguments(self.keys(entry), {k: v for k, v in node.items() if k != "use"}))
        part.use = entry.name
        return part

    def record(self, entry: Entry, node: Any) -> Any:
        """Read a dataclass, such as `Train`: a mapping without `use`."""
        keys = self.keys(entry)
        if not isinstance(node, dict):
            raise Problems([((), f"{show(node)} should be a mapping, possible keys: {', '.join(keys)}")])
        arguments = self.arguments(keys, node)
        try:
            return entry.build(**arguments)
        except (ConfigError, ValueError) as error:
            raise Problems([((), str(error))]) from error

    def arguments(self, keys: dict[str, Key], node: dict[str, Any]) -> dict[str, Any]:
        """Return the values of all keys, including defaults.

        Raises:
            Problems: with all mistakes.
        """
        found: dict[str, Any] = {}
        problems: list[Problem] = []
        meant = {key: nearest(key, keys, node) for key in node if key not in keys}
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
                problems += [((name, *inner), why) for inner, why in explained(error, value)]
        if problems:
            raise Problems(problems)
        return found

    def describe(self, entry: Entry, defs: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON schema of one entry; further types that it defines go into `defs`."""
        about = (inspect.getdoc(entry.build) or "").partition("\n\n")[0].replace("\n", " ")
        properties: dict[str, Any] = {"use": {"const": entry.name}} if entry.kind in KINDS else {}
        required = list(properties)
        try:
            keys = self.keys(entry)
        except PluginError as error:
            return {"description": str(error), "not": {}}
        for name, key in keys.items():
            prefix = f"{entry.kind}.{entry.name}."
            one = key.type.json_schema(ref_template=f"#/$defs/{prefix}{{model}}", schema_generator=JsonSchema)
            defs.update({prefix + model: value for model, value in one.pop("$defs", {}).items()})
            one |= {"description": key.description} if key.description else {}
            one |= {"default": key.default} if key.default is not ... else {}
            properties[name] = one
            required += [name] * key.required
        tree: dict[str, Any] = {"title": entry.name.rpartition(".")[2], "description": about, "type": "object"}
        tree |= {"properties": properties, "required": required, "additionalProperties": False}
        return json.loads(re.sub(r'"\$part": "([^"]+)"', r'"$ref": "#/$defs/\1"', json.dumps(tree)))


class JsonSchema(GenerateJsonSchema):
    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        return {"not": {}}  # a type that no config can express, such as a tensor


def flaws(node: Any, keys: Keys = ()) -> Iterator[Problem]:
    """Yield what no config may contain, whatever its schema."""
    if len(keys) > MAX_DEPTH:
        yield keys, f"more than {MAX_DEPTH} levels deep"
    elif isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from (*flaws(key, keys), *flaws(value, (*keys, key)))
    elif isinstance(node, float) and not math.isfinite(node):
        yield keys, f"{node} is not a finite number"
    elif isinstance(node, int) and abs(node) > MAX_INT:
        yield keys, "integers must be between -2^53 and 2^53"
    elif isinstance(node, str) and re.search("[\0\ud800-\udfff]", node):
        yield keys, "NUL characters and lone surrogates are not allowed"


def plain(value: Any) -> Any:
    """Return parts, paths, tuples, enumerations ... as they are written in a config."""
    return to_jsonable_python(value, fallback=described)


def described(value: Any) -> Any:
    if isinstance(value, Part):
        return {"use": value.use, **value.keywords}
    raise ValueError(f"a config cannot express {value!r}")


def explained(error: pydantic.ValidationError, node: Any) -> Iterator[Problem]:
    """Yield one problem for each place in `node` that pydantic rejects."""
    found: dict[Keys, list[str]] = {}
    for item in error.errors(include_url=False):
        keys: Keys = ()
        value = node
        for step in item["loc"]:  # the branches of a union are included, and are not keys
            if step in (value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()):
                keys, value = (*keys, step), value[step]
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, Problems):
            for inner, why in cause.problems:
                yield (*keys, *inner), why
        else:
            why = PYDANTICS_OWN.sub("", item["msg"])
            if item["type"] == "missing":
                why = "should have more values" if isinstance(value, list) else f"should have `{item['loc'][-1]}`"
            if item["type"] == "int_type" and isinstance(value, float) and value % 1 == 0 and abs(value) < MAX_INT:
                why = f"should be an integer: write {int(value)}"
            found.setdefault(keys, [show(value)]).append(why)
    for keys, (shown, *whys) in found.items():
        yield keys, f"{shown} {' or '.join(dict.fromkeys(whys))}"


def no_part(value: Any) -> Any:
    """Reject a part if the constructor does not declare which kind it takes."""
    if isinstance(value, dict) and "use" in value:
        raise ValueError("a part needs an annotated parameter: write `name: Network` (or Loss) in the constructor")
    return value


def nearest(key: str, known: dict[str, Key], given: dict[str, Any]) -> str:
    """Return the known key that was probably meant, or ""; of two equally near ones, the one that is not given."""
    near = {name: difflib.SequenceMatcher(None, key, name).ratio() for name in known}
    best = max(known, key=lambda name: near[name] + 0.2 * (name not in given), default="")
    return best if near.get(best, 0) >= 0.5 else ""


def documented(build: Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions of the arguments, from `Args:` in the docstring."""
    text = "\n".join(inspect.cleandoc(part.__doc__ or "") for part in (build, getattr(build, "__init__", None)))
    section = "".join(re.findall(r"^Args:\n((?: .*\n?|\n)*)", text, re.M))
    found = re.findall(r"^ {4}(\w+)(?: \([^)]*\))?: *(.+(?:\n {5,}.+)*)", section, re.M)
    return {name: " ".join(about.split()) for name, about in found}
