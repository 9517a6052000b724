"""Every config that ships is built and stepped at toy size, and says at its head what it is and how to run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i import api, config
from i2i.plugins import door

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
TOY = {"width": 4, "blocks": 1, "size": 64, "load_size": 72, "workers": 0, "samples": 4, "validation_samples": 2}


def toy(tree: Any, prefix: str = "") -> list[str]:
    """Return overrides that shrink whatever a config can shrink."""
    found = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += toy(value, f"{prefix}{key}.")
        elif key in TOY and value is not None:
            found.append(f"{prefix}{key}={TOY[key]}")
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_trains_at_toy_size(path: Path, tmp_path: Path) -> None:
    for part in ("trainA", "trainB", "testA", "testB"):
        (tmp_path / part).mkdir()
        values = np.random.default_rng(len(part)).integers(0, 256, (80, 90, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / part / "a.png")
    tree = config.load(path, [], door().catalog).tree
    changes = [*toy(tree), "train.epochs=null", "train.steps=2", "metrics=[]"]
    if "root" in tree["data"]:
        changes.append(f"data.root={tmp_path}")
    run = api.run(path, *changes, out=tmp_path / "run")
    assert (run / "model.safetensors").exists()
    assert (run / "samples" / "00000002.png").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_says_its_paper_and_its_command(path: Path) -> None:
    head = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    assert "arXiv:" in head
    assert f"i2i run {path.relative_to(ROOT)}" in head


def test_the_paper_config_is_the_published_network() -> None:
    chosen = config.load(ROOT / "configs" / "paper" / "cyclegan.yaml", [], door().catalog)
    task = chosen.task()
    assert sum(p.numel() for p in task.G_ab.parameters()) == 11_378_179
    assert sum(p.numel() for p in task.D_a.parameters()) == 2_764_737
