"""What the worker does with a model: one function for each kind of job.

Each is called with the model, the uploads by name and the options, and returns data for JSON and pictures. Only what
is in the request is read: a condition that is a picture must be an upload, and a caption is never read as a file.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import PIL.Image
import torch

from i2i import ConfigError, Model, Task, data, images, latent

from .abilities import abilities
from .encoding import Options, encoded, encoded_samples
from .jobs import Result

Answer = tuple[Any, list[Result]]
RESERVED = {"img", "n", "tile", "size", "scale"}  # parameters of `Model.__call__` and `Model.sample`
EXAMPLES = 2000  # training pictures, or sampled codes, from which directions are learned
learned: WeakKeyDictionary[Model, latent.Learned] = WeakKeyDictionary()
shapes: WeakKeyDictionary[Model, torch.Size] = WeakKeyDictionary()  # of codes


def describe(model: Model, blobs: dict[str, bytes], options: dict[str, Any]) -> Answer:
    """Return what a model can do; see `abilities`."""
    return abilities(model), []


def translate(model: Model, blobs: dict[str, bytes], options: dict[str, Any]) -> Answer:
    """Translate the upload "picture", or the option "text".

    Raises:
        ConfigError: the model takes something else, or a condition is not possible.
    """
    takes = model.task.takes.name
    if type(model.task).translate is Task.translate:
        raise ConfigError("this model does not translate, it makes new pictures: use sample, not translate")
    text = options.get("text")
    given = blobs.get("picture") if text is None else text.encode()
    if given is None or (takes == "caption") != (text is not None):
        what = "a caption in the field text" if takes == "caption" else f"a file ({takes}) in the field picture"
        raise ConfigError(f"this model takes {what}")
    chosen = conditions(model, blobs, options)
    if takes == model.task.makes.name == "image" and images.animated(given):
        made: Any = frame_by_frame(model, given, chosen)
    else:
        made = model(given, **chosen)
    return None, [encoded(made, model.task.makes, Options.of(options))]


def frame_by_frame(model: Model, given: bytes, conditions: dict[str, Any]) -> images.Video:
    """Translate an animation, as `i2i translate` does."""
    clip = images.read_video(given)
    made = np.stack(
        [np.asarray(model(PIL.Image.fromarray(frame), **conditions).convert("RGB")) for frame in clip.frames]
    )
    return images.Video(made, clip.times)


def sample(model: Model, blobs: dict[str, bytes], options: dict[str, Any]) -> Answer:
    """Make `n` new pictures. Raises: ConfigError, the model does not make any."""
    if not latent.can(model, "sample"):
        raise ConfigError("this model does not make new pictures, it translates: use translate, not sample")
    chosen = conditions(model, blobs, options)
    if "seed" in chosen:
        raise ConfigError("seed is a field of its own, not a condition")
    made = model.sample(options["n"], options["seed"], **chosen)
    return None, encoded_samples(made, model.task.makes, Options.of(options))


def encode(model: Model, blobs: dict[str, bytes], options: dict[str, Any]) -> Answer:
    """Return the latent code of the upload "picture", and the picture decoded from it."""
    code = latent.encode(model, blobs["picture"])
    return code.flatten(1).tolist(), []


def draw(model: Model, blobs: dict[str, bytes], options: dict[str, Any]) -> Answer:
    """Return `n` latent codes."""
    own = conditions(model, blobs, options, taken=False)
    return latent.prior(model, options["n"], options["seed"], **own).flatten(1).tolist(), []


def decode(model: Model, blobs: dict[str, bytes], options: dict[str, Any]) -> Answer:
    """Return the pictures of the latent codes `codes`.

    Raises:
        ConfigError: the codes have another length.
    """
    if model not in shapes:
        shapes[model] = latent.prior(model, 1).shape[1:]
    shape = shapes[model]
    wrong = next((len(code) for code in options["codes"] if len(code) != shape.numel()), None)
    if wrong is not None:
        raise ConfigError(f"the codes of this model have {shape.numel()} numbers, not {wrong}")
    codes = torch.tensor(options["codes"], dtype=torch.float32).reshape(-1, *shape)
    made = latent.decode(model, codes, options["seed"], **conditions(model, blobs, options, taken=False))
    return None, encoded_samples(made, model.task.makes, Options.of(options))


def directions(model: Model, blobs: dict[str, bytes], options: dict[str, Any]) -> Answer:
    """Return what changes each attribute from 0 to 1, in the latent space.

    What `i2i latent` has written into the run's folder is used; otherwise it is learned, and nothing is written.
    """
    if model not in learned:
        learned[model] = latent.cached(model) or latent.learn(model, keep=False, n=EXAMPLES)
    found = learned[model]
    return {
        "attributes": list(found.attributes),
        "vectors": found.vectors.flatten(1).tolist(),
        "fit": found.fit.tolist(),
        "agreement": found.agreement,
        "refused": found.refused,
    }, []


def conditions(model: Model, blobs: dict[str, bytes], options: dict[str, Any], taken: bool = True) -> dict[str, Any]:
    """Return the conditions of a request as keyword arguments.

    Args:
        model: which has the conditions.
        blobs, options: of the request.
        taken: whether modalities take them, which read a str as a path: captions are bytes then. The functions of
            `i2i.latent` pass them on as they are.

    Raises:
        ConfigError: one that must be a picture is not an upload, or has a name that no condition can have.
    """
    given: dict[str, Any] = {name: data for name, data in blobs.items() if name != "picture"}
    for name in RESERVED.intersection([*given, *options.get("conditions", {})]):
        raise ConfigError(f"no condition is called {name}")
    for name, value in options.get("conditions", {}).items():
        kinds = kinds_of(model, name)
        if kinds - {"caption"}:
            raise ConfigError(f"{name} is a picture: send it as a file")
        given[name] = str(value).encode() if kinds and taken else value
    return given


def kinds_of(model: Any, name: str) -> set[str]:
    """Return the modalities that a condition has in the parts of a chain, or in a single model; none for values."""
    parts = getattr(model, "parts", None)
    if parts is not None:
        _, base = data.address(name)
        return set().union(*(kinds_of(part, base) for part in parts))
    kind = model.task.conditions.get(name)
    return set() if kind is None else {kind.name}
