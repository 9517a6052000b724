"""Colorization of greyscale photographs: runs compared with the grey input itself, on the validation images.

    python benchmarks/colorization.py $I2I_DATA/caltech101 runs/colorization runs/colorization_gan \\
        --json benchmarks/results/colorization.json
    python benchmarks/colorization.py $I2I_DATA/caltech101 runs/colorful --conditions vivid=0.62 vivid=0.8 \\
        --json benchmarks/results/colorful.json

For each run, and for two grey baselines: `psnr` (RGB, dB), `colourfulness` relative to the truth (Hasler and
Suesstrunk), `kid` to the true photographs per extractor, and the maximum and mean difference in lightness L* between
the 8-bit output and the input. The grey input has the lightness of the photograph; the other baseline is Pillow's.
With `--conditions`, runs of the task `colorful` are measured with each of these, such as vivid=0.8,balance=0.9.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i import api
from i2i.data import Derived
from i2i.metrics import answers
from i2i.metrics.colour import colourfulness
from i2i.metrics.features import features
from i2i.metrics.pairs import psnr
from i2i.metrics.sets import kernel_distance


def lightness(images: Tensor) -> Tensor:
    """Return L* in 0..100 of images [N, 3, H, W] in [-1, 1], rounded to 8 bits as when saved: [N, H, W]."""
    from kornia.color import rgb_to_lab

    return rgb_to_lab(((images + 1) * 127.5).round() / 255)[:, 0]


def colorized(run: str, model: api.Model, data: Derived, conditions: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield a name and the colorized images [N, 3, H, W] of a run, for each of the conditions that are given."""
    task = model.task
    for text in conditions if hasattr(task, "vivid") else [""]:
        if text:
            given = dict(pair.split("=") for pair in text.split(","))
            task.predict = lambda batch, given=given: task.translate(batch["A"], **given)
        yield f"{run} {text}".strip(), torch.stack([fake for _, fake in answers(task, data)])


def main() -> None:
    """Print the comparison, and write it with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder containing train and val")
    parser.add_argument("runs", nargs="*", help="runs to compare, all of the same size")
    parser.add_argument("--size", type=int, help="in pixels; default: that of the first run")
    parser.add_argument("--extractors", nargs="+", default=["squeezenet", "random_conv", "resnet20"])
    parser.add_argument("--conditions", nargs="+", default=[""], help="of `colorful`, e.g. vivid=0.8,balance=0.9")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    args = parser.parse_args()

    models = {name: api.load(name) for name in args.runs}
    sizes = [model.config["data"]["size"] for model in models.values()] if not args.size else [args.size]
    if not sizes:
        parser.error("give a run or --size")
    data = Derived(args.data, "grey", size=sizes[0], validation_samples=1000, cache=False, workers=0)
    held_out = data.validation()
    grey, truth = (torch.stack([held_out[n][name] for n in range(len(held_out))]) for name in "AB")
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # ITU-R BT.601, as in Pillow
    luma = (truth * weights).sum(1, keepdim=True).expand_as(truth)

    given = {
        "grey": grey,
        "grey of Pillow": luma,
        **{
            name: colours
            for run, model in models.items()
            for name, colours in colorized(run, model, data, args.conditions)
        },
    }
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "size": sizes[0],
        "pictures": len(truth),
        "colourfulness of the truth": float(np.mean([colourfulness(image) for image in truth])),
        "answers": {},
    }
    real = {extractor: features(truth, extractor) for extractor in args.extractors}
    for name, images in given.items():
        off = (lightness(images) - lightness(grey)).abs()
        result["answers"][name] = {
            "psnr": float(np.mean([psnr(fake, true) for fake, true in zip(images, truth, strict=True)])),
            "colourfulness": sum(map(colourfulness, images)) / sum(map(colourfulness, truth)),
            "lightness off, most": off.max().item(),
            "lightness off, mean": off.mean().item(),
            **{f"kid/{e}": kernel_distance(features(images, e), real[e]) for e in args.extractors},
        }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
