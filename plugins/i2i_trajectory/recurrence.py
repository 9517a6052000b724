"""An LSTM as one operation, on CPUs several times as fast as PyTorch's for short sequences and narrow states.

Values are stored with the features first, [features, B], so that each gate is one contiguous block, and the backward
pass is written out: no graph of small operations, and no gradients that nobody asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input


class Recurrence(torch.autograd.Function):
    """The states of an LSTM whose cell starts at 0.

    `Recurrence.apply(first, inputs, weight)`:
        first: summed inputs of the first step [4 * hidden, B], with the gates in PyTorch's order: input, forget, new,
            output.
        inputs: those of the other steps [T - 1, C, B]; C may be 0.
        weight: from state, input and 1 to gates, [4 * hidden, hidden + C + 1]; the last column is the bias.
        Returns: states [T, hidden, B]. They can be differentiated once.

    Source: Hochreiter and Schmidhuber 1997, with the forget gates of Gers et al. 2000.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
        """Return the states [T, hidden, B]."""
        later, wide, size = inputs.shape
        hidden = len(first) // 4
        known = first.new_empty(later + 1, hidden + wide + 1, size)  # after step t: its state, the next input, and 1
        known[:-1, hidden:-1] = inputs
        known[:, -1] = 1
        gates = first.new_empty(later + 1, 4, hidden, size)
        cells, squashed = (first.new_empty(later + 1, hidden, size) for _ in range(2))
        for t in range(later + 1):
            summed = gates[t].view(4 * hidden, size)
            if t == 0:
                summed.copy_(first)
            else:
                torch.mm(weight, known[t - 1], out=summed)
            gates[t, :2].sigmoid_()
            entry, forget, new, out = gates[t, 0], gates[t, 1], gates[t, 2].tanh_(), gates[t, 3].sigmoid_()
            torch.mul(entry, new, out=cells[t])
            if t > 0:
                cells[t].addcmul_(forget, cells[t - 1])
            torch.tanh(cells[t], out=squashed[t])
            torch.mul(out, squashed[t], out=known[t, :hidden])
        ctx.save_for_backward(gates, cells, squashed, known, weight)
        return known[:, :hidden].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the gradients of `first`, `inputs` and `weight`."""
        gates, cells, squashed, known, weight = ctx.saved_tensors
        steps, _, hidden, size = gates.shape
        of_inputs = torch.zeros_like(known[1:, hidden:-1]) if ctx.needs_input_grad[1] else None
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[2] else None
        before = weight.T if of_inputs is not None else weight[:, :hidden].T
        back = torch.empty_like(gates[0])  # with respect to the summed inputs of a step
        summed, of_cell, part = back.view(4 * hidden, size), torch.zeros_like(cells[0]), torch.empty_like(cells[0])
        of_state = grad[-1]
        for t in reversed(range(steps)):
            entry, forget, new, out = gates[t]
            of_cell += tanh_backward(of_state * out, squashed[t], grad_input=part)
            sigmoid_backward(of_cell * new, entry, grad_input=back[0])
            tanh_backward(of_cell * entry, new, grad_input=back[2])
            sigmoid_backward(of_state * squashed[t], out, grad_input=back[3])
            if t == 0:
                back[1].zero_()
                break
            sigmoid_backward(of_cell * cells[t - 1], forget, grad_input=back[1])
            of_cell *= forget
            of_known = before @ summed
            of_state = grad[t - 1] + of_known[:hidden]
            if of_inputs is not None:
                of_inputs[t - 1] = of_known[hidden:-1]
            if of_weight is not None:
                of_weight.addmm_(summed, known[t - 1].T)
        return summed, of_inputs, of_weight
