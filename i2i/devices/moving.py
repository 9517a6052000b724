"""Batches on their way to a device: `for batches in ahead(stream(...), device): engine.step(batches)`.

The batches of the next step are sent before the present one runs: from pinned memory and in a stream of their own,
where a device has these. What is used, and in which order, is the same as without.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

STREAMING = ("cuda", "xpu")  # they read pinned memory by themselves, while they compute


class Sent(dict[str, Any]):
    """A batch on the host, whose copy is on its way to a device; `move` returns the copy.

    Args:
        batch: on the host, where its values can still be read.
        device: has memory of its own.
        stay: the entries that stay on the host.
        lane: the stream in which it travels, or None for the current one.
    """

    def __init__(
        self, batch: Mapping[str, Any], device: torch.device, stay: Collection[str], lane: torch.Stream | None
    ) -> None:
        super().__init__(batch)
        self.device = device
        with lane or nullcontext():
            self.copy_there = {name: moved(value, device, name in stay) for name, value in batch.items()}
        self.complete = lane.record_event() if lane else None

    def arrived(self) -> dict[str, Any]:
        """Return the copy; the current stream waits for it, and for nothing that was sent later."""
        if self.complete is not None:
            current = torch.accelerator.current_stream(self.device)
            current.wait_event(self.complete)
            for value in self.copy_there.values():
                if isinstance(value, Tensor) and value.device == self.device:
                    value.record_stream(current)  # its memory is not used again before this stream is done with it
        return self.copy_there


def move(batch: Mapping[str, Any], device: torch.device, stay: Collection[str] = ()) -> dict[str, Any]:
    """Move the tensors of a batch to a device, all but the entries that `stay` on the host.

    They travel from pinned memory, so that the host does not wait for them; perhaps they were sent before.
    """
    if isinstance(batch, Sent):
        return batch.arrived()
    return {name: moved(value, device, name in stay) for name, value in batch.items()}


def moved(value: Any, device: torch.device, stays: bool) -> Any:
    """Return an entry of a batch on a device, without waiting; as it is if it is not a tensor, or `stays`."""
    if not isinstance(value, Tensor) or stays or shared(device):
        return value
    return (value.pin_memory() if device.type in STREAMING else value).to(device, non_blocking=True)


def shared(device: torch.device) -> bool:
    """Return whether a device computes in the memory of the host, so that nothing has to travel."""
    return device.type == "cpu"


def ahead(
    steps: Iterable[list[dict[str, Any]]], device: torch.device, stay: Collection[str] = ()
) -> Iterator[list[dict[str, Any]]]:
    """Yield the batches of each step, after those of the next have been sent to the device.

    An error in reading batches is raised when their turn comes, so the steps before it are made, as on the CPU,
    where nothing is read ahead.

    Args:
        steps: for each step, its batches on the host.
        device: where the step runs.
        stay: the entries that stay on the host.
    """
    if shared(device):
        yield from steps
        return
    lane = torch.Stream(device=device) if device.type in STREAMING else None
    source = iter(steps)

    def send() -> list[dict[str, Any]] | Exception | None:
        try:
            return [Sent(batch, device, stay, lane) for batch in next(source)]
        except StopIteration:
            return None
        except Exception as error:
            return error

    coming = send()
    while coming is not None:
        if isinstance(coming, Exception):
            raise coming
        present, coming = coming, send()
        yield present
