"""Splits a data set into train, val and test by person, or in modes that leak."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.shared.dataset.annotations import Image, read_annotations, write_annotations
from components.shared.dataset.info import SplitInfo
from components.shared.dataset.label_spaces import FACE, LabelSpace, space_of_faces
from components.shared.dataset.persons import by_person, crossing_persons
from components.shared.options import parse_options
from components.split.division import Division, Mode, Task, classes_of_images
from components.split.folds import divide_folds, divide_image_folds, take_fold
from components.split.images import all_into_train, divide_images
from components.split.lists import divide_lists
from components.split.options import SplitOptions
from components.split.persons import divide_persons
from serving.runtime.errors import InputError
from serving.runtime.output import check_output

_log = logging.getLogger(__name__)

MODES: dict[str, Mode] = {
    "person": divide_persons,
    "lists": divide_lists,
    "kfold": divide_folds,
    "all": all_into_train,
    "fold": take_fold,
    "image": divide_images,
    "image_kfold": divide_image_folds,
}


class SplitReport(SplitInfo):
    """What is recorded, and two more results.

    Attributes:
        leaks: whether scores on val or test will be too good.
        unlisted: labeled images that are in no list; they have no split.
    """

    leaks: bool = False
    unlisted: int = 0

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name."""
        metrics: dict[str, float] = {
            name: getattr(self, name)
            for name in ("unlabeled", "unlabeled_train", "not_trainable", "unlisted", "leaks", "crossing_persons")
        }
        for split in self.images:
            metrics[f"{split}_images"] = self.images[split]
            metrics[f"{split}_persons"] = self.persons[split]
            metrics[f"{split}_ratio"] = self.ratios[split]
            metrics |= {f"{split}_faces/{label}": count for label, count in self.class_counts[split].items()}
        return {name: float(value) for name, value in metrics.items()}


