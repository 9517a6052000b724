"""Several processes match one; if one dies, hangs or fails, the run ends and names it. Cases I1-I4, I6."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from command import i2i_command
from PIL import Image
from torch import Tensor, nn

from i2i import api, checkpoint
from i2i.config import Train
from i2i.data.base import Data, Sample
from i2i.data.stream import stream
from i2i.devices import host
from i2i.errors import ConfigError, ResourceError
from i2i.processes import ProcessGroup, launch
from i2i.processes.launch import culprit

CONFIG = """
task:
  use: cyclegan
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 1}
  gan: {use: lsgan}
  pool: 3
data: {use: horses_zebras, size: 64, batch_size: 4, samples: 6, validation_samples: 2}
optimizer: {use: sgd, lr: 1.0e-2}
train: {steps: 6, ema: 0.9, log_every: 1, sample_every: 3, checkpoint_every: 2, threads: 1, timeout: 60}
"""


I2I = [sys.executable, "-m", "i2i"]
RECIPE = ["optimizer={use: adam, lr: 2.0e-4, betas: [0.5, 0.999]}"]  # as published

IN_DOUBLE = str(Path(__file__).parents[1] / "benchmarks" / "in_double.py")


class Counting(Data):
    """A data set whose sample i is the number i."""

    def __init__(self, length: int, batch_size: int) -> None:
        self.length, self.batch_size = length, batch_size

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, rng: object) -> Sample:
        return {"i": index}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


def arguments(config: Path, run: Path, *more: str) -> list[str]:
    """Return the words of a command that trains with two processes."""
    return ["run", str(config), "-o", str(run), "--nproc", "2", *more]


def ran(config: Path, run: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Train with two processes until the end."""
    return i2i_command(*arguments(config, run, *more), cwd=run.parent)


