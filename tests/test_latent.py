"""The latent tools: exact results with pixels as codes, and useful ones with principal components of drawn faces."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from i2i_scenes.faces import Faces, person, render
from PIL import Image
from torch import Tensor, nn

import i2i
from i2i import ConfigError, DataError, Model, NumericError, ResourceError, Task, cli, images, latent
from i2i.data.base import Data
from i2i.latent.examples import attributes_of
from i2i.modalities import Image as ImageModality

WHATS = ("sample", "interpolate", "traverse", "reconstruct", "neighbours", "arithmetic", "direction", "edit")


unit = ImageModality().release


class Pixels(Task):
    """A task whose codes are the pixels."""

    def __init__(self, channels: int = 3, size: int | None = 8) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.makes = ImageModality(channels=channels, size=size)
        self.weight = nn.Parameter(torch.ones(()))

    def encode(self, image: Tensor) -> Tensor:
        return image.flatten(1) * self.weight

    def decode(self, z: Tensor) -> Tensor:
        return z.unflatten(1, (self.channels, self.size or 8, self.size or 8))

    def prior(self, n: int) -> Tensor:
        return torch.randn(n, self.channels * (self.size or 8) ** 2)

    def sample(self, n: int) -> Tensor:
        return self.decode(self.prior(n))


class Decoder(Task):
    """A decoder without encoder: the label is the brightness of the image, random if not given."""

    channels, size = 1, 4

    def decode(self, z: Tensor, label: Any = None) -> Tensor:
        drawn = torch.randint(1000, (len(z),)) if label is None else torch.full((len(z),), int(label))
        return (drawn[:, None, None, None] / 500 - 1) + 0 * z.view(-1, 1, 1, 1).expand(-1, 1, 4, 4)

    def prior(self, n: int) -> Tensor:
        return torch.randn(n, 1)

    def sample(self, n: int, label: Any = None) -> Tensor:
        return self.decode(self.prior(n), label)


class Wide(Decoder):
    """The same with codes of length 2."""

    def decode(self, z: Tensor, label: Any = None) -> Tensor:
        return super().decode(z[:, :1], label)


class Components(Pixels):
    """Principal components of drawn faces: a linear autoencoder, fitted in closed form."""

    def __init__(self, data: Data, latent: int = 60) -> None:
        super().__init__(3, 32)
        x = torch.stack([data.sample(i, np.random.default_rng(0))["image"] for i in range(len(data))]).flatten(1)
        self.middle = x.mean(0)
        self.axes = torch.linalg.svd(x - self.middle, full_matrices=False).Vh[:latent]
        self.spread = ((x - self.middle) @ self.axes.T).std(0)

    def encode(self, image: Tensor) -> Tensor:
        return (image.flatten(1) - self.middle) @ self.axes.T / self.spread

    def decode(self, z: Tensor) -> Tensor:
        return (self.middle + (z * self.spread) @ self.axes).unflatten(1, (3, 32, 32))

    def prior(self, n: int) -> Tensor:
        return torch.randn(n, len(self.axes))


def model(task: Task, folder: Path = Path("run"), data: dict[str, Any] | None = None) -> Model:
    return Model(task, {"data": data or {"use": "faces"}}, folder / "model.safetensors")


@pytest.fixture(scope="module")
def faces() -> Faces:
    return Faces(size=32, samples=500, validation_samples=40)


@pytest.fixture(scope="module")
def components(faces: Faces) -> Model:
    return model(Components(faces))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# ---- images and codes


def test_images_of_every_type_can_be_encoded_and_decoded() -> None:
    x = noise(2, 3, 8, 8)
    one = (x[0] * 255).round().byte()
    z = latent.encode(model(Pixels()), [x, Image.fromarray(one.permute(1, 2, 0).numpy())])
    assert z.shape == (3, 192)
    assert not z.requires_grad
    assert not z.is_inference()
    back = latent.decode(model(Pixels()), z)
    assert torch.allclose(back[:2], x, atol=1e-6)
    assert torch.allclose(back[2], one / 255, atol=1e-6)


def test_an_image_is_resized_and_cropped_to_the_task() -> None:
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, 16:32] = (255, 0, 0)  # the central square
    assert latent.prepared(model(Pixels()), wide).shape == (1, 3, 8, 8)
    grey = latent.prepared(model(Pixels(1)), wide)
    assert grey.shape == (1, 1, 8, 8)
    assert torch.allclose((grey[..., 2:6] + 1) / 2, torch.tensor(0.299), atol=1e-3)
    assert latent.prepared(model(Pixels(3)), noise(4, 1, 8, 8)).shape == (4, 3, 8, 8)
    free = Pixels(size=None)
    free.makes = ImageModality(multiple=4)
    assert latent.prepared(model(free), noise(1, 3, 9, 14)).shape == (1, 3, 8, 12)
    with pytest.raises(DataError, match="8x8, 8x12"):
        latent.prepared(model(free), [noise(3, 9, 14), noise(3, 8, 8)])


def test_a_task_without_an_encoder_is_rejected_with_what_is_possible() -> None:
    made = model(Decoder())
    with pytest.raises(ConfigError, match="this model cannot encode images; possible: sample, interpolate"):
        latent.encode(made, noise(1, 1, 4, 4))
    z = latent.prior(made, 4)
    assert latent.interpolate(made, z[:2], z[2:], 3).shape == (2, 3, 1, 4, 4)
    assert latent.traverse(made, z[:1], (0,), 5).shape == (1, 5, 1, 4, 4)
    with pytest.raises(ConfigError, match="it has no latent space"):
        latent.decode(model(Task()), z)


def test_discrete_codes_are_rejected() -> None:
    class Whole(Pixels):
        def encode(self, image: Tensor) -> Tensor:
            return image.flatten(1).long()

    with pytest.raises(ConfigError, match="are discrete"):
        latent.encode(model(Whole()), noise(1, 3, 8, 8))


def test_images_that_are_not_finite_are_rejected() -> None:
    with pytest.raises(NumericError, match="contain NaN or infinity"):
        latent.decode(model(Pixels()), torch.full((1, 192), float("nan")))


def test_random_choices_of_the_task_are_constant_along_a_path() -> None:
    made = model(Decoder())
    z = latent.prior(made, 6)
    shown = latent.interpolate(made, z[:3], z[3:], 5)
    assert torch.equal(shown, shown[:, :1].expand_as(shown))
    assert len(shown[:, 0, 0, 0, 0].unique()) == 3
    given = latent.decode(made, z, label="250")
    assert torch.allclose(given, torch.tensor(0.25))
    with pytest.raises(ConfigError, match="has no condition 'lable' for its codes; possible: label"):
        latent.decode(made, z, lable=3)


def test_the_same_seed_gives_the_same_codes_and_does_not_advance_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    assert torch.equal(latent.prior(model(Pixels()), 3, 5), latent.prior(model(Pixels()), 3, 5))
    assert not torch.equal(latent.prior(model(Pixels()), 3, 5), latent.prior(model(Pixels()), 3, 6))
    assert torch.equal(before, torch.random.get_rng_state())


# ---- paths and planes


def test_a_line_is_evenly_spaced_and_includes_both_ends() -> None:
    a, b = noise(2, 3, 2), noise(2, 3, 2, seed=1)
    line = latent.between(a, b, 5)
    assert line.shape == (2, 5, 3, 2)
    assert torch.allclose(line[:, 0], a)
    assert torch.allclose(line[:, 4], b)
    assert torch.allclose(line.diff(dim=1), ((b - a) / 4)[:, None].expand(-1, 4, -1, -1), atol=1e-6)


def test_an_arc_keeps_its_radius_and_is_evenly_spaced() -> None:
    a, b = (nn.functional.normalize(noise(4, 9, seed=s) - 0.5, dim=1) * 3 for s in (0, 1))
    arc = latent.between(a, b, 7, "spherical")
    assert torch.allclose(arc.norm(dim=2), torch.tensor(3.0), atol=1e-4)
    assert torch.allclose(arc[:, 0], a, atol=1e-5)
    assert torch.allclose(arc[:, -1], b, atol=1e-5)
    angles = nn.functional.cosine_similarity(arc[:, 1:], arc[:, :-1], dim=2)
    assert torch.allclose(angles, angles[:, :1].expand_as(angles), atol=1e-4)


def test_parallel_and_antiparallel_codes_are_joined_by_a_line() -> None:
    a = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    b = torch.tensor([[2.0, 4.0], [-1.0, -2.0], [1.0, 1.0]])
    assert torch.allclose(latent.between(a, b, 5, "spherical")[:2], latent.between(a, b, 5)[:2], atol=1e-3)
    assert latent.between(a, b, 5, "spherical").isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1,), "a path needs at least 2 steps, not 1"), ((3, "round"), "unknown path 'round': use linear or spherical")],
)
def test_an_invalid_path_is_rejected(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        latent.between(noise(1, 2), noise(1, 2), *arguments)


def test_quantiles_match_the_normal_distribution() -> None:
    for n in (1, 2, 7, 20):
        expected = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
        assert latent.quantiles(n).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_plane_changes_only_its_two_dimensions() -> None:
    z = noise(1, 192) * 0.5
    plane = 2 * latent.traverse(model(Pixels()), z, (5, 70), 4).flatten(3).flatten(2) - 1
    values = latent.quantiles(4).clamp(-1, 1)
    assert plane.shape == (4, 4, 192)
    assert torch.allclose(plane[2, :, 5], values, atol=1e-6)  # to the right
    assert torch.allclose(plane[:, 2, 70], values, atol=1e-6)  # downwards
    rest = [i for i in range(192) if i not in (5, 70)]
    assert torch.allclose(plane[..., rest], z[0, rest].expand(4, 4, -1), atol=1e-6)


def test_random_choices_of_the_task_are_constant_over_a_plane() -> None:
    plane = latent.traverse(model(Wide()), torch.zeros(1, 2), (0, 1), 4)
    assert plane.shape == (4, 4, 1, 4, 4)
    assert (plane == plane[0, 0]).all()


@pytest.mark.parametrize(
    ("axes", "n", "message"),
    [
        ((192,), 1, "axis 192 is out of range for Pixels: use 0 to 191"),
        ((1, 1), 1, "axes must be one or two different indices"),
        ((), 1, "axes must be one or two different indices"),
        ((0, 1), 2, "two axes need a single code"),
    ],
)
def test_invalid_axes_are_rejected(axes: tuple[int, ...], n: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        latent.traverse(model(Pixels()), noise(n, 192), axes)


# ---- neighbours


@pytest.mark.parametrize("space", ["latent", "pixel"])
def test_neighbours_match_an_exhaustive_search(components: Model, faces: Faces, space: Any) -> None:
    asked = torch.stack([unit(faces.sample(7, np.random.default_rng())["image"]), noise(3, 32, 32)])
    found = latent.neighbours(components, asked, faces, 4, space)
    train = torch.stack([unit(faces.sample(i, np.random.default_rng())["image"]) for i in range(500)])
    if space == "latent":
        one, all_ = latent.encode(components, asked), latent.encode(components, train)
        distance = (one[:, None] - all_).square().sum(2).sqrt()
    else:
        distance = (asked[:, None] - train).square().mean((2, 3, 4)).sqrt()
    expected = distance.topk(4, largest=False)
    assert torch.equal(found.numbers, expected.indices)
    assert torch.allclose(found.distance, expected.values, atol=2e-3)
    assert found.numbers[0, 0] == 7
    assert found.distance[0, 0] < 1e-3
    assert torch.equal(found.pictures[1, 2], train[found.numbers[1, 2]])


# ---- directions, arithmetic, editing


def test_regression_separates_correlated_attributes() -> None:
    """The true directions are known; the second attribute equals the first in 80 % of the examples."""
    rng = torch.Generator().manual_seed(0)
    truth = torch.randn(2, 3, 4, generator=rng)
    first = (torch.rand(4000, generator=rng) < 0.5).float()
    second = torch.where(torch.rand(4000, generator=rng) < 0.8, first, 1 - first)
    values = torch.stack([first, second], 1)
    z = torch.einsum("nk,kij->nij", values, truth) + 0.1 * torch.randn(4000, 3, 4, generator=rng)
    assert torch.allclose(latent.directions(z, values), truth, atol=0.03)
    means = latent.directions(z, values, "means")
    assert torch.allclose(means[0], truth[0] + 0.6 * truth[1], atol=0.1)


def test_both_methods_return_the_change_that_takes_an_attribute_from_0_to_1() -> None:
    age = torch.linspace(0.2, 0.7, 2000)[:, None]
    z = 3 + age @ torch.tensor([[2.0, -4.0]])
    for method in ("regression", "means"):
        assert torch.allclose(latent.directions(z, age, method), torch.tensor([[2.0, -4.0]]), atol=1e-4)  # type: ignore[arg-type]


def test_one_hot_classes_have_directions() -> None:
    label = torch.arange(300) % 3
    centres = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 6.0]])
    found = latent.directions(centres[label], nn.functional.one_hot(label).float())
    assert torch.allclose(found, centres - centres.mean(0), atol=1e-4)


def test_directions_of_many_classes_are_as_long_as_the_distances_between_them() -> None:
    label = torch.cat([torch.arange(10).repeat(400), torch.tensor([0, 3, 3, 7])])  # slightly unbalanced
    centres = noise(10, 30)
    found = latent.directions(centres[label] + noise(len(label), 30), nn.functional.one_hot(label, 10).float())
    middle = nn.functional.one_hot(label, 10).float().mean(0) @ centres
    truth = centres - middle
    assert (found - found.mean(0) - (truth - truth.mean(0))).norm(dim=1).max() < 0.1 * truth.norm(dim=1).min()
    assert (
        found.mean(0).norm() < 0.05 * truth.norm(dim=1).min()
    )  # no common component, which one-hot classes cannot determine
    with pytest.raises(ConfigError, match=r"a linear combination of the others, .*: do not use `apart`"):
        latent.orthogonal(found)


def test_a_constant_attribute_and_an_unknown_method_are_rejected() -> None:
    with pytest.raises(ConfigError, match="the same in all examples"):
        latent.directions(noise(5, 2), torch.ones(5, 1))
    with pytest.raises(ConfigError, match="unknown method 'svm': use regression or means"):
        latent.directions(noise(5, 2), noise(5, 1), "svm")  # type: ignore[arg-type]


def test_classes_of_label_maps_are_not_attributes_of_images() -> None:
    class Maps(Data):
        classes = object()

    assert attributes_of(Maps()) == ()


def test_orthogonal_vectors_are_orthogonal_to_the_other_directions() -> None:
    vectors = noise(4, 5, 6) - 0.3
    apart = latent.orthogonal(vectors)
    products = apart.flatten(1) @ vectors.flatten(1).T
    assert torch.allclose(products, products.diag().diag(), atol=1e-4)
    assert (products.diag() > 0.01).all()
    assert (apart.flatten(1).norm(dim=1) <= vectors.flatten(1).norm(dim=1)).all()


def smiles(pictures: Tensor) -> Tensor:
    """Brightness of the middle of the mouth, where drawn faces show teeth when they smile."""
    return pictures[..., 21:24, 13:19].amin(-3).mean((-1, -2))


def test_an_edit_adds_and_removes_a_smile(components: Model, faces: Faces) -> None:
    z, values = codes(components, faces)
    vector = latent.directions(z, values)[0]
    straight = [person((1 << 62) + i)._replace(angle=0.5, beard=0.0, smile=0.0) for i in range(12)]
    pictures = [render(face, 32) for face in straight]
    made = latent.edit(components, pictures, vector, (-1.0, 0.0, 1.0, 2.0))
    assert made.shape == (12, 4, 3, 32, 32)
    truth = torch.stack(
        [torch.from_numpy(render(f._replace(smile=1.0), 32) / 255.0).permute(2, 0, 1) for f in straight]
    )
    seen = smiles(made)
    assert (seen.diff(dim=1) >= 0).float().mean() > 0.9  # monotonic in the amount
    gain = smiles(made[:, 2]) - smiles(made[:, 1])
    wanted = smiles(truth.float()) - smiles(unit(latent.prepared(components, pictures)))
    assert gain.mean() > 0.3 * wanted.mean() > 0
    assert torch.allclose(made[:, 1], latent.reconstruct(components, pictures), atol=1e-5)
    with pytest.raises(ConfigError, match="does not fit codes"):
        latent.edit(components, pictures, vector[:3])


def codes(made: Model, faces: Faces) -> tuple[Tensor, Tensor]:
    parts = [(latent.encode(made, unit(x)), values) for _, x, values in latent.batches(made, faces)]
    return torch.cat([z for z, _ in parts]), torch.cat([values for _, values in parts])


def test_arithmetic_uses_averages(components: Model, faces: Faces) -> None:
    a, b, c = (noise(n, 2, 3, seed=n) for n in (4, 5, 6))
    assert torch.allclose(latent.arithmetic(a, b, c)[0], a.mean(0) - b.mean(0) + c.mean(0), atol=1e-6)
    z, values = codes(components, faces)
    smile, man = values[:, 0] == 1, values[:, 3] == 0
    neutral = z[~smile & man]
    made = latent.arithmetic(z[smile & ~man], z[~smile & ~man], neutral)
    vector = latent.directions(z, values)[0]
    moved = (made - neutral.mean(0)).flatten() @ vector / vector.square().sum()
    assert 0.6 < moved < 1.4  # about the length of a smile


# ---- learned and cached directions


class Labelled(Data):
    """A data set where two pixels encode the attributes."""

    attributes = ("light", "warm")
    channels, size = 3, 8

    def __len__(self) -> int:
        return 40

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        values = torch.tensor([float(index % 2), float(index % 4 > 1)])
        image = torch.zeros(3, 8, 8)
        image[0, 0, 0], image[2, 7, 7] = values[0], 0.5 * values[1]
        return {"image": image, "attributes": values}


class Classed(Labelled):
    """A data set with classes in place of attributes."""

    attributes = ()
    classes = ("even", "odd")

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"image": torch.full((3, 8, 8), float(index % 2)), "label": torch.tensor(index % 2)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(latent.learned, "data_of", lambda model, root=None: Labelled())
    return model(Pixels(), tmp_path)


def test_axes_that_do_not_vary_over_the_training_data_are_unused(run: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent.axes, "data_of", lambda model, root=None: Labelled())
    variances = latent.usage(run)
    assert variances.shape == (192,)
    assert variances[0] == 0.25  # half of the pictures have 0 there, and half 1
    assert variances[191] == 0.0625
    assert latent.unused(variances) == [*range(1, 191)]
    assert latent.unused(torch.tensor([0.0, 0.0099, 0.0101])) == [0, 1]


def test_traverse_names_unused_axes_and_takes_the_most_used_one(
    run: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from i2i_latent import commands

    monkeypatch.setattr(latent.axes, "data_of", lambda model, root=None: Labelled())
    taken = []
    monkeypatch.setattr(
        latent, "traverse", lambda model, z, axes, *_, **__: taken.append([*axes]) or torch.zeros(1, 10, 3, 8, 8)
    )
    unused = "190 of 192 axes are unused, so changing them shows nothing: 1 to 190"
    commands.traverse(run, {}, str(tmp_path / "a.png"))
    assert (
        f"i2i: {unused}; traversing axis 0, which varies most over the training images\n" in capsys.readouterr().err
    )
    commands.traverse(run, {}, str(tmp_path / "b.png"), axis=(7,))
    assert f"i2i: {unused}\n" in capsys.readouterr().err

    def moved(model: Model, root: str | None = None) -> Data:
        raise DataError("no such folder")

    monkeypatch.setattr(latent.axes, "data_of", moved)
    commands.traverse(run, {}, str(tmp_path / "c.png"))
    said = "which axes are unused is unknown, because the training data cannot be read: no such folder"
    assert said in capsys.readouterr().err
    assert taken == [[0], [7], [0]]


def test_directions_are_learned_from_the_training_data_of_the_run(run: Model) -> None:
    learned = latent.learn(run)
    assert (learned.attributes, learned.examples) == (("light", "warm"), 40)
    expected = torch.zeros(3, 8, 8)
    expected[0, 0, 0] = 1
    assert torch.allclose(learned.along("light"), expected.flatten(), atol=1e-5)
    assert learned.along("warm")[-1] == pytest.approx(0.5)
    assert torch.allclose(learned.fit, torch.ones(2), atol=1e-5)
    with pytest.raises(ConfigError, match="unknown attribute 'lihgt', did you mean light"):
        learned.along("lihgt")


def test_directions_are_cached_until_the_weights_change(run: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    first = latent.learn(run)
    assert [path.name for path in run.source.parent.iterdir() if "direct" in path.name] == ["directions.safetensors"]

    def rebuilt(model: Model, root: str | None = None) -> Data:
        raise AssertionError("the data set was built again")

    with monkeypatch.context() as patched:
        patched.setattr(latent.learned, "data_of", rebuilt)
        again = latent.learn(run)
        assert torch.equal(first.vectors, again.vectors)
        assert torch.allclose(latent.learn(run, "means").vectors, first.vectors, atol=1e-5)
        assert (again.attributes, again.examples) == (first.attributes, first.examples)
        run.source.write_bytes(b"other weights")
        with pytest.raises(AssertionError, match="again"):
            latent.learn(run)
    (run.source.parent / "directions.safetensors").write_bytes(b"damaged")
    assert torch.equal(latent.learn(run).vectors, first.vectors)


def test_directions_are_learned_even_if_the_folder_is_not_writable(
    run: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(path: Path, data: bytes) -> None:
        raise ResourceError(f"cannot write {path}: read-only")

    monkeypatch.setattr("i2i.files.write", read_only)
    assert latent.learn(run).examples == 40
    assert "the directions were not saved: cannot write" in capsys.readouterr().err


def test_classes_are_attributes_too(run: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent.learned, "data_of", lambda model, root=None: Classed())
    learned = latent.learn(run, keep=False)
    assert learned.attributes == ("even", "odd")
    assert torch.allclose(learned.along("odd"), torch.full((192,), 0.5), atol=1e-5)


def test_the_examples_include_all_classes_even_if_these_alternate(run: Model) -> None:
    data = Classed()
    data.classes = tuple("0123456789")
    data.sample = lambda index, rng: {"image": torch.zeros(3, 8, 8), "label": torch.tensor(index % 10)}  # type: ignore
    chosen = [values for _, _, values in latent.batches(run, data, 20)]  # evenly spaced ones would all be even
    assert torch.cat(chosen).sum(0).count_nonzero() > 7
    again = [values for _, _, values in latent.batches(run, data, 20)]
    assert torch.equal(torch.cat(chosen), torch.cat(again))


def test_data_without_attributes_or_classes_is_rejected(run: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    unlabelled = Labelled()
    unlabelled.attributes = ()
    monkeypatch.setattr(latent.learned, "data_of", lambda model, root=None: unlabelled)
    with pytest.raises(ConfigError, match="has no attributes or classes"):
        latent.learn(run)


def test_a_model_that_does_not_name_its_data_has_no_directions() -> None:
    with pytest.raises(ConfigError, match="its config does not say which data it was trained on") as wrong:
        latent.learn(i2i.load("digits-vae"), keep=False)
    assert "\n" not in str(wrong.value)


# ---- animations


def test_a_gif_contains_all_frames() -> None:
    frames = np.zeros((5, 6, 9, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(5)[:, None, None] * 50
    with Image.open(io.BytesIO(images.gif(frames, fps=10))) as read:
        assert (read.n_frames, read.size, read.info["duration"], read.info["loop"]) == (5, (9, 6), 100, 0)
        read.seek(3)
        assert np.array(read.convert("RGB"))[2, 2].tolist() == [150, 0, 0]


def test_an_mp4_contains_all_frames_at_their_size(tmp_path: Path) -> None:
    import cv2

    frames = np.full((7, 33, 48, 3), (200, 100, 50), np.uint8)
    (tmp_path / "a.mp4").write_bytes(images.mp4(frames))
    read = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert (read.get(cv2.CAP_PROP_FRAME_COUNT), read.get(cv2.CAP_PROP_FPS)) == (7, 12)
    first = read.read()[1]
    assert first.shape == (33, 48, 3)
    assert np.abs(first.mean((0, 1)) - [50, 100, 200]).max() < 12


# ---- the command, on a real run: a VAE trained for two steps


CONFIG = """
task:
  use: vae
  encoder: {use: dense_encoder, widths: [16]}
  decoder: {use: dense_decoder, widths: [16]}
  latent: 6
  channels: 3
  size: 32
  likelihood: {use: gaussian}
