"""The command line: `i2i run`, `evaluate`, `translate`, `sample`, `catalog`, `plugins` ..., and those of plugins.

A plugin adds a command with an entry point in the group `i2i.commands` (name = module:function, a typed function for
Typer). So `i2i --help` can list it without importing anything that imports torch.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from .errors import ConfigError, I2IError, PluginError, ResourceError
from .files.terminal import give_up, keep_open, tell
from .version import __version__

UsageError: Any = typer.BadParameter.__base__  # of click, which Typer contains from some version on


@contextmanager
def plain_mistakes() -> Iterator[None]:
    """Turn the errors of Typer inside the `with` block into one sentence."""
    try:
        yield
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        why = " ".join(error.format_message().split()).partition(", unable")[0].rstrip(".")
        why = why.replace("Value error, ", "").replace("Input should", "it should")  # words of pydantic
        why = re.sub(r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)$", r"too many arguments: \1", why)
        why = re.sub(r"(?:\. Did you mean (.*)\?| \(Possible options: (.*)\))$", r" (did you mean \1\2?)", why)
        usage = error.ctx.command_path if error.ctx else "i2i"
        raise ConfigError(f"{why}; see `{usage} -h`") from error


class Commands(typer.core.TyperGroup):
    """The built-in commands and those of installed plugins."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of `--help`."""
        return [*super().list_commands(ctx), *(point.name for point in self._points())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a built-in command, or that of a plugin, which is loaded now."""
        own = super().get_command(ctx, cmd_name)
        point = next((point for point in self._points() if point.name == cmd_name), None)
        if own is not None or point is None:
            return own
        added = typer.Typer(add_completion=False)
        try:
            added.command(cmd_name)(point.load())
        except (Exception, SystemExit) as error:
            reason = f"command '{cmd_name}' of {point.value} did not load: {type(error).__name__}: {error}"
            added.command(cmd_name, help=f"(broken) {reason}")(lambda: fail(PluginError(reason)))
        return typer.main.get_command(added)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command."""
        with plain_mistakes():
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; where there is none, name the nearest of all, also those of plugins."""
        known = self.list_commands(ctx)
        if args[0] not in known and args[0][:1] != "-":
            near = difflib.get_close_matches(args[0], known, n=1)
            hint = f", did you mean `{ctx.command_path} {near[0]}`?" if near else f"; see `{ctx.command_path} -h`"
            raise ConfigError(f"there is no command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a value of the wrong type is reported in one sentence, like every other mistake."""
        with plain_mistakes():
            return super().invoke(ctx)

    def _points(self) -> list[Any]:
        from .plugins import COMMANDS, installed, wanted

        return [point for point in installed(COMMANDS) if wanted(point.name)]


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data sets.")
app.add_typer(data_app, name="data")

PluginFile = Annotated[
    list[str] | None, typer.Option("--plugin", help="A Python file that registers your own task, data set, ...")
]
ModelOption = Annotated[
    str | None, typer.Option("-m", "--model", help="A run, a weights file or a name of `i2i models`; or 'a | b'.")
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps or xpu.", callback=lambda x: keep("I2I_DEVICE", x)),
]
SpeedOption = Annotated[
    str | None,
    typer.Option("--speed", help="exact, auto, or fast (bf16 if it suits).", callback=lambda x: keep("I2I_SPEED", x)),
]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides, e.g. train.steps=100.")]
Conditions = Annotated[
    list[str] | None, typer.Option("-c", "--condition", help="KEY=VALUE, e.g. label=3 or direction=BtoA.")
]


def keep(variable: str, value: str | None) -> str | None:
    """Pass an option on through the environment, to child processes too."""
    if value:
        os.environ[variable] = value
    return value


def tell_version(wanted: bool) -> None:
    """Print the version and exit, before a missing command is reported."""
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=tell_version)
    ] = False,
    no_plugin: Annotated[list[str] | None, typer.Option("--no-plugin", help="Never import this plugin.")] = None,
) -> None:
    """i2i: train image-to-image models, and use them."""
    if no_plugin:
        denied = [*filter(None, os.environ.get("I2I_DISABLED_PLUGINS", "").split(",")), *no_plugin]
        os.environ["I2I_DISABLED_PLUGINS"] = ",".join(denied)


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
        list[str] | None, typer.Argument(help="Changes, e.g. 'metrics=[{use: kid}]'; or the folder to compare with.")
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="For two folders, e.g. psnr,ssim,kid.")] = None,
    device: DeviceOption = None,
    plugin: PluginFile = None,
) -> None:
    """Evaluate a trained run again, also with other metrics or data; or compare two folders of pictures."""
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
    size: Annotated[str | None, typer.Option(help="Of the result: 1920x1080, or its longer side.")] = None,
    scale: Annotated[float | None, typer.Option(help="Of the result, e.g. 2.5 times the input.")] = None,
    format: Annotated[str | None, typer.Option(help="png, jpg, jpeg, webp, tif, tiff, bmp, ppm; else kept.")] = None,
    quality: Annotated[int | None, typer.Option(help="1 to 100, for jpg and webp; 95 by default.")] = None,
    strip: Annotated[bool, typer.Option("--strip", help="Leave out EXIF and other metadata.")] = False,
    steady: Annotated[bool, typer.Option("--steady", help="Make the frames of videos flicker less.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Make all results again, whatever is there.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Keep what is there, whichever model made it.")
    ] = False,
    nproc: Annotated[int, typer.Option(help="Processes that share the work.", min=1)] = 1,
    device: DeviceOption = None,
    speed: SpeedOption = None,
    plugin: PluginFile = None,
) -> None:
    """Translate images, videos, or whatever the model takes, keeping their names and sizes.

    The same command continues a job that was stopped, and redoes what another input, model or condition has made.
    """
    from . import api, images, runs
    from . import model as models

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
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    device: DeviceOption = None,
    plugin: PluginFile = None,
) -> None:
    """Generate images, or whatever the model makes; -c label=3 asks a class-conditional model for class 3."""
    from . import api
    from . import model as models

    loaded = api.load(model, plugin)
    print(models.sample_files(n, out, loaded, seed, conditions(condition), force=force), file=sys.stderr)


