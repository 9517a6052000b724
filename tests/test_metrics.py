"""Metrics, checked against their formulas in numpy and against published numbers."""

from __future__ import annotations

import functools
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from i2i import api
from i2i.catalog import Catalog
from i2i.data import Data, Sample
from i2i.errors import ConfigError, NumericError, PluginError, WeightsError
from i2i.losses import torchvision_guard
from i2i.losses.backbones import RESNET20
from i2i.losses.pretrained import Weights
from i2i.metrics import KID, LPIPS, PSNR, SSIM, Frechet, Needs, answers, check_needs, register
from i2i.metrics import features as extractors
from i2i.metrics import lpips as lpips_metric
from i2i.metrics.colour import colourfulness
from i2i.metrics.features import features, kept, lenet
from i2i.metrics.pairs import levels, psnr, ssim
from i2i.metrics.sets import frechet_distance, kernel_distance
from i2i.modalities import Image as ImageModality
from i2i.modalities import Modality
from i2i.task import Task

REAL_DATA = Path(os.environ.get("I2I_DATA", ""))
needs_data = pytest.mark.skipif("I2I_DATA" not in os.environ, reason="needs the real pictures under $I2I_DATA")


def picture(*shape: int, seed: int = 0) -> Tensor:
    """Return a structured picture: noise at two scales, in 8-bit levels, [-1, 1]."""
    chance = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, shape[0], 4, 4), generator=chance)
    smooth = interpolate(coarse, shape[1:], mode="bicubic").clamp(0, 1)[0]
    noisy = (0.8 * smooth + 0.2 * torch.rand(shape, generator=chance)).clamp(0, 1)
    return (noisy * 255).round() / 127.5 - 1


class Held(Data):
    """A data set with validation samples only."""

    def __init__(self, *samples: Sample) -> None:
        self.samples = samples

    def validation(self) -> Sequence[Sample]:
        return self.samples


class Answer(Task):
    """A task that predicts a function of "A" and records its batches."""

    def __init__(self, rule: Callable[[Tensor], Tensor] = lambda x: x, scale: int = 1, multiple: int = 1) -> None:
        super().__init__()
        self.rule, self.takes, self.makes = rule, ImageModality(multiple=multiple), ImageModality(scale=scale)
        self.given: list[dict[str, Any]] = []

    def translate(self, image: Tensor, *args: Any, **condition: Any) -> Tensor:
        return self.rule(image)

    def predict(self, batch: dict[str, Any]) -> Tensor:
        self.given.append(batch)
        return super().predict(batch)


def pair(a: Tensor, b: Tensor | None = None, **more: Any) -> Sample:
    return {"A": a, "B": a if b is None else b, **more}


# ------------------------------------------------------------------------------------------------- answers


def test_answers_keep_the_order_and_size_of_samples_of_different_sizes() -> None:
    samples = [pair(picture(3, h, w, seed=i)) for i, (h, w) in enumerate([(9, 7)] * 3 + [(12, 16)] + [(9, 7)])]
    task = Answer(lambda x: x.flip(3).flip(3), multiple=8)
    found = list(answers(task, Held(*samples), batch_size=2))
    assert [len(batch["A"]) for batch in task.given] == [2, 1, 1, 1]
    assert [tuple(batch["A"].shape[2:]) for batch in task.given] == [(16, 8), (16, 8), (16, 16), (16, 8)]
    for (sample, fake), given in zip(found, samples, strict=True):
        assert sample is given
        assert torch.equal(fake, given["A"])


def test_answers_pad_only_the_conditions_with_the_size_of_a() -> None:
    segmap, style = torch.arange(35).reshape(5, 7), picture(3, 6, 6)
    task = Answer(multiple=4)
    list(answers(task, Held(pair(picture(3, 5, 7), segmap=segmap, style=style, name="one"))))
    (batch,) = task.given
    assert batch["segmap"].shape == (1, 8, 8)
    assert batch["segmap"].dtype == torch.int64
    assert torch.equal(batch["segmap"][0, :5, :7], segmap)
    assert torch.equal(batch["style"][0], style)
    assert batch["name"] == ["one"]


