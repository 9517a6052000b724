"""`i2i translate` on folders: what is redone and what is kept, several processes, and jobs that end early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import i2i
from i2i import checkpoint, config
from i2i.errors import ConfigError, DataError, ResourceError, WeightsError
from i2i.images import Output
from i2i.model import sample_files, translate_files
from i2i.model.manifest import NAME, fingerprint, job_of
from i2i.plugins import load_file, registry

PLUGIN = '''
import os, time
from torch import nn
import i2i

gate, seen = os.path.join(os.path.dirname(__file__), "open"), []

class Moody(i2i.Task):
    """Kills its process on pictures 13 pixels wide; of those 14 pixels wide, the third waits for the file `open`."""

    conditions = {"style": i2i.modalities.Image()}

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 3, 1)

    def translate(self, image, gain=1.0, style=None):
        if image.shape[-1] == 13:
            os.kill(os.getpid(), 9)
        if image.shape[-1] == 14:
            seen.append(image)
            while len(seen) > 2 and not os.path.exists(gate):
                time.sleep(0.02)
        return self.net(image) * float(gain)

@i2i.hookimpl
def register(catalog):
    catalog.task("moody", Moody)
'''
CONFIG = "task: {use: moody}\ndata: {use: horses_zebras}\ntrain: {steps: 1}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin file moody.py and two models of its task, a and b."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "moody.py").write_text(PLUGIN.replace("import i2i\n", "import i2i, i2i.modalities\n", 1))
    load_file(folder / "moody.py")
    chosen = config.parse(CONFIG, "moody", (), registry().catalog)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        (folder / name).mkdir()
        weights = chosen.task().state_dict()
        checkpoint.save_model(folder / name / "model.safetensors", weights, chosen.text(), {"step": "0"})
    return folder


@pytest.fixture(scope="module")
def model(home: Path) -> i2i.Model:
    return i2i.load(home / "a")


def pictures(folder: Path, n: int = 3, width: int = 9) -> Path:
    folder.mkdir(exist_ok=True)
    for seed in range(n):
        values = np.random.default_rng(seed).integers(0, 256, (8, width, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{seed}.png")
    return folder


def translated(source: Path, out: Path, model: i2i.Model, **options: Any) -> list[str]:
    """Translate, and return what was printed."""
    said: list[str] = []
    translate_files([str(source)], out, model, say=said.append, **options)
    return said


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / NAME).read_text().splitlines()]


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("[!.]*") if path.is_file()}


# ---- what is redone and what is kept


def test_a_second_call_does_nothing_and_says_so(model: i2i.Model, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "in"), tmp_path / "out"
    said = translated(source, out, model)
    assert said[-1] == "3 translated, 0 already existed, 0 failed"
    assert said[0].startswith(f"[1/3] '{out}/0.png'  ")
    assert said[0].endswith((" it/s  ETA 0:00:00", " s/it  ETA 0:00:00"))
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert translated(source, out, model) == ["0 translated, 3 already existed, 0 failed"]
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    jobs = [line for line in lines(out) if "weights" in line]
    assert jobs == [job_of(model, {})]
    assert sum("begin" in line for line in lines(out)) == sum("done" in line for line in lines(out)) == 3


def test_a_condition_of_a_wrong_word_is_rejected_before_anything_is_said(tmp_path: Path) -> None:
    source, out, model = pictures(tmp_path / "in", 1), tmp_path / "out", i2i.load("horse2zebra")
    translated(source, out, model, direction="BtoA")
    said: list[str] = []
    with pytest.raises(ConfigError, match=r"^unknown direction 'BtA': use AtoB or BtoA$"):
        translate_files([str(source)], out, model, say=said.append, direction="BtA")
    assert said == []


def test_the_first_line_names_the_input_its_size_and_the_model(home: Path, model: i2i.Model, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 2)
    for number, (one, name) in enumerate(((model, "a"), (i2i.load(f"{home}/a | {home}/b"), "a | b"))):
        noted: list[str] = []
        said = translated(source, tmp_path / f"out{number}", one, note=noted.append)
        assert noted[0] == f"[1/2] '{source}/0.png' 9x8 with {name} ..."
        assert [line[:5] for line in noted] == ["[1/2]", "[1/2]", "[2/2]"]
        assert said == ["2 translated, 0 already existed, 0 failed"]


def test_a_folder_in_place_of_a_picture_is_answered_with_what_to_do(model: i2i.Model, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a folder, not a file; give its files, or use `i2i translate FOLDER`$"):
        model(tmp_path)


def test_what_another_model_condition_or_input_made_is_redone(home: Path, model: i2i.Model, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "in"), tmp_path / "out"
    translated(source, out, model)
    first = contents(out)
    said = translated(source, out, i2i.load(home / "b"))
    assert said[0] == "redoing 3 results (changed: model)"
    assert said[-1] == "3 translated, 0 already existed, 0 failed"
    assert not {*first.values()} & {*contents(out).values()}
    assert translated(source, out, model, gain="0.5")[0] == "redoing 3 results (changed: model, gain)"
    assert translated(source, out, model, gain="0.5")[-1].startswith("0 translated")
    assert translated(source, out, model)[0] == "redoing 3 results (changed: gain)"
    assert contents(out) == first
    options = Output(format="png", strip=True)
    said = translated(source, out, model, output=options)
    assert said[0] == "redoing 3 results (changed: format, strip)"
    assert translated(source, out, model)[-1].startswith("3 translated")
    Image.new("RGB", (5, 4)).save(source / "1.png")
    said = translated(source, out, model)
    assert said[0] == "redoing 1 result (changed: input)"
    assert said[-1] == "1 translated, 2 already existed, 0 failed"
    assert Image.open(out / "1.png").size == (5, 4)


def test_a_condition_that_is_a_file_counts_by_its_contents(model: i2i.Model, tmp_path: Path) -> None:
    source, out, style = pictures(tmp_path / "in"), tmp_path / "out", tmp_path / "style.png"
    Image.new("RGB", (5, 4)).save(style)
    translated(source, out, model, style=str(style))
    assert translated(source, out, model, style=str(style))[-1].startswith("0 translated")
    Image.new("RGB", (50, 40)).save(style)
    assert translated(source, out, model, style=str(style))[-1].startswith("3 translated")
    for value in (Image.new("RGB", (5, 4)), np.zeros((4, 5, 3), np.uint8), torch.zeros(3, 4, 5)):
        assert job_of(model, {"style": value}) == job_of(model, {"style": value})
    black, white = (job_of(model, {"style": Image.new("L", (5, 4), level)})["job"] for level in (0, 255))
    assert black != white


def test_a_word_that_is_also_the_name_of_a_file_is_only_a_word(
    home: Path, model: i2i.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pictures(tmp_path / "in", 1)
    monkeypatch.chdir(tmp_path)
    translated(source, Path("0.5"), model, gain="0.5")  # its results are in a folder of the same name
    assert translated(source, Path("0.5"), model, gain="0.5")[-1].startswith("0 translated, 1 already")
    chain = i2i.load(f"{home / 'a'} | {home / 'b'}")
    given = {"gain": "0.5", "2.gain": "0.5", "style": "in/0.png", "2.style": ["in/0.png"]}
    before = job_of(chain, given)["conditions"]
    assert before["gain"] == before["2.gain"] == "0.5"
    pictures(tmp_path / "in", 1, width=40)
    assert {name for name, value in job_of(chain, given)["conditions"].items() if value != before[name]} == {
        "style",
        "2.style",
    }


def test_a_result_whose_name_is_too_long_does_not_stop_the_others(model: i2i.Model, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "in", 2), tmp_path / "out"
    Image.new("RGB", (6, 5)).save(source / ("x" * 250 + ".jpg"))
    (source / ("x" * 250 + ".jpg")).rename(source / ("x" * 250 + ".tga"))  # so its result is *.tga.png
    for made in (2, 0):
        said: list[str] = []
        failed = translate_files([str(source)], out, model, say=said.append)
        what = "the name of its result would have 258 bytes, and file systems allow 255: give it a shorter name"
        assert [one.rpartition("': ")[2] for one in failed] == [what]
        assert said[-1] == f"{made} translated, {2 - made} already existed, 1 failed"


def test_a_model_is_known_by_its_weights_and_not_by_its_place(home: Path, model: i2i.Model, tmp_path: Path) -> None:
    (tmp_path / "copy.safetensors").write_bytes((home / "a" / "model.safetensors").read_bytes())
    assert fingerprint(i2i.load(tmp_path / "copy.safetensors")) == fingerprint(model)
    assert fingerprint(i2i.load(home / "b")) != fingerprint(model)
    both = [fingerprint(i2i.load(f"{home / one} | {home / two}")) for one, two in ("ab", "ba")]
    assert len({*both, fingerprint(model)}) == 3


def test_what_i2i_did_not_make_is_kept_and_reported_unless_forced(model: i2i.Model, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / "0.png").write_bytes(b"mine")
    said = translated(source, out, model)
    assert said[0] == (
        f"keeping 1 file not made here by i2i, or changed since, such as '{out}/0.png'; use --force to overwrite"
    )
    assert said[-1] == "2 translated, 1 already existed, 0 failed"
    (out / "1.png").write_bytes(b"retouched")
    assert translated(source, out, model)[0].startswith("keeping 2 files not")
    assert [contents(out)[name] for name in ("0.png", "1.png")] == [b"mine", b"retouched"]
    assert translated(source, out, model, force=True)[-1] == "3 translated, 0 already existed, 0 failed"
    assert translated(source, out, model) == ["0 translated, 3 already existed, 0 failed"]


def test_skip_existing_keeps_everything_whichever_model_made_it(home: Path, model: i2i.Model, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "in"), tmp_path / "out"
    translated(source, out, model)
    before = contents(out)
    (out / "0.png").unlink()
    said = translated(source, out, i2i.load(home / "b"), skip_existing=True)
    assert (said[0], said[-1]) == (
        "existing results are kept, whichever model made them; use --force to redo them",
        "1 translated, 2 already existed, 0 failed",
    )
    assert sum(contents(out)[name] == before[name] for name in before) == 2
    assert translated(source, out, model)[0] == "redoing 1 result (changed: model)"
    with pytest.raises(ConfigError, match="--force overwrites existing results and --skip-existing keeps them"):
        translated(source, out, model, force=True, skip_existing=True)


def test_bad_lines_of_the_manifest_cost_at_most_their_own_result(model: i2i.Model, tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "in", 6), tmp_path / "out"
    translated(source, out, model)
    kept = (out / NAME).read_bytes().splitlines(keepends=True)
    kept.remove(next(line for line in kept if line.startswith(b'{"done": "1.png"')))  # so 1.png was not finished
    at = next(at for at, line in enumerate(kept) if line.startswith(b'{"done": "2.png"'))
    kept[at] = b'{"done": "2.png", "job": 3}\n'
    (out / NAME).write_bytes(b'\xff\xfe\n[1]\n{"begin": []}\n{"done": {}}\n' + b"".join(kept) + b'{"begin": "3.p')
    (out / ".tmp-i2i-1.png-77-abc").write_bytes(b"half a picture")
    assert translated(source, out, model)[-1] == "2 translated, 4 already existed, 0 failed"
    assert not (out / ".tmp-i2i-1.png-77-abc").exists()
    assert translated(source, out, model) == ["0 translated, 6 already existed, 0 failed"]


def test_nothing_is_written_before_the_first_result(model: i2i.Model, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert translated(tmp_path / "in", tmp_path / "out", model)[-1] == "0 translated, 0 already existed, 1 failed"
    with pytest.raises(ConfigError, match="no condition 'gian'; possible: gain, style"):
        translated(pictures(tmp_path / "in"), tmp_path / "out", model, gian=1)
    assert not (tmp_path / "out").exists()


# ---- several processes


def test_processes_give_the_same_results_and_one_that_is_killed_costs_one_picture(
    model: i2i.Model, tmp_path: Path
) -> None:
    source = pictures(tmp_path / "in", 8)
    translated(source, tmp_path / "one", model)
    Image.new("RGB", (13, 8)).save(source / "0-deadly.png")
    (source / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    frames[0].save(source / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].save(source / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="has several frames; the first is used"):
        said = translated(source, tmp_path / "two", model, nproc=2)
    assert said[-3] == "10 translated, 0 already existed, 2 failed:"  # and both again
    assert any(f"'{source}/0-deadly.png': the process that translated it was killed by signal 9" in s for s in said)
    assert any(f"'{source}/bad.png'" in sentence for sentence in said)
    made = contents(tmp_path / "two")
    assert made.pop("pages.tif")
    assert made.pop("moving.gif")
    assert made == contents(tmp_path / "one")
    assert sum("done" in line for line in lines(tmp_path / "two")) == 10
    (source / "0-deadly.png").unlink()
    (source / "bad.png").unlink()
    assert translated(source, tmp_path / "two", model, nproc=2) == ["0 translated, 10 already existed, 0 failed"]


def test_an_error_that_concerns_all_inputs_ends_all_processes(home: Path, tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 1)
    elsewhere = i2i.Model(i2i.load(home / "a").task, {}, tmp_path / "nothing")
    with pytest.raises(WeightsError, match="nothing: no model here"):
        translated(source, tmp_path / "out", elsewhere, nproc=2)
    other = i2i.Model(i2i.load(home / "b").task, i2i.load(home / "b").config, home / "a")
    with pytest.raises(WeightsError, match="the weights have changed since the model was loaded"):
        translated(source, tmp_path / "out", other, nproc=2)
    assert not (tmp_path / "out").exists()


def test_a_process_that_cannot_start_is_one_sentence(
    model: i2i.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ResourceError, match="the process that loaded the model ended with exit code 1: use fewer"):
        translated(pictures(tmp_path / "in", 2), tmp_path / "out", model, nproc=2)


OWN = """
from torch import nn
import i2i, i2i.modalities

