"""The training of a classifier: from two dataset artifacts to a folder of checkpoints."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from components.shared.models.checkpoint import Checkpoint, load_checkpoint
from components.shared.tracking.runs import DEFAULT_EXPERIMENT, open_run
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.data.loader import FaceDataset, FixedOrder, TrainOrder, make_loader
from components.train_classifier.data.normalization import compute_normalization
from components.train_classifier.data.read import Data, read_data
from components.train_classifier.environment import environment, versions
from components.train_classifier.figures import spread
from components.train_classifier.learner import find_device, new_learner
from components.train_classifier.loop import train_epoch, validate
from components.train_classifier.optimization.early_stopping import should_stop
from components.train_classifier.processes import join
from components.train_classifier.record import Recorder, Row, Scalars, best_row
from components.train_classifier.unfinished import BEST, LAST, Unfinished, fetch, unfinished
from serving.runtime.card import Normalization
from serving.runtime.cpus import usable_cpus
from serving.runtime.errors import InputError

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
    experiment: str = "",
    run_name: str = "",
) -> TrainResult:
    """Train a classifier on the `train` split and choose its best epoch on the `val` split.

    Writes the folder `checkpoints` with best.pt, best_f1.pt, best_acc.pt, last.pt, config.json, history.json,
    predictions.png, classes.txt and tensorboard/. Faces of the `test` split are never read. Without a `val` split the
    best epoch is the last one, and config.json says so. Equal seed, data and number of threads give equal weights on a
    CPU, however often the training was killed and started again.

    In the processes that `torch.distributed.run` starts, all train one network and the first one writes.

    Args:
        config: what is learned, and how.
        images: the image archive.
        annotations: COCO annotations whose images are assigned to splits.
        checkpoints: the output folder; the training grows beside it, see `unfinished`.
        experiment: MLflow experiment of the run, by default one for each label space.
        run_name: name of the run where it is one of several, such as those of a search; by default it is one by itself,
            and is named after the model and the label space.

    Raises:
        InputError: there is too little to train on, `checkpoints` is not empty, a picture cannot be used, a part of
            the configuration does not fit another, or the loss is no longer finite.
    """
    data = read_data(config, annotations)
    facts: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "dataset_digest": data.digest,
        "training_digest": config.digest(data.digest),
        "leaks": data.leaks,
        "versions": versions(),
    }
    with join(config.device) as (processes, place), ExitStack() as stack:
        torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
        device = find_device(place)
        work = start = recorder = None
        if processes.writes:
            work = stack.enter_context(unfinished(checkpoints, facts["training_digest"], config.state))
            start = find_start(work, config, data.digest)
        start = processes.share(start)
        history: list[Row] = start.training_state["history"] if start is not None and start.training_state else []

        rank, world = processes.rank, processes.world
        order = TrainOrder(config, data.classes, len(data.train.unlabeled), start=len(history), rank=rank, world=world)
        samples = data.train.labeled + (data.train.unlabeled if config.pseudo_labels.enabled else [])
        val_order = FixedOrder(len(data.val.labeled), config.batch_size, rank=rank, world=world)
        workers = min(usable_cpus(), _MOST_WORKERS) if config.workers is None else config.workers
        normalization = start.normalization if start is not None else find_normalization(config, data, images, workers)
        train_set = FaceDataset(images, samples, config, augmented=True, normalization=normalization)
        batches = iter(make_loader(train_set, order, workers))
        val_loader = make_loader(FaceDataset(images, data.val.labeled, config, augmented=False), val_order, workers)
        val_classes, shown = data.val.classes(data.space), spread(len(data.val.labeled))

        counts = [target.sum(axis=0) for target in data.train.targets]
        learner = new_learner(
            config, data.heads, normalization, counts, order.per_epoch, device=device, load_pretrained=start is None
        )
        if start is not None:
            learner.restore(start)
        if work is not None:
            recorder = stack.enter_context(
                open_recorder(
                    config,
                    data,
                    work,
                    facts,
                    normalization,
                    device,
                    experiment=experiment or f"{DEFAULT_EXPERIMENT}-{data.space.name}",
                    run_name=run_name,
                    run_id=start.run_id if start and start.training_digest == facts["training_digest"] else "",
                    first_step=len(history) * order.per_epoch + 1,
                )
            )

        for epoch in range(len(history), config.epochs):
            if stopped(history, config):
                break
            log_scalars = recorder.scalars if recorder is not None else _log_nothing
            loss, accuracy = train_epoch(
                learner, batches, order.per_epoch, epoch, data.train, config, log_scalars, processes
            )
            row = {"epoch": epoch + 1, "train_loss": loss, "train_accuracy": accuracy}
            validation = None
            if data.val.labeled:
                validation = validate(learner, val_loader, val_classes, data.space, processes, shown)
                row |= {f"val_{name}": value for name, value in validation.scores.items()}
            learner.schedule.after_epoch(validation.scores if validation is not None else {})
            history.append(row)
            log.info(" ".join(f"{name} {value:.4g}" for name, value in row.items()))
            if recorder is not None:
                recorder.epoch(history, learner, validation)
        if recorder is not None:
            recorder.finish(history)
        best = best_row(history, config.criterion)
        run_id = recorder.run.run_id if recorder is not None else ""
    return TrainResult(run_id, int(best["epoch"]), {name: value for name, value in best.items() if name != "epoch"})


def find_normalization(config: TrainConfig, data: Data, images: Path, workers: int) -> Normalization:
    """Return the normalization that is configured, or compute it from the training faces as validation cuts them."""
    if config.normalization is not None:
        return config.normalization
    faces = data.train.labeled
    cut = FaceDataset(images, faces, config, augmented=False).pixels
    return compute_normalization(faces, data.annotations, cut, workers=workers)


def stopped(history: list[Row], config: TrainConfig) -> bool:
    """Tell whether early stopping ends the training after these epochs."""
    if config.early_stopping is None or not history:
        return False
    scores = [{name.removeprefix("val_"): row[name] for name in row if name.startswith("val_")} for row in history]
    return should_stop(scores, config.early_stopping)


def find_start(work: Unfinished, config: TrainConfig, dataset_digest: str) -> Checkpoint | None:
    """Return the checkpoint from which the training goes on, or None for one that begins.

    Raises:
        InputError: the checkpoints in `config.resume` are of another training, or of one that is over.
        NotFoundError: there are none.
    """
    if work.begun:
        start = load_checkpoint(work.folder / LAST)
        if start.versions != versions():
            log.warning("libraries changed since epoch %d, so results may differ: %s", start.epoch, start.versions)
    elif config.resume:
        fetch(config.resume, work.folder)
        try:
            start = load_checkpoint(work.folder / LAST)
            _check_continues(start, config, dataset_digest, work)
        except InputError:
            (work.folder / LAST).unlink()
            raise
    else:
        return None
    log.info("going on after epoch %d", start.epoch)
    return start


def _check_continues(start: Checkpoint, config: TrainConfig, dataset_digest: str, work: Unfinished) -> None:
    if start.training_state is None:
        raise InputError(f"resume: {config.resume} has no state of a training")
    missing = [f"{name}.pt" for name in BEST if not (work.folder / f"{name}.pt").exists()]
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
        raise InputError(f"resume: {config.resume} has had {start.epoch} epochs already; raise epochs to go on")


@contextmanager
def open_recorder(
    config: TrainConfig,
    data: Data,
    work: Unfinished,
    facts: Mapping[str, Any],
    normalization: Normalization,
    device: torch.device,
    *,
    experiment: str,
    run_name: str,
    run_id: str,
    first_step: int,
) -> Iterator[Recorder]:
    """Open the MLflow run and the event file, and give what writes epochs down.

    `facts` are those of every checkpoint, `run_id` is the run that goes on or "", `first_step` the next one.
    """
    place = environment(device)
    facts_of_run = {
        **facts,
        **data.counts(),
        "environment": place,
        "normalization": normalization.model_dump(mode="json"),
    }
    tags = {"mlflow.user": config.user, "mlflow.source.git.commit": place.get("git_revision")}
    with (
        open_run(
            experiment,
            run_name=run_name or f"{config.model} {data.space.name}",
            params=facts_of_run,
            tags={name: value for name, value in tags.items() if value},
            run_id=run_id,
            part=bool(run_name),
            tolerant=True,
        ) as run,
        closing(Scalars(work.folder / "tensorboard", run, first_step=first_step)) as scalars,
    ):
        snapshot = partial(
            Checkpoint,
            model=config.spec,
            label_space=data.space.name,
            heads=data.heads,
            input=config.input,
            crop=config.crop,
            normalization=normalization,
            run_id=run.run_id,
            **facts,
        )
        yield Recorder(config, data.space.class_labels, work, run, scalars, snapshot, facts_of_run)


def _log_nothing(values: Mapping[str, float], step: int) -> None:
    """Take what a process other than the first one would log."""
