"""All that a chain of detectors needs in one folder, each of them tried."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.detect_faces.box_table import read_box_table
from components.detect_faces.config import (
    METHODS,
    OWN_BOXES,
    TRAINED,
    DlibCnn,
    DlibHog,
    Member,
    Onnx,
    Table,
    Trained,
    parse_chain,
)
from components.detect_faces.dlib_detectors import CNN_FILE, CNN_SOURCE, check_cnn_weights, import_dlib
from components.shared.chain_file import CHAIN_FILE, ChainFile, ChainMember, plain_name
from components.shared.dataset.annotations import digest
from components.shared.models.adopt import adopt, fetch_weights
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError, NoAnswerError, StorageError
from serving.runtime.load import open_model
from serving.runtime.output import whole_folder
from serving.runtime.registry import MODEL_FILE
from serving.runtime.storage import Location, download


def adopt_detectors(folder: Path, chain: Sequence[Any], trained: Path | None = None) -> dict[str, int]:
    """Write the folder with CHAIN_FILE and, for each member that has one, its model, weights or table.

    Equal members give equal bytes.

    Args:
        folder: a new or empty folder.
        chain: see `config.parse_chain`.
        trained: folder with the `model.onnx` that members of the kind `trained` are; None where there are none.

    Returns:
        Metrics: the number of `members`, and the `bytes` of all files.

    Raises:
        InputError: the chain is not valid, or has no place for `trained`; a model, weights or a table is missing, cut
            short or something else; dlib is not installed. The message names the member, what was expected and where
            it is found.
        NoAnswerError: S3 or MLflow did not answer.
    """
    members = parse_chain(chain)
    _check_trained([kind for kind, _ in members], trained)
    with whole_folder(folder) as partial:
        records: list[ChainMember] = []
        for number, (kind, options) in enumerate(members, start=1):
            try:
                record = _ADOPT[kind](_located(options, trained), partial, number)
            except NoAnswerError:
                raise
            except (InputError, StorageError) as error:
                raise InputError(f"detector {number} of the chain ({kind}): {error}") from error
            records.append(_named(record, [other.name for other in records]))
        text = ChainFile(members=tuple(records)).model_dump_json(indent=1, exclude_none=True)
        (partial / CHAIN_FILE).write_text(text, encoding="utf-8")
    return {"members": len(records), "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())}


def _check_trained(kinds: Sequence[str], trained: Path | None) -> None:
    """Raise InputError unless there is a trained detector exactly where the chain has a member for it."""
    if trained is None and TRAINED in kinds:
        raise InputError(
            f"detector {kinds.index(TRAINED) + 1} of the chain ({TRAINED}): no model was passed as trained; pass the "
            "folder with its model.onnx, or name a model by onnx"
        )
    if trained is not None and TRAINED not in kinds:
        raise InputError(f"the chain has no member '{TRAINED}' for {trained}: add it, or pass no trained model")


def _located(options: Member, trained: Path | None) -> Member:
    """Return the member with the address of its model where that is the trained one."""
    return Onnx(model=str(trained), **options.model_dump()) if isinstance(options, Trained) else options


def _named(record: ChainMember, others: Sequence[str]) -> ChainMember:
    """Return the record under a name that is neither another member's nor a method of choose_faces."""
    if record.name in METHODS and record.kind != OWN_BOXES:
        raise InputError(f"detector '{record.name}': the name says another thing in annotations; choose another name")
    names = [record.name, *(f"{record.name}-{number}" for number in range(2, len(others) + 3))]
    return record.model_copy(update={"name": next(name for name in names if name not in others)})


def _onnx(options: Member, folder: Path, number: int) -> ChainMember:
    assert isinstance(options, Onnx)
    adopted = adopt(fetch_weights(options.model), options.model, name=options.name or _name_of(options.model))
    model = open_model(adopted.content, source=options.model)
    assert isinstance(model, Detector)
    name = options.name or (model.card.name if adopted.kind == "facet" else adopted.kind)
    file = folder / f"{number}-{plain_name(name)}" / MODEL_FILE
    file.parent.mkdir()
    file.write_bytes(adopted.content)
    return ChainMember(
        name=name,
        kind="onnx",
        file=file.relative_to(folder).as_posix(),
        sha256=digest(file),
        options=options.model_dump(include={"score", "nms_iou", "tile"}, exclude_none=True),
        threshold=model.card.thresholds.score if options.score is None else options.score,
        points=model.card.points,
    )


def _name_of(address: str) -> str:
    """Return a name for a model: of a registered one that, else that of its file."""
    plain = address.removeprefix("models:/").partition("@")[0].rstrip("/")
    name = plain.split("/")[0] if address.startswith("models:/") else Path(plain).name.removesuffix(".onnx")
    return plain_name(name).strip("-.") or "onnx"


def _hog(options: Member, folder: Path, number: int) -> ChainMember:
    assert isinstance(options, DlibHog)
    import_dlib()
    rest = options.model_dump(exclude={"name"})
    return ChainMember(name=options.name or "dlib_hog", kind="dlib_hog", options=rest, threshold=options.threshold)


def _cnn(options: Member, folder: Path, number: int) -> ChainMember:
    assert isinstance(options, DlibCnn)
    import_dlib()
    file = _fetched(options.weights, folder / f"{number}-dlib_cnn" / CNN_FILE, CNN_SOURCE)
    check_cnn_weights(file, options.weights)
    rest = options.model_dump(exclude={"name", "weights"})
    return ChainMember(
        name=options.name or "dlib_cnn",
        kind="dlib_cnn",
        file=file.relative_to(folder).as_posix(),
        sha256=digest(file),
        options=rest,
        threshold=options.threshold,
    )


def _table(options: Member, folder: Path, number: int) -> ChainMember:
    assert isinstance(options, Table)
    expected = "expected a CSV table with the columns path, s_X, s_Y, e_X, e_Y, as a path or s3:// address"
    file = _fetched(options.path, folder / f"{number}-table" / "boxes.csv", expected)
    try:
        if not any(read_box_table(str(file)).values()):
            raise InputError(f"{file}: has no box")
    except InputError as error:
        raise InputError(f"{str(error).replace(str(file), options.path)}; {expected}") from error
    name = options.name or "table"
    return ChainMember(name=name, kind="table", file=file.relative_to(folder).as_posix(), sha256=digest(file))


def _own(options: Member, folder: Path, number: int) -> ChainMember:
    return ChainMember(name=OWN_BOXES, kind="annotations")


_ADOPT: Mapping[str, Callable[[Member, Path, int], ChainMember]] = {
    "onnx": _onnx,
    TRAINED: _onnx,
    "dlib_hog": _hog,
    "dlib_cnn": _cnn,
    "table": _table,
    OWN_BOXES: _own,
}
"""Kind of a member -> what puts its files into the folder, under its number, tries it and returns its record."""


def _fetched(address: str, file: Path, expected: str) -> Path:
    """Copy one file from a path or S3. Raises InputError, with what was expected, when there is none."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if Location(address).name == "":
                raise InputError(f"'{address}' names no file")
            copies = download(address, Path(scratch))
            if len(copies) != 1:
                raise InputError(f"{address}: holds {len(copies)} files")
            file.parent.mkdir(parents=True)
            shutil.copyfile(copies[0], file)
    except NoAnswerError:
        raise
    except (InputError, StorageError) as error:
        raise InputError(f"{error}; {expected}") from error
    return file
