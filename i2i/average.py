"""Averaged weights, which a run samples from, evaluates and publishes: `train: {ema: 0.999}` in a config.

A network with batch norm needs more than an average of its weights. The statistics that it gathers in training are
those of the values its own weights make; through averaged weights go others, and the pictures turn grey. So the
average gathers its own: every few steps it sees what the network has just seen.

Papers: averages of weights arXiv:1803.05407 (where batch norm is measured anew too), for GANs arXiv:1806.04498.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

EVERY = 4  # steps from one look to the next; a look costs a forward pass without gradients


class Average(AveragedModel):
    """An exponential moving average of a network's weights and buffers, with batch norm statistics of its own.

    Args:
        network: what is averaged; a copy of it is `module`.
        decay: the share of the old average that a step keeps.

    Example:
        >>> network = nn.Linear(1, 1)
        >>> average = Average(network, 0.9)
        >>> average.update(network)
        >>> torch.equal(average.module.weight, network.weight)
        True
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.norms = [layer for layer in self.module.modules() if isinstance(layer, _BatchNorm)]
        self.seen: tuple[Any, Any] | None = None  # of the last forward pass in training
        if self.norms:
            network.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, network: nn.Module, args: Any, kwargs: Any) -> None:
        if network.training:
            self.seen = args, kwargs

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights of `network` after a step."""
        first = int(self.n_averaged) == 0  # which copies all there is
        statistics = [buffer for norm in self.norms for buffer in norm.buffers()]
        own = [buffer.clone() for buffer in statistics]
        self.update_parameters(network)
        if not first:
            for buffer, value in zip(statistics, own, strict=True):
                buffer.copy_(value)
        if self.seen is not None and int(self.n_averaged) % EVERY == 0:
            self._look(*self.seen)
        self.seen = None

    def _look(self, args: Any, kwargs: Any) -> None:
        """Run the average, in which nothing but batch norm is in training: no dropout, no codebook that moves."""
        self.module.eval()
        for norm in self.norms:
            norm.train()
        self.module(*detached(args), **detached(kwargs))
        self.module.eval()


def detached(value: Any) -> Any:
    """Return tensors without their gradients, in tuples, lists and dicts too."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {name: detached(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(detached(one) for one in value)
    return value
