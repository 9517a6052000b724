"""What do tiles cost a network that sees the whole picture? `python benchmarks/tiles.py [--json FILE]`

Each row is one picture of noise through the published generator of CycleGAN (or another network), in a process of its
own and on one thread: the time, and the most memory beyond that of the process with the network. `whole` rows are not
tiled. The last rows compare a tiled picture with the whole one, for each bundled model.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from memory import photograph, resident

import i2i
from i2i.networks import ResnetGenerator, UnetGenerator
from i2i.staged import Staged

MB, GOAL = 1e6, 0.10
NETWORKS = {
    "resnet": lambda: ResnetGenerator(),
    "horse2zebra": lambda: ResnetGenerator(width=24, blocks=3, upsample="resize", masked=True, chroma=0.5),
    "unet": lambda: UnetGenerator(norm="instance"),
}
MODELS = ["horse2zebra", "colorize", "restore", "upscale-x2", "upscale-x4"]


def main() -> None:
    """Measure in processes of their own, print, and exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="What do tiles cost a network that sees the whole picture?")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--networks", nargs="*", default=["resnet"])
    parser.add_argument("--whole", nargs="*", type=int, default=[512, 1024], help="sides of pictures, not tiled")
    parser.add_argument("--sides", nargs="*", type=int, default=[512, 1024, 2048, 4096], help="of tiled pictures")
    parser.add_argument("--tiles", nargs="*", type=int, default=[128, 256, 512])
    parser.add_argument("--jobs", nargs="*", help="network:side:tile in place of all of these; tile 0 is the whole")
    parser.add_argument("--models", nargs="*", default=MODELS, help="compared with the whole picture")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, side, tile = arguments.one
        print(json.dumps(one(name, int(side), int(tile))))
        return
    jobs = [(name, side, 0) for name in arguments.networks for side in arguments.whole]
    jobs += [
        (name, side, tile)
        for name in arguments.networks
        for side in arguments.sides
        for tile in arguments.tiles
        if side <= 1024 or tile == arguments.tiles[0]
    ]
    if arguments.jobs:
        jobs = [(name, int(side), int(tile)) for name, side, tile in (job.split(":") for job in arguments.jobs)]
    rows: list[dict[str, Any]] = []
    for job in jobs:
        command = [sys.executable, __file__, "--one", *map(str, job)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        whole = next((r for r in rows if not r["tile"] and (r["network"], r["side"]) == job[:2]), None)
        if whole is not None and rows[-1]["tile"]:
            rows[-1]["of the memory"] = round(rows[-1]["peak, MB"] / whole["peak, MB"], 3)
            rows[-1]["of the CPU time"] = round(rows[-1]["CPU seconds"] / whole["CPU seconds"], 2)
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
        write(arguments.json, rows, [])
    equal = [difference(name, tile) for name in arguments.models for tile in (128, 256, 512, 100, 333)]
    for row in equal:
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    write(arguments.json, rows, equal)
    missed = [
        r
        for r in rows
        if r.get("of the memory", 0) > GOAL and (r["network"], r["side"], r["tile"]) == ("resnet", 1024, 128)
    ]
    missed += [row for row in equal if row["largest difference, of 255"] > 1]
    if missed:
        sys.exit(f"missed: {missed}")


def write(path: Path | None, rows: list[dict[str, Any]], equal: list[dict[str, Any]]) -> None:
    """Write what has been measured so far."""
    result = {"rows": rows, "models": equal, "python": platform.python_version(), "torch": torch.__version__}
    if path is not None:
        path.write_text(json.dumps(result | {"threads": 1}, indent=1) + "\n")


def one(name: str, side: int, tile: int) -> dict[str, Any]:
    """Run a network on one picture, and return what it took."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if tile:
        run = Staged(torch.device("cpu"))(network, tile, depth=torch.uint8)
    else:
        run = lambda image: network(image.float() / 127.5 - 1)  # noqa: E731
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, began, used = resident("VmRSS"), time.monotonic(), time.process_time()
    with torch.inference_mode():
        run(image)
    seconds = time.monotonic() - began
    return {
        "network": name,
        "side": side,
        "tile": tile or None,
        "peak, MB": round((resident("VmHWM") - before) / MB),
        "process before, MB": round(before / MB),
        "seconds": round(seconds, 1),
        "CPU seconds": round(time.process_time() - used, 1),
    }


def difference(name: str, tile: int) -> dict[str, Any]:
    """Translate a photograph of odd size with a bundled model, in tiles and as a whole, and compare."""
    model, given = i2i.load(name), photograph(403, 349)
    whole, cut = (np.asarray(model(given, tile=side)).astype(int) for side in (None, tile))
    apart = np.abs(whole - cut)
    return {
        "model": name,
        "tile": tile,
        "largest difference, of 255": int(apart.max()),
        "share of other values": float(f"{(apart > 0).mean():.2g}"),
    }


if __name__ == "__main__":
    main()
