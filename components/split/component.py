"""The KFP doors of split: into train, val and test; into folds; one fold against the others."""

from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def split(
    annotations: Input[Dataset],
    split_annotations: Output[Dataset],
    metrics: Output[Metrics],
    label_space: str = "mask_gender_age",
    val_ratio: float = 0.2,
    test_ratio: float = 0.2,
    seed: int = 0,
    options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Put every image into train, val or test: stratified by class, each person on one side only.

    Args:
        annotations: COCO JSON file to divide.
        split_annotations: Written: the same annotations with a split per image.
        metrics: Written: images, persons and achieved ratio of every split, and its count of every class.
        label_space: Name of the label space whose classes are stratified; empty divides all images, labeled or not.
        val_ratio: Share of the images for val; 0 for none; not used when the data came with a val set.
        test_ratio: Share of the images for test; 0 for none; not used when the data came with a test set.
        seed: Another seed gives another split.
        options: The mode (person, lists, kfold, all, fold, image or image_kfold), and its train_list, val_list,
            test_list, or folds and k_index.
    """
    from pathlib import Path

    from components.shared.metrics.step import log_metrics
    from components.split.split import split as run

    report = run(
        Path(annotations.path),
        Path(split_annotations.path),
        label_space=label_space,
        val_ratio=val_ratio,
        test_ratio=test_ratio,
        seed=seed,
        options=options,
    )
    log_metrics(metrics, report.metrics())


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def split_folds(
    annotations: Input[Dataset],
    split_annotations: Output[Dataset],
    metrics: Output[Metrics],
    label_space: str = "mask_gender_age",
    folds: int = 5,
    k_index: int = -1,
    seed: int = 0,
) -> list[int]:
    """Put every person into one of several folds of equal size: stratified by class, age band and gender.

    Args:
        annotations: COCO JSON file to divide.
        split_annotations: Written: the same annotations with a fold per image.
        metrics: Written: unlabeled images, and whether the folds leak.
        label_space: Name of the label space whose classes are stratified.
        folds: How many folds to make.
        k_index: The fold to evaluate, from 0 on; -1 for all of them, one after the other.
        seed: Another seed gives other folds.

    Returns:
        Output: The folds to evaluate. KFP's local runner loops over an output of this name only.
    """
    from pathlib import Path

    from components.shared.metrics.step import log_metrics
    from components.split.split import split as run

    options = {"mode": "kfold", "folds": folds, "k_index": max(k_index, 0)}
    target = Path(split_annotations.path)
    report = run(Path(annotations.path), target, label_space=label_space, seed=seed, options=options)
    counts = {"unlabeled": report.unlabeled, "leaks": report.leaks}
    log_metrics(metrics, counts)
    return list(range(folds)) if k_index < 0 else [k_index]


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def take_fold(
    annotations: Input[Dataset],
    fold_annotations: Output[Dataset],
    metrics: Output[Metrics],
    fold: int,
    label_space: str = "mask_gender_age",
    checkpoint: str = "best",
) -> NamedTuple("Outputs", name=str):  # type: ignore[valid-type]
    """Make one fold the test set and train on the others.

    Args:
        annotations: COCO JSON file whose images have folds.
        fold_annotations: Written: the same annotations; the fold is test, the next one val, the others train.
        metrics: Written: images, persons and achieved ratio of every split, and its count of every class.
        fold: Which fold, from 0 on.
        label_space: Name of the label space whose classes are counted.
        checkpoint: The checkpoint to evaluate; for last no fold becomes val, and all others are trained on.

    Returns:
        name: The name of this fold's training.
    """
    from pathlib import Path

    from components.shared.metrics.step import log_metrics
    from components.split.split import split as run

    options = {"mode": "fold", "k_index": fold, "val": checkpoint != "last"}
    report = run(Path(annotations.path), Path(fold_annotations.path), label_space=label_space, options=options)
    log_metrics(metrics, report.metrics())
    return (f"fold {fold}",)
