"""Shared losses: objectives against their formulas, penalties against known gradients, and the replay pool."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.catalog import Catalog
from i2i.losses import (
    LSGAN,
    WGANGP,
    Hinge,
    Minimax,
    Objective,
    ReplayPool,
    Vanilla,
    gradient_penalty,
    r1_penalty,
    register,
)

REAL, FAKE = [2.0, -0.5, 0.25], [-1.0, 0.75, 3.0]


def as_logits(x: Tensor) -> Tensor:
    """A discriminator that returns its input as logits."""
    return x


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(term: Callable[[float], float], values: list[float]) -> float:
    return sum(map(term, values)) / len(values)


# Objective, generator loss and the two discriminator terms from the papers, default lambda_d.
FORMULAS: list[tuple[Objective, Callable[[float], float], Callable[[float], float], Callable[[float], float], float]]
FORMULAS = [
    (
        Vanilla(),
        lambda d: -math.log(sigmoid(d)),
        lambda d: -math.log(sigmoid(d)),
        lambda d: -math.log(1 - sigmoid(d)),
        0.5,
    ),
    (
        Minimax(),
        lambda d: math.log(1 - sigmoid(d)),
        lambda d: -math.log(sigmoid(d)),
        lambda d: -math.log(1 - sigmoid(d)),
        1.0,
    ),
    (LSGAN(), lambda d: (d - 1) ** 2, lambda d: (d - 1) ** 2, lambda d: d**2, 0.5),
    (Hinge(), lambda d: -d, lambda d: max(0.0, 1 - d), lambda d: max(0.0, 1 + d), 1.0),
    (WGANGP(lambda_gp=0.0), lambda d: -d, lambda d: -d, lambda d: d, 1.0),
]


@pytest.mark.parametrize(
    ("objective", "convince", "on_real", "on_fake", "factor"), FORMULAS, ids=lambda v: type(v).__name__
)
def test_an_objective_matches_its_published_formula(
    objective: Objective, convince: Any, on_real: Any, on_fake: Any, factor: float
) -> None:
    real, fake = torch.tensor(REAL).view(3, 1, 1, 1), torch.tensor(FAKE).view(3, 1, 1, 1)
    assert objective.generator(as_logits, fake).item() == pytest.approx(mean(convince, FAKE), rel=1e-5)
    expected = factor * (mean(on_real, REAL) + mean(on_fake, FAKE))
    assert objective.discriminator(as_logits, real, fake).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("build", [Vanilla, Minimax, LSGAN, Hinge])
def test_lambda_d_scales_only_the_discriminator_loss(build: Any) -> None:
    real, fake = torch.tensor(REAL).view(3, 1, 1, 1), torch.tensor(FAKE).view(3, 1, 1, 1)
    one, three = build(lambda_d=1.0), build(lambda_d=3.0)
    assert three.discriminator(as_logits, real, fake).item() == pytest.approx(
        3 * one.discriminator(as_logits, real, fake).item()
    )
    assert three.generator(as_logits, fake) == one.generator(as_logits, fake)


def slope(objective: Objective, logit: float) -> float:
    fake = torch.full((1, 1, 1, 1), logit, requires_grad=True)
    objective.generator(as_logits, fake).backward()
    assert fake.grad is not None
    return fake.grad.item()


def test_only_the_minimax_gradient_vanishes_when_the_discriminator_is_confident() -> None:
    assert slope(Minimax(), -6.0) == pytest.approx(-sigmoid(-6.0), rel=1e-4)
    assert slope(Vanilla(), -6.0) == pytest.approx(-1 + sigmoid(-6.0), rel=1e-4)
    assert abs(slope(Minimax(), -6.0)) < 0.01 < 0.99 < abs(slope(Vanilla(), -6.0))
    assert slope(Minimax(), 0.0) == pytest.approx(slope(Vanilla(), 0.0))


def test_hinge_has_no_gradient_outside_the_margin() -> None:
    real = torch.tensor([1.5, 0.5]).view(2, 1, 1, 1).requires_grad_()
    Hinge().discriminator(as_logits, real, torch.full((2, 1, 1, 1), -2.0)).backward()
    assert real.grad is not None
    assert real.grad.flatten().tolist() == [0.0, -0.5]


@pytest.mark.parametrize("build", [Vanilla, Minimax, LSGAN, Hinge, WGANGP])
def test_large_logits_give_finite_losses_and_gradients(build: Any) -> None:
    for sign in (-1.0, 1.0):
        fake = torch.full((2, 1, 1, 1), sign * 1e4, requires_grad=True)
        loss = build().generator(as_logits, fake) + build().discriminator(as_logits, -fake, fake)
        loss.backward()
        assert fake.grad is not None
        assert loss.isfinite()
        assert fake.grad.isfinite().all()


@pytest.mark.parametrize("build", [Vanilla, Minimax, LSGAN, Hinge, WGANGP])
def test_scales_count_the_same_whatever_their_size(build: Any) -> None:
    def two_scales(x: Tensor) -> list[Tensor]:
        return [x, 2 * x[..., :1, :1]]

    def small(x: Tensor) -> Tensor:
        return 2 * x[..., :1, :1]

    objective = build()
    fake = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    separate = [objective.generator(D, fake) for D in (as_logits, small)]
    assert objective.generator(two_scales, fake).item() == pytest.approx(sum(separate).item() / 2, rel=1e-5)


@pytest.mark.parametrize("build", [Vanilla, Minimax, LSGAN, Hinge, WGANGP])
def test_a_discriminator_loss_has_no_gradient_in_the_fakes(build: Any) -> None:
    D = nn.Conv2d(1, 1, 1)
    fake = torch.rand(2, 1, 3, 3, requires_grad=True)
    build().discriminator(D, torch.rand(2, 1, 3, 3), fake).backward()
    assert fake.grad is None
    assert D.weight.grad is not None
    assert D.weight.grad.abs().sum() > 0


class Linear(nn.Module):
    """D(x) = <w, x>, whose gradient is w everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        return (self.w * x).sum((1, 2, 3))[:, None]


