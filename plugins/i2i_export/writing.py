"""Write a model to a file, if its results are those of i2i: `write_onnx`, `write_program`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i import ConfigError, Model, NumericError, files

from .compare import TOLERANCE, Differs, Result, differences, first_difference, inputs, runner
from .contract import Contract, contract_of
from .graph import halved, onnx_of, sealed
from .program import LEAST, packed, program_of
from .recorded import Recorded

HALF_LARGEST, HALF_MEAN = 0.1, 2 / 255  # differences in [-1, 1] that 16-bit weights may make: one level on average


def write_onnx(model: Model, path: Path, condition: Mapping[str, Any], *, half: bool) -> str:
    """Write an ONNX file; return what was compared, in words.

    Args:
        model: what is written.
        path: the file.
        condition: conditions of the model, which become constants.
        half: whether to store the weights in 16 bits.

    Raises:
        ConfigError: ONNX cannot express the model.
        NumericError: the results of the file are not those of i2i; nothing is written.
    """
    recorded = Recorded(model, condition, pads=True)
    contract = contract_of(model, recorded, condition, half)
    data = onnx_of(recorded, example(contract))
    found = compared(recorded, contract, data, TOLERANCE)
    said = f"equal to i2i within {found.largest:.1g} in {found.runs} runs of ONNX Runtime"
    if half:
        data, count = halved(data)
        rounded = compared(recorded, contract, data, HALF_LARGEST)
        if rounded.mean > HALF_MEAN:
            raise NumericError(
                f"16-bit weights change a value by {rounded.mean:.2g} on average, more than {HALF_MEAN:.2g}: export "
                f"this model without --half"
            )
        said += f"; with {count} tensors in 16 bits to {rounded.largest:.1g} (mean {rounded.mean:.1g})"
    files.write(path, sealed(data, contract.properties()))
    return said


def write_program(model: Model, path: Path, condition: Mapping[str, Any], *, half: bool) -> str:
    """Write a torch.export file; arguments, results and errors as in `write_onnx`."""
    if half:
        raise ConfigError("--half is for ONNX files; leave it out, or write one with -o NAME.onnx")
    recorded = Recorded(model, condition, pads=False)
    contract = contract_of(model, recorded, condition, half)
    contract = replace(contract, minimum=max(contract.minimum, LEAST))
    program = program_of(recorded, example(contract), contract)
    try:
        with torch.inference_mode():
            found = differences(recorded, contract, program.module(), "the torch.export file", TOLERANCE)
    except Differs as error:
        raise NumericError(f"{error}: nothing was written; try -o NAME.onnx") from error
    files.write(path, packed(program, contract))
    return f"equal to i2i within {found.largest:.1g} in {found.runs} runs"


def example(contract: Contract) -> tuple[Tensor, ...]:
    """Return the input that is traced: more than one sample, and pictures that are not square."""
    return list(inputs(contract))[3 if contract.takes != "codes" else 1][1]


def compared(recorded: Recorded, contract: Contract, data: bytes, tolerance: float) -> Result:
    """Compare the results of an ONNX file with those of i2i.

    Raises:
        NumericError: they differ; it names the first layer that does.
    """
    try:
        return differences(recorded, contract, runner(data), "the ONNX file", tolerance)
    except Differs as error:
        try:
            place = first_difference(recorded, data, error.given, tolerance)
        except Exception:  # it does not run: the error says where
            place = "see above for the place"
        raise NumericError(f"{error}, {place}: nothing was written") from error
