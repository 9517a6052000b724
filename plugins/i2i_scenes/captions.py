"""Sentences about coloured shapes, and what they claim: the grammar of `captioned_scenes`.

    parse("two red circles above a blue square")
    Scene(groups=(Group("red", "circle", 2), Group("blue", "square", 1)), layout="vertical")

A scene is one group of one to three equal shapes at a place, or two groups, of at most three shapes, beside or above
each other. Many sentences describe the same scene: they differ in synonyms, in order ("a blue square below two red
circles"), and in whether they mention the place.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace

import numpy as np

from i2i import DataError

Rng = np.random.Generator

COLOURS = {"red": ("red",), "orange": ("orange",), "yellow": ("yellow",), "green": ("green",), "blue": ("blue",)} | {
    "purple": ("purple", "violet")
}
SHAPES = {"circle": ("circle", "disc"), "square": ("square", "box"), "triangle": ("triangle",), "star": ("star",)}
COUNTS = {1: ("a", "one"), 2: ("two", "a pair of"), 3: ("three", "a group of three")}
PLACES = {
    "top left": ("in the top left", "in the upper left", "in the top left corner"),
    "top": ("at the top", "near the top", "in the upper half"),
    "top right": ("in the top right", "in the upper right", "in the top right corner"),
    "left": ("on the left", "on the left side", "in the left half"),
    "centre": ("in the centre", "in the middle", "in the center"),
    "right": ("on the right", "on the right side", "in the right half"),
    "bottom left": ("in the bottom left", "in the lower left", "in the bottom left corner"),
    "bottom": ("at the bottom", "near the bottom", "in the lower half"),
    "bottom right": ("in the bottom right", "in the lower right", "in the bottom right corner"),
}
RELATIONS = {
    "above": ("above", "over"),
    "below": ("below", "under"),
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
}
ATTRIBUTES = ("colour", "shape", "count", "place", "relation")
"""What sentences state, and what `swapped` can change."""

ORDERS = {"vertical": ("above", "below"), "horizontal": ("left of", "right of")}  # of the first and the second group
CORNERS = ("top left", "top right", "bottom left", "bottom right")  # with room for one shape only
HELD_OUT = 8  # one scene in this many is never trained on


@dataclass(frozen=True)
class Group:
    """One to three equal shapes."""

    colour: str
    shape: str
    count: int


@dataclass(frozen=True)
class Scene:
    """What a picture shows, or what a sentence claims.

    Attributes:
        groups: one, or two: the upper or left one first.
        layout: a place for one group ("" if the sentence does not mention it), "vertical" or "horizontal" for two.
    """

    groups: tuple[Group, ...]
    layout: str


@dataclass(frozen=True)
class Wording:
    """Which of the possible sentences about a scene; any number stands for a choice, modulo their number.

    Attributes:
        count, colour, shape: which synonym.
        where: which phrase for the place or the relation; 3 leaves the place out.
        order: 0 "a star on the left", 1 "on the left, a star", or, of two groups, the second one first; 2 and 3 the
            same with "there is".
    """

    count: int = 0
    colour: int = 0
    shape: int = 0
    where: int = 0
    order: int = 0


PLAIN = Wording()
WORDINGS = tuple(Wording(*numbers) for numbers in itertools.product(range(2), range(2), range(2), range(4), range(4)))


# ---- scenes


def scenes() -> list[Scene]:
    """Return all scenes: 456 of one group, then 2,880 of two."""
    kinds = [Group(colour, shape, count) for colour in COLOURS for shape in SHAPES for count in COUNTS]
    single = [Scene((one,), place) for one in kinds for place in PLACES]
    double = [Scene(pair, layout) for pair in itertools.product(kinds, kinds) for layout in ORDERS]
    return [scene for scene in single + double if possible(scene)]


def possible(scene: Scene) -> bool:
    """Return whether a scene is drawn: corners have room for one shape, and two groups differ in colour."""
    if len(scene.groups) == 1:
        return scene.groups[0].count == 1 or scene.layout not in CORNERS
    first, second = scene.groups
    return first.colour != second.colour and first.count + second.count <= 3


def held_out(scene: Scene) -> bool:
    """Return whether a scene is kept for validation: one in eight of all combinations of attributes."""
    return zlib.crc32(repr((*map(astuple, scene.groups), scene.layout)).encode()) % HELD_OUT == 0


# ---- from scenes to sentences


def phrase(scene: Scene, wording: Wording = PLAIN) -> str:
    """Return a sentence about a scene."""
    reverse, there = wording.order % 2 == 1, wording.order % 4 >= 2
    if len(scene.groups) == 2:
        relation = RELATIONS[ORDERS[scene.layout][reverse]]
        first, second = reversed(scene.groups) if reverse else scene.groups
        subject, rest = noun(first, wording), noun(second, wording)
        return f"{existence(subject) if there else ''}{subject} {relation[wording.where % 2]} {rest}"
    subject = noun(scene.groups[0], wording)
    verb = existence(subject) if there else ""
    if wording.where == 3 or not scene.layout:
        return verb + subject
    where = PLACES[scene.layout][wording.where]
    return f"{where}{' ' if there else ', '}{verb}{subject}" if reverse else f"{verb}{subject} {where}"


def noun(group: Group, wording: Wording) -> str:
    """Return e.g. "a pair of red discs"."""
    colours, shapes, counts = COLOURS[group.colour], SHAPES[group.shape], COUNTS[group.count]
    colour, shape = colours[wording.colour % len(colours)], shapes[wording.shape % len(shapes)]
    count = counts[wording.count % len(counts)]
    article = "an" if count == "a" and colour[0] in "aeiou" else count
    plural = "" if group.count == 1 else "es" if shape[-1] in "xs" else "s"
    return f"{article} {colour} {shape}{plural}"


def existence(subject: str) -> str:
    """Return "there is " or "there are "."""
    return "there are " if subject.startswith(("two", "three")) else "there is "


def phrases(scene: Scene) -> list[str]:
    """Return all sentences about a scene, without repetition; the plainest first."""
    return list(dict.fromkeys(phrase(scene, wording) for wording in WORDINGS))


# ---- from sentences to scenes


def meanings(words: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return what each synonym means."""
    return {synonym: meaning for meaning, synonyms in words.items() for synonym in synonyms}


