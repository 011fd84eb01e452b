"""A training as a step of a pipeline: on its own, or as a trial of a search, where a failure is an outcome."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from components.shared.dataset.crops import has_crops
from components.shared.training.train_job import train_on_nodes
from components.shared.trial import NO_TRIAL, Outcome, Trial
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.record import best_row
from components.train_classifier.train import TrainResult, train
from serving.runtime.errors import InputError

log = logging.getLogger(__name__)

SCORE = "val_f1"
_MAX_ERROR_LENGTH = 300

Resolve = Callable[[Mapping[str, Any]], TrainConfig]
"""`resolve_config` with everything but the changes of a trial."""


def run_training(
    resolve: Resolve,
    trial: Trial | None,
    images: Path,
    annotations: Path,
    checkpoints: Path,
    *,
    crops: Path | None = None,
    experiment: str = "",
    run_name: str = "",
) -> tuple[TrainResult | None, Outcome | None]:
    """Train as `train` does, with the changes of a trial.

    The score of a trial is macro F1 on the validation split, in the epoch that is best by the criterion of the
    configuration. An invalid configuration, a loss that is no longer finite, and a lack of memory are the outcome of a
    trial, since other trials may succeed. Without a trial they are raised.

    Args:
        resolve: gives the training config for the changes of a trial.
        trial: None for a training that is not part of a search; nothing is trained for NO_TRIAL.
        images: the image archive.
        annotations: COCO annotations whose images are assigned to splits.
        checkpoints: the output folder; a trial that fails leaves nothing there.
        crops: the faces, cut out before, as for `train`.
        experiment: MLflow experiment of the run, by default one for each label space.
        run_name: name of the run where it is one of several; that of a trial is its number.

    Returns:
        The result, None when nothing was trained or a trial failed; and the outcome of the trial, None without one.

    Raises:
        InputError: as `train`, or there is no val split that could score a trial.
    """
    inputs = {"images": images, "annotations": annotations}
    if crops is not None and has_crops(crops):
        inputs["crops"] = crops
    if trial == NO_TRIAL:
        log.info("no trial is left for this round")
        return None, None
    train_here = partial(_train, inputs=inputs, checkpoints=checkpoints, experiment=experiment)
    if trial is None:
        return train_here(resolve({}), run_name=run_name), None
    try:
        name = f"trial {trial.number}"
        result = train_here(resolve(trial.changes), run_name=name)
    except (ValueError, RuntimeError) as error:
        log.warning("trial %d has failed", trial.number, exc_info=not isinstance(error, InputError))
        for unfinished in checkpoints.parent.glob(f".{checkpoints.name}.*.unfinished"):
            shutil.rmtree(unfinished)
        return None, Outcome(**trial.model_dump(), error=str(error)[:_MAX_ERROR_LENGTH])
    if SCORE not in result.metrics:
        raise InputError("a search scores its trials on the val split, and no image is assigned to it: raise val_ratio")
    outcome = Outcome(**trial.model_dump(), score=result.metrics[SCORE], metrics=result.metrics, run_id=result.run_id)
    return result, outcome


def _train(
    config: TrainConfig, *, inputs: Mapping[str, Path], checkpoints: Path, experiment: str, run_name: str
) -> TrainResult:
    """Train here, or on the nodes of a cluster where the configuration asks for them; `inputs` are those of `train`."""
    if config.train_job is None:
        return train(config, **inputs, checkpoints=checkpoints, experiment=experiment, run_name=run_name)
    train_on_nodes(
        config.train_job,
        "components.train_classifier",
        config.model_dump(mode="json", exclude={"train_job"}),
        inputs=inputs,
        output=("checkpoints", checkpoints),
        arguments={"experiment": experiment, "run-name": run_name},
    )
    run_id = json.loads((checkpoints / "config.json").read_text(encoding="utf-8"))["run_id"]
    best = best_row(json.loads((checkpoints / "history.json").read_text(encoding="utf-8")), config.criterion)
    return TrainResult(run_id, int(best["epoch"]), {name: value for name, value in best.items() if name != "epoch"})
