"""Several runs side by side as one page: metrics, what differs in the configs, samples, curves on common axes."""

from __future__ import annotations

import html
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2i import ConfigError, I2IError, files
from i2i.pages import Sheet, charts, page, table, viewer
from i2i.runs import Overview, Run, overviews, settings_of, sheet_of

from .results import PAGES, refuse_out

ROOM = 24_000_000  # bytes of the pictures of all runs


def run(folders: Sequence[str], outs: Sequence[str], force: bool = False) -> None:
    """Write a comparison of runs to each page of `outs`.

    Raises:
        ConfigError: an argument is not a run, there is only one, or a file of `outs` exists or is not a page.
        DataError: a run is damaged.
    """
    shown = [viewed(folder, folders) for folder in folders]
    if len({Path(one.folder).resolve() for one in shown}) < 2:
        raise ConfigError(f"only one run ({folders[0]}): give two or more runs, or a picture and models with -m")
    for out in outs:
        refuse_out(out, folders[0], force, PAGES)
    text = html_of(shown)
    for out in outs:
        files.make_folder(Path(out).parent)
        files.write(out, text.encode())
        print(f"{out}: written", file=sys.stderr)


def refuse_option(option: str, given: Any) -> None:
    """Reject an option that is for models."""
    if given is not None:
        raise ConfigError(f"{option} is for models on a picture: give them with -m, or leave {option} out")


def viewed(folder: str, folders: Sequence[str]) -> Overview:
    """Return the overview of a run.

    Raises:
        ConfigError: it is not a run.
    """
    if not Path(folder).is_dir() or not Run(folder).begun():
        if not Path(folder).exists():
            raise ConfigError(f"{folder} does not exist: give a picture and models (-m), or two or more runs")
        if len(folders) == 1:
            raise ConfigError(
                f"{folder}: there is nothing to compare; give each model with -m, e.g. -m runs/a -m runs/b"
            )
        raise ConfigError(f"{folder} is not a run: without -m, `i2i compare` compares the folders of runs")
    found, bad = overviews(folder)
    if bad:
        raise ConfigError(f"{bad[0][0]} cannot be read: {bad[0][1]}")
    return found[0]


def html_of(shown: Sequence[Overview]) -> str:
    """Return the page."""
    names = distinct([one.folder for one in shown])
    runs = [Run(one.folder) for one in shown]
    body = [
        table(
            [
                (name, one.state, f"{one.step:,}", clock(one.seconds), one.task)
                for name, one in zip(names, shown, strict=True)
            ],
            ("Run", "State", "Step", "Time", "Task"),
        ),
        section("Metrics", side_by_side(names, [numbers(run) for run in runs])),
        section("Settings that differ", side_by_side(names, [settings(run) for run in runs], differing=True)),
        section("Samples", samples(names, runs)),
        section("Curves", charts(curves(names, runs))),
    ]
    return page(f"{len(names)} runs compared", body, about=", ".join(one.folder for one in shown))


def distinct(folders: Sequence[str]) -> list[str]:
    """Return short names: the last parts of the paths, as many as tell them apart."""
    paths = [Path(folder).resolve() for folder in folders]
    longest = max(len(path.parts) for path in paths)
    for count in range(1, longest + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len({*names}) == len({*paths}):
            return names
    return [str(path) for path in paths]


def section(title: str, content: str) -> str:
    """Return a part of the page with its heading; says so if there is nothing to show."""
    return f"<h2>{html.escape(title)}</h2>{content or '<p class=about>none</p>'}"


def clock(seconds: float | None) -> str:
    """Return a duration as hours, minutes and seconds; "" if it is unknown."""
    return "" if seconds is None else f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def side_by_side(names: Sequence[str], tables: Sequence[Mapping[str, str]], differing: bool = False) -> str:
    """Return a table with a column per run; with `differing`, only the rows whose cells are not all equal."""
    keys = list(dict.fromkeys(key for one in tables for key in one))
    rows = [(key, *(one.get(key, "") for one in tables)) for key in keys]
    return table([row for row in rows if not differing or len({*row[1:]}) > 1], ("", *names))


def numbers(run: Run) -> dict[str, str]:
    """Return the final metrics of a run, or those of its newest evaluation."""
    final: dict[str, Any] = {name: value for name, value in run.metrics().items() if name != "step"}
    if not final:
        for line in run.log():
            marked = {key.removeprefix("metric/"): v for key, v in line.items() if key.startswith("metric/")}
            final = {"(evaluated at step)": line["step"], **marked} if marked else final
    return {name: f"{value:,}" if isinstance(value, int) else f"{value:.5g}" for name, value in final.items()}


def settings(run: Run) -> dict[str, str]:
    """Return the config of a run by dotted key."""
    try:
        return {one.key: one.value for one in settings_of(run.config_text())}
    except I2IError:
        return {}


def curves(names: Sequence[str], runs: Sequence[Run]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return a chart for each logged value, with a curve for each run that has it."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, run in zip(names, runs, strict=True):
        for line in run.log():
            for key, value in line.items():
                if "/" in key and isinstance(value, int | float) and not key.startswith(("skipped/", "memory/")):
                    found.setdefault(key, {}).setdefault(name, []).append((line["step"], float(value)))
    rates = [key for key in found if key.startswith("lr/")]
    several = [key for key in found if key not in rates and any(len(pairs) > 1 for pairs in found[key].values())]
    return {key: found[key] for key in [*several, *rates]}


def samples(names: Sequence[str], runs: Sequence[Run]) -> str:
    """Return the sample sheets of all runs, and whether they are of the same inputs."""
    sheets = [sheet_of(run, name, most=12, room=ROOM // len(runs)) for name, run in zip(names, runs, strict=True)]
    kept = [sheet for sheet in sheets if sheet.files]
    note = same_inputs(kept, runs) if len(kept) > 1 else ""
    return f"<p class=about>{html.escape(note)}</p>{viewer(kept)}" if kept else ""


def same_inputs(sheets: Sequence[Sheet], runs: Sequence[Run]) -> str:
    """Return a sentence about whether the runs show the same validation samples, as far as the configs tell."""
    data = [{key: value for key, value in settings(run).items() if key.startswith("data.")} for run in runs]
    ignored = ("data.workers", "data.batch_size")
    different = sorted(
        {key for one in data for key in one if len({other.get(key) for other in data}) > 1} - {*ignored}
    )
    if different:
        return f"The data differ ({', '.join(different)}), so the samples may be of different inputs."
    return "All runs have the same data, so the samples are of the same inputs."
