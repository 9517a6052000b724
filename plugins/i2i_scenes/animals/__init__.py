"""Horses and zebras, drawn by code: an unpaired data set with known ground truth, at any size and without end.

A scene is a pure function of a seed: an animal in some pose, in some light, in some landscape. It can be rendered as
a horse or as a zebra, and only the animal differs, so a translation can be scored.

    data: {use: horses_zebras, size: 64}      # in a config; `i2i run configs/cyclegan.yaml` trains on it
    metrics: [{use: animal_truth}]

    scene.py      what a picture shows, drawn at random from a seed: pose, light, landscape, coat
    bones.py      the skeleton of a posed animal: chains of round cones
    clay.py       the cones melted together: outline, surface normals and coordinates along the body
    coats.py      the coats of horse and zebra, their manes and tails
    areas.py      plain colours, mixtures and soft steps, for coats and landscapes
    painting.py   the animal, painted and lit
    landscape.py  the background and the grass
    pictures.py   `render` and `mask`: both put together
    data.py       the data set `horses_zebras`
    truth.py      the metric `animal_truth`

The animal is modelled like clay: chains of round cones along its bones, melted together. This gives each pixel a
height, needed for the light, and coordinates along the body, needed for stripes and coat. Body coordinates: x points
towards the head, y up, the ground is at y = 0, and the withers are 1 above it. A point of the body is the complex
number x + iy, so a rotation is a multiplication.
"""

from __future__ import annotations

from .data import HorsesAndZebras
from .truth import AnimalTruth

__all__ = ["AnimalTruth", "HorsesAndZebras"]
