"""Do the outputs of SPADE match the label map, and do they follow the style? On the validation samples of runs.

    python benchmarks/spade.py runs/spade_camvid runs/pix2pix_camvid --root $I2I_DATA/camvid --json OUT

A small segmentation network is trained on the real training pairs. It then segments the real photographs of the
validation samples (mIoU real) and what each run generates from their label maps (mIoU made). Unlabelled pixels are
ignored. The same network, never trained on generated images, judges all runs, so they must have the same data.

A run with an encoder is evaluated twice: in styles sampled from N(0, I) (mIoU made), and in the style of training
photographs (mIoU in styles). In addition, images for 100 label maps are generated in the style of 100 training
photographs, and their mean brightness and colours are compared with those of their styles by Spearman's rank
correlation.

Goals: mIoU made >= 0.6 of mIoU real; SPADE above pix2pix; rank correlations above 0.5.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import datetime
import json
import os.path
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import default_collate

from i2i import config, load
from i2i.data import Data
from i2i.data.segmaps import Classes
from i2i.metrics.base import answers, device_of
from i2i.plugins import registry

PAIRS = 100


class Judge(nn.Module):
    """A segmentation U-Net: [N, 3, H, W] in [-1, 1] -> logits [N, classes, H, W]."""

    def __init__(self, classes: int, width: int = 24, depth: int = 4) -> None:
        super().__init__()
        widths = [width * 2**n for n in range(depth)]
        self.downs = nn.ModuleList(twice(before, after) for before, after in zip([3, *widths], widths, strict=False))
        self.ups = nn.ModuleList(twice(3 * width, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits; H and W must be multiples of 8."""
        kept = []
        for down in self.downs:
            x = down(F.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        kept.pop()
        for up in self.ups:
            x = up(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), kept.pop()], 1))
        return self.head(x)


def twice(channels: int, out: int) -> nn.Sequential:
    """Return two 3x3 convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for before in (channels, out):
        layers += [nn.Conv2d(before, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers)


def trained(data: Data, classes: Classes, steps: int, seed: int = 0, batch: int = 8) -> Judge:
    """Train a judge on the training samples of a data set.

    Rare classes are weighted by 1 / log(1.02 + share) (arXiv:1606.02147). Brightness, contrast and colours of the
    photographs are augmented, so that it relies on shapes and textures in any light.
    """
    torch.manual_seed(seed)
    table = torch.from_numpy(classes.table())
    judge, order = Judge(classes.count), np.random.default_rng(seed)
    seen = [data.sample(int(n), np.random.default_rng(int(n)))["A"] for n in order.permutation(len(data))[:100]]
    shares = torch.bincount(table[torch.stack(seen)].flatten(), minlength=classes.count)[: classes.count].float()
    weight = 1 / torch.log(1.02 + shares / shares.sum())
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        chosen = order.integers(len(data), size=batch)
        samples = [data.sample(int(n), np.random.default_rng([step, place])) for place, n in enumerate(chosen)]
        given = default_collate(samples)
        label = table[given["A"][:, 0]]
        loss = F.cross_entropy(judge(altered(given["B"])), label, weight, ignore_index=classes.count)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"judge {step + 1}/{steps}  loss {loss.item():.3f}", file=sys.stderr)
    return judge.eval()


def kept(file: Path | None, data: Data, classes: Classes, steps: int, seed: int) -> Judge:
    """Load the judge from a file, if it was trained with these steps and this seed; else train and save one."""
    said = {"steps": str(steps), "seed": str(seed)}
    if file is not None and file.exists():
        with safe_open(file, "pt") as opened:
            found = opened.metadata()
        if found != said:
            sys.exit(f"{file} contains a judge with {found}, not {said}: use another file")
        judge = Judge(classes.count).eval()
        judge.load_state_dict(load_file(file))
        return judge
    judge = trained(data, classes, steps, seed)
    if file is not None:
        save_file(judge.state_dict(), file, said)
    return judge


def altered(image: Tensor) -> Tensor:
    """Return photographs under random lighting."""
    n = len(image)
    gain = (1 + 0.3 * torch.randn(n, 1, 1, 1)) * (1 + 0.1 * torch.randn(n, 3, 1, 1))
    return (image * gain + 0.2 * torch.randn(n, 1, 1, 1)).clamp(-1, 1)


def confusion(judge: Judge, image: Tensor, label: Tensor, classes: Classes) -> Tensor:
    """Return the confusion matrix of one photograph [3, H, W]: true classes are rows, predictions columns."""
    with torch.no_grad():
        found = judge(F.interpolate(image[None], label.shape[-2:], mode="area")).argmax(1)[0]
    truth = torch.from_numpy(classes.table())[label[0]]
    counted = truth < classes.count
    both = truth[counted] * classes.count + found[counted]
    return torch.bincount(both, minlength=classes.count**2).view(classes.count, classes.count)


def miou(counts: Tensor) -> tuple[float, list[float]]:
    """Return the mean intersection over union of the classes that occur, and the IoU of each class."""
    hits = counts.diagonal().float()
    union = counts.sum(0) + counts.sum(1) - hits
    each = hits / union.clamp_min(1)
    return each[counts.sum(1) > 0].mean().item(), [round(value, 4) for value in each.tolist()]


def read(
    judge: Judge, pictures: Sequence[Tensor], labels: Sequence[Tensor], classes: Classes
) -> tuple[float, list[float]]:
    """Return `miou` of images [3, H, W] against their label maps [1, H, W]."""
    return miou(torch.stack([confusion(judge, *pair, classes) for pair in zip(pictures, labels, strict=True)]).sum(0))


def in_styles(task: Any, data: Data, n: int) -> list[tuple[Tensor, Tensor]]:
    """Return `n` pairs of a training photograph and an output in its style, for validation label maps, [3, H, W]."""
    samples, device = data.validation(), device_of(task)
    chosen = np.random.default_rng(0).permutation(len(data))
    pairs = []
    for place in range(n):
        style = data.sample(int(chosen[place % len(data)]), np.random.default_rng(place))["B"]
        label = samples[place % len(samples)]["A"]
        with torch.no_grad():
            painted = task.translate(label[None].to(device), style=style[None].to(device))[0].cpu()
        pairs.append((style, painted))
    return pairs


def follows(pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Return the rank correlations of brightness and colours between styles and outputs."""
    first, second = (torch.stack([one.mean((1, 2)) for one in side]).double() for side in zip(*pairs, strict=True))
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    asked = {"brightness": lambda rgb: rgb @ luma, "warmth (red - blue)": lambda rgb: rgb[:, 0] - rgb[:, 2]}
    asked |= {name: lambda rgb, n=n: rgb[:, n] for n, name in enumerate(("red", "green", "blue"))}
    return {name: round(spearman(of(first), of(second)), 3) for name, of in asked.items()}


