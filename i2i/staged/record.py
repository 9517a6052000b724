"""`record` runs a network on a picture without pixels, and returns the operations as a graph of `Node`s.

The picture is a tensor that knows its shape alone. Each operation of PyTorch on it is written down instead of run, so
the network needs no changes: whatever it is built of, its convolutions, norms and sums arrive here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from . import rules

Network = Callable[[Tensor], Tensor]
aten = torch.ops.aten


class Unsupported(Exception):  # noqa: N818 - it becomes a ConfigError, which says what to do
    """A network does something that cannot be done in tiles."""


@dataclass(eq=False)
class Node:
    """One operation, and the tensor that it makes.

    Attributes:
        func: the operation; None for the picture itself.
        args, kwargs: its arguments, in which nodes stand for recorded tensors.
        shape, dtype: of the tensor it makes.
        rule: computes a part of the tensor; None if it can only be computed as a whole.
        users: how many nodes use it.
        inputs: the nodes among its arguments.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: tuple[int, ...]
    dtype: torch.dtype
    rule: rules.Rule | None = None
    users: int = 0
    inputs: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inputs = [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Node)]
        for node in self.inputs:
            node.users += 1

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of a map."""
        return self.shape[-2], self.shape[-1]

    @property
    def is_map(self) -> bool:
        """Whether parts of it can be computed; the last two dimensions are height and width."""
        return self.func is None or self.rule is not None

    @property
    def bytes(self) -> int:
        """How much memory it takes as a whole."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class Recorded(Tensor):
    """A tensor without values, that a `Node` will make."""

    node: Node
    recording: Recording

    @staticmethod
    def __new__(cls, node: Node, recording: Recording) -> Recorded:
        """Return a tensor that looks like the one that the node makes."""
        made = Tensor._make_wrapper_subclass(cls, node.shape, dtype=node.dtype, device=recording.device)
        made.node, made.recording = node, recording
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Recorded({list(self.shape)})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Keep a sum of products as it is written: taken apart, it would be made of other dimensions."""
        if func is torch.einsum:
            recorded = next(operand for operand in args[1:] if isinstance(operand, Recorded))
            return recorded.recording.add(func, args, {})
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Write down an operation."""
        recorded = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Recorded))
        return recorded.recording.add(func, args, kwargs or {})


class Recording:
    """The operations of one call of a network, in order.

    Args:
        device: of the network.
        value: computes the tensor of a node, for a network that looks at a value.
    """

    def __init__(self, device: torch.device, value: Callable[[Node], Tensor]) -> None:
        self.device, self.value = device, value
        self.nodes: list[Node] = []
        self.views: set[Node] = set()  # nodes that share their memory with another one

    def tensor(self, node: Node) -> Recorded:
        """Add a node, and return the tensor that stands for it."""
        self.nodes.append(node)
        return Recorded(node, self)

    def add(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what stands for the result of an operation."""
        if func is aten._local_scalar_dense.default or func is aten.is_nonzero.default:
            return self.value(args[0].node).item()
        if torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()):
            raise Unsupported(f"{func} draws random numbers")
        in_place = func is not torch.einsum and func._schema.name.endswith("_") and not func._schema.name.endswith("__")
        changed = args[0] if in_place else None
        if in_place:
            if not isinstance(changed, Recorded) or changed.node in self.views:
                raise Unsupported(f"{func} changes a part of a tensor")
            name = func._schema.name.removeprefix("aten::").rstrip("_")
            func = getattr(getattr(aten, name), func._overloadname)
        if any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves((args, kwargs))):
            raise Unsupported(f"{func} uses the second result of another operation")
        plain = tree_map(lambda leaf: leaf.node if isinstance(leaf, Recorded) else leaf, (args, kwargs))
        made = self.result(func, plain[0], plain[1], self.shape_of(func, args, kwargs))
        if changed is not None:
            changed.node = made.node
            return changed
        if func is not torch.einsum and func.is_view:
            self.views |= {leaf.node for leaf in tree_leaves((args, made)) if isinstance(leaf, Recorded)}
        return made

    def shape_of(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return tensors without values in place of those that an operation makes."""

        def meta(leaf: Any) -> Any:
            if isinstance(leaf, torch.device):
                return torch.device("meta")
            return leaf if not isinstance(leaf, Tensor) else torch.empty_like(leaf, device="meta")

        def bare(leaf: Any) -> Any:
            if isinstance(leaf, Recorded):
                return torch.empty(leaf.shape, dtype=leaf.dtype, device="meta")
            return meta(leaf)

        try:
            return func(*tree_map(bare, args), **tree_map(bare, kwargs))
        except NotImplementedError:
            raise Unsupported(f"the size of what {func} makes depends on values") from None

    def result(self, func: Any, args: Any, kwargs: Any, made: Any) -> Any:
        """Return what stands for tensors that an operation makes."""
        if isinstance(made, Tensor):
            node = Node(func, args, kwargs, tuple(made.shape), made.dtype)
            node.rule = rules.rule_for(node)
            return self.tensor(node)
        pieces = rules.pieces(func, args, kwargs, made)
        if pieces is not None:  # a split: each piece is a slice
            return [self.result(*piece) for piece in pieces]
        first, *others = made
        # A norm or a pooling: the other results are for the gradients.
        kept = self.result(func, args, kwargs, first)
        return (kept, *others)


@contextmanager
def _untouched() -> Iterator[None]:
    """Record what runs as without gradients; in inference mode, operations arrive in larger units."""
    with torch.inference_mode(False), torch.no_grad():
        yield


@dataclass
class Graph:
    """The operations of a network on a picture.

    Attributes:
        nodes: all of them, each after what it needs; the first one is the picture.
        result: the node that makes the result.
    """

    nodes: list[Node]
    result: Node

    @property
    def sees_everything(self) -> bool:
        """Whether some of it depends on the whole picture."""
        return any(node.rule is rules.normed or not node.is_map for node in self.nodes)


def record(
    network: Network, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, value: Callable[..., Tensor]
) -> Graph:
    """Return the operations of a network on a picture.

    Args:
        network: maps pictures to pictures.
        shape, dtype: of the picture.
        device: of the network.
        value: computes the tensor of a node from the nodes before it: `value(node, nodes)`.

    Raises:
        Unsupported: it does something that cannot be done in tiles.
    """
    recording = Recording(device, lambda node: value(node, recording.nodes))
    with _untouched():
        made = network(recording.tensor(Node(None, (), {}, shape, dtype)))
    if not isinstance(made, Recorded) or not made.node.is_map:
        raise Unsupported("the result is not computed from the picture")
    return Graph(needed(recording.nodes, made.node), made.node)


def needed(nodes: list[Node], result: Node) -> list[Node]:
    """Return the nodes that a result depends on, in order, and count their users."""
    found, todo = {nodes[0]}, [result]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += node.inputs
    kept = [node for node in nodes if node in found]
    for node in kept:
        node.users = sum(other.inputs.count(node) for other in kept)
    return kept
