"""The parameters of the pipelines, one model for each; the pipelines' own docstrings say what each parameter means."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.curate.curate import OPERATIONS
from components.ingest.ingest import FORMATS
from components.shared.dataset.label_spaces import label_space
from components.shared.metrics.classification import SCALARS
from components.split.options import SplitOptions
from components.train_classifier.config.training import TrainConfig
from pipelines.problems import Problem, known, problems_of
from serving.runtime.errors import InputError

DRAWN_FACES = "s3://raw/drawn_faces"
"""Where the drawn sample data are put; the source when none is named."""
DRAWN_EMOTIONS = "s3://raw/drawn_emotions"
"""Where the drawn sample data in AI Hub's layout are put."""

_TRAIN = TrainConfig(label_space="mask_gender_age")


class PipelineConfig(BaseModel):
    """What every pipeline is told that trains classifiers: its name, the data, the training, the cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    pipeline: str
    source: str = Field(default=DRAWN_FACES, min_length=1)
    format: str = "profile"
    label_space: str = _TRAIN.label_space
    model: str = _TRAIN.model
    epochs: int = _TRAIN.epochs
    batch_size: int = _TRAIN.batch_size
    learning_rate: float = _TRAIN.learning_rate
    image_height: int = _TRAIN.image_height
    image_width: int = _TRAIN.image_width
    seed: int = _TRAIN.seed
    model_name: str = Field(default="faces", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    checkpoint: Literal["best", "last", "best_f1", "best_acc"] = "best"
    training: dict[str, Any] = Field(default_factory=dict)
    ingest_options: dict[str, Any] = Field(default_factory=dict)
    curation: list[dict[str, Any]] = Field(default_factory=list)
    source_digest: str = ""
    gpus: str = Field(default="0", pattern=r"^\d{1,2}$", coerce_numbers_to_str=True)
    storage_secret: str = Field(default="facet-storage", max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")

    def arguments(self) -> dict[str, Any]:
        """What the pipeline is called with."""
        return self.model_dump(exclude={"pipeline"})

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below the fields: training, options of the format and of the curation.

        The fields in `wrong` have been reported already, and hold their defaults here.
        """
        if self.format in FORMATS:
            yield from problems_of(FORMATS[self.format].options, self.ingest_options, ("ingest_options",))
        else:
            yield Problem(("format",), self.format, f"unknown format{known(self.format, FORMATS)}")
        yield from _curation(self.curation)
        yield from self._training(wrong)

    def _training(self, wrong: Set[str]) -> Iterator[Problem]:
        for name in sorted(SHARED & set(self.training)):
            yield Problem(("training", name), self.training[name], f"is a parameter of its own: write it as {name}")
        rest = {name: value for name, value in self.training.items() if name not in SHARED}
        whole = {**rest, **{name: getattr(self, name) for name in SHARED}}
        for problem in problems_of(TrainConfig, whole, hidden=SHARED):
            if problem.path[0] not in SHARED:
                yield Problem(("training", *problem.path), problem.value, problem.message)
            elif problem.path[0] not in wrong:
                yield problem


SHARED = frozenset(PipelineConfig.model_fields) & frozenset(TrainConfig.model_fields)
"""Entries of the training config that are parameters of the pipeline, and so may not be given twice."""


class ModelConfig(PipelineConfig):
    """What a pipeline is told that makes one model, judges it on a test split and registers it."""

    val_ratio: float = Field(default=0.2, ge=0, lt=1)
    test_ratio: float = Field(default=0.2, ge=0, lt=1)
    floors: dict[str, float] = Field(default_factory=lambda: {"macro_f1": 0.8})
    split_options: dict[str, Any] = Field(default_factory=dict)

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below the fields, that of the split and the floors too."""
        yield from super().problems(wrong)
        yield from problems_of(SplitOptions, self.split_options, ("split_options",))
        yield from _floors(self.floors, self.label_space)
        if not wrong & {"val_ratio", "test_ratio"} and self.val_ratio + self.test_ratio >= 1:
            yield Problem(("test_ratio",), self.test_ratio, "val_ratio and test_ratio leave nothing to train on")


class ClassificationConfig(ModelConfig):
    """The parameters of the classification pipeline."""

    pipeline: Literal["classification"] = "classification"


class CrossValidationConfig(PipelineConfig):
    """The parameters of the cross-validation pipeline."""

    pipeline: Literal["cross_validation"] = "cross_validation"
    folds: int = Field(default=5, ge=2)
    k_index: int = Field(default=-1, ge=-1)

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below the fields and between them."""
        yield from super().problems(wrong)
        if self.k_index >= self.folds and not wrong & {"folds", "k_index"}:
            last = self.folds - 1
            yield Problem(("k_index",), self.k_index, f"there are {self.folds} folds, 0 to {last}, or -1 for all")
        if self.folds == 2 and self.checkpoint != "last" and "folds" not in wrong:
            message = (
                "beside the folds for test and val nothing is left: 3 or more, or checkpoint: last, which needs no val"
            )
            yield Problem(("folds",), self.folds, message)


def _curation(operations: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    for number, item in enumerate(operations):
        where = ("curation", str(number))
        if len(item) != 1:
            yield Problem(where, item, f"expected one operation and its options{known('', OPERATIONS)}")
            continue
        ((name, options),) = item.items()
        if name not in OPERATIONS:
            yield Problem(where, name, f"unknown operation{known(name, OPERATIONS)}")
            continue
        yield from problems_of(OPERATIONS[name].options, options, (*where, name))


def _floors(floors: Mapping[str, float], space: str) -> Iterator[Problem]:
    try:
        attributes = label_space(space).attributes
    except InputError:
        return
    names = [name for name in SCALARS if name != "log_loss"]
    if len(attributes) > 1:
        names += [f"{attribute}_{metric}" for attribute in attributes for metric in ("accuracy", "macro_f1")]
    for name, floor in floors.items():
        if name not in names:
            yield Problem(("floors", name), floor, f"no metric of that name can have a floor{known(name, names)}")
        elif not 0 <= floor <= 1:
            yield Problem(("floors", name), floor, "a floor lies between 0 and 1")
