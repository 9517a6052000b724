"""What the pages take for granted, made small when a block names it: pictures, weights of others, trained runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from test_adopt_superres import esrgan
from test_configs import ROOT, small
from test_published import Resnet, Spade, saved, trained

from i2i import api, images

RUNS = dict.fromkeys(("a", "b", "c", "mine", "photos"), "cyclegan")  # runs that are not named after their config
RUNS |= {
    "restore": "superres",
    "colorize": "colorization",
    "rrdb": "superres",
    "vae_faces": "faces_vae",
    "paper": "cyclegan",
}


def noise(*shape: int) -> np.ndarray:
    """Return random bytes, the same for the same shape."""
    return np.random.default_rng(len(shape)).integers(0, 256, shape, np.uint8)


def picture(path: Path) -> None:
    """Write a picture of 48 x 27 pixels."""
    Image.fromarray(noise(27, 48, 3)).save(path)


def photos(path: Path) -> None:
    """Make a folder with two pictures."""
    path.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        picture(path / name)


def unpaired(path: Path) -> None:
    """Make a data set of two domains."""
    for part in ("trainA", "trainB", "testA", "testB"):
        photos(path / part)


def pairs(path: Path) -> None:
    """Make a data set of pairs."""
    for part in ("train/A", "train/B", "val/A", "val/B"):
        photos(path / part)


def labels(path: Path) -> None:
    """Make a folder with a label map."""
    path.mkdir()
    Image.fromarray(noise(64, 64) // 128).save(path / "a.png")


def clip(path: Path) -> None:
    """Write a clip of eight frames, which takes the formats of videos too."""
    images.Video(noise(8, 32, 32, 3), np.arange(9) / 8).save(path)


def text(path: Path) -> None:
    """Write captions, or positions of two people."""
    scene = "\n".join(f"{t} {p} {t * p} {p}" for t in range(8) for p in (1, 2))
    path.write_text(scene if path.stem == "scene" else "a green star\nthree blue circles\n")


def both_directions(path: Path) -> None:
    """Make a folder with the generators of a CycleGAN, as its authors save them."""
    path.mkdir(parents=True)
    for part in ("G_A", "G_B"):
        saved(path / f"latest_net_{part}.pth", trained(Resnet()))


def spade(path: Path) -> None:
    """Make a folder with a generator of SPADE for COCO-Stuff, as its authors save it, of width 2."""
    path.mkdir(parents=True)
    saved(path / "latest_net_G.pth", trained(Spade(184)))


MADE: list[tuple[str, Callable[[Path], object]]] = [  # the first pattern that matches the whole name counts
    (r"(\w+/)*latest_net_G\.pth", lambda path: saved(path, trained(Resnet()))),
    (r"net\.pth", lambda path: saved(path, {"state_dict": trained(Resnet()).state_dict()})),
    (r"(RealESRGAN_x4plus|4x_foo)\.pth", lambda path: torch.save({"params_ema": esrgan("new", 2, 1)[0]}, path)),
    (r"checkpoints/(maps_cyclegan|horse2zebra_pretrained)", both_directions),
    (r"checkpoints/coco_pretrained", spade),
    (r"(\w+/)*\w+\.(png|jpe?g|webp|tiff?)", picture),
    (r"\w+\.(mp4|gif)", clip),
    (r"(captions|scene)\.txt", text),
    (r"photos|PHOTOS|PICTURES|OUT|TRUTH|RESULTS|SAMPLES|results|truth", photos),
    (r"labels|LABELS", labels),
    (r"my_pairs", pairs),
    (r"old/runs", Path.mkdir),
    (r"DIR|my_photos|datasets/horse2zebra", unpaired),
]


class Given:
    """Makes what a block names and what does not exist yet; trained runs only once for all pages."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    def make(self, block: str) -> None:
        """Make the files and runs that the words of a block name, in the current folder; not what it writes."""
        read = re.sub(r" # .*", "", block)
        read = re.sub(r"( -o | --out |save\(|data\.\w+=)\S+", " ", read)
        for name in re.findall(r"[\w.*/-]+", read.replace("i2i runs", "i2i runs/cyclegan", 1)):
            self.one(name.rstrip("/.").replace("*", "one"))

    def one(self, name: str) -> None:
        """Make what one word names, if it is the name of something known."""
        path = Path(name)
        if not name or path.is_absolute() or path.exists():
            return
        if re.fullmatch(r"runs/\w+", name):
            source = RUNS.get(path.name, path.name)
            if (ROOT / "configs" / f"{source}.yaml").exists():
                shutil.copytree(self.run(source), path)
            return
        maker = next((make for pattern, make in MADE if re.fullmatch(pattern, name)), None)
        if maker is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            maker(path)

    def run(self, name: str) -> Path:
        """Return the folder of a run of a shipped config, trained for two steps at toy size."""
        made = self.runs / name
        if not made.exists():
            config = ROOT / "configs" / f"{name}.yaml"
            api.run(config, *small(config, self.runs / f"{name}-data"), out=made)
        return made


def data(folder: Path) -> Iterator[Path]:
    """Yield new folders for data sets."""
    for n in range(1000):
        yield folder / f"data-{n}"
