"""Pretrained weights that i2i does not ship: finding their files and verifying them.

Nothing is downloaded. A file is searched by name in `weights_dir` (an argument of whatever needs it),
$I2I_HOME/weights (~/.cache/i2i/weights), $TORCH_HOME/hub/checkpoints (~/.cache/torch/hub/checkpoints) and
$I2I_DATA/weights. If it is missing, the error states where to get it and where to put it.
Test with: `pytest tests/test_perceptual.py`.
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
        file: file name.
        what: a description of its contents.
        source: its public URL, or how it was made.
        sha256: hex digest of the file, or as many of the first digits as its publisher gives.
    """

    file: str
    what: str
    source: str
    sha256: str

    def find(self, weights_dir: str | None = None) -> Path:
        """Return the path of the file.

        Raises:
            WeightsError: no folder contains it, or its sha256 differs.
        """
        about = f"{self.what}; {self.source}; sha256 {self.sha256}{'...' if len(self.sha256) < 64 else ''}"
        path = next((place / self.file for place in places(weights_dir) if (place / self.file).is_file()), None)
        if path is None:
            folders = ", ".join(map(str, places(weights_dir)))
            raise WeightsError(f"{self.file} not found ({about}): get it and put it in one of {folders}")
        digest = hashlib.sha256()
        with open(path, "rb") as content:
            while part := content.read(1 << 20):
                digest.update(part)
        found = digest.hexdigest()
        if not found.startswith(self.sha256):
            raise WeightsError(f"{path} is not the expected file ({about}): its sha256 is {found}; replace it")
        return path

    def load(self, weights_dir: str | None = None) -> dict[str, Tensor]:
        """Return its tensors by name, on the CPU. Raises: see `find`."""
        state = torch.load(self.find(weights_dir), map_location="cpu", weights_only=True)
        return dict(state.get("state_dict", state))


def places(weights_dir: str | None = None) -> list[Path]:
    """Return the folders searched for weights, in order; they need not exist."""
    cache = Path.home() / ".cache"
    found = [
        Path(os.environ.get("I2I_HOME") or cache / "i2i") / "weights",
        Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints",
    ]
    if os.environ.get("I2I_DATA"):
        found.append(Path(os.environ["I2I_DATA"]) / "weights")
    return [Path(weights_dir).expanduser(), *found] if weights_dir else found
