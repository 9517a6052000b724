"""ONNX files of strangers: `checked` parses one within limits, before ONNX Runtime sees it.

An ONNX file is data, but it can name other files to read, call libraries, and loop without end. What `i2i export`
writes does none of that, so a file that does is rejected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from i2i import WeightsError

from .contract import Contract
from .graph import LARGEST, SEAL, is_intact, library, parsed

NODES = 100_000  # of a graph
DOMAINS = ("", "ai.onnx")


def checked(data: bytes) -> tuple[Any, Contract]:
    """Return an onnx.ModelProto and its contract.

    Raises:
        WeightsError: it is too large, damaged, not written by i2i, or does what `i2i export` never writes.
    """
    if len(data) > LARGEST:
        raise WeightsError(f"{len(data) / 1e9:.1f} GB are too much for an ONNX file: 2 GB is the limit")
    library("onnx")
    try:
        model = parsed(data)
    except Exception:
        raise WeightsError("the ONNX file is damaged or not one: copy it again") from None
    properties = {one.key: one.value for one in model.metadata_props}
    contract = Contract.read(properties)
    if not is_intact(data, properties.get(SEAL, "")):
        raise WeightsError("the ONNX file was changed after `i2i export` wrote it, or is damaged: copy it again")
    for reason in unwanted(model):
        raise WeightsError(f"the ONNX file {reason}, which `i2i export` never writes: do not use it")
    return model, contract


def unwanted(model: Any) -> Iterator[str]:
    """Yield what a file has that `i2i export` does not write."""
    external = library("onnx").TensorProto.EXTERNAL
    graph = model.graph
    if len(graph.node) > NODES:
        yield f"has {len(graph.node):,} nodes"
    if model.functions or any(one.domain not in DOMAINS for one in model.opset_import):
        yield "uses operators outside of the ONNX standard"
    tensors = [
        *graph.initializer,
        *(one for sparse in graph.sparse_initializer for one in (sparse.values, sparse.indices)),
    ]
    for node in graph.node:
        if node.domain not in DOMAINS:
            yield f"uses the operator {node.domain[:40]}.{node.op_type[:40]}"
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                yield f"has a graph inside of {node.op_type[:40]}"
            tensors += [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                yield "has sparse constants"
    if any(tensor.data_location == external or tensor.external_data for tensor in tensors):
        yield "keeps its weights in another file"
