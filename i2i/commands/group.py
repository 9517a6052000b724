"""The built-in commands and those of plugins, as one list; a plugin is imported when its command is called."""

from __future__ import annotations

import difflib
from typing import Any

import typer.core

from ..errors import ConfigError, PluginError
from .errors import fail, plain_usage_errors


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
        from ..admission import command_of

        try:
            return command_of(cmd_name, point.load())
        except (Exception, SystemExit) as error:
            reason = f"command '{cmd_name}' of {point.value} did not load: {type(error).__name__}: {error}"
            return command_of(cmd_name, lambda: fail(PluginError(reason)), help=f"(broken) {reason}")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command."""
        with plain_usage_errors():
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
        with plain_usage_errors():
            return super().invoke(ctx)

    def _points(self) -> list[Any]:
        from ..admission import COMMANDS, installed, wanted

        return [point for point in installed(COMMANDS) if wanted(point.name)]
