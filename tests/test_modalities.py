"""Modalities: images, label maps, and a plugin's own that is nothing like a picture, from training to files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import waveform
from command import i2i_command
from PIL import Image as Pil
from torch import Tensor
from waveform import Denoise, Tones, Waveform

import i2i
from i2i import Task, api
from i2i.data.check import check
from i2i.errors import ConfigError, DataError, NumericError, PluginError
from i2i.images import frames
from i2i.modalities import Image, LabelMap, Modality, columns
from i2i.model import translate_files
from i2i.testing import check_modality, check_task

PLUGIN = Path(__file__).with_name("waveform.py")
CONFIG = """
task: {use: denoise, width: 8}
data: {use: tones, n: 32}
optimizer: {use: adam, lr: 5.0e-3}
train: {steps: 60, log_every: 20, sample_every: 60}
metrics: [{use: gain}]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run of the plugin, and noisy sounds."""
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "denoise.yaml").write_text(CONFIG)
    done = i2i_command("run", "denoise.yaml", "--plugin", PLUGIN, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "noisy").mkdir()
    for number, sample in enumerate(Tones().validation()[:3]):
        Waveform().write(sample["A"][0].numpy(), folder / "noisy" / f"{number}.wav")
    return folder


def test_a_sound_model_trains_and_its_curves_are_in_samples_and_report(home: Path) -> None:
    run = home / "runs" / "denoise"
    assert json.loads((run / "metrics.json").read_text())["gain/db"] > 3
    sheet = Pil.open(run / "samples" / "00000060.png")
    assert sheet.width > 2 * 256  # "given" and "translated", each a curve of 256 pixels
    assert "data:image/png" in (run / "report.html").read_text()


def test_sounds_are_translated_from_the_command_line_and_a_picture_is_rejected(home: Path) -> None:
    Pil.new("RGB", (8, 8)).save(home / "photo.png")
    done = i2i_command(
        "translate", "noisy", "photo.png", "-o", "out", "-m", "runs/denoise", "--plugin", PLUGIN, cwd=home
    )
    assert done.returncode == 3
    assert "'photo.png': not a sound (possible: .wav)" in done.stderr
    assert "3 translated, 0 already existed, 1 failed" in done.stderr
    assert sorted(path.name for path in (home / "out").glob("[!.]*")) == ["0.wav", "1.wav", "2.wav"]
    clean = Tones().validation()[0]["B"]
    before, after = (Waveform().take(home / name / "0.wav").values[0] - clean for name in ("noisy", "out"))
    assert after.square().mean() < 0.5 * before.square().mean()
    tiled = i2i_command(
        "translate", "noisy", "-o", "o2", "-m", "runs/denoise", "--plugin", PLUGIN, "--tile", "64", cwd=home
    )
    assert tiled.returncode == 2
    assert "sounds cannot be cut into tiles: do not use --tile" in tiled.stderr


def test_sounds_are_translated_from_python(home: Path, tmp_path: Path) -> None:
    task = Denoise(width=4)
    model = i2i.Model(task, {}, Path("here"))
    sound = Tones().validation()[0]["A"][0].numpy()
    made = model(sound.astype(np.float64))
    assert (made.dtype, made.shape) == (np.dtype(np.float64), sound.shape)
    assert np.array_equal(model([sound, sound])[1], made.astype(np.float32))
    with pytest.raises(DataError, match="a Image is not a sound"):
        model(Pil.new("RGB", (8, 8)))


def test_a_metric_of_images_is_rejected_for_sounds_before_training(home: Path) -> None:
    done = i2i_command("run", "denoise.yaml", "metrics=[{use: psnr}]", "-o", "other", "--plugin", PLUGIN, cwd=home)
    assert done.returncode == 2
    assert "psnr compares images, but Denoise makes sounds" in done.stderr
    assert not (home / "other").exists()


def test_a_folder_of_sounds_is_checked_like_one_of_images(home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    (tmp_path / "good.wav").write_bytes((home / "noisy" / "0.wav").read_bytes())
    report = check(tmp_path, modalities=[Image(), Waveform()])
    assert report.kind == "looks like 2 sounds"
    assert len(report.problems) == 1
    assert "bad.wav': not a .wav file" in report.problems[0]
    assert check(home / "noisy", modalities=[Waveform()]).ok


def test_the_plugin_passes_the_conformance_kit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    batch = {name: torch.stack([s[name] for s in Tones().validation()]) for name in "AB"}
    check_task(Denoise(width=4), batch)
    check_modality(Waveform(), batch["B"][0, 0].numpy(), tmp_path, wrong=Pil.new("RGB", (8, 8)))


@pytest.mark.parametrize(
    ("modality", "thing"),
    [
        (Image(), np.arange(192, dtype=np.uint8).reshape(8, 8, 3)),
        (Image(), Pil.new("RGB", (9, 7), "red")),
        (Image(), torch.rand(1, 3, 8, 8)),
        (LabelMap(), np.arange(64).reshape(8, 8)),
        (LabelMap(), torch.arange(64).view(1, 1, 8, 8)),
    ],
)
def test_the_modalities_of_the_core_pass_the_conformance_kit(modality: Modality, thing: Any, tmp_path: Path) -> None:
    check_modality(modality, thing, tmp_path, wrong=b"RIFF")


class Broken(Waveform):
    """A modality with one fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def take(self, given: Any) -> Any:
        if self.fault == "accepts anything" and isinstance(given, Pil.Image):
            return super().take(np.zeros(8))
        taken = super().take(given)
        return taken.values if self.fault == "no Taken" else taken

    def restore(self, values: Tensor, like: Any = None) -> Any:
        made = super().restore(values, like)
        return {"a list": made.tolist(), "shorter": made[:-1]}.get(self.fault, made)

    def write(self, thing: Any, path: Path) -> None:
        quiet = np.asarray(thing) * (0.5 if self.fault == "quiet" else 1)
        super().write(quiet, path.with_suffix(".wav") if self.fault == "any suffix" else path)

    def show(self, values: Tensor) -> np.ndarray:
        drawn = super().show(values)
        return {"floats": drawn / 255, "one": np.concatenate([drawn, drawn])}.get(self.fault, drawn)


