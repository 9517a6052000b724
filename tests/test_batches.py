"""`BatchTranslator` in one process, and on a local Ray cluster of which a worker is killed."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import i2i
from i2i import BatchTranslator, ConfigError, DataError

MODEL = "upscale-x2"


def pictures(*heights: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, 9, 3), np.uint8) for height in heights]


def test_a_batch_equals_its_rows_one_by_one_and_keeps_other_columns() -> None:
    translator, model = BatchTranslator(MODEL, to="large"), i2i.load(MODEL)
    given = pictures(8, 8, 8)
    batch = translator({"image": np.stack(given), "path": ["a", "b", "c"]})
    assert batch["path"] == ["a", "b", "c"]
    assert batch["image"].shape == (3, 8, 9, 3)
    assert batch["large"].dtype == np.uint8
    assert np.array_equal(batch["large"], np.stack([model(one) for one in given]))


def test_rows_of_different_sizes_are_objects() -> None:
    rows = np.empty(2, dtype=object)
    rows[:] = pictures(8, 11)
    made = BatchTranslator(MODEL)({"image": rows})["image"]
    assert made.dtype == object
    assert [one.shape for one in made] == [(16, 18, 3), (22, 18, 3)]


def test_only_the_name_of_the_model_is_pickled(tmp_path: Path) -> None:
    translator = BatchTranslator(f"{MODEL} | {MODEL}", tile=32)
    batch = {"image": np.stack(pictures(8))}
    made = translator(batch)["image"]
    sent = pickle.dumps(translator)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent)(batch)["image"], made)


def test_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    i2i.load(MODEL).write("own.safetensors")
    translator = BatchTranslator("own.safetensors")
    monkeypatch.chdir("/")
    assert translator({"image": np.stack(pictures(8))})["image"].shape == (1, 16, 18, 3)


def test_mistakes_are_errors_that_name_the_column_or_the_row() -> None:
    with pytest.raises(ConfigError, match="there is no column 'image' in the batch, only png: set column="):
        BatchTranslator(MODEL)({"png": []})
    rows = [*pictures(8), np.full((8, 8, 3), np.nan, np.float32)]
    with pytest.raises(DataError, match="row 1 of the batch: "):
        BatchTranslator(MODEL)({"image": rows})
    with pytest.raises(ConfigError, match="digits does not translate, it makes samples"):
        BatchTranslator("digits")
    with pytest.raises(i2i.WeightsError, match=r"^nowhere"):
        BatchTranslator("nowhere.safetensors")


@pytest.mark.timeout(600)
def test_ray_gives_the_results_of_one_process_although_a_worker_is_killed(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    import ray.data  # noqa: F811

    killed = tmp_path / "killed"

    class Fragile(BatchTranslator):
        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            if batch["path"][0].endswith("5.png") and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    (tmp_path / "in").mkdir()
    for number, picture in enumerate(pictures(8, 9, 10, 11, 12, 13, 14, 15)):
        Image.fromarray(picture).save(tmp_path / "in" / f"{number}.png")
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=2 * 10**8)
    try:
        read = ray.data.read_images(str(tmp_path / "in"), include_paths=True)
        rows = read.map_batches(Fragile(MODEL), batch_size=1).take_all()
        named = read.map(lambda row: {"__key__": Path(row["path"]).stem, "png": row["image"]})
        named.write_webdataset(str(tmp_path / "shards"))
        shards = ray.data.read_webdataset(str(tmp_path / "shards"))
        shards = shards.map_batches(BatchTranslator(MODEL, column="png"), batch_size=1)
        again = shards.take_all()
    finally:
        ray.shutdown()
    assert killed.exists()
    model = i2i.load(MODEL)
    expected = {path.name: np.asarray(model(Image.open(path))) for path in (tmp_path / "in").iterdir()}
    assert len(rows) == 8
    for row in rows:
        assert np.array_equal(row["image"], expected[Path(row["path"]).name])
    assert {row["__key__"] for row in again} == {str(number) for number in range(8)}
    for row in again:
        assert np.array_equal(row["png"], expected[f"{row['__key__']}.png"])
