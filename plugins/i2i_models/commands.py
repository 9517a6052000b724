"""The commands `i2i models` and `i2i show`."""

from __future__ import annotations

import base64
import difflib
import html
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from i2i import Card, ConfigError, WeightsError, files

WIDTH = 120  # characters of a line of the table
HEAD = ("name", "does", "in -> out", "scale", "size", "licence", "quality")
STYLE = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222} "
STYLE += "td{padding:.15rem 1.5rem .15rem 0;vertical-align:top;border-bottom:1px solid #ddd} img{max-width:100%}"


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")] = False,
) -> None:
    """List the models that can be used now: bundled, installed, and finished runs in ./runs."""
    from i2i.runs import cards

    found = cards()
    if as_json:
        print(json.dumps([card._asdict() for card in found], indent=1))
    elif found:
        print(table(found))
    else:
        print("i2i: no models here: no plugin has any, and ./runs contains no finished run", file=sys.stderr)


def show(
    name: Annotated[str, typer.Argument(help="A name of `i2i models`, a run's folder, or a model.safetensors.")],
    out: Annotated[str, typer.Option("-o", "--out", help="Write the card (.html) or its picture (.png).")] = "",
) -> None:
    """Print the card of one model: data, licence, how it was trained, numbers, and known weaknesses."""
    suffix = Path(out).suffix.lower()
    if out and suffix not in (".html", ".png"):
        raise ConfigError(f"-o {out}: a card is written as .html, and its picture as .png")
    facts, picture = card(name)
    if suffix == ".png" and not picture:
        raise ConfigError(f"-o {out}: the card of {name} has no picture; use a name ending in .html")
    if out:
        files.make_folder(Path(out).parent)
    if suffix == ".png":
        files.write(out, picture)
    elif suffix == ".html":
        files.write(out, page(name, facts, picture).encode())
    else:
        width = max(map(len, facts))
        print("\n".join(f"{key:{width}}  {value}" for key, value in facts.items()))
    if out:
        print(f"{out}: written", file=sys.stderr)


def card(name: str) -> tuple[dict[str, str], bytes]:
    """Return what is known of a model by key, and its picture as PNG, b"" if it has none.

    Raises:
        WeightsError: there is no such model, or its package is not installed.
    """
    from i2i.checkpoint import load_model
    from i2i.runs import Run, cards, file_of

    listed = next((one for one in cards(only=[name.rstrip("/")]) if one.name == name.rstrip("/")), None)
    path = file_of(name) or Run.weights_of(name)
    if not path.is_file():
        known = [one.name for one in cards()]
        near = [one for one in known if one.startswith(name)] or difflib.get_close_matches(name, known)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `i2i models` lists those that can be used now"
        raise WeightsError(f"{name}: no such model{hint}")
    facts = {} if listed is None else of(listed)
    about, config = dict[str, str](), ""
    if path.suffix == ".safetensors":
        try:
            _, config, about = load_model(path)
        except WeightsError:
            if listed is None:
                raise
    picture = base64.b64decode(about.pop("picture", ""))
    facts |= {key: str(value) for key, value in about.items() if key not in Card._fields}
    return facts | {"file": str(path)} | ({"config": "\n" + config.rstrip()} if config else {}), picture


def of(one: Card) -> dict[str, str]:
    """Return the fields of a card that say something, in words."""
    values = one._asdict() | {"bytes": size(one.bytes), "scale": f"x{one.scale}"}
    return {"size" if key == "bytes" else key: str(value) for key, value in values.items() if value != ""}


def size(count: int) -> str:
    """Return a number of bytes in MB."""
    return f"{count / 1e6:.1f} MB"


def table(found: list[Card]) -> str:
    """Return the cards as lines of at most 120 characters; a longer last column ends in "..."."""
    rows = [HEAD]
    for one in found:
        way = f"{one.takes} -> {one.makes}" if one.takes else one.makes
        rows.append((one.name, one.does, way, f"x{one.scale}", size(one.bytes), one.licence, one.quality))
    limits = (30, 24, 18, 5, 9, 14)
    widths = [min(limit, max(len(row[n]) for row in rows)) for n, limit in enumerate(limits)]
    lines = []
    for row in rows:
        cells = [cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=False)]
        start = "  ".join(cells) + "  "
        lines.append((start + cut(row[-1], WIDTH - len(start))).rstrip())
    return "\n".join(lines)


def cut(text: str, width: int) -> str:
    """Return a text of at most `width` characters."""
    return text if len(text) <= width else text[: width - 3] + "..."


def page(name: str, facts: dict[str, str], picture: bytes) -> str:
    """Return a card as a self-contained HTML page."""
    texts = {key: html.escape(value.strip()) for key, value in facts.items()}
    if "config" in texts:
        texts["config"] = f"<pre>{texts['config']}</pre>"
    rows = "".join(f"<tr><td>{html.escape(key)}<td>{text}" for key, text in texts.items())
    image = f"<img src='data:image/png;base64,{base64.b64encode(picture).decode()}'>" if picture else ""
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(name)}</title><style>{STYLE}</style>"
    return f"{head}<h1>{html.escape(name)}</h1>{image}<table>{rows}</table>\n"
