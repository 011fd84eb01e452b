"""A training as a step of a pipeline: one that must go well, or a trial of a search, which may fail."""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.shared.training.train_job import train_on_nodes
from components.train_classifier.config.changes import lay_over
from components.train_classifier.config.training import TrainConfig, resolve_config
from components.train_classifier.record import best_row
from components.train_classifier.train import TrainResult, train
from serving.runtime.errors import InputError

log = logging.getLogger(__name__)

OBJECTIVE = "val_f1"
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class Attempt:
    """`result` is None when a trial failed; `outcome` is what a search is told, nothing where there was no trial."""

    result: TrainResult | None = None
    outcome: dict[str, Any] = field(default_factory=dict)


def attempt(
    options: Mapping[str, Any],
    trial: Mapping[str, Any],
    images: Path,
    annotations: Path,
    checkpoints: Path,
    *,
    experiment: str = "",
    run_name: str = "",
) -> Attempt:
    """Train as `train` does, with the changes of a trial.

    A trial is judged by macro F1 on the validation split, in the epoch that is the best one by the criterion of the
    configuration. What is wrong with its configuration, a loss that is no longer finite, and a lack of memory are an
    outcome: other trials may do better. Without a trial they are raised.

    Args:
        options: entries of the training config.
        trial: {} for none, or `number` and `changes`, which are laid over the options. A negative number stands for a
            trial that is not made.
        images: the image archive.
        annotations: COCO annotations whose images are assigned to splits.
        checkpoints: the output folder; a trial that fails leaves nothing there.
        experiment: MLflow experiment of the run, by default one for each label space.
        run_name: name of the run where it is one of several; that of a trial is its number.

    Raises:
        InputError: as `train`, or there is no val split that could judge a trial.
    """
    if not trial:
        config = resolve_config(options)
        return Attempt(_train(config, images, annotations, checkpoints, experiment=experiment, run_name=run_name))
    number, changes = int(trial["number"]), trial["changes"]
    if number < 0:
        log.info("there is nothing left to try")
        return Attempt()
    try:
        result = _train(
            resolve_config(lay_over(options, changes)),
            images,
            annotations,
            checkpoints,
            experiment=experiment,
            run_name=f"trial {number}",
        )
    except (ValueError, RuntimeError) as error:
        log.warning("trial %d has failed", number, exc_info=not isinstance(error, InputError))
        for left_over in checkpoints.parent.glob(f".{checkpoints.name}.*.unfinished"):
            shutil.rmtree(left_over)
        return Attempt(outcome={"number": number, "changes": changes, "error": str(error)[:_LONGEST_ERROR]})
    if OBJECTIVE not in result.metrics:
        raise InputError("a search judges its trials on the val split, and no image is assigned to it: raise val_ratio")
    outcome = {
        "number": number,
        "changes": changes,
        "score": result.metrics[OBJECTIVE],
        "metrics": result.metrics,
        "run_id": result.run_id,
    }
    return Attempt(result, outcome)


def _train(
    config: TrainConfig, images: Path, annotations: Path, checkpoints: Path, *, experiment: str, run_name: str
) -> TrainResult:
    """Train here, or on the nodes of a cluster where the configuration asks for them."""
    if config.train_job is None:
        return train(config, images, annotations, checkpoints, experiment=experiment, run_name=run_name)
    train_on_nodes(
        config.train_job,
        "components.train_classifier",
        config.model_dump(mode="json", exclude={"train_job"}),
        inputs={"images": images, "annotations": annotations},
        output=("checkpoints", checkpoints),
        arguments={"experiment": experiment, "run-name": run_name},
    )
    run_id = json.loads((checkpoints / "config.json").read_text(encoding="utf-8"))["run_id"]
    best = best_row(json.loads((checkpoints / "history.json").read_text(encoding="utf-8")), config.criterion)
    return TrainResult(run_id, int(best["epoch"]), {name: value for name, value in best.items() if name != "epoch"})
