"""Write all files of this folder, or check that they are what this program would write. i2i is not needed.

python conformance/make.py             # needs NumPy, and Pillow for the JPEG files
python conformance/make.py --check     # compares the decoded contents; exit status 1 if any differ

The cases are in pictures.py, colours.py, resizing.py, networks.py and scores.py.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import colours  # noqa: F401 - each registers its cases
import networks  # noqa: F401
import numpy as np
import pictures  # noqa: F401
import resizing  # noqa: F401
import scores  # noqa: F401
from store import CASES, Case, decode, encode

HERE = Path(__file__).parent
HEADER = """\
# Conventions of image-to-image translation as files

Written by `make.py`; do not edit. Two implementations of the same paper often differ in choices that no paper spells
out: a range, a centre, a divisor, a rounding. Each folder here fixes one of them as numbers, which any implementation
in any language can be checked against, without i2i:

```text
give input* to your code and compare with expected*: the largest difference must not exceed the tolerance
```

`trap*` is what the usual mistake returns: if your result equals it, you know what to change. Other files are
intermediate values or variants that the text explains. Pictures are 8- or 16-bit PNG or JPEG. Arrays are npy: uint8
[H, W, C] or [H, W] for levels, float64 [C, H, W] or [N, C, H, W] for values in the range of a network. Scores are
JSON. `cases.json` has this page for programs.

    python conformance/make.py --check    # NumPy and Pillow: the files are what the formulas give
    python conformance/references.py      # how far Pillow, OpenCV and PyTorch are from them
"""


def entry(case: Case, files: dict[str, Any]) -> dict[str, Any]:
    """Return a case for cases.json."""
    starts = {"inputs": "input", "expected": "expected", "traps": "trap"}
    kinds = {kind: sorted(name for name in files if name.startswith(start)) for kind, start in starts.items()}
    kinds["others"] = sorted(set(files) - {name for names in kinds.values() for name in names})
    about = {"name": case.name, "title": case.title, "tolerance": case.tolerance, "unit": case.unit}
    return {**about, **{key.lower(): text for key, text in case.text.items()}, "files": kinds}


def page(entries: list[dict[str, Any]]) -> str:
    """Return README.md."""
    parts = [HEADER]
    for found in entries:
        files = [
            f"{kind} {', '.join(f'`{name}`' for name in names)}" for kind, names in found["files"].items() if names
        ]
        paragraphs = [
            f"**{found['title']}.** {found['convention']}",
            f"*Trap.* {found['trap']}",
            f"*Files.* {'; '.join(files)}. Tolerance {found['tolerance']:g} ({found['unit']}).",
            f"*Made* {found['made']}",
        ]
        wrapped = [textwrap.fill(text, 118, break_on_hyphens=False, break_long_words=False) for text in paragraphs]
        parts.append("\n\n".join([f"## {found['name']}", *wrapped]) + "\n")
    return "\n".join(parts)


def everything() -> dict[str, Any]:
    """Return the value of every file by its path in this folder."""
    found: dict[str, Any] = {}
    entries = []
    for case in CASES.values():
        files = case.make()
        found |= {f"{case.name}/{name}": value for name, value in files.items()}
        entries.append(entry(case, files))
    return found | {"cases.json": entries, "README.md": page(entries).encode()}


def same(value: Any, path: Path) -> bool:
    """Return whether a file has this content; JPEG files of other encoders may differ."""
    if not path.exists():
        return False
    there = decode(path)
    if isinstance(value, np.ndarray):
        return value.shape == there.shape and value.dtype == there.dtype and np.allclose(value, there, rtol=1e-9)
    if path.suffix == ".jpg":
        return there[:2] == value[:2]
    return json.dumps(rounded(value)) == json.dumps(rounded(there)) if path.suffix == ".json" else value == there


def rounded(value: Any) -> Any:
    """Return JSON with its numbers rounded, as other processors round otherwise."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def main(check: bool) -> int:
    """Write or check all files."""
    values = everything()
    if check:
        differing = [name for name, value in values.items() if not same(value, HERE / name)]
        kept = {str(path.relative_to(HERE)) for path in HERE.rglob("*.*") if path.suffix not in (".py", ".pyc")}
        for name in differing:
            print(f"{name}: is not what make.py writes", file=sys.stderr)
        for name in sorted(kept - set(values)):
            print(f"{name}: is not written by make.py", file=sys.stderr)
        return 1 if differing or kept - set(values) else 0
    for name, value in values.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_bytes(encode(name, value))
    print(f"{len(CASES)} cases, {sum((HERE / name).stat().st_size for name in values) / 1e3:.0f} kB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
