"""`Text`: captions <-> Unicode code points, int64 [N, L], padded with zeros.

    i2i translate "a red circle" -m RUN -o out      # one sentence -> out/a-red-circle.png
    i2i translate captions.txt -m RUN -o out        # a caption per line -> out/captions-0001.png, ...

Tensors hold characters rather than word numbers, so any encoder can read them, with any vocabulary.
"""

from __future__ import annotations

import hashlib
import os
import re
import textwrap
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from i2i import DataError, files
from i2i.images import SUFFIXES, shown
from i2i.modalities import Modality, Taken

LENGTH = 200
"""Characters of the tensors of all caption data sets, unless another length is chosen."""

OF_PICTURE = re.compile(r"^[^\t]+#\d+\t")  # the picture of a caption, and its number

NAMED = 60  # characters of a sentence that its file name keeps
LINE, LINES, SIDE = 22, 8, 160  # a drawn caption: characters per line, lines, and pixels


@dataclass(frozen=True)
class Text(Modality):
    """Captions, int64 [N, length]: Unicode code points, padded with zeros; outside, str or .txt files in UTF-8.

    Args:
        length: characters at most.

    Example:
        >>> Text(length=8).take("a  cat").values
        tensor([[ 97,  32,  99,  97, 116,   0,   0,   0]])
    """

    length: int = LENGTH

    name: ClassVar[str] = "caption"
    plural: ClassVar[str] = "captions"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)

    def take(self, given: Any) -> Taken:
        """Take a sentence, UTF-8 bytes, or a .txt file with one caption: a `Path`, or a str that ends in .txt."""
        if isinstance(given, Path) or (isinstance(given, str) and is_file_name(given)):
            lines = read(Path(given))
            if len(lines) > 1:
                raise DataError(
                    f"{shown(given)} has {len(lines)} captions, but one is expected; pass one sentence, or "
                    f"translate the file with `i2i translate`"
                )
            given = lines[0][1]
        elif isinstance(given, bytes):
            given = decoded(given, "the given bytes")
        if not isinstance(given, str):
            raise DataError(f"{given!r:.80} is not a caption; possible: a sentence, or a .txt file of one")
        return Taken(to_codes(given, self.length)[None])

    def restore(self, values: Tensor, like: Any = None) -> str:
        """Return the sentence of [1, length]."""
        return to_text(values[0])

    def write(self, thing: str, path: Path) -> None:
        """Write a .txt file of one line."""
        if path.suffix.lower() != ".txt":
            raise DataError(f"{shown(path)}: captions are written as .txt")
        files.write(path, f"{thing}\n".encode())

    def show(self, values: Tensor) -> np.ndarray:
        """Draw sentences in black on white, wrapped: uint8 [N, 160, 160, 3]."""
        return np.stack([drawn(to_text(codes)) for codes in values])

    def unlike(self, values: Any) -> str:
        """Return what a batch of captions is, unless `values` are code points."""
        whole = getattr(values, "ndim", 0) == 2 and not values.is_floating_point()
        return "" if whole else "code points [length]"

    def find(self, source: str) -> tuple[list[tuple[Any, Path]], list[tuple[Path, str]]]:
        """Find captions: a sentence itself, or the lines of a .txt file, of a folder of them, or of a glob.

        A sentence is named by its words, a line by its file and line number. A file of one caption keeps its name.
        """
        if not source or not (is_file_name(source) or os.path.exists(source)):  # no Path: it fails for long sentences
            if source.lower().endswith(SUFFIXES):
                return [], [(Path(source), "no such file; a caption is a sentence, or a line of a .txt file")]
            return [(source, Path(file_name_of(source)))], []
        found, skipped = super().find(source)
        captions: list[tuple[Any, Path]] = []
        for path, name in found:
            try:
                lines = read(path)
            except DataError as error:
                skipped.append((path, str(error).removeprefix(f"{shown(path)}: ")))
                continue
            several = len(lines) > 1
            captions += [(line, Path(f"{name.with_suffix('')}-{n:04}") if several else name) for n, line in lines]
        return captions, skipped


