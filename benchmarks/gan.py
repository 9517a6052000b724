"""GAN benchmarks: a check of the theory, the truncation trade-off, and a comparison of runs on MNIST.

    python benchmarks/gan.py theory --json benchmarks/results/gan_theory.json
    python benchmarks/gan.py truncation runs/biggan_mnist --data $I2I_DATA/mnist
    python benchmarks/gan.py mnist runs/gan_mnist runs/dcgan_mnist --data $I2I_DATA/mnist

`theory`: one-pixel images with known densities, trained by the task `gan` itself. Only D is trained; it must converge
to p_data / (p_data + p_g), and the value of the game to 2 JSD - log 4 (arXiv:1406.2661, proposition 1 and theorem 1),
with the Jensen-Shannon divergence computed by quadrature. Then the gradient that reaches G while D learns to detect
its images, for the saturating and the non-saturating objective (section 3, end).

`truncation` and `mnist` use the LeNet-5 of `class_accuracy` as the judge, on images generated from fixed codes.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from i2i_gan import GAN
from i2i_scenes.classes import ClassAccuracy, ClassShare, judged_by
from torch import Tensor
from torch.nn.functional import softplus

from i2i import api
from i2i.config import Train
from i2i.data.mnist import MNIST
from i2i.engine import Engine
from i2i.losses import Minimax, Vanilla
from i2i.metrics import KID, squared
from i2i.metrics.features import features
from i2i.networks import DenseDiscriminator, DenseGenerator
from i2i.optim import adam, linear_decay

# ---- the theory


class Bump(NamedTuple):
    """A component of a Gaussian mixture."""

    mean: float
    sigma: float
    weight: float = 1.0


DATA = (Bump(-0.7, 0.3, 0.6), Bump(0.8, 0.25, 0.4))
GENERATORS = {"wide": Bump(0.1, 0.8), "one bump": Bump(-0.6, 0.4), "between": Bump(0.2, 0.35)}
AWAY = Bump(-1.2, 0.2), (Bump(0.6, 0.2),)  # a generator and data that hardly overlap
U = torch.linspace(-5, 5, 20001, dtype=torch.float64)  # a pixel is tanh(u)


def density(bumps: Sequence[Bump]) -> Tensor:
    """Return the density of u at `U`; that of tanh(u) differs by a factor common to all densities."""
    one = [b.weight * torch.exp(-(((U - b.mean) / b.sigma) ** 2) / 2) / (b.sigma * math.tau**0.5) for b in bumps]
    return torch.stack(one).sum(0)


def integral(values: Tensor) -> float:
    """Return the integral over u by the trapezoidal rule."""
    return torch.trapezoid(values, U).item()


def divergence(p: Tensor, q: Tensor) -> float:
    """Return the Jensen-Shannon divergence of two densities at `U`, in nats."""
    middle = (p + q) / 2
    return sum(integral(torch.special.xlogy(r, r / middle).nan_to_num()) for r in (p, q)) / 2


def pixels(bumps: Sequence[Bump], n: int) -> dict[str, Tensor]:
    """Return a batch of `n` one-pixel images, tanh(u)."""
    chosen = torch.multinomial(torch.tensor([b.weight for b in bumps]), n, replacement=True)
    mean, sigma = (torch.tensor(column)[chosen] for column in list(zip(*bumps, strict=True))[:2])
    return {"image": torch.tanh(mean + sigma * torch.randn(n))[:, None, None, None]}


def game(generator: Bump, objective: Callable[..., Any] = Vanilla) -> GAN:
    """Return the task for one-pixel images, whose G generates tanh of a normal distribution."""
    dense = partial(DenseGenerator, widths=(), batch_norm=False), partial(DenseDiscriminator, widths=(64, 64))
    task = GAN(*dense, gan=partial(objective, lambda_d=1.0), latent=1, channels=1, size=1)
    with torch.no_grad():
        task.generator.layers[0].weight.fill_(generator.sigma)
        task.generator.layers[0].bias.fill_(generator.mean)
    return task


def trainer(task: GAN, steps: int, lr: float = 1e-2) -> Engine:
    """Return an engine that trains only D."""
    rates = {"G": partial(torch.optim.SGD, lr=0.0), "D": partial(adam, lr=lr)}
    return Engine(task, rates, Train(steps=steps), schedule=linear_decay(steps // 4, steps, unit="steps"))


def judged(task: GAN) -> Tensor:
    """Return D's logits at tanh of `U`."""
    with torch.no_grad():
        return task.discriminator(U.tanh().float()[:, None, None, None])[:, 0].double()


