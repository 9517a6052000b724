"""Colorization by classification: its formulas against loops by hand, its networks against the published ones."""

from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_pix2pix import ColorfulColorization, ColorfulVGG, ColourUnet, from_lab, to_lab
from i2i_pix2pix.bins import annealed_mean, bins, encode, rebalancing, smoothed
from i2i_pix2pix.colorful import shrunk
from torch import Tensor, nn

from i2i import ConfigError, DataError
from i2i.config import Train
from i2i.engine import Engine
from i2i.metrics.colour import colourfulness
from i2i.model import Model
from i2i.optim import adam
from i2i.testing import check_network, check_task

SMALL = partial(ColourUnet, width=4)
CENTRES = bins()

# The published list (resources/pts_in_hull.npy of richzhang/colorization): for each a, the lowest and the highest b.
PUBLISHED = {
    -90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100),
    -20: (-50, 100), -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90),
    50: (-100, 80), 60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0),
}  # fmt: skip


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pairs(n: int = 2, size: int = 32) -> dict[str, Tensor]:
    return {"A": pictures(n, 3, size, size), "B": pictures(n, 3, size, size, seed=1)}


def made(generator: Any = SMALL, **kwargs: Any) -> ColorfulColorization:
    torch.manual_seed(0)
    return ColorfulColorization(generator, **kwargs)


