"""Each contract of tests/contracts.py fails on a violation, and only on one."""

from __future__ import annotations

from typing import Any

import pytest
from contracts import Library, Plugins
from grimp import ImportGraph

ALLOWED = [
    ("i2i_glow", "i2i"),
    ("i2i_glow.task", "i2i.data"),
    ("i2i_glow", "i2i_glow.task"),
    ("i2i_glow", "torch"),
    ("i2i.engine", "i2i.data.stream"),
    ("i2i.data.transforms", "albumentations"),
]
PLUGINS = {"core": "i2i", "promised": ["i2i", "i2i.data"]}


def violations(kind: Any, options: dict[str, Any], *added: tuple[str, str]) -> list[str]:
    """Check a contract on a graph of the allowed imports and some more, and return what it reports."""
    graph = ImportGraph()
    for importer, imported in [*ALLOWED, *added]:
        graph.add_import(importer=importer, imported=imported)
    check = kind("a contract", {}, options).check(graph, verbose=False)
    assert check.kept == (not check.metadata["violations"])
    found: list[str] = check.metadata["violations"]
    return found


def test_allowed_imports_keep_the_contracts() -> None:
    assert violations(Plugins, PLUGINS) == []
    assert violations(Library, {"library": "albumentations", "rooms": ["i2i.data"]}) == []


@pytest.mark.parametrize(
    ("importer", "imported", "message"),
    [
        ("i2i.engine", "i2i_glow", "the core imports a plugin: i2i.engine imports i2i_glow"),
        ("i2i", "i2i_glow.task", "the core imports a plugin: i2i imports i2i_glow.task"),
        ("i2i_glow", "i2i_lamp.task", "a plugin imports another one: i2i_glow imports i2i_lamp.task"),
        (
            "i2i_glow.task",
            "i2i.data.stream",
            "docs/plugin_api.md does not promise i2i.data.stream, which i2i_glow.task imports",
        ),
        ("i2i_glow", "i2i.engine", "docs/plugin_api.md does not promise i2i.engine, which i2i_glow imports"),
    ],
)
def test_a_forbidden_import_of_or_by_a_plugin_is_reported(importer: str, imported: str, message: str) -> None:
    assert violations(Plugins, PLUGINS, (importer, imported)) == [message]


@pytest.mark.parametrize("importer", ["i2i", "i2i.engine", "i2i.database", "i2i_glow", "i2i_glow.data"])
def test_a_library_imported_outside_its_rooms_is_reported(importer: str) -> None:
    found = violations(Library, {"library": "albumentations", "rooms": ["i2i.data"]}, (importer, "albumentations"))
    assert found == [f"{importer} imports albumentations"]
