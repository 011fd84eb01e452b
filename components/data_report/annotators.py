"""Agreement of the annotators' votes with the label of a face, and with each other."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.dataset.annotations import Image
from components.shared.dataset.label_spaces import canonical_value, label_space

MAX_VALUES = 12
"""How many emotions are listed; rarer ones outside of the label space are counted together."""

OTHERS = "other values"

_COLUMNS = ("faces", "agreeing", "unanimous", "outvoted", "uploader", "uploaders")

Counts = npt.NDArray[np.int64]
Annotation = tuple[str | None, tuple[str, ...], str | None]
"""The label, the votes and the uploader's answer of a face."""


@dataclass(frozen=True)
class Votes:
    """The votes on faces against their label, an emotion.

    Attributes:
        labels: emotions of these faces, in the order of the label space; `None` collects those without one.
        values: what was voted for, in the same order.
        matrix: (labels, values), votes.
        faces: (labels,), faces with votes.
        agreeing: (labels,), votes for the label.
        unanimous: (labels,), faces all of whose votes are for the label.
        outvoted: (labels,), faces where more than half of the votes are for one other value.
        uploader: (labels,), faces whose uploader's answer is the label; `uploaders` those with an uploader's answer.
        all_differ: faces with several votes, no two of which agree.
    """

    labels: tuple[str | None, ...]
    values: tuple[str, ...]
    matrix: Counts
    faces: Counts
    agreeing: Counts
    unanimous: Counts
    outvoted: Counts
    uploader: Counts
    uploaders: Counts
    all_differ: int


def count_votes(images: Iterable[Image]) -> Votes | None:
    """Count `votes` against `emotion` and `uploader`; None when no face has votes."""
    annotations = _annotations(images)
    if not annotations:
        return None
    cast: Counter[str] = Counter()
    labeled: Counter[str | None] = Counter()
    for (label, votes, _), faces in annotations.items():
        labeled[label] += faces
        for vote in votes:
            cast[vote] += faces
    values, labels = _grouped(cast), _grouped(Counter({k: v for k, v in labeled.items() if k is not None}))
    rows: list[str | None] = [*dict.fromkeys(labels.values()), *([None] if None in labeled else [])]
    columns = list(dict.fromkeys(values.values()))
    matrix = np.zeros((len(rows), len(columns)), dtype=np.int64)
    counts = np.zeros((len(_COLUMNS), len(rows)), dtype=np.int64)
    all_differ = 0
    for (label, votes, uploader), faces in annotations.items():
        row = rows.index(None if label is None else labels[label])
        by_value = Counter(votes)
        favorite, most = by_value.most_common(1)[0]
        agree = 0 if label is None else by_value[label]
        outvoted = favorite != label and 2 * most > len(votes)
        answered = uploader is not None
        counts[:, row] += faces * np.array(
            [1, agree, agree == len(votes), outvoted, answered and uploader == label, answered], dtype=np.int64
        )
        all_differ += faces * (len(votes) > 1 and most == 1)
        for vote, count in by_value.items():
            matrix[row, columns.index(values[vote])] += faces * count
    return Votes(tuple(rows), tuple(columns), matrix, **dict(zip(_COLUMNS, counts, strict=True)), all_differ=all_differ)


def _annotations(images: Iterable[Image]) -> Counter[Annotation]:
    """Count the faces with each combination of label, votes and uploader's answer; there are few different ones."""
    read: dict[str, Annotation] = {}
    counter: Counter[Annotation] = Counter()
    for image in images:
        for face in image.faces:
            votes = face.attributes.get("votes")
            if not isinstance(votes, list) or not votes:
                continue
            label, uploader = face.attributes.get("emotion"), face.attributes.get("uploader")
            key = repr((label, votes, uploader))
            if key not in read:
                read[key] = (_emotion(label), tuple(filter(None, map(_emotion, votes))), _emotion(uploader))
            if read[key][1]:
                counter[read[key]] += 1
    return counter


def _grouped(counts: Counter[str]) -> dict[str, str]:
    """Map every value to itself, in the order of the label space and then most first, and the rarest to OTHERS."""
    classes = label_space("emotion").class_labels
    order = sorted(counts, key=lambda v: (classes.index(v) if v in classes else len(classes), -counts[v], v))
    return {value: value if index < MAX_VALUES else OTHERS for index, value in enumerate(order)}


def _emotion(value: Any) -> str | None:
    return None if value is None else str(canonical_value("emotion", value))
