"""The scripts of docs/scale.md start a training; benchmarks/hosts.py runs them on two hosts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIG = """
task:
  use: vae
  encoder: {use: dense_encoder, widths: [8]}
  decoder: {use: dense_decoder, widths: [8]}
  latent: 2
  size: 28
data: {use: digits, size: 28, batch_size: 8, samples: 16}
train: {steps: 4, log_every: 1, threads: 1, timeout: 60}
"""
PLUGIN = """
import os
from pathlib import Path
from i2i import hookimpl

@hookimpl
def register(catalog):
    Path(__file__).with_name(f"rank{os.environ['RANK']}").touch()
"""
TOOLS = {"scontrol": 'echo "$3"', "srun": 'exec "$@"'}  # of a cluster of one node


@pytest.mark.timeout(240)
def test_the_slurm_script_starts_the_torchrun_script_which_trains_with_two_processes(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "who.py").write_text(PLUGIN)
    for name, text in TOOLS.items():  # a cluster of one node
        (tmp_path / name).write_text(f'#!/bin/sh\nset -- {name} "$@"; shift\n{text}\n')
        (tmp_path / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        job = free.getsockname()[1]
    slurm = {"NNODES": "1", "GPUS_ON_NODE": "2", "JOB_ID": str(job), "JOB_NODELIST": "127.0.0.1", "NODEID": "0"}
    variables = {f"SLURM_{name}": value for name, value in slurm.items()}
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    line = ["bash", "docs/scale/slurm.sbatch", str(tmp_path / "tiny.yaml"), "-o", str(tmp_path / "run")]
    line += ["--plugin", str(tmp_path / "who.py")]
    environment = {**os.environ, **variables, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    logged = [json.loads(row) for row in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert max(row.get("step", 0) for row in logged) == 4
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank0", "rank1"]
