"""Weights that i2i does not bring along: which file it is, where it is looked for, and that it is the right one.

Nothing is fetched. A file is looked for by its name in `weights_dir` (an argument of what needs it),
$I2I_HOME/weights (~/.cache/i2i/weights), $TORCH_HOME/hub/checkpoints (~/.cache/torch/hub/checkpoints) and
$I2I_DATA/weights. Where it is missing, the error says where it comes from and where to put it.
Tried by `pytest tests/test_perceptual.py`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import WeightsError


class Weights(NamedTuple):
    """A public file of weights.

    Attributes:
        file: its name.
        what: what is in it.
        source: its public address, or where it comes from.
        sha256: of the file, in hex; or the first digits, where its publisher gives no more.
    """

    file: str
    what: str
    source: str
    sha256: str

    def find(self, weights_dir: str | None = None) -> Path:
        """Return where the file is.

        Raises:
            WeightsError: it is in none of the places, or it is another file of that name.
        """
        about = f"{self.what}; {self.source}; sha256 {self.sha256}{'...' if len(self.sha256) < 64 else ''}"
        path = next((place / self.file for place in places(weights_dir) if (place / self.file).is_file()), None)
        if path is None:
            folders = ", ".join(map(str, places(weights_dir)))
            raise WeightsError(f"{self.file} is not there ({about}): get it and put it into one of {folders}")
        digest = hashlib.sha256()
        with open(path, "rb") as content:
            while part := content.read(1 << 20):
                digest.update(part)
        found = digest.hexdigest()
        if not found.startswith(self.sha256):
            raise WeightsError(f"{path} is another file ({about}): its sha256 is {found}; put the right one there")
        return path

    def load(self, weights_dir: str | None = None) -> dict[str, Tensor]:
        """Return its tensors by name, on the CPU. Raises: as `find`."""
        state = torch.load(self.find(weights_dir), map_location="cpu", weights_only=True)
        return dict(state.get("state_dict", state))


def places(weights_dir: str | None = None) -> list[Path]:
    """Return the folders in which weights are looked for, in order; they need not exist."""
    cache = Path.home() / ".cache"
    found = [
        Path(os.environ.get("I2I_HOME") or cache / "i2i") / "weights",
        Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints",
    ]
    if os.environ.get("I2I_DATA"):
        found.append(Path(os.environ["I2I_DATA"]) / "weights")
    return [Path(weights_dir).expanduser(), *found] if weights_dir else found
