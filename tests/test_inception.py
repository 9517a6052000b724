"""FID, KID and the Inception score on the official Inception, compared with torch-fidelity's own numbers.

The official file is not shipped, so the network has random weights here: everything but the weights is compared.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import i2i
from i2i.errors import ConfigError, WeightsError
from i2i.losses.torchvision_guard import import_torchvision
from i2i.metrics import inception


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with random weights under the name of the official one, whose hash is not checked."""
    import_torchvision()
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.save({}, tmp_path / inception.INCEPTION.file)
    with monkeypatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = module.FeatureExtractorInceptionV3("random", ["2048"], tmp_path / inception.INCEPTION.file)
    state = network.state_dict()
    for name in state:
        if name.endswith("running_var"):
            state[name].fill_(0.12)  # otherwise all images look alike to random weights
    torch.save(state, tmp_path / inception.INCEPTION.file)
    monkeypatch.setattr(inception, "INCEPTION", inception.INCEPTION._replace(sha256=""))
    inception.network.cache_clear()
    return tmp_path


def folder(path: Path, seeds: range) -> Path:
    path.mkdir()
    for seed in seeds:
        random = np.random.default_rng(seed)
        colours = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        size = (40, 40) if seed % 2 else (64, 48)
        Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path / f"{seed:03d}.png")
    return path


def test_scores_equal_those_of_torch_fidelity(weights: Path) -> None:
    import torch_fidelity

    a, b = folder(weights / "a", range(4)), folder(weights / "b", range(4, 8))
    where = f"weights_dir: {weights}"
    asked = f"[{{use: kid, extractor: inception, {where}}}, {{use: inception_score, splits: 2, {where}}}]"
    ours = i2i.evaluate(a, str(b), metrics=asked)
    theirs: dict[str, Any] = torch_fidelity.calculate_metrics(
        input1=str(a),
        input2=str(b),
        kid=True,
        kid_subsets=1,
        kid_subset_size=4,
        isc=True,
        isc_splits=2,
        batch_size=1,
        cuda=False,
        cache=False,
        verbose=False,
        feature_extractor_weights_path=str(weights / inception.INCEPTION.file),
    )
    assert ours["kid/inception"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert ours["inception_score/mean"] == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert ours["inception_score/std"] == pytest.approx(theirs["inception_score_std"], rel=1e-4, abs=1e-9)
    assert abs(ours["kid/inception"]) > 1e-6


def test_the_hash_of_the_file_is_checked_and_a_missing_file_names_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("I2I_HOME", "TORCH_HOME", "I2I_DATA"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    for metric in ("fid", "inception_score", "[{use: kid, extractor: inception}]"):
        with pytest.raises(WeightsError, match=r"6726825d\.pth not found .*https://github\.com/toshas"):
            i2i.evaluate(folder(tmp_path / metric, range(2)), str(tmp_path / metric), metrics=metric)
    (tmp_path / inception.INCEPTION.file).write_bytes(b"something else")
    with pytest.raises(WeightsError, match="is not the expected file"):
        inception.FID(str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(WeightsError, match=r"is not the expected file.*; besides, Inception needs .* torch-fidelity"):
        inception.FID(str(tmp_path))


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / inception.INCEPTION.file).write_bytes(b"something else")
    monkeypatch.setattr(inception, "INCEPTION", inception.INCEPTION._replace(sha256=""))
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError, match=r"needs the package torch-fidelity: pip install 'i2i\[metrics\]'"):
        inception.FID(str(tmp_path))
