"""Watches a GAN while it trains, and says what to try when it goes wrong.

    D/accuracy     share of pairs of a real and a made picture of which D finds the real one more real: 0.5 to 1
    D/diversity    mean distance of two made pictures over that of two real ones: near 1, and 0 when all are one
    D/saturated    share of the values of made pictures that are black or white
    D/alarm        1 as long as one of them has been wrong for too long, else 0

These stand among the losses in the log, without a gradient.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger("i2i")

DECAY = 0.98  # of the moving averages that are judged
COLLAPSED, CERTAIN, SATURATED = 0.1, 0.99, 0.95
EDGE = 0.99  # a value beyond this, in either direction, is saturated

ADVICE = {
    "diversity": (
        "the made pictures are nearly one and the same (diversity {value:.3f} of that of the data, for {batches} "
        "batches): G has collapsed. Go back to an earlier checkpoint, and try a discriminator with spectral norm, "
        "the objective wgan_gp, lambda_r1, or a lower learning rate of G"
    ),
    "accuracy": (
        "D tells made pictures from real ones nearly always (accuracy {value:.3f}, for {batches} batches), so G has "
        "little to learn from it. Try augment, lambda_r1, a lower learning rate of D, fewer d_steps, or a "
        "discriminator with spectral norm"
    ),
    "saturated": (
        "nearly all values of made pictures are black or white ({value:.3f} of them, for {batches} batches; of real "
        "ones fewer are), where tanh lets no gradient through: training has diverged. Start again with lower "
        "learning rates, or with spectral norm"
    ),
}


class Watch(nn.Module):
    """Keeps moving averages of what tells of collapse and divergence, and warns when they are wrong for long.

    What it knows is extra state: a resume goes on with it, and published weights do not carry it.

    Args:
        after: batches in a row for which something must be wrong.
        certain: whether an accuracy above 0.99 is wrong; a critic of `wgan_gp` may be as sure as it can.
        turns: of D in a batch; it looks at each of them.

    Source: the fault catalogue of this project, "collapse".
    """

    def __init__(self, after: int = 500, certain: bool = True, turns: int = 1) -> None:
        super().__init__()
        self.after, self.limit = after, after * turns
        self.names = [name for name in ADVICE if certain or name != "accuracy"]
        self.average: dict[str, float] = {}
        self.wrong = dict.fromkeys(self.names, 0)  # turns in a row

    @torch.no_grad()
    def forward(
        self, real: Tensor, fake: Tensor, on_real: Tensor, on_fake: Tensor, label: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Look at a batch and return what is logged of it.

        Args:
            real: images [N, C, H, W] in [-1, 1].
            fake: images alike; of the same labels.
            on_real: D's logits of `real`, [N, ...].
            on_fake: and of `fake`.
            label: int64 [N]; where given, pictures are compared with those of their own label only.
        """
        shown = {
            "accuracy": ranked(on_real, on_fake),
            "diversity": diversity(real, fake, label),
            "saturated": saturated(fake),
        }
        alarmed = self.judge({name: value.item() for name, value in shown.items()}, saturated(real).item())
        return shown | {"alarm": torch.tensor(float(alarmed), device=real.device)}

    def judge(self, shown: dict[str, float], real_saturated: float) -> bool:
        """Take the numbers of a batch in, warn once when it is time, and say whether something is wrong."""
        for name, value in shown.items():
            self.average[name] = DECAY * self.average.get(name, value) + (1 - DECAY) * value
        now = self.average
        wrong = {
            "diversity": now["diversity"] < COLLAPSED,
            "accuracy": now["accuracy"] > CERTAIN,
            "saturated": now["saturated"] > SATURATED > real_saturated,
        }
        for name in self.names:
            self.wrong[name] = self.wrong[name] + 1 if wrong[name] else 0
            if self.wrong[name] == self.limit:
                log.warning("gan: %s", ADVICE[name].format(value=now[name], batches=self.after))
        return any(turns >= self.limit for turns in self.wrong.values())

    def get_extra_state(self) -> dict[str, Any]:
        """Return the averages and the counts."""
        return {"average": dict(self.average), "wrong": dict(self.wrong)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_extra_state` returned."""
        self.average = {name: float(value) for name, value in state["average"].items()}
        self.wrong = {name: int(value) for name, value in state["wrong"].items()}


def ranked(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """Return the share of pairs in which the real picture has the higher logit; half of the ties count.

    Args:
        on_real: logits of real pictures [N, ...]; the mean over all but the first dimension is a picture's.
        on_fake: of made ones [M, ...].
    """
    real, fake = (logits.float().reshape(len(logits), -1).mean(1) for logits in (on_real, on_fake))
    apart = real[:, None] - fake[None]
    return (apart > 0).float().mean() + (apart == 0).float().mean() / 2


def diversity(real: Tensor, fake: Tensor, label: Tensor | None = None) -> Tensor:
    """Return the mean distance between two made pictures over that between two real ones.

    Args:
        real: images [N, C, H, W].
        fake: images [N, C, H, W].
        label: of both, int64 [N]; where given, only pictures of one label are compared.
    """
    same = torch.ones(len(real), len(real), device=real.device)
    if label is not None:
        same = (label[:, None] == label[None]).float()
    far = [(torch.cdist(x.flatten(1).float(), x.flatten(1).float()) * same).sum() for x in (fake, real)]
    return far[0] / far[1].clamp_min(1e-8) if far[1] > 0 else torch.ones_like(far[1])


def saturated(image: Tensor) -> Tensor:
    """Return the share of values of images in [-1, 1] that are nearly -1 or 1."""
    return (image.abs() > EDGE).float().mean()
