"""Trajectories: the reader, the networks of Social GAN and of ours, the step, the border, and whole runs."""

from __future__ import annotations

import json
import math
import os
import shutil
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_scenes.crowds import Crowds
from i2i_trajectory import (
    DisplacementErrors,
    DistanceVariety,
    Forecast,
    Forecasts,
    HeadingForecaster,
    SmoothedCrossEntropy,
    SocialGANDiscriminator,
    SocialGANGenerator,
    SquaredVariety,
    Tracks,
    Trajectories,
    Trajectory,
    clipped_adam,
)
from i2i_trajectory.pooling import dense, sparse
from i2i_trajectory.recordings import ROW, Skipped, parse, windows
from i2i_trajectory.recurrence import lstm as lstm_of
from i2i_trajectory.scenes import ABSENT, Scenes, flat, padded
from i2i_trajectory.scores import Errors, collisions, constant_velocity
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from typer.testing import CliRunner

import i2i
from i2i import ConfigError, Data, DataError, WeightsError
from i2i.cli import app
from i2i.config import Train
from i2i.data.check import check
from i2i.engine import Engine, seed_everything
from i2i.model import translate_files
from i2i.optim import adam
from i2i.processes import launch
from i2i.runs import summary
from i2i.testing import check_data, check_metric, check_modality, check_task

REAL = os.environ.get("I2I_DATA")
CONFIG = Path(__file__).parent.parent / "configs" / "trajectory.yaml"
Network = SocialGANGenerator | HeadingForecaster


def walkers(*counts: int, frames: int = 20, seed: int = 0) -> list[Tensor]:
    """Return scenes [P, frames, 2] of people who walk almost straight on."""
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source)

    return [3 * normal(p, 1, 2) + (0.4 * normal(p, 1, 2) + 0.05 * normal(p, frames, 2)).cumsum(1) for p in counts]


def batch_of(scenes: list[Tensor]) -> dict[str, Tensor]:
    return {"observed": padded([s[:, :8] for s in scenes]), "future": padded([s[:, 8:] for s in scenes])}


def rows(scene: Tensor, first: int = 0) -> str:
    """Return a scene [P, T, 2] as rows."""
    lines = [
        f"{10 * (first + t)}\t{p + 1}\t{x:.4f}\t{y:.4f}"
        for t in range(scene.shape[1])
        for p, (x, y) in enumerate(scene[:, t].tolist())
    ]
    return "\n".join(lines) + "\n"


def data_set(root: Path, scene: str = "zara1") -> Path:
    """Write a data set of three recordings, divided as Social GAN's, and return its folder."""
    for n, part in enumerate(("train", "val", "test")):
        folder = root / scene / part
        folder.mkdir(parents=True)
        for name in "ab":
            (folder / f"{name}.txt").write_text(rows(walkers(3, frames=24, seed=n + 10 * ord(name))[0]))
    return root


def social_gan(**options: Any) -> Trajectory:
    torch.manual_seed(2)  # with some seeds the discriminator's last ReLU is dead from the start, as published
    return Trajectory(
        partial(SocialGANGenerator, pool_width=16),
        SocialGANDiscriminator,
        SmoothedCrossEntropy,
        SquaredVariety,
        **{"samples": 3, "d_steps": 2, **options},
    )


def ours(**options: Any) -> Trajectory:
    torch.manual_seed(0)
    return Trajectory(partial(HeadingForecaster, width=16, decoder=16), samples=3, **options)


def moved(network: Network) -> Network:
    """Give a forecaster, which starts as constant velocity, random last weights."""
    if isinstance(network, HeadingForecaster):
        nn.init.normal_(network.last.weight, std=0.1)
    return network


