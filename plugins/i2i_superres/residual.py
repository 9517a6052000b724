"""The published layouts of SRResNet in three projects, of MSRResNet and of EDSR; see families.py."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .layouts import Found, Tensors, count, shape


def ups(block: str, conv: str, prelu: str) -> dict[str, str]:
    """Return the rules of SRResNet's two upsamplings, each a convolution, a shuffle and a PReLU."""
    return {
        f"{block.format(n)}\\.{layer}": f"up.{3 * n + place}"
        for n in (0, 1)
        for layer, place in ((conv, 0), (prelu, 2))
    }


def in_trunk(tensors: Tensors) -> dict[str, str]:
    """SRResNet of SRGAN-PyTorch: conv1 or conv_block1, trunk.0.rcb ..., without biases before batch norm."""
    blocks = count(tensors, r"trunk\.(\d+)\.rcb\.")
    return {
        r"conv(?:_block)?1\.(\d)": "head.{0}",
        r"trunk\.(\d+)\.rcb\.(\d)": "body.body.{0}.body.{1}",
        r"conv(?:_block)?2\.0": f"body.body.{blocks}",
        r"conv(?:_block)?2\.1": f"body.body.{blocks + 1}",
        **ups(r"upsampling\.{}\.upsample_block", "0", "2"),
        r"conv(?:_block)?3(?:\.0)?": "tail",
    }


def in_numbered_blocks(tensors: Tensors) -> dict[str, str]:
    """SRResNet as block1 to block8, the inner ones residual; it ends in (tanh + 1) / 2."""
    last = count(tensors, r"block(\d+)\.conv1\.") - 1  # residual block
    return {
        r"block1\.(\d)": "head.{0}",
        **{
            rf"block(\d+)\.{layer}": f"body.body.{{0-2}}.body.{place}"
            for place, layer in enumerate(("conv1", "bn1", "prelu", "conv2", "bn2"))
        },
        rf"block{last + 1}\.0": f"body.body.{last - 1}",
        rf"block{last + 1}\.1": f"body.body.{last}",
        **ups(rf"block{last + 2}\.{{}}", "conv", "prelu"),
        rf"block{last + 2}\.\d": "tail",
    }


def in_conv_blocks(tensors: Tensors) -> dict[str, str]:
    """SRResNet of a-PyTorch-Tutorial-to-Super-Resolution; it takes ImageNet's statistics, and ends in tanh."""
    blocks = count(tensors, r"residual_blocks\.(\d+)\.")
    return {
        r"conv_block1\.conv_block\.(\d)": "head.{0}",
        r"residual_blocks\.(\d+)\.conv_block1\.conv_block\.(\d)": "body.body.{0}.body.{1}",
        r"residual_blocks\.(\d+)\.conv_block2\.conv_block\.0": "body.body.{0}.body.3",
        r"residual_blocks\.(\d+)\.conv_block2\.conv_block\.1": "body.body.{0}.body.4",
        r"conv_block2\.conv_block\.0": f"body.body.{blocks}",
        r"conv_block2\.conv_block\.1": f"body.body.{blocks + 1}",
        **ups(r"subpixel_convolutional_blocks\.{}", "conv", "prelu"),
        r"conv_block3\.conv_block\.0": "tail",
    }


def srresnet(tensors: Tensors, weights: dict[str, Tensor]) -> Found | None:
    """SRResNet with batch norm, in any of its three layouts."""
    normed = [name.removesuffix(".running_mean") for name in weights if name.endswith(".running_mean")]
    convs = [f"{layer.rpartition('.')[0]}.{int(layer.rpartition('.')[2]) - 1}" for layer in normed]
    if not any(f"{conv}.bias" in weights for conv in convs):
        weights |= {f"{conv}.bias": torch.zeros(shape(weights, conv)[0]) for conv in convs}
    if not any(f"{layer}.num_batches_tracked" in weights for layer in normed):  # as before PyTorch 0.4.1
        weights |= {f"{layer}.num_batches_tracked": torch.tensor(0) for layer in normed}
    found = residual("srresnet", weights, "head.0", r"body\.body\.(\d+)\.body\.", "up.3")
    if found is None:
        return None
    if "block1.0.weight" in tensors:
        return found._replace(generator=found.generator | {"ends": "half_tanh"}, values=(0.0, 1.0))
    if "conv_block3.conv_block.0.weight" in tensors:
        return found._replace(generator=found.generator | {"ends": "tanh", "imagenet": True}, values=(-1.0, 1.0))
    return found


MSRRESNET_RULES = {
    "conv_first": "head.0",
    r"(?:body|recon_trunk)\.(\d+)\.conv1": "body.{0}.body.0",
    r"(?:body|recon_trunk)\.(\d+)\.conv2": "body.{0}.body.2",
    "upconv1": "up.0",
    "upconv2": "up.3",
    "conv_hr|HRconv": "tail.0",
    "conv_last": "tail.2",
}


def msrresnet(tensors: Tensors, weights: dict[str, Tensor]) -> Found | None:
    """MSRResNet as in BasicSR, and under its older names."""
    return residual("msrresnet", weights, "head.0", r"body\.(\d+)\.", "up.3")


def edsr_rules(tensors: Tensors) -> dict[str, str]:
    """Return the rules of EDSR as in BasicSR."""
    blocks = count(tensors, r"body\.(\d+)\.conv1\.")
    return {
        "conv_first": "head",
        r"body\.(\d+)\.conv1": "body.body.{0}.body.0",
        r"body\.(\d+)\.conv2": "body.body.{0}.body.2",
        "conv_after_body": f"body.body.{blocks}",
        r"upsample\.0": "up.0",
        r"upsample\.2": "up.2",
        "conv_last": "tail",
    }


def edsr(tensors: Tensors, weights: dict[str, Tensor]) -> Found | None:
    """EDSR; networks of 256 channels and more have residuals times 0.1, as in the paper."""
    found = residual("edsr", weights, "head", r"body\.body\.(\d+)\.body\.", "up.2")
    if found is not None and found.generator["width"] >= 256:
        found.generator["residual_scale"] = 0.1
    return found


def residual(use: str, weights: Tensors | None, head: str, block: str, second: str) -> Found | None:
    """Return one of the three: scale 3 has nine times the channels before its only upsampling, 4 a second one."""
    blocks = count(weights or {}, block)
    if weights is None or not blocks or shape(weights, head)[1] != 3 or shape(weights, "up.0")[0] == 0:
        return None
    width = shape(weights, head)[0]
    step = math.isqrt(shape(weights, "up.0")[0] // width)
    scale = 4 if f"{second}.weight" in weights else step
    if scale not in (2, 3, 4):
        return None
    return Found({"use": use, "scale": scale, "width": width, "blocks": blocks}, dict(weights))
