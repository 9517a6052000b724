"""What a training writes into its run: the log, pictures, checkpoints, weights and metrics; observers see it too."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from .. import checkpoint, files
from ..config import Config
from ..data.stream import Batch
from ..devices import crowded, move, peak_memory
from ..devices import described as described_device
from ..engine import Engine, StepOutcome
from ..errors import ConfigError, I2IError, PluginError, WeightsError, blame
from ..images import frames, gif, layout, png
from ..modalities import columns
from ..processes import beside
from ..speed import refusal
from ..version import __version__
from .environment import environment
from .files import described, write_record
from .folder import Run
from .listing import listing
from .observers import Observers
from .progress import Progress
from .resume import log_digest

log = logging.getLogger("i2i")


class Record:
    """Writes one training into its run. Only the first process writes."""

    def __init__(self, run: Run, config: Config, engine: Engine) -> None:
        self.run, self.config, self.engine, self.leads = run, config, engine, engine.world.rank == 0
        self.observers = Observers(run.folder, engine.device)
        self._files = listing(config.tree["data"]) if self.leads else {}  # for a resume over changed data
        self._blind = False  # there is nothing to show without validation samples

    def complete(self, steps: int) -> bool:
        """Return whether nothing is left to do, and then report it on stderr; damaged weights are rewritten.

        Raises:
            ConfigError: the run is already beyond this number of steps.
            WeightsError: the weights are damaged, and because of `train.best` no checkpoint has them.
        """
        if self.engine.number > steps:
            raise ConfigError(
                f"{self.run.folder} is already at step {self.engine.number}, beyond the {steps} of this config: "
                f"raise train.steps or train.epochs"
            )
        complete = self.run.finished and self.engine.number == steps
        if complete and self.leads:
            print(f"i2i: {self.run.folder} is already finished ({self.engine.number} steps)", file=sys.stderr)
        if complete:
            self._mend()
        return complete

    def _mend(self) -> None:
        """Rewrite the weights if their file is missing or damaged."""
        damage = None
        try:
            if self.leads:
                checkpoint.load_model(self.run.weights_file)
        except WeightsError as error:
            damage = error
        if self.config.train.best is None:
            self.publish(better=damage is not None)
        elif damage is not None:
            raise damage
        if damage is not None:
            print(f"i2i: {self.run.weights_file} was missing or damaged, and has been rewritten", file=sys.stderr)

    def open(self, steps: int) -> None:
        """Open the run for writing; what was logged after the checkpoint is forgotten.

        So is the final evaluation of a run that trains longer, unless the published weights may be the best ones.
        """
        if self.leads:
            print(f"i2i: {how(self.engine)}", file=sys.stderr)
            crowd = crowded(torch.get_num_threads(), beside()) if self.engine.device.type == "cpu" else ""
            if crowd:
                print(f"i2i: {crowd}", file=sys.stderr)
            self.run.drop_replaced()
            self.run.metrics_file.unlink(missing_ok=True)
            last = steps if self.config.train.best is not None else 0  # a final evaluation before it is kept
            files.truncate_log(
                self.run.log_file,
                lambda line: line["step"] <= self.engine.number and (not line.get("final") or line["step"] < last),
            )
            if last and self.run.log_file.exists():  # what is kept is no longer the final one
                kept = files.read(self.run.log_file)
                files.write(self.run.log_file, kept.replace(b'"final": true, ', b""))
            files.truncate_log(self.run.timing_file, lambda line: line["step"] <= self.engine.number)
            files.write(self.run.config_file, self.config.text().encode())  # the first file, which makes it a run
            write_record(self.run.plugins_file, self.run.plugin_files)
            files.append_line(self.run.environment_file, json.dumps(environment(self.engine)))

    def due(self, steps: int) -> bool:
        """Return whether an evaluation follows this step; the final one does not count."""
        every, number = self.config.train.evaluate_every or steps, self.engine.number
        return number % every == 0 and 0 < number < steps

    def missed(self, steps: int) -> bool:
        """Return whether the evaluation that follows this step is not in the log: the run was stopped in it."""
        lines = [line for line in self.run.log() if line["step"] == self.engine.number]
        return self.due(steps) and not any(name.startswith("metric/") for line in lines for name in line)

    def evaluation(self, due: bool, numbers: Callable[[], dict[str, float]]) -> None:
        """Evaluate and log the numbers, if an evaluation is due."""
        if due:
            self.metrics(numbers(), final=False)

    def losses(self, outcome: StepOutcome) -> None:
        """Log losses, learning rates, norms of gradients, turns skipped so far, and an accelerator's peak memory."""
        losses, peak = outcome.losses, peak_memory(self.engine.device)
        rates = {f"lr/{name}": o.param_groups[0]["lr"] for name, o in self.engine.optimizers.items()}
        skipped = {f"skipped/{name}": float(count) for name, count in self.engine.skipped.items()}
        self._write(
            {
                **losses,
                **rates,
                **self.engine.norms,
                **skipped,
                **({} if peak is None else {"memory/peak_mb": peak / 2**20}),
            }
        )

    def timing(self, progress: Progress) -> None:
        """Log how fast the training is: in a file of its own, because log.jsonl is equal in every run of a config."""
        if self.leads:
            line = {"step": self.engine.number, "seconds": round(progress.seconds, 3)}
            files.append_line(self.run.timing_file, json.dumps({**line, "waiting": round(progress.waiting, 3)}))

    def pictures(self, batch: Batch) -> None:
        """Write what the task shows of a validation batch to `samples/<step>.png`, with clips also to a .gif.

        The .png shows the middle of the clips.

        Args:
            batch: validation samples, or {} for a data set that has none: a task that samples needs none. Where the
                task does need them, this is reported once and no pictures are written.

        Raises:
            PluginError: the task raised; names its file and line.
        """
        if self._blind:
            return
        try:
            with self.engine.averaged() as task, blame(task, "pictures"):
                drawn = columns(task.pictures(move(batch, self.engine.device, task.on_host)), task.makes)
        except I2IError as error:
            if batch:
                raise
            why = f": {error}" if isinstance(error, PluginError) else ""
            log.warning("i2i: no sample pictures, because the data set has no validation samples%s", why)
            self._blind, drawn = True, {}
        if not drawn and not batch and not self._blind:
            log.warning("i2i: no sample pictures, because the data set has no validation samples")
            self._blind = True
        if drawn and self.leads:
            sheets, name = frames(drawn), f"{self.engine.number:08d}"
            still, places = sheets[len(sheets) // 2], layout({name: cells.shape for name, cells in drawn.items()})
            files.make_folder(self.run.samples)
            files.write(self.run.samples / f"{name}.png", png(still, {"columns": json.dumps(places)}))
            if len(sheets) > 1:
                files.write(self.run.samples / f"{name}.gif", gif(sheets))
            self._notify(images={"samples": torch.from_numpy(still)})

    def metrics(self, metrics: dict[str, float], *, final: bool) -> None:
        """Log an evaluation, and publish the weights if it is the best so far and `train.best` asks for these.

        The final one also writes metrics.json, about the published weights, which marks the run as finished.
        """
        best = self._best_before(metrics)
        if self.config.train.best is not None:
            self.publish(better=best is None)
        marks = {"final": True} if final else {}
        self._write({f"metric/{name}": value for name, value in metrics.items()}, **marks)
        if final and self.leads:
            published = best or {"step": self.engine.number, **metrics}
            files.write(self.run.metrics_file, json.dumps(published, indent=1).encode() + b"\n")
            self._notify()

    def _best_before(self, metrics: dict[str, float]) -> dict[str, float] | None:
        """Return the evaluation of the published weights, if `train.best` asks for the best and this is no better."""
        name, sign = self.config.train.best, 1 if self.config.train.best_is == "highest" else -1
        if name is None:
            return None
        if name not in metrics:
            raise ConfigError(
                f"train.best: no evaluation gives '{name}'; possible: {', '.join(metrics)}: continue with "
                f"--resume train.best=NAME"
            )
        at = self._published() if self.leads else None
        lines = [line for line in self.run.log() if line["step"] == at]
        known = [line for line in lines if not math.isnan(line.get(f"metric/{name}", math.nan))]
        if not known or sign * metrics[name] > sign * known[-1][f"metric/{name}"]:
            return None
        numbers = {key.removeprefix("metric/"): v for key, v in known[-1].items() if key.startswith("metric/")}
        return {"step": known[-1]["step"], **numbers}

    def _published(self) -> int | None:
        """Return the step of the published weights; None if there are none, or if they are damaged."""
        try:
            return int(checkpoint.load_model(self.run.weights_file)[2]["step"])
        except (WeightsError, LookupError, ValueError):
            return None

    def save(self) -> None:
        """Write a checkpoint, and the weights that `i2i translate` uses unless only the best ones are wanted."""
        state = {"engine": self.engine.state(), "config": self.config.tree}  # from all, if they share the networks
        if self.leads:
            state |= {"log": log_digest(self.run.log_file), "data": self._files}
            checkpoint.save(self.run.checkpoints, self.engine.number, state, keep=self.config.train.keep)
        del state  # it may be a copy, as large as all that was divided
        if self.config.train.best is None:
            self.publish()

    def publish(self, *, better: bool = True) -> None:
        """Write `model.safetensors`, if it is better: the averaged weights, with the config inside."""
        weights = self.engine.weights()  # from all, even if one has read too old a log to know whether it is better
        if self.leads and better:
            about = {"step": str(self.engine.number), "i2i": __version__, **described(self.run.plugin_files)}
            own = {name: value.cpu() for name, value in weights.items()}
            checkpoint.save_model(self.run.weights_file, own, self.config.text(), about)

    def _write(self, scalars: dict[str, float], **marks: bool) -> None:
        if self.leads and scalars:
            epoch = int(self.engine.number / self.engine.steps_per_epoch)
            finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}  # for JSON
            line = {"step": self.engine.number, "epoch": epoch, **marks, **finite}
            files.append_line(self.run.log_file, json.dumps(line))
            self._notify(scalars)

    def _notify(self, scalars: dict[str, float] | None = None, images: dict[str, Tensor] | None = None) -> None:
        self.observers.notify(self.engine.number, scalars or {}, images or {})


def how(engine: Engine) -> str:
    """Return on which device, in which precision and with which kernels an engine trains."""
    train, device, precision = engine.train, engine.device, engine.precision
    why = refusal(train.speed, train.precision, device)
    kernels = f", {engine.kernels.described()}" if device.type == "cpu" and precision == "fp32" else ""
    as_asked = f", because {why}" if why else ""
    return f"training on {described_device(device)} in {precision}{as_asked}{kernels} (train.speed={train.speed})"
