"""Shared networks: published parameter counts and architectures, and our own options."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.catalog import Catalog
from i2i.errors import ConfigError, DataError
from i2i.networks import (
    InstanceNorm,
    PatchDiscriminator,
    ResnetGenerator,
    in_parts,
    init_normal,
    norm_layer,
    register,
)
from i2i.networks.blocks import from_opponent, to_opponent
from i2i.networks.resnet import upsampling


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    for p, q in zip(source.parameters(), target.parameters(), strict=True):
        q.data.copy_(p.data)


# Counted on instances of the official modules: REFERENCE.md section 2.
@pytest.mark.parametrize(
    ("network", "options", "published"),
    [
        (ResnetGenerator, {}, 11_378_179),
        (ResnetGenerator, {"blocks": 6}, 7_837_699),
        (PatchDiscriminator, {}, 2_764_737),
        (PatchDiscriminator, {"in_channels": 6, "norm": "batch"}, 2_768_705),
        (PatchDiscriminator, {"in_channels": 3, "norm": "batch"}, 2_765_633),
        (PatchDiscriminator, {"in_channels": 6, "norm": "batch", "layers": 0}, 9_024),
    ],
)
def test_parameter_counts_match_the_published_ones(network: Any, options: dict[str, Any], published: int) -> None:
    assert parameters(network(**options)) == published


def test_instance_norm_matches_torch() -> None:
    x = images(3, 5, 9, 7) * 4 + 2
    assert torch.allclose(InstanceNorm()(x), nn.InstanceNorm2d(5)(x), atol=1e-5)


def test_instance_norm_of_a_single_pixel_is_zero_and_differentiable() -> None:
    x = images(1, 4, 1, 1).requires_grad_()
    y = InstanceNorm()(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(y))
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_instance_norm_of_a_constant_map_is_zero() -> None:
    assert torch.equal(InstanceNorm()(torch.full((2, 3, 4, 4), 7.0)), torch.zeros(2, 3, 4, 4))


def test_an_unknown_norm_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown norm 'layer': choose from instance, batch, none"):
        norm_layer("layer", 4)  # type: ignore[arg-type]


def test_init_normal_sets_normal_weights_and_zero_biases() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(16, 64, 5), nn.BatchNorm2d(4096), nn.ConvTranspose2d(16, 64, 5), nn.Linear(99, 99))
    init_normal(net)
    layer: Any
    for layer in net:
        weight, bias = layer.weight.data, layer.bias.data
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert weight.mean().item() == pytest.approx(float(isinstance(layer, nn.BatchNorm2d)), abs=2e-3)
        assert torch.equal(bias, torch.zeros_like(bias))


class Residual(nn.Module):
    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def reference_generator(w: int, blocks: int) -> nn.Sequential:
    """CycleGAN's generator reimplemented with plain torch layers, as listed in REFERENCE.md section 3."""

    def block() -> Residual:
        first = (nn.ReflectionPad2d(1), nn.Conv2d(4 * w, 4 * w, 3), nn.InstanceNorm2d(4 * w), nn.ReLU())
        return Residual(*first, nn.ReflectionPad2d(1), nn.Conv2d(4 * w, 4 * w, 3), nn.InstanceNorm2d(4 * w))

    return nn.Sequential(
        *(nn.ReflectionPad2d(3), nn.Conv2d(3, w, 7), nn.InstanceNorm2d(w), nn.ReLU()),
        *(nn.Conv2d(w, 2 * w, 3, 2, 1), nn.InstanceNorm2d(2 * w), nn.ReLU()),
        *(nn.Conv2d(2 * w, 4 * w, 3, 2, 1), nn.InstanceNorm2d(4 * w), nn.ReLU()),
        *(block() for _ in range(blocks)),
        *(nn.ConvTranspose2d(4 * w, 2 * w, 3, 2, 1, 1), nn.InstanceNorm2d(2 * w), nn.ReLU()),
        *(nn.ConvTranspose2d(2 * w, w, 3, 2, 1, 1), nn.InstanceNorm2d(w), nn.ReLU()),
        *(nn.ReflectionPad2d(3), nn.Conv2d(w, 3, 7), nn.Tanh()),
    )


