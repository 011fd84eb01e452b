"""The KFP door of split."""

from typing import Any

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
        label_space: Name of the label space whose classes are stratified.
        val_ratio: Share of the images for val; 0 for none; not used when the data came with a val set.
        test_ratio: Share of the images for test; 0 for none; not used when the data came with a test set.
        seed: Another seed gives another split.
        options: The mode (person, lists, kfold, all, image or image_kfold), and its train_list, val_list, test_list,
            or folds and k_index.
    """
    from pathlib import Path

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
    metrics.log_metric("unlabelled", float(report.unlabelled))
    metrics.log_metric("not_trainable", float(report.not_trainable))
    metrics.log_metric("unlisted", float(report.unlisted))
    metrics.log_metric("leaks", float(report.leaks))
    metrics.log_metric("crossing_persons", float(report.crossing_persons))
    for name in report.images:
        metrics.log_metric(f"{name}_images", float(report.images[name]))
        metrics.log_metric(f"{name}_persons", float(report.persons[name]))
        metrics.log_metric(f"{name}_ratio", float(report.ratios[name]))
        for label, count in report.class_counts[name].items():
            metrics.log_metric(f"{name}_faces/{label}", float(count))
