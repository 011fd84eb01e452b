"""Tables of predictions: every format says the same, whatever the parts."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from components.shared.dataset.detections import Detections, FoundBoxes, SearchedImage
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, read_predictions, write_predictions
from components.shared.prediction.tables import FoundFaces, Part, SeenPhoto, columns_of, format_of, write_table
from serving.runtime.card import Head
from serving.runtime.errors import InputError
from serving.runtime.notice import REASONS, Notice
from serving.runtime.predictor import FaceResult

SPACES = ("gender", "all", "mask_gender_age", "label:a/b,c d,기쁨", "fit:good_label,x_class_id")
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@st.composite
def predictions(draw: st.DrawFn) -> Predictions:
    space = label_space(draw(st.sampled_from(SPACES)))
    count = draw(st.integers(1, 6))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    heads = {head.name: numbers.dirichlet(np.ones(len(head.labels)), count).astype(np.float32) for head in space.heads}
    sides = st.floats(0.125, 1e4, width=32)
    boxes, scores = st.none() | st.tuples(sides, sides, sides, sides), st.none() | st.floats(0, 1, width=32)
    faces = tuple(
        PredictedFace(n, n, draw(TEXTS), draw(boxes), draw(st.none() | TEXTS), draw(scores))
        for n in range(1, count + 1)
    )
    notices = st.builds(Notice, st.booleans(), st.sampled_from([None, *REASONS]), st.floats(0, 1, width=32))
    given_notices = draw(st.none() | st.tuples(*[notices] * count))
    return Predictions(faces, heads, space, "m,o", "v", draw(st.sampled_from(["", "d"])), given_notices)


def cut(whole: Predictions, at: int) -> list[Predictions]:
    """A table in two parts."""
    return [
        Predictions(whole.faces[rows], {name: values[rows] for name, values in whole.heads.items()}, whole.space,
                    whole.model, whole.version, whole.images_digest, whole.notices and whole.notices[rows])
        for rows in (slice(at), slice(at, None))
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(whole=predictions(), data=st.data())
def test_parts_give_one_table_in_every_format(
    whole: Predictions, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    parts = cut(whole, data.draw(st.integers(0, len(whole.faces))))
    for kind in ("csv", "parquet", "json"):
        assert write_table(parts, folder / f"parts.{kind}", kind) == len(whole.faces)
        write_table([whole], folder / f"whole.{kind}", kind)
        assert (folder / f"parts.{kind}").read_bytes() == (folder / f"whole.{kind}").read_bytes()
    write_predictions(whole, folder / "step.csv")
    assert (folder / "parts.csv").read_bytes() == (folder / "step.csv").read_bytes()
    read = read_predictions(folder / "parts.csv")
    assert isinstance(read, Predictions) and read.faces == whole.faces
    with (folder / "parts.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))
    table, documents = parquet.read_table(folder / "parts.parquet").to_pylist(), json.loads(
        (folder / "parts.json").read_text())  # fmt: skip
    for text, row, document in zip(texts, table, documents, strict=True):
        for name, value in row.items():
            assert (text[name] == "") == (value is None)
            if isinstance(value, float):
                assert np.float32(text[name]) == np.float32(value)
            elif value is not None:
                assert text[name] == (str(value).lower() if isinstance(value, bool) else str(value))
        assert document["box"] == (None if row["x"] is None else [row[name] for name in ("x", "y", "width", "height")])
        for name, value in row.items():
            head, slash, label = name.partition("/")
            if slash:
                assert np.float32(document["probabilities"][head][label]) == np.float32(value)
            elif name not in ("x", "y", "width", "height"):
                shorter = name in ("score", "notify_confidence")  # float32 in Parquet, as the probabilities are
                assert (
                    (np.float32(document[name]) == np.float32(value)) if shorter and value else document[name] == value
                )


HEADS = (Head(name="mask", labels=("worn", "absent")), Head(name="age", labels=("<30", "30-59", ">=60")))


def found(*photos: SeenPhoto) -> FoundFaces:
    return FoundFaces(photos, HEADS, "door", "7")


def written(part: Part, folder: Path) -> list[dict[str, Any]]:
    write_table([part], folder / "t.json", "json")
    write_table([part], folder / "t.csv", "csv")
    write_table([part], folder / "t.parquet", "parquet")
    return list(json.loads((folder / "t.json").read_text()))


def test_a_face_of_a_composite_has_every_head_and_a_photo_without_one_a_row(tmp_path: Path) -> None:
    heads = {"mask": {"worn": 0.25, "absent": 0.75}, "age": {"<30": 0.5, "30-59": 0.25, ">=60": 0.25}}
    face = FaceResult((1, 2, 3, 4), 0.5, "detector", heads, notice=Notice(True, "absent", 0.75))
    only_mask = FaceResult((5, 6, 7, 8), 0.25, "detector", {"mask": heads["mask"]})
    rows = written(found(SeenPhoto(1, "a/1.jpg", (face, only_mask)), SeenPhoto(2, "b/1.jpg", ())), tmp_path)
    assert [(row["path"], row["face_id"], row["box"], row["detector_score"]) for row in rows] == [
        ("a/1.jpg", 1, [1, 2, 3, 4], 0.5),
        ("a/1.jpg", 2, [5, 6, 7, 8], 0.25),
        ("b/1.jpg", None, None, None),
    ]
    assert (rows[0]["mask_class_id"], rows[0]["mask_label"], rows[0]["mask_score"]) == (1, "absent", 0.75)
    assert (rows[0]["age_class_id"], rows[0]["age_label"], rows[0]["age_score"]) == (0, "<30", 0.5)
    assert rows[0]["probabilities"] == heads and rows[1]["probabilities"] == {"mask": heads["mask"]}
    assert (rows[0]["notify"], rows[0]["notify_reason"], rows[0]["notify_confidence"]) == (True, "absent", 0.75)
    assert (rows[1]["age_label"], rows[1]["notify"]) == (None, None)
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table.column("notify").to_pylist() == [True, None, None]
    assert table.column("x").to_pylist() == [1, 5, None]


def test_boxes_of_a_detector_are_a_table_too(tmp_path: Path) -> None:
    boxes = FoundBoxes(np.array([[1.0, 2, 3, 4]]), np.array([[0.5]], np.float32), np.array([0]))
    none = FoundBoxes(np.zeros((0, 4)), np.zeros((0, 1), np.float32), np.array([], np.intp))
    images = (SearchedImage(1, "a.jpg", boxes, boxes), SearchedImage(2, "b.jpg", none, none))
    rows = written(Detections(images, ("face",), "", 0.3, "green", "v"), tmp_path)
    assert [(row["path"], row["box"], row["score"]) for row in rows] == [
        ("a.jpg", [1, 2, 3, 4], 0.5),
        ("b.jpg", None, None),
    ]
    assert read_predictions(tmp_path / "t.csv").model == "green"


def test_parts_of_several_models_are_refused(tmp_path: Path) -> None:
    other = FoundFaces((), HEADS[:1], "other", "1")
    with pytest.raises(InputError, match="several models"):
        write_table([found(), other], tmp_path / "t.csv")
    with pytest.raises(InputError, match="nothing to write"):
        write_table([], tmp_path / "t.csv")
    with pytest.raises(InputError, match="unknown format 'xml'; known: csv, json, parquet"):
        write_table([found()], tmp_path / "t.csv", "xml")
    assert not (tmp_path / "t.csv").exists()
    assert write_table([found()], tmp_path / "t.parquet", "parquet") == 0
    assert parquet.read_table(tmp_path / "t.parquet").column_names == columns_of(found())


def test_the_ending_of_a_name_says_the_format() -> None:
    names = {"a.csv": "csv", "a.parquet": "parquet", "a.JSON": "json", "a": "csv", "a.txt": "csv"}
    assert {name: format_of(Path(name)) for name in names} == names


def test_a_label_that_ends_like_a_column_is_a_probability(tmp_path: Path) -> None:
    space = label_space("fit:good_label,x_class_id")
    whole = Predictions(
        (PredictedFace(1, 1, "a.jpg", None),), {"fit": np.array([[0.25, 0.75]], np.float32)}, space, "m", "v"
    )
    (row,) = written(whole, tmp_path)
    assert row["probabilities"] == {"fit": {"good_label": 0.25, "x_class_id": 0.75}}
    table = parquet.read_table(tmp_path / "t.parquet")
    assert [str(table.schema.field(f"fit/{label}").type) for label in space.class_labels] == ["float", "float"]
