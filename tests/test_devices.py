"""Devices: what a name means, where networks and batches go, and in which precision they run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import i2i
from i2i import ConfigError, devices
from i2i.cli import app
from i2i.devices import precision

ROOT = Path(__file__).parent.parent


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there are two GPUs; nothing may be moved to them."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture(autouse=True)
def no_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("I2I_DEVICE", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)


def test_auto_is_the_cpu_where_there_is_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    assert devices.chosen() == devices.chosen("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"device cuda:1: this machine has no cuda:1; PyTorch finds no accelerator"):
        devices.chosen("cuda:1")


def test_a_name_means_a_device_with_its_number(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.chosen() == devices.chosen("cuda") == torch.device("cuda:0")
    assert devices.chosen("cuda:1") == torch.device("cuda:1")
    assert devices.chosen("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "1")  # the second process on this machine
    assert devices.chosen() == devices.chosen("cuda") == torch.device("cuda:1")


@pytest.mark.parametrize("wanted", ["cuda:2", "mps", "xpu:0", "meta"])
def test_a_missing_device_is_one_sentence(wanted: str, two_gpus: None) -> None:
    with pytest.raises(
        ConfigError, match=f"device {wanted}: this machine has no .*; possible: auto, cpu, cuda:0, cuda:1"
    ):
        devices.chosen(wanted)


def test_a_misspelt_device_is_one_sentence(two_gpus: None) -> None:
    with pytest.raises(ConfigError, match="device gpu: no such device; possible: auto, cpu, cuda:0, cuda:1"):
        devices.chosen("gpu")


def test_auto_can_be_decided_by_a_variable(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("I2I_DEVICE", "cpu")
    assert devices.chosen() == torch.device("cpu")
    assert devices.chosen("cuda") == torch.device("cuda:0")
    for given in ("auto", ""):
        monkeypatch.setenv("I2I_DEVICE", given)
        assert devices.chosen() == torch.device("cuda:0")


@pytest.mark.parametrize(
    "command",
    [
        ["run", "cyclegan", "--device", "cuda:7"],
        ["translate", "photo.png", "-o", "out", "-m", "upscale-x2", "--device", "cuda:7"],
        ["sample", "2", "-o", "out", "-m", "upscale-x2", "--device", "cuda:7"],
        ["latent", "sample", "-m", "upscale-x2", "--device", "cuda:7"],
        ["evaluate", "RUN", "--device", "cuda:7"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_takes_a_device(
    command: list[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("I2I_DEVICE", "auto")  # put back afterwards, as the commands set it
    if "RUN" in command:
        small = [
            "task.generator.width=4",
            "task.generator.blocks=1",
            "data.samples=2",
            "data.size=32",
            "train.ema=null",
        ]
        small += ["data.batch_size=2", "data.validation_samples=1", "train.steps=1", "metrics=[]", "schedule=null"]
        command = [str(i2i.run("superres", *small, out="run")) if part == "RUN" else part for part in command]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, ConfigError)
    assert "device cuda:7: this machine has no cuda:7" in str(result.exception)
    assert not (folder / "out").exists()


def test_a_model_goes_where_it_should() -> None:
    assert "on cpu" in repr(i2i.load("upscale-x2", device="cpu"))
    with pytest.raises(ConfigError, match="device xpu:3"):
        i2i.load("upscale-x2", device="xpu:3")
    with pytest.raises(ConfigError, match="device xpu:3"):
        i2i.load("upscale-x2 | upscale-x2", device="xpu:3")


def test_batches_move_but_for_what_stays_on_the_host() -> None:
    batch = {"image": torch.ones(2), "text": torch.ones(2), "name": "a"}
    moved = devices.move(batch, torch.device("meta"), stay=("text",))
    assert moved["image"].device.type == "meta"
    assert moved["text"] is batch["text"]
    assert moved["name"] == "a"
    assert devices.move(batch, torch.device("cpu"))["image"] is batch["image"]


def test_random_states_are_kept() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for device in ("cpu", "mps", "meta"):
        with devices.random_state_kept(torch.device(device)):
            torch.rand(3)
        assert torch.equal(torch.get_rng_state(), before)


def test_the_cpu_has_no_memory_of_its_own_to_report() -> None:
    assert devices.peak_memory(torch.device("cpu")) is None
    assert devices.described(torch.device("cpu")) == "cpu"


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda:0")
    assert devices.precision_for("auto", cpu) == "fp32"  # the same numbers on every CPU
    assert devices.precision_for("auto", torch.device("mps")) == "fp32"
    asked: list[torch.device] = []

    def entered(device: torch.device) -> nullcontext[None]:
        asked.append(device)
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "device", entered)
    for able, chosen in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, able=able: able)
        assert devices.precision_for("auto", gpu) == chosen
    assert asked == [gpu, gpu]
    assert devices.precision_for("fp32", gpu) == "fp32"


def test_a_gpu_that_only_emulates_bf16_has_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert devices.precision_for("auto", torch.device("cuda:0")) == "fp16"
    assert not devices.faster_in_bf16.__wrapped__(torch.device("cuda:0"))


@pytest.mark.parametrize("slow", [torch.float32, torch.bfloat16])
def test_whether_bf16_is_faster_is_measured(slow: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def convolved(x: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        time.sleep(0.004 if x.dtype == slow else 0.001)
        return x

    cpu = torch.device("cpu")
    monkeypatch.setattr(torch, "conv2d", convolved)
    for able in (True, False):
        monkeypatch.setattr(precision, "multiplies_bf16", lambda device, able=able: able)
        devices.faster_in_bf16.cache_clear()
        assert devices.faster_in_bf16(cpu) == (able and slow == torch.float32)
    devices.faster_in_bf16.cache_clear()


@pytest.mark.timeout(480)
def test_the_benchmark_for_accelerators_runs_on_the_cpu(tmp_path: Path) -> None:
    out, script = tmp_path / "gpu.json", ROOT / "benchmarks" / "gpu.py"
    small = ["--smoke", "--out", str(out)]
    subprocess.run([sys.executable, script, "vae", "--device", "cpu", *small], check=True, capture_output=True)
    found = json.loads(out.read_text())["families"]["vae"]
    assert found["equality"] == {"first": 0, "last": 0, "steps": 2}  # the CPU equals itself, run after run
    assert [*found["training"]] == ["fp32", "bf16", "channels_last"]
    ways = [(way, part) for kind in ("training", "inference") for way, part in found[kind].items()]
    failed = [way for way, part in ways if not part.get("ms", 0) > 0]
    assert failed == ([] if devices.multiplies_bf16(torch.device("cpu")) else ["bf16"])  # which is then refused
    assert "| vae | 0.0e+00 / 0.0e+00 |" in (table := out.with_suffix(".md").read_text())
    assert table.startswith("Smoke test: every part runs.")


def test_random_numbers_can_be_equal_on_all_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu import SameNoise

    torch.manual_seed(0)
    expected = torch.rand(3), torch.randn(2), torch.rand(4) >= 0.5
    torch.manual_seed(0)
    with SameNoise():
        found = torch.rand(3), torch.randn_like(torch.zeros(2)), torch.nn.functional.dropout(torch.ones(4), 0.5)
        assert torch.rand(3, device="meta").device.type == "meta"
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[2] > 0, expected[2])
