"""The command `i2i export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from i2i import ConfigError, files
from i2i.cli import Conditions, PluginFile, conditions

SUFFIXES = (".onnx", ".pt2")


def export(
    model: Annotated[str, typer.Argument(help="A run, a weights file or a name of `i2i models`; or 'a | b'.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes of its task, e.g. task.test_mode=eval.")
    ] = None,
    out: Annotated[str, typer.Option("-o", "--out", help="The .onnx or .pt2 file to write.")] = "",
    half: Annotated[bool, typer.Option("--half", help="Store 16-bit weights, half the size.")] = False,
    condition: Conditions = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    plugin: PluginFile = None,
) -> None:
    """Write a model to one ONNX or torch.export file, after comparing its results with those of i2i."""
    if not out:
        raise ConfigError(f"{model}: name the file to write with -o NAME.onnx, or -o NAME.pt2 for torch.export")
    target = Path(out)
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"-o {out}: the file is named NAME.onnx, or NAME.pt2 for torch.export")

    import i2i
    from i2i.images import shown

    if target.exists() and not force:
        raise ConfigError(f"{shown(target)} already exists: use --force to overwrite it, or -o for another name")
    from .writing import write_onnx, write_program

    files.refuse_unwritable(target.parent)
    loaded = i2i.load(model, plugin, overrides or [], device="cpu", speed="exact")
    write = write_onnx if target.suffix == ".onnx" else write_program
    files.make_folder(target.parent)
    said = write(loaded, target, conditions(condition), half=half)
    print(f"{shown(target)}: {target.stat().st_size:,} bytes; {said}", file=sys.stderr)
