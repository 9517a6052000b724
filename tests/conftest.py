"""Shared by all tests: one thread and a clean environment."""

from __future__ import annotations

import os
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of child processes would compile i2i again
sys.dont_write_bytecode = False


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove i2i's variables of the calling shell, and let no result depend on which kernel is the fastest here."""
    for name in ("I2I_MODEL", "I2I_PLUGINS", "I2I_DISABLED_PLUGINS", "I2I_DEBUG", "I2I_DEVICE"):
        monkeypatch.setenv(name, "")  # so that what a test sets, as --device does, is removed after it
        monkeypatch.delenv(name)
    monkeypatch.setenv("I2I_SPEED", "exact")
