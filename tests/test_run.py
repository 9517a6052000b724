"""A run from config to folder: kills, signals, resumes, errors. Cases F, C11, C12, D10, E10."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command import i2i_command, i2i_process
from PIL import Image

import i2i
from i2i import api, checkpoint, files, loop
from i2i.data.stream import validation_batch
from i2i.errors import ConfigError, DataError, ResourceError, WeightsError
from i2i.files import calls
from i2i.metrics.base import validated
from i2i.runs import Line, Run, evaluate, observers, record
from i2i.runs.resume import allowed_changes

ROOT = Path(__file__).parent.parent
CONFIG = """
task:
  use: cyclegan
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 1}
  gan: {use: lsgan}
  pool: 3
data: {use: horses_zebras, size: 64, batch_size: 1, samples: 6, validation_samples: 2}
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 6, ema: 0.9, log_every: 1, sample_every: 3, checkpoint_every: 2, keep: 2, threads: 1}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the config of a CycleGAN that trains in a second."""
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def final_state(run: Path) -> dict[str, bytes]:
    names = ["model.safetensors", "log.jsonl", "metrics.json", "checkpoints/step_00000006/state.safetensors"]
    return {name: (run / name).read_bytes() for name in names}


def followed(first: Any, call: Any, *arguments: Any, **keywords: Any) -> Any:
    first(*arguments)
    return call(*arguments, **keywords)


def test_a_run_writes_its_files(config: Path, tmp_path: Path) -> None:
    done = i2i_command("run", config, cwd=tmp_path)
    run = tmp_path / "runs" / "tiny"
    assert done.returncode == 0, done.stderr
    for name in (
        "config.yaml",
        "log.jsonl",
        "metrics.json",
        "report.html",
        "model.safetensors",
        "samples/00000006.png",
    ):
        assert (run / name).stat().st_size > 0, name
    assert "runs/tiny/report.html" in done.stdout
    assert "i2i translate FILES -o OUT -m runs/tiny" in done.stdout
    assert "step 6/6" in done.stderr
    assert "it/s" in done.stderr or "s/it" in done.stderr
    assert [line["step"] for line in logged(run)][:6] == [1, 2, 3, 4, 5, 6]
    page = (run / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http-equiv=refresh" not in page
    again = i2i_command("run", config, cwd=tmp_path)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    assert "Traceback" not in again.stderr
    resumed = i2i_command("run", config, "--resume", cwd=tmp_path)
    assert resumed.returncode == 0
    assert "already finished" in resumed.stderr
    assert "continuing" not in resumed.stderr


@pytest.mark.timeout(400)
def test_F1_F2_F3_a_run_killed_twenty_times_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "--kills", "20", "--kinds", "cyclegan"],
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["kills"] == 20


def test_F14_runs_with_the_same_seed_are_equal_and_another_seed_differs(config: Path, tmp_path: Path) -> None:
    one = api.run(config, out=tmp_path / "one")
    two = api.run(config, out=tmp_path / "two")
    other = api.run(config, "train.seed=1", out=tmp_path / "other")
    assert final_state(one) == final_state(two)
    assert final_state(one)["log.jsonl"] != final_state(other)["log.jsonl"]


@pytest.mark.timeout(300)
def test_F2_a_run_killed_at_any_point_of_a_save_resumes_exactly(config: Path, tmp_path: Path) -> None:
    whole = final_state(api.run(config, out=tmp_path / "whole"))
    write_folder = files.write_folder
    for last in (1, 4, 9, 13, 16):  # system calls: a save takes 15, then the weights are published
        child = os.fork()
        if child == 0:
            left = iter(range(last - 1, -1, -1))

            def system(call: Any, *arguments: Any) -> Any:
                return call(*arguments) if next(left) else os.kill(os.getpid(), signal.SIGKILL)  # noqa: B023

            def killing(path: Path, contents: Any) -> None:
                if path.name == "step_00000004":
                    calls.system = system
                write_folder(path, contents)

            files.write_folder = killing
            try:
                api.run(config, out=tmp_path / f"{last}")
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        there = {path.name for path in (tmp_path / f"{last}" / "checkpoints").glob("step_*")}
        assert there == ({"step_00000002"} if last < 14 else {"step_00000002", "step_00000004"})
        assert final_state(api.run(config, out=tmp_path / f"{last}", resume=True)) == whole, last


def test_resuming_without_a_checkpoint_reports_that_it_starts_at_step_0(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.run(config, "train.steps=1", out=tmp_path / "typo", resume=True)
    assert "typo contains no checkpoint to continue from: starting at step 0" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_F13_the_number_of_loader_processes_changes_nothing(config: Path, tmp_path: Path, workers: int) -> None:
    none = api.run(config, "data.workers=0", out=tmp_path / "none")
    some = api.run(config, f"data.workers={workers}", out=tmp_path / "some")
    assert (none / "log.jsonl").read_bytes() == (some / "log.jsonl").read_bytes()


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGUSR1", 75), ("SIGHUP", 75), ("SIGINT", 130)])
def test_F4_a_signal_saves_within_a_step_and_the_run_can_be_resumed(
    config: Path, tmp_path: Path, name: str, code: int
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "i2i", "run", str(config), "train.steps=100000", "-o", str(run)]
    before = signal.signal(getattr(signal, name), signal.default_int_handler)  # even if these tests run under nohup
    try:
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(getattr(signal, name), before)
    deadline = time.monotonic() + 60
    while not (run / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(getattr(signal, name))
    _, errors = child.communicate(timeout=30)
    assert child.returncode == code, errors
    last = sorted((run / "checkpoints").glob("step_*"))[-1]
    assert int(last.name.split("_")[1]) == logged(run)[-1]["step"]
    assert "--resume" in errors.splitlines()[-1]
    steps = logged(run)[-1]["step"] + 3
    resumed = api.run(config, f"train.steps={steps}", out=run, resume=True)
    assert api.load(resumed).source == run / "model.safetensors"


def test_F15_a_training_survives_the_loss_of_its_terminal(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "i2i", "run", str(config), "train.log_every=1", "-o", str(run)]
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}  # as in many containers
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=unbuffered)
    assert child.stderr is not None
    child.stderr.close()
    assert child.wait(timeout=60) == 0
    assert (run / "metrics.json").exists()
    whole = api.run(config, "train.log_every=1", out=tmp_path / "whole")
    assert final_state(run)["model.safetensors"] == final_state(whole)["model.safetensors"]


@pytest.mark.parametrize("streams", ["2>&1 | head -1", "2>/dev/full >/dev/full", "2>&- >&-", "<&- >&- 2>&-"])
def test_F15_streams_that_cannot_be_written_are_no_error_of_a_run(streams: str, config: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m i2i run {config} train.log_every=1 -o run {streams}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("command", ["configs", "models"])
def test_a_list_that_nobody_reads_ends_quietly_as_by_sigpipe(command: str) -> None:
    line = f"{sys.executable} -m i2i {command} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_F4_a_second_interrupt_ends_the_run_at_once(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    plugin = tmp_path / "sleepy.py"
    plugin.write_text(
        "import time\nfrom i2i import hookimpl\n@hookimpl\ndef on_log(step):\n"
        "    if step == 3:\n        time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "i2i", "run", str(config), "-o", str(run), "--plugin", str(plugin)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while (not (run / "log.jsonl").exists() or logged(run)[-1]["step"] < 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    assert child.returncode == 130
    found = checkpoint.newest(run / "checkpoints", say=pytest.fail)
    assert found is not None
    assert found[0].name == "step_00000002"
    plugin.unlink()  # otherwise the run would load it again
    api.run(config, out=run, resume=True)
    assert final_state(run) == final_state(api.run(config, out=tmp_path / "unbroken"))


def test_F4_a_second_interrupt_while_saving_keeps_the_previous_checkpoint(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def twice(path: Path, contents: Any) -> None:
        if path.name == "step_00000004":
            monkeypatch.setattr(calls, "system", interrupted)
        files.whole.write_folder(path, contents)

    def interrupted(call: Any, *arguments: Any) -> Any:
        if call is os.fsync:  # half of the checkpoint is written
            monkeypatch.undo()
            signal.raise_signal(signal.SIGINT)
            assert capsys.readouterr().err.endswith("; press Ctrl-C again to stop at once, without saving\n")
            signal.raise_signal(signal.SIGINT)
        return call(*arguments)

    monkeypatch.setattr(files, "write_folder", twice)
    with pytest.raises(KeyboardInterrupt):
        api.run(config, out=tmp_path / "run")
    assert capsys.readouterr().err == "i2i: stopped at once; --resume continues from the last checkpoint\n"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000002"]


def test_F6_a_nan_stops_the_run_and_is_in_no_checkpoint(config: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "burst.py"
    plugin.write_text(
        "from i2i import hookimpl\nfrom i2i_cyclegan import CycleGAN\n"
        "class Burst(CycleGAN):\n"
        "    n = 0\n"
        "    def step(self, batch):\n"
        "        for player, losses in super().step(batch):\n"
        "            Burst.n += batch['A'].device.type == 'cpu'  # not in the rehearsal\n"
        "            if Burst.n > 8:\n"
        "                losses = {k: v * float('nan') for part in losses for k, v in part().items()}\n"
        "            yield player, losses\n"
        "@hookimpl\ndef register(catalog):\n    catalog.task('burst', Burst)\n"
    )
    run = tmp_path / "run"
    done = i2i_command("run", config, "task.use=burst", "-o", run, "--plugin", plugin, cwd=tmp_path)
    assert done.returncode == 5
    assert "step 4: a loss of player 'G' is not finite" in done.stderr
    order = np.random.default_rng([0, 1, 0]).permutation(6)  # of the samples in the first epoch
    assert done.stderr.rstrip().endswith(f"; samples of this step: {order[4]}")
    assert "Traceback" not in done.stderr
    path, state = checkpoint.newest(run / "checkpoints", say=print)
    assert path.name == "step_00000004"
    tensors = checkpoint.pack(state)[0]
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())
    skipped = i2i_command(
        "run",
        config,
        "task.use=burst",
        "train.on_nan=skip",
        "train.log_every=3",
        "-o",
        tmp_path / "skip",
        "--plugin",
        plugin,
        cwd=tmp_path,
    )
    assert skipped.returncode == 0, skipped.stderr
    assert [line.get("skipped/G") for line in logged(tmp_path / "skip")[:2]] == [None, 2.0]  # of steps 3 and 6
    assert "Turns skipped because of NaN" in (tmp_path / "skip" / "report.html").read_text()


def test_E10_an_exception_in_a_step_names_the_task_and_keeps_the_checkpoint(config: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "faulty.py"
    plugin.write_text(
        "from i2i import hookimpl\nfrom i2i_cyclegan import CycleGAN\n"
        "class Faulty(CycleGAN):\n"
        "    n = 0\n"
        "    def step(self, batch):\n"
        "        Faulty.n += batch['A'].device.type == 'cpu'  # not in the rehearsal\n"
        "        if Faulty.n == 4:\n"
        "            batch['style']\n"
        "        yield from super().step(batch)\n"
        "@hookimpl\ndef register(catalog):\n    catalog.task('faulty', Faulty)\n"
    )
    run = tmp_path / "run"
    done = i2i_command("run", config, "task.use=faulty", "-o", run, "--plugin", plugin, cwd=tmp_path)
    assert done.returncode == 7
    assert "Faulty (faulty) failed in step 3: MissingEntry: there is no 'style', the samples have " in done.stderr
    assert "(faulty.py line 8, in step)" in done.stderr
    assert [p.name for p in (run / "checkpoints").glob("step_*")] == ["step_00000002"]


def test_an_observer_that_raises_is_dropped_and_the_run_continues(config: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "noisy.py"
    plugin.write_text("from i2i import hookimpl\n@hookimpl\ndef on_log(step):\n    raise ValueError('boom')\n")
    done = i2i_command("run", config, "--plugin", plugin, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("plugin 'noisy' failed in on_log and is dropped for this run: ValueError('boom')") == 1


def test_E8_an_observer_can_change_neither_the_training_nor_the_process(config: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "meddling.py"
    plugin.write_text(
        "import os, random, numpy, torch\nfrom i2i import hookimpl\n@hookimpl\ndef on_log(step):\n"
        "    torch.set_default_dtype(torch.float64)\n    torch.set_grad_enabled(False)\n    os.chdir('/')\n"
        "    torch.set_num_threads(torch.get_num_threads() + 1)\n"
        "    torch.manual_seed(step), numpy.random.seed(step), random.seed(step)\n"
        "    if step == 2:\n        raise SystemExit(9)\n"
    )
    watched = i2i_command("run", config, "--plugin", plugin, "-o", "watched", cwd=tmp_path)
    assert watched.returncode == 0, watched.stderr
    assert "plugin 'meddling' changed torch's default dtype in on_log; it was set back" in watched.stderr
    assert watched.stderr.count("the working folder") == 1
    assert watched.stderr.count("changed the random state of torch, numpy, Python in on_log; it was set back") == 1
    assert "plugin 'meddling' failed in on_log and is dropped for this run: SystemExit(9)" in watched.stderr
    plain = api.run(config, out=tmp_path / "plain")
    assert final_state(tmp_path / "watched")["log.jsonl"] == final_state(plain)["log.jsonl"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_deleted_working_folder_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    gone, seen = tmp_path / "gone", []

    def on_log() -> None:
        seen.append(1)
        if gone.exists():
            gone.rmdir()

    plugins = SimpleNamespace(each=lambda *_, **__: [("mine", on_log)])
    monkeypatch.setattr(observers, "registry", lambda: plugins)
    gone.mkdir()
    monkeypatch.chdir(gone)
    if when == "before":
        gone.rmdir()
    observers.Observers(tmp_path, torch.device("cpu")).notify(1, {}, {})
    assert seen == [1]


def test_E8_an_observer_that_draws_no_random_numbers_is_not_reported(config: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "quiet.py"
    plugin.write_text(
        "import numpy, random, torch\nfrom i2i import hookimpl\n@hookimpl\ndef on_log(step):\n"
        "    numpy.random.default_rng(0).random(), random.Random(0).random()\n"
        "    torch.rand(1, generator=torch.Generator())\n"
    )
    done = i2i_command("run", config, "--plugin", plugin, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "quiet" not in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "task.generator={use: resnet_generator, masked: true, out_channels: 2}",
            "in_channels is 3 and out_channels 2",
        ),
        ("optimizer={G: {use: adam}}", r"given for \['G'\], but the task has the players \['D', 'G'\]"),
        ("train.best=kid/inception", "no metric has that name: validation"),
    ],
)
def test_C10_incompatible_settings_are_rejected_before_any_data_is_read(
    config: Path, tmp_path: Path, change: str, said: str
) -> None:
    data = f"data={{use: unpaired_folders, root: {tmp_path / 'nowhere'}}}"
    with pytest.raises(ConfigError, match=said):
        api.run(config, data, change, out=tmp_path / "run")


def test_C12_a_run_rejected_before_its_first_step_leaves_no_folder(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(DataError, match=r"65x65 pixels .* multiples of 4, .*data\.size"):
        api.run(config, "data.size=65", out=run)
    assert not run.exists()
    api.run(config, "train.steps=1", out=run)


def test_C11_a_resume_rejects_another_task_and_allows_more_steps(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = api.run(config, "train.steps=2", out=tmp_path / "run")
    with pytest.raises(WeightsError, match=r"started with task\.lambda_cycle=[\d.]+ instead of [\d.]+"):
        api.run(config, "task.lambda_cycle=5", out=run, resume=True)
    with pytest.raises(
        WeightsError, match=r"started with data\.use=\w+ instead of \w+, "
    ):  # before the folder is read
        api.run(config, "data={use: unpaired_folders, root: nowhere}", out=run, resume=True)
    with pytest.raises(WeightsError, match=r"run is a run of the task cyclegan, not gan: start another run with -o"):
        api.run(ROOT / "configs" / "gan.yaml", out=run, resume=True)
    api.run(config, "train.steps=4", "train.keep=1", out=run, resume=True)
    assert "i2i: resuming with changed train.steps, train.keep\n" in capsys.readouterr().err
    assert logged(run)[-1]["step"] == 4
    assert "lambda_cycle: 10.0" in (run / "config.yaml").read_text()


def test_C11_a_resume_without_checkpoints_overwrites_no_model_and_rejects_another_task(
    config: Path, tmp_path: Path
) -> None:
    run = api.run(config, "train.steps=2", out=tmp_path / "run")
    shutil.rmtree(run / "checkpoints")  # to save space
    kept = {name: (run / name).read_bytes() for name in ("model.safetensors", "config.yaml", "metrics.json")}
    with pytest.raises(
        WeightsError, match=r"started with task\.lambda_cycle=[\d.]+ instead of [\d.]+: repeat its overrides"
    ):
        api.run(config, "train.steps=2", "task.lambda_cycle=5", out=run, resume=True)
    for steps in (2, 4):
        with pytest.raises(WeightsError, match=r"contains a trained model but no checkpoint .*--force .* -o for"):
            api.run(config, f"train.steps={steps}", out=run, resume=True)
    (run / "metrics.json").rename(tmp_path / "metrics.json")  # as in a stopped run
    with pytest.raises(WeightsError, match="contains a trained model but no checkpoint"):
        api.run(config, "train.steps=2", out=run, resume=True)
    (tmp_path / "metrics.json").rename(run / "metrics.json")
    assert {name: (run / name).read_bytes() for name in kept} == kept
    for name in ("model.safetensors", "metrics.json"):
        (run / name).unlink()
    with pytest.raises(WeightsError, match=r"started with task\.lambda_cycle=[\d.]+ instead of [\d.]+"):
        api.run(config, "task.lambda_cycle=5", out=run, resume=True)
    api.run(config, "train.steps=2", out=run, resume=True)
    assert (run / "model.safetensors").read_bytes() == kept["model.safetensors"]


def test_a_run_with_best_weights_but_no_checkpoint_can_be_resumed(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = ["train.best=validation/cycle_a", "train.best_is=lowest", "train.evaluate_every=1"]
    with monkeypatch.context() as patched:
        interrupt = partial(signal.default_int_handler, signal.SIGINT, None)  # once an evaluation has published
        patched.setattr(loop.Record, "save", lambda self: self.run.weights_file.exists() and interrupt())
        with pytest.raises(KeyboardInterrupt):
            api.run(config, *best, "train.steps=2", out=tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").exists()
    run = api.run(config, *best, "train.steps=2", out=tmp_path / "run", resume=True)
    assert (run / "metrics.json").exists()


def test_C12_a_run_is_overwritten_only_with_force(config: Path, tmp_path: Path) -> None:
    run = api.run(config, out=tmp_path / "run")
    before = final_state(run)
    with pytest.raises(ConfigError, match="already contains a run"):
        api.run(config, out=run)
    assert final_state(run) == before
    (tmp_path / "link").symlink_to(run)
    for seed, out in enumerate((run, tmp_path / "link"), 3):
        api.run(config, f"train.seed={seed}", out=out, force=True)
        before, old = final_state(run), before
        assert before["log.jsonl"] != old["log.jsonl"]
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("flag", ["--resume", "--force"])
def test_D15_a_run_in_use_is_rejected_with_the_process_id(config: Path, tmp_path: Path, flag: str) -> None:
    run = api.run(config, "train.steps=2", out=tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    with files.lock(run):
        done = i2i_process("run", config, "-o", run, flag, cwd=tmp_path)
    assert done.returncode == 4
    assert f"{run} is in use by process {os.getpid()}: " in done.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_C12_force_does_not_delete_a_folder_that_is_not_a_run(config: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("text")
    with pytest.raises(ConfigError, match="precious"):
        api.run(config, out=precious, force=True)
    assert (precious / "thesis.txt").read_text() == "text"
    said = "precious contains other files and is not a run: choose another folder with -o"
    (precious / "config.yaml").write_text(config.read_text())  # a config alone does not make it a run
    for force in (False, True):
        with pytest.raises(ConfigError, match=said):
            api.run(precious / "config.yaml", out=precious, force=force)
    assert {file.name for file in precious.iterdir()} == {"thesis.txt", "config.yaml"}


def test_C12_resume_does_not_train_into_a_folder_that_is_not_a_run(config: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "me.jpg").write_text("picture")
    said = "photos contains other files and is not a run: choose another folder with -o"
    for resume, force in ((True, False), (True, True), (False, True)):
        with pytest.raises(ConfigError, match=said):
            api.run(config, out=photos, resume=resume, force=force)
    assert [file.name for file in photos.iterdir()] == ["me.jpg"]
    for names in ([], [".hidden"], [".lock"], ["log.jsonl", "samples", ".lock"], ["environment.jsonl", ".lock"]):
        home = Run(tmp_path / "-".join(["fresh", *names]))
        home.folder.mkdir()
        for name in names:
            (home.folder / name).touch()
        home.claim(resume=True, force=False)


@pytest.mark.parametrize("last", ["config.yaml", "plugins.json", "environment.jsonl"])
def test_C12_a_run_killed_between_its_first_files_can_be_replaced(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    def killed(path: Path, *_: object) -> None:
        if path.name == last:
            (path.parent / f".tmp-i2i-{last}-1-ab").touch()
            raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Run, "forget_unstarted", lambda self: None)
        for module, name in ((files, "append_line"), (files, "write"), (record, "write_record")):
            patched.setattr(module, name, partial(followed, killed, getattr(module, name)))
        with pytest.raises(MemoryError):
            api.run(config, "train.steps=1", out=tmp_path / "run")
    api.run(config, "train.steps=1", out=tmp_path / "run", force=True)
    assert logged(tmp_path / "run")[-1]["step"] == 1


def test_C12_what_older_versions_left_of_a_start_can_be_replaced(tmp_path: Path) -> None:
    home = Run(tmp_path / "run")
    home.folder.mkdir()
    home.environment_file.write_text("{}\n")
    (home.folder / ".lock").touch()
    with pytest.raises(ConfigError, match="already contains a run"):
        home.claim(resume=False, force=False)
    home.claim(resume=False, force=True)
    assert list(home.folder.iterdir()) == []
    (home.folder / "thesis.txt").touch()
    (home.folder / "environment.jsonl").touch()
    with pytest.raises(ConfigError, match="contains other files and is not a run"):
        home.claim(resume=False, force=True)


@pytest.mark.parametrize("length", [240, 250, 255])
def test_a_long_name_of_a_run_can_be_claimed_and_replaced(tmp_path: Path, length: int) -> None:
    home = Run(tmp_path / ("x" * length))
    home.claim(resume=False, force=False)
    home.config_file.write_text("task: {}\n")
    home.claim(resume=False, force=True)
    home.restore_replaced()
    assert home.config_file.read_text() == "task: {}\n"
    home.claim(resume=False, force=True)
    home.drop_replaced()
    assert list(tmp_path.iterdir()) == [home.folder]
    with pytest.raises(ResourceError, match=r"cannot write x{300}: File name too long; .*-o"):
        Run("x" * 300).claim(resume=False, force=False)


def test_the_root_folder_is_not_a_run() -> None:
    with pytest.raises(ConfigError, match=r"^/ contains other files and is not a run: choose another"):
        Run("/").claim(resume=False, force=True)


def test_C12_force_replaces_a_model_of_ours_but_nothing_else(config: Path, tmp_path: Path) -> None:
    run = api.run(config, "train.steps=1", out=tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    (run / "config.yaml").unlink()
    (run / "thesis.txt").write_text("text")
    with pytest.raises(ConfigError, match="contains other files and is not a run"):
        api.run(config, "train.steps=2", out=run, force=True)
    (run / "thesis.txt").unlink()
    with pytest.raises(ConfigError, match="already contains a run"):
        api.run(config, "train.steps=2", out=run)
    api.run(config, "train.steps=2", out=run, force=True)
    assert logged(run)[-1]["step"] == 2


def test_C12_force_restarts_an_incomplete_run(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(config.read_text())
    (run / ".lock").touch()
    with pytest.raises(ConfigError, match="already contains a run"):
        api.run(config, "train.steps=1", out=run)
    api.run(config, "train.steps=1", out=run, force=True)
    (run / "log.jsonl").unlink()
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ConfigError, match="already contains a run"):  # the rest still counts as a run
        api.run(config, "train.steps=1", out=run)
    api.run(config, "train.steps=1", out=run, force=True)
    assert (run / "log.jsonl").exists()


def test_a_damaged_newest_checkpoint_is_reported_and_the_previous_one_used(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = api.run(config, out=tmp_path / "whole")
    run = api.run(config, "train.steps=4", out=tmp_path / "run")
    newest = run / "checkpoints" / "step_00000004" / "state.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    api.run(config, out=run, resume=True)
    assert "step_00000004" in capsys.readouterr().err
    assert final_state(run)["model.safetensors"] == final_state(whole)["model.safetensors"]


def test_a_run_with_only_damaged_checkpoints_is_not_silently_restarted(config: Path, tmp_path: Path) -> None:
    run = api.run(config, "train.steps=2", out=tmp_path / "run")
    state = run / "checkpoints" / "step_00000002" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"every checkpoint in .* is damaged: start over with --force"):
        api.run(config, out=run, resume=True)


def test_a_run_killed_after_its_last_evaluation_logs_it_only_once(config: Path, tmp_path: Path) -> None:
    run = api.run(config, out=tmp_path / "run")
    before = final_state(run)
    (run / "metrics.json").unlink()
    (run / "model.safetensors").write_bytes(b"as an earlier checkpoint left it")
    api.run(config, out=run, resume=True)
    assert final_state(run) == before


def test_the_best_weights_survive_a_resume(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = {1: 0.5, 2: 0.2, 3: 0.3, 4: 0.1, 5: 0.4, 6: 0.6}
    killed_at = None

    def evaluate(*_: Any, seed: int, step: int, line: Any) -> dict[str, float]:
        if step == killed_at:
            raise KeyboardInterrupt
        return {"validation/cycle_a": results[step], "validation/other": step}

    monkeypatch.setattr(sys.modules["i2i.runs.evaluate"], "evaluate", evaluate)
    lowest = ["train.best=validation/cycle_a", "train.best_is=lowest", "train.evaluate_every=1"]
    whole = api.run(config, *lowest, out=tmp_path / "whole")
    assert json.loads((whole / "metrics.json").read_text()) == {
        "step": 4,
        "validation/cycle_a": 0.1,
        "validation/other": 4,
    }
    assert checkpoint.load_model(whole / "model.safetensors")[2]["step"] == "4"
    killed_at = 5
    with pytest.raises(KeyboardInterrupt):
        api.run(config, *lowest, out=tmp_path / "broken")
    killed_at = None
    api.run(config, *lowest, out=tmp_path / "broken", resume=True)
    assert final_state(tmp_path / "broken") == final_state(whole)
    highest = api.run(config, *lowest, "train.best_is=highest", out=tmp_path / "highest")
    assert checkpoint.load_model(highest / "model.safetensors")[2]["step"] == "6"


def test_numbers_and_weights_are_of_the_same_step_when_a_run_is_extended(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {2: 0.5, 4: 0.1, 5: 0.3, 6: 0.2}
    monkeypatch.setattr(
        sys.modules["i2i.runs.evaluate"],
        "evaluate",
        lambda *_, seed, step, line: {"validation/cycle_a": results[step], "validation/other": step},
    )
    asked = ["train.best=validation/cycle_a", "train.best_is=lowest", "train.evaluate_every=5"]
    run = api.run(config, *asked, "train.steps=4", out=tmp_path / "run")
    api.run(config, *asked, "train.steps=6", out=run, resume=True)
    assert json.loads((run / "metrics.json").read_text())["step"] == 4
    assert checkpoint.load_model(run / "model.safetensors")[2]["step"] == "4"
    assert [line["step"] for line in logged(run) if "metric/validation/other" in line] == [4, 5, 6]


def test_a_misspelt_best_result_can_be_corrected_after_the_training(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"continue with --resume train\.best=NAME"):
        api.run(config, "train.best=validation/x", out=run)
    api.run(config, "train.best=validation/cycle_a", "train.best_is=lowest", out=run, resume=True)
    assert "validation/cycle_a" in json.loads((run / "metrics.json").read_text())
    assert (run / "model.safetensors").exists()


def test_a_resume_may_clip_and_skip_as_messages_suggest(config: Path, tmp_path: Path) -> None:
    run = api.run(config, "train.steps=2", out=tmp_path / "run")
    api.run(config, "train.steps=3", "train.clip=1.0", "train.on_nan=skip", out=run, resume=True)
    with pytest.raises(WeightsError, match=r"started with task\.r1_every=2 instead of 1"):
        allowed_changes(Run(run), {"task": {"r1_every": 2}}, {"task": {"r1_every": 1}})


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_resuming_a_finished_run_rewrites_its_damaged_weights(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    run = api.run(config, out=tmp_path / "run")
    weights = run / "model.safetensors"
    before, stamp = weights.read_bytes(), weights.stat().st_mtime_ns
    api.run(config, out=run, resume=True)
    assert weights.stat().st_mtime_ns == stamp  # intact weights are left alone
    weights.unlink() if damage == "missing" else weights.write_bytes(before[:-1] + b"x")
    capsys.readouterr()
    api.run(config, out=run, resume=True)
    assert weights.read_bytes() == before
    assert f"{weights} was missing or damaged, and has been rewritten" in capsys.readouterr().err


def test_damaged_best_weights_of_a_finished_run_are_reported(config: Path, tmp_path: Path) -> None:
    best = ["train.best=validation/cycle_a", "train.best_is=lowest"]
    run = api.run(config, *best, out=tmp_path / "run")
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged \(sha256 differs\)"):
        api.run(config, *best, out=run, resume=True)


def test_an_unknown_best_result_is_rejected(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.best is 'psnr/db', but no metric has that name: validation"):
        api.run(config, "train.best=psnr/db", out=tmp_path / "a")
    with pytest.raises(ConfigError, match=r"no evaluation gives 'validation/x'; possible: validation/cycle_a, "):
        api.run(config, "train.best=validation/x", out=tmp_path / "b")


def test_a_run_killed_before_its_first_checkpoint_discards_its_log(config: Path, tmp_path: Path) -> None:
    whole = api.run(config, out=tmp_path / "whole")
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_bytes((whole / "log.jsonl").read_bytes()[:-20])
    api.run(config, out=run, resume=True)
    assert (run / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()


def test_F13_the_number_of_threads_changes_only_rounding(config: Path, tmp_path: Path) -> None:
    before, first = torch.get_num_threads(), []
    try:
        for threads in (2, 1):
            run = api.run(config, f"train.threads={threads}", "train.steps=1", out=tmp_path / str(threads))
            assert torch.get_num_threads() == threads
            first.append(logged(run)[0])
    finally:
        torch.set_num_threads(before)
    assert first[0] == pytest.approx(first[1], abs=1e-5)


def test_sampling_from_a_task_that_translates_suggests_translate(config: Path, tmp_path: Path) -> None:
    run = api.run(config, out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"use `i2i translate FILE`, or i2i\.translate"):
        i2i.sample(2, run)


@pytest.mark.skipif("I2I_DATA" not in os.environ, reason="needs the real pictures under $I2I_DATA")
def test_real_folders_are_checked_trained_on_resumed_evaluated_and_translated(tmp_path: Path) -> None:
    root = Path(os.environ["I2I_DATA"]) / "catsdogs"
    checked = i2i_command("data", "check", root, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert "630" in checked.stdout
    small = [
        f"data.root={root}",
        "data.size=64",
        "data.load_size=72",
        "data.workers=1",
        "data.validation_samples=4",
        "task.generator.width=8",
        "task.generator.blocks=1",
        "task.discriminator.width=8",
        "train.epochs=null",
        "train.log_every=1",
    ]
    command = ["run", ROOT / "configs" / "paper" / "cyclegan.yaml", *small, "-o", "run"]
    first = i2i_command(*command, "train.steps=3", cwd=tmp_path, I2I_CACHE=str(tmp_path / "cache"))
    assert first.returncode == 0, first.stderr
    more = i2i_command(*command, "train.steps=5", "--resume", cwd=tmp_path, I2I_CACHE=str(tmp_path / "cache"))
    assert more.returncode == 0, more.stderr
    assert "continuing from" in more.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["step"] == 5
    assert 0 < metrics["validation/cycle_a"] < 2
    cat = sorted((root / "testA").glob("*.jpg"))[0]
    done = i2i_command("translate", cat, "-o", "out", "-m", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(cat) as given, Image.open(tmp_path / "out" / cat.name) as made:
        assert made.size == given.size


def test_data_check_lists_everything_wrong_and_exits_3(tmp_path: Path) -> None:
    for part in ("trainA", "trainB", "testA"):
        (tmp_path / part).mkdir()
        Image.new("RGB", (40, 30), "red").save(tmp_path / part / "good.png")
    (tmp_path / "trainA" / "half.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "trainB" / "none.png").write_bytes(b"")
    done = i2i_command("data", "check", tmp_path, cwd=tmp_path)
    assert done.returncode == 3
    assert "half.jpg" in done.stdout
    assert "none.png" in done.stdout
    assert "Traceback" not in done.stderr


class Means(i2i.Task):
    """Validates the mean of its images, and records the batch sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        self.sizes.append(len(batch["A"]))
        return {"mean": batch["A"].mean().item()}


