"""i2i follows the conventions in `conformance/`: one test for each of its cases, against its files.

`CHECKS` has what i2i computes for each case; `test_convention_<name>` compares it with the files.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_pix2pix import to_lab
from i2i_vae.task import divergence
from torch import Tensor

from i2i import images, metrics
from i2i.data.degrade import bicubic
from i2i.data.transforms import resize, to_tensor
from i2i.losses.backbones import prepared
from i2i.metrics.sets import frechet_distance, kernel_distance
from i2i.modalities.image import grey
from i2i.networks import CompactSR, MSRResNet, norm_layer
from i2i.networks.spade import SpadeNorm

ROOT = Path(__file__).parent.parent
HERE = ROOT / "conformance"
CASES = {case["name"]: case for case in json.loads((HERE / "cases.json").read_text())}


def value(name: str, file: str) -> Any:
    """Return the contents of a file of a case; of a picture its levels [H, W, C]."""
    path = HERE / name / file
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".npy":
        return np.load(path)
    import cv2

    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found[..., ::-1] if found.ndim == 3 else found[..., None]


def check(name: str, **found: Any) -> None:
    """Check results against expected files, by their names without suffix, and that the mistakes would be found."""
    case = CASES[name]
    expected = {Path(file).stem: value(name, file) for file in case["files"]["expected"]}
    assert set(found) == set(expected), "a file is not checked"
    for file, right in expected.items():
        tolerance = 0 if file.startswith("expected_8bit") else case["tolerance"]
        for key in right if isinstance(right, dict) else [None]:
            a, b = (found[file], right) if key is None else (found[file][key], right[key])
            a, b = (np.asarray(values.detach() if isinstance(values, Tensor) else values, float) for values in (a, b))
            assert a.shape == b.shape
            assert np.abs(a - b).max() <= tolerance + 1e-12, f"{file} {key or ''}: {np.abs(a - b).max()} is too much"


def network_range(levels: np.ndarray) -> Tensor:
    """Return levels [H, W, C] as [C, H, W] in [-1, 1]."""
    return to_tensor(np.ascontiguousarray(levels))


def plain(values: np.ndarray) -> Tensor:
    """Return numbers as a float32 tensor."""
    return torch.from_numpy(values).float()


# ---- pictures


def test_convention_value_range() -> None:
    path = HERE / "value_range" / "input.png"
    check("value_range", expected=images.take(path).tensor[0, 0])
    check("value_range", expected=to_tensor(images.read_rgb(path))[2])


def test_convention_rounding() -> None:
    x = plain(value("rounding", "input.npy"))
    check("rounding", expected=images.to_uint8(x[None, None])[0, ..., 0])
    like = images.take(np.zeros((*x.shape, 3), np.uint8))
    check("rounding", expected=like.restore(x.expand(1, 3, -1, -1))[..., 1])


def test_convention_channel_order(tmp_path: Path) -> None:
    path = HERE / "channel_order" / "input.png"
    check("channel_order", expected=images.to_uint8(images.take(path).tensor)[0].transpose(2, 0, 1))
    picture = images.take(path)
    images.save(picture.restore(picture.tensor), tmp_path / "out.png")
    check("channel_order", expected=images.read_rgb(tmp_path / "out.png").transpose(2, 0, 1))


def test_convention_sixteen_bit() -> None:
    rgb, single = (HERE / "sixteen_bit" / f"input_{kind}.png" for kind in ("rgb", "grey"))
    check(
        "sixteen_bit",
        expected_rgb=images.take(rgb).tensor[0],
        expected_grey=images.take(single).tensor[0, 0],
        expected_8bit_rgb=images.read_rgb(rgb),
        expected_8bit_grey=images.read_rgb(single)[..., 0],
    )


def test_convention_exif_orientation(tmp_path: Path) -> None:
    for path in sorted((HERE / "exif_orientation").glob("input_*.jpg")):
        check("exif_orientation", expected=images.read_rgb(path))
        picture = images.take(path)
        images.save(picture.restore(picture.tensor), tmp_path / path.name)
        check("exif_orientation", expected=images.read_rgb(tmp_path / path.name))


def test_convention_jpeg_chroma() -> None:
    check("jpeg_chroma", expected=images.read_rgb(HERE / "jpeg_chroma" / "input.jpg"))


def test_convention_alpha_straight() -> None:
    check("alpha_straight", expected=images.read_rgb(HERE / "alpha_straight" / "input.png"))


def test_convention_round_trip(tmp_path: Path) -> None:
    picture = images.take(HERE / "round_trip" / "input.png")
    images.save(picture.restore(picture.tensor), tmp_path / "out.png")
    check("round_trip", expected=images.read_rgb(tmp_path / "out.png"))


# ---- colours


def test_convention_luma_studio() -> None:
    x = network_range(value("luma_studio", "input.png"))
    check("luma_studio", expected=metrics.pairs.levels(x, "y")[0])


def test_convention_luma_grey() -> None:
    levels = value("luma_grey", "input.png")
    check("luma_grey", expected=(grey(network_range(levels)[None])[0, 0] + 1) * 127.5)
    like = images.take(levels[..., 0])  # the result for a grey picture is grey
    check("luma_grey", expected=like.restore(network_range(levels)[None]))


def test_convention_lab() -> None:
    x = network_range(value("lab", "input.png"))
    check("lab", expected=to_lab(x[None])[0])


def test_convention_vgg_colours() -> None:
    x = network_range(value("vgg_colours", "input.png"))
    check("vgg_colours", expected=prepared(x[None], "imagenet")[0])


# ---- resizing


def test_convention_align_corners() -> None:
    network = MSRResNet(scale=4, width=4, blocks=1)
    torch.nn.init.zeros_(network.tail[-1].weight)  # what remains is the bilinear base
    torch.nn.init.zeros_(network.tail[-1].bias)
    x = plain(value("align_corners", "input.npy"))
    check("align_corners", expected=network(x.expand(1, 3, -1, -1))[0, 0])


def test_convention_nearest_labels() -> None:
    labels = value("nearest_labels", "input.png")[..., 0]
    check("nearest_labels", expected_down=resize(labels, 5, 6), expected_up=resize(labels, 17, 22))


def test_convention_nearest_spade() -> None:
    labels = torch.from_numpy(value("nearest_spade", "input.png")[None, None, ..., 0].astype(np.float32))
    norm, seen = SpadeNorm(1, 1), {}
    for n in (2, 4, 8):
        norm.shared.register_forward_pre_hook(lambda _, given, n=n: seen.update({f"expected_by_{n}": given[0][0, 0]}))
        norm(torch.zeros(1, 1, 16 // n, 24 // n), labels)
        norm.shared._forward_pre_hooks.clear()
    check("nearest_spade", **seen)


def test_convention_bicubic_matlab() -> None:
    levels = value("bicubic_matlab", "input.png")
    check("bicubic_matlab", **{f"expected_x{n}": bicubic(levels, n) for n in (2, 3, 4)})


def test_convention_bicubic_pillow() -> None:
    levels = value("bicubic_pillow", "input.png")
    sizes = {"expected_down": (13, 17), "expected_up": (45, 62)}
    check("bicubic_pillow", **{name: resize(np.ascontiguousarray(levels), *size) for name, size in sizes.items()})


def test_convention_fid_resize(monkeypatch: pytest.MonkeyPatch) -> None:
    from i2i.losses.torchvision_guard import import_torchvision

    import_torchvision()
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    seen = {}
    kind = module.FeatureExtractorInceptionV3
    monkeypatch.setattr(kind, "load_state_dict", lambda self, state: None)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: {})
    network = kind("inception", ["2048"], str(HERE / "cases.json"))
    network.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, given: seen.update(x=given[0][0]))
    monkeypatch.setattr(
        metrics.inception, "network", lambda weights_dir, device: lambda x: (*network(x), torch.zeros(1))
    )
    list(metrics.inception.outputs([network_range(value("fid_resize", "input.png"))]))
    kept = [*range(0, 299, 13), 298]
    check("fid_resize", expected=seen["x"][:, kept][:, :, kept] * 128 + 128)


def test_convention_odd_sizes() -> None:
    found = {}
    for n in (4, 8):
        x = plain(value("odd_sizes", f"input_by_{n}.npy"))
        padded, crop = images.pad_to_multiple(x[None, None], n)
        assert torch.equal(crop(padded)[0, 0], x)
        found[f"expected_by_{n}"] = padded[0, 0]
    check("odd_sizes", **found)


# ---- layers


@pytest.mark.parametrize("training", [True, False])
def test_convention_instance_norm(training: bool) -> None:
    layer = norm_layer("instance", 3).train(training)
    check("instance_norm", expected=layer(plain(value("instance_norm", "input.npy"))))


def test_convention_batch_norm() -> None:
    layer = norm_layer("batch", 3)
    first, second, third = plain(value("batch_norm", "input.npy"))
    layer(first)
    layer(second)
    check("batch_norm", expected=layer.eval()(third))


def test_convention_pixel_shuffle() -> None:
    network = CompactSR(scale=2, width=4, blocks=1)
    check("pixel_shuffle", expected=network.tail[1](plain(value("pixel_shuffle", "input.npy"))))


def test_convention_kl_term() -> None:
    mu, logvar = (plain(value("kl_term", f"input_{name}.npy")) for name in ("mu", "logvar"))
    check("kl_term", expected={"kl": divergence(mu, logvar).mean().item()})


# ---- scores


def scores_of(measure: Callable[..., float], name: str) -> dict[str, float]:
    """Return a score of the pair of a case for each protocol that it expects."""
    fake, real = (network_range(value(name, f"input_{which}.png")) for which in ("fake", "real"))
    protocols = {"rgb": ("rgb", 0), "rgb_crop_4": ("rgb", 4), "y": ("y", 0), "y_crop_4": ("y", 4)}
    return {key: measure(fake, real, *protocols[key]) for key in value(name, "expected.json")}


def test_convention_psnr() -> None:
    check("psnr", expected=scores_of(metrics.psnr, "psnr"))


def test_convention_ssim() -> None:
    check("ssim", expected=scores_of(metrics.ssim, "ssim"))


@pytest.mark.parametrize(("name", "distance"), [("frechet", frechet_distance), ("kid", kernel_distance)])
def test_convention_of_distances(name: str, distance: Callable[[Tensor, Tensor], float]) -> None:
    x, y = (torch.from_numpy(value(name, f"input_{which}.npy")) for which in "xy")
    check(name, expected={"distance": distance(x, y)})


# ---- the files


def test_the_files_are_what_their_formulas_give() -> None:
    done = subprocess.run([sys.executable, "-B", HERE / "make.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pillow_opencv_and_pytorch_agree_with_the_files() -> None:
    done = subprocess.run([sys.executable, "-B", HERE / "references.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    assert done.stdout.count("tolerance") > 30


def test_the_formulas_do_not_use_i2i() -> None:
    for path in HERE.glob("*.py"):
        assert not re.search(r"^\s*(import|from) i2i", path.read_text(), flags=re.M), path.name


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file() and path.suffix != ".pyc") < 1e6


@pytest.mark.parametrize("name", CASES)
def test_every_case_has_a_mistake_that_its_tolerance_finds(name: str) -> None:
    traps = CASES[name]["files"]["traps"]
    assert traps
    for trap in traps:
        wrong = value(name, trap)
        rights = [value(name, file) for file in CASES[name]["files"]["expected"]]
        if isinstance(wrong, dict):
            assert all(abs(wrong[key] - rights[0][key]) > 1.5 * CASES[name]["tolerance"] for key in wrong)
            continue
        likely = [right for right in rights if right.shape == wrong.shape]
        assert likely
        worst = min(np.abs(right.astype(float) - wrong).max() for right in likely)
        assert worst > 1.5 * CASES[name]["tolerance"], f"{trap} would pass"


def test_every_case_has_a_test_and_a_paragraph() -> None:
    own, page = Path(__file__).read_text(), (ROOT / "docs" / "conventions.md").read_text()
    for name in CASES:
        assert re.search(rf"def test_convention_{name}\(|\(\"{name}\", \w+_distance\)", own), name
        assert re.search(rf"^## .*`{name}`", page, flags=re.M), name
