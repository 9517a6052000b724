"""Write a config as YAML, such that reading it gives the same tree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .source import scalar


def dump(tree: dict[str, Any]) -> str:
    """Write a plain tree as YAML, on one line whatever fits; reading it gives the same tree."""
    return "\n".join(lines(tree, "")) + "\n"


def lines(tree: dict[str, Any], indent: str) -> Iterator[str]:
    for key, value in tree.items():
        line = f"{indent}{word(key)}: {flow(value)}"
        long = len(line) > 100 or (isinstance(value, dict) and any(isinstance(v, dict) for v in value.values()))
        if isinstance(value, dict) and value and long:
            yield f"{indent}{word(key)}:"
            yield from lines(value, indent + "  ")
        elif isinstance(value, list) and long:
            yield f"{indent}{word(key)}:"
            yield from (f"{indent}  - {flow(item)}" for item in value)
        else:
            yield line


def flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{word(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return word(value) if isinstance(value, str) else json.dumps(value)


def word(text: str) -> str:
    """Return a string unquoted if it can only be read as that string, else in double quotes, escaped as in JSON."""
    if re.fullmatch(r"[A-Za-z_/][\w./-]*( [\w./-]+)*", text, re.ASCII) and scalar(text) == text:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(r"[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", quoted)
