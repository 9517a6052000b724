"""A fully connected VAE on MNIST in plain PyTorch, the baseline for i2i's speed. arXiv:1312.6114.

    python benchmarks/speed.py vae

784-400-20 as in pytorch/examples, batches of 128, with the data loading of its users: a DataLoader without workers,
and each picture from a PIL image to a tensor when it is asked for. Losses are sums over a batch; they are returned
per image. The constants were measured by running the published code.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

PARAMETERS = (652_824,)
SIZE, BATCH, GFLOP = 28, 128, 0.42


class Digits(Dataset[tuple[Tensor, int]]):
    """Pictures uint8 [N, 28, 28] and labels: each is made a PIL image, and then a tensor [1, 28, 28] in 0..1."""

    def __init__(self, pictures: np.ndarray, labels: np.ndarray) -> None:
        self.pictures, self.labels = torch.from_numpy(pictures), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.pictures[index].numpy())
        values = torch.from_numpy(np.array(picture, np.uint8, copy=True)).view(*picture.size[::-1], 1)
        return values.permute(2, 0, 1).contiguous().float().div(255), int(self.labels[index])


def epochs(pictures: np.ndarray, labels: np.ndarray, batch: int) -> Iterator[dict[str, Tensor]]:
    """Yield the batches of epoch after epoch."""
    loader = DataLoader(Digits(pictures, labels), batch_size=batch, shuffle=True)
    while True:
        for image, _ in loader:
            yield {"image": image}


class Network(nn.Module):
    """The encoder and the decoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, width), nn.Linear(width, 20), nn.Linear(width, 20)
        self.fc3, self.fc4 = nn.Linear(20, width), nn.Linear(width, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction [N, 784] in 0..1, the means and the log-variances of x [N, 784]."""
        h = F.relu(self.fc1(x))
        mu, logvar = self.fc21(h), self.fc22(h)
        deviation = torch.exp(0.5 * logvar)
        z = mu + torch.randn_like(deviation) * deviation
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


class VAE:
    """The network, its optimizer, and the step."""

    def __init__(self, width: int = 400) -> None:
        self.network = Network(width)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.total = 0.0

    def networks(self) -> tuple[nn.Module, ...]:
        """Return the network."""
        return (self.network,)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do one training step on `image` [N, 1, 28, 28] in 0..1 and return the losses per image."""
        self.optimizer.zero_grad()
        x = batch["image"].view(-1, 784)
        made, mu, logvar = self.network(x)
        bce = F.binary_cross_entropy(made, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = bce + kl
        loss.backward()
        self.optimizer.step()
        if not loss.is_meta:
            self.total += loss.item()  # the recipe logs the mean of an epoch
        return {"vae/reconstruction": bce.detach() / len(x), "vae/kl": kl.detach() / len(x)}
