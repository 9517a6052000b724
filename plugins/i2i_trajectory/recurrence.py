"""An LSTM as one operation, on CPUs several times as fast as PyTorch's for short sequences and narrow states.

Values are stored with the features first, [features, B], so that each gate is one contiguous block, and the backward
pass is written out: no graph of small operations, and no gradients that nobody asked for. tanh is computed from the
sigmoid: on CPUs, PyTorch's own takes three times as long.
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
        parts: of each step, the gates input, forget, output and new after their nonlinearities, the cell before it,
            and tanh of the cell after it: [T, 6, hidden, B]. In this order neighbours share an operation.
        known: the state after each step, the input of the next, and 1: [T, hidden + C + 1, B].
        cell: the cell after the last step, [hidden, B].
    """

    parts: Tensor
    known: Tensor
    cell: Tensor


def run(first: Tensor, cell: Tensor, inputs: Tensor, weight: Tensor, keep: bool) -> Trace:
    """Run an LSTM; without `keep`, `parts` are right only for the last step.

    Args: see `lstm`.
    """
    later, wide, size = inputs.shape
    steps, hidden = later + 1, len(first) // 4
    weight, last = doubled(swapped(weight)), torch.empty_like(cell)
    parts = first.new_empty(steps if keep else 1, 6, hidden, size)
    known = first.new_empty(steps, hidden + wide + 1, size)
    known[:-1, hidden:-1] = inputs
    known[:, -1] = 1
    rows = [(part[:4].flatten(0, 1), *part.unbind()) for part in parts] * (1 if keep else steps)
    cells, states, before = [*[row[5] for row in rows[1:]], last], known[:, :hidden].unbind(), known.unbind()
    parts[0, 4].copy_(cell)
    minus_one = first.new_full((), -1)
    for t, (summed, entry, forget, out, new, past, small) in enumerate(rows):
        if t == 0:
            doubled(torch.cat(halves(first), out=summed))
        else:
            torch.mm(weight, before[t - 1], out=summed)
        summed.sigmoid_()
        torch.add(minus_one, new, alpha=2, out=new)  # tanh(x) = 2 sigmoid(2x) - 1
        own = torch.mul(forget, past, out=cells[t]).addcmul_(entry, new)
        torch.add(minus_one, torch.add(own, own, out=small).sigmoid_(), alpha=2, out=small)
        torch.mul(out, small, out=states[t])
    return Trace(parts, known, last)


def doubled(rows: Tensor) -> Tensor:
    """Double the rows of the new values, the last quarter of rows [4 * hidden, ...], and return all."""
    rows[len(rows) // 4 * 3 :] *= 2
    return rows


def halves(rows: Tensor) -> list[Tensor]:
    """Return the rows of the gates in two parts and the two others in the opposite order."""
    entry, forget, third, fourth = rows.chunk(4)
    return [entry, forget, fourth, third]


def swapped(rows: Tensor) -> Tensor:
    """Return rows [4 * hidden, ...] in PyTorch's order of the gates in that of `Trace`, or the reverse."""
    return torch.cat(halves(rows))


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
            ctx.save_for_backward(trace.parts, trace.known, weight)
            ctx.set_materialize_grads(False)
        states = trace.known[:, : len(cell)]
        return (states if every else states[-1:]).clone(), trace.cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_states: Tensor | None, of_last: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of the arguments."""
        parts, known, weight = ctx.saved_tensors
        steps, _, hidden, size = parts.shape
        of_inputs = torch.zeros_like(known[1:, hidden:-1]) if ctx.needs_input_grad[2] else None
        # Transposed, since known @ summed.T is faster than summed @ known.T.
        of_weight = weight.new_zeros(weight.shape[::-1]) if ctx.needs_input_grad[3] else None
        given = [grad for grad in (of_states, of_last) if grad is not None]
        if weight.device.type == "cpu" and not any(grad.any() for grad in given):
            # A discriminator whose last ReLU is dead sends zeros; the rest is then zero too.
            nothing = parts.new_zeros(4 * hidden, size)
            zeros = None if of_weight is None else torch.zeros_like(weight)
            return nothing, torch.zeros_like(parts[0, 0]), of_inputs, zeros, None, None
        before = swapped(weight).T if of_inputs is not None else swapped(weight)[:, :hidden].T
        back = parts.new_empty(4, hidden, size)  # with respect to the summed inputs of a step
        (_, _, of_out, of_new), of_two, of_three = back.unbind(), back[:2], back[:3]
        summed, spare = back.view(4 * hidden, size), torch.empty_like(back[0])
        of_cell = torch.zeros_like(spare) if of_last is None else of_last.clone()
        grads = [None] * steps if of_states is None else [*[None] * (steps - len(of_states)), *of_states.unbind()]
        of_state = torch.zeros_like(spare) if grads[-1] is None else grads[-1]
        three, partners = parts[:, :3].unbind(), parts[:, 3:5].unbind()
        for t in reversed(range(steps)):
            entry, forget, out, new, _, small = parts[t].unbind()
            of_cell += tanh_backward(torch.mul(of_state, out, out=spare), small, grad_input=spare)
            torch.mul(of_cell, partners[t], out=of_two)  # entry meets new, forget meets the cell before
            torch.mul(of_state, small, out=of_out)
            sigmoid_backward(of_three, three[t], grad_input=of_three)
            tanh_backward(torch.mul(of_cell, entry, out=of_new), new, grad_input=of_new)
            of_cell *= forget
            if t > 0:
                of_known = before @ summed
                of_state = of_known[:hidden]
                if grads[t - 1] is not None:
                    of_state += grads[t - 1]
                if of_inputs is not None:
                    of_inputs[t - 1] = of_known[hidden:-1]
                if of_weight is not None:
                    of_weight.addmm_(known[t - 1], summed.T)
        of_weight = None if of_weight is None else swapped(of_weight.T)
        return swapped(summed), of_cell, of_inputs, of_weight, None, None
