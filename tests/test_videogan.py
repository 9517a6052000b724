"""Video: the published networks, the step against a loop by hand, prediction, and what the metrics rank."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command import i2i_command
from i2i_latent.commands import interpolate
from i2i_scenes.clip_classes import ClipClassAccuracy, centred
from i2i_scenes.moving import MovingDigits, path
from i2i_videogan import (
    ClipDistance,
    DVDGANGenerator,
    FramePredictor,
    FrameScores,
    LayeredGenerator,
    MoCoGANGenerator,
    Motion,
    PatchPictureDiscriminator,
    PatchVideoDiscriminator,
    PictureDiscriminator,
    SolidGenerator,
    SpatialDiscriminator,
    StackedDiscriminator,
    TemporalDiscriminator,
    VGANGenerator,
    VideoDiscriminator,
    VideoGAN,
    VideoPrediction,
)
from i2i_videogan.frames import ConvGRU
from i2i_videogan.game import augmented_clips, refuse_other_clips
from i2i_videogan.layered import placed
from i2i_videogan.metrics import distances, moved_on
from i2i_videogan.motion import centres, energy_distance, flow, shuffled, steps, stills
from i2i_videogan.predictor import shifted
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, l1_loss, pad, relu, softplus

from i2i import ConfigError, Data, DataError, Model, api
from i2i.checkpoint import load_model
from i2i.config import Train
from i2i.data.classes import class_names
from i2i.engine import Engine, seed_everything
from i2i.losses import Hinge, Vanilla
from i2i.optim import adam
from i2i.runs.fitting import refuse_other_classes
from i2i.testing import check_data, check_network, check_task

ROOT = Path(__file__).parent.parent
T, S = 5, 16  # frames and pixels of most clips here


def clips(n: int, frames: int = T, channels: int = 1, size: int = S, seed: int = 0) -> Tensor:
    return torch.rand(n, frames, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def batch(n: int = 4, classes: int = 3, **shape: int) -> dict[str, Tensor]:
    return {"clip": clips(n, **shape), "label": torch.arange(n) % classes}


def made(generator: Any = None, picture: Any = None, clip: Any = None, gan: Any = Hinge, **options: Any) -> VideoGAN:
    torch.manual_seed(0)
    return VideoGAN(
        generator or partial(LayeredGenerator, content=4, motion=2, width=4, hidden=4),
        picture or partial(PictureDiscriminator, width=4, norm="spectral", condition="projection"),
        clip or partial(StackedDiscriminator, width=4),
        gan,
        **({"frames": T, "channels": 1, "size": S, "classes": 3} | options),
    )


def predictor(seed: int = 0, **options: Any) -> VideoPrediction:
    torch.manual_seed(seed)
    return VideoPrediction(
        partial(FramePredictor, width=4),
        partial(PictureDiscriminator, width=4, norm="spectral", noise=0.0),
        partial(StackedDiscriminator, width=4),
        Hinge,
        **({"given": 2, "frames": T, "channels": 1, "size": S} | options),
    )


def halves(n: int = 4) -> dict[str, Tensor]:
    clip = clips(n)
    return {"A": clip[:, :2], "B": clip[:, 2:]}


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# ---- networks


def test_mocogan_has_the_published_numbers_of_parameters() -> None:
    """Those of the official modules with 3 channels, content 50, 6 categories and motion 10."""
    with torch.device("meta"):
        assert count(MoCoGANGenerator(3, 64, 16, 6)) == 3_298_836
        assert count(PatchPictureDiscriminator(3, 64)) == 663_296
        assert count(PictureDiscriminator(3, 64)) == 2_765_568
        assert count(VideoDiscriminator(3, 64, 16, 6)) == 11_253_504
        assert count(PatchVideoDiscriminator(3, 64, 16)) == 2_650_880


@pytest.mark.parametrize("size", [32, 64])
def test_generators_make_clips_of_the_size_they_are_built_for(size: int) -> None:
    label = torch.tensor([0, 2])
    for generator in (
        MoCoGANGenerator(3, size, T, 3, width=2),
        DVDGANGenerator(3, size, T, 3, content=4, shared=4, width=2, attention=8),
        LayeredGenerator(3, size, T, 3, width=2),
        SolidGenerator(3, size, T, 3, width=2, extent=0.2),
        VGANGenerator(3, size, T, 3, latent=4, width=2),
    ):
        check_network(generator, torch.randn(2, generator.latent), label, shape=(2, T, 3, size, size))


@pytest.mark.parametrize("size", [32, 64])
def test_discriminators_keep_the_contract(size: int) -> None:
    x, label = clips(2, 16, 3, size), torch.tensor([0, 2])
    check_network(PictureDiscriminator(3, size, 3, width=2), x[:, :3], label, shape=(6, 1, 1, 1))
    check_network(PictureDiscriminator(3, size, 3, width=2, norm="spectral", condition="projection"), x[:, :3], label)
    check_network(PatchPictureDiscriminator(3, size, width=2), x[:, :3], shape=(6, 1, size // 16, size // 16))
    check_network(PatchVideoDiscriminator(3, size, 16, width=2), x, shape=(2, 1, 4, size // 16, size // 16))
    check_network(VideoDiscriminator(3, size, 16, 3, width=2), x, label)
    check_network(VideoDiscriminator(3, size, 16, 3, width=2, norm="spectral", condition="projection"), x, label)
    check_network(SpatialDiscriminator(3, size, 3, width=2, attention=8), x[:, :3], label, shape=(2, 1))
    check_network(TemporalDiscriminator(3, size, 16, 3, width=2), x, label, shape=(2, 1))
    check_network(StackedDiscriminator(3, size, 16, 3, width=2), x, label, shape=(2, 1))


def test_the_categorical_discriminator_also_returns_classes() -> None:
    logits, classes = VideoDiscriminator(1, 64, 16, 6, width=2)(clips(2, 16, 1, 64))
    assert (logits.shape, classes.shape) == ((2, 1, 1, 1, 1), (2, 6))


def test_instance_noise_is_added_in_training_only() -> None:
    network = PictureDiscriminator(1, S, width=2, noise=0.1)
    x = torch.zeros(8, 1, 1, S, S)
    assert network.train()(x).std() > 0
    calm = network.eval()(x)
    assert (calm == calm[:1]).all()


def test_mocogan_shares_the_content_and_moves_by_a_gru_over_noise() -> None:
    network = MoCoGANGenerator(1, S, 3, 2, content=4, motion=3, width=2).eval()
    z = torch.randn(2, network.latent)
    assert network.latent == 4 + 3 * (3 + 1)
    h, frames = z[:, 4:7], []
    for t in range(3):
        h = network.recurrent(z[:, 7 + 3 * t : 10 + 3 * t], h)
        code = torch.cat([z[:, :4], torch.tensor([[1.0, 0], [0, 1]]), h], 1)
        frames.append(network.draw(code[:, :, None, None]))
    torch.testing.assert_close(network(z, torch.tensor([0, 1])), torch.stack(frames, 1))


def test_the_conv_gru_follows_its_equations() -> None:
    torch.manual_seed(0)
    network = ConvGRU(2, 3, lambda a, b: nn.Conv2d(a, b, 3, padding=1))
    x, h = torch.randn(2, 4, 2, 6, 6), torch.zeros(2, 3, 6, 6)
    for t, found in enumerate(network(x, 4).unbind(1)):
        u, r, c = network.given(x[:, t]).chunk(3, 1)
        hu, hr = network.gates(h).chunk(2, 1)
        u, r = torch.sigmoid(u + hu), torch.sigmoid(r + hr)
        h = u * h + (1 - u) * relu(c + network.candidate(r * h))
        torch.testing.assert_close(found, h)
    assert torch.equal(network(x[:, :1], 4), network(x[:, :1].expand(-1, 4, -1, -1, -1), 4))


def test_batch_norms_of_dvdgan_do_not_average_over_time() -> None:
    """A change of the last frame alone leaves all other frames as they are, also in training."""
    torch.manual_seed(0)
    block = DVDGANGenerator(1, 8, T, content=4, width=2).train().groups[0].block_0
    x, z = torch.randn(4, T, 2, 4, 4), torch.randn(4, 4)
    other = torch.cat([x[:, :-1], 3 * x[:, -1:] + torch.randn(4, 1, 2, 4, 4)], 1)
    first, second = block(x, z), block(other, z)
    torch.testing.assert_close(first[:, :-1], second[:, :-1], rtol=1e-2, atol=1e-3)  # one more power iteration
    assert not torch.allclose(first[:, -1], second[:, -1], atol=0.1)


def test_spatial_scores_are_summed_over_the_frames() -> None:
    network = SpatialDiscriminator(1, S, 3, width=2).eval()
    x, label = clips(2), torch.tensor([0, 2])
    torch.testing.assert_close(network(x, label), sum(network(x[:, t : t + 1], label) for t in range(T)))


def test_the_temporal_discriminator_sees_frames_averaged_over_two_by_two_pixels() -> None:
    network = TemporalDiscriminator(1, S, T, width=2).eval()
    x = clips(2)
    coarse = avg_pool2d(x.flatten(0, 1), 2).repeat_interleave(2, 2).repeat_interleave(2, 3).unflatten(0, (2, T))
    torch.testing.assert_close(network(x), network(coarse))
    assert not torch.allclose(network(x), network(shuffled(x)), rtol=1e-4)
    kernels = [layer.weight.shape[2:] for layer in network.modules() if isinstance(layer, nn.Conv3d)]
    assert kernels.count((3, 3, 3)) == 4  # two blocks of two


def test_a_thing_is_shrunk_and_placed_relative_to_the_middle() -> None:
    image = torch.ones(1, 1, 32, 32)
    moved = placed(image, torch.tensor([[0.25, -0.125]]), 0.25, 32)[0, 0]  # 8 x 8 pixels around (24, 12)
    assert moved[8:16, 20:28].min() > 0.99
    assert moved.sum().item() == pytest.approx(64, rel=0.15)
    exact = placed(image[:, :, :8, :8], torch.tensor([[0.25, -0.125]]), 0.25, 32)[0, 0]  # a pixel for each pixel
    torch.testing.assert_close(exact, pad(torch.ones(8, 8), (20, 4, 8, 16)), rtol=0, atol=1e-4)


def test_the_layered_generator_moves_one_thing_on_one_colour() -> None:
    network = LayeredGenerator(1, 32, T, content=4, motion=2, width=2).eval()
    with torch.no_grad():
        for p in network.path.push.parameters():
            p.zero_()  # nothing but constant velocity
        z = torch.randn(3, network.latent)
        places = network.path(z[:, 4:], T)
        clip = network(z)
        other = network(torch.cat([z[:, :4], z[:, 4:] * 0.5], 1))
    torch.testing.assert_close(places.diff(dim=1), places.diff(dim=1)[:, :1].expand(-1, T - 1, -1))
    assert torch.equal(clip[:, 0, :, 0, 0], clip[:, 1, :, 0, 0])  # the background
    assert not torch.equal(clip, other)


def test_a_solid_thing_has_one_colour_and_is_composed_by_hand_as_by_the_network() -> None:
    network = SolidGenerator(3, 32, T, content=4, motion=2, width=2).eval()
    z = torch.randn(3, network.latent)
    with torch.no_grad():
        clip = network(z)
        background, thing, mask = network.drawn(z[:, :4], None)
        path = network.route(network.path(z[:, 4:], T), mask)
    assert (thing.shape, mask.shape) == ((3, 3, 1, 1), (3, 1, 16, 16))  # 16 pixels for the 9.6 of the window
    assert background.max() < -0.9  # it starts out black
    assert thing.squeeze().std(0).min() > 0.1
    for t in range(T):
        over = placed(mask, path[:, t], 0.3, 32)
        torch.testing.assert_close(clip[:, t], over * thing + (1 - over) * background)


def test_a_solid_thing_can_neither_fade_nor_shrink_away_nor_leave() -> None:
    torch.manual_seed(0)
    network = SolidGenerator(1, 32, T, content=4, motion=2, width=2).eval()
    far = torch.tensor([[[9.0, 0.1], [-9.0, 0.0], [0.0, 9.0], [0.2, -0.3], [0.0, 0.0]]])
    with torch.no_grad():
        network.draw.convs[-1].weight.mul_(50)  # a few dots
        _, _, mask = network.drawn(torch.randn(3, 4), None)
        route = network.route(far.expand(3, -1, -1), mask)
        seen = placed(mask.repeat_interleave(T, 0), route.flatten(0, 1), 0.3, 32).unflatten(0, (3, T))
    assert mask.amax((2, 3)).min() > 0.99
    assert seen.sum((2, 3, 4)).min() > 1  # pixels
    middle = centres(2 * seen[0] - 1)
    most = 0.5 - 0.3 / 8
    torch.testing.assert_close(middle[3:].float() - 0.5, most * (far[0, 3:] / most).tanh(), atol=0.01, rtol=0)


def test_vgan_moves_a_foreground_on_a_background_that_stays() -> None:
    network = VGANGenerator(3, 16, 6, 3, latent=4, width=2).eval()
    z, label = torch.randn(2, 4), torch.tensor([0, 2])
    with torch.no_grad():
        clip = network(z, label)
        foreground, mask, background = network.layers(z, label)
        still = network.background(torch.cat([z, torch.tensor([[1.0, 0, 0], [0, 0, 1]])], 1))
        for t in range(6):
            drawn = mask[:, t] * foreground[:, t] + (1 - mask[:, t]) * still
            torch.testing.assert_close(clip[:, t], drawn)
        network.mask.bias.fill_(-100)
        nothing = network(z, label)
    assert (foreground.shape, mask.shape, background.shape) == ((2, 6, 3, 16, 16), (2, 6, 1, 16, 16), (2, 3, 16, 16))
    assert not torch.equal(clip[:, 0], clip[:, 1])
    torch.testing.assert_close(nothing, still[:, None].expand(-1, 6, -1, -1, -1))


def test_vgan_has_the_layers_of_the_paper() -> None:
    """4x4x4 kernels, 2x4x4 in the first layer; 512, 256, 128 and 64 channels in both streams; two heads."""
    with torch.device("meta"):
        network = VGANGenerator(3, 64, 32)
    steps = [(100, 512), (512, 256), (256, 128), (128, 64)]
    moving = 32 * 100 * 512 + sum(64 * a * b for a, b in steps[1:]) + 64 * 64 * 4 + 4
    still = sum(16 * a * b for a, b in [*steps, (64, 3)])
    assert count(network) == moving + still + 2 * 2 * (512 + 256 + 128 + 64) == 16_243_460
    assert network.moving[0].kernel_size == (2, 4, 4)


def test_clips_too_short_and_sizes_that_do_not_halve_are_rejected() -> None:
    with pytest.raises(ConfigError, match=r"covers 16 frames at this size, but clips have 8: set task\.frames"):
        VideoDiscriminator(3, 64, 8)
    with pytest.raises(ConfigError, match="at least 4 frames"):
        TemporalDiscriminator(3, 32, 3)
    with pytest.raises(ConfigError, match="need a size of 8, 16, 32"):
        MoCoGANGenerator(3, 48, 16)
    with pytest.raises(ConfigError, match="no feature map is 5 pixels wide; possible: 4, 8, or 0"):
        DVDGANGenerator(3, 16, T, attention=5)


# ---- the tasks


@pytest.mark.parametrize(
    "task",
    [
        made(),
        made(classes=None, picture=partial(PictureDiscriminator, width=4)),
        made(
            partial(MoCoGANGenerator, content=3, motion=2, width=4),
            partial(PatchPictureDiscriminator, width=4),
            partial(VideoDiscriminator, width=4),
            Vanilla,
            frames=13,
        ),
        made(
            partial(DVDGANGenerator, content=4, shared=4, width=4),
            partial(SpatialDiscriminator, width=4),
            partial(TemporalDiscriminator, width=4),
            pictures=3,
        ),
    ],
    ids=["layered", "no classes", "mocogan", "dvdgan"],
)
def test_videogan_keeps_the_contract_of_a_task(task: VideoGAN) -> None:
    check_task(task, batch(frames=task.frames), steps=8)


def test_video_prediction_keeps_the_contract_of_a_task() -> None:
    check_task(predictor(), halves(), steps=8)


class Noting(nn.Module):
    """A stand-in for a discriminator, which notes what it is given: the logit is a number times the mean."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        self.seen.append(x.detach().clone())
        return self.weight * x.mean((1, 2, 3, 4))[:, None]


