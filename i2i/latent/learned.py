"""Attribute directions: learned from labelled examples, cached next to the weights, and used for editing."""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .. import files
from ..data.base import Data
from ..errors import ConfigError, ResourceError
from ..model import Model
from .codes import decode_paths, encode, encoded, need
from .examples import attributes_of, batches, data_of

Method = Literal["regression", "means"]
VERSION = 3  # of the cached file; increased whenever the computation changes, so that old files are ignored


class Learned(NamedTuple):
    """The directions of attributes in a latent space.

    Attributes:
        attributes: names of the K attributes.
        vectors: [K, ...], each the change of a code that takes an attribute from 0 to 1.
        fit: [K], correlation in [-1, 1] between an attribute and the projection of codes onto its vector.
        examples: number of training images used.
    """

    attributes: tuple[str, ...]
    vectors: Tensor
    fit: Tensor
    examples: int

    def along(self, attribute: str) -> Tensor:
        """Return the vector of one attribute, shaped like a code.

        Raises:
            ConfigError: unknown attribute.
        """
        if attribute not in self.attributes:
            near = difflib.get_close_matches(attribute, self.attributes, n=1)
            raise ConfigError(
                f"unknown attribute '{attribute}'{f', did you mean {near[0]}?' if near else '.'} "
                f"Possible: {', '.join(self.attributes)}"
            )
        return self.vectors[self.attributes.index(attribute)]


def directions(z: Tensor, values: Tensor, method: Method = "regression") -> Tensor:
    """Return for each attribute the change of a code that takes it from 0 to 1: [K, ...].

    Args:
        z: codes [N, ...].
        values: attributes [N, K].
        method: "regression" predicts the codes from all attributes jointly (least squares), which separates
            correlated attributes; "means" is the difference of the mean codes above and below the middle of an
            attribute's range, scaled to a change of 1.

    Raises:
        ConfigError: unknown method, or an attribute that is constant over the examples.
    """
    if method not in get_args(Method):
        raise ConfigError(f"unknown method '{method}': use {' or '.join(get_args(Method))}")
    low, high = values.amin(0), values.amax(0)
    if (low == high).any():
        raise ConfigError("an attribute is the same in all examples, so it has no direction: use more examples")
    flat = z.flatten(1).double()
    if method == "regression":
        # In double precision from the start: after a single precision mean, centred classes do not quite sum to 0.
        centred = values.double() - values.double().mean(0)
        # One-hot classes sum to 1, so the system is rank-deficient: gelsd finds the minimum-norm solution.
        found = torch.linalg.lstsq(centred, flat - flat.mean(0), driver="gelsd").solution
    else:
        above = (values > (low + high) / 2).double()
        shares = above / above.sum(0) - (1 - above) / (1 - above).sum(0)  # weights of a difference of means
        found = shares.T @ flat / (shares * values.double()).sum(0)[:, None]
    return found.float().unflatten(1, z.shape[1:])


def orthogonal(vectors: Tensor) -> Tensor:
    """Project each of the vectors [K, ...] onto the orthogonal complement of all the others.

    Editing with the result does not move a code along the other directions, but has a weaker effect.

    Raises:
        ConfigError: a vector is in the span of the others, as with classes.
    """
    flat = vectors.flatten(1).double()
    residuals = []
    for k, vector in enumerate(flat):
        others = torch.cat([flat[:k], flat[k + 1 :]])
        shared = others.T @ torch.linalg.lstsq(others.T, vector[:, None], driver="gelsd").solution[:, 0]
        residuals.append(vector - shared)
    left = torch.stack(residuals)
    if (left.norm(dim=1) < 1e-4 * flat.norm(dim=1)).any():
        raise ConfigError(
            "a direction is a linear combination of the others, as is always the case with classes, so no part "
            "of it is orthogonal to them: do not use `apart`"
        )
    return left.float().unflatten(1, vectors.shape[1:])


