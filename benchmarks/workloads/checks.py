"""What both kinds of workloads share: copied weights, and counts that must equal those of the published code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Turn = Callable[[int], Any]  # does the work of round number n


class Missing(Exception):
    """The data of a workload are not on this machine."""


class Sides(NamedTuple):
    """A workload ready for timing: two callables that do the same work, and the results of the checks."""

    reference: Turn
    i2i: Turn
    checked: dict[str, Any]


def copy(values: Iterable[Tensor], into: Iterable[Tensor]) -> None:
    """Copy tensors into others of the same shapes."""
    for value, target in zip(values, into, strict=True):
        if value.shape != target.shape:
            sys.exit(f"{list(value.shape)} on one side is {list(target.shape)} on the other: their order differs")
        target.data.copy_(value.detach())


def weights(networks: Iterable[nn.Module]) -> list[Tensor]:
    """Return the parameters of networks, in order."""
    return [parameter for network in networks for parameter in network.parameters()]


def guard(
    networks: Iterable[nn.Module], parameters: tuple[int, ...], work: Callable[[], Any], gflop: float | None
) -> dict[str, Any]:
    """Compare the reference with the published code.

    Args:
        networks: of the reference.
        parameters: of the published networks.
        work: a step or an inference of the reference at the published size, free on the meta device.
        gflop: of the published one; None if there is no such number.

    Raises:
        SystemExit: parameters differ, or FLOPs by more than 1 %.
    """
    counts = tuple(sum(p.numel() for p in network.parameters()) for network in networks)
    if counts != parameters:
        sys.exit(f"the reference has {counts} parameters, the published networks have {parameters}")
    if gflop is None:
        return {"parameters": counts}
    found = counted(work)[1]
    if abs(found / gflop - 1) > 0.01:
        sys.exit(f"the reference takes {found:.2f} GFLOP, the published code {gflop}")
    return {"parameters": counts, "gflop": round(found, 2), "published_gflop": gflop}


def counted(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of `work`, and the GFLOP that it took."""
    with FlopCounterMode(display=False) as counter:
        result = work()
    return result, counter.get_total_flops() / 1e9


def on_meta(batch: Any) -> Any:
    """Return a batch without values, for which operations cost nothing."""
    return {name: value.to("meta") for name, value in batch.items() if isinstance(value, Tensor)}


def require_close(gap: float, allowed: float, what: str) -> None:
    """Raise SystemExit if both sides differ by more than allowed."""
    if not gap <= allowed:
        sys.exit(f"{what} differ by {gap:.1e}, more than {allowed:.0e}: the two sides do not do the same work")


def fp32() -> bool:
    """Return whether i2i's side computes in float32: not with --speed fast, which may use bf16."""
    return os.environ.get("I2I_SPEED") != "fast"


def no_grad(work: Callable[[], Any]) -> Any:
    """Return what `work` returns without gradients."""
    with torch.no_grad():
        return work()
