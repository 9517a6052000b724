"""The animal on an empty background: its parts from far to near, each with its coat, lit by sun and sky."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .areas import plain
from .bones import SHOULDER, TORSO, Chain, skeleton, toward
from .clay import Body, Clay, Marker, Pixels, Window, covered, extent, measure
from .coats import Hair, HorseCoat, ZebraCoat
from .scene import Animal, Array, Colour, Scene


class Painting:
    """An animal without background: premultiplied colours [3, H, W] and coverage [H, W] in a window."""

    def __init__(self, scene: Scene, animal: Animal, grid: int) -> None:
        self.scene, pose = scene, scene.pose
        self.bones = skeleton(pose)
        chains = [TORSO, self.bones.skull, self.bones.tail, *self.bones.legs, *self.bones.ears]
        left, right, _, high = extent(chains, 0.06)
        free = max(0.0, 1 / pose.scale - (right - left) * pose.turn)
        highest = max(0.84, high * pose.scale)
        self.foot = highest + max(0.0, 0.95 - highest) * pose.ground  # row of the ground / height of the picture

        # Body coordinates of the whole picture, then of the window with the animal.
        pixel = 1 / (pose.scale * grid)
        steps = ((np.arange(grid) + 0.5) * pixel).astype(np.float32)
        x = ((steps + (left * pose.turn - free * pose.across)) / pose.turn)[:: pose.facing]
        picture = Pixels(x[None], (self.foot / pose.scale - steps)[:, None], pixel)
        self.window = picture.near(chains, 0.06)
        self.pixels = picture.within(self.window)
        shape = (self.pixels.y.size, self.pixels.x.size)
        self.colour, self.cover = np.zeros((3, *shape), np.float32), np.zeros(shape, np.float32)
        self.bodies: dict[int, Body] = {}
        self.solids = np.zeros(shape, np.float32)  # what casts a shadow: the same for both animals
        self.coat: Any = {"horse": HorseCoat, "zebra": ZebraCoat}[animal](scene, self.bones, self.pixels)

    def over(self, colour: Array, cover: Array, window: Window) -> None:
        """Paint colours over the window."""
        for plane, c in zip([*self.colour, self.cover], [*colour, 1]):
            plane[window] += (c - plane[window]) * cover

    def lit(self, albedo: Array, normal: Array, shade: float = 1.0, gloss: float = 0.0) -> Array:
        """Return the colours [3, H, W] of a surface lit by the sun, the sky and light reflected from the ground."""
        light, near = self.scene.light, self.scene.land.near
        sx, sy, sz = light.sun
        facing = normal[0] * (sx * self.scene.pose.facing) + normal[1] * sy + normal[2] * sz
        direct = np.maximum((facing + 0.2) * (1 / 1.2), 0)
        shine = gloss * np.maximum(facing - 0.55, 0) ** 2
        up = 0.5 + 0.5 * normal[1]
        out = albedo * albedo
        for c, (sun, sky) in enumerate(zip(light.direct, light.sky)):
            bounce = 0.3 * near[c]
            out[c] *= direct * sun + up * (sky - bounce) + bounce
            out[c] += shine * sun
        return np.sqrt(np.minimum(out * shade, 1))

    def measure(self, chain: Chain) -> Body:
        """Return the positions of the pixels near a chain on it, computed once."""
        if id(chain) not in self.bodies:
            margin = 0.07 if chain is self.bones.neck else 0.05  # room for the mane
            self.bodies[id(chain)] = measure(chain, self.pixels, self.pixels.near([chain], margin))
        return self.bodies[id(chain)]

    def solid(self, parts: Sequence[tuple[Chain, Marker]], shade: float = 1.0) -> None:
        """Paint chains melted together."""
        clay = Clay(self.pixels)
        for part, marks in parts:
            body = self.measure(part)
            if body.inside.size:
                clay.add(body, marks(body))
        window = self.pixels.near([part for part, _ in parts], 0.03)
        cover, normal, marked = clay.done(window)
        self.over(self.lit(self.coat.colours(marked, normal, self.pixels.size), normal, shade, 0.5), cover, window)
        np.maximum(self.solids[window], cover, out=self.solids[window])

    def hair(self, chain: Chain, style: Callable[[Body], Hair]) -> None:
        """Paint hair along a chain."""
        body = self.measure(chain)
        colours, inside = style(body)
        normal = np.empty_like(colours)
        normal[0], normal[1], normal[2] = -0.2, 0.35, 0.91
        self.over(self.lit(colours, normal), covered(inside, self.pixels.size), body.window)

    def spot(self, centre: complex, radius: float, colour: Colour) -> None:
        """Paint a small disc on the animal, such as an eye."""
        window = self.pixels.near([Chain(np.array([centre]), np.array([radius]), 0)], 0.02)
        pixels = self.pixels.within(window)
        inside = radius - np.hypot(pixels.x - centre.real, pixels.y - centre.imag)
        self.over(plain(colour, inside), covered(inside, pixels.size) * self.cover[window], window)


@functools.lru_cache(4)  # a picture and a mask of each of two scenes, as in a validation sample
def paint(scene: Scene, animal: Animal, grid: int) -> Painting:
    """Paint the animal of a scene, from the far side to the near side; the result is not to be changed."""
    painting = Painting(scene, animal, grid)
    bones, coat = painting.bones, painting.coat
    painting.solid([(bones.ears[1], coat.ear)], 0.42)
    painting.solid([(bones.legs[2], coat.leg(2)), (bones.legs[3], coat.leg(3))], 0.42)
    painting.hair(bones.tail, coat.tail)
    head = [(bones.skull, coat.skull), (bones.ears[0], coat.ear)]
    legs = [(bones.legs[0], coat.leg(0)), (bones.legs[1], coat.leg(1))]
    painting.solid([(TORSO, coat.trunk), (SHOULDER, coat.trunk), (bones.neck, coat.trunk), *head, *legs])
    painting.hair(bones.neck, coat.mane)
    if animal == "horse":
        painting.hair(bones.forelock, coat.tail)
    poll, head_way = complex(bones.skull.points[0]), toward(scene.pose.head)
    painting.spot(poll + (0.115 + 0.025j) * head_way, 0.014, (0.03, 0.025, 0.025))
    painting.spot(poll + (0.118 + 0.030j) * head_way, 0.003, (0.45, 0.45, 0.45))
    painting.spot(poll + (0.345 + 0.012j) * head_way, 0.010, (0.05, 0.04, 0.04))
    return painting
