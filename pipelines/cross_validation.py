"""The cross-validation pipeline: how good a recipe is on people it has never seen, and how much that varies."""

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.parameters.model import TrainingParameters
from serving.runtime.validation import Problem

if TYPE_CHECKING:
    from pipelines.parts import Configure


class CrossValidationConfig(TrainingParameters):
    """The parameters of the cross-validation pipeline."""

    pipeline: Literal["cross_validation"] = "cross_validation"
    folds: int = Field(default=5, ge=2, description="How many folds the people are put into, each person into one.")
    k_index: int = Field(default=-1, ge=-1, description="The fold to evaluate, counted from 0; -1 for all of them.")

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields."""
        yield from super().problems(wrong)
        if self.k_index >= self.folds and not wrong & {"folds", "k_index"}:
            message = f"there are {self.folds} folds, 0 to {self.folds - 1}, or -1 for all"
            yield Problem(("k_index",), self.k_index, message)
        if self.folds == 2 and self.checkpoint != "last" and "folds" not in wrong:
            message = "nothing is left beside the folds for test and val: 3 or more, or checkpoint: last, without val"
            yield Problem(("folds",), self.folds, message)


def cross_validation(p: CrossValidationConfig, configure: "Configure") -> None:
    """Train a face classifier once for every fold of the people, evaluate it on that fold, and report the spread.

    Nothing is registered: every fold's model has seen less than all data, and none of them is the one to serve.
    """
    from kfp import dsl

    from components.evaluate.component import evaluate_folds
    from components.split.component import split_folds, take_fold
    from components.train_classifier.component import train_classifier
    from pipelines.parts import evaluate_model, read_photos

    images, annotations = read_photos(p, configure)
    labels = {"label_space": p.label_space}
    task = split_folds(annotations=annotations, folds=p.folds, k_index=p.k_index, seed=p.seed, **labels)
    folds = configure(task, "Put people into folds").outputs
    with dsl.ParallelFor(folds["Output"], name="fold") as fold:
        task = take_fold(annotations=folds["split_annotations"], fold=fold, checkpoint=p.checkpoint, **labels)
        taken = configure(task, "Hold the fold out").outputs
        held_out = taken["fold_annotations"]
        task = train_classifier(images=images, annotations=held_out, run_name=taken["name"], **p.training_arguments())
        trained = configure(task, "Train")
        predictions = evaluate_model(p, configure, trained, images, held_out).predictions
    predictions, run_ids = dsl.Collected(predictions), dsl.Collected(trained.outputs["run_id"])
    task = evaluate_folds(predictions=predictions, annotations=folds["split_annotations"], run_ids=run_ids)
    configure(task, "Mean and spread")
