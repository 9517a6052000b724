"""The subcommands of `i2i latent`: one function each, whose arguments are the options it accepts."""

from __future__ import annotations

import inspect
import math
import operator
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2i import ConfigError, DataError, I2IError, Model, files, images, latent, load
from i2i.errors import counted
from i2i.modalities import Clip

Compare = Callable[[Any, Any], Any]

MOVING = {".gif": images.gif, ".mp4": images.mp4}
COMPARE: dict[str, Compare] = {"=": operator.eq, "<": operator.lt, ">": operator.gt}
LEAST = 128  # minimum size of a cell in a frame in pixels, as in a sheet


def run(what: str, source: str | None, given: dict[str, Any], condition: dict[str, Any], force: bool = False) -> None:
    """Run `what` with a model; the default output file is `<what>.png`.

    Args:
        what: the name of one of the functions below.
        source: the model; see `i2i.load`.
        given: the options that were given.
        condition: what the task's `decode` accepts besides codes.
        force: overwrite an existing file, which must not be one of the input images.

    Raises:
        ConfigError: an unsupported or missing option, an output file that already exists, or an error of the
            function itself.
        DataError: an unsupported suffix.
    """
    function = WHATS[what]
    _, _, *takes = inspect.signature(function).parameters.values()
    names = [parameter.name for parameter in takes]
    for name, value in given.items():
        if name not in names:
            shown = (
                f"{name} ({', '.join(value)})" if name == "pictures" else f"{'-' if len(name) == 1 else '--'}{name}"
            )
            raise ConfigError(f"i2i latent {what} does not accept {shown}; possible: {', '.join(names)}")
    needed = [parameter.name for parameter in takes if parameter.default is parameter.empty]
    if "pictures" in needed and "pictures" not in given:
        raise ConfigError(f"i2i latent {what} needs images: give files or folders")
    if "out" in needed:
        given = {"out": f"{what}.png", **given}
    if "seed" in condition:
        raise ConfigError("the seed is not a condition: use --seed")
    possible = [*images.WRITTEN, *(MOVING if "steps" in names else ())]
    if "out" in given and Path(given["out"]).suffix.lower() not in possible:
        raise DataError(
            f"{given['out']}: i2i latent {what} cannot write this suffix; possible: {', '.join(possible)}"
        )
    if "out" in given:
        keep(given["out"], given.get("pictures", ()), force)
    function(load(source), condition, **given)


def sample(model: Model, condition: dict[str, Any], out: str, n: int = 16, seed: int = 0) -> None:
    """Write a sheet of new images."""
    pictures = model.sample(n, seed, **condition)
    across = math.ceil(math.sqrt(n))
    sheet({str(column): pictures[column::across] for column in range(across)}, out)


def interpolate(
    model: Model,
    condition: dict[str, Any],
    out: str,
    pictures: Sequence[str] = (),
    n: int | None = None,
    seed: int = 0,
    steps: int | None = None,
    path: latent.Way = "linear",
) -> None:
    """Write one row per pair of images, or per pair of sampled codes (`n` pairs, default 4)."""
    if pictures:
        draws_nothing(model, condition, n)
        latent.need(model, "encode", "decode")
        found = listed(pictures)
        if len(found) % 2:
            raise ConfigError(f"{counted(len(found), 'image')} cannot be paired: give an even number")
        z = latent.encode(model, found)
    else:
        z = latent.prior(model, 2 * (n or 4), seed, **condition)
    steps = steps or (24 if moves(out) and not isinstance(model.task.makes, Clip) else 8)  # time is a clip's own
    strip(
        latent.interpolate(model, z[::2], z[1::2], steps, path, seed=seed, **condition), out, np.linspace(0, 1, steps)
    )


