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
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from . import checkpoint, files
from .config import Config, changed
from .data.base import Data
from .engine import Batch, Engine, StepOutcome, builder_for, players_of, seed_everything, to_device
from .errors import ConfigError, I2IError, NumericError, ResourceError, WeightsError
from .images import grid, png
from .metrics.base import batches, shapes
from .plugins import door
from .processes import World
from .task import Task
from .version import __version__

log = logging.getLogger("i2i")


class Stopped(I2IError):
    """The run was asked to stop, saved its state and can go on (exit code 75, or 130 after an interrupt)."""


def train(config: Config, run: Path, world: World, *, resume: bool = False) -> dict[str, float]:
    """Train as `config` says, in the folder `run`, and return the metrics of the final evaluation.

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
    log.disabled = world.rank > 0  # what is wrong with the pictures is said once, by the first process
    data = config.data()
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
    diary = Diary(run, config, engine, leads=world.rank == 0)
    if resume:
        diary.resume()
    finished = diary.reopen(steps)
    if finished:
        return finished
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
                raise stopped(engine, run)
        if settings.best is None:
            diary.publish()  # again, because a kill may have come between the last checkpoint and its weights
        progress.say("evaluating")
        found = diary.metrics(evaluate(engine, metrics, data), final=True)
    if data.note():
        progress.say(data.note())
    return found


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


def step(engine: Engine, batches: Sequence[Batch], data: Data) -> StepOutcome:
    """Run one step; when a loss leaves the numbers, say also which training samples it was of."""
    try:
        return engine.step(batches)
    except NumericError as error:
        first = engine.number * data.batch_size
        samples = Numbered(data, engine.train.seed).indices(range(first, first + data.batch_size))
        raise NumericError(f"{error}; its samples: {', '.join(map(str, samples))}") from error


class Numbered(Dataset[Any]):
    """The training samples by their number in the whole training, each a pure function of (seed, number)."""

    def __init__(self, data: Data, seed: int) -> None:
        self.data, self.seed = data, seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def __getitems__(self, numbers: list[int]) -> Batch | I2IError:
        """Return the samples of these numbers, stacked."""
        try:
            return self.data.batch(self.indices(numbers), lambda i: np.random.default_rng([self.seed, 2, numbers[i]]))
        except I2IError as error:  # crosses from a loader process as a value: its sentence stays one sentence
            return error

    def indices(self, numbers: Sequence[int]) -> list[int]:
        """Return which samples of the data set these are."""
        return [self._index(number) for number in numbers]

    def _index(self, number: int) -> int:
        epoch, position = divmod(number, len(self.data))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.data))
        return int(self._order[1][position])


def stream(data: Data, train: Any, start: int, steps: int, world: World) -> Iterator[list[Batch]]:
    """Yield, for each step from `start` on, this process's micro-batches.

    A step takes the next `data.batch_size` samples; micro-batches and processes divide them in order.

    Raises:
        ConfigError: the batch cannot be divided evenly.
        DataError: a sample that the data set gave up on.
        ResourceError: a loader process died or hangs.
    """
    size, parts = data.batch_size, train.accumulate * world.size
    if size % parts:
        raise ConfigError(
            f"data.batch_size {size} cannot be divided among train.accumulate {train.accumulate} x {world.size} "
            f"process(es): make it a multiple of {parts}"
        )
    share = size // parts
    firsts = (
        step * size + (micro * world.size + world.rank) * share
        for step in range(start, steps)
        for micro in range(train.accumulate)
    )
    loader = DataLoader(
        Numbered(data, train.seed),
        batch_sampler=(list(range(first, first + share)) for first in firsts),
        collate_fn=stacked,
        num_workers=data.workers,
        timeout=train.timeout if data.workers else 0,
        worker_init_fn=quiet_worker,
        pin_memory=torch.cuda.is_available(),
    )
    micro_batches: list[Batch] = []
    batches = iter(loader)
    while True:
        try:
            batch = next(batches, None)
        except RuntimeError as error:
            raise ResourceError(
                f"a loader process died or hangs: {str(error).splitlines()[0]}; --resume goes on"
            ) from error
        if batch is None:
            return
        if isinstance(batch, I2IError):
            raise batch
        micro_batches.append(batch)
        if len(micro_batches) == train.accumulate:
            yield micro_batches
            micro_batches = []


def stacked(batch: Any) -> Any:
    """Return what `Numbered` has stacked already."""
    return batch


def quiet_worker(_: int) -> None:
    """Leave an interrupt to the main process, and the processor to the networks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


