"""The speed benchmark: its references are the published recipes, both sides do the same work, and its page."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
TINY: dict[str, dict[str, int]] = {
    "cyclegan": {"size": 32, "width": 8, "blocks": 2},
    "pix2pix": {"width": 4},
    "spade": {"size": 32, "batch": 2, "width": 4},
    "srresnet": {"size": 32, "batch": 1, "width": 8, "blocks": 2},
    "dcgan": {"batch": 8, "width": 4},
    "vqvae2": {"size": 32, "width": 16},
    "resnet_inference": {"size": 32, "width": 8, "blocks": 2},
    "srresnet_inference": {"size": 16, "width": 8, "blocks": 2},
    "rrdb_inference": {"size": 16, "width": 8, "blocks": 2, "growth": 4},
}


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the modules of benchmarks/ importable."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def built(name: str, **sizes: Any) -> Any:
    """Return a workload."""
    from workloads import WORKLOADS

    return WORKLOADS[name](**sizes)


@pytest.fixture
def mnist(tmp_path: Path) -> str:
    """Return a folder with a few random digits."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (300, 28, 28), np.uint8), rng.integers(0, 10, 300)
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    return str(tmp_path)


def crowds() -> Any:
    """Yield batches of twelve scenes with two to four people, who walk straight ahead."""
    source = torch.Generator().manual_seed(0)
    while True:
        start, move = torch.rand(2, 12, 4, 1, 2, generator=source) * 4
        paths = start + move / 10 * torch.arange(20.0)[:, None]
        for number, scene in enumerate(paths):
            scene[2 + number % 3 :] = float("nan")
        yield {"observed": paths[:, :, :8], "future": paths[:, :, 8:]}


@pytest.mark.parametrize("name", TINY)
def test_the_references_have_the_published_parameters_and_flops(name: str) -> None:
    checked = built(name).guard()
    assert checked["gflop"] == pytest.approx(checked["published_gflop"], rel=0.01)


def test_the_references_on_data_sets_have_the_published_parameters_and_flops(mnist: str) -> None:
    assert built("vae", root=mnist).guard()["gflop"] == pytest.approx(0.42, rel=0.01)
    assert built("social_gan").guard()["parameters"] == (60_234, 25_265)


def test_another_network_or_another_step_is_rejected() -> None:
    with pytest.raises(SystemExit, match="the published networks have"):
        built("vqvae2", width=64).guard()
    with pytest.raises(SystemExit, match=r"takes 0\.02 GFLOP, the published code 20\.8"):
        replace(built("srresnet_inference"), size=2).guard()


@pytest.mark.parametrize("name", TINY)
def test_both_sides_compute_the_same(name: str) -> None:
    sides = built(name, **TINY[name]).both()
    sides.reference(0)
    sides.i2i(0)
    differences = [value for key, value in sides.checked.items() if key.endswith("differ_by")]
    assert len(differences) == 1
    assert differences[0] < 1e-5


def test_both_sides_compute_the_same_on_data_sets(mnist: str) -> None:
    sides = built("vae", root=mnist, batch=16, width=40, steps=2).both()
    assert sides.checked["first_losses_differ_by"] < 1e-5
    assert len(sides.reference(0)) == len(sides.i2i(0)) == 2
    sides = replace(built("social_gan"), batches=crowds).both()
    assert sides.checked["predictions_differ_by"] < 1e-5
    assert sides.checked["scores_differ_by"] < 1e-5


@pytest.mark.parametrize("name", ["vqvae2", "dcgan"])
def test_sides_that_differ_are_rejected(name: str) -> None:
    workload = replace(built(name, **TINY[name]), equalise=lambda task, reference: None)
    with pytest.raises(SystemExit, match="the two sides do not do the same work"):
        workload.both()


def test_inference_that_differs_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    from workloads import inference

    monkeypatch.setattr(inference, "copy", lambda values, into: None)
    with pytest.raises(SystemExit, match="the two sides do not do the same work"):
        built("rrdb_inference", **TINY["rrdb_inference"]).both()


def test_data_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from workloads import Missing

    monkeypatch.setenv("I2I_DATA", str(tmp_path))
    with pytest.raises(Missing, match=r"no folder ethucy in \$I2I_DATA"):
        built("social_gan").both()
    monkeypatch.delenv("I2I_DATA")
    with pytest.raises(Missing, match="not set"):
        built("vae").both()


def test_a_comparison_of_equal_work_has_a_ratio_of_one() -> None:
    import speed

    def turn(n: int) -> None:
        for _ in range(300_000):
            pass

    once, twice = speed.clocked(turn, "cpu"), speed.clocked(lambda n: (turn(n), turn(n)), "cpu")
    found = speed.compare(once, once, 15)
    assert 0.8 < found["ratio"]["median"] < 1.25
    doubled = speed.compare(once, twice, 15)
    assert 1.6 < doubled["ratio"]["median"] < 2.5


