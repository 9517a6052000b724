"""The border: pictures as people have them <-> float32 tensors [N, 3, H, W] in [-1, 1], by one decoder.

Training (`read_rgb`), `i2i translate a.jpg -o out` and the server (`take`, `Picture.restore`) read alike:
content decides the format; pixels and frames are limited before anything is decoded; EXIF orientation is applied;
RGB and CMYK colour profiles are converted to sRGB; an animation gives its first frame, with a warning; 16-bit and
float pixels are scaled by their type, never by their maximum. What is not clear is an error with the rule in it.
"""

from __future__ import annotations

import errno
import glob
import io
import math
import os
import stat
import struct
import warnings
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, WebPImagePlugin  # noqa: F401  they register

from . import files
from .errors import DataError, NumericError, PluginError, ResourceError

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")  # no other parser is ever entered
WRITTEN = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
WRITTEN |= {".bmp": "BMP", ".ppm": "PPM"}
SUFFIXES = (*WRITTEN, ".gif")  # the usual names of what can be read; content decides, not the name
MAX_PIXELS, MAX_FRAMES = 200_000_000, 1000
WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}  # by type
AXES = ("HW", "HWC", "CHW", "NHWC", "NCHW")
RULE = (
    "possible are uint8, uint16 or floats in 0..1, shaped [H, W], [H, W, C], [C, H, W] or these with N in "
    "front, where C is 1 (grey), 3 (RGB), 4 (RGBA) or, last, 2 (grey and alpha); tensors have their channels "
    "first; where two readings fit, give a PIL image or say layout='HWC'"
)

counts: Counter[str] = Counter()  # what was done to pictures in this process, such as "alpha composited"
_told: set[tuple[str, str]] = set()

Image.preinit()  # registers the rest of FORMATS


class ImageWarning(UserWarning):
    """Something in a picture was left out or changed; said once for each file."""


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path for messages, quoted and escaped: a newline in a name cannot break a line of a log."""
    return repr(os.fspath(path))


# ---- read


def read_rgb(
    source: Any, *, background: tuple[int, int, int] = (255, 255, 255), limit: int = MAX_PIXELS
) -> np.ndarray:
    """Read a picture for training.

    Args:
        source: a path, encoded bytes or a PIL image.
        background: the colour behind transparent pixels; `counts` tells how often it was needed.
        limit: the most pixels (H * W) that are decoded.

    Returns:
        uint8 [H, W, 3], upright, sRGB, contiguous and writable.

    Raises:
        DataError: it cannot be read, for the reason named; `__cause__` is the OSError of a failed read.
    """
    values = _on_colour(_rescaled(_load(source, limit), np.uint8), background)
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else np.ascontiguousarray(values)


def _load(source: Any, limit: int) -> np.ndarray:
    """Decode into [H, W, C]: uint8, uint16 or float32 in 0..1; C is 1, 2 (grey and alpha), 3 or 4."""
    name = shown(source) if isinstance(source, str | os.PathLike) else f"the given {type(source).__name__}"
    try:
        if isinstance(source, Image.Image):  # with the frame that its owner chose
            return _decode(source, name, limit)
        with _stream(source) as stream:
            kind = _kind(stream.read(16))
            stream.seek(0)
            # Not Image.open: its limit of pixels is global to the process, and lower than ours.
            image = Image.OPEN[kind][0](stream, "")
            _first_frame(image, name)
            return _decode(image, name, limit)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except MemoryError as error:
        raise ResourceError(f"{name}: too large for the memory; make it smaller") from error
    except Exception as error:  # damaged bytes make a decoder raise nearly anything
        raise DataError(f"{name}: {_reason(error)}; replace the file or leave it out") from error


def _stream(source: Any) -> BinaryIO:
    """Open bytes, or a path to a regular file; a pipe or a device cannot block it."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        raise DataError("possible are a path, encoded bytes, a PIL image, a numpy array and a tensor")
    mode = os.stat(source).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file")
    return open(source, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)))


def _kind(prefix: bytes) -> str:
    """Return the format that a file's first 16 bytes show."""
    for kind in FORMATS:
        accepts = Image.OPEN[kind][1]
        if accepts is not None and accepts(prefix) is True:
            return kind
    raise DataError(f"not an image (possible: {', '.join(FORMATS)})" if prefix else "empty file")


