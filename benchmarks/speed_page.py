"""The results of benchmarks/speed.py: a JSON file with every kind of CPU side by side, and docs/performance.md.

python benchmarks/speed.py --render
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "speed.json", ROOT / "docs" / "performance.md"
CURVES = RESULTS.with_name("curves.json")


class Row(NamedTuple):
    """What the page says about a workload: its title, and the goals on CPUs without and with AVX-512."""

    title: str
    goal: float
    goal_avx512: float

    def goal_on(self, flags: list[str], setting: str) -> float:
        """Return the goal on a CPU with these flags: with AVX-512, `speed: fast` may use bf16."""
        if "AVX-512" not in flags:
            return self.goal
        return GOAL_IN_BF16 if "speed fast" in setting else self.goal_avx512


GOAL_IN_BF16 = 0.40
WORKLOADS = {
    "cyclegan": Row("CycleGAN, nine blocks, 128 px", 0.42, 0.60),
    "pix2pix": Row("pix2pix, U-Net, 256 px", 0.62, 0.62),
    "spade": Row("SPADE, 19 labels, 128 px, no perceptual loss", 0.50, 0.60),
    "srresnet": Row("SRResNet (no batch norm) x4, 192 px, batch 4", 0.55, 0.60),
    "dcgan": Row("DCGAN, 64 px, batch 64", 0.75, 0.75),
    "vqvae2": Row("VQ-VAE-2, autoencoder, 128 px, batch 2", 0.60, 0.60),
    "vae": Row("VAE, fully connected, MNIST, batch 128: a tenth of an epoch", 0.40, 0.40),
    "social_gan": Row("Social GAN, zara1, 3 x 32 scenes", 0.10, 0.10),
    "resnet_inference": Row("CycleGAN's generator, 256 px", 0.40, 0.60),
    "srresnet_inference": Row("SRResNet (no batch norm) x4, from 64 px", 0.40, 0.60),
    "rrdb_inference": Row("ESRGAN's generator x4, from 64 px", 0.55, 0.60),
}

HEAD = """\
# Performance

`python benchmarks/speed.py all` measures this page, and `python benchmarks/speed.py --render` writes it again from
`benchmarks/results/speed.json`.

