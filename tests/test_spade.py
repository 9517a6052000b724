"""SPADE: networks with the published parameters, losses by hand, styles that blend, label maps that are refused."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from i2i_spade import SPADE, outlines
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from i2i import config
from i2i.errors import ConfigError, DataError
from i2i.losses import WGANGP, Hinge
from i2i.losses.adversarial import Relativistic
from i2i.model import Model
from i2i.networks import MultiscaleDiscriminator, SpadeGenerator, StyleEncoder, spectral
from i2i.networks.spade import SpadeBlock, SpadeNorm
from i2i.plugins import registry
from i2i.processes import ProcessGroup
from i2i.testing import check_task

ROOT = Path(__file__).parent.parent


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def maps(n: int = 2, height: int = 32, width: int = 32, classes: int = 4) -> Tensor:
    return torch.randint(classes, (n, 1, height, width), generator=torch.Generator().manual_seed(1))


def loud(network: nn.Module, scale: float = 30.0) -> nn.Module:
    """Undo the small start, so that what a network depends on is far above rounding."""
    for name, p in network.named_parameters():
        if p.ndim > 1 and "original" not in name:  # spectral norm would undo it
            p.data.mul_(scale)
    return network


def task(**options: Any) -> SPADE:
    torch.manual_seed(0)
    made = {
        "generator": partial(SpadeGenerator, width=4, size=32, hidden=8),
        "discriminator": partial(MultiscaleDiscriminator, width=4),
        "gan": Hinge,
        "classes": 4,
    }
    return SPADE(**{**made, **options})


def with_style(**options: Any) -> SPADE:
    return task(encoder=partial(StyleEncoder, width=4, z=6, size=32), **options)


def batch(**more: Tensor) -> dict[str, Tensor]:
    return {"A": maps(), "B": pictures(2, 3, 32, 32), **more}


# ------------------------------------------------------------------------------------------------ networks


# The counts are those of the official modules, instantiated: REFERENCE.md section 2. The channels are the classes,
# one more for what belongs to none (COCO-Stuff, ADE20K) and one for outlines (COCO-Stuff, Cityscapes).
@pytest.mark.parametrize(
    ("channels", "options", "plain", "with_code", "judges"),
    [
        pytest.param(182 + 1 + 1, {}, 97_480_899, 112_626_883, 5_904_514, id="COCO-Stuff"),
        pytest.param(150 + 1, {}, 96_492_483, 111_942_595, 5_836_930, id="ADE20K"),
        pytest.param(
            35 + 1, {"upsampling": "more", "size": (256, 512)}, 93_048_003, 101_136_579, 5_601_410, id="Cityscapes"
        ),
    ],
)
def test_parameter_counts_are_the_published_ones(
    channels: int, options: dict[str, Any], plain: int, with_code: int, judges: int
) -> None:
    with torch.device("meta"):
        assert parameters(SpadeGenerator(channels, **options)) == plain
        assert parameters(SpadeGenerator(channels, 256, **options)) == with_code
        assert parameters(MultiscaleDiscriminator(channels + 3)) == judges
        assert parameters(StyleEncoder()) == 10_463_424


def test_a_pass_takes_the_published_number_of_operations() -> None:
    # PERFORMANCE.md: 19 label channels at 128 pixels, 92.54 million parameters, 70.6 GFLOP.
    with torch.device("meta"):
        generator = SpadeGenerator(19)
        with FlopCounterMode(display=False) as counter:
            generator(torch.empty(1, 19, 128, 128))
    assert parameters(generator) / 1e6 == pytest.approx(92.54, abs=0.005)
    assert counter.get_total_flops() / 1e9 == pytest.approx(70.6, abs=0.05)


def test_the_norm_is_the_papers_formula() -> None:
    norm, x = SpadeNorm(3, 5, hidden=6), pictures(2, 3, 8, 12) * 3 + 1
    segmap = F.one_hot(maps(2, 4, 6, 5)[:, 0], 5).permute(0, 3, 1, 2).float()
    loud(norm)
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    hidden = F.relu(norm.shared(segmap.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    gamma, beta = norm.gamma(hidden), norm.beta(hidden)
    assert torch.allclose(norm(x, segmap), (x - mean) / (variance + 1e-5).sqrt() * (1 + gamma) + beta, atol=1e-5)
    assert parameters(norm.plain) == 0


def test_a_block_is_the_published_sequence() -> None:
    x, segmap = pictures(2, 6, 8, 8), pictures(2, 5, 8, 8)
    for out in (4, 6):
        block: Any = loud(SpadeBlock(6, out, 5, hidden=4)).eval()
        h = block.conv_0(F.leaky_relu(block.norm_0(x, segmap), 0.2))
        h = block.conv_1(F.leaky_relu(block.norm_1(h, segmap), 0.2))
        shortcut = x if out == 6 else block.conv_s(block.norm_s(x, segmap))
        assert torch.equal(block(x, segmap), shortcut + h)
        assert (block.conv_s is None) == (out == 6)
        assert block.conv_0.out_channels == out  # the narrower of the two


@pytest.mark.parametrize(
    ("upsampling", "heights"),
    [
        ("normal", [4, 8, 8, 16, 32, 64, 128]),
        ("more", [2, 4, 8, 16, 32, 64, 128]),
        ("most", [1, 2, 4, 8, 16, 32, 64, 128]),
    ],
)
def test_blocks_work_at_the_published_sizes(upsampling: Any, heights: list[int]) -> None:
    seen: list[int] = []
    with torch.device("meta"):
        network = SpadeGenerator(3, width=2, upsampling=upsampling, hidden=4)
        for block in network.blocks:
            block.register_forward_hook(lambda _, __, out: seen.append(out.shape[2]))
        assert network(torch.empty(2, 3, 128, 256)).shape == (2, 3, 128, 256)
    assert seen == heights
    assert network.multiple == 128 // heights[0]


@pytest.mark.parametrize("z", [0, 5])
def test_generator_supports_every_size_that_can_be_halved_often_enough(z: int) -> None:
    torch.manual_seed(0)
    network = SpadeGenerator(3, z, width=2, size=(32, 64), hidden=4).eval()
    code = pictures(2, 5) if z else None
    for height, width in ((32, 32), (32, 64), (96, 64)):
        y = network(pictures(2, 3, height, width), code)
        assert y.shape == (2, 3, height, width)
        assert y.abs().max() <= 1
    with pytest.raises(DataError, match=r"48x32 pixels does not fit this spade_generator: .* multiples of 32"):
        network(pictures(2, 3, 48, 32), code)


def test_generator_with_a_code_needs_a_size_that_fits() -> None:
    with pytest.raises(ConfigError, match=r"doubles 6 times \(upsampling: more\).* divisible by 64, but it is 64x96"):
        SpadeGenerator(3, 5, width=2, upsampling="more", size=(64, 96))


def test_each_code_reaches_its_own_image_of_the_batch() -> None:
    network = loud(SpadeGenerator(3, 5, width=2, size=32, hidden=4)).eval()
    segmap, codes = pictures(1, 3, 32, 32).expand(2, -1, -1, -1), pictures(2, 5)
    both = network(segmap, codes)
    assert (both[0] - both[1]).abs().max() > 1e-3
    assert torch.allclose(both[1:], network(segmap[:1], codes[1:]), atol=1e-5)


def test_instance_norm_makes_images_independent_of_the_batch_even_in_training() -> None:
    for norm, alike in (("instance", True), ("batch", False)):
        block: Any = loud(SpadeBlock(4, 4, 3, hidden=4, norm=norm))  # type: ignore[arg-type]
        x, segmap = pictures(3, 4, 8, 8) * torch.tensor([1.0, 2.0, 5.0])[:, None, None, None], pictures(3, 3, 8, 8)
        with torch.no_grad():
            for _ in range(30):  # until the power iterations have converged
                whole = block(x, segmap)
            assert torch.allclose(whole[:1], block(x[:1], segmap[:1]), atol=1e-3) == alike


def test_batch_norm_is_rejected_for_several_processes_without_gpus() -> None:
    with pytest.raises(ConfigError, match="batch norm over several processes needs GPUs"):
        ProcessGroup(0, 2).same_start(SpadeGenerator(3, width=2, hidden=4), torch.device("cpu"))


def plain_judges(channels: int, w: int) -> nn.ModuleList:
    """Return the discriminator rebuilt from stock torch layers, as listed in REFERENCE.md section 3."""
    return nn.ModuleList(
        nn.Sequential(
            *(nn.Conv2d(channels, w, 4, 2, 2), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(w, 2 * w, 4, 2, 2, bias=False), nn.InstanceNorm2d(2 * w), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(2 * w, 4 * w, 4, 2, 2, bias=False), nn.InstanceNorm2d(4 * w), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(4 * w, 8 * w, 4, 1, 2, bias=False), nn.InstanceNorm2d(8 * w), nn.LeakyReLU(0.2)),
            nn.Conv2d(8 * w, 1, 4, 1, 2),
        )
        for _ in range(2)
    )


def test_the_discriminator_equals_its_plain_transcription() -> None:
    ours, plain = MultiscaleDiscriminator(5, width=4).eval(), plain_judges(5, 4)
    convs = [m for m in ours.modules() if isinstance(m, nn.Conv2d)]
    stock = [m for m in plain.modules() if isinstance(m, nn.Conv2d)]
    for one, other in zip(convs, stock, strict=True):
        other.weight.data.copy_(one.weight.data)  # divided by its largest singular value
        if one.bias is not None and other.bias is not None:
            other.bias.data.copy_(one.bias.data)
    x = pictures(2, 5, 48, 64)
    halved = nn.AvgPool2d(3, 2, 1, count_include_pad=False)(x)
    for logits, judge, seen in zip(ours(x), plain, (x, halved), strict=True):
        assert torch.allclose(logits, judge(seen), atol=1e-5)
    assert [len(scale) for scale in ours.maps(x)] == [5, 5]


def test_spectral_norm_makes_the_largest_singular_value_one() -> None:
    for layer in (nn.Conv2d(6, 9, 3), nn.Linear(12, 7)):
        normed: Any = spectral(layer)
        for _ in range(60):
            _ = normed.weight
        assert torch.linalg.matrix_norm(normed.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


def test_averaged_vectors_still_find_the_largest_singular_value() -> None:
    # As in an average over a training: shorter than 1, and lagging behind.
    torch.manual_seed(0)
    layer: Any = spectral(nn.Conv2d(8, 16, 3)).eval()
    first = layer.weight
    layer.parametrizations.weight[0].u.mul_(0.2).add_(0.05 * torch.randn(16))
    assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    kept = layer.parametrizations.weight[0].u.clone()
    assert torch.equal(layer.weight, layer.weight)
    assert torch.equal(layer.parametrizations.weight[0].u, kept)
    assert torch.allclose(layer.weight, first, atol=0.05)


def test_a_layer_with_spectral_norm_survives_pickling_to_another_process() -> None:
    layer: Any = spectral(nn.Conv2d(3, 4, 3, bias=False)).eval()
    state = torch.get_rng_state()
    other = pickle.loads(pickle.dumps(nn.Sequential(layer)))[0]
    assert torch.equal(torch.get_rng_state(), state)
    x = pictures(1, 3, 8, 8)
    assert torch.equal(layer(x), other(x))
    assert torch.equal(layer.train()(x), other.train()(x))  # the same power iteration from the same vectors
    assert layer.state_dict().keys() == other.state_dict().keys()
    assert torch.equal(copy.deepcopy(other).eval()(x), other.eval()(x))
    assert [name for name, _ in other.named_parameters()] == ["parametrizations.weight.original"]


def test_encoder_accepts_images_of_any_size_and_halves_down_to_four() -> None:
    network = StyleEncoder(width=2, z=5, size=64)
    for shape in ((2, 3, 64, 64), (2, 3, 100, 40), (2, 3, 16, 300)):
        mu, logvar = network(pictures(*shape))
        assert mu.shape == logvar.shape == (2, 5)
    for size in (48, 4):
        with pytest.raises(ConfigError, match=f"cannot use a size of {size} pixels: set a power of two"):
            StyleEncoder(size=size)


# ------------------------------------------------------------------------------------------------ what networks see


def test_a_label_map_becomes_one_channel_per_class() -> None:
    label = torch.tensor([[[[0, 2], [3, 7]]]])
    seen = task(classes=4, ignore=7).segmap(label)
    assert seen.shape == (1, 5, 2, 2)
    assert seen.argmax(1).tolist() == [[[0, 2], [3, 4]]]
    assert seen.sum(1).eq(1).all()
    without = task(classes=4, ignore=7, unknown="zeros").segmap(label)
    assert torch.equal(without, seen[:, :4])
    assert without.sum(1).tolist() == [[[1, 1], [1, 0]]]


def test_an_ignored_zero_shifts_the_other_classes_down() -> None:
    # As published for ADE20K, whose label maps count classes from 1.
    assert task(classes=3, ignore=0).segmap(torch.tensor([[[[0, 1, 2, 3]]]])).argmax(1).tolist() == [[[3, 0, 1, 2]]]


@pytest.mark.parametrize(("value", "ignore"), [(4, None), (9, 7), (-1, None)])
def test_an_unknown_class_index_is_rejected(value: int, ignore: int | None) -> None:
    label = maps()
    label[1, 0, 3, 4] = value
    with pytest.raises(DataError, match=r"the label map contains class -?\d, but there are 4 classes \(0 to 3\)"):
        task(ignore=ignore).translate(label)


def test_outlines_lie_on_both_sides_of_a_border() -> None:
    instance = torch.zeros(1, 1, 5, 6, dtype=torch.int64)
    instance[..., 2:, 3:] = 9
    wanted = [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0, 0],
    ]
    assert outlines(instance)[0, 0].tolist() == wanted


def test_instances_add_a_channel() -> None:
    made, label = task(edges=True), maps()
    instance = torch.zeros_like(label)
    assert torch.equal(made.segmap(label, instance)[:, 4:], torch.zeros(2, 1, 32, 32))
    assert torch.equal(made.segmap(label)[:, 4:], outlines(label))
    with pytest.raises(DataError, match=r"instance map is \[2, 1, 8, 8\] and the padded label map \[2, 1, 32, 32\]"):
        made.segmap(label, instance[..., :8, :8])


# ------------------------------------------------------------------------------------------------ the step


@pytest.mark.parametrize(
    "made", [task, with_style, partial(with_style, reuse_fake=True), partial(task, edges=True, ignore=3, classes=3)]
)
def test_it_keeps_the_contract_of_a_task(made: Any) -> None:
    check_task(made(), batch(), steps=8)


def first_turns(made: SPADE, given: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    return dict(made.step(given))


def test_losses_are_those_of_the_paper() -> None:
    made, given = task(lambda_feature=3.0, lambda_perceptual=7.0, perceptual=lambda: F.mse_loss), batch()
    loud(made.D, 5)
    made.eval()  # no power iteration and no statistics between our passes and those of the step
    turns = first_turns(made, given)
    segmap = F.one_hot(given["A"][:, 0], 4).permute(0, 3, 1, 2).float()
    fake = made.G(segmap)
    fakes, reals = (made.D.maps(torch.cat([segmap, image], 1)) for image in (fake, given["B"]))

    def mean(term: Any, scales: list[list[Tensor]]) -> Tensor:
        return sum(term(scale[-1]).mean() for scale in scales) / 2  # type: ignore[return-value]

    feature = sum(
        F.l1_loss(a, b) for one, other in zip(fakes, reals, strict=True) for a, b in zip(one[:-1], other[:-1])
    )
    wanted = {
        "gan": mean(lambda logits: -logits, fakes),
        "feature": 3 * feature / 2,
        "perceptual": 7 * F.mse_loss(fake, given["B"]),
    }
    assert turns["G"].keys() == wanted.keys()
    for name, value in wanted.items():
        assert turns["G"][name].item() == pytest.approx(value.item(), rel=1e-4), name
    assert turns["D"]["fake"].item() == pytest.approx(mean(lambda d: F.relu(1 + d), fakes).item(), rel=1e-4)
    assert turns["D"]["real"].item() == pytest.approx(mean(lambda d: F.relu(1 - d), reals).item(), rel=1e-4)


def test_the_kl_divergence_is_that_of_gaussians_per_image() -> None:
    made, given = with_style(lambda_kl=2.0), batch()
    assert made.E is not None
    with torch.no_grad():
        made.E.logvar.bias.fill_(0.3)
        made.E.mu.bias.fill_(-0.7)
    made.eval()
    mu, logvar = made.E(given["B"])
    normal = torch.distributions.Normal
    divergence = torch.distributions.kl_divergence(normal(mu, (logvar / 2).exp()), normal(0.0, 1.0))
    assert first_turns(made, given)["G"]["kl"].item() == pytest.approx(2 * divergence.sum(1).mean().item(), rel=1e-4)


def test_real_and_fake_share_one_batch_and_the_generator_updates_first() -> None:
    made, seen = task(), []
    made.D.judges[0].children().__next__().register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    assert [player for player, _ in made.step(batch())] == ["G", "D"]
    assert seen == [4, 4]


@pytest.mark.parametrize(("reuse", "passes"), [(False, 2), (True, 1)])
def test_the_fake_is_regenerated_for_the_discriminator_unless_reused(reuse: bool, passes: int) -> None:
    made, seen = with_style(reuse_fake=reuse), []
    made.G.register_forward_hook(lambda _, __, out: seen.append(out))
    for player, losses in made.step(batch()):
        if player == "D":
            assert all(loss.requires_grad for loss in losses.values())
            (slope,) = torch.autograd.grad(sum(losses.values()), [made.G.head.bias], allow_unused=True)  # type: ignore[arg-type]
            assert slope is None
    assert len(seen) == passes
    assert seen[-1].requires_grad == reuse


@pytest.mark.parametrize("gan", [WGANGP, Relativistic])
def test_an_objective_that_needs_more_than_single_logits_is_rejected(gan: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"task\.gan: .* objectives on single logits: hinge, lsgan, vanilla or minimax"
    ):
        task(gan=gan)


# ------------------------------------------------------------------------------------------------ styles


@pytest.fixture(scope="module")
def stylish() -> SPADE:
    made = with_style()
    assert made.E is not None
    loud(made.G)
    loud(made.E, 300)
    return made.eval()


def test_without_a_style_the_seed_samples_one_for_all_images(stylish: SPADE) -> None:
    label = maps(1).expand(3, -1, -1, -1)
    first = stylish.translate(label)
    assert torch.equal(first, stylish.translate(label, seed=0))
    assert torch.equal(first[0], first[2])
    assert (first - stylish.translate(label, seed=1)).abs().max() > 1e-3


def test_a_style_is_an_image_of_any_size_for_each_or_for_all(stylish: SPADE) -> None:
    label = maps(2)
    styles = pictures(2, 3, 40, 56)
    both = stylish.translate(label, style=styles)
    assert torch.allclose(both[1:], stylish.translate(label[1:], style=styles[1:]), atol=1e-5)
    for_all = stylish.translate(label, style=styles[:1])
    assert torch.allclose(for_all[0], both[0], atol=1e-5)
    assert (for_all[1] - both[1]).abs().max() > 1e-3


def test_several_styles_are_blended_by_weight(stylish: SPADE) -> None:
    label = maps(1)
    one, other = pictures(1, 3, 32, 32, seed=1), pictures(1, 3, 64, 48, seed=2) * 0.2 + 0.7
    only = stylish.translate(label, style=[one, other], weights=[2.0, 0.0])
    assert torch.allclose(only, stylish.translate(label, style=one), atol=1e-5)
    quarter = stylish.blend([one, other], [1.0, 3.0])
    assert torch.allclose(quarter, 0.25 * stylish.encode(one) + 0.75 * stylish.encode(other), atol=1e-5)
    assert torch.allclose(stylish.blend([one, other]), stylish.blend([other, one]), atol=1e-5)
    for text in ("1,3", ["1", "3"], torch.tensor([1.0, 3.0])):
        assert torch.equal(stylish.blend([one, other], text), quarter)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"weights=\[1\]: weights are for styles, but no style is given"):
        stylish.translate(label, weights=[1])
    with pytest.raises(ConfigError, match="does not use instances"):
        stylish.translate(label, instance=label)
    with pytest.raises(ConfigError, match="weights=a: should be numbers, one for each style"):
        stylish.blend([one, other], "a,b")
    assert torch.equal(stylish.translate(label, seed="3"), stylish.translate(label, seed=3))
    with pytest.raises(ConfigError, match="seed=x: should be a whole number"):
        stylish.translate(label, seed="x")
    for weights in ([1.0], [1.0, -1.0]):
        with pytest.raises(ConfigError, match="for 2 styles; give one for each"):
            stylish.translate(label, style=[one, other], weights=weights)


def test_samples_of_another_kind_are_rejected() -> None:
    with pytest.raises(ConfigError, match='needs label maps "A" and photographs "B", but the data has image'):
        next(task().step({"image": pictures(1, 3, 32, 32)}))


def test_a_style_for_a_model_without_an_encoder_is_rejected() -> None:
    made = task()
    with pytest.raises(ConfigError, match=r"has no encoder, so it cannot use a style: train one with task\.encoder"):
        made.translate(maps(), style=pictures(2, 3, 32, 32))
    with pytest.raises(ConfigError, match="no latent space"):
        made.encode(pictures(2, 3, 32, 32))


def test_metrics_use_the_style_of_the_batch_and_never_its_photograph(stylish: SPADE) -> None:
    given, style = batch(), pictures(2, 3, 32, 32, seed=5)
    without = stylish.predict(given)
    assert torch.equal(without, stylish.predict({**given, "B": style}))
    assert torch.equal(stylish.predict({**given, "style": style}), stylish.translate(given["A"], style=style))
    found = stylish.validate({**given, "style": style})
    assert found["l1_without_style"] == pytest.approx(F.l1_loss(without, given["B"]).item())
    assert stylish.validate(given).keys() == {"l1"}


def test_preview_images_show_the_label_map_the_output_and_a_style(stylish: SPADE) -> None:
    shown = stylish.pictures(batch())
    assert [*shown] == ["label", "fake", "real", "style", "in that style"]
    assert {tuple(column.shape) for column in shown.values()} == {(2, 3, 32, 32)}
    assert len(shown["label"].flatten(2).unique(dim=2)[0].T.unique(dim=0)) <= 5
    assert torch.equal(shown["style"][1], batch()["B"][0])
    assert [*task().eval().pictures(batch())] == ["label", "fake", "real"]


def test_the_model_accepts_label_maps_and_styles_in_common_formats(stylish: SPADE) -> None:
    model = Model(stylish, {}, Path("model.safetensors"))
    label = maps(1, 45, 70)[0, 0].numpy().astype(np.uint8)
    photo = Image.fromarray(np.full((30, 50, 3), 90, np.uint8))
    painted = model(Image.fromarray(label), style=photo)
    assert (painted.mode, painted.size) == ("RGB", (70, 45))
    assert painted.tobytes() == model(Image.fromarray(label), style=[photo]).tobytes()
    blended = model(label, style=[photo, Image.new("L", (20, 20), 250)], weights=[0.5, 0.5])
    assert blended.shape == (45, 70, 3)
    assert blended.dtype == np.uint8
    with pytest.raises(DataError, match="the label map contains class 9"):
        model(np.full((8, 8), 9))


def test_the_model_accepts_only_instances_of_the_label_maps_size(tmp_path: Path) -> None:
    made = task(edges=True)
    loud(made.G)
    model = Model(made.eval(), {}, Path("model.safetensors"))
    label, instance = maps(1, 45, 70)[0, 0].numpy(), maps(1, 45, 70, classes=3)[0, 0].numpy() // 2
    Image.fromarray(instance.astype(np.uint8)).save(tmp_path / "instances.png")
    painted = model(label, instance=instance)
    assert np.array_equal(painted, model(label, instance=str(tmp_path / "instances.png")))
    assert np.array_equal(painted, model(label, instance=torch.from_numpy(instance)[None, None]))
    assert not np.array_equal(painted, model(label))
    for wrong in (instance[:40], np.pad(instance, (0, 3)), np.pad(instance, (0, 30))):  # in the same padding, or not
        with pytest.raises(DataError, match="both must have the same size"):
            model(label, instance=wrong)


# ------------------------------------------------------------------------------------------------ configs


@pytest.mark.parametrize(
    ("name", "generator", "discriminator"),
    [("coco", 97_480_899, 5_904_514), ("ade20k", 96_492_483, 5_836_930), ("cityscapes", 93_048_003, 5_601_410)],
)
def test_the_paper_configs_are_the_published_networks(name: str, generator: int, discriminator: int) -> None:
    chosen = config.load(ROOT / "configs" / "paper" / f"spade_{name}.yaml", [], registry().catalog)
    with torch.device("meta"):
        made = chosen.task()
    assert parameters(made.G) == generator
    assert parameters(made.D) == discriminator
    assert (made.lambda_feature, made.lambda_perceptual, made.reuse_fake) == (10, 10, False)
    rates = {player: part.keywords["lr"] for player, part in chosen.optimizer.items()}
    assert rates == {"G": 1e-4, "D": 4e-4}
