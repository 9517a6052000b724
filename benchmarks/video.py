"""Video benchmarks: what the metrics rank on real clips, and the results of runs with their controls.

    python benchmarks/video.py features --data $I2I_DATA/video --json benchmarks/results/video_features.json
    python benchmarks/video.py runs runs/videogan runs/video_prediction --json benchmarks/results/video.json
    python benchmarks/video.py training runs/vgan_actions --json benchmarks/results/video_actions.json
    python benchmarks/video.py show runs/videogan -o run.gif

`features`: half of the real clips against the other half, as they are and changed: blurred or with noise (the motion
is right), at twice the speed, with shuffled frames, or a still repeated (each frame is right). A distance that is of
use ranks them in about this order, with the first near 0.

`runs`: what each run measured at its end, in one file.

`training`: 128 generated clips against 128 training clips and against all validation clips, and the training clips
against the validation clips, each with its controls; and how far each generated clip is from the nearest training
clip. Use it where there are few validation clips.

`show`: an animation with a column for each class.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from i2i_scenes.moving import MovingDigits
from i2i_videogan.metrics import compared, distances, features
from i2i_videogan.motion import energy_distance, flow, shuffled, stills
from torch import Tensor
from torch.nn.functional import avg_pool2d

from i2i import Model, api, images, latent

MANY = 128  # generated and training clips
Changes = dict[str, Callable[[Tensor], Tensor]]


def real_clips(folder: Path) -> dict[str, Tensor]:
    """Return real clips [N, 16, C, H, W] in [-1, 1] by name: drawn digits, and those of `folder`."""
    shapes = np.load(folder / "shapes.npz")["clips"][-200:]
    with np.load(folder / "actions.npz") as found:
        actions = np.split(found["frames"], found["offsets"][1:-1])
    pieces = np.stack([clip[start : start + 16] for clip in actions for start in (0, 10)])
    digits = torch.stack([sample["clip"] for sample in MovingDigits(samples=10).validation()])
    as_clips = [torch.from_numpy(clips).movedim(4, 2) / 127.5 - 1 for clips in (shapes, pieces)]
    return {"digits": digits, "shapes": as_clips[0], "actions": as_clips[1]}


def blurred(clips: Tensor) -> Tensor:
    """Average each pixel with its eight neighbours."""
    return avg_pool2d(clips.flatten(0, 1), 3, 1, 1, count_include_pad=False).unflatten(0, clips.shape[:2])


def noisy(clips: Tensor) -> Tensor:
    """Add noise with a standard deviation of 0.1."""
    return (clips + 0.1 * torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


def faster(clips: Tensor) -> Tensor:
    """Play at twice the speed, and half of the time backwards, so that the clip is as long as before."""
    fast = clips[:, ::2]
    return torch.cat([fast, fast.flip(1)], 1)


CHANGES: Changes = {
    "as they are": lambda clips: clips,
    "blurred": blurred,
    "noisy": noisy,
    "twice as fast": faster,
    "shuffled": shuffled,
    "still": stills,
}


def of_features(folder: Path) -> dict[str, Any]:
    """Return the distance and the motion of each change, by data set."""
    found: dict[str, Any] = {}
    for name, clips in real_clips(folder).items():
        first, second = clips[::2], clips[1::2]
        truth = features(second)
        mean, scale = truth.mean(0), truth.std(0).clamp_min(0.02)
        for change, changed in CHANGES.items():
            made = changed(first)
            distance = energy_distance((features(made) - mean) / scale, (truth - mean) / scale)
            found.setdefault(name, {})[change] = {"space_time": distance, **compared(list(made), list(second))}
            print(name, change, f"{distance:.3f}", flush=True)
    return found


def of_runs(runs: list[str]) -> dict[str, Any]:
    """Return what each run measured at its end."""
    return {Path(run).name: json.loads((Path(run) / "metrics.json").read_text()) for run in runs}


def of_training(runs: list[str]) -> dict[str, Any]:
    """Return motion and distances of generated clips against training and validation clips, and of the former two."""
    found: dict[str, Any] = {}
    for run in runs:
        model = api.load(run)
        data = latent.data_of(model)
        source = np.random.default_rng(0)
        chosen = [data.sample(n % len(data), source) for n in range(MANY)]
        training = torch.stack([sample["clip"] for sample in chosen])
        held_out = torch.stack([sample["clip"] for sample in data.validation()])
        torch.manual_seed(0)
        with torch.no_grad():
            made = model.task.sample(MANY, **labels(model, chosen))
        pairs = {
            "generated, training": (made, training),
            "generated, validation": (made, held_out),
            "training, validation": (training, held_out),
        }
        scores = {name: {**compared([*a], [*b]), **distances(a, b)} for name, (a, b) in pairs.items()}
        near = {"generated": nearest(made, data), "validation": nearest(held_out, data)}
        found[Path(run).name] = {**scores, "nearest": near, "mean flow by class": by_class(model, chosen)}
        print(json.dumps(found, indent=1), flush=True)
    return found


def labels(model: Model, chosen: list[Any]) -> dict[str, Any]:
    """Return the classes of these training clips, so that as many clips of each are generated, if there are any."""
    return {"label": [int(one["label"]) for one in chosen]} if getattr(model.task, "classes", ()) else {}


def by_class(model: Model, chosen: list[Any]) -> dict[str, dict[str, float]]:
    """Return the mean flow of 16 generated clips and of the given training clips of each class, in frame sides."""
    found = {}
    for number, name in enumerate(getattr(model.task, "classes", ())):
        with torch.no_grad():
            made = model.task.sample(16, label=name)
        pairs = {"generated": [*made], "training": [one["clip"] for one in chosen if one["label"] == number]}
        found[name] = {of: torch.cat([flow(clip) for clip in clips]).mean().item() for of, clips in pairs.items()}
    return found


def nearest(clips: Tensor, data: Any) -> float:
    """Return the mean root mean square distance of clips [N, T, C, H, W] to the nearest piece of a training clip.

    Pieces start at any frame, mirrored or not.
    """
    least = torch.full([len(clips)], torch.inf)
    for clip in data.train.clips:
        whole = torch.from_numpy(clip).movedim(3, 1) / 127.5 - 1
        for start in range(len(clip) - data.span + 1):
            piece = whole[start : start + data.span : data.stride]
            for one in (piece, piece.flip(3)):
                least = torch.minimum(least, (clips - one).square().mean((1, 2, 3, 4)))
    return least.sqrt().mean().item()


def show(run: str, out: Path, columns: int, enlarge: int) -> None:
    """Write a GIF with a column for each class, or eight columns, of `columns` clips each, always the same ones."""
    model = api.load(run)
    classes = getattr(model.task, "classes", ()) or ("",) * 8
    torch.manual_seed(0)
    with torch.no_grad():
        rows = [model.task.sample(columns, **({"label": one} if one else {})) for one in classes]
    clips = torch.stack(rows, 1)  # [columns, classes, T, C, H, W]
    sheet = clips.permute(2, 3, 0, 4, 1, 5).flatten(2, 3).flatten(3, 4)
    frames = images.to_uint8(sheet).repeat(enlarge, 1).repeat(enlarge, 2)
    out.write_bytes(images.gif(frames, 8))


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["features", "runs", "training", "show"])
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("run.gif"))
    parser.add_argument("--columns", type=int, default=3)
    parser.add_argument("--enlarge", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "show":
        show(given.runs[0], given.out, given.columns, given.enlarge)
        return
    if given.what == "features":
        found = of_features(given.data)
    else:
        found = (of_runs if given.what == "runs" else of_training)(given.runs)
    if given.json:
        said = {"command": "python " + shlex.join(sys.argv), **found}
        given.json.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
