"""How messages name a task and a line of its code."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import GeneratorType
from typing import Any


def name_of(task: Any) -> str:
    """Return the name that messages use."""
    return type(task).__name__


def line_of(code: Any) -> str:
    """Return where a function begins, or where a generator is, as "file.py line 3, in step"."""
    while isinstance(getattr(code, "gi_yieldfrom", None), GeneratorType):
        code = code.gi_yieldfrom
    frame = getattr(code, "gi_frame", None)
    if frame is not None:
        return f"{Path(frame.f_code.co_filename).name} line {frame.f_lineno}, in {frame.f_code.co_name}"
    function = inspect.unwrap(getattr(code, "__func__", code))
    if not hasattr(function, "__code__"):
        return f"in {getattr(code, '__name__', type(code).__name__)}"
    found = function.__code__
    return f"{Path(found.co_filename).name} line {found.co_firstlineno}, in {found.co_name}"
