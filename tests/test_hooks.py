"""Hooks, public names, folders and docs are consistent."""

from __future__ import annotations

import configparser
import inspect
import re
from pathlib import Path

import pytest

import i2i
from i2i import hookspecs

ROOT = Path(__file__).parent.parent
HOOKS = {
    name: list(inspect.signature(function).parameters)
    for name, function in vars(hookspecs).items()
    if inspect.isfunction(function) and function.__module__ == hookspecs.__name__
}
PUBLIC = [
    "run",
    "translate",
    "sample",
    "evaluate",
    "load",
    "Model",
    "BatchTranslator",
    "Task",
    "Data",
    "Catalog",
    "Network",
    "Loss",
    "Metric",
    "hookimpl",
    "Card",
    "I2IError",
    "ConfigError",
    "DataError",
    "WeightsError",
    "NumericError",
    "ResourceError",
    "PluginError",
    "__version__",
]


def test_every_hook_is_documented_with_its_exact_signature() -> None:
    text = (ROOT / "docs" / "plugin_hooks.md").read_text()
    documented = dict(re.findall(r"^## (\w+)\((.*)\)$", text, flags=re.M))
    assert documented == {name: ", ".join(arguments) for name, arguments in HOOKS.items()}


def test_every_hook_is_used_by_a_plugin() -> None:
    sources = [path.read_text() for path in (ROOT / "plugins").glob("*/__init__.py")]
    for name in HOOKS:
        assert any(re.search(rf"@hookimpl\ndef {name}\(", source) for source in sources), name


def test_every_hook_is_called_by_a_test() -> None:
    tests = [path.read_text() for path in (ROOT / "tests").glob("test_*.py") if path.name != "test_hooks.py"]
    for name in HOOKS:
        assert any(re.search(rf"@hookimpl(\\n|\n) *def {name}\(", text) for text in tests), name


def test_the_public_names() -> None:
    assert list(i2i.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(i2i, name) is not None


def test_folders_packages_and_entry_points_agree() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
    packages = set(setup["options"]["packages"].split())
    points = setup["options.entry_points"]
    declared = {
        line.split("=")[1].split(":")[0].strip()
        for group in ("i2i", "i2i.commands")
        for line in points[group].strip().split("\n")
    }
    assert folders == declared
    found = [path for top in ("i2i", "plugins/i2i_*") for path in ROOT.glob(f"{top}/**/__init__.py")]
    below = {path.parent.relative_to(ROOT).as_posix().removeprefix("plugins/").replace("/", ".") for path in found}
    assert packages == below | {"i2i.configs"}
    assert setup["options"]["package_dir"].split("\n")[1:] == ["= plugins", "i2i = i2i", "i2i.configs = configs"]
    contracted = set(setup["importlinter"]["root_packages"].split())
    assert contracted == {"i2i", *folders}
    text = (ROOT / "setup.cfg").read_text()
    for name in folders:  # packages, entry point, root package, and its commands
        assert len(re.findall(rf"\b{name}\b", text)) <= 3 + max(1, len(re.findall(rf"= {name}:", text))), name


def test_every_plugin_has_a_readme() -> None:
    for folder in (ROOT / "plugins").glob("i2i_*"):
        assert (folder / "README.md").exists(), folder.name


@pytest.mark.parametrize(
    ("library", "packages"),
    [
        ("albumentations", ["i2i/data"]),
        ("lpips", ["i2i/metrics", "i2i/losses"]),
        ("torchvision", ["i2i/losses/torchvision_guard.py"]),
    ],
)
def test_a_library_is_imported_only_by_its_packages(library: str, packages: list[str]) -> None:
    for path in [*(ROOT / "i2i").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        if re.search(rf"^\s*(import|from) {library}\b", path.read_text(), flags=re.M):
            assert any(path.is_relative_to(ROOT / package) for package in packages), path


def test_only_processes_uses_torch_distributed() -> None:
    files = [*(ROOT / "i2i").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    using = {p.parent.name for p in files if re.search(r"torch\.distributed|import distributed", p.read_text())}
    assert using == {"processes"}