def learn(
    model: Model,
    method: Method = "regression",
    apart: bool = False,
    root: str | None = None,
    n: int = 4000,
    keep: bool = True,
) -> Learned:
    """Learn attribute directions from the labelled examples that a model was trained on.

    They are computed once and cached next to the weights in `directions.safetensors`. They are recomputed if the
    weights, the data of the config or the number of examples change.

    Args:
        model: a model whose task can encode and whose data set has attributes or classes.
        method: see `directions`.
        apart: make each direction orthogonal to the others; see `orthogonal`.
        root: the new folder of the data set, if it was moved.
        n: maximum number of training images, a random subset.
        keep: whether to read and write the cached file.

    Raises:
        ConfigError: the task cannot encode, or the data set has no attributes.
    """
    need(model, "encode")
    if method not in get_args(Method):
        raise ConfigError(f"unknown method '{method}': use {' or '.join(get_args(Method))}")
    file = model.source.parent / "directions.safetensors"
    key = _key(model, n) if keep else ""
    cached = _read(file, key) if keep else None
    if cached is None:
        cached = _compute(model, data_of(model, root), n)
        if keep:
            _save(file, cached, key)
    names = tuple(json.loads(cached[1]["attributes"]))
    vectors = cached[0][method]
    return Learned(
        names, orthogonal(vectors) if apart else vectors, cached[0][f"{method} fit"], int(cached[1]["examples"])
    )


Cached = tuple[dict[str, Tensor], dict[str, str]]


def _compute(model: Model, data: Data, n: int) -> Cached:
    """Compute the directions and their fits with each method."""
    names = attributes_of(data)
    if not names:
        raise ConfigError(
            f"{model.source}: was trained on {model.config['data'].get('use')}, which has no attributes or classes: "
            f"directions need a data set that does, e.g. faces"
        )
    codes, known = [], []
    for _, x, values in batches(model, data, n):
        codes.append(encoded(model, x))
        known.append(values)
    z, values = torch.cat(codes), torch.cat(known)
    tensors: dict[str, Tensor] = {}
    for method in get_args(Method):
        vectors = directions(z, values, method)
        along = z.flatten(1) @ vectors.flatten(1).T
        both = torch.stack([along.T, values.T], 1)  # [K, 2, N]
        tensors |= {method: vectors, f"{method} fit": torch.stack([pair.corrcoef()[0, 1] for pair in both])}
    return tensors, {"attributes": json.dumps(names), "examples": str(len(z))}


def _key(model: Model, n: int) -> str:
    """Return a hash of the weights, the data section of the config and the number of examples."""
    weights = hashlib.sha256(model.source.read_bytes()).hexdigest()
    data = {name: value for name, value in (model.config.get("data") or {}).items() if name != "root"}
    return hashlib.sha256(json.dumps([VERSION, weights, data, n], sort_keys=True).encode()).hexdigest()


def _read(file: Path, key: str) -> Cached | None:
    """Return the contents of the file, or None if it is missing, unreadable or has another key."""
    try:
        with safe_open(file, "pt") as source:
            about = source.metadata() or {}
            if about.get("key") == key:
                return {name: source.get_tensor(name) for name in source.keys()}, about  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):
        pass
    return None


def _save(file: Path, cached: Cached, key: str) -> None:
    try:
        files.write(file, save({name: t.contiguous() for name, t in cached[0].items()}, {**cached[1], "key": key}))
    except ResourceError as error:
        print(f"i2i: the directions were not saved: {error}", file=sys.stderr)


def edit(model: Model, pictures: Any, vector: Tensor, amounts: Sequence[float] = (1.0,), **condition: Any) -> Tensor:
    """Edit images by moving their codes along a vector: images [N, len(amounts), C, H, W] in [0, 1].

    Args:
        model: a model whose task can encode and decode.
        pictures: see `prepared`.
        vector: shaped like a code, e.g. `learn(model).along("smile")`.
        amounts: multiples of the vector: 0 reconstructs, 1 adds it, 2 exaggerates, -1 subtracts it.
    """
    need(model, "encode", "decode")
    z = encode(model, pictures)
    if vector.shape != z.shape[1:]:
        raise ConfigError(f"a vector of shape {list(vector.shape)} does not fit codes of {list(z.shape[1:])}")
    offsets = torch.tensor(amounts, dtype=torch.float32).reshape(-1, *[1] * vector.ndim)
    return decode_paths(model, z[:, None] + offsets * vector, **condition)
