"""Monitors the training of a GAN, and suggests remedies when it fails.

    D/accuracy     share of (real, generated) pairs in which D gives the real image the higher logit: 0.5 to 1
    D/diversity    mean distance of generated images over that of real ones: near 1, and 0 if all are the same
    D/saturated    share of values in generated images that are black or white
    D/alarm        1 while one of them has been out of range for too long, else 0

They are logged with the losses, but have no gradient.
"""

from __future__ import annotations

import logging
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger("i2i")

DECAY = 0.98  # of the moving averages that are checked
COLLAPSED, CERTAIN, SATURATED = 0.1, 0.99, 0.95
READ_EVERY = 50  # turns
EDGE = 0.99  # a value beyond this, in either direction, is saturated

ADVICE = {
    "diversity": (
        "the generated images are nearly identical (diversity {value:.3f} relative to the data, for {batches} "
        "batches): G has collapsed. Go back to an earlier checkpoint, and try a discriminator with spectral norm, "
        "the objective wgan_gp, lambda_r1, or a lower learning rate for G"
    ),
    "accuracy": (
        "D nearly always tells generated images from real ones (accuracy {value:.3f}, for {batches} batches), so G "
        "gets little signal from it. Try augment, lambda_r1, a lower learning rate for D, fewer d_steps, or a "
        "discriminator with spectral norm"
    ),
    "saturated": (
        "nearly all values of generated images are black or white ({value:.3f} of them, for {batches} batches; fewer "
        "in real ones), where tanh has no gradient: training has diverged. Restart with lower learning rates, or "
        "with spectral norm"
    ),
}


class Watch(nn.Module):
    """Tracks moving averages that indicate collapse and divergence, and warns when they stay out of range.

    Averages and counts are tensors on the device of the images, and are read only at every 50th turn, so that an
    accelerator need not wait; a warning may therefore be up to 50 turns late. They are extra state: part of
    checkpoints, so that a resume continues them, but not of published weights.

    Args:
        after: batches in a row that must be out of range.
        certain: whether an accuracy above 0.99 is wrong; a critic of `wgan_gp` may be as confident as it likes.
        turns: updates of D per batch; each of them is checked.

    Attributes:
        average: the moving averages, in the order of `ADVICE`.
        wrong: for how many turns in a row each of them has been out of range.
        due: the average of each when its warning became due; -1 if none is.

    Source: the fault catalogue of this project, "collapse".
    """

    average: Tensor
    wrong: Tensor
    due: Tensor
    bounds: Tensor

    def __init__(self, after: int = 500, certain: bool = True, turns: int = 1) -> None:
        super().__init__()
        self.after, self.limit = after, after * turns
        self.every = min(READ_EVERY, self.limit)
        self.seen = 0  # turns
        bounds = {"diversity": COLLAPSED, "accuracy": CERTAIN if certain else inf, "saturated": SATURATED}
        for name, value in (
            ("average", torch.zeros(len(ADVICE))),
            ("wrong", torch.zeros(len(ADVICE), dtype=torch.int64)),
            ("due", torch.full((len(ADVICE),), -1.0)),
            ("bounds", torch.tensor([bounds[name] for name in ADVICE])),
        ):
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def forward(
        self, real: Tensor, fake: Tensor, on_real: Tensor, on_fake: Tensor, label: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Check a batch and return the values to log.

        Args:
            real: images [N, C, H, W] in [-1, 1].
            fake: generated images of the same shape and labels.
            on_real: D's logits on `real`, [N, ...].
            on_fake: D's logits on `fake`.
            label: int64 [N]; if given, images are only compared with those of the same label.
        """
        shown = {
            "accuracy": ranked(on_real, on_fake),
            "diversity": diversity(real, fake, label),
            "saturated": saturated(fake),
        }
        return shown | {"alarm": self.judge(shown, saturated(real))}

    def judge(self, shown: dict[str, Tensor], real_saturated: Tensor) -> Tensor:
        """Update the averages with a turn, warn when it is time to, and return 1 if something is wrong, else 0."""
        values = torch.stack([shown[name] for name in ADVICE])
        values = torch.where(values.isfinite(), values, self.average)  # of a step that `train.on_nan` skips
        self.average.copy_(self.average.lerp(values, 1 - DECAY) if self.seen else values)
        diversity, accuracy, saturated = self.average.unbind()
        low, high, most = self.bounds.unbind()
        wrong = torch.stack([diversity < low, accuracy > high, (saturated > most) & (most > real_saturated)])
        self.wrong.copy_((self.wrong + 1) * wrong)
        self.due.copy_(torch.where(self.wrong == self.limit, self.average, self.due))
        self.seen += 1
        if self.seen % self.every == 0:
            self.warn()
        return (self.wrong >= self.limit).any().float()

    def warn(self) -> None:
        """Log the warnings that have become due, each once."""
        for advice, value in zip(ADVICE.values(), self.due.tolist(), strict=True):
            if value >= 0:
                log.warning("gan: %s", advice.format(value=value, batches=self.after))
        self.due.fill_(-1.0)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the averages and the counts."""
        return {"seen": self.seen, "average": self.average, "wrong": self.wrong, "due": self.due}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        if "seen" not in state:  # of an older version: numbers by name, and only of what is checked
            older, state = state, {"seen": len(state["average"]), "due": [-1.0] * len(ADVICE)}
            state |= {key: [older[key].get(name, 0) for name in ADVICE] for key in ("average", "wrong")}
        self.seen = int(state["seen"])
        for name in ("average", "wrong", "due"):
            getattr(self, name).copy_(torch.as_tensor(state[name]))


def ranked(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """Return the share of pairs in which the real image has the higher logit; ties count half.

    Args:
        on_real: logits of real images [N, ...], averaged over all but the first dimension.
        on_fake: logits of generated images [M, ...].
    """
    real, fake = (logits.float().reshape(len(logits), -1).mean(1) for logits in (on_real, on_fake))
    apart = real[:, None] - fake[None]
    return (apart > 0).float().mean() + (apart == 0).float().mean() / 2


def diversity(real: Tensor, fake: Tensor, label: Tensor | None = None) -> Tensor:
    """Return the mean distance between generated images over that between real ones.

    Args:
        real: images [N, C, H, W].
        fake: images [N, C, H, W].
        label: of both, int64 [N]; if given, only images of the same label are compared.
    """
    same = torch.ones(len(real), len(real), device=real.device)
    if label is not None:
        same = (label[:, None] == label[None]).float()
    far = [(torch.cdist(x.flatten(1).float(), x.flatten(1).float()) * same).sum() for x in (fake, real)]
    return torch.where(far[1] > 0, far[0] / far[1].clamp_min(1e-8), 1.0)


def saturated(image: Tensor) -> Tensor:
    """Return the share of values that are nearly -1 or 1, for images in [-1, 1]."""
    return (image.abs() > EDGE).float().mean()
