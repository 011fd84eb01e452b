"""Parts that pipelines have in common: tasks, made when a function is called inside a pipeline."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.curate.component import curate
from components.data_report.component import data_report
from components.evaluate.component import evaluate
from components.export_onnx.component import export_onnx
from components.ingest.component import ingest
from components.predict.component import predict
from components.register.component import promote, register
from components.split.component import split

Equip = Callable[[dsl.PipelineTask, str, str], dsl.PipelineTask]
"""`resources.equip` for one site: task, kind, title."""


def read_photos(
    equip: Equip,
    *,
    source: Any,
    format: Any,  # noqa: A002
    ingest_options: Any,
    source_digest: Any,
    curation: Any,
) -> tuple[Any, Any]:
    """Makes raw photos a data set; gives the images and the curated annotations."""
    ingested = equip(
        ingest(source=source, format=format, options=ingest_options, source_digest=source_digest),
        "ingest",
        "Read the raw photos",
    ).set_caching_options(False)

    curated = equip(
        curate(annotations=ingested.outputs["annotations"], operations=curation),
        "curate",
        "Curate the annotations",
    )
    return ingested.outputs["images"], curated.outputs["curated_annotations"]


def prepare(
    equip: Equip,
    *,
    source: Any,
    format: Any,  # noqa: A002
    ingest_options: Any,
    source_digest: Any,
    curation: Any,
    label_space: Any,
    val_ratio: Any,
    test_ratio: Any,
    seed: Any,
    split_options: Any,
) -> tuple[Any, Any]:
    """Makes raw photos a data set that is split, and reports on it; gives the images and the annotations."""
    images, annotations = read_photos(
        equip,
        source=source,
        format=format,
        ingest_options=ingest_options,
        source_digest=source_digest,
        curation=curation,
    )

    divided = equip(
        split(
            annotations=annotations,
            label_space=label_space,
            val_ratio=val_ratio,
            test_ratio=test_ratio,
            seed=seed,
            options=split_options,
        ),
        "split",
        "Split by person",
    )
    annotations = divided.outputs["split_annotations"]

    equip(
        data_report(images=images, annotations=annotations, label_space=label_space),
        "data_report",
        "Report on the data",
    )
    return images, annotations


def publish(
    equip: Equip,
    *,
    trained: dsl.PipelineTask,
    images: Any,
    annotations: Any,
    model_name: Any,
    checkpoint: Any,
    floors: Any,
) -> None:
    """Exports what was trained, judges it on the test split, and registers it; the champion must hold the floors."""
    run_id = trained.outputs["run_id"]

    exported = equip(
        export_onnx(checkpoints=trained.outputs["checkpoints"], name=model_name, checkpoint=checkpoint),
        "export",
        "Export to ONNX",
    )

    predicted = equip(
        predict(model=exported.outputs["model"], images=images, annotations=annotations),
        "predict",
        "Predict the test faces",
    )

    judged = equip(
        evaluate(predictions=predicted.outputs["predictions"], annotations=annotations, floors=floors, run_id=run_id),
        "evaluate",
        "Evaluate",
    )

    registered = equip(
        register(
            model=exported.outputs["model"],
            name=model_name,
            metrics_json=judged.outputs["metrics_json"],
            run_id=run_id,
        ),
        "register",
        "Register as candidate",
    ).set_caching_options(False)

    # Whether all floors hold: KFP's local runner finds only an output of this name in a condition.
    with dsl.If(judged.outputs["Output"] == True, name="floors-hold"):  # noqa: E712
        equip(
            promote(name=model_name, version=registered.outputs["version"]),
            "promote",
            "Promote to champion",
        ).set_caching_options(False)
