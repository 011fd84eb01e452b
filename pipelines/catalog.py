"""The pipelines and the steps by name. A config's `pipeline` names one of the pipelines.

Kubeflow Pipelines takes long to import: the graphs import it when they are called, and the components of the steps are
import paths.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipelines.classification import ClassificationConfig, classification
from pipelines.cross_validation import CrossValidationConfig, cross_validation
from pipelines.face_landmarks import FaceLandmarksConfig, face_landmarks
from pipelines.parameters.pipeline import PipelineConfig
from pipelines.parameters.search import SearchConfig
from pipelines.search import search

REPORT = "report.html"
DATA_REPORT = "data.html"
LEADERBOARD = "leaderboard.html"
FACES_REPORT = "faces.html"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline.

    Attributes:
        config: its parameters.
        graph: makes its tasks, from the parameters and `resources.configure` for them; its docstring is the
            pipeline's description.
        mlflow_task: the task whose output `run_id` is the MLflow run of the whole pipeline; empty for none.
    """

    config: type[PipelineConfig]
    graph: Callable[[Any, Any], None]
    mlflow_task: str = ""

    def build(self, configure: Callable[..., Any]) -> Any:
        """The pipeline for KFP's compiler, which reads name, signature and docstring of a function.

        Args:
            configure: `resources.configure` for a site.
        """
        from kfp import dsl

        parameters = self.config.parameters()

        def pipeline(*values: Any) -> None:
            # KFP calls the function once, with a placeholder for every parameter.
            p = self.config.model_construct(**dict(zip(parameters, values, strict=True)))
            self.graph(p, partial(configure, gpus=p.gpus, storage_secret=p.storage_secret))

        described = (f"    {name}: {field.description}" for name, field in self.config.model_fields.items())
        pipeline.__name__ = self.graph.__name__
        pipeline.__doc__ = "\n".join([inspect.getdoc(self.graph) or "", "", "Args:", *described])
        pipeline.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        return dsl.pipeline(name=self.graph.__name__.replace("_", "-"))(pipeline)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of pipelines, which is a command of `facet step` too.

    Attributes:
        component: import path of its KFP component.
        resources: an entry of `resources.TASKS`: what its tasks get on a cluster.
        page: file name of its report, beside the tasks in the folder of a local run; empty for none.
        variables: environment variables that artifacts and text parameters default to in `facet step`, each with a name
            below the folder in it, "" for the folder itself; predecessors of this project read them.
        output: what the output `Output` is, for people: KFP's local runner needs that name.
    """

    component: str
    resources: str
    page: str = ""
    output: str = "Output"
    variables: Mapping[str, tuple[str, str]] = field(default_factory=dict)


DEFAULT = "classification"
PIPELINES: Mapping[str, Pipeline] = {
    "classification": Pipeline(ClassificationConfig, classification, mlflow_task="train-classifier"),
    "cross_validation": Pipeline(CrossValidationConfig, cross_validation, mlflow_task="evaluate-folds"),
    "search": Pipeline(SearchConfig, search, mlflow_task="leaderboard"),
    "face_landmarks": Pipeline(FaceLandmarksConfig, face_landmarks),
}
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
    "leaderboard": Step("components.search.component:leaderboard", "evaluate", LEADERBOARD),
    "export_onnx": Step("components.export_onnx.component:export_onnx", "export"),
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
    "evaluate": Step(
        "components.evaluate.component:evaluate",
        "evaluate",
        REPORT,
        output="all floors hold",
        variables={
            "predictions": ("SM_OUTPUT_DATA_DIR", "predictions.csv"),
            "annotations": ("SM_GROUND_TRUTH_DIR", "gt.csv"),
            "report": ("SM_OUTPUT_DATA_DIR", REPORT),
        },
    ),
    "evaluate_folds": Step("components.evaluate.component:evaluate_folds", "evaluate", REPORT),
    "annotate_video": Step(
        "components.video.component:annotate_video", "annotate_video", output="every frame could be read"
    ),
    "register": Step("components.register.component:register", "register"),
    "promote": Step("components.register.component:promote", "promote"),
}


def documented() -> Iterator[tuple[str, str, str]]:
    """Name, default and description of the parameters of all pipelines; those that not all have say which have."""
    for name in dict.fromkeys(name for pipeline in PIPELINES.values() for name in pipeline.config.parameters()):
        having = [key for key, pipeline in PIPELINES.items() if name in pipeline.config.model_fields]
        only = "" if len(having) == len(PIPELINES) else f" ({', '.join(having)})"
        field = PIPELINES[having[0]].config.model_fields[name]
        default = field.get_default(call_default_factory=True)
        text = default if isinstance(default, str) else json.dumps(default)
        yield name, "" if default in ({}, []) else text, f"{field.description}{only}"
