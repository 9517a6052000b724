"""Memory, long evaluations and hostile configs: one sentence, in time, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import i2i
from i2i import Task, api, checkpoint, config, files, runs
from i2i.errors import ConfigError, DataError, ResourceError, WeightsError
from i2i.images import ImageWarning, Output, notes, take, tiled
from i2i.images.write import write
from i2i.modalities import Image as ImageModality
from i2i.model import memory, translate_files
from i2i.networks import CompactSR
from i2i.plugins import registry
from i2i.testing import check_task

from .tiny import digits

CONFIG = digits("metrics: [{use: slow_STEP}]", steps=6)
SLOW = """
import os
import signal
import time
from i2i import hookimpl


class Slow:
    def __call__(self, task, data):
        if os.environ.pop("SIGNAL", None):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(100)
        return {"weights": float(sum(p.sum() for p in task.parameters()))}


@hookimpl
def register(catalog):
    catalog.metric("slow_STEP", Slow)
"""


@pytest.mark.parametrize(("every", "step"), [(4, 4), (0, 6)])
def test_F5_a_signal_ends_an_evaluation_at_once_and_resume_evaluates_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, step: int
) -> None:
    config, plugin = tmp_path / "c.yaml", tmp_path / f"slow_{step}.py"
    config.write_text(CONFIG.replace("STEP", str(step)))
    plugin.write_text(SLOW.replace("STEP", str(step)))
    changes = [f"train.evaluate_every={every}"] if every else []
    monkeypatch.setenv("SIGNAL", "1")
    began = time.monotonic()
    with pytest.raises(runs.Stopped, match=f"stopped and saved at step {step} in") as caught:
        api.run(config, *changes, out=tmp_path / "stopped", plugin=plugin)
    assert caught.value.exit_code == 75
    assert ("the training is complete and only its evaluation is missing" in str(caught.value)) == (step == 6)
    assert time.monotonic() - began < 30
    assert "SIGNAL" not in os.environ
    api.run(config, *changes, out=tmp_path / "stopped", resume=True)
    api.run(config, *changes, out=tmp_path / "whole", plugin=plugin)
    for name in ("log.jsonl", "metrics.json", "model.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").open()]
    assert [line["step"] for line in lines if f"metric/slow_{step}/weights" in line] == sorted({step, 6})


class Enlarged(Task):
    """Super-resolution without training."""

    makes = ImageModality(scale=2)

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self.net = network or CompactSR(scale=2, width=8, blocks=1)

    def translate(self, image: Tensor) -> Tensor:
        return self.net(image)


class Centred(nn.Module):
    """A network whose every pixel depends on the whole picture, and on chance."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean((2, 3), keepdim=True) * torch.rand_like(x)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, len(mode)), dtype=np.uint8).squeeze())


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let i2i believe that this many bytes are free."""
    monkeypatch.setattr(notes, "_warned", set())
    monkeypatch.setattr(memory, "HUGE", 1e9)  # estimate for pictures of any size
    return lambda left: monkeypatch.setattr(memory, "free", lambda mapped=0: left)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_G4_a_picture_that_does_not_fit_is_translated_in_tiles_with_the_same_result(little: Any, mode: str) -> None:
    torch.manual_seed(0)
    model, given = i2i.Model(Enlarged(), {}, Path("here")), picture(420, 300, mode)
    little(1e12)
    whole = np.asarray(model(given)).astype(int)
    assert model._tilers == {}
    needs = [memory.Plan((300, 420), model.stages({}) or [], Output()).needs(tile) for tile in (None, 128)]
    little(sum(needs) / 2 / memory.USABLE)
    with pytest.warns(ImageWarning, match="GB are free: it is translated in tiles of"):
        cut = np.asarray(model(given.copy())).astype(int)
    assert cut.shape == whole.shape
    assert np.abs(cut - whole).max() <= 1


def test_R5_a_picture_that_fits_in_no_way_costs_only_itself(little: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("1", (6000, 6000)).save(tmp_path / "in" / "a.bmp")  # a PNG would be decoded a few rows at a time
    picture(40, 30).save(tmp_path / "in" / "b.png")
    little(3e8)
    said: list[str] = []
    began = time.monotonic()
    failed = translate_files([str(tmp_path / "in")], tmp_path / "out", i2i.load("upscale-x4"), say=said.append)
    assert len(failed) == 1
    assert "a.bmp': 6000x6000 pixels need about" in failed[0]
    assert "even in tiles, and only 0.3 GB are free: use a smaller picture" in failed[0]
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["b.png"]
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("tile", "sentence"),
    [
        (None, "need about 2.* GB of memory even in tiles"),
        (128, "in tiles of 128, and only 0.* GB are free: use a smaller picture"),
    ],
)
def test_R5_temporary_files_count_towards_the_limit_on_addresses(
    little: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tile: int | None, sentence: str
) -> None:
    Image.new("1", (13000, 13000)).save(tmp_path / "a.png")
    monkeypatch.setattr(memory, "free", lambda mapped=0: max(0.0, 2.4e9 - mapped))
    model = i2i.load("upscale-x2")
    with pytest.raises(ResourceError, match=sentence):
        memory.chosen_tile(model, tmp_path / "a.png", Output(tile=tile), {}, "a.png", tmp_path / "b.png")


def test_smaller_tiles_are_advised_only_where_they_fit(little: Any) -> None:
    model, given = i2i.load("upscale-x4"), picture(1500, 1200)
    needs = [memory.Plan((1200, 1500), model.stages({}) or [], Output()).needs(tile) for tile in (1024, 128)]
    little(sum(needs) / 2 / memory.USABLE)
    with pytest.raises(ResourceError, match=r"in tiles of 1024, .* are free: use smaller tiles or a smaller picture"):
        model(given, tile=1024)
    little(needs[1] / 2)
    with pytest.raises(ResourceError, match=r"in tiles of 1024, .* are free: use a smaller picture"):
        model(given, tile=1024)


def test_A17_the_memory_of_a_picture_that_is_rejected_is_not_estimated(little: Any, tmp_path: Path) -> None:
    Image.new("L", (1, 100_001)).save(tmp_path / "long.png")
    little(1e6)  # neither in tiles nor as a whole
    with pytest.raises(DataError, match="100001 pixels, more than 100,000 on a side"):
        i2i.load("upscale-x4")(tmp_path / "long.png")


def test_R5_a_model_that_cannot_be_tiled_says_so(little: Any) -> None:
    task = Enlarged(Centred())
    task.makes = ImageModality()
    little(1e6)
    with pytest.raises(
        ResourceError, match="GB are free, and this model cannot work in tiles: use a smaller picture"
    ):
        i2i.Model(task, {}, Path("here"))(picture(300, 200))


def test_G4_a_picture_for_a_network_that_sees_it_all_is_translated_in_tiles(little: Any) -> None:
    model, given = i2i.load("horse2zebra", speed="exact"), picture(420, 300)
    little(1e12)
    whole = np.asarray(model(given)).astype(int)
    needs = [memory.Plan((300, 420), model.stages({}) or [], Output()).needs(tile) for tile in (None, 128)]
    little(sum(needs) / 2 / memory.USABLE)
    with pytest.warns(ImageWarning, match="GB are free: it is translated in tiles of"):
        cut = np.asarray(model(given.copy(), tile="auto")).astype(int)
    assert np.abs(cut - whole).max() <= 1


@pytest.mark.parametrize("tile", [8, "large", -1, 20.5, float("nan")])
def test_a_tile_that_is_not_possible_is_an_error(tile: Any) -> None:
    with pytest.raises(ConfigError, match=f"tile {tile} is not possible: give auto, or a side in pixels from 16 up"):
        Output(tile=tile)


SMALL = """
task: {use: superres, generator: {use: span, scale: 1, unshuffle: 2, width: 8, blocks: 1}}
data: {use: synthetic_photos, scale: 2, size: 32, batch_size: 2, samples: 2, validation_samples: 1}
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 1}
"""


@pytest.mark.skipif(torch.version.cuda is not None, reason="CUDA libraries alone take more addresses")
@pytest.mark.timeout(300)
def test_G5_8000_x_6000_pixels_in_a_gigabyte(tmp_path: Path) -> None:
    chosen = config.parse(SMALL, "small", (), registry().catalog)
    weights = {name: value for name, value in chosen.task().state_dict().items() if isinstance(value, Tensor)}
    checkpoint.save_model(tmp_path / "small.safetensors", weights, SMALL)
    rows, columns = np.ogrid[:6000, :8000]
    levels = np.stack(np.broadcast_arrays(rows // 24 % 256, columns // 32 % 256, 128), -1).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "large.png", compress_level=1)
    arguments = ["large.png", "-o", "out", "-m", "small.safetensors"]
    done = subprocess.run(
        [sys.executable, "-m", "i2i", "translate", *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "it is translated in tiles of" in done.stderr
    with Image.open(tmp_path / "out" / "large.png") as made:
        assert made.size == (8000, 6000)


def test_R5_memory_that_runs_out_while_writing_costs_only_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        picture(40, 30).save(tmp_path / name)
    model, save = i2i.Model(Enlarged(), {}, Path("here")), ImageModality.save

    def full(self: Any, values: Any, like: Any, path: Path, output: Any) -> None:
        if path.name == "a.png":
            np.empty(1 << 60, np.uint8)
        save(self, values, like, path, output)

    monkeypatch.setattr(ImageModality, "save", full)
    failed = translate_files([str(tmp_path)], tmp_path / "out", model, say=lambda _: None)
    assert len(failed) == 1
    assert "a.png': out of memory in write" in failed[0]
    assert (tmp_path / "out" / "b.png").exists()


GROWTH = """
import sys, numpy as np, i2i
from i2i.files.scratch import trim
rng, model, seen = np.random.default_rng(0), i2i.load("upscale-x2"), []
def resident():
    trim()
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))
for number in range(90):
    model(np.zeros((*rng.integers(8, 40, 2), 3), np.uint8))
    seen.append(resident())
