"""Speed and memory of every family: i2i against a plain PyTorch reference of the published recipe.

    python benchmarks/speed.py cyclegan                              # CPU time on one thread
    python benchmarks/speed.py cyclegan --threads 2 --clock wall     # wall time; needs an idle machine
    python benchmarks/speed.py cyclegan --memory                     # peak memory, in a process for each side
    python benchmarks/speed.py all --json benchmarks/results/speed.json
    python benchmarks/speed.py --render                              # docs/performance.md from the results alone
    python benchmarks/speed.py cyclegan --avx2                       # as on a CPU without AVX-512, for both sides

Both sides must first compute the same losses (or results) from the same weights and batches, in one process. Then
they alternate, each in a process of its own, as people run them: reference, i2i, reference. The ratio of the second
to the first reference shows the machine's noise. The reference must match the parameters and FLOPs of the published
code. Only the ratio is comparable between machines: below 1, i2i is faster.

`workloads` says what is measured, `reference` has the plain side. `all` measures each family in processes of its own
and writes docs/performance.md; results of other kinds of CPU in the same file are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import inspect
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import speed_page

ROOT = Path(__file__).resolve().parents[1]
Turn = Callable[[int], float]
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}
FLAGS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 bf16", "amx_tile": "AMX"}
LIMITED = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SKIPPED = 3  # exit code: the data are not here
SIZES = ("size", "batch", "width")  # options of workloads


def compare(reference: Turn, other: Turn, rounds: int) -> dict[str, Any]:
    """Run reference, other, reference `rounds` times; return the seconds that they return, and ratios."""
    seconds: dict[str, list[float]] = {"reference": [], "i2i": [], "reference_again": []}
    for n in range(rounds):
        for name, turn in zip(seconds, (reference, other, reference), strict=True):
            seconds[name].append(turn(n))
    plain, ours, again = seconds.values()
    pairs = [2 * x / (a + b) for a, x, b in zip(plain, ours, again, strict=True)]
    return {
        "seconds": seconds,
        "ratio_of_medians": statistics.median(ours) / statistics.median(plain + again),
        "ratio": spread(pairs),
        "noise": spread([b / a for a, b in zip(plain, again, strict=True)]),
    }


def clocked(work: Callable[[int], Any], clock: str) -> Turn:
    """Return what does some work and returns the seconds that it took."""
    now = CLOCKS[clock]

    def turn(n: int) -> float:
        start = now()
        work(n)
        return now() - start

    return turn


class Apart:
    """One side in a process of its own, which waits while the other works. Called with the number of a round."""

    def __init__(self, args: argparse.Namespace, side: str) -> None:
        command = [sys.executable, __file__, *options(args), "--side", side, "--turns"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, n: int) -> float:
        """Let it do its work once, and return the seconds that it took; exit if it fails."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(n, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        return float(line) if line else sys.exit(self.process.wait() or 1)

    def __enter__(self) -> Apart:
        self(0)  # once without being timed, to choose kernels and to get memory
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.communicate()


def take_turns(args: argparse.Namespace) -> None:
    """Work for `Apart`: read the number of a round, do it, and print the seconds that it took."""
    turn = clocked(alone(args), args.clock)
    for line in sys.stdin:
        print(turn(int(line)), flush=True)


def alone(args: argparse.Namespace) -> Callable[[int], Any]:
    """Build one side alone; for i2i, this process is prepared as `i2i run` prepares it for a training."""
    workload = workload_of(args)
    if args.side == "i2i" and workload.kind == "training":
        from i2i.speed import prepare

        prepare(args.threads)
    return workload.one(args.side)


