"""A single-file plugin for a modality other than images: sounds. It denoises tones.

    i2i run denoise.yaml --plugin waveform.py
    i2i translate noisy/*.wav -o out -m runs/denoise

i2i has no code for it. tests/test_modalities.py runs it from training to files.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from i2i import Catalog, Data, DataError, Task, files, hookimpl
from i2i.metrics import Needs, answers
from i2i.modalities import Modality, Taken

Positive = Annotated[int, Ge(1)]
LENGTH, RATE = 512, 8000  # samples of a tone, and samples per second


class Waveform(Modality):
    """Mono sound, float32 [N, 1, L] in [-1, 1] as tensors; outside, 16-bit .wav files or arrays [L]."""

    name: ClassVar[str] = "sound"
    plural: ClassVar[str] = "sounds"
    suffixes: ClassVar[tuple[str, ...]] = (".wav",)

    def take(self, given: Any) -> Taken:
        """Take a path, the bytes of a .wav file, or an array [L] of floats in [-1, 1]."""
        if isinstance(given, str | Path | bytes):
            samples, rate = read(given)
        elif isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind == "f" and len(given):
            samples, rate = given, RATE
        else:
            raise DataError(f"a {type(given).__name__} is not a sound; possible: a .wav file, or floats [L] in -1..1")
        values = torch.from_numpy(np.array(samples, np.float32))[None, None]
        if not bool((values.abs() <= 1).all()):
            raise DataError("the sound leaves -1..1: rescale it")
        return Taken(values, (type(given), getattr(given, "dtype", None), rate))

    def restore(self, values: Tensor, like: Any = None) -> np.ndarray:
        """Return an array [L]: of the type that came in, else float32."""
        dtype = like[1] if isinstance(like, tuple) and like[1] is not None else np.float32
        return values[0, 0].numpy().astype(dtype)

    def accept(self, values: Any, who: str) -> Tensor:
        """Clip to [-1, 1]."""
        return super().accept(values, who).clamp(-1, 1)

    def write(self, thing: np.ndarray, path: Path) -> None:
        """Write a .wav file of 16 bits."""
        if path.suffix.lower() != ".wav":
            raise DataError(f"{path.name}: sounds are written as .wav")
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((np.asarray(thing) * 32767).round().astype("<i2").tobytes())
        files.write(path, buffer.getvalue())

    def show(self, values: Tensor) -> np.ndarray:
        """Draw curves: uint8 [N, 64, 256, 3]."""
        return np.stack([curve(sound.detach().cpu().numpy()) for sound in values[:, 0]])


def read(given: str | Path | bytes) -> tuple[np.ndarray, int]:
    """Return the samples [L] in [-1, 1] and the rate of a mono .wav file of 16 bits."""
    name = "the given bytes" if isinstance(given, bytes) else repr(str(given))
    try:
        with wave.open(io.BytesIO(given) if isinstance(given, bytes) else str(given), "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise DataError(f"{name}: not mono with 16 bits; convert it")
            raw = file.readframes(file.getnframes())
            return np.frombuffer(raw, "<i2").astype(np.float32) / 32767, file.getframerate()
    except (wave.Error, EOFError) as error:
        raise DataError(f"{name}: not a .wav file ({error})") from error
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}") from error


def curve(samples: np.ndarray, width: int = 256, height: int = 64) -> np.ndarray:
    """Draw samples [L] in [-1, 1] as a line: uint8 [height, width, 3]."""
    sheet = Image.new("RGB", (width, height), "white")
    x = np.linspace(0, width - 1, len(samples))
    y = (1 - samples) / 2 * (height - 1)
    ImageDraw.Draw(sheet).line([*zip(x.tolist(), y.tolist(), strict=True)], fill=(66, 105, 208))
    return np.array(sheet)


class Tones(Data):
    """Sine waves of random pitch with noise, "A", and without, "B", each [1, 512]."""

    def __init__(
        self, n: Annotated[int, Ge(1)] = 64, noise: Annotated[float, Ge(0)] = 0.3, batch_size: int = 8
    ) -> None:
        self.n, self.noise, self.batch_size = n, noise, batch_size

    def __len__(self) -> int:
        return self.n

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return a tone whose pitch depends on `index` and whose noise on `rng`."""
        chance = np.random.default_rng([index, 7])
        time = np.arange(LENGTH, dtype=np.float32) / RATE
        clean = 0.6 * np.sin(2 * np.pi * (chance.uniform(100, 400) * time + chance.uniform()))
        noisy = np.clip(clean + self.noise * rng.standard_normal(LENGTH), -1, 1)
        return {name: torch.from_numpy(x.astype(np.float32))[None] for name, x in (("A", noisy), ("B", clean))}

    def validation(self) -> Sequence[dict[str, Any]]:
        """Return tones of pitches that are not trained on."""
        return [self.sample(self.n + i, np.random.default_rng(i)) for i in range(8)]


class Denoise(Task):
    """Takes the noise out of sounds with three convolutions."""

    takes = makes = Waveform()

    def __init__(self, width: Positive = 16) -> None:
        super().__init__()
        self.G = nn.Sequential(
            nn.Conv1d(1, width, 33, padding=16), nn.ReLU(), nn.Conv1d(width, width, 33, padding=16), nn.ReLU()
        )
        self.last = nn.Conv1d(width, 1, 33, padding=16)

    def players(self) -> dict[str, list[nn.Module]]:
        """There is one network, in two parts."""
        return {"G": [self.G, self.last]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Learn "B" from "A", each [N, 1, L]."""
        yield "G", {"mse": mse_loss(self.translate(batch["A"]), batch["B"])}

    def translate(self, sound: Tensor) -> Tensor:
        """Return sounds [N, 1, L] in [-1, 1] with less noise."""
        return self.last(self.G(sound)).tanh()


class Gain:
    """How much of the noise is gone, in dB."""

    needs = Needs(makes=Waveform, source=True, target=True, paired=True)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return `db`, the ratio of the squared errors before and after."""
        pairs = [(s["A"] - s["B"], made - s["B"]) for s, made in answers(task, data)]
        before, after = (torch.stack(errors).square().mean() for errors in zip(*pairs, strict=True))
        return {"db": (10 * torch.log10(before / after)).item()}


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the modality and what comes with it."""
    catalog.modality("waveform", Waveform)
    catalog.data("tones", Tones)
    catalog.task("denoise", Denoise)
    catalog.metric("gain", Gain)
