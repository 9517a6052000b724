"""Someone else's super-resolution weights -> the task `superres`: `task, weights, said = adopted(tensors, metadata)`.

Each family of `FAMILIES` recognises its layers by name, and reads widths, depth and scale from their shapes. Which
values the network takes (0..1, 0..255 or -1..1) is not in a file: `fitted` tries all three on a drawn picture and
takes the one whose result is the most like bicubic upscaling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2i import ConfigError, WeightsError
from i2i.devices import random_state_kept
from i2i.networks import CARNM, EDSR, RFDN, RLFN, SPAN, SRVGG, MSRResNet, RRDBNet, SRResNet

from .families import FAMILIES
from .graphs import from_ncnn
from .layouts import Found
from .nearest import nearest

NETWORKS: dict[str, type[nn.Module]] = {
    "rrdbnet": RRDBNet,
    "srvgg": SRVGG,
    "span": SPAN,
    "srresnet": SRResNet,
    "msrresnet": MSRResNet,
    "edsr": EDSR,
    "rfdn": RFDN,
    "rlfn": RLFN,
    "carn_m": CARNM,
}
RANGES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))  # the usual one first
CONVERTS = {"rrdbnet", "msrresnet", "edsr", "carn_m"}  # take [-1, 1] and convert it to the published 0..1 inside
SURE, CLOSE = 14.0, 0.5  # dB


def adopted(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Return the task, its tensors and what was deduced, or None for another family; see the hook `adopt_weights`.

    Raises:
        WeightsError: a tensor of a family is missing, or has another shape.
    """
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    if metadata.get("format") == "ncnn":
        found = from_ncnn(tensors, metadata["layers"])
    else:
        found = next((found for family in FAMILIES if (found := family(tensors)) is not None), None)
    network = built(found) if found is not None else None
    if found is None or network is None:
        if (wrong := nearest(tensors, shapes_of)) and metadata.get("format") != "ncnn":
            raise WeightsError(wrong)
        return None
    if found.values is None:
        values, why = fitted(found, network)
    else:
        values, why = found.values, f"assumed: values {found.values[0]:g}..{found.values[1]:g}, as published"
    task = {"use": "superres", "generator": found.generator, "values": list(values)}
    own = {f"G.{name}": value for name, value in found.weights.items()}
    options = ", ".join(f"{key} {value}" for key, value in found.generator.items() if key != "use")
    return task, own, f"super-resolution, {found.generator['use']} ({options}), {why}"


def built(found: Found) -> nn.Module | None:
    """Return the network with its weights, or None if a tensor is missing, unexpected or of another shape."""
    if shapes_of(found) != {name: value.shape for name, value in found.weights.items()}:
        return None
    with random_state_kept():
        network = network_of(found).eval()
    network.load_state_dict(found.weights)
    return network


def network_of(found: Found) -> nn.Module:
    """Return the network, with weights of its own. Raises: ConfigError, no such network can be built."""
    return NETWORKS[found.generator["use"]](**{key: v for key, v in found.generator.items() if key != "use"})


def shapes_of(found: Found) -> dict[str, torch.Size]:
    """Return the shapes of a network's tensors, {} if no such network can be built."""
    try:
        with torch.device("meta"):  # takes no memory, whatever sizes a file claims
            return {name: value.shape for name, value in network_of(found).state_dict().items()}
    except ConfigError:
        return {}


def fitted(found: Found, network: nn.Module) -> tuple[tuple[float, float], str]:
    """Return the range of values that a network takes and gives, and in words what it was chosen from."""
    inner = {span: span for span in RANGES}
    if found.generator["use"] in CONVERTS:
        inner = {(low, high): (2 * low - 1, 2 * high - 1) for low, high in RANGES}
    decibels = {span: agreement(network, *inner[span]) for span in RANGES}
    best = max(decibels.values())
    chosen = next(span for span in RANGES if decibels[span] > best - CLOSE)
    tried = ", ".join(f"{low:g}..{high:g} {decibels[low, high]:.1f} dB" for low, high in RANGES)
    if best < SURE:
        chosen = RANGES[0]
        return inner[chosen], f"assumed: values 0..1, as no output resembles bicubic upscaling ({tried})"
    return inner[chosen], f"values {chosen[0]:g}..{chosen[1]:g} (PSNR to bicubic upscaling: {tried})"


@torch.no_grad()
def agreement(network: Any, low: float, high: float) -> float:
    """Return the PSNR in dB of a network's output to bicubic upscaling of the drawn picture."""
    picture = drawn()
    result = (network(picture * (high - low) + low) - low) / (high - low)
    wanted = F.interpolate(picture, result.shape[-2:], mode="bicubic", antialias=True)
    error = (result - wanted).square().mean().clamp(min=1e-10)
    return float(-10 * error.log10()) if torch.isfinite(error) else -1e9


def drawn() -> Tensor:
    """Return a picture [1, 3, 16, 20] in 0..1: a disc before a gradient of colours."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 16), torch.linspace(0, 1, 20), indexing="ij")
    disc = torch.sigmoid(25 * (0.3 - ((x - 0.6) ** 2 + (y - 0.5) ** 2).sqrt()))
    behind, colour = torch.stack([x, y, 0.8 - 0.6 * x]), torch.tensor([0.9, 0.7, 0.1])[:, None, None]
    return (behind * (1 - disc) + colour * disc)[None]
