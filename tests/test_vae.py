"""The VAE: its losses against independent sources, its likelihood against a closed form, what it is asked for."""

from __future__ import annotations

import copy
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from i2i_scenes.digits import Digits
from i2i_vae import (
    VAE,
    ActiveUnits,
    Bernoulli,
    ConvDecoder,
    ConvEncoder,
    CouplingFlow,
    DenseDecoder,
    DenseEncoder,
    Gaussian,
    ImportanceNLL,
)
from i2i_vae.metrics import pictures_of
from i2i_vae.task import divergence, quantiles
from torch import Tensor, nn
from torch import distributions as D
from torch.nn.functional import binary_cross_entropy

from i2i import ConfigError, Data, DataError, Model, NumericError, api, config
from i2i.config import Train
from i2i.data.stream import stream
from i2i.engine import Engine
from i2i.metrics.base import validated
from i2i.optim import adam
from i2i.plugins import registry
from i2i.processes import ProcessGroup
from i2i.testing import check_task

ROOT = Path(__file__).parent.parent
DATA = os.environ.get("I2I_DATA")


def made(encoder: Any = None, decoder: Any = None, seed: int = 0, **options: Any) -> VAE:
    torch.manual_seed(seed)
    dense = partial(DenseEncoder, widths=(16,)), partial(DenseDecoder, widths=(16,))
    return VAE(encoder or dense[0], decoder or dense[1], **({"latent": 3, "size": 8} | options))


def convolutional(blocks: int = 0, **options: Any) -> VAE:
    sizes = {"latent": 4, "channels": 3, "size": 16} | options
    return made(partial(ConvEncoder, width=4, blocks=blocks), partial(ConvDecoder, width=4, blocks=blocks), **sizes)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Few(Data):
    """Validation pictures from a tensor."""

    batch_size = 4

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def validation(self) -> list[dict[str, Tensor]]:
        return [{"image": image} for image in self.images]


# ---- the contract


@pytest.mark.parametrize(
    "task",
    [
        made(),
        made(beta=4.0, warm_up=30),
        made(flow=partial(CouplingFlow, layers=2, width=8)),
        convolutional(likelihood=Gaussian),
        convolutional(blocks=1, size=12),
        made(likelihood=partial(Gaussian, 0.3)),
    ],
    ids=["dense", "warm up", "flow", "convolutional, learnt sigma", "residual, 12 px", "fixed sigma"],
)
def test_it_keeps_the_contract_of_a_task(task: VAE) -> None:
    check_task(task, {"image": pictures(4, task.channels, task.size or 0, task.size or 0)})


def test_784_400_20_has_the_published_number_of_parameters() -> None:
    task = config.load(ROOT / "configs" / "real" / "vae_mnist.yaml", ["data.root=x"], registry().catalog).task()
    assert sum(p.numel() for p in task.parameters()) == 652_824


