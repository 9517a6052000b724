"""The modalities `tracks`, the observed paths of the people in a scene, and `forecasts`, several futures of them.

i2i translate scene.txt -m RUN -o out          # out/scene.txt, scene.png, scene.gif
i2i.translate("scene.txt", run).paths          # [K, P, 12, 2]
i2i.translate(array, run)                      # [P, 8, 2] -> [K, P, 12, 2]
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from i2i import DataError, files
from i2i.errors import counted
from i2i.images import gif, png
from i2i.modalities import Modality, Taken

from .drawing import animated, drawn
from .recordings import ROW, Recording, parse
from .scenes import ABSENT, padded

log = logging.getLogger("i2i")


@dataclass
class Scene:
    """What is known about a scene read from a file.

    Attributes:
        people: their numbers, [P].
        frames: the numbers of the frames to predict, [T].
        observed: positions in metres [P, 8, 2].
        truth: positions that follow in the file [P, 12, 2], or None.
    """

    people: np.ndarray
    frames: np.ndarray
    observed: np.ndarray
    truth: np.ndarray | None = None


@dataclass
class Forecast:
    """The result for a file: `paths` [K, P, 12, 2] in metres, K joint futures of the people in `scene`."""

    paths: np.ndarray
    scene: Scene


class Tracks(Modality):
    """Paths of the people in a scene: float32 [N, P, T, 2] in metres, with `ABSENT` for absent people.

    Outside, a text file of rows `frame person x y`, its bytes, or an array or tensor [P, T, 2]. A file with as many
    frames as are observed and predicted, or more, is a test: the latest scene in which enough people are present
    throughout is taken, and its future is only compared. A shorter one is predicted from its last frames on.

    Args:
        observed: frames given.
        predicted: frames to predict.
        min_people: fewest people in a scene.
    """

    name: ClassVar[str] = "trajectory recording"
    plural: ClassVar[str] = "trajectory recordings"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)

    def __init__(self, observed: int = 8, predicted: int = 12, min_people: int = 2) -> None:
        self.observed, self.predicted, self.min_people = observed, predicted, min_people

    def take(self, given: Any) -> Taken:
        """Take a path, the bytes of a file, or positions [P, T, 2] in metres."""
        if isinstance(given, str | Path | bytes):
            scene = self._scene(read(given))
            return Taken(torch.from_numpy(scene.observed)[None], scene)
        if not isinstance(given, np.ndarray | Tensor):
            raise DataError(f"{type(given).__name__} is not a scene; possible: a .txt file, or positions [P, T, 2]")
        return Taken(self._positions(torch.as_tensor(given))[None], given)

    def _positions(self, given: Tensor) -> Tensor:
        """Check positions [P, T, 2] and return the observed ones."""
        rule = f"positions are floats [people, {self.observed} frames, 2] in metres"
        if given.ndim != 3 or given.shape[2] != 2 or not given.is_floating_point():
            raise DataError(f"{given.dtype} {list(given.shape)} is not a scene: {rule}")
        if given.shape[1] not in (self.observed, self.observed + self.predicted):
            raise DataError(f"a scene of {given.shape[1]} frames: {rule}")
        bad = (~given.isfinite().all(-1).all(-1)).nonzero()[:, 0].tolist()
        if bad:
            raise DataError(f"positions of person {bad[0]} are not finite: leave out people with unknown positions")
        self._enough(len(given), "the array")
        return given[:, : self.observed].float().clone()

    def _enough(self, people: int, where: str) -> None:
        if people < self.min_people:
            raise DataError(
                f"{where}: {people or 'no'} {'person' if people == 1 else 'people'} present in all {self.observed} "
                f"frames, but this model needs {self.min_people}: observe more people"
                f"{'' if self.min_people == 1 else ', or use a model with task.min_people=1'}"
            )

    def _scene(self, source: Recording) -> Scene:
        """Return the scene to predict."""
        known, length = len(source.frames), self.observed + self.predicted
        if known < self.observed:
            raise DataError(
                f"{source.name}: {counted(known, 'frame')}, but {self.observed} are needed to predict from"
            )
        if known < length:
            first, length = known - self.observed, self.observed
        else:
            first = latest(source, length, self.min_people)
        chosen = present(source, first, length)
        if first + length < known or len(chosen) < len(source.people):
            self._say(source, first, length, len(chosen))
        self._enough(len(chosen), f"{source.name}, frames from {source.frames[first]:.15g} on")
        positions = np.stack([chosen[person] for person in sorted(chosen)]).astype(np.float32)
        frames = source.frames[first + self.observed : first + length]
        if not len(frames):
            last, step = source.frames[-1], np.median(np.diff(source.frames)) if known > 1 else 1
            frames = last + step * np.arange(1, self.predicted + 1)
        truth = positions[:, self.observed :] if length > self.observed else None
        return Scene(np.array(sorted(chosen)), frames, positions[:, : self.observed].copy(), truth)

    def _say(self, source: Recording, first: int, length: int, people: int) -> None:
        last = source.frames[first + length - 1]
        log.warning(
            f"{source.name}: frames {source.frames[first]:.15g} to {last:.15g} are used, with {people} of "
            f"{len(source.people)} people; the others are not present in all of them"
        )

    def restore(self, values: Tensor, like: Any = None) -> Any:
        """Return positions without their first axis, as an array or tensor like the input."""
        one = values[0]
        if isinstance(like, Tensor):
            return one.to(like.dtype)
        return one.numpy().astype(like.dtype if isinstance(like, np.ndarray) else np.float32)

    def accept(self, values: Any, who: str) -> Tensor:
        """Require finite positions of everyone who is not absent."""
        if isinstance(values, Tensor) and values.is_floating_point():
            super().accept(values.masked_fill(values == ABSENT, 0), who)
            return values.detach().cpu().float()
        return super().accept(values, who)

    def gather(self, things: Any) -> Tensor:
        """Return scenes of different sizes as one padded batch."""
        given = things if isinstance(things, list | tuple) else [things]
        if not given:
            raise DataError(f"no {self.plural} given")
        return padded([self.take(thing).values[0] for thing in given])

    def write(self, thing: Any, path: Path) -> None:
        """Write positions [P, T, 2] as rows `frame person x y`."""
        self._check_suffix(path)
        positions = np.asarray(thing)
        rows = [
            (frame, person + 1, x, y)
            for frame in range(positions.shape[1])
            for person, (x, y) in enumerate(positions[:, frame].tolist())
        ]
        files.write(path, table(rows))

    def _check_suffix(self, path: Path) -> None:
        if path.suffix.lower() not in self.suffixes:
            raise DataError(f"{path.name}: {self.plural} are written as .txt")

    def show(self, values: Tensor) -> np.ndarray:
        """Draw scenes [N, P, T, 2]: uint8 [N, H, W, 3]."""
        cut = self.observed
        return np.stack(
            [drawn(one[:, :cut], one[:, cut:] if one.shape[1] > cut else None) for one in people_of(values)]
        )


class Forecasts(Tracks):
    """K futures of each scene: float32 [N, K, P, T, 2] in metres; outside an array [K, P, T, 2] or a `Forecast`."""

    name: ClassVar[str] = "forecast"
    plural: ClassVar[str] = "forecasts"

    def restore(self, values: Tensor, like: Any = None) -> Any:
        """Return a `Forecast` for a file, else an array or tensor [K, P, T, 2] like the input."""
        if isinstance(like, Scene):
            return Forecast(values[0].numpy(), like)
        return super().restore(values, like)

    def beside(self, path: Path) -> list[Path]:
        """Return the picture and the animation of a prediction."""
        return [path.with_suffix(".png"), path.with_suffix(".gif")]

    def write(self, thing: Any, path: Path) -> None:
        """Write rows `frame person x y sample`; for a `Forecast`, a .png and a .gif beside them, too.

        The text comes last, so that it exists only if everything does.
        """
        self._check_suffix(path)
        known = isinstance(thing, Forecast)
        paths = np.asarray(thing.paths if known else thing)
        people = thing.scene.people if known else np.arange(1, paths.shape[-3] + 1)
        frames = thing.scene.frames if known else np.arange(paths.shape[-2])
        if paths.ndim != 4:
            return super().write(thing, path)
        if known:
            scene = thing.scene
            picture, animation = self.beside(path)
            files.write(picture, png(drawn(scene.observed, scene.truth, paths, 640, square=False)))
            files.write(animation, gif(animated(scene.observed, scene.truth, paths, 400), fps=4))
        rows = [
            (f"{frame:.15g}", f"{person:.15g}", *paths[k, p, t].tolist(), k + 1)
            for k in range(len(paths))
            for t, frame in enumerate(frames)
            for p, person in enumerate(people)
        ]
        return files.write(path, table(rows))

    def show(self, values: Tensor) -> np.ndarray:
        """Draw forecasts [N, K, P, T, 2]: uint8 [N, H, W, 3]."""
        if values.ndim == 4:
            return super().show(values)
        return np.stack([drawn(None, None, one) for one in people_of(values)])


class Overlay(Tracks):
    """Whole paths [N, 1 + K, P, T, 2] for previews: first observed and true, then observed and predicted ones."""

    def show(self, values: Tensor) -> np.ndarray:
        """Draw them in one picture a scene: uint8 [N, H, W, 3]."""
        cut = self.observed
        return np.stack([drawn(one[0, :, :cut], one[0, :, cut:], one[1:, :, cut:]) for one in people_of(values)])


def people_of(values: Tensor) -> list[np.ndarray]:
    """Return scenes [N, ..., P, T, 2] without absent people."""
    scenes = values.detach().cpu().numpy()
    return [one[..., np.isfinite(one).all((-1, -2)).reshape(-1, one.shape[-3]).all(0), :, :] for one in scenes]


def read(given: str | Path | bytes) -> Recording:
    """Read and parse a file, or its bytes."""
    if isinstance(given, bytes):
        return parse(given, "the given bytes")
    try:
        return parse(Path(given).read_bytes(), repr(str(given)))
    except OSError as error:
        raise DataError(f"'{given}': {error.strerror}") from error


def present(source: Recording, first: int, length: int) -> dict[float, np.ndarray]:
    """Return the positions [length, 2] of everyone present in all of these frames, by person."""
    found = {}
    for person, start, positions in source.runs():
        if start <= first and first + length <= start + len(positions):
            found[person] = positions[first - start : first - start + length]
    return found


def latest(source: Recording, length: int, least: int) -> int:
    """Return the start of the latest scene with enough people.

    Raises:
        DataError: there is none.
    """
    counts: dict[int, int] = {}
    for _, start, positions in source.runs():
        for first in range(start, start + len(positions) - length + 1):
            counts[first] = counts.get(first, 0) + 1
    enough = [first for first, count in counts.items() if count >= least]
    if not enough:
        raise DataError(
            f"{source.name}: no {length} frames in a row with at least {least} people in all of them; to predict "
            f"what follows it, give its last frames only ({ROW})"
        )
    return max(enough)


def table(rows: Sequence[Sequence[Any]]) -> bytes:
    """Return rows as text: positions with four decimals, tabs between."""
    lines = ["\t".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row) for row in rows]
    return ("\n".join(lines) + "\n").encode()
