"""`i2i fit`: trials in processes of their own, and a search that ends at what fits."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from i2i_fit import search, trial
from i2i_fit.search import searched, table
from i2i_fit.trial import Trial, Trials, measured

from i2i.errors import ConfigError, ResourceError

GB = int(1e9)
TOY = """
task: {use: vae, latent: 2, encoder: {use: dense_encoder}, decoder: {use: dense_decoder}}
data: {use: digits, size: 28, batch_size: 4, samples: 40, validation_samples: 4}
optimizer: {use: adam, lr: 1.0e-3}
train: {epochs: 100}
"""


class Imagined:
    """Trials of a training whose memory and time are known."""

    def __init__(
        self, memory: Callable[[int, int], float], batch: int = 4, size: int | None = 64, **fails: Any
    ) -> None:
        self.memory, self.batch, self.size, self.fails = memory, batch, size, fails
        self.steps, self.limit = 4, 100.0
        self.asked: list[tuple[int, int | None]] = []

    def length(self) -> float:
        return 1000

    def count(self) -> int:
        return int(self.fails.get("samples", 10_000))

    def run(self, batch: int | None = None, size: int | None = None) -> Trial:
        batch, size = batch or self.batch, size or self.size
        self.asked.append((batch, size))
        if batch > self.fails.get("slow_from", 10**9):
            return Trial(batch, size, 0, 0.0, "slow", "took more than 100 seconds", code=124)
        taken = int(self.memory(batch, size or 1) * GB)
        if self.fails.get("error", {}).get((batch, size)):
            return Trial(batch, size, 0, 0.0, "error", self.fails["error"][batch, size], code=2)
        if taken > 8 * GB:
            return Trial(batch, size, 0, 0.0, "memory", "the system ended it", code=-9)
        return Trial(batch, size, taken, 0.1 + batch * self.fails.get("pace", 0.001), "ok")


@pytest.fixture(autouse=True)
def ten_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "free_memory", lambda device: 10 * GB)
    monkeypatch.setattr(search, "USABLE", 0.7)


def test_the_largest_batch_and_size_are_measured_not_guessed() -> None:
    trials = Imagined(lambda batch, size: 0.5 + batch * size**2 / 64**2 * 0.1)
    found = searched(trials, lambda text: None)  # type: ignore[arg-type]
    assert found.batch == 64  # 0.5 + 6.4 GB of 7; the next multiple of 4 would take 7.3
    assert (4, 256) in trials.asked
    assert found.size == 256
    assert all(one.memory <= found.usable for one in found.trials if one.state == "ok")
    assert len(trials.asked) <= 6
    lines = found.set.splitlines()
    assert lines[0].startswith("The config fits as it is. Its 1,000 steps would take 104 seconds")
    assert lines[1].startswith("Fastest: data.batch_size=64, 390.2 samples/s instead of 38.5. A learning rate is")
    assert lines[2] == "Largest that were tried and fit: data.batch_size=64, data.size=256 with a batch of 4."
    assert len(lines) == 3
    assert "too much memory" not in table(found)
    assert [line.split()[0] for line in table(found).splitlines() if "this config" in line] == ["4"]


def test_memory_that_grows_faster_than_expected_ends_the_search_at_what_fits() -> None:
    trials = Imagined(lambda batch, size: 0.5 + 0.01 * batch**2, size=None)
    found = searched(trials, lambda text: None)  # type: ignore[arg-type]
    assert found.batch >= 20
    assert found.size is None
    assert 0.5 + 0.01 * found.batch**2 <= 7
    assert any(one.state == "memory" for one in found.trials)
    assert "the system ended it" in table(found)


@pytest.mark.parametrize(("samples", "batch"), [(30, 28), (7, 4)])
def test_no_batch_is_larger_than_the_data_set(samples: int, batch: int) -> None:
    trials = Imagined(lambda batch, size: 0.5 + batch * 0.01, size=None, samples=samples)
    found = searched(trials, lambda text: None)  # type: ignore[arg-type]
    assert found.batch == max(batch for batch, _ in trials.asked) == batch


def test_a_config_that_is_too_large_is_tried_with_less() -> None:
    trials = Imagined(lambda batch, size: 1 + batch * 2, batch=16, size=None)
    found = searched(trials, lambda text: None)  # type: ignore[arg-type]
    assert trials.asked[:2] == [(16, None), (1, None)]
    assert found.batch == 3
    assert found.set.startswith(
        "The config does not fit as it is, with its batch of 16.\nFastest: data.batch_size=3, "
    )
    assert "yours is for 16" in found.set


def test_a_batch_that_is_hardly_faster_is_not_recommended() -> None:
    found = searched(Imagined(lambda batch, size: 1 + batch, size=None, pace=10.0), lambda text: None)  # type: ignore[arg-type]
    assert found.set.splitlines()[1] == "No other batch that was tried is clearly faster."


def test_a_config_that_never_fits_says_so() -> None:
    with pytest.raises(ResourceError, match="even with a batch of 1"):
        searched(Imagined(lambda batch, size: 9 + batch), lambda text: None)  # type: ignore[arg-type]


def test_a_trial_that_takes_too_long_is_not_called_too_large() -> None:
    trials = Imagined(lambda batch, size: 1, slow_from=0)
    with pytest.raises(
        ResourceError, match=r"batch of 1 took more than 100 seconds .* memory is not known: .*--limit"
    ):
        searched(trials, lambda text: None)  # type: ignore[arg-type]
    found = searched(Imagined(lambda batch, size: 1, slow_from=7), lambda text: None)  # type: ignore[arg-type]
    assert found.set.endswith("What took too long may fit as well: try again with a longer --limit.")


def test_a_config_that_does_not_train_has_the_error_of_its_trial() -> None:
    trials = Imagined(lambda batch, size: 1, error={(4, 64): "unknown key 'lerning_rate'"})
    with pytest.raises(ConfigError, match=r"^unknown key 'lerning_rate'"):
        searched(trials, lambda text: None)  # type: ignore[arg-type]


def test_a_size_that_the_network_does_not_take_is_a_line() -> None:
    trials = Imagined(lambda batch, size: 1 + batch / 10, error={(4, 128): "images of 64 pixels"})
    found = searched(trials, lambda text: None)  # type: ignore[arg-type]
    assert found.size == 64
    assert "not possible: images of 64 pixels" in table(found)


def test_trials_that_would_take_too_long_are_not_made() -> None:
    trials = Imagined(lambda batch, size: 0.5 + batch * 0.001, size=None, pace=1.0)
    searched(trials, lambda text: None)  # type: ignore[arg-type]
    assert max(batch for batch, _ in trials.asked) <= 12  # 12.5 seconds a step are half of the limit for 4 steps


def test_peak_memory_and_exit_status_of_a_process() -> None:
    held = [sys.executable, "-c", "b = bytearray(300_000_000); print('done')"]
    code, peak, told = measured(held, 60)
    assert (code, told) == (0, "done")
    assert 300e6 < peak < 500e6
    assert measured([sys.executable, "-c", "import time; time.sleep(60)"], 0.3)[0] == 124
    code, _, told = measured([sys.executable, "-c", "raise SystemExit('i2i: no such key')"], 60)
    assert trial.why(code, told, 60) == ("error", "no such key")
    code, _, told = measured([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], 60)
    assert trial.why(code, told, 60)[0] == "memory"


def test_a_long_validation_is_ended_and_its_start_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "VALIDATION", 3.0)
    trained = tmp_path / "trained"
    code = f"import time; open({str(trained)!r}, 'w'); print('trained'); b = bytearray(300_000_000); time.sleep(90)"
    start = time.monotonic()
    ended, peak, told = measured([sys.executable, "-u", "-c", code], 100, trained.exists)
    assert time.monotonic() - start < 60
    assert (ended, told) == (-15, "trained")
    assert peak > 300e6


def test_a_trial_of_a_run_that_was_asked_to_stop_after_training_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More validation samples than there is time for, as in a config for a real data set."""
    monkeypatch.setattr(trial, "VALIDATION", 0.0)
    config = tmp_path / "toy.yaml"
    config.write_text(TOY.replace("validation_samples: 4", "validation_samples: 2000"))
    codes: list[int] = []

    def noted(*given: Any) -> tuple[int, int, str]:
        codes.append((told := measured(*given))[0])
        return told

    monkeypatch.setattr(trial, "measured", noted)
    trials = Trials(str(config), [], steps=3, limit=100, plugins=[])
    try:
        found = trials.run()
        assert codes == [75]  # `i2i run` was asked to stop
        assert found.state == "ok", found.reason
        assert found.seconds > 0
        assert trials.length() == 1000
    finally:
        trials.clear()


@pytest.mark.parametrize(
    ("seconds", "words"), [(59, "59 seconds"), (125, "2 minutes"), (9000, "2 hours"), (3e5, "3 days")]
)
def test_the_time_of_a_training_is_told_in_words(seconds: float, words: str) -> None:
    assert search.duration(seconds) == words


def test_a_real_trial_takes_the_steps_of_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    config = tmp_path / "toy.yaml"
    config.write_text(TOY)
    trials = Trials(str(config), [], steps=3, limit=100, plugins=[])
    try:
        found = trials.run(batch=8)
        assert found.state == "ok", found.reason
        assert (found.batch, found.size) == (8, 28)
        assert found.memory > 50e6
        assert 0 < found.seconds < 60
        wrong = trials.run(batch=0)
        assert (wrong.state, wrong.code) == ("error", 2)
        assert "batch_size" in wrong.reason
    finally:
        trials.clear()
    assert not trials.folder.exists()
    assert json.dumps(found.__dict__)
