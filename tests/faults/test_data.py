"""Faults of data sets: what `i2i data check` must find, channels that do not fit, data that changed, cut archives."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i import api
from i2i.config import load
from i2i.data.archives import archived
from i2i.data.check import Report, check
from i2i.data.labelled import LabelledFolders
from i2i.data.paired import PairedFolders
from i2i.data.segmaps import LabelMaps
from i2i.errors import ConfigError, DataError
from i2i.plugins import registry
from i2i.runs import refuse_unfit_data
from i2i.runs.listing import differences, listing

# ---- F1: label maps that are not class indices


def label_set(root: Path, *values: np.ndarray, suffix: str = ".png", size: tuple[int, int] = (48, 40)) -> Path:
    """Write photographs of `size` with these label maps; the last one is the validation set, too."""
    for part, maps in (("train", values), ("val", values[-1:])):
        for kind in ("images", "labels"):
            (root / part / kind).mkdir(parents=True)
        for number, label in enumerate(maps):
            noise = np.random.default_rng([number, len(part)]).integers(0, 255, (size[1], size[0], 3), np.uint8)
            Image.fromarray(noise).save(root / part / "images" / f"{number}.png")
            Image.fromarray(label).save(root / part / "labels" / f"{number}{suffix}")
    return root


def stripes(*classes: int) -> np.ndarray:
    """A label map uint8 [40, 48] with these values in columns of 8 pixels."""
    return np.tile(np.array(classes, np.uint8)[np.arange(48) // 8 % len(classes)], (40, 1))


def trains(root: Path, **options: object) -> bool:
    """Whether training accepts every label map of the set."""
    try:
        LabelMaps(str(root), size=32, workers=0, on_bad="fail", **options)  # type: ignore[arg-type]
    except (ConfigError, DataError):
        return False
    return True


def said(report: Report, *words: str) -> bool:
    return any(all(word in line for word in words) for line in (*report.problems, *report.warnings, *report.notes))


def test_F1_label_maps_without_a_legend_say_what_to_set(tmp_path: Path) -> None:
    root = label_set(tmp_path, stripes(0, 1, 2), stripes(0, 3, 255))
    report = check(root)
    assert report.ok
    assert said(report, "train/labels: class values 0 to 3, 255 in 2 maps")
    assert said(report, "val/labels: class values 0, 3, 255 in 1 maps")
    assert said(report, "data.classes=4 and data.ignore=255")
    assert trains(root, classes=4, ignore=255)
    assert not said(report, "duplicate")
    assert not said(report, "both train and test")  # equal label maps leak nothing


def test_F1_labels_with_0_for_unlabelled(tmp_path: Path) -> None:
    report = check(label_set(tmp_path, *(np.add(stripes(*range(n, n + 6)), 0) for n in range(0, 121, 6))))
    assert report.ok
    assert said(report, "data.classes=126 or, if 0 means unlabelled, data.classes=125 and data.ignore=0")


def test_F1_masks_of_0_and_255_are_no_class_indices_and_a_palette_is_offered(tmp_path: Path) -> None:
    root = label_set(tmp_path, stripes(0, 255))
    report = check(root)
    assert not report.ok
    assert said(report, "class values 0, 255 are not class indices")
    offer = next(line for line in report.notes if line.startswith("a classes.json for them: "))
    (root / "classes.json").write_text(offer.partition(": ")[2])
    report = check(root)
    assert report.ok, report.problems
    assert said(report, "set data.coded=colours")
    assert trains(root, coded="colours")


def test_F1_rgb_masks_get_a_palette(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
    root = label_set(tmp_path, colours[stripes(0, 1, 2)])
    report = check(root)
    assert not report.ok
    assert said(report, "of colours, not of class indices", "data.coded=colours")
    offer = next(line for line in report.notes if line.startswith("a classes.json for them: "))
    (root / "classes.json").write_text(offer.partition(": ")[2])
    assert check(root).ok
    assert trains(root, coded="colours")
    wrong = np.array([[0, 0, 0], [128, 0, 0], [9, 9, 9]], np.uint8)
    Image.fromarray(wrong[stripes(0, 1, 2)]).save(root / "train" / "labels" / "0.png")
    assert said(check(root), "0.png", "no class in classes.json has the colour (9, 9, 9)")
    assert not trains(root, coded="colours")


def test_F1_jpeg_masks_are_lossy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = check(label_set(tmp_path / "few", stripes(0, 40, 90), suffix=".jpg"))
    assert not report.ok
    assert said(report, "lossy compression", "train/labels/0.jpg")
    noise = np.random.default_rng(0).integers(0, 2, (40, 48), np.uint8)
    label_set(tmp_path / "more", noise, suffix=".jpg")
    assert trains(tmp_path / "more", classes=256)
    assert "more/train/labels/0.jpg': a label map with lossy compression" in caplog.text


def test_F1_another_size_and_classes_out_of_range(tmp_path: Path) -> None:
    root = label_set(tmp_path, stripes(0, 1), np.repeat(stripes(0, 7), 2, 0))
    legend = [{"index": n, "name": str(n), "colour": [n, 0, 0]} for n in range(2)]
    (root / "classes.json").write_text(json.dumps({"classes": legend}))
    report = check(root)
    assert said(report, "train/labels/1.png", "contains class 7, but there are 2 classes (0 to 1)")
    assert said(report, "val/labels/0.png", "contains class 7")
    assert said(report, "train/labels/1.png' is 48x80 pixels but its photograph", "is 48x40")
    assert not trains(root)
    (root / "classes.json").write_text("{}")
    assert said(check(root), "classes.json", 'it should be {"classes"')


# ---- F9: pairs that training refuses


def pair_set(root: Path, layout: str, a: dict[str, tuple[int, int]], b: dict[str, tuple[int, int]]) -> Path:
    """Write pictures by name and size into the folders of A and B for training."""
    for domain, sizes in (("A", a), ("B", b)):
        for number, (name, (wide, high)) in enumerate(sizes.items()):
            path = root / layout.format(domain) / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([number, ord(domain)]).integers(0, 255, (high, wide, 3), np.uint8)
            Image.fromarray(noise).save(path)
    return root


SAME = {str(n): (40, 40) for n in range(6)}
SKEW = {**SAME, "3": (40, 60)}
LONE = {**{str(n): (40, 40) for n in range(5)}, "9": (40, 40)}


@pytest.mark.parametrize("layout", ["train/{}", "train{}"])
@pytest.mark.parametrize(("b", "word"), [(SAME, ""), (SKEW, "aspect ratio"), (LONE, "without a counterpart")])
def test_F9_pairs(tmp_path: Path, layout: str, b: dict[str, tuple[int, int]], word: str) -> None:
    root = pair_set(tmp_path, layout, SAME, b)
    report = check(root)
    joint = "/" in layout
    assert ("for `use: paired_folders`" in report.kind) == joint
    assert joint or said(report, "names are in both trainA and trainB: if these are pairs, use `paired_folders`")
    found = report.problems if joint else report.warnings
    assert any(word in line for line in found) if word else not report.problems
    if word:
        with pytest.raises(DataError):
            PairedFolders(str(root), size=32)
        assert joint != report.ok


def test_F9_pairs_may_have_val_in_place_of_test(tmp_path: Path) -> None:
    for layout in ("train{}", "val{}"):
        pair_set(tmp_path, layout, SAME, SAME)
    report = check(tmp_path)
    assert [*report.parts] == ["trainA", "trainB", "valA", "valB"]
    assert not said(report, "testA")


def test_F9_unpaired_names_are_not_called_pairs(tmp_path: Path) -> None:
    report = check(pair_set(tmp_path, "train{}", SAME, {f"b{n}": (40, 40) for n in range(6)}))
    assert not said(report, "paired_folders")
    assert not said(report, "counterpart")


# ---- F12: channels that do not fit


PIX2PIX = """
task:
  use: pix2pix
  generator: {use: unet_generator, width: 4, downs: 4}
  discriminator: {use: patch_discriminator, width: 4, layers: 1, in_channels: 6}
  gan: {use: vanilla}