def is_file_name(given: str) -> bool:
    """Return whether a str names a file (or several) rather than being a sentence."""
    return given.lower().endswith(".txt")


def read(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a file that are not empty, with their numbers from 1 on.

    `<file>#<number><tab>` before a caption, as in the data set `captions`, is left out.

    Raises:
        DataError: there is no such file, it is not UTF-8, or it has no such lines.
    """
    if not os.path.isfile(path):
        raise DataError(f"{shown(path)}: {files.lacking(path, 'file')}")
    try:
        content = decoded(path.read_bytes(), shown(path))
    except OSError as error:
        raise DataError(f"{shown(path)}: {error.strerror}") from error
    captions = (OF_PICTURE.sub("", line).strip() for line in content.splitlines())
    lines = [(n, caption) for n, caption in enumerate(captions, start=1) if caption]
    if not lines:
        raise DataError(f"{shown(path)}: contains no caption; write one per line")
    return lines


def decoded(raw: bytes, who: str) -> str:
    """Return bytes as str.

    Raises:
        DataError: they are not UTF-8.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{who}: not UTF-8 (byte {error.start} is {raw[error.start]:#x}); save the text as UTF-8"
        ) from error


def normal(text: str) -> str:
    """Return a sentence in Unicode's normal form C, with single spaces and no control characters.

    Raises:
        DataError: it contains half of a surrogate pair, as undecodable bytes of a command line do.
    """
    if any(unicodedata.category(character) == "Cs" for character in text):
        raise DataError(f"{text[:40]!a}: the caption is not valid UTF-8; check the encoding of your terminal")
    spaced = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    return " ".join(unicodedata.normalize("NFC", spaced).split())


def to_codes(text: str, length: int = LENGTH) -> Tensor:
    """Return the code points of a sentence: int64 [length], padded with zeros.

    Raises:
        DataError: it is empty, too long or not valid Unicode.
    """
    sentence = normal(text)
    if not sentence:
        raise DataError("the caption is empty; write what the picture shows")
    if len(sentence) > length:
        raise DataError(
            f"the caption {sentence[:30]!r}... has {len(sentence)} characters, but {length} are possible: shorten it"
        )
    codes = torch.zeros(length, dtype=torch.int64)
    codes[: len(sentence)] = torch.tensor([ord(character) for character in sentence])
    return codes


def to_text(codes: Tensor) -> str:
    """Return the sentence of code points [L]; zeros are left out."""
    return "".join(chr(code) for code in codes.tolist() if code)


def words(text: str) -> list[str]:
    """Return the words and the punctuation marks of a sentence, in lower case.

    Example:
        >>> words("A dog's ball, red.")
        ['a', "dog's", 'ball', ',', 'red', '.']
    """
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text.lower())


def file_name_of(sentence: str) -> str:
    """Return a safe file name for a sentence: its words joined by hyphens.

    Where this loses something, such as capitals or a comma, a hash of the sentence keeps different sentences apart.

    Example:
        >>> file_name_of("a red circle")
        'a-red-circle'
    """
    name = "-".join(re.findall(r"[a-z0-9]+", sentence.lower()))[:NAMED].strip("-") or "caption"
    if name.replace("-", " ") == sentence:
        return name
    return f"{name}-{hashlib.sha256(sentence.encode(errors='surrogatepass')).hexdigest()[:6]}"


def drawn(sentence: str) -> np.ndarray:
    """Draw a sentence, uint8 [160, 160, 3], without accents, which Pillow's font lacks."""
    sheet = Image.new("RGB", (SIDE, SIDE), "white")
    letters = "".join(one for one in unicodedata.normalize("NFKD", sentence) if not unicodedata.combining(one))
    lines = textwrap.wrap(letters, LINE, max_lines=LINES, placeholder=" ...")
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(sheet).multiline_text((8, 8), "\n".join(lines), fill="black", font=font, spacing=4)
    return np.array(sheet)
