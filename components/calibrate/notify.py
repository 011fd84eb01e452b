"""From which probability on the door notices a mask that is missing or worn wrongly."""

import math

import numpy as np

from components.shared.metrics.notice import RULE_OF_THREE, NoticeFaces, persons_needed


def choose_threshold(faces: NoticeFaces, rate: float) -> tuple[float | None, str]:
    """Return the threshold with the fewest misses at which at most a share `rate` of the worn masks is noticed.

    Of those with as few misses it is one with the fewest false alarms, in the middle between the two confidences that
    it parts, with as few digits as that takes: what a face gets on another machine may differ in the last ones.

    Args:
        faces: the faces.
        rate: above 0 and below 1.

    Returns:
        The threshold, or None with the reason: a kind of face is not there, there are too few persons with a worn mask
        to show such a rate at all, or every threshold that holds it misses all the others.
    """
    worn, others = np.sort(faces.confidences[~faces.improper]), np.sort(faces.confidences[faces.improper])
    persons, needed = len(np.unique(faces.persons[~faces.improper])), persons_needed(rate)
    if persons < needed:
        return None, (
            f"a false-alarm rate of {rate:g} takes at least {needed} persons with a properly worn mask, there are "
            f"{persons}: even if none of them is noticed, the rate may be {RULE_OF_THREE}/{max(1, persons)}"
        )
    if len(others) == 0:
        return None, "no face has a mask that is missing or worn wrongly"
    # The threshold must be above this one; exact, since 0.07 * 100 is more than 7.
    allowed = math.floor(round(rate * len(worn), 9))
    limit = worn[len(worn) - 1 - allowed]
    noticed = others[others > limit]
    if len(noticed) == 0:
        return None, (
            f"at a false-alarm rate of {rate:g} every mask that is missing or worn wrongly would be missed: "
            f"{allowed + 1} of {len(worn)} properly worn ones have a confidence of {limit:.3g} or more"
        )
    high = float(noticed[0])
    return _between(float(worn[worn < high][-1]), high), ""


def _between(low: float, high: float) -> float:
    """Return the number with the fewest digits near the middle of two that is above the first and below the second."""
    middle = (low + high) / 2
    rounded = (round(middle, digits) for digits in range(2, 17))
    return next((number for number in rounded if low < number < high), high)
