"""Face detectors on real photos with true boxes, `faces_det` in the folder FACET_PHOTOS: the same figures for each."""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.shared.metrics.matching import Comparison, PhotoBoxes
from serving.runtime.image.photo import Photo
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map
from serving.runtime.predictor import FaceResult

Find = Callable[[Photo], list[FaceResult]]
"""Finds the faces of a photo; called on several threads."""

IOU = 0.4
SIDES = {"24 px and more": (24.0, math.inf), "12 to 24 px": (12.0, 24.0)}
"""The shorter side of the true boxes that count; all others are ignored."""

_GROUPS = {"with_mask": "masked", "incorrect_mask": "masked", "without_mask": "unmasked"}


@dataclass(frozen=True, slots=True)
class LabeledPhoto:
    """A photo with its true boxes (x, y, width, height), `masked` or `unmasked` for each, and its scene."""

    file: Path
    boxes: tuple[tuple[float, float, float, float], ...]
    groups: tuple[str, ...]
    scene: str


def labeled_photos(photos: Path) -> list[LabeledPhoto]:
    """Read `faces_det` of the folder `photos`; faces of unknown mask state are in no group."""
    folder = photos / "faces_det"
    rows: dict[str, list[dict[str, str]]] = {}
    with (folder / "boxes.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["path"], []).append(row)
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        scenes = {row["path"]: row["group"] for row in csv.DictReader(file)}
    return [
        LabeledPhoto(
            folder / path,
            tuple(_box(row) for row in rows.get(path, [])),
            tuple(_GROUPS.get(row["attribute"], "") for row in rows.get(path, [])),
            scene,
        )
        for path, scene in scenes.items()
    ]


def _box(row: Mapping[str, str]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(row[name]) for name in ("xmin", "ymin", "xmax", "ymax"))
    return left, top, right - left, bottom - top


@dataclass(frozen=True, slots=True)
class SearchedPhoto:
    """A photo and what a detector found in it."""

    photo: LabeledPhoto
    boxes: PhotoBoxes


def searched(photo: LabeledPhoto, faces: Iterable[tuple[Sequence[float] | None, float]]) -> SearchedPhoto:
    """Return a photo with the boxes and scores of faces."""
    found = list(faces)
    boxes = PhotoBoxes(
        truths=np.array(photo.boxes, float).reshape(-1, 4),
        found=np.array([box for box, _ in found], float).reshape(-1, 4),
        scores=np.array([score for _, score in found]),
        truth_labels=np.zeros(len(photo.boxes), int),
        found_labels=np.zeros(len(found), int),
        ignored=np.empty((0, 4)),
    )
    return SearchedPhoto(photo, boxes)


def found_faces(find: Find, photos: Sequence[LabeledPhoto]) -> list[SearchedPhoto]:
    """Run a detector over photos, on all CPUs."""

    def search(photo: LabeledPhoto) -> list[FaceResult]:
        return find(Photo(photo.file.read_bytes()))

    workers = usable_cpus()
    found = ordered_map(search, photos, workers=workers, ahead=4 * workers)
    return [
        searched(photo, [(face.box, 1.0 if face.score is None else face.score) for face in faces])
        for photo, faces in found
    ]


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one range of sizes; `groups` are recalls."""

    recall: float
    false_positives: float
    average_precision: float
    groups: dict[str, float]


def figures(found: Sequence[SearchedPhoto], sides: tuple[float, float]) -> Figures:
    """Return the figures of all boxes for the faces in a range of sizes; a box that is no face is false at any size."""
    compared = Comparison([one.boxes for one in found])
    matches = compared.match((IOU,), sides)
    false_positives = compared.match((IOU,)).at(0).false_positives
    hits: dict[str, list[bool]] = {}
    for (photo, face, _), score in zip(matches.truths.tolist(), matches.found_with.tolist(), strict=True):
        hits.setdefault(found[photo].photo.groups[face], []).append(score >= 0)
    groups = {name: sum(several) / len(several) for name, several in hits.items() if name}
    return Figures(matches.at(0).recall, false_positives, matches.mean_average_precision(), groups)


def scores_by_size(found: Sequence[SearchedPhoto]) -> dict[str, Figures]:
    """Return the figures for each of SIDES."""
    return {name: figures(found, sides) for name, sides in SIDES.items()}


def table(results: Mapping[str, Mapping[str, Figures]]) -> Iterator[str]:
    """Yield a line for each detector: recall, apart for masked and unmasked faces, and false positives per photo."""
    yield "| detector | recall | masked | unmasked | false positives per photo | AP | recall, 12 to 24 px |"
    yield "|---|---|---|---|---|---|---|"
    for name, by_size in results.items():
        large, small = by_size["24 px and more"], by_size["12 to 24 px"]
        apart = " | ".join(f"{large.groups[group]:.3f}" for group in ("masked", "unmasked"))
        yield (
            f"| {name} | {large.recall:.3f} | {apart} | {large.false_positives:.2f} | {large.average_precision:.3f} "
            f"| {small.recall:.3f} |"
        )
