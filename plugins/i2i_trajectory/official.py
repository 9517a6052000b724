"""The published weights of Social GAN as a task: `SocialGAN/scripts/download_models.sh` and copies of it.

i2i translate scene.txt -o OUT -m sgan-models/eth_12_model.pt
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from i2i import WeightsError

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


def adopted(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise the weights of a generator by their names; the options of the network are "args" in the file.

    Raises:
        WeightsError: the options are missing, or the network pools in another way.
    """
    if not {"encoder.spatial_embedding.weight", "decoder.hidden2pos.weight"} <= {*tensors}:
        return None
    args = metadata.get("args")
    try:
        generator = options(args if isinstance(args, Mapping) else {})
        observed = args["obs_len"]  # type: ignore[index]
    except (KeyError, TypeError, IndexError) as error:
        raise WeightsError(
            f'a Social GAN whose options ("args" in the file) lack {error}: use a complete file'
        ) from error
    sees = "pooling" if generator["pooling"] else "no pooling"
    said = (
        f"a generator of Social GAN, {sees}, {observed} frames observed and {generator['predicted']} predicted; all "
        f"options are in the file"
    )
    config = {"use": "trajectory", "generator": {"use": "social_gan_generator", **generator}, "observed": observed}
    return config, {f"G.{new_name(name)}": value for name, value in tensors.items()}, said


def options(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `SocialGANGenerator` that those of a published file mean."""
    if args["pooling_type"] not in ("none", None, "pool_net") or args["pool_every_timestep"] or args["batch_norm"]:
        raise WeightsError(
            "a Social GAN with another pooling than `pool_net` after the last observed frame: not read"
        )
    noise = args.get("noise_type", "gaussian"), args.get("noise_mix_type", "global")
    if noise != ("gaussian", "global") and sum(args["noise_dim"]):
        raise WeightsError(
            f"a Social GAN with {noise[0]} noise, mixed in by {noise[1]} (noise_mix_type): only gaussian and global "
            f"are read"
        )
    return {
        "predicted": args["pred_len"],
        "noise": args["noise_dim"][0],
        "pooling": args["pooling_type"] == "pool_net",
        "embedding": args["embedding_dim"],
        "state": args["encoder_h_dim_g"],
        "width": args["mlp_dim"],
        "pooled": args["bottleneck_dim"],
    }


def new_name(name: str) -> str:
    """Return the name of a published tensor in `SocialGANGenerator`."""
    old = next((old for old in RENAMED if name.startswith(f"{old}.")), "")
    return (RENAMED.get(old, old) + name.removeprefix(old)).removesuffix("_l0")
