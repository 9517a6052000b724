"""GAN generators and discriminators: published parameter counts, and formulas written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, batch_norm, interpolate, one_hot, relu
from torch.nn.utils.parametrize import is_parametrized

from i2i.catalog import Catalog
from i2i.errors import ConfigError
from i2i.networks import (
    BigGANDiscriminator,
    BigGANGenerator,
    ConditionalBatchNorm,
    DCGANDiscriminator,
    DCGANGenerator,
    DenseDiscriminator,
    DenseGenerator,
    SelfAttention,
    SNGANDiscriminator,
    SNGANGenerator,
    register,
)
from i2i.networks.conditional import Layers, Projection, by_label, sum_pool
from i2i.networks.sngan import DownBlock, UpBlock

PLAIN = Layers(partial(nn.init.normal_, std=0.3))
CIFAR = {"width": 256, "spectral_norm": True}

# A small one of each family, for grey images of 16 px. The generators take codes of length 12.
GENERATORS: dict[str, Callable[..., nn.Module]] = {
    "dense": partial(DenseGenerator, widths=(8,)),
    "dcgan": partial(DCGANGenerator, width=4),
    "sngan": partial(SNGANGenerator, width=4, widest=2),
    "sagan": partial(SNGANGenerator, width=8, widest=2, spectral_norm=True, attention=8),
    "biggan": partial(BigGANGenerator, width=8, widest=2, attention=8, shared=5),
}
DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {
    "dense": partial(DenseDiscriminator, widths=(8,)),
    "dcgan": partial(DCGANDiscriminator, width=4),
    "dcgan, spectral norm": partial(DCGANDiscriminator, width=4, norm="spectral"),
    "sngan": partial(SNGANDiscriminator, width=4, widest=2),
    "sagan": partial(SNGANDiscriminator, width=8, widest=2, smallest=4, plain=1, attention=8, bias=True),
    "biggan": partial(BigGANDiscriminator, width=8, widest=2, attention=8),
}
BOTH: list[tuple[Any, Any]] = [(build, (1, 16, 12, 3)) for build in GENERATORS.values()]
BOTH += [(build, (1, 16, 3)) for build in DISCRIMINATORS.values()]


def seeded(build: Callable[..., Any], *args: Any, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return build(*args, **options)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def randomised(network: nn.Module) -> nn.Module:
    """Randomise parameters that start at zero, so that every input affects the output well above rounding."""
    for number, p in enumerate(network.parameters()):
        if not p.any():
            p.data = noise(*p.shape, seed=number)
    return network


# ---- published parameter counts


# Counted on instances of the official modules: REFERENCE.md section 2. On "meta", so without memory.
@pytest.mark.parametrize(
    ("network", "sizes", "options", "published"),
    [
        (DCGANGenerator, (3, 64, 100), {}, 3_576_704),
        (DCGANDiscriminator, (3, 64), {}, 2_765_568),
        (SNGANGenerator, (3, 32, 128), {}, 4_276_739),
        (SNGANDiscriminator, (3, 32), {}, 1_053_824),
        (BigGANGenerator, (3, 128, 120, 1000), {}, 70_433_988),
        (BigGANDiscriminator, (3, 128, 1000), {}, 87_982_370),
        (SNGANGenerator, (3, 32, 128, 10), CIFAR, 4_304_387),  # BigGAN's code for CIFAR-10
        (SNGANDiscriminator, (3, 32, 10), {"width": 256, "bias": True}, 4_207_361),
    ],
)
def test_parameter_counts_match_the_published_ones(
    network: Any, sizes: tuple[int, ...], options: dict[str, Any], published: int
) -> None:
    with torch.device("meta"):
        assert parameters(network(*sizes, **options)) == published


def test_networks_are_in_the_catalog() -> None:
    catalog = Catalog()
    register(catalog)
    families = ("dense", "dcgan", "sngan", "biggan")
    both = {f"{family}_{role}" for family in families for role in ("generator", "discriminator")}
    assert both <= set(catalog.names("network"))


# ---- all networks


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("build", GENERATORS.values(), ids=GENERATORS)
def test_a_generator_makes_images_in_range(build: Any, classes: int) -> None:
    for channels, size in ((1, 16), (3, 32)):
        latent = 12 if size == 16 else 16  # for BigGAN a multiple of its number of chunks
        network = seeded(build, channels, size, latent, classes)
        z, label = 5 * noise(4, latent), torch.arange(4) % 3
        made = network(z, label if classes else None)
        assert made.shape == (4, channels, size, size)
        assert 0 < made.abs().max() <= 1


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("build", DISCRIMINATORS.values(), ids=DISCRIMINATORS)
def test_a_discriminator_returns_one_logit_per_image(build: Any, classes: int) -> None:
    network = seeded(build, 3, 16, classes)
    assert network(noise(4, 3, 16, 16), torch.arange(4) % 3 if classes else None).shape == (4, 1)


@pytest.mark.parametrize("build", GENERATORS.values(), ids=GENERATORS)
def test_a_generator_depends_on_the_class(build: Any) -> None:
    network = randomised(seeded(build, 1, 16, 12, 3)).eval()
    z = noise(1, 12).expand(2, -1)
    same, other = network(z, torch.tensor([1, 1])), network(z, torch.tensor([0, 2]))
    torch.testing.assert_close(same[0], same[1])
    assert (other[0] - other[1]).abs().max() > 1e-3


@pytest.mark.parametrize("build", DISCRIMINATORS.values(), ids=DISCRIMINATORS)
def test_a_discriminator_depends_on_the_class(build: Any) -> None:
    network = seeded(build, 1, 16, 3).eval()
    image = noise(1, 1, 16, 16).expand(2, -1, -1, -1)
    same, other = network(image, torch.tensor([1, 1])), network(image, torch.tensor([0, 2]))
    torch.testing.assert_close(same[0], same[1])
    assert (other[0] - other[1]).abs() > 1e-6


@pytest.mark.parametrize(
    ("build", "sizes"), BOTH, ids=[*(f"{name} G" for name in GENERATORS), *(f"{name} D" for name in DISCRIMINATORS)]
)
def test_the_same_seed_gives_the_same_weights(build: Any, sizes: tuple[int, ...]) -> None:
    one, two, other = (seeded(build, *sizes, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("size", [4, 28, 48])
def test_an_unsupported_size_is_rejected_with_an_alternative(size: int) -> None:
    for build in (DCGANGenerator, DCGANDiscriminator, SNGANGenerator, BigGANGenerator):
        sizes = (1, size) if build is DCGANDiscriminator else (1, size, 12)
        with pytest.raises(ConfigError, match=f"need a size of 4 times a power of 2, and {size} is not: use"):
            build(*sizes)
    assert DenseGenerator(1, size, 12)(noise(2, 12)).shape == (2, 1, size, size)


# ---- dense


def test_dense_networks_concatenate_the_one_hot_class_with_their_input() -> None:
    G, D = seeded(DenseGenerator, 1, 4, 5, 3, widths=(7,), batch_norm=False), DenseDiscriminator(1, 4, 3, widths=())
    z, label = noise(2, 5), torch.tensor([2, 0])
    beside = torch.tensor([[0.0, 0, 1], [1, 0, 0]])
    first, _, last, _ = G.layers
    by_hand = torch.tanh(last(relu(first(torch.cat([z, beside], 1))))).view(2, 1, 4, 4)
    assert torch.equal(G(z, label), by_hand)
    assert torch.equal(D(by_hand, label), D.layers(torch.cat([by_hand.view(2, 16), beside], 1)))


def test_dropout_is_active_in_training_only() -> None:
    network, x = seeded(DenseDiscriminator, 1, 4, dropout=0.5), noise(3, 1, 4, 4)
    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


# ---- DCGAN


def test_dcgan_weights_are_initialised_as_published() -> None:
    for network in (seeded(DCGANGenerator, 3, 32, 100, width=32), seeded(DCGANDiscriminator, 3, 32, width=32)):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
                assert layer.bias is None or not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)
                assert 0.01 < layer.weight.std().item() < 0.03


@pytest.mark.parametrize(
    ("norm", "alone"), [("batch", False), ("instance", True), ("none", True), ("spectral", True)]
)
def test_a_logit_depends_on_the_rest_of_the_batch_only_with_batch_norm(norm: Any, alone: bool) -> None:
    network, x = seeded(DCGANDiscriminator, 1, 16, width=4, norm=norm), noise(3, 1, 16, 16).requires_grad_()
    (slope,) = torch.autograd.grad(network(x)[0].sum(), x)
    assert slope[0].any()
    assert bool(slope[1:].any()) != alone


# ---- SNGAN and SAGAN


def test_sngan_weights_are_glorot_initialised() -> None:
    for network in (seeded(SNGANGenerator, 3, 16, 32, width=32), seeded(SNGANDiscriminator, 3, 16, width=32)):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                drawn = dict(layer.named_parameters()).get("parametrizations.weight.original", layer.weight)
                out, fan_in = drawn.flatten(1).shape
                field = drawn[0, 0].numel()
                widest = math.sqrt((2 if field == 9 else 1) * 6 / (fan_in + out * field))
                assert 0.85 * widest < drawn.abs().max() <= widest
                assert layer.bias is None or not layer.bias.any()


def test_spectral_norm_is_on_every_required_layer() -> None:
    """SAGAN has it in G too, except for batch norm gains and biases; SNGAN only in D."""
    everywhere, nowhere = seeded(GENERATORS["sagan"], 1, 16, 12, 3), seeded(GENERATORS["sngan"], 1, 16, 12, 3)
    judges = [seeded(DISCRIMINATORS[name], 1, 16, 3) for name in ("sngan", "sagan", "dcgan, spectral norm")]
    for network in (everywhere, nowhere, *judges):
        kinds: Any = nn.Conv2d | nn.Linear | (nn.Embedding if network in judges else nn.Conv2d)
        found = {is_parametrized(layer) for layer in network.modules() if isinstance(layer, kinds)}
        assert found == {network is not nowhere}


def test_an_up_block_matches_its_published_form() -> None:
    """In pfnet's code the 1x1 convolution comes after upsampling, in ours before it."""
    block = seeded(UpBlock, 3, 5, PLAIN, ConditionalBatchNorm)
    block.conv_s.bias.data = noise(5)
    x = noise(2, 3, 4, 4)
    h = interpolate(relu(batch_norm(x, None, None, training=True)), scale_factor=2)
    h = block.conv_1(relu(batch_norm(block.conv_0(h), None, None, training=True)))
    torch.testing.assert_close(block(x), h + block.conv_s(interpolate(x, scale_factor=2)))


