"""The training of a detector or classifier with ultralytics: from two data set artifacts to checkpoints and ONNX."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import torch
from torch import nn

from components.shared.tracking.runs import check_tracking
from components.shared.training.resumable_folder import LAST, ResumableFolder, link, resumable_folder
from components.train_yolo.checkpoint import (
    Checkpoint,
    check_continues,
    has_stopped,
    is_best,
    read_checkpoint,
    rows_of,
    save_checkpoint,
    write_results,
)
from components.train_yolo.config import YoloConfig
from components.train_yolo.data import Data, read_data, unpack
from components.train_yolo.export import ExportResult, Provenance, export
from components.train_yolo.library import threads_joined, torch_utils
from components.train_yolo.record import (
    BEST,
    BOARD,
    CONFIG,
    EPOCH_FILES,
    OWN,
    Recorder,
    experiment_of,
    library_versions,
    open_recorder,
)
from components.train_yolo.trainers import find_device, new_trainer
from components.train_yolo.weights import load_weights, read_description, start_description
from serving.runtime.errors import InputError
from serving.runtime.machine import usable_cpus
from serving.runtime.output import check_outputs
from serving.runtime.registry import MODEL_FILE
from serving.runtime.session import Session

log = logging.getLogger(__name__)

_SCRATCH = ".scratch"
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


@dataclass(frozen=True, slots=True)
class Start:
    """Where a training starts: the description of a network, and weights, or the checkpoint that it continues from.

    Attributes:
        description: of the network.
        weights: a network whose weights are taken where they fit; None for random ones, or with a checkpoint.
        checkpoint: LAST of the training; None for a new one.
        run_id: the MLflow run to continue; "" for a new one.
    """

    description: dict[str, Any]
    weights: nn.Module | None = None
    checkpoint: Checkpoint | None = None
    run_id: str = ""

    @property
    def epoch(self) -> int:
        """The number of epochs behind it."""
        return 0 if self.checkpoint is None else int(self.checkpoint["epoch"]) + 1


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

    A training that was killed continues after its last complete epoch: weights, their moving average, optimizer,
    schedule and epoch do. ultralytics keeps the moving average of the weights alone, in float16, and continues from
    it with new random draws, so the result is another one than without the interruption.

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
        run_name: name of the run where it is one of several; by default the run is independent, and is named after the
            model and the label space.

    Raises:
        InputError: there is too little to train on, an output is not empty, a picture or the weights cannot be used,
            ultralytics drops pictures, there is not enough memory, or the loss is no longer finite.
        StorageError: weights, or the address of the MLflow server, cannot be reached.
    """
    check_outputs([checkpoints, exported], images, annotations, *([crops] if crops is not None else []))
    device = find_device(config.device)
    data = read_data(config, images, annotations, crops)
    with ExitStack() as stack:
        digest = config.digest(data.digest)
        folder = stack.enter_context(resumable_folder(checkpoints, digest, config.state, EPOCH_FILES))
        _make_room(exported, folder, digest)
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


def find_start(folder: ResumableFolder, config: YoloConfig, dataset_digest: str, scratch: Path) -> Start:
    """Return where the training starts: after its last epoch, or with the network of the configuration.

    Raises:
        InputError: the checkpoints in `config.resume` are of another training, or of one that is complete; the network
            cannot be used.
        NotFoundError: there are none.
    """
    path = folder.path
    if folder.started:
        checkpoint, earlier = read_checkpoint(path / LAST), _read_config(path)
    elif config.resume:
        folder.fetch(config.resume)
        try:
            checkpoint, earlier = read_checkpoint(path / LAST), _read_config(path)
            check_continues(checkpoint, config.resume)
            _check_same(earlier, checkpoint, config, dataset_digest)
        except InputError:
            (path / LAST).unlink()
            raise
    else:
        for folder_of_killed in (path / OWN, path / BOARD):
            shutil.rmtree(folder_of_killed, ignore_errors=True)
        return _new_start(config, scratch)
    if earlier["versions"] != library_versions():
        log.warning("libraries changed since epoch %d, so results may differ", checkpoint["epoch"] + 1)
    _repair_best(path, checkpoint, config.resume)
    log.info("continuing after epoch %d", checkpoint["epoch"] + 1)
    same = earlier["training_digest"] == config.digest(dataset_digest)
    return Start(checkpoint["ema"].yaml, None, checkpoint, earlier["run_id"] if same else "")


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


def _new_start(config: YoloConfig, scratch: Path) -> Start:
    if not config.model.lower().endswith(".pt"):
        return Start(start_description(read_description(config.model), config.task, config.model))
    weights: Any = load_weights(config.model, scratch, trust=config.trust_weights, download=config.download_weights)
    return Start(start_description(weights.yaml, config.task, config.model), weights)


def _check_same(earlier: Mapping[str, Any], checkpoint: Checkpoint, config: YoloConfig, dataset_digest: str) -> None:
    there, here = earlier["config"], config.model_dump(mode="json")
    if differing := config.differences(there):
        pairs = ", ".join(f"{name} (there {there.get(name)!r}, here {here.get(name)!r})" for name in differing)
        raise InputError(f"resume: {config.resume} is of a training that was configured differently: {pairs}")
    if earlier["dataset_digest"] != dataset_digest:
        raise InputError(f"resume: {config.resume} was trained on other annotations")
    if (epochs := checkpoint["epoch"] + 1) >= config.epochs:
        raise InputError(f"resume: {config.resume} has had {epochs} epochs already; raise epochs to continue")


def _repair_best(path: Path, checkpoint: Checkpoint, source: str) -> None:
    """Make the best checkpoint fit LAST, where a training was killed between the two."""
    if is_best(checkpoint):
        link(path / LAST, path / BEST)
        return
    if not (path / BEST).exists():
        raise InputError(f"resume: {source} lacks {BEST}; name the whole folder of checkpoints")
    best = read_checkpoint(path / BEST)
    if best["epoch"] > checkpoint["epoch"]:  # they were being copied to `state`
        fitness, epoch = best["train_metrics"]["fitness"], checkpoint["epoch"] + 1
        checkpoint |= {"best_fitness": fitness, "stopper": {"best_fitness": fitness, "best_epoch": epoch}}
        save_checkpoint(checkpoint, path / LAST)


def _read_config(path: Path) -> Any:
    try:
        return json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"resume: there is no {CONFIG} beside {LAST}; name a folder that train_yolo wrote") from error


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Give a hidden folder below `path` that is removed at the end; one that a killed process left is, too."""
    folder = path / _SCRATCH
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
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
        with threads_joined():
            trainer = new_trainer(
                config, start.description, recorder.address, path / OWN, device=device, resume=continued is not None
            )
            recorder.attach(trainer)
            if continued is None:
                trainer.model = trainer.get_model(cfg=start.description, weights=start.weights)
            else:
                trainer.model = str(path / LAST)
                shutil.copyfile(path / BEST, trainer.best)
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
    return export(
        weights,
        exported,
        name=name,
        label_space=config.label_space,
        imgsz=config.imgsz,
        conf=config.conf,
        iou=config.iou,
        max_detections=config.max_det,
        crop=config.crop if config.task == "classify" else None,
        provenance=Provenance(
            leaks=data.leaks,
            dataset_digest=data.digest,
            training_digest=config.digest(data.digest),
            versions=library_versions(),
        ),
    )