def best_discriminator(generator: Bump, steps: int = 1500, batch: int = 1024) -> dict[str, float]:
    """Train D against a fixed G, and compare D and the value of the game with the theory.

    Returns:
        `error`: mean of |D - p_data / (p_data + p_g)| over real and generated images;
        `value`, `expected`: of the game, and 2 JSD - log 4, in nats;
        `jsd`, `jsd found`: by quadrature, and (value + log 4) / 2.
    """
    torch.manual_seed(0)
    task = game(generator)
    engine = trainer(task, steps)
    for step in range(steps):
        torch.manual_seed(step)
        engine.step([pixels(DATA, batch)])
    p, q, logits = density(DATA), density([generator]), judged(task)
    value = -integral(p * softplus(-logits) + q * softplus(logits))
    error = integral((p + q) / 2 * (torch.sigmoid(logits) - p / (p + q)).nan_to_num().abs())
    jsd = divergence(p, q)
    return {
        "error": error,
        "value": value,
        "expected": 2 * jsd - math.log(4),
        "jsd": jsd,
        "jsd found": (value + math.log(4)) / 2,
    }


def early_gradients(at: Sequence[int] = (0, 10, 30, 100, 300), batch: int = 1024) -> list[dict[str, float]]:
    """Return the norm of G's gradient for both objectives, with the same D and codes, while D learns."""
    generator, data = AWAY
    torch.manual_seed(0)
    task = game(generator)
    engine = trainer(task, 4 * max(at))
    found = []
    for step in range(max(at) + 1):
        torch.manual_seed(step)
        real = pixels(data, batch)
        if step in at:
            lengths = {}
            for name, objective in (("minimax", Minimax), ("vanilla", Vanilla)):
                task.gan = objective(lambda_d=1.0)
                lengths[name] = gradient(task, real)
            task.gan = Vanilla(lambda_d=1.0)
            found.append({"step": step, "accuracy": task.validate(real)["accuracy"], **lengths})
        engine.step([real])
    return found


def gradient(task: GAN, batch: dict[str, Tensor]) -> float:
    """Return the norm of the gradient of G in the task's own step, from fixed codes."""
    torch.manual_seed(0)
    losses = {player: shown["gan"] for player, shown in task.step(batch)}
    slopes = torch.autograd.grad(losses["G"], list(task.generator.parameters()))
    return math.sqrt(sum(slope.square().sum().item() for slope in slopes))


def theory(_: argparse.Namespace) -> dict[str, Any]:
    """Check the theory, and print the results."""
    best = {name: best_discriminator(generator) for name, generator in GENERATORS.items()}
    print("D alone, against     mean |D - D*|   value   2 JSD - log 4      JSD   JSD found")
    for name, one in best.items():
        print(
            f"{name:20s} {one['error']:13.4f} {one['value']:7.4f} {one['expected']:15.4f} {one['jsd']:8.4f} "
            f"{one['jsd found']:11.4f}"
        )
    early = early_gradients()
    print("\nsteps of D   D's accuracy   gradient of G: minimax   non-saturating")
    for row in early:
        print(f"{row['step']:10d} {row['accuracy']:14.3f} {row['minimax']:24.4f} {row['vanilla']:16.4f}")
    return {"best": best, "early": early}


# ---- runs on MNIST


