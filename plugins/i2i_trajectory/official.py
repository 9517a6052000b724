"""The published weights of Social GAN: `SocialGAN/scripts/download_models.sh` and copies of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i import WeightsError

from .social_gan import SocialGANGenerator

RENAMED = {
    "encoder.spatial_embedding": "encoder.embed",
    "encoder.encoder": "encoder.lstm",
    "pool_net.spatial_embedding": "pool.embed",
    "pool_net.mlp_pre_pool.0": "pool.first",
    "pool_net.mlp_pre_pool.2": "pool.second",
    "mlp_decoder_context": "context",
    "decoder.spatial_embedding": "embed",
    "decoder.hidden2pos": "out",
    "decoder.decoder": "decoder",
}


def published(path: str | Path) -> SocialGANGenerator:
    """Return the generator of a published `.pt` file, e.g. `sgan-models/eth_12_model.pt`, in eval mode.

    Raises:
        WeightsError: the file is missing, or not a Social GAN with pooling after the last observed frame or without.
    """
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        args, state = kept["args"], kept["g_state"]
        network = generator(args)
        network.load_state_dict(renamed(state))
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged or foreign file makes torch raise nearly anything
        why = (str(error).splitlines() or [""])[0]
        raise WeightsError(
            f"{path}: not the weights of a published Social GAN ({type(error).__name__}: {why})"
        ) from error
    return network.eval()


def generator(args: dict[str, Any]) -> SocialGANGenerator:
    """Build the network that the options of a published file describe."""
    if args["pooling_type"] not in ("none", None, "pool_net") or args["pool_every_timestep"] or args["batch_norm"]:
        raise TypeError("its pooling is another than `pool_net` after the last observed frame")
    return SocialGANGenerator(
        predicted=args["pred_len"],
        noise=args["noise_dim"][0],
        pooling=args["pooling_type"] == "pool_net",
        embedding=args["embedding_dim"],
        state=args["encoder_h_dim_g"],
        width=args["mlp_dim"],
        pooled=args["bottleneck_dim"],
    )


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return published tensors under the names of `SocialGANGenerator`."""
    found = {}
    for key, value in state.items():
        old = next((name for name in RENAMED if key.startswith(f"{name}.")), None)
        if old is None:
            raise KeyError(key)
        new = RENAMED[old] + key.removeprefix(old)
        found[new.removesuffix("_l0")] = value
    return found
