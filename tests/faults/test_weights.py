"""Weights and checkpoints: formats of others, networks of equal shapes, older checkpoints, averages."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import i2i
from i2i import WeightsError, api, checkpoint
from i2i.runs import Run

CONFIG = """
task:
  use: vae
  encoder: {use: dense_encoder, widths: [8]}
  decoder: {use: dense_decoder, widths: [8], activation: relu}
  latent: 2
  size: 28
data: {use: digits, size: 28, batch_size: 4, samples: 20, validation_samples: 4}
optimizer: {use: adam, lr: 1.0e-2}
train: {steps: 6, ema: 0.9, log_every: 2, sample_every: 10, checkpoint_every: 3, threads: 1}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("weights")
    (folder / "tiny.yaml").write_text(CONFIG)
    return Run(api.run(folder / "tiny.yaml", out=folder / "run"))


def protobuf(number: int, content: bytes) -> bytes:
    """Return a field of bytes as ONNX and other protocol buffers encode it."""
    return bytes([number << 3 | 2, len(content)]) + content


def foreign(folder: Path) -> Iterator[Path]:
    """Write files of formats that may contain code, or objects."""
    np.savez(folder / "objects.npz", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "model.joblib").write_bytes(pickle.dumps({"w": [1.0]}, protocol=4))
    (folder / "net.onnx").write_bytes(b"\x08\x08" + protobuf(2, b"pytorch") + protobuf(7, protobuf(2, b"graph")))
    with zipfile.ZipFile(folder / "net.pt2", "w") as archive:
        archive.writestr("net/archive_format", "pt2")
        archive.writestr("net/models/model.json", "{}")
    with zipfile.ZipFile(folder / "net.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    yield from sorted(folder.iterdir())


def test_D7_formats_of_others_are_rejected_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list(foreign(tmp_path))
    assert len(files) == 6
    for module, name in (
        (torch.jit, "load"),
        (torch, "load"),
        (np, "load"),
        (pickle, "load"),
        (torch.export, "load"),
    ):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("opened"))
    for file in files:
        with pytest.raises(WeightsError) as caught:
            i2i.load(file)
        assert str(caught.value).startswith(str(file))
        assert "\n" not in str(caught.value)


def test_D9_weights_that_match_only_in_part_are_rejected(trained: Run, tmp_path: Path) -> None:
    tensors, text, about = checkpoint.load_model(trained.weights_file)
    (first, value), *others = tensors.items()
    changed = {
        "missing": dict(others),
        "unexpected": {**tensors, "odd": torch.ones(2)},
        "with another shape or type": {**tensors, first: torch.ones(*value.shape, 1)},
    }
    for problem, weights in changed.items():
        checkpoint.save_model(tmp_path / "w.safetensors", weights, text, about)
        with pytest.raises(WeightsError, match=rf"does not fit VAE: 1 {problem} \("):
            i2i.load(tmp_path / "w.safetensors")


def decoded(source: Path) -> torch.Tensor:
    """Return what a model makes of fixed codes."""
    return i2i.load(source).task.decode(torch.tensor([[1.0, -2.0], [0.5, 3.0]]))


def test_D11_the_config_in_a_weights_file_decides_what_is_computed(trained: Run, tmp_path: Path) -> None:
    tensors, text, about = checkpoint.load_model(trained.weights_file)
    assert "activation: relu}\n  latent" in text
    other = text.replace("activation: relu}\n  latent", "activation: tanh}\n  latent")
    for name, config in (("same", text), ("other", other)):
        checkpoint.save_model(tmp_path / f"{name}.safetensors", tensors, config, about)
    assert torch.equal(decoded(tmp_path / "same.safetensors"), decoded(trained.folder))
    assert not torch.allclose(decoded(tmp_path / "other.safetensors"), decoded(trained.folder), atol=1e-3)
    before = trained.config_file.read_text()
    expected = decoded(trained.folder)
    trained.config_file.write_text(other)  # the file beside the weights has no say in it
    try:
        assert torch.equal(decoded(trained.folder), expected)
    finally:
        trained.config_file.write_text(before)


def test_D11_an_evaluation_says_where_config_and_weights_differ(
    trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = api.evaluate(trained.folder)
    assert "differs" not in capsys.readouterr().err
    before = trained.config_file.read_text()
    trained.config_file.write_text(before.replace("  validation_samples: 4", "  validation_samples: 5"))
    try:
        assert api.evaluate(trained.folder) != numbers
    finally:
        trained.config_file.write_text(before)
    assert "config.yaml differs in data.validation_samples from what model.safetensors" in capsys.readouterr().err


def edited(trained: Run, folder: Path, edit: Any) -> Path:
    """Copy the newest checkpoint of a run, with a changed state, into a run at step 3 that can be resumed."""
    _, state = checkpoint.newest(trained.checkpoints, say=pytest.fail)
    edit(state)
    run = Run(folder)
    checkpoint.save(run.checkpoints, state["engine"]["step"], state, keep=3)
    run.config_file.write_text(trained.config_text())
    return run.folder


def test_D13_a_checkpoint_without_what_later_versions_added_is_read(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def older(state: dict[str, Any]) -> None:
        del state["log"], state["engine"]["skipped"]

    folder = edited(trained, tmp_path / "older", older)
    api.run(trained.config_file, "train.steps=8", out=folder, resume=True)
    said = capsys.readouterr().err
    assert "(step 6)" in said
    assert "has changed since" not in said
    api.run(trained.config_file, "train.steps=8", out=tmp_path / "unbroken")
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "unbroken" / "model.safetensors").read_bytes()


def test_D1_a_log_that_has_changed_is_reported_on_a_resume(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = edited(trained, tmp_path / "run", lambda state: None)
    Run(folder).log_file.write_bytes(trained.log_file.read_bytes())
    api.run(trained.config_file, "train.steps=7", out=folder, resume=True)
    assert "has changed" not in capsys.readouterr().err
    content = Run(folder).log_file.read_bytes()
    Run(folder).log_file.write_bytes(content.replace(b'"step": 2', b'"step": 3', 1))
    api.run(trained.config_file, "train.steps=8", out=folder, resume=True)
    assert f"{Run(folder).log_file} has changed since" in capsys.readouterr().err


def test_D14_the_averaged_weights_are_the_ones_that_are_published(trained: Run) -> None:
    _, state = checkpoint.newest(trained.checkpoints, say=pytest.fail)
    published, *_ = checkpoint.load_model(trained.weights_file)
    compared = 0
    for part, average in state["engine"]["averages"].items():
        for key, value in average.items():
            name = f"{part}.{key.removeprefix('module.')}"
            if name in published and value.is_floating_point():
                compared += 1
                assert torch.equal(published[name], value), name
                assert not torch.equal(published[name], state["engine"]["task"][name]), name
    assert compared >= 8  # the weights and biases of two layers each of the encoder and the decoder
