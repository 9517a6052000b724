"""Configs that come with packages: found by name, listed, and inside an installed wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2i import api, config
from i2i.config.shipped import find, header, listing, shipped
from i2i.errors import ConfigError
from i2i.plugins import registry

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "configs"
NAMES = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml")]
GLOW = """\
# Glow on faces. arXiv:1807.03039.
# i2i run glow data.root=PATH
# PATH contains train
#     (pictures)   then: i2i sample 4 -o OUT
# 3 minutes: 3.35 bits per dimension
data: {use: labelled_folders, root: faces}
"""


@pytest.fixture
def glow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a plugin `glow` that ships configs, and give the folder of its configs; importing it fails."""
    site = tmp_path / "site"
    about = site / "i2i_glow-1.0.dist-info"
    configs = site / "i2i_glow" / "configs"
    about.mkdir(parents=True)
    configs.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: i2i-glow\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[i2i]\nglow = i2i_glow\nsingle = i2i_glow_file\nlost = nowhere.at.all\n")
    (site / "i2i_glow" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (site / "i2i_glow_file.py").write_text("")
    (configs / "glow.yml").write_text(GLOW)
    (configs / "notes.txt").write_text("")
    monkeypatch.syspath_prepend(str(site))
    return configs


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_config_is_found_by_its_name(name: str) -> None:
    assert find(name) == find(f"i2i:{name}") == FOLDER / f"{name}.yaml"
    assert config.load(name, [], registry().catalog).name == name.rpartition("/")[2]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_config_has_a_header_that_can_be_listed(name: str) -> None:
    (one,) = (one for one in shipped() if one.name == name)
    what, needs, _ = one.about()
    assert "arXiv:" in what
    assert "i2i run" not in what
    assert ("root" in one.path.read_text()) == ("data.root=" in needs)
    assert ("nothing" in needs) == ("/" not in name)


def test_the_list_has_every_config_those_that_run_anywhere_first() -> None:
    assert [one.name for one in shipped()] == sorted(NAMES, key=lambda name: ("/" in name, name))
    lines = listing("cyclegan").splitlines()
    assert [line for line in lines if line[0] != " "] == ["cyclegan", "paper/cyclegan"]
    assert "    needs    nothing: its data is embedded" in lines
    with pytest.raises(ConfigError, match=r"has a name that contains 'qqqq'; `i2i configs` lists all of them$"):
        listing("qqqq")
    for word, near in (("cyclgan", "cyclegan"), ("mnst", r"real/\w*mnist")):
        with pytest.raises(ConfigError, match=rf"contains '{word}', did you mean (.* or )*{near}( or .*)*\?$"):
            listing(word)
    short = listing().splitlines()
    assert [line.split()[0] for line in short[: len(NAMES)]] == [one.name for one in shipped()]
    assert any(line.split()[:2] == ["cyclegan", "CycleGAN,"] for line in short)
    assert max(map(len, short)) <= 110
    assert "i2i configs NAME" in short[-1]


def test_a_path_is_a_file_and_anything_else_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given in ("cyclegan.yaml", "paper/cyclegan.YML", Path("cyclegan")):
        assert find(given) == Path(given)
    Path("cyclegan").mkdir()
    assert find("cyclegan") == FOLDER / "cyclegan.yaml"
    Path("vae").write_text("")
    assert find("vae") == Path("vae")


def test_what_is_neither_is_answered_with_the_nearest_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given in ("cyclgan", "configs/cyclgan"):
        with pytest.raises(ConfigError, match=r"neither a file .* did you mean the shipped config cyclegan\?$"):
            find(given)
    with pytest.raises(ConfigError, match=r"'x{30}' is neither a file nor listed by `i2i configs`$"):
        find("x" * 30)
    for given in ("", ".", "/"):
        with pytest.raises(ConfigError, match=r": a folder, not a file$"):
            config.load(given, [], registry().catalog)
    for given, near in ((f"{tmp_path}/cyclegan.yaml", "cyclegan"), ("configs/paper/srgn.yaml", "paper/srgan")):
        with pytest.raises(ConfigError, match=rf"no such f.*, did you mean the shipped config {near}\?"):
            config.load(given, [], registry().catalog)


@pytest.mark.parametrize("suffix", ["", ".yaml"])
def test_a_name_that_is_too_long_is_one_sentence(suffix: str) -> None:
    with pytest.raises(ConfigError, match=f"x{{300}}{suffix}: cannot be read, File name too long"):
        config.load("x" * 300 + suffix, [], registry().catalog)


def test_a_name_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toy = ["data.samples=4", "data.batch_size=2", "train.steps=1", "metrics=[]"]
    assert api.run("vae_2d", *toy) == Path("runs/vae_2d")
    assert Path("runs/vae_2d/model.safetensors").exists()


def test_a_plugin_ships_configs_without_being_imported(glow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("glow") == find("glow:glow") == glow / "glow.yml"
    assert listing("glow").splitlines() == [
        "glow",
        "    Glow on faces. arXiv:1807.03039.",
        "    needs    data.root=PATH PATH contains train (pictures)",
        "    reached  3 minutes: 3.35 bits per dimension",
    ]
    assert "i2i_glow" not in sys.modules
    monkeypatch.setenv("I2I_DISABLED_PLUGINS", "glow")
    with pytest.raises(ConfigError, match="'glow' is neither"):
        find("glow")


def test_two_configs_of_one_name_are_told_apart_by_their_plugin(glow: Path) -> None:
    (glow / "cyclegan.yaml").write_text(GLOW)
    with pytest.raises(ConfigError, match=r"several configs: use glow:cyclegan or i2i:cyclegan$"):
        find("cyclegan")
    assert find("glow:cyclegan") == glow / "cyclegan.yaml"
    names = [line for line in listing("cyclegan").splitlines() if line[0] != " "]
    assert names == ["glow:cyclegan", "i2i:cyclegan", "paper/cyclegan"]


@pytest.mark.parametrize("content", [b"task: [", b"\xff", b"- 1\n", b"", b"# only a comment"])
def test_a_broken_config_spoils_no_list(glow: Path, content: bytes) -> None:
    (glow / "broken.yaml").write_bytes(content)
    assert {"broken", "cyclegan", "glow"} <= {line.split()[0] for line in listing().splitlines() if line}
    assert ("    (broken)" in listing("broken")) == (content in (b"task: [", b"\xff"))


def test_a_header_is_split_at_its_command() -> None:
    command = "# i2i run a.yaml x=PATH\n#     y=RUN\n# (a run)\n# PATH has b\n"
    text = f"# What, and\n# where.\n{command}# Result\n# more\ntask: 1\n# no"
    assert header(text) == ("What, and where.", "i2i run a.yaml x=PATH y=RUN (a run) PATH has b", "Result more")
    assert header("task: 1\n") == ("", "", "")
    assert header("# What\n") == ("What", "", "")


@pytest.mark.timeout(120)
def test_an_installed_wheel_lists_and_loads_every_config(tmp_path: Path) -> None:
    source, wheels, target = tmp_path / "source", tmp_path / "wheels", tmp_path / "target"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "i2i", "plugins", "configs"):
        (source / name).symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "-q"]
    made = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(source)]
    subprocess.run([*pip, *made], check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-compile", "--target", str(target), str(wheel)], check=True)
    program = """
import i2i
from i2i import config
from i2i.config.shipped import shipped
from i2i.plugins import registry
assert i2i.__file__.startswith(TARGET), i2i.__file__
for one in shipped():
    assert str(one.path).startswith(TARGET), one.path
    config.load(one.name, [], registry().catalog)
    print(one.name)
"""
    program = program.replace("TARGET", repr(str(target)))
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(NAMES)


def test_a_command_written_for_a_checkout_runs_anywhere_and_says_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cyclegan", "real/upscale_x2"):
        assert config.load(f"configs/{name}.yaml", [], registry().catalog).text() == (
            config.load(name, [], registry().catalog).text()
        )
        said = f"i2i: there is no file configs/{name}.yaml here: using the one that comes with i2i\n"
        assert capsys.readouterr().err == said
    for variable, value in (("RANK", "1"), ("I2I_SAID", "where errors are noted")):  # of torchrun, and of `--nproc`
        with monkeypatch.context() as of:
            of.setenv(variable, value)
            config.load("configs/cyclegan.yaml", [], registry().catalog)
            assert capsys.readouterr().err == ""
    Path("configs").mkdir()
    Path("configs/cyclegan.yaml").write_text("task: 3")
    with pytest.raises(ConfigError, match=r"configs/cyclegan\.yaml:1"):
        config.load("configs/cyclegan.yaml", [], registry().catalog)
    for given in ("configs/real/cyclegan.yaml", "cyclegan.yaml", "other/cyclegan.yaml"):
        with pytest.raises(ConfigError, match="no such file"):
            config.load(given, [], registry().catalog)
