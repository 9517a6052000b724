"""`i2i new NAME`: write a plugin package that installs, passes its tests and trains as it is.

i2i new glow                           # a task; also --kind data, metric, network, modality, latent
cd i2i-glow && pip install -e '.[test]' && pytest && i2i run glow

The packages are in `templates/`, one folder a kind and `common` for what all of them have. In their paths and texts
NAME stands for the name, TITLE for the class, VERSION for this version of i2i and SUMMARY for a sentence below.
"""

from __future__ import annotations

import ast
import configparser
import importlib.util
import keyword
import re
import sys
from contextlib import suppress
from enum import Enum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from i2i import ConfigError, __version__, files
from i2i.plugins import registry

ENTRY_POINTS = r"^\s*\[\s*project\s*\.\s*entry-points\s*\.\s*[\"']?i2i(\.commands)?[\"']?\s*\]"  # of a pyproject.toml
TEMPLATES = Path(__file__).parent / "templates"
SUMMARIES = {
    "task": "A method for i2i. It comes as a small denoiser with a GAN loss: replace `step` with your own.",
    "latent": "A method for i2i with a latent space. It comes as a small autoencoder: replace `step` with your own.",
    "data": "A data set for i2i. It comes as drawn discs with their outlines: replace `sample` with your own.",
    "metric": "A metric for i2i. It comes as a measure of sharpness: replace `__call__` with your own.",
    "network": "A network for i2i. It comes as a small residual generator: replace `forward` with your own.",
    "modality": "A modality for i2i. It comes as curves in .csv files, with a small task and data set for them.",
}
Kind = Enum("Kind", {kind: kind for kind in SUMMARIES})  # type: ignore[misc]


def new(
    name: Annotated[str, typer.Argument(help="A short lower-case name, e.g. glow.")],
    kind: Annotated[Kind, typer.Option("--kind", help="What the package brings.")] = Kind["task"],
    out: Annotated[str, typer.Option("-o", "--out", help="The folder to create; i2i-NAME by default.")] = "",
) -> None:
    """Write a plugin package that installs, passes its tests and trains as it is."""
    folder = Path(out or f"i2i-{name}")
    if folder.exists():
        raise ConfigError(f"{folder} already exists: choose another name, or another folder with -o")
    check_name(name)
    check_title(name, kind.value)
    if outer := outer_plugin(folder):
        print(f"i2i: {folder} lies in the package {outer}, but will not be a part of it", file=sys.stderr)
    for path, text in package(name, kind.value).items():
        files.make_folder((folder / path).parent)
        files.write(folder / path, text.encode())
    then = f"pip install -e '.[test]' && pytest && i2i run {name}"
    print(f"{folder}: written; next: cd {folder} && {then}")


def check_name(name: str) -> None:
    """Raise ConfigError if a plugin cannot have this name."""
    if keyword.iskeyword(name):
        raise ConfigError(f"'{name}' is a word of Python's own and cannot name a plugin: choose another")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f"'{name}' cannot name a plugin: use lower-case letters, digits and _, starting with a letter"
        )
    points = [point for group in ("i2i", "i2i.commands") for point in entry_points(group=group)]
    taken = {point.name: f"{point.dist.name} {point.dist.version}" for point in points if point.dist}
    if name in taken:
        raise ConfigError(f"'{name}' is a plugin or command of the installed {taken[name]}: choose another name")
    there = importlib.util.find_spec(name)
    if name in sys.stdlib_module_names or (there and there.origin):  # a mere folder of this name has no origin
        raise ConfigError(
            f"'{name}' is the name of an installed Python module, with which the plugin would be confused: choose "
            f"another name"
        )


def check_title(name: str, kind: str) -> None:
    """Raise ConfigError if the class of the package would be confused with another one, or the name is taken."""
    registered = "task" if kind == "latent" else kind
    if any((entry.kind, entry.name) == (registered, name) for entry in registry().catalog):
        raise ConfigError(f"there is already a {registered} called '{name}': choose another name")
    title, used = title_of(name), set[str]()
    for path, text in package("placeholder", kind).items():
        nodes = list(ast.walk(ast.parse(text))) if path.endswith(".py") else []
        used |= {node.id for node in nodes if isinstance(node, ast.Name)}
        used |= {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.alias)}
    if title in used:
        raise ConfigError(f"'{name}' would name a class {title}, as another one in the package: choose another name")


def title_of(name: str) -> str:
    """Return the name of the class: "ShortPath" for "short_path"."""
    return "".join(part.capitalize() for part in name.split("_"))


def outer_plugin(folder: Path) -> Path | None:
    """Return the package with plugins for i2i in which a new folder would lie, if any."""
    for parent in folder.resolve().parents:
        setup = configparser.ConfigParser(interpolation=None)
        with suppress(configparser.Error, UnicodeDecodeError):  # it need not be a package of ours
            setup.read(parent / "setup.cfg")
        project = parent / "pyproject.toml"  # Python 3.10 has no parser for it
        text = project.read_text(errors="replace") if project.is_file() else ""
        if setup.has_option("options.entry_points", "i2i") or re.search(ENTRY_POINTS, text, re.MULTILINE):
            return parent
    return None


def package(name: str, kind: str) -> dict[str, str]:
    """Return the files of a package by path."""
    title = title_of(name)
    filled = {"SUMMARY": SUMMARIES[kind], "VERSION": __version__, "TITLE": title, "NAME": name}

    def fill(text: str) -> str:
        return re.sub("|".join(filled), lambda found: filled[found[0]], text)

    written = {}
    for root in (TEMPLATES / "common", TEMPLATES / kind):
        for file in sorted(root.rglob("*.template")):
            written[fill(file.relative_to(root).as_posix().removesuffix(".template"))] = fill(file.read_text())
    return written
