"""Shards of a data set and their one table; folds, views and empty splits of the step predict."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from green_faces import write_detector, write_photos
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kfp import dsl
from PIL import Image
from prediction_models import photo_bytes, write_blinded, write_classifier

from components.predict.component import gather_predictions as gather_door
from components.predict.component import predict_shard as shard_door
from components.predict.gather import gather_predictions
from components.predict.predict import predict
from components.predict.shard import predict_shard
from components.shared.dataset.annotations import Annotations, Face, read_annotations, write_annotations
from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import Predictions, read_predictions
from serving.runtime.errors import InputError, NotFoundError

BOX = (10.0, 12.0, 40.0, 50.0)
PHOTOS = {f"{n % 2}/{n}.png": photo_bytes(n) for n in range(7)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven photos, of which some have no face, one has two and one is damaged; three folds and a detector."""
    folder = tmp_path_factory.mktemp("shards")
    boxes = [[BOX], [], [None], [BOX, None], [], [BOX], [BOX]]
    faces = {
        name: [Face(10 * number + at, box, {}) for at, box in enumerate(own, start=1)]
        for number, (name, own) in enumerate(zip(PHOTOS, boxes, strict=True))
    }
    write_photos(folder, PHOTOS | {"1/5.png": b"damaged"}, faces, {"0/0.png": "val", "0/2.png": "train"})
    for seed in (1, 2, 3):
        write_classifier(folder / f"folds/{seed}", "mask", seed)
    write_detector(folder / "detector")
    (folder / "composite").mkdir()
    (folder / "composite/composite.json").write_text(
        json.dumps({"task": "composite", "name": "door", "detectors": ["detector"], "heads": ["mask"]})
    )
    write_detector(folder / "composite/detector")
    write_classifier(folder / "composite/mask", "mask", 1)
    return folder


def in_shards(folder: Path, size: int, models: list[Path], output: Path, **options: object) -> Path:
    count = -(-len(read_annotations(folder / "a.json").images) // size)
    files = [output.with_name(f"{output.name}.{size}.{shard}") for shard in range(count)]
    for shard, file in enumerate(files):
        predict_shard(folder / "images", folder / "a.json", file, [str(model) for model in models], shard=shard,
                      images_per_shard=size, max_failed=1, **options)  # type: ignore[arg-type]  # fmt: skip
    gather_predictions(files, folder / "a.json", output)
    return output


@pytest.mark.parametrize("models", [["folds"], ["folds/1", "folds/3"], ["detector"], ["composite"]], ids=str)
def test_the_number_of_shards_changes_no_byte(models: list[str], folder: Path, tmp_path: Path) -> None:
    chosen = [folder / model for model in models]
    whole = in_shards(folder, 100, chosen, tmp_path / "whole").read_bytes()
    for size in (1, 2, 3):
        assert in_shards(folder, size, chosen, tmp_path / f"of_{size}").read_bytes() == whole


@pytest.mark.parametrize("model", ["folds", "detector"])
def test_the_table_of_shards_is_that_of_the_step_over_all_photos(model: str, folder: Path, tmp_path: Path) -> None:
    table = in_shards(folder, 3, [folder / model], tmp_path / "t")
    predict(folder / model, folder / "images", folder / "a.json", tmp_path / "p", split="all", max_failed=1)
    assert table.read_bytes() == (tmp_path / "p").read_bytes()


def test_photos_without_a_single_label_are_one_face_each(folder: Path, tmp_path: Path) -> None:
    data = read_annotations(folder / "a.json")
    bare = tuple(replace(image, faces=(), split=None) for image in data.images)
    (tmp_path / "images").symlink_to(folder / "images")
    write_annotations(Annotations(bare, data.info), tmp_path / "a.json")
    table = read_predictions(in_shards(tmp_path, 4, [folder / "folds"], tmp_path / "t"))
    assert isinstance(table, Predictions)
    assert [face.path for face in table.faces] == [path for path in PHOTOS if path != "1/5.png"]
    assert {face.box for face in table.faces} == {None}


def test_what_is_missing_from_the_shards_is_an_error(folder: Path, tmp_path: Path) -> None:
    arguments = folder / "images", folder / "a.json"
    for shard in range(3):
        predict_shard(
            *arguments, tmp_path / str(shard), [str(folder / "folds/1")], shard=shard, images_per_shard=3, max_failed=1
        )
    predict_shard(*arguments, tmp_path / "other", [str(folder / "folds/2")], shard=2, images_per_shard=3)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b'{"a": 1}\n')
    for names, message in (
        (["0", "2"], r"3 photos of the annotations are in no shard \(1/3.png, 0/4.png, 1/5.png\)"),
        (["0", "1", "1", "2"], "photo 1/3.png is in two shards"),
        (["0", "1", "other"], "predicted by tiny_mask .*predict all shards alike"),
        (["empty"], "is empty"),
        (["text"], "not what predict_shard wrote"),
    ):
        with pytest.raises(InputError, match=message):
            gather_predictions([tmp_path / name for name in names], folder / "a.json", tmp_path / "t")
        assert not (tmp_path / "t").exists()
    with pytest.raises(NotFoundError, match="no such file of predictions"):
        gather_predictions([tmp_path / "none"], folder / "a.json", tmp_path / "t")
    with pytest.raises(InputError, match="shard: 3; 7 images are in shards 0 to 2"):
        predict_shard(*arguments, tmp_path / "x", [str(folder / "folds/1")], shard=3, images_per_shard=3)
    with pytest.raises(InputError, match=r"1 of 6 faces could not be predicted \(not_an_image 1\)"):
        predict_shard(*arguments, tmp_path / "x", [str(folder / "folds/1")])
    assert not (tmp_path / "x").exists()


