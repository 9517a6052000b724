"""Results as files: always encoded again, as PNG, JPEG, WebP or GIF, and without any metadata of the upload."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import PIL.Image

from i2i import ConfigError, images
from i2i.modalities import Modality

from .jobs import Result
from .schema import Format

LARGEST = {"webp": 16383, "jpeg": 65500, "gif": 65535}  # pixels a side


@dataclass(frozen=True)
class Options:
    """How a picture or an animation is encoded; by default as PNG or GIF."""

    format: Format | None = None
    quality: int = 90

    @classmethod
    def of(cls, options: dict[str, Any]) -> Options:
        """Return those of a request."""
        return cls(options.get("format"), options.get("quality", 90))


def encoded(made: Any, makes: Modality, options: Options) -> Result:
    """Encode what a model made of an upload.

    Raises:
        ConfigError: it is nothing that can be shown.
    """
    if isinstance(made, images.Video):
        return animated(made, options)
    if isinstance(made, PIL.Image.Image):
        return still(plain(made), options)
    raise ConfigError(f"this server sends pictures and clips, and the model makes {makes.plural}")


def encoded_samples(made: Any, makes: Modality, options: Options) -> list[Result]:
    """Encode samples as `i2i.sample` returns them: images [n, C, H, W] or clips [n, T, C, H, W] in [0, 1]."""
    shape = getattr(made, "shape", ())
    if len(shape) == 5:
        clips = images.to_uint8(made.flatten(0, 1) * 2 - 1)
        clips = clips.reshape(*shape[:2], *clips.shape[1:])
        return [animated(images.Video.of(frames, getattr(makes, "fps", 12)), options) for frames in clips]
    if len(shape) != 4:
        raise ConfigError(f"this server sends pictures and clips, and the model makes {makes.plural}")
    return [still(PIL.Image.fromarray(pixels), options) for pixels in images.to_uint8(made * 2 - 1)]


def plain(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return a picture in sRGB without metadata; alpha and 16 bits of grey are kept."""
    if image.info.get("icc_profile"):
        return images.to_pil(image)
    bare = image.copy()
    bare.info = {}
    return bare


def still(image: PIL.Image.Image, options: Options) -> Result:
    """Encode a picture; JPEG has no alpha, which becomes white, only PNG keeps 16 bits, and floats become 8 bits.

    Raises:
        ConfigError: a GIF is asked for, or the picture is too large for the format.
    """
    kind = options.format or "png"
    if kind == "gif":
        raise ConfigError("format gif is for animations, and this is a picture: choose png, jpeg or webp")
    if image.mode == "F" or (kind != "png" and image.mode == "I;16"):  # Pillow would clip these, not convert them
        image = PIL.Image.fromarray(images.to_uint8(images.take(image).tensor)[0])
    elif kind != "png" and image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGBA" if "A" in image.mode else "RGB")
    if kind == "jpeg" and image.mode == "RGBA":
        white = PIL.Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    refuse_large(kind, *image.size)
    buffer = io.BytesIO()
    more: dict[str, Any] = {"compress_level": 3} if kind == "png" else {"quality": options.quality}
    image.save(buffer, format=kind.upper(), **more)
    return Result(buffer.getvalue(), f"image/{kind}", image.width, image.height)


def animated(clip: images.Video, options: Options) -> Result:
    """Encode a clip with the times of its frames.

    Raises:
        ConfigError: a JPEG is asked for, or the frames are too large for the format.
    """
    kind = options.format or "gif"
    if kind == "jpeg":
        raise ConfigError("format jpeg is for pictures, and this is an animation: choose gif, webp or png")
    height, width = clip.frames.shape[1:3]
    refuse_large(kind, width, height)
    return Result(images.animation(clip, kind=kind), f"image/{kind}", width, height)


def refuse_large(kind: str, width: int, height: int) -> None:
    """Raise ConfigError if a format does not hold pictures of this size."""
    if max(width, height) > LARGEST.get(kind, math.inf):
        raise ConfigError(
            f"the result has {width}x{height} pixels, and a {kind} at most {LARGEST[kind]:,} a side: choose png"
        )
