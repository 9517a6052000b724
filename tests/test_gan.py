"""The GAN: its step against a loop by hand, its theory, what it is asked for, its alarms, its augmentation."""

from __future__ import annotations

import copy
import json
import logging
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_gan import GAN, Watch
from i2i_gan.task import truncated
from i2i_gan.watch import ADVICE, diversity, ranked, saturated
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad, softplus
from torch.nn.utils import parametrize

from i2i import ConfigError, DataError, api, checkpoint, cli, config
from i2i.config import Train
from i2i.engine import Engine, seed_everything
from i2i.losses import LSGAN, WGANGP, Hinge, Minimax, Relativistic, Vanilla
from i2i.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    DenseDiscriminator,
    DenseGenerator,
    SelfAttention,
    augmented,
)
from i2i.optim import adam, linear_decay
from i2i.plugins import registry
from i2i.testing import check_task

ROOT = Path(__file__).parent.parent
FAMILIES = ("gan", "dcgan", "cgan", "sngan", "sagan", "biggan", "wgan_gp")
STILL = partial(torch.optim.SGD, lr=0.0)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def batch(n: int = 8, size: int = 16, seed: int = 0) -> dict[str, Tensor]:
    return {"image": pictures(n, 1, size, size, seed=seed), "label": torch.arange(n) % 3}


def made(generator: Any = None, discriminator: Any = None, gan: Any = Vanilla, **options: Any) -> GAN:
    """Return a small task of fully connected networks for grey pictures of 4 px, or of those that are given."""
    torch.manual_seed(0)
    dense = partial(DenseGenerator, widths=(16,)), partial(DenseDiscriminator, widths=(16,))
    return GAN(generator or dense[0], discriminator or dense[1], gan, **({"latent": 3, "size": 4} | options))


def configured(name: str, *changes: str) -> GAN:
    """Return the task of a config that ships, for pictures of 16 px."""
    tree = config.load(ROOT / "configs" / f"{name}.yaml", [], registry().catalog).tree["task"]
    toy = {"widths": "[16]", "width": 4, "attention": 8, "shared": 8}
    small = [
        f"task.{role}.{key}={toy[key]}" for role in ("generator", "discriminator") for key in tree[role] if key in toy
    ]
    small += ["task.size=16", "task.latent=12", *(["task.d_steps=2"] if "d_steps" in tree else []), *changes]
    torch.manual_seed(0)
    return config.load(ROOT / "configs" / f"{name}.yaml", small, registry().catalog).task()


class Noting(nn.Module):
    """A stand-in for D, which notes what it is given: the logit is a number times the mean of the picture."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        self.seen.append((x.detach().clone(), label))
        return self.weight * x.mean((1, 2, 3))[:, None]


class Flat(nn.Module):
    """A stand-in for G, which notes what it is given: each picture has one brightness, the same for all."""

    def __init__(self, value: float, size: int = 4) -> None:
        super().__init__()
        self.value, self.size = nn.Parameter(torch.tensor(value)), size
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        self.seen.append((z.clone(), label))
        return self.value.expand(len(z), 1, self.size, self.size)


def stood_in(value: float = 0.0, weight: float = 1.0, **options: Any) -> tuple[GAN, Flat, Noting]:
    """Return a task of the two, and them."""
    G, D = Flat(value, options.get("size", 4)), Noting(weight)
    return made(lambda *_: G, lambda *_: D, **options), G, D


# ---- the contract


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_keeps_the_contract_of_a_task(name: str) -> None:
    check_task(configured(name), batch())


@pytest.mark.parametrize("gan", [Vanilla, Minimax, LSGAN, Hinge, WGANGP, Relativistic])
def test_each_objective_keeps_the_contract_and_validates(gan: Any) -> None:
    task = made(gan=gan, classes=3, lambda_r1=1.0, g_share=2, augment=("colour", "translation", "cutout", "flip"))
    check_task(task, batch(size=4), steps=30)
    assert all(math.isfinite(number) for number in task.validate(batch(size=4)).values())


@pytest.mark.parametrize(
    ("name", "changes", "generator", "discriminator"),
    [
        ("dcgan", [], 3_576_704, 2_765_568),
        ("sngan", [], 4_276_739, 1_053_824),
        ("biggan", [], 70_433_988, 87_982_370),
        # BigGAN's code for CIFAR-10, as a change of SNGAN.
        (
            "sngan",
            [
                "task.classes=10",
                "task.generator.spectral_norm=true",
                "task.discriminator.width=256",
                "task.discriminator.bias=true",
            ],
            4_304_387,
            4_207_361,
        ),
    ],
)
def test_the_paper_configs_are_the_published_networks(
    name: str, changes: list[str], generator: int, discriminator: int
) -> None:
    """The counts are those of the official modules: REFERENCE.md section 2."""
    chosen = config.load(ROOT / "configs" / "paper" / f"{name}.yaml", changes, registry().catalog)
    with torch.device("meta"):
        task = chosen.task()
    assert [sum(p.numel() for p in n.parameters()) for n in (task.generator, task.discriminator)] == [
        generator,
        discriminator,
    ]


def test_the_run_keeps_averages_of_the_generator_alone() -> None:
    task = made()
    assert task.ema == ("generator",)
    assert {name: list(modules) for name, modules in task.players().items()} == {
        "G": [task.generator],
        "D": [task.discriminator],
    }


# ---- the step


def plain(task: GAN, latent: int, w: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return DCGAN rebuilt from stock torch layers, with the weights of the task: pytorch/examples at 16 px."""
    G = nn.Sequential(
        *(nn.ConvTranspose2d(latent, 2 * w, 4, 1, 0, bias=False), nn.BatchNorm2d(2 * w), nn.ReLU()),
        *(nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU()),
        *(nn.ConvTranspose2d(w, 1, 4, 2, 1, bias=False), nn.Tanh()),
    )
    D = nn.Sequential(
        *(nn.Conv2d(1, w, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * w), nn.LeakyReLU(0.2)),
        nn.Conv2d(2 * w, 1, 4, 1, 0, bias=False),
    )
    for ours, stock in ((task.generator, G), (task.discriminator, D)):
        for mine, theirs in zip(layers(ours), layers(stock), strict=True):
            theirs.load_state_dict(mine.state_dict())
    return G, D


