"""The weights of NVlabs/SPADE as a task: `latest_net_G.pth`, and with `latest_net_E.pth` in the same folder.

i2i translate LABELS -o OUT -m checkpoints/coco_pretrained
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from i2i import WeightsError

RENAMED = {
    "fc": "start",
    "conv_img": "head",
    "head_0": "blocks.0",
    "G_middle_0": "blocks.1",
    "G_middle_1": "blocks.2",
    **{f"up_{n}": f"blocks.{n + 3}" for n in range(5)},
}
INSIDE = {"param_free_norm": "plain", "mlp_shared.0": "shared", "mlp_gamma": "gamma", "mlp_beta": "beta"}
SPECTRAL = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0.u",
}
DATA = {  # channels of the label maps of the published models -> task, number of upsamplings, data set
    184: ({"classes": 182, "ignore": 255, "edges": True}, "normal", "COCO-Stuff"),
    151: ({"classes": 150, "ignore": 0}, "normal", "ADE20K"),
    36: ({"classes": 35, "edges": True}, "more", "Cityscapes"),
}
DOUBLINGS = {"normal": 5, "more": 6, "most": 7}


def adopted(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise the weights; see the hook `adopt_weights`.

    Raises:
        WeightsError: it is SPADE, but with layers that i2i does not have.
    """
    parts = {part: inside(tensors, f"{part}.") for part in ("G", "E")} if "G.fc.weight" in tensors else {"G": tensors}
    g, e = parts["G"], parts.get("E") or {}
    if not {"fc.weight", "conv_img.weight", "head_0.norm_0.mlp_shared.0.weight"} <= {*g}:
        return None
    shared = g["head_0.norm_0.mlp_shared.0.weight"]
    if shared.shape[2:] != (3, 3):
        raise WeightsError(f"a SPADE generator whose norms have {shared.shape[2]}x{shared.shape[2]} kernels, not 3x3")
    seen = shared.shape[1]
    task, upsampling, data = DATA.get(seen, ({"classes": seen}, "normal", ""))
    if "up_4.conv_0.weight_orig" in g or "up_4.conv_0.weight" in g:
        upsampling = "most"
    width, z = g["up_0.conv_1.bias"].shape[0] // 8, g["fc.weight"].shape[1] if g["fc.weight"].ndim == 2 else 0
    norm = "batch" if "head_0.norm_0.param_free_norm.running_mean" in g else "instance"
    generator = {"use": "spade_generator", "width": width, "upsampling": upsampling, "hidden": shared.shape[0]}
    generator |= {"norm": norm}
    assumed = [f"label maps of {data}" if data else f"{seen} classes, none ignored and no edges"]
    assumed += [f"{DOUBLINGS[upsampling]} upsamplings"] if upsampling != "most" else []
    if z:
        generator["size"] = size = size_of(g["fc.weight"].shape[0] // (16 * width), DOUBLINGS[upsampling])
        assumed.append(f"trained at {size[0]}x{size[1]} pixels")
    config = {"use": "spade", "generator": generator, **task}
    own = {f"G.{name}": value for name, value in renamed(g).items()}
    if z and e:
        config["encoder"] = {"use": "style_encoder", "width": e["layer1.0.weight_orig"].shape[0], "z": z}
        own |= {f"E.{name}": value for name, value in encoder(e).items()}
    elif z:
        config["z"] = z
    styles = (
        "" if not z else ", with its style encoder" if e else ", with random styles (its encoder is another file)"
    )
    said = f"a SPADE generator{styles}, {seen} channels of label maps, width {width}, {norm} norm"
    return config, own, f"{said}; assumed: {', '.join(assumed)}"


def inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def size_of(places: int, doublings: int) -> list[int]:
    """Return height and width of the training images from the area of the first feature map: square, or 1 to 2."""
    height = isqrt(places)
    if height * height != places:
        height = isqrt(places // 2)
    return [height * 2**doublings, places // max(height, 1) * 2**doublings]


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a published generator under the names of `i2i.networks.SpadeGenerator`."""
    found = {}
    for name, value in tensors.items():
        first, _, rest = name.partition(".")
        for old, new in {**INSIDE, **SPECTRAL}.items():
            rest = re.sub(rf"(^|\.){re.escape(old)}(?=\.|$)", rf"\g<1>{new}", rest)
        if not rest.endswith("weight_v"):  # computed from u
            found[f"{RENAMED.get(first, first)}.{rest}"] = value
    for name in [name for name in found if name.endswith("plain.running_mean")]:
        found.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return found


def encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a published encoder under the names of `i2i.networks.StyleEncoder`."""
    found = {}
    for name, value in tensors.items():
        first, _, rest = name.partition(".")
        if first in ("fc_mu", "fc_var"):
            found[f"{'mu' if first == 'fc_mu' else 'logvar'}.{rest}"] = value
        elif (kind := SPECTRAL.get(rest.partition(".")[2])) is not None:
            found[f"body.{3 * (int(first.removeprefix('layer')) - 1)}.{kind}"] = value
    return found
