"""A trained model as one file: weights under plain names, with the config that builds what they belong to.

tensors, config_yaml, about = load_model("runs/cyclegan/model.safetensors")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from .. import files
from ..errors import WeightsError
from ..version import __version__
from . import manifest
from .manifest import BLANK, Malformed, refuse_newer, sha256
from .tensors import first_ten, non_finite, plain, refuse_non_finite, serialise


def save_model(
    path: str | Path, tensors: Mapping[str, Tensor], config_yaml: str, about: Mapping[str, str] | None = None
) -> None:
    """Write weights under plain names into one safetensors file, which any reader of the format opens.

    Args:
        path: the file, `model.safetensors`.
        tensors: name -> weights.
        config_yaml: the config that builds what they belong to.
        about: what else a reader may want to know.

    Raises:
        NumericError: a tensor holds NaN or infinity; nothing is written.
        ResourceError: the disk is full or broken; the file that was there is untouched.
    """
    tensors = {name: plain(tensor, name) for name, tensor in tensors.items()}
    refuse_non_finite(tensors, path)
    metadata = {"sha256": BLANK.decode(), "format": "pt", "i2i": __version__, "i2i_format": str(manifest.FORMAT)}
    metadata |= {"config": config_yaml, "about": json.dumps(dict(about or {}))}
    header, *data = serialise(tensors, metadata)
    files.write(path, [header.replace(BLANK, sha256([header, *data]).encode(), 1), *data])


def load_model(path: str | Path) -> tuple[dict[str, Tensor], str, dict[str, str]]:
    """Return the tensors, the config and the other facts of a file that `save_model` wrote, verified.

    Raises:
        WeightsError: the file is damaged, of a newer i2i, or not one of ours.
    """
    try:
        content = Path(path).read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8:end])["__metadata__"]
        told, number = metadata["sha256"], int(metadata["i2i_format"])
        if sha256([content[:end].replace(told.encode(), BLANK, 1), memoryview(content)[end:]]) != told:
            raise WeightsError(f"{path} is damaged (sha256 differs): copy it again, or take another")
        refuse_newer(path, number)
        return safetensors.torch.load(content), metadata["config"], json.loads(metadata["about"])
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except Malformed as error:
        raise WeightsError(f"{path} is damaged, or not written by i2i: use the model.safetensors of a run") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: str, partial: bool = False) -> str | None:
    """Copy weights into a module: all or, when something does not fit, none.

    Args:
        module: what they belong to.
        tensors: name -> weights; one floating type is converted to another, and that is said.
        source: where they are from, for the messages.
        partial: load what fits by name, shape and kind, and leave the rest of the module as it is.

    Returns:
        What the user should know ("310 of 312 tensors loaded"), or None.

    Raises:
        WeightsError: they do not fit (names the first ten of each fault), none fits, or NaN is among them.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    fit = {name: value for name, value in tensors.items() if name in own and fits(value, own[name])}
    wrong = [name for name in own if name in tensors and name not in fit]
    faults = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape or type": [f"{name}: {shown(tensors[name])}, not {shown(own[name])}" for name in wrong],
    }
    listed = "; ".join(f"{len(names)} {fault} ({first_ten(names)})" for fault, names in faults.items() if names)
    if (listed and not partial) or not fit:
        hint = "nothing fits" if not fit else "use the config it was trained with"
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {listed or 'it is empty'}: {hint}")
    if bad := non_finite(fit):
        raise WeightsError(f"{source} holds NaN or infinity in {first_ten(bad)}: use other weights")
    module.load_state_dict(fit, strict=False)
    notes = [f"{len(fit)} of {len(own)} tensors loaded, {listed}"] if listed else []
    notes += sorted({f"{v.dtype} made {own[n].dtype}" for n, v in fit.items() if v.dtype != own[n].dtype})
    return f"{source}: {'; '.join(notes).replace('torch.', '')}" if notes else None


def fits(value: Tensor, own: Tensor) -> bool:
    """Say whether a tensor can take the place of another: of that shape, and of that type or both floating."""
    floating = value.is_floating_point() and own.is_floating_point()
    return value.shape == own.shape and (value.dtype == own.dtype or floating)


def shown(tensor: Tensor) -> str:
    """Return shape and type of a tensor, for a message."""
    return f"{list(tensor.shape)} {tensor.dtype}".replace("torch.", "")