def test_faces_without_finite_probabilities_fail_in_the_shard(tmp_path: Path) -> None:
    bright = io.BytesIO()
    Image.new("RGB", (72, 96), "white").save(bright, "PNG")
    photos = {"a.png": photo_bytes(1), "b.png": bright.getvalue()}
    write_photos(tmp_path, photos, {"a.png": [Face(1, None, {})], "b.png": [Face(2, None, {})]}, {})
    model = write_blinded(tmp_path / "blinded", "mask")
    arguments = tmp_path / "images", tmp_path / "a.json", tmp_path / "s", [str(model)]
    with pytest.raises(InputError, match=r"1 of 2 faces .*\(not_finite 1\), such as b.png: model 'tiny_mask' gives"):
        predict_shard(*arguments)
    assert predict_shard(*arguments, max_failed=1)["failed"] == 1
    gather_predictions([tmp_path / "s"], tmp_path / "a.json", tmp_path / "t")
    assert [face.path for face in read_predictions(tmp_path / "t").faces] == ["a.png"]


def test_folds_are_averaged_in_the_table(folder: Path, tmp_path: Path) -> None:
    def probabilities(model: str, **options: object) -> np.ndarray:
        predict(
            folder / model, folder / "images", folder / "a.json", tmp_path / "p", split="all", max_failed=1, **options
        )
        table = read_predictions(tmp_path / "p")
        assert isinstance(table, Predictions)
        return table.heads["mask"]

    each = [probabilities(f"folds/{seed}") for seed in (1, 2, 3)]
    np.testing.assert_allclose(probabilities("folds"), np.mean(each, axis=0), atol=1e-6)
    flipped = probabilities("folds/1", tta=["flip"])
    assert np.abs(flipped - each[0]).max() > 1e-4
    with pytest.raises(InputError, match="unknown view 'False'"):
        probabilities("folds/1", tta=["False"])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(workers=st.integers(1, 6))
def test_threads_change_no_byte(workers: int, folder: Path, tmp_path: Path) -> None:
    for name, threads in (("one", 1), ("many", workers)):
        predict(folder / "folds", folder / "images", folder / "a.json", tmp_path / name, split="all", max_failed=1,
                workers=threads, tta=["flip", "scale:1.1"])  # fmt: skip
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()


@pytest.mark.parametrize("model", ["folds/1", "detector"])
def test_an_empty_split_is_an_error_or_an_empty_table(model: str, folder: Path, tmp_path: Path) -> None:
    data = read_annotations(folder / "a.json")
    write_annotations(replace(data, images=tuple(replace(i, split="train") for i in data.images)), tmp_path / "a.json")
    arguments = folder / model, folder / "images", tmp_path / "a.json", tmp_path / "p"
    with pytest.raises(InputError, match="is in split 'val'"):
        predict(*arguments, split="val")
    report = predict(*arguments, split="val", may_be_empty=True)
    assert (report.faces, report.images, report.failed) == (0, 0, {})
    (header,) = csv.reader((tmp_path / "p").open())
    assert header[:2] == ["image_id", "path" if model == "detector" else "face_id"]


@pytest.mark.parametrize(("kind", "suffix"), [("parquet", b"PAR1"), ("json", b"]\n")])
def test_the_components(kind: str, suffix: bytes, folder: Path, tmp_path: Path) -> None:
    metrics, gathered = dsl.Metrics(uri=str(tmp_path / "m")), dsl.Metrics(uri=str(tmp_path / "n"))
    annotations = dsl.Dataset(uri=str(folder / "a.json"))
    shard_door.python_func(images=dsl.Dataset(uri=str(folder / "images")), annotations=annotations, metrics=metrics,
                           predictions=dsl.Dataset(uri=str(tmp_path / "s")), models=[str(folder / "composite")],
                           max_failed=1)  # fmt: skip
    assert metrics.metadata["photos"] == 7 and metrics.metadata["failed"] == 1
    gather_door.python_func(predictions=[dsl.Dataset(uri=str(tmp_path / "s"))], annotations=annotations,
                            table=dsl.Dataset(uri=str(tmp_path / "t")), metrics=gathered, format=kind)  # fmt: skip
    assert (tmp_path / "t").read_bytes().endswith(suffix)
    assert gathered.metadata["photos"] == 7 and gathered.metadata["failed"] == 1


def test_a_detectors_table_of_shards_is_read_as_one(folder: Path, tmp_path: Path) -> None:
    table = read_predictions(in_shards(folder, 2, [folder / "detector"], tmp_path / "t"))
    assert isinstance(table, Detections) and [image.path for image in table.images] == [
        p for p in PHOTOS if p != "1/5.png"
    ]
