"""How probabilities of several models become one, held against the rules written out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from components.shared.prediction.combine import LOWEST, RULES, combine_probabilities
from serving.runtime.errors import InputError


def normalized(values: np.ndarray) -> np.ndarray:
    return (values / values.sum(axis=-1, keepdims=True)).astype(np.float32)


PROBABILITIES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(2, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0, 1)).map(lambda x: normalized(x + 1e-3))
)


@given(PROBABILITIES, st.sampled_from(sorted(RULES)))
def test_what_comes_out_are_probabilities_between_those_that_go_in(several: np.ndarray, rule: str) -> None:
    combined = combine_probabilities(rule, list(several))
    np.testing.assert_allclose(combined.sum(axis=1), 1, atol=1e-6)
    assert (combined >= 0).all()
    reordered = combine_probabilities(rule, list(several[::-1]))
    np.testing.assert_allclose(combined, reordered, atol=1e-12)
    np.testing.assert_allclose(combine_probabilities(rule, [several[0]] * 3), several[0], atol=1e-6)
    one = several[0]
    assert combine_probabilities(rule, [one]) is one, "alone it is not touched"


@given(PROBABILITIES)
def test_the_mean_is_that_of_a_computation_by_hand(several: np.ndarray) -> None:
    by_hand = [
        [sum(map(float, column)) / len(several) for column in zip(*row, strict=True)]
        for row in zip(*several.tolist(), strict=True)
    ]
    np.testing.assert_allclose(combine_probabilities("mean", list(several)), by_hand, rtol=1e-6)


@given(PROBABILITIES, st.sampled_from(sorted(RULES)))
def test_they_sum_to_1_where_those_of_a_model_do_not_quite(several: np.ndarray, rule: str) -> None:
    doubled = [*several, *several]
    combined = combine_probabilities(rule, [1.0005 * one for one in doubled])
    np.testing.assert_allclose(combined.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(combined, combine_probabilities(rule, doubled), atol=1e-6)


@given(PROBABILITIES)
def test_the_geometric_mean_is_that_of_the_logarithms(several: np.ndarray) -> None:
    product = np.prod(several.astype(np.float64), axis=0) ** (1 / len(several))
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(combine_probabilities("log_mean", list(several)), expected, rtol=1e-6)


@given(arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(1, 4)), elements=st.floats(0, 1)))
def test_two_labels_of_one_sigmoid_are_combined_by_the_clipped_logit(sigmoids: np.ndarray) -> None:
    """As an ensemble of sigmoid models does it: mean of the logits, then the sigmoid."""
    clipped = np.clip(sigmoids, LOWEST, 1 - LOWEST)
    logit = np.log(clipped / (1 - clipped)).mean(axis=0)
    expected = 1 / (1 + np.exp(-logit))
    combined = combine_probabilities("log_mean", [np.stack([1 - one, one], axis=1) for one in sigmoids])
    np.testing.assert_allclose(combined[:, 1], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "shapes", "message"),
    [
        ("median", [(1, 2)], "unknown rule 'median'"),
        ("mean", [], "to combine, got none"),
        ("mean", [(1, 2), (2, 2)], "of one shape"),
        ("mean", [(2,)], "of one shape"),
    ],
)
def test_what_cannot_be_combined(rule: str, shapes: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        combine_probabilities(rule, [np.ones(shape) for shape in shapes])
