"""The ledger: for each method its parity with published numbers, what was measured, and its distance from the paper.

Nothing is copied by hand: published numbers come from `published.json`, ours are computed, results come from the
headers of the configs, and the distance from the README of the plugin.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from i2i import ConfigError, files
from i2i.testing import read_config, shipped_configs

from .learning import Check, rerun
from .parity import Finding, findings

DISTANCE = re.compile(r"^## (?:Differences|Distance) from the papers?\n(.*?)(?=^## |\Z)", re.M | re.S)
HEAD = """\
# Ledger

`i2i verify --all` writes this page; a test checks that it is up to date. For each method:

- **Parity**: the published number, and what this version of i2i has. Numbers of parameters come from the published
  code, instantiated, unless the source says otherwise; shapes and the order of updates from its training.
- **Measured**: what training with a config has reached, from the first lines of the config.
- **Learning check**: a training of seconds that has to reach a recorded number again: `i2i verify NAME` runs it.
- **Distance from the paper**: what differs.
"""


@dataclass(frozen=True)
class Method:
    """An entry of `published.json`; `name` is that of the plugin without "i2i_"."""

    name: str
    title: str
    tasks: tuple[str, ...]
    parity: tuple[Mapping[str, Any], ...]
    learning: tuple[Check, ...]

    def configs(self) -> list[tuple[str, str, str]]:
        """Return the name of each config of i2i with its tasks, what it is, and the time and result in its header."""
        own = [one for one in shipped_configs() if one.owner == "i2i" and task_of(one.path) in self.tasks]
        return [(one.name, one.about()[0], one.about()[2]) for one in own]

    def distance(self) -> str:
        """Return what its README says about the distance from the paper, or that there is none."""
        spec = importlib.util.find_spec(f"i2i_{self.name}")
        folders = list(spec.submodule_search_locations or []) if spec else []
        text = (Path(folders[0]) / "README.md").read_text() if folders else ""
        found = DISTANCE.search(text)
        return found[1].strip() if found else "Not a method from a paper."

    def has(self, name: str) -> bool:
        """Return whether a name means this method: its own, that of a task, or that of a config."""
        return name in (self.name, *self.tasks) or any(name == config for config, _, _ in self.configs())


@cache
def task_of(path: Path) -> str:
    """Return the task of a config."""
    return str(read_config(path).tree["task"]["use"])


def methods() -> list[Method]:
    """Return all entries of `published.json`."""
    entries = json.loads((Path(__file__).parent / "published.json").read_text())
    return [
        Method(
            name,
            entry["title"],
            tuple(entry["tasks"]),
            tuple(entry["parity"]),
            tuple(Check.of(check) for check in entry["learning"]),
        )
        for name, entry in entries.items()
    ]


def chosen(name: str) -> Method:
    """Return the method with this name.

    Raises:
        ConfigError: there is none.
    """
    for method in methods():
        if method.has(name):
            return method
    names = [method.name for method in methods()]
    known = [*names, *(config for method in methods() for config, _, _ in method.configs())]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"give a method ({', '.join(names)}), a task or a shipped config"
    raise ConfigError(f"'{name}' is not in the ledger: {hint}")


def verify(name: str, quick: bool, say: Callable[[str], None]) -> bool:
    """Check one method and report it; return whether everything agrees.

    Args:
        name: of a method, a task or a config; a config limits parity to its own entries.
        quick: leave out the learning check.
        say: called with each line of the report.
    """
    method = chosen(name)
    say(f"{method.title} (i2i_{method.name})\n\nParity")
    entries = [entry for entry in method.parity if entry["config"] == name] or method.parity
    good = True
    for entry in entries:
        for found in findings(entry):
            good &= found.agrees
            verdict = "agrees " if found.agrees else f"DIFFERS, {found.found} here"
            say(f"  {found.config}: {found.what}: {found.published} ({found.source}): {verdict}")
    if not entries:
        say("  no published numbers")
    say("\nMeasured")
    for config, _, reached in method.configs():
        say(f"  {config}: {reached or 'nothing recorded'}")
    if not quick:
        say("\nLearning check")
        good &= all([checked(check, say) for check in method.learning])
    say(f"\nDistance from the paper\n{method.distance()}")
    return good


def checked(check: Check, say: Callable[[str], None]) -> bool:
    """Run a learning check and report it; return whether it passes."""
    score, seconds = rerun(check)
    verdict = "reached" if check.passes(score) else "MISSED"
    sign = ">=" if check.higher else "<="
    say(
        f"  {check.command()}\n  {check.number} {score:.4g} after {seconds:.0f} CPU-seconds: "
        f"{verdict} {sign} {check.bar:g} (recorded {check.reached:g}; {check.start:g} after one step)"
    )
    return check.passes(score)


def page(folder: Path) -> str:
    """Return the ledger as Markdown, for a file in `folder`."""
    return "\n".join([HEAD, *(section(method, folder) for method in methods())])


def section(method: Method, folder: Path) -> str:
    """Return the section of one method."""
    root = os.path.relpath(Path(shipped_configs()[0].path).parents[1], folder)
    found = [finding for entry in method.parity for finding in findings(entry)]
    lines = [f"## {method.title}\n", f"[i2i_{method.name}]({root}/plugins/i2i_{method.name})\n"]
    if found:
        lines += ["| config | | published | here | |", "|---|---|---|---|---|", *map(row, found), ""]
        lines += [f"Sources: {'; '.join(sources(found))}.\n"]
    else:
        lines += ["No published numbers to compare with.\n"]
    lines += ["| config | measured |", "|---|---|"]
    for name, what, reached in method.configs():
        cells = (text.replace("|", "\\|") for text in (f"`{name}`: {what}", reached))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["\nLearning check:\n"] if method.learning else []
    lines += [
        f"- `{check.command()}`: `{check.number}` {check.start:g} after one step, {check.reached:g} at the end "
        f"(at {'least' if check.higher else 'most'} {check.bar:g} required), {check.seconds:g} CPU-seconds"
        for check in method.learning
    ]
    moved = re.sub(r"\]\((?!https?:|#)", f"]({root}/plugins/i2i_{method.name}/", method.distance())
    return "\n".join([*lines, f"\n### {method.title}: distance from the paper\n", moved, ""])


def row(found: Finding) -> str:
    """Return the line of a comparison in a table."""
    return f"| `{found.config}` | {found.what} | {found.published} | {found.found} | {verdict(found)} |"


def verdict(found: Finding) -> str:
    """Return whether a comparison agrees, in a word."""
    return "agrees" if found.agrees else "**differs**"


def sources(found: list[Finding]) -> Iterator[str]:
    """Yield the sources of the comparisons, each once, with its configs."""
    by_source: dict[str, list[str]] = {}
    for one in found:
        names = by_source.setdefault(one.source, [])
        name = one.config.split()[0]
        if name not in names:
            names.append(name)
    for source, names in by_source.items():
        yield f"{', '.join(names)}: {source}"


def verify_all(quick: bool, out: Path, say: Callable[[str], None]) -> bool:
    """Check every method and write the ledger; return whether everything agrees."""
    good = all([verify(method.name, quick, say) for method in methods()])
    files.make_folder(out.parent)
    files.write(out, page(out.parent.resolve()).encode())
    print(f"{out}: written", file=sys.stderr)
    return good
