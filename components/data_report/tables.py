"""The tables of the page: splits, classes, attributes, persons, what was left out and what was done."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from components.data_report.annotators import Votes
from components.data_report.facts import EXAMPLES, Attribute, Classes, Counts, Facts, Part
from components.shared.report.charts import cross_table
from components.shared.report.html import TONES, bar, definitions, key, parts_bar, shown, table
from components.shared.report.plots import histogram

NO_SPLIT = "no split"

_ROWS = 300
_VALUES = 15
_REASONS = 40
_OPERATIONS = 40
_TONES = dict(zip(("train", "val", "test", None), TONES, strict=True))


def tally_of(info: Mapping[str, Any], name: str) -> dict[str, int]:
    """Return the counts by reason that a step left in `info`, largest first; what is no count is not one."""
    found = info.get(name)
    counts = {str(k): v for k, v in found.items() if type(v) is int} if isinstance(found, Mapping) else {}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def share(count: float, total: float) -> str:
    """Write a share as a percentage, and a dash where there is nothing to share."""
    return f"{count / total:.1%}" if total else "–"


def soft(text: str) -> str:
    """A remark; the argument is text."""
    return f'<p class="soft">{escape(text)}</p>'


def splits_table(facts: Facts) -> str:
    """Images, faces and persons of every split."""
    if [part.name for part in facts.parts] == [None]:
        return soft("No image has a split yet.")
    rows = [
        (
            f'<span class="key {_TONES[part.name]}"></span>{part.name or NO_SPLIT}',
            f"{part.images:,}",
            share(part.images, facts.images),
            f"{part.faces:,}",
            f"{part.persons:,}",
        )
        for part in facts.parts
    ]
    notes = []
    if facts.not_trainable:
        notes.append(f"{facts.not_trainable:,} images are kept out of training.")
    if facts.persons.images_without:
        notes.append("An image of nobody known counts as a person of its own.")
    body = table(("split", "images", "share", "faces", "persons"), rows)
    body += soft(" ".join(notes)) if notes else ""
    if facts.folds:
        listed = ", ".join(f"{fold}: {count:,}" for fold, count in facts.folds.items())
        body += soft(shown(f"Images per fold: {listed}.", 400))
    return body


def classes_table(classes: Classes, parts: Sequence[Part], space: str) -> str:
    """Faces per class and split."""
    totals = classes.totals
    notes = []
    if totals.sum():
        empty = [label for label, total in zip(classes.labels, totals, strict=True) if not total]
        if empty:
            notes.append(f"{len(empty)} of {len(classes.labels)} classes have no face.")
    else:
        notes.append(f"No face has a class of the label space '{space}'.")
    if classes.unlabeled.any():
        notes.append(f"{int(classes.unlabeled.sum()):,} faces lack an attribute that the label space reads.")
    body = soft(" ".join(notes)) if notes else ""
    if classes.unreadable.any():
        body += (
            f'<p class="bad">{int(classes.unreadable.sum()):,} faces have a value that is not understood, such as '
            f"{escape(shown(classes.examples[0], 300))}</p>"
        )
    if not totals.sum():
        return body
    for name, column in _columns(parts).items():
        lacking = int(((classes.counts[:, column] == 0) & (totals > 0)).sum()) if name else 0
        if lacking:
            body += f'<p class="bad">{name} lacks {lacking} of the {int((totals > 0).sum())} classes.</p>'
    left_out = len(classes.labels) - _ROWS
    rows = _count_rows(classes.labels[:_ROWS], classes.counts[:_ROWS], parts, int(totals.sum()), int(totals.max()))
    body += _legend(parts) + table(("class", "faces", "share", "", *_names(parts)), rows)
    return body + (soft(f"And {left_out:,} classes more.") if left_out > 0 else "")


def attribute_table(attribute: Attribute, parts: Sequence[Part]) -> str:
    """Faces per value of one attribute."""
    counts, values = attribute.counts, list(attribute.values)
    if len(values) > _VALUES:
        counts = np.concatenate([counts[: _VALUES - 1], counts[_VALUES - 1 :].sum(axis=0, keepdims=True)])
        values = [*values[: _VALUES - 1], f"{len(values) - _VALUES + 1:,} other values"]
    total = int(counts.sum())
    if attribute.absent.any():
        counts = np.concatenate([counts, attribute.absent[None]])
        values.append("(unknown)")
    rows = _count_rows(values, counts, parts, total + int(attribute.absent.sum()), int(counts.sum(axis=1).max()))
    narrow = [row[:4] for row in rows]
    return f"<h3>{escape(shown(attribute.name, 40))}</h3>" + table(("value", "faces", "share", ""), narrow)


def _count_rows(
    names: Sequence[str], counts: Counts, parts: Sequence[Part], total: int, largest: int
) -> list[tuple[str, ...]]:
    """Rows of name, count, share, a bar divided by split, and the count of every split."""
    rows = []
    for name, row in zip(names, counts, strict=True):
        count = int(row.sum())
        tones = [(_TONES[part.name], int(value) / largest) for part, value in zip(parts, row, strict=True)]
        per_split = [f"{int(value):,}" for value in row] if _names(parts) else []
        rows.append((escape(shown(name, 60)), f"{count:,}", share(count, total), parts_bar(tones), *per_split))
    return rows


def _columns(parts: Sequence[Part]) -> dict[str | None, int]:
    return {part.name: at for at, part in enumerate(parts)}


def _names(parts: Sequence[Part]) -> tuple[str, ...]:
    names = tuple(part.name or NO_SPLIT for part in parts)
    return () if names == (NO_SPLIT,) else names


def _legend(parts: Sequence[Part]) -> str:
    return key((_TONES[part.name], part.name or NO_SPLIT) for part in parts) if _names(parts) else ""


def persons_body(facts: Facts) -> str:
    """How many images a person has."""
    persons = facts.persons
    if not persons.names:
        return soft(
            "Nothing tells which images show one person, so each counts as a person of its own. "
            "If the same people are in several images, a split cannot keep them apart."
        )
    counts = persons.images
    lines = [
        ("Persons", f"{len(counts):,}"),
        ("Images per person", _spread(counts)),
        (
            "Most images",
            ", ".join(f"{shown(persons.names[at], 24)} ({counts[at]:,})" for at in range(min(3, len(counts)))),
        ),
        ("Images of nobody known", f"{persons.images_without:,}" if persons.images_without else ""),
    ]
    if counts.min() == counts.max():
        return definitions(lines)
    return definitions(lines) + histogram(counts, "images of a person", "persons", whole=True)


def _spread(counts: Counts) -> str:
    if counts.min() == counts.max():
        return f"{counts[0]:,} of everyone"
    return f"{counts.min():,} to {counts.max():,}, median {np.median(counts):g}"


def files_table(facts: Facts) -> str:
    """Images per file extension."""
    rows = [
        (escape(shown(extension or "(none)", 20)), f"{count:,}", share(count, facts.images) + bar(count / facts.images))
        for extension, count in list(facts.extensions.items())[:_VALUES]
    ]
    left_out = sum(list(facts.extensions.values())[_VALUES:])
    return table(("extension", "images", "share"), rows) + (soft(f"And {left_out:,} others.") if left_out else "")


def left_out_table(info: Mapping[str, Any]) -> str:
    """What the steps dropped, skipped and noted, by reason and with names."""
    rows = []
    for name in ("dropped", "skipped", "notes"):
        examples = info.get(f"{name}_examples")
        for reason, count in tally_of(info, name).items():
            rows.append((name if name != "notes" else "noted", reason, count, _named(examples, reason)))
    if not rows:
        return soft("Nothing was dropped, skipped or noted.")
    cells = [
        (kind, escape(shown(reason, 60)), escape(named), f"{count:,}") for kind, reason, count, named in rows[:_REASONS]
    ]
    body = table(("", "reason", "such as", "count"), cells, text_columns=3)
    return body + (soft(f"And {len(rows) - _REASONS:,} reasons more.") if len(rows) > _REASONS else "")


def curation_table(info: Mapping[str, Any]) -> str:
    """What curate did, operation by operation; empty when it did nothing."""
    steps = info.get("curation")
    if not isinstance(steps, list) or not steps:
        return ""
    rows = []
    for number, step in enumerate(steps[:_OPERATIONS], start=1):
        entry = step if isinstance(step, Mapping) else {}
        examples = entry.get("examples")
        counts = [
            f"{count:,} {escape(shown(reason, 60))}"
            + (f' <span class="soft">({escape(named)})</span>' if (named := _named(examples, reason)) else "")
            for reason, count in list(tally_of(entry, "counts").items())[:EXAMPLES]
        ]
        before, after = (entry.get(when, {}) for when in ("before", "after"))
        images = [part.get("images") if isinstance(part, Mapping) else None for part in (before, after)]
        change = f"{images[0]:,} → {images[1]:,}" if all(type(n) is int for n in images) else ""
        options = json.dumps(entry.get("options", {}), sort_keys=True, ensure_ascii=False, default=str)
        name = f"{number}. {shown(entry.get('operation', '?'), 40)}"
        rows.append((escape(name), escape(shown(options, 160)), "<br>".join(counts) or "nothing to do", change))
    body = table(("operation", "options", "what it did", "images"), rows, text_columns=3)
    left_out = len(steps) - _OPERATIONS
    return body + (soft(f"And {left_out:,} operations more.") if left_out > 0 else "")


def _named(examples: Any, reason: str) -> str:
    names = examples.get(reason) if isinstance(examples, Mapping) else None
    return ", ".join(shown(name, 60) for name in names[:EXAMPLES]) if isinstance(names, list) else ""


def votes_body(votes: Votes) -> str:
    """How far the annotators agree with the label."""
    faces, cast = int(votes.faces.sum()), int(votes.matrix.sum())
    agreeing, unanimous, outvoted = int(votes.agreeing.sum()), int(votes.unanimous.sum()), int(votes.outvoted.sum())
    lines = [
        ("Votes for the label", f"{share(agreeing, cast)} of {cast:,} votes on {faces:,} faces"),
        ("All agree with the label", f"{unanimous:,} faces ({share(unanimous, faces)})"),
        ("A majority says something else", f"{outvoted:,} faces ({share(outvoted, faces)})"),
        ("No two votes agree", f"{votes.all_differ:,} faces ({share(votes.all_differ, faces)})"),
    ]
    uploaders, uploader = int(votes.uploaders.sum()), int(votes.uploader.sum())
    if uploaders:
        lines.append(("The uploader agrees", f"{uploader:,} of {uploaders:,} faces ({share(uploader, uploaders)})"))
    names = [shown("(no label)" if label is None else label, 30) for label in votes.labels]
    rows = []
    for at, name in enumerate(names):
        total, mine = int(votes.matrix[at].sum()), int(votes.agreeing[at])
        row = (
            escape(name),
            f"{int(votes.faces[at]):,}",
            share(mine, total) + bar(mine / total),
            share(int(votes.unanimous[at]), int(votes.faces[at])),
            share(int(votes.outvoted[at]), int(votes.faces[at])),
            share(int(votes.uploader[at]), int(votes.uploaders[at])),
        )
        rows.append(row)
    columns = ("label", "faces", "votes for it", "all agree", "outvoted", "uploader agrees")
    matrix = cross_table(
        names,
        [shown(value, 30) for value in votes.values],
        votes.matrix,
        caption="Rows are the label, columns what the annotators chose; the shade is the share of the row.",
        relation="called",
        unit="votes",
    )
    return definitions(lines) + "<br>" + table(columns, rows) + "<br>" + matrix
