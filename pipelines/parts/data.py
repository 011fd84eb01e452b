"""Parts that pipelines share: functions that make the tasks of the data when called inside a pipeline.

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
from components.ingest.component import ingest
from components.split.component import split
from pipelines.parameters.detector import DetectorParameters
from pipelines.parameters.faces import FaceParameters
from pipelines.parameters.model import SplitParameters
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