def reference_discriminator(w: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, w, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(w, 2 * w, 4, 2, 1), nn.InstanceNorm2d(2 * w), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(2 * w, 4 * w, 4, 2, 1), nn.InstanceNorm2d(4 * w), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(4 * w, 8 * w, 4, 1, 1), nn.InstanceNorm2d(8 * w), nn.LeakyReLU(0.2)),
        nn.Conv2d(8 * w, 1, 4, 1, 1),
    )


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (lambda: ResnetGenerator(width=8, blocks=3), lambda: reference_generator(8, 3)),
        (lambda: PatchDiscriminator(width=8), lambda: reference_discriminator(8)),
    ],
    ids=["generator", "discriminator"],
)
def test_a_network_matches_its_plain_reimplementation(ours: Any, reference: Any) -> None:
    network, expected = ours(), reference()
    copy_in_order(network, expected)
    x = images(2, 3, 32, 48)
    assert torch.allclose(network(x), expected(x), atol=1e-5)


def test_the_same_seed_gives_the_same_weights() -> None:
    for build in (ResnetGenerator, PatchDiscriminator):
        torch.manual_seed(3)
        first = build(width=4)
        torch.manual_seed(3)
        second = build(width=4)
        assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_generator_keeps_the_size_and_stays_in_range(upsample: Any, norm: Any) -> None:
    network = ResnetGenerator(1, 2, width=4, blocks=1, norm=norm, upsample=upsample)
    for height, width in ((8, 8), (12, 40)):
        y = network(images(2, 1, height, width))
        assert y.shape == (2, 2, height, width)
        assert y.abs().max() <= 1


def test_resize_upsampling_makes_no_checkerboard() -> None:
    # With a constant input, any pattern comes from the upsampling.
    def unevenness(upsample: Any) -> float:
        torch.manual_seed(0)
        network = ResnetGenerator(width=8, blocks=1, norm="none", upsample=upsample)
        for p in network.parameters():
            p.data.mul_(10)  # N(0, 0.2): large enough to be visible
        middle = network(torch.full((1, 3, 64, 64), 0.5))[..., 24:40, 24:40]
        return (middle.amax((2, 3)) - middle.amin((2, 3))).max().item()

    assert unevenness("resize") < 1e-5
    assert unevenness("transposed") > 1e-3


