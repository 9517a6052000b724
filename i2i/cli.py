"""The command line: `i2i run`, `evaluate`, `translate`, `sample`, `catalog`, `plugins` ..., and those of plugins.

A plugin adds a command with an entry point in the group `i2i.commands` (name = module:function, a typed function for
Typer). So `i2i --help` can list it without importing anything that imports torch.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from .commands import (
    Commands,
    Conditions,
    DeviceOption,
    ModelOption,
    Overrides,
    PluginFile,
    SpeedOption,
    conditions,
    disable,
    fail,
    load_plugins,
    plain_warnings,
    refuse_pipes,
    tell_version,
)
from .errors import ConfigError, I2IError, ResourceError
from .files.terminal import keep_open, tell

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(no_args_is_help=True, help="Inspect data sets.")
app.add_typer(data_app, name="data")


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=tell_version)
    ] = False,
    no_plugin: Annotated[list[str] | None, typer.Option("--no-plugin", help="Never import this plugin.")] = None,
) -> None:
    """i2i: train image-to-image models, and use them."""
    disable(no_plugin)


@app.command()
def run(
    config: Annotated[
        str, typer.Argument(help="A file (.yaml, .yml, or one that exists), or a name from `i2i configs`.")
    ],
    overrides: Overrides = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="The run's folder; runs/<config> by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the existing run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete the existing run and start over.")] = False,
    nproc: Annotated[int, typer.Option(help="Processes that train together on this machine.", min=1)] = 1,
    device: DeviceOption = None,
    plugin: PluginFile = None,
) -> None:
    """Train, evaluate, and write pictures and a report."""
    from . import api, processes
    from .runs import summary

    overrides = [*(overrides or []), *([f"train.device={device}"] if device else [])]
    if nproc > 1 and processes.alone():
        api.planned(config, overrides, out, resume=resume, plugin=plugin)  # report a mistake once
        flags = [*(["-o", out] if out else []), *["--resume"] * resume, *["--force"] * force]
        files = [part for file in plugin or [] for part in ("--plugin", file)]
        raise typer.Exit(processes.launch(["run", config, *overrides, *flags, *files], nproc))
    folder = api.run(config, *overrides, out=out, resume=resume, force=force, plugin=plugin)
    if processes.rank() == 0:
        tell(summary(folder))


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="The folder of a trained run, or of pictures.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Overrides, e.g. 'metrics=[{use: kid}]'; or the folder to compare with."),
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="For two folders, e.g. psnr,ssim,kid.")] = None,
    device: DeviceOption = None,
    plugin: PluginFile = None,
) -> None:
    """Evaluate a trained run again, optionally with other metrics or data; or compare two folders of pictures."""
    from . import api

    numbers = api.evaluate(run, *(overrides or []), metrics=metrics, plugin=plugin)
    width = max(map(len, numbers), default=0)
    for name, value in numbers.items():
        print(f"{name:{width}}  {value:.6g}")


@app.command()
def translate(
    sources: Annotated[list[str], typer.Argument(help="Files, folders and globs.")],
    out: Annotated[str, typer.Option("-o", "--out", help="The folder to write into.")],
    model: ModelOption = None,
    condition: Conditions = None,
    tile: Annotated[str, typer.Option(help="Side of tiles in pixels; auto: tiles if memory is short.")] = "auto",
    size: Annotated[str | None, typer.Option(help="Size of the result: 1920x1080, or the longer side.")] = None,
    scale: Annotated[float | None, typer.Option(help="Scale of the result, e.g. 2.5 times the input.")] = None,
    format: Annotated[
        str | None, typer.Option(help="png, jpg, jpeg, webp, tif, tiff, bmp or ppm; kept by default.")
    ] = None,
    quality: Annotated[int | None, typer.Option(help="1 to 100, for jpg and webp; 95 by default.")] = None,
    strip: Annotated[bool, typer.Option("--strip", help="Leave out EXIF and other metadata.")] = False,
    steady: Annotated[bool, typer.Option("--steady", help="Make the frames of videos flicker less.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Redo all results, and overwrite existing files.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Keep existing files, whichever model made them.")
    ] = False,
    nproc: Annotated[int, typer.Option(help="Processes that share the work.", min=1)] = 1,
    device: DeviceOption = None,
    speed: SpeedOption = None,
    plugin: PluginFile = None,
) -> None:
    """Translate images, videos, or whatever the model takes, keeping their names.

    The same command continues a job that was stopped, and redoes results whose input, model or condition has changed.
    """
    from . import api, images, runs
    from . import model as models

    refuse_pipes(*sources, out)
    output = images.Output(tile, size, scale, format, quality, strip, steady)
    line = runs.Line()
    failed = models.translate_files(
        sources,
        out,
        api.load(model, plugin),
        force=force,
        skip_existing=skip_existing,
        output=output,
        nproc=nproc,
        say=line.say,
        note=line.note,
        **conditions(condition),
    )
    if failed:
        raise typer.Exit(3)


@app.command()
def sample(
    n: Annotated[int, typer.Argument(help="How many.", min=1)],
    out: Annotated[str, typer.Option("-o", "--out", help="The folder to write into.")],
    model: ModelOption = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
    condition: Conditions = None,
    format: Annotated[str | None, typer.Option(help="Such as jpg; for videos gif, mp4 or webp.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    device: DeviceOption = None,
    plugin: PluginFile = None,
) -> None:
    """Generate images, or whatever the model makes; -c label=3 asks a class-conditional model for class 3."""
    from . import api
    from . import model as models

    refuse_pipes(out)
    given = api.load(model, plugin), seed, conditions(condition)
    print(models.sample_files(n, out, *given, format=format, force=force), file=sys.stderr)


@app.command()
def plugins(
    check: Annotated[bool, typer.Option("--check", help="Import each in its own process, 30 s at most.")] = False,
) -> None:
    """List installed plugins and commands, with the reason for any that are disabled or broken."""
    from .admission import COMMANDS, checked_imports, commands
    from .plugins import registry

    found, added = (checked_imports(), checked_imports(COMMANDS)) if check else (registry().plugins, commands())
    for plugin in [*found, *(command._replace(name=f"i2i {command.name}") for command in added)]:
        print(f"{plugin.name:16} {plugin.origin:24} {plugin.state}")


@app.command()
def catalog(
    word: Annotated[str, typer.Argument(help="Only those whose kind or name contains this.")] = "",
    plugin: PluginFile = None,
) -> None:
    """List every name that a config may use, by kind."""
    load_plugins(plugin)
    from .plugins import registry

    found = [entry for entry in registry().catalog if word in entry.kind or word in entry.name]
    if not found:
        raise ConfigError(f"no kind and no name contains '{word}'; `i2i catalog` lists all of them")
    for entry in found:
        first = (entry.build.__doc__ or "").strip().splitlines()
        print(f"{entry.kind:10} {entry.name:22} {entry.owner:12} {first[0] if first else ''} ({entry.path})")


@app.command()
def configs(word: Annotated[str, typer.Argument(help="Describe those whose name contains this.")] = "") -> None:
    """List the configs that come with i2i and its plugins."""
    from .config.shipped import listing

    print(listing(word))


@app.command()
def schema(plugin: PluginFile = None) -> None:
    """Print the JSON schema of configs, for editors."""
    load_plugins(plugin)
    import json

    from .config import schema
    from .plugins import registry

    print(json.dumps(schema(registry().catalog), indent=1))


@data_app.command("check")
def data_check(
    folder: Annotated[str, typer.Argument(help="The folder of a data set.")],
    write_manifest: Annotated[bool, typer.Option(help="Write manifest.sha256 for later checks.")] = False,
    plugin: PluginFile = None,
) -> None:
    """Report what kind of data set a folder looks like, and every problem found."""
    load_plugins(plugin)
    from .data.check import check
    from .plugins import registry

    built = {kind: [one.build for one in registry().catalog if one.kind == kind] for kind in ("modality", "data")}
    report = check(folder, [build() for build in built["modality"]], built["data"], write_manifest)
    print(report.text())
    if not report.ok:
        raise typer.Exit(3)


def main() -> None:
    """Run the command line; every error that a user can cause is one sentence and an exit code."""
    plain_warnings()
    keep_open()
    try:
        app(prog_name="i2i")
    except I2IError as error:
        fail(error)
    except MemoryError as error:
        fail(ResourceError(f"out of memory ({error}): use less at a time, e.g. a smaller data.batch_size"))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # nobody reads on, as with `i2i configs | head -1`
            raise SystemExit(128 + signal.SIGPIPE) from None  # as other programs that SIGPIPE ends
        raise
