"""The first stage of rosinality/vq-vae-2-pytorch as a task: `i2i.load("vqvae_560.pt")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SIZE = 256  # pixels, of the published training; the weights fit every size that is divisible by 8
RENAMED = {
    "enc_t.blocks": "encoders.0",
    "enc_b.blocks": "encoders.1",
    "quantize_conv_t": "project.0",
    "quantize_conv_b": "project.1",
    "dec_t.blocks": "above.0",
    "upsample_t": "larger.0",
    "dec.blocks": "decoder",
}
BOOKS = {"quantize_t": "quantisers.0", "quantize_b": "quantisers.1"}
BUFFERS = {"embed": "codebook", "cluster_size": "counts", "embed_avg": "sums"}


def adopted(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise the weights; see the hook `adopt_weights`."""
    if not {"quantize_t.embed", "quantize_b.embed", "dec.blocks.0.weight", "enc_b.blocks.0.weight"} <= {*tensors}:
        return None
    code_width, codes = tensors["quantize_t.embed"].shape
    width = tensors["dec.blocks.0.weight"].shape[0]
    blocks = sum(name.startswith("enc_b.blocks.") and name.endswith(".conv.1.weight") for name in tensors)
    inner = tensors["enc_b.blocks.5.conv.1.weight"].shape[0] if blocks else 32
    config = {
        "use": "vqvae2",
        "size": SIZE,
        "channels": tensors["enc_b.blocks.0.weight"].shape[1],
        "width": width,
        "blocks": blocks,
        "block_width": inner,
        "codes": codes,
        "code_width": code_width,
    }
    own = {f"autoencoder.{new_name(name)}": turned(name, value) for name, value in tensors.items()}
    own |= {f"autoencoder.{book}.started": torch.ones(()) for book in BOOKS.values()}
    own |= {"moments": torch.zeros(2), "batches": torch.zeros(())}
    said = (
        f"the autoencoder of a VQ-VAE-2, 2 levels of {codes} codes of length {code_width}, width {width}, {blocks} "
        f"blocks; it reconstructs but has no priors to sample from; assumed: {SIZE}x{SIZE} pixels (task.size), "
        f"values from -1 to 1"
    )
    return config, own, said


def new_name(name: str) -> str:
    """Return the name of a tensor in `Autoencoder`."""
    layer, _, kind = name.rpartition(".")
    if layer in BOOKS:
        return f"{BOOKS[layer]}.{BUFFERS.get(kind, kind)}"
    old = next((old for old in RENAMED if name.startswith(f"{old}.")), "")
    return RENAMED.get(old, old) + name.removeprefix(old).replace(".conv.", ".body.")


def turned(name: str, value: Tensor) -> Tensor:
    """Return a codebook [D, K] as [K, D], and others as they are."""
    return value.T.contiguous() if name.endswith((".embed", ".embed_avg")) else value