def either(words: dict[str, str]) -> str:
    """Return a regular expression for any of the words, the longest first."""
    return "|".join(sorted(words, key=len, reverse=True))


COLOUR_OF, SHAPE_OF = meanings(COLOURS), meanings(SHAPES)
PLACE_OF, RELATION_OF = meanings(PLACES), meanings(RELATIONS)
COUNT_OF = {synonym: count for count, synonyms in COUNTS.items() for synonym in synonyms} | {"an": 1}
NOUN = re.compile(
    rf"({'|'.join(sorted(COUNT_OF, key=len, reverse=True))}) ({either(COLOUR_OF)}) ({either(SHAPE_OF)})(?:es|s)?"
)
WHERE, RELATION = re.compile(either(PLACE_OF)), re.compile(f" ({either(RELATION_OF)}) ")


def parse(sentence: str) -> Scene:
    """Return what a sentence claims.

    Raises:
        DataError: it is not in the grammar.

    Example:
        >>> parse("in the middle there are three yellow stars")
        Scene(groups=(Group(colour='yellow', shape='star', count=3),), layout='centre')
    """
    plain = re.sub(r"\bthere (is|are) ", "", sentence.lower().strip(" .")).replace(",", "")
    relation = RELATION.search(plain)
    if relation:
        groups = [group_of(plain[: relation.start()]), group_of(plain[relation.end() :])]
        meaning = RELATION_OF[relation[1]]
        layout = next(layout for layout, both in ORDERS.items() if meaning in both)
        if None not in groups:
            ordered = groups if meaning == ORDERS[layout][0] else groups[::-1]
            return Scene(tuple(group for group in ordered if group), layout)
    else:
        place = WHERE.search(plain)
        group = group_of((plain[: place.start()] + plain[place.end() :]) if place else plain)
        if group:
            return Scene((group,), PLACE_OF[place[0]] if place else "")
    raise DataError(
        f"{sentence!r} is not a sentence about coloured shapes, such as {phrase(scenes()[0])!r} or "
        f"{phrase(scenes()[-1])!r}"
    )


def group_of(words: str) -> Group | None:
    """Return what e.g. "two red circles" names, or None."""
    found = NOUN.fullmatch(words.strip())
    return Group(COLOUR_OF[found[2]], SHAPE_OF[found[3]], COUNT_OF[found[1]]) if found else None


# ---- one attribute changed


def changes(scene: Scene, attribute: str) -> Iterator[Scene]:
    """Yield all possible scenes that differ from this one in a single attribute, of one group where it has two."""
    other: list[Scene] = []
    if attribute == "place" and scene.layout in PLACES:
        other = [Scene(scene.groups, place) for place in PLACES]
    if attribute == "relation" and scene.layout in ORDERS:
        other = [Scene(groups, axis) for axis in ORDERS for groups in (scene.groups, scene.groups[::-1])]
    for n, group in enumerate(scene.groups):
        before, after = scene.groups[:n], scene.groups[n + 1 :]
        other += [Scene((*before, one, *after), scene.layout) for one in variants(group, attribute)]
    yield from (one for one in other if one != scene and possible(one))


def variants(group: Group, attribute: str) -> list[Group]:
    """Return a group with each value of an attribute; none if groups have no such attribute."""
    if attribute == "colour":
        return [replace(group, colour=colour) for colour in COLOURS]
    if attribute == "shape":
        return [replace(group, shape=shape) for shape in SHAPES]
    return [replace(group, count=count) for count in COUNTS] if attribute == "count" else []


def swapped(sentence: str, attribute: str, rng: Rng) -> str | None:
    """Return the sentence with one attribute changed, in the same wording, or None if it cannot change.

    Args:
        sentence: any sentence of the grammar.
        attribute: one of `ATTRIBUTES`.
        rng: chooses among the possible values.

    Example:
        >>> swapped("two red circles above a blue square", "relation", np.random.default_rng(0))
        'two red circles right of a blue square'
    """
    scene = parse(sentence)
    wording = next((one for one in WORDINGS if phrase(scene, one) == sentence), PLAIN)
    options = list(changes(scene, attribute))
    if not options:
        return None
    chosen = options[int(rng.integers(len(options)))]
    if chosen.groups == scene.groups[::-1]:  # a relation: the same group stays the subject
        wording = replace(wording, order=wording.order ^ 1)
    return phrase(chosen, wording)
