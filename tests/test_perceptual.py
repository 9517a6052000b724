"""Feature losses: backbones against torchvision's, the loss against its formula, and missing files."""

from __future__ import annotations

import copy
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.catalog import Catalog
from i2i.errors import ConfigError, WeightsError
from i2i.losses import Perceptual, backbones, feature_matching, register
from i2i.losses.backbones import Backbone, backbone, prepared, squeezenet_layers, vgg19_layers
from i2i.losses.perceptual import LAYERS
from i2i.losses.pretrained import Weights, places
from i2i.losses.torchvision_guard import import_torchvision


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def clean_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without any weights files."""
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "i2i"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("I2I_DATA", raising=False)
    return tmp_path


# -------------------------------------------------------------------------------------------------- files


def test_a_file_is_searched_in_four_folders_in_order(clean_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("I2I_DATA", str(clean_home / "data"))
    folders = [clean_home / part for part in ("mine", "i2i/weights", "torch/hub/checkpoints", "data/weights")]
    assert places(str(clean_home / "mine")) == folders
    assert places() == folders[1:]
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    wanted = Weights("net.pth", "a network", "https://example.org/net.pth", digest[:8])
    for folder in reversed(folders):
        folder.mkdir(parents=True)
        (folder / "net.pth").write_bytes(content)
        assert wanted.find(str(clean_home / "mine")) == folder / "net.pth"


def test_the_error_for_a_missing_file_names_its_url_its_sha256_and_the_folders(clean_home: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        backbones.VGG19.find()
    assert str(caught.value) == (
        "vgg19-dcbb9e9d.pth not found (VGG-19 of torchvision, trained on ImageNet; "
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth; sha256 dcbb9e9d...): get it and put it in one of "
        f"{clean_home}/i2i/weights, {clean_home}/torch/hub/checkpoints"
    )


def test_a_file_with_another_sha256_is_rejected(clean_home: Path) -> None:
    (clean_home / "vgg19-dcbb9e9d.pth").write_bytes(b"no network")
    found = hashlib.sha256(b"no network").hexdigest()
    with pytest.raises(WeightsError, match=rf"dcbb9e9d\.pth is not the expected file .* sha256 is {found}; replace"):
        backbones.VGG19.find(str(clean_home))


# ----------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ("layers", "taps"),
    [
        (vgg19_layers, {"relu1_1": 1, "relu2_1": 6, "relu3_1": 11, "relu4_1": 20, "relu5_1": 29, "relu5_4": 35}),
        (squeezenet_layers, {"relu1": 1, "fire3": 4, "fire5": 7, "fire7": 10, "fire8": 11, "fire9": 12}),
    ],
    ids=["vgg19", "squeezenet"],
)
def test_a_backbone_matches_torchvision(layers: Any, taps: dict[str, int]) -> None:
    models = import_torchvision().models
    with torch.device("meta"):
        vgg = layers is vgg19_layers
        theirs = models.vgg.make_layers(models.vgg.cfgs["E"]) if vgg else models.squeezenet1_1().features
        ours = Backbone(layers(), "plain")
    chance = torch.Generator().manual_seed(0)
    state = {name: torch.rand(w.shape, generator=chance) - 0.5 for name, w in theirs.state_dict().items()}
    state = {name: w * (24 / w[0].numel()) ** 0.5 if w.ndim > 1 else w for name, w in state.items()}
    theirs.load_state_dict(state, assign=True)
    ours.features.load_state_dict(state, assign=True)
    x = images(2, 3, 48, 56)
    with torch.no_grad():
        found = ours(x, taps)
        for name, place in taps.items():
            assert torch.allclose(found[name], theirs[: place + 1](x), rtol=1e-4, atol=1e-5), name


def test_features_before_the_activation_are_not_modified() -> None:
    network = Backbone(vgg19_layers(), "plain")
    found = network(images(1, 3, 32, 32), ["conv1_2", "relu1_2"])
    assert (found["conv1_2"] < 0).any()
    assert torch.equal(found["relu1_2"], found["conv1_2"].relu())


def test_layers_after_the_last_wanted_one_do_not_run() -> None:
    network = Backbone({"first": nn.Identity(), "second": nn.ReLU(), "third": nn.Linear(99, 1)}, "plain")
    x = images(1, 3, 4, 4)
    found = network(x, ["second", "first"])
    assert torch.equal(found["first"], x)
    assert torch.equal(found["second"], x.relu())
    with pytest.raises(ConfigError, match="unknown layer fourth: choose from first, second, third"):
        network(x, ["fourth"])


def test_inputs_are_normalised_as_in_training_of_the_networks() -> None:
    orange = torch.tensor([1.0, 0.0, -1.0])[None, :, None, None]
    red, green, blue = prepared(orange, "imagenet").flatten().tolist()
    assert (red, green) == (pytest.approx((1 - 0.485) / 0.229), pytest.approx((0.5 - 0.456) / 0.224))
    assert blue == pytest.approx(-0.406 / 0.225)
    caffe = prepared(orange, "caffe").flatten().tolist()
    assert caffe == pytest.approx([0 - 103.939, 127.5 - 116.779, 255 - 123.68], abs=1e-4)
    assert prepared(orange[:, :1], "plain").shape == (1, 3, 1, 1)


def test_random_weights_are_the_same_everywhere_and_do_not_advance_the_generators() -> None:
    before = torch.get_rng_state()
    backbone.cache_clear()
    network = backbone("random_conv")
    assert torch.equal(torch.get_rng_state(), before)
    weights = {name: value for name, value in network.state_dict().items() if value.ndim > 1}
    # Recorded when they were first drawn: a change would alter the meaning of every score.
    first = weights["features.0.0.weight"].flatten()[:4].tolist()
    assert first == pytest.approx([0.1703319, -0.3143144, -0.6163324, -0.6485993], abs=1e-6)
    assert sum(w.abs().sum().item() for w in weights.values()) == pytest.approx(7897.663, rel=1e-5)
    for w in weights.values():
        assert torch.allclose(w.sum((1, 2, 3)), torch.zeros(len(w)), atol=1e-4)


def test_a_backbone_is_frozen_even_if_first_loaded_in_inference_mode() -> None:
    backbone.cache_clear()
    with torch.inference_mode():
        backbone("random_conv")
    fake = images(1, 3, 16, 16).requires_grad_()
    Perceptual("random_conv")(fake, images(1, 3, 16, 16, seed=1)).backward()
    assert fake.grad is not None
    assert fake.grad.abs().max() > 0
    assert not any(p.requires_grad for p in backbone("random_conv").parameters())


# --------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_the_loss_is_the_weighted_sum_of_distances(distance: Any) -> None:
    fake, real = images(2, 3, 16, 16), images(2, 3, 16, 16, seed=1)
    weights = {"stage1": 0.5, "stage3": 2.0}
    network = backbone("random_conv")
    expected = 0.0
    for name, weight in weights.items():
        apart = network(fake, [name])[name] - network(real, [name])[name]
        expected += weight * (apart.abs() if distance == "l1" else apart**2).mean().item()
    loss = Perceptual("random_conv", weights, distance)
    assert loss(fake, real).item() == pytest.approx(expected, rel=1e-5)
    assert loss(real, real) == 0


def test_the_defaults_are_those_of_spade() -> None:
    loss = Perceptual()
    assert loss.layers == {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1}
    assert (loss.network, loss.distance, loss.inputs) == ("vgg19", "l1", "plain")
    assert Perceptual("squeezenet").inputs == "caffe"


def test_gradients_reach_the_fake_but_not_the_real_image() -> None:
    fake, real = images(1, 3, 16, 16).requires_grad_(), images(1, 3, 16, 16, seed=1).requires_grad_()
    Perceptual("random_conv")(fake, real).backward()
    assert fake.grad is not None
    assert real.grad is None


class Trained(nn.Module):
    """Like a task, it stores the loss as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.perceptual = nn.Conv2d(3, 3, 1), Perceptual("random_conv")


