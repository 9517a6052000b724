"""Independent parts of a training step in threads of their own: `Task.branches`, on a CPU.

    (fake_b, losses_a), (fake_a, losses_b) = self.branches(cycle(...), cycle(...))       # in `Task.step`

Networks for small images consist of many short operations. Dividing each of them among threads, as PyTorch does, pays
less than giving every thread operations of its own, and collapses when other programs want the cores: at the end of
each operation all threads wait for the slowest one. So the branches run side by side, and then so does the backward
pass of those losses that share nothing but weights.

Results do not depend on timing. A branch computes what it would in turn with as many threads of PyTorch's, gradients
are added in the order of the losses, and branches that draw random numbers or change buffers take turns.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import copy_context
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, overrides
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.parametrize import ParametrizationList

from ..errors import PluginError

Job = Callable[[], Any]
pools: dict[int, ThreadPoolExecutor] = {}  # by their number of threads


class Branches:
    """Runs callables side by side; what `Task.branches` is during training on a CPU with several threads.

    Args:
        task: whose step calls this.
        threads: how many threads may compute, now and in each later step.
    """

    def __init__(self, task: nn.Module, threads: int) -> None:
        self.threads, self.buffers = threads, [*task.buffers()]
        self.settled = settled(task)
        self.take_turns: dict[str, bool] = {}  # by place in the code, because of random numbers or buffers
        self.used = False  # since the last backward pass

    def __call__(self, *parts: Job) -> list[Any]:
        """Call each part and return their results in order.

        The first call from a place in the code runs them in turn, and finds out whether they always have to.

        Raises:
            PluginError: parts that did neither before draw random numbers or change buffers.
        """
        if not self.settled or len(parts) < 2 or observed():
            return [part() for part in parts]
        place = ", ".join(map(name_of, parts))
        known, before = place in self.take_turns, self._state()
        results = side_by_side(parts, self.threads, in_turn=self.take_turns.get(place, True))
        after = self._state()
        # Later only torch's own: a thread in the background may draw from Python's generator.
        touched = after[:2] != before[:2] if known else after != before
        if touched and not self.take_turns.setdefault(place, touched):
            raise PluginError(
                f"branches {place} drew random numbers or changed buffers, but not when first called, so their order "
                f"is not fixed: do so before calling `branches`, or set train.threads=1"
            )
        self.take_turns.setdefault(place, touched)
        self.used |= torch.is_grad_enabled() and not self.take_turns[place]
        if not self.used:
            torch.set_num_threads(self.threads)
        return results

    def backward(self, losses: Sequence[Tensor], parameters: Sequence[Tensor], weight: Tensor) -> None:
        """Add the gradients of losses to parameters; losses that share only weights have threads of their own.

        Args:
            losses: scalars, at least one of which needs a gradient.
            parameters: leaves; those that no loss depends on keep their gradient.
            weight: of each loss, a scalar.
        """

        def gradients(losses: list[Tensor]) -> Job:
            weights = [weight.to(loss) for loss in losses]
            return lambda: torch.autograd.grad(losses, parameters, weights, allow_unused=True)

        self.used = False
        found = side_by_side([gradients(part) for part in separate(losses)], self.threads)
        # The last first, as autograd does: then the sums are those of a single backward pass.
        sums = [total([one for one in own if one is not None]) for own in zip(*reversed(found), strict=True)]
        pairs = [(p, own) for p, own in zip(parameters, sums, strict=True) if own is not None]
        if pairs:
            torch.autograd.backward([p for p, _ in pairs], [own for _, own in pairs])

    def _state(self) -> tuple[Any, ...]:
        """Return what must not change while several branches run: random states, and versions of buffers."""
        numpy = np.random.get_state(legacy=False)["state"]
        return (
            torch.default_generator.get_state().numpy().tobytes(),
            [buffer._version for buffer in self.buffers],
            random.getstate(),
            (numpy["key"].tobytes(), numpy["pos"]),
        )


def side_by_side(jobs: Sequence[Job], threads: int, in_turn: bool = False) -> list[Any]:
    """Return the results of jobs, each computed by an equal share of the threads.

    This thread works too, and keeps its share: changing the number back and forth would leave PyTorch's own threads
    waiting busily, on the processors that the next branches need. If several jobs fail, the error of the first is
    raised, after all have ended.

    Args:
        jobs: what to call; they see this thread's autocast, gradient mode and torch function modes.
        threads: how many may compute altogether.
        in_turn: compute the same one after the other.
    """
    workers = min(len(jobs), threads)
    results: list[Future[Any]] = [Future() for _ in jobs]
    left = iter(zip(jobs, results, strict=True))
    lock, inside = threading.Lock(), carried()

    def work(*, elsewhere: bool = True) -> None:
        torch.set_num_threads(threads // workers)  # of this thread, and of those that start from now on
        with inside(elsewhere):
            while True:
                with lock:
                    job, result = next(left, (None, None))
                if job is None or result is None:
                    return
                try:
                    result.set_result(job())
                except BaseException as error:  # as late as if the jobs before it had run in turn
                    result.set_exception(error)

    others: list[Future[Any]] = []
    if workers > 1 and not in_turn:
        if workers not in pools:
            pools[workers] = ThreadPoolExecutor(workers - 1, thread_name_prefix="i2i-branch")
        others = [pools[workers].submit(copy_context().run, work) for _ in range(workers - 1)]
    try:
        work(elsewhere=False)
    finally:
        for other in others:
            other.result()
    return [result.result() for result in results]


def carried() -> Callable[[bool], AbstractContextManager[Any]]:
    """Return a context that makes another thread, or this one, compute as this one does now.

    Autocast keeps the 16-bit copies of weights for the other branches, which would tie their graphs together and make
    sums depend on who comes first. Branches therefore keep none.
    """
    gradients, modes = torch.is_grad_enabled(), overrides._get_current_function_mode_stack()
    cast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu")

    @contextmanager
    def inside(elsewhere: bool) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.autocast("cpu", dtype, cache_enabled=False) if cast else nullcontext())
            if elsewhere:
                stack.enter_context(torch.set_grad_enabled(gradients))
                for mode in modes:
                    overrides._push_mode(mode)
                    stack.callback(overrides._pop_mode)
            yield

    return inside


@contextmanager
def threads_kept() -> Iterator[None]:
    """Restore the number of threads afterwards. Also a decorator."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def observed() -> bool:
    """Return whether something sees the operations of this thread only, such as a FLOP counter."""
    return (
        torch.is_inference_mode_enabled()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
    )


