"""The speeds exact, auto and fast: which kernels are chosen, and when bf16 is used."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import i2i
from i2i.devices import multiplies_bf16
from i2i.errors import ConfigError
from i2i.speed import Choices, Convolutions, Half, Pace, choices, chosen_speed, convolutions

CPU = torch.device("cpu")


def counted(value: Tensor, calls: list[str], name: str, rounds: int = 1) -> Callable[[], Tensor]:
    """Return a kernel with a known result, which takes longer the more rounds it has."""

    def kernel() -> Tensor:
        calls.append(name)
        for _ in range(rounds):
            torch.rand(200, 200) @ torch.rand(200, 200)
        return value

    return kernel


def test_the_fastest_kernel_is_chosen_and_measured_once(tmp_path: Path) -> None:
    calls: list[str] = []
    same = torch.ones(3)
    kernels = {"direct": counted(same, calls, "direct", 50), "quick": counted(same, calls, "quick")}
    file = tmp_path / "home" / "kernels.json"
    assert Choices(file).best("a", kernels) == "quick"
    assert set(calls) == {"direct", "quick"}
    calls.clear()
    assert Choices(file).best("a", kernels) == "quick"
    assert calls == []
    assert Choices(file).best("b", {"direct": kernels["direct"]}) == "direct"
    assert json.loads(file.read_text())["kernels"] == {"a": "quick", "b": "direct"}


@pytest.mark.parametrize("result", [torch.ones(3) + 1e-3, torch.ones(4), torch.full((3,), float("nan"))])
def test_a_kernel_with_another_result_is_not_chosen(result: Tensor) -> None:
    kernels = {"direct": counted(torch.ones(3), [], "direct", 50), "wrong": counted(result, [], "wrong")}
    assert Choices().best("a", kernels) == "direct"


def test_a_kernel_that_fails_or_gains_nothing_is_not_chosen() -> None:
    def broken() -> Tensor:
        raise RuntimeError("not on this CPU")

    kernels = {"direct": counted(torch.ones(3), [], "direct"), "broken": broken}
    assert Choices().best("a", kernels) == "direct"
    assert Choices().best("b", kernels | {"slow": counted(torch.ones(3), [], "slow", 50)}) == "direct"


@pytest.mark.parametrize("change", ["other torch", "cut", "a list"])
def test_choices_of_another_machine_or_in_a_damaged_file_are_not_used(change: str, tmp_path: Path) -> None:
    file = tmp_path / "kernels.json"
    kernels = {"direct": counted(torch.ones(3), [], "direct", 50), "quick": counted(torch.ones(3), [], "quick")}
    Choices(file).best("a", kernels)
    text = file.read_text()
    changed = {"other torch": text.replace(torch.__version__, "1.0"), "cut": text[:-20], "a list": "[]"}[change]
    file.write_text(changed)
    assert Choices(file).found == {}
    assert Choices(file).best("a", kernels) == "quick"
    assert Choices(file).found == {"a": "quick"}


def test_without_a_place_for_the_file_choices_last_for_the_process(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    kept = Choices(tmp_path / "home" / "kernels.json")
    assert kept.best("a", {"direct": counted(torch.ones(3), [], "direct")}) == "direct"
    assert kept.found == {"a": "direct"}


@pytest.mark.parametrize("name", convolutions.KERNELS)
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (7, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("n", [1, 3])
def test_every_kernel_convolves(name: str, kernel: int, padding: int, n: int) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(n, 8, 20, 24), torch.randn(5, 8, kernel, kernel), torch.randn(5)
    made = convolutions.KERNELS[name](x, weight, bias, (padding, padding))
    expected = torch.conv2d(x.double(), weight.double(), bias.double(), 1, padding)
    assert made.is_contiguous()
    torch.testing.assert_close(made.double(), expected, rtol=1e-4, atol=1e-3)


class Always(Choices):
    """Chooses the same kernel for all convolutions, and counts them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.asked = name, 0

    def best(self, key: str, kernels: object) -> str:
        self.asked += 1
        return self.name


def test_large_convolutions_without_gradients_are_chosen_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "LARGE", 1e6)
    choices, network = Always("channels_last"), nn.Conv2d(8, 16, 3, padding=1)
    large, small = torch.randn(1, 8, 64, 64), torch.randn(1, 8, 16, 16)

    def asked(module: nn.Module, x: Tensor) -> int:
        before = choices.asked
        with Convolutions(choices):
            made = module(x)
        torch.testing.assert_close(made, module(x))
        return choices.asked - before

    assert asked(network, large) == 0  # its weights need gradients
    with torch.inference_mode():
        assert asked(network, large) == 1
        assert asked(network, small) == 0
        assert asked(network.double(), large.double()) == 0
        assert asked(nn.Conv2d(8, 16, 3, 2, 1), large) == 0
        assert asked(nn.Conv2d(8, 16, 3, dilation=2), large) == 0
        assert asked(nn.Conv2d(8, 16, 3, groups=8), large) == 0
        assert asked(nn.Conv2d(8, 16, 3, padding="same"), large) == 0