def test_answers_are_cropped_by_the_scale_clipped_and_detached() -> None:
    weight = nn.Parameter(torch.ones(()))
    task = Answer(lambda x: weight * 3 * x.repeat_interleave(2, 2).repeat_interleave(2, 3), scale=2, multiple=4)
    a = picture(3, 5, 6)
    ((_, fake),) = answers(task, Held(pair(a)))
    assert torch.equal(fake, (3 * a.repeat_interleave(2, 1).repeat_interleave(2, 2)).clamp(-1, 1))
    assert not fake.requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("data", "rule", "error", "says"),
    [
        (Held(), None, ConfigError, "but Held has none: use another data set"),
        (Held({"B": picture(3, 4, 4)}), None, ConfigError, r"has \['B'\]: use another data set"),
        (Held(pair(picture(3, 4, 4))), lambda x: x * torch.nan, NumericError, "not finite"),
        (Held(pair(picture(3, 4, 4))), lambda x: x[..., :2], PluginError, r"made \[1, 3, 4, 2\] .* give 4x4 pixels"),
    ],
)
def test_what_cannot_be_evaluated_is_rejected(data: Data, rule: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        list(answers(Answer(rule or (lambda x: x)), data))


# ---------------------------------------------------------------------------------------------- psnr, ssim


def test_psnr_of_an_error_of_one_level_is_48_13_db() -> None:
    real = picture(3, 8, 8) * 0.9
    assert psnr(real + 1 / 127.5, real) == pytest.approx(20 * np.log10(255), abs=1e-9)
    assert psnr(real, real) == 100


def test_psnr_is_computed_on_8_bit_pictures() -> None:
    real = picture(3, 8, 8)
    assert psnr(real + 0.4 / 127.5, real) == 100
    assert psnr(real * 4, (real * 4).clamp(-1, 1)) == 100


def test_luma_follows_bt601() -> None:
    # From the standard: black 16, white 235; red, green and blue at full strength 81, 145 and 41.
    primaries = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).T.reshape(3, 1, 5) * 2.0 - 1
    assert levels(primaries, "y")[0, 0].round().tolist() == [16, 235, 81, 145, 41]


def test_cropped_edges_do_not_count() -> None:
    real = picture(3, 12, 10)
    fake = real.clone()
    fake[:, :2], fake[..., -2:] = 1, -1
    assert psnr(fake, real, crop=2) == 100
    assert psnr(fake, real, crop=1) < 40
    with pytest.raises(ConfigError, match="crop 5 leaves nothing of a picture of 12x10 pixels"):
        psnr(fake, real, crop=5)


def test_psnr_is_the_mean_over_pictures_and_has_the_gain() -> None:
    a, b = picture(3, 8, 8) * 0.5, picture(3, 6, 9, seed=1) * 0.5
    data = Held(pair(a + 8 / 127.5, a), pair(b + 4 / 127.5, b))
    scores = PSNR(baseline="input")(Answer(lambda x: x - 2 / 127.5), data)

    def db(error: float) -> float:
        return 20 * np.log10(255 / error)

    assert scores["db"] == pytest.approx((db(6) + db(2)) / 2, abs=1e-6)
    assert scores["baseline"] == pytest.approx((db(8) + db(4)) / 2, abs=1e-6)
    assert scores["gain"] == pytest.approx(scores["db"] - scores["baseline"])
    assert set(PSNR()(Answer(), data)) == {"db"}


def test_a_grey_input_is_a_baseline_for_colour_but_a_label_map_is_not() -> None:
    real = picture(3, 8, 8)
    grey = real.mean(0, keepdim=True)
    task = Answer(lambda x: x[:, :1].expand(-1, 3, -1, -1).float())
    scores = PSNR(baseline="input")(task, Held(pair(grey, real)))
    assert scores["baseline"] == pytest.approx(psnr(grey.expand(3, -1, -1), real))
    with pytest.raises(ConfigError, match=r'"A", input\) is torch.int64 \[1, 8, 8\] and "B" \[3, 8, 8\]'):
        PSNR(baseline="input")(task, Held(pair(torch.ones(1, 8, 8, dtype=torch.int64), real)))


