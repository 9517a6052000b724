"""The docs are correct: every command, option, config and key in them exists, and the reference is complete.

The code blocks of the pages run in test_pages.py, the tutorial in test_tutorial.py; the hooks are in test_hooks.py.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import blocks
import pytest
import typer

from i2i import cli, config
from i2i.plugins import registry

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "plugins").glob("*/README.md"))]
TEXTS = [*PAGES[:1], ROOT / "docs" / "configs.md", *sorted((ROOT / "plugins").glob("*/README.md"))]


def commands(text: str) -> list[list[str]]:
    """Return the `i2i` commands in lines of shell, or in the header of a config, as lists of words."""
    shown = re.findall(r"^(?:# )?(i2i .*?)(?: +[#(].*)?$", text, flags=re.M)
    return [shlex.split(line) for both in shown for line in re.split(" +then: +", both)]


def named() -> Iterator[Any]:
    """Yield the commands that do not run in test_pages.py."""
    for page in sorted((ROOT / "configs").rglob("*.yaml")):
        for words in commands(page.read_text()):
            yield pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words[1:4])}")
    for page in PAGES:
        for block in blocks.blocks(page):
            lines = [line for line in block.text.splitlines() if block.skipped or line.startswith(block.left_out)]
            for words in commands("\n".join(lines)) if block.language == "sh" else []:
                yield pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words[1:4])}")


@pytest.mark.parametrize("words", list(named()))
def test_the_options_config_and_keys_of_every_command_exist(words: list[str]) -> None:
    command: Any = typer.main.get_command(cli.app)
    above = command.make_context("i2i", [], resilient_parsing=True)
    name, *rest = [word for word in words[1:] if word != "..."]
    command = command.get_command(above, name)
    assert command is not None, f"there is no command {name}"
    while hasattr(command, "get_command"):
        above = command.make_context(name, [], parent=above, resilient_parsing=True)
        name, *rest = rest
        command = command.get_command(above, name)
        assert command is not None, f"there is no command {name}"
    given = command.make_context(name, rest, parent=above).params
    if name == "run":
        overrides = [change for change in given["overrides"] or [] if not change.endswith("=...")]
        path = given["config"]
        config.load(ROOT / path if path.endswith(".yaml") else path, overrides, registry().catalog)


def test_every_command_and_option_in_a_message_exists() -> None:
    command: Any = typer.main.get_command(cli.app)
    above = command.make_context("i2i", [], resilient_parsing=True)
    known, options, waiting = set(), {"--help"}, [command]
    while waiting:
        one = waiting.pop()
        options |= {option for parameter in one.params for option in parameter.opts}
        if hasattr(one, "list_commands"):
            waiting += [one.get_command(above, name) for name in one.list_commands(above)]
            known |= set(one.list_commands(above))
    for path in [*(ROOT / "i2i").rglob("*.py"), *(ROOT / "plugins").rglob("*.py"), *TEXTS]:
        text = re.sub("python [^`\n]*", "", path.read_text())  # pytest and the benchmarks have their own options
        assert set(re.findall(r"`i2i ([a-z]+)", text)) <= known, path
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= options, path


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """Return the script that writes docs/reference.md."""
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_make_docs_writes(reference: ModuleType) -> None:
    stale = "docs/reference.md is stale: run `make docs`"
    assert (ROOT / "docs" / "reference.md").read_text() == reference.page(), stale


def test_the_reference_has_the_keys_of_every_data_set_and_names_that_can_be_imported(reference: ModuleType) -> None:
    page = (ROOT / "docs" / "reference.md").read_text()
    keys = re.findall(r"^\| `(\w+)` \| `\w+` \| [\w ]+ \| \[N", page, flags=re.M)
    assert {*keys} == {entry.name for entry in reference.bundled() if entry.kind == "data"}
    for name, line in re.findall(r"^\| `(\w+)` \| `(from \S+ import \w+)` \|", page, flags=re.M):
        variables: dict[str, Any] = {}
        exec(line, variables)
        built = variables[line.split()[-1]]
        assert any(entry.name == name and entry.build is built for entry in registry().catalog), line


@pytest.mark.parametrize("name", ["tutorial.md", "plugin_hooks.md"])
def test_the_python_of_a_page_compiles_and_its_imports_exist(name: str) -> None:
    for block in re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / name).read_text(), flags=re.M | re.S):
        tree = ast.parse("class Fragment:\n" + textwrap.indent(block, "    "))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "i2i":
                found = importlib.import_module(node.module or "")
                assert all(hasattr(found, alias.name) for alias in node.names), block


def test_the_commands_without_make_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (block,) = re.findall(
        r"^Without make:\n\n<!--.*-->\n\n((?: {4}.*\n)+)", (ROOT / "README.md").read_text(), flags=re.M
    )
    for line in textwrap.dedent(block).splitlines()[1:]:
        command = line.removeprefix("python -m ").replace("pip install", "pip install -q")
        assert command in makefile, line


def test_every_requirement_is_pinned_in_the_constraints() -> None:
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    names = {re.split(r"[<>=\[]", line)[0].lower() for text in wanted for line in text.split()}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    assert names <= pinned.keys()
    assert (pinned["torch"], pinned["torchvision"]) == ("2.13.0", "0.28.0")