def test_bf16_is_used_where_it_changes_hardly_anything() -> None:
    torch.manual_seed(0)
    gentle, coarse = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
    with torch.no_grad():
        gentle.weight.mul_(0.1)
        coarse.weight.mul_(50).add_(-coarse.weight.mean())
    x = torch.rand(1, 3, 300, 40) * 2 - 1
    with torch.inference_mode():
        half = Half(CPU)
        assert half.bears(gentle, x)
        assert half.share == 1
        made = half(gentle, x)
        assert made.dtype == torch.float32
        assert (made - gentle(x)).abs().max() < 1 / 127.5
        assert not torch.equal(made, gentle(x))
        rough = Half(CPU)
        assert not rough.bears(coarse, x)
        assert rough.share is not None
        assert rough.share < 0.999


def test_the_speed_used_is_said_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 8, 8)
    monkeypatch.setattr("i2i.speed.pace.multiplies_bf16", lambda device: True)
    with torch.inference_mode():
        pace = Pace("fast", CPU, "zebras")
        for _ in range(2):
            torch.testing.assert_close(pace.run(network, x), network(x), atol=0.01, rtol=0)
        assert capsys.readouterr().err.count("zebras runs in bf16; 100.00% of the levels of a test are within 1") == 1
        Pace("fast", CPU, "digits", images=False)
        assert "digits runs as with speed=auto: it does not make images" in capsys.readouterr().err
        monkeypatch.setattr("i2i.speed.pace.multiplies_bf16", lambda device: False)
        slow = Pace("fast", CPU, "zebras")
        assert "this cpu has no instructions for bf16" in capsys.readouterr().err
        assert torch.equal(slow.run(network, x), network(x))
        assert torch.equal(Pace("exact", CPU, "zebras").run(network, x), network(x))
    assert capsys.readouterr().err == ""


def test_speed_comes_from_the_call_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("I2I_SPEED", raising=False)
    assert chosen_speed() == "auto"
    monkeypatch.setenv("I2I_SPEED", "fast")
    assert (chosen_speed(), chosen_speed("exact")) == ("fast", "exact")
    with pytest.raises(ConfigError, match="speed is 'quick': choose from exact, auto, fast"):
        chosen_speed("quick")
    assert i2i.load("upscale-x2", speed="exact").speed == "exact"
    assert i2i.load("upscale-x2").speed == "fast"


def test_the_command_line_takes_a_speed(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "teal").save(tmp_path / "a.png")
    line = [sys.executable, "-m", "i2i", "translate", str(tmp_path / "a.png"), "-m", "upscale-x2"]
    done = subprocess.run([*line, "-o", str(tmp_path / "out"), "--speed", "fast"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "upscale-x2 runs " in done.stderr
    done = subprocess.run([*line, "-o", str(tmp_path / "o"), "--speed", "quick"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "i2i: speed is 'quick': choose from exact, auto, fast\n"


@pytest.mark.skipif(not multiplies_bf16(CPU), reason="this CPU has no instructions for bf16")
@pytest.mark.parametrize("tile", [None, 64])
def test_a_bundled_model_in_bf16_is_within_one_level(tile: int | None) -> None:
    torch.manual_seed(0)
    image = nn.functional.interpolate(torch.rand(1, 3, 12, 12), (96, 96), mode="bicubic").clamp(0, 1)[0]
    exact, fast = (i2i.load("upscale-x2", speed=speed)(image, tile=tile) for speed in ("exact", "fast"))
    assert not torch.equal(exact, fast)
    assert ((exact - fast).abs() * 255).max() <= 1


def test_machines_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    choices.machine.cache_clear()
    here = choices.machine()
    assert here["torch"] == torch.__version__
    assert here["cpu"]
    choices.machine.cache_clear()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert choices.machine() != here
    choices.machine.cache_clear()


def test_the_part_of_an_image_that_is_tested_in_bf16_has_sides_that_the_network_takes() -> None:
    sizes: list[torch.Size] = []

    def network(image: torch.Tensor) -> torch.Tensor:
        sizes.append(image.shape)
        assert image.shape[-2] % 48 == image.shape[-1] % 48 == 0
        return image

    assert Half(CPU, multiple=48).bears(network, torch.zeros(1, 3, 480, 96))
    assert {*sizes} == {(1, 3, 240, 96)}
