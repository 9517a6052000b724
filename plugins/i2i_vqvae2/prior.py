"""The prior of one code map: a gated PixelCNN with causal attention, which samples a map code by code.

Papers: gated PixelCNN arXiv:1606.05328 (2.1 to 2.3), PixelSNAIL arXiv:1712.09763 (attention), and VQ-VAE-2
arXiv:1906.00446 (3.2: attention on top, the maps below conditioned on those above).
Run by: `i2i run configs/vqvae2.yaml`.

No code sees itself or a later one, in raster order. The vertical stack sees the rows above, the horizontal one the
codes to the left; both inputs are shifted by one, so later layers may include their own position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, cast

import torch
from annotated_types import Ge, Lt
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate, pad, scaled_dot_product_attention

from i2i import ConfigError

from .autoencoder import Block

NOTHING = torch.empty(0), torch.empty(0)  # the cache of a layer without attention
Rows = Callable[[range], Iterable[int]]  # yields the rows, and may report progress


class PixelCNN(nn.Module):
    """The distribution of a code map, given the maps above it and a class.

    Args:
        codes: entries of the codebook.
        side: height and width of the map.
        above: number of maps above it.
        classes: number of classes; 0 for none.
        width: channels of both stacks.
        layers: gated layers.
        kernel: kernel width, odd: convolutions reach kernel // 2 up, left and, in the rows above, right.
        attention: number of layers, evenly spaced, that also attend to all earlier positions.
        heads: attention heads.
        dropout: dropout probability of the gates' outputs.
        blocks: residual blocks on the maps above.

    Raises:
        ConfigError: an even kernel, more attention than layers, or a width not divisible by the heads.
    """

    def __init__(
        self,
        codes: int,
        side: int,
        above: int,
        classes: int,
        /,
        width: PositiveInt = 64,
        layers: PositiveInt = 8,
        kernel: PositiveInt = 5,
        attention: NonNegativeInt = 0,
        heads: PositiveInt = 4,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
        blocks: NonNegativeInt = 2,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ConfigError(f"pixelcnn: kernel {kernel} is even: use {kernel + 1}")
        if attention > layers:
            raise ConfigError(f"pixelcnn: attention {attention} is more than the {layers} layers")
        if attention and width % heads:
            raise ConfigError(f"pixelcnn: width {width} is not divisible by {heads} heads")
        self.side, self.width = side, width
        self.embed = nn.Embedding(codes, width)
        self.place = nn.Parameter(0.02 * torch.randn(1, width, side, side))
        self.above = nn.ModuleList(nn.Embedding(codes, width) for _ in range(above))
        self.look = nn.Sequential(*(Block(width, width) for _ in range(blocks if above else 0)))
        self.label = nn.Embedding(classes, width) if classes else None
        attending = {(number + 1) * layers // attention - 1 for number in range(attention)}
        conditional = bool(above or classes)
        self.layers = nn.ModuleList(
            Gated(width, kernel, dropout, conditional, heads if number in attending else 0)
            for number in range(layers)
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, codes, 1))

    def forward(self, codes: Tensor, above: Sequence[Tensor] = (), label: Tensor | None = None) -> Tensor:
        """Return the logits of every code, given the codes before it.

        Args:
            codes: int64 [N, side, side].
            above: the maps above, top first, int64 [N, h, w].
            label: classes int64 [N].

        Returns:
            [N, K, side, side].
        """
        x = self.embed(codes).movedim(-1, 1)
        down = pad(x, (0, 0, 1, -1)) + self.place  # the row above
        right = pad(x, (1, -1)) + self.place  # the code to the left
        given = self.given(above, label)
        for layer in self.stack:
            down, gates = layer.vertical(pad(down, (0, 0, layer.reach, 0)), layer.project(given))
            right = layer.horizontal(pad(right, (layer.reach, 0)), gates)
            if layer.attend is not None:
                right = layer.attend(right)
        return self.head(right)

    @property
    def stack(self) -> list[Gated]:
        """The gated layers, with their type."""
        return cast("list[Gated]", list(self.layers))

    def given(self, above: Sequence[Tensor], label: Tensor | None) -> Tensor | None:
        """Return the conditioning: [N, width, side, side], [N, width, 1, 1] for a label alone, or None."""
        given = None
        if len(self.above):
            maps = [embed(codes).movedim(-1, 1) for embed, codes in zip(self.above, above, strict=True)]
            given = self.look(sum(interpolate(m, (self.side, self.side)) for m in maps))
        if self.label is not None:
            if label is None:
                raise ValueError("this prior is class-conditional and needs labels")
            name = self.label(label)[:, :, None, None]
            given = name if given is None else given + name
        return given

    @torch.no_grad()
    def sample(
        self,
        n: int,
        above: Sequence[Tensor] = (),
        label: Tensor | None = None,
        temperature: float = 1.0,
        rows: Rows = iter,
    ) -> Tensor:
        """Sample `n` code maps, code by code, from torch's global generator.

        Each layer caches what it needs again: the vertical stack runs once per row, the horizontal one once per code
        and on that code alone, and attention keeps keys and values. In total that is the compute of one forward pass,
        whereas calling `forward` for every code would take side ^ 2 passes; the codes are the same.

        Args:
            n: number of maps.
            above: the maps above, top first, int64 [n, h, w].
            label: classes int64 [n].
            temperature: divides the logits; below 1 prefers likely codes.
            rows: yields the rows, and may report progress.

        Returns:
            int64 [n, side, side].
        """
        side, place = self.side, self.place
        codes = torch.zeros(n, side, side, dtype=torch.int64, device=place.device)
        given = self.given(above, label)
        stack = self.stack
        conditions = [layer.project(given) for layer in stack]
        before = [place.new_zeros(n, self.width, layer.reach, side) for layer in stack]
        past = [layer.attend.nothing(n, side * side) if layer.attend is not None else NOTHING for layer in stack]
        last = place.new_zeros(n, self.width, 1, side)
        for y in rows(range(side)):
            # The vertical stack: one row in every layer.
            down, gates = last + place[:, :, y : y + 1], []
            for number, layer in enumerate(stack):
                seen = torch.cat([before[number], down], 2)
                before[number] = seen[:, :, 1:]
                down, gate = layer.vertical(seen, row_of(conditions[number], y))
                gates.append(gate)

            # The horizontal stack: one code in every layer.
            left = [place.new_zeros(n, self.width, 1, layer.reach) for layer in stack]
            found = [place.new_zeros(n, self.width)]
            for x in range(side):
                right = found[-1][:, :, None, None] + place[:, :, y : y + 1, x : x + 1]
                for number, layer in enumerate(stack):
                    seen = torch.cat([left[number], right], 3)
                    left[number] = seen[:, :, :, 1:]
                    right = layer.horizontal(seen, gates[number][:, :, :, x : x + 1])
                    if layer.attend is not None:
                        right = layer.attend.one(right, past[number], y * side + x)
                codes[:, y, x] = drawn(self.head(right)[:, :, 0, 0], temperature)
                found.append(self.embed(codes[:, y, x]))
            last = torch.stack(found[1:], 2)[:, :, None]
        return codes


class Gated(nn.Module):
    """One layer of both stacks: a causal convolution each, gated by tanh times sigmoid.

    Both have a residual connection (in the paper only the horizontal one).

    Source: arXiv:1606.05328, figure 2 and eq. 2 to 4.
    """

    def __init__(self, width: int, kernel: int, dropout: float, conditional: bool, heads: int) -> None:
        super().__init__()
        self.reach, self.dropout = kernel // 2, dropout
        self.rows = nn.Conv2d(width, 2 * width, (self.reach + 1, kernel), padding=(0, self.reach))
        self.columns = nn.Conv2d(width, 2 * width, (1, self.reach + 1))
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.condition = nn.Conv2d(width, 4 * width, 1, bias=False) if conditional else None
        self.out = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2))
        self.attend = Attention(width, heads) if heads else None

    def project(self, given: Tensor | None) -> Tensor | None:
        """Project the conditioning for this layer: [N, 4 width, H, W] or [N, 4 width, 1, 1]."""
        return None if self.condition is None or given is None else self.condition(given)

    def vertical(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Vertical stack: x [N, width, reach + H, W] -> the next x [N, width, H, W], and the horizontal input."""
        seen = self.rows(x)
        across = self.across(seen)
        if condition is not None:
            own, other = condition.chunk(2, 1)
            seen, across = seen + own, across + other
        return x[:, :, self.reach :] + self.gate(seen, 0), across

    def horizontal(self, x: Tensor, across: Tensor) -> Tensor:
        """Horizontal stack: x [N, width, H, reach + W] -> the next x [N, width, H, W]."""
        return x[:, :, :, self.reach :] + self.gate(self.columns(x) + across, 1)

    def gate(self, x: Tensor, stack: int) -> Tensor:
        """Return tanh times sigmoid of the two halves of x, mixed: [N, 2 width, H, W] -> [N, width, H, W]."""
        a, b = x.chunk(2, 1)
        return self.out[stack](dropout(torch.tanh(a) * torch.sigmoid(b), self.dropout, self.training))


