"""Branches: parts of a step in threads of their own give the numbers that one thread gives, bit for bit."""

from __future__ import annotations

import copy
import random
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from i2i_cyclegan import CycleGAN
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from i2i.config import Train
from i2i.devices import Branches
from i2i.devices.branches import separate
from i2i.engine import Engine
from i2i.errors import PluginError
from i2i.losses import LSGAN
from i2i.networks import PatchDiscriminator, ResnetGenerator
from i2i.networks.spectral_norm import spectral
from i2i.optim import adam
from i2i.task import Task, Turn
from i2i.testing.states import equal


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def engine(threads: int, precision: Any = "fp32", dropout: float = 0.0, **settings: Any) -> Engine:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    generator = partial(ResnetGenerator, width=8, blocks=1, dropout=dropout)
    task = CycleGAN(generator, partial(PatchDiscriminator, width=8, layers=1), LSGAN, cycle_noise=0.1, pool=1)
    return Engine(task, adam, Train(steps=9, ema=0.9, precision=precision, **settings))


def batches(step: int, n: int = 1) -> list[dict[str, Tensor]]:
    source = torch.Generator().manual_seed(step)
    return [{key: torch.rand(1, 3, 32, 32, generator=source) * 2 - 1 for key in "AB"} for _ in range(n)]


def trained(engine: Engine, start: int = 0, end: int = 3, n: int = 1) -> list[dict[str, float]]:
    return [engine.step(batches(step, n)).losses for step in range(start, end)]


def where(seen: list[int]) -> None:
    """Note the thread, and let the other one begin too."""
    seen.append(threading.get_ident())
    time.sleep(0.05)


class Halves(Task):
    """Two losses in parts, which note how many intermediate values of the other part exist."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.G = nn.Sequential(nn.Linear(3, 3), nn.Dropout(dropout))
        self.made: dict[str, weakref.ref[Tensor]] = {}
        self.alive: list[int] = []

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G]}

    def step(self, batch: dict[str, Any]) -> Iterator[Turn]:
        def part(name: str) -> dict[str, Tensor]:
            self.alive.append(sum(other() is not None for other in self.made.values()))
            inner = self.G(batch["A"]).exp()
            self.made[name] = weakref.ref(inner)
            return {name: inner.square().mean()}

        self.made.clear()
        yield "G", [partial(part, "first"), partial(part, "second")]


@pytest.mark.parametrize(("threads", "dropout", "n", "alive"), [(1, 0, 1, 0), (1, 0.5, 1, 1), (1, 0, 2, 1)])
def test_the_graph_of_a_part_is_freed_before_the_next_one(threads: int, dropout: float, n: int, alive: int) -> None:
    torch.set_num_threads(threads)
    task = Halves(dropout)
    losses = Engine(task, adam, Train(steps=1, accumulate=n)).step([{"A": torch.rand(2, 3)}] * n).losses
    assert list(losses) == ["G/first", "G/second"]
    assert task.alive == [0, alive] * n


@pytest.mark.parametrize("n", [1, 3])
def test_two_threads_give_bit_for_bit_what_one_gives(n: int) -> None:
    one = engine(1, accumulate=n)
    assert not isinstance(one.task.branches, Branches)
    expected = trained(one, n=n)
    two = engine(2, accumulate=n)
    assert isinstance(two.task.branches, Branches)
    assert trained(two, n=n) == expected
    assert equal(one.state(), two.state())
    assert list(two.task.branches.take_turns.values()) == [False, False]
    assert torch.get_num_threads() == 2  # the engines restore it


def test_a_resumed_training_equals_an_unbroken_one() -> None:
    unbroken, first, second = engine(2), engine(2), engine(2)
    expected = trained(unbroken)
    assert trained(first, end=1) == expected[:1]
    second.load_state(copy.deepcopy(first.state()))
    assert trained(second, start=1) == expected[1:]
    assert equal(unbroken.state(), second.state())


def test_bf16_does_not_depend_on_timing(monkeypatch: Any) -> None:
    monkeypatch.setattr("i2i.devices.precision.multiplies_bf16", lambda device: True)
    runs = [trained(engine(2, "bf16"), end=2) for _ in range(2)]
    assert runs[0] == runs[1]
    for one, other in zip(trained(engine(1, "bf16"), end=2), runs[0], strict=True):
        assert other == pytest.approx(one, rel=0.02)


def test_networks_with_dropout_run_in_turn_and_as_before() -> None:
    expected = trained(engine(1, dropout=0.5))
    two = engine(2, dropout=0.5)
    assert isinstance(two.task.branches, Branches)
    assert not two.task.branches.settled
    for a, b in zip(trained(two), expected, strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    assert two.task.branches.take_turns == {}


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(2), nn.Dropout(0.1), spectral(nn.Conv2d(2, 2, 1))])
def test_layers_that_draw_or_keep_statistics_are_known(layer: nn.Module) -> None:
    seen: list[int] = []
    Branches(nn.Sequential(layer), 2)(partial(where, seen), partial(where, seen))
    assert seen == [threading.get_ident()] * 2


@pytest.mark.parametrize("layer", [nn.InstanceNorm2d(2), nn.Dropout(0.0), nn.Conv2d(2, 2, 1)])
def test_from_the_second_call_on_branches_have_threads_of_their_own(layer: nn.Module) -> None:
    branches, seen = Branches(nn.Sequential(layer), 2), list[int]()
    for _ in range(2):
        branches(partial(where, seen), partial(where, seen))
    assert (len(set(seen[:2])), len(set(seen[2:]))) == (1, 2)


class Counter(nn.Module):
    """Changes a buffer whenever it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.count: Tensor

    def forward(self) -> float:
        self.count += 1
        return self.count.item()


