"""Label maps to facades: a run beside the mean image and beside retrieval, on the validation pairs.

    python benchmarks/facades.py $I2I_DATA/facades runs/facades --json benchmarks/results/facades.json

Retrieval answers with the photograph of the training label map that is closest in its pixels (L2). Three numbers:

- `l1`: mean absolute error in units of [-1, 1].
- `kid`: the kernel distance between the set of answers and the set of truths. It asks whether the answers could be
  photographs, so retrieval, whose answers are photographs, is as good as can be but for those it gives twice.
- `pairs`: E |phi(answer) - phi(truth)|^2 in the space of the same kernel, pair by pair. It asks whether an answer is
  what its label map should give.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i import api
from i2i.data import PairedSideBySide
from i2i.metrics import answers
from i2i.metrics.features import features
from i2i.metrics.sets import kernel_distance


def pair_distance(x: Tensor, y: Tensor) -> float:
    """Return E |phi(x_i) - phi(y_i)|^2 of features [N, D] for the kernel (x . y / D + 1)^3 of `kernel_distance`."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return ((a * b).sum(1) / a.shape[1] + 1) ** 3

    x, y = x.double(), y.double()
    return (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)).mean().item()


def main() -> None:
    """Print the comparison, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the folder that holds train and val, photograph left, label map right")
    parser.add_argument("runs", nargs="*", help="runs to compare; their size is that of their config")
    parser.add_argument("--size", type=int, help="in pixels; by default that of the first run")
    parser.add_argument("--extractors", nargs="+", default=["squeezenet", "random_conv", "resnet20"])
    parser.add_argument("--json", type=Path, help="write the result there")
    args = parser.parse_args()

    models = {name: api.load(name) for name in args.runs}
    sizes = [model.config["data"]["size"] for model in models.values()] if not args.size else [args.size]
    if not sizes:
        parser.error("name a run or give --size")
    data = PairedSideBySide(
        args.data, size=sizes[0], load_size=sizes[0], flip=False, direction="BtoA", validation_samples=1000, workers=0
    )
    train = [data.sample(index, np.random.default_rng(0)) for index in range(len(data))]
    held_out = data.validation()
    truth, labels = stacked(held_out, "B"), stacked(held_out, "A")
    photos, maps = stacked(train, "B"), stacked(train, "A")
    nearest = torch.cdist(labels.flatten(1), maps.flatten(1)).argmin(1)

    given = {
        "mean image": photos.mean(0, keepdim=True).expand_as(truth),
        "retrieval": photos[nearest],
        **{name: torch.stack([fake for _, fake in answers(model.task, data)]) for name, model in models.items()},
    }
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "size": sizes[0],
        "pictures": {"train": len(train), "validation": len(truth), "retrieved": len(nearest.unique())},
        "answers": {name: {"l1": (images - truth).abs().mean().item()} for name, images in given.items()},
    }
    for extractor in args.extractors:
        real = features(truth, extractor)
        for name, images in given.items():
            found = features(images, extractor)
            scores = result["answers"][name]
            scores[f"kid/{extractor}"] = kernel_distance(found, real)
            scores[f"pairs/{extractor}"] = pair_distance(found, real)
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def stacked(samples: Any, name: str) -> Tensor:
    """Return one entry of all samples, [N, C, H, W]."""
    return torch.stack([samples[index][name] for index in range(len(samples))])


if __name__ == "__main__":
    main()
