"""Turn a trained run into a model that comes with i2i: 16 bits a weight, and its card inside.

    python benchmarks/bundle.py upscale-x2 runs/upscale_x2 SCORES $I2I_DATA/caltech101/val     # superres.py --json
    python benchmarks/bundle.py restore runs/restore_l1b SCORES $I2I_DATA/caltech101/val           # restore.py --json
    python benchmarks/bundle.py colorize runs/colorful SCORES $I2I_DATA/caltech101/val        # colorization.py --json
    python benchmarks/bundle.py horse2zebra runs/cyclegan
    python benchmarks/bundle.py digits runs/cgan_mnist
    python benchmarks/bundle.py digits-vae runs/vae_mnist_best

SCORES is what the named benchmark wrote about the run. The file goes to plugins/i2i_models/weights; `i2i show NAME`
prints its card. The branches of a SPAN are merged (equal to 1e-5). Discriminators are left out where the task can do
without.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from restore import compressed, noisy
from torch import Tensor

from i2i import api, config, images
from i2i.checkpoint import load_model, save_model
from i2i.config.source import Source
from i2i.data import derive
from i2i.data.degrade import bicubic
from i2i.data.transforms import resize, to_tensor
from i2i.metrics import psnr
from i2i.networks import merged_state
from i2i.runs import Run

WEIGHTS = Path(__file__).parent.parent / "plugins" / "i2i_models" / "weights"
SHOWN = ("stop_sign/image_0010.jpg", "pagoda/image_0014.jpg", "watch/image_0041.jpg")  # of the validation split
CALTECH = (
    "Caltech-101, 1,100 pictures of its training part; Li, Andreetto, Ranzato, Perona, Caltech 101, 2022, CC BY 4.0"
)
MNIST = "MNIST, its 60,000 training digits; LeCun, Cortes, Burges; CC BY-SA 3.0 as usually stated"
SCENES = "horses and zebras drawn by i2i itself (data set `horses_zebras`)"
HALVED = "patches of Caltech-101's validation part at half size, CC BY 4.0, credited above"

Card = dict[str, str]
Columns = dict[str, Tensor]


class Args(argparse.Namespace):
    """The arguments of the command line."""

    name: str
    run: str
    scores: Path | None
    pictures: Path | None
    command: str | None


# ---------------------------------------------------------------------------- what each model's card says and shows


def upscale(args: Args, model: Any) -> tuple[Card, Columns]:
    """Describe an upscaler, and show input, bicubic, output and truth of patches of validation pictures."""
    scale, scores = model.task.makes.scale, scores_of(args)
    sets = {name: scores[name] for name in ("Set5", "Set14")}
    short = ", ".join(f"{name} {found[args.run]['psnr_y']:.2f}" for name, found in sets.items())
    base = ", ".join(f"{found['bicubic']['psnr_y']:.2f}" for found in sets.values())

    def words(one: dict[str, float]) -> str:
        return f"{one['psnr_y']:.2f} dB, SSIM {one['ssim_y']:.4f}"

    full = "; ".join(
        f"{name} {words(found[args.run])} (bicubic {words(found['bicubic'])})" for name, found in sets.items()
    )
    card = {
        "does": f"upscale x{scale}",
        "scale": str(scale),
        "quality": f"{short} dB (bicubic {base})",
        "data": CALTECH,
        "command": f"i2i run configs/real/upscale_x{scale}.yaml data.root=CALTECH101/train "
        "data.validation=CALTECH101/val",
        "numbers": f"luma, published protocol: {full}",
        "weaknesses": "Trained on clean pictures: JPEG artefacts and noise are enlarged with the rest, and strong "
        "blur stays. It restores edges, but invents no texture: hair and foliage stay soft.",
        "shown": HALVED,
    }
    columns: dict[str, list[Tensor]] = {"input": [], "bicubic": [], "output": [], "truth": []}
    for truth in patches(args, 96 // scale * scale):
        low = to_tensor(bicubic(truth, scale))[None]
        columns["input"].append(low)
        columns["bicubic"].append(F.interpolate(low, truth.shape[:2], mode="bicubic", antialias=True))
        columns["output"].append(model.task.translate(low))
        columns["truth"].append(to_tensor(truth)[None])
    return card, {name: torch.cat(cells) for name, cells in columns.items()}


def restore(args: Args, model: Any) -> tuple[Card, Columns]:
    """Describe the restorer, and show damaged, restored and true patches of validation pictures."""
    found = scores_of(args)["caltech101/val"]
    gains = ", ".join(f"{found[f'jpeg {quality}']['gain_rgb']:+.2f}" for quality in (10, 20, 30))
    card = {
        "does": "restore: JPEG artefacts, noise",
        "scale": "1",
        "quality": f"{gains} dB at JPEG quality 10, 20, 30; clean input {found['clean']['rgb']:.1f} dB",
        "data": CALTECH,
        "command": "i2i run configs/real/restore.yaml data.root=CALTECH101/train data.validation=CALTECH101/val, "
        "then 6,000 and 4,000 steps in L1 from there, as in its header",
        "numbers": f"{found['pictures']} pictures of Caltech-101's validation part at half size, RGB: "
        + "; ".join(
            f"{name} {one['rgb']:.2f} dB" + (f" ({one['gain_rgb']:+.2f})" if "gain_rgb" in one else "")
            for name, one in found.items()
            if isinstance(one, dict)
        ),
        "weaknesses": "It smooths away fine texture that looks like noise, more so the worse the picture is. It is "
        "better at JPEG artefacts than at noise, and of little use from quality 80 on. Blur, scratches, and "
        "artefacts that were enlarged after compression stay.",
        "shown": f"JPEG quality 10, quality 20, noise of 20 levels; {HALVED}",
    }
    columns: dict[str, list[Tensor]] = {"input": [], "output": [], "truth": []}
    damages: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda x: compressed(x, 10),
        lambda x: compressed(x, 20),
        lambda x: noisy(x, 20),
    ]
    for damage, truth in zip(damages, patches(args, 96), strict=True):
        columns["input"].append(to_tensor(damage(truth))[None])
        columns["output"].append(model.task.translate(columns["input"][-1]))
        columns["truth"].append(to_tensor(truth)[None])
    return card, {name: torch.cat(cells) for name, cells in columns.items()}


def colorize(args: Args, model: Any) -> tuple[Card, Columns]:
    """Describe the colorizer, and show the validation pictures that gain most over grey, and the worst."""
    answers = scores_of(args)["answers"]
    own, grey = answers[f"{args.run} vivid=0.62"], answers["grey"]  # the default
    card = {
        "does": "colorize",
        "scale": "1",
        "quality": f"Caltech-101 {own['psnr']:.2f} dB (grey {grey['psnr']:.2f}), colourfulness "
        f"{own['colourfulness']:.2f}",
        "data": CALTECH,
        "command": "i2i run configs/real/colorful.yaml data.root=CALTECH101 train.precision=bf16",
        "numbers": f"200 validation pictures of Caltech-101 at 96 pixels: {own['psnr']:.2f} dB, "
        f"{own['psnr'] - grey['psnr']:+.2f} over grey, at {own['colourfulness']:.2f} of the true colourfulness",
        "weaknesses": "It replaces the colours that a picture has. It guesses: a sea may turn red, and grass "
        "brown. On Flickr8k, photographs of another kind than those it was trained on, it is further from the truth "
        "than grey (21.94 against 23.12 dB); with -c balance=0.95 it is as near (23.10 dB at 0.52 of the true "
        "colourfulness). Large areas are smoother than real ones.",
        "shown": "the three validation pictures of Caltech-101 that gain most over grey, and the three that lose "
        "most; CC BY 4.0, credited above",
    }
    rows: list[tuple[float, Tensor, Tensor, Tensor]] = []
    for path in sorted(pictures_of(args).rglob("*.jpg")):
        pixels = resize(images.read_rgb(path), 96, 96)
        truth, given = (to_tensor(one)[None] for one in (pixels, derive.grey(pixels, np.random.default_rng(0))))
        output = model.task.translate(given)
        rows.append((float(psnr(output[0], truth[0])) - float(psnr(given[0], truth[0])), given, output, truth))
    rows.sort(key=lambda row: -row[0])
    _, grey_column, made, true = zip(*rows[:3], *rows[-3:], strict=True)
    return card, {"grey": torch.cat(grey_column), "output": torch.cat(made), "truth": torch.cat(true)}


def horse2zebra(args: Args, model: Any) -> tuple[Card, Columns]:
    """Describe the CycleGAN, and show both directions on unseen scenes."""
    found = Run(args.run).metrics()
    right = [100 * found[f"animal_truth/{way}/called"] for way in ("AtoB", "BtoA")]
    held = config.load("cyclegan", [], api.registry().catalog).data().validation()
    scenes = [held[n] for n in range(4)]
    a, b = (torch.stack([one[side] for one in scenes]) for side in "AB")
    card = {
        "does": "horse to zebra, drawn",
        "scale": "1",
        "quality": f"drawn scenes: {right[0]:.1f} % of horses become zebras, {right[1]:.1f} % back",
        "data": SCENES,
        "command": "i2i run configs/cyclegan.yaml",
        "numbers": ", ".join(
            f"{name.removeprefix('animal_truth/')} {value:.3g}"
            for name, value in found.items()
            if name.startswith("animal_truth/")
        ),
        "weaknesses": "For drawn scenes such as those it was trained on (64 pixels; `-c direction=BtoA` for the way "
        "back). In photographs it draws fine stripes over whatever is dark or brown: horses, trees and ground alike.",
        "shown": "unseen drawn scenes",
    }
    return card, {
        "horse": a,
        "to zebra": model.task.translate(a),
        "zebra": b,
        "to horse": model.task.translate(b, direction="BtoA"),
    }


def digits(args: Args, model: Any) -> tuple[Card, Columns]:
    """Describe a generator of digits, and show samples, of each digit where it takes a label."""
    found, labelled = Run(args.run).metrics(), args.name == "digits"
    if labelled:
        quality = f"MNIST: {100 * found['class_accuracy/mean']:.1f} % are classified as the requested digit"
        columns = {str(n): model.sample(4, seed=n, label=n) for n in range(10)}
    else:
        quality = f"MNIST: -ELBO {-found['validation/elbo']:.1f} nats on test digits"
        columns = {" " * n: model.sample(4, seed=n) for n in range(1, 11)}  # without headings
    card = {
        "does": "digits, samples" + (" by label" if labelled else ""),
        "takes": "",
        "scale": "1",
        "quality": quality,
        "data": MNIST,
        "command": "i2i run configs/real/cgan_mnist.yaml data.root=MNIST"
        if labelled
        else "i2i run configs/real/vae_mnist_best.yaml data.root=MNIST train.precision=bf16",
        "numbers": "; ".join(f"{name} {value:.4g}" for name, value in found.items() if name != "step"),
        "weaknesses": "Handwritten digits of 32 pixels, and nothing else; some are broken."
        if labelled
        else "Handwritten digits of 28 pixels, and nothing else; a few are no digit, or lie between two.",
        "shown": "samples, not selected",
    }
    return card, {name: images_of(column) for name, column in columns.items()}


MODELS: dict[str, Callable[[Args, Any], tuple[Card, Columns]]] = {
    "upscale-x2": upscale,
    "upscale-x4": upscale,
    "restore": restore,
    "colorize": colorize,
    "horse2zebra": horse2zebra,
    "digits": digits,
    "digits-vae": digits,
}


# ------------------------------------------------------------------------------------------------ pictures, scores


def scores_of(args: Args) -> Any:
    """Return what a benchmark wrote about the run."""
    if args.scores is None:
        raise SystemExit(f"{args.name}: give the JSON file with its scores")
    return json.loads(args.scores.read_text())


def pictures_of(args: Args) -> Path:
    """Return the folder of validation pictures."""
    if args.pictures is None:
        raise SystemExit(f"{args.name}: give the validation part of Caltech-101")
    return args.pictures


def patches(args: Args, side: int) -> list[np.ndarray]:
    """Return the centres of three validation pictures at half their size, uint8 [side, side, 3]."""
    found = []
    for name in SHOWN:
        whole = images.read_rgb(pictures_of(args) / name)
        half = resize(whole, whole.shape[0] // 2, whole.shape[1] // 2)
        top, left = ((length - side) // 2 for length in half.shape[:2])
        found.append(half[top : top + side, left : left + side])
    return found


def images_of(samples: Any) -> Tensor:
    """Return samples [N, C, H, W] in 0..1 as images in -1..1."""
    return torch.as_tensor(samples) * 2 - 1


# ------------------------------------------------------------------------------------------------ the file


def slim(task: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config of a task and its weights without discriminators, branches merged, in 16 bits where they do.

    Batch statistics stay in 32 bits, and so does the discriminator of the task `gan`, which it cannot do without.
    """
    if task["use"] == "cyclegan":
        task = {**task, "discriminator": None, "gan": None}
        tensors = {name: value for name, value in tensors.items() if not name.startswith(("D_a.", "D_b."))}
    if task.get("generator", {}).get("branches"):
        network = {name.removeprefix("G."): value for name, value in tensors.items() if name.startswith("G.")}
        others = {name: value for name, value in tensors.items() if not name.startswith("G.")}
        task = {**task, "generator": {**task["generator"], "branches": False}}
        tensors = {f"G.{name}": value for name, value in merged_state(network).items()} | others
    large = {name for name, value in tensors.items() if value.is_floating_point() and "running" not in name}
    return task, {name: value.half() if name in large else value for name, value in tensors.items()}