def layers(network: nn.Module) -> list[nn.Module]:
    """Return what has weights: first the convolutions in their order, and then batch norms in theirs."""
    kinds = ((nn.Conv2d, nn.ConvTranspose2d), nn.BatchNorm2d)
    return [layer for kind in kinds for layer in network.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize("reuse", [False, True])  # as in the paper, as in pytorch/examples
def test_the_step_is_the_usual_loop_bit_for_bit(reuse: bool) -> None:
    dcgan = partial(DCGANGenerator, width=4), partial(DCGANDiscriminator, width=4)
    task = made(*dcgan, gan=partial(Vanilla, lambda_d=1.0), latent=6, size=16, reuse=reuse)
    G, D = plain(task, 6, 4)
    rate = partial(adam, lr=2e-3, betas=(0.5, 0.999))
    engine, for_g, for_d = Engine(task, rate, Train(steps=5)), rate(G.parameters()), rate(D.parameters())
    for step in range(5):
        real = pictures(8, 1, 16, 16, seed=step)
        found = engine.step([{"image": real}]).losses

        seed_everything(0, step, 0)
        fake = G(torch.randn(8, 6)[:, :, None, None])
        for_d.zero_grad()
        loss_d = softplus(-D(real)).mean() + softplus(D(fake.detach())).mean()
        loss_d.backward()
        for_d.step()

        if not reuse:
            fake = G(torch.randn(8, 6)[:, :, None, None])
        for_g.zero_grad()
        loss_g = softplus(-D(fake)).mean()
        loss_g.backward()
        for_g.step()
        assert (found["D/gan"], found["G/gan"]) == (loss_d.item(), loss_g.item())
    for ours, stock in ((task.generator, G), (task.discriminator, D)):
        for mine, theirs in zip(layers(ours), layers(stock), strict=True):
            assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in mine.state_dict().items())


def test_d_updates_on_its_own_shares_before_one_update_of_g() -> None:
    task, G, D = stood_in(classes=3, d_steps=3)
    given = batch(9, size=4)
    assert [player for player, _ in task.step(given)] == ["D", "D", "D", "G"]
    assert torch.equal(torch.cat([image for image, _ in D.seen[:6:2]]), given["image"])
    for share, label in enumerate(given["label"].chunk(3)):
        for _, seen in (*D.seen[2 * share : 2 * share + 2], G.seen[share]):  # real, made, and what G was asked for
            assert torch.equal(seen, label)  # type: ignore[arg-type]
    codes = [z for z, _ in G.seen]
    assert [len(z) for z in codes] == [3, 3, 3, 3]
    assert all(not torch.equal(codes[n], codes[m]) for n in range(4) for m in range(n))  # new ones for each turn
    assert torch.equal(G.seen[3][1], given["label"][6:])  # type: ignore[arg-type]


def test_g_generates_its_share_with_the_label_frequencies_of_the_real_images() -> None:
    task, G, D = stood_in(classes=3, d_steps=2, g_share=3)
    given = batch(4, size=4)
    *_, (player, _) = task.step(given)
    assert player == "G"
    assert [len(z) for z, _ in G.seen] == [2, 2, 6]
    assert G.seen[-1][1].tolist() == given["label"][2:].tolist() * 3  # type: ignore[union-attr]
    assert D.seen[-1][1].tolist() == given["label"][2:].tolist() * 3  # type: ignore[union-attr]


def test_g_learns_from_the_images_of_the_last_update_of_d_if_it_reuses_them() -> None:
    task, G, D = stood_in(classes=3, d_steps=2, reuse=True)
    given = batch(6, size=4)
    assert [player for player, _ in task.step(given)] == ["D", "D", "G"]
    assert [len(z) for z, _ in G.seen] == [3, 3]
    (image, label), (made_for_d, _) = D.seen[-1], D.seen[-2]
    assert torch.equal(image, made_for_d)
    assert torch.equal(label, given["label"][3:])  # type: ignore[arg-type]


def test_g_cannot_reuse_more_images_than_d_saw() -> None:
    with pytest.raises(ConfigError, match="reuse=true with g_share=2: D saw too few images; set g_share to 1"):
        made(reuse=True, g_share=2)


def test_without_classes_no_network_gets_labels() -> None:
    task, G, D = stood_in()
    list(task.step(batch(size=4)))
    assert {label for network in (G, D) for _, label in network.seen} == {None}


