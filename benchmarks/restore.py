"""How much of JPEG artefacts and noise a model removes, and what it does to clean pictures.

    python benchmarks/restore.py runs/restore $I2I_DATA/caltech101/val $I2I_DATA/sr/Set5/HR $I2I_DATA/sr/Set14/HR \
        --json benchmarks/results/restore.json

Each picture is compressed by Pillow (4:2:0, its default) or gets Gaussian noise, and is restored. Photographs that
are JPEGs themselves are halved first, so that their own artefacts do not count as truth. PSNR in dB, the mean over
the pictures, of RGB and of luma (BT.601); "gain" is that over the damaged picture.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from i2i import api, images
from i2i.data.transforms import resize, to_tensor
from i2i.metrics import psnr

Damage = Callable[[np.ndarray], np.ndarray]


def compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Compress pixels uint8 [H, W, 3] as JPEG, and decode them."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def noisy(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Add Gaussian noise with a standard deviation in levels of 0..255; the same for the same picture."""
    noise = np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return (pixels + noise).round().clip(0, 255).astype(np.uint8)


DAMAGE: dict[str, Damage] = {
    f"jpeg {quality}": partial(compressed, quality=quality) for quality in (10, 20, 30, 50, 80)
}
DAMAGE |= {f"noise {sigma}": partial(noisy, sigma=sigma) for sigma in (5, 10, 20)}
DAMAGE["noise 10, jpeg 30"] = lambda pixels: compressed(noisy(pixels, 10), 30)
DAMAGE["clean"] = lambda pixels: pixels


def pictures(folder: Path, at_most: int) -> list[np.ndarray]:
    """Return the pictures in a folder, uint8 [H, W, 3], evenly spaced, JPEGs at half their size."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.SUFFIXES)
    found = []
    for path in paths[:: max(1, len(paths) // at_most)][:at_most]:
        pixels = images.read_rgb(path)
        if path.suffix.lower() in (".jpg", ".jpeg"):
            pixels = resize(pixels, pixels.shape[0] // 2, pixels.shape[1] // 2)
        found.append(pixels)
    return found


@torch.no_grad()
def scores(restore: Callable[[Tensor], Tensor], pixels: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """Return the scores by damage, in dB; for clean pictures there is no gain."""
    found = {}
    for name, damage in DAMAGE.items():
        rows = []
        for one in pixels:
            truth, given = to_tensor(one), to_tensor(damage(one))
            made = restore(given[None])[0]
            rows.append([float(psnr(x, truth)) for x in (given, made)])
            rows[-1] += [float(psnr(x, truth, "y")) for x in (given, made)]
        given_rgb, rgb, given_y, y = np.mean(rows, 0)
        found[name] = {"rgb": rgb, "luma": y}
        if name != "clean":
            found[name] |= {"gain_rgb": rgb - given_rgb, "gain_luma": y - given_y}
        found[name] = {key: round(float(value), 3) for key, value in found[name].items()}
        print(f"  {name:18}", "  ".join(f"{key} {value:6.2f}" for key, value in found[name].items()), flush=True)
    return found


def main() -> None:
    """Score a model on each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run of configs/real/restore.yaml, or any model that keeps the size")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--at-most", type=int, default=100, help="pictures of each folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = api.load(args.model)
    found = {}
    for folder in args.folders:
        pixels = pictures(folder, args.at_most)
        name = "/".join(folder.parts[-2:])
        print(f"{name}: {len(pixels)} pictures")
        found[name] = {"pictures": len(pixels), **scores(model.task.translate, pixels)}
    if args.json:
        args.json.write_text(json.dumps({"model": args.model, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
