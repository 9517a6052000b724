"""`Modality`: the interface. `take`, `restore`, `write` and `show` are required; the rest has defaults.

class Waveform(Modality):
    name, suffixes = "waveform", (".wav",)
    def take(self, given): ...              # path, bytes or array -> Taken(float32 [1, 1, L] in [-1, 1], like)
    def restore(self, values, like): ...    # [1, 1, L] -> the type of the input, or a default without one
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
from ..images.output import Output

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Translate = Callable[[Tensor], Tensor]
    Undo = Callable[[Tensor, "Modality", str], Tensor]


@dataclass
class Taken:
    """An input converted to a tensor.

    Attributes:
        values: the argument of `Task.translate`, [N, ...].
        like: whatever `Modality.restore` needs to return the original type.
    """

    values: Tensor
    like: Any = None


class Modality:
    """One kind of data: how it becomes a tensor, and how a tensor is converted back.

    Modalities are small immutable values; a task has them in `takes`, `makes` and `conditions`.

    Attributes:
        name: the name in messages, e.g. "image".
        plural: its plural.
        suffixes: usual file suffixes, in lower case; results get the first one unless they already have one of these.
    """

    name: ClassVar[str] = ""
    plural: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()

    def take(self, given: Any) -> Taken:
        """Convert a path, bytes, an array, ... to a tensor; the input is not modified.

        Raises:
            DataError: it cannot be read, or is not of this modality; the message states what is possible.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement take(given)")

    def take_large(self, given: Any) -> Taken:
        """As `take`, for an input that is translated in tiles: in as little memory as possible."""
        return self.take(given)

    def size_of(self, given: Any) -> tuple[int, int] | None:
        """Return the height and width of an input without decoding it, to foresee its memory, or None."""
        return None

    def restore(self, values: Tensor, like: Any = None) -> Any:
        """Convert a result [N, ...] to the type of the input.

        Args:
            values: as returned by `accept`.
            like: `Taken.like` of the task's input, which may be of another modality; None without an input. Return
                the type that it describes if you can, else a default type.
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

    def check(self, output: Output) -> None:
        """Raise ConfigError if results of this modality cannot be made as asked."""
        if given := output.asked():
            raise ConfigError(f"{', '.join(given)}: only for images, and this model makes {self.plural}")

    def foresee(self, given: Taken, takes: Modality, output: Output, path: Path | None, name: str) -> None:
        """Check, before the network runs, that its result is possible.

        Args:
            given: the input.
            takes: its modality.
            output: what is asked of the result.
            path: the file to write; None if it is not written.
            name: of the input, for messages.

        Raises:
            DataError: it is not.
        """

    def resized(self, values: Tensor, output: Output) -> Tensor:
        """Resize a result [N, ...], as returned by `accept`, to the size asked for."""
        return values

    def beside(self, path: Path) -> list[Path]:
        """Return the files that `save` writes beside a result, such as a picture of it."""
        return []

    def save(self, values: Tensor, like: Any, path: Path, output: Output) -> None:
        """Write one result; `values` and `like` as for `restore`."""
        self.write(self.restore(values, like), path)

    def find(self, source: str) -> tuple[list[tuple[Any, Path]], list[tuple[Path, str]]]:
        """Find the inputs given by one argument of `i2i translate`.

        Args:
            source: a file, a folder or a glob. A modality whose inputs need not be files, such as text, may use the
                argument itself.

        Returns:
            (input, name) for each input of `take`, where the name is a relative path from which the result is named;
            and (path, reason) for each file skipped.
        """
        paths, skipped = find(source, lambda path: None if path.suffix.lower() in self.suffixes else self._not_one())
        return [(path, relative(path, source)) for path in paths], skipped

    def file_name(self, name: Path) -> Path:
        """Return the file name of the result for an input of this name; a suffix in `suffixes` is kept."""
        return name if name.suffix.lower() in self.suffixes else Path(f"{name}{self.suffixes[0]}")

    def release(self, values: Tensor) -> Any:
        """Return `n` samples [n, ...] as an iterable, as returned by `i2i.sample`."""
        return [self.restore(values[i : i + 1]) for i in range(len(values))]

    def gather(self, things: Any) -> Tensor:
        """Return one input, or a list of them, as a batch [N, ...] for `Task.encode`."""
        import torch

        given = things if isinstance(things, list | tuple) else [things]
        if not given:
            raise DataError(f"no {self.plural} given")
        return torch.cat([self.take(thing).values for thing in given])

    def sized(self, values: Tensor) -> Tensor:
        """Resize values [N, ...] from a data set to the size that the task encodes."""
        return values

    def accept(self, values: Any, who: str) -> Tensor:
        """Check the output of a network and return it on the CPU, floats as float32.

        Args:
            values: the output.
            who: the call that returned it, e.g. "CycleGAN.translate", for messages.

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
            raise NumericError(f"{who} returned values that are not finite")
        return values.float()

    def unlike(self, values: Any) -> str:
        """Return what a batch of this modality is, if `values` of a data set are nothing of the kind, or ""."""
        return ""

    def fit(self, batch: dict[str, Any], source: str) -> tuple[dict[str, Any], Undo]:
        """Fit a batch to what the network accepts, e.g. pad to multiples of eight.

        Args:
            batch: values by name; not modified.
            source: the name of the entry to translate.

        Returns:
            The fitted batch, and `undo(made, makes, who)`, which undoes this in a result of the modality `makes` (and
            raises PluginError, naming `who`, if the result does not match the input).
        """
        return batch, lambda made, makes, who: made

    def tiler(self, translate: Translate, like: Tensor, makes: Modality) -> Callable[..., Translate]:
        """Return `tiled(translate, tile, depth=None, check=None)`, which translates large inputs in tiles.

        The result is that of the whole. With `depth`, uint8 or uint16, it is `i2i.images.levels`; `check` is given
        each part of the result, and returns it. See `i2i.images.Tiler` and `i2i.staged.Staged`, which have another
        option, `keep`, and say so by an attribute `keeps`.

        Args:
            translate: the network, which is measured once.
            like: any fitted input.
            makes: the modality of the result.

        Raises:
            ConfigError: tiling is not possible.
        """
        raise ConfigError(f"{self.plural} cannot be cut into tiles: do not use --tile")

    def then(self, makes: Modality) -> Modality:
        """Return what a chain of two tasks makes, of which the first makes this and the second `makes`."""
        return makes

    def receive(self, values: Tensor, made: Modality, like: Any = None) -> Tensor:
        """Convert the result of a task into the input of the next one of a chain, which takes this modality.

        Args:
            values: the result, [N, ...] as returned by `accept`.
            made: what the chain makes up to here; see `then`.
            like: `Taken.like` of the input of the chain.
        """
        return values

    def _not_one(self) -> str:
        return f"not a {self.name} (possible: {', '.join(self.suffixes)})"


def relative(path: Path, source: str) -> Path:
    """Return the name of a file found in `source`: its path relative to a folder, else its file name."""
    return path.relative_to(source) if Path(source).is_dir() else Path(path.name)


def columns(shown: Mapping[str, Any], makes: Modality) -> dict[str, np.ndarray]:
    """Draw the result of `Task.pictures`, each column with its own modality.

    Args:
        shown: by name, a tensor [N, ...] of the modality `makes`, or a pair (modality, tensor).
        makes: the modality that the task makes.
    """
    pairs = {name: value if isinstance(value, tuple) else (makes, value) for name, value in shown.items()}
    return {name: modality.show(values) for name, (modality, values) in pairs.items()}
