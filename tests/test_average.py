"""Averaged weights: the formula, and batch norm statistics of their own."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from i2i.networks.average import EVERY, Average, detached


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))


def images(step: int) -> Tensor:
    return torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(step)) + 2


def trained(steps: int, decay: float = 0.995) -> tuple[nn.Sequential, Average]:
    """Return a network whose first weights vary widely around 1, and its average, where they hardly vary."""
    net = network()
    average = Average(net, decay)
    for step in range(steps):
        net.train()(images(step))
        with torch.no_grad():
            net[0].weight.normal_(1, 2, generator=torch.Generator().manual_seed(step))
        average.update(net)
    return net, average


def test_the_average_starts_as_a_copy_and_decays() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = Average(net, 0.75)
    for value in (1.0, 3.0, 5.0):
        nn.init.constant_(net.weight, value)
        average.update(net)
    assert average.module.weight.item() == 0.75 * (0.75 * 1 + 0.25 * 3) + 0.25 * 5


def test_integers_are_copied_and_not_averaged() -> None:
    net = nn.Linear(1, 1)
    net.register_buffer("steps", torch.tensor(0))
    average = Average(net, 0.99)
    for _ in range(5):
        net.steps += 7
        average.update(net)
        assert average.module.steps == net.steps


def test_batch_norm_statistics_match_the_averaged_weights() -> None:
    net, average = trained(300 * EVERY)
    with torch.no_grad():
        output = average.module.eval()(images(10_000))
    assert output.mean((0, 2, 3)).abs().max() < 0.2
    assert (output.std((0, 2, 3)) - 1).abs().max() < 0.2

    # The network's own statistics belong to weights that vary far more: with them, contrast is lost.
    borrowed = copy.deepcopy(average.module)
    borrowed[1].load_state_dict(net[1].state_dict())
    with torch.no_grad():
        assert borrowed.eval()(images(10_000)).std((0, 2, 3)).min() < 0.5


def test_only_batch_norm_is_in_training_mode_while_statistics_are_collected() -> None:
    modes = []
    net = network()
    average = Average(net, 0.9)
    norm, dropout = average.module[1], average.module[2]
    dropout.register_forward_hook(lambda *_: modes.append((dropout.training, norm.training)))
    for _ in range(EVERY):
        net.train()(images(0))
        average.update(net)
    assert modes == [(False, True)]
    assert not any(layer.training for layer in average.module.modules())


def test_inputs_in_eval_mode_do_not_count() -> None:
    net = network()
    average = Average(net, 0.9)
    before = {name: value.clone() for name, value in average.module[1].state_dict().items()}
    for _ in range(2 * EVERY):
        net.eval()(images(0))
        average.update(net)
    for name, value in average.module[1].state_dict().items():
        assert torch.equal(value, before[name])


def test_the_average_of_a_network_without_batch_norm_is_not_run() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.InstanceNorm2d(4))
    average = Average(net, 0.9)
    average.module.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(AssertionError("was run")))
    for step in range(2 * EVERY):
        net.train()(images(step))
        average.update(net)
    assert average.inputs is None


def test_detached_removes_gradients_from_nested_tensors() -> None:
    x = torch.ones(2, requires_grad=True) * 2
    result = detached((x, [x], {"z": x, "label": None}, "a"))
    assert not any(t.requires_grad for t in (result[0], result[1][0], result[2]["z"]))
    assert result[2]["label"] is None
    assert result[3] == "a"
