"""Optimizers that are our own, next to independent ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from i2i import ConfigError
from i2i.optim import muon
from i2i.optim.muon import orthogonal


def parameters(*shapes: Sequence[int]) -> list[nn.Parameter]:
    made = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(tuple(shape), generator=made)) for shape in shapes]


def give_gradients(params: Sequence[nn.Parameter], step: int) -> None:
    made = torch.Generator().manual_seed(step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=made)


def moved(p: Tensor, before: Tensor) -> Tensor:
    return (p - before).detach().flatten()


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_matrices_move_as_by_pytorchs_muon(shape: tuple[int, int], decay: float) -> None:
    ours, theirs = parameters(shape), parameters(shape)
    start = ours[0].detach().clone()
    optimizers = [
        muon(ours, lr=1e-2, momentum=0.9, weight_decay=decay),
        torch.optim.Muon(theirs, lr=1e-2, momentum=0.9, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
    ]
    for step in range(4):
        for params, optimizer in zip((ours, theirs), optimizers, strict=True):
            give_gradients(params, step)
            optimizer.step()
    a, b = moved(ours[0], start), moved(theirs[0], start)
    assert torch.nn.functional.cosine_similarity(a, b, 0) > 0.999  # PyTorch's iterates in bf16
    assert float(a.norm() / b.norm()) == pytest.approx(1, abs=0.01)


def test_vectors_and_scalars_move_as_by_adam() -> None:
    ours, theirs = parameters((7,), (), (2, 2)), parameters((7,), ())
    optimizers = [
        muon(ours, lr=1e-2, betas=(0.8, 0.95), weight_decay=0.5),
        torch.optim.Adam(theirs, lr=1e-2, betas=(0.8, 0.95)),
    ]
    for step in range(5):
        for params, optimizer in zip((ours, theirs), optimizers, strict=True):
            give_gradients(params, step)
            optimizer.step()
    for a, b in zip(ours, theirs, strict=False):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_muon_is_held_back_by_a_flag_on_the_device() -> None:
    held, plain = parameters((6, 9), (7,)), parameters((6, 9), (7,))
    optimizers = [muon(params, lr=1e-2, weight_decay=0.5) for params in (held, plain)]
    for step in range(4):
        give_gradients(held, step)
        optimizers[0].found_inf = torch.tensor(0.0)  # type: ignore[attr-defined]
        optimizers[0].step()
        before = [p.detach().clone() for p in held]
        for p in held:
            p.grad = torch.full_like(p, float("nan"))
        optimizers[0].found_inf = torch.tensor(1.0)  # type: ignore[attr-defined]
        optimizers[0].step()
        assert all(torch.equal(p, old) for p, old in zip(held, before, strict=True))
        give_gradients(plain, step)
        optimizers[1].step()
    for a, b in zip(held, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_muon_resumes_from_a_state_without_weight_decay() -> None:
    params = parameters((6, 9))
    optimizer = muon(params, lr=1e-2)
    state = optimizer.state_dict()
    del state["param_groups"][0]["weight_decay"]  # as written before there was any
    optimizer.load_state_dict(state)
    give_gradients(params, 0)
    optimizer.step()
    assert optimizer.param_groups[0]["weight_decay"] == 0


def test_muon_without_a_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer muon: no weight has two dimensions or more .* use adam"):
        muon(parameters((7,), ()))


def test_convolutions_count_as_matrices_and_those_of_one_shape_do_not_mix() -> None:
    params = parameters((8, 4, 3, 3), (8, 4, 3, 3), (8, 36), (5,))
    start = [p.detach().clone() for p in params]
    give_gradients(params, 0)
    params[2].grad = params[0].grad.flatten(1).clone()  # type: ignore[union-attr]
    params[3].grad = None
    muon(params, lr=1e-2).step()
    torch.testing.assert_close(moved(params[0], start[0]), moved(params[2], start[2]), atol=1e-6, rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(moved(params[0], start[0]), moved(params[1], start[1]), 0) < 0.5
    assert torch.equal(params[3], start[3])
    assert float(moved(params[0], start[0]).square().mean().sqrt()) == pytest.approx(0.2e-2, rel=0.2)  # as Adam's


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_does_not_matter(form: torch.memory_format) -> None:
    plain, other = parameters((8, 4, 3, 3)), parameters((8, 4, 3, 3))
    other[0].data = other[0].data.contiguous(memory_format=form)
    for params in (plain, other):
        give_gradients(params, 0)
        muon(params, lr=1e-2).step()
    torch.testing.assert_close(plain[0], other[0])


def test_an_orthogonal_matrix_has_singular_values_near_one_and_zero_stays_zero() -> None:
    made = torch.Generator().manual_seed(0)
    for shape in ((2, 10, 30), (2, 30, 10)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=made)))
        assert 0.5 < float(values.min()) < float(values.max()) < 1.3
    assert torch.equal(orthogonal(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))