data: {use: faces, size: 32, batch_size: 8, samples: 120, validation_samples: 4}
train: {steps: 2, log_every: 1, sample_every: 2}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latent")
    (folder / "toy.yaml").write_text(CONFIG)
    i2i.run(folder / "toy.yaml", out=folder / "run")
    for seed in range(4):
        Image.fromarray(render(person(seed), 48)).save(folder / f"{seed}.png")
    return folder


def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["i2i", "latent", *map(str, arguments)])
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


@pytest.mark.parametrize(
    ("arguments", "columns", "rows"),
    [
        ("sample -n 6", 3, 2),
        ("interpolate 0.png 1.png 2.png 3.png --steps 5", 5, 2),
        ("interpolate -n 3 --path spherical", 8, 3),
        ("traverse --axis 0 --axis 3 --steps 4", 4, 4),
        ("traverse 0.png 1.png --axis 2", 10, 2),
        ("reconstruct 0.png 1.png", 2, 2),
        ("neighbours 0.png -k 3", 4, 1),
        ("neighbours -n 2 -k 2 --space pixel", 3, 2),
        ("arithmetic smile=1,sex=1 smile=0,sex=1 smile=0,sex=0 -n 3", 4, 4),
        ("arithmetic 0.png 1.png age>0.5", 4, 4),
        ("direction", 5, 6),
        ("edit 0.png --attribute smile --amount 2", 3, 1),
        ("edit -n 2 --seed 1 --attribute smile --attribute sex --steps 3", 4, 2),
        ("edit 0.png 1.png --attribute smile --attribute age --amount 2 --amount -1 --steps 3 --apart", 5, 2),
    ],
)
def test_each_command_writes_its_contact_sheet(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trained: Path,
    arguments: str,
    columns: int,
    rows: int,
) -> None:
    code, _, said = command(
        capsys, monkeypatch, trained, *arguments.split(), "-m", "run", "-o", "out/sheet.png", "--force"
    )
    assert (code, said.strip().splitlines()[-1]) == (0, "out/sheet.png: written")
    with Image.open(trained / "out" / "sheet.png") as sheet:
        assert sheet.size == (columns * 132 + 4, 16 + rows * 132 + 4)


