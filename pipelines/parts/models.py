"""Parts that pipelines share: functions that make the tasks of models, from the training to the champion.

`p` are the parameters of the pipeline, as in `parts.data`.
"""

from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components.calibrate.component import calibrate
from components.evaluate.component import evaluate
from components.export_onnx.component import export_onnx
from components.predict.component import predict
from components.promote.component import promote
from components.quantize.component import quantize
from components.register.component import register
from components.train_yolo.component import train_yolo
from pipelines.parameters.detector import DetectorParameters
from pipelines.parameters.emotion import EmotionParameters
from pipelines.parameters.faces import CompositeParameters
from pipelines.parameters.model import TrainingParameters
from pipelines.parameters.publish import FP32, JudgeParameters, PublishParameters
from pipelines.parts.data import Configure, Data, divide, find_faces, read_photos, report_on


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An exported model that was evaluated: outputs of tasks.

    Attributes:
        model: the model.
        annotations: those that it has predicted.
        predictions: those of the test split.
        outputs: of the step that evaluated them.
        run_id: the MLflow run of its training.
        floors: the lowest accepted values.
    """

    model: Any
    annotations: Any
    predictions: Any
    outputs: Any
    run_id: Any
    floors: Any

    @property
    def candidate(self) -> dict[str, Any]:
        """What is registered, as arguments of its step."""
        return {
            "model": self.model,
            "metrics_json": self.outputs["metrics_json"],
            "predictions": self.predictions,
            "details": self.outputs["details"],
            "run_id": self.run_id,
            "floors": self.floors,
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
    judged: dict[str, Any] = {"floors": p.detector_floors, "resamples": p.resamples, "seed": p.seed}
    return evaluate_model(configure, trained["exported"], trained["run_id"], data, **judged)


def find_trained(p: EmotionParameters, configure: Configure) -> tuple[Data, Evaluated]:
    """Reads and splits raw photos, trains a detector on them, and finds the faces with it."""
    data = divide(p, configure, read_photos(p, configure), p.label_space)
    detector = train_detector(p, configure, data, run_name="detector")
    data = find_faces(p, configure, data, trained=detector.model)
    report_on(configure, data, p.label_space)
    return data, detector


def export(p: TrainingParameters, configure: Configure, trained: dsl.PipelineTask) -> Any:
    """Exports the checkpoint of a training; returns the model."""
    task = export_onnx(
        checkpoints=trained.outputs["checkpoints"],
        name=p.model_name,
        checkpoint=p.checkpoint,
        notify_threshold=p.notify_threshold,
        features=p.features,
    )
    return configure(task, "Export to ONNX").outputs["model"]


def evaluate_model(
    configure: Configure, model: Any, run_id: Any, data: Data, *, tracked: bool = True, **options: Any
) -> Evaluated:
    """Evaluates an exported model on the test split.

    `tracked` is whether the MLflow run of the training gets the metrics, `options` are those of the step evaluate.
    """
    faces = {"images": data.images, "annotations": data.annotations, "model": model}
    predictions = configure(predict(**faces), "Predict the test faces").outputs["predictions"]
    task = evaluate(predictions=predictions, **faces, **({"run_id": run_id} if tracked else {}), **options)
    outputs = configure(task, "Evaluate").outputs
    return Evaluated(model, data.annotations, predictions, outputs, run_id, options.get("floors", {}))


def publish(
    p: PublishParameters, configure: Configure, model: Any, run_id: Any, data: Data, detector: Evaluated | None = None
) -> None:
    """Calibrates an exported classifier, evaluates and registers it, and lets it take the champion's place if better.

    Where the pipeline has trained a `detector`, that is registered too, and both become champions together, when the
    floors of both hold and neither is worse than its champion. A version in another precision is a model of its own.
    """
    calibrated = calibrate_model(p, configure, model, run_id, data)
    trained: dict[str, Any] = {}
    others: dict[str, Any] = {}
    if detector is not None:
        assert isinstance(p, DetectorParameters)
        trained = {"detector": p.detector_name, "detector_version": register_detector(p, configure, detector)}
        others = {"others_hold": detector.outputs["Output"]}
    judged: dict[str, Any] = {"floors": p.floors, "resamples": p.resamples, "seed": p.seed}
    evaluated = evaluate_model(configure, calibrated, run_id, data, **judged, **others)
    composite, chain = {}, {}
    if isinstance(p, CompositeParameters):
        composite = {"composite": p.composite}
        chain = {"detectors": data.detectors, "detect_options": p.faces["detect_options"]}
    task = register(name=p.model_name, **evaluated.candidate, **chain, **composite, **trained)
    registered = configure(task, "Register as candidate").set_caching_options(False).outputs
    if composite:
        composite["composite_version"] = registered["composite_version"]
    models = {"name": p.model_name, "version": registered["version"], "run_id": run_id, **composite, **trained}
    if detector is not None:
        models["detector_model"] = detector.model
        models["detector_predictions"] = detector.predictions
        models["detector_annotations"] = detector.annotations
    promote_models(p, configure, evaluated, data, **models)
    with dsl.If(p.precision != FP32, name="other-precision"):
        publish_quantized(p, configure, calibrated, run_id, data)


def calibrate_model(p: PublishParameters, configure: Configure, model: Any, run_id: Any, data: Data) -> Any:
    """Calibrates a classifier on the val split, which may be empty; returns the model."""
    faces = {"images": data.images, "annotations": data.annotations}
    task = predict(model=model, split="val", may_be_empty=True, **faces)
    predictions = configure(task, "Predict the val faces").outputs["predictions"]
    task = calibrate(
        model=model,
        predictions=predictions,
        annotations=data.annotations,
        temperature=p.temperature,
        false_alarm_rate=p.false_alarm_rate,
        run_id=run_id,
    )
    return configure(task, "Calibrate").outputs["calibrated"]


def publish_quantized(p: PublishParameters, configure: Configure, model: Any, run_id: Any, data: Data) -> None:
    """Makes a version of a classifier in another precision, which is evaluated, registered and promoted by itself.

    It is a champion only where it is nearly as good as the model that it was made of. The MLflow run has the metrics of
    that one.
    """
    task = quantize(
        model=model,
        images=data.images,
        annotations=data.annotations,
        precision=p.precision,
        calibration_faces=p.calibration_faces,
        max_f1_drop=p.max_f1_drop,
        seed=p.seed,
    )
    made = configure(task, "Quantize").outputs
    judged: dict[str, Any] = {"floors": p.floors, "resamples": p.resamples, "seed": p.seed}
    judged["others_hold"] = made["Output"]
    evaluated = evaluate_model(configure, made["quantized"], run_id, data, tracked=False, **judged)
    name = f"{p.model_name}_{p.precision}"
    task = register(name=name, **evaluated.candidate)
    version = configure(task, "Register as candidate").set_caching_options(False).outputs["version"]
    promote_models(p, configure, evaluated, data, name=name, version=version)


def register_detector(p: DetectorParameters, configure: Configure, detector: Evaluated) -> Any:
    """Registers a detector as candidate; returns the version."""
    task = register(name=p.detector_name, **detector.candidate)
    return configure(task, "Register the detector as candidate").set_caching_options(False).outputs["version"]


def promote_models(p: JudgeParameters, configure: Configure, evaluated: Evaluated, data: Data, **models: Any) -> None:
    """Compares a registered version with the champion, which it becomes where it is better and all floors hold.

    `models` are arguments of the step promote.
    """
    task = promote(
        model=evaluated.model,
        predictions=evaluated.predictions,
        images=data.images,
        annotations=data.annotations,
        floors_hold=evaluated.outputs["Output"],
        confidence=p.promotion_confidence,
        **models,
    )
    configure(task, "Promote to champion").set_caching_options(False)
