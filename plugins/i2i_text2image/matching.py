"""What text to image trains on beside the adversarial loss: captions that do not match, and two losses.

Papers: mismatched captions arXiv:1605.05396, matching-aware gradient penalty arXiv:2008.05865, contrastive loss
arXiv:2101.04702. Test with: `pytest tests/test_text2image.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def equal_rows(tokens: Tensor) -> Tensor:
    """Return which captions of [N, T] are equal: bool [N, N], true on the diagonal."""
    return (tokens[:, None] == tokens[None]).all(2)


def mismatched(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Choose for each caption of a batch another one at random that differs from it.

    Rolling the batch instead would often pair a picture with its own caption where captions repeat.

    Args:
        tokens: captions, int64 [N, T], padded with 0.

    Returns:
        Indices into the batch, int64 [N], and whether there is a different caption, bool [N], where the tokens are.

    Source: arXiv:1605.05396, algorithm 1, which assumes that captions differ.
    """
    different = ~equal_rows(tokens)
    exists = different.any(1)
    weights = different.float().masked_fill(~exists[:, None], 1.0)  # then any: it is not used
    return torch.multinomial(weights, 1)[:, 0], exists


def matching_penalty(
    judge: Callable[[Tensor, Tensor], Tensor],
    image: Tensor,
    sentence: Tensor,
    weight: float = 2.0,
    power: float = 6.0,
) -> Tensor:
    """Return the matching-aware zero-centred gradient penalty, a scalar: weight * E |dD / d(image, sentence)|^power.

    Args:
        judge: images [N, C, H, W] and sentences [N, D] -> logits [N, 1].
        image: real images.
        sentence: the embeddings of their own captions.
        weight, power: k and p of the paper.

    Source: arXiv:2008.05865 eq. 1.
    """
    x, s = image.detach().requires_grad_(), sentence.detach().requires_grad_()
    with torch.enable_grad():
        gradients = torch.autograd.grad(judge(x, s).sum(), (x, s), create_graph=True)
    squares = torch.cat([gradient.flatten(1) for gradient in gradients], 1).square().sum(1)
    return weight * squares.pow(power / 2).mean()


def contrastive(similarity: Tensor, same: Tensor) -> Tensor:
    """Return the symmetric contrastive loss: each picture should be most similar to its own caption, and vice versa.

    Args:
        similarity: of N pictures (rows) and their N captions, [N, N].
        same: which captions are equal, bool [N, N]; they do not count as wrong answers.

    Source: arXiv:2101.04702 eq. 2, in both directions as in arXiv:2103.00020.
    """
    own = torch.arange(len(similarity), device=similarity.device)
    others = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = similarity.masked_fill(others, float("-inf"))
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
