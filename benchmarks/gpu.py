"""Does everything that trains and translates on the CPU do so on the accelerator that is here, and how fast?

    python benchmarks/gpu.py                            # all families; writes benchmarks/results/gpu.json and gpu.md
    python benchmarks/gpu.py cyclegan superres --steps 5 --ways fp32 bf16 --out here.json
    python benchmarks/gpu.py --device cpu --smoke       # does the script work? writes gpu_cpu.json and gpu_cpu.md

Each family is a config on embedded data, at its own size. Four questions:

1. Equality: 20 steps in fp32 on the CPU and on the device, from equal weights, batches and random numbers (which are
   drawn on the CPU for both). "first" and "last" are the greatest relative differences of a loss at these steps.
2. Training: milliseconds per step, the median, for each way: fp32, bf16, fp16, channels_last (in the precision that
   `auto` picks), compiled (torch.compile of each network), graphs (the same with mode="reduce-overhead", which are
   CUDA graphs).
3. Batches: milliseconds per step, in the precision of `auto`, of steps in a row whose batches come from the host:
   sent when their step begins, or one step ahead, as in `i2i run`.
4. Inference: milliseconds per call of `translate`, or `sample` of eight, in fp32 and in the precision of `auto`.

A way that fails is recorded with its error, and does not stop the others. Without an accelerator the CPU is compared
with itself, which only shows that the script works.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from i2i import Task, config, devices
from i2i.data.stream import Numbered
from i2i.engine import Engine
from i2i.plugins import registry

FAMILIES = ["cyclegan", "facades", "colorful", "spade", "superres", "vae", "vqvae2", "dcgan", "sagan", "biggan"]
FAMILIES += ["wgan_gp", "text2image", "videogan", "video_prediction", "trajectory"]
WAYS = ("fp32", "bf16", "fp16", "channels_last", "compiled", "graphs")
BATCHES = ("sent at the step", "sent ahead")
ROUNDS = 3  # of each, in alternation
SMOKE = {"steps": 2, "repeats": 1, "ways": ["fp32", "bf16", "channels_last"]}  # 6 CPU minutes for all families
RESULTS = Path(__file__).parent / "results"
DRAWN = {torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal}
LIKE = {torch.rand_like, torch.randn_like, torch.randint_like}


class SameNoise(TorchFunctionMode):
    """Draws random numbers on the CPU, whatever the device, so that it and the CPU see the same."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in DRAWN and kwargs.get("generator") is None:
            device = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made if device is None else made.to(device)
        if func in LIKE:
            like, *others = args
            return func(torch.empty_like(like, device="cpu"), *others, **kwargs).to(like.device)
        if func is torch.nn.functional.dropout and kwargs.get("training", args[2] if len(args) > 2 else True):
            x, p = args[0], kwargs.get("p", args[1] if len(args) > 1 else 0.5)
            return x * (torch.rand(x.shape) >= p).to(x.device) / (1 - p)
        return func(*args, **kwargs)


def built(family: str, device: torch.device, precision: str = "fp32") -> tuple[Engine, list[dict[str, Any]], Any]:
    """Return an engine with the task of a config, batches for its steps, and the config."""
    chosen = config.load(family, [f"train.precision={precision}", "metrics=[]"], registry().catalog)
    torch.manual_seed(0)
    task, data = chosen.task(), chosen.data()
    size, samples = data.batch_size, Numbered(data, seed=0)
    batches = [samples.read([*range(n * size, (n + 1) * size)]) for n in range(4)]
    assert all(isinstance(batch, dict) for batch in batches)
    engine = Engine(task, chosen.optimizer, chosen.train, device=device)
    return engine, batches, chosen  # type: ignore[return-value]


def equality(family: str, device: torch.device, steps: int) -> dict[str, float]:
    """Return the greatest relative differences of a loss to the CPU, at the first and at the last step."""
    losses = []
    for place in (torch.device("cpu"), device):
        with SameNoise():
            engine, batches, _ = built(family, place)
            losses.append([engine.step([batches[n % len(batches)]]).losses.copy() for n in range(steps)])

    def apart(one: dict[str, float], other: dict[str, float]) -> float:
        return max(abs(one[name] - other[name]) / max(abs(one[name]), 1e-3) for name in one)

    found = [apart(*pair) for pair in zip(*losses, strict=True)]
    return {"first": found[0], "last": found[-1], "steps": steps}


