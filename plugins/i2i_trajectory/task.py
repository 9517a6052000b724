"""The task `trajectory`: predicts where the people of a scene will walk, as several joint samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from pydantic import PositiveInt
from torch import Tensor
from torch.func import functional_call

from i2i import ConfigError, Loss, Network, Task
from i2i.data import number, whole_seed
from i2i.metrics import device_of

from .losses import DistanceVariety
from .scenes import Scenes, flat, joined
from .scores import Errors
from .tracks import Forecasts, Overlay, Tracks

Weight = Annotated[float, Ge(0)]


class Trajectory(Task):
    """Predicts the paths of all people in a scene at once; with a discriminator it is Social GAN.

    Players: "D", if there is one, with `d_steps` updates, and then "G", each on its own share of the batch. A batch
    of the data set therefore contains `d_steps` + 1 batches.

    Args:
        generator: network (observed `Scenes`, noise [N, K, noise]) -> positions [K, M, predicted, 2]; its method
            `draw` returns the noise, and its attribute `predicted` is the number of frames.
        discriminator: network: observed paths [M, 8, 2] and K futures of each [K, M, predicted, 2] -> logits
            [K, M, 1]; null for none.
        gan: adversarial objective, if there is a discriminator.
        variety: loss of K samples, of which the best counts: "squared_variety" or "distance_variety".
        samples: K in training and evaluation.
        d_steps: updates of D per update of G.
        lambda_variety: weight of the variety loss.
        observed: frames given.
        min_people: fewest people in a scene to be translated.

    Source: arXiv:1803.10892.
    """

    ema: ClassVar[tuple[str, ...]] = ("G",)
    source, target = "observed", "future"
    on_host: ClassVar[tuple[str, ...]] = ("observed", "future")

    def __init__(
        self,
        generator: Network,
        discriminator: Network | None = None,
        gan: Loss | None = None,
        variety: Loss = DistanceVariety,
        samples: PositiveInt = 20,
        d_steps: PositiveInt = 1,
        lambda_variety: Weight = 1.0,
        observed: PositiveInt = 8,
        min_people: PositiveInt = 2,
    ) -> None:
        super().__init__()
        if (discriminator is None) != (gan is None):
            raise ConfigError("trajectory: `discriminator` and `gan` belong together: give both or neither")
        if observed < 3:
            raise ConfigError(f"task.observed is {observed}: at least 3 frames are needed for a direction")
        self.G = generator()
        self.D = discriminator() if discriminator is not None else None
        self.gan = gan() if gan is not None else None
        self.variety = variety()
        self.samples, self.d_steps, self.lambda_variety = samples, d_steps, lambda_variety
        self.observed = observed
        self.takes = Tracks(observed, self.G.predicted, min_people)
        self.makes = Forecasts(observed, self.G.predicted, min_people)

    def players(self) -> dict[str, list[Any]]:
        """Return the generator, and the discriminator if there is one."""
        return {"G": [self.G]} if self.D is None else {"D": [self.D], "G": [self.G]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on "observed" [N, P, 8, 2] and "future" [N, P, 12, 2] in metres."""
        *for_d, for_g = self._shares(batch)

        for (scenes, future), fake in zip(for_d, self._fakes([scenes for scenes, _ in for_d]), strict=True):
            assert self.gan is not None
            yield "D", {"gan": self.gan.discriminator(self._judge(scenes, future, fake), future, fake)}

        scenes, future = for_g
        made = self.predicted(scenes, self.samples)
        losses = {"variety": self.lambda_variety * self.variety(made, future, scenes)}
        if self.gan is not None:
            losses["gan"] = self.gan.generator(self._judge(scenes, made[-1], learns=False), made[-1])
        yield "G", losses

    @torch.no_grad()
    def _fakes(self, parts: list[Scenes]) -> list[Tensor]:
        """Return a future [M, T, 2] of the people of each part, all at once, since G does not move in between."""
        if not parts:
            return []
        made = self.predicted(joined(parts), 1)[0]
        return list(made.split([len(scenes.paths) for scenes in parts]))

    def _judge(self, scenes: Scenes, *futures: Tensor, learns: bool = True) -> Callable[[Tensor], Tensor]:
        """Return a discriminator to be called on these futures [M, T, 2] in order; the past is read once for all.

        Unless it `learns`, no gradients of its weights are computed.
        """
        assert self.D is not None
        given = scenes.paths, torch.stack(futures)
        fixed = {name: weight.detach() for name, weight in self.D.named_parameters()}
        scores = iter(self.D(*given) if learns else functional_call(self.D, fixed, given))
        return lambda _: next(scores)

    def _shares(self, batch: dict[str, Any]) -> list[tuple[Scenes, Tensor]]:
        """Return the scenes and the future paths [M, T, 2] of each turn."""
        parts = self.d_steps + 1 if self.D is not None else 1
        observed, future = batch["observed"], batch["future"]
        if observed.shape[2] != self.observed or future.shape[2] != self.G.predicted:
            raise ConfigError(
                f"trajectory: the data has {observed.shape[2]} + {future.shape[2]} frames, the task "
                f"{self.observed} + {self.G.predicted}: set data.observed and data.predicted to task.observed and "
                f"task.generator.predicted"
            )
        if len(observed) % parts:
            raise ConfigError(
                f"trajectory: {len(observed)} scenes cannot be divided among {parts} turns (task.d_steps + 1): make "
                f"data.batch_size a multiple of {parts} in each process"
            )
        shares = zip(observed.chunk(parts), future.chunk(parts), strict=True)
        return [(scenes := self.flat(past), scenes.chosen(after)) for past, after in shares]

    def flat(self, observed: Tensor) -> Scenes:
        """Return observed scenes [N, P, 8, 2] with the paths of their people on the device of the weights."""
        return flat(observed, device_of(self))

    def predicted(self, scenes: Scenes, samples: int) -> Tensor:
        """Return samples [K, M, T, 2] for observed scenes, each scene with noise of its own."""
        made: Tensor = self.G(scenes, self.G.draw(len(scenes), samples).to(scenes.paths.device))
        return made

    def translate(self, observed: Tensor, samples: int | str = 20, seed: int | str = 0) -> Tensor:
        """Predict scenes [N, P, 8, 2] in metres: K = `samples` joint futures each, [N, K, P, 12, 2].

        Absent people are `ABSENT` in both. Every scene gets the same noise, that of `seed`.
        """
        count = int(
            number("samples", samples, "a whole number from 1 to 1000", lambda k: k.is_integer() and 1 <= k <= 1000)
        )
        scenes = self.flat(observed)
        source = torch.Generator().manual_seed(whole_seed(seed))
        noise = self.G.draw(1, count, source).to(scenes.paths.device)
        return scenes.padded(self.G(scenes, noise.expand(len(scenes), -1, -1)))

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return `ade` and `fde` in metres, joint best of `samples`, and the rate of `collisions`, over people.

        An evaluation averages batches, weighted by their scenes; `displacement_errors` is over the people of all.
        """
        scenes = self.flat(batch["observed"])
        found = Errors()
        found.add(self.predicted(scenes, self.samples), scenes.chosen(batch["future"]), scenes)
        return {name: found.means()[name] for name in ("ade", "fde", "collisions")}

    def pictures(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return observed, true and predicted paths in one picture a scene."""
        observed, future = batch["observed"], batch["future"]
        made = self.translate(observed, samples=min(self.samples, 20)).to(observed.device)
        past = observed[:, None].expand(-1, made.shape[1] + 1, -1, -1, -1)
        paths = torch.cat([past, torch.cat([future[:, None], made], 1)], 3)
        return {"observed, true and predicted": (Overlay(self.observed, self.G.predicted), paths)}
