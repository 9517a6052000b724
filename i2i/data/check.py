"""Data set checks: report what kind of data set a folder looks like, and every problem found.

Problems would affect training (unreadable files, missing folders, files that differ from the manifest); the command
then exits with 3. Warnings deserve a look (skipped files, images in both train and test, tiny images, mixed modes)
and do not affect the exit code. For images in a .tar or .npz only the layout is reported.

    i2i data check data/horse2zebra                     # check
    i2i data check data/horse2zebra --write-manifest    # and record the sha256 of each image for later checks
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from .. import files, images
from ..errors import DataError
from ..files.find import UNLISTED
from ..images.whole import cut_short
from ..modalities import Modality
from .base import Data, Layout
from .cache import FOLDER
from .check_labels import label_maps
from .check_layouts import Picture, kind_of, kind_of_files, parts_of, perhaps_pairs, some, unmatched, untested
from .folders import SUFFIXES, listed, read

log = logging.getLogger("i2i")

MANIFEST = "manifest.sha256"
TINY = 32  # warn about images with a side shorter than this many pixels


@dataclass
class Report:
    """The result of `check`: `parts` are the images by part, `kind` describes the kind of data set."""

    root: Path
    kind: str
    parts: dict[str, list[Picture]]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there are no problems; warnings do not count."""
        return not self.problems

    def text(self) -> str:
        """Return the report as text for a terminal."""
        lines = [f"{images.shown(self.root)}: {self.kind}"]
        width = max([len(name) for name in self.parts] + [4])
        if self.parts:
            lines.append(f"  {'part':{width}}    images  min / median / max size          modes")
        lines += [f"  {name:{width}}  {described(pictures)}" for name, pictures in self.parts.items()]
        for title, found in (("problems", self.problems), ("warnings", self.warnings)):
            lines += [f"{title} ({len(found)}):", *(f"  {line}" for line in found)] if found else []
        lines += self.notes
        return "\n".join(lines + ([] if self.problems or self.warnings else ["no problems found"]))


