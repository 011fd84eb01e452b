"""Detection metrics: what counts as found, and average precision as COCO's own code and ultralytics compute it."""

import contextlib
import io
import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from ultralytics_scores import ultralytics_scores

from components.shared.metrics.detection import FROM_24, IOUS, SIZES, DetectionScores, detection_scores, label_metrics
from components.shared.metrics.matching import Comparison, PhotoBoxes
from serving.runtime.errors import InputError


def photo(truths: list, found: list, ignored: list = ()) -> PhotoBoxes:  # type: ignore[assignment]
    """Found boxes come with their score as a fifth number; labels may follow, 0 by default."""
    true, boxes = ([[*row, *[0] * (length - len(row))] for row in rows] for rows, length in ((truths, 5), (found, 6)))
    true_rows, found_rows = np.array(true, float).reshape(-1, 5), np.array(boxes, float).reshape(-1, 6)
    return PhotoBoxes(
        truths=true_rows[:, :4],
        found=found_rows[:, :4],
        scores=found_rows[:, 4],
        truth_labels=true_rows[:, 4].astype(int),
        found_labels=found_rows[:, 5].astype(int),
        ignored=np.array(ignored, float).reshape(-1, 4),
    )


def scored(photos: list[PhotoBoxes], labels: int, threshold: float) -> DetectionScores:
    """Scores of boxes that are both what the endpoint gives and what was found under every label."""
    return detection_scores(photos, photos, labels, threshold)


def test_recall_false_alarms_and_sizes_count_by_the_shorter_side() -> None:
    photos = [
        photo(
            [(0, 0, 40, 40), (100, 0, 40, 40), (200, 0, 10, 300)],
            [(2, 0, 40, 40, 0.9), (0, 2, 40, 40, 0.8), (200, 0, 10, 300, 0.7), (300, 0, 50, 50, 0.6)],
        ),
        photo([(0, 0, 24, 500)], [(0, 0, 24, 500, 0.4)]),
    ]
    scores = scored(photos, 1, 0.5)
    counts = scores.overall.served.at(0.5)
    assert (counts.faces, counts.right, counts.false, counts.photos) == (4, 2, 2, 2)
    assert (counts.recall, counts.precision, counts.false_positives) == (0.5, 0.5, 1.0)
    assert scores.confusion.tolist() == [[2, 2], [2, 0]]
    sizes = {name: (len(one.served.truths), one.served.at(0.5).right) for name, one in scores.sizes.items()}
    assert sizes == {"under_24": (1, 1), "24_to_48": (3, 1), "48_to_96": (0, 0), "from_96": (0, 0)}
    assert len(scores.from_24.served.truths) == 3 and scores.from_24.served.at(0.5).false == 2
    assert scores.overall.served.at(0.4).right == 3 and scores.overall.served.found_by.tolist() == [0, -1, 2, 0]


def test_a_box_takes_the_face_that_counts_before_one_that_does_not() -> None:
    faces = photo([(0, 0, 20, 20), (0, 0, 26, 26)], [(0, 0, 21, 21, 0.9)])
    assert Comparison([faces]).match(sides=FROM_24).at(0).recall == 1


def test_nothing_is_missed_or_false_where_a_face_does_not_count() -> None:
    """A region takes any number of boxes of any label that lie in it; a true face beside it is still looked for."""
    boxes = [(0, 0, 30, 30, 0.9), (10, 10, 30, 30, 0.8, 1), (100, 0, 30, 30, 0.7), (200, 0, 30, 30, 0.6)]
    scores = scored([photo([(100, 0, 30, 30)], boxes, [(0, 0, 50, 50)])], 2, 0.5)
    for matches in (scores.overall.served, scores.any_label, scores.sizes["24_to_48"].served):
        assert (matches.at(0).right, matches.at(0).false, matches.at(0).faces) == (1, 1, 1)
    assert scores.scalars(["a", "b"])["map50"] == pytest.approx(1) and scores.confusion[2].tolist() == [1, 0, 0]


def test_a_wrong_label_is_a_confusion_and_no_find() -> None:
    scores = scored([photo([(0, 0, 30, 30, 0)], [(0, 0, 30, 30, 0.9, 1)])], 2, 0.5)
    assert scores.confusion.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert scores.overall.served.at(0.5).right == 0 and scores.any_label.at(0.5).right == 1
    assert scores.overall.served.at(0.5, 1).false == 1 and scores.overall.served.at(0.5, 0).faces == 1