def test_the_step_equals_the_usual_one_written_by_hand() -> None:
    """Against cross entropy of probabilities and -1/2 sum(1 + logvar - mu^2 - exp(logvar)), summed over the batch."""
    task, image = made(), pictures(5, 1, 8, 8)
    torch.manual_seed(1)
    ((player, losses),) = task.step({"image": image})
    torch.stack(list(losses.values())).sum().backward()
    grads = {name: p.grad.clone() for name, p in task.named_parameters() if p.grad is not None}
    task.zero_grad()

    torch.manual_seed(1)
    target = (image * 0.5 + 0.5).flatten(1)
    e, d = task.encoder.layers, task.decoder.layers
    mu, logvar = e[2](e[1](e[0](target))).split(3, 1)
    z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
    p = torch.sigmoid(d[2](d[1](d[0](z))))
    bce = binary_cross_entropy(p, target, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    ((bce + kld) / 5).backward()

    assert player == "vae"
    torch.testing.assert_close(losses, {"reconstruction": bce / 5, "kl": kld / 5})
    torch.testing.assert_close(grads, {name: p.grad for name, p in task.named_parameters()})


def test_two_hundred_steps_beat_every_decoder_that_ignores_z() -> None:
    data = Digits(size=16, samples=600, validation_samples=100)
    task = made(partial(DenseEncoder, widths=(64,)), partial(DenseDecoder, widths=(64,)), latent=8, size=16)
    engine = Engine(task, partial(adam, lr=1e-2), Train(steps=200))
    for batches in stream(data, engine.train, 0, 200, ProcessGroup()):
        engine.step(batches)
    with engine.averaged() as trained:
        found = validated(trained, data, engine.device)
    # The best without z knows how bright each pixel is on average; the best of all knows the picture.
    pixels = (torch.stack([s["image"] for s in data.validation()]) + 1) / 2
    blind, least = (
        binary_cross_entropy(known, pixels, reduction="none").flatten(1).sum(1).mean().item()
        for known in (pixels.mean(0).expand_as(pixels), pixels)
    )
    assert -found["elbo"] - least < 0.85 * (blind - least)
    assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"])
    assert found["kl"] > 3


# ---- the parts, against torch.distributions


def test_the_kl_divergence_is_torchs() -> None:
    mu, logvar = pictures(6, 5), 3 * pictures(6, 5, seed=1)
    posterior, prior = D.Normal(mu, (logvar / 2).exp()), D.Normal(torch.zeros(6, 5), torch.ones(6, 5))
    torch.testing.assert_close(divergence(mu, logvar), D.kl_divergence(posterior, prior).sum(1))


def test_bernoulli_is_the_probability_of_binary_images() -> None:
    logits, image = 3 * pictures(4, 1, 5, 5), pictures(4, 1, 5, 5, seed=1).sign()
    likelihood = Bernoulli()
    wanted = D.Bernoulli(logits=logits).log_prob((image + 1) / 2).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(logits, likelihood.scaled(image)), wanted)
    torch.testing.assert_close((likelihood.mean(logits) + 1) / 2, D.Bernoulli(logits=logits).mean)


@pytest.mark.parametrize("sigma", [0.2, 1.0, None])
def test_gaussian_is_the_density_of_images(sigma: float | None) -> None:
    likelihood, given, image = Gaussian(sigma), 2 * pictures(4, 3, 5, 5), pictures(4, 3, 5, 5, seed=1)
    wanted = D.Normal(given, sigma or 1.0).log_prob(image).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(given, likelihood.scaled(image)), wanted)
    assert likelihood.mean(given).abs().max() == 1
    assert [name for name, _ in likelihood.named_parameters()] == ([] if sigma else ["log_sigma"])


def test_a_learned_sigma_converges_to_the_residual_deviation() -> None:
    likelihood, off = Gaussian(), 0.1 * torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (-likelihood.log_prob(torch.zeros_like(off), off).mean() / off[0].numel()).backward()
        optimizer.step()
    assert likelihood.log_sigma.exp().item() == pytest.approx(off.square().mean().sqrt().item(), rel=0.01)


# ---- beta


def test_beta_weights_the_kl_term_in_training_but_not_in_validation() -> None:
    batch = {"image": pictures(4, 1, 8, 8)}
    seen = {}
    for beta in (1.0, 4.0, 0.0):
        torch.manual_seed(1)
        ((_, losses),) = made(beta=beta).step(batch)
        torch.manual_seed(1)
        seen[beta] = {**losses, **made(beta=beta).validate(batch)}
    for beta in (4.0, 0.0):
        torch.testing.assert_close(torch.as_tensor(seen[beta]["kl"]), torch.as_tensor(seen[1.0]["kl"]))
        assert seen[beta]["elbo"] == seen[1.0]["elbo"]
    assert made(beta=0.0).beta == 0


