"""The engine: bit for bit the loop one would write by hand, and one sentence for each way a task can be wrong."""

from __future__ import annotations

import copy
import importlib.util
import secrets
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_cyclegan import CycleGAN
from torch import Tensor, nn

from i2i.config import Part, Train
from i2i.contract import check_answers
from i2i.devices import precision_for
from i2i.engine import Engine
from i2i.errors import ConfigError, NumericError, PluginError, ResourceError, blame
from i2i.losses import LSGAN
from i2i.networks import PatchDiscriminator, ResnetGenerator
from i2i.optim import adam, linear_decay, sgd
from i2i.task import Task
from i2i.testing import check_task
from i2i.testing.states import equal, random_states

ROOT = Path(__file__).parent.parent


def by_hand() -> Any:
    spec = importlib.util.spec_from_file_location("by_hand", ROOT / "docs" / "cyclegan_by_hand.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small_cyclegan(pool: int = 50) -> CycleGAN:
    torch.manual_seed(0)
    return CycleGAN(
        partial(ResnetGenerator, width=8, blocks=2),
        partial(PatchDiscriminator, width=8, layers=2),
        LSGAN,
        pool=pool,
    )


def batches(n: int, size: int = 1) -> list[dict[str, Tensor]]:
    source = torch.Generator().manual_seed(1)
    return [{k: torch.rand(size, 3, 32, 32, generator=source) * 2 - 1 for k in "AB"} for _ in range(n)]


class Line(Task):
    """y = w x, with a batch norm-free least-squares step; `wrong` plants a fault."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.w, self.v, self.wrong = nn.Linear(1, 1), nn.Linear(1, 1), wrong

    def players(self) -> dict[str, list[nn.Module]]:
        if self.wrong == "shared":
            return {"W": [self.w], "V": [self.w, self.v]}
        return {"W": [self.w], "V": [] if self.wrong == "empty" else [self.v]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        x = batch["A"]
        out = self.v(self.w(x))
        if self.wrong == "raise":
            raise KeyError("style")
        if self.wrong == "nan":
            yield "W", {"l2": (self.v(self.w(x)) * float("nan")).mean()}
        yield "X" if self.wrong == "player" else "W", {"l2": (out - x).square().mean()}
        if self.wrong != "detach":
            out = self.v(self.w(x).detach())
        yield "V", {"l2": (out - 2 * x).square().mean()}


def line_batch() -> list[dict[str, Tensor]]:
    return [{"A": torch.arange(4.0).view(4, 1)}]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("raise", r"Line \(.*\) failed in step 0: KeyError: 'style' \(test_engine.py line \d+, in step\)"),
        (
            "player",
            r"Line.step yields an unknown player 'X': players\(\) lists V, W \(test_engine.py line \d+, in step\)",
        ),
        ("detach", r"the losses of player 'V' in Line.step still use a graph .* detach\(\)"),
        ("shared", r"players 'W' and 'V' of Line train the same weights"),
        ("empty", r"player 'V' of Line has nothing to train"),
    ],
)
def test_E10_a_wrong_task_is_named_with_what_is_wrong(wrong: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Engine(Line(wrong), sgd, Train(steps=1)).step(line_batch())


class Broken(Task):
    """Breaks the contract of `players` or `step` in one way."""

    def __init__(self, wrong: str) -> None:
        if wrong != "no super":
            super().__init__()
            self.G, self.F = nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1))
        self.wrong = wrong

    def players(self) -> Any:
        if self.wrong == "not a dict":
            return [self.G]
        if self.wrong == "a module":
            return {"G": self.G}
        if self.wrong == "a parameter":
            return {"G": [self.G, self.G.weight]}
        if self.wrong == "players raises":
            raise AttributeError("no G")
        return {"G": [self.G, self.F]} if self.wrong not in ("left out", "half left out") else {"G": [self.G]}

    def step(self, batch: dict[str, Any]) -> Any:
        if self.wrong == "returns":
            return {"l1": self.G(batch["A"]).mean()}
        return self._step(batch)

    def _step(self, batch: dict[str, Any]) -> Iterator[Any]:
        loss = self.F(self.G(batch["A"])).mean()
        wrong: dict[str, Any] = {
            "no player": loss,
            "nothing": None,
            "losses": ("G", loss),
            "none": ("G", {}),
            "float": ("G", {"l1": loss, "tv": 0.0}),
            "vector": ("G", {"l1": self.F(self.G(batch["A"]))}),
            "list": ("G", [loss]),
            "part": ("G", [lambda: {"l1": loss}, lambda: loss]),
            "twice": ("G", [lambda: {"l1": loss}, lambda: {"tv": loss, "l1": loss}]),
        }
        yield wrong.get(self.wrong, ("G", {"l1": loss}))


STEP = r" \(test_engine.py line \d+, in _step\)$"
PLAYERS = r" \(test_engine.py line \d+, in players\)$"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "left out",
            r"^F.0.weight of Broken is trained by no player: add F to players\(\), or .*\(False\)" + PLAYERS,
        ),
        ("not a dict", r'^Broken.players returns a list: return a dict .* \{"G": \[self.G\]\}' + PLAYERS),
        ("a module", r"^player 'G' of Broken must be a list of modules, such as \[self.G\], and is Linear" + PLAYERS),
        (
            "a parameter",
            r"^player 'G' of Broken must be a list of modules, .* is \['Linear', 'Parameter'\]" + PLAYERS,
        ),
        ("players raises", r"^Broken \(test_engine\) failed in players: AttributeError: no G" + PLAYERS),
        ("no super", r"^Broken.__init__ must call super\(\).__init__\(\) before it does anything else$"),
        ("returns", r'^Broken.step returns a dict instead of yielding: .* yield "G", .*line \d+, in step\)$'),
        ("no player", r"^Broken.step yields a Tensor instead of \(player, losses\): write yield .*" + STEP),
        ("nothing", r"^Broken.step yields a NoneType instead of \(player, losses\)" + r".*" + STEP),
        ("losses", r"^Broken.step yields a Tensor as the losses of player 'G': write yield .*" + STEP),
        ("none", r"^Broken.step yields no losses for player 'G': a turn needs at least one, .*" + STEP),
        ("float", r"^Broken.step yields a float as loss 'G/tv', .* or use torch.tensor\(0.0\)" + STEP),
        ("vector", r"^Broken.step yields loss 'G/l1' of shape \(4, 1\), which must be a scalar: use .mean.*" + STEP),
        ("list", r"^Broken.step yields a list as the losses of player 'G': write yield .*" + STEP),
        ("part", r"^Broken.step yields a Tensor as the losses of player 'G': write yield .*" + STEP),
        ("twice", r"^Broken.step yields two parts with a loss 'G/l1': give each loss a name of its own" + STEP),
    ],
)
def test_a_broken_contract_is_the_same_sentence_in_a_run_and_in_the_kit(wrong: str, message: str) -> None:
    with pytest.raises(PluginError, match=message) as in_a_run:
        Engine(Broken(wrong), sgd, Train(steps=1)).step(line_batch())
    with pytest.raises(PluginError) as in_the_kit:
        check_task(Broken(wrong), line_batch()[0])
    assert str(in_a_run.value) == str(in_the_kit.value)
    assert in_a_run.value.exit_code == 7


def test_a_network_that_is_not_trained_needs_no_player() -> None:
    task = Broken("left out")
    task.F.requires_grad_(False)
    Engine(task, sgd, Train(steps=1)).step(line_batch())
    task.players = lambda: {"G": [nn.ParameterList([task.G.weight])]}  # type: ignore[method-assign]
    with pytest.raises(
        PluginError, match=r"^G.bias of .* by no player: move it into a module that players\(\) lists"
    ):
        Engine(task, sgd, Train(steps=1))


def test_a_turn_that_only_some_micro_batches_take_is_named() -> None:
    class Fickle(Line):
        def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
            yield ("V" if batch["A"].max() > 5 else "W"), {"l2": self.v(self.w(batch["A"])).mean()}

    with pytest.raises(PluginError, match=r"must take the same turns, and Fickle.step yields V and W in one of them"):
        Engine(Fickle(), sgd, Train(steps=1, accumulate=2)).step([*line_batch(), {"A": torch.full((4, 1), 9.0)}])


def test_a_constructor_that_forgets_super_is_told_to_call_it_first() -> None:
    class Forgotten(Task):
        def __init__(self) -> None:
            self.G = nn.Linear(1, 1)

    part = Part(Forgotten)
    part.use = "forgotten"
    with pytest.raises(
        PluginError, match=r"Forgotten .* failed in its constructor: call super\(\).__init__\(\) before"
    ):
        part()


def test_an_error_is_placed_in_the_authors_code_even_beside_the_task_or_in_its_base_class(tmp_path: Path) -> None:
    for name, text in {
        "author/losses.py": "def total(x):\n    return x['style']\n",
        "author/method.py": "import losses\n\n\nclass Method:\n    def step(self):\n        losses.total({})\n",
        "other/child.py": "import method\n\n\nclass Child(method.Method):\n    pass\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(tmp_path / "author")
        patched.syspath_prepend(tmp_path / "other")
        method, child = importlib.import_module("method"), importlib.import_module("child")
        for kind, place in (
            (method.Method, "losses.py line 2, in total"),
            (child.Child, "method.py line 6, in step"),
        ):
            message = rf"failed in step 3: KeyError: 'style' \({place}\)$"
            with pytest.raises(PluginError, match=message), blame(kind(), "step 3"):
                kind().step()


def test_numbers_of_a_player_that_did_not_move_are_not_repeated() -> None:
    """A resumed run does not know them, and its log would differ."""

    class Staged(Line):
        def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
            w, v = super().step(batch)
            yield w if engine.number == 0 else v

    engine = Engine(Staged(), adam, Train(steps=2))
    engine.step(line_batch())
    assert (list(engine.losses), list(engine.norms)) == (["W/l2"], ["norm/W"])
    engine.step(line_batch())
    assert (list(engine.losses), list(engine.norms)) == (["V/l2"], ["norm/V"])


def test_a_plugin_that_calls_exit_is_blamed() -> None:
    said = r"Line \(test_engine\) failed in step 0: SystemExit: 3 \(test_engine.py line"
    with pytest.raises(PluginError, match=said), blame(Line(), "step 0"):
        sys.exit(3)


def test_an_error_that_is_a_sentence_passes_unchanged() -> None:
    error = ConfigError("no")
    with pytest.raises(ConfigError) as caught, blame(Line(), "step 0"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_F3_a_lack_of_memory_is_not_blamed_on_the_task(error: Exception) -> None:
    with pytest.raises(ResourceError, match=r"^out of memory in step 0: use less at a time"), blame(Line(), "step 0"):
        raise error


def test_a_lack_of_memory_in_a_constructor_names_what_is_built() -> None:
    with pytest.raises(ResourceError, match="out of memory in Line's constructor: "), blame(Line, "its constructor"):
        raise MemoryError
    with pytest.raises(ResourceError, match=r"^out of memory in itself: "), blame(Line, "itself"):
        raise MemoryError


class Huge(Line):
    """Needs more memory than there is, in the forward or in the backward pass."""

    def step(self, batch: Any) -> Any:
        if self.wrong == "forward":
            torch.empty(1 << 50)

        class Backward(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                return x.clone()

            @staticmethod
            def backward(ctx: Any, grad: Any) -> Any:
                return grad + torch.empty(1 << 50).sum()

        yield "W", {"loss": Backward.apply(next(self.parameters())).sum()}


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_F10_a_step_that_needs_too_much_memory_is_a_resource_error(where: str) -> None:
    with pytest.raises(ResourceError, match=r"out of memory in .*data\.batch_size"):
        Engine(Huge(where), partial(sgd, lr=1.0), Train(steps=1)).step(line_batch())


def test_an_error_of_several_lines_becomes_one_line() -> None:
    with (
        pytest.raises(
            PluginError, match=r"^Line .* failed in step 0: ValueError: one two \(test_engine.py line \d+, in"
        ),
        blame(Line(), "step 0"),
    ):
        raise ValueError("one\n  two")


class Shows(Line):
    """Answers `pictures` and `validate` wrongly in one way, and carelessly in every other."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__(wrong)
        self.calls, self.norm = [0], nn.BatchNorm1d(1, affine=False)
        self.register_buffer("seen", torch.zeros(()))

    def pictures(self, batch: dict[str, Any]) -> Any:
        self.calls[0] += 1
        self.seen += torch.rand(()) + np.random.rand()
        self.norm(batch.get("A", torch.ones(4, 1)))
        if self.wrong == "pictures raises":
            return {"out": batch["A"].nose}
        if self.wrong == "no dict":
            return batch["A"]
        if self.wrong == "a pair of strings":
            return {"out": ("image", batch["A"])}
        return {"out": torch.zeros(4, 2 if self.wrong == "two channels" else 3, 8, 8)}

    def validate(self, batch: dict[str, Any]) -> Any:
        if self.wrong == "validate raises":
            return {"elbo": 1 / 0}
        if self.wrong == "vector":
            return {"elbo": batch["A"]}
        return {"elbo": "high" if self.wrong == "word" else batch["A"].mean()}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "pictures raises",
            r"Shows \(.*\) failed in pictures: AttributeError: .*'nose' \(test_engine.py line \d+, in pictures\)",
        ),
        ("no dict", r"Shows.pictures returns a Tensor instead of a dict of batches by name \(test_engine.py line"),
        (
            "two channels",
            r"Shows.pictures returns 'out' as torch.float32 \[4, 2, 8, 8\], which is not a batch of images: ",
        ),
        (
            "a pair of strings",
            r"Shows.pictures returns 'out' as a pair of str and values; its first part must be a modality",
        ),
        ("validate raises", r"Shows \(.*\) failed in validate: ZeroDivisionError: .*in validate\)"),
        ("vector", r"Shows.validate returns 'elbo' of shape \(4, 1\), which must be a number \(test_engine.py line"),
        ("word", r"Shows.validate returns 'elbo' as a str, which must be a number"),
    ],
)
def test_what_a_task_shows_is_checked_before_it_trains(wrong: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        check_answers(Shows(wrong), line_batch()[0])
    with pytest.raises(PluginError, match=message):
        check_task(Shows(wrong), line_batch()[0], lr=1e-2)


def test_a_translation_of_the_wrong_size_is_found_before_training() -> None:
    class Shrinks(Shows):
        def translate(self, image: Tensor) -> Tensor:
            return image[..., :5]

        def pictures(self, batch: dict[str, Any]) -> Any:
            return {}

    with pytest.raises(
        PluginError, match=r"Shrinks.translate made \[2, 3, 8, 5\] from \[2, 3, 8, 8\]; .* must keep N"
    ):
        check_answers(Shrinks(), {"A": torch.zeros(2, 3, 8, 8)})


def test_a_translation_that_returns_nothing_is_found_under_the_name_that_its_author_wrote() -> None:
    class Forgets(Shows):
        def translate(self, image: Tensor) -> Any:
            pass

    with pytest.raises(PluginError, match=r"^Forgets.translate must return a tensor \[N, ...\], not NoneType"):
        check_answers(Forgets(), {"A": torch.zeros(2, 3, 8, 8)})


def test_a_step_that_asks_for_a_missing_entry_is_told_what_there_is() -> None:
    class Asks(Line):
        def step(self, batch: dict[str, Any]) -> Iterator[Any]:
            yield "G", {"l1": batch["image"].mean()}

    message = (
        r"failed in step 0: MissingEntry: there is no 'image', the samples have 'A' \(test_engine.py line \d+, in "
    )
    with pytest.raises(PluginError, match=message):
        Engine(Asks(), sgd, Train(steps=1)).step([line_batch()[0]])


def test_the_check_of_what_a_task_shows_leaves_no_trace() -> None:
    engine = Engine(Shows(), sgd, Train(steps=1, ema=0.9))
    task, before, states = engine.task.train(), copy.deepcopy(engine.state()), random_states()
    check_answers(task, line_batch()[0])
    check_answers(task, None)
    assert equal(random_states(), states)
    assert equal(engine.state(), before)
    assert (task.calls, task.norm.training) == ([0], True)


def test_a_turn_moves_its_own_player_only() -> None:
    check_task(Line(), line_batch()[0], lr=1e-2)


def test_F6_a_loss_that_is_not_finite_stops_before_the_weights_do() -> None:
    engine = Engine(Line("nan"), sgd, Train(steps=1))
    before = [p.clone() for p in engine.task.parameters()]
    with pytest.raises(NumericError, match=r"step 0: a loss of player 'W' is not finite \(W/l2 nan\)"):
        engine.step(line_batch())
    assert all(torch.equal(a, b) for a, b in zip(before, engine.task.parameters(), strict=True))


def test_F6_on_nan_skip_leaves_the_turn_out_and_counts_it() -> None:
    engine = Engine(Line("nan"), sgd, Train(steps=1, on_nan="skip"))
    engine.step(line_batch())
    engine.step(line_batch())
    assert engine.skipped == {"W": 2}
    assert all(p.isfinite().all() for p in engine.task.parameters())
    resumed = Engine(Line("nan"), sgd, Train(steps=1, on_nan="skip"))
    resumed.load_state(engine.state())
    resumed.step(line_batch())
    assert resumed.skipped == {"W": 3}


def test_F6_running_statistics_recover_from_a_skipped_step() -> None:
    task = Line()
    task.w = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))  # type: ignore[assignment]
    engine = Engine(task, sgd, Train(steps=2, on_nan="skip"))
    engine.step([{"A": torch.full((4, 1), float("nan"))}])
    assert engine.skipped == {"W": 1, "V": 1}
    assert all(b.isfinite().all() for b in task.buffers())
    engine.step(line_batch())
    assert task.w[0].running_mean.item() > 0


