"""Label maps to facades: runs compared with the mean image and with retrieval, on the validation pairs.

    python benchmarks/facades.py runs/facades                                    # drawn facades
    python benchmarks/facades.py runs/facades_real --root $I2I_DATA/facades --json benchmarks/results/facades.json

Retrieval returns the image of the nearest training label map (L2 in pixels). Four scores:

- `l1`: mean absolute error in units of [-1, 1].
- `kid`: the kernel distance between the set of outputs and the set of true images. It asks whether the outputs could
  be real images, so retrieval, which returns real ones, is optimal except for repeats.
- `joint`: the kernel distance between the sets of (label map, output) and of (label map, truth). It asks whether
  the outputs could be real images of these label maps.
- `pairs`: E |phi(output) - phi(truth)|^2 in the space of the same kernel, pair by pair. It asks whether an output is
  the right one for its label map.
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

from i2i import Data, api, config
from i2i.metrics import answers
from i2i.metrics.features import features
from i2i.metrics.sets import kernel_distance
from i2i.plugins import registry


def pair_distance(x: Tensor, y: Tensor) -> float:
    """Return E |phi(x_i) - phi(y_i)|^2 of features [N, D] for the kernel (x . y / D + 1)^3 of `kernel_distance`."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return ((a * b).sum(1) / a.shape[1] + 1) ** 3

    x, y = x.double(), y.double()
    return (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)).mean().item()


def main() -> None:
    """Print the comparison, and write it with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs with the same data set and size")
    parser.add_argument("--root", help="folder of their data set")
    parser.add_argument("--extractors", nargs="+", default=["squeezenet", "random_conv", "resnet20"])
    parser.add_argument("--json", type=Path, help="write the result to this file")
    args = parser.parse_args()

    models = {str(run): api.load(run) for run in args.runs}
    data = data_of(args.runs[0], args.root)
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
        "size": truth.shape[-1],
        "pictures": {"train": len(train), "validation": len(truth), "retrieved": len(nearest.unique())},
        "answers": {name: {"l1": (images - truth).abs().mean().item()} for name, images in given.items()},
    }
    for extractor in args.extractors:
        real, asked = features(truth, extractor), features(labels, extractor)
        for name, images in given.items():
            found = features(images, extractor)
            scores = result["answers"][name]
            scores[f"kid/{extractor}"] = kernel_distance(found, real)
            scores[f"joint/{extractor}"] = kernel_distance(torch.cat([asked, found], 1), torch.cat([asked, real], 1))
            scores[f"pairs/{extractor}"] = pair_distance(found, real)
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def data_of(run: Path, root: str | None) -> Data:
    """Return the data set of a run, without cropping or flipping."""
    tree = config.load(run / "config.yaml", [], registry().catalog).tree["data"]
    changes = ["data.workers=0", *([f"data.root={root}"] if root else [])]
    if tree["use"] == "paired_side_by_side":
        changes += [f"data.load_size={tree['size']}", "data.flip=false", "data.validation_samples=1000"]
    return config.load(run / "config.yaml", changes, registry().catalog).data()


def stacked(samples: Any, name: str) -> Tensor:
    """Return one entry of all samples, [N, C, H, W]."""
    return torch.stack([samples[index][name] for index in range(len(samples))])


if __name__ == "__main__":
    main()
