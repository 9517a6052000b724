"""Checkpoints (exact states to resume from) and weights files: safetensors and JSON, verified, without pickle.

    checkpoints/step_00001000/    state.safetensors   every tensor
                                  state.json          all else, and where each tensor belongs
                                  manifest.json       size and sha256 of these two, and a sha256 of itself
    model.safetensors             averaged weights under plain names; the config and a sha256 in its metadata

A flipped bit anywhere is detected, and the checkpoint before is used: `i2i run config.yaml --resume`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
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
BLANK = b"0" * 64  # stands where the sha256 of a file goes into that file, while it is computed
DTYPES = {  # in the order in which a safetensors file holds them, so that each lies aligned
    torch.int64: "I64", torch.float64: "F64", torch.complex64: "C64", torch.float32: "F32", torch.int32: "I32",
    torch.bfloat16: "BF16", torch.float16: "F16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip
Key = str | int | float | None
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
Malformed = (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Damaged(WeightsError):
    """A checkpoint that is not as it was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"checkpoint {path} is damaged ({reason}): delete it, and --resume uses the one before")
        self.path, self.reason = path, reason


def save(
    folder: str | Path, step: int, state: Mapping[str, Any], keep: int, about: Mapping[str, Any] | None = None
) -> Path:
    """Write `folder/step_<step>`, whole or not at all; then delete all but the newest `keep` up to this step.

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
    tensors, tree = pack(state)
    refuse_non_finite(tensors, target)
    about = {"i2i": __version__, "torch": torch.__version__, **(about or {})}
    text = json.dumps({"format": FORMAT, "step": step, "about": about, "tree": tree}, allow_nan=False)
    contents: dict[str, list[Any]] = {TENSORS: serialise(tensors, {}), TREE: [text.encode()]}
    told = {name: {"sha256": sha256(parts), "size": sum(map(len, parts))} for name, parts in contents.items()}
    contents[MANIFEST] = [sealed({"files": told, "format": FORMAT, "step": step})]
    files.make_folder(folder)
    need, free = sum(len(part) for parts in contents.values() for part in parts) + (1 << 16), files.free_bytes(folder)
    if need > free:
        raise ResourceError(
            f"{target} needs {need / 1e6:.1f} MB and {free / 1e6:.1f} MB are free: free some space; the checkpoints "
            f"before it are untouched"
        )
    files.write_folder(target, contents)
    whole = [path for number, path in checkpoints_in(folder) if number <= step and looks_whole(path)]
    for path in whole[: -max(keep, 1)]:
        files.remove(path)
    return target


def load(path: str | Path) -> tuple[int, Any]:
    """Return the step and the state of a checkpoint, after verifying all of it; tensors are on the CPU.

    Raises:
        WeightsError: it is damaged, no checkpoint, or of a newer i2i; names the file and the reason.
    """
    path = Path(path)
    try:
        manifest = read_manifest(path)
        contents = {name: (path / name).read_bytes() for name in manifest["files"]}
        for name, content in contents.items():
            if sha256([content]) != manifest["files"][name]["sha256"]:
                raise ValueError(f"{name}: sha256 differs")
        document = json.loads(contents[TREE])
        if document["step"] != manifest["step"]:
            raise ValueError(f"{TREE} is of step {document['step']}")
        return manifest["step"], unpack(safetensors.torch.load(contents[TENSORS]), document["tree"])
    except Malformed as error:
        raise Damaged(path, str(error)) from error


def newest(folder: str | Path, say: Callable[[str], None]) -> tuple[Path, Any] | None:
    """Return path and state of the newest whole checkpoint; damaged ones are told through `say` and left alone.

    Raises:
        WeightsError: the newest is of a newer i2i.
    """
    damaged, found = [], None
    for _, path in reversed(checkpoints_in(Path(folder))):
        try:
            found = path, load(path)[1]
            break
        except Damaged as error:
            damaged.append((path, error.reason))
    instead = f"using {found[0].name} instead" if found else "there is no older one"
    for path, reason in damaged:
        say(f"checkpoint {path.name} is damaged ({reason}); {instead}")
    return found


def save_model(
    path: str | Path, tensors: Mapping[str, Tensor], config_yaml: str, about: Mapping[str, str] | None = None
) -> None:
    """Write weights under plain names into one safetensors file, which any reader of the format opens.

    Args:
        path: the file, `model.safetensors`.
        tensors: name -> weights.
        config_yaml: the config that builds what they belong to.
        about: what else a reader may want to know.

    Raises:
        NumericError: a tensor holds NaN or infinity; nothing is written.
        ResourceError: the disk is full or broken; the file that was there is untouched.
    """
    tensors = {name: plain(tensor, name) for name, tensor in tensors.items()}
    refuse_non_finite(tensors, path)
    metadata = {"sha256": BLANK.decode(), "format": "pt", "i2i": __version__, "i2i_format": str(FORMAT)}
    metadata |= {"config": config_yaml, "about": json.dumps(dict(about or {}))}
    header, *data = serialise(tensors, metadata)
    files.write(path, [header.replace(BLANK, sha256([header, *data]).encode(), 1), *data])


def load_model(path: str | Path) -> tuple[dict[str, Tensor], str, dict[str, str]]:
    """Return the tensors, the config and the other facts of a file that `save_model` wrote, verified.

    Raises:
        WeightsError: the file is damaged, of a newer i2i, or not one of ours.
    """
    try:
        content = Path(path).read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8:end])["__metadata__"]
        told, number = metadata["sha256"], int(metadata["i2i_format"])
        if sha256([content[:end].replace(told.encode(), BLANK, 1), memoryview(content)[end:]]) != told:
            raise WeightsError(f"{path} is damaged (sha256 differs): copy it again, or take another")
        refuse_newer(path, number)
        return safetensors.torch.load(content), metadata["config"], json.loads(metadata["about"])
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except Malformed as error:
        raise WeightsError(f"{path} is damaged, or not written by i2i: use the model.safetensors of a run") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: str, partial: bool = False) -> str | None:
    """Copy weights into a module: all or, when something does not fit, none.

    Args:
        module: what they belong to.
        tensors: name -> weights; one floating type is converted to another, and that is said.
        source: where they are from, for the messages.
        partial: load what fits by name, shape and kind, and leave the rest of the module as it is.

    Returns:
        What the user should know ("310 of 312 tensors loaded"), or None.

    Raises:
        WeightsError: they do not fit (names the first ten of each fault), none fits, or NaN is among them.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    fit = {name: value for name, value in tensors.items() if name in own and fits(value, own[name])}
    wrong = [name for name in own if name in tensors and name not in fit]
    faults = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape or type": [f"{name}: {shown(tensors[name])}, not {shown(own[name])}" for name in wrong],
    }
    listed = "; ".join(f"{len(names)} {fault} ({first_ten(names)})" for fault, names in faults.items() if names)
    if (listed and not partial) or not fit:
        hint = "nothing fits" if not fit else "use the config it was trained with"
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {listed or 'it is empty'}: {hint}")
    if bad := non_finite(fit):
        raise WeightsError(f"{source} holds NaN or infinity in {first_ten(bad)}: use other weights")
    module.load_state_dict(fit, strict=False)
    notes = [f"{len(fit)} of {len(own)} tensors loaded, {listed}"] if listed else []
    notes += sorted({f"{v.dtype} made {own[n].dtype}" for n, v in fit.items() if v.dtype != own[n].dtype})
    return f"{source}: {'; '.join(notes).replace('torch.', '')}" if notes else None


def pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Take nested values apart into named tensors and a tree that JSON can hold; `unpack` is the inverse.

    Dicts (keys: str, int, float, bool, None), lists, tuples, None, bool, int, float, str and dense tensors come back
    with type, order, value and memory order. Tensors are detached and on the CPU, where they may share memory.

    Raises:
        WeightsError: a value of another type; says where.

    Example:
        >>> pack({"adam": {0: torch.tensor(3.0)}, "betas": (0.5, 0.9)})
        ({'adam.0': tensor(3.)}, {'adam': {'$items': [[0, {'$tensor': 'adam.0'}]]}, 'betas': {'$tuple': [0.5, 0.9]}})
    """
    tensors: dict[str, Tensor] = {}

    def take(value: Any, place: str) -> Any:
        if isinstance(value, Tensor):
            name = place or "tensor"
            while name in tensors or name == "__metadata__":
                name += "'"
            tensors[name] = plain(value, place)
            form = CHANNELS_LAST.get(value.dim())  # a fused optimizer needs its state in the memory order of before
            last = form and not value.is_contiguous() and value.is_contiguous(memory_format=form)
            return {"$tensor": name} | ({"channels": "last"} if last else {})
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if value is None or isinstance(value, bool | int | str):
            return value
        if type(value) is list:
            return [take(item, f"{place}.{index}") for index, item in enumerate(value)]
        if type(value) in (tuple, torch.Size):
            return {"$tuple": take(list(value), place)}
        if type(value) in (dict, OrderedDict) and all(isinstance(key, Key) for key in value):
            items = [(key, take(item, f"{place}.{key}" if place else str(key))) for key, item in value.items()]
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return dict(items)
            return {"$items": [[take(key, place), item] for key, item in items]}
        raise WeightsError(
            f"the state at '{place}' is a {type(value).__module__}.{type(value).__qualname__}: a checkpoint holds "
            f"tensors, numbers, strings, None, and dicts, lists and tuples of them; turn it into these"
        )

    return tensors, take(tree, "")


def unpack(tensors: Mapping[str, Tensor], tree: Any) -> Any:
    """Put together again what `pack` took apart."""
    if isinstance(tree, list):
        return [unpack(tensors, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "$tensor" in tree:
        tensor = tensors[tree["$tensor"]]
        return tensor.contiguous(memory_format=CHANNELS_LAST[tensor.dim()]) if "channels" in tree else tensor
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
            f"the tensor '{place}' is {tensor.dtype}, {tensor.layout} and on '{tensor.device}', which cannot be "
            f"saved: make it dense, of an ordinary type and on a device with memory"
        )
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[Any]:
    """Return header and data of a safetensors file: the tensors' own memory, so that nothing is copied.

    Source: the format at https://github.com/huggingface/safetensors; byte for byte what that library writes.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    data, end = [], 0
    order = [*DTYPES]
    for name in sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name)):
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        data.append(tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy())
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *data]


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """Return JSON, of which there is one form only, with a sha256 of itself: whatever changes, shows."""
    text = json.dumps({**manifest, "sha256": BLANK.decode()}, indent=1, sort_keys=True).encode() + b"\n"
    return text.replace(BLANK, sha256([text]).encode())


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what a checkpoint should hold, after comparing it with the names and sizes of its files."""
    if not (path / MANIFEST).is_file():
        raise ValueError(f"{MANIFEST} is missing")
    content = (path / MANIFEST).read_bytes()
    try:
        manifest = json.loads(content)
        whole = content == sealed(manifest)
    except Malformed:
        whole = False
    if not whole:
        raise ValueError(f"{MANIFEST}: sha256 differs")
    refuse_newer(path, manifest["format"])
    if path.name != f"step_{manifest['step']:08d}":
        raise ValueError(f"{MANIFEST} is of step {manifest['step']}")
    told = {name: f"{file['size']} bytes" for name, file in manifest["files"].items()}
    there = {file.name: f"{file.lstat().st_size} bytes" for file in path.iterdir() if file.name != MANIFEST}
    for name in sorted(told | there):
        if told.get(name) != there.get(name):
            raise ValueError(f"{name} is {there.get(name, 'missing')}, should be {told.get(name, 'absent')}")
    return manifest


def looks_whole(path: Path) -> bool:
    """Say whether all files of a checkpoint are there and of the right size, without reading them."""
    try:
        return bool(read_manifest(path))
    except (WeightsError, *Malformed):
        return False


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """Return step and path of the checkpoints in a folder, oldest first; a link is none."""
    paths = folder.iterdir() if folder.is_dir() else ()
    named = [path for path in paths if re.fullmatch(r"step_\d{8,}", path.name, re.ASCII)]
    return sorted((int(path.name[5:]), path) for path in named if path.is_dir() and not path.is_symlink())


def refuse_newer(path: str | Path, number: int) -> None:
    """Refuse a file of a later format."""
    if number > FORMAT:
        raise WeightsError(f"{path} is of format {number}, and this i2i knows up to {FORMAT}: install a newer i2i")


def refuse_non_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse to write NaN or infinity."""
    if bad := non_finite(tensors):
        raise NumericError(
            f"{path} is not written, because of NaN or infinity in {first_ten(bad)}: go on from the last checkpoint "
            f"with a lower learning rate or train.clip=1 (a mask that holds inf is a buffer with persistent=False)"
        )


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity."""
    real = {name: torch.view_as_real(t) if t.is_complex() else t for name, t in tensors.items() if t.numel()}
    ends = {name: t.aminmax() for name, t in real.items() if t.is_floating_point()}  # NaN is passed on by both
    return [name for name, (low, high) in ends.items() if not (math.isfinite(low) and math.isfinite(high))]


def fits(value: Tensor, own: Tensor) -> bool:
    """Say whether a tensor can take the place of another: of that shape, and of that type or both floating."""
    floating = value.is_floating_point() and own.is_floating_point()
    return value.shape == own.shape and (value.dtype == own.dtype or floating)


def shown(tensor: Tensor) -> str:
    """Return shape and type of a tensor, for a message."""
    return f"{list(tensor.shape)} {tensor.dtype}".replace("torch.", "")


def first_ten(names: Sequence[str]) -> str:
    """Return the first ten names, and how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def sha256(parts: Sequence[Any]) -> str:
    """Return the sha256 of all parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
