"""The autoencoder's stage of VQ-VAE-2 in plain PyTorch, the baseline for i2i's speed. arXiv:1906.00446.

    python benchmarks/speed.py vqvae2

Two levels at 128 pixels, batches of 2, codebooks updated by moving averages, as in rosinality/vq-vae-2-pytorch. The
constants were measured by running that code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARAMETERS = (1_388_867,)
SIZE, BATCH, GFLOP = 128, 2, 11.6
CODES, DIM, DECAY, EPS = 512, 64, 0.99, 1e-5


class Codebook(nn.Module):
    """Replaces vectors by the nearest of CODES entries, which follow their vectors."""

    embed: Tensor  # [DIM, CODES]
    size: Tensor
    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        embed = torch.randn(DIM, CODES)
        self.register_buffer("embed", embed)
        self.register_buffer("size", torch.zeros(CODES))
        self.register_buffer("average", embed.clone())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the entries for x [N, H, W, DIM], with a straight-through gradient, and their distance from x."""
        flat = x.reshape(-1, DIM)
        distance = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.embed + self.embed.pow(2).sum(0, keepdim=True)
        nearest = distance.argmin(1)
        chosen = F.one_hot(nearest, CODES).type(flat.dtype)
        quantised = F.embedding(nearest.view(x.shape[:-1]), self.embed.transpose(0, 1))
        self.move(flat.detach(), chosen)
        loss = (quantised.detach() - x).pow(2).mean()
        return x + (quantised - x).detach(), loss

    @torch.no_grad()
    def move(self, flat: Tensor, chosen: Tensor) -> None:
        """Update the moving averages, and with them the entries."""
        self.size.mul_(DECAY).add_(chosen.sum(0), alpha=1 - DECAY)
        self.average.mul_(DECAY).add_(flat.transpose(0, 1) @ chosen, alpha=1 - DECAY)
        n = self.size.sum()
        size = (self.size + EPS) / (n + CODES * EPS) * n
        self.embed.copy_(self.average / size.unsqueeze(0))


class Residual(nn.Module):
    """x plus two convolutions with ReLU before each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(nn.ReLU(), nn.Conv2d(width, width // 4, 3, padding=1)),
            *(nn.ReLU(True), nn.Conv2d(width // 4, width, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return self.conv(x) + x


def encoder(channels: int, width: int, stride: int) -> nn.Sequential:
    """Return an encoder that divides height and width by a stride of 4 or 2."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width // 2, 4, 2, 1), nn.ReLU(True)]
    if stride == 4:
        layers += [nn.Conv2d(width // 2, width, 4, 2, 1), nn.ReLU(True), nn.Conv2d(width, width, 3, padding=1)]
    else:
        layers += [nn.Conv2d(width // 2, width, 3, padding=1)]
    return nn.Sequential(*layers, Residual(width), Residual(width), nn.ReLU(True))


def decoder(channels: int, out: int, width: int, stride: int) -> nn.Sequential:
    """Return a decoder that multiplies height and width by a stride of 4 or 2."""
    layers = [nn.Conv2d(channels, width, 3, padding=1), Residual(width), Residual(width), nn.ReLU(True)]
    if stride == 4:
        layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1), nn.ReLU(True)]
        return nn.Sequential(*layers, nn.ConvTranspose2d(width // 2, out, 4, 2, 1))
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, out, 4, 2, 1))


class Autoencoder(nn.Module):
    """Images to two maps of codes and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode_bottom, self.encode_top = encoder(3, width, 4), encoder(width, width, 2)
        self.to_top, self.top = nn.Conv2d(width, DIM, 1), Codebook()
        self.decode_top = decoder(DIM, DIM, width, 2)
        self.to_bottom, self.bottom = nn.Conv2d(DIM + width, DIM, 1), Codebook()
        self.larger = nn.ConvTranspose2d(DIM, DIM, 4, 2, 1)
        self.decode = decoder(2 * DIM, 3, width, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction and the sum of both distances from the codes."""
        bottom = self.encode_bottom(x)
        top = self.encode_top(bottom)
        top, loss_top = self.top(self.to_top(top).permute(0, 2, 3, 1))
        top = top.permute(0, 3, 1, 2)
        bottom = torch.cat([self.decode_top(top), bottom], 1)
        bottom, loss_bottom = self.bottom(self.to_bottom(bottom).permute(0, 2, 3, 1))
        bottom = bottom.permute(0, 3, 1, 2)
        return self.decode(torch.cat([self.larger(top), bottom], 1)), loss_top + loss_bottom


class VQVAE2:
    """The autoencoder, its optimizer, and the step."""

    def __init__(self, width: int = 128) -> None:
        self.autoencoder = Autoencoder(width)
        self.optimizer = torch.optim.Adam(self.autoencoder.parameters(), lr=3e-4)
        self.mse = nn.MSELoss()

    def networks(self) -> tuple[nn.Module, ...]:
        """Return the autoencoder."""
        return (self.autoencoder,)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do one training step on `image` [N, 3, H, W] in [-1, 1] and return the losses."""
        self.autoencoder.zero_grad()
        made, distance = self.autoencoder(batch["image"])
        mse, commitment = self.mse(made, batch["image"]), 0.25 * distance.mean()
        (mse + commitment).backward()
        self.optimizer.step()
        return {"VQ/mse": mse, "VQ/commitment": commitment}
