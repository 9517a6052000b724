"""Read untrusted YAML: its tree, the line of each value, and its errors.

Configs are exchanged, also inside weights. So tags, duplicate keys and further documents are rejected, and size,
depth, aliases and numbers are limited.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import YAMLError

from ..errors import ConfigError

MAX_BYTES, MAX_DEPTH, MAX_VALUES = 200_000, 64, 5_000

Keys = tuple[Any, ...]  # where a value is: ("metrics", 0, "size")


class Source:
    """One YAML document: its tree, the place of each value, and its mistakes."""

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
        """Return the text, checked for its size, for UTF-8 and for characters that YAML does not allow."""
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        if len(raw) > MAX_BYTES:
            raise self.refuse(1, f"too large, a config may have at most {MAX_BYTES} bytes")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise self.refuse(line, f"byte {raw[error.start]:#04x} is not UTF-8, save the file as UTF-8") from error
        bad = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ufffd\U00010000-\U0010ffff]|^[^#\n]*?\t", text, re.M)
        if bad:
            line = text.count("\n", 0, bad.end()) + 1
            code = f"the character U+{ord(bad[0][-1]):04X} is not allowed, remove it"
            raise self.refuse(line, "tabs are not allowed, use spaces" if bad[0][-1] == "\t" else code)
        return text

    def _parse(self, text: str) -> list[Any]:
        """Return the parser's events, after checking depth, number, and that there is only one document."""
        found: list[Any] = []
        depth = 0
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                line = event.start_mark.line + 1
                depth += isinstance(event, events.CollectionStartEvent) - isinstance(event, events.CollectionEndEvent)
                if depth > MAX_DEPTH or len(found) > MAX_VALUES:
                    raise self.refuse(line, f"more than {MAX_DEPTH} levels deep or more than {MAX_VALUES} values")
                if found and isinstance(event, events.DocumentStartEvent):
                    raise self.refuse(line, "a second document starts here, a config has only one")
                if isinstance(event, (events.NodeEvent, events.CollectionEndEvent)):
                    found.append(event)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            why = getattr(error, "problem", None) or getattr(error, "context", None) or "unreadable"
            raise self.refuse(mark.line + 1 if mark else 1, f"not YAML, {why}") from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # bugs of the parser
            raise self.refuse(1, f"not YAML, {error}") from error
        return found

    def _next(self, keys: Keys, depth: int) -> Any:
        """Return the value that starts at the next event. An alias is expanded in place."""
        event = self._events[self._at]
        line = event.start_mark.line + 1
        self._at, self._read = self._at + 1, self._read + 1
        if depth > MAX_DEPTH or self._read > MAX_VALUES:
            raise self.refuse(
                line, f"with its aliases expanded, more than {MAX_DEPTH} levels deep or more than {MAX_VALUES} values"
            )
        self.places.setdefault(keys, self.place(line))
        if isinstance(event, events.AliasEvent):
            if event.anchor not in self._anchors:
                raise self.refuse(line, f"the alias *{event.anchor} has no anchor above it")
            back, self._at = self._at, self._anchors[event.anchor]
            value = self._next(keys, depth + 1)
            self._at = back
            return value
        if event.anchor:
            self._anchors[event.anchor] = self._at - 1
        if event.tag is not None:
            self.problems.append(f"{self.place(line)}: the tag {event.tag} is not allowed, remove it")
        if isinstance(event, events.ScalarEvent):
            return scalar(event.value) if event.style is None else event.value
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
                raise ConfigError(f"{place}: a key must be a plain word")
            inner = (*keys, event.value)  # keys are strings, even `no` and `1`
            if event.value in items:
                self.problems.append(f"{place}: duplicate key `{event.value}`, first at {self.places[inner]}")
            self.places.setdefault(inner, place)
            items[event.value] = self._next(inner, depth + 1)
        return items


def scalar(text: str) -> Any:
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


def change(tree: dict[str, Any], text: str, source: Source) -> None:
    """Apply the override `text`, KEY=VALUE, to the tree; unknown keys are found later, like those of the file."""
    if not isinstance(text, str):
        raise ConfigError(
            f"override {text!r}: should be text, KEY=VALUE; give several one by one, or a list as *overrides"
        )
    place = f"override {show(text)}"
    name, equals, value = text.partition("=")
    if not equals or "" in name.split("."):
        raise ConfigError(f"{place}: should be KEY=VALUE, e.g. train.steps=100")
    if re.match(r"[^'\"\[{].*\s#", value):
        raise ConfigError(f"{place}: ` #` begins a comment in YAML; quote the value, {name}='\"{value}\"'")
    new = Source(value, place, numbered=False)
    parent: Any = None
    node: Any = tree
    keys: Keys = ()
    for step in name.split("."):
        if not isinstance(node, dict) and not (isinstance(node, list) and step in map(str, range(len(node)))):
            raise ConfigError(f"{place}: `{dotted(keys)}` is {show(node)} and has no `{step}`")
        parent, keys = node, (*keys, step if isinstance(node, dict) else int(step))
        node = parent.get(step) if isinstance(parent, dict) else parent[keys[-1]]
        if node is None:
            node = parent[keys[-1]] = {}
        source.places.setdefault(keys, place)
    parent[keys[-1]] = new.tree
    source.places |= {keys + inner: where for inner, where in new.places.items()}
    source.problems += new.problems


def dotted(keys: Keys) -> str:
    return ".".join(map(str, keys))


def show(value: Any) -> str:
    """Return a value as it is written in a config, on one short line."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    return text if len(text) <= 60 else f"{text[:57]}..."
