"""Checkpoints (exact states to resume from) and weights files: safetensors + JSON, verified, without pickle.

    checkpoints/step_00001000/    state.safetensors   every tensor
                                  state.json          everything else, and where each tensor belongs
                                  manifest.json       size and sha256 of the two, and of itself
    model.safetensors             averaged weights under plain names; the config and a sha256 in its metadata

One flipped bit anywhere is detected, and the checkpoint before is used. `i2i run config.yaml --resume`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from . import files
from .errors import NumericError, ResourceError, WeightsError
from .version import __version__

FORMAT = 1
MANIFEST, TENSORS, TREE = "manifest.json", "state.safetensors", "state.json"
BLANK = b"0" * 64  # stands where a file's own sha256 goes, while that is computed
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL", torch.complex64: "C64",
}  # fmt: skip
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
Buffers = Sequence[Any]  # bytes and arrays of bytes that make up one file


class Damaged(WeightsError):
    """A checkpoint that is not as it was written; `reason` names the file."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"checkpoint {path} is damaged ({reason}): delete it, and --resume uses the one before")
        self.path, self.reason = path, reason


def save(
    folder: str | Path, step: int, state: Mapping[str, Any], keep: int, about: Mapping[str, Any] | None = None
) -> Path:
    """Write `folder/step_<step>`, whole or not at all, and then delete all but the newest `keep` up to this step.

    Args:
        folder: where the checkpoints of a run lie; made when missing.
        step: the number of training steps done.
        state: nested dicts, lists, tuples, tensors and plain values; see `pack`.
        keep: how many whole checkpoints to keep, at least 1.
        about: what else a reader may want to know, as JSON.

    Returns:
        The folder of the new checkpoint.

    Raises:
        NumericError: a tensor holds NaN or infinity; nothing is written.
        ResourceError: the disk is full or broken; the older checkpoints are untouched.
        WeightsError: the state holds what cannot be saved.
    """
    folder = Path(folder)
    target = folder / f"step_{step:08d}"
    tensors, tree = pack(dict(state))
    refuse_non_finite(tensors, f"{target} is not written")
    head = {"i2i": __version__, "torch": torch.__version__, **(about or {})}
    document = json.dumps({"format": FORMAT, "step": step, "about": head, "tree": tree}, allow_nan=False)
    contents: dict[str, Buffers] = {TENSORS: serialise(tensors, {}), TREE: [document.encode()]}
    contents[MANIFEST] = [manifest(step, contents)]
    folder.mkdir(parents=True, exist_ok=True)
    need, free = sum(map(size_of, contents.values())) + (1 << 16), files.free_bytes(folder)
    if need > free:
        raise ResourceError(
            f"{target} needs {need / 1e6:.1f} MB, but only {free / 1e6:.1f} MB are free: free some space; the "
            f"checkpoints before it are untouched"
        )
    files.write_folder(target, {name: partial(pour, buffers) for name, buffers in contents.items()})
    whole = [path for number, path in steps_in(folder) if number <= step and looks_whole(path)]
    for path in whole[: -max(keep, 1)]:
        files.remove(path)
    return target


