import json
import re
from dataclasses import replace
from functools import partial
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from kfp import dsl
from sklearn.metrics import confusion_matrix, f1_score

from components.evaluate.component import evaluate as door
from components.evaluate.evaluate import Evaluation, evaluate
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.info import DatasetInfo
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from serving.runtime.errors import InputError

SCALARS = {"accuracy", "log_loss", "macro_f1", "micro_f1", "weighted_f1", "calibration_error"}
SCALARS |= {"macro_roc_auc", "macro_average_precision"}


class Case:
    """Drawn annotations of two splits, and predictions of the test split with some faults."""

    def __init__(self, folder: Path, space_name: str, count: int = 80, seed: int = 0) -> None:
        self.folder, self.space = folder, label_space(space_name)
        rng = np.random.default_rng(seed)
        self.images, self.faces = [], []
        self.heads = {head.name: [] for head in self.space.heads}
        self.truth = []
        for i in range(1, count + 1):
            attributes = {
                "mask": str(rng.choice(["worn", "incorrect", "absent"])),
                "gender": str(rng.choice(["male", "female"])),
                "age": int(rng.choice([20, 29, 30, 59, 60, 80])),
            }
            face = Face(100 + i, (1.0, 2.0, 3.0, 4.0), attributes)
            self.images.append(Image(i, f"{i}.jpg", 9, 9, (face,), split="train" if i % 4 == 0 else "test"))
            if i % 4 == 0:
                continue
            self.faces.append(PredictedFace(i, face.id, f"{i}.jpg", face.box))
            encoded = self.space.encode(attributes)
            assert encoded is not None
            self.truth.append(self.space.class_index(encoded))
            for head, index in zip(self.space.heads, encoded, strict=True):
                values = rng.dirichlet(np.ones(len(head.labels)))
                values[index] += rng.uniform(0, 1)
                self.heads[head.name].append(values / values.sum())

    def predictions(self) -> Predictions:
        heads = {name: np.array(values, np.float32) for name, values in self.heads.items()}
        return Predictions(tuple(self.faces), heads, self.space, "drawn <model>", "abcdef012345")

    def write(self, predictions: Predictions | None = None, **info: object) -> tuple[Path, Path, Path]:
        write_annotations(
            Annotations(tuple(self.images), DatasetInfo.model_validate({"leaks": False, **info})),
            self.folder / "a.json",
        )
        write_predictions(predictions or self.predictions(), self.folder / "p.csv")
        return self.folder / "p.csv", self.folder / "a.json", self.folder / "report"

    def run(self, predictions: Predictions | None = None, **options: object) -> Evaluation:
        return evaluate(*self.write(predictions), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("space", ["mask", "gender", "mask_gender_age", "all", "gender_age"])
def test_metrics_are_those_of_the_joined_rows(space: str, tmp_path: Path) -> None:
    """All heads are evaluated as one space and per attribute; micro F1 (accuracy) beside macro F1."""
    case = Case(tmp_path, space)
    table = case.predictions()
    result = case.run()
    truth, predicted = np.array(case.truth), table.class_probabilities().argmax(axis=1)
    assert result.metrics["accuracy"] == pytest.approx(np.mean(truth == predicted))
    assert result.metrics["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert np.sum(result.confusion) == len(truth) and result.labels == case.space.class_labels
    attributes = case.space.attributes if len(case.space.attributes) > 1 else ()
    names = {f"{a}_{figure}" for a in attributes for figure in ("accuracy", "macro_f1")}
    names |= {f"top_{k}_accuracy" for k in (2, 3, 5) if k < len(case.space.class_labels)}
    words = {"mask": ("worn", "incorrect", "absent"), "gender": ("male", "female"),
             "age": ("under_30", "30-59", "from_60")}  # fmt: skip
    names |= {f"{a}_f1_{word}" for a in attributes for word in words[a]}
    names |= set() if attributes else {f"f1_{word}" for word in words[space]}
    if "mask" in case.space.attributes:
        names |= {"notify_miss_rate", "notify_false_alarm_rate"}
    assert set(result.metrics) == SCALARS | names
    assert all(type(value) is float for value in result.metrics.values())


def test_rows_are_joined_by_id_and_not_by_position(tmp_path: Path) -> None:
    case = Case(tmp_path, "mask")
    before = case.run()
    order = np.random.default_rng(1).permutation(len(case.faces))
    table = case.predictions()
    shuffled = replace(
        table, faces=tuple(table.faces[k] for k in order), heads={n: v[order] for n, v in table.heads.items()}
    )
    after = case.run(shuffled)
    assert after.confusion == before.confusion
    assert after.metrics == pytest.approx(before.metrics)


def without(table: Predictions, rows: list[int]) -> Predictions:
    keep = [k for k in range(len(table.faces)) if k not in rows]
    return replace(table, faces=tuple(table.faces[k] for k in keep), heads={n: v[keep] for n, v in table.heads.items()})


def test_missing_rows_are_refused_above_the_threshold(tmp_path: Path) -> None:
    case = Case(tmp_path, "mask")
    table = without(case.predictions(), [0, 5])
    with pytest.raises(
        InputError, match=r"2 faces are in the annotations, but not predicted: image 1 face 101 \('1\.jpg'\), image 7"
    ):
        case.run(table)
    with pytest.raises(InputError, match=r"allowed: 1"):
        case.run(table, max_missing=1)
    result = case.run(table, max_missing=2)
    assert np.sum(result.confusion) == len(case.faces) - 2
    assert "2 faces left out" in (tmp_path / "report").read_text()


def test_extra_and_duplicate_rows_are_refused(tmp_path: Path) -> None:
    case = Case(tmp_path, "mask")
    table = case.predictions()
    stranger = replace(table, faces=(*table.faces[:-1], replace(table.faces[-1], face_id=9999)))
    with pytest.raises(InputError, match=r"1 faces are predicted, but not in the annotations: image \d+ face 9999"):
        case.run(stranger)
    twice = replace(table, faces=(*table.faces[:-1], table.faces[0]))
    with pytest.raises(InputError, match=r"1 faces are predicted more than once: image 1 face 101"):
        case.run(twice)


def test_faces_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    case = Case(tmp_path, "mask_gender_age")
    for at in (0, 1):
        image = case.images[at]
        known = {k: v for k, v in image.faces[0].attributes.items() if k != "age"}
        case.images[at] = replace(image, faces=(replace(image.faces[0], attributes=known),))
    result = case.run()
    truth, predicted = np.array(case.truth)[2:], case.predictions().class_probabilities().argmax(axis=1)[2:]
    assert np.sum(result.confusion) == len(truth)
    assert result.metrics["accuracy"] == pytest.approx(np.mean(truth == predicted))
    assert "2 faces left out" in (tmp_path / "report").read_text()
    case.images = [replace(i, faces=(replace(i.faces[0], attributes={}),)) for i in case.images]
    with pytest.raises(InputError, match="mask, gender, age"):
        case.run()


def test_floors(tmp_path: Path) -> None:
    case = Case(tmp_path, "all")
    accuracy = case.run().metrics["accuracy"]
    assert case.run(floors={"accuracy": accuracy}).passed
    missed = case.run(floors={"accuracy": 0.0, "macro_f1": 1, "age_accuracy": 1.01})
    assert not missed.passed
    assert missed.missed == ("age_accuracy", "macro_f1")
    page = (tmp_path / "report").read_text()
    age, macro = (f"{missed.metrics[name]:.4f}" for name in missed.missed)
    assert f"Failed. Age accuracy {age} is below 1.01, Macro F1 {macro} is below 1." in page
    assert case.run().passed and "No floor was set" in (tmp_path / "report").read_text()


@pytest.mark.parametrize(
    ("floors", "message"),
    [
        ({"f1": 0.8}, r"no metric 'f1'.*accuracy, macro_f1, micro_f1"),
        ({"log_loss": 0.8}, "less of 'log_loss' is better.*macro_f1"),
        ({"accuracy": "high"}, "'accuracy' must be a number"),
        ({"accuracy": float("nan")}, "must be a number"),
        ({"accuracy": True}, "must be a number"),
    ],
)
def test_an_invalid_floor(floors: dict[str, float], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Case(tmp_path, "mask").run(floors=floors)
    assert not (tmp_path / "report").exists()


class Outside(HTMLParser):
    """Collects whatever a page would load or run."""

    found: list[str]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object", "base", "form"):
            self.found.append(tag)
        self.found += [name for name, _ in attributes if name in ("src", "href", "srcset") or name.startswith("on")]


class Confusion(HTMLParser):
    """The cells of the confusion table, row by row; without what is small print."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside, self.small = False, False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = self.inside or (tag, ("class", "confusion")) == ("table", *attributes[:1])
        self.small = tag == "small"
        if self.inside and tag == "tr":
            self.rows.append([])
        if self.inside and tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside, self.small = self.inside and tag != "table", False

    def handle_data(self, data: str) -> None:
        if self.inside and not self.small and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


@pytest.mark.parametrize("space", ["mask", "mask_gender_age"])
def test_the_confusion_table_of_the_report_has_the_truth_in_its_rows(space: str, tmp_path: Path) -> None:
    case = Case(tmp_path, space)
    result = case.run()
    truth, guess = case.truth, case.predictions().class_probabilities().argmax(axis=1)
    labels = case.space.class_labels
    wanted = confusion_matrix(truth, guess, labels=range(len(labels))).tolist()
    assert [list(row) for row in result.confusion] == wanted != np.transpose(wanted).tolist()
    parser = Confusion()
    parser.feed((tmp_path / "report").read_text(encoding="utf-8"))
    head, *rows = parser.rows
    rows = rows[: len(labels)]  # a second table has the shares of many classes
    assert head == ["", *labels, "faces"]
    assert [row[0] for row in rows] == list(labels)
    assert [[int(cell.replace("·", "0")) for cell in row[1:]] for row in rows] == [[*row, sum(row)] for row in wanted]


@pytest.mark.parametrize("space", ["mask", "mask_gender_age"])
def test_the_report_is_self_contained_and_escaped(space: str, tmp_path: Path) -> None:
    Case(tmp_path, space, count=300).run()
    page = (tmp_path / "report").read_text(encoding="utf-8")
    parser = Outside()
    parser.found = []
    parser.feed(page)
    assert parser.found == [] and not re.search(r"url\(|@import|https?:", page)
    assert "drawn &lt;model&gt;" in page and "<model>" not in page
    assert len(page.encode()) < 500_000
    assert "leak" not in page
    for label in label_space(space).class_labels:
        assert escape(label) in page
        assert label == escape(label) or label not in page


def test_leaking_splits_are_announced_before_any_metric(tmp_path: Path) -> None:
    case = Case(tmp_path, "mask")
    evaluate(*case.write(leaks=True))
    page = (tmp_path / "report").read_text()
    assert page.index("These metrics leak.") < page.index('class="tile"')


def test_same_input_same_bytes_and_inputs_stay(tmp_path: Path) -> None:
    case = Case(tmp_path, "all")
    predictions, annotations, report = case.write()
    before = predictions.read_bytes(), annotations.read_bytes()
    evaluate(predictions, annotations, report)
    first = report.read_bytes()
    evaluate(predictions, annotations, report)
    assert report.read_bytes() == first and (predictions.read_bytes(), annotations.read_bytes()) == before
    with pytest.raises(InputError, match="would overwrite the input"):
        evaluate(predictions, annotations, tmp_path / "x" / ".." / "p.csv")


def test_the_component(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    predictions, annotations, report = Case(tmp_path, "mask").write()
    metrics, confusion = dsl.Metrics(uri=str(tmp_path / "m")), dsl.ClassificationMetrics(uri=str(tmp_path / "c"))
    run = partial(
        door.python_func,
        predictions=dsl.Dataset(uri=str(predictions)),
        annotations=dsl.Dataset(uri=str(annotations)),
        metrics=metrics,
        confusion=confusion,
        report=dsl.HTML(uri=str(report)),
    )
    held = [
        run(details=dsl.Artifact(uri=str(tmp_path / str(others))), floors={"accuracy": 0.0}, others_hold=others)[0]
        for others in (True, False)
    ]
    assert held == [True, False]
    assert "the floors of a model that it is served with do not hold" in caplog.records[-1].message
    passed, metrics_json = run(details=dsl.Artifact(uri=str(tmp_path / "details")), floors={"accuracy": 2.0})
    assert passed is False and set(json.loads(metrics_json)) >= SCALARS
    assert metrics.metadata == json.loads(metrics_json)
    matrix = confusion.metadata["confusionMatrix"]
    assert [c["displayName"] for c in matrix["annotationSpecs"]] == ["worn", "incorrect", "absent"]
    assert sum(sum(row["row"]) for row in matrix["rows"]) == 60
    assert report.read_text().startswith("<!doctype html>")
    json.dumps(confusion.metadata)
