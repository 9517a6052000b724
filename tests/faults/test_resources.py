"""Memory, long evaluations and hostile configs: one sentence, in time, and nothing is lost."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from i2i import api, runs

CONFIG = """
task:
  use: vae
  encoder: {use: dense_encoder, widths: [8]}
  decoder: {use: dense_decoder, widths: [8]}
  latent: 2
  size: 28
data: {use: digits, size: 28, batch_size: 4, samples: 20, validation_samples: 4}
metrics: [{use: slow_STEP}]
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 6, log_every: 1, sample_every: 100000, checkpoint_every: 100000, threads: 1}
"""
SLOW = """
import os
import signal
import time
from i2i import hookimpl


class Slow:
    def __call__(self, task, data):
        if os.environ.pop("SIGNAL", None):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(100)
        return {"weights": float(sum(p.sum() for p in task.parameters()))}


@hookimpl
def register(catalog):
    catalog.metric("slow_STEP", Slow)
"""


@pytest.mark.parametrize(("every", "step"), [(4, 4), (0, 6)])
def test_F5_a_signal_ends_an_evaluation_at_once_and_resume_evaluates_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, step: int
) -> None:
    config, plugin = tmp_path / "c.yaml", tmp_path / f"slow_{step}.py"
    config.write_text(CONFIG.replace("STEP", str(step)))
    plugin.write_text(SLOW.replace("STEP", str(step)))
    changes = [f"train.evaluate_every={every}"] if every else []
    monkeypatch.setenv("SIGNAL", "1")
    began = time.monotonic()
    with pytest.raises(runs.Stopped, match=f"stopped and saved at step {step} in") as caught:
        api.run(config, *changes, out=tmp_path / "stopped", plugin=plugin)
    assert caught.value.exit_code == 75
    assert time.monotonic() - began < 30
    assert "SIGNAL" not in os.environ
    api.run(config, *changes, out=tmp_path / "stopped", resume=True)
    api.run(config, *changes, out=tmp_path / "whole", plugin=plugin)
    for name in ("log.jsonl", "metrics.json", "model.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").open()]
    assert [line["step"] for line in lines if f"metric/slow_{step}/weights" in line] == sorted({step, 6})
