"""Arithmetic, editing and interpolation in the latent space of a run on drawn faces, where the truth is known.

    i2i run configs/faces_vae.yaml
    python benchmarks/latent.py runs/faces_vae --json benchmarks/results/latent.json --sheet latent.png

An independent network classifies smile, glasses and sex. It is trained on its own faces, some of them blurred. Its
accuracy is reported on other faces, and on their reconstructions, which is the upper limit here.

- `arithmetic`: the share of trials in which a - b + c is classified correctly. Each trial samples three groups of
  unseen faces, and averages their codes: "smiling woman - neutral woman + neutral man" should be a smiling man, and
  likewise with glasses. `before` is how often the average of c alone is already classified so.
- `edit`: the share of unseen faces without an attribute that have it after an edit by 1 and by 2, and of those still
  classified as the same sex.
- `interpolation`: between the codes of unseen faces. `monotonic`: the share of paths on which every step is farther
  from the first image and nearer to the last than the step before. `off_blend`: the distance of the midpoint from the
  mean of both ends, relative to the distance between these (root mean square); a pixel blend has 0.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from i2i_scenes.faces import CLASSIFIER, Face, person, render
from torch import Tensor, nn

import i2i
from i2i import files, images, latent

READ = ("smile", "glasses", "sex")
STRANGERS = CLASSIFIER + (1 << 40)  # first seed of the evaluation faces


def drawn(people: list[Face], size: int) -> Tensor:
    """Return faces [N, 3, size, size] in [0, 1]."""
    pictures = np.stack([render(face, size) for face in people])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def truth(people: list[Face]) -> Tensor:
    """Return the true labels, bool [N, 3]."""
    return attributes(people, READ) > 0.5


def attributes(people: list[Face], names: Sequence[str]) -> Tensor:
    """Return the true attributes in [0, 1], float32 [N, K]."""
    return torch.tensor([[getattr(face, name) for name in names] for face in people])


class Judge(nn.Module):
    """Reads K attributes of faces [N, 3, H, W] in [0, 1]: logits [N, K]."""

    def __init__(self, attributes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 48), (48, 64)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(attributes))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(2 * image - 1)

    def says(self, image: Tensor) -> Tensor:
        """Return the predicted labels, bool [N, K]."""
        with torch.inference_mode():
            return self(image) > 0


def judge(size: int, faces: int, steps: int, batch: int = 48, read: Sequence[str] = READ) -> Judge:
    """Train the judge on noisy images, a third of them blurred like those of a small network."""
    people = [person(CLASSIFIER + i) for i in range(faces)]
    x, y = drawn(people, size), attributes(people, read)
    torch.manual_seed(0)
    made = Judge(len(read))
    made(x[:1])
    optimizer = torch.optim.Adam(made.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(faces, (batch,))
        image = x[chosen]
        image[: batch // 3] = F.avg_pool2d(F.pad(image[: batch // 3], (1, 1, 1, 1), mode="replicate"), 3, 1)
        image = image + 0.05 * torch.rand(batch, 1, 1, 1) * torch.randn_like(image)
        loss = F.binary_cross_entropy_with_logits(made(image.clamp(0, 1)), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return made.eval().requires_grad_(False)


class Strangers:
    """Samples faces that no training has seen, each once."""

    def __init__(self) -> None:
        self.next = STRANGERS

    def draw(self, n: int, **changed: float) -> list[Face]:
        """Return `n` faces, with attributes overridden by `changed`."""
        self.next += n
        return [person(self.next + i)._replace(**changed) for i in range(n)]


def arithmetic(
    model: i2i.Model, made: Judge, strangers: Strangers, name: str, trials: int, examples: int
) -> tuple[dict[str, float], list[Tensor]]:
    """Measure "woman with `name` - woman without + man without", and return a few of the images."""
    other = "glasses" if name == "smile" else "smile"
    counts = {"man_with_it": 0.0, "with_it": 0.0, "man": 0.0, "before": 0.0}
    shown: list[Tensor] = []
    for _ in range(trials):
        groups = [
            strangers.draw(examples, **{name: has, "sex": sex, other: 0.0})
            for has, sex in ((1.0, 1.0), (0.0, 1.0), (0.0, 0.0))
        ]
        a, b, c = (latent.encode(model, drawn(people, model.task.makes.size or 64)) for people in groups)
        means = torch.cat([a.mean(0, keepdim=True), b.mean(0, keepdim=True), c.mean(0, keepdim=True)])
        pictures = latent.decode(model, torch.cat([means, latent.arithmetic(a, b, c)]))
        said = made.says(pictures)
        has, woman = said[3, READ.index(name)].item(), said[3, READ.index("sex")].item()
        counts["man_with_it"] += has and not woman
        counts["with_it"] += has
        counts["man"] += not woman
        counts["before"] += said[2, READ.index(name)].item()
        shown.append(pictures)
    return {key: count / trials for key, count in counts.items()}, shown[:4]


def editing(model: i2i.Model, made: Judge, strangers: Strangers, name: str, n: int) -> dict[str, float]:
    """Measure edits of people without `name`."""
    people = strangers.draw(n, **{name: 0.0})
    vector = latent.learn(model).along(name)
    pictures = latent.edit(model, drawn(people, model.task.makes.size or 64), vector, (0.0, 1.0, 2.0))
    said = made.says(pictures.flatten(0, 1)).unflatten(0, (n, 3))
    place, sex = READ.index(name), READ.index("sex")
    same = said[..., sex] == truth(people)[:, None, sex]
    return {
        **{f"with_it_at_{amount}": said[:, amount, place].float().mean().item() for amount in range(3)},
        **{f"same_sex_at_{amount}": same[:, amount].float().mean().item() for amount in range(3)},
    }


def interpolation(model: i2i.Model, strangers: Strangers, n: int, steps: int, path: latent.Way) -> dict[str, float]:
    """Measure paths between strangers."""
    z = latent.encode(model, drawn(strangers.draw(2 * n), model.task.makes.size or 64))
    pictures = latent.interpolate(model, z[:n], z[n:], steps, path)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().mean((-1, -2, -3)).sqrt()

    away, nearer = distance(pictures, pictures[:, :1]).diff(dim=1), distance(pictures, pictures[:, -1:]).diff(dim=1)
    blend = (pictures[:, 0] + pictures[:, -1]) / 2
    off = distance(pictures[:, steps // 2], blend) / distance(pictures[:, 0], pictures[:, -1])
    return {
        "monotonic": ((away > 0).all(1) & (nearer < 0).all(1)).float().mean().item(),
        "steps_monotonic": ((away > 0) & (nearer < 0)).float().mean().item(),
        "off_blend": off.mean().item(),
        "off_blend_least": off.min().item(),
    }


def main() -> None:
    """Print the numbers, and write them with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run that was trained on faces")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--examples", type=int, default=10, help="faces per averaged code")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=9, help="images per path")
    parser.add_argument("--judge", type=int, nargs=2, default=(2400, 900), help="faces and steps to train it")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--sheet", type=Path, help="write a few trials to this .png")
    args = parser.parse_args()

    model = i2i.load(args.run)
    latent.need(model, "encode", "decode")
    if model.task.makes.channels != 3 or model.config["data"]["use"] != "faces":
        parser.error(f"{args.run} was not trained on colour faces")
    size = model.task.makes.size or 64
    made, strangers = judge(size, *args.judge), Strangers()
    people = strangers.draw(300)
    clean = drawn(people, size)
    right = {
        kind: (made.says(pictures) == truth(people)).float().mean(0).tolist()
        for kind, pictures in (("faces", clean), ("reconstructions", latent.reconstruct(model, clean)))
    }
    found = {name: arithmetic(model, made, strangers, name, args.trials, args.examples) for name in READ[:2]}
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "trials": args.trials,
        "examples": args.examples,
        "judge": {kind: dict(zip(READ, shares)) for kind, shares in right.items()},
        "arithmetic": {name: numbers for name, (numbers, _) in found.items()},
        "edit": {name: editing(model, made, strangers, name, args.pairs) for name in READ[:2]},
        "interpolation": {
            path: interpolation(model, strangers, args.pairs, args.steps, path) for path in ("linear", "spherical")
        },
    }
    print(json.dumps(result, indent=1))
    if args.json:
        files.write(args.json, (json.dumps(result, indent=1) + "\n").encode())
    if args.sheet:
        rows = torch.stack([pictures for _, shown in found.values() for pictures in shown])
        names = ("woman with", "- woman without", "+ man without", "=")
        images.save(images.grid({name: 2 * rows[:, place] - 1 for place, name in enumerate(names)}), args.sheet)


if __name__ == "__main__":
    main()
