"""The models at an address: one, those of several folders, or those of the folds of a run."""

import re
from collections.abc import Set
from pathlib import PurePosixPath

from serving.runtime.composite_card import COMPOSITE_FILE
from serving.runtime.errors import InputError
from serving.runtime.registry import MODEL_FILE
from serving.runtime.storage import Location

_FOLD = re.compile(r"fold=\d+")
_FOLD_MODELS = ("calibrate/calibrated", "export-onnx/model", "export-yolo/exported", "train-yolo/exported")
"""Where the model of a fold is in the folder of a run: the first of these that is there."""


def find_models(address: str) -> list[str]:
    """Return the addresses of the models at an address: itself, or those of the folds below a folder.

    A folder without a model of its own is one of several models: every folder in it that has a `model.onnx`, or, of a
    run with folds, the model of each folder `fold=...`. They come in the order of their numbers and names.

    Raises:
        InputError: a fold has no model.
        StorageError: the address cannot be reached.
    """
    if address.startswith("models:"):
        return [address]
    location = Location(address)
    paths = [PurePosixPath(entry.path) for entry in location.list()]
    own = [
        path for path in paths if (len(path.parts) < 2 and path.suffix in ("", ".onnx")) or str(path) == COMPOSITE_FILE
    ]
    if any(not path.parts or path.suffix == ".onnx" or str(path) == COMPOSITE_FILE for path in own):
        return [address]
    folders = {str(path.parent) for path in paths if path.name == MODEL_FILE}
    folds = {path.parts[0] for path in paths if path.parts and _FOLD.fullmatch(path.parts[0])}
    if folds:
        chosen = [_model_of_fold(address, fold, folders) for fold in folds]
    else:
        chosen = [folder for folder in folders if "/" not in folder]
    if not chosen:
        return [address]  # of which `load_model` says what was expected
    return [location.join(folder).uri for folder in sorted(chosen, key=_natural)]


def _model_of_fold(address: str, fold: str, folders: Set[str]) -> str:
    for inner in ("", *_FOLD_MODELS):
        folder = str(PurePosixPath(fold, inner))
        if folder in folders:
            return folder
    raise InputError(
        f"{address}: {fold} has no model in {', '.join(_FOLD_MODELS)}; wait for its training, or run again"
    )


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(text), "") if text.isdecimal() else (-1, text) for text in re.split(r"(\d+)", path)]
