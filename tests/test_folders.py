"""`i2i evaluate A B`: metrics of two folders of pictures, with what was compared with what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import i2i
from i2i import images
from i2i.errors import ConfigError, DataError, counted
from i2i.images import notes
from i2i.metrics import features_of, psnr, ssim
from i2i.metrics.sets import frechet_distance, kernel_distance
from i2i.runs.folders import read


def picture(seed: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pictures in a and b: three pairs, and one more in each."""
    monkeypatch.chdir(tmp_path)
    for folder, start in (("a", 0), ("b", 100)):
        (tmp_path / folder / "sub").mkdir(parents=True)
        for number in range(2):
            picture(start + number).save(f"{folder}/{number}.png")
        picture(start + 2).save(f"{folder}/sub/2.{'png' if folder == 'a' else 'bmp'}")
        picture(start + 3, (30, 40)).save(f"{folder}/only in {folder}.png")
        (tmp_path / folder / "notes.txt").write_text("about these pictures")
    return tmp_path


def test_pairs_are_compared_by_name_and_the_others_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = i2i.evaluate("a", "b")
    both = [(read(Path(a)), read(Path(b))) for a, b in (("a/0.png", "b/0.png"), ("a/1.png", "b/1.png"))]
    both.append((read(Path("a/sub/2.png")), read(Path("b/sub/2.bmp"))))
    assert numbers == {
        "pictures/first": 4,
        "pictures/second": 4,
        "pairs": 3,
        "psnr/db": pytest.approx(np.mean([psnr(*pair) for pair in both]), abs=1e-9),
        "ssim/mean": pytest.approx(np.mean([ssim(*pair) for pair in both]), abs=1e-9),
    }
    assert capsys.readouterr().err.splitlines() == [
        "i2i: only in 'a', not compared: 'only in a.png'",
        "i2i: only in 'b', not compared: 'only in b.png'",
        "i2i: psnr/db: mean of 3 pairs",
        "i2i: ssim/mean: mean of 3 pairs",
    ]


@pytest.mark.parametrize("shape", [(20, 16), (20, 16, 3)])
def test_pictures_of_16_bits_are_compared_in_8_with_a_warning(tmp_path: Path, shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0)
    first = noise.integers(1000, 60000, shape, dtype=np.uint16)
    second = first + noise.integers(0, 2000, shape, dtype=np.uint16)
    for folder, values in (("a", first), ("b", second)):
        (tmp_path / folder).mkdir()
        images.save(values, tmp_path / folder / "x.png")
    notes._warned.clear()
    with pytest.warns(
        images.ImageWarning, match=r"pictures of 16 bits are read in 8 bits \('.*x.png' is the first\)"
    ):
        found = i2i.evaluate(tmp_path / "a", tmp_path / "b", metrics=["psnr"])
    error = (np.rint(second / 257) - np.rint(first / 257)) ** 2
    assert found["psnr/db"] == pytest.approx(10 * np.log10(255**2 / error.mean()))


def test_sets_use_all_pictures_of_any_size_and_say_how(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "b" / "1.png").unlink()
    numbers = i2i.evaluate("a", "b", metrics="kid, frechet")
    first, second = (
        features_of([read(path) for path in sorted((home / folder).rglob("*.[pb][nm][gp]"))], "random_conv")
        for folder in "ab"
    )
    assert numbers == {
        "pictures/first": 4,
        "pictures/second": 3,
        "kid/random_conv": pytest.approx(kernel_distance(first, second), rel=1e-6),
        "frechet/random_conv": pytest.approx(frechet_distance(first, second), rel=1e-6),
    }
    how = "4 and 3 pictures, resized to 128x128 pixels, bilinear with antialiasing"
    assert capsys.readouterr().err.splitlines() == [f"i2i: {name}/random_conv: {how}" for name in ("kid", "frechet")]


def test_metrics_can_have_arguments_as_in_configs_and_come_from_plugins(home: Path) -> None:
    (home / "mine.py").write_text(
        "import i2i\nfrom i2i.metrics import PAIRS, answers\n"
        "class Worst:\n"
        "    needs = PAIRS\n"
        "    def __call__(self, task, data):\n"
        "        return {'error': max((f - s[task.target]).abs().max() for s, f in answers(task, data))}\n"
        "@i2i.hookimpl\n"
        "def register(catalog):\n"
        "    catalog.metric('worst', Worst)\n"
    )
    asked = "[{use: psnr, space: 'y', crop: 4}, {use: psnr}, {use: worst}]"
    numbers = i2i.evaluate("a", "b", metrics=asked, plugin="mine.py")
    assert [*numbers][3:] == ["psnr/db", "psnr_2/db", "worst/error"]
    assert numbers["psnr/db"] > numbers["psnr_2/db"]
    assert 1.8 < numbers["worst/error"] <= 2


