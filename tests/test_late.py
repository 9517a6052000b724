"""On an accelerator the host reads nothing in a step: losses wait on the device, and a flag there holds faults back.

The CPU stands for the accelerator: `engine.late` is set by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from i2i_vae import adagrad
from test_configs import CONFIGS, ROOT
from test_engine import Line, batches, line_batch, small_cyclegan
from torch import Tensor, nn

from i2i import NumericError, Task, api, config
from i2i.config import Train
from i2i.devices import Late, LossScale
from i2i.engine import Engine
from i2i.optim import adam, sgd
from i2i.plugins import registry


def lately(engine: Engine) -> Engine:
    engine.late = True
    return engine


def weights(engine: Engine) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in engine.task.state_dict().items() if isinstance(value, Tensor)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


class Plain(torch.optim.Optimizer):
    """Gradient descent on meta, where fused optimizers do not run."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1})

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.data -= group["lr"] * p.grad * (1 - self.found_inf)  # type: ignore[attr-defined]


class Faulty(Line):
    """`Line`, whose gradient for the player W is NaN in one step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.steps = at, 0
        self.w.weight.register_hook(lambda grad: grad * float("nan") if self.steps == self.at else grad)

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        yield from super().step(batch)
        self.steps += 1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_the_host_reads_nothing_in_a_step(precision: Any, on_nan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_: nullcontext())  # there is none on meta
    train = Train(steps=9, ema=0.9, clip=1.0, accumulate=2, precision=precision, on_nan=on_nan)
    engine = lately(Engine(small_cyclegan(pool=3), Plain, train, device="meta"))
    for batch in batches(4):
        outcome = engine.step([batch, batch])  # reading a value from meta is an error
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        outcome.losses  # noqa: B018


def test_the_losses_of_many_steps_are_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, lists = lately(Engine(Line(), adam, Train(steps=9))), []
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: lists.append(len(tensor)) or [0.0] * len(tensor))
    for _ in range(5):
        outcome = engine.step(line_batch())
    assert lists == []
    assert set(outcome.losses) == {"W/l2", "V/l2"}
    assert lists[0] == 5 * 2 * 2  # of five steps, two turns, a loss and a norm each


def test_reading_late_changes_no_number() -> None:
    at_once, late = (Engine(small_cyclegan(pool=3), adam, Train(steps=9, ema=0.9, clip=1.0)) for _ in range(2))
    lately(late)
    for batch in batches(5):
        told, outcome = at_once.step([batch]).losses, late.step([batch])
    assert outcome.losses == told
    assert same(weights(at_once), weights(late))


OPTIMIZERS = [partial(adam, lr=0.1), partial(sgd, lr=0.01, momentum=0.9), partial(adagrad, lr=0.1, weight_decay=0.1)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_F7_a_fault_that_is_read_late_moves_nothing_after_it(optimizer: Any) -> None:
    torch.manual_seed(0)
    engine = lately(Engine(Faulty(at=2), optimizer, Train(steps=9)))
    for _ in range(2):
        engine.step(line_batch())
    before, moments = weights(engine), copy.deepcopy([o.state_dict() for o in engine.optimizers.values()])
    for _ in range(3):
        engine.step(line_batch())
    assert same(before, weights(engine))
    assert str(moments) == str([o.state_dict() for o in engine.optimizers.values()])
    with pytest.raises(NumericError, match=r"step 2: the gradients of player 'W' are not finite") as caught:
        engine.read()
    assert caught.value.step == 2
    for save in (engine.state, engine.weights):
        fresh = lately(Engine(Faulty(at=0), optimizer, Train(steps=9)))
        fresh.step(line_batch())
        with pytest.raises(NumericError, match="step 0"):
            save.__func__(fresh)  # nothing is saved after a fault


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_config_has_optimizers_that_a_flag_on_the_device_holds_back(path: Path) -> None:
    chosen = config.load(path, [], registry().catalog).optimizer
    for build in chosen.values() if isinstance(chosen, dict) else [chosen]:
        assert build([nn.Parameter(torch.ones(1, 1))])._step_supports_amp_scaling


def test_adagrad_is_plain_where_pytorch_has_no_fused_one() -> None:
    optimizer = adagrad([nn.Parameter(torch.ones(1, device="meta"))])
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)


def test_F7_a_skipped_fault_holds_back_its_own_turn_only() -> None:
    torch.manual_seed(0)
    late = lately(Engine(Faulty(at=1), partial(adam, lr=0.1), Train(steps=9, on_nan="skip")))
    torch.manual_seed(0)
    at_once = Engine(Faulty(at=1), partial(adam, lr=0.1), Train(steps=9, on_nan="skip"))
    for _ in range(4):
        late.step(line_batch())
        at_once.step(line_batch())
    assert same(weights(late), weights(at_once))
    late.read()
    assert late.skipped == at_once.skipped == {"W": 1}


def test_a_run_that_reads_late_writes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["task.generator.width=4", "task.generator.blocks=1", "task.discriminator.width=4", "data.size=32"]
    small += ["data.samples=4", "data.validation_samples=2", "metrics=[]", "schedule=null"]
    small += ["train.steps=7", "train.log_every=3", "train.sample_every=5", "train.checkpoint_every=4"]
    whole = api.run("cyclegan", *small, out=tmp_path / "at_once")
    built = Engine.__init__

    def late(self: Engine, *args: Any, **options: Any) -> None:
        built(self, *args, **options)
        self.late = True

    monkeypatch.setattr(Engine, "__init__", late)
    other = api.run("cyclegan", *small, out=tmp_path / "late")
    for name in ("log.jsonl", "model.safetensors", "samples/00000007.png"):
        assert (whole / name).read_bytes() == (other / name).read_bytes()


def test_unread_turns_are_read_before_they_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.devices.late.MOST", 6)
    engine = lately(Engine(Line(), adam, Train(steps=9)))
    for _ in range(20):
        engine.step(line_batch())
        assert len(engine.unread._turns) <= 7


def test_late_numbers_come_back_in_order() -> None:
    late = Late(sticky=True)
    assert late.add(0, "G", ["a", "b"], torch.tensor([1.0, 2.0, 9.0])) == 0
    assert late.add(1, "D", ["a"], torch.tensor([float("inf"), 1.0])) == 1
    assert late.add(2, "G", ["a"], torch.tensor([3.0])) == 1
    found = late.read()
    assert [(one.step, one.player, one.losses, one.finite) for one in found] == [
        (0, "G", {"a": 1.0, "b": 2.0}, True),
        (1, "D", {"a": float("inf")}, False),
        (2, "G", {"a": 3.0}, True),
    ]
    assert late.read() == []


# ---- fp16


class Steep(Task):
    """Its gradient overflows in fp16 at a loss scale of 65536: 4 * 65536 is more than 65504."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Linear(1, 1, bias=False)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"W": [self.w]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        yield "W", {"l": (self.w(batch["A"]) * 2).mean()}


