"""MLflow's scoring protocol: `/invocations` in its four forms."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from serving.runtime.errors import InputError
from serving.server.answer import Picture
from serving.server.http.json_lists import decode, read_list, read_object
from serving.server.http.json_pictures import check_count, read_boxes, read_picture
from serving.server.http.oip import server_version
from serving.server.http.predict import predict_pictures
from serving.server.http.request import model_of, receive_body
from serving.server.inference import MAX_FILES

_BOXES = "boxes"
_BLANKS = b" \t\r\n"

# Columns of a table, and fields of a record: pictures and boxes. More are read, to say that they are too many.
_MAX_COLUMNS = 8

_PICTURE: dict[str, Any] = {"$ref": "#/components/schemas/Picture"}
_PICTURES: dict[str, Any] = {"type": "array", "items": _PICTURE}
_COLUMN: dict[str, Any] = {"type": "object", "additionalProperties": _PICTURE}
_TABLE: dict[str, Any] = {"type": "object", "additionalProperties": _PICTURES}

Values = Annotated[Raw, Meta(extra_json_schema={"oneOf": [_PICTURES, _TABLE]})]
"""Pictures, or columns of them by name, as they were sent."""

Row = tuple[Raw, Raw | None]
"""A picture and the boxes of its faces, as they were sent."""


class SplitFrame(Struct, gc=False):
    """A table as pandas writes it with orient="split": one column has pictures, and `boxes` may be another."""

    columns: Annotated[Raw, Meta(extra_json_schema={"type": "array", "items": {"type": "string"}})]
    data: Annotated[Raw, Meta(extra_json_schema={"type": "array", "items": _PICTURES})]


class InvocationsRequest(Struct, gc=False):
    """Pictures in one of MLflow's forms; in a table they are a column."""

    inputs: Values | UnsetType = UNSET
    instances: Values | UnsetType = UNSET
    dataframe_split: SplitFrame | UnsetType = UNSET
    dataframe_records: Annotated[Raw, Meta(extra_json_schema={"type": "array", "items": _COLUMN})] | UnsetType = UNSET
    params: Annotated[Raw, Meta(extra_json_schema={"type": "object"})] | UnsetType = UNSET


async def invocations(request: Request) -> Response:
    """Answer with the faces of each picture. The model is the default one, or that of `?model=` and `version=`."""
    model = model_of(request)
    async with receive_body(request) as body:
        content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if content_type in ("text/csv", "application/vnd.apache.parquet"):
            raise InputError(f"Content-Type {content_type} is not read; send application/json")
        rows = _rows(decode(body, InvocationsRequest, "the request"))
        check_count(rows, "the request")

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
    if not isinstance(asked.params, UnsetType) and bytes(asked.params).strip(_BLANKS + b"{}"):
        raise InputError("params: no model here takes any")
    ((name, value),) = given.items()
    if isinstance(value, SplitFrame):
        columns = [decode(one, str, name) for one in read_list(value.columns, f"{name}.columns", _MAX_COLUMNS)]
        rows = [
            read_list(row, f"{name}.data", _MAX_COLUMNS) for row in read_list(value.data, f"{name}.data", MAX_FILES)
        ]
        if any(len(row) != len(columns) for row in rows):
            raise InputError(f"{name}: every row of data has as many values as there are columns")
        pictures, boxes = _columns(columns, name)
        return [(row[pictures], None if boxes is None else row[boxes]) for row in rows]
    if bytes(value).lstrip(_BLANKS).startswith(b"{"):
        table = read_object(value, name, _MAX_COLUMNS)
        lists = {column: read_list(values, f"{name}.{column[:80]}", MAX_FILES) for column, values in table.items()}
        if len({len(column) for column in lists.values()}) > 1:
            raise InputError(f"{name}: the columns differ in length")
        pictures, boxes = _columns(list(lists), name)
        columns_ = list(lists.values())
        of_boxes = [None] * len(columns_[pictures]) if boxes is None else columns_[boxes]
        return list(zip(columns_[pictures], of_boxes, strict=True))
    values = read_list(value, name, MAX_FILES)
    if name == "dataframe_records":
        return [_record(record, f"{name}[{number}]") for number, record in enumerate(values)]
    return [(picture, None) for picture in values]


def _columns(names: list[str], where: str) -> tuple[int, int | None]:
    """Return the places of the column of pictures and of that of boxes."""
    pictures = [place for place, name in enumerate(names) if name != _BOXES]
    if len(pictures) != 1 or len(names) > 2:
        raise InputError(f"{where}: expected one column of pictures, and `{_BOXES}` at most, got {len(names)} columns")
    return pictures[0], names.index(_BOXES) if _BOXES in names else None


def _record(text: Raw, where: str) -> Row:
    record = read_object(text, where, _MAX_COLUMNS)
    pictures, _ = _columns(list(record), where)
    return list(record.values())[pictures], record.get(_BOXES)


def _picture(row: Row, where: str, max_memory: int | None) -> Picture:
    picture, boxes = row
    return read_picture(picture, where, max_memory, read_boxes(boxes, f"{where}.boxes"))
