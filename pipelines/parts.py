"""Parts that pipelines share: functions that make tasks when called inside a pipeline.

`p` are the parameters of the pipeline. Inside a pipeline its fields are KFP's placeholders for the values of a run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kfp import dsl

from components.crop_faces.component import crop_faces
from components.curate.component import curate
from components.data_report.component import data_report
from components.detect_faces.component import adopt_detectors, choose_faces, detect_faces, detection_shards
from components.evaluate.component import evaluate
from components.export_onnx.component import export_onnx
from components.ingest.component import ingest
from components.predict.component import predict
from components.promote.component import promote
from components.register.component import register
from components.split.component import split
from components.train_yolo.component import train_yolo
from pipelines.parameters.detector import DetectorParameters
from pipelines.parameters.emotion import EmotionParameters
from pipelines.parameters.faces import CompositeParameters, FaceParameters
from pipelines.parameters.model import PublishParameters, SplitParameters, TrainingParameters
from pipelines.parameters.pipeline import PipelineConfig

Configure = Callable[[dsl.PipelineTask, str], dsl.PipelineTask]
"""`resources.configure` for one site and one run: sets the title and the resources of a task and returns it."""


@dataclass(frozen=True, slots=True)
class Data:
    """A data set inside a pipeline: outputs of tasks.

    Attributes:
        images: the image archive.
        annotations: what is known about them.
        detectors: the chain that found the faces; None where they came with the photos.
        crops: the faces cut out for the training; None likewise.
    """

    images: Any
    annotations: Any
    detectors: Any = None
    crops: Any = None

    @property
    def faces(self) -> dict[str, Any]:
        """What a training reads pictures from, as arguments of its step."""
        return {"images": self.images} | ({} if self.crops is None else {"crops": self.crops})


def read_photos(p: PipelineConfig, configure: Configure) -> Data:
    """Reads raw photos into a data set and curates its annotations; finds the faces where `p` says how.

    The trained detector of a pipeline finds them after its training.
    """
    ingested = configure(
        ingest(source=p.source, format=p.format, options=p.ingest_options, source_digest=p.source_digest),
        "Read the raw photos",
    ).set_caching_options(False)
    curated = configure(
        curate(annotations=ingested.outputs["annotations"], operations=p.curation),
        "Curate the annotations",
    )
    data = Data(ingested.outputs["images"], curated.outputs["curated_annotations"])
    if isinstance(p, FaceParameters) and not isinstance(p, DetectorParameters):
        return find_faces(p, configure, data)
    return data


def find_faces(p: FaceParameters, configure: Configure, data: Data, **trained: Any) -> Data:
    """Finds the faces in the images, shard by shard, gives the annotations their boxes, and cuts the faces out.

    `trained` is the detector that the pipeline has trained, where it has, by that name.
    """
    task = adopt_detectors(chain=p.faces["detectors"], **trained)
    detectors = configure(task, "Gather the detectors").outputs["detectors"]
    data_set = {"images": data.images, "annotations": data.annotations}
    shards = {"images_per_shard": p.images_per_shard}
    numbers = configure(detection_shards(annotations=data.annotations, **shards), "Count the shards").outputs["Output"]
    with dsl.ParallelFor(numbers, name="shard") as shard:
        task = detect_faces(detectors=detectors, shard=shard, options=p.faces["detect_options"], **data_set, **shards)
        detections = configure(task, "Find faces").outputs["detections"]
    task = choose_faces(detections=dsl.Collected(detections), options=p.faces["choose_options"], **data_set)
    chosen = configure(task, "Choose faces").outputs["detected_annotations"]
    cut = {"options": p.faces["crop_options"], "enabled": p.faces["crop"]}
    crops = configure(crop_faces(images=data.images, annotations=chosen, **cut), "Cut the faces out").outputs["crops"]
    return Data(data.images, chosen, detectors, crops)


def prepare(p: SplitParameters, configure: Configure, label_space: Any) -> Data:
    """Reads raw photos into a data set, splits it and reports on it, by the classes of a label space."""
    data = divide(p, configure, read_photos(p, configure), label_space)
    report_on(configure, data, label_space)
    return data


def divide(p: SplitParameters, configure: Configure, data: Data, label_space: Any) -> Data:
    """Puts the images into train, val and test."""
    divided = configure(
        split(
            annotations=data.annotations,
            label_space=label_space,
            val_ratio=p.val_ratio,
            test_ratio=p.test_ratio,
            seed=p.seed,
            options=p.split_options,
        ),
        "Split by person",
    )
    return replace(data, annotations=divided.outputs["split_annotations"])


def report_on(configure: Configure, data: Data, label_space: Any) -> None:
    """Reports on a data set."""
    task = data_report(images=data.images, annotations=data.annotations, label_space=label_space)
    configure(task, "Report on the data")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An exported model that was evaluated: outputs of tasks.

    Attributes:
        model: the model.
        predictions: those of the test split.
        outputs: of the step that evaluated them.
        run_id: the MLflow run of its training.
    """

    model: Any
    predictions: Any
    outputs: Any
    run_id: Any

    @property
    def candidate(self) -> dict[str, Any]:
        """What is registered, as arguments of its step."""
        return {
            "model": self.model,
            "metrics_json": self.outputs["metrics_json"],
            "predictions": self.predictions,
            "run_id": self.run_id,
        }


