"""`record` runs a network on a picture without pixels, and returns the operations as a graph of `Node`s.

Each operation of PyTorch on it is written down instead of run, so the network needs no changes: whatever it is built
of, its convolutions, norms and sums arrive here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from . import choose, rules

Network = Callable[[Tensor], Tensor]
aten = torch.ops.aten
LOOKS = {Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.data_ptr}
PADS = {aten.reflection_pad2d, aten.replication_pad2d}
RESIZES = {aten.upsample_nearest2d, aten._upsample_nearest_exact2d, aten.upsample_bilinear2d, aten.upsample_bicubic2d}
RESIZES |= {aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa}
NORMS = {aten.native_group_norm, *choose.BATCH_NORMS}


class Unsupported(Exception):
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


class Recording(TorchDispatchMode):
    """Within it, operations on recorded tensors are written down instead of run; others run.

    A recorded tensor is one number, seen as a tensor of the full size. (A subclass of `Tensor` would do as well, but
    the first operation on one loads parts of PyTorch that take 45 MB.)

    Args:
        device: of the network.
        value: computes the tensor of a node, for a network that looks at a value.
    """

    def __init__(self, device: torch.device, value: Callable[[Node], Tensor]) -> None:
        super().__init__()
        self.device, self.value = device, value
        self.nodes: list[Node] = []
        self.known: dict[int, tuple[Tensor, Node]] = {}  # by the id of the tensor, which is kept alive
        self.memory: dict[int, int] = {}  # by the id of a view, or of what has views, that of the first of them
        self.outdated: set[int] = set()  # ids of tensors that were changed through others

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: torch would otherwise load its compiler, which takes 75 MB and is not needed."""
        return False

    def tensor(self, node: Node) -> Tensor:
        """Return a tensor that stands for a node."""
        with _disable_current_modes():
            made = torch.zeros((), dtype=node.dtype, device=self.device).expand(node.shape)
        self.known[id(made)] = made, node
        return made

    def node(self, leaf: Any) -> Node | None:
        """Return the node that a recorded tensor stands for; None for anything else."""
        if id(leaf) in self.outdated:
            raise Unsupported("a tensor is used after it was changed through a view")
        found = self.known.get(id(leaf))
        return None if found is None else found[1]

    def recorded(self, *given: Any) -> bool:
        """Return whether a recorded tensor is among arguments."""
        return any(id(leaf) in self.known for leaf in tree_leaves(given))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Write down an operation, or run it."""
        if self.recorded(args, kwargs):
            return self.add(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def add(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what stands for the result of an operation."""
        if func is aten._local_scalar_dense.default or func is aten.is_nonzero.default:
            node = self.node(args[0])
            assert node is not None
            with _disable_current_modes():
                return self.value(node).item()
        if torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()):
            raise Unsupported(f"{func} draws random numbers")
        in_place = (
            func is not torch.einsum and func._schema.name.endswith("_") and not func._schema.name.endswith("__")
        )
        changed = args[0] if in_place else None
        if in_place:
            self.overwrite(func, args[0])
            name = func._schema.name.removeprefix("aten::").rstrip("_")
            func = getattr(getattr(aten, name), func._overloadname)
        if func is aten.clone.default:
            return self.copy(args[0], may_share="memory_format" in kwargs)
        if any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves((args, kwargs))):
            raise Unsupported(f"{func} uses the second result of another operation")
        plain = tree_map(lambda leaf: self.node(leaf) or leaf, (args, kwargs))
        made = self.result(func, plain[0], plain[1], self.shape_of(func, args, kwargs))
        if changed is not None:
            self.known[id(changed)] = changed, self.known[id(made)][1]
            return changed
        if func is not torch.einsum and (func.is_view or func is aten._unsafe_view.default):
            self.share(args[0], [leaf for leaf in tree_leaves(made) if self.recorded(leaf)])
        return made

    def copy(self, tensor: Tensor, may_share: bool) -> Tensor:
        """Return a copy of a tensor, of the same node, as nodes do not change; `contiguous` may return the tensor."""
        node = self.node(tensor)
        assert node is not None
        made = self.tensor(node)
        if may_share:
            self.share(tensor, [made])
        return made

    def share(self, tensor: Tensor, views: list[Tensor]) -> None:
        """Note that tensors share their memory with another one."""
        base = self.memory.setdefault(id(tensor), id(tensor))
        self.memory |= dict.fromkeys(map(id, views), base)

    def overwrite(self, func: Any, tensor: Tensor) -> None:
        """Let an operation change all of a tensor in place; what shares its memory cannot be used any more."""
        node, base = self.node(tensor), self.memory.get(id(tensor))
        if node is None or (base is not None and node.bytes != self.known[base][1].bytes):
            raise Unsupported(f"{func} changes a part of a tensor")
        if base is not None:
            self.outdated |= {other for other, its in self.memory.items() if its == base} - {id(tensor)}

    def shape_of(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return tensors without values in place of those that an operation makes.

        For many, PyTorch itself would load its compiler or SymPy, which take 75 and 40 MB.
        """
        packet = getattr(func, "overloadpacket", None)
        if packet in NORMS:
            return bare(args[0]), *(torch.empty(0, device="meta") for _ in func._schema.returns[1:])
        if packet is aten.convolution and args[0].ndim == 4:
            return torch.empty(convolved_shape(*args), dtype=args[0].dtype, device="meta")
        if packet in PADS:
            left, right, top, bottom = args[1]
            *lead, height, width = args[0].shape
            size = (*lead, height + top + bottom, width + left + right)
            return torch.empty(size, dtype=args[0].dtype, device="meta")
        if packet in RESIZES and len(args) > 1 and isinstance(args[1], list | tuple):
            return torch.empty((*args[0].shape[:-2], *args[1]), dtype=args[0].dtype, device="meta")
        if packet is aten.cat:
            dim = args[1] if len(args) > 1 else 0
            shape = list(args[0][0].shape)
            shape[dim] = sum(one.shape[dim] for one in args[0])
            return torch.empty(shape, dtype=args[0][0].dtype, device="meta")
        if torch.Tag.pointwise in getattr(func, "tags", ()):
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            made = func(*tree_map(tiny, args), **tree_map(tiny, kwargs))
            return torch.empty(
                np.broadcast_shapes(*(tuple(one.shape) for one in given)), dtype=made.dtype, device="meta"
            )
        try:
            return func(*tree_map(bare, args), **tree_map(bare, kwargs))
        except NotImplementedError:
            raise Unsupported(f"the size of what {func} makes depends on values") from None

    def result(self, func: Any, args: Any, kwargs: Any, made: Any) -> Any:
        """Return what stands for tensors that an operation makes."""
        if isinstance(made, Tensor):
            node = Node(func, args, kwargs, tuple(made.shape), made.dtype)
            node.rule = choose.rule_for(node)
            self.nodes.append(node)
            return self.tensor(node)
        pieces = choose.pieces(func, args, kwargs, made)
        if pieces is not None:  # a split: each piece is a slice
            return [self.result(*piece) for piece in pieces]
        first, *others = made
        # A norm or a pooling: the other results are for the gradients.
        kept = self.result(func, args, kwargs, first)
        return (kept, *others)


def convolved_shape(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    extra: Sequence[int],
    groups: int,
) -> tuple[int, ...]:
    """Return the shape that a convolution makes; the arguments are those of `aten.convolution`."""
    sides = []
    for n, (size, kernel) in enumerate(zip(x.shape[2:], weight.shape[2:], strict=True)):
        reach = dilation[n] * (kernel - 1) - 2 * padding[n]
        side = (size - 1) * stride[n] + reach + extra[n] if transposed else (size - reach - 1) // stride[n]
        sides.append(side + 1)
    return (len(x), weight.shape[1] * groups if transposed else weight.shape[0], *sides)


def bare(leaf: Any) -> Any:
    """Return a tensor of the same size without values; what is not a tensor as it is."""
    if isinstance(leaf, torch.device):
        return torch.device("meta")
    return torch.empty(leaf.shape, dtype=leaf.dtype, device="meta") if isinstance(leaf, Tensor) else leaf


def tiny(leaf: Any) -> Any:
    """Return a tensor of the same type with one value; what is not a tensor as it is."""
    return torch.zeros([1] * leaf.ndim, dtype=leaf.dtype) if isinstance(leaf, Tensor) else leaf


class Calls(TorchFunctionMode):
    """Sees what a network calls, before PyTorch divides it into operations."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Keep a sum of products as it is written, and let no other mode choose kernels."""
        with torch._C.DisableTorchFunction():
            if func in LOOKS and self.recording.recorded(args):
                raise Unsupported(f"{func.__name__} looks at the values of a map")
            if func is torch.einsum and self.recording.recorded(args):  # it would become one of other dimensions
                return self.recording.add(func, args, {})
            return func(*args, **(kwargs or {}))


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
    # In inference mode, operations would arrive in larger units.
    with torch.inference_mode(False), torch.no_grad(), Calls(recording), recording:
        recording.nodes.append(Node(None, (), {}, shape, dtype))
        node = recording.node(network(recording.tensor(recording.nodes[0])))
    if node is None or len(node.shape) != 4:
        raise Unsupported("the result is not a picture computed from the picture")
    return Graph(needed(recording.nodes, node), node)


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
