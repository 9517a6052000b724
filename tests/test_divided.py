"""Networks divided among processes train as whole ones do, and no process holds more than its part."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.utils.parametrizations import spectral_norm

from i2i import api, checkpoint, config
from i2i.config import Train
from i2i.data.stream import Batch, stream
from i2i.engine import Engine
from i2i.errors import ConfigError, PluginError
from i2i.networks.spectral_norm import spectral
from i2i.optim import adam, sgd
from i2i.plugins import load_files, registry
from i2i.processes import ProcessGroup, divided, join, leave
from i2i.task import Task

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TRAIN = """
data: {use: %s, batch_size: 4, samples: 4, validation_samples: 1}
optimizer: {use: adam, lr: 2.0e-4}
train: {steps: 6, ema: 0.9, clip: 0.5, log_every: 1, sample_every: 3, checkpoint_every: 2, threads: 1, timeout: 60}
"""
PARTS = {
    "cyclegan": """
task:
  use: cyclegan_in_double
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 1}
  gan: {use: lsgan}
  pool: 3
""",
    "pix2pix": """
task:
  use: pix2pix
  generator: {use: unet_generator, width: 4, downs: 3, norm: instance}
  discriminator: {use: patch_discriminator, in_channels: 6, width: 4, layers: 1}
  gan: {use: vanilla}
""",
    "superres": """
task:
  use: superres
  generator: {use: compact_sr, scale: 4, width: 8, blocks: 1}
  discriminator: {use: unet_discriminator, width: 4}
  gan: {use: vanilla}
  pixel: l1
  pixel_steps: 1
""",
    "vae": """
task:
  use: vae
  encoder: {use: dense_encoder, widths: [16]}
  decoder: {use: dense_decoder, widths: [16]}
  latent: 4
  size: 28
""",
}
DATA = {
    "cyclegan": "horses_zebras, size: 32",
    "pix2pix": "drawn_facades, size: 32",
    "superres": "synthetic_photos, scale: 4, size: 32",
    "vae": "digits, size: 28",
}


@pytest.fixture(autouse=True, scope="module")
def imported() -> None:
    """Import all plugins, and with a step the late parts of PyTorch, once for all forks."""
    registry()
    Engine(Chain(), adam, Train(steps=1)).step([{"A": torch.ones(1, 64)}])


def write(name: str, folder: Path) -> Path:
    """Write the config of a kind of task, and return the file."""
    file = folder / f"{name}.yaml"
    file.write_text(PARTS[name] + TRAIN % DATA[name])
    return file


def together(size: int, work: Callable[[], Any]) -> None:
    """Do the same in forks of this process, which can meet."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]

    def child(rank: int) -> None:
        where = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in where.items()}
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)  # as __main__ does, without waiting for threads of the process group

    children = [multiprocessing.get_context("fork").Process(target=child, args=(rank,)) for rank in range(size)]
    for one in children:
        one.start()
    for one in children:
        one.join(100)
        one.kill()
    assert [one.exitcode for one in children] == [0] * size


def in_group(size: int, work: Callable[[ProcessGroup], None]) -> None:
    """Do the same in processes that form a group."""

    def joined() -> None:
        world = join(60, CPU)
        work(world)
        world.wait()
        leave()

    together(size, joined)


def whole(value: Tensor, like: nn.Parameter) -> Tensor:
    """Return all of a piece on every process."""
    assert isinstance(like, divided.Part)
    return divided.Gather.apply(value.detach(), like.whole)