@pytest.mark.parametrize("halve", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("out", [3, 5])
def test_a_down_block_matches_its_published_form(halve: bool, first: bool, out: int) -> None:
    """In pfnet's code the 1x1 convolution comes before pooling, except in the first block."""
    block = seeded(DownBlock, 3, out, PLAIN, halve, first)
    x = noise(2, 3, 4, 4)
    h = block.conv_1(relu(block.conv_0(x if first else relu(x))))
    short = block.conv_s(x)
    assert isinstance(block.conv_s, nn.Identity) == (not halve and out == 3)
    torch.testing.assert_close(block(x), avg_pool2d(h + short, 2) if halve else h + short)


def test_downsampling_ends_at_the_smallest_map_and_plain_blocks_follow() -> None:
    network = SNGANDiscriminator(1, 32, width=4, widest=4, smallest=8, plain=2)
    sides = []
    x = noise(1, 1, 32, 32)
    for block in network.body:
        x = block(x)
        sides.append(tuple(x.shape[1:]))
    assert sides == [(4, 16, 16), (8, 8, 8), (16, 8, 8), (16, 8, 8)]
    with pytest.raises(ConfigError, match="32 pixels cannot be halved down to 12: change its `smallest`"):
        SNGANDiscriminator(1, 32, smallest=12)


def test_features_are_summed_over_all_positions_after_relu() -> None:
    torch.testing.assert_close(sum_pool(torch.tensor([[[[1.0, -2], [3, -4]]]])), torch.tensor([[4.0]]))


# ---- attention


def without_attention(network: nn.Module, plain: nn.Module) -> nn.Module:
    """Copy the weights and buffers of `network` outside its attention to `plain`."""
    inside = {
        f"{name}.{key}"
        for name, module in network.named_modules()
        if isinstance(module, SelfAttention)
        for key in module.state_dict()
    }
    kept = [value for name, value in network.state_dict().items() if name not in inside]
    assert inside
    assert len(kept) == len(plain.state_dict())
    for value, target in zip(kept, plain.state_dict().values(), strict=True):
        target.copy_(value)
    return plain


@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        (GENERATORS["sagan"], (1, 16, 12, 3)),
        (DISCRIMINATORS["sagan"], (1, 16, 3)),
        (GENERATORS["biggan"], (1, 16, 12, 3)),
        (DISCRIMINATORS["biggan"], (1, 16, 3)),
    ],
    ids=["sagan G", "sagan D", "biggan G", "biggan D"],
)
def test_attention_is_initialised_as_the_exact_identity(build: Any, sizes: tuple[int, ...]) -> None:
    network = seeded(build, *sizes)
    plain = without_attention(network, build(*sizes, attention=0))
    x = noise(4, 12) if len(sizes) == 4 else noise(4, 1, 16, 16)
    label = torch.tensor([0, 1, 2, 1])
    for mode in (True, False):
        assert torch.equal(network.train(mode)(x, label), plain.train(mode)(x, label))
    for module in network.modules():
        if isinstance(module, SelfAttention):
            nn.init.constant_(module.gamma, 0.5)
    assert not torch.equal(network(x, label), plain(x, label))


