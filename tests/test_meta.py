"""Every shipped config rehearses on the meta device, which has no values and stands for any accelerator.

A tensor that is created on another device than the networks, or a value that is read on the host, fails here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from test_configs import CONFIGS, ROOT, small
from torch import Tensor
from torch.utils.data import default_collate

from i2i import ConfigError, Data, Task, config
from i2i.contract import backward, players_of, turns_of
from i2i.data.stream import Numbered
from i2i.devices import move
from i2i.plugins import registry

META = torch.device("meta")
OFFERED = {  # what the configs of a task can be asked for after training
    "predict translate": (
        *("colorful", "colorization", "cyclegan", "pix2pix", "relief", "superres", "trajectory", "video_prediction"),
    ),
    "predict translate encode": ("spade",),
    "predict translate sample decode": ("text2image",),
    "sample decode": ("gan", "videogan"),
    "sample encode decode": ("vae", "vqvae2"),
    "": ("text_matching",),
}
UNLESS_LEFT_OUT = {("spade", "encode"), ("vqvae2", "sample")}  # need an encoder, or priors
_batches: dict[str, list[dict[str, Any]]] = {}  # by the `data` of the config, which many share


def batches(data: Data) -> list[dict[str, Any]]:
    """Return a training batch of a data set, and a validation batch of one sample, whose entries may be others."""
    batch = Numbered(data, seed=0).read([*range(data.batch_size)])
    assert isinstance(batch, dict)
    held_out = data.validation()
    return [batch, default_collate([held_out[0]]) if len(held_out) else batch]


def rehearsed(path: Path, tmp_path: Path) -> tuple[str, Task, list[dict[str, Any]]]:
    """Return the name and the task of a config at toy size on meta, and its batches, as an engine hands them over."""
    catalog = registry().catalog
    priors = config.load(path, [], catalog).tree["task"].get("priors") or {}  # they sample code by code
    shallow = [f"task.priors.{level}.{key}" for level in priors for key in ("layers=2", "attention=1")]
    chosen = config.load(path, [*small(path, tmp_path), *shallow], catalog)
    key = json.dumps(chosen.tree["data"], default=str).replace(str(tmp_path), "")
    if key not in _batches:
        _batches[key] = batches(chosen.data())
    task = chosen.task()
    for batch in _batches[key]:
        task.check(batch)
    return chosen.tree["task"]["use"], task.to(META), [move(batch, META, task.on_host) for batch in _batches[key]]


def calls_of(task: Task, train: dict[str, Any], held_out: dict[str, Any]) -> dict[str, Callable[[], Tensor]]:
    """Return the calls of a trained task by name, those alone that its class offers."""
    given = held_out if task.source in held_out else train
    image = next((value for value in train.values() if value.is_floating_point() and value.ndim == 4), None)
    encodes = type(task).encode is not Task.encode  # else codes are drawn
    needed = {"text": "a red circle"} if "text" in task.conditions else {}
    calls = {
        "predict": (Task.translate, partial(task.predict, given)),
        "translate": (Task.translate, lambda: task.translate(given[task.source])),
        "sample": (Task.sample, partial(task.sample, 2, **needed)),
        "encode": (Task.encode, partial(task.encode, image)),
        "decode": (Task.decode, lambda: task.decode(task.encode(image) if encodes else task.prior(2, **needed))),
    }
    return {name: call for name, (base, call) in calls.items() if getattr(type(task), base.__name__) is not base}


def device_of(call: Callable[[], Tensor]) -> torch.device | None:
    """Return the device of what a call makes; None if the task, as it is configured, lacks a part that it needs."""
    try:
        return call().device
    except ConfigError:
        return None


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_rehearses_without_values(path: Path, tmp_path: Path) -> None:
    name, task, (train, held_out) = rehearsed(path, tmp_path)
    players = players_of(task)
    task.train()
    for _ in range(2):  # the second step may be of another stage
        for player, losses, _ in turns_of(task, train, players):
            assert {loss.device for loss in losses.values()} == {META}
            backward(task, player, losses, players[player], torch.ones((), device="meta"))
            assert all(p.grad is None or p.grad.device == META for p in players[player])
    task.eval()
    with torch.no_grad():
        devices = {call: device_of(make) for call, make in calls_of(task, train, held_out).items()}
    assert list(devices) == next(offered.split() for offered, names in OFFERED.items() if name in names)
    left_out = {(name, call) for call, device in devices.items() if device is None}
    assert left_out <= UNLESS_LEFT_OUT
    assert set(devices.values()) <= {META, None}
