import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.calibrate.notify import Confidences, choose_threshold, confidences, rates_at
from serving.runtime.card import Head
from serving.runtime.notice import mask_rule

GRID = st.integers(0, 40).map(lambda number: number / 40)
"""Few values, so that many are equal."""


def faces(worn: list[float], others: list[float]) -> Confidences:
    return Confidences(np.array(worn, float), np.array(others, float))


@settings(max_examples=200, deadline=None)
@given(
    worn=st.lists(GRID, min_size=30, max_size=60),
    others=st.lists(GRID, min_size=1, max_size=30),
    rate=st.sampled_from([0.1, 0.25, 0.5, 0.9]),
)
def test_no_threshold_is_better(worn: list[float], others: list[float], rate: float) -> None:
    given = faces(worn, others)
    threshold, reason = choose_threshold(given, rate)
    candidates = [rates_at(given, at) for at in {0.0, *worn, *others, *(value + 0.01 for value in worn)} if at <= 1]
    holding = [one for one in candidates if one.false_alarm_rate <= rate + 1e-12]
    if threshold is None:
        assert all(one.misses == len(others) for one in holding) and "would be missed" in reason
        return
    assert not reason
    found = rates_at(given, threshold)
    assert found.false_alarm_rate <= rate + 1e-12
    assert found.misses == min(one.misses for one in holding)
    assert found.false_alarms == min(one.false_alarms for one in holding if one.misses == found.misses)
    # No confidence is so near that its last digits decide.
    assert min(abs(value - threshold) for value in [*worn, *others]) > 1e-3


def test_the_threshold_lies_between_two_faces_with_few_digits() -> None:
    worn = [n / 1000 for n in range(100)]  # up to 0.099
    assert choose_threshold(faces(worn, [0.9, 0.5]), 0.03) == (0.3, "")
    # A worn mask among the noticed ones that the rate allows does no harm, and one above no longer fits.
    assert choose_threshold(faces([*worn[:97], 0.6, 0.7, 0.8], [0.9, 0.5]), 0.03) == (0.3, "")
    assert choose_threshold(faces([*worn[:96], 0.55, 0.6, 0.7, 0.8], [0.9, 0.5]), 0.03) == (0.85, "")
    threshold, _ = choose_threshold(faces([0.123456] * 100, [0.1234561]), 0.03)
    assert threshold is not None and 0.123456 < threshold < 0.1234561


def test_a_rate_is_counted_as_it_is_written() -> None:
    """0.07 times 100 is more than 7 in floating point, and 0.29 times 100 less than 29."""
    for rate, allowed in ((0.07, 7), (0.29, 29)):
        worn = [0.0] * (100 - allowed) + [0.9] * allowed
        assert rates_at(faces(worn, [0.5]), choose_threshold(faces(worn, [0.5]), rate)[0] or 1).false_alarms == allowed


@pytest.mark.parametrize(
    ("worn", "others", "rate", "reason"),
    [
        ([], [0.9], 0.01, "takes at least 300 faces with a properly worn mask, there are 0"),
        ([0.1] * 299, [0.9], 0.01, "takes at least 300 faces with a properly worn mask, there are 299: .* be 3/299"),
        ([0.1] * 59, [0.9], 0.05, "at least 60 faces"),
        ([0.1] * 60, [], 0.05, "no face has a mask that is missing or worn wrongly"),
        ([1.0] * 60, [1.0, 0.9], 0.05, "would be missed: 4 of 60 properly worn ones have a confidence of 1 or more"),
    ],
)
def test_without_the_faces_to_know_a_rate_the_reason_says_what_is_needed(
    worn: list[float], others: list[float], rate: float, reason: str
) -> None:
    threshold, given = choose_threshold(faces(worn, others), rate)
    assert threshold is None and re.search(reason, given), given


def test_confidences_are_those_of_the_endpoint() -> None:
    head = Head(name="mask_gender", labels=("worn/male", "worn/female", "incorrect/male", "absent/female"))
    rule = mask_rule([head])
    assert rule is not None
    rows = np.array([[0.5, 0.2, 0.2, 0.1], [0.1, 0.1, 0.3, 0.5], [0, 0, 0.6, 0.4]], np.float32)
    found = confidences(rule, head, np.array([0, 2, 1]), rows)
    np.testing.assert_allclose(found.worn, [0.3, 1.0], rtol=1e-6)
    np.testing.assert_allclose(found.others, [0.8], rtol=1e-6)
    rates = rates_at(found, 0.3)
    assert (rates.false_alarms, rates.worn, rates.misses, rates.others) == (2, 2, 0, 1)
    assert (rates.false_alarm_rate, rates.miss_rate) == (1.0, 0.0)
    empty = rates_at(faces([], []), 0.5)
    assert (empty.false_alarm_rate, empty.miss_rate) == (0.0, 0.0) and not math.isnan(empty.miss_rate)