def load(path: str | Path) -> tuple[int, Any]:
    """Return the step and the state of one checkpoint, after verifying all of it; tensors are on the CPU.

    Raises:
        WeightsError: it is damaged, not a checkpoint, or from a newer i2i; names the file and the reason.
    """
    path = Path(path)
    about = read_manifest(path)
    contents = {}
    for name, told in about["files"].items():
        contents[name] = read(path, name)
        if hashlib.sha256(contents[name]).hexdigest() != told["sha256"]:
            raise Damaged(path, f"{name}: sha256 differs")
    try:
        document = json.loads(contents[TREE])
        if document["step"] != about["step"]:
            raise Damaged(path, f"{TREE} is of step {document['step']}, {MANIFEST} of step {about['step']}")
        return about["step"], unpack(safetensors.torch.load(contents[TENSORS]), document["tree"])
    except (SafetensorError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise Damaged(path, f"{type(error).__name__}: {error}") from error


def newest(folder: str | Path, say: Callable[[str], None]) -> tuple[Path, Any] | None:
    """Return path and state of the newest whole checkpoint; damaged ones are told through `say` and left alone.

    Raises:
        WeightsError: the newest was written by a newer i2i.
    """
    damaged: list[Damaged] = []
    found = None
    for _, path in reversed(steps_in(Path(folder))):
        try:
            found = path, load(path)[1]
            break
        except Damaged as error:
            damaged.append(error)
    instead = f"using {found[0].name} instead" if found else "there is no older one"
    for error in damaged:
        say(f"checkpoint {error.path.name} is damaged ({error.reason}); {instead}")
    return found


def save_model(
    path: str | Path, tensors: Mapping[str, Tensor], config_yaml: str, about: Mapping[str, str] | None = None
) -> None:
    """Write weights under plain names into one safetensors file that any reader of the format opens.

    Args:
        path: the file, `model.safetensors`.
        tensors: name -> weights.
        config_yaml: the config that builds what they belong to.
        about: what else a reader may want to know.

    Raises:
        NumericError: a tensor holds NaN or infinity; nothing is written.
        ResourceError: the disk is full or broken; the file that was there is untouched.
    """
    plain_tensors = {name: plain(tensor, name) for name, tensor in tensors.items()}
    refuse_non_finite(plain_tensors, f"{path} is not written")
    metadata = {"sha256": BLANK.decode(), "format": "pt", "i2i": __version__, "i2i_format": str(FORMAT)}
    metadata |= {"config": config_yaml, "about": json.dumps(dict(about or {}))}
    header, *data = serialise(plain_tensors, metadata)
    header = header.replace(BLANK, sha256([header, *data]).encode(), 1)
    files.write(path, partial(pour, [header, *data]))


def load_model(path: str | Path) -> tuple[dict[str, Tensor], str, dict[str, str]]:
    """Return the tensors, the config and the other facts of a file that `save_model` wrote, verified.

    Raises:
        WeightsError: the file is damaged, or not one of ours.
    """
    try:
        content = Path(path).read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header, data = content[:end], memoryview(content)[end:]
        metadata = json.loads(header[8:])["__metadata__"]
        told, config, number = metadata["sha256"], metadata["config"], int(metadata["i2i_format"])
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is damaged, or no model of i2i: use a model.safetensors from a run, or convert other weights "
            f"with `i2i import`"
        ) from error
    if sha256([header.replace(told.encode(), BLANK, 1), data]) != told:
        raise WeightsError(f"{path} is damaged (sha256 differs): copy it again, or take the run's checkpoint")
    refuse_newer(path, number)
    return safetensors.torch.load(content), config, json.loads(metadata["about"])


def load_weights(
    module: nn.Module, tensors: Mapping[str, Tensor], source: str, partial: bool = False
) -> str | None:
    """Copy weights into a module: all of them or, when they do not fit, none.

    Args:
        module: what they belong to.
        tensors: name -> weights; other floating types are converted.
        source: where they are from, for messages.
        partial: load what fits by name, shape and kind, and leave the rest of the module alone.

    Returns:
        What the user should know ("310 of 312 tensors loaded"), or None.

    Raises:
        WeightsError: they do not fit (the first ten of each kind are named), nothing fits, or NaN is among them.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    fit = {name: value for name, value in tensors.items() if name in own and fits(value, own[name])}
    faults = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape or type": [
            f"{name} {shown(tensors[name])} instead of {shown(own[name])}"
            for name in own
            if name in tensors and name not in fit
        ],
    }
    listed = "; ".join(f"{len(all_)} {kind} ({first_ten(all_)})" for kind, all_ in faults.items() if all_)
    if listed and not partial:
        raise WeightsError(
            f"{source} does not fit {type(module).__name__}: {listed}: use the config it was trained with, or "
            f"load what fits with --partial"
        )
    if not fit:
        raise WeightsError(f"{source}: 0 of {len(own)} tensors of {type(module).__name__} fit: {listed}")
    bad = non_finite(fit)
    if bad:
        raise WeightsError(f"{source} holds values that are not finite in {first_ten(bad)}: use other weights")
    module.load_state_dict(fit, strict=False)
    said = [f"{source}: {len(fit)} of {len(own)} tensors loaded ({listed})"] if listed else []
    kinds = sorted({f"{kind(v)} to {kind(own[n])}" for n, v in fit.items() if v.dtype != own[n].dtype})
    return "; ".join(said + [f"{source}: weights converted from {' and '.join(kinds)}"] * bool(kinds)) or None


def pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Take nested values apart into named tensors and a tree that JSON can hold; `unpack` is the inverse.

    Dicts (keys: str, int, float, bool, None), lists, tuples, None, bool, int, float, str and dense tensors keep
    type, order and value. The tensors are detached, contiguous and on the CPU; they may share the originals' memory.

    Raises:
        WeightsError: a value of another type, named by its place.

    Example:
        >>> pack({"adam": {0: {"step": torch.tensor(3.0)}, "betas": (0.5, 0.999)}})
        ({'adam.0.step': tensor(3.)}, {'adam': {'$items': [[0, {'step': {'$tensor': 'adam.0.step'}}], \
['betas', {'$tuple': [0.5, 0.999]}]]}})
    """
    tensors: dict[str, Tensor] = {}
    tree = _pack(tree, "", tensors)
    return tensors, tree


