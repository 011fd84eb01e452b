"""The emotion pipeline: raw photos of faces in; a detector, a classifier, and both as one registered model out.

All is trained in one run on one split by person: the detector, and the classifier on the faces that it finds.
"""

from typing import TYPE_CHECKING, Literal

from pipelines.parameters.emotion import EmotionParameters
from pipelines.parameters.model import ClassifierParameters, TrainingParameters
from pipelines.parameters.pipeline import with_default
from pipelines.parameters.yolo import YoloParameters

if TYPE_CHECKING:
    from pipelines.parts.data import Configure


class EmotionConfig(EmotionParameters, TrainingParameters):
    """The parameters of the emotion pipeline whose classifier is trained with torch."""

    pipeline: Literal["emotion"] = "emotion"


class EmotionYoloConfig(EmotionParameters, YoloParameters):
    """The parameters of the emotion pipeline whose classifier is trained with ultralytics."""

    pipeline: Literal["emotion_yolo"] = "emotion_yolo"
    model: str = with_default(ClassifierParameters, "model", "yolo11n-cls.yaml")
    image_height: int = with_default(ClassifierParameters, "image_height", 224)
    image_width: int = with_default(ClassifierParameters, "image_width", 224)


def emotion(p: EmotionConfig, configure: "Configure") -> None:
    """Train a face detector, find the faces with it, train a classifier on them, and register both and their composite.

    The detector is trained in an image of its own with ultralytics, which is under the license AGPL-3.0.
    """
    from components.train_classifier.component import train_classifier
    from pipelines.parts.models import export, find_trained, publish

    data, detector = find_trained(p, configure)
    task = train_classifier(**data.faces, annotations=data.annotations, **p.training_arguments())
    trained = configure(task, "Train the classifier")
    publish(p, configure, export(p, configure, trained), trained.outputs["run_id"], data, detector)


def emotion_yolo(p: EmotionYoloConfig, configure: "Configure") -> None:
    """Train a face detector, find the faces with it, train a classifier on them, and register both and their composite.

    Detector and classifier are trained in an image of its own with ultralytics, which is under the license AGPL-3.0.
    """
    from components.train_yolo.component import train_yolo
    from pipelines.parts.models import find_trained, publish

    data, detector = find_trained(p, configure)
    task = train_yolo(**data.faces, annotations=data.annotations, **p.training_arguments())
    trained = configure(task, "Train the classifier").outputs
    publish(p, configure, trained["exported"], trained["run_id"], data, detector)
