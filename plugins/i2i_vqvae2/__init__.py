"""Images as maps of discrete codes, and priors that sample new maps: VQ-VAE and VQ-VAE-2.

Papers: arXiv:1711.00937 (VQ-VAE), arXiv:1906.00446 (VQ-VAE-2).

i2i run configs/vqvae2.yaml                   # embedded digits, class-conditional, minutes
i2i run configs/real/vqvae_cifar.yaml         # one map of 8x8 codes on CIFAR-10
i2i run configs/paper/vqvae2.yaml             # the published networks, on folders
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import inf
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from i2i import Catalog, ConfigError, DataError, Network, Task, hookimpl
from i2i.checkpoint import Steps
from i2i.data import class_names, class_numbers, number, refuse_other_codes, refuse_other_labels, refuse_other_samples
from i2i.modalities import Image
from i2i.networks import in_parts

from .autoencoder import Autoencoder, Gradient, Quantiser
from .prior import PixelCNN
from .published import adopted

__all__ = ["VQVAE2", "Autoencoder", "PixelCNN", "Quantiser", "register"]

NAMES = {1: ("top",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}
PATIENCE = 2.0  # seconds between progress messages of a long sampling
EPS = 1e-8


class VQVAE2(Task):
    """A quantised autoencoder ("VQ") and, in the same run, a PixelCNN for each of its code maps.

    The priors train on the codes of the current step, without a gradient into the autoencoder. They can start once
    the codes have settled (`prior_from`), and the autoencoder can stop before them (`vq_until`), which gives the two
    stages of the papers.

    Latent space: `encode` returns the quantised vectors of all maps, top first, flattened into one float vector
    [N, D (h w + ...)], and `decode` accepts any such vector. Codes can therefore be mixed, moved and averaged as in a
    VAE; a point between two codes is decoded as it is, not rounded to a code. `codes` returns the code indices, and
    `look_up` the vector for them.

    Args:
        size: height and width of the images, in pixels.
        channels: 3, or 1 for grey.
        levels: number of code maps, 1 to 3, named top (and middle) and bottom.
        width: channels of the autoencoder.
        blocks: residual blocks in each encoder and decoder.
        block_width: channels inside these blocks.
        stride: size / side of the bottom map; each map above is half as large.
        codes: entries of each codebook, K.
        code_width: length of each entry, D.
        decay: of the codebooks' moving averages.
        revive: codes used less than this share of the average are reset; 0 for none.
        gradient: of the quantisation: "straight" (straight-through, 1711.00937) or "rotated" (2410.06424).
        lambda_commitment: weight of the distance from an encoded vector to its code, beta in 1711.00937. It is too
            large if the upper maps collapse (`mse_other_top`).
        per_variance: divide the squared error by the variance of the training data, as sonnet's example does, which
            increases its weight relative to the commitment.
        priors: a network for each level, by name, such as {top: {use: pixelcnn, attention: 2}, bottom: ...};
            null trains the autoencoder alone.
        prior_from: the step at which the priors start training.
        vq_until: the step at which the autoencoder stops; null to train it to the end.
        classes: class names, or how many there are, for class-conditional priors; null for none.

    Raises:
        ConfigError: sizes that do not halve evenly, priors for other levels, or steps without training.

    Source: arXiv:1711.00937 eq. 3 and appendix A.1, arXiv:1906.00446 algorithms 1 and 2.
    """

    ema: ClassVar[tuple[str, ...]] = ("autoencoder", "priors")
    moments: Tensor  # mean and mean square of the training data
    batches: Tensor  # number of batches in the moments

    def __init__(
        self,
        size: PositiveInt,
        channels: Literal[1, 3] = 3,
        levels: Literal[1, 2, 3] = 2,
        width: PositiveInt = 128,
        blocks: NonNegativeInt = 2,
        block_width: PositiveInt = 32,
        stride: Literal[2, 4, 8] = 4,
        codes: PositiveInt = 512,
        code_width: PositiveInt = 64,
        decay: Annotated[float, Ge(0), Lt(1)] = 0.99,
        revive: Annotated[float, Ge(0), Lt(1)] = 0.05,
        gradient: Gradient = "straight",
        lambda_commitment: Annotated[float, Gt(0)] = 0.25,
        per_variance: bool = False,
        priors: dict[str, Network] | None = None,
        prior_from: NonNegativeInt = 0,
        vq_until: PositiveInt | None = None,
        classes: PositiveInt | tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.size, self.channels, self.names, self.code_width = size, channels, NAMES[levels], code_width
        self.makes = Image(channels=channels, size=size)
        self.lambda_commitment, self.per_variance = lambda_commitment, per_variance
        self.prior_from, self.vq_until = prior_from, vq_until
        self.classes = class_names(classes)
        smallest = stride * 2 ** (levels - 1)
        if size % smallest:
            raise ConfigError(
                f"task: size {size} is not divisible by {smallest} (stride {stride}, {levels} levels): use "
                f"{max(size // smallest, 1) * smallest}"
            )
        if priors and set(priors) != set(self.names):
            raise ConfigError(f"task.priors: got {sorted(priors)}, but the levels are {', '.join(self.names)}")
        if vq_until is not None and not priors:
            raise ConfigError("task.vq_until: without priors there is nothing to train after it: set it to null")
        if vq_until is not None and vq_until < prior_from:
            raise ConfigError(f"task: nothing trains from step {vq_until} (vq_until) to {prior_from} (prior_from)")
        self.sides = [size // stride // 2**above for above in reversed(range(levels))]
        self.autoencoder = Autoencoder(
            channels, levels, width, blocks, block_width, stride, codes, code_width, decay, revive, gradient
        )
        self.priors = nn.ModuleDict(
            {name: priors[name](codes, self.sides[level], level, len(self.classes)) for level, name in self._levels()}
            if priors
            else {}
        )
        self.ema = ("autoencoder", "priors") if priors else ("autoencoder",)  # type: ignore[misc]
        self.register_buffer("moments", torch.zeros(2))
        self.register_buffer("batches", torch.zeros(()))
        self.steps = Steps(self, "steps")

    def players(self) -> dict[str, list[nn.Module]]:
        """The autoencoder, and the prior of each level, top first."""
        return {"VQ": [self.autoencoder], **{f"prior_{name}": [prior] for name, prior in self.priors.items()}}

    def check(self, batch: dict[str, Any]) -> None:
        """Raise ConfigError if a label is not one of the classes."""
        refuse_other_labels(batch, "vqvae2", self.classes)

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on `image` [N, C, H, W] in [-1, 1] and, with classes, `label` int64 [N].

        Raises:
            ConfigError: images of another shape, or no labels although there are classes.
        """
        refuse_other_samples(batch, "vqvae2", (self.channels, self.size, self.size), self.classes)
        image, now = batch["image"], int(self.steps)
        if self.vq_until is None or now < self.vq_until:
            # The autoencoder. Its codebooks are updated inside, by moving averages instead of a loss.
            self.over_processes(self._observe, torch.stack([image.mean(), image.square().mean()])[None])
            made, codes, commitment = self.autoencoder(image, self.over_processes)
            scale = 1 / self.variance if self.per_variance else 1.0
            losses = {"mse": scale * mse_loss(made, image), "commitment": self.lambda_commitment * commitment}
            yield "VQ", losses | self._shown()  # 1711.00937 eq. 3
        else:
            with torch.no_grad():
                codes, *_ = self.autoencoder.quantise(image)

        # The priors: each code given those before it, the maps above and the class (1906.00446, algorithm 2).
        if now >= self.prior_from:
            for level, name, logits in self._predicted(codes, batch):
                yield f"prior_{name}", {"nll": cross_entropy(logits, codes[level])}
        self.steps.number = now + 1  # not += 1: micro-batches in lockstep are one step

    def encode(self, image: Tensor) -> Tensor:
        """Return the quantised vectors of images [N, C, size, size]: all maps concatenated, [N, Z]."""
        return flat(self.autoencoder.look_up(self.codes(image)))

    def decode(self, z: Tensor) -> Tensor:
        """Return the images [N, C, size, size] in [-1, 1] of vectors [N, Z], which need not be codes."""
        sizes = [self.code_width * side**2 for side in self.sides]
        refuse_other_codes(z, sum(sizes))
        sides = zip(z.split(sizes, 1), self.sides, strict=True)
        maps = [one.unflatten(1, (-1, side, side)) for one, side in sides]
        return in_parts(lambda *part: self.autoencoder.decode(part), *maps).clamp(-1, 1)

    def prior(self, n: int, label: Any = None, temperature: Any = 1.0) -> Tensor:
        """Return the vectors [n, Z] of codes sampled from the priors; arguments as in `sample`."""
        return self.look_up(self.draw(n, label, temperature))

    def sample(self, n: int, label: Any = None, temperature: Any = 1.0) -> Tensor:
        """Return `n` new images [n, C, size, size] in [-1, 1].

        Args:
            n: how many.
            label: a class by number or name, or a list of n of them; null draws all classes equally often.
            temperature: above 0; below 1 prefers likely codes, for cleaner but less varied images.

        Raises:
            ConfigError: no such class, an invalid temperature, or a run without priors.
        """
        return self.decode(self.prior(n, label, temperature))

    def codes(self, image: Tensor) -> list[Tensor]:
        """Return the code indices of images [N, C, size, size], top first: int64 [N, side, side] each."""
        if image.shape[1:] != (self.channels, self.size, self.size):
            raise DataError(
                f"images of shape {tuple(image.shape[1:])} do not fit this model, which was trained on "
                f"{(self.channels, self.size, self.size)}: resize them"
            )
        return self.autoencoder.quantise(image)[0]

    def look_up(self, codes: Sequence[Tensor]) -> Tensor:
        """Return the vectors [N, Z] of code indices as returned by `codes`."""
        return flat(self.autoencoder.look_up(codes))

    def draw(self, n: int, label: Any = None, temperature: Any = 1.0) -> list[Tensor]:
        """Sample `n` code maps per level from the priors, int64 [n, side, side]; see `sample`.

        Prints progress to stderr if it takes long.
        """
        if not self.priors:
            raise ConfigError(
                "this run trained no priors, so it cannot sample: give task.priors, such as {top: {use: pixelcnn}}"
            )
        labels = class_numbers(self.classes, n, label, self.moments.device)
        rule = "a number above 0: 1 samples as learned, 0.5 prefers likely codes"
        degree = number("temperature", temperature, rule, lambda t: 0 < t < inf)
        codes: list[Tensor] = []
        for level, name in self._levels():
            rows = partial(with_progress, f"sampling the {name} codes ({level + 1} of {len(self.names)})")
            codes.append(self.priors[name].sample(n, codes[:level], labels, degree, rows))  # type: ignore[operator]
        return codes

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return how well images are reconstructed and codes are predicted.

        Returns:
            mse, and mse_over_variance with the variance of the training data (all pixels and channels together);
            with several levels mse_other_top, decoded with the top map of another image: if it is hardly larger than
            mse, the top map carries no information, whatever its perplexity;
            for each level the perplexity of its code usage in training; with priors, nll in nats per code, and
            unigram, that of a prior that knows only the code frequencies.
        """
        image = batch["image"]
        made, codes, _ = self.autoencoder(image)
        mse = mse_loss(made, image)
        found = {"mse": mse, "mse_over_variance": mse / self.variance, **self._shown()}
        if len(self.names) > 1:
            other = self.autoencoder.look_up([codes[0].roll(1, 0), *codes[1:]])
            found["mse_other_top"] = mse_loss(self.autoencoder.decode(other), image)
        for level, name, logits in self._predicted(codes, batch):
            found[f"nll_{name}"] = cross_entropy(logits, codes[level])
            found[f"unigram_{name}"] = -self.autoencoder.books[level].usage().log()[codes[level]].mean()
        return {key: value.item() for key, value in found.items()}

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The input, its reconstruction and, with priors, new samples: the columns of `samples/`."""
        image = batch["image"]
        shown = {"given": image, "again": self.decode(self.encode(image))}
        label = {"label": batch["label"].tolist()} if self.classes else {}
        return shown | ({"new": self.sample(len(image), **label)} if self.priors else {})

    @property
    def variance(self) -> Tensor:
        """The variance of the training data seen so far, over all pixels and channels together: a scalar."""
        return (self.moments[1] - self.moments[0].square()).clamp_min(EPS)

    def _levels(self) -> list[tuple[int, str]]:
        return list(enumerate(self.names))

    def _shown(self) -> dict[str, Tensor]:
        """Return the perplexity of each level, without a gradient: it is only logged with the losses."""
        books = zip(self.names, self.autoencoder.books, strict=True)
        return {f"perplexity_{name}": book.perplexity() for name, book in books}

    def _predicted(self, codes: Sequence[Tensor], batch: dict[str, Any]) -> Iterator[tuple[int, str, Tensor]]:
        """Yield level, name and logits [N, K, side, side] of each prior."""
        label = batch["label"] if self.classes and self.priors else None
        for level, name in self._levels() if self.priors else ():
            yield level, name, self.priors[name](codes[level], codes[:level], label)

    def _observe(self, moments: Tensor) -> Tensor:
        """Update the moments of all batches so far with those of a batch [processes, 2]."""
        self.batches += 1
        self.moments += (moments.mean(0) - self.moments) / self.batches
        return moments


def flat(maps: Sequence[Tensor]) -> Tensor:
    """Flatten and concatenate maps [N, D, h, w]: [N, Z]."""
    return torch.cat([one.flatten(1) for one in maps], 1)


def with_progress(what: str, rows: range) -> Iterator[int]:
    """Yield the rows, and print progress to stderr every two seconds."""
    live, said, spoke = sys.stderr.isatty(), time.monotonic(), False
    for row in rows:
        if time.monotonic() - said > PATIENCE:
            text, said, spoke = f"{what}: row {row + 1}/{len(rows)}", time.monotonic(), True
            print(f"\r\033[K{text}" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)
        yield row
    if spoke and live:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `vqvae2` and the network `pixelcnn`."""
    catalog.task("vqvae2", VQVAE2)
    catalog.network("pixelcnn", PixelCNN)


@hookimpl
def adopt_weights(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise the first stage of rosinality/vq-vae-2-pytorch."""
    return adopted(tensors)
