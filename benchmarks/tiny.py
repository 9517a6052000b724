"""A config of every kind of task that trains for 8 steps in about a second, on drawn data: for benchmarks of faults.

    from tiny import CONFIGS, write
    write("vae", folder)                             # folder/vae.yaml

Each writes a checkpoint every second step, so that many faults hit a save, and has what a resume has to restore:
averages, a schedule, a pool, a stage switch, a vocabulary or a codebook.
"""

from __future__ import annotations

import os
from pathlib import Path

TRAIN = """
optimizer: {use: adam, lr: 1.0e-3}
schedule: {use: linear_decay, start: 2, end: 12, unit: steps}
train: {steps: 8, ema: 0.9, log_every: 1, sample_every: 5, checkpoint_every: 2, keep: 2, threads: 1}
"""

PARTS = {
    "cyclegan": """
task:
  use: cyclegan
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 1}
  gan: {use: lsgan}
  pool: 3
data: {use: horses_zebras, size: 64, batch_size: 1, samples: 6, validation_samples: 2}
""",
    "pix2pix": """
task:
  use: pix2pix
  generator: {use: unet_generator, width: 4, downs: 4}
  discriminator: {use: patch_discriminator, in_channels: 6, width: 4, layers: 1}
  gan: {use: vanilla}
data: {use: drawn_facades, size: 64, batch_size: 2, samples: 8, validation_samples: 2}
""",
    "gan": """
task:
  use: gan
  generator: {use: dcgan_generator, width: 4}
  discriminator: {use: dcgan_discriminator, width: 4}
  gan: {use: vanilla}
  latent: 8
data: {use: digits, size: 32, batch_size: 8, samples: 40, validation_samples: 8}
""",
    "vae": """
task:
  use: vae
  encoder: {use: dense_encoder, widths: [16]}
  decoder: {use: dense_decoder, widths: [16]}
  latent: 4
  size: 28
data: {use: digits, size: 28, batch_size: 8, samples: 40, validation_samples: 8}
""",
    "vqvae2": """
task:
  use: vqvae2
  size: 32
  channels: 1
  levels: 2
  width: 8
  block_width: 4
  codes: 16
  code_width: 4
  classes: 10
  prior_from: 3
  vq_until: 6
  priors:
    top: {use: pixelcnn, width: 8, layers: 2, kernel: 3}
    bottom: {use: pixelcnn, width: 8, layers: 2, kernel: 3}
data: {use: digits, size: 32, batch_size: 8, samples: 40, validation_samples: 8}
""",
    "superres": """
task:
  use: superres
  generator: {use: compact_sr, scale: 4, width: 8, blocks: 1}
  discriminator: {use: unet_discriminator, width: 4}
  gan: {use: vanilla}
  pixel: l1
  pixel_steps: 3
data: {use: synthetic_photos, scale: 4, size: 32, batch_size: 2, samples: 6, validation_samples: 2}
""",
    "spade": """
task:
  use: spade
  generator: {use: spade_generator, width: 4, size: 32, hidden: 4}
  discriminator: {use: multiscale_discriminator, width: 4, layers: 2}
  gan: {use: hinge}
  encoder: {use: style_encoder, width: 4, z: 4, size: 32}
  classes: 8
data: {use: landscapes, size: 32, batch_size: 2, samples: 6, validation_samples: 2}
""",
    "text": """
task:
  use: text2image
  encoder: {use: word_encoder, words: 100}
  generator: {use: text_generator, width: 4}
  discriminator: {use: text_projection_discriminator, width: 4}
  gan: {use: hinge}
  latent: 8
  size: 32
  lambda_match: 1.0
data: {use: captioned_scenes, size: 32, batch_size: 8, samples: 40, validation_samples: 8}
""",
    "matching": """
task:
  use: text_matching
  encoder: {use: matching_encoder, words: 100, embedding: 8, width: 16, shared: 8, network: random_conv}
data: {use: captioned_scenes, size: 32, batch_size: 8, samples: 40, validation_samples: 8}
""",
    "clip": """
task:
  use: videogan
  generator: {use: layered_generator, width: 4}
  picture_discriminator: {use: picture_discriminator, width: 4, norm: spectral, condition: category, noise: 0.0}
  clip_discriminator: {use: stacked_discriminator, width: 4}
  gan: {use: hinge}
  frames: 8
  pictures: 2
  channels: 1
  size: 32
  classes: 10
data: {use: moving_digits, size: 32, frames: 8, batch_size: 4, samples: 20, validation_samples: 4}
""",
    "trajectory": """
task:
  use: trajectory
  generator: {use: heading_forecaster}
  variety: {use: distance_variety, final: 0.5}
  samples: 4
data: {use: crowds, batch_size: 4, samples: 20}
""",
    "colorful": """
task:
  use: colorful
  generator: {use: colour_unet, width: 4}
data:
  use: derived_from
  source: {use: horses_zebras, size: 32, batch_size: 2, samples: 6, validation_samples: 2}
  picture: A
  derive: grey
""",
    "colorization": """
task:
  use: colorization
  generator: {use: unet_generator, in_channels: 1, out_channels: 2, width: 4, downs: 4}
data:
  use: derived_from
  source: {use: horses_zebras, size: 32, batch_size: 2, samples: 6, validation_samples: 2}
  picture: A
  derive: grey
""",
    "relief": """
task:
  use: relief
  generator: {use: unet_generator, width: 4, downs: 4, norm: instance, dropout: 0.0}
data: {use: reliefs, size: 32, batch_size: 2, samples: 6, validation_samples: 2}
""",
    "prediction": """
task:
  use: video_prediction
  generator: {use: frame_predictor, width: 4, reach: 4}
  picture_discriminator: {use: picture_discriminator, width: 4, norm: spectral, noise: 0.0}
  clip_discriminator: {use: stacked_discriminator, width: 4}
  gan: {use: hinge}
  given: 2
  frames: 8
  channels: 1
  size: 32
data: {use: moving_digits, size: 32, frames: 8, given: 2, batch_size: 4, samples: 20, validation_samples: 4}
""",
}

CONFIGS = {name: text + TRAIN for name, text in PARTS.items()}


def write(name: str, folder: Path) -> Path:
    """Write the config of a kind of task into a folder, and return the file."""
    file = folder / f"{name}.yaml"
    file.write_text(CONFIGS[name])
    return file


def memory_folder() -> str | None:
    """Return a folder in memory for runs that are only written to be damaged, or None if there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
