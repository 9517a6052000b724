"""Networks that see the whole picture, in tiles: the result is the same. Case G2 of the fault catalogue."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from i2i_spade import SPADE
from PIL import Image
from torch import Tensor, nn

import i2i
from i2i import Task
from i2i.errors import ConfigError, ResourceError
from i2i.files import scratch as scratch_module
from i2i.modalities import Image as ImageModality
from i2i.networks import Layers, ResnetGenerator, SelfAttention, SpadeGenerator, UnetGenerator
from i2i.staged import Staged, Unsupported, record, why_not
from i2i.staged.store import Moments, Store

CPU = torch.device("cpu")
Network = Callable[[Tensor], Tensor]


def active(network: nn.Module, times: float) -> nn.Module:
    """Return a network in eval mode whose activations are as large as those of a trained one."""
    for weight in network.parameters():
        weight.data.mul_(times if weight.ndim == 4 else 1)
    return network.eval()


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet": (lambda: ResnetGenerator(width=8, blocks=2), 4),
    "resize": (lambda: ResnetGenerator(width=8, blocks=2, upsample="resize", masked=True, chroma=0.5), 4),
    "cut": (lambda: ResnetGenerator(width=8, blocks=1, downsample="blur", upsample="bilinear"), 4),
    "zeros": (lambda: ResnetGenerator(width=8, blocks=1, padding="zeros"), 4),
    "replicate": (lambda: ResnetGenerator(width=8, blocks=1, padding="replicate"), 4),
    "unet": (lambda: UnetGenerator(width=8, downs=4, norm="instance"), 16),
    "unet resize": (lambda: UnetGenerator(width=8, downs=3, norm="instance", upsample="resize"), 8),
    "batch": (lambda: ResnetGenerator(width=8, blocks=1, norm="batch"), 4),
}


@pytest.mark.parametrize("tile", [33, 100])
@pytest.mark.parametrize("name", NETWORKS)
def test_G2_a_network_in_stages_gives_the_whole_picture(name: str, tile: int) -> None:
    torch.manual_seed(0)
    make, multiple = NETWORKS[name]
    network = active(make(), 6)
    x = torch.rand(1, 3, 11 * multiple, 7 * multiple + 32) * 2 - 1
    with torch.no_grad():
        whole = network(x)
    assert whole.std() > 0.1
    assert (Staged(CPU)(network, tile)(x) - whole).abs().max() < 0.05 / 255


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("options", [{}, {"z": 8}, {"edges": True}, {"unknown": "zeros"}])
def test_G2_a_label_map_in_stages_gives_the_whole_picture(norm: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    generator = partial(SpadeGenerator, width=4, size=64, hidden=8, norm=norm)
    task = SPADE(generator, classes=5, ignore=255, **options).eval()  # type: ignore[arg-type]
    active(task, 30 if norm == "instance" else 40)
    labels = torch.randint(0, 5, (1, 1, 6, 16)).repeat_interleave(16, 2).repeat_interleave(16, 3)
    labels[..., 40:, :30] = 255
    with torch.no_grad():
        whole = task.translate(labels)
    assert whole.std() > 0.01
    assert (Staged(CPU)(task.translate, 40)(labels) - whole).abs().max() < 0.5 / 255
    model = i2i.Model(task, {}, Path("here"))
    given = labels[0, 0, :90, :250].numpy()
    apart = model(given, tile=64).astype(int) - model(given).astype(int)
    assert np.abs(apart).max() <= 1


@pytest.mark.parametrize("name", ["horse2zebra", "colorize"])
@pytest.mark.parametrize("tile", [100])
def test_G2_a_bundled_model_in_stages_gives_the_whole_picture(name: str, tile: int) -> None:
    rng, model = np.random.default_rng(0), i2i.load(name, speed="exact")
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    given = small.resize((181, 163), Image.Resampling.BICUBIC)
    apart = np.asarray(model(given, tile=tile)).astype(int) - np.asarray(model(given))
    assert np.abs(apart).max() <= 1


def dense(x: Tensor) -> Tensor:
    """Use each value many times, which would take forever if it were computed for each."""
    for _ in range(40):
        y = x.sigmoid()
        x = torch.where(y > 0.5, x * y, y + x * 0.5)
    return x


def uneven(x: Tensor) -> Tensor:
    first, second = F.conv2d(x, torch.ones(4, 3, 3, 3) / 9, padding=2, dilation=2).split([1, 3], 1)
    return torch.cat([first * second, second], 1).unflatten(1, (2, 3)).amax(1)


OPERATIONS: dict[str, Network] = {
    "stride": lambda x: F.conv2d(x, KERNEL, stride=2, padding=1),
    "groups": lambda x: F.conv2d(x, KERNEL[:, :1], groups=3, padding="same"),
    "1x5": lambda x: F.conv2d(x, torch.ones(2, 3, 1, 5) / 9, padding=(0, 2)),
    "transposed": lambda x: F.conv_transpose2d(x, KERNEL, BIAS, stride=2, padding=1, output_padding=1),
    "transposed, far": lambda x: F.conv_transpose2d(x, KERNEL, BIAS, stride=3, output_padding=2),
    "transposed, dilated": lambda x: F.conv_transpose2d(x, KERNEL, None, stride=2, padding=2, dilation=2),
    "reflection": lambda x: F.pad(x, (5, 2, 0, 3), mode="reflect"),
    "far reflection": lambda x: F.pad(x, (36, 36, 36, 36), mode="reflect"),
    "replication": lambda x: F.pad(x, (5, 2, 0, 3), mode="replicate"),
    "constant": lambda x: F.pad(x, (5, 2, -3, 3), value=0.5),
    "nearest": lambda x: F.interpolate(x, (91, 30), mode="nearest"),
    "nearest exact": lambda x: F.interpolate(x, scale_factor=1.7, mode="nearest-exact"),
    "bilinear": lambda x: F.interpolate(x, (91, 30), mode="bilinear"),
    "aligned": lambda x: F.interpolate(x, (91, 30), mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, scale_factor=1.7, mode="bicubic"),
    "antialiased": lambda x: F.interpolate(x, (13, 11), mode="bilinear", antialias=True),
    "antialiased bicubic": lambda x: F.interpolate(x, (13, 90), mode="bicubic", antialias=True),
    "pixel shuffle": lambda x: F.pixel_shuffle(x.repeat(1, 3, 1, 1)[:, :8], 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x[..., :36, :40], 4),
    "max pooling": lambda x: F.max_pool2d(x, 3, 2, 1),
    "mean pooling": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "mean pooling, counted": lambda x: F.avg_pool2d(x, 4, 3, 2, count_include_pad=False),
    "max pooling by 2": lambda x: F.max_pool2d(x, 2),
    "mean pooling by 2": lambda x: F.avg_pool2d(x, 2, 2),
    "max pooling with a stride": lambda x: F.max_pool2d(x, 7, 3),
    "ceiled pooling": lambda x: F.avg_pool2d(x, 4, 3, ceil_mode=True),
    "slices": lambda x: x[..., 1:, 3::2] * 2,
    "channels": lambda x: torch.stack([x[:, 0], x[:, 2]], 1).softmax(1),
    "chosen channels": lambda x: x.repeat(1, 18, 1, 1).index_select(
        1, torch.arange(53).flip(0)
    ),  # as many as columns
    "chosen columns": lambda x: x.index_select(3, torch.arange(53).flip(0)),
    "length of a vector": lambda x: F.normalize(x, dim=1),
    "length of a map": lambda x: x / x.norm(dim=(2, 3), keepdim=True),
    "einsum": lambda x: torch.einsum("oi,...ihw->...ohw", KERNEL[:, :, 0, 0], x),
    "in place": lambda x: F.relu(F.conv2d(x, KERNEL, padding=1), inplace=True).add_(0.1),
    "norm in place": lambda x: F.relu(F.instance_norm(F.conv2d(x, KERNEL)), inplace=True).add_(0.1),
    "copies in place": lambda x: (y := x + 1) + y.clone().mul_(2) + y.view(3, -1).clone().add_(1).view_as(y),
    "group norm": lambda x: F.group_norm(x.repeat(1, 2, 1, 1), 2, torch.arange(6.0), torch.ones(6)),
    "instance norm": lambda x: F.instance_norm(x, weight=BIAS, bias=BIAS),
    "batch norm": lambda x: F.batch_norm(x, None, None, BIAS, BIAS, training=True),
    "squeeze and excitation": lambda x: x * F.adaptive_avg_pool2d(x, 1).sigmoid(),
    "sum": lambda x: x - x.sum((2, 3), keepdim=True) / 1e3,
    "means of rows": lambda x: x - F.conv2d(x, KERNEL, padding=1).mean(3, keepdim=True),
    "sums of columns": lambda x: x - F.conv2d(x, KERNEL, padding=1).sum(-2, keepdim=True) / 41,
    "sums of channels and rows": lambda x: x - F.conv2d(x, KERNEL, padding=1).sum((1, -2), keepdim=True) / 99,
    "mean of channels and pixels": lambda x: x - F.conv2d(x, KERNEL, padding=1).mean((1, 2, 3), keepdim=True),
    "means of norms": lambda x: F.instance_norm(y := F.conv2d(x, KERNEL)) - y.mean(3, keepdim=True),
    "looks at a value": lambda x: x + 1 if (x < 2).all() else x,
    "noise of the size": lambda x: x + torch.ones(x.shape[-2:]).cumsum(0),
    "dense": dense,
    "uneven": uneven,
    "roll": lambda x: x.roll(3, 2) + x,
}
KERNEL, BIAS = torch.linspace(-1, 1, 81).view(3, 3, 3, 3), torch.tensor([0.3, 0.6, -1.0])


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_in_tiles_gives_the_same_as_on_the_whole(name: str) -> None:
    x = torch.rand(1, 3, 41, 53, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = OPERATIONS[name](x)
    for tile in (3, 20):
        made = Staged(CPU)(OPERATIONS[name], tile)(x)
        assert made.shape == whole.shape
        assert torch.allclose(made, whole, atol=2e-5)


def test_G2_attention_is_computed_as_a_whole() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(16, Layers(nn.init.orthogonal_))
    attention.gamma.data.fill_(2.0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), attention, nn.ConvTranspose2d(16, 3, 4, 2, 1)).eval()
    x = torch.rand(1, 3, 36, 44)
    with torch.no_grad():
        whole = network(x)
    assert (Staged(CPU)(network, 10)(x) - whole).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (lambda x: x + torch.rand_like(x), "draws random numbers"),
        (lambda x: x.masked_select(x > 0), "depends on values"),
        (lambda x: x[..., :4, :4] + F.max_pool2d(x, 2, return_indices=True)[1], "second result"),
        (lambda x: x.clone()[:, 1:].mul_(2), "changes a part"),
        (lambda x: x.clone()[:, 1:].view(-1).mul_(2), "changes a part"),
        (lambda x: (y := x + 1) + y.view(3, 64).mul_(2).view(1, 3, 8, 8), "through a view"),
        (lambda x: ((y := x + 1).view(-1).mul_(2), y)[1], "through a view"),
        (lambda x: (z := (y := x + 1).view(1, 3, 64), y.mul_(2), y + z.view_as(y))[2], "through a view"),
        (lambda x: (y := x + 1) + y.contiguous().mul_(2), "through a view"),
        (lambda x: torch.zeros(1, 3, 8, 8), "not a picture computed from"),
        (lambda x: x.mean((2, 3)), "not a picture computed from"),
    ],
)
def test_G2_what_cannot_be_done_in_stages_is_an_error(network: Network, why: str) -> None:
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(Unsupported, match=why):
        record(network, tuple(x.shape), x.dtype, CPU, lambda *_: x)
    assert why in str(why_not(network, x)[0])


class Noisy(Task):
    def translate(self, image: Tensor) -> Tensor:
        return image * torch.rand_like(image) - image.mean((2, 3), keepdim=True)


def test_G2_a_model_that_cannot_be_tiled_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"depends on the whole image, and .* draws random numbers"):
        i2i.Model(Noisy(), {}, Path("here"))(Image.new("RGB", (64, 64)), tile=32)


def test_recording_a_network_loads_neither_the_compiler_nor_sympy() -> None:
    code = (
        "import sys, torch; from torch import nn; from i2i.staged import record;"
        "from i2i.networks import ResnetGenerator, UnetGenerator\n"
        "for net in ResnetGenerator(width=4, blocks=1, upsample='resize'), UnetGenerator(width=4, downs=3):\n"
        "    record(net.eval(), (1, 3, 64, 64), torch.float32, torch.device('cpu'), lambda *_: None)\n"
        "print([name for name in ('sympy', 'torch._dynamo', 'torch._inductor') if name in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert made.stdout.strip() == "[]"  # they take up to 75 MB


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    whole = rng.normal(3e3, 1, (2, 5, 60, 70))
    moments = Moments()
    for top in range(0, 60, 17):
        for left in range(0, 70, 23):
            moments.add(torch.from_numpy(whole[..., top : top + 17, left : left + 23]).float())
    exact = whole.astype(np.float32).astype(np.float64)
    assert np.allclose(moments.mean, exact.mean((2, 3)), rtol=1e-9)
    assert np.allclose(moments.variance, exact.var((2, 3)), rtol=1e-5)  # in float32: off by 1e-2


@pytest.mark.parametrize("shape", [(1, 4, 9, 11), (9, 11), (2, 3, 2, 9, 11)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.bfloat16, torch.int64])
def test_a_stored_map_is_read_as_it_was_written(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    from i2i.staged.rules import Box

    whole, store = (torch.rand(shape) * 9 - 4).to(dtype), Store(shape, dtype)
    for box in (Box(0, 5, 0, 11), Box(5, 9, 0, 6), Box(5, 9, 6, 11)):
        store.write(box, whole[..., box.top : box.bottom, box.left : box.right])
    assert torch.equal(store.read(Box(2, 8, 3, 10)), whole[..., 2:8, 3:10])


def test_temporary_files_are_in_tmpdir_and_nothing_is_left_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    used, opened = [], tempfile.TemporaryFile

    def temporary(dir: str) -> Any:
        used.append(dir)
        return opened(dir=dir)

    monkeypatch.setattr(scratch_module.tempfile, "TemporaryFile", temporary)
    Staged(CPU)(ResnetGenerator(width=4, blocks=1).eval(), 20)(torch.rand(1, 3, 32, 32))
    assert set(used) == {str(tmp_path)}
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scratch_module.os, "posix_fallocate", full)
    with pytest.raises(ResourceError, match=r"temporary files in .*: No space left on device; free some space"):
        i2i.Model(Whole(), {}, Path("here"))(Image.new("RGB", (64, 64)), tile=32)


class Whole(Task):
    takes = ImageModality(multiple=4, minimum=8)

    def __init__(self) -> None:
        super().__init__()
        self.net = ResnetGenerator(width=4, blocks=1)

    def translate(self, image: Tensor) -> Tensor:
        return self.net(image)
