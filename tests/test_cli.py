"""The command line except training: help, listings, the schema, and one-line errors."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import i2i_command, i2i_process

from i2i import cli
from i2i.catalog import KINDS
from i2i.errors import ConfigError, PluginError
from i2i.plugins import load_files, registry
from i2i.version import __version__

ROOT = Path(__file__).parent.parent
STILL = ROOT / "plugins" / "i2i_cyclegan" / "run.png"
MOVING = ROOT / "plugins" / "i2i_videogan" / "shapes.gif"


def test_help_lists_all_commands_including_those_of_plugins(tmp_path: Path) -> None:
    shown = i2i_command("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for command in ("run", "evaluate", "translate", "sample", "plugins", "catalog", "schema", "data", "new"):
        assert f" {command} " in shown.stdout, command


def test_the_version_needs_no_command(tmp_path: Path) -> None:
    shown = i2i_command("--version", cwd=tmp_path)
    assert (shown.returncode, shown.stdout.strip()) == (0, __version__)


def test_catalog_lists_every_name_with_its_kind_and_owner(tmp_path: Path) -> None:
    shown = i2i_command("catalog", cwd=tmp_path)
    lines = {tuple(line.split()[:3]) for line in shown.stdout.splitlines()}
    assert lines == {(entry.kind, entry.name, entry.owner) for entry in registry().catalog}
    assert ("task", "cyclegan", "cyclegan") in lines
    assert {kind for kind, _, _ in lines} == set(KINDS)


def test_catalog_lists_those_whose_kind_or_name_contains_a_word(tmp_path: Path) -> None:
    shown = i2i_command("catalog", "discriminator", cwd=tmp_path).stdout.splitlines()
    names = {line.split()[1] for line in shown}
    assert names == {entry.name for entry in registry().catalog if "discriminator" in entry.name}
    losses = i2i_command("catalog", "loss", cwd=tmp_path).stdout.splitlines()
    assert {line.split()[1] for line in losses} == set(registry().catalog.names("loss"))
    nothing = i2i_command("catalog", "discriminater", cwd=tmp_path)
    assert nothing.returncode == 2
    assert "no kind and no name contains 'discriminater'; `i2i catalog` lists all of them" in nothing.stderr


def test_plugins_lists_installed_and_disabled_plugins(tmp_path: Path) -> None:
    shown = i2i_command("--no-plugin", "report", "plugins", cwd=tmp_path)
    states = {line[:16].strip(): line.split()[-1] for line in shown.stdout.splitlines()}
    assert states["cyclegan"] == states["i2i latent"] == states["i2i new"] == "ok"
    assert states["report"] == "disabled"


def with_package(folder: Path, points: str, source: str) -> dict[str, str]:
    """Write a package i2i_glow with these entry points, and return the environment in which it is installed."""
    about = folder / "i2i_glow-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: i2i-glow\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text(points)
    (folder / "i2i_glow.py").write_text(source)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "I2I_STRICT": "0"}


def test_E1_a_broken_package_is_listed_with_its_error_and_affects_nothing_else(tmp_path: Path) -> None:
    given = with_package(
        tmp_path,
        "[i2i]\nglow = i2i_glow\n[i2i.commands]\nshine = i2i_glow:shine\n",
        "import a_module_that_is_not_there\n",
    )
    listed = i2i_process("plugins", cwd=tmp_path, **given)
    lines = {line.split()[0]: line for line in listed.stdout.splitlines()}
    assert re.fullmatch(r"glow +i2i-glow 0\.1 +ModuleNotFoundError: No module named '\w+'", lines["glow"])
    assert lines["cyclegan"].endswith(" ok")
    assert re.search(r"(?m)^i2i shine +i2i-glow 0\.1 +ModuleNotFoundError: ", listed.stdout)
    assert listed.stderr.count("plugin 'glow' did not load") == 1
    needed = i2i_process("run", ROOT / "configs" / "cyclegan.yaml", "task.use=glow", cwd=tmp_path, **given)
    assert needed.returncode == 7
    assert needed.stderr.splitlines()[-1].startswith(
        "i2i: the task 'glow' needs the plugin 'glow', which did not load"
    )
    command = i2i_process("shine", cwd=tmp_path, **given)
    assert command.returncode == 7
    assert command.stderr.startswith("i2i: command 'shine' of i2i_glow:shine did not load: ModuleNotFoundError")
    assert "shine" in i2i_process("--help", cwd=tmp_path, **given).stdout


def test_E1_a_command_that_typer_cannot_take_is_broken_alone(tmp_path: Path) -> None:
    given = with_package(
        tmp_path, "[i2i.commands]\nshine = i2i_glow:shine\n", "def shine(x: int | str) -> None: ...\n"
    )
    shown = i2i_process("-h", cwd=tmp_path, **given)
    assert (shown.returncode, "shine" in shown.stdout, "translate" in shown.stdout) == (0, True, True)
    assert re.search(
        r"(?m)^i2i shine +i2i-glow 0\.1 +AssertionError: ", i2i_process("plugins", cwd=tmp_path, **given).stdout
    )


def test_a_plugin_file_may_have_been_imported_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = "from i2i import hookimpl\n\n\n@hookimpl\ndef register(catalog): ...\n"
    (tmp_path / "own_plugin_of_mine.py").write_text(hook)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("own_plugin_of_mine")
    load_files([str(tmp_path / "own_plugin_of_mine.py")])


@pytest.mark.parametrize("name", ["copy", "numpy"])
def test_a_plugin_file_cannot_replace_another_module(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("")
    with pytest.raises(PluginError, match=f"'{name}' is also the name of another Python module: rename the file"):
        load_files([str(tmp_path / f"{name}.py")])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "task.flow={use: unet_generator}",
            "i2i: `unet_generator` cannot be used here: it is called with",
        ),
        (
            "task.flow={use: dense_decoder}",
            "i2i: `dense_decoder` cannot be used here: it is called with",
        ),
        (
            "task.encoder={use: coupling_flow}",
            "i2i: `coupling_flow` cannot be used here: it is called with",
        ),
        ("data.batch_size=100000000000", "i2i: out of memory ("),
    ],
)
def test_a_misplaced_component_or_huge_batch_is_a_one_line_error(tmp_path: Path, change: str, said: str) -> None:
    ended = i2i_command("run", ROOT / "configs" / "vae_2d.yaml", "-o", "run", change, "train.steps=1", cwd=tmp_path)
    assert ended.returncode == (6 if "memory" in said else 2)
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(said)


def test_a_seed_given_as_a_condition_of_sample_is_redirected_to_the_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("i2i.api.load", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["i2i", "sample", "2", "-o", str(tmp_path / "out"), "-c", "seed=3"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "i2i: -c seed=3: `i2i sample` takes it as --seed 3\n"


def test_schema_is_json_and_has_the_keys_of_plugins(tmp_path: Path) -> None:
    shown = i2i_command("schema", cwd=tmp_path)
    tree = json.loads(shown.stdout)
    assert tree["$schema"].startswith("https://json-schema.org")
    assert "lambda_cycle" in tree["$defs"]["task.cyclegan"]["properties"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "nothing.yaml"), 2, "nothing.yaml: no such file"),
        (("run", "."), 2, "i2i: .: a folder, not a file"),
        (("translate", "a.png", "-o", "out"), 3, "i2i: using upscale-x2, which comes with i2i; `i2i models` lists "),
        (("translate", "a.png", "-o", "out", "-m", "nothing"), 4, "nothing: no model here"),
        (("translate", "a.png", "-o", "out", "-m", "upscal-x2"), 4, "no model here, did you mean upscale-x2?"),
        (
            ("translate", str(STILL), "-o", "out", "-m", "upscale-x2", "--steady"),
            2,
            "i2i: --steady is for videos and ",
        ),
        (
            ("translate", str(MOVING), "-o", "out", "-m", "upscale-x2", "--quality", "50"),
            2,
            "i2i: --quality is for pictures, and these inputs are videos or animations: leave it out\n",
        ),
        (("compare", "nothing", "-o", "out"), 2, "i2i: nothing does not exist: give a picture and models (-m), or "),
        (("compare", str(STILL), "-o", "out"), 2, "run.png: there is nothing to compare; give each model with -m"),
        (("compare", str(STILL), "-m", "digits", "-o", "out.png"), 2, "i2i: digits: this model does not translate, "),
        (("translate", "-", "-o", "out"), 2, "i2i: -: pipes are not supported, give files and a folder"),
        (("sample", "3", "-o", "-"), 2, "i2i: -: pipes are not supported, give files and a folder"),
        (("translate", str(STILL), "-o", "-"), 2, "i2i: -: pipes are not supported, give files and a folder"),
        (("catalog", "--plugin", "nothing.py"), 7, "nothing.py: no such file"),
        (("catalog", "--plugin", "."), 7, "--plugin .: a folder, not a file; give a Python file"),
        (("data", "check", "nothing"), 3, "'nothing': no such folder"),
        (("data", "check", __file__), 3, "test_cli.py': a file, not a folder"),
        (("sample", "3", "-o", "out", "-m", "nothing"), 4, "nothing: no model here"),
        (("evaluate", "nothing"), 2, "i2i: nothing is not a run: give a folder that `i2i run` has filled"),
        (("new", "cyclegan", "-o", "out"), 2, "i2i: 'cyclegan' is a plugin or command of the installed i2i "),
        (("new", "torch", "-o", "out"), 2, "i2i: 'torch' is the name of an installed Python module"),
        (("new", "latent", "-o", "out"), 2, "i2i: 'latent' is a plugin or command of the installed i2i "),
        (("sample", "3", "-o", "out", "-m", "digits", "--format", "gif"), 2, "i2i: format gif cannot be written for"),
        (("sample", "x", "-o", "out"), 2, "i2i: Invalid value for 'n': it should be a valid integer; see `"),
        (("sample", "3", "-o", "out", "-m", "upscale-x2"), 2, "it translates: use `i2i translate FILE`, or i2i."),
        (
            ("translate", str(STILL), "-o", "out", "-m", "digits"),
            2,
            "i2i: digits: this model does not translate, it generates: use `i2i sample N`, or i2i.sample",
        ),
        (
            ("translate", str(STILL), "-o", "out", "-m", "upscale-x2", "-c", "direction=BtA"),
            2,
            "i2i: `translate` of this model takes no conditions: leave out 'direction'\n",
        ),
        (("configs", "cyclgan"), 2, "i2i: no config has a name that contains 'cyclgan', did you mean cyclegan"),
        (("translat",), 2, "i2i: there is no command 'translat', did you mean `i2i translate`?\n"),
        (("docter",), 2, "i2i: there is no command 'docter', did you mean `i2i doctor`?\n"),
        (("qqqq",), 2, "i2i: there is no command 'qqqq'; see `i2i -h`\n"),
        (("data", "chek"), 2, "i2i: No such command 'chek' (did you mean 'check'?); see `i2i data -h`\n"),
        (("fit", "--limt"), 2, "i2i: No such option: --limt (did you mean --limit?); see `i2i fit -h`\n"),
        (("--verison",), 2, "i2i: No such option: --verison (did you mean --version?); see `i2i -h`\n"),
        (("models", "nope"), 2, "i2i: too many arguments: nope; see `i2i models -h`\n"),
        (("latent", "foo"), 2, "i2i: Invalid value for 'what': 'foo' is not one of 'sample', 'interpolate', "),
    ],
)
def test_a_mistake_is_a_one_line_error_with_its_exit_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = i2i_command(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [("run", ROOT / "configs" / "cyclegan.yaml"), ("new", "glow")])
@pytest.mark.parametrize("out", ["file/inside", "/proc/nobody/may"])
def test_a_folder_that_cannot_be_created_is_one_line(tmp_path: Path, arguments: tuple[str, ...], out: str) -> None:
    (tmp_path / "file").touch()
    done = i2i_command(*arguments, "-o", out, cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    assert done.stderr.startswith(f"i2i: cannot write {out}")
    assert len(done.stderr.splitlines()) == 1


def test_a_closed_pipe_leaves_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m i2i catalog | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_repeated_condition_becomes_a_list() -> None:
    from i2i.cli import conditions

    assert conditions(["style=a.jpg", "seed=3", "style=b=c.jpg"]) == {"style": ["a.jpg", "b=c.jpg"], "seed": "3"}
    with pytest.raises(ConfigError, match="-c style: a condition is KEY=VALUE"):
        conditions(["style"])
    with pytest.raises(ConfigError, match="-c force=1: no condition is called force; options of the command come"):
        conditions(["force=1"])
