"""Rates of the notice about masks and their intervals by person."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from components.shared.metrics.notice import NoticeFaces, notice_confidences, notice_rates
from serving.runtime.card import Head
from serving.runtime.notice import mask_rule


def test_confidences_are_those_of_the_endpoint() -> None:
    head = Head(name="mask_gender", labels=("worn/male", "worn/female", "incorrect/male", "absent/female"))
    rule = mask_rule([head])
    assert rule is not None
    rows = np.array([[0.5, 0.2, 0.2, 0.1], [0.1, 0.1, 0.3, 0.5], [0, 0, 0.6, 0.4]], np.float32)
    found = notice_confidences(rule, head.labels, rows)
    np.testing.assert_allclose(found, [0.3, 0.8, 1.0], rtol=1e-6)
    rates = notice_rates(NoticeFaces(np.array([False, True, False]), found, np.arange(3)), 0.3)
    assert (rates.false_alarms, rates.proper, rates.missed, rates.improper) == (2, 2, 0, 1)
    assert (rates.false_alarm_rate, rates.miss_rate) == (1.0, 0.0) and rates.intervals() == {}
    none = np.empty(0)
    empty = notice_rates(NoticeFaces(none.astype(bool), none, none.astype(int)), 0.5, resamples=10)
    assert empty.defined() == {} and empty.intervals() == {}


def test_intervals_are_by_person() -> None:
    """Ten equal faces of each of 40 persons have the interval of the 40 persons."""
    rng = np.random.default_rng(0)
    improper, confidences = np.arange(40) % 2 == 0, rng.uniform(size=40)
    ends = []
    for copies, persons in ((1, np.arange(40)), (10, np.repeat(np.arange(40), 10)), (10, np.arange(400))):
        faces = NoticeFaces(np.repeat(improper, copies), np.repeat(confidences, copies), persons)
        ends.append(notice_rates(faces, 0.5, resamples=1000).intervals())
    assert ends[0] == ends[1] and ends[0].keys() == {"notify_miss_rate", "notify_false_alarm_rate"}
    for name, narrow in ends[2].items():
        assert ends[0][name].high - ends[0][name].low > 2 * (narrow.high - narrow.low)


def test_no_failure_is_not_a_rate_of_zero_for_sure() -> None:
    improper = np.arange(200) >= 100
    faces = NoticeFaces(improper, improper.astype(float), np.repeat(np.arange(50), 4))
    rates = notice_rates(faces, 0.5, resamples=100)
    assert rates.miss_rate == 0 and rates.miss_interval == (0, pytest.approx(1 - 0.025 ** (1 / 25)))
    missed = notice_rates(faces, 1.5, resamples=100)
    assert missed.miss_rate == 1 and missed.miss_interval == (pytest.approx(0.025 ** (1 / 25)), 1)


def test_the_curve_is_scikit_learns_and_goes_through_the_rates() -> None:
    rng = np.random.default_rng(1)
    faces = NoticeFaces(rng.uniform(size=300) < 0.4, rng.integers(0, 30, 300) / 30, np.arange(300))
    curve = faces.curve()
    assert curve is not None
    false, true, _ = roc_curve(faces.improper, faces.confidences, drop_intermediate=False)
    np.testing.assert_allclose([curve.x, curve.y], [false, true])
    for x, y, threshold in zip(curve.x, curve.y, curve.thresholds, strict=True):
        rates = notice_rates(faces, threshold)
        assert (rates.false_alarm_rate, rates.miss_rate) == (pytest.approx(x), pytest.approx(1 - y))
