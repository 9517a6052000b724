"""`Steps`: counted in Python, saved in checkpoints, not published; and what older versions saved."""

from __future__ import annotations

import copy
import pickle

import torch
from torch import Tensor, nn

from i2i.checkpoint import Steps, load_weights


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.done = Steps(self, "done")


def counted(number: int) -> Counting:
    task = Counting()
    task.done.number = number
    return task


def test_a_number_of_steps_is_part_of_the_state_but_no_tensor() -> None:
    state = counted(3).state_dict()
    assert [name for name, value in state.items() if not isinstance(value, Tensor)] == ["done._extra_state"]
    other = Counting()
    other.load_state_dict(state)
    assert int(other.done) == 3


def test_copies_count_on_their_own_and_load_states() -> None:
    task = counted(3)
    for twin in (copy.deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert int(twin.done) == 3
        twin.load_state_dict(counted(4).state_dict())
        assert (int(twin.done), int(task.done)) == (4, 3)


def test_a_checkpoint_of_an_older_version_goes_on_from_its_step() -> None:
    state = {name: value for name, value in counted(0).state_dict().items() if isinstance(value, Tensor)}
    for prefix in ("", "inner."):
        other = Counting()
        holder = other if not prefix else nn.ModuleDict({"inner": other})
        holder.load_state_dict({prefix + name: value for name, value in (state | {"done": torch.tensor(7)}).items()})
        assert int(other.done) == 7


def test_published_weights_of_an_older_version_load_without_a_word() -> None:
    tensors = {name: value for name, value in counted(0).state_dict().items() if isinstance(value, Tensor)}
    other = Counting()
    assert load_weights(other, tensors | {"done": torch.tensor(7)}, "old.safetensors") is None
    assert torch.equal(other.layer.weight, tensors["layer.weight"])
    assert int(other.done) == 0  # training starts at step 0