def test_g_has_a_graph_only_in_its_own_update() -> None:
    task = made()
    graphs: list[bool] = []
    task.generator.register_forward_hook(lambda _, __, out: graphs.append(out.requires_grad))
    turns = task.step(batch(size=4))
    _, losses = next(turns)
    losses["gan"].backward()
    assert all(p.grad is None for p in task.generator.parameters())
    assert all(p.grad is not None for p in task.discriminator.parameters())
    next(turns)
    assert graphs == [False, True]


def test_r1_is_gamma_over_two_times_the_squared_gradient_norm_at_real_images() -> None:
    """D is w times the mean of 16 pixels, whose slope has the squared length w^2 / 16 (arXiv:1801.04406 eq. 9)."""
    task, _, D = stood_in(weight=3.0, lambda_r1=5.0)
    _, losses = next(task.step(batch(size=4)))
    assert losses["r1"].item() == pytest.approx(5 / 2 * 9 / 16)
    losses["r1"].backward()
    assert D.weight.grad is not None
    assert D.weight.grad.item() == pytest.approx(5 / 2 * 2 * 3 / 16)
    assert "r1" not in next(made().step(batch(size=4)))[1]


def test_batches_that_do_not_fit_are_rejected_with_the_reason() -> None:
    task = made(classes=3)
    with pytest.raises(
        ConfigError, match=r'gan needs samples with "image", but these have A, B: use another data set$'
    ):
        next(made().step({"B": pictures(1, 1, 4, 4), "A": pictures(1, 1, 4, 4)}))
    with pytest.raises(
        ConfigError, match=r'"label", but these have image: use another data set, or task\.classes=null'
    ):
        next(task.step({"image": pictures(1, 1, 4, 4)}))
    with pytest.raises(ConfigError, match=r"for 1 x 4 x 4 values but the data has 3 x 4 x 5: set task\.channels"):
        next(task.step({"image": pictures(1, 3, 4, 5), "label": torch.tensor([0])}))
    with pytest.raises(ConfigError, match=r"for 3 classes but the data has label 3: set task\.classes"):
        task.check({"image": pictures(2, 1, 4, 4), "label": torch.tensor([0, 3])})
    with pytest.raises(ConfigError, match=r"7 images cannot be split into 2 updates of D .*data\.batch_size"):
        next(made(d_steps=2).step(batch(7, size=4)))
    with pytest.raises(ConfigError, match="this model has no latent space to encode into"):
        task.encode(pictures(1, 1, 4, 4))


# ---- spectral norm and attention, in training


def test_after_fifty_steps_every_normalised_weight_has_spectral_norm_one() -> None:
    """With SNGAN's rate and its five turns of D, so with eleven iterations a step; with fewer they lag behind."""
    task = configured("sngan", "task.d_steps=5")
    engine = Engine(task, partial(adam, lr=2e-4, betas=(0.0, 0.9)), Train(steps=50))
    for step in range(50):
        engine.step([batch(10, seed=step)])
    normalised = [layer for layer in task.discriminator.modules() if parametrize.is_parametrized(layer)]
    weights = [p for p in task.discriminator.parameters() if p.ndim > 1]
    assert len(normalised) == len(weights) > 10
    with parametrize.cached():  # so that `weight` is the one that the pass has used
        list(task.step(batch(10, seed=50)))
        largest = [torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() for layer in normalised]
    assert max(abs(value - 1) for value in largest) < 0.02


@pytest.mark.parametrize("name", ["sagan", "biggan"])
def test_attention_is_learned_during_training(name: str) -> None:
    task = configured(name)
    attention = [module for module in task.modules() if isinstance(module, SelfAttention)]
    assert [module.gamma.item() for module in attention] == [0.0, 0.0]
    engine = Engine(task, partial(adam, lr=1e-3), Train(steps=3))
    for step in range(3):
        engine.step([batch(seed=step)])
    assert all(module.gamma.item() != 0 for module in attention)


# ---- the theory, on pictures of one pixel, tanh of a normal number


def normal(u: Tensor, mean: float, sigma: float) -> Tensor:
    return torch.exp(-(((u - mean) / sigma) ** 2) / 2) / (sigma * math.tau**0.5)