def spread(values: list[float]) -> dict[str, float]:
    """Return the least, the median and the greatest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def timed(args: argparse.Namespace) -> dict[str, Any]:
    """Build and check both sides of a workload, and time them."""
    workload = workload_of(args)
    other = sizes(args)
    guarded = {"guarded": f"no: the published counts are not for {other}"} if other else workload.guard()
    checked, load = workload.both().checked, os.getloadavg()[0]
    with Apart(args, "reference") as reference, Apart(args, "i2i") as ours:
        found = compare(reference, ours, args.rounds)
        found |= {"kind": workload.kind, "checked": guarded | checked, "note": workload.note}
        found["steps"] = getattr(workload, "steps", 1)
        found["load"] = {"before": load, "after": os.getloadavg()[0]}
        if workload.kind == "inference" and not other and not args.avx2:  # which does not limit them
            runtimes = {name: clocked(work, args.clock) for name, work in workload.runtimes().items()}
            found["runtimes"] = {
                name: compare(reference, turn, args.rounds)["ratio"] for name, turn in runtimes.items()
            }
    return found


def peak(args: argparse.Namespace) -> float:
    """Return the peak memory of two rounds of one side, in MB beyond that after imports and a tiny step."""
    import torch

    layer = torch.nn.Conv2d(3, 3, 3)
    for fused in (False, True):
        layer(torch.rand(1, 3, 8, 8)).sum().backward()
        torch.optim.Adam(layer.parameters(), fused=fused).step()
    workload_of(args)
    before = resident()  # everything has been imported
    turn = alone(args)
    for n in range(2):
        turn(n)
    return resident() - before


def resident() -> float:
    """Return the peak memory of this process so far, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def memory(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the peak memory of each side in a process of its own."""
    found = {side: float(run(*options(args), "--memory", "--side", side)) for side in ("reference", "i2i")}
    return {"memory": found | {"ratio": found["i2i"] / found["reference"]}}


def options(args: argparse.Namespace) -> list[str]:
    """Return the command line for another process of the same workload."""
    given = [args.workload, f"--threads={args.threads}", f"--clock={args.clock}", f"--speed={args.speed}"]
    return [*given, *(f"--{name}={value}" for name, value in sizes(args).items()), *["--avx2"] * args.avx2]


def workload_of(args: argparse.Namespace) -> Any:
    """Return the workload with the sizes that were given; exit with a sentence if it has no such size."""
    from workloads import WORKLOADS

    build, given = WORKLOADS[args.workload], sizes(args)
    possible = [name for name in SIZES if name in inspect.signature(build).parameters]
    for name in given.keys() - possible:
        sys.exit(f"{args.workload} has no --{name}; possible: {', '.join(f'--{n}' for n in possible) or 'none'}")
    return build(**given)


def sizes(args: argparse.Namespace) -> dict[str, int]:
    """Return the sizes that were given."""
    return {name: value for name in SIZES if (value := getattr(args, name)) is not None}


def run(*arguments: str) -> str:
    """Run this script in another process and return what it prints; exit if it fails."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def machine() -> dict[str, Any]:
    """Return the hardware and software behind the numbers."""
    cpu, flags, linux = platform.processor(), set[str](), Path("/proc/cpuinfo")
    if linux.exists():
        lines = [line.partition(":") for line in linux.read_text().splitlines()]
        about = {name.strip(): value.strip() for name, _, value in lines}
        cpu, flags = about.get("model name", cpu), set(about.get("flags", "").split())
    if os.environ.items() >= LIMITED.items():
        cpu, flags = f"{cpu} limited to AVX2", flags & {"avx2"}
    return {"cpu": cpu, "flags": [name for flag, name in FLAGS.items() if flag in flags], "cores": os.cpu_count()}


def versions() -> dict[str, str]:
    """Return the versions of Python, torch and i2i."""
    sys.path.insert(0, str(ROOT))
    from i2i.version import __version__

    return {"python": platform.python_version(), "torch": importlib.metadata.version("torch"), "i2i": __version__}


def everything(args: argparse.Namespace) -> None:
    """Measure every workload in processes of its own, each time and then memory; then write the page."""
    failed = []
    for name in speed_page.WORKLOADS:
        for extra in ([], ["--memory"]):
            options = [f"--threads={args.threads}", f"--clock={args.clock}", f"--rounds={args.rounds}"]
            options += [f"--speed={args.speed}"]
            options += [f"--json={args.json}", *([f"--remark={args.remark}"] if args.remark else [])]
            print(f"{name} {'memory' if extra else 'time'}", flush=True)
            code = subprocess.run([sys.executable, __file__, name, *options, *extra]).returncode
            failed += [name] * (code not in (0, SKIPPED))
            if code:
                break
    speed_page.write(args.json)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


def report(found: dict[str, Any], clock: str) -> str:
    """Return a result as a few lines of text."""
    if "memory" in found:
        m = found["memory"]
        return f"peak memory      {m['i2i']:.0f} MB, reference {m['reference']:.0f} MB: {m['ratio']:.2f}"
    lines = []
    for name, values in found["seconds"].items():
        s = spread(values)
        lines.append(f"{name:16} min {s['min']:8.4f}  median {s['median']:8.4f}  max {s['max']:8.4f} s ({clock})")
    ratio, noise, load = found["ratio"], found["noise"], found["load"]
    lines += [
        f"i2i / reference  {ratio['min']:.3f} .. {ratio['median']:.3f} .. {ratio['max']:.3f} (pairs)  "
        f"{found['ratio_of_medians']:.3f} (medians)",
        f"reference/itself {noise['min']:.3f} .. {noise['median']:.3f} .. {noise['max']:.3f} (noise)",
        f"load average     {load['before']:.2f} before, {load['after']:.2f} after",
    ]
    lines += [f"note             {found['note']}"] if found["note"] else []
    for name in ("onnxruntime", "openvino") if "runtimes" in found else ():
        ratio = found["runtimes"].get(name)
        lines.append(f"{name:16} {ratio['median']:.3f} of the reference" if ratio else f"{name:16} is not installed")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("workload", nargs="?", choices=["all", *speed_page.WORKLOADS])
    parser.add_argument("--size", type=int, help="image size in pixels; by default the published one")
    parser.add_argument("--batch", type=int, help="samples per step; by default as published")
    parser.add_argument("--width", type=int, help="width of the networks; by default the published one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="cpu", help="cpu requires one thread")
    parser.add_argument(
        "--speed", choices=["exact", "auto", "fast"], default="exact", help="of i2i; fast trains in bf16"
    )
    parser.add_argument("--avx2", action="store_true", help="limit both sides to AVX2, on a CPU that has more")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of time")
    parser.add_argument("--side", choices=["reference", "i2i"], help=argparse.SUPPRESS)
    parser.add_argument("--turns", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="add the result to this file")
    parser.add_argument("--remark", help="a sentence that is kept with the result, e.g. what else was running")
    parser.add_argument("--render", action="store_true", help="only write docs/performance.md")
    args = parser.parse_args()
    if args.clock == "cpu" and args.threads > 1:
        parser.error("the cpu clock also counts waiting threads: use --clock wall or --threads 1")
    if args.workload is None and not args.render:
        parser.error("which workload? Give one of the names, or all, or --render")
    if args.json and any(getattr(args, name) is not None for name in SIZES):
        parser.error("the file holds results for the published sizes only: leave out --json")
    if args.workload == "all" or args.render:
        args.json = args.json or speed_page.RESULTS
    return args


def measured(args: argparse.Namespace) -> Any:
    """Measure in this process; exit with a sentence if the data of the workload are not here."""
    sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]
    import torch
    from workloads import Missing

    torch.set_num_threads(args.threads)
    try:
        return timed(args) if not args.side else peak(args) if args.memory else take_turns(args)
    except Missing as error:
        print(f"{args.workload} is skipped: {error}", file=sys.stderr)
        sys.exit(SKIPPED)


def save(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Add a result to the file, with what is needed to repeat it."""
    command = shlex.join(["python", "benchmarks/speed.py", *sys.argv[1:]])
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    about = {"command": command, "date": date, "remark": args.remark or "", "versions": versions()}
    part = "memory" if args.memory else "time"
    setting = f"{args.threads} thread{'s' * (args.threads > 1)}, {args.clock.replace('cpu', 'CPU')} time"
    setting += f", speed {args.speed}" * (args.speed != "exact")
    speed_page.merge(args.json, machine(), setting, args.workload, {part: found | about})


def main() -> None:
    """Measure what was asked for, print it, and save it."""
    args = arguments()
    # Must precede the import of torch: a spinning thread pool would slow down the other side.
    os.environ |= {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "PASSIVE", "I2I_SPEED": args.speed}
    os.environ |= LIMITED if args.avx2 else {}
    if args.render:
        speed_page.write(args.json)
    elif args.workload == "all":
        everything(args)
    elif args.turns:
        measured(args)
    elif args.side:
        print(measured(args))
    else:
        found = memory(args) if args.memory else measured(args)
        print(report(found, args.clock), flush=True)
        if args.json:
            save(args, found)


if __name__ == "__main__":
    main()
