"""The plugin i2i_spandrel: networks that only spandrel knows translate as by spandrel itself, and can be saved."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import i2i
from i2i.losses import import_torchvision
from i2i.plugins import registry

import_torchvision()
spandrel = pytest.importorskip("spandrel")

NETWORKS: list[tuple[str, str, dict[str, Any]]] = [
    ("DnCNN", "DnCNN", {"in_nc": 3, "out_nc": 3, "nc": 4, "nb": 17, "act_mode": "R"}),
    ("DnCNN", "DnCNN", {"in_nc": 1, "out_nc": 1, "nc": 4, "nb": 17, "act_mode": "R"}),
    ("SwinIR", "SwinIR", {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "window_size": 8, "upscale": 2,
                          "upsampler": "pixelshuffledirect", "img_size": 16, "mlp_ratio": 2.0}),
    ("SCUNet", "SCUNet", {"config": [1] * 7, "dim": 64}),
    ("NAFNet", "NAFNet", {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}),
    ("SAFMN", "SAFMN", {"dim": 8, "n_blocks": 2, "ffn_scale": 2.0, "upscaling_factor": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "name", "options"), NETWORKS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_network_of_spandrel_translates_equally_and_can_be_saved(
    architecture: str, name: str, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = getattr(importlib.import_module(f"spandrel.architectures.{architecture}"), name)(**options)
    torch.save({"params": network.state_dict()}, tmp_path / "foo.pth")
    theirs = spandrel.ModelLoader().load_from_file(tmp_path / "foo.pth").eval()
    model = i2i.load(tmp_path / "foo.pth")
    assert f"foo.pth: spandrel's {theirs.architecture.name}" in capsys.readouterr().err
    picture = torch.rand(1, 3, 40, 44)
    planes = picture[0, :, None] if theirs.input_channels == 1 else picture
    expected = theirs(planes).reshape(1, 3, 40 * theirs.scale, 44 * theirs.scale)
    made = model.task.translate(picture * 2 - 1)
    torch.testing.assert_close((made + 1) / 2, expected, atol=1e-5, rtol=0)
    assert i2i.translate(np.zeros((20, 24, 3), np.uint8), model).shape == (20 * theirs.scale, 24 * theirs.scale, 3)
    model.write(tmp_path / "foo.safetensors")
    again = i2i.load(tmp_path / "foo.safetensors")
    torch.testing.assert_close(again.task.translate(picture * 2 - 1), made, atol=0, rtol=0)
    with pytest.raises(i2i.ConfigError, match="only translates"):
        model.task.players()


def test_it_is_asked_last_and_networks_of_i2i_are_never_its() -> None:
    names = [name for name, _ in registry().each("adopt_weights", tensors={}, metadata={})]
    assert names[-1] == "spandrel"
    assert len(names) > 4


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architecture": "os", "network": "system", "options": {}}, "has no 'os'"),
        ({"architecture": "DnCNN", "network": "Path", "options": {}}, "no network 'Path'"),
        ({"architecture": "DnCNN", "network": "StateDict", "options": {}}, "no network 'StateDict'"),
        ({"architecture": "DnCNN", "network": "DnCNN", "options": {"x": 1}}, "cannot be built"),
    ],
)
def test_a_config_names_only_networks_of_spandrel(config: dict[str, Any], says: str) -> None:
    with pytest.raises(i2i.ConfigError, match=says):
        registry().catalog.find("task", "spandrel").build(**config)


def test_spandrel_is_imported_only_when_weights_are_not_recognised_otherwise() -> None:
    code = "import sys; from i2i.plugins import registry; registry(); sys.exit('spandrel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
