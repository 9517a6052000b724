"""The config of a run as a flat table, and what in it differs from the defaults: `settings_of(text, catalog)`.

The defaults are those of the constructors that the config names, as they are installed now.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..catalog import KINDS, Catalog, Entry
from ..config.experiment import CONFIG, Train
from ..config.grammar import Grammar
from ..config.source import Source
from ..config.write import flow
from ..errors import I2IError
from ..plugins import registry

NONE = "(none)"


class Setting(NamedTuple):
    """One key of a config: its dotted name, its value, and its default; "(none)" if it has to be given."""

    key: str
    value: str
    default: str

    @property
    def changed(self) -> bool:
        """Whether it differs from the default."""
        return self.value != self.default


def settings_of(text: str, catalog: Catalog | None = None) -> list[Setting]:
    """Return every key of a resolved config; with the default "(none)" where its plugin is not installed.

    Args:
        text: the config, as YAML.
        catalog: the installed parts; by default those of i2i and its plugins.

    Raises:
        ConfigError: the text is not YAML.
    """
    tree = Source(text, "config.yaml").tree
    grammar = Grammar(registry().catalog if catalog is None else catalog)
    found: list[Setting] = []
    for key, value in (tree or {}).items():
        kind = {"metrics": "metric", "train": "train"}.get(key, key)
        found += settings(value, kind, key, grammar)
    return found


def settings(value: Any, kind: str | None, at: str, grammar: Grammar) -> Iterator[Setting]:
    """Yield the keys of a part, or of a list or mapping of parts, or a plain value."""
    if isinstance(value, dict) and kind == "train":
        yield from keys_of(value, Entry("record", "train", Train, "i2i"), at, grammar)
    elif isinstance(value, dict) and "use" in value:
        yield Setting(f"{at}.use", flow(value["use"]), NONE)
        given = {key: one for key, one in value.items() if key != "use"}
        yield from keys_of(given, entry_of(value["use"], given, kind, grammar), at, grammar)
    elif isinstance(value, dict) and value:
        for key, one in value.items():
            yield from settings(one, kind, f"{at}.{key}", grammar)
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for place, one in enumerate(value):
            yield from settings(one, kind, f"{at}[{place}]", grammar)
    else:
        default = grammar.keys(CONFIG)[at].default if at in grammar.keys(CONFIG) else ...
        yield Setting(at, flow(value), NONE if default is ... else flow(default))


def keys_of(given: dict[str, Any], entry: Entry | None, at: str, grammar: Grammar) -> Iterator[Setting]:
    """Yield the keys of one part beside `use`."""
    known = grammar.keys(entry) if entry is not None else {}
    for key, value in given.items():
        default = known[key].default if key in known else ...
        if isinstance(value, dict | list) and has_part(value) and value != default:
            yield from settings(value, None, f"{at}.{key}", grammar)
            continue
        whole = f"{at}.{key}"
        shown = NONE if default is ... else flow(default)
        if value == default and isinstance(value, bool) == isinstance(default, bool):  # 1 and 1.0 are the same
            shown = flow(value)
        yield Setting(whole, flow(value), shown)


def has_part(value: Any) -> bool:
    """Return whether a value contains a part of its own."""
    inside = value.values() if isinstance(value, dict) else value
    return (isinstance(value, dict) and "use" in value) or any(
        has_part(one) for one in inside if isinstance(one, dict | list)
    )


def entry_of(name: Any, given: dict[str, Any], kind: str | None, grammar: Grammar) -> Entry | None:
    """Return what a part names: of its kind, or of any kind that has all of its keys; None if it is not installed."""
    for one in [kind] if kind in KINDS else KINDS:
        try:
            entry = grammar.catalog.find(str(one), str(name))
            if kind in KINDS or {*given} <= {*grammar.keys(entry)}:
                return entry
        except I2IError:
            continue
    return None
