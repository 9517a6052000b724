"""`i2i compare`: a sheet and a page of several models on one picture."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_compare import results
from i2i_compare.page import SCRIPT, html_of
from i2i_compare.results import Shown
from i2i_compare.sheet import GAP, LINE, fitted, pixels_of
from PIL import Image, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

import i2i
from i2i import Task
from i2i.errors import ConfigError, DataError
from i2i.modalities import Clip, LabelMap
from i2i.modalities import Image as ImageModality


class Larger(Task):
    """Enlarges pictures and inverts them if asked."""

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        self.scale, self.makes = scale, ImageModality(scale=scale)

    def translate(self, image: Tensor, invert: str | bool = False) -> Tensor:
        return interpolate(image, scale_factor=self.scale) * (-1 if invert else 1)


class Classes(Task):
    """Dark is class 0, light is class 1."""

    makes = LabelMap()

    def translate(self, image: Tensor) -> Tensor:
        return (image.mean(1, keepdim=True) > 0).long()


class Painted(Task):
    """Label maps -> pictures."""

    takes = LabelMap()

    def translate(self, labels: Tensor) -> Tensor:
        return (labels / 2 - 0.5).expand(-1, 3, -1, -1)


class Filmed(Task):
    """Pictures -> clips."""

    makes = Clip()

    def translate(self, image: Tensor) -> Tensor:
        return image[:, None].expand(-1, 2, -1, -1, -1)


TASKS: dict[str, Any] = {
    "same": Larger,
    "double <b>": lambda: Larger(2),
    "classes": Classes,
    "painted": Painted,
    "filmed": Filmed,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a picture; a model is loaded by the name of a task above."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "load", lambda name: i2i.Model(TASKS[name](), {}, Path(name)))
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(values).save("a.png")
    return tmp_path


def test_a_sheet_has_the_input_first_and_all_in_the_size_of_the_largest(home: Path) -> None:
    results.run("a.png", ["same", "double <b>"], ["sheet.png"], {"2.invert": "1"})
    sheet = np.asarray(Image.open("sheet.png"))
    width, height = 60 * 4, 40 * 4  # 60x40 enlarged to at least 192 pixels
    assert sheet.shape == (GAP + height + 2 * LINE + GAP, GAP + 3 * (width + GAP), 3)
    cells = [sheet[GAP + 2 * LINE :, GAP + at * (width + GAP) :][:height:4, :width:4] for at in range(3)]
    given = Image.open("a.png")
    enlarged = np.asarray(given.resize((60, 40), Image.Resampling.BICUBIC))
    assert np.array_equal(cells[0], enlarged)
    assert np.array_equal(cells[1], enlarged)
    assert np.array_equal(cells[2], 255 - np.asarray(given).repeat(2, 0).repeat(2, 1))


def test_names_have_the_number_the_conditions_and_what_was_done(home: Path) -> None:
    models = [results.load(name) for name in ("same", "same", "double <b>")]
    names = ["same", "same", "double <b>"]
    shown = results.results("a.png", names, models, {"invert": "", "2.invert": "1"})
    assert [one.name for one in shown] == [
        "input",
        "1. same invert=",
        "2. same invert=1",
        "3. double <b> invert=",
    ]
    assert [one.about for one in shown] == ["30x20, enlarged to 60x40 (bicubic)"] * 3 + ["60x40"]
    assert not np.array_equal(shown[1].pixels, shown[2].pixels)


def test_transparent_pixels_are_white_and_label_maps_are_coloured(home: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save("clear.png")
    shown = results.results("clear.png", ["same"], [results.load("same")], {})
    assert all((one.pixels == 255).all() for one in shown)
    shown = results.results("a.png", ["classes"], [results.load("classes")], {})
    assert len(np.unique(shown[1].pixels.reshape(-1, 3), axis=0)) == 2
    Image.fromarray(np.eye(4, dtype=np.uint8)).save("labels.png")
    shown = results.results("labels.png", ["painted"], [results.load("painted")], {})
    assert np.unique(shown[1].pixels).tolist() == [64, 128]
    assert not np.array_equal(shown[0].pixels[0, 0], shown[0].pixels[0, 1])


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_a_page_is_self_contained_escaped_and_has_every_picture_once(home: Path) -> None:
    shutil.copy("a.png", "<i>&\"'.png")
    results.run("<i>&\"'.png", ["same", "double <b>"], ["page.html"], {})
    text = Path("page.html").read_text()
    page = Page(text)
    assert not page.all("i")
    assert not page.all("b")
    assert "<i>&\"'.png" in page.text
    embedded = [image for image in page.all("img") if image.get("src")]
    assert [image["alt"] for image in embedded] == ["input", "1. same", "2. double <b>"]
    for image in embedded:
        kind, _, data = (image["src"] or "").partition(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (60, 40)
    without = re.sub("base64,[^\"']+", "", text)
    assert "http" not in without.replace("http-equiv", "")
    assert "url(" not in without
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))
    (policy,) = (one["content"] or "" for one in page.all("meta") if one.get("http-equiv"))
    (script,) = re.findall("<script>(.*?)</script>", text, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy  # otherwise browsers would not run it


def test_the_divider_can_be_used_from_the_keyboard_and_by_screen_readers(home: Path) -> None:
    results.run("a.png", ["same"], ["page.html"], {})
    page = Page(Path("page.html").read_text())
    (slider,) = page.all("input")
    assert (slider["type"], slider["value"]) == ("range", "50")
    assert slider["aria-label"]
    assert [menu["id"] for menu in page.all("select")] == ["left", "right"]
    assert len(page.all("label")) == 2
    assert page.all("html")[0]["lang"] == "en"
    assert [option["value"] for option in page.all("option") if "selected" in option] == ["0", "1"]


DOCUMENT = """
const made = {};
function element(name) {
  return made[name] ??= {
    name, value: "0", hidden: true, on: {}, attributes: {}, style: { setProperty(key, value) { this[key] = value } },
    querySelector: (inner) => element(inner), addEventListener(event, call) { this.on[event] = call },
    setAttribute(key, value) { this.attributes[key] = value },
  };
}
const document = {
  querySelector: element, getElementById: element,
  querySelectorAll: () => [{ src: "one", alt: "input" }, { src: "two", alt: "1. a" }, { src: "three", alt: "2. b" }],
};
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_moves_the_divider_and_changes_the_pictures() -> None:
    use = """
    slider.value = "25"; slider.on.input();
    element("right").value = "2"; element("right").on.change();
    console.log(stage.style["--Divider"], slider.attributes["aria-valuetext"]);
    console.log(element(".left").src, element(".left").alt, element(".right").src, element(".right").alt);
    console.log(element("compare").hidden);
    """
    done = subprocess.run(["node", "-e", DOCUMENT + SCRIPT + use], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "25% 25 % of the left picture is shown",
        "one left: input three right: 2. b",
        "false",
    ], done.stderr


