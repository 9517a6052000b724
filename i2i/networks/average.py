"""Exponential moving average of weights, used for samples, evaluation and export: `train: {ema: 0.999}` in a config.

A network with batch norm needs more than averaged weights. Its running statistics match the activations of its own
weights, not those of the averaged ones, and images turn grey. So the average collects statistics of its own: every
few steps it runs on the latest input of the network.

Papers: weight averaging arXiv:1803.05407 (which also recomputes batch norm statistics), for GANs arXiv:1806.04498.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

EVERY = 4  # steps between updates of the statistics, each a forward pass without gradients


class Average(nn.Module):
    """An exponential moving average of a network's weights and float buffers, with batch norm statistics of its own.

    Args:
        network: the network to average; the averaged copy is `module`.
        decay: weight of the old average in each update.

    Example:
        >>> network = nn.Linear(1, 1)
        >>> average = Average(network, 0.9)
        >>> average.update(network)
        >>> torch.equal(average.module.weight, network.weight)
        True
    """

    n_averaged: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module, self.decay = copy.deepcopy(network), decay
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.long))
        self.count = 0  # the same on the host, where reading it costs nothing
        self.norms = [layer for layer in self.module.modules() if isinstance(layer, _BatchNorm)]
        self.inputs: tuple[Any, Any] | None = None  # of the latest forward pass in training mode
        if self.norms:
            network.register_forward_pre_hook(self._record, with_kwargs=True)

    def _record(self, network: nn.Module, args: Any, kwargs: Any) -> None:
        if network.training:
            self.inputs = args, kwargs

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Update the average with the weights of `network` after a step."""
        statistics = {id(buffer) for norm in self.norms for buffer in norm.buffers()}
        decay = self.decay if self.count else 0.0  # at first everything is copied, statistics included
        pairs = [
            (kept, value)
            for kept, value in zip(tensors_of(self.module), tensors_of(network), strict=True)
            if not (self.count and id(kept) in statistics)
        ]
        for dtype in {kept.dtype for kept, _ in pairs}:
            move_towards(decay, *zip(*[pair for pair in pairs if pair[0].dtype == dtype], strict=True))
        self.n_averaged.add_(1)
        self.count += 1
        if self.inputs is not None and self.count % EVERY == 0:
            self._collect(*self.inputs)
        self.inputs = None

    def _load_from_state_dict(self, state: Any, prefix: str, *others: Any) -> None:
        super()._load_from_state_dict(state, prefix, *others)
        self.count = int(self.n_averaged)

    def _collect(self, args: Any, kwargs: Any) -> None:
        """Run the average with only batch norm in training mode: no dropout, no codebook updates."""
        self.module.eval()
        for norm in self.norms:
            norm.train()
        self.module(*detached(args), **detached(kwargs))
        self.module.eval()


def mend(network: nn.Module) -> None:
    """Reset running statistics that became NaN or infinite in a skipped step; they recover within tens of steps."""
    for layer in network.modules():
        if isinstance(layer, _NormBase) and not all(b.isfinite().all() for b in layer.buffers()):
            layer.reset_running_stats()


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Return the weights and buffers of a network."""
    return [*network.parameters(), *network.buffers()]


def move_towards(decay: float, averages: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Move averages towards values, all of one dtype; integers, such as counters and tables, are copied."""
    if decay and averages[0].is_floating_point():
        torch._foreach_lerp_(list(averages), list(values), 1 - decay)
    else:
        torch._foreach_copy_(list(averages), list(values))


def detached(value: Any) -> Any:
    """Detach tensors, also inside tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {name: detached(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(detached(one) for one in value)
    return value