def validation_batch(data: Data, n: int = 4) -> Batch | None:
    """Return those of `n` validation samples, far apart, that have the size of the first; None if there are none."""
    samples = data.validation()
    n = min(n, len(samples))
    chosen = [samples[i * len(samples) // n] for i in range(n)]  # neighbours are often of one class
    return default_collate([sample for sample in chosen if shapes(sample) == shapes(chosen[0])]) if chosen else None


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


def validated(task: Task, data: Data, device: torch.device) -> dict[str, float]:
    """Return the mean over the validation samples of what `task.validate` says of batches of one shape."""
    sums: dict[str, float] = {}
    samples = data.validation()
    for _, alike in groupby((samples[i] for i in range(len(samples))), shapes):
        for batch in batches(alike, data.batch_size):
            for key, value in task.validate(to_device(default_collate(batch), device)).items():
                sums[key] = sums.get(key, 0.0) + float(value) * len(batch)
    return {key: total / len(samples) for key, total in sums.items()}


class Diary:
    """Writes the run folder: log, pictures, checkpoints, metrics. Only the first process writes."""

    def __init__(self, run: Path, config: Config, engine: Engine, leads: bool) -> None:
        self.run, self.config, self.engine, self.leads = run, config, engine, leads
        self.checkpoints = run / "checkpoints"
        self._dropped: set[str] = set()

    def resume(self) -> None:
        """Continue from the newest whole checkpoint, if there is one."""
        found = checkpoint.newest(self.checkpoints, say=lambda text: print(f"i2i: {text}", file=sys.stderr))
        if found is not None:
            path, state = found
            refuse_changes(state["config"], self.config.tree)
            self.engine.load_state(state["engine"])
            if self.leads:
                print(f"i2i: going on from {path} (step {self.engine.number})", file=sys.stderr)
        elif any(self.checkpoints.glob("step_*")):
            raise WeightsError(f"every checkpoint in {self.checkpoints} is damaged: start afresh with --force")

    def reopen(self, steps: int) -> dict[str, float]:
        """Return the metrics of a run that is finished; of one that goes on, forget what followed its checkpoint."""
        file = self.run / "metrics.json"
        if file.exists() and self.engine.number >= steps:
            print(f"i2i: {self.run} is finished already ({self.engine.number} steps)", file=sys.stderr)
            return dict(json.loads(file.read_text()))
        if self.leads:
            file.unlink(missing_ok=True)
            files.truncate_log(
                self.run / "log.jsonl", lambda line: line["step"] <= self.engine.number and not line.get("final")
            )
            files.write(self.run / "config.yaml", self.config.text().encode())
            files.make_folder(self.run / "samples")
        return {}

    def losses(self, outcome: StepOutcome) -> None:
        """Log the losses and learning rates of this step, and how many turns were skipped so far."""
        rates = {f"lr/{name}": o.param_groups[0]["lr"] for name, o in self.engine.optimizers.items()}
        skipped = {f"skipped/{name}": float(count) for name, count in self.engine.skipped.items()}
        self._write({**outcome.losses, **rates, **skipped}, {})

    def pictures(self, batch: Batch) -> None:
        """Write what the task shows of a validation batch to `samples/<step>.png`."""
        with self.engine.averaged() as task:
            shown = task.pictures(to_device(batch, self.engine.device))
        if shown and self.leads:
            picture = grid(shown)
            files.write(self.run / "samples" / f"{self.engine.number:08d}.png", png(picture))
            self._tell({}, {"samples": torch.from_numpy(picture)})

    def metrics(self, metrics: dict[str, float], *, final: bool) -> dict[str, float]:
        """Log an evaluation; the last one also writes metrics.json, which marks the run as finished.

        Returns:
            The metrics of the published weights, which are the best ones where `train.best` names a result.
        """
        found = {f"metric/{name}": value for name, value in metrics.items()}
        best = self._best_before(metrics)
        if self.config.train.best is not None and best is None:
            self.publish()
        self._write(found, {}, **({"final": True} if final else {}))
        told = best or {"step": self.engine.number, **metrics}
        if final and self.leads:
            files.write(self.run / "metrics.json", json.dumps(told, indent=1).encode() + b"\n")
            self._tell({}, {})
        return {name: value for name, value in told.items() if name != "step"}

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

    def _write(self, scalars: dict[str, float], images: dict[str, Tensor], **marks: bool) -> None:
        if self.leads and scalars:
            epoch = int(self.engine.number / self.engine.steps_per_epoch)
            line = {"step": self.engine.number, "epoch": epoch, **marks, **scalars}
            files.append_line(self.run / "log.jsonl", json.dumps(line))
            self._tell(scalars, images)

    def _tell(self, scalars: dict[str, float], images: dict[str, Tensor]) -> None:
        """Let the observers look; one that raises is told once and dropped for this run."""
        seen = {"run": self.run, "step": self.engine.number, "scalars": scalars, "images": images}
        for name, call in door().each("on_log", **seen):
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


def stopped(engine: Engine, run: Path) -> Stopped:
    """Say where the run stands after a signal."""
    error = Stopped(f"stopped and saved at step {engine.number} in {run}: go on with the same command and --resume")
    error.exit_code = 130 if engine.stop_signal == signal.SIGINT else 75
    return error


@contextmanager
def signals(engine: Engine) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGUSR1 end the run after the current step; a second SIGINT ends it at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and engine.stop_signal == signal.SIGINT:
            raise KeyboardInterrupt
        engine.stop_signal = number
        print("i2i: saving after this step, then stopping", file=sys.stderr)

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
