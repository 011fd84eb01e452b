"""The KFP component of train_classifier. Every main option of the training is a parameter, which makes it long."""

from typing import Any, NamedTuple, Optional

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
    training: dict[str, Any] = {},  # noqa: B006
    experiment: str = "",
    trial: dict[str, Any] = {},  # noqa: B006
    run_name: str = "",
    crops: Optional[Input[Dataset]] = None,
) -> NamedTuple("Outputs", run_id=str, outcome=dict):  # type: ignore[valid-type]
    """Train a classifier on the train split and choose its best epoch on the val split.

    Args:
        images: The image archive.
        annotations: COCO annotations whose images are assigned to train, val and test.
        checkpoints: A folder with best.pt, best_f1.pt, best_acc.pt, last.pt, what led to them, and TensorBoard events.
        metrics: Loss, accuracy and macro F1 of the best epoch.
        label_space: What to predict: mask, gender, age, gender_age, mask_gender_age, all, emotion, heads side by side
            as gender+age, or attribute:class_a,class_b.
        model: A torchvision classifier, one of our networks, package.module:name, or a recipe.
        epochs: Passes over the train split.
        batch_size: Faces in a training step.
        learning_rate: Peak of the learning rate.
        image_height: Height of the network's input in pixels.
        image_width: Width of the network's input in pixels.
        seed: Seed of every random draw.
        training: Further options of the training, such as objective or augmentation; the parameters above win.
        experiment: MLflow experiment of the training's run; by default facet- and the label space.
        trial: A trial of a search, whose changes override all of the above; a trial may fail. Empty without a search.
        run_name: Name of the MLflow run of a training that is one of several, such as fold 2. Such a run is below the
            one in MLFLOW_RUN_ID; any other training continues that one.
        crops: The faces, cut out before: an image archive with annotations.json, joined to the annotations by the ids
            of faces. Without it, or when it is empty, faces are cut from the images.

    Returns:
        run_id: The MLflow run of this training, empty without a tracking server.
        outcome: Score of the trial, or why it failed; empty without a trial.
    """
    from functools import partial
    from pathlib import Path

    from components.shared.metrics.step import log_metrics
    from components.shared.trial import read_trial
    from components.train_classifier.config.training import resolve_config
    from components.train_classifier.trial import run_training

    resolve = partial(
        resolve_config,
        training,
        label_space=label_space,
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        image_height=image_height,
        image_width=image_width,
        seed=seed,
    )
    result, outcome = run_training(
        resolve,
        read_trial(trial),
        Path(images.path),
        Path(annotations.path),
        Path(checkpoints.path),
        crops=Path(crops.path) if crops else None,
        experiment=experiment,
        run_name=run_name,
    )
    if result is not None:
        log_metrics(metrics, {**result.metrics, "best_epoch": float(result.best_epoch)})
    return (result.run_id if result else "", outcome.model_dump(exclude_unset=True) if outcome else {})