def check(
    root: str | Path,
    modalities: Sequence[Modality] = (),
    data: Iterable[Callable[..., Any]] = (),
    write_manifest: bool = False,
) -> Report:
    """Read every image of a data set and report its contents and problems.

    Args:
        root: the folder of the data set.
        modalities: what else its files may be where there are no images, e.g. sounds.
        data: data sets that may recognise their own layout; see `Data.recognise`.
        write_manifest: if there are no problems, write the sha256 of every image to `root`/manifest.sha256, in the
            format of sha256sum; later calls compare with it.

    Raises:
        DataError: the folder does not exist, or is a file.

    Example:
        >>> print(check("data/horse2zebra").text())                               # doctest: +SKIP
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{images.shown(root)}: {files.lacking(root, 'folder')}; pass the folder of a data set")
    folders = parts_of(root)
    there = {name: listed(folder) if folder.is_dir() else ([], []) for name, folder in folders.items()}
    parts = dict(zip(there, looked_at([found for found, _ in there.values()]), strict=True))
    kinds = [one for one in data if isinstance(one, type) and issubclass(one, Data)]
    known = next(filter(None, (one.recognise(root) for one in kinds)), None)
    if known and not known.pictures:
        return Report(root, known.kind, {}, [*known.problems], notes=[*known.notes])
    packed = kind_of_files(root)
    if packed and not any(parts.values()):
        unread = f"the contents of these files are not checked and not added to {MANIFEST}; training reads them"
        layout = known or Layout(packed)
        return Report(root, layout.kind, {}, [*layout.problems], [unread], [*layout.notes])
    found = [picture for pictures in parts.values() for picture in pictures]
    if not known and sum(picture.animated for picture in found) >= 0.9 * len(found):  # or there are no pictures
        for modality in modalities:
            things = [thing for thing, _ in modality.find(str(root))[0] if isinstance(thing, Path)]
            if things:
                return Report(root, f"looks like {len(things)} {modality.plural}", {}, unreadable(modality, things))
    skipped = {name: skipped for name, (_, skipped) in there.items()}
    report = report_of(root, known or Layout(kind_of(folders, parts)), folders, parts, skipped)
    pictures = {relative(root, picture.path): picture for found in parts.values() for picture in found}
    if write_manifest:
        refused = f"{MANIFEST} was not written: fix the problems first"
        report.notes.append(written(root, pictures) if report.ok else refused)
    elif (root / MANIFEST).is_file():
        compare(report, pictures)
    return report


def report_of(
    root: Path,
    layout: Layout,
    folders: Mapping[str, Path],
    parts: Mapping[str, list[Picture]],
    skipped: Mapping[str, Iterable[tuple[Path, str]]],
) -> Report:
    """Return what there is to say about the images of a data set, by part, and about files that were skipped."""
    report = Report(root, layout.kind, {name: found for name, found in parts.items() if found}, notes=[*layout.notes])
    report.problems += [*layout.problems, *missing(root, folders, parts), *unmatched(folders, parts)]
    report.problems += [picture.why for found in parts.values() for picture in found if picture.why]
    add_skipped(report, root, skipped)
    notes, warned = perhaps_pairs(folders, parts)
    report.warnings += [
        *untested(folders, bool(notes)),
        *warned,
        *twice(parts),
        *odd_ones(parts),
        *mixed_modes(parts),
    ]
    wrong, more = label_maps(root, folders, parts)
    report.problems += wrong
    report.notes += [*notes, *more]
    return report


def own(root: Path, path: Path) -> bool:
    """Return whether a file was written by i2i."""
    return path.name == MANIFEST or FOLDER in path.relative_to(root).parts


# ---- reading the files


def unreadable(modality: Modality, things: Iterable[Path]) -> list[str]:
    """Read files of any modality and return a sentence for each that cannot be read."""
    problems = []
    log.disabled = True  # what it says about an input to translate is not about a data set
    try:
        for thing in things:
            try:
                modality.take(thing)
            except DataError as error:
                problems.append(str(error))
    finally:
        log.disabled = False
    return problems


def looked_at(listings: Sequence[Sequence[Path]]) -> list[list[Picture]]:
    """Read all files of all listings, several in parallel."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # the report covers them
        return [list(pool.map(look, paths)) for paths in listings]


def look(path: Path) -> Picture:
    """Hash one file and decode it."""
    sha256 = ""
    try:
        height, width, _ = read(path).shape
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if cut_short(path):
            raise DataError(f"{images.shown(path)}: truncated: a scan of this JPEG ends early; copy it again")
        with Image.open(path, formats=images.FORMATS) as image:
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
            return Picture(path, sha256, width, height, image.mode, animated)
    except (DataError, OSError, Image.DecompressionBombError) as error:
        named = "" if isinstance(error, DataError) else f"{images.shown(path)}: "
        return Picture(path, sha256, why=f"{named}{error}")


# ---- problems and warnings


def add_skipped(report: Report, root: Path, parts: Mapping[str, Iterable[tuple[Path, str]]]) -> None:
    """Add what was skipped in each part: a folder that cannot be listed is a problem, everything else a warning."""
    for name, skipped in parts.items():
        for path, why in skipped:
            if why.startswith(UNLISTED):
                report.problems.append(f"{images.shown(path)}: {why}")
            elif not own(root, path):
                report.warnings.append(f"skipped in {name}: {images.shown(path)}: {why}")


