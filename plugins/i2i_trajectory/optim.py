"""Adam that clips gradients, so that one player can be clipped and the other not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt

Positive = Annotated[float, Gt(0)]
Beta = Annotated[float, Ge(0), Lt(1)]


class ClippedAdam(torch.optim.Adam):
    """Adam, before each step of which the norm of the gradient is limited to `clip`."""

    def __init__(self, params: Iterable[torch.nn.Parameter], clip: float, **options: Any) -> None:
        super().__init__(params, fused=True, **options)
        self.clip = clip

    def step(self, closure: Any = None) -> Any:
        """Clip, then step."""
        torch.nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], self.clip)
        return super().step(closure)


def clipped_adam(
    params: Iterable[torch.nn.Parameter],
    lr: Positive = 1e-3,
    clip: Positive = 1.5,
    betas: tuple[Beta, Beta] = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
) -> torch.optim.Optimizer:
    """Adam with a limit on the norm of a player's gradient, as for Social GAN's generator (arXiv:1803.10892)."""
    return ClippedAdam(params, clip=clip, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
