"""Training at the speeds exact, auto and fast: kernels, the choices of a run, and what is left alone."""

from __future__ import annotations

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from i2i import Task
from i2i.config import Train
from i2i.devices import multiplies_bf16, precision
from i2i.engine import Engine
from i2i.optim import adam
from i2i.runs.record import how
from i2i.speed import Choices, Convolutions, Kernels, choices, convolutions, passes, precision_at, training, winograd
from i2i.speed.passes import PASSES, Geometry

CPU = torch.device("cpu")
SHAPES = [  # images, channels in and out, height, width, kernel, stride, padding
    (1, 8, 6, 9, 13, 3, 1, 1),
    (3, 16, 8, 20, 17, 3, 1, 0),
    (2, 4, 4, 8, 8, 3, 1, 2),
    (2, 8, 16, 15, 16, 4, 2, 1),
    (1, 8, 8, 5, 7, 7, 1, 3),
    (1, 4, 4, 6, 6, 4, 1, 1),
    (2, 9, 3, 11, 8, 5, 1, 1),
    (5, 64, 32, 40, 36, 3, 1, 1),
]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep choices in a folder of the test, and replace small convolutions too."""
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(convolutions, "LARGE_TRAINED", 0)


def always(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Choose this kernel wherever it applies."""

    def best(self: Choices, key: str, kernels: Any) -> str:
        try:
            kernels[name]()
        except (RuntimeError, KeyError):
            return "direct"
        self.used[key.split()[0]] = name
        return name

    monkeypatch.setattr(Choices, "best", best)


