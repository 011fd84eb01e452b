"""The page of a registered model, in Markdown: what it is, its data, its scores, what it is for, what is not known.

It holds what the file, the evaluation and the run of the training tell, and nothing else.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.classification import LOWER_IS_BETTER
from serving.runtime.card import ClassificationCard, DetectionCard, ModelCard
from serving.runtime.composite_card import CompositeCard
from serving.runtime.errors import InputError
from serving.runtime.validation import shortened

PAGE_FILE = "model.md"
LONGEST_DESCRIPTION = 5000
"""Characters that every database of MLflow takes in the description of a version."""
METRICS_FILE, CLASSES_FILE = "metrics.json", "classes.csv"

_MOST_ROWS, _MOST_COLUMNS = 60, 10
_SMALL, _FEW = 1000, 30
_HEADS = 20


Table = tuple[tuple[str, ...], ...]
"""Rows of text, header first; empty where there is no table."""


@dataclass(frozen=True, slots=True)
class Details:
    """What the files of an evaluation tell.

    Attributes:
        intervals: the bounds of the 95 % interval by metric; of those that have one.
        classes: a row for each class.
        worst_group: of the groups of faces that are alike, such as those of an age, the one with the lowest accuracy,
            in Markdown; "" where there are no two to compare.
    """

    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    classes: Table = ()
    worst_group: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """What an evaluation has told of a model.

    Attributes:
        metrics: scalar metrics on the test split by name.
        floors: lowest accepted value by metric.
        predictions: those of the test split; None where they are not known.
        details: what its files tell.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    predictions: Predictions | Detections | None = None
    details: Details = field(default_factory=Details)


def read_details(folder: Path) -> Details:
    """Read the details of an evaluation; what is not there is empty. Raises InputError where a file is damaged."""
    classes, file = _read_table(folder / CLASSES_FILE), folder / METRICS_FILE
    if not file.is_file():
        return Details(classes=classes)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        values, worst = content["metrics"], content.get("worst_group")
        names = [name.removesuffix("_low") for name in values if name.endswith("_low")]
        intervals = {name: (float(values[f"{name}_low"]), float(values[f"{name}_high"])) for name in names}
        group = f"{_code(worst['dimension'])} {_code(worst['value'])}, of {worst['faces']:,} faces" if worst else ""
        return Details(intervals, classes, f"{group}: accuracy {worst['accuracy']:.3f}" if worst else "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: cannot be read; leave the file as evaluate wrote it ({error})") from error


