"""The config of several tests: a VAE on digits, whose step takes a millisecond."""

from __future__ import annotations


def digits(more: str = "", **train: float) -> str:
    """Return the config with these settings of `train`, and further lines."""
    settings = {"log_every": 1, "sample_every": 100000, "checkpoint_every": 100000, "threads": 1} | train
    return f"""
task:
  use: vae
  encoder: {{use: dense_encoder, widths: [8]}}
  decoder: {{use: dense_decoder, widths: [8]}}
  latent: 2
  size: 28
data: {{use: digits, size: 28, batch_size: 4, samples: 20, validation_samples: 4}}
optimizer: {{use: adam, lr: 1.0e-3}}
train: {{{", ".join(f"{key}: {value}" for key, value in settings.items())}}}
{more}"""