def test_average_precision_is_of_the_boxes_of_every_label_and_everything_else_of_those_that_are_served() -> None:
    """Two faces that the best label confuses; each has the right label as its second one."""
    truths = [(0, 0, 30, 30, 0), (100, 0, 30, 30, 1)]
    served = [photo(truths, [(0, 0, 30, 30, 0.9, 1), (100, 0, 30, 30, 0.8, 0)])]
    second = [(0, 0, 30, 30, 0.6, 0), (100, 0, 30, 30, 0.5, 1)]
    every = [photo(truths, [(0, 0, 30, 30, 0.9, 1), (100, 0, 30, 30, 0.8, 0), *second])]
    scores = detection_scores(served, every, 2, 0.25)
    values = scores.scalars(["a", "b"])
    half = {name: values[name] for name in ("map50", "map50_95", "map50_from_24", "map50_24_to_48", "ap50_a", "ap50_b")}
    assert half == pytest.approx(dict.fromkeys(half, 0.5)), "a wrong box is above the right one, for each label"
    assert (values["precision"], values["recall"], values["false_positives"]) == (0, 0, 2)
    assert values["recall_24_to_48"] == 0 and scores.confusion.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_without_faces_or_boxes_ratios_are_nan_and_without_photos_it_is_an_error() -> None:
    nothing = scored([photo([], [])], 1, 0.5).scalars(["face"])
    assert all(math.isnan(nothing[name]) for name in ("map50", "map50_95", "recall", "precision", "recall_from_96"))
    blind = scored([photo([(0, 0, 9, 9)], [])], 1, 0.5).scalars(["face"])
    assert blind["map50"] == blind["recall"] == blind["false_positives"] == 0 and math.isnan(blind["precision"])
    empty = scored([photo([], [(0, 0, 9, 9, 0.6)])], 1, 0.5).scalars(["face"])
    assert empty["precision"] == 0 and empty["false_positives"] == 1 and math.isnan(empty["map50"])
    with pytest.raises(InputError, match="no photo"):
        scored([], 1, 0.5)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["worn/male/<30", "worn/male/>=60"], ["ap50_worn_male_30", "ap50_worn_male_60"]),
        (["<30", ">30"], ["ap50_0", "ap50_1"]),
        (["마스크", "?"], ["ap50_0", "ap50_1"]),
        (["with mask", "마스크"], ["ap50_with_mask", "ap50_마스크"]),
    ],
)
def test_names_of_label_metrics_are_different_and_are_taken_by_mlflow(labels: list[str], names: list[str]) -> None:
    assert label_metrics(labels) == names


BOX = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 60)] * 2)
LABELS = 3
"""The last label has no true face."""


@st.composite
def scenes(draw: st.DrawFn) -> list[PhotoBoxes]:
    """Photos of boxes that overlap often, with equal scores among them; some photos lack faces, boxes or both."""
    photos = []
    for _ in range(draw(st.integers(1, 5))):
        truths = draw(st.lists(st.tuples(BOX, st.integers(0, LABELS - 2)), max_size=4))
        found = draw(st.lists(st.tuples(BOX, st.sampled_from([0.1, 0.4, 0.5, 0.9]), st.integers(0, 2)), max_size=6))
        near = [(box, draw(st.sampled_from([0.2, 0.5, 0.7])), label) for box, label in truths if draw(st.booleans())]
        found += near
        photos.append(photo([(*b, k) for b, k in truths], [(*b, score, k) for b, score, k in found]))
    return photos


def plain_coco(photos: list[PhotoBoxes], labels: int) -> tuple[float, float]:
    """AP at 0.5 and at 0.5:0.95 as the program of pycocotools prints them; -1 without a true face."""
    annotations, results = [], []
    for number, one in enumerate(photos, start=1):
        for box, label in zip(one.truths.tolist(), one.truth_labels.tolist(), strict=True):
            common = {"image_id": number, "category_id": label + 1, "iscrowd": 0, "area": box[2] * box[3]}
            annotations.append({"id": len(annotations) + 1, "bbox": box, **common})
        for box, label, score in zip(one.found.tolist(), one.found_labels.tolist(), one.scores.tolist(), strict=True):
            results.append({"image_id": number, "category_id": label + 1, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number} for number in range(1, len(photos) + 1)],
            "annotations": annotations,
            "categories": [{"id": label} for label in range(1, labels + 1)],
            "info": {},
        }
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[1]), float(run.stats[0])


