"""The page of `i2i serve` in a real browser: every control is used, with the mouse and with the keyboard."""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs i2i[serve]")
pytest.importorskip("playwright", reason="needs the Python package playwright")

from faults.server import Server, picture
from linear_gan import linear_gan
from playwright import sync_api

CHROMIUM = os.environ.get("I2I_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run"
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "plugins" / "i2i_serve" / "page"
EVIL = "<img src=x onerror=document.title='owned'>.png"


SPADE = """
task:
  use: spade
  generator: {use: spade_generator, width: 2, size: 32, hidden: 4}
  encoder: {use: style_encoder, width: 2, z: 4, size: 32}
  classes: 8
data: {use: landscapes, size: 32, batch_size: 1, samples: 4}
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 1}
"""


def untrained(folder: Path, name: str, text: str) -> str:
    """Write the first weights of a config, and return the path of the file."""
    from i2i import checkpoint, config
    from i2i.plugins import registry

    _, build = config.task_of(text, name, registry().catalog)
    file = folder / f"{name}.safetensors"
    weights = {key: value for key, value in build().state_dict().items() if not key.endswith("_extra_state")}
    checkpoint.save_model(file, weights, text, {})
    return str(file)


def shipped(folder: Path, name: str) -> str:
    """Write the first weights of a config of `configs`, for training on few samples."""
    text = (ROOT / "configs" / f"{name}.yaml").read_text()
    return untrained(folder, name, text.replace("samples: 4000}", "samples: 80}"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    others = [shipped(folder, name) for name in ("faces_vae", "text2image", "video_prediction", "videogan")]
    others.append(str(linear_gan(folder / "linear_gan.safetensors")))
    server = Server(
        folder, untrained(folder, "spade", SPADE), "upscale-x2", "digits", "digits-vae", "horse2zebra", *others
    )
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS.split())
        yield browser
        browser.close()


@pytest.fixture
def page(server: Server, browser: Any) -> Iterator[Any]:
    """Yield the page, which must load nothing from elsewhere and report no error."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("request", lambda one: None if one.url.startswith((server.url, "blob:")) else wrong.append(one.url))
    page.goto(server.url)
    page.locator(".drop").wait_for()
    yield page
    context.close()
    assert not [line for line in wrong if "415" not in line], wrong


def choose(page: Any, name: str) -> None:
    """Choose a model by its card."""
    page.locator(f"input[value='{name}']").check(force=True)
    sync_api.expect(page.locator("#work-title")).to_have_text(name)
    sync_api.expect(page.locator("#about")).to_have_text("", timeout=30_000)  # the model is loaded


def pixels(page: Any, locator: str, folder: Path) -> np.ndarray:
    """Download what a link gives, and return its pixels."""
    with page.expect_download() as download:
        page.locator(locator).first.click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return np.asarray(Image.open(io.BytesIO(file.read_bytes())))


def upload(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def test_pictures_are_translated_shown_and_downloaded(page: Any, tmp_path: Path) -> None:
    choose(page, "upscale-x2")
    page.set_input_files(".drop input", [upload("a.png", picture(20, 10)), upload("b.png", picture(8, 8, seed=1))])
    sync_api.expect(page.locator("#status")).to_have_text("2 of 2 done", timeout=30_000)
    assert pixels(page, ".files li:nth-child(1) a", tmp_path).shape == (20, 40, 3)
    page.locator(".files li:nth-child(2) >> text=Show").click()
    sync_api.expect(page.locator(".files li:nth-child(2)")).to_have_class("chosen")
    slider = page.locator(".stage input")
    slider.focus()
    before = float(slider.input_value())
    page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) > before
    assert "% of the picture before" in slider.get_attribute("aria-valuetext")
    shown = page.locator(".viewer output")
    page.get_by_label("One pixel for one").click()
    sync_api.expect(shown).to_have_text("100 %")
    page.get_by_label("Zoom in").click()
    sync_api.expect(shown).to_have_text("200 %")
    page.get_by_label("Zoom out").click()
    sync_api.expect(shown).to_have_text("100 %")
    page.get_by_label("Fit the page").click()
    page.locator(".viewer >> text=Download").click()
    page.get_by_label("Remove a.png").click()
    sync_api.expect(page.locator(".files li")).to_have_count(1)
    choose(page, "trouble")
    page.get_by_label("How", exact=True).select_option("nan")
    page.locator("text=Use the same 2 files").click()
    sync_api.expect(page.locator("#status")).to_have_text("0 of 2 done, 2 failed", timeout=30_000)
    page.get_by_label("How", exact=True).select_option("fine")
    page.locator("text=Try again").first.click()
    sync_api.expect(page.locator("#status")).to_have_text("1 of 2 done, 1 failed", timeout=30_000)


def test_a_file_that_is_no_picture_is_reported_and_the_others_go_on(page: Any) -> None:
    choose(page, "upscale-x2")
    page.set_input_files(".drop input", [upload("notes.png", b"hello"), upload("b.png", picture())])
    sync_api.expect(page.locator("#status")).to_have_text("1 of 2 done, 1 failed", timeout=30_000)
    sync_api.expect(page.locator(".files .bad .state")).to_contain_text("Not an image")
    sync_api.expect(page.locator(".files img")).to_have_count(1)  # no broken one for the notes
    choose(page, "digits")
    sync_api.expect(page.locator("#status")).to_have_text(
        re.compile("^(|Waiting.*|Decoded)$")
    )  # not of another model


def test_the_directions_are_explained_as_the_card_does(page: Any) -> None:
    choose(page, "horse2zebra")
    options = page.get_by_label("Direction").locator("option")
    assert options.all_inner_texts() == ["AtoB: horse to zebra", "BtoA: zebra to horse"]
    assert options.nth(1).get_attribute("value") == "BtoA"


def test_pictures_can_be_dropped_and_pasted(page: Any) -> None:
    choose(page, "upscale-x2")
    give = """([content, kind, target]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(content)], `${kind}.png`, {type: "image/png"}));
        const event = kind === "drop" ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
          : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
        document.querySelector(target).dispatchEvent(event);
    }"""
    page.evaluate(give, [list(picture()), "drop", ".drop"])
    page.evaluate(give, [list(picture()), "paste", "body"])
    sync_api.expect(page.locator("#status")).to_have_text("2 of 2 done", timeout=30_000)
    assert page.locator(".files .name").all_inner_texts() == ["drop.png", "paste.png"]


def test_H4_a_name_with_markup_makes_no_element(page: Any) -> None:
    choose(page, "upscale-x2")
    page.set_input_files(".drop input", [upload(EVIL, picture())])
    sync_api.expect(page.locator("#status")).to_have_text("1 of 1 done", timeout=30_000)
    assert page.locator(".files .name").inner_text() == EVIL
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "i2i"


def test_digits_are_made_of_a_class(page: Any, tmp_path: Path) -> None:
    choose(page, "digits")
    form = page.locator(".panel-sample")
    form.get_by_label("class").select_option("7")
    form.get_by_label("how many").fill("3")
    form.locator("text=Another seed").click()
    form.get_by_label("Seed", exact=True).fill("5")
    form.locator("text=Make pictures").click()
    sync_api.expect(page.locator(".grid li")).to_have_count(3, timeout=30_000)
    first = pixels(page, ".grid a", tmp_path)
    form.locator("text=Make pictures").click()
    sync_api.expect(page.locator("#status")).to_have_text("3 made", timeout=30_000)
    assert (first == pixels(page, ".grid a", tmp_path)).all()


def test_pictures_of_a_text_are_made(page: Any, tmp_path: Path) -> None:
    choose(page, "text2image")
    form = page.locator(".panel-sample")
    make = form.get_by_role("button", name="Make pictures")
    make.click()
    assert page.locator(".grid li").count() == 0  # the browser asks for a text
    form.get_by_label("text").fill("two red circles above a blue square")
    form.get_by_label("how many").fill("2")
    make.click()
    sync_api.expect(page.locator("#status")).to_have_text("2 made", timeout=30_000)
    assert pixels(page, ".grid a", tmp_path).shape == (32, 32, 3)


def test_clips_are_continued_and_made(page: Any) -> None:
    choose(page, "video_prediction")
    page.set_input_files(".drop input", [{"name": "a.gif", "mimeType": "image/gif", "buffer": clip()}])
    sync_api.expect(page.locator("#status")).to_have_text("1 of 1 done", timeout=60_000)
    sync_api.expect(page.locator(".viewer figcaption")).to_have_text("a.gif")
    assert frames(page, ".viewer a") == 12
    choose(page, "videogan")
    page.get_by_label("how many").fill("1")
    page.get_by_role("button", name="Make clips").click()
    sync_api.expect(page.locator("#status")).to_have_text("1 made", timeout=60_000)
    assert frames(page, ".grid a") == 16


def clip() -> bytes:
    """Return a GIF of four different frames of 32 pixels."""
    buffer = io.BytesIO()
    first, *others = (Image.open(io.BytesIO(picture(32, 32, seed=n))) for n in range(4))
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=125)
    return buffer.getvalue()


def frames(page: Any, locator: str) -> int:
    """Download what a link gives, and return its number of frames."""
    with page.expect_download() as download:
        page.locator(locator).first.click()
    with Image.open(download.value.path()) as made:
        return int(made.n_frames)


def test_a_job_is_cancelled(page: Any) -> None:
    choose(page, "trouble")
    form = page.locator(".panel-sample")
    form.get_by_label("seconds").fill("3")
    make, cancel = form.get_by_role("button", name="Make pictures"), form.get_by_role("button", name="Cancel")
    sync_api.expect(cancel).to_be_hidden()
    make.click()
    sync_api.expect(page.locator("#status")).to_have_text("Working…", timeout=30_000)
    cancel.click()
    sync_api.expect(page.locator("#status")).to_have_text("Cancelled")
    sync_api.expect(cancel).to_be_hidden()
    form.get_by_label("seconds").fill("0")
    make.click()
    sync_api.expect(page.locator("#status")).to_have_text("8 made", timeout=30_000)  # what ran is computed to its end


def test_the_format_of_results_is_chosen(page: Any) -> None:
    choose(page, "upscale-x2")
    page.get_by_label("format").select_option("webp")
    page.set_input_files(".drop input", [upload("a.png", picture())])
    sync_api.expect(page.locator("#status")).to_have_text("1 of 1 done", timeout=30_000)
    with page.expect_download() as download:
        page.locator(".files a").click()
    assert download.value.suggested_filename == "a-upscale-x2.webp"
    with Image.open(download.value.path()) as made:
        assert made.format == "WEBP"


def test_a_label_map_is_painted_filled_undone_and_translated(page: Any, tmp_path: Path) -> None:
    choose(page, "spade")
    page.get_by_label("Draw after each stroke").uncheck()
    page.locator(".swatch", has_text="water").click()
    page.get_by_label("brush width").fill("6")
    canvas = page.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.get_by_label("tool").select_option("fill")
    page.locator(".swatch", has_text="grass").click()
    canvas.click(position={"x": 20, "y": box["height"] - 10})
    canvas.press("8")  # tree
    page.get_by_label("tool").select_option("brush")
    canvas.press("ArrowUp")
    canvas.press("Space")
    page.locator("text=Make the picture").click()
    link = "text=Download the label map"
    page.locator(link).wait_for(timeout=30_000)
    labels = pixels(page, link, tmp_path)
    assert labels.shape == (32, 32)
    assert (labels[0] == 0).all()
    assert (labels[16, :8] == 4).all()
    assert (labels[-1] == 3).all()
    assert (labels == 7).sum() > 10
    assert pixels(page, "text=Download the picture", tmp_path).shape == (32, 32, 3)
    canvas.press("Control+z")
    page.get_by_label("style").set_input_files(upload("style.png", picture(40, 40)))
    page.get_by_role("button", name="Undo").click()
    page.get_by_label("Draw after each stroke").check()
    page.get_by_role("button", name="Undo").click()
    sync_api.expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    page.wait_for_timeout(500)
    sync_api.expect(page.locator("#status")).to_have_text("Done", timeout=30_000)
    sync_api.expect(page.locator(link)).to_have_count(1)
    assert (pixels(page, link, tmp_path) == 0).all()
    page.get_by_label("open a label map").set_input_files(upload("labels.png", encoded(labels)))
    eventually(lambda: (pixels(page, link, tmp_path) == labels).all())
    page.get_by_label("Draw after each stroke").uncheck()
    page.locator(".swatch", has_text="water").click()
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Make the picture").click()
    eventually(lambda: (pixels(page, link, tmp_path) == 4).all())


def eventually(holds: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until something holds; the page draws while it is used."""
    latest = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < latest
        time.sleep(0.2)