def settled(task: nn.Module) -> bool:
    """Return whether the parts of a step may be computed in any order, as far as the modules of a task tell."""
    return not any(map(unsettled, task.modules())) and not any(map(hooked, task.parameters()))


def unsettled(module: nn.Module) -> bool:
    """Return whether a module draws random numbers or changes buffers in training, as far as its type tells."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, _NormBase):
        return bool(module.track_running_stats)
    return isinstance(module, ParametrizationList) and any(True for _ in module.buffers())  # spectral norm


def hooked(parameter: Tensor) -> bool:
    """Return whether hooks expect the whole gradient of a parameter."""
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


def name_of(part: Job) -> str:
    """Return where a callable was defined, such as "step.<locals>.cycle (line 88)"."""
    function = getattr(part, "func", part)  # of a partial
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{name} (line {code.co_firstlineno})" if code is not None else name


def separate(losses: Sequence[Tensor]) -> list[list[Tensor]]:
    """Divide losses into groups whose graphs share nothing but leaves, in the order of their first losses."""
    group = list(range(len(losses)))  # of each loss
    owner: dict[Any, int] = {}  # the loss by which each node of a graph was found
    for number, loss in enumerate(losses):
        left = [loss.grad_fn]
        while left:
            node = left.pop()
            if node is None or hasattr(node, "variable"):  # the latter is a leaf
                continue
            if node not in owner:
                owner[node] = number
                left += [before for before, _ in node.next_functions]
            elif group[owner[node]] != group[number]:
                first, second = sorted([group[owner[node]], group[number]])
                group = [first if one == second else one for one in group]
    return [
        [loss for loss, own in zip(losses, group, strict=True) if own == one and loss.requires_grad]
        for one in sorted({own for loss, own in zip(losses, group, strict=True) if loss.requires_grad})
    ]


def total(gradients: Sequence[Tensor]) -> Tensor | None:
    """Return the sum, in order; None of nothing."""
    if not gradients:
        return None
    first, *others = gradients
    for other in others:
        first = first + other
    return first
