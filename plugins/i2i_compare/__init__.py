"""`i2i compare`: several models on one picture, as a contact sheet or as a page with a slider.

i2i compare photo.jpg -m runs/a -m runs/b -o sheet.png
i2i compare photo.jpg -m "restore | upscale-x2" -m upscale-x2 -o page.html

results.py runs the models, sheet.py and page.py write the files; they are imported on first use, so that `i2i --help`
stays fast.
"""

from __future__ import annotations

from typing import Annotated

import typer

from i2i.cli import Conditions, PluginFile, conditions, load_plugins


def compare(
    picture: Annotated[str, typer.Argument(help="What the models take, e.g. a photograph.")],
    model: Annotated[
        list[str] | None, typer.Option("-m", "--model", help="As for `i2i translate`; give one for each model.")
    ] = None,
    out: Annotated[
        list[str] | None, typer.Option("-o", "--out", help="A picture or an .html page (compare.html); or both.")
    ] = None,
    condition: Conditions = None,
    tile: Annotated[
        int | None, typer.Option(help="Cut large pictures into squares of this side, in pixels.", min=16)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    plugin: PluginFile = None,
) -> None:
    """Translate one picture with several models, and show the results side by side.

    A condition goes to every model that has it, 2.direction=BtoA to the second model only.
    """
    load_plugins(plugin)
    from . import results

    results.run(picture, model or [], out or ["compare.html"], conditions(condition), tile, force)
