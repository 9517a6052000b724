"""Someone else's weights: files that i2i did not write, recognised by their contents.

task, tree = adopted(Path("latest_net_G.pth"))

    read.py       `format_of`, `parts_of`, `read`: PyTorch, safetensors, ncnn and ONNX files -> tensors by name
    pickled.py    PyTorch files are opened in a child process with limits
    unwrap.py     the weights in what a file contains
    adopt.py      `adopted`: tensors -> a task, by the hook `adopt_weights` of the plugins
"""

from __future__ import annotations

from .adopt import adopted
from .read import format_of, parts_of, read

__all__ = ["adopted", "format_of", "parts_of", "read"]
