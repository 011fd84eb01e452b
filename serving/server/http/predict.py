"""`POST /predict`: classification of the faces in uploaded images."""

import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.runtime.errors import InputError
from serving.runtime.image.placement import Box
from serving.runtime.predictor import Predictor
from serving.runtime.work import Work
from serving.server.answer import Picture, answers
from serving.server.http.request import compute, model_of, read_form, receive_body

MAX_BOXES = 64


async def predict(request: Request) -> Response:
    """Answer with the faces of one image, or of several.

    The body is an image file, or a multipart form with image files (the fields' names are free). The model is the
    default one, or that of the query parameters `model` and `version`. `box=x,y,w,h` in upright pixels, as query
    parameter or form field, names a face and may be repeated; without one a detector or a composite finds the faces,
    and a classifier takes the whole image. A model whose card has a frame cuts that from every image, with a box or
    without. One file is answered by `{"model", "version",
    "faces"}`; several files by `{"results"}`, a list of such answers in the order of the files, and then boxes are
    refused.
    """
    model = model_of(request)
    async with receive_body(request) as body:
        boxes = request.query_params.getlist("box")
        files = [("", body)]
        if request.headers.get("content-type", "").strip().lower().startswith("multipart/form-data"):
            form = await read_form(request, body)
            files, boxes = list(form.files), [*boxes, *form.boxes]
        _check_counts(files, boxes)
        parsed = [_parse_box(box) for box in boxes]
        pictures = [Picture(data, parsed, name) for name, data in files]
        return await compute(request, lambda work: _answer(work, model, pictures), model, len(pictures))


def _check_counts(files: list[tuple[str, bytes]], boxes: list[str]) -> None:
    if not files:
        raise InputError("the form has no file; send the image as a part with a file name")
    if len(files) > 1 and boxes:
        raise InputError("boxes go with one image; send one request per image")
    if len(boxes) > MAX_BOXES:
        raise InputError(f"{len(boxes)} boxes are too many for one request; at most {MAX_BOXES}")


def _answer(work: Work, model: Predictor, pictures: list[Picture]) -> dict[str, Any]:
    results = answers(model, pictures, work)
    return results[0] if len(results) == 1 else {"results": results}


def _parse_box(text: str) -> Box:
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"box={text[:80]!r} is not a box; expected four numbers x,y,width,height in pixels") from None
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise InputError(f"box={text[:80]!r} is not a box; its numbers must be finite")
    return (x, y, width, height)