print(seen[9], seen[-1])
model.need({})
print("torch._dynamo" in sys.modules)
"""


def test_F15_memory_does_not_grow_with_the_sizes_of_pictures() -> None:
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    environment = {name: value for name, value in os.environ.items() if name not in names} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True, env=environment)
    sizes, compiler = done.stdout.splitlines()
    early, late = map(int, sizes.split())
    assert late - early < 20
    assert compiler == "False"  # 75 MB


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_F15_tiles_keep_the_depth_of_arrays(dtype: Any) -> None:
    torch.manual_seed(0)
    model = i2i.Model(Enlarged(), {}, Path("here"))
    given = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (70, 90, 3)).astype(dtype)
    cut, whole = model(given, tile=32), model(given)
    assert cut.dtype == whole.dtype == dtype
    assert np.abs(cut.astype(int) - whole).max() <= np.iinfo(dtype).max // 255


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_F15_levels_are_written_as_they_are_and_without_a_copy(dtype: Any, tmp_path: Path) -> None:
    white = np.iinfo(dtype).max
    values = np.resize(np.arange(white + 1, dtype=dtype), (256, (white + 1) // 256, 3))
    whole = torch.from_numpy(values).permute(2, 0, 1)[None]
    picture = take(values)
    pixels, _ = picture.pixels(whole)
    assert np.shares_memory(pixels, values)
    assert np.array_equal(pixels, values)
    write(picture, whole, tmp_path / "levels.png")
    write(picture, picture.tensor, tmp_path / "floats.png")
    assert np.array_equal(take(tmp_path / "levels.png").tensor, take(tmp_path / "floats.png").tensor)
    made = tiled(lambda piece: piece, whole, 64, 0, depth=torch.uint8 if dtype is np.uint8 else torch.uint16)
    assert np.array_equal(made[0].permute(1, 2, 0).numpy(), values)
    assert made[0].permute(1, 2, 0).is_contiguous()


def test_the_memory_of_a_network_grows_with_the_pixels_or_with_their_square() -> None:
    takes = ImageModality()
    plain = memory.need_of(nn.Conv2d(3, 16, 3, padding=1), takes)
    assert plain.linear == pytest.approx(16 * 4, rel=0.1)
    assert plain.square == 0

    def attention(x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return (flat.transpose(1, 2) @ flat).sum() + x

    takes = ImageModality(multiple=64)
    assert memory.need_of(attention, takes).square == pytest.approx(4, rel=0.1)


def test_free_memory_is_what_a_cgroup_or_ulimit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    left = memory.free()
    assert left is not None
    assert 1e6 < left < 1e14
    monkeypatch.setattr(memory, "of_cgroups", lambda: [5e6])
    assert memory.free() == 5e6
    monkeypatch.setattr(memory, "sharing", 5)
    assert memory.free() == 1e6
    monkeypatch.setattr(memory, "of_limit", lambda: [10.0])
    assert memory.free() == 10


@pytest.mark.parametrize("key", ["width: 1000000", "blocks: 1000000000"])
def test_X2_a_hostile_config_in_weights_is_rejected_before_anything_is_allocated(tmp_path: Path, key: str) -> None:
    bundled = i2i.load("upscale-x2")
    tensors, text, about = checkpoint.load_model(bundled.source)
    tree = json.loads(json.dumps(bundled.config))
    name, value = key.split(": ")
    tree["task"]["generator"][name] = int(value)
    checkpoint.save_model(tmp_path / "x.safetensors", tensors, json.dumps(tree), about)
    began = time.monotonic()
    with pytest.raises(WeightsError, match="describes a network that is far larger than its"):
        i2i.load(tmp_path / "x.safetensors")
    assert time.monotonic() - began < 20
    assert text


class Locked(Enlarged):
    """A task with something that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def step(self, batch: Any) -> Any:
        yield "G", {"l1": (self.translate(batch["A"]) - 0.5).abs().mean()}

    def players(self) -> Any:
        return {"G": [self.net]}


