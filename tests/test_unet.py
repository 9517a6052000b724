"""The U-Net of pix2pix: the published one parameter for parameter and number for number, and our own options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.errors import ConfigError, DataError
from i2i.networks import UnetGenerator


def pictures(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


# The counts are those of the official modules, instantiated: REFERENCE.md section 2.
@pytest.mark.parametrize(
    ("options", "published"),
    [({}, 54_413_955), ({"downs": 7}, 41_828_995), ({"in_channels": 1, "out_channels": 2}, 54_409_858)],
    ids=["256", "128", "colorization"],
)
def test_parameter_counts_are_the_published_ones(options: dict[str, Any], published: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in UnetGenerator(**options).parameters()) == published


class Level(nn.Module):
    """One size of the U-Net once more, as published: a block around a smaller block, of torch's stock layers."""

    def __init__(self, outer: int, inner: int, given: int, sub: nn.Module | None, last: bool = False) -> None:
        super().__init__()
        down = [nn.Conv2d(given, inner, 4, 2, 1, bias=False)]
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


def by_hand(w: int) -> nn.Module:
    block: nn.Module | None = None
    for outer, inner in ((8 * w, 8 * w), (8 * w, 8 * w), (4 * w, 8 * w), (2 * w, 4 * w), (w, 2 * w)):
        block = Level(outer, inner, outer, block)
    return Level(3, w, 3, block, last=True)


def in_order(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters on the way down, then on the way up, as a block around a block has them."""
    if isinstance(module, UnetGenerator):
        return list(module.parameters())
    assert isinstance(module, Level)
    inside = in_order(module.sub) if module.sub else []
    downs, ups = [*module.down.parameters()], [*module.up.parameters()]
    return [*downs, *inside, *ups]


def test_it_computes_what_nested_published_blocks_compute() -> None:
    ours, theirs = UnetGenerator(width=4, downs=6, dropout=0.0), by_hand(4)
    for p, q in zip(in_order(ours), in_order(theirs), strict=True):
        q.data.copy_(p.data)
    x = pictures(2, 3, 64, 128)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-6)


@pytest.mark.parametrize(("downs", "forgetful"), [(8, 3), (7, 2), (6, 1), (5, 0)])
def test_dropout_is_where_it_was_published(downs: int, forgetful: int) -> None:
    with torch.device("meta"):
        net = UnetGenerator(width=2, downs=downs)
        assert sum(isinstance(module, nn.Dropout) for module in net.modules()) == forgetful
        assert not any(isinstance(module, nn.Dropout) for module in net.ups[0].modules())
        none = UnetGenerator(width=2, downs=downs, dropout=0.0)
    assert not any(isinstance(module, nn.Dropout) for module in none.modules())


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_every_option_keeps_the_size_and_learns_everywhere(norm: Any, upsample: Any) -> None:
    net = UnetGenerator(2, 5, width=4, downs=3, norm=norm, upsample=upsample)
    out = net(pictures(2, 2, 8, 24))
    assert out.shape == (2, 5, 8, 24)
    assert out.abs().max() <= 1
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_size_that_does_not_fit_says_which_does() -> None:
    net = UnetGenerator(width=2, downs=3)
    assert net.multiple == net.minimum == 8
    for height, width in ((12, 8), (8, 4)):
        with pytest.raises(DataError, match=f"{height}x{width} pixels .* 3 times: crop or pad it to multiples of 8"):
            net(torch.zeros(1, 3, height, width))


def test_an_unknown_upsample_names_the_possible_ones() -> None:
    with pytest.raises(ConfigError, match="unknown upsample 'shuffle': choose from transposed, resize"):
        UnetGenerator(width=2, downs=2, upsample="shuffle")  # type: ignore[arg-type]
