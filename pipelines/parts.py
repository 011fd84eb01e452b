"""Parts that pipelines share: functions that make tasks when called inside a pipeline.

`p` are the parameters of the pipeline. Inside a pipeline its fields are KFP's placeholders for the values of a run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kfp import dsl

from components.crop_faces.component import crop_faces
from components.curate.component import curate
from components.data_report.component import data_report
from components.detect_faces.component import adopt_detectors, choose_faces, detect_faces, detection_shards
from components.evaluate.component import evaluate
from components.export_onnx.component import export_onnx
from components.ingest.component import ingest
from components.predict.component import predict
from components.register.component import promote, register
from components.split.component import split
from pipelines.parameters.faces import CompositeParameters, FaceParameters
from pipelines.parameters.model import ModelParameters, PublishParameters
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
    """Reads raw photos into a data set and curates its annotations; finds the faces where `p` says how."""
    ingested = configure(
        ingest(source=p.source, format=p.format, options=p.ingest_options, source_digest=p.source_digest),
        "Read the raw photos",
    ).set_caching_options(False)
    curated = configure(
        curate(annotations=ingested.outputs["annotations"], operations=p.curation),
        "Curate the annotations",
    )
    data = Data(ingested.outputs["images"], curated.outputs["curated_annotations"])
    return find_faces(p, configure, data) if isinstance(p, FaceParameters) else data


def find_faces(p: FaceParameters, configure: Configure, data: Data) -> Data:
    """Finds the faces in the images, shard by shard, gives the annotations their boxes, and cuts the faces out."""
    task = adopt_detectors(chain=p.faces["detectors"])
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


def prepare(p: PublishParameters, configure: Configure) -> Data:
    """Reads raw photos into a data set, splits it and reports on it."""
    data = read_photos(p, configure)
    divided = configure(
        split(
            annotations=data.annotations,
            label_space=p.label_space,
            val_ratio=p.val_ratio,
            test_ratio=p.test_ratio,
            seed=p.seed,
            options=p.split_options,
        ),
        "Split by person",
    )
    annotations = divided.outputs["split_annotations"]
    task = data_report(images=data.images, annotations=annotations, label_space=p.label_space)
    configure(task, "Report on the data")
    return replace(data, annotations=annotations)


class Evaluated(NamedTuple):
    """An exported model, its predictions of the test split, and the outputs of the step that evaluated them."""

    model: Any
    predictions: Any
    outputs: Any


def evaluate_model(
    p: ModelParameters, configure: Configure, trained: dsl.PipelineTask, images: Any, annotations: Any, **options: Any
) -> Evaluated:
    """Exports what was trained and evaluates it on the test split. `options` are those of the step evaluate."""
    task = export_onnx(
        checkpoints=trained.outputs["checkpoints"],
        name=p.model_name,
        checkpoint=p.checkpoint,
        notify_threshold=p.notify_threshold,
        precision=p.precision,
        calibration_faces=p.calibration_faces,
        seed=p.seed,
        images=images,
        annotations=annotations,
    )
    exported = configure(task, "Export to ONNX")
    model = exported.outputs["model"]
    predicted = configure(predict(model=model, images=images, annotations=annotations), "Predict the test faces")
    predictions = predicted.outputs["predictions"]
    evaluated = configure(
        evaluate(predictions=predictions, annotations=annotations, run_id=trained.outputs["run_id"], **options),
        "Evaluate",
    )
    return Evaluated(model, predictions, evaluated.outputs)


def publish(p: PublishParameters, configure: Configure, trained: dsl.PipelineTask, data: Data) -> None:
    """Exports what was trained, evaluates and registers it; the champion must hold the floors."""
    evaluated = evaluate_model(p, configure, trained, data.images, data.annotations, floors=p.floors)
    composite, chain = {}, {}
    if isinstance(p, CompositeParameters):
        composite = {"composite": p.composite}
        chain = {"detectors": data.detectors, "detect_options": p.faces["detect_options"]}
    task = register(
        model=evaluated.model,
        name=p.model_name,
        metrics_json=evaluated.outputs["metrics_json"],
        predictions=evaluated.predictions,
        run_id=trained.outputs["run_id"],
        **chain,
        **composite,
    )
    registered = configure(task, "Register as candidate").set_caching_options(False).outputs
    if composite:
        composite["composite_version"] = registered["composite_version"]

    # Whether all floors hold: KFP's local runner finds only an output of this name in a condition.
    with dsl.If(evaluated.outputs["Output"] == True, name="floors-hold"):  # noqa: E712
        task = promote(name=p.model_name, version=registered["version"], **composite)
        configure(task, "Promote to champion").set_caching_options(False)