def difference(bundled: Any, run: Any) -> float:
    """Return the mean difference between the outputs of the bundled model and of the run, of 255 levels."""
    if run.task.takes.name == "image" and "translate" in type(run.task).__dict__:
        image = F.avg_pool2d(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1, 5, 1, 2)
        apart = bundled.task.translate(image) - run.task.translate(image)
        return float(apart.abs().mean()) * 127.5
    one, other = (torch.as_tensor(model.sample(16, seed=0)) for model in (bundled, run))
    return float((one - other).abs().mean()) * 255


@torch.no_grad()
def main() -> None:
    """Write the file, and check it against the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("run", help="a finished run")
    parser.add_argument("scores", type=Path, nargs="?", help="what the benchmark of this model wrote about it")
    parser.add_argument("pictures", type=Path, nargs="?", help="the validation part of Caltech-101")
    parser.add_argument("--command", help="how the run was started, if not as in the header of its config")
    args = parser.parse_args(namespace=Args())

    tensors, text, about = load_model(Run.weights_of(args.run))
    model = api.load(args.run)
    tree: Any = Source(text, args.run).tree
    config_of_task = {name: value for name, value in tree["task"].items() if name != "start_from"}  # a path, if any
    task, stored = slim(config_of_task, tensors)
    card, columns = MODELS[args.name](args, model)
    card = {
        "takes": "image",
        "makes": "image",
        "licence": "Apache-2.0",
        "steps": str(about["step"]),
        "picture": base64.b64encode(images.png(images.grid(columns, least=144))).decode(),
        **card,
    }
    if args.command:
        card["command"] = args.command
    WEIGHTS.mkdir(exist_ok=True)
    file = WEIGHTS / f"{args.name}.safetensors"
    save_model(file, stored, config.dump({"task": task}), card)
    bundled = api.load(file)
    judges = ("D.", "D_", "discriminator.")
    own = sum(p.numel() for name, p in bundled.task.named_parameters() if not name.startswith(judges))
    save_model(file, stored, config.dump({"task": task}), {**card, "parameters": str(own)})
    off = difference(bundled, model)
    print(f"{file}: {file.stat().st_size:,} bytes; on average {off:.3f} of 255 levels from the run")
    if not (math.isfinite(off) and off < 1.3):
        raise SystemExit("the bundled model differs from the run")


if __name__ == "__main__":
    main()
