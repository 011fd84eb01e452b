"""`POST /predict`: image files and face boxes in, labels with probabilities out."""

import math
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.runtime.card import WHOLE, CropRule
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.preprocess import Box
from serving.runtime.predictor import Predictor
from serving.server.http.body import read_body, read_form
from serving.server.state import compute, loaded_model

MAX_BOXES = 64


async def predict(request: Request) -> Response:
    """Answer with the faces of one image, or of several.

    The body is an image file, or a multipart form with image files (the fields' names are free). `box=x,y,w,h` in
    upright pixels, as query parameter or form field, names a face and may be repeated; without one the whole image is
    classified. A model whose card has a frame cuts that from every image, with a box or without. One file is answered
    by `{"model", "version", "faces"}`; several files by `{"results"}`, a list of such answers in the order of the
    files, and then boxes are refused.
    """
    model = loaded_model(request)
    body = await read_body(request)
    boxes = request.query_params.getlist("box")
    files = [("", body)]
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/form-data"):
        form = await read_form(request, body)
        files, boxes = list(form.files), [*boxes, *form.boxes]
    return JSONResponse(await compute(request, _answer, model, files, [_parse_box(box) for box in boxes]))


def _answer(model: Predictor, files: list[tuple[str, bytes]], boxes: list[Box]) -> dict[str, Any]:
    if not files:
        raise InputError("the form has no file; send the image as a part with a file name")
    if len(files) > 1 and boxes:
        raise InputError("boxes go with one image; send one request per image")
    if len(boxes) > MAX_BOXES:
        raise InputError(f"{len(boxes)} boxes are too many for one request; at most {MAX_BOXES}")
    if len(files) == 1:
        return _one(model, files[0][1], boxes)
    results = []
    for number, (name, data) in enumerate(files, 1):
        try:
            results.append(_one(model, data, []))
        except ImageError as error:
            raise ImageError(error.reason, f"file {number} ({name}): {error}") from error
    return {"results": results}


def _one(model: Predictor, data: bytes, boxes: list[Box]) -> dict[str, Any]:
    probabilities = model.predict([(data, box) for box in boxes] or [(data, None)])
    faces = []
    for row, box in enumerate(boxes or [None]):
        heads = {}
        for head in model.card.heads:
            values = rounded(probabilities[head.name][row].tolist())
            best = max(range(len(values)), key=values.__getitem__)
            heads[head.name] = {
                "label": head.labels[best],
                "score": values[best],
                "probabilities": dict(zip(head.labels, values, strict=True)),
            }
        faces.append({"box": box, "score": None, "crop": _what_was_cut(model.card.crop, box), "heads": heads})
    return {"model": model.name, "version": model.version, "faces": faces}


def _what_was_cut(rule: CropRule, box: Box | None) -> str:
    if rule.frame not in (None, WHOLE):
        return "frame"
    return "box" if box and rule.frame is None else "whole image"


def rounded(values: list[float]) -> list[float]:
    """Write float32 numbers with the 9 significant digits that tell them apart."""
    return [float(f"{value:.9g}") for value in values]


def _parse_box(text: str) -> Box:
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"box={text[:80]!r} is not a box; expected four numbers x,y,width,height in pixels") from None
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise InputError(f"box={text[:80]!r} is not a box; its numbers must be finite")
    return (x, y, width, height)
