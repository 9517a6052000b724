"""Weights files from elsewhere: hostile, damaged and unusual ones end in one sentence, and nothing in them is run."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from command import i2i_command
from torch import Tensor, nn

import i2i
from i2i import hookimpl
from i2i.errors import PluginError, WeightsError
from i2i.model.foreign import format_of, parts_of, pickled, read
from i2i.model.foreign.adopt import networks_in, recognised
from i2i.model.foreign.unwrap import unwrapped
from i2i.plugins import Registry, registry


class Evil:
    """Unpickling it runs a command."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def refused(file: Path, says: str) -> None:
    """Check that loading a file is one sentence that names it, exit 4, within a moment."""
    started = time.monotonic()
    with pytest.raises(WeightsError, match=says) as error:
        i2i.load(file)
    assert error.value.exit_code == 4
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert time.monotonic() - started < 20


# ---- hostile


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["weights", "wrapped", "beside", "metadata"])
def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(place: str, zipped: bool, tmp_path: Path) -> None:
    evil, canary = Evil(tmp_path / "canary"), tmp_path / "canary"
    content: dict[str, Any] = {
        "weights": {"a": evil},
        "wrapped": {"params_ema": {"a": torch.ones(2), "b": evil}},
        "beside": {"state_dict": {"a": torch.ones(2)}, "optimizer": {"x": [evil]}},
        "metadata": {"state_dict": {"a": torch.ones(2)}, "args": (evil,)},
    }
    file = tmp_path / "net.pth"
    torch.save(content[place], file, _use_new_zipfile_serialization=zipped)
    refused(file, r"asks for `posix.system`, but weights are tensors only, so nothing in it was run")
    assert not canary.exists()
    torch.load(file, weights_only=False)  # the file works
    assert canary.exists()


@pytest.mark.parametrize("what", [nn.Linear(2, 2), {"a": torch.ones(2), "opt": argparse.Namespace(x=1)}])
def test_a_pickle_of_other_objects_says_what_to_do(what: Any, tmp_path: Path) -> None:
    torch.save(what, tmp_path / "net.pth")
    refused(tmp_path / "net.pth", r"asks for `[\w.]+`.*torch.save\(model.state_dict\(\), FILE\)")


def test_a_zip_bomb_is_refused_from_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(10_000_000)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 50_000
    assert torch.load(tmp_path / "bomb.pth", weights_only=True)["a"].numel() == 10_000_000  # torch reads it
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("opened"))
    refused(tmp_path / "bomb.pth", r"unpacks [34][\d.]* kB to 40 MB: at most 4 times its size")


def archive(path: Path, names: list[str], content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_torch_does_not_write_are_refused(tmp_path: Path) -> None:
    many = archive(tmp_path / "many.pth", [f"a/data/{n}" for n in range(20_001)] + ["a/data.pkl"])
    refused(many, "archive with 20002 entries")
    huge = archive(tmp_path / "huge.pth", [f"{'a' * 200}/{n:060}/{'b' * 800}" for n in range(10_000)])
    refused(huge, "directory of 11.* MB")
    refused(archive(tmp_path / "twice.pth", ["a/data.pkl", "a/data.pkl"]), "duplicate")
    refused(archive(tmp_path / "letter.docx", ["word/document.xml"]), "not one of torch.save")
    script = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), script)
    refused(script, "TorchScript archive, which contains code and is not read")


