"""The cross-validation pipeline: how good a recipe is on people it has never seen, and how much that varies."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.parameters.cross_validation import CrossValidationConfig

if TYPE_CHECKING:
    from pipelines.parts.data import Configure


def cross_validation(p: CrossValidationConfig, configure: "Configure") -> None:
    """Train a face classifier once for every fold of the people, evaluate it on that fold, and report the spread.

    Nothing is registered: every fold's model has seen less than all data, and none of them is the one to serve.
    """
    from kfp import dsl

    from components.evaluate.component import evaluate_folds
    from components.split.component import split_folds, take_fold
    from components.train_classifier.component import train_classifier
    from pipelines.parts.data import read_photos
    from pipelines.parts.models import evaluate_model, export

    data = read_photos(p, configure)
    labels = {"label_space": p.label_space}
    task = split_folds(annotations=data.annotations, folds=p.folds, k_index=p.k_index, seed=p.seed, **labels)
    folds = configure(task, "Put people into folds").outputs
    with dsl.ParallelFor(folds["Output"], name="fold") as fold:
        task = take_fold(annotations=folds["split_annotations"], fold=fold, checkpoint=p.checkpoint, **labels)
        taken = configure(task, "Hold the fold out").outputs
        held_out = taken["fold_annotations"]
        task = train_classifier(**data.faces, annotations=held_out, run_name=taken["name"], **p.training_arguments())
        trained = configure(task, "Train")
        fold_data, run_id = replace(data, annotations=held_out), trained.outputs["run_id"]
        model = export(p, configure, trained)
        predictions = evaluate_model(configure, model, run_id, fold_data).predictions
    predictions, run_ids = dsl.Collected(predictions), dsl.Collected(run_id)
    task = evaluate_folds(predictions=predictions, annotations=folds["split_annotations"], run_ids=run_ids)
    configure(task, "Mean and spread")
