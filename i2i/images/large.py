"""`read_large(source)`: a large PNG or TIFF, decoded a few rows at a time into a file without a name.

    i2i translate 20000.png -o out -m restore --tile 256

The pixels are those of `read_photo`: a few rows at a time are decoded like it, as a file of their own (`cut.py`).
What cannot be cut, such as an interlaced PNG, is decoded as a whole, with a warning; so are other formats.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..files.scratch import release
from .carried import Carried, carried_of
from .cut import Cut, Uncuttable, cut
from .decode import (
    TURNS,
    Photo,
    check_header,
    explained,
    first_frame,
    format_of,
    header_of,
    opened,
    photo_of,
    read_photo,
    whole_file,
    with_texts,
)
from .notes import note
from .spill import empty

LARGE = 4_000_000  # pixels of a picture that is cut
INVERSE = {6: 8, 8: 6}  # the turn that undoes one; the others undo themselves


def read_large(source: Any, *, limit: int | None = None) -> Photo:
    """Read a picture with what it carries, in little memory if possible; for errors see `read_rgb`."""
    if not isinstance(source, Image.Image):
        with explained(source) as name, opened(source) as stream:
            try:
                found = _in_parts(stream, name, limit)
            except Uncuttable as why:
                note(name, "decoded as a whole", f"is decoded as a whole, which takes more memory, because {why}")
                found = None
        if found is not None:
            return found
    return read_photo(source, limit=limit)


def can_be_cut(source: Any) -> bool:
    """Return whether `read_large` needs little memory for a picture, from its header."""
    if isinstance(source, str | os.PathLike | bytes):
        with suppress(Exception), opened(source) as stream:  # decoders raise almost anything on damaged bytes
            return _header(stream) is not None
    return False


def _header(stream: BinaryIO, limit: int | None = None) -> tuple[str, Image.Image, Cut] | None:
    """Return the format, the header and the parts of a large PNG or TIFF; None for any other file."""
    kind = format_of(stream.read(16))
    if kind not in ("PNG", "TIFF"):
        return None
    image = header_of(stream, kind, limit)
    if image.width * image.height < LARGE:
        return None
    check_header(image, limit, stream)
    return kind, image, cut(stream, kind, image)


def _in_parts(stream: BinaryIO, name: str, limit: int | None) -> Photo | None:
    found = _header(stream, limit)
    if found is None:
        return None
    kind, image, parts = found
    first_frame(image, name)
    carried, turn = _carried(image, parts, name)
    if kind == "TIFF" and turn != 1 and max(image.tag_v2.get(258, (1,))) > 8:  # type: ignore[attr-defined]
        raise Uncuttable("it has 16 bits and is stored turned")
    return assembled(
        (photo_of(whole_file(io.BytesIO(part), kind, name, None)) for part in parts.parts), parts, carried, turn
    )


def _carried(image: Image.Image, parts: Cut, name: str) -> tuple[Carried, int]:
    """Return the metadata of a file, and its EXIF orientation."""
    if parts.head is not None:
        head = with_texts(io.BytesIO(parts.head), "PNG", name, None)
        turned = head.image is not head.stored
        return carried_of(head.stored, name), head.stored.getexif().get(0x0112, 1) if turned else 1
    tags: Any = image
    turn = tags.tag_v2.get(0x0112, 1)
    if turn in TURNS:  # as Pillow forgets it when it turns the pixels
        del image.getexif()[0x0112]
    return carried_of(image, name), turn


def assembled(photos: Iterator[Photo], parts: Cut, carried: Carried, turn: int) -> Photo:
    """Return the picture of which `photos` are the rows, upright, on the disk."""
    width, height = parts.size
    upright: np.ndarray | None = None
    stored, top = np.empty(0), 0
    for photo in photos:
        values = photo.values
        if upright is None:
            first, shape = photo, (width, height) if turn in (5, 6, 7, 8) else (height, width)
            upright = empty((*shape, values.shape[2]), values.dtype)
            stored = TURNS.get(INVERSE.get(turn, turn), np.asarray)(upright)
        if values.dtype != stored.dtype or values.shape[1:] != stored.shape[1:] or photo.space is not first.space:
            raise Uncuttable("its rows differ in depth")
        stored[top : top + len(values)] = values
        top += len(values)
        release()
    assert upright is not None
    return Photo(upright, replace(carried, icc=first.carried.icc), first.space)
