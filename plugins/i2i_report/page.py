"""What is on the page of a run: `page(Run("runs/a"))`. How it looks and works is in `i2i.pages`."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from i2i import I2IError
from i2i.pages import charts, table, viewer, warning
from i2i.pages import page as page_of
from i2i.plugins import registry
from i2i.runs import Run, settings_of, sheet_of

Series = dict[str, list[tuple[float, float]]]
OTHERS = {  # titles of the charts of values that are not losses, by how their names start
    "lr/": "Learning rates",
    "norm/": "Norms of the gradients",
    "skipped/": "Turns skipped because of NaN",
    "memory/": "Peak memory of the accelerator, MB",
}


def page(run: Run) -> str:
    """Return the HTML page of a run in its current state."""
    lines = run.log()
    step = lines[-1]["step"] if lines else 0
    series = curves(lines)
    body = [
        *(warning(text) for text in [*warnings(lines), *alarms(series)]),
        *(warning(text) for text in waiting(run.timing())),
        section("Metrics", metrics(run)),
        section("Pictures", viewer([sheet_of(run)])),
        section("Curves", charts(grouped(series))),
        *configuration(run),
        section("Weights", table(run.card())),
        section("Environment", environment(run.environment())),
    ]
    about = f"{'finished' if run.finished else 'training'}, step {step:,}{duration(run.timing())}"
    return page_of(run.folder.resolve().name, body, about=about, live=not run.finished)


def section(title: str, content: str) -> str:
    """Return a part of the page with its heading, or "" if it is empty."""
    return f"<h2>{html.escape(title)}</h2>{content}" if content else ""


def duration(timing: list[dict[str, Any]]) -> str:
    """Return how long the training has taken so far."""
    seconds = int(sum(line["seconds"] for line in timing))
    return f", {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} of training" if timing else ""


def curves(lines: list[dict[str, Any]]) -> Series:
    """Return (step, value) pairs by name."""
    series: Series = {}
    for line in lines:
        for name, value in line.items():
            if "/" in name and isinstance(value, int | float):
                series.setdefault(name, []).append((line["step"], float(value)))
    return series


def grouped(series: Series) -> dict[str, Series]:
    """Return the curves by chart: the losses of each player, and then what else is logged."""
    groups: dict[str, Series] = {}
    for name, pairs in series.items():
        if name.startswith(("metric/", *OTHERS)):
            continue
        player, _, value = name.partition("/")
        groups.setdefault(f"Losses of {player}", {})[value] = pairs
    for start, title in OTHERS.items():
        found = {name.removeprefix(start): pairs for name, pairs in series.items() if name.startswith(start)}
        if found and not (start == "skipped/" and not any(value for pairs in found.values() for _, value in pairs)):
            groups[title] = found
    for name, pairs in series.items():  # an evaluation alone is a number in the table, not a curve
        if name.startswith("metric/") and len(pairs) > 1:
            metric, _, value = name.removeprefix("metric/").partition("/")
            groups.setdefault(f"Metric {metric}", {})[value] = pairs
    return groups


def warnings(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the warnings in the log, as they were printed to stderr."""
    for line in lines:
        if "warning" in line:
            yield f"Step {line['step']}: {line['warning']}."


def alarms(series: Series) -> Iterator[str]:
    """Report when a player's `alarm` was not 0, with its other values at that step."""
    for player in (name.removesuffix("/alarm") for name in sorted(series) if name.endswith("/alarm")):
        on = [step for step, value in series[f"{player}/alarm"] if value]
        if not on:
            continue
        beside = {name: dict(pairs).get(on[0]) for name, pairs in series.items() if name.startswith(f"{player}/")}
        shown = ", ".join(f"{name} {value:.3g}" for name, value in beside.items() if value is not None)
        yield (
            f"Alarm of {player}, first at step {on[0]:,}, last at {on[-1]:,}. At the first: {shown}. Suggestions "
            f"were printed to stderr; see also the task's README."
        )