def test_the_picture_discriminator_sees_k_different_frames_in_order() -> None:
    seen = Noting()
    task = made(picture=lambda *_: seen, pictures=3)
    given = batch(2)
    given["clip"] = torch.arange(float(T))[None, :, None, None, None].expand(2, T, 1, S, S) / T
    list(task.step(given))
    real, fake, again = seen.seen
    assert real.shape == fake.shape == again.shape == (2, 3, 1, S, S)
    for numbers in (real[:, :, 0, 0, 0] * T).round().tolist():
        assert len(set(numbers)) == 3
        assert numbers == sorted(numbers)


def test_in_prediction_the_picture_discriminator_sees_no_given_frame_and_the_other_the_whole_clip() -> None:
    task, pictures, whole = predictor(pictures=2), Noting(), Noting()
    task.picture_discriminator, task.clip_discriminator = pictures, whole
    clip = torch.arange(float(T))[None, :, None, None, None].expand(3, T, 1, S, S) / T
    list(task.step({"A": clip[:, :2], "B": clip[:, 2:]}))
    assert pictures.seen[0].min() * T > 1.9
    assert torch.equal(whole.seen[0], clip)
    assert torch.equal(whole.seen[1][:, :2], clip[:, :2])


@pytest.mark.parametrize("kinds", [["colour"], ["translation"], ["cutout"], ["flip"], ["colour", "translation"]])
def test_all_frames_of_a_clip_are_augmented_alike(kinds: Any) -> None:
    torch.manual_seed(0)
    still = clips(3, frames=1, channels=3, size=16).expand(-1, 5, -1, -1, -1).clone().requires_grad_()
    changed = augmented_clips(still, kinds)
    assert changed.shape == still.shape
    torch.testing.assert_close(changed, changed[:, :1].expand_as(changed))
    assert not torch.equal(changed, still)
    moved = [(a - b).abs().max() for a, b in zip(changed[:, 0], augmented_clips(still, kinds)[:, 0], strict=True)]
    assert max(moved) > 0  # random for every call
    changed.square().sum().backward()
    assert still.grad is not None
    assert still.grad.abs().sum() > 0


