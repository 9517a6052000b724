"""Turn a trained run into a model that comes with i2i: branches merged, 16 bits a weight, its card inside.

    i2i run configs/real/upscale_x2.yaml data.root=$I2I_DATA/caltech101/train data.validation=$I2I_DATA/caltech101/val
    python benchmarks/superres.py $I2I_DATA/sr runs/upscale_x2 --scale 2 --single --json SCORES
    python benchmarks/bundle.py runs/upscale_x2 SCORES $I2I_DATA/caltech101/val

The file goes to plugins/i2i_models/weights. `i2i show upscale-x2` prints the card.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from i2i import api, config, images
from i2i.checkpoint import load_model, save_model
from i2i.config.source import Source
from i2i.data.degrade import bicubic
from i2i.data.transforms import resize, to_tensor
from i2i.networks import merged_state
from i2i.runs import Run

WEIGHTS = Path(__file__).parent.parent / "plugins" / "i2i_models" / "weights"
SHOWN = ("stop_sign/image_0010.jpg", "pagoda/image_0014.jpg", "watch/image_0041.jpg")  # of the validation split
DATA = (
    "Caltech-101, 1,100 pictures of its training part; Li, Andreetto, Ranzato, Perona, Caltech 101, 2022, CC BY 4.0"
)
WEAK = (
    "Trained on clean pictures: JPEG artefacts and noise are enlarged with the rest, and strong blur stays. "
    "It restores edges, but invents no texture: hair and foliage stay soft."
)


def merged(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a run with the branches of its generator merged, as fp16."""
    network = {name.removeprefix("G."): value for name, value in weights.items() if name.startswith("G.")}
    others = {name: value for name, value in weights.items() if not name.startswith("G.")}
    return {f"G.{name}": value.half() for name, value in merged_state(network).items()} | others


def numbers(scores: dict[str, Any], run: str) -> tuple[str, str]:
    """Return the scores of a run in words: briefly, and in full."""
    sets = {name: scores[name] for name in ("Set5", "Set14")}
    short = ", ".join(f"{name} {found[run]['psnr_y']:.2f}" for name, found in sets.items())
    base = ", ".join(f"{found['bicubic']['psnr_y']:.2f}" for found in sets.values())

    def told(one: dict[str, float]) -> str:
        return f"{one['psnr_y']:.2f} dB, SSIM {one['ssim_y']:.4f}"

    full = "; ".join(f"{name} {told(found[run])} (bicubic {told(found['bicubic'])})" for name, found in sets.items())
    return f"{short} dB (bicubic {base})", f"luma, published protocol: {full}"


def picture(folder: Path, upscale: Any, scale: int) -> bytes:
    """Return the picture of a card as PNG: input, bicubic, output and truth of patches of validation pictures."""
    columns: dict[str, list[Tensor]] = {"input": [], "bicubic": [], "output": [], "truth": []}
    for name in SHOWN:
        whole = images.read_rgb(folder / name)
        half = resize(whole, whole.shape[0] // 2, whole.shape[1] // 2)
        side = 96 // scale * scale
        top, left = ((length - side) // 2 for length in half.shape[:2])
        truth = half[top : top + side, left : left + side]
        low = to_tensor(bicubic(truth, scale))[None]
        columns["input"].append(low)
        columns["bicubic"].append(F.interpolate(low, (side, side), mode="bicubic", antialias=True))
        columns["output"].append(upscale(low))
        columns["truth"].append(to_tensor(truth)[None])
    return images.png(images.grid({name: torch.cat(cells) for name, cells in columns.items()}, least=192))


@torch.no_grad()
def main() -> None:
    """Write the file, and check it against the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a finished run of configs/real/upscale_x2.yaml or _x4.yaml")
    parser.add_argument("scores", type=Path, help="what benchmarks/superres.py wrote about it")
    parser.add_argument("pictures", type=Path, help="the validation part of Caltech-101")
    parser.add_argument("--command", help="how the run was started, if not as in the header of its config")
    args = parser.parse_args()

    tensors, text, about = load_model(Run.weights_of(args.run))
    task = Source(text, args.run).tree["task"]
    generator = {**task["generator"], "branches": False}
    model, scores = api.load(args.run), json.loads(args.scores.read_text())
    scale, step = model.task.makes.scale, int(about["step"])
    short, full = numbers(scores, args.run)
    own = f"i2i run configs/real/upscale_x{scale}.yaml data.root=CALTECH101/train data.validation=CALTECH101/val"
    own += " task.start_from=RUN, a run of configs/real/upscale_x2.yaml" if task.get("start_from") else ""
    card = {
        "does": f"upscale x{scale}",
        "takes": "image",
        "makes": "image",
        "scale": str(scale),
        "licence": "Apache-2.0",
        "quality": short,
        "data": DATA,
        "command": args.command or own,
        "steps": str(step),
        "numbers": full,
        "weaknesses": WEAK,
        "parameters": str(sum(value.numel() for name, value in merged(tensors).items() if name.startswith("G."))),
        "shown": "patches of Caltech-101's validation part at half size, CC BY 4.0, credited above",
        "picture": base64.b64encode(picture(args.pictures, model.task.translate, scale)).decode(),
    }
    WEIGHTS.mkdir(exist_ok=True)
    file = WEIGHTS / f"upscale-x{scale}.safetensors"
    save_model(file, merged(tensors), config.dump({"task": {"use": "superres", "generator": generator}}), card)

    image = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    image = F.avg_pool2d(image, 5, 1, 2)
    off = (api.load(file).task.translate(image) - model.task.translate(image)).abs().max()
    print(f"{file}: {file.stat().st_size:,} bytes; at most {float(off) * 127.5:.2f} of 255 levels from the run")
    if not math.isfinite(off) or off > 0.02:
        raise SystemExit("the bundled model differs from the run")


if __name__ == "__main__":
    main()
