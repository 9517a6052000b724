"""Relief: the surface shown by a line drawing or a shaded image, as depth, normals and a mesh.

i2i run configs/relief.yaml                          # procedural reliefs, minutes
i2i translate PICTURES -o OUT -m runs/relief         # normal maps; -c what=depth for depth
i2i relief photo.png -m runs/relief -o photo.ply     # a mesh for a viewer; .obj too

task.py contains the task and its metric, data.py the data set, mesh.py the meshes. They are imported on first use, so
that `i2i --help` stays fast.
"""

from __future__ import annotations

from typing import Annotated

import typer

from i2i import Catalog, ConfigError, hookimpl


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `relief`, the metric `relief` and the data set `reliefs`."""
    from .data import Reliefs
    from .task import Relief, ReliefError

    catalog.task("relief", Relief)
    catalog.metric("relief", ReliefError)
    catalog.data("reliefs", Reliefs)


def relief(
    picture: Annotated[str, typer.Argument(help="A line drawing or an image of a surface.")],
    out: Annotated[str, typer.Option("-o", "--out", help="The mesh to write: .ply or .obj.")],
    model: Annotated[str | None, typer.Option("-m", "--model", help="A run's folder or a model.safetensors.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Pixels of the longer side; default: the training size.", min=8)
    ] = None,
) -> None:
    """Write the surface shown by an image as a coloured mesh."""
    from i2i import files, load

    from . import mesh
    from .task import Relief, surface_of

    encode = mesh.encoder(out)
    trained = load(model)
    if not isinstance(trained.task, Relief):
        kind = type(trained.task).__name__
        raise ConfigError(f"{trained.source} is a {kind} without depth: train one with i2i run configs/relief.yaml")
    found = mesh.from_surface(*surface_of(trained, picture, size or trained.config.get("data", {}).get("size")))
    files.write(out, encode(found))
    print(f"{out}: {len(found.vertices)} vertices, {len(found.faces)} triangles")