def trained(mean: float, sigma: float, data: tuple[float, float], steps: int) -> tuple[GAN, Any]:
    """Return a task whose G is a given normal distribution and whose D the engine has trained; and its data."""
    dense = partial(DenseGenerator, widths=(), batch_norm=False), partial(DenseDiscriminator, widths=(32,))
    task = made(*dense, gan=partial(Vanilla, lambda_d=1.0), latent=1, size=1)
    with torch.no_grad():
        task.generator.layers[0].weight.fill_(sigma)
        task.generator.layers[0].bias.fill_(mean)
    rate: Any = {"G": STILL, "D": partial(adam, lr=1e-2)}
    engine = Engine(task, rate, Train(steps=steps), schedule=linear_decay(steps // 4, steps, unit="steps"))
    source = torch.Generator().manual_seed(0)

    def real() -> dict[str, Tensor]:
        return {"image": torch.tanh(data[0] + data[1] * torch.randn(256, 1, 1, 1, generator=source))}

    for _ in range(steps):
        engine.step([real()])
    return task, real


def test_the_optimal_discriminator_and_the_value_match_the_theory() -> None:
    """arXiv:1406.2661: proposition 1, D* = p / (p + q); theorem 1, V = 2 JSD - log 4."""
    task, _ = trained(0.3, 0.4, (-0.4, 0.5), steps=300)
    u = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    p, q = normal(u, -0.4, 0.5), normal(u, 0.3, 0.4)
    best = p / (p + q)
    jsd = torch.trapezoid(p * torch.log(2 * best) + q * torch.log(2 * (1 - best)), u).item() / 2
    with torch.no_grad():
        logit = task.discriminator(u.tanh().float()[:, None, None, None])[:, 0].double()
    value = torch.trapezoid(p * logsigmoid(logit) + q * logsigmoid(-logit), u).item()
    likely = p + q > 0.05
    assert (logit.sigmoid() - best)[likely].abs().max() < 0.03
    assert value == pytest.approx(2 * jsd - math.log(4), rel=0.05)
    assert (value + math.log(4)) / 2 == pytest.approx(jsd, rel=0.05)  # 0.24 nats


def test_the_saturating_gradient_is_smaller_once_d_is_good() -> None:
    """arXiv:1406.2661 section 3, end. At first, D at 1/2, both are as long."""

    def length(task: GAN, objective: Any) -> float:
        task.gan = objective(lambda_d=1.0)
        torch.manual_seed(0)
        losses = dict(task.step(real()))["G"]
        slopes = torch.autograd.grad(losses["gan"], list(task.generator.parameters()))
        return torch.cat([slope.flatten() for slope in slopes]).norm().item()

    ratios = []
    for steps in (1, 60):
        task, real = trained(-1.2, 0.2, (0.6, 0.2), steps)
        ratios.append(length(task, Minimax) / length(task, Vanilla))
    assert task.validate(real())["accuracy"] > 0.99
    assert ratios[0] == pytest.approx(1, abs=0.5)
    assert ratios[1] < 0.1


# ---- what it is asked for


def test_a_sample_is_decoded_from_the_prior() -> None:
    task = made().eval()
    torch.manual_seed(3)
    z = task.prior(4)
    torch.manual_seed(3)
    first = task.sample(4)
    torch.manual_seed(3)
    assert torch.equal(task.sample(4), first)
    assert torch.equal(first, task.decode(z))
    assert first.shape == (4, 1, 4, 4)
    assert not torch.equal(task.sample(4), first)
    many = task.prior(20_000)
    assert many.mean().abs() < 0.02
    assert many.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", [(2, 4), (3,), (2, 3, 1)])
def test_codes_of_another_shape_cannot_be_decoded(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=rf"shape {re.escape(str(shape))} cannot be decoded: it should be \[N, 3\]"):
        made().decode(torch.zeros(shape))


def asked(label: Any, n: int = 2, classes: Any = ("cat", "dog", "7", "1")) -> list[int]:
    """Return the numbers of the classes that G is asked for."""
    task, G, _ = stood_in(classes=classes)
    task.sample(n, label=label)
    return [int(one) for _, labels in G.seen for one in labels]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("label", "numbers"),
    [
        ("dog", [1, 1]),
        (0, [0, 0]),
        ("0", [0, 0]),
        (1, [3, 3]),  # the name "1" comes before the number
        (["dog", "7"], [1, 2]),
        (("cat", 2), [0, 2]),
        (torch.tensor([0, 2]), [0, 2]),
        (torch.tensor(2), [2, 2]),
        (np.array([0, 2]), [0, 2]),
        (np.int64(2), [2, 2]),
    ],
)
def test_a_class_is_given_by_name_or_number_for_all_images_or_for_each(label: Any, numbers: list[int]) -> None:
    assert asked(label) == numbers


def test_without_a_label_all_classes_are_sampled_equally_often() -> None:
    counts = torch.tensor(asked(None, n=4000)).bincount()
    assert len(counts) == 4
    assert (counts - 1000).abs().max() < 150


def test_a_class_count_names_the_classes_by_number() -> None:
    assert made(classes=3).classes == ("0", "1", "2")
    assert asked(["2", 0], classes=3) == [2, 0]


@pytest.mark.parametrize("label", ["bird", 4, -1, "-1", 0.5, True, ["cat", "bird"], "", "²"])
def test_an_unknown_class_is_rejected_with_the_possible_ones(label: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"label=\S*: this model has no such class; choose cat, dog, 7, 1, or a number from 0 to 3$"
    ):
        asked(label)


def test_as_many_classes_are_needed_as_pictures() -> None:
    with pytest.raises(ConfigError, match=r"label: 3 classes for 2 images: give one class, or one per image$"):
        asked(["cat"] * 3)
    with pytest.raises(
        ConfigError, match=r"label=3: this run was trained without classes: retrain it with task\.classes$"
    ):
        made().sample(2, label=3)


# ---- truncation


@pytest.mark.parametrize("most", [0.5, 2.0])
def test_truncated_codes_are_distributed_as_if_resampled_until_they_fit(most: float) -> None:
    torch.manual_seed(0)
    codes = truncated(1000, 100, most, torch.device("cpu")).flatten()
    drawn = torch.randn(1_000_000)
    drawn = drawn[drawn.abs() <= most][: len(codes)]
    assert codes.abs().max() <= most
    for power in (1, 2, 4):
        torch.testing.assert_close(codes.pow(power).mean(), drawn.pow(power).mean(), atol=0.01 * most**power, rtol=0)
    # Kolmogorov and Smirnov: were both drawn alike, a larger distance would come once in a thousand times.
    places = torch.linspace(-most, most, 200)
    shares = [torch.searchsorted(x.sort().values, places) / len(x) for x in (codes, drawn)]
    assert (shares[0] - shares[1]).abs().max() < 1.95 * math.sqrt(2 / 100_000)
    assert codes.dtype == torch.float32


def test_a_small_truncation_reduces_diversity_and_a_large_one_has_no_effect() -> None:
    task = made().eval()
    far = [torch.pdist(task.sample(200, truncation=most).flatten(1)).mean() for most in (0.01, 0.5, 2.0, 50.0, None)]
    assert far[0] < 0.1 * far[1] < 0.1 * far[2]
    assert far[3].item() == pytest.approx(far[4].item(), rel=0.1)
    assert task.prior(5, truncation="0.25").abs().max() <= 0.25


@pytest.mark.parametrize("nonsense", [0, -1, "0", "none", "nan", "", [0.5, 1.0]])
def test_a_truncation_that_is_not_a_number_above_0_is_rejected(nonsense: Any) -> None:
    with pytest.raises(ConfigError, match=r"^truncation=.*: should be a number above 0, such as 0\.5; leave it out"):
        made().sample(1, truncation=nonsense)


# ---- validation and pictures


def test_the_value_is_that_of_the_game_for_a_known_discriminator() -> None:
    task, _, _ = stood_in(value=0.5, weight=2.0, gan=partial(Vanilla, lambda_d=0.25))
    real = torch.tensor([-0.5, 0.25, 1.0])[:, None, None, None].expand(-1, 1, 4, 4)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    by_hand = sum(math.log(sigmoid(x)) for x in (-1.0, 0.5, 2.0)) / 3 + math.log(1 - sigmoid(1.0))
    found = task.validate({"image": real})
    assert found["value"] == pytest.approx(by_hand)  # whatever lambda_d is
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["diversity"] == 0
    blind, _, _ = stood_in(weight=0.0, gan=Minimax)
    assert blind.validate({"image": real})["value"] == pytest.approx(-math.log(4))


def test_the_value_has_the_units_of_the_objective_and_d_maximises_it() -> None:
    real = torch.tensor([-0.5, 1.0])[:, None, None, None].expand(-1, 1, 4, 4)  # logits -1 and 2; of made ones 1
    expected = {
        LSGAN: -((4 + 1) / 2 + 1),
        Hinge: -((2 + 0) / 2 + 2),
        WGANGP: 0.5 - 1,
        Relativistic: -sum(softplus(torch.tensor(x)).item() for x in (2.0, -1.0, 0.5, 0.5)) / 2,
    }
    for gan, value in expected.items():
        task, _, _ = stood_in(value=0.5, weight=2.0, gan=gan)
        assert task.validate({"image": real})["value"] == pytest.approx(value), gan


def test_preview_images_use_fixed_codes_and_the_labels_of_their_row() -> None:
    task, G, _ = stood_in(classes=3)
    given = batch(3, size=4)
    shown = task.pictures(given)
    assert list(shown) == ["real", *(f"made {n}" for n in range(1, 9))]
    assert torch.equal(shown["real"], given["image"])
    codes = [z for z, _ in G.seen]
    task.pictures(given)
    assert all(torch.equal(one, again) for one, (again, _) in zip(codes, G.seen[8:], strict=True))
    assert not torch.equal(codes[0], codes[1])
    assert all(torch.equal(label, given["label"]) for _, label in G.seen)  # type: ignore[arg-type]


# ---- from the config to the picture


TOY = ["task.generator.width=4", "task.discriminator.width=4", "task.size=16", "data.size=16", "task.latent=12"]
TOY += ["train.steps=4", "data.samples=40", "data.validation_samples=10", "data.batch_size=8", "train.ema=0.5"]
TOY += ["train.log_every=1", "metrics=[]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the class-conditional config, of four steps."""
    return api.run(ROOT / "configs" / "cgan.yaml", *TOY, out=tmp_path_factory.mktemp("gan") / "run")


def test_a_run_samples_what_the_command_line_requests(run: Path) -> None:
    wanted: Any = cli.conditions(["label=3", "truncation=0.5"])
    assert wanted == {"label": "3", "truncation": "0.5"}
    first = api.sample(5, run, seed=1, **wanted)
    assert first.shape == (5, 1, 16, 16)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, api.sample(5, run, seed=1, **wanted))
    assert torch.equal(first, api.sample(5, run, seed=1, label=[3] * 5, truncation=0.5))
    assert not torch.equal(first, api.sample(5, run, seed=2, **wanted))
    assert not torch.equal(first, api.sample(5, run, seed=1, label="4", truncation="0.5"))
    assert api.sample(2, run, **(wanted | cli.conditions(["label=3", "label=4"]))).shape == (2, 1, 16, 16)
    with pytest.raises(
        ConfigError, match=r"`sample` of this model has no condition 'style'; possible: label, truncation"
    ):
        api.sample(2, run, style=3)


def test_a_run_writes_images_and_logs_the_monitored_values(run: Path) -> None:
    assert (run / "samples" / "00000004.png").exists()
    *lines, final = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    watched = {"D/gan", "D/accuracy", "D/diversity", "D/saturated", "D/alarm", "G/gan"}
    assert all(watched <= set(line) for line in lines)
    assert {"metric/validation/value", "metric/validation/accuracy", "metric/validation/diversity"} <= set(final)


def test_the_monitor_state_is_in_checkpoints_but_not_in_the_published_weights(run: Path) -> None:
    weights, _, _ = checkpoint.load_model(run / "model.safetensors")
    assert weights
    assert not any("watch" in name for name in weights)
    found = checkpoint.newest(run / "checkpoints", say=print)
    assert found is not None
    state = found[1]["engine"]["task"]["watch._extra_state"]
    assert state["average"].shape == (len(ADVICE),)
    assert state["seen"] > 0


def test_an_unknown_augmentation_is_rejected_with_the_possible_ones() -> None:
    path = ROOT / "configs" / "dcgan.yaml"
    with pytest.raises(ConfigError, match=r"\"blur\" should be 'colour', 'translation', 'cutout' or 'flip'"):
        config.load(path, ["task.augment=[cutout, blur]"], registry().catalog)
    assert config.load(path, ["task.augment=[cutout, flip]"], registry().catalog).task().augment == ("cutout", "flip")


# ---- what is watched


def test_accuracy_is_the_share_of_correctly_ordered_pairs() -> None:
    real, fake = torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0, 2.0, 5.0])
    # 3 is above 0, 1 and 2; 1 is above 0, and level with 1.
    assert ranked(real, fake).item() == pytest.approx((3 + 1 + 0.5) / 8)
    patches = torch.tensor([[[[3.0, -5.0]]], [[[2.0, 2.0]]]])  # means -1 and 2
    assert ranked(patches, torch.tensor([[0.0], [1.0]])).item() == 0.5
    assert ranked(fake + 9, fake) == 1
    assert ranked(fake, fake) == 0.5


