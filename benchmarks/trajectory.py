"""Trajectory prediction on ETH/UCY: errors of trained runs and of the published weights, next to constant velocity.

    python benchmarks/trajectory.py $I2I_DATA/ethucy --official $I2I_DATA/weights/social_gan
    python benchmarks/trajectory.py $I2I_DATA/ethucy --runs runs/traj_* --json benchmarks/results/trajectory.json

The protocol is Social GAN's (arXiv:1803.10892): 8 frames given, 12 (or 8) predicted, windows with at least two
people, best of 20. "joint" takes the best sample of a whole scene, as Social GAN does; "per person" the best one of
each person, as most later papers do. The two never compare. First the reader is checked: constant velocity must give
the known numbers.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from i2i_trajectory import DisplacementErrors, Trajectories, Trajectory

import i2i

SCENES = ("eth", "hotel", "univ", "zara1", "zara2")
CONSTANT = {"eth": (0.995, 2.234), "hotel": (0.323, 0.617), "univ": (0.524, 1.165)}
CONSTANT |= {"zara1": (0.431, 0.960), "zara2": (0.326, 0.728)}  # metres, 12 frames
ZOO = {  # the published table for the published weights: ADE and FDE, joint best of 20
    ("sgan-models", "eth", 8): (0.58, 1.13),
    ("sgan-models", "eth", 12): (0.71, 1.29),
    ("sgan-models", "zara1", 8): (0.21, 0.42),
    ("sgan-models", "zara1", 12): (0.34, 0.69),
    ("sgan-p-models", "eth", 8): (0.57, 1.14),
    ("sgan-p-models", "eth", 12): (0.77, 1.39),
    ("sgan-p-models", "zara1", 8): (0.22, 0.43),
    ("sgan-p-models", "zara1", 12): (0.34, 0.68),
}
Numbers = dict[str, float]


def main() -> None:
    """Measure what was asked for, print it, and write it to the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder or archive of ETH/UCY")
    parser.add_argument("--runs", nargs="*", default=[], help="folders of runs on `trajectories`")
    parser.add_argument("--official", type=Path, help="folder with sgan-models and sgan-p-models")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"command": shlex.join(["python", *sys.argv])}
    if given.official:
        found["official"] = official(given.root, given.official)
    if given.runs:
        found["runs"] = trained(given.root, given.runs)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


def measured(task: Trajectory, data: Trajectories) -> Numbers:
    """Return the numbers of a task, averaged over as many random numbers as make 2,000 scenes: eth has only 70."""
    return DisplacementErrors(repeats=max(1, 2000 // len(data.validation())))(task.eval(), data)


def official(root: str, weights: Path) -> dict[str, Numbers]:
    """Compare the published weights with the published table."""
    found: dict[str, Numbers] = {}
    for (kind, scene, frames), zoo in ZOO.items():
        data = Trajectories(root, scene, "test", predicted=frames)
        task = i2i.load(weights / kind / f"{scene}_{frames}_model.pt").task
        numbers = measured(task, data)  # type: ignore[arg-type]
        off = max(abs(numbers[name] - known) for name, known in zip(("ade", "fde"), zoo, strict=True))
        numbers["zoo_ade"], numbers["zoo_fde"] = zoo
        found[f"{kind}/{scene}_{frames}"] = numbers
        show(f"{kind} {scene} {frames}", numbers)
        print(f"    zoo {zoo[0]:.2f}/{zoo[1]:.2f}, at most {off:.3f} away", flush=True)
    return found


def trained(root: str, runs: Iterable[str]) -> dict[str, dict[str, Numbers]]:
    """Evaluate runs on the scene that each left out; runs of one name but for the scene are averaged."""
    found: dict[str, dict[str, Numbers]] = {}
    for run in map(Path, runs):
        model = i2i.load(run)
        scene = model.config["data"]["scene"]
        numbers = measured(model.task, Trajectories(root, scene, "test"))
        known = CONSTANT[scene]
        assert abs(numbers["constant_ade"] - known[0]) < 6e-4, f"{scene}: the reader is broken"
        assert abs(numbers["constant_fde"] - known[1]) < 6e-4, f"{scene}: the reader is broken"
        name = run.name.removesuffix(scene).rstrip("_")
        found.setdefault(name, {})[scene] = numbers
        show(f"{name} {scene}", numbers)
    for name, by_scene in found.items():
        mean = {key: sum(n[key] for n in by_scene.values()) / len(by_scene) for key in next(iter(by_scene.values()))}
        by_scene["average"] = mean
        show(f"{name}, average of {len(by_scene) - 1} scenes", mean)
    return found


def show(name: str, n: Numbers) -> None:
    """Print the numbers of one model on one scene, with constant velocity."""
    print(
        f"{name}: joint best of 20 {n['ade']:.3f}/{n['fde']:.3f}, per person {n['ade_per_person']:.3f}/"
        f"{n['fde_per_person']:.3f}, collisions {n['collisions']:.3f} (true paths {n['true_collisions']:.3f})\n"
        f"    constant velocity: one sample {n['constant_ade']:.3f}/{n['constant_fde']:.3f}; 15 degrees, "
        f"joint best of 20 {n['noisy_constant_ade']:.3f}/{n['noisy_constant_fde']:.3f}, per person "
        f"{n['noisy_constant_ade_per_person']:.3f}/{n['noisy_constant_fde_per_person']:.3f}, collisions "
        f"{n['noisy_constant_collisions']:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
