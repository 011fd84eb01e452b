"""ultralytics' trainers with what is different here, and the options that they are given."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from components.train_yolo.checkpoint import CONTINUATION
from components.train_yolo.config import YoloConfig
from components.train_yolo.continuation import restore
from components.train_yolo.data import labels_of
from components.train_yolo.library import (
    DEFAULT_CFG_DICT,
    ClassificationTrainer,
    DetectionTrainer,
    RTDETRTrainer,
)
from serving.runtime.errors import InputError
from serving.runtime.machine import usable_cpus

_MOST_WORKERS = 8


class Trainer(Protocol):
    """What is used of a trainer of ultralytics."""

    args: Any
    model: Any
    epoch: int
    save_dir: Path
    last: Path
    best: Path

    def add_callback(self, event: str, callback: Any) -> None:
        """Have a function called at an event."""

    def get_model(self, cfg: Any, weights: Any) -> nn.Module:
        """Build the network of a description, with those of the weights that fit."""

    def train(self) -> None:
        """Train, and validate the best epoch at the end."""

    def finish(self) -> None:
        """Do what follows the last epoch."""


class _Continuing:
    """Continues from the checkpoint that `model` names, with the configuration of now.

    Attributes:
        batches_since_step: the batches whose gradients no step of the optimizer has been made with.
    """

    args: Any
    epoch: int
    epochs: int
    start_epoch: int
    resume: bool
    train_loader: Any
    test_loader: Any
    batches_since_step: int = 0
    _batches_in_step: int = 1
    _batches_before: int = 0
    _continuation: dict[str, Any] | None = None

    @property
    def accumulate(self) -> int:
        """The batches of a step. ultralytics counts them up to the first one from the start of the whole training."""
        return self._batches_in_step + self._batches_before

    @accumulate.setter
    def accumulate(self, batches: int) -> None:
        self._batches_in_step = batches

    def optimizer_step(self) -> None:
        """Make a step."""
        super().optimizer_step()  # type: ignore[misc]
        self.batches_since_step = self._batches_before = 0

    def continue_step(self, batches: int) -> None:
        """Make the next step with the gradients of so many earlier batches."""
        self.batches_since_step = batches
        self._batches_before = len(self.train_loader) * self.start_epoch - batches

    def begin_epoch(self) -> None:
        """Draw the order of pictures from the state of the loaders alone, and continue from a checkpoint.

        Processes that load pictures are kept: they draw at random on their own.
        """
        for loader in (self.train_loader, self.test_loader):
            if loader.num_workers == 0:
                loader.reset()
        if self._continuation is not None:
            restore(self, self._continuation)
            self._continuation = None

    def check_resume(self, overrides: object) -> None:
        """Read from the options whether a training is continued; ultralytics reads the options themselves from it."""
        self.resume = bool(self.args.resume)

    def resume_training(self, ckpt: Any) -> None:
        """Continue after the epoch of the checkpoint; nothing is left to train where it was the last one."""
        if self.resume and ckpt is not None and ckpt["epoch"] + 1 >= self.epochs:
            self.start_epoch = ckpt["epoch"] + 1
        else:
            super().resume_training(ckpt)  # type: ignore[misc]
            if self.resume:
                self._continuation = ckpt[CONTINUATION]

    def finish(self) -> None:
        """Validate the best epoch and draw the curves, as after the last epoch of a training."""
        self._setup_train()  # type: ignore[attr-defined]
        self.epoch = self.start_epoch - 1
        self.final_eval()  # type: ignore[attr-defined]
        if self.args.plots:
            self.plot_metrics()  # type: ignore[attr-defined]


class _Detection(_Continuing, DetectionTrainer):  # type: ignore[misc]
    pass


class _RtDetr(_Continuing, RTDETRTrainer):  # type: ignore[misc]
    pass


class _Classification(_Continuing, ClassificationTrainer):  # type: ignore[misc]
    def get_dataset(self) -> Any:
        """Name the classes by their labels; the folders have a number before them, which keeps their order."""
        return super().get_dataset() | {"names": labels_of(Path(self.args.data))}


def trainer_class(config: YoloConfig, description: dict[str, Any]) -> Any:
    """Return the trainer of a network: ultralytics has another one for RT-DETR."""
    if config.task == "classify":
        return _Classification
    return _RtDetr if description["head"][-1][-2] == "RTDETRDecoder" else _Detection


def new_trainer(
    config: YoloConfig, description: dict[str, Any], address: Path, folder: Path, *, device: str, resume: bool
) -> Trainer:
    """Make the trainer of a network.

    Args:
        config: the configuration of the training.
        description: of the network.
        address: of the data set, as `Unpacked` has it.
        folder: where ultralytics writes.
        device: as ultralytics names it.
        resume: continue from the checkpoint that `model` is set to afterwards.
    """
    options: dict[str, Any] = {
        "task": config.task,
        "mode": "train",
        "model": Path(config.model).name,
        "data": str(address),
        "epochs": config.epochs,
        "batch": config.batch,
        "imgsz": config.imgsz,
        "seed": config.seed,
        "device": device,
        "optimizer": config.optimizer,
        "lrf": config.lrf,
        "cos_lr": config.cosine,
        "dropout": config.dropout,
        "iou": config.iou,
        "max_det": config.max_det,
        "patience": config.patience,
        "workers": min(usable_cpus(), _MOST_WORKERS),
        "verbose": False,
        "resume": resume,
        "save_dir": str(folder),
        **({} if config.lr is None else {"lr0": config.lr}),
        **config.settings,
    }
    trainer: Trainer = trainer_class(config, description)(cfg={**DEFAULT_CFG_DICT, "save_dir": ""}, overrides=options)
    trainer.add_callback("on_train_epoch_start", _begin_epoch)
    trainer.add_callback("on_train_batch_start", _count_batch)
    return trainer


def _begin_epoch(trainer: Any) -> None:
    trainer.begin_epoch()


def _count_batch(trainer: Any) -> None:
    trainer.batches_since_step += 1


def find_device(name: str) -> str:
    """Return ultralytics' name of a device; `auto` is the first GPU where there is one.

    Raises InputError when there is no such GPU.
    """
    count = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and not count):
        return "cpu"
    numbers = "0" if name in ("auto", "cuda") else name
    if missing := [number for number in numbers.split(",") if int(number) >= count]:
        raise InputError(
            f"device: there is no '{', '.join(missing)}', this machine has {count} GPUs that torch can use"
        )
    return numbers