def legacy(tmp_path: Path, change: Callable[[bytes], bytes]) -> Path:
    """Write a file in the format before PyTorch 1.6, changed."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(70_000)}, buffer, _use_new_zipfile_serialization=False)
    (tmp_path / "old.pth").write_bytes(change(buffer.getvalue()))
    return tmp_path / "old.pth"


def test_a_file_that_claims_more_memory_than_it_has_is_refused(tmp_path: Path) -> None:
    (number, huge) = (n.to_bytes(4, "little") for n in (70_000, 2**31 - 1))
    refused(legacy(tmp_path, lambda content: content.replace(number, huge)), "claims more memory than its 280 kB")
    torch.save({"a": torch.ones(1).expand(10**12)}, tmp_path / "wide.pth")
    refused(tmp_path / "wide.pth", "tensors that are much larger than its")


def test_values_beside_the_weights_cannot_explode(tmp_path: Path) -> None:
    laughs: list[Any] = ["ha"] * 10
    for _ in range(30):
        laughs = [laughs] * 10
    torch.save({"state_dict": {"a": torch.ones(2)}, "args": laughs}, tmp_path / "net.pth")
    tensors, metadata = read(tmp_path / "net.pth")
    assert [*tensors] == ["a"]
    assert len(json.dumps(metadata)) < 200_000


def children() -> set[str]:
    """Return the processes that this one has started and not waited for."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL), "reading it crashed the process that tried"),
        (lambda *_, **__: time.sleep(60), "cannot be read within 0.5 s"),
        (lambda *_, **__: {"a": torch.zeros(2**32, dtype=torch.uint8)}, "claims more memory"),
        (lambda *_, **__: bytearray(4_000_000_000), "claims more memory"),
    ],
    ids=["crash", "hang", "memory of torch", "memory of Python"],
)
def test_a_reader_that_fails_takes_nothing_with_it(
    act: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "net.pth")
    monkeypatch.setattr(torch, "load", act)
    monkeypatch.setattr(pickled, "SECONDS", 0.5 if "0.5" in says else 30.0)
    before = children()
    refused(tmp_path / "net.pth", says)
    assert children() <= before


def test_files_that_are_no_files_never_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    for name, what in (("pipe.pth", "no model here"), ("loop.pth", "no such file"), ("missing.pth", "no such file")):
        refused(tmp_path / name, f"{what}; give a run, a weights file or a name of `i2i models`")
    with pytest.raises(WeightsError, match="not a regular file"):
        pickled.content_of(open("/dev/zero", "rb"))  # noqa: SIM115


# ---- damaged


def saved(tmp_path: Path, **options: Any) -> bytes:
    torch.save({"a.weight": torch.randn(300), "b.weight": torch.randn(300)}, tmp_path / "whole.pth", **options)
    return (tmp_path / "whole.pth").read_bytes()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused_wherever_it_ends(zipped: bool, tmp_path: Path) -> None:
    content = saved(tmp_path, _use_new_zipfile_serialization=zipped)
    for end in (0, 3, 10, len(content) // 3, len(content) // 2, len(content) - 25, len(content) - 1):
        (tmp_path / "cut.pth").write_bytes(content[:end])
        refused(tmp_path / "cut.pth", "damaged|truncated|not a PyTorch|contains more than tensors")
        with pytest.raises(WeightsError) as error:
            i2i.load(tmp_path / "cut.pth")
        assert "Error" not in str(error.value)  # the names of Python's


def test_bytes_changed_within_a_tensor_are_noticed(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(5000)}, tmp_path / "net.pth")
    content = bytearray((tmp_path / "net.pth").read_bytes())
    at = content.index(bytes(9000)) + 4000
    content[at : at + 2000] = np.random.default_rng(0).bytes(2000)
    (tmp_path / "net.pth").write_bytes(content)
    refused(tmp_path / "net.pth", "is damaged, '0' in it differs from its checksum: copy it again")


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(9)}, tmp_path / "net.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(pickled.read_torch(tmp_path / "net.pth")[0]["a"], torch.ones(9))


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    content, chance = saved(tmp_path), np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(content)
        for place in chance.integers(0, len(content), 20):
            damaged[place] = chance.integers(0, 256)
        (tmp_path / "net.pth").write_bytes(damaged)
        with pytest.raises(i2i.I2IError) as error:
            i2i.load(tmp_path / "net.pth")
        assert "\n" not in str(error.value)