def apart(made: Tensor, expected: Tensor) -> float:
    """Return the greatest difference, relative to the greatest value expected."""
    return float((made - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
def test_all_kernels_compute_the_three_passes(shape: tuple[int, ...]) -> None:
    n, i, o, height, width, side, stride, padding = shape
    torch.manual_seed(0)
    x = torch.randn(n, i, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(o, i, side, side, dtype=torch.float64, requires_grad=True)
    y = torch.conv2d(x, weight, None, stride, padding)
    dy = torch.randn_like(y)
    dx, dw = torch.autograd.grad(y, (x, weight), dy)
    at = Geometry((height, width), (side, side), (stride, stride), (padding, padding))
    plain = [value.detach().float() for value in (x, weight, dy)]
    given = {
        "forward": (plain[0], plain[1], y),
        "input": (plain[2], plain[1], dx),
        "weight": (plain[0], plain[2], dw),
    }
    applied = 0
    for kind, (one, two, expected) in given.items():
        for name, kernel in PASSES[kind].items():
            try:
                made = kernel(one, two, at)
            except RuntimeError:
                assert name in ("nnpack", "winograd", "matmul", "folded")
                continue
            applied += 1
            assert made.is_contiguous(), (kind, name)
            assert apart(made, expected.detach()) < 2e-5, (kind, name)
    assert applied >= 9


class Net(nn.Module):
    """A convolution, a transposed and a strided one."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1)
        self.three = nn.Conv2d(4, 3, 4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.three(self.two(self.one(x).tanh()).tanh())


@pytest.mark.parametrize("name", ["channels_last", "nnpack", "winograd", "matmul"])
@pytest.mark.parametrize("penalty", [False, True])
def test_gradients_and_gradient_penalties_are_those_of_pytorch(
    monkeypatch: pytest.MonkeyPatch, name: str, penalty: bool
) -> None:
    always(monkeypatch, name)
    torch.manual_seed(0)
    net, given = Net(), torch.randn(2, 3, 9, 10)
    kernels = Kernels("auto", CPU)

    def gradients(context: Any) -> list[Tensor]:
        x = given.clone().requires_grad_()
        with context:
            made = net(x)
            loss = made.square().mean()
            if penalty:
                (slope,) = torch.autograd.grad(made.sum(), x, create_graph=True)
                loss = loss + (slope.square().sum((1, 2, 3)) - 1).square().mean()
        return [made.detach(), *torch.autograd.grad(loss, [x, *net.parameters()])]

    expected = gradients(nullcontext())
    for made, plain in zip(gradients(kernels(0)), expected, strict=True):
        assert apart(made, plain) < 2e-5
    assert set(kernels.choices.used.values()) == {name}


def test_only_the_gradients_that_a_player_needs_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of D's weights are not, in the turn of G."""
    always(monkeypatch, "matmul")
    run, computed = Convolutions.run, list[str]()
    monkeypatch.setattr(
        Convolutions, "run", lambda self, kind, *rest: computed.append(kind) or run(self, kind, *rest)
    )
    G, D = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 2, 3)
    kernels = Kernels("auto", CPU)

    def backward(context: Any) -> list[Tensor | None]:
        with context:
            loss = D(G(torch.ones(1, 3, 9, 9))).square().sum()
        loss.backward(inputs=[*G.parameters()])
        found = [p.grad for p in (*G.parameters(), *D.parameters())]
        G.zero_grad()
        return found

    expected, made = backward(nullcontext()), backward(kernels(0))
    assert made[2:] == expected[2:] == [None, None]
    assert all(apart(a, b) < 1e-5 for a, b in zip(made[:2], expected[:2], strict=True) if a is not None)
    assert computed == ["forward", "forward", "input", "weight"]


class Pairs(Task):
    """Learns a fixed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.G = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.Tanh(), nn.Conv2d(12, 3, 3, padding=1))

    def players(self) -> Any:
        return {"G": [self.G]}

    def step(self, batch: Any) -> Any:
        yield "G", {"l2": (self.G(batch["A"]) - batch["B"]).square().mean()}


def engine(speed: Any) -> Engine:
    """Return an engine with the weights of seed 0."""
    torch.manual_seed(0)
    return Engine(Pairs(), partial(adam, lr=1e-3), Train(steps=1, speed=speed))


def batch(step: int) -> dict[str, Tensor]:
    """Return the batch of a step."""
    a = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(step)) * 2 - 1
    return {"A": a, "B": a.roll(1, 2) * 0.5 + a.flip(1) * 0.25}


def test_two_hundred_steps_of_auto_follow_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch, "winograd")
    exact, auto = engine("exact"), engine("auto")
    for step in range(200):
        one, other = (each.step([batch(step)]).losses["G/l2"] for each in (exact, auto))
        assert other == pytest.approx(one, rel=1e-5)
    with torch.no_grad():
        assert (exact.task.G(batch(0)["A"]) - auto.task.G(batch(0)["A"])).abs().max() < 1e-4
    assert auto.kernels.choices.used
    assert not exact.kernels.choices.used


def test_exact_is_what_pytorch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch, "winograd")
    kernels = Kernels("exact", CPU)
    assert isinstance(kernels(0), nullcontext)
    assert kernels.state() is None
    assert isinstance(Kernels("auto", CPU, processes=2)(0), nullcontext)
    assert isinstance(Kernels("auto", torch.device("meta"))(0), nullcontext)


def test_a_resumed_run_makes_the_choices_of_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = iter(["winograd", "matmul", "channels_last", "nnpack"] * 9)

    def first_applicable(kernels: Any) -> str:
        name = next(names)
        try:
            kernels[name]()
        except (RuntimeError, KeyError):
            return "direct"
        return name

    monkeypatch.setattr(choices, "fastest", first_applicable)
    unbroken = engine("auto")
    for step in range(3):
        unbroken.step([batch(step)])
    state = torch.utils._pytree.tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, unbroken.state())
    assert set(state["kernels"].values()) >= {"winograd", "matmul"}
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "other"))  # as on a machine that has measured nothing
    monkeypatch.setattr(choices, "fastest", lambda _: pytest.fail("it measures again"))
    resumed = engine("auto")
    resumed.load_state(state)
    for step in range(3, 6):
        assert unbroken.step([batch(step)]).losses == resumed.step([batch(step)]).losses
    for one, other in zip(unbroken.task.parameters(), resumed.task.parameters(), strict=True):
        assert torch.equal(one, other)
    del state["kernels"]  # of a version without choices, which trained as PyTorch does
    resumed.load_state(state)
    assert isinstance(resumed.kernels(resumed.number), nullcontext)


def test_nothing_is_replaced_where_pytorch_is_always_the_fastest() -> None:
    kernels = Kernels("auto", CPU)
    kernels.choices.used["a"] = "direct"
    assert isinstance(kernels(1), Convolutions)
    assert isinstance(kernels(2), nullcontext)
    kernels.choices.used["b"] = "winograd"
    assert isinstance(kernels(2), Convolutions)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("faster", ["forward", "input", "weight", None])
def test_a_convolution_without_a_faster_pass_is_left_to_pytorch(
    monkeypatch: pytest.MonkeyPatch, faster: str | None, transposed: bool
) -> None:
    """Python's share of a convolution of its own would cost more than it saves."""
    asked = list[str]()

    def best(self: Choices, key: str, kernels: Any) -> str:
        asked.append(key.split()[0])
        return "matmul" if asked[-1] == faster else "direct"

    monkeypatch.setattr(Choices, "best", best)
    convolve = torch.conv_transpose2d if transposed else torch.conv2d
    x, weight = torch.rand(1, 4, 8, 8, requires_grad=True), torch.rand(4, 4, 3, 3, requires_grad=True)
    kernels = Kernels("auto", CPU)
    for step in range(2):
        with kernels(step):
            made = convolve(x, weight)
        assert (made.grad_fn.name() == "ConvolutionBackward0") == (faster is None)  # else that of `Convolution`
    assert sorted(asked) == ["forward", "input", "weight"]  # once, and nothing in the second step
    with kernels(0), torch.no_grad():
        convolve(x, weight)
    assert len(asked) == 3


def test_choices_that_are_loaded_replace_those_made(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.rand(1, 4, 8, 8), torch.rand(4, 4, 3, 3, requires_grad=True)
    kernels = Kernels("auto", CPU)

    def node() -> str:
        with kernels(0):
            return str(torch.conv2d(x, weight).grad_fn.name())

    monkeypatch.setattr(choices, "fastest", lambda _: "direct")
    assert node() == "ConvolutionBackward0"
    kernels.load(dict.fromkeys(kernels.choices.used, "matmul"))
    assert node() == "ConvolutionBackward"  # that of `Convolution`


def test_what_has_its_own_way_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Convolutions, "best", lambda *_: pytest.fail("it was replaced"))
    x, weight = torch.rand(1, 4, 8, 8), torch.rand(4, 4, 3, 3)
    with Kernels("auto", CPU)(0):
        torch.conv2d(x.double(), weight.double())
        torch.conv2d(x, torch.rand(4, 2, 3, 3), groups=2)
        torch.conv2d(x, weight, dilation=2)
        torch.conv2d(x, weight, padding="same")
        torch.conv2d(x[0], weight)
        torch.conv2d(x.contiguous(memory_format=torch.channels_last), weight)
        torch.conv2d(x.to("meta"), weight.to("meta"))
        with torch.autocast("cpu", torch.bfloat16):
            torch.conv2d(x, weight)
        torch.func.grad(lambda value: torch.conv2d(value, weight).sum())(x)
        with forward_ad.dual_level():
            torch.conv2d(forward_ad.make_dual(x, x), weight)
        torch.compile(lambda value: torch.conv2d(value, weight), backend="aot_eager")(x)


def test_a_large_convolution_is_measured_and_agrees() -> None:
    x, weight = torch.rand(1, 64, 24, 24), torch.rand(64, 64, 3, 3, requires_grad=True)
    kernels = Kernels("auto", CPU)
    with kernels(0):
        made = torch.conv2d(x, weight, padding=1)
    made.sum().backward()
    assert apart(made, torch.conv2d(x, weight, padding=1)) < 1e-4
    assert [key.split()[0] for key in kernels.choices.used] == ["forward", "weight"]
    again = Kernels("auto", CPU)
    with again(0):
        torch.conv2d(x, weight, padding=1)
    assert again.choices.used.items() <= kernels.choices.used.items()


@pytest.mark.parametrize("transposed", [False, True])
def test_of_a_large_image_a_translation_measures_only_a_piece(
    transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, torch.Size]] = []

    def best(self: Choices, key: str, kernels: Any) -> str:
        measured.append((key, kernels["direct"]().shape))
        return "direct"

    monkeypatch.setattr(Choices, "best", best)
    monkeypatch.setattr(convolutions, "MEASURED", 800)
    convolve = torch.conv_transpose2d if transposed else torch.conv2d
    x, weight = torch.rand(1, 64, 200, 40), torch.rand(64, 64, 4, 4)
    with torch.inference_mode(), Convolutions(Choices()):
        made = convolve(x, weight, stride=2, padding=1)
    assert torch.equal(made, convolve(x, weight, stride=2, padding=1))
    ((key, shape),) = measured
    assert "1x64x800, 64x64x4x4" in key
    assert shape == (1, 64, *((40, 80) if transposed else (10, 20)))  # of 20 rows


def test_fast_trains_in_bf16_unless_a_precision_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "faster_in_bf16", lambda device: True)
    if multiplies_bf16(CPU):
        assert precision_at("fast", "auto", CPU) == "bf16"
    assert precision_at("fast", "fp32", CPU) == precision_at("auto", "auto", CPU) == "fp32"
    monkeypatch.setattr(training, "faster_in_bf16", lambda device: False)
    assert precision_at("fast", "auto", CPU) == "fp32"


