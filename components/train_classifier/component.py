"""The KFP door of train_classifier."""

from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import container_images


@dsl.component(base_image=container_images.TRAIN, install_kfp_package=False)
def train_classifier(
    images: Input[Dataset],
    annotations: Input[Dataset],
    checkpoints: Output[Model],
    metrics: Output[Metrics],
    label_space: str,
    model: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    image_height: int,
    image_width: int,
    seed: int,
    config: dict[str, Any] = {},  # noqa: B006
    experiment: str = "",
    trial: dict[str, Any] = {},  # noqa: B006
    run_name: str = "",
) -> NamedTuple("Outputs", run_id=str, outcome=dict):  # type: ignore[valid-type]
    """Train a classifier on the train split and choose its best epoch on the val split.

    Args:
        images: The image archive.
        annotations: COCO annotations whose images are assigned to train, val and test.
        checkpoints: A folder with best.pt, best_f1.pt, best_acc.pt, last.pt, what led to them, and TensorBoard events.
        metrics: Loss, accuracy and macro F1 of the best epoch.
        label_space: What to predict: mask, gender, age, gender_age, mask_gender_age, all, emotion, heads side by side
            as gender+age, or attribute:class_a,class_b.
        model: The network: a preset, a classifier of torchvision by its name, base, or package.module:name.
        epochs: How often every face of the train split is seen.
        batch_size: Faces in a training step.
        learning_rate: Peak of the learning rate.
        image_height: Height of the network's input in pixels.
        image_width: Width of the network's input in pixels.
        seed: Start of every random draw.
        config: Further options of the training, such as objective, optimizer or augment; the parameters above win.
        experiment: MLflow experiment of the training's run; by default facet- and the label space.
        trial: Number and changes of a trial of a search, which are laid over all of the above; a trial may fail.
        run_name: Name of the MLflow run of a training that is one of several, such as fold 2. Such a run is below the
            one in MLFLOW_RUN_ID; any other training continues that one.

    Returns:
        run_id: The MLflow run of this training, empty without a tracking server.
        outcome: Score of the trial, or why it failed; empty without a trial.
    """
    from pathlib import Path

    from components.train_classifier.trial import attempt

    options = {
        **config,
        "label_space": label_space,
        "model": model,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "image_height": image_height,
        "image_width": image_width,
        "seed": seed,
    }
    attempted = attempt(
        options,
        trial,
        Path(images.path),
        Path(annotations.path),
        Path(checkpoints.path),
        experiment=experiment,
        run_name=run_name,
    )
    result = attempted.result
    if result is None:
        return ("", attempted.outcome)
    for name, value in result.metrics.items():
        metrics.log_metric(name, value)
    metrics.log_metric("best_epoch", float(result.best_epoch))
    return (result.run_id, attempted.outcome)
