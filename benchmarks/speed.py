"""Training speed: i2i's engine against a plain PyTorch reference of the published recipe.

    python benchmarks/speed.py cyclegan                                # CPU time on one thread
    python benchmarks/speed.py cyclegan --threads 2 --clock wall       # wall time; needs an idle machine

Both sides run in one process, start from the same weights, get the same batches and must report the same
losses before timing starts. Then they alternate: reference, i2i, reference. The ratio of the second to the first
reference shows the machine's noise. The reference must match the parameters and FLOPs of the published code.
Only the ratio is comparable between machines: below 1, i2i is faster.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}


class Sides(NamedTuple):
    """A workload ready for timing: two callables that do the same work, and the results of the checks."""

    reference: Callable[[], Any]
    i2i: Callable[[], Any]
    checked: dict[str, Any]


def cyclegan(args: argparse.Namespace) -> Sides:
    """Build both sides of the CycleGAN training step, and check that they compute the same losses.

    Raises:
        SystemExit: the reference does not match the published network or step, or the first losses differ.
    """
    import torch
    from reference import cyclegan as published
    from torch.utils.flop_counter import FlopCounterMode

    checked = guard_cyclegan(args.blocks)
    engine = cyclegan_engine(args.blocks)
    reference = published.CycleGAN(args.blocks)
    task = engine.task
    for ours, plain in zip((task.G_ab, task.G_ba, task.D_a, task.D_b), reference.networks(), strict=True):
        for p, q in zip(ours.parameters(), plain.parameters(), strict=True):
            q.data.copy_(p.data)

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        source = torch.Generator().manual_seed(1)
        shape = (args.batch, 3, args.size, args.size)
        while True:
            yield {name: torch.rand(shape, generator=source) * 2 - 1 for name in "AB"}

    # The first step of both is for warm-up, FLOP counting and the comparison of losses.
    one, other = batches(), batches()
    first = next(one), next(other)
    with FlopCounterMode(display=False) as plain_flops:
        expected = {name: loss.item() for name, loss in reference.step(first[0]["A"], first[0]["B"]).items()}
    with FlopCounterMode(display=False) as our_flops:
        losses = i2i_step(engine, first[1])
    gap = max(abs(losses[name] - value) / max(1.0, abs(value)) for name, value in expected.items())
    if gap > 1e-5 or losses.keys() != expected.keys():
        sys.exit(f"the first losses differ by {gap:.1e}: {losses} instead of {expected}")
    checked |= {
        "first_losses": expected,
        "first_losses_differ_by": gap,
        "reference_gflop": plain_flops.get_total_flops() / 1e9,
        "i2i_gflop": our_flops.get_total_flops() / 1e9,
    }

    def plain_step() -> None:
        batch = next(one)
        reference.step(batch["A"], batch["B"])

    return Sides(plain_step, lambda: i2i_step(engine, next(other)), checked)


def guard_cyclegan(blocks: int) -> dict[str, Any]:
    """Check the reference against the constants of the published code, with a free step on the meta device.

    Raises:
        SystemExit: parameters differ, or FLOPs by more than 1 %.
    """
    import torch
    from reference import cyclegan as published
    from torch.utils.flop_counter import FlopCounterMode

    if blocks not in published.STEP_GFLOP:
        return {"guarded": f"no: the published counts are for {sorted(published.STEP_GFLOP)} blocks"}
    reference = published.CycleGAN(blocks, device="meta")
    counts = [sum(p.numel() for p in network.parameters()) for network in reference.networks()]
    wanted = 2 * [published.GENERATOR_PARAMETERS[blocks]] + 2 * [published.DISCRIMINATOR_PARAMETERS]
    if counts != wanted:
        sys.exit(f"the reference has {counts} parameters, the published networks {wanted}")
    with FlopCounterMode(display=False) as counter:
        reference.step(*torch.empty(2, 1, 3, 128, 128, device="meta"))
    gflop, published_gflop = counter.get_total_flops() / 1e9, published.STEP_GFLOP[blocks]
    if abs(gflop / published_gflop - 1) > 0.01:
        sys.exit(f"a step of the reference takes {gflop:.1f} GFLOP, the published one {published_gflop}")
    return {"parameters": counts, "gflop_at_128": gflop, "published_gflop_at_128": published_gflop}


def cyclegan_engine(blocks: int) -> Any:
    """Return i2i's engine for its CycleGAN, with the published settings."""
    import torch
    from i2i_cyclegan import CycleGAN

    from i2i.config import Train
    from i2i.engine import Engine
    from i2i.losses import LSGAN
    from i2i.networks import PatchDiscriminator, ResnetGenerator
    from i2i.optim import adam

    torch.manual_seed(0)
    task = CycleGAN(partial(ResnetGenerator, blocks=blocks), PatchDiscriminator, LSGAN)
    return Engine(task, partial(adam, lr=2e-4, betas=(0.5, 0.999)), Train(steps=1))