class Fixed(nn.Module):
    """Predicts the same distribution for every pixel, whatever it sees: a trainable one, at the full size."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        return self.logits[None, :, None, None].expand(len(x), -1, *x.shape[2:])


# ---- bins


def test_the_bins_are_the_published_ones_in_their_order() -> None:
    expected = [(a, b) for a, (low, high) in PUBLISHED.items() for b in range(low, high + 1, 10)]
    assert len(expected) == 313
    assert [tuple(row) for row in CENTRES.tolist()] == expected


def test_every_displayable_colour_is_between_bins() -> None:
    ab = (to_lab(pictures(1, 3, 64, 64))[:, 1:] * 110).flatten(2)[0].T
    known = {tuple(row) for row in CENTRES.int().tolist()}
    corner = torch.floor(ab / 10).int() * 10
    for right in (0, 10):
        for up in (0, 10):
            assert {tuple(row) for row in (corner + torch.tensor([right, up])).tolist()} <= known


# ---- soft encoding, prior, weights, annealed mean


def test_the_encoding_equals_a_loop_by_hand() -> None:
    ab = to_lab(pictures(2, 3, 3, 4))[:, 1:] * 110
    numbers, weights = encode(ab, CENTRES)
    assert torch.allclose(weights.sum(1), torch.ones(2, 3, 4))
    for n in range(2):
        for y in range(3):
            for x in range(4):
                a, b = ab[n, :, y, x].tolist()
                squared = {q: (a - c) ** 2 + (b - d) ** 2 for q, (c, d) in enumerate(CENTRES.tolist())}
                nearest = sorted(squared, key=lambda q: squared[q])[:5]
                gauss = [math.exp(-squared[q] / (2 * 5**2)) for q in nearest]
                assert numbers[n, :, y, x].tolist() == nearest
                assert weights[n, :, y, x].tolist() == pytest.approx([g / sum(gauss) for g in gauss], rel=1e-3)


def test_the_encoding_of_a_bin_is_centred_on_it() -> None:
    numbers, weights = encode(CENTRES.T[None, :, :, None], CENTRES)
    assert numbers[0, 0, :, 0].tolist() == list(range(313))
    decoded = (weights[..., None] * CENTRES[numbers]).sum(1)[0, :, 0]
    inside = torch.tensor([sum((CENTRES - c).norm(dim=1) < 11) == 5 for c in CENTRES])
    assert inside.sum() > 200
    assert torch.allclose(decoded[inside], CENTRES[inside], atol=1e-3)


def test_the_prior_is_the_histogram_smoothed_and_sums_to_one() -> None:
    counts = torch.randint(0, 1000, (313,), generator=torch.Generator().manual_seed(0))
    prior = smoothed(counts, CENTRES)
    by_hand = [0.0] * 313
    for q, count in enumerate(counts.tolist()):
        kernel = (-(CENTRES - CENTRES[q]).square().sum(1) / 50).exp().double()
        for r, share in enumerate((kernel / kernel.sum()).tolist()):
            by_hand[r] += share * count / counts.sum().item()
    assert prior.sum().item() == pytest.approx(1, abs=1e-5)
    assert prior.tolist() == pytest.approx(by_hand, rel=1e-4)


def test_without_counts_the_prior_is_uniform_and_all_weights_are_one() -> None:
    prior = smoothed(torch.zeros(313, dtype=torch.int64), CENTRES)
    assert prior.sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(rebalancing(prior), torch.ones(313), atol=1e-4)


@pytest.mark.parametrize("balance", [0.1, 0.5, 0.9, 1.0])
def test_the_weights_follow_equation_4(balance: float) -> None:
    prior = torch.rand(313, generator=torch.Generator().manual_seed(0)) ** 4 + 1e-4
    prior /= prior.sum()
    raw = [1 / ((1 - balance) * p + balance / 313) for p in prior.tolist()]
    mean = sum(p * w for p, w in zip(prior.tolist(), raw, strict=True))
    found = rebalancing(prior, balance)
    assert found.tolist() == pytest.approx([w / mean for w in raw], rel=1e-4)
    assert (prior * found).sum().item() == pytest.approx(1, abs=1e-4)
    assert found.argmax() == prior.argmin() or balance == 1


@pytest.mark.parametrize("temperature", [1.0, 0.38, 0.05])
def test_the_annealed_mean_follows_equation_5(temperature: float) -> None:
    logits = torch.randn(1, 313, 2, 2, generator=torch.Generator().manual_seed(0)) * 3
    found = annealed_mean(logits, CENTRES, temperature)
    for y in range(2):
        for x in range(2):
            z = logits[0, :, y, x].double().softmax(0)
            f = (z.log() / temperature).exp() / (z.log() / temperature).exp().sum()
            assert found[0, :, y, x].tolist() == pytest.approx((f @ CENTRES.double()).tolist(), abs=1e-2)


def test_the_annealed_mean_goes_from_the_mean_to_the_mode() -> None:
    logits = torch.randn(1, 313, 2, 2, generator=torch.Generator().manual_seed(0)) * 3
    mode = CENTRES[logits.argmax(1)].movedim(-1, 1)
    assert torch.equal(annealed_mean(logits, CENTRES, 0), mode)
    assert torch.allclose(annealed_mean(logits, CENTRES, 1e-4), mode, atol=1e-3)
    assert annealed_mean(logits * 1e4, CENTRES, 1e-4).isfinite().all()


def test_labels_are_exact_in_bf16_training() -> None:
    image = pictures(2, 3, 16, 16)
    expected = encode(to_lab(image)[:, 1:] * 110, CENTRES)
    with torch.autocast("cpu", torch.bfloat16):
        found = encode(to_lab(image)[:, 1:] * 110, CENTRES)
    assert all(torch.equal(x, y) for x, y in zip(expected, found, strict=True))


# ---- the step


def test_the_task_keeps_the_contract() -> None:
    check_task(made(), pairs(), steps=8)
    check_task(made(partial(ColorfulVGG, width=4), work_size=16, vivid=1.0), pairs(), steps=8)


def test_the_step_equals_a_loop_by_hand() -> None:
    """Equations 1 to 4, the labels averages of 4 x 4 pixels, and the counts of the steps before."""
    batch = pairs()
    task = made()
    G = copy.deepcopy(task.G)
    eps = 1e-4  # not 1e-8, with which gradients that are only rounding errors move weights as far as others do
    engine = Engine(task, partial(adam, lr=1e-3, eps=eps), Train(steps=3, speed="exact"))
    optimizer = torch.optim.Adam(G.parameters(), lr=1e-3, eps=eps, fused=True)
    lightness = to_lab(batch["A"])[:, :1]
    labels = to_lab(batch["B"].unflatten(3, (8, 4)).unflatten(2, (8, 4)).mean((3, 5)))[:, 1:] * 110
    counts = torch.zeros(313)
    kernel = (-torch.cdist(CENTRES, CENTRES).square() / 50).exp()
    for number in range(3):
        found = engine.step([batch]).losses
        weights = torch.ones(313)
        if number:
            prior = kernel / kernel.sum(0) @ (counts / counts.sum())
            weights = 1 / (0.5 * prior + 0.5 / 313)
            weights /= (prior * weights).sum()
        logp = G(lightness).log_softmax(1)
        losses = []
        for n in range(2):
            for y in range(8):
                for x in range(8):
                    squared = (CENTRES - labels[n, :, y, x]).square().sum(1)
                    nearest = squared.argsort()[:5]
                    z = (-squared[nearest] / 50).exp()
                    losses.append(-weights[nearest[0]] * (z / z.sum() * logp[n, nearest, y, x]).sum())
                    counts[nearest[0]] += 1
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert found == pytest.approx({"G/classes": loss.item()}, rel=1e-4)
        assert torch.equal(task.counts, counts.long())
    assert all(torch.allclose(p, q, atol=1e-4) for p, q in zip(task.G.parameters(), G.parameters(), strict=True))


def test_micro_batches_equal_one_batch() -> None:
    """All of them are weighted by the counts before the step."""
    whole = pairs(4)
    parts = [{name: value[n : n + 2] for name, value in whole.items()} for n in (0, 2)]
    tasks = []
    for batches in ([whole], parts):
        task = made(lambda: Fixed(torch.zeros(313)))
        engine = Engine(task, partial(adam, lr=1e-2), Train(steps=3, accumulate=len(batches)))
        for _ in range(3):
            engine.step(batches)
        tasks.append(task)
    assert torch.equal(tasks[0].counts, tasks[1].counts)
    assert torch.allclose(tasks[0].G.logits, tasks[1].G.logits, atol=1e-5)


def test_rare_colours_count_more() -> None:
    """Of the same pixels, the predicted share of a rare colour is larger, the more the classes are balanced."""
    lab = torch.zeros(1, 3, 16, 16)
    lab[:, 1, :4, :4] = 50 / 110  # a sixteenth of the image is red
    batch = {"A": from_lab(lab * torch.tensor([1.0, 0, 0])[:, None, None]), "B": from_lab(lab)}
    red = int((torch.tensor([50.0, 0]) == CENTRES).all(1).nonzero())
    shares = []
    for balance in (1.0, 0.5, 0.1):
        task = made(lambda: Fixed(torch.zeros(313)), balance=balance)
        engine = Engine(task, partial(adam, lr=0.2), Train(steps=80))
        for _ in range(80):
            engine.step([batch])
        shares.append(task.G.logits.softmax(0)[red].item())
    z = encode(torch.tensor([50.0, 0])[None, :, None, None], CENTRES)[1][0, 0].item()
    assert shares[0] == pytest.approx(z / 16, rel=0.1)
    assert shares[0] < 0.6 * shares[1] < 0.6 * shares[2]


def test_the_counts_are_published_with_the_weights(tmp_path: Path) -> None:
    task = made()
    engine = Engine(task, partial(adam, lr=1e-3), Train(steps=1, ema=0.9))
    engine.step([pairs()])
    weights = engine.weights()
    assert weights["counts"].sum() == 2 * 8 * 8
    assert torch.equal(weights["centres"], CENTRES)


def test_a_network_with_other_classes_is_rejected() -> None:
    with pytest.raises(ConfigError, match="predicts 10 classes, but there are 313 colours"):
        made(partial(SMALL, classes=10)).translate(pictures(1, 3, 32, 32))


# ---- translate


def two_colours() -> Tensor:
    """Logits of 60 % orange and 40 % blue."""
    logits = torch.full((313,), -20.0)
    for colour, share in (((30.0, 60.0), 0.6), ((10.0, -50.0), 0.4)):
        logits[(torch.tensor(colour) == CENTRES).all(1)] = math.log(share)
    return logits


def test_vivid_goes_from_the_mean_to_the_most_probable_colour() -> None:
    task = made(lambda: Fixed(two_colours())).eval()
    grey = torch.zeros(1, 3, 16, 16)
    found = {v: (to_lab(task.translate(grey, vivid=v))[0, 1:, 0, 0] * 110).tolist() for v in (0, "0.62", 1, None)}
    assert found[0] == pytest.approx([22, 16], abs=0.5)
    assert found[1] == pytest.approx([30, 60], abs=0.5)
    share = 1 / (1 + (0.4 / 0.6) ** (1 / 0.38))  # eq. 5
    assert found["0.62"] == pytest.approx([30 * share + 10 * (1 - share), 60 * share - 50 * (1 - share)], abs=0.5)
    assert found[None] == found["0.62"]


def test_the_balance_can_be_changed_after_training() -> None:
    """A network that predicts p times the weights of its training is converted by Bayes' rule."""
    counts = torch.randint(1, 1000, (313,), generator=torch.Generator().manual_seed(0))
    p = torch.rand(313, generator=torch.Generator().manual_seed(1)) + 0.1
    prior = smoothed(counts, CENTRES)
    trained, other = rebalancing(prior, 0.5), rebalancing(prior, 0.9)
    task = made(lambda: Fixed((p * trained).log()), balance=0.5).eval()
    task.counts.copy_(counts)
    grey = torch.zeros(1, 3, 16, 16)
    found = to_lab(task.translate(grey, vivid=0, balance="0.9"))[0, 1:, 0, 0] * 110
    assert torch.allclose(found, (p * other / (p * other).sum()) @ CENTRES, atol=0.1)
    plain = (p * trained / (p * trained).sum()) @ CENTRES
    assert (found - plain).norm() > 0.5
    assert torch.allclose(task.translate(grey), task.translate(grey, balance=0.5), atol=1e-5)
    for wrong in (0, "2", "much"):
        with pytest.raises(ConfigError, match=r"balance=.*: should be a number above 0 and up to 1"):
            task.translate(grey, balance=wrong)


