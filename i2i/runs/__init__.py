"""A run: the folder written by one training. No other package knows the names of its files.

    config.yaml        the resolved config                log.jsonl          one line per `train.log_every` steps
    checkpoints/       exact states to resume from        samples/           pictures while training
    model.safetensors  averaged weights, config inside    metrics.json       written last: the run is finished
    report.html        written by the plugin `report`     evaluations.jsonl  one line per `i2i evaluate`
    plugins.json       the files given by --plugin, with their sha256
    timing.jsonl       seconds of training                environment.jsonl  versions and device, one line per start

    folder.py      `Run`: claim a folder, read its log, metrics, pictures and config, find the newest finished run
    record.py      `Record`: what a training writes into it, and the observers that watch
    observers.py   the `on_log` hooks of plugins, which may look but not change anything
    fitting.py     what does not fit: keys with each other, networks with the channels of the data
    rehearsal.py   one step on the meta device, which shows how many channels each network gets
    resume.py      where a run continues from, and which settings may change then
    starting.py    the weights of another training to begin with: `train.start_from`
    listing.py     the files of the data set, so that a resume notices changed data
    files.py       the plugin files of a run: recorded, found again, and never loaded from untrusted files
    evaluate.py    `evaluate`: the numbers of a task on a data set, during a run and after it
    folders.py     `evaluate_folders`: the metrics of two folders of pictures, without a run
    stopping.py    SIGINT, SIGTERM, SIGUSR1 and SIGHUP end a run after the current step
    progress.py    the line on stderr
    models.py      `cards`: the models of plugins and the finished runs, for `i2i models`
    overview.py    `overviews`: the state of every run in a folder, for `i2i runs`
    settings.py    `settings_of`: the config as a table, with the defaults
    sheets.py      `sheet_of`: the sample pictures over time, for pages
    environment.py where a run was trained, and the facts about its weights
    same.py        what all processes of a training must have in common
    summary.py     what is printed at the end

The log contains no clock times, so the log of a resumed run equals that of an uninterrupted one, byte for byte.
"""

from __future__ import annotations

from .evaluate import Metrics, evaluate, evaluated, refuse_what_cannot_be_judged, threads
from .fitting import refuse_unfit_data, refuse_what_does_not_fit
from .folder import Run
from .folders import evaluate_folders
from .models import cards, file_of
from .overview import Overview, overviews
from .progress import Line, Progress
from .record import Record
from .resume import refuse_zero_rate, state_to_resume
from .same import in_common
from .settings import Setting, settings_of
from .sheets import sheet_of
from .starting import start_from
from .stopping import Stopped, signals
from .summary import summary

__all__ = [
    "Line",
    "Metrics",
    "Overview",
    "Progress",
    "Record",
    "Run",
    "Setting",
    "Stopped",
    "cards",
    "evaluate",
    "evaluate_folders",
    "evaluated",
    "file_of",
    "in_common",
    "overviews",
    "refuse_unfit_data",
    "refuse_what_cannot_be_judged",
    "refuse_what_does_not_fit",
    "refuse_zero_rate",
    "settings_of",
    "sheet_of",
    "signals",
    "start_from",
    "state_to_resume",
    "summary",
    "threads",
]
