"""Checks of the machine: devices, threads, memory, disks, and the models that can be used."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from i2i import I2IError, files

from .report import Check, Finding

GB = 1e9
SMALL = 1e9  # bytes of free disk space that a run soon fills
PROBE = ".i2i-doctor"  # a file that is written and deleted again


def devices() -> Iterator[Finding]:
    """Look at the device that i2i would use, and at all others."""
    import torch

    from i2i.devices import chosen, described, free_memory

    section, wanted = "devices", os.environ.get("I2I_DEVICE")
    try:
        device = chosen("auto")
        yield Finding(section, "used", described(device) + (f" ($I2I_DEVICE is {wanted})" if wanted else ""))
    except I2IError as error:
        yield Finding(section, "used", str(error), "problem", "unset I2I_DEVICE, or name a device that there is")
    kind = torch.accelerator.current_accelerator(check_available=True)
    for number in range(torch.accelerator.device_count() if kind is not None else 0):
        one = torch.device(kind.type, number)  # type: ignore[union-attr]
        free = free_memory(one)
        yield Finding(section, str(one), described(one) + (f", {free / GB:.1f} GB free" if free is not None else ""))
    free = free_memory(torch.device("cpu"))
    if free is not None:
        low = free < SMALL
        todo = "close other programs, or raise the limit of the container" if low else ""
        yield Finding(section, "memory", f"{free / GB:.1f} GB free", "note" if low else "ok", todo)


def threads() -> Iterator[Finding]:
    """Look at how many threads run, and on how many processors."""
    import torch

    from i2i.devices import processors

    section, usable = "threads", processors()
    count, given = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    source = f"OMP_NUM_THREADS is {given}" if given else "OMP_NUM_THREADS is not set"
    value = f"{count} of PyTorch, {source}; this process may use {usable:g} of {os.cpu_count()} processors"
    if count > max(1.0, usable):
        yield Finding(
            section, "threads", value, "note", f"set OMP_NUM_THREADS={max(1, int(usable))}: more are slower"
        )
    else:
        yield Finding(section, "threads", value)


def disks(runs: str = "runs") -> Iterator[Finding]:
    """Look at whether runs, temporary files and measurements can be written, and how much space is left."""
    home = Path(os.environ.get("I2I_HOME") or Path.home() / ".cache" / "i2i")
    places = {
        "runs": (Path(runs), "start i2i in another folder, or name one with -o"),
        "temporary files": (Path(tempfile.gettempdir()), "set TMPDIR to a folder that can be written"),
        "measured kernels": (home, "set I2I_HOME to a folder that can be written"),
    }
    for name, (folder, todo) in places.items():
        there = next(above for above in (folder.absolute(), *folder.absolute().parents) if above.is_dir())
        probe = there / f"{PROBE}-{os.getpid()}"
        try:
            files.write(probe, b"")
            files.remove(probe)
        except I2IError as error:
            value = f"{folder.absolute()} cannot be written: {error}"
            yield Finding("disks", name, value, "note" if folder == home else "problem", todo)
            continue
        free = files.free_bytes(there)
        value = f"{folder.absolute()}, {free / GB:.1f} GB free"
        if free < SMALL:
            yield Finding("disks", name, value, "problem", f"free some space, or {todo}")
        else:
            yield Finding("disks", name, value)


def models(runs: str = "runs") -> Iterator[Finding]:
    """Look at the model that is used by default, at those of plugins, and at finished runs."""
    from i2i.checkpoint import load_model
    from i2i.plugins import registry
    from i2i.runs import Run, file_of

    section, named = "models", os.environ.get("I2I_MODEL")
    if named:
        for part in (part.strip() for part in named.split("|")):
            path = Path(part) if Path(part).exists() else file_of(part)
            if path is None:
                todo = "set I2I_MODEL to a run, a weights file or a name of `i2i models`, or unset it"
                yield Finding(section, "I2I_MODEL", f"{part}: there is no such model", "problem", todo)
            else:
                yield Finding(section, "I2I_MODEL", f"{part}: {path}")
    for plugin, call in registry().each("list_models"):
        try:
            names = [card.name for card in call()]
        except Exception as error:
            told, todo = " ".join(str(error).split()), f"reinstall what the plugin '{plugin}' comes with"
            yield Finding(section, f"from {plugin}", told, "problem", todo)
        else:
            yield Finding(section, f"from {plugin}", ", ".join(names) or "none")
    if runs != "runs" and not Path(runs).is_dir():
        yield Finding(
            section, "finished runs", f"{runs}: no such folder", "problem", "give the folder with your runs"
        )
        return
    finished = Run.all_finished(runs)
    yield Finding(section, "finished runs", f"{len(finished)} in {Path(runs).absolute()}, at most two folders deep")
    for run in finished:
        try:
            load_model(run.weights_file)
        except I2IError as error:
            todo = "resume the run with --resume, which writes its weights again"
            yield Finding(section, run.folder.name, str(error), "problem", todo)


def machine(runs: str) -> dict[str, Check]:
    """Return the checks by section; `runs` is the folder of the runs."""
    return {"devices": devices, "threads": threads, "disks": partial(disks, runs), "models": partial(models, runs)}