def test_winograd_trains_after_it_has_translated() -> None:
    at, weight = Geometry((9, 9), (3, 3), (1, 1), (1, 1)), torch.rand(3, 90, 3, 3)

    def convolved() -> Tensor:
        return passes.winograd_forward(torch.ones(2, 90, 9, 9), weight, at)

    def in_a_new_thread() -> list[Tensor]:  # buffers belong to a thread
        with torch.inference_mode():
            first = convolved()
        return [first, convolved()]

    with ThreadPoolExecutor(1) as pool:
        first, second = pool.submit(in_a_new_thread).result()
    assert torch.equal(first, second)


def test_winograd_copies_only_a_band_of_a_large_image() -> None:
    at, weight = Geometry((1024, 512), (3, 3), (1, 1), (1, 1)), torch.rand(8, 16, 3, 3)

    def kept() -> int:
        passes.winograd_forward(torch.rand(1, 16, 1024, 512), weight, at)
        return sum(buffer.numel() for buffer in vars(winograd._kept).values())

    with ThreadPoolExecutor(1) as pool:
        assert 0 < pool.submit(kept).result() < 4 * winograd.WORK < 1024 * 512 * 16


def test_the_gradient_of_few_channels_out_copies_patches_of_the_results() -> None:
    """As at the end of a generator: patches of the images would be too many."""
    x, dy = torch.rand(1, 64, 134, 134), torch.rand(1, 3, 128, 128)
    at = Geometry((134, 134), (7, 7), (1, 1), (0, 0))
    with pytest.raises(passes.Inapplicable):
        passes.patches(x, at, 128 * 128)
    assert apart(passes.matmul_weight(x, dy, at), passes.direct_weight(x, dy, at)) < 2e-5


