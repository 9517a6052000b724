"""Reliefs: the scenes and their truth, the task, its metric, and the meshes as a reader of the formats sees them."""

from __future__ import annotations

import hashlib
import math
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import i2i_relief
import numpy as np
import pytest
import torch
from command import i2i_command
from i2i_relief import data as relief
from i2i_relief import mesh
from i2i_relief.data import VALIDATION, Reliefs, normals_of, render
from i2i_relief.task import Relief, ReliefError, departure
from PIL import Image
from torch import nn

import i2i
from i2i.errors import ConfigError, DataError
from i2i.networks import ResnetGenerator
from i2i.testing import check_task

Array = np.ndarray
CHECKSUM = """
import hashlib
from i2i_relief.data import render
parts = [part for seed in range(8) for look in ("shaded", "lines") for part in render(seed, 64, look)]
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


def small() -> Relief:
    torch.manual_seed(0)
    return Relief(partial(ResnetGenerator, width=4, blocks=1))


def sphere(size: int, radius: float = 0.8) -> tuple[Array, Array, Array]:
    """Return normals [H, W, 3], height [H, W] of a half sphere on a plate, by its formula, and where it is."""
    steps = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = np.meshgrid(steps, -steps)
    inside = x**2 + y**2 < radius**2
    height = np.sqrt(np.maximum(radius**2 - x**2 - y**2, 0))
    normals = np.where(inside[..., None], np.stack([x, y, height], -1) / radius, [0.0, 0.0, 1.0])
    return normals.astype(np.float32), height.astype(np.float32), inside


def degrees(a: Array, b: Array) -> Array:
    """Return the angles between unit vectors along the last axis."""
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


# ------------------------------------------------------------------------------------------------ the scenes


def test_a_seed_is_the_same_scene_in_another_process() -> None:
    other = subprocess.run([sys.executable, "-c", CHECKSUM], capture_output=True, text=True, check=True)
    looks: Any = ("shaded", "lines")
    parts = [part for seed in range(8) for look in looks for part in render(seed, 64, look)]
    assert other.stdout.strip() == hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize("size", [64, 65, 100, 128, 256])
def test_every_size_keeps_ranges_and_unit_normals(size: int) -> None:
    for seed, look in ((1, "shaded"), (2, "lines"), (5, "shaded")):
        picture, normals, depth = render(seed, size, look)  # type: ignore[arg-type]
        assert (picture.shape, picture.dtype) == ((size, size, 3), np.uint8)
        assert (normals.shape, normals.dtype) == ((3, size, size), np.float32)
        assert (depth.shape, depth.dtype) == ((1, size, size), np.float32)
        assert np.allclose((normals**2).sum(0), 1, atol=1e-5)
        assert (normals[2] > 0).all()


def test_depth_is_within_bounds_about_a_mean_of_zero_for_many_scenes() -> None:
    for seed in range(60):
        _, _, depth = render(seed, 32, "lines")
        assert np.abs(depth).max() <= 1
        assert abs(depth.mean()) < 1e-4


def test_a_scene_is_the_same_at_every_size() -> None:
    for seed in range(12):
        _, normals, depth = render(seed, 64, "lines")
        _, fine_normals, fine_depth = render(seed, 256, "lines")
        assert np.abs(fine_depth.reshape(64, 4, 64, 4).mean((1, 3)) - depth[0]).mean() < 0.01
        coarse = fine_normals.reshape(3, 64, 4, 64, 4).mean((2, 4))
        apart = degrees((coarse / np.linalg.norm(coarse, axis=0)).transpose(1, 2, 0), normals.transpose(1, 2, 0))
        assert np.median(apart) < 1


def test_the_normals_of_a_sphere_are_those_of_its_formula() -> None:
    normals, height, inside = sphere(128)
    found = normals_of(height).transpose(1, 2, 0)
    assert degrees(found, normals)[inside & (height > 0.3)].max() < 1
    assert degrees(found, normals)[~inside].mean() < 1  # the plate is flat up to the sphere's upright edge


def test_a_wall_does_not_affect_the_normals_on_either_side() -> None:
    height = np.zeros((32, 32), np.float32)
    height[8:20, 8:20] = 0.5
    assert (normals_of(height) == np.array([0, 0, 1], np.float32)[:, None, None]).all()


def test_light_comes_from_the_upper_left() -> None:
    normals, height, inside = sphere(64)
    scene = relief.Relief(height, np.zeros((64, 64), int))
    for seed in range(5):
        shaded = relief.shade(np.random.default_rng(seed), scene, normals.transpose(2, 0, 1)).mean(0)
        bright, dark = inside & (normals[..., 0] < -0.4) & (normals[..., 1] > 0.4), inside & (normals[..., 1] < -0.6)
        assert shaded[bright].mean() > 1.3 * shaded[dark].mean()


def test_a_drawing_inks_contours_and_creases_and_leaves_slopes_white() -> None:
    steps = (np.arange(128) + 0.5) / 64 - 1
    x, y = np.meshgrid(steps, -steps)
    pyramid = np.maximum(0.7 - np.maximum(np.abs(x), np.abs(y)), 0).astype(np.float32)
    block = 0.4 * ((np.abs(x) < 0.5) & (np.abs(y) < 0.5)).astype(np.float32)
    folds, face = (np.abs(np.abs(x) - np.abs(y)) < 0.01) & (pyramid > 0.05), (np.abs(x) < 0.2) & (y > 0.4) & (y < 0.5)
    edge, top = (np.abs(x - 0.49) < 0.01) & (np.abs(y) < 0.4), np.maximum(np.abs(x), np.abs(y)) < 0.4
    for height, lines, white in ((pyramid, folds, face), (block, edge, top)):
        scene = relief.Relief(height, np.zeros((128, 128), int))
        drawn = relief.draw(np.random.default_rng(0), scene, normals_of(height)).mean(0)
        paper = drawn[0, 0]
        assert paper > 0.8
        assert drawn[lines].mean() < 0.6 * paper
        assert np.allclose(drawn[white], paper)


def test_training_scenes_never_repeat_or_overlap_validation() -> None:
    data = Reliefs(size=16, validation_samples=4)
    rng = np.random.default_rng(0)
    seen = [data.sample(index, rng)["depth"].numpy().tobytes() for index in (0, 0, 0, 1)]
    held_out = [data.validation()[index]["depth"].numpy().tobytes() for index in range(4)]
    assert len({*seen, *held_out}) == 8
    again = data.sample(0, np.random.default_rng(0))
    assert again["depth"].numpy().tobytes() == seen[0]
    assert max(np.random.default_rng(1).integers(VALIDATION, size=1000)) < VALIDATION


@pytest.mark.parametrize(("chosen", "found"), [("shaded", {False}), ("lines", {True}), ("both", {False, True})])
def test_the_option_input_selects_the_kind_of_image(chosen: Any, found: set[bool]) -> None:
    data = Reliefs(size=16, input=chosen, validation_samples=4)
    rng = np.random.default_rng(0)
    assert {data.sample(0, rng)["lines"] for _ in range(20)} == found
    assert {data.validation()[index]["lines"] for index in range(4)} == found


# ------------------------------------------------------------------------------------------------ the task


def test_it_keeps_the_contract() -> None:
    data = Reliefs(size=32, batch_size=2)
    rng = np.random.default_rng(0)
    batch = torch.utils.data.default_collate([data.sample(0, rng) for _ in range(2)])
    check_task(small(), batch)


def test_normals_are_unit_vectors_that_face_the_viewer() -> None:
    task, image = small().eval(), torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        for p in task.G.head.parameters():
            p.mul_(200)  # loud enough that tanh reaches its ends
        normals = task.translate(image)
        depth = task.translate(image, what="depth")
    assert (normals.shape, depth.shape) == ((2, 3, 32, 32), (2, 1, 32, 32))
    assert torch.allclose(normals.norm(dim=1), torch.ones(2, 32, 32), atol=1e-5)
    assert normals[:, 2].min() > 0
    assert normals[:, :2].abs().max() > 0.9
    with pytest.raises(ConfigError, match="unknown what 'colour': use normals or depth"):
        task.translate(image, what="colour")  # type: ignore[arg-type]


def test_depth_that_matches_the_normals_stays_on_the_tangent_planes() -> None:
    p, q = 0.7, -0.4
    steps = (torch.arange(32) + 0.5) / 16 - 1
    depth = (p * steps[None, :] - q * steps[:, None])[None, None]
    normal = torch.tensor([-p, -q, 1.0]) / math.sqrt(1 + p * p + q * q)
    normals = normal[None, :, None, None].expand(1, 3, 32, 32)
    assert departure(normals, depth).abs().max() < 1e-5
    assert departure(normals, -depth).abs().mean() > 0.5
    other = (normals * torch.tensor([1.0, -1.0, 1.0])[:, None, None]).contiguous()
    right, up = departure(other, depth).abs().mean((0, 2, 3))
    assert right < 1e-5
    assert up > 0.5


def test_the_true_surface_leaves_its_tangent_planes_only_at_walls() -> None:
    normals, height, _ = sphere(64)
    off = departure(torch.from_numpy(normals).permute(2, 0, 1)[None], torch.from_numpy(height)[None, None])
    near_the_middle = torch.from_numpy(height[1:, :-1] > 0.45)
    assert off[0, :, near_the_middle].abs().max() < 0.06
    assert off[0, :, ~near_the_middle].abs().max() > 1


# ------------------------------------------------------------------------------------------------ the metric


class Knows(nn.Module):
    """A generator with a fixed output."""

    def __init__(self, out_channels: int, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer


class One(Reliefs):
    """A data set of one validation sample."""

    def __init__(self, sample: dict[str, Any]) -> None:
        super().__init__()
        self.one = sample

    def validation(self) -> Any:
        return [self.one]


def judged(normals: torch.Tensor, depth: torch.Tensor, sample: dict[str, Any]) -> dict[str, float]:
    raw = torch.cat([normals / 2, normals[2:] / 2 - 1.01, depth])[[0, 1, 3, 4]]  # what Relief.surface reads so
    return ReliefError()(Relief(partial(Knows, answer=raw[None])), One(sample))


def test_the_metric_returns_known_angles_and_the_depth_fit() -> None:
    flat = torch.tensor([0.0, 0, 1])[:, None, None].expand(3, 8, 8).clone()
    turn = math.radians(30)
    tilted = torch.tensor([math.sin(turn), 0, math.cos(turn)])[:, None, None].expand(3, 8, 8).clone()
    depth = torch.linspace(-0.5, 0.5, 64).reshape(1, 8, 8)
    sample = {"A": torch.zeros(3, 8, 8), "B": tilted, "depth": depth, "lines": True}
    exact = judged(tilted, 0.3 * depth + 0.2, sample)
    assert exact["angle"] == pytest.approx(0, abs=1e-3)
    assert exact["flat"] == pytest.approx(30, abs=1e-3)
    assert exact["depth"] == pytest.approx(0, abs=1e-6)  # scale and shift are given to it
    assert {key for key in exact if key.startswith("lines/")} == {f"lines/{key}" for key in exact if "/" not in key}
    assert judged(tilted, -depth, sample)["depth_of_flat"] == pytest.approx(1)  # hollows for bumps are no fit
    none = judged(flat, torch.zeros(1, 8, 8), sample)
    assert (none["angle"], none["angle_of_flat"]) == (pytest.approx(30, abs=1e-3), pytest.approx(1, abs=1e-4))
    assert none["depth_of_flat"] == pytest.approx(1)
    assert none["depth"] == pytest.approx(depth.std(correction=0).item(), rel=1e-4)
    half = tilted.clone()
    half[:, :3] = flat[:, :3]  # 3 of 8 rows are 30 degrees off
    some = judged(half, depth, sample)
    assert (some["angle"], some["angle_median"]) == (pytest.approx(30 * 3 / 8, abs=1e-3), pytest.approx(0, abs=1e-3))


def test_the_metric_separates_input_kinds_and_rejects_data_without_truth() -> None:
    scores = ReliefError()(small(), Reliefs(size=16, validation_samples=2))
    for name in ("angle", "flat", "depth_of_flat"):
        assert {name, f"shaded/{name}", f"lines/{name}"} <= scores.keys()
    assert scores["angle"] == pytest.approx((scores["shaded/angle"] + scores["lines/angle"]) / 2)
    with pytest.raises(ConfigError, match="samples of A, B"):
        ReliefError()(small(), One({"A": torch.zeros(3, 8, 8)}))
    with pytest.raises(ConfigError, match="this is Task on Reliefs"):
        ReliefError()(i2i.Task(), Reliefs(size=16, validation_samples=2))


# ------------------------------------------------------------------------------------------------ the meshes


def read_ply(data: bytes) -> tuple[Array, Array]:
    """Read a binary little-endian PLY by what its header says: vertices as a record array, triangles [F, 3]."""
    head, body = data.split(b"end_header\n", 1)
    lines = head.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    kinds = {"float": "<f4", "uchar": "u1", "int": "<i4"}
    counts = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("element")}
    assert list(counts) == ["vertex", "face"]
    fields = [(name, kinds[kind]) for kind, name in re.findall(r"^property (\w+) (\w+)$", "\n".join(lines), re.M)]
    vertices = np.frombuffer(body, fields, counts["vertex"])
    assert "property list uchar int vertex_indices" in lines
    faces = np.frombuffer(body, [("n", "u1"), ("at", "<i4", 3)], counts["face"], vertices.nbytes)
    assert (faces["n"] == 3).all()
    assert len(body) == vertices.nbytes + faces.nbytes
    return vertices, faces["at"]


def read_obj(text: str) -> tuple[Array, Array, Array]:
    """Read an OBJ: vertices with colours [V, 6], normals [V, 3], triangles [F, 3] from 0."""
    rows: dict[str, list[list[str]]] = {"v": [], "vn": [], "f": []}
    for kind, *values in map(str.split, text.splitlines()):
        rows[kind].append(values)
    corners = np.array([[corner.split("//") for corner in face] for face in rows["f"]], int) - 1
    assert (corners[..., 0] == corners[..., 1]).all()  # each vertex goes with the normal of its own number
    return np.array(rows["v"], float), np.array(rows["vn"], float), corners[..., 0]


def front(points: Array, faces: Array) -> Array:
    """Return the unit normals of triangles, by the right-hand rule."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    return across / np.linalg.norm(across, axis=1, keepdims=True)


