"""The folder of adopt_detectors: a list of the detectors of a chain, beside their models, weights and tables."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from components.detect_faces.config import MEMBERS
from components.shared.dataset.annotations import digest
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.validation import Frozen, explain

CHAIN_FILE = "chain.json"


class ChainMember(Frozen):
    """A member of a chain in its folder.

    Attributes:
        name: what it is recorded as; no two members have the same.
        kind: a key of `config.MEMBERS`.
        file: its model, weights or table below the folder; empty for none. `sha256` is that of the file.
        options: its options without name and address.
        threshold: the lowest score of a face; None where it has none.
        points: the names of its keypoints.
    """

    name: str = Field(min_length=1)
    kind: str
    file: str = ""
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
        if member.kind not in MEMBERS:
            raise InputError(f"{path}: this version knows no detector of the kind '{member.kind}'")
        if member.file and (not file.is_file() or digest(file) != member.sha256):
            raise InputError(f"{file}: missing, or not the file that adopt_detectors wrote; run it again")
    return chain