def test_the_command_measures_and_reports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import speed

    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):  # restored afterwards
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "argv", ["speed.py", "vqvae2", "--size=32", "--width=16", "--rounds=2"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    threads = torch.get_num_threads()
    try:
        speed.main()
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "i2i / reference" in said
    assert "note             i2i resets codes" in said


def test_a_size_that_a_workload_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import speed

    monkeypatch.setattr(sys, "argv", ["speed.py", "social_gan", "--batch=3"])
    with pytest.raises(SystemExit, match="social_gan has no --batch; possible: none"):
        speed.workload_of(speed.arguments())


def result(median: float, **other: Any) -> dict[str, Any]:
    """Return the timing of a workload, as in the file."""
    spread = {"min": median - 0.01, "median": median, "max": median + 0.02}
    seconds = {"reference": [2.0, 4.0], "i2i": [2 * median], "reference_again": [2.0, 2.0]}
    about = {
        "command": "python benchmarks/speed.py cyclegan --rounds=3 --json y",
        "date": "2026-01-02T03:04:05",
        "remark": "Busy.",
    }
    about |= {"versions": {"torch": "9"}, "load": {"before": 0.5, "after": 3.0}, "note": "", "kind": "training"}
    return {"seconds": seconds, "ratio": spread, "noise": spread, **about, **other}


def test_results_of_other_cpus_are_kept(tmp_path: Path) -> None:
    import speed_page

    file, setting = tmp_path / "deep" / "speed.json", "1 thread, cpu time"
    one, two = ({"cpu": "Chip", "flags": flags, "cores": 2} for flags in (["AVX2"], ["AVX2", "AVX-512"]))
    speed_page.merge(file, one, setting, "cyclegan", {"time": result(0.5)})
    memory = {"memory": {"reference": 100.0, "i2i": 80.0, "ratio": 0.8}}
    about = {"command": "c", "date": "2026-01-02", "remark": "", "versions": {"torch": "9"}}
    speed_page.merge(file, one, setting, "cyclegan", {"memory": memory | about})
    speed_page.merge(file, two, setting, "cyclegan", {"time": result(0.7)})
    speed_page.merge(file, two, setting, "cyclegan", {"time": result(0.9)})
    runtimes = {"kind": "inference", "runtimes": {"openvino": {"min": 0.6, "median": 0.65, "max": 0.7}}}
    speed_page.merge(file, two, setting, "rrdb_inference", {"time": result(1.1, **runtimes)})
    results = json.loads(file.read_text())
    assert list(results) == ["Chip, AVX2", "Chip, AVX2, AVX-512"]
    points = {"64": {"reference": 2.0, "i2i": 1.5}, "128": {"reference": 8.0, "i2i": 6.0}}
    grown = {"Chip, AVX2": {"settings": {"2": {"cyclegan size": points}, "1": {"cyclegan size": points}}}}
    page, growth = speed_page.page(results, grown).split("\n## Sizes")
    assert "CycleGAN, on Chip:\n\n| size | 64 | 128 |\n|---|---|---|\n| reference, 1 thread | 2 | 8 |" in growth
    assert "| i2i, 2 threads | 1.5 | 6 |" in growth
    _, first, second = re.split("## Chip(?: without AVX-512)?, 2 cores: 1 thread, cpu time", page)
    assert "## Chip without AVX-512, 2 cores" in page.removesuffix(second)
    assert "## Chip, 2 cores" in page
    row = (
        "| CycleGAN, nine blocks, 128 px | 2 | 1 | **0.50** (0.49 to 0.52) | 0.49 to 0.52 | 0.42 | 100 | 80 | 0.80 |"
    )
    assert row in first
    assert "**0.90** (0.89 to 0.92) | 0.89 to 0.92 | 0.60 | - | - | - |" in second
    assert "0.70" not in second.split("### Inference")[0]
    assert "| the same in openvino | | | **0.65** (0.60 to 0.70) |" in second.split("### Inference")[1]
    assert "- Busy.\n- Commands, also with --memory: `python benchmarks/speed.py NAME --rounds=3`" in second
    assert "load average 0.5 to 3.0" in second


def test_the_page_says_how_much_arithmetic_a_goal_would_need() -> None:
    import speed_page

    rows = {"vae": {"time": result(0.5, checked={"gflop": 40.0}, steps=5)}, "social_gan": {"time": result(0.1)}}
    title = speed_page.WORKLOADS["vae"].title  # its goal is 0.40 of 2 s
    assert speed_page.rates(rows, {"vae": 0.4}).splitlines()[2:] == [f"| {title} | 200.0 | 100 | 200 | 250 |"]


def test_goals_depend_on_the_cpu_and_on_the_speed() -> None:
    import speed_page

    row, both = speed_page.WORKLOADS["cyclegan"], ["AVX2", "AVX-512"]
    assert row.goal_on(["AVX2"], "1 thread, CPU time, speed fast") == row.goal == 0.42
    assert row.goal_on(both, "1 thread, CPU time, speed auto") == row.goal_avx512 == 0.60
    assert row.goal_on(both, "1 thread, CPU time, speed fast") == 0.40


def test_the_page_shows_the_results_that_are_recorded() -> None:
    import speed_page
    from workloads import WORKLOADS

    assert list(speed_page.WORKLOADS) == list(WORKLOADS)
    results = json.loads(speed_page.RESULTS.read_text())
    grown = json.loads(speed_page.CURVES.read_text())
    assert speed_page.PAGE.read_text() == speed_page.page(results, grown), "run `python benchmarks/speed.py --render`"