class Own(i2i.modalities.Image):
    pass

class Plain(i2i.Task):
    takes = makes = Own()

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 3, 1)

    def translate(self, image):
        return self.net(image)

@i2i.hookimpl
def register(catalog):
    catalog.task("own_plain", Plain)
"""


def test_processes_know_a_modality_of_a_plugin_file_and_share_the_machine_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    load_file(tmp_path / "own.py")
    chosen = config.parse(CONFIG.replace("moody", "own_plain"), "own", (), registry().catalog)
    checkpoint.save_model(tmp_path / "own.safetensors", chosen.task().state_dict(), chosen.text(), {"step": "0"})
    source, code = pictures(tmp_path / "in", 1), list[str]()
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: code.append(command[2]) or start(command, **how))
    said = translated(source, tmp_path / "out", i2i.load(tmp_path / "own.safetensors"), nproc=4)
    assert said[-1] == "1 translated, 0 already existed, 0 failed"
    assert len(code) == 1
    assert "memory.sharing = 1;" in code[0]


# ---- jobs that are stopped or killed


def started(home: Path, source: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start `i2i translate` and return once the second result is there."""
    command = [sys.executable, "-m", "i2i", "translate", str(source), "-o", str(out), "-m", str(home / "a")]
    command += ["--plugin", str(home / "moody.py"), *options]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which background jobs of a shell ignore
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    assert job.stderr is not None
    for start in ("[1/12]", "[1/12]", "[2/12]"):  # the name of the first, and two results
        line = job.stderr.readline()
        assert line.startswith(start), line + job.stderr.read()
    return job


