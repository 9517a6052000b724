"""What can be done in a latent space: sample, interpolate, traverse, reconstruct, compare, add up, edit.

    model = i2i.load("runs/faces_vae")
    learned = i2i.latent.learn(model)                                        # directions, from labelled examples
    z = i2i.latent.encode(model, "photo.png")                                # a code
    out = i2i.latent.decode(model, z + 2 * learned.along("smile"))           # [1, 3, H, W] in [0, 1]

Works on every model whose task has `encode`, `decode` and `prior`, or some of them; what a task lacks is said in one
sentence. Codes are float32 [N, ...] on the CPU, as the task shapes them. Pictures come in any kind that
`i2i.images.take` takes, and go out as float32 [..., C, H, W] in [0, 1], like those of `i2i.sample`. The command is
`i2i latent ...` (plugins/i2i_latent).
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import interpolate as resized

from . import config, files, images
from .api import Model, device_of
from .data.base import Data
from .errors import ConfigError, DataError, NumericError, ResourceError
from .plugins import door
from .task import Task

Way = Literal["linear", "spherical"]
Method = Literal["regression", "means"]
Space = Literal["latent", "pixel"]

BATCH = 64  # pictures or codes that go through a network at a time
LUMA = (0.299, 0.587, 0.114)  # BT.601, as Pillow converts to grey
CLAIMS = {
    "encode": "encode pictures",
    "decode": "decode codes",
    "prior": "draw codes",
}


# ------------------------------------------------------------------------------------- pictures <-> codes


def can(model: Model, *what: str) -> bool:
    """Say whether a model's task has all of `what`: "encode", "decode", "prior", "sample"."""
    return all(getattr(type(model.task), name) is not getattr(Task, name) for name in what)


def need(model: Model, *what: str) -> None:
    """Raise ConfigError unless the task has all of `what`, and say what is possible instead."""
    lacking = [CLAIMS[name] for name in what if not can(model, name)]
    if not lacking:
        return
    if can(model, "decode", "prior"):
        rest = "possible are sample, interpolate, traverse, and neighbours in pixels, without pictures of yours"
    elif can(model, "encode", "decode"):
        rest = "possible is what starts from pictures: interpolate, traverse, reconstruct, neighbours, edit"
    else:
        rest = "it has no latent space: use a model of a task that has one, such as vae"
    raise ConfigError(f"{model.source}: {type(model.task).__name__} cannot {' or '.join(lacking)}; {rest}")


def prepared(model: Model, pictures: Any) -> Tensor:
    """Return pictures as the model's task takes them: float32 [N, C, H, W] in [-1, 1].

    Args:
        model: its task says how many channels and pixels: colour becomes grey where there is one channel, and a
            picture is resized until it covers the size, of which the middle is kept.
        pictures: one of any kind that `i2i.images.take` takes, a batch [N, C, H, W] in [0, 1], or a list of these.

    Raises:
        DataError: one cannot be read, or they differ in size where the task takes any size.
    """
    given = pictures if isinstance(pictures, list | tuple) else [pictures]
    taken = [fitted(images.take(picture).tensor, model.task) for picture in given]
    if not taken:
        raise DataError("no pictures are given")
    sizes = sorted({tuple(picture.shape[2:]) for picture in taken})
    if len(sizes) > 1:
        shown = ", ".join(f"{height}x{width}" for height, width in sizes)
        raise DataError(f"the pictures differ in size ({shown}) and the model takes any: give them one size")
    return torch.cat(taken)


