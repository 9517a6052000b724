"""`check_translate`: what the border relies on when it calls `Task.translate`."""

from __future__ import annotations

import torch
from torch import Tensor

from ..contract import name_of as name
from ..engine import seed_everything
from ..task import Task


def check_translate(task: Task, values: Tensor) -> None:
    """Check what the border relies on: modality, size, range, and that a call leaves nothing behind."""
    task.eval()
    given, who = values.clone(), f"{name(task)}.translate"

    def translated(part: Tensor) -> Tensor:
        fitted, undo = task.takes.fit({task.source: part}, task.source)
        made = task.translate(fitted[task.source])
        assert isinstance(made, Tensor), f"{who} returns {type(made).__name__}, not a tensor"
        raw: Tensor = undo(made, task.makes, who)
        made = task.makes.accept(raw, who)
        assert raw.dtype == made.dtype, f"{who} returns {raw.dtype}, not {made.dtype}"
        assert torch.allclose(raw, made.to(raw.device), atol=1e-4), f"{who} leaves its range: {raw.abs().max():.3f}"
        return made

    seed_everything(0, 0, 0)
    with torch.no_grad():
        random_state = torch.get_rng_state()
        out = translated(values)
        drew = not torch.equal(random_state, torch.get_rng_state())
        again = translated(values)
        single = translated(values[:1])
    assert torch.equal(values, given), f"{who} changes what it is given"
    assert not drew, f"{who} draws from the global random numbers"
    assert torch.equal(out, again), f"{who} gives another result the second time"
    assert torch.allclose(out[:1].float(), single.float(), atol=1e-5), f"{who}: a result depends on its neighbours"
    assert len(task.makes.show(out)) == len(out), f"{name(task)}.makes.show draws another number than it is given"
