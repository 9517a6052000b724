"""Networks divided among the processes, for those that are larger than one device: `train.shard: true`.

Of each parameter a process holds only its piece, a vector, and so of the gradient and of what the optimizer keeps.
Whoever reads a parameter, as `self.weight` in a layer, gets all of it, gathered for the moment. The graph does not
keep that: the backward pass gathers it again, and leaves to each process the average gradient of its piece.

PyTorch's `fully_shard` works likewise, but what its graphs contain is not the divided parameter. It therefore has no
gradients for `backward(inputs=...)`, with which the engine separates the players.

Source: SimpleFSDP, arXiv:2411.00284.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.conv import _ConvNd

from ..errors import ConfigError

# Whole parameters by address; their attribute `part` is what they come from.
_gathered: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()


class Part(nn.Parameter):
    """This process's piece of a parameter, a vector as long as that of any other process.

    Attributes:
        whole: the size of the parameter.
    """

    whole: torch.Size

    def __deepcopy__(self, memo: dict[int, Any]) -> Part:
        memo[id(self)] = part = as_part(self.detach().clone(), self)
        return part


def as_part(piece: Tensor, like: nn.Parameter) -> Part:
    """Return a piece of a parameter as a parameter."""
    part = Part(piece, like.requires_grad)
    part.whole = like.whole if isinstance(like, Part) else like.shape
    return part


def piece_of(whole: Tensor) -> Tensor:
    """Return this process's piece of a tensor that all processes have; the last ones are filled up with zeros."""
    flat, size = whole.detach().flatten(), dist.get_world_size()
    length = -(-len(flat) // size)
    piece = flat.new_zeros(length)
    own = flat[dist.get_rank() * length :][:length]
    piece[: len(own)] = own
    return piece


class Gather(torch.autograd.Function):
    """Pieces to the whole; its gradient, averaged over the processes, to those of the pieces."""

    @staticmethod
    def forward(ctx: Any, piece: Tensor, whole: torch.Size) -> Tensor:
        """Return the tensor of size `whole` that the processes hold pieces of."""
        flat = piece.new_empty(dist.get_world_size() * len(piece))
        dist.all_gather([*flat.chunk(dist.get_world_size())], piece.detach())
        return flat[: whole.numel()].view(whole)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the average gradient of the piece."""
        size = dist.get_world_size()
        length = -(-gradient.numel() // size)
        flat = nn.functional.pad(gradient.flatten(), (0, length * size - gradient.numel()))
        piece = flat.new_empty(length)
        dist.reduce_scatter(piece, [*flat.chunk(size)])
        return piece / size, None


def divide(module: nn.Module, device: torch.device) -> None:
    """Divide the parameters of a module, which are the same on all processes, and move each piece to its device.

    `state_dict`, which all processes must call, then returns whole parameters on the CPU of the first process, and
    only their shapes on the others; `load_state_dict` takes whole ones.

    Args:
        module: changed in place.
        device: where this process trains; it never holds all of the module.

    Raises:
        ConfigError: a parameter is kept in a second place, such as the list of an `nn.LSTM`, which would not change.
    """
    replaced = replace(module, device)
    gc.collect()
    for name, parameter in replaced.items():
        if parameter() is not None:
            layer, _, key = name.rpartition(".")
            kind = type(module.get_submodule(layer)).__name__
            raise ConfigError(
                f"train.shard cannot divide {layer or 'the task'}, because a second reference to the {key} of this "
                f"{kind} is kept: use other layers or train.shard=false"
            )


def replace(module: nn.Module, device: torch.device) -> dict[str, weakref.ref[nn.Parameter]]:
    """Replace each parameter by its piece, and return by name what was replaced."""
    parts: dict[nn.Parameter, Part] = {}  # what layers share they still share
    replaced = {name: weakref.ref(parameter) for name, parameter in module.named_parameters()}
    for layer in module.modules():
        own = {key: parameter for key, parameter in layer._parameters.items() if parameter is not None}
        for key, parameter in own.items():
            if parameter not in parts:
                parts[parameter] = as_part(piece_of(parameter).to(device), parameter)
            layer._parameters[key] = parts[parameter]
        if own:
            layer.__class__ = reading_whole(type(layer), [*own])
    return replaced


def reading_whole(kind: type[nn.Module], names: list[str]) -> Any:
    """Return a subclass of a layer for divided parameters of these names."""

    def forward(layer: Any, *args: Any, **keywords: Any) -> Any:
        with saved_tensors_hooks(forget, recall):
            return kind.forward(layer, *args, **keywords)

    def save(layer: Any, state: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        kind._save_to_state_dict(layer, state, prefix, keep_vars)
        state |= {prefix + name: collected(layer._parameters[name], layer._parameters[name]) for name in names}

    def load(layer: Any, state: dict[str, Any], prefix: str, *others: Any) -> None:
        given = {prefix + name: layer._parameters[name] for name in names if prefix + name in state}
        state |= {key: dealt(state[key], part) for key, part in given.items()}
        kind._load_from_state_dict(layer, state, prefix, *others)

    def reader(name: str) -> property:
        return property(lambda layer: gathered(layer._parameters[name], halved))

    halved = issubclass(kind, (nn.Linear, _ConvNd))  # otherwise the graph would keep the copies that autocast makes
    methods = {"forward": forward, "_save_to_state_dict": save, "_load_from_state_dict": load}
    return type(
        kind.__name__, (kind,), {"__module__": kind.__module__, **methods, **{name: reader(name) for name in names}}
    )


def gathered(part: Part, halved: bool) -> Tensor:
    """Return the whole of a parameter.

    Args:
        part: its piece on this process.
        halved: return it in the dtype of autocast, if that is enabled.
    """
    found: Any = Gather.apply(part, part.whole)
    if halved and torch.is_autocast_enabled(part.device.type):
        found = found.to(torch.get_autocast_dtype(part.device.type))
    found.part = part
    _gathered[found.untyped_storage().data_ptr()] = found
    return found


def forget(saved: Tensor) -> Any:
    """Return what the graph keeps instead of a tensor: of a gathered parameter, only how to gather it again."""
    found: Any = _gathered.get(saved.untyped_storage().data_ptr())
    if found is None:
        return saved
    return found.part, found.part._version, saved.dtype, saved.size(), saved.stride(), saved.storage_offset()


@torch.no_grad()
def recall(kept: Any) -> Tensor:
    """Return the tensor that `forget` was given.

    Raises:
        RuntimeError: the parameter has changed since then.
    """
    if isinstance(kept, Tensor):
        return kept
    part, version, dtype, *view = kept
    if part._version != version:
        raise RuntimeError("a parameter needed for gradient computation has been modified by an inplace operation")
    return Gather.apply(part, part.whole).to(dtype).as_strided(*view)


def collected(value: Any, part: Any) -> Any:
    """Return the whole of a piece, like that of `part`, or anything else as it is.

    It is on the CPU of the first process; the others get only its shape.
    """
    if not (isinstance(part, Part) and isinstance(value, Tensor) and value.shape == part.shape):
        return value
    whole = Gather.apply(value.detach(), part.whole)
    return whole.cpu() if dist.get_rank() == 0 else whole.to("meta")


def dealt(value: Any, part: Any) -> Any:
    """Return this process's piece of a whole tensor, like that of `part`, or anything else as it is."""
    fits = isinstance(part, Part) and isinstance(value, Tensor) and value.shape == part.whole
    return piece_of(value).to(part.device) if fits else value


def state_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state of an optimizer for whole parameters; all processes must call this, as `state_dict`."""
    return changed(optimizer, optimizer.state_dict(), collected)


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load into an optimizer, perhaps of pieces, the state of one for whole parameters."""
    optimizer.load_state_dict(changed(optimizer, state, dealt))


def changed(optimizer: torch.optim.Optimizer, state: dict[str, Any], change: Callable[..., Any]) -> dict[str, Any]:
    """Return the state of an optimizer, with a change of each value that depends on its parameter."""
    parts = [part for group in optimizer.param_groups for part in group["params"]]
    kept = state["state"].items()
    return {**state, "state": {i: {k: change(v, parts[i]) for k, v in own.items()} for i, own in kept}}
