"""Convolutions by the fastest of several kernels: `with Convolutions(choices): network(x)`.

PyTorch's own kernel on the CPU is oneDNN's direct convolution. Others save multiplications, or memory traffic; see
`passes`. Which one wins depends on the shape, the CPU and the number of threads, so it is measured. Training replaces
the two gradients of a convolution in the same way. Pixel shuffling is replaced too, by one that only copies faster.

Second derivatives, as of gradient penalties, are PyTorch's own: what is differentiated again is not replaced.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from .choices import Choices
from .passes import PASSES, Bias, Geometry, Inapplicable, Pair

LARGE = 50e6  # multiplications of a convolution from which measuring pays
MEASURED = 1 << 17  # pixels at most that are measured in inference: of larger images, the first rows
LARGE_TRAINED = 4e6  # the same in training, where each size comes again and again
PLAIN = (1, (1, 1), [1, 1])  # dilations of one


class Call(NamedTuple):
    """A convolution, maybe a transposed one."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair
    rest: Pair  # rows and columns more than the least size of the result of a transposed one
    transposed: bool


class Convolutions(TorchFunctionMode):
    """Within it, large float32 convolutions on the CPU are computed by the fastest kernels.

    Args:
        choices: of kernels.
        training: whether to replace those that need gradients too, and to measure every size. Inference meets many
            sizes: those with nearly the same number of pixels share a choice.
    """

    def __init__(self, choices: Choices, training: bool = False) -> None:
        super().__init__()
        self.choices, self.training = choices, training

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch."""
        kwargs = kwargs or {}
        reading = READERS.get(func)
        if torch.compiler.is_compiling():
            return func(*args, **kwargs)
        if reading is not None:
            call = reading(*args, **kwargs)
            if call is not None and self.replaces(call):
                if not self.training:
                    return self.convolve(call)
                if self.pays(call):
                    return Convolution.apply(*call[:3], call, self)
        elif func is torch.pixel_shuffle:
            return shuffled(*args, **kwargs)
        return func(*args, **kwargs)

    def replaces(self, call: Call) -> bool:
        """Return whether a convolution is large, on the CPU and in float32, and nothing else has its way with it."""
        x, given = call.x, [part for part in call[:3] if isinstance(part, Tensor)]
        if x.ndim != 4 or not ordinary(given) or any(part.dtype != torch.float32 for part in given):
            return False
        if self.training:
            if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():  # someone wants it so
                return False
        elif torch.is_grad_enabled() and any(part.requires_grad for part in given):
            return False
        pixels = x.shape[2] * x.shape[3] // (1 if call.transposed else call.stride[0] * call.stride[1])
        large = len(x) * pixels * call.weight.numel() >= (LARGE_TRAINED if self.training else LARGE)
        return large and not torch.is_autocast_enabled("cpu")

    def pays(self, call: Call) -> bool:
        """Return whether any pass of a convolution in training has a faster kernel; if not, PyTorch does it all."""
        x, weight = call.x.detach(), call.weight.detach()
        trained = [torch.is_grad_enabled() and part.requires_grad for part in call[:2]]
        about = (x.shape, weight.shape, *call[3:], *trained, torch.get_num_threads())
        if about not in self.choices.memory:
            at = geometry(call)
            dy = torch.ops.aten.convolution(
                x, weight, None, call.stride, call.padding, (1, 1), call.transposed, call.rest, 1
            )
            here, back = ("input", "forward") if call.transposed else ("forward", "input")
            passes = [(here, x, weight, at)]
            passes += [(back, dy, weight, at)] if trained[0] else []
            passes += [("weight", *((dy, x) if call.transposed else (x, dy)), at)] if trained[1] else []
            found = [self.best(*one) for one in passes]
            self.choices.memory[about] = any(name != "direct" for name in found)
        return bool(self.choices.memory[about])

    def convolve(self, call: Call) -> Tensor:
        """Return a convolution by the fastest kernel."""
        kind = "input" if call.transposed else "forward"
        return self.run(kind, call.x, call.weight, geometry(call), call.bias)

    def best(self, kind: str, one: Tensor, two: Tensor, at: Geometry, *bias: Bias) -> str:
        """Return the name of the fastest kernel of a pass."""
        pixels = min(MEASURED, 1 << (one.shape[2] * one.shape[3] - 1).bit_length())
        about = (one.shape, two.shape, *at) if self.training else ((*one.shape[:2], pixels), two.shape, *at[1:])
        known = (kind, about, threads := torch.get_num_threads())
        if known not in self.choices.memory:
            sides = ", ".join("x".join(map(str, part)) for part in about)
            few, there = (one, at) if self.training else piece(kind, one, at)
            kernels = {
                name: functools.partial(kernel, few, two, there, *bias) for name, kernel in PASSES[kind].items()
            }
            self.choices.memory[known] = self.choices.best(f"{kind} of {sides} threads {threads}", kernels)
        return str(self.choices.memory[known])

    def run(self, kind: str, one: Tensor, two: Tensor, at: Geometry, *bias: Bias) -> Tensor:
        """Return what the fastest kernel of a pass makes of two tensors, plus a bias if one is given."""
        with suppress(Inapplicable):  # it was chosen for a size, or on a machine, that is not quite this one
            return PASSES[kind][self.best(kind, one, two, at, *bias)](one, two, at, *bias)
        return PASSES[kind]["direct"](one, two, at, *bias)


def piece(kind: str, one: Tensor, at: Geometry) -> tuple[Tensor, Geometry]:
    """Return the first rows of what a convolution takes, as many as are measured, and its geometry on these."""
    rows = min(one.shape[2], max(16, MEASURED // one.shape[3]))
    step = at.stride[0] if kind == "input" else 1
    fewer = (one.shape[2] - rows) * step
    return one[:, :, :rows].contiguous(), at._replace(size=(at.size[0] - fewer, at.size[1]))


class Convolution(torch.autograd.Function):
    """A convolution whose three passes are computed by the fastest kernels."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, call: Call, kernels: Convolutions
    ) -> Tensor:
        """Convolve x [N, C, H, W] with a weight, and add a bias."""
        ctx.save_for_backward(x, weight)
        ctx.kernels, ctx.transposed, ctx.rest = kernels, call.transposed, call.rest
        ctx.bias_size = None if bias is None else list(bias.shape)
        ctx.at = geometry(call)
        return kernels.convolve(call)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, the weight and the bias for that of the result."""
        x, weight = ctx.saved_tensors
        needed, transposed = wanted_of(ctx), ctx.transposed
        if not torch.is_grad_enabled():  # else what is done here is differentiated again
            dy, given = dy.contiguous(), x.contiguous()
            one = ("forward" if transposed else "input", dy, weight, ctx.at)
            two = ("weight", dy, given, ctx.at) if transposed else ("weight", given, dy, ctx.at)
            wanted = [part for part, need in ((one, needed[0]), (two, needed[1])) if need]
            if any(ctx.kernels.best(*part) != "direct" for part in wanted):
                dx = ctx.kernels.run(*one) if needed[0] else None
                dw = ctx.kernels.run(*two) if needed[1] else None
                return dx, dw, dy.sum((0, 2, 3)) if needed[2] else None, None, None
        how = (ctx.bias_size, ctx.at.stride, ctx.at.padding, (1, 1), transposed, ctx.rest, 1, needed)
        return (*torch.ops.aten.convolution_backward(dy, x, weight, *how), None, None)


def wanted_of(ctx: Any) -> tuple[bool, ...]:
    """Return which gradients, of x, weight and bias, a backward pass is for.

    In the turn of a generator, nobody asks for those of the discriminator's weights. PyTorch's own functions know
    this; functions in Python see only what needs a gradient in general.
    """
    needed, nodes = ctx.needs_input_grad[:3], [node for node, _ in ctx.next_functions]
    with suppress(RuntimeError):  # within `torch.autograd.grad`, it does not say
        asked = [node is not None and torch._C._will_engine_execute_node(node) for node in nodes]
        return tuple(need and ask for need, ask in zip(needed, [*asked, False], strict=False))
    return tuple(needed)


def ordinary(given: Sequence[Tensor]) -> bool:
    """Return whether these are plain tensors on the CPU, and no transform such as vmap or forward AD is at work."""
    plain = all(type(part) in (Tensor, nn.Parameter) and part.device.type == "cpu" for part in given)
    if not plain or torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    return all(forward_ad.unpack_dual(part).tangent is None for part in given)


def shuffled(input: Tensor, upscale_factor: int) -> Tensor:
    """Return `torch.pixel_shuffle`; its own kernel takes up to three times as long as a permuted copy."""
    if input.ndim != 4 or not input.is_contiguous() or input.shape[1] % upscale_factor**2 or not ordinary([input]):
        return torch.pixel_shuffle(input, upscale_factor)
    (n, c, h, w), side = input.shape, upscale_factor
    apart = input.view(n, c // side**2, side, side, h, w).permute(0, 1, 4, 2, 5, 3)
    return apart.reshape(n, c // side**2, h * side, w * side)


def geometry(call: Call) -> Geometry:
    """Return the geometry of a convolution, or of the one whose gradient a transposed one is."""
    (h, w), (kh, kw) = call.x.shape[2:], call.weight.shape[2:]
    if call.transposed:
        h = (h - 1) * call.stride[0] - 2 * call.padding[0] + kh + call.rest[0]
        w = (w - 1) * call.stride[1] - 2 * call.padding[1] + kw + call.rest[1]
    return Geometry((h, w), (kh, kw), call.stride, call.padding)


def pair(value: Any) -> Pair:
    """Return a number or two of them as a pair."""
    one, two = (value, value) if isinstance(value, int) else value if len(value) == 2 else 2 * tuple(value)
    return int(one), int(two)


def read_plain(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Call | None:
    """Return a call of `torch.conv2d`, or None if it has groups, is dilated or has a padding in words."""
    if groups != 1 or dilation not in PLAIN or isinstance(padding, str):
        return None
    return Call(input, weight, bias, pair(stride), pair(padding), (0, 0), False)


def read_transposed(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Call | None:
    """Return a call of `torch.conv_transpose2d`, or None if it has groups or is dilated."""
    if groups != 1 or dilation not in PLAIN:
        return None
    return Call(input, weight, bias, pair(stride), pair(padding), pair(output_padding), True)


READERS: Mapping[Any, Any] = {torch.conv2d: read_plain, torch.conv_transpose2d: read_transposed}
