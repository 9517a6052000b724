"""The docs are correct: the README runs as written, and every command, option, config and key in them exists.

The tutorial is tested in test_tutorial.py, the hooks in test_hooks.py.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from test_configs import toy

from i2i import api, cli, config
from i2i.plugins import registry

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "configs.md",
    *sorted((ROOT / "plugins").glob("*/README.md")),
    *sorted((ROOT / "configs").rglob("*.yaml")),
]
FENCED = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem not in ("tutorial", "plugin_hooks")]
TOY = [
    "task.generator.width=4",
    "task.generator.blocks=1",
    "task.discriminator.width=4",
    "data.size=64",
    "data.validation_samples=2",
    "train.epochs=null",
    "train.steps=2",
    "train.timeout=60",
    "metrics=[]",
]


def commands(page: Path) -> list[list[str]]:
    """Return the `i2i` commands of a page, or of the header of a config, as lists of words."""
    text = page.read_text()
    for fence in re.findall(r"^```bash\n(.*?)^```", text, flags=re.M | re.S):
        text += textwrap.indent(fence, " " * 4)
    shown = re.findall(r"^(?: {4}|# )(i2i .*?)(?: +[#(].*)?$", text, flags=re.M)
    return [shlex.split(line) for both in shown for line in re.split(" +then: +", both)]


def named() -> Iterator[Any]:
    for page in [*PAGES, *FENCED]:
        for words in commands(page):
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
    for path in [*(ROOT / "i2i").rglob("*.py"), *(ROOT / "plugins").rglob("*.py"), *PAGES]:
        text = re.sub("python [^`\n]*", "", path.read_text())  # pytest and the benchmarks have their own options
        assert set(re.findall(r"`i2i ([a-z]+)", text)) <= known, path
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= options, path


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the files that the README mentions: toy-size configs and runs, pictures and texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config.shipped, "OWN", [tmp_path / "configs"])  # so that names stand for the toy configs
    for name in ("configs/cyclegan.yaml", "configs/paper/cyclegan.yaml"):
        tiny = config.load(ROOT / name, TOY, registry().catalog)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(tiny.text().replace("load_size: 286", "load_size: 72"))
    for number, name in enumerate(
        (
            "DIR/trainA/a.png",
            "DIR/trainB/a.png",
            "DIR/testA/a.png",
            "DIR/testB/a.png",
            "PHOTOS/a.png",
            "more/b.jpg",
            "RESULTS/a.png",
            "TRUTH/a.png",
        )
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (70, 75, 3), np.uint8)).save(tmp_path / name)
    for name in ("horse.jpg", "zebra.png"):
        Image.open("PHOTOS/a.png").save(name)
    (tmp_path / "captions.txt").write_text("a green star\nthree blue circles\n")
    (tmp_path / "scene.txt").write_text("\n".join(f"{t} {p} {t * p} {p}" for t in range(8) for p in (1, 2)))
    for name in ("text2image", "videogan", "trajectory"):  # the README assumes that these runs exist
        tree = config.load(ROOT / "configs" / f"{name}.yaml", [], registry().catalog).tree
        changes = [*toy(tree), *(["data.size=32"] if "size" in tree["data"] else []), "train.steps=2", "metrics=[]"]
        changes += ["task.size=32"] if "size" in tree["task"] else []
        api.run(ROOT / "configs" / f"{name}.yaml", *changes, out=tmp_path / "runs" / name)
    return tmp_path


@pytest.mark.timeout(300)
def test_the_readme_runs_as_written(newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "README.md").read_text()
    done: list[list[str]] = []
    for words in commands(ROOT / "README.md"):
        if words in done:
            continue
        done.append(words)
        fresh = words[1] == "run" and len(done) > 1 and not {"-o", "--resume"} & {*words}
        monkeypatch.setattr(sys, "argv", [*words, *(["-o", f"runs/{len(done)}"] if fresh else [])])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code, words
    assert len(done) >= 8
    made = {".i2i-translate.jsonl", "a.png", "b.jpg", "zebra.png", "horse.webp", "horse.jpg"}
    made |= {"two-red-circles-above-a-blue-square.png", "captions-0001.png", "captions-0002.png"}
    made |= {"scene.txt", "scene.png", "scene.gif", *(f"0000{n}.gif" for n in range(8))}
    made |= {f"{n:05}.png" for n in range(20)}  # digits
    assert {path.name for path in (newcomer / "OUT").iterdir()} == made
    calls, step = re.findall(r"^```python\n(.*?)^```$", page, flags=re.M | re.S)
    variables = {"array": np.zeros((33, 21, 3), np.uint8), "img": Image.open("horse.jpg")}
    exec(compile(calls, "README.md", "exec"), variables)
    assert variables["out"].shape == (33, 21, 3)  # type: ignore[attr-defined]
    assert max(variables["large"].size) >= 75  # type: ignore[attr-defined]
    compile("class Fragment:\n" + textwrap.indent(step, "    "), "README.md", "exec")


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
    (block,) = re.findall(r"^Without make:\n\n((?: {4}.*\n)+)", (ROOT / "README.md").read_text(), flags=re.M)
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
