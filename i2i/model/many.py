"""Translate many files into a folder: `translate_files(["photos"], "out", model)`.

This is `i2i translate photos -o out`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError, DataError, NumericError, ResourceError, blame
from ..files.find import UNLISTED
from ..images import shown
from ..modalities import Modality
from .trained import Model


def translate_files(
    sources: Sequence[str],
    out: str | Path,
    model: Model,
    *,
    force: bool = False,
    tile: int | None = None,
    say: Callable[[str], None] = print,
    **condition: Any,
) -> list[str]:
    """Translate files, folders and globs (or whatever the task takes) into the folder `out`, keeping names.

    Existing results are kept unless `force`, so a second call translates only what is missing. A failure does not
    stop the others.

    Returns:
        One sentence for each input that could not be translated.
    """
    makes = model.task.makes
    targets, failed = plan(sources, Path(out), model.task.takes, makes, say)
    done = kept = 0
    for number, (target, thing) in enumerate(sorted(targets.items()), start=1):
        if target.exists() and not force:
            kept += 1
            say(f"[{number}/{len(targets)}] {shown(target)} already exists")
            continue
        try:
            translate_one(thing, target, model, tile, condition)
        except (DataError, NumericError) as error:
            failed.append(str(error))
            say(f"[{number}/{len(targets)}] {error}")
        else:
            done += 1
            say(f"[{number}/{len(targets)}] {shown(target)}")
        return_memory()
    if kept:  # an image does not show which model made it
        say("existing results were kept, whichever model made them; use --force to redo them")
    again = failed if len(targets) > 10 else []  # among thousands of lines they are easily missed
    say(f"{done} translated, {kept} already existed, {len(failed)} failed{':' if again else ''}")
    for sentence in again:
        say(f"  {sentence}")
    return failed


def translate_one(thing: Any, target: Path, model: Model, tile: int | None, condition: dict[str, Any]) -> None:
    """Translate one input into a file; a DataError, also for a lack of memory, concerns only this input."""
    try:
        result = model(thing, tile=tile, **condition)
    except ResourceError as error:
        name = shown(thing) if isinstance(thing, Path) else target.stem
        raise DataError(f"{name}: {error}") from error
    files.make_folder(target.parent)
    with blame(model.task.makes, "write"):
        model.task.makes.write(result, target)


def return_memory() -> None:
    """Return freed memory to the system, on Linux with glibc.

    Otherwise a process that handles pictures of many sizes grows: small allocations that live on keep large freed
    blocks of the heap in use (370 MB became 1,150 MB in 1,400 pictures).
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def without_results(
    found: list[tuple[Any, Path]], source: Path, out: Path, say: Callable[[str], None]
) -> list[tuple[Any, Path]]:
    """Leave out the folder that results are written to, if it is inside the folder to translate."""
    home = out.resolve()
    if not os.path.isdir(source) or source.resolve() not in home.parents:
        return found
    inputs = [pair for pair in found if not isinstance(pair[0], Path) or home not in pair[0].resolve().parents]
    if len(inputs) < len(found):
        say(f"{shown(out)} is left out of the search, because results are written to it")
    return inputs


def plan(
    sources: Sequence[str], out: Path, takes: Modality, makes: Modality, say: Callable[[str], None]
) -> tuple[dict[Path, Any], list[str]]:
    """Return target -> input for everything in `sources`, and a sentence for each that cannot be translated."""
    targets: dict[Path, Any] = {}
    failed: list[str] = []
    for source in sources:
        with blame(takes, "find"):
            found, skipped = takes.find(source)
        for path, why in skipped:
            sentence = f"{shown(path)}: {why}"
            lost = path == Path(source) or path.suffix.lower() in takes.suffixes or why.startswith(UNLISTED)
            failed += [sentence] * lost
            say(sentence)  # a README among images is reported, but is not a failure
        found = without_results(found, Path(source), out, say)
        if os.path.isdir(source) and not found:  # no Path: it fails for a long sentence
            failed.append(f"{shown(source)}: contains no {takes.plural}")
            say(failed[-1])
        for thing, name in found:
            target = out / makes.file_name(name)
            if isinstance(thing, Path) and target.exists() and target.samefile(thing):
                raise ConfigError(f"{shown(thing)} would be overwritten by its own translation: use another folder")
            if targets.setdefault(target, thing) != thing:
                raise ConfigError(
                    f"{shown(targets[target])} and {shown(thing)} would both become {shown(target)}: "
                    f"translate them into two folders"
                )
    return targets, failed
