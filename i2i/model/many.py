"""Translate many files into a folder: `translate_files(["photos"], "out", model)`.

This is `i2i translate photos -o out`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError, DataError, NumericError, blame
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
            result = model(thing, tile=tile, **condition)
            files.make_folder(target.parent)
            with blame(makes, "write"):
                makes.write(result, target)
        except (DataError, NumericError) as error:
            failed.append(str(error))
            say(f"[{number}/{len(targets)}] {error}")
        else:
            done += 1
            say(f"[{number}/{len(targets)}] {shown(target)}")
    if kept:  # an image does not show which model made it
        say("existing results were kept, whichever model made them; use --force to redo them")
    again = failed if len(targets) > 10 else []  # among thousands of lines they are easily missed
    say(f"{done} translated, {kept} already existed, {len(failed)} failed{':' if again else ''}")
    for sentence in again:
        say(f"  {sentence}")
    return failed


def without_results(
    found: list[tuple[Any, Path]], source: Path, out: Path, say: Callable[[str], None]
) -> list[tuple[Any, Path]]:
    """Leave out the folder that results are written to, if it is inside the folder to translate."""
    home = out.resolve()
    if not source.is_dir() or source.resolve() not in home.parents:
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
            lost = path == Path(source) or path.suffix.lower() in takes.suffixes or why.startswith(files.UNLISTED)
            failed += [sentence] * lost
            say(sentence)  # a README among images is reported, but is not a failure
        found = without_results(found, Path(source), out, say)
        if Path(source).is_dir() and not found:
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
