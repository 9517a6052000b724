"""Loader processes: what they read, and what happens when one is killed, frozen, or cannot send what it has read."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i import ConfigError, PluginError, ResourceError
from i2i.data.loaders import read_ahead


def squares(numbers: Sequence[int]) -> dict[str, Any]:
    values = torch.tensor(list(numbers))
    return {"square": values**2, "half": values.bfloat16() / 2, "empty": torch.zeros(0, 3), "name": f"{numbers[0]}"}


def batches(read: Callable[[Sequence[int]], Any], n: int = 5, workers: int = 2, seconds: float = 20) -> list[Any]:
    return list(read_ahead(read, (range(2 * i, 2 * i + 2) for i in range(n)), workers, seconds, str))


def once(flag: Path, act: Callable[[], Any]) -> Callable[[Sequence[int]], Any]:
    """Return a function that reads numbers, and acts at the third batch unless there is a file."""

    def read(numbers: Sequence[int]) -> list[int]:
        if numbers[0] == 4 and not flag.exists():
            flag.touch()
            act()
        return list(numbers)

    return read


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_whatever_the_number_of_processes(workers: int) -> None:
    found = batches(squares, workers=workers)
    assert [batch["name"] for batch in found] == ["0", "2", "4", "6", "8"]
    assert torch.equal(torch.cat([batch["square"] for batch in found]), torch.arange(10) ** 2)
    assert found[1]["half"].dtype == torch.bfloat16
    assert found[1]["half"].tolist() == [1.0, 1.5]
    assert found[0]["empty"].shape == (0, 3)
    found[0]["square"] += 1  # writable


def test_R2_a_killed_process_is_replaced_and_the_batch_read_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    read = once(tmp_path / "flag", lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert batches(read) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    said = capfd.readouterr().err
    assert "was killed by signal 9 (often for lack of memory) while reading range(4, 6): trying again" in said
    assert said.startswith("i2i: loader process ")
    assert said.count("\n") == 1


def test_R2_a_process_that_dies_twice_at_a_batch_ends_the_run() -> None:
    with pytest.raises(ResourceError, match=r"loader process \d+ has ended with exit code 3 .*for the second time"):
        batches(lambda numbers: os._exit(3))


def test_R1_a_frozen_process_is_replaced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read = once(tmp_path / "flag", lambda: os.kill(os.getpid(), signal.SIGSTOP))
    assert batches(read, seconds=2) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert "has not answered for 2 s while reading range(4, 6)" in capfd.readouterr().err


def test_R1_a_process_that_freezes_in_the_middle_of_an_answer_is_replaced(tmp_path: Path) -> None:
    """The kernel holds only a part of 64 MB, so the process is stopped while it sends."""
    flag = tmp_path / "flag"

    def read(numbers: Sequence[int]) -> torch.Tensor:
        if not flag.exists():
            flag.touch()
            stop = f"import os, time; time.sleep(0.5); os.kill({os.getpid()}, {int(signal.SIGSTOP)})"
            subprocess.Popen([sys.executable, "-c", stop])
        return torch.zeros(16_000_000)

    reading = read_ahead(read, [range(1)] * 40, 1, 3, str)
    for _ in range(2):
        next(reading)
        time.sleep(0.4)
    assert len(list(reading)) == 38


def test_what_cannot_be_pickled_is_reported() -> None:
    (found,) = batches(lambda numbers: lambda: numbers, n=1)
    assert isinstance(found, PluginError)
    assert "cannot be sent to the main process" in str(found)
    assert "use data.workers=0" in str(found)


class Unreadable:
    """Can be pickled, but not read again."""

    def __reduce__(self) -> Any:
        return int, ("not a number",)


def test_what_cannot_be_read_again_is_reported() -> None:
    (found,) = batches(lambda numbers: Unreadable(), n=1)
    assert isinstance(found, PluginError)
    assert "cannot be read from its loader process (ValueError: invalid literal" in str(found)


def test_processes_end_with_their_parent() -> None:
    script = (
        "import os, time\n"
        "from i2i.data.loaders import read_ahead\n"
        "for batch in read_ahead(lambda numbers: os.getpid(), [range(1)] * 9, 2, 20, str):\n"
        "    print(batch, flush=True)\n"
        "    time.sleep(0.2)\n"
        "    os.kill(os.getpid(), 9) if batch else None\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    child = int(done.stdout.split()[0])
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            return
        time.sleep(0.1)
    pytest.fail(f"process {child} is still there")


def test_F4_nothing_follows_the_sentence_of_an_error() -> None:
    script = (
        "from i2i import DataError\n"
        "from i2i.data.loaders import read_ahead\n"
        "for batch in read_ahead(lambda numbers: 0, [range(1)] * 9, 2, 20, str):\n"
        "    raise SystemExit('one sentence')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "one sentence\n")


def test_a_loop_that_is_left_ends_the_processes() -> None:
    reading = read_ahead(lambda numbers: os.getpid(), [range(1)] * 9, 1, 20, str)
    child = next(reading)
    reading.close()
    assert not Path(f"/proc/{child}").exists()


def test_absurd_numbers_of_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="is 100000, and at most 1024 are possible: one for each processor"):
        next(read_ahead(list, [range(1)], 100_000, 1.0, str))

    def full(self: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", full)
    with pytest.raises(ResourceError, match=r"cannot be started \(Resource .*\): set a smaller data.workers"):
        next(read_ahead(list, [range(1)], 2, 1.0, str))