def test_one_optimizer_per_player_must_name_the_players() -> None:
    with pytest.raises(ConfigError, match=r"given for \['G'\], but the task has the players \['V', 'W'\]"):
        Engine(Line(), {"G": sgd}, Train(steps=1))
    engine = Engine(Line(), {"W": partial(sgd, lr=0.1), "V": partial(sgd, lr=0.2)}, Train(steps=1))
    assert {k: o.param_groups[0]["lr"] for k, o in engine.optimizers.items()} == {"W": 0.1, "V": 0.2}


def test_bf16_is_refused_on_a_cpu_that_has_no_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False}, raising=False)
    with pytest.raises(ConfigError, match="this CPU, which has neither AVX512-BF16 nor AMX"):
        Engine(Line(), sgd, Train(steps=1, precision="bf16"))


@pytest.mark.parametrize("able", ["avx512_bf16", "amx_bf16"])
def test_bf16_is_there_for_those_who_ask_on_a_cpu_that_has(able: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {able: True}, raising=False)
    assert precision_for("bf16", torch.device("cpu")) == "bf16"
    assert precision_for("auto", torch.device("cpu")) == "fp32"  # the same numbers on every CPU


def test_the_engine_equals_the_loop_by_hand_bit_for_bit() -> None:
    engine = Engine(
        small_cyclegan(pool=3),
        partial(adam, lr=2e-4, betas=(0.5, 0.999)),
        Train(steps=30),
        schedule=linear_decay(start=2, end=4),
        steps_per_epoch=6,
    )
    ours = [engine.step([batch]).losses for batch in batches(30)]
    hand = by_hand().train(
        batches(30), seed=0, width=8, blocks=2, d_width=8, d_layers=2, pool=3, epoch_length=6, constant=2, decay=2
    )
    assert ours == hand.losses
    for name in ("G_ab", "G_ba", "D_a", "D_b"):
        pairs = zip(getattr(engine.task, name).parameters(), getattr(hand, name).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), name


