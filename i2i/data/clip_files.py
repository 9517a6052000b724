"""The files of a data set of clips, and what `i2i data check` reports about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .. import images
from ..errors import DataError
from .base import Layout

NAMED = (".gif", ".apng", ".mp4", ".webm", ".mov", ".m4v", ".mkv", ".avi")  # a file of such a name should be a clip
LAYOUT = (
    "clips needs train and val (or test) in its root, with videos, animations or folders of frames, or with these in "
    "a folder per class; or an .npz file"
)


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
    held_out = [class_of(path, there[1]) for path in clips_in(there[1])[0]] if len(there) > 1 else []
    try:
        class_names_of([class_of(path, there[0]) for path in paths], held_out, images.shown(root))
    except DataError as error:
        problems.append(str(error))
    lines = [f"  {'part':5}     clips  min / median / max frames  sizes"]
    lines += [measured(folder, problems) for folder in there]
    return Layout("looks like video clips (train, and val or test), for `use: clips`", problems, lines, False)


def class_of(path: Path, folder: Path) -> str | None:
    """Return the class of a clip, the folder in a split that contains it; None if it lies in the split itself."""
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else None


def class_names_of(train: Sequence[str | None], rest: Sequence[str | None], where: str) -> tuple[str, ...]:
    """Return the names of the classes of the training clips, sorted, given those of each clip.

    Raises:
        DataError: only some clips of a split have one, or the other split has other classes.
    """
    for split in (train, rest):
        if None in split and any(split):
            name = next(filter(None, split))
            raise DataError(f"{where}: some clips are in class folders such as {name}, others are not; {LAYOUT}")
    known = {name for name in train if name is not None}
    unknown = {name for name in rest if name is not None} - known
    if unknown or (known and None in rest):
        shown = ", ".join(sorted(unknown)) or "none"
        raise DataError(
            f"{where}: train has the classes {', '.join(sorted(known)) or 'none'}, validation has {shown}: use the "
            f"same class names in all splits"
        )
    return tuple(sorted(known))


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
