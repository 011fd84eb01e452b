"""Train, val and test: every person on one side only, unless a mode is asked for that leaks."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.shared.dataset import label_spaces
from components.shared.dataset.annotations import Image, read_annotations, write_annotations
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.dataset.persons import by_person, crossing_persons
from components.shared.options import parse_options
from components.split.division import Division, Mode, Task, classes_of_images
from components.split.folds import divide_folds, divide_image_folds, take_fold
from components.split.images import divide_images, divide_not
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
    "all": divide_not,
    "fold": take_fold,
    "image": divide_images,
    "image_kfold": divide_image_folds,
}


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What came out, by split; a split without images is absent.

    Attributes:
        images: images per split.
        persons: persons per split; an image of nobody known counts as one.
        ratios: share of all images that have a split.
        class_counts: faces per split and class label.
        unlabeled: images without a class in the label space; they have no split.
        not_trainable: labeled images that were to go to train but are kept out of it; they have no split.
        unlisted: labeled images that are in no list; they have no split.
        crossing_persons: persons who are in more than one split.
        leaks: whether scores on val or test will be too good.
    """

    images: dict[str, int]
    persons: dict[str, int]
    ratios: dict[str, float]
    class_counts: dict[str, dict[str, int]]
    unlabeled: int
    not_trainable: int
    unlisted: int
    crossing_persons: int
    leaks: bool

    def metrics(self) -> dict[str, float]:
        """The figures by name."""
        figures: dict[str, float] = {
            name: getattr(self, name)
            for name in ("unlabeled", "not_trainable", "unlisted", "leaks", "crossing_persons")
        }
        for split in self.images:
            figures[f"{split}_images"] = self.images[split]
            figures[f"{split}_persons"] = self.persons[split]
            figures[f"{split}_ratio"] = self.ratios[split]
            figures |= {f"{split}_faces/{label}": count for label, count in self.class_counts[split].items()}
        return {name: float(value) for name, value in figures.items()}


def split(
    annotations: Path,
    output: Path,
    *,
    label_space: str,
    val_ratio: float,
    test_ratio: float,
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> SplitReport:
    """Write annotations in which labeled images are in train, val or test.

    In the mode `person` a test or val set that came with the data is kept as it is: its ratio is not used, and the
    other ratio counts from the images that are left. A ratio of 0 means that there is no such split. Every class is in
    every split that is made here. In `kfold` and `image_kfold` images have a `fold` too, which `fold` keeps. The ratios
    are used by `person` and `image` only. An image that is not trainable gets no split where it would go to train.

    When a person is in two splits, or the mode divides images whoever they show, the annotations say `leaks`.

    Args:
        annotations: the COCO file to read.
        output: the COCO file to write.
        label_space: what is stratified: the name of a label space.
        val_ratio: share of the images for val, 0 or more.
        test_ratio: share of the images for test, 0 or more; both together below 1.
        seed: another seed gives another split.
        options: see `SplitOptions`: the mode, one of MODES, and what it needs.

    Raises:
        InputError: a wrong ratio, seed, label space or option, no labeled image, or a division that is not possible.
        StorageError: a list cannot be reached.
    """
    check_output(output, annotations)
    if not (val_ratio >= 0 and test_ratio >= 0 and val_ratio + test_ratio < 1):
        raise InputError(
            f"val_ratio {val_ratio} and test_ratio {test_ratio} must be 0 or more, and together less than 1"
        )
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")
    chosen = parse_options(SplitOptions, options or {}, "options of split")
    space = label_spaces.label_space(label_space)
    data = read_annotations(annotations)
    classes = classes_of_images(data.images, space, annotations)
    labeled = [image for image in data.images if classes[image.id]]
    if not labeled:
        raise InputError(f"{annotations}: no image to divide is labeled in '{space.name}' ({len(data.images)} images)")
    ratios = {"val": val_ratio, "test": test_ratio}
    division = MODES[chosen.mode](Task(annotations, list(data.images), labeled, classes, space, ratios, seed, chosen))
    images = [_placed(image, division, bool(classes[image.id])) for image in data.images]
    crossing = crossing_persons(images)
    _warn(annotations, chosen.mode, division.leaks, crossing)
    leaks = data.info.leaks or division.leaks or bool(crossing)
    report = _report(images, classes, space, division, leaks, len(crossing))
    facts: dict[str, Any] = {
        **chosen.recorded(),
        **division.facts,
        "label_space": space.name,
        "seed": seed,
        "images": report.images,
        "persons": report.persons,
        "ratios": report.ratios,
        "class_counts": report.class_counts,
        "unlabeled": report.unlabeled,
        "not_trainable": report.not_trainable,
        "crossing_persons": report.crossing_persons,
    }
    write_annotations(replace(data, images=tuple(images), info=data.info.changed(leaks=leaks, split=facts)), output)
    _log.info(
        "%s: images %s, persons %s, %d without a label, %d kept out of train",
        output, report.images, report.persons, report.unlabeled, report.not_trainable,
    )  # fmt: skip
    return report


def _placed(image: Image, division: Division, labeled: bool) -> Image:
    """Return the image with its split and fold; none for one without a label, no train for one kept out of it."""
    if not labeled:
        return replace(image, split=None, fold=None)
    split = division.splits.get(image.id)
    fold = division.folds.get(image.id)
    return replace(image, split=split if image.trainable or split != "train" else None, fold=fold)


def _warn(path: Path, mode: str, leaks: bool, crossing: Sequence[str]) -> None:
    if leaks:
        _log.warning("%s: mode '%s' divides images whoever they show: scores will be too good", path, mode)
    elif crossing:
        _log.warning(
            "%s: %d persons of a split that came with the data are in another split too, such as %s: scores will be "
            "too good", path, len(crossing), ", ".join(crossing[:5]),
        )  # fmt: skip


def _report(
    images: Iterable[Image],
    classes: Mapping[int, list[int]],
    space: LabelSpace,
    division: Division,
    leaks: bool,
    crossing: int,
) -> SplitReport:
    members: dict[str, list[Image]] = {"train": [], "val": [], "test": []}
    unlabeled = not_trainable = 0
    for image in images:
        if image.split is not None:
            members[image.split].append(image)
        elif not classes[image.id]:
            unlabeled += 1
        elif image.id in division.splits:
            not_trainable += 1
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
        unlabeled=unlabeled,
        not_trainable=not_trainable,
        unlisted=division.facts.get("unlisted_images", 0),
        crossing_persons=crossing,
        leaks=leaks,
    )
