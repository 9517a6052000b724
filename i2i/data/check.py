"""What a folder of data is taken for, and everything that is wrong with it: `i2i data check DIR`.

Problems are what a training would stumble over (unreadable files, missing parts, files that differ from the
manifest); the command then exits with 3. Warnings are worth a look (skipped files, pictures in both train and
test, tiny ones, mixed modes) and change nothing. Of pictures in a .tar or .npz only the layout is told.

    i2i data check data/horse2zebra                     # look
    i2i data check data/horse2zebra --write-manifest    # and note the sha256 of each for the next look
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from .. import files, images
from ..errors import DataError
from .cache import FOLDER
from .folders import SUFFIXES, listed, read

MANIFEST = "manifest.sha256"
TINY = 32  # a short side below this many pixels is worth a warning
SHOWN = 10  # how many names a warning lists; problems list all


class Picture(NamedTuple):
    """One file: its hash, and either its size and mode or the reason why it cannot be read."""

    path: Path
    sha256: str
    width: int = 0
    height: int = 0
    mode: str = ""
    animated: bool = False
    why: str = ""


@dataclass
class Report:
    """The result of `check`: `parts` holds the pictures by part, `kind` says what the folder is taken for."""

    root: Path
    kind: str
    parts: dict[str, list[Picture]]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; warnings do not count."""
        return not self.problems

    def text(self) -> str:
        """Return the whole report for a terminal."""
        lines = [f"{images.shown(self.root)}: {self.kind}"]
        width = max([len(name) for name in self.parts] + [4])
        if self.parts:
            lines.append(f"  {'part':{width}}  pictures  min / median / max size          modes")
        lines += [f"  {name:{width}}  {described(pictures)}" for name, pictures in self.parts.items()]
        for title, found in (("problems", self.problems), ("warnings", self.warnings)):
            lines += [f"{title} ({len(found)}):", *(f"  {line}" for line in found)] if found else []
        lines += self.notes
        return "\n".join(lines + ([] if self.problems or self.warnings else ["nothing is wrong with it"]))


def check(root: str | Path, *, write_manifest: bool = False) -> Report:
    """Read every picture of a data set and say what is there and what is wrong with it.

    Args:
        root: the folder of the data set.
        write_manifest: if nothing is wrong, write the sha256 of every picture to `root`/manifest.sha256, in
            the form of sha256sum; later calls compare with it.

    Raises:
        DataError: there is no such folder, or it is a file.

    Example:
        >>> print(check("data/horse2zebra").text())                               # doctest: +SKIP
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{images.shown(root)}: {files.lacking(root, 'folder')}; give the folder of a data set")
    folders = parts_of(root)
    there = {name: listed(folder) if folder.is_dir() else ([], []) for name, folder in folders.items()}
    parts = dict(zip(there, looked_at([found for found, _ in there.values()]), strict=True))
    packed = kind_of_files(root)
    if packed and not any(parts.values()):
        unread = f"what is in its files is not looked at here, and not written to {MANIFEST}: a training reads it"
        return Report(root, packed, {}, warnings=[unread])
    report = Report(root, kind_of(folders, parts), {name: found for name, found in parts.items() if found})
    report.problems += [*missing(root, folders, parts), *unmatched(folders, parts)]
    report.problems += [picture.why for found in parts.values() for picture in found if picture.why]
    for name, (_, skipped) in there.items():
        lines = [f"{images.shown(path)}: {why}" for path, why in skipped if not own(root, Path(path))]
        report.warnings += [f"skipped in {name}: {line}" for line in lines]
    report.warnings += [*untested(folders), *twice(parts), *odd_ones(parts), *mixed_modes(parts)]
    pictures = {relative(root, picture.path): picture for found in parts.values() for picture in found}
    if write_manifest:
        refused = f"{MANIFEST} is not written: mend the problems first"
        report.notes.append(written(root, pictures) if report.ok else refused)
    elif (root / MANIFEST).is_file():
        compare(report, pictures)
    return report


# ---- what the folder is


def parts_of(root: Path) -> dict[str, Path]:
    """Return the folders that make up a data set, by the name of the part."""
    inside = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    if {"trainA", "trainB"} & inside.keys():
        return {name: root / name for name in ("trainA", "trainB", "testA", "testB")}
    scales = {name: path for name, path in inside.items() if name == "HR" or name.startswith("LR")}
    if "HR" in scales:
        return scales
    splits = [inside[name] for name in ("train", "val", "test") if name in inside]
    parts: dict[str, Path] = {}
    for split in splits:
        labelled = {f"{split.name}/{name}": split / name for name in ("images", "labels")}
        parts |= labelled if all(path.is_dir() for path in labelled.values()) else {split.name: split}
    return parts or {".": root}


def kind_of(folders: Mapping[str, Path], parts: Mapping[str, Sequence[Picture]]) -> str:
    """Return what the data set is taken for, in words."""
    good = [picture for found in parts.values() for picture in found if not picture.why]
    if "trainA" in folders:
        return "unpaired pictures (trainA, trainB, testA, testB), for `use: unpaired_folders`"
    if "HR" in folders:
        return "pairs for super-resolution (HR and LR)"
    if any(name.endswith("/labels") for name in folders):
        return "pictures with label maps (images and labels)"
    if not good:
        return "no data set"
    if sum(picture.width == 2 * picture.height for picture in good) >= 0.9 * len(good):
        return "paired pictures, side by side (A is the left half, B the right one)"
    where = {picture.path.parent for picture in good}
    if where <= set(folders.values()):
        return "a plain folder of pictures" if "." in folders else f"pictures, split into {', '.join(folders)}"
    return f"pictures in {len(where)} folders, which may be classes"


def kind_of_files(root: Path) -> str:
    """Return what a data set in a few files is taken for, or nothing."""
    if (root / "mnist.npz").is_file():
        return "handwritten digits in one file (mnist.npz), for `use: mnist`"
    if not (root / "train.tar").is_file():
        return ""
    if (root / "train.csv").is_file():
        return "pictures with attributes (train.tar and train.csv), for `use: faces_with_attributes`"
    return "pictures in classes, a .tar for each split (train.tar), for `use: labelled_folders`"


def own(root: Path, path: Path) -> bool:
    """Say whether a file is one that we put there."""
    return path.name == MANIFEST or FOLDER in path.relative_to(root).parts


# ---- looking at the files


def looked_at(listings: Sequence[Sequence[Path]]) -> list[list[Picture]]:
    """Read all files of all listings, a few at a time."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # the report says it all
        return [list(pool.map(look, paths)) for paths in listings]


