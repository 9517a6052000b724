"""Saves survive a kill, a power cut, a full disk and a second process: every system call of a save is made to fail.

The cases are D15 to D20 and F16 of the fault catalogue. All calls go through `files.calls.system`.
"""

from __future__ import annotations

import ast
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i import checkpoint, files
from i2i.errors import I2IError, ResourceError, WeightsError
from i2i.files import calls, held, whole

ROOT = Path(__file__).parents[1]
Make = Callable[[Path], Any]


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder in memory if possible: thousands of fsyncs on a shared disk take minutes."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="i2i-test-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def leftovers(folder: Path) -> list[Path]:
    return [*folder.rglob(".tmp-*"), *folder.rglob(".old-*")]


def state(value: float) -> dict[str, Any]:
    return {"weights": torch.full((5,), value), "adam": {0: (value, None)}}


def value_of(folder: Path) -> float | None:
    """Return the value that a training would resume from, or None if there is none."""
    found = checkpoint.newest(folder, say=lambda text: None)
    if found is None:
        return None
    weights, (value, _) = found[1]["weights"], found[1]["adam"][0]
    assert weights.tolist() == [value] * 5
    return value


# Initial contents of a folder of checkpoints, and the save that is tested on each.
def empty(folder: Path) -> None:
    folder.mkdir()


def one_before(folder: Path) -> None:
    checkpoint.save(folder, 1, state(1.0), keep=1)


def same_step_intact(folder: Path) -> None:
    checkpoint.save(folder, 2, state(1.0), keep=1)


def same_step_damaged(folder: Path) -> None:
    checkpoint.save(folder, 1, state(1.0), keep=1)
    (checkpoint.save(folder, 2, state(9.0), keep=3) / "state.json").write_bytes(b"{}")


def save(folder: Path) -> None:
    checkpoint.save(folder, 2, state(2.0), keep=1)


BEFORE = [empty, one_before, same_step_intact, same_step_damaged]


class Calls:
    """Replaces `calls.system`: runs `fault` in place of the n-th call, or of all from there on if `lasting`."""

    def __init__(self, n: int = 0, fault: Callable[..., Any] | None = None, *, lasting: bool = False) -> None:
        self.n, self.fault, self.lasting, self.count, self.names = n, fault, lasting, 0, list[str]()

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.count += 1
        self.names.append(call.__name__)
        if self.fault and (self.count == self.n or (self.lasting and self.count > self.n)):
            return self.fault(call, *arguments)
        return call(*arguments)