def test_ply_and_obj_contain_the_same_mesh_with_colours_and_normals() -> None:
    rng = np.random.default_rng(0)
    normals, height, _ = sphere(12)
    normals, height = normals[:, :7], height[:, :7]
    colours = rng.integers(0, 256, (12, 7, 3), dtype=np.uint8)
    made = mesh.from_surface(normals, height, colours)
    vertices, faces = read_ply(mesh.ply(made))
    assert (len(vertices), len(faces)) == (12 * 7, 2 * 11 * 6)
    points = np.stack([vertices[name] for name in "xyz"], -1)
    assert np.array_equal(np.stack([vertices[c] for c in ("red", "green", "blue")], -1), colours.reshape(-1, 3))
    assert np.array_equal(np.stack([vertices[n] for n in ("nx", "ny", "nz")], -1), normals.reshape(-1, 3))
    assert np.array_equal(points[:, 2], height.reshape(-1))
    grid = points.reshape(12, 7, 3)
    assert np.allclose(grid[0, 0, :2], [-0.5, 11 / 12])  # upper left; the longer side is 2
    assert np.allclose(grid[-1, -1, :2], [0.5, -11 / 12])

    coloured, read_normals, triangles = read_obj(mesh.obj(made).decode())
    assert np.allclose(coloured[:, :3], points, atol=1e-5)
    assert np.array_equal(np.round(coloured[:, 3:] * 255), colours.reshape(-1, 3))
    assert np.allclose(read_normals, normals.reshape(-1, 3), atol=1e-4)
    assert np.array_equal(triangles, faces)


