"""Crowds that meet at a crossing, simulated with social forces: paths of people for trajectory prediction.

    data: {use: crowds, batch_size: 32}      # in a config; `i2i run configs/trajectory.yaml` trains on it

People come from four sides, alone or in pairs, and leave straight on, to the left or to the right, so the future of a
scene has several answers. A scene is a pure function of its seed.

Source: Helbing and Molnar, Social force model for pedestrian dynamics, 1995 (arXiv:cond-mat/9805244), with its
constants, but without walls, attractions and fluctuations; pairs repel each other less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Le
from pydantic import Field, NonNegativeInt, PositiveInt

from i2i import ConfigError, Data
from i2i.data import Sample

Array = np.ndarray
Rng = np.random.Generator
Crowd = Annotated[int, Ge(1), Le(40)]

VALIDATION = 1 << 60  # the first seed of the validation scenes
FRAME, SUBSTEPS, WARM_UP = (
    0.4,
    4,
    5,
)  # seconds a frame; steps of the simulation in it; frames before the first one shown
RELAXATION = 0.5  # seconds until a person walks as intended
SPEED, SPREAD, FASTEST = 1.34, 0.26, 1.3  # m/s: mean and deviation of the intended speed, and its largest multiple
FORCE, REACH, STRIDE = 2.1, 0.3, 2.0  # m^2/s^2 and metres of the repulsion, and the seconds of the other's next step
BEHIND, ANGLE = 0.5, np.cos(np.deg2rad(100))  # weight of what is outside the angle of sight, and half that angle


@dataclass
class People:
    """The people of S scenes, padded to P: where they are, how they move, and where they want to go.

    Attributes:
        place, velocity: [S, P, 2] in metres and m/s.
        speed: intended, [S, P].
        turn: the point where each takes the way out, and `exit`, where it leads, [S, P, 2].
        company: how strongly pairs [S, P, P] repel each other, 0 to 1; 0 for absent people.
        turned: who is on the way out, [S, P].
    """

    place: Array
    velocity: Array
    speed: Array
    turn: Array
    exit: Array
    company: Array
    turned: Array


class Crowds(Data):
    """Simulated scenes: "observed" [P, 8, 2] and "future" [P, 12, 2], float32 in metres. Nothing is read from disk.

    A batch is padded to the largest scene with people at infinity.

    Args:
        people: fewest and most people of a scene.
        observed: frames given, 0.4 seconds apart.
        predicted: frames to predict.
        noise: standard deviation of the error of a position, in metres.
        batch_size: scenes per step.
        samples: scenes in the training set.
        validation_samples: scenes not used in training, the same for every `seed`.
        workers: loader processes.
        seed: selects the scenes of the training set.
    """

    def __init__(
        self,
        people: tuple[Crowd, Crowd] = (2, 8),
        observed: PositiveInt = 8,
        predicted: PositiveInt = 12,
        noise: Annotated[float, Ge(0)] = 0.01,
        batch_size: PositiveInt = 32,
        samples: PositiveInt = 2000,
        validation_samples: PositiveInt = 200,
        workers: NonNegativeInt = 0,
        seed: Annotated[int, Field(ge=0, lt=1 << 20)] = 0,
    ) -> None:
        if people[0] > people[1]:
            raise ConfigError(f"data.people is {list(people)}: give the smaller number first")
        self.observed, self.batch_size, self.workers = observed, batch_size, workers
        frames = observed + predicted
        self.train = crowds(seed << 32, samples, people, frames, noise)
        self.held_out = sorted(crowds(VALIDATION, validation_samples, people, frames, noise), key=len)

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: Rng) -> Sample:
        """Return training scene `index`."""
        return self._divided(self.train[index])

    def batch(self, indices: Sequence[int], rng: Callable[[int], Rng]) -> dict[str, Any]:
        """Return training scenes, padded to the largest."""
        size = max(len(self.train[index]) for index in indices)
        padding = [[(0, size - len(self.train[index])), (0, 0), (0, 0)] for index in indices]
        scenes = [
            np.pad(self.train[index], width, constant_values=np.inf)
            for index, width in zip(indices, padding, strict=True)
        ]
        return self._divided(np.stack(scenes))

    def _divided(self, scenes: Array) -> Sample:
        """Return scenes [..., P, T, 2] as a sample or a batch."""
        values = torch.from_numpy(scenes)
        return {
            "observed": values[..., : self.observed, :].clone(),
            "future": values[..., self.observed :, :].clone(),
        }

    def validation(self) -> Sequence[Sample]:
        """Return scenes that are in no training set, those with fewer people first."""
        return [self._divided(scene) for scene in self.held_out]


def crowds(first: int, n: int, people: tuple[int, int], frames: int, noise: float, part: int = 256) -> list[Array]:
    """Return the `n` scenes from the seed `first` on, each float32 [P, frames, 2]."""
    found: list[Array] = []
    for start in range(0, n, part):
        sources = [np.random.default_rng((first + i, 0xC20D)) for i in range(start, min(start + part, n))]
        counts = [int(rng.integers(people[0], people[1] + 1)) for rng in sources]
        paths = simulated(gathered(sources, counts, people[1]), frames)
        for rng, count, path in zip(sources, counts, paths, strict=True):
            seen = path[:count] + rng.normal(0, noise, path[:count].shape) if noise else path[:count]
            found.append(seen.astype(np.float32))
    return found


def gathered(sources: Sequence[Rng], counts: Sequence[int], size: int) -> People:
    """Return the people of each scene before they start, padded to `size`."""
    scenes, shape = len(sources), (len(sources), size)
    crowd = People(
        place=np.zeros((*shape, 2)),
        velocity=np.zeros((*shape, 2)),
        speed=np.zeros(shape),
        turn=np.zeros((*shape, 2)),
        exit=np.zeros((*shape, 2)),
        company=np.zeros((*shape, size)),
        turned=np.zeros(shape, bool),
    )
    for s in range(scenes):
        count = counts[s]
        crowd.place[s, count:] = 1e3 + 10.0 * np.arange(size - count)[:, None]  # absent: far from everyone
        crowd.company[s, :count, :count] = 1 - np.eye(count)
        for p in range(count):
            if p and sources[s].random() < 0.35:
                beside(crowd, s, p, sources[s])
            else:
                alone(crowd, s, p, sources[s])
    return crowd


def alone(crowd: People, s: int, p: int, rng: Rng) -> None:
    """Give person `p` of scene `s` a way of its own; one in ten stands still."""
    side = np.pi / 2 * rng.integers(4)
    leave = side + np.pi + rng.choice([0.0, np.pi / 2, -np.pi / 2], p=[0.5, 0.25, 0.25])
    lane = rng.normal(0, 1.2)
    come = np.array([np.cos(side), np.sin(side)])
    crowd.speed[s, p] = 0.0 if rng.random() < 0.1 else max(rng.normal(SPEED, SPREAD), 0.4)
    crowd.turn[s, p] = rng.normal(0, 0.8, 2) + lane * np.array([-come[1], come[0]])
    crowd.place[s, p] = crowd.turn[s, p] + come * rng.uniform(1, 11)
    crowd.exit[s, p] = crowd.turn[s, p] + 40 * np.array([np.cos(leave), np.sin(leave)])
    crowd.velocity[s, p] = -come * crowd.speed[s, p]


def beside(crowd: People, s: int, p: int, rng: Rng) -> None:
    """Let person `p` walk beside the one before, on the same way."""
    way = crowd.turn[s, p - 1] - crowd.place[s, p - 1]
    side = np.array([-way[1], way[0]]) / np.linalg.norm(way) * rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 0.9)
    crowd.speed[s, p] = crowd.speed[s, p - 1]
    crowd.velocity[s, p] = crowd.velocity[s, p - 1]
    for points in (crowd.place, crowd.turn, crowd.exit):
        points[s, p] = points[s, p - 1] + side
    crowd.company[s, [p, p - 1], [p - 1, p]] = 0.1


def simulated(crowd: People, frames: int) -> Array:
    """Let the people walk: their places [S, P, frames, 2]."""
    shown = []
    for frame in range(WARM_UP + frames):
        if frame >= WARM_UP:
            shown.append(crowd.place.copy())
        for _ in range(SUBSTEPS):
            advance(crowd, FRAME / SUBSTEPS)
    return np.stack(shown, 2)


def advance(crowd: People, time: float) -> None:
    """Let `time` seconds pass."""
    to_turn = crowd.turn - crowd.place
    crowd.turned |= (np.linalg.norm(to_turn, axis=-1) < 1.0) & (crowd.speed > 0)
    way = np.where(crowd.turned[..., None], crowd.exit - crowd.place, to_turn)
    wanted = unit(way)
    force = (crowd.speed[..., None] * wanted - crowd.velocity) / RELAXATION + repulsion(crowd, wanted)
    velocity = crowd.velocity + time * force
    pace = np.linalg.norm(velocity, axis=-1, keepdims=True)
    limit = np.maximum(FASTEST * crowd.speed, 0.3)[..., None]
    crowd.velocity = velocity * np.minimum(1, limit / np.maximum(pace, 1e-9))
    crowd.place = crowd.place + time * crowd.velocity


def repulsion(crowd: People, wanted: Array) -> Array:
    """Return the forces [S, P, 2] of the others: of a potential that falls with an ellipse around their next step."""
    apart = crowd.place[:, :, None] - crowd.place[:, None]  # from j to i, [S, P, P, 2]
    stride = STRIDE * crowd.velocity[:, None]
    near, far = np.linalg.norm(apart, axis=-1), np.linalg.norm(apart - stride, axis=-1)
    axes = near + far
    half = np.sqrt(np.maximum(axes**2 - (stride**2).sum(-1), 1e-6)) / 2  # the ellipse's small half axis
    steep = FORCE / REACH * np.exp(-half / REACH) * axes / (4 * half)  # the potential's gradient
    force = steep[..., None] * (unit(apart) + unit(apart - stride))
    ahead = -(force * wanted[:, :, None]).sum(-1) >= np.linalg.norm(force, axis=-1) * ANGLE  # in sight
    weight = crowd.company * np.where(ahead, 1.0, BEHIND)
    total: Array = (np.minimum(weight, 1)[..., None] * force).sum(2)
    return total


def unit(vectors: Array) -> Array:
    """Return vectors [..., 2] of length 1, or 0."""
    scaled: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return scaled