@pytest.mark.parametrize(
    ("fault", "reported"),
    [
        ("no Taken", r"take must return Taken\(values, like\), not Tensor"),
        ("accepts anything", "take accepts something of another kind: raise DataError"),
        ("a list", "restore gives list where ndarray came in"),
        ("shorter", r"restore gives float32 \[511\] where float32 \[512\] came in"),
        ("quiet", "values changed by 0.3 in a file, more than 0.01"),
        ("any suffix", "write accepts any suffix"),
        ("floats", "show gives float64"),
        ("one", "show draws 2 of 1"),
    ],
)
def test_the_kit_reports_each_fault_of_a_modality(fault: str, reported: str, tmp_path: Path) -> None:
    sound = Tones().validation()[0]["B"][0].numpy()
    with pytest.raises(AssertionError, match=reported):
        check_modality(Broken(fault), sound, tmp_path, wrong=Pil.new("RGB", (8, 8)))


def test_broken_modalities_are_blamed_with_their_file_and_line() -> None:
    class Absent(Modality):
        name, plural, suffixes = "thing", "things", (".thing",)

    class Doing(Task):
        takes = Absent()

        def translate(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(
        PluginError, match=r"Absent \(.*\) failed in take: NotImplementedError: Absent must implement"
    ):
        i2i.Model(Doing(), {}, Path("here"))("x")


# ---- what a task declares


class Segmenter(Task):
    """Takes images and makes label maps: bright or dark."""

    makes = LabelMap()

    def translate(self, image: Tensor) -> Tensor:
        return (image.mean(1, keepdim=True) > 0).long()


def test_a_task_may_make_label_maps_of_images(tmp_path: Path) -> None:
    model = i2i.Model(Segmenter(), {}, Path("here"))
    image = np.zeros((8, 6, 3), np.uint8)
    image[:, 3:] = 255
    assert model(image).tolist() == [[0, 0, 0, 1, 1, 1]] * 8
    assert model(Pil.fromarray(image)).mode == "L"
    Pil.fromarray(image).save(tmp_path / "a.jpg")
    assert translate_files([str(tmp_path / "a.jpg")], tmp_path / "out", model, say=lambda _: None) == []
    assert np.unique(np.asarray(Pil.open(tmp_path / "out" / "a.png"))).tolist() == [0, 1]


def test_failures_are_listed_again_after_many_results(tmp_path: Path) -> None:
    for number in range(11):
        Pil.new("RGB", (4, 4)).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "0.png").read_bytes()[:40])
    said: list[str] = []
    model = i2i.Model(Segmenter(), {}, Path("here"))
    failed = translate_files([str(tmp_path)], tmp_path / "out", model, say=said.append)
    assert len(failed) == 1
    assert "bad.png" in failed[0]
    assert said[-2:] == ["11 translated, 0 already existed, 1 failed:", f"  {failed[0]}"]