Each row is i2i's engine, or `Model`, against a plain PyTorch reference of the published recipe: stock layers,
contiguous float32, eager mode, default Adam, the published order of updates (`benchmarks/reference`). The references
have the parameters of the published code, and its FLOPs within 1 %. Both sides must compute the same losses, or
results, from the same weights and batches before they are timed in turn, each in a process of its own, as people run
them: reference, i2i, reference. (Before 2026-11-30, they shared a process, where i2i's could not keep its memory.)
With `--speed auto`, the default of a training, i2i takes the fastest kernel for each convolution; with `fast`, it
trains in bf16, and translates in it where a test allows that (see devices.md).

- **Ratio**: time of i2i / time of the reference, the median of the pairs with the least and the greatest; below 1,
  i2i is faster. **Noise** is the same for the reference against itself.
- **Goal**: what we work towards, for this kind of CPU.
- **Peak memory** is beyond that of a process that has imported everything, in a process for each side.
- **Limited to AVX2**: a CPU that has more, on which PyTorch, oneDNN and MKL were told to use AVX2 only (`--avx2`). It
  stands in for a CPU without AVX-512; caches and clock are its own. ONNX Runtime and OpenVINO cannot be told so, and
  are left out.

## What limits a step

One core of the Xeon below computes a large float32 convolution (3x3, 256 channels, 32 and 64 pixels) at 142 to 158
GFLOP/s, and at 84 to 86 limited to AVX2. With such convolutions alone, CycleGAN's step of 468.8 GFLOP would take at
least 3.0 s; the plain one reaches 93 GFLOP/s. To get below that, multiplications must be saved:

- Winograd's algorithm has a quarter of them, but its matrix products (256 channels, 64 to 256 tiles) reach 77 to 120
  GFLOP/s, and more than half of its time goes into transforms and copies. Of the direct time of one such convolution
  or gradient it takes 0.53 to 0.73 with AVX-512, and 0.33 to 0.67 with AVX2.
- Convolutions with many channels and few pixels, as in the middle of a U-Net, are bound by memory. As one matrix
  product, the weight gradient of 512 to 512 channels, 4x4, at 8 pixels takes 1.5 ms instead of 22.
- Tried without success: three bf16 products instead of one in float32, which would be as accurate as Winograd's
  algorithm (5e-6) and which AMX computes at up to 1,160 GFLOP/s. PyTorch returns their sum in float32 only through a
  mode of oneDNN, with which this reaches 4 to 55 GFLOP/s.
- Fresh memory: in a process of its own, a step of pix2pix takes 1.30 s instead of 1.43 if the C library keeps the
  memory that the step before has freed. `i2i run` asks for this.

## Training on the EPYC

One core of the EPYC below computes large float32 matrix products at 90 to 104 GFLOP/s, with AVX-512 and with AVX2
alike, and in bf16 3x3 convolutions of 64 and 256 channels at 176 to 224. The tables "Arithmetic" have what the
goals would need. Those that are missed are out of reach, as far as we can tell:

- DCGAN and VQ-VAE-2 would need 98 to 115 GFLOP/s. Their 4x4 convolutions with stride 2 reach 71 to 121 (65 to 107
  limited to AVX2), and nothing that saves multiplications is faster there (below).
- pix2pix would need 89 to 95 GFLOP/s. 40 % of its step are gradients of convolutions with many weights and few pixels
  that no other kernel computes faster than PyTorch's.
- CycleGAN would need 139 GFLOP/s; limited to AVX2, SPADE and SRResNet 116 and 129. Of CycleGAN's step, 28 % are the
  weight gradients of 3x3 convolutions of 256 channels at 32 pixels, by Winograd's algorithm. Half of their time is
  its matrix products, at 70 GFLOP/s, because one image has only 64 tiles for 65,536 weights. Both images of a
  generator in one batch would save 6 % of the generators' time, but take more memory.
- Of the step of the fully connected VAE, 7.5 to 8.5 ms, five matrix products take 4.2 ms at 96
  GFLOP/s; the plain step takes 13.7 to 15.5. Adam and the cross entropy take 0.7 ms more.
- Of the step of Social GAN, 0.10 to 0.14 s and 0.119 on average, matrix products take 0.066 s at 85 to 99 GFLOP/s;
  the plain one takes 0.79. The LSTM computes tanh(x) as 2 sigmoid(2x) - 1: PyTorch's own tanh takes 65 µs for
  25,600 values, its sigmoid 12.
- With `--speed fast`, the goals would need 148 to 232 GFLOP/s of all operations together.

`make run` (`configs/cyclegan.yaml`, two threads) took 3:52 minutes there (goal 4). Its parts, measured apart: 3.4 s
up to the first step, 0.123 s for each of the first 1,000 steps, which also draw their pictures, 0.110 for each of
the others, 2 s for samples and checkpoints, and the evaluation at the end. Limited to AVX2, the first 60 steps took
0.122 s each.

Tried without success, in CPU time of one core while other programs ran:

- Winograd's algorithm for 4x4 convolutions with stride 2, as 2x2 ones on cells of 2x2 pixels, with 0.39 of the
  multiplications: forward from 64 to 128 channels at 32 pixels 53 ms instead of 40, from 128 to 256 at 16 pixels 39
  instead of 41; the gradients took 0.97 to 1.27 of the direct time. Transforms and copies take more than half of it.
- Winograd's algorithm for 4x4 convolutions with stride 1 (256 to 512 channels, 16 pixels): 1.17 to 1.52 of the direct
  time; for 3x3 ones with stride 2: 1.6 to 2.2.
- Smaller tiles: the weight gradient of a 3x3 convolution of 256 channels at 32 pixels takes 10.1 ms with F(2x2), 10.2
  with F(3x3) and 8.4 with F(4x4).
- Patches and one matrix product for DCGAN's convolutions of 64 and more channels: 1.4 to 3.9 times the direct time.
- Whole networks with the channels of a pixel next to each other: DCGAN's step takes 1.64 s instead of 1.72, that of
  VQ-VAE-2 0.144 instead of 0.153.
- oneDNN instead of MKL for matrix products: 83 to 112 GFLOP/s instead of 90 to 103.

Adam's first step divides each gradient by itself, so the losses after it depend on rounding: errors of 1e-7 in the
convolutions of plain DCGAN change the generator's first loss by 2.7e-5, and the kernels of `auto` by 2.2e-5 (with
AVX2). It must therefore agree to 1e-4, and what precedes it to 1e-5.

