"""CycleGAN (arXiv:1703.10593) in plain PyTorch, top to bottom: the published recipe without any framework.

    python docs/cyclegan_by_hand.py FOLDER          # FOLDER contains trainA and trainB

With train.speed=exact, i2i computes the same training, bit for bit; tests/test_engine.py compares the two. To make
that possible, three things are written as in i2i, none of which changes the recipe: instance norm is a group norm
with one channel per group, Adam is fused, and each pool has its own random generator.
"""

import random
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import l1_loss, mse_loss


def instance_norm(width):
    return nn.GroupNorm(width, width, affine=False)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        half, other = ([nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), instance_norm(width)] for _ in range(2))
        self.body = nn.Sequential(*half, nn.ReLU(), *other)

    def forward(self, x):
        return x + self.body(x)


def generator(width=64, blocks=9):
    """c7s1-64, d128, d256, R256 x 9, u128, u64, c7s1-3 (appendix 7.2)."""
    net = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), instance_norm(width), nn.ReLU()]
    for w in (width, 2 * width):
        net += [nn.Conv2d(w, 2 * w, 3, stride=2, padding=1), instance_norm(2 * w), nn.ReLU()]
    net += [Block(4 * width) for _ in range(blocks)]
    for w in (4 * width, 2 * width):
        up = nn.ConvTranspose2d(w, w // 2, 3, stride=2, padding=1, output_padding=1)
        net += [up, instance_norm(w // 2), nn.ReLU()]
    return initialised(nn.Sequential(*net, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()))


def discriminator(width=64, layers=3):
    """C64, C128, C256, C512 and one logit per 70x70 patch."""
    net = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    wide = width
    for n in range(1, layers + 1):
        narrow, wide = wide, width * min(2**n, 8)
        net += [nn.Conv2d(narrow, wide, 4, stride=2 if n < layers else 1, padding=1)]
        net += [instance_norm(wide), nn.LeakyReLU(0.2)]
    return initialised(nn.Sequential(*net, nn.Conv2d(wide, 1, 4, padding=1)))


def initialised(net):
    for p in net.parameters():
        nn.init.normal_(p, 0.0, 0.02) if p.ndim == 4 else nn.init.zeros_(p)  # kernel, or bias
    return net


def against(logits, target):
    return mse_loss(logits, torch.full_like(logits, target))


class Pool:
    """Past fakes: once full, returns an old fake half of the time and keeps the new one instead."""

    def __init__(self, size, seed):
        self.size, self.images, self.random = size, [], torch.Generator().manual_seed(seed)

    def __call__(self, batch):
        return batch if self.size == 0 else torch.stack([self.exchange(image) for image in batch])

    def exchange(self, image):
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        if torch.rand((), generator=self.random) < 0.5:
            return image
        i = int(torch.randint(self.size, (), generator=self.random))
        old, self.images[i] = self.images[i], image
        return old


class CycleGAN:
    def __init__(self, seed=0, width=64, blocks=9, d_width=64, d_layers=3, pool=50, device="cpu"):
        torch.manual_seed(seed)
        self.G_ab, self.G_ba = (generator(width, blocks).to(device) for _ in range(2))
        self.D_a, self.D_b = (discriminator(d_width, d_layers).to(device) for _ in range(2))
        self.G = [*self.G_ab.parameters(), *self.G_ba.parameters()]
        self.D = [*self.D_a.parameters(), *self.D_b.parameters()]
        self.adam_g = torch.optim.Adam(self.G, lr=2e-4, betas=(0.5, 0.999), fused=True)
        self.adam_d = torch.optim.Adam(self.D, lr=2e-4, betas=(0.5, 0.999), fused=True)
        self.pool_a, self.pool_b = Pool(pool, 0), Pool(pool, 1)
        self.losses = []

    def step(self, a, b, factor=1.0):
        """Train on images a, b [N, 3, H, W] in [-1, 1] at `factor` times the learning rate."""
        for group in self.adam_g.param_groups + self.adam_d.param_groups:
            group["lr"] = 2e-4 * factor

        # Forward and cycle translations, and the identity mappings.
        fake_b = self.G_ab(a)
        rec_a = self.G_ba(fake_b)
        fake_a = self.G_ba(b)
        rec_b = self.G_ab(fake_a)
        same_b, same_a = self.G_ab(b), self.G_ba(a)

        # Update the generators with the discriminators fixed.
        g = {
            "gan_ab": against(self.D_b(fake_b), 1.0),
            "gan_ba": against(self.D_a(fake_a), 1.0),
            "cycle_a": 10.0 * l1_loss(rec_a, a),
            "cycle_b": 10.0 * l1_loss(rec_b, b),
            "identity_a": 5.0 * l1_loss(same_a, a),
            "identity_b": 5.0 * l1_loss(same_b, b),
        }
        self.adam_g.zero_grad()
        torch.stack([*g.values()]).sum().backward(inputs=self.G)
        self.adam_g.step()

        # Update the discriminators on new and past fakes.
        fake_a, fake_b = self.pool_a(fake_a.detach()), self.pool_b(fake_b.detach())
        d = {
            "a": (against(self.D_a(a), 1.0) + against(self.D_a(fake_a), 0.0)) * 0.5,
            "b": (against(self.D_b(b), 1.0) + against(self.D_b(fake_b), 0.0)) * 0.5,
        }
        self.adam_d.zero_grad()
        torch.stack([*d.values()]).sum().backward(inputs=self.D)
        self.adam_d.step()
        losses = {f"G/{k}": v for k, v in g.items()} | {f"D/{k}": v for k, v in d.items()}
        self.losses.append({k: v.item() for k, v in losses.items()})


def train(batches, epoch_length, constant=100, decay=100, **options):
    """Train on batches {"A": ..., "B": ...}: `constant` epochs, then `decay` epochs with a decaying learning rate."""
    model = CycleGAN(**options)
    for number, batch in enumerate(batches):
        epoch = number // epoch_length
        model.step(batch["A"], batch["B"], 1.0 - max(0, epoch + 1 - constant) / (decay + 1))
        if number % 100 == 0:
            print(epoch, number, {k: round(v, 3) for k, v in model.losses[-1].items()}, flush=True)
    return model


def picture(path, device):
    """Resize to 286x286, random crop 256x256, random flip: [1, 3, 256, 256] in [-1, 1]."""
    image = Image.open(path).convert("RGB").resize((286, 286), Image.Resampling.BICUBIC)
    x, y = random.randint(0, 30), random.randint(0, 30)
    pixels = np.asarray(image.crop((x, y, x + 256, y + 256)), dtype=np.float32)
    pixels = pixels[:, ::-1] if random.random() < 0.5 else pixels
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None].to(device)


def unpaired(a, b, epochs, device):
    """Yield every image of the larger folder once per epoch, each with a random one of the other folder."""
    for _ in range(epochs):
        order = random.sample(range(max(len(a), len(b))), max(len(a), len(b)))
        for i in order:
            yield {"A": picture(a[i % len(a)], device), "B": picture(random.choice(b), device)}


if __name__ == "__main__":
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (sorted((Path(sys.argv[1]) / name).glob("*.*")) for name in ("trainA", "trainB"))
    model = train(unpaired(a, b, 200, device), epoch_length=max(len(a), len(b)), device=device)
    torch.save({"G_ab": model.G_ab.state_dict(), "G_ba": model.G_ba.state_dict()}, "cyclegan_by_hand.pt")
