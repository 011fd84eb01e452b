"""The parameters of pipelines that make a model: its labels and name, the training, the split."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Set
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from components.shared.dataset.label_spaces import label_space
from components.shared.models.spec import IMAGENET, NONE
from components.shared.training.resumable_folder import last_checkpoint
from components.split.options import SplitOptions
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.data.faces import SHIPPED_TABLES, read_persons
from components.train_yolo.config import YoloConfig
from pipelines.parameters.addresses import Address, listed, require, table
from pipelines.parameters.pipeline import PipelineConfig, matching
from pipelines.parameters.training import training_problems
from serving.runtime.card import NOTIFY_THRESHOLD
from serving.runtime.errors import InputError
from serving.runtime.notice import NO_MASKS, mask_rule
from serving.runtime.validation import Problem, problems_of

_TRAIN = TrainConfig(label_space="mask_gender_age")
ModelName = matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "use letters, digits, '.', '_' and '-', a letter or digit first")

_KEPT = {"best": ("best",), "best_and_last": ("best", "last")}
"""By `keep_checkpoints`: the checkpoints that are left to become the model."""


class SeedParameters(PipelineConfig):
    """Of every pipeline with random draws."""

    seed: int = Field(
        default=0,
        description="Seed of every random draw; the same seed gives the same split, the same trials and the same "
        "trainings.",
    )


class ModelParameters(SeedParameters):
    """Of every pipeline that makes a classifier."""

    label_space: str = Field(
        default="mask_gender_age",
        description="What to predict: mask, gender, age, gender_age, mask_gender_age, all, emotion, heads side by side "
        "as gender+age, or a list of classes as attribute:class_a,class_b.",
    )
    model_name: Annotated[str, ModelName] = Field(
        default="faces", description="Name in the model's card, in the model registry, and of the served model."
    )


class ClassifierParameters(ModelParameters, ABC):
    """Of every pipeline that trains a classifier: its main options as parameters, all others in `training`."""

    model: str = Field(
        default=_TRAIN.model,
        description="The network: a torchvision classifier, small_resnet, base, gabor_ensemble or poster_v2, "
        "package.module:name, or a recipe of an earlier project such as EfficientNetB3MSD; in emotion also a .yaml of "
        "ultralytics, such as yolo11n-cls.yaml, or a .pt.",
    )
    epochs: int = Field(default=_TRAIN.epochs, description="Passes over the training faces, in a search of each trial.")
    batch_size: int = Field(default=_TRAIN.batch_size, description="Faces in a training step.")
    image_height: int = Field(default=_TRAIN.image_height, description="Height of the network's input in pixels.")
    image_width: int = Field(default=_TRAIN.image_width, description="Width of the network's input in pixels.")
    training: dict[str, Any] = Field(
        default_factory=dict,
        description="Further options of the training, such as scheduler, ema_decay or augmentation. The trials of a "
        "search override them, and the parameters above.",
    )

    @property
    @abstractmethod
    def train_config(self) -> TrainConfig | YoloConfig:
        """The configuration of the training."""


class TrainingParameters(ClassifierParameters):
    """Of pipelines that train a classifier with torch and export it."""

    learning_rate: float = Field(default=_TRAIN.learning_rate, description="Peak of the learning rate.")
    checkpoint: Literal["best", "last", "best_f1", "best_acc"] = Field(
        default="best",
        description="Which checkpoint becomes the model: best, best_f1 or best_acc, which the val split chooses, or "
        "last (not in a search).",
    )
    notify_threshold: float = Field(
        default=NOTIFY_THRESHOLD,
        ge=0,
        le=1,
        description="From which probability on the endpoint notices a mask that is missing or worn wrongly; for label "
        "spaces with masks.",
    )

    features: bool = Field(
        default=False,
        description="Whether the exported model also gives its last feature map, with which a picture of where it "
        "looked costs one run of the model; the endpoint does not ask for it.",
    )

    def training_arguments(self) -> dict[str, Any]:
        """The arguments of the training step that are parameters of the pipeline."""
        return {name: getattr(self, name) for name in (*sorted(SHARED), "training")}

    @property
    def train_config(self) -> TrainConfig:
        """The configuration of the training."""
        return TrainConfig.model_validate({**self.training, **{name: getattr(self, name) for name in SHARED}})

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, those of the training and what nothing would use too."""
        yield from super().problems(wrong)
        yield from self._without_use(wrong)
        for name in sorted(SHARED & set(self.training)):
            yield Problem(("training", name), self.training[name], f"is a parameter of its own: write it as {name}")
        kept = self.training.get("keep_checkpoints", "all")
        if self.checkpoint not in _KEPT.get(kept, (self.checkpoint,)):
            yield Problem(("training", "keep_checkpoints"), kept, f"drops {self.checkpoint}, which becomes the model")
        options = {**self.training, **{name: getattr(self, name) for name in SHARED}}
        for problem in training_problems(options, hidden=SHARED):
            if problem.path[0] not in SHARED:
                yield Problem(("training", *problem.path), problem.value, problem.message)
            elif problem.path[0] not in wrong:
                yield problem

    def _without_use(self, wrong: Set[str]) -> Iterator[Problem]:
        if self.notify_threshold != NOTIFY_THRESHOLD and not wrong & {"label_space", "notify_threshold"}:
            yield from no_masks("notify_threshold", self.notify_threshold, self.label_space)

    def addresses(self) -> Iterator[Address]:
        """What the steps read from elsewhere, the weights and tables of the training too."""
        yield from super().addresses()
        training = self.train_config
        weights = training.spec.pretrained
        if weights != NONE:
            read = partial(_require_imagenet, training.spec.backbone) if weights == IMAGENET else require
            yield Address(("training", "network", "pretrained"), weights, read)
        for part, address in training.spec.parts.items():
            yield Address(("training", "network", "parts", part), address)
        if training.resume:
            yield Address(("training", "resume"), training.resume, require_checkpoint)
        for attribute, name in training.soft_targets.uncertain.items():
            path = ("training", "soft_targets", "uncertain", attribute)
            yield from table(path, name, SHIPPED_TABLES, read_persons)