def test_both_discriminators_see_augmented_clips_in_every_turn() -> None:
    seen: list[Tensor] = []

    def spying(network: Any) -> Any:
        def build(*args: Any) -> nn.Module:
            found: nn.Module = network(*args)
            found.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
            return found

        return build

    parts = {"picture": partial(PictureDiscriminator, width=4, norm="spectral", condition="projection")}
    parts["clip"] = partial(StackedDiscriminator, width=4)
    task = made(**{name: spying(part) for name, part in parts.items()}, augment=("cutout",))
    ones = batch() | {"clip": torch.ones(4, T, 1, S, S)}
    list(task.step(ones))
    real = [x for x in seen if (x == 1).any() and (x == 0).any()]  # what is cut out is 0
    assert {x.shape[1] for x in real} == {1, T}
    assert not any((x == 1).all() for x in seen)
    seen.clear()
    list(made(**{name: spying(part) for name, part in parts.items()}).step(ones))
    assert any((x == 1).all() for x in seen)


def test_the_step_of_mocogan_is_the_usual_loop_bit_for_bit() -> None:
    """Vanilla losses, D's category loss on real clips and G's on generated ones (arXiv:1707.04993 eq. 6 and 7)."""
    networks = (
        partial(MoCoGANGenerator, content=3, motion=2, width=2),
        partial(PictureDiscriminator, width=2, noise=0.0),
        partial(VideoDiscriminator, width=2, noise=0.0),
    )
    shape = {"frames": 13, "lambda_category": 0.5}
    task, twin = (made(*networks, partial(Vanilla, lambda_d=1.0), **shape) for _ in range(2))
    G, D_i, D_v = twin.generator, twin.picture_discriminator, twin.clip_discriminator
    rate = partial(adam, lr=2e-3, betas=(0.5, 0.999))
    engine = Engine(task, rate, Train(steps=3))
    optimizers = [rate(network.parameters()) for network in (D_i, D_v, G)]

    def update(number: int, loss: Tensor) -> None:
        optimizers[number].zero_grad()
        loss.backward(inputs=[*(D_i, D_v, G)[number].parameters()], retain_graph=True)
        optimizers[number].step()

    def frame(clip: Tensor) -> Tensor:
        n = torch.rand(len(clip), 13).argsort(1)[:, :1]
        return clip[torch.arange(len(clip))[:, None], n]

    for step in range(3):
        given = batch(frames=13)
        found = engine.step([given]).losses
        real, label = given["clip"], given["label"]
        seed_everything(0, step, 0)
        fake = G(torch.randn(4, 3 + 2 * 14), label)
        one, other = frame(real), frame(fake.detach())
        loss_i = softplus(-D_i(one)).mean() + softplus(D_i(other)).mean()
        update(0, loss_i)
        (on_real, said), (on_fake, _) = D_v(real), D_v(fake.detach())
        category = 0.5 * cross_entropy(said, label)
        loss_v = softplus(-on_real).mean() + softplus(on_fake).mean()
        update(1, torch.stack([loss_v, category]).sum())
        picture = softplus(-D_i(frame(fake))).mean()
        on_fake, said = D_v(fake)
        clip, category_g = softplus(-on_fake).mean(), 0.5 * cross_entropy(said, label)
        update(2, torch.stack([picture, clip, category_g]).sum())
        assert found == {
            "D_picture/gan": loss_i.item(),
            "D_clip/gan": loss_v.item(),
            "D_clip/category": category.item(),
            "G/picture": picture.item(),
            "G/clip": clip.item(),
            "G/clip_category": category_g.item(),
        }
    for name, value in task.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name