def timed(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median time of a call in milliseconds, after three calls that do not count."""
    found = []
    for _ in range(repeats + min(3, repeats)):
        wait(device)
        began = time.perf_counter()
        call()
        wait(device)
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found[-repeats:])


def wait(device: torch.device) -> None:
    """Wait until a device has done all its work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def training(family: str, device: torch.device, way: str, repeats: int) -> dict[str, float]:
    """Return milliseconds per training step, and the peak memory in MB on an accelerator."""
    precision = way if way in ("fp32", "bf16", "fp16") else "auto"
    engine, batches, _ = built(family, device, precision)
    if way == "channels_last":
        engine.task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if way in ("compiled", "graphs"):
        compile_networks(engine.task, "reduce-overhead" if way == "graphs" else "default")
    if device.type != "cpu":
        torch.accelerator.memory.reset_peak_memory_stats(device)
    step = iter(range(10**9))
    found = {"ms": timed(lambda: engine.step([batches[next(step) % len(batches)]]), device, repeats)}
    engine.read()
    peak = devices.peak_memory(device)
    return found | ({} if peak is None else {"mb": peak / 2**20})


def travel(family: str, device: torch.device, repeats: int) -> dict[str, dict[str, float]]:
    """Return milliseconds per step whose batches are sent when it begins, and of one whose batches are sent ahead."""
    engine, batches, _ = built(family, device, "auto")

    def steps(sent_ahead: bool) -> float:
        source = ([batches[n % len(batches)]] for n in range(repeats))
        wait(device)
        began = time.perf_counter()
        for step in devices.ahead(source, device, engine.task.on_host) if sent_ahead else source:
            engine.step(step)
        wait(device)
        return 1000 * (time.perf_counter() - began) / repeats

    steps(sent_ahead=True)  # does not count
    found = [(steps(sent_ahead=False), steps(sent_ahead=True)) for _ in range(min(ROUNDS, repeats))]
    engine.read()
    return dict(zip(BATCHES, ({"ms": statistics.median(ms)} for ms in zip(*found)), strict=True))


def compile_networks(task: Task, mode: str) -> None:
    """Compile every network that a player trains, in place."""
    for modules in task.players().values():
        for module in modules:
            module.compile(mode=mode)


def inference(family: str, device: torch.device, precision: str, repeats: int) -> dict[str, float]:
    """Return milliseconds per call of `translate` or `sample`."""
    engine, batches, _ = built(family, device, precision)
    task = engine.task.eval()
    batch = devices.move(batches[0], device, task.on_host)

    def call() -> Tensor:
        with torch.inference_mode(), engine.autocast():
            return task.predict(batch) if translates(task, batch) else task.sample(8)

    return {"ms": timed(call, device, repeats)}


def translates(task: Task, batch: dict[str, Any]) -> bool:
    """Return whether a task translates what a training batch has."""
    return type(task).translate is not Task.translate and task.source in batch


@contextmanager
def recorded(into: dict[str, Any], name: str) -> Iterator[None]:
    """Write the error of a part that fails instead of stopping."""
    try:
        yield
    except Exception as error:
        into[name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else ""}


def measure(family: str, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Return everything about one family."""
    found: dict[str, Any] = {}
    with recorded(found, "equality"):
        found["equality"] = equality(family, device, args.steps)
    found["training"] = {}
    for way in args.ways:
        with recorded(found["training"], way):
            found["training"][way] = training(family, device, way, args.repeats)
    with recorded(found, "batches"):
        found["batches"] = travel(family, device, args.repeats)
    found["inference"] = {}
    for precision in ("fp32", "auto"):
        with recorded(found["inference"], precision):
            found["inference"][precision] = inference(family, device, precision, args.repeats)
    return found


def table(found: dict[str, Any], ways: list[str]) -> str:
    """Return the results as a Markdown table."""

    def cell(part: dict[str, Any]) -> str:
        return f"{part['ms']:.1f}" if "ms" in part else "fails"

    head = ["family", "losses apart, first / last step", *(f"{way}, ms" for way in ways)]
    head += [f"batches {' / '.join(BATCHES)}, ms", "translate fp32 / auto, ms"]
    smoke = (
        "Smoke test: every part runs. Each time is that of one call, so it says little. " if found["smoke"] else ""
    )
    lines = [
        f"{smoke}Device: {found['device']}, torch {found['torch']}.",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
    ]
    for family, part in found["families"].items():
        same = part["equality"]
        apart = f"{same['first']:.1e} / {same['last']:.1e}" if "first" in same else "fails"
        calls = " / ".join(cell(part["inference"][name]) for name in ("fp32", "auto"))
        sent = " / ".join(cell(part["batches"].get(when, {})) for when in BATCHES)
        timed = " | ".join(cell(part["training"][way]) for way in ways)
        lines.append(f"| {family} | {apart} | {timed} | {sent} | {calls} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the families and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=FAMILIES, help="names of configs; all by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20, help="of the comparison with the CPU")
    parser.add_argument("--repeats", type=int, default=10, help="of each timing")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument(
        "--smoke", action="store_true", help="two steps, and one call of each way that compiles nothing"
    )
    parser.add_argument("--out", type=Path, help="results/gpu.json, or results/gpu_cpu.json on a CPU")
    args = parser.parse_args()
    if args.smoke:
        vars(args).update(SMOKE)
    device = devices.chosen(args.device)
    args.out = args.out or RESULTS / ("gpu_cpu.json" if device.type == "cpu" else "gpu.json")
    found: dict[str, Any] = {"device": devices.described(device), "torch": torch.__version__, "smoke": args.smoke}
    found["families"] = {}
    with nullcontext() if device.type == "cpu" else exact():
        for family in args.families:
            print(family, flush=True)
            found["families"][family] = measure(family, device, args)
            args.out.write_text(json.dumps(found, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(found, args.ways))
    print(table(found, args.ways))


@contextmanager
def exact() -> Iterator[None]:
    """Keep fp32 matrix products and convolutions in fp32 on GPUs, instead of TF32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


if __name__ == "__main__":
    main()
