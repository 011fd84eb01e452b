"""Which found face is which annotated one."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.detect_faces.assign import assign
from components.detect_faces.detections import FoundFace
from components.shared.dataset.annotations import Box, Face
from components.shared.dataset.boxes import overlap

LEFT, RIGHT, FAR = (10, 10, 40, 40), (100, 10, 40, 40), (200, 100, 60, 60)


def near(box: Box, by: float = 4) -> Box:
    return (box[0] + by, box[1], box[2], box[3])


def faces(*boxes: Box | None) -> list[Face]:
    return [Face(number, box, {}) for number, box in enumerate(boxes, start=1)]


def found(*boxes: Box, scores: tuple[float | None, ...] = ()) -> list[FoundFace]:
    return [FoundFace(box, "green", score) for box, score in zip(boxes, scores or (0.9,) * len(boxes), strict=True)]


@pytest.mark.parametrize(
    ("annotated", "boxes", "scores", "choose", "matches", "others", "chosen"),
    [
        # one face without a box
        ([None], [LEFT, FAR], (0.9, 0.6), "score", [0], [1], True),
        ([None], [LEFT, FAR], (0.9, 0.6), "largest", [1], [0], True),
        ([None], [LEFT, FAR], (0.9, 0.6), "best_iou", [0], [1], True),
        ([None], [LEFT, FAR], (0.9, 0.6), "all", [0], [1], True),
        ([None], [LEFT], (0.9,), "score", [0], [], False),
        ([None], [], (), "score", [None], [], False),
        ([None], [LEFT, FAR], (None, None), "score", [1], [0], True),
        # one face with a box
        ([FAR], [LEFT, near(FAR)], (0.9, 0.6), "best_iou", [1], [0], False),
        ([FAR], [LEFT, near(FAR)], (0.9, 0.6), "all", [1], [0], False),
        ([FAR], [LEFT, near(FAR)], (0.9, 0.6), "score", [0], [1], True),
        ([RIGHT], [LEFT, FAR], (0.9, 0.6), "best_iou", [None], [0, 1], False),
        ([LEFT], [near(LEFT, 20)], (0.9,), "best_iou", [None], [0], False),
        ([LEFT], [near(LEFT, 16)], (0.9,), "best_iou", [0], [], False),
        # several faces
        ([LEFT, RIGHT], [near(RIGHT), near(LEFT), FAR], (0.9, 0.8, 0.7), "score", [1, 0], [2], False),
        ([LEFT, RIGHT], [near(LEFT)], (0.9,), "best_iou", [0, None], [], False),
        ([LEFT, near(LEFT, 10)], [near(LEFT, 4)], (0.9,), "best_iou", [0, None], [], False),
        ([LEFT, near(LEFT, 10)], [near(LEFT, 9), near(LEFT, 4)], (0.9, 0.8), "largest", [1, 0], [], False),
        ([LEFT, None], [near(LEFT), RIGHT, FAR], (0.9, 0.8, 0.7), "score", [0, 1], [2], True),
        ([LEFT, None], [near(LEFT), RIGHT, FAR], (0.9, 0.8, 0.7), "largest", [0, 2], [1], True),
        ([None, None], [LEFT, RIGHT], (0.9, 0.8), "score", [None, None], [0, 1], False),
        ([], [LEFT], (0.9,), "score", [], [0], False),
    ],
)
def test_found_faces_are_assigned(
    annotated: list, boxes: list, scores: tuple, choose: str, matches: list, others: list, chosen: bool
) -> None:
    seen = found(*boxes, scores=scores)
    result = assign(faces(*annotated), seen, choose, 0.4)  # type: ignore[arg-type]
    assert list(result.faces) == [None if index is None else seen[index] for index in matches]
    assert (list(result.others), result.chosen) == ([seen[index] for index in others], chosen)


boxes = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(5, 40)] * 2)


@given(
    st.lists(st.none() | boxes, max_size=5), st.lists(boxes, max_size=6), st.sampled_from(["score", "best_iou", "all"])
)
def test_every_found_face_is_one_annotated_face_or_another(annotated: list, seen: list, choose: str) -> None:
    detected = found(*seen)
    result = assign(faces(*annotated), detected, choose, 0.4)  # type: ignore[arg-type]
    used = [face for face in result.faces if face is not None]
    assert sorted(map(id, [*used, *result.others])) == sorted(map(id, detected)), "each once"
    for box, match in zip(annotated, result.faces, strict=True):
        if box is not None and match is not None and choose != "score":
            assert overlap(box, match.box) >= 0.4
    if len(annotated) > 1:
        lonely = [box for box, match in zip(annotated, result.faces, strict=True) if box is not None and match is None]
        assert all(overlap(box, face.box) < 0.4 for box in lonely for face in result.others), "nothing more would match"


def test_the_largest_overlap_is_paired_first() -> None:
    row = [(10.0 + 6 * step, 10.0, 40.0, 40.0) for step in range(4)]
    result = assign(faces(*row), found(*(near(box, 1) for box in row)), "score", 0.4)
    lefts = [match.box[0] for match in result.faces if match is not None]
    assert all(first < second for first, second in pairwise(lefts)) and len(lefts) == 4
