"""`Task`: the base class of every method. docs/tutorial.md builds one in 25 lines.

A training step is a generator that yields `(player, losses)`: the paper's algorithm, top to bottom, with
ordinary local variables. At each `yield` the engine zeroes the gradients of that player, backpropagates into
that player's parameters only, steps its optimizer, and resumes the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor, nn

from .errors import ConfigError
from .modalities import Image, Modality

NEITHER = "this model neither translates nor generates: it was trained for use in other trainings"
Losses = dict[str, Tensor]
Turn = tuple[str, Losses | Sequence[Callable[[], Losses]]]


class Task(nn.Module):
    """One method: its networks, its training step and its inference.

    Subclasses implement `players` and `step`, and whichever of `translate`, `sample`, `encode` and `decode` apply.
    State that must survive a resume is a parameter, a buffer, or in `get_extra_state`, which is left out of the
    published weights. Use torch's global random generator: the engine seeds it before each step.

    Attributes:
        ema: names of the submodules that the engine averages if `train.ema` is set.
        takes: the modality of the input of `translate`. `Image.of(self.G)` pads to what a network needs.
        makes: the modality that `translate`, `sample` and `decode` return and `encode` takes, e.g. `Image(scale=4)`.
        conditions: the modality of each keyword of `translate` and `sample` that is not a plain value, e.g.
            `{"style": Image()}`: callers pass a file or array, the task gets [1, ...] on its device, or a list.
        on_host: the entries of a batch that stay on the CPU, because `step` reads their values, such as text.
        source: the entry of a sample that `translate` takes.
        target: the entry that metrics compare its result with.
    """

    ema: ClassVar[tuple[str, ...]] = ()
    takes: Modality = Image()
    makes: Modality = Image()
    conditions: Mapping[str, Modality] = MappingProxyType({})
    on_host: ClassVar[tuple[str, ...]] = ()
    source: str = "A"
    target: str = "B"

    over_processes: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] = staticmethod(lambda fn, x: fn(x))
    """`over_processes(fn, x)`: apply `fn` to the batch of all processes and return this process's part.

    For anything that must not depend on the number of processes, such as a replay pool. The engine replaces it
    if there are several.
    """

    branches: Callable[..., list[Any]] = staticmethod(lambda *parts: [part() for part in parts])
    """`branches(f, g)`: call each and return their results, for parts of a step that do not depend on each other.

    With several threads on a CPU, the engine runs them side by side; see docs/devices.md.
    """

    def players(self) -> dict[str, list[nn.Module]]:
        """Return the modules that each player trains: `{"G": [self.G_ab, self.G_ba], "D": [...]}`."""
        raise NotImplementedError(f"{type(self).__name__} must implement players()")

    def check(self, batch: dict[str, Any]) -> None:
        """Raise ConfigError or DataError if a batch does not fit, e.g. a label out of range.

        It is called while the batch is on the CPU, where values are free; in `step` an accelerator would wait.
        """

    def step(self, batch: dict[str, Any]) -> Iterator[Turn]:
        """Run one training step: yield `(player, {"name": scalar loss, ...})` for each turn.

        Losses that share nothing but weights may come in parts: a list of functions that each return some of them,
        which takes less memory, since the graph of one is freed before the next is called, or less time, where they
        run side by side, as `branches` do.

        Args:
            batch: stacked samples of the data set; images are [N, C, H, W] in [-1, 1].
        """
        raise NotImplementedError(f"{type(self).__name__} must implement step(batch)")

    def translate(self, given: Tensor, *args: Any, **condition: Any) -> Tensor:
        """Translate a batch of the modality `takes` into one of `makes`, e.g. images [N, 3, H, W] in [-1, 1]."""
        if type(self).sample is Task.sample:
            raise ConfigError(NEITHER)
        raise ConfigError("this model does not translate, it generates: use `i2i sample N`, or i2i.sample(n, model)")

    def sample(self, n: int, *args: Any, **condition: Any) -> Tensor:
        """Return `n` samples [n, ...] of the modality `makes`."""
        if type(self).translate is Task.translate:
            raise ConfigError(NEITHER)
        raise ConfigError(
            "this model does not generate, it translates: use `i2i translate FILE`, or i2i.translate(img, model)"
        )

    def encode(self, image: Tensor) -> Tensor:
        """Return the latent codes [N, ...] of images [N, C, H, W] in [-1, 1]."""
        raise ConfigError("this model has no latent space to encode into")

    def decode(self, z: Tensor, *args: Any, **condition: Any) -> Tensor:
        """Return the images [N, C, H, W] in [-1, 1] of latent codes [N, ...]."""
        raise ConfigError("this model has no latent space to decode from")

    def prior(self, n: int) -> Tensor:
        """Return `n` latent codes [n, ...], drawn as in `sample`."""
        raise ConfigError("this model has no latent space to draw from")

    def predict(self, batch: dict[str, Any]) -> Tensor:
        """Return the translation of `batch[self.source]`, which metrics compare with `batch[self.target]`."""
        return self.translate(batch[self.source])

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return task-specific results, averaged over a validation batch (e.g. ELBO, ADE)."""
        return {}

    def pictures(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the columns that `samples/` and the report show, by name.

        A column is a batch [N, ...] of the modality `makes`, or a pair of another modality and its batch.

        Args:
            batch: validation samples, empty if the data set has none.
        """
        if type(self).translate is not Task.translate and self.source in batch:
            return {"given": (self.takes, batch[self.source]), "translated": self.predict(batch)}
        if type(self).sample is not Task.sample:
            return {"sampled": self.sample(4)}
        return {}
