"""Configs that come with installed packages: `i2i run cyclegan` runs one by name, `i2i configs` lists all of them.

i2i and every plugin of the entry-point group `i2i` ship the files in the folder `configs/` of their package. A config
is named by its path in that folder, without the suffix: `cyclegan`, `paper/cyclegan`. Its header, the first comment,
gives the method and its paper, the command that runs it, and the time and result of that run. See docs/configs.md.
"""

from __future__ import annotations

import difflib
import importlib.util
import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from ..admission import installed, wanted
from ..errors import ConfigError
from .source import Source

SUFFIXES = (".yaml", ".yml")
OWN = [Path(__file__).parents[level] / "configs" for level in (1, 2)]  # when installed, and in a checkout


class Shipped(NamedTuple):
    """A config that comes with a package; `owner` is "i2i" or a plugin's name."""

    name: str
    owner: str
    path: Path

    def about(self) -> tuple[str, str, str]:
        """Return what the config is, what it needs, and what it reached, each on one line.

        Raises:
            ConfigError: it is not YAML.
        """
        raw = self.path.read_bytes()
        tree = Source(raw, str(self.path)).tree
        what, command, reached = header(raw.decode("utf-8-sig"))
        asked = " ".join(command.partition(" then: ")[0].split()[3:])  # what follows `i2i run CONFIG`
        folder = has_root(tree.get("data")) if isinstance(tree, dict) else False
        return what, asked or ("data.root=PATH" if folder else "nothing: its data is embedded"), reached


def shipped() -> list[Shipped]:
    """Return the configs of i2i and of all enabled plugins, sorted by folder and name, without importing a plugin."""
    owners = {"i2i": [place for place in OWN if place.is_dir()][:1]}
    owners |= {point.name: folders(point.module) for point in installed() if wanted(point.name)}
    found = [
        Shipped(path.relative_to(folder).with_suffix("").as_posix(), owner, path)
        for owner, places in owners.items()
        for folder in places
        for path in folder.rglob("*")
        if path.suffix in SUFFIXES and path.is_file()
    ]
    return sorted(found, key=lambda one: (one.name.rpartition("/"), one.owner))


def folders(package: str) -> list[Path]:
    """Return the folders in which a plugin's package keeps its configs."""
    try:
        spec = importlib.util.find_spec(package)
    except Exception:  # a package above it fails to import: `i2i plugins` gives the reason
        return []
    return [Path(place) / "configs" for place in (spec and spec.submodule_search_locations) or ()]


def find(given: str | os.PathLike[str]) -> Path:
    """Return the file of a config.

    Args:
        given: a file, if it is a `Path`, ends in .yaml or .yml, or exists as a file; else the name of a shipped
            config, or `PLUGIN:NAME` if several plugins ship one of that name.

    Raises:
        ConfigError: it is neither, or several plugins ship a config of that name.
    """
    path = Path(given)
    if is_file(given):
        return path
    found = [one for one in shipped() if given in (one.name, f"{one.owner}:{one.name}")]
    if len(found) > 1:
        names = " or ".join(f"{one.owner}:{one.name}" for one in found)
        raise ConfigError(f"'{given}' is the name of several configs: use {names}")
    if not found and may_exist(path):
        return path  # e.g. a folder: `load` gives the reason
    if not found:
        raise ConfigError(f"'{given}' is neither a file nor listed by `i2i configs`{nearest(path)}")
    return found[0].path


def is_file(given: str | os.PathLike[str]) -> bool:
    """Return whether this means a file and not the name of a shipped config."""
    path = Path(given)
    return not isinstance(given, str) or path.suffix.lower() in SUFFIXES or os.path.isfile(path)


def may_exist(path: Path) -> bool:
    """Return whether there is something at a path, or no way to know, as below a folder that is closed to us."""
    try:
        return path.exists()
    except OSError:
        return True


def instead_of(missing: Path) -> Path | None:
    """Return the shipped config that a command written for a checkout means, as `i2i run configs/gan.yaml` does."""
    folder, *rest = missing.parts or ("",)
    named = Path(*rest).with_suffix("").as_posix() if folder == "configs" and rest else ""
    return next((one.path for one in shipped() if one.owner == "i2i" and one.name == named), None)


def run_name(given: str | os.PathLike[str]) -> str:
    """Return the default name of a run: the stem of a file, or the name of a shipped config, e.g. paper/cyclegan."""
    return Path(given).stem if is_file(given) else str(given).rpartition(":")[2]


def nearest(path: Path) -> str:
    """Return a hint that names the shipped config nearest to a path, or ""."""
    names = [one.name for one in shipped()]
    meant = (path.parent / path.stem).as_posix().rpartition("configs/")[2]
    near = difflib.get_close_matches(meant, names, n=1) or difflib.get_close_matches(path.stem, names, n=1)
    return f", did you mean the shipped config {near[0]}?" if near else ""


def header(text: str) -> tuple[str, str, str]:
    """Split the first comment of a config into what it is, its command (`i2i run ...`), and what it reached.

    Lines after the command belong to it if they are indented, in parentheses, or start with PATH.
    """
    lines = [line[1:].rstrip() for line in itertools.takewhile(lambda line: line[:1] == "#", text.splitlines())]
    start = next((n for n, line in enumerate(lines) if line.strip().startswith("i2i run ")), len(lines))
    end = start + 1
    while end < len(lines) and lines[end].startswith(("  ", " (", " PATH ")):
        end += 1
    what, command, reached = (
        " ".join(" ".join(part).split()) for part in (lines[:start], lines[start:end], lines[end:])
    )
    return what, command, reached


def has_root(node: Any) -> bool:
    """Return whether a data set, or one it is derived from, is read from a folder."""
    return isinstance(node, dict) and (bool(node.get("root")) or any(map(has_root, node.values())))


def listing(word: str = "") -> str:
    """Return a line for each config; with `word`, what each whose name contains it is, needs and reached.

    Raises:
        ConfigError: no name contains it.
    """
    found = shipped()
    count = Counter(one.name for one in found)
    names = [one.name if count[one.name] == 1 else f"{one.owner}:{one.name}" for one in found]
    if word and not any(word in name for name in names):
        last = {name.rpartition("/")[2]: name for name in reversed(names)}
        near = [last.get(one, one) for one in difflib.get_close_matches(word, [*names, *last], cutoff=0.5)]
        hint = f", did you mean {' or '.join(dict.fromkeys(near))}?" if near else "; `i2i configs` lists all of them"
        raise ConfigError(f"no config has a name that contains '{word}'{hint}")
    widest, lines = max(map(len, names), default=0), []
    for one, name in zip(found, names, strict=True):
        if word in name:
            try:
                what, needs, reached = one.about()
                about = [what, f"needs    {needs}", f"reached  {reached}" if reached else ""]
            except ConfigError as error:
                about = [f"(broken) {error}"]
            if word:
                lines += [name, *(f"    {line}" for line in about if line)]
            else:
                lines.append(cut(f"{name:{widest}}  {about[0]}"))
    if not word:
        lines.append("\n`i2i configs NAME` says what a config needs and reached; `i2i run NAME` runs it")
    return "\n".join(lines)


def cut(line: str, width: int = 110) -> str:
    """Return a line of at most this many characters."""
    return line if len(line) <= width else f"{line[: width - 4].rstrip()} ..."
