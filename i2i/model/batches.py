"""A model as a step of a data pipeline, on one machine or many: `BatchTranslator("upscale-x2")`.

import ray
pictures = ray.data.read_images("photos", include_paths=True)
pictures.map_batches(i2i.BatchTranslator("upscale-x2"), batch_size=8).write_images("large", column="image")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, I2IError
from ..task import Task
from . import chain
from .loading import Plugins, load
from .trained import Model

Batch = dict[str, Any]


class BatchTranslator:
    """Translates one column of a batch, and keeps the others.

    It can be sent to other processes and machines: only the name of the model travels, and each process loads it when
    it gets its first batch. i2i and the weights must be there, under the same path or name.

    Args:
        model: what `load` takes. A path is made absolute.
        column: what is translated; by default "image", as `ray.data.read_images` calls it.
        to: the column of the results; by default they replace what was translated.
        plugin: as for `load`; a path is made absolute.
        device: as for `load`.
        condition: as for `Model`, e.g. `tile=256` or `direction="BtoA"`.

    Raises:
        WeightsError, ConfigError: there is no such model.

    Example:
        >>> i2i.BatchTranslator("upscale-x2")({"image": np.zeros((4, 8, 8, 3), np.uint8)})["image"].shape
        (4, 16, 16, 3)
    """

    def __init__(
        self,
        model: str | Path,
        column: str = "image",
        to: str | None = None,
        *,
        plugin: Plugins = None,
        device: str = "auto",
        **condition: Any,
    ) -> None:
        paths = [(str(name), Path(name).expanduser()) for name in chain.parts_of(model)]
        named = [str(path.absolute()) if path.exists() else name for name, path in paths]
        self.model, self.column, self.to = " | ".join(named), column, to or column
        files = [plugin] if isinstance(plugin, str | Path) else plugin or []
        self.plugin = [Path(file).absolute() for file in files]
        self.device, self.condition = device, condition
        task = load(self.model, self.plugin, device="cpu").task  # reports mistakes here, not on another machine
        if type(task).translate is Task.translate:
            raise ConfigError(f"{model} does not translate, it makes samples: use i2i.sample")
        self._loaded: Model | None = None

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with its translations.

        Args:
            batch: columns of N rows: arrays [N, H, W, C] or [N, H, W], uint8, uint16 or float, as `Model` takes them
                one by one; or arrays of objects, for rows of different sizes or of encoded bytes.

        Returns:
            The same columns, and the results: an array [N, ...] if all have one shape, else an array of N objects.

        Raises:
            ConfigError: there is no such column.
            I2IError: a row cannot be translated; the message has its number in the batch.
        """
        if self.column not in batch:
            raise ConfigError(
                f"there is no column '{self.column}' in the batch, only {', '.join(batch)}: set column="
            )
        if self._loaded is None:
            self._loaded = load(self.model, self.plugin, device=self.device)
        results = []
        for number, row in enumerate(batch[self.column]):
            try:
                results.append(np.asarray(self._loaded(row, **self.condition)))
            except I2IError as error:
                error.args = (f"row {number} of the batch: {error}",)
                raise
        return {**batch, self.to: joined(results)}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}


def joined(results: list[np.ndarray]) -> np.ndarray:
    """Return arrays as one [N, ...], or as N objects if their shapes differ."""
    if len({result.shape for result in results}) == 1:
        return np.stack(results)
    found = np.empty(len(results), dtype=object)
    found[:] = results
    return found
