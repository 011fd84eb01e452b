"""Truth as a table of class numbers, joined by the names of the pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from components.evaluate.evaluate import evaluate
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from serving.runtime.errors import InputError


def write(folder: Path, space_name: str, classes: list[int], names: Sequence[str] = ()) -> Path:
    """Predictions of these classes with certainty, of pictures numbered from 0 or of these names."""
    space = label_space(space_name)
    parts = np.unravel_index(classes, [len(head.labels) for head in space.heads])
    heads = {h.name: np.eye(len(h.labels), dtype=np.float32)[p] for h, p in zip(space.heads, parts, strict=True)}
    faces = tuple(
        PredictedFace(n, n, name, None)
        for n, name in enumerate(names or map("images/{}.jpg".format, range(len(classes))))
    )
    write_predictions(Predictions(faces, heads, space, "m", "v"), folder / "p.csv")
    return folder / "p.csv"


@pytest.mark.parametrize("space", ["mask_gender_age", "all", "gender_age", "age", "mask", "label:cat,dog"])
def test_class_numbers_are_scored_by_the_names_of_pictures(space: str, tmp_path: Path) -> None:
    count = len(label_space(space).class_labels)
    truth = [n % count for n in range(40)]
    guess = [(n + (n % 4 == 0)) % count for n in range(40)]
    rows = [f"{n}.jpg,{answer}" for n, answer in enumerate(truth)]
    (tmp_path / "gt.csv").write_text("ImageID,ans\n" + "\n".join(reversed(rows)))
    result = evaluate(write(tmp_path, space, guess), tmp_path / "gt.csv", tmp_path / "report")
    assert result.metrics["accuracy"] == 0.75
    expected = np.zeros((count, count), int)
    np.add.at(expected, (truth, guess), 1)
    assert result.confusion == expected.tolist()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "ImageID,ans\n0.jpg,1\n1.jpg,18\n",
            r"row 3: '18' in ans is no class of the label space 'mask_gender_age', which has 0 to 17.*--label-space",
        ),
        ("ImageID,ans\n0.jpg,1\n0.jpg,1\n", "1 ids occur twice in ImageID: 0.jpg"),
        ("ImageID,ans\n0.jpg,1\n", r"gt\.csv lacks 1 ImageID of \S+p\.csv: images/1\.jpg"),
        ("ImageID,ans\n0.jpg,1\n1.jpg,1\n2.jpg,1\n", r"p\.csv lacks 1 ImageID of \S+gt\.csv: 2\.jpg"),
        ("ImageID\n0.jpg\n", "expected a header with the columns ImageID, ans"),
        ("ImageID,ans\n0.jpg\n", "row 2 has 1 values"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "gt.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        evaluate(write(tmp_path, "mask_gender_age", [1, 1]), tmp_path / "gt.csv", tmp_path / "report")


@pytest.mark.parametrize(
    ("names", "truth", "lacks"),
    [
        (["a/x.jpg", "b/x.jpg"], ["b/x.jpg", "a/x.jpg"], ""),
        (["a/x.jpg", "b/y.jpg"], ["y.jpg", "data/a/x.jpg"], ""),
        (["x.jpg", "a/y.jpg"], ["a/y.jpg", "x.jpg"], ""),
        (["a/x.jpg", "b/x.jpg"], ["x.jpg", "a/x.jpg"], r"gt\.csv lacks 1 ImageID of \S+p\.csv: b/x\.jpg"),
        (["a/x.jpg", "b/x.jpg"], ["a/x.jpg", "x.jpg"], r"gt\.csv lacks 1 ImageID"),
        (["a/x.jpg", "b/y.jpg"], ["b/x.jpg", "b/y.jpg"], r"gt\.csv lacks 1 ImageID of \S+p\.csv: a/x\.jpg"),
    ],
)
@pytest.mark.parametrize("numbers", [False, True])
def test_ids_are_joined_whole_and_else_by_the_end_that_only_one_has(
    names: list[str], truth: list[str], lacks: str, numbers: bool, tmp_path: Path
) -> None:
    """The same holds for a table of class numbers; the class of a picture is its place in `names`."""
    classes = [
        next((n for n, name in enumerate(names) if one.endswith(name) or name.endswith(one)), 0) for one in truth
    ]
    (tmp_path / "gt.csv").write_text(
        "ImageID,ans\n" + "".join(f"{t},{n}\n" for t, n in zip(truth, classes, strict=True))
    )
    table = write(tmp_path, "mask", [0, 1], names=names)
    if numbers:
        table.write_text("ImageID,ans\n" + "".join(f"{name},{n}\n" for n, name in enumerate(names)))
    if lacks:
        with pytest.raises(InputError, match=lacks):
            evaluate(table, tmp_path / "gt.csv", tmp_path / "report", label_space="mask")
    else:
        assert evaluate(table, tmp_path / "gt.csv", tmp_path / "report", label_space="mask").metrics["accuracy"] == 1


def test_two_faces_of_a_picture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gt.csv").write_text("ImageID,ans\na.jpg,1\n")
    table = write(tmp_path, "mask", [1, 1], names=["a.jpg", "a.jpg"])
    with pytest.raises(InputError, match=r"p\.csv: 1 pictures have several rows: a\.jpg"):
        evaluate(table, tmp_path / "gt.csv", tmp_path / "report")