def i2i_step(engine: Any, batch: dict[str, Any]) -> dict[str, float]:
    """Run one training step of i2i and return its losses by "player/name"."""
    return engine.step([batch]).losses


def compare(sides: Sides, rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Time reference, i2i, reference `rounds` times and return seconds and ratios."""
    seconds: dict[str, list[float]] = {"reference": [], "i2i": [], "reference_again": []}
    for _ in range(rounds):
        turns = (sides.reference, sides.i2i, sides.reference)
        for name, turn in zip(seconds, turns, strict=True):
            start = clock()
            turn()
            seconds[name].append(clock() - start)
    plain, ours, again = seconds.values()
    noise = [b / a for a, b in zip(plain, again, strict=True)]
    pairs = [2 * x / (a + b) for a, x, b in zip(plain, ours, again, strict=True)]
    return {
        "seconds": seconds,
        "ratio_of_medians": statistics.median(ours) / statistics.median(plain + again),
        "ratio_of_pairs": statistics.median(pairs),
        "noise": {"min": min(noise), "median": statistics.median(noise), "max": max(noise)},
    }


def machine() -> dict[str, Any]:
    """Return the hardware and software behind the numbers."""
    cpu, linux = platform.processor(), Path("/proc/cpuinfo")
    if linux.exists():
        named = [line for line in linux.read_text().splitlines() if line.startswith("model name")]
        cpu = named[0].split(":", 1)[1].strip() if named else cpu
    from i2i.version import __version__

    versions = {"i2i": __version__, "torch": importlib.metadata.version("torch")}
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def report(result: dict[str, Any]) -> str:
    """Return the result as a few lines of text."""
    lines = []
    for name, values in result["seconds"].items():
        low, middle, high = min(values), statistics.median(values), max(values)
        lines.append(f"{name:16} min {low:8.4f}  median {middle:8.4f}  max {high:8.4f} s ({result['clock']})")
    medians, pairs, noise = result["ratio_of_medians"], result["ratio_of_pairs"], result["noise"]
    return "\n".join(
        [
            *lines,
            f"i2i / reference  {medians:.3f} (medians)  {pairs:.3f} (pairs)",
            f"reference/itself {noise['min']:.3f} .. {noise['median']:.3f} .. {noise['max']:.3f} (noise)",
            f"load average     {result['load_before'][0]:.2f} before, {result['load_after'][0]:.2f} after",
        ]
    )


WORKLOADS: dict[str, Callable[[argparse.Namespace], Sides]] = {"cyclegan": cyclegan}


def main() -> None:
    """Parse the arguments, build both sides, compare, print, save."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--size", type=int, default=128, help="image size in pixels")
    parser.add_argument("--blocks", type=int, default=9, help="residual blocks per generator")
    parser.add_argument("--batch", type=int, default=1, help="images of each domain per step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="cpu", help="cpu requires one thread")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    args = parser.parse_args()
    if args.clock == "cpu" and args.threads > 1:
        parser.error("the cpu clock also counts waiting threads: use --clock wall or --threads 1")

    # Must precede the import of torch: a spinning thread pool would slow down the other side.
    os.environ |= {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]
    import torch

    torch.set_num_threads(args.threads)
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "workload": args.workload,
        "options": {k: v for k, v in vars(args).items() if k not in ("json", "workload")},
        "clock": args.clock,
        "machine": machine(),
        "load_before": os.getloadavg(),
    }
    sides = WORKLOADS[args.workload](args)
    result |= {"checked": sides.checked} | compare(sides, args.rounds, CLOCKS[args.clock])
    result["load_after"] = os.getloadavg()
    print(report(result))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