@pytest.fixture(params=["social_gan", "no_pooling", "ours"])
def network(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(1)
    made: dict[str, Callable[[], Network]] = {
        "social_gan": SocialGANGenerator,
        "no_pooling": partial(SocialGANGenerator, pooling=False),
        "ours": HeadingForecaster,
    }
    return moved(made[request.param]())


# ---- the reader


def test_windows_are_consecutive_listed_frames_with_everyone_present_throughout() -> None:
    text = "".join(f"{frame} 1 {frame} 0\n{frame}\t2\t0\t{frame}\n" for frame in (0, 10, 20, 50, 60))
    skipped = Skipped()
    found = windows(parse((text + "0 3 1 1\n\n60 3 2 2\n").encode(), "x.txt"), 4, skipped=skipped)
    assert [scene.shape for scene in found] == [(2, 4, 2)] * 2
    assert found[1][0, :, 0].tolist() == [10, 20, 50, 60]  # the gap in the numbers is ignored
    assert (skipped.people, skipped.interrupted, skipped.gaps, skipped.lonely) == (1, 1, 1, 0)


def test_a_window_needs_two_people_unless_configured() -> None:
    recording = parse(rows(walkers(1)[0]).encode(), "x.txt")
    skipped = Skipped()
    assert windows(recording, 20, skipped=skipped) == []
    assert (skipped.lonely, skipped.files) == (1, ["x.txt"])
    assert len(windows(recording, 20, min_people=1)) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "x.txt: empty"),
        ("0 1 2 3\n10 1 2\n", "x.txt line 2: 3 values"),
        ("0 1 2 3\n\n10 1 a 3\n", "x.txt line 3: 'a' is not a number; use spaces or tabs, and no header"),
        ("0 1 nan 3\n", "x.txt line 1: '0 1 nan 3' is not finite"),
        ("0 1 2 1e30\n", "x.txt line 1: '0 1 2 1e30' is more than 1,000,000 m away"),
        ("0 1 2 inf\n", "x.txt line 1: '0 1 2 inf' is not finite"),
        ("0 1 2 3 1\n", "x.txt line 1: 5 values, as in predictions"),
        ("0 1 2 3\n10 1 4 4\n0 1 2 3\n", "x.txt line 3: person 1 is in frame 0 already, on line 1"),
        (b"\xff\xfe", "x.txt: not a text file"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(text: str | bytes, says: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "x.txt")
    assert str(caught.value).startswith(says)


def test_the_data_set_reads_folders_and_archives_alike(tmp_path: Path) -> None:
    data = Trajectories(str(data_set(tmp_path / "tree")), "zara1", batch_size=2)
    check_data(data, images=[])
    assert (len(data), len(data.validation())) == (10, 10)
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "all.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "tree" / "zara1", "zara1")
    for root in (tmp_path / "packed", tmp_path / "packed" / "all.tar.xz"):
        other = Trajectories(str(root), "zara1", batch_size=2)
        assert all(np.array_equal(a, b) for a, b in zip(data.train, other.train, strict=True))
    plain = Trajectories(str(tmp_path / "tree" / "zara1"), split="test")
    assert len(plain.validation()) == 10


def test_augmentation_keeps_distances_but_for_the_scale(tmp_path: Path) -> None:
    root = str(data_set(tmp_path))
    data = Trajectories(root, "zara1", rotate=True, mirror=True, scale=(0.5, 2.0), max_people=2)
    check_data(data, images=[])
    whole = torch.from_numpy(data.train[0])
    for seed in range(5):
        sample = data.sample(0, np.random.default_rng(seed))
        path = torch.cat([sample["observed"], sample["future"]], 1)
        assert len(path) == 2
        pairs = [whole[[a, b]] for a, b in ((0, 1), (0, 2), (1, 2))]
        ratios = [lengths(path) / lengths(pair) for pair in pairs]
        assert any(r.std() < 1e-3 and 0.5 <= float(r.mean()) <= 2 for r in ratios)


def lengths(path: Tensor) -> Tensor:
    """Return the distances between the first position of [P, T, 2] and all others."""
    points = path.flatten(0, 1)
    return (points[1:] - points[0]).norm(dim=1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: root / "nowhere", "does not exist"),
        (lambda root: (root / "zara1" / "train" / "a.txt").write_text("1 2 3\n") and root, "a.txt line 1: 3 values"),
        (lambda root: (root / "zara1" / "val").rename(root / "other") and root, "contains no zara1/val/*.txt"),
    ],
)
def test_unusable_folders_are_explained(change: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says.replace("*", r"\*")):
        Trajectories(str(change(data_set(tmp_path))), "zara1")


def test_the_data_set_says_what_was_left_out(tmp_path: Path) -> None:
    root = data_set(tmp_path)
    (root / "zara1" / "train" / "c.txt").write_text(rows(walkers(1, frames=30)[0]) + "500 7 1 1\n")
    note = Trajectories(str(root), "zara1").note()
    assert "1 people never in enough frames" in note
    assert "11 windows with too few people" in note
    assert "1 gaps" in note


@pytest.mark.skipif(REAL is None, reason="needs $I2I_DATA")
def test_constant_velocity_has_the_known_errors_on_eth() -> None:
    data = Trajectories(f"{REAL}/ethucy", "eth", "test")
    scenes = flat(padded([sample["observed"] for sample in data.validation()]))
    future = padded([sample["future"] for sample in data.validation()])[scenes.present]
    found = Errors()
    found.add(constant_velocity(scenes.paths, 12), future, scenes)
    assert found.people == 181
    assert [round(found.means()[name], 3) for name in ("ade", "fde")] == [0.995, 2.234]


# ---- networks


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_published_networks_have_the_published_size() -> None:
    assert count(SocialGANGenerator()) == 60_234
    assert count(SocialGANGenerator(pooling=False)) == 16_634
    assert count(SocialGANDiscriminator()) == 25_265


