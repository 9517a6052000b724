"""TensorBoard: `I2I_TENSORBOARD=1 i2i run CONFIG` writes event files into the run's folder `tensorboard/`.

Unless the variable is set, this plugin does nothing, and imports nothing. It needs `pip install 'i2i[tensorboard]'`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from i2i import ResourceError, hookimpl
from i2i.runs import Run

VARIABLE = "I2I_TENSORBOARD"
_writers: dict[Path, tuple[Any, int]] = {}  # and the latest step


@hookimpl
def on_log(run: Path, step: int, scalars: dict[str, float], images: dict[str, Any]) -> None:
    """Write what is logged as events, if `$I2I_TENSORBOARD` asks for it."""
    if os.environ.get(VARIABLE, "0") in ("", "0"):
        return
    writer, last = _writers.pop(run, (None, 0))
    if writer is not None and step < last:  # the run was resumed, or started again, in this process
        writer.close()
        writer = None
    writer = writer or opened(run, step)
    for name, value in scalars.items():
        writer.add_scalar(name, value, step)
    for name, picture in images.items():
        writer.add_image(name, picture, step, dataformats="HWC")
    writer.flush()
    if Run(run).finished:
        writer.close()
    else:
        _writers[run] = writer, step


def opened(run: Path, step: int) -> Any:
    """Return a writer for a run; what was written before for this step and later ones is not shown.

    Raises:
        ResourceError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ResourceError(
            f"{VARIABLE} is set, but TensorBoard cannot be imported ({error}): pip install 'i2i[tensorboard]'"
        ) from error
    return SummaryWriter(str(run / "tensorboard"), purge_step=step)