def test_diversity_is_the_mean_distance_relative_to_real_images() -> None:
    real = pictures(6, 1, 4, 4)
    assert diversity(real, real[torch.randperm(6)]).item() == pytest.approx(1)
    assert diversity(real, 0.25 * real + 0.5).item() == pytest.approx(0.25)
    assert diversity(real, torch.full_like(real, 0.3)).item() == 0
    assert diversity(real[:1], real[:1]) == 1  # of one picture nothing can be said
    by_hand = [
        sum((x[i] - x[j]).norm() for i in range(6) for j in range(6)) for x in (pictures(6, 1, 4, 4, seed=1), real)
    ]
    assert diversity(real, pictures(6, 1, 4, 4, seed=1)).item() == pytest.approx((by_hand[0] / by_hand[1]).item())


def test_one_image_per_class_is_also_a_collapse() -> None:
    real, label = pictures(6, 1, 4, 4), torch.arange(6) % 3
    one_each = pictures(3, 1, 4, 4, seed=1)[label]
    assert diversity(real, one_each) > 0.5
    assert diversity(real, one_each, label).item() == pytest.approx(0, abs=1e-6)
    assert diversity(real, real, torch.arange(6)) == 1  # no two of one class


def test_saturated_is_the_share_of_black_and_white() -> None:
    assert saturated(torch.tensor([-1.0, 1.0, 0.995, -0.98, 0.0])).item() == pytest.approx(3 / 5)


