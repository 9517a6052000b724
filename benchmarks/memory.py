"""How much memory does a large picture take? `python benchmarks/memory.py [--json benchmarks/results/memory.json]`

Each row is one `i2i translate` of a generated photograph, in a process of its own: peak resident memory beyond that
of the process after a small picture, in tiles of 256 or in one piece, and what i2i estimated beforehand. "bytes a
pixel" is per pixel of the result; it includes what the network takes for one tile, which is the same for every size.
Goal: 15 bytes for 12 megapixels in tiles at x4. The last rows translate pictures of many sizes one after the other:
memory has to stay flat within 50 MB.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import i2i
from i2i.images import Output
from i2i.images.large import LARGE
from i2i.images.rows import png_rows
from i2i.images.spill import empty
from i2i.modalities import Image as Images
from i2i.model import translate_files
from i2i.model.memory import Plan
from i2i.networks import CompactSR

GOAL, FLAT, MB = 15, 50, 1e6
SIZES = {0.5: (816, 612), 0.75: (1000, 750), 3: (2000, 1500), 12: (4000, 3000)}  # width and height by megapixels
SIZES |= {4: (2048, 2048), 17: (4096, 4096), 67: (8192, 8192), 100: (10_000, 10_000), 400: (20_000, 20_000)}
HUGE = 20e6  # pixels from which on a photograph consists of copies
WHOLE = 0.5  # megapixels up to which pictures are translated in one piece too; the others would take hours and swap


def main() -> None:
    """Measure in processes of their own, print, and exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="How much memory does a large picture take?")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--models", nargs="+", default=["small-x4", "upscale-x4", "upscale-x2"])
    parser.add_argument("--megapixels", nargs="*", type=float, default=list(SIZES))
    parser.add_argument("--sizes", type=int, default=1000, help="pictures of the last rows; 0 for none")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        model, megapixels, tile = arguments.one
        print(
            json.dumps(many(model, int(tile)) if megapixels == "many" else one(model, float(megapixels), int(tile)))
        )
        return
    jobs = [
        (model, size, tile)
        for model in arguments.models
        for size in arguments.megapixels
        for tile in (256, 0)
        if tile or size <= WHOLE
    ]
    rows = []
    for job in [*jobs, *((model, "many", arguments.sizes) for model in arguments.models if arguments.sizes)]:
        command = [sys.executable, __file__, "--one", *map(str, job)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    result = {"rows": rows, "python": platform.python_version(), "torch": torch.__version__, "threads": 1}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    missed = [
        r
        for r in rows
        if r.get("tile") and r["megapixels"] == 12 and r["model"].endswith("x4") and r["bytes a pixel"] > GOAL
    ]
    missed += [row for row in rows if row.get("growth, MB", 0) > FLAT]
    if missed:
        sys.exit(f"missed: {missed}")


def one(name: str, megapixels: float, tile: int) -> dict[str, Any]:
    """Translate one picture from file to file, and return what it took."""
    width, height = SIZES[megapixels]
    model, output = loaded(name), Output(tile=tile or None)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for file, size in (("small.png", (96, 80)), ("large.png", (width, height))):
            save(*size, home / file)
        translated(home / "small.png", home / "warm", model, Output(tile=64))
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before, began = resident("VmRSS"), time.monotonic()
        translated(home / "large.png", home / "out", model, output)
        seconds = time.monotonic() - began
    taken, result = resident("VmHWM") - before, width * height * model.task.makes.scale**2
    stages = model.stages({}) or []
    return {
        "model": name,
        "megapixels": megapixels,
        "tile": tile or None,
        "peak, MB": round(taken / MB),
        "bytes a pixel": round(taken / result, 1),
        "estimated, MB": round(
            Plan((height, width), stages, output, width * height >= LARGE, True).needs(tile or None) / MB
        ),
        "process before, MB": round(before / MB),
        "seconds": round(seconds, 1),
    }


def loaded(name: str) -> i2i.Model:
    """Load a model; "small-x4" is an untrained network, so small that what is measured are the pictures."""
    name, _, speed = name.partition(":")
    if not name.startswith("small-x"):
        return i2i.load(name, speed=speed or None)
    task, scale = i2i.Task(), int(name.removeprefix("small-x"))
    task.net, task.makes = CompactSR(scale=scale, width=8, blocks=1, convs=1), Images(scale=scale)
    task.translate = task.net.forward  # type: ignore[method-assign]
    return i2i.Model(task, {}, Path(name))


def many(name: str, number: int) -> dict[str, Any]:
    """Translate pictures of many sizes in one folder, and return how much memory grew after the first tenth."""
    rng, model = np.random.default_rng(0), loaded(name)
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for at in range(number):
            photograph(*(int(side) for side in rng.integers(40, 200, 2))).save(home / f"{at:04d}.png")
        say = lambda _: seen.append(resident("VmRSS"))  # noqa: E731
        translate_files([folder], home / "out", model, say=lambda _: None, note=say)
    first = seen[len(seen) // 10]
    return {
        "model": name,
        "pictures": number,
        "after a tenth, MB": round(first / MB),
        "at the end, MB": round(seen[-1] / MB),
        "growth, MB": round((seen[-1] - first) / MB),
    }


def translated(path: Path, out: Path, model: i2i.Model, output: Output) -> None:
    """Translate one file; fail if it fails."""
    failed = translate_files([str(path)], out, model, output=output, say=lambda _: None)
    assert not failed, failed


def resident(which: str) -> int:
    """Return a figure of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def save(width: int, height: int, path: Path) -> None:
    """Write a photograph as PNG; a huge one consists of copies of a smaller one, row by row."""
    if width * height < HUGE:
        return photograph(width, height).save(path)
    side, small = 2000, np.asarray(photograph(2000, 2000))
    values = empty((height, width, 3), np.uint8)
    for top in range(0, height, side):
        band = np.tile(small, (1, -(-width // side), 1))[:, :width]
        values[top : top + side] = band[: height - top]
    with path.open("wb") as file:
        file.writelines(png_rows(values))
    return None


def photograph(width: int, height: int) -> Image.Image:
    """Return smooth colours with some grain, which compress about as well as a photograph."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((width, height), 3)
    grain = rng.normal(0, 6, (height, width, 1)).astype(np.float32)
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
