"""What this process may use: its processors, and the memory of the machine, of its cgroups and of `ulimit -v`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

from ..errors import counted


def processors() -> float:
    """Return how many processors this process may use, by its affinity and its cgroup."""
    affinity = getattr(os, "sched_getaffinity", None)
    usable = float(len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        usable = min(usable, float(quota) / float(period))
    return usable


def crowded(threads: int, processes: int = 1) -> str:
    """Return what to say if the threads of all processes of a training are more than the processors, else ""."""
    usable = processors()
    if threads * processes <= max(1.0, usable):
        return ""
    share = max(1, int(usable / processes))
    who = f"{processes} processes of {counted(threads, 'thread')} each" if processes > 1 else f"{threads} threads"
    todo = f"train.threads={share}" if share < threads else f"--nproc {max(1, int(usable))}"
    return f"{who} share {usable:g} processors and wait for each other, which takes many times as long: use {todo}"


def free_memory(device: torch.device) -> int | None:
    """Return how many bytes can still be used on a device, or on the host for the CPU; None if it does not say."""
    if device.type != "cpu":
        measure = getattr(getattr(torch, device.type, None), "mem_get_info", None)
        return None if measure is None else int(measure(device)[0])
    found = [*of_machine(), *of_cgroups(), *of_limit()]
    return int(max(0.0, min(found))) if found else None


def of_machine() -> list[float]:
    """Return the memory of the machine that is available, in bytes, if it says."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return [next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable"))]
    return []


def of_cgroups() -> list[float]:
    """Return what each cgroup of this process has left; version 2, or the memory controller of version 1."""
    found = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, kinds, place = line.split(":", 2)
            version = 2 if number == "0" and not kinds else 1 if "memory" in kinds.split(",") else 0
            root = Path("/sys/fs/cgroup", *(["memory"] if version == 1 else []))
            names = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes")
                if version == 1
                else ("memory.max", "memory.current")
            )
            home = root / place.lstrip("/")
            for folder in [home, *home.parents] if version else []:  # in a container, `place` may not exist
                with suppress(OSError, ValueError):
                    limit, used = ((folder / name).read_text().strip() for name in names)
                    found.append(float(limit) - float(used) + reclaimable(folder))
                if folder == root:
                    break
    return [left for left in found if left < 1 << 60]  # without a limit version 1 has a huge number


def reclaimable(folder: Path) -> float:
    """Return the bytes of cached files in a cgroup, which count as used and are given up when needed."""
    with suppress(OSError, ValueError):
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return float(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
    return 0.0


def of_limit() -> list[float]:
    """Return what `ulimit -v` leaves, if there is one."""
    with suppress(ImportError, OSError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return [limit - pages * os.sysconf("SC_PAGE_SIZE")]
    return []