def test_published_weights_do_not_contain_the_backbone() -> None:
    module = Trained()
    module.perceptual(images(1, 3, 8, 8), images(1, 3, 8, 8))
    assert set(module.state_dict()) == {"layer.weight", "layer.bias"}
    assert len(list(module.parameters())) == 2
    assert len(pickle.dumps(module.perceptual)) < 1000
    assert copy.deepcopy(module).perceptual is not module.perceptual


def test_a_missing_file_does_not_prevent_building_a_model_only_training_it(clean_home: Path) -> None:
    backbone.cache_clear()
    loss = Perceptual(weights_dir=str(clean_home / "mine"))
    with pytest.raises(WeightsError, match=rf"vgg19-dcbb9e9d\.pth not found .*put it in one of {clean_home}/mine"):
        loss(images(1, 3, 16, 16), images(1, 3, 16, 16))


def test_an_existing_file_is_loaded_without_its_classifier(clean_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small() -> dict[str, Any]:
        return {"conv1_1": nn.Conv2d(3, 4, 3, padding=1), "relu1_1": nn.ReLU()}

    own = small()["conv1_1"]
    state = {f"features.0.{name}": value.data for name, value in own.named_parameters()}
    torch.save({**state, "classifier.0.weight": torch.zeros(9)}, clean_home / "small.pth")
    digest = hashlib.sha256((clean_home / "small.pth").read_bytes()).hexdigest()
    known = backbones.Known(small, "imagenet", Weights("small.pth", "", "", digest))
    monkeypatch.setitem(backbones.KNOWN, "vgg19", known)
    backbone.cache_clear()
    fake, real = images(1, 3, 8, 8), images(1, 3, 8, 8, seed=1)
    loss = Perceptual(layers={"relu1_1": 1.0}, weights_dir=str(clean_home))
    expected = (own(fake).relu() - own(real).relu()).abs().mean()
    assert loss(fake, real).item() == pytest.approx(expected.item(), rel=1e-5)
    scaled = Perceptual(layers={"relu1_1": 1.0}, inputs="imagenet", weights_dir=str(clean_home))
    assert scaled(fake, real).item() != pytest.approx(expected.item(), rel=1e-2)
    backbone.cache_clear()


@pytest.mark.parametrize("network", ["vgg19", "squeezenet", "resnet20", "random_conv"])
def test_an_unknown_layer_is_rejected_when_the_config_is_read(network: Any) -> None:
    first = next(iter(LAYERS[network]))
    with pytest.raises(ConfigError, match=rf"{network} has no layer relu9_9: choose from .*{first}"):
        Perceptual(network, {"relu9_9": 1.0})
    with pytest.raises(ConfigError, match=f"{network}: no layer is named: choose from"):
        Perceptual(network, {})


def test_feature_matching_sums_over_layers_and_averages_over_scales_without_the_logits() -> None:
    def maps(seed: int) -> list[list[Tensor]]:
        return [[images(1, c, 4, 4, seed=seed + c) for c in widths] for widths in ((2, 3, 1), (5, 1))]

    fakes, reals = maps(0), maps(10)
    for scale in (*fakes, *reals):
        for features in scale:
            features.requires_grad_()
    loss = feature_matching(fakes, reals)
    first = sum((fakes[0][i] - reals[0][i]).abs().mean() for i in (0, 1))
    assert loss.item() == pytest.approx(((first + (fakes[1][0] - reals[1][0]).abs().mean()) / 2).item())
    loss.backward()
    assert all(features.grad is not None for scale in fakes for features in scale[:-1])
    assert all(scale[-1].grad is None for scale in fakes)
    assert all(features.grad is None for scale in reals for features in scale)
    with pytest.raises(ValueError, match="shorter"):
        feature_matching(fakes, reals[:1])


def test_the_loss_is_in_the_catalog() -> None:
    catalog = Catalog()
    register(catalog)
    assert "perceptual" in catalog.names("loss")


# -------------------------------------------------------------------------------------------- torchvision


def imported(tmp_path: Path, package: str, then: str = "") -> str:
    """Import a torchvision with this source through the guard, in another process."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(package)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from i2i.losses import torchvision_guard as guard\n"
    code += f"print(guard.import_torchvision().__file__, len(guard._library))\n{then}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


MISMATCHED = """
import torch
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: None)
torch.library.register_fake("torchvision::qnms")(lambda dets, scores, iou_threshold: None)
"""


def test_a_torchvision_that_does_not_match_torch_can_be_imported(tmp_path: Path) -> None:
    then = "import torchvision; guard.import_torchvision(); print('twice')"
    assert imported(tmp_path, MISMATCHED, then).split()[1:] == ["1", "twice"]


def test_a_working_torchvision_is_not_modified(tmp_path: Path) -> None:
    assert imported(tmp_path, "answer = 42\n", "import torchvision; print(torchvision.answer)").split()[1:] == [
        "0",
        "42",
    ]


def test_other_errors_of_torchvision_are_raised(tmp_path: Path) -> None:
    assert "RuntimeError: no driver" in imported(tmp_path, "raise RuntimeError('no driver')\n")
