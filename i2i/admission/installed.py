"""Which plugins and commands are installed, and which of them the user wants."""

from __future__ import annotations

import functools
import logging
import os
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points

GROUP, COMMANDS = "i2i", "i2i.commands"
log = logging.getLogger("i2i")


def wanted(name: str) -> bool:
    """Return whether the environment variables allow plugin `name`."""
    allowed = os.environ.get("I2I_PLUGINS", "")
    denied = os.environ.get("I2I_DISABLED_PLUGINS", "").split(",")
    return name not in denied and (not allowed or name in allowed.split(","))


def installed(group: str = GROUP) -> list[EntryPoint]:
    """Return the entry points of a group, sorted by name; packages whose metadata cannot be read are left out."""
    try:
        found = list(entry_points(group=group))
    except Exception:
        found = [point for package in readable() for point in package.entry_points.select(group=group)]
    return sorted(found, key=lambda point: point.name)


@functools.cache
def readable() -> list[Distribution]:
    """Return the installed packages whose metadata can be read; the first of each name, which is what is imported.

    torch and pydantic read the metadata of all packages as well; here they are kept from doing so.
    """
    found: dict[str, Distribution] = {}
    for package in distributions():
        try:
            list(package.entry_points)
            found.setdefault(package.name, package)
        except Exception as error:
            where = getattr(package, "_path", "a package")
            log.warning("i2i: the metadata of an installed package cannot be read (%s): remove %s", error, where)
    os.environ |= {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    return list(found.values())


def origin_of(point: EntryPoint) -> str:
    """Name the distribution and version that an entry point comes from."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
