"""What `i2i run` prints at the end."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..config import load
from ..plugins import registry
from ..task import Task
from .folder import Run


def summary(folder: Path) -> str:
    """Return where everything is and how to use the model."""
    run = Run(folder)
    found = [
        ("pictures", next(reversed(run.pictures()), None)),
        ("report", run.report_file if run.report_file.exists() else None),
        ("metrics", run.metrics_file if run.finished else None),
    ]
    lines = [f"{folder}: finished", *(f"  {name:8}  {file}" for name, file in found if file)]
    use, quoted = list[str](), shlex.quote(str(folder))
    if can(run, "translate"):
        use = [f"i2i translate FILES -o OUT -m {quoted}", f'i2i.translate("FILE", "{folder}")']
    elif can(run, "sample"):
        use = [f"i2i sample 16 -o OUT -m {quoted}", f'i2i.sample(16, "{folder}")']
    heads = ("use it", "")
    return "\n".join([*lines, *(f"  {head:8}  {line}" for head, line in zip(heads, use, strict=False))])


def can(run: Run, call: str) -> bool:
    """Return whether the task of a run has `call`, "translate" or "sample"."""
    task = load(run.config_file, (), registry().catalog).task.func
    return getattr(task, call, None) is not getattr(Task, call)
