"""The models of a run folder, and the photos that it held out."""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.text import some
from components.shared.prediction.photo_set import PhotoSet, photo_set_of
from pipelines.catalog import Pipeline
from pipelines.local.kfp_loops import task_folders
from pipelines.local.run_folder import CONFIG, OUTPUTS, pipeline_of, read_settings
from serving.runtime.errors import InputError
from serving.runtime.registry import MODEL_FILE

_FOLD = re.compile(r"fold=(\d+)")
_STATES = "states"
_ANNOTATIONS = ("choose-faces/detected_annotations", "split/split_annotations")
"""Where the annotations that were split are: the first of these that say so, since a split may come before or after
the choice of the faces."""
_TEST = "test"
_DIGITS = 12
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Photos that a model has not seen in its training.

    Attributes:
        model: its address.
        photos: the photos and their faces.
    """

    model: str
    photos: PhotoSet


def models_of_run(folder: Path, state: str = "") -> list[str]:
    """Return the addresses of the models of a run: its own, or those of all folds in their order.

    Args:
        folder: of the run.
        state: the name of a checkpoint, such as `best` or `last`, which is exported into the folder `states` of the
            run; "" for the model that the run has exported.

    Raises:
        InputError: there is no model, or no checkpoint of that name; the message says what is there.
    """
    tasks, pipeline = _tasks(folder), pipeline_of(folder)
    places = _folds(tasks) or [tasks]
    if state:
        return [_of_state(folder, place, pipeline, state) for place in places]
    return [str(_model(place, folder, pipeline)) for place in places]


def held_out(folder: Path, models: Sequence[str]) -> list[HeldOut]:
    """Return the test split of a run for its model; of a cross-validation for each model the fold that was held out.

    Raises InputError when the run has no data or no test split.
    """
    tasks = _tasks(folder)
    images = tasks / "ingest" / "images"
    if not images.is_dir():
        raise InputError(f"{folder}: holds no data of its own ({images} is missing); name a SOURCE to predict")
    archive = ImageArchive(images)
    folds = _folds(tasks)
    if not folds:
        return [HeldOut(models[0], _test_split(tasks, folder, archive))]
    annotations = [fold / "take-fold" / "fold_annotations" for fold in folds]
    return [
        HeldOut(model, photo_set_of(archive, read_annotations(path), _TEST))
        for model, path in zip(models, annotations, strict=True)
    ]


def _test_split(tasks: Path, folder: Path, archive: ImageArchive) -> PhotoSet:
    for path in _ANNOTATIONS:
        if (tasks / path).is_file():
            data = read_annotations(tasks / path)
            if data.info.split is not None:
                return photo_set_of(archive, data, _TEST)
    raise InputError(f"{folder}: has no annotations that were split ({' or '.join(_ANNOTATIONS)}); name a SOURCE")


def _tasks(folder: Path) -> Path:
    """Return the folder with the tasks: of a run that was killed one below its own, the last one."""
    if any(_FOLD.match(path.name) or (path / OUTPUTS).exists() for path in folder.iterdir()):
        return folder
    inner = sorted(path.parent for path in folder.glob("*/ingest"))
    return inner[-1] if inner else folder


def _folds(tasks: Path) -> list[Path]:
    folds = [(int(match[1]), path) for path in tasks.iterdir() if (match := _FOLD.match(path.name))]
    return [path for _, path in sorted(folds)]


def _model(place: Path, folder: Path, pipeline: Pipeline) -> Path:
    for path in pipeline.exported:
        if (place / path / MODEL_FILE).is_file():
            if path != pipeline.exported[0]:
                _log.warning("%s: %s is missing; the model is %s", place, pipeline.exported[0], path)
            return place / path
    where = f"{folder}: {place.name} has" if place != folder else f"{folder}: has"
    expected = " or ".join(pipeline.exported) or "any task: its pipeline trains none"
    raise InputError(f"{where} no model in {expected}; there is {some(list(_there(place))) or 'nothing'}")


def _there(place: Path) -> Iterator[str]:
    for task in task_folders(place):
        yield task.relative_to(place).as_posix()


def _of_state(folder: Path, place: Path, pipeline: Pipeline, state: str) -> str:
    """Return the address of a model that is exported from a checkpoint, once for each content of it."""
    from components.export_onnx.export import export
    from components.shared.models.checkpoint import find_checkpoint

    checkpoints = place / pipeline.checkpoints
    if not pipeline.checkpoints or not checkpoints.is_dir():
        raise InputError(
            f"{place}: has no checkpoints of a classifier ({pipeline.checkpoints or 'none in its pipeline'}); leave "
            "--state out"
        )
    with find_checkpoint(checkpoints, state).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
    output = folder / _STATES / ("" if place == folder else place.name) / f"{state}-{digest}"
    if not (output / MODEL_FILE).is_file():
        name = str(read_settings(folder / CONFIG).get("model_name") or folder.name)
        export(checkpoints, output, checkpoint=state, name=name)
    return str(output)
