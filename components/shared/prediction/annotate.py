"""Copies of photos with what a model says of their faces: boxes, and lines of labels with their probabilities."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath

from PIL import Image, ImageDraw, ImageFont

from components.shared.dataset.detections import Detections, SearchedImage
from components.shared.dataset.predictions import Predictions
from components.shared.prediction.tables import Part
from components.shared.report.thumbnails import FRAME, draw_box
from serving.runtime.detector import LABEL_HEAD
from serving.runtime.errors import InputError
from serving.runtime.image.decode import decode_with_header
from serving.runtime.image.header import Pixels
from serving.runtime.output import whole_file
from serving.runtime.predictor import FaceResult

_QUALITY = 90
# Subsampled chroma would blur letters and thin frames.
_NO_SUBSAMPLING = 0
_SMALLEST = 320
"""The longer side of a copy is at least so long: letters need pixels."""

_LINE = 400
"""A line is one pixel wide for each so many pixels of the longer side."""

_LETTERS = 0.03
"""Height of letters on a whole photo, as a share of its height; also where they begin."""

_OF_BOX, _LEAST, _SHORTEST = 0.09, 0.015, 10
"""Height of letters at a box: this share of its height, at least that of the photo's longer side, and these pixels."""

_GAP = 2
_SEVERAL_HEADS, _ONE_HEAD = 1, 5

Rect = tuple[float, float, float, float]
Point = tuple[float, float]


def copy_names(paths: Iterable[str]) -> dict[str, PurePosixPath]:
    """Return the name of every photo's copy: its own path, with `.jpg` behind it where it ends otherwise.

    Raises InputError on a path that leads out of the folder of copies, and on two photos whose copies would have one
    name.
    """
    copies: dict[str, PurePosixPath] = {}
    photos: dict[PurePosixPath, str] = {}
    for path in paths:
        name = PurePosixPath(path)
        if name.is_absolute() or ".." in name.parts or "\0" in path:
            raise InputError(f"'{path}': the name leads out of the folder of copies; rename the photo")
        copy = name if name.suffix.lower() in (".jpg", ".jpeg") else PurePosixPath(f"{name}.jpg")
        other = photos.setdefault(copy, path)
        if other != path:
            raise InputError(f"'{other}' and '{path}' would both be copied to '{copy}'; rename one of them")
        copies[path] = copy
    return copies


@dataclass(frozen=True, slots=True)
class PhotoFaces:
    """A photo of a table, and what is drawn on its copy: the faces as the endpoint answers them."""

    path: str
    sha256: str | None
    faces: tuple[FaceResult, ...]


def faces_by_photo(part: Part) -> Iterator[PhotoFaces]:
    """Yield the photos of a part of a table; of a detector the boxes of the score that it serves."""
    if isinstance(part, Predictions):
        rows = zip(part.faces, _results(part), strict=True)
        for path, group in groupby(rows, key=lambda row: row[0].path):
            of_photo = list(group)
            yield PhotoFaces(path, of_photo[0][0].sha256, tuple(result for _, result in of_photo))
    elif isinstance(part, Detections):
        for image in part.images:
            yield PhotoFaces(image.path, image.sha256, tuple(_found(image, part)))
    else:
        for photo in part.photos:
            yield PhotoFaces(photo.path, photo.sha256, photo.faces)


def _results(part: Predictions) -> Iterator[FaceResult]:
    for row, face in enumerate(part.faces):
        heads = {
            head.name: dict(zip(head.labels, part.heads[head.name][row].tolist(), strict=True))
            for head in part.space.heads
        }
        yield FaceResult(face.box, face.score, "box" if face.box else "whole image", heads)


def _found(image: SearchedImage, part: Detections) -> Iterator[FaceResult]:
    boxes = image.served
    for (x, y, width, height), score, scores in zip(boxes.boxes.tolist(), boxes.score, boxes.scores, strict=True):
        if score >= part.threshold:
            several = len(part.labels) > 1
            heads = {LABEL_HEAD: dict(zip(part.labels, scores.tolist(), strict=True))} if several else {}
            yield FaceResult((x, y, width, height), float(score), "detector", heads)


def write_copy(data: bytes, faces: Sequence[FaceResult], file: Path, top_k: int = 0) -> None:
    """Write the JPEG copy of a photo as a `whole_file`, see `annotated`; folders above it are made.

    Raises ImageError when the photo cannot be decoded.
    """
    pixels, header, _ = decode_with_header(data)
    with whole_file(file) as partial:
        copy = annotated(pixels, faces, top_k, header.upright)
        copy.save(partial, "JPEG", quality=_QUALITY, subsampling=_NO_SUBSAMPLING)