def test_accumulated_micro_batches_equal_the_large_batch() -> None:
    # In double precision, because what float32 rounds differently grows over the steps.
    def trained(parts: int) -> tuple[Engine, list[dict[str, float]]]:
        engine = Engine(small_cyclegan(pool=4).double(), partial(sgd, lr=1e-2), Train(steps=4, accumulate=parts))
        losses = []
        for batch in batches(4, size=4):
            micro = [
                dict(zip(batch, chunk, strict=True))
                for chunk in zip(*(v.double().chunk(parts) for v in batch.values()))
            ]
            losses.append(engine.step(micro).losses)
        return engine, losses

    (whole, one), (parts, four) = trained(1), trained(4)
    for a, b in zip(one, four, strict=True):
        assert a == pytest.approx(b, abs=1e-10)
    for p, q in zip(whole.task.parameters(), parts.task.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-10)


def test_the_average_follows_and_is_put_in_place_only_inside() -> None:
    engine = Engine(small_cyclegan(), partial(sgd, lr=0.1), Train(steps=3, ema=0.5))
    expected = None
    for batch in batches(3):
        engine.step([batch])
        now = engine.task.G_ab[1].weight.detach().clone() if hasattr(engine.task.G_ab, "__getitem__") else None
        now = next(engine.task.G_ab.parameters()).detach().clone() if now is None else now
        expected = now if expected is None else 0.5 * expected + 0.5 * now
    own = engine.task.G_ab
    with engine.averaged() as task:
        assert torch.allclose(next(task.G_ab.parameters()), expected, atol=1e-6)
        assert not task.training
    assert engine.task.G_ab is own
    assert torch.allclose(engine.weights()[next(n for n, _ in engine.task.named_parameters())], expected, atol=1e-6)


