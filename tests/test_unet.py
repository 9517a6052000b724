"""The U-Net of pix2pix: parameter counts and outputs of the published network, and our own options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.errors import ConfigError, DataError
from i2i.networks import UnetGenerator


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


# Counted on instances of the official modules: REFERENCE.md section 2.
@pytest.mark.parametrize(
    ("options", "published"),
    [({}, 54_413_955), ({"downs": 7}, 41_828_995), ({"in_channels": 1, "out_channels": 2}, 54_409_858)],
    ids=["256", "128", "colorization"],
)
def test_parameter_counts_match_the_published_ones(options: dict[str, Any], published: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in UnetGenerator(**options).parameters()) == published


class Level(nn.Module):
    """One scale of the published U-Net, a block around a smaller block, reimplemented with plain torch layers."""

    def __init__(self, outer: int, inner: int, in_channels: int, sub: nn.Module | None, last: bool = False) -> None:
        super().__init__()
        down = [nn.Conv2d(in_channels, inner, 4, 2, 1, bias=False)]
        up: list[nn.Module] = [nn.ReLU(), nn.ConvTranspose2d(2 * inner if sub else inner, outer, 4, 2, 1, bias=last)]
        if last:
            up.append(nn.Tanh())
        else:
            down.insert(0, nn.LeakyReLU(0.2))  # type: ignore[arg-type]
            up.append(nn.BatchNorm2d(outer))
        if sub and not last:
            down.append(nn.BatchNorm2d(inner))  # type: ignore[arg-type]
        self.down, self.sub, self.up, self.last = nn.Sequential(*down), sub, nn.Sequential(*up), last

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        y = self.up(self.sub(y) if self.sub else y)
        return y if self.last else torch.cat([x, y], 1)


def nested(w: int) -> nn.Module:
    block: nn.Module | None = None
    for outer, inner in ((8 * w, 8 * w), (8 * w, 8 * w), (4 * w, 8 * w), (2 * w, 4 * w), (w, 2 * w)):
        block = Level(outer, inner, outer, block)
    return Level(3, w, 3, block, last=True)


def in_order(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of the encoder, then of the decoder, in the order of nested blocks."""
    if isinstance(module, UnetGenerator):
        return list(module.parameters())
    assert isinstance(module, Level)
    inside = in_order(module.sub) if module.sub else []
    downs, ups = [*module.down.parameters()], [*module.up.parameters()]
    return [*downs, *inside, *ups]


def test_it_matches_the_published_nested_blocks() -> None:
    ours, theirs = UnetGenerator(width=4, downs=6, dropout=0.0), nested(4)
    for p, q in zip(in_order(ours), in_order(theirs), strict=True):
        q.data.copy_(p.data)
    x = images(2, 3, 64, 128)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-6)


@pytest.mark.parametrize(("downs", "dropouts"), [(8, 3), (7, 2), (6, 1), (5, 0)])
def test_dropout_is_in_the_published_layers(downs: int, dropouts: int) -> None:
    with torch.device("meta"):
        net = UnetGenerator(width=2, downs=downs)
        assert sum(isinstance(module, nn.Dropout) for module in net.modules()) == dropouts
        assert not any(isinstance(module, nn.Dropout) for module in net.ups[0].modules())
        none = UnetGenerator(width=2, downs=downs, dropout=0.0)
    assert not any(isinstance(module, nn.Dropout) for module in none.modules())


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_every_option_keeps_the_size_and_trains_all_parameters(norm: Any, upsample: Any) -> None:
    net = UnetGenerator(2, 5, width=4, downs=3, norm=norm, upsample=upsample)
    out = net(images(2, 2, 8, 24))
    assert out.shape == (2, 5, 8, 24)
    assert out.abs().max() <= 1
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_an_unsupported_size_is_rejected_with_the_required_multiple() -> None:
    net = UnetGenerator(width=2, downs=3)
    assert net.multiple == net.minimum == 8
    for height, width in ((12, 8), (8, 4)):
        with pytest.raises(DataError, match=f"{height}x{width} pixels .* 3 times: crop or pad it to multiples of 8"):
            net(torch.zeros(1, 3, height, width))


def test_an_unknown_upsample_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown upsample 'shuffle': choose from transposed, resize"):
        UnetGenerator(width=2, downs=2, upsample="shuffle")  # type: ignore[arg-type]