def _first_frame(image: Any, name: str) -> None:
    """Warn of an animation, and refuse one of too many frames."""
    if image.format == "MPO" or not getattr(image, "is_animated", False):  # in MPO: previews, depth maps
        return
    if _frames(image) > MAX_FRAMES:
        raise DataError(f"more than {MAX_FRAMES} frames; take out the one you want")
    _note(name, "first frame", "has several frames, the first is taken")


def _frames(image: Any) -> int:
    """Count frames up to one more than allowed, and decode none."""
    if image.format not in ("GIF", "TIFF"):
        return int(image.n_frames)  # the header says it
    look, count = partial(image._seek, update_image=False) if image.format == "GIF" else image.seek, 1
    with suppress(Exception):  # EOFError at the end, or a later page that is damaged: it is not ours to read
        while count <= MAX_FRAMES:
            look(count)
            count += 1
    image.seek(0)
    return count


def _decode(image: Image.Image, name: str, limit: int) -> np.ndarray:
    width, height = image.size
    if width * height > limit:
        raise DataError(f"{width}x{height} pixels, more than the limit of {limit:,}; make it smaller first")
    image.load()
    try:
        image = ImageOps.exif_transpose(image) if image.getexif().get(0x0112, 1) != 1 else image
    except Exception:
        _note(name, "EXIF ignored", "has unreadable EXIF data, no orientation is applied")
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image)
    values = np.array(_to_srgb(image, name))
    return values if values.ndim == 3 else values[..., None]


def _deep(image: Image.Image) -> np.ndarray:
    """Return grey pixels of more than 8 bits [H, W, 1 or 2] as they are: the type says what white is."""
    values = np.asarray(image)
    if image.mode == "F":
        _check_floats(values.min(), values.max())
        return values.astype(np.float32)[..., None]
    if values.min() < 0 or values.max() > 65535:
        raise DataError("its integers are not within 0..65535; convert it to 8 or 16 bits")
    clear = image.info.get("transparency")  # the one value that is transparent
    layers = [values] if clear is None else [values, np.where(values == clear, 0, 65535)]
    return np.stack(layers, axis=-1).astype(np.uint16)