class OfTwoSizes(i2i.Data):
    """Images 0 to 8, of which the last two are larger; image i is filled with i."""

    batch_size = 3

    def validation(self) -> list[dict[str, Any]]:
        return [{"A": torch.full((1, 8 + 8 * (i > 6), 8), float(i))} for i in range(9)]


def test_validation_batches_have_one_shape_and_each_image_counts_once() -> None:
    task = Means()
    assert validated(task, OfTwoSizes(), torch.device("cpu")) == pytest.approx({"mean": 4.0})
    assert task.sizes == [3, 3, 1, 2]


def test_an_evaluation_shows_its_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = [(name, lambda task, data: {"one": 1.0}) for name in ("first", "second")]
    monkeypatch.setattr(sys.modules["i2i.runs.evaluate"], "SELDOM", 0.0)  # `i2i.runs.evaluate` is its function
    evaluate(Means(), OfTwoSizes(), metrics, seed=0, step=0, line=Line())
    assert capsys.readouterr().err.splitlines() == [
        *(f"evaluating: validation sample {done}/9" for done in (0, 3, 6, 7)),
        "evaluating: first, metric 1/2",
        "evaluating: second, metric 2/2",
    ]


def test_preview_samples_are_evenly_spaced() -> None:
    shown = validation_batch(OfTwoSizes())
    assert shown["A"][:, 0, 0, 0].tolist() == [0, 2, 4, 6]
    assert validation_batch(i2i.Data()) == {}


