"""Processes that cannot meet, or do not agree: one sentence each, and nothing is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from i2i import api, config, runs
from i2i.errors import ConfigError, I2IError, ResourceError
from i2i.plugins import registry
from i2i.processes import launch
from i2i.processes.joining import refuse_disagreement

from .tiny import digits

CONFIG = digits(steps=2, timeout=60)
MET = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999"}


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def port() -> Any:
    """Return a port that somebody else listens on."""
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        (
            {"MASTER_PORT": "taken"},
            ResourceError,
            "cannot meet at 127.0.0.1:[0-9]+: the port is in use; choose another",
        ),
        ({"RANK": "first"}, ConfigError, "the variable RANK is 'first', which is not a whole number: torchrun"),
        ({"WORLD_SIZE": "2.5"}, ConfigError, "the variable WORLD_SIZE is '2.5', which is not a whole number"),
        ({"MASTER_PORT": "http"}, ConfigError, "the variable MASTER_PORT is 'http', which is not a whole number"),
        ({"MASTER_PORT": "99999"}, ResourceError, "MASTER_PORT is 99999: a port is a number from 1 to 65535"),
        ({"RANK": "2"}, ResourceError, "RANK is 2 and WORLD_SIZE is 2: ranks count from 0 to WORLD_SIZE - 1"),
        ({"MASTER_ADDR": ""}, ResourceError, "WORLD_SIZE is 2, but MASTER_ADDR is not set: torchrun"),
    ],
)
def test_I8_processes_that_cannot_meet(
    given: Path, monkeypatch: pytest.MonkeyPatch, port: int, changes: Any, kind: type[I2IError], sentence: str
) -> None:
    for name, value in (MET | changes).items():
        monkeypatch.setenv(name, str(port) if value == "taken" else value)
    out = given.parent / "run"
    with pytest.raises(kind, match=sentence) as caught:
        api.run(given, out=out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def differing(one: dict[str, str], other: dict[str, str], size: int = 3) -> list[str]:
    """Return what each process says, of which the last one has other values."""
    store = dist.HashStore()

    def says(rank: int) -> str:
        try:
            refuse_disagreement(store, rank, size, "settings", other if rank == size - 1 else one)
        except ConfigError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(says, range(size)))


def test_X5_processes_that_agree_go_on() -> None:
    assert differing({"a": "1"}, {"a": "1"}) == ["", "", ""]


def test_X5_a_process_that_differs_is_named_with_both_values() -> None:
    first, second, last = differing({"a": "1", "optimizer.lr": "0.001"}, {"a": "1", "optimizer.lr": "0.01"})
    assert first == "optimizer.lr is 0.001 here and 0.01 on rank 2: start all with the same"
    assert last == "optimizer.lr is 0.01 here and 0.001 on rank 0: start all with the same"
    assert second == ""


def test_X5_files_of_other_names_or_sizes_count_as_a_difference(tmp_path: Path) -> None:
    for part in ("trainA", "trainB"):
        (tmp_path / "one" / part).mkdir(parents=True)
        (tmp_path / "one" / part / "a.png").write_bytes(b"123")

    def common() -> dict[str, str]:
        text = ["data={use: unpaired_folders, root: '" + str(tmp_path / "one") + "'}"]
        return runs.in_common(config.load("cyclegan", text, registry().catalog))

    before, name = common(), f"the data in {tmp_path / 'one' / 'trainA'}"
    assert before[name].startswith("1 files (sha256 of their names and sizes: ")
    assert before["data.use"] == "'unpaired_folders'"
    (tmp_path / "one" / "trainA" / "a.png").write_bytes(b"1234")
    assert common()[name].startswith("1 files (sha256 of their names and sizes: ")
    assert {key for key, value in common().items() if value != before[key]} == {name}


def test_X5_two_runs_with_different_rates_end_with_code_2(given: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank, rate in enumerate(("0.001", "0.01")):
        variables = MET | {"RANK": str(rank), "MASTER_PORT": str(port)}
        command = [
            sys.executable,
            "-m",
            "i2i",
            "run",
            str(given),
            f"optimizer.lr={rate}",
            "-o",
            str(given.parent / "o"),
        ]
        children.append(subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.PIPE, text=True))
    errors = [child.communicate(timeout=100)[1] for child in children]
    assert [child.returncode for child in children] == [2, 2], errors
    assert "rank 0: optimizer.lr is 0.001 here and 0.01 on rank 1: start all with the same" in errors[0]
    assert "rank 1: optimizer.lr is 0.01 here and 0.001 on rank 0: start all with the same" in errors[1]
    assert "Traceback" not in "".join(errors)


def test_nproc_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert launch(["--version"], 2) == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("torchelastic", "i2i-"))] == []
