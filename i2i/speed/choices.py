"""Which kernel is the fastest for which convolution, measured on this machine and kept in a file.

The file, $I2I_HOME/kernels.json (~/.cache/i2i by default), names the CPU, its instructions and the versions of
PyTorch and i2i. If one of them has changed, or the file is deleted or damaged, everything is measured again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import files
from ..errors import ResourceError
from ..version import __version__

ROUNDS = 5  # measurements of each kernel, of which the shortest counts
HOPELESS = 1.5  # times the shortest so far: a kernel that takes longer is not measured again
GAIN = 0.9  # a kernel must take less than this part of PyTorch's time: anything less is noise
SAVED = 1e-4  # seconds that it must save, which is what calling it from Python costs
EVICTED = 2_000_000  # numbers written before each measurement: between two calls of a layer, others use the caches
TOLERANCE = 1e-4  # of the largest value of the result, for the largest difference from PyTorch's

_one_at_a_time = threading.Lock()


def cache_file() -> Path:
    """Return where choices are kept."""
    return Path(os.environ.get("I2I_HOME") or Path.home() / ".cache" / "i2i") / "kernels.json"


@functools.cache
def machine() -> dict[str, str]:
    """Return what choices depend on: the CPU, its instructions, PyTorch, and i2i's own kernels."""
    name, flags = platform.processor() or platform.machine(), ""
    with suppress(OSError):
        lines = dict(
            line.split(":", 1)
            for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
            if ":" in line
        )
        found = {key.strip(): value.strip() for key, value in lines.items()}
        name = found.get("model name", name)
        flags = hashlib.sha256(found.get("flags", found.get("Features", "")).encode()).hexdigest()[:16]
    limits = {key: value for key, value in os.environ.items() if key in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")}
    return {
        "cpu": name,
        "flags": flags,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "i2i": __version__,
        **limits,
    }


class Choices:
    """The fastest kernel by convolution; measures each that it has not met.

    Args:
        file: where they are kept; None keeps them in this process only.

    Attributes:
        used: by key, those that were asked for.
        memory: what was found out from them, by anything that takes less time to make than a key.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.used: dict[str, str] = {}
        self.memory: dict[Any, Any] = {}

    def best(self, key: str, kernels: Mapping[str, Callable[[], Tensor]]) -> str:
        """Return the name of the fastest kernel for this key.

        Args:
            key: describes the convolution.
            kernels: by name; the first one is PyTorch's own. One that fails or is inaccurate is not chosen.
        """
        with _one_at_a_time:  # branches of a step may ask at the same time
            if self.used.get(key) not in kernels:
                found = self.kept().get(key, "")
                if found not in kernels:
                    found = fastest(kernels)
                    self._write({key: found})
                self.used[key] = found
            return self.used[key]

    def kept(self) -> dict[str, str]:
        """Return those in the file: of this machine, by any process."""
        with suppress(OSError, ValueError, AttributeError):
            kept: Any = json.loads(self.file.read_text()) if self.file is not None else {}
            if kept.get("machine") == machine() and isinstance(kept.get("kernels"), dict):
                return {str(key): str(value) for key, value in kept["kernels"].items()}
        return {}

    def _write(self, found: dict[str, str]) -> None:
        if self.file is None:
            return
        kernels = self.kept() | found  # another process may have measured others meanwhile
        with suppress(ResourceError, OSError):  # without a home folder they are measured in each process
            files.make_folder(self.file.parent)
            files.write(self.file, json.dumps({"machine": machine(), "kernels": kernels}, indent=1).encode())


def fastest(kernels: Mapping[str, Callable[[], Tensor]]) -> str:
    """Measure kernels in turns, and return the name of the fastest; the first one is the reference."""
    (reference, own), *others = kernels.items()
    expected, evicted = own(), torch.zeros(EVICTED)
    times = {reference: [seconds(own, evicted)]}
    for name, kernel in others:
        with suppress(RuntimeError):  # it does not support this convolution, or this CPU
            if close(kernel(), expected):
                times[name] = [seconds(kernel, evicted)]
    for _ in range(ROUNDS - 1):  # in turns, so that a busy moment of the machine does not hit one kernel alone
        hopeless = HOPELESS * min(map(min, times.values()))
        for name in [name for name, taken in times.items() if name == reference or min(taken) < hopeless]:
            times[name].append(seconds(kernels[name], evicted))
    found = min(times, key=lambda name: min(times[name]))
    least = min(times[reference])
    return found if min(times[found]) < min(GAIN * least, least - SAVED) else reference


def close(made: Tensor, expected: Tensor) -> bool:
    """Return whether two results agree to `TOLERANCE`."""
    if made.shape != expected.shape:
        return False
    apart = (made - expected).abs().amax()
    return bool(apart <= TOLERANCE * expected.abs().amax())


def seconds(kernel: Callable[[], Tensor], evicted: Tensor) -> float:
    """Return the time of a kernel, on the clock of this thread if it computes alone; `evicted` is written before."""
    evicted.add_(1)
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    kernel()
    return clock() - start