def test_the_warm_up_reaches_beta_and_continues_after_a_resume() -> None:
    def weight(task: VAE) -> float:
        torch.manual_seed(1)
        ((_, losses),) = task.step({"image": pictures(2, 1, 8, 8)})
        return (losses["kl"] / task.validate({"image": pictures(2, 1, 8, 8)})["kl"]).item()

    task, resumed = made(beta=2.0, warm_up=4), made(beta=2.0, warm_up=4, seed=9)
    assert [weight(task), weight(task)] == pytest.approx([0.5, 1.0])
    resumed.load_state_dict(copy.deepcopy(task.state_dict()))
    assert [weight(resumed) for _ in range(3)] == pytest.approx([1.5, 2.0, 2.0])


def test_the_micro_batches_of_a_step_have_the_same_weight_in_the_warm_up() -> None:
    task = made(warm_up=4)
    steps = [task.step({"image": pictures(2, 1, 8, 8)}) for _ in range(2)]
    for _ in range(2):
        for step in steps:
            next(step, None)
    assert int(task.seen) == 1


# ---- the likelihood and the active units, against closed forms


class Affine(nn.Module):
    """A stand-in for a network: flatten, x -> W x + b, then the shape that is wanted; `more` is put beside it."""

    def __init__(self, weight: Tensor, bias: Tensor, shape: tuple[int, ...], more: Tensor | None = None) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.shape, self.more = shape, more

    def forward(self, x: Tensor) -> Tensor:
        out = (x.flatten(1) @ self.weight.T + self.bias).unflatten(1, self.shape)
        return out if self.more is None else torch.cat([out, self.more.expand(len(x), -1)], 1)


def linear_gaussian(off: float = 0.0, wide: float = 1.0) -> tuple[VAE, Data, float]:
    """Return x = W z + b + s e with orthogonal columns in W, so that q can be the posterior; and E -log p(x).

    `off` and `wide` put q beside the posterior and make it too wide.
    """
    generator, s, shape = torch.Generator().manual_seed(0), 0.5, (1, 3, 3)
    q, _ = torch.linalg.qr(torch.randn(9, 2, generator=generator))
    w, b = q * torch.tensor([0.8, 0.3]), 0.1 * torch.randn(9, generator=generator)
    spread = 1 / (1 + w.square().sum(0) / s**2)  # of the posterior: diagonal
    back = spread[:, None] * w.T / s**2
    encoder = Affine(back, off - back @ b, (2,), (spread * wide**2).log())
    task = made(lambda *_: encoder, lambda *_: Affine(w, b, shape), latent=2, size=3, likelihood=partial(Gaussian, s))
    images = (torch.randn(12, 2, generator=generator) @ w.T + b + s * torch.randn(12, 9, generator=generator)).clamp(
        -1, 1
    )
    truth = D.MultivariateNormal(b, w @ w.T + s**2 * torch.eye(9)).log_prob(images)
    return task, Few(images.unflatten(1, shape)), -truth.mean().item()


@pytest.mark.parametrize("k", [1, 7])
def test_with_the_true_posterior_one_code_gives_the_likelihood_itself(k: int) -> None:
    task, data, truth = linear_gaussian()
    assert ImportanceNLL(k)(task, data)["nats"] == pytest.approx(truth, abs=1e-4)
    assert -validated(task, data, torch.device("cpu"))["elbo"] == pytest.approx(truth, abs=1.5)


def test_many_codes_approach_the_likelihood_and_one_gives_a_bound() -> None:
    task, data, truth = linear_gaussian(off=0.6, wide=1.3)
    torch.manual_seed(0)
    gap = D.kl_divergence(D.Normal(0.0, 1.3), D.Normal(0.0, 1.0)).item() * 2
    _, logvar = task.posterior(torch.zeros(1, 1, 3, 3))
    spread = (logvar / 2).exp() / 1.3
    gap += (0.6 / spread).square().sum().item() / 2
    bound = sum(ImportanceNLL(1)(task, data)["nats"] for _ in range(200)) / 200
    assert bound - truth == pytest.approx(gap, rel=0.1)  # KL(q | posterior), to the letter
    assert ImportanceNLL(20000)(task, data)["nats"] == pytest.approx(truth, abs=0.02)


