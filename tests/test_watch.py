"""Ten planted faults are found, each once and by its own warning; healthy logs and pictures raise none."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import i2i_watch
import numpy as np
import pytest
from i2i_report.page import page
from i2i_watch.average import slow_average
from i2i_watch.losses import Watch
from i2i_watch.pictures import PictureWatch, columns_of

from i2i import images
from i2i.runs import Run

N = 60  # logged values, every 50 steps
HEALTHY: dict[str, Any] = {
    "G/gan": lambda n: 1 + 0.2 * math.sin(n),
    "G/l1": lambda n: 0.3 * 0.98**n + 0.01 * math.cos(3 * n),
    "D/real": lambda n: 0.4 + 0.1 * math.sin(2 * n),
    "D/fake": lambda n: 0.4 + 0.1 * math.cos(2 * n),
    "vae/kl": lambda n: 12 + math.sin(n),
    "G/perplexity_top": lambda n: 300 + n,
    "G/diversity": lambda n: 0.8,
    "lr/G": lambda n: 2e-4,
    "norm/G": lambda n: 1 + 0.5 * math.sin(n),
    "metric/validation/l1": lambda n: 0.3 * 0.99**n,
}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "discriminator won": ({"D/real": lambda n: 0.001, "D/fake": lambda n: 0.002}, "told real from generated"),
    "mode collapse": ({"G/diversity": lambda n: 0.01}, "has collapsed"),
    "dead codes": ({"G/perplexity_top": lambda n: 9.0}, "9 of 512 codes are in use"),
    "posterior collapse": ({"vae/kl": lambda n: 0.001 + 1e-4 * math.sin(n)}, "posterior collapse"),
    "exploding gradients": ({"norm/G": lambda n: 1e4 * (n + 1)}, "the gradients of G explode"),
    "rate zero": ({"lr/G": lambda n: 0.0}, "the learning rate of G is 0"),
    "flat loss": (
        {"G/gan": lambda n: 0.7, "G/l1": lambda n: 0.3, "G/perplexity_top": lambda n: 300.0},
        "no loss of G has",
    ),
    "diverging validation": ({"metric/validation/l1": lambda n: 0.2 * 1.05**n}, "worsened in 3 evaluations"),
}


def values(n: int, planted: dict[str, Any] | None = None) -> dict[str, float]:
    """Return what is logged the n-th time; the fault starts in the middle."""
    return {
        name: f(n - N // 2) if planted and name in planted else f(n)
        for name, f in {**HEALTHY, **(planted or {})}.items()
    }


def watched(planted: dict[str, Any] | None) -> list[str]:
    """Return the warnings about a log with a fault in its second half."""
    watch = Watch(codes=512)
    found = []
    for n in range(N):
        scalars = values(n, planted if n >= N // 2 else None)
        found += watch.see(50 * (n + 1), scalars).values()
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_log_is_reported_once_and_alone(fault: str) -> None:
    planted, words = FAULTS[fault]
    found = watched(planted)
    assert len(found) == 1, found
    assert words in found[0]
    assert ": " in found[0] or ";" in found[0]  # what to try follows


def test_a_healthy_log_raises_no_warning() -> None:
    assert watched(None) == []


@pytest.mark.parametrize(
    "planted",
    [
        {"norm/G": lambda n: 1e4 if n == 3 else 1.0},  # one spike, as clipping cures
        {"lr/G": lambda n: 0.0 if n > 28 else 1e-4},  # the end of a schedule
        {"vae/kl": lambda n: 0.001 if n < 9 else 5.0 + 0.01 * n},  # a warm-up
        {"metric/validation/l1": lambda n: 0.2 + 0.03 * (n % 3)},  # noise
        {"metric/validation/accuracy": lambda n: 0.9 - 0.01 * n},  # of which nobody said what is better
        {"metric/psnr/db": lambda n: 30 - 0.01 * n},  # a little
        {"D/alarm": lambda n: 0.0, "D/diversity": lambda n: 0.0, "D/real": lambda n: 0.0, "D/fake": lambda n: 0.0},
        {"G/gan": lambda n: float("nan")},
    ],
)
def test_what_is_usual_raises_no_warning(planted: dict[str, Any]) -> None:
    assert watched(planted) == []


def test_the_best_metric_of_the_config_has_a_direction() -> None:
    for lowest, falling in ((False, True), (True, False)):
        watch = Watch(best="score/x", lowest=lowest)
        found = [
            text
            for n in range(8)
            for text in watch.see(n, {"metric/score/x": 1 - 0.1 * n if falling else 1 + 0.1 * n}).values()
        ]
        assert len(found) == 1
        assert "train.best=score/x" in found[0]


# ---- pictures


def texture(seed: int, side: int = 64, rows: int = 4) -> np.ndarray:
    """Return smooth random pictures, uint8 [rows, side, side, 3], each with a bright and a dark region."""
    dice = np.random.default_rng(seed)
    small = dice.uniform(20, 235, (rows, side // 8, side // 8, 3))
    y, x = np.mgrid[:side, :side] / 8
    y0, x0 = np.minimum(y.astype(int), side // 8 - 1), np.minimum(x.astype(int), side // 8 - 1)
    y1, x1 = np.minimum(y0 + 1, side // 8 - 1), np.minimum(x0 + 1, side // 8 - 1)
    v, u = (y - y0)[..., None], (x - x0)[..., None]
    top = small[:, y0, x0] * (1 - u) + small[:, y0, x1] * u
    low = small[:, y1, x0] * (1 - u) + small[:, y1, x1] * u
    return (top * (1 - v) + low * v).astype(np.uint8)


def noisy(picture: np.ndarray, seed: int) -> np.ndarray:
    dice = np.random.default_rng(seed)
    return np.clip(picture + dice.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def board(picture: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: picture.shape[1], : picture.shape[2]]
    return np.clip(picture + 12.0 * (-1.0) ** (x + y)[..., None], 0, 255).astype(np.uint8)


MADE = {
    "healthy": (lambda data, n: noisy(data, n), ""),
    "mode collapse": (lambda data, n: noisy(data[:1], n)[:1].repeat(len(data), 0), "the generator has collapsed"),
    "colour inversion": (lambda data, n: noisy(255 - data, n), "looks like a negative of 'A'"),
    "checkerboard": (lambda data, n: board(noisy(data, n)), "has a checkerboard pattern of"),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_fault_in_the_pictures_is_reported_once_after_three_sheets(kind: str) -> None:
    make, words = MADE[kind]
    data, watch = texture(0), PictureWatch()
    found = [[*watch.see({"A": data, "made of A": make(data, n), "B": texture(1)}).values()] for n in range(8)]
    if not words:
        assert found == [[]] * 8
        return
    assert [len(texts) for texts in found] == [0, 0, 0, 1, 0, 0, 0, 0]  # the first sheet shows what does not change
    assert words in found[3][0]
    assert "'made of A'" in found[3][0]


def test_a_fault_that_passes_is_not_reported() -> None:
    data, watch = texture(0), PictureWatch()
    found = [watch.see({"A": data, "made": 255 - noisy(data, n) if n % 3 else noisy(data, n)}) for n in range(9)]
    assert found == [{}] * 9


def test_a_negative_of_the_input_that_is_right_raises_no_warning() -> None:
    data, watch = texture(0), PictureWatch()  # edges to photographs: the target is dark where the input is light
    assert [watch.see({"A": data, "made": noisy(255 - data, n), "B": 255 - data}) for n in range(6)] == [{}] * 6


@pytest.mark.parametrize("sides", [(64, 64), (32, 64), (16, 64)])
def test_cells_come_back_from_a_sheet_as_they_were(sides: tuple[int, int], tmp_path: Path) -> None:
    columns = {"A": texture(0, sides[0]), "made": texture(1, sides[1])}
    about = json.dumps(images.layout({name: cells.shape for name, cells in columns.items()}))
    (tmp_path / "1.png").write_bytes(images.png(images.grid(columns), {"columns": about}))
    found = columns_of(tmp_path / "1.png")
    assert list(found) == ["A", "made"]
    for name, cells in columns.items():
        assert np.array_equal(found[name], cells), name


def test_sheets_without_a_layout_are_not_judged(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(images.png(texture(0)[0]))
    assert columns_of(tmp_path / "1.png") == {}
    assert columns_of(tmp_path / "2.png") == {}


# ---- in a run


def logged(run: Run, n: int, planted: bool) -> None:
    """Log as a training does: a line, then the observers; and a sheet every tenth time."""
    step, scalars = 50 * (n + 1), values(n, FAULTS["posterior collapse"][0] if planted else None)
    with run.log_file.open("a") as log:
        log.write(json.dumps({"step": step, "epoch": n // 10, **scalars}) + "\n")
    i2i_watch.on_log(run.folder, step, scalars, {})
    if n % 10 == 9:
        columns = {"A": texture(0), "made": noisy(255 - texture(0), n)}
        about = json.dumps(images.layout({name: cells.shape for name, cells in columns.items()}))
        (run.samples / f"{step:08d}.png").write_bytes(images.png(images.grid(columns), {"columns": about}))
        i2i_watch.on_log(run.folder, step, {}, {"samples": None})


def test_warnings_are_in_the_log_and_in_the_report_and_equal_after_a_resume(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    logs = []
    for name, killed in (("whole", None), ("resumed", 45), ("late", 55)):
        run = Run(tmp_path / name)
        run.samples.mkdir(parents=True)
        for n in range(N):
            if n == killed:
                monkeypatch.setattr(i2i_watch, "_watches", {})  # another process
            logged(run, n, planted=n >= N // 2)
        logs.append(run.log_file.read_text())
    assert logs[0] == logs[1] == logs[2]
    found = [json.loads(line) for line in logs[0].splitlines() if "warning" in line]
    assert [line["fault"] for line in found] == ["made inverted", "vae/kl is low"]
    assert len(caplog.records) == 3 * 2
    assert page(Run(tmp_path / "whole")).count('<p class="warning">Step ') == 2


def test_pictures_of_the_first_steps_are_not_judged(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.samples.mkdir()
    for step in range(90, 140, 10):
        columns = {"A": texture(0), "made": noisy(255 - texture(0), step)}
        about = json.dumps(images.layout({name: cells.shape for name, cells in columns.items()}))
        (run.samples / f"{step:08d}.png").write_bytes(images.png(images.grid(columns), {"columns": about}))
        found = i2i_watch.new_warnings(run, step, {}, drawn=True)
        assert list(found) == (["made inverted"] if step == 130 else [])


@pytest.mark.parametrize(
    ("ema", "steps", "said"),
    [
        (
            "0.999",
            "500",
            r"1,000 steps, and this run has 500: .* make up 61% of the average .* Try train\.ema=0\.99\.",
        ),
        ("0.9", "100000", None),
        ("0.999", "99", None),  # a trial
        ("0.999", "2600", None),
        ("null", "500", None),
        ("0.999", "null", None),  # as long as its epochs
    ],
)
def test_an_average_that_the_run_is_too_short_for_is_reported(ema: str, steps: str, said: str | None) -> None:
    text = slow_average({"train.ema": ema, "train.steps": steps})
    assert (text is None) == (said is None)
    assert said is None or re.search(said, text or "")


def test_an_average_is_reported_once_also_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    (tmp_path / "config.yaml").write_text("train: {ema: 0.999, steps: 500}\n")
    for step in (10, 20):
        i2i_watch.on_log(run.folder, step, {"G/gan": 0.5}, {})
    monkeypatch.setattr(i2i_watch, "_watches", {})  # another process
    i2i_watch.on_log(run.folder, 30, {"G/gan": 0.5}, {})
    (line,) = run.log()
    assert (line["step"], line["fault"]) == (10, "average")
