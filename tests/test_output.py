"""The size, format and quality that can be asked of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_images import far
from test_photographs import Four, model

import i2i
from i2i.errors import ConfigError, DataError
from i2i.images import Output, save
from i2i.modalities import LabelMap
from i2i.model import translate_files


class Labelled(i2i.Task):
    """Makes label maps."""

    makes = LabelMap()

    def translate(self, image: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(image[:, :1], dtype=torch.int64)


def smooth(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Return a picture of slow waves, uint8 [H, W, C]."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(x / 9 + n) * np.cos(y / 7 - n) for n in range(channels)]
    return np.stack(waves, -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("asked", "height", "width"),
    [
        ({"size": "45x30"}, 30, 45),
        ({"size": (45, 30)}, 30, 45),
        ({"size": "90×60"}, 60, 90),
        ({"size": 200}, 133, 200),
        ({"size": "17"}, 11, 17),
        ({"scale": 2.5}, 50, 75),
        ({"scale": 4}, 80, 120),
        ({"scale": 0.05}, 1, 2),
        ({"size": "46x30"}, 30, 46),  # rounded by one pixel
        ({}, 80, 120),
    ],
)
def test_a_result_has_the_size_asked_for(asked: dict[str, Any], height: int, width: int) -> None:
    array = smooth(20, 30)
    four = model(Four)
    assert four(array, **asked).shape == (height, width, 3)
    assert four(Image.fromarray(array), **asked).size == (width, height)
    assert i2i.translate(torch.zeros(2, 3, 20, 30), four, **asked).shape == (2, 3, height, width)
    assert [image.shape[:2] for image in four([array, array], **asked)] == [(height, width)] * 2
    assert Output(**asked).size_of(80, 120, 4) == (height, width)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_result_is_resampled_once_as_pillow_does(channels: int) -> None:
    values = smooth(24, 36, channels)
    if channels == 4:
        values[..., 3] |= 1  # visible everywhere
    array = values[..., 0] if channels == 1 else values
    large = array.repeat(4, 0).repeat(4, 1)
    for size in ((90, 60), (216, 144), (18, 12)):
        found = model(Four)(array, size=size)
        colours = slice(0, min(channels, 3))
        layers = np.atleast_3d(large)[..., colours]
        expected = [
            np.asarray(Image.fromarray(layers[..., n]).resize(size, Image.Resampling.BICUBIC))
            for n in range(layers.shape[2])
        ]
        assert far(np.atleast_3d(found)[..., colours], np.stack(expected, 2)) <= 1
        if channels == 4:
            smaller = Image.fromarray(values[..., 3]).resize(size, Image.Resampling.BILINEAR)
            assert far(found[..., 3], smaller) <= 1


def test_a_task_that_keeps_the_size_is_resampled_too() -> None:
    array = smooth(20, 30)
    assert model()(array, scale=0.5).shape == (10, 15, 3)
    assert np.array_equal(model()(array, scale=1), array)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            {"size": "big"},
            r"size big is not possible: a size is the width and height, such as 1920x1080, or the longer",
        ),
        ({"size": "10x"}, "size 10x is not possible"),
        ({"size": "1x2x3"}, "size 1x2x3 is not possible"),
        ({"size": 0}, "size 0 is not possible"),
        ({"size": -5}, "size -5 is not possible"),
        ({"size": 2.5}, "size 2.5 is not possible"),
        ({"size": float("nan")}, "size nan is not possible"),
        ({"size": "9" * 30}, "is not possible"),
        ({"size": []}, "is not possible"),
        ({"scale": 0}, "scale 0 is not possible: give a number above 0, such as 2.5"),
        ({"scale": 1e9}, "scale 1000000000.0 is not possible: give a number above 0, such as 2.5, and below"),
        ({"scale": -2}, "scale -2 is not possible"),
        ({"scale": float("inf")}, "scale inf is not possible"),
        ({"scale": "x"}, "scale x is not possible"),
        ({"size": 10, "scale": 2}, "size 10 and scale 2: give one of them"),
    ],
)
def test_nonsense_sizes_are_rejected(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        model()(smooth(20, 30), **asked)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"format": "gif"}, "format gif cannot be written; possible: png, jpg, jpeg, webp"),
        ({"format": ""}, "cannot be written"),
        ({"quality": 0}, "quality is 0: give a number from 1 to 100"),
        ({"quality": 101}, "quality is 101: give a number"),
        ({"quality": 80, "format": "png"}, "quality 80: png has no quality setting, only jpg and webp do"),
    ],
)
def test_nonsense_formats_are_rejected(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Output(**asked)


def test_a_size_that_distorts_or_is_too_large_fails_before_the_network_runs(tmp_path: Path) -> None:
    four = model(Four)
    with pytest.raises(DataError, match="the given ndarray: 60x60 would distort it, as it has 30x20 pixels; crop"):
        four(smooth(20, 30), size="60x60")
    with pytest.raises(DataError, match="a result of 20000x13333 pixels is more than the limit of 200,000,000"):
        four(smooth(20, 30), size=20_000)
    with pytest.raises(DataError, match=r"the given ndarray: scale 0\.04 of 30x20 is less than 1 pixel"):
        four(smooth(20, 30), scale=0.04)
    for size in ("45x31", "46x31"):  # both sides are rounded
        assert four(smooth(20, 30), size=size).shape[0] == 31
    assert four.task.ran == 2
    (tmp_path / "in").mkdir()
    save(smooth(20, 30), tmp_path / "in" / "wide.png")
    save(smooth(30, 20), tmp_path / "in" / "tall.png")
    failed = translate_files(
        [str(tmp_path / "in")], tmp_path / "out", four, output=Output(size="90x60"), say=lambda _: None
    )
    assert failed == [
        f"'{tmp_path}/in/tall.png': 90x60 would distort it, as it has 20x30 pixels; crop it first, or give "
        f"only the longer side, such as 60"
    ]
    assert Image.open(tmp_path / "out" / "wide.png").size == (90, 60)


def test_only_images_have_sizes_and_formats(tmp_path: Path) -> None:
    labelled = model(Labelled)
    for asked in ({"size": 10}, {"scale": 2.0}):
        with pytest.raises(ConfigError, match=r"only for images, and this model makes label maps"):
            labelled(smooth(8, 8), **asked)
    save(smooth(8, 8), tmp_path / "a.png")
    output = Output(format="jpg", quality=90, strip=True)
    with pytest.raises(ConfigError, match="format, quality, strip: only for images, and this model makes label maps"):
        translate_files([str(tmp_path / "a.png")], tmp_path / "out", labelled, output=output)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "side"), [("a.webp", 16383), ("a.jpg", 65500)])
def test_a_result_that_its_format_cannot_hold_fails_alone_before_the_network_runs(
    tmp_path: Path, name: str, side: int
) -> None:
    four = model(Four)
    (tmp_path / "in").mkdir()
    long = np.zeros((1, side // 4 + 1, 3), np.uint8)
    save(Image.fromarray(long), tmp_path / "in" / name)
    save(smooth(5, 5), tmp_path / "in" / "b.png")
    failed = translate_files([str(tmp_path / "in")], tmp_path / "out", four, say=lambda _: None)
    width = 4 * long.shape[1]
    kind = "WebP" if "webp" in name else "JPEG"
    assert failed == [
        f"'{tmp_path}/out/{name}': {width}x4 exceeds the {side:,} pixels per side of {kind}: use another format, "
        f"such as PNG"
    ]
    assert four.task.ran == 1
    assert (tmp_path / "out" / "b.png").exists()
    source = [str(tmp_path / "in" / name)]
    for output in (Output(size=100), Output(format="png"), Output(scale=side / long.shape[1])):
        assert (
            translate_files(source, tmp_path / f"out {output.format}", four, output=output, say=lambda _: None) == []
        )


def test_the_format_and_quality_asked_for_decide_the_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.JPEG", "c.gif", "d.tif"):
        Image.fromarray(smooth(40, 40)).save(tmp_path / name)
    sizes = []
    for quality in (10, 95):
        out = tmp_path / f"out{quality}"
        output = Output(format="jpg", quality=quality)
        assert translate_files([f"{tmp_path}/[a-d].*"], out, model(), output=output, say=lambda _: None) == []
        found = sorted(path.name for path in out.glob("[!.]*"))
        assert found == ["a.jpg", "b.JPEG", "c.jpg", "d.jpg"]
        assert all(Image.open(out / name).format == "JPEG" for name in found)
        sizes.append((out / "a.jpg").stat().st_size)
    assert 1.5 * sizes[0] < sizes[1]
    Image.fromarray(smooth(40, 40)).save(tmp_path / "a.jpg")


def test_of_two_inputs_of_one_name_the_first_is_translated_and_the_second_is_reported(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif", "b.png"):
        Image.fromarray(smooth(40, 40)).save(tmp_path / name)
    webp, said = Output(format="webp"), list[str]()
    failed = translate_files([f"{tmp_path}/[ab].*"], tmp_path / "out", model(), output=webp, say=said.append)
    first, second, both = (repr(f"{tmp_path}/{name}") for name in ("a.png", "a.tif", "out/a.webp"))
    assert failed == [f"{second}: {first} becomes {both} too: translate it into another folder"]
    assert said[0] == failed[0]
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["a.webp", "b.webp"]
    again = translate_files([f"{tmp_path}/[ab].*"], tmp_path / "out", model(), output=webp, say=said.append)
    assert again == failed
    assert said[-1] == "0 translated, 2 already existed, 1 failed"


def test_other_options_make_results_again(tmp_path: Path) -> None:
    save(smooth(20, 20), tmp_path / "a.png")
    four, said = model(Four), []
    for output in (Output(), Output(size=30), Output(size=30), Output(strip=True, size=30)):
        translate_files([str(tmp_path / "a.png")], tmp_path / "out", four, output=output, say=said.append)
    assert four.task.ran == 3
    assert Image.open(tmp_path / "out" / "a.png").size == (30, 30)


def test_the_options_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from i2i import api, cli

    save(smooth(20, 30), tmp_path / "a.png")
    monkeypatch.setattr(api, "load", lambda *_: model(Four))

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(
            "sys.argv", ["i2i", "translate", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), *words]
        )
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    assert run("--size", "60x40", "--format", "webp", "--quality", "50", "--strip")[0] == 0
    with Image.open(tmp_path / "out" / "a.webp") as image:
        assert (image.size, image.format) == ((60, 40), "WEBP")
    assert run("--scale", "2.5")[0] == 0
    assert Image.open(tmp_path / "out" / "a.png").size == (75, 50)
    for words, says in (
        (("--size", "big"), "i2i: size big is not possible: a size is"),
        (("--size", "5", "--scale", "2"), "i2i: size 5 and scale 2.0: give one of them"),
        (("--format", "bmp2"), "i2i: format bmp2 cannot be written; possible: png, jpg"),
        (("--quality", "0"), "i2i: quality is 0: give a number from 1 to 100"),
    ):
        code, said = run(*words)
        assert (code, said.count("\n")) == (2, 1)
        assert said.startswith(says)