FINE = {"accuracy": 0.7, "diversity": 0.9, "saturated": 0.2}


def judged(watch: Watch, shown: dict[str, float], real_saturated: float = 0.2) -> bool:
    """Give a monitor the values of a batch, and return whether it raises an alarm."""
    values = {name: torch.tensor(value) for name, value in shown.items()}
    return bool(watch.judge(values, torch.tensor(real_saturated)))


@pytest.mark.parametrize(
    ("name", "bad", "advice"),
    [
        ("diversity", 0.01, r"G has collapsed\. Go back to an earlier checkpoint, and try .* wgan_gp, lambda_r1"),
        ("accuracy", 1.0, r"nearly always .* Try augment, lambda_r1, .* fewer d_steps"),
        ("saturated", 0.99, r"training has diverged\. Restart with lower learning rates"),
    ],
)
def test_an_alarm_is_raised_once_after_enough_batches_and_suggests_a_remedy(
    name: str, bad: float, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(after=5)
    alarms = []
    for _ in range(12):
        alarms.append(judged(watch, FINE | {name: bad}))
        assert len(caplog.records) == (len(alarms) >= 5)
    assert alarms == [False] * 4 + [True] * 8
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{bad:.3f}" in record.message
    assert "for 5 batches" in record.message
    assert re.search(advice, record.message)


def test_an_alarm_ends_on_recovery_and_can_be_raised_again(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(after=3)
    for _ in range(2):
        ends = [judged(watch, FINE | {"diversity": 0.0}, 0.0) for _ in range(400)]
        assert ends[-1]
        assert not [judged(watch, FINE, 0.0) for _ in range(50)][-1]
    assert len(caplog.records) == 2


def test_values_are_read_every_50_turns_and_a_warning_is_at_most_that_late(caplog: pytest.LogCaptureFixture) -> None:
    watch, warned = Watch(after=70), []
    for turn in range(1, 181):
        bad = turn <= 75  # over before the values are read
        judged(watch, FINE | {"saturated": 0.99 if bad else 0.0})
        warned += [turn] * (len(caplog.records) - len(warned))
    assert warned == [100]
    assert "0.990 of them, for 70 batches" in caplog.records[0].message


def test_a_batch_counts_once_however_many_updates_of_d_it_has() -> None:
    watch = Watch(after=2, turns=3)
    assert [judged(watch, FINE | {"diversity": 0.0}) for _ in range(7)] == [False] * 5 + [True] * 2
    assert made(d_steps=3, alarm_after=7).watch.limit == 21


def test_a_single_bad_batch_raises_no_alarm() -> None:
    watch = Watch(after=1)
    assert not judged(watch, FINE, 0.0)
    assert not judged(watch, FINE | {"diversity": 0.0, "accuracy": 1.0, "saturated": 1.0}, 0.0)
    assert averages(watch)["diversity"] == pytest.approx(0.98 * 0.9)


def test_saturated_data_raises_no_alarm_for_saturated_samples() -> None:
    watch = Watch(after=1)
    assert not judged(watch, FINE | {"saturated": 1.0}, 0.97)
    assert judged(watch, FINE | {"saturated": 1.0}, 0.9)


def test_a_critic_may_be_fully_confident() -> None:
    certain = {gan: made(gan=gan, alarm_after=1).watch for gan in (WGANGP, Hinge)}
    assert {gan: judged(watch, FINE | {"accuracy": 1.0}, 0.0) for gan, watch in certain.items()} == {
        WGANGP: False,
        Hinge: True,
    }
    assert averages(certain[WGANGP])["accuracy"] == 1


def averages(watch: Watch) -> dict[str, float]:
    return dict(zip(ADVICE, watch.average.tolist(), strict=True))


def test_the_monitor_state_survives_a_resume() -> None:
    def next_alarm(watch: Watch) -> int:
        return [judged(watch, FINE | {"diversity": 0.0}, 0.0) for _ in range(100)].index(True)

    task, other = made(alarm_after=40), made(alarm_after=40)
    for _ in range(25):
        judged(task.watch, FINE | {"diversity": 0.0}, 0.0)
    engines = [Engine(one, partial(adam, lr=1e-3), Train(steps=3)) for one in (task, other)]
    tensors, tree = checkpoint.pack(engines[0].state())
    engines[1].load_state(checkpoint.unpack(tensors, tree))
    assert averages(other.watch) == averages(task.watch)
    assert other.watch.seen == task.watch.seen == 25
    assert next_alarm(copy.deepcopy(task.watch)) == next_alarm(other.watch) == 14
    assert next_alarm(made(alarm_after=40).watch) == 39


def test_the_monitor_state_of_an_older_version_is_read() -> None:
    watch, older = Watch(after=40), {"average": FINE, "wrong": {"diversity": 3, "saturated": 0}}
    watch.set_extra_state(older)
    assert averages(watch) == pytest.approx(FINE)
    assert watch.wrong.tolist() == [3, 0, 0]
    assert not judged(watch, FINE)
    assert averages(watch) == pytest.approx(FINE)


@pytest.mark.parametrize("gan", [Vanilla, WGANGP, Relativistic])
def test_the_monitor_does_not_confuse_real_and_generated_images(gan: Any) -> None:
    task, _, _ = stood_in(value=-1.0, gan=gan, lambda_r1=1.0)
    real = torch.tensor([0.2, 0.8])[:, None, None, None].expand(-1, 1, 4, 4)
    _, losses = next(task.step({"image": real}))
    assert {name: losses[name].item() for name in ("accuracy", "diversity", "saturated")} == {
        "accuracy": 1,  # D finds bright pictures real
        "diversity": 0,
        "saturated": 1,
    }


def test_monitored_values_have_no_gradient() -> None:
    task = made()
    _, losses = next(task.step(batch(size=4)))
    assert {name for name, loss in losses.items() if loss.requires_grad} == {"gan"}
    assert set(losses) == {"gan", "accuracy", "diversity", "saturated", "alarm"}


def test_a_collapsed_generator_raises_the_alarm_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def always_one(self: DenseGenerator, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.layers(0 * z).unflatten(1, self.shape)

    monkeypatch.setattr(DenseGenerator, "forward", always_one)
    small = ["task.generator.widths=[8]", "task.discriminator.widths=[8]", "task.size=16", "data.size=16"]
    small += ["train.steps=7", "data.samples=40", "data.validation_samples=10", "data.batch_size=8", "metrics=[]"]
    small += ["train.log_every=1", "task.alarm_after=4", "task.generator.batch_norm=false"]
    out = api.run(ROOT / "configs" / "gan.yaml", *small, out=tmp_path / "run")
    *lines, _ = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    assert [line["D/alarm"] for line in lines] == [0, 0, 0, 1, 1, 1, 1]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Alarm of D, first at step 4, last at 7. At the first: D/gan" in page
    assert "D/diversity 0" in page
    assert max(line["D/diversity"] for line in lines) < 0.01
    said = [record.message for record in caplog.records if "G has collapsed" in record.message]
    assert len(said) == 1


# ---- augmentation


KINDS = ("colour", "translation", "cutout", "flip")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, 1, 16, 16), (4, 3, 8, 12)])
def test_augmentation_keeps_the_shape_and_changes_each_image_differently(kind: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    image = pictures(*shape)[:1].expand(64, -1, -1, -1)
    given = image.clone()
    out = augmented(image, [kind])
    assert out.shape == image.shape
    assert out.dtype == image.dtype
    assert torch.equal(image, given)
    assert len(out.unique(dim=0)) > (1 if kind == "flip" else 10)
    torch.manual_seed(0)
    assert torch.equal(augmented(image, [kind]), out)
    assert torch.equal(augmented(image, []), image)


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_is_twice_differentiable(kind: Any) -> None:
    image = pictures(3, 1, 4, 4).double().requires_grad_()

    def one(x: Tensor) -> Tensor:
        torch.manual_seed(1)
        return augmented(x, [kind]).double()

    weight = pictures(3, 1, 4, 4, seed=1).double()
    (slope,) = torch.autograd.grad((weight * one(image).square()).sum(), image, create_graph=True)
    assert all(picture.any() for picture in slope)
    slope.square().sum().backward()  # as R1 does
    assert image.grad is not None
    assert image.grad.isfinite().all()
    step = 1e-4 * pictures(3, 1, 4, 4, seed=2).double()
    with torch.no_grad():
        risen = (weight * (one(image + step).square() - one(image - step).square())).sum() / 2
    assert risen.item() == pytest.approx((slope * step).sum().item(), rel=1e-3)


def test_translation_shifts_by_at_most_an_eighth_and_pads_with_zero() -> None:
    torch.manual_seed(0)
    image = pictures(1, 2, 16, 24) + 3  # nowhere 0
    out = augmented(image.expand(300, -1, -1, -1), ["translation"])
    padded = pad(image[0], (3, 3, 2, 2))
    shifts = {(i, j): padded[:, i : i + 16, j : j + 24] for i in range(5) for j in range(7)}
    found = [[place for place, moved in shifts.items() if torch.equal(moved, one)] for one in out]
    assert all(len(places) == 1 for places in found)
    assert {places[0] for places in found} == set(shifts)  # all of them come


def test_cutout_hides_a_square_of_half_the_sides_at_any_centre() -> None:
    torch.manual_seed(0)
    out = augmented(torch.ones(4000, 2, 16, 16), ["cutout"])
    assert torch.equal(out[:, 0], out[:, 1])
    hidden = out[:, 0] == 0
    assert torch.equal(hidden, out[:, 0] != 1)
    rows, columns = hidden.any(2), hidden.any(1)
    assert torch.equal(hidden, rows[:, :, None] & columns[:, None])  # a rectangle
    for side in (rows, columns):
        counts = side.sum(1)
        assert counts.max() == 8  # and 4 at least, where it stands out
        assert counts.min() == 4
        first = side.int().argmax(1)
        assert all(one[a : a + n].all() for one, a, n in zip(side, first.tolist(), counts.tolist(), strict=True))
    assert ((hidden.float().mean(0)[4:12, 4:12] - (8 / 17) ** 2).abs() < 0.04).all()


def test_flip_mirrors_half_of_the_images() -> None:
    torch.manual_seed(0)
    image = pictures(1, 1, 4, 4).expand(1000, -1, -1, -1)
    out = augmented(image, ["flip"])
    mirrored = (out == image.flip(3)).flatten(1).all(1)
    assert torch.equal(mirrored, ~(out == image).flatten(1).all(1))
    assert 420 < mirrored.sum() < 580


def test_colour_changes_brightness_saturation_and_contrast_within_their_bounds() -> None:
    torch.manual_seed(0)
    image = pictures(1, 3, 6, 6).expand(2000, -1, -1, -1)
    out = augmented(image, ["colour"])
    brightness = (out - image).mean((1, 2, 3))
    assert -0.5 <= brightness.min() < -0.45
    assert 0.45 < brightness.max() <= 0.5
    grey, mean = image[:1].mean(1, keepdim=True), image.mean()
    now = out.mean(1, keepdim=True)
    contrast = (now - out.mean((1, 2, 3), keepdim=True)).std((1, 2, 3)) / (grey - mean).std()
    assert 0.5 <= contrast.min() < 0.55
    assert 1.45 < contrast.max() <= 1.5001
    saturation = (out - now).std((1, 2, 3)) / (image[:1] - grey).std() / contrast
    assert 0 <= saturation.min() < 0.05
    assert 1.95 < saturation.max() <= 2.0001
    # A grey picture stays grey, and is only changed linearly.
    flat = augmented(torch.full((5, 3, 4, 4), 0.25), ["colour"])
    assert flat.std((1, 2, 3)).max() < 1e-6


def test_augmentations_are_applied_in_the_given_order() -> None:
    torch.manual_seed(0)
    one = augmented(torch.ones(20, 1, 8, 8), ["cutout", "colour"])
    torch.manual_seed(0)
    two = augmented(torch.ones(20, 1, 8, 8), ["colour", "cutout"])
    assert (one.abs().amin((2, 3)) > 0).all()  # the square is brightened or darkened after all
    assert (two.abs().amin((2, 3)) == 0).all()


def test_d_sees_real_and_generated_images_augmented_in_both_updates() -> None:
    task, _, D = stood_in(value=1.0, size=16, augment=("translation", "cutout"))
    white = torch.ones(2000, 1, 16, 16)
    list(task.step({"image": white}))
    real, fake, in_g = (image for image, _ in D.seen)
    for seen in (real, fake, in_g):
        assert not torch.equal(seen, white)
        assert (seen.mean(0) - real.mean(0)).abs().max() < 0.07  # the same pixels are hidden as often
    assert not torch.equal(real, fake)  # by other numbers
    task.validate({"image": white})
    assert torch.equal(D.seen[-1][0], white)  # not in use


def test_g_learns_through_the_augmentation() -> None:
    task, G, _ = stood_in(value=0.2, size=16, augment=KINDS)
    losses = dict(task.step({"image": pictures(8, 1, 16, 16)}))
    losses["G"]["gan"].backward()
    assert G.value.grad is not None
    assert G.value.grad < 0  # D finds bright pictures real
