"""Parsing of numeric conditions, given as text on the command line or as any value in Python.

i2i sample 16 -o OUT -m RUN -c temperature=0.8
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError

LARGEST_SEED = 2**63 - 1


def address(name: str) -> tuple[int | None, str]:
    """Split the name of a condition for one of several models: "2.direction" -> (2, "direction").

    Without a number it is for all: "direction" -> (None, "direction").
    """
    number, _, rest = name.partition(".")
    return (int(number), rest) if rest and number.isdecimal() else (None, name)


def number(name: str, value: Any, rule: str, fits: Callable[[float], bool] = math.isfinite) -> float:
    """Return a condition as a number.

    Args:
        name: name of the condition.
        value: the given value.
        rule: the requirement, e.g. "a number above 0"; completes the error message "should be ...".
        fits: whether a number meets the requirement; must be false for NaN.

    Raises:
        ConfigError: the value is not a number or does not meet the requirement.

    Example:
        >>> number("temperature", "0.8", "a number above 0", lambda x: x > 0)
        0.8
    """
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not fits(found):
        raise ConfigError(f"{name}={value}: should be {rule}")
    return found


def seed(value: Any, name: str = "seed") -> int:
    """Return a seed as an integer.

    Raises:
        ConfigError: it is not an integer from 0 to 2^63 - 1.
    """
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        found = -1
    if not 0 <= found <= LARGEST_SEED or (isinstance(value, float) and value != found):
        raise ConfigError(f"{name}={value}: should be a whole number from 0 to 2^63 - 1")
    return found
