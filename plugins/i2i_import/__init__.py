"""`i2i import`: write weights of any origin to one file that describes itself.

i2i import latest_net_G.pth -o horse2zebra.safetensors
i2i import latest_net_G.pth -o facades.safetensors --half task.test_mode=eval
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from i2i import ConfigError, files
from i2i.cli import PluginFile


def import_weights(
    source: Annotated[str, typer.Argument(help="A weights file, a run's folder, or a name of `i2i models`.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides of what was deduced, e.g. task.test_mode=eval.")
    ] = None,
    out: Annotated[str, typer.Option("-o", "--out", help="The .safetensors file to write.")] = "",
    half: Annotated[bool, typer.Option("--half", help="Store 16-bit numbers, half the size.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    plugin: PluginFile = None,
) -> None:
    """Write weights of other projects, or of a run, to one .safetensors file with their config inside."""
    import i2i
    from i2i.images import shown

    if not out:
        raise ConfigError(f"{source}: name the file to write with -o NAME.safetensors")
    target = Path(out)
    if target.suffix != ".safetensors":
        raise ConfigError(
            f"-o {out}: the file is in the format safetensors, name it {target.stem or 'weights'}.safetensors"
        )
    if target.exists() and not force:
        raise ConfigError(f"{shown(target)} already exists: use --force to overwrite it, or -o for another name")
    model = i2i.load(source, plugin, overrides or [])
    files.make_folder(target.parent)
    model.write(target, half=half)
    print(
        f"{shown(target)}: {target.stat().st_size:,} bytes; i2i translate PICTURES -o OUT -m {target}",
        file=sys.stderr,
    )