def test_attention_matches_the_published_formula() -> None:
    """Position by position, over 2x2 max-pooled keys (arXiv:1805.08318 eq. 1 and 2, sizes of the code)."""
    channels, side = 16, 4
    attention = seeded(SelfAttention, channels, PLAIN)
    nn.init.constant_(attention.gamma, 0.7)
    x = noise(2, channels, side, side)
    query, key, value, out = (
        getattr(attention, name).weight[:, :, 0, 0] for name in ("query", "key", "value", "out")
    )
    assert [len(weight) for weight in (query, key, value, out)] == [2, 2, 8, 16]
    expected = torch.empty_like(x)
    for n in range(2):
        patches = [(i, j) for i in range(0, side, 2) for j in range(0, side, 2)]
        keys, values = [], []
        for i, j in patches:
            square = x[n, :, i : i + 2, j : j + 2].flatten(1)
            keys.append((key @ square).amax(1))
            values.append((value @ square).amax(1))
        for i in range(side):
            for j in range(side):
                strength = [math.exp((query @ x[n, :, i, j] @ one).item()) for one in keys]
                taken = sum(s / sum(strength) * v for s, v in zip(strength, values, strict=True))
                expected[n, :, i, j] = x[n, :, i, j] + 0.7 * (out @ taken)
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("attention", [4, 12, 64])
def test_attention_at_a_resolution_that_no_map_has_is_rejected(attention: int) -> None:
    build: Any
    for build, sizes, possible in (
        (SNGANGenerator, (1, 32, 16), "8, 16, 32"),
        (BigGANGenerator, (1, 32, 16), "8, 16, 32"),
        (SNGANDiscriminator, (1, 32), "16, 8"),
    ):
        with pytest.raises(
            ConfigError, match=rf"no feature map is {attention} pixels wide for attention; possible: {possible}, or 0"
        ):
            build(*sizes, attention=attention)


