"""The registry: a broken plugin is reported and affects nothing else. Fault catalogue E1-E5, E9."""

from __future__ import annotations

import hashlib
import os
import py_compile
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from i2i import config, plugins
from i2i.admission import states as states_of_plugins
from i2i.catalog import Catalog
from i2i.errors import ConfigError, PluginError

GOOD = """
    from i2i import hookimpl
    @hookimpl
    def register(catalog):
        catalog.network("net_of_{name}", dict)
"""
Install = Callable[..., plugins.Registry]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that fakes installed distributions with these modules and opens a new registry."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("I2I_STRICT", raising=False)
    made: list[str] = []

    def open_registry(**sources: str) -> plugins.Registry:
        points = []
        for name, source in sources.items():
            module = f"fake_{name}"
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(source.replace("{name}", name)))
            points.append(EntryPoint(name, module, "i2i"))
            made.append(module)
        monkeypatch.setattr(plugins, "installed", lambda group="i2i": sorted(points, key=lambda p: p.name))
        plugins.registry.cache_clear()
        return plugins.registry()

    yield open_registry
    plugins.registry.cache_clear()
    for module in made:
        sys.modules.pop(module, None)


def states(registry: plugins.Registry) -> dict[str, str]:
    return {plugin.name: plugin.state for plugin in registry.plugins}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise RuntimeError('line one\\nline two')", "RuntimeError: line one line two"),
    ],
)
def test_E1_a_plugin_that_fails_to_import_affects_nothing_else(install: Install, source: str, reason: str) -> None:
    registry = install(bad=source, good=GOOD)
    assert states(registry)["good"] == "ok"
    assert reason in states(registry)["bad"]
    assert "net_of_good" in registry.catalog.names("network")


def test_E1_a_plugin_whose_import_hangs_is_detected_by_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    points = []
    for name, source in (("bad", "raise ValueError('no')"), ("fine", ""), ("slow", "import time; time.sleep(60)")):
        (tmp_path / f"checked_{name}.py").write_text(source)
        points.append(EntryPoint(name, f"checked_{name}", "i2i"))
    monkeypatch.setattr(states_of_plugins, "installed", lambda group="i2i": points)
    assert [plugin.state for plugin in states_of_plugins.checked_imports(seconds=2)] == [
        "ValueError: no",
        "ok",
        "hangs: its import did not end within 2 s",
    ]


def test_E1_an_unknown_name_lists_the_broken_plugins(install: Install) -> None:
    registry = install(bad="import a_module_that_is_not_there")
    with pytest.raises(ConfigError, match=r"unknown network 'net_of_bad'.*plugin bad did not load: ModuleNotFound"):
        registry.catalog.find("network", "net_of_bad")


def parsed(text: str, registry: plugins.Registry) -> config.Config:
    rest = "data: {use: horses_zebras}\ntrain: {steps: 1}\n"
    return config.parse(f"task: {text}\n{rest}", "mine.yaml", [], registry.catalog)


@pytest.mark.parametrize(
    ("source", "use"),
    [
        ("import a_module_that_is_not_there", "bad"),  # only its name is known
        (GOOD.replace('network("net_of_{name}"', 'task("early"') + "        raise KeyError('late')\n", "early"),
    ],
    ids=["by its name", "by a name it added"],
)
def test_E1_a_config_that_needs_a_broken_plugin_is_rejected_with_its_error(
    install: Install, source: str, use: str
) -> None:
    registry = install(bad=source)
    with pytest.raises(PluginError, match=f"the task '{use}' needs the plugin 'bad', which did not load: ") as caught:
        parsed(f"{{use: {use}}}", registry)
    assert caught.value.exit_code == 7
    assert states(registry)["bad"] in str(caught.value)


