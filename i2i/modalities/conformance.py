"""The contract of a modality as one call: `i2i.testing.check_modality(Waveform(), tone, tmp_path, wrong=photo)`."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, I2IError
from .base import Modality, Taken


def check_modality(modality: Modality, thing: Any, folder: Path, *, wrong: Any, tolerance: float = 0.01) -> None:
    """Check everything that the model, the command line, the previews and the metrics rely on.

    Args:
        modality: the modality to check.
        thing: an input that `take` accepts, e.g. an array.
        folder: an empty folder for files.
        wrong: an input of another kind, which `take` must reject.
        tolerance: how much values may change when written to a file and read back.

    Raises:
        AssertionError: part of the contract is broken; the message says which.
    """
    who = type(modality).__name__
    assert modality.name, f"{who}.name is empty"
    assert modality.plural, f"{who}.plural is empty"
    assert modality.suffixes, f"{who}.suffixes is empty"
    odd = [suffix for suffix in modality.suffixes if suffix != suffix.lower() or not suffix.startswith(".")]
    assert not odd, f"{who}.suffixes: {odd[0]!r} must be lower case and start with a dot"
    taken = check_take(modality, thing)
    check_rejections(modality, folder, wrong)
    check_files(modality, taken, folder, tolerance)
    check_show(modality, taken)
    batch, undo = modality.fit({"given": taken.values}, "given")
    assert same(undo(batch["given"], modality, who), taken.values), f"{who}.fit: undo does not undo"
    try:
        ForkingPickler.dumps(modality)
    except Exception as error:
        raise AssertionError(f"{who} cannot be sent to another process: {error}") from error


def check_take(modality: Modality, thing: Any) -> Taken:
    """Check that `restore` inverts `take`: same type, same values."""
    from torch import Tensor

    who = type(modality).__name__
    taken = modality.take(thing)
    assert isinstance(taken, Taken), f"{who}.take must return Taken(values, like), not {type(taken).__name__}"
    assert isinstance(taken.values, Tensor), f"{who}.take: values must be a tensor, not {type(taken.values).__name__}"
    assert taken.values.ndim >= 2, f"{who}.take: values must be [N, ...], not {list(taken.values.shape)}"
    assert same(modality.accept(taken.values, who), taken.values), f"{who}.accept changes what {who}.take returned"
    back = modality.restore(taken.values, taken.like)
    assert type(back) is type(thing) or isinstance(thing, str | Path | bytes), (
        f"{who}.restore gives {type(back).__name__} where {type(thing).__name__} came in"
    )
    if isinstance(thing, np.ndarray | Tensor):
        assert (back.shape, back.dtype) == (thing.shape, thing.dtype), (
            f"{who}.restore gives {back.dtype} {list(back.shape)} where {thing.dtype} {list(thing.shape)} came in"
        )
    return taken


def check_rejections(modality: Modality, folder: Path, wrong: Any) -> None:
    """Check that invalid input raises DataError and not another exception."""
    who, missing = type(modality).__name__, str(folder / f"missing{modality.suffixes[0]}")
    for given, what in ((wrong, "something of another kind"), (missing, "a missing file")):
        try:
            modality.take(given)
        except DataError:
            continue
        except Exception as error:
            raise AssertionError(f"{who}.take raises {type(error).__name__} for {what}, not DataError") from error
        raise AssertionError(f"{who}.take accepts {what}: raise DataError with what is possible")


def check_files(modality: Modality, taken: Taken, folder: Path, tolerance: float) -> None:
    """Check that written files are found and read back."""
    who, target = type(modality).__name__, folder / modality.file_name(Path("result"))
    assert target.suffix in modality.suffixes, f"{who}.file_name gives {target.name}; its suffix is not in suffixes"
    assert modality.file_name(Path(target.name)).name == target.name, f"{who}.file_name changes its own names"
    modality.write(modality.restore(taken.values), target)
    assert target.is_file(), f"{who}.write wrote no file"
    found, _ = modality.find(str(folder))
    assert [name for _, name in found] == [Path(target.name)], f"{who}.find does not find what {who}.write wrote"
    again = modality.take(found[0][0]).values
    assert again.shape == taken.values.shape, (
        f"{who}: {list(taken.values.shape)} became {list(again.shape)} in a file"
    )
    change = float((again.float() - taken.values.float()).abs().max())
    assert change <= tolerance, f"{who}: values changed by {change:.3g} in a file, more than {tolerance:g}"
    released = list(modality.release(taken.values))
    assert len(released) == len(taken.values), f"{who}.release gives {len(released)} of {len(taken.values)}"
    modality.write(released[0], folder / modality.file_name(Path("new")))
    try:
        modality.write(modality.restore(taken.values), folder / "result.no_such_suffix")
    except I2IError:
        return
    raise AssertionError(f"{who}.write accepts any suffix: raise DataError with the possible ones")


def check_show(modality: Modality, taken: Taken) -> None:
    """Check that previews are images, or frames."""
    who, drawn = type(modality).__name__, modality.show(taken.values)
    assert isinstance(drawn, np.ndarray), f"{who}.show must return an array, not {type(drawn).__name__}"
    fits = drawn.dtype == np.uint8 and drawn.ndim in (4, 5) and drawn.shape[-1] == 3
    assert fits, f"{who}.show gives {drawn.dtype} {list(drawn.shape)}, not uint8 [N, H, W, 3] or [N, T, H, W, 3]"
    assert len(drawn) == len(taken.values), f"{who}.show draws {len(drawn)} of {len(taken.values)}"


def same(a: Any, b: Any) -> bool:
    """Return whether two tensors are equal in shape and value."""
    return a.shape == b.shape and bool((a == b).all())