def test_the_recurrence_is_pytorchs_lstm_with_its_gradients() -> None:
    torch.manual_seed(0)
    lstm, x = nn.LSTM(3, 4).double(), torch.randn(5, 7, 3, dtype=torch.double, requires_grad=True)
    own = [x, *lstm.parameters()]
    given = torch.randn(5, 7, 4, dtype=torch.double)
    known = lstm(x)[0]
    expected = torch.autograd.grad((known * given).sum(), own)
    bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0)[:, None]
    inputs = x.transpose(1, 2)
    weight = torch.cat([lstm.weight_hh_l0, lstm.weight_ih_l0, bias], 1)
    first, cell = lstm.weight_ih_l0 @ inputs[0] + bias, torch.zeros(4, 7, dtype=torch.double)
    states = lstm_of(first, cell, inputs[1:], weight, every=True)[0].transpose(1, 2)
    torch.testing.assert_close(states, known)
    with torch.no_grad():
        last, _ = lstm_of(first, cell, inputs[1:], weight)
    torch.testing.assert_close(last[0].T, known[-1])
    torch.testing.assert_close(torch.autograd.grad((states * given).sum(), own), expected)


@pytest.mark.parametrize("size", [1e-6, 1.0, 12.0, 1e4])
def test_the_recurrence_is_accurate_from_tiny_to_saturated_values(size: float) -> None:
    torch.manual_seed(0)
    summed, cell = torch.randn(4 * 16, 9) * size, torch.randn(16, 9)
    entry, forget, new, out = summed.chunk(4)
    after = forget.sigmoid() * cell + entry.sigmoid() * new.tanh()
    nothing = torch.empty(0, 0, 9)
    states, last = lstm_of(summed, cell, nothing, torch.zeros(4 * 16, 17))
    assert (last - after).abs().max() < 5e-7
    assert (states[0] - out.sigmoid() * after.tanh()).abs().max() < 5e-7


def by_hand(network: SocialGANGenerator, observed: Tensor, noise: Tensor) -> Tensor:
    """Return the prediction [P, 12, 2] for one scene [P, 8, 2] and one noise vector, as the paper describes it."""
    cell_of = network.encoder.lstm
    moves = torch.diff(observed, dim=1, prepend=observed[:, :1])
    h = c = observed.new_zeros(len(observed), 32)
    for t in range(8):
        h, c = cell_of(network.encoder.embed(moves[:, t]), (h, c))
    context = h
    if network.pool is not None:
        pooled = []
        for i in range(len(observed)):
            seen = [
                torch.cat([network.pool.embed(observed[j, -1] - observed[i, -1]), h[j]]) for j in range(len(observed))
            ]
            pairs = network.pool.second(network.pool.first(torch.stack(seen)).relu()).relu()
            pooled.append(pairs.amax(0))
        context = torch.cat([h, torch.stack(pooled)], 1)
    h = torch.cat([network.context(context), noise.expand(len(observed), -1)], 1)
    c, move, place, path = torch.zeros_like(h), moves[:, -1], observed[:, -1], []
    for _ in range(network.predicted):
        h, c = network.decoder(network.embed(move), (h, c))
        move = network.out(h)
        place = place + move
        path.append(place)
    return torch.stack(path, 1)


@pytest.mark.parametrize("pooling", [True, False])
def test_all_scenes_and_samples_at_once_equal_a_loop_over_them(pooling: bool) -> None:
    torch.manual_seed(0)
    network = SocialGANGenerator(pooling=pooling)
    observed = [scene[:, :8] for scene in walkers(3, 1, 5)]
    noise = torch.randn(3, 4, 8)
    scenes = flat(padded(observed))
    made = scenes.padded(network(scenes, noise))
    assert made.shape == (3, 4, 5, 12, 2)
    for n, scene in enumerate(observed):
        for k in range(4):
            torch.testing.assert_close(made[n, k, : len(scene)], by_hand(network, scene, noise[n, k]))


@pytest.mark.parametrize("pooling", [True, False])
def test_the_gradients_equal_those_of_a_loop_over_scenes_and_samples(pooling: bool) -> None:
    torch.manual_seed(0)
    network = SocialGANGenerator(pooling=pooling).double()
    with torch.no_grad():  # so that the largest of the pooled features differ
        network.encoder.embed.weight.mul_(3)
    people = [scene.double() for scene in walkers(3, 1, 40)]  # 1600 pairs are more than one block
    noise = torch.randn(3, 4, 8, dtype=torch.double)
    scenes = flat(padded([scene[:, :8] for scene in people]))
    truth = torch.cat([scene[:, 8:] for scene in people])
    looped = torch.stack(
        [torch.cat([by_hand(network, s[:, :8], z[k]) for s, z in zip(people, noise, strict=True)]) for k in range(4)]
    )
    expected, found = (
        torch.autograd.grad(SquaredVariety()(made, truth, scenes), list(network.parameters()))
        for made in (looped, network(scenes, noise))
    )
    torch.testing.assert_close(found, expected)
    assert all(grad.abs().max() > 0 for grad in found)


