"""A trained model as one file: weights under plain names, with the config that builds its networks.

tensors, config_yaml, about = load_model("runs/cyclegan/model.safetensors")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
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
    """Write weights under plain names to a safetensors file that any reader of the format can open.

    Args:
        path: the file, `model.safetensors`.
        tensors: name -> weights.
        config_yaml: the config that builds the networks of these weights.
        about: further information for readers.

    Raises:
        NumericError: a tensor contains NaN or infinity; nothing is written.
        ResourceError: the disk is full or broken; an existing file is untouched.
    """
    tensors = {name: plain(tensor, name) for name, tensor in tensors.items()}
    refuse_non_finite(tensors, path)
    metadata = {"sha256": BLANK.decode(), "format": "pt", "i2i": __version__, "i2i_format": str(manifest.FORMAT)}
    metadata |= {"config": config_yaml, "about": json.dumps(dict(about or {}))}
    header, *data = serialise(tensors, metadata)
    files.write(path, [header.replace(BLANK, sha256([header, *data]).encode(), 1), *data])


def load_model(path: str | Path) -> tuple[dict[str, Tensor], str, dict[str, str]]:
    """Verify a file written by `save_model` and return its tensors, its config and `about`.

    Raises:
        WeightsError: the file is damaged, from a newer i2i, or not written by i2i.
    """
    try:
        content = Path(path).read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8:end])["__metadata__"]
        digest, number = metadata["sha256"], int(metadata["i2i_format"])
        if sha256([content[:end].replace(digest.encode(), BLANK, 1), memoryview(content)[end:]]) != digest:
            raise WeightsError(f"{path} is damaged (sha256 differs): copy it again, or use another")
        refuse_newer(path, number)
        return safetensors.torch.load(content), metadata["config"], json.loads(metadata["about"])
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except Malformed as error:
        todo = "use that of a run, or one that a plugin recognises"
        raise WeightsError(f"{path} is damaged or not a weights file: {todo}") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: str, partial: bool = False) -> str | None:
    """Load weights into a module: all of them, or none if anything does not match.

    Args:
        module: the module to load into.
        tensors: name -> weights; floating dtypes are converted; the result reports a loss of precision.
        source: where the weights come from, for messages.
        partial: load what matches in name, shape and dtype, and keep the other weights of the module.

    Returns:
        A note for the user ("310 of 312 tensors loaded"), or None.

    Raises:
        WeightsError: weights do not match (lists the first ten of each problem), none matches, or NaN or infinity.
    """
    tensors = renewed(module, tensors)
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    matching = {name: value for name, value in tensors.items() if name in own and fits(value, own[name])}
    wrong = [name for name in own if name in tensors and name not in matching]
    problems = {
        "missing": [f"{name} {[*own[name].shape]}" for name in own if name not in tensors],
        "unexpected": [f"{name} {[*tensors[name].shape]}" for name in tensors if name not in own],
        "with another shape or type": [f"{name}: {shown(tensors[name])}, not {shown(own[name])}" for name in wrong],
    }
    listed = "; ".join(f"{len(names)} {problem} ({first_ten(names)})" for problem, names in problems.items() if names)
    if (listed and not partial) or not matching:
        hint = "use the config it was trained with" if matching else "no tensor matches"
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {listed or 'it is empty'}: {hint}")
    if bad := non_finite(matching):
        raise WeightsError(f"{source} contains NaN or infinity in {first_ten(bad)}: use other weights")
    module.load_state_dict(matching, strict=False)
    notes = [f"{len(matching)} of {len(own)} tensors loaded, {listed}"] if listed else []
    casts = {(v.dtype, own[name].dtype) for name, v in matching.items()}
    casts = {(old, new) for old, new in casts if torch.promote_types(old, new) != new}  # others lose nothing
    notes += sorted(f"{old} converted to {new}" for old, new in casts)
    return f"{source}: {'; '.join(notes).replace('torch.', '')}" if notes else None


def renewed(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names of today: what the hooks of a module make of those of an older version."""
    state: dict[str, Any] = dict(tensors)
    for hook in module._load_state_dict_pre_hooks.values():
        hook(state, "", {}, False, [], [], [])
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def fits(value: Tensor, own: Tensor) -> bool:
    """Check that a tensor can replace another: same shape, and same dtype or both floating point."""
    floating = value.is_floating_point() and own.is_floating_point()
    return value.shape == own.shape and (value.dtype == own.dtype or floating)


def shown(tensor: Tensor) -> str:
    """Format shape and dtype of a tensor for a message."""
    return f"{list(tensor.shape)} {tensor.dtype}".replace("torch.", "")
