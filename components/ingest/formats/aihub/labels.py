"""The label files of AI Hub's emotion data: JSON lists, one record an image.

Two schemas are read, also mixed. The one that is delivered:

    {"filename", "gender", "age", "faceExp_uploader", "bg_uploader",
     "annot_A": {"boxes": {"minX", "minY", "maxX", "maxY"}, "faceExp", "bg"}, "annot_B": ..., "annot_C": ...}

and the one that is published, with `faceBB_A`, `faceBB_B` and `faceBB_C` instead of the annotators:

    [{"boxes": [{"maxX", "maxY", "minX", "minY", "label"}], "entireLabel"}]

An annotator may be one object or a list of them; `boxes` one object, a list of objects, or the five values in the
published order. A file may also hold one record without a list around it. Other keys are ignored.
"""

import json
import math
import operator
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Any, Literal

from components.ingest.formats.aihub.names import emotion_of, repaired
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box
from components.shared.dataset.label_spaces import known_value
from serving.runtime.errors import InputError

BoxPolicy = Literal["first_valid", "median", "union"]
UNKNOWN = "unknown"

_valid = lru_cache(maxsize=1024)(known_value)
_ANNOTATORS = "ABC"
_CORNERS = ("maxX", "maxY", "minX", "minY")
_NOT_SURE = frozenset({"", "알수없음", "알 수 없음", UNKNOWN})


@dataclass(frozen=True, slots=True)
class Label:
    """The label of one image.

    Attributes:
        uploader: the uploader's emotion as it is written; "" when there is none.
        votes: the emotions of the annotators A, B and C, "unknown" where one gives none; empty without annotators.
        boxes: the valid boxes in pixels of each annotator with any, in their order.
        gender, age, background: None when absent or invalid.
        flaws: reasons to count when the record is used.
    """

    uploader: str
    votes: tuple[str, ...]
    boxes: tuple[tuple[Box, ...], ...]
    gender: str | None
    age: int | None
    background: str | None
    flaws: tuple[str, ...]


def read_label_file(source: Source, path: str) -> tuple[list[tuple[str, Label]], int] | None:
    """Read a label file in UTF-8, with or without a byte order mark, or in CP949.

    Records shrink to their labels while the file is parsed, so that a large one fits into memory. Returns the labels
    with the names of their images, and the number of items that are no label records; None when the file is valid
    JSON but neither a list nor a record. Raises InputError naming the file when it is not JSON.
    """
    text = source.read_text(path)

    def shrink(values: dict[str, Any]) -> Any:
        file_name = values.get("filename")
        return (file_name, _label(values)) if isinstance(file_name, str) else values

    try:
        document = json.loads(text, object_hook=shrink)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{source.uri}/{path}: the label file is not valid JSON: {error}. Restore or remove it"
        ) from error
    items = [document] if isinstance(document, tuple) else document
    if not isinstance(items, list):
        return None
    labels = [item for item in items if isinstance(item, tuple)]
    return labels, len(items) - len(labels)


def _label(record: dict[str, Any]) -> Label:
    flaws: list[str] = []
    annotators = [list(_parts(record, letter)) for letter in _ANNOTATORS]
    boxes = []
    for parts in annotators:
        valid, flaw = _valid_boxes([box for part in parts for box in _boxes(part)])
        if valid:
            boxes.append(valid)
        elif parts:
            flaws.append(flaw)
    votes = tuple(_vote(parts, flaws) for parts in annotators) if any(annotators) else ()
    gender, age = _text(record.get("gender")), _text(record.get("age"))
    valid_gender, valid_age = _valid("gender", gender), _valid("age", age.removesuffix("대"))
    flaws += ["unknown_gender"] * bool(gender and valid_gender is None)
    flaws += ["unknown_age"] * bool(age and valid_age is None)
    return Label(
        uploader=sys.intern(_text(record.get("faceExp_uploader"))),
        votes=votes,
        boxes=tuple(boxes),
        gender=None if valid_gender is None else str(valid_gender),
        age=None if valid_age is None else int(valid_age),
        background=_background(record, annotators),
        flaws=tuple(flaws),
    )


def _parts(record: dict[str, Any], letter: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of one annotator."""
    for key in (f"annot_{letter}", f"faceBB_{letter}"):
        value = record.get(key)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield part


def _boxes(part: dict[str, Any]) -> list[Any]:
    """Return the boxes of an annotator's object: objects, or lists in the published order."""
    boxes = part.get("boxes", part if "minX" in part else None)
    if isinstance(boxes, list) and boxes and not isinstance(boxes[0], (dict, list)):
        return [boxes]
    return boxes if isinstance(boxes, list) else [boxes]


def _valid_boxes(boxes: Sequence[Any]) -> tuple[tuple[Box, ...], str]:
    """Return the boxes with numbers and a positive size, and the flaw of the first of the others."""
    valid, flaws = [], []
    for box in boxes:
        if isinstance(box, dict):
            values = [box.get(key) for key in _CORNERS]
        else:
            values = list(box[:4]) if isinstance(box, list) else []
        if not any(value is not None for value in values):
            flaws.append("missing_box")
            continue
        try:
            right, bottom, left, top = map(float, values)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            right = bottom = left = top = math.nan
        if not all(map(math.isfinite, (left, top, right, bottom))):
            flaws.append("broken_box")
        elif right < left or bottom < top:
            flaws.append("inverted_box")
        elif right == left or bottom == top:
            flaws.append("empty_box")
        else:
            valid.append((left, top, right - left, bottom - top))
    return tuple(valid), flaws[0] if flaws else "missing_box"


def merge_boxes(boxes: Sequence[Box], policy: BoxPolicy) -> Box:
    """Make one box of the annotators' ones: the first, the median of each corner, or the smallest around all."""
    if policy == "first_valid":
        return boxes[0]
    lefts, tops, widths, heights = zip(*boxes, strict=True)
    rights, bottoms = map(operator.add, lefts, widths), map(operator.add, tops, heights)
    if policy == "median":
        left, top, right, bottom = median(lefts), median(tops), median(rights), median(bottoms)
    else:
        left, top, right, bottom = min(lefts), min(tops), max(rights), max(bottoms)
    return left, top, right - left, bottom - top


def _vote(parts: Sequence[dict[str, Any]], flaws: list[str]) -> str:
    """Return the emotion that an annotator chose, or UNKNOWN."""
    said = [part.get("faceExp") for part in parts]
    said += [box.get("label") for part in parts for box in _boxes(part) if isinstance(box, dict)]
    said += [box[4] for part in parts for box in _boxes(part) if isinstance(box, list) and len(box) > 4]
    texts = [text for text in map(_text, said) if text]
    if not texts:
        flaws.append("missing_vote")
        return UNKNOWN
    emotion = emotion_of(texts[0])
    if emotion is None and texts[0].lower() not in _NOT_SURE:
        flaws.append("vote_for_an_unknown_emotion")
    return emotion or UNKNOWN


def _text(value: Any) -> str:
    """Return a JSON text or number as composed text that UTF-8 can hold; "" for anything else."""
    return _clean(str(value)) if type(value) in (str, int, float) else ""


@lru_cache(maxsize=4096)
def _clean(text: str) -> str:
    return repaired(text.strip()).encode(errors="replace").decode()


def _background(record: dict[str, Any], annotators: Sequence[Sequence[dict[str, Any]]]) -> str | None:
    """Return the uploader's background, or else that of the first annotator with one."""
    said = [record.get("bg_uploader")]
    said += [part.get(key) for parts in annotators for part in parts for key in ("bg", "entireLabel")]
    return next((sys.intern(text) for text in map(_text, said) if text), None)
