"""What a model can do, for the page and for clients: its conditions, classes, label maps and latent space."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin, get_type_hints

from i2i import I2IError, Model, Task, data, latent


def abilities(model: Model) -> dict[str, Any]:
    """Return what a model can do.

    Returns:
        "takes" and "makes", modalities; "translate" and "sample", lists of conditions (see `conditions`) or None;
        "latent", None or a dict with the "size" of a code and whether the model can "encode"; "classes" of a label
        map with the colour of each, or None; and the "multiple" of which its sides must be.
    """
    task = model.task
    translates, samples = (getattr(type(task), name) is not getattr(Task, name) for name in ("translate", "sample"))
    return {
        "takes": task.takes.name if translates else "",
        "makes": task.makes.name,
        "scale": getattr(task.makes, "scale", 1),
        "translate": conditions(model, task.translate) if translates else None,
        "sample": conditions(model, task.sample) if samples else None,
        "latent": space(model),
        "labels": labels(model) if task.takes.name == "label map" else None,
        "multiple": getattr(task.takes, "multiple", 1),
        "size": getattr(task.makes, "size", None) or (model.config.get("data") or {}).get("size"),
    }


def conditions(model: Model, call: Callable[..., Any]) -> list[dict[str, Any]]:
    """Return the conditions of `translate` or `sample`.

    Returns:
        For each its "name"; its "kind", the name of a modality, "seed", "choice", "class", "number" or "text"; its
        "choices"; and its "default".
    """
    found = []
    hints = hints_of(call)
    _, *parameters = inspect.signature(call).parameters.values()
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        name, hint = parameter.name, hints.get(parameter.name)
        modality = model.task.conditions.get(name)
        classes = getattr(model.task, "classes", ())
        choices: list[Any] = []
        if modality is not None:
            kind = modality.name
        elif name == "seed":
            kind = "seed"
        elif name == "label" and isinstance(classes, tuple):
            if not classes:
                continue
            kind, choices = "class", list(classes)
        elif get_origin(hint) is Literal:
            kind, choices = "choice", list(get_args(hint))
        else:
            kind = "number" if "float" in str(hint) or "int" in str(hint) else "text"
        default = parameter.default if isinstance(parameter.default, str | int | float | bool) else None
        found.append({"name": name, "kind": kind, "choices": choices, "default": default})
    return found


def hints_of(call: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a method; {} if they name something that is only imported for type checkers."""
    try:
        return get_type_hints(call)
    except NameError:
        return {}


def space(model: Model) -> dict[str, Any] | None:
    """Return what a latent space has; None for a model without one, or with one of integers."""
    if not latent.can(model, "decode", "prior"):
        return None
    try:
        code = latent.prior(model, 1)[0]
    except I2IError:  # it needs a condition, or another stage of the training
        return None
    if (code == code.round()).all():
        return None
    draw, decode = (conditions(model, call) for call in (model.task.prior, model.task.decode))
    encodes = latent.can(model, "encode")
    # Directions are learned from the training data, and without an encoder from pictures of codes alone: not of codes
    # and a class or a caption, and not from clips.
    pictures = model.task.makes.name == "image" and not decode
    directions = bool(model.config.get("data")) and (encodes or pictures)
    return {"size": code.numel(), "encode": encodes, "directions": directions, "draw": draw, "decode": decode}


def labels(model: Model) -> list[dict[str, Any]]:
    """Return the classes of a label map: index, name and colour "#rrggbb" of each."""
    classes = getattr(model.task, "classes", None)
    if not isinstance(classes, data.Classes):
        return []
    named = zip(classes.values, names_of(model, classes), data.palette(classes), strict=True)
    return [
        {"index": value, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*map(int, colour))}
        for value, name, colour in named
    ]


def names_of(model: Model, classes: data.Classes) -> list[str]:
    """Return the names of the classes of label maps: those of the data set if it has any, else numbers."""
    names = [f"class {value}" for value in classes.values]
    if classes.ignore is not None:
        names[-1] = "unlabelled"
    with suppress(I2IError):  # the data set need not be on this computer
        given = getattr(latent.data_of(model), "names", ())
        names[: len(given)] = [*map(str, given)][: len(names)]
    return names