data: {use: paired_folders, size: 32, batch_size: 2, workers: 0, cache: false, root: %s}
train: {steps: 1}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config of pix2pix on pairs."""
    pair_set(tmp_path / "set", "train{}", SAME, SAME)
    path = tmp_path / "pix2pix.yaml"
    path.write_text(PIX2PIX % (tmp_path / "set"))
    return path


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        (["task.generator.in_channels=1"], ["task.generator.in_channels=3"]),
        (["task.generator.out_channels=1"], ["task.generator.out_channels=3"]),
        (["task.discriminator.in_channels=3"], ["task.discriminator.in_channels=6"]),
        (["task.discriminator.in_channels=9"], ["task.discriminator.in_channels=6"]),
        (
            ["task.generator.in_channels=1", "task.discriminator.in_channels=3"],
            ["task.generator.in_channels=3", "task.discriminator.in_channels=6"],
        ),
        (
            ["task.generator.in_channels=1", "task.generator.out_channels=1"],
            ["task.generator.in_channels=3", "task.generator.out_channels=3"],
        ),
        (
            ["task.generator.out_channels=1", "task.discriminator=null", "task.gan=null"],  # torch would broadcast
            ["task.generator.out_channels=3"],
        ),
    ],
)
def test_F12_channels_that_do_not_fit_name_the_key(config: Path, given: list[str], keys: list[str]) -> None:
    run = config.parent / "run"
    with pytest.raises(ConfigError) as caught:
        api.run(config, *given, out=run)
    text = str(caught.value)
    assert f": set {' '.join(keys)}, or use other data" in text
    assert "A 3 x 32 x 32, B 3 x 32 x 32" in text
    for change in given[: len(keys)]:
        assert change.replace("=", " is ") in text
    assert not run.exists()  # nothing is half-started


def test_F12_a_run_is_not_lost_to_channels_that_do_not_fit(config: Path) -> None:
    run = config.parent / "run"
    api.run(config, out=run)
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError):
        api.run(config, "task.generator.in_channels=1", out=run, force=True)
    assert (run / "model.safetensors").read_bytes() == before


def test_F12_the_rehearsal_changes_nothing(config: Path) -> None:
    built = load(config, (), registry().catalog)
    task, data = built.task(), built.data()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    refuse_unfit_data(built, task, data)
    assert torch.equal(torch.get_rng_state(), state)
    after = task.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


# ---- R16: data that changed between start and resume


def test_R16_a_resume_over_changed_data_says_what_changed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, run = config.parent / "set", config.parent / "run"
    (root / ".i2i-cache").mkdir()
    api.run(config, out=run)
    (root / ".i2i-cache" / "new.npy").touch()  # our own files do not count
    capsys.readouterr()
    api.run(config, "train.steps=2", out=run, resume=True)
    assert "WARNING" not in capsys.readouterr().err
    for domain in "AB":
        (root / f"train{domain}" / "5.png").unlink()
    api.run(config, "train.steps=3", out=run, resume=True)
    said = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    assert len(said) == 1
    assert f"{root}/trainA had 6 files and has 5; {root}/trainB had 6 files and has 5" in said[0]
    assert "differs from one without interruption" in said[0]
    api.run(config, "train.steps=4", out=run, resume=True)
    assert "WARNING" not in capsys.readouterr().err  # said once: the next checkpoint knows the new files


def test_R16_names_sizes_and_single_files_count(tmp_path: Path) -> None:
    root = pair_set(tmp_path / "set", "train{}", SAME, SAME)
    tar = tmp_path / "one.tar"
    tar.write_bytes(bytes(100))
    data = {"use": "any", "root": [str(root), str(root)], "more": {"validation": str(tar)}, "encode": "colours"}
    before = listing(data)
    assert [*before] == [str(tar), f"{root}/trainA", f"{root}/trainB"]
    assert [count for count, _ in before.values()] == [1, 6, 6]
    assert listing(data) == before
    (root / "trainA" / "0.png").rename(root / "trainA" / "x.png")
    tar.write_bytes(bytes(101))
    (root / "trainB" / "deep" / "a" / "b").mkdir(parents=True)
    (root / "trainB" / "deep" / "a" / "b" / "c.png").touch()
    (root / "trainB" / "loop").symlink_to(root)
    changes = differences(before, listing(data))
    assert f"{tar} still has 1 files, but with other names or sizes" in changes
    assert f"{root}/trainA still has 6 files, but with other names or sizes" in changes
    assert f"{root}/trainB/deep/a had 0 files and has 1" in changes
    assert len(changes) == 3


def test_R16_data_without_files_and_folders_of_runs_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").touch()
    (tmp_path / "a.png").touch()
    assert [count for count, _ in listing({"root": str(tmp_path)}).values()] == [1]
    assert listing({"use": "digits", "size": 32, "root": "no/such/folder"}) == {}


# ---- R18: a tar archive that was cut between two members


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_R18_a_tar_cut_between_members_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    buffer, tar = io.BytesIO(), tmp_path / "train.tar"
    png = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(png, "PNG")
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(6):
            member = tarfile.TarInfo(f"cat/{number}.png")
            member.size = len(png.getvalue())
            archive.addfile(member, io.BytesIO(png.getvalue()))
    whole, size = buffer.getvalue(), 2 * 512  # a header, and a block of data
    tar.write_bytes(pack(whole))
    assert len([*archived(tar)]) == 6
    assert len(LabelledFolders(str(tmp_path), size=8)) == 6
    tar.write_bytes(pack(whole[: 6 * size + 512]))  # one block of zeros: some writers stop there
    assert len([*archived(tar)]) == 6
    for count in (3, 6):
        tar.write_bytes(pack(whole[: count * size]))
        with pytest.raises(DataError, match=f"truncated: it ends after {count} files"):
            LabelledFolders(str(tmp_path), size=8)