@pytest.mark.parametrize(("side", "padding"), [(3, 1), (7, 0), (4, 2), (9, 4)])
def test_a_convolution_to_few_channels_is_added_up_from_bands_of_rows(
    monkeypatch: pytest.MonkeyPatch, side: int, padding: int
) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 16, 21, 17), torch.randn(3, 16, side, side), torch.randn(3)
    at = Geometry((21, 17), (side, side), (1, 1), (padding, padding))
    expected = torch.conv2d(x, weight, bias, padding=padding)
    for copied in (passes.COPIED, 5 * 17 * 3 * side * side):  # all rows at once, and five of them
        monkeypatch.setattr(passes, "COPIED", copied)
        assert apart(passes.folded_forward(x, weight, at, bias), expected) < 2e-6
    for few, stride in ((weight.transpose(0, 1), 1), (weight, 2)):  # to many channels, and with a stride
        with pytest.raises(passes.Inapplicable):
            passes.folded_forward(x[:, : few.shape[1]], few, at._replace(stride=(stride, stride)))


@pytest.mark.parametrize("training", [False, True])
def test_pixels_are_shuffled_as_pytorch_does(training: bool) -> None:
    torch.manual_seed(0)
    given = torch.randn(2, 18, 5, 7)
    for x in (given, given.double(), given.contiguous(memory_format=torch.channels_last), given[0]):
        plain = x.clone().requires_grad_(training)
        expected = nn.PixelShuffle(3)(plain)
        with Convolutions(Choices(), training):
            fast = x.clone().requires_grad_(training)
            made = nn.functional.pixel_shuffle(fast, upscale_factor=3)
        assert torch.equal(made, expected)
        assert made.stride() == expected.stride()
        if training:
            seen = torch.randn_like(expected)
            assert torch.equal(*(torch.autograd.grad(y, z, seen)[0] for y, z in ((made, fast), (expected, plain))))
    with Convolutions(Choices(), training), pytest.raises(RuntimeError, match="divisible by the square"):
        nn.functional.pixel_shuffle(given, 5)


