"""MLflow's scoring protocol: `/invocations` in its four forms."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from serving.runtime.errors import InputError
from serving.server.about import server_version
from serving.server.answer import Picture
from serving.server.http.json_pictures import Boxes, PictureValue, check_count, decode, decode_request, read_picture
from serving.server.http.predict import predict_pictures
from serving.server.http.request import model_of, receive_body, state_of

_BOXES = "boxes"

Row = tuple[Raw, Raw | None]
"""A picture and the boxes of its faces, as they were sent."""


class SplitFrame(Struct, gc=False):
    """A table as pandas writes it with orient="split": one column has pictures, and `boxes` may be another."""

    columns: list[str]
    data: list[list[PictureValue]]


class InvocationsRequest(Struct, gc=False):
    """Pictures in one of MLflow's forms; in a table they are a column."""

    inputs: list[PictureValue] | dict[str, list[PictureValue]] | UnsetType = UNSET
    instances: list[PictureValue] | dict[str, list[PictureValue]] | UnsetType = UNSET
    dataframe_split: SplitFrame | UnsetType = UNSET
    dataframe_records: list[dict[str, PictureValue]] | UnsetType = UNSET
    params: dict[str, Any] = {}


async def invocations(request: Request) -> Response:
    """Answer with the faces of each picture. The model is the default one, or that of `?model=` and `version=`."""
    model = model_of(request)
    async with receive_body(request) as body:
        content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if content_type in ("text/csv", "application/vnd.apache.parquet"):
            raise InputError(f"Content-Type {content_type} is not read; send application/json")
        rows = _rows(decode_request(body, InvocationsRequest, state_of(request).limits.decode_memory))

        def read(max_memory: int | None) -> list[Picture]:
            return [_picture(row, f"row {number}", max_memory) for number, row in enumerate(rows)]

        return await predict_pictures(request, model, read, len(rows), "predictions")


async def version(request: Request) -> Response:
    """Return the server's version as text."""
    return PlainTextResponse(server_version())


def _rows(asked: InvocationsRequest) -> list[Row]:
    forms = {name: getattr(asked, name) for name in ("inputs", "instances", "dataframe_split", "dataframe_records")}
    given = {name: value for name, value in forms.items() if not isinstance(value, UnsetType)}
    if len(given) != 1:
        raise InputError(f"expected exactly one of {', '.join(forms)}")
    if asked.params:
        raise InputError(f"params: no model here takes any, got {', '.join(asked.params)[:80]}")
    ((name, value),) = given.items()
    check_count(_first_column(value), name)
    match value:
        case SplitFrame():
            if any(len(row) != len(value.columns) for row in value.data):
                raise InputError(f"{name}: every row of data has as many values as there are columns")
            pictures, boxes = _columns(value.columns, name)
            return [(row[pictures], None if boxes is None else row[boxes]) for row in value.data]
        case dict():
            if len({len(column) for column in value.values()}) > 1:
                raise InputError(f"{name}: the columns differ in length")
            pictures, boxes = _columns(list(value), name)
            columns = list(value.values())
            of_boxes = [None] * len(columns[pictures]) if boxes is None else columns[boxes]
            return list(zip(columns[pictures], of_boxes, strict=True))
        case _ if name == "dataframe_records":
            return [_record(record, f"{name}[{number}]") for number, record in enumerate(value)]
        case _:
            return [(picture, None) for picture in value]


def _first_column(value: Any) -> Sequence[object]:
    match value:
        case SplitFrame():
            return value.data
        case dict():
            return next(iter(value.values()), [])
    rows: list[object] = value
    return rows


def _columns(names: list[str], where: str) -> tuple[int, int | None]:
    """Return the places of the column of pictures and of that of boxes."""
    pictures = [place for place, name in enumerate(names) if name != _BOXES]
    if len(pictures) != 1 or len(names) > 2:
        raise InputError(f"{where}: expected one column of pictures, and `{_BOXES}` at most, got {len(names)} columns")
    return pictures[0], names.index(_BOXES) if _BOXES in names else None


def _record(record: dict[str, Raw], where: str) -> Row:
    pictures, _ = _columns(list(record), where)
    return list(record.values())[pictures], record.get(_BOXES)


def _picture(row: Row, where: str, max_memory: int | None) -> Picture:
    picture, boxes = row
    return read_picture(picture, where, max_memory, [] if boxes is None else decode(boxes, Boxes | None, where) or [])