def test_the_estimate_does_not_depend_on_how_many_codes_are_decoded_at_once() -> None:
    task, data, _ = linear_gaussian(off=0.3)
    found = []
    for at_once in (1000, 7):
        torch.manual_seed(0)
        found.append(ImportanceNLL(3000, pictures=5, at_once=at_once)(task, data))
    assert found[0]["nats"] == pytest.approx(found[1]["nats"], abs=0.02)
    assert found[0]["pictures"] == 5


def test_a_subset_of_images_is_fixed_and_covers_every_class() -> None:
    seen = pictures_of(made(size=1), Few(torch.arange(100.0).view(100, 1, 1, 1) % 10), 100, 50)
    (first,) = seen
    assert len(set(first.flatten().tolist())) == 10  # each second one of classes in turn would be five of them
    (again,) = pictures_of(made(size=1), Few(torch.arange(100.0).view(100, 1, 1, 1) % 10), 100, 50)
    assert torch.equal(first, again)


def test_a_unit_is_active_if_its_mean_varies() -> None:
    weight = torch.zeros(3, 4)
    weight[0, 0], weight[2, 1] = 1.0, 0.05  # one that moves, one that is constant, one that hardly moves
    encoder = Affine(weight, torch.tensor([0.0, 5.0, 0.0]), (3,), torch.zeros(3))
    task = made(lambda *_: encoder, size=2, likelihood=Gaussian)
    data = Few(pictures(50, 1, 2, 2))
    assert ActiveUnits()(task, data) == {"count": 1.0, "of": 3.0}
    assert ActiveUnits(threshold=1e-5)(task, data) == {"count": 2.0, "of": 3.0}


def test_the_metrics_need_a_vae_and_validation_images() -> None:
    for metric in (ImportanceNLL(), ActiveUnits()):
        with pytest.raises(ConfigError, match="for the task vae, not for Linear"):
            metric(nn.Linear(1, 1), Few(pictures(1, 1, 8, 8)))
        with pytest.raises(ConfigError, match="needs validation samples, but Few has none"):
            metric(made(), Few(pictures(0, 1, 8, 8)))


# ---- a prior that is learned


def bent(latent: int = 2, layers: int = 3) -> CouplingFlow:
    """Return a flow whose layers do move codes."""
    torch.manual_seed(4)
    flow = CouplingFlow(latent, layers=layers, width=8)
    for step in flow.steps:
        for parameter in step[-1].parameters():
            nn.init.normal_(parameter, std=0.3)
    return flow


@pytest.mark.parametrize("latent", [2, 3, 6])
def test_a_flow_is_invertible_and_knows_its_jacobian(latent: int) -> None:
    flow, noise = bent(latent).double(), torch.randn(5, latent, dtype=torch.float64)
    z = flow(noise)
    back, volume = flow.inverse(z)
    assert (z - noise).abs().max() > 0.1
    torch.testing.assert_close(back, noise)
    for code, each in zip(z, volume, strict=True):
        slopes = torch.autograd.functional.jacobian(lambda x: flow.inverse(x[None])[0][0], code)
        torch.testing.assert_close(each, torch.linalg.slogdet(slopes).logabsdet)


def test_a_flow_starts_as_a_permutation() -> None:
    noise = torch.randn(4, 6)
    flow = CouplingFlow(6)
    assert torch.equal(flow(noise).sort(1).values, noise.sort(1).values)
    assert flow.inverse(noise)[1].abs().max() == 0
    with pytest.raises(ConfigError, match="of 2 or more"):
        CouplingFlow(1)
    with pytest.raises(ConfigError, match=r"task\.flow: Linear is not invertible"):
        made(flow=lambda latent: nn.Linear(latent, latent))


