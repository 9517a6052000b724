"""How fast are training images loaded? `python benchmarks/read.py [--json OUT]`

One thread, CPU time, one process; the published recipe and i2i alternate on the same images with the same
crops and flips, and must return the same values. Goal: reading from the cache costs at most 0.15 of
decoding and augmenting. The reference is the recipe of CycleGAN in plain Pillow, numpy and torch: open,
resize to 286 x 286 (bicubic), random crop 256, flip, scale to [-1, 1].

The images are cats and dogs from $I2I_DATA (short side 128), or generated JPEGs of 256 x 256.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image

from i2i.data import UnpairedFolders

SIZE, LOAD, GOAL = 256, 286, 0.15


def main() -> None:
    """Measure, print, and exit with 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description="How fast are training images loaded?")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pairs", type=int, default=40, help="image pairs per round")
    parser.add_argument("--generated", action="store_true", help="do not use $I2I_DATA")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = pictures(Path(folder), arguments.generated)
        result = {"pictures": source, **measured(Path(folder), arguments.rounds, arguments.pairs)}
    result |= {"python": platform.python_version(), "torch": torch.__version__, "pillow": PIL.__version__}
    for name, value in result.items():
        print(f"{name:26} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if float(result["cached / reference"]) > GOAL:
        sys.exit(f"reading from the cache costs more than {GOAL} of the reference")


def pictures(root: Path, generated: bool, n: int = 120) -> str:
    """Put some images into trainA, trainB, testA and testB, and return a description of them."""
    given = os.environ.get("I2I_DATA")
    if given and not generated:
        for part in ("trainA", "trainB", "testA", "testB"):
            (root / part).mkdir()
            for path in sorted((Path(given) / "catsdogs" / part).glob("*.jpg"))[:n]:
                shutil.copy(path, root / part)
        return "catsdogs, short side 128"
    rng = np.random.default_rng(0)
    for part in ("trainA", "trainB", "testA", "testB"):
        (root / part).mkdir()
        for number in range(n if part.startswith("train") else 2):
            coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).resize((256, 256), 3)
            grain = rng.normal(0, 8, (256, 256, 3))
            image = Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))
            image.save(root / part / f"{number:03d}.jpg", quality=92)
    return "generated, 256 x 256"


def reference(path: Path, rng: np.random.Generator) -> torch.Tensor:
    """Return one training image by the published recipe, as float32 [3, 256, 256] in [-1, 1]."""
    image = Image.open(path).convert("RGB").resize((LOAD, LOAD), Image.Resampling.BICUBIC)
    top, left = rng.integers(LOAD - SIZE + 1, size=2)
    image = image.crop((left, top, left + SIZE, top + SIZE))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    return tensor.sub_(0.5).div_(0.5)


def measured(root: Path, rounds: int, pairs: int) -> dict[str, float | str]:
    """Time the reference, i2i with and without its cache, and the reference again, alternating."""
    made = {name: UnpairedFolders(str(root), SIZE, LOAD, cache=name == "cached") for name in ("cached", "decoded")}
    a, b = (made["decoded"].train[domain].paths for domain in "AB")

    def by_reference(index: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        drawn = int(rng.integers(len(b)))
        return {"A": reference(a[index % len(a)], rng), "B": reference(b[drawn], rng)}

    ways: dict[str, Callable[..., dict[str, torch.Tensor]]] = {
        "reference": by_reference,
        "cached": made["cached"].sample,
        "decoded": made["decoded"].sample,
        "reference again": by_reference,
    }
    for index in range(20):
        expected = by_reference(index, np.random.default_rng(index))
        for name, way in ways.items():
            sample = way(index, np.random.default_rng(index))
            assert all(torch.equal(sample[key], expected[key]) for key in expected), f"{name} differs"
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first round warms up
        for name, way in ways.items():
            start = time.process_time()
            for index in range(pairs):
                way(index, np.random.default_rng([number, index]))
            times[name].append((time.process_time() - start) / pairs / 2 * 1e3)
    middle = {name: statistics.median(found[1:]) for name, found in times.items()}
    result: dict[str, float | str] = {}
    for name, value in middle.items():
        result[f"{name}, ms a picture"] = round(value, 3)
    for name in ("cached", "decoded", "reference again"):
        result[f"{name} / reference"] = round(middle[name] / middle["reference"], 3)
    return result


if __name__ == "__main__":
    main()
