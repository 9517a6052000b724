"""A run's folder: read through `Run`, evaluated again, and the plugin files that it finds again, or must not run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import i2i
from i2i import api, checkpoint, cli, plugins
from i2i.config import Train
from i2i.data.base import Data, Sample
from i2i.data.folders import FromFolders
from i2i.data.paired import DerivedFrom
from i2i.data.stream import stream
from i2i.errors import ConfigError, DataError, I2IError, PluginError, ResourceError, WeightsError
from i2i.model import loading
from i2i.processes import ProcessGroup
from i2i.runs import Run

CONFIG = """
task:
  use: cyclegan
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 1}
  gan: {use: lsgan}
data: {use: horses_zebras, size: 64, batch_size: 1, samples: 4, validation_samples: 2}
metrics: [{use: colourfulness}]
train: {steps: 3, ema: 0.5, log_every: 1, sample_every: 3, threads: 1}
"""

PLUGIN = """
import torch
from torch import nn

from i2i import Data, Task, hookimpl


class Level(Task):
    channels, size = 1, 8

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))

    def players(self):
        return {"G": [self]}

    def step(self, batch):
        yield "G", {"l2": (batch["x"].mean() - self.level).square().sum()}

    def sample(self, n):
        return self.level.clamp(-1, 1).expand(n, 1, 8, 8)


class Grey(Data):
    def __len__(self):
        return 2

    def sample(self, index, rng):
        return {"x": torch.full((1, 8, 8), index / 2)}


class Mean:
    def __call__(self, task, data):
        return {"level": float(task.level), "drawn": float(torch.rand(()))}


@hookimpl
def register(catalog):
    catalog.task("level", Level)
    catalog.data("grey", Grey)
    catalog.metric("mean", Mean)
