"""Checks of what is installed: versions, the build of PyTorch, torchvision, plugins and extras."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from i2i import __version__

from .report import Check, Finding

DRIVER = Path("/proc/driver/nvidia/version")
WHEELS = "https://pytorch.org/get-started/locally"
REQUIREMENT = re.compile(r"""([\w.-]+)\s*\(?([^;()]*)\)?\s*(?:;.*extra\s*==\s*['"]([\w-]+)['"])?""")
LIMIT = re.compile(r"(>=|<=|==|<|>)\s*([\d.]+)")
FOR_DEVELOPERS = ("test", "check")  # extras


class Requirement(NamedTuple):
    """A package that i2i needs: its name, limits such as ">=1.5,<6", and the extra that it belongs to, or ""."""

    name: str
    limits: str
    extra: str

    @property
    def pip(self) -> str:
        """What to give to pip."""
        return f"'{self.name}{self.limits}'"


def requirements() -> list[Requirement]:
    """Return the requirements in the metadata of i2i."""
    found = [REQUIREMENT.match(line) for line in importlib.metadata.requires("i2i") or []]
    return [Requirement(one[1], one[2].strip(), one[3] or "") for one in found if one]


def version_of(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def within(version: str, limits: str) -> bool:
    """Return whether a version fits limits such as ">=1.5,<6"; what is not understood fits.

    Example:
        >>> within("2.13.0+cpu", ">=2.10"), within("5.0.0.93", "<6"), within("2.1", "==2.0")
        (True, True, False)
    """

    def numbers(text: str) -> tuple[int, ...]:
        found = tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])
        return found + (0,) * (3 - len(found))

    own = numbers(version)
    rules = {">=": own.__ge__, "<=": own.__le__, "==": own.__eq__, "<": own.__lt__, ">": own.__gt__}
    return all(rules[sign](numbers(limit)) for sign, limit in LIMIT.findall(limits))


def versions() -> Iterator[Finding]:
    """Look at i2i, Python and the packages that i2i needs."""
    section = "versions"
    yield Finding(section, "i2i", __version__)
    yield Finding(section, "python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    for needed in requirements():
        if needed.extra:
            continue
        version = version_of(needed.name)
        if version is None:
            yield Finding(section, needed.name, "is not installed", "problem", f"pip install {needed.pip}")
        elif not within(version, needed.limits):
            value = f"{version}, but i2i needs {needed.limits}"
            yield Finding(section, needed.name, value, "problem", f"pip install -U {needed.pip}")
        else:
            yield Finding(section, needed.name, version)


def pytorch() -> Iterator[Finding]:
    """Look at whether PyTorch starts, and whether its build uses the accelerator of this machine."""
    section = "pytorch"
    try:
        import torch
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        yield Finding(section, "import", f"fails: {told}", "problem", f"install PyTorch again, see {WHEELS}")
        return
    build = (
        f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {hip}" if (hip := torch.version.hip) else "CPU"
    )
    yield Finding(section, "build", f"{torch.__version__} for {build}")
    driver = driver_of()
    if driver and torch.version.cuda is None:
        todo = f"to train on the GPU, install a CUDA build of PyTorch, see {WHEELS}"
        yield Finding(section, "driver", f"{driver}, which a CPU build does not use", "note", todo)
    elif driver:
        with warnings.catch_warnings(record=True) as told_too:
            warnings.simplefilter("always")
            works = torch.cuda.is_available()
        why = " ".join(str(told_too[-1].message).split())[:200] if told_too else "it finds no device"
        todo = f"update the driver, or install a PyTorch that was built for it, see {WHEELS}"
        yield (
            Finding(section, "driver", driver)
            if works
            else Finding(section, "driver", f"{driver}, but PyTorch cannot use it: {why}", "problem", todo)
        )
    yield from torchvision()


def driver_of() -> str | None:
    """Return the NVIDIA driver of this machine in words, or None."""
    if DRIVER.exists():
        found = re.search(r"Kernel Module\D*([\d.]+)", DRIVER.read_text(errors="replace"))
        return f"NVIDIA {found[1]}" if found else "NVIDIA"
    return "NVIDIA" if shutil.which("nvidia-smi") else None


def torchvision() -> Iterator[Finding]:
    """Look at whether torchvision is of the same build as PyTorch, without which its wheel does not import."""
    from i2i.losses import import_torchvision

    section, version = "pytorch", version_of("torchvision")
    if version is None:
        return  # lpips requires it; a missing one is reported there
    try:
        importlib.import_module("torchvision")
    except Exception:
        todo = f"install the torchvision of the same build as PyTorch, see {WHEELS}"
        try:
            import_torchvision()
        except Exception as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            yield Finding(section, "torchvision", f"{version} does not import: {told}", "problem", todo)
        else:
            value = f"{version} is of another build than PyTorch; i2i uses the part of it that works"
            yield Finding(section, "torchvision", value, "note", f"this is enough for i2i; for the rest, {todo}")
    else:
        yield Finding(section, "torchvision", version)


def plugins() -> Iterator[Finding]:
    """Look at plugins and commands, and why any did not load."""
    from i2i.plugins import commands, registry

    section, fine = "plugins", 0
    for kind, found in (("", registry().plugins), ("i2i ", commands())):
        for one in found:
            fine += one.state == "ok"
            if one.state == "disabled":
                todo = "it is in I2I_DISABLED_PLUGINS, or not in I2I_PLUGINS"
                yield Finding(section, f"{kind}{one.name}", "disabled", "note", todo)
            elif one.state != "ok":
                todo = f"update or uninstall {one.origin}, or set I2I_DISABLED_PLUGINS={one.name}"
                yield Finding(section, f"{kind}{one.name}", f"did not load: {one.state}", "problem", todo)
    yield Finding(section, "loaded", f"{fine} plugins and commands; `i2i plugins` lists them")


def extras() -> Iterator[Finding]:
    """Look at the packages of each extra."""
    named: dict[str, list[Requirement]] = {}
    for needed in requirements():
        if needed.extra and needed.extra not in FOR_DEVELOPERS:
            named.setdefault(needed.extra, []).append(needed)
    for extra, needs in named.items():
        lacking = [one for one in needs if not within(version_of(one.name) or "0", one.limits or ">=0.0.1")]
        if lacking:
            names = ", ".join(one.name for one in lacking)
            yield Finding("extras", extra, f"lacks {names}", "note", f"pip install 'i2i[{extra}]'")
        else:
            yield Finding("extras", extra, ", ".join(f"{one.name} {version_of(one.name)}" for one in needs))


SOFTWARE: dict[str, Check] = {"versions": versions, "pytorch": pytorch, "plugins": plugins, "extras": extras}
