"""The detection pipeline: raw photos with boxes in, a registered face detector out."""

from typing import TYPE_CHECKING, Literal

from pipelines.parameters.detector import DetectorParameters
from pipelines.parameters.pipeline import DRAWN_GROUPS, PipelineConfig, with_default

if TYPE_CHECKING:
    from pipelines.parts.data import Configure


class FaceDetectionConfig(DetectorParameters):
    """The parameters of the detection pipeline."""

    pipeline: Literal["face_detection"] = "face_detection"
    source: str = with_default(PipelineConfig, "source", DRAWN_GROUPS)


def face_detection(p: FaceDetectionConfig, configure: "Configure") -> None:
    """Train a face detector, evaluate the exported ONNX on photos it has never seen, and register it.

    The training runs in an image of its own with ultralytics, which is under the license AGPL-3.0.
    """
    from pipelines.parts.data import prepare
    from pipelines.parts.models import promote_models, register_detector, train_detector

    data = prepare(p, configure, p.detector["detector_label_space"])
    detector = train_detector(p, configure, data)
    version = register_detector(p, configure, detector)
    candidate = {"name": p.detector_name, "version": version, "run_id": detector.run_id}
    promote_models(p, configure, detector, data, **candidate)
