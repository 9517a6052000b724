"""Plugins for another version of the plugin API."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from i2i import __version__, hookimpl
from i2i.admission import API
from i2i.plugins import Registry


@hookimpl
def register(catalog: Any) -> None:
    """Register a loss."""
    catalog.loss("odd", lambda: None)


def admitted(version: Any) -> Registry:
    """Return a registry that has tried to load a plugin with this `i2i_api`."""
    registry = Registry()
    registry.admit("odd", "odd 1.0", lambda: SimpleNamespace(register=register, i2i_api=version))
    return registry


@pytest.fixture(autouse=True)
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that fails is reported, and does not stop i2i."""
    monkeypatch.delenv("I2I_STRICT", raising=False)


@pytest.mark.parametrize("version", [None, API, f"{API}", f"{API}-{API + 1}", f"0-{API}"])
def test_E6_a_plugin_for_this_api_is_loaded(version: Any) -> None:
    assert admitted(version).plugins[0].state == "ok"


@pytest.mark.parametrize("version", [API + 1, f"{API + 1}", f"{API + 1}-{API + 3}", "0"])
def test_E6_a_plugin_for_another_api_is_rejected_with_both_versions(version: Any) -> None:
    found = admitted(version)
    state = found.plugins[0].state
    assert f"for version {version} of the plugin API" in state
    assert f"i2i {__version__} has version {API}" in state
    assert found.catalog.failed == {"odd": state}
    assert "odd" not in found.catalog.names("loss")


@pytest.mark.parametrize("version", ["", "1.0", ">=1", "one", "1-", [1], -1])
def test_E6_a_version_that_is_not_one_is_rejected_with_an_example(version: Any) -> None:
    assert 'such as "1", or a range such as "1-2"' in admitted(version).plugins[0].state
