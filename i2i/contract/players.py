"""Whose parameters are whose, and which optimizer moves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError, PluginError, blame
from ..task import Task
from .places import line_of, name_of


def players_of(task: Task) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters of each player.

    Raises:
        PluginError: a player has none, two players share one, or a parameter that needs a gradient is in no player.
    """
    if "_modules" not in vars(task):
        raise PluginError(f"{name_of(task)}.__init__ must call super().__init__() before it does anything else")
    with blame(task, "players"):
        given = task.players()
    place = f"({line_of(task.players)})"
    if not isinstance(given, Mapping):
        raise PluginError(
            f"{name_of(task)}.players returns a {type(given).__name__}: return a dict of lists of modules, such as "
            f'{{"G": [self.G]}} {place}'
        )
    owner: dict[nn.Parameter, str] = {}
    players: dict[str, list[nn.Parameter]] = {}
    for player, modules in given.items():
        if not isinstance(modules, (list, tuple, nn.ModuleList)) or not all(
            isinstance(m, nn.Module) for m in modules
        ):
            found = (
                [type(m).__name__ for m in modules] if isinstance(modules, (list, tuple)) else type(modules).__name__
            )
            raise PluginError(
                f"player '{player}' of {name_of(task)} must be a list of modules, such as [self.{player}], and is "
                f"{found} {place}"
            )
        players[player] = [p for module in modules for p in module.parameters() if p.requires_grad]
        if not players[player]:
            raise PluginError(f"player '{player}' of {name_of(task)} has nothing to train: list its modules {place}")
        for parameter in players[player]:
            if owner.setdefault(parameter, player) != player:
                raise PluginError(
                    f"players '{owner[parameter]}' and '{player}' of {name_of(task)} train the same weights {place}"
                )
    for key, parameter in task.named_parameters():
        if parameter.requires_grad and parameter not in owner:
            raise PluginError(f"{key} of {name_of(task)} is trained by no player: {remedy(task, key, owner)} {place}")
    return players


def remedy(task: Task, key: str, owner: Mapping[nn.Parameter, str]) -> str:
    """Return what to do about a parameter that no player trains; `owner` holds those that one does."""
    path = key.split(".")[:-1]
    for depth in range(1, len(path) + 1):
        module = ".".join(path[:depth])
        if not any(parameter in owner for parameter in task.get_submodule(module).parameters()):
            return f"add {module} to players(), or call requires_grad_(False)"
    return "move it into a module that players() lists, or call requires_grad_(False)"


def builder_for(player: str, optimizer: Any, players: Mapping[str, Any]) -> Callable[..., torch.optim.Optimizer]:
    """Return the optimizer builder of one player."""
    if not isinstance(optimizer, Mapping):
        return optimizer
    if set(optimizer) != set(players):
        raise ConfigError(f"optimizer: given for {sorted(optimizer)}, but the task has the players {sorted(players)}")
    return optimizer[player]
