"""The files of a data set of clips, and what `i2i data check` reports about them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from .. import images
from ..errors import DataError
from .base import Layout

NAMED = (".gif", ".apng", ".mp4", ".webm", ".mov", ".m4v", ".mkv", ".avi")  # a file of such a name should be a clip


def clips_in(folder: Path) -> tuple[list[Path], list[tuple[Path, str]], list[str]]:
    """Return the clips in a folder, other files with the reason, and sentences about those named like clips."""
    paths, others = images.find_clips(folder)
    bad = [f"{images.shown(path)}: {why}" for path, why in others if path.suffix.lower() in NAMED]
    return paths, [(path, why) for path, why in others if path.suffix.lower() not in NAMED], bad


def layout_of(root: Path) -> Layout | None:
    """Describe a folder whose train has clips in files, or return None for any other."""
    there = [root / split for split in ("train", "val", "test") if (root / split).is_dir()]
    if not there or there[0].name != "train":
        return None
    paths, _, bad = clips_in(there[0])
    if 2 * (sum(path.is_file() for path in paths) + len(bad)) <= len(paths) + len(bad):
        return None  # mostly folders of pictures, which may be classes
    problems: list[str] = []
    lines = [f"  {'part':5}     clips  min / median / max frames  sizes"]
    lines += [measured(folder, problems) for folder in there]
    return Layout("looks like video clips (train, and val or test), for `use: clips`", problems, lines, False)


def measured(folder: Path, problems: list[str]) -> str:
    """Return a line about the clips of a split, and add a sentence for each that cannot be read to `problems`."""
    paths, _, bad = clips_in(folder)
    lengths: list[int] = []
    sizes: Counter[str] = Counter()
    for path in paths:
        try:
            shapes = [frame.pixels.shape for frame in images.iter_video(path)]
        except DataError as error:
            bad.append(str(error))
            continue
        lengths.append(len(shapes))
        sizes[f"{shapes[0][1]}x{shapes[0][0]}"] += 1
    problems += bad if paths or bad else [f"{images.shown(folder)}: no clips found"]
    start = f"  {folder.name:5}  {len(lengths) + len(bad):8}  "
    if not lengths:
        return f"{start}none readable"
    lengths.sort()
    spread = f"{lengths[0]} / {lengths[len(lengths) // 2]} / {lengths[-1]}"
    return f"{start}{spread:25}  {', '.join(f'{size} {count}' for size, count in sizes.most_common(10))}"