def test_prediction_adds_the_weighted_l1_error_to_the_loss_of_g() -> None:
    task, given = predictor(lambda_l1=3.0, lambda_gan=0.5), halves()
    for player, losses in task.step(given):
        last = player, losses
    assert last[0] == "G"
    assert set(last[1]) == {"picture", "clip", "l1"}
    assert last[1]["l1"].item() == pytest.approx(3 * l1_loss(task.generator(given["A"]), given["B"]).item())


def test_prediction_translates_any_size_and_the_last_frames_of_longer_clips() -> None:
    task = predictor().eval()
    with torch.no_grad():
        assert task.translate(clips(2, 4, 3, 18)).shape == (2, 3, 1, 18, 18)
        long = clips(1, 6)
        assert torch.equal(task.translate(long), task.translate(long[:, -2:]))
    with pytest.raises(DataError, match="too short, 1 frame: this model predicts from the last 2;"):
        task.translate(clips(1, 1))


def test_codes_decode_to_the_sampled_clips_and_conditions_are_checked() -> None:
    task = made().eval()
    torch.manual_seed(1)
    z = task.prior(2)
    torch.manual_seed(1)
    assert torch.equal(task.sample(2, label=1), task.decode(z, label=1))
    assert task.prior(50, truncation="0.5").abs().max() <= 0.5
    with pytest.raises(ConfigError, match="label=7: this model has no such class; choose a number from 0 to 2"):
        task.sample(1, label=7)
    with pytest.raises(ConfigError, match="truncation=-1: should be a number above 0"):
        task.sample(1, truncation=-1)
    with pytest.raises(DataError, match=r"should be \[N, 6\]"):
        task.decode(torch.zeros(1, 5))


