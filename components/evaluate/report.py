"""The evaluation report: what `evaluate` found, as one HTML page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from components.evaluate.figures import Figures
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.metrics.calibration import Calibration
from components.shared.metrics.classification import AttributeScores, ClassificationScores, ClassScore
from components.shared.report.charts import confusion_table, reliability_chart
from components.shared.report.html import bar, definitions, notice, page, section, table, tile

_PAIRS = 10
_TILES = ("macro_f1", "accuracy", "log_loss", "calibration_error")
_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
}


@dataclass(frozen=True)
class Subject:
    """What was evaluated: the model, and the faces it was evaluated on."""

    model: str
    version: str
    space: LabelSpace
    splits: tuple[str, ...]
    faces: int
    images: int
    unlabeled: int
    missing: int
    dataset: str
    leaks: bool


def render(
    subject: Subject,
    metrics: Mapping[str, float],
    floors: Mapping[str, float],
    figures: Figures,
) -> str:
    """The page as text; equal arguments give equal text."""
    title = f"Evaluation of {subject.model}"
    where = f"{_split_name(subject)} · {subject.faces:,} faces in {subject.images:,} images"
    parts = [f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(where)}</p>']
    if subject.leaks:
        parts.append(leak_notice())
    parts += [_verdict(metrics, floors), _tiles(metrics, floors)]
    trust = section("Calibration", _calibration(figures.reliability))
    facts = section("What was evaluated", _facts(subject))
    parts.append(f'<div class="columns">{facts}{trust}</div>')
    parts += class_sections(subject.space, figures)
    return page(title, "\n".join(parts))


def leak_notice() -> str:
    """The warning above figures of people whom the model has seen."""
    return notice(
        "These figures leak.",
        "The split has the same person on both sides, so the model has seen these people. "
        "Expect much lower figures on new people.",
    )


def class_sections(space: LabelSpace, figures: Figures) -> Iterator[str]:
    """What the figures say of attributes and classes: cards of a page."""
    labels, scores = space.class_labels, figures.scores
    if figures.attributes:
        yield section("Attributes", _attributes(figures.attributes))
    yield section("Confusion matrix", confusion_table(labels, scores.confusion))
    yield section("Most confused", _confused(labels, scores))
    yield section("Classes", _classes(labels, scores))


def _split_name(subject: Subject) -> str:
    return f"split {' + '.join(subject.splits)}" if subject.splits else "images without a split"


def _verdict(metrics: Mapping[str, float], floors: Mapping[str, float]) -> str:
    missed = [name for name, floor in floors.items() if metrics[name] < floor]
    if not floors:
        return '<p class="verdict soft">No floor was set, so nothing was demanded of this model.</p>'
    if not missed:
        text = "The floor holds." if len(floors) == 1 else f"All {len(floors)} floors hold."
        return f'<p class="verdict good">✓ Passed. {text}</p>'
    listed = ", ".join(f"{metric_name(name)} {metrics[name]:.4f} is below {floors[name]:g}" for name in missed)
    return f'<p class="verdict bad">✗ Failed. {escape(listed)}.</p>'


def _tiles(metrics: Mapping[str, float], floors: Mapping[str, float]) -> str:
    names = [*_TILES, *(name for name in floors if name not in _TILES)]
    tiles = []
    for name in names:
        note, tone = "", "soft"
        if name in floors:
            holds = metrics[name] >= floors[name]
            note = f"{'✓ floor' if holds else '✗ floor'} {floors[name]:g}"
            tone = "good" if holds else "bad"
        tiles.append(tile(metric_name(name), f"{metrics[name]:.4f}", note, tone))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def metric_name(metric: str) -> str:
    """The name of a metric for people."""
    return _NAMES.get(metric, metric.replace("_", " ").replace("macro f1", "macro F1").capitalize())


def _facts(subject: Subject) -> str:
    return definitions(
        [
            ("Model", subject.model),
            ("Model sha256", f"{subject.version}…" if subject.version else ""),
            ("Label space", f"{subject.space.name} ({len(subject.space.class_labels)} classes)"),
            ("Heads", ", ".join(f"{head.name} ({len(head.labels)})" for head in subject.space.heads)),
            ("Annotations sha256", f"{subject.dataset[:12]}…"),
            ("Split", " + ".join(subject.splits) or "none"),
            ("Faces", f"{subject.faces:,} in {subject.images:,} images"),
            ("Without a label", f"{subject.unlabeled:,} faces left out" if subject.unlabeled else ""),
            ("Without a prediction", f"{subject.missing:,} faces left out" if subject.missing else ""),
        ]
    )


def _confused(labels: Sequence[str], scores: ClassificationScores) -> str:
    pairs = [
        (int(scores.confusion[true, guess]), true, guess)
        for true in range(len(labels))
        for guess in range(len(labels))
        if true != guess and scores.confusion[true, guess]
    ]
    if not pairs:
        return '<p class="soft">Nothing was confused: every face got its true class.</p>'
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    rows = [
        (escape(labels[true]), escape(labels[guess]), f"{count:,}", f"{count / scores.classes[true].support:.1%}")
        for count, true, guess in pairs[:_PAIRS]
    ]
    return table(("truth", "predicted", "faces", "of the class"), rows, text_columns=2)


def _attributes(attributes: Sequence[AttributeScores]) -> str:
    rows = []
    for attribute in attributes:
        per_value = ", ".join(
            f"{escape(label)} {_ratio(score.f1, not score.absent)}"
            for label, score in zip(attribute.labels, attribute.scores.classes, strict=True)
        )
        accuracy, macro_f1 = f"{attribute.scores.accuracy:.4f}", f"{attribute.scores.macro_f1:.4f}"
        rows.append((escape(attribute.name), per_value, accuracy, macro_f1))
    return table(("attribute", "F1 of each value", "accuracy", "macro F1"), rows, text_columns=2)


def _classes(labels: Sequence[str], scores: ClassificationScores) -> str:
    rows = [_class_row(label, score) for label, score in zip(labels, scores.classes, strict=True)]
    absent = sum(score.absent for score in scores.classes)
    rule = "Macro F1 is the mean of F1 over the classes that occur in the truth or among the predictions"
    rule += f"; {absent} of {len(labels)} occur in neither." if absent else "."
    return f'<p class="soft">{rule}</p>' + table(
        ("class", "faces", "predicted", "precision", "recall", "F1"), rows, text_columns=1
    )


def _class_row(label: str, score: ClassScore) -> tuple[str, ...]:
    name = escape(label) + (' <span class="soft">(not in the data)</span>' if score.absent else "")
    return (
        name,
        f"{score.support:,}",
        f"{score.predicted:,}",
        _ratio(score.precision, score.predicted > 0),
        _ratio(score.recall, score.support > 0),
        _ratio(score.f1, not score.absent) + bar(score.f1),
    )


def _ratio(value: float, defined: bool) -> str:
    return f"{value:.3f}" if defined else "–"


def _calibration(reliability: Calibration) -> str:
    return (
        f'<p class="soft">On average the confidence is {100 * reliability.error:.1f} points away from the accuracy '
        "of the faces that share it. Bars on the dashed line are honest, bars below it overconfident.</p>"
        + reliability_chart(reliability)
    )
