"""The results of several models for one picture, as pixels of equal size with a name."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from i2i import ConfigError, Model, files, images, load
from i2i.data import address
from i2i.modalities import Modality

from . import page, sheet

PAGES = (".html", ".htm")


@dataclass
class Shown:
    """One picture of a comparison: uint8 [H, W, 3], its name, and what was done to show it."""

    pixels: np.ndarray
    name: str
    about: str


def run(
    picture: str,
    sources: Sequence[str],
    outs: Sequence[str],
    condition: Mapping[str, Any],
    tile: int | None = None,
    force: bool = False,
) -> None:
    """Write a comparison of models to each file of `outs`.

    Raises:
        ConfigError: no model, models that take different things, a condition that none has, or a file of `outs` that
            exists or whose suffix cannot be written.
        DataError: the picture cannot be read.
    """
    if not sources:
        raise ConfigError("no model to compare: give each with -m, e.g. -m runs/a -m runs/b")
    for out in outs:
        refuse_out(out, picture, force)
    shown = results(picture, sources, [load(source) for source in sources], condition, tile)
    for out in outs:
        files.make_folder(Path(out).parent)
        if Path(out).suffix.lower() in PAGES:
            files.write(out, page.html_of(Path(picture).name, shown).encode())
        else:
            images.save(sheet.pixels_of(shown), out)
        print(f"{out}: written", file=sys.stderr)


def only(things: Sequence[str]) -> str:
    """Return the one picture that several models translate. Raises: ConfigError, there are several."""
    if len(things) > 1:
        raise ConfigError(
            f"{len(things)} inputs ({', '.join(things)}) and -m: give one picture to compare models, or only runs, "
            f"without -m, to compare trainings"
        )
    return things[0]


def refuse_out(out: str, picture: str, force: bool, possible: Sequence[str] = (*images.WRITTEN, *PAGES)) -> None:
    """Reject a file that cannot be written, that exists unless forced, or that is the picture itself."""
    if Path(out).suffix.lower() not in possible:
        raise ConfigError(f"{images.shown(out)}: this suffix cannot be written; possible: {', '.join(possible)}")
    if not Path(out).exists():
        return
    if Path(picture).exists() and Path(out).samefile(picture):
        raise ConfigError(f"{images.shown(out)} is also the input and would be overwritten: use another -o")
    if not force:
        raise ConfigError(f"{images.shown(out)} already exists: use --force to overwrite it, or another -o")


def results(
    picture: str, names: Sequence[str], models: Sequence[Model], condition: Mapping[str, Any], tile: int | None = None
) -> list[Shown]:
    """Return the input and the result of each model, all in the size of the largest.

    Raises: see `run`.
    """
    takes = models[0].task.takes
    for name, model in zip(names, models, strict=True):
        if model.task.takes.name != takes.name:
            raise ConfigError(
                f"{names[0]} takes {takes.plural}, but {name} takes {model.task.takes.plural}: compare models that "
                f"take the same"
            )
    given = divided(condition, names, models)
    drawn = [pixels(picture, takes)]
    for model, own in zip(models, given, strict=True):
        drawn.append(pixels(model(picture, tile=tile, **own), model.task.makes))
    titles = ["input"]
    for number, (name, own) in enumerate(zip(names, given, strict=True), start=1):
        titles.append(" ".join([f"{number}. {name}", *(f"{key}={value}" for key, value in own.items())]))
    height, width = max((one.shape[:2] for one in drawn), key=lambda size: size[0] * size[1])
    shown = []
    for title, one in zip(titles, drawn, strict=True):
        size = f"{one.shape[1]}x{one.shape[0]}"
        if one.shape[:2] != (height, width):
            size += f", enlarged to {width}x{height} (bicubic)"
            one = np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC))
        shown.append(Shown(one, title, size))
    return shown


def divided(condition: Mapping[str, Any], names: Sequence[str], models: Sequence[Model]) -> list[dict[str, Any]]:
    """Return the conditions of each model: those that it has, and last those with its number, without the number.

    Raises:
        ConfigError: no model has a condition, or the numbered one has not.
    """
    for_all = {key: value for key, value in condition.items() if address(key)[0] is None}
    given = [{key: value for key, value in for_all.items() if model.knows(key)} for model in models]
    for key, value in condition.items():
        number, rest = address(key)
        if number is not None and 0 < number <= len(models) and models[number - 1].knows(rest):
            given[number - 1][rest] = value
        elif number is not None or not any(key in own for own in given):
            raise ConfigError(f"-c {key}={value}: no model of {', '.join(names)} has this condition")
    return given


def pixels(thing: Any, modality: Modality) -> np.ndarray:
    """Return an input or a result as uint8 [H, W, 3]; transparent pixels are white.

    Raises:
        ConfigError: it is not a still picture.
    """
    taken = modality.take(thing)
    drawn = modality.show(taken.values)
    if drawn.ndim != 4:
        raise ConfigError(f"i2i compare shows still pictures, not {modality.plural}")
    alpha = getattr(taken.like, "alpha", None)
    if alpha is None:
        return drawn[0]
    share = alpha[0, 0].numpy()[..., None]
    return np.rint(drawn[0] * share + 255 * (1 - share)).astype(np.uint8)
