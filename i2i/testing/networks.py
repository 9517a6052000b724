"""`check_network`: shape, gradients, determinism, and whether the sizes it declares are those it takes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..engine import seed_everything
from ..errors import blame
from .states import check_pickles, equal, random_states


def check_network(network: nn.Module, *inputs: Any, shape: tuple[int, ...] | None = None) -> None:
    """Check all that a task relies on in a network; the network itself is left as it was.

    Where it declares `multiple` or `minimum`, its first input must be a batch of pictures [N, C, H, W]; other inputs
    of the same height and width are resized along with it.

    Args:
        network: the network to check; it is copied.
        inputs: what its `forward` takes, with a batch of at least two.
        shape: the shape of its output, by default any with the same N, or a multiple of it, as for several frames.

    Raises:
        AssertionError: a point is broken; the message says which.
        PluginError: the network itself raises; the message names its file and line.
    """
    name = type(network).__name__
    network = copy.deepcopy(network)
    given = copy.deepcopy(inputs)
    check_output(network, inputs, shape)
    assert equal(inputs, given), f"{name} changes what it is given"
    check_gradients(copy.deepcopy(network), inputs)
    check_determinism(network, inputs)
    if hasattr(network, "multiple") or hasattr(network, "minimum"):
        check_sizes(network, inputs)
    check_pickles(network, name)


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from tensors(one)


def run(network: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """Call a network, always with the same random numbers."""
    seed_everything(0, 0, 0)
    with blame(network, "forward"):
        return network(*inputs)


def check_output(network: nn.Module, inputs: tuple[Any, ...], shape: tuple[int, ...] | None) -> None:
    """Check the shape and the values of what a network returns in training."""
    name, out = type(network).__name__, run(copy.deepcopy(network).train(), inputs)
    found = list(tensors(out))
    assert found, f"{name} returns a {type(out).__name__}, without any tensor"
    if shape is not None:
        assert isinstance(out, Tensor), f"{name} returns a {type(out).__name__}, not one tensor {shape}"
        assert tuple(out.shape) == tuple(shape), f"{name} returns {tuple(out.shape)}, not {tuple(shape)}"
    elif isinstance(out, Tensor) and isinstance(inputs[0], Tensor):
        given, made = (x.shape[0] if x.ndim else 1 for x in (inputs[0], out))
        assert made % given == 0 < made, f"{name} returns {tuple(out.shape)} for a batch of {given}"
    assert all(tensor.isfinite().all() for tensor in found), f"{name} returns values that are not finite"


def check_gradients(network: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Check that every trainable parameter takes part in the output."""
    out = tensors(run(network.train(), inputs))
    loss = sum(tensor.float().square().mean() for tensor in out if tensor.requires_grad)
    name = type(network).__name__
    assert isinstance(loss, Tensor), f"{name}: its output depends on none of its parameters"
    loss.backward()
    idle = [key for key, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, f"{name}: no gradient reaches {', '.join(idle[:3])}: use it in forward(), or remove it"


def check_determinism(network: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Check that in eval mode the output depends on the input alone, and that a call leaves nothing behind."""
    name = type(network).__name__
    network.eval()
    with torch.no_grad():
        run(network, inputs)  # whatever is built on the first call is there now
        state, before = copy.deepcopy(network.state_dict()), random_states()
        with blame(network, "forward"):
            first = network(*inputs)
        drew = not equal(before, random_states())
        assert not drew, f"{name} draws random numbers in eval mode"
        assert equal(dict(state), dict(network.state_dict())), f"{name} changes its buffers in eval mode"
        assert equal(first, run(network, inputs)), f"{name} gives another result the second time in eval mode"


def check_sizes(network: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Check that pictures of every size that `multiple` and `minimum` allow pass, at one scale."""
    name, image = type(network).__name__, inputs[0]
    pictures = isinstance(image, Tensor) and image.ndim == 4
    assert pictures, f"{name} declares sizes of pictures: its first input must be [N, C, H, W]"
    multiple, minimum = getattr(network, "multiple", 1), getattr(network, "minimum", 1)
    for key, value in (("multiple", multiple), ("minimum", minimum)):
        valid = isinstance(value, int) and value > 0
        assert valid, f"{name}.{key} is {value!r}: it must be a positive integer"
    smallest = -(-minimum // multiple) * multiple
    scales = set()
    for height, width in ((smallest, smallest + multiple), (smallest + 3 * multiple, smallest)):
        try:
            with torch.no_grad():
                out = next(tensors(run(network.eval(), resized(inputs, height, width))))
        except Exception as error:
            raise AssertionError(
                f"{name} declares multiple {multiple} and minimum {minimum}, and fails at {height}x{width} pixels: "
                f"{error}"
            ) from error
        if out.ndim == 4:
            scales.add((out.shape[2] / height, out.shape[3] / width))
    flat = {scale for pair in scales for scale in pair}
    assert len(flat) <= 1, (
        f"{name} declares multiple {multiple} and minimum {minimum}, but its output is not a fixed factor of its "
        f"input at the sizes these allow: the factors are {sorted(flat)}"
    )


def resized(inputs: tuple[Any, ...], height: int, width: int) -> tuple[Any, ...]:
    """Return the inputs with everything that has the first one's size repeated or cut to another."""
    size = inputs[0].shape[-2:]

    def one(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.ndim < 3 or value.shape[-2:] != size:
            return value
        rows, columns = -(-height // size[0]), -(-width // size[1])
        return value.repeat(*[1] * (value.ndim - 2), rows, columns)[..., :height, :width]

    return tuple(map(one, inputs))
