import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.calibrate.notify import choose_threshold
from components.shared.metrics.notice import NoticeFaces, notice_rates

GRID = st.integers(0, 40).map(lambda number: number / 40)
"""Few values, so that many are equal."""


def faces(worn: list[float], others: list[float], persons: int = 1000) -> NoticeFaces:
    count = len(worn) + len(others)
    improper = np.arange(count) >= len(worn)
    return NoticeFaces(improper, np.array([*worn, *others], float), np.arange(count) % persons)


@settings(max_examples=200, deadline=None)
@given(
    worn=st.lists(GRID, min_size=30, max_size=60),
    others=st.lists(GRID, min_size=1, max_size=30),
    rate=st.sampled_from([0.1, 0.25, 0.5, 0.9]),
)
def test_no_threshold_is_better(worn: list[float], others: list[float], rate: float) -> None:
    given = faces(worn, others)
    threshold, reason = choose_threshold(given, rate)
    candidates = [notice_rates(given, at) for at in {0.0, *worn, *others, *(value + 0.01 for value in worn)} if at <= 1]
    holding = [one for one in candidates if (one.false_alarm_rate or 0) <= rate + 1e-12]
    if threshold is None:
        assert all(one.missed == len(others) for one in holding) and "would be missed" in reason
        return
    assert not reason
    found = notice_rates(given, threshold)
    assert (found.false_alarm_rate or 0) <= rate + 1e-12
    assert found.missed == min(one.missed for one in holding)
    assert found.false_alarms == min(one.false_alarms for one in holding if one.missed == found.missed)
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
        assert (
            notice_rates(faces(worn, [0.5]), choose_threshold(faces(worn, [0.5]), rate)[0] or 1).false_alarms == allowed
        )


@pytest.mark.parametrize(
    ("worn", "others", "rate", "reason"),
    [
        ([], [0.9], 0.01, "takes at least 300 persons with a properly worn mask, there are 0"),
        ([0.1] * 299, [0.9], 0.01, "takes at least 300 persons with a properly worn mask, there are 299: .* be 3/299"),
        ([0.1] * 59, [0.9], 0.05, "at least 60 persons"),
        ([0.1] * 60, [], 0.05, "no face has a mask that is missing or worn wrongly"),
        ([1.0] * 60, [1.0, 0.9], 0.05, "would be missed: 4 of 60 properly worn ones have a confidence of 1 or more"),
    ],
)
def test_without_the_faces_to_know_a_rate_the_reason_says_what_is_needed(
    worn: list[float], others: list[float], rate: float, reason: str
) -> None:
    threshold, given = choose_threshold(faces(worn, others), rate)
    assert threshold is None and re.search(reason, given), given


def test_faces_of_one_person_are_no_further_evidence() -> None:
    """A rate of 0.01 takes 300 persons: 600 faces of 100 persons tell no more than these do."""
    values = [0.1] * 600, [0.9] * 10
    threshold, reason = choose_threshold(faces(*values, persons=100), 0.01)
    assert threshold is None and "at least 300 persons with a properly worn mask, there are 100" in reason
    assert choose_threshold(faces(*values), 0.01) == (0.5, "")
