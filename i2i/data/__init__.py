"""Data sets: samples that are pure functions of an index and a random generator.

`base` says what a data set is, `folders` reads pictures, `animals` draws horses and zebras, `transforms`
augments, `cache` keeps decoded pictures and `check` is behind `i2i data check`. Their names for a config are
listed by `i2i models`.
"""

from __future__ import annotations

from ..catalog import Catalog
from .base import Data, Sample
from .folders import UnpairedFolders
from .transforms import Augment

__all__ = ["Augment", "Data", "Sample", "UnpairedFolders", "register"]


def register(catalog: Catalog) -> None:
    """Add the data sets of this folder to `catalog`."""
    from .animals import HorsesAndZebras

    catalog.data("unpaired_folders", UnpairedFolders)
    catalog.data("horses_zebras", HorsesAndZebras)