def spearman(a: Tensor, b: Tensor) -> float:
    """Return the rank correlation of two lists without ties."""
    ranks = torch.stack([a.argsort().argsort(), b.argsort().argsort()]).double()
    return torch.corrcoef(ranks)[0, 1].item()


def data_of(run: Path, changes: list[str]) -> tuple[Data, Data]:
    """Return the data set of a run, and the same data set with class indices as "A"."""
    chosen = config.load(run / "config.yaml", changes, registry().catalog)
    coded = chosen.tree["data"].get("encode") == "colours"
    index = config.load(run / "config.yaml", [*changes, "data.encode=index"], registry().catalog) if coded else chosen
    return chosen.data(), index.data()


def main() -> None:
    """Train the judge, evaluate the runs, print and save."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--root", help="folder of their data set")
    parser.add_argument("--steps", type=int, default=1500, help="training steps of the judge")
    parser.add_argument("--seed", type=int, default=0, help="seed of the judge")
    parser.add_argument("--judge", type=Path, help="save the judge to this file, or load it if it exists")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    changes = ["data.workers=0", *([f"data.root={arguments.root}"] if arguments.root else [])]
    sets = {run: data_of(run, changes) for run in arguments.runs}
    truth = sets[arguments.runs[0]][1]
    classes: Classes = truth.classes  # type: ignore[attr-defined]  # label_maps and landscapes have them
    labels = [truth.validation()[n]["A"] for n in range(len(truth.validation()))]
    for run, (_, index) in sets.items():
        if len(index.validation()) != len(labels) or not torch.equal(index.validation()[0]["A"], labels[0]):
            sys.exit(f"{run} has other validation samples than {arguments.runs[0]}: evaluate it separately")

    start = time.perf_counter()
    judge = kept(arguments.judge, truth, classes, arguments.steps, arguments.seed)
    seconds = time.perf_counter() - start
    real = [truth.validation()[n]["B"] for n in range(len(labels))]
    best, each = read(judge, real, labels, classes)
    print(f"judge: {seconds:.0f} s; mIoU real {best:.4f}  {each}")
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "judge": {
            "steps": arguments.steps,
            "seed": arguments.seed,
            "seconds": round(seconds),  # near 0 if it was loaded
            "miou_real": best,
            "by_class": each,
        },
        "validation_samples": len(labels),
        "runs": {},
    }
    for run, (data, _) in sets.items():
        task = load(run).task
        score, each = read(judge, [fake for _, fake in answers(task, data)], labels, classes)
        found: dict[str, Any] = {"miou_made": score, "of_real": score / best, "by_class": each}
        if getattr(task, "E", None) is not None:
            pairs = in_styles(task, data, max(PAIRS, len(labels)))
            found["miou_in_styles"], _ = read(judge, [made for _, made in pairs[: len(labels)]], labels, classes)
            found["style_rank_correlation"] = follows(pairs[:PAIRS])
        result["runs"][os.path.basename(run)] = found
        print(f"{run}: mIoU made {score:.4f}, {score / best:.2f} of real")
        if "miou_in_styles" in found:
            print(
                f"  in styles of training photographs {found['miou_in_styles']:.4f}  "
                f"{found['style_rank_correlation']}"
            )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
