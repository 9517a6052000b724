"""`i2i latent`: look into a latent space from the command line; the work is done by `i2i.latent`.

i2i latent sample -m RUN -n 16 -o sheet.png
i2i latent interpolate a.png b.png -m RUN -o path.gif --path spherical
i2i latent traverse -m RUN --axis 0 --axis 1 --steps 10 -o plane.png
i2i latent reconstruct PICTURES -m RUN -o sheet.png
i2i latent neighbours PICTURES -m RUN -o sheet.png
i2i latent arithmetic smile=1,sex=1 smile=0,sex=1 smile=0,sex=0 -m RUN -o sheet.png
i2i latent direction -m RUN
i2i latent edit photo.png -m RUN --attribute smile --amount 2 -o out.png

commands.py holds a function for each; it is imported when one is used, so that `i2i --help` stays quick.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from i2i.cli import Conditions, ModelOption, PluginFile, conditions, load_plugins


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
    """How codes are joined."""

    linear = "linear"
    spherical = "spherical"


class Space(str, Enum):
    """Where pictures are compared."""

    latent = "latent"
    pixel = "pixel"


class Method(str, Enum):
    """How directions are found."""

    regression = "regression"
    means = "means"


def latent(
    what: Annotated[What, typer.Argument(help="What to do.")],
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders and globs; for arithmetic three of them, or three of KEY=VALUE,... as a b c."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="The sheet to write (WHAT.png); where there is a path also .gif, .mp4."),
    ] = None,
    model: ModelOption = None,
    n: Annotated[int | None, typer.Option("-n", help="How many: samples, pairs, examples.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same codes.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="interpolate, traverse, edit: pictures along a path.", min=1)
    ] = None,
    path: Annotated[Path | None, typer.Option(help="interpolate: how codes are joined.")] = None,
    axis: Annotated[list[int] | None, typer.Option(help="traverse: a number of the code; two make a plane.")] = None,
    k: Annotated[int | None, typer.Option("-k", help="neighbours: how many of each.", min=1, max=64)] = None,
    space: Annotated[Space | None, typer.Option(help="neighbours: where pictures are compared.")] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="edit: an attribute; several are added up.")] = None,
    amount: Annotated[
        list[float] | None, typer.Option(help="edit: how far, one for all or one for each; 1 is from 0 to 1.")
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="edit: write the edited picture only.")] = False,
    method: Annotated[Method | None, typer.Option(help="direction, edit: how directions are found.")] = None,
    apart: Annotated[
        bool, typer.Option("--apart", help="direction, edit: take from each what it shares with the others.")
    ] = False,
    root: Annotated[str | None, typer.Option(help="Where the files of the data set lie now.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there already.")] = False,
    condition: Conditions = None,
    plugin: PluginFile = None,
) -> None:
    """Look into a model's latent space and move in it.

    sample: new pictures
    interpolate: paths between pictures, or between drawn codes
    traverse: one number of a code, or two, through its range
    reconstruct: pictures, encoded and decoded again
    neighbours: the training pictures that are nearest
    arithmetic: a - b + c of three groups of pictures
    direction: what is known of attributes
    edit: pictures, moved along an attribute
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
