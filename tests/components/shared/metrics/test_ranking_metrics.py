"""ROC, precision-recall and top-k, against definitions that look at every pair of faces."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from components.shared.metrics.ranking import Curve, binary_ranking, ranking


@st.composite
def binaries(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Whether faces are of a class, all, none or some of them, and scores with and without ties."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    positive = rng.uniform(size=n) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    scores = rng.uniform(size=n) if draw(st.booleans()) else rng.integers(0, 4, n) / 3
    return positive, scores.astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(binaries())
def test_areas_are_those_of_the_definitions(case: tuple[np.ndarray, np.ndarray]) -> None:
    positive, scores = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = binary_ranking(positive, scores)
    if not positive.any():
        assert (found.roc_auc, found.average_precision, found.roc, found.precision_recall) == (None,) * 4
        return
    precisions = []
    for threshold in np.unique(scores)[::-1]:
        called = scores >= threshold
        precisions.append((called & positive).sum() / called.sum() * ((scores == threshold) & positive).sum())
    assert found.average_precision == pytest.approx(sum(precisions) / positive.sum())
    assert found.precision_recall is not None and np.isfinite(found.precision_recall.thresholds).all()
    assert found.precision_recall.x[0] == 0 and found.precision_recall.x[-1] == 1
    if positive.all():
        assert found.roc_auc is None and found.roc is None
        return
    differences = scores[positive][:, None] - scores[~positive][None]
    assert found.roc_auc == pytest.approx(np.mean((differences > 0) + 0.5 * (differences == 0)))
    assert found.roc is not None and np.isfinite(found.roc.thresholds).all()
    assert (np.diff(found.roc.thresholds) < 0).all() and found.roc.thresholds[0] > scores.max()
    for x, y, threshold in zip(found.roc.x, found.roc.y, found.roc.thresholds, strict=True):
        called = scores >= threshold
        assert (x, y) == pytest.approx((called[~positive].mean(), called[positive].mean()))


@pytest.mark.parametrize("kind", ["random", "ties", "one class", "one face", "two classes"])
def test_scores_of_all_classes(kind: str) -> None:
    rng = np.random.default_rng(0)
    n, k = 1 if kind == "one face" else 200, 2 if kind == "two classes" else 7
    probabilities = rng.multinomial(5, np.full(k, 1 / k), n) / 5 if kind == "ties" else rng.dirichlet(np.ones(k), n)
    truth = np.zeros(n, int) if kind in ("one class", "one face") else np.arange(n) % k
    found = ranking(truth, probabilities)
    values = found.scalars()
    assert list(found.top) == [one for one in (2, 3, 5) if one < k]
    for top, value in found.top.items():
        expected = reference.top_k_accuracy_score(truth, probabilities, k=top, labels=range(k))
        assert value == expected
    if kind in ("one class", "one face"):
        assert values["macro_roc_auc"] is None and values["macro_average_precision"] == 1.0
        return
    expected = [reference.roc_auc_score(truth == one, probabilities[:, one]) for one in range(k)]
    assert values["macro_roc_auc"] == pytest.approx(np.mean(expected))
    if k > 2:
        auc = reference.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
        assert values["macro_roc_auc"] == pytest.approx(auc)
    average = reference.average_precision_score(np.eye(k)[truth], probabilities, average="macro")
    assert values["macro_average_precision"] == pytest.approx(average)


def test_a_class_without_faces_is_in_no_mean() -> None:
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0]])
    found = ranking(np.array([0, 1, 1]), probabilities)
    assert found.classes[2].average_precision is None and found.classes[2].roc_auc is None
    assert found.scalars()["macro_roc_auc"] == 1.0


def test_a_thin_curve_keeps_its_ends_and_its_shape() -> None:
    x = np.linspace(0, 1, 5001)
    thin = Curve(x, np.sqrt(x), 1 - x).thinned(200)
    assert 100 < len(thin.x) <= 202 and (thin.x[0], thin.x[-1]) == (0, 1)
    assert np.abs(np.interp(x, thin.x, thin.y) - np.sqrt(x)).max() < 0.02
    few = Curve(x[:3], x[:3], x[:3])
    assert few.thinned() is few