@pytest.mark.parametrize("dead", [True, False])
def test_the_discriminator_reads_what_was_observed_once(dead: bool) -> None:
    torch.manual_seed(2)
    network = SocialGANDiscriminator().double()
    nn.init.constant_(network.score[2].bias, -100 if dead else 5)
    scene = walkers(4)[0].double()
    observed, futures = scene[:, :8], torch.stack([scene[:, 8:], scene[:, 8:] + 0.3]).requires_grad_()
    looped = torch.stack([judged(network, torch.cat([observed, future], 1)) for future in futures])
    scores = network(observed, futures)
    torch.testing.assert_close(scores, looped)
    inputs = [futures, *network.parameters()]
    expected, found = (torch.autograd.grad(s.square().sum(), inputs) for s in (looped, scores))
    torch.testing.assert_close(found, expected)
    assert all(bool(grad.any()) != dead for grad in found)


def test_the_order_of_people_and_the_padding_do_not_matter(network: Network) -> None:
    scene, other = (s[:, :8] for s in walkers(4, 7))
    noise = network.draw(2, 2)
    alone = network(flat(scene[None]), noise[:1])
    among = flat(padded([scene, other]))
    torch.testing.assert_close(network(among, noise)[:, :4], alone)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(network(flat(scene[order][None]), noise[:1]), alone[:, order])
    wider = torch.cat([torch.full((1, 3, 8, 2), ABSENT), scene[None]], 1)  # absent people may come first
    torch.testing.assert_close(network(flat(wider), noise[:1]), alone)


def test_people_influence_each_other_only_with_pooling() -> None:
    torch.manual_seed(0)
    scene = walkers(4)[0][:, :8]
    changed = scene.clone()
    changed[0] += torch.tensor([0.5, 0.0])
    for network, depends in (
        (SocialGANGenerator(), True),
        (SocialGANGenerator(pooling=False), False),
        (moved(HeadingForecaster()), True),
    ):
        noise = network.draw(1, 1)
        one, two = (network(flat(s[None]), noise)[:, 1:] for s in (scene, changed))
        assert bool((one - two).abs().max() > 1e-6) == depends


def test_our_forecaster_starts_at_constant_velocity_and_turns_with_the_scene() -> None:
    torch.manual_seed(0)
    network = HeadingForecaster()
    scenes = flat(walkers(5)[0][None, :, :8])
    noise = network.draw(1, 2)
    torch.testing.assert_close(network(scenes, noise), constant_velocity(scenes.paths, 12, 2))
    made, angle = moved(network)(scenes, noise), 0.7
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = network(Scenes(scenes.paths @ turn.T + 3, scenes.scene, scenes.present), noise)
    torch.testing.assert_close(turned, made @ turn.T + 3)
    still = network(flat(torch.ones(1, 1, 8, 2)), noise)  # one person, who stands still
    assert still.isfinite().all()


@pytest.mark.skipif(REAL is None, reason="needs $I2I_DATA")
@pytest.mark.parametrize(("kind", "zoo"), [("sgan-models", (0.58, 1.13)), ("sgan-p-models", (0.57, 1.14))])
def test_the_published_weights_reproduce_the_published_table(kind: str, zoo: tuple[float, float]) -> None:
    data = Trajectories(f"{REAL}/ethucy", "eth", "test", predicted=8)
    model = i2i.load(f"{REAL}/weights/social_gan/{kind}/eth_8_model.pt")
    found = DisplacementErrors()(model.task, data)
    assert abs(found["ade"] - zoo[0]) < 0.02
    assert abs(found["fde"] - zoo[1]) < 0.02


def test_published_weights_need_their_options_and_the_usual_pooling(tmp_path: Path) -> None:
    network = moved(SocialGANGenerator())
    renamed = {"embed": "decoder.spatial_embedding", "out": "decoder.hidden2pos"}
    state = {f"{renamed[name]}.weight": getattr(network, name).weight.detach() for name in renamed}
    state["encoder.spatial_embedding.weight"] = network.encoder.embed.weight.detach()
    usual = {"pooling_type": "pool_net", "pool_every_timestep": False, "batch_norm": False, "obs_len": 8}
    usual |= {"noise_dim": (8,)}
    for args, says in (
        ({}, "lack 'pooling_type'"),
        ({**usual, "pooling_type": "spool"}, "another pooling"),
        ({**usual, "noise_mix_type": "ped"}, "gaussian noise, mixed in by ped"),
    ):
        torch.save({"args": args, "g_state": state}, tmp_path / "model.pt")
        with pytest.raises(WeightsError, match=says):
            i2i.load(tmp_path / "model.pt")


