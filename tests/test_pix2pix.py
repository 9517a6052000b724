"""pix2pix and colorization: the step as published, what a test-time mode changes, and that lightness is kept."""

from __future__ import annotations

import copy
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from i2i_pix2pix import Colorization, Pix2Pix, as_in_training, from_lab, to_lab
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from i2i import ConfigError, Task
from i2i.config import Train
from i2i.engine import Engine
from i2i.losses import Hinge, Vanilla
from i2i.metrics.colour import Colourfulness, colourfulness
from i2i.networks import PatchDiscriminator, UnetGenerator
from i2i.optim import adam
from i2i.testing import check_task

# The published layers, narrow; 6 halvings so that one of them has dropout.
NARROW = partial(UnetGenerator, width=4, downs=6)
JUDGE = partial(PatchDiscriminator, in_channels=6, width=4, layers=2, norm="batch")
LAB = partial(UnetGenerator, in_channels=1, out_channels=2, width=4, downs=4)
LAB_JUDGE = partial(PatchDiscriminator, in_channels=3, width=4, layers=2)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pairs(n: int = 2, size: int = 64) -> dict[str, Tensor]:
    return {"A": pictures(n, 3, size, size), "B": pictures(n, 3, size, size, seed=1)}


def made(build: Any, *args: Any, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return build(*args, **kwargs)


def trained(task: Any, batch: dict[str, Tensor], steps: int, lr: float = 2e-3) -> Any:
    engine = Engine(task, partial(adam, lr=lr), Train(steps=steps))
    for _ in range(steps):
        engine.step([batch])
    return task


# ---- the contract


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_pix2pix_keeps_the_contract_of_a_task(mode: Any) -> None:
    check_task(made(Pix2Pix, NARROW, JUDGE, Vanilla, test_mode=mode), pairs(), steps=5)
    check_task(made(Pix2Pix, NARROW, test_mode=mode), pairs(), steps=5)


def test_colorization_keeps_the_contract_of_a_task() -> None:
    check_task(made(Colorization, LAB, LAB_JUDGE, Hinge), pairs(size=32), steps=5)
    check_task(made(Colorization, LAB, test_mode="eval"), pairs(size=32), steps=5)


def test_a_discriminator_without_an_objective_is_rejected() -> None:
    for parts in ({"discriminator": JUDGE}, {"gan": Vanilla}):
        with pytest.raises(ConfigError, match="both `discriminator` and `gan`, or neither"):
            Pix2Pix(NARROW, **parts)


# ---- the step


def test_the_step_equals_the_published_one() -> None:
    """Against the recipe written by hand: D first, on detached fakes, times 1/2; then G, with the new D."""
    batch = pairs()
    task = made(Pix2Pix, partial(NARROW, dropout=0.0), JUDGE, Vanilla)
    G, D = copy.deepcopy(task.G), copy.deepcopy(task.D)
    engine = Engine(task, partial(adam, lr=1e-3, betas=(0.5, 0.999)), Train(steps=3))

    optimizers = {net: torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.999), fused=True) for net in (G, D)}
    for _ in range(3):
        found = engine.step([batch]).losses
        fake = G(batch["A"])
        logits = D(torch.cat([batch["A"], fake.detach()], 1)), D(torch.cat([batch["A"], batch["B"]], 1))
        loss_d = 0.5 * sum(
            binary_cross_entropy_with_logits(x, torch.full_like(x, float(n))) for n, x in enumerate(logits)
        )
        optimizers[D].zero_grad()
        loss_d.backward()
        optimizers[D].step()
        logit = D(torch.cat([batch["A"], fake], 1))
        gan, l1 = binary_cross_entropy_with_logits(logit, torch.ones_like(logit)), 100 * l1_loss(fake, batch["B"])
        optimizers[G].zero_grad()
        (gan + l1).backward()
        optimizers[G].step()
        by_hand = {"D/pairs": loss_d.item(), "G/l1": l1.item(), "G/gan": gan.item()}
        assert found == pytest.approx(by_hand, rel=1e-4)
    assert all(torch.allclose(p, q, atol=1e-4) for p, q in zip(task.G.parameters(), G.parameters(), strict=True))


def test_without_a_discriminator_only_the_l1_distance_is_left() -> None:
    task = made(Pix2Pix, NARROW)
    assert list(task.players()) == ["G"]
    ((player, losses),) = task.step(pairs())
    assert (player, list(losses)) == ("G", ["l1"])


# ---- dropout and batch norm at test


def test_train_mode_depends_only_on_its_seed_and_has_no_side_effects() -> None:
    task = trained(made(Pix2Pix, NARROW), pairs(), 5).eval()
    state = {key: value.clone() for key, value in task.state_dict().items()}
    x = pictures(2, 3, 64, 128, seed=3)
    first = task.translate(x)
    assert torch.equal(first, task.translate(x))
    assert torch.equal(first[1:], task.translate(x[1:]))  # picture by picture
    assert not torch.equal(first, task.translate(x, seed=1))
    assert torch.equal(task.translate(x, seed="1"), task.translate(x, seed=1))  # as the command line gives it
    assert all(torch.equal(value, state[key]) for key, value in task.state_dict().items())
    assert not any(module.training for module in task.modules())


