"""Soft targets: certainty, persons nobody can tell, annotated shares."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.shared.dataset.label_spaces import LABEL_SPACES, label_space
from components.shared.options import parse_options
from components.train_classifier.config.objective import SoftTargetSpec
from components.train_classifier.data.faces import SHIPPED_TABLES, SoftTargets, read_persons
from serving.runtime.errors import InputError, NotFoundError

FACE = {"mask": "incorrect", "gender": "female", "age": 60}


def targets(space: str, face: dict[str, Any], person: str | None = None, **spec: Any) -> list[list[float]] | None:
    rule = SoftTargets(parse_options(SoftTargetSpec, spec, "soft_targets"), label_space(space))
    found = rule(face, person)
    if found is None:
        return None
    assert all(row.dtype == np.float32 and abs(float(row.sum()) - 1) < 1e-6 for row in found)
    return [[round(float(share), 6) for share in row] for row in found]


@pytest.mark.parametrize("name", [*LABEL_SPACES, "emotion:happy,sad"])
def test_labels_without_doubt_are_one_hot_and_agree_with_the_label_space(name: str) -> None:
    space = label_space(name)
    faces: list[dict[str, Any]] = [
        {"mask": mask, "gender": gender, "age": age, "emotion": emotion}
        for mask, gender, age, emotion in itertools.product(
            ("worn", "incorrect", "absent"), ("male", "female"), (29, 30, 59, 60), ("happy", "sad")
        )
    ]
    rule = SoftTargets(SoftTargetSpec(), space)
    for face in faces:
        found, encoded = rule(face), space.encode(face)
        assert found is not None and encoded is not None
        assert [int(row.argmax()) for row in found] == list(encoded)
        assert all(set(row.tolist()) == {0.0, 1.0} for row in found)
        assert [len(row) for row in found] == [len(head.labels) for head in space.heads]


def test_gender_smoothing() -> None:
    certainty = {"gender": 0.95}
    assert targets("gender", {"gender": "male"}, certainty=certainty) == [[0.95, 0.05]]
    assert targets("gender", {"gender": "female"}, certainty=certainty) == [[0.05, 0.95]]
    assert targets("all", FACE, certainty=certainty) == [[0, 1, 0], [0.05, 0.95], [0, 0, 1]]
    joint = targets("mask_gender_age", FACE, certainty=certainty)
    assert joint is not None and {index: share for index, share in enumerate(joint[0]) if share} == {8: 0.05, 11: 0.95}
    assert targets("mask", FACE, certainty={"mask": 0.9}) == [[0.05, 0.9, 0.05]]


def test_persons_nobody_can_tell() -> None:
    uncertain = {"gender": "ambiguous_gender"}
    assert targets("gender", FACE, "003724", uncertain=uncertain) == [[0.5, 0.5]]
    assert targets("gender", FACE, "003724-1", uncertain=uncertain) == [[0, 1]], "ids are compared exactly"
    assert targets("gender", FACE, None, uncertain=uncertain) == [[0, 1]]
    assert targets("gender", {}, "003724", uncertain=uncertain) == [[0.5, 0.5]]
    both = targets("gender_age", FACE, "001270", uncertain=uncertain, certainty={"gender": 0.95})
    assert both == [[0, 0, 0.5, 0, 0, 0.5]]
    assert len(read_persons("ambiguous_gender")) == 8


def test_soft_targets_of_the_annotation() -> None:
    face = {**FACE, "soft_targets": {"gender": {"남": 0.25, "female": 0.75}, "age": {"30-59": 0.5, ">=60": 0.5}}}
    assert targets("all", face, certainty={"gender": 0.95}) == [[0, 1, 0], [0.25, 0.75], [0, 0.5, 0.5]]
    joint = targets("gender_age", face)
    assert joint == [[0, 0.125, 0.125, 0, 0.375, 0.375]]
    table = targets("gender", face, "003724", uncertain={"gender": "ambiguous_gender"})
    assert table == [[0.5, 0.5]], "the table of this training goes before the annotation"
    emotion = {"soft_targets": {"emotion": {"happy": 1.0, "sad": 0}}}
    assert targets("emotion:happy,sad", emotion) == [[1, 0]]


def test_thresholds_of_the_training_move_the_classes() -> None:
    rule = SoftTargets(SoftTargetSpec(), label_space("gender_age", (30, 58)))
    found = rule({"gender": "male", "age": 58})
    assert found is not None and int(found[0].argmax()) == 2


def test_an_unknown_fact_gives_no_targets() -> None:
    assert targets("all", {"mask": "worn", "gender": "male"}) is None
    assert targets("gender", {}) is None


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    table = tmp_path / "persons.csv"
    table.write_bytes("\ufeffnote,person\nshort hair, 000001 \n,000002-1\n,\n".encode())
    assert read_persons(str(table)) == {"000001", "000002-1"}
    table.write_text("id\n000001\n")
    with pytest.raises(InputError, match="expected a header with the columns person, each once; found id"):
        read_persons(str(table))
    with pytest.raises(NotFoundError, match="ambiguous_gender"):
        read_persons("ambigous_gender")
    assert set(SHIPPED_TABLES) == {"ambiguous_gender"}


@pytest.mark.parametrize(
    ("soft", "words"),
    [
        ([0.5, 0.5], "expected a mapping"),
        ({"gender": [0.5, 0.5]}, "'gender': expected a mapping"),
        ({"gender": {"male": 0.5, "female": 0.4}}, "sum to 1"),
        ({"gender": {"male": 1.5, "female": -0.5}}, "from 0 to 1"),
        ({"gender": {"male": "half", "female": 0.5}}, "from 0 to 1"),
        ({"gender": {"x": 0.5, "female": 0.5}}, "'x'"),
        ({"gender": {"male": float("nan"), "female": 0.5}}, "from 0 to 1"),
    ],
)
def test_wrong_shares_are_explained(soft: Any, words: str) -> None:
    with pytest.raises(InputError, match="soft_targets") as caught:
        targets("gender", {**FACE, "soft_targets": soft})
    assert words in str(caught.value)


@pytest.mark.parametrize("spec", [{"certainty": {"gender": 0.95}}, {"uncertain": {"gender": "ambiguous_gender"}}])
def test_attributes_of_another_label_space_are_refused(spec: Any) -> None:
    with pytest.raises(InputError, match="'gender'.*'mask'"):
        targets("mask", FACE, **spec)
