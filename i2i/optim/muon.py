"""Muon: momentum whose update of each weight matrix is made orthogonal, so that all directions learn at one pace.

    i2i run configs/superres.yaml "optimizer={use: muon, lr: 1.0e-3}"

`torch.optim.Muon` takes parameters of two dimensions only, and multiplies in bf16, which most CPUs do slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..errors import ConfigError
from .optimizers import Beta, NonNegative, Positive

QUINTIC = (3.4445, -4.7750, 2.0315)  # maps singular values in 0..1 to about 0.7..1.2 in ROUNDS rounds
ROUNDS = 5
RMS = 0.2  # of the numbers of an update of rate 1, about as with Adam


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices [N, rows, columns] with the same singular vectors, and singular values of 0.7 to 1.2.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), Newton-Schulz iteration.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for weights of two or more dimensions, which count as matrices [out, everything else]; Adam for others.

    Args:
        params: parameters, in float32.
        lr: learning rate of both. Updates of matrices are scaled to the size of Adam's, so the same rates are usual.
        momentum: of Muon, in Nesterov's form.
        betas: of Adam: decay of the means of the gradient and of its square.
        eps: of Adam: added to the denominator.
        weight_decay: of matrices: times the rate, the part of each weight that a step takes away.

    Raises:
        ConfigError: no parameter has two dimensions or more.

    Source: Jordan et al. (2024); scaled, and with weight decay, as in arXiv:2502.16982.
    """

    _step_supports_amp_scaling = True  # as PyTorch's fused ones: it can be held back on the device
    found_inf: Tensor | None = None

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings)
        if all(p.ndim < 2 for group in self.param_groups for p in group["params"]):
            raise ConfigError(
                "optimizer muon: no weight has two dimensions or more (with train.shard, none has); use adam"
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("weight_decay", 0.0)  # of a checkpoint from before there was any

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient; none if the tensor `found_inf` is 1."""
        for group in self.param_groups:
            moving = [(p, self._finite(p.grad)) for p in group["params"] if p.grad is not None]
            matrices = sorted(((p, grad) for p, grad in moving if p.ndim > 1), key=shape_of)
            for _, alike in groupby(matrices, key=shape_of):  # one product for all of a shape
                self._turn(list(alike), group)
            for p, grad in moving:
                if p.ndim < 2:
                    self._adam(p, grad, group)

    def _finite(self, grad: Tensor) -> Tensor:
        """Return a gradient, or zeros if nothing may move: 0 times infinity would not be 0."""
        return grad if self.found_inf is None else grad.where(self.found_inf == 0, 0.0)

    def _free(self, share: float) -> Any:
        """Return a share of a step, or 0 if nothing may move."""
        return share if self.found_inf is None else share * (1 - self.found_inf)

    def _turn(self, matrices: Sequence[tuple[Parameter, Tensor]], group: dict[str, Any]) -> None:
        """Move matrices of one shape along their orthogonal momentum."""
        updates = []
        for p, grad in matrices:
            state = self.state[p]
            if not state:
                state["mean"] = torch.zeros_like(p)
            state["mean"].lerp_(grad, self._free(1 - group["momentum"]))
            updates.append(grad.lerp(state["mean"], group["momentum"]).flatten(1))
        turned = orthogonal(torch.stack(updates))
        rate = self._free(group["lr"] * RMS * max(turned.shape[1:]) ** 0.5)
        for (p, _), update in zip(matrices, turned, strict=True):
            p.mul_(1 - self._free(group["lr"] * group["weight_decay"]))
            p.sub_(rate * update.reshape(p.shape))

    def _adam(self, p: Parameter, grad: Tensor, group: dict[str, Any]) -> None:
        """Move one parameter as Adam does."""
        state = self.state[p]
        if not state:
            state |= {"number": p.new_zeros(()), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        state["number"] += self._free(1.0)
        moments = []
        for name, power, beta in zip(("mean", "square"), (1, 2), group["betas"], strict=True):
            state[name].lerp_(grad**power, self._free(1 - beta))
            moments.append(state[name] / (1 - beta ** state["number"].clamp(min=1)))
        p.sub_(self._free(group["lr"]) * moments[0] / (moments[1].sqrt() + group["eps"]))


def shape_of(pair: tuple[Parameter, Tensor]) -> tuple[int, ...]:
    """Return the shape of a parameter that comes with its gradient."""
    return tuple(pair[0].shape)


def muon(
    params: Iterable[Parameter],
    lr: Positive = 1e-3,
    momentum: Beta = 0.95,
    betas: tuple[Beta, Beta] = (0.9, 0.99),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Muon for convolutions and matrices, Adam for biases and gains.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); arXiv:2502.16982.
    """
    return Muon(params, lr, momentum, betas, eps, weight_decay)
