"""Numeric conditions, given as text on the command line or as any value in Python."""

from __future__ import annotations

import re
from typing import Any

import pytest

from i2i import ConfigError
from i2i.data.conditions import number, seed


@pytest.mark.parametrize("value", [2, "2", 2.0, " 2.0 ", True + 1])
def test_numbers_are_accepted_as_numbers_or_text(value: Any) -> None:
    assert number("n", value, "a number") == 2.0


@pytest.mark.parametrize("value", ["two", None, [1, 2], "nan", "inf", float("nan"), "1e999", 10**400])
def test_a_value_that_is_not_a_number_is_an_error_that_states_the_rule(value: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"weight={value}: should be a number")):
        number("weight", value, "a number")


def test_a_rule_is_enforced_and_stated_in_the_error() -> None:
    assert number("temperature", "inf", "a number above 0", lambda x: x > 0) == float("inf")
    with pytest.raises(ConfigError, match=r"^temperature=0: should be a number above 0$"):
        number("temperature", 0, "a number above 0", lambda x: x > 0)


@pytest.mark.parametrize(("value", "found"), [(0, 0), ("7", 7), (3.0, 3), (2**63 - 1, 2**63 - 1)])
def test_a_seed_is_an_integer(value: Any, found: int) -> None:
    assert seed(value) == found


@pytest.mark.parametrize("value", ["x", None, -1, 2.5, 2**63, "99999999999999999999999", float("inf"), ["1", "2"]])
def test_invalid_seeds_are_rejected(value: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"seed={value}: should be a whole number from 0 to 2^63 - 1")):
        seed(value)
