"""Does `i2i_watch` warn about trainings that were fine? `python benchmarks/watch.py FOLDER... [--json FILE]`

Replays log.jsonl and the sample sheets of every run in the folders, and prints each warning. Sheets of older versions
do not say where their columns are; then these are found by the white between them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from i2i_watch import hints
from i2i_watch.losses import Watch
from i2i_watch.pictures import GAP, HEADER, Columns, PictureWatch, cells_at, columns_of
from PIL import Image

from i2i.runs import Run


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description="Does i2i_watch warn about trainings that were fine?")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    arguments = parser.parse_args()
    logs = sorted(log for folder in arguments.folders for log in folder.rglob("log.jsonl"))
    found: dict[str, dict[str, str]] = {}
    lines = sheets = 0
    for log in logs:
        run = Run(log.parent)
        warnings, own_lines, own_sheets = replayed(run)
        lines, sheets = lines + own_lines, sheets + own_sheets
        if warnings:
            found[run.folder.name] = warnings
        for fault, text in warnings.items():
            print(f"{run.folder}: {fault}: {text}")
    print(f"{len(logs)} runs replayed, {lines} lines and {sheets} sheets; warnings in {len(found)}")
    if arguments.json:
        result = {"runs": len(logs), "lines": lines, "sheets": sheets, "warnings": found}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def replayed(run: Run) -> tuple[dict[str, str], int, int]:
    """Return the warnings about a run, and how many lines and sheets were seen."""
    watch, pictures = Watch(**hints(run)), PictureWatch()
    found: dict[str, str] = {}
    lines, files = [line for line in run.log() if "warning" not in line], run.pictures()
    for line in lines:
        found |= watch.see(line["step"], line)
    for file in files:
        found |= pictures.see(columns_of(file) or columns_found(file))
    return found, len(lines), len(files)


def columns_found(file: Path) -> Columns:
    """Return the cells of a sheet without its layout: columns and rows are separated by white lines."""
    with Image.open(file) as image:
        sheet = np.asarray(image.convert("RGB"))
    lefts, tops = bands(sheet[HEADER:], 1), bands(sheet[HEADER:], 0)
    if not lefts or not tops or len({right - left for left, right in lefts}) > 2:
        return {}
    height = tops[1][0] - tops[0][0] - GAP if len(tops) > 1 else tops[0][1] - tops[0][0]
    scale = next(n for n in (8, 4, 3, 2, 1) if repeats(sheet, lefts[0], tops[0], n))
    return {
        str(number): cells_at(sheet, left, right - left, height, scale) for number, (left, right) in enumerate(lefts)
    }


def bands(area: np.ndarray, axis: int) -> list[tuple[int, int]]:
    """Return where an area is not white along an axis: (start, end) of each band."""
    filled = (area != 255).any((1 - axis, 2))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], filled.astype(int), [0]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2) if end - start >= GAP]


def repeats(sheet: np.ndarray, across: tuple[int, int], down: tuple[int, int], scale: int) -> bool:
    """Return whether a cell was enlarged by this factor."""
    cell = sheet[HEADER + down[0] : HEADER + down[1], across[0] : across[1]]
    if scale == 1:
        return True
    if cell.shape[0] % scale or cell.shape[1] % scale:
        return False
    small = cell[::scale, ::scale]
    return np.array_equal(small.repeat(scale, 0).repeat(scale, 1), cell)


if __name__ == "__main__":
    main()
