"""The models at an address: one, or those of several folders."""

import re
from pathlib import PurePosixPath

from serving.runtime.composite_card import COMPOSITE_FILE
from serving.runtime.registry import MODEL_FILE
from serving.runtime.storage import Location


def find_models(address: str) -> list[str]:
    """Return the addresses of the models at an address: itself, or those of several models in a folder.

    A folder without a model of its own is one of several models: every folder in it that has a `model.onnx`, in the
    order of their numbers and names.

    Raises StorageError when the address cannot be reached.
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
    folders = [path.parts[0] for path in paths if len(path.parts) == 2 and path.name == MODEL_FILE]
    # Of an address without one `load_model` says what was expected.
    return [location.join(folder).uri for folder in sorted(folders, key=_natural)] or [address]


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(text), "") if text.isdecimal() else (-1, text) for text in re.split(r"(\d+)", path)]
