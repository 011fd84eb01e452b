"""Pictures in JSON, in every form that clients of the protocols send them."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from serving.runtime.errors import InputError
from serving.runtime.image.placement import Box
from serving.server.answer import Picture
from serving.server.http.base64_image import decode_base64
from serving.server.http.json_numbers import read_pixels
from serving.server.inference import MAX_FILES

MAX_BOXES = 64

# Bytes of memory per value of JSON, the most that any takes: that of a mapping, with its name. And a bound in time:
# nothing else is answered while JSON is decoded.
_MEMORY_PER_VALUE = 256
_MOST_VALUES = 2**20

PICTURE_SCHEMA: dict[str, Any] = {
    "description": "An image file in base64 (or as a data: URL), rows of RGB pixels of 0 to 255, or an object with one "
    "of them and, where they are known, the boxes of its faces. Addresses are not fetched.",
    "oneOf": [
        {"$ref": "#/components/schemas/Base64Image"},
        {"$ref": "#/components/schemas/Pixels"},
        {
            "type": "object",
            "properties": {
                **{
                    name: {
                        "oneOf": [
                            {"$ref": "#/components/schemas/Base64Image"},
                            {"$ref": "#/components/schemas/Pixels"},
                            {
                                "type": "object",
                                "properties": {"b64": {"$ref": "#/components/schemas/Base64Image"}},
                                "required": ["b64"],
                            },
                        ]
                    }
                    for name in ("image", "image_bytes", "data")
                },
                "b64": {"$ref": "#/components/schemas/Base64Image"},
                "boxes": {"$ref": "#/components/schemas/Boxes"},
            },
            "additionalProperties": False,
        },
    ],
}

PictureValue = Annotated[Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/Picture"})]
"""A picture as it was sent, see `read_picture`."""

Boxes = Annotated[list[tuple[float, float, float, float]], Meta(max_length=MAX_BOXES)]


class _Bytes(Struct, forbid_unknown_fields=True, gc=False):
    b64: str


class PictureObject(Struct, forbid_unknown_fields=True, gc=False):
    """A picture in one of four fields, and boxes x, y, width, height in upright pixels."""

    image: Raw | UnsetType = UNSET
    image_bytes: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    b64: Raw | UnsetType = UNSET
    boxes: Boxes = []


def check_count(values: Sequence[object], where: str) -> None:
    """Raise InputError when there is no picture, or more than one request may have."""
    if not values:
        raise InputError(f"{where}: no picture; send at least one")
    if len(values) > MAX_FILES:
        raise InputError(f"{where}: {len(values)} pictures are too many for one request; at most {MAX_FILES}")


def read_picture(value: Raw, where: str, max_memory: int | None, boxes: Sequence[Box] = ()) -> Picture:
    """Return a picture from JSON: base64, pixels of shape (height, width, 3), or an object with either.

    The object has it in `image`, `image_bytes`, `data` or `b64`, itself or as `{"b64": base64}`, and may have `boxes`.
    `where` names the value in errors, and `max_memory` bounds the bytes for pixels.

    Raises:
        ImageError: a text is not base64.
        InputError: the value is something else.
    """
    text = bytes(value).strip()
    if text.startswith(b"{"):
        item = decode(text, PictureObject, where)
        given = [one for one in (item.image, item.image_bytes, item.data, item.b64) if not isinstance(one, UnsetType)]
        if len(given) != 1:
            raise InputError(f"{where}: expected the picture in one of image, image_bytes, data and b64")
        text, boxes = bytes(given[0]).strip(), item.boxes or boxes
    return Picture(_file(text, where, max_memory), boxes, where)


def decode_request(body: bytes, kind: Any, max_memory: int) -> Any:
    """Decode the JSON of a whole request as a type, in bounded memory and time.

    Raises:
        InputError: it is something else, or has too many values; an image file in base64 is one, a pixel has three.
    """
    most = min(_MOST_VALUES, max_memory // _MEMORY_PER_VALUE)
    if (values := body.count(b",")) > most:
        raise InputError(f"the request has {values} values, at most {most} are read; send image files in base64")
    return decode(body, kind, "the request")


def decode(text: bytes | Raw, kind: Any, where: str) -> Any:
    """Decode JSON as a type. Raises InputError, with the path of what is wrong."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        said = explain(error)
        if "unknown field" in said and isinstance(kind, type) and issubclass(kind, Struct):
            said += f"; expected {', '.join(kind.__struct_encode_fields__)}"
        raise InputError(f"{where}: {said}") from None


def explain(error: Exception) -> str:
    """Return msgspec's message with the path of a value as `inputs.0.shape`."""
    message, _, path = str(error).partition(" - at `")
    path = path.removesuffix("`").removeprefix("$").removeprefix(".").replace("[", ".").replace("]", "")
    return f"{path or 'body'}: {message}" if path or " - at `" in str(error) else message


def _file(text: bytes, where: str, max_memory: int | None) -> bytes:
    if text.startswith(b"{"):
        return decode_base64(decode(text, _Bytes, where).b64, where)
    if text.startswith(b'"'):
        return decode_base64(decode(text, str, where), where)
    if not text.startswith(b"["):
        raise InputError(f"{where}: expected an image file in base64, or rows of pixels")
    pixels = read_pixels(text, where, max_memory)
    height, width, _ = pixels.shape
    return b"P6 %d %d 255\n" % (width, height) + np.ascontiguousarray(pixels).tobytes()
