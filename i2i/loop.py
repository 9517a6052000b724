"""One run: a folder that a training fills, and that a killed training goes on in.

    config.yaml        the resolved config                log.jsonl       one line per `train.log_every` steps
    checkpoints/       exact states to resume from        samples/        pictures while training
    model.safetensors  averaged weights, config inside    metrics.json    written last: the run is finished

The log holds no clock time, so that the log of a resumed run equals that of an unbroken one, byte for byte.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from . import checkpoint, files
from .config import Config, changed, load
from .data.base import Data
from .data.stream import Batch, Numbered, stream, to_device, validation_batch
from .engine import Engine, StepOutcome, builder_for, players_of, seed_everything
from .errors import ConfigError, I2IError, NumericError, WeightsError
from .images import frames, gif, png
from .metrics.base import check_needs, validated
from .modalities import columns
from .plugins import registry
from .processes import ProcessGroup
from .task import Task
from .version import __version__

log = logging.getLogger("i2i")


class Stopped(I2IError):
    """The run was asked to stop, saved its state and can go on (exit code 75, or 130 after an interrupt)."""

    def __init__(self, engine: Engine, run: Path) -> None:
        super().__init__(
            f"stopped and saved at step {engine.number} in {run}: go on with the same command and --resume"
        )
        self.exit_code = 130 if engine.stop_signal == signal.SIGINT else 75


def train(config: Config, run: Path, world: ProcessGroup, *, resume: bool = False) -> None:
    """Train and evaluate as `config` says, in the folder `run`.

    Args:
        config: a resolved config.
        run: the folder; it exists, and its lock is held by the first process.
        world: the processes that train together.
        resume: continue from the newest checkpoint that is whole, if there is one.

    Raises:
        Stopped: after SIGINT, SIGTERM or SIGUSR1; the state was saved within a step.
    """
    settings = config.train
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    metrics = [(name, build()) for name, build in config.metrics]  # a missing file of weights is told before training
    torch.manual_seed(settings.seed)
    task = config.task()
    refuse_what_does_not_fit(config, task)  # before a data set is read, which may take minutes
    saved = state_to_go_on_from(run, config, leads=world.rank == 0) if resume else None
    log.disabled = world.rank > 0  # what is wrong with the pictures is said once, by the first process
    data = config.data()
    refuse_what_cannot_be_judged(metrics, task, data)
    observed = validation_batch(data)
    log.disabled = False
    steps = settings.steps or math.ceil((settings.epochs or 0) * len(data) / data.batch_size)
    engine = Engine(
        task,
        config.optimizer,
        settings,
        schedule=config.schedule() if config.schedule else None,
        steps_per_epoch=len(data) / data.batch_size,
        world=world,
        device=device,
    )
    if saved is not None:
        engine.load_state(saved)
        saved = None  # it is as large as the engine
    diary = Diary(run, config, engine)
    if diary.finished(steps):
        return
    diary.reopen()
    progress = Progress(engine.number, steps, shown=world.rank == 0)
    with signals(engine), world.watch(lambda: engine.number):
        for batches in stream(data, settings, engine.number, steps, world):
            outcome = step(engine, batches, data)
            now = engine.number
            if now % settings.log_every == 0 or now == steps:
                diary.losses(outcome)
                progress.show(now, outcome.losses)
            if observed and (now % settings.sample_every == 0 or now == steps):
                diary.pictures(observed)
            if settings.evaluate_every and now % settings.evaluate_every == 0 and now != steps:
                diary.metrics(evaluate(engine, metrics, data), final=False)
            if outcome.stop or now % settings.checkpoint_every == 0 or now == steps:
                diary.save()
            if outcome.stop and now != steps:
                raise Stopped(engine, run)
        if settings.best is None:
            diary.publish()  # again, because a kill may have come between the last checkpoint and its weights
        progress.say("evaluating")
        diary.metrics(evaluate(engine, metrics, data), final=True)
    if data.note():
        progress.say(data.note())


def refuse_what_does_not_fit(config: Config, task: Task) -> None:
    """Refuse keys of which each is valid, but not all together.

    Raises:
        ConfigError: optimizers for other players than the task has, or a best result that nothing measures.
    """
    players = players_of(task)
    for player in players:
        builder_for(player, config.optimizer, players)
    known = ["validation", *(name for name, _ in config.metrics)]
    if config.train.best is not None and config.train.best.partition("/")[0] not in known:
        raise ConfigError(f"train.best is '{config.train.best}', but no metric has that name: {', '.join(known)}")


def refuse_what_cannot_be_judged(metrics: Sequence[tuple[str, Any]], task: Task, data: Data) -> None:
    """Let each metric that has a `refuse` say, before training and not after it, what it cannot judge."""
    for name, metric in metrics:
        check_needs(name, metric, task, data)


def state_to_go_on_from(run: Path, config: Config, *, leads: bool) -> dict[str, Any] | None:
    """Return the engine's state in the newest whole checkpoint of a run, or None where there is none yet.

    Raises:
        WeightsError: the run was started with another config, every checkpoint is damaged, or there is none and
            weights that a start at step 0 would write over.
    """
    folder = run / "checkpoints"
    found = checkpoint.newest(folder, say=lambda text: print(f"i2i: {text}", file=sys.stderr))
    if found is None and any(folder.glob("step_*")):
        raise WeightsError(f"every checkpoint in {folder} is damaged: start afresh with --force")
    if found is None:
        if (run / "config.yaml").exists():
            refuse_changes(load(run / "config.yaml", (), registry().catalog).tree, config.tree)
        # The best weights may be older than the first checkpoint of a killed run; all others come after one.
        if (run / "metrics.json").exists() or (config.train.best is None and (run / "model.safetensors").exists()):
            raise WeightsError(
                f"{run} holds a trained model and no checkpoint to go on from: say --force to delete it and start "
                f"afresh, or -o for another folder"
            )
        said, state = f"{run} holds no checkpoint to go on from: starting at step 0", None
    else:
        refuse_changes(found[1]["config"], config.tree)
        state = found[1]["engine"]
        said = f"going on from {found[0]} (step {state['step']})"
    if leads:
        print(f"i2i: {said}", file=sys.stderr)
    return state


def step(engine: Engine, batches: Sequence[Batch], data: Data) -> StepOutcome:
    """Run one step; when a loss leaves the numbers, say also which training samples it was of."""
    try:
        return engine.step(batches)
    except NumericError as error:
        first = engine.number * data.batch_size
        samples = Numbered(data, engine.train.seed).indices(range(first, first + data.batch_size))
        raise NumericError(f"{error}; its samples: {', '.join(map(str, samples))}") from error


def evaluate(engine: Engine, metrics: Sequence[tuple[str, Any]], data: Data) -> dict[str, float]:
    """Return what the task itself validates and every metric, by name, on the averaged weights."""
    found: dict[str, float] = {}
    seed_everything(engine.train.seed, engine.number, rank=0)
    with engine.averaged() as task:
        if type(task).validate is not Task.validate:
            found |= {f"validation/{key}": value for key, value in validated(task, data, engine.device).items()}
        for name, metric in metrics:
            found |= {f"{name}/{key}": float(value) for key, value in metric(task, data).items()}
    return found


class Diary:
    """Writes the run folder: log, pictures, checkpoints, metrics. Only the first process writes."""

    def __init__(self, run: Path, config: Config, engine: Engine) -> None:
        self.run, self.config, self.engine, self.leads = run, config, engine, engine.world.rank == 0
        self.checkpoints = run / "checkpoints"
        self._dropped: set[str] = set()

    def finished(self, steps: int) -> bool:
        """Say whether nothing is left to do, also on stderr."""
        done = (self.run / "metrics.json").exists() and self.engine.number >= steps
        if done:
            print(f"i2i: {self.run} is finished already ({self.engine.number} steps)", file=sys.stderr)
        return done

    def reopen(self) -> None:
        """Open the run's folder, in which what followed the checkpoint is forgotten."""
        if self.leads:
            (self.run / "metrics.json").unlink(missing_ok=True)
            files.truncate_log(
                self.run / "log.jsonl", lambda line: line["step"] <= self.engine.number and not line.get("final")
            )
            files.write(self.run / "config.yaml", self.config.text().encode())

    def losses(self, outcome: StepOutcome) -> None:
        """Log the losses and learning rates of this step, and how many turns were skipped so far."""
        rates = {f"lr/{name}": o.param_groups[0]["lr"] for name, o in self.engine.optimizers.items()}
        skipped = {f"skipped/{name}": float(count) for name, count in self.engine.skipped.items()}
        self._write({**outcome.losses, **rates, **skipped})

    def pictures(self, batch: Batch) -> None:
        """Write what the task shows of a validation batch to `samples/<step>.png`."""
        with self.engine.averaged() as task:
            shown = task.pictures(to_device(batch, self.engine.device))
        if shown and self.leads:
            sheets = frames(columns(shown, task.makes))
            files.make_folder(self.run / "samples")
            files.write(self.run / "samples" / f"{self.engine.number:08d}.png", png(sheets[0]))
            if len(sheets) > 1:
                files.write(self.run / "samples" / f"{self.engine.number:08d}.gif", gif(sheets))
            self._tell(images={"samples": torch.from_numpy(sheets[0])})

    def metrics(self, metrics: dict[str, float], *, final: bool) -> None:
        """Log an evaluation, and publish the weights where it is the best so far and `train.best` asks for these.

        The last one also writes metrics.json, which marks the run as finished; it tells of the published weights.
        """
        best = self._best_before(metrics)
        if self.config.train.best is not None and best is None:
            self.publish()
        marks = {"final": True} if final else {}
        self._write({f"metric/{name}": value for name, value in metrics.items()}, **marks)
        if final and self.leads:
            told = best or {"step": self.engine.number, **metrics}
            files.write(self.run / "metrics.json", json.dumps(told, indent=1).encode() + b"\n")
            self._tell()

    def _best_before(self, metrics: dict[str, float]) -> dict[str, float] | None:
        """Return what was logged of the evaluation that is better than this one, if `train.best` asks for it."""
        name, sign = self.config.train.best, 1 if self.config.train.best_is == "highest" else -1
        if name is None:
            return None
        if name not in metrics:
            raise ConfigError(f"train.best: an evaluation gives no '{name}', but {', '.join(metrics)}")
        file = self.run / "log.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        earlier = [line for line in lines if math.isfinite(line.get(f"metric/{name}", math.nan))]
        best = max(earlier, key=lambda line: sign * line[f"metric/{name}"], default=None)
        if best is None or sign * metrics[name] > sign * best[f"metric/{name}"]:
            return None
        told = {key.removeprefix("metric/"): value for key, value in best.items() if key.startswith("metric/")}
        return {"step": best["step"], **told}

    def save(self) -> None:
        """Write a checkpoint, and the weights that `i2i translate` uses unless only the best ones are wanted."""
        if self.leads:
            state = {"engine": self.engine.state(), "config": self.config.tree}
            checkpoint.save(self.checkpoints, self.engine.number, state, keep=self.config.train.keep)
            if self.config.train.best is None:
                self.publish()

    def publish(self) -> None:
        """Write `model.safetensors`: the averaged weights, with the config inside."""
        if self.leads:
            about = {"step": str(self.engine.number), "i2i": __version__}
            weights = {name: value.cpu() for name, value in self.engine.weights().items()}
            checkpoint.save_model(self.run / "model.safetensors", weights, self.config.text(), about)

    def _write(self, scalars: dict[str, float], **marks: bool) -> None:
        if self.leads and scalars:
            epoch = int(self.engine.number / self.engine.steps_per_epoch)
            line = {"step": self.engine.number, "epoch": epoch, **marks, **scalars}
            files.append_line(self.run / "log.jsonl", json.dumps(line))
            self._tell(scalars)

    def _tell(self, scalars: dict[str, float] | None = None, images: dict[str, Tensor] | None = None) -> None:
        """Let the observers look; one that raises is told once and dropped for this run."""
        seen = {"run": self.run, "step": self.engine.number, "scalars": scalars or {}, "images": images or {}}
        for name, call in registry().each("on_log", **seen):
            if name in self._dropped:
                continue
            try:
                call()
            except Exception as error:
                self._dropped.add(name)
                log.warning("plugin '%s' failed in on_log and is dropped for this run: %s", name, error)


