"""Paired comparisons: each draw is scored as the metrics of the reports score it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from components.shared.metrics import bootstrap
from components.shared.metrics.bootstrap import drawn_counts
from components.shared.metrics.drawn_precision import precision_interval, precision_score
from components.shared.metrics.matching import Comparison, PhotoBoxes
from components.shared.metrics.paired import mcnemar, paired_average_precision, paired_macro_f1


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=40),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_a_draw_of_persons_has_scikit_learns_macro_f1(faces: list[tuple[int, int, int]], seed: int) -> None:
    """Some classes are absent, some persons are drawn twice or not at all."""
    truth, predicted, groups = (np.array(column) for column in zip(*faces, strict=True))
    _, groups = np.unique(groups, return_inverse=True)
    count = int(groups.max()) + 1
    drawn = np.bincount(np.random.default_rng(seed).integers(count, size=count), minlength=count)
    score = drawn_counts(drawn[None].astype(float), groups, truth, predicted, 5).macro_f1s()
    rows = np.repeat(np.arange(len(truth)), drawn[groups])
    expected = f1_score(truth[rows], predicted[rows], average="macro", zero_division=0)
    assert score[0] == pytest.approx(expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_draw_of_photos_has_cocos_average_precision(seed: int, labels: int) -> None:
    """Of photos that are drawn twice COCO sees two; also with equal scores in several photos, photos without
    faces, and labels without any."""
    random = np.random.default_rng(seed)
    photos = []
    for _ in range(int(random.integers(1, 7))):
        truths, found = int(random.integers(0, 4)), int(random.integers(0, 5))
        corners = random.integers(0, 5, (truths + found, 2)) * 20.0
        boxes = np.concatenate([corners, np.full((truths + found, 2), 18.0)], axis=1)
        photos.append(
            PhotoBoxes(
                boxes[:truths], boxes[truths:], random.permutation(5)[:found] / 4, random.integers(0, labels, truths),
                random.integers(0, labels, found), np.empty((0, 4)),
            )
        )  # fmt: skip
    drawn = np.bincount(random.integers(len(photos), size=len(photos)), minlength=len(photos))
    score = precision_score(Comparison(photos, labels).match(), labels)(drawn[None].astype(float))[0]
    chosen = [photo for photo, times in zip(photos, drawn, strict=True) for _ in range(times)]
    expected = Comparison(chosen, labels).match().mean_average_precision()
    assert score == pytest.approx(expected, nan_ok=True)


def test_the_difference_of_equal_models_is_zero_and_of_opposite_ones_is_sure() -> None:
    truth, groups = np.arange(60) % 3, np.arange(60) // 5
    wrong = (truth + 1) % 3
    same = paired_macro_f1(truth, wrong, wrong, groups, 3)
    assert (same.better, same.worse, same.low, same.high, same.groups) == (0, 0, 0, 0, 12)
    sure = paired_macro_f1(truth, truth, wrong, groups, 3)
    assert (sure.first, sure.second, sure.better, sure.low) == (1, 0, 1, 1)
    assert paired_macro_f1(truth, wrong, truth, groups, 3).worse == 1
    half = np.where(groups % 2 == 0, truth, wrong)
    turns = [paired_macro_f1(truth, truth, half, groups, 3, seed=seed) for seed in (1, 1, 2)]
    assert turns[0] == turns[1] != turns[2], "the seed decides"


def test_draws_do_not_depend_on_how_many_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.random.default_rng(3).integers(0, 3, 50)
    first, second = (np.where(np.random.default_rng(n).random(50) < 0.7, truth, 0) for n in (1, 2))
    whole = paired_macro_f1(truth, first, second, np.arange(50), 3, resamples=100)
    monkeypatch.setattr(bootstrap, "_LARGEST", 137)
    assert paired_macro_f1(truth, first, second, np.arange(50), 3, resamples=100) == whole


def test_the_interval_of_a_detector_is_by_photo() -> None:
    """Ten equal faces in each photo have the interval of one; a photo alone has none."""
    none, ends = np.empty((0, 4)), []
    for copies in (1, 10):
        photos = []
        for number in range(30):
            boxes = np.array([(40.0 * k, 0, 30, 30) for k in range(copies)])
            found = boxes if number % 3 else none
            labels = np.zeros(copies, int)
            photos.append(PhotoBoxes(boxes, found, np.full(len(found), 0.9), labels, labels[: len(found)], none))
        matches = Comparison(photos).match()
        ends.append(precision_interval(matches, 1, resamples=500, seed=0))
    assert ends[0] is not None and ends[0] == pytest.approx(ends[1])
    assert ends[0].low < matches.mean_average_precision() < ends[0].high
    assert precision_interval(Comparison(photos[:1]).match(), 1, resamples=500, seed=0) is None
    assert precision_interval(matches, 1, resamples=0, seed=0) is None


def test_detectors_without_a_face_have_no_difference() -> None:
    none = np.empty((0, 4))
    photos = [PhotoBoxes(none, none, np.empty(0), np.empty(0, int), np.empty(0, int), none)] * 3
    matches = Comparison(photos).match()
    result = paired_average_precision(matches, matches, 1, resamples=10)
    assert (result.better, result.worse, result.low, result.high) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (3, 3, 1.0), (1, 9, 0.021484375)]
)
def test_mcnemars_exact_test(only_first: int, only_second: int, p: float) -> None:
    """Two-sided binomial probabilities by hand: 2 / 2**5, and 2 * 11 / 2**10."""
    first = np.array([True] * only_first + [False] * only_second + [True, False] * 4)
    second = np.array([False] * only_first + [True] * only_second + [True, False] * 4)
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second) == (only_first, only_second)
    assert result.p_value == pytest.approx(p)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 600), st.integers(0, 600))
def test_mcnemars_p_value_is_scipys(only_first: int, only_second: int) -> None:
    first = np.repeat([True, False], [only_first, only_second])
    count = only_first + only_second
    expected = binomtest(only_first, count).pvalue if count else 1.0
    assert mcnemar(first, ~first).p_value == pytest.approx(expected, rel=1e-9)