"""
LEVEL = "task: {use: level}\ndata: {use: grey}\nmetrics: [{use: mean}]\ntrain: {steps: 2, threads: 1}\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a tiny CycleGAN."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(CONFIG)
    return api.run(folder / "tiny.yaml", out=folder / "run")


@pytest.fixture
def another_process() -> Iterator[Any]:
    """Give a function after which no plugin file is loaded, as in a new process."""

    def forget() -> None:
        plugins.registry.cache_clear()
        loading._kept.cache_clear()
        for name in ("mine", "level"):
            sys.modules.pop(name, None)

    forget()
    yield forget
    forget()


@pytest.fixture
def level(tmp_path: Path, another_process: Any) -> Path:
    """A run whose task, data set and metric are in a plugin file, seen from another process."""
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "level.yaml").write_text(LEVEL)
    run = api.run(tmp_path / "level.yaml", out=tmp_path / "run", plugin=tmp_path / "mine.py")
    another_process()
    return run


def test_a_run_is_read_through_its_names(finished: Path) -> None:
    run = Run(finished)
    assert run.finished
    assert [line["step"] for line in run.log()] == [1, 2, 3, 3]
    assert run.metrics()["step"] == 3
    assert [path.name for path in run.pictures()] == ["00000003.png"]
    assert "use: cyclegan" in run.config_text()
    assert run.weights_file == Run.weights_of(finished) == Run.weights_of(finished / "model.safetensors")
    nothing = Run(finished / "nothing")
    assert (nothing.finished, nothing.log(), nothing.metrics(), nothing.pictures()) == (False, [], {}, [])


def test_the_newest_finished_run_is_found_up_to_two_folders_below(finished: Path, tmp_path: Path) -> None:
    assert Run.newest(tmp_path) is None
    (tmp_path / "group").mkdir()
    shutil.copytree(finished, tmp_path / "group" / "one")
    shutil.copytree(finished, tmp_path / "two")
    (tmp_path / "two" / "metrics.json").unlink()
    newest = Run.newest(tmp_path)
    assert newest is not None
    assert newest.folder == tmp_path / "group" / "one"


def test_evaluating_a_run_again_gives_the_numbers_of_its_metrics_json_exactly(
    finished: Path, level: Path, another_process: Any
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    expected = {name: value for name, value in Run(finished).metrics().items() if name != "step"}
    assert {name.split("/")[0] for name in expected} == {"validation", "colourfulness"}
    assert i2i.evaluate(finished) == expected
    assert {path: path.read_bytes() for path in before} == before
    random = i2i.evaluate(level)
    assert random == {
        "mean/level": Run(level).metrics()["mean/level"],
        "mean/drawn": Run(level).metrics()["mean/drawn"],
    }


def test_the_best_weights_of_a_run_are_evaluated_at_the_step_they_are_from(level: Path, tmp_path: Path) -> None:
    best = ["train.best=mean/drawn", "train.evaluate_every=1", "train.steps=6"]
    run = Run(api.run(tmp_path / "level.yaml", *best, out=tmp_path / "best", plugin=tmp_path / "mine.py"))
    assert run.metrics()["step"] < 6
    assert {"step": run.metrics()["step"], **i2i.evaluate(run.folder)} == run.metrics()


def test_evaluations_with_other_metrics_or_data_are_appended_with_their_overrides(finished: Path) -> None:
    have = len(Run(finished).evaluations())
    other = i2i.evaluate(finished, "metrics=[]", "data.validation_samples=1")
    assert other.keys() == {name for name in Run(finished).metrics() if name.startswith("validation/")}
    assert other != {name: Run(finished).metrics()[name] for name in other}
    assert Run(finished).evaluations()[have:] == [
        {"step": 3, "overrides": ["metrics=[]", "data.validation_samples=1"], "metrics": other}
    ]


def test_only_data_and_metrics_can_be_changed_for_an_evaluation(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can change data and metrics only, not train\.seed"):
        i2i.evaluate(finished, "train.seed=1")
    with pytest.raises(ConfigError, match="is not a run: give a folder that `i2i run` has filled"):
        i2i.evaluate(tmp_path)


def test_the_command_prints_the_numbers_and_where_they_are_written(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["i2i", "evaluate", str(finished), "metrics=[]"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    out, err = capsys.readouterr()
    names = [line.split()[0] for line in out.splitlines()]
    assert names == [name for name in Run(finished).metrics() if name.startswith("validation/")]
    assert err.splitlines()[-1] == f"i2i: appended to {finished / 'evaluations.jsonl'}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("metrics=[]", r"is finished, so --resume would ignore the changed metrics: `i2i evaluate .*run KEY=VALUE`"),
        (
            "data.validation_samples=1",
            r"started with data\.validation_samples=2 instead of 1: .*; `i2i evaluate .*run KEY=VALUE` ",
        ),
        ("train.seed=1", r"started with train\.seed=0 instead of 1: .* start another run with -o$"),
    ],
)
def test_a_finished_run_is_not_resumed_with_what_only_an_evaluation_would_use(
    finished: Path, change: str, said: str
) -> None:
    before = Run(finished).metrics()
    with pytest.raises(WeightsError, match=said):
        api.run(finished.parent / "tiny.yaml", change, out=finished, resume=True)
    assert Run(finished).metrics() == before


def test_a_longer_resume_may_change_the_metrics(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run = Run(
        api.run(finished.parent / "tiny.yaml", "metrics=[]", "train.steps=4", out=tmp_path / "run", resume=True)
    )
    assert run.metrics()["step"] == 4
    assert not any(name.startswith("colourfulness") for name in run.metrics())


def test_a_run_finds_its_unchanged_plugin_file_again(level: Path, another_process: Any) -> None:
    record = json.loads((level / "plugins.json").read_text())
    assert record["files"][0]["path"] == str(level.parent / "mine.py")
    assert i2i.load(level).task.channels == 1
    another_process()
    assert i2i.load(level / "model.safetensors").task.channels == 1
    another_process()
    assert i2i.sample(2, level).shape == (2, 1, 8, 8)
    another_process()
    api.run(level.parent / "level.yaml", "train.steps=3", out=level, resume=True)
    assert Run(level).metrics()["step"] == 3
    assert json.loads((level / "plugins.json").read_text()) == record


def test_a_changed_plugin_file_is_loaded_only_when_it_is_named(level: Path, another_process: Any) -> None:
    file = level.parent / "mine.py"
    file.write_text(PLUGIN + "raise SystemExit('this code ran')\n")
    for use in (i2i.load, i2i.evaluate, lambda run: i2i.sample(1, run), lambda run: i2i.translate("a.png", run)):
        with pytest.raises(I2IError, match=r"mine\.py', not loaded: the file has changed since then; name it with "):
            use(level)
    with pytest.raises(I2IError, match=r"(?s)the file has changed since then; name it .*unknown task 'level'"):
        api.run(level.parent / "level.yaml", "train.steps=3", out=level, resume=True)
    with pytest.raises(PluginError, match="SystemExit: this code ran"):
        i2i.load(level, plugin=file)
    another_process()
    file.write_text(PLUGIN + "# better\n")
    assert i2i.load(level, plugin=[file]).task.channels == 1
    api.run(level.parent / "level.yaml", "train.steps=3", out=level, resume=True, plugin=file)
    another_process()
    assert i2i.load(level).task.channels == 1  # the record is of the file that it was resumed with


def test_a_missing_plugin_file_is_named_with_what_to_do(level: Path) -> None:
    file = level.parent / "mine.py"
    file.rename(level.parent / "moved.py")
    with pytest.raises(
        I2IError, match=r"mine\.py', not loaded: the file is missing; name it with --plugin FILE \(plugin="
    ):
        i2i.load(level)
    assert i2i.load(level, plugin=level.parent / "moved.py").task.channels == 1


def test_a_plugin_file_that_is_not_needed_any_more_is_not_asked_for(level: Path) -> None:
    plugins.load_file((level.parent / "mine.py").rename(level.parent / "level.py"))  # as a package of it would
    assert i2i.load(level).task.channels == 1
    assert i2i.evaluate(level).keys() == {"mean/level", "mean/drawn"}


def test_weights_from_elsewhere_never_cause_code_to_be_loaded(
    level: Path, tmp_path: Path, another_process: Any
) -> None:
    (tmp_path / "sent").mkdir()
    sent = tmp_path / "sent" / "model.safetensors"
    shutil.copy(level / "model.safetensors", sent)
    assert str(tmp_path) not in checkpoint.load_model(sent)[2]["plugins"]  # the file's name, and nobody's folders
    said = r"sent.model\.safetensors was trained with --plugin 'mine\.py': name it with --plugin"
    for source in (sent, sent.parent):  # the file is there and unchanged, and yet it is not loaded
        with pytest.raises(I2IError, match=said):
            i2i.load(source)
    assert "mine" not in sys.modules
    assert i2i.load(sent, plugin=tmp_path / "mine.py").task.channels == 1
    another_process()
    tensors, text, _ = checkpoint.load_model(sent)
    for about in ("[]", "{", "7", '[{"file": 3}]', "[null]"):  # whatever the sender has written
        checkpoint.save_model(sent, tensors, text, {"step": "1", "plugins": about})
        with pytest.raises(ConfigError, match="unknown task 'level'"):
            i2i.load(sent)


def test_a_run_folder_from_elsewhere_never_causes_code_to_be_loaded(
    level: Path, tmp_path: Path, another_process: Any
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(level, copied)
    said = (
        r"copied was started with --plugin .*mine\.py', not loaded: this folder is a copy, .*; name it with --plugin"
    )
    with pytest.raises(I2IError, match=said):
        i2i.load(copied)
    record = json.loads((copied / "plugins.json").read_text())
    for forged in ([str(copied), 1], [str(level), copied.stat().st_ino], None, "copied"):
        (copied / "plugins.json").write_text(json.dumps({**record, "run": forged}))
        with pytest.raises(I2IError, match="this folder is a copy"):
            i2i.load(copied)
    for broken in ("", "[]", "{}", '{"files": [1], "run": 2}'):
        (copied / "plugins.json").write_text(broken)
        with pytest.raises(I2IError, match=r"plugins\.json cannot be read .*--plugin"):
            i2i.load(copied)
    assert "mine" not in sys.modules
    assert i2i.load(copied, plugin=tmp_path / "mine.py").task.channels == 1


def test_a_run_refused_before_its_first_step_leaves_no_record_of_plugins(
    tmp_path: Path, another_process: Any
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.replace("return 2\n", "return 0\n"))
    (tmp_path / "level.yaml").write_text(LEVEL)
    with pytest.raises(DataError, match="Grey has no training samples"):
        api.run(tmp_path / "level.yaml", out=tmp_path / "run", plugin=tmp_path / "mine.py")
    assert not (tmp_path / "run").exists()


def test_a_sampler_whose_data_has_no_validation_samples_shows_pictures(level: Path) -> None:
    assert [path.name for path in Run(level).pictures()] == ["00000002.png"]


def test_pictures_that_need_validation_samples_are_reported_missing_once(
    tmp_path: Path, another_process: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shown = 'def pictures(self, batch):\n        return {"x": batch["x"]}\n\n    def sample('
    (tmp_path / "mine.py").write_text(PLUGIN.replace("def sample(", shown, 1))
    (tmp_path / "level.yaml").write_text(LEVEL)
    run = api.run(tmp_path / "level.yaml", "train.sample_every=1", out=tmp_path / "run", plugin=tmp_path / "mine.py")
    assert Run(run).finished
    assert Run(run).pictures() == []
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        "i2i: no sample pictures, because the data set has no validation samples: Level (mine) failed in"
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "def __len__",
            "def __init__(self):\n        self.n = {}['n']\n\n    def __len__",
            "its constructor: KeyError",
        ),
        ("def __len__", "def validation(self):\n        return [][0]\n\n    def __len__", "validation: IndexError"),
        (
            "def __call__(self, task, data):\n",
            "def __call__(self, task, data):\n        1 / 0\n",
            "evaluation: ZeroDiv",
        ),
        ("def sample(self, n):\n", "def sample(self, n):\n        return n.x\n", "pictures: AttributeError"),
        (
            "def players(self):",
            "def validate(self, batch):\n        return 1 / 0\n\n    def players(self):",
            "validate: ZeroDivisionError",
        ),
    ],
)
def test_an_error_in_an_authors_code_names_the_file_and_the_line(
    tmp_path: Path, another_process: Any, old: str, new: str, said: str
) -> None:
    given = "def validation(self):\n        return [{'x': torch.zeros(1, 8, 8)}]\n\n    def sample(self, index"
    source = PLUGIN.replace(old, new, 1)
    if "validation" not in new:
        source = source.replace("def sample(self, index", given)
    (tmp_path / "mine.py").write_text(source)
    (tmp_path / "level.yaml").write_text(LEVEL)
    with pytest.raises(PluginError, match=rf"\(mine\) failed in .*{said}.* \(mine\.py line \d+, in "):
        api.run(tmp_path / "level.yaml", out=tmp_path / "run", plugin=tmp_path / "mine.py")


class Tracks(Data):
    """Sample i has i + 1 points; or it fails, or its process dies."""

    batch_size = 2

    def __init__(self, workers: int = 0, fault: Any = None) -> None:
        self.workers, self.fault = workers, fault

    def __len__(self) -> int:
        return 4

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        if self.fault is not None:
            self.fault()
        return {"id": index, "track": torch.zeros(index + 1, 2)}


def first_batch(data: Data) -> Any:
    return next(stream(data, Train(steps=1, timeout=30), 0, 1, ProcessGroup()))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_data_set_blames_its_file_and_line_also_from_a_loader_process(workers: int) -> None:
    def fault() -> None:
        raise RuntimeError("a strange format")

    said = r"Tracks \(test_runs\) failed in sample \d: RuntimeError: a strange format \(test_runs\.py line \d+"
    with pytest.raises(PluginError, match=said) as caught:
        first_batch(Tracks(workers, fault))
    assert "loader process" not in str(caught.value)


class Turned(FromFolders):
    """A data set of i2i whose pictures come in their own sizes."""

    __module__ = "i2i.data.turned"
    batch_size = 4

    def __init__(self, workers: int = 0) -> None:
        self.tracks, self.workers = Tracks(0), workers

    def __len__(self) -> int:
        return len(self.tracks)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        return self.tracks.sample(index, rng)


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_of_a_plugin_that_cannot_be_stacked_name_it_and_the_key_and_the_shapes(workers: int) -> None:
    said = r"Tracks \(test_runs\): samples \d and \d cannot be stacked, 'track' is \(\d, 2\) and \(\d, 2\): .*Data\.b"
    with pytest.raises(PluginError, match=said) as caught:
        first_batch(Tracks(workers))
    assert caught.value.exit_code == 7


def test_unequal_samples_are_blamed_on_the_data_set_that_another_one_reads() -> None:
    def tracks() -> Data:
        return Tracks(0)

    derived = DerivedFrom(tracks, "track")
    derived._pair = lambda sample, rng: sample  # type: ignore[method-assign]
    with pytest.raises(PluginError, match=r"^Tracks \(test_runs\): samples"):
        first_batch(derived)


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_that_a_data_set_of_i2i_cannot_stack_are_a_fault_of_the_data(workers: int) -> None:
    said = r"Turned: samples \d and \d cannot be stacked, 'track' .*: make them equal, or use data\.batch_size=1$"
    with pytest.raises(DataError, match=said) as caught:
        first_batch(Turned(workers))
    assert caught.value.exit_code == 3


def test_a_loader_process_that_died_is_reported_as_such() -> None:
    import os

    with pytest.raises(ResourceError, match=r"process \d+ has ended with exit code 9 .*; continue with --resume"):
        first_batch(Tracks(1, lambda: os._exit(9)))


# ---- starting over


def test_force_keeps_the_old_run_until_the_new_one_starts(tmp_path: Path) -> None:
    home = Run(tmp_path / "run")
    home.folder.mkdir()
    home.config_file.write_text("task: {}\n")
    home.log_file.write_text("{}\n")
    home.claim(resume=False, force=True)
    assert list(home.folder.iterdir()) == []
    home.restore_replaced()  # the new one could not start
    assert home.log_file.read_text() == "{}\n"
    home.claim(resume=False, force=True)
    (home.folder / ".lock").touch()  # killed here
    with pytest.raises(ConfigError, match="already contains a run"):
        home.claim(resume=False, force=False)
    assert home.log_file.exists()
    home.claim(resume=False, force=True)
    home.drop_replaced()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_another_process_cannot_undo_a_start_with_force(tmp_path: Path) -> None:
    home = Run(tmp_path / "run")
    home.folder.mkdir()
    home.config_file.write_text("task: {}\n")
    home.claim(resume=False, force=True)
    code = f"from i2i import files\nwith files.lock({str(home.folder)!r}): print('locked', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(WeightsError, match=f"in use by process {other.pid}"):
        Run(home.folder).claim(resume=False, force=False)
    other.communicate("\n")
    assert (tmp_path / ".run.replaced").exists()
    assert not home.config_file.exists()


def test_force_with_data_that_are_missing_keeps_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = Run("runs/paper/cyclegan")
    home.folder.mkdir(parents=True)
    home.config_file.write_text("task: {}\n")
    home.weights_file.write_bytes(b"weights")
    with pytest.raises(DataError, match="no such folder"):
        api.run("paper/cyclegan", force=True)
    assert home.weights_file.read_bytes() == b"weights"
    assert [path.name for path in home.folder.parent.iterdir()] == ["cyclegan"]


def test_a_longer_resume_needs_a_rate_above_zero_and_may_change_it(tmp_path: Path) -> None:
    toy = ["data.samples=20", "data.batch_size=4", "data.validation_samples=4", "metrics=[]", "train.epochs=null"]
    decay = [*toy, "schedule={use: linear_decay, start: 1, end: 2, unit: steps}", "train.log_every=1"]
    run = api.run("vae_2d", *decay, "train.steps=3", out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"ends before step 3: the remaining 2 steps would train at .* 0; extend"):
        api.run("vae_2d", *decay, "train.steps=5", out=run, resume=True)
    changes = ["schedule.end=9", "optimizer.lr=0.004", "train.steps=5"]
    api.run("vae_2d", *decay, *changes, out=run, resume=True)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rates = [line["lr/vae"] for line in lines if "lr/vae" in line]
    assert rates[3:5] == pytest.approx([0.004 * 6 / 9, 0.004 * 5 / 9])
    with pytest.raises(WeightsError, match=r"started with optimizer\.betas\.0=0\.9 instead of 0\.1"):
        api.run("vae_2d", *decay, *changes, "optimizer.betas=[0.1, 0.2]", "train.steps=6", out=run, resume=True)


def test_a_resume_with_fewer_steps_than_done_is_rejected(tmp_path: Path) -> None:
    toy = ["data.samples=20", "data.validation_samples=10", "metrics=[]"]
    run = api.run("vae_2d", *toy, "train.steps=3", out=tmp_path / "run")
    before = Run(run).config_text()
    with pytest.raises(ConfigError, match=r"is already at step 3, beyond the 2 of this config: raise train.steps"):
        api.run("vae_2d", *toy, "train.steps=2", out=run, resume=True)
    assert Run(run).config_text() == before
    assert Run(run).finished
