"""The classification pipeline: raw face photos in, a registered model out."""

from typing import TYPE_CHECKING, Literal

from pipelines.parameters.model import PublishParameters, TrainingParameters

if TYPE_CHECKING:
    from pipelines.parts import Configure


class ClassificationConfig(TrainingParameters, PublishParameters):
    """The parameters of the classification pipeline."""

    pipeline: Literal["classification"] = "classification"


def classification(p: ClassificationConfig, configure: "Configure") -> None:
    """Train a face classifier, evaluate the exported ONNX on people it has never seen, and register it."""
    from components.train_classifier.component import train_classifier
    from pipelines.parts import prepare, publish

    images, annotations = prepare(p, configure)
    training = train_classifier(images=images, annotations=annotations, **p.training_arguments())
    publish(p, configure, configure(training, "Train"), images, annotations)