# ---- losses, scores and the step


def test_the_minimum_is_taken_for_a_scene_or_for_a_person() -> None:
    scenes = flat(torch.zeros(1, 2, 8, 2))
    made = torch.zeros(2, 2, 12, 2)
    made[0, 0], made[1, 1] = 1, 3  # sample 0 fails one person, sample 1 the other
    found = Errors()
    found.add(made, torch.zeros(2, 12, 2), scenes)
    assert found.means()["ade"] == pytest.approx(math.sqrt(2) / 2)
    assert found.means()["ade_per_person"] == 0


def test_the_variety_losses_equal_a_loop_over_scenes() -> None:
    torch.manual_seed(0)
    scenes = flat(padded([s[:, :8] for s in walkers(2, 4)]))
    made, truth = torch.randn(3, 6, 12, 2), torch.randn(6, 12, 2)
    last = scenes.paths[:, -1:]
    squared, distance, weights = 0.0, 0.0, 0.0
    for people in (range(2), range(2, 6)):
        own = list(people)
        options = []
        for k in range(3):
            move = torch.diff(torch.cat([last[own], made[k, own]], 1), dim=1)
            true = torch.diff(torch.cat([last[own], truth[own]], 1), dim=1)
            options.append((move - true).square().sum() / (12 * len(own)))
        squared += min(options)
        gap = (made[:, own] - truth[own]).norm(dim=-1)
        distance += len(own) ** 0.5 * (gap.mean((1, 2)) + 0.3 * gap[..., -1].mean(1)).min()
        weights += len(own) ** 0.5
    torch.testing.assert_close(SquaredVariety()(made, truth, scenes), torch.as_tensor(squared))
    torch.testing.assert_close(DistanceVariety()(made, truth, scenes), torch.as_tensor(distance / weights))


def test_collisions_are_people_who_come_too_near() -> None:
    scenes = flat(torch.zeros(1, 3, 8, 2))
    made = torch.zeros(1, 3, 12, 2)
    made[0, 1, :, 0], made[0, 1, 5, 0], made[0, 2, :, 0] = 2, 0.1, 9
    assert collisions(made, scenes).tolist() == [[True, True, False]]


def judged(network: SocialGANDiscriminator, path: Tensor) -> Tensor:
    """Return the scores [P, 1] of whole paths [P, T, 2], as the paper describes them."""
    h = c = path.new_zeros(len(path), 64)
    for move in torch.diff(path, dim=1, prepend=path[:, :1]).unbind(1):
        h, c = network.encoder.lstm(network.encoder.embed(move), (h, c))
    scores: Tensor = network.score(h)
    return scores


def test_a_step_equals_the_same_written_by_hand() -> None:
    scenes = walkers(2, 3, 1, 4, 2, 2)
    task, reference = social_gan(), social_gan()
    optimizers = {"G": partial(clipped_adam, lr=1e-3, clip=0.1), "D": partial(adam, lr=1e-3)}
    engine = Engine(task, optimizers, Train(steps=2))
    g, d = reference.G, reference.D
    assert d is not None
    of_g, of_d = torch.optim.Adam(g.parameters(), 1e-3), torch.optim.Adam(d.parameters(), 1e-3)
    for step in range(2):
        seed_everything(0, step, 0)
        parts = [batch_of(scenes[i : i + 2]) for i in (0, 2, 4)]

        def drawn(part: dict[str, Tensor], noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Scenes]:
            known = flat(part["observed"])
            return known.paths, part["future"][known.present], g(known, noise), known

        for part, noise in zip(parts[:2], torch.randn(4, 1, 8).split(2), strict=True):
            past, future, fake, _ = drawn(part, noise)
            real_label = torch.empty(()).uniform_(0.7, 1.2)
            real, made = judged(d, torch.cat([past, future], 1)), judged(d, torch.cat([past, fake[0]], 1).detach())
            loss = cross_entropy(real, real_label.expand_as(real)) + cross_entropy(made, torch.zeros_like(made))
            of_d.zero_grad()
            loss.backward()
            of_d.step()
        past, future, fake, known = drawn(parts[2], torch.randn(2, 3, 8))
        scores = judged(d, torch.cat([past, fake[-1]], 1))
        label = torch.empty(()).uniform_(0.7, 1.2)
        loss = SquaredVariety()(fake, future, known) + cross_entropy(scores, label.expand_as(scores))
        of_g.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(g.parameters(), 0.1)
        of_g.step()
        losses = engine.step([batch_of(scenes)]).losses
        assert losses["G/variety"] + losses["G/gan"] == pytest.approx(loss.item(), rel=1e-5)
    for own, other in zip(task.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-4)