SHARED = frozenset(TrainingParameters.model_fields) & frozenset(TrainConfig.model_fields)
"""Options of the training that are parameters of the pipeline, and so may not be in `training` too."""


class SplitParameters(SeedParameters):
    """Of pipelines that split the data into train, val and test."""

    val_ratio: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Share of the images that chooses the epoch, and in a search the trial; 0 for none, which keeps "
        "the last epoch.",
    )
    test_ratio: float = Field(
        default=0.2, ge=0, lt=1, description="Share of the images that the model is evaluated on; 0 for none."
    )
    split_options: dict[str, Any] = Field(
        default_factory=dict,
        description="How the split is made: mode (person, lists, kfold, all, image, image_kfold; in a search person or "
        "lists) and its options.",
    )

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, those of the split too."""
        yield from super().problems(wrong)
        yield from problems_of(SplitOptions, self.split_options, path=("split_options",))
        if not wrong & {"val_ratio", "test_ratio"} and self.val_ratio + self.test_ratio >= 1:
            yield Problem(("test_ratio",), self.test_ratio, "val_ratio and test_ratio leave nothing to train on")

    def addresses(self) -> Iterator[Address]:
        """What the steps read from elsewhere, the lists of the split too."""
        yield from super().addresses()
        options = SplitOptions.model_validate(self.split_options)
        for name in ("train_list", "val_list", "test_list"):
            yield from listed(("split_options", name), getattr(options, name))


def _require_imagenet(backbone: str, _: str) -> None:
    from components.shared.models.pretrained import require_imagenet

    require_imagenet(backbone)


def require_checkpoint(address: str) -> None:
    """Raise InputError when there is no last checkpoint of a training at an address."""
    if not (last := last_checkpoint(address)).exists():
        raise InputError(f"there is no {last.name} of a training")


def no_masks(field: str, value: float, labels: str) -> Iterator[Problem]:
    """Yield that a field is of no use, where a label space tells nothing about masks."""
    with suppress(InputError):  # the training says what is wrong with the label space
        if mask_rule(label_space(labels).heads) is None:
            yield Problem((field,), value, f"label space '{labels}' {NO_MASKS}: leave it out")