def logged(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def train(file: Path, run: Path, size: int, *changes: str, resume: bool = False) -> None:
    """Train with `size` processes."""
    together(size, lambda: api.run(file, *changes, out=run, resume=resume))


@pytest.mark.timeout(240)
def test_two_one_and_four_processes_in_turn_match_an_undivided_run(tmp_path: Path) -> None:
    file, best = (
        write("superres", tmp_path),
        ["train.best=psnr/db", "train.evaluate_every=1", "metrics=[{use: psnr}]"],
    )
    one, moved = tmp_path / "one", tmp_path / "moved"
    train(file, one, 1, *best, "train.steps=3")
    train(file, moved, 2, *best, "train.steps=1", "train.shard=true")
    train(file, moved, 1, *best, "train.steps=2", resume=True)
    train(file, moved, 4, *best, "train.steps=3", "train.shard=true", resume=True)
    expected, found = logged(one), logged(moved)
    assert len(expected) == len(found) == 6  # steps and evaluations
    for a, b in zip(expected, found, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
    assert_equal(*(checkpoint.load_model(run / "model.safetensors")[0] for run in (one, moved)))
    states = [checkpoint.newest(run / "checkpoints", say=pytest.fail) for run in (one, moved)]
    assert_equal(*(checkpoint.pack(state[1]["engine"])[0] for state in states if state is not None))


def assert_equal(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Check that tensors have the same names, shapes and, but for rounding, values."""
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)


def test_a_resume_with_divided_networks_is_exact(tmp_path: Path) -> None:
    file = write("vae", tmp_path)
    train(file, tmp_path / "unbroken", 2, "train.steps=3", "train.shard=true")
    train(file, tmp_path / "broken", 2, "train.steps=2", "train.shard=true")
    train(file, tmp_path / "broken", 2, "train.steps=3", "train.shard=true", resume=True)
    for name in ("log.jsonl", "model.safetensors"):
        assert (tmp_path / "unbroken" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


@pytest.mark.timeout(120)
def test_each_kind_of_task_has_the_losses_of_undivided_networks_and_half_of_the_bytes(tmp_path: Path) -> None:
    load_files(ROOT / "benchmarks" / "in_double.py")  # in float32, rounding grows where the gradient of L1 jumps
    files = {name: write(name, tmp_path) for name in PARTS}

    def trained(world: ProcessGroup, file: Path, shard: bool) -> tuple[list[dict[str, float]], Engine]:
        chosen = config.load(file, (f"train.shard={shard}", "train.accumulate=2"), registry().catalog)
        torch.manual_seed(world.rank)  # weights are those of the first process
        engine = Engine(chosen.task(), chosen.optimizer, chosen.train, world=world)
        steps = stream(chosen.data(), chosen.train, 0, 2, world)
        return [{**engine.step(batches).losses, **engine.norms} for batches in steps], engine

    def work(world: ProcessGroup) -> None:
        for name, file in files.items():
            (expected, undivided), (found, engine) = (trained(world, file, shard) for shard in (False, True))
            for a, b in zip(expected, found, strict=True):
                assert a == pytest.approx(b, rel=1e-4, abs=1e-6), name
            for own, all_of_it in zip(held(engine), held(undivided), strict=True):
                assert own <= 0.51 * all_of_it + 400, name  # the last pieces are filled up

    in_group(2, work)


def held(engine: Engine) -> list[int]:
    """Return how many bytes of weights, gradients, optimizer states and averages a process holds."""
    parameters = [parameter for own in engine.players.values() for parameter in own]
    kept = [value for o in engine.optimizers.values() for state in o.state.values() for value in state.values()]
    averages = [value for average in engine.averages.values() for value in average.parameters()]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return [sum(value.nbytes for value in each) for each in (parameters, gradients, kept, averages)]


class Chain(Task):
    """Linear layers, of which the first and the last may share their weights; `wrong` plants a fault."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.layers = nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)])
        self.layers[3].weight = self.layers[0].weight
        self.wrong = wrong
        if wrong == "gru":
            self.recurrent = nn.GRU(64, 64)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"L": [self.layers, *([self.recurrent] if self.wrong == "gru" else [])]}

    def step(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        loss = self.layers(batch["A"]).square().mean()
        if self.wrong == "stale":
            yield "L", {"first": self.layers(batch["A"]).square().mean()}
        yield "L", {"square": loss * (float("nan") if self.wrong == "nan" and batch["A"].amax() > 1 else 1)}


class Odd(nn.Module):
    """Parameters that are read in many ways: a scalar, a tied weight, normalised weights, a table of codes."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor(0.3))
        self.first, self.last = spectral(nn.Conv2d(3, 3, 3, padding=1)), spectral_norm(nn.Conv2d(3, 4, 3))
        self.codes, self.scores = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.scores.weight = self.codes.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(self.gamma * self.first(x) + x).mean((2, 3))
        return self.scores((y + self.codes(torch.arange(len(x)))).tanh()) @ self.codes.weight


@pytest.mark.filterwarnings("ignore:.*reduce_op")
def test_gradients_are_those_of_whole_parameters() -> None:
    def penalised(network: nn.Module) -> Tensor:
        x = torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(1), requires_grad=True)
        score = network(x).square().sum()
        (gradient,) = torch.autograd.grad(score, x, create_graph=True)
        return score + gradient.square().sum()

    def work(world: ProcessGroup) -> None:
        torch.manual_seed(0)
        network = Odd()
        parts = copy.deepcopy(network)
        divided.divide(parts, CPU)
        parts = copy.deepcopy(parts)  # as an average does
        penalised(network).backward()
        penalised(parts).backward(inputs=[*parts.parameters()])
        assert [name for name, _ in parts.named_parameters()] == [name for name, _ in network.named_parameters()]
        for own, (name, parameter) in zip(parts.parameters(), network.named_parameters(), strict=True):
            assert own.ndim == 1
            assert len(own) == -(-parameter.numel() // 2)
            assert parameter.grad is not None
            assert own.grad is not None
            torch.testing.assert_close(whole(own.grad, own), parameter.grad, msg=name)
        names = [name for name, _ in network.named_parameters(remove_duplicate=False)]
        for key, value in parts.state_dict().items():
            assert value.shape == network.state_dict()[key].shape
            assert value.is_meta == (world.rank > 0 and key in names)
        parts.load_state_dict(network.state_dict())
        for own, parameter in zip(parts.parameters(), network.parameters(), strict=True):
            assert torch.equal(whole(own, own), parameter)

    in_group(2, work)


def test_a_graph_keeps_no_whole_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[StorageWeakRef] = []

    def noted(part: divided.Part, halved: bool) -> Tensor:
        found = read(part, halved)
        seen.append(StorageWeakRef(found.untyped_storage()))
        return found

    def kept(seconds: float) -> int:
        """Return how many are still alive after a while, in which the process group lets go of what it sent."""
        deadline = time.monotonic() + seconds
        while not all(one.expired() for one in seen) and time.monotonic() < deadline:
            time.sleep(0.01)
        return sum(not one.expired() for one in seen)

    def work(world: ProcessGroup) -> None:
        chain = Chain()
        divided.divide(chain, CPU)
        for half in (False, True):
            seen.clear()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = chain.layers(torch.randn(2, 64, requires_grad=True)).float().sum()
            assert len(seen) == 8
            assert kept(10) == 0
            loss.backward()
        assert {parameter.grad.dtype for parameter in chain.parameters()} == {torch.float32}
        monkeypatch.setattr(divided, "forget", lambda saved: saved)
        seen.clear()
        loss = chain.layers(torch.randn(2, 64, requires_grad=True)).sum()
        assert kept(0.2) >= 4  # as this test would notice

    read = divided.gathered
    monkeypatch.setattr(divided, "gathered", noted)
    in_group(2, work)


def test_all_processes_skip_a_turn_that_is_not_finite_on_one() -> None:
    def work(world: ProcessGroup) -> None:
        engine = Engine(Chain("nan"), sgd, Train(steps=1, on_nan="skip", shard=True), world=world)
        before = [whole(p, p) for p in engine.players["L"]]
        engine.step([{"A": torch.ones(1, 64) * (1 + world.rank)}])
        assert engine.skipped == {"L": 1}
        assert all(torch.equal(whole(p, p), value) for p, value in zip(engine.players["L"], before, strict=True))
        engine.step([{"A": torch.ones(1, 64)}])
        assert not all(torch.equal(whole(p, p), value) for p, value in zip(engine.players["L"], before, strict=True))

    in_group(2, work)


def test_a_graph_that_is_older_than_its_weights_is_reported() -> None:
    def slow(params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, 0.1)  # PyTorch does not notice what its fused optimizers change

    def work(world: ProcessGroup) -> None:
        engine = Engine(Chain("stale"), slow, Train(steps=1, shard=True), world=world)
        with pytest.raises(PluginError, match=r"still use a graph .* detach\(\)"):
            engine.step([{"A": torch.ones(1, 64)}])

    in_group(2, work)


def test_what_cannot_be_divided_is_named() -> None:
    def work(world: ProcessGroup) -> None:
        with pytest.raises(
            ConfigError, match=r"cannot divide recurrent, because a second reference to the weight_ih_l0 of this GRU"
        ):
            Engine(Chain("gru"), adam, Train(steps=1, shard=True), world=world)

    in_group(2, work)
    with pytest.raises(ConfigError, match=r"there is only one: start several with --nproc, or set train.shard=false"):
        Engine(Chain(), adam, Train(steps=1, shard=True))
