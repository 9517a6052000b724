"""The faces that are drawn and those that are read from tables: attributes, purity, and what can be wrong."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from i2i_scenes.faces import ATTRIBUTES, VALIDATION, Face, Faces, person, render
from PIL import Image

from i2i.data.attributes import FacesWithAttributes, gathered
from i2i.errors import DataError
from i2i.plugins import registry

DATA = os.environ.get("I2I_DATA")
CHECKSUM = """
import hashlib
from i2i_scenes.faces import person, render
print(hashlib.sha256(b"".join(render(person(seed), 64).tobytes() for seed in range(8))).hexdigest())
"""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plain(seed: int) -> Face:
    """A face that looks straight ahead and hides nothing."""
    return person(seed)._replace(angle=0.5, glasses=0.0, beard=0.0, age=0.3, smile=0.0)


# ---- drawn ones


def test_a_seed_is_the_same_face_in_another_process() -> None:
    other = subprocess.run([sys.executable, "-c", CHECKSUM], capture_output=True, text=True, check=True)
    here = hashlib.sha256(b"".join(render(person(seed), 64).tobytes() for seed in range(8))).hexdigest()
    assert other.stdout.strip() == here


@pytest.mark.parametrize("size", [32, 64, 100, 128])
def test_samples_have_the_shape_and_the_range(size: int) -> None:
    data = Faces(size=size, samples=3, validation_samples=2)
    for sample in (data.sample(2, rng()), data.validation()[1]):
        assert sample["image"].shape == (3, size, size)
        assert sample["image"].dtype == torch.float32
        assert -1 <= sample["image"].min() < -0.5 < 0.5 < sample["image"].max() <= 1
        assert sample["attributes"].shape == (6,)
        assert sample["attributes"].dtype == torch.float32
    assert (data.channels, data.size, data.attributes) == (3, size, ATTRIBUTES)


def test_the_attributes_of_a_sample_match_its_drawing() -> None:
    data = Faces(size=32, samples=4, validation_samples=2)
    assert data.sample(3, rng())["attributes"].tolist() == pytest.approx(list(person(3)[:6]))
    assert data.validation()[1]["attributes"].tolist() == pytest.approx(list(person(VALIDATION + 1)[:6]))
    drawn = (data.sample(3, rng())["image"] + 1) * 127.5
    assert torch.equal(drawn.round().byte(), torch.from_numpy(render(person(3), 32).transpose(2, 0, 1).copy()))


def test_attributes_are_balanced_and_independent() -> None:
    people = np.array([person(seed)[:11] for seed in range(3000)])
    assert np.abs(people.mean(0) - 0.5).max() < 0.03
    correlations = np.corrcoef(people.T) - np.eye(11)
    assert np.abs(correlations).max() < 0.07  # four standard errors
    assert {tuple(row) for row in np.unique(people[:, [0, 1, 3]], axis=0)} == {
        (a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)
    }


def test_validation_faces_never_occur_in_training() -> None:
    sets = [Faces(size=32, samples=12, validation_samples=12, seed=seed) for seed in (0, 1)]
    trained = {data.sample(i, rng())["image"].numpy().tobytes() for data in sets for i in range(12)}
    held = {sample["image"].numpy().tobytes() for data in sets for sample in data.validation()}
    assert (len(trained), len(held)) == (24, 12)
    assert not trained & held


# Where an attribute may show, as top, bottom, left, right in pictures, for a face that looks straight ahead.
PLACES = {
    "smile": (0.4, 0.82, 0.25, 0.75),
    "glasses": (0.35, 0.62, 0.18, 0.82),
    "hair": (0.1, 0.95, 0.15, 0.85),
    "age": (0.05, 1.0, 0.1, 0.9),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_attribute_is_clearly_visible_and_changes_nothing_else(name: str) -> None:
    for seed in range(20):
        face = plain(seed)
        first, last = (render(face._replace(**{name: value}), 64).astype(float) for value in (0.0, 1.0))
        gap = np.abs(first - last).max(2)
        assert (gap > 40).sum() >= 50, f"face {seed}"  # pixels of 4096
        top, bottom, left, right = (round(64 * edge) for edge in PLACES.get(name, (0.05, 1.0, 0.0, 1.0)))
        gap[top:bottom, left:right] = 0
        assert gap.max() == 0, f"face {seed}"


def test_a_turned_head_faces_that_way() -> None:
    for seed in range(10):
        face = plain(seed)._replace(sex=0.0, skin=1.0, hair=0.0)
        white = []
        for angle in (0.0, 0.5, 1.0):
            picture = render(face._replace(angle=angle, background=(90, 140, 90), clothes=(90, 90, 140)), 64)
            eyes = (picture[20:44] > 170).all(2)
            white.append(np.nonzero(eyes)[1].mean())
        assert white[0] < white[1] - 2.5
        assert white[2] > white[1] + 2.5


def test_a_linear_model_on_pixels_predicts_the_attributes() -> None:
    """Least squares on 16 x 16 pixels: what is that easy to read is plain to see."""
    data = Faces(size=32, samples=500, validation_samples=150)

    def flat(samples: list[dict[str, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.stack([sample["image"] for sample in samples])
        x = torch.nn.functional.avg_pool2d(x, 2).flatten(1)
        return torch.cat([x, torch.ones(len(x), 1)], 1).double(), torch.stack([s["attributes"] for s in samples])

    x, y = flat([data.sample(i, rng()) for i in range(500)])
    weights = torch.linalg.solve(x.T @ x + 30 * torch.eye(x.shape[1]).double(), x.T @ y.double())
    seen, truth = flat(list(data.validation()))
    for place, least in ((0, 0.85), (1, 0.85), (3, 0.9)):
        right = ((seen @ weights)[:, place] > 0.5) == (truth[:, place] > 0.5)
        assert right.double().mean() > least, ATTRIBUTES[place]
    assert torch.stack([(seen @ weights)[:, 5], truth[:, 5]]).corrcoef()[0, 1] > 0.85


# ---- those of tables


def table(root: Path, split: str, rows: list[tuple[str, object, object]], head: str = "file,age,gender") -> None:
    (root / split).mkdir(parents=True, exist_ok=True)
    for number, (name, _, _) in enumerate(rows):
        Image.new("RGB", (12, 8), (40 * number, 10, 100)).save(root / split / name)
    lines = [head, *(",".join(map(str, row)) for row in rows)]
    (root / f"{split}.csv").write_text("\n".join(lines) + "\n")


def faces(root: Path) -> Path:
    table(root, "train", [("0.png", 1, 0), ("1.png", 51, 1), ("2.png", 101, 1)])
    table(root, "val", [("7.png", 26, 1), ("8.png", 116, 0)])
    return root


def packed(root: Path) -> Path:
    for split in ("train", "val"):
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            for file in sorted((root / split).iterdir(), reverse=True):
                tar.add(file, file.name)
                file.unlink()
        (root / split).rmdir()
    return root


@pytest.mark.parametrize("tarred", [False, True], ids=["folders", "tars"])
def test_images_have_the_attributes_of_their_row(tmp_path: Path, tarred: bool) -> None:
    data = FacesWithAttributes(str((packed if tarred else lambda x: x)(faces(tmp_path))), size=8, flip=False)
    assert (data.attributes, data.channels, data.size, len(data)) == (("sex", "age"), 3, 8, 3)
    known = {}
    for index in range(3):
        sample = data.sample(index, rng())
        assert sample["image"].shape == (3, 8, 8)
        known[round((sample["image"][0, 4, 4].item() + 1) * 127.5)] = sample["attributes"].tolist()
    assert known == {0: [0, 0], 40: [1, 0.5], 80: [1, 1]}  # sex, and age between 1 and 101
    held = sorted(sample["attributes"].tolist() for sample in data.validation())
    assert held == [[0, 1], [1, 0.25]]  # 116 is beyond what train has


def test_greyscale_has_one_channel_and_half_are_mirrored(tmp_path: Path) -> None:
    faces(tmp_path)
    ramp = np.arange(16, dtype=np.uint8)[None, :, None].repeat(16, 0).repeat(3, 2) * 16
    Image.fromarray(ramp).save(tmp_path / "train" / "0.png")
    data = FacesWithAttributes(str(tmp_path), size=16, channels=1)
    samples = [data.sample(0, rng(seed))["image"] for seed in range(200)]
    assert samples[0].shape == (1, 16, 16)
    assert 70 < sum(bool(x[0, 0, 0] > x[0, 0, -1]) for x in samples) < 130


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "train.csv").unlink(), "train.csv': no such file"),
        (lambda root: (root / "train.csv").write_text("file,age\n0.png,3\n"), "no column sex, only file, age"),
        (lambda root: (root / "train.csv").write_text("name,age,sex\n0.png,3,1\n"), "no column file"),
        (lambda root: (root / "train.csv").write_text("file,age,sex\n0.png,old,1\n"), "'old'"),
        (lambda root: (root / "train.csv").write_text("file,age,sex\n0.png,3\n"), "0.png lacks a value"),
        (lambda root: (root / "train.csv").write_text("file,age,sex\n"), "no rows"),
        (lambda root: (root / "train" / "0.png").unlink(), "1 of the 3 images in train.csv are missing"),
        (lambda root: (root / "train" / "0.png").write_bytes(b"nothing"), "1 of the 3 images"),
        (lambda root: (root / "train.csv").write_text("file,age,sex\n0.png,3,1\n1.png,4,1\n"), "sex is the same"),
        (lambda root: (root / "train.csv").write_bytes(b"\xff\xfe\x00\x01"), "cannot be read as a table"),
    ],
)
def test_a_bad_table_is_reported_in_one_sentence(tmp_path: Path, spoil: object, said: str) -> None:
    spoil(faces(tmp_path))  # type: ignore[operator]
    with pytest.raises(DataError) as caught:
        FacesWithAttributes(str(tmp_path), size=8)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_few_bad_images_are_skipped_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (faces(tmp_path) / "train" / "1.png").unlink()
    data = FacesWithAttributes(str(tmp_path), size=8, bad_limit=0.5)
    assert len(data) == 2
    assert "1.png is missing" in caplog.text


def test_a_damaged_tar_is_reported_in_one_sentence(tmp_path: Path) -> None:
    file = packed(faces(tmp_path)) / "train.tar"
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(DataError, match=r"train\.tar"):
        FacesWithAttributes(str(tmp_path), size=8)


@pytest.mark.skipif(DATA is None, reason="I2I_DATA is not set")
def test_utkface_is_read_as_published() -> None:
    found = gathered(Path(DATA or "") / "utkface", "val", ("sex", "age"), 64, 3, 0)
    assert found.pixels.shape == (800, 3, 64, 64)
    assert found.values[:, 1].mean() == pytest.approx(32.1, abs=0.05)  # as its README says
    with tarfile.open(Path(DATA or "") / "utkface" / "val.tar") as tar:
        stream = tar.extractfile(tar.getmembers()[5])
        assert stream is not None
        first = np.asarray(Image.open(io.BytesIO(stream.read())))
    assert np.array_equal(found.pixels[5].transpose(1, 2, 0), first)


def test_both_are_in_the_catalog() -> None:
    assert {"faces", "faces_with_attributes"} <= set(registry().catalog.names("data"))
