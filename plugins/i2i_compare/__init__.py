"""`i2i compare`: several models on one picture, as a contact sheet or a page; or several runs, as a page.

i2i compare photo.jpg -m runs/a -m runs/b -o sheet.png
i2i compare photo.jpg -m "restore | upscale-x2" -m upscale-x2 -o page.html
i2i compare runs/a runs/b -o page.html                 # curves, samples, settings and metrics

results.py runs the models, sheet.py and page.py write the files, trainings.py compares runs; they are imported on
first use, so that `i2i --help` stays fast.
"""

from __future__ import annotations

from typing import Annotated

import typer

from i2i.cli import Conditions, PluginFile, conditions, load_plugins


def compare(
    things: Annotated[
        list[str], typer.Argument(help="What the models take, e.g. a photograph; or two or more runs, without -m.")
    ],
    model: Annotated[
        list[str] | None, typer.Option("-m", "--model", help="As for `i2i translate`; one for each model.")
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
    """Translate one picture with several models, or compare several training runs, side by side.

    With -m, a condition goes to every model that has it, 2.direction=BtoA to the second model only. Without -m, the
    arguments are folders of runs.
    """
    load_plugins(plugin)
    if model:
        from . import results

        results.run(results.only(things), model, out or ["compare.html"], conditions(condition), tile, force)
    else:
        from . import trainings

        for option, given in (("-c", condition), ("--tile", tile)):
            trainings.refuse_option(option, given)
        trainings.run(things, out or ["compare.html"], force)
