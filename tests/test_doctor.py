"""`i2i doctor`: every problem is found, says what to do, and sets the exit code."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import torch
from i2i_doctor import machine, report, software
from i2i_doctor.report import Finding, examined, text
from typer.testing import CliRunner

from i2i import ResourceError, WeightsError, plugins
from i2i.cli import app


def found(check: Any, name: str) -> Finding:
    return next(one for one in check() if one.name == name)


def test_a_healthy_installation_exits_with_0_and_json_says_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    called = CliRunner().invoke(app, ["doctor", "--json"])
    answer = json.loads(called.output)
    bad = [one for one in answer["checks"] if one["level"] == "problem"]
    assert (called.exit_code, answer["ok"], bad) == (0, True, [])
    sections = dict.fromkeys(one["section"] for one in answer["checks"])
    assert list(sections) == ["versions", "pytorch", "plugins", "extras", "devices", "threads", "disks", "models"]
    names = {one["name"]: one["value"] for one in answer["checks"]}
    assert names["torch"] == torch.__version__
    assert "upscale-x2" in names["from models"]
    assert not list(tmp_path.iterdir())


def test_a_problem_exits_with_1_and_says_what_to_do(monkeypatch: Any) -> None:
    problem = Finding("disks", "runs", "/data cannot be written", "problem", "name another folder with -o")
    monkeypatch.setattr(software, "SOFTWARE", {})
    monkeypatch.setattr(machine, "machine", lambda runs: {"disks": lambda: [problem]})
    called = CliRunner().invoke(app, ["doctor"])
    assert called.exit_code == 1
    assert "! runs" in called.output
    assert "name another folder with -o" in called.output
    assert "1 problem: runs" in called.output


def test_a_check_that_fails_is_a_problem_and_ends_no_other() -> None:
    def broken() -> Any:
        yield Finding("a", "first", "fine")
        raise SystemExit("no such library")

    made = examined({"a": broken, "b": lambda: [Finding("b", "second", "fine")]})
    assert [(one.name, one.level) for one in made] == [("first", "ok"), ("check", "problem"), ("second", "ok")]
    assert "no such library" in text(made)


def test_missing_and_old_packages(monkeypatch: Any) -> None:
    versions = {"torch": None, "kornia": "0.7.1"}
    right = software.version_of
    monkeypatch.setattr(software, "version_of", lambda name: versions.get(name, right(name)))
    assert found(software.versions, "torch").todo.startswith("pip install 'torch>=")
    old = found(software.versions, "kornia")
    assert (old.level, old.todo) == ("problem", "pip install -U 'kornia>=0.8'")
    assert found(software.versions, "numpy").level == "ok"


def test_extras_that_are_missing_are_notes(monkeypatch: Any) -> None:
    right = software.version_of
    monkeypatch.setattr(software, "version_of", lambda name: None if name == "onnxruntime" else right(name))
    extra = found(software.extras, "export")
    assert (extra.level, extra.todo) == ("note", "pip install 'i2i[export]'")
    assert "lacks onnxruntime" in extra.value
    assert {"test", "check"}.isdisjoint(one.name for one in software.extras())


def test_a_driver_that_the_build_of_pytorch_cannot_use(monkeypatch: Any, tmp_path: Path) -> None:
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27")
    monkeypatch.setattr(software, "DRIVER", driver)
    monkeypatch.setattr(torch.version, "cuda", None)
    cpu = found(software.pytorch, "driver")
    assert (cpu.level, "470.82.01" in cpu.value) == ("note", True)
    assert "CUDA build" in cpu.todo

    def too_old() -> bool:
        import warnings

        warnings.warn("The NVIDIA driver on your system is too old (found version 11040).", stacklevel=1)
        return False

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    old = found(software.pytorch, "driver")
    assert (old.level, "too old" in old.value) == ("problem", True)
    assert "update the driver" in old.todo


def test_a_torchvision_of_another_build(monkeypatch: Any) -> None:
    def fails(name: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    import i2i.losses

    monkeypatch.setattr(software.importlib, "import_module", fails)
    monkeypatch.setattr(i2i.losses, "import_torchvision", lambda: None)
    assert found(software.torchvision, "torchvision").level == "note"
    monkeypatch.setattr(i2i.losses, "import_torchvision", lambda: fails(""))
    broken = found(software.torchvision, "torchvision")
    assert (broken.level, "nms" in broken.value) == ("problem", True)
    assert "same build as PyTorch" in broken.todo


def test_plugins_that_failed_or_are_switched_off(monkeypatch: Any) -> None:
    lines = [
        plugins.Plugin("glow", "i2i-glow 0.2", "ImportError: no module named flash"),
        plugins.Plugin("vae", "i2i 0.1", "disabled"),
    ]
    monkeypatch.setattr(plugins.registry(), "plugins", lines)
    glow = found(software.plugins, "glow")
    assert (glow.level, "no module named flash" in glow.value) == ("problem", True)
    assert "I2I_DISABLED_PLUGINS=glow" in glow.todo
    assert found(software.plugins, "vae").level == "note"


def test_a_device_that_does_not_exist(monkeypatch: Any) -> None:
    monkeypatch.setenv("I2I_DEVICE", "cuda:9")
    assert found(machine.devices, "used").level == "problem"


def test_more_threads_than_processors(monkeypatch: Any) -> None:
    monkeypatch.setattr("i2i.devices.processors", lambda: 2.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    line = found(machine.threads, "threads")
    assert (line.level, "OMP_NUM_THREADS=2" in line.todo) == ("note", True)


def test_a_full_disk_and_a_folder_that_cannot_be_written(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine.files, "free_bytes", lambda folder: 1000)
    assert found(machine.disks, "runs").level == "problem"

    def read_only(path: Path, data: bytes) -> None:
        raise ResourceError("the disk is read-only")

    monkeypatch.setattr(machine.files, "write", read_only)
    for name, level in (("runs", "problem"), ("temporary files", "problem"), ("measured kernels", "note")):
        line = found(machine.disks, name)
        assert (line.level, "read-only" in line.value) == (level, True)


def test_models_that_are_missing_or_damaged(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("I2I_MODEL", "no-such-model")
    assert found(machine.models, "I2I_MODEL").level == "problem"

    def damaged(file: Path) -> Any:
        raise WeightsError(f"{file} is damaged")

    monkeypatch.setattr("i2i.checkpoint.load_model", damaged)
    line = found(machine.models, "from models")
    assert (line.level, "is damaged" in line.value) == ("problem", True)


def test_a_folder_of_runs_that_does_not_exist(tmp_path: Path) -> None:
    (found,) = [one for one in machine.models(str(tmp_path / "nowhere")) if one.name == "finished runs"]
    assert found.level == "problem"
    assert "no such folder" in found.value


def test_limits_of_versions() -> None:
    assert software.within("2.13.0+cpu", ">=2.10")
    assert not software.within("6.0", "<6")
    assert software.within("5.0.0.93", "<6")
    assert software.within("1", "")
    assert {one.name for one in software.requirements() if not one.extra} >= {"torch", "numpy", "typer"}
    assert report.MARKS.keys() == {"ok", "note", "problem"}
    assert importlib.metadata.version("i2i")