def test_with_a_flow_the_likelihood_uses_the_learned_prior() -> None:
    task, data, _ = linear_gaussian(wide=1.5)
    task.flow = bent()
    images = torch.stack([sample["image"] for sample in data.validation()])

    # p(x) as an integral over a fine grid of N(0, I), without any encoder.
    axis = torch.linspace(-6, 6, 241)
    noise = torch.cartesian_prod(axis, axis)
    made_of = task.decoder(task.flow(noise)).flatten(1)
    log_joint = D.Normal(made_of[:, None], 0.5).log_prob(images.flatten(1)).sum(2) + D.Normal(0, 1).log_prob(
        noise
    ).sum(1, keepdim=True)
    truth = -(log_joint.logsumexp(0) + 2 * (axis[1] - axis[0]).log()).mean().item()

    torch.manual_seed(0)
    assert ImportanceNLL(20000)(task, data)["nats"] == pytest.approx(truth, abs=0.03)
    bounds = [task.validate({"image": images})["elbo"] for _ in range(300)]
    single = [task.log_weights(images, 1).mean().item() for _ in range(300)]
    assert sum(bounds) / 300 == pytest.approx(sum(single) / 300, abs=0.1)
    assert -sum(bounds) / 300 > truth


def test_samples_and_sheets_use_the_flow() -> None:
    task = made(latent=2, flow=partial(CouplingFlow, layers=2, width=8))
    plain = made(latent=2)
    task.flow = bent()
    torch.manual_seed(3)
    z = task.prior(4, temperature=0.5)
    torch.manual_seed(3)
    torch.testing.assert_close(z, task.flow(0.5 * plain.prior(4)))
    column = task.pictures({"image": pictures(2, 1, 8, 8)})[f"z1 = {quantiles()[0]:.2f}"]
    corner = torch.stack([quantiles()[0].expand(10), quantiles()], 1)
    torch.testing.assert_close(column, task.decode(task.flow(corner)))
    assert "flow" in task.ema
    assert "flow" not in plain.ema


# ---- what it is asked for


def test_it_encodes_to_the_mean_and_decodes_into_the_range() -> None:
    for task in (made(), convolutional(likelihood=Gaussian), convolutional(size=28, channels=1, blocks=1)):
        image = pictures(3, task.channels, task.size or 0, task.size or 0)
        z = task.encode(image)
        assert z.shape == (3, task.latent)
        assert torch.equal(z, task.encode(image))
        for out in (task.decode(z), task.decode(100 * z), task.sample(3)):
            assert out.shape == image.shape
            assert out.abs().max() <= 1
    assert made().prior(5).shape == (5, 3)


def test_a_sample_is_decoded_from_the_prior_at_its_temperature() -> None:
    task = made()
    drawn: list[Tensor] = []
    for temperature in (1.0, "0.5", 0, None):
        torch.manual_seed(3)
        z = task.prior(4)
        torch.manual_seed(3)
        if temperature is None:
            assert torch.equal(task.sample(4), drawn[0])
        else:
            drawn.append(task.sample(4, temperature=temperature))
            torch.testing.assert_close(drawn[-1], task.decode(z * float(temperature)))
    assert torch.equal(drawn[2][0], drawn[2][1])
    assert not torch.equal(drawn[0], drawn[1])
    for nonsense in ("warm", "-1", "nan", "inf"):
        with pytest.raises(ConfigError, match=f"temperature={nonsense}: should be a number from 0 up"):
            task.sample(1, temperature=nonsense)


def test_quantiles_are_midpoints_of_equally_likely_intervals() -> None:
    middles = D.Normal(0.0, 1.0).cdf(quantiles(8))
    torch.testing.assert_close(middles, (torch.arange(8) + 0.5) / 8)


