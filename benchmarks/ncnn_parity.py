"""The models of `i2i[realesrgan]` and `i2i[span]` in i2i's networks, compared with ncnn on the same files.

    pip install 'i2i[realesrgan,span]' ncnn
    python benchmarks/ncnn_parity.py --json benchmarks/results/ncnn_parity.json

Both sides compute in fp32, ncnn with and without Winograd's convolutions. The picture is drawn: smooth colours with
10 % noise, 28 x 24 pixels. Differences are in units of the range of values, 0..1.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import i2i

MODELS = ["realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3-x2", "realesr-animevideov3-x3"]
MODELS += ["realesr-animevideov3-x4", "span-x2", "span-x4"]


def picture() -> Tensor:
    """Return the picture [3, 24, 28] in 0..1."""
    source = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.rand(1, 3, 6, 7, generator=source), (24, 28), mode="bicubic").clamp(0, 1)
    return (0.9 * smooth + 0.1 * torch.rand(1, 3, 24, 28, generator=source))[0]


def by_ncnn(file: Path, image: Tensor, winograd: bool) -> Tensor:
    """Run a pair of .param and .bin on an image [3, H, W] in fp32 on one thread of the CPU."""
    network = ncnn.Net()
    network.opt.use_vulkan_compute = False
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(network.opt, f"use_{name}", False)
    network.opt.use_winograd_convolution = winograd
    network.opt.num_threads = 1
    network.load_param(str(file))
    network.load_model(str(file.with_suffix(".bin")))
    extractor = network.create_extractor()
    extractor.input("data", ncnn.Mat(image.numpy()))
    return torch.from_numpy(np.array(extractor.extract("output")[1]))


@torch.no_grad()
def main() -> None:
    """Compare, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    args = parser.parse_args()
    result: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "ncnn": ncnn.__version__}
    image = picture()
    for name in MODELS:
        model = i2i.load(name)
        ours = (model.task.enlarge(image[None] * 2 - 1) + 1)[0] / 2
        found = {
            kind: float((ours - by_ncnn(Path(model.source), image, winograd)).abs().max())
            for kind, winograd in (("direct", False), ("winograd", True))
        }
        weights = sum(p.numel() for p in model.task.G.parameters())
        result[name] = {"weights": weights, "greatest_difference": found}
        print(
            f"{name:26} {weights:>10,}", "  ".join(f"{kind} {value:.1e}" for kind, value in found.items()), flush=True
        )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