class Caption(Modality):
    """Sentences, as their letters."""

    name, plural, suffixes = "sentence", "sentences", (".txt",)

    def take(self, given: Any) -> i2i.modalities.Taken:  # type: ignore[name-defined]
        if not isinstance(given, str):
            raise DataError(f"a {type(given).__name__} is not a sentence")
        return i2i.modalities.Taken(torch.tensor([[ord(letter) for letter in given]]))  # type: ignore[attr-defined]

    def find(self, source: str) -> tuple[list[tuple[Any, Path]], list[tuple[Path, str]]]:
        return [(source, Path(source.replace(" ", "-")))], []


class Painter(Task):
    """Paints a square whose grey is the length of the sentence."""

    takes, source = Caption(), "text"

    def translate(self, text: Tensor) -> Tensor:
        return torch.full((len(text), 3, 4, 4), text.shape[1] / 127.5 - 1)


def test_a_task_may_make_images_of_things_that_are_not_files(tmp_path: Path) -> None:
    model = i2i.Model(Painter(), {}, Path("here"))
    assert model("a red circle").getpixel((0, 0)) == (12, 12, 12)
    assert translate_files(["a red circle", "blue"], tmp_path, model, say=lambda _: None) == []
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["a-red-circle.png", "blue.png"]
    with pytest.raises(ConfigError, match="sentences cannot be cut into tiles"):
        model("blue", tile=16)


class Told(Task):
    """A task with a sentence as a condition."""

    conditions = {"text": Caption()}  # noqa: RUF012

    def sample(self, n: int, text: Tensor | None = None) -> Tensor:
        return torch.full((n, 3, 4, 4), 0.0 if text is None else text.shape[1] / 127.5 - 1)


def test_a_condition_of_sample_may_be_of_any_modality() -> None:
    model = i2i.Model(Told(), {}, Path("here"))
    made = model.sample(2, text="blue")
    assert made.shape == (2, 3, 4, 4)
    assert made.unique().tolist() == pytest.approx([4 / 255])
    with pytest.raises(ConfigError, match="text: a int is not a sentence"):
        model.sample(1, text=3)


