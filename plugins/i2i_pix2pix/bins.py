"""The ab plane cut into bins, and the soft encoding, the rebalancing and the annealed mean on them. arXiv:1603.08511.

Colours are a and b of CIE Lab in their own units, about -110..110, not divided by 110.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

GRID = 10  # width of a bin, section 2.1
OUTSIDE = ((40, 90), (100, -90), (100, -10), (100, 0))  # published bins that touch no cell with a displayable colour


@cache
def bins(levels: int = 256) -> Tensor:
    """Return the 313 colours a, b that the published network tells apart: [313, 2], sorted by a, then by b.

    A point of the 10-wide grid is a bin if it is a corner of a cell that contains a colour of sRGB. These are 309 of
    the published 313; the other four, `OUTSIDE`, are added so that published weights fit. The colours of the faces of
    the RGB cube are enough: those inside have the a and b of one on a face, with another L.

    Args:
        levels: how finely the faces are sampled.

    Source: section 2.1 for "in gamut"; the rule is ours, found from the published list (resources/pts_in_hull.npy).
    """
    from kornia.color import rgb_to_lab

    steps = torch.linspace(0, 1, levels)
    one, other = torch.meshgrid(steps, steps, indexing="ij")
    planes = [torch.full_like(one, end) for end in (0.0, 1.0)]
    faces = [face for end in planes for face in ((end, one, other), (one, end, other), (one, other, end))]
    ab = rgb_to_lab(torch.stack([torch.stack(face) for face in faces]))[:, 1:].movedim(1, -1).reshape(-1, 2)

    a, b = (ab / GRID).floor().long().T
    cells = [(code // 100 - 50, code % 100 - 50) for code in ((a + 50) * 100 + b + 50).unique().tolist()]
    corners = {(GRID * (a + right), GRID * (b + up)) for a, b in cells for right in (0, 1) for up in (0, 1)}
    return torch.tensor(sorted(corners | {*OUTSIDE}), dtype=torch.float32)


def encode(ab: Tensor, centres: Tensor, neighbours: int = 5, sigma: float = 5.0) -> tuple[Tensor, Tensor]:
    """Return the soft encoding of colours: the nearest bins, nearest first, and their weights.

    Args:
        ab: displayable colours [N, 2, H, W].
        centres: the bins [Q, 2].
        neighbours: number of bins per colour, at most 9.
        sigma: standard deviation of the Gaussian that weights them by distance.

    Returns:
        Numbers of bins and weights that sum to 1, both [N, neighbours, H, W].

    Source: section 2.2, "Z = H_gt^-1(Y)": 5 neighbours and sigma 5.
    """
    # Of the 25 points of the grid around the nearest one, take the nearest that are bins: 8 times as fast as all 313.
    points, table = ab.movedim(1, -1).reshape(-1, 1, 2), numbered(centres)
    steps = torch.arange(-2, 3, device=ab.device)
    around = torch.cartesian_prod(steps, steps) + (points / GRID).round().long()
    numbers = table[tuple((around % len(table)).unbind(-1))]
    squared = (points - GRID * around).square().sum(-1).masked_fill(numbers < 0, torch.inf)
    nearest, places = squared.topk(neighbours, largest=False)
    weights = (-nearest / (2 * sigma**2)).softmax(1)
    shape = (len(ab), *ab.shape[2:], neighbours)
    return numbers.gather(1, places).view(shape).movedim(-1, 1), weights.view(shape).movedim(-1, 1)


def numbered(centres: Tensor) -> Tensor:
    """Return the number of the bin at each point of the grid, -1 where there is none: [32, 32], by a and b / 10.

    Negative coordinates are counted from the end, as in indices.
    """
    table = torch.full((32, 32), -1, device=centres.device)
    table[tuple((centres / GRID).round().long().T)] = torch.arange(len(centres), device=centres.device)
    return table


def smoothed(counts: Tensor, centres: Tensor, sigma: float = 5.0) -> Tensor:
    """Return the distribution of colours [Q]: counts, smoothed with a Gaussian over the bins; sums to 1.

    Without any counts it is uniform.
    """
    kernel = (-torch.cdist(centres, centres).square() / (2 * sigma**2)).exp()
    spread = kernel / kernel.sum(0)  # each colour's share is spread over its neighbours, and none is lost
    total = counts.sum()
    found = (spread.double() @ (counts.double() / total.clamp(min=1))).float()
    return torch.where(total > 0, found, 1 / len(counts))


def rebalancing(prior: Tensor, balance: float = 0.5) -> Tensor:
    """Return the weights of the bins [Q], larger for rare colours, 1 on average over the pixels of the training set.

    Args:
        prior: the smoothed distribution of colours [Q].
        balance: share of a uniform distribution mixed into it, above 0; 1 weights all bins equally.

    Source: eq. 4, with balance = 1/2 there (lambda).
    """
    weights = 1 / ((1 - balance) * prior + balance / len(prior))
    return weights / (prior * weights).sum()


def annealed_mean(logits: Tensor, centres: Tensor, temperature: float) -> Tensor:
    """Return one colour per pixel [N, 2, H, W]: the mean over the bins, of a distribution sharpened by `temperature`.

    Args:
        logits: [N, Q, H, W].
        centres: the bins [Q, 2].
        temperature: 1 is the mean of the distribution, 0 its mode, i.e. the most probable bin.

    Source: eq. 5.
    """
    logits = logits.float()
    logits = logits - logits.amax(1, keepdim=True)
    if temperature == 0:
        shares = torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
    else:
        shares = (logits / temperature).softmax(1)
    return torch.einsum("nqhw,qc->nchw", shares, centres.to(shares))
