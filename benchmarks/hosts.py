"""Training on two hosts, on one machine: `sudo python benchmarks/hosts.py [--json benchmarks/results/hosts.json]`

Two network namespaces joined by a virtual cable stand for the hosts; they share a folder, as hosts share a network
drive. Each runs one process, started by docs/scale/torchrun.sh. Checked:

1. the losses of every step equal those of one process with the same config (in float64: in float32 the two sides of
   a GAN amplify the order of a sum, 1e-7 in the first step, until nothing is alike);
2. a rank that is killed is replaced: torchrun starts all again, `--resume` continues from the last checkpoint, and
   the weights equal those of the run that nobody disturbed, bit for bit;
3. without restarts, a killed rank ends both hosts.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from i2i import checkpoint

HOSTS = {"i2i-a": "10.199.7.1", "i2i-b": "10.199.7.2"}  # name of the namespace, address
PORT = 29411
SCRIPT = Path(__file__).parents[1] / "docs" / "scale" / "torchrun.sh"
PLUGIN = Path(__file__).with_name("in_double.py").read_text()
CONFIG = """
task:
  use: cyclegan_in_double
  generator: {use: resnet_generator, width: 4, blocks: 1}
  discriminator: {use: patch_discriminator, width: 4, layers: 1}
  gan: {use: lsgan}
  pool: 3
data: {use: horses_zebras, size: 64, batch_size: 4, samples: 6, validation_samples: 2}
optimizer: {use: adam, lr: 2.0e-4, betas: [0.5, 0.999]}
train: {steps: 60, log_every: 1, sample_every: 1000, checkpoint_every: 10, threads: 1, timeout: 60}
"""


def main() -> None:
    """Run the three checks, print them, and exit with 1 if one fails."""
    parser = argparse.ArgumentParser(description="Training on two hosts, on one machine")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as place, cable():
        folder = Path(place).absolute()
        (folder / "tiny.yaml").write_text(CONFIG)
        (folder / "double.py").write_text(PLUGIN)
        alone = folder / "alone"
        subprocess.run(
            [sys.executable, "-m", "i2i", "run", *words(folder, alone)],
            check=True,
            env=environment(),
            capture_output=True,
        )
        result = {**equal_losses(folder, alone), **replaced(folder), **ended(folder)}
    result["cpus"], result["torch"] = os.cpu_count(), torch.__version__
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if not (result["largest_difference"] < 1e-5 and result["replaced_equal"] and result["both_ended"]):
        raise SystemExit(1)


def equal_losses(folder: Path, alone: Path) -> dict[str, float]:
    """Train undisturbed, and compare the losses with those of one process."""
    start = time.perf_counter()
    codes = finish(started(folder, folder / "two", restarts=0))
    if codes != [0, 0]:
        raise SystemExit("\n".join(path.read_text() for path in folder.glob("two-*.log")))
    one, two = ([line for line in losses(run) if "D/a" in line] for run in (alone, folder / "two"))
    assert len(one) == len(two) == 60, (len(one), len(two))
    apart = max(abs(a[name] - b[name]) for a, b in zip(one, two) for name in a if name[:2] in ("G/", "D/"))
    return {"steps": 60, "seconds": round(time.perf_counter() - start, 1), "largest_difference": apart}


def replaced(folder: Path) -> dict[str, object]:
    """Kill the process of the second host in the middle, and compare the weights with the undisturbed ones."""
    run = folder / "killed"
    hosts = started(folder, run, restarts=2)
    wait_for(run, 25)
    victim = process(run, 1)
    os.kill(victim, signal.SIGKILL)
    codes = finish(hosts)
    weights = [checkpoint.load_model(path / "model.safetensors")[0] for path in (folder / "two", run)]
    equal = all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    return {"killed_after_step": 25, "exit_codes": codes, "replaced_equal": equal and codes == [0, 0]}


def ended(folder: Path) -> dict[str, object]:
    """Kill the process of the second host, with no restarts: both agents must end, with an error."""
    run = folder / "ended"
    hosts = started(folder, run, restarts=0, steps=100_000)
    wait_for(run, 15)
    start = time.perf_counter()
    os.kill(process(run, 1), signal.SIGKILL)
    codes = finish(hosts)
    return {"both_ended": all(codes), "seconds_to_end": round(time.perf_counter() - start, 1)}


def words(folder: Path, run: Path, *more: str) -> list[str]:
    """Return the arguments of `i2i run`."""
    return [str(folder / "tiny.yaml"), "-o", str(run), "--resume", "--plugin", str(folder / "double.py"), *more]


def started(folder: Path, run: Path, restarts: int, steps: int = 60) -> list[subprocess.Popen[bytes]]:
    """Start torchrun on both hosts."""
    children = []
    for name in HOSTS:
        number = list(HOSTS).index(name)
        torchrun = ["bash", str(SCRIPT), str(number), *words(folder, run, f"train.steps={steps}")]
        log = open(folder / f"{run.name}-{name}.log", "wb")  # noqa: SIM115  # closed with this process
        command = ["ip", "netns", "exec", name, *torchrun]
        chosen = {"HOST0": HOSTS["i2i-a"], "HOSTS": "2", "RESTARTS": str(restarts), "ADDRESS": HOSTS[name]}
        variables = {**environment(), **chosen, "RUN_ID": run.name, "PORT": str(PORT)}
        children.append(subprocess.Popen(command, env=variables, stdout=log, stderr=log))
    return children


def environment() -> dict[str, str]:
    """Return the variables for a process: gloo must be told which network to use."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "i2i0", "PATH": path}


def finish(children: list[subprocess.Popen[bytes]]) -> list[int]:
    """Wait for both hosts, and return their exit codes."""
    return [child.wait(timeout=300) for child in children]


def losses(run: Path) -> list[dict[str, float]]:
    """Return the logged steps of a run."""
    file = run / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(run: Path, step: int) -> None:
    """Wait until a run has logged a step."""
    deadline = time.monotonic() + 120
    while not any(line.get("step", 0) >= step for line in losses(run)):
        assert time.monotonic() < deadline, f"{run} did not reach step {step}"
        time.sleep(0.1)


def process(run: Path, rank: int) -> int:
    """Return the id of the process of a rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            given, variables = ((folder / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:  # it has just ended
            continue
        if str(run).encode() in given and f"RANK={rank}".encode() in variables:
            return int(folder.name)
    raise RuntimeError(f"no process of rank {rank}")


@contextmanager
def cable() -> Iterator[None]:
    """Make two network namespaces, joined by a pair of virtual network cards named i2i0."""
    first, second = HOSTS
    try:
        for name in HOSTS:
            ip("netns", "add", name)
        ip("link", "add", "i2i0", "netns", first, "type", "veth", "peer", "name", "i2i0", "netns", second)
        for name, address in HOSTS.items():
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "i2i0")
            for card in ("i2i0", "lo"):
                ip("-n", name, "link", "set", card, "up")
        yield
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def ip(*arguments: str) -> None:
    """Run a command of iproute2."""
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    main()