def test_the_bicubic_baseline_matches_pillow() -> None:
    small = picture(3, 13, 17)
    pixels = ((small + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    enlarged = np.array(Image.fromarray(pixels).resize((51, 39), Image.Resampling.BICUBIC))
    real = torch.from_numpy(enlarged).permute(2, 0, 1) / 127.5 - 1
    task = Answer(lambda x: x.repeat_interleave(3, 2).repeat_interleave(3, 3), scale=3)
    assert (
        PSNR(baseline="bicubic")(task, Held(pair(small, real)))["baseline"] > 54
    )  # no pixel differs by more than one level


@needs_data
@pytest.mark.parametrize(
    ("name", "scale", "published"), [("Set5", 4, 28.43), ("Set14", 4, 26.09), ("Set5", 2, 33.67)]
)
def test_bicubic_has_the_published_psnr(name: str, scale: int, published: float) -> None:
    def one(x: Tensor) -> Tensor:
        image = Image.fromarray(((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1

    def enlarged(x: Tensor) -> Tensor:
        return torch.stack([one(image) for image in x])

    def load(path: Path) -> Tensor:
        return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) / 127.5 - 1

    samples = []
    for path in sorted((REAL_DATA / "sr" / name / f"LR_x{scale}").glob("*.png")):
        small, large = load(path), load(REAL_DATA / "sr" / name / "HR" / path.name)
        samples.append(pair(small, large[:, : small.shape[1] * scale, : small.shape[2] * scale]))
    data, task = Held(*samples), Answer(enlarged, scale=scale)
    scores = PSNR(space="y", crop=scale, baseline="bicubic")(task, data)
    assert round(scores["db"], 2) == published
    assert scores["baseline"] == pytest.approx(published, abs=0.01)


def ssim_by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM of two images [H, W] in 0..255, window by window."""
    reach = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(reach, reach) / reach.sum() ** 2
    views = [np.lib.stride_tricks.sliding_window_view(image, (11, 11)) for image in (x, y)]
    mean_x, mean_y = ((view * window).sum((2, 3)) for view in views)
    xx, yy, xy = ((views[i] * views[j] * window).sum((2, 3)) for i, j in ((0, 0), (1, 1), (0, 1)))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (xx - mean_x**2 + yy - mean_y**2 + c2)
    return float((top / bottom).mean())


def test_ssim_matches_its_formula() -> None:
    real, fake = picture(3, 20, 24), picture(3, 20, 24, seed=1)
    by_hand = [ssim_by_hand(x, y) for x, y in zip(levels(fake, "rgb").numpy(), levels(real, "rgb").numpy())]
    assert ssim(fake, real) == pytest.approx(np.mean(by_hand), abs=1e-6)
    luma = (levels(image, "y", 2)[0].numpy() for image in (fake, real))
    assert ssim(fake, real, "y", 2) == pytest.approx(ssim_by_hand(*luma), abs=1e-6)


def test_ssim_is_the_mean_over_pictures() -> None:
    a, b = picture(3, 20, 24), picture(3, 16, 16, seed=1)
    scores = SSIM()(Answer(lambda x: x * 0.5), Held(pair(a), pair(b)))
    assert scores == {"mean": pytest.approx((ssim(a * 0.5, a) + ssim(b * 0.5, b)) / 2)}
    assert SSIM()(Answer(), Held(pair(a)))["mean"] == pytest.approx(1)
    with pytest.raises(
        ConfigError, match="at least 11 pixels in height and width, but a picture of 20x24 cropped by 5"
    ):
        SSIM(crop=5)(Answer(), Held(pair(a)))


# ------------------------------------------------------------------------------------------- kid, frechet


def some_features(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    mixing = torch.rand((d, d), generator=torch.Generator().manual_seed(99)).double()
    return torch.randn((n, d), generator=chance).double() @ mixing + shift


def test_kernel_distance_matches_its_sums() -> None:
    x, y = some_features(7, 5, 0).numpy(), some_features(9, 5, 1, shift=0.5).numpy()

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / 5 + 1) ** 3

    within_x = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    within_y = sum(k(y[i], y[j]) for i in range(9) for j in range(9) if i != j) / (9 * 8)
    between = sum(k(a, b) for a in x for b in y) / 63
    found = kernel_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx(within_x + within_y - 2 * between, rel=1e-9)


def test_kernel_distance_within_one_distribution_is_zero_on_average() -> None:
    found = [kernel_distance(some_features(20, 4, i), some_features(20, 4, 1000 + i)) for i in range(400)]
    apart = kernel_distance(some_features(20, 4, 1), some_features(20, 4, 2, shift=2.0))
    assert abs(np.mean(found)) < 3 * np.std(found) / len(found) ** 0.5
    assert min(found) < 0
    assert apart > 10 * np.std(found)


@pytest.mark.parametrize(("n", "m", "d"), [(40, 30, 5), (6, 8, 20)])
def test_frechet_distance_matches_its_formula(n: int, m: int, d: int) -> None:
    x, y = some_features(n, d, 0).numpy(), some_features(m, d, 1, shift=0.5).numpy()
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(first @ second).astype(complex)).real.sum()
    formula = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * root
    assert frechet_distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(formula, rel=1e-5)
    assert frechet_distance(torch.from_numpy(x), torch.from_numpy(x)) == pytest.approx(0, abs=1e-8)


def test_distances_are_named_after_the_extractor_and_grow_with_the_distortion() -> None:
    data = Held(*(pair(picture(3, 32, 32, seed=i)) for i in range(8)))

    def blurred(x: Tensor) -> Tensor:
        return interpolate(avg_pool2d(x, 4), scale_factor=4)

    for metric in (KID(), Frechet()):
        assert list(metric(Answer(), data)) == ["random_conv"]
        same, half, whole = (
            metric(Answer(rule), data)["random_conv"]
            for rule in (lambda x: x, lambda x: (x + blurred(x)) / 2, blurred)
        )
        assert same < half < whole
    assert Frechet()(Answer(), data)["random_conv"] == pytest.approx(0, abs=1e-6)


def test_the_features_of_real_pictures_are_computed_once_per_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def counting(images: Any, *arguments: Any) -> Tensor:
        looked.append(len(images := list(images)))
        return features(images, *arguments)

    monkeypatch.setattr("i2i.metrics.sets.features", counting)
    data, other = (Held(*(pair(picture(3, 8, 8, seed=i)) for i in range(n))) for n in (3, 4))
    first = KID()(Answer(), data)
    assert KID()(Answer(), data) == first
    KID()(Answer(), other)
    assert looked == [3, 3, 3, 4, 4]  # fakes and reals, fakes, fakes and reals
    back = Answer()
    back.source, back.target = "B", "A"
    KID()(back, other)
    assert looked[5:] == [4, 4]


def test_a_set_needs_two_pictures() -> None:
    with pytest.raises(ConfigError, match="needs at least two validation samples, but there is only 1"):
        KID()(Answer(), Held(pair(picture(3, 8, 8))))


def test_pictures_too_small_for_ssim_are_found_before_training_and_grey_has_no_colour() -> None:
    data = Held(pair(picture(3, 12, 12)), pair(picture(3, 12, 12, seed=1)))
    check(SSIM(), data)
    with pytest.raises(ConfigError, match="ssim needs at least 11 pixels"):
        check(SSIM(crop=1), data)
    assert colourfulness(picture(1, 8, 8)) == pytest.approx(0, abs=1e-6)


# --------------------------------------------------------------------------------------------- extractors


def test_features_do_not_depend_on_the_batch() -> None:
    images = [picture(3, 20, 30), picture(1, 8, 8, seed=1), *(picture(3, 9, 9, seed=i) for i in range(2, 20))]
    together = features(images, "random_conv")
    assert together.shape == (20, 240)
    assert torch.allclose(together[1], features(images[1:2], "random_conv")[0], atol=1e-5)
    assert torch.equal(features([images[1].expand(3, -1, -1)], "random_conv"), features(images[1:2], "random_conv"))


@needs_data
def test_lenet_has_the_published_accuracy() -> None:
    digits = np.load(REAL_DATA / "mnist" / "mnist.npz")
    images = [torch.from_numpy(digit)[None] / 127.5 - 1 for digit in digits["x_test"][:1000]]
    w = kept(extractors.LENET, None, "cpu")
    logits = features(images, "lenet").float() @ w["fc.f7.weight"].T + w["fc.f7.bias"]
    assert (logits.argmax(1).numpy() == digits["y_test"][:1000]).mean() > 0.985  # 99.07 % of all 10,000


@needs_data
def test_resnet20_has_the_expected_accuracy() -> None:
    images, labels = [], []
    with tarfile.open(REAL_DATA / "cifar10" / "test.tar") as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)[::8]
        for member in members:
            content = archive.extractfile(member)
            assert content is not None
            pixels = np.array(Image.open(io.BytesIO(content.read())).convert("RGB"))
            images.append(torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1)
            labels.append(member.name.split("/")[0])
    w = kept(RESNET20, None, "cpu")
    logits = features(images, "resnet20").float() @ w["module.linear.weight"].T + w["module.linear.bias"]
    classes = sorted(set(labels))
    right = [classes[i] == label for i, label in zip(logits.argmax(1).tolist(), labels, strict=True)]
    assert np.mean(right) == pytest.approx(0.814, abs=0.05)  # measured on all 2,000


def test_lenet_gives_vectors_of_the_documented_size() -> None:
    class Zeros(dict[str, Tensor]):
        def __missing__(self, name: str) -> Tensor:
            return torch.zeros(shapes[name])

    x = torch.stack([picture(3, 32, 32)] * 2)
    shapes: dict[str, Any] = {"convnet.c1.weight": (6, 1, 5, 5), "convnet.c3.weight": (16, 6, 5, 5)}
    shapes |= {"convnet.c5.weight": (120, 16, 5, 5), "fc.f6.weight": (84, 120), "fc.f6.bias": 84}
    shapes |= {"convnet.c1.bias": 6, "convnet.c3.bias": 16, "convnet.c5.bias": 120}
    assert lenet(Zeros(), x).shape == (2, 84)


@pytest.mark.parametrize("name", ["squeezenet", "vgg19", "lenet", "resnet20"])
def test_an_extractor_without_its_weights_reports_where_to_get_and_put_them(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("I2I_DATA", raising=False)
    with pytest.raises(WeightsError, match=rf"not found .*https://.*sha256 .*{tmp_path}/home/weights"):
        features([picture(3, 8, 8)], name, str(tmp_path / "mine"))


# -------------------------------------------------------------------------------------------------- lpips


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("I2I_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("I2I_DATA", raising=False)


TINY = """
task: {use: superres, generator: {use: compact_sr, scale: 2, width: 4, blocks: 1}}
data: {use: synthetic_photos, scale: 2, size: 16, batch_size: 1, samples: 1, validation_samples: 1}
train: {steps: 1, threads: 1}
"""


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    "metric",
    [
        "{use: lpips}",
        "{use: kid, extractor: vgg19}",
        "{use: frechet, extractor: lenet}",
        "{use: kid, extractor: resnet20}",
    ],
)
def test_missing_weights_are_reported_before_training(metric: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    with pytest.raises(WeightsError, match="not found"):
        api.run(tmp_path / "tiny.yaml", f"metrics=[{metric}]", out=tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_two_metrics_of_the_same_name_have_separate_results(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    asked = "metrics=[{use: psnr}, {use: ssim}, {use: psnr, space: y, crop: 2}]"
    run = api.run(tmp_path / "tiny.yaml", asked, "train.best=psnr_2/db", out=tmp_path / "run")
    found = json.loads((run / "metrics.json").read_text())
    assert {"psnr/db", "ssim/mean", "psnr_2/db"} <= found.keys()
    assert found["psnr/db"] != found["psnr_2/db"]


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(("net", "file"), [("alex", "alexnet-owt-7be5be79"), ("vgg", "vgg16-397923af")])
def test_lpips_without_its_backbone_names_the_file_it_needs(net: Any, file: str) -> None:
    with pytest.raises(
        WeightsError, match=rf"lpips with net {net} needs a weights file: {file}\.pth .*pytorch\.org/"
    ):
        LPIPS(net)


def test_only_squeeze_has_another_backbone() -> None:
    with pytest.raises(ConfigError, match="lpips with net vgg has no backbone keras_squeezenet"):
        LPIPS("vgg", "keras_squeezenet")


def test_lpips_matches_the_package_with_the_same_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In place of torchvision's weights, the same network with random weights, which the package gets as well.
    models = torchvision_guard.import_torchvision().models
    torch.manual_seed(0)
    network = models.squeezenet1_1()
    torch.save(network.state_dict(), tmp_path / "network.pth")
    stand_in = Weights("network.pth", "", "", "")
    monkeypatch.setitem(lpips_metric.OFFICIAL, "squeeze", stand_in)
    import lpips

    random_state = torch.get_rng_state()
    real, fake = picture(3, 64, 64), picture(3, 64, 64, seed=1)
    scores = LPIPS("squeeze", weights_dir=str(tmp_path))(Answer(lambda x: fake[None]), Held(pair(real)))
    assert torch.equal(torch.get_rng_state(), random_state)
    monkeypatch.setattr(lpips.pretrained_networks.tv, "squeezenet1_1", lambda **_: network)
    theirs = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    assert scores == {"squeeze": pytest.approx(theirs(fake[None], real[None]).item(), rel=1e-5)}


@needs_data
def test_lpips_heads_on_another_squeezenet_have_their_own_name_and_detect_blur() -> None:
    files = sorted((REAL_DATA / "sr" / "Set5" / "HR").glob("*.png"))[:2]
    images = [np.array(Image.open(file).convert("RGB").resize((96, 96))) for file in files]
    data = Held(*(pair(torch.from_numpy(image).permute(2, 0, 1) / 127.5 - 1) for image in images))
    metric = LPIPS("squeeze", "keras_squeezenet")

    def blurred(x: Tensor, n: int) -> Tensor:
        return interpolate(avg_pool2d(x, n), scale_factor=n, mode="bilinear")

    scores = [metric(Answer(functools.partial(blurred, n=n)), data) for n in (1, 2, 4)]
    assert scores[0] == {"squeeze_keras": 0.0}
    assert 0.01 < scores[1]["squeeze_keras"] < scores[2]["squeeze_keras"] < 1


def test_metrics_are_in_the_catalog() -> None:
    catalog = Catalog()
    register(catalog)
    assert {"psnr", "ssim", "lpips", "kid", "frechet"} < set(catalog.names("metric"))


# -------------------------------------------------------------------------------------------------- needs


class Sounds(Modality):
    name, plural = "sound", "sounds"


def check(metric: Any, data: Data, task: Task | None = None) -> None:
    check_needs("it", metric, task or Answer(), data)


def test_a_metric_whose_needs_are_not_met_is_rejected_before_training() -> None:
    good = Held(pair(picture(3, 12, 12)), pair(picture(3, 12, 12, seed=1)))
    for metric in (PSNR(), SSIM(), KID(), Frechet()):
        check(metric, good)
    with pytest.raises(ConfigError, match=r"it needs validation samples with 'A' and 'B', but Held has A: use other"):
        check(PSNR(), Held({"A": picture(3, 4, 4)}))
    with pytest.raises(ConfigError, match="but Held has no validation samples"):
        check(SSIM(), Held())
    with pytest.raises(ConfigError, match=r'samples with "A" and "B", or with "image" .* but Held has A:'):
        check(KID(), Held({"A": picture(3, 4, 4)}, {"A": picture(3, 4, 4)}))
    task = Answer()
    task.makes = Sounds()
    with pytest.raises(ConfigError, match="it compares images, but Answer makes sounds: remove it"):
        check(PSNR(), good, task)


def test_a_metric_that_needs_no_target_gets_answers_without_one() -> None:
    data = Held({"A": picture(3, 4, 4)})
    metric = PSNR()
    metric.needs = Needs(source=True)
    check(metric, data)
    assert [sample.keys() for sample, _ in answers(Answer(), data)] == [{"A": None}.keys()]
    with pytest.raises(ConfigError, match=r'validation samples with "A", but Held has \[\'B\'\]'):
        next(answers(Answer(), Held({"B": picture(3, 4, 4)})))


def test_psnr_of_unpaired_data_is_rejected() -> None:
    data = Held(pair(picture(3, 12, 12)), pair(picture(3, 12, 12, seed=1)))
    data.paired = False
    with pytest.raises(ConfigError, match="its own target, but Held is not paired: use kid or frechet"):
        check(PSNR(), data)
    check(KID(), data)


def test_source_and_target_of_a_task_may_have_other_names() -> None:
    task = Answer()
    task.source, task.target = "low", "high"
    low, high = picture(3, 12, 12), picture(3, 12, 12, seed=1)
    held = Held({"low": low, "high": low}, {"low": high, "high": high})
    check(PSNR(), held, task)
    assert PSNR()(task, held)["db"] == 100
    assert KID()(task, held)["random_conv"] < 1e-6
