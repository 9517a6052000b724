"""How far Pillow, OpenCV and PyTorch are from the expected files, where they follow the convention.

    python conformance/references.py     # prints the largest difference for each; skips what is not installed

The files are computed by formulas alone; this is the evidence that the formulas are right. Exit status 1 if a
difference exceeds the tolerance of its case, or the one given here for a library that is less exact.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from store import decode

HERE = Path(__file__).parent
Pair = tuple[str, Any, float | None]  # file, what the library gives, another tolerance


def of(case: str, file: str) -> Any:
    """Return the value of a file."""
    return decode(HERE / case / file)


def pillow(Image: Any) -> Iterator[tuple[str, Pair]]:
    """Yield what Pillow gives."""
    for name, size in (("down", (13, 17)), ("up", (45, 62))):
        image = Image.fromarray(of("bicubic_pillow", "input.png"))
        resized = image.resize(size[::-1], Image.Resampling.BICUBIC)
        yield "bicubic_pillow", (f"expected_{name}.npy", resized, None)
    for name, size in (("down", (5, 6)), ("up", (17, 22))):
        image = Image.fromarray(of("nearest_labels", "input.png")[..., 0])
        yield "nearest_labels", (f"expected_{name}.npy", image.resize(size[::-1], Image.Resampling.NEAREST), None)
    yield "luma_grey", ("expected.npy", Image.fromarray(of("luma_grey", "input.png")).convert("L"), None)
    yield "jpeg_chroma", ("expected.npy", Image.open(HERE / "jpeg_chroma" / "input.jpg").convert("RGB"), None)
    white = Image.new("RGBA", (8, 6), "white")
    shown = Image.alpha_composite(white, Image.fromarray(of("alpha_straight", "input.png"))).convert("RGB")
    yield "alpha_straight", ("expected.npy", shown, None)
    turn = importlib.import_module("PIL.ImageOps").exif_transpose
    for n in range(1, 9):
        yield (
            "exif_orientation",
            ("expected.png", turn(Image.open(HERE / "exif_orientation" / f"input_{n}.jpg")), None),
        )


def opencv(cv2: Any) -> Iterator[tuple[str, Pair]]:
    """Yield what OpenCV gives."""
    x = of("align_corners", "input.npy")
    yield "align_corners", ("expected.npy", cv2.resize(x, (24, 20), interpolation=cv2.INTER_LINEAR), None)
    image = of("lab", "input.png").astype(np.float32) / 255
    yield "lab", ("lab.npy", cv2.cvtColor(image, cv2.COLOR_RGB2Lab), 0.5)  # its cube root is a table
    grey = cv2.cvtColor(of("luma_grey", "input.png"), cv2.COLOR_RGB2GRAY)
    yield "luma_grey", ("expected.npy", grey, None)
    for kind in ("rgb", "grey"):
        found = cv2.imread(str(HERE / "sixteen_bit" / f"input_{kind}.png"), cv2.IMREAD_UNCHANGED) / 32767.5 - 1
        planes = found[..., ::-1].transpose(2, 0, 1) if kind == "rgb" else found
        yield "sixteen_bit", (f"expected_{kind}.npy", planes, None)
    decoded = cv2.imread(str(HERE / "jpeg_chroma" / "input.jpg"))[..., ::-1]
    yield "jpeg_chroma", ("expected.npy", decoded, None)
    yield (
        "channel_order",
        ("expected.npy", cv2.imread(str(HERE / "channel_order" / "input.png"))[..., ::-1].transpose(2, 0, 1), 0),
    )


def pytorch(torch: Any) -> Iterator[tuple[str, Pair]]:
    """Yield what PyTorch gives, in float64."""
    F = torch.nn.functional

    def given(case: str, file: str = "input.npy") -> Any:
        return torch.from_numpy(of(case, file).astype(float))

    x = given("align_corners")[None, None]
    yield "align_corners", ("expected.npy", F.interpolate(x, scale_factor=4, mode="bilinear")[0, 0], None)
    labels = given("nearest_spade", "input.png")[None, None, ..., 0]
    for n in (2, 4, 8):
        small = F.interpolate(labels, (16 // n, 24 // n), mode="nearest")
        yield "nearest_spade", (f"expected_by_{n}.npy", small[0, 0], None)
    labels = given("nearest_labels", "input.png")[None, None, ..., 0]
    for name, size in (("down", (5, 6)), ("up", (17, 22))):
        resized = F.interpolate(labels, size, mode="nearest-exact")
        yield "nearest_labels", (f"expected_{name}.npy", resized[0, 0], None)
    yield "instance_norm", ("expected.npy", F.instance_norm(given("instance_norm")), None)
    layer = torch.nn.BatchNorm2d(3, affine=False).double()
    first, second, third = given("batch_norm")
    layer(first), layer(second)
    yield "batch_norm", ("expected.npy", layer.eval()(third), None)
    yield "pixel_shuffle", ("expected.npy", F.pixel_shuffle(given("pixel_shuffle"), 2), None)
    padded = F.pad(given("odd_sizes", "input_by_4.npy")[None, None], (0, 1, 0, 3), "reflect")
    yield "odd_sizes", ("expected_by_4.npy", padded[0, 0], None)
    spread = torch.distributions
    mu, logvar = given("kl_term", "input_mu.npy"), given("kl_term", "input_logvar.npy")
    each = spread.kl_divergence(spread.Normal(mu, (logvar / 2).exp()), spread.Normal(0.0, 1.0))
    yield "kl_term", ("expected.json", {"kl": each.sum(1).mean().item()}, None)


LIBRARIES: dict[str, Callable[[Any], Iterator[tuple[str, Pair]]]] = {
    "PIL.Image": pillow,
    "cv2": opencv,
    "torch": pytorch,
}


def main() -> int:
    """Print a line for each comparison."""
    tolerances = {case["name"]: case["tolerance"] for case in json.loads((HERE / "cases.json").read_text())}
    failed = 0
    for module, compare in LIBRARIES.items():
        try:
            library = importlib.import_module(module)
        except ImportError:
            print(f"{module}: not installed, skipped")
            continue
        for case, (file, found, other) in compare(library):
            right, tolerance = of(case, file), tolerances[case] if other is None else other
            if isinstance(right, dict):
                right, found = list(right.values()), list(found.values())
            apart = float(np.abs(np.asarray(found, float) - np.asarray(right, float)).max())
            failed += apart > tolerance + 1e-12
            print(f"{module:10} {case}/{file}: {apart:.2g}, tolerance {tolerance:g}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