def test_weights_that_are_not_finite_or_no_plain_arrays_are_refused(tmp_path: Path) -> None:
    for value, says in (
        (torch.tensor([1.0, float("nan")]), "contains NaN or infinity in a"),
        (torch.tensor([1.0, float("inf")]), "contains NaN or infinity in a"),
        (torch.ones(3).to_sparse(), "not a plain array, 'a' .*sparse"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "not a plain array, 'a' .*qint8"),
        (torch.ones(3, device="meta"), "not a plain array, 'a' .*on meta"),
    ):
        torch.save({"a": value}, tmp_path / "net.pth")
        refused(tmp_path / "net.pth", says)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 1}, torch.ones(3)])
def test_a_file_without_named_tensors_says_so(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    refused(tmp_path / "net.pth", "contains no tensors by name")


def header(tmp_path: Path, text: bytes, data: bytes = b"") -> Path:
    (tmp_path / "net.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return tmp_path / "net.safetensors"


def test_damaged_safetensors_files_are_refused(tmp_path: Path) -> None:
    entry = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    refused(header(tmp_path, entry, bytes(4)), "is damaged")
    refused(header(tmp_path, entry.replace(b"[2]", b"[3]"), bytes(8)), "is damaged")
    refused(header(tmp_path, b"[" * 1_000_000), "damaged")
    refused(header(tmp_path, b"{}" + b" " * 9_000_000), "damaged")
    (tmp_path / "net.safetensors").write_bytes((2**63).to_bytes(8, "little") + b"{}")
    refused(tmp_path / "net.safetensors", "damaged")
    eight = b'{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}'
    refused(header(tmp_path, eight, bytes(8)), "float8.*cannot be saved")


# ---- as they are found


def test_values_dtypes_order_and_what_is_beside_them_are_kept(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    state = {
        "module.z": shared[::2],
        "module.a": shared.view(2, 3).T,
        "module.half": torch.ones(2).half(),
        "module.brain": torch.ones(2).bfloat16(),
        "module.count": torch.tensor(7),
        "module.none": torch.zeros(0),
    }
    torch.save({"state_dict": state, "args": {"x": [1, (2, None)]}, "epoch": 3}, tmp_path / "net.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "net.pth")
    tensors, metadata = read(tmp_path / "link.pth")
    assert metadata == {"args": {"x": [1, [2, None]]}, "epoch": 3, "file": "link.pth", "format": "torch"}
    assert [*tensors] == [name.removeprefix("module.") for name in state]
    for name, value in state.items():
        torch.testing.assert_close(tensors[name.removeprefix("module.")], value, atol=0, rtol=0)
        assert tensors[name.removeprefix("module.")].dtype == value.dtype


def test_safetensors_are_read_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "net.safetensors", {"format": "pt"})
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    tensors, metadata = read(tmp_path / "net.safetensors")
    assert tensors["a"].tolist() == [1, 1]
    assert metadata == {"file": "net.safetensors", "format": "safetensors"}


def test_of_several_epochs_in_a_folder_the_last_is_taken(tmp_path: Path) -> None:
    for name in ("5_net_G.pth", "40_net_G.pth", "best_net_G.pth", "latest_net_D.pth", "40_optim.pth", "net_E.pth"):
        (tmp_path / name).touch()
    assert parts_of(tmp_path) == {"G": tmp_path / "40_net_G.pth", "E": tmp_path / "net_E.pth"}
    (tmp_path / "latest_net_G.pth").touch()
    assert parts_of(tmp_path)["G"] == tmp_path / "latest_net_G.pth"
    assert parts_of(tmp_path / "none") == {}


# ---- the hooks


class Polite:
    """A plugin with all three hooks."""

    @staticmethod
    @hookimpl
    def list_models() -> list[Any]:
        return []

    @staticmethod
    @hookimpl
    def resolve_weights(source: str) -> Path | None:
        return Path("/somewhere") if source == "polite" else None

    @staticmethod
    @hookimpl
    def adopt_weights(tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
        return ({"use": "polite", "net": {"use": "conv", "width": 3}}, {}, "polite") if "polite" in tensors else None


class Last:
    @staticmethod
    @hookimpl(trylast=True)
    def adopt_weights(tensors: dict[str, Tensor]) -> Any:
        return {"use": "last"}, {}, "said so"


class Broken:
    @staticmethod
    @hookimpl
    def adopt_weights(tensors: dict[str, Tensor]) -> Any:
        return tensors["missing"]


class First:
    @staticmethod
    @hookimpl(tryfirst=True)
    def adopt_weights(tensors: dict[str, Tensor]) -> Any:
        return {"use": "first"}, {}, "before others"


def opened(*plugins: tuple[str, Any]) -> Registry:
    made = Registry()
    for name, plugin in plugins:
        made.admit(name, "test", lambda plugin=plugin: plugin)
    return made


def test_the_first_plugin_that_recognises_weights_wins_and_those_marked_trylast_come_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = opened(("a_last", Last), ("polite", Polite))
    monkeypatch.setattr("i2i.model.foreign.adopt.registry", lambda: made)
    config, _, said = recognised({"polite": torch.ones(1)}, {}, Path("x.pth"))
    assert (config["use"], said) == ("polite", "polite")
    assert recognised({"generator.polite": torch.ones(1)}, {}, Path("x.pth"))[2] == "said so"
    assert made.first("resolve_weights", source="polite") == Path("/somewhere")
    assert made.first("resolve_weights", source="other") is None
    assert made.first("list_models") == []
    made = opened(("polite", Polite), ("first", First))
    assert recognised({"polite": torch.ones(1)}, {}, Path("x.pth"))[2] == "before others"


def test_averaged_weights_come_first_and_a_part_may_be_of_data_parallel() -> None:
    plain, averaged = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    for kept in (
        {"model": plain, "model_ema": averaged},
        {"state_dict": plain, "ema_state_dict": averaged},
        {"model": plain, "ema": {"n_averaged": torch.tensor(3), "module.w": torch.ones(1)}},
    ):
        assert unwrapped(kept)[0] == averaged
    flat = {"netG.module.w": torch.ones(1), "netD.module.w": torch.zeros(1)}
    assert {"w": torch.ones(1)} in [part for _, part in networks_in(flat)]


def test_a_plugin_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(("broken", Broken))
    monkeypatch.setattr("i2i.model.foreign.adopt.registry", lambda: made)
    with pytest.raises(PluginError, match=r"x.pth: plugin 'broken' failed: KeyError: 'missing'"):
        recognised({"a": torch.ones(1)}, {}, Path("x.pth"))


def test_no_plugin_fails_on_weights_that_it_does_not_know() -> None:
    names = ["model.0.weight", "model.model.1.weight", "fc.weight", "quantize_t.embed", "encoder.lstm.weight"]
    for names_of in (names, names[:1], []):
        for _, call in registry().each("adopt_weights", tensors={n: torch.ones(2) for n in names_of}, metadata={}):
            assert call() is None


def test_a_file_can_be_used_on_the_command_line(tmp_path: Path) -> None:
    torch.save({"a": Evil(tmp_path / "canary")}, tmp_path / "net.pth")
    done = i2i_command("translate", "x.png", "-o", "out", "-m", "net.pth", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.startswith("i2i: net.pth asks for `posix.system`")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("size", [0x280, 0x480, 0x580])
def test_a_safetensors_header_whose_size_looks_like_a_pickle_is_none(tmp_path: Path, size: int) -> None:
    for note, kind in (("i2i_format", None), ("other", "safetensors")):
        header = json.dumps({"__metadata__": {note: "1", "padding": ""}})
        header = json.dumps({"__metadata__": {note: "1", "padding": "x" * (size - len(header))}})
        (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())
        assert (tmp_path / "a.safetensors").read_bytes()[:2] == bytes([0x80, size >> 8])
        assert format_of(tmp_path / "a.safetensors") == kind