def test_triangles_cover_the_image_once_and_face_the_viewer() -> None:
    depth = np.random.default_rng(0).normal(0, 0.3, (9, 13)).astype(np.float32)
    made = mesh.from_surface(np.zeros((9, 13, 3)), depth, np.zeros((9, 13, 3), np.uint8))
    assert (front(made.vertices, made.faces)[:, 2] > 0).all()
    a, b, c = (made.vertices[made.faces[:, k], :2] for k in range(3))
    (right, up), (further, higher) = (b - a).T, (c - a).T
    areas = (right * higher - up * further) / 2
    assert areas.sum() == pytest.approx(8 * 12 * (2 / 13) ** 2, rel=1e-5)
    edges = np.sort(np.concatenate([made.faces[:, [0, 1]], made.faces[:, [1, 2]], made.faces[:, [2, 0]]]), 1)
    _, shared = np.unique(edges, axis=0, return_counts=True)
    assert set(shared) == {1, 2}
    assert (shared == 1).sum() == 2 * (8 + 12)  # the rim, and nothing is torn inside


def test_the_triangles_of_a_sphere_agree_with_its_normals() -> None:
    normals, height, _ = sphere(64)
    made = mesh.from_surface(normals, height, np.zeros((64, 64, 3), np.uint8))
    whole = (made.vertices[made.faces, 2] > 0.3).all(1)
    mean = made.normals[made.faces].mean(1)
    apart = degrees(front(made.vertices, made.faces), mean / np.linalg.norm(mean, axis=1, keepdims=True))
    assert whole.sum() > 2000
    assert apart[whole].max() < 1.5