def _read_table(file: Path) -> Table:
    if not file.is_file():
        return ()
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = [tuple(row) for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read, expected CSV in UTF-8: {error}") from error
    if len({len(row) for row in rows}) > 1:
        raise InputError(f"{file}: its rows are not equally long; leave the file as evaluate wrote it")
    return tuple(rows)


def model_page(card: ModelCard, facts: EvaluationFacts, params: Mapping[str, str]) -> str:
    """Return the page of a classifier or a detector.

    Args:
        card: of the model.
        facts: its evaluation.
        params: of the run of its training, as MLflow has them; empty where there was none.
    """
    classifier = isinstance(card, ClassificationCard)
    sections = [
        ("What it is", _what(card)),
        ("Training", _training(card, params)),
        ("Scores on the test split", _scores(facts)),
        *([("Classes", _table(facts.details.classes))] if facts.details.classes else []),
        ("What it is for", _uses(card)),
        ("Limits", _limits(card, facts)),
        ("Licenses", _licenses(card, params)),
    ]
    kind = "A classifier of faces" if classifier else "A detector of faces"
    return _joined(f"# {_text(card.name)}\n\n{kind}, exported by Facet as `model.onnx`.", sections)


def composite_page(card: CompositeCard) -> str:
    """Return the page of a composite: its members, whose own pages have the rest."""
    members = [f"- detector: `{one.uri}`" for one in card.detectors] + [f"- classifier: `{uri}`" for uri in card.heads]
    found = (
        "To find the faces in a photo and classify each of them. A later detector sees the photos in which the earlier "
        "ones found no plausible face."
    )
    limits = (
        "It was not evaluated as a whole when it was registered: a face that no detector finds has no class, and the "
        "classifiers see the boxes that are found."
    )
    sections = [
        ("Members", [*members, "", "Their own pages have their data, scores, limits and licenses."]),
        ("What it is for", [found]),
        ("Limits", [limits]),
    ]
    return _joined(f"# {_text(card.name)}\n\nDetectors and classifiers that are served as one.", sections)


def description(page: str) -> str:
    """Return a page as the description of a version: whole sections, as many as fit."""
    if len(page) <= LONGEST_DESCRIPTION:
        return page
    ending = f"\n\nThe rest is in {PAGE_FILE}, among the files of this version.\n"
    room = page[: LONGEST_DESCRIPTION - len(ending)]
    return room[: room.rindex("\n\n## ") if "\n\n## " in room else len(room)] + ending


def _joined(title: str, sections: list[tuple[str, list[str]]]) -> str:
    parts = [title, *(f"## {heading}\n\n" + "\n".join(lines) for heading, lines in sections)]
    return "\n\n".join(parts) + "\n"


def _text(value: object) -> str:
    """Return a value of somebody else's as one line of Markdown without markup."""
    line = " ".join(str(value).split())
    for mark in "\\`*_[]<|#":
        line = line.replace(mark, f"\\{mark}")
    return line


def _code(value: object) -> str:
    """Return a name as code on one line."""
    return f"`{' '.join(str(value).split()).replace('`', chr(39))}`"


def _what(card: ModelCard) -> list[str]:
    size = f"{card.input.height} x {card.input.width} pixels (height x width)"
    lines = [f"- input: `uint8` RGB, {size}{f', in multiples of {card.stride}' if card.stride else ''}"]
    if isinstance(card, ClassificationCard):
        lines.append(f"- label space: {_code(card.label_space)}")
        for head in card.heads:
            more = f", and {len(head.labels) - _HEADS} more" if len(head.labels) > _HEADS else ""
            labels = ", ".join(map(_code, head.labels[:_HEADS])) + more
            lines.append(f"- output {_code(head.name)}: {len(head.labels)} probabilities ({labels})")
        if card.temperature is not None:
            heads = ", ".join(f"{_code(name)} {value:.3f}" for name, value in sorted(card.temperature.items()))
            lines.append(f"- probabilities calibrated with temperature: {heads}")
        if card.notify is not None:
            lines.append(
                f"- notice: from a probability of {card.notify.threshold:g}, by head {_code(card.notify.head)}"
            )
    else:
        lines.append(f"- labels: {', '.join(map(_code, card.labels))}")
        lines.append(f"- boxes are answered from a score of {card.thresholds.score:g}")
        if card.points:
            lines.append(f"- points: {', '.join(map(_code, card.points))}")
    return [*lines, f"- precision of the graph: {card.precision}"]


def _training(card: ModelCard, params: Mapping[str, str]) -> list[str]:
    lines = [
        f"- digest of the annotations: {f'`{card.dataset_digest}`' if card.dataset_digest else 'not known'}",
        f"- digest of the configuration and the data: `{card.training_digest}`",
    ]
    names = ("config.model", "config.epochs", "config.augmentation.name", "config.objective.loss.name", "config.seed")
    lines += [f"- {name.rpartition('config.')[2]}: {_code(params[name])}" for name in names if name in params]
    if isinstance(card, ClassificationCard) and card.pseudo_labels is not None:
        lines.append(f"- pseudo-labels: {card.pseudo_labels.share:.0%} of each batch were faces without a label")
    libraries = ", ".join(f"{_text(name)} {_text(version)}" for name, version in sorted(card.versions.items()))
    return [*lines, f"- made with {libraries}"] if libraries else lines


def _scores(facts: EvaluationFacts) -> list[str]:
    if not facts.metrics:
        return ["Not known: it was registered without an evaluation."]
    lines = []
    table = facts.predictions
    if isinstance(table, Predictions):
        images = len({face.image_id for face in table.faces})
        lines = [f"{len(table.faces):,} predicted faces in {images:,} images.", ""]
    elif table is not None:
        lines = [f"{len(table.images):,} photos.", ""]
    floors, intervals = facts.floors, facts.details.intervals
    columns = ["metric", "value", *(["95 % interval"] if intervals else []), *(["floor"] if floors else [])]
    lines += [_row(tuple(columns)), "|---|" + "---:|" * (len(columns) - 1)]
    for name in sorted(facts.metrics, key=lambda one: (one not in floors, one)):
        cells = [_code(name) + (" (lower is better)" if name in LOWER_IS_BETTER else ""), f"{facts.metrics[name]:.4f}"]
        cells += ["{:.4f} to {:.4f}".format(*intervals[name]) if name in intervals else ""] if intervals else []
        cells += [f"{floors[name]:g}" if name in floors else ""] if floors else []
        lines.append(f"| {' | '.join(cells)} |")
    drawn = "photos" if isinstance(table, Detections) else "persons, with all their faces"
    return [*lines, "", f"The intervals are of draws of {drawn}."] if intervals else lines


def _table(rows: Table) -> list[str]:
    header, *body = (row[:_MOST_COLUMNS] for row in rows)
    lines = [_row(header), "|" + "---|" * len(header)]
    lines += [_row(tuple(map(_rounded, row))) for row in body[:_MOST_ROWS]]
    return (
        [*lines, "", f"{len(body) - _MOST_ROWS} more classes are in {CLASSES_FILE}."]
        if len(body) > _MOST_ROWS
        else lines
    )


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_text, cells)) + " |"


