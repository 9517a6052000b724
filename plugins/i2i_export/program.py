"""A recorded model -> the bytes of a torch.export file (.pt2): `program_of(recorded, example, contract)`.

i2i writes these files, but does not load them: they can contain code. In Python:
`torch.export.load("upscale.pt2").module()(image)`.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, save

from i2i import ConfigError, I2IError

from .contract import Contract
from .graph import quiet
from .recorded import Frozen, Recorded, undrawable

LEAST = 32  # pixels: torch.export takes smaller ones, of which layers make single pixels, for cases of their own
RANDOM = re.compile(r"aten\.(rand|normal|bernoulli|multinomial)")  # operations that draw numbers
NOTE = "i2i.json"  # name of the contract in the file


def program_of(recorded: Recorded, example: tuple[Tensor, ...], contract: Contract) -> Any:
    """Return a model as a `torch.export.ExportedProgram`, for any number of samples and any size.

    Raises:
        ConfigError: the model draws random numbers, or torch.export cannot express it.
    """
    count = Dim("N")
    least = -(-contract.minimum // contract.multiple)
    sides = [Dim(name, min=least) for name in ("H", "W")]
    free = {0: count, **{axis: contract.multiple * side for axis, side in zip((2, 3), sides, strict=True)}}
    shapes = [free if value.ndim == 4 else {0: count} for value in example]
    try:
        with quiet(), silent(), torch.no_grad(), Frozen():
            program = torch.export.export(recorded, example, dynamic_shapes={"given": tuple(shapes)}, strict=False)
    except I2IError:
        raise
    except Exception as error:
        raise ConfigError(f"torch.export cannot express this model: {reason(error)}; try -o NAME.onnx") from error
    if drawn := sorted(
        {str(node.target).split(".")[1] for node in program.graph.nodes if RANDOM.match(str(node.target))}
    ):
        raise undrawable(drawn, "a torch.export file")
    return program


def reason(error: Exception) -> str:
    """Return what torch.export complains about in one line."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if re.search(r"specialized|constraint|guard|unsupported", line, re.I)), "")
    return f"{type(error).__name__}: {(told or (lines or [''])[0])[:300]}"


@contextmanager
def silent() -> Iterator[None]:
    """Keep the log of torch.export to ourselves: the error says what is wrong."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def packed(program: Any, contract: Contract) -> bytes:
    """Return the bytes of a file with a program, and its contract as JSON by the same names as in an ONNX file."""
    stream = io.BytesIO()
    with quiet():
        save(program, stream, extra_files={NOTE: json.dumps(contract.properties(), indent=1)})
    return stream.getvalue()
