"""`i2i data check`: which layout a folder has, and what is wrong with its pairs of files.

train/A  train/B          # pairs by name: an image without a partner is a problem
trainA   trainB           # unpaired images; where most names agree they may be pairs, and it says so
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import images
from .paired import skewed

SPLITS = ("train", "val", "test")
SHOWN = 10  # names listed per warning; problems list all


class Picture(NamedTuple):
    """One image file: its hash, and either its size and mode or the reason it cannot be read."""

    path: Path
    sha256: str
    width: int = 0
    height: int = 0
    mode: str = ""
    animated: bool = False
    why: str = ""


Folders = Mapping[str, Path]
Parts = Mapping[str, Sequence[Picture]]


def parts_of(root: Path) -> dict[str, Path]:
    """Return the folders that make up a data set, by part name."""
    inside = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    if {"trainA", "trainB"} & inside.keys():
        names = ["trainA", "trainB", *(name for name in ("valA", "valB") if name in inside)]
        return {name: root / name for name in (*names, "testA", "testB")}
    scales = {name: path for name, path in inside.items() if name == "HR" or name.startswith("LR")}
    if "HR" in scales:
        return scales
    parts: dict[str, Path] = {}
    for split in (inside[name] for name in SPLITS if name in inside):
        below = {path.name for path in split.iterdir() if path.is_dir()}
        kinds: list[str] = [kind for kind in ("images", "labels", "instances") if kind in below]
        if below and below <= {"A", "B"}:  # more folders would be classes
            kinds = ["A", "B"]
        elif not {"images", "labels"} <= below:
            kinds = []
        parts |= {f"{split.name}/{kind}": split / kind for kind in kinds} or {split.name: split}
    return parts or {".": root}


def kind_of(folders: Folders, parts: Parts) -> str:
    """Return a description of the kind of data set."""
    good = [picture for found in parts.values() for picture in found if not picture.why]
    if "trainA" in folders:
        return "looks like unpaired images (trainA, trainB, testA, testB), for `use: unpaired_folders`"
    if "HR" in folders:
        return "looks like super-resolution pairs (HR and LR)"
    if any(name.endswith("/labels") for name in folders):
        return "looks like images with label maps (images and labels), for `use: label_maps`"
    if any(name.endswith("/A") for name in folders):
        return "looks like paired images (A and B of the same name), for `use: paired_folders`"
    if not good:
        return "does not look like a data set"
    if sum(picture.width == 2 * picture.height for picture in good) >= 0.9 * len(good):
        return "looks like paired images, side by side (A left, B right), for `use: paired_side_by_side`"
    where = {picture.path.parent for picture in good}
    if where <= set(folders.values()):
        kind = "a plain folder of images" if "." in folders else f"images split into {', '.join(folders)}"
        return f"looks like {kind}"
    return f"looks like images in {len(where)} folders, possibly one per class"


def kind_of_files(root: Path) -> str:
    """Return a description of a data set stored in a few large files, or an empty string."""
    if (root / "mnist.npz").is_file():
        return "looks like MNIST in one file (mnist.npz), for `use: mnist`"
    if not (root / "train.tar").is_file():
        return ""
    if (root / "train.csv").is_file():
        return "looks like images with attributes (train.tar and train.csv), for `use: faces_with_attributes`"
    return "looks like images with class labels, one .tar per split (train.tar), for `use: labelled_folders`"


def by_name(folders: Folders, parts: Parts, part: str) -> dict[str, Picture]:
    """Return the images of a part by what pairs them: the path without the suffix."""
    return {p.path.relative_to(folders[part]).with_suffix("").as_posix(): p for p in parts[part]}


def unmatched(folders: Folders, parts: Parts) -> list[str]:
    """Report images without a counterpart of the same name, and halves of other proportions, as training does."""
    pairs = [(name, f"{name.partition('/')[0]}/images") for name in parts if name.endswith(("/labels", "/instances"))]
    pairs += [(name, "HR") for name in parts if name.startswith("LR")]
    joint = [(f"{split}/B", f"{split}/A") for split in SPLITS if f"{split}/A" in parts]
    problems = [line for one, other in [*pairs, *joint] for line in lone(folders, parts, one, other)]
    return problems + [line for b, a in joint for line in other_proportions(folders, parts, a, b)]


def lone(folders: Folders, parts: Parts, one: str, other: str) -> list[str]:
    """Report the images of two parts that lack a counterpart in the other one."""
    a, b = (by_name(folders, parts, part).keys() for part in (one, other))
    ways = [(one, other, sorted(a - b)), (other, one, sorted(b - a))]
    return [
        f"images in {here} without a counterpart in {there}: {some(names)}" for here, there, names in ways if names
    ]


def other_proportions(folders: Folders, parts: Parts, one: str, other: str) -> list[str]:
    """Report the pairs whose images differ in aspect ratio."""
    a, b = (by_name(folders, parts, part) for part in (one, other))
    both = [(a[name], b[name]) for name in sorted(a.keys() & b.keys()) if not a[name].why and not b[name].why]
    skew = [
        f"{images.shown(p.path)} {p.width}x{p.height} and {q.width}x{q.height}"
        for p, q in both
        if skewed(p.path, q.path)
    ]
    what = f"images in {one} that differ in aspect ratio from their counterparts in {other}"
    return [f"{what}: {some(skew)}"] if skew else []


def perhaps_pairs(folders: Folders, parts: Parts) -> tuple[list[str], list[str]]:
    """Return notes and warnings about unpaired folders in which most names agree, so that they may be pairs."""
    notes: list[str] = []
    warnings: list[str] = []
    for split in SPLITS:
        one, other = f"{split}A", f"{split}B"
        if not (parts.get(one) and parts.get(other)):
            continue
        a, b = (by_name(folders, parts, part).keys() for part in (one, other))
        if 2 * len(a & b) <= max(len(a), len(b)):
            continue
        notes.append(
            f"{len(a & b)} of {len(a | b)} names are in both {one} and {other}: if these are pairs, "
            f"use `paired_folders`, which needs all of them"
        )
        warnings += [*lone(folders, parts, one, other), *other_proportions(folders, parts, one, other)]
    return notes, warnings


def untested(folders: Folders, paired: bool) -> list[str]:
    """Report missing test folders of an unpaired data set; pairs may have val in their place."""
    names = () if paired and "valA" in folders and "valB" in folders else ("testA", "testB")
    gone = [name for name in names if name in folders and not folders[name].is_dir()]
    return [f"{name}: no such folder, so there is no validation data" for name in gone]


def some(names: Iterable[str]) -> str:
    """Return the number of names and the first few of them."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"{len(listed)} ({', '.join(listed[:SHOWN])}{more})"
