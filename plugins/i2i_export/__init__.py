"""`i2i export`: write a model to one ONNX or torch.export file, checked against i2i; and translate with the former.

i2i export upscale-x2 -o upscale.onnx                    # pip install 'i2i[export]'
i2i export "restore | upscale-x2" -o both.onnx           # a chain as one file
i2i export runs/spade -o streets.onnx -c style=night.jpg # conditions become part of the file
i2i translate PICTURES -o OUT -m upscale.onnx            # runs in ONNX Runtime

    recorded.py   the inference of a model as a module from tensors to a tensor
    contract.py   what goes in and out of a file, in its metadata
    graph.py      recorded module -> ONNX file
    program.py    recorded module -> torch.export file
    compare.py    both give the same results, or the first layer that differs is named
    safe.py       ONNX files of strangers are checked before they are run
    task.py       an ONNX file as a task
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from i2i import Catalog, hookimpl

from .command import export

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["adopt_weights", "export", "register"]


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the tasks `onnx` and `onnx_sampler`."""
    from .task import OnnxSampler, OnnxTranslator  # not above: `i2i --help` imports this module, but not torch

    catalog.task("onnx", OnnxTranslator)
    catalog.task("onnx_sampler", OnnxSampler)


@hookimpl
def adopt_weights(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise ONNX files that `i2i export` wrote."""
    if metadata.get("format") != "onnx":
        return None
    from .task import adopted

    return adopted(tensors["onnx"])
