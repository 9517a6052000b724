"""report.html: one self-contained page per run, with curves, pictures, metrics and the config.

Every `i2i run` writes it. It reloads itself during training and needs no server. Losses that show that something is
wrong (watch.py) are also reported on stderr, once.
"""

from __future__ import annotations

import base64
import html
import logging
import time
from pathlib import Path
from typing import Any

from i2i import files, hookimpl
from i2i.runs import Run

from .watch import Watch

log = logging.getLogger("i2i")

EVERY = 10.0  # seconds between updates of the page during training
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5", "#9c6b4e")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse } td { padding: .1rem 1.5rem .1rem 0; border-bottom: 1px solid #ddd }
td + td { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100%; image-rendering: pixelated } svg { width: 100%; height: auto }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto } .key { margin-right: 1rem; white-space: nowrap }
.alarm { color: #b00 }
"""

_written: dict[Path, float] = {}
_watches: dict[Path, Watch] = {}


@hookimpl
def on_log(run: Path, step: int, scalars: dict[str, float]) -> None:
    """Report alarms, and rewrite the page, at most every ten seconds until the run is finished."""
    record = Run(run)
    for text in new_alarms(record, step, scalars):
        log.warning("%s", text)
    if not record.finished and time.monotonic() - _written.get(run, -EVERY) < EVERY:
        return
    files.write(record.report_file, page(record).encode())
    _written[run] = time.monotonic()


def new_alarms(run: Run, step: int, scalars: dict[str, float]) -> list[str]:
    """Return what these values show for the first time, given what the run has logged before."""
    watch = _watches.get(run.folder)
    if watch is None or step < watch.last:  # a new run, or one that continues from an earlier step
        watch = _watches[run.folder] = Watch()
        for line in run.log():
            if line["step"] < step:
                watch.see(line["step"], line)
    return watch.see(step, scalars)


def page(run: Run) -> str:
    """Return the HTML page of a run in its current state."""
    lines = run.log()
    losses = {
        name: series for name, series in curves(lines).items() if "/" in name and not name.startswith("metric/")
    }
    rates, skipped = (
        {name: losses.pop(name) for name in list(losses) if name.startswith(kind)} for kind in ("lr/", "skipped/")
    )
    players = sorted({name.split("/")[0] for name in losses})
    step = lines[-1]["step"] if lines else 0
    parts = [
        "<!doctype html><meta charset=utf-8>",
        "" if run.finished else "<meta http-equiv=refresh content=10>",
        f"<title>{html.escape(run.folder.name)}</title><style>{STYLE}</style>",
        f"<h1>{html.escape(run.folder.name)}: {'finished' if run.finished else 'training'}, step {step}</h1>",
        alarms(losses),
        warnings(lines),
        waiting(run.timing()),
        metrics_table(run.metrics()),
        pictures(run.pictures()),
        *(
            f"<h2>Losses of {html.escape(p)}</h2>{chart({n: s for n, s in losses.items() if n.startswith(p + '/')})}"
            for p in players
        ),
        f"<h2>Learning rates</h2>{chart(rates)}" if rates else "",
        f"<h2>Turns skipped because of NaN</h2>{chart(skipped)}" if skipped else "",
        f"<h2>Config</h2><pre>{html.escape(run.config_text())}</pre>",
    ]
    return "\n".join(part for part in parts if part)


def curves(lines: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return (step, value) pairs by name."""
    series: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("step", "epoch", "final"):
                series.setdefault(name, []).append((line["step"], value))
    return series


def alarms(series: dict[str, list[tuple[int, float]]]) -> str:
    """Report when a player's `alarm` was not 0, with its other values at that step.

    Args:
        series: (step, value) pairs by name, "player/value".
    """
    found = []
    for player in (name.removesuffix("/alarm") for name in sorted(series) if name.endswith("/alarm")):
        on = [step for step, value in series[f"{player}/alarm"] if value]
        if on:
            beside = {name: dict(pairs).get(on[0]) for name, pairs in series.items() if name.startswith(f"{player}/")}
            shown = ", ".join(f"{name} {value:.3g}" for name, value in beside.items() if value is not None)
            found.append(f"Alarm of {player}, first at step {on[0]}, last at {on[-1]}. At the first: {shown}.")
    advice = "Suggestions were printed to stderr; see also the task's README."
    return "".join(f"<p class=alarm>{html.escape(f'{one} {advice}')}</p>" for one in found)


def warnings(lines: list[dict[str, Any]]) -> str:
    """Report what the losses show, as it was printed to stderr."""
    watch = Watch()
    found = [text for line in lines for text in watch.see(line["step"], line)]
    return "".join(f"<p class=alarm>{html.escape(text[0].upper() + text[1:])}.</p>" for text in found)


def waiting(timing: list[dict[str, Any]]) -> str:
    """Report what share of the training's time was spent waiting for data, if it is more than a fifth."""
    seconds = sum(line["seconds"] for line in timing)
    share = sum(line["seconds"] * line["waiting"] for line in timing) / max(seconds, 1e-9)
    advice = "more loaders (data.workers), a faster disk or smaller files would make the training faster"
    return f"<p class=alarm>{share:.0%} of the time was spent waiting for data: {advice}.</p>" if share > 0.2 else ""


def metrics_table(metrics: dict[str, float]) -> str:
    """Return the final metrics as a table."""
    if not metrics:
        return ""
    rows = (
        f"<tr><td>{html.escape(name)}</td><td>{value:.4g}</td></tr>"
        for name, value in metrics.items()
        if name != "step"
    )
    return f"<h2>Metrics</h2><table>{''.join(rows)}</table>"


def pictures(found: list[Path]) -> str:
    """Return the newest and the first grid of samples, embedded."""
    shown = [("Pictures", file) for file in found[-1:]] + [
        ("At the start", file) for file in found[:1] if len(found) > 1
    ]
    return "".join(
        f'<h2>{title} (step {int(file.stem)})</h2><img alt="{title}" src="{embedded(moving(file))}">'
        for title, file in shown
    )


def embedded(file: Path) -> str:
    """Return an image file as a data URL."""
    return f"data:image/{file.suffix[1:]};base64,{base64.b64encode(file.read_bytes()).decode()}"


def moving(file: Path) -> Path:
    """Return the animation that belongs to a sample grid, or the grid itself if there is none."""
    return file.with_suffix(".gif") if file.with_suffix(".gif").exists() else file


def chart(series: dict[str, list[tuple[int, float]]], width: int = 900, height: int = 220) -> str:
    """Draw curves as an SVG on a common scale, subsampled to about 400 points each.

    Args:
        series: (step, value) pairs by name.
    """
    thin = {name: pairs[:: max(1, len(pairs) // 400)] for name, pairs in series.items()}
    points = [pair for pairs in thin.values() for pair in pairs]
    if not points:
        return ""
    last = max(step for step, _ in points)
    low, high = min(0.0, *(v for _, v in points)), sorted(v for _, v in points)[int(0.995 * (len(points) - 1))]
    span = (high - low) or 1.0
    lines, keys = [], []

    def place(step: int, value: float) -> str:
        share = min(max((value - low) / span, 0), 1)
        return f"{60 + (width - 70) * step / max(last, 1):.1f},{height - 20 - (height - 30) * share:.1f}"

    for number, (name, pairs) in enumerate(sorted(thin.items())):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(place(step, value) for step, value in pairs)
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.2" points="{path}"/>')
        keys.append(
            f'<span class=key><b style="color:{colour}">&mdash;</b> {html.escape(name)} {pairs[-1][1]:.4g}</span>'
        )
    axis = (
        f'<text x="0" y="16" font-size="12">{high:.3g}</text>'
        f'<text x="0" y="{height - 20}" font-size="12">{low:.3g}</text>'
        f'<text x="{width}" y="{height - 4}" font-size="12" text-anchor="end">step {last}</text>'
        f'<path d="M60 8V{height - 20}H{width - 8}" fill="none" stroke="#999"/>'
    )
    return f'<svg viewBox="0 0 {width} {height}">{axis}{"".join(lines)}</svg><p>{"".join(keys)}</p>'
