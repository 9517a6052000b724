"""VQ-VAE-2: the published form, codebooks that follow their vectors, priors that cannot look ahead, and sampling."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from i2i_vqvae2 import VQVAE2, Autoencoder, PixelCNN, Quantiser, with_progress
from i2i_vqvae2.autoencoder import rotated, straight, turns
from i2i_vqvae2.prior import drawn
from torch import Tensor

from i2i import config
from i2i.config import Train
from i2i.engine import Engine
from i2i.errors import ConfigError, DataError
from i2i.metrics.base import validated
from i2i.optim import adam
from i2i.plugins import registry
from i2i.testing import check_task

ROOT = Path(__file__).parent.parent


def alone(fn: Any, x: Tensor) -> Tensor:
    """What `Task.over_processes` is where there is one process."""
    return fn(x)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(levels: int = 2, classes: Any = 3, **options: Any) -> VQVAE2:
    """Return a small task for grey images of 16 pixels, with priors unless `priors=None` is given."""
    torch.manual_seed(0)
    prior = partial(PixelCNN, width=8, layers=2, kernel=3, attention=1, heads=2, blocks=1)
    names = {1: ["top"], 2: ["top", "bottom"], 3: ["top", "middle", "bottom"]}[levels]
    shape = {"size": 16, "channels": 1, "width": 8, "blocks": 1, "block_width": 4, "stride": 2, "codes": 12}
    options = {"priors": dict.fromkeys(names, prior), "code_width": 4, **shape, **options}
    return VQVAE2(levels=levels, classes=classes, **options)


def batch(n: int = 6) -> dict[str, Tensor]:
    """Return blurred noise [n, 1, 16, 16] in [-1, 1], with labels."""
    noise = torch.rand(n, 1, 4, 4, generator=seeded(1)) * 2 - 1
    return {"image": torch.nn.functional.interpolate(noise, (16, 16)), "label": torch.arange(n) % 3}


def trained(task: VQVAE2, steps: int, lr: float = 2e-3) -> Engine:
    engine = Engine(task, partial(adam, lr=lr), Train(steps=steps))
    for _ in range(steps):
        engine.step([batch()])
    return engine


# The autoencoder.


def test_the_network_has_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in Autoencoder().parameters()) == 1_388_867  # REFERENCE.md section 2


def test_the_paper_config_is_the_published_network() -> None:
    task = config.load(
        ROOT / "configs" / "paper" / "vqvae2.yaml", ["task.priors=null", "task.vq_until=null"], registry().catalog
    ).task()
    assert sum(p.numel() for p in task.autoencoder.parameters()) == 1_388_867
    assert task.sides == [32, 64]


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_each_level_halves_the_one_below(levels: int, stride: int) -> None:
    network = Autoencoder(1, levels, width=4, blocks=1, block_width=2, stride=stride, codes=4, code_width=2)
    image = torch.zeros(2, 1, 64, 64)
    again, codes, commitment = network(image)
    assert again.shape == image.shape
    assert commitment.ndim == 0
    bottom = 64 // stride
    assert [c.shape[1:] for c in codes] == [(bottom >> n, bottom >> n) for n in reversed(range(levels))]


@pytest.mark.parametrize("gradient", ["straight", "rotated"])
def test_the_gradient_passes_through_the_codes(gradient: Any) -> None:
    network = Autoencoder(1, 1, width=8, blocks=1, block_width=4, codes=4, code_width=3, gradient=gradient)
    image = torch.rand(1, 1, 8, 8, generator=seeded(0)).requires_grad_()
    _, [quantised], _ = network.quantise(image)
    quantised.retain_grad()
    network.decode([quantised]).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0  # past argmin, which has no gradient


def test_the_straight_through_gradient_is_the_identity() -> None:
    x, q = torch.randn(2, 1, 4, 1, 1, generator=seeded(0))
    assert torch.allclose(straight(x, q), q)
    assert torch.equal(torch.autograd.functional.jacobian(lambda v: straight(v, q), x).view(4, 4), torch.eye(4))


def test_the_rotated_gradient_is_a_rotation_and_scaling() -> None:
    x, q = torch.randn(2, 1, 4, 1, 1, generator=seeded(0), dtype=torch.float64)
    assert torch.allclose(rotated(x, q), q)
    slope = torch.autograd.functional.jacobian(lambda v: rotated(v, q), x).view(4, 4)
    turn = slope * x.norm() / q.norm()
    assert torch.allclose(turn.T @ turn, torch.eye(4, dtype=x.dtype))
    assert torch.linalg.det(turn).item() == pytest.approx(1.0)  # and no mirror
    across = torch.linalg.svd(torch.stack([x.flatten(), q.flatten()])).Vh[2:]  # what neither x nor q points to
    assert torch.allclose(across @ turn, across)  # is left where it is


@pytest.mark.parametrize("factor", [1.0, -1.0, 0.0])
def test_the_rotated_gradient_is_finite_where_the_rotation_is_undefined(factor: float) -> None:
    x = torch.randn(2, 4, 3, 3, generator=seeded(0)).requires_grad_()
    rotated(x, factor * x.detach()).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


# The codebook.


def test_each_vector_gets_the_nearest_code() -> None:
    quantiser = Quantiser(20, 5)
    x = torch.randn(2, 5, 4, 3, generator=seeded(0))
    codes, found = quantiser(x)
    distances = torch.cdist(x.movedim(1, -1).reshape(-1, 5), quantiser.codebook)
    assert torch.equal(codes.flatten(), distances.argmin(1))
    assert torch.equal(found, quantiser.codebook[codes].movedim(-1, 1))


def test_a_codebook_finds_the_clusters_of_its_vectors() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[8.0, 0], [0, 8], [-8, 0], [0, -8]])
    quantiser = Quantiser(4, 2, decay=0.9, revive=0.1)
    for _ in range(200):
        near = centres[torch.randint(4, (64,))] + 0.1 * torch.randn(64, 2)
        quantiser(near.T.reshape(1, 2, 8, 8), alone)
    assert torch.cdist(centres, quantiser.codebook).min(1).values.max() < 0.1
    assert quantiser.perplexity() > 3.9


def test_a_code_is_the_moving_average_of_its_vectors() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(2, 1, decay=0.75, revive=0.0)
    quantiser.begun = True
    quantiser.codebook.copy_(torch.tensor([[0.0], [10.0]]))
    quantiser.counts.copy_(torch.tensor([4.0, 4.0]))
    quantiser.sums.copy_(torch.tensor([[0.0], [40.0]]))
    quantiser(torch.tensor([1.0, 2.0, 8.0]).reshape(1, 1, 1, 3), alone)
    counts = 0.75 * torch.tensor([4.0, 4.0]) + 0.25 * torch.tensor([2.0, 1.0])  # eq. 6 by hand
    sums = 0.75 * torch.tensor([0.0, 40.0]) + 0.25 * torch.tensor([3.0, 8.0])  # eq. 7
    assert torch.allclose(quantiser.counts, counts)
    assert torch.allclose(quantiser.codebook[:, 0], sums / counts, rtol=1e-4)  # eq. 8


def test_dead_codes_are_revived() -> None:
    def used(revive: float) -> float:
        torch.manual_seed(0)
        quantiser = Quantiser(32, 2, decay=0.9, revive=revive)
        quantiser.begun = True
        quantiser.counts.fill_(1)
        for values in (quantiser.codebook, quantiser.sums):
            values.fill_(100.0)  # nobody's place: argmin takes the first
        for _ in range(30):
            quantiser(torch.rand(4, 2, 8, 8), alone)
        return quantiser.perplexity().item()

    assert used(revive=0.0) < 1.1
    assert used(revive=0.1) > 16


def test_a_codebook_is_initialised_from_the_first_batch() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4)
    quantiser = Quantiser(8, 3)
    quantiser._start(quantiser._drawn(x.movedim(1, -1)))
    distances = torch.cdist(quantiser.codebook, x.movedim(1, -1).reshape(-1, 3))
    assert distances.min(1).values.max() < 1e-6
    assert len(quantiser.codebook.unique(dim=0)) == 8


def test_two_processes_update_the_codebook_like_one() -> None:
    x = torch.randn(4, 3, 5, 5, generator=seeded(0))
    start = Quantiser(6, 3, revive=0.0)
    start.begun = True
    start.counts.fill_(1)
    start.sums.copy_(start.codebook)
    one, two = copy.deepcopy(start), copy.deepcopy(start)
    one(x, alone)
    seen: list[Tensor] = []
    for part in x.chunk(2):  # what each process adds
        copy.deepcopy(start)(part, lambda fn, values: seen.append(values) or values)
    two._move(torch.cat(seen))
    assert torch.allclose(one.codebook, two.codebook, atol=1e-6)
    assert torch.allclose(one.counts, two.counts)


def test_revived_codes_come_from_all_processes_in_turn() -> None:
    drawn = torch.arange(2 * 4).reshape(2, 4, 1).float()
    assert turns(drawn)[:, 0].tolist() == [0, 5, 2, 7]


# The priors.


@pytest.mark.parametrize("attention", [0, 1, 3])
@pytest.mark.parametrize("kernel", [3, 5])
def test_no_output_depends_on_its_own_position_or_a_later_one(attention: int, kernel: int) -> None:
    torch.manual_seed(0)
    side = 5
    prior = PixelCNN(7, side, 0, 0, width=8, layers=3, kernel=kernel, attention=attention, heads=2).double().eval()
    codes = torch.randint(7, (1, side, side))
    embedded = prior.embed(codes).detach().requires_grad_()
    prior.embed.forward = lambda _: embedded  # type: ignore[method-assign]
    logits = prior(codes)
    for place in range(side * side):
        (gradient,) = torch.autograd.grad(
            logits[0, :, place // side, place % side].sum(), embedded, retain_graph=True
        )
        reached = gradient[0].abs().sum(-1).flatten() > 0
        assert not reached[place:].any()
        near = {place - 1, place - side} if place % side else {place - side}
        assert all(reached[earlier] for earlier in near if earlier >= 0)
        assert reached[0] or not attention or not place  # attention reaches back to the start


def test_there_is_no_blind_spot() -> None:
    torch.manual_seed(0)
    prior = PixelCNN(7, 6, 0, 0, width=8, layers=6, kernel=3).double().eval()
    codes = torch.randint(7, (1, 6, 6))
    embedded = prior.embed(codes).detach().requires_grad_()
    prior.embed.forward = lambda _: embedded  # type: ignore[method-assign]
    (gradient,) = torch.autograd.grad(prior(codes)[0, :, 5, 2].sum(), embedded)
    assert (gradient[0].abs().sum(-1).flatten()[: 5 * 6 + 2] > 0).all()  # also up and to the right


def conditional(side: int = 6, n: int = 3) -> tuple[PixelCNN, list[Tensor], Tensor]:
    """Return a prior in double precision that has maps above, classes and attention, and what it is given."""
    torch.manual_seed(0)
    prior = PixelCNN(11, side, 2, 4, width=16, layers=4, kernel=5, attention=2, heads=4).double().eval()
    above = [torch.randint(11, (n, side // 2, side // 2)), torch.randint(11, (n, side, side))]
    return prior, above, torch.randint(4, (n,))


def naive(prior: PixelCNN, n: int, above: Any, label: Any, temperature: float) -> Tensor:
    """Draw as `PixelCNN.sample` does, asking the whole network for every code."""
    codes = torch.zeros(n, prior.side, prior.side, dtype=torch.int64)
    with torch.no_grad():
        for y in range(prior.side):
            for x in range(prior.side):
                logits = prior(codes, above, label)[:, :, y, x]
                codes[:, y, x] = torch.multinomial(torch.softmax(logits.float() / temperature, 1), 1)[:, 0]
    return codes


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_cached_sampling_gives_the_same_codes_as_full_passes(temperature: float) -> None:
    prior, above, label = conditional()
    torch.manual_seed(3)
    fast = prior.sample(3, above, label, temperature)
    torch.manual_seed(3)
    assert torch.equal(fast, naive(prior, 3, above, label, temperature))
    plain = PixelCNN(9, 4, 0, 0, width=8, layers=3, kernel=3).double().eval()
    torch.manual_seed(4)
    fast = plain.sample(5)
    torch.manual_seed(4)
    assert torch.equal(fast, naive(plain, 5, (), None, 1.0))


def test_the_maps_above_and_the_class_matter() -> None:
    prior, above, label = conditional()
    codes = torch.randint(11, (3, 6, 6))
    given = prior(codes, above, label)
    assert not torch.equal(given, prior(codes, above, (label + 1) % 4))
    for number in range(2):
        other = [(a + (n == number)) % 11 for n, a in enumerate(above)]
        assert not torch.equal(given, prior(codes, other, label))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, "kernel 4 is even: use 5"),
        ({"attention": 9, "layers": 4}, "attention 9 is more than the 4 layers"),
        ({"width": 6, "attention": 1, "heads": 4}, "width 6 is not divisible by 4 heads"),
    ],
)
def test_a_prior_rejects_invalid_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PixelCNN(4, 4, 0, 0, **options)


# The task.


@pytest.mark.parametrize(("levels", "classes"), [(1, None), (2, 3), (3, ("a", "b", "c"))])
def test_it_keeps_the_contract(levels: int, classes: Any) -> None:
    check_task(tiny(levels, classes), batch())


def test_it_keeps_the_contract_without_priors() -> None:
    check_task(tiny(2, None, priors=None, per_variance=True), batch())


def test_priors_change_no_code_and_no_weight_of_the_autoencoder() -> None:
    task = tiny()
    turns = task.step(batch())
    assert next(turns)[0] == "VQ"
    _, losses = next(turns)
    losses["nll"].backward()
    assert all(p.grad is None for p in task.autoencoder.parameters())
    assert all(p.grad is not None for p in task.priors["top"].look.parameters())


def test_the_config_sets_which_players_train_when() -> None:
    engine = Engine(tiny(prior_from=1, vq_until=2), partial(adam, lr=1e-3), Train(steps=3))
    seen = [sorted({key.split("/")[0] for key in engine.step([batch()]).losses}) for _ in range(3)]
    assert seen == [["VQ"], ["VQ", "prior_bottom", "prior_top"], ["prior_bottom", "prior_top"]]


def test_a_stopped_autoencoder_keeps_its_codebook() -> None:
    engine = trained(tiny(vq_until=1), 1)
    before = copy.deepcopy(engine.task.autoencoder.state_dict())
    engine.step([batch()])
    assert all(torch.equal(value, before[key]) for key, value in engine.task.autoencoder.state_dict().items())


def test_micro_batches_count_as_one_step() -> None:
    engine = Engine(tiny(prior_from=1), partial(adam, lr=1e-3), Train(steps=2, accumulate=2))
    halves = [{key: value[:3] for key, value in batch().items()}, {key: value[3:] for key, value in batch().items()}]
    assert sorted({key.split("/")[0] for key in engine.step(halves).losses}) == ["VQ"]
    assert "prior_top/nll" in engine.step(halves).losses
    assert int(engine.task.steps) == 2


def test_codes_become_predictable() -> None:
    engine = trained(tiny(vq_until=30), 100, lr=1e-2)
    with engine.averaged() as task:
        found = task.validate(batch())
    assert found["mse_over_variance"] < 0.5
    for name in ("top", "bottom"):
        assert found[f"nll_{name}"] < 0.6 * found[f"unigram_{name}"]
        assert 1 <= found[f"perplexity_{name}"] <= 12


def test_the_variance_is_that_of_the_training_data() -> None:
    assert trained(tiny(priors=None), 3).task.variance.item() == pytest.approx(
        batch()["image"].var(correction=0).item(), rel=1e-4
    )


def test_the_unigram_nll_is_that_of_the_code_usage() -> None:
    task = trained(tiny(1), 2).task.eval()
    codes = task.codes(batch()["image"])[0]
    usage = task.autoencoder.quantisers[0].counts
    by_hand = -sum(math.log(usage[code] / usage.sum()) for code in codes.flatten()) / codes.numel()
    assert task.validate(batch())["unigram_top"] == pytest.approx(by_hand, rel=1e-3)


def test_validation_in_parts_gives_the_same_numbers() -> None:
    class Six:
        batch_size = 4

        def validation(self) -> list[dict[str, Tensor]]:
            return [{key: value[i] for key, value in batch().items()} for i in range(6)]

    task = trained(tiny(), 2).task.eval()
    whole = task.validate(batch())
    with torch.no_grad():
        parts = validated(task, Six(), torch.device("cpu"))  # type: ignore[arg-type]
    assert parts == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_decoding_an_encoding_is_the_networks_reconstruction(levels: int) -> None:
    task = trained(tiny(levels), 3).task.eval()
    image = batch()["image"]
    with torch.no_grad():
        z = task.encode(image)
        assert z.shape == (6, 4 * sum(side**2 for side in task.sides)) == (6, task.prior(4).shape[1])
        assert torch.allclose(task.decode(z), task.autoencoder(image)[0].clamp(-1, 1), atol=1e-6)
        between = task.decode(z.mean(0, keepdim=True))  # no code, and decoded as it is
    assert between.shape == (1, 1, 16, 16)
    assert between.isfinite().all()


def test_samples_are_decoded_codes_and_follow_the_seed() -> None:
    task = tiny().eval()
    torch.manual_seed(5)
    first = task.sample(4, label="1", temperature="0.7")
    torch.manual_seed(5)
    again = task.decode(task.prior(4, label=[1, 1, "1", 1], temperature=0.7))
    assert torch.equal(first, again)
    assert first.shape == (4, 1, 16, 16)
    assert first.abs().max() <= 1
    torch.manual_seed(6)
    assert not torch.equal(first, task.sample(4, label=1, temperature=0.7))


def test_a_low_temperature_samples_the_most_likely_codes() -> None:
    task = tiny().eval()
    codes = task.draw(8, label=0, temperature=1e-6)
    assert all((c == c[:1]).all() for c in codes)
    assert not all((c == c[:1]).all() for c in task.draw(8, label=0))


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"label": "bird"}, "label=bird: this model has no such class; choose a number from 0 to 2"),
        ({"label": 3}, "label=3: this model has no such class"),
        ({"label": -1}, "label=-1: this model has no such class"),
        ({"label": [0, 1, 2]}, "3 classes for 2 images"),
        ({"temperature": "warm"}, "temperature=warm: should be a number above 0: 1 samples as learned"),
        ({"temperature": 0}, "temperature=0: should be a number above 0"),
        ({"temperature": "nan"}, "temperature=nan: should be a number above 0"),
    ],
)
def test_invalid_conditions_are_rejected_in_one_sentence(condition: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny().sample(2, **condition)


def test_validation_shows_whether_the_top_map_is_used() -> None:
    task, given = tiny().eval(), batch()
    task.autoencoder.quantise(given["image"], lambda fn, values: fn(values))  # codes start at vectors
    scores = task.validate(given)
    codes, _, _ = task.autoencoder.quantise(given["image"])
    other = task.autoencoder.decode(task.autoencoder.look_up([codes[0].roll(1, 0), codes[1]]))
    assert scores["mse_other_top"] == pytest.approx((other - given["image"]).square().mean().item())
    assert scores["mse_other_top"] != scores["mse"]
    same = {key: value[:1].expand(3, *value.shape[1:]) for key, value in given.items()}
    scores = task.validate(same)
    assert scores["mse_other_top"] == pytest.approx(scores["mse"], rel=1e-5)
    assert "mse_other_top" not in tiny(1).validate(given)


def test_a_batch_that_does_not_fit_is_named() -> None:
    with pytest.raises(ConfigError, match=r"for 2 classes but the data has label 2: set task\.classes"):
        tiny(classes=2).check(batch())
    with pytest.raises(ConfigError, match='vqvae2 needs samples with "label"'):
        next(tiny().step({"image": batch()["image"]}))
    with pytest.raises(ConfigError, match="vqvae2 was built for 1 x 16 x 16 values but the data has 1 x 8 x 8"):
        next(tiny().step(batch() | {"image": torch.zeros(6, 1, 8, 8)}))


def test_a_run_without_priors_or_classes_reports_it() -> None:
    with pytest.raises(ConfigError, match=r"this run trained no priors.*give task\.priors"):
        tiny(priors=None).sample(1)
    with pytest.raises(ConfigError, match="label=1: this run was trained without classes"):
        tiny(classes=None).sample(1, label=1)


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e40])
def test_no_temperature_overflows_the_probabilities(temperature: float) -> None:
    odds = torch.tensor([[-50.0, 100.0, 3.0]]).repeat(20, 1)
    codes = drawn(odds, temperature)
    assert (codes == 1).all() or temperature > 1


def test_other_sizes_are_rejected() -> None:
    with pytest.raises(DataError, match=r"\(1, 8, 8\) do not fit this model, which was trained on \(1, 16, 16\)"):
        tiny().encode(torch.zeros(2, 1, 8, 8))
    with pytest.raises(DataError, match=r"shape \(2, 9\) cannot be decoded: it should be \[N, 320\]"):
        tiny().decode(torch.zeros(2, 9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 18}, "size 18 is not divisible by 4 .* use 16"),
        ({"priors": {"top": PixelCNN}}, r"got \['top'\], but the levels are top, bottom"),
        ({"prior_from": 5, "vq_until": 4}, "nothing trains from step 4"),
        ({"priors": None, "vq_until": 4}, "without priors there is nothing to train after it"),
    ],
)
def test_configs_that_cannot_work_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**options)


def test_a_long_sampling_reports_its_progress(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("i2i_vqvae2.time.monotonic", lambda: next(clock))
    assert list(with_progress("drawing", range(6))) == list(range(6))
    said = capsys.readouterr().err.splitlines()
    assert said
    assert said[0].startswith("drawing: row ")


TWO = """
import os, sys, torch
sys.path.insert(0, "tests")
import torch.distributed as dist
from i2i import processes
from i2i.config import Train
from i2i.engine import Engine
from functools import partial
from i2i.optim import sgd
from test_vqvae2 import batch, tiny
world = processes.join(60.0, torch.device("cpu"))
engine = Engine(tiny(), partial(sgd, lr=1e-3), Train(steps=3), world=world)
share = {key: value[3 * world.rank : 3 * world.rank + 3] for key, value in batch().items()}
for _ in range(3):
    engine.step([share])
books = torch.cat([q.codebook.flatten() for q in engine.task.autoencoder.quantisers] + [engine.task.moments])
both = [torch.empty_like(books) for _ in range(2)]
dist.all_gather(both, books)
assert torch.equal(*both), (both[0] - both[1]).abs().max()
processes.leave()
os._exit(0)  # as i2i/__main__.py does: threads of torch.distributed may outlive the interpreter, which then aborts
"""


def test_two_processes_keep_the_same_codebook() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}  # an abort says where
    script = [*command, "--no-python", sys.executable, "-c", TWO]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
