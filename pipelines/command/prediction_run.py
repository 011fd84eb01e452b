"""The models of a run folder, and the photos that it held out."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.text import some
from components.shared.prediction.photo_set import PhotoSet, photo_set_of
from pipelines.local.kfp_loops import task_folders
from pipelines.local.run_folder import CONFIG
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.registry import MODEL_FILE

_FOLD = re.compile(r"fold=(\d+)")
_MODELS = (
    "calibrate/calibrated",
    "export-onnx/model",
    "export-yolo/exported",
    "train-yolo-2/exported",
    "train-yolo/exported",
)
"""Where the model of a run is: the first of these that is there."""
_CHECKPOINTS = "train-classifier/checkpoints"
_STATES = "states"
_ANNOTATIONS = ("choose-faces/detected_annotations", "split/split_annotations")
"""Where the annotations with the splits are: the first of these that has a test split."""
_TEST = "test"
_RUNS = 20


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Photos that a model has not seen in its training.

    Attributes:
        model: its address.
        photos: the photos and their faces.
    """

    model: str
    photos: PhotoSet


def find_run(run: str, runs: Path) -> Path:
    """Return the folder of a run, which is a path or a name below `runs`, with the folders of its tasks.

    A run that was killed has them one folder below. Raises NotFoundError when there is none, naming the runs.
    """
    folder = next((path for path in (Path(run), runs / run) if run and path.is_dir()), None)
    if folder is None:
        names = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
        raise NotFoundError(f"--run {run}: no such folder; runs in {runs}: {some(names, _RUNS) or 'none'}")
    return folder


def models_of_run(folder: Path, state: str = "") -> list[str]:
    """Return the addresses of the models of a run: its own, or those of all folds in their order.

    Args:
        folder: of the run.
        state: the name of a checkpoint, such as `best` or `last`, which is exported into the folder `states` of the
            run; "" for the model that the run has exported.

    Raises:
        InputError: there is no model, or no checkpoint of that name; the message says what is there.
    """
    tasks = _tasks(folder)
    folds = _folds(tasks)
    if state:
        return [_of_state(folder, place, state) for place in folds or [tasks]]
    if not folds:
        return [str(_model(tasks, folder))]
    return [str(_model(fold, folder)) for fold in folds]


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
    present = [tasks / path for path in _ANNOTATIONS if (tasks / path).is_file()]
    if not present:
        raise InputError(f"{folder}: has no annotations ({' or '.join(_ANNOTATIONS)}); name a SOURCE to predict")
    for path in present:
        data = read_annotations(path)
        if path is present[-1] or any(image.split == _TEST for image in data.images):
            return photo_set_of(archive, data, _TEST)
    raise AssertionError("unreachable")


def _tasks(folder: Path) -> Path:
    """Return the folder with the tasks: of a run that was killed one below its own, the last one."""
    if any(_FOLD.match(path.name) or (path / "executor_output.json").exists() for path in folder.iterdir()):
        return folder
    inner = sorted(path.parent for path in folder.glob("*/ingest"))
    return inner[-1] if inner else folder


def _folds(tasks: Path) -> list[Path]:
    folds = [(int(match[1]), path) for path in tasks.iterdir() if (match := _FOLD.match(path.name))]
    return [path for _, path in sorted(folds)]


def _model(place: Path, folder: Path) -> Path:
    for path in _MODELS:
        if (place / path / MODEL_FILE).is_file():
            return place / path
    where = f"{folder}: {place.name} has" if place != folder else f"{folder}: has"
    raise InputError(f"{where} no model in {', '.join(_MODELS)}; there is {some(list(_there(place))) or 'nothing'}")


def _there(place: Path) -> Iterator[str]:
    for task in task_folders(place):
        yield task.relative_to(place).as_posix()


def _of_state(folder: Path, place: Path, state: str) -> str:
    """Return the address of a model that is exported from a checkpoint, once."""
    from components.export_onnx.export import export

    checkpoints = place / _CHECKPOINTS
    if not checkpoints.is_dir():
        raise InputError(f"{place}: has no checkpoints of a classifier ({_CHECKPOINTS}); leave --state out")
    output = folder / _STATES / state if place == folder else folder / _STATES / place.name / state
    if not (output / MODEL_FILE).is_file():
        config = folder / CONFIG
        written = yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else {}
        name = str((written or {}).get("model_name") or folder.name)
        export(checkpoints, output, checkpoint=state, name=name)
    return str(output)
