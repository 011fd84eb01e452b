"""The predictions of a detector as a table."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.dataset.detections import Detections, FoundBoxes, SearchedImage, write_detections
from components.shared.dataset.predictions import read_predictions
from serving.runtime.errors import InputError

LABELS = ("worn", "incorrect", "absent")


def boxes(rng: np.random.Generator, count: int, labels: int) -> FoundBoxes:
    scores = rng.random((count, labels), np.float32)
    return FoundBoxes(rng.uniform(-3, 900, (count, 4)), scores, rng.integers(labels, size=count))


def drawn(labels: tuple[str, ...] = LABELS, seed: int = 0) -> Detections:
    rng = np.random.default_rng(seed)
    images = []
    for number, count in enumerate([2, 0, 5, 1, 0]):
        served = boxes(rng, count, len(labels))
        by_label = served if len(labels) == 1 else boxes(rng, 2 * count, len(labels))
        digest = None if number % 3 == 2 else f"{number:064x}"
        images.append(SearchedImage(3 * number + 1, f"a, b/é {number}.jpg", served, by_label, digest))
    space = "mask" if len(labels) == 3 else ""
    return Detections(tuple(images), labels, space, 0.25, "model", "0123456789ab", "fedc")


def same(first: Detections, second: Detections) -> bool:
    pairs = zip(first.images, second.images, strict=True)
    return replace(first, images=()) == replace(second, images=()) and all(
        (a.image_id, a.path, a.sha256) == (b.image_id, b.path, b.sha256)
        and all(same_boxes(*two) for two in ((a.served, b.served), (a.by_label, b.by_label)))
        for a, b in pairs
    )


def same_boxes(first: FoundBoxes, second: FoundBoxes) -> bool:
    names = ("boxes", "scores", "labels")
    pairs = [(getattr(first, name), getattr(second, name)) for name in names]
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.parametrize("labels", [("face",), LABELS])
def test_what_is_written_is_read(labels: tuple[str, ...], tmp_path: Path) -> None:
    before = drawn(labels)
    write_detections(before, tmp_path / "p.csv")
    after = read_predictions(tmp_path / "p.csv")
    assert isinstance(after, Detections) and same(before, after)
    write_detections(after, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 4, st.floats(0, 1, width=32)), max_size=4))
def test_every_number_survives(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]]) -> None:
    path = tmp_path_factory.mktemp("floats") / "p.csv"
    table = np.array(rows, np.float64).reshape(-1, 5)
    found = FoundBoxes(table[:, :4], table[:, 4:].astype(np.float32), np.zeros(len(table), np.intp))
    image = SearchedImage(1, "a.jpg", found, found)
    before = replace(drawn(("face",)), images=(image,))
    write_detections(before, path)
    after = read_predictions(path)
    assert isinstance(after, Detections) and same(before, after)


COLUMNS = ["image_id", "path", "x", "y", "width", "height", "score", "label"]
MODEL = ["threshold", "model", "version", "label_space", "task", "sha256", "images_digest"]


def rows(table: Detections, folder: Path) -> list[dict[str, str]]:
    write_detections(table, folder / "p.csv")
    return list(csv.DictReader((folder / "p.csv").open(encoding="utf-8")))


def test_columns_of_one_label(tmp_path: Path) -> None:
    found = FoundBoxes(np.array([[1.5, 2, 30, 40.25]]), np.array([[0.7]], np.float32), np.array([0]))
    none = FoundBoxes(found.boxes[:0], found.scores[:0], found.labels[:0])
    images = (SearchedImage(4, "x.png", found, found, "ab"), SearchedImage(5, "y.png", none, none))
    first, second = rows(replace(drawn(("face",)), images=images), tmp_path)
    assert list(first) == [*COLUMNS, "label/face", *MODEL]
    assert (first["x"], first["height"], first["score"], first["label"]) == ("1.5", "40.25", "0.7", "face")
    assert (first["task"], first["threshold"], first["label_space"]) == ("detection", "0.25", "")
    assert (second["image_id"], second["x"], second["score"], second["label"]) == ("5", "", "", "")


def test_a_table_of_several_labels_has_two_lists(tmp_path: Path) -> None:
    box, scores = np.array([[1.5, 2, 30, 40.25]]), np.array([[0.1, 0.7, 0.2]], np.float32)
    served = FoundBoxes(box, scores, np.array([1]))
    by_label = FoundBoxes(box[[0, 0]], scores[[0, 0]], np.array([1, 2]))
    none = FoundBoxes(box[:0], scores[:0], np.array([], int))
    images = (SearchedImage(4, "x.png", served, by_label), SearchedImage(5, "y.png", none, none))
    read = rows(replace(drawn(), images=images), tmp_path)
    assert list(read[0]) == [*COLUMNS, "list", "label/worn", "label/incorrect", "label/absent", *MODEL]
    assert [(row["image_id"], row["list"], row["label"], row["score"]) for row in read] == [
        ("4", "served", "incorrect", "0.7"),
        ("4", "by_label", "incorrect", "0.7"),
        ("4", "by_label", "absent", "0.2"),
        ("5", "", "", ""),
    ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("width", "breadth", 1), "no column width"),
        (lambda text: text.replace("label/", "head/"), "its columns are others"),
        (lambda text: text.replace(",0.25,", ",0.3,", 1), "column 'threshold' has several values"),
        (lambda text: text.replace(",0.25,", ",low,"), "could not convert"),
        (lambda text: text.replace("\n1,", "\none,"), "invalid literal"),
        (lambda text: text + text.splitlines()[1] + "\n", "rows of an image are not together"),
        (lambda text: text.replace(",by_label,", ",other,"), "unknown list 'other'; expected served or by_label"),
        (lambda text: text.replace(",worn,", ",wrong,"), "unknown label 'wrong'; the detector has worn, incorrect"),
        (lambda text: text.replace(",detection,", ",segmentation,"), "known: classification, detection"),
        (lambda text: text.replace(text.splitlines()[1].split(",")[3], "nan"), "not a finite number"),
    ],
)
def test_a_damaged_table_is_refused(spoil, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    write_detections(drawn(), path)
    path.write_text(spoil(path.read_text(encoding="utf-8").replace('"a, b', '"a; b')), encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        read_predictions(path)
    assert str(path) in str(error.value)