def calls_of(make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    with monkeypatch.context() as patch:
        patch.setattr(calls, "system", counted := Calls())
        make(folder)
    return counted.names


def in_child(act: Callable[[], Any]) -> int:
    """Run `act` in a fork of this process and return its exit code, 1 if it raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- one file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"new", [b"n", memoryview(b"ew")], lambda out: out.write(b"new")])
def test_write_replaces_the_content_and_leaves_nothing_else(tmp_path: Path, data: Any) -> None:
    (tmp_path / "a").write_bytes(b"the old one, which is longer")
    files.write(tmp_path / "a", data)
    assert tree(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    def half(out: Any) -> None:
        out.write(b"half")
        raise error

    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(error):
        files.write(tmp_path / "a", half)
    assert tree(tmp_path) == {"a": b"old"}


def test_a_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 251 + ".png", "馬" * 83 + ".png", "\udcff.png", "a\nb.png"):
        files.write(tmp_path / name, b"1")
        assert (tmp_path / name).read_bytes() == b"1"


def test_a_new_file_has_the_default_permissions(tmp_path: Path) -> None:
    files.write(tmp_path / "a", b"1")
    (tmp_path / "b").write_bytes(b"1")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_temporary_files_are_next_to_their_target_and_never_in_tmpdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o500)
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(elsewhere))
    opened = []

    def spy(call: Callable[..., Any], *arguments: Any) -> Any:
        if call is os.open:
            opened.append(Path(arguments[0]))
        return call(*arguments)

    monkeypatch.setattr(calls, "system", spy)
    run = tmp_path / "run"
    run.mkdir()
    files.write(run / "a", b"1")
    save(run / "checkpoints")
    assert opened
    assert all(path.is_relative_to(run) for path in opened)
    assert not list(elsewhere.iterdir())


def test_a_save_to_another_file_system_than_tmpdir_is_atomic(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path_factory.mktemp("disk")
    if disk.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    for target, elsewhere in ((disk, tmp_path), (tmp_path, disk)):
        monkeypatch.setenv("TMPDIR", str(elsewhere))
        one_before(target / "c")
        save(target / "c")
        assert value_of(target / "c") == 2.0


# --- every call of a save fails (D16, D17) ---------------------------------------------------------------------


def raising(code: int) -> Callable[..., Any]:
    def fault(call: Callable[..., Any], *arguments: Any) -> Any:
        if call.__name__ == "write" and len(arguments[0]) > 1:
            call(memoryview(arguments[0])[: len(arguments[0]) // 2])  # a full disk accepts a part
        raise OSError(code, os.strerror(code))

    return fault


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(
    ("code", "lasting"),
    [(errno.EIO, False), (errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EROFS, True), (errno.ENOSPC, True)],
)
def test_if_any_call_of_a_save_fails_the_old_or_the_new_state_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Make, lasting: bool, code: int
) -> None:
    before(tmp_path / "dry")
    total = len(calls_of(save, tmp_path / "dry", monkeypatch))
    for n in range(1, total + 1):
        folder = tmp_path / str(n)
        before(folder)
        old = value_of(folder)
        with monkeypatch.context() as patch:
            patch.setattr(calls, "system", Calls(n, raising(code), lasting=lasting))
            with pytest.raises(ResourceError, match=re.escape(os.strerror(code))):
                save(folder)
        assert value_of(folder) in (old, 2.0), f"call {n} of {total}"
        files.sweep(folder)
        assert value_of(folder) in (old, 2.0), f"call {n} of {total}, after the sweep"
        assert not leftovers(folder)
        save(folder)
        assert value_of(folder) == 2.0


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_if_any_call_of_a_write_fails_the_old_or_the_new_file_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    target = tmp_path / "model.safetensors"
    names = calls_of(lambda path: files.write(path, b"new"), target, monkeypatch)
    assert names == ["open", "write", "fsync", "replace", "open", "fsync"]
    for n in range(1, len(names) + 1):
        target.write_bytes(b"old")
        with monkeypatch.context() as patch:
            patch.setattr(calls, "system", Calls(n, raising(code)))
            with pytest.raises(ResourceError, match=f"cannot write {re.escape(str(target))}: "):
                files.write(target, b"new")
        assert tree(tmp_path) in ({"model.safetensors": b"old"}, {"model.safetensors": b"new"})


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_before(tmp_path / "c")
    contents = tree(tmp_path)
    monkeypatch.setattr(files, "free_bytes", lambda folder: 100)
    with pytest.raises(ResourceError, match="free some space") as error:
        save(tmp_path / "c")
    assert error.value.exit_code == 6
    assert tree(tmp_path) == contents


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a disk of 640 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("checked", [True, False])
def test_the_old_checkpoint_survives_a_really_full_disk(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    folder = small_disk / "checkpoints"
    checkpoint.save(folder, 1, {"w": torch.zeros(100_000)}, keep=1)
    if not checked:
        monkeypatch.setattr(files, "free_bytes", lambda folder: 10**9)
    with pytest.raises(ResourceError, match=r"free some space"):
        checkpoint.save(folder, 2, {"w": torch.ones(100_000)}, keep=1)
    with pytest.raises(ResourceError, match=r"free some space"):
        files.write(small_disk / "model.safetensors", bytes(400_000))
    path, found = checkpoint.newest(folder, say=pytest.fail)  # type: ignore[misc]
    assert path.name == "step_00000001"
    assert found["w"].sum() == 0
    assert not leftovers(small_disk)


# --- the process is killed at every call of a save (D18, F16) --------------------------------------------------


def dying(when: str) -> Callable[..., Any]:
    def fault(call: Callable[..., Any], *arguments: Any) -> Any:
        if when == "within" and call.__name__ == "write":
            call(memoryview(arguments[0])[: len(arguments[0]) // 2])
        if when == "after":
            call(*arguments)
        os._exit(9)

    return fault


def values_after_each_crash(folder: Path, monkeypatch: pytest.MonkeyPatch, before: Make, when: str) -> list[Any]:
    """Kill a process at each call of a save in turn, and return the values that the next process finds."""
    before(folder / "dry")
    found = []
    for n in range(1, len(calls_of(save, folder / "dry", monkeypatch)) + 1):
        here = folder / str(n)
        before(here)
        with monkeypatch.context() as patch:
            patch.setattr(calls, "system", Calls(n, dying(when)))
            assert in_child(lambda here=here: save(here)) == 9  # type: ignore[misc]
        files.sweep(here)
        assert not leftovers(here)
        found.append(value_of(here))
        save(here)
        assert value_of(here) == 2.0
    return found


@pytest.mark.parametrize("when", ["before", "within", "after"])
@pytest.mark.parametrize("before", BEFORE)
def test_a_process_killed_at_any_call_of_a_save_leaves_the_old_or_the_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Make, when: str
) -> None:
    found = values_after_each_crash(tmp_path, monkeypatch, before, when)
    old = None if before is empty else 1.0
    assert found == sorted(found, key=lambda value: value == 2.0), "once the new state is found, it stays"
    assert set(found) == {old, 2.0}


def saved_in_place(path: Path, contents: Any) -> None:
    with suppress(FileExistsError):
        calls.system(os.mkdir, path)
    for name, data in contents.items():
        (path / name).unlink(missing_ok=True)
        whole._fill(path / name, data)


def deleted_first(path: Path, contents: Any) -> None:
    for _, old in checkpoint.checkpoints_in(path.parent):
        files.remove(old)
    write_folder(path, contents)


write_folder = files.write_folder


@pytest.mark.parametrize(
    ("mistake", "before"),
    [(saved_in_place, same_step_intact), (deleted_first, one_before)],
    ids=["in place", "deleted"],
)
def test_the_crash_enumeration_detects_planted_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Callable[..., None], before: Make
) -> None:
    monkeypatch.setattr(files, "write_folder", mistake)
    assert None in values_after_each_crash(tmp_path, monkeypatch, before, "before")


def test_a_process_killed_repeatedly_always_finds_a_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kill -9 at 40 random times, on a real disk, with a single checkpoint kept."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("run") / "c"
    one_before(folder)
    reached = 1
    for _ in range(40):
        pid = os.fork()
        if pid == 0:
            try:
                files.sweep(folder)
                for step in range(reached + 1, reached + 10_000):
                    checkpoint.save(folder, step, state(float(step)), keep=1)
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0.002, 0.08))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        value = value_of(folder)
        assert value is not None
        assert value >= reached
        reached = int(value)
    assert reached > 2
    files.sweep(folder)
    checkpoint.save(folder, reached + 1, state(float(reached + 1)), keep=1)  # each kill may have left an older state
    assert not leftovers(folder)
    assert len(list(folder.iterdir())) == 1


# --- a power cut before everything is on disk (D19) ------------------------------------------------------------


class Node:
    """A file or folder of the model: what programs see (`now`), and what surely survives a power cut (`safe`)."""

    def __init__(self, content: Any) -> None:
        self.now, self.safe = content, content.copy() if isinstance(content, dict) else content


class Disk:
    """Repeats the calls of `files` on a model of a disk that loses whatever was not synced."""

    def __init__(self, root: Path) -> None:
        self.root, self.top, self.handles = root, self.read(root), dict[int, Node]()

    def read(self, path: Path) -> Node:
        return Node({p.name: self.read(p) for p in path.iterdir()} if path.is_dir() else path.read_bytes())

    def folder(self, path: Any) -> dict[str, Node]:
        node = self.top
        for part in Path(path).relative_to(self.root).parts[:-1]:
            node = node.now[part]
        return node.now

    def find(self, path: Any) -> Node:
        return self.top if Path(path) == self.root else self.folder(path)[Path(path).name]

    def follow(self, call: Callable[..., Any], arguments: Any, result: Any) -> None:
        name = call.__name__
        if name == "open":
            if arguments[1] & os.O_CREAT:
                self.folder(arguments[0])[Path(arguments[0]).name] = node = Node(b"")
                node.safe = b""
            self.handles[result] = self.find(arguments[0])
        elif name == "write":
            node = self.handles[call.__self__.fileno()]  # type: ignore[attr-defined]
            node.now += bytes(arguments[0])[:result]
        elif name == "fsync":
            node = self.handles[arguments[0]]
            node.safe = node.now.copy() if isinstance(node.now, dict) else node.now
        elif name == "mkdir":
            self.folder(arguments[0])[Path(arguments[0]).name] = Node({})
        elif name in ("rename", "replace"):
            self.folder(arguments[1])[Path(arguments[1]).name] = self.folder(arguments[0]).pop(
                Path(arguments[0]).name
            )
        elif name == "_discard":
            self.folder(arguments[0]).pop(Path(arguments[0]).name)
        else:
            raise AssertionError(f"the model does not support {name}")

    def after_power_cut(self, to: Path, lost: Callable[[bool], bool], node: Node | None = None) -> None:
        """Write what is left to a real folder; a node falls back to its safe content if `lost(is_folder)`."""
        node = node or self.top
        content = node.safe if lost(isinstance(node.now, dict)) else node.now
        if not isinstance(content, dict):
            to.write_bytes(content)
            return
        to.mkdir()
        for name, child in content.items():
            self.after_power_cut(to / name, lost, child)


def states_after_a_power_cut(
    tmp_path: Path, forget: Callable[[Path], bool] = lambda path: False
) -> dict[str, set[Any]]:
    """Return the values found after a power cut during and after a save of 2.0 over 1.0.

    Args:
        forget: the paths whose fsync a planted mistake omits.
    """
    root, rng = tmp_path / "model", random.Random(0)
    one_before(root)
    disk, found, opened = Disk(root), {"during": set[Any](), "after": set[Any]()}, dict[int, Path]()
    choices = [lambda folder: True, lambda folder: False, lambda folder: folder, lambda folder: not folder]
    choices += [lambda folder: rng.random() < 0.5] * 6

    def cut(when: str) -> None:
        for lost in choices:
            left = tmp_path / "left"
            disk.after_power_cut(left, lost)
            files.sweep(left)
            found[when].add(value_of(left))
            shutil.rmtree(left)

    def follow(call: Callable[..., Any], *arguments: Any) -> Any:
        result = call(*arguments)
        if call is os.open:
            opened[result] = Path(arguments[0])
        if not (call is os.fsync and forget(opened[arguments[0]])):
            disk.follow(call, arguments, result)
        with pytest.MonkeyPatch.context() as plain:
            plain.setattr(calls, "system", lambda call, *arguments: call(*arguments))
            cut("during")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "system", follow)
        save(root)
    cut("after")
    return found


def test_a_power_cut_leaves_the_old_or_the_new_state_and_after_the_save_the_new(tmp_path: Path) -> None:
    assert states_after_a_power_cut(tmp_path) == {"during": {1.0, 2.0}, "after": {2.0}}


@pytest.mark.parametrize(
    "forget",
    [
        lambda path: path.name == "state.safetensors",
        lambda path: path.name == "manifest.json",
        lambda path: path.name.startswith(whole.TEMPORARY),
        lambda path: path.name == "model",
    ],
    ids=["no fsync of the tensors", "no fsync of the manifest", "no fsync of the folder", "no fsync of its parent"],
)
def test_the_power_cut_model_detects_each_missing_fsync(tmp_path: Path, forget: Callable[[Path], bool]) -> None:
    found = states_after_a_power_cut(tmp_path, forget)
    assert None in found["during"] | found["after"] or 1.0 in found["after"]


# --- logs ------------------------------------------------------------------------------------------------------


def test_a_log_keeps_complete_lines_byte_for_byte(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    files.append_line(log, '{"step": 1,   "loss": 0.1}')
    files.append_line(log, '{"step": 2}', sync=True)
    files.append_line(log, '{"step": 3}')
    with log.open("ab") as out:
        out.write(b'\0\0\0\n[4]\n{"step": 1}\xff\n{"step": 2, "lo')
    files.truncate_log(log, lambda line: line["step"] <= 2)
    assert log.read_bytes() == b'{"step": 1,   "loss": 0.1}\n{"step": 2}\n'


def test_a_last_line_without_a_newline_is_dropped_even_if_it_parses(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"step": 1}\n{"step": 2}')
    files.truncate_log(tmp_path / "log", lambda line: True)
    assert (tmp_path / "log").read_bytes() == b'{"step": 1}\n'


def test_truncating_a_missing_log_does_not_create_it(tmp_path: Path) -> None:
    files.truncate_log(tmp_path / "log", lambda line: True)
    assert not (tmp_path / "log").exists()


def test_a_line_half_written_to_a_full_disk_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    files.append_line(log, "one")
    with monkeypatch.context() as patch:
        patch.setattr(calls, "system", Calls(2, raising(errno.ENOSPC)))
        with pytest.raises(ResourceError, match="free some space"):
            files.append_line(log, "two")
    files.append_line(log, "three")
    assert log.read_bytes() == b"one\nthree\n"


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_byte(call: Callable[..., Any], *arguments: Any) -> Any:
        return call(memoryview(arguments[0])[:1]) if call.__name__ == "write" else call(*arguments)

    monkeypatch.setattr(calls, "system", one_byte)
    files.append_line(tmp_path / "log", "a line")
    files.write(tmp_path / "file", bytes(range(256)))
    assert tree(tmp_path) == {"log": b"a line\n", "file": bytes(range(256))}


# --- one process at a time (D15) -------------------------------------------------------------------------------


def hold(folder: Path) -> tuple[subprocess.Popen[str], int]:
    program = f"from i2i import files\nwith files.lock({str(folder)!r}): print('held', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child, child.pid


def test_a_second_process_is_rejected_with_the_pid_of_the_first_until_that_dies(tmp_path: Path) -> None:
    child, pid = hold(tmp_path)
    with pytest.raises(WeightsError, match=f"in use by process {pid}:") as error, files.lock(tmp_path):
        pytest.fail("entered")
    assert error.value.exit_code == 4
    child.kill()
    child.wait()
    with files.lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_process_cannot_lock_a_folder_twice_and_keeps_its_lock(tmp_path: Path) -> None:
    def second() -> None:
        with files.lock(tmp_path):
            os._exit(5)

    with files.lock(tmp_path):
        with pytest.raises(WeightsError, match=str(os.getpid())), files.lock(tmp_path / "." / "x" / ".."):
            pytest.fail("entered")
        assert held.ending(tmp_path) == ""  # and asking does not end the lock
        held.HELD.clear()  # as in another process
        assert in_child(second) == 1
        held.HELD.add(tmp_path)
    assert in_child(second) == 5


def test_a_loader_process_that_outlives_its_parent_does_not_hold_the_lock(tmp_path: Path) -> None:
    """After kill -9, loader processes survive for seconds; a resume must not wait for them."""
    reading, writing = os.pipe()

    def parent() -> None:
        with files.lock(tmp_path):
            loader = os.fork()
            if loader == 0:
                time.sleep(20)
                os._exit(0)
            os.write(writing, str(loader).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(parent) == -signal.SIGKILL
    loader = int(os.read(reading, 20))
    try:
        os.kill(loader, 0)
        with files.lock(tmp_path):
            pass
    finally:
        os.kill(loader, signal.SIGKILL)
        os.close(reading)
        os.close(writing)


# --- nothing outside the run folder ----------------------------------------------------------------------------


def test_a_symlink_in_place_of_a_target_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").symlink_to(outside / "precious")
    (run / "step_00000002").symlink_to(outside)
    (run / "log.jsonl").symlink_to(outside / "precious")
    (run / f"{whole.TEMPORARY}x").symlink_to(outside)
    files.write(run / "config.yaml", b"new")
    save(run)
    files.sweep(run)
    with pytest.raises(ResourceError):
        files.append_line(run / "log.jsonl", "line")
    assert tree(outside) == {"precious": b"precious"}
    assert value_of(run) == 2.0
    (run / ".lock").symlink_to(outside / "precious")
    with pytest.raises(ResourceError), files.lock(run):
        pytest.fail("entered")
    assert tree(outside) == {"precious": b"precious"}


def test_a_symlink_that_leads_out_of_the_locked_run_is_rejected(tmp_path: Path) -> None:
    outside, run, disk = tmp_path / "outside", tmp_path / "run", tmp_path / "big disk"
    outside.mkdir()
    disk.mkdir()
    run.symlink_to(disk)  # the run folder itself may be a symlink
    (run / "checkpoints").symlink_to(outside)
    with files.lock(run):
        files.write(run / "config.yaml", b"1")
        (run / "samples").mkdir()
        files.write(run / "samples" / "1.png", b"1")
        for act in (
            lambda: save(run / "checkpoints"),
            lambda: files.write(run / "checkpoints" / "a", b"1"),
            lambda: files.append_line(run / "checkpoints" / "a", "1"),
        ):
            with pytest.raises(WeightsError, match="leads out of"):
                act()
    assert not list(outside.iterdir())
    assert sorted(tree(disk)) == [".lock", "config.yaml", "samples/1.png"]


def test_sweep_removes_only_its_own_temporary_files(tmp_path: Path) -> None:
    one_before(tmp_path / "checkpoints")
    (tmp_path / ".tmp-of-somebody-else").write_bytes(b"1")
    contents = tree(tmp_path)
    (tmp_path / "samples" / f"{whole.TEMPORARY}a").mkdir(parents=True)
    (tmp_path / "samples" / f"{whole.TEMPORARY}a" / f"{whole.TEMPORARY}b").write_bytes(b"1")
    files.sweep(tmp_path)
    assert tree(tmp_path) == contents
    files.sweep(tmp_path / "not there")


def test_a_file_in_place_of_a_folder_is_distinguished_from_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="file: a file, not a folder; check"):
        files.make_folder(tmp_path / "file")
    assert files.lacking(tmp_path / "file", "folder") == "a file, not a folder"
    assert files.lacking(tmp_path, "file") == "a folder, not a file"
    assert files.lacking(tmp_path / "none", "file") == "no such file"
    assert files.lacking(tmp_path / "file" / "in", "folder") == f"no such folder, {tmp_path}/file is a file"


def test_a_write_error_is_reported_in_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "a", tmp_path / ("x" * 300), tmp_path):
        with pytest.raises(ResourceError, match="cannot write") as error:
            files.write(path, b"1")
        assert "\n" not in str(error.value)
    assert issubclass(ResourceError, I2IError)
    assert files.free_bytes(tmp_path) > 0


# --- guard: one package writes files, and none executes what it reads ------------------------------------------

LOADS_CODE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUNS_CODE = {
    "eval",
    "exec",
    "__import__",
    "torch.load",
    "torch.save",
    "torch.jit.load",
    "yaml.load",
    "yaml.unsafe_load",
}
WRITES = {"cv2.imwrite", "np.save", "np.savez", "np.savez_compressed", "numpy.save", "save_image", "save_file"}
WRITES |= {"os.rename", "os.replace", "shutil.copyfile", "shutil.copytree", "shutil.copy", "shutil.move"}
OUR_SAVES = {"images", "checkpoint", "Modality", "model"}
METHODS = {"write_text", "write_bytes", "tofile", "touch", "symlink_to", "hardlink_to"}


def violations(source: str) -> list[str]:
    """Return the calls and imports of a module that only `i2i/files/whole.py`, or no module, may contain."""
    found: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            )
            found += [node for name in modules if name.split(".")[0] in LOADS_CODE]
        elif isinstance(node, ast.Call) and is_violation(node):
            found.append(node)
    return [f"{node.lineno}: {ast.unparse(node)[:80]}" for node in found]  # type: ignore[attr-defined]


def is_violation(call: ast.Call) -> bool:
    name, method = ast.unparse(call.func), call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if method == "open" or name == "open":
        position = 1 if name in ("open", "io.open", "os.fdopen") else 0
        mode = given.get("mode") or "".join(ast.unparse(argument) for argument in call.args[position : position + 1])
        return re.fullmatch(r"""['"][rwaxbt+]*[wax+][rwaxbt+]*['"]""", mode) is not None
    if method == "save":  # allowed for Pillow images to a buffer, which needs a format, and for our own modules
        return bool(call.args) and name.split(".")[0] not in OUR_SAVES and "format" not in given
    return name in RUNS_CODE | WRITES or method in METHODS or given.get("allow_pickle") == "True"


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from dill import loads",
        "import torch; torch.load(path)",
        "torch.save(x, path)",
        "eval(text)",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('w')",
        "path.write_text('x')",
        "path.write_bytes(b'x')",
        "cv2.imwrite(path, x)",
        "image.save(path)",
    ],
)
def test_the_guard_detects(bad: str) -> None:
    assert violations(bad)


