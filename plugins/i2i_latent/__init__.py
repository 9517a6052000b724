"""`i2i latent`: explore a latent space from the command line; the work is done by `i2i.latent`.

i2i latent sample -m RUN -n 16 -o sheet.png
i2i latent interpolate a.png b.png -m RUN -o path.gif --path spherical
i2i latent traverse -m RUN --axis 0 --axis 1 --steps 10 -o plane.png
i2i latent reconstruct PICTURES -m RUN -o sheet.png
i2i latent neighbours PICTURES -m RUN -o sheet.png
i2i latent arithmetic smile=1,sex=1 smile=0,sex=1 smile=0,sex=0 -m RUN -o sheet.png
i2i latent direction -m RUN
i2i latent edit photo.png -m RUN --attribute smile --amount 2 -o out.png
i2i latent edit -n 8 --seed 1 -m GAN_RUN --attribute smile -o out.png

commands.py has one function for each; it is imported on first use, so that `i2i --help` stays fast.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from i2i.cli import Conditions, DeviceOption, ModelOption, PluginFile, conditions, load_plugins


class What(str, Enum):
    """What can be done in a latent space."""

    sample = "sample"
    interpolate = "interpolate"
    traverse = "traverse"
    reconstruct = "reconstruct"
    neighbours = "neighbours"
    arithmetic = "arithmetic"
    direction = "direction"
    edit = "edit"


class Path(str, Enum):
    """How codes are interpolated."""

    linear = "linear"
    spherical = "spherical"


class Space(str, Enum):
    """The space in which images are compared."""

    latent = "latent"
    pixel = "pixel"


class Method(str, Enum):
    """How directions are computed."""

    regression = "regression"
    means = "means"


def latent(
    what: Annotated[What, typer.Argument(help="What to do.")],
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders and globs; for arithmetic three of these, or three conditions KEY=VALUE,... (a b c)."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="The sheet to write (WHAT.png); for a path also .gif or .mp4."),
    ] = None,
    model: ModelOption = None,
    n: Annotated[int | None, typer.Option("-n", help="Number of samples, pairs or examples.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed for sampled codes.")] = None,
    steps: Annotated[int | None, typer.Option(help="interpolate, traverse, edit: images per path.", min=1)] = None,
    path: Annotated[Path | None, typer.Option(help="interpolate: shape of the path.")] = None,
    axis: Annotated[
        list[int] | None, typer.Option(help="traverse: latent dimension, else the most used; two make a plane.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="neighbours: how many per image.", min=1, max=64)] = None,
    space: Annotated[Space | None, typer.Option(help="neighbours: space in which images are compared.")] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="edit: an attribute; several are summed.")] = None,
    amount: Annotated[
        list[float] | None, typer.Option(help="edit: how far, one for all or one each; 1 takes it from 0 to 1.")
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="edit: write only the edited image.")] = False,
    method: Annotated[Method | None, typer.Option(help="direction, edit: how directions are computed.")] = None,
    apart: Annotated[
        bool, typer.Option("--apart", help="direction, edit: orthogonalise each direction against the others.")
    ] = False,
    root: Annotated[str | None, typer.Option(help="Current location of the data set's files.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    condition: Conditions = None,
    device: DeviceOption = None,
    plugin: PluginFile = None,
) -> None:
    """Explore a model's latent space and edit images in it.

    sample: new images
    interpolate: paths between images, or between sampled codes
    traverse: one or two latent dimensions through their range
    reconstruct: images, encoded and decoded
    neighbours: the nearest training images
    arithmetic: a - b + c on three groups of images
    direction: the attributes and their directions
    edit: images, or samples, moved along attributes
    """
    options = {
        "pictures": pictures,
        "out": out,
        "n": n,
        "seed": seed,
        "steps": steps,
        "path": path.value if path else None,
        "axis": axis,
        "k": k,
        "space": space.value if space else None,
        "attribute": attribute,
        "amount": amount,
        "alone": alone or None,
        "method": method.value if method else None,
        "apart": apart or None,
        "root": root,
    }
    load_plugins(plugin)
    from . import commands

    given = {name: value for name, value in options.items() if value is not None and value != []}
    commands.run(what.value, model, given, conditions(condition), force)
