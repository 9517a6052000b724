"""Weights of other projects: each file under $I2I_DATA/weights gives its published score through `i2i.load(FILE)`.

    python benchmarks/weights.py --root $I2I_DATA                        # writes benchmarks/results/weights.json
    python benchmarks/weights.py --root $I2I_DATA --only social_gan      # the others keep their numbers

A family is a function of the data folder in `FAMILIES` that returns numbers by file. Families without a published
file there are compared with networks in their published layout instead (tests/test_published.py).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from i2i_trajectory import Trajectories
from superres import Held
from trajectory import ZOO, measured

import i2i
from i2i.metrics import PSNR
from i2i.model.foreign import read

RESULTS = Path(__file__).parent / "results" / "weights.json"
Numbers = dict[str, float]


def social_gan(root: Path) -> dict[str, Numbers]:
    """Compare ADE and FDE in metres with the published table (joint best of 20)."""
    found = {}
    for (kind, scene, frames), zoo in ZOO.items():
        model = i2i.load(root / "weights" / "social_gan" / kind / f"{scene}_{frames}_model.pt")
        numbers = measured(model.task, Trajectories(root / "ethucy", scene, "test", predicted=frames))  # type: ignore[arg-type]
        off = max(abs(numbers[name] - known) for name, known in zip(("ade", "fde"), zoo, strict=True))
        kept = {"ade": numbers["ade"], "fde": numbers["fde"], "zoo_ade": zoo[0], "zoo_fde": zoo[1], "off": off}
        found[f"{kind}/{scene}_{frames}_model.pt"] = kept
        print(f"{kind} {scene} {frames}: {kept['ade']:.3f}/{kept['fde']:.3f}, at most {off:.3f} away", flush=True)
    return found


def carn_m(root: Path) -> dict[str, Numbers]:
    """Compare the PSNR of CARN-M at x4 with the table of arXiv:1803.08664: luma, 4 pixels cropped at each border."""
    task = i2i.load(root / "weights" / "carn_m.pth").task
    found = {}
    for name, known in (("Set5", 31.92), ("Set14", 28.42)):
        measured = PSNR(space="y", crop=4)(task, Held(root / "sr" / name, 4))["db"]
        found[name] = {"psnr_y": measured, "published": known, "off": abs(measured - known)}
        print(f"CARN-M x4 on {name}: {measured:.2f} dB, published {known}", flush=True)
    return found


def reading(root: Path) -> dict[str, Numbers]:
    """Compare the CPU seconds of reading 65 MB, the size of an ESRGAN, in a child process and with `torch.load`."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.pth"
        torch.save({f"conv{n}.weight": torch.randn(64, 64, 3, 3) for n in range(440)}, file)
        for zipped in (True, False):
            torch.save(torch.load(file, weights_only=True), file, _use_new_zipfile_serialization=zipped)
            ours = fastest(lambda: read(file))
            plain = fastest(lambda: torch.load(file, weights_only=True))
            numbers = {"bytes": float(file.stat().st_size), "cpu_seconds": ours, "torch_load_cpu_seconds": plain}
            found["zip" if zipped else "legacy"] = numbers
            size = numbers["bytes"] / 1e6
            print(f"reading {size:.0f} MB: {ours:.2f} CPU s, torch.load alone {plain:.2f} s", flush=True)
    return found


def fastest(run: Callable[[], Any], times: int = 5) -> float:
    """Return the least CPU seconds of several calls, child processes included."""
    taken = []
    for _ in range(times):
        start = sum(os.times()[:4])
        run()
        taken.append(sum(os.times()[:4]) - start)
    return min(taken)


FAMILIES: dict[str, Callable[[Path], dict[str, Numbers]]] = {
    "social_gan": social_gan,
    "carn_m": carn_m,
    "reading": reading,
}


def main() -> None:
    """Measure, print, and replace the numbers of the measured families in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="the folder with weights, ethucy and sr")
    parser.add_argument(
        "--only", nargs="*", choices=sorted(FAMILIES), default=sorted(FAMILIES), help="these families"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in given.only:
        found[name] = FAMILIES[name](given.root)
    found["command"] = "python benchmarks/weights.py --root $I2I_DATA"
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
