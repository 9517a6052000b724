"""CycleGAN: unpaired image-to-image translation with cycle consistency. arXiv:1703.10593.

i2i run configs/cyclegan.yaml            # embedded horses and zebras, minutes
i2i run configs/paper/cyclegan.yaml      # the published recipe, on folders
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from i2i import Catalog, ConfigError, Loss, Network, Task, hookimpl
from i2i.losses import ReplayPool
from i2i.modalities import Image
from i2i.networks import published_generator

Weight = Annotated[float, Ge(0)]
Losses = dict[str, Tensor]
Part = Callable[[], Losses]


class CycleGAN(Task):
    """Two generators and two discriminators that learn A -> B and B -> A without pairs.

    Args:
        generator: network [N, 3, H, W] -> [N, 3, H, W] in [-1, 1], built twice.
        discriminator: network [N, 3, H, W] -> logits, built twice; null for a model that only translates.
        gan: adversarial objective, least squares in the paper; null if and only if there is no discriminator.
        lambda_cycle: weight of the cycle loss (eq. 2), 10 in the paper; or a pair, for A -> B -> A and B -> A -> B.
        cycle_noise: standard deviation of the noise added to a translation before it is translated back, 0 in the
            paper. A generator can hide what the other one needs for the way back in a faint pattern, such as the
            colour of a horse in specks on a zebra; noise destroys such patterns (arXiv:1908.01517).
        lambda_identity: weight of the identity loss relative to lambda_cycle (section 5.2), 0.5 for
            photographs and paintings, and in the published code; 0 turns it off.
        pool: size of the replay pools of past translations shown to the discriminators; 0 turns them off.

    Raises:
        ConfigError: a discriminator without an objective, or the reverse.

    Source: arXiv:1703.10593; the update order, the factor 1/2 on the discriminator losses and the replay rule of
    the pools follow the published code (models/cycle_gan_model.py).
    """

    ema: ClassVar[tuple[str, ...]] = ("G_ab", "G_ba")

    def __init__(
        self,
        generator: Network,
        discriminator: Network | None = None,
        gan: Loss | None = None,
        lambda_cycle: Weight | tuple[Weight, Weight] = 10.0,
        cycle_noise: Weight = 0.0,
        lambda_identity: Weight = 0.5,
        pool: Annotated[int, Ge(0)] = 50,
    ) -> None:
        super().__init__()
        if (discriminator is None) != (gan is None):
            raise ConfigError(
                "task: give both `discriminator` and `gan`, or neither for a model that only translates"
            )
        self.G_ab, self.G_ba = generator(), generator()
        self.D_a, self.D_b = [discriminator() if discriminator is not None else None for _ in range(2)]
        self.pool_a, self.pool_b = ReplayPool(pool, seed=0), ReplayPool(pool, seed=1)
        self.gan = gan() if gan is not None else None
        self.lambda_a, self.lambda_b = lambda_cycle if isinstance(lambda_cycle, tuple) else (lambda_cycle,) * 2
        self.cycle_noise, self.lambda_identity = cycle_noise, lambda_identity
        self.takes = Image.of(self.G_ab)

    def players(self) -> dict[str, list[Any]]:
        """Both generators share an optimizer, and so do both discriminators.

        Raises:
            ConfigError: there are no discriminators.
        """
        if self.gan is None:
            raise ConfigError("task: without discriminators it only translates; give `discriminator` and `gan`")
        return {"G": [self.G_ab, self.G_ba], "D": [self.D_a, self.D_b]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, list[Part]]]:
        """Train on `A` and `B`, each [N, 3, H, W] in [-1, 1], not paired."""
        a, b, gan = batch["A"], batch["B"], self.gan
        assert gan is not None
        fakes: dict[str, Tensor] = {}

        def cycle(way: str, there: nn.Module, back: nn.Module, judge: Any, x: Tensor, noise: Any) -> Losses:
            """Translate x and back: fool the discriminator (eq. 1), and be consistent (eq. 2)."""
            fake = there(x)
            fakes[way] = fake.detach()
            error = l1_loss(back(fake if noise is None else fake + noise), x)
            weight = self.lambda_a if way == "ab" else self.lambda_b
            return {f"cycle_{way[0]}": weight * error, f"gan_{way}": gan.generator(judge, fake)}

        def identity(domain: str, into: nn.Module, x: Tensor) -> Losses:
            """Translate x, which is in that domain already."""
            weight = self.lambda_a if domain == "a" else self.lambda_b
            return {f"identity_{domain}": self.lambda_identity * weight * l1_loss(into(x), x)}

        def judged(domain: str, judge: Any, real: Tensor, past: Tensor) -> Losses:
            """Tell real images of a domain from a mix of new and past translations."""
            return {domain: gan.discriminator(judge, real, past)}

        # Random numbers are drawn before, since the parts may run side by side.
        noise_b, noise_a = self._noise(a), self._noise(b)
        parts: list[Part] = [
            partial(cycle, "ab", self.G_ab, self.G_ba, self.D_b, a, noise_b),
            partial(identity, "b", self.G_ab, b),
            partial(cycle, "ba", self.G_ba, self.G_ab, self.D_a, b, noise_a),
            partial(identity, "a", self.G_ba, a),
        ]
        yield "G", parts if self.lambda_identity > 0 else parts[::2]

        past_a = self.over_processes(self.pool_a, fakes["ba"])
        past_b = self.over_processes(self.pool_b, fakes["ab"])
        yield "D", [partial(judged, "a", self.D_a, a, past_a), partial(judged, "b", self.D_b, b, past_b)]

    def _noise(self, like: Tensor) -> Tensor | None:
        """Return the noise for a translation, so that no information can be hidden in it."""
        return self.cycle_noise * torch.randn_like(like) if self.cycle_noise > 0 else None

    def translate(self, image: Tensor, direction: Literal["AtoB", "BtoA"] = "AtoB") -> Tensor:
        """Translate images [N, 3, H, W] in [-1, 1], H and W divisible by `multiple`, into the other domain."""
        if direction not in ("AtoB", "BtoA"):
            raise ConfigError(f"unknown direction '{direction}': use AtoB or BtoA")
        return (self.G_ab if direction == "AtoB" else self.G_ba)(image)

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return the mean absolute cycle and identity errors, in units of [-1, 1]."""
        a, b = batch["A"], batch["B"]

        def cycle(there: nn.Module, back: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
            """Return the errors of translating x there and back, and of translating it into its own domain."""
            return l1_loss(back(there(x)), x), l1_loss(back(x), x)

        (cycle_a, identity_a), (cycle_b, identity_b) = self.branches(
            partial(cycle, self.G_ab, self.G_ba, a), partial(cycle, self.G_ba, self.G_ab, b)
        )
        found = {"cycle_a": cycle_a, "cycle_b": cycle_b, "identity_a": identity_a, "identity_b": identity_b}
        return {name: value.item() for name, value in found.items()}

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Both directions with their reconstructions: the columns of `samples/`."""
        fake_b, fake_a = self.G_ab(batch["A"]), self.G_ba(batch["B"])
        return {
            "A": batch["A"],
            "A to B": fake_b,
            "and back": self.G_ba(fake_b),
            "B": batch["B"],
            "B to A": fake_a,
            "and back again": self.G_ab(fake_a),
        }


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `cyclegan`."""
    catalog.task("cyclegan", CycleGAN)


@hookimpl
def adopt_weights(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise both generators of the published code: `latest_net_G_A.pth` and `..._G_B.pth`, or in one file."""
    tensors = {key.removeprefix("net"): value for key, value in tensors.items()}
    own: dict[str, Tensor] = {}
    found = None
    for part, name in (("G_A.", "G_ab"), ("G_B.", "G_ba")):
        before = found
        found = published_generator(
            {key.removeprefix(part): value for key, value in tensors.items() if key.startswith(part)}
        )
        if found is None or (before is not None and before[0] != found[0]):
            return None
        own |= {f"{name}.{key}": value for key, value in found[1].items()}
    assert found is not None
    said = f"both directions of CycleGAN, each {found[2]}, A to B with G_A (-c direction=BtoA for the other)"
    return {"use": "cyclegan", "generator": found[0]}, own, said
