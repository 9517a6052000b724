"""Files, folders and globs of pictures into a folder: `translate_files(["photos"], "out", model)`.

`i2i translate photos -o out` is this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError, DataError, NumericError
from .find import find
from .notes import shown
from .write import SUFFIXES, save, writable_name


def translate_files(
    sources: Sequence[str],
    out: str | Path,
    model: Callable[..., Any],
    *,
    force: bool = False,
    tile: int | None = None,
    say: Callable[[str], None] = print,
    **condition: Any,
) -> list[str]:
    """Translate files, folders and globs into the folder `out`, keeping names and sizes.

    What is there already is left alone unless `force`, so a second call does only what is missing. A picture
    that fails does not stop the others.

    Returns:
        One sentence for each picture that could not be translated.
    """
    targets, failed = plan(sources, Path(out), say)
    done = there = 0
    for number, (target, source) in enumerate(sorted(targets.items()), start=1):
        if target.exists() and not force:
            there += 1
            say(f"[{number}/{len(targets)}] {shown(target)} is there already")
            continue
        try:
            result = model(source, tile=tile, **condition)
            files.make_folder(target.parent)
            save(result, target)
        except (DataError, NumericError) as error:
            failed.append(str(error))
            say(f"[{number}/{len(targets)}] {error}")
        else:
            done += 1
            say(f"[{number}/{len(targets)}] {shown(target)}")
    if there:  # nobody can see in a picture what made it
        say("what was there already is left as it is, whatever model and condition made it: --force does it again")
    say(f"{done} translated, {there} there already, {len(failed)} failed{':' if failed else ''}")
    for sentence in failed:  # once more, because between thousands of others nobody has seen them
        say(f"  {sentence}")
    return failed


def plan(sources: Sequence[str], out: Path, say: Callable[[str], None]) -> tuple[dict[Path, Path], list[str]]:
    """Return target -> source for all pictures in `sources`, and a sentence for each that cannot be one."""
    targets: dict[Path, Path] = {}
    failed: list[str] = []
    for source in sources:
        found, skipped = find([source])
        for path, why in skipped:
            sentence = f"{shown(path)}: {why}"
            if path == Path(source) or path.suffix.lower() in SUFFIXES:
                failed.append(sentence)
            say(sentence)  # a README among the pictures is mentioned, and is no failure
        if Path(source).is_dir() and not found:
            failed.append(f"{shown(source)}: no pictures in it")
        for path in found:
            inside = path.relative_to(source) if Path(source).is_dir() else Path(path.name)
            target = writable_name(out / inside)
            if target.exists() and target.samefile(path):
                raise ConfigError(f"{shown(path)} would be written over by its own translation: give another folder")
            if targets.setdefault(target, path) != path:
                raise ConfigError(
                    f"{shown(targets[target])} and {shown(path)} would both be {shown(target)}: "
                    f"translate them into two folders"
                )
    return targets, failed