def children(job: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()]


def wait_for_the_end_of(pids: list[int], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in status(pid) for pid in pids):
        assert time.monotonic() < end, f"still running: {pids}"
        time.sleep(0.05)


def status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "\nState:\tZ"


def continued(source: Path, out: Path, model: i2i.Model) -> int:
    """Check that what is there is whole, continue the job, and return how many results were left to make."""
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    for path in before:
        Image.open(path).load()
    said = translated(source, out, model)
    assert len(list(out.glob("*.png"))) == 12
    assert not list(out.glob(".tmp-*"))
    made = int(said[-1].split()[0])
    assert sum(path.stat().st_mtime_ns == when for path, when in before.items()) == 12 - made
    return made


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("number", "options", "code"),
    [(signal.SIGKILL, "--nproc=2", -9), (signal.SIGTERM, "--nproc=2", 75), (signal.SIGINT, "--nproc=1", 130)],
)
def test_a_job_that_ends_early_leaves_no_process_and_is_continued(
    home: Path, model: i2i.Model, tmp_path: Path, number: signal.Signals, options: str, code: int
) -> None:
    source, out = pictures(tmp_path / "in", 12, width=14), tmp_path / "out"
    (home / "open").unlink(missing_ok=True)
    job = started(home, source, out, options)
    workers = children(job)
    assert len(workers) == (2 if options == "--nproc=2" else 0)
    os.kill(job.pid, number)
    assert job.wait(60) == code
    (home / "open").touch()
    wait_for_the_end_of(workers)
    assert job.stderr is not None
    rest = job.stderr.read()
    assert "Traceback" not in rest
    if number != signal.SIGKILL:
        assert "of 12 translated; the same command continues with the others" in rest
    assert 8 <= continued(source, out, model) <= 10


