"""The step on tiny models whose probabilities, and so the best temperature, are known."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from html_page import Page
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from tiny_detector import build_detector
from tiny_model import HEADS, build_model, card_facts

from components.calibrate.calibrate import CalibrateResult, calibrate
from components.calibrate.component import calibrate as component
from components.calibrate.temperature import tempered
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from components.shared.models.graph_file import graph_file
from serving.runtime.card import ClassificationCard
from serving.runtime.errors import InputError
from serving.runtime.load import load_model, open_model
from serving.runtime.notice import rule_of
from serving.runtime.predictor import Classifier

MASK = [{"name": "mask", "labels": HEADS["mask"]}]
TEMPERATURE = 2.5


def classifier(content: bytes) -> Classifier:
    model = open_model(content)
    assert isinstance(model, Classifier)
    return model


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise of very different colors, so that the tiny model gives very different probabilities."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(rng.uniform(0, 255, (count, 1, 1, 3)), 60, (count, 40, 32, 3)), 0, 255).astype(np.uint8)


class Case:
    """A model file, predictions of val, and labels that were drawn with the probabilities at TEMPERATURE."""

    def __init__(self, folder: Path, content: bytes, space: str, count: int = 600) -> None:
        self.folder, self.content = folder, content
        (folder / "model").mkdir(parents=True)
        (folder / "model/model.onnx").write_bytes(content)
        model = classifier(content)
        heads = model.infer(pictures(count))
        rng = np.random.default_rng(1)
        drawn = {
            name: [
                HEADS[name][rng.choice(len(row), p=row / row.sum())]
                for row in tempered(values, TEMPERATURE).astype(float)
            ]
            for name, values in heads.items()
        }
        labels = [dict(zip(drawn, row, strict=True)) for row in zip(*drawn.values(), strict=True)]
        images = [Image(n, f"{n}.png", 32, 40, (Face(n, None, face),), split="val") for n, face in enumerate(labels, 1)]
        self.data = Annotations(tuple(images))
        faces = tuple(PredictedFace(n, n, f"{n}.png", None) for n in range(1, count + 1))
        self.table = Predictions(faces, heads, label_space(space), "tiny", model.sha256[:12])

    def run(self, name: str = "a", **options: Any) -> CalibrateResult:
        write_annotations(self.data, self.folder / "annotations.json")
        write_predictions(self.table, self.folder / "predictions.csv")
        return self.run_on(self.folder / "predictions.csv", name, **options)

    def run_on(self, predictions: Path, name: str = "a", **options: Any) -> CalibrateResult:
        out = self.folder / name
        return calibrate(
            self.folder / "model",
            predictions,
            self.folder / "annotations.json",
            out,
            out.with_suffix(".html"),
            **options,
        )

    def written(self, name: str = "a") -> bytes:
        return (self.folder / name / "model.onnx").read_bytes()

    def page(self, name: str = "a") -> Page:
        text = (self.folder / f"{name}.html").read_text("utf-8")
        page = Page(text)
        assert not page.faults and len(text) < 200_000
        return page


def sharp(**facts: Any) -> bytes:
    """The tiny model with weights so large that it is very sure, of every label for some of the pictures."""
    model, rng = onnx.load_from_string(build_model(card_facts(**facts))), np.random.default_rng(17)
    for weight in model.graph.initializer:
        if weight.name.endswith(".weight"):
            values = rng.normal(0, 6, tuple(weight.dims)).astype(np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return graph_file(model, ClassificationCard(**card_facts(**facts)))


@pytest.fixture
def masks(tmp_path: Path) -> Case:
    return Case(tmp_path, sharp(heads=MASK, label_space="mask"), "mask")


def test_the_temperature_is_in_the_graph_and_in_the_card(masks: Case) -> None:
    result = masks.run()
    before, after = classifier(masks.content), classifier(masks.written())
    assert result.changed and hashlib.sha256(masks.written()).hexdigest() == result.sha256 != before.sha256
    assert after.card.temperature is not None
    found = after.card.temperature["mask"]
    assert abs(found / TEMPERATURE - 1) < 0.2
    others = pictures(100, seed=9)
    given, expected = after.infer(others)["mask"], before.infer(others)["mask"]
    np.testing.assert_allclose(given, tempered(expected, found), atol=1e-5)
    np.testing.assert_array_equal(given.argmax(1), expected.argmax(1))
    # All else of the card is as it was: what the model was trained on, too.
    assert after.card.model_copy(update={"temperature": None}) == before.card
    metrics = result.metrics
    assert metrics["temperature"] == found and np.isfinite(list(metrics.values())).all()
    assert metrics["log_loss_after"] < 0.8 * metrics["log_loss_before"]
    assert metrics["calibration_error_after"] < 0.5 * metrics["calibration_error_before"]
    assert {"notify_threshold", "notify_miss_rate", "notify_false_alarm_rate"} < metrics.keys()
    text = " ".join(masks.page().text)
    assert "The model was calibrated" in text and f"with a temperature of {found:.3f}" in text
    assert masks.run("b") == result and masks.written("b") == masks.written(), "same predictions, same bytes"


def test_every_head_has_its_own_temperature(tmp_path: Path) -> None:
    space = "mask+gender"
    case = Case(tmp_path, sharp(label_space=space), space, count=800)
    metrics = case.run().metrics
    temperatures = classifier(case.written()).card.temperature
    assert temperatures is not None and temperatures.keys() == {"mask", "gender"}
    assert all(abs(found / TEMPERATURE - 1) < 0.25 for found in temperatures.values())
    assert metrics["gender_temperature"] == temperatures["gender"] and "mask_log_loss_before" in metrics
    # A head whose faces do not tell one stays as it is.
    values = {**case.table.heads, "gender": np.eye(2, dtype=np.float32)[case.table.heads["gender"].argmax(1)]}
    images = tuple(
        replace(image, faces=(replace(face, attributes={**face.attributes, "gender": HEADS["gender"][best]}),))
        for image, best in zip(case.data.images, values["gender"].argmax(1), strict=True)
        for face in image.faces
    )
    case.table, case.data = replace(case.table, heads=values), replace(case.data, images=images)
    metrics = case.run("one").metrics
    assert (classifier(case.written("one")).card.temperature or {}).keys() == {"mask"}
    assert metrics["gender_temperature"] == 1 and metrics["gender_log_loss_before"] == metrics["gender_log_loss_after"]
    assert "Head gender has no temperature: all 800 faces are right" in " ".join(case.page("one").text)


def test_the_threshold_holds_the_rate_on_the_faces_that_are_served(masks: Case) -> None:
    metrics = masks.run(false_alarm_rate=0.1).metrics
    model = classifier(masks.written())
    rule = rule_of(model.card)
    assert rule is not None and rule == model.card.notify and rule.threshold == metrics["notify_threshold"] != 0.5
    seen = model.infer(pictures(600))["mask"]
    noticed = seen[:, 1:].sum(axis=1) >= rule.threshold
    worn = np.array([image.faces[0].attributes["mask"] == "worn" for image in masks.data.images])
    assert noticed[worn].mean() == pytest.approx(metrics["notify_false_alarm_rate"]) and noticed[worn].mean() <= 0.1
    assert 1 - noticed[~worn].mean() == pytest.approx(metrics["notify_miss_rate"])
    assert "at most 10 % of the properly worn masks are noticed" in " ".join(masks.page().text)


def test_the_threshold_alone_leaves_the_graph_as_it_is(masks: Case) -> None:
    masks.run(temperature=False, false_alarm_rate=0.1)
    before, after = onnx.load_from_string(masks.content), onnx.load_from_string(masks.written())
    assert before.graph == after.graph and masks.content != masks.written()
    card = classifier(masks.written()).card
    assert card.temperature is None and "temperature" not in card.to_metadata()["facet_card"]


def test_a_model_is_handed_on_byte_for_byte_where_nothing_is_told(
    masks: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def handed_on(result: CalibrateResult, name: str, *reasons: str) -> None:
        assert not result.changed and result.sha256 == hashlib.sha256(masks.content).hexdigest()
        assert masks.written(name) == masks.content
        said = "\n".join(record.message for record in caplog.records if record.levelno >= logging.WARNING)
        assert f"model {classifier(masks.content).name} is passed through unchanged" in said
        for reason in reasons:
            assert reason in said and reason in " ".join(masks.page(name).text), said
        assert "passed through unchanged" in " ".join(masks.page(name).text)
        assert np.isfinite(list(result.metrics.values())).all()
        caplog.clear()

    masks.run("real")
    header = tmp_path / "header.csv"
    for number, content in enumerate((b"", (tmp_path / "predictions.csv").read_bytes().splitlines(keepends=True)[0])):
        header.write_bytes(content)
        handed_on(masks.run_on(header, f"empty{number}", false_alarm_rate=0.1), f"empty{number}", "has no row")
    handed_on(masks.run("off", temperature=False), "off")
    few = slice(0, 20)
    masks.table = replace(masks.table, faces=masks.table.faces[few], heads={"mask": masks.table.heads["mask"][few]})
    handed_on(
        masks.run("few", false_alarm_rate=0.05), "few", "of 20 faces", "at least 60 persons with a properly worn mask"
    )
    images = tuple(replace(image, faces=(replace(image.faces[0], attributes={}),)) for image in masks.data.images)
    masks.data = replace(masks.data, images=images)
    handed_on(masks.run("unlabeled"), "unlabeled", "none of the 20 predicted faces has a label")


def test_a_detector_is_handed_on(masks: Case, tmp_path: Path) -> None:
    masks.run("first")
    (tmp_path / "model/model.onnx").write_bytes(build_detector())
    result = masks.run("detector")
    assert not result.changed and masks.written("detector") == build_detector() and result.metrics == {}
    assert "it is a detector" in " ".join(masks.page("detector").text)


def test_a_split_of_other_faces_is_said(masks: Case, caplog: pytest.LogCaptureFixture) -> None:
    masks.data = replace(masks.data, images=tuple(replace(image, split="test") for image in masks.data.images))
    masks.run()
    assert "calibrated on split test" in caplog.text and len(masks.page().notices) == 1


def test_what_does_not_fit_is_one_clear_error(masks: Case, tmp_path: Path) -> None:
    table, data = masks.table, masks.data
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="false_alarm_rate: must be at least 0 and below 1"):
            masks.run(false_alarm_rate=rate)
    masks.table = replace(table, version="0123456789ab")
    with pytest.raises(InputError, match="the predictions are of model '.*' 0123456789ab, not of"):
        masks.run()
    masks.table = replace(table, space=label_space("mask:absent,incorrect,worn"), heads=table.heads)
    with pytest.raises(InputError, match="predictions of 'mask:absent,incorrect,worn', and the model is of 'mask'"):
        masks.run()
    masks.table = replace(table, faces=(table.faces[1], *table.faces[1:]))
    with pytest.raises(InputError, match="1 faces are predicted more than once: image 2 face 2"):
        masks.run()
    masks.table = replace(table, faces=(PredictedFace(9999, 9999, "x.png", None), *table.faces[1:]))
    with pytest.raises(InputError, match="1 faces are predicted, but not in the annotations: image 9999 face 9999"):
        masks.run()
    masks.table = replace(table, faces=(replace(table.faces[0], path="other.png"), *table.faces[1:]))
    with pytest.raises(InputError, match="image 1 is 'other.png' in the predictions and"):
        masks.run()
    masks.table = table
    masks.data = replace(data, images=(replace(data.images[0], sha256="a" * 64), *data.images[1:]))
    masks.run("no sha256 in the table is no difference")
    with pytest.raises(InputError, match="the output would overwrite the input"):
        calibrate(tmp_path / "model", tmp_path / "predictions.csv", tmp_path / "annotations.json",
                  tmp_path / "model/below", tmp_path / "r")  # fmt: skip
    assert not (tmp_path / "a").exists() and masks.content == (tmp_path / "model/model.onnx").read_bytes()


def test_a_rate_for_a_model_that_does_not_judge_masks_is_an_error(tmp_path: Path) -> None:
    heads = [{"name": "gender", "labels": HEADS["gender"]}]
    case = Case(tmp_path, sharp(heads=heads, label_space="gender"), "gender", count=50)
    with pytest.raises(InputError, match="false_alarm_rate: label space 'gender' does not tell worn masks"):
        case.run(false_alarm_rate=0.1)


class Batches(CalibrationDataReader):
    def __init__(self) -> None:
        self.batches = iter([{"images": pictures(8, seed)} for seed in range(4)])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self.batches, None)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_graphs_of_other_numbers_are_calibrated_too(tmp_path: Path, precision: str) -> None:
    facts = {"heads": MASK, "label_space": "mask"}
    source = tmp_path / "fp32.onnx"
    source.write_bytes(sharp(**facts))
    if precision == "int8":
        quantize_static(source, tmp_path / "int8.onnx", Batches(), quant_format=QuantFormat.QDQ, per_channel=True,
                        op_types_to_quantize=["Conv", "MatMul"], activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8)  # fmt: skip
        graph = onnx.load(tmp_path / "int8.onnx")
    else:
        graph = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    card = ClassificationCard(**card_facts(**facts, precision=precision))
    case = Case(tmp_path / "case", graph_file(graph, card), "mask")
    metrics = case.run(false_alarm_rate=0.1).metrics
    found = classifier(case.written()).card
    assert found.precision == precision and found.temperature == {"mask": metrics["temperature"]}
    assert abs(metrics["temperature"] / TEMPERATURE - 1) < 0.25
    assert metrics["log_loss_after"] < metrics["log_loss_before"]


def test_a_model_that_is_calibrated_again_tells_both_temperatures_as_one(masks: Case, tmp_path: Path) -> None:
    first = masks.run("first").metrics["temperature"]
    again = Case(tmp_path / "again", masks.written("first"), "mask")
    second = again.run().metrics["temperature"]
    card = classifier(again.written()).card
    assert card.temperature == {"mask": pytest.approx(first * second)}
    others = pictures(50, seed=4)
    expected = tempered(classifier(masks.content).infer(others)["mask"], first * second)
    np.testing.assert_allclose(classifier(again.written()).infer(others)["mask"], expected, atol=1e-5)


def test_the_component_logs_only_numbers(masks: Case, tmp_path: Path) -> None:
    masks.run("first")
    logged: dict[str, float] = {}
    metrics = SimpleNamespace(log_metric=logged.__setitem__)
    calibrated = SimpleNamespace(path=str(tmp_path / "calibrated"), metadata={})
    component.python_func(
        model=SimpleNamespace(path=str(tmp_path / "model")),
        predictions=SimpleNamespace(path=str(tmp_path / "predictions.csv")),
        annotations=SimpleNamespace(path=str(tmp_path / "annotations.json")),
        calibrated=calibrated,
        metrics=metrics,
        report=SimpleNamespace(path=str(tmp_path / "report.html")),
        false_alarm_rate=0.1,
    )
    assert json.loads(json.dumps(logged, allow_nan=False)).keys() > {"temperature", "notify_miss_rate"}
    assert calibrated.metadata["sha256"] == load_model(calibrated.path).sha256