def test_r1_of_a_linear_discriminator_is_half_gamma_times_its_squared_gradient_norm() -> None:
    D = Linear()
    penalty = r1_penalty(D, torch.rand(5, 3, 4, 4), gamma=6.0)
    penalty.backward()
    assert penalty.item() == pytest.approx(3.0 * D.w.square().sum().item(), rel=1e-5)
    assert D.w.grad is not None
    assert torch.allclose(D.w.grad, 6.0 * D.w, rtol=1e-4)


def test_gradient_penalty_of_a_linear_discriminator_is_the_squared_distance_of_its_gradient_norm_from_1() -> None:
    D = Linear()
    penalty = gradient_penalty(D, torch.rand(5, 3, 4, 4), torch.rand(5, 3, 4, 4))
    penalty.backward()
    norm = D.w.detach().norm()
    assert penalty.item() == pytest.approx((norm.item() - 1) ** 2, rel=1e-5)
    assert D.w.grad is not None
    assert torch.allclose(D.w.grad, 2 * (norm - 1) * D.w / norm, rtol=1e-4)


def test_gradient_penalty_is_taken_at_one_point_between_real_and_fake_per_image() -> None:
    seen: list[Tensor] = []

    def D(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.square().sum((1, 2, 3))

    gradient_penalty(D, torch.zeros(64, 3, 2, 2), torch.ones(64, 3, 2, 2))
    flat = seen[0].flatten(1)
    assert torch.equal(flat.amin(1), flat.amax(1))
    assert 0 <= flat.min() < 0.2 < 0.8 < flat.max() <= 1


def test_gradient_penalty_of_clips_draws_one_number_per_clip() -> None:
    def D(clips: Tensor) -> Tensor:  # of slope 1 everywhere
        return clips.flatten(1).mean(1, keepdim=True) * clips[0].numel() ** 0.5

    for frames in (2, 4):
        real, fake = torch.rand(2, 4, frames, 3, 8, 8)
        assert gradient_penalty(D, real, fake).item() == pytest.approx(0, abs=1e-9)


def test_gradient_penalty_takes_fakes_in_half_precision() -> None:
    D = nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
    real, fake = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4).bfloat16()
    torch.manual_seed(0)
    expected = gradient_penalty(D, real, fake.float())
    torch.manual_seed(0)
    assert torch.equal(gradient_penalty(D, real, fake), expected)


def test_penalties_use_the_mean_logit_over_patches_and_scales() -> None:
    real = torch.rand(2, 1, 4, 4)

    def patches(x: Tensor) -> list[Tensor]:
        return [x, 3 * x]  # mean logit = 2 * mean pixel, so the gradient is 2/16 at each of 16 pixels

    assert r1_penalty(patches, real, gamma=2.0).item() == pytest.approx(16 * (2 / 16) ** 2, rel=1e-5)


def test_penalty_is_finite_where_the_gradient_is_zero() -> None:
    D = nn.Conv2d(1, 1, 1)
    nn.init.zeros_(D.weight)
    gradient_penalty(D, torch.rand(2, 1, 3, 3), torch.rand(2, 1, 3, 3)).backward()
    assert D.weight.grad is not None
    assert D.weight.grad.isfinite().all()