@pytest.mark.parametrize(
    "good",
    [
        "open(path)",
        "image.save(buffer, format='PNG')",
        "open(path, 'rb')",
        "path.open('rb')",
        "model.eval()",
        "np.load(path, mmap_mode='r')",
    ],
)
def test_the_guard_allows(good: str) -> None:
    assert not violations(good)


MODULES = [
    path
    for folder in ("i2i", "plugins")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not {"tests", "benchmarks", "docs"} & set(path.relative_to(ROOT).parts)
]


def test_only_one_module_writes_files_and_none_executes_what_it_reads() -> None:
    assert len(MODULES) > 10
    found = {str(path.relative_to(ROOT)): violations(path.read_text()) for path in MODULES}
    assert found.pop("i2i/files/whole.py")
    # Weights of others are pickles, loaded with weights_only: in the first file only if the sha256 matches, in the
    # second in a child process with limits (tests/test_foreign.py).
    for file in ("i2i/losses/pretrained.py", "i2i/model/foreign/pickled.py"):
        (published,) = found.pop(file)
        assert "torch.load" in published
        assert "weights_only=True" in published
    (pickled,) = found.pop("i2i/data/loaders.py")  # what our own processes send through pipes
    assert pickled.endswith("import pickle")
    (directory,) = found.pop("i2i/images/deep.py")  # of a TIFF, into a buffer
    assert directory.endswith("directory.save(out)")
    (rows,) = found.pop("i2i/files/scratch.py")  # of a large result, mapped into memory until it is written
    assert "os.O_RDWR" in rows
    assert {path: what for path, what in found.items() if what} == {}
