"""Data sets drawn by code, at any size and without end, and the metrics that know the truth about them.

    animals/       `horses_zebras`, and `animal_truth`, which scores translations between the two
    facades.py     `drawn_facades`: label maps and house fronts
    faces.py       `faces`: cartoon faces with known attributes
    landscapes.py  `landscapes`: label maps and pictures in known styles
    digits.py      `digits`: grey digits with labels
    captions.py    the sentences of `captioned_scenes`: what they claim, and other words for the same
    captioned.py   `captioned_scenes`: coloured shapes with captions
    scene_reader.py    a network that reads what such a picture shows
    caption_truth.py   `caption_truth`: generated pictures compared with their captions
    moving.py      `moving_digits`: clips of them; clip_classes.py judges generated ones
    teaching.py    the training loop of the classifiers that judge generated pictures
    classes.py     `class_accuracy` and `class_share`: a classifier of digits judges generated ones
    crowds.py      `crowds`: paths of people who meet at a crossing, for trajectory prediction
    photos.py      `synthetic_photos`: pictures with the statistics of photographs, for super-resolution

Every sample is a pure function of its seed, and nothing is read from disk.
"""

from __future__ import annotations

from i2i import Catalog, hookimpl


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the data sets of this folder and their metrics to `catalog`."""
    from .animals import AnimalTruth, HorsesAndZebras
    from .caption_truth import CaptionTruth
    from .captioned import CaptionedScenes
    from .classes import ClassAccuracy, ClassShare
    from .clip_classes import ClipClassAccuracy
    from .crowds import Crowds
    from .digits import Digits
    from .facades import DrawnFacades
    from .faces import Faces
    from .landscapes import Landscapes
    from .moving import MovingDigits
    from .photos import SyntheticPhotos

    catalog.data("captioned_scenes", CaptionedScenes)
    catalog.data("crowds", Crowds)
    catalog.data("digits", Digits)
    catalog.data("drawn_facades", DrawnFacades)
    catalog.data("faces", Faces)
    catalog.data("horses_zebras", HorsesAndZebras)
    catalog.data("landscapes", Landscapes)
    catalog.data("moving_digits", MovingDigits)
    catalog.data("synthetic_photos", SyntheticPhotos)
    catalog.metric("animal_truth", AnimalTruth)
    catalog.metric("caption_truth", CaptionTruth)
    catalog.metric("class_accuracy", ClassAccuracy)
    catalog.metric("class_share", ClassShare)
    catalog.metric("clip_class_accuracy", ClipClassAccuracy)
