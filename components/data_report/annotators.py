"""Do the annotators of a face agree with its label, and with each other?"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.dataset.annotations import Image
from components.shared.dataset.label_spaces import canonical_value, label_space

Opinion = tuple[str | None, tuple[str, ...], str | None]

WORDS = 12
"""How many emotions are told apart; rarer ones outside of the label space are counted as one."""

OTHERS = "other words"

_TALLIES = ("faces", "agreeing", "unanimous", "outvoted", "uploader", "uploaders")


@dataclass(frozen=True)
class Votes:
    """The emotion of the faces that were voted on, against their annotators' votes.

    Attributes:
        labels: emotions of these faces, in the order of the label space; `None` collects those without one.
        values: what was voted for, in the same order.
        matrix: (labels, values), votes.
        faces: (labels,), faces with votes.
        agreeing: (labels,), votes for the label.
        unanimous: (labels,), faces on whose label all votes agree.
        outvoted: (labels,), faces where more than half of the votes agree on something else.
        uploader: (labels,), faces whose uploader says what the label says; `uploaders` those with an uploader's word.
        all_differ: faces on which no two of several votes agree.
    """

    labels: tuple[str | None, ...]
    values: tuple[str, ...]
    matrix: npt.NDArray[np.int64]
    faces: npt.NDArray[np.int64]
    agreeing: npt.NDArray[np.int64]
    unanimous: npt.NDArray[np.int64]
    outvoted: npt.NDArray[np.int64]
    uploader: npt.NDArray[np.int64]
    uploaders: npt.NDArray[np.int64]
    all_differ: int


def count_votes(images: Iterable[Image]) -> Votes | None:
    """Count `votes` against `emotion` and `uploader`; None when no face was voted on."""
    opinions = _opinions(images)
    cast: Counter[str] = Counter()
    judged: Counter[str | None] = Counter()
    for (label, votes, _), faces in opinions.items():
        judged[label] += faces
        for vote in votes:
            cast[vote] += faces
    if not opinions:
        return None
    values, labels = _told_apart(cast), _told_apart(Counter({k: v for k, v in judged.items() if k is not None}))
    rows: list[str | None] = [*dict.fromkeys(labels.values()), *([None] if None in judged else [])]
    columns = list(dict.fromkeys(values.values()))
    matrix = np.zeros((len(rows), len(columns)), dtype=np.int64)
    tallies = np.zeros((len(_TALLIES), len(rows)), dtype=np.int64)
    all_differ = 0
    for (label, votes, uploader), faces in opinions.items():
        row = rows.index(None if label is None else labels[label])
        said = Counter(votes)
        favorite, most = said.most_common(1)[0]
        agree = 0 if label is None else said[label]
        outvoted = favorite != label and 2 * most > len(votes)
        asked = uploader is not None
        tallies[:, row] += faces * np.array(
            [1, agree, agree == len(votes), outvoted, asked and uploader == label, asked], dtype=np.int64
        )
        all_differ += faces * (len(votes) > 1 and most == 1)
        for vote, count in said.items():
            matrix[row, columns.index(values[vote])] += faces * count
    named = dict(zip(_TALLIES, tallies, strict=True))
    return Votes(tuple(rows), tuple(columns), matrix, **named, all_differ=all_differ)


def _opinions(images: Iterable[Image]) -> Counter[Opinion]:
    """Count the faces of every opinion: label, votes, and what the uploader says."""
    read: dict[str, Opinion] = {}
    opinions: Counter[Opinion] = Counter()
    for image in images:
        for face in image.faces:
            votes = face.attributes.get("votes")
            if not isinstance(votes, list) or not votes:
                continue
            label, uploader = face.attributes.get("emotion"), face.attributes.get("uploader")
            # There are few different ones, so each is read once.
            key = repr((label, votes, uploader))
            if key not in read:
                read[key] = (_word(label), tuple(filter(None, map(_word, votes))), _word(uploader))
            if read[key][1]:
                opinions[read[key]] += 1
    return opinions


def _told_apart(counts: Counter[str]) -> dict[str, str]:
    """Map every word to itself, in the order of the label space and then most first, or the rarest to OTHERS."""
    known = label_space("emotion").class_labels
    words = sorted(counts, key=lambda w: (known.index(w) if w in known else len(known), -counts[w], w))
    return {word: word if at < WORDS else OTHERS for at, word in enumerate(words)}


def _word(value: Any) -> str | None:
    return None if value is None else str(canonical_value("emotion", value))