def test_batches_that_do_not_fit_are_rejected_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r'needs samples with "clip", but these have image: use another data set$'):
        next(made().step({"image": clips(1)[:, 0]}))
    with pytest.raises(
        ConfigError, match=r"5 x 1 x 16 x 16 values \(frames, .* data has 4 x 1 x 16 x 16: change task.frames"
    ):
        next(made().step(batch(frames=4)))
    with pytest.raises(ConfigError, match=r'needs samples with "A", but these have clip, label: .* set data\.given'):
        next(predictor().step(batch()))
    with pytest.raises(ConfigError, match="for 3 classes but the data has label 3"):
        made().check({"clip": clips(2), "label": torch.tensor([0, 3])})
    with pytest.raises(ConfigError, match="leaves fewer than pictures=2 frames to predict"):
        predictor(given=4, pictures=2)
    with pytest.raises(ConfigError, match="pictures=6 of clips with frames=5: use at most 5"):
        made(pictures=6)


# ---- a run


def command(*words: Any) -> int:
    """Return the exit code of a command line."""
    done = i2i_command(*words, cwd=Path.cwd())
    print(done.stderr)
    return done.returncode


CONFIG = """
task:
  use: videogan
  generator: {use: layered_generator, content: 4, motion: 2, width: 4, hidden: 4}
  picture_discriminator: {use: picture_discriminator, width: 4, norm: spectral}
  clip_discriminator: {use: stacked_discriminator, width: 4}
  gan: {use: hinge}
  frames: 5
  channels: 1
  size: 16
  classes: 10
data: {use: moving_digits, size: 16, frames: 5, batch_size: 4, samples: 20, validation_samples: 4}
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 4, ema: 0.9, log_every: 1, sample_every: 4, checkpoint_every: 2}
"""