def _pack(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = place or "tensor"
        while name in tensors or name == "__metadata__":
            name += "'"
        tensors[name] = plain(value, place)
        return {"$tensor": name} | ({"layout": "channels_last"} if is_channels_last(value) else {})
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if value is None or isinstance(value, bool | int | str):
        return value
    if type(value) is list:
        return [_pack(item, f"{place}.{index}", tensors) for index, item in enumerate(value)]
    if type(value) in (tuple, torch.Size):
        return {"$tuple": _pack(list(value), place, tensors)}
    if type(value) in (dict, OrderedDict) and all(k is None or isinstance(k, str | int | float) for k in value):
        items = [(key, _pack(item, f"{place}.{key}" if place else str(key), tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(items)
        return {"$items": [[_pack(key, place, tensors), item] for key, item in items]}
    raise WeightsError(
        f"the state at '{place}' is {type(value).__module__}.{type(value).__qualname__}, which a checkpoint cannot "
        f"hold: use tensors, numbers, strings, None, and dicts, lists and tuples of them"
    )


def unpack(tensors: Mapping[str, Tensor], tree: Any) -> Any:
    """Put together again what `pack` took apart."""
    if isinstance(tree, list):
        return [unpack(tensors, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "$tensor" in tree:
        tensor = tensors[tree["$tensor"]]
        if "layout" in tree:
            tensor = tensor.contiguous(memory_format=CHANNELS_LAST[tensor.dim()])
        return tensor
    if "$float" in tree:
        return float(tree["$float"])
    if "$tuple" in tree:
        return tuple(unpack(tensors, tree["$tuple"]))
    if "$items" in tree:
        return {unpack(tensors, key): unpack(tensors, item) for key, item in tree["$items"]}
    return {key: unpack(tensors, item) for key, item in tree.items()}


def plain(tensor: Tensor, place: str) -> Tensor:
    """Return a tensor detached, contiguous and on the CPU, or say why it cannot be saved."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        raise WeightsError(
            f"the tensor '{place}' is {tensor.dtype}, {tensor.layout}, on {tensor.device}, which a checkpoint cannot "
            f"hold: make it dense, of a plain type and on a device with memory"
        )
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def is_channels_last(tensor: Tensor) -> bool:
    """Say whether a tensor's memory is in channels-last order; a fused optimizer needs its state as it was."""
    form = CHANNELS_LAST.get(tensor.dim())
    return form is not None and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=form)


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[Any]:
    """Return the safetensors header and the memory of each tensor: together the file, without a copy of the data.

    Source: the format at https://github.com/huggingface/safetensors; same order (widest type first, then by name).
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *(tensors[n].flatten().view(torch.uint8).numpy() for n in order)]


def manifest(step: int, contents: Mapping[str, Buffers]) -> bytes:
    """Return the manifest: one way to write it only, and a sha256 of itself, so that any change shows."""
    told = {name: {"sha256": sha256(buffers), "size": size_of(buffers)} for name, buffers in contents.items()}
    return sealed({"files": told, "format": FORMAT, "step": step})


def sealed(about: Mapping[str, Any]) -> bytes:
    """Return canonical JSON with a sha256 over the rest of itself."""
    text = json.dumps({**about, "sha256": BLANK.decode()}, indent=1, sort_keys=True).encode() + b"\n"
    return text.replace(BLANK, hashlib.sha256(text).hexdigest().encode())


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what a checkpoint should hold, after comparing it with the names and sizes of the files."""
    content = read(path, MANIFEST)
    try:
        about = json.loads(content)
        whole = content == sealed({key: value for key, value in about.items() if key != "sha256"})
    except (ValueError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise Damaged(path, f"{MANIFEST}: sha256 differs")
    refuse_newer(path, about["format"])
    if path.name != f"step_{about['step']:08d}":
        raise Damaged(path, f"{MANIFEST} is of step {about['step']}")
    there = {file.name: file for file in path.iterdir()}
    for name in sorted({*there, *about["files"]} - {MANIFEST}):
        if name not in there:
            raise Damaged(path, f"{name} is missing")
        if name not in about["files"]:
            raise Damaged(path, f"{name} does not belong to it")
        size = there[name].lstat().st_size
        if size != about["files"][name]["size"]:
            raise Damaged(path, f"{name} has {size} bytes instead of {about['files'][name]['size']}")
    return about


def looks_whole(path: Path) -> bool:
    """Say whether all files of a checkpoint are there and of the right size, without reading them."""
    try:
        return bool(read_manifest(path))
    except WeightsError:
        return False


def steps_in(folder: Path) -> list[tuple[int, Path]]:
    """Return step and path of the checkpoints in a folder, oldest first; links are no checkpoints."""
    if not folder.is_dir():
        return []
    named = [(re.fullmatch(r"step_(\d{8,})", path.name), path) for path in folder.iterdir()]
    return sorted((int(m[1]), path) for m, path in named if m and path.is_dir() and not path.is_symlink())


def read(path: Path, name: str) -> bytes:
    """Return the content of one file of a checkpoint."""
    file = path / name
    if file.is_symlink() or not file.is_file():
        raise Damaged(path, f"{name} is missing")
    try:
        return file.read_bytes()
    except OSError as error:
        raise Damaged(path, f"{name} cannot be read: {error.strerror}") from error


def refuse_newer(path: str | Path, number: int) -> None:
    """Refuse a file format that this version does not know."""
    if number > FORMAT:
        raise WeightsError(f"{path} is of format {number}, this i2i reads up to {FORMAT}: install a newer i2i")


def refuse_non_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse to write NaN or infinity."""
    bad = non_finite(tensors)
    if bad:
        raise NumericError(
            f"{what}: values are not finite in {first_ten(bad)}: go on from the last checkpoint with a lower "
            f"learning rate or train.clip=1 (a constant that holds inf: register_buffer(..., persistent=False))"
        )


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity."""
    floats = {n: t for n, t in tensors.items() if (t.is_floating_point() or t.is_complex()) and t.numel()}
    return [name for name, tensor in floats.items() if not all_finite(tensor)]


def all_finite(tensor: Tensor) -> bool:
    """Say whether all values are finite."""
    low, high = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).aminmax()
    return bool(low.isfinite() & high.isfinite())


def fits(value: Tensor, own: Tensor) -> bool:
    """Say whether a tensor can take another's place: same shape, and same type or both floating."""
    both_float = value.is_floating_point() and own.is_floating_point()
    return value.shape == own.shape and (value.dtype == own.dtype or both_float)


def shown(tensor: Tensor) -> str:
    """Return the shape and type of a tensor for a message."""
    return f"{list(tensor.shape)} {kind(tensor)}"


def kind(tensor: Tensor) -> str:
    """Return the type of a tensor's elements for a message."""
    return str(tensor.dtype).removeprefix("torch.")


def first_ten(names: Sequence[str]) -> str:
    """Return the first ten names, and how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def sha256(buffers: Buffers) -> str:
    """Return the sha256 of buffers put together."""
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def size_of(buffers: Buffers) -> int:
    """Return the number of bytes in buffers of bytes."""
    return sum(map(len, buffers))


def pour(buffers: Buffers, out: Any) -> None:
    """Write buffers into a file."""
    for buffer in buffers:
        out.write(buffer)
