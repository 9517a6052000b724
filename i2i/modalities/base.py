"""`Modality`: the interface of the border. `take`, `restore`, `write` and `show` are needed; the rest has defaults.

class Waveform(Modality):
    name, suffixes = "waveform", (".wav",)
    def take(self, given): ...              # path, bytes or array -> Taken(float32 [1, 1, L] in [-1, 1], like)
    def restore(self, values, like): ...    # [1, 1, L] -> what came in, or the plainest form where nothing did
    def write(self, thing, path): ...       # one result -> a file
    def show(self, values): ...             # [N, 1, L] -> uint8 [N, H, W, 3], drawn as curves
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ConfigError, DataError, NumericError, PluginError
from ..files import find

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Translate = Callable[[Tensor], Tensor]
    Undo = Callable[[Tensor, "Modality", str], Tensor]


@dataclass
class Taken:
    """One thing inside the border.

    Attributes:
        values: what `Task.translate` gets, [N, ...].
        like: whatever `Modality.restore` needs to give back the same kind of thing.
    """

    values: Tensor
    like: Any = None


class Modality:
    """One kind of thing: how it becomes a tensor, and how a tensor becomes it again.

    Modalities are small immutable values; a task holds them as `takes`, `makes` and `conditions`.

    Attributes:
        name: what messages call one of these things, such as "image".
        plural: what they call several.
        suffixes: the usual suffixes of its files, in lower case; results get the first one unless they have another.
    """

    name: ClassVar[str] = ""
    plural: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()

    def take(self, given: Any) -> Taken:
        """Take what a person has (a path, bytes, an array, ...) across the border; it is not changed.

        Raises:
            DataError: it cannot be read, or is not of this modality; the message says what is possible.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement take(given)")

    def restore(self, values: Tensor, like: Any = None) -> Any:
        """Return a result [N, ...] as a person would have it.

        Args:
            values: what `accept` returned.
            like: `Taken.like` of the task's input, which may be of another modality; None where nothing came in. Give
                back the same kind of thing where it tells you how, else the plainest form.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement restore(values, like)")

    def write(self, thing: Any, path: Path) -> None:
        """Write one result to a file, completely or not at all.

        Raises:
            DataError: the suffix of `path` cannot be written.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement write(thing, path)")

    def show(self, values: Tensor) -> np.ndarray:
        """Draw a batch [N, ...] for `samples/` and the report: uint8 [N, H, W, 3], or frames [N, T, H, W, 3]."""
        raise NotImplementedError(f"{type(self).__name__} must implement show(values)")

    # ---- what most modalities share

    def find(self, source: str) -> tuple[list[tuple[Any, Path]], list[tuple[Path, str]]]:
        """Find the things that one argument of `i2i translate` stands for.

        Args:
            source: a file, a folder or a glob. A modality whose things need not be files, such as text, may take the
                argument itself.

        Returns:
            (thing, name) of each that `take` can be given, where the name is a relative path from which that of the
            result is made; and (path, reason) of each file that was skipped.
        """
        paths, skipped = find(source, lambda path: None if path.suffix.lower() in self.suffixes else self._not_one())
        return [(path, relative(path, source)) for path in paths], skipped

    def file_name(self, name: Path) -> Path:
        """Return the file name of a result whose source has this name: its suffix, if it is one of ours."""
        return name if name.suffix.lower() in self.suffixes else Path(f"{name}{self.suffixes[0]}")

    def release(self, values: Tensor) -> Any:
        """Return `n` new things [n, ...] as `i2i.sample` returns them: something that can be iterated."""
        return [self.restore(values[i : i + 1]) for i in range(len(values))]

    def gather(self, things: Any) -> Tensor:
        """Return one thing, or a list of them, as one batch [N, ...] that `Task.encode` takes."""
        import torch

        given = things if isinstance(things, list | tuple) else [things]
        if not given:
            raise DataError(f"no {self.plural} are given")
        return torch.cat([self.take(thing).values for thing in given])

    def sized(self, values: Tensor) -> Tensor:
        """Return values [N, ...] of a data set in the size that the task encodes."""
        return values

    def accept(self, values: Any, who: str) -> Tensor:
        """Check what a network made, and return it on the CPU, floats as float32.

        Args:
            values: the result.
            who: the call that made it, such as "CycleGAN.translate", for messages.

        Raises:
            PluginError: it is not a tensor of this modality.
            NumericError: it contains NaN or infinity.
        """
        from torch import Tensor

        if not isinstance(values, Tensor) or not values.ndim:
            raise PluginError(f"{who} must return a tensor [N, ...], not {type(values).__name__}")
        values = values.detach().cpu()
        if not values.is_floating_point():
            return values
        if not values.isfinite().all():
            raise NumericError(f"{who} gave values that are not finite")
        return values.float()

    def fit(self, batch: dict[str, Any], source: str) -> tuple[dict[str, Any], Undo]:
        """Make a batch fit what a network can take, such as sides that are multiples of eight.

        Args:
            batch: values by name; not changed.
            source: the name of those that are translated.

        Returns:
            The fitted batch, and `undo(made, makes, who)`, which undoes that in a result of the modality `makes` (and
            raises PluginError, naming `who`, where the result does not go with what went in).
        """
        return batch, lambda made, makes, who: made

    def tiler(self, translate: Translate, like: Tensor, makes: Modality) -> Callable[[Translate, int], Translate]:
        """Return `tiled(translate, tile)`, which translates large things piece by piece without changing the result.

        Args:
            translate: the network, to be measured once.
            like: any fitted input.
            makes: the modality of the result.

        Raises:
            ConfigError: that is not possible.
        """
        raise ConfigError(f"{self.plural} cannot be cut into tiles: do not use --tile")

    def _not_one(self) -> str:
        return f"not a {self.name} (possible: {', '.join(self.suffixes)})"


def relative(path: Path, source: str) -> Path:
    """Return the name of a file that was found in `source`: its path below a folder, else its own name."""
    return path.relative_to(source) if Path(source).is_dir() else Path(path.name)


def columns(shown: Mapping[str, Any], makes: Modality) -> dict[str, np.ndarray]:
    """Draw what `Task.pictures` returned, each column by its own modality.

    Args:
        shown: by name a tensor [N, ...] of the modality `makes`, or a pair (modality, tensor).
        makes: the modality that the task makes.
    """
    pairs = {name: value if isinstance(value, tuple) else (makes, value) for name, value in shown.items()}
    return {name: modality.show(values) for name, (modality, values) in pairs.items()}
