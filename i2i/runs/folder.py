"""The folder of one training, and the names of the files in it: `Run("runs/cyclegan").metrics()`."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError
from ..plugins import PluginFile, load_files
from .environment import weights_card
from .files import load_recorded, loading


class Run:
    """A run's folder. Making a `Run` touches nothing; the folder may not exist yet.

    Attributes:
        folder: the folder as it was given.
        config_file, log_file, timing_file, environment_file, metrics_file, evaluations_file, weights_file,
            plugins_file, report_file: its files.
        checkpoints, samples: its folders.
        plugin_files: the plugin files that this process loaded for the run, see `plugins`.
        repeatable: whether this process is doing what a resume does again, so that a signal may end it at once.

    Example:
        >>> run = Run("runs/cyclegan")
        >>> run.metrics()["kid/inception"], run.log()[-1]["step"]                           # doctest: +SKIP
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config_file = self.folder / "config.yaml"
        self.log_file = self.folder / "log.jsonl"
        self.timing_file = self.folder / "timing.jsonl"
        self.environment_file = self.folder / "environment.jsonl"
        self.metrics_file = self.folder / "metrics.json"
        self.evaluations_file = self.folder / "evaluations.jsonl"
        self.weights_file = self.folder / "model.safetensors"
        self.plugins_file = self.folder / "plugins.json"
        self.report_file = self.folder / "report.html"
        self.checkpoints = self.folder / "checkpoints"
        self.samples = self.folder / "samples"
        self.plugin_files: list[PluginFile] = []
        self.repeatable = False

    @staticmethod
    def weights_of(source: str | Path) -> Path:
        """Return the weights file that `source` means: that of a run's folder, or the file itself."""
        path = Path(source).expanduser()
        return Run(path).weights_file if path.is_dir() else path

    @staticmethod
    def newest(below: str | Path = "runs") -> Run | None:
        """Return the run that finished last, at most two folders below `below`, or None."""
        return next(iter(Run.all_finished(below)), None)

    @staticmethod
    def all_finished(below: str | Path = "runs") -> list[Run]:
        """Return the finished runs at most two folders below `below`, the newest first."""
        found = [run for depth in ("*", "*/*") for run in map(Run, Path(below).glob(depth)) if run.finished]
        return sorted(found, key=lambda run: run.metrics_file.stat().st_mtime, reverse=True)

    @property
    def finished(self) -> bool:
        """Whether the training has come to its end; metrics.json is written last."""
        return self.metrics_file.exists()

    def config_text(self) -> str:
        """Return the resolved config as YAML, or "" before the run has started."""
        return files.read(self.config_file).decode() if self.config_file.exists() else ""

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the log, each with "step", "epoch" and its numbers by name, NaN if not finite."""
        return [{key: math.nan if v is None else v for key, v in line.items()} for line in self._lines(self.log_file)]

    def timing(self) -> list[dict[str, Any]]:
        """Return "seconds" since the last line and the share of them spent "waiting" for data, by "step"."""
        return self._lines(self.timing_file)

    def environment(self) -> list[dict[str, Any]]:
        """Return where it was trained: for each start, the "step" and, by name, versions, device and threads."""
        return self._lines(self.environment_file)

    def metrics(self) -> dict[str, float]:
        """Return the numbers of the final evaluation by name, with "step"; {} for a run that is not finished."""
        return json.loads(files.read(self.metrics_file)) if self.finished else {}

    def scores(self) -> dict[str, float]:
        """Return the same without "step", the numbers of metrics before those of the task's `validate`."""
        return metrics_first({key: value for key, value in self.metrics().items() if key != "step"})

    def evaluations(self) -> list[dict[str, Any]]:
        """Return what `i2i evaluate` has appended: dicts with "step", "overrides" and "metrics"."""
        return self._lines(self.evaluations_file)

    def pictures(self) -> list[Path]:
        """Return the sample pictures, the oldest first; their names are steps."""
        return sorted(self.samples.glob("*.png"))

    def card(self) -> dict[str, str]:
        """Return what there is to say about the published weights, by name; {} if there are none yet."""
        return weights_card(self.weights_file)

    def claim(self, *, resume: bool, force: bool) -> None:
        """Make the run's folder, and never mix a new run into an old one.

        Args:
            resume: continue the run in this folder.
            force: move the run in this folder aside. `drop_replaced` deletes it once the new one has started, and
                `restore_replaced` puts it back if that fails.

        Raises:
            ConfigError: the folder contains a run and neither is set, or it contains other files.
            WeightsError: another process is using the folder.
            ResourceError: the folder cannot be made.
        """
        target, aside = self._target_and_aside()
        if aside.exists():  # a start with --force was killed, unless it holds the lock and is about to train
            files.make_folder(target)
            with files.lock(target):
                (self.drop_replaced if Run(target).begun() else self.restore_replaced)()
        if force and Run(target).begun():
            if Path.cwd().is_relative_to(target):
                raise ConfigError(
                    f"{self.folder} is the current folder, which --force cannot replace: leave it first"
                )
            with files.lock(target):
                target.rename(aside)
        files.make_folder(target if self.folder.is_symlink() else self.folder)
        if resume or all(file.name[0] == "." for file in self.folder.iterdir()):
            return
        if not self.begun():
            raise ConfigError(f"{self.folder} contains other files and is not a run: choose another folder with -o")
        raise ConfigError(
            f"{self.folder} already contains a run: use --resume to continue it, --force to start over, or -o for "
            f"another folder"
        )

    def drop_replaced(self) -> None:
        """Delete the run that `claim` has moved aside, if any."""
        shutil.rmtree(self._target_and_aside()[1], ignore_errors=True)

    def restore_replaced(self) -> None:
        """Put the run back that `claim` has moved aside, if any, unless a new one has started."""
        target, aside = self._target_and_aside()
        if aside.exists():
            Run(target).forget_unstarted()
            if not target.exists():
                aside.rename(target)

    def begun(self) -> bool:
        """Return whether a run has made this folder; a config.yaml alone may lie among someone's own files."""
        if not self.config_file.is_file():  # weights of ours, with nothing beside them but what a run writes
            own = {path for path in vars(self).values() if isinstance(path, Path)}
            return bool(self.card()) and {*self.folder.iterdir()} <= own | {self.folder / ".lock"}
        if self.log_file.is_file() or self.weights_file.is_file() or any(self.checkpoints.glob("step_*")):
            return True
        return {*self.folder.iterdir()} <= {*self._first_files(), self.samples}

    def forget_unstarted(self) -> None:
        """Remove a run that has not got past its config, so that the next start does not need --force."""
        with suppress(OSError):  # e.g. a folder that is a link
            if {*self.folder.iterdir()} <= {*self._first_files()}:
                for file in self._first_files():
                    file.unlink(missing_ok=True)
                self.folder.rmdir()

    @contextmanager
    def plugins(
        self, named: str | Path | Sequence[str | Path] | None = None, *, recorded: bool = True
    ) -> Iterator[None]:
        """Load the plugin files that this run needs, for what is read or built inside.

        Args:
            named: files that the user names, loaded whatever the run has recorded.
            recorded: load those that the run has recorded too.

        Raises:
            PluginError: a named file is missing or fails.
            I2IError: what is raised inside, with one sentence more for each recorded file that could not be loaded.
        """
        given = load_files(named)
        found, notes = load_recorded(self.folder, self.plugins_file) if recorded else ([], [])
        self.plugin_files = [*given, *(file for file in found if file not in given)]
        with loading(notes):
            yield

    def _target_and_aside(self) -> tuple[Path, Path]:
        target = self.folder.resolve()  # a link to a run stays where it is
        return target, target.with_name(f".{target.name}.replaced")

    def _first_files(self) -> list[Path]:
        return [self.folder / ".lock", self.plugins_file, self.environment_file, self.config_file]

    def _lines(self, file: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in files.read(file).splitlines()] if file.exists() else []


def metrics_first(numbers: dict[str, float]) -> dict[str, float]:
    """Return the numbers of an evaluation, those of the task's `validate` last: a GAN's say little about quality."""
    return dict(sorted(numbers.items(), key=lambda item: item[0].startswith("validation/")))
