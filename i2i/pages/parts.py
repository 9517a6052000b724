"""The parts of a page. Every function returns HTML, and escapes the texts that it is given."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
POINTS = 1000  # of a curve, at most
GAP = 8  # pixels below the last row of a sheet
COLOURS = ("#4269d0", "#e08a00", "#e5533d", "#2aa198", "#3ca951", "#a463f2", "#5b9bd5", "#9c6b4e")
Curve = Sequence[tuple[float, float]]


def page(title: str, body: Iterable[str], *, about: str = "", live: bool = False) -> str:
    """Return a whole page.

    Args:
        title: its heading.
        body: its parts; empty ones are left out.
        about: a line under the heading.
        live: the page is rewritten, so it reloads itself every ten seconds unless its reader is busy with it.
    """
    style, script = ((HERE / name).read_text(encoding="utf8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    name = html.escape(title)
    return "\n".join(
        part
        for part in [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<noscript><meta http-equiv="refresh" content="10"></noscript>' if live else "",
            f"<title>{name}</title><style>{style}</style></head>",
            f"<body{' data-live=1' if live else ''}><h1>{name}</h1>",
            f'<p class="about">{html.escape(about)}</p>' if about else "",
            *body,
            f"<script>{script}</script></body></html>\n",
        ]
        if part
    )


def warning(text: str) -> str:
    """Return a paragraph that stands out."""
    return f'<p class="warning">{html.escape(text)}</p>'


def table(rows: Mapping[str, Any] | Iterable[Sequence[Any]], head: Sequence[str] = ()) -> str:
    """Return a table of texts, the first of each row as its heading; "" without rows.

    Args:
        rows: the rows, or a mapping for rows of two texts.
        head: the headings of the columns.
    """
    listed = [list(row) for row in (rows.items() if isinstance(rows, Mapping) else rows)]
    if not listed:
        return ""
    top = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in head)
    lines = [
        f'<tr><th scope="row">{breakable(str(name))}</th>'
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in listed
    ]
    header = f"<thead><tr>{top}</tr></thead>" if top else ""
    return f'<div class="scroll"><table>{header}<tbody>{"".join(lines)}</tbody></table></div>'


def breakable(name: str) -> str:
    """Return a name as HTML that a narrow screen breaks after "/" and "_" rather than within a word."""
    return re.sub("([/_])", r"\1<wbr>", html.escape(name))


# ---- curves


def charts(named: Mapping[str, Mapping[str, Curve]]) -> str:
    """Return charts with controls for smoothing and a logarithmic axis, common to all; "" without curves.

    Args:
        named: by the title of the chart, curves by name: (step, value) pairs in order. Values may be NaN.
    """
    drawn = [chart(title, series) for title, series in named.items() if any(series.values())]
    if not drawn:
        return ""
    return (
        '<div class="controls needs-script" hidden>'
        '<label class="wide">Smoothing <input type="range" id="smooth" min="0" max="0.99" step="0.01" value="0">'
        '<output id="smoothness">0</output></label>'
        '<label><input type="checkbox" id="log"> Logarithmic axis</label></div>'
        f'<div class="charts">{"".join(drawn)}</div>'
    )


def chart(title: str, series: Mapping[str, Curve]) -> str:
    """Return one chart; `page.js` draws it again with axes, from the numbers in it."""
    thin = {name: thinned(pairs) for name, pairs in series.items() if pairs}
    data = [[name, [x for x, _ in pairs], [rounded(y) for _, y in pairs]] for name, pairs in thin.items()]
    numbers = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption><div class="keys"></div>'
        f'<script type="application/json">{numbers}</script><noscript>{plain_chart(thin)}</noscript></figure>'
    )


def thinned(pairs: Curve) -> Curve:
    """Return at most about `POINTS` of the points, the last one included."""
    every = max(1, len(pairs) // POINTS)
    kept = list(pairs[::every])
    return kept if kept[-1] == pairs[-1] else [*kept, pairs[-1]]


def rounded(value: float) -> float | None:
    """Return a value with five digits, which is more than a chart shows; None if it is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def plain_chart(series: Mapping[str, Curve], width: int = 640, height: int = 240) -> str:
    """Return curves as SVG on a common scale, for readers without JavaScript."""
    points = [(x, y) for pairs in series.values() for x, y in pairs if math.isfinite(y)]
    if not points:
        return "<p>no finite values</p>"
    last = max(x for x, _ in points) or 1
    ordered = sorted(y for _, y in points)
    low, high = ordered[0], ordered[int(0.995 * (len(points) - 1)) if len(points) >= 200 else -1]
    span = (high - low) or 1.0
    lines = []
    for number, pairs in enumerate(series.values()):
        kept = [(x, y) for x, y in pairs if math.isfinite(y)][:: max(1, len(pairs) // 300)]
        path = " ".join(
            f"{56 + (width - 66) * x / last:.1f},{height - 24 - (height - 34) * min((y - low) / span, 1):.1f}"
            for x, y in kept
        )
        lines.append(f'<polyline fill="none" stroke="{COLOURS[number % len(COLOURS)]}" points="{path}"/>')
    names = ", ".join(f"{html.escape(name)} {pairs[-1][1]:.4g}" for name, pairs in series.items())
    axis = f'<text x="0" y="16">{high:.3g}</text><text x="0" y="{height - 24}">{low:.3g}</text>'
    return f'<svg viewBox="0 0 {width} {height}">{axis}{"".join(lines)}</svg><p>{names}</p>'


# ---- pictures


@dataclass
class Sheet:
    """The sample sheets of one run over time.

    Attributes:
        name: what they are of.
        files: (step, file) pairs in order; PNG or GIF.
        columns: (name, left, width) of each column of the sheets, in pixels, if they are known.
        top: where the first row starts, in pixels.
        size: width and height of the newest sheet, in pixels.
    """

    name: str
    files: Sequence[tuple[int, Path]]
    columns: Sequence[tuple[str, int, int]] = ()
    top: int = 0
    size: tuple[int, int] = (0, 0)
    about: str = field(default="")


def viewer(sheets: Sequence[Sheet]) -> str:
    """Return sheets side by side with a slider over the training, and two of their pictures with a divider.

    What is left and right of the divider is chosen in two menus: a column of a sheet, now or at the start. "" without
    pictures.
    """
    sheets = [sheet for sheet in sheets if sheet.files]
    if not sheets:
        return ""
    options = [option for number, sheet in enumerate(sheets) for option in choices(number, sheet, len(sheets) > 1)]
    figures = "".join(figure(sheet, named=len(sheets) > 1) for sheet in sheets)
    parts = [
        '<section class="viewer"><div class="controls" hidden><label class="wide">Step <input type="range" '
        'class="time" min="0" max="0" step="1" aria-label="Training step"><output></output></label></div>',
        f'<div class="sheets{" one" if len(sheets) == 1 else ""}">{figures}</div>',
    ]
    if len(options) > 1:
        left, right = chosen(sheets, options)
        parts += [
            '<div class="comparison" hidden>',
            f"<h2>{'Before and after' if len(sheets) == 1 else 'Two of them with a divider'}</h2>",
            '<div class="controls">',
            f'<label>Left <select class="left">{menu(options, left)}</select></label>',
            f'<label>Right <select class="right">{menu(options, right)}</select></label></div>',
            '<div class="stage"><canvas></canvas><input type="range" min="0" max="100" step="0.5" value="50" '
            'aria-label="Divider between left and right"></div></div>',
        ]
    return "".join([*parts, "</section>"])


def figure(sheet: Sheet, named: bool) -> str:
    """Return the pictures of one sheet; the newest is shown until the script has run."""
    caption = f'{html.escape(sheet.name)} <span class="about step"></span>' if named else ""
    newest = len(sheet.files) - 1
    pictures = "".join(
        f'<img data-step="{step}" alt="Samples of {html.escape(sheet.name)} at step {step}" '
        f'src="{embedded(file)}"{"" if number == newest else " hidden"}>'
        for number, (step, file) in enumerate(sheet.files)
    )
    about = f'<p class="about">{html.escape(sheet.about)}</p>' if sheet.about else ""
    return f'<figure class="sheet">{f"<figcaption>{caption}</figcaption>" if named else ""}{pictures}{about}</figure>'


def choices(number: int, sheet: Sheet, named: bool) -> list[tuple[str, str]]:
    """Return what can be left or right of the divider, of one sheet: (value, text) of menu entries."""
    found = []
    before = f"{sheet.name}: " if named else ""
    places: list[tuple[str, list[int] | None]] = [
        (name, [left, sheet.top, width, max(1, sheet.size[1] - sheet.top - GAP)])
        for name, left, width in sheet.columns
    ]
    places = places or [("samples", None)]
    for name, place in places:
        found.append((json.dumps([number, place, "now"]), f"{before}{name}"))
    if len(sheet.files) > 1:
        for name, place in places:
            found.append((json.dumps([number, place, "first"]), f"{before}{name}, at the start"))
    return found


def chosen(sheets: Sequence[Sheet], options: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Return the first choice of both menus: input and result, or the same column of two runs, or start and now."""
    count = max(1, len(sheets[0].columns))
    if len(sheets) > 1:
        second = next(at for at, (value, _) in enumerate(options) if json.loads(value)[0] == 1)
        shift = 1 if min(len(sheets[0].columns), len(sheets[1].columns)) > 1 else 0
        return shift, second + shift
    return (0, 1) if count > 1 else (1, 0)


def menu(options: Sequence[tuple[str, str]], selected: int) -> str:
    """Return the entries of a menu."""
    return "".join(
        f'<option value="{html.escape(value)}"{" selected" * (number == selected)}>{html.escape(text)}</option>'
        for number, (value, text) in enumerate(options)
    )


def embedded(file: Path) -> str:
    """Return a picture file as a data URL."""
    return f"data:image/{file.suffix[1:].lower()};base64,{base64.b64encode(file.read_bytes()).decode()}"