def test_a_resumed_run_equals_an_unbroken_one_and_samples_gifs(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG)
    whole = api.run(config, out=tmp_path / "whole")
    broken = api.run(config, "train.steps=2", out=tmp_path / "broken")
    api.run(config, "train.steps=4", out=broken, resume=True)
    both = [load_model(run / "model.safetensors")[0] for run in (whole, broken)]
    assert both[0].keys() == both[1].keys()
    assert all(torch.equal(value, both[1][name]) for name, value in both[0].items())
    assert Image.open(whole / "samples" / "00000004.gif").n_frames == 5  # type: ignore[attr-defined]
    out = tmp_path / "out"
    assert command("sample", 2, "-m", whole, "-o", out, "-c", "label=3") == 0
    for name in ("path.gif", "path.png"):
        assert command("latent", "interpolate", "-n", 2, "-m", whole, "-o", tmp_path / name) == 0
    assert Image.open(tmp_path / "path.gif").n_frames == 5  # type: ignore[attr-defined]
    assert api.sample(0, whole).shape == (0, 5, 1, 16, 16)
    written = sorted(out.glob("*.gif"))
    assert len(written) == 2
    assert all(Image.open(file).n_frames == 5 for file in written)  # type: ignore[attr-defined]


def test_a_clip_is_translated_on_the_command_line(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(
        CONFIG.replace("use: videogan", "use: video_prediction\n  given: 2")
        .replace("layered_generator, content: 4, motion: 2, width: 4, hidden: 4", "frame_predictor, width: 4")
        .replace("  classes: 10\n", "")
        .replace("frames: 5, batch", "frames: 5, given: 2, batch")
    )
    run = api.run(config, "train.steps=1", out=tmp_path / "run")
    frames = [Image.fromarray(np.full((20, 24, 3), 40 * n, np.uint8)) for n in range(1, 4)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:])
    assert command("translate", tmp_path / "clip.gif", "-m", run, "-o", tmp_path / "out") == 0
    found = Image.open(tmp_path / "out" / "clip.gif")
    assert (found.n_frames, found.size) == (3, (24, 20))  # type: ignore[attr-defined]
    frames[0].save(tmp_path / "short.gif")
    assert command("translate", tmp_path / "short.gif", "-m", run, "-o", tmp_path / "no") == 3
    assert not list((tmp_path / "no").glob("*"))


TWO = """
import os, sys, torch
sys.path.insert(0, "tests")
import torch.distributed as dist
from functools import partial
from i2i import processes
from i2i.config import Train
from i2i.engine import Engine
from i2i.optim import adam
from test_videogan import halves, predictor
world = processes.join(60.0, torch.device("cpu"))
engine = Engine(predictor(world.rank), partial(adam, lr=1e-3), Train(steps=3), world=world)
share = {key: value[2 * world.rank : 2 * world.rank + 2] for key, value in halves().items()}
for _ in range(3):
    engine.step([share])
weights = torch.cat([p.detach().flatten() for p in engine.task.parameters()])
both = [torch.empty_like(weights) for _ in range(2)]
dist.all_gather(both, weights)
assert torch.equal(*both), (both[0] - both[1]).abs().max()
processes.leave()
os._exit(0)  # as i2i/__main__.py does: threads of torch.distributed may outlive the interpreter, which then aborts
"""


def test_two_processes_keep_the_same_weights() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = [*command, "--no-python", sys.executable, "-c", TWO]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr


# ---- motion and metrics


def square(moves: list[tuple[float, float]], size: int = 32) -> Tensor:
    """Return a clip of a bright square that starts at (8, 8) and makes these moves, in pixels: [T, 1, size, size]."""
    frame = torch.full((1, 1, size, size), -1.0)
    frame[:, :, 5:12, 5:12] = 1
    places = torch.tensor([(0.0, 0.0), *moves]).cumsum(0)
    return shifted(frame.expand(len(places), -1, -1, -1), places[:, :, None, None].expand(-1, -1, size, size))


def test_the_path_of_the_centre_is_measured_in_frame_sides() -> None:
    clip = square([(2, 0), (2, 0), (0, 2), (0, 0), (0, 0)])
    assert centres(clip)[0].tolist() == pytest.approx([8.5 / 32, 8.5 / 32], abs=1e-4)
    speed, turning = steps(clip)
    assert speed.tolist() == pytest.approx([2 / 32, 2 / 32, 2 / 32, 0, 0], abs=1e-4)
    assert turning.tolist() == pytest.approx([0, np.pi / 2, 0, 0], abs=1e-3)


