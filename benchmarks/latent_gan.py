"""Attribute directions of a GAN on drawn faces: what an edit changes, read by a network that did not teach them.

    i2i run configs/faces_gan.yaml
    python benchmarks/latent_gan.py runs/faces_gan --json benchmarks/results/latent_gan.json

The judge is trained on faces that are in no data set. `agreement` is the correlation of what it reads with the true
attributes of other faces. Sampled codes are moved by -1/2 and by +1/2 along a direction, in all by 1, which should
take the attribute from 0 to 1. `changes` is how much the attributes change on average, as the judge reads them,
relative to 1; `moves` is the average without the sign. `random` is the same for random directions of the average
length. `fit` and `predicted` are what `i2i latent direction` prints.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from i2i_scenes.faces import ATTRIBUTES
from latent import Judge, Strangers, attributes, drawn, judge
from torch import Tensor

import i2i
from i2i import files, latent


def read(made: Judge, pictures: Tensor) -> Tensor:
    """Return the attributes that the judge reads in pictures [N, 3, H, W] in [0, 1]: [N, K] in [0, 1]."""
    with torch.inference_mode():
        return made(pictures).sigmoid()


def changed(model: i2i.Model, made: Judge, z: Tensor, vector: Tensor) -> dict[str, dict[str, float]]:
    """Return the changes of all attributes when codes z [N, ...] move by 1 along a vector."""
    before, after = (read(made, latent.move(model, z, vector, (far,))[:, 0]) for far in (-0.5, 0.5))
    found = {"changes": (after - before).mean(0), "moves": (after - before).abs().mean(0)}
    return {name: dict(zip(ATTRIBUTES, values.tolist(), strict=True)) for name, values in found.items()}


def main() -> None:
    """Print the numbers, and write them with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of a GAN that was trained on faces")
    parser.add_argument("--codes", type=int, default=200)
    parser.add_argument("--judge", type=int, nargs=2, default=(4000, 1500), help="faces and steps to train it")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()

    model = i2i.load(args.run)
    size = model.task.makes.size or 64
    made = judge(size, *args.judge, read=ATTRIBUTES)
    people = Strangers().draw(400)
    both = torch.stack([read(made, drawn(people, size)), attributes(people, ATTRIBUTES)])
    learned = {method: latent.learn(model, method) for method in ("regression", "means")}

    z = latent.prior(model, args.codes, seed=1 << 40)
    vectors = learned["regression"].vectors
    noise = torch.randn(8, *vectors.shape[1:], generator=torch.Generator().manual_seed(0))
    noise *= vectors.flatten(1).norm(dim=1).mean() / noise.flatten(1).norm(dim=1)[:, None]
    moves = [changed(model, made, z, vector)["moves"] for vector in noise]
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "codes": args.codes,
        "agreement": {name: both[:, :, k].corrcoef()[0, 1].item() for k, name in enumerate(ATTRIBUTES)},
        "random": {name: sum(one[name] for one in moves) / len(moves) for name in ATTRIBUTES},
    }
    for method, found in learned.items():
        result[method] = {
            name: {
                "predicted": found.agreement[name],
                "fit": fit,
                "length": vector.norm().item(),
                **changed(model, made, z, vector),
            }
            for name, vector, fit in zip(found.attributes, found.vectors, found.fit.tolist(), strict=True)
        }
    print(json.dumps(result, indent=1))
    if args.json:
        files.write(args.json, (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
