"""CycleGAN's own options, which the paper does not have; its published step is compared in test_engine.py."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from i2i_cyclegan import CycleGAN

from i2i.devices import Branches
from i2i.losses import LSGAN
from i2i.networks import PatchDiscriminator, ResnetGenerator


def task(**options: Any) -> CycleGAN:
    torch.manual_seed(0)
    return CycleGAN(
        partial(ResnetGenerator, width=4, blocks=1), partial(PatchDiscriminator, width=4, layers=1), LSGAN, **options
    )


def first_losses(**options: Any) -> dict[str, float]:
    """Return the generators' losses in the first step on one batch."""
    cyclegan = task(**options)
    chance = torch.Generator().manual_seed(1)
    batch = {name: torch.rand(1, 3, 16, 16, generator=chance) * 2 - 1 for name in "AB"}
    torch.manual_seed(2)
    player, parts = next(cyclegan.step(batch))
    assert player == "G"
    return {name: loss.item() for part in parts for name, loss in part().items()}


def test_one_weight_is_for_both_cycles_and_two_are_for_one_each() -> None:
    one, both = first_losses(lambda_cycle=10.0), first_losses(lambda_cycle=(10.0, 10.0))
    assert one == both
    two = first_losses(lambda_cycle=(5.0, 20.0))
    for name, factor in (("cycle_a", 0.5), ("cycle_b", 2), ("identity_a", 0.5), ("identity_b", 2), ("gan_ab", 1)):
        assert two[name] == one[name] * factor


def test_noise_affects_only_the_way_back() -> None:
    quiet, noisy, louder = (first_losses(cycle_noise=noise) for noise in (0.0, 0.1, 0.5))
    assert {name for name in quiet if quiet[name] != noisy[name]} == {"cycle_a", "cycle_b"}
    assert noisy["cycle_a"] != louder["cycle_a"]


def test_without_noise_no_random_numbers_are_drawn() -> None:
    cyclegan = task()
    before = torch.get_rng_state()
    _, parts = next(cyclegan.step({name: torch.zeros(1, 3, 16, 16) for name in "AB"}))
    for part in parts:
        part()
    assert torch.equal(before, torch.get_rng_state())


def test_validation_computes_its_branches_side_by_side() -> None:
    subject = task().eval()
    batch = {name: torch.rand(2, 3, 16, 16) * 2 - 1 for name in "AB"}
    with torch.no_grad():
        a, b = batch["A"], batch["B"]
        expected = {
            "cycle_a": subject.G_ba(subject.G_ab(a)) - a,
            "cycle_b": subject.G_ab(subject.G_ba(b)) - b,
            "identity_a": subject.G_ba(a) - a,
            "identity_b": subject.G_ab(b) - b,
        }
        in_turn = subject.validate(batch)
        subject.branches = Branches(subject, 2)
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            found = [subject.validate(batch) for _ in range(2)]  # the first one finds out whether they may
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)
    for numbers in (in_turn, *found):
        assert numbers == pytest.approx({name: error.abs().mean().item() for name, error in expected.items()})
    assert list(subject.branches.take_turns.values()) == [False]
