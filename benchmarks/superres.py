"""Super-resolution by the published protocol: Set5 and Set14, luma, a border of `scale` pixels cropped.

    python benchmarks/superres.py $I2I_DATA/sr runs/superres runs/superres_gan --json benchmarks/results/superres.json
    python benchmarks/superres.py $I2I_DATA/sr $I2I_DATA/weights/carn_m.pth             # a published network
    python benchmarks/superres.py $I2I_DATA/sr $I2I_DATA/weights/rfdn_x4.pth --single   # with a weights file

The low-resolution images are the authors' own (LR_x4). First the protocol itself is checked: Pillow's bicubic must
reach 28.43 and 26.09 dB at x4 (33.67 and 30.33 at x2). Then each run gets PSNR and SSIM, and, if its weights file is
available, the perceptual distance `squeeze_keras` (LPIPS' heads on another SqueezeNet: it ranks methods, but is not
LPIPS). "+" is the self-ensemble over eight rotations and flips, as in EDSR.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from i2i import Data, Task, WeightsError, api, images
from i2i.data.base import Sample
from i2i.data.degrade import bicubic
from i2i.data.superres import Whole, pair_of, rows_of
from i2i.metrics import LPIPS, PSNR, SSIM, answers
from i2i.modalities import Image as ImageModality

GATE = {(2, "Set5"): 33.67, (2, "Set14"): 30.33, (4, "Set5"): 28.43, (4, "Set14"): 26.09}  # bicubic, dB


class Held(Data):
    """A data set with evaluation images only."""

    def __init__(self, folder: Path, scale: int) -> None:
        readers = [partial(pair_of, paths, scale) for paths in rows_of(folder, scale)]
        self.samples = Whole(readers, scale, bicubic, at_most=1000)

    def validation(self) -> Sequence[Sample]:
        """Return the images: "A" and "B"."""
        return self.samples


class Enlarger(Task):
    """Wraps a function as a task, so that metrics accept it."""

    def __init__(self, function: Callable[[Tensor], Tensor], scale: int) -> None:
        super().__init__()
        self.function, self.makes = function, ImageModality(scale=scale)

    def translate(self, image: Tensor) -> Tensor:
        """Upscale images [N, 3, H, W] in [-1, 1]."""
        return self.function(image)


def by_pillow(image: Tensor, scale: int) -> Tensor:
    """Upscale with Pillow's bicubic filter, which works on 8 bits."""
    levels = images.to_uint8(image)
    size = image.shape[-1] * scale, image.shape[-2] * scale
    larger = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in levels]
    return torch.from_numpy(np.stack(larger)).permute(0, 3, 1, 2) / 127.5 - 1


def ensemble(function: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Average the outputs for the eight rotations and flips of an image. Source: arXiv:1707.02921, 3.3."""
    found = []
    for mirrored in (False, True):
        for quarters in range(4):
            given = torch.rot90(image.flip(-1) if mirrored else image, quarters, (2, 3))
            answer = torch.rot90(function(given), -quarters, (2, 3))
            found.append(answer.flip(-1) if mirrored else answer)
    return torch.stack(found).mean(0)


def scores(task: Task, data: Held, scale: int) -> dict[str, float]:
    """Return the scores of one task on one set."""
    began = time.perf_counter()
    found = {
        "psnr_y": PSNR(space="y", crop=scale)(task, data)["db"],
        "seconds": time.perf_counter() - began,
        "psnr_rgb": PSNR()(task, data)["db"],
        "ssim_y": SSIM(space="y", crop=scale)(task, data)["mean"],
    }
    try:
        found |= LPIPS(net="squeeze", backbone="keras_squeezenet")(task, data)
    except WeightsError as error:
        print(f"no perceptual distance: {error}", file=sys.stderr)
    return found


def gate(measured: float, scale: int, name: str) -> None:
    """Check that bicubic reaches its published PSNR.

    Raises:
        SystemExit: it does not, so no other number would be comparable.
    """
    wanted = GATE.get((scale, name))
    if wanted is not None and abs(measured - wanted) > 0.006:
        sys.exit(
            f"bicubic x{scale} has {measured:.3f} dB on {name}, but should have {wanted}: not the published protocol"
        )


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of Set5 and Set14, each with HR and LR_x4")
    parser.add_argument("runs", nargs="*", help="runs, weights files, or names of `i2i models`")
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), default=4)
    parser.add_argument("--single", action="store_true", help="leave out the self-ensemble")
    parser.add_argument("--save", type=Path, help="write the upscaled images to this folder")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    args = parser.parse_args()

    tasks: dict[str, Task] = {"bicubic": Enlarger(partial(by_pillow, scale=args.scale), args.scale)}
    weights: dict[str, int] = {}
    for run in args.runs:
        task = api.load(run).task
        if task.makes.scale != args.scale:
            parser.error(f"{run} upscales {task.makes.scale} times, not {args.scale}")
        tasks[run] = task
        if not args.single:
            tasks[f"{run} +"] = Enlarger(partial(ensemble, task.translate), args.scale)
        network = getattr(task, "G", nn.Module())
        weights[run] = sum(p.numel() for p in network.parameters())

    result: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "scale": args.scale, "weights": weights}
    for name in ("Set5", "Set14"):
        data = Held(args.data / name, args.scale)
        result[name] = {}
        for label, task in tasks.items():
            found = result[name][label] = scores(task.eval(), data, args.scale)
            print(f"{name:6} {label:32}", "  ".join(f"{key} {value:.4f}" for key, value in found.items()), flush=True)
            if label == "bicubic":
                gate(found["psnr_y"], args.scale, name)
            if args.save:
                write(args.save / name / Path(label).name.replace(" ", ""), task, data)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def write(folder: Path, task: Task, data: Held) -> None:
    """Write the upscaled images as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (_, fake) in enumerate(answers(task, data), start=1):
        Image.fromarray(images.to_uint8(fake[None])[0]).save(folder / f"img_{number:03d}.png")


if __name__ == "__main__":
    main()
