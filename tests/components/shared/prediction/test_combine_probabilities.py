"""How probabilities of several models become one, held against the rules written out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions
from components.shared.prediction.combine import LOWEST, RULES, combine_probabilities, join_mask_gender_age
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
    weights = [2.0**n for n in range(len(several))]
    by_hand = [
        [
            sum(float(p) * w for p, w in zip(column, weights, strict=True)) / sum(weights)
            for column in zip(*row, strict=True)
        ]
        for row in zip(*several.tolist(), strict=True)
    ]
    np.testing.assert_allclose(combine_probabilities("mean", list(several), weights), by_hand, rtol=1e-12)
    plain = combine_probabilities("mean", list(several))
    np.testing.assert_allclose(plain, several.astype(np.float64).mean(axis=0), rtol=1e-12)


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
    ("rule", "shapes", "weights", "message"),
    [
        ("median", [(1, 2)], None, "unknown rule 'median'"),
        ("mean", [], None, "to combine, got none"),
        ("mean", [(1, 2), (2, 2)], None, "of one shape"),
        ("mean", [(2,)], None, "of one shape"),
        ("mean", [(1, 2)] * 2, [1.0], "expected 2 numbers above 0"),
        ("log_mean", [(1, 2)] * 2, [1.0, 0.0], "expected 2 numbers above 0"),
        ("mean", [(1, 2)] * 2, [1.0, float("nan")], "expected 2 numbers above 0"),
    ],
)
def test_what_cannot_be_combined(rule: str, shapes: list, weights: list | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        combine_probabilities(rule, [np.ones(shape) for shape in shapes], weights)


def table(space: str, values: np.ndarray, numbers: list[int], digest: str = "d") -> Predictions:
    faces = tuple(PredictedFace(n // 2, n, f"{n // 2}.jpg", None) for n in numbers)
    return Predictions(faces, {space: values.astype(np.float32)}, label_space(space), f"m_{space}", "1", digest)


def test_all_18_combinations_follow_the_rule() -> None:
    """The class is 6*mask + 3*gender + age of the most probable mask and the most probable gender and age."""
    rng = np.random.default_rng(0)
    numbers = list(range(18))
    mask, gender_age = normalized(rng.random((18, 3))), normalized(rng.random((18, 6)))
    for n in numbers:
        mask[n, [n // 6, mask[n].argmax()]] = mask[n, [mask[n].argmax(), n // 6]]
        gender_age[n, [n % 6, gender_age[n].argmax()]] = gender_age[n, [gender_age[n].argmax(), n % 6]]
    shuffled = rng.permutation(18)
    other = table("gender_age", gender_age[shuffled], shuffled.tolist())
    joined = join_mask_gender_age(table("mask", mask, numbers), other)
    assert joined.class_probabilities().argmax(axis=1).tolist() == numbers
    space = label_space("mask_gender_age")
    assert joined.space == space and [face.face_id for face in joined.faces] == numbers
    np.testing.assert_allclose(joined.heads["mask_gender_age"].sum(axis=1), 1, atol=1e-6)
    for n in numbers:
        wearing, gender, age = n // 6, n % 6 // 3, n % 3
        labels = [label_space(one).class_labels for one in ("mask", "gender", "age")]
        assert space.class_labels[n] == "/".join((labels[0][wearing], labels[1][gender], labels[2][age]))
    assert (joined.model, joined.version, joined.images_digest) == ("m_gender_age+m_mask", "1+1", "d")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"numbers": [0, 1, 2]}, r"1 faces are missing in the predictions of gender and age \(1.jpg face 3\)"),
        ({"numbers": [0, 1, 2, 3, 4]}, r"1 faces are missing in the predictions of mask \(2.jpg face 4\)"),
        ({"numbers": [0, 1, 2, 3, 3]}, "1.jpg: face 3 occurs twice"),
        ({"digest": "other"}, "of different data sets"),
        ({"space": "mask"}, "expected predictions of label space 'gender_age', got those of 'mask'"),
    ],
)
def test_tables_about_other_faces_are_not_joined(changed: dict, message: str) -> None:
    facts = {"space": "gender_age", "numbers": [0, 1, 2, 3], "digest": "d"} | changed
    count = len(facts["numbers"])
    other = table(
        facts["space"], np.full((count, 3 if facts["space"] == "mask" else 6), 1 / 6), facts["numbers"], facts["digest"]
    )
    with pytest.raises(InputError, match=message):
        join_mask_gender_age(table("mask", np.full((4, 3), 1 / 3), [0, 1, 2, 3]), other)
    unknown = replace(other, images_digest="")
    if "digest" in changed:
        assert join_mask_gender_age(table("mask", np.full((4, 3), 1 / 3), [0, 1, 2, 3]), unknown).faces
