"""The training of a detector or classifier with ultralytics: from two data set artifacts to checkpoints and ONNX."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import torch

from components.shared.tracking.runs import check_tracking
from components.shared.training.resumable_folder import (
    LAST,
    SCRATCH,
    ResumableFolder,
    resumable_folder,
    tidy_abandoned,
)
from components.train_yolo.checkpoint import (
    has_stopped,
    read_checkpoint,
    rows_of,
    save_checkpoint,
    write_results,
)
from components.train_yolo.config import YoloConfig
from components.train_yolo.data import Data, read_data, unpack
from components.train_yolo.export import ExportResult, Provenance, export
from components.train_yolo.library import torch_utils, trainer_running
from components.train_yolo.record import (
    BEST,
    EPOCH_FILES,
    OWN,
    Recorder,
    experiment_of,
    library_versions,
    open_recorder,
)
from components.train_yolo.start import Start, find_start
from components.train_yolo.trainers import find_device, new_trainer
from serving.runtime.errors import InputError
from serving.runtime.machine import usable_cpus
from serving.runtime.output import check_outputs, full_disk_named
from serving.runtime.registry import MODEL_FILE
from serving.runtime.session import Session

log = logging.getLogger(__name__)

_NO_MEMORY = ("out of memory", "can't allocate memory")


@dataclass(frozen=True, slots=True)
class YoloResult:
    """What a training gave.

    Attributes:
        run_id: the MLflow run; "" without a tracking server.
        best_epoch: the epoch of best.pt and of the exported model, from 1.
        metrics: of the best epoch: train_loss, val_loss, and val_map50, val_map50_95, val_precision and val_recall of a
            detector or val_accuracy of a classifier, among others.
        sha256: of the exported model.
        max_difference: the largest difference between the exported model and best.pt.
    """

    run_id: str
    best_epoch: int
    metrics: dict[str, float]
    sha256: str
    max_difference: float


def train(
    config: YoloConfig,
    images: Path,
    annotations: Path,
    checkpoints: Path,
    exported: Path,
    *,
    name: str,
    crops: Path | None = None,
    experiment: str = "",
    run_name: str = "",
) -> YoloResult:
    """Train on the `train` split, choose the best epoch on the `val` split by ultralytics' fitness, and export it.

    Writes the folder `checkpoints` with best.pt, last.pt, config.json, history.json, tensorboard/ and ultralytics/
    (its plots, results.csv and args.yaml), and the folder `exported` with model.onnx. Faces of the `test` split are
    never read. Equal seed, data and number of threads give equal weights on a CPU.

    A training that was killed continues after its last complete epoch, with all of the training state, see
    `continuation`. On a CPU the weights are those of a training that ran through. On a GPU pictures are loaded by
    processes of their own, whose random draws start anew, and with several GPUs all random draws do.

    Nothing is downloaded unless the configuration says so, nothing is reported, and nothing is written elsewhere but
    to a temporary folder. .pt files are pickles, see `weights`.

    Args:
        config: the configuration of the training.
        images: the image archive.
        annotations: COCO annotations whose images are assigned to splits.
        checkpoints: the output folder; until it is complete see `resumable_folder`.
        exported: the output folder of the exported model; what the same training left there when it was killed is
            replaced.
        name: the name of the model.
        crops: for a classifier: the faces, cut out and with annotations of their own, see
            `components.shared.dataset.crops`; an empty folder counts as None, and then they are cut from `images`.
        experiment: MLflow experiment of the run, by default one for each label space.
        run_name: what the run is where it is one of several, before the model and the label space in its name; by
            default the run is independent.

    Raises:
        InputError: there is too little to train on, an output is not empty, a picture or the weights cannot be used,
            ultralytics drops pictures, there is not enough memory, or the loss is no longer finite.
        StorageError: weights, or the address of the MLflow server, cannot be reached, or the disk is full.
    """
    check_outputs([checkpoints, exported], images, annotations, *([crops] if crops is not None else []))
    device = find_device(config.device)
    data = read_data(config, images, annotations, crops)
    with ExitStack() as stack:
        digest = config.digest(data.digest)
        folder = stack.enter_context(resumable_folder(checkpoints, digest, config.state, EPOCH_FILES))
        _make_room(exported, folder, digest)
        tidy_abandoned(folder.path)
        scratch = stack.enter_context(_scratch(folder.path))
        start = find_start(folder, config, data.digest, scratch)
        check_tracking(experiment or experiment_of(config))
        unpacked = unpack(config, data, scratch / "data")
        recorder = stack.enter_context(
            open_recorder(
                config,
                data,
                unpacked,
                folder,
                device=device,
                run_id=start.run_id,
                epoch=start.epoch,
                experiment=experiment,
                run_name=run_name,
            )
        )
        _run_trainer(config, start, recorder, device)
        best = recorder.finish()
        result = _export(config, data, folder.path / BEST, exported, name)
    metrics = {name: value for name, value in best.items() if name != "epoch"}
    return YoloResult(recorder.run_id, int(best["epoch"]), metrics, result.sha256, result.max_difference)


def _make_room(exported: Path, folder: ResumableFolder, digest: str) -> None:
    """Remove the model that this training exported before it was killed, so that it is exported again.

    Raises InputError when there is anything else.
    """
    if not exported.exists() or (exported.is_dir() and not any(exported.iterdir())):
        return
    file = exported / MODEL_FILE
    if folder.started and [path.name for path in exported.iterdir()] == [MODEL_FILE]:
        with suppress(InputError):  # it is no model of ours
            if Session(file.read_bytes(), source=str(file)).card.training_digest == digest:
                shutil.rmtree(exported)
                return
    raise InputError(f"{exported}: already exists and is not empty; remove it or name another output folder")


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Give a hidden folder below `path` that is removed at the end; one that a killed process left is, too."""
    folder = path / SCRATCH
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with full_disk_named(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_trainer(config: YoloConfig, start: Start, recorder: Recorder, device: str) -> None:
    path, continued = recorder.folder.path, start.checkpoint
    finished = continued is not None and has_stopped(continued, config.epochs, config.patience)
    if finished:
        device = device.split(",", 1)[0]
    torch_utils.NUM_THREADS = min(torch.get_num_threads(), usable_cpus())  # ultralytics counts those of the machine
    try:
        with trainer_running():
            trainer = new_trainer(
                config, start.description, recorder.address, path / OWN, device=device, resume=continued is not None
            )
            recorder.attach(trainer)
            if continued is None:
                trainer.model = trainer.get_model(cfg=start.description, weights=start.weights)
            else:
                trainer.model = str(path / LAST)
                # ultralytics strips its last.pt and best.pt without its allow-list: they are written by this process.
                trainer.last.unlink(missing_ok=True)
                save_checkpoint(read_checkpoint(path / BEST), trainer.best)
                write_results(rows_of(continued), trainer.save_dir / "results.csv")
            if finished:
                trainer.finish()
            else:
                trainer.train()
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not any(text in str(error).lower() for text in _NO_MEMORY):
            raise
        advice = f"lower batch, which is {config.batch}, or imgsz, which is {config.imgsz}"
        raise InputError(f"there is not enough memory on {device}: {advice}") from error
    except CalledProcessError as error:
        raise RuntimeError("a process of the training has failed; its message is above") from error
    finally:
        torch_utils.unset_deterministic()


def _export(config: YoloConfig, data: Data, weights: Path, exported: Path, name: str) -> ExportResult:
    of_the_kind: dict[str, Any] = {"crop": config.crop}
    if config.task == "detect":
        of_the_kind = {"conf": config.conf, "iou": config.iou, "max_detections": config.max_det}
    return export(
        weights,
        exported,
        name=name,
        label_space=config.label_space,
        imgsz=config.imgsz,
        provenance=Provenance(
            leaks=data.leaks,
            dataset_digest=data.digest,
            training_digest=config.digest(data.digest),
            versions=library_versions(),
        ),
        **of_the_kind,
    )