def test_cyclegan_keeps_the_contract_of_a_task() -> None:
    check_task(small_cyclegan(), batches(1)[0])


def test_A26_flat_pictures_through_instance_norm_train_without_nan() -> None:
    engine = Engine(small_cyclegan(), partial(adam, lr=2e-3), Train(steps=6))
    for value in (0.0, 1.0, -1.0, 0.0, 0.3, 0.3):
        losses = engine.step([{name: torch.full((1, 3, 32, 32), value) for name in "AB"}]).losses
        assert all(map(np.isfinite, losses.values())), losses
    assert all(p.isfinite().all() for p in engine.task.parameters())


def test_gradients_are_clipped_to_the_norm_asked_for() -> None:
    engine = Engine(Line(), partial(sgd, lr=1.0), Train(steps=1, clip=1e-3))
    before = [p.detach().clone() for p in engine.players["W"]]
    engine.step(line_batch())
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, engine.players["W"], strict=True)]).norm()
    assert moved.item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_F7_a_gradient_that_is_not_finite_moves_nothing_and_names_its_player(on_nan: Any) -> None:
    task = Line()
    next(task.players()["W"][0].parameters()).register_hook(lambda grad: grad * float("nan"))
    engine = Engine(task, partial(adam, lr=1.0), Train(steps=1, on_nan=on_nan))
    before = copy.deepcopy(task.w.state_dict())
    if on_nan == "stop":
        with pytest.raises(NumericError, match=r"step 0: the gradients of player 'W' are not finite \(W/l2 \d"):
            engine.step(line_batch())
    else:
        engine.step(line_batch())
        assert engine.skipped == {"W": 1}
    assert equal(task.w.state_dict(), before)


