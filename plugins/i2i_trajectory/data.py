"""The data set `trajectories`: scenes of ETH/UCY, or of any recordings in the same text format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Gt
from pydantic import NonNegativeInt, PositiveInt

from i2i import Data, DataError
from i2i.data import Layout, Sample
from i2i.errors import counted

from .recordings import Skipped, files_in, folders_of, parse, windows
from .scenes import padded

Factor = Annotated[float, Gt(0)]
Rng = np.random.Generator


class Trajectories(Data):
    """Scenes from recordings of walking people: "observed" [P, 8, 2] and "future" [P, 12, 2] in metres.

    A batch is padded to the largest scene with `ABSENT` people: [N, P, 8, 2] and [N, P, 12, 2].

    Args:
        root: folder or archive with `SCENE/{train,val,test}/*.txt`, as Social GAN's, or with
            `{train,val,test}/*.txt`.
        scene: the scene left out of training, on which `test` is recorded: eth, hotel, univ, zara1 or zara2; null if
            `root` is not divided by scenes.
        split: validation samples: "val", parts of the training scenes held back, or "test".
        observed: frames given.
        predicted: frames to predict.
        min_people: scenes with fewer people are skipped; 2 in Social GAN.
        max_people: at most this many people, chosen at random, of a training scene; null for all. Crowds are most of
            the work and have few different lessons.
        rotate: turn training scenes by a random angle.
        mirror: mirror half of the training scenes.
        scale: training scenes are scaled by a random factor between these two, in logarithm; null for none.
        batch_size: scenes per step.
        workers: loader processes.
    """

    def __init__(
        self,
        root: str,
        scene: str | None = None,
        split: Literal["val", "test"] = "val",
        observed: PositiveInt = 8,
        predicted: PositiveInt = 12,
        min_people: PositiveInt = 2,
        max_people: PositiveInt | None = None,
        rotate: bool = False,
        mirror: bool = False,
        scale: tuple[Factor, Factor] | None = None,
        batch_size: PositiveInt = 32,
        workers: NonNegativeInt = 0,
    ) -> None:
        self.observed, self.batch_size, self.workers = observed, batch_size, workers
        self.max_people, self.rotate, self.mirror, self.scale = max_people, rotate, mirror, scale
        self.skipped = Skipped()
        where = "" if scene is None else f"{scene}/"
        length = observed + predicted
        self.train = scenes_in(Path(root), f"{where}train", length, min_people, self.skipped)
        held_out = scenes_in(Path(root), f"{where}{split}", length, min_people, Skipped())
        self.held_out = sorted(held_out, key=len)  # equal numbers of people together: metrics make batches of them

    @classmethod
    def recognise(cls, root: Path) -> Layout | None:
        """Recognise scenes with train/*.txt, in folders or in one archive; report recordings that cannot be read."""
        folders = [folder for folder in folders_of(root) if folder.rpartition("/")[2] in ("train", "val", "test")]
        if not any(folder.rpartition("/")[2] == "train" for folder in folders):
            return None
        problems: list[str] = []
        lines: list[str] = []
        read = 0
        for folder in folders:
            recordings = files_in(root, folder)
            for name, content in recordings:
                try:
                    parse(content, name)
                    read += 1
                except DataError as error:
                    problems.append(str(error))
            lines.append(f"  {folder:12} {counted(len(recordings), 'recording')}")
        if not read:
            return None  # other texts, such as captions
        return Layout("looks like recordings of walking people, for `use: trajectories`", problems, lines, False)

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: Rng) -> Sample:
        """Return training scene `index`, turned, mirrored and scaled at random if so configured."""
        scene = self.train[index]
        if self.max_people is not None and len(scene) > self.max_people:
            scene = scene[np.sort(rng.choice(len(scene), self.max_people, replace=False))]
        return self._divided(augmented(scene, rng, self.rotate, self.mirror, self.scale))

    def batch(self, indices: Sequence[int], rng: Callable[[int], Rng]) -> dict[str, Any]:
        """Return training scenes, padded to the largest."""
        samples = [self.sample(index, rng(i)) for i, index in enumerate(indices)]
        return {name: padded([sample[name] for sample in samples]) for name in ("observed", "future")}

    def _divided(self, scene: np.ndarray) -> Sample:
        """Return a scene [P, T, 2] as a sample."""
        values = torch.from_numpy(scene)
        return {"observed": values[:, : self.observed].clone(), "future": values[:, self.observed :].clone()}

    def validation(self) -> Sequence[Sample]:
        """Return the scenes of `split`, unchanged, those with fewer people first."""
        return [self._divided(scene) for scene in self.held_out]

    def note(self) -> str:
        """Return what was left out of the training scenes."""
        left = self.skipped
        parts = {
            "people never in enough frames in a row": left.people,
            "people who disappear and come back, used in parts": left.interrupted,
            "gaps in the frame numbers, ignored": left.gaps,
            "windows with too few people": left.lonely,
            "files without a scene": len(left.files),
        }
        found = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
        return f"training recordings: {found}" if found else ""


def scenes_in(root: Path, folder: str, length: int, min_people: int, skipped: Skipped) -> list[np.ndarray]:
    """Return the scenes of all recordings in a folder, in the order of the sorted files.

    Raises:
        DataError: there is no recording, one cannot be read, or none has a scene.
    """
    scenes: list[np.ndarray] = []
    for name, content in files_in(root, folder):
        scenes += windows(parse(content, name), length, min_people, skipped)
    if not scenes:
        raise DataError(
            f"'{root}': no {length} consecutive frames in {folder}/*.txt with at least {min_people} people in all of "
            f"them: use longer recordings, a smaller data.predicted or data.min_people"
        )
    return scenes


def augmented(
    scene: np.ndarray, rng: Rng, rotate: bool, mirror: bool, scale: tuple[float, float] | None
) -> np.ndarray:
    """Turn, mirror and scale a scene [P, T, 2] at random about its mean position."""
    if not (rotate or mirror or scale):
        return scene
    centre = scene.mean((0, 1), keepdims=True)
    turn = np.eye(2)
    if rotate:
        angle = rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirror and rng.random() < 0.5:
        turn = turn * np.array([1, -1])
    if scale is not None:
        turn = turn * np.exp(rng.uniform(*np.log(scale)))
    return ((scene - centre) @ turn.T + centre).astype(np.float32)