## Translation on the EPYC

NNPACK takes 0.31 to 0.57 of the direct time of the 3x3 convolutions of these networks on one core of the EPYC below,
and 0.17 of the last 7x7 one; strided and transposed ones are fastest as PyTorch computes them. Winograd's F(4x4, 3x3)
takes 0.50 of it for 256 channels at 64 pixels, and is not faster from 64 to 64.

With `--speed auto` the results of translation must be within 1e-4 of those of the reference, in 0..1, which is what
`auto` promises. They were within 1.7e-5 for CycleGAN's generator, and within 9e-6 for ESRGAN's.

## On cores without AVX-512

The goals for AVX2 were set for cores such as those of the EPYC without AVX-512 below. One of them computes large
float32 matrix products at 88 GFLOP/s and a 3x3 convolution of 256 channels at 83, as long as nothing else needs its
caches. In a step, the plain recipes with convolutions reach 36 to 54, and the same side varies by 10 to 20 % from
round to round, because other machines share the memory: what moves much memory gains less there than arithmetic says.

- A kernel is measured with other numbers in the caches, as it runs in a step. Measured with its own numbers there,
  NNPACK seemed faster than it was, and `auto` took 231 ms for a step of the shipped CycleGAN (two threads) where
  `exact` took 188. Now both take 167 to 214.
- Each convolution that i2i computes costs 0.2 ms of Python, so one is left to PyTorch if no kernel saves 0.1 ms in
  any of its passes. DCGAN's and VQ-VAE-2's ratios were 0.94 and 0.93 before.
- Moving channels to pixels takes PyTorch 9 ms for 256 channels of 128 px, and 26 with the gradient; one permuted copy
  takes 4, and 15 with the gradient. A convolution to 3 channels (3x3, 64 channels, 192 px) takes 9.0 ms, NNPACK 8.2;
  multiplied first and then added up, 5.0.
- Of CycleGAN's step of 6 s, NNPACK's passes take 42 % and Winograd's weight gradients 25 %. NNPACK takes 8.4 to 9.4
  ms for a pass of 256 channels at 32 pixels alone, and 11.7 to 13.8 in a step: it writes and reads 17 MB of
  transformed weights each time.
- `make run` took 6:29 minutes (goal 4; 7:33 before). With 1,300 steps instead of 1,700, zebras keep some of the
  horses' colour (saturation 1.21 to 1.31). With 1,100 steps, horses keep stripes (energy 1.19 to 1.38 of the truth),
  with Adam, with Muon for the generators, with less weight on the cycle, and with a discriminator that sees colours
  further apart.

Tried without success there:

- Winograd's algorithm with transforms compiled by numba, also for 4x4 convolutions with stride 2. Of the direct time
  it took 0.6 to 0.7 for DCGAN's from 128 to 256 channels, 0.45 to 0.7 from 256 to 512 and 0.9 to 1.2 from 64 to 128,
  and for those of pix2pix and VQ-VAE-2 0.8 to 1.2. For the 256 channels of CycleGAN, forward passes took 11.4
  ms (NNPACK 8.5) and weight gradients 9.3 (now 11.8). It might bring DCGAN below 0.75, but needs a package of 64 MB
  more, so it is not built in.
