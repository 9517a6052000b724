"""A recorded model -> the bytes of an ONNX file: `onnx_of(recorded, example)`, `halved`, `sealed`.

PyTorch's tracing exporter writes it: it needs nothing but onnx, and names each node after its layer, from which
`compare` tells where results begin to differ. The newer one (`dynamo=True`; torch 2.13, onnxscript 0.7.2) gave the
same results for all bundled models and all networks of the tests, but it cannot express `padded` in a chain
(aten.remainder by a size), has such names only in its metadata, where there are also paths of the machine, and takes
longer: 10 s of CPU time instead of 4 for `restore`.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.onnx import symbolic_helper

from i2i import ConfigError, I2IError, PluginError

from .recorded import Frozen, Recorded, undrawable

OPSET = 18
LARGEST = (1 << 31) - 1  # bytes of an ONNX file: the limit of protobuf
SEAL, OPEN = "i2i.sha256", "0" * 64  # the name of the checksum, and its value while the rest is hashed
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
SMALL = 32  # values of a tensor that is not worth storing in 16 bits
AXES = {0: "N", 2: "H", 3: "W"}


def library(name: str) -> Any:
    """Import onnx or onnxruntime.

    Raises:
        PluginError: it is not installed, or its import fails.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except Exception as error:
        raise PluginError(
            f"{name} cannot be imported ({type(error).__name__}: {error}): pip install 'i2i[export]'"
        ) from error


def onnx_of(recorded: Recorded, example: tuple[Tensor, ...]) -> bytes:
    """Return an ONNX file of a model, for any number of samples and, with pictures, any size.

    Raises:
        ConfigError: the model draws random numbers, or has a part that ONNX does not.
    """
    library("onnx")
    weights = sum(value.nbytes for value in recorded.state_dict().values())
    if weights > LARGEST:
        raise ConfigError(f"{weights / 1e9:.1f} GB of weights: an ONNX file holds 2 GB; export it with -o NAME.pt2")
    axes = {name: AXES if value.ndim == 4 else {0: "N"} for name, value in zip(recorded.names, example, strict=True)}
    axes["result"] = {0: "N", 2: "height", 3: "width"}
    stream = io.BytesIO()
    try:
        with torch.no_grad(), quiet(), completed(), Frozen():
            torch.onnx.export(
                recorded,
                example,
                stream,  # type: ignore[arg-type]  # a stream works too
                dynamo=False,
                opset_version=OPSET,
                input_names=recorded.names,
                output_names=["result"],
                dynamic_axes=axes,
                training=torch.onnx.TrainingMode.PRESERVE,  # layers stay apart, so that they can be compared
            )
    except I2IError:
        raise
    except Exception as error:
        first = str(error).strip().splitlines() or [""]
        raise ConfigError(f"ONNX cannot express this model ({type(error).__name__}: {first[0][:300]})") from error
    data = stream.getvalue()
    kinds = {node.op_type for node in parsed(data).graph.node}
    if drawn := sorted(kinds & set(RANDOM)):
        raise undrawable(drawn, "an ONNX file")
    return data


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to ourselves what the exporter prints: the comparison says what is wrong."""
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None  # it prints the whole graph after an error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch._C._jit_onnx_log = log


@contextmanager
def completed() -> Iterator[None]:
    """Complete the exporter inside the `with` block: antialiased resizing, and batch norm without weights."""
    added = {
        "aten::_upsample_bilinear2d_aa": resizing("linear"),
        "aten::_upsample_bicubic2d_aa": resizing("cubic"),
        "aten::batch_norm": batch_norm,
    }
    for name, write in added.items():
        torch.onnx.register_custom_op_symbolic(name, write, OPSET)
    try:
        yield
    finally:
        for name in added:
            torch.onnx.unregister_custom_op_symbolic(name, OPSET)


def resizing(mode: str) -> Callable[..., Any]:
    """Return what writes antialiased resizing, which ONNX has since opset 18."""

    def write(g: Any, x: Any, size: Any, align_corners: Any, *scales: Any) -> Any:
        if symbolic_helper._is_packed_list(size):  # sides that depend on the input
            first = g.op("Constant", value_t=torch.tensor([0]))
            sides = [g.op("Unsqueeze", side, first) for side in symbolic_helper._unpack_list(size)]
            size = g.op("Concat", *sides, axis_i=0)
        nothing = g.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
        return g.op(
            "Resize",
            x,
            nothing,
            nothing,
            g.op("Concat", g.op("Shape", x, start_i=0, end_i=2), g.op("Cast", size, to_i=7), axis_i=0),
            mode_s=mode,
            antialias_i=1,
            coordinate_transformation_mode_s="half_pixel",
            cubic_coeff_a_f=-0.5,  # PyTorch's with antialias, as Pillow's
            exclude_outside_i=int(mode == "cubic"),
        )

    return write


def batch_norm(g: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any, *rest: Any) -> Any:
    """Write batch norm with the statistics from training; PyTorch's own cannot if it has no weights."""
    _, _, eps, _ = (symbolic_helper._maybe_get_const(one, "f") for one in rest)
    channels = symbolic_helper._get_tensor_dim_size(mean, 0) or 0
    if symbolic_helper._is_none(weight):
        weight, bias = (g.op("Constant", value_t=fill(channels)) for fill in (torch.ones, torch.zeros))
    return g.op("BatchNormalization", x, weight, bias, mean, var, epsilon_f=eps)


def parsed(data: bytes) -> Any:
    """Return the bytes of a file as an onnx.ModelProto."""
    return library("onnx").load_model_from_string(data)


def halved(data: bytes) -> tuple[bytes, int]:
    """Return a file with its weights in 16 bits, and how many tensors these are.

    They become 32 bits again when the file is loaded, so all is computed in 32 bits and nothing overflows. A tensor
    with a value that 16 bits cannot hold stays as it is, as in `i2i import --half`.
    """
    onnx = library("onnx")
    model = parsed(data)
    casts, largest = [], float(np.finfo(np.float16).max)
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size <= SMALL or not np.abs(values).max() < largest:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString(), len(casts)


def sealed(data: bytes, properties: Mapping[str, str]) -> bytes:
    """Return a file with these texts in its metadata, and a checksum of all its bytes."""
    onnx = library("onnx")
    model = parsed(data)
    onnx.helper.set_model_props(model, {**properties, SEAL: OPEN})
    whole = model.SerializeToString()
    if len(whole) > LARGEST:
        raise ConfigError(f"{len(whole) / 1e9:.1f} GB: an ONNX file holds 2 GB; export the model with -o NAME.pt2")
    return whole.replace(OPEN.encode(), hashlib.sha256(whole).hexdigest().encode(), 1)


def is_intact(data: bytes, seal: str) -> bool:
    """Return whether the bytes of a file are those that were sealed."""
    mark = seal.encode()
    return data.count(mark) == 1 and hashlib.sha256(data.replace(mark, OPEN.encode())).hexdigest() == seal
