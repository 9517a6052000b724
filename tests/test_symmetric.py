"""Convolutions, and a SPAN of them, that commute with quarter turns and flips."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i import ConfigError, checkpoint
from i2i.networks.span import SPAN
from i2i.networks.symmetric import ELEMENTS, TABLE, SymmetricConv, averaged, turned
from i2i.optim import adam, muon

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def network(**options: Any) -> SPAN:
    torch.manual_seed(0)
    return SPAN(**{"scale": 4, "width": 16, "blocks": 2, "shift": 0.5, "base": True, "symmetric": True, **options})


@torch.no_grad()
def gap(module: nn.Module) -> float:
    """Return the largest difference between the result of a turned picture and the turned result."""
    x = torch.rand(2, 3, 10, 12, generator=torch.Generator().manual_seed(1))
    made = module(x)
    return max(
        float((module(turned(x, number, (2, 3))) - turned(made, number, (2, 3))).abs().max())
        for number in range(len(ELEMENTS))
    )


def trained(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for step in range(5):
        x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("optimizer", [adam, muon])
@pytest.mark.parametrize("shape", [{"scale": 1, "unshuffle": 2}, {"scale": 2}, {"scale": 3}, {"scale": 4}])
def test_a_turned_picture_gives_the_turned_result_before_and_after_training(
    shape: dict[str, int], optimizer: Optimizer
) -> None:
    module = network(**shape)
    before = [p.detach().clone() for p in module.parameters()]
    assert gap(module) < 1e-5
    trained(module, optimizer(module.parameters()))
    assert gap(module) < 1e-5
    assert all((p - old).abs().max() > 0 for p, old in zip(module.parameters(), before, strict=True))
    assert gap(network(**shape, symmetric=False)) > 1e-3


@pytest.mark.parametrize("optimizer", [adam, muon])
def test_the_trained_weights_fit_an_ordinary_span(optimizer: Optimizer, tmp_path: Path) -> None:
    module, ordinary = network(), network(symmetric=False)
    trained(module, optimizer(module.parameters()))
    ordinary.load_state_dict(module.state_dict())
    x = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        torch.testing.assert_close(ordinary(x), module(x), atol=1e-5, rtol=0)
    checkpoint.save(tmp_path, 1, {"m": module.state_dict()}, keep=1)  # the indices are not saved
    assert set(module.state_dict()) == set(ordinary.state_dict())


def test_weights_that_are_not_symmetric_are_averaged() -> None:
    module = network()
    module.load_state_dict(network(symmetric=False).state_dict())
    assert gap(module) < 1e-5


def test_an_eighth_of_the_weights_is_free() -> None:
    layer = SymmetricConv(16, 24)
    assert layer.weight_orbits.shape == (layer.weight.numel() // 8, 8)
    assert layer.bias_orbits.shape == (3, 8)
    assert len(layer.weight.detach().unique()) == layer.weight.numel() // 8
    squares = SymmetricConv(16, 48, makes="squares").bias_orbits
    assert squares.shape == (9, 8)  # corners, edges and middle of 4 x 4 pixels, in each colour
    spread = SymmetricConv(64, 64).weight.detach().std() / nn.Conv2d(64, 64, 3).weight.detach().std()
    assert float(spread) == pytest.approx(1, abs=0.05)


def test_the_gradient_is_that_of_the_average() -> None:
    layer = SymmetricConv(8, 8)
    index = layer.weight_orbits, layer.weight_member
    chosen = torch.rand(layer.weight.shape)
    with torch.no_grad():
        layer.weight.add_(torch.rand_like(layer.weight))
    (averaged(layer.weight, *index) * chosen).sum().backward()
    values = layer.weight.detach().clone().requires_grad_()
    (values.flatten()[index[0]].mean(1)[index[1]] * chosen).sum().backward()
    torch.testing.assert_close(layer.weight.grad, values.grad)


def test_the_elements_are_a_group() -> None:
    x = torch.rand(5, 5)
    for g in range(len(ELEMENTS)):
        assert sorted(TABLE[g].tolist()) == list(range(len(ELEMENTS)))
        for h in range(len(ELEMENTS)):
            twice: Tensor = turned(turned(x, h, (0, 1)), g, (0, 1))
            assert torch.equal(turned(x, int(TABLE[g, h]), (0, 1)), twice)


def test_what_is_not_possible_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"span: `symmetric` and `branches` exclude each other: choose one"):
        network(branches=True)
    with pytest.raises(ConfigError, match="span: with `symmetric`, width must be a multiple of 8, not 12"):
        network(width=12)
