"""Checkpoints are restored bit for bit, and any damage is detected. Cases D1 to D3, D9, D10, D13 of the catalogue.

Interrupted saves are tested in test_files.py.
"""

from __future__ import annotations

import collections
import json
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from i2i import checkpoint, optim
from i2i.errors import NumericError, WeightsError

FLIPS = 1000
PAGE = 4096


def same(a: Any, b: Any) -> bool:
    """Check that two states are equal in type, order and every bit."""
    if isinstance(a, Tensor):
        if not isinstance(b, Tensor) or (a.dtype, a.shape) != (b.dtype, b.shape):
            return False
        left, right = (torch.empty(x.shape, dtype=x.dtype).copy_(x).flatten().view(torch.uint8) for x in (a, b))
        return left.equal(right)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return [*map(repr, a)] == [*map(repr, b)] and all(map(same, a.values(), b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def state(seed: int, size: int = 300) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "task": {"weight": torch.randn(size, generator=generator), "count": torch.tensor(seed)},
        "optimizers": {"G": {"state": {0: {"step": torch.tensor(float(seed))}}, "betas": (0.5, 0.999)}},
        "progress": {"epoch": seed, "best": math.inf},
    }


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder in memory if possible: fsyncs on a shared disk are slow."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="i2i-test-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Return a folder with checkpoints of steps 100 and 200."""
    for step in (100, 200):
        checkpoint.save(tmp_path / "two", step, state(step), keep=3)
    return tmp_path / "two"


def falls_back(folder: Path, named: str) -> bool:
    """Check that damage to step 200 is detected and reported with the file, and step 100 used, intact."""
    messages: list[str] = []
    found = checkpoint.newest(folder, messages.append)
    assert found is not None
    assert found[0].name == "step_00000100", f"{named}: used in spite of the damage"
    assert same(found[1], state(100))
    with pytest.raises(WeightsError, match="step_00000200"):
        checkpoint.load(folder / "step_00000200")
    assert len(messages) == 1
    assert messages[0].startswith("checkpoint step_00000200 is damaged (")
    assert messages[0].endswith("); using step_00000100 instead")
    assert named in messages[0], messages
    assert "\n" not in messages[0]
    return True


# --- damage (D1, D2, D3, D13) ----------------------------------------------------------------------------------


def test_each_of_1000_flipped_bits_is_detected_and_the_previous_checkpoint_used(two: Path) -> None:
    rng = random.Random(1)
    contents = {path: path.read_bytes() for path in sorted((two / "step_00000200").iterdir())}
    assert [path.name for path in contents] == ["manifest.json", "state.json", "state.safetensors"]
    seen = 0
    for number in range(FLIPS):
        path = list(contents)[number % 3]
        content = bytearray(contents[path])
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        seen += falls_back(two, path.name)
        path.write_bytes(contents[path])
    assert seen == FLIPS
    assert checkpoint.newest(two, say=pytest.fail)[0].name == "step_00000200"  # type: ignore[index]


def test_a_flip_of_any_bit_of_a_manifest_is_detected(two: Path) -> None:
    path = two / "step_00000200" / "manifest.json"
    content = path.read_bytes()
    assert checkpoint.looks_whole(path.parent)
    for bit in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert not checkpoint.looks_whole(path.parent), f"bit {bit}"


def test_each_of_1000_flipped_bits_of_a_weights_file_is_detected(tmp_path: Path) -> None:
    rng = random.Random(2)
    path = tmp_path / "model.safetensors"
    checkpoint.save_model(path, {"a": torch.randn(200), "b": torch.zeros(3)}, "task:\n  use: x\n", {"step": "7"})
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for number in range(FLIPS):
        flipped = bytearray(content)
        flipped[rng.randrange(header) if number % 2 else rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(WeightsError, match="damaged"):
            checkpoint.load_model(path)


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
def test_truncation_and_zeros_at_every_page_are_detected(tmp_path: Path, name: str) -> None:
    big = {"w": torch.randn(5000), "text": ["x" * 30000]}
    checkpoint.save(tmp_path, 100, state(100), keep=3)
    path = checkpoint.save(tmp_path, 200, big, keep=3) / name
    content = path.read_bytes()
    damaged: dict[str, bytes] = {}
    for start in range(0, len(content), PAGE):
        size = len(content)
        damaged[f"cut at {start}"] = content[:start]
        damaged[f"zero from {start}"] = content[:start] + bytes(size - start)
        damaged[f"zero page at {start}"] = (content[:start] + bytes(PAGE) + content[start + PAGE :])[:size]
    damaged |= {"one byte less": content[:-1], "one byte more": content + b"\n", "only a newline": b"\n"}
    for what, content in damaged.items():
        path.write_bytes(content)
        assert falls_back(tmp_path, name), what
    assert len(damaged) >= 6


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
def test_a_missing_file_or_anything_else_in_its_place_is_detected(two: Path, tmp_path: Path, name: str) -> None:
    path = two / "step_00000200" / name
    moved = path.rename(tmp_path / "moved")
    makes: list[Callable[[], Any]] = [
        lambda: None,
        path.mkdir,
        lambda: path.symlink_to(moved),
        lambda: os.mkfifo(path),
    ]
    for make in makes[: 2 if name == "manifest.json" else 4]:
        make()
        assert falls_back(two, name)
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.parametrize("extra", ["optimizer.pth", "state.safetensors.bak", ".hidden"])
def test_a_surplus_file_is_detected(two: Path, extra: str) -> None:
    (two / "step_00000200" / extra).write_bytes(b"x")
    assert falls_back(two, extra)


@pytest.mark.parametrize("taken", range(1, 8))
def test_a_mix_of_files_from_two_checkpoints_is_detected(two: Path, taken: int) -> None:
    for bit, name in enumerate(["state.safetensors", "state.json", "manifest.json"]):
        if taken >> bit & 1:
            shutil.copy(two / "step_00000100" / name, two / "step_00000200" / name)
    assert falls_back(two, "manifest.json belongs to step 100" if taken >= 4 else "state")


def test_a_damaged_checkpoint_is_kept_until_its_step_is_saved_again(two: Path) -> None:
    (two / "step_00000200" / "state.json").write_bytes(b"")
    assert falls_back(two, "state.json")
    checkpoint.save(two, 150, state(150), keep=1)
    assert [path.name for _, path in checkpoint.checkpoints_in(two)] == ["step_00000150", "step_00000200"]
    checkpoint.save(two, 200, state(200), keep=1)
    path, found = checkpoint.newest(two, say=pytest.fail)  # type: ignore[misc]
    assert path.name == "step_00000200"
    assert same(found, state(200))


def test_if_no_intact_checkpoint_is_left_the_message_says_so(two: Path) -> None:
    for step in (100, 200):
        (two / f"step_{step:08d}" / "manifest.json").unlink()
    messages: list[str] = []
    assert checkpoint.newest(two, messages.append) is None
    assert messages == [
        f"checkpoint step_00000{step} is damaged (manifest.json is missing); there is no older one"
        for step in (200, 100)
    ]
    assert checkpoint.newest(two / "not there", say=pytest.fail) is None


def test_a_checkpoint_of_a_newer_i2i_is_rejected_with_its_format(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint.manifest, "FORMAT", 2)
    checkpoint.save(two, 300, state(300), keep=3)
    checkpoint.save_model(two / "m.safetensors", {"a": torch.ones(1)}, "")
    monkeypatch.undo()
    with pytest.raises(WeightsError, match="format 2, but this i2i supports up to 1"):
        checkpoint.newest(two, say=pytest.fail)
    with pytest.raises(WeightsError, match="format 2, but this i2i supports up to 1"):
        checkpoint.load_model(two / "m.safetensors")


def test_an_invalid_manifest_with_a_valid_sha256_counts_as_damaged(two: Path) -> None:
    for nonsense in (
        {},
        {"format": 1},
        {"format": 1, "step": 200, "files": {}},
        {"format": 1, "step": 200, "files": []},
        {"format": 1, "step": 200, "files": {"../step_00000100/state.json": {"size": 1, "sha256": ""}}},
        {"format": "x", "step": 200, "files": {}},
        {"format": 1, "step": "x", "files": {}},
        {"format": 1, "step": 200, "files": {"state.json": 3}},
    ):
        (two / "step_00000200" / "manifest.json").write_bytes(checkpoint.sealed(nonsense))
        assert falls_back(two, "")


# --- rotation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_rotation_keeps_the_newest(tmp_path: Path, keep: int) -> None:
    for step in range(10, 60, 10):
        path = checkpoint.save(tmp_path, step, state(step), keep)
        assert path == tmp_path / f"step_{step:08d}"
    assert [step for step, _ in checkpoint.checkpoints_in(tmp_path)] == [10, 20, 30, 40, 50][-keep:]
    assert {path.name for path in tmp_path.iterdir()} == {f"step_{s:08d}" for s in (10, 20, 30, 40, 50)[-keep:]}


def test_rotation_keeps_the_checkpoint_just_written_even_if_a_later_one_exists(two: Path) -> None:
    path = two / "step_00000200" / "state.json"
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))  # same size, so only its sha256 differs
    assert falls_back(two, "state.json")
    checkpoint.save(two, 150, state(150), keep=1)
    found = checkpoint.newest(two, say=lambda text: None)
    assert found is not None
    assert found[0].name == "step_00000150"


def test_rotation_does_not_count_a_truncated_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, state(step), keep=2)
    (tmp_path / "step_00000002" / "state.safetensors").write_bytes(b"")
    checkpoint.save(tmp_path, 3, state(3), keep=2)
    assert [step for step, _ in checkpoint.checkpoints_in(tmp_path)] == [1, 2, 3]


def test_steps_beyond_eight_digits_are_sorted_as_numbers(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000):
        checkpoint.save(tmp_path, step, state(1), keep=2)
    assert checkpoint.newest(tmp_path, say=pytest.fail)[0].name == "step_100000000"  # type: ignore[index]


# --- pack and unpack -------------------------------------------------------------------------------------------

DTYPES = [*checkpoint.DTYPES]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=5))
    size = math.prod(shape) * dtype.itemsize
    raw = bytearray(draw(st.binary(min_size=size, max_size=size)))
    if dtype is torch.bool:
        raw = bytearray(byte & 1 for byte in raw)
    tensor = torch.frombuffer(raw, dtype=dtype).view(shape) if size else torch.empty(shape, dtype=dtype)
    if draw(st.booleans()):
        tensor = tensor.permute(*reversed(range(tensor.dim()))) if tensor.dim() else tensor
    if draw(st.booleans()) and tensor.dim() and tensor.shape[0]:
        tensor = tensor[::2]
    if draw(st.booleans()) and tensor.dim() == 4:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor


TEXT = st.one_of(
    st.sampled_from(["", "$tensor", "$tuple", "$", "a.b", "__metadata__", "tensor"]), st.text(max_size=4)
)
KEYS = st.one_of(TEXT, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, tensors())
STATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(TEXT, inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[*HealthCheck])
@given(STATES)
def test_any_state_survives_a_round_trip(tree: Any) -> None:
    tensors, packed = checkpoint.pack(tree)
    text = json.dumps(packed, allow_nan=False)
    data = b"".join(bytes(part) for part in checkpoint.serialise(tensors, {}))
    assert same(checkpoint.unpack(safetensors.torch.load(data), json.loads(text)), tree)


@settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.dictionaries(st.text(max_size=5), tensors(), max_size=5), st.text(max_size=5))
def test_the_file_is_identical_to_that_of_the_safetensors_library(named: dict[str, Tensor], note: str) -> None:
    plain = {name: t.contiguous().clone() for name, t in named.items() if name != "__metadata__"}
    ours = b"".join(bytes(part) for part in checkpoint.serialise(plain, {"note": note}))
    theirs = safetensors.torch.save(plain, metadata={"note": note})
    assert ours == theirs


def test_tensors_that_share_memory_are_restored_independently(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tied = {"a": base, "b": base, "c": base[3:], "d": base.view(3, 4).T, "e": base[:1].expand(5), "f": base[::2]}
    _, found = checkpoint.load(checkpoint.save(tmp_path, 1, tied, keep=1))
    assert same(found, tied)
    found["a"].zero_()
    assert found["c"].sum() == 63, "restored independently, so that training one does not change another"


def test_ordered_dicts_sizes_and_parameters_become_plain(tmp_path: Path) -> None:
    given = {"o": collections.OrderedDict(b=1, a=2), "s": torch.Size([2, 3]), "p": nn.Parameter(torch.ones(2))}
    _, found = checkpoint.load(checkpoint.save(tmp_path, 1, {**given, "f": np.float64(0.1)}, keep=1))
    assert same(found, {"o": {"b": 1, "a": 2}, "s": (2, 3), "p": torch.ones(2), "f": 0.1})
    assert not found["p"].requires_grad


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.ones(2), "numpy.ndarray"),
        ({1, 2}, "builtins.set"),
        (b"x", "builtins.bytes"),
        (print, "builtin_function"),
        (Point(1, 2), "Point"),
        (collections.defaultdict(list), "defaultdict"),
        (torch.Generator(), "torch._C.Generator"),
        (torch.float32, "torch.dtype"),
        ({(1, 2): 3}, "builtins.dict"),
        (1j, "builtins.complex"),
        (torch.ones(2).to_sparse(), "sparse"),
        (torch.empty(2, device="meta"), "meta"),
        (torch.zeros(2, dtype=torch.complex128), "complex128"),
    ],
)
def test_a_value_that_cannot_be_saved_is_named_by_its_place_and_nothing_is_written(
    tmp_path: Path, value: Any, named: str
) -> None:
    with pytest.raises(WeightsError, match=f"'task.pool.1'.*{named}"):
        checkpoint.save(tmp_path, 1, {"task": {"pool": [0, value]}}, keep=1)
    assert not list(tmp_path.iterdir())


# --- non-finite weights (F6) -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64])
def test_values_that_are_not_finite_are_never_written(tmp_path: Path, bad: float, dtype: torch.dtype) -> None:
    weights = {f"w{number}": torch.ones(100, dtype=dtype) for number in range(14)}
    for number in range(1, 14):
        weights[f"w{number}"][number * 7] = bad
    with pytest.raises(NumericError, match=r"w1, w2, .*w10 and 3 more") as error:
        checkpoint.save(tmp_path, 1, weights, keep=1)
    assert error.value.exit_code == 5
    with pytest.raises(NumericError, match="w1, w2"):
        checkpoint.save_model(tmp_path / "model.safetensors", weights, "")
    assert not list(tmp_path.iterdir())


def test_plain_numbers_may_be_infinite(tmp_path: Path) -> None:
    _, found = checkpoint.load(checkpoint.save(tmp_path, 1, {"best": math.inf, "last": math.nan}, keep=1))
    assert found["best"] == math.inf
    assert math.isnan(found["last"])


# --- resuming a real training ----------------------------------------------------------------------------------


class Remembering(nn.Module):
    """A network with a buffer, tied weights and extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.b.weight = self.a.weight
        self.norm = nn.BatchNorm2d(4)
        self.seen: list[tuple[int, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((len(self.seen), x.mean()))
        return self.norm(self.a(x) + self.b(x)).square().mean() + sum(number * mean for number, mean in self.seen)

    def get_extra_state(self) -> Any:
        return {"seen": self.seen, 7: None}

    def set_extra_state(self, state: Any) -> None:
        assert state[7] is None
        self.seen = state["seen"]


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda p: torch.optim.Adam(p, 0.01, betas=(0.5, 0.999)),
    "fused adam": lambda p: torch.optim.Adam(p, 0.01, fused=True),
    "foreach adamw": lambda p: torch.optim.AdamW(p, 0.01, amsgrad=True, foreach=True),
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    "muon": lambda p: optim.muon(p, 0.01),
    "two groups": lambda p: torch.optim.RMSprop(
        [{"params": p[:2]}, {"params": p[2:], "lr": 0.1}], 0.01, momentum=0.5
    ),
}


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_resumes_bit_for_bit(tmp_path: Path, name: str, form: torch.memory_format) -> None:
    def fresh(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        module = Remembering().to(memory_format=form)
        return module, OPTIMIZERS[name]([*module.parameters()])

    def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            module(x.to(memory_format=form)).backward()
            optimizer.step()

    module, optimizer = fresh(0)
    train(module, optimizer, range(3))
    path = checkpoint.save(tmp_path, 3, {"m": module.state_dict(), "o": optimizer.state_dict()}, keep=1)
    again, its_optimizer = fresh(1)
    step, state = checkpoint.load(path)
    assert step == 3
    again.load_state_dict(state["m"])
    its_optimizer.load_state_dict(state["o"])
    assert same(dict(again.state_dict()), dict(module.state_dict()))
    assert same(its_optimizer.state_dict(), optimizer.state_dict())
    for mine, its in zip(optimizer.state.values(), its_optimizer.state.values(), strict=True):
        assert {k: v.stride() for k, v in mine.items() if isinstance(v, Tensor)} == {
            k: v.stride() for k, v in its.items() if isinstance(v, Tensor)
        }
    train(module, optimizer, range(3, 6))
    train(again, its_optimizer, range(3, 6))
    assert same(dict(again.state_dict()), dict(module.state_dict()))
    assert same(its_optimizer.state_dict(), optimizer.state_dict())


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (checkpoint.save(tmp_path / name, 5, state(5), keep=1) for name in "ab")
    assert [p.read_bytes() for p in sorted(first.iterdir())] == [p.read_bytes() for p in sorted(second.iterdir())]


def test_a_checkpoint_describes_itself(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 5, state(5), keep=1, about={"config": {"task": "x"}})
    about = json.loads((path / "state.json").read_text())["about"]
    assert about["config"] == {"task": "x"}
    assert about["torch"] == torch.__version__
    assert {name.split(".")[0] for name in safetensors.torch.load_file(path / "state.safetensors")} == {
        "task",
        "optimizers",
    }


# --- weights files ---------------------------------------------------------------------------------------------


def test_a_model_survives_a_round_trip_and_any_safetensors_reader_can_open_it(tmp_path: Path) -> None:
    path, config = tmp_path / "model.safetensors", f"task:\n  use: größe  # {'0' * 64}\n"
    weights = {"G.weight": torch.randn(3, 4).T, "G.n": torch.tensor(3), "half": torch.ones(2, dtype=torch.bfloat16)}
    checkpoint.save_model(path, weights, config, {"step": "7"})
    found, its_config, about = checkpoint.load_model(path)
    assert same(dict(sorted(found.items())), dict(sorted(weights.items())))
    assert (its_config, about) == (config, {"step": "7"})
    assert same(dict(sorted(safetensors.torch.load_file(path).items())), dict(sorted(weights.items())))
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["config"] == config
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 8, b"\2\0\0\0\0\0\0\0{}", b"PK\3\4 a torch zip", None])
def test_a_file_that_is_not_a_model_is_rejected(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.safetensors"
    if content is None:
        safetensors.torch.save_file({"a": torch.ones(1)}, path, {"format": "pt"})
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged or not a weights file: use that of a run"):
        checkpoint.load_model(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        checkpoint.load_model(tmp_path)


def networks() -> tuple[nn.Module, dict[str, Tensor]]:
    module = nn.Sequential(*[nn.Conv2d(2, 2, 1) for _ in range(8)], nn.BatchNorm2d(2))
    return module, {name: torch.full_like(value, 3) for name, value in module.state_dict().items()}


def assert_unchanged(module: nn.Module, act: Callable[[], Any]) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    act()
    assert same(before, dict(module.state_dict()))


def test_matching_weights_are_loaded_without_a_note() -> None:
    module, weights = networks()
    assert checkpoint.load_weights(module, weights, "file") is None
    assert same(dict(module.state_dict()), weights)


def test_weights_that_do_not_match_are_rejected_with_the_first_ten_of_each_problem() -> None:
    module, weights = networks()
    other = {f"module.{name}": value for name, value in weights.items()}
    other |= {f"{n}.weight": torch.ones(3, 2, 1, 1) for n in range(8)} | {
        name: torch.ones(5) for name in ("8.weight", "8.bias", "8.running_mean")
    }

    def act() -> None:
        with pytest.raises(WeightsError) as error:
            checkpoint.load_weights(module, other, "w.safetensors")
        text = str(error.value)
        assert error.value.exit_code == 4
        assert text.startswith("w.safetensors does not fit Sequential: 10 missing (0.bias [2], 1.bias [2], ")
        assert "21 unexpected (module.0.weight [2, 2, 1, 1], " in text
        assert "module.4.bias [2] and 11 more)" in text
        assert "11 with another shape or type (0.weight: [3, 2, 1, 1] float32, not [2, 2, 1, 1] float32, " in text
        assert "and 1 more): " in text
        assert "\n" not in text

    assert_unchanged(module, act)


def test_partial_loading_loads_what_matches_and_reports_how_much() -> None:
    module, weights = networks()
    some = {name: value for name, value in weights.items() if not name.startswith(("0.", "8."))}
    note = checkpoint.load_weights(module, {**some, "new": torch.ones(1)}, "w", partial=True)
    assert note is not None
    assert note.startswith("w: 14 of 21 tensors loaded, 7 missing (0.weight [2, 2, 1, 1], ")
    assert module.state_dict()["1.weight"].eq(3).all()
    assert not module.state_dict()["0.weight"].eq(3).all()


@pytest.mark.parametrize("partial", [False, True])
def test_weights_of_another_network_are_rejected_partial_or_not(partial: bool) -> None:
    module, _ = networks()
    for weights in ({"x": torch.ones(1)}, {}):
        with pytest.raises(WeightsError, match="no tensor matches"):
            checkpoint.load_weights(module, weights, "w", partial=partial)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_with_nan_or_infinity_are_rejected(partial: bool, bad: float) -> None:
    module, weights = networks()
    weights["3.weight"][1, 0] = bad

    def act() -> None:
        with pytest.raises(WeightsError, match=r"w contains NaN or infinity in 3\.weight"):
            checkpoint.load_weights(module, weights, "w", partial=partial)

    assert_unchanged(module, act)


def test_precision_is_converted_with_a_note_only_if_some_is_lost() -> None:
    module, weights = networks()

    def cast(dtype: torch.dtype) -> dict[str, Tensor]:
        return {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}

    assert checkpoint.load_weights(module, cast(torch.float64), "w") == "w: float64 converted to float32"
    assert checkpoint.load_weights(module, cast(torch.float16), "w") is None
    assert same(dict(module.state_dict()), weights)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.int64, torch.complex64])
def test_weights_of_another_kind_of_dtype_are_rejected(dtype: torch.dtype) -> None:
    module, weights = networks()
    weights["3.weight"] = weights["3.weight"].to(dtype)

    def act() -> None:
        with pytest.raises(WeightsError, match=f"3.weight: .* {str(dtype)[6:]}, not .* float32"):
            checkpoint.load_weights(module, weights, "w")

    assert_unchanged(module, act)


def test_extra_state_may_be_missing_from_a_weights_file(tmp_path: Path) -> None:
    module, other = Remembering(), Remembering()
    module(torch.ones(1, 3, 4, 4))
    weights = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    checkpoint.save_model(tmp_path / "m.safetensors", weights, "")
    assert checkpoint.load_weights(other, checkpoint.load_model(tmp_path / "m.safetensors")[0], "m") is None
    assert other.seen == []
    assert other.a.weight is other.b.weight
    assert other.a.weight.equal(module.a.weight)