def test_a_decay_that_ends_before_it_starts_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.end is 3, before schedule\.start 5.*use end: 8"):
        linear_decay(start=5, end=3, unit="steps")
    assert linear_decay(start=5, end=5, unit="steps")(0, 5) == 0


def test_linear_decay_is_the_published_schedule() -> None:
    factor = linear_decay(start=100, end=200)
    published = [1 - max(0, epoch + 1 - 100) / 101 for epoch in range(200)]
    assert [factor(epoch, 0) for epoch in range(200)] == published
    assert linear_decay(start=10, end=20, unit="steps")(0, 19) == pytest.approx(1 / 11)


class Forgetful(Line):
    """Breaks one point of the contract of `translate`."""

    def translate(self, image: Tensor) -> Tensor:
        if self.wrong == "size":
            return image[..., 1:]
        if self.wrong == "range":
            return image * 3
        if self.wrong == "in place":
            return image.mul_(0.5)
        if self.wrong == "random":
            return (image + torch.rand_like(image)).clamp(-1, 1)
        if self.wrong == "nan":
            return image / image.sign().clamp(min=0)
        if self.wrong == "half":
            return image.half()
        if self.wrong == "batch":
            return image - image.mean()
        if self.wrong == "state":
            self.calls = getattr(self, "calls", 0) + 1
            return image / self.calls
        return image


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("size", "with scale 1 it must keep N and give 8x8 pixels"),
        ("range", "leaves"),
        ("in place", "changes what it is given"),
        ("random", "draws from the global"),
        ("nan", "not finite"),
        ("half", "float16"),
        ("batch", "depends on its neighbours"),
        ("state", "another result the second time"),
    ],
)
def test_E7_check_task_finds_each_way_to_translate_wrongly(wrong: str, message: str) -> None:
    from i2i.testing import check_translate

    images = torch.linspace(-0.4, 0.5, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    check_translate(Forgetful(), images)
    with pytest.raises((AssertionError, PluginError, NumericError), match=message):
        check_translate(Forgetful(wrong), images)


class Careless(Task):
    """y = w x and z = v x, trained in two turns; `wrong` breaks one point of the contract of `step`."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.w, self.v, self.wrong, self.calls = nn.Linear(1, 1), nn.Linear(1, 1), wrong, 0

    def players(self) -> dict[str, list[nn.Module]]:
        return {"W": [self.w], "V": [self.v]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        x, self.calls = batch["A"], self.calls + 1
        loss = (self.w(x) - x).square()
        if self.wrong == "not finite":
            yield "W", {"l2": loss.mean() / 0}
        if self.wrong == "moves by itself":
            self.v.bias.data.add_(1)
        if self.wrong == "own chance":
            loss = loss * secrets.SystemRandom().random()
        if self.wrong == "forgetful":
            loss = loss * self.calls
        if self.wrong == "moves nothing":
            loss = loss * 0
        other = (self.v(x) - 2 * x).square()
        if self.wrong == "uphill":
            loss, other = 2 * loss.detach() - loss, 2 * other.detach() - other
        yield "W", {"l2": loss.mean()}
        if self.wrong == "moves a stranger":
            self.w.bias.data.add_(1)
        if self.wrong != "left out":
            yield "V", {"l2": other.mean()}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("not finite", "loss 'W/l2' is inf"),
        ("moves by itself", "the code before the turn of 'W' changed v.bias by itself"),
        ("moves a stranger", "the code before the turn of 'V' changed w.bias by itself"),
        ("moves nothing", "the turn of 'W' moved nothing"),
        ("left out", r"the players \['V'\] never have a turn"),
        ("own chance", "the same seed gave other losses"),
        ("forgetful", "after saving and loading its state it goes on differently"),
        ("uphill", "no player's loss fell in 20 steps on one batch"),
    ],
)
def test_E7_check_task_finds_each_way_to_train_wrongly(wrong: str, message: str) -> None:
    check_task(Careless(), line_batch()[0], lr=1e-2)
    with pytest.raises(AssertionError, match=f"Careless: .*{message}"):
        check_task(Careless(wrong), line_batch()[0], lr=1e-2)


def test_E7_check_task_names_a_player_that_is_unknown_and_a_forgotten_detach() -> None:
    with pytest.raises(PluginError, match=r"Line.step yields an unknown player 'X': players\(\) lists V, W"):
        check_task(Line("player"), line_batch()[0], lr=1e-2)
    with pytest.raises(PluginError, match=r"the losses of player 'V' in Line.step still use a graph .* detach\(\)"):
        check_task(Line("detach"), line_batch()[0], lr=1e-2)


def test_E7_a_task_that_cannot_be_sent_to_another_process_is_found() -> None:
    task = Line()
    task.trick = lambda x: x  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="cannot be sent"):
        check_task(task, line_batch()[0], lr=1e-2)
