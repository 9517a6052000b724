"""What a plugin author subclasses. docs/tutorial.md builds one in 25 lines.

A training step is a generator that yields `(player, losses)`: the paper's algorithm, top to bottom, with
ordinary local variables. At each `yield` the engine sets the gradients of that player to zero, goes backward
into that player's parameters only, steps its optimizer, and comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from .errors import ConfigError

Losses = dict[str, Tensor]
Turn = tuple[str, Losses]


class Task(nn.Module):
    """One method: its networks, its training step and what it can be asked for.

    Subclasses implement `players` and `step`, and what applies of `translate`, `sample`, `encode` and `decode`.
    Everything that must survive a resume is a parameter, a buffer, or in `get_extra_state`; the latter is left
    out of the published weights. Random numbers are torch's own: the engine seeds them before each step.

    Attributes:
        ema: names of submodules of which the engine keeps an average when `train.ema` is set.
        accepts: what `translate` takes: images float32 [N, 3, H, W] in [-1, 1], or label maps int64 [N, 1, H, W].
        colour: the result has colour, also where a grey picture came in.
        scale: output size / input size of `translate`.
        multiple: `translate` needs H and W divisible by this; the border pads and crops back.
        minimum: and at least this large.
        images: names of those conditions of `translate` that are pictures too, such as ("style",).
        channels: of the pictures that `sample` and `decode` make and `encode` takes: 3, or 1 for grey ones.
        size: their height and width, where the networks fix it; None where any size will do.
    """

    ema: ClassVar[tuple[str, ...]] = ()
    accepts: Literal["image", "label map"] = "image"
    colour: bool = False
    scale: int = 1
    multiple: int = 1
    minimum: int = 1
    images: ClassVar[tuple[str, ...]] = ()
    channels: int = 3
    size: int | None = None

    over_processes: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] = staticmethod(lambda fn, x: fn(x))
    """`over_processes(fn, x)`: apply `fn` to the batch of all processes, return this process's part.

    For what must not depend on how many processes there are, such as a replay pool. The engine replaces it
    when there are several.
    """

    def players(self) -> dict[str, list[nn.Module]]:
        """Return the modules that each player trains: `{"G": [self.G_ab, self.G_ba], "D": [...]}`."""
        raise NotImplementedError(f"{type(self).__name__} must implement players()")

    def step(self, batch: dict[str, Any]) -> Iterator[Turn]:
        """Run one training step: yield `(player, {"name": scalar loss, ...})` for each turn.

        Args:
            batch: what the data set gives, stacked: images are [N, C, H, W] in [-1, 1].
        """
        raise NotImplementedError(f"{type(self).__name__} must implement step(batch)")

    def translate(self, image: Tensor, *args: Any, **condition: Any) -> Tensor:
        """Translate images [N, C, H, W] in [-1, 1] into images [N, C, H * scale, W * scale] in [-1, 1]."""
        raise ConfigError(
            f"{type(self).__name__} does not translate pictures: it makes them, use i2i.sample(n, model)"
        )

    def sample(self, n: int, *args: Any, **condition: Any) -> Tensor:
        """Return `n` new images [n, C, H, W] in [-1, 1]."""
        raise ConfigError(f"{type(self).__name__} makes no pictures from nothing: use i2i.translate(img, model)")

    def encode(self, image: Tensor) -> Tensor:
        """Return the latent codes [N, ...] of images [N, C, H, W] in [-1, 1]."""
        raise ConfigError(f"{type(self).__name__} has no latent space to encode into")

    def decode(self, z: Tensor, *args: Any, **condition: Any) -> Tensor:
        """Return the images [N, C, H, W] in [-1, 1] of latent codes [N, ...]."""
        raise ConfigError(f"{type(self).__name__} has no latent space to decode from")

    def prior(self, n: int) -> Tensor:
        """Return `n` latent codes [n, ...], drawn as `sample` draws its own."""
        raise ConfigError(f"{type(self).__name__} has no latent space to draw from")

    def predict(self, batch: dict[str, Any]) -> Tensor:
        """Return what the metrics compare with `batch["B"]`: the translation of `batch["A"]`."""
        return self.translate(batch["A"])

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return means over a validation batch of numbers that only the task can know (an ELBO, an ADE)."""
        return {}

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return named pictures [N, C, H, W] in [-1, 1] of a validation batch, one column each, for `samples/`."""
        image = next((value for value in batch.values() if isinstance(value, Tensor) and value.ndim == 4), None)
        if type(self).translate is not Task.translate and image is not None:
            return {"given": image, "translated": self.translate(image)}
        if type(self).sample is not Task.sample:
            return {"sampled": self.sample(4)}
        return {}
