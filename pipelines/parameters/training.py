"""The parameters of pipelines that train a classifier."""

from collections.abc import Iterator, Set
from typing import Any

from pydantic import Field

from components.train_classifier.config.training import TrainConfig
from pipelines.parameters.model import ModelParameters
from serving.runtime.validation import Problem, problems_of

_TRAIN = TrainConfig(label_space="mask_gender_age")


class TrainingParameters(ModelParameters):
    """Of pipelines that train a classifier: its main options as parameters, all others in `training`."""

    model: str = Field(
        default=_TRAIN.model,
        description="The network: a torchvision classifier, small_resnet, base, gabor_ensemble or poster_v2, "
        "package.module:name, or a recipe of an earlier project such as EfficientNetB3MSD.",
    )
    epochs: int = Field(default=_TRAIN.epochs, description="Passes over the training faces, in a search of each trial.")
    batch_size: int = Field(default=_TRAIN.batch_size, description="Faces in a training step.")
    learning_rate: float = Field(default=_TRAIN.learning_rate, description="Peak of the learning rate.")
    image_height: int = Field(default=_TRAIN.image_height, description="Height of the network's input in pixels.")
    image_width: int = Field(default=_TRAIN.image_width, description="Width of the network's input in pixels.")
    training: dict[str, Any] = Field(
        default_factory=dict,
        description="Further options of the training, such as scheduler, ema_decay or augmentation. The trials of a "
        "search override them, and the parameters above.",
    )

    def training_arguments(self) -> dict[str, Any]:
        """The arguments of the training step that are parameters of the pipeline."""
        return {name: getattr(self, name) for name in (*sorted(SHARED), "training")}

    def problems(self, wrong: Set[str]) -> Iterator[Problem]:
        """What is wrong below and between the fields, those of the training too."""
        yield from super().problems(wrong)
        for name in sorted(SHARED & set(self.training)):
            yield Problem(("training", name), self.training[name], f"is a parameter of its own: write it as {name}")
        options = {**self.training, **{name: getattr(self, name) for name in SHARED}}
        for problem in problems_of(TrainConfig, options, hidden=SHARED):
            if problem.path[0] not in SHARED:
                yield Problem(("training", *problem.path), problem.value, problem.message)
            elif problem.path[0] not in wrong:
                yield problem


SHARED = frozenset(TrainingParameters.model_fields) & frozenset(TrainConfig.model_fields)
"""Options of the training that are parameters of the pipeline, and so may not be in `training` too."""