- NNPACK in bands of rows, or in squares, of large images: 0.9 to 1.8 of its time in one piece.
- All channels of a pixel next to each other, or not, in `span`: what it does now is the fastest there as well.
"""


RATES_HEAD = """
### Arithmetic

The published arithmetic per second; multiplications that an algorithm saves are counted all the same.
"""

CURVES_HEAD = """
## Sizes, batches and threads

Seconds of a step or a translation by the clock on the wall, the least of two rounds, with speed auto
(`python benchmarks/curves.py`). The step of CycleGAN is that of one pair, or for batches at 64 px.
"""


def merge(file: Path, machine: dict[str, Any], setting: str, workload: str, found: dict[str, Any]) -> None:
    """Add a result to the file, in place of an older one on the same kind of CPU."""
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    kind = ", ".join([machine["cpu"], *machine["flags"]])
    host = results.setdefault(kind, {"machine": machine, "settings": {}})
    host["machine"] = machine
    host["settings"].setdefault(setting, {}).setdefault(workload, {}).update(found)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")


def write(file: Path) -> None:
    """Write the page of a file of results."""
    PAGE.write_text(page(json.loads(file.read_text()), json.loads(CURVES.read_text())))


def page(results: dict[str, Any], grown: dict[str, Any]) -> str:
    """Return docs/performance.md for the results of `speed.py` and of `curves.py`, on any number of kinds of CPU."""
    parts = [HEAD]
    for host in results.values():
        about = host["machine"]
        for setting in sorted(host["settings"], key=order):
            rows = host["settings"][setting]
            goals = {name: row.goal_on(about["flags"], setting) for name, row in WORKLOADS.items()}
            named = setting if "speed" in setting else f"{setting}, speed exact"
            parts.append(f"\n## {cpu_of(about)}, {about['cores']} cores: {named}\n\n{', '.join(about['flags'])}.\n")
            for kind in ("training", "inference"):
                if any(row["time"]["kind"] == kind for row in rows.values() if "time" in row):
                    parts.append(f"\n### {kind.capitalize()}\n\n{table(rows, kind, goals)}")
            if "speed" in setting:
                parts.append(f"{RATES_HEAD}\n{rates(rows, goals)}")
            parts.append(f"\n{remarks(rows)}")
    return "".join(parts) + curves(grown)


def cpu_of(about: dict[str, Any]) -> str:
    """Return the name of a CPU, and that it has no AVX-512, which CPUs of the same name may have."""
    named = str(about["cpu"])
    return named if "AVX-512" in about["flags"] or "limited" in named else f"{named} without AVX-512"


def curves(results: dict[str, Any]) -> str:
    """Return the last section: what changes with the size, the batch and the threads, measured by curves.py."""
    parts = [CURVES_HEAD]
    for kind, host in results.items():
        threads = host["settings"]
        for name in dict.fromkeys(name for rows in threads.values() for name in rows):
            values = next(iter(rows[name] for rows in threads.values() if name in rows))
            workload, axis = name.split(" ")
            parts.append(f"\n{WORKLOADS[workload].title.split(',')[0]}, on {kind.split(',')[0]}:\n\n")
            parts.append(f"| {axis} | {' | '.join(values)} |\n|---|{'---|' * len(values)}\n")
            for number, rows in sorted(threads.items()):
                for side in ("reference", "i2i") if name in rows else ():
                    cells = [f"{point[side]:.3g}" for point in rows[name].values()]
                    parts.append(f"| {side}, {number} thread{'s' * (number != '1')} | {' | '.join(cells)} |\n")
    return "".join(parts)


def order(setting: str) -> tuple[bool, str]:
    """Sort the settings: speed auto, the default, before the others."""
    return ("speed auto" not in setting, setting)


def table(rows: dict[str, Any], kind: str, goals: dict[str, float]) -> str:
    """Return the table of training or inference, with the goal of each workload."""
    lines = [
        "| | reference, s | i2i, s | ratio | noise | goal | peak memory, MB: reference | i2i | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in WORKLOADS.items():
        time, memory = rows.get(name, {}).get("time"), rows.get(name, {}).get("memory", {}).get("memory")
        if time is None or time["kind"] != kind:
            continue
        plain = middle(time["seconds"]["reference"] + time["seconds"]["reference_again"])
        cells = [row.title, f"{plain:.3g}", f"{middle(time['seconds']['i2i']):.3g}", bold(time["ratio"])]
        cells += [f"{time['noise']['min']:.2f} to {time['noise']['max']:.2f}"]
        cells += [f"{goals[name]:.2f}"]
        cells += (
            [f"{memory['reference']:.0f}", f"{memory['i2i']:.0f}", f"{memory['ratio']:.2f}"] if memory else 3 * ["-"]
        )
        lines.append(f"| {' | '.join(cells)} |")
        for runtime, ratio in time.get("runtimes", {}).items():
            lines.append(f"| the same in {runtime} | | | {bold(ratio)} | | | | | |")
    return "\n".join(lines) + "\n"


def rates(rows: dict[str, Any], goals: dict[str, float]) -> str:
    """Return the table of GFLOP/s: of the reference, of i2i, and what the goals would need."""
    lines = ["| | GFLOP | reference, GFLOP/s | i2i | needed for the goal |", "|---|---|---|---|---|"]
    for name, row in WORKLOADS.items():
        time = rows.get(name, {}).get("time", {})
        gflop = time.get("checked", {}).get("gflop", 0) * time.get("steps", 1)
        if gflop:
            plain = gflop / middle(time["seconds"]["reference"] + time["seconds"]["reference_again"])
            found = [plain, gflop / middle(time["seconds"]["i2i"]), plain / goals[name]]
            lines.append(f"| {' | '.join([row.title, f'{gflop:.1f}', *(f'{rate:.0f}' for rate in found)])} |")
    return "\n".join(lines) + "\n"


def bold(ratio: dict[str, float]) -> str:
    """Return a ratio with its spread."""
    return f"**{ratio['median']:.2f}** ({ratio['min']:.2f} to {ratio['max']:.2f})"


def middle(values: list[float]) -> float:
    """Return the median: of an even number of values, the mean of the two in the middle."""
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def remarks(rows: dict[str, Any]) -> str:
    """Return the notes below the tables: differences on purpose, dates, versions, load and commands."""
    return "\n".join(f"- {line}" for line in lines_of(rows)) + "\n"


def lines_of(rows: dict[str, Any]) -> Iterator[str]:
    """Yield the notes one by one."""
    notes: dict[str, list[str]] = {}
    for name, row in WORKLOADS.items():
        if rows.get(name, {}).get("time", {}).get("note"):
            notes.setdefault(rows[name]["time"]["note"], []).append(row.title.split(",")[0])
    for note, titles in notes.items():
        yield f"{'; '.join(titles)}: {note}."
    named = [(name, part) for name, row in rows.items() for part in row.values()]
    parts = [part for _, part in named]
    days = sorted({part["date"][:10] for part in parts})
    versions = sorted({", ".join(f"{name} {v}" for name, v in part["versions"].items()) for part in parts})
    loads = [value for part in parts if "load" in part for value in part["load"].values()]
    rounds = sorted({len(part["seconds"]["i2i"]) for part in parts if "seconds" in part})
    counts = " to ".join(dict.fromkeys([str(rounds[0]), str(rounds[-1])]))
    yield f"Measured on {' to '.join(dict.fromkeys([days[0], days[-1]]))} with {'; '.join(versions)}."
    yield f"{counts} rounds; load average {min(loads):.1f} to {max(loads):.1f}."
    yield from dict.fromkeys(part["remark"] for part in parts if part["remark"])
    if any("runtimes" in part and not part["runtimes"] for part in parts):
        yield "ONNX Runtime and OpenVINO are measured too where they are installed; here they are not."
    commands = dict.fromkeys(
        part["command"].partition(" --json")[0].replace(f" {name} ", " NAME ") for name, part in named
    )
    yield f"Commands, also with --memory: {', '.join(f'`{command}`' for command in commands)}."
