"""What does `i2i translate --steady` bring? `python benchmarks/steady.py [--json benchmarks/results/steady.json]`

Each clip (`$I2I_DATA/video/actions.npz`: people who move, 64x64) is translated frame by frame, without and with
`--steady`. Measured is the warping error of Lai et al. (arXiv:1808.00449): each result is compared with the one
before, moved along with the motion of the input, where this motion is visible in both frames and explains the input:
a pixel counts by exp(-50 |input - moved input|^2), as there. The motion is Farneback's flow, not the one that
steadies. Given as the root mean square in levels of 255; lower is steadier. "everywhere" counts all visible pixels
alike, also those whose motion the flow has not understood; "input" is the same number of the input itself.

What it costs: PSNR to the real frames for upscale-x2 (the input is shrunk by two), and how much fine detail is left,
as the mean strength of the Laplacian of the results with steadying, divided by that without. At a cut, the first
frame has to be that of the network alone.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import json
import platform
import time
from pathlib import Path

import cv2
import numpy as np

import i2i
from i2i.images.steady import Steady, warped

MODELS = ("upscale-x2", "colorize", "horse2zebra", "restore")


def main() -> None:
    """Measure, print, and exit with 1 if a warping error has not become lower, or a cut was not noticed."""
    parser = argparse.ArgumentParser(description="What does --steady bring?")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--clips", type=int, default=36)
    arguments = parser.parse_args()
    clips = chosen(arguments.clips)
    rows = {name: measured(name, clips) for name in arguments.models}
    cuts = cuts_noticed(clips)
    found = {"machine": platform.platform(), "clips": len(clips), "frames": sum(map(len, clips)), "models": rows}
    found["cuts"] = cuts
    for name, row in rows.items():
        print(f"{name:12} {'  '.join(f'{key} {value}' for key, value in row.items())}")
    print(f"cuts noticed {cuts['noticed']} of {cuts['made']}, false ones {cuts['false']} of {cuts['frames']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    good = all(row["warping_error_steady"] < row["warping_error"] for row in rows.values())
    raise SystemExit(not good or cuts["noticed"] < cuts["made"])


def chosen(count: int) -> list[np.ndarray]:
    """Return clips uint8 [T, 64, 64, 3], evenly from the four actions."""
    data = np.load(Path(os.environ["I2I_DATA"]) / "video" / "actions.npz", allow_pickle=False)
    clips = np.split(data["frames"], data["offsets"][1:-1])
    return [clips[round(place)] for place in np.linspace(0, len(clips) - 1, count)]


def measured(name: str, clips: list[np.ndarray]) -> dict[str, float]:
    """Return the numbers of one model over all clips."""
    model = i2i.load(name)
    upscales = model.task.makes.scale == 2  # type: ignore[attr-defined]
    sums: dict[str, list[float]] = {key: [] for key in ("detail", "psnr", "psnr_steady")}
    errors: dict[str, list[tuple[float, float]]] = {key: [] for key in ("input", "plain", "steady")}
    network = mixing = 0.0
    for clip in clips:
        given = np.stack([halved(frame) for frame in clip]) if upscales else clip
        began = time.monotonic()
        plain = [np.asarray(model(frame)) for frame in given]
        network += time.monotonic() - began
        began, steady = time.monotonic(), Steady()
        calm = [steady(frame, made) for frame, made in zip(given, plain, strict=True)]
        mixing += time.monotonic() - began
        for key, made in (("input", list(given)), ("plain", plain), ("steady", calm)):
            errors[key] += warping(given, made)
        sums["detail"].append(detail(calm) / detail(plain))
        if upscales:
            sums["psnr"] += [psnr(made, real) for made, real in zip(plain, clip, strict=True)]
            sums["psnr_steady"] += [psnr(made, real) for made, real in zip(calm, clip, strict=True)]
    frames = sum(map(len, clips))
    row = {
        "warping_error": rms(errors["plain"])[0],
        "warping_error_steady": rms(errors["steady"])[0],
        "warping_error_input": rms(errors["input"])[0],
        "everywhere": rms(errors["plain"])[1],
        "everywhere_steady": rms(errors["steady"])[1],
        "detail_left": round(float(np.mean(sums["detail"])), 4),
        "network_ms": round(1000 * network / frames, 1),
        "steady_ms": round(1000 * mixing / frames, 1),
    }
    if upscales:
        row |= {key: round(float(np.mean(sums[key])), 3) for key in ("psnr", "psnr_steady")}
    return row


def rms(squares: list[tuple[float, float]]) -> list[float]:
    """Return the roots of the means of squared errors."""
    return [round(float(value), 3) for value in np.sqrt(np.mean(squares, axis=0))]


def halved(frame: np.ndarray) -> np.ndarray:
    """Return a frame of half the size."""
    return cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def warping(given: np.ndarray, made: list[np.ndarray]) -> list[tuple[float, float]]:
    """Return the mean squared difference, in levels, of each result to the one before, moved with the input.

    The first number is weighted by how well the motion explains the input, the second is not.
    """
    found = []
    for before, now, old, new in zip(given[:-1], given[1:], made[:-1], made[1:], strict=True):
        greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, now)]
        back, forth = farneback(greys[1], greys[0]), farneback(greys[0], greys[1])
        there = warped(forth, back, cv2.INTER_LINEAR)
        length = np.square(back).sum(2) + np.square(there).sum(2)
        visible = (np.square(back + there).sum(2) < 0.01 * length + 0.5).astype(np.float32)
        unlike = (warped(before, back, cv2.INTER_LINEAR).astype(np.float32) - now) / 255
        explained = visible * np.exp(-50 * np.square(unlike).sum(2))
        size = new.shape[1], new.shape[0]
        scale = size[0] / given.shape[2]
        flow = cv2.resize(back, size) * scale
        mask, weight = cv2.resize(visible, size) > 0.5, cv2.resize(explained, size)
        difference = np.square(warped(old, flow, cv2.INTER_LINEAR).astype(np.float32) - new).mean(2)
        if mask.any():
            found.append((float((difference * weight).sum() / weight.sum()), float(difference[mask].mean())))
    return found


def farneback(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return Farneback's flow between two grey frames."""
    return cv2.calcOpticalFlowFarneback(now, before, None, 0.5, 3, 15, 3, 5, 1.2, 0)


def detail(frames: list[np.ndarray]) -> float:
    """Return the mean strength of the Laplacian."""
    return float(np.mean([np.abs(cv2.Laplacian(frame.astype(np.float32), cv2.CV_32F)).mean() for frame in frames]))


def psnr(made: np.ndarray, real: np.ndarray) -> float:
    """Return the PSNR in dB."""
    return float(10 * np.log10(255**2 / np.square(made.astype(np.float64) - real).mean()))


def cuts_noticed(clips: list[np.ndarray]) -> dict[str, int]:
    """Join clips of different places, and count the cuts at which steadying starts over, and other such frames."""
    noticed = false = frames = 0
    for first, second in itertools.pairwise(clips):
        steady, before = Steady(), 0
        joined = [*first[-5:], *np.flip(255 - second[:5], 2)]  # another light and another place
        for number, frame in enumerate(joined):
            out = steady(frame, frame)
            if number == 5:
                noticed += steady.cuts == before + 1 and np.array_equal(out, frame)
            elif steady.cuts > before:
                false += 1
            before = steady.cuts
            frames += 1
    return {"made": len(clips) - 1, "noticed": noticed, "false": false, "frames": frames - (len(clips) - 1)}


if __name__ == "__main__":
    main()
