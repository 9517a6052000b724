"""A function of rows that runs in small blocks, and backwards only for the rows that have a gradient.

Of K futures of a scene only the best one has a gradient. All rows are therefore computed without a graph, a block
that fits the processor's cache at a time, and the few whose gradient is not zero are computed again in the backward
pass. The gradients are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Rowwise = Callable[..., Tensor]


class Selective(torch.autograd.Function):
    """All rows of a function.

    `Selective.apply(function, count, block, *tensors)`:
        function: (numbers of rows [R], *tensors) -> values [R, ...]; each row depends on its number and the tensors
            alone, and everything that needs a gradient is among the tensors.
        count: number of rows.
        block: rows to compute at a time.
        Returns: values [count, ...]. They can be differentiated once.
    """

    @staticmethod
    def forward(ctx: Any, function: Rowwise, count: int, block: int, *tensors: Tensor) -> Tensor:
        """Return the values of all rows."""
        ctx.function, ctx.block = function, block
        ctx.save_for_backward(*tensors)
        rows = torch.arange(count, device=tensors[0].device)
        return torch.cat([function(part, *tensors) for part in rows.split(block)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the tensors."""
        wanted = ctx.needs_input_grad[3:]
        leaves = [t.detach().requires_grad_(w) for t, w in zip(ctx.saved_tensors, wanted, strict=True)]
        for leaf, want in zip(leaves, wanted, strict=True):
            leaf.grad = torch.zeros_like(leaf) if want else None
        if grad.device.type == "cpu":
            rows = (grad.flatten(1).abs().amax(1) != 0).nonzero()[:, 0]
        else:  # all: an accelerator would have to be waited for to learn how many have a gradient
            rows = torch.arange(len(grad), device=grad.device)
        for part in rows.split(ctx.block):
            with torch.enable_grad():
                values = ctx.function(part, *leaves)
            values.backward(grad.index_select(0, part), inputs=[leaf for leaf in leaves if leaf.requires_grad])
        return None, None, None, *[leaf.grad for leaf in leaves]
