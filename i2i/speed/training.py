"""Training at a speed: `train.speed` is exact, auto or fast.

    i2i run configs/cyclegan.yaml train.speed=exact

`exact` is what PyTorch does by itself. With `auto`, each large float32 convolution on the CPU, and each of its
gradients, is computed by the kernel that a measurement on this machine found the fastest for its shape; see `passes`.
`fast` is the same, and bf16 where the CPU multiplies it. The choices are part of the state of a run, so a resumed run
makes the same ones.

Second derivatives, as of gradient penalties, are PyTorch's own: what is differentiated again is not replaced.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..devices import Precision, multiplies_bf16, precision_for
from .choices import Choices, cache_file
from .passes import PASSES, Geometry

LARGE = 4e6  # multiplications of a convolution from which measuring pays
PROBED = 2  # steps after which nothing is replaced any more if PyTorch was always the fastest
PLAIN = (1, (1, 1), [1, 1])  # strides and dilations of one


def precision_at(speed: str, precision: Precision, device: torch.device) -> Precision:
    """Return the precision of a training: for `fast`, bf16 on a device that multiplies it, unless one is given.

    Raises:
        ConfigError: as `precision_for`.
    """
    fast = speed == "fast" and precision == "auto" and multiplies_bf16(device)
    return precision_for("bf16" if fast else precision, device)


def refusal(speed: str, precision: Precision, device: torch.device) -> str:
    """Return why `fast` does not mean bf16, or ""."""
    if speed != "fast" or precision_at(speed, precision, device) == "bf16":
        return ""
    return "train.precision says so" if precision != "auto" else f"this {device.type} does not multiply bf16"


class Kernels:
    """The kernels with which one run trains.

    Args:
        speed: "exact", "auto" or "fast".
        device: of the networks.
        processes: that train together. Several may not choose differently, so they train as with "exact".

    Example:
        >>> kernels = Kernels("auto", torch.device("cpu"))
        >>> with kernels(step=0):
        ...     y = torch.conv2d(torch.rand(1, 3, 8, 8), torch.rand(4, 3, 3, 3))
        >>> y.shape
        torch.Size([1, 4, 6, 6])
    """

    def __init__(self, speed: str, device: torch.device, processes: int = 1) -> None:
        self.chooses = speed != "exact" and device.type == "cpu" and processes == 1
        self.choices = Choices(cache_file())
        self.used: dict[str, str] = {}  # by key, the kernels of this run

    def __call__(self, step: int) -> AbstractContextManager[Any]:
        """Return the context in which networks run in a step."""
        idle = step >= PROBED and all(name == "direct" for name in self.used.values())
        return nullcontext() if idle or not self.chooses else Replaced(self)

    def state(self) -> dict[str, str] | None:
        """Return the choices of this run, or None if it makes none."""
        return dict(self.used) if self.chooses else None

    def load(self, state: Mapping[str, str] | None) -> None:
        """Continue with the choices of a run; with None, that of one that made none."""
        self.chooses = self.chooses and state is not None
        self.used = dict(state or {})

    def described(self) -> str:
        """Return whose kernels this training uses."""
        return "with the kernels that are the fastest here" if self.chooses else "with PyTorch's own kernels"

    def run(self, kind: str, one: Tensor, two: Tensor, at: Geometry) -> Tensor:
        """Return what the fastest kernel of a pass makes of two tensors."""
        return PASSES[kind][self.best(kind, one, two, at)](one, two, at)

    def best(self, kind: str, one: Tensor, two: Tensor, at: Geometry) -> str:
        """Return the name of the fastest kernel of a pass."""
        sides = ", ".join("x".join(map(str, part)) for part in (one.shape, two.shape, *at))
        key = f"{kind} of {sides} threads {torch.get_num_threads()}"
        if self.used.get(key) not in PASSES[kind]:
            kernels = {name: functools.partial(kernel, one, two, at) for name, kernel in PASSES[kind].items()}
            self.used[key] = self.choices.best(key, kernels)
        return self.used[key]


class Call(NamedTuple):
    """A convolution, maybe a transposed one."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    rest: tuple[int, int]  # rows and columns more than the least size of the result of a transposed one
    transposed: bool


class Replaced(TorchFunctionMode):
    """Within it, large float32 convolutions on the CPU are computed by the fastest kernels."""

    def __init__(self, kernels: Kernels) -> None:
        super().__init__()
        self.kernels = kernels

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch."""
        kwargs = kwargs or {}
        reading = READERS.get(func)
        if reading is not None and not torch.compiler.is_compiling():
            call = reading(*args, **kwargs)
            if call is not None and replaceable(call):
                return Convolution.apply(call.x, call.weight, call.bias, call, self.kernels)
        return func(*args, **kwargs)


class Convolution(torch.autograd.Function):
    """A convolution whose three passes are computed by the fastest kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, call: Call, kernels: Kernels) -> Tensor:
        """Convolve x [N, C, H, W] with a weight, and add a bias."""
        ctx.save_for_backward(x, weight)
        ctx.kernels, ctx.transposed = kernels, call.transposed
        ctx.bias_size = None if bias is None else list(bias.shape)
        ctx.rest, x = call.rest, x.contiguous()
        ctx.at = geometry(call)
        made = kernels.run("input" if call.transposed else "forward", x, weight, ctx.at)
        return made if bias is None else made.add_(bias[:, None, None])

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, the weight and the bias for that of the result."""
        x, weight = ctx.saved_tensors
        needed, transposed = ctx.needs_input_grad[:3], ctx.transposed
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


def geometry(call: Call) -> Geometry:
    """Return the geometry of a convolution, or of the one whose gradient a transposed one is."""
    (h, w), (kh, kw) = call.x.shape[2:], call.weight.shape[2:]
    if call.transposed:
        h = (h - 1) * call.stride[0] - 2 * call.padding[0] + kh + call.rest[0]
        w = (w - 1) * call.stride[1] - 2 * call.padding[1] + kw + call.rest[1]
    return Geometry((h, w), (kh, kw), call.stride, call.padding)


def replaceable(call: Call) -> bool:
    """Return whether a convolution is large, on the CPU and in float32, and nothing else has its own way with it."""
    x, weight = call.x, call.weight
    ordinary = all(type(part) in (Tensor, nn.Parameter) for part in call[:3] if part is not None)
    if not ordinary or torch._C._functorch.peek_interpreter_stack() is not None or x.ndim != 4:
        return False
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():  # someone wants that layout
        return False
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in call[:3] if p is not None):
        return False
    pixels = x.shape[2] * x.shape[3] // (1 if call.transposed else call.stride[0] * call.stride[1])
    return len(x) * pixels * weight.numel() >= LARGE and not torch.is_autocast_enabled("cpu")


def pair(value: Any) -> tuple[int, int]:
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
