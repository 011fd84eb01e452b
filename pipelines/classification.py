"""The classification pipeline: raw face photos in, a registered model out."""

from typing import TYPE_CHECKING, Literal

from pipelines.parameters.faces import CompositeParameters
from pipelines.parameters.model import TrainingParameters
from pipelines.parameters.publish import PublishParameters

if TYPE_CHECKING:
    from pipelines.parts.data import Configure


class ClassificationConfig(TrainingParameters, PublishParameters):
    """The parameters of the classification pipeline."""

    pipeline: Literal["classification", "classification_faces"] = "classification"


class ClassificationFacesConfig(CompositeParameters, ClassificationConfig):
    """The parameters of the classification pipeline that finds the faces first."""

    pipeline: Literal["classification_faces"] = "classification_faces"


def classification(p: ClassificationConfig, configure: "Configure") -> None:
    """Train a face classifier, evaluate the exported ONNX on people it has never seen, and register it."""
    from components.train_classifier.component import train_classifier
    from pipelines.parts.data import prepare
    from pipelines.parts.models import export, publish

    data = prepare(p, configure, p.label_space)
    task = train_classifier(**data.faces, annotations=data.annotations, **p.training_arguments())
    trained = configure(task, "Train")
    publish(p, configure, export(p, configure, trained), trained.outputs["run_id"], data)
