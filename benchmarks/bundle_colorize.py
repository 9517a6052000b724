"""Turn a run of configs/real/colorful.yaml into `colorize`, which comes with i2i: 16 bits a weight, its card inside.

    i2i run configs/real/colorful.yaml data.root=$I2I_DATA/caltech101 train.precision=bf16
    python benchmarks/colorization.py $I2I_DATA/caltech101 runs/colorful --conditions vivid=0.62 --json SCORES
    python benchmarks/bundle_colorize.py runs/colorful SCORES $I2I_DATA/caltech101/val

The card shows the three validation pictures that gain most over grey, and the three that lose most.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bundle import DATA, WEIGHTS
from torch import Tensor

from i2i import api, config, images
from i2i.checkpoint import load_model, save_model
from i2i.config.source import Source
from i2i.data import derive
from i2i.data.transforms import resize, to_tensor
from i2i.metrics import psnr
from i2i.runs import Run

WEAK = (
    "It guesses: a sea may turn red, and grass brown. On Flickr8k, photographs of another kind than those it was "
    "trained on, it is further from the truth than grey (21.94 against 23.12 dB); with -c balance=0.95 it is as near "
    "(23.10 dB at 0.52 of the true colourfulness). Large areas are smoother than real ones."
)


def ranked(folder: Path, colorize: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Return the columns of the card: grey, output and truth of the best three and of the worst three pictures."""
    found = []
    for path in sorted(folder.rglob("*.jpg")):
        pixels = resize(images.read_rgb(path), 96, 96)
        truth, grey = (to_tensor(one)[None] for one in (pixels, derive.grey(pixels, np.random.default_rng(0))))
        output = colorize(grey)
        found.append((float(psnr(output[0], truth[0])) - float(psnr(grey[0], truth[0])), grey, output, truth))
    found.sort(key=lambda one: -one[0])
    rows = [*found[:3], *found[-3:]]
    names = ("grey", "output", "truth")
    return {name: torch.cat([row[n + 1] for row in rows]) for n, name in enumerate(names)}


def fits_in_half(name: str, value: Tensor) -> bool:
    """Return whether 16 bits are enough: for the weights of the network, but not for its batch statistics."""
    return name.startswith("G.") and value.is_floating_point() and "running" not in name


@torch.no_grad()
def main() -> None:
    """Write the file, and check it against the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a finished run of configs/real/colorful.yaml")
    parser.add_argument("scores", type=Path, help="what benchmarks/colorization.py wrote about it")
    parser.add_argument("pictures", type=Path, help="the validation part of Caltech-101")
    args = parser.parse_args()

    tensors, text, about = load_model(Run.weights_of(args.run))
    model, answers = api.load(args.run), json.loads(args.scores.read_text())["answers"]
    own = answers[f"{args.run} vivid=0.62"]  # the default
    columns = ranked(args.pictures, model.task.translate)
    gain = own["psnr"] - answers["grey"]["psnr"]
    card = {
        "does": "colorize",
        "takes": "image",
        "makes": "image",
        "scale": "1",
        "licence": "Apache-2.0",
        "quality": f"Caltech-101 {own['psnr']:.2f} dB (grey {answers['grey']['psnr']:.2f}), colourfulness "
        f"{own['colourfulness']:.2f}",
        "data": DATA,
        "command": "i2i run configs/real/colorful.yaml data.root=CALTECH101 train.precision=bf16",
        "steps": about["step"],
        "numbers": f"200 validation pictures of Caltech-101 at 96 pixels: {own['psnr']:.2f} dB, {gain:+.2f} over "
        f"grey, at {own['colourfulness']:.2f} of the true colourfulness",
        "weaknesses": WEAK,
        "parameters": str(sum(value.numel() for value in model.task.G.parameters())),
        "shown": "the three validation pictures of Caltech-101 that gain most over grey, and the three that lose "
        "most; CC BY 4.0, credited above",
        "picture": base64.b64encode(images.png(images.grid(columns, least=144))).decode(),
    }
    stored = {name: value.half() if fits_in_half(name, value) else value for name, value in tensors.items()}
    file = WEIGHTS / "colorize.safetensors"
    save_model(file, stored, config.dump({"task": Source(text, args.run).tree["task"]}), card)

    image = columns["grey"]
    off = (api.load(file).task.translate(image) - model.task.translate(image)).abs().mean()
    print(f"{file}: {file.stat().st_size:,} bytes; on average {float(off) * 127.5:.3f} of 255 levels from the run")
    if not off < 0.01:
        raise SystemExit("the bundled model differs from the run")


if __name__ == "__main__":
    main()