def look(path: Path) -> Picture:
    """Hash one file and decode it."""
    sha256 = ""
    try:
        height, width, _ = read(path).shape
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        with Image.open(path, formats=images.FORMATS) as image:
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
            return Picture(path, sha256, width, height, image.mode, animated)
    except (DataError, OSError, Image.DecompressionBombError) as error:
        named = "" if isinstance(error, DataError) else f"{images.shown(path)}: "
        return Picture(path, sha256, why=f"{named}{error}")


# ---- problems and warnings


def missing(root: Path, folders: Mapping[str, Path], parts: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Say which parts of the layout are empty, or not there and needed; a training refuses both."""
    if any(parts.values()):
        problems = []
        for name in (name for name, found in parts.items() if not found):
            optional = name.startswith("test")
            if folders[name].is_dir():
                instead = " or delete the folder" if optional else ""
                problems.append(f"{name}: no pictures in it, put some there{instead}")
            elif not optional:
                problems.append(f"{name}: no such folder; unpaired data needs trainA and trainB")
        return problems
    below = sorted({relative(root, path.parent) for path in root.glob("*/trainA")})
    hint = f"; there are data sets in {', '.join(below)}" if below else ""
    return [f"no pictures in it (accepted: {SUFFIXES}){hint}"]


def unmatched(folders: Mapping[str, Path], parts: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Say which pictures have no partner of the same name where the layout is one of pairs."""
    problems = []
    pairs = [(name, name[: -len("labels")] + "images") for name in parts if name.endswith("/labels")]
    pairs += [(name, "HR") for name in parts if name.startswith("LR")]
    for one, other in pairs:
        a, b = (
            {str(picture.path.relative_to(folders[part]).with_suffix("")) for picture in parts[part]}
            for part in (one, other)
        )
        for here, there, lone in ((one, other, sorted(a - b)), (other, one, sorted(b - a))):
            if lone:
                problems.append(f"{here} without a partner in {there}: {some(lone)}")
    return problems


def untested(folders: Mapping[str, Path]) -> list[str]:
    """Say which test folders of an unpaired set are missing."""
    gone = [name for name in ("testA", "testB") if name in folders and not folders[name].is_dir()]
    return [f"{name}: no such folder, so there is nothing to validate on" for name in gone]


def twice(parts: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Say which files lie in two places, above all in both train and test."""
    places: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for name, found in parts.items():
        for picture in found:
            if picture.sha256:
                places[picture.sha256].append((name, picture.path))
    leaked: list[str] = []
    repeated: list[str] = []
    for found_at in places.values():
        if len(found_at) > 1:
            trained = {name.startswith("train") for name, _ in found_at}
            line = " = ".join(images.shown(path) for _, path in found_at)
            (leaked if len(trained) == 2 else repeated).append(line)
    told = (("in both train and test", leaked), ("there more than once", repeated))
    return [f"pictures {what}: {some(lines)}" for what, lines in told if lines]


def odd_ones(parts: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Say which pictures are tiny, and which are animated."""
    good = [picture for found in parts.values() for picture in found if not picture.why]
    tiny = [f"{images.shown(p.path)} ({p.width}x{p.height})" for p in good if min(p.width, p.height) < TINY]
    animated = [images.shown(p.path) for p in good if p.animated]
    lines = [f"pictures with a side below {TINY} pixels: {some(tiny)}"] if tiny else []
    if animated:
        lines.append(f"pictures with several frames, of which the first is taken: {some(animated)}")
    return lines


def mixed_modes(parts: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Say where grey, transparent or deep pictures are among others; all are read as RGB."""
    lines = []
    for name, found in parts.items():
        modes = Counter(picture.mode for picture in found if not picture.why)
        if len(modes) > 1:
            usual = modes.most_common(1)[0][0]
            others = [f"{images.shown(p.path)} ({p.mode})" for p in found if not p.why and p.mode != usual]
            lines.append(f"mixed modes in {name}, most are {usual} and these are not: {some(others)}")
    return lines


# ---- the manifest


def written(root: Path, pictures: Mapping[str, Picture]) -> str:
    """Write the manifest and say so."""
    lines = [escaped(picture.sha256, name) for name, picture in sorted(pictures.items())]
    files.write(root / MANIFEST, b"".join(lines))
    return f"{len(lines)} hashes are written to {images.shown(root / MANIFEST)}"


def escaped(sha256: str, name: str) -> bytes:
    """Return a line as sha256sum writes it, which marks names with line ends by a leading backslash."""
    plain = os.fsencode(name)
    safe = plain.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if safe != plain else b"") + sha256.encode() + b"  " + safe + b"\n"


def noted(manifest: Path) -> dict[str, str]:
    """Return the hash of each name in a manifest."""
    hashes = {}
    for line in manifest.read_bytes().split(b"\n"):
        marked, line = line.startswith(b"\\"), line.removeprefix(b"\\")
        sha256, _, name = line.partition(b"  ")
        if marked:
            for code, sign in ((b"\\\\", b"\0"), (b"\\n", b"\n"), (b"\\r", b"\r"), (b"\0", b"\\")):
                name = name.replace(code, sign)
        if name:
            hashes[os.fsdecode(name)] = sha256.decode(errors="replace").lower()
    return hashes


def compare(report: Report, pictures: Mapping[str, Picture]) -> None:
    """Add what differs from the manifest."""
    expected = noted(report.root / MANIFEST)
    for name, sha256 in expected.items():
        path = report.root / name
        if name in pictures:
            if pictures[name].sha256 != sha256 and not pictures[name].why:
                report.problems.append(
                    f"{images.shown(path)}: changed or damaged, its hash is not that in {MANIFEST}"
                )
        elif not path.is_file():
            report.problems.append(f"{images.shown(path)}: is in {MANIFEST} and not in the folder")
    new = sorted(pictures.keys() - expected.keys())
    if new:
        report.warnings.append(f"pictures that are not in {MANIFEST}: {some(new)}")


# ---- words


def described(pictures: Sequence[Picture]) -> str:
    """Return one row of the table: count, sizes, modes."""
    good = sorted((p for p in pictures if not p.why), key=lambda p: (p.width * p.height, p.width))
    if not good:
        return f"{len(pictures):8}  none can be read"
    sizes = " / ".join(f"{p.width}x{p.height}" for p in (good[0], good[len(good) // 2], good[-1]))
    modes = ", ".join(f"{mode} {count}" for mode, count in Counter(p.mode for p in good).most_common())
    return f"{len(pictures):8}  {sizes:31}  {modes}"


def some(names: Iterable[str]) -> str:
    """Return how many there are, and the first names."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"{len(listed)} ({', '.join(listed[:SHOWN])}{more})"


def relative(root: Path, path: Path) -> str:
    """Return a path as it is written in a manifest."""
    return path.relative_to(root).as_posix()
