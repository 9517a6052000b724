"""The families whose time depends on the data: a VAE on MNIST, reading included, and Social GAN on ETH/UCY.

export I2I_DATA=DIR        # with mnist/mnist.npz and ethucy
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from i2i_trajectory import (
    SmoothedCrossEntropy,
    SocialGANDiscriminator,
    SocialGANGenerator,
    SquaredVariety,
    Trajectories,
    Trajectory,
    clipped_adam,
)
from i2i_vae import VAE
from i2i_vae.networks import DenseDecoder, DenseEncoder
from reference import social_gan as published_social_gan
from reference import vae as published_vae
from torch import Tensor

from i2i.config import Train
from i2i.data.mnist import MNIST
from i2i.data.stream import Numbered, stream
from i2i.engine import Engine
from i2i.optim import adam
from i2i.processes import ProcessGroup

from .checks import Missing, copy, require_close, weights
from .training import Training, copied, seeded

ENDLESS = 10**6  # steps


def located(root: str | None, name: str) -> Path:
    """Return a folder of data: `root`, or the one in $I2I_DATA.

    Raises:
        Missing: there is no such folder.
    """
    if root is not None:
        return Path(root)
    home = os.environ.get("I2I_DATA")
    if not home or not Path(home, name).exists():
        raise Missing(f"there is no folder {name} in $I2I_DATA ({home or 'not set'})")
    return Path(home, name)


def vae(root: str | None = None, batch: int = 128, width: int = 400, steps: int = 47) -> Training:
    """A fully connected VAE on MNIST with the reading of the data; a round is a tenth of an epoch, 47 steps."""
    read = cache(lambda: MNIST(str(located(root, "mnist")), batch_size=batch))
    encoder, decoder = (partial(kind, widths=(width,)) for kind in (DenseEncoder, DenseDecoder))

    def equalise(task: Any, reference: Any) -> None:
        first, last, (one, two) = task.encoder.layers[0], task.encoder.layers[2], (slice(20), slice(20, 40))
        heads = [part[rows] for rows in (one, two) for part in (last.weight, last.bias)]
        copy([*weights([first]), *heads, *weights([task.decoder])], weights(reference.networks()))

    def ours() -> Iterator[dict[str, Tensor]]:
        return (micro_batches[0] for micro_batches in stream(read(), Train(steps=1), 0, ENDLESS, ProcessGroup()))

    def theirs() -> Iterator[dict[str, Tensor]]:
        return published_vae.epochs(read().train.pictures[:, 0], read().train.labels.numpy(), batch)

    return Training(
        published_vae,
        partial(published_vae.VAE, width),
        partial(seeded, lambda: VAE(encoder, decoder), partial(adam, lr=1e-3)),
        equalise,
        ours,
        plain=lambda batch: {"image": (batch["image"] + 1) / 2},
        loaders=(theirs, ours),
        steps=steps,
    )


def social_gan(root: str | None = None) -> Training:
    """Social GAN on zara1: two updates of the discriminator and one of the generator, on 32 scenes each."""

    def task() -> Trajectory:
        kinds = (SocialGANGenerator, SocialGANDiscriminator, SmoothedCrossEntropy, SquaredVariety)
        return Trajectory(*kinds, samples=published_social_gan.SAMPLES, d_steps=2)

    size = 3 * published_social_gan.SCENES
    read = cache(lambda: Trajectories(str(located(root, "ethucy")), "zara1", batch_size=size))

    def batches() -> Iterator[dict[str, Tensor]]:
        samples = Numbered(read(), seed=0)
        for step in range(ENDLESS):
            batch = samples.read([*range(step * size, (step + 1) * size)])
            if isinstance(batch, Exception):
                raise batch
            yield batch

    return Training(
        published_social_gan,
        published_social_gan.SocialGAN,
        partial(
            seeded, task, {"G": partial(clipped_adam, clip=published_social_gan.CLIP), "D": partial(adam, lr=1e-3)}
        ),
        copied("G", "D"),
        batches,
        plain=divided,
        check=same_forecasts,
        note="the two sides draw random numbers in a different order, so predictions are compared, not losses",
    )


def divided(batch: dict[str, Tensor]) -> list[published_social_gan.Batch]:
    """Return the three shares of a batch, with the people of all scenes in one list."""
    shares = []
    for past, future in zip(batch["observed"].chunk(3), batch["future"].chunk(3), strict=True):
        present = past.isfinite().all(-1).all(-1)
        ends = present.sum(1).cumsum(0).tolist()
        scenes = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        paths = (paths[present].transpose(0, 1).contiguous() for paths in (past, future))
        shares.append(published_social_gan.Batch(*paths, scenes))
    return shares


def same_forecasts(engine: Engine, reference: Any, batch: Any, plain: Any) -> dict[str, Any]:
    """Compare the predicted displacements of both sides, and the scores of the true paths; then do a step of each.

    Raises:
        SystemExit: they differ by more than 1e-4.
    """
    task: Any = engine.task
    part = plain[0]
    noise = torch.randn(len(part.scenes), 8, generator=torch.Generator().manual_seed(2))
    scenes = task.flat(batch["observed"].chunk(3)[0])
    with torch.no_grad():
        made = reference.G(part, noise).cumsum(0) + part.past[-1]
        ours = task.G(scenes, noise[:, None])[0].transpose(0, 1)
        moves = [published_social_gan.moves(part.past), published_social_gan.moves(part.future, part.past[-1])]
        scores = reference.D(torch.cat(moves))
        our_scores = task.D(scenes.paths, part.future.transpose(0, 1)[None])[0]
    gaps = [float((a - b).abs().max()) for a, b in ((made, ours), (scores, our_scores))]
    require_close(max(gaps), 1e-4, "the predictions in metres, or the scores,")
    losses, our_losses = reference.step(plain), engine.step([batch]).losses
    if losses.keys() != our_losses.keys():
        sys.exit(f"i2i reports the losses {sorted(our_losses)}, the reference {sorted(losses)}")
    return {"predictions_differ_by": gaps[0], "scores_differ_by": gaps[1]}
