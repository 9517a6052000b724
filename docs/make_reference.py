"""Writes docs/reference.md from docstrings, the catalog and the data sets themselves: `make docs`.

`tests/test_docs.py` makes the page again and compares, so that it is never stale.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from i2i import Catalog, Data, I2IError, Task, testing
from i2i.catalog import KINDS, Entry
from i2i.modalities import Modality
from i2i.plugins import registry

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference.md"
HEAD = """\
# Reference

`make docs` writes this page from docstrings and from the catalog. [tutorial.md](tutorial.md) is the place to start;
[plugin_hooks.md](plugin_hooks.md) describes the hooks.
"""
KEYS = """\
## Keys of a batch

What `Task.step` finds in `batch`, for each data set with its default settings. N is the number of samples; sizes
follow `data.size`.
"""
NAMES = """\
## Python names

What a config may `use`, and the Python name behind it.
"""
SMALL = {"samples": 4, "validation_samples": 2, "batch_size": 2, "workers": 0}
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example|Source):(.*)$")


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for owner in (Task, Data, Modality, Catalog):
        parts += [f"## {owner.__name__}\n", rendered(owner), *methods(owner)]
    parts += ["## i2i.testing\n", rendered(testing)]
    for name in testing.__all__:
        parts += described(getattr(testing, name), "")
    parts += [KEYS, *batch_keys(), NAMES, *python_names()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def bundled() -> list[Entry]:
    """Return what i2i and its own plugins register, whatever else is installed here."""
    plugins = {folder.name for folder in (ROOT / "plugins").iterdir()}
    return [entry for entry in registry().catalog if entry.build.__module__.split(".")[0] in {"i2i", *plugins}]


# ---- docstrings


def methods(owner: type) -> Iterator[str]:
    """Yield the public methods of a class in the order of its source."""
    for name, value in vars(owner).items():
        if inspect.isfunction(value) and (not name.startswith("_") or name == "__len__"):
            yield from described(value, f"{owner.__name__}.")


def described(function: Callable[..., Any], prefix: str) -> Iterator[str]:
    """Yield the signature of a function as a heading, and its docstring."""
    yield f"### {prefix}{function.__name__}\n"
    yield f"```python\n{signature(function)}\n```\n"
    yield rendered(function)


def signature(function: Callable[..., Any]) -> str:
    """Return the signature of a function as it is written in its source."""
    found, shown, starred = inspect.signature(function), [], False
    for parameter in found.parameters.values():
        mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
        starred |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        annotation = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        equals = " = " if annotation else "="
        default = "" if parameter.default is parameter.empty else f"{equals}{parameter.default!r}"
        shown.append(f"{mark}{parameter.name}{annotation}{default}")
    returns = "" if found.return_annotation is found.empty else f" -> {found.return_annotation}"
    line = f"{function.__name__}({', '.join(shown)}){returns}"
    return (
        line
        if len(line) <= 100
        else "\n    ".join([f"{function.__name__}(", *(f"{p}," for p in shown)]) + f"\n){returns}"
    )


def rendered(documented: Any) -> str:
    """Return a docstring as Markdown: its sections as lists, its examples as code."""
    lines, kind = [], ""
    for line in (inspect.getdoc(documented) or "").splitlines():
        section = SECTION.match(line)
        if section:
            kind = section[1]
            lines += [f"**{kind}**" + (f": {section[2].strip()}" if section[2] else ""), ""]
        elif not line.strip() or not line.startswith(" "):
            kind = kind if not line.strip() else ""
            lines.append(line)
        elif kind in ("Args", "Attributes", "Raises"):
            lines.append(re.sub(r"^ {4}([\w.]+): ", r"- `\1`: ", line) if line[4] != " " else f"  {line.strip()}")
        else:
            lines.append(line if kind == "Example" else line.strip())
    return "\n".join(lines) + "\n"


# ---- batches


def batch_keys() -> Iterator[str]:
    """Yield a table with a row for each key of each data set."""
    rows = ["| `use:` | key | type | shape |", "|---|---|---|---|"]
    log = logging.getLogger("i2i")
    before = log.level
    log.setLevel(logging.ERROR)  # the tiny folders are small on purpose
    try:
        with tempfile.TemporaryDirectory() as folder:
            for entry in bundled():
                if entry.kind == "data":
                    rows += keys_of(entry, Path(folder) / entry.name)
    finally:
        log.setLevel(before)
    yield "\n".join(rows) + "\n"


def keys_of(entry: Entry, root: Path) -> Iterator[str]:
    """Yield the rows of one data set, built with its defaults in a tiny folder `root`."""
    try:
        data = built(entry, root)
        batch = data.batch([0, 0], lambda i: np.random.default_rng(i))
    except (I2IError, TypeError) as error:
        first = (inspect.getdoc(getattr(entry.build, "sample", None)) or str(error)).splitlines()[0]
        yield f"| `{entry.name}` | | {first} | |"
        return
    for key, value in batch.items():
        if isinstance(value, Tensor):
            kind, shape = str(value.dtype).removeprefix("torch."), ["N", *map(str, value.shape[1:])]
        else:
            kind, shape = f"list of {type(value[0]).__name__}", ["N"]
        yield f"| `{entry.name}` | `{key}` | {kind} | [{', '.join(shape)}] |"
    validation = data.validation()
    for key in sorted(validation[0].keys() - batch.keys()) if len(validation) else ():
        yield f"| `{entry.name}` | `{key}` | in validation samples only | |"


def built(entry: Entry, root: Path) -> Data:
    """Build a data set from its defaults, in a folder of the layout that it asks for."""
    parameters = inspect.signature(entry.build).parameters
    given: dict[str, Any] = {name: value for name, value in SMALL.items() if name in parameters}
    if "root" in parameters:
        LAYOUTS.get(entry.name, photographs)(root)
        given["root"] = str(root / "*.tar" if entry.name == "shards" else root)
    if "parts" in parameters:
        given["parts"] = {"A": "a.png", "B": "b.png"}
    if "source" in parameters:  # another data set, of which it uses one picture
        given["picture"] = "image"
        LAYOUTS["labelled_folders"](root)
        given["source"] = functools.partial(registry().catalog.find("data", "labelled_folders").build, str(root))
    return entry.build(**given)


def picture(path: Path, value: Any = None) -> None:
    """Write a picture: noise of 300x300 pixels, or the given one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(noise if value is None else value).save(path)