def waiting(timing: list[dict[str, Any]]) -> Iterator[str]:
    """Report what share of the training's time was spent waiting for data, if it is more than a fifth."""
    seconds = sum(line["seconds"] for line in timing)
    share = sum(line["seconds"] * line["waiting"] for line in timing) / max(seconds, 1e-9)
    if share > 0.2:
        yield (
            f"{share:.0%} of the time was spent waiting for data: more loaders (data.workers), a faster disk or "
            f"smaller files would make the training faster."
        )


def metrics(run: Run) -> str:
    """Return the final metrics, and those of later evaluations, as a table, with what they measure."""
    final = {name: f"{value:.4g}" for name, value in run.metrics().items() if name != "step"}
    later = []
    for line in run.evaluations():
        how = " ".join([f"step {line['step']}", *line["overrides"]])
        later += [(f"{name} (evaluated at {how})", f"{value:.4g}") for name, value in line["metrics"].items()]
    rows = [*final.items(), *later]
    return table(rows) + "".join(measured(run, dict.fromkeys(name.partition("/")[0] for name, _ in rows)))


def measured(run: Run, names: Iterable[str]) -> Iterator[str]:
    """Yield what the numbers of these metrics mean, as their docstrings and that of the task's `validate` say it."""
    known = {(entry.kind, entry.name): entry.build for entry in registry().catalog}
    task = known.get(("task", name_of_task(run)))
    for name in names:
        about = getattr(task, "validate", None) if name == "validation" else known.get(("metric", name))
        if text := inspect.getdoc(about) if about is not None else None:
            yield explained(name, text)


def name_of_task(run: Run) -> str:
    """Return the name of a run's task, "" if its config cannot be read."""
    try:
        return next((str(one.value) for one in settings_of(run.config_text()) if one.key == "task.use"), "")
    except I2IError:
        return ""


def explained(name: str, text: str) -> str:
    """Return the first line of a docstring, which unfolds to what it says of each value, up to its arguments."""
    first, _, rest = text.partition("\n")
    if kept := re.fullmatch(r"Return (.)(.*)", first):
        first = kept[1].upper() + kept[2]
    rest = re.split(r"^(?:Args|Raises|Source|Example|Args and Raises)\b.*:", rest, maxsplit=1, flags=re.MULTILINE)[0]
    first = f"{html.escape(name)}: {marked(first)}"
    blocks = [block.strip() for block in re.split(r"\n\s*\n", rest.removeprefix("Returns:")) if block.strip()]
    if not blocks:
        return f"<p>{first}</p>"
    return f"<details><summary>{first}</summary>{''.join(map(block_of, blocks))}</details>"


def block_of(text: str) -> str:
    """Return a paragraph or a list of a docstring as HTML."""
    if not text.startswith("- "):
        return f"<p>{marked(' '.join(text.split()))}</p>"
    items = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
    shown = [f"<li>{marked(' '.join(item.split()))}</li>" for item in items]
    return f"<ul>{''.join(shown)}</ul>"


def marked(text: str) -> str:
    """Return text as HTML, with what is in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def configuration(run: Run) -> Iterator[str]:
    """Yield what of the config differs from the defaults, and all of it to unfold."""
    text = run.config_text()
    try:
        changed = [one for one in settings_of(text) if one.changed] if text else []
    except I2IError:
        changed = []
    rows = [(one.key, one.value, one.default) for one in changed]
    yield section("Settings that differ from the defaults", table(rows, ("Key", "Value", "Default")))
    if text:
        yield f"<details><summary>The whole config</summary><pre>{html.escape(text)}</pre></details>"


def environment(starts: Sequence[Mapping[str, Any]]) -> str:
    """Return where the run was trained, a column for each start that differs."""
    if not starts:
        return ""
    kept = [start for number, start in enumerate(starts) if number == 0 or facts(start) != facts(starts[number - 1])]
    names = list(dict.fromkeys(name for start in kept for name in facts(start)))
    head = ["", *(f"from step {start['step']}" for start in kept)]
    return table([(name, *(start.get(name, "") for start in kept)) for name in names], head if len(kept) > 1 else ())


def facts(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a start beside its step."""
    return {name: value for name, value in start.items() if name != "step"}
