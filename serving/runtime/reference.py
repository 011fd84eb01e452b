"""What a classifier saw on its test split, as histograms: the measure of how far what it sees when served has drifted.

It is a file `reference.json` beside `model.onnx`; the file of the model itself stays the one that was evaluated.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen, explain

REFERENCE_FILE = "reference.json"

BRIGHTNESS = tuple(float(level) for level in range(32, 256, 32))
"""Bounds between the bins of `brightness`."""
FACE_SIDE = (16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0, 1024.0)
"""Bounds in pixels between the bins of the side of a face: the square root of the area of its box."""
CONFIDENCE = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Bounds between the bins of the probability of a head's most probable label."""

# Every fourth pixel of every fourth row: a mean over thousands of pixels changes by less than a level.
_STEP = 4


def brightness(pixels: NDArray[np.uint8]) -> float:
    """Return the mean luma (ITU-R BT.601), 0 to 255, of an RGB picture (height, width, 3)."""
    red, green, blue = pixels[::_STEP, ::_STEP].mean(axis=(0, 1)).tolist()
    return float(0.299 * red + 0.587 * green + 0.114 * blue)


class Histogram(Frozen):
    """Counts of numbers: below the first bound, from each bound up to the next, and from the last bound on."""

    bounds: tuple[float, ...] = Field(min_length=1)
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError(f"bounds must ascend, got {list(self.bounds)}")
        if len(self.counts) != len(self.bounds) + 1 or min(self.counts) < 0:
            raise ValueError(f"expected {len(self.bounds) + 1} counts of 0 or more, got {list(self.counts)}")
        return self

    @classmethod
    def of(cls, values: Iterable[float], bounds: Sequence[float]) -> Self:
        """Return the histogram of some numbers."""
        counts = [0] * (len(bounds) + 1)
        for value in values:
            counts[bisect_right(bounds, value)] += 1
        return cls(bounds=tuple(bounds), counts=tuple(counts))


class HeadReference(Frozen):
    """What a head said: how often each label was the most probable one, and how probable that was."""

    labels: dict[str, int]
    confidence: Histogram

    @classmethod
    def of(cls, labels: Sequence[str], probabilities: NDArray[np.floating]) -> Self:
        """Return it for probabilities (faces, labels)."""
        best = probabilities.argmax(axis=1)
        counts = np.bincount(best, minlength=len(labels)).tolist()
        confidence = Histogram.of(probabilities.max(axis=1).tolist(), CONFIDENCE)
        return cls(labels=dict(zip(labels, counts, strict=True)), confidence=confidence)


class Reference(Frozen):
    """Distributions over the faces of the test split.

    Attributes:
        brightness: of what the network saw of each face, see `brightness`; None where that is not known.
        face_side: of the faces with a box, in pixels; None where none has one.
        heads: by name.
    """

    reference_version: Literal[1] = 1
    brightness: Histogram | None = None
    face_side: Histogram | None = None
    heads: dict[str, HeadReference] = Field(min_length=1)


def read_reference(content: bytes, source: str) -> Reference:
    """Read a `reference.json`; `source` names it in errors. Raises InputError where it is not one."""
    try:
        return Reference.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"{source}: not a reference for this version of Facet: {explain(error)}") from error


def population_stability(expected: Sequence[float], observed: Sequence[float]) -> float:
    """Return the population stability index of two distributions over the same bins, counts of any total.

    The sum over bins of (observed - expected) * ln(observed / expected), with shares; 0 for equal ones, and usually
    taken as a change from 0.1 and as a large one from 0.25 on (Yurdakul, 2018). Half a count is added to every bin,
    so that an empty one does not make it infinite.
    """
    bins = len(expected)
    whole_expected, whole_observed = sum(expected) + 0.5 * bins, sum(observed) + 0.5 * bins
    index = 0.0
    for before, now in zip(expected, observed, strict=True):
        share_before, share_now = (before + 0.5) / whole_expected, (now + 0.5) / whole_observed
        index += (share_now - share_before) * math.log(share_now / share_before)
    return index