def test_train_mode_equals_the_network_in_training_on_that_image() -> None:
    task = trained(made(Pix2Pix, partial(NARROW, dropout=0.0)), pairs(), 3).eval()
    x = pictures(1, 3, 64, 64, seed=3)
    assert torch.allclose(task.translate(x), copy.deepcopy(task.G).train()(x), atol=1e-6)


def test_dropout_of_the_copy_has_its_rate_and_keeps_the_mean() -> None:
    network = nn.Sequential(nn.Dropout(0.25))
    out = as_in_training(network, 0)(torch.ones(1, 1, 300, 300))
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert out.mean().item() == pytest.approx(1, abs=0.01)
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert isinstance(network[0], nn.Dropout)


def test_eval_mode_differs_from_train_mode_and_uses_the_running_statistics() -> None:
    task = trained(made(Pix2Pix, NARROW), pairs(), 5).eval()
    x = pictures(1, 3, 64, 64, seed=3)
    noisy = task.translate(x)
    task.test_mode = "eval"
    steady = task.translate(x)
    assert torch.equal(steady, task.G(x))
    assert (steady - noisy).abs().mean() > 0.01
    for module in task.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.mul_(4)
    assert not torch.equal(steady, task.translate(x))


def test_the_modes_agree_without_dropout_and_batch_norm() -> None:
    task = made(Pix2Pix, partial(NARROW, norm="instance", dropout=0.0)).eval()
    x = pictures(1, 3, 64, 64)
    noisy = task.translate(x)
    task.test_mode = "eval"
    assert torch.equal(noisy, task.translate(x))


def test_threads_do_not_affect_one_another() -> None:
    task = made(Pix2Pix, NARROW).eval()
    x = pictures(1, 3, 64, 64)
    with torch.no_grad():
        expected = [task.translate(x, seed=n) for n in range(4)]
        found: dict[int, Tensor] = {}

        def work(n: int) -> None:
            with torch.no_grad():
                found[n] = task.translate(x, seed=n)

        for _ in range(3):
            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            assert all(torch.equal(found[n], expected[n]) for n in range(4))


def test_any_size_fits_after_the_borders_padding() -> None:
    task = made(Pix2Pix, NARROW, test_mode="eval").eval()
    assert task.takes.multiple == 64
    for height, width in ((1, 1), (5, 300), (64, 65)):
        batch, undo = task.takes.fit({"A": pictures(1, 3, height, width)}, "A")
        assert undo(task.translate(batch["A"]), task.makes, "it").shape == (1, 3, height, width)


# ---- Lab


def lab_by_definition(rgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of sRGB in 0..1, [..., 3], by the standards: IEC 61966-2-1 and CIE 15, D65, 2 degrees."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # The matrix of the primaries (0.64, 0.33), (0.30, 0.60), (0.15, 0.06) with that white.
    white = np.array([0.95047, 1.0, 1.08883])
    primaries = np.array([[0.64, 0.30, 0.15], [0.33, 0.60, 0.06]])
    columns = np.stack([primaries[0] / primaries[1], np.ones(3), (1 - primaries.sum(0)) / primaries[1]])
    xyz = linear @ (columns * np.linalg.solve(columns, white)).T / white
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def test_lab_follows_the_standard() -> None:
    image = pictures(1, 3, 64, 64)
    expected = lab_by_definition((image[0].permute(1, 2, 0).double().numpy() + 1) / 2)
    found = to_lab(image)[0].permute(1, 2, 0).double().numpy()
    assert np.abs(found - (expected / [50, 110, 110] - [1, 0, 0])).max() < 1e-4
    assert to_lab(torch.ones(1, 3, 1, 1)).flatten().tolist() == pytest.approx([1, 0, 0], abs=1e-3)
    assert to_lab(-torch.ones(1, 3, 1, 1)).flatten().tolist() == pytest.approx([-1, 0, 0], abs=1e-3)


def test_lab_round_trip_changes_nothing() -> None:
    image = pictures(2, 3, 32, 32)
    assert (from_lab(to_lab(image)) - image).abs().max() < 1e-4


def lightness(image: Tensor) -> Tensor:
    return (to_lab(image)[:, :1] + 1) * 50


def test_out_of_gamut_colours_keep_lightness_and_hue() -> None:
    """Of wild a and b, most of which no screen can show; clipping would change L by 30."""
    lab = torch.cat([to_lab(pictures(1, 3, 64, 64))[:, :1], pictures(1, 2, 64, 64, seed=2)], 1)
    image = from_lab(lab)
    assert image.abs().max() <= 1
    wanted = (lab[:, :1] + 1) * 50
    assert (lightness(image) - wanted).abs().max() < 0.02
    eight_bits = ((image + 1) * 127.5).round() / 127.5 - 1
    assert (lightness(eight_bits) - wanted).abs().max() < 0.3  # half a level of red, green and blue
    back = to_lab(image)[:, 1:]
    turned = torch.atan2(lab[:, 2], lab[:, 1]) - torch.atan2(back[:, 1], back[:, 0])
    clear = back.norm(dim=1) > 5 / 110
    assert (torch.sin(turned / 2).abs()[clear] < 0.02).all()


def test_chroma_is_reduced_no_more_than_necessary() -> None:
    lab = torch.cat([to_lab(pictures(1, 3, 32, 32))[:, :1], pictures(1, 2, 32, 32, seed=2)], 1)
    image = from_lab(lab)
    share = to_lab(image)[:, 1:].norm(dim=1) / lab[:, 1:].norm(dim=1)
    at_the_rim = (image.abs() > 1 - 0.01).any(1)
    assert ((share > 0.99) | at_the_rim).all()
    assert 0.3 < share.mean() < 0.9


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_output_has_the_lightness_of_the_input(mode: Any) -> None:
    task = made(Colorization, LAB, test_mode=mode).eval()
    task.G.head[-1].weight.data *= 300  # wild colours
    image = ((pictures(2, 3, 32, 32) + 1) * 127.5).round() / 127.5 - 1
    out = task.translate(image).detach()
    assert colourfulness(out[0]) > 30
    eight_bits = ((out + 1) * 127.5).round() / 127.5 - 1
    assert (lightness(eight_bits) - lightness(image)).abs().max() < 0.3


def test_the_colour_of_the_input_is_ignored() -> None:
    task = made(Colorization, LAB, test_mode="eval").eval()
    image = pictures(1, 3, 32, 32)
    lab = to_lab(image)
    lab[:, 1:] = 0
    assert (task.translate(image) - task.translate(from_lab(lab))).abs().max() < 1e-3


def test_colorization_learns_colours_determined_by_lightness() -> None:
    """Bright is yellow and dark is blue: after some steps the colours are those."""
    lab = torch.zeros(4, 3, 32, 32)
    dark = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    dark = dark.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, 0]
    lab[:, 0] = torch.where(dark, -0.3, 0.3)
    lab[:, 2] = torch.where(dark, -0.3, 0.4)
    real = from_lab(lab)
    grey = from_lab(lab * torch.tensor([1.0, 0, 0])[:, None, None])
    task = trained(made(Colorization, LAB, test_mode="eval"), {"A": grey, "B": real}, 60, lr=5e-3).eval()
    with torch.no_grad():
        assert l1_loss(task.translate(grey), real) < 0.3 * l1_loss(grey, real)


