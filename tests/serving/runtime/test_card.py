"""Model cards: read with the defaults of earlier versions, refused with words where they are wrong."""

import json
from typing import Any

import pytest
from tiny_model import card_facts, detection_facts

from serving.runtime.card import (
    METADATA_KEY,
    ClassificationCard,
    DetectionCard,
    DetectionThresholds,
    Letterbox,
    read_card,
)
from serving.runtime.errors import InputError


def test_a_card_without_a_task_is_of_a_classifier() -> None:
    card = read_card(json.dumps(card_facts()), "m.onnx")
    assert isinstance(card, ClassificationCard)
    assert (card.task, card.crop.scale, card.card_version) == ("classification", 1.3, 1)
    assert card.outputs == {"mask": (3,), "gender": (2,)}


def test_a_card_says_its_precision_only_where_it_is_not_float32() -> None:
    for facts, expected in ((card_facts(), "fp32"), (card_facts(precision="int8"), "int8")):
        card = read_card(json.dumps(facts), "m.onnx")
        assert card.precision == expected
        assert ("precision" in card.to_metadata()[METADATA_KEY]) is (expected != "fp32"), "older versions refuse it"


def test_a_detection_card_has_its_rules() -> None:
    card = read_card(json.dumps(detection_facts(thresholds={"score": 0.4}, resize={"background": 0})), "m.onnx")
    assert isinstance(card, DetectionCard)
    assert (card.thresholds.score, card.thresholds.nms_iou, card.thresholds.max_detections) == (0.4, 0.5, 100)
    assert card.resize == Letterbox(background=0, position="center") and card.color == "RGB"
    assert card.outputs == {"boxes": (None, 4), "scores": (None, 1)}
    pointed = read_card(json.dumps(detection_facts(points=["left_eye", "right_eye", "nose"])), "m.onnx")
    assert pointed.outputs["points"] == (None, 3, 2)


def test_thresholds_change_where_an_option_is_stated() -> None:
    thresholds = DetectionThresholds(score=0.4, nms_iou=0.3, max_detections=7)
    for options, expected in (
        ({}, (0.4, 0.3, 7)),
        ({"score": None, "nms_iou": None, "tile": 64}, (0.4, 0.3, 7)),
        ({"score": 0.0}, (0.0, 0.3, 7)),
        ({"nms_iou": 0.9, "score": 0.8}, (0.8, 0.9, 7)),
    ):
        changed = thresholds.changed(options)
        assert (changed.score, changed.nms_iou, changed.max_detections) == expected


@pytest.mark.parametrize("facts", [card_facts(), detection_facts(points=["nose"])])
def test_what_a_card_writes_is_read(facts: dict[str, Any]) -> None:
    card = read_card(json.dumps(facts), "m.onnx")
    text = card.to_metadata()[METADATA_KEY]
    assert read_card(text, "m.onnx") == card
    assert json.loads(text)["task"] == card.task and "null" not in text


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (card_facts(task="pose"), r"unknown 'task' 'pose'; known: 'classification', 'detection'"),
        (card_facts(task=None), "known: 'classification', 'detection'|tag"),
        ([], "not valid"),
        (card_facts(heads=[]), "classification.heads: Tuple should have at least 1 item"),
        (card_facts(heads=2 * [{"name": "a", "labels": ["x", "y"]}]), "head names must differ"),
        (card_facts(labels=["face"]), "classification.labels: Extra inputs"),
        (detection_facts(labels=["face", "face"]), "labels must differ"),
        (detection_facts(labels=[]), "detection.labels"),
        (detection_facts(thresholds={"nms_iou": 0}), "detection.thresholds.nms_iou: .* greater than 0"),
        (detection_facts(thresholds={"score": 1.5}), "detection.thresholds.score"),
        (detection_facts(color="GRAY"), "detection.color: .*'RGB' or 'BGR'"),
        (detection_facts(resize={"position": "left"}), "detection.resize.position"),
        (detection_facts(heads=[]), "detection.heads: Extra inputs"),
        (card_facts(features="mask"), "classification: Value error, features: 'mask' is the name of a head"),
        (
            card_facts(temperature={"masks": 1.5}),
            r"temperature: \['masks'\] are none of the heads \['mask', 'gender'\]",
        ),
        (card_facts(temperature={"mask": 0}), "classification.temperature.mask: Input should be greater than 0"),
    ],
)
def test_a_wrong_card_is_refused_with_words(facts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_card(json.dumps(facts), "m.onnx")
    assert str(caught.value).startswith("m.onnx: its model card is not valid for this version of Facet: ")