SAMPLER = """
import torch
from torch import nn

from i2i import Task, hookimpl


class Grey(Task):
    channels, size = 1, 8

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))

    def players(self):
        return {"G": [self]}

    def step(self, batch):
        yield "G", {"l2": (batch["A"].mean() - self.level).square().sum()}

    def sample(self, n, bright=False):
        return self.level.clamp(-1, 1).expand(n, 1, 8, 8) + 0.1 * torch.randn(n, 1, 8, 8)


@hookimpl
def register(catalog):
    catalog.task("grey", Grey)
"""


def test_a_generative_task_trains_reports_the_sample_command_and_samples(tmp_path: Path) -> None:
    (tmp_path / "grey.py").write_text(SAMPLER)
    (tmp_path / "grey.yaml").write_text(
        "task: {use: grey}\ndata: {use: horses_zebras, size: 64, samples: 2, validation_samples: 1}\n"
        "optimizer: {use: sgd, lr: 0.1}\ntrain: {steps: 2, threads: 1}\n"
    )
    plugin = "--plugin", "grey.py"
    trained = i2i_command("run", "grey.yaml", *plugin, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "i2i sample 16 -o OUT -m runs/grey" in trained.stdout
    assert "translate" not in trained.stdout
    made = i2i_command("sample", "3", "-o", "out", "-m", "runs/grey", *plugin, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "3 images in 'out'\n" in made.stderr
    assert [Image.open(file).mode for file in sorted((tmp_path / "out").glob("*.png"))] == ["L"] * 3
    before = {file: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "00000.png").unlink()
    refused = i2i_command("sample", "2", "-o", "out", "-m", "runs/grey", "--seed", "1", *plugin, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "i2i: 'out/00001.png' already exists: use --force to overwrite it, or -o for another folder\n"
    )
    assert {file: file.read_bytes() for file in before if file.exists()} == {
        file: data for file, data in before.items() if file.name != "00000.png"
    }
    rest = ["-m", "runs/grey", "-c", "bright=1", "--seed", "1", "--force"]
    again = i2i_command("sample", "2", "-o", "out", *rest, *plugin, cwd=tmp_path)
    assert (tmp_path / "out" / "00001.png").read_bytes() != before[tmp_path / "out" / "00001.png"]
    assert "2 images in 'out', beside 1 that already existed\n" in again.stderr
    nowhere = i2i_command("sample", "3", "-o", "grey.py/out", "-m", "runs/grey", *plugin, cwd=tmp_path)
    assert nowhere.returncode == 6
    assert nowhere.stderr.startswith("i2i: cannot write grey.py/out: Not a directory")
