"""The training loop: the order of things in a run. `i2i run configs/cyclegan.yaml` ends up here.

What one step does is in engine.py; what is written, and where a run continues from, is in the room runs/.
"""

from __future__ import annotations

import logging
from functools import partial

import torch

from . import devices
from .config import Config
from .contract import check_answers
from .data.base import Data
from .data.stream import Batch, samples_of_faults, stream, validation_batch
from .engine import Engine
from .processes import ProcessGroup
from .runs import (
    Metrics,
    Progress,
    Record,
    Run,
    Stopped,
    evaluated,
    refuse_unfit_data,
    refuse_what_cannot_be_judged,
    refuse_what_does_not_fit,
    refuse_zero_rate,
    signals,
    start_from,
    state_to_resume,
)
from .speed import prepare

log = logging.getLogger("i2i")


def train(config: Config, run: Run, world: ProcessGroup, *, resume: bool = False) -> None:
    """Train and evaluate as `config` says, in the folder of `run`.

    Args:
        config: a resolved config.
        run: its folder exists, and its lock is held by the first process.
        world: the processes that train together.
        resume: continue from the newest intact checkpoint, if there is one.

    Raises:
        Stopped: after SIGINT, SIGTERM, SIGUSR1 or SIGHUP; the state was saved within a step.
    """
    settings = config.train
    prepare(settings.threads)
    metrics = [(name, metric()) for name, metric in config.metrics]  # reports a missing weights file
    engine, data, observed = ready(config, run, world, metrics, resume=resume)
    steps = settings.length(len(data), data.batch_size)
    refuse_zero_rate(engine, steps)
    record = Record(run, config, engine)
    if record.complete(steps):
        return
    check_answers(engine.task, observed or None)  # reports a broken `pictures` now, not after `sample_every` steps
    record.open(steps)
    progress = Progress(engine.number, steps, shown=world.rank == 0)
    numbers = partial(evaluated, engine, metrics, data, run, progress)
    with signals(engine, run), world.watch(lambda: engine.number), samples_of_faults(data, settings.seed):
        record.evaluation(record.missed(steps), numbers)
        for batches in progress.timed(
            devices.ahead(stream(data, settings, engine.number, steps, world), engine.device, engine.task.on_host)
        ):
            outcome = engine.step(batches)
            now = engine.number
            if now % settings.log_every == 0 or now == steps:
                record.losses(outcome)
                progress.show(now, outcome.losses)
                record.timing(progress)
            if now % settings.sample_every == 0 or now == steps:
                record.pictures(observed)
            if outcome.stop or now % settings.checkpoint_every == 0 or now == steps or record.due(steps):
                record.save()  # before an evaluation, which may take long and can be made again
            if outcome.stop and now != steps:
                raise Stopped(engine, run)
            record.evaluation(record.due(steps), numbers)
        if settings.best is None:
            record.publish()  # again, because a kill may have come between the last checkpoint and its weights
        record.metrics(numbers(final=True), final=True)
        progress.say("evaluated")
    if data.note():
        progress.say(data.note())


def ready(
    config: Config, run: Run, world: ProcessGroup, metrics: Metrics, *, resume: bool
) -> tuple[Engine, Data, Batch]:
    """Return the engine, the data and a validation batch of a run; whatever does not fit is rejected here."""
    settings, leads = config.train, world.rank == 0
    saved = state_to_resume(run, config, leads=leads) if resume else None
    torch.manual_seed(settings.seed)
    task = config.task()
    refuse_what_does_not_fit(config, task)  # before a data set is read, which may take minutes
    start_from(config, task, resumed=saved is not None, leads=leads)
    log.disabled = not leads  # problems with the pictures are reported once, by the first process
    data = config.data()
    refuse_what_cannot_be_judged(metrics, task, data)
    refuse_unfit_data(config, task, data)
    observed = validation_batch(data)
    log.disabled = False
    engine = Engine(
        task,
        config.optimizer,
        settings,
        schedule=config.schedule() if config.schedule else None,
        steps_per_epoch=len(data) / data.batch_size,
        world=world,
        device=devices.chosen(settings.device),
    )
    if saved is not None:
        engine.load_state(saved)
    return engine, data, observed