def refuse_changes(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Allow a resume to train longer or to log otherwise, and refuse to change what is being trained."""
    free = ("train.epochs", "train.steps", "train.keep", "train.timeout", "train.threads", "data.workers", "metrics")
    differ = changed(old, new)
    allowed = [key for key in differ if key.startswith(free) or key.endswith("_every")]
    refused = [key for key in differ if key not in allowed]
    if refused:
        raise WeightsError(
            f"this run was started with another {', '.join(refused)}: resume with the config in the run folder, or "
            f"start another run with -o"
        )
    if allowed:
        print(f"i2i: resuming with changed {', '.join(allowed)}", file=sys.stderr)


@contextmanager
def signals(engine: Engine) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGUSR1 end the run after the current step; a second SIGINT ends it at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and engine.stop_signal == signal.SIGINT:
            print("i2i: stopped at once; --resume goes on from the last checkpoint", file=sys.stderr)
            raise KeyboardInterrupt
        engine.stop_signal = number
        again = "; press Ctrl-C again to stop at once, without saving" if number == signal.SIGINT else ""
        print(f"i2i: saving after this step, then stopping{again}", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Progress:
    """One line on stderr: step, steps per second, time left, losses; rewritten in place on a terminal."""

    def __init__(self, start: int, steps: int, shown: bool = True) -> None:
        self.start, self.steps, self.shown = start, steps, shown
        self.began = time.monotonic()
        self.live = sys.stderr.isatty()

    def show(self, step: int, losses: dict[str, float]) -> None:
        """Show how far the training is."""
        rate = (step - self.start) / max(time.monotonic() - self.began, 1e-9)
        left = int((self.steps - step) / rate)
        clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self.say(f"step {step}/{self.steps}  {rate:.2f} it/s  ETA {clock}  {numbers}")

    def say(self, text: str) -> None:
        """Print one line of progress."""
        if self.shown:
            end = "\n" if not self.live or text == "evaluating" else ""
            print(f"\r\033[K{text}" if self.live else text, end=end, file=sys.stderr, flush=True)