def _rounded(text: str) -> str:
    try:
        return f"{float(text):.4f}" if "." in text else text
    except ValueError:
        return text


def _uses(card: ModelCard) -> list[str]:
    if isinstance(card, DetectionCard):
        return ["To find where faces are in a photo. It does not tell whose they are."]
    cut = "a fixed part of the photo" if card.crop.frame is not None else "the cut around a face box"
    return [
        f"To tell {_code(card.label_space)} of one face: it sees {cut}, as the endpoint makes it. It does not tell "
        "whose face it is, and it answers with a class also where there is no face.",
    ]


def _limits(card: ModelCard, facts: EvaluationFacts) -> list[str]:
    return [f"- {line}" for line in _limit_lines(card, facts)]


def _limit_lines(card: ModelCard, facts: EvaluationFacts) -> Iterator[str]:
    if card.leaks:
        yield "The training and the test split share persons, so the scores are higher than on people it has not seen."
    count, classes, intervals = _tested(facts), facts.details.classes, facts.details.intervals
    if count is not None and count < _SMALL:
        noun = "photos" if isinstance(facts.predictions, Detections) else "faces"
        known = intervals.get("accuracy")
        wide = f"; the accuracy is between {known[0]:.3f} and {known[1]:.3f} (95 %)" if known else ""
        yield f"The test split is small, {count:,} {noun}{wide}."
    if few := _rare_classes(classes):
        yield f"{few} of {len(classes) - 1} classes have fewer than {_FEW} test faces; their scores say little."
    if facts.details.worst_group:
        yield f"Of the groups of people and photos it is right least often about {facts.details.worst_group}."
    missed = [name for name, floor in facts.floors.items() if not facts.metrics.get(name, -math.inf) >= floor]
    if missed:
        yield f"It missed the floor of {', '.join(map(_code, missed))}."
    if card.precision != "fp32":
        yield f"It computes in {card.precision}; its answers differ a little from those of the trained network."
    if not card.dataset_digest:
        yield "What it was trained on is not known."
    yield "The scores are of one data set; nothing is known of photos from other sources, cameras or groups of people."
    if isinstance(card, ClassificationCard) and not classes:
        yield "Scores by class and by group of people are not on this page; the report of the evaluation has some."


def _rare_classes(rows: Table) -> int:
    """Return how many classes of the table have few faces; 0 where it does not tell."""
    if not rows or "faces" not in rows[0]:
        return 0
    column = rows[0].index("faces")
    return sum(row[column].isdecimal() and int(row[column]) < _FEW for row in rows[1:])


def _tested(facts: EvaluationFacts) -> int | None:
    table = facts.predictions
    if table is None:
        return None
    return len(table.images) if isinstance(table, Detections) else len(table.faces)


def _licenses(card: ModelCard, params: Mapping[str, str]) -> list[str]:
    lines = ["- Facet's code: Apache-2.0"]
    if "ultralytics" in card.versions:
        lines.append(
            "- trained with ultralytics, which is AGPL-3.0; Ultralytics claims that license for models that are "
            "trained with its software, too"
        )
    if origin := _origin(params):
        lines.append(f"- weights at the start: {origin}")
    else:
        lines.append("- weights at the start: not recorded with this version")
    return [*lines, "- photos of the training: their terms are not recorded with this version"]


def _origin(params: Mapping[str, str]) -> str:
    """Return what the training started from, as its run tells; "" where it does not."""
    model = params.get("config.model", "")
    if model.endswith((".pt", ".yaml")):
        return f"those of {_code(model)}, under the terms of that file" if model.endswith(".pt") else "random"
    if not model:
        return ""
    pretrained = params.get("config.network.pretrained", "none")
    if pretrained == "none":
        return "random"
    return f"{_code(shortened(pretrained))}, under the terms of those weights and of the data that they were trained on"