def traverse(
    model: Model,
    condition: dict[str, Any],
    out: str,
    pictures: Sequence[str] = (),
    seed: int = 0,
    axis: Sequence[int] = (),
    steps: int | None = None,
    root: str | None = None,
) -> None:
    """Write a plane of two latent dimensions, or one row per image with one dimension going through its range.

    The default is the dimension that varies most over the training images.
    """
    if pictures:
        draws_nothing(model, condition)
    z = latent.encode(model, listed(pictures)) if pictures else latent.prior(model, 1, seed, **condition)
    steps = steps or (24 if moves(out) else 10)
    if len(axis) == 2 and moves(out):
        raise ConfigError(f"{out}: two axes make a plane, which cannot be animated: use .png, or give one --axis")
    axis = axis_to_traverse(model, axis, root)
    strip(latent.traverse(model, z, axis, steps, seed=seed, **condition), out, latent.quantiles(steps).numpy())


def reconstruct(model: Model, condition: dict[str, Any], out: str, pictures: Sequence[str]) -> None:
    """Write images next to their reconstructions, and print the errors."""
    latent.need(model, "encode", "decode")
    draws_nothing(model, condition)
    found = listed(pictures)
    given = latent.unit(model, latent.prepared(model, found))
    made = latent.reconstruct(model, given, **condition)
    error = (made - given).square().mean((1, 2, 3)).sqrt()
    for name, value in zip(found, error.tolist(), strict=True):
        print(f"{images.shown(name)}: root mean square error {value:.4f} (black to white is 1)")
    sheet({"given": given, "reconstructed": made}, out)


def neighbours(
    model: Model,
    condition: dict[str, Any],
    out: str,
    pictures: Sequence[str] = (),
    n: int | None = None,
    seed: int = 0,
    k: int = 5,
    space: latent.Space | None = None,
    root: str | None = None,
) -> None:
    """Write the nearest training images of images, or of `n` samples (default 8)."""
    if pictures and condition:
        raise ConfigError(f"-c {next(iter(condition))} applies to samples: leave it out when images are given")
    if pictures:
        draws_nothing(model, condition, n)
    if not latent.can(model, "sample"):  # samples can be compared in pixel space
        latent.need(model, "encode")
    space = space or ("latent" if latent.can(model, "encode") else "pixel")
    if pictures:
        given = latent.unit(model, latent.prepared(model, listed(pictures)))
    else:
        given = model.sample(n or 8, seed, **condition)
    found = latent.neighbours(model, given, latent.data_of(model, root), k, space)
    print("image: index in the training data (distance)")
    for row, (index, distance) in enumerate(zip(found.numbers.tolist(), found.distance.tolist(), strict=True)):
        print(f"{row}: " + ", ".join(f"{i} ({d:.4g})" for i, d in zip(index, distance, strict=True)))
    first = "sampled" if not pictures else "given"
    nearest = {f"nearest {place + 1}": found.pictures[:, place] for place in range(found.pictures.shape[1])}
    sheet({first: given, **nearest}, out)


def arithmetic(
    model: Model,
    condition: dict[str, Any],
    out: str,
    pictures: Sequence[str],
    n: int = 10,
    root: str | None = None,
) -> None:
    """Write a - b + c of averaged codes; a, b and c are images, or conditions on the attributes of examples."""
    latent.need(model, "encode", "decode")
    draws_nothing(model, condition)
    if len(pictures) != 3:
        raise ConfigError(f"arithmetic is a - b + c: give three groups, not {len(pictures)}")
    asked = [len(re.findall("[=<>]", group)) > 0 and not Path(group).exists() for group in pictures]
    groups = [Tensor()] * 3
    if any(asked):
        chosen = examples(model, [group for group, ask in zip(pictures, asked) if ask], n, root)
        for place, x in zip([i for i, ask in enumerate(asked) if ask], chosen, strict=True):
            groups[place] = x
    for place, group in enumerate(pictures):
        if not asked[place]:
            groups[place] = latent.unit(model, latent.prepared(model, listed([group])))
    codes = [latent.encode(model, group) for group in groups]
    shown = {}
    for sign, name, x, z in zip(("", "- ", "+ "), pictures, groups, codes, strict=True):
        average = latent.decode(model, z.mean(0, keepdim=True), **condition)
        shown[f"{sign}{name}"] = torch.cat([average, x[:3]])
    shown["= a - b + c"] = latent.decode(model, latent.arithmetic(*codes), **condition)
    sheet(shown, out)
    print("first row: the decoded averages and the result; below: examples")


