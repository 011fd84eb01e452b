"""What is known of a model's test split, and the distance from it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.runtime.errors import InputError
from serving.runtime.reference import (
    HeadReference,
    Histogram,
    Reference,
    brightness,
    population_stability,
    read_reference,
)

COUNTS = st.lists(st.integers(0, 10_000), min_size=2, max_size=20)


@given(COUNTS, st.randoms())
def test_the_distance_is_that_of_the_definition(expected: list[int], random: st.randoms) -> None:
    observed = random.sample(expected, len(expected))
    shares = [(np.array(counts) + 0.5) / (sum(counts) + 0.5 * len(counts)) for counts in (expected, observed)]
    index = float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
    assert math.isclose(population_stability(expected, observed), index, abs_tol=1e-9)
    assert population_stability(expected, expected) == 0
    assert math.isclose(population_stability(observed, expected), index, abs_tol=1e-9)
    assert index >= -1e-12


@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8, unique=True))
def test_a_histogram_counts_as_numpy_does(values: list[float], bounds: list[float]) -> None:
    bounds = sorted(bounds)
    counts = np.histogram(values, [-math.inf, *bounds, math.inf])[0]
    assert Histogram.of(values, bounds).counts == tuple(counts)


@pytest.mark.parametrize("size", [(1, 1, 3), (40, 32, 3), (224, 224, 3)])
def test_brightness_is_the_mean_luma(size: tuple[int, ...]) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize(size[1::-1], Image.Resampling.BILINEAR))
    assert abs(brightness(pixels) - float(np.asarray(Image.fromarray(pixels).convert("L")).mean())) < 1.5
    for level in (0, 77, 255):
        assert brightness(np.full(size, level, np.uint8)) == pytest.approx(level)


def test_a_reference_is_read_as_it_was_written() -> None:
    head = HeadReference.of(("worn", "absent"), np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]], np.float32))
    assert head.labels == {"worn": 2, "absent": 1}
    assert sum(head.confidence.counts) == 3
    reference = Reference(brightness=Histogram.of([3.0, 200.0], (128.0,)), heads={"mask": head})
    assert read_reference(reference.model_dump_json().encode(), "file") == reference


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "reference.json: not a reference"),
        (b"{}", "heads"),
        (b'{"heads": {}, "other": 1}', "other"),
        (b'{"heads": {"mask": {"labels": {}, "confidence": {"bounds": [2, 1], "counts": [1, 1, 1]}}}}', "must ascend"),
        (b'{"heads": {"mask": {"labels": {}, "confidence": {"bounds": [1], "counts": [1]}}}}', "expected 2 counts"),
    ],
)
def test_what_is_no_reference(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_reference(content, "reference.json")