@pytest.mark.parametrize("what", ["torch", "python", "buffer"])
def test_branches_that_draw_or_change_buffers_take_turns(what: str) -> None:
    counter = Counter()
    branches, seen = Branches(counter, 2), list[int]()
    draw = {"torch": lambda: torch.rand(()).item(), "python": random.random, "buffer": counter}[what]

    def part(sleep: float) -> float:
        where(seen)
        time.sleep(sleep)
        return draw()

    torch.manual_seed(0)
    random.seed(0)
    found = [branches(partial(part, 0.05), partial(part, 0.0)) for _ in range(3)]
    assert len(set(seen)) == 1
    torch.manual_seed(0)
    random.seed(0)
    counter.count.zero_()
    assert found == [[draw(), draw()] for _ in range(3)]
    assert not branches.used


def test_branches_that_draw_only_later_are_an_error() -> None:
    branches = Branches(nn.Identity(), 2)

    def part(draws: bool) -> None:
        if draws:
            torch.rand(2)

    branches(partial(part, False), partial(part, False))
    with pytest.raises(PluginError, match=r"part \(line \d+\).* drew random numbers .* before calling `branches`"):
        branches(partial(part, True), partial(part, False))


class Named(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return "seen" if func is torch.erf else func(*args, **(kwargs or {}))


def test_branches_compute_as_their_caller_does() -> None:
    branches, x = Branches(nn.Identity(), 2), torch.ones(2, 2, requires_grad=True)

    def part() -> tuple[Any, ...]:
        time.sleep(0.02)
        return (x @ x).dtype, torch.is_grad_enabled(), torch.erf(x), torch.get_num_threads()

    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), Named():
            assert branches(part, part) == [(torch.bfloat16, False, "seen", 1)] * 2
        assert torch.get_num_threads() == 2


def test_a_flop_counter_sees_all_branches() -> None:
    branches, x = Branches(nn.Identity(), 2), torch.ones(2, 2)
    branches(lambda: x @ x, lambda: x @ x)
    with FlopCounterMode(display=False) as counter:
        branches(lambda: x @ x, lambda: x @ x)
    assert counter.get_total_flops() == 2 * 16


def test_the_error_of_the_first_branch_is_raised_after_all_have_ended() -> None:
    branches, ended = Branches(nn.Identity(), 2), list[bool]()

    def fails(after: float, error: Exception) -> None:
        time.sleep(after)
        ended.append(True)
        raise error

    for _ in range(2):
        with pytest.raises(KeyError, match="first"):
            branches(partial(fails, 0.05, KeyError("first")), partial(fails, 0.0, ValueError("second")))
    assert len(ended) == 4
    assert branches(lambda: 1, lambda: 2) == [1, 2]


class Faulty(CycleGAN):
    """Fails in its second branch."""

    def step(self, batch: Any) -> Any:
        self.branches(lambda: None, lambda: {}["style"])
        yield from super().step(batch)


def test_an_error_names_the_line_of_the_author() -> None:
    task = Faulty(partial(ResnetGenerator, width=4, blocks=1), partial(PatchDiscriminator, width=4, layers=1), LSGAN)
    one = Engine(task, adam, Train(steps=3))
    for _ in range(2):
        with pytest.raises(
            PluginError, match=r"step 0: KeyError: 'style' \(test_branches.py line \d+, in <lambda>\)"
        ):
            one.step(batches(0))
    assert torch.get_num_threads() == 2


def test_only_a_cpu_with_several_threads_and_one_process_has_branches() -> None:
    def of(**where: Any) -> Any:
        return Engine(copy.deepcopy(task), adam, Train(steps=1), **where).task.branches

    task = engine(2).task
    del task.branches
    assert isinstance(of(), Branches)
    assert not isinstance(of(device="meta"), Branches)
    torch.set_num_threads(1)
    assert not isinstance(of(), Branches)
    assert Task.branches(lambda: 1, lambda: 2) == [1, 2]


def test_losses_that_share_more_than_weights_stay_together() -> None:
    a, b, c = (torch.ones((), requires_grad=True) for _ in range(3))
    shared = a * b
    one, two, three, constant = shared + 1, (c * c).exp(), shared * c, torch.ones(())
    joint = (c * 2) + (a * 3)
    assert [[id(x) for x in group] for group in separate([one, two, three, constant, joint])] == [
        [id(one), id(three)],
        [id(two)],
        [id(joint)],
    ]
    both = two + joint
    assert len(separate([one, two, three, both])) == 2


def test_gradients_equal_those_of_one_backward_pass() -> None:
    branches = Branches(nn.Identity(), 2)
    x, y, unused = (torch.randn(3, 4, requires_grad=True) for _ in range(3))
    losses = [(x * 2 + y).square().sum(), (x.T + 1).exp().sum(), y.sum(), x.new_ones(()) * 5]
    torch.stack(losses).sum().backward(torch.tensor(0.3), inputs=[x, y], retain_graph=True)
    expected = [x.grad, y.grad]
    x.grad = y.grad = None
    for times in (1, 2):
        branches.backward(losses if times == 2 else [loss + 0 for loss in losses], [x, y, unused], torch.tensor(0.3))
        if times == 1:
            losses = [(x * 2 + y).square().sum(), (x.T + 1).exp().sum(), y.sum(), x.new_ones(()) * 5]
        for found, value in zip([x.grad, y.grad], expected, strict=True):
            assert found is not None
            assert torch.allclose(found, times * value)
            assert found.stride() == value.stride()
    assert unused.grad is None