def test_diagonals_run_along_walls() -> None:
    rows, columns = np.mgrid[:8, :8]
    for sign in (1, -1):
        depth = (columns + sign * rows > (7 if sign > 0 else 0)).astype(np.float32)
        made = mesh.from_surface(np.zeros((8, 8, 3)), depth, np.zeros((8, 8, 3), np.uint8))
        flat = np.ptp(made.vertices[made.faces, 2], axis=1) == 0
        # A square that the wall crosses has three corners on one side: they make a flat triangle of their own.
        assert flat.sum() == len(flat) - crossed(depth)


def crossed(depth: Array) -> int:
    """Return in how many triangles a wall must be: one where a corner stands alone, both where two face two."""
    corners = np.stack([depth[1:, 1:], depth[1:, :-1], depth[:-1, 1:], depth[:-1, :-1]]).sum(0)
    return int((corners % 2 == 1).sum() + 2 * (corners == 2).sum())


def test_other_mesh_formats_are_rejected() -> None:
    assert mesh.encoder("a/b.PLY") is mesh.ply
    with pytest.raises(ConfigError, match=r"b\.stl: unsupported mesh format: use \.ply or \.obj"):
        mesh.encoder("b.stl")


# ------------------------------------------------------------------------------------------------ the command

CONFIG = """
task: {use: relief, generator: {use: resnet_generator, width: 4, blocks: 1}}
data: {use: reliefs, size: 32, batch_size: 2, samples: 4, validation_samples: 2}
optimizer: {use: adam}
train: {steps: 2}
metrics: [{use: relief}]
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relief")
    (folder / "relief.yaml").write_text(CONFIG)
    return i2i.run(folder / "relief.yaml", out=folder / "run")


def test_the_command_writes_the_mesh_of_an_image_of_any_size(trained: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 90), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "grey.png")
    done = i2i_command("relief", "grey.png", "-m", trained, "-o", "a.ply", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "a.ply: 672 vertices, 1240 triangles\n"  # 21 x 32 pixels, as large as its training pictures
    vertices, faces = read_ply((tmp_path / "a.ply").read_bytes())
    assert (len(vertices), len(faces)) == (21 * 32, 2 * 20 * 31)
    assert (front(np.stack([vertices[name] for name in "xyz"], -1), faces)[:, 2] > 0).all()

    i2i_relief.relief(str(tmp_path / "grey.png"), str(tmp_path / "a.obj"), str(trained), size=90)
    assert i2i.translate(tmp_path / "grey.png", trained).mode == "RGB"  # normals are no greys
    points, normals, _ = read_obj((tmp_path / "a.obj").read_text())
    assert len(points) == 60 * 90
    assert np.array_equal(np.round(points[:, 3:] * 255), np.repeat(picture.reshape(-1, 1), 3, 1))
    model = i2i.load(trained)
    depth = model(torch.from_numpy(picture / np.float32(255)).expand(3, 60, 90), what="depth") * 2 - 1
    assert np.allclose(points[:, 2], depth[0].reshape(-1), atol=1e-4)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)


def test_an_error_of_the_command_is_one_sentence_and_writes_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"nothing\.png"):
        i2i_relief.relief("nothing.png", str(tmp_path / "a.ply"), str(trained))
    with pytest.raises(ConfigError, match=r"a\.stl: unsupported mesh format: use \.ply or \.obj"):
        i2i_relief.relief("nothing.png", str(tmp_path / "a.stl"), str(trained))
    monkeypatch.setattr(i2i, "load", lambda source: i2i.Model(i2i.Task(), {}, Path("runs/other")))
    with pytest.raises(ConfigError, match="runs/other is a Task without depth"):
        i2i_relief.relief("a.png", str(tmp_path / "a.ply"), "runs/other")
    assert not list(tmp_path.iterdir())