def test_wgan_gp_adds_lambda_gp_times_the_penalty() -> None:
    D, real, fake = Linear(), torch.rand(4, 3, 4, 4), torch.rand(4, 3, 4, 4)
    without = WGANGP(lambda_gp=0.0).discriminator(D, real, fake)
    penalty = gradient_penalty(D, real, fake)
    loss = WGANGP().discriminator(D, real, fake)
    assert loss.item() == pytest.approx((without + 10 * penalty).item(), rel=1e-5)


def numbered(first: int, last: int) -> Tensor:
    """Images [1, 2, 2], each filled with its own number."""
    return torch.arange(float(first), float(last)).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def stream(pool: ReplayPool, first: int, last: int, step: int = 1) -> list[int]:
    out = [pool(numbered(n, min(n + step, last))) for n in range(first, last, step)]
    return [int(image[0, 0, 0]) for batch in out for image in batch]


def test_pool_returns_its_input_until_it_is_full() -> None:
    assert stream(ReplayPool(50), 0, 50) == list(range(50))


def test_full_pool_swaps_half_of_the_images_and_never_repeats_one() -> None:
    out = stream(ReplayPool(50), 0, 2050)
    new = [i for i in range(50, 2050) if out[i] == i]
    assert 900 < len(new) < 1100
    # A returned image is older and has left the pool.
    later = out[50:]
    assert all(value <= i for i, value in enumerate(out))
    assert len(set(later)) == len(later)


def test_pool_output_does_not_depend_on_the_batch_size() -> None:
    one = stream(ReplayPool(7), 0, 60)
    assert stream(ReplayPool(7), 0, 60, step=5) == one
    assert stream(ReplayPool(7), 0, 60, step=9) == one


def test_pool_resumes_exactly_from_its_extra_state() -> None:
    for stop in (0, 3, 40):
        unbroken = ReplayPool(7)
        stream(unbroken, 0, stop)
        resumed = ReplayPool(7, seed=99)
        resumed.load_state_dict(copy.deepcopy(unbroken.state_dict()))
        assert stream(resumed, stop, 200) == stream(unbroken, stop, 200)


def test_pool_state_shares_no_memory_with_the_pool() -> None:
    pool = ReplayPool(2)
    stream(pool, 0, 2)
    state = pool.get_extra_state()
    stream(pool, 2, 50)
    assert state["images"][:, 0, 0, 0].tolist() == [0.0, 1.0]
    assert state["count"] == 2


def test_pool_keeps_no_image_that_is_not_finite() -> None:
    pool = ReplayPool(size=4)
    bad = torch.full((1, 3, 4, 4), float("nan"))
    assert pool(bad).isnan().all()
    assert not pool.stored
    pool(torch.zeros(2, 3, 4, 4))
    pool.stored.append(bad[0])  # as on an accelerator, where looking would make it wait
    assert pool.get_extra_state()["count"] == 2
    assert pool.get_extra_state()["images"].isfinite().all()


def test_pool_has_no_parameters_or_buffers() -> None:
    pool = ReplayPool(2)
    stream(pool, 0, 2)
    assert [*pool.parameters(), *pool.buffers()] == []
    assert not any(isinstance(value, Tensor) for value in pool.state_dict().values())
    assert {type(value) for value in pool.get_extra_state().values()} == {Tensor, int}


def test_pool_neither_uses_nor_advances_the_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = stream(ReplayPool(2), 0, 40)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert stream(ReplayPool(2), 0, 40) == first
    assert stream(ReplayPool(2, seed=1), 0, 40) != first


def test_pool_returns_detached_images_that_later_changes_do_not_affect() -> None:
    images = torch.ones(1, 1, 2, 2, requires_grad=True)
    pool = ReplayPool(1)
    assert not pool(images * 2).requires_grad
    given = torch.full((1, 1, 2, 2), 3.0)
    other = ReplayPool(1)
    other(given)
    given.zero_()
    assert other.stored[0].eq(3).all()


def test_pool_of_size_zero_returns_its_input_detached() -> None:
    images = torch.rand(3, 1, 2, 2, requires_grad=True)
    out = ReplayPool(0)(images)
    assert torch.equal(out, images)
    assert not out.requires_grad


def test_objectives_are_in_the_catalog() -> None:
    catalog = Catalog()
    register(catalog)
    assert catalog.names("loss") == ["hinge", "lsgan", "minimax", "perceptual", "relativistic", "vanilla", "wgan_gp"]