@pytest.mark.parametrize("late", [False, True])
def test_fp16_scales_the_loss_and_skips_what_overflows(late: bool) -> None:
    engine = Engine(Steep(), partial(sgd, lr=0.125), Train(steps=9, precision="fp16"))
    engine.late = late
    before = engine.task.w.weight.clone()
    given = [{"A": torch.full((4, 1), 4.0)}]
    engine.step(given)
    assert torch.equal(engine.task.w.weight, before)
    assert engine.scales["W"].value == 2.0**15
    while torch.equal(engine.task.w.weight, before):
        engine.step(given)
    assert torch.allclose(engine.task.w.weight, before - 0.125 * 8)  # the gradient itself, whatever the scale
    assert "W" not in engine.skipped  # an overflow is no fault
    resumed = Engine(Steep(), partial(sgd, lr=0.125), Train(steps=9, precision="fp16"))
    resumed.load_state(engine.state())
    assert resumed.scales["W"].state() == engine.scales["W"].state()


def test_a_loss_scale_grows_when_it_is_calm_and_gives_up_below_one() -> None:
    scale = LossScale(torch.device("cpu"), start=4.0, patience=3)
    for _ in range(3):
        assert scale.update(torch.tensor(1.0)) == 0
    assert scale.value == 8
    for _ in range(4):
        assert scale.judged(torch.tensor(float("inf"))) == 0
        assert scale.update(torch.tensor(float("inf"))) == 1
    assert scale.value == 0.5
    assert scale.judged(torch.tensor(float("inf"))).isinf()  # a lower scale does not help