def fitted(x: Tensor, task: Task) -> Tensor:
    """Return images [N, 3 or 1, H, W] in [-1, 1] with the channels and the size of a task."""
    if task.channels == 1 and x.shape[1] == 3:
        x = (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    elif task.channels == 3:
        x = x.expand(-1, 3, -1, -1)
    old = x.shape[-2:]
    if task.size is None:
        height, width = (max(side // task.multiple, 1) * task.multiple for side in old)
    else:
        height = width = task.size
    scale = max(height / old[0], width / old[1]) if task.size else 1.0
    wanted = max(height, round(old[0] * scale)), max(width, round(old[1] * scale))
    if wanted != tuple(old):
        x = resized(x, wanted, mode="bilinear", antialias=True, align_corners=False)
    top, left = (wanted[0] - height) // 2, (wanted[1] - width) // 2
    return x[..., top : top + height, left : left + width]


def unit(x: Tensor) -> Tensor:
    """Return images in [-1, 1] as float32 in [0, 1], on the CPU."""
    return ((x.float() + 1) / 2).clamp(0, 1).cpu()


def encode(model: Model, pictures: Any) -> Tensor:
    """Return the codes [N, ...] of pictures; see `prepared` for what they may be.

    Raises:
        ConfigError: the task cannot encode.
        DataError: a picture cannot be read.
    """
    need(model, "encode")
    return _encoded(model, prepared(model, pictures))


def _encoded(model: Model, x: Tensor) -> Tensor:
    task, device = model.task.eval(), device_of(model.task)
    with torch.inference_mode():
        z = torch.cat([task.encode(part.to(device)).cpu() for part in x.split(BATCH)])
    if not z.is_floating_point():
        raise ConfigError(
            f"{model.source}: the codes of {type(task).__name__} are whole numbers ({z.dtype}), which cannot be "
            f"moved or mixed: use a model of a task with continuous codes, such as vae"
        )
    return z.float().clone()


def prior(model: Model, n: int, seed: int = 0, **condition: Any) -> Tensor:
    """Return `n` codes [n, ...], drawn as `sample` draws its own; the same seed gives the same ones."""
    need(model, "prior", "decode")
    mine, _ = divided(model, condition)
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(seed)
        return model.task.eval().prior(n, **mine).float().cpu().clone()


def decode(model: Model, z: Tensor, seed: int = 0, **condition: Any) -> Tensor:
    """Return the pictures [N, C, H, W] in [0, 1] of codes [N, ...].

    Args:
        model: its task decodes.
        z: codes, float32 [N, ...].
        seed: of what the task itself draws, such as a label that is not given.
        condition: what `prior` or `decode` of the task take besides, such as `label=3`.

    Raises:
        ConfigError: the task cannot decode, or does not know a condition.
        NumericError: the codes lead to values that are not finite.
    """
    return decode_paths(model, z[:, None], seed, **condition)[:, 0]


def decode_paths(model: Model, z: Tensor, seed: int = 0, **condition: Any) -> Tensor:
    """Return the pictures [N, steps, C, H, W] in [0, 1] of codes [N, steps, ...].

    What the task draws itself, such as a label that is not given, stays the same along a path.
    """
    need(model, "decode")
    _, rest = divided(model, condition)
    task, device = model.task.eval(), device_of(model.task)
    steps = []
    with torch.inference_mode(), torch.random.fork_rng():
        for step in z.unbind(1):
            torch.manual_seed(seed)
            steps.append(torch.cat([unit(task.decode(part.to(device), **rest)) for part in step.split(BATCH)]))
    shown = torch.stack(steps, 1).clone()
    if not shown.isfinite().all():
        raise NumericError(
            f"{model.source}: the pictures hold values that are not finite; are codes and weights whole?"
        )
    return shown


def divided(model: Model, condition: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return which conditions are for the task's `prior` and which for its `decode`.

    Raises:
        ConfigError: one is for neither.
    """
    known = []
    for method in (model.task.prior, model.task.decode):
        _, *parameters = inspect.signature(method).parameters.values()
        known.append([p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD])
    for name in condition:
        if name not in known[0] + known[1]:
            raise ConfigError(
                f"{type(model.task).__name__} knows no condition '{name}' for its codes; "
                f"possible: {', '.join(dict.fromkeys(known[0] + known[1])) or 'none'}"
            )
    first, second = ({name: condition[name] for name in names if name in condition} for names in known)
    return first, second


# -------------------------------------------------------------------------------------------- paths and planes


def between(a: Tensor, b: Tensor, steps: int = 8, path: Way = "linear") -> Tensor:
    """Return codes [N, steps, ...] from a [N, ...] to b [N, ...], both included.

    Args:
        a, b: codes of the same shape.
        steps: codes on each path, 2 or more.
        path: "linear", or "spherical" along the great circle, which keeps the length that codes of a Gaussian in
            many dimensions have. Codes that point the same way, or opposite ways, are joined by a line.

    Raises:
        ConfigError: fewer than 2 steps, another path, different shapes.

    Source: spherical arXiv:1609.04468, section 2.1.

    Example:
        >>> between(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 3, "spherical")[0, 1]
        tensor([0.7071, 0.7071])
    """
    if steps < 2:
        raise ConfigError(f"{steps} steps make no path: give 2 or more")
    if path not in get_args(Way):
        raise ConfigError(f"path '{path}' is not known: use {' or '.join(get_args(Way))}")
    if a.shape != b.shape:
        raise ConfigError(f"codes of the shapes {list(a.shape)} and {list(b.shape)} have no path between them")
    t = torch.linspace(0, 1, steps, dtype=torch.float64)[None, :, None]
    first, last = a.flatten(1)[:, None].double(), b.flatten(1)[:, None].double()
    line = (1 - t) * first + t * last
    if path == "spherical":
        cosine = torch.nn.functional.cosine_similarity(first, last, dim=-1)[..., None]
        angle = cosine.clamp(-1, 1).acos()
        arc = (((1 - t) * angle).sin() * first + (t * angle).sin() * last) / angle.sin()
        line = torch.where(angle.sin() > 1e-4, arc, line)
    return line.float().unflatten(2, a.shape[1:])


def interpolate(model: Model, a: Tensor, b: Tensor, steps: int = 8, path: Way = "linear", **condition: Any) -> Tensor:
    """Return the pictures [N, steps, C, H, W] in [0, 1] between codes a and b [N, ...]; see `between`."""
    return decode_paths(model, between(a, b, steps, path), **condition)


def quantiles(n: int) -> Tensor:
    """Return the middles of `n` equally likely parts of N(0, 1), [n] from low to high."""
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return (math.sqrt(2) * torch.erfinv(2 * middles - 1)).float()


def traverse(model: Model, z: Tensor, axes: Sequence[int] = (0,), steps: int = 8, **condition: Any) -> Tensor:
    """Return the pictures of a code of which one number, or two, are set to the quantiles of N(0, 1).

    Args:
        model: its task decodes codes whose numbers are about N(0, 1).
        z: codes [N, ...]; for two axes one code.
        axes: which number, or which two, counted from 0 through the flattened code.
        steps: quantiles along each axis.

    Returns:
        [N, steps, C, H, W] in [0, 1] for one axis; [steps, steps, C, H, W] for two, the first axis to the right, the
        second downwards.

    Raises:
        ConfigError: no such axis, or not one or two of them.

    Source: arXiv:1312.6114, figure 4.
    """
    size = z[0].numel()
    if len(axes) not in (1, 2) or len(set(axes)) < len(axes):
        raise ConfigError(f"{list(axes)} are not one axis or two: name one number of the code, or two different ones")
    for axis in axes:
        if not 0 <= axis < size:
            raise ConfigError(f"axis {axis} is not in the code of {type(model.task).__name__}: use 0 to {size - 1}")
    if len(axes) == 2 and len(z) != 1:
        raise ConfigError(f"{len(z)} codes have no plane in common: give one code for two axes")
    values = quantiles(steps)
    codes = z.flatten(1)[:, None].repeat(steps if len(axes) == 2 else 1, steps, 1)
    codes[..., axes[0]] = values
    if len(axes) == 2:
        codes[..., axes[1]] = values[:, None]
    return decode_paths(model, codes.unflatten(2, z.shape[1:]), **condition)


def reconstruct(model: Model, pictures: Any, **condition: Any) -> Tensor:
    """Return pictures [N, C, H, W] in [0, 1], encoded and decoded again."""
    need(model, "encode", "decode")
    return decode(model, encode(model, pictures), **condition)


# --------------------------------------------------------------------------------------------- the examples


def data_of(model: Model, root: str | None = None) -> Data:
    """Return the data set that a model was trained on, as its config names it.

    Args:
        model: its config says which.
        root: where its files lie now, if they were moved.

    Raises:
        ConfigError: the config does not fit what is installed, or the data set has no files whose place could change.
        DataError: the files are not there.
    """
    data = model.config.get("data") or {}
    if root is not None:
        if "root" not in data:
            raise ConfigError(f"{model.source}: was trained on {data.get('use')}, which needs no files: give no root")
        data = {**data, "root": root}
    return config.from_dict({**model.config, "data": data, "metrics": []}, door().catalog, str(model.source)).data()


def batches(model: Model, data: Data, n: int | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (numbers [B], pictures [B, C, H, W] in [-1, 1], attributes [B, K]) of training samples, evenly spread.

    Attributes are those of the data set in [0, 1]; where it has classes, 1 for the own and 0 for the others.

    Raises:
        ConfigError: its samples have no "image".
    """
    count = min(n or len(data), len(data))
    chosen = torch.arange(count) * len(data) // count
    names = attributes_of(data)
    for part in chosen.split(BATCH):
        samples = [data.sample(int(i), np.random.default_rng(int(i))) for i in part]
        if "image" not in samples[0]:
            raise ConfigError(f'samples of {model.source} have no "image", but {", ".join(samples[0])}')
        values = torch.zeros(len(part), len(names))
        if "attributes" in samples[0]:
            values = torch.stack([sample["attributes"] for sample in samples]).float()
        elif names:
            values[torch.arange(len(part)), torch.stack([sample["label"] for sample in samples])] = 1
        yield part, fitted(torch.stack([sample["image"] for sample in samples]), model.task), values


def attributes_of(data: Data) -> tuple[str, ...]:
    """Return the names of what is known about each picture: its attributes, or else the classes."""
    return tuple(getattr(data, "attributes", ())) or tuple(getattr(data, "classes", ()))


class Neighbours(NamedTuple):
    """The nearest training pictures.

    Attributes:
        numbers: theirs in the data set, int64 [N, k], nearest first.
        distance: [N, k]: between codes (Euclid), or between pixels in [0, 1] (root of the mean square).
        pictures: themselves, [N, k, C, H, W] in [0, 1].
    """

    numbers: Tensor
    distance: Tensor
    pictures: Tensor


def neighbours(model: Model, pictures: Any, data: Data, k: int = 5, space: Space = "latent") -> Neighbours:
    """Find the training pictures that are nearest to others.

    Args:
        model: in the latent space, its task encodes.
        pictures: see `prepared`.
        data: the data set, as `data_of(model)`.
        k: how many.
        space: compare "latent" codes or "pixel"s.

    Raises:
        ConfigError: the task cannot encode, or no such space.
        DataError: a picture cannot be read.
    """
    if space not in get_args(Space):
        raise ConfigError(f"space '{space}' is not known: use {' or '.join(get_args(Space))}")
    if space == "latent":
        need(model, "encode")
    x = prepared(model, pictures)

    def place(x: Tensor) -> Tensor:
        return _encoded(model, x).flatten(1) if space == "latent" else x.flatten(1) / (2 * math.sqrt(x[0].numel()))

    # Keep the best k while going through the data once.
    here = place(x)
    best = torch.full((len(x), 0), math.inf)
    index = torch.zeros(len(x), 0, dtype=torch.long)
    for numbers, images_, _ in batches(model, data):
        best = torch.cat([best, torch.cdist(here, place(images_), compute_mode="donot_use_mm_for_euclid_dist")], 1)
        index = torch.cat([index, numbers.expand(len(x), -1)], 1)
        best, order = best.topk(min(k, best.shape[1]), 1, largest=False)
        index = index.gather(1, order)
    found = {int(i): data.sample(int(i), np.random.default_rng(int(i)))["image"] for i in index.unique()}
    rows = [fitted(torch.stack([found[int(i)] for i in row]), model.task) for row in index]
    return Neighbours(index, best, unit(torch.stack(rows)))


def arithmetic(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return a - b + c [1, ...], where each is the average of codes [N, ...].

    Source: arXiv:1511.06434, figure 7: "smiling woman - neutral woman + neutral man", each of several examples.
    """
    return a.mean(0, keepdim=True) - b.mean(0, keepdim=True) + c.mean(0, keepdim=True)


# ------------------------------------------------------------------------------------ directions and editing


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
                f"attribute '{attribute}' is not known{f', did you mean {near[0]}?' if near else ''} "
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
        centred = (values - values.mean(0)).double()
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
    """
    flat = vectors.flatten(1).double()
    kept = []
    for k, vector in enumerate(flat):
        others = torch.cat([flat[:k], flat[k + 1 :]])
        kept.append(vector - others.T @ torch.linalg.lstsq(others.T, vector[:, None], driver="gelsd").solution[:, 0])
    return torch.stack(kept).float().unflatten(1, vectors.shape[1:])


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
        n: how many training pictures at most, evenly spread.
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
        codes.append(_encoded(model, x))
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
    return hashlib.sha256(json.dumps([weights, data, n], sort_keys=True).encode()).hexdigest()


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