def test_a_folder_for_results_that_is_named_like_a_file_is_refused(tmp_path: Path, model: i2i.Model) -> None:
    source = pictures(tmp_path / "in", 1)
    (tmp_path / "notes").write_text("mine")
    for name, says in (("a.png", "looks like a file"), ("a.GIF", "looks like a file"), ("notes", "is a file")):
        with pytest.raises(ConfigError, match=rf"-o '.*{name}' {says}: it names the folder .* such as -o results"):
            translated(source, tmp_path / name, model)
    (tmp_path / "v.png").mkdir()
    assert translated(source, tmp_path / "v.png", model)[-1] == "1 translated, 0 already existed, 0 failed"
    with pytest.raises(ConfigError, match="looks like a file"):
        sample_files(1, tmp_path / "s.png", model, 0, {})


def test_a_folder_that_cannot_be_written_is_found_before_the_network_runs(
    tmp_path: Path, model: i2i.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, closed = pictures(tmp_path / "in", 1), tmp_path / "closed"
    closed.mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed and allowed(path, mode))
    monkeypatch.setattr(type(model.task), "translate", lambda *_: 1 / 0)
    monkeypatch.setattr(type(model.task), "sample", lambda *_: 1 / 0)
    for out in (closed, closed / "deep" / "er"):
        with pytest.raises(ResourceError, match=r"cannot write .*closed.*: Permission denied"):
            translated(source, out, model)
        with pytest.raises(ResourceError, match=r"cannot write .*closed.*: Permission denied"):
            sample_files(1, out, model, 0, {})
    assert not any(closed.iterdir())


def test_the_record_of_earlier_results_is_no_file_that_was_left_out(tmp_path: Path, model: i2i.Model) -> None:
    source = pictures(tmp_path / "in", 1)
    translated(source, tmp_path / "in" / "first", model)
    said = translated(source, tmp_path / "in" / "second", model)
    assert said[-1] == "2 translated, 0 already existed, 0 failed"


def test_an_empty_name_is_no_folder(tmp_path: Path, model: i2i.Model) -> None:
    said: list[str] = []
    failed = translate_files([""], tmp_path / "out", model, say=said.append)
    assert failed == ["'.': the name is empty; give a file, a folder or a pattern"]
