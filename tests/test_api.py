"""`i2i.translate`, `i2i.load` and `i2i translate`: the output has the type of the input, and nothing is lost.

Cases A15, A16, A26 and G6-G9, G11, G12 of the fault catalogue; those of the decoder are in test_images.py.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from command import i2i_command
from PIL import Image
from torch import nn

import i2i
from i2i import api, checkpoint
from i2i.devices import random_state_kept
from i2i.errors import ConfigError, DataError, NumericError, WeightsError
from i2i.modalities import Image as ImageModality
from i2i.modalities import LabelMap
from i2i.model import loading, translate_files
from i2i.model.manifest import NAME

CONFIG = """
task:
  use: cyclegan
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 1}
  gan: {use: lsgan}
data: {use: horses_zebras, size: 64, batch_size: 1, samples: 4, validation_samples: 2}
train: {steps: 2}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a tiny CycleGAN."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "tiny.yaml").write_text(CONFIG)
    return api.run(folder / "tiny.yaml", out=folder / "run")


@pytest.fixture(scope="module")
def model(run: Path) -> i2i.Model:
    return i2i.load(run)


def picture(width: int = 30, height: int = 22, mode: str = "RGB", seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def test_the_output_has_the_type_of_the_input(model: i2i.Model, tmp_path: Path) -> None:
    image = picture()
    image.save(tmp_path / "a.png")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    out = model(image)
    assert isinstance(out, Image.Image)
    assert (out.size, out.mode) == (image.size, "RGB")
    reference = np.asarray(out)
    assert np.array_equal(np.asarray(model(tmp_path / "a.png")), reference)
    assert np.array_equal(np.asarray(model(str(tmp_path / "a.png"))), reference)
    assert np.array_equal(np.asarray(model(buffer.getvalue())), reference)
    array = model(np.asarray(image))
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.uint8
    assert np.array_equal(array, reference)
    floats = model(np.asarray(image).astype(np.float32) / 255)
    assert floats.dtype == np.float32
    assert np.abs(floats * 255 - reference).max() <= 0.51
    tensor = model(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (3, 22, 30)
    assert (tensor * 255 - torch.from_numpy(reference.copy()).permute(2, 0, 1)).abs().max() <= 0.51


def test_the_translation_is_the_output_of_the_network(model: i2i.Model) -> None:
    image = picture(32, 24)
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = ((model.task.G_ba(x)[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    assert np.abs(np.asarray(model(image, direction="BtoA")).astype(int) - expected).max() <= 1
    assert not np.array_equal(np.asarray(model(image)), np.asarray(model(image, direction="BtoA")))


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 3), (5, 5), (2, 67), (63, 64)])
def test_A15_A16_the_output_has_the_size_of_the_input(model: i2i.Model, size: tuple[int, int]) -> None:
    assert model(picture(*size)).size == size


def test_A26_a_constant_picture_gives_finite_values(model: i2i.Model) -> None:
    out = model(np.full((16, 16, 3), 0.5, dtype=np.float32))
    assert np.isfinite(out).all()


def test_G6_a_list_equals_single_calls_and_a_batch_nearly_does(model: i2i.Model) -> None:
    pictures = [picture(seed=0), picture(40, 20, seed=1), picture(seed=2)]
    for one, listed in zip(pictures, model(pictures), strict=True):
        assert np.array_equal(np.asarray(model(one)), np.asarray(listed))
    batch = torch.rand(3, 3, 24, 24)
    singles = torch.stack([model(one) for one in batch])
    assert (model(batch) - singles).abs().max() <= 1e-6


class Moody(i2i.Task):
    """A network that behaves differently in training, with dropout and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(), nn.Conv2d(8, 3, 1))

    def translate(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(image).tanh()


def test_G6_G7_dropout_and_batch_norm_are_in_eval_mode_even_after_train() -> None:
    model, batch = i2i.Model(Moody(), {}, Path("here")), torch.rand(3, 3, 24, 24)
    weights = {name: value.clone() for name, value in model.task.state_dict().items()}
    singles = torch.stack([model(one) for one in batch])
    model.task.train()
    assert (model(batch) - singles).abs().max() <= 1e-6
    model.task.train()
    assert torch.equal(model(batch[0]), singles[0])
    assert all(torch.equal(value, weights[name]) for name, value in model.task.state_dict().items())
    image = (model.task.train().translate(batch * 2 - 1) + 1) / 2
    assert (image - singles).abs().max() > 0.05  # so a missing eval() would be noticed


def test_G7_calls_are_deterministic_even_after_train_and_from_four_threads(model: i2i.Model) -> None:
    image = picture()
    first = np.asarray(model(image))
    model.task.train()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: np.asarray(model(image)), range(8)))
    assert all(np.array_equal(first, result) for result in results)


def test_G8_the_input_is_never_modified(model: i2i.Model) -> None:
    array = np.asarray(picture()).copy()
    kept = array.copy()
    array.setflags(write=False)
    model(array[:, ::-1])
    assert np.array_equal(array, kept)


def test_an_unknown_condition_is_rejected_with_the_possible_ones(model: i2i.Model) -> None:
    with pytest.raises(ConfigError, match=r"no condition 'styl'; possible: direction"):
        model(picture(), styl=1)
    with pytest.raises(ConfigError, match="use AtoB or BtoA"):
        model(picture(), direction="AB")


def test_the_default_model_is_the_newest_finished_run_and_is_reported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    loading.say_once.cache_clear()
    for err in ("i2i: using upscale-x2, which comes with i2i; `i2i models` lists others\n", ""):  # once per process
        assert i2i.translate(Image.new("RGB", (8, 6))).size == (16, 12)
        assert capsys.readouterr().err == err
    monkeypatch.setattr("i2i.model.loading.DEFAULT", "nothing")
    with pytest.raises(WeightsError, match=r"i2i run configs/cyclegan\.yaml"):
        i2i.translate(picture())
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(run)
    (tmp_path / "runs" / "unfinished").mkdir()
    i2i.translate(picture())
    assert "runs/mine" in capsys.readouterr().err
    monkeypatch.setenv("I2I_MODEL", str(tmp_path / "nothing"))
    with pytest.raises(WeightsError, match=r"nothing: no model here"):
        i2i.translate(picture())


def test_a_model_is_cached_until_its_file_changes(run: Path, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    first = api.ready(tmp_path / "m.safetensors")
    assert api.ready(tmp_path / "m.safetensors") is first
    os.utime(tmp_path / "m.safetensors", ns=(1, 1))
    assert api.ready(tmp_path / "m.safetensors") is not first


def test_a_folder_hides_the_model_of_its_name_only_if_it_is_a_run_or_has_weights(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = Path("horse2zebra")
    results.mkdir()
    picture().save(results / "a.png")  # as `i2i translate a.png -m horse2zebra -o horse2zebra` leaves it
    assert loading.located("horse2zebra").name == "horse2zebra.safetensors"
    for file in ("config.yaml", "log.jsonl"):  # a run that has no weights yet
        (results / file).write_text("")
    assert loading.located("horse2zebra") == results
    for file in ("config.yaml", "log.jsonl"):
        (results / file).unlink()
    (results / "latest_net_G.pth").touch()
    assert loading.located("horse2zebra") == results
    (results / "latest_net_G.pth").unlink()
    (results / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    assert i2i.load("horse2zebra").source == results / "model.safetensors"
    (tmp_path / "photos").mkdir()
    with pytest.raises(WeightsError, match="photos: no model here; give a run, a weights file or a name"):
        i2i.load("photos")


class Slow(i2i.Task):
    """Draws twice, and lets other threads run in between."""

    def sample(self, n: int) -> torch.Tensor:
        first = torch.rand(n, 3, 4, 4)
        drawing.set()
        others.wait(0.2)
        return (first + torch.rand(n, 3, 4, 4)) / 2


drawing, others = threading.Event(), threading.Event()


def test_samples_do_not_depend_on_other_threads() -> None:
    model = i2i.Model(Slow(), {}, Path("here"))
    others.set()
    alone = model.sample(2, seed=7)
    others.clear()
    drawing.clear()
    with ThreadPoolExecutor(2) as pool:
        sampled = pool.submit(model.sample, 2, seed=7)
        drawing.wait(60)
        pool.submit(disturb, sampled).result(60)
        assert torch.equal(sampled.result(60), alone)


def disturb(sampled: Future[torch.Tensor]) -> None:
    with random_state_kept(torch.device("cpu")):
        torch.manual_seed(1)
        others.set()
        wait([sampled], 60)


def test_D1_a_flipped_bit_in_the_weights_is_detected(run: Path, tmp_path: Path) -> None:
    data = bytearray((run / "model.safetensors").read_bytes())
    data[-100] ^= 4
    (tmp_path / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(WeightsError):
        i2i.load(tmp_path)


def test_D10_weights_that_are_not_finite_are_rejected(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, text, about = checkpoint.load_model(run / "model.safetensors")
    tensors[next(name for name in tensors if name.startswith("G_ab."))].view(-1)[0] = float("nan")
    with pytest.raises(NumericError, match="was not written, because of NaN"):
        checkpoint.save_model(tmp_path / "m.safetensors", tensors, text, about)
    monkeypatch.setattr(checkpoint.weights, "refuse_non_finite", lambda *_: None)  # as another program would write it
    checkpoint.save_model(tmp_path / "m.safetensors", tensors, text, about)
    with pytest.raises(WeightsError, match=r"m\.safetensors contains NaN or infinity in G_ab\.") as caught:
        i2i.load(tmp_path / "m.safetensors")
    assert caught.value.exit_code == 4


def test_D9_weights_of_another_shape_are_rejected_with_the_differences(run: Path, tmp_path: Path) -> None:
    tensors, text, about = checkpoint.load_model(run / "model.safetensors")
    checkpoint.save_model(tmp_path / "m.safetensors", tensors, text.replace("blocks: 1", "blocks: 2"), about)
    with pytest.raises(WeightsError, match=r"missing.*G_ab"):
        i2i.load(tmp_path / "m.safetensors")


def folder_of_pictures(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    picture(seed=1).save(folder / "a.png")
    picture(seed=2).save(folder / "a.jpg")
    picture(41, 23, seed=3).save(folder / "sub" / "c.PNG")
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xff half a picture")
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("about these pictures")


def test_G11_G12_a_bad_picture_in_a_folder_does_not_stop_the_others(run: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    folder_of_pictures(source)
    done = i2i_command("translate", source, "-o", "out", "-m", run, cwd=tmp_path)
    assert done.returncode == 3
    assert all(name in done.stderr for name in ("bad.jpg", "empty.png", "notes.txt"))
    assert done.stderr.splitlines()[-1] == "3 translated, 0 already existed, 2 failed, 1 left out"
    assert "Traceback" not in done.stderr
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {"a.png", "a.jpg", "sub/c.PNG", NAME}
    assert Image.open(tmp_path / "out" / "sub" / "c.PNG").size == (41, 23)
    before = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    again = i2i_command("translate", source, "-o", "out", "-m", run, cwd=tmp_path)
    assert "0 translated, 3 already existed, 2 failed" in again.stderr
    assert "redoing" not in again.stderr
    assert "keeping" not in again.stderr
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == before


def test_a_picture_is_never_overwritten_by_its_own_translation(model: i2i.Model, tmp_path: Path) -> None:
    folder_of_pictures(tmp_path / "in")
    before = (tmp_path / "in" / "a.png").read_bytes()
    with pytest.raises(ConfigError, match=r"a\.png.* would be overwritten by its own translation"):
        translate_files([f"{tmp_path}/in/a.png"], tmp_path / "in", model, force=True, say=str)
    assert (tmp_path / "in" / "a.png").read_bytes() == before


def test_a_glob_keeps_the_names_and_force_redoes_existing_results(model: i2i.Model, tmp_path: Path) -> None:
    folder_of_pictures(tmp_path / "in")
    wanted, out = f"{tmp_path}/in/**/[ac].*", tmp_path / "out"
    assert translate_files([wanted], out, model, say=str) == []
    assert sorted(path.name for path in out.iterdir()) == [NAME, "a.jpg", "a.png", "c.PNG"]
    (out / "a.png").write_bytes(b"mine")
    translate_files([wanted], out, model, say=str)
    assert (out / "a.png").read_bytes() == b"mine"
    said: list[str] = []
    translate_files([wanted], out, model, force=True, say=said.append)
    assert said[-1] == "3 translated, 0 already existed, 0 failed"
    assert Image.open(out / "a.png").size == (30, 22)


def test_a_model_of_another_type_is_a_sentence() -> None:
    for given in (3, {"weight": torch.zeros(1)}):
        for use in (i2i.load, partial(i2i.translate, picture()), partial(i2i.sample, 1)):
            with pytest.raises(ConfigError, match=f"a {type(given).__name__} is not a model: give a run, a weights"):
                use(given)  # type: ignore[operator]


def test_G12_of_two_sources_for_one_target_the_second_is_reported_and_overwrites_nothing(
    run: Path, tmp_path: Path
) -> None:
    for seed, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        picture(seed=seed).save(tmp_path / name / "a.png")
    for word in ("1 translated, 0 already existed, 1 failed", "0 translated, 1 already existed, 1 failed"):
        done = i2i_command("translate", "one/a.png", "two/a.png", "-o", "out", "-m", run, cwd=tmp_path)
        assert done.returncode == 3
        assert "'two/a.png': 'one/a.png' becomes 'out/a.png' too: translate it into another folder" in done.stderr
        assert done.stderr.splitlines()[-1] == word
    i2i_command("translate", "one/a.png", "-o", "alone", "-m", run, cwd=tmp_path)
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "alone" / "a.png").read_bytes()


def test_A23_odd_names_are_kept_and_escaped_in_messages(run: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("new\nline.png", "'; rm.png", "\u732b.png", "-leading.png", "\udcff.png", "x" * 251 + ".png"):
        picture().save(source / name)
    done = i2i_command("translate", source, "-o", "out", "-m", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == {NAME, *(p.name for p in source.iterdir())}
    assert all(line.startswith(("[", "6 translated")) for line in done.stderr.splitlines()), done.stderr


def test_A14_the_first_frame_is_used_with_a_one_line_warning(run: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "moving.gif", save_all=True, append_images=[picture(seed=1)])
    done = i2i_command("translate", "moving.gif", "-o", "out", "-m", run, "--format", "png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[1] == "i2i: 'moving.gif' has several frames; the first is used"
    assert Image.open(tmp_path / "out" / "moving.png").size == (30, 22)


def test_a_picture_in_the_output_folder_is_not_overwritten_by_itself(run: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    i2i_command("translate", "a.png", "-o", ".", "-m", run, cwd=tmp_path)
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_missing_source_is_named(run: Path, tmp_path: Path) -> None:
    done = i2i_command("translate", "nothing.png", "-o", "out", "-m", run, cwd=tmp_path)
    assert done.returncode == 3
    assert "nothing.png" in done.stderr
    assert "0 translated, 0 already existed, 1 failed" in done.stderr
    with pytest.raises(DataError, match=r"nothing\.png"):
        i2i.translate(str(tmp_path / "nothing.png"), run)


def test_a_folder_that_cannot_be_created_is_a_one_line_error(run: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    done = i2i_command("translate", "a.png", "-o", "a.png/out", "-m", run, cwd=tmp_path)
    assert done.returncode == 6
    says = "i2i: cannot write a.png/out: Not a directory; check the disk and the path, or use another with -o"
    assert done.stderr.splitlines()[-1] == says


def test_a_folder_without_pictures_is_a_failure(model: i2i.Model, tmp_path: Path) -> None:
    said: list[str] = []
    failed = translate_files([str(tmp_path)], tmp_path / "out", model, say=said.append)
    assert failed == [f"'{tmp_path}': contains no images"]
    assert said == [failed[0], "0 translated, 0 already existed, 0 failed, 1 empty"]


def test_results_inside_the_input_folder_are_not_translated_again(model: i2i.Model, tmp_path: Path) -> None:
    folder_of_pictures(tmp_path / "in")
    (tmp_path / "in" / "bad.jpg").unlink()
    out, said = tmp_path / "in" / "out", list[str]()
    before = translate_files([f"{tmp_path}/in"], out, model, say=str)
    files = sorted(out.rglob("*"))
    assert translate_files([f"{tmp_path}/in"], out, model, say=said.append) == before
    assert sorted(out.rglob("*")) == files
    assert "'" + str(out) + "' is left out of the search, because results are written to it" in said
    assert said[-1].startswith("0 translated, 3 already existed")


def test_a_folder_that_cannot_be_listed_is_a_failure(
    model: i2i.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of_pictures(tmp_path / "in")
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "sub":
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    failed = translate_files([f"{tmp_path}/in"], tmp_path / "out", model, say=str)
    assert f"'{tmp_path}/in/sub': this folder cannot be listed: Permission denied" in failed


def test_square_brackets_in_a_folder_are_not_a_pattern(model: i2i.Model, tmp_path: Path) -> None:
    folder_of_pictures(tmp_path / "h [2019]")
    assert translate_files([f"{tmp_path}/h [2019]/[a]*.png"], tmp_path / "out", model, say=str) == []
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["a.png"]


def test_a_picture_that_needs_too_much_memory_does_not_stop_the_others(
    model: i2i.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of_pictures(tmp_path / "in")
    sizes: list[int] = []

    def network(image: torch.Tensor) -> torch.Tensor:
        sizes.append(image.shape[-1])
        return torch.empty(1 << 50) if len(sizes) == 1 else image

    monkeypatch.setattr(model.task, "translate", network)
    failed = translate_files([f"{tmp_path}/in/a.png", f"{tmp_path}/in/a.jpg"], tmp_path / "out", model, say=str)
    assert len(failed) == 1
    assert "out of memory in translate: use less at a time" in failed[0]
    assert len(sizes) == 2


def test_the_repr_of_a_model(model: i2i.Model, run: Path) -> None:
    weights = sum(parameter.numel() for parameter in model.task.parameters())
    assert repr(model) == f"<Model CycleGAN of {run}/model.safetensors: {weights:,} weights on cpu>"


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    assert dir(i2i) == sorted([*i2i.__all__, "latent"])
    assert all(hasattr(i2i, name) for name in dir(i2i))


class Tinted(i2i.Task):
    """Paints with the mean colour of the styles."""

    makes = ImageModality(colour=True)
    conditions: ClassVar = {"style": ImageModality()}

    def translate(self, image: torch.Tensor, style: Any = None) -> torch.Tensor:
        styles = style if isinstance(style, list) else [style]
        mean = torch.stack([one.mean((2, 3), keepdim=True) for one in styles]).mean(0)
        return mean.expand(len(image), 3, *image.shape[2:])


def test_a_condition_may_be_one_or_more_pictures_and_the_result_may_have_colour(tmp_path: Path) -> None:
    model = i2i.Model(Tinted(), {}, Path("here"))
    grey, red, blue = Image.new("L", (5, 4)), Image.new("RGB", (9, 9), "red"), tmp_path / "blue.png"
    Image.new("RGB", (3, 3), "blue").save(blue)
    assert model(grey, style=red).getpixel((0, 0)) == (255, 0, 0)
    assert model(grey, style=blue).getpixel((0, 0)) == (0, 0, 255)
    assert model(grey, style=[red, blue]).getpixel((4, 3)) == (128, 0, 128)


@pytest.mark.parametrize(
    ("style", "said"),
    [
        ("nope.jpg", r"^style: 'nope\.jpg': no such file"),
        (["red.png", "nope.jpg"], r"^style: 'nope\.jpg': "),
        ("notes.txt", r"^style: 'notes\.txt': not an image"),
        (np.zeros((2, 2), np.int64), r"^style: the given array"),
        ("", r"^style: the name of the file is empty$"),
    ],
)
def test_a_condition_that_is_not_a_picture_is_named_and_not_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model = i2i.Model(Tinted(), {}, Path("here"))
    Image.new("RGB", (9, 9), "red").save("red.png")
    Path("notes.txt").write_text("not a picture")
    with pytest.raises(ConfigError, match=said):
        model(picture(), style=style)
    lines: list[str] = []
    with pytest.raises(ConfigError, match=said):  # once, not for each picture
        translate_files(["red.png"], "out", model, say=lines.append, style=style)
    assert (lines, Path("out").exists()) == ([], False)


class Drawn(i2i.Task):
    """Paints class k in grey k * 10."""

    takes = LabelMap()

    def translate(self, image: torch.Tensor) -> torch.Tensor:
        return (image.float() * 10 / 255 * 2 - 1).expand(-1, 3, -1, -1)


def test_a_task_may_take_label_maps(tmp_path: Path) -> None:
    model = i2i.Model(Drawn(), {}, Path("here"))
    labels = np.array([[1, 2], [3, 4]], np.uint8)
    assert model(labels)[..., 0].tolist() == [[10, 20], [30, 40]]
    assert model(Image.fromarray(labels)).getpixel((1, 1)) == (40, 40, 40)
    large = labels.repeat(20, 0).repeat(20, 1)
    assert np.array_equal(model(large, tile=16), model(large))
