"""Alarms about the losses of a run: a discriminator that always wins, and a loss that explodes."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import i2i_watch
import pytest
from i2i_watch import losses as watch
from i2i_watch.losses import Watch

from i2i import api

CONFIG = """
task:
  use: pix2pix
  generator: {use: unet_generator, width: 4, downs: 3}
  discriminator: {use: patch_discriminator, in_channels: 6, width: 8, layers: 1}
  gan: {use: hinge}
  lambda_l1: 0.001
data: {use: drawn_facades, size: 32, batch_size: 2, samples: 4, validation_samples: 2}
optimizer:
  G: {use: adam, lr: 1.0e-9}
  D: {use: adam, lr: 1.0e-2}
train: {steps: 80, log_every: 4, sample_every: 1000, threads: 1}
"""


def seen(values: list[dict[str, float]], every: int = 50) -> list[str]:
    """Return all that a watch says of these values, logged every so many steps."""
    seen_by = Watch()
    steps = ((n + 1) * every for n in range(len(values)))
    return [
        f"step {step}: {text}"
        for step, scalars in zip(steps, values, strict=True)
        for text in seen_by.see(step, scalars).values()
    ]


def test_F8_a_discriminator_that_always_wins_is_reported_once() -> None:
    found = seen([{"D/real": 0.5, "D/fake": 0.4, "G/gan": 1.0}] * 3 + [{"D/real": 0.0, "D/fake": 1e-4}] * 40)
    assert len(found) == 1
    assert found[0].startswith("step 700: D has told real from generated nearly without error since step 200 ")
    assert "(D/real 0, D/fake 0.0001)" in found[0]


def test_F8_a_certain_discriminator_is_reported_by_its_accuracy() -> None:
    found = seen([{"D_a/gan": 0.1, "D_a/accuracy": 0.999}] * 20)
    assert len(found) == 1
    assert "D_a has told real from generated" in found[0]


@pytest.mark.parametrize(
    "values",
    [
        [{"D/gan": 0.0}] * 10,  # for 450 steps only
        ([{"D/gan": 0.0}] * 8 + [{"D/gan": 0.5}]) * 5,
        [{"D/real": 0.0, "D/fake": 0.3}] * 40,
        [{"D/gan": -0.5}] * 40,  # a critic
        [{"D/gan": 0.69, "D/accuracy": 0.6}] * 40,
        [{"D/gan": 0.0, "D/accuracy": 1.0, "D/alarm": 0.0}] * 40,  # the task watches it itself
        [{"G/pixel": 0.1 + 0.001 * n, "vae/kl": 0.02 + 0.001 * n} for n in range(40)],
    ],
)
def test_F8_what_is_usual_raises_no_alarm(values: list[dict[str, float]]) -> None:
    assert seen(values) == []


def test_F9_a_loss_that_explodes_is_reported_with_its_ratio() -> None:
    usual = [{"G/l1": 0.1 + 0.01 * (n % 5)} for n in range(30)]
    found = seen([*usual, {"G/l1": 24.0}, {"G/l1": 2400.0}])
    assert len(found) == 1
    assert found[0].startswith("step 1550: G/l1 is 24, 200 times its running median of 0.12: ")
    assert "train.clip" in found[0]


def test_F9_what_is_usual_raises_no_alarm() -> None:
    dice = random.Random(0)
    noisy = [{"G/gan": math.exp(dice.gauss(0, 1))} for _ in range(2000)]
    warm_up = [{"vae/kl": 1e-4 * 1.1**n} for n in range(120)]
    ending = [{"D/gan": 2.0 * 0.9**n} for n in range(60)] + [{"D/gan": 0.5}]
    early = [{"G/gan": 0.01}] * 9 + [{"G/gan": 5.0}]
    for values in (noisy, warm_up, ending, early, [{"lr/G": 1e-6}] * 20 + [{"lr/G": 1.0}], [{"G/x": math.nan}] * 30):
        assert seen(values) == []


def test_F8_a_run_with_a_broken_generator_warns_on_stderr_and_in_the_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LONG", 20)
    (tmp_path / "c.yaml").write_text(CONFIG)
    run = api.run(tmp_path / "c.yaml", out=tmp_path / "run")
    said = [record.getMessage() for record in caplog.records if "told real from generated" in record.getMessage()]
    assert len(said) == 1
    worst = re.search(r"\(D/pairs ([0-9.e-]+)\)", said[0])
    assert worst is not None
    assert float(worst[1]) < 0.05
    assert 'class="warning">Step ' in (run / "report.html").read_text()
    assert said[0][5:40] in (run / "report.html").read_text()


def test_F8_a_resumed_run_knows_what_came_before(tmp_path: Path) -> None:
    run = i2i_watch.Run(tmp_path)
    line = '{{"step": {}, "epoch": 0, "D/gan": 0.0}}\n'
    told = '{"step": 600, "epoch": 0, "fault": "D wins", "warning": "D has won"}\n'
    (tmp_path / "log.jsonl").write_text("".join(line.format(step) for step in range(100, 700, 100)) + told)

    def new(run: i2i_watch.Run, step: int) -> list[str]:
        return [*i2i_watch.new_warnings(run, step, {"D/gan": 0.0}, False).values()]

    assert new(run, 700) == []  # reported before, at step 600
    (tmp_path / "log.jsonl").write_text(line.format(100))
    assert new(run, 200) == []  # a resume from an earlier step
    for step in (300, 400, 500):
        assert new(run, step) == []
    assert len(new(run, 600)) == 1