def missing(root: Path, folders: Mapping[str, Path], parts: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Report parts of the layout that are empty, or missing although required; training rejects both."""
    if any(parts.values()):
        problems = []
        for name in (name for name, found in parts.items() if not found):
            optional = name.startswith(("val", "test"))
            if folders[name].is_dir():
                instead = " or delete the folder" if optional else ""
                problems.append(f"{name}: no images found; add some{instead}")
            elif not optional:
                problems.append(f"{name}: no such folder; both domains are needed")
        return problems
    below = sorted({relative(root, path.parent) for path in root.glob("*/trainA")})
    hint = f"; there are data sets in {', '.join(below)}" if below else ""
    return [f"no images found (accepted: {SUFFIXES}){hint}"]


def twice(parts: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Report duplicate images, in particular those in both train and test; equal label maps are neither."""
    places: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for name, found in parts.items():
        for picture in found if not name.endswith(("/labels", "/instances")) else ():
            if picture.sha256:
                places[picture.sha256].append((name, picture.path))
    leaked: list[str] = []
    repeated: list[str] = []
    for found_at in places.values():
        if len(found_at) > 1:
            trained = {name.startswith("train") for name, _ in found_at}
            line = " = ".join(images.shown(path) for _, path in found_at)
            (leaked if len(trained) == 2 else repeated).append(line)
    groups = (("images in both train and test", leaked), ("duplicate images", repeated))
    return [f"{what}: {some(lines)}" for what, lines in groups if lines]


def odd_ones(parts: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Report tiny and animated images."""
    good = [picture for found in parts.values() for picture in found if not picture.why]
    tiny = [f"{images.shown(p.path)} ({p.width}x{p.height})" for p in good if min(p.width, p.height) < TINY]
    animated = [images.shown(p.path) for p in good if p.animated]
    lines = [f"images with a side shorter than {TINY} pixels: {some(tiny)}"] if tiny else []
    if animated:
        lines.append(f"animated images, of which only the first frame is used: {some(animated)}")
    return lines


def mixed_modes(parts: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Report parts that mix image modes, e.g. grey, transparent or 16-bit; all images are read as RGB."""
    lines = []
    for name, found in parts.items():
        modes = Counter(picture.mode for picture in found if not picture.why)
        if len(modes) > 1:
            usual = modes.most_common(1)[0][0]
            others = [f"{images.shown(p.path)} ({p.mode})" for p in found if not p.why and p.mode != usual]
            lines.append(f"mixed modes in {name}: most are {usual}, except {some(others)}")
    return lines


# ---- the manifest


def written(root: Path, pictures: Mapping[str, Picture]) -> str:
    """Write the manifest and return a note about it."""
    lines = [escaped(picture.sha256, name) for name, picture in sorted(pictures.items())]
    files.write(root / MANIFEST, b"".join(lines))
    return f"wrote {len(lines)} hashes to {images.shown(root / MANIFEST)}"


def escaped(sha256: str, name: str) -> bytes:
    """Return a line in the format of sha256sum, which marks escaped names with a leading backslash."""
    plain = os.fsencode(name)
    safe = plain.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if safe != plain else b"") + sha256.encode() + b"  " + safe + b"\n"


def noted(manifest: Path) -> dict[str, str]:
    """Return the hash of each file in a manifest, by name."""
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
    """Add differences from the manifest to the report."""
    expected = noted(report.root / MANIFEST)
    for name, sha256 in expected.items():
        path = report.root / name
        if name in pictures:
            if pictures[name].sha256 != sha256 and not pictures[name].why:
                report.problems.append(f"{images.shown(path)}: changed or damaged, its hash differs from {MANIFEST}")
        elif not path.is_file():
            report.problems.append(f"{images.shown(path)}: listed in {MANIFEST} but missing")
    new = sorted(pictures.keys() - expected.keys())
    if new:
        report.warnings.append(f"images not listed in {MANIFEST}: {some(new)}")


# ---- formatting


def described(pictures: Sequence[Picture]) -> str:
    """Return one row of the table: count, sizes, modes."""
    good = sorted((p for p in pictures if not p.why), key=lambda p: (p.width * p.height, p.width))
    if not good:
        return f"{len(pictures):8}  none readable"
    sizes = " / ".join(f"{p.width}x{p.height}" for p in (good[0], good[len(good) // 2], good[-1]))
    modes = ", ".join(f"{mode} {count}" for mode, count in Counter(p.mode for p in good).most_common())
    return f"{len(pictures):8}  {sizes:31}  {modes}"


def relative(root: Path, path: Path) -> str:
    """Return a path relative to the root, as written in a manifest."""
    return path.relative_to(root).as_posix()