# ---- the metric


def test_colourfulness_is_hasler_and_suesstrunks() -> None:
    """Worked out by hand: half pure red and half pure green."""
    assert colourfulness(torch.full((3, 8, 8), 0.3)) == pytest.approx(0, abs=1e-6)
    image = torch.full((3, 4, 4), -1.0)
    image[0, :2], image[1, 2:] = 1.0, 1.0
    # rg is 255 and -255: spread 255, mean 0; yb is 127.5 everywhere: spread 0, mean 127.5.
    assert colourfulness(image) == pytest.approx(255 + 0.3 * 127.5)


def test_the_metric_compares_predictions_with_the_truth() -> None:
    class Half(Task):
        def predict(self, batch: dict[str, Any]) -> Tensor:
            return batch["B"] / 2

    class Few:
        def validation(self) -> list[dict[str, Tensor]]:
            return [{"A": pictures(3, 8, 8, seed=n), "B": pictures(3, 8, 8, seed=n)} for n in range(3)]

    found = Colourfulness()(Half(), Few())  # type: ignore[arg-type]
    assert found["ratio"] == pytest.approx(0.5, abs=1e-3)
    assert found["real"] == pytest.approx(np.mean([colourfulness(pictures(3, 8, 8, seed=n)) for n in range(3)]))


def test_a_greyscale_image_becomes_colour_at_the_same_size() -> None:
    from pathlib import Path

    from PIL import Image

    from i2i.model import Model

    task = made(Colorization, LAB, test_mode="eval")
    task.G.head[-1].weight.data *= 300
    out = Model(task, {}, Path("none"))(Image.fromarray(((pictures(37, 50).numpy() + 1) * 127.5).astype(np.uint8)))
    assert (out.mode, out.size) == ("RGB", (50, 37))
    assert np.ptp(np.asarray(out).astype(int), axis=2).max() > 50


def test_what_the_discriminator_sees_is_augmented_alike_for_both_images_of_a_pair() -> None:
    seen: list[torch.Tensor] = []

    class Looking(nn.Module):
        def forward(self, pair: torch.Tensor) -> torch.Tensor:
            seen.append(pair.detach())
            return pair.mean((1, 2, 3), keepdim=True)

    def network() -> nn.Module:
        return nn.Conv2d(3, 3, 1)

    given = torch.rand(4, 3, 16, 16) + 1
    task = Pix2Pix(network, Looking, Vanilla, augment=("cutout",))
    list(task.step({"A": given, "B": given}))
    real, fake, again = seen
    hidden = real == 0
    assert 0 < hidden.float().mean() < 0.5
    assert torch.equal(hidden[:, :3], hidden[:, 3:])
    assert torch.equal(real[:, :3], real[:, 3:])
    assert not torch.equal(fake[:, :3] == 0, again[:, :3] == 0)  # each is drawn separately
