"""Averaged weights: the formula, and batch norm statistics that belong to them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from i2i.average import EVERY, Average, detached


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))


def pictures(step: int) -> Tensor:
    return torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(step)) + 2


def moved(steps: int, decay: float = 0.995) -> tuple[nn.Sequential, Average]:
    """Return a network whose first weights vary wildly around 1, and its average, in which they hardly vary."""
    one = network()
    average = Average(one, decay)
    for step in range(steps):
        one.train()(pictures(step))
        with torch.no_grad():
            one[0].weight.normal_(1, 2, generator=torch.Generator().manual_seed(step))
        average.update(one)
    return one, average


def test_the_average_keeps_its_share_of_the_old_and_starts_as_a_copy() -> None:
    one = nn.Linear(1, 1, bias=False)
    average = Average(one, 0.75)
    for value in (1.0, 3.0, 5.0):
        nn.init.constant_(one.weight, value)
        average.update(one)
    assert average.module.weight.item() == 0.75 * (0.75 * 1 + 0.25 * 3) + 0.25 * 5


def test_batch_norm_is_that_of_the_averaged_weights() -> None:
    one, average = moved(300 * EVERY)
    with torch.no_grad():
        given = average.module.eval()(pictures(10_000))
    assert given.mean((0, 2, 3)).abs().max() < 0.2
    assert (given.std((0, 2, 3)) - 1).abs().max() < 0.2

    # The statistics of the network itself belong to weights that vary far more: with them contrast is lost.
    borrowed = copy.deepcopy(average.module)
    borrowed[1].load_state_dict(one[1].state_dict())
    with torch.no_grad():
        assert borrowed.eval()(pictures(10_000)).std((0, 2, 3)).min() < 0.5


def test_only_batch_norm_is_in_training_while_the_average_looks() -> None:
    modes = []
    one = network()
    average = Average(one, 0.9)
    norm, dropout = average.module[1], average.module[2]
    dropout.register_forward_hook(lambda *_: modes.append((dropout.training, norm.training)))
    for _ in range(EVERY):
        one.train()(pictures(0))
        average.update(one)
    assert modes == [(False, True)]
    assert not any(layer.training for layer in average.module.modules())


def test_what_was_seen_outside_training_does_not_count() -> None:
    one = network()
    average = Average(one, 0.9)
    before = {name: value.clone() for name, value in average.module[1].state_dict().items()}
    for _ in range(2 * EVERY):
        one.eval()(pictures(0))
        average.update(one)
    for name, value in average.module[1].state_dict().items():
        assert torch.equal(value, before[name])


def test_a_network_without_batch_norm_is_not_run_again() -> None:
    one = nn.Sequential(nn.Conv2d(1, 4, 1), nn.InstanceNorm2d(4))
    average = Average(one, 0.9)
    average.module.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(AssertionError("was run")))
    for step in range(2 * EVERY):
        one.train()(pictures(step))
        average.update(one)
    assert average.inputs is None


def test_gradients_do_not_reach_what_is_kept() -> None:
    x = torch.ones(2, requires_grad=True) * 2
    kept = detached((x, [x], {"z": x, "label": None}, "a"))
    assert not any(t.requires_grad for t in (kept[0], kept[1][0], kept[2]["z"]))
    assert kept[2]["label"] is None
    assert kept[3] == "a"
