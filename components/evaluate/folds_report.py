"""The report of a cross-validation, as one HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from components.evaluate.figures import Figures
from components.evaluate.report import class_sections, leak_notice, metric_name
from components.evaluate.spread import Spread
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.report.html import bar, definitions, page, section, table, tile

_TILES = ("macro_f1", "accuracy", "log_loss", "calibration_error")
_BY_FOLD = ("log_loss", "accuracy")


@dataclass(frozen=True)
class Fold:
    """A judged fold: its number, its faces, and what was found in it."""

    number: int
    faces: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Subject:
    """What was judged: `made` is how many folds there are, `folds` are those that were judged."""

    model: str
    space: LabelSpace
    made: int
    folds: Sequence[Fold]
    faces: int
    images: int
    dataset: str
    leaks: bool


def render(subject: Subject, spreads: Mapping[str, Spread], figures: Figures) -> str:
    """The page as text; equal arguments give equal text. `figures` are those of all judged faces together."""
    title = f"Cross-validation of {subject.model}"
    judged = f"{len(subject.folds)} of {subject.made}" if len(subject.folds) < subject.made else f"{subject.made}"
    where = f"{judged} folds · {subject.faces:,} faces in {subject.images:,} images, each judged once"
    parts = [f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(where)}</p>']
    if subject.leaks:
        parts.append(leak_notice())
    parts.append(f'<div class="tiles">{"".join(_tile(name, spreads[name]) for name in _TILES)}</div>')
    parts.append(section("Folds", _folds(subject.folds)))
    facts = section("What was judged", _facts(subject))
    parts.append(f'<div class="columns">{section("Mean and spread", _spreads(spreads))}{facts}</div>')
    rule = (
        "What follows is about all judged faces at once, each predicted by a model that was trained without its fold."
    )
    parts.append(section("All folds together", f'<p class="soft">{rule}</p>'))
    parts += class_sections(subject.space, figures)
    return page(title, "\n".join(parts))


def _tile(name: str, spread: Spread) -> str:
    note = f"{spread.lowest:.4f} to {spread.highest:.4f}"
    if spread.deviation is not None:
        note = f"± {spread.deviation:.4f}, {note}"
    return tile(metric_name(name), f"{spread.mean:.4f}", note)


def _folds(folds: Sequence[Fold]) -> str:
    rows = [
        (
            str(fold.number),
            f"{fold.faces:,}",
            *(f"{fold.metrics[name]:.4f}" for name in _BY_FOLD),
            f"{fold.metrics['macro_f1']:.4f}{bar(fold.metrics['macro_f1'])}",
        )
        for fold in folds
    ]
    return table(("fold", "faces", *(escape(metric_name(name)) for name in (*_BY_FOLD, "macro_f1"))), rows)


def _spreads(spreads: Mapping[str, Spread]) -> str:
    rows = [
        (
            escape(metric_name(name)),
            f"{spread.mean:.4f}",
            "–" if spread.deviation is None else f"{spread.deviation:.4f}",
            f"{spread.lowest:.4f}",
            f"{spread.highest:.4f}",
        )
        for name, spread in spreads.items()
    ]
    rule = "The deviation is that of a sample of folds; they share training faces, so it is rather too small."
    return table(("metric", "mean", "deviation", "lowest", "highest"), rows) + f'<p class="soft">{rule}</p>'


def _facts(subject: Subject) -> str:
    return definitions(
        [
            ("Model", subject.model),
            ("Label space", f"{subject.space.name} ({len(subject.space.class_labels)} classes)"),
            ("Annotations sha256", f"{subject.dataset[:12]}…"),
            ("Folds", ", ".join(str(fold.number) for fold in subject.folds)),
            ("Faces", f"{subject.faces:,} in {subject.images:,} images"),
        ]
    )
