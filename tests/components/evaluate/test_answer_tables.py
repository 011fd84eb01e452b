"""Class numbers against class numbers: the score of the predecessors, with its faults mended."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from command_line import facet
from sklearn.metrics import accuracy_score, f1_score

from components.evaluate.evaluate import evaluate
from serving.runtime.errors import InputError


def write(path: Path, answers: Mapping[str, object]) -> Path:
    path.write_text("ImageID,ans\n" + "".join(f"{name},{answer}\n" for name, answer in answers.items()))
    return path


def options(folder: Path) -> list[object]:
    return [
        "--predictions", folder / "output.csv", "--annotations", folder / "gt.csv",
        "--report", folder / "report.html", "--details", folder / "details",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("space", "count", "classes", "score"),
    [
        ("mask_gender_age", 18, 18, "mask_f1_worn"),
        ("mask_gender_age", 18, 7, "mask_f1_worn"),
        ("all", 18, 18, "mask_f1_worn"),
        ("mask", 3, 3, "f1_worn"),
        ("gender_age", 6, 6, "gender_f1_male"),
    ],
)
def test_the_result_in_percent_and_raw_by_the_names_of_pictures(
    space: str, count: int, classes: int, score: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows are in another order; where not all classes are there, the accuracy is there all the same."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, 200)
    guess = np.where(rng.uniform(size=200) < 0.7, truth, rng.integers(0, classes, 200))
    names = [f"{number:040x}.jpg" for number in range(200)]
    write(tmp_path / "gt.csv", dict(zip(names, truth.tolist(), strict=True)))
    order = rng.permutation(200).tolist()
    write(tmp_path / "output.csv", {names[n]: guess[n] for n in order})
    caplog.set_level(logging.INFO)
    named = [] if space == "mask_gender_age" else ["--label-space", space]
    done = facet("step", "evaluate", *options(tmp_path), "--floors", "macro_f1=0.1", *named)
    assert done.returncode == 0, done.stderr
    accuracy = accuracy_score(truth, guess)
    f1 = f1_score(truth, guess, average="macro", labels=range(count), zero_division=0)
    result = json.loads((tmp_path / "details/result.json").read_text())
    assert result == {
        "accuracy": {"value": f"{accuracy:.2%}", "raw": pytest.approx(accuracy), "rank": True, "decs": True},
        "f1": {"value": f"{f1:.2%}", "raw": pytest.approx(f1), "rank": False, "decs": True},
    }
    assert f"accuracy: {accuracy:g}\n" in done.stdout and f"{score}: " in done.stdout
    assert "every mask is worn" not in caplog.text
    assert f'"value": "{f1:.2%}"' in caplog.text, "it is printed"
    values = json.loads((tmp_path / "details/metrics.json").read_text())["metrics"]
    assert values["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro"))
    assert not {"log_loss", "calibration_error", "macro_roc_auc", "top_2_accuracy", "notify_miss_rate"} & set(values)
    page = (tmp_path / "report.html").read_text()
    assert "The predictions are class numbers without probabilities" in page
    assert "class numbers have no probabilities to order mistakes by" in page
    assert (tmp_path / "details/curves.csv").read_text() == "curve,label,x,y,threshold\n"


@pytest.mark.parametrize(
    ("truth", "answers", "message"),
    [
        ({"a.jpg": 0, "b.jpg": 1}, {"a.jpg": 0}, r"output\.csv lacks 1 ImageID of \S+gt\.csv: b\.jpg"),
        ({"a.jpg": 0}, {"a.jpg": 0, "c.jpg": 1}, r"gt\.csv lacks 1 ImageID of \S+output\.csv: c\.jpg"),
        (
            {"a.jpg": 0},
            {"a.jpg": 18},
            "row 2: '18' in ans is no class of the label space 'mask_gender_age', which has 0 to 17",
        ),
        ({"a.jpg": 0}, {"a.jpg": "1.5"}, "row 2: '1.5' in ans is no class"),
        ({"a.jpg": 0}, {}, "the table has no rows"),
    ],
)
def test_missing_extra_and_wrong_rows_are_errors(
    truth: Mapping[str, object], answers: Mapping[str, object], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "gt.csv", truth)
    write(tmp_path / "output.csv", answers)
    with pytest.raises(InputError, match=message):
        evaluate(tmp_path / "output.csv", tmp_path / "gt.csv", tmp_path / "report", details=tmp_path / "details")
    assert not (tmp_path / "report").exists() and not (tmp_path / "details").exists()
    assert facet("step", "evaluate", *options(tmp_path)).returncode == 2


def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "gt.csv", {"a.jpg": 0})
    (tmp_path / "output.csv").write_text("ImageID,ans\na.jpg,0\na.jpg,1\n")
    with pytest.raises(InputError, match=r"1 ids occur twice in ImageID: a\.jpg"):
        evaluate(tmp_path / "output.csv", tmp_path / "gt.csv", tmp_path / "report")


def test_numbers_alone_are_not_scored_against_annotations(tmp_path: Path) -> None:
    write(tmp_path / "output.csv", {"a.jpg": 0})
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match="scored against a table of class numbers"):
        evaluate(tmp_path / "output.csv", tmp_path / "a.json", tmp_path / "report")


@pytest.mark.parametrize("separator", [",", ";"])
def test_numbers_that_can_hardly_be_of_the_18_classes_are_a_warning(
    separator: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("gt.csv", "output.csv"):
        write(tmp_path / name, {"a.jpg": 0, "b.jpg": 2})
        (tmp_path / name).write_text((tmp_path / name).read_text().replace(",", separator))
    evaluate(tmp_path / "output.csv", tmp_path / "gt.csv", tmp_path / "report")
    assert "no number is above 2, so that as 'mask_gender_age' every mask is worn" in caplog.text
    caplog.clear()
    evaluate(tmp_path / "output.csv", tmp_path / "gt.csv", tmp_path / "report", label_space="mask")
    assert "every mask" not in caplog.text
    with pytest.raises(InputError, match="label space 'msak'"):
        evaluate(tmp_path / "output.csv", tmp_path / "gt.csv", tmp_path / "report", label_space="msak")
