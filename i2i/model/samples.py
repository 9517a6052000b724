"""Write samples of a model into a folder: `sample_files(16, "out", model)`. This is `i2i sample 16 -o out`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError
from ..images import MOVING, shown
from ..modalities import Modality
from .trained import Model


def sample_files(
    n: int,
    out: str | Path,
    model: Model,
    seed: int,
    condition: dict[str, Any],
    *,
    format: str | None = None,
    force: bool = False,
) -> str:
    """Write `n` samples, numbered from 0, in a format such as "webp", and return a sentence about them.

    Raises:
        ConfigError: a file exists, unless `force`; `out` is named like a file; the format cannot be written; or the
            seed is given as a condition.
    """
    if "seed" in condition:
        raise ConfigError(f"-c seed={condition['seed']}: `i2i sample` takes it as --seed {condition['seed']}")
    makes = model.task.makes
    refuse_file(Path(out), makes)
    suffix = suffix_of(format, makes)
    paths = [Path(out) / makes.file_name(Path(f"{number:05d}{suffix}")) for number in range(n)]
    existing = next(filter(os.path.lexists, paths), None)
    if existing and not force:
        raise ConfigError(f"{shown(existing)} already exists: use --force to overwrite it, or -o for another folder")
    files.refuse_unwritable(out)
    made = model.sample(n, seed, **condition)
    files.make_folder(out)
    for path, thing in zip(paths, made, strict=True):
        makes.write(thing, path)
    others = len({*Path(out).glob(f"*{paths[0].suffix}")} - {*paths})
    beside = f", beside {others} that already existed" if others else ""
    return f"{n} {makes.plural} in {shown(Path(out))}{beside}"


def suffix_of(format: str | None, makes: Modality) -> str:
    """Return ".webp" for "webp", and nothing for None. Raises: ConfigError, the modality does not write it."""
    if format is None:
        return ""
    possible = [suffix for suffix in makes.suffixes if makes.file_name(Path(f"0{suffix}")).suffix == suffix]
    suffix = f".{format.lower().removeprefix('.')}"
    if suffix not in possible:
        known = ", ".join(suffix[1:] for suffix in possible)
        raise ConfigError(f"format {format} cannot be written for {makes.plural}; possible: {known}")
    return suffix


def refuse_file(out: Path, makes: Modality) -> None:
    """Raise ConfigError if the folder for results of a modality is a file, or would have the name of one."""
    named = out.suffix.lower() in {*makes.suffixes, *MOVING} and not out.is_dir()
    if named or out.is_file():
        raise ConfigError(
            f"-o {shown(out)} {'is' if out.is_file() else 'looks like'} a file: it names the folder that results are "
            f"written into, such as -o results"
        )