def direction(
    model: Model,
    condition: dict[str, Any],
    out: str | None = None,
    pictures: Sequence[str] = (),
    seed: int = 0,
    method: latent.Method = "regression",
    apart: bool = False,
    root: str | None = None,
) -> None:
    """Print statistics of each attribute's direction; with -o also write a row for each, edits of one image."""
    if condition and out is None:
        raise ConfigError(f"-c {next(iter(condition))} applies to images: use -o to write them")
    if pictures and out is None:
        raise ConfigError("images are only used to write a sheet: use -o to write one")
    if pictures:
        draws_nothing(model, condition)
        latent.need(model, "encode")
    learned = latent.learn(model, method, apart, root)
    flat = torch.nn.functional.normalize(learned.vectors.flatten(1), dim=1)
    print(f"{learned.examples} examples, {method}{', apart' if apart else ''}; in {model.source.parent}")
    predicted = "  predicted" if learned.agreement else ""
    print(f"{'attribute':12} {'length':>8} {'fit':>6}{predicted}   cosine with the others")
    for name, vector, fit, cosines in zip(
        learned.attributes, learned.vectors, learned.fit.tolist(), (flat @ flat.T).tolist(), strict=True
    ):
        others = " ".join(f"{other} {c:.2f}" for other, c in zip(learned.attributes, cosines) if other != name)
        agrees = f" {learned.agreement[name]:10.2f}" if learned.agreement else ""
        print(f"{name:12} {vector.norm():8.3f} {fit:6.2f}{agrees}   {others}")
    for why in learned.refused.values():
        print(why)
    if out is None:
        return
    z = latent.encode(model, listed(pictures)[:1]) if pictures else latent.prior(model, 1, seed, **condition)
    amounts = (-1.0, -0.5, 0.0, 0.5, 1.0)
    far = torch.tensor(amounts).reshape(1, -1, *[1] * (z.ndim - 1))
    path = z + far * learned.vectors[:, None]  # decoded as one, so that what the task draws is the same in all rows
    made = latent.decode_paths(model, path.flatten(0, 1)[None], seed, **condition)[0]
    strip(made.unflatten(0, path.shape[:2]), out, amounts)
    print(f"rows of {out}: {', '.join(learned.attributes)}")


def edit(
    model: Model,
    condition: dict[str, Any],
    out: str,
    pictures: Sequence[str] = (),
    n: int | None = None,
    seed: int = 0,
    attribute: Sequence[str] = (),
    amount: Sequence[float] = (1.0,),
    steps: int | None = None,
    alone: bool = False,
    method: latent.Method = "regression",
    apart: bool = False,
    root: str | None = None,
) -> None:
    """Move codes along attributes, of images or `n` sampled ones (default 1); write images before and after."""
    latent.need(model, *(("encode", "decode") if pictures else ("prior", "decode")))
    if pictures:
        draws_nothing(model, condition, n)
    if not attribute:
        raise ConfigError(
            "edit needs an attribute, such as --attribute smile; `i2i latent direction` lists the names"
        )
    odd = [far for far in amount if not math.isfinite(far)]
    if odd:
        raise ConfigError(f"--amount {odd[0]} is not finite: give a finite number, e.g. 1 or -0.5")
    if len(amount) not in (1, len(attribute)):
        raise ConfigError(f"{len(attribute)} attributes but {len(amount)} amounts: give one amount for each")
    given = latent.unit(model, latent.prepared(model, listed(pictures))) if pictures else None
    z = latent.encode(model, given) if pictures else latent.prior(model, n or 1, seed, **condition)
    if alone and (len(z) != 1 or moves(out)):
        raise ConfigError(f"--alone writes one image to one .png, but {len(z)} were given for {out}")
    learned = latent.learn(model, method, apart, root)
    amounts = [*amount] * len(attribute) if len(amount) == 1 else [*amount]
    vectors = [far * learned.along(name) for name, far in zip(attribute, amounts, strict=True)]
    vector = torch.stack(vectors).sum(0)
    steps = steps or (24 if moves(out) else 1)
    shares = [step / steps for step in range(steps + 1)]
    made = latent.move(model, z, vector, shares, seed, **condition)
    if alone:
        images.save(made[0, -1], out)
        tell(out)
    elif moves(out):
        strip(made, out, shares)
    else:
        said = ", ".join(f"{name} {far:+g}" for name, far in zip(attribute, amounts, strict=True))
        first = "sampled" if given is None else "reconstructed"
        names = [first, *(f"{share:.2g} of the way" for share in shares[1:-1]), said]
        before = {} if given is None else {"given": given}
        sheet({**before, **{name: made[:, place] for place, name in enumerate(names)}}, out)