def test_E1_a_broken_plugin_is_reported_once(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install(bad="raise RuntimeError('no')", good=GOOD)
    plugins.registry()
    assert [record.getMessage() for record in caplog.records] == ["i2i: plugin 'bad' did not load: RuntimeError: no"]


def test_E9_a_config_that_needs_a_disabled_plugin_is_rejected_with_the_reason(
    install: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("I2I_DISABLED_PLUGINS", "glow")
    registry = install(glow=GOOD)
    with pytest.raises(
        PluginError, match=r"the plugin 'glow', which did not load: it is switched off by .*--no-plugin"
    ):
        parsed("{use: glow}", registry)
    with pytest.raises(ConfigError) as caught:
        parsed("{use: another}", registry)
    assert "glow" not in str(caught.value) + caplog.text


def test_E2_a_hook_that_raises_keeps_the_others_and_leaves_nothing_behind(install: Install) -> None:
    registry = install(a=GOOD, b=GOOD + "        raise KeyError('half-way')\n", c=GOOD)
    assert states(registry) == {"a": "ok", "b": "KeyError: 'half-way'", "c": "ok"}
    assert [n for n in registry.catalog.names("network") if n.startswith("net_of")] == ["net_of_a", "net_of_c"]


def test_E3_a_misspelt_hook_is_named_with_the_nearest_one(install: Install) -> None:
    registry = install(typo=GOOD.replace("def register", "def regster"))
    assert states(registry)["typo"] == "there is no hook 'regster', did you mean 'register'?"


def test_E4_wrong_hook_arguments_become_one_line(install: Install) -> None:
    registry = install(odd=GOOD.replace("(catalog)", "(catalogue)"))
    assert states(registry)["odd"] == "register(catalogue): its arguments must be named catalog"
    assert "\n" not in states(registry)["odd"]


def test_E5_a_duplicate_name_is_rejected_with_both_owners(install: Install) -> None:
    same = GOOD.replace("net_of_{name}", "same")
    registry = install(one=same, two=same)
    with pytest.raises(PluginError, match="by one and by two") as caught:
        registry.catalog.find("network", "same")
    assert caught.value.exit_code == 7
    assert states(registry)["one"] == "ok"
    assert "registered twice" in states(registry)["two"]
    task = same.replace("network", "task").replace("dict", "Task").replace("hookimpl\n", "Task, hookimpl\n", 1)
    both = install(three=task, four=task)
    with pytest.raises(PluginError, match="by four and by three"):
        parsed("{use: same}", both)


@pytest.mark.parametrize("kind", ["task", "data", "modality"])
def test_a_class_of_another_kind_becomes_one_line(install: Install, kind: str) -> None:
    registry = install(odd=GOOD.replace("network", kind))
    assert states(registry)["odd"].startswith(f"catalog.{kind}('net_of_odd', dict): the class is not a subclass of ")
    assert "odd" not in {entry.owner for entry in registry.catalog}


def test_E5_of_two_plugins_with_the_same_name_the_first_is_kept(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(one=GOOD, two=GOOD)
    points = [EntryPoint("same", f"fake_{module}", "i2i") for module in ("one", "two")]
    monkeypatch.setattr(plugins, "installed", lambda group="i2i": points)
    plugins.registry.cache_clear()
    registry = plugins.registry()
    assert [(p.origin, p.state) for p in registry.plugins] == [
        ("fake_one", "ok"),
        ("fake_two", "fake_one already has a plugin of that name: uninstall one of them"),
    ]
    assert registry.catalog.find("network", "net_of_one").owner == "same"
    assert "net_of_two" not in registry.catalog.names("network")


def test_E5_a_built_in_name_cannot_be_shadowed(install: Install) -> None:
    registry = install(thief=GOOD.replace("net_of_{name}", "resnet_generator"))
    assert "by i2i and by thief" in states(registry)["thief"]
    assert registry.catalog.find("network", "resnet_generator").owner == "i2i"


@pytest.mark.parametrize(
    ("variable", "value"), [("I2I_DISABLED_PLUGINS", "bad,other"), ("I2I_PLUGINS", "good"), ("I2I_PLUGINS", "off")]
)
def test_E9_a_disabled_plugin_is_not_imported(
    install: Install, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    registry = install(bad="raise SystemExit(1)", good=GOOD)
    assert states(registry)["bad"] == "disabled"
    assert "fake_bad" not in sys.modules
    assert states(registry)["good"] == ("disabled" if value == "off" else "ok")


def test_strict_mode_turns_a_failure_into_an_error(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    def admit() -> None:
        monkeypatch.setenv("I2I_STRICT", "1")
        install(bad="raise RuntimeError('no')")

    with pytest.raises(PluginError, match=r"plugin 'bad' .* did not load: RuntimeError: no"):
        admit()


def test_on_log_is_called_with_the_arguments_it_names(install: Install) -> None:
    source = """
        from i2i import hookimpl
        seen = []
        @hookimpl
        def on_log(scalars, step):
            seen.append((step, scalars))
    """
    registry = install(watcher=source)
    for _, call in registry.each("on_log", run=Path("r"), step=3, scalars={"G/l1": 1.0}, images={}):
        call()
    assert sys.modules["fake_watcher"].seen == [(3, {"G/l1": 1.0})]


def test_E11_a_package_whose_metadata_cannot_be_read_is_left_out_with_a_warning(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(b"\xff\xfe[i2i]\n")
    command = [sys.executable, "-m", "i2i", "plugins"]
    whole = subprocess.run(command, capture_output=True, text=True)
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout == whole.stdout
    assert done.stderr.startswith("i2i: the metadata of an installed package cannot be read (")
    assert done.stderr.endswith(f"remove {info}\n")
    assert done.stderr.count("\n") == 1
    read = "from i2i.plugins import installed; installed(); import i2i; i2i.load, i2i.Task"
    done = subprocess.run(
        [sys.executable, "-c", read], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr  # torch and pydantic are imported


def test_a_single_file_registers_a_task(install: Install, tmp_path: Path) -> None:
    install()
    file = tmp_path / "mine.py"
    file.write_text(textwrap.dedent(GOOD.replace("{name}", "file")))
    loaded = plugins.load_file(file)
    assert loaded == (file, hashlib.sha256(file.read_bytes()).hexdigest())
    assert plugins.registry().catalog.find("network", "net_of_file").owner == "mine"
    assert plugins.load_file(file) == loaded  # loading it again does nothing
    file.write_text(file.read_text() + "\n")
    with pytest.raises(PluginError, match=r"a plugin 'mine' is already loaded; it has changed, start Python again"):
        plugins.load_file(file)
    (tmp_path / "other").mkdir()
    file.rename(tmp_path / "other" / "mine.py")
    with pytest.raises(PluginError, match=r"a plugin 'mine' is already loaded; rename the file"):
        plugins.load_files([tmp_path / "other" / "mine.py"])
    with pytest.raises(PluginError, match="no such file"):
        plugins.load_file(tmp_path / "other.py")


def test_a_file_is_loaded_only_with_the_wanted_sha256_and_never_from_cached_bytecode(
    install: Install, tmp_path: Path
) -> None:
    install()
    file = tmp_path / "cached.py"
    file.write_text(textwrap.dedent(GOOD.replace("{name}", "bad_")))
    os.utime(file, ns=(0, 0))
    py_compile.compile(str(file))
    file.write_text(textwrap.dedent(GOOD.replace("{name}", "good")))
    os.utime(file, ns=(0, 0))  # same size and mtime, so Python's import would run the bytecode
    with pytest.raises(PluginError, match="the file has changed since then"):
        plugins.load_file(file, sha256="0" * 64)
    plugins.load_file(file, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    names = plugins.registry().catalog.names("network")
    assert "net_of_good" in names
    assert "net_of_bad_" not in names


def test_a_file_without_a_hook_is_rejected(install: Install, tmp_path: Path) -> None:
    install()
    (tmp_path / "bare.py").write_text("def register(catalog): catalog.network('bare', dict)")
    with pytest.raises(
        PluginError, match=r"bare\.py: it has no hook: mark its register\(catalog\) with @i2i.hookimpl"
    ):
        plugins.load_file(tmp_path / "bare.py")


def test_the_init_file_of_a_package_is_named_after_its_folder(install: Install, tmp_path: Path) -> None:
    registry = install()
    for name in ("one", "two"):
        (tmp_path / f"own_{name}").mkdir()
        (tmp_path / f"own_{name}" / "net.py").touch()
        source = "\n    from . import net" + GOOD.replace("{name}", name)
        (tmp_path / f"own_{name}" / "__init__.py").write_text(textwrap.dedent(source))
        plugins.load_file(tmp_path / f"own_{name}" / "__init__.py")
        assert registry.catalog.find("network", f"net_of_{name}").owner == f"own_{name}"


def test_a_file_may_replace_a_plugin_that_did_not_load(install: Install, tmp_path: Path) -> None:
    registry = install(glow="raise RuntimeError('no')")
    (tmp_path / "glow.py").write_text(textwrap.dedent(GOOD.replace("{name}", "file")))
    plugins.load_file(tmp_path / "glow.py")
    assert registry.catalog.find("network", "net_of_file").owner == "glow"


def test_an_unknown_name_suggests_the_closest(install: Install) -> None:
    catalog = Catalog()
    catalog.network("resnet_generator", dict)
    said = r"did you mean resnet_generator\? \(if it is in your own file, add --plugin FILE\)"
    with pytest.raises(ConfigError, match=said):
        catalog.find("network", "resnet_generater")


HELP = """
import sys, time
sys.argv = ["i2i", "--help"]
{app}
try:
    app()
except SystemExit:
    print(time.process_time(), file=sys.stderr)
"""
BARE = """
import typer
app = typer.Typer(rich_markup_mode="markdown")
for name in "abcdefgh":
    @app.command(name)
    def command(n: int = typer.Option(1, help="A number.")):
        "Do something."
"""


def test_help_costs_less_than_four_times_that_of_a_bare_typer_program() -> None:
    def seconds(app: str) -> float:
        command = [sys.executable, "-c", HELP.format(app=app)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stderr)

    pairs = [(seconds("from i2i.cli import main as app"), seconds(BARE)) for _ in range(3)]
    assert min(ours for ours, _ in pairs) < 4 * min(bare for _, bare in pairs)  # 2.0 on an idle machine


@pytest.mark.parametrize(
    "code",
    [
        "import i2i",
        "from i2i.cli import app",
        "import sys; sys.argv=['i2i','--help']; import i2i.cli\ntry: i2i.cli.main()\nexcept SystemExit: pass",
    ],
)
def test_import_and_help_do_not_import_torch(code: str) -> None:
    check = f"{code}\nimport sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)
