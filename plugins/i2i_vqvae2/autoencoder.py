"""The quantised autoencoder: convolutions, one to three levels of codes, codebooks updated by moving averages.

Papers: VQ-VAE arXiv:1711.00937 (3, and appendix A.1 for the moving averages), VQ-VAE-2 arXiv:1906.00446 (3.1).
Run by: `i2i run configs/vqvae2.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log2
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from i2i.devices import full_precision

Over = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]  # `Task.over_processes`
Gradient = Literal["straight", "rotated"]

EPS = 1e-5  # smooths the counts, so that an unused code has a finite mean


class Quantiser(nn.Module):
    """A codebook: replaces each vector by the nearest of `codes` entries, which follow their vectors.

    Nothing here is trained by gradients. Each code is the moving average of the vectors assigned to it; it starts as
    a vector of the first batch, and is reset to one of the current batch when it is hardly used any more (dead). All
    state is in buffers and the same in all processes: counts and sums are added up before the codebook is updated.

    Args:
        codes: entries of the codebook, K.
        width: length of each entry, D.
        decay: of the moving averages, per batch.
        revive: a code is dead if it is used less than this share of the average; 0 revives none.

    Source: arXiv:1711.00937, eq. 6 to 8; the smoothing is that of sonnet's `VectorQuantizerEMA`; initialisation
    from data and revival are not in the papers.
    """

    codebook: Tensor  # [K, D]
    counts: Tensor  # [K], moving averages of how often each code is used per batch
    sums: Tensor  # [K, D], moving averages of the sums of its vectors
    started: Tensor

    def __init__(self, codes: int, width: int, decay: float = 0.99, revive: float = 0.05) -> None:
        super().__init__()
        self.decay, self.revive = decay, revive
        self.register_buffer("codebook", torch.randn(codes, width))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, width))
        self.register_buffer("started", torch.zeros(()))
        self.begun = False  # `started` as a Python number, which an accelerator need not be asked for

    def forward(self, x: Tensor, over: Over | None = None) -> tuple[Tensor, Tensor]:
        """Quantise.

        Args:
            x: vectors [N, D, H, W].
            over: `Task.over_processes` while training; the codebook is then updated after quantising this batch.

        Returns:
            Codes int64 [N, H, W], and quantised x [N, D, H, W], without a gradient.
        """
        vectors = x.detach().float().movedim(1, -1)
        if over is not None and not self.begun:
            over(self._start, self._drawn(vectors))
        codes = self.nearest(vectors)
        found = self.look_up(codes)
        if over is not None:
            over(self._move, self._seen(vectors.flatten(0, 2), codes.flatten()))
        return codes, found

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the index of the nearest code: [..., D] -> int64 [...]."""
        with torch.no_grad(), full_precision(vectors.device):
            half = self.codebook.square().sum(1) / 2
            distance = torch.addmm(half, vectors.flatten(0, -2), self.codebook.T, alpha=-1)  # up to a shared constant
            return distance.argmin(1).view(vectors.shape[:-1])

    def look_up(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes: int64 [N, H, W] -> [N, D, H, W]."""
        return self.codebook[codes].movedim(-1, 1)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        self.begun = bool(state.get(f"{prefix}started", self.begun))
        super()._load_from_state_dict(state, prefix, *rest)

    def usage(self) -> Tensor:
        """Return the moving-average frequency of each code, summing to 1: [K]."""
        counts = self.counts + EPS
        return counts / counts.sum()

    def perplexity(self) -> Tensor:
        """Return exp of the entropy of `usage`: K if all codes are used equally often, 1 if only one is."""
        return torch.special.entr(self.usage()).sum().exp()

    def _drawn(self, vectors: Tensor) -> Tensor:
        """Return K random vectors of [N, H, W, D], repeated evenly if there are fewer, as [1, K, D]."""
        flat = vectors.flatten(0, 2)
        order = torch.randperm(len(flat), device=flat.device)
        return flat[order.repeat(-(-len(self.codebook) // len(order)))[: len(self.codebook)]][None]

    def _seen(self, vectors: Tensor, codes: Tensor) -> Tensor:
        """Return counts, sums and random vectors of a batch, concatenated: [1, K, 1 + 2 D]."""
        counts = torch.zeros_like(self.counts).index_add_(0, codes, torch.ones_like(vectors[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, codes, vectors)
        return torch.cat([counts[None, :, None], sums[None], self._drawn(vectors[:, None, None])], 2)

    @torch.no_grad()
    def _start(self, drawn: Tensor) -> Tensor:
        """Initialise the codes with vectors [processes, K, D]."""
        self.codebook.copy_(turns(drawn))
        self.counts.fill_(1.0)
        self.sums.copy_(self.codebook)
        self.started.fill_(1.0)
        self.begun = True
        return drawn

    @torch.no_grad()
    def _move(self, seen: Tensor) -> Tensor:
        """Update the codebook with the `_seen` of all processes, [processes, K, 1 + 2 D]."""
        codes, width = self.codebook.shape
        counts, sums, _ = seen.sum(0).split([1, width, width], 1)
        self.counts.lerp_(counts[:, 0], 1 - self.decay)  # eq. 6
        self.sums.lerp_(sums, 1 - self.decay)  # eq. 7
        total = self.counts.sum()
        smoothed = (self.counts + EPS) / (total + codes * EPS) * total
        self.codebook.copy_(self.sums / smoothed[:, None])  # eq. 8

        # Reset dead codes to new vectors with average usage, so that they have time to attract vectors there.
        fair = total / codes
        dead = self.counts < self.revive * fair
        self.codebook.copy_(torch.where(dead[:, None], turns(seen[..., 1 + width :]), self.codebook))
        self.sums.copy_(torch.where(dead[:, None], self.codebook * fair, self.sums))
        self.counts.copy_(torch.where(dead, fair, self.counts))
        return seen


def turns(drawn: Tensor) -> Tensor:
    """Interleave the vectors of all processes: [processes, K, D] -> [K, D]."""
    k = torch.arange(drawn.shape[1], device=drawn.device)
    return drawn[k % len(drawn), k]


def straight(x: Tensor, q: Tensor) -> Tensor:
    """Return q with a straight-through gradient to x (1711.00937, 3.2): [N, D, H, W]."""
    return x + (q - x).detach()


def rotated(x: Tensor, q: Tensor) -> Tensor:
    """Return q as each vector of x rotated and scaled onto its code, by a constant map: [N, D, H, W].

    The gradient at q is rotated back to x, so that the decoder can pull the vectors of one code together or push them
    apart, instead of moving all of them equally.

    Source: arXiv:2410.06424, with the rotation written as two reflections.
    """
    with torch.no_grad():
        long, short = (v.norm(dim=1, keepdim=True).clamp_min(EPS) for v in (q, x))
        of, to = x / short, q / long
        between = normalize(of + to, dim=1)
    first = x - 2 * between * (between * x).sum(1, keepdim=True)
    turned = first + 2 * to * (of * x).sum(1, keepdim=True)
    return turned * (long / short)


PASS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"straight": straight, "rotated": rotated}


class Block(nn.Module):
    """x + (ReLU, conv3, ReLU, conv1)(x)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        first, second = nn.Conv2d(width, inner, 3, padding=1), nn.Conv2d(inner, width, 1)
        self.body = nn.Sequential(nn.ReLU(), first, nn.ReLU(inplace=True), second)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        return x + self.body(x)


def encoder(channels: int, width: int, blocks: int, inner: int, stride: int) -> nn.Sequential:
    """Return the layers [N, channels, H, W] -> [N, width, H / stride, W / stride]; stride is a power of 2."""
    widths = [channels, width // 2, *[width] * (int(log2(stride)) - 1)]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU(inplace=True)]
    layers += [nn.Conv2d(widths[-1], width, 3, padding=1), *(Block(width, inner) for _ in range(blocks))]
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def decoder(channels: int, out: int, width: int, blocks: int, inner: int, stride: int) -> nn.Sequential:
    """Return the layers [N, channels, H, W] -> [N, out, H * stride, W * stride]; stride is a power of 2."""
    doublings = int(log2(stride))
    widths = [width, out] if doublings == 1 else [*[width] * (doublings - 1), width // 2, out]
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
    layers += [Block(width, inner) for _ in range(blocks)]
    for before, after in pairwise(widths):
        layers += [nn.ReLU(inplace=True), nn.ConvTranspose2d(before, after, 4, 2, 1)]
    return nn.Sequential(*layers)


class Autoencoder(nn.Module):
    """Images to one, two or three code maps and back; levels are counted from the top, the smallest.

    The bottom map is `stride` times smaller than the image, and each one above half of that. Codes are computed from
    the top down: the encoding of a level is concatenated with what the levels above decode to.

    Args:
        channels: image channels.
        levels: number of code maps.
        width: channels of the hidden layers.
        blocks: residual blocks in each encoder and decoder.
        block_width: channels inside these blocks.
        stride: image size / size of the bottom map: 2, 4 or 8.
        codes: entries of each codebook.
        code_width: length of each entry.
        decay: of the codebooks, see `Quantiser`.
        revive: likewise.
        gradient: of the quantisation, see `straight` and `rotated`.

    Source: with two levels, VQ-VAE-2 as in rosinality/vq-vae-2-pytorch, parameter for parameter; with one level,
    sonnet's network for CIFAR-10.
    """

    def __init__(
        self,
        channels: int = 3,
        levels: int = 2,
        width: int = 128,
        blocks: int = 2,
        block_width: int = 32,
        stride: int = 4,
        codes: int = 512,
        code_width: int = 64,
        decay: float = 0.99,
        revive: float = 0.05,
        gradient: Gradient = "straight",
    ) -> None:
        super().__init__()
        self.through = PASS[gradient]
        lower = [level > 0 for level in range(levels)]  # levels with another one above
        shape, d = (width, blocks, block_width), code_width
        self.encoders = nn.ModuleList(
            encoder(width, *shape, 2) if level < levels - 1 else encoder(channels, *shape, stride)
            for level in range(levels)
        )
        self.project = nn.ModuleList(nn.Conv2d(width + d * below, d, 1) for below in lower)
        self.quantisers = nn.ModuleList(Quantiser(codes, d, decay, revive) for _ in lower)
        above = [d, *[2 * d] * (levels - 1)]  # channels of the joined maps above each level
        self.above = nn.ModuleList(decoder(above[level], d, *shape, 2) for level in range(levels - 1))
        self.larger = nn.ModuleList(nn.ConvTranspose2d(above[level], d, 4, 2, 1) for level in range(levels - 1))
        self.decoder = decoder(above[-1], channels, *shape, stride)

    def forward(self, image: Tensor, over: Over | None = None) -> tuple[Tensor, list[Tensor], Tensor]:
        """Encode, quantise and decode.

        Args:
            image: [N, channels, H, W] in [-1, 1]; H and W divisible by stride * 2 ^ (levels - 1).
            over: updates the codebooks, see `Quantiser`.

        Returns:
            The reconstruction, the codes of each level int64 [N, h, w], and the commitment loss, a scalar.
        """
        codes, quantised, commitment = self.quantise(image, over)
        return self.decode(quantised), codes, commitment

    def quantise(self, image: Tensor, over: Over | None = None) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return codes, quantised maps [N, D, h, w] (with a gradient), and the commitment loss."""
        features = [image]
        for encode in reversed(self.encoders):
            features.append(encode(features[-1]))
        codes, quantised = [], []
        commitment, joined = image.new_zeros(()), None
        for level, book in enumerate(self.books):
            x = features.pop()
            if joined is not None:
                x = torch.cat([self.above[level - 1](joined), x], 1)
            x = self.project[level](x)
            found, q = book(x, over)
            commitment = commitment + mse_loss(x.float(), q)  # third term of eq. 3 in 1711.00937
            q = self.through(x.float(), q)
            joined = q if joined is None else torch.cat([self.larger[level - 1](joined), q], 1)
            codes.append(found)
            quantised.append(q)
        return codes, quantised, commitment

    def decode(self, quantised: Sequence[Tensor]) -> Tensor:
        """Return the images [N, channels, H, W] of quantised maps, top first."""
        joined = quantised[0]
        for larger, q in zip(self.larger, quantised[1:], strict=True):
            joined = torch.cat([larger(joined), q], 1)
        return self.decoder(joined)

    def look_up(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Return the vectors of the codes of each level: int64 [N, h, w] -> [N, D, h, w]."""
        return [book.look_up(found) for book, found in zip(self.books, codes, strict=True)]

    @property
    def books(self) -> list[Quantiser]:
        """The codebooks, top first, with their type."""
        return cast("list[Quantiser]", list(self.quantisers))
