"""The folds of a cross-validation together: mean, spread, and out-of-fold metrics of every face."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfp import dsl
from sklearn.metrics import f1_score

from components.evaluate.component import evaluate_folds as door
from components.evaluate.evaluate import evaluate
from components.evaluate.folds import CrossValidation, evaluate_folds
from components.evaluate.scores import spread_of
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.info import DatasetInfo
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, read_predictions, write_predictions
from components.shared.tracking import server
from components.shared.tracking.runs import PARENT, open_run
from serving.runtime.errors import InputError

FOLDS = 4


class Folds:
    """Drawn annotations with folds, predictions of every fold, and what evaluate finds in each."""

    def __init__(self, folder: Path, space: str = "gender_age", leaks: bool = False) -> None:
        self.folder, self.space = folder, label_space(space)
        rng = np.random.default_rng(0)
        images = []
        for at in range(1, 121):
            facts = {"gender": str(rng.choice(["male", "female"])), "age": int(rng.choice([20, 40, 70]))}
            face = Face(1000 + at, (1.0, 2.0, 3.0, 4.0), facts)
            images.append(Image(at, f"{at}.jpg", 9, 9, (face,), person=f"p{at}", fold=at % FOLDS))
        # Without a fold: a test set that came with the data, which nobody judges here.
        images.append(Image(999, "999.jpg", 9, 9, (Face(1, None, {"gender": "male", "age": 20}),), split="test"))
        self.images = tuple(images)
        self.info = {"leaks": leaks, "split": {"folds": FOLDS}}
        self.annotations = folder / "annotations"
        write_annotations(Annotations(self.images, DatasetInfo.model_validate(self.info)), self.annotations)
        self.predictions, self.metrics = [], []
        for fold in range(FOLDS):
            self._judge(fold, rng)

    def _judge(self, fold: int, rng: np.random.Generator) -> None:
        mine = [image for image in self.images if image.fold == fold]
        (head,) = self.space.heads
        values = rng.dirichlet(np.ones(len(head.labels)), len(mine))
        for row, image in zip(values, mine, strict=True):
            encoded = self.space.encode(image.faces[0].attributes)
            assert encoded is not None
            row[encoded[0]] += rng.uniform(0, 0.3 + 0.2 * fold)
        values /= values.sum(axis=1, keepdims=True)
        faces = tuple(PredictedFace(image.id, image.faces[0].id, image.file_name, image.faces[0].box) for image in mine)
        table = Predictions(
            faces, {head.name: values.astype(np.float32)}, self.space, "drawn <model>", f"version{fold}"
        )
        path = self.folder / f"predictions{fold}"
        write_predictions(table, path)
        taken = tuple(replace(image, split="test" if image.fold == fold else "train") for image in self.images)
        write_annotations(Annotations(taken, DatasetInfo.model_validate(self.info)), self.folder / f"annotations{fold}")
        found = evaluate(path, self.folder / f"annotations{fold}", self.folder / f"report{fold}")
        self.predictions.append(path)
        self.metrics.append(found.metrics)

    def run(self, folds: list[int] | None = None, **changes: Any) -> CrossValidation:
        folds = list(range(FOLDS)) if folds is None else folds
        options: dict[str, Any] = {
            "predictions": [self.predictions[fold] for fold in folds],
            "annotations": self.annotations,
            "report": self.folder / "report",
        }
        return evaluate_folds(**{**options, **changes})

    def page(self) -> str:
        return (self.folder / "report").read_text()


@pytest.fixture
def case(tmp_path: Path) -> Folds:
    return Folds(tmp_path)


def test_mean_and_spread_are_numpys_over_the_folds(case: Folds) -> None:
    found = case.run()
    assert found.spreads.keys() == case.metrics[0].keys()
    for name, spread in found.spreads.items():
        values = np.array([metrics[name] for metrics in case.metrics])
        assert len(set(values)) > 1, "the folds differ"
        assert spread.mean == pytest.approx(np.mean(values))
        assert spread.deviation == pytest.approx(np.std(values, ddof=1))
        assert (spread.lowest, spread.highest) == (values.min(), values.max())
        figures = found.metrics()
        assert figures[f"{name}_mean"] == spread.mean
        assert [figures[f"{name}_{part}"] for part in ("std", "min", "max")] == [
            spread.deviation, spread.lowest, spread.highest,
        ]  # fmt: skip


def test_every_face_is_evaluated_once_and_all_of_them_together(case: Folds) -> None:
    found = case.run()
    tables = [read_predictions(path) for path in case.predictions]
    predicted = np.concatenate([table.class_probabilities().argmax(axis=1) for table in tables])
    attributes = {image.id: image.faces[0].attributes for image in case.images}
    truth = np.array([case.space.encode(attributes[face.image_id]) for table in tables for face in table.faces])[:, 0]
    assert np.sum(found.confusion) == len(truth) == 120
    assert found.out_of_fold["accuracy"] == pytest.approx(np.mean(predicted == truth))
    assert found.out_of_fold["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    by_class = f1_score(truth, predicted, average=None)
    assert list(found.class_f1) == list(case.space.class_labels) == list(found.labels)
    assert list(found.class_f1.values()) == pytest.approx(by_class)
    assert found.metrics()[f"out_of_fold_f1/{found.labels[0]}"] == pytest.approx(by_class[0])
    assert all(np.isfinite(list(found.metrics().values())))


def test_one_fold_has_no_deviation(case: Folds) -> None:
    """`k_index` evaluates one fold; one value has no deviation."""
    found = case.run([2])
    assert found.out_of_fold == pytest.approx(case.metrics[2])
    assert all(spread.mean == spread.lowest == spread.highest for spread in found.spreads.values())
    assert {spread.deviation for spread in found.spreads.values()} == {None}
    assert not any(name.endswith("_std") for name in found.metrics())
    assert "1 of 4 folds · 30 faces in 30 images" in case.page()


@pytest.mark.parametrize("values", [[0.5], [0.1, 0.9], [0.3, 0.3, 0.3]])
def test_spreads(values: list[float]) -> None:
    spread = spread_of(values)
    assert spread.mean == pytest.approx(sum(values) / len(values))
    assert (spread.deviation is None) == (len(values) == 1)
    if len(values) > 1:
        assert spread.deviation == pytest.approx(np.std(values, ddof=1))


def test_the_page_shows_folds_spread_and_all_faces(tmp_path: Path) -> None:
    case = Folds(tmp_path)
    found = case.run()
    page = case.page()
    assert "Cross-validation of drawn &lt;model&gt;" in page and "<model>" not in page
    assert "4 folds · 120 faces in 120 images, each evaluated once" in page
    macro = found.spreads["macro_f1"]
    assert f"{macro.mean:.4f}" in page
    assert f"± {macro.deviation:.4f}, {macro.lowest:.4f} to {macro.highest:.4f}" in page
    for metrics in case.metrics:
        assert f"{metrics['macro_f1']:.4f}" in page
    for label in found.labels:
        assert label.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "leak" not in page and "http" not in page
    case.run()
    assert case.page() == page, "equal inputs give equal bytes"


def test_folds_that_leak_say_so(tmp_path: Path) -> None:
    case = Folds(tmp_path, leaks=True)
    case.run()
    assert "These metrics leak." in case.page()


def test_predictions_that_do_not_fit_the_folds_are_refused(case: Folds, tmp_path: Path) -> None:
    plain = Annotations(
        tuple(replace(image, fold=None) for image in case.images), DatasetInfo.model_validate({"split": {}})
    )
    write_annotations(plain, tmp_path / "plain")
    with pytest.raises(
        InputError, match=r"predictions0: expected the faces of one fold .*, got those of None: name the"
    ):
        case.run(annotations=tmp_path / "plain")
    shifted = Annotations(
        tuple(replace(image, fold=image.id % 3) for image in case.images), DatasetInfo.model_validate(case.info)
    )
    write_annotations(shifted, tmp_path / "shifted")
    with pytest.raises(
        InputError, match=r"predictions0: expected the faces of one fold .*, got those of 0, 1, 2: name"
    ):
        case.run(annotations=tmp_path / "shifted")
    with pytest.raises(InputError, match="predictions1: there are predictions of fold 1 already"):
        case.run([1, 2, 1])
    with pytest.raises(InputError, match="no predictions of any fold"):
        case.run([])
    (tmp_path / "other").mkdir()
    other = Folds(tmp_path / "other", "gender")
    with pytest.raises(InputError, match="the predictions are of different label spaces: gender, gender_age"):
        case.run(predictions=[*case.predictions[:3], other.predictions[3]])
    table = read_predictions(case.predictions[0])
    fewer = Predictions(table.faces[1:], {n: v[1:] for n, v in table.heads.items()}, table.space, "m", "v")
    write_predictions(fewer, tmp_path / "fewer")
    with pytest.raises(InputError, match="1 faces are in the annotations, but not predicted"):
        case.run(predictions=[tmp_path / "fewer", *case.predictions[1:]])
    with pytest.raises(InputError, match="would overwrite the input"):
        case.run(report=case.predictions[2])
    assert not (tmp_path / "report").exists()


def test_the_runs_of_the_folds_are_children_of_one_run(
    case: Folds, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run has mean, spread and page; the folds' runs, with curves of their own, are its children."""
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    children = []
    for fold in range(FOLDS):
        with open_run("facet-gender_age", run_name=f"fold {fold}", part=True) as run:
            children.append(run.run_id)
    found = case.run(run_ids=children)
    client = server.mlflow_client()
    parent = client.get_run(found.run_id)
    assert parent.info.run_name == "cross-validation drawn <model>"
    assert client.get_experiment(parent.info.experiment_id).name == "facet-gender_age"
    assert parent.data.metrics == {f"Test/{name}": value for name, value in found.metrics().items() if "/" not in name}
    assert parent.data.params["folds"] == "4" and parent.data.params["evaluated"] == "[0, 1, 2, 3]"
    assert {client.get_run(child).data.tags[PARENT] for child in children} == {found.run_id}
    assert [item.path for item in client.list_artifacts(found.run_id, "evaluation")] == ["evaluation/report.html"]


def test_the_component(case: Folds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    metrics, confusion = dsl.Metrics(uri=""), dsl.ClassificationMetrics(uri="")
    text, run_id = door.python_func(
        [dsl.Dataset(uri=str(path)) for path in case.predictions],
        dsl.Dataset(uri=str(case.annotations)),
        metrics,
        confusion,
        dsl.HTML(uri=str(case.folder / "report")),
        run_ids=["", "", "", ""],
    )
    assert run_id == ""
    assert json.loads(text) == metrics.metadata == case.run().metrics()
    assert all(type(value) is float for value in metrics.metadata.values())
    assert len(confusion.metadata["confusionMatrix"]["rows"]) == 6
