"""The evaluation and cross-validation pages on hostile names, and the largest confusions."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from components.evaluate.report import (
    Confusion,
    Evaluated,
    Fold,
    metric_name,
    most_confused,
    render_folds_report,
    render_report,
)
from components.evaluate.scores import score_predictions, spread_of
from components.shared.dataset.join import Joined
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.dataset.predictions import PredictedFace, Predictions

HOSTILE = '<script>alert("1")</script>\'가'
SPACE = label_space(f"label:{HOSTILE},\"><img src=x onerror='2'>,가나다")


def evaluated(space: LabelSpace, splits: Sequence[str] = ("test",)) -> Evaluated:
    rng = np.random.default_rng(0)
    faces = tuple(PredictedFace(i, i, f"{i}.jpg", None) for i in range(60))
    heads = {head.name: rng.dirichlet(np.ones(len(head.labels)), 60).astype(np.float32) for head in space.heads}
    joined = Joined(np.arange(60), rng.integers(0, len(space.class_labels), 60), {}, tuple(splits), 60, 1, 2)
    table = Predictions(faces, heads, space, HOSTILE, HOSTILE)
    return Evaluated(table, joined, score_predictions(table, joined), "0" * 64, True)


def check(page: str) -> None:
    assert "<script" not in page and "<img" not in page and "가나다" in page
    assert page.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&#39;가") > 5
    assert not re.search(r"url\(|@import|https?:", page)


def test_hostile_names_are_text_on_the_evaluation_page() -> None:
    every = evaluated(SPACE, [HOSTILE])
    check(render_report(every, every.scores.scalars(), {}, []))


def test_hostile_names_are_text_on_the_cross_validation_page() -> None:
    every = evaluated(SPACE)
    metrics = every.scores.scalars()
    folds = [Fold(number, 30, metrics) for number in range(2)]
    spreads = {HOSTILE: spread_of([0.1, 0.2])} | {name: spread_of([0.1]) for name in metrics}
    check(render_folds_report(every, folds, 2, spreads))


def test_images_without_a_split_are_named() -> None:
    every = evaluated(label_space("gender_age"), [])
    page = render_report(every, every.scores.scalars(), {}, [])
    assert "images without a split · 60 faces in 60 images" in page
    assert "1 face left out" in page and "2 faces left out" in page


def test_the_largest_confusions_come_first_and_ties_keep_the_order_of_the_classes() -> None:
    matrix = np.array([[9, 1, 0], [3, 5, 1], [0, 3, 4]])
    assert most_confused("abc", matrix) == [
        Confusion("b", "a", 3, 9), Confusion("c", "b", 3, 7), Confusion("a", "b", 1, 10), Confusion("b", "c", 1, 9)
    ]  # fmt: skip
    assert most_confused("abc", np.diag([1, 2, 3])) == []
    assert len(most_confused("abcde", np.ones((5, 5), int))) == 10


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("macro_f1", "Macro F1"),
        ("log_loss", "Log loss"),
        ("gender_macro_f1", "Gender macro F1"),
        ("macro_roc_auc", "Macro ROC AUC"),
        ("top_2_accuracy", "Top 2 accuracy"),
    ],
)
def test_names_of_metrics(metric: str, name: str) -> None:
    assert metric_name(metric) == name
