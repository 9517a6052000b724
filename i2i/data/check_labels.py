"""`i2i data check` of label maps: the class values that were found, and whatever `label_maps` would reject.

train/labels: class values 0 to 11 in 367 maps           # and, without a classes.json, what to set
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import images
from ..errors import ConfigError, DataError
from .check_layouts import SHOWN, Folders, Parts, Picture, by_name, some
from .folders import read
from .segmaps import Classes, classified, is_lossy, legend, other_size, packed

COLOURS = 40  # more colours than this in all maps are not classes, but antialiasing or lossy compression


class Legend(NamedTuple):
    """The classes of classes.json; `palette` is None if some of them have no colour there."""

    classes: Classes
    palette: np.ndarray | None


@dataclass
class Map:
    """What one label map contains: class values or, where it is not a map of indices, packed colours."""

    part: str
    path: Path
    values: set[int] = field(default_factory=set)
    colours: set[int] = field(default_factory=set)
    lossy: bool = False
    problems: list[str] = field(default_factory=list)


def label_maps(root: Path, folders: Folders, parts: Parts) -> tuple[list[str], list[str]]:
    """Return the problems of the label maps of a data set, and notes about their class values."""
    jobs: list[tuple[str, Picture, Picture | None]] = [
        (part, picture, by_name(folders, parts, f"{part.partition('/')[0]}/images").get(name))
        for part in parts
        if part.endswith(("/labels", "/instances"))
        for name, picture in by_name(folders, parts, part).items()
        if not picture.why
    ]
    if not jobs:
        return [], []
    try:
        known = legend_of(root)
    except DataError as error:
        return [str(error)], []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        maps = list(pool.map(lambda job: look(job[0], job[1], job[2], known), jobs))
    problems = [line for one in maps for line in one.problems]
    maps = [one for one in maps if one.part.endswith("/labels")]
    lossy = [images.shown(one.path) for one in maps if one.lossy]
    if lossy:
        problems.append(
            f"label maps with lossy compression, which changes the values along every edge: {some(lossy)}; export "
            f"them as PNG"
        )
    more, notes = advice(maps, known, bool(lossy))
    return [*problems, *more], [*found_values(maps), *notes]


def legend_of(root: Path) -> Legend | None:
    """Return the classes of classes.json, or None if there is no such file.

    Raises:
        DataError: the file is not in the right format.
    """
    try:
        classes, palette = legend(root, None, None, needs_colours=True)
        return Legend(classes, palette)
    except ConfigError:
        try:
            return Legend(legend(root, None, None, needs_colours=False)[0], None)
        except ConfigError:
            return None


def look(part: str, picture: Picture, photo: Picture | None, known: Legend | None) -> Map:
    """Read one label map or instance map as training does."""
    found = Map(part, picture.path, lossy=is_lossy(picture.path))
    if photo is not None and not photo.why:
        shape, size = (picture.height, picture.width), (photo.height, photo.width)
        found.problems += filter(None, [other_size(picture.path, shape, photo.path, size)])
    try:
        if picture.mode not in ("1", "L", "P") and picture.mode[0] != "I" and part.endswith("/labels"):
            found.colours = colours_of(picture.path, known)
            return found
        found.values = {*np.unique(read(picture.path, images.read_labels)).tolist()}
    except DataError as error:
        found.problems.append(str(error))
        return found
    complaint = known.classes.complaint([*found.values]) if known and part.endswith("/labels") else ""
    if complaint and known and known.palette is not None:
        with suppress(DataError):  # grey colours, such as 0 and 255 of a mask
            found.colours, complaint = colours_of(picture.path, known), ""
    found.problems += [f"{images.shown(picture.path)}: {complaint}"] if complaint else []
    return found


def colours_of(path: Path, known: Legend | None) -> set[int]:
    """Return the packed colours of a label map.

    Raises:
        DataError: it cannot be read, or has a colour that is not in classes.json.
    """
    colours = read(path)
    if known and known.palette is not None:
        classified(colours, path, known.classes, known.palette)
    return {*np.unique(packed(colours)).tolist()}


def found_values(maps: Sequence[Map]) -> list[str]:
    """Return a line about the class values of each part."""
    lines = []
    for part in dict.fromkeys(one.part for one in maps):
        here = [one for one in maps if one.part == part]
        values = sorted(set().union(*(one.values for one in here)))
        if values:
            lines.append(f"{part}: class values {ranges(values)} in {len(here)} maps")
    return lines


def advice(maps: Sequence[Map], known: Legend | None, lossy: bool) -> tuple[list[str], list[str]]:
    """Return what to set so that the maps can be trained on, as problems or, where they are fine, as notes."""
    coloured = [images.shown(one.path) for one in maps if one.colours]
    values = sorted(set().union(*(one.values for one in maps)))
    if coloured and known and known.palette is not None:
        if len(coloured) == len(maps):
            return [], ["label maps in the colours of classes.json: set data.coded=colours"]
        indexed = [images.shown(one.path) for one in maps if not one.colours and not one.problems]
        mixed = f"{some(coloured)} have the colours of classes.json, {some(indexed)} class indices"
        return [f"label maps of two kinds: {mixed}; convert one of them"] if indexed else [], []
    if coloured:
        colours = sorted(set().union(*(one.colours for one in maps)))
        few = len(colours) <= COLOURS
        what = (
            "list the colour of each class in classes.json and set data.coded=colours"
            if few
            else (f"they have {len(colours)} colours, so export them again without antialiasing or lossy compression")
        )
        problem = f"label maps of colours, not of class indices: {some(coloured)}; {what}"
        return [problem], [for_classes_json((c >> 16, c >> 8 & 255, c & 255) for c in colours)] * few
    if known or not values or lossy:
        return [], []
    ignored = values[-1] == 255 and len(values) > 1
    classes = values[:-1] if ignored else values
    if 2 * len(classes) <= classes[-1] + 1 or (ignored and len(classes) == 1):
        problem = (
            f"class values {ranges(values)} are not class indices, which count up from 0: change them to 0 to "
            f"{len(values) - 1}, or give each value a colour in classes.json and set data.coded=colours; if they are "
            f"right, describe all classes in classes.json"
        )
        few = len(values) <= COLOURS and values[-1] < 256
        return [problem], [for_classes_json((v, v, v) for v in values)] * few
    count = classes[-1] + 1
    line = f"set data.classes={count}" + (" and data.ignore=255" if ignored else "")
    if not ignored and classes[0] == 0 and count > 2:
        line += f" or, if 0 means unlabelled, data.classes={count - 1} and data.ignore=0"
    return [], [f"{line}; or describe the classes in classes.json"]


def for_classes_json(colours: Iterable[Sequence[int]]) -> str:
    """Return a classes.json for these colours."""
    rows: list[Mapping[str, object]] = [
        {"index": n, "name": f"class {n}", "colour": [*colour]} for n, colour in enumerate(colours)
    ]
    return f"a classes.json for them: {json.dumps({'classes': rows})}"


def ranges(values: Sequence[int]) -> str:
    """Format sorted values: "0 to 11, 255"; after ten ranges only the last."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    texts = [str(a) if a == b else f"{a}{' to ' if b > a + 1 else ', '}{b}" for a, b in runs]
    return ", ".join(texts if len(texts) <= SHOWN else [*texts[:SHOWN], "...", texts[-1]])
