"""Detection metrics: what counts as found, and average precision as COCO's own code computes it."""

import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.shared.metrics.detection import PhotoFaces, detection_scores
from serving.runtime.detection import corners, pairwise_iou
from serving.runtime.errors import InputError


def photo(truths: list, found: list, groups: tuple[str, ...] = ()) -> PhotoFaces:
    """Found boxes come with their score as a fifth number."""
    boxes = np.array(found, float).reshape(-1, 5)
    return PhotoFaces(np.array(truths, float).reshape(-1, 4), boxes[:, :4], boxes[:, 4], groups)


def test_recall_false_positives_and_groups() -> None:
    photos = [
        photo(
            [(0, 0, 40, 40), (100, 0, 40, 40), (200, 0, 10, 30)],
            [(2, 0, 40, 40, 0.9), (0, 2, 40, 40, 0.8), (200, 0, 10, 30, 0.7), (300, 0, 9, 9, 0.6)],
            ("masked", "bare", "masked"),
        ),
        photo([(0, 0, 50, 50)], [], ("bare",)),
    ]
    scores = detection_scores(photos, iou=0.5, sides=(24, math.inf))
    assert (scores.photos, scores.faces, scores.ignored) == (2, 3, 1)
    assert scores.recall == pytest.approx(1 / 3) and scores.precision == pytest.approx(1 / 3)
    assert scores.false_positives == 1  # the second box on one face, and the one where nothing is
    assert {name: group.recall for name, group in scores.groups.items()} == {"masked": 1, "bare": 0}
    assert detection_scores(photos, sides=(5, 24)).recall == 1


def test_a_box_takes_the_face_that_counts_before_one_that_does_not() -> None:
    faces = photo([(0, 0, 20, 20), (0, 0, 26, 26)], [(0, 0, 21, 21, 0.9)])
    assert detection_scores([faces], sides=(24, math.inf)).recall == 1


def test_without_faces_or_boxes_ratios_are_nan_and_without_photos_it_is_an_error() -> None:
    scores = detection_scores([photo([], [])])
    assert math.isnan(scores.recall) and math.isnan(scores.precision) and math.isnan(scores.average_precision)
    assert detection_scores([photo([(0, 0, 9, 9)], [])]).scalars()["recall"] == 0
    with pytest.raises(InputError, match="no photo"):
        detection_scores([])


BOX = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2)


@st.composite
def scenes(draw: st.DrawFn) -> list[PhotoFaces]:
    """Photos of a few boxes that overlap often; all scores differ, and so do the overlaps of a box with the faces."""
    count = draw(st.integers(1, 4))
    truths = [draw(st.lists(BOX, max_size=4, unique=True)) for _ in range(count)]
    found = [draw(st.lists(BOX, max_size=5, unique=True)) for _ in range(count)]
    order = iter(draw(st.permutations([n / 100 for n in range(1, 1 + sum(map(len, found)))])))
    photos = [photo(a, [(*box, next(order)) for box in b]) for a, b in zip(truths, found, strict=True)]
    for one in photos:
        for row in pairwise_iou(corners(one.found), corners(one.truths)):
            taken = row[row >= 0.4]
            if len(set(taken.tolist())) != len(taken):
                return []
    return photos


def coco_average_precision(photos: list[PhotoFaces], iou: float, smallest: float) -> float:
    """AP by pycocotools; a true face that is too small has an `area` outside the range, which makes COCO ignore it."""
    annotations, results = [], []
    for number, one in enumerate(photos, start=1):
        for box in one.truths.tolist():
            area = 1e4 if min(box[2:]) >= smallest else 1e9
            common = {"image_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "bbox": box, "area": area, **common})
        for box, score in zip(one.found.tolist(), one.scores.tolist(), strict=True):
            results.append({"image_id": number, "category_id": 1, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number} for number in range(1, len(photos) + 1)],
            "annotations": annotations,
            "categories": [{"id": 1}],
            "info": {},
        }
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(results), "bbox")
        run.params.iouThrs, run.params.areaRng, run.params.areaRngLbl = np.array([iou]), [[0, 1e5]], ["all"]
        run.params.maxDets = [100]
        run.evaluate()
        run.accumulate()
    return float(run.eval["precision"].mean())


@given(scenes(), st.sampled_from([0.4, 0.5, 0.75]), st.integers(0, 6))
def test_average_precision_is_that_of_coco(photos: list[PhotoFaces], iou: float, smallest: int) -> None:
    if not any(len(one.found) for one in photos):
        return
    ours = detection_scores(photos, iou=iou, sides=(smallest, math.inf))
    if ours.faces:
        assert ours.average_precision == pytest.approx(coco_average_precision(photos, iou, smallest), abs=1e-9)
