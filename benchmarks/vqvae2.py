"""Priors of VQ-VAE-2: the speed-up of cached sampling over one pass per code, and the novelty of the samples.

    python benchmarks/vqvae2.py runs/vqvae2_mnist -n 16 --json benchmarks/results/vqvae2.json --picture neighbours.png

For each level of a run: seconds to sample `n` maps with `PixelCNN.sample` and with one forward pass per code, and
whether the codes agree for the same random numbers. Then the distance of samples to the nearest training images (root
mean squared difference, images in [-1, 1]), compared with that of validation images, which are certainly new;
`--picture` shows samples next to their nearest training images.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i import api, config, images
from i2i.plugins import registry


def naive(prior: Any, n: int, above: list[Tensor], label: Tensor | None) -> Tensor:
    """Sample `n` code maps with one forward pass per code."""
    codes = torch.zeros(n, prior.side, prior.side, dtype=torch.int64)
    for y in range(prior.side):
        for x in range(prior.side):
            logits = prior(codes, above, label)[:, :, y, x]
            codes[:, y, x] = torch.multinomial(torch.softmax(logits, 1), 1)[:, 0]
    return codes


def speeds(task: Any, n: int) -> dict[str, dict[str, float]]:
    """Return the seconds of both methods per level."""
    found: dict[str, dict[str, float]] = {}
    codes: list[Tensor] = []
    label = torch.arange(n) % len(task.classes) if task.classes else None
    for name, prior in task.priors.items():
        prior.sample(1, [c[:1] for c in codes], None if label is None else label[:1])  # warm up
        torch.manual_seed(0)
        start = time.perf_counter()
        fast = prior.sample(n, codes, label)
        middle = time.perf_counter()
        torch.manual_seed(0)
        slow = naive(prior, n, codes, label)
        end = time.perf_counter()
        found[name] = {
            "side": prior.side,
            "seconds": middle - start,
            "seconds, a pass each": end - middle,
            "times faster": (end - middle) / (middle - start),
            "share of equal codes": (fast == slow).float().mean().item(),
        }
        codes.append(fast)
    return found


def nearest(given: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of each given image to the nearest known one, and its index: [N] each."""
    distance = torch.cdist(given.flatten(1), known.flatten(1)) / given[0].numel() ** 0.5
    return distance.min(1).values, distance.argmin(1)


def main() -> None:
    """Print the results, and write them with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a run with priors")
    parser.add_argument("-n", type=int, default=16, help="number of samples, drawn in one batch")
    parser.add_argument("--known", type=int, default=60000, help="maximum number of training images to compare with")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--picture", type=Path, help="write samples and their nearest training images to this file")
    args = parser.parse_args()

    model = api.load(args.run)
    task: Any = model.task.eval()
    data = config.from_dict(model.config, registry().catalog).data()
    with torch.inference_mode():
        result: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "sampling": speeds(task, args.n)}
        torch.manual_seed(0)
        sampled = task.sample(args.n)
    known = torch.stack(
        [data.sample(i, np.random.default_rng(i))["image"] for i in range(min(args.known, len(data)))]
    )
    held_out = data.validation()
    spread = range(0, len(held_out), max(1, len(held_out) // args.n))[: args.n]  # files may be sorted by class
    real = torch.stack([held_out[i]["image"] for i in spread])
    distances, numbers = nearest(sampled, known)
    result["distance of samples"] = distances.mean().item()
    result["distance of validation pictures"] = nearest(real, known)[0].mean().item()
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.picture:
        args.picture.write_bytes(
            images.png(images.grid({"sample": sampled, "nearest known": known[numbers]}, least=64))
        )


if __name__ == "__main__":
    main()
