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
from .codes import can, decode_paths, encode, encoded, need
from .examples import attributes_of, batches, data_of
from .sampled import correlation, sampled

Method = Literal["regression", "means"]
VERSION = 4  # of the cached file; increased whenever the computation changes, so that old files are ignored


class Learned(NamedTuple):
    """The directions of attributes in a latent space.

    Attributes:
        attributes: names of the K attributes.
        vectors: [K, ...], each the change of a code that takes an attribute from 0 to 1.
        fit: [K], correlation in [-1, 1] between an attribute and the projection of codes onto its vector.
        examples: number of training images used.
        agreement: for a model that cannot encode, the correlation of each attribute with its predictions on held-out
            images, see `sampled`; otherwise empty.
        refused: for such a model, why an attribute has no direction, one sentence each.
    """

    attributes: tuple[str, ...]
    vectors: Tensor
    fit: Tensor
    examples: int
    agreement: dict[str, float]
    refused: dict[str, str]

    def along(self, attribute: str) -> Tensor:
        """Return the vector of one attribute, shaped like a code.

        Raises:
            ConfigError: unknown attribute, or one that has no direction.
        """
        if attribute in self.refused:
            raise ConfigError(self.refused[attribute])
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

    A model that can encode gives the codes of the training images. For others, such as GANs, codes are sampled, and
    the attributes of their images are predicted; see `sampled`.

    They are computed once and cached next to the weights in `directions.safetensors`. They are recomputed if the
    weights, the data of the config or the number of examples change.

    Args:
        model: a model that can encode, or decode and sample codes, and whose data set has attributes or classes.
        method: see `directions`.
        apart: make each direction orthogonal to the others; see `orthogonal`.
        root: the new folder of the data set, if it was moved.
        n: maximum number of training images, a random subset, and the number of sampled codes.
        keep: whether to read and write the cached file.

    Raises:
        ConfigError: the task can do neither, the data set has no attributes, or none of them has a direction.
    """
    if not can(model, "encode"):
        need(model, "decode", "prior")
    if method not in get_args(Method):
        raise ConfigError(f"unknown method '{method}': use {' or '.join(get_args(Method))}")
    file = _file(model)
    key = _key(model, n) if keep else ""
    found = _read(file, key) if keep else None
    if found is None:
        found = _compute(model, data_of(model, root), n)
        if keep:
            _save(file, found, key)
    return _learned(found, method, apart)


def cached(model: Model, n: int = 4000) -> Learned | None:
    """Return what `learn` has cached for this model and `n`, by the method "regression"; None if there is nothing."""
    found = _read(_file(model), _key(model, n))
    return None if found is None else _learned(found, "regression", False)


Cached = tuple[dict[str, Tensor], dict[str, str]]


def _learned(found: Cached, method: Method, apart: bool) -> Learned:
    tensors, about = found
    vectors = tensors[method]
    return Learned(
        tuple(json.loads(about["attributes"])),
        orthogonal(vectors) if apart else vectors,
        tensors[f"{method} fit"],
        int(about["examples"]),
        json.loads(about["agreement"]),
        json.loads(about["refused"]),
    )


def _compute(model: Model, data: Data, n: int) -> Cached:
    """Compute the directions and their fits with each method."""
    names = attributes_of(data)
    if not names:
        raise ConfigError(
            f"{model.source}: was trained on {model.config['data'].get('use')}, which has no attributes or classes: "
            f"directions need a data set that does, e.g. faces"
        )
    agreement: dict[str, float] = {}
    refused: dict[str, str] = {}
    if can(model, "encode"):
        codes, known = [], []
        for _, x, values in batches(model, data, n):
            codes.append(encoded(model, x))
            known.append(values)
        z, values = torch.cat(codes), torch.cat(known)
        examples = len(z)
    else:
        names, z, values, examples, agreement, refused = sampled(model, data, n)
    tensors: dict[str, Tensor] = {}
    for method in get_args(Method):
        vectors = directions(z, values, method)
        along = z.flatten(1) @ vectors.flatten(1).T
        tensors |= {method: vectors, f"{method} fit": correlation(along, values).float()}
    about = {"attributes": names, "examples": examples, "agreement": agreement, "refused": refused}
    return tensors, {name: json.dumps(value) for name, value in about.items()}


def _file(model: Model) -> Path:
    return model.source.parent / "directions.safetensors"


def _key(model: Model, n: int) -> str:
    """Return a hash of what the directions depend on: weights, data section of the config, and way of learning."""
    weights = hashlib.sha256(model.source.read_bytes()).hexdigest()
    data = {name: value for name, value in (model.config.get("data") or {}).items() if name != "root"}
    facts = [VERSION, weights, data, n, can(model, "encode")]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


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
    return move(model, encode(model, pictures), vector, amounts, **condition)


def move(
    model: Model, z: Tensor, vector: Tensor, amounts: Sequence[float] = (1.0,), seed: int = 0, **condition: Any
) -> Tensor:
    """Decode codes z [N, ...] moved along a vector: images [N, len(amounts), C, H, W] in [0, 1].

    Args:
        model: a model whose task can decode.
        z: codes, e.g. of `prior`.
        vector: as in `edit`.
        amounts: as in `edit`.
        seed: seed of what the task draws itself, as in `decode`; it is the same for all amounts.
        condition: as in `decode`.

    Raises:
        ConfigError: the vector does not fit the codes.
    """
    if vector.shape != z.shape[1:]:
        raise ConfigError(f"a vector of shape {list(vector.shape)} does not fit codes of {list(z.shape[1:])}")
    offsets = torch.tensor(amounts, dtype=torch.float32).reshape(-1, *[1] * vector.ndim)
    return decode_paths(model, z[:, None] + offsets * vector, seed, **condition)