def encoded(labels: np.ndarray) -> bytes:
    """Return a label map as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, format="PNG")
    return buffer.getvalue()


def test_sliders_move_a_code_and_a_picture_is_encoded(page: Any, tmp_path: Path) -> None:
    choose(page, "digits-vae")
    made = ".latent a"
    page.locator(made).wait_for(timeout=30_000)
    first = pixels(page, made, tmp_path)
    page.get_by_label("z1", exact=True).fill("3")
    page.get_by_label("z2", exact=True).fill("-3")
    sync_api.expect(page.locator("#status")).to_have_text("Decoded", timeout=30_000)
    page.wait_for_timeout(500)
    assert (pixels(page, made, tmp_path) != first).any()
    sliders = page.locator(".slider")
    shown = sliders.count()
    page.locator("text=More sliders").click()
    assert sliders.count() > shown
    assert page.get_by_label("z9", exact=True).input_value() == "-4.2"  # not cut at -4
    page.get_by_label("or encode a picture").set_input_files(upload("digit.png", picture(28, 28)))
    page.wait_for_timeout(300)
    sync_api.expect(page.locator("#status")).to_have_text("Decoded", timeout=30_000)
    page.locator("text=Random").click()
    sync_api.expect(page.locator("#status")).to_have_text("Decoded", timeout=30_000)
    assert page.get_by_role("button", name="Find attribute directions").count() == 0  # the data are not known
    page.get_by_label("Seed", exact=True).last.fill("0")
    page.get_by_role("button", name="Draw a code").click()
    page.wait_for_timeout(500)
    sync_api.expect(page.locator("#status")).to_have_text("Decoded", timeout=30_000)
    assert (pixels(page, made, tmp_path) == first).all()


@pytest.mark.parametrize(("model", "attribute"), [("faces_vae", "glasses"), ("linear_gan", "sex")])
def test_a_face_is_changed_along_the_direction_of_an_attribute(
    page: Any, tmp_path: Path, model: str, attribute: str
) -> None:
    choose(page, model)
    made = ".latent a"
    page.locator(made).wait_for(timeout=30_000)
    first = pixels(page, made, tmp_path)
    page.get_by_role("button", name="Find attribute directions").click()
    slider = page.get_by_role("slider", name=attribute)
    slider.wait_for(timeout=90_000)
    sync_api.expect(page.locator("#status")).to_contain_text("directions")
    slider.fill("3")
    sync_api.expect(page.locator("#status")).to_have_text("Decoded", timeout=30_000)
    page.wait_for_timeout(500)
    assert (pixels(page, made, tmp_path) != first).any()


def test_attributes_without_a_direction_are_named(page: Any) -> None:
    found = {"attributes": ["sex"], "vectors": [[0.0] * 40], "fit": [1.0], "refused": {"luck": "why", "wit": "why"}}
    job = {"id": "0" * 32, "state": "done", "before": 0, "error": None, "data": found, "results": []}
    page.route("**/v1/latent/directions", lambda route: route.fulfill(json=job))
    page.route(f"**/v1/jobs/{job['id']}", lambda route: route.fulfill(json={}))
    choose(page, "linear_gan")
    page.locator(".latent a").wait_for(timeout=30_000)
    page.get_by_role("button", name="Find attribute directions").click()
    sync_api.expect(page.locator("#status")).to_have_text("1 directions; none for luck, wit")
    assert page.get_by_role("slider", name="luck").count() == 0


def test_the_cards_are_chosen_with_the_keyboard_and_say_the_licence(page: Any) -> None:
    card = page.locator(".card", has_text="upscale-x2")
    for text in ("upscale-x2", "×2", "Apache-2.0", "Set5"):
        assert text in card.inner_text()
    assert "upscale x2" not in card.inner_text()  # the name again
    choose(page, "upscale-x2")
    page.locator("input[value='upscale-x2']").focus()
    page.keyboard.press("ArrowDown")
    sync_api.expect(page.locator("#work-title")).not_to_have_text("upscale-x2")
    page.keyboard.press("ArrowUp")
    sync_api.expect(page.locator("#work-title")).to_have_text("upscale-x2")


def test_the_tab_key_goes_through_the_controls_in_their_order_and_shows_where_it_is(page: Any) -> None:
    choose(page, "upscale-x2")
    page.evaluate("document.activeElement.blur()")
    name = (
        "document.activeElement.ariaLabel || (document.activeElement.labels?.[0] || document.activeElement).innerText"
    )
    outlined = """["*", "label", ".drop"].some((part) => {
        const around = document.activeElement.closest(part);
        return around && getComputedStyle(around).outlineStyle !== "none";
    })"""
    passed = []
    for _ in range(4):
        page.keyboard.press("Tab")
        passed.append(page.evaluate(name))
        assert page.evaluate(outlined), passed
    assert passed == ["Skip to the pictures", "upscale-x2", "Format", "Choose pictures"]
    page.get_by_role("link", name="Skip to the pictures").focus()
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#work")).to_be_focused()


def test_the_token_page_says_that_a_token_is_wrong_and_moves_the_focus_on(browser: Any, tmp_path: Path) -> None:
    server = Server(tmp_path, token="a-long-random-word")
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    try:
        page.goto(server.url)
        token, status = page.get_by_label("Token"), page.get_by_role("status")
        sync_api.expect(status).to_have_text("A token is needed.")
        sync_api.expect(token).to_be_focused()
        assert page.locator("main section:visible").count() == 0
        for given, said in (
            ("another-long-word", "This is not the token of the server."),
            ("a-long-random-word", "1 model"),
        ):
            token.fill(given)
            page.keyboard.press("Enter")
            sync_api.expect(status).to_have_text(said)
        sync_api.expect(page.get_by_role("radio", name="trouble")).to_be_focused()
        page.goto(f"{server.url}/nowhere")
        page.get_by_role("link", name="To the pictures").click()
        sync_api.expect(page.get_by_role("radio", name="trouble")).to_be_visible()
    finally:
        context.close()
        assert server.stop() == 0


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (1400, "dark")])
def test_it_fits_small_and_large_screens_and_every_control_has_a_name(
    server: Server, browser: Any, width: int, scheme: Any
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(server.url)
    page.locator(".drop").wait_for()
    for name in ("upscale-x2", "digits", "spade", "digits-vae", "text2image", "video_prediction"):
        choose(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        nameless = """[...document.querySelectorAll("button, input, select, textarea, canvas, a")].filter((one) =>
            one.offsetParent && !(one.labels?.length || one.getAttribute("aria-label") || one.innerText)).length"""
        assert page.evaluate(nameless) == 0, name
    back = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (int(back[4:].split(",")[0]) < 100) == (scheme == "dark")
    context.close()


def test_every_control_of_the_page_is_used_by_a_test() -> None:
    kinds = (
        r'make\("button", .*?\}, "([^"]{2,})"\)',
        r'field\("([^"]+)"',
        r' button\("[^"]*", "([^"]+)"',
        r"<a [^>]*>([^<]+)<",
    )
    code = "".join(file.read_text() for file in sorted(PAGE.glob("*.js"))) + (PAGE / "index.html").read_text()
    names = {name for kind in kinds for name in re.findall(kind, code)}
    assert len(names) > 20
    own = Path(__file__).read_text().lower()  # the page capitalises the names of fields
    assert not [name for name in sorted(names) if not re.search(f'["=]{re.escape(name.lower())}"', own)]