class Wrong(Task):
    """Makes what it does not declare."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made

    def translate(self, image: Tensor) -> Any:
        return self.made

    def sample(self, n: int) -> Any:
        return self.made


@pytest.mark.parametrize(
    ("made", "error", "reported"),
    [
        (torch.zeros(1, 3, 8, 7), PluginError, r"Wrong.translate made \[1, 3, 8, 7\] from \[1, 3, 8, 8\]"),
        (torch.zeros(1, 2, 8, 8), PluginError, r"images are floats \[N, 1 or 3, H, W\]"),
        (torch.full((1, 3, 8, 8), torch.nan), NumericError, "not finite"),
    ],
)
def test_a_result_that_is_not_what_was_declared_is_reported(made: Any, error: type[Exception], reported: str) -> None:
    model = i2i.Model(Wrong(made), {}, Path("here"))
    with pytest.raises(error, match=reported):
        model(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(PluginError, match=r"sample\(2\) made 1|images are floats|must return a tensor"):
        i2i.Model(Wrong(made.nan_to_num()), {}, Path("here")).sample(2)


# ---- previews


def test_columns_are_drawn_by_their_own_modality_and_frames_move() -> None:
    shown = {"image": torch.zeros(2, 3, 8, 8), "labels": (LabelMap(), torch.tensor([[[[0, 1]]], [[[2, 0]]]]))}
    drawn = columns(shown, Image())
    assert [cells.shape for cells in drawn.values()] == [(2, 8, 8, 3), (2, 1, 2, 3)]
    assert len({tuple(colour) for colour in drawn["labels"].reshape(-1, 3).tolist()}) == 3
    assert len(frames(drawn)) == 1
    clip = np.zeros((2, 5, 8, 8, 3), np.uint8)
    clip[:, 4] = 255
    sheets = frames({**drawn, "clip": clip})
    assert len(sheets) == 5
    assert not np.array_equal(sheets[3], sheets[4])


MOVING = """
import numpy as np
import torch
from i2i import Data, Task, hookimpl
from i2i.modalities import Modality

class Clip(Modality):
    name, plural = "clip", "clips"
    def show(self, values):  # [N, T, 1, H, W] -> frames
        return (values * 255).byte().numpy().repeat(3, 2).transpose(0, 1, 3, 4, 2)

class Counting(Data):
    def __len__(self): return 4
    def sample(self, index, rng): return {"A": torch.zeros(1)}
    def validation(self): return [{"A": torch.zeros(1)}]

class Fading(Task):
    makes = Clip()
    def __init__(self):
        super().__init__()
        self.G = torch.nn.Linear(1, 1)
    def players(self): return {"G": [self.G]}
    def step(self, batch): yield "G", {"square": self.G(batch["A"]).square().mean()}
    def pictures(self, batch): return {"fading": torch.linspace(0, 1, 5).view(1, 5, 1, 1, 1).expand(1, 5, 1, 8, 8)}

@hookimpl
def register(catalog):
    catalog.task("fading", Fading)
    catalog.data("counting", Counting)
"""


def test_moving_previews_are_a_gif_beside_the_png_and_the_report_shows_it(tmp_path: Path) -> None:
    (tmp_path / "moving.py").write_text(MOVING)
    (tmp_path / "moving.yaml").write_text(
        "task: {use: fading}\ndata: {use: counting}\noptimizer: {use: adam, lr: 0.1}\ntrain: {steps: 2}\n"
    )
    run = api.run(tmp_path / "moving.yaml", out=tmp_path / "run", plugin=tmp_path / "moving.py")
    with Pil.open(run / "samples" / "00000002.gif") as moving, Pil.open(run / "samples" / "00000002.png") as still:
        assert moving.n_frames == 5
        assert moving.size == still.size
    assert "data:image/gif" in (run / "report.html").read_text()


def test_every_modality_is_in_the_catalog() -> None:
    catalog = i2i.Catalog()
    i2i.modalities.register(catalog)  # type: ignore[attr-defined]
    waveform.register(catalog)
    assert catalog.names("modality") == ["clip", "image", "label_map", "waveform"]
    assert catalog.find("modality", "waveform").build is Waveform


def test_no_core_file_asks_for_a_particular_modality() -> None:
    """Only the task's defaults, the needs of metrics and the memory of large images name one."""
    home = Path(api.__file__).parent
    named = {
        path.relative_to(home).parts[0]
        for path in home.rglob("*.py")
        if re.search(r"modalities(\.\w+)? import .*\b(Image|LabelMap)\b", path.read_text())
    }
    assert named == {"metrics", "model", "task.py"}
