"""Damage inputs at random and read them: only documented errors are allowed, in bounded time and memory.

    python benchmarks/fuzz.py --seconds 3600 --json benchmarks/results/fuzz.json          # an hour for each kind
    python benchmarks/fuzz.py --kinds pictures --seed 7 --case 1234                         # one case again

Kinds: pictures (read for training and for translation), configs, headers of weights files (half of them with a
sha256 that fits), and label maps. Each case is a function of the kind, the seed and its number: a valid input of a
small corpus, changed by a few random edits: bits, bytes, numbers, pieces removed, repeated or taken from another.

A child process reads the cases, and its parent watches. Found are: exceptions that are not i2i's own, cases that take
more than 10 s (the child is then killed), and those after which the process has 512 MB more than at the start.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import math
import os
import random
import re
import resource
import select
import shlex
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image
from tiny import CONFIGS, write

from i2i import I2IError, api, checkpoint, config
from i2i.checkpoint.manifest import BLANK, sha256
from i2i.images import read_labels, read_rgb, take, take_labels
from i2i.plugins import registry

SLOWEST, LARGEST, BATCH = 10.0, 512, 500  # seconds for a case, MB, cases for a child
NUMBERS = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
Read = Callable[[bytes], Any]


# ---- the corpora


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pictures() -> list[bytes]:
    """Return small pictures of every format and mode."""
    noise = np.random.default_rng(0)
    rgb = Image.fromarray(noise.integers(0, 256, (24, 30, 3), np.uint8))
    deep = Image.fromarray(noise.integers(0, 65536, (12, 17), np.uint16))
    frames = [Image.fromarray(noise.integers(0, 256, (9, 9, 3), np.uint8)) for _ in range(3)]
    found = [encoded(rgb.convert(mode), "PNG") for mode in ("RGB", "RGBA", "P", "L", "LA", "1")]
    found += [encoded(deep, "PNG"), encoded(deep, "TIFF"), encoded(rgb, "PNG", dpi=(72, 72))]
    found += [encoded(rgb, "JPEG"), encoded(rgb, "JPEG", progressive=True), encoded(rgb.convert("CMYK"), "JPEG")]
    found += [encoded(rgb, "TIFF", compression=c) for c in (None, "tiff_lzw", "jpeg", "packbits", "tiff_deflate")]
    found += [encoded(rgb.convert("1"), "TIFF", compression="group4"), encoded(rgb, "BMP"), encoded(rgb, "PPM")]
    found += [encoded(rgb, "WEBP"), encoded(rgb, "WEBP", lossless=True), encoded(rgb, "GIF")]
    found += [encoded(frames[0], k, save_all=True, append_images=frames[1:]) for k in ("GIF", "WEBP", "PNG", "TIFF")]
    return found


def labels() -> list[bytes]:
    """Return small label maps."""
    classes = np.random.default_rng(0).integers(0, 12, (24, 30), np.uint8)
    grey = Image.fromarray(classes)
    coloured = grey.copy()
    coloured.putpalette(bytes(range(256)) * 3)
    deep = Image.fromarray(classes.astype(np.uint16) * 300)
    found = [encoded(grey, kind) for kind in ("PNG", "BMP", "TIFF", "GIF", "PPM")]
    return [*found, encoded(coloured, "PNG"), encoded(deep, "PNG"), encoded(grey.convert("RGB"), "PNG")]


def configs() -> list[bytes]:
    """Return the text of configs."""
    return [text.encode() for text in CONFIGS.values()]


def headers() -> list[bytes]:
    """Return weights files: those of two small runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [api.run(write(kind, folder), "train.steps=1", out=folder / kind) for kind in ("vae", "gan")]
        return [(run / "model.safetensors").read_bytes() for run in runs]


# ---- how they are read


def read_picture(data: bytes) -> None:
    """Read a picture as training and as translation do."""
    read_rgb(data)
    take(data)


def read_label_map(data: bytes) -> None:
    """Read a label map as training and as translation do."""
    read_labels(data)
    take_labels(data)


def read_config(data: bytes) -> None:
    """Read a config, write it out, and read it again."""
    text = config.parse(data, "fuzz.yaml", (), registry().catalog).text()
    assert config.parse(text, "fuzz.yaml", (), registry().catalog).text() == text