def annotated(
    pixels: Pixels, faces: Sequence[FaceResult], top_k: int = 0, size: tuple[int, int] | None = None
) -> Image.Image:
    """Return a copy of a photo with the boxes of its faces, and with lines such as `happy 0.93` at each.

    Lines and letters grow with the photo; a photo whose longer side is shorter than 320 pixels is enlarged by a whole
    number. The text of a face that is the whole photo is at the top left. Any other is beside its box, inside the
    photo, where it covers least of boxes and other texts. The font is Pillow's own, which has Latin letters: a label
    with others is written as its number, such as `#3 0.93`.

    Args:
        pixels: upright RGB, uint8 (h, w, 3).
        faces: with boxes in pixels of the photo.
        top_k: lines for each head, the most probable label first; 0 for 5 of a single head and 1 of several.
        size: height and width of the photo where `pixels` are fewer, as of a very large one.
    """
    height, width = size or pixels.shape[:2]
    picture = Image.fromarray(pixels)
    zoom = -(-_SMALLEST // max(picture.size))
    if zoom > 1:
        picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.BICUBIC)
    line = max(1, round(max(picture.size) / _LINE))
    boxes = [_zoomed(face.box, picture.width / width, picture.height / height) for face in faces]
    for box in boxes:
        if box is not None:
            draw_box(picture, box, FRAME, line)
    # Texts come last: no box of a neighbor crosses them.
    canvas = ImageDraw.Draw(picture)
    taken = [(x, y, x + width, y + height) for x, y, width, height in filter(None, boxes)]
    for face, box in zip(faces, boxes, strict=True):
        lines = lines_of(face, top_k)
        if lines:
            taken.append(_write(canvas, picture.size, box, lines, taken))
    return picture


def _zoomed(box: Rect | None, across: float, down: float) -> Rect | None:
    if box is None:
        return None
    x, y, width, height = box
    return x * across, y * down, width * across, height * down


def lines_of(face: FaceResult, top_k: int = 0) -> list[str]:
    """Return the lines of a face: `label probability` of the most probable labels of each head.

    Without heads it is the detector's score.
    """
    count = top_k or (_ONE_HEAD if len(face.heads) == 1 else _SEVERAL_HEADS)
    lines = [text for head in face.heads.values() for text in _most_probable(head, count)]
    return lines or ([] if face.score is None else [f"{face.score:.2f}"])


def _most_probable(head: Mapping[str, float], count: int) -> list[str]:
    numbered = sorted(enumerate(head.items()), key=lambda entry: -entry[1][1])[:count]
    return [f"{_spelled(label, index)} {value:.2f}" for index, (label, value) in numbered]


def _spelled(label: str, index: int) -> str:
    try:
        label.encode("latin-1")
    except UnicodeEncodeError:
        return f"#{index}"
    return label


def _write(
    canvas: ImageDraw.ImageDraw, size: tuple[int, int], box: Rect | None, lines: Sequence[str], taken: Sequence[Rect]
) -> Rect:
    """Write the lines of a face on a ground of their own; returns the rectangle left, top, right, bottom."""
    most = max(_SHORTEST, round(_LETTERS * size[1]))
    letters = most
    if box is not None:
        letters = max(_SHORTEST, round(_LEAST * max(size)), min(most, round(_OF_BOX * box[3])))
    text = "\n".join(lines)
    while True:
        left, top, right, bottom = canvas.multiline_textbbox((0, 0), text, font=_font(letters), spacing=_GAP)
        width, height = right - left + 2 * _GAP, bottom - top + 2 * _GAP
        if (width <= size[0] and height <= size[1]) or letters <= _SHORTEST:
            break
        letters -= 1
    x, y = _place(size, box, (width, height), taken)
    canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=FRAME)
    canvas.multiline_text((x + _GAP - left, y + _GAP - top), text, fill="black", font=_font(letters), spacing=_GAP)
    return x, y, x + width, y + height


def _place(size: tuple[int, int], box: Rect | None, text: tuple[float, float], taken: Sequence[Rect]) -> Point:
    """Return the left upper corner of a text: at a side of its box, inside the photo, where it covers least."""
    width, height = text
    if box is None:
        margin = _LETTERS * size[1]
        choices = [(margin, margin)]
    else:
        x, y, wide, tall = box
        choices = [(x, y - height), (x, y + tall), (x + wide, y), (x - width, y), (x, y)]
    inside = [(max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))) for x, y in choices]
    return min(inside, key=lambda at: sum(_common((*at, at[0] + width, at[1] + height), other) for other in taken))


def _common(one: Rect, other: Rect) -> float:
    """Return the area that two rectangles left, top, right, bottom share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
