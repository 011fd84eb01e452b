"""Groups of faces: their scores, the worst of them, and how evenly predictions are right."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from labeled_faces import write_faces

from components.evaluate.evaluate import evaluate
from components.shared.dataset.annotations import DetectionRecord


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_groups_by_everything_that_is_known(tmp_path: Path) -> None:
    """Each dimension counts its faces; what all faces share, or nobody knows, is said instead."""
    count = 120
    numbers = np.arange(count)
    attributes = [
        {"mask": "worn", "gender": ["male", "female"][n % 2], "age": [20, 40, 70][n % 3]} for n in numbers.tolist()
    ]
    # Wrong are all small faces, and every tenth one.
    boxes = [(0.0, 0.0, 20.0 if n % 4 == 0 else 60.0, 70.0) for n in numbers.tolist()]
    guesses = [int(n % 4 == 0 or n % 10 == 1) for n in numbers.tolist()]
    evaluate(
        *write_faces(
            tmp_path, "mask", attributes, guesses, boxes=boxes,
            brightness=[30.0 if n < 60 else 200.0 for n in numbers.tolist()],
            person=[f"p{n // 5}" for n in numbers.tolist()],
            source=[f"{'summer' if n < 100 else 'winter'}/x/{n}.png" for n in numbers.tolist()],
            detection=[DetectionRecord("haar" if n % 6 else "yolo") for n in numbers.tolist()],
        ),
        tmp_path / "report",
        details=tmp_path / "details",
    )  # fmt: skip
    found = {(row["dimension"], row["value"]): row for row in rows(tmp_path / "details/slices.csv")}
    assert [key[0] for key in found] == sorted(
        (key[0] for key in found),
        key=["age band", "gender", "mask", "source", "face size", "detector", "brightness"].index,
    )
    right = np.array(guesses) == 0
    for key, chosen in {
        ("age band", "<30"): numbers % 3 == 0,
        ("age band", ">=60"): numbers % 3 == 2,
        ("gender", "female"): numbers % 2 == 1,
        ("source", "winter"): numbers >= 100,
        ("face size", "under 24 px"): numbers % 4 == 0,
        ("face size", "48 to 96 px"): numbers % 4 != 0,
        ("detector", "yolo"): numbers % 6 == 0,
        ("brightness", "under 64"): numbers < 60,
        ("brightness", "192 and more"): numbers >= 60,
    }.items():
        row = found[key]
        accuracy = right[chosen].mean()
        assert int(row["faces"]) == chosen.sum() and float(row["accuracy"]) == pytest.approx(accuracy, abs=1e-6)
        assert float(row["accuracy_low"]) <= accuracy <= float(row["accuracy_high"])
    assert "mask" not in {key[0] for key in found}, "all wear one"
    assert int(found["source", "winter"]["persons"]) == 4
    page = (tmp_path / "report").read_text()
    assert "mask: all faces are worn" in page
    worst = re.search("Worst group: (.*?),", page)
    assert worst is not None and worst.group(1) == "face size under 24 px"
    assert page.index("Worst group") < page.index('class="tile"')


def test_a_small_group_is_marked_and_never_the_worst(tmp_path: Path) -> None:
    attributes = [{"mask": "worn", "gender": "male" if n < 19 else "female"} for n in range(60)]
    evaluate(
        *write_faces(tmp_path, "mask", attributes, [int(n < 19 or n > 55) for n in range(60)]),
        tmp_path / "report",
        details=tmp_path / "details",
    )
    found = {row["value"]: row for row in rows(tmp_path / "details/slices.csv")}
    assert (found["male"]["accuracy"], found["male"]["small"], found["female"]["small"]) == ("0.000000", "1", "0")
    page = (tmp_path / "report").read_text()
    assert "(few faces)" in page and "Worst group" not in page, "there are no two to compare"


def test_folders_of_one_person_each_are_no_sources(tmp_path: Path) -> None:
    evaluate(
        *write_faces(
            tmp_path, "mask", [{"mask": "worn"}] * 40, [0] * 40,
            person=[f"p{n // 8}" for n in range(40)], source=[f"p{n // 8}/{n}.png" for n in range(40)],
        ),
        tmp_path / "report",
        details=tmp_path / "details",
    )  # fmt: skip
    assert rows(tmp_path / "details/slices.csv") == []
    assert "source: each folder is of one person" in (tmp_path / "report").read_text()


def test_rates_by_gender_and_their_gap(tmp_path: Path) -> None:
    """Of 20 masks of men 15 are found, and 2 of their 10 other faces called one; of the women all are right."""
    truth = [0] * 20 + [2] * 10 + [0] * 15 + [2] * 15
    guesses = [0] * 15 + [2] * 5 + [0] * 2 + [2] * 8 + [0] * 15 + [2] * 15
    attributes = [
        {"mask": ["worn", "incorrect", "absent"][label], "gender": "male" if n < 30 else "female", "age": 20 + n % 2}
        for n, label in enumerate(truth)
    ]
    evaluate(*write_faces(tmp_path, "mask", attributes, guesses), tmp_path / "report", details=tmp_path / "details")
    table = rows(tmp_path / "details/fairness.csv")
    groups = {row["value"]: row for row in table if not row["label"]}
    assert float(groups["male"]["accuracy"]) == pytest.approx(23 / 30, abs=1e-6)
    assert float(groups["male"]["gap"]) == pytest.approx(7 / 30, abs=1e-6) and float(groups["female"]["gap"]) == 0
    rates = {(row["value"], row["label"]): row for row in table if row["label"]}
    assert {row["by"] for row in table} == {"gender"}, "there is one age band"
    worn = rates["male", "worn"]
    assert (float(worn["true_positive_rate"]), float(worn["false_positive_rate"])) == (0.75, 0.2)
    assert rates["female", "incorrect"]["true_positive_rate"] == "", "nobody wears it so"
    assert "Equalized odds gap, the largest: 0.250." in (tmp_path / "report").read_text()


def test_what_a_group_is_told_apart_by_has_no_rates_in_it(tmp_path: Path) -> None:
    attributes = [{"gender": ["male", "female"][n % 2], "age": [20, 40, 70][n % 3]} for n in range(60)]
    evaluate(
        *write_faces(tmp_path, "gender_age", attributes, [n % 6 for n in range(60)]),
        tmp_path / "report",
        details=tmp_path / "details",
    )
    pairs = {(row["by"], row["attribute"]) for row in rows(tmp_path / "details/fairness.csv")}
    assert pairs == {("gender", ""), ("age", ""), ("gender", "age"), ("age", "gender")}
