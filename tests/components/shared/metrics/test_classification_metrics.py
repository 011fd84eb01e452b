import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from components.shared.metrics.classification import (
    SCALARS,
    attribute_scores,
    calibration,
    classification_metrics,
    label_scores,
    label_words,
    predicted_classes,
)
from serving.runtime.errors import InputError

EIGHTEEN = [
    f"{mask}/{gender}/{age}"
    for mask in ("worn", "incorrect", "absent")
    for gender in ("male", "female")
    for age in ("a", "b", "c")
]


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """True classes (N,) and probabilities (N, K): of one face on, of few of the classes, with ties and certainties."""
    n, k = draw(st.integers(1, 60)), draw(st.integers(2, 18))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    present = rng.choice(k, draw(st.integers(1, k)), replace=False)
    probabilities = rng.dirichlet(np.full(k, 0.3), size=n)
    match draw(st.sampled_from(["random", "ties", "certain", "equal"])):
        case "ties":
            counts = rng.multinomial(4, np.full(k, 1 / k), size=n)
            probabilities = counts / 4
        case "certain":
            probabilities = np.eye(k)[rng.integers(0, k, n)]
        case "equal":
            probabilities = np.full((n, k), 1 / k)
    return rng.choice(present, n), probabilities.astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_agrees_with_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probabilities = case
    n, k = probabilities.shape
    predicted, labels = probabilities.argmax(axis=1), list(range(k))
    scores = classification_metrics(truth, probabilities)
    assert scores.accuracy == pytest.approx(reference.accuracy_score(truth, predicted))
    # No explicit labels: exactly the classes in the truth or the predictions.
    for average in ("macro", "micro", "weighted"):
        expected = reference.f1_score(truth, predicted, average=average, zero_division=0)
        assert scores.scalars()[f"{average}_f1"] == pytest.approx(expected)
    # scikit-learn clips at both ends, by float32's epsilon.
    expected = reference.log_loss(truth, probabilities, labels=labels)
    assert scores.log_loss == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert scores.confusion.sum() == n == scores.count
    table = reference.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    ours = [[getattr(c, name) for c in scores.classes] for name in ("precision", "recall", "f1", "support")]
    assert np.allclose(ours, table)
    assert (scores.confusion == reference.confusion_matrix(truth, predicted, labels=labels)).all()
    assert list(scores.scalars()) == list(SCALARS) and np.isfinite(list(scores.scalars().values())).all()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_bins_of_calibration_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probabilities = case
    confidence, right = probabilities.max(axis=1).astype(float), probabilities.argmax(axis=1) == truth
    result = calibration(truth, probabilities)
    accuracy, mean = calibration_curve(right, np.minimum(confidence, 1), n_bins=10)
    filled = [one for one in result.bins if one.count]
    assert np.allclose([one.accuracy for one in filled], accuracy)
    assert np.allclose([one.confidence for one in filled], mean)
    expected = sum(one.count * abs(a - m) for one, a, m in zip(filled, accuracy, mean, strict=True)) / len(truth)
    assert result.error == pytest.approx(expected) and sum(one.count for one in result.bins) == len(truth)


def test_absent_classes_leave_the_mean_and_invented_ones_count_as_zero() -> None:
    truth = np.array([0, 0, 1, 1])
    perfect = label_scores(truth, truth, classes=18)
    assert perfect.macro_f1 == 1.0
    assert [k for k, c in enumerate(perfect.classes) if c.absent] == list(range(2, 18))
    invented = label_scores(truth, np.array([0, 0, 1, 7]), classes=18)
    assert not invented.classes[7].absent and invented.classes[7].f1 == 0
    assert invented.macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_confusion_rows_are_truth_and_columns_prediction() -> None:
    scores = label_scores(np.array([0, 0, 1]), np.array([0, 2, 2]), classes=3)
    assert scores.confusion.tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert scores.classes[2].predicted == 2 and scores.classes[2].support == 0


@pytest.mark.parametrize("certain", [0.0, 1e-30])
def test_log_loss_stays_finite(certain: float) -> None:
    probabilities = np.array([[certain, 1 - certain]], np.float32)
    loss = classification_metrics(np.array([0]), probabilities).log_loss
    assert loss == pytest.approx(-np.log(np.finfo(np.float32).eps))


def test_refuses_what_cannot_be_scored() -> None:
    with pytest.raises(InputError, match="1 of 2 rows"):
        classification_metrics(np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, 0.5]]))
    with pytest.raises(InputError, match="no metric can be computed"):
        classification_metrics(np.zeros(0, int), np.zeros((0, 3)))
    assert predicted_classes(np.zeros((0, 3))).shape == (0,)


def test_attributes_of_the_eighteen_classes_follow_the_formula() -> None:
    rng = np.random.default_rng(3)
    truth, predicted = rng.integers(0, 18, 400), rng.integers(0, 18, 400)
    parts = attribute_scores(["mask", "gender", "age"], EIGHTEEN, truth, predicted)
    expected = {
        "mask": (truth // 6, predicted // 6),
        "gender": (truth % 6 // 3, predicted % 6 // 3),
        "age": (truth % 3, predicted % 3),
    }
    assert [part.name for part in parts] == ["mask", "gender", "age"]
    assert parts[0].labels == ("worn", "incorrect", "absent") and parts[2].labels == ("a", "b", "c")
    for part in parts:
        true, guess = expected[part.name]
        assert part.scores.accuracy == pytest.approx(np.mean(true == guess))
        assert part.scores.macro_f1 == pytest.approx(reference.f1_score(true, guess, average="macro"))


def test_calibration_bins_by_confidence() -> None:
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.45, 0.55], [0.0, 1.0]])
    result = calibration(np.array([0, 1, 1, 1]), probabilities)
    filled = {(round(b.low, 1), round(b.high, 1)): (b.count, b.confidence, b.accuracy) for b in result.bins if b.count}
    assert filled == {
        (0.5, 0.6): (1, pytest.approx(0.55), 1.0),
        (0.8, 0.9): (1, pytest.approx(0.9), 1.0),
        (0.9, 1.0): (2, pytest.approx(0.975), 0.5),
    }
    assert result.error == pytest.approx((0.45 + 0.1 + 2 * 0.475) / 4)


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    truth = (rng.uniform(size=confidence.size) > confidence).astype(int)
    assert calibration(truth, np.stack([confidence, 1 - confidence], axis=1)).error < 0.01


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("<30", "30-59", ">=60"), ["under_30", "30-59", "from_60"]),
        (("worn/male/<30", "worn/male/>=60"), ["worn_male_under_30", "worn_male_from_60"]),
        (("a b", "a/b"), ["0", "1"]),
        (("?", "!"), ["0", "1"]),
        (("가", "나"), ["가", "나"]),
    ],
)
def test_labels_in_the_names_of_metrics(labels: tuple[str, ...], words: list[str]) -> None:
    assert label_words(labels) == words
