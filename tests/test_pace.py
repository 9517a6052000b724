"""The speeds exact, auto and fast: which kernels are chosen, and when bf16 is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from command import i2i_command
from PIL import Image
from torch import Tensor, nn

import i2i
from i2i.devices import multiplies_bf16
from i2i.errors import ConfigError
from i2i.speed import Choices, Convolutions, Half, Pace, choices, chosen_speed, convolutions, passes

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


def test_a_kernel_that_saves_less_than_calling_it_costs_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = {"direct": counted(torch.ones(3), [], "direct", 50), "quick": counted(torch.ones(3), [], "quick")}
    assert Choices().best("a", kernels) == "quick"
    monkeypatch.setattr(choices, "SAVED", 10.0)
    assert Choices().best("a", kernels) == "direct"


def test_a_kernel_is_measured_with_other_numbers_in_the_caches() -> None:
    evicted, seen = torch.zeros(5), list[float]()
    choices.seconds(lambda: seen.append(float(evicted.sum())) or evicted, evicted)
    choices.seconds(lambda: seen.append(float(evicted.sum())) or evicted, evicted)
    assert seen == [5, 10]


@pytest.mark.parametrize("change", ["other torch", "other i2i", "cut", "a list"])
def test_choices_of_another_machine_or_in_a_damaged_file_are_not_used(change: str, tmp_path: Path) -> None:
    file = tmp_path / "kernels.json"
    kernels = {"direct": counted(torch.ones(3), [], "direct", 50), "quick": counted(torch.ones(3), [], "quick")}
    Choices(file).best("a", kernels)
    text = file.read_text()
    changed = {
        "other torch": text.replace(torch.__version__, "1.0"),
        "other i2i": text.replace(f'"i2i": "{i2i.__version__}"', '"i2i": "0"'),
        "cut": text[:-20],
        "a list": "[]",
    }[change]
    file.write_text(changed)
    assert Choices(file).kept() == {}
    assert Choices(file).best("a", kernels) == "quick"
    assert Choices(file).kept() == {"a": "quick"}


def test_without_a_place_for_the_file_choices_last_for_the_process(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    kept = Choices(tmp_path / "home" / "kernels.json")
    assert kept.best("a", {"direct": counted(torch.ones(3), [], "direct")}) == "direct"
    assert kept.used == {"a": "direct"}


class Always(Choices):
    """Chooses the same kernel for all convolutions, and keeps their keys."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.keys = name, set[str]()

    def best(self, key: str, kernels: object) -> str:
        self.keys.add(key)
        return self.name


