"""The folder of one training, and the names of the files in it: `Run("runs/cyclegan").metrics()`."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError
from ..files.calls import explained
from ..files.whole import TEMPORARY
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
        """Return the finished runs at most two folders below `below` that can be read, the newest first."""
        names = [name for depth in ("*", "*/*") for name in glob.glob(depth, root_dir=below)]
        found = [(run._ended(), run) for run in (Run(Path(below, name)) for name in names)]
        return [run for ended, run in sorted(found, key=lambda one: one[0] or 0, reverse=True) if ended is not None]

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
            ResourceError: the folder cannot be made or read.
        """
        with explained(self.folder):
            self._make(force)
            if all(file.name[0] == "." for file in self.folder.iterdir()):
                return
            if not self.begun() and not (resume and self._contains_only(self._own_files())):
                raise ConfigError(
                    f"{self.folder} contains other files and is not a run: choose another folder with -o"
                )
        if not resume:
            raise ConfigError(
                f"{self.folder} already contains a run: use --resume to continue it, --force to start over, or -o "
                f"for another folder"
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
        if not self.config_file.is_file():  # what only a run writes, with nothing of someone else beside it
            ours = self.environment_file.is_file() or bool(self.card())
            return ours and self._contains_only(self._own_files())
        if self.log_file.is_file() or self.weights_file.is_file() or any(self.checkpoints.glob("step_*")):
            return True
        return self._contains_only([*self._first_files(), self.samples])

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

    def _make(self, force: bool) -> None:
        """Make the folder; with `force`, move the run in it aside. See `claim`."""
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

    def _target_and_aside(self) -> tuple[Path, Path]:
        target = self.folder.resolve()  # a link to a run stays where it is
        name = os.fsencode(target.name)
        short = target.name if len(name) < 240 else hashlib.sha256(name).hexdigest()  # a name has at most 255 bytes
        return target, target.parent / f".{short}.replaced"

    def _first_files(self) -> list[Path]:
        return [self.folder / ".lock", self.plugins_file, self.environment_file, self.config_file]

    def _own_files(self) -> list[Path]:
        return [self.folder / ".lock", *(path for path in vars(self).values() if isinstance(path, Path))]

    def _contains_only(self, own: Sequence[Path]) -> bool:
        """Return whether nothing else is in the folder, apart from what a killed save has left."""
        return all(path in own or path.name.startswith(TEMPORARY) for path in self.folder.iterdir())

    def _ended(self) -> float | None:
        """Return when the training came to its end, None if it has not or if that cannot be read."""
        try:
            return self.metrics_file.stat().st_mtime
        except OSError:
            return None

    def _lines(self, file: Path) -> list[dict[str, Any]]:
        lines = files.read(file).splitlines(keepends=True) if file.exists() else []
        if lines and not is_complete(lines[-1]):  # it is being written, or was cut off by a loss of power
            lines.pop()
        return [json.loads(line) for line in lines]


def is_complete(line: bytes) -> bool:
    """Return whether a line of a JSON log was written to its end."""
    with suppress(ValueError):
        json.loads(line)
        return line.endswith(b"\n")
    return False


def metrics_first(numbers: dict[str, float]) -> dict[str, float]:
    """Return the numbers of an evaluation, those of the task's `validate` last: a GAN's say little about quality."""
    return dict(sorted(numbers.items(), key=lambda item: item[0].startswith("validation/")))
