"""The training loop of the small classifiers that judge generated pictures; each is trained once per process."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def taught(
    judge: nn.Module,
    loss: Callable[[Tensor], Tensor],
    pictures: int,
    optimizer: torch.optim.Optimizer,
    steps: int,
    batch: int,
) -> nn.Module:
    """Train a classifier with a one-cycle schedule (arXiv:1708.07120), and return it frozen, in eval mode.

    Args:
        judge: the classifier.
        loss: from the numbers [batch] of some pictures to their loss, a scalar.
        pictures: how many there are.
        optimizer: of the classifier's parameters; the learning rate rises to 4e-3.
        steps: training steps.
        batch: pictures per step.
    """
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        found = loss(torch.randint(pictures, (batch,)))
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        schedule.step()
    return judge.eval().requires_grad_(False)
