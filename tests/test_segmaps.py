"""Label maps from folders and the embedded landscapes: contents of samples, and every kind of bad file."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_scenes import landscapes
from i2i_scenes.landscapes import NAMES, VALIDATION, Landscapes, labels, render, scene, style
from PIL import Image

from i2i.data.segmaps import Classes, LabelMaps, coloured, palette
from i2i.data.transforms import Augment, fit
from i2i.errors import ConfigError, DataError

COLOURS = [[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 0]]


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def blocks(height: int = 48, width: int = 64) -> np.ndarray:
    """Classes 0 to 2 in columns of 8 pixels, and 3, the ignored index, in the first rows."""
    label = np.tile((np.arange(width) // 8 % 3).astype(np.uint8), (height, 1))
    label[:8] = 3
    return label


def photo_of(label: np.ndarray) -> np.ndarray:
    """A photograph that encodes the class of each pixel as its brightness."""
    return np.repeat((label * 60 + 20)[..., None], 3, 2).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, count in (("train", 4), ("val", 2)):
        for number in range(count):
            label = np.roll(blocks(), 5 * number, 1)
            write(tmp_path / part / "labels" / f"{number}.png", label)
            write(tmp_path / part / "images" / f"{number}.png", photo_of(label))
    legend = [{"index": n, "name": f"class {n}", "colour": colour} for n, colour in enumerate(COLOURS)]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": legend, "ignore_index": 3}))
    return tmp_path


def maps(root: Path, **options: Any) -> LabelMaps:
    return LabelMaps(str(root), **{"size": (24, 32), "workers": 0, **options})


# ------------------------------------------------------------------------------------------------ samples


def test_a_sample_is_a_label_map_of_indices_and_a_photograph(root: Path) -> None:
    data = maps(root)
    assert (len(data), data.classes) == (4, Classes(3, ignore=3))
    sample = data.sample(1, chance())
    assert sample["A"].dtype == torch.int64
    assert sample["A"].shape == (1, 24, 32)
    assert sample["B"].dtype == torch.float32
    assert sample["B"].shape == (3, 24, 32)
    assert set(sample["A"].unique().tolist()) <= {0, 1, 2, 3}
    assert "instance" not in sample


def test_label_map_and_photograph_stay_aligned_through_crop_flip_and_transpose(root: Path) -> None:
    # Without resizing, the photograph encodes the class of each pixel exactly.
    data = maps(
        root, size=(40, 48), load_size=(48, 64), augment={"HorizontalFlip": {"p": 0.5}, "Transpose": {"p": 1}}
    )
    seen = set()
    for seed in range(12):
        sample = data.sample(seed % 4, chance(seed))
        classes = ((sample["B"][:1] + 1) * 127.5 - 20) / 60
        assert torch.equal(classes.round().long(), sample["A"])
        assert sample["A"].shape == (1, 48, 40)
        seen.add(sample["A"].numpy().tobytes())
    assert len(seen) > 8


def test_colour_augmentations_change_only_the_photograph(root: Path) -> None:
    plain, jittered = maps(root), maps(root, augment={"ColorJitter": {"brightness": [0.3, 0.4], "p": 1.0}})
    one, other = plain.sample(0, chance(3)), jittered.sample(0, chance(3))
    assert one["A"].unique().tolist() == other["A"].unique().tolist()
    assert other["B"].mean() < one["B"].mean() - 0.1


def test_a_sample_depends_only_on_index_and_generator(root: Path) -> None:
    first, second = maps(root), maps(root)
    for index in (3, 0, 2):
        second.sample(index, chance(9))
    one, other = first.sample(2, chance(5)), second.sample(2, chance(5))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_labels_are_resized_by_nearest_neighbour_and_never_blended() -> None:
    label = (np.indices((31, 45)).sum(0) % 2 * 200).astype(np.uint8)
    out = Augment((17, 23), (20, 29))(chance(), {"label": label})["label"]
    assert out.shape == (17, 23)
    assert set(out.unique().tolist()) == {0, 200}
    assert set(np.unique(fit(label, (17, 23)))) == {0, 200}


def test_sizes_may_be_rectangular_and_crops_move_along_both_axes() -> None:
    places = np.indices((40, 60)).transpose(1, 2, 0)
    tall, wide = (places[..., n].astype(np.uint8) for n in (0, 1))
    augment = Augment((24, 32), (40, 60), flip=False)
    corners = set()
    for seed in range(40):
        out = augment(chance(seed), {"tall": tall, "wide": wide})
        assert out["tall"].shape == (24, 32)
        corners.add((int(out["tall"][0, 0]), int(out["wide"][0, 0])))
    assert max(top for top, _ in corners) > 12
    assert max(left for _, left in corners) > 20
    with pytest.raises(ConfigError, match=r"load_size \(40, 30\) is smaller than size \(24, 32\)"):
        Augment((24, 32), (40, 30))


def test_validation_is_uncropped_evenly_spaced_and_deterministic(root: Path) -> None:
    data = maps(root, validation_samples=1)
    assert len(data.validation()) == 1
    (sample,) = maps(root, validation_samples=1).validation()[:]
    assert torch.equal(sample["A"], data.validation()[0]["A"])
    assert len(maps(root).validation()) == 2
    # 48x64 has the aspect ratio of 24x32, so nothing is cropped: the first rows are the ignored index.
    assert (sample["A"][0, :4] == 3).all()


def test_colours_and_indices_encode_the_same_samples(root: Path) -> None:
    indices, colours = maps(root).sample(1, chance(2)), maps(root, encode="colours").sample(1, chance(2))
    assert torch.equal(indices["B"], colours["B"])
    wanted = coloured(indices["A"][None], torch.tensor(COLOURS, dtype=torch.uint8))[0]
    assert torch.equal(colours["A"], wanted)
    assert colours["A"].dtype == torch.float32


def test_colour_coded_and_indexed_files_are_read_as_the_same_classes(root: Path) -> None:
    before = [maps(root).sample(n, chance(n))["A"] for n in range(4)]
    for path in root.glob("*/labels/*.png"):
        label = np.asarray(Image.open(path))
        write(path, np.array(COLOURS, np.uint8)[label])
    after = [maps(root, coded="colours").sample(n, chance(n))["A"] for n in range(4)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    for path in root.glob("*/labels/*.png"):  # with a palette of other colours: only the indices matter
        label = np.array(Image.open(path).convert("RGB"))
        image = Image.fromarray((label[..., None, :] == np.array(COLOURS)).all(-1).argmax(-1).astype(np.uint8), "P")
        image.putpalette([7, 7, 7, 9, 9, 9, 1, 1, 1, 5, 5, 5])
        image.save(path)
    again = [maps(root).sample(n, chance(n))["A"] for n in range(4)]
    assert all(torch.equal(one, other) for one, other in zip(before, again, strict=True))


def test_instance_maps_are_returned_whatever_their_ids(root: Path) -> None:
    for path in list(root.glob("*/labels/*.png")):
        label = np.asarray(Image.open(path))
        write(
            path.parent.parent / "instances" / path.name, (label.astype(np.int32) * 1000 + 26_000).astype(np.uint16)
        )
    sample = maps(root).sample(0, chance(1))
    assert sample["instance"].dtype == torch.int64
    assert torch.equal(sample["instance"].unique(return_inverse=True)[1], sample["A"].unique(return_inverse=True)[1])


def test_the_data_set_can_be_pickled(root: Path) -> None:
    data = maps(root)
    data.sample(0, chance())
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy.sample(1, chance(1))["B"], data.sample(1, chance(1))["B"])


# ------------------------------------------------------------------------------------------------ classes


def test_classes_take_the_lowest_indices_and_the_ignored_one_comes_last() -> None:
    assert Classes(11, 11).table().tolist() == [*range(12)]
    assert Classes(3, 0).table().tolist() == [3, 0, 1, 2]
    assert Classes(2, 5).table().tolist() == [0, 1, -1, -1, -1, 2]
    assert Classes(3, 0).complaint([0, 3]) == ""
    assert Classes(3, 0).complaint([0, 4]).startswith("contains class 4, but there are 3 classes (1 to 3), and 0 is")


def test_every_class_has_its_own_colour() -> None:
    colours = palette(Classes(40, ignore=255))
    assert colours.shape == (41, 3)
    assert len({tuple(colour) for colour in colours.tolist()}) == 41
    assert colours[-1].tolist() == [0, 0, 0]


def test_an_unknown_class_stops_the_run_with_file_class_and_range(root: Path) -> None:
    # Fault case B14: at the start if the class is common, otherwise when the file is read.
    path = root / "train" / "labels" / "2.png"
    label = np.array(Image.open(path))
    label[5, 7] = 200
    write(path, label)
    with pytest.raises(DataError) as error:
        maps(root)
    assert str(error.value) == (
        f"'{path}': contains class 200, but there are 3 classes (0 to 2), and 3 is ignored: correct `classes` and "
        f"`ignore`, or fix the label map"
    )


def test_an_unknown_class_is_also_found_during_training(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.data.segmaps.LOOKS", 1)
    write(root / "train" / "labels" / "2.png", np.full((48, 64), 4, np.uint8))
    write(root / "val" / "labels" / "1.png", np.full((48, 64), 5, np.uint8))
    data = maps(root)
    data.sample(1, chance())
    with pytest.raises(DataError, match=r"2\.png': contains class 4"):
        data.sample(2, chance())
    with pytest.raises(DataError, match=r"1\.png': contains class 5"):
        len(data.validation())


def test_classes_in_the_config_override_the_file(root: Path) -> None:
    assert maps(root, classes=4).classes == Classes(4, 3)
    with pytest.raises(DataError, match=r"contains class 2, but there are 2 classes \(0 to 1\), and 3 is"):
        maps(root, classes=2)
    (root / "classes.json").unlink()
    assert maps(root, classes=4).classes == Classes(4)
    with pytest.raises(ConfigError, match="the number of classes is unknown"):
        maps(root)
    with pytest.raises(ConfigError, match="coded: colours needs a colour for every class"):
        maps(root, classes=4, coded="colours")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"classes": 3}', '{"classes": [{"index": 7, "colour": [1, 2, 3]}]}', '{"classes": [{}]}']
)
def test_a_damaged_legend_is_an_error_that_states_the_format(root: Path, text: str) -> None:
    (root / "classes.json").write_text(text)
    with pytest.raises(DataError, match=r"classes\.json': .*it should be"):
        maps(root)


def test_an_unknown_colour_is_named_with_its_position(root: Path) -> None:
    for path in root.glob("*/labels/*.png"):
        colours = np.array(COLOURS, np.uint8)[np.asarray(Image.open(path))]
        colours[3, 9] = [200, 1, 0]
        write(path, colours)
    with pytest.raises(DataError, match=r"no class in classes\.json has the colour \(200, 1, 0\) at x 9, y 3"):
        maps(root, coded="colours", on_bad="fail")


# ------------------------------------------------------------------------------------------------ bad files


def test_an_unreadable_pair_is_replaced_as_a_whole(root: Path) -> None:
    (root / "train" / "images" / "1.png").write_bytes(b"not an image")
    (root / "train" / "labels" / "2.png").write_bytes(b"")
    data = maps(root, bad_limit=0.5)
    wanted = data.sample(3, chance(4))
    for index in (1, 2):
        sample = data.sample(index, chance(4))
        assert all(torch.equal(sample[name], wanted[name]) for name in wanted)
    assert data.note() == "2 of 4 pairs could not be read and were skipped"
    strict = maps(root, bad_limit=0.3)
    with pytest.raises(DataError, match=r"more than the allowed fraction of 0\.3"):
        strict.sample(1, chance())
    with pytest.raises(DataError, match=r"2 of 6 pairs cannot be read and on_bad is 'fail'.*1\.png.*2\.png"):
        maps(root, on_bad="fail")


def test_a_bad_pair_is_skipped_in_validation(root: Path) -> None:
    (root / "val" / "images" / "0.png").write_bytes(b"not an image")
    assert len(maps(root).validation()) == 1


def test_files_without_a_counterpart_are_named(root: Path) -> None:
    (root / "train" / "labels" / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 file of train/images without a counterpart in train/labels: '.*3\.png'"):
        maps(root)
    (root / "train" / "images" / "3.png").unlink()
    (root / "val" / "images" / "0.png").unlink()
    with pytest.raises(DataError, match=r"1 file of val/labels without a counterpart in val/images: '.*0\.png'"):
        maps(root)


def test_differing_sizes_are_named(root: Path) -> None:
    write(root / "train" / "labels" / "0.png", blocks(40, 64))
    with pytest.raises(DataError, match=r"0\.png' is 64x40 pixels but its photograph '.*0\.png' is 64x48"):
        maps(root)


def test_missing_and_empty_folders_are_reported(root: Path, tmp_path: Path) -> None:
    for path in (root / "val").rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="val/images': no images found"):
        maps(root)
    for folder in ("val/images", "val/labels", "val"):
        (root / folder).rmdir()
    assert len(maps(root).validation()) == 0
    with pytest.raises(DataError, match="nowhere/train/images': no such folder; label_maps needs"):
        maps(tmp_path / "nowhere", classes=3)


@pytest.mark.skipif("I2I_DATA" not in os.environ, reason="needs the data in $I2I_DATA")
def test_camvid_is_read() -> None:
    data = LabelMaps(f"{os.environ['I2I_DATA']}/camvid", size=(96, 128), validation_samples=101)
    assert (len(data), len(data.validation()), data.classes) == (367, 101, Classes(11, 11))
    counts = torch.stack([torch.bincount(data.validation()[n]["A"].flatten(), minlength=12) for n in range(101)]).sum(
        0
    )
    assert counts.min() > 0
    assert counts.argmax().item() in (1, 3)  # buildings or road


# ------------------------------------------------------------------------------------------------ landscapes


def test_a_scene_and_a_style_are_functions_of_their_seeds() -> None:
    assert scene(7) == scene(7) != scene(8)
    assert style(7) == style(7) != style(8)
    assert np.array_equal(render(scene(7), style(8), 32), render(scene(7), style(8), 32))


def test_a_style_changes_the_photograph_and_not_the_label_map() -> None:
    # All styles of a scene share their outlines; at night it is darker, in winter the grass is white.
    drawn = scene(3)
    noon, night, winter = (landscapes.Style(hour, season, 0.3) for hour, season in ((0, 1), (1, 1), (0, 3)))
    by_day, by_night, in_winter = (render(drawn, look, 64).astype(float) for look in (noon, night, winter))
    grass = labels(drawn, 64) == NAMES.index("grass")
    assert by_night.mean() < 0.45 * by_day.mean()
    assert by_day[grass][:, 2].mean() < 0.6 * by_day[grass][:, 1].mean()
    assert in_winter[grass][:, 2].mean() > 0.9 * in_winter[grass][:, 1].mean()


def test_scenes_cover_every_class_and_styles_every_hour() -> None:
    found = [labels(scene(seed), 48) for seed in range(40)]
    shares = np.stack([np.bincount(label.ravel(), minlength=len(NAMES)) / label.size for label in found])
    assert ((shares > 0.002).mean(0) > 0.3).all()
    assert (shares.max(0) < 0.95).all()
    hours = [style(seed).hour for seed in range(40)]
    assert min(hours) < 0.1
    assert max(hours) > 0.9


@pytest.mark.parametrize("size", [32, 64, 90])
def test_a_scene_looks_the_same_at_every_size(size: int) -> None:
    for seed in range(3):
        drawn, look = scene(seed), style(seed)
        small = Image.fromarray(render(drawn, look, 2 * size)).resize((size, size), Image.Resampling.BOX)
        assert np.abs(np.asarray(small).astype(float) - render(drawn, look, size)).mean() < 6
        assert (labels(drawn, 2 * size)[::2, ::2] != labels(drawn, size)).mean() < 0.05


def test_landscapes_return_samples_in_the_paired_convention() -> None:
    data = Landscapes(size=32, samples=4, validation_samples=2)
    sample = data.sample(1, chance(1))
    assert sample["A"].dtype == torch.int64
    assert sample["A"].shape == (1, 32, 32)
    assert sample["B"].shape == (3, 32, 32)
    assert sample["B"].abs().max() <= 1
    flipped = [data.sample(1, chance(seed))["A"] for seed in range(6)]
    assert any(torch.equal(one.flip(2), sample["A"]) for one in flipped)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy.sample(1, chance(1))["B"], sample["B"])


def test_the_target_of_a_validation_sample_has_the_style_of_its_style_image() -> None:
    samples = Landscapes(size=32, validation_samples=3).validation()
    assert len([*samples]) == 3
    sample = samples[2]
    given, other = scene(VALIDATION + 2), scene(VALIDATION)  # the next one, wrapping around
    look = style(other.seed)
    for name, wanted in (("B", render(given, look, 32)), ("style", render(other, look, 32))):
        assert np.array_equal(((sample[name] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy(), wanted)
    assert torch.equal(sample["A"][0], torch.from_numpy(labels(given, 32).astype(np.int64)))
    with pytest.raises(IndexError):
        samples[3]