def truncation(args: argparse.Namespace) -> dict[str, Any]:
    """Sample with increasing truncation, and print diversity and fidelity.

    Diversity is the mean distance between images in the features of the judge, within a class for class-conditional
    runs, relative to real images. Fidelity is the mean probability that the judge assigns to the requested class, or
    else to the most likely one. The codes of all rows come from the same uniform random numbers.
    """
    task: Any = api.load(args.run).task.eval()
    judge = judged_by("lenet")
    real = MNIST(str(args.data), size=32, validation_samples=args.n)
    held_out = real.test.batch(range(len(real.test)))
    rows = [{"truncation": None, **spread_and_certainty(judge, held_out["image"], held_out["label"], task.classes)}]
    label = torch.arange(args.n) % 10 if task.classes else None
    for bound in args.values:
        torch.manual_seed(0)
        with torch.no_grad():
            made = task.sample(args.n, label=label, truncation=bound)
        rows.append({"truncation": bound, **spread_and_certainty(judge, made, label, task.classes)})
    of_real = rows[0]["diversity"]
    print("truncation   diversity   fidelity" + ("    as requested" if task.classes else ""))
    for row in rows:
        row["diversity"] /= of_real
        name = f"{row['truncation']:10.2f}" if row["truncation"] else "real      "
        asked = f" {row['asked']:15.3f}" if "asked" in row else ""
        print(f"{name} {row['diversity']:11.3f} {row['fidelity']:10.4f}{asked}")
    falls = all(after["diversity"] < before["diversity"] for before, after in pairwise(rows[1:]))
    rises = all(after["fidelity"] >= before["fidelity"] for before, after in pairwise(rows[1:]))
    print(f"with decreasing truncation, diversity always falls: {falls}; fidelity never falls: {rises}")
    return {"rows": rows, "diversity falls": falls, "fidelity rises": rises}


def spread_and_certainty(judge: Any, image: Tensor, label: Tensor | None, classes: Sequence[str]) -> dict[str, Any]:
    """Return the mean distance of features, and the mean probability of the label or of the top class."""
    seen = features(image, "lenet")
    probability = torch.softmax(judge.logits(torch.stack([squared(one, 32)[:1] for one in image])), 1)
    if not classes or label is None:
        return {"diversity": torch.pdist(seen).mean().item(), "fidelity": probability.amax(1).mean().item()}
    within = torch.cat([torch.pdist(seen[label == one]) for one in range(len(classes))])
    asked = (probability.argmax(1) == label).double().mean().item()
    return {
        "diversity": within.mean().item(),
        "fidelity": probability.gather(1, label[:, None]).mean().item(),
        "asked": asked,
    }


class OfTraining(MNIST):
    """Compares runs with training images, so that learning rates can be chosen without the test set."""

    def validation(self) -> Any:
        """Return as many training images, evenly spaced, as were requested of the test set."""
        n = len(super().validation())
        return [self.sample(i * len(self) // n, np.random.default_rng(i)) for i in range(n)]


def mnist(args: argparse.Namespace) -> dict[str, Any]:
    """Compare runs: class shares, kernel distance to real images, and accuracy of the requested classes."""
    data = {"test": MNIST, "train": OfTraining}[args.against](str(args.data), size=32, validation_samples=args.n)
    found = {}
    print("run                  smallest share   entropy   kernel distance    as requested      worst of these")
    for run in args.runs:
        task: Any = api.load(run).task.eval()
        row = {f"share/{name}": value for name, value in ClassShare("lenet", samples=args.n)(task, data).items()}
        row["kid/lenet"] = KID("lenet")(task, data)["lenet"]
        if task.classes:
            asked = ClassAccuracy("lenet", per_class=max(1, args.n // len(task.classes)))(task, data)
            row |= {f"asked/{name}": value for name, value in asked.items()}
        read = f"{row['asked/mean']:15.3f} {row['asked/smallest']:19.3f}" if task.classes else ""
        print(
            f"{Path(run).name:20s} {row['share/smallest']:14.3f} {row['share/entropy']:9.3f} "
            f"{row['kid/lenet']:17.4f} {read}"
        )
        found[Path(run).name] = row
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function in (theory, truncation, mnist):
        command = commands.add_parser(function.__name__)
        command.set_defaults(function=function)
        command.add_argument("--json", type=Path, help="write the result to this file")
        if function is not theory:
            command.add_argument("--data", type=Path, required=True, help="mnist.npz or its folder")
            command.add_argument("-n", type=int, default=2000, help="generated and real images")
        if function is truncation:
            command.add_argument("run", help="a run of the task gan")
            command.add_argument("--values", type=float, nargs="+", default=[3.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.3, 0.1])
        if function is mnist:
            command.add_argument("runs", nargs="+", help="runs, or their model.safetensors")
            command.add_argument("--against", choices=("test", "train"), default="test", help="the real images")
    args = parser.parse_args()
    result = args.function(args)
    if args.json:
        result = {"command": shlex.join(["python", *sys.argv]), **result}
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
