"""POST /predict: faces of pictures in every form, and their answers. TorchServe's /predictions/{model} is the same."""

import math
from collections.abc import Callable
from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.placement import Box
from serving.runtime.predictor import Predictor
from serving.runtime.work import Work
from serving.server.answer import Picture, answers
from serving.server.http.json_pictures import MAX_BOXES, Boxes, PictureValue, check_count, decode_request, read_picture
from serving.server.http.request import compute, model_of, read_form, receive_body, state_of
from serving.server.inference import MAX_FILES


class PredictRequest(Struct, forbid_unknown_fields=True, gc=False):
    """One picture with the boxes of its faces, or several pictures."""

    image: PictureValue | UnsetType = UNSET
    images: Annotated[list[PictureValue], Meta(max_length=MAX_FILES)] | UnsetType = UNSET
    boxes: Boxes = []


async def predict(request: Request) -> Response:
    """Answer with the faces of one picture, or of several.

    The body is an image file; a multipart form with image files, whose fields may have any name; or JSON. The model is
    that of the path, else of the query parameters `model` and `version`, else the default one. `box=x,y,w,h` in upright
    pixels, as query parameter or form field, names a face and may be repeated. Without one a detector or a composite
    finds the faces, and a classifier takes the whole picture. One picture is answered by `{"model", "version",
    "faces"}`; several, or a list of them in JSON, by `{"results"}` in their order, and then boxes beside them are
    refused.
    """
    model = model_of(request)
    async with receive_body(request) as body:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        boxes = request.query_params.getlist("box")
        if content_type == "multipart/form-data":
            form = await read_form(request, body)
            parsed = _parse_boxes([*boxes, *form.boxes], len(form.files))
            pictures = [Picture(data, parsed, name) for name, data in form.files]
            return await compute(request, lambda work: _answer(work, model, pictures), model, len(pictures))
        parsed = _parse_boxes(boxes, 1)
        # No image file begins so, and curl -d says that its JSON is a form.
        if content_type == "application/json" or body[:1] == b"{":
            asked = decode_request(body, PredictRequest, state_of(request).limits.decode_memory)
            return await _predict_json(request, model, asked, parsed)
        try:
            return await compute(request, lambda work: _answer(work, model, [Picture(body, parsed)]), model)
        except ImageError as error:
            if content_type != "application/x-www-form-urlencoded":
                raise
            hint = "curl's -d leaves bytes of a file out; send it with --data-binary @FILE"
            raise ImageError(error.reason, f"{error} ({hint})") from error


async def predict_pictures(
    request: Request, model: Predictor, read: Callable[[int | None], list[Picture]], count: int, key: str
) -> Response:
    """Answer with `{key: [...]}`, one answer for each of `count` pictures, which `read` takes from JSON in the lane.

    `read` is called with the bytes of memory that pixels may take.
    """

    def work_on(work: Work) -> dict[str, Any]:
        return {key: answers(model, read(work.max_memory), work)}

    return await compute(request, work_on, model, count)


async def _predict_json(request: Request, model: Predictor, asked: PredictRequest, boxes: list[Box]) -> Response:
    boxes = [*boxes, *asked.boxes]
    if isinstance(asked.images, UnsetType):
        if isinstance(asked.image, UnsetType):
            raise InputError("the request has no picture; expected `image` or `images`")
        image: Raw = asked.image

        def work_on(work: Work) -> dict[str, Any]:
            return _answer(work, model, [read_picture(image, "image", work.max_memory, boxes)])

        return await compute(request, work_on, model)
    images = asked.images
    if not isinstance(asked.image, UnsetType) or boxes:
        raise InputError('`images` goes alone; boxes belong to one of them: {"image": ..., "boxes": [[x, y, w, h]]}')
    check_count(images, "images")

    def read(max_memory: int | None) -> list[Picture]:
        return [read_picture(value, f"images[{number}]", max_memory) for number, value in enumerate(images)]

    return await predict_pictures(request, model, read, len(images), "results")


def _answer(work: Work, model: Predictor, pictures: list[Picture]) -> dict[str, Any]:
    results = answers(model, pictures, work)
    return results[0] if len(results) == 1 else {"results": results}


def _parse_boxes(boxes: list[str], files: int) -> list[Box]:
    if not files:
        raise InputError("the form has no file; send the image as a part with a file name")
    if files > 1 and boxes:
        raise InputError("boxes go with one image; send one request per image")
    if len(boxes) > MAX_BOXES:
        raise InputError(f"{len(boxes)} boxes are too many for one request; at most {MAX_BOXES}")
    return [_parse_box(box) for box in boxes]


def _parse_box(text: str) -> Box:
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"box={text[:80]!r} is not a box; expected four numbers x,y,width,height in pixels") from None
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise InputError(f"box={text[:80]!r} is not a box; its numbers must be finite")
    return (x, y, width, height)