def test_resize_upsampling_repeats_pixels_and_convolves() -> None:
    layers = nn.Sequential(*upsampling(2, 2, "resize", bias=True))
    nn.init.dirac_(layers[1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(layers[1].bias)  # type: ignore[arg-type]
    x = images(1, 2, 3, 4)
    assert torch.equal(layers(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    with pytest.raises(ConfigError, match="unknown upsample 'bicubic': choose from transposed, resize"):
        ResnetGenerator(upsample="bicubic")  # type: ignore[arg-type]


def test_masked_generator_copies_the_input_where_the_mask_is_0_and_paints_where_it_is_1() -> None:
    x = images(2, 3, 32, 32)
    network = ResnetGenerator(width=8, blocks=1, masked=True)
    assert network.head.bias is not None
    with torch.no_grad():
        network.head.bias[-1] = -50.0
        assert torch.allclose(network(x), x, atol=1e-6)
        network.head.bias[-1] = 50.0
        painted = torch.tanh(network.head(network.body(x))[:, :3])
        assert torch.allclose(network(x), painted, atol=1e-6)


def test_masked_generator_rejects_different_input_and_output_channels() -> None:
    with pytest.raises(ConfigError, match="in_channels is 1 and out_channels 2"):
        ResnetGenerator(1, 2, masked=True)


@pytest.mark.parametrize("size", [(30, 32), (32, 33), (4, 8)])
def test_generator_rejects_an_unsupported_size(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=f"{size[0]}x{size[1]} pixels .* multiples of {ResnetGenerator.multiple}"):
        ResnetGenerator(width=4, blocks=1)(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("masked", [False, True])
def test_exported_generator_accepts_other_sizes(masked: bool) -> None:
    network = ResnetGenerator(width=4, blocks=1, masked=masked).eval()
    auto = torch.export.Dim.AUTO
    example = images(2, 3, 16, 16)
    exported = torch.export.export(network, (example,), dynamic_shapes=({0: auto, 2: auto, 3: auto},)).module()
    x = images(3, 3, 24, 40)
    assert torch.allclose(exported(x), network(x), atol=1e-6)


@pytest.mark.parametrize(("layers", "field"), [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_receptive_field_of_a_logit_is_the_published_one(layers: int, field: int) -> None:
    network = PatchDiscriminator(1, width=2, layers=layers, norm="none")
    for p in network.parameters():
        p.data.fill_(0.1)
    x = torch.zeros(1, 1, 160, 160, requires_grad=True)
    logits = network(x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert x.grad is not None
    touched = x.grad[0, 0].nonzero()
    assert (touched.amax(0) - touched.amin(0) + 1).tolist() == [field, field]


def test_discriminator_widths_stop_at_eight_times_the_first() -> None:
    widths = [m.out_channels for m in PatchDiscriminator(width=2, layers=5).modules() if isinstance(m, nn.Conv2d)]
    assert widths == [2, 4, 8, 16, 16, 16, 1]


def test_discriminator_rejects_images_below_its_minimum_size() -> None:
    network = PatchDiscriminator(width=4)
    assert network(torch.zeros(1, 3, 24, 24)).shape == (1, 1, 1, 1)
    with pytest.raises(DataError, match=r"24x23 pixels is too small .* at least 24"):
        network(torch.zeros(1, 3, 24, 23))


def test_discriminator_rejects_negative_layers() -> None:
    with pytest.raises(ConfigError, match="layers=-1"):
        PatchDiscriminator(layers=-1)


def test_networks_can_be_copied_and_restored_from_their_state_dict() -> None:
    for network in (ResnetGenerator(width=4, blocks=1), PatchDiscriminator(width=4, layers=1)):
        other = copy.deepcopy(network)
        for p in other.parameters():
            p.data.zero_()
        other.load_state_dict(network.state_dict())
        x = images(1, 3, 16, 16)
        assert torch.equal(network(x), other(x))


def test_networks_are_in_the_catalog() -> None:
    catalog = Catalog()
    register(catalog)
    assert {"patch_discriminator", "resnet_generator"} <= set(catalog.names("network"))


def test_opponent_colours_preserve_norms_and_can_be_inverted() -> None:
    image = torch.rand(2, 3, 4, 5) * 2 - 1
    torch.testing.assert_close(to_opponent(image, 1.0).norm(dim=1), image.norm(dim=1))
    torch.testing.assert_close(from_opponent(to_opponent(image, 2.0), 0.5), image)
    assert (
        to_opponent(image[:, :1].expand(-1, 3, -1, -1), 2.0)[:, 1:].abs().max() < 1e-6
    )  # grey has no colour differences


@pytest.mark.parametrize("masked", [False, True])
def test_chroma_changes_the_output_but_not_the_state_dict(masked: bool) -> None:
    torch.manual_seed(0)
    plain = ResnetGenerator(width=4, blocks=1, masked=masked)
    coloured = ResnetGenerator(width=4, blocks=1, masked=masked, chroma=1.0)
    coloured.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    assert not torch.equal(plain(x), coloured(x))
    with torch.no_grad():
        coloured.head.weight[1:3], coloured.head.bias[1:3] = 0, 0  # no colour differences: a grey output
    if not masked:
        grey = coloured(x)
        torch.testing.assert_close(grey[:, 0], grey[:, 2])
        torch.testing.assert_close(grey[:, 0], grey[:, 1])


def test_chroma_scales_the_colour_differences_a_discriminator_sees() -> None:
    torch.manual_seed(0)
    seen = [PatchDiscriminator(width=8, layers=1, norm="none", chroma=chroma) for chroma in (1.0, 4.0)]
    seen[1].load_state_dict(seen[0].state_dict())
    tint = torch.tensor([0.2, 0, -0.2])[:, None, None].expand(1, 3, 16, 16)  # same luma as black
    torch.testing.assert_close(seen[1](tint), 4 * seen[0](tint))  # homogeneous, as all biases are 0


@pytest.mark.parametrize(
    "build", [lambda: ResnetGenerator(out_channels=2, chroma=1.0), lambda: PatchDiscriminator(6, chroma=2.0)]
)
def test_chroma_requires_three_channels(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(ConfigError, match=r"chroma needs RGB images, but .*_channels is"):
        build()


def test_in_parts_matches_a_single_call_and_limits_the_batch_size() -> None:
    seen = []

    def network(x: Tensor, label: Tensor | None) -> Tensor:
        seen.append(len(x))
        return x if label is None else x + label[:, None]

    x, label = torch.randn(7, 3), torch.arange(7)
    assert torch.equal(in_parts(network, x, label, most=3), x + label[:, None])
    assert torch.equal(in_parts(network, x, None, most=3), x)
    assert in_parts(network, x[:0], None).shape == (0, 3)
    assert seen == [3, 3, 1, 3, 3, 1, 0]
