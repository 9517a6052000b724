"""Weights of other projects: networks written here in their published layout load and give equal outputs."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

import i2i
from i2i.errors import WeightsError
from i2i.model import loading
from i2i.model.manifest import fingerprint
from i2i.model.workers import loaded
from i2i.networks import published_generator

Norm = Callable[[int], nn.Module]
INSTANCE: Norm = functools.partial(nn.InstanceNorm2d, affine=False)
OLD_INSTANCE: Norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=True)
NORMS: dict[str, Norm] = {
    "instance": INSTANCE,
    "old": OLD_INSTANCE,
    "batch": nn.BatchNorm2d,
    "none": lambda _: nn.Identity(),
}


def biased(norm: str) -> bool:
    return norm in ("instance", "old")


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def trained(network: nn.Module, seed: int = 1) -> nn.Module:
    """Return a network in eval mode with random weights, biases and statistics, as after training."""
    chance = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=chance) + 0.5)
        elif value.is_floating_point() and not name.endswith(("filt", "weight_u", "weight_v")):
            value.copy_(torch.randn(value.shape, generator=chance) * (0.3 if value.ndim < 2 else 0.1))
    return network.eval()


def saved(path: Path, network: nn.Module | Mapping[str, Any]) -> Path:
    torch.save(network.state_dict() if isinstance(network, nn.Module) else network, path)
    return path


# ---- CycleGAN, pix2pix and CUT


class Block(nn.Module):
    def __init__(self, width: int, norm: str, padding: str, dropout: bool) -> None:
        super().__init__()

        def conv() -> list[nn.Module]:
            pads = {"reflect": [nn.ReflectionPad2d(1)], "replicate": [nn.ReplicationPad2d(1)], "zero": []}[padding]
            return [
                *pads,
                nn.Conv2d(width, width, 3, padding=int(padding == "zero"), bias=biased(norm)),
                NORMS[norm](width),
            ]

        drop = [nn.Dropout(0.5)] if dropout else []
        self.conv_block = nn.Sequential(*conv(), nn.ReLU(True), *drop, *conv())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Downsample(nn.Module):
    """CUT's blur before halving."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("filt", (row[:, None] * row / 16).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), self.filt, stride=2, groups=len(self.filt))