class Attention(nn.Module):
    """Causal attention with a residual connection: each position attends to itself and earlier ones, in raster order.

    The horizontal stack at a position depends only on earlier codes, so attending to itself is allowed.

    Source: arXiv:1712.09763, 2.2, with several heads as in VQ-VAE-2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        flat = x.flatten(2).mT
        q, k, v = self.parts(flat)
        return x + self.joined(scaled_dot_product_attention(q, k, v, is_causal=True)).mT.reshape(x.shape)

    def nothing(self, n: int, places: int) -> tuple[Tensor, Tensor]:
        """Return an empty cache of keys and values [n, heads, places, width / heads]."""
        shape = n, self.heads, places, self.out.in_features // self.heads
        return self.out.weight.new_zeros(shape), self.out.weight.new_zeros(shape)

    def one(self, x: Tensor, past: tuple[Tensor, Tensor], at: int) -> Tensor:
        """Run `forward` for position `at` alone, x [N, width, 1, 1], and store its key and value in `past`."""
        q, k, v = self.parts(x.flatten(2).mT)
        past[0][:, :, at : at + 1], past[1][:, :, at : at + 1] = k, v
        keys, values = past[0][:, :, : at + 1], past[1][:, :, : at + 1]
        return x + self.joined(scaled_dot_product_attention(q, keys, values)).mT[..., None]

    def parts(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values [N, heads, places, width / heads] of [N, places, width]."""
        q, k, v = self.ask(self.norm(flat)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def joined(self, heads: Tensor) -> Tensor:
        """Mix the heads: [N, heads, places, width / heads] -> [N, places, width]."""
        return self.out(heads.transpose(1, 2).flatten(2))


def row_of(condition: Tensor | None, y: int) -> Tensor | None:
    """Return row `y` of a map [N, C, H, W]; a constant condition [N, C, 1, 1] is returned as is."""
    return condition if condition is None or condition.shape[2] == 1 else condition[:, :, y : y + 1]


def drawn(logits: Tensor, temperature: float) -> Tensor:
    """Sample one of K for each row of logits [N, K]: int64 [N]."""
    logits = logits.double() - logits.amax(1, keepdim=True)  # at most 0, so that no temperature overflows
    return torch.multinomial(torch.softmax(logits / temperature, 1).float(), 1)[:, 0]
