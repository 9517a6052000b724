"""A GAN without training: the principal components of drawn faces as the weights of a linear generator."""

from __future__ import annotations

from pathlib import Path

import torch
from i2i_scenes.faces import Faces

from i2i import checkpoint, config
from i2i.plugins import registry

CONFIG = """
task:
  use: gan
  generator: {use: dense_generator, widths: []}
  discriminator: {use: dense_discriminator, widths: [4]}
  gan: {use: vanilla}
  latent: 40
  channels: 3
  size: 32
data: {use: faces, size: 32, samples: 400, validation_samples: 1}
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 1}
"""


def linear_gan(file: Path) -> Path:
    """Write the weights to `file`, and return it."""
    faces = Faces(size=32, samples=400, validation_samples=1)
    x = torch.stack([faces.train[i]["image"] for i in range(len(faces))]).flatten(1).mul(0.98).atanh()
    _, spread, axes = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    _, build = config.task_of(CONFIG, "linear_gan", registry().catalog)
    weights = {key: value for key, value in build().state_dict().items() if not key.endswith("_extra_state")}
    weights["generator.layers.0.weight"] = ((spread[:40, None] * axes[:40]).T / len(x) ** 0.5).contiguous()
    weights["generator.layers.0.bias"] = x.mean(0)
    checkpoint.save_model(file, weights, CONFIG, {})
    return file
