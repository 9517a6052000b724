"""`i2i models` and `i2i show NAME`: what can be used now; and the models that come with i2i, in `weights/`.

i2i models                                    # bundled, installed, and your own runs: a table
i2i show upscale-x2 -o card.html              # one of them: data, licence, numbers, weaknesses, and its picture

A bundled model is a file written by `benchmarks/bundle.py`, with its card in the metadata.
"""

from __future__ import annotations

from pathlib import Path

from i2i import Card, hookimpl

from .commands import models, show

__all__ = ["list_models", "models", "resolve_weights", "show"]
WEIGHTS = Path(__file__).parent / "weights"


@hookimpl
def list_models() -> list[Card]:
    """Return the cards of the bundled models."""
    return [card_of(file) for file in sorted(WEIGHTS.glob("*.safetensors"))]


@hookimpl
def resolve_weights(source: str) -> Path | None:
    """Return the file of a bundled model."""
    file = WEIGHTS / f"{source}.safetensors"
    return file if source in {path.stem for path in WEIGHTS.glob("*.safetensors")} else None


def card_of(file: Path) -> Card:
    """Return the card in a file."""
    from i2i.checkpoint import load_model  # not above: `i2i --help` imports this module, and should not import torch

    _, _, about = load_model(file)
    scale, size = int(about["scale"]), file.stat().st_size
    return Card(
        file.stem, about["does"], about["takes"], about["makes"], scale, size, about["licence"], about["quality"]
    )
