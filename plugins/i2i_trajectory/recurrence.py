"""An LSTM as one operation, on CPUs several times as fast as PyTorch's for short sequences and narrow states.

Values are stored with the features first, [features, B], so that each gate is one contiguous block, and the backward
pass is written out: no graph of small operations, and no gradients that nobody asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input


class Trace(NamedTuple):
    """What an LSTM computes on its way through T steps.

    Attributes:
        gates: input, forget, new and output after their nonlinearities, [T, 4, hidden, B].
        cells: [T, hidden, B].
        squashed: tanh of the cells, [T, hidden, B].
        known: the state after each step, the input of the next, and 1: [T, hidden + C + 1, B].
    """

    gates: Tensor
    cells: Tensor
    squashed: Tensor
    known: Tensor


def run(first: Tensor, cell: Tensor, inputs: Tensor, weight: Tensor, keep: bool) -> Trace:
    """Run an LSTM; without `keep`, only `known` is right for all steps, the others only for the last.

    Args: see `lstm`.
    """
    later, wide, size = inputs.shape
    steps, hidden = later + 1, len(first) // 4

    def space(*shape: int) -> Tensor:
        return first.new_empty(steps if keep else 1, *shape, size).expand(steps, *shape, size)

    gates, cells, squashed = space(4, hidden), space(hidden), space(hidden)
    known = first.new_empty(steps, hidden + wide + 1, size)
    known[:-1, hidden:-1] = inputs
    known[:, -1] = 1
    sums, pairs = gates.flatten(1, 2).unbind(), gates[:, :2].unbind()
    states, before = known[:, :hidden].unbind(), known.unbind()
    places = zip(gates.unbind(), cells.unbind(), squashed.unbind(), strict=True)
    for t, (gate, own, small) in enumerate(places):
        entry, forget, new, out = gate.unbind()
        if t == 0:
            sums[0].copy_(first)
        else:
            torch.mm(weight, before[t - 1], out=sums[t])
        pairs[t].sigmoid_()
        out.sigmoid_()
        new.tanh_()
        torch.mul(forget, cell, out=own).addcmul_(entry, new)
        torch.mul(out, torch.tanh(own, out=small), out=states[t])
        cell = own
    return Trace(gates, cells, squashed, known)


def lstm(first: Tensor, cell: Tensor, inputs: Tensor, weight: Tensor, every: bool = False) -> tuple[Tensor, Tensor]:
    """Run an LSTM over T steps.

    Args:
        first: summed inputs of the first step [4 * hidden, B], with the gates in PyTorch's order: input, forget, new,
            output.
        cell: the cell before it [hidden, B].
        inputs: those of the other steps [T - 1, C, B]; C may be 0.
        weight: from state, input and 1 to gates, [4 * hidden, hidden + C + 1]; the last column is the bias.
        every: whether all states are wanted, or only the last.

    Returns:
        States [T or 1, hidden, B], and the last cell [hidden, B]. They can be differentiated once.

    Source: Hochreiter and Schmidhuber 1997, with the forget gates of Gers et al. 2000.
    """
    states, last = Recurrence.apply(first, cell, inputs, weight, every, torch.is_grad_enabled())
    return states, last


class Recurrence(torch.autograd.Function):
    """`lstm` with its backward pass; the trace is kept for it only where gradients are enabled."""

    @staticmethod
    def forward(
        ctx: Any, first: Tensor, cell: Tensor, inputs: Tensor, weight: Tensor, every: bool, keep: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the states and the last cell."""
        trace = run(first, cell, inputs, weight, keep)
        if keep:
            ctx.save_for_backward(*trace, cell, weight)
            ctx.set_materialize_grads(False)
        states = trace.known[:, : len(cell)]
        return (states if every else states[-1:]).clone(), trace.cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_states: Tensor | None, of_last: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments."""
        gates, cells, squashed, known, start, weight = ctx.saved_tensors
        steps, _, hidden, size = gates.shape
        of_inputs = torch.zeros_like(known[1:, hidden:-1]) if ctx.needs_input_grad[2] else None
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[3] else None
        before = weight.T if of_inputs is not None else weight[:, :hidden].T
        given = [grad for grad in (of_states, of_last) if grad is not None]
        if weight.device.type == "cpu" and not any(grad.any() for grad in given):
            # A discriminator whose last ReLU is dead sends zeros; the rest is then zero too.
            return torch.zeros_like(gates[0]).flatten(0, 1), torch.zeros_like(start), of_inputs, of_weight, None, None
        back = torch.empty_like(gates[0])  # with respect to the summed inputs of a step
        of_entry, of_forget, of_new, of_out = back.unbind()
        summed, part = back.view(4 * hidden, size), torch.empty_like(start)
        of_cell = torch.zeros_like(start) if of_last is None else of_last.clone()
        grads = [None] * steps if of_states is None else [*[None] * (steps - len(of_states)), *of_states.unbind()]
        of_state = torch.zeros_like(start) if grads[-1] is None else grads[-1]
        past = [start, *cells.unbind()]
        for t in reversed(range(steps)):
            entry, forget, new, out = gates[t].unbind()
            of_cell += tanh_backward(torch.mul(of_state, out, out=part), squashed[t], grad_input=part)
            sigmoid_backward(torch.mul(of_cell, new, out=part), entry, grad_input=of_entry)
            tanh_backward(torch.mul(of_cell, entry, out=part), new, grad_input=of_new)
            sigmoid_backward(torch.mul(of_state, squashed[t], out=part), out, grad_input=of_out)
            sigmoid_backward(torch.mul(of_cell, past[t], out=part), forget, grad_input=of_forget)
            of_cell *= forget
            if t > 0:
                of_known = before @ summed
                of_state = of_known[:hidden]
                if grads[t - 1] is not None:
                    of_state += grads[t - 1]
                if of_inputs is not None:
                    of_inputs[t - 1] = of_known[hidden:-1]
                if of_weight is not None:
                    of_weight.addmm_(summed, known[t - 1].T)
        return summed, of_cell, of_inputs, of_weight, None, None
