"""Where `i2i run config.yaml --resume` continues from, and which settings may change then."""

from __future__ import annotations

import hashlib
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import checkpoint, files
from ..config import Config, changed, from_dict, load
from ..config.write import flow
from ..engine import Engine
from ..errors import ConfigError, WeightsError
from ..plugins import registry
from .folder import Run
from .listing import listing, warning

FREE = (
    "train.epochs",
    "train.steps",
    "train.keep",
    "train.timeout",
    "train.shard",
    "train.threads",
    "train.device",
    "train.clip",
    "train.on_nan",
    "train.best",  # and best_is
    "data.workers",
    "metrics",
    "schedule",
)
EVERY = re.compile(r"train\.\w+_every")


def state_to_resume(run: Run, config: Config, *, leads: bool) -> dict[str, Any] | None:
    """Return the engine's state in the newest intact checkpoint of a run, or None if there is no checkpoint yet.

    Args:
        run: the run.
        config: how it is to continue.
        leads: whether this process prints what happens.

    Raises:
        WeightsError: the run was started with a different config, every checkpoint is damaged, or there is none and
            a start at step 0 would overwrite weights.
    """

    def say(text: str) -> None:
        if leads:
            print(f"i2i: {text}", file=sys.stderr)

    found = checkpoint.newest(run.checkpoints, say=say)
    if found is None and any(run.checkpoints.glob("step_*")):
        raise WeightsError(f"every checkpoint in {run.checkpoints} is damaged: start over with --force")
    if found is not None:
        old = from_dict(found[1]["config"], registry().catalog, str(found[0])).tree
    else:
        old = load(run.config_file, (), registry().catalog).tree if run.config_file.exists() else config.tree
    free = allowed_changes(run, old, config.tree)
    # The best weights may be older than the first checkpoint of a killed run; all others come after one.
    if found is None and (run.finished or (config.train.best is None and run.weights_file.exists())):
        raise WeightsError(
            f"{run.folder} contains a trained model but no checkpoint to continue from: use --force to delete it and "
            f"start over, or -o for another folder"
        )
    if free:
        say(f"resuming with changed {', '.join(free)}")
    if found is not None and (log := found[1].get("log")) and log_digest(run.log_file, log["bytes"]) != log:
        say(f"{run.log_file} has changed since {found[0]} was written, so some of its numbers may be wrong")
    if found is None:
        say(f"{run.folder} contains no checkpoint to continue from: starting at step 0")
        return None
    state = found[1]["engine"]
    if not run.finished or longer(old["train"], config.tree["train"]):
        say(f"continuing from {found[0]} (step {state['step']})")
        changes = warning(found[1].get("data"), listing(config.tree["data"])) if leads else ""
        if changes:
            say(changes)
    return state


def allowed_changes(run: Run, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the changed keys: those of `FREE`, intervals and learning rates.

    Raises:
        WeightsError: another key differs, or the run is finished, so that other metrics would not be computed.
    """
    differ = changed(old, new)
    rates = [key for key in differ if key.startswith("optimizer.") and key.endswith(".lr")]
    free = [key for key in differ if key.startswith(FREE) or EVERY.fullmatch(key) or key in rates]
    fixed = [key for key in differ if key not in free]
    instead = f"`i2i evaluate {run.folder} KEY=VALUE` evaluates it with other metrics or data"
    methods = [value_at(tree, "task.use") for tree in (old, new)]
    if methods[0] != methods[1]:
        raise WeightsError(
            f"{run.folder} is a run of the task {methods[0]}, not {methods[1]}: start another run with -o, or use "
            f"`i2i run {run.config_file} -o {run.folder} --resume`"
        )
    if fixed:
        wrong = ", ".join(difference(key, value_at(old, key), value_at(new, key)) for key in fixed)
        hint = f"; {instead}" if run.finished and all(key.split(".")[0] == "data" for key in fixed) else ""
        raise WeightsError(
            f"this run was started with {wrong}: repeat its overrides, use "
            f"`i2i run {run.config_file} -o {run.folder} --resume`, or start another run with -o{hint}"
        )
    metrics = [key for key in free if key.split(".")[0] == "metrics"]
    if metrics and run.finished and not longer(old["train"], new["train"]):
        raise WeightsError(f"{run.folder} is finished, so --resume would ignore the changed metrics: {instead}")
    return free


def value_at(tree: Any, key: str) -> Any:
    """Return what a config has at a dotted key, or None."""
    for part in key.split("."):
        try:
            tree = tree[int(part)] if isinstance(tree, list) else tree[part]
        except (LookupError, TypeError, ValueError):
            return None
    return tree


def difference(key: str, old: Any, new: Any) -> str:
    """Return what a run was started with at a key: "train.seed=0 instead of 1", or that it was another."""
    if any(isinstance(value, dict | list) for value in (old, new)):
        return f"another {key}"
    return f"{key}={flow(old)} instead of {flow(new)}"


def refuse_zero_rate(engine: Engine, steps: int) -> None:
    """Raise a ConfigError if the schedule has ended, so that all remaining steps would train nothing."""
    if engine.number < steps and engine.factor(engine.number) == engine.factor(steps - 1) == 0:
        raise ConfigError(
            f"the schedule ends before step {engine.number}: the remaining {steps - engine.number} steps would train "
            f"at a learning rate of 0; extend it too, with schedule.end"
        )


def longer(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Return whether a training is to last longer than before."""
    return any((new[key] or 0) > (old[key] or 0) for key in ("steps", "epochs"))


def log_digest(file: Path, size: int = -1) -> dict[str, Any]:
    """Return the length in bytes and the sha256 of the first `size` bytes of a log, or of all of it."""
    content = b""
    with suppress(FileNotFoundError):
        content = files.read(file, size)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
