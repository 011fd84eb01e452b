"""The folder of adopt_detectors: a list of the detectors of a chain, beside their models, weights and tables."""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from components.shared.dataset.annotations import digest
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.validation import Frozen, explain

CHAIN_FILE = "chain.json"

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.-]+")


def plain_name(name: str) -> str:
    """Return a name for a folder or a registry: letters, digits, `_`, `.` and `-`."""
    return _NOT_PLAIN.sub("-", name)


def _below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if ".." in parts or PurePosixPath(path).is_absolute() or "\0" in path:
        raise ValueError(f"'{path}' is not a path below the folder of {CHAIN_FILE}")
    return path


class ChainMember(Frozen):
    """A member of a chain in its folder.

    Attributes:
        name: what it is recorded as; no two members have the same.
        kind: of the detector, or of what takes its place.
        file: its model, weights or table below the folder; empty for none. `sha256` is that of the file.
        options: its options without name and address.
        threshold: the lowest score of a face; None where it has none.
        points: the names of its keypoints.
    """

    name: str = Field(min_length=1)
    kind: Literal["onnx", "dlib_hog", "dlib_cnn", "table", "annotations"]
    file: Annotated[str, AfterValidator(_below)] = ""
    sha256: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    threshold: float | None = None
    points: tuple[str, ...] = ()


class ChainFile(Frozen):
    """The content of CHAIN_FILE."""

    version: Literal[1] = 1
    members: tuple[ChainMember, ...] = Field(min_length=1)


def read_chain(folder: Path) -> ChainFile:
    """Read what adopt_detectors wrote.

    Raises NotFoundError when there is no such file, InputError when it is none of adopt_detectors, or a model, weights
    or a table in the folder is missing or has changed.
    """
    path = folder / CHAIN_FILE
    try:
        chain = ChainFile.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFoundError(f"{path}: no such file; expected the folder that adopt_detectors writes") from error
    except ValidationError as error:
        raise InputError(
            f"{path}: not a chain of detectors: {explain(error)}; write it with adopt_detectors"
        ) from error
    for member in chain.members:
        file = folder / member.file
        if member.file and (not file.is_file() or digest(file) != member.sha256):
            raise InputError(f"{file}: missing, or not the file that adopt_detectors wrote; run it again")
    return chain