@pytest.mark.parametrize("vivid", ["-0.1", 1.5, "much", math.nan])
def test_vivid_outside_its_range_is_rejected(vivid: Any) -> None:
    with pytest.raises(ConfigError, match=r"vivid=.*: should be a number from 0 to 1"):
        made().translate(pictures(1, 3, 16, 16), vivid=vivid)


def test_the_output_keeps_size_and_lightness_and_ignores_colour() -> None:
    task = made(lambda: Fixed(two_colours()), work_size=32).eval()
    image = ((pictures(1, 3, 48, 80) + 1) * 127.5).round() / 127.5 - 1
    out = task.translate(image).detach()
    assert out.shape == image.shape
    eight_bits = ((out + 1) * 127.5).round() / 127.5 - 1
    assert ((to_lab(eight_bits) - to_lab(image))[:, 0].abs() * 50).max() < 0.3
    lab = to_lab(image)
    lab[:, 1:] = 0
    assert (task.translate(from_lab(lab)) - out).abs().max() < 1e-3


def test_the_network_sees_large_images_at_the_work_size() -> None:
    task = made(lambda: Fixed(two_colours()), work_size=32).eval()
    task.G.multiple = 16
    for size in ((64, 160), (32, 48), (16, 16)):
        task.translate(pictures(1, 3, *size))
    assert task.G.seen == [(1, 1, 32, 80), (1, 1, 32, 48), (1, 1, 16, 16)]


