"""Tiled processing of large images: equal to untiled output, or an error. Cases G1-G3 of the fault catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import i2i
from i2i import Task
from i2i.errors import ConfigError, PluginError
from i2i.images import Output, reach, tiled
from i2i.modalities import Image as ImageModality
from i2i.model import translate_files
from i2i.model.trained import FEW, key_of
from i2i.networks import ResnetGenerator, UnetGenerator


class Shrunk(nn.Module):
    """A network that downsamples, convolves and upsamples: its reach differs from pixel to pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 4, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).tanh()


class Doubled(nn.Module):
    """2x super-resolution with a configurable number of layers, and thus reach."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(3, 3, 3, 1, 1) for _ in range(layers)))
        self.up = nn.Sequential(nn.Conv2d(3, 12, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x + self.body(x))


def local(kind: str) -> tuple[nn.Module, int, int]:
    """Return a network whose output pixels depend on a neighbourhood only, its multiple and its scale."""
    torch.manual_seed(0)
    if kind == "batch":
        network = ResnetGenerator(width=4, blocks=2, norm="batch").eval()
        for weight in network.parameters():  # as active as a trained network
            weight.data.mul_(8 if weight.ndim == 4 else 1)
        return network, 4, 1
    return (Shrunk(), 2, 1) if kind == "shrunk" else (Doubled(3), 1, 2)


@pytest.mark.parametrize("kind", ["shrunk", "doubled", "batch"])
@pytest.mark.parametrize("height", [4, 36, 64, 100])
@pytest.mark.parametrize("width", [36, 132])
def test_G1_tiled_output_equals_untiled_output(kind: str, height: int, width: int) -> None:
    network, multiple, scale = local(kind)
    image = torch.rand(2, 3, max(height, 12), width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    overlap = reach(network, image, multiple)
    assert overlap is not None
    with torch.no_grad():
        difference = (tiled(network, image, 32, overlap, scale, multiple) - network(image)).abs().max()
    assert difference <= 2 / 255


def test_G1_too_little_overlap_changes_the_output() -> None:
    network, multiple, scale = local("batch")
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert (tiled(network, image, 32, 0, scale, multiple) - network(image)).abs().max() > 8 / 255


@pytest.mark.parametrize("layers", [1, 4, 9])
def test_reach_is_the_receptive_field_radius_of_the_convolutions(layers: int) -> None:
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3, 1, 1, bias=False) for _ in range(layers)))
    for conv in network:
        nn.init.dirac_(conv.weight)  # type: ignore[arg-type]
        with torch.no_grad():
            conv.weight += 0.1  # type: ignore[operator]
    assert reach(network, torch.zeros(1, 3, 4, 4)) == layers


@pytest.mark.parametrize("norm", ["instance"])
def test_G2_a_network_that_depends_on_the_whole_image_has_no_reach(norm: str) -> None:
    network = ResnetGenerator(width=4, blocks=1, norm=norm)  # type: ignore[arg-type]
    assert reach(network, torch.zeros(1, 3, 8, 8), multiple=4, largest=256) is None


def test_G2_a_network_that_reduces_the_probe_to_one_pixel_has_no_reach() -> None:
    network = UnetGenerator(width=4, downs=6, norm="instance")
    assert reach(network, torch.zeros(1, 3, 64, 64), multiple=64, largest=128) is None


class Gated(nn.Module):
    """A network that changes a picture only where it is bright for some distance: on noise it changes nothing."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        around = nn.functional.avg_pool2d(x, 17, 1, 8, count_include_pad=False)
        mean = x.mean((1, 2, 3), keepdim=True) if self.whole else around
        return x + ((around - 0.6) * 100).sigmoid() * (mean - x)


def test_G1_a_network_that_changes_nothing_in_noise_is_tiled_with_some_overlap() -> None:
    assert reach(Gated(False), torch.zeros(1, 3, 4, 4)) in (4, 5, 6, 7, 8)


def test_G2_a_network_that_looks_at_the_whole_of_some_pictures_has_no_reach() -> None:
    assert reach(Gated(True), torch.zeros(1, 3, 4, 4), largest=128) is None