def test_matmul_copies_only_small_images() -> None:
    at = Geometry((400, 400), (3, 3), (1, 1), (1, 1))
    with pytest.raises(RuntimeError, match="does not compute"):
        passes.matmul_forward(torch.rand(1, 16, 400, 400), torch.rand(2, 16, 3, 3), at)


FAULTS = """
import resource, torch
from i2i.speed import prepare
{}
def touched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(9):
        torch.ones(12_000_000)  # more than 32 MB, up to which glibc learns to keep memory by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touched()
print(min(touched() for _ in range(3)), torch.get_num_threads())  # some hosts take a few pages back now and then
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_a_training_keeps_its_memory() -> None:
    fresh, kept = (
        subprocess.run([sys.executable, "-c", FAULTS.format(line)], capture_output=True, text=True, check=True)
        for line in ("torch.set_num_threads(1)", "prepare(1)")
    )
    assert kept.stdout.split()[1] == "1"
    assert int(kept.stdout.split()[0]) < 1000 < int(fresh.stdout.split()[0])


class One(Task):
    """A task of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.G = nn.Linear(1, 1)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G]}


@pytest.mark.parametrize(
    ("settings", "able", "says"),
    [
        ({}, False, "in fp32, with the kernels that are the fastest here (train.speed=auto)"),
        ({"speed": "exact"}, True, "in fp32, with PyTorch's own kernels (train.speed=exact)"),
        ({"speed": "fast"}, True, "in bf16 (train.speed=fast)"),
        ({"speed": "fast"}, False, "in fp32, because bf16 is not faster on this cpu, with the kernels that are the"),
        ({"speed": "fast", "precision": "fp32"}, True, "in fp32, because train.precision says so, with the kernels"),
    ],
)
def test_a_training_says_in_which_precision_and_with_which_kernels_it_runs(
    settings: dict[str, Any], able: bool, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "faster_in_bf16", lambda device: able)
    monkeypatch.setattr(precision, "multiplies_bf16", lambda device: able)
    assert how(Engine(One(), adam, Train(steps=1, **settings))).startswith(f"training on cpu {says}")