def test_shrunk_sides_are_the_nearest_multiples_and_never_zero() -> None:
    rng = np.random.default_rng(0)
    for short, multiple in ((32, 16), (128, 16), (100, 8), (5, 16), (256, 4)):
        for sides in rng.integers(1, 900, (200, 2)).tolist():
            share = min(1, short / min(sides))
            for side, made in zip(sides, shrunk(sides, short, multiple), strict=True):
                assert made % multiple == 0
                assert made >= multiple
                assert abs(made - max(multiple, side * share)) <= multiple / 2 + 1e-9


def test_a_greyscale_photograph_becomes_colour_at_the_same_size() -> None:
    from PIL import Image

    grey = Image.fromarray(((pictures(37, 50).numpy() + 1) * 127.5).astype(np.uint8))
    model = Model(made(lambda: Fixed(two_colours())), {}, Path("none"))
    out = model(grey, vivid="1")
    assert (out.mode, out.size) == ("RGB", (50, 37))
    assert colourfulness(torch.from_numpy(np.asarray(out).copy()).movedim(-1, 0) / 127.5 - 1) > 30


# ---- networks


def test_the_published_network_has_the_published_parameters_and_names() -> None:
    """32,236,011 in the published PyTorch code, with the 1x1 convolution that decodes 313 classes into a and b."""
    network = ColorfulVGG()
    assert sum(p.numel() for p in network.parameters()) == 32_236_011 - 313 * 2
    channels = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 512)]
    channels += [(512, 512)] * 11 + [(256, 256)] * 2
    convolutions = sum(9 * a * b + b for a, b in channels) + (16 * 512 * 256 + 256) + (256 * 313 + 313)
    norms = 2 * (64 + 128 + 256 + 4 * 512)
    assert convolutions + norms == 32_235_385
    names = list(network.state_dict())
    assert names[:2] == ["model1.0.weight", "model1.0.bias"]
    assert {"model1.4.running_mean", "model7.6.weight", "model8.0.weight", "model8.6.bias"} <= {*names}


def test_the_small_network_fits_into_three_megabytes() -> None:
    assert 2 * sum(p.numel() for p in ColourUnet().parameters()) <= 3_000_000


@pytest.mark.parametrize("build", [SMALL, partial(ColorfulVGG, width=4)])
def test_networks_predict_at_a_quarter_of_the_size(build: Any) -> None:
    network = build(classes=7).eval()
    assert network(pictures(2, 1, 32, 64)).shape == (2, 7, 8, 16)
    with pytest.raises(DataError, match="36x39 pixels does not fit this network: crop or pad it to multiples of"):
        network(pictures(1, 1, 36, 39))
    check_network(network, pictures(2, 1, 32, 32))
