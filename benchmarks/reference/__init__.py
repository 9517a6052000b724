"""References for benchmarks/speed.py: published recipes in plain PyTorch, not optimised for speed.

Stock layers, contiguous float32, eager mode, default Adam, the published update order. The published code is not
copied here; instead each file is checked: its parameter counts and its FLOPs per step must equal those of the
published code. In each module:

    PARAMETERS    of the networks, in the order of `networks()`
    GFLOP         of a training step at SIZE pixels and BATCH samples, or of an inference
    a class       with `networks()`, and `step(batch)`, which returns the losses by the names that i2i gives them
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def require_grad(networks: Iterable[nn.Module], required: bool) -> None:
    """Enable or disable the gradients of networks."""
    for network in networks:
        for parameter in network.parameters():
            parameter.requires_grad_(required)
