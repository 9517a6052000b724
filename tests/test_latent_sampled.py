"""Directions of models that cannot encode: a generator whose attributes are known functions of its codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from linear_gan import linear_gan
from torch import Tensor, nn

import i2i
from i2i import ConfigError, Model, Task, cli, images, latent
from i2i.data.base import Data
from i2i.latent import sampled
from i2i.modalities import Image as ImageModality

LATENT = 6
rng = torch.Generator().manual_seed(3)
TRUTH = nn.functional.normalize(torch.randn(2, LATENT, generator=rng), dim=1)  # the direction of each attribute


def drawn(values: Tensor) -> Tensor:
    """Return images [N, 1, 12, 12] in [-1, 1], with a top and a bottom half as bright as the attributes [N, 2]."""
    halves = values.clamp(0, 1)[:, :, None, None].expand(-1, -1, 6, 12)
    return 2 * torch.cat(halves.split(1, 1), 2) - 1


class Generator(Task):
    """An attribute is 0.5 + 0.15 * (a direction of the code); the second one varies less if `flat`."""

    classes: tuple[str, ...] = ()

    def __init__(self, flat: float = 1.0) -> None:
        super().__init__()
        self.makes = ImageModality(channels=1, size=12)
        self.scale = nn.Parameter(torch.tensor([0.15, 0.15 * flat]))

    def prior(self, n: int) -> Tensor:
        return torch.randn(n, LATENT)

    def decode(self, z: Tensor, label: Any = None) -> Tensor:
        return drawn(0.5 + z @ TRUTH.T * self.scale)


class Halves(Data):
    """Images with attributes; no image shows the third one."""

    attributes: tuple[str, ...] = ("top", "bottom", "luck")

    def __len__(self) -> int:
        return 500

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        values = torch.rand(3, generator=torch.Generator().manual_seed(index))
        return {"image": drawn(values[None, :2])[0], "attributes": values}


class Brighter(Halves):
    """The same images by class: the half that is brighter."""

    attributes = ()
    classes = ("above", "below")

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        sample = super().sample(index, rng)
        top, bottom, _ = sample.pop("attributes").tolist()
        return {**sample, "label": torch.tensor(int(bottom > top))}


def model(folder: Path, task: Task | None = None) -> Model:
    (folder / "model.safetensors").write_bytes(b"weights")
    return Model(task or Generator(), {"data": {"use": "halves"}}, folder / "model.safetensors")


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> type[Data]:
    monkeypatch.setattr(latent.learned, "data_of", lambda model, root=None: Halves())
    monkeypatch.setattr(sampled, "STEPS", 300)
    return Halves


@pytest.fixture
def learned(tmp_path: Path, data: type[Data]) -> latent.Learned:
    return latent.learn(model(tmp_path), n=1000)


def cosine(a: Tensor, b: Tensor) -> float:
    return nn.functional.cosine_similarity(a, b, dim=0).item()


# ---- what is learned


def test_the_direction_of_a_known_linear_attribute_is_found(learned: latent.Learned) -> None:
    assert learned.attributes == ("top", "bottom")
    separate = torch.linalg.pinv(TRUTH).T / 0.15  # changes one attribute by 1 and not the other
    for name, truth in zip(learned.attributes, separate, strict=True):
        assert cosine(learned.along(name), truth) > 0.98
        assert 0.8 < learned.along(name).norm() / truth.norm() < 1.2
        assert learned.agreement[name] > 0.98
    assert (learned.fit > 0.8).all()


def test_a_direction_changes_its_attribute_and_not_the_others(learned: latent.Learned) -> None:
    z = torch.zeros(1, LATENT)
    shown = latent.move(Model(Generator(), {}, Path("run")), z, learned.along("top"), (-0.4, 0.0, 0.4))
    top, bottom = shown[0, :, 0, :6].mean((1, 2)), shown[0, :, 0, 6:].mean((1, 2))
    assert top.tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.06)
    assert bottom.tolist() == pytest.approx([0.5, 0.5, 0.5], abs=0.06)


def test_an_attribute_that_images_do_not_show_has_no_direction(learned: latent.Learned) -> None:
    assert abs(learned.agreement["luck"]) < 0.4
    with pytest.raises(ConfigError, match=r"'luck' cannot be predicted from the images.* must be at least 0.5$"):
        learned.along("luck")
    with pytest.raises(ConfigError, match="unknown attribute 'tip', did you mean top"):
        learned.along("tip")


def test_an_attribute_that_hardly_differs_in_generated_images_has_no_direction(
    tmp_path: Path, data: type[Data]
) -> None:
    learned = latent.learn(model(tmp_path, Generator(flat=0.02)), n=500, keep=False)
    assert learned.attributes == ("top",)
    with pytest.raises(ConfigError, match="generated images hardly differ in 'bottom', so it has no direction"):
        learned.along("bottom")


def test_a_model_without_any_direction_is_refused_in_one_sentence(
    tmp_path: Path, data: type[Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled, "AGREEMENT", 1.1)
    with pytest.raises(ConfigError, match="none of top, bottom, luck has a direction; 'top' cannot be") as wrong:
        latent.learn(model(tmp_path), n=200)
    assert "\n" not in str(wrong.value)
    assert not (tmp_path / "directions.safetensors").exists()


def test_an_attribute_that_is_constant_in_the_data_has_no_direction() -> None:
    found = sampled.correlation(torch.rand(9, 2), torch.stack([torch.ones(9), torch.arange(9.0)], 1))
    assert found[0] == 0
    assert sampled.correlation(torch.arange(5.0)[:, None], -torch.arange(5.0)[:, None]).item() == pytest.approx(-1)


# ---- classes


def test_classes_have_directions_if_the_model_is_not_told_the_class(
    tmp_path: Path, data: type[Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent.learned, "data_of", lambda model, root=None: Brighter())
    learned = latent.learn(model(tmp_path), n=1000)
    assert learned.attributes == ("above", "below")
    assert cosine(learned.along("above"), TRUTH[0] - TRUTH[1]) > 0.95
    assert torch.allclose(learned.along("above"), -learned.along("below"), atol=1e-3)
    told = Generator()
    told.classes = Brighter.classes
    with pytest.raises(ConfigError, match="this model is given the class as a label, so it is not in the codes"):
        latent.learn(model(tmp_path, told), keep=False)


def test_attributes_of_a_class_conditional_model_are_learned_over_all_classes(
    tmp_path: Path, data: type[Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []
    decode = latent.decode
    monkeypatch.setattr(sampled, "decode", lambda model, z, seed: seeds.append(seed) or decode(model, z, seed))
    told = Generator()
    told.classes = ("a", "b")
    assert latent.learn(model(tmp_path, told), n=300, keep=False).attributes == ("top", "bottom")
    assert seeds == [0, 1, 2, 3, 4]  # each batch draws other labels


# ---- the same each time, and kept


def test_the_result_is_the_same_each_time_and_random_numbers_elsewhere_do_not_change(
    tmp_path: Path, learned: latent.Learned
) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    again = latent.learn(model(tmp_path), n=1000, keep=False)
    assert torch.equal(again.vectors, learned.vectors)
    assert again.agreement == learned.agreement
    assert torch.equal(before, torch.random.get_rng_state())


def test_directions_are_kept_with_what_was_refused_until_the_model_changes(
    tmp_path: Path, learned: latent.Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent.learned, "sampled", None)
    again = latent.learn(model(tmp_path), n=1000)
    assert torch.equal(again.vectors, learned.vectors)
    assert (again.agreement, again.refused) == (learned.agreement, learned.refused)
    kept = latent.cached(model(tmp_path), n=1000)
    assert kept is not None
    assert torch.equal(kept.vectors, learned.vectors)
    assert latent.cached(model(tmp_path), n=999) is None

    class Encoder(Generator):  # the same weights, by a task that learns from other codes
        def encode(self, image: Tensor) -> Tensor:
            return image.flatten(1)

    assert latent.cached(model(tmp_path, Encoder()), n=1000) is None
    monkeypatch.setattr(latent.learned, "VERSION", 3)
    assert latent.cached(model(tmp_path), n=1000) is None


def test_the_progress_is_on_stderr(tmp_path: Path, data: type[Data], capsys: pytest.CaptureFixture[str]) -> None:
    latent.learn(model(tmp_path), n=700)
    said = capsys.readouterr()
    assert said.out == ""
    assert "directions: predictor of the attributes: step 300/300  loss" in said.err
    assert "directions: 640 of 700 sampled codes decoded" in said.err
    assert said.err.endswith("directions: learned from 500 training images and 700 sampled codes\n")


# ---- images of other sizes


def test_the_predictor_sees_at_most_64_pixels() -> None:
    assert sampled.seen(torch.rand(2, 3, 100, 200)).shape == (2, 3, 32, 64)
    small = torch.rand(2, 1, 28, 28)
    assert torch.equal(sampled.seen(small), (255 * small).round().byte())


@pytest.mark.parametrize("size", [1, 4, 5, 28, 32, 64])
def test_the_predictor_takes_images_of_any_size(size: int) -> None:
    made = sampled.Predictor(3, size, 5, exclusive=True).eval()
    found = made.predict(torch.zeros(2, 3, size, 2 * size, dtype=torch.uint8))
    assert found.shape == (2, 5)
    assert torch.allclose(found.sum(1), torch.ones(2, dtype=torch.float64), atol=1e-15)


# ---- the command and the server, with a GAN on drawn faces


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linear_gan(tmp_path_factory.mktemp("gan") / "model.safetensors")


def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, gan: Path, arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sampled, "STEPS", 200)
    monkeypatch.setattr(sys, "argv", ["i2i", "latent", *arguments.split(), "-m", str(gan)])
    monkeypatch.chdir(gan.parent)
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


def test_the_command_shows_and_edits_a_gan_from_a_seed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, gan: Path
) -> None:
    code, shown, _ = command(capsys, monkeypatch, gan, "direction -o sheet.png --seed 3")
    assert code == 0
    lines = shown.splitlines()
    assert lines[1].split()[:4] == ["attribute", "length", "fit", "predicted"]
    found = dict(zip(lines[-1].split(": ")[1].split(", "), lines[2:], strict=False))
    assert "sex" in found
    for name, line in found.items():
        assert line.split()[0] == name
        assert float(line.split()[3]) >= sampled.AGREEMENT
    with PIL.Image.open(gan.parent / "sheet.png") as sheet:
        assert sheet.size == (5 * 132 + 4, 16 + len(found) * 132 + 4)

    monkeypatch.setattr(latent.learned, "sampled", None)  # the directions are in the folder now
    code, _, said = command(
        capsys, monkeypatch, gan, "edit -n 3 --seed 3 --attribute sex --amount 2 --steps 2 -o e.png"
    )
    assert (code, said) == (0, "e.png: written\n")
    with PIL.Image.open(gan.parent / "e.png") as sheet:
        assert sheet.size == (3 * 132 + 4, 16 + 3 * 132 + 4)
    assert command(capsys, monkeypatch, gan, "edit --seed 3 --attribute sex --alone -o one.png")[0] == 0
    model = i2i.load(gan)
    code = latent.prior(model, 1, 3) + latent.learn(model).along("sex")
    with PIL.Image.open(gan.parent / "one.png") as one:
        assert np.array_equal(np.array(one), images.to_uint8(2 * latent.decode(model, code) - 1)[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "edit 0.png --attribute sex -o o.png",
            "this model cannot encode images; possible: sample, interpolate, trav",
        ),
        ("direction 0.png -o o.png", "this model cannot encode images"),
        ("edit -n 2 --alone --attribute sex -o o.png", "--alone writes one image to one .png, but 2 were given"),
        ("edit -n 2 -o o.png", "edit needs an attribute"),
        ("edit -c label=3 --attribute sex -o o.png", "label=3: this run was trained without classes"),
    ],
)
def test_what_a_gan_cannot_do_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, gan: Path, arguments: str, said: str
) -> None:
    code, _, error = command(capsys, monkeypatch, gan, arguments)
    assert (code, error.count("\n"), "Traceback" in error) == (2, 1, False), error
    assert said in error


def test_all_rows_of_a_sheet_have_the_label_that_was_drawn(
    tmp_path: Path, data: type[Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    from i2i_latent import commands

    class Told(Generator):
        classes = ("a", "b")

        def decode(self, z: Tensor, label: Any = None) -> Tensor:
            rows = torch.randint(1000, (len(z),)) if label is None else torch.tensor([label] * len(z))
            labels.append(rows.tolist())
            return super().decode(z)

    labels: list[list[int]] = []
    told = model(tmp_path, Told())
    latent.learn(told, n=4000)
    labels.clear()
    commands.direction(told, {}, str(tmp_path / "rows.png"), seed=5)
    assert len(labels) == 10  # two attributes, five amounts
    assert all(row == labels[0] for row in labels)


def test_the_server_offers_directions_of_a_gan_and_uses_those_that_are_in_its_folder(
    tmp_path: Path, learned: latent.Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    abilities = pytest.importorskip("i2i_serve.abilities", reason="needs i2i[serve]")
    from i2i_serve import actions

    made = model(tmp_path)
    assert abilities.space(made)["directions"]
    told = Generator()
    told.classes = ("a", "b")
    assert not abilities.space(model(tmp_path, told))["directions"]  # a picture is not of a code alone
    assert not abilities.space(Model(Generator(), {}, made.source))["directions"]

    monkeypatch.setattr(actions, "EXAMPLES", 300)
    data, _ = actions.directions(made, {}, {})
    assert (data["attributes"], [*data["refused"]]) == (["top", "bottom"], ["luck"])
    assert set(data["agreement"]) == {"top", "bottom", "luck"}
    json.dumps(data)
    monkeypatch.setattr(latent.learned, "sampled", None)
    assert actions.directions(made, {}, {})[0] == data  # not learned again
    monkeypatch.undo()

    again, asked = model(tmp_path), []
    monkeypatch.setattr(latent, "cached", lambda model: asked.append(model) or learned)
    data, _ = actions.directions(again, {}, {})
    assert asked == [again]
    assert data["vectors"] == learned.vectors.tolist()
