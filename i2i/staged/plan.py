"""`Plan`: which feature maps are stored, for how long, and the size of their tiles.

A stage ends where the network needs a whole feature map: at a norm, which needs its mean and variance, or where two
branches leave it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import rules
from .record import Graph, Node
from .rules import aten

CHANNELS = 32  # of a map whose tiles have the side asked for; tiles of other maps have as many values
OF_MEAN = (aten.mean.dim, aten.sum.dim_IntList)
TOTALS: dict[Any, Callable[[Tensor, Tensor], Tensor]] = {
    aten.all.default: torch.logical_and,
    aten.any.default: torch.logical_or,
}


class Plan:
    """Which maps are stored, and for how long.

    Attributes:
        stored: the nodes whose maps are stored.
        counted: the nodes whose mean and variance are needed.
        sources: for each map, the stored maps that it is computed from.
        last: for each stored map, the last node that is computed from it.
        side: for each map, the height and width of its tiles.
    """

    def __init__(self, graph: Graph, tile: int) -> None:
        users: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
        for node in graph.nodes:
            for other in node.inputs:
                users[other].append(node)
        self.stored: set[Node] = set()
        self.counted: set[Node] = set()
        self.sources: dict[Node, set[Node]] = {}
        self.last: dict[Node, Node] = {}
        self.side: dict[Node, int] = {}
        goals = goals_of(graph, users)
        far: dict[Node, bool] = {}  # whether it is computed with a margin from what is stored
        area: dict[Node, dict[Node, float]] = {}
        for node in graph.nodes:
            self.sources[node] = set().union(*(self._of(other) for other in node.inputs))
            for other in self.sources[node]:
                self.last[other] = node
            if not node.is_map:
                self.side[node] = tile
                continue
            inputs = [one for one in node.inputs if one.is_map and one not in self.stored]
            far[node] = node.func is not None and (node.rule not in rules.NEAR or any(far[one] for one in inputs))
            if any(user.rule is rules.normed or of_means(user) for user in users[node] if ends(user, node)):
                self.counted.add(node)
            ended = node in self.counted or any(not user.is_map and user.func not in TOTALS for user in users[node])
            self.side[node] = max(1, int(tile * math.sqrt(CHANNELS / self._values(node, area))))
            if (ended or len(goals[node]) > 1) and (far[node] or len(self.sources[node]) > 1):
                self.stored.add(node)

    def _of(self, node: Node) -> set[Node]:
        return {node} if node in self.stored or node.func is None else self.sources[node]

    def _values(self, node: Node, area: dict[Node, dict[Node, float]]) -> float:
        """Return the most values that a map on the way to this one has, for each pixel of this one."""
        own = float(math.prod(node.shape[:-2]))
        reached = {node: own}
        for one in node.inputs:
            if one.is_map and one not in self.stored:
                reached |= area.get(one, {})
        for one in node.inputs:
            if one.is_map:
                reached[one] = float(math.prod(one.shape[:-2]))
        area[node] = reached
        pixels = math.prod(node.size)
        return max(each * math.prod(one.size) / pixels for one, each in reached.items())


def goals_of(graph: Graph, users: dict[Node, list[Node]]) -> dict[Node, set[Node]]:
    """Return for each node where it leads, without a margin in between: what has a margin, a whole, or the result.

    A node that leads to two of them would be computed twice.
    """
    goals: dict[Node, set[Node]] = {}
    for node in reversed(graph.nodes):
        goals[node] = {node} if node is graph.result else set()
        for user in users[node]:
            goals[node] |= goals[user] if user.rule in rules.NEAR else {user}
    return goals


def of_means(node: Node) -> bool:
    """Return whether a node is a mean or a sum over height and width, for which the means of the map are enough."""
    if node.func not in OF_MEAN:
        return False
    x, dims, *_ = node.args
    return not dims or {-2, -1} <= {dim if dim < 0 else dim - len(x.shape) for dim in dims}


def ends(user: Node, node: Node) -> bool:
    """Return whether a node is what a norm or a mean is computed from, rather than another argument."""
    return bool(user.args) and user.args[0] is node and (user.rule is rules.normed or not user.is_map)
