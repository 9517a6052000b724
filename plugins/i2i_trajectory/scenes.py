"""Scenes with different numbers of people in one batch: padded outside, flat inside the networks.

A batch of scenes is a tensor [N, P, T, 2] in which absent people are filled with `ABSENT`. Networks work on the
people of all scenes in one list, [M, T, 2], and the number of each one's scene, [M]; nothing is computed for absent
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

ABSENT = float("inf")  # not NaN, which differs from itself, so that no two padded batches would be equal


@dataclass
class Scenes:
    """The people of `n` scenes.

    Attributes:
        paths: positions in metres [M, T, 2], scene by scene, on the device of the networks.
        scene: the scene of each person, [M], ascending, there too.
        present: which places of the padded batch they come from, bool [N, P], on the host: the number of people
            decides about sizes.
    """

    paths: Tensor
    scene: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.present)

    def sizes(self) -> list[int]:
        """Return the number of people of each scene."""
        sizes: list[int] = self.present.sum(1).tolist()
        return sizes

    def people(self) -> Tensor:
        """Return the number of people of each scene, [N], on the device of the paths."""
        return self.present.sum(1).to(self.paths.device)

    def pairs(self, others: bool = False) -> tuple[Tensor, Tensor]:
        """Return i and j [pairs] of all ordered pairs of people in the same scene.

        Args:
            others: only those of two different people.
        """
        both = self.present[:, :, None] & self.present[:, None, :]
        if others:
            both &= ~torch.eye(both.shape[1], dtype=torch.bool)
        n, i, j = both.nonzero(as_tuple=True)
        number = self.present.flatten().cumsum(0).view_as(self.present) - 1
        device = self.paths.device
        return number[n, i].to(device), number[n, j].to(device)

    def total(self, values: Tensor) -> Tensor:
        """Sum values of people [..., M] over each scene: [..., N]."""
        return values.new_zeros(*values.shape[:-1], len(self)).index_add_(-1, self.scene, values)

    def chosen(self, batch: Tensor) -> Tensor:
        """Return the values of a padded batch [N, P, ...] on the host for its people, on their device: [M, ...]."""
        return batch[self.present].to(self.paths.device)

    def padded(self, values: Tensor) -> Tensor:
        """Return values of people [K, M, ...] as [N, K, P, ...], with `ABSENT` for absent people."""
        n, p = self.present.shape
        out = values.new_full((n * p, len(values), *values.shape[2:]), ABSENT)
        places = self.present.flatten().nonzero()[:, 0].to(values.device)
        return out.index_copy_(0, places, values.transpose(0, 1)).unflatten(0, (n, p)).transpose(1, 2)


def flat(batch: Tensor, device: torch.device | None = None) -> Scenes:
    """Return a padded batch [N, P, T, 2] as `Scenes` whose paths are on a device, by default the batch's."""
    device = device or batch.device
    batch = batch.cpu()  # where it is already, see `Trajectory.on_host`
    present = batch.isfinite().all(-1).all(-1)
    return Scenes(batch[present].to(device), present.nonzero()[:, 0].to(device), present)


def joined(parts: Sequence[Scenes]) -> Scenes:
    """Return the scenes of several parts, of one padded batch each with the same number of places, in one."""
    starts = accumulate([len(part) for part in parts], initial=0)
    return Scenes(
        torch.cat([part.paths for part in parts]),
        torch.cat([part.scene + start for part, start in zip(parts, starts, strict=False)]),
        torch.cat([part.present for part in parts]),
    )


def padded(scenes: Sequence[Tensor]) -> Tensor:
    """Stack scenes [P, T, 2] of different P as [N, max P, T, 2], with `ABSENT` for the missing ones."""
    out = scenes[0].new_full((len(scenes), max(map(len, scenes)), *scenes[0].shape[1:]), ABSENT)
    for row, scene in zip(out, scenes, strict=True):
        row[: len(scene)] = scene
    return out


def per_person(values: Tensor, j: Tensor, i: Tensor, people: int) -> Tensor:
    """Return the maximum of non-negative pair values [pairs, C] over the j of each i: [people, C], 0 without pairs.

    Args:
        values: one row a pair.
        j: the partner's number, of any order within a scene.
        i: the person, ascending.
        people: number of people.
    """
    return torch.zeros(people, values.shape[1], dtype=values.dtype, device=values.device).scatter_reduce_(
        0, i[:, None].expand_as(values), values, "amax", include_self=True
    )


def normal(n: int, samples: int, width: int, source: torch.Generator | None = None) -> Tensor:
    """Return independent noise vectors [n, samples, width] from N(0, I)."""
    return torch.randn(n, samples, width, generator=source)