def test_one_pair_is_called_a_pair(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    i2i.evaluate("a/sub", "b/sub", metrics="psnr")
    assert capsys.readouterr().err == "i2i: psnr/db: mean of 1 pair\n"


def test_what_cannot_be_compared_is_one_sentence(home: Path) -> None:
    for arguments, metrics, wrong, sentence in (
        (("a", "b"), "psnr,sism", ConfigError, "unknown metric 'sism': did you mean ssim"),
        (("a", "b"), "[{use: psnr, space: z}]", ConfigError, "metrics.0.space"),
        (("a", "b"), "clip_distance", ConfigError, "compares clips, but Given makes images"),
        (("a", "b"), "lpips", i2i.WeightsError, "lpips with net alex needs a weights file"),
        (("a", "missing"), None, ConfigError, "^missing: there is no such folder to compare a with"),
        (("missing", "a"), None, ConfigError, "^missing: there is no such folder to compare with a$"),
        (("missing", "a"), "psnr", ConfigError, "^missing: there is no such folder to compare with a$"),
        (("missing", "gone"), None, ConfigError, "^missing: there is no such folder to compare with gone$"),
        (("a/0.png", "b/0.png"), None, ConfigError, "^a/0.png is a file: give two folders of pictures, or a run$"),
        (
            ("a", "b", "metrics=[]"),
            None,
            ConfigError,
            r"^metrics=\[\]: two folders take no overrides; give --met",
        ),
        (("a", "b"), ["psnrr"], ConfigError, "unknown metric 'psnrr': did you mean psnr"),
        (("a", "b"), [{"use": "psnr", "spac": "y"}], ConfigError, "spac"),
        (("missing", "data.root=a"), None, ConfigError, "^missing is not a run"),
        (("a", "a/sub"), None, DataError, "no picture in 'a' has the name of one in 'a/sub'"),
        (("a/sub", "b/sub"), "kid", DataError, "needs at least two images in each, but there are 1 and 1"),
    ):
        with pytest.raises(wrong, match=sentence):
            i2i.evaluate(*arguments, metrics=metrics)
    picture(1, (21, 16)).save("a/0.png")
    with pytest.raises(
        DataError, match=r"'a/0\.png' has 21x16 pixels, but 'b/0\.png' has 20x16: paired metrics need"
    ):
        i2i.evaluate("a", "b")
    picture(1).save("a/0.jpg")
    with pytest.raises(DataError, match=r"'a/0\.jpg' and 'a/0\.png' have the same name without the suffix"):
        i2i.evaluate("a", "b")
    (home / "empty").mkdir()
    with pytest.raises(DataError, match=r"'empty': contains no images$"):
        i2i.evaluate("empty", "a")
    (home / "empty" / "0.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"'empty': contains no images that can be read$"):
        i2i.evaluate("a", "empty")


def test_files_that_cannot_be_read_are_named_and_in_no_score(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = i2i.evaluate("a", "b", metrics="psnr,kid")
    whole = (home / "a" / "0.png").read_bytes()
    (home / "a" / "cut.png").write_bytes(whole[:-40])  # found while decoding
    (home / "a" / "text.jpg").write_bytes(b"no picture")
    (home / "b" / "cut.png").write_bytes(whole)
    capsys.readouterr()
    after = i2i.evaluate("a", "b", metrics="psnr,kid")
    assert after["psnr/db"] == before["psnr/db"]
    assert (after["pictures/first"], after["pairs"]) == (before["pictures/first"], before["pairs"])
    said = capsys.readouterr().err
    assert "'a/text.jpg': not an image" in said
    assert "'a/cut.png': " in said
    assert f"left out of 'a', not in any score: 2 of {int(before['pictures/first']) + 2}" in said
    assert "only in 'b', not compared: " in said
    assert "'cut.png'" in said


def test_a_run_takes_its_metrics_as_an_override(home: Path) -> None:
    (home / "a" / "config.yaml").write_text("task: {}")
    with pytest.raises(ConfigError, match="is for two folders of pictures: give a run metrics="):
        i2i.evaluate("a", metrics="kid")


def test_identical_folders_are_perfect(home: Path) -> None:
    numbers = i2i.evaluate("a", "a", metrics="psnr,ssim,frechet,colourfulness")
    assert (numbers["psnr/db"], numbers["colourfulness/ratio"]) == (100, 1)
    assert numbers["ssim/mean"] == pytest.approx(1)
    assert numbers["frechet/random_conv"] == pytest.approx(0, abs=1e-6)
    assert torch.is_grad_enabled()


def test_things_are_counted_in_words() -> None:
    assert [counted(count, "picture") for count in (0, 1, 2)] == ["0 pictures", "1 picture", "2 pictures"]