class Local(Task):
    """A task of local convolutions, like super-resolution."""

    makes = ImageModality(scale=2)

    def __init__(self) -> None:
        super().__init__()
        self.net = Doubled(3)

    def translate(self, image: Tensor, strength: float = 1.0) -> Tensor:
        if image.shape[-1] > 10 and strength < 0:
            raise RuntimeError("this tile fails")
        return (self.net(image) * abs(strength)).tanh()


def test_G1_a_model_called_with_tiles_gives_the_whole_image() -> None:
    torch.manual_seed(0)
    model = i2i.Model(Local(), {}, Path("here"))
    image = (torch.rand(3, 70, 91) * 255).to(torch.uint8)
    whole, cut = model(image), model(image, tile=32)
    assert cut.shape == (3, 140, 182)
    assert (whole.int() - cut.int()).abs().max() <= 1


class Blurred(Task):
    """Averages squares whose size is a condition, or as large as a picture is bright."""

    conditions: ClassVar = {"style": ImageModality()}

    def translate(self, image: Tensor, radius: int = 0, style: Tensor | None = None) -> Tensor:
        radius = int(radius) if style is None else round(float(style.mean() + 1) * 3)
        wide = nn.functional.pad(image, (radius,) * 4, mode="replicate")
        return nn.functional.avg_pool2d(wide, 2 * radius + 1, 1)


def test_G1_tiles_fit_the_conditions_of_each_call() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    image[:, :24] //= 8
    model = i2i.Model(Blurred(), {}, Path("here"))
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    style = black.copy()
    for given in ({}, {"radius": 6}, {"radius": "5"}, {"style": style}, {"style": white}):
        whole, cut = model(image, **given), model(image, tile=16, **given)
        assert np.abs(whole.astype(int) - cut).max() <= 1, given
    style[:] = 255  # the same array with another content
    assert np.abs(model(image, style=style).astype(int) - model(image, tile=16, style=style)).max() <= 1
    assert len(model._tilers) == 5


def test_what_was_measured_is_known_again_for_equal_conditions_only() -> None:
    half = torch.ones(2, 2, dtype=torch.bfloat16)
    for value in (None, 1, "1", 1.5, True, half, [half, 1], torch.ones(2, 2), torch.ones(4)[::2]):
        assert key_of(value) == key_of(value.clone() if isinstance(value, Tensor) else value)
    for one, other in ((1, True), (1, "1"), (half, half.float()), (half, half + 1), ([1, 2], [2, 1]), ([], None)):
        assert key_of(one) != key_of(other)
    thing = object()
    assert key_of(thing) != key_of(thing)  # it may have changed


def test_only_a_few_measurements_are_kept() -> None:
    model = i2i.Model(Local(), {}, Path("here"))
    for strength in range(FEW + 3):
        model.need({"strength": strength})
    assert len(model._needs) <= FEW


def test_G3_a_failing_tile_fails_the_call_and_nothing_is_saved(tmp_path: Path) -> None:
    model = i2i.Model(Local(), {}, Path("here"))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    wrong = r"Local \(.*\) failed in translate: RuntimeError: this tile fails \(test_tile.py line"
    with pytest.raises(PluginError, match=wrong):
        translate_files([str(tmp_path / "a.png")], tmp_path / "out", model, output=Output(tile=32), strength=-1.0)
    assert not (tmp_path / "out" / "a.png").exists()


def test_G3_no_tile_that_fails_is_replaced_by_something_else() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[..., 60, 60] = 1

    def fails_at_white(piece: Tensor) -> Tensor:
        if piece.amax() == 1:
            raise RuntimeError("this tile fails")
        return piece

    with pytest.raises(RuntimeError, match="this tile fails"):
        tiled(fails_at_white, image, 32, 0)


def test_a_tile_smaller_than_the_multiple_is_rejected() -> None:
    with pytest.raises(ConfigError, match="tiles of 2 pixels are too small"):
        tiled(Shrunk(), torch.zeros(1, 3, 8, 8), 2, 0, multiple=4)
