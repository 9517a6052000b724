"""`train.start_from`: the weights of another training, in a new one, and nothing else of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from command import i2i_command

from i2i import api, checkpoint
from i2i.errors import WeightsError
from i2i.runs import Run

from .tiny import digits

STILL = "optimizer.lr=1.0e-12"  # so that the weights after a step are those before it


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, and beside it a run of it named `first`."""
    folder = tmp_path_factory.mktemp("starting")
    text = digits(steps=4, ema=0.5, checkpoint_every=2).replace("size: 28\n", "size: 28\n  warm_up: 8\n", 1)
    (folder / "tiny.yaml").write_text(text)
    api.run(folder / "tiny.yaml", out=folder / "first")
    return folder / "tiny.yaml"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(Run.weights_of(run))[0]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], apart: float = 0.0) -> bool:
    """Compare weights."""
    same = (torch.allclose(one[name], other[name], 0, apart) for name in one)
    return one.keys() == other.keys() and all(same)


def test_F2_a_run_starts_from_the_weights_of_another(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = given.parent / "first"
    capsys.readouterr()
    run = api.run(given, "train.steps=1", STILL, f"train.start_from={first}", out=tmp_path / "run")
    published = weights(first)
    said = [line for line in capsys.readouterr().err.splitlines() if "start_from" in line]
    assert said == [f"i2i: train.start_from: {first / 'model.safetensors'}: all {len(published)} tensors loaded"]
    assert equal(weights(run), published, 1e-8)
    state = checkpoint.load(run / "checkpoints" / "step_00000001")[1]["engine"]
    assert state["step"] == int(state["task"]["seen._extra_state"]) == 1  # counters and optimizers are fresh
    assert all(float(s["step"]) == 1 for s in state["optimizers"]["vae"]["state"].values())


def test_F2_the_source_may_be_a_file_a_checkpoint_or_a_run_without_published_weights(
    given: Path, tmp_path: Path
) -> None:
    first = given.parent / "first"
    last = checkpoint.load(first / "checkpoints" / "step_00000004")[1]["engine"]["task"]
    del last["seen._extra_state"]  # the number of steps, which is not published
    assert not equal(weights(first), last, 1e-8)  # those are averaged
    unpublished = tmp_path / "unpublished"
    (unpublished / "checkpoints").mkdir(parents=True)
    (first / "checkpoints" / "step_00000004").rename(unpublished / "checkpoints" / "step_00000004")
    sources = {
        first / "model.safetensors": weights(first),
        unpublished: last,
        unpublished / "checkpoints" / "step_00000004": last,
    }
    for number, (source, expected) in enumerate(sources.items()):
        run = api.run(given, "train.steps=1", STILL, f"train.start_from={source}", out=tmp_path / str(number))
        assert equal(weights(run), expected, 1e-8), source
    (unpublished / "checkpoints" / "step_00000004").rename(first / "checkpoints" / "step_00000004")


def test_F2_what_does_not_fit_is_listed_with_its_shape(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = given.parent / "first"
    capsys.readouterr()
    changes = ["task.decoder.widths=[8, 6]", "train.steps=1", f"train.start_from={first}", STILL]
    run = api.run(given, *changes, out=tmp_path / "run")
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "start_from" in line)
    assert re.search(r"6 of 10 tensors loaded, 2 missing \(decoder\S+ \[784, 6\], decoder\S+ \[784\]\)", line), line
    assert re.search(r"2 with another shape or type \(decoder\S+: \[784, 8\] float32, not \[6, 8\] float32", line)
    before, after = weights(first), weights(run)
    same = [name for name in after if name in before and before[name].shape == after[name].shape]
    assert len(same) == 6
    assert all(torch.allclose(before[name], after[name], 0, 1e-8) for name in same)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", r"train.start_from: nowhere does not exist: give a run, its model.safetensors or a name of"),
        ("EMPTY", r"train.start_from: \S+empty contains no weights: give a run"),
        ("BROKEN", r"train.start_from: \S+model.safetensors is damaged \(sha256 differs\)"),
        ("FOREIGN", r"train.start_from: \S+net.pth is damaged or not a weights file.*`i2i import` converts weights"),
        ("OTHER", r"train.start_from: \S+ does not fit VAE: 8 missing .* 1 unexpected \(G.head \[3\]\): no tensor"),
    ],
)
def test_F2_weights_that_cannot_be_used_end_the_run_before_it_starts(
    source: str, message: str, given: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    content = bytearray((given.parent / "first" / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (tmp_path / "broken" / "model.safetensors").write_bytes(content)
    torch.save({"head": torch.zeros(3)}, tmp_path / "net.pth")
    checkpoint.save_model(tmp_path / "other.safetensors", {"G.head": torch.zeros(3)}, "task: {}")
    places = {"EMPTY": "empty", "BROKEN": "broken", "FOREIGN": "net.pth", "OTHER": "other.safetensors"}
    named = tmp_path / places[source] if source in places else source
    with pytest.raises(WeightsError, match=message):
        api.run(given, f"train.start_from={named}", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_F2_a_resume_is_exact_and_does_not_load_the_start_again(given: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    (tmp_path / "first").symlink_to(given.parent / "first")
    start = f"train.start_from={first}"
    whole = api.run(given, start, out=tmp_path / "whole")
    api.run(given, start, "train.steps=2", out=tmp_path / "parts")
    first.unlink()  # would be an error if it were read
    parts = api.run(given, start, out=tmp_path / "parts", resume=True)
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (parts / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
    with pytest.raises(WeightsError, match=r"started with train\.start_from="):
        api.run(given, "train.steps=6", out=parts, resume=True)


def test_F2_two_processes_start_alike(given: Path, tmp_path: Path) -> None:
    first = given.parent / "first"
    changes = [STILL, "train.steps=1", f"train.start_from={first}"]
    done = i2i_command("run", given, "-o", "run", "--nproc", "2", *changes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("tensors loaded") == 1
    assert equal(weights(tmp_path / "run"), weights(first), 1e-8)


SMALL_SR = """
task:
  use: superres
  generator: {use: compact_sr, scale: 2, width: 4, blocks: 1}
data: {use: synthetic_photos, scale: 2, size: 32, samples: 2, validation_samples: 1, batch_size: 2}
train: {steps: 1, threads: 1}
"""


def test_a_run_of_an_older_version_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(SMALL_SR)
    run = api.run(tmp_path / "old.yaml", out=tmp_path / "run")
    step, state = checkpoint.load(run / "checkpoints" / "step_00000001")
    del state["config"]["train"]["start_from"]  # a setting that is newer than the run
    checkpoint.save(run / "checkpoints", step, state, keep=1)
    (run / "metrics.json").unlink()
    api.run(tmp_path / "old.yaml", "train.steps=2", out=run, resume=True)
    assert Run(run).metrics()["step"] == 2
