"""Batches that travel to an accelerator one ahead of the step: `i2i.devices.moving`.

The accelerator is this CPU with streams of its own: what is sent holds NaN until a stream that uses it has waited
for it, so a step that does not wait is seen in its losses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import i2i
from i2i.devices import ahead, move, moving
from i2i.engine import Engine
from i2i.errors import DataError, I2IError

CPU, META = torch.device("cpu"), torch.device("meta")


class Accelerator:
    """A stream for copies, which does nothing until it is waited for, and a record of what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.sending = False  # whether the stream of the copies is the current one
        self.pending: list[tuple[Tensor, Tensor]] = []
        self.in_use: set[int] = set()  # memory that the allocator knows the computing stream to use
        monkeypatch.setattr(moving, "STREAMING", ("cpu",))
        monkeypatch.setattr(moving, "shared", lambda device: False)
        monkeypatch.setattr(torch, "Stream", lambda device: Lane(self))
        monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: Current(self))
        monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: self.pinned(tensor))
        monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: self.in_use.add(tensor.data_ptr()))

    def pinned(self, tensor: Tensor) -> Tensor:
        """Return a copy; in the stream of the copies it has not arrived."""
        if not self.sending:
            return tensor.clone()
        there = torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else torch.zeros_like(tensor)
        self.pending.append((there, tensor))
        return there


class Lane:
    """The stream of the copies."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def __enter__(self) -> None:
        self.accelerator.sending = True

    def __exit__(self, *_: object) -> None:
        self.accelerator.sending = False

    def record_event(self) -> list[tuple[Tensor, Tensor]]:
        """Return the copies begun so far."""
        self.accelerator.done.append("sent")
        return list(self.accelerator.pending)


class Current:
    """The stream of the step."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def wait_event(self, event: list[tuple[Tensor, Tensor]]) -> None:
        """Complete the copies of an event."""
        for there, value in event:
            there.copy_(value)
            self.accelerator.pending = [pair for pair in self.accelerator.pending if pair[0] is not there]
        self.accelerator.done.append("waited")


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Accelerator:
    return Accelerator(monkeypatch)


def batches(n: int, seen: list[int] | None = None) -> Iterator[list[dict[str, Any]]]:
    for i in range(n):
        if seen is not None:
            seen.append(i)
        yield [{"A": torch.full((2,), float(i)), "text": torch.full((2,), i), "name": str(i)}]


def test_on_the_cpu_nothing_is_read_ahead_and_batches_pass_as_they_are() -> None:
    seen: list[int] = []
    made = [*batches(3)]
    assert all(one is other for one, other in zip(ahead(iter(made), CPU), made, strict=True))
    for number, _ in enumerate(ahead(batches(3, seen), CPU)):
        assert seen == [*range(number + 1)]


def test_the_next_batch_is_sent_before_the_present_step(accelerator: Accelerator) -> None:
    found = []
    for number, (batch,) in enumerate(ahead(batches(4), CPU, stay=("text",))):
        there = move(batch, CPU)
        accelerator.done.append(f"step {number}")
        found.append(there["A"].tolist())
        assert there["text"] is batch["text"]
        assert there["name"] == str(number)
    assert found == [[0, 0], [1, 1], [2, 2], [3, 3]]
    steps = [what for n in range(4) for what in (["sent"] * (n < 3) + ["waited", f"step {n}"])]
    assert accelerator.done == ["sent", *steps]


def test_a_step_waits_for_its_own_batch_and_not_for_the_next(accelerator: Accelerator) -> None:
    steps = ahead(batches(3), CPU)
    (first,) = next(steps)
    assert move(first, CPU)["A"].tolist() == [0, 0]
    assert [value.tolist() for _, value in accelerator.pending] == [[1, 1], [1, 1]]  # A and text of the second


def test_memory_of_a_batch_is_kept_for_the_stream_that_uses_it(accelerator: Accelerator) -> None:
    (batch,) = next(ahead(batches(2), CPU))
    there = move(batch, CPU)
    assert accelerator.in_use == {there["A"].data_ptr(), there["text"].data_ptr()}


def test_on_the_host_the_values_of_a_batch_can_be_read(accelerator: Accelerator) -> None:
    (batch,) = next(ahead(batches(2), CPU))
    assert batch["A"].tolist() == [0, 0]  # as `Task.check` does, before the copy has arrived


def test_a_device_without_streams_gets_the_next_batch_early_too() -> None:
    seen: list[int] = []
    for number, (batch,) in enumerate(ahead(batches(3, seen), META, stay=("text",))):
        there = move(batch, META, ("text",))
        assert (there["A"].device, there["text"].device) == (META, CPU)
        assert seen == [*range(min(number + 2, 3))]


def test_an_error_in_reading_comes_after_the_steps_before_it() -> None:
    def failing() -> Iterator[list[dict[str, Any]]]:
        yield from batches(2)
        raise DataError("broken")

    steps = ahead(failing(), META)
    assert [batch["name"] for (batch,) in (next(steps), next(steps))] == ["0", "1"]
    with pytest.raises(DataError, match="broken"):
        next(steps)


def test_a_step_that_fails_ends_the_reading() -> None:
    ended = []

    def train() -> None:
        for _ in ahead(source(), META):
            raise ZeroDivisionError

    def source() -> Iterator[list[dict[str, Any]]]:
        try:
            yield from batches(5)
        finally:
            ended.append(True)

    with pytest.raises(ZeroDivisionError):
        train()
    assert ended


TINY = """
task:
  use: vae
  encoder: {use: dense_encoder, widths: [16]}
  decoder: {use: dense_decoder, widths: [16]}
  latent: 4
  size: 28
data: {use: digits, size: 28, batch_size: 8, samples: 20, validation_samples: 8}
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 6, ema: 0.9, log_every: 1, checkpoint_every: 2, sample_every: 6, threads: 1}
"""


def trained(folder: Path, name: str, *settings: str, resume: bool = False) -> Path:
    (folder / "tiny.yaml").write_text(TINY)
    return Path(i2i.run(folder / "tiny.yaml", *settings, out=folder / name, resume=resume))


def left_by(run: Path) -> tuple[bytes, list[Any]]:
    """Return the weights of a run, and its log without times."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return (run / "model.safetensors").read_bytes(), lines


@pytest.mark.parametrize("settings", [(), ("train.accumulate=2",), ("data.workers=2",)], ids=str)
def test_a_training_is_the_same_with_batches_sent_ahead(
    settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = left_by(trained(tmp_path, "plain", *settings))
    with monkeypatch.context() as patched:
        accelerator = Accelerator(patched)
        assert left_by(trained(tmp_path, "ahead", *settings)) == expected
    assert accelerator.done.count("sent") == accelerator.done.count("waited") > 5
    assert not accelerator.pending


def test_a_resumed_training_sees_the_batches_that_no_step_has_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = left_by(trained(tmp_path, "plain"))
    Accelerator(monkeypatch)
    step = Engine.step

    def stopping(engine: Engine, batches: Any) -> Any:
        if engine.number == 2:
            engine.stop_signal = 15  # as SIGTERM does, when batch 3 has already been sent
        return step(engine, batches)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "step", stopping)
        with pytest.raises(I2IError, match="stopped and saved at step 3"):
            trained(tmp_path, "broken")
    assert left_by(trained(tmp_path, "broken", resume=True)) == expected
