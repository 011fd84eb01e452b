"""Stratified folds by person; folds by image, for comparison; train, val and test from existing folds."""

from dataclasses import replace
from typing import Any

import numpy as np

from components.shared.dataset.annotations import Image
from components.shared.dataset.label_spaces import label_space
from components.split.division import Division, Task, classes_of_images
from components.split.images import shuffled_by_class
from components.split.persons import assign_groups, class_table, groups_of
from serving.runtime.errors import InputError

_BY_AGE = "gender_age"


def divide_folds(task: Task) -> Division:
    """Put every person into one fold, with the same share of every class in all of them.

    The classes are those of age band and gender, where faces tell both, together with those of the label space. The
    fold `k_index` becomes val, the others train; a test set that came with the data stays, and has no fold. Raises
    InputError when there are fewer persons than folds.
    """
    pool = _pool(task)
    groups = groups_of(pool)
    _refuse_few(len(groups), "persons", task)
    counts = class_table(groups, task)
    strata = [task.space.name]
    if task.space.name != _BY_AGE:
        by_age = class_table(groups, _by_age_and_gender(pool, task))
        if by_age.any():
            strata.insert(0, _BY_AGE)
            counts = np.concatenate([by_age, counts], axis=1)
    number = task.options.folds
    assigned, _ = assign_groups(counts[:, counts.any(axis=0)], [1 / number] * number, task.seed)
    persons = np.bincount(assigned, minlength=number).tolist()
    folds = {image.id: fold for fold, members in zip(assigned.tolist(), groups, strict=True) for image in members}
    return _division(task, folds, {"strata": strata, "fold_persons": persons})


def divide_image_folds(task: Task) -> Division:
    """Distribute the images of every class over the folds, ignoring identity: persons are in several folds.

    Raises InputError when there are fewer images than folds.
    """
    pool = _pool(task)
    _refuse_few(len(pool), "images", task)
    dealt = [image for images in shuffled_by_class(pool, task).values() for image in images]
    folds = {image.id: index % task.options.folds for index, image in enumerate(dealt)}
    return replace(_division(task, folds, {"strata": [task.space.name]}), leaks=True)


def take_fold(task: Task) -> Division:
    """Make the fold `k_index` test, the next one val if there is to be one, and the others train.

    An image without a fold, such as one of an existing test set, gets no split. Raises InputError
    when there is no such fold, or no image is left for train.
    """
    k_index = task.options.k_index
    folds = {image.id: image.fold for image in task.labeled if image.fold is not None}
    number = max(folds.values(), default=-1) + 1
    if k_index >= number:
        raise InputError(f"{task.path}: there is no fold {k_index}: its images are in {number} folds, counted from 0")
    val = (k_index + 1) % number if task.options.val else None
    named = {k_index: "test", val: "val"}
    splits = {image_id: named.get(fold, "train") for image_id, fold in folds.items()}
    if "train" not in splits.values():
        raise InputError(
            f"{task.path}: {number} folds leave none to train on beside those for test and val: make more folds, or "
            "use no val, which the checkpoint 'last' does not need"
        )
    return Division(splits, folds, {"given": [], "folds": number})


def _pool(task: Task) -> list[Image]:
    return [image for image in task.labeled if image.split != "test"]


def _refuse_few(number: int, what: str, task: Task) -> None:
    if number < task.options.folds:
        raise InputError(f"{task.path}: {number} {what} cannot fill {task.options.folds} folds; ask for fewer folds")


def _by_age_and_gender(pool: list[Image], task: Task) -> Task:
    """Return the task with the classes of age band and gender; faces that do not tell both have none."""
    space = label_space(_BY_AGE)
    return replace(task, space=space, classes=classes_of_images(pool, space, task.path))


def _division(task: Task, folds: dict[int, int], details: dict[str, Any]) -> Division:
    splits = {image_id: "val" if fold == task.options.k_index else "train" for image_id, fold in folds.items()}
    splits.update({image.id: "test" for image in task.labeled if image.split == "test"})
    sizes = np.bincount(list(folds.values()), minlength=task.options.folds).tolist()
    return Division(splits, folds, {"given": task.existing("test"), "fold_images": sizes, **details})