class Ran:
    """Counts how often a kernel computed something; the others still do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.times = 0
        for kind in ("forward", "input"):
            monkeypatch.setitem(passes.PASSES[kind], name, partial(self.run, passes.PASSES[kind][name]))

    def run(self, kernel: passes.Kernel, *given: object) -> Tensor:
        made = kernel(*given)
        self.times += 1
        return made


NETWORKS = {
    "3x3": nn.Conv2d(8, 6, 3, padding=1),
    "1x1": nn.Conv2d(8, 6, 1, bias=False),
    "7x7": nn.Conv2d(8, 6, 7),
    "strided": nn.Conv2d(8, 6, 3, 2, 1),
    "transposed": nn.ConvTranspose2d(8, 6, 3, 1, 1),
    "transposed and strided": nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1),
}
APPLIES = {
    "direct": NETWORKS.keys(),
    "channels_last": NETWORKS.keys(),
    "nnpack": NETWORKS.keys() - {"strided", "transposed and strided"},
    "winograd": {"3x3", "transposed"},
    "matmul": NETWORKS.keys(),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", APPLIES)
@pytest.mark.parametrize("size", [(1, 20, 24), (3, 13, 19), (2, 7, 70)])
def test_every_kernel_convolves_without_gradients(
    monkeypatch: pytest.MonkeyPatch, network: str, name: str, size: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(convolutions, "LARGE", 0)
    ran = Ran(monkeypatch, name)
    module, (n, height, width) = NETWORKS[network], size
    x = torch.randn(n, 8, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = module(x)
        with Convolutions(Always(name)):
            made = module(x)
    assert made.is_contiguous()
    assert (made - exact).abs().max() <= 1e-4 * exact.abs().max()
    if name == "direct":
        assert torch.equal(made, exact)
    elif network in APPLIES[name]:
        assert ran.times == (passes.nnpack_works() if name == "nnpack" else 1)
    else:
        assert ran.times == 0


def test_large_convolutions_without_gradients_are_chosen_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "LARGE", 1e6)
    network = nn.Conv2d(8, 16, 3, padding=1)
    large, small = torch.randn(1, 8, 64, 64), torch.randn(1, 8, 16, 16)

    def asked(module: nn.Module, x: Tensor) -> bool:
        choices = Always("channels_last")
        with Convolutions(choices):
            made = module(x)
        torch.testing.assert_close(made, module(x))
        return bool(choices.keys)

    assert not asked(network, large)  # its weights need gradients
    with torch.no_grad():
        assert asked(network, large)
    with torch.inference_mode():
        assert asked(network, large)
        assert asked(nn.ConvTranspose2d(8, 16, 3, 2), large)
        assert not asked(network, small)
        assert not asked(network.double(), large.double())
        assert not asked(nn.Conv2d(8, 16, 3, dilation=2), large)
        assert not asked(nn.Conv2d(8, 16, 3, groups=8), large)
        assert not asked(nn.Conv2d(8, 16, 3, padding="same"), large)


def test_sizes_of_nearly_as_many_pixels_share_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "LARGE", 0)
    monkeypatch.setattr(passes, "COPIED", 8 * 9 * 40 * 40)
    network, choices, ran = nn.Conv2d(8, 4, 3, padding=1), Always("matmul"), Ran(monkeypatch, "matmul")
    with torch.inference_mode(), Convolutions(choices):
        network(torch.rand(1, 8, 40, 40))
        network(torch.rand(1, 8, 33, 47))
        assert ran.times == 2
        x = torch.rand(1, 8, 41, 41)  # too large for it: PyTorch's own
        torch.testing.assert_close(network(x), network(x.double().float()))
        assert (len(choices.keys), ran.times) == (1, 2)
        network(torch.rand(1, 8, 60, 60))
        network(torch.rand(2, 8, 40, 40))
        assert len(choices.keys) == 3


@pytest.mark.parametrize("name", ["winograd", "nnpack", "matmul"])
@pytest.mark.parametrize(("sides", "tile"), [((57, 83), None), ((140, 100), 64)])
def test_a_model_with_another_kernel_is_within_a_ten_thousandth(
    monkeypatch: pytest.MonkeyPatch, name: str, sides: tuple[int, int], tile: int | None
) -> None:
    monkeypatch.setattr(convolutions, "LARGE", 0)
    ran = Ran(monkeypatch, name)
    monkeypatch.setattr("i2i.speed.pace.Choices", lambda file: Always(name))
    images = [torch.rand(3, *sides, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    exact, auto = (i2i.load("horse2zebra", speed=speed)(images, tile=tile) for speed in ("exact", "auto"))
    for one, other in zip(exact, auto, strict=True):
        assert 0 < (one - other).abs().max() < 1e-4
    assert ran.times > 0


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
    monkeypatch.setattr("i2i.speed.pace.faster_in_bf16", lambda device: True)
    with torch.inference_mode():
        pace = Pace("fast", CPU, "zebras")
        for _ in range(2):
            torch.testing.assert_close(pace.run(network, x), network(x), atol=0.01, rtol=0)
        assert capsys.readouterr().err.count("zebras runs in bf16; 100.00% of the levels of a test are within 1") == 1
        Pace("fast", CPU, "digits", images=False)
        assert "digits runs as with speed=auto: it does not make images" in capsys.readouterr().err
        monkeypatch.setattr("i2i.speed.pace.faster_in_bf16", lambda device: False)
        slow = Pace("fast", CPU, "zebras")
        assert "bf16 is not faster on this cpu" in capsys.readouterr().err
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
    line = ["translate", "a.png", "-m", "upscale-x2"]
    done = i2i_command(*line, "-o", "out", "--speed", "fast", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "upscale-x2 runs " in done.stderr
    done = i2i_command(*line, "-o", "o", "--speed", "quick", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "i2i: speed is 'quick': choose from exact, auto, fast\n"


@pytest.mark.skipif(not multiplies_bf16(CPU), reason="this CPU has no instructions for bf16")
@pytest.mark.parametrize("tile", [None, 64])
def test_a_bundled_model_in_bf16_is_within_one_level(tile: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.speed.pace.faster_in_bf16", lambda device: True)
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
