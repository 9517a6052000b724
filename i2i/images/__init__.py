"""Image input and output: files, bytes, PIL images and arrays <-> float32 tensors [N, 3, H, W] in [-1, 1].

    border.py   `take`: any picture -> a tensor; `Picture.restore`: a tensor -> the original type
    decode.py   `read_rgb`, and the decoder with its formats
    large.py    the same for large PNG and TIFF files, a few rows at a time; cut.py, spill.py are parts of it
    limits.py   how large pictures may be, and `$I2I_LIMITS`
    write.py    `save`, in the format given by the suffix
    output.py   `Output`: the format, quality, metadata and size asked for
    carried.py, exif.py, profile.py, deep.py    what a photograph carries: metadata, colour profile, 16-bit colour
    find.py     `find`, `find_clips`: the images or clips in files, folders and globs
    tile.py     `tiled`: large pictures tile by tile, with a measured overlap
    grid.py     `grid`, `frames`: columns of images as one sheet, for `samples/` and the report
    video.py    `read_video`, `iter_video`, `write_video`: clips with times; more about its parts is there
    levels.py   large pictures as uint8 or uint16 tensors
    axes.py, pixels.py, notes.py    helpers: axes of arrays; depth and alpha; counts, warnings and names

Training (`read_rgb`), `i2i translate a.jpg -o out` and the server (`take`, `Picture.restore`) share one decoder.
Importing this package does not import torch.
"""

from __future__ import annotations

from .animate import animation, gif
from .border import Picture, take, take_labels
from .decode import FORMATS, UNSUPPORTED, read_labels, read_rgb
from .find import find, find_clips
from .grid import frames, grid, label_colours, layout, png, texts, to_uint8
from .hidden import fill_hidden
from .limits import MAX_FRAMES, MAX_PIXELS
from .notes import ImageWarning, counts, shown
from .output import Output
from .pyav import mp4
from .tile import pad_to_multiple, reach, tiled
from .video import MOVING, Frame, Video, animated, iter_video, read_video, write_video
from .write import SUFFIXES, WRITTEN, save, to_pil, writable_name

__all__ = [
    "FORMATS",
    "MAX_FRAMES",
    "MAX_PIXELS",
    "MOVING",
    "SUFFIXES",
    "UNSUPPORTED",
    "WRITTEN",
    "Frame",
    "ImageWarning",
    "Output",
    "Picture",
    "Video",
    "animated",
    "animation",
    "counts",
    "fill_hidden",
    "find",
    "find_clips",
    "frames",
    "gif",
    "grid",
    "iter_video",
    "label_colours",
    "layout",
    "mp4",
    "pad_to_multiple",
    "png",
    "reach",
    "read_labels",
    "read_rgb",
    "read_video",
    "save",
    "shown",
    "take",
    "take_labels",
    "texts",
    "tiled",
    "to_pil",
    "to_uint8",
    "writable_name",
    "write_video",
]