@pytest.mark.parametrize("side", [8, 16])
def test_attention_is_at_the_given_resolution(side: int) -> None:
    seen = []
    build: Any
    for build, sizes in (
        (SNGANGenerator, (1, 32, 16)),
        (BigGANGenerator, (1, 32, 16)),
        (BigGANDiscriminator, (1, 32)),
    ):
        network = build(*sizes, width=8, widest=2, attention=side)
        (attention,) = (module for module in network.modules() if isinstance(module, SelfAttention))
        attention.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[-1]))
        network(noise(2, 16) if len(sizes) == 3 else noise(2, 1, 32, 32))
    assert seen == [side] * 3


# ---- classes


def test_conditional_batch_norm_has_a_gain_and_bias_per_class() -> None:
    norm: Any = ConditionalBatchNorm(3, by_label(4))
    x, label = 2 * noise(5, 3, 4, 4) + 1, torch.tensor([0, 3, 1, 3, 0])
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    normal = (x - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(norm(x, label), normal)  # initially the same for all classes
    gain, bias = noise(4, 3, seed=2), noise(4, 3, seed=3)
    norm.gain.weight.data, norm.bias.weight.data = gain, bias
    by_hand = torch.stack(
        [normal[n] * (1 + gain[c])[:, None, None] + bias[c][:, None, None] for n, c in enumerate(label.tolist())]
    )
    torch.testing.assert_close(norm(x, label), by_hand)


def test_without_classes_it_is_plain_batch_norm() -> None:
    ours, stock = ConditionalBatchNorm(3, by_label(0)), nn.BatchNorm2d(3)
    for norm in (ours.plain, stock):
        norm.weight.data, norm.bias.data = noise(3, seed=2), noise(3, seed=3)
    x = noise(5, 3, 4, 4)
    assert torch.equal(ours(x), stock(x))
    assert torch.equal(ours.eval()(x), stock.eval()(x))
    assert parameters(ours) == 6


def test_the_projection_matches_equation_3() -> None:
    """f(x, y) = y' V phi(x) + psi(phi(x)) of arXiv:1802.05637, with y one-hot."""
    projection = seeded(Projection, 6, 4, PLAIN)
    projection.linear.bias.data.fill_(0.3)
    phi, label = noise(5, 6), torch.tensor([0, 3, 1, 3, 0])
    y = one_hot(label, 4).float()
    psi = phi @ projection.linear.weight[0] + 0.3
    by_hand = torch.einsum("nc,cd,nd->n", y, projection.table.weight, phi) + psi
    torch.testing.assert_close(projection(phi, label), by_hand[:, None])
    assert Projection(6, 0, PLAIN, bias=False)(phi).shape == (5, 1)


def test_dcgan_projects_the_features_of_its_last_map() -> None:
    network = seeded(DCGANDiscriminator, 1, 16, 3, width=4, norm="none").eval()
    seen: list[Tensor] = []
    network.last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = noise(2, 1, 16, 16)
    logits = [network(x, torch.full((2,), label)) for label in (0, 2)]
    apart = network.table.weight[2] - network.table.weight[0]
    torch.testing.assert_close((logits[1] - logits[0])[:, 0], seen[0].sum((2, 3)) @ apart)


# ---- BigGAN


def block_inputs(network: Any, z: Tensor, label: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs of each block: feature maps and conditions."""
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = [block.register_forward_pre_hook(lambda _, args: seen.append(args)) for block in network.blocks]
    with torch.no_grad():
        network(z, label)
    for hook in hooks:
        hook.remove()
    return [h for h, _ in seen], [conditions for _, conditions in seen]


def test_each_chunk_of_a_code_reaches_only_its_own_block() -> None:
    network = seeded(BigGANGenerator, 1, 32, 16, 3, width=4, widest=2, attention=8, shared=5).eval()
    z, label = noise(1, 16), torch.tensor([1])
    maps, conditions = block_inputs(network, z, label)
    assert [one.shape[1] for one in conditions] == [5 + 4] * 3
    for part in range(4):
        changed = z.clone()
        changed[:, 4 * part : 4 * part + 4] += 1
        new_maps, new_conditions = block_inputs(network, changed, label)
        differ = [not torch.equal(a, b) for a, b in zip(conditions, new_conditions, strict=True)]
        assert differ == [block == part - 1 for block in range(3)]
        assert [torch.equal(a, b) for a, b in zip(maps, new_maps, strict=True)] == [n < part for n in range(3)]
        assert not torch.equal(network(z, label), network(changed, label))


def test_all_blocks_share_one_class_embedding() -> None:
    network = seeded(BigGANGenerator, 1, 32, 16, 3, width=4, widest=2, attention=0, shared=5).eval()
    z = noise(1, 16)
    maps, conditions = block_inputs(network, z, torch.tensor([1]))
    assert all(torch.equal(one[:, :5], network.table.weight[1:2]) for one in conditions)
    assert torch.equal(torch.cat([one[:, 5:] for one in conditions], 1), z[:, 4:])
    assert torch.equal(maps[0].flatten(1), network.start(z[:, :4]))
    other, _ = block_inputs(network, z, torch.tensor([2]))
    assert [torch.equal(a, b) for a, b in zip(maps, other, strict=True)] == [True, False, False]
    assert BigGANGenerator(1, 32, 16, 0, width=4, attention=0).table is None


def test_a_code_length_that_is_not_divisible_is_rejected_with_one_that_is() -> None:
    for latent, possible in ((15, 12), (3, 4)):
        with pytest.raises(ConfigError, match=rf"into 4 chunks at 32 pixels, .* set task\.latent to {possible}$"):
            BigGANGenerator(1, 32, latent, attention=0)


def test_biggan_is_initialised_orthogonally_with_spectral_norm_on_all_but_the_embedding() -> None:
    for network in (seeded(GENERATORS["biggan"], 1, 16, 12, 3), seeded(DISCRIMINATORS["biggan"], 1, 16, 3)):
        for name, p in network.named_parameters():
            if p.ndim < 2:  # biases and batch norm
                continue
            assert name.endswith("parametrizations.weight.original") or name == "table.weight"
            flat = p.detach().flatten(1)
            flat = flat if len(flat) <= flat.shape[1] else flat.T
            torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat)), atol=1e-5, rtol=0)