class Upsample(nn.Module):
    """CUT's doubling: a transposed convolution with a fixed filter, cropped."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("filt", (row[:, None] * row / 64 * 4).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), "replicate")
        return F.conv_transpose2d(padded, self.filt, stride=2, padding=2, groups=len(self.filt))[..., 1:-1, 1:-1]


class Resnet(nn.Module):
    def __init__(
        self, channels: int = 3, out: int = 3, width: int = 8, blocks: int = 2, norm: str = "instance",
        padding: str = "reflect", dropout: bool = False, cut: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        bias = biased(norm)
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7, bias=bias)]
        layers += [NORMS[norm](width), nn.ReLU(True)]
        for n in (width, 2 * width):
            layers += [nn.Conv2d(n, 2 * n, 3, 1 if cut else 2, 1, bias=bias), NORMS[norm](2 * n), nn.ReLU(True)]
            layers += [Downsample(2 * n)] if cut else []
        layers += [Block(4 * width, norm, padding, dropout) for _ in range(blocks)]
        for n in (4 * width, 2 * width):
            up = nn.Conv2d(n, n // 2, 3, 1, 1, bias=bias)
            layers += [Upsample(n), up] if cut else [nn.ConvTranspose2d(n, n // 2, 3, 2, 1, 1, bias=bias)]
            layers += [NORMS[norm](n // 2), nn.ReLU(True)]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, out, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Skip(nn.Module):
    """One level of the nested U-Net."""

    def __init__(
        self, outer: int, inner: int, given: int | None, sub: nn.Module | None, norm: str, kind: str
    ) -> None:
        super().__init__()
        bias = biased(norm)
        down = nn.Conv2d(outer if given is None else given, inner, 4, 2, 1, bias=bias)
        wide = inner if kind == "innermost" else 2 * inner
        up = nn.ConvTranspose2d(wide, outer, 4, 2, 1, bias=bias or kind == "outermost")
        relu, leaky = nn.ReLU(), nn.LeakyReLU(0.2)
        self.kind = kind
        if kind == "outermost":
            layers = [down, sub, relu, up, nn.Tanh()]
        elif kind == "innermost":
            layers = [leaky, down, relu, up, NORMS[norm](outer)]
        else:
            layers = [leaky, down, NORMS[norm](inner), sub, relu, up, NORMS[norm](outer)]
            layers += [nn.Dropout(0.5)] if kind == "dropout" else []
        self.model = nn.Sequential(*layers)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.kind == "outermost" else torch.cat([x, self.model(x)], 1)


class Unet(nn.Module):
    def __init__(self, channels: int = 3, out: int = 3, width: int = 4, downs: int = 6, norm: str = "batch") -> None:
        super().__init__()
        block: nn.Module = Skip(8 * width, 8 * width, None, None, norm, "innermost")
        for _ in range(downs - 5):
            block = Skip(8 * width, 8 * width, None, block, norm, "dropout")
        for n in (4, 2, 1):
            block = Skip(n * width, 2 * n * width, None, block, norm, "inside")
        self.model = Skip(out, width, channels, block, norm, "outermost")

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


RESNETS: list[dict[str, Any]] = [
    {},
    {"norm": "old", "blocks": 3},
    {"norm": "batch", "dropout": True},
    {"norm": "none"},
    {"padding": "zero", "channels": 1, "width": 4},
    {"padding": "zero", "dropout": True},
    {"cut": True},
    {"cut": True, "norm": "batch"},
]


@pytest.mark.parametrize("options", RESNETS, ids=str)
def test_a_resnet_generator_gives_equal_outputs(options: dict[str, Any], tmp_path: Path) -> None:
    theirs = trained(Resnet(**options))
    model = i2i.load(saved(tmp_path / "latest_net_G.pth", theirs), overrides=["task.test_mode=eval"])
    x = image(1, options.get("channels", 3), 32, 48)
    theirs.train(options.get("norm") == "old")  # its statistics were saved, but not used
    assert model.config["task"]["use"] == "pix2pix"
    torch.testing.assert_close(model.task.translate(x), theirs(x), atol=1e-5, rtol=0)


def test_replicated_borders_are_an_override(tmp_path: Path) -> None:
    theirs = trained(Resnet(padding="replicate"))
    changes = ["task.generator.padding=replicate"]
    model = i2i.load(saved(tmp_path / "latest_net_G.pth", theirs), overrides=changes)
    torch.testing.assert_close(model.task.translate(image(1, 3, 32, 32)), theirs(image(1, 3, 32, 32)))


@pytest.mark.parametrize(
    "options", [{}, {"norm": "instance"}, {"norm": "none"}, {"downs": 5}, {"downs": 7, "width": 2}]
)
def test_a_unet_generator_gives_equal_outputs(options: dict[str, Any], tmp_path: Path) -> None:
    theirs = trained(Unet(**options))
    model = i2i.load(saved(tmp_path / "latest_net_G.pth", theirs), overrides=["task.test_mode=eval"])
    x = image(1, 3, 128, 128)
    torch.testing.assert_close(model.task.translate(x), theirs(x), atol=1e-5, rtol=0)


def test_the_published_sizes_are_recognised(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = published_generator(Resnet(width=64, blocks=9).state_dict())
    assert found is not None
    assert sum(value.numel() for value in found[1].values()) == 11_378_179
    i2i.load(saved(tmp_path / "latest_net_G.pth", Resnet()))
    assert capsys.readouterr().err == (
        "i2i: latest_net_G.pth: a resnet generator (CycleGAN, pix2pix, CUT), 3 to 3 channels, width 8, 2 blocks, "
        "instance norm, no dropout; assumed: reflection padding in the blocks, values from -1 to 1\n"
    )


def test_pix2pix_runs_as_published_with_the_statistics_of_the_picture(tmp_path: Path) -> None:
    theirs = trained(Resnet(norm="batch")).train()  # the published test script leaves it in training mode
    model, x = i2i.load(saved(tmp_path / "latest_net_G.pth", theirs)), image(1, 3, 32, 32)
    torch.testing.assert_close(model.task.translate(x), theirs(x), atol=1e-5, rtol=0)


def test_a_generator_from_lightness_to_colour_is_the_task_colorization(tmp_path: Path) -> None:
    theirs = trained(Unet(1, 2, norm="instance"))
    model = i2i.load(saved(tmp_path / "latest_net_G.pth", theirs))
    assert model.config["task"]["use"] == "colorization"
    x = image(1, 1, 64, 64)
    torch.testing.assert_close(model.task.G(x), theirs(x), atol=1e-5, rtol=0)


def test_grey_generators_take_colour_pictures_and_others_are_refused(tmp_path: Path) -> None:
    theirs = trained(Resnet(1, 1))
    model, picture = i2i.load(saved(tmp_path / "latest_net_G.pth", theirs)), image(1, 3, 32, 32)
    grey = (picture * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(model.task.translate(picture), theirs(grey), atol=1e-5, rtol=0)
    assert i2i.translate(torch.rand(3, 30, 34), model).shape == (3, 30, 34)
    for channels in ((6, 3), (3, 7)):
        with pytest.raises(WeightsError, match=rf"latest_net_G.pth: .* {channels[0]} to {channels[1]} channels"):
            i2i.load(saved(tmp_path / "latest_net_G.pth", Resnet(*channels)))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "generator.", "netG."])
@pytest.mark.parametrize("kind", ["torch", "legacy", "safetensors", "half"])
def test_wrappings_and_formats_are_the_same_network(prefix: str, kind: str, tmp_path: Path) -> None:
    theirs = trained(Resnet())
    tensors = {prefix + name: value for name, value in theirs.state_dict().items()}
    if prefix == "generator.":
        tensors["discriminator.model.0.weight"] = torch.ones(1)
    file = tmp_path / "net.pth"
    if kind == "safetensors":
        safetensors.torch.save_file(tensors, file)
    elif kind == "half":
        torch.save({"state_dict": {name: value.half() for name, value in tensors.items()}, "epoch": 3}, file)
    else:
        torch.save({"state_dict": tensors}, file, _use_new_zipfile_serialization=kind == "torch")
    made, x = i2i.load(file).task.translate(image(1, 3, 32, 32)), image(1, 3, 32, 32)
    torch.testing.assert_close(made, theirs(x), atol=5e-3 if kind == "half" else 1e-5, rtol=0)


def test_a_folder_with_both_directions_is_one_model(tmp_path: Path) -> None:
    theirs = {part: trained(Resnet(), seed) for seed, part in enumerate(("G_A", "G_B"))}
    for part, network in theirs.items():
        saved(tmp_path / f"latest_net_{part}.pth", network)
        saved(tmp_path / f"100_net_{part}.pth", trained(Resnet(), 7))
    saved(tmp_path / "latest_net_D_A.pth", nn.Linear(2, 2))
    model, x = i2i.load(tmp_path), image(1, 3, 32, 32)
    for part, direction in (("G_A", "AtoB"), ("G_B", "BtoA")):
        torch.testing.assert_close(model.task.translate(x, direction=direction), theirs[part](x), atol=1e-5, rtol=0)
    with pytest.raises(i2i.ConfigError, match="only translates"):
        model.task.players()


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4)),
        Resnet(norm="instance").model[10],
    ],
    ids=["a discriminator", "a block"],
)
def test_other_networks_are_not_generators(network: nn.Module, tmp_path: Path) -> None:
    assert published_generator({f"model.{name}": value for name, value in network.state_dict().items()}) is None
    with pytest.raises(WeightsError, match="no installed plugin recognises these weights"):
        i2i.load(saved(tmp_path / "net.pth", network))


@pytest.mark.parametrize("theirs", [Resnet(), Unet()], ids=["resnet", "unet"])
@pytest.mark.parametrize("fault", ["missing", "shape", "more"])
def test_what_does_not_fit_a_generator_is_named(theirs: nn.Module, fault: str, tmp_path: Path) -> None:
    tensors = dict(theirs.state_dict())
    name = list(tensors)[-1].rpartition(".")[0]
    if fault == "missing":
        del tensors[f"{name}.bias"]
    elif fault == "shape":
        tensors[f"{name}.bias"] = torch.zeros(5)
    else:
        tensors[f"{name}.scale"] = torch.zeros(1)
    said = {
        "missing": f"but {name}.bias is missing",
        "shape": f"but {name}.bias is [5] instead of [3]",
        "more": f"but also has {name}.scale",
    }
    torch.save(tensors, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=re.escape(said[fault])):
        i2i.load(tmp_path / "net.pth")


def test_a_generator_that_lacks_a_layer_says_so(tmp_path: Path) -> None:
    tensors = {
        name: value for name, value in Resnet().state_dict().items() if not name.startswith("model.11.conv_block.5")
    }
    torch.save(tensors, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="of 2 blocks, but 9 layers have weights instead of 10"):
        i2i.load(tmp_path / "net.pth")


# ---- SPADE


class SpadeNorm(nn.Module):
    def __init__(self, width: int, segments: int, hidden: int, batch: bool) -> None:
        super().__init__()
        self.param_free_norm = (nn.BatchNorm2d if batch else nn.InstanceNorm2d)(width, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(segments, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma, self.mlp_beta = (nn.Conv2d(hidden, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, segmap: Tensor) -> Tensor:
        h = self.mlp_shared(F.interpolate(segmap, x.shape[2:]))
        return self.param_free_norm(x) * (1 + self.mlp_gamma(h)) + self.mlp_beta(h)


class SpadeBlock(nn.Module):
    def __init__(self, width: int, out: int, segments: int, hidden: int, batch: bool) -> None:
        super().__init__()
        middle = min(width, out)
        self.conv_0 = spectral_norm(nn.Conv2d(width, middle, 3, padding=1))
        self.conv_1 = spectral_norm(nn.Conv2d(middle, out, 3, padding=1))
        self.conv_s = spectral_norm(nn.Conv2d(width, out, 1, bias=False)) if width != out else None
        self.norm_0, self.norm_1 = (SpadeNorm(n, segments, hidden, batch) for n in (width, middle))
        self.norm_s = SpadeNorm(width, segments, hidden, batch) if width != out else None

    def forward(self, x: Tensor, segmap: Tensor) -> Tensor:
        h = self.conv_0(F.leaky_relu(self.norm_0(x, segmap), 0.2))
        h = self.conv_1(F.leaky_relu(self.norm_1(h, segmap), 0.2))
        return h + (x if self.conv_s is None or self.norm_s is None else self.conv_s(self.norm_s(x, segmap)))


class Spade(nn.Module):
    def __init__(self, segments: int, width: int = 2, z: int = 0, more: bool = False, batch: bool = True) -> None:
        super().__init__()
        self.doublings, self.places, self.z = (6 if more else 5), 64, z
        start = nn.Linear(z, 16 * width * 64) if z else nn.Conv2d(segments, 16 * width, 3, padding=1)
        self.fc: nn.Module = start

        def block(n: int, out: int) -> SpadeBlock:
            return SpadeBlock(n * width, out * width, segments, 5, batch)

        self.head_0, self.G_middle_0, self.G_middle_1 = block(16, 16), block(16, 16), block(16, 16)
        self.up_0, self.up_1, self.up_2, self.up_3 = block(16, 8), block(8, 4), block(4, 2), block(2, 1)
        self.conv_img = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, segmap: Tensor, z: Tensor | None = None) -> Tensor:
        if z is None:
            small = [side // 2**self.doublings for side in segmap.shape[2:]]
            x = self.fc(F.interpolate(segmap, small))
        else:
            x = self.fc(z).view(len(z), -1, 8, 8)
        x = self.G_middle_0(F.interpolate(self.head_0(x, segmap), scale_factor=2), segmap)
        x = F.interpolate(x, scale_factor=2) if self.doublings == 6 else x
        x = self.G_middle_1(x, segmap)
        for up in (self.up_0, self.up_1, self.up_2, self.up_3):
            x = up(F.interpolate(x, scale_factor=2), segmap)
        return torch.tanh(self.conv_img(F.leaky_relu(x, 0.2)))


class Encoder(nn.Module):
    def __init__(self, width: int = 2, z: int = 6) -> None:
        super().__init__()
        widths = [3, *(width * n for n in (1, 2, 4, 8, 8, 8))]
        for n in range(6):
            conv = spectral_norm(nn.Conv2d(widths[n], widths[n + 1], 3, 2, 1, bias=False))
            setattr(self, f"layer{n + 1}", nn.Sequential(conv, nn.InstanceNorm2d(widths[n + 1], affine=False)))
        self.fc_mu, self.fc_var = nn.Linear(8 * width * 16, z), nn.Linear(8 * width * 16, z)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for n in range(1, 7):
            x = F.leaky_relu(getattr(self, f"layer{n}")(x), 0.2)
        return self.fc_mu(x.flatten(1)), self.fc_var(x.flatten(1))


def settled(network: Any) -> Any:
    """Return a network in eval mode whose singular vectors are exact, as they nearly are after a long training."""
    trained(network)
    for module in network.modules():
        if hasattr(module, "weight_orig"):
            u, _, v = torch.linalg.svd(module.weight_orig.detach().flatten(1), full_matrices=False)
            module.weight_u.copy_(u[:, 0])
            module.weight_v.copy_(v[0])
    return network


def segmap_of(label: Tensor, segments: int) -> Tensor:
    return F.one_hot(label[:, 0], segments).permute(0, 3, 1, 2).double()


@pytest.mark.parametrize(
    ("segments", "options", "task"),
    [
        (5, {}, {"classes": 5}),
        (4, {"batch": False}, {"classes": 4}),
        (184, {}, {"classes": 182, "ignore": 255, "edges": True}),
        (151, {}, {"classes": 150, "ignore": 0}),
        (36, {"more": True}, {"classes": 35, "edges": True}),
    ],
)
def test_a_spade_generator_gives_equal_outputs(
    segments: int, options: dict[str, Any], task: dict[str, Any], tmp_path: Path
) -> None:
    theirs = settled(Spade(segments, **options))
    model = i2i.load(saved(tmp_path / "latest_net_G.pth", theirs))
    assert {key: model.config["task"][key] for key in task} == task
    segmap = segmap_of(torch.randint(0, segments, (1, 1, 64, 64)), segments)
    made, expected = model.task.G.double()(segmap.double()), theirs.double()(segmap.double())
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)
    model.task.float()
    label = torch.full((1, 1, 64, 64), 3)
    assert model.task.translate(label).shape == (1, 3, 64, 64)


def test_a_spade_generator_with_its_encoder_renders_a_style(tmp_path: Path) -> None:
    g, e = settled(Spade(5, z=6)), settled(Encoder())
    saved(tmp_path / "latest_net_G.pth", g)
    saved(tmp_path / "latest_net_E.pth", e)
    model, style = i2i.load(tmp_path), image(1, 3, 256, 256)
    label = torch.randint(0, 5, (1, 1, 256, 256))
    torch.testing.assert_close(
        model.task.translate(label, style=style), g(segmap_of(label, 5).float(), e(style)[0]), atol=1e-4, rtol=0
    )
    made = model.task.double().G(segmap_of(label, 5), model.task.encode(style.double()))
    expected = g.double()(segmap_of(label, 5), e.double()(style.double())[0])
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_a_spade_generator_without_its_encoder_draws_styles(tmp_path: Path) -> None:
    g = settled(Spade(5, z=6))
    model = i2i.load(saved(tmp_path / "latest_net_G.pth", g))
    label = torch.randint(0, 5, (1, 1, 256, 256))
    z = torch.randn(1, 6, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        model.task.translate(label, seed=3), g(segmap_of(label, 5).float(), z), atol=1e-4, rtol=0
    )
    with pytest.raises(i2i.ConfigError, match="no encoder"):
        model.task.translate(label, style=image(1, 3, 64, 64))


# ---- VQ-VAE-2


class Residual(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class Half(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Codes(nn.Module):
    embed: Tensor

    def __init__(self, d: int, k: int) -> None:
        super().__init__()
        self.register_buffer("embed", torch.randn(d, k))
        self.register_buffer("cluster_size", torch.zeros(k))
        self.register_buffer("embed_avg", torch.randn(d, k))

    def forward(self, x: Tensor) -> Tensor:
        distance = (x[:, :, None] - self.embed[None, :, :, None, None]).square().sum(1)
        return self.embed.T[distance.argmin(1)].movedim(-1, 1)


class Stages(nn.Module):
    """Stage 1 of rosinality's VQ-VAE-2."""

    def __init__(self, width: int = 16, blocks: int = 2, inner: int = 4, d: int = 6, k: int = 9) -> None:
        super().__init__()

        def residuals() -> list[nn.Module]:
            return [*(Residual(width, inner) for _ in range(blocks)), nn.ReLU()]

        def conv(a: int, b: int) -> nn.Conv2d:
            return nn.Conv2d(a, b, 4, 2, 1)

        def up(a: int, b: int) -> nn.ConvTranspose2d:
            return nn.ConvTranspose2d(a, b, 4, 2, 1)

        last = [nn.Conv2d(n, width, 3, padding=1) for n in (width, width // 2, d, 2 * d)]
        half = width // 2
        self.enc_b = Half(conv(3, half), nn.ReLU(), conv(half, width), nn.ReLU(), last[0], *residuals())
        self.enc_t = Half(conv(width, half), nn.ReLU(), last[1], *residuals())
        self.quantize_conv_t, self.quantize_t = nn.Conv2d(width, d, 1), Codes(d, k)
        self.dec_t = Half(last[2], *residuals(), up(width, d))
        self.quantize_conv_b, self.quantize_b = nn.Conv2d(d + width, d, 1), Codes(d, k)
        self.upsample_t = up(d, d)
        self.dec = Half(last[3], *residuals(), up(width, half), nn.ReLU(), up(half, 3))

    def forward(self, x: Tensor) -> Tensor:
        bottom = self.enc_b(x)
        top = self.quantize_t(self.quantize_conv_t(self.enc_t(bottom)))
        bottom = self.quantize_b(self.quantize_conv_b(torch.cat([self.dec_t(top), bottom], 1)))
        return self.dec(torch.cat([self.upsample_t(top), bottom], 1))


@pytest.mark.parametrize("options", [{}, {"blocks": 0}, {"blocks": 1, "inner": 8, "d": 4}])
def test_a_vqvae2_reconstructs_equally(options: dict[str, Any], tmp_path: Path) -> None:
    theirs = trained(Stages(**options))
    model = i2i.load(saved(tmp_path / "vqvae_560.pt", theirs), overrides=["task.size=64"])
    x = image(2, 3, 64, 64)
    again = model.task.decode(model.task.encode(x))
    torch.testing.assert_close(again, theirs(x).clamp(-1, 1), atol=1e-5, rtol=0)
    with pytest.raises(i2i.ConfigError, match="no priors"):
        model.sample(1)


@pytest.mark.parametrize(
    "nested",
    [
        lambda own: {"netG": own},
        lambda own: {"epoch": torch.tensor(3), "generator": {"state_dict": own}},
        lambda own: {"state_dict": {"my_network": {f"module.{name}": value for name, value in own.items()}}},
        lambda own: {f"lit.net.{name}": value for name, value in own.items()},
        lambda own: {
            "G": own,
            "D": {"model.0.weight": torch.ones(3)},
            "optimizer_G": {"state": {0: {"step": torch.ones(1), "exp_avg": torch.ones(3)}}, "param_groups": []},
        },
    ],
    ids=["netG", "beside a counter", "deep", "prefix", "of several"],
)
def test_nested_weights_are_found(nested: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = trained(Resnet())
    content = nested(theirs.state_dict())
    model, x = i2i.load(saved(tmp_path / "net.pth", content)), image(1, 3, 32, 32)
    assert ("from its network 'G'" in capsys.readouterr().err) == ("D" in content)
    with torch.no_grad():
        torch.testing.assert_close(model.task.G(x), theirs(x), atol=1e-5, rtol=0)


def test_a_folder_of_weights_is_found_again_by_other_processes_and_when_a_file_changes(tmp_path: Path) -> None:
    folder = tmp_path / "maps.v1"
    folder.mkdir()
    for part in ("G_A", "G_B"):
        saved(folder / f"latest_net_{part}.pth", trained(Resnet()))
    model = loading.ready(folder)
    assert (model.source, model.name) == (folder, "maps.v1")
    assert fingerprint(loaded(str(model.source), [])) == fingerprint(model)
    assert loading.ready(folder) is model
    saved(folder / "latest_net_G_B.pth", trained(Resnet(), seed=9))
    os.utime(folder / "latest_net_G_B.pth", ns=(1, 1))
    assert fingerprint(loading.ready(folder)) != fingerprint(model)


def test_both_directions_may_be_in_one_file(tmp_path: Path) -> None:
    theirs = {part: trained(Resnet(), seed) for seed, part in enumerate(("netG_A", "netG_B"))}
    model = i2i.load(saved(tmp_path / "net.pth", {part: one.state_dict() for part, one in theirs.items()}))
    x = image(1, 3, 32, 32)
    for direction, part in (("AtoB", "netG_A"), ("BtoA", "netG_B")):
        with torch.no_grad():
            made = model.task.translate(x, direction=direction)
            torch.testing.assert_close(made, theirs[part](x), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("theirs", "changes", "says"),
    [
        (
            Resnet(),
            {"extra.weight": torch.ones(2)},
            r"a resnet generator \(.*\), but extra.weight does not belong to it",
        ),
        (
            Unet(),
            {"extra.weight": torch.ones(2)},
            r"a U-Net generator \(.*\), but extra.weight does not belong to it",
        ),
        (Unet(), {"model.model.0.weight": None}, "a U-Net generator .*, but one of its convolutions is missing"),
        (Unet(), {"model.model.1.model.2.running_var": None}, "batch norm, but model.model.1.model.2.running_var is"),
        (Resnet(), {"model.4.weight": None}, "but has 5 convolutions outside its blocks instead of 6"),
    ],
)
def test_the_first_tensor_that_is_too_many_or_missing_is_named(
    theirs: nn.Module, changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    tensors = {name: value for name, value in {**theirs.state_dict(), **changes}.items() if value is not None}
    with pytest.raises(WeightsError, match=f"net.pth: looks like .*{says}"):
        i2i.load(saved(tmp_path / "net.pth", tensors))
