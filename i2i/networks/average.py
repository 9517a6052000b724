"""Exponential moving average of weights, used for samples, evaluation and export: `train: {ema: 0.999}` in a config.

A network with batch norm needs more than averaged weights. Its running statistics match the activations of its own
weights, not those of the averaged ones, and images turn grey. So the average collects statistics of its own: every
few steps it runs on the latest input of the network.

Papers: weight averaging arXiv:1803.05407 (which also recomputes batch norm statistics), for GANs arXiv:1806.04498.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

EVERY = 4  # steps between updates of the statistics, each a forward pass without gradients


class Average(AveragedModel):
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

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, multi_avg_fn=partial(average, decay), use_buffers=True)
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
        first = int(self.n_averaged) == 0  # copies everything, statistics included
        statistics = [buffer for norm in self.norms for buffer in norm.buffers()]
        own = [buffer.clone() for buffer in statistics]
        self.update_parameters(network)
        if not first:
            for buffer, value in zip(statistics, own, strict=True):
                buffer.copy_(value)
        if self.inputs is not None and int(self.n_averaged) % EVERY == 0:
            self._collect(*self.inputs)
        self.inputs = None

    def _collect(self, args: Any, kwargs: Any) -> None:
        """Run the average with only batch norm in training mode: no dropout, no codebook updates."""
        self.module.eval()
        for norm in self.norms:
            norm.train()
        self.module(*detached(args), **detached(kwargs))
        self.module.eval()


def average(decay: float, averages: list[Tensor], values: list[Tensor], _: Tensor) -> None:
    """Move averages towards values, all of one dtype; integers, such as counters and tables, are copied."""
    if averages[0].is_floating_point():
        torch._foreach_lerp_(averages, values, 1 - decay)
    else:
        torch._foreach_copy_(averages, values)


def detached(value: Any) -> Any:
    """Detach tensors, also inside tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {name: detached(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(detached(one) for one in value)
    return value