def train_detector(p: DetectorParameters, configure: Configure, data: Data, run_name: str = "") -> Evaluated:
    """Trains a detector, exports it, and evaluates it on the test split.

    `run_name` begins the name of its MLflow run in a pipeline that trains a classifier too.
    """
    task = train_yolo(
        images=data.images,
        annotations=data.annotations,
        name=p.detector_name,
        task="detect",
        label_space=p.detector["detector_label_space"],
        model=p.detector["detector_model"],
        epochs=p.detector["detector_epochs"],
        batch=p.detector["detector_batch"],
        imgsz=p.detector["detector_imgsz"],
        seed=p.seed,
        training=p.detector["detector_options"],
        run_name=run_name,
    )
    trained = configure(task, "Train the detector").outputs
    return evaluate_model(
        configure, trained["exported"], trained["run_id"], data, floors=p.detector_floors, images=data.images
    )


def find_trained(p: EmotionParameters, configure: Configure) -> tuple[Data, Evaluated]:
    """Reads and splits raw photos, trains a detector on them, and finds the faces with it."""
    data = divide(p, configure, read_photos(p, configure), p.label_space)
    detector = train_detector(p, configure, data, run_name="detector")
    data = find_faces(p, configure, data, trained=detector.model)
    report_on(configure, data, p.label_space)
    return data, detector


def export(p: TrainingParameters, configure: Configure, trained: dsl.PipelineTask, data: Data) -> Any:
    """Exports the checkpoint of a training; returns the model."""
    task = export_onnx(
        checkpoints=trained.outputs["checkpoints"],
        name=p.model_name,
        checkpoint=p.checkpoint,
        notify_threshold=p.notify_threshold,
        precision=p.precision,
        calibration_faces=p.calibration_faces,
        seed=p.seed,
        images=data.images,
        annotations=data.annotations,
    )
    return configure(task, "Export to ONNX").outputs["model"]


def evaluate_model(configure: Configure, model: Any, run_id: Any, data: Data, **options: Any) -> Evaluated:
    """Evaluates an exported model on the test split. `options` are those of the step evaluate."""
    predicted = configure(
        predict(model=model, images=data.images, annotations=data.annotations), "Predict the test faces"
    )
    predictions = predicted.outputs["predictions"]
    task = evaluate(predictions=predictions, annotations=data.annotations, run_id=run_id, **options)
    return Evaluated(model, predictions, configure(task, "Evaluate").outputs, run_id)


def publish(
    p: PublishParameters, configure: Configure, model: Any, run_id: Any, data: Data, detector: Evaluated | None = None
) -> None:
    """Evaluates an exported classifier and registers it; the champion must hold the floors.

    Where the pipeline has trained a `detector`, that is registered too, and both become champions together, when the
    floors of both hold.
    """
    trained: dict[str, Any] = {}
    others: dict[str, Any] = {}
    if detector is not None:
        assert isinstance(p, DetectorParameters)
        trained = {"detector": p.detector_name, "detector_version": register_detector(p, configure, detector)}
        others = {"others_hold": detector.outputs["Output"]}
    evaluated = evaluate_model(configure, model, run_id, data, floors=p.floors, **others)
    composite, chain = {}, {}
    if isinstance(p, CompositeParameters):
        composite = {"composite": p.composite}
        chain = {"detectors": data.detectors, "detect_options": p.faces["detect_options"]}
    task = register(name=p.model_name, **evaluated.candidate, **chain, **composite, **trained)
    registered = configure(task, "Register as candidate").set_caching_options(False).outputs
    if composite:
        composite["composite_version"] = registered["composite_version"]
    promote_models(configure, evaluated, data, name=p.model_name, version=registered["version"], **composite, **trained)


def register_detector(p: DetectorParameters, configure: Configure, detector: Evaluated) -> Any:
    """Registers a detector as candidate; returns the version."""
    task = register(name=p.detector_name, **detector.candidate)
    return configure(task, "Register the detector as candidate").set_caching_options(False).outputs["version"]


def promote_models(configure: Configure, evaluated: Evaluated, data: Data, **models: Any) -> None:
    """Makes registered versions the champions, where all floors hold and they are better than the present ones.

    `models` are arguments of the step promote.
    """
    # Whether all floors hold: KFP's local runner finds only an output of this name in a condition.
    with dsl.If(evaluated.outputs["Output"] == True, name="floors-hold"):  # noqa: E712
        task = promote(
            model=evaluated.model,
            predictions=evaluated.predictions,
            images=data.images,
            annotations=data.annotations,
            run_id=evaluated.run_id,
            **models,
        )
        configure(task, "Promote to champion").set_caching_options(False)