def test_the_flow_of_a_moving_square_is_its_speed() -> None:
    assert flow(square([(2, 0)] * 4)).mean().item() == pytest.approx(2 / 32, rel=0.25)
    assert flow(square([(0, 0)] * 4)).max() < 0.1 / 32


def test_moved_on_continues_the_mean_velocity() -> None:
    clip = square([(2, 1)] * 5)
    torch.testing.assert_close(moved_on(clip[:3], 3), clip[3:], atol=0.05, rtol=0)


def test_the_energy_distance_is_zero_on_average_and_that_of_a_shift_in_one_dimension() -> None:
    source = torch.Generator().manual_seed(0)
    x, y = (torch.randn(1000, 1, generator=source, dtype=torch.float64) for _ in range(2))
    assert abs(energy_distance(x, y)) < 0.01
    assert energy_distance(x, y + 100) == pytest.approx(2 * 100 - 4 / np.pi**0.5, rel=0.01)


@pytest.fixture(scope="module")
def digits() -> MovingDigits:
    return MovingDigits(samples=10, validation_samples=24)


@pytest.fixture(scope="module")
def real(digits: MovingDigits) -> Tensor:
    return torch.stack([sample["clip"] for sample in digits.validation()])


def test_the_distance_ranks_motion_above_sharpness(real: Tensor) -> None:
    """Real clips are at 0, blurred ones with the right motion close, and sharp ones with wrong motion far away."""
    first, second = real[::2], real[1::2]
    soft = avg_pool2d(first.flatten(0, 1), 3, 1, 1, count_include_pad=False).unflatten(0, first.shape[:2])
    found = distances(soft, second)
    assert abs(distances(first, second)["space_time"]) < 0.1
    assert 0 < found["space_time"] < found["shuffled"] / 4
    assert found["shuffled"] < found["still"]


def test_controls_keep_the_frames_and_lose_the_motion(real: Tensor) -> None:
    for one, other in zip(real[:5], shuffled(real[:5]), strict=True):
        assert not torch.equal(one, other)
        assert torch.equal(one.flatten(1).sum(1).sort().values, other.flatten(1).sum(1).sort().values)
    still = stills(real[:5])
    assert torch.equal(still[:, 0], real[:5, 8])
    assert torch.equal(still[:, 0], still[:, -1])


class Recorded(VideoGAN):
    """Samples given clips instead of new ones."""

    def __init__(self, clips: Tensor, labels: Tensor | None = None) -> None:
        small = made(frames=16, size=32, classes=10)
        self.__dict__.update(small.__dict__)
        self.clips, self.labels, self.given_out = clips, labels, 0

    def sample(self, n: int, label: Any = None, truncation: Any = None) -> Tensor:
        if self.labels is None or label is None:
            self.given_out += n
            return self.clips[torch.arange(self.given_out - n, self.given_out) % len(self.clips)]
        return torch.stack([self.clips[(self.labels == int(one)).nonzero()[0, 0]] for one in label])


def test_metrics_of_real_clips_are_at_their_best_and_those_of_controls_are_not(
    digits: MovingDigits, real: Tensor
) -> None:
    task, mixed = Recorded(real), Recorded(shuffled(real))
    assert ClipDistance()(task, digits)["space_time"] < 0.05
    assert ClipDistance()(mixed, digits)["space_time"] > 1
    motion, wrong = Motion()(task, digits), Motion()(mixed, digits)
    assert max(motion["flow_worst"], motion["speed_worst"], motion["turning"]) < 1e-6
    assert wrong["speed"] > 0.5
    assert wrong["turning"] > 0.5


def test_clips_to_compare_have_the_classes_of_the_validation_clips(digits: MovingDigits, real: Tensor) -> None:
    class Asked(Recorded):
        def sample(self, n: int, label: Any = None, truncation: Any = None) -> Tensor:
            asked.extend(label)
            return super().sample(n)

    asked: list[int] = []
    Motion()(Asked(real), digits)
    assert asked == [int(sample["label"]) for sample in digits.validation()]


def test_predictions_are_compared_with_both_baselines() -> None:
    data = MovingDigits(samples=10, validation_samples=6, frames=8, given=4, size=32)
    task = predictor(given=4, frames=8, size=32).eval()
    found = FrameScores()(task, data)
    assert found["psnr"] == pytest.approx(found["repeat_psnr"], abs=1)  # untrained, it repeats the last frame
    assert found["velocity_psnr"] > found["repeat_psnr"]
    assert Motion()(task, data)["flow"] > 0.5


def test_metrics_refuse_too_few_clips() -> None:
    few = MovingDigits(samples=10, validation_samples=2)
    for metric in (Motion(), ClipDistance()):
        with pytest.raises(
            ConfigError, match="needs at least 4 validation samples with clip, but MovingDigits has 2"
        ):
            metric.refuse(made(frames=16, size=32), few)
    short = MovingDigits(samples=10, validation_samples=4, frames=4)
    Motion().refuse(made(frames=16, size=32), short)
    with pytest.raises(ConfigError, match="clip_distance needs clips of at least 5 frames, not 4: remove it"):
        ClipDistance().refuse(made(frames=16, size=32), short)


