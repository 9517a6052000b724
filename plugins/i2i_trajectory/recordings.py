"""Read recordings of walking people, rows of `frame person x y`, and cut them into scenes of a fixed length.

    recording = parse(Path("biwi_eth.txt").read_bytes(), "biwi_eth.txt")
    scenes = windows(recording, 20)                     # each float32 [P, 20, 2], in metres

A scene is a window of consecutive *listed* frames: gaps in the frame numbers are ignored, as by Social GAN's loader,
and counted. It contains the people who are present in all of its frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from i2i import DataError
from i2i.data import archived
from i2i.errors import counted

ROW = "a row is `frame person x y`, separated by tabs or spaces"
ARCHIVES = (".tar", ".tar.xz", ".tar.gz", ".tgz")


@dataclass
class Recording:
    """The rows of one file.

    Attributes:
        name: for messages.
        frames: the listed frame numbers, ascending, [F].
        people: by person, the indices into `frames` at which it is seen, [n] ascending, and its positions, [n, 2].
        gaps: places where the frame number rises by more than the usual step.
    """

    name: str
    frames: np.ndarray
    people: dict[float, tuple[np.ndarray, np.ndarray]]
    gaps: int

    def runs(self) -> Iterator[tuple[float, int, np.ndarray]]:
        """Yield each unbroken stretch of a person: the person, the index of its first frame, positions [n, 2]."""
        for person, (places, positions) in self.people.items():
            cuts = np.flatnonzero(np.diff(places) > 1) + 1
            for where, part in zip(np.split(places, cuts), np.split(positions, cuts), strict=True):
                yield person, int(where[0]), part


@dataclass
class Skipped:
    """What was left out while cutting recordings into scenes."""

    people: int = 0  # never present in as many frames in a row as a scene has
    interrupted: int = 0  # people who disappear and come back
    gaps: int = 0  # jumps of the frame number
    lonely: int = 0  # windows with someone, but too few people
    files: list[str] = field(default_factory=list)  # without a scene


def parse(content: bytes, name: str) -> Recording:
    """Parse the rows of one file.

    Raises:
        DataError: it is empty or not text, or a row is malformed, not finite or given twice; names the line.
    """
    rows: list[list[float]] = []
    lines: list[int] = []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not a text file; {ROW}") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words:
            rows.append(numbers(words, f"{name} line {number}"))
            lines.append(number)
    if not rows:
        raise DataError(f"{name}: empty; {ROW}")
    table = np.array(rows)
    return recording(table, np.array(lines), name)


FARTHEST = 1_000_000  # metres from the origin


def number_of(word: str, where: str) -> float:
    """Return a word of a row as a number; raise DataError if it is none."""
    try:
        return float(word)
    except ValueError as error:
        hint = "use spaces or tabs, and no header"
        raise DataError(f"{where}: '{word}' is not a number; {hint}: {ROW}") from error


def numbers(words: list[str], where: str) -> list[float]:
    """Return the four finite numbers of a row."""
    if len(words) == 5:
        raise DataError(f"{where}: 5 values, as in predictions; give the recording they were made from ({ROW})")
    if len(words) != 4:
        raise DataError(f"{where}: {counted(len(words), 'value')}, but {ROW}")
    values = [number_of(word, where) for word in words]
    if not np.isfinite(values).all():
        raise DataError(f"{where}: '{' '.join(words)}' is not finite; remove the row if the position is unknown")
    if max(map(abs, values[2:])) > FARTHEST:
        raise DataError(f"{where}: '{' '.join(words)}' is more than {FARTHEST:,} m away; positions are in metres")
    return values


def recording(table: np.ndarray, lines: np.ndarray, name: str) -> Recording:
    """Return rows [R, 4] as a `Recording`; `lines` [R] are their line numbers."""
    order = np.lexsort((table[:, 0], table[:, 1]))  # by person, then by frame
    table, lines = table[order], lines[order]
    twice = np.flatnonzero((np.diff(table[:, 0]) == 0) & (np.diff(table[:, 1]) == 0))
    if len(twice):
        frame, person = table[twice[0], :2]
        one, two = sorted(lines[twice[0] : twice[0] + 2])
        raise DataError(f"{name} line {two}: person {person:.15g} is in frame {frame:.15g} already, on line {one}")
    frames, places = np.unique(table[:, 0], return_inverse=True)
    everyone, first = np.unique(table[:, 1], return_index=True)
    bounds = [*first[1:].tolist(), len(table)]
    positions = table[:, 2:].round(4)  # as the loader of Social GAN does
    people = {
        float(person): (places[start:end], positions[start:end])
        for person, start, end in zip(everyone, first.tolist(), bounds, strict=True)
    }
    steps = Counter(np.diff(frames).tolist())
    usual = steps.most_common(1)[0][0] if steps else 0
    return Recording(name, frames, people, sum(count for step, count in steps.items() if step > usual))


def windows(source: Recording, length: int, min_people: int = 2, skipped: Skipped | None = None) -> list[np.ndarray]:
    """Cut a recording into scenes, one for each start frame, with the people sorted by number.

    Args:
        source: the recording.
        length: frames of a scene.
        min_people: scenes with fewer people are skipped.
        skipped: counts what is left out.

    Returns:
        Scenes float32 [P, length, 2] in order of time.
    """
    skipped = Skipped() if skipped is None else skipped
    starts: dict[int, list[np.ndarray]] = {}
    kept: set[float] = set()
    runs: Counter[float] = Counter()
    for person, first, positions in source.runs():
        runs[person] += 1
        for offset in range(len(positions) - length + 1):
            starts.setdefault(first + offset, []).append(positions[offset : offset + length])
            kept.add(person)
    skipped.people += len(source.people) - len(kept)
    skipped.interrupted += sum(count > 1 for count in runs.values())
    skipped.gaps += source.gaps
    scenes = [np.stack(starts[first]).astype(np.float32) for first in sorted(starts)]
    enough = [scene for scene in scenes if len(scene) >= min_people]
    skipped.lonely += len(scenes) - len(enough)
    if not enough:
        skipped.files.append(source.name)
    return enough


def files_in(root: Path, folder: str) -> list[tuple[str, bytes]]:
    """Return the .txt files of a folder below `root`, sorted by name: (name for messages, content).

    Args:
        root: a folder, an archive (.tar, .tar.xz, ...), or a folder that contains one archive and nothing else.
        folder: a path below `root` such as "eth/train".

    Raises:
        DataError: there are none, or they cannot be read.
    """
    if not root.exists():
        raise DataError(f"data.root: '{root}' does not exist")
    archives = [root] if root.is_file() else [path for path in sorted(root.iterdir()) if is_archive(path)]
    if (root / folder).is_dir():
        found = [(str(path), path.read_bytes()) for path in sorted((root / folder).glob("*.txt"))]
    elif len(archives) == 1:
        found = list(packed(archives[0], PurePosixPath(folder)))
    else:
        found = []
    if not found:
        raise DataError(
            f"data.root: '{root}' contains no {folder}/*.txt; expected is a folder, or a .tar.xz, with "
            f"{folder}/NAME.txt ({ROW})"
        )
    return found


def folders_of(root: Path) -> list[str]:
    """Return the folders of .txt files that `files_in` can read, such as "eth/train", sorted."""
    archives = [path for path in sorted(root.iterdir()) if is_archive(path)]
    texts = [path for pattern in ("*/*.txt", "*/*/*.txt") for path in root.glob(pattern)]
    found = {path.parent.relative_to(root).as_posix() for path in texts}
    if not found and len(archives) == 1:
        with suppress(DataError):
            names = (PurePosixPath(member.name) for member, _ in archived(archives[0]))
            found = {path.parent.as_posix() for path in names if path.suffix == ".txt"}
    return sorted(found)


def is_archive(path: Path) -> bool:
    """Return whether a file name is that of a tar archive."""
    return path.name.lower().endswith(ARCHIVES)


def packed(archive: Path, folder: PurePosixPath) -> Iterator[tuple[str, bytes]]:
    """Yield the .txt files of a folder of an archive, sorted by name."""
    inside = {PurePosixPath(member.name): content for member, content in archived(archive)}
    for path in sorted(inside):
        if path.parent == folder and path.suffix == ".txt":
            yield f"{archive}: {path}", inside[path]
