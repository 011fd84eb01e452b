"""Train, val and test: stratified by class, every person on one side only."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.shared.dataset import label_spaces
from components.shared.dataset.annotations import Annotations, Image, read_annotations, write_annotations
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.dataset.persons import by_person, crossing_persons
from components.split.assign import assign_groups
from serving.runtime.errors import InputError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What came out, by split; a split without images is absent.

    Attributes:
        images: images per split.
        persons: persons per split; an image of nobody known counts as one.
        ratios: share of all images that have a split.
        class_counts: faces per split and class label.
        unlabelled: images without a class in the label space; they have no split.
        crossing_persons: persons that the given test or val set shares with another split.
    """

    images: dict[str, int]
    persons: dict[str, int]
    ratios: dict[str, float]
    class_counts: dict[str, dict[str, int]]
    unlabelled: int
    crossing_persons: int


def split(
    annotations: Path, output: Path, *, label_space: str, val_ratio: float, test_ratio: float, seed: int
) -> SplitReport:
    """Write annotations in which every labelled image is in train, val or test.

    A test or val set that came with the data is kept as it is: its ratio is not used, and the other ratio counts from
    the images that are left. A ratio of 0 means that there is no such split. Every class is in every split that is
    made here. When a person of a set that was kept is also in another split, the annotations say `leaks`.

    Args:
        annotations: the COCO file to read.
        output: the COCO file to write.
        label_space: what is stratified: the name of a label space.
        val_ratio: share of the images for val, 0 or more.
        test_ratio: share of the images for test, 0 or more; both together below 1.
        seed: another seed gives another split.

    Raises:
        InputError: a wrong ratio, seed or label space, no labelled image, or a class with fewer persons than splits.
    """
    if annotations.resolve() == output.resolve():
        raise InputError(f"{output}: the output is the input; name another file")
    if not (val_ratio >= 0 and test_ratio >= 0 and val_ratio + test_ratio < 1):
        raise InputError(
            f"val_ratio {val_ratio} and test_ratio {test_ratio} must be 0 or more, and together less than 1"
        )
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")
    space = label_spaces.label_space(label_space)
    data = read_annotations(annotations)
    classes = {image.id: _classes(image, space, annotations) for image in data.images}
    labelled = [image for image in data.images if classes[image.id]]
    given = sorted({image.split for image in labelled if image.split in ("val", "test")})
    pool = [image for image in labelled if image.split not in given]
    if not pool:
        raise InputError(f"{annotations}: no image to divide is labelled in '{space.name}' ({len(data.images)} images)")
    ratios = {"val": val_ratio, "test": test_ratio}
    shares = {name: ratio for name, ratio in ratios.items() if ratio > 0 and name not in given}
    shares = {"train": 1 - sum(shares.values()), **shares}
    placed = _divide(pool, classes, space, shares, seed)
    placed.update({image.id: image.split for image in labelled if image.split in given})
    images = tuple(replace(image, split=placed.get(image.id)) for image in data.images)
    crossing = crossing_persons(images)
    if crossing:
        _log.warning(
            "%s: %d persons of the given %s set are in another split too, such as %s: its scores will be too good",
            annotations, len(crossing), " and ".join(given), ", ".join(crossing[:5]),
        )  # fmt: skip
    report = _report(images, classes, space, len(crossing))
    facts: dict[str, Any] = {
        "label_space": space.name,
        "seed": seed,
        "given": given,
        "asked": {name: ratio for name, ratio in ratios.items() if name not in given},
        "images": report.images,
        "persons": report.persons,
        "ratios": report.ratios,
        "class_counts": report.class_counts,
        "unlabelled": report.unlabelled,
        "crossing_persons": report.crossing_persons,
    }
    leaks = bool(data.info.get("leaks")) or bool(crossing)
    write_annotations(Annotations(images, {**data.info, "leaks": leaks, "split": facts}), output)
    _log.info("%s: images %s, persons %s, %d without a label", output, report.images, report.persons, report.unlabelled)
    return report


def _classes(image: Image, space: LabelSpace, path: Path) -> list[int]:
    """Return the class of every face that has one."""
    try:
        encoded = [space.encode(face.attributes) for face in image.faces]
    except InputError as error:
        raise InputError(f"{path}: image '{image.file_name}': {error}") from error
    return [space.class_index(indices) for indices in encoded if indices is not None]


def _divide(
    pool: list[Image], classes: dict[int, list[int]], space: LabelSpace, shares: dict[str, float], seed: int
) -> dict[int, str | None]:
    """Return the split of every image of the pool. The order of the images does not matter."""
    groups = [
        members for _, members in sorted(by_person(pool).items(), key=lambda item: (type(item[0]) is int, item[0]))
    ]
    counts = np.zeros((len(groups), len(space.class_labels)), dtype=np.int64)
    for row, members in zip(counts, groups, strict=True):
        for image in members:
            np.add.at(row, classes[image.id], 1)
    persons = (counts > 0).sum(axis=0)
    few = [f"'{space.class_labels[at]}' has {persons[at]}" for at in np.flatnonzero(persons < len(shares))]
    advice = "choose a label space with larger classes, or set val_ratio or test_ratio to 0"
    if few:
        raise InputError(
            f"label space '{space.name}': {len(shares)} splits ({', '.join(shares)}) need at least as many persons in "
            f"every class, but class {', '.join(few)}; {advice}"
        )
    assigned, lacking = assign_groups(counts, list(shares.values()), seed)
    if len(lacking):
        raise InputError(
            f"label space '{space.name}': too few persons to put class "
            f"{', '.join(repr(space.class_labels[at]) for at in lacking)} into every split; {advice}"
        )
    names = list(shares)
    return {image.id: names[at] for at, members in zip(assigned.tolist(), groups, strict=True) for image in members}


def _report(images: Iterable[Image], classes: dict[int, list[int]], space: LabelSpace, crossing: int) -> SplitReport:
    members: dict[str, list[Image]] = {"train": [], "val": [], "test": []}
    unlabelled = 0
    for image in images:
        if image.split is None:
            unlabelled += 1
        else:
            members[image.split].append(image)
    members = {name: group for name, group in members.items() if group}
    total = sum(map(len, members.values()))
    faces = {name: Counter(at for image in group for at in classes[image.id]) for name, group in members.items()}
    return SplitReport(
        images={name: len(group) for name, group in members.items()},
        persons={name: len(by_person(group)) for name, group in members.items()},
        ratios={name: len(group) / total for name, group in members.items()},
        class_counts={
            name: {label: counter[at] for at, label in enumerate(space.class_labels)} for name, counter in faces.items()
        },
        unlabelled=unlabelled,
        crossing_persons=crossing,
    )
