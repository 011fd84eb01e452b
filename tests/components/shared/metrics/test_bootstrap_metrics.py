"""Intervals by whole persons."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.metrics.bootstrap import LabelCounts, interval, resampled_counts, score_interval, share_interval
from components.shared.metrics.classification import label_scores


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 6))
def test_statistics_of_matrices_are_those_of_the_faces(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(0, max(1, k - 2), n), rng.integers(0, k, n)
    scores = label_scores(truth, guess, k)
    hits, support, predicted = (np.bincount(one, minlength=k) for one in (truth[truth == guess], truth, guess))
    both = LabelCounts(*(np.stack([one, np.zeros(k)]) for one in (hits, support, predicted)))
    for result, value in ((both.accuracies(), scores.accuracy), (both.macro_f1s(), scores.macro_f1),
                          (both.weighted_f1s(), scores.weighted_f1)):  # fmt: skip
        assert result[0] == pytest.approx(value) and np.isnan(result[1]), "nothing is not 0"
    for one, f1, recall in zip(scores.classes, both.f1s()[0].tolist(), both.recalls()[0].tolist(), strict=True):
        assert np.isnan(f1) if one.absent else f1 == pytest.approx(one.f1)
        assert np.isnan(recall) if not one.support else recall == pytest.approx(one.recall)


def test_whole_persons_are_drawn() -> None:
    """Each person brings all of its faces, as often as it is drawn, and as many are drawn as there are."""
    persons = np.array([0, 0, 0, 1, 1, 2])
    counts = resampled_counts(persons, persons, persons, 3, resamples=500, seed=1).support
    assert (counts % [3, 2, 1] == 0).all() and ((counts / [3, 2, 1]).sum(axis=1) == 3).all()
    assert len({tuple(row) for row in counts.tolist()}) == 10, "all multisets of three persons occur"
    drawn = (counts / [3, 2, 1]).mean(axis=0)
    assert drawn == pytest.approx([1, 1, 1], abs=0.15)


def test_equal_seeds_draw_equal_persons_whatever_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    persons, truth, guess = np.arange(50) % 20, np.arange(50) % 4, np.arange(50) % 3

    def drawn(seed: int) -> list[list[float]]:
        counts = resampled_counts(persons, truth, guess, 4, resamples=64, seed=seed)
        return np.concatenate([counts.hits, counts.support, counts.predicted]).tolist()

    first = drawn(3)
    assert first == drawn(3) and first != drawn(4)
    monkeypatch.setattr("components.shared.metrics.bootstrap._LARGEST", 100)
    assert first == drawn(3)


def test_many_classes_take_little_memory() -> None:
    """Of 500 classes no matrix is kept: 1,000 of them would take 2 GB."""
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 500, (2, 2000))
    tracemalloc.start()
    resampled_counts(np.arange(2000), truth, guess, 500, resamples=1000, seed=0)
    assert tracemalloc.get_traced_memory()[1] < 300e6
    tracemalloc.stop()


def test_faces_of_one_person_are_no_further_evidence() -> None:
    """Seven equal faces of each of 30 persons give the interval of the 30 persons, not of 210 faces."""
    rng = np.random.default_rng(0)
    right = rng.uniform(size=30) < 0.7
    ends = []
    for copies, persons in ((1, np.arange(30)), (7, np.repeat(np.arange(30), 7)), (7, np.arange(210))):
        cells = np.repeat(right, copies).astype(int)
        counts = resampled_counts(persons, cells, np.ones_like(cells), 2, resamples=2000, seed=0)
        ends.append(interval(counts.accuracies()))
    assert ends[0] == ends[1]
    assert ends[0] is not None and ends[2] is not None
    assert ends[0].high - ends[0].low > 2 * (ends[2].high - ends[2].low)
    assert ends[0].low < right.mean() < ends[0].high


def test_without_an_error_the_interval_is_the_exact_one() -> None:
    """Bounds for 24 persons from scipy.stats.binomtest(0, 24).proportion_ci(method="exact")."""
    assert share_interval(np.zeros(9), 24) == (0, pytest.approx(0.142474, abs=1e-6))
    assert share_interval(np.ones(9), 24) == (pytest.approx(1 - 0.142474, abs=1e-6), 1)
    assert share_interval(np.array([0.5, 0.5]), 24) == (0.5, 0.5)
    assert score_interval(np.ones(9)) is None


def test_what_no_resample_defines_has_no_interval() -> None:
    assert interval(np.array([np.nan, np.nan])) is None
    assert interval(np.array([np.nan, 0.5])) == (0.5, 0.5)
