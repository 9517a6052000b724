"""Horses and zebras, drawn by code: an unpaired data set with a known truth.

data: {use: horses_zebras, size: 64}      # in a config; `i2i run configs/cyclegan.yaml` trains on it
metrics: [{use: animal_truth}]
"""

from __future__ import annotations

from .scene import HorsesAndZebras
from .truth import AnimalTruth

__all__ = ["AnimalTruth", "HorsesAndZebras"]