@settings(max_examples=80, deadline=None)
@given(scenes())
def test_average_precision_is_that_of_pycocotools(photos: list[PhotoBoxes]) -> None:
    if not any(len(one.found) for one in photos):
        return
    scores = scored(photos, LABELS, 0.5).scalars(["a", "b", "c"])
    ours = [-1.0 if math.isnan(scores[name]) else scores[name] for name in ("map50", "map50_95")]
    assert ours == pytest.approx(plain_coco(photos, LABELS), abs=1e-9)
    assert math.isnan(scores["ap50_c"])


@settings(max_examples=30, deadline=None)
@given(scenes())
def test_perfect_boxes_have_every_metric_at_one(photos: list[PhotoBoxes]) -> None:
    perfect = [
        photo([(*b, k) for b, k in rows], [(*b, 0.6, k) for b, k in rows])
        for one in photos
        for rows in [list(zip(one.truths.tolist(), one.truth_labels.tolist(), strict=True))]
    ]
    scores = scored(perfect, LABELS, 0.5).scalars(["a", "b", "c"])
    assert scores.pop("false_positives") == 0
    assert all(math.isnan(value) or value == pytest.approx(1) for value in scores.values())
    assert math.isnan(scores["map50"]) == (not any(len(one.truths) for one in perfect))


def check_counts(scores: DetectionScores, photos: list[PhotoBoxes], threshold: float) -> None:
    """What is found and missed adds up, in every size and in the confusion matrix."""
    truths = sum(len(one.truths) for one in photos)
    found = sum(int((one.scores >= threshold).sum()) for one in photos)
    counts = scores.overall.served.at(threshold)
    assert (counts.faces, counts.right + counts.false) == (truths, found)
    assert sum(len(one.served.truths) for one in scores.sizes.values()) == truths
    assert sum(scores.overall.served.at(threshold, label).right for label in range(LABELS)) == counts.right
    assert int((scores.overall.served.found_with >= threshold).sum()) == counts.right
    matrix = scores.confusion
    assert matrix[:-1].sum() == truths and matrix[:, :-1].sum() == found
    assert matrix[:-1, :-1].sum() == scores.any_label.at(threshold).right >= counts.right


@settings(max_examples=30, deadline=None)
@given(scenes(), st.sampled_from([0.1, 0.45, 0.5, 0.95]))
def test_counts_at_a_threshold_add_up(photos: list[PhotoBoxes], threshold: float) -> None:
    check_counts(scored(photos, LABELS, threshold), photos, threshold)


def drawn_detector(seed: int, labels: int, photos: int = 120) -> list[PhotoBoxes]:
    """Several hundred faces, found shifted and with scores that are no better than a real detector's."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(photos):
        truths = [(*rng.uniform(0, 500, 2), *(rng.uniform(12, 120) * rng.uniform(0.8, 1.3, 2)), rng.integers(labels))
                  for _ in range(rng.integers(0, 6))]  # fmt: skip
        found = []
        for x, y, w, h, label in truths:
            for _ in range(rng.integers(0, 3)):
                shift = rng.normal(0, 0.08, 4)
                box = x + shift[0] * w, y + shift[1] * h, w * (1 + shift[2]), h * (1 + shift[3])
                other = label if rng.random() < 0.9 else rng.integers(labels)
                found.append((*box, float(rng.beta(4, 2)), other))
        for _ in range(rng.integers(0, 8)):
            found.append(
                (*rng.uniform(0, 500, 2), *rng.uniform(10, 90, 2), float(rng.beta(1, 3)), rng.integers(labels))
            )
        made.append(photo(truths, found))
    return made


@pytest.mark.parametrize(("seed", "labels"), [(0, 1), (1, 1), (2, 2), (3, 4)])
def test_average_precision_is_within_a_hundredth_of_that_of_ultralytics(
    seed: int, labels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "YOLO_CONFIG_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    photos = drawn_detector(seed, labels)
    assert sum(len(one.truths) for one in photos) >= 200
    matches = Comparison(photos, labels)
    ours = matches.match().mean_average_precision(), matches.match(IOUS).mean_average_precision()
    theirs = ultralytics_scores(photos, labels)
    assert 0.2 < theirs[1] < theirs[0] < 0.99
    assert ours == pytest.approx(theirs, abs=0.01)


def test_sizes_part_all_lengths() -> None:
    bounds = [SIZES[name] for name in SIZES]
    assert bounds[0][0] == 0 and bounds[-1][1] == math.inf
    assert all(first[1] == second[0] for first, second in itertools.pairwise(bounds))