def test_the_tasks_fulfil_the_contract() -> None:
    batch = batch_of(walkers(2, 3, 2, 4, 2, 5))
    check_task(social_gan(), batch)
    check_task(ours(), batch)


def test_mismatches_of_config_and_data_are_explained() -> None:
    batch = batch_of(walkers(2, 3, 2, 4))
    with pytest.raises(ConfigError, match="4 scenes cannot be divided among 3 turns"):
        next(social_gan().step(batch))
    with pytest.raises(ConfigError, match=r"the data has 8 \+ 12 frames, the task 8 \+ 6"):
        next(Trajectory(partial(HeadingForecaster, predicted=6)).step(batch))
    with pytest.raises(ConfigError, match="belong together"):
        Trajectory(HeadingForecaster, SocialGANDiscriminator)
    with pytest.raises(ConfigError, match="at least 3 frames"):
        Trajectory(HeadingForecaster, observed=2)


class Few(Data):
    """Two scenes to validate on."""

    def validation(self) -> list[dict[str, Any]]:
        return [{"observed": s[:, :8], "future": s[:, 8:]} for s in walkers(2, 3)]


def test_the_metric_fulfils_the_contract() -> None:
    class Rows(Few):
        paired = False

    check_metric(DisplacementErrors(samples=3), ours().eval(), Few(), rejects=(ours(), Rows()))
    found = DisplacementErrors(samples=3, repeats=2)(ours().eval(), Few())
    assert found["ade"] == pytest.approx(found["constant_ade"], abs=1e-5)  # not trained: it is constant velocity
    assert found["noisy_constant_ade_per_person"] <= found["noisy_constant_ade"]
    assert set(ours().validate(batch_of(walkers(2, 2)))) == {"ade", "fde", "collisions"}


# ---- the border


def test_the_modalities_fulfil_the_contract(tmp_path: Path) -> None:
    check_modality(Tracks(), walkers(3)[0][:, :8].numpy(), tmp_path, wrong=Image.new("RGB", (8, 8)))
    check_modality(Tracks(), walkers(3)[0][:, :8].double(), fresh(tmp_path), wrong=np.zeros((3, 8, 3)))
    batch = Tracks().gather([walkers(2)[0][:, :8], walkers(3)[0]])
    assert batch.shape == (2, 3, 8, 2)
    assert Forecasts().show(torch.randn(2, 4, 3, 12, 2)).shape[0] == 2


