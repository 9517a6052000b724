"""docs/plugin_api.md lists every public name, and the bundled plugins use no others."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SECTIONS = re.split(r"^## ", (ROOT / "docs" / "plugin_api.md").read_text(), flags=re.M)[1:]
PAGE = {text.split("\n")[0]: re.findall(r"^- `(\w+)`: \S", text, flags=re.M) for text in SECTIONS}
PARTS = {
    "i2i.devices",
    "i2i.errors",
    "i2i.testing",
    "i2i.cli",
    "i2i.checkpoint",
    "i2i.plugins",
    "i2i.runs",
}  # of which only what is on the page is promised
FILES = sorted((ROOT / "plugins").rglob("*.py"))


def promised() -> set[str]:
    """Return the modules that the import contract in setup.cfg allows."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return set(setup["importlinter:contract:plugins"]["promised"].split())


def exists(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def test_the_page_has_a_section_for_each_module_that_the_contract_allows() -> None:
    assert set(PAGE) == {module for module in promised() if exists(module)}


@pytest.mark.parametrize("module", sorted(set(PAGE) - PARTS))
def test_the_page_has_all_public_names_of_a_room_once_and_no_others(module: str) -> None:
    assert sorted(PAGE[module]) == sorted(importlib.import_module(module).__all__)


@pytest.mark.parametrize("module", sorted(PARTS))
def test_names_promised_from_other_modules_exist(module: str) -> None:
    names = PAGE[module]
    assert len(set(names)) == len(names) > 0
    for name in names:
        assert hasattr(importlib.import_module(module), name), name


def test_every_promised_class_and_function_has_a_docstring() -> None:
    for module, names in PAGE.items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            if inspect.isfunction(value) or inspect.isclass(value):
                assert value.__doc__, f"{module}.{name}"


def used(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each name of the core that a file imports or uses as an attribute of a package."""
    tree = ast.parse(path.read_text())
    packages = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "i2i":
            for alias in node.names:
                if f"{node.module}.{alias.name}" in PAGE:
                    packages[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                else:
                    yield str(node.module), alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "i2i":
                    packages[alias.asname or "i2i"] = alias.name if alias.asname else "i2i"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            yield packages[node.value.id], node.attr


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_a_bundled_plugin_uses_only_names_on_the_page(path: Path) -> None:
    for module, name in used(path):
        assert name in PAGE.get(module, []), f"{module}.{name} is not in docs/plugin_api.md"


def test_the_plugins_use_every_public_package() -> None:
    assert {module for path in FILES for module, _ in used(path)} >= set(PAGE) - {"i2i.testing"}


@pytest.mark.parametrize("module", ["i2i", "i2i.images", "i2i.files", "i2i.modalities"])
def test_lightweight_packages_do_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
