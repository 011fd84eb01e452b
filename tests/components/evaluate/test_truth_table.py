"""Truth as a table of class numbers, joined by the names of the pictures."""

from pathlib import Path

import numpy as np
import pytest

from components.evaluate.evaluate import evaluate
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from serving.runtime.errors import InputError


def write(folder: Path, space_name: str, classes: list[int], names: str = "images/{}.jpg") -> Path:
    """Predictions of these classes with certainty, of pictures numbered from 0."""
    space = label_space(space_name)
    parts = np.unravel_index(classes, [len(head.labels) for head in space.heads])
    heads = {h.name: np.eye(len(h.labels), dtype=np.float32)[p] for h, p in zip(space.heads, parts, strict=True)}
    faces = tuple(PredictedFace(n + 1, n + 1, names.format(n), None) for n in range(len(classes)))
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
        ("ImageID,ans\n0.jpg,1\n1.jpg,18\n", "row 3: '18' in ans is no class of 'mask_gender_age', which has 0 to 17"),
        ("ImageID,ans\n0.jpg,1\n0.jpg,1\n", "1 ids occur twice in ImageID: 0.jpg"),
        ("ImageID,ans\n0.jpg,1\n", "1 faces are predicted, but not in the annotations"),
        ("ImageID,ans\n0.jpg,1\n1.jpg,1\n2.jpg,1\n", "1 faces are in the annotations, but not predicted"),
        ("ImageID\n0.jpg\n", "expected a header with the columns ImageID, ans"),
        ("ImageID,ans\n0.jpg\n", "row 2 has 1 values"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "gt.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        evaluate(write(tmp_path, "mask_gender_age", [1, 1]), tmp_path / "gt.csv", tmp_path / "report")


def test_pictures_of_one_name_in_two_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gt.csv").write_text("ImageID,ans\na.jpg,1\n")
    table = write(tmp_path, "mask", [1, 1], names="{}/a.jpg")
    with pytest.raises(InputError, match=r"several predictions are of 'a\.jpg'"):
        evaluate(table, tmp_path / "gt.csv", tmp_path / "report")
