"""The pipelines and the steps by name. A config's `pipeline` names one of the pipelines.

Kubeflow Pipelines takes long to import: the graphs import it when they are called, and the components of the steps are
import paths.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pipelines.batch_prediction import batch_prediction
from pipelines.classification import ClassificationConfig, ClassificationFacesConfig, classification
from pipelines.cross_validation import cross_validation
from pipelines.emotion import EmotionConfig, EmotionYoloConfig, emotion, emotion_yolo
from pipelines.face_detection import FaceDetectionConfig, face_detection
from pipelines.face_landmarks import FaceLandmarksConfig, face_landmarks
from pipelines.parameters.batch_prediction import BatchPredictionConfig
from pipelines.parameters.cross_validation import CrossValidationConfig, CrossValidationFacesConfig
from pipelines.parameters.pipeline import PipelineConfig
from pipelines.parameters.search import SearchConfig, SearchFacesConfig
from pipelines.search import search

REPORT = "report.html"
DATA_REPORT = "data.html"
LEADERBOARD = "leaderboard.html"
FACES_REPORT = "faces.html"
DETECTOR_REPORT = "detector.html"
CALIBRATION_REPORT = "calibration.html"
PROMOTION_REPORT = "promotion.html"
QUANTIZE_REPORT = "quantization.html"
QUANTIZED_REPORT = "report_quantized.html"
QUANTIZED_PROMOTION_REPORT = "promotion_quantized.html"


@dataclass(frozen=True, slots=True)
class Published:
    """A model that a pipeline evaluates, registers, and may make the champion.

    Attributes:
        name: the parameter with its name.
        floors: the parameter with its floors.
        number: which of the tasks of evaluate and of register are its own, counted from 1.
        promote: the task that decides about it, alone or with what it is served with.
        page: file name of the report of its evaluation.
        quantized: whether it is the version in another precision, with which its name ends.
    """

    name: str
    floors: str
    number: int = 1
    promote: str = "promote"
    page: str = REPORT
    quantized: bool = False

    def task(self, step: str) -> str:
        """The name of its task of a step."""
        return step if self.number == 1 else f"{step}-{self.number}"

    def title(self, values: Mapping[str, Any]) -> str:
        """Its name, of the values of a config."""
        return f"{values[self.name]}_{values['precision']}" if self.quantized else str(values[self.name])


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline.

    Attributes:
        config: its parameters.
        graph: makes its tasks, from the parameters and `resources.configure` for them; its docstring is the
            pipeline's description.
        mlflow_task: the task whose output `run_id` is the MLflow run of the whole pipeline; empty for none.
        first: what it does before the graph's own docstring; empty for nothing.
        detector_task: as `mlflow_task`, of the detector that is trained before the classifier; empty for none.
        models: those that it evaluates and registers, in the order of the tasks.
        exported: where the model is in the folder of a run or of a fold, task and output: the first that is there.
        checkpoints: likewise, the checkpoints that it is exported from; empty for none that can be chosen.
    """

    config: type[PipelineConfig]
    graph: Callable[[Any, Any], None]
    mlflow_task: str = ""
    first: str = ""
    detector_task: str = ""
    models: tuple[Published, ...] = ()
    exported: tuple[str, ...] = ()
    checkpoints: str = ""

    @property
    def pages(self) -> dict[str, str]:
        """File names of the reports of tasks that are not the only one of their step."""
        decisions = {model.promote: QUANTIZED_PROMOTION_REPORT for model in self.models if model.quantized}
        return {model.task("evaluate"): model.page for model in self.models} | decisions

    def build(self, configure: Callable[..., Any]) -> Any:
        """The pipeline for KFP's compiler, which reads name, signature and docstring of a function.

        Args:
            configure: `resources.configure` for a site.
        """
        from kfp import dsl

        parameters = self.config.parameters()

        def pipeline(*values: Any) -> None:
            # KFP calls the function once, with a placeholder for every parameter.
            p = self.config.of_placeholders(dict(zip(parameters, values, strict=True)))
            self.graph(p, partial(configure, gpus=p.gpus, storage_secret=p.storage_secret))

        name = self.config.model_fields["pipeline"].default
        described = (f"    {name}: {text}" for name, text in self.config.descriptions().items())
        pipeline.__name__ = name
        pipeline.__doc__ = "\n".join([f"{self.first}{inspect.getdoc(self.graph)}", "", "Args:", *described])
        pipeline.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        return dsl.pipeline(name=name.replace("_", "-"))(pipeline)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of pipelines, which is a command of `facet step` too.

    Attributes:
        component: import path of its KFP component.
        resources: an entry of `resources.TASKS`: what its tasks get on a cluster.
        page: file name of its report, beside the tasks in the folder of a local run; empty for none.
        variables: environment variables that artifacts and text parameters default to in `facet step`, each with a name
            below the folder in it, "" for the folder itself; predecessors of this project read them.
        beside: output artifacts that default, in `facet step`, to a path beside another one's: its name without the
            suffix and what follows here.
        output: what the output `Output` is, for people: KFP's local runner needs that name.
    """

    component: str
    resources: str
    page: str = ""
    output: str = "Output"
    variables: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    beside: Mapping[str, tuple[str, str]] = field(default_factory=dict)


DEFAULT = "classification"
_FACES = "Find the faces in raw photos. "
_MODEL = Published("model_name", "floors")
_DETECTOR = Published("detector_name", "detector_floors")
_QUANTIZED = replace(_MODEL, number=2, promote="promote-2", page=QUANTIZED_REPORT, quantized=True)
_CALIBRATED, _EXPORTED = "calibrate/calibrated", "export-onnx/model"
_TRAINED: dict[str, Any] = {
    "exported": (_CALIBRATED, _EXPORTED),
    "checkpoints": "train-classifier/checkpoints",
}
_CLASSIFIER: dict[str, Any] = {"models": (_MODEL, _QUANTIZED), **_TRAINED}
_SEARCHED = _CLASSIFIER | {"checkpoints": "train-classifier-6/checkpoints"}
_FOLDS = _TRAINED | {"exported": (_EXPORTED,)}
_DETECTOR_TOO: dict[str, Any] = {
    "detector_task": "train-yolo",
    "models": (replace(_DETECTOR, page=DETECTOR_REPORT), replace(_MODEL, number=2), replace(_QUANTIZED, number=3)),
}
PIPELINES: Mapping[str, Pipeline] = {
    "classification": Pipeline(ClassificationConfig, classification, "train-classifier", **_CLASSIFIER),
    "cross_validation": Pipeline(CrossValidationConfig, cross_validation, "evaluate-folds", **_FOLDS),
    "search": Pipeline(SearchConfig, search, "leaderboard", **_SEARCHED),
    "batch_prediction": Pipeline(BatchPredictionConfig, batch_prediction),
    "face_landmarks": Pipeline(FaceLandmarksConfig, face_landmarks),
    "face_detection": Pipeline(
        FaceDetectionConfig, face_detection, "train-yolo", models=(_DETECTOR,), exported=("train-yolo/exported",)
    ),
    "emotion": Pipeline(EmotionConfig, emotion, "train-classifier", **_DETECTOR_TOO, **_TRAINED),
    "classification_faces": Pipeline(
        ClassificationFacesConfig, classification, "train-classifier", _FACES, **_CLASSIFIER
    ),
    "cross_validation_faces": Pipeline(
        CrossValidationFacesConfig, cross_validation, "evaluate-folds", _FACES, **_FOLDS
    ),
    "search_faces": Pipeline(SearchFacesConfig, search, "leaderboard", _FACES, **_SEARCHED),
    "emotion_yolo": Pipeline(
        EmotionYoloConfig,
        emotion_yolo,
        "train-yolo-2",
        **_DETECTOR_TOO,
        exported=(_CALIBRATED, "train-yolo-2/exported"),
    ),
}
WITH_FACES: Mapping[str, str] = {name: f"{name}_faces" for name in PIPELINES if f"{name}_faces" in PIPELINES}
"""Name of a pipeline -> name of the one that finds the faces first, which a config with `faces` means."""
WITH_YOLO: Mapping[str, str] = {"emotion": "emotion_yolo"}
"""Name of a pipeline -> name of the one whose classifier is trained with ultralytics, which a config with such a
`model` means."""
NAMES = tuple(name for name in PIPELINES if name not in {*WITH_FACES.values(), *WITH_YOLO.values()})
"""The names that a config uses."""
STEPS: Mapping[str, Step] = {
    "ingest": Step("components.ingest.component:ingest", "ingest", variables={"source": ("SM_CHANNEL_TRAIN", "")}),
    "curate": Step("components.curate.component:curate", "curate"),
    "split": Step("components.split.component:split", "split"),
    "split_folds": Step("components.split.component:split_folds", "split", output="folds to evaluate"),
    "take_fold": Step("components.split.component:take_fold", "split"),
    "data_report": Step("components.data_report.component:data_report", "data_report", DATA_REPORT),
    "crop_faces": Step("components.crop_faces.component:crop_faces", "predict"),
    "adopt_detectors": Step("components.detect_faces.component:adopt_detectors", "register"),
    "detection_shards": Step("components.detect_faces.component:detection_shards", "split", output="shards"),
    "detect_faces": Step("components.detect_faces.component:detect_faces", "predict"),
    "choose_faces": Step("components.detect_faces.component:choose_faces", "data_report", FACES_REPORT),
    "draw_faces": Step("components.detect_faces.component:draw_faces", "data_report"),
    "export_dataset": Step("components.export_dataset.component:export_dataset", "data_report"),
    "landmarks": Step("components.landmarks.component:landmarks", "landmarks"),
    "suggest": Step("components.search.component:suggest", "evaluate", output="trials"),
    "train_classifier": Step("components.train_classifier.component:train_classifier", "train"),
    "train_yolo": Step("components.train_yolo.component:train_yolo", "train"),
    "leaderboard": Step("components.search.component:leaderboard", "evaluate", LEADERBOARD),
    "export_yolo": Step("components.train_yolo.component:export_yolo", "export"),
    "export_onnx": Step("components.export_onnx.component:export_onnx", "export"),
    "combine_models": Step("components.combine_models.component:combine_models", "register"),
    "quantize": Step("components.quantize.component:quantize", "quantize", QUANTIZE_REPORT, output="macro F1 is kept"),
    "adopt_detector": Step("components.export_onnx.component:adopt_detector", "register"),
    "predict": Step(
        "components.predict.component:predict",
        "predict",
        variables={
            "model": ("SM_CHANNEL_MODEL", ""),
            "images": ("SM_CHANNEL_EVAL", ""),
            "predictions": ("SM_OUTPUT_DATA_DIR", "predictions.csv"),
        },
    ),
    "resolve_models": Step("components.predict.component:resolve_models", "register", output="models"),
    "predict_shard": Step("components.predict.component:predict_shard", "predict_shard"),
    "gather_predictions": Step("components.predict.component:gather_predictions", "data_report"),
    "calibrate": Step("components.calibrate.component:calibrate", "evaluate", CALIBRATION_REPORT),
    "evaluate": Step(
        "components.evaluate.component:evaluate",
        "evaluate",
        REPORT,
        output="all floors hold",
        variables={
            "predictions": ("SM_OUTPUT_DATA_DIR", "predictions.csv"),
            "annotations": ("SM_GROUND_TRUTH_DIR", "gt.csv"),
            "report": ("SM_OUTPUT_DATA_DIR", REPORT),
            "details": ("SM_OUTPUT_DATA_DIR", "details"),
        },
        beside={"details": ("report", "_details")},
    ),
    "vote": Step("components.vote.component:vote", "evaluate"),
    "evaluate_folds": Step("components.evaluate.component:evaluate_folds", "evaluate", REPORT),
    "annotate_video": Step("components.video.component:annotate_video", "ingest", output="every frame could be read"),
    "register": Step("components.register.component:register", "register"),
    "promote": Step("components.promote.component:promote", "promote", PROMOTION_REPORT),
}


def documented() -> Iterator[tuple[str, str, str]]:
    """Name, default and description of the keys of all configs; those that not all pipelines have say which have."""
    fields = {name: PIPELINES[WITH_FACES.get(name, name)].config.model_fields for name in NAMES}
    for name in dict.fromkeys(name for own in fields.values() for name in own if name != "pipeline"):
        having = [key for key, own in fields.items() if name in own]
        only = "" if len(having) == len(fields) else f" ({', '.join(having)})"
        field = fields[having[0]][name]
        default = field.get_default(call_default_factory=True)
        text = default if isinstance(default, str) else json.dumps(default)
        yield name, "" if default in ({}, []) else text, f"{field.description}{only}"
