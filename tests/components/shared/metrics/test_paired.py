"""Paired comparisons: each draw is scored as the metrics of the reports score it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from components.shared.metrics.matching import Comparison, PhotoBoxes
from components.shared.metrics.paired import fewest_groups, mcnemar, paired_average_precision, paired_macro_f1


def drawn_groups(count: int, seed: int) -> np.ndarray:
    """How often each group is in the only draw of a seed."""
    return np.bincount(np.random.default_rng(seed).integers(count, size=count), minlength=count)


@given(
    st.lists(st.tuples(*[st.integers(0, 3)] * 3, st.integers(0, 5)), min_size=1, max_size=40),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_a_draw_of_persons_has_scikit_learns_macro_f1(faces: list[tuple[int, int, int, int]], seed: int) -> None:
    """Some classes are absent, some persons are drawn twice or not at all."""
    truth, first, second, groups = (np.array(column) for column in zip(*faces, strict=True))
    _, groups = np.unique(groups, return_inverse=True)
    drawn = drawn_groups(int(groups.max()) + 1, seed)
    for times, name in ((np.ones_like(drawn), "whole"), (drawn, "draw")):
        rows = np.repeat(np.arange(len(truth)), times[groups])
        one, other = (f1_score(truth[rows], of[rows], average="macro", zero_division=0) for of in (first, second))
        result = paired_macro_f1(truth, first, second, groups, 5, resamples=1, seed=seed)
        got = result.first - result.second if name == "whole" else result.low
        assert got == pytest.approx(one - other, abs=1e-12)
        assert result.low == result.high and result.better == (result.low > 0)


def random_photos(random: np.random.Generator, truths: list[np.ndarray], labels: int) -> list[PhotoBoxes]:
    """Photos with these true boxes, and found ones at the same corners or others."""
    photos = []
    for known in truths:
        found = int(random.integers(0, 5))
        boxes = np.concatenate([random.integers(0, 5, (found, 2)) * 20.0, np.full((found, 2), 18.0)], axis=1)
        photos.append(
            PhotoBoxes(
                known, boxes, random.permutation(5)[:found] / 4, np.arange(len(known)) % labels,
                random.integers(0, labels, found), np.empty((0, 4)),
            )
        )  # fmt: skip
    return photos


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_draw_of_photos_has_cocos_average_precision(seed: int, labels: int) -> None:
    """Of photos that are drawn twice COCO sees two; also with equal scores in several photos, photos without
    faces, and labels without any."""
    random = np.random.default_rng(seed)
    truths = [
        np.concatenate([random.integers(0, 5, (count, 2)) * 20.0, np.full((count, 2), 18.0)], axis=1)
        for count in random.integers(0, 4, int(random.integers(1, 7)))
    ]
    sides = [random_photos(random, truths, labels) for _ in range(2)]
    matches = [Comparison(photos, labels).match() for photos in sides]
    result = paired_average_precision(*matches, labels, resamples=1, seed=seed)
    chosen = [[photo for photo, n in zip(photos, drawn_groups(len(truths), seed), strict=True) for _ in range(n)]
              for photos in sides]  # fmt: skip
    first, second = (Comparison(photos, labels).match().mean_average_precision() for photos in chosen)
    assert result.low == result.high == pytest.approx(np.nan_to_num(first - second), abs=1e-12)
    expected = [one.mean_average_precision() for one in matches]
    assert [result.first, result.second] == pytest.approx(expected, nan_ok=True)


def test_one_person_is_sure_in_every_draw_and_shows_nothing() -> None:
    """So a number of groups is asked for: the smallest one for which an exact sign test reaches the confidence."""
    truth = np.arange(6) % 3
    one = paired_macro_f1(truth, truth, np.where(np.arange(6) == 0, 1, truth), np.zeros(6, int), 3)
    assert (one.groups, one.better) == (1, 1) and one.low == one.high > 0
    assert [fewest_groups(confidence) for confidence in (0.75, 0.9, 0.95, 0.99, 1)] == [2, 4, 5, 7, 11]


@given(st.floats(0.5, 0.999, exclude_min=True))
def test_fewer_groups_could_not_show_it(confidence: float) -> None:
    needed = fewest_groups(confidence)
    assert binomtest(needed, needed, alternative="greater").pvalue <= (1 - confidence) * (1 + 1e-9)
    assert needed == 1 or binomtest(needed - 1, needed - 1, alternative="greater").pvalue > 1 - confidence


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
