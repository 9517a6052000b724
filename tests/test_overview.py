"""`i2i runs`, `i2i compare RUN RUN`, the report page, and the observers TensorBoard and Weights & Biases."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import i2i_tensorboard
import i2i_wandb
import numpy as np
import pytest
from i2i_compare import compare
from i2i_report.page import explained
from i2i_report.page import page as report
from i2i_runs import runs as list_runs

from i2i import ConfigError, DataError, files, images
from i2i.files.held import ending, locked
from i2i.pages import charts, page, table
from i2i.runs import Run, overview, overviews, settings_of, sheet_of
from i2i.runs.progress import pace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CONFIG = """
task:
  use: superres
  generator: {{use: compact_sr, scale: 2, width: 24}}
  lambda_pixel: 1.0
data: {{use: superres, root: pictures, scale: 2, batch_size: {batch}}}
optimizer: {{use: adam, lr: {lr}}}
train: {{steps: 300, best: {best}, ema: 0.999}}
metrics: [{{use: psnr}}]
"""


def made(
    folder: Path, *, lr: str = "2.0e-4", best: str = "null", batch: int = 16, finished: bool = True, level: int = 0
) -> Run:
    """Write the folder of a run of 300 steps with three evaluations, of which the second is the best."""
    run = Run(folder)
    run.samples.mkdir(parents=True)
    run.config_file.write_text(CONFIG.format(lr=lr, best=best, batch=batch))
    lines: list[dict[str, Any]] = []
    for step in (100, 200, 300):
        lines.append({"step": step, "epoch": 0, "G/pixel": 1 / step, "lr/G": 2e-4})
        lines.append({"step": step, "epoch": 0, "metric/psnr/db": {100: 25.0, 200: 27.5, 300: 26.0}[step]})
        shapes = {"low": (1, 32, 32, 3), "high": (1, 64, 64, 3)}
        sheet = images.grid({name: np.full(shape, step // 2 + level, np.uint8) for name, shape in shapes.items()})
        about = {"columns": json.dumps(images.layout(shapes))}
        (run.samples / f"{step:08d}.png").write_bytes(images.png(sheet, about))
    run.log_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.timing_file.write_text('{"step": 100, "seconds": 60.5, "waiting": 0.0}\n' * 2)
    run.environment_file.write_text('{"step": 0, "torch": "2.13", "device": "cpu"}\n')
    if finished:
        run.metrics_file.write_text('{"step": 300, "psnr/db": 26.0}')
    return run


# ---- the list


def test_the_newest_run_comes_first_with_its_best_result_time_and_size(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "sub/new")):
        run = made(tmp_path / name, best="psnr/db" if number else "null")
        os.utime(run.log_file, (1000 + number, 1000 + number))
    found, bad = overviews(tmp_path)
    assert bad == []
    assert [Path(one.folder).name for one in found] == ["new", "old"]
    new, old = found
    assert (new.metric, new.value, new.best_step) == ("psnr/db", 27.5, 200)
    assert (old.metric, old.value, old.best_step) == ("psnr/db", 26.0, 300)
    assert (new.state, new.step, new.steps, new.seconds, new.task) == ("finished", 300, 300, 121.0, "superres")
    assert new.bytes == sum(path.stat().st_size for path in (tmp_path / "sub" / "new").rglob("*") if path.is_file())


def test_the_lowest_result_is_the_best_where_the_config_says_so(tmp_path: Path) -> None:
    run = made(tmp_path / "run", best="psnr/db, best_is: lowest")
    assert overviews(run.folder)[0][0].value == 25.0


def test_a_metric_says_more_than_the_task_about_itself(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    run.metrics_file.write_text(json.dumps({"step": 300, "validation/accuracy": 0.99, "kid/random_conv": 4.5}))
    assert (overviews(run.folder)[0][0].metric, overviews(run.folder)[0][0].value) == ("kid/random_conv", 4.5)
    assert run.scores() == {"kid/random_conv": 4.5, "validation/accuracy": 0.99}


def test_what_cannot_be_read_is_named_and_the_rest_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "good")
    for name, file, text in (
        ("no_config", "log.jsonl", "{}\n"),
        ("cut_log", "log.jsonl", '{"step": 1, "ep\n{"step": 2}\n'),
        ("bad_config", "config.yaml", "task: [\n"),
        ("other_config", "config.yaml", "task: 3\n"),
    ):
        if name != "no_config":
            made(tmp_path / name)
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_text(text)
    list_runs(str(tmp_path))
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 2
    assert "good" in shown.out
    for name in ("no_config", "cut_log", "bad_config", "other_config"):
        assert len(re.findall(rf"^i2i: \S*{name} cannot be read: \S.*$", shown.err, flags=re.M)) == 1
    list_runs(str(tmp_path), json=True)
    tree = json.loads(capsys.readouterr().out)
    assert len(tree["runs"]) == 1
    assert len(tree["unreadable"]) == 4


@pytest.mark.parametrize("end", ['{"step": 301, "ep', '{"step": 301}', "\0\0\0\n"])
def test_a_last_line_that_is_not_complete_is_ignored(tmp_path: Path, end: str) -> None:
    run = made(tmp_path / "run")
    before = overviews(run.folder), run.log(), run.timing()
    for file in (run.log_file, run.timing_file):
        changed = file.stat().st_mtime_ns
        file.write_text(file.read_text() + end)
        os.utime(file, ns=(changed, changed))
    (found, bad), log, timing = overviews(run.folder), run.log(), run.timing()
    assert (([replace(one, bytes=0) for one in found], bad), log, timing) == (
        ([replace(one, bytes=0) for one in before[0][0]], []),
        *before[1:],
    )


def test_what_vanishes_meanwhile_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path / "run", finished=False)
    size = overviews(run.folder)[0][0].bytes
    for place in (run.folder / "checkpoints" / "step_00000100", run.folder / "checkpoints" / "step_00000200"):
        place.mkdir(parents=True)
        (place / "state").write_bytes(b"12345")
    real = os.scandir

    def scanned(folder: Path) -> list[os.DirEntry[str]]:
        entries = [*real(folder)]
        shutil.rmtree(run.checkpoints / "step_00000100", ignore_errors=True)
        if Path(folder).name == "step_00000200":
            (Path(folder) / "state").unlink()
        return entries

    monkeypatch.setattr(overview, "os", SimpleNamespace(**{**vars(os), "scandir": scanned}))
    assert overview.size_of(run.folder) == size


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give a folder with runs"):
        list_runs(str(tmp_path / "none"))


def program(folder: Path, end: str) -> subprocess.Popen[str]:
    code = f"from i2i import files\nwith files.lock({str(folder)!r}): print('held', flush=True); input(); {end}"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        ("pass", "stopped", ""),
        ("raise KeyboardInterrupt", "stopped", "KeyboardInterrupt"),
        ("raise ValueError('loss is NaN')", "crashed", "loss is NaN"),
        ("import os; os.kill(os.getpid(), 9)", "crashed", "killed, or stopped by a version that did not record it"),
    ],
)
def test_the_state_of_a_run_that_is_not_finished(tmp_path: Path, end: str, state: str, reason: str) -> None:
    run = made(tmp_path / "run", finished=False)
    child = program(run.folder, end)
    assert locked(run.folder)
    assert overviews(run.folder)[0][0].state == "running"
    child.communicate("\n")
    found = overviews(run.folder)[0][0]
    assert (found.state, found.reason) == (state, reason)


def test_the_step_is_that_of_the_newest_checkpoint_if_the_log_is_older(tmp_path: Path) -> None:
    run = made(tmp_path / "run", finished=False)
    before = overviews(run.folder)[0][0].step
    (run.checkpoints / f"step_{before + 2:08d}").mkdir(parents=True)
    assert overviews(run.folder)[0][0].step == before + 2


def test_asking_for_the_state_keeps_the_lock_of_this_process(tmp_path: Path) -> None:
    run = made(tmp_path / "run", finished=False)
    with files.lock(run.folder):
        assert overviews(run.folder)[0][0].state == "running"
        code = f"from i2i.files.held import locked; raise SystemExit(not locked({str(run.folder)!r}))"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert not locked(run.folder)
    assert ending(run.folder) == "ended"
    with pytest.raises(ConfigError), files.lock(run.folder):
        raise ConfigError("was started with other settings")
    assert ending(run.folder) == "ended"  # what was refused has changed nothing
    with suppress(ConfigError), files.lock(run.folder):
        files.append_line(run.log_file, '{"step": 9}')
        raise ConfigError("a learning rate went below 0")
    assert overviews(run.folder)[0][0].reason == "a learning rate went below 0"  # in the middle of a training
    with pytest.raises(ConfigError), files.lock(run.folder):
        raise ConfigError("was started with other settings")
    assert "below 0" in ending(run.folder)


def test_a_stop_by_signal_is_no_crash(tmp_path: Path) -> None:
    run = made(tmp_path / "run", finished=False)
    child = program(run.folder, "pass")
    child.send_signal(signal.SIGINT)
    child.communicate()
    assert overviews(run.folder)[0][0].state == "stopped"


# ---- settings


def test_settings_are_compared_with_the_defaults_of_the_constructors() -> None:
    found = {one.key: one for one in settings_of(CONFIG.format(lr="1e-3", best="null", batch=16))}
    assert found["optimizer.lr"][1:] == ("0.001", "0.0002")
    assert found["optimizer.lr"].changed
    assert not found["data.batch_size"].changed
    assert found["task.generator.scale"].value == "2"
    assert found["train.ema"][1:] == ("0.999", "null")
    assert found["metrics[0].use"][1:] == ("psnr", "(none)")


def test_settings_of_a_plugin_that_is_missing_have_no_defaults() -> None:
    found = settings_of("task: {use: nowhere, width: 3}\ntrain: {steps: 3, seed: 0}\n")
    assert [(one.key, one.default) for one in found if one.changed] == [
        ("task.use", "(none)"),
        ("task.width", "(none)"),
        ("train.steps", "null"),
    ]


# ---- pages


def test_a_page_is_self_contained_and_escapes_what_it_is_given() -> None:
    bad = "</script><img src=x onerror=alert(1)>"
    text = page(bad, [table({bad: bad}), charts({bad: {bad: [(1, 2.0), (2, float("nan"))]}})], about=bad)
    assert "<img src=x" not in text
    assert not re.findall(r"(?:src|href)=\"?(?:https?:)?//", text)
    assert "script-src 'sha256-" in text
    data = re.search(r'<script type="application/json">(.*?)</script>', text)
    assert data
    assert json.loads(data[1]) == [[bad, [1, 2], [2.0, None]]]


def test_the_report_has_everything_about_the_run(tmp_path: Path) -> None:
    run = made(tmp_path / "run", lr="5.0e-4")
    text = report(run)
    for part in ("Metrics", "Pictures", "Before and after", "Curves", "The whole config", "Environment"):
        assert part in text, part
    assert text.count("data-step=") == 3
    assert "<td>0.0005</td><td>0.0002</td>" in text
    assert ">low</option>" in text
    assert ">high, at the start</option>" in text
    assert "data-live" not in text
    assert '<th scope="row">psnr/<wbr>db</th><td>26</td>' in text
    assert "<summary>psnr: Peak signal-to-noise ratio in dB" in text
    assert "<li><code>db</code>: PSNR of the predictions; higher is better.</li>" in text
    run.metrics_file.unlink()
    assert "<body data-live=1>" in report(run)


def test_numbers_of_a_task_and_of_a_metric_are_explained_up_to_the_arguments() -> None:
    text = explained(
        "m", "Return the error of <a>.\n\nOne\nline.\n\n- `x`: first,\n  and more.\n- `y`: 2.\n\nArgs:\n  k: no"
    )
    assert text == (
        "<details><summary>m: The error of &lt;a&gt;.</summary><p>One line.</p>"
        "<ul><li><code>x</code>: first, and more.</li><li><code>y</code>: 2.</li></ul></details>"
    )
    assert explained("m", "A number.") == "<p>m: A number.</p>"


def test_samples_are_thinned_to_a_number_and_a_size(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    for step in range(400, 4000, 100):
        shutil.copy(run.samples / "00000300.png", run.samples / f"{step:08d}.png")
    kept = [step for step, _ in sheet_of(run).files]
    assert len(kept) == 24
    assert (kept[0], kept[-1]) == (100, 3900)
    assert len(sheet_of(run, room=1).files) == 2
    assert [name for name, *_ in sheet_of(run).columns] == ["low", "high"]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_controls_of_a_page_work_in_a_browser(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    file = tmp_path / "report.html"
    file.write_text(report(run))
    shown = {}
    for fragment in ("", "#time=0&smooth=0.9&log=1"):
        done = subprocess.run(
            [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
             "--disable-background-networking", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom",
             file.as_uri() + fragment],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        shown[fragment] = done.stdout
    plain, changed = shown.values()
    assert re.findall(r'data-step="(\d+)" [^>]*?src="[^"]*">', plain) == ["300"]  # the others are hidden
    assert re.findall(r'data-step="(\d+)" [^>]*?src="[^"]*">', changed) == ["100"]
    assert plain.count("<polyline") == 3
    assert changed.count("<polyline") == 6  # the raw curve is kept behind the smoothed one
    assert re.search(r'<canvas width="(\d+)"', plain)


@pytest.fixture
def opened() -> Iterator[Any]:
    """Yield a function that opens a file in a browser of a width, and returns the page."""
    play = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with play.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])

        def opened(file: Path, width: int = 1000) -> Any:
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.goto(file.as_uri())
            return page

        yield opened
        browser.close()


def test_every_control_of_a_report_is_used_with_the_keyboard_or_the_mouse(tmp_path: Path, opened: Any) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(made(tmp_path / "run")))
    tab = opened(file)
    time, divider = tab.get_by_label("Training step"), tab.get_by_label("Divider between left and right")
    assert time.get_attribute("aria-valuetext") == "step 300"
    time.press("ArrowLeft")
    assert time.get_attribute("aria-valuetext") == "step 200"
    assert tab.locator("img[data-step]:visible").get_attribute("alt") == "Samples of run at step 200"
    look = "document.querySelector('.stage canvas').toDataURL()"
    before = tab.evaluate(look)
    tab.get_by_role("combobox", name="Left").select_option(label="low, at the start")
    chosen = tab.evaluate(look)
    assert chosen != before
    tab.get_by_role("combobox", name="Right").select_option(label="high")
    divider.press("End")
    assert divider.get_attribute("aria-valuetext") == "100 % of low, at the start, the rest high"
    assert tab.evaluate(look) != chosen
    curves = tab.locator(".chart polyline")
    shown = curves.count()
    tab.get_by_label("Smoothing").press("End")
    assert curves.count() == 2 * shown
    points = curves.last.get_attribute("points")
    tab.get_by_label("Logarithmic axis").check()
    assert curves.last.get_attribute("points") != points
    tab.get_by_role("button", name="pixel").click()
    assert tab.get_by_role("button", name="pixel").get_attribute("aria-pressed") == "false"
    assert curves.count() == 2 * shown - 2
    tab.reload()
    assert time.get_attribute("aria-valuetext") == "step 200"  # it is in the address


@pytest.mark.parametrize("width", [390, 1000])
def test_the_marks_of_an_axis_differ_and_are_inside_the_chart(width: int, tmp_path: Path, opened: Any) -> None:
    curves = {"rates": {"G": [(n, 0.002 - n * 4e-8) for n in range(50)]}, "small": {"G": [(0, 1.99e-4), (9, 2e-4)]}}
    file = tmp_path / "page.html"
    file.write_text(page("run", [charts(curves)]))
    tab = opened(file, width)
    for chart in tab.locator(".chart svg").all():
        marks = chart.locator("text[text-anchor=end]").all_text_contents()
        assert len(set(marks)) == len(marks)
        edge = chart.bounding_box()["x"]
        assert all(text.bounding_box()["x"] >= edge for text in chart.locator("text").all())
        assert chart.locator("text").first.bounding_box()["height"] > 11


# ---- comparisons


def test_runs_are_compared_on_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, lr in (("a", "1.0e-4"), ("b", "3.0e-4")):
        made(tmp_path / "runs" / name, lr=lr)
    compare(["runs/a", "runs/b"], out=["page.html"])
    text = (tmp_path / "page.html").read_text()
    assert '<th scope="row">optimizer.lr</th><td>0.0001</td><td>0.0003</td>' in text
    assert "train.steps" not in text  # the same in both
    assert "the samples are of the same inputs" in text
    assert text.count('class="chart"') == 3
    data = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert [curve[0] for curve in json.loads(data[0])] == ["a", "b"]
    made(tmp_path / "runs" / "c", batch=4, lr="1.0e-4")
    (tmp_path / "runs" / "c" / "config.yaml").write_text(
        CONFIG.format(lr=1, best="null", batch=4).replace("pic", "pho")
    )
    compare(["runs/a", "runs/c"], out=["page.html"], force=True)
    assert "The data differ (data.root)" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (["runs/a"], {}, "only one run"),
        (["runs/a", "runs/a"], {}, "only one run"),
        (["runs/a", "photo.jpg"], {}, "photo.jpg is not a run"),
        (["photo.jpg"], {}, "give each model with -m"),
        (["runs/a", "nothing"], {}, "nothing does not exist"),
        (["runs/a", "runs/b"], {"model": ["runs/a"]}, "give one picture to compare models, or only runs"),
        (["runs/a", "runs/b"], {"tile": 64}, "--tile is for models"),
        (["runs/a", "runs/b"], {"condition": ["x=1"]}, "-c is for models"),
    ],
)
def test_mistakes_of_a_comparison_are_one_sentence(
    words: list[str], options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "runs" / "a")
    made(tmp_path / "runs" / "b")
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ConfigError, match=message):
        compare(words, **options)
    assert not (tmp_path / "compare.html").exists()


def test_a_comparison_of_runs_is_a_page_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "a")
    made(tmp_path / "b")
    with pytest.raises(ConfigError, match=r"possible: \.html, \.htm"):
        compare(["a", "b"], out=["sheet.png"])
    (tmp_path / "compare.html").write_text("mine")
    with pytest.raises(ConfigError, match="--force"):
        compare(["a", "b"])
    assert (tmp_path / "compare.html").read_text() == "mine"


# ---- TensorBoard and Weights & Biases


def logged(module: Any, run: Run) -> None:
    """Call a hook as a training does."""
    import torch

    picture = torch.zeros(8, 8, 3, dtype=torch.uint8)
    module.on_log(run.folder, 100, {"G/pixel": 0.5}, {})
    module.on_log(run.folder, 200, {"G/pixel": 0.25}, {"samples": picture})
    run.metrics_file.write_text("{}")
    module.on_log(run.folder, 200, {"metric/psnr/db": 27.0}, {})


def test_nothing_is_imported_unless_it_is_asked_for(tmp_path: Path) -> None:
    run = made(tmp_path / "run", finished=False)
    code = (
        f"import sys, i2i_tensorboard, i2i_wandb; from pathlib import Path; run = Path({str(run.folder)!r})\n"
        f"i2i_tensorboard.on_log(run, 1, {{}}, {{}}); i2i_wandb.on_log(run, 1, {{}}, {{}})\n"
        f"raise SystemExit(any(name in sys.modules for name in ('tensorboard', 'wandb')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert {path.name for path in run.folder.iterdir()}.isdisjoint({"tensorboard", "wandb"})


def test_tensorboard_reads_back_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("I2I_TENSORBOARD", "1")
    run = made(tmp_path / "run", finished=False)
    logged(i2i_tensorboard, run)
    found = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in found.Scalars("G/pixel")] == [(100, 0.5), (200, 0.25)]
    assert found.Tags()["images"] == ["samples"]
    assert run.folder not in i2i_tensorboard._writers
    run.metrics_file.unlink()
    i2i_tensorboard.on_log(run.folder, 300, {"G/pixel": 0.5}, {})
    shutil.rmtree(run.folder / "tensorboard")  # as `force` does before a new start
    i2i_tensorboard.on_log(run.folder, 100, {"G/pixel": 0.125}, {})
    found = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in found.Scalars("G/pixel")] == [(100, 0.125)]


def test_weights_and_biases_logs_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("I2I_WANDB", "1")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    run = made(tmp_path / "run", finished=False)
    logged(i2i_wandb, run)
    (folder,) = (run.folder / "wandb").glob("offline-run-*")
    deadline = time.monotonic() + 20
    content = b""
    while b"metric/psnr/db" not in content and time.monotonic() < deadline:  # its own process writes it
        time.sleep(0.1)
        content = next(folder.glob("run-*.wandb")).read_bytes()
    assert b"G/pixel" in content
    assert b"optimizer.lr" in content
    assert run.folder not in i2i_wandb._logs


@pytest.mark.parametrize(("module", "name"), [(i2i_tensorboard, "tensorboard"), (i2i_wandb, "wandb")])
def test_a_library_that_is_missing_is_reported(
    module: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from i2i import ResourceError

    monkeypatch.setenv(module.VARIABLE, "1")
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ResourceError, match=rf"pip install 'i2i\[{name}\]'"):
        module.on_log(tmp_path, 1, {"G/x": 1.0}, {})


def test_a_pace_below_one_per_second_is_in_seconds() -> None:
    assert pace(10, 5, 4.0) == "2.50 it/s  ETA 0:00:02"
    assert pace(2, 10, 9.0) == "4.50 s/it  ETA 0:00:45"