def split(
    annotations: Path,
    output: Path,
    *,
    label_space: str,
    val_ratio: float = 0,
    test_ratio: float = 0,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> SplitReport:
    """Write annotations in which labeled images are in train, val or test.

    In the mode `person` a test or val set that came with the data is kept: its ratio is not used, and the other ratio
    applies to the remaining images. A ratio of 0 means that there is no such split. Splits come as near to their ratios
    as whole persons allow; a class that one lacks for that is noted. In `kfold` and `image_kfold` images have a `fold`
    too, which `fold` keeps. The ratios are used by `person` and `image` only. An image that is not trainable gets no
    split where it would go to train.

    An image without a label goes to train, where only pseudo-labels use it, unless its person is in val or test, it
    came with the data as one of these, or the lists do not name it for train. Ratios and counts are of labeled images.

    When a person is in two splits, or the mode ignores identity, `info.leaks` is set.

    Args:
        annotations: the COCO file to read.
        output: the COCO file to write.
        label_space: what is stratified: the name of a label space; "" divides all images, labeled or not, by their
            number of faces. One without a face counts like one with a face.
        val_ratio: share of the images for val, 0 or more.
        test_ratio: share of the images for test, 0 or more; both together below 1.
        seed: another seed gives another split.
        options: see `SplitOptions`: the mode, one of MODES, and what it needs.

    Raises:
        InputError: a wrong ratio, seed, label space or option, no labeled image, or a division that is not possible.
        StorageError: a list cannot be reached.
    """
    check_output(output, annotations)
    _check_numbers(val_ratio, test_ratio, seed)
    chosen = parse_options(SplitOptions, options or {}, "options of split")
    space = space_of_faces(label_space)
    data = read_annotations(annotations)
    classes = classes_of_images(data.images, space, annotations)
    if space is FACE:
        classes = {image: faces or [0] for image, faces in classes.items()}
    labeled = [image for image in data.images if classes[image.id]]
    if not labeled:
        raise InputError(f"{annotations}: no image to divide is labeled in '{space.name}' ({len(data.images)} images)")
    ratios = {"val": val_ratio, "test": test_ratio}
    division = MODES[chosen.mode](Task(annotations, list(data.images), labeled, classes, space, ratios, seed, chosen))
    unlabeled = _unlabeled_of_train(data.images, classes, division)
    images = [_assigned(image, division, bool(classes[image.id]), image.id in unlabeled) for image in data.images]
    crossing = crossing_persons(images)
    leaks = data.info.leaks or division.leaks or bool(crossing)
    report = SplitReport(
        **chosen.recorded(),
        **division.details,
        **_counts(images, classes, space, division),
        label_space=space.name,
        seed=seed,
        crossing_persons=len(crossing),
        leaks=leaks,
        unlisted=division.details.get("unlisted_images", 0),
    )
    info = data.info.changed(leaks=leaks, split=report.model_dump(exclude={"leaks", "unlisted"}))
    write_annotations(replace(data, images=tuple(images), info=info), output)
    _log_result(output, report, division.leaks, crossing)
    return report


def _check_numbers(val_ratio: float, test_ratio: float, seed: int) -> None:
    if not (val_ratio >= 0 and test_ratio >= 0 and val_ratio + test_ratio < 1):
        raise InputError(
            f"val_ratio {val_ratio} and test_ratio {test_ratio} must be 0 or more, and together less than 1"
        )
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")


def _unlabeled_of_train(images: Iterable[Image], classes: Mapping[int, list[int]], division: Division) -> set[int]:
    """Return the ids of the images without a label that go to train; no person of val or test is among them."""
    images = list(images)
    held_out = set()
    if not division.leaks:
        held_out = {image.person for image in images if division.splits.get(image.id) in ("val", "test")} - {None}
    return {
        image.id
        for image in images
        if not classes[image.id]
        and image.split not in ("val", "test")
        and image.person not in held_out
        and (division.unlabeled is None or image.id in division.unlabeled)
    }


def _assigned(image: Image, division: Division, labeled: bool, unlabeled_of_train: bool) -> Image:
    """Return the image with its split and fold: no train when it is not trainable."""
    if not labeled:
        return replace(image, split="train" if unlabeled_of_train and image.trainable else None, fold=None)
    split = division.splits.get(image.id)
    fold = division.folds.get(image.id)
    return replace(image, split=split if image.trainable or split != "train" else None, fold=fold)


def _log_result(path: Path, report: SplitReport, ignores_identity: bool, crossing: Sequence[str]) -> None:
    _log.info(
        "%s: images %s, persons %s, %d without a label (%d of them in train, for pseudo-labels), %d not trainable",
        path, report.images, report.persons, report.unlabeled, report.unlabeled_train, report.not_trainable,
    )  # fmt: skip
    for name, asked in report.asked.items():
        if asked:
            _log.info("%s: %s has %.3f of the images, asked was %.3f", path, name, report.ratios.get(name, 0), asked)
    for name, labels in report.lacking.items():
        _log.warning("%s: %s has no face of class %s: too few persons for its ratio", path, name, ", ".join(labels))
    if ignores_identity:
        _log.warning("%s: mode '%s' splits by image, ignoring identity: scores will be too good", path, report.mode)
    elif crossing:
        _log.warning(
            "%s: %d persons of a split that came with the data are in another split too, such as %s: scores will be "
            "too good", path, len(crossing), ", ".join(crossing[:5]),
        )  # fmt: skip


def _counts(
    images: Iterable[Image], classes: Mapping[int, list[int]], space: LabelSpace, division: Division
) -> dict[str, Any]:
    """Return the counts of a SplitInfo by name."""
    members: dict[str, list[Image]] = {"train": [], "val": [], "test": []}
    unlabeled = unlabeled_train = not_trainable = 0
    for image in images:
        if not classes[image.id]:
            unlabeled += 1
            unlabeled_train += image.split == "train"
        elif image.split is not None:
            members[image.split].append(image)
        elif image.id in division.splits:
            not_trainable += 1
    members = {name: group for name, group in members.items() if group}
    total = sum(map(len, members.values()))
    faces = {name: Counter(index for image in group for index in classes[image.id]) for name, group in members.items()}
    return {
        "images": {name: len(group) for name, group in members.items()},
        "persons": {name: len(by_person(group)) for name, group in members.items()},
        "ratios": {name: len(group) / total for name, group in members.items()},
        "class_counts": {
            name: {label: counter[index] for index, label in enumerate(space.class_labels)}
            for name, counter in faces.items()
        },
        "unlabeled": unlabeled,
        "unlabeled_train": unlabeled_train,
        "not_trainable": not_trainable,
    }