def logged(run: Path) -> list[dict[str, float]]:
    file = run / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def processes(run: Path) -> dict[int, int]:
    """Return rank -> process id of a running launch, from the environments of all processes."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = dict(
                part.split(b"=", 1) for part in (folder / "environ").read_bytes().split(b"\0") if b"=" in part
            )
        except OSError:
            continue
        if str(run).encode() in words and b"RANK" in variables:
            found[int(variables[b"RANK"])] = int(folder.name)
    return found


def started(config: Path, run: Path, *more: str) -> tuple[subprocess.Popen[str], dict[int, int]]:
    """Start a long run with two processes and wait until it has trained for a few steps."""
    child = subprocess.Popen(
        [*I2I, *arguments(config, run, "train.steps=100000", "train.checkpoint_every=5", *more)],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while len(logged(run)) < 12:
        assert child.poll() is None, child.stderr.read() if child.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return child, processes(run)


def test_two_processes_report_a_problem_once(config: Path, tmp_path: Path) -> None:
    for n, name in enumerate(("trainA", "trainB", "testA", "testB")):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("RGB", (64, 64), (60 * n, 90 * i, 50)).save(tmp_path / name / f"{i}.png")
        (tmp_path / name / "notes.txt").write_text("not a picture")
    data = f"data={{use: unpaired_folders, root: {tmp_path}, size: 64, load_size: 64, batch_size: 2}}"
    changes = [data, "train.threads=9", "train.steps=1"]
    done = ran(config, tmp_path / "run", *changes)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("trainA': non-image files skipped") == 1
    assert done.stderr.count("i2i: 2 processes of 9 threads each share ") == 1


def test_a_mistake_is_reported_once_by_several_processes(config: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").touch()
    for change, said in (
        (
            ["task.nose=1"],
            """i2i: override "task.nose=1": task.nose: unknown key `nose`, did you mean `cycle_noise`?""",
        ),
        ([], f"i2i: rank 0: {tmp_path / 'run'} contains other files and is not a run"),
    ):
        done = ran(config, tmp_path / "run", *change)
        assert done.returncode == 2
        assert [line[: len(said)] for line in done.stderr.splitlines() if "so all were stopped" not in line] == [said]


def test_all_processes_have_the_sys_path_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('imported from the working folder')")
    code = "import sys; sys.path.pop(0)\nfrom i2i.processes import launch\nraise SystemExit(launch(['--version'], 2))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.timeout(480)
def test_I6_two_processes_match_one_including_pools_and_averages(config: Path, tmp_path: Path) -> None:
    # In double precision: the gradient of L1 jumps at 0, so float32 rounding grows to 5e-3 within six steps.
    changes = ["task.use=cyclegan_in_double", *RECIPE]
    one = api.run(config, *changes, out=tmp_path / "one", plugin=IN_DOUBLE)
    done = ran(config, tmp_path / "two", *changes, "--plugin", IN_DOUBLE, "train.steps=4")
    assert done.returncode == 0, done.stderr
    two = api.run(config, *changes, out=tmp_path / "two", resume=True, plugin=IN_DOUBLE)  # continued with one process
    alone, together = ([step for step in logged(run) if "final" not in step] for run in (one, two))
    assert len(alone) == len(together) == 6
    assert abs(alone[5]["G/gan_ab"] - alone[0]["G/gan_ab"]) > 1e-3
    for a, b in zip(alone, together, strict=True):
        assert a == pytest.approx(b, abs=1e-6)
    first, second = (checkpoint.load_model(run / "model.safetensors")[0] for run in (one, two))
    assert max((first[key] - second[key]).abs().max().item() for key in first) <= 1e-6
    assert sum("final" in step for step in logged(two)) == 1
    joined = ran(config, tmp_path / "two", *changes, "--plugin", IN_DOUBLE, "train.steps=8", "--resume")
    assert joined.returncode == 0, joined.stderr  # and with two again
    assert logged(two)[-1]["step"] == 8


@pytest.mark.timeout(480)
def test_I1_a_killed_rank_ends_the_run_and_is_named(config: Path, tmp_path: Path) -> None:
    child, ranks = started(config, tmp_path / "run")
    began = time.monotonic()
    os.kill(ranks[1], signal.SIGKILL)
    _, errors = child.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert child.returncode == 6, errors
    assert "rank 1" in errors.splitlines()[-1]
    assert not processes(tmp_path / "run")
    found = checkpoint.newest(tmp_path / "run" / "checkpoints", say=pytest.fail)
    assert found is not None
    last = found[1]["engine"]["step"] + 3
    for name, more in (("run", "--resume"), ("unbroken", "--force")):
        done = ran(config, tmp_path / name, f"train.steps={last}", "train.checkpoint_every=5", more)
        assert done.returncode == 0, done.stderr
    assert len(logged(tmp_path / "run")) == last + 1  # plus the evaluation
    for name in ("log.jsonl", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


@pytest.mark.timeout(240)
def test_I2_a_stopped_rank_ends_the_run_within_the_timeout_and_is_named(config: Path, tmp_path: Path) -> None:
    child, ranks = started(config, tmp_path / "run", "train.timeout=5")
    os.kill(ranks[1], signal.SIGSTOP)
    _, errors = child.communicate(timeout=90)  # torchrun kills it 30 s after a SIGTERM, which it cannot see
    assert child.returncode == 6, errors
    assert "rank 1 does not answer (rank 0 waits at step" in errors
    assert not processes(tmp_path / "run")


@pytest.mark.timeout(240)
def test_I4_an_error_on_one_rank_stops_all_and_is_shown(config: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "lame.py"
    plugin.write_text(
        "import os\nfrom i2i import hookimpl\nfrom i2i_cyclegan import CycleGAN\n"
        "class Lame(CycleGAN):\n"
        "    n = 0\n"
        "    def step(self, batch):\n"
        "        Lame.n += batch['A'].device.type == 'cpu'  # not in the rehearsal\n"
        "        if os.environ.get('RANK') == '1' and Lame.n == 3:\n"
        "            raise ValueError('a bad picture')\n"
        "        yield from super().step(batch)\n"
        "@hookimpl\ndef register(catalog):\n    catalog.task('lame', Lame)\n"
    )
    done = ran(config, tmp_path / "run", "task.use=lame", "--plugin", str(plugin))
    assert done.returncode == 7, done.stderr
    assert "rank 1: Lame (lame) failed in step 2: ValueError: a bad picture" in done.stderr
    assert "rank 1 ended with exit code 7" in done.stderr


@pytest.mark.parametrize(
    ("failures", "found"),
    [
        ({0: (5, 6), 1: (5, 7)}, (1, 7)),  # rank 0 only noticed it
        ({0: (4, 6), 1: (5, -9)}, (1, -9)),
        ({0: (5, 5), 1: (4, 5)}, (1, 5)),
        ({0: (5, 6), 1: (4, 6)}, (1, 6)),
    ],
)
def test_the_rank_that_failed_first_is_named(failures: dict[int, tuple[int, int]], found: tuple[int, int]) -> None:
    assert culprit(failures) == found


@pytest.mark.timeout(120)
def test_a_signal_to_the_launcher_saves_and_exits_75(config: Path, tmp_path: Path) -> None:
    child, _ = started(config, tmp_path / "run")
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 75, errors
    last = sorted((tmp_path / "run" / "checkpoints").glob("step_*"))[-1]
    assert int(last.name.split("_")[1]) == logged(tmp_path / "run")[-1]["step"]


@pytest.mark.parametrize(("length", "batch", "size", "parts"), [(101, 2, 2, 1), (1, 4, 2, 2), (7, 12, 3, 2)])
def test_I3_the_ranks_share_the_samples_in_the_order_of_one_process(
    length: int, batch: int, size: int, parts: int
) -> None:
    def numbers(world: ProcessGroup, accumulate: int) -> list[list[list[int]]]:
        settings = Train(steps=60, accumulate=accumulate)
        return [[b["i"].tolist() for b in step] for step in stream(Counting(length, batch), settings, 0, 60, world)]

    alone = [step[0] for step in numbers(ProcessGroup(), 1)]
    ranks = [numbers(ProcessGroup(rank, size), parts) for rank in range(size)]
    assert {len(steps) for steps in ranks} == {60}
    together = [
        [i for micro in range(parts) for rank in range(size) for i in ranks[rank][number][micro]]
        for number in range(60)
    ]
    assert together == alone
    seen = [i for step in alone for i in step]
    assert sorted(seen[:length]) == list(range(length))  # no sample is lost in the first epoch


def test_a_batch_that_cannot_be_divided_is_rejected_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match=r"batch_size 3 cannot be divided among train.accumulate 1 x 2 process"):
        next(stream(Counting(5, 3), Train(steps=1), 0, 1, ProcessGroup(0, 2)))


def test_batch_norm_over_several_processes_needs_gpus() -> None:
    with pytest.raises(ConfigError, match="norm: instance"):
        ProcessGroup(0, 2).same_start(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), torch.device("cpu"))


def test_one_process_needs_no_group() -> None:
    world, tensor = ProcessGroup(), torch.ones(2)
    world.average([tensor])
    world.wait()
    world.beat(1)

    def double(x: Tensor) -> Tensor:
        return 2 * x

    assert torch.equal(world.whole_batch(double, tensor), torch.tensor([2.0, 2.0]))
    assert world.same_start(nn.Linear(1, 1), torch.device("cpu")) is not None


def test_I1_processes_that_have_finished_no_step_are_named_at_once() -> None:
    store = dist.TCPStore("127.0.0.1", 0, 1, True, timeout=timedelta(seconds=20), wait_for_workers=False)
    begun, start = ProcessGroup(1, 4, store), time.monotonic()
    begun.beat(1)
    found = r"rank 2 or 3 does not answer \(rank 0 waits at step 1\)"
    with pytest.raises(ResourceError, match=found), ProcessGroup(0, 4, store).watch(lambda: 1):
        raise RuntimeError("gloo timed out")
    assert time.monotonic() - start < 10


def test_launch_leaves_the_signal_handlers_as_they_were() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    assert launch(["no_such_command"], 1) == 2
    assert {number: signal.getsignal(number) for number in before} == before


def test_what_fails_alike_in_every_process_is_reported_once(config: Path, tmp_path: Path) -> None:
    done = ran(config, tmp_path / "run", "data.batch_size=3")
    assert done.returncode == 2
    assert done.stderr.count("data.batch_size 3 cannot be divided among") == 1
    assert "killed" not in done.stderr


@pytest.mark.parametrize(
    ("failures", "found"),
    [({0: (9, -15), 1: (9, 2)}, (1, 2)), ({0: (9, 6), 1: (9, -9)}, (1, -9)), ({0: (8, 3), 1: (9, 2)}, (0, 3))],
)
def test_the_rank_that_was_stopped_for_another_is_not_to_blame(failures: Any, found: tuple[int, int]) -> None:
    assert culprit(failures) == found


@pytest.mark.parametrize(
    ("threads", "count", "says"),
    [
        (2, 1, ""),
        (1, 2, ""),
        (4, 1, "4 threads share 2 processors .*: use train.threads=2$"),
        (2, 2, "2 processes of 2 threads each share 2 processors .*: use train.threads=1$"),
        (1, 4, "4 processes of 1 thread each share 2 processors .*: use --nproc 2$"),
    ],
)
def test_what_is_said_about_threads(threads: int, count: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "processors", lambda: 2.0)
    assert re.match(says or "$", host.crowded(threads, count))
