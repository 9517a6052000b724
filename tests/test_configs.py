"""Every shipped config trains at toy size, and its header has its paper and command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_config import misspellings

from i2i import api, config
from i2i.catalog import KINDS
from i2i.config.grammar import Grammar, Problems
from i2i.data.stream import Numbered
from i2i.plugins import registry
from i2i.testing import check_task

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
UNTRAINED = ("spandrel", "onnx", "onnx_sampler")  # tasks that only translate, and have no config
TOY: dict[str, Any] = {"width": 4, "blocks": 1, "downs": 4, "size": 64, "load_size": 72, "workers": 0}
TOY |= {"samples": 4}
TOY |= {"validation_samples": 2, "pixel_steps": 1, "halvings": 3, "start_from": "null", "hidden": 8}
TOY |= {"batch_size": 2, "heads": 2, "prior_from": 0, "vq_until": "null", "d_steps": 1}
TOY |= {"fixed": "false"}  # weights of another training would be needed
TOY |= {"attention": 16, "accumulate": 1}


def toy(tree: Any, prefix: str = "") -> list[str]:
    """Return overrides that shrink whatever a config can shrink."""
    found = []
    for key, value in tree.items():
        if key == "augment":
            continue  # the sizes there are of another form
        if isinstance(value, dict):
            found += toy(value, f"{prefix}{key}.")
        elif key in TOY and value is not None:
            both = isinstance(value, int) and isinstance(TOY[key], int)
            found.append(f"{prefix}{key}={min(value, TOY[key]) if both else TOY[key]}")
    return found


def label_maps(folder: Path) -> Path:
    """Create a subfolder with photographs and label maps, and return it."""
    root, classes = folder / "label maps", np.random.default_rng(0).integers(1, 4, (80, 90), dtype=np.uint8)
    kinds = {"images": np.repeat(classes[..., None] * 80, 3, 2), "labels": classes, "instances": classes}
    for part in ("train", "val"):
        for kind, values in kinds.items():
            (root / part / kind).mkdir(parents=True)
            Image.fromarray(values).save(root / part / kind / "a.png")
    legend = [{"index": n, "name": str(n), "colour": [n, n, n]} for n in range(12)]
    (root / "classes.json").write_text(json.dumps({"classes": legend, "ignore_index": 11}))
    return root


def labelled(folder: Path) -> Path:
    """Create a subfolder with one picture of one class, and return it."""
    root = folder / "labelled"
    for part in ("train", "val"):
        (root / part / "cat").mkdir(parents=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(
            root / part / "cat" / "a.png"
        )
    return root


def mnist(folder: Path) -> Path:
    """Put an MNIST of few digits into a folder of `folder`, and return it."""
    root, source = folder / "mnist", np.random.default_rng(0)
    root.mkdir()
    arrays = {f"x_{part}": source.integers(0, 256, (6, 28, 28), dtype=np.uint8) for part in ("train", "test")}
    np.savez(root / "mnist.npz", **arrays, y_train=np.arange(6), y_test=np.arange(6))
    return root


def faces(folder: Path) -> Path:
    """Create a subfolder with two faces and their attributes, and return it."""
    root, source = folder / "faces", np.random.default_rng(0)
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
        for name in "ab":
            Image.fromarray(source.integers(0, 256, (70, 70, 3), dtype=np.uint8)).save(root / part / f"{name}.png")
        (root / f"{part}.csv").write_text("file,age,gender\na.png,20,0\nb.png,60,1\n")
    return root


def clips(folder: Path) -> Path:
    """Put short clips of two classes into a file in `folder`, and return it."""
    values = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 16, 3), dtype=np.uint8)
    np.savez(folder / "clips.npz", clips=values, labels=np.arange(20) % 2)
    return folder / "clips.npz"


def captions(folder: Path) -> Path:
    """Create a subfolder with two pictures and their captions, and return it."""
    root, source = folder / "captions", np.random.default_rng(0)
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
        for name in "ab":
            Image.fromarray(source.integers(0, 256, (70, 70, 3), dtype=np.uint8)).save(root / part / f"{name}.png")
        (root / f"captions_{part}.txt").write_text("a.png#0\ta dog\na.png#1\tone dog runs\nb.png#0\ttwo cats\n")
    return root


def recordings(folder: Path) -> Path:
    """Create a subfolder with recordings of two people, for every scene, and return it."""
    root = folder / "recordings"
    rows = "\n".join(f"{10 * t}\t{p}\t{t * p}\t{p}" for t in range(22) for p in (1, 2))
    for part in ("train", "val", "test"):
        (root / "zara1" / part).mkdir(parents=True)
        (root / "zara1" / part / "a.txt").write_text(rows)
    return root


LAID_OUT = {
    "clips": clips,
    "mnist": mnist,
    "captions": captions,
    "faces_with_attributes": faces,
    "label_maps": label_maps,
    "labelled_folders": labelled,
    "trajectories": recordings,
}


def small(path: Path | str, tmp_path: Path, given: Sequence[str] = ()) -> list[str]:
    """Return overrides that make a config train for two steps in a second, on pictures created in `tmp_path`.

    `given` are overrides that come before; a data set that they name stays, if it exists.
    """
    for part in ("trainA", "trainB", "testA", "testB", "train", "val"):
        (tmp_path / part).mkdir(parents=True)
        values = np.random.default_rng(len(part)).integers(0, 256, (80, 90, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / part / "a.png")
    tree = config.load(path, given, registry().catalog).tree
    changes = [*toy(tree), "train.epochs=null", "train.steps=2", "train.best=null", "metrics=[]"]
    if "root" in tree["data"] and not Path(str(tree["data"]["root"])).exists():
        lay_out = LAID_OUT.get(tree["data"]["use"], lambda folder: folder)
        changes.append(f"data.root={lay_out(tmp_path)}")
    if isinstance(tree["task"].get("classes"), list) and tree["data"]["use"] == "labelled_folders":
        changes.append("task.classes=[cat]")
    if "stride" in tree["data"]:
        changes.append("data.stride=1")  # the toy clips are short
    if tree["data"].get("validation"):
        changes.append(f"data.validation={tmp_path / 'val'}")
    if tree["task"].get("perceptual"):
        changes.append("task.perceptual={use: perceptual, network: random_conv}")  # needs no weights file
    if (tree["task"].get("generator") or {}).get("symmetric"):
        changes.append("task.generator.width=8")
    for part in ("encoder", "discriminator"):
        network = tree["task"].get(part)
        if network and network["use"] in ("matching_encoder", "text_projected_discriminator"):
            changes.append(f"task.{part}.network=random_conv")
    if tree["task"].get("lambda_matching"):
        changes += ["task.lambda_matching=0", "task.lambda_alike=0"]  # they need an encoder that is trained
    return changes


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_trains_at_toy_size(path: Path, tmp_path: Path) -> None:
    run = api.run(path, *small(path, tmp_path), out=tmp_path / "run")
    assert (run / "model.safetensors").exists()
    assert (run / "samples" / "00000002.png").exists()


@pytest.mark.parametrize("name", [name for name in registry().catalog.names("task") if name not in UNTRAINED])
def test_every_task_fulfils_the_contract(name: str, tmp_path: Path) -> None:
    path = next(path for path in CONFIGS if f"\n  use: {name}\n" in path.read_text())
    chosen = config.load(path, small(path, tmp_path), registry().catalog)
    torch.manual_seed(0)
    task, data = chosen.task(), chosen.data()
    batch = Numbered(data, seed=0).read([*range(data.batch_size)])
    assert isinstance(batch, dict)
    check_task(task, batch, steps=12)


@pytest.mark.parametrize("kind", KINDS)
def test_C1_every_misspelt_key_is_named_with_the_correct_one(kind: str) -> None:
    grammar = Grammar(registry().catalog)
    for entry in registry().catalog:
        keys = grammar.keys(entry) if entry.kind == kind else {}
        for key in keys:
            for wrong in {*misspellings(key)} - {*keys}:
                with pytest.raises(Problems) as caught:
                    grammar.arguments(keys, {wrong: None, **dict.fromkeys(other for other in keys if other != key)})
                (found,) = (why for where, why in caught.value.problems if where == (wrong,))
                hints = [f"did you mean `{key}`?", f"possible: {', '.join(keys)}"]  # for a key of one letter
                assert found in [f"unknown key `{wrong}`, {hint}" for hint in hints[: 1 + (len(key) == 1)]], (
                    entry.name
                )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_has_its_paper_and_command(path: Path) -> None:
    head = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    assert "arXiv:" in head
    assert f"i2i run {path.relative_to(ROOT)}" in head


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_config_needs_instructions_that_only_some_processors_have(path: Path) -> None:
    """Speed fast means bf16 where the processor multiplies it; a precision of bf16 is refused elsewhere."""
    assert config.load(path, (), registry().catalog).train.precision in ("auto", "fp32")


def test_the_paper_config_builds_the_published_networks() -> None:
    chosen = config.load(ROOT / "configs" / "paper" / "cyclegan.yaml", [], registry().catalog)
    task = chosen.task()
    assert sum(p.numel() for p in task.G_ab.parameters()) == 11_378_179
    assert sum(p.numel() for p in task.D_a.parameters()) == 2_764_737
