"""Which batches and sizes are tried, and what the trials say in the end: `searched(trials)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from i2i import ConfigError, DataError, I2IError, NumericError, PluginError, ResourceError, WeightsError
from i2i.devices import chosen, described, free_memory

from .trial import Trial, Trials

USABLE = 0.9  # of the memory that was free before the first trial
FURTHEST = 64  # times the batch of the second trial, or its pixels: the largest that is tried
CLEARLY = 1.05  # times as many samples per second: below, another batch is not worth another learning rate
SHARE = 0.5  # of the time for a trial, for its steps
ERRORS: dict[int, type[I2IError]] = {
    error.exit_code: error
    for error in (ConfigError, DataError, WeightsError, NumericError, ResourceError, PluginError)
}
GB = 1e9


@dataclass(frozen=True)
class Found:
    """The result.

    Attributes:
        device: what was measured on.
        free: bytes that were free before the first trial.
        usable: bytes that a training may take.
        trials: all of them, that of the config first.
        batch: the largest batch that fits, at the size of the config.
        size: the largest size that fits, with the batch of the config; None if the data set has no `size`.
        set: what that means for the config, a sentence each line.
    """

    device: str
    free: int
    usable: int
    trials: list[Trial]
    batch: int
    size: int | None
    set: str


def searched(trials: Trials, say: Callable[[str], None]) -> Found:
    """Find the largest batch and size that fit.

    Args:
        trials: runs a trial.
        say: reports progress.

    Raises:
        I2IError: the config does not train, with the error of its trial; or it needs more than there is.
    """
    device = chosen("auto")
    free = free_memory(device) or 0
    usable = int(free * USABLE)

    def run(**setting: int) -> Trial:
        trial = trials.run(**setting)
        if trial.state != "error" or setting:  # that of the config itself is raised below
            say(row(trial))
        return trial

    base = run()
    done = [base]
    if base.state in ("memory", "slow") or base.memory > usable:
        base = run(batch=1) if base.batch > 1 else base
        done += [base] * (base is not done[0])
        if base.state == "slow":
            raise ResourceError(
                f"a trial of {trials.steps} steps with a batch of {base.batch} {base.reason} on {described(device)}, "
                f"so its memory is not known: allow more with --limit, or set a smaller data.size or width"
            )
        if base.state != "ok" or base.memory > usable:
            raise ResourceError(
                f"this config does not fit {described(device)} even with a batch of 1 ({row(base)}; {free / GB:.1f} "
                f"GB are free): set a smaller data.size or narrower networks"
            )
    if base.state != "ok":
        what = "" if base.code == ConfigError.exit_code else "the config does not train: "
        raise ERRORS.get(base.code, ResourceError)(what + base.reason)
    done += grown(base, usable, trials, lambda n: run(batch=n), "batch")
    if isinstance(base.size, int):
        done += grown(base, usable, trials, lambda n: run(batch=base.batch, size=n), "size")
    return found(described(device), free, usable, done, base, trials.length())


def grown(base: Trial, usable: int, trials: Trials, run: Callable[[int], Trial], what: str) -> list[Trial]:
    """Try twice the batch or the size, then the largest that should fit by these two, and less if it does not.

    No batch has more samples than the data set.
    """
    most = trials.count() if what == "batch" else None
    if most is not None and 2 * base.batch > most:
        return []
    tried = [base, run(2 * value(base, what))]
    if fits(tried[-1], usable):
        n = largest(tried[0], tried[1], usable, trials, what)
        n = n if most is None else rounded(min(n, most), base, what)
        while n > value(tried[1], what):
            tried.append(run(n))
            if fits(tried[-1], usable) or tried[-1].state == "error":
                break
            n = rounded(0.8 * n, base, what)
    elif tried[-1].state != "error" and (n := rounded(1.5 * value(base, what), base, what)) > value(base, what):
        tried.append(run(n))
    return tried[1:]


def fits(trial: Trial, usable: int) -> bool:
    """Return whether a trial ended, with no more memory than is usable."""
    return trial.state == "ok" and trial.memory <= usable


def largest(one: Trial, two: Trial, usable: int, trials: Trials, what: str) -> int:
    """Return the largest batch or size that should fit, by two trials, and that a trial has the time for."""
    power = 1 if what == "batch" else 2
    a, b = value(one, what) ** power, value(two, what) ** power

    def most(first: float, second: float, limit: float) -> float:
        slope = (second - first) / (b - a)
        return b + (limit - second) / slope if slope > 0 else FURTHEST * b

    by_memory = most(one.memory, two.memory, usable)
    by_time = most(one.seconds, two.seconds, SHARE * trials.limit / trials.steps)
    return rounded(min(by_memory, by_time, FURTHEST * b) ** (1 / power), one, what)


def rounded(n: float, base: Trial, what: str) -> int:
    """Round down to a multiple of the batch of the config, or of a quarter of its size, as networks need it."""
    step = value(base, what) if what == "batch" else max(1, value(base, what) // 4)
    return int(n) // step * step


def value(trial: Trial, what: str) -> int:
    """Return the batch or the size of a trial."""
    return trial.batch if what == "batch" else int(trial.size or 0)


def row(trial: Trial) -> str:
    """Return a trial as a line of text."""
    size = "" if trial.size is None else f", size {trial.size}"
    if trial.state != "ok":
        return f"batch {trial.batch}{size}: {trial.reason}"
    return f"batch {trial.batch}{size}: {trial.memory / GB:.2f} GB, {trial.seconds:.3f} s a step"


def found(device: str, free: int, usable: int, done: list[Trial], base: Trial, steps: int) -> Found:
    """Return the result of all trials of a config that trains for so many steps."""
    good = [trial for trial in done if fits(trial, usable)]
    batches = [trial for trial in good if trial.size == base.size]
    fastest, batch = max(batches, key=pace), max(trial.batch for trial in batches)
    sizes = [trial.size for trial in good if trial.batch == base.batch and trial.size is not None]
    size = max(sizes, default=None)
    if base is done[0]:
        lasts = duration(steps * base.seconds)
        lines = [
            f"The config fits as it is. Its {steps:,} steps would take {lasts}, without validation and pictures."
        ]
    else:
        lines = [f"The config does not fit as it is, with its batch of {done[0].batch}."]
    if base is not done[0] or pace(fastest) > CLEARLY * pace(base):
        line = f"Fastest: data.batch_size={fastest.batch}, {pace(fastest):.1f} samples/s"
        lines.append(f"{line} instead of {pace(base):.1f}" * (fastest is not base) or line)
        lines[-1] += f". A learning rate is tuned for one batch size: yours is for {done[0].batch}."
    else:
        lines.append("No other batch that was tried is clearly faster.")
    largest = [f"data.batch_size={batch}"] * (batch != base.batch)
    largest += [f"data.size={size} with a batch of {base.batch}"] * (size != base.size)
    if largest:
        lines.append(f"Largest that were tried and fit: {', '.join(largest)}.")
    if any(trial.state == "slow" for trial in done):
        lines.append("What took too long may fit as well: try again with a longer --limit.")
    return Found(device, free, usable, done, batch, size, "\n".join(lines))


def duration(seconds: float) -> str:
    """Return a time in words, e.g. "8 minutes"."""
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"


def pace(trial: Trial) -> float:
    """Return samples per second."""
    return trial.batch / max(trial.seconds, 1e-9)


def table(found: Found) -> str:
    """Return the result as text."""
    free, usable = f"{found.free / GB:.1f}", f"{found.usable / GB:.1f}"
    lines = [
        f"{found.device}: {free} GB of memory are free, of which a training may use {usable}",
        "",
        f"{'batch':>7} {'size':>6} {'memory':>10} {'step':>9} {'samples/s':>10}",
    ]
    for trial in found.trials:
        start = f"{trial.batch:>7} {trial.size or '-':>6}"
        if trial.state != "ok":
            lines.append(
                f"{start}   not possible: {trial.reason}" if trial.state == "error" else f"{start}   {trial.reason}"
            )
            continue
        note = "  this config" if trial is found.trials[0] else ""
        note += "" if fits(trial, found.usable) else "  too much memory"
        lines.append(f"{start} {trial.memory / GB:>7.2f} GB {trial.seconds:>7.3f} s {pace(trial):>10.1f}{note}")
    return "\n".join([*lines, "", found.set])
