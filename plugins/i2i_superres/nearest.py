"""Weights that are almost of a published layout: "looks like RFDN, but fea_conv.weight is missing"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from .families import FAMILIES
from .layouts import Family, Found, Tensors

Shapes = Callable[[Found], Mapping[str, torch.Size]]
NORM = {"running_mean", "running_var"}
ALMOST = 0.85  # share of the tensors that have to belong to a layout


class Layer(NamedTuple):
    """A layer that a rule of a layout applies to, the match of its name, and what it contains."""

    rule: str
    match: re.Match[str]
    leaves: frozenset[str]


def nearest(tensors: Tensors, shapes: Shapes) -> str | None:
    """Say which layout the tensors are closest to, and what does not fit; None if they are not close to any.

    Args:
        tensors: name -> weights, which are of no layout.
        shapes: returns the shapes of a network's tensors by our names, {} if there is no such network.
    """
    best: tuple[int, str] | None = None
    for family in FAMILIES:
        given = family.prepared(tensors)
        rules = family.rules(given)
        layers, unexpected = placed(given, rules, family.ignored)
        count = sum(len(layer.leaves) for layer in layers.values())
        if count < 4 or count < ALMOST * (count + len(unexpected)):
            continue
        wrong = [f"{name} does not belong to it" for name in unexpected]
        if not (wrong and fits(family, {name: tensors[name] for name in tensors if name not in unexpected}, shapes)):
            wrong = [f"{name} is missing" for name in missing(layers, rules, given)] + wrong
        if len(wrong) > (1 - ALMOST) * count + 1:
            continue
        text = wrong[0] + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else "") if wrong else ""
        score = count - 2 * len(wrong)
        if best is None or score > best[0]:
            best = score, f"looks like {family.name}, but {text or misshapen(family, tensors, shapes)}"
    return best[1] if best else None


def fits(family: Family, tensors: Tensors, shapes: Shapes) -> bool:
    """Return whether the tensors are exactly those of a network of a family."""
    found = family(tensors)
    return found is not None and shapes(found) == {name: value.shape for name, value in found.weights.items()}


def placed(tensors: Tensors, rules: Mapping[str, str], ignored: str) -> tuple[dict[str, Layer], list[str]]:
    """Return the layers that a rule applies to, by name, and the names of tensors that none applies to."""
    layers: dict[str, Layer] = {}
    unexpected = []
    for name in tensors:
        layer, _, leaf = name.rpartition(".")
        found = next(((rule, match) for rule in rules if (match := re.fullmatch(rule, layer))), None)
        if found is not None:
            before = layers[layer].leaves if layer in layers else frozenset()
            layers[layer] = Layer(*found, before | {leaf})
        elif not re.fullmatch(ignored, name):
            unexpected.append(name)
    return layers, unexpected


def missing(layers: Mapping[str, Layer], rules: Mapping[str, str], tensors: Tensors) -> list[str]:
    """Return the names of tensors that the other ones lead to expect."""
    by_rule = {rule: [layer for layer in layers.values() if layer.rule == rule] for rule in rules}
    found = []
    for rule, here in by_rule.items():
        if not here and "(" not in rule.replace("(?:", "") and not re.match(r"ups?\.[1-9]", rules[rule]):
            found.append(f"{readable(rule)}.weight")
        if here and re.compile(rule).groups and not rules[rule].startswith("ups."):  # the paths of scales differ
            head = re.split(r"\((?!\?)", rule)[0]
            firsts = {m.match[1] for other in rules for m in by_rule[other] if other.startswith(head + "(")}
            numbers = sorted(map(int, firsts))
            firsts = {*map(str, range(numbers[0], min(numbers[-1], numbers[0] + len(tensors)) + 1))} | firsts
            found += [f"{name}.weight" for name in gaps(here, firsts) if name not in layers]
        for layer in here:
            expected = layer.leaves | {"weight"} | (NORM if layer.leaves & NORM else set())
            found += [f"{layer.match[0]}.{leaf}" for leaf in sorted(expected - layer.leaves)]
    convs = [name for name in layers if f"{name}.weight" in tensors and tensors[f"{name}.weight"].ndim == 4]
    bare = [name for name in convs if "bias" not in layers[name].leaves]
    if 2 * len(bare) < len(convs):  # else they have none by design
        found += [f"{name}.bias" for name in bare]
    return sorted(found)


def gaps(layers: list[Layer], firsts: set[str]) -> list[str]:
    """Return the names of all layers of a rule that has groups, for these values of its first group."""
    known = layers[0].match
    seconds = {layer.match[2] for layer in layers} if known.re.groups > 1 else {""}
    names = []
    for first in firsts:
        for second in seconds:
            name = known[0]
            if second:
                name = name[: known.start(2)] + second + name[known.end(2) :]
            names.append(name[: known.start(1)] + first + name[known.end(1) :])
    return names


def readable(rule: str) -> str:
    """Return a rule without groups as the names that it stands for: "HRconv or conv_hr"."""
    return re.sub(r"\(\?:[^)]*\)\??", "", rule).replace("\\", "").replace("|", " or ")


def misshapen(family: Family, tensors: Tensors, shapes: Shapes) -> str:
    """Say which tensor has the wrong shape, if all have the names of a layout."""
    found = family(tensors)
    expected = shapes(found) if found is not None else {}
    for name, value in found.weights.items() if found is not None else ():
        theirs = next((key for key, given in tensors.items() if given is value), name)
        if name in expected and expected[name] != value.shape:
            return f"{theirs} has shape {[*value.shape]}; the other tensors need {[*expected[name]]}"
    for name, value in tensors.items():
        bias = tensors.get(name.removesuffix("weight") + "bias")
        if name.endswith(".weight") and bias is not None and bias.shape != value.shape[:1]:
            return f"{name} is {[*value.shape]} and its bias {[*bias.shape]}"
    sizes = [f"{name} {[*value.shape]}" for name, value in tensors.items()]
    return f"the shapes of its tensors do not fit together: {sizes[0]}, ..., {sizes[-1]}"