class Mute(Locked):
    """A task whose translate forgets its result."""

    def __init__(self) -> None:
        super().__init__()
        del self.lock

    def step(self, batch: Any) -> Any:
        yield "G", {"l1": (self.net(batch["A"]) - 0.5).abs().mean()}

    def translate(self, image: Tensor) -> Any:
        self.net(image)


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (Locked, "Locked cannot be copied: cannot pickle '_thread.lock'"),
        (Mute, "Mute.translate returns NoneType, not"),
    ],
)
def test_E7_check_task_names_what_is_wrong(task: type[Task], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_task(task(), {"A": torch.rand(2, 3, 16, 16) * 2 - 1}, steps=4)


@pytest.mark.parametrize("name", ["log.jsonl", "timing.jsonl"])
def test_D17_a_log_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str) -> None:
    """Reading fails here because there is a folder in place of the file."""
    (tmp_path / "c.yaml").write_text(CONFIG.replace("metrics: [{use: slow_STEP}]", ""))
    run = api.run(tmp_path / "c.yaml", "train.steps=2", out=tmp_path / "run")
    log = (run / name).read_bytes()
    (run / name).unlink()
    (run / name).mkdir()
    with pytest.raises(ResourceError, match=rf"^cannot read .*{name}: Is a directory; check the disk"):
        api.run(tmp_path / "c.yaml", "train.steps=3", out=run, resume=True)
    (run / name).rmdir()
    (run / name).write_bytes(log)
    api.run(tmp_path / "c.yaml", "train.steps=3", out=run, resume=True)
    assert [line["step"] for line in runs.Run(run).log() if "epoch" in line][-1] == 3


def test_D17_too_many_open_files_names_the_limit(tmp_path: Path) -> None:
    """It must not be reported as a damaged checkpoint either."""
    (tmp_path / "log.jsonl").write_text("{}\n")
    checkpoint.save(tmp_path / "checkpoints", 1, {"w": torch.zeros(2)}, keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(ResourceError) as reading:
            files.read(tmp_path / "log.jsonl")
        with pytest.raises(ResourceError) as writing:
            files.write(tmp_path / "metrics.json", b"{}")
        with pytest.raises(ResourceError) as resuming:
            checkpoint.newest(tmp_path / "checkpoints", say=print)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for error in (reading, writing, resuming):
        assert "Too many open files; raise the limit of open files (`ulimit -n`)" in str(error.value)
    assert files.read(tmp_path / "log.jsonl", 2) == b"{}"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoints", "log.jsonl"]
