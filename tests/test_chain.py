"""Chains: several models as one, equal to the networks one after the other, and refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import i2i
from i2i import Task, api, checkpoint, config
from i2i.errors import ConfigError, DataError, NumericError
from i2i.modalities import Clip, LabelMap
from i2i.modalities import Image as ImageModality
from i2i.model import translate_files
from i2i.model.chain import Chain, parts_of
from i2i.plugins import registry


class Conv(Task):
    """A convolution that needs multiples of 4, after which every input pixel matters to few output pixels."""

    def __init__(self, scale: int = 1, multiple: int = 4, colour: bool = False, channels: int = 3) -> None:
        super().__init__()
        self.takes, self.makes = ImageModality(multiple=multiple), ImageModality(scale=scale, colour=colour)
        self.net = nn.Sequential(nn.Conv2d(3, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))
        self.shapes: list[list[int]] = []

    def translate(self, image: Tensor, gain: float | str = 1.0) -> Tensor:
        self.shapes.append(list(image.shape[-2:]))
        return self.net(image) * float(gain)


class Painted(Task):
    """Label maps -> pictures."""

    takes = LabelMap()

    def translate(self, labels: Tensor, seed: int = 0) -> Tensor:
        return (labels.float() / 4 + torch.tensor([-0.5, 0.0, 0.5])[:, None, None]).clamp(-1, 1)


class Segmented(Task):
    """Pictures -> label maps: dark is 0, light is 1."""

    makes = LabelMap()

    def translate(self, image: Tensor) -> Tensor:
        return (image.mean(1, keepdim=True) > 0).long()


class Dreamt(Task):
    """Makes pictures of nothing, all of one level."""

    def sample(self, n: int, level: float | str = 0.0) -> Tensor:
        return torch.full((n, 3, 6, 5), float(level)) + torch.rand(n, 1, 1, 1) / 100


class Filmed(Task):
    """Pictures -> clips of them."""

    makes = Clip()

    def translate(self, image: Tensor) -> Tensor:
        return image[:, None].expand(-1, 3, -1, -1, -1)


class Cut(Task):
    """Clips of two frames -> the second frame."""

    takes = Clip(frames=2)

    def translate(self, clip: Tensor) -> Tensor:
        return clip[:, 1]


def model(task: Task, name: str = "here") -> i2i.Model:
    return i2i.Model(task, {}, Path(name))


def chain(*tasks: Task) -> Chain:
    return Chain([model(task) for task in tasks], [type(task).__name__.lower() for task in tasks])


def picture(width: int = 30, height: int = 22, mode: str = "RGB", seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values, "RGBA").convert(mode)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def by_hand(task: Conv, x: Tensor) -> Tensor:
    """Pad by reflection to multiples, apply, crop: what a part does, written again."""
    height, width = x.shape[-2:]
    multiple = task.takes.multiple  # type: ignore[attr-defined]
    padded = torch.nn.functional.pad(x, (0, -width % multiple, 0, -height % multiple), mode="reflect")
    scale = task.makes.scale  # type: ignore[attr-defined]
    with torch.no_grad():
        return task.net(padded)[..., : height * scale, : width * scale].clamp(-1, 1)


# ---- equal to the networks in a row


def test_a_chain_equals_its_networks_in_a_row_without_rounding_in_between() -> None:
    first, second, third = Conv(2, multiple=4), Conv(1, multiple=8), Conv(3, multiple=5)
    whole = chain(first, second, third)
    x = torch.rand(1, 3, 22, 31)
    out = whole(x)
    assert out.shape == (1, 3, 132, 186)
    assert whole.task.makes == ImageModality(scale=6)
    expected = by_hand(third, by_hand(second, by_hand(first, x * 2 - 1)))
    assert torch.equal(out, (expected + 1) / 2)
    rounded = by_hand(first, x * 2 - 1).add(1).mul(127.5).round().div(127.5).sub(1)
    assert not torch.equal(out, (by_hand(third, by_hand(second, rounded)) + 1) / 2)


def test_each_part_pads_for_itself_and_gets_no_padding_of_the_one_before() -> None:
    first, second = Conv(2, multiple=4), Conv(1, multiple=8)
    chain(first, second)(picture(30, 22))
    assert (first.shapes, second.shapes) == ([[24, 32]], [[48, 64]])  # 44x60 to multiples of 8, not 48x64 of 24x32
    first.shapes.clear()
    second.shapes.clear()
    chain(second, first)(picture(9, 5))
    assert (second.shapes, first.shapes) == ([[8, 16]], [[8, 12]])


def test_the_type_the_alpha_and_the_depth_of_the_input_survive() -> None:
    whole = chain(Conv(2), Conv(2))
    out = whole(picture(mode="RGBA"))
    assert (out.mode, out.size) == ("RGBA", (120, 88))
    alpha = np.asarray(picture(mode="RGBA").getchannel("A").resize((120, 88), Image.Resampling.BILINEAR))
    assert np.abs(np.asarray(out.getchannel("A")).astype(int) - alpha).max() <= 1
    assert whole(np.zeros((7, 9, 3), np.uint16)).dtype == np.uint16
    assert [one.size for one in whole([picture(5, 6), picture(7, 8)])] == [(20, 24), (28, 32)]


def test_grey_stays_grey_until_a_part_adds_colour() -> None:
    first, colour, last = Conv(), Conv(colour=True), Conv(2)
    assert chain(first, last)(picture(mode="L")).mode == "L"
    assert chain(first, colour, last)(picture(mode="L")).mode == "RGB"
    seen: list[Tensor] = []
    colour.net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    last.net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    chain(first, colour, last)(picture(mode="L"))
    assert torch.equal(seen[0][:, :1].expand(-1, 3, -1, -1), seen[0])  # as if the first result had been saved
    assert (seen[1][:, 0] - seen[1][:, 1]).abs().max() > 0.1
    assert chain(Conv(channels=1), last)(picture()).mode == "RGB"


def test_label_maps_and_clips_can_be_in_between() -> None:
    whole = chain(Segmented(), Painted(), Conv(2))
    assert whole(picture()).size == (60, 44)
    assert chain(Segmented(), Painted())(picture(mode="L")).mode == "RGB"
    values = np.asarray(chain(Segmented(), Painted())(Image.new("L", (4, 4), 200)))
    assert values[0, 0].tolist() == [96, 159, 223]  # class 1: -0.25, 0.25 and 0.75
    assert chain(Painted(), Segmented())(np.zeros((3, 3), np.int64)).tolist() == [[0] * 3] * 3
    assert chain(Filmed(), Cut())(picture(4, 4)).size == (4, 4)
    short = Cut()
    short.takes = Clip(frames=9)
    with pytest.raises(DataError, match=r"part 2 of the chain \(cut\): the clip has 3 frames here, .* takes 9"):
        chain(Filmed(), short)(picture())


def test_a_chain_is_tiled_part_by_part() -> None:
    whole = chain(Conv(2), Conv(1))
    image = (torch.rand(3, 70, 91) * 255).to(torch.uint8)
    full, cut = whole(image), whole(image, tile=32)
    assert cut.shape == (3, 140, 182)
    assert (full.int() - cut.int()).abs().max() <= 1
    labels, both = torch.randint(0, 4, (64, 64)).numpy(), chain(Painted(), Conv())
    assert np.abs(both(labels, tile=32).astype(int) - both(labels)).max() <= 1
    with pytest.raises(ConfigError, match=r"part 1 of the chain \(segmented\): images cannot be cut into tiles"):
        chain(Segmented(), Painted())(image, tile=32)


# ---- refused before anything runs


def test_parts_that_do_not_fit_are_refused_and_nothing_runs() -> None:
    first = Conv()
    with pytest.raises(
        ConfigError, match=r"'conv \| painted' is not possible: 'conv' makes images, but 'painted' takes"
    ):
        chain(first, Painted())
    with pytest.raises(ConfigError, match="'segmented' makes label maps, but 'conv' takes images"):
        chain(first, Segmented(), Conv())
    with pytest.raises(ConfigError, match="'dreamt' generates images and translates nothing"):
        chain(first, Dreamt())
    assert first.shapes == []


def test_a_chain_samples_if_its_first_part_does() -> None:
    whole = chain(Dreamt(), Conv(2))
    out = whole.sample(3, seed=1)
    assert out.shape == (3, 3, 12, 10)
    assert torch.equal(out, whole.sample(3, seed=1))
    assert not torch.equal(out, whole.sample(3, seed=2))
    assert not torch.equal(out, whole.sample(3, seed=1, level=0.5))
    with pytest.raises(
        ConfigError, match=r"part 1 of the chain \(conv\): this model does not generate, it translates"
    ):
        chain(Conv(), Conv()).sample(3)
    with pytest.raises(ConfigError, match=r"this model does not translate, it generates"):
        whole(picture())


# ---- conditions


def test_a_condition_goes_to_every_part_that_has_it_or_to_the_numbered_one() -> None:
    first, second = Conv(), Conv()
    whole = chain(first, Segmented(), Painted(), second)
    x = torch.rand(1, 3, 8, 8)

    def expected(one: float, two: float) -> Tensor:
        labels = ((first.net(x * 2 - 1) * one).clamp(-1, 1).mean(1, keepdim=True) > 0).long()
        return ((second.net(Painted().translate(labels)) * two).clamp(-1, 1) + 1) / 2

    with torch.no_grad():
        for given, (one, two) in (
            ({}, (1.0, 1.0)),
            ({"gain": "-1"}, (-1.0, -1.0)),
            ({"1.gain": "-1"}, (-1.0, 1.0)),
            ({"4.gain": "0.5", "gain": "-1"}, (-1.0, 0.5)),
            ({"seed": "3"}, (1.0, 1.0)),
        ):
            assert torch.equal(whole(x, **given), expected(one, two)), given
    assert whole.knows("gain")
    assert whole.knows("4.gain")
    assert not whole.knows("2.gain")
    for wrong in ("gian", "2.gain", "9.gain", "0.gain"):
        with pytest.raises(ConfigError, match=rf"no condition '{wrong}'; possible: 1\.gain, 3\.seed, 4\.gain"):
            whole(x, **{wrong: 1})


def test_a_chain_takes_no_overrides_and_cannot_be_written(tmp_path: Path) -> None:
    whole = chain(Conv(), Conv())
    with pytest.raises(ConfigError, match=r"a chain cannot be written to one file; write its parts: conv, conv"):
        whole.write(tmp_path / "both.safetensors")
    assert not (tmp_path / "both.safetensors").exists()
    with pytest.raises(ConfigError, match=r"task\.x=1: a chain takes no overrides; give one model"):
        i2i.load("a | b", overrides=["task.x=1"])


def test_an_error_names_the_part() -> None:
    with pytest.raises(NumericError, match=r"part 2 of the chain \(conv\): .*not finite: do not use gain=inf"):
        chain(Conv(), Conv())(picture(), **{"2.gain": "inf"})


# ---- loading


def test_what_exists_is_never_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parts_of("a | b|c ") == ["a", "b", "c"]
    assert parts_of(Path("runs/a")) == [Path("runs/a")]
    (tmp_path / "a | b").mkdir()
    (tmp_path / "x|y").touch()
    assert parts_of("a | b") == ["a | b"]
    assert parts_of("x|y | a | b|c") == ["x|y", "a | b", "c"]
    for wrong in ("a |", "|", "a || b", " | a"):
        with pytest.raises(ConfigError, match="a part of this chain is empty"):
            parts_of(wrong)


TINY = """
task:
  use: cyclegan
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 1}
  gan: {use: lsgan}