def test_mistakes_are_one_sentence_before_anything_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("old.png").write_bytes(b"mine")
    monkeypatch.setattr(Larger, "translate", lambda self, image: 1 / 0)
    for sources, out, condition, wrong, sentence in (
        ([], "x.png", {}, ConfigError, "no model to compare"),
        (["same"], "x.txt", {}, ConfigError, "'x.txt': this suffix cannot be written; possible: .png,"),
        (["same"], "old.png", {}, ConfigError, "'old.png' already exists: use --force"),
        (["same"], "a.png", {}, ConfigError, "'a.png' is also the input"),
        (["same", "painted"], "x.png", {}, ConfigError, "same takes images, but painted takes label maps"),
        (["same", "same"], "x.png", {"invrt": "1"}, ConfigError, "-c invrt=1: no model of same, same has this"),
        (["same", "classes"], "x.png", {"2.invert": "1"}, ConfigError, "-c 2.invert=1: no model of"),
        (["same"], "x.png", {"2.invert": "1"}, ConfigError, "-c 2.invert=1: no model of same has this condition"),
    ):
        with pytest.raises(wrong) as caught:
            results.run("a.png", sources, [out], condition)
        assert str(caught.value).startswith(sentence)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="i2i compare shows still pictures, not clips"):
        results.run("a.png", ["filmed"], ["x.png"], {})
    with pytest.raises(DataError, match=r"missing\.png"):
        results.run("missing.png", ["classes"], ["x.png"], {})
    assert {path.name for path in home.iterdir()} == {"a.png", "old.png"}


def test_both_files_at_once_and_force(home: Path) -> None:
    Path("sheet.png").write_bytes(b"old")
    results.run("a.png", ["same"], ["sheet.png", "new/page.html"], {}, force=True)
    assert Image.open("sheet.png").width > 100
    assert Path("new/page.html").stat().st_size > 1000


def test_six_models_are_laid_out_in_rows_and_long_names_fit() -> None:
    shown = [Shown(np.full((100, 200, 3), at, np.uint8), f"{at}. {'x' * 90}end", "200x100") for at in range(7)]
    sheet = pixels_of(shown)
    assert sheet.shape == (GAP + 3 * (100 + 2 * LINE + GAP), GAP + 3 * (200 + GAP), 3)
    font = ImageFont.load_default(13)
    text = fitted("1. runs/" + "x" * 90 + "/model", 200, font)
    assert font.getlength(text) <= 200
    assert re.fullmatch(r"1\. runs/x*\.\.\.x*/model", text)
    assert "x" * 90 in html_of("a", shown)


def test_captions_of_large_pictures_are_whole() -> None:
    def sheet(about: str) -> np.ndarray:
        return pixels_of([Shown(np.full((64, 1500, 3), 200, np.uint8), "a", about)] * 2)

    blank, text = sheet(""), sheet("(gjpqy,)")
    line, top = 1500 // 30, GAP
    written = np.flatnonzero((blank != text).any((1, 2)))
    assert top + line <= written[0]
    assert written[-1] < top + 2 * line - 1  # the row above the picture is still white


def test_a_chain_can_be_compared_with_its_parts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from i2i.model.chain import Chain

    whole = Chain([i2i.Model(Larger(2), {}, Path("x")), i2i.Model(Larger(2), {}, Path("y"))], ["x", "y"])
    shown = results.results("a.png", ["x | y", "same"], [whole, results.load("same")], {"1.2.invert": "1"})
    assert [one.about for one in shown] == ["30x20, enlarged to 120x80 (bicubic)", "120x80", shown[0].about]
    assert shown[1].name == "1. x | y 2.invert=1"
    assert torch.equal(
        torch.from_numpy(255 - shown[1].pixels[::4, ::4]), torch.from_numpy(np.array(Image.open("a.png")))
    )
