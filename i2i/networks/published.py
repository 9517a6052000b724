"""Weights of the generators of pytorch-CycleGAN-and-pix2pix and of CUT, under the names of our networks.

config, tensors, said = published_generator(tensors)      # config: {"use": "resnet_generator", "blocks": 9, ...}

Their files name layers by their place in nested sequences, so options that add a layer, such as dropout in a block,
shift the names behind it. The order of convolutions and normalisations is the same as in our networks, so that one
list is laid over the other once the options are known. Test with: `pytest tests/test_published.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from .resnet import ResnetGenerator
from .unet import UnetGenerator

Layers = dict[str, dict[str, Tensor]]  # "model.1" -> {"weight": ..., "bias": ...}, in the order of the forward pass
Found = tuple[dict[str, Any], dict[str, Tensor], str]
BATCH = {"weight", "bias", "running_mean", "running_var"}  # what a batch norm has
FEW = 0.15  # share of the tensors that may have other names, which is then reported
RANGE = "values from -1 to 1"


def published_generator(tensors: Mapping[str, Tensor]) -> Found | None:
    """Recognise a generator of pytorch-CycleGAN-and-pix2pix or CUT.

    Args:
        tensors: name -> weights, as saved by the published code.

    Returns:
        The `generator` of a config, its tensors under our names, and what was deduced and assumed in words; None if
        it is another network.

    Raises:
        WeightsError: it is one of these, but a tensor is missing, not expected or of another shape.
    """
    layers = layers_of({name: value for name, value in tensors.items() if name.startswith("model.")})
    others = [name for name in tensors if not name.startswith("model.")]
    found = None
    if not layers or len(others) > FEW * len(tensors):
        return None
    if any(".conv_block." in name for name in layers):
        found = resnet(layers)
    elif any(name.startswith("model.model.1.") for name in layers):
        found = unet(layers)
    if found is not None and others:
        raise WeightsError(f"looks like {found[2].partition('), ')[0]}), but {others[0]} does not belong to it")
    return found


def layers_of(tensors: Mapping[str, Tensor]) -> Layers:
    """Group tensors by layer, in the order of the numbers in their names."""
    found: Layers = {}
    for name in sorted(tensors, key=natural):
        layer, _, kind = name.rpartition(".")
        found.setdefault(layer, {})[kind] = tensors[name]
    return found


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts model.2 before model.10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def resnet(layers: Layers) -> Found | None:
    """Recognise a residual generator: convolutions 7, 3, 3, blocks, 3, 3, 7."""
    filters = [layer["filt"] for layer in layers.values() if "filt" in layer]
    layers = {name: layer for name, layer in layers.items() if "filt" not in layer}
    outer = [layer for name, layer in layers.items() if re.fullmatch(r"model\.\d+", name) and is_conv(layer)]
    places = sorted(
        {int(name.split(".")[3]) for name, layer in layers.items() if name.count(".") == 3 and is_conv(layer)}
    )
    what = "a resnet generator (CycleGAN, pix2pix, CUT)"
    if len(places) == 2 and len(outer) in (5, 7):
        raise WeightsError(f"looks like {what}, but has {len(outer)} convolutions outside its blocks instead of 6")
    if len(outer) != 6 or len(places) != 2 or (norm := norm_of(layers, outer[0])) is None:
        return None
    gap = places[1] - places[0]  # 3 layers between the convolutions of a block, a padding and a dropout
    padded = places[0] == 1
    dropout = gap - padded == 4
    sides = [filt.shape[-1] for filt in filters]
    if (places[0] not in (0, 1) or gap - padded not in (3, 4)) or sides not in ([], [3, 3], [4, 4], [3, 3, 4, 4]):
        return None
    config = {
        "in_channels": outer[0]["weight"].shape[1],
        "out_channels": outer[-1]["weight"].shape[0],
        "width": outer[0]["weight"].shape[0],
        "blocks": len({name.split(".")[1] for name in layers if ".conv_block." in name}),
        "norm": norm,
        "upsample": "bilinear" if 4 in sides else "transposed",
        "downsample": "blur" if 3 in sides else "strided",
        "dropout": 0.5 if dropout else 0.0,
        "padding": "reflect" if padded else "zeros",
    }
    own = paired(layers, ResnetGenerator, config, norm, f"{what} of {config['blocks']} blocks")
    said = "antialiased as in CUT, " if sides else ""
    assumed = ["reflection padding in the blocks"] * padded + ["dropout 0.5"] * dropout
    words = (
        f"{what}, {channels(config)}, {config['blocks']} blocks, {said}"
        f"{norm_in_words(norm)}, {'' if dropout else 'no '}dropout; assumed: {', '.join([*assumed, RANGE])}"
    )
    return {"use": "resnet_generator", **config}, own, words


def unet(layers: Layers) -> Found | None:
    """Recognise a U-Net: as many transposed 4x4 convolutions as convolutions, nested."""
    what = "a U-Net generator (pix2pix, CycleGAN)"
    convs = [layer for layer in layers.values() if is_conv(layer)]
    if len(convs) < 4 or any(layer["weight"].shape[2:] != (4, 4) for layer in convs):
        return None
    if len(convs) % 2:
        raise WeightsError(f"looks like {what}, but one of its convolutions is missing: it has {len(convs)} of them")
    if (norm := norm_of(layers, convs[1])) is None:
        return None
    config = {
        "in_channels": convs[0]["weight"].shape[1],
        "out_channels": convs[-1]["weight"].shape[1],
        "width": convs[0]["weight"].shape[0],
        "downs": len(convs) // 2,
        "norm": norm,
        "dropout": 0.5 if norm == "batch" else 0.0,
    }
    own = paired(layers, UnetGenerator, config, norm, f"{what} of {config['downs']} downsamplings")
    usual = "dropout 0.5, as usual in pix2pix" if norm == "batch" else "no dropout, as usual in CycleGAN"
    words = (
        f"{what}, {channels(config)}, {config['downs']} downsamplings, "
        f"{norm_in_words(norm)}; assumed: {usual}, {RANGE}"
    )
    return {"use": "unet_generator", **config}, own, words


def channels(config: Mapping[str, Any]) -> str:
    """Write the channels of a generator."""
    return f"{config['in_channels']} to {config['out_channels']} channels, width {config['width']}"


def norm_in_words(norm: str) -> str:
    """Write the name of a normalisation."""
    return f"{norm} norm" if norm != "none" else "no norm"


def is_conv(layer: Mapping[str, Tensor]) -> bool:
    """Return whether a layer has the weight of a convolution."""
    return "weight" in layer and layer["weight"].ndim == 4


def norm_of(layers: Layers, first: Mapping[str, Tensor]) -> str | None:
    """Return the normalisation of a generator, None if it is one that the published code does not have.

    Args:
        layers: all layers.
        first: a convolution before a normalisation; it has a bias only with instance norm.

    Raises:
        WeightsError: some batch norms lack what others have.
    """
    norms = [layer for layer in layers.values() if not is_conv(layer)]
    if not any("weight" in layer for layer in norms):  # instance norm of PyTorch 0.3 has statistics that are not used
        return "instance" if "bias" in first else "none"
    if not any({*layer} >= BATCH for layer in norms):
        return None
    for name, layer in layers.items():
        if not is_conv(layer) and (lacking := sorted(BATCH - {*layer})):
            raise WeightsError(f"looks like a generator with batch norm, but {name}.{lacking[0]} is missing")
    return "batch"


def paired(
    layers: Layers, network: type[nn.Module], config: dict[str, Any], norm: str, what: str
) -> dict[str, Tensor]:
    """Return the tensors of layers under the names of a network of ours.

    Raises:
        WeightsError: they do not fit; says the first that does not.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        own = layers_of_network(network(**config))
    theirs = {name: layer for name, layer in layers.items() if norm == "batch" or is_conv(layer)}
    if len(own) != len(theirs):
        raise WeightsError(
            f"looks like {what}, but {len(theirs)} layers have weights instead of {len(own)}{departure(own, theirs)}"
        )
    found: dict[str, Tensor] = {}
    for (name, wanted), (place, layer) in zip(own.items(), theirs.items(), strict=True):
        for kind, like in wanted.items():
            value = layer.get(kind)
            if value is None and (kind == "num_batches_tracked" or (kind == "bias" and norm == "none")):
                value = torch.zeros(like.shape, dtype=like.dtype)
            if value is None:
                raise WeightsError(f"looks like {what}, but {place}.{kind} is missing")
            if value.shape != like.shape:
                raise WeightsError(
                    f"looks like {what}, but {place}.{kind} is {[*value.shape]} instead of {[*like.shape]}"
                )
            found[f"{name}.{kind}"] = value
        if more := sorted({*layer} - {*wanted}):
            raise WeightsError(f"looks like {what}, but also has {place}.{more[0]}")
    return found


def departure(own: Layers, theirs: Layers) -> str:
    """Return where layers begin to have other shapes than those of a network, as the end of a sentence."""
    for wanted, (place, layer) in zip(own.values(), theirs.items(), strict=False):
        if any(kind in layer and layer[kind].shape != like.shape for kind, like in wanted.items()):
            return f"; the first that is not where it belongs is {place}"
    return f"; those up to {[*theirs][min(len(own), len(theirs)) - 1]} fit"


def layers_of_network(network: nn.Module) -> Layers:
    """Group the tensors of a network by layer, in the order in which the layers were added."""
    found: Layers = {}
    for name, value in network.state_dict().items():
        layer, _, kind = name.rpartition(".")
        found.setdefault(layer, {})[kind] = value
    return found
