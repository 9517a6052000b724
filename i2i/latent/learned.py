"""Directions of attributes, learned from labelled examples and kept beside the weights, and editing along them."""

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
FORM = 3  # of what is kept; another one makes directions anew, as when how they are computed was mended


class Learned(NamedTuple):
    """What attributes are in a latent space.

    Attributes:
        attributes: their names.
        vectors: [K, ...]: what is added to a code for an attribute to go from 0 to 1.
        fit: [K]: the correlation of an attribute with where codes lie along its vector, -1 to 1.
        examples: how many there were.
    """

    attributes: tuple[str, ...]
    vectors: Tensor
    fit: Tensor
    examples: int

    def along(self, attribute: str) -> Tensor:
        """Return the vector of one attribute, shaped like a code.

        Raises:
            ConfigError: it is not known.
        """
        if attribute not in self.attributes:
            near = difflib.get_close_matches(attribute, self.attributes, n=1)
            raise ConfigError(
                f"attribute '{attribute}' is not known{f', did you mean {near[0]}?' if near else '.'} "
                f"Possible: {', '.join(self.attributes)}"
            )
        return self.vectors[self.attributes.index(attribute)]


def directions(z: Tensor, values: Tensor, method: Method = "regression") -> Tensor:
    """Return what is added to a code for each attribute to go from 0 to 1: [K, ...].

    Args:
        z: codes [N, ...].
        values: attributes [N, K].
        method: "regression" explains the codes by all attributes together (least squares), so that an attribute that
            often comes with another does not take its part; "means" subtracts the mean code of those below the middle
            of the attribute's range from that of those above.

    Raises:
        ConfigError: another method, or an attribute that is the same in all examples.
    """
    if method not in get_args(Method):
        raise ConfigError(f"method '{method}' is not known: use {' or '.join(get_args(Method))}")
    low, high = values.amin(0), values.amax(0)
    if (low == high).any():
        raise ConfigError("an attribute is the same in all examples, so nothing can be learned about it: use more")
    flat = z.flatten(1).double()
    if method == "regression":
        # In double precision from the start: a mean in single precision leaves classes a sum that is not quite 0.
        centred = values.double() - values.double().mean(0)
        # Classes add up to 1, so the least squares need the solution that is the shortest.
        found = torch.linalg.lstsq(centred, flat - flat.mean(0), driver="gelsd").solution
    else:
        above = (values > (low + high) / 2).double()
        shares = above / above.sum(0) - (1 - above) / (1 - above).sum(0)  # weights of a difference of means
        found = shares.T @ flat / (shares * values.double()).sum(0)[:, None]
    return found.float().unflatten(1, z.shape[1:])


def orthogonal(vectors: Tensor) -> Tensor:
    """Return vectors [K, ...] of which each has lost what it shares with all the others.

    An edit with one of these does not move a code along the other directions, and is the weaker for it.

    Raises:
        ConfigError: one lies in what the others span, as with classes, and nothing of it would be left.
    """
    flat = vectors.flatten(1).double()
    kept = []
    for k, vector in enumerate(flat):
        others = torch.cat([flat[:k], flat[k + 1 :]])
        kept.append(vector - others.T @ torch.linalg.lstsq(others.T, vector[:, None], driver="gelsd").solution[:, 0])
    left = torch.stack(kept)
    if (left.norm(dim=1) < 1e-4 * flat.norm(dim=1)).any():
        raise ConfigError(
            "nothing is left of a direction without what it shares with the others, as with classes, each of which "
            "is what the others are not: leave `apart` away"
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
    """Learn the directions of attributes from the labelled examples that a model was trained on.

    They are computed once and kept beside the weights, in `directions.safetensors`. Other weights, another config or
    another number of examples make them anew.

    Args:
        model: its task encodes, its config names a data set with attributes or classes.
        method: see `directions`.
        apart: take from each direction what it shares with the others; see `orthogonal`.
        root: where the files of the data set lie now, if they were moved.
        n: how many training pictures at most, drawn from all.
        keep: False neither reads nor writes the file.

    Raises:
        ConfigError: the task cannot encode, or nothing is known about its pictures.
    """
    need(model, "encode")
    if method not in get_args(Method):
        raise ConfigError(f"method '{method}' is not known: use {' or '.join(get_args(Method))}")
    file = model.source.parent / "directions.safetensors"
    key = _key(model, n) if keep else ""
    kept = _read(file, key) if keep else None
    if kept is None:
        kept = _measured(model, data_of(model, root), n)
        if keep:
            _keep(file, kept, key)
    names = tuple(json.loads(kept[1]["attributes"]))
    vectors = kept[0][method]
    return Learned(
        names, orthogonal(vectors) if apart else vectors, kept[0][f"{method} fit"], int(kept[1]["examples"])
    )


Kept = tuple[dict[str, Tensor], dict[str, str]]


def _measured(model: Model, data: Data, n: int) -> Kept:
    """Return the directions by each method, and their fits."""
    names = attributes_of(data)
    if not names:
        raise ConfigError(
            f"{model.source}: was trained on {model.config['data'].get('use')}, which tells nothing about its "
            f"pictures: directions need a data set with attributes or classes, such as faces"
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
    """Return a hash of the weights, of the config and of how many examples are asked for."""
    weights = hashlib.sha256(model.source.read_bytes()).hexdigest()
    data = {name: value for name, value in (model.config.get("data") or {}).items() if name != "root"}
    return hashlib.sha256(json.dumps([FORM, weights, data, n], sort_keys=True).encode()).hexdigest()


def _read(file: Path, key: str) -> Kept | None:
    """Return what the file holds, or None where there is none that fits."""
    try:
        with safe_open(file, "pt") as source:
            about = source.metadata() or {}
            if about.get("key") == key:
                return {name: source.get_tensor(name) for name in source.keys()}, about  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):
        pass
    return None


def _keep(file: Path, kept: Kept, key: str) -> None:
    try:
        files.write(file, save({name: t.contiguous() for name, t in kept[0].items()}, {**kept[1], "key": key}))
    except ResourceError as error:
        print(f"i2i: the directions are not kept: {error}", file=sys.stderr)


def edit(model: Model, pictures: Any, vector: Tensor, amounts: Sequence[float] = (1.0,), **condition: Any) -> Tensor:
    """Return pictures [N, len(amounts), C, H, W] in [0, 1], moved along a vector: encode, z, move it, decode.

    Args:
        model: its task encodes and decodes.
        pictures: see `prepared`.
        vector: shaped like a code, as `learn(model).along("smile")`.
        amounts: how far: 0 leaves the code where it is, 1 adds the vector, 2 exaggerates, -1 goes the other way.
    """
    need(model, "encode", "decode")
    z = encode(model, pictures)
    if vector.shape != z.shape[1:]:
        raise ConfigError(f"a vector of shape {list(vector.shape)} does not fit codes of {list(z.shape[1:])}")
    far = torch.tensor(amounts, dtype=torch.float32).reshape(-1, *[1] * vector.ndim)
    return decode_paths(model, z[:, None] + far * vector, **condition)
