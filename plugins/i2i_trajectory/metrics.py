"""The metric `displacement_errors`: ADE and FDE as Social GAN reports them, next to constant velocity."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from pydantic import PositiveInt

from i2i import Data
from i2i.devices import random_state_kept
from i2i.metrics import Needs, batches, device_of

from .scenes import Scenes, flat, padded
from .scores import Errors, constant_velocity
from .task import Trajectory
from .tracks import Forecasts

Degrees = Annotated[float, Ge(0)]


class DisplacementErrors:
    """Errors in metres over the people of all validation scenes, with the best of `samples` futures. 0 is best.

    - `ade`, `fde`: mean and final distance of the best future of a whole scene (joint).
    - `ade_per_person`, `fde_per_person`: with the best future of each person.
    - `collisions`: the share of people who come within 0.2 m of another; `true_collisions` is that of the truth.
    - `constant_...`: the same errors for constant velocity, one sample.
    - `noisy_constant_...`: for constant velocity in a random direction, best of `samples`.

    Args:
        samples: futures of each scene.
        degrees: standard deviation of the angle of the noisy constant velocity.
        repeats: evaluations with other random numbers, which are averaged; the eth scene is small.
    """

    needs = Needs(makes=Forecasts, source=True, target=True, paired=True)

    def __init__(self, samples: PositiveInt = 20, degrees: Degrees = 15.0, repeats: PositiveInt = 1) -> None:
        self.samples, self.degrees, self.repeats = samples, degrees, repeats

    def __call__(self, task: Trajectory, data: Data) -> dict[str, float]:
        """Return the numbers, always from the same random numbers."""
        ours, one, noisy, true = Errors(), Errors(), Errors(), Errors()
        device = device_of(task)
        with random_state_kept(device), torch.no_grad():
            torch.manual_seed(0)
            for scenes, future in self.repeats * scenes_of(task, data, device):
                steps = future.shape[1]
                ours.add(task.predicted(scenes, self.samples), future, scenes)
                one.add(constant_velocity(scenes.paths, steps), future, scenes)
                noisy.add(constant_velocity(scenes.paths, steps, self.samples, self.degrees), future, scenes)
                true.add(future[None], future, scenes)
        return {
            **ours.means(),
            **{f"constant_{name}": one.means()[name] for name in ("ade", "fde", "collisions")},
            **{f"noisy_constant_{name}": value for name, value in noisy.means().items()},
            "true_collisions": true.means()["collisions"],
        }


def scenes_of(
    task: Trajectory, data: Data, device: torch.device, size: int = 32
) -> list[tuple[Scenes, torch.Tensor]]:
    """Return the validation scenes in batches, with the true futures [M, T, 2]."""
    found = []
    for samples in batches(iter(data.validation()), size):
        scenes = flat(padded([sample[task.source] for sample in samples]), device)
        found.append((scenes, scenes.chosen(padded([sample[task.target] for sample in samples]))))
    return found
