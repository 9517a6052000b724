"""Cases of layers: instance norm, batch norm in training and evaluation, pixel shuffle, the KL term."""

from __future__ import annotations

import numpy as np
from store import Files, case


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Return numbers with a mean and a deviation that differ by channel."""
    x = np.random.default_rng(seed).normal(size=shape)
    channel = np.arange(shape[1]).reshape(1, -1, 1, 1)
    return x * (1 + channel) + 2 * channel - 1


@case("Instance norm", 1e-5, "standard deviations")
def instance_norm() -> Files:
    """Convention: (x - mean) / sqrt(variance + 1e-5) over the pixels of each channel of each image, with the
    variance divided by the number of pixels; no gain or bias, no running statistics, the same in training and in
    evaluation.

    Trap: The variance divided by n - 1; statistics of the batch, which make a result depend on its neighbours; old
    weights of PyTorch with running statistics, which must be ignored.

    Made: by the formula, in float64; the second image has little contrast, so that 1e-5 matters.
    """
    x = normal(2, 3, 4, 5)
    x[1] *= 0.003
    mean = x.mean((2, 3), keepdims=True)
    return {
        "input.npy": x,
        "expected.npy": (x - mean) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5),
        "trap_n_minus_1.npy": (x - mean) / np.sqrt(x.var((2, 3), keepdims=True, ddof=1) + 1e-5),
        "trap_batch.npy": (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5),
    }


@case("Batch norm in evaluation", 1e-5, "standard deviations")
def batch_norm() -> Files:
    """Convention: In training, (x - mean) / sqrt(variance + 1e-5) over the batch, with the variance divided by n;
    the running statistics become 0.9 * old + 0.1 * new, there with the variance divided by n - 1. Evaluation uses
    these. They start at 0 and 1.

    Trap: TensorFlow and Keras name the other share momentum (0.99), have 1e-3 for 1e-5 and divide the running
    variance by n. pix2pix evaluates in training mode, with the statistics of the test image.

    Made: by the formula, in float64: two batches in training mode, then a third in evaluation.
    """
    batches, mean, variance, biased = [normal(2, 3, 3, 4, seed=n) for n in range(3)], 0.0, 1.0, 1.0
    for x in batches[:2]:
        mean = 0.9 * mean + 0.1 * x.mean((0, 2, 3), keepdims=True)
        variance = 0.9 * variance + 0.1 * x.var((0, 2, 3), keepdims=True, ddof=1)
        biased = 0.9 * biased + 0.1 * x.var((0, 2, 3), keepdims=True)
    own = batches[2].mean((0, 2, 3), keepdims=True), batches[2].var((0, 2, 3), keepdims=True)
    return {
        "input.npy": np.stack(batches),
        "expected.npy": (batches[2] - mean) / np.sqrt(variance + 1e-5),
        "trap_variance_n.npy": (batches[2] - mean) / np.sqrt(biased + 1e-5),
        "trap_training_mode.npy": (batches[2] - own[0]) / np.sqrt(own[1] + 1e-5),
    }


@case("Pixel shuffle", 0, "of the input's unit")
def pixel_shuffle() -> Files:
    """Convention: Channel c * r * r + i * r + j of the input is channel c at row i, column j of each block of r x r
    pixels: as in torch.nn.PixelShuffle, and DepthToSpace of ONNX with mode CRD.

    Trap: TensorFlow's depth_to_space, and DCR of ONNX, have the colours last: channel (i * r + j) * C + c. With
    converted weights the picture shows a grid of wrong colours.

    Made: by the formula, 12 channels to 3, r = 2.
    """
    r, c, height, width = 2, 3, 2, 3
    x = np.arange(c * r * r * height * width, dtype=float).reshape(1, -1, height, width)
    expected, other = np.zeros((1, c, height * r, width * r)), np.zeros((1, c, height * r, width * r))
    for i in range(r):
        for j in range(r):
            for channel in range(c):
                expected[0, channel, i::r, j::r] = x[0, channel * r * r + i * r + j]
                other[0, channel, i::r, j::r] = x[0, (i * r + j) * c + channel]
    return {"input.npy": x, "expected.npy": expected, "trap_dcr.npy": other}


@case("KL term of a VAE", 1e-5, "nats")
def kl_term() -> Files:
    """Convention: -1/2 sum(1 + logvar - mu^2 - exp(logvar)): summed over the latent dimensions and averaged over the
    images, like the reconstruction, which is summed over the pixels. The unit is nats per image.

    Trap: Averaging over dimensions, or over pixels, changes the balance of the two terms by the ratio of their
    numbers: a hidden beta. Reading log sigma as log sigma^2 doubles the deviations' effect.

    Made: by the formula, 5 images, 4 dimensions.
    """
    chance = np.random.default_rng(3)
    mu, logvar = chance.normal(size=(5, 4)), chance.normal(size=(5, 4)) - 1
    each = -0.5 * (1 + logvar - mu**2 - np.exp(logvar))
    return {
        "input_mu.npy": mu,
        "input_logvar.npy": logvar,
        "expected.json": {"kl": each.sum(1).mean()},
        "trap_mean.json": {"kl": each.mean()},
    }