def _to_srgb(image: Image.Image, name: str) -> Image.Image:
    """Convert 8-bit pixels to L, LA, RGB or RGBA, by the profile where an RGB or CMYK image has another one."""
    profile = image.info.get("icc_profile") or b""
    if image.mode != "CMYK" or profile[16:20] != b"CMYK":
        grey = image.mode in ("1", "L", "LA", "La")
        mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
        image = image if image.mode == mode else image.convert(mode)
    if profile[16:20] != {"RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}.get(image.mode):
        return image
    mode = image.mode.replace("CMYK", "RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return image
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, srgb, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        _note(name, "profile ignored", "has an unusable colour profile, it is read as sRGB")
        return image.convert(mode)
    counts["profile converted"] += 1
    return converted or image


def _check_floats(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError("holds NaN or infinity; floats must be within 0..1")
    if low < -1e-5 or high > 1 + 1e-5:  # rounding is forgiven
        raise DataError(f"holds floats from {low:g} to {high:g}, not within 0..1; rescale it or give uint8")


def _rescaled(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Take pixels from their own type to another, rounding to the nearest."""
    old, new = WHITE[values.dtype], WHITE[np.dtype(dtype)]
    if old == new:
        return values
    scaled = values.astype(np.float32) * np.float32(new / old)
    return (np.rint(scaled) if new > 1 else scaled).astype(dtype)


def _on_colour(values: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Lay uint8 [H, W, C] on a colour where it is transparent, and drop the alpha channel."""
    if values.shape[2] in (1, 3):
        return values
    colour, alpha = values[..., :-1], values[..., -1:].astype(np.uint32)
    if alpha.min() == 255:
        return colour
    counts["alpha composited"] += 1
    return ((colour * alpha + np.array(background, np.uint32) * (255 - alpha) + 127) // 255).astype(np.uint8)


def _note(name: str, what: str, sentence: str) -> None:
    counts[what] += 1
    if (name, what) not in _told:
        _told.add((name, what))
        warnings.warn(f"{name} {sentence}", ImageWarning, stacklevel=2)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


# ---- take and restore


@dataclass
class Picture:
    """A picture inside the border, which remembers how it came in.

    Attributes:
        tensor: float32 [N, 3, H, W] in [-1, 1]; grey is repeated. N is 1 but for four-dimensional input.
        alpha: float32 [N, 1, H, W] in [0, 1], kept apart from the network; None where there was none.
        grey: it came with one channel of colour.
        dtype: its depth: uint8, uint16 or (any float) float32.
        back: makes the kind of thing that came in of a tensor [N, C, H, W] in [0, 1].
    """

    tensor: Tensor
    alpha: Tensor | None
    grey: bool
    dtype: np.dtype[Any]
    back: Callable[[Tensor], Any]

    def restore(self, tensor: Tensor, colour: bool = False) -> Any:
        """Return a result as the kind of thing that came in, of the result's size; alpha is resized to it.

        Args:
            tensor: [N, 1 or 3, H', W'] in [-1, 1]; values beyond are clipped.
            colour: give RGB also where grey came in (for a task that adds colour).

        Raises:
            NumericError: it holds NaN or infinity.
            PluginError: its shape is no picture's.
        """
        from torch import cat, nn

        if tensor.ndim != 4 or len(tensor) != len(self.tensor) or tensor.shape[1] not in (1, 3):
            shapes = f"{list(tensor.shape)} for pictures {list(self.tensor.shape)}"
            raise PluginError(f"the result has the shape {shapes}; possible is [N, 1 or 3, H, W] of the same N")
        if not tensor.isfinite().all():
            raise NumericError("the result holds NaN or infinity; no picture is made of it, check the weights")
        unit = ((tensor.detach().float() + 1) / 2).clamp(0, 1)
        if self.grey and not colour and unit.shape[1] == 3:
            weights = unit.new_tensor([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow
            unit = (unit * weights[:, None, None]).sum(1, keepdim=True)
        elif unit.shape[1] == 1 and (colour or not self.grey):
            unit = unit.expand(-1, 3, -1, -1)
        if self.alpha is not None:
            alpha, size = self.alpha.to(unit.device), unit.shape[2:]
            if alpha.shape[2:] != size:
                alpha = nn.functional.interpolate(alpha, size, mode="bilinear", antialias=True)
            unit = cat([unit, alpha], 1)
        return self.back(unit)


def take(img: Any, *, layout: str | None = None, limit: int = MAX_PIXELS) -> Picture:
    """Take a picture of any kind over the border; it is not changed.

    Args:
        img: PIL image, path, encoded bytes, numpy array or tensor.
        layout: the axes of an array or a tensor, such as "HWC", where its shape leaves them open.
        limit: the most pixels (H * W) that are decoded.

    Returns:
        The picture. Its `restore` gives a PIL image for PIL, paths and bytes: upright, sRGB, in the mode L, LA,
        RGB, RGBA, I;16 or F as it came (1 becomes L, I becomes I;16, all others RGB or RGBA). An array or a
        tensor comes back with the same dtype, axes and device.

    Raises:
        DataError: it cannot be read, or it is not clear what it means; the message states the rule.

    Example:
        >>> picture = take(np.zeros((8, 5, 3), np.uint8))
        >>> picture.restore(picture.tensor).shape
        (8, 5, 3)
    """
    import torch

    back: Callable[[Tensor], Any]
    if isinstance(img, torch.Tensor):
        depths = {torch.uint8: np.uint8, torch.uint16: np.uint16}
        clear = img.layout == torch.strided and (img.dtype in depths or img.is_floating_point())
        axes = _axes("tensor", img.shape, str(img.dtype), clear, layout)
        dtype, values = np.dtype(depths.get(img.dtype, np.float32)), img.detach().to(torch.float32)
        back = partial(_to_tensor, axes=axes, dtype=img.dtype, device=img.device)
    else:
        own = isinstance(img, np.ndarray)
        array, axes = (img, "") if own else (_load(img, limit), "HWC")
        floats, native = array.dtype.kind == "f", array.dtype.newbyteorder("=")
        axes = axes or _axes("array", array.shape, str(native), floats or native in WHITE, layout)
        dtype = np.dtype(np.float32) if floats else native
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused below
            values = torch.from_numpy(np.array(array, np.float32))
        back = partial(_to_array, axes=axes, dtype=array.dtype) if own else partial(_to_pil, dtype=dtype)
    unit = _to_nchw(values, axes) / WHITE[dtype]
    if dtype.kind == "f":
        try:
            _check_floats(*(float(bound) for bound in unit.aminmax()))
        except DataError as error:
            raise DataError(f"the given {type(img).__name__} {error}") from None
    grey, transparent = unit.shape[1] <= 2, unit.shape[1] in (2, 4)
    colour = (unit[:, :1].expand(-1, 3, -1, -1) if grey else unit[:, :3]).clamp(0, 1).mul_(2).sub_(1)
    alpha = unit[:, -1:].clamp(0, 1) if transparent else None
    return Picture(colour.contiguous(), alpha, grey, dtype, back)


def _axes(kind: str, shape: tuple[int, ...], dtype: str, clear: bool, layout: str | None) -> str:
    """Return the axes of an array or tensor as letters of NCHW; raise where two readings fit, or none."""

    def fits(axes: str) -> bool:
        if len(axes) != len(shape) or (kind == "tensor" and axes[-1] == "C" and not layout):
            return False
        # Two channels in front are not grey and alpha but, more likely, two pictures.
        return "C" not in axes or shape[axes.index("C")] in ((1, 2, 3, 4) if axes[-1] == "C" else (1, 3, 4))

    found = [axes for axes in AXES if fits(axes) and layout in (None, axes)]
    if len(found) == 1 and clear and 0 not in shape:
        return found[0]
    problem = f" could be {' or '.join(found)}" if len(found) > 1 else ""
    raise DataError(f"the given {kind}, {dtype} of shape {list(shape)},{problem or ' is no picture'}; {RULE}")


def _to_nchw(values: Tensor, axes: str) -> Tensor:
    values = values.permute([axes.index(axis) for axis in "NCHW" if axis in axes])
    for place, axis in enumerate("NCHW"):
        values = values if axis in axes else values.unsqueeze(place)
    return values


def _from_nchw(unit: Tensor, axes: str) -> Tensor:
    axes += "C" if "C" not in axes and unit.shape[1] > 1 else ""  # a grey [H, W] that was given colour
    here = "NCHW"
    for axis in "NC":
        if axis not in axes:
            unit, here = unit.select(here.index(axis), 0), here.replace(axis, "")
    return unit.permute([here.index(axis) for axis in axes])


def _to_tensor(unit: Tensor, axes: str, dtype: Any, device: Any) -> Tensor:
    values = _from_nchw(unit, axes).to(device)
    if not dtype.is_floating_point:
        values = (values * (255 if dtype.itemsize == 1 else 65535)).round()
    return values.to(dtype).contiguous()


def _to_array(unit: Tensor, axes: str, dtype: Any) -> np.ndarray:
    values = np.ascontiguousarray(_from_nchw(unit, axes).cpu().numpy())
    return (values if dtype.kind == "f" else _rescaled(values, dtype.newbyteorder("="))).astype(dtype)


def _to_pil(unit: Tensor, dtype: Any) -> Image.Image:
    return _image(_to_array(unit, "HWC", dtype))


def _image(values: np.ndarray) -> Image.Image:
    """Make a PIL image of [H, W, C]; with colour or alpha it can hold 8 bits only."""
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else _rescaled(values, np.uint8))


# ---- write


def to_pil(img: Any) -> Image.Image:
    """Return one picture, of any kind that `take` takes, as a PIL image."""
    return _image(_values(img))


def _values(img: Any) -> np.ndarray:
    """Return one picture of any kind as [H, W, C] in its own depth."""
    picture = take(img)
    if len(picture.tensor) > 1:
        raise DataError(f"{len(picture.tensor)} pictures are given where one is possible; give one by one")
    back = partial(_to_array, axes="HWC", dtype=picture.dtype)
    values: np.ndarray = replace(picture, back=back).restore(picture.tensor)
    return values


def writable_name(path: str | os.PathLike[str]) -> Path:
    """Return the path where its suffix can be written, else with .png for .gif, or .png added."""
    path = Path(path)
    if path.suffix.lower() in WRITTEN:
        return path
    return path.with_suffix(".png") if path.suffix.lower() == ".gif" else path.with_name(path.name + ".png")


def save(img: Any, path: str | os.PathLike[str], *, quality: int = 95) -> None:
    """Write one picture in the format that the suffix names, whole or not at all.

    Sixteen bits are kept in PNG and, for grey, in TIFF; floats in a grey TIFF; all else is written in 8 bits.
    Where the format holds no alpha the picture is laid on white, with a warning. No metadata is written.

    Args:
        img: anything that `take` takes.
        path: a file that is there is replaced.
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        DataError: a suffix that cannot be written.
        ResourceError: the folder or the disk does not take it.
    """
    path = Path(path)
    kind = WRITTEN.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{shown(path)}: this suffix cannot be written; possible: {', '.join(WRITTEN)}")
    values = _values(img)
    if kind in ("JPEG", "BMP", "PPM") and values.shape[2] in (2, 4):
        _note(shown(path), "alpha dropped", f"holds no alpha, as {kind}: the picture is laid on white")
        values = _on_colour(_rescaled(values, np.uint8), (255, 255, 255))
    if kind == "PNG" and values.dtype == np.uint16:
        return files.write(path, _png16(values))
    buffer = io.BytesIO()
    options = {"JPEG": {"quality": quality, "subsampling": 0}, "WEBP": {"quality": quality}}.get(kind, {})
    _image(values if kind == "TIFF" else _rescaled(values, np.uint8)).save(buffer, format=kind, **options)
    return files.write(path, buffer.getvalue())


def _png16(values: np.ndarray) -> bytes:
    """Encode uint16 [H, W, C] as PNG; Pillow can do grey only. Source: W3C PNG (third edition), section 11."""
    height, width, channels = values.shape
    rows = np.pad(values.astype(">u2").view(np.uint8).reshape(height, -1), ((0, 0), (1, 0)))  # filter type 0
    head = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for tag, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")):
        png += struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    return png


# ---- pad


def pad_to_multiple(tensor: Tensor, multiple: int, minimum: int = 1) -> tuple[Tensor, Callable[..., Tensor]]:
    """Pad images at the right and the bottom by mirroring, again and again if need be: any size works.

    Args:
        tensor: [N, C, H, W].
        multiple: H and W become multiples of it.
        minimum: H and W become at least so large (for networks that mirror inside).

    Returns:
        The padded images, and `crop(out, scale=1)`, which cuts a result to H * scale, W * scale.
    """
    import torch

    height, width = tensor.shape[-2:]
    for dim, size in ((-2, height), (-1, width)):
        wanted = -(-max(size, minimum) // multiple) * multiple
        if wanted > size:
            # 0 1 2 3 2 1 0 1 ...: there and back in 2 * (size - 1) steps
            period = max(1, 2 * (size - 1))
            place = torch.arange(wanted, device=tensor.device) % period
            tensor = tensor.index_select(dim, torch.minimum(place, period - place).clamp(max=size - 1))

    def crop(out: Tensor, scale: int = 1) -> Tensor:
        return out[..., : height * scale, : width * scale]

    return tensor, crop


# ---- find

Found = tuple[Path, "str | None"]  # a path, and why it is skipped


def find(sources: str | os.PathLike[str] | Iterable[Any]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find pictures by their first bytes, in the same order on each machine.

    Args:
        sources: files, folders (searched to the bottom, but for hidden files) and globs (`**/` is any depth).

    Returns:
        The paths of the pictures, and (path, reason) of every file that was skipped. Nothing is decoded.
    """
    reasons: dict[Path, str | None] = {}
    for source in [sources] if isinstance(sources, str | os.PathLike) else sources:
        for path, reason in _expand(os.fspath(source)):
            reasons.setdefault(path, reason or _why_not(path))
    return [path for path, why in reasons.items() if not why], [(p, why) for p, why in reasons.items() if why]


def _expand(source: str) -> list[Found]:
    if os.path.isdir(source):
        return _walk(Path(source))
    if os.path.lexists(source) or not glob.has_magic(source):
        return [(Path(source), None)]
    head, deep, tail = source.partition("**/")
    if deep:  # not by glob itself, which follows a circle of links
        hits = [hit for folder in sorted(glob.glob(head or ".")) for hit in _walk(Path(folder))]
        hits = [(path, why) for path, why in hits if path.match(tail)]
    else:
        hits = [hit for name in sorted(glob.glob(source)) for hit in _expand(name)]
    return hits or [(Path(source), "nothing is named so")]


def _walk(folder: Path) -> list[Found]:
    """List a folder to the bottom. No folder is entered twice, and a link to a folder after all real ones."""
    hits: list[Found] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([folder])
    while waiting:
        here = waiting.popleft()
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                hits.append((here, "a link to a folder that was searched already"))
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            hits.append((here, _reason(error)))
            continue
        for entry in entries:
            path = here / entry.name
            if entry.name.startswith("."):
                hits.append((path, "hidden"))
            elif os.path.isdir(path):
                (waiting.append if entry.is_symlink() else waiting.appendleft)(path)
            else:
                hits.append((path, None))
    return sorted(hits, key=lambda hit: hit[0].parts)


def _why_not(path: Path) -> str | None:
    try:
        with _stream(path) as stream:
            _kind(stream.read(16))
    except (OSError, ValueError, DataError) as error:
        return _reason(error)
    return None
