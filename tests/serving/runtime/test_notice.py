"""The notice about a face's mask: the rule of a model, from its card or its labels, and what it says of a face."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_detector import build_detector, draw_faces
from tiny_model import build_model, card_facts

from serving.runtime.card import METADATA_KEY, ClassificationCard, Head, Notify, read_card
from serving.runtime.errors import InputError
from serving.runtime.face_json import face_json
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model, open_model
from serving.runtime.notice import judge, mask_rule, rule_of

JOINT = Head(
    name="mask_gender_age",
    labels=tuple(
        f"{mask}/{gender}/{age}"
        for mask in ("worn", "incorrect", "absent")
        for gender in ("male", "female")
        for age in ("<30", "30-59", ">=60")
    ),
)
MASK = Head(name="mask", labels=("worn", "incorrect", "absent"))
OLD = Path(__file__).parents[2] / "written_before"


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ([MASK], ("mask", {"incorrect": ("incorrect",), "absent": ("absent",)})),
        ([Head(name="gender", labels=("male", "female")), MASK], ("mask", {"incorrect": 1, "absent": 1})),
        ([JOINT], ("mask_gender_age", {"incorrect": JOINT.labels[6:12], "absent": JOINT.labels[12:]})),
        ([Head(name="mask", labels=("absent", "worn"))], ("mask", {"absent": ("absent",)})),
        ([Head(name="mask", labels=("worn", "incorrect"))], ("mask", {"incorrect": ("incorrect",)})),
        ([Head(name="mask", labels=("incorrect", "absent"))], None),
        ([Head(name="mask", labels=("worn", "absent", "scarf"))], None),
        ([Head(name="glasses", labels=("worn", "absent"))], None),
        ([Head(name="gender_age", labels=("male/<30", "female/<30"))], None),
    ],
)
def test_the_rule_follows_from_the_labels_of_a_head_of_masks(heads: list[Head], expected: Any) -> None:
    rule = mask_rule(heads, 0.75)
    if expected is None:
        assert rule is None
        return
    assert rule is not None and (rule.head, rule.threshold) == (expected[0], 0.75)
    for reason, labels in expected[1].items():
        assert rule.reasons[reason] == labels or len(rule.reasons[reason]) == labels
    assert rule.reasons.keys() == expected[1].keys()


def test_the_confidence_is_the_sum_over_the_reasons_and_the_reason_the_larger_sum() -> None:
    rng = np.random.default_rng(0)
    for concentration in (0.1, 1.0, 10.0):
        for probabilities in rng.dirichlet(np.full(18, concentration), 200).astype(np.float32):
            heads = {JOINT.name: dict(zip(JOINT.labels, probabilities.tolist(), strict=True))}
            threshold = float(rng.random())
            notice = judge(mask_rule([JOINT], threshold), heads)
            worn, incorrect, absent = probabilities.astype(float).reshape(3, 6).sum(1)
            assert notice.confidence == pytest.approx(min(1, incorrect + absent), abs=1e-8)
            assert 0 <= notice.confidence <= 1 and notice.notify is (notice.confidence >= threshold)
            assert notice.reason == (("incorrect" if incorrect > absent else "absent") if notice.notify else None)
            assert math.isclose(worn + notice.confidence, 1, abs_tol=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "threshold", "expected"),
    [
        ((0.5, 0.25, 0.25), 0.5, (True, "absent", 0.5)),  # equality notices, of equal reasons it is the graver one
        ((0.5, 0.3, 0.2), np.nextafter(0.5, 1), (False, None, 0.5)),
        ((0.4, 0.35, 0.25), 0.5, (True, "incorrect", 0.6)),  # neither reason alone is the most probable label
        ((1.0, 0.0, 0.0), 0.0, (True, "absent", 0.0)),
        ((0.0, 0.6, 0.4000001), 1.0, (True, "incorrect", 1.0)),  # the sum of float32 may exceed 1
        ((0.5 + 1e-12, 0.0, 0.5 - 1e-12), 0.5, (True, "absent", 0.5)),  # what is shown decides
    ],
)
def test_ties_and_thresholds(probabilities: tuple[float, ...], threshold: float, expected: tuple[Any, ...]) -> None:
    notice = judge(mask_rule([MASK], threshold), {"mask": dict(zip(MASK.labels, probabilities, strict=True))})
    assert (notice.notify, notice.reason, notice.confidence) == expected


@pytest.mark.parametrize(
    ("notify", "message"),
    [
        ({"head": "hat", "reasons": {"absent": ["absent"]}}, r"notify.head 'hat' is none of the heads \['mask', 'gend"),
        ({"head": "mask", "reasons": {"absent": ["none"]}}, r"\['none'\] are no labels of head 'mask'"),
        (
            {"head": "mask", "reasons": {"absent": ["absent"], "incorrect": ["absent"]}},
            "labels of the reasons must",
        ),
        ({"head": "gender", "reasons": {"absent": ["male", "female"]}}, "all labels of head 'gender' are reasons"),
        ({"head": "mask", "reasons": {"late": ["absent"]}}, "notify.reasons.late"),
        ({"head": "mask", "reasons": {"absent": []}}, "notify.reasons.absent"),
        ({"head": "mask", "reasons": {}}, "notify.reasons"),
        ({"head": "mask", "reasons": {"absent": ["absent"]}, "threshold": 1.5}, "notify.threshold"),
    ],
)
def test_a_wrong_rule_of_a_card_is_refused(notify: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_card(json.dumps(card_facts(notify=notify)), "m.onnx")


def test_the_rule_of_a_card_comes_before_that_of_its_labels_and_none_is_written() -> None:
    own = Notify(head="gender", reasons={"absent": ("female",)}, threshold=0.9)
    card = read_card(json.dumps(card_facts(notify=own.model_dump())), "m.onnx")
    assert isinstance(card, ClassificationCard) and rule_of(card) == own
    assert read_card(card.to_metadata()[METADATA_KEY], "m.onnx") == card
    older = read_card(json.dumps(card_facts()), "m.onnx")
    assert isinstance(older, ClassificationCard) and rule_of(older) == mask_rule([MASK])
    assert "notify" not in older.to_metadata()[METADATA_KEY]


@pytest.mark.parametrize("run", ["plain", "gabor"])
def test_models_that_were_written_before_judge_masks(run: str) -> None:
    model = load_model(str(OLD / run))
    ((face,),) = model.predict([(Photo.of_pixels(np.full((40, 40, 3), 90, np.uint8)), [])])
    probabilities = face.heads["mask"]
    assert face.notice is not None
    assert face.notice.confidence == pytest.approx(probabilities["incorrect"] + probabilities["absent"], abs=1e-8)


def test_a_face_has_its_notice_only_from_a_model_of_masks() -> None:
    photo = Photo.of_pixels(np.full((40, 40, 3), 200, np.uint8))
    ((face,),) = open_model(build_model(), threads=1).predict([(photo, [])])
    described = face_json(face)
    shown = described["heads"]["mask"]["probabilities"]
    assert list(described) == ["box", "score", "crop", "heads", "notify", "notify_reason", "notify_confidence"]
    assert described["notify_confidence"] == pytest.approx(shown["incorrect"] + shown["absent"], abs=1e-8)
    assert described["notify"] is (described["notify_confidence"] >= 0.5)
    assert (described["notify_reason"] is None) is not described["notify"]
    hat = card_facts(label_space="hat:cap,none", heads=[{"name": "hat", "labels": ["cap", "none"]}])
    ((face,),) = open_model(build_model(hat), threads=1).predict([(photo, [])])
    assert face.notice is None and not any(key.startswith("notify") for key in face_json(face))


def test_the_faces_of_a_composite_have_the_most_urgent_notice_of_its_models(tmp_path: Path) -> None:
    """Two models of masks, of which the second notices everything; a third one judges none."""
    hat = [{"name": "hat", "labels": ["cap", "none"]}]
    other = [{"name": "mask_state", "labels": ["absent", "worn"]}]
    always = {"head": "mask_state", "reasons": {"absent": ["absent"]}, "threshold": 0.0}
    (tmp_path / "green.onnx").write_bytes(build_detector(side=(320, 320)))
    never = {"head": "mask", "reasons": {"absent": ["absent"]}, "threshold": 1.0}
    (tmp_path / "mask.onnx").write_bytes(build_model(card_facts(notify=never)))
    (tmp_path / "other.onnx").write_bytes(build_model(card_facts(heads=other, notify=always)))
    (tmp_path / "hat.onnx").write_bytes(build_model(card_facts(heads=hat)))
    photo = Photo.of_pixels(np.asarray(Image.fromarray(draw_faces((240, 320), [(20, 20, 60, 60)], [255]))))
    for members, head in ((["mask", "hat"], "mask"), (["other", "mask", "hat"], "mask_state"), (["hat"], None)):
        card = {"name": "people", "detectors": ["green.onnx"], "heads": [f"{name}.onnx" for name in members]}
        (tmp_path / "composite.json").write_text(json.dumps(card))
        ((face,),) = load_model(str(tmp_path)).predict([(photo, [])])
        if head is None:
            assert face.notice is None
            continue
        assert face.notice is not None and face.notice.notify is (head == "mask_state")
        assert face.notice.confidence == pytest.approx(face.heads[head]["absent"], abs=1e-8)