def test_without_o_the_file_is_named_after_the_command_and_never_overwritten(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    rest = ("edit", "0.png", "-m", "run", "--attribute", "smile", "--amount")
    assert command(capsys, monkeypatch, trained, *rest, "2")[2].endswith("edit.png: written\n")
    first = (trained / "edit.png").read_bytes()
    code, _, said = command(capsys, monkeypatch, trained, *rest, "-2")
    assert (code, "'edit.png' already exists: use --force" in said) == (2, True)
    assert (trained / "edit.png").read_bytes() == first
    assert command(capsys, monkeypatch, trained, *rest, "-2", "--force")[0] == 0
    assert (trained / "edit.png").read_bytes() != first


def test_an_edit_can_be_written_without_its_original(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    rest = ("edit", "0.png", "-m", "run", "--attribute", "glasses", "-o", "one.png", "--alone")
    assert command(capsys, monkeypatch, trained, *rest)[0] == 0
    made = i2i.load(trained / "run")
    learned = latent.learn(made)
    expected = latent.decode(made, latent.encode(made, trained / "0.png") + learned.along("glasses"))
    with Image.open(trained / "one.png") as one:
        assert np.array_equal(np.array(one), images.to_uint8(2 * expected - 1)[0])


@pytest.mark.parametrize(
    ("arguments", "frames"),
    [("interpolate -n 2 --steps 5", 8), ("edit 0.png --attribute age --steps 4", 8), ("traverse --steps 3", 4)],
)
def test_a_path_can_be_an_animation_that_plays_forwards_and_backwards(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path, arguments: str, frames: int
) -> None:
    assert command(capsys, monkeypatch, trained, *arguments.split(), "-m", "run", "-o", "a.gif", "--force")[0] == 0
    with Image.open(trained / "a.gif") as read:
        wide = 2 if "-n 2" in arguments else 1
        assert read.size == (128 * wide, 128)
        assert read.n_frames <= frames  # identical frames are merged


def test_direction_prints_the_fit_of_each_attribute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    rest = ("-m", "run", "--method", "means", "-o", "rows.png", "--force")
    code, shown, _ = command(capsys, monkeypatch, trained, "direction", *rest)
    assert code == 0
    assert "120 examples, means" in shown
    assert shown.endswith("rows of rows.png: smile, glasses, hair, sex, age, angle\n")
    assert [line.split()[0] for line in shown.splitlines()[2:-1]] == [
        "smile",
        "glasses",
        "hair",
        "sex",
        "age",
        "angle",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("edit 0.png --attribute smil -o o.png", 2, "did you mean smile? Possible: smile, glasses"),
        ("edit 0.png -o o.png", 2, "edit needs an attribute"),
        ("edit 0.png --attribute smile --amount 1 --amount 2 -o o.png", 2, "one amount for each"),
        ("edit 0.png --attribute smile --amount nan -o o.png", 2, "i2i: --amount nan is not finite: give a finite"),
        ("edit 0.png --attribute smile --attribute age --amount 1 --amount -inf -o o.png", 2, "--amount -inf is not"),
        ("edit no.png --attribute smile -o o.png", 3, "no.png"),
        ("edit toy.yaml --attribute smile -o o.png", 3, "toy.yaml"),
        ("edit 0.png --attribute smile -o 1.png", 2, "'1.png' already exists: use --force to overwrite it"),
        ("reconstruct 0.png -c label=3 -o o.png", 2, "has no condition 'label'"),
        ("reconstruct 0.png -c temperature=1 -o o.png", 2, "-c temperature=1 applies to sampling: leave it out"),
        ("traverse 0.png -c temperature=1 -o o.png", 2, "-c temperature=1 applies to sampling"),
        ("neighbours 0.png -c temperature=1 -o o.png", 2, "-c temperature applies to samples: leave it out"),
        ("direction 0.png", 2, "images are only used to write a sheet: use -o to write one"),
        ("direction -c temperature=1", 2, "-c temperature applies to images: use -o to write them"),
        ("edit 0.png 1.png --attribute smile --alone -o o.png", 2, "--alone writes one image"),
        (
            "edit 0.png --attribute smile --attribute smile -o o.tga",
            3,
            "o.tga: i2i latent edit cannot write this suffix; possible: .png",
        ),
        ("edit 0.png -n 2 --attribute smile -o o.png", 2, "-n 2 applies to sampling: leave it out"),
        ("reconstruct -o o.png", 2, "reconstruct needs images: give files"),
        ("reconstruct 0.png -o o.gif", 3, "reconstruct cannot write this suffix"),
        ("sample 0.png -o o.png", 2, "sample does not accept pictures (0.png); possible: out, n, seed"),
        ("sample --space pixel -o o.png", 2, "sample does not accept --space"),
        ("interpolate 0.png -o o.png", 2, "1 image cannot be paired"),
        ("interpolate 0.png 1.png -n 4 -o o.png", 2, "-n 4 applies to sampling: leave it out"),
        ("neighbours 0.png -n 2 -o o.png", 2, "-n 2 applies to sampling: leave it out"),
        ("interpolate --steps 1 -o o.png", 2, "a path needs at least 2 steps"),
        ("traverse --axis 6 -o o.png", 2, "use 0 to 5"),
        ("traverse --axis 0 --axis 1 -o o.gif", 2, "two axes make a plane, which cannot be animated"),
        ("arithmetic 0.png 1.png -o o.png", 2, "give three groups, not 2"),
        ("arithmetic smile=1 smile=0 beard=1 -o o.png", 2, "'beard=1' is not a condition"),
        ("arithmetic smile=1 smile=0 age>1 -o o.png", 2, "no training image matches age>1"),
        ("neighbours 0.png --root elsewhere -o o.png", 2, "has no files: give no root"),
        ("neighbours 0.png -k 65 -o o.png", 2, "Invalid value for '-k': it should be less than or equal to 64"),
        ("sample -c label=3 -o o.png", 2, "has no condition 'label'"),
        ("interpolate -c seed=3 -o o.png", 2, "use --seed"),
        ("jump -o o.png", 2, "jump"),
    ],
)
def test_a_mistake_gives_a_one_sentence_error_and_an_exit_code(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trained: Path,
    arguments: str,
    code: int,
    said: str,
) -> None:
    found, _, error = command(capsys, monkeypatch, trained, *arguments.split(), "-m", "run")
    assert (found, "Traceback" in error) == (code, False), error
    assert said in error
    assert not (trained / "o.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "edit {} --attribute smile",
        "edit {} --attribute smile --alone",
        "reconstruct 1.png {}",
        "interpolate {} 1.png",
        "traverse {}",
        "neighbours {}",
        "arithmetic smile=1 smile=0 {}",
        "direction {}",
    ],
)
@pytest.mark.parametrize(("source", "out"), [("in.png", "in.png"), ("in.png", "../inputs/in.png"), (".", "link.png")])
def test_an_input_image_is_never_overwritten(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trained: Path,
    arguments: str,
    source: str,
    out: str,
) -> None:
    folder = trained / "inputs"
    folder.mkdir(exist_ok=True)
    for name in ("in.png", "1.png"):
        (folder / name).write_bytes((trained / "0.png").read_bytes())
    if not (folder / "link.png").is_symlink():
        (folder / "link.png").symlink_to("in.png")
    rest = [*arguments.format(source).split(), "-m", "../run", "-o", out]
    code, _, said = command(capsys, monkeypatch, folder, *rest)
    assert code == 2, said
    assert said == "i2i: 'in.png' is also an input and would be overwritten: use another -o\n"
    assert (folder / "in.png").read_bytes() == (trained / "0.png").read_bytes()


def test_a_model_without_a_latent_space_gives_a_one_sentence_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    monkeypatch.setattr("i2i_latent.commands.load", lambda source: model(Task(), trained))
    for what in WHATS:
        pictures = {"arithmetic": ["0.png"] * 3, "sample": [], "neighbours": [], "direction": []}.get(
            what, ["0.png", "1.png"]
        )
        more = ["--attribute", "smile"] if what == "edit" else []
        code, _, said = command(capsys, monkeypatch, trained, what, *pictures, *more, "-o", "o.png")
        assert code == 2, what
        assert "this model" in said
        assert (
            "neither translates nor generates" if what == "sample" else "has no latent space: use a model with"
        ) in said, what


def test_the_command_accepts_a_plugin_file(tmp_path: Path) -> None:
    """Importing the command does not import torch."""
    shown = subprocess.run(
        [sys.executable, "-c", "import sys; from i2i.cli import main; main() if 0 else None; import i2i_latent; "
         "assert 'torch' not in sys.modules"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    done = subprocess.run(
        [sys.executable, "-m", "i2i", "latent", "sample", "-o", "o.png", "--plugin", "no.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, "no.py: no such file" in done.stderr) == (7, True)