data: {use: horses_zebras, size: 64, batch_size: 1, samples: 4, validation_samples: 2}
train: {steps: 2}
"""


def saved(folder: Path, seed: int = 0) -> Path:
    """Write a model that was never trained, as the folder of a run has it."""
    chosen = config.parse(TINY, "tiny", (), registry().catalog)
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value for name, value in chosen.task().state_dict().items() if isinstance(value, Tensor)}
    checkpoint.save_model(folder / "model.safetensors", tensors, chosen.text(), {"step": "0"})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("chain") / "run|a")


def test_a_string_loads_a_chain_everywhere(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = f"{run} | {run / 'model.safetensors'}"
    loaded = i2i.load(both)
    assert isinstance(loaded, Chain)
    assert repr(loaded).startswith("<Chain CycleGAN | CycleGAN of /")
    assert i2i.load(run).task.G_ab is not None  # the "|" in the name of the run is no separator
    image = picture()
    out = np.asarray(i2i.translate(image, both, **{"2.direction": "BtoA"}))
    assert np.array_equal(out, np.asarray(loaded(image, **{"2.direction": "BtoA"})))
    one = i2i.load(run)
    twice = one(one(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255), direction="BtoA")
    assert np.abs(twice.permute(1, 2, 0).numpy() * 255 - out).max() <= 0.51
    assert isinstance(api.ready(str(loaded.source)), Chain)  # the source of a chain loads it again
    monkeypatch.setenv("I2I_MODEL", both)
    assert isinstance(i2i.load(), Chain)
    image.save(tmp_path / "a.png")
    said: list[Any] = []
    assert translate_files([str(tmp_path / "a.png")], tmp_path / "out", loaded, say=said.append) == []
    assert Image.open(tmp_path / "out" / "a.png").size == image.size
