"""Every code block of the documentation runs, page by page, each page in a folder of its own.

What a block names and nothing has made yet, a photograph or a trained run, is made small (`given.py`). A training
takes two steps at toy size; shipped configs on the pages of plugins are trained by test_configs.py instead. Marks in
the source of a page say what cannot run in a test, and why (`blocks.py`).
docs/tutorial.md runs in a fresh environment instead: test_tutorial.py.
"""

from __future__ import annotations

import configparser
import contextlib
import itertools
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import blocks
import pytest
from given import Given, data
from ruamel.yaml import YAML
from test_configs import ROOT, small

from i2i import cli, config
from i2i.plugins import load_files, registry

OWN_TEST = {"tutorial.md"}
GENERATED = {"reference.md"}  # from the code: test_docs.py
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "conformance/README.md")),
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in OWN_TEST | GENERATED),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]
LANGUAGES = ("sh", "python", "yaml", "ini", "text", "nginx")
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Enter an empty folder that has what a checkout has."""
    monkeypatch.chdir(tmp_path)
    for name in ("configs", "docs", "benchmarks", "conformance"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.delenv("I2I_WEIGHTS", raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    yield tmp_path
    registry.cache_clear()  # of --plugin


class Page:
    """Runs the blocks of a page in order."""

    def __init__(
        self,
        page: Path,
        place: Path,
        given: Given,
        monkeypatch: pytest.MonkeyPatch,
        said: pytest.CaptureFixture[str],
    ) -> None:
        self.given, self.monkeypatch, self.said = given, monkeypatch, said
        self.of_plugin = page.parent.parent.name == "plugins"
        self.variables: dict[str, object] = {"__name__": "__main__"}
        self.data = data(place)
        self.output = ""
        self.server: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def run(self, block: blocks.Block) -> None:
        """Run a block, or check it where it is not a program."""
        assert block.language in LANGUAGES, f"line {block.line}: a block of '{block.language}': {LANGUAGES}"
        if block.file:
            Path(block.file).write_text(block.text)
        elif block.language == "sh":
            for line in block.lines:
                self.given.make(line)
                self.shell(line)
        elif block.language == "python":
            self.given.make(f"{block.first}\n{block.text}")
            source = block.first + "\n" + self.local(block.text)
            exec(compile(source, f"line {block.line}", "exec"), self.variables)
        elif block.language == "yaml":
            changes = [f"{key}={flow(value)}" for key, value in YAML(typ="safe").load(block.text).items()]
            config.load(ROOT / "configs" / "cyclegan.yaml", changes, registry().catalog)
        elif block.language == "ini":
            configparser.ConfigParser().read_string(block.text)
        for message in re.findall(r"^i2i: .*", block.text, flags=re.M):
            assert message in self.output + self.said.readouterr().err, f"line {block.line}: {message}"

    def local(self, text: str) -> str:
        """Return a block with the port of this test's server."""
        return re.sub(r"(localhost|127\.0\.0\.1):8000", rf"\1:{self.port}", text)

    def shell(self, line: str) -> None:
        """Run a line; `i2i` in this process, so that torch is imported once."""
        words = shlex.split(line, comments=True)
        if words[:2] == ["pip", "install"]:
            for name in re.findall(r"i2i\[(\w+)\]", line):
                assert name in SETUP["options.extras_require"], line
            return
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            self.monkeypatch.setenv(name, value)
        if words[:2] == ["i2i", "serve"]:
            self.serve(words[2:])
        elif words[0] == "i2i" and not re.search(r" (\||\|\||&&|;|>) (?!.*[\"'])", line):
            self.i2i(words)
        else:
            done = subprocess.run(["bash", "-ec", self.local(line)], capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    def i2i(self, words: list[str]) -> None:
        """Run a command; a training at toy size, replacing an earlier one."""
        load_files([file for option, file in itertools.pairwise(words) if option == "--plugin"])
        if words[1] == "run" and self.only_a_config(words):
            config.load(words[2], words[3:], registry().catalog)  # test_configs.py trains each at toy size
            return
        if words[1] == "run":
            overrides = [word for word in words[3:] if re.match(r"[\w.]+=", word)]
            words = [*words, *small(words[2], next(self.data), overrides), "train.timeout=60"]
        if "--resume" not in words and words[1] in ("run", "import", "compare", "latent", "export"):
            words = [*words, "--force"]  # blocks list alternatives, which write the same file
        self.monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = self.said.readouterr()
        self.output += said.out + said.err
        assert not end.value.code, f"{shlex.join(words)}\n{said.err}"

    def only_a_config(self, words: list[str]) -> bool:
        """Return whether a plugin's page runs a shipped config as it is, on data that it does not have."""
        return self.of_plugin and all(
            re.match(r"configs/|data\.(root|validation|scene)=", word) for word in words[2:]
        )

    def serve(self, options: list[str]) -> None:
        """Start a server, and wait until it answers."""
        assert self.server is None, "one server a page"
        command = [sys.executable, "-m", "i2i", "serve", *options, "--port", str(self.port)]
        self.server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        latest = time.monotonic() + 90
        while True:
            assert self.server.poll() is None, command
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5).close()
                return
            assert time.monotonic() < latest, command
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server, if one runs."""
        if self.server is not None:
            self.server.terminate()
            assert self.server.wait(30) == 0


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def flow(value: object) -> str:
    """Return a value as YAML on one line."""
    with tempfile.TemporaryFile("w+") as file:
        yaml = YAML(typ="safe")
        yaml.default_flow_style, yaml.width = True, 10_000
        yaml.dump(value, file)
        file.seek(0)
        return file.read().strip().removesuffix("...").strip()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_runs(
    page: Path,
    place: Path,
    given: Given,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    all_of = Page(page, place, given, monkeypatch, capsys)
    try:
        for block in blocks.blocks(page):
            if not block.skipped:
                all_of.run(block)
    finally:
        all_of.stop()
