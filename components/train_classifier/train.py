"""The training of a classifier: from two dataset artifacts to a folder of checkpoints."""

import logging
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from components.shared.dataset.annotations import digest, read_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.models.checkpoint import Checkpoint, save_checkpoint
from components.shared.models.network import build_network
from components.shared.output_folder import complete_folder
from components.shared.tracking.runs import DEFAULT_EXPERIMENT, open_run
from components.train_classifier.config import TrainConfig
from components.train_classifier.ema import MovingAverage
from components.train_classifier.loader import FaceDataset, FixedOrder, TrainOrder, make_loader
from components.train_classifier.loop import Learner, make_optimizer, train_epoch, validate
from components.train_classifier.record import Scalars, write_json
from components.train_classifier.samples import check_samples, select_samples
from serving.runtime.card import Head
from serving.runtime.cpus import usable_cpus

log = logging.getLogger(__name__)

_MOST_WORKERS = 8
_LIBRARIES = ("numpy", "pillow", "simplejpeg", "torch", "torchvision")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """`run_id` is "" without MLflow, `best_epoch` counts from 1, `metrics` are those of the best epoch."""

    run_id: str
    best_epoch: int
    metrics: dict[str, float]


def train(
    config: TrainConfig, images: Path, annotations: Path, checkpoints: Path, *, experiment: str = DEFAULT_EXPERIMENT
) -> TrainResult:
    """Train a classifier on the `train` split and choose its best epoch on the `val` split.

    Writes the folder `checkpoints` with best.pt, last.pt, config.json, history.json and tensorboard/. Faces of the
    `test` split are never read. Without a `val` split the best epoch is the last one, and config.json says so.
    Equal seed, data and number of threads give equal weights on a CPU.

    Raises:
        InputError: there is too little to train on, `checkpoints` is not empty, a picture cannot be used, or the
            loss is no longer finite.
    """
    data = read_annotations(annotations)
    space = label_space(config.label_space)
    heads = tuple(Head(name=head.name, labels=head.labels) for head in space.heads)
    targets = label_space(config.label_space, config.age_thresholds)
    train_samples, unlabelled = select_samples(data, targets, "train")
    val_samples, _ = select_samples(data, space, "val")
    check_samples(train_samples, space, unlabelled)
    log.info(
        "%d faces to train on, %d to choose the epoch, %d without a label left out",
        len(train_samples),
        len(val_samples),
        unlabelled,
    )
    if not val_samples:
        log.warning("no labelled face in the val split: the last epoch counts as the best one")
    dataset_digest = digest(annotations)
    facts: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "dataset_digest": dataset_digest,
        "training_digest": config.digest(dataset_digest),
        "leaks": bool(data.info.get("leaks", False)),
        "versions": {name: version(name) for name in _LIBRARIES},
    }
    counts = {"train_faces": len(train_samples), "val_faces": len(val_samples), "unlabelled_faces": unlabelled}

    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
    workers = min(usable_cpus(), _MOST_WORKERS) if config.workers is None else config.workers
    train_set = FaceDataset(images, train_samples, config, augmented=True)
    val_set = FaceDataset(images, val_samples, config, augmented=False)
    order = TrainOrder(len(train_samples), config)
    val_loader = make_loader(val_set, FixedOrder(len(val_samples), config.batch_size), workers)
    learner = new_learner(config, heads)

    with (
        complete_folder(checkpoints) as folder,
        open_run(experiment, run_name=f"{config.model} {space.name}", params=facts | counts) as run,
        closing(Scalars(folder / "tensorboard", run)) as scalars,
    ):
        snapshot = partial(
            Checkpoint,
            model=config.model,
            label_space=space.name,
            heads=heads,
            input=config.input,
            crop=config.crop,
            normalization=config.normalization,
            run_id=run.run_id,
            **facts,
        )
        batches = iter(make_loader(train_set, order, workers))
        history: list[dict[str, float]] = []
        best: dict[str, float] = {}
        for epoch in range(1, config.epochs + 1):
            loss, accuracy = train_epoch(learner, batches, order.per_epoch, epoch - 1, train_set, config, scalars)
            row = {"epoch": epoch, "train_loss": loss, "train_accuracy": accuracy}
            if val_samples:
                scores = validate(learner, val_loader, space)
                scalars({f"Val/{name}": value for name, value in scores.items()}, epoch)
                row |= {f"val_{name}": value for name, value in scores.items()}
                better = not best or rank(row, config.criterion) > rank(best, config.criterion)
            else:
                better = epoch == config.epochs
            history.append(row)
            log.info(" ".join(f"{name} {value:.4g}" for name, value in row.items()))
            if better:
                best = row
                save_checkpoint(snapshot(epoch=epoch, metrics=row, **learner.weights()), folder / "best.pt")
        state = learner.weights() | {"optimizer_state": learner.optimizer.state_dict()}
        save_checkpoint(snapshot(epoch=config.epochs, metrics=history[-1], **state), folder / "last.pt")
        outcome = {
            "best_epoch": int(best["epoch"]),
            "best_chosen_by": f"{config.criterion} on val" if val_samples else "there is no val split: the last epoch",
            "run_id": run.run_id,
        }
        write_json(facts | counts | outcome, folder / "config.json")
        write_json(history, folder / "history.json")
    return TrainResult(run.run_id, int(best["epoch"]), {name: value for name, value in best.items() if name != "epoch"})


def new_learner(config: TrainConfig, heads: tuple[Head, ...]) -> Learner:
    """Build the network with random weights drawn from the seed, on the GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(config.seed)
    network = build_network(config.model, heads, config.normalization)
    network = network.to(device).to(memory_format=torch.channels_last)
    return Learner(
        network=network,
        average=MovingAverage(network, config.ema_decay) if config.ema_decay > 0 else None,
        optimizer=make_optimizer(network, config),
        sizes=tuple(len(head.labels) for head in heads),
        device=device,
    )


def rank(row: dict[str, float], criterion: str) -> tuple[float, ...]:
    """Return what is largest for the best epoch by `criterion`; the lower loss breaks ties."""
    if criterion == "loss":
        return (-row["val_loss"],)
    return row[{"f1": "val_f1", "acc": "val_accuracy"}[criterion]], -row["val_loss"]