def photographs(root: Path) -> None:
    """Write folders of pictures under all the names that data sets of pictures look for."""
    for part in ("trainA", "trainB", "testA", "testB", "train", "val", "."):
        picture(root / part / "a.png")


def pairs_side_by_side(root: Path) -> None:
    """Write pictures with A in the left half and B in the right one."""
    for part in ("train", "val"):
        picture(root / part / "a.png", np.zeros((300, 600, 3), np.uint8))


def label_maps(root: Path) -> None:
    """Write photographs, label maps and the list of their classes."""
    classes = np.random.default_rng(0).integers(0, 4, (300, 300), np.uint8)
    for part in ("train", "val"):
        picture(root / part / "images" / "a.png")
        picture(root / part / "labels" / "a.png", classes)
        picture(root / part / "instances" / "a.png", classes)
    legend = [{"index": n, "name": str(n), "colour": [n, n, n]} for n in range(4)]
    (root / "classes.json").write_text(json.dumps({"classes": legend}))


def labelled(root: Path) -> None:
    """Write a folder a class."""
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            picture(root / part / name / "a.png")


def faces(root: Path) -> None:
    """Write pictures and a table of their attributes."""
    for part in ("train", "val"):
        for name in "ab":
            picture(root / part / f"{name}.png")
        (root / f"{part}.csv").write_text("file,age,gender\na.png,20,0\nb.png,60,1\n")


def captions(root: Path) -> None:
    """Write pictures and a file of their captions."""
    for part in ("train", "val"):
        picture(root / part / "a.png")
        (root / f"captions_{part}.txt").write_text("a.png#0\ta dog\n")


def mnist(root: Path) -> None:
    """Write an MNIST of ten digits."""
    root.mkdir(parents=True)
    arrays = {f"x_{part}": np.zeros((10, 28, 28), np.uint8) for part in ("train", "test")}
    np.savez(root / "mnist.npz", **arrays, y_train=np.arange(10), y_test=np.arange(10))


def clips(root: Path) -> None:
    """Write two folders of frames per split, one per class."""
    for part in ("train", "val"):
        for name in ("jump", "run"):
            for number in range(20):
                picture(root / part / name / "a" / f"{number}.png", np.zeros((80, 90, 3), np.uint8))


def recordings(root: Path) -> None:
    """Write recordings of two people who walk for 21 frames."""
    rows = "".join(f"{10 * t}\t{p}\t{0.4 * t * p}\t{p}\n" for t in range(21) for p in (1, 2))
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
        (root / part / "a.txt").write_text(rows)


def shards(root: Path) -> None:
    """Write a tar file of ten pairs."""
    picture(root / "x.png")
    with tarfile.open(root / "x.tar", "w") as tar:
        for name in [f"{number}.{end}.png" for number in range(10) for end in "ab"]:
            tar.add(root / "x.png", name)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "paired_side_by_side": pairs_side_by_side,
    "clips": clips,
    "label_maps": label_maps,
    "labelled_folders": labelled,
    "faces_with_attributes": faces,
    "mnist": mnist,
    "captions": captions,
    "shards": shards,
    "trajectories": recordings,
}


# ---- names


def python_names() -> Iterator[str]:
    """Yield a table for each kind of thing in the catalog."""
    for kind in KINDS:
        yield f"### {kind}\n"
        rows = ["| `use:` | Python | |", "|---|---|---|"]
        for entry in bundled():
            if entry.kind == kind:
                module, name = entry.path.rsplit(".", 1)
                first = (
                    (inspect.getdoc(entry.build) or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
                )
                rows.append(f"| `{entry.name}` | `from {module} import {name}` | {first} |")
        yield "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE}: written")