def test_two_latent_dimensions_are_shown_as_a_plane() -> None:
    task, image = made(latent=2), pictures(4, 1, 8, 8)
    shown = task.pictures({"image": image})
    plane = torch.stack([cells for name, cells in shown.items() if name.startswith("z1")], 1)  # [z2, z1, C, H, W]
    assert plane.shape == (10, 10, 1, 8, 8)
    assert torch.equal(shown["image"], image)
    values = quantiles()
    torch.testing.assert_close(plane[7, 2], task.decode(torch.stack([values[2], values[7]])[None])[0])
    assert "z1 = -1.64" in shown


def test_more_latent_dimensions_are_shown_as_samples() -> None:
    shown = made().pictures({"image": pictures(4, 1, 8, 8)})
    assert list(shown) == ["image", "reconstruction", "sampled", "more samples"]
    assert all(cells.shape == (4, 1, 8, 8) for cells in shown.values())


def test_codes_of_another_length_are_rejected() -> None:
    for z in (torch.zeros(2, 4), torch.zeros(3)):
        with pytest.raises(DataError, match=r"cannot be decoded: it should be \[N, 3\]"):
            made().decode(z)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ConfigError, match=r"vae needs samples with \"image\", but these have A, B: use another"):
        next(made().step({"B": pictures(1, 1, 8, 8), "A": pictures(1, 1, 8, 8)}))
    with pytest.raises(ConfigError, match=r"for 1 x 8 x 8 values but the data has 3 x 8 x 9: set task\.channels"):
        made().encode(pictures(1, 3, 8, 9))
    for size in (30, 4, 6):
        with pytest.raises(ConfigError, match=f"{size} is not 4, 5, 6 or 7 times a power of 2"):
            convolutional(size=size)


def test_an_unsuitable_metric_is_rejected_before_training(tmp_path: Path) -> None:
    for more, said in (
        (
            "metrics=[{use: class_accuracy}]",
            "class_accuracy generates pictures of each class, but Faces has no",
        ),
        ("metrics=[{use: class_share}]", "the judge embedded reads grey pictures, but these have 3 channels"),
    ):
        with pytest.raises(ConfigError, match=said):
            api.run(ROOT / "configs" / "faces_vae.yaml", "data.samples=20", more, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="this metric is for the task vae, not for GAN"):
        api.run(ROOT / "configs" / "gan.yaml", "metrics=[{use: active_units}]", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_temperature_that_overflows_is_reported() -> None:
    model = Model(made(), {}, Path("run/model.safetensors"))
    with pytest.raises(NumericError, match=r"returned values that are not finite: do not use temperature=1e\+?200"):
        model.sample(2, temperature=1e200)


def test_the_run_samples_from_the_command_line(tmp_path: Path) -> None:
    toy = ["train.steps=3", "data.samples=20", "data.validation_samples=10", "metrics=[]"]
    run = api.run(ROOT / "configs" / "vae_2d.yaml", *toy, out=tmp_path / "run")
    assert (run / "samples" / "00000003.png").exists()
    assert api.sample(3, run, seed=1, temperature="0.7").shape == (3, 1, 28, 28)
    with pytest.raises(ConfigError, match=r"`sample` of this model has no condition 'label'; possible: temperature"):
        api.sample(3, run, label=3)


@pytest.mark.timeout(600)
@pytest.mark.skipif(DATA is None, reason="I2I_DATA is not set")
def test_an_epoch_of_mnist_is_on_the_published_curve() -> None:
    """REFERENCE: the same recipe in pytorch/examples gives a test bound of 127.4 nats after one epoch."""
    path, root = ROOT / "configs" / "real" / "vae_mnist.yaml", f"data.root={DATA}/mnist"
    chosen = config.load(path, [root, "data.validation_samples=2000"], registry().catalog)
    torch.manual_seed(0)
    task, data = chosen.task(), chosen.data()
    engine = Engine(task, chosen.optimizer, chosen.train)
    for batches in stream(data, chosen.train, 0, 469, ProcessGroup()):
        engine.step(batches)
    with engine.averaged() as trained:
        bound = -validated(trained, data, engine.device)["elbo"]
    assert 122 < bound < 129  # 2,000 of the test pictures: within a nat or so of all