# ---- moving digits


def test_moving_digits_keep_the_contract_and_are_pure(tmp_path: Path) -> None:
    for options in ({}, {"given": 2}, {"digits": 2, "channels": 3}):
        data = MovingDigits(size=16, frames=T, batch_size=3, samples=6, validation_samples=4, **options)  # type: ignore[arg-type]
        check_data(data)
        one, other = (data.sample(1, np.random.default_rng(3)) for _ in range(2))
        assert all(torch.equal(one[name], other[name]) for name in one)
        clip = one["clip"] if "clip" in one else torch.cat([one["A"], one["B"]])
        assert clip.shape == (T, data.channels, 16, 16)
        assert clip.min() == -1
        assert ("label" in one) == (data.digits == 1)
    with pytest.raises(ConfigError, match="given=5 leaves nothing to predict of frames=5"):
        MovingDigits(frames=5, given=5, samples=1, validation_samples=1)


def test_paths_are_straight_and_bounce_off_the_edges() -> None:
    for seed in range(20):
        found = path(np.random.default_rng(seed), 40, 12.0, 32)
        assert found.min() >= 0
        assert found.max() <= 12
        speed = np.abs(np.diff(found, axis=0))
        straight = np.isclose(speed, np.median(speed, 0))
        assert straight.mean() > 0.7  # all but the frames with a bounce
        assert 1 - 1e-6 <= np.hypot(*np.median(speed, 0)) <= 2.5 + 1e-6


def test_the_judge_reads_moving_digits_and_not_others(digits: MovingDigits, real: Tensor) -> None:
    labels = torch.stack([sample["label"] for sample in digits.validation()])
    right = ClipClassAccuracy(per_class=2)(Recorded(real, labels), digits)
    wrong = ClipClassAccuracy(per_class=2)(Recorded(real, (labels + 1) % 10), digits)
    assert right["judge"] > 0.97
    assert right["mean"] > 0.97
    assert wrong["mean"] < 0.1
    assert centred(real[0]).shape == (16, 1, 32, 32)
    with pytest.raises(ConfigError, match="reads single moving digits"):
        ClipClassAccuracy().refuse(made(), MovingDigits(digits=2, samples=2, validation_samples=2))
    with pytest.raises(ConfigError, match="has 3 classes instead of the 10 digits"):
        ClipClassAccuracy().refuse(made(), digits)


def test_a_metric_of_clips_refuses_data_that_has_none(digits: MovingDigits) -> None:
    class Empty(Data):
        pass

    with pytest.raises(ConfigError, match="but Empty has none"):
        Motion().refuse(made(), Empty())


def test_what_does_not_fit_the_clips_is_named() -> None:
    given = {"clip": torch.zeros(2, 16, 3, 64, 64)}
    with pytest.raises(
        ConfigError, match=r"but the data has 16 x 3 x 64 x 64: change task.channels to match the data$"
    ):
        refuse_other_clips(given, "videogan", {"clip": (16, 1, 64, 64)})
    with pytest.raises(ConfigError, match=r"change task.frames and task.size to match the data$"):
        refuse_other_clips(given, "videogan", {"clip": (8, 3, 32, 32)})


def test_a_path_of_clips_has_eight_columns_since_time_is_their_own(tmp_path: Path) -> None:
    model = Model(made(classes=None), {}, Path("run"))
    interpolate(model, {}, str(tmp_path / "path.gif"), n=1)
    interpolate(model, {}, str(tmp_path / "short.gif"), n=1, steps=2)
    with Image.open(tmp_path / "path.gif") as path, Image.open(tmp_path / "short.gif") as short:
        assert path.n_frames == short.n_frames > 1
        assert path.width > 3 * short.width


def test_class_names_in_another_order_than_those_of_the_data_are_rejected() -> None:
    def refused(task: Any, data: Any) -> str:
        with pytest.raises(ConfigError) as error:
            refuse_other_classes(SimpleNamespace(classes=task), SimpleNamespace(classes=data))  # type: ignore[arg-type]
        return str(error.value)

    right = "but the classes of the data are [jump,run]: set task.classes=[jump,run], or use other data"
    assert refused(("run", "jump"), ("jump", "run")) == f"task.classes is [run, jump], {right}"
    many = tuple(f"class {n}" for n in range(30))
    assert refused(("a",), many).endswith("of the data are 30: set task.classes=30, or use other data")
    ordered = tuple(sorted(class_names(30)))  # folders 0 to 29, as data sets read them
    assert refused(class_names(30), ordered).endswith(f"set task.classes=[{','.join(ordered)}], or use other data")
    for task, data in (
        (class_names(10), ("jump", "run")),
        (("a", "b"), class_names(2)),
        (("a",), ()),
        ((), ("a",)),
        (3, ("a",)),
        (("a",), ("a",)),
    ):
        refuse_other_classes(SimpleNamespace(classes=task), SimpleNamespace(classes=data))  # type: ignore[arg-type]
