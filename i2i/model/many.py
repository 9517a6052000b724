"""Translate many files into a folder: `translate_files(["photos"], "out", model)`.

This is `i2i translate photos -o out`. What was done is recorded in the folder (`manifest.py`), so the same command
continues a job that was stopped, and makes results again whose input, model or condition has changed.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError, DataError, NumericError, ResourceError, blame, counted
from ..files.find import UNLISTED
from ..files.scratch import trim
from ..images import UNSUPPORTED, Output, shown
from ..images.kept import Kept, forget, unfinished
from ..modalities import Modality
from ..runs.progress import pace
from ..version import __version__
from . import moving
from .manifest import NAME, Manifest, job_of, stamp
from .samples import refuse_file
from .trained import Model
from .workers import Results, Todo, ended_by_sigterm, in_processes

NORMAL = Output()
LEFT, WITHOUT = "left out", "empty"  # files that are nothing to translate, and folders without anything else
NAME_LIMIT = 255  # bytes of a name that file systems allow
FAILS = (UNLISTED, UNSUPPORTED)  # how reasons begin that are a failure whatever the name of the file


def translate_files(
    sources: Sequence[str],
    out: str | Path,
    model: Model,
    *,
    force: bool = False,
    skip_existing: bool = False,
    output: Output = NORMAL,
    nproc: int = 1,
    say: Callable[[str], None] = print,
    note: Callable[[str], None] | None = None,
    **condition: Any,
) -> list[str]:
    """Translate files, folders and globs (or whatever the task takes) into the folder `out`, keeping names.

    Results that are up to date are kept, and those that i2i made from another input, or with another model or
    condition, are made again. Files that it did not make, or that were changed since, are kept and reported. A
    failure does not stop the others.

    Args:
        sources: the inputs.
        out: the folder.
        model: what translates them.
        force: make all results again, and overwrite whatever is there.
        skip_existing: keep whatever is there, whichever model made it.
        output: what is asked of the results: tiles, size, format, quality, metadata.
        nproc: how many processes share the work.
        say: called with each sentence about what happens.
        note: called after each result with the progress; by default `say`.
        condition: see `Model`.

    Returns:
        One sentence for each input that could not be translated.
    """
    refuse_odd_job(model, Path(out), force, skip_existing, output, condition)
    targets, failed, others = plan(sources, Path(out), model.task.takes, model.task.makes, output, say)
    refuse_unused(targets, model, output)
    left = unfinished({target.parent for target in targets})
    manifest = Manifest(Path(out), job_of(model, {**condition, **output.asked()}), model.task.makes)
    todo = chosen(manifest, targets, force, skip_existing, say)
    if todo:
        files.refuse_unwritable(out)
    kept, done, began = len(targets) - len(todo), 0, time.monotonic()
    alone = partial(in_this_process, note=note or say)
    if note is not None and todo:  # the first result may take long, and loading its libraries too
        note(f"[1/{len(todo)}] {started(*todo[0], model)}")
    share = alone if nproc == 1 else partial(in_processes, nproc=nproc)
    try:
        with ended_by_sigterm(), closing(share(todo, model, manifest, output, condition)) as results:
            for number, (at, error) in enumerate(results, start=1):
                count = f"[{number}/{len(todo)}]"
                if error is not None:
                    failed.append(str(error))
                    say(f"{count} {error}")
                    continue
                done += 1
                if done == 1:
                    manifest.describe()
                speed = pace(number, len(todo) - number, time.monotonic() - began)
                (note or say)(f"{count} {shown(todo[at][0])}  {speed}")
    except (KeyboardInterrupt, SystemExit):
        say(f"stopped: {done} of {len(todo)} translated; the same command continues with the others")
        raise
    stamps = {target: stamp(thing) for target, thing in targets.items() if target.exists()} if left else {}
    for rows in left:
        forget(rows, stamps)
    lost = len(failed) - others[WITHOUT]
    again = failed if len(targets) > 10 else []  # among thousands of lines they are easily missed
    rest = "".join(f", {count} {what}" for what, count in others.items())
    say(f"{done} translated, {kept} already existed, {lost} failed{rest}{':' if again else ''}")
    for sentence in again:
        say(f"  {sentence}")
    return failed


def refuse_odd_job(
    model: Model, out: Path, force: bool, skip_existing: bool, output: Output, condition: dict[str, Any]
) -> None:
    """Raise a ConfigError, before anything is read, if every input would fail."""
    if force and skip_existing:
        raise ConfigError("--force overwrites existing results and --skip-existing keeps them: use one of them")
    model.refuse_if_it_generates()
    model._prepared("translate", condition)
    model.task.makes.check(output)
    refuse_file(out, model.task.makes)


def refuse_unused(targets: dict[Path, Any], model: Model, output: Output) -> None:
    """Raise a ConfigError if what is asked for clips or for pictures applies to none of the inputs."""
    clips = [moving.is_clip(thing, model.task.takes, model.task.makes, output) for thing in targets.values()]
    if output.steady and clips and not any(clips):
        raise ConfigError("--steady is for videos and animations, and none of these inputs is one: leave it out")
    if output.quality is not None and clips and all(clips):
        raise ConfigError("--quality is for pictures, and these inputs are videos or animations: leave it out")


def chosen(
    manifest: Manifest, targets: dict[Path, Any], force: bool, skip_existing: bool, say: Callable[[str], None]
) -> list[tuple[Path, Any]]:
    """Return the targets to make, with their inputs, and say what happens to the others."""
    if force:
        return sorted(targets.items())
    if skip_existing:
        todo = [pair for pair in sorted(targets.items()) if not any(map(Path.exists, manifest.parts(pair[0])))]
        if len(todo) < len(targets):  # an image does not show which model made it
            say("existing results are kept, whichever model made them; use --force to redo them")
        return todo
    states = manifest.states(targets)
    counts = Counter(states.values())
    if counts["outdated"]:
        changed = manifest.changed({path: targets[path] for path, state in states.items() if state == "outdated"})
        say(f"redoing {counted(counts['outdated'], 'result')} (changed: {', '.join(changed) or 'options'})")
    if counts["foreign"]:
        first = next(path for path, state in states.items() if state == "foreign")
        say(
            f"keeping {counted(counts['foreign'], 'file')} not made here by i2i, or changed since, such as "
            f"{shown(first)}; use --force to overwrite"
        )
    return [(target, targets[target]) for target, state in states.items() if state in ("missing", "outdated")]


def in_this_process(
    todo: Todo,
    model: Model,
    manifest: Manifest,
    output: Output,
    condition: dict[str, Any],
    note: Callable[[str], None],
) -> Results:
    """Translate (target, input) pairs one after the other; yield the number of each, and its error."""
    for at, (target, thing) in enumerate(todo):
        try:
            tell = partial(tell_of, f"[{at + 1}/{len(todo)}]", note)
            translate_one(thing, target, model, manifest, output, condition, tell)
        except (DataError, NumericError) as error:
            yield at, error
        else:
            yield at, None


def started(target: Path, thing: Any, model: Model) -> str:
    """Return what is being translated by what: "'photo.jpg' 640x480 with upscale-x2 ..."."""
    size = model.task.takes.size_of(thing)
    pixels = "" if size is None else f" {size[1]}x{size[0]}"
    return f"{shown(thing) if isinstance(thing, Path) else target.stem}{pixels} with {model.name} ..."


def tell_of(count: str, note: Callable[[str], None], progress: str) -> None:
    """Tell the progress of one of many inputs."""
    note(f"{count} {progress}")


def translate_one(
    thing: Any,
    target: Path,
    model: Model,
    manifest: Manifest,
    output: Output,
    condition: dict[str, Any],
    note: Callable[[str], None] | None = None,
) -> None:
    """Translate one input into a file; a DataError, also for a lack of memory, concerns only this input.

    `note` is called with the progress of a clip or of a large picture.
    """
    given = stamp(thing)
    try:
        if moving.is_clip(thing, model.task.takes, model.task.makes, output):
            key, begin = f"{manifest.job['job']} {given}", partial(manifest.begin, target)
            moving.translate(thing, target, model, output, condition, key, begin, note)
            manifest.done(target, given)
            return
        key = f"{manifest.job['job']} {given} {model.speed} {__version__}"
        tell = None if note is None else Rows(thing, note)
        with Kept(target, key, tell) as keep:
            made, like = model.translated(thing, output, target, condition, keep)
            trim()  # what the network took, before the result is encoded
            files.make_folder(target.parent)
            manifest.begin(target)
            with blame(model.task.makes, "write"):
                model.task.makes.save(made, like, target, output)
    except ResourceError as error:
        if isinstance(error.__cause__, OSError):  # the disk, which concerns all
            raise
        name = shown(thing) if isinstance(thing, Path) else target.stem
        raise DataError(f"{name}: {error}") from error
    except DataError as error:
        if not isinstance(thing, Path) or thing.name in str(error):
            raise
        raise DataError(f"{shown(thing)}: {error}") from error
    finally:
        trim()
    manifest.done(target, given)


class Rows:
    """Tells the progress of a large picture, with `note`: "'big.png': row 1280/20000  35.2 it/s  ETA 0:08:52"."""

    def __init__(self, thing: Any, note: Callable[[str], None]) -> None:
        self.name = shown(thing) if isinstance(thing, Path) else str(thing)
        self.note, self.shown_at = note, time.monotonic()

    def __call__(self, what: str, done: int, before: int, total: int, seconds: float) -> None:
        """Tell how many are done; see `Kept`."""
        if done == before > 0:
            self.note(f"{self.name}: continuing at {what} {done}/{total}")
            return
        if time.monotonic() - self.shown_at < (moving.OFTEN if sys.stderr.isatty() else moving.SELDOM):
            return
        self.shown_at = time.monotonic()
        speed = f"  {pace(done - before, total - done, seconds)}" if done > before else ""
        self.note(f"{self.name}: {what} {done}/{total}{speed}")


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


def too_long(target: Path, makes: Modality) -> str:
    """Return why no file can have the name of a result, or of what is written beside it; "" if one can."""
    size = max(len(os.fsencode(path.name)) for path in (target, *makes.beside(target)))
    if size <= NAME_LIMIT:
        return ""
    return (
        f"the name of its result would have {size} bytes, and file systems allow {NAME_LIMIT}: give it a shorter name"
    )


def plan(
    sources: Sequence[str], out: Path, takes: Modality, makes: Modality, output: Output, say: Callable[[str], None]
) -> tuple[dict[Path, Any], list[str], Counter[str]]:
    """Plan what becomes of everything in `sources`.

    Returns:
        Target -> input, a sentence for each that cannot be translated, and how many are `LEFT` and `WITHOUT`.
    """
    targets: dict[Path, Any] = {}
    failed: list[str] = []
    others: Counter[str] = Counter()
    for source in sources:
        with blame(takes, "find"):
            found, skipped = moving.found(source, takes, makes)
        for path, why in skipped:
            if path.name == NAME:  # of results in a folder that is searched
                continue
            sentence = f"{shown(path)}: {why}"
            lost = path == Path(source) or path.suffix.lower() in takes.suffixes or why.startswith(FAILS)
            failed += [sentence] * lost
            if not lost:
                others[LEFT] += 1
            say(sentence)  # a README among images is reported, but is not a failure
        found = without_results(found, Path(source), out, say)
        if os.path.isdir(source) and not found:  # no Path: it fails for a long sentence
            others[WITHOUT] += 1
            failed.append(f"{shown(source)}: contains no {takes.plural}")
            say(failed[-1])
        for thing, name in found:
            target = out / moving.name_of(thing, name, takes, makes, output)
            if why := too_long(target, makes):
                failed.append(f"{shown(thing)}: {why}")
                say(failed[-1])
                continue
            if isinstance(thing, Path) and target.exists() and target.samefile(thing):
                raise ConfigError(f"{shown(thing)} would be overwritten by its own translation: use another folder")
            if targets.setdefault(target, thing) != thing:
                same = f"{shown(targets[target])} becomes {shown(target)} too"
                failed.append(f"{shown(thing)}: {same}: translate it into another folder")
                say(failed[-1])
    return targets, failed, others
