"""The training of a classifier: from two dataset artifacts to a folder of checkpoints."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from components.shared.models.checkpoint import Checkpoint, load_checkpoint
from components.shared.tracking.runs import check_tracking
from components.shared.training.processes import Processes, join_processes, versions
from components.shared.training.resumable_folder import LAST, ResumableFolder, resumable_folder
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.data.faces import Data, read_data
from components.train_classifier.data.loader import FaceDataset, TrainOrder, fixed_order, make_loader
from components.train_classifier.data.normalization import compute_normalization
from components.train_classifier.learner import new_learner
from components.train_classifier.loop import Row, Training, train_epoch, validate
from components.train_classifier.optimization.schedules import should_stop
from components.train_classifier.record import (
    BEST,
    EPOCH_FILES,
    Recorder,
    best_row,
    example_indices,
    experiment_of,
    open_recorder,
)
from serving.runtime.card import Normalization
from serving.runtime.errors import InputError
from serving.runtime.machine import usable_cpus

log = logging.getLogger(__name__)

_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class TrainResult:
    """`run_id` is "" without MLflow, `best_epoch` counts from 1, `metrics` are those of the best epoch."""

    run_id: str
    best_epoch: int
    metrics: dict[str, float]


def train(
    config: TrainConfig,
    images: Path,
    annotations: Path,
    checkpoints: Path,
    *,
    crops: Path | None = None,
    experiment: str = "",
    run_name: str = "",
) -> TrainResult:
    """Train a classifier on the `train` split and choose its best epoch on the `val` split.

    Writes the folder `checkpoints` with best.pt, best_f1.pt, best_acc.pt, last.pt, config.json, history.json,
    predictions.png, confusion_matrix.png, classes.txt and tensorboard/. Faces of the `test` split are never read.
    Without a `val` split the best epoch is the last one, and config.json says so. Equal seed, data and number of
    threads give equal weights on a CPU, however often the training was killed and started again.

    In the processes that `torch.distributed.run` starts, all train one network and rank 0 writes.

    Args:
        config: the configuration of the training.
        images: the image archive.
        annotations: COCO annotations whose images are assigned to splits.
        checkpoints: the output folder; until it is complete see `resumable_folder`.
        crops: the faces, cut out and with annotations of their own, see `components.shared.dataset.crops`; an empty
            folder counts as None, and then they are read from `images`.
        experiment: MLflow experiment of the run, by default one for each label space.
        run_name: name of the run where it is one of several, such as those of a search; by default the run is
            independent, and is named after the model and the label space.

    Raises:
        InputError: there is too little to train on, `checkpoints` is not empty, a picture cannot be used, parts of the
            configuration do not match, or the loss is no longer finite.
        StorageError: the address of the MLflow server or its credentials are wrong. A server that does not answer, or
            dies later, is a warning.
    """
    data = read_data(config, annotations, crops)
    if crops is not None and data.cropped:
        images = crops
    with join_processes(config.device) as (processes, device), ExitStack() as stack:
        torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
        folder = start = recorder = None
        if processes.writes:
            digest = config.digest(data.digest)
            folder = stack.enter_context(resumable_folder(checkpoints, digest, config.state, EPOCH_FILES))
            start = find_start(folder, config, data.digest)
            check_tracking(experiment or experiment_of(data))
        start = processes.share(start)
        training = set_up(config, data, images, start, processes, device)
        if folder is not None:
            recording = open_recorder(training, folder, start, experiment=experiment, run_name=run_name)
            recorder = stack.enter_context(recording)
        run_epochs(training, recorder)
        best = best_row(training.history, config.criterion)
        run_id = recorder.run.run_id if recorder is not None else ""
    return TrainResult(run_id, int(best["epoch"]), {name: value for name, value in best.items() if name != "epoch"})


def set_up(
    config: TrainConfig,
    data: Data,
    images: Path,
    start: Checkpoint | None,
    processes: Processes,
    device: torch.device,
) -> Training:
    """Build the network, or load it from `start`, and the loaders of training and validation faces."""
    history: list[Row] = start.training_state["history"] if start is not None and start.training_state else []
    rank, world = processes.rank, processes.world
    workers = min(usable_cpus(), _MOST_WORKERS) if config.workers is None else config.workers
    normalization = start.normalization if start is not None else find_normalization(config, data, images, workers)
    samples = data.train.labeled + (data.train.unlabeled if config.pseudo_labels.enabled else [])
    train_set = FaceDataset(images, samples, config, augmented=True, normalization=normalization)
    order = TrainOrder(config, data.classes, len(data.train.unlabeled), start=len(history), rank=rank, world=world)
    batches = iter(make_loader(train_set, order, workers))  # the workers read while the network is built
    val_set = FaceDataset(images, data.val.labeled, config, augmented=False)
    val_order = fixed_order(
        len(data.val.labeled), config.validation_batch_size or config.batch_size, rank=rank, world=world
    )
    counts = [target.sum(axis=0) for target in data.train.targets]
    learner = new_learner(
        config,
        data.heads,
        normalization,
        counts,
        order.per_epoch,
        device=device,
        processes=processes,
        load_pretrained=start is None,
    )
    if start is not None:
        learner.restore(start)
    return Training(
        config=config,
        data=data,
        learner=learner,
        processes=processes,
        normalization=normalization,
        batches=batches,
        steps_per_epoch=order.per_epoch,
        validation=make_loader(val_set, val_order, workers),
        history=history,
    )


def run_epochs(training: Training, recorder: Recorder | None) -> None:
    """Train until the last epoch or until early stopping; the processes without a recorder write nothing."""
    config, data, history = training.config, training.data, training.history
    val_classes, examples = data.val.classes(data.space), example_indices(len(data.val.labeled))
    for epoch in range(len(history), config.epochs):
        if stopped(history, config):
            break
        loss, accuracy = train_epoch(
            training, epoch, recorder.scalars if recorder is not None else lambda values, step: None
        )
        row = {"epoch": epoch + 1, "train_loss": loss, "train_accuracy": accuracy}
        validation = None
        if data.val.labeled:
            validation = validate(
                training.learner, training.validation, val_classes, data.space, training.processes, examples
            )
            row |= {f"val_{name}": value for name, value in validation.scores.items()}
        training.learner.schedule.after_epoch(validation.scores if validation is not None else {})
        history.append(row)
        log.info(" ".join(f"{name} {value:.4g}" for name, value in row.items()))
        if recorder is not None:
            recorder.epoch(validation)
    if recorder is not None:
        recorder.finish()


def find_normalization(config: TrainConfig, data: Data, images: Path, workers: int) -> Normalization:
    """Return the configured normalization, or compute it from the training faces as validation cuts them."""
    if config.normalization is not None:
        return config.normalization
    faces = data.train.labeled
    cut = FaceDataset(images, faces, config, augmented=False).pixels
    return compute_normalization(faces, data.annotations, cut, workers=workers)


def stopped(history: Sequence[Row], config: TrainConfig) -> bool:
    """Tell whether early stopping ends the training after these epochs."""
    if config.early_stopping is None or not history:
        return False
    scores = [{name.removeprefix("val_"): row[name] for name in row if name.startswith("val_")} for row in history]
    return should_stop(scores, config.early_stopping)


def find_start(folder: ResumableFolder, config: TrainConfig, dataset_digest: str) -> Checkpoint | None:
    """Return the checkpoint from which the training continues, or None for a new one.

    Raises:
        InputError: the checkpoints in `config.resume` are of another training, or of one that is complete.
        NotFoundError: there are none.
    """
    if folder.started:
        start = load_checkpoint(folder.path / LAST)
        if start.versions != versions():
            log.warning("libraries changed since epoch %d, so results may differ: %s", start.epoch, start.versions)
    elif config.resume:
        folder.fetch(config.resume)
        try:
            start = load_checkpoint(folder.path / LAST)
            _check_continues(start, config, dataset_digest, folder)
        except InputError:
            (folder.path / LAST).unlink()
            raise
    else:
        return None
    log.info("continuing after epoch %d", start.epoch)
    return start


def _check_continues(start: Checkpoint, config: TrainConfig, dataset_digest: str, folder: ResumableFolder) -> None:
    if start.training_state is None:
        raise InputError(f"resume: {config.resume} has no training state")
    missing = [f"{name}.pt" for name in BEST if not (folder.path / f"{name}.pt").exists()]
    if missing and "val_loss" in start.metrics:
        raise InputError(f"resume: {config.resume} lacks {', '.join(missing)}; name the whole folder of checkpoints")
    if differing := config.differences(start.config):
        pairs = ", ".join(
            f"{name} (there {start.config.get(name)!r}, here {config.model_dump(mode='json').get(name)!r})"
            for name in differing
        )
        raise InputError(f"resume: {config.resume} is of a training that was configured differently: {pairs}")
    if start.dataset_digest != dataset_digest:
        raise InputError(f"resume: {config.resume} was trained on other annotations")
    if start.epoch >= config.epochs:
        raise InputError(f"resume: {config.resume} has had {start.epoch} epochs already; raise epochs to continue")
