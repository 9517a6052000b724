"""The variational autoencoder: a decoder that generates images from z ~ N(0, I), and an encoder. arXiv:1312.6114.

i2i run configs/vae.yaml                 # embedded digits, minutes
i2i run configs/vae_2d.yaml              # two latent dimensions: the whole plane on one sheet
i2i run configs/real/vae_mnist.yaml      # the fully connected 784-400-20 on MNIST
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Gt

from i2i import Catalog, hookimpl

from .flow import CouplingFlow
from .likelihoods import Bernoulli, Gaussian
from .metrics import ActiveUnits, ImportanceNLL
from .networks import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder
from .task import VAE

__all__ = [
    "VAE",
    "ActiveUnits",
    "Bernoulli",
    "ConvDecoder",
    "ConvEncoder",
    "CouplingFlow",
    "DenseDecoder",
    "DenseEncoder",
    "Gaussian",
    "ImportanceNLL",
    "adagrad",
]

FUSED = {"cpu", "cuda"} if torch.__version__ >= "2.13" else {"cpu"}  # where PyTorch has a fused Adagrad


def adagrad(
    params: Iterable[torch.nn.Parameter],
    lr: Annotated[float, Gt(0)] = 1e-2,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
) -> torch.optim.Optimizer:
    """Adagrad, the optimizer of the paper; fused where PyTorch can. Source: Duchi et al., JMLR 12, 2011."""
    params = list(params)
    fused = {p.device.type for p in params} <= FUSED  # then a flag on the device can hold it back after a fault
    return torch.optim.Adagrad(params, lr=lr, weight_decay=weight_decay, fused=fused or None)


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `vae`, its networks, likelihoods and metrics, and the optimizer of its paper."""
    catalog.task("vae", VAE)
    catalog.network("dense_encoder", DenseEncoder)
    catalog.network("dense_decoder", DenseDecoder)
    catalog.network("vae_conv_encoder", ConvEncoder)
    catalog.network("vae_conv_decoder", ConvDecoder)
    catalog.network("coupling_flow", CouplingFlow)
    catalog.loss("bernoulli", Bernoulli)
    catalog.loss("gaussian", Gaussian)
    catalog.metric("active_units", ActiveUnits)
    catalog.metric("importance_nll", ImportanceNLL)
    catalog.optimizer("adagrad", adagrad)