def read_weights(data: bytes) -> None:
    """Read a weights file."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".safetensors") as file:
        file.write(data)
        file.flush()
        checkpoint.load_model(file.name)


# ---- edits


def edited(corpus: list[bytes], dice: random.Random) -> bytes:
    """Return a member of the corpus with a few random edits."""
    data = bytearray(dice.choice(corpus))
    for _ in range(min(8, 1 + int(dice.expovariate(0.7)))):
        at = dice.randrange(len(data) + 1)
        # Half of the edits are near the start, where headers are.
        at = min(at, dice.randrange(200)) if dice.random() < 0.5 else at
        length = min(len(data), 1 + int(dice.expovariate(0.05)))
        edit = dice.randrange(8)
        if edit == 0 and data:
            data[at % len(data)] ^= 1 << dice.randrange(8)
        elif edit == 1 and data:
            data[at % len(data)] = dice.randrange(256)
        elif edit == 2:
            number = dice.choice(NUMBERS).to_bytes(8, dice.choice(["little", "big"]))
            width = dice.choice([1, 2, 4])
            data[at : at + width] = number[:width] if number[0] else number[-width:]
        elif edit == 3:
            del data[at : at + length]
        elif edit == 4:
            data[at:at] = data[at : at + length] * dice.choice([1, 2, 30])
        elif edit == 5:
            other = dice.choice(corpus)
            start = dice.randrange(len(other))
            data[at : at + length] = other[start : start + length]
        elif edit == 6:
            del data[at:]
        else:
            data[at:at] = dice.randbytes(dice.randrange(1, 9))
    return bytes(data)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the right checksums as far as they can be followed."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + size
        if end + 4 > len(data):
            break
        out += data[at:end] + zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out + data[at:])


def with_sha256(data: bytes) -> bytes:
    """Return a weights file whose sha256 fits, if it has one."""
    try:
        end = 8 + int.from_bytes(data[:8], "little")
        digest = json.loads(data[8:end])["__metadata__"]["sha256"].encode()
        header = data[:end].replace(digest, BLANK, 1)
        return header.replace(BLANK, sha256([header, data[end:]]).encode(), 1) + data[end:]
    except (ValueError, LookupError, TypeError, AttributeError):
        return data


def with_other_words(data: bytes, dice: random.Random) -> bytes:
    """Return text with some words exchanged for words elsewhere in it, numbers or values that are often wrong."""
    words = re.split(rb"(\W+)", data)
    for _ in range(dice.randrange(1, 4)):
        odd = [b"-1", b"0", b"null", b"1e400", b"true", b"9" * 30, b"[]", b"{}", b"~", b"0.5", b".nan", b"''"]
        words[2 * dice.randrange(len(words) // 2 + 1)] = dice.choice([*odd, *words[::2]])
    return b"".join(words)


KINDS: dict[str, tuple[Callable[[], list[bytes]], Read, Callable[[bytes], bytes]]] = {
    "pictures": (pictures, read_picture, with_checksums),
    "configs": (configs, read_config, lambda data: data),
    "headers": (headers, read_weights, with_sha256),
    "label maps": (labels, read_label_map, with_checksums),
}


class Kind:
    """A kind of input: makes case number n, and reads it."""

    def __init__(self, name: str, seed: int) -> None:
        make, self.read, self.sealed = KINDS[name]
        self.name, self.seed, self.corpus = name, seed, make()

    def case(self, number: int) -> bytes:
        """Return the input of a case."""
        dice = random.Random(f"{self.name} {self.seed} {number}")
        if self.name == "configs" and dice.random() < 0.7:
            return with_other_words(dice.choice(self.corpus), dice)
        data = edited(self.corpus, dice)
        return self.sealed(data) if dice.random() < 0.5 else data

    def outcome(self, number: int) -> str:
        """Read a case; return "read", the name of i2i's error, or "found: ..."."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.read(self.case(number))
        except I2IError as error:
            longest = max(map(len, str(error).splitlines()), default=0)  # a config has a line for each mistake
            return type(error).__name__ if longest < 2000 else f"found: a message of {longest} characters"
        except BaseException as error:
            return f"found: {type(error).__name__}: {error}"[:300]
        return "read"

    def batch(self, first: int, last: int) -> tuple[dict[int, str], int | None]:
        """Read cases in a child; return their outcomes, and the case that killed it or took too long."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with os.fdopen(writing, "w") as out:
                for number in range(first, last):
                    what = self.outcome(number)
                    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024
                    if grown > LARGEST:
                        what = f"found: {grown} MB more memory"
                    print(json.dumps([number, what]), file=out, flush=True)
                    if grown > LARGEST:
                        break
            os._exit(0)
        os.close(writing)
        outcomes: dict[int, str] = {}
        with os.fdopen(reading) as lines:
            while True:
                if not select.select([lines], [], [], SLOWEST * 3)[0]:  # three times, for a machine that is busy
                    os.kill(child, 9)
                    break
                line = lines.readline()
                if not line:
                    break
                number, what = json.loads(line)
                outcomes[number] = what
        os.waitpid(child, 0)
        following = first + len(outcomes)
        over = following < last and not any("more memory" in what for what in outcomes.values())
        return outcomes, following if over else None


def campaign(kinds: list[str], seconds: float, cases: float, seed: int) -> dict[str, Any]:
    """Read cases of each kind in turn for so many seconds; return what came of them."""
    result: dict[str, Any] = {"kinds": {}, "found": []}
    registry()
    for name in kinds:
        kind, counts, number = Kind(name, seed), dict[str, int](), 0
        began = time.monotonic()
        while time.monotonic() - began < seconds and number < cases:
            outcomes, stuck = kind.batch(number, number + BATCH)
            if stuck is not None:
                outcomes[stuck] = "found: killed, or no answer in time"
            for case, what in outcomes.items():
                group = what.split(":")[0]
                counts[group] = counts.get(group, 0) + 1
                if group == "found":
                    data = base64.b64encode(kind.case(case)[:3000]).decode()
                    result["found"].append({"kind": name, "case": case, "what": what, "input": data})
                    print(f"{name} {case}: {what}", file=sys.stderr)
            number += len(outcomes)
        result["kinds"][name] = {"cases": number, "outcomes": counts, "seconds": round(time.monotonic() - began)}
    result["found"] = result["found"][:50]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each kind")
    parser.add_argument("--cases", type=float, default=math.inf, help="of each kind, at most")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="read one case again, with its traceback")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    kinds = chosen.kinds.split(",")
    if chosen.case is not None:
        kind = Kind(kinds[0], chosen.seed)
        kind.read(kind.case(chosen.case))
        return
    result = campaign(kinds, chosen.seconds, chosen.cases, chosen.seed)
    result["command"] = shlex.join(["python", *sys.argv])
    print(json.dumps(result, indent=1))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    raise SystemExit(1 if result["found"] else 0)


if __name__ == "__main__":
    main()
