"""The leak experiment: one model under two splits of the same data, by image and by person, both scores side by side.

With a split by image, people of the test split are in training too. What the model scores more there than under the
split by person comes from recognizing them, and is lost on new people.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.curate.curate import curate
from components.evaluate.evaluate import evaluate
from components.export_onnx.export import export
from components.ingest.ingest import ingest
from components.predict.predict import predict
from components.split.split import split
from components.train_classifier.config.training import resolve_config
from components.train_classifier.train import train
from pipelines.classification import ClassificationConfig
from pipelines.environment.settings import Settings
from pipelines.local.run_folder import CONFIG, end, in_use, make_run_folder
from pipelines.parameters.addresses import check_addresses
from pipelines.parameters.faces import FaceParameters
from pipelines.parameters.pipeline import PipelineConfig
from pipelines.samples.put import SAMPLES, draw
from serving.runtime.errors import InputError

MODES = ("image", "person")
RESULT = "leak.json"


@dataclass(frozen=True, slots=True)
class Side:
    """One split: persons in both training and test, faces of the test split, and the metrics of the exported model."""

    shared_persons: int
    faces: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Leak:
    """The folder of the experiment, and its two sides by mode."""

    folder: Path
    sides: dict[str, Side]

    def lines(self) -> Iterator[str]:
        """Both sides and the gap, for people, of each metric that has a value on both."""
        image, person = (self.sides[mode] for mode in MODES)
        width = max(len(name) for name in image.metrics)
        yield f"  {'':<{width}}  {'by image':>10}  {'by person':>10}  {'gap':>8}"
        for name, value in image.metrics.items():
            if name not in person.metrics:
                continue
            other = person.metrics[name]
            yield f"  {name:<{width}}  {value:>10.4f}  {other:>10.4f}  {value - other:>+8.4f}"
        yield f"  {'persons seen':<{width}}  {image.shared_persons:>10}  {person.shared_persons:>10}"
        yield f"  {'test faces':<{width}}  {image.faces:>10}  {person.faces:>10}"
        yield "by person is what to expect for new people; the gap comes from recognized persons"


def leak_experiment(
    config: PipelineConfig, settings: Settings, *, persons: int | None = None, echo: Callable[[str], None] = print
) -> Leak:
    """Train and evaluate the config's model under both splits, and write both reports and `leak.json`.

    Args:
        config: the parameters of the classification pipeline; its split mode is not used.
        settings: where the run folders are.
        persons: number of persons in the sample data, when it must be drawn.
        echo: prints a line for the user.

    Raises:
        InputError: the config is of another pipeline, or the data do not say which images show one person.
    """
    if not isinstance(config, ClassificationConfig):
        raise InputError(
            f"pipeline '{config.pipeline}': the leak experiment takes a config of the pipeline 'classification'"
        )
    if isinstance(config, FaceParameters):
        raise InputError("faces: the leak experiment takes the faces that come with the photos; leave it out")
    check_addresses(config.addresses(), on_cluster=False, echo=echo)
    folder = make_run_folder(settings.runs, "leak")
    with in_use(folder):
        (folder / CONFIG).write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
        echo(f"run     {folder}")
        sides = _sides(config, folder, persons, echo)
        result = {name: {"metrics": one.metrics, "shared_persons": one.shared_persons} for name, one in sides.items()}
        (folder / RESULT).write_text(json.dumps(result, indent=2) + "\n")
        end(folder, succeeded=True)
    return Leak(folder, sides)


def _sides(
    config: ClassificationConfig, folder: Path, persons: int | None, echo: Callable[[str], None]
) -> dict[str, Side]:
    source = config.source
    if source in SAMPLES:
        source = str(folder / "faces")
        draw(config.source, Path(source), persons)
    images, annotations = folder / "images", folder / "annotations.json"
    report = ingest(source, images, annotations, format=config.format, options=config.ingest_options)
    if not report.counts.persons:
        raise InputError(
            f"{config.source}: the data do not say which images show one person, so there is nothing to compare"
        )
    curate(annotations, folder / "curated.json", config.curation)
    sides = {}
    for mode in MODES:
        echo(f"split by {mode}")
        sides[mode] = _side(config, mode, images, folder / "curated.json", folder / mode)
    return sides


def _side(config: ClassificationConfig, mode: str, images: Path, annotations: Path, folder: Path) -> Side:
    folder.mkdir()
    divided = split(
        annotations,
        folder / "split.json",
        label_space=config.label_space,
        val_ratio=config.val_ratio,
        test_ratio=config.test_ratio,
        seed=config.seed,
        options={"mode": mode},
    )
    parameters = config.training_arguments()
    resolved = resolve_config(parameters.pop("training"), **parameters)
    train(resolved, images, folder / "split.json", folder / "checkpoints")
    export(folder / "checkpoints", folder / "model", checkpoint=config.checkpoint, name=config.model_name)
    predict(folder / "model", images, folder / "split.json", folder / "predictions.csv")
    evaluated = evaluate(folder / "predictions.csv", folder / "split.json", folder / "report.html", floors={})
    faces = sum(divided.class_counts["test"].values())
    return Side(divided.crossing_persons, faces, dict(evaluated.metrics))
