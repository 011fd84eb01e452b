"""Truth as a table of class numbers, `gt.csv`, instead of annotations."""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from components.shared.dataset.annotations import Annotations, Face, Image
from components.shared.dataset.answers import ID, read_class_numbers
from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import PredictedFace, Predictions
from components.shared.dataset.text import some
from serving.runtime.errors import InputError

DEFAULT = "mask_gender_age"
"""The label space of class numbers for which none is named: the 18 classes."""

_OF_EACH_MASK = 6
_log = logging.getLogger(__name__)


def is_truth_table(path: Path) -> bool:
    """Tell whether a file is a table and no annotations, by its name."""
    return path.suffix.lower() == ".csv"


def read_truth_table(
    path: Path, table: Predictions | Detections, predictions: Path, *, max_missing: int = 0
) -> Annotations:
    """Return the truth of predicted pictures as annotations in the split test.

    `ImageID` is the path of a picture, `ans` its class number in the label space of the predictions. An id that is in
    one table alone is joined to that of the other table which is the same picture with more or fewer folders in front,
    where only one of each table ends with its last part.

    Args:
        path: the table.
        table: the predictions.
        predictions: their file, for errors.
        max_missing: how many rows may have no prediction; they are images that the predictions lack.

    Raises:
        InputError: a number is no class, an id occurs twice, a picture has several faces, a table lacks pictures of the
            other, or the predictions are of a detector.
    """
    if isinstance(table, Detections):
        raise InputError(f"{path}: a table of class numbers has no boxes; evaluate a detector with COCO annotations")
    numbers = read_class_numbers(path, table.space)
    if table.space.name == DEFAULT and max(numbers.values()) < _OF_EACH_MASK:
        _log.warning(
            "%s: no number is above %d, so that as '%s' every mask is worn; if the numbers are of other classes, name "
            "them with label_space, such as mask or gender_age",
            path, max(numbers.values()), DEFAULT,
        )  # fmt: skip
    faces = {face.path: face for face in table.faces}
    several = [name for name, count in Counter(face.path for face in table.faces).items() if count > 1]
    if several:
        raise InputError(
            f"{predictions}: {len(several)} pictures have several rows: {some(several)}; a table of class numbers is "
            "of one face a picture, so evaluate with annotations"
        )
    known = {name: name for name in numbers if name in faces} | dict(_by_ending(numbers.keys(), faces.keys()))
    _check_ids(path, [name for name in faces if name not in set(known.values())], predictions)
    _check_ids(predictions, [name for name in numbers if name not in known], path, allowed=max_missing)
    free = max((max(face.image_id, face.face_id) for face in table.faces), default=0) + 1
    images: list[Image] = []
    for number, (name, answer) in enumerate(numbers.items(), free):
        face = faces[known[name]] if name in known else PredictedFace(number, number, name, None)
        true = Face(face.face_id, face.box, table.space.attributes_of(answer))
        images.append(Image(face.image_id, face.path, 1, 1, (true,), split="test"))
    return Annotations(tuple(images))


def _by_ending(truth: Collection[str], predicted: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the names that are in one of two tables alone, and in each the only one with their last part.

    One of the two must end with the other, since equal last parts in different folders are different pictures.
    """
    ends: tuple[dict[str, list[str]], ...] = (defaultdict(list), defaultdict(list))
    for by_end, names in zip(ends, (truth, predicted), strict=True):
        for name in names:
            by_end[PurePosixPath(name).name].append(name)
    for end, names in ends[0].items():
        others = ends[1].get(end, [])
        if len(names) == len(others) == 1 and names != others:
            short, long = sorted((names[0], others[0]), key=len)
            if f"/{long}".endswith(f"/{short.lstrip('/')}"):
                yield names[0], others[0]


def _check_ids(table: Path, missing: list[str], other: Path, *, allowed: int = 0) -> None:
    """Raise InputError where a table lacks more than the allowed ids of another one."""
    if len(missing) > allowed:
        raise InputError(
            f"{table} lacks {len(missing)} {ID}{'s' if len(missing) > 1 else ''} of {other}: {some(missing)}; both "
            "tables name each picture by the same path"
        )
