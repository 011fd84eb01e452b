"""The cross-validation pipeline: how good a recipe is on people it has never seen, and how much that varies."""

from functools import partial
from typing import Any

from kfp import dsl

from components.evaluate.component import evaluate, evaluate_folds
from components.export_onnx.component import export_onnx
from components.predict.component import predict
from components.split.component import split_folds, take_fold
from components.train_classifier.component import train_classifier
from pipelines import resources
from pipelines.parameters import CrossValidationConfig
from pipelines.parts import read_photos

_DEFAULT = CrossValidationConfig()


def cross_validation_pipeline(site: resources.Site) -> Any:
    """The pipeline with the resources that a site gives to its tasks, ready to be compiled."""

    @dsl.pipeline(name="cross-validation")
    def cross_validation(
        source: str = _DEFAULT.source,
        format: str = _DEFAULT.format,  # noqa: A002
        label_space: str = _DEFAULT.label_space,
        folds: int = _DEFAULT.folds,
        k_index: int = _DEFAULT.k_index,
        model: str = _DEFAULT.model,
        epochs: int = _DEFAULT.epochs,
        batch_size: int = _DEFAULT.batch_size,
        learning_rate: float = _DEFAULT.learning_rate,
        image_height: int = _DEFAULT.image_height,
        image_width: int = _DEFAULT.image_width,
        seed: int = _DEFAULT.seed,
        model_name: str = _DEFAULT.model_name,
        checkpoint: str = _DEFAULT.checkpoint,
        training: dict[str, Any] = _DEFAULT.training,
        ingest_options: dict[str, Any] = _DEFAULT.ingest_options,
        curation: list[dict[str, Any]] = _DEFAULT.curation,
        source_digest: str = _DEFAULT.source_digest,
        gpus: str = _DEFAULT.gpus,
        storage_secret: str = _DEFAULT.storage_secret,
    ) -> None:
        """Train a face classifier once for every fold of the people, judge it on that fold, and report the spread.

        Nothing is registered: every fold's model has seen less than all data, and none of them is the one to serve.

        Args:
            source: Where the raw photos are: s3://bucket/prefix, or a folder that the ingest step can read.
            format: Their layout: profile, aihub, class_folder, manifest, coco, yolo or evaluation.
            label_space: What to predict: mask, gender, age, gender_age, mask_gender_age, all, emotion, heads side by
                side as gender+age, or a list of classes as attribute:class_a,class_b.
            folds: How many folds the people are put into, each person into one.
            k_index: The fold to judge, counted from 0; -1 for all of them.
            model: The network: a preset such as EfficientNetB3MSD, a torchvision classifier, small_resnet or poster_v2.
            epochs: How often every training face is seen.
            batch_size: Faces in a training step.
            learning_rate: Peak of the learning rate.
            image_height: Height of the network's input in pixels.
            image_width: Width of the network's input in pixels.
            seed: Start of every random draw; the same seed gives the same folds and the same trainings.
            model_name: Name in the cards of the folds' models.
            checkpoint: Which checkpoint is judged: best, best_f1 or best_acc, which the fold after the judged one
                chooses, or last, which needs none and learns from that fold too.
            training: Further options of the training, such as scheduler, ema_decay or augment.
            ingest_options: Options of the layout, such as max_dropped, or manifest and rename.
            curation: What is done to the annotations before the split, in order: sample, corrections, drop_ages, merge,
                sync, drop.
            source_digest: Digest of the source's listing, filled in at submission: a changed source is read anew.
            gpus: How many GPUs each training gets, a whole number; 0 for none.
            storage_secret: Kubernetes Secret with the addresses and keys of S3 and MLflow; a name, never empty.
        """
        equip = partial(resources.equip, site=site, gpus=gpus, storage_secret=storage_secret)

        images, annotations = read_photos(
            equip,
            source=source,
            format=format,
            ingest_options=ingest_options,
            source_digest=source_digest,
            curation=curation,
        )

        divided = equip(
            split_folds(
                annotations=annotations,
                label_space=label_space,
                folds=folds,
                k_index=k_index,
                seed=seed,
            ),
            "split",
            "Put people into folds",
        )

        with dsl.ParallelFor(divided.outputs["Output"], name="fold") as fold:
            taken = equip(
                take_fold(
                    annotations=divided.outputs["split_annotations"],
                    fold=fold,
                    label_space=label_space,
                    checkpoint=checkpoint,
                ),
                "split",
                "Hold the fold out",
            )
            held_out = taken.outputs["fold_annotations"]

            trained = equip(
                train_classifier(
                    images=images,
                    annotations=held_out,
                    label_space=label_space,
                    model=model,
                    epochs=epochs,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    image_height=image_height,
                    image_width=image_width,
                    seed=seed,
                    config=training,
                    run_name=taken.outputs["name"],
                ),
                "train",
                "Train",
            )

            exported = equip(
                export_onnx(checkpoints=trained.outputs["checkpoints"], name=model_name, checkpoint=checkpoint),
                "export",
                "Export to ONNX",
            )

            predicted = equip(
                predict(model=exported.outputs["model"], images=images, annotations=held_out),
                "predict",
                "Predict the fold",
            )

            equip(
                evaluate(
                    predictions=predicted.outputs["predictions"],
                    annotations=held_out,
                    run_id=trained.outputs["run_id"],
                ),
                "evaluate",
                "Evaluate the fold",
            )

        equip(
            evaluate_folds(
                predictions=dsl.Collected(predicted.outputs["predictions"]),
                annotations=divided.outputs["split_annotations"],
                run_ids=dsl.Collected(trained.outputs["run_id"]),
            ),
            "evaluate",
            "Mean and spread",
        )

    return cross_validation