WHATS: dict[str, Callable[..., None]] = {
    "sample": sample,
    "interpolate": interpolate,
    "traverse": traverse,
    "reconstruct": reconstruct,
    "neighbours": neighbours,
    "arithmetic": arithmetic,
    "direction": direction,
    "edit": edit,
}


def axis_to_traverse(model: Model, axis: Sequence[int], root: str | None) -> Sequence[int]:
    """Return the given axes, or else the one that varies most, and say which ones the model does not use."""
    if not latent.can(model, "encode"):
        return axis or (0,)
    try:
        variances = latent.usage(model, root)
    except I2IError as error:
        print(
            f"i2i: which axes are unused is unknown, because the training data cannot be read: {error}",
            file=sys.stderr,
        )
        return axis or (0,)
    unused = latent.unused(variances)
    chosen = axis or (int(variances.argmax()),)
    said = [] if axis else [f"traversing axis {chosen[0]}, which varies most over the training images"]
    if unused:
        which = "all" if len(unused) == len(variances) else ranges(unused)
        said.insert(0, f"{len(unused)} of {len(variances)} axes are unused, so changing them shows nothing: {which}")
    if said:
        print(f"i2i: {'; '.join(said)}", file=sys.stderr)
    return chosen


def ranges(numbers: Sequence[int]) -> str:
    """Format ascending numbers: "0, 3 to 7, 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


# ----------------------------------------------------------------------------------------------- in and out


def draws_nothing(model: Model, condition: dict[str, Any], n: int | None = None) -> None:
    """Reject options for sampling when images are given.

    Raises:
        ConfigError: a number of samples, or a condition that applies to sampled codes only.
    """
    drawn, shown = latent.divided(model, condition)
    unused = [f"-n {n}"] if n is not None else [f"-c {name}={drawn[name]}" for name in drawn if name not in shown]
    if unused:
        raise ConfigError(f"{unused[0]} applies to sampling: leave it out when images are given")


def listed(sources: Sequence[str]) -> list[Path]:
    """Return the images in files, folders and globs.

    Raises:
        DataError: there are none, or a named file is not an image.
    """
    found, skipped = images.find(sources)
    named = [f"{images.shown(path)}: {why}" for path, why in skipped if str(path) in sources]
    if named or not found:
        raise DataError("; ".join(named) or f"no images in {', '.join(sources)}")
    return found


def keep(out: str, sources: Sequence[str], force: bool) -> None:
    """Reject an output file that is one of the input images, or that exists, unless forced.

    Raises:
        ConfigError: `out` exists and must not be overwritten.
    """
    if not Path(out).exists():
        return
    for path in images.find(sources)[0]:
        if path.samefile(out):
            raise ConfigError(f"{images.shown(path)} is also an input and would be overwritten: use another -o")
    if not force:
        raise ConfigError(f"{images.shown(Path(out))} already exists: use --force to overwrite it, or another -o")


def examples(model: Model, groups: Sequence[str], n: int, root: str | None) -> list[Tensor]:
    """Return the first `n` training images [N, C, H, W] in [0, 1] that match each group of conditions.

    Raises:
        ConfigError: an unknown attribute, or no examples.
    """
    data = latent.data_of(model, root)
    names = latent.attributes_of(data)
    asked = [asked_for(group, names) for group in groups]
    found: list[list[Tensor]] = [[] for _ in groups]
    for _, x, values in latent.batches(model, data):
        for parts, pictures in zip(asked, found, strict=True):
            fits = torch.ones(len(x), dtype=torch.bool)
            for place, compare, value in parts:
                fits &= compare(values[:, place], value)
            pictures += x[fits]
        if all(len(pictures) >= n for pictures in found):
            break
    for group, pictures in zip(groups, found, strict=True):
        if not pictures:
            raise ConfigError(
                f"no training image matches {group}: use one that some match, e.g. smile=1, or age>0.5 for values "
                f"between 0 and 1"
            )
    return [latent.unit(model, torch.stack(pictures[:n])) for pictures in found]


def asked_for(group: str, names: Sequence[str]) -> list[tuple[int, Compare, float]]:
    """Parse "smile=1,age>0.5" into a list of (attribute index, comparison, value)."""
    parts = []
    for part in group.split(","):
        match = re.fullmatch(r"\s*(\S+?)\s*([=<>])\s*([-+.\deE]+)\s*", part)
        if match is None or match[1] not in names:
            raise ConfigError(
                f"'{part}' is not a condition on an attribute: use e.g. smile=1, age>0.5 or age<0.5; possible: "
                f"{', '.join(names)}"
            )
        try:
            parts.append((names.index(match[1]), COMPARE[match[2]], float(match[3])))
        except ValueError:
            raise ConfigError(f"'{part}': {match[3]} is not a number") from None
    return parts


def moves(out: str) -> bool:
    """Return whether a file with that name is an animation."""
    return Path(out).suffix.lower() in MOVING


def sheet(columns: dict[str, Tensor], out: str) -> None:
    """Write named columns of images [N, C, H, W] in [0, 1] as one sheet.

    Clips [N, T, C, H, W] move if the file can; otherwise their middle frames are shown.
    """
    files.make_folder(Path(out).parent)
    cells = {name: drawn(column) for name, column in columns.items()}
    if moves(out) and any(cell.ndim == 5 for cell in cells.values()):
        files.write(out, MOVING[Path(out).suffix.lower()](images.frames(cells)))
    else:
        still = {name: cell[:, cell.shape[1] // 2] if cell.ndim == 5 else cell for name, cell in cells.items()}
        images.save(images.grid(still), out)
    tell(out)


def drawn(values: Tensor) -> np.ndarray:
    """Return images [N, C, H, W] or clips [N, T, C, H, W] in [0, 1] as uint8, channels last."""
    flat = images.to_uint8(2 * values.flatten(0, -4) - 1)
    return flat.reshape(*values.shape[:-3], *flat.shape[1:])


def strip(paths: Tensor, out: str, values: Sequence[float] | np.ndarray) -> None:
    """Write images [N, steps, C, H, W] in [0, 1] as rows of a sheet, or as frames forwards and backwards.

    Clips [N, steps, T, C, H, W] are rows of moving cells.
    """
    if not moves(out) or paths.ndim == 6:
        sheet({f"{number}: {value:.2f}": paths[:, number] for number, value in enumerate(values)}, out)
        return
    files.make_folder(Path(out).parent)
    factor = max(1, -(-LEAST // paths.shape[-1]))
    frames = np.stack([np.concatenate([*images.to_uint8(2 * step - 1)], 1) for step in paths.unbind(1)])
    frames = frames.repeat(factor, 1).repeat(factor, 2)
    files.write(out, MOVING[Path(out).suffix.lower()](np.concatenate([frames, frames[-2:0:-1]])))
    tell(out)


def tell(out: str) -> None:
    """Report the written file on stderr."""
    print(f"{out}: written", file=sys.stderr)