def fresh(folder: Path) -> Path:
    new = folder / "new"
    new.mkdir()
    return new


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("0 1 2\n", "line 1: 3 values"),
        ("0 1 nan 2\n", "line 1: '0 1 nan 2' is not finite"),
        (rows(walkers(3, frames=7)[0]), "7 frames, but 8 are needed"),
        (rows(walkers(1, frames=8)[0]), "1 person present in all 8 frames"),
        (rows(walkers(1, frames=25)[0]), "no 20 frames in a row with at least 2 people"),
    ],
)
def test_bad_files_end_with_one_sentence_and_exit_code_3(text: str, says: str, tmp_path: Path, trained: Path) -> None:
    (tmp_path / "scene.txt").write_text(text)
    with pytest.raises(DataError, match=says):
        Tracks().take(tmp_path / "scene.txt")
    result = CliRunner().invoke(
        app, ["translate", str(tmp_path / "scene.txt"), "-m", str(trained), "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 3
    assert says in result.output
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((3, 8)), "is not a scene"),
        (np.zeros((3, 8, 2), np.int64), "is not a scene"),
        (np.zeros((3, 9, 2)), "a scene of 9 frames"),
        (np.full((3, 8, 2), np.nan), "positions of person 0 are not finite"),
        (np.zeros((1, 8, 2)), "1 person present"),
        (7, "int is not a scene"),
    ],
)
def test_bad_arrays_are_explained(given: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Tracks().take(given)
    assert Tracks(min_people=1).take(np.zeros((1, 8, 2))).values.shape == (1, 1, 8, 2)


def test_a_byte_order_mark_is_not_part_of_a_recording(tmp_path: Path) -> None:
    (tmp_path / "scene.txt").write_text("\ufeff" + rows(walkers(3)[0]))
    assert Tracks().take(tmp_path / "scene.txt").values.shape[1:] == (3, 8, 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return i2i.run(CONFIG, *TOY, out=out)


TOY = ["train.steps=4", "data.samples=8", "data.validation_samples=4", "data.batch_size=4", "metrics=[]"]
TOY += ["task.samples=3", "train.checkpoint_every=2", "train.log_every=1", "train.sample_every=4"]


def test_the_summary_shows_how_to_translate_a_file(trained: Path) -> None:
    assert f'i2i.translate("FILE", "{trained}")' in summary(trained)
    spaced = trained.with_name("my run")
    shutil.copytree(trained, spaced)
    assert f"i2i translate FILES -o OUT -m '{spaced}'\n" in summary(spaced)


def test_a_file_becomes_paths_a_picture_and_an_animation(tmp_path: Path, trained: Path) -> None:
    scene = walkers(4, frames=20)[0]
    (tmp_path / "whole.txt").write_text(rows(scene) + "0 99 1 1\n")
    (tmp_path / "start.txt").write_text(rows(scene[:, :8]).replace("\t", " "))
    command = ["translate", str(tmp_path), "-m", str(trained), "-o", str(tmp_path / "out"), "-c", "samples=5"]
    assert CliRunner().invoke(app, command).exit_code == 0
    for name in ("whole", "start"):
        table = np.loadtxt(tmp_path / "out" / f"{name}.txt")
        assert table.shape == (5 * 12 * 4, 5)
        assert np.unique(table[:, 0]).tolist() == [10 * t for t in range(8, 20)]
        assert np.unique(table[:, 1]).tolist() == [1, 2, 3, 4]
        assert np.unique(table[:, 4]).tolist() == [1, 2, 3, 4, 5]
        with Image.open(tmp_path / "out" / f"{name}.gif") as animation:
            assert animation.n_frames == 20
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert picture.width == 640
    whole, start = (np.loadtxt(tmp_path / "out" / f"{name}.txt") for name in ("whole", "start"))
    assert np.abs(whole - start).max() < 2e-3  # the future of the file is not used


def test_pictures_beside_a_prediction_are_results_too(tmp_path: Path, trained: Path) -> None:
    given, out, said = tmp_path / "scene.txt", tmp_path / "out", []
    given.write_text(rows(walkers(3)[0]))
    out.mkdir()
    (out / "scene.png").write_bytes(b"a photograph of the site")
    translate = partial(translate_files, [str(given)], out, i2i.load(trained), say=said.append)
    translate()
    translate(skip_existing=True)
    assert [path.name for path in out.glob("scene.*")] == ["scene.png"]
    assert said[0].startswith("keeping 1 file not made here by i2i, or changed since")
    translate(force=True)
    assert {path.suffix for path in out.glob("scene.*")} == {".txt", ".png", ".gif"}
    (out / "scene.gif").unlink()
    translate()
    assert (out / "scene.gif").exists()
    translate()
    assert said[-1] == "0 translated, 1 already existed, 0 failed"
    (out / "scene.png").write_bytes(b"retouched")
    translate(seed=4)
    assert (out / "scene.png").read_bytes() == b"retouched"


def test_files_and_arrays_give_the_same_paths(tmp_path: Path, trained: Path) -> None:
    scene = walkers(3)[0]
    (tmp_path / "scene.txt").write_text(rows(scene))
    found = i2i.translate(tmp_path / "scene.txt", trained, samples=4)
    assert isinstance(found, Forecast)
    assert found.scene.truth is not None
    made = i2i.translate(scene[:, :8].double().numpy(), trained, samples=4)
    assert (made.shape, made.dtype) == ((4, 3, 12, 2), np.float64)
    assert np.abs(made - found.paths).max() < 2e-3
    assert torch.equal(i2i.translate(scene[:, :8], trained), i2i.translate(scene, trained))
    assert not torch.equal(i2i.translate(scene, trained), i2i.translate(scene, trained, seed=1))
    with pytest.raises(ConfigError, match="samples=0"):
        i2i.translate(scene, trained, samples=0)


def test_a_folder_of_recordings_can_be_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(3):
        (tmp_path / f"{n}.txt").write_text(rows(walkers(3, frames=20 + n)[0]))
    assert check(tmp_path, modalities=[Tracks()]).ok
    assert not caplog.messages  # which frames `i2i translate` would use is of no interest here
    (tmp_path / "3.txt").write_text("0 1 2\n")
    report = check(tmp_path, modalities=[Tracks()])
    assert not report.ok
    assert "line 1: 3 values" in report.text()


@pytest.mark.parametrize("packed", [False, True], ids=["folders", "archive"])
def test_a_data_set_of_recordings_is_recognised(tmp_path: Path, packed: bool) -> None:
    root = tmp_path / "set"
    for part in ("train", "val", "test"):
        (root / "eth" / part).mkdir(parents=True)
        (root / "eth" / part / "a.txt").write_text(rows(walkers(3)[0]))
    (root / "eth" / "val" / "b.txt").write_text("0 1 2\n")
    if packed:
        with tarfile.open(tmp_path / "set.tar.xz", "w:xz") as tar:
            tar.add(root / "eth", "eth")
        shutil.rmtree(root / "eth")
        (tmp_path / "set.tar.xz").rename(root / "set.tar.xz")
    report = check(root, data=[Trajectories])
    assert "for `use: trajectories`" in report.text()
    assert "eth/val" in report.text()
    assert [line.rpartition(": ")[2] for line in report.problems] == ["3 values, but " + ROW]
    (tmp_path / "other" / "train").mkdir(parents=True)
    (tmp_path / "other" / "train" / "a.txt").write_text("a caption\n")
    assert Trajectories.recognise(tmp_path / "other") is None


# ---- runs


def logged(run: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in json.loads(line).items() if "/" in key and "second" not in key}
        for line in (run / "log.jsonl").read_text().splitlines()
    ]


def weights(run: Path) -> bytes:
    return (run / "checkpoints" / "step_00000004" / "state.safetensors").read_bytes()


SOCIAL = [
    "task.generator={use: social_gan_generator, pool_width: 16}",
    "task.discriminator={use: social_gan_discriminator}",
    "task.gan={use: smoothed_cross_entropy}",
    "task.variety={use: squared_variety}",
    "task.d_steps=1",
    "optimizer={G: {use: clipped_adam}, D: {use: adam, lr: 1.0e-3}}",
]


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole = i2i.run(CONFIG, *TOY, *SOCIAL, out=tmp_path / "whole")
    part = i2i.run(CONFIG, *TOY, *SOCIAL, "train.steps=2", out=tmp_path / "part")
    i2i.run(CONFIG, *TOY, *SOCIAL, out=part, resume=True)
    assert weights(whole) == weights(part)
    assert sorted(path.name for path in (whole / "samples").iterdir()) == ["00000004.png"]


def test_two_processes_see_the_same_scenes_as_one(tmp_path: Path) -> None:
    one = i2i.run(CONFIG, *TOY, "task.variety.crowd=0", "train.threads=1", out=tmp_path / "one")
    assert launch(["run", str(one / "config.yaml"), "-o", str(tmp_path / "two")], 2) == 0
    single, double = logged(one), logged(tmp_path / "two")
    assert len(double) == len(single)
    # The first step predicts constant velocity, whatever the noise, which differs between processes.
    assert double[0]["G/variety"] == pytest.approx(single[0]["G/variety"], rel=1e-5)
    assert double[1]["G/variety"] != single[1]["G/variety"]


# ---- the embedded crowds


def test_crowds_are_pure_functions_of_their_seed_and_keep_apart() -> None:
    data = Crowds(samples=12, validation_samples=6, noise=0.0)
    check_data(data, images=[])
    again = Crowds(samples=5, validation_samples=6, noise=0.0)
    assert all(np.array_equal(a, b) for a, b in zip(data.train, again.train, strict=False))
    other = Crowds(samples=5, validation_samples=6, noise=0.0, seed=1)
    assert not any(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(data.train, other.train, strict=False))
    assert np.array_equal(data.held_out[0], other.held_out[0])
    pace = np.concatenate([np.linalg.norm(np.diff(scene, axis=1), axis=-1).ravel() for scene in data.train]) / 0.4
    assert pace.max() < 1.3 * (1.34 + 5 * 0.26)
    batch = data.batch([0, 1, 2], np.random.default_rng)
    assert batch["observed"].shape[1] == max(len(data.train[i]) for i in range(3))
    assert flat(batch["future"]).paths.isfinite().all()
    with pytest.raises(ConfigError, match="give the smaller number first"):
        Crowds(people=(5, 2))


def test_the_social_force_pushes_people_apart() -> None:
    from i2i_scenes.crowds import gathered, repulsion, unit

    crowd = gathered([np.random.default_rng(0)], [2], 2)
    crowd.place[0], crowd.velocity[0] = [[0, 0], [0.5, 0]], 0
    crowd.company[0] = 1 - np.eye(2)
    force = repulsion(crowd, unit(np.array([[[1.0, 0], [-1, 0]]])))[0]
    # At rest the potential is that of a circle: V0 / sigma * exp(-d / sigma), here at 0.5 metres.
    assert force[:, 0] == pytest.approx([-2.1 / 0.3 * math.exp(-0.5 / 0.3), 2.1 / 0.3 * math.exp(-0.5 / 0.3)])
    assert force[:, 1] == pytest.approx(0)


def test_accelerators_get_the_same_gradients_with_more_pairs() -> None:
    source = torch.Generator().manual_seed(0)
    grad = torch.randn(5, 3, generator=source) * (torch.rand(5, 3, generator=source) < 0.5)
    partner = torch.randint(5, (5, 3), generator=source)

    def summed(pairs: Tensor, of_values: Tensor) -> Tensor:
        return torch.zeros(25, 3).index_add_(0, pairs, of_values)

    (few, _), (all_, _) = sparse(grad, partner), dense(grad, partner)
    assert len(few) < len(all_) == 15
    assert torch.equal(summed(*sparse(grad, partner)), summed(*dense(grad, partner)))