@app.command()
def plugins(
    check: Annotated[bool, typer.Option("--check", help="Import each in its own process, 30 s at most.")] = False,
) -> None:
    """List installed plugins and commands, with the reason for any that are disabled or broken."""
    from .plugins import COMMANDS, checked_imports, commands, registry

    found, added = (checked_imports(), checked_imports(COMMANDS)) if check else (registry().plugins, commands())
    for plugin in [*found, *(command._replace(name=f"i2i {command.name}") for command in added)]:
        print(f"{plugin.name:16} {plugin.origin:24} {plugin.state}")


@app.command()
def catalog(plugin: PluginFile = None) -> None:
    """List every name that a config may use, by kind."""
    load_plugins(plugin)
    from .plugins import registry

    for entry in registry().catalog:
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


def load_plugins(files: list[str] | None) -> None:
    """Register the files given by --plugin."""
    from .plugins import load_files

    load_files(files)


def conditions(pairs: list[str] | None) -> dict[str, str | list[str]]:
    """Turn KEY=VALUE pairs into keyword arguments; a repeated key makes a list."""
    found: dict[str, list[str]] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"-c {pair}: a condition is KEY=VALUE, such as direction=BtoA")
        found.setdefault(key, []).append(value)
    return {key: values if len(values) > 1 else values[0] for key, values in found.items()}


def fail(error: I2IError) -> NoReturn:
    """Print an error and exit with its code."""
    print(f"i2i: {error}", file=sys.stderr)
    if os.environ.get("I2I_DEBUG") == "1":
        raise error
    raise SystemExit(error.exit_code)


def main() -> None:
    """Run the command line; every error that a user can cause is one sentence and an exit code."""
    formatted = warnings.formatwarning

    def plainly(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        ours = category.__module__.startswith("i2i.")
        return f"i2i: {message}\n" if ours else formatted(message, category, filename, lineno, line)

    warnings.formatwarning = plainly
    keep_open()
    try:
        app(prog_name="i2i")
    except I2IError as error:
        fail(error)
    except MemoryError as error:
        fail(ResourceError(f"out of memory ({error}): use less at a time, e.g. a smaller data.batch_size"))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # nobody reads on, as with `i2i configs | head -1`
        give_up(1)
