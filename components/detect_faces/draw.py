"""Copies of photos with their faces drawn."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from components.detect_faces.report import ORIGINAL
from components.shared.dataset.annotations import Annotations, Image, read_annotations
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import label_space as named_space
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.dataset.tally import Tally
from components.shared.progress import progress
from components.shared.report.thumbnails import FRAME, draw_box
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.decode import decode
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map
from serving.runtime.output import check_output, whole_folder

_QUALITY = 90
_AHEAD = 2
_LINE = 400
"""A line is one pixel wide for each so many pixels of the longer side."""

_LETTER = 9
"""Height of a letter in lines."""

_POINT = "#30d158"
_log = logging.getLogger(__name__)


def draw_faces(
    images: Path, annotations: Path, pictures: Path, *, label_space: str = "", per_class: int = 0
) -> dict[str, float]:
    """Write a JPEG copy of each photo of the annotations, upright, with boxes, scores and keypoints drawn.

    A copy has the photo's name with `.jpg` behind it where that is another ending. A box that detection replaced is
    blue, the face's own yellow.

    Args:
        images: image archives, a folder tree or a ZIP archive of photos.
        annotations: the COCO file.
        pictures: a new or empty folder.
        label_space: draws the first photos of each of its classes; empty for the first of all.
        per_class: how many of each class; 0 for all.

    Returns:
        Metrics: `drawn` photos, and those that `failed` to decode.

    Raises:
        InputError: no or a wrong label space, annotations or photos that cannot be read, none that can be drawn, two
            whose copies would have one name, or an output that is an input or exists.
    """
    check_output(pictures, images, annotations)
    if per_class < 0:
        raise InputError(f"per_class: must be 0 or more, got {per_class}")
    data = read_annotations(annotations)
    photos, _ = find_pictures(images)
    chosen = list(_chosen(data, label_space, per_class))
    check_present(photos, (image.file_name for image in chosen))
    names, failed = _copies(chosen), Tally()
    with whole_folder(pictures) as folder:
        workers = usable_cpus()
        drawn = ordered_map(
            lambda image: _draw_one(image, photos, folder / names[image.file_name]),
            chosen,
            workers=workers,
            ahead=_AHEAD * workers,
        )
        with closing(drawn):
            for image, error in progress(drawn, "draw", len(chosen)):
                if error is not None:
                    failed.add(error.reason, image.file_name)
        if failed.total == len(chosen):
            raise InputError(
                f"{images}: none of {len(chosen)} photos can be drawn; name photos and annotations with faces"
            )
    if failed.total:
        _log.warning("%d of %d photos could not be drawn: %s", failed.total, len(chosen), failed)
    return {"drawn": float(len(chosen) - failed.total), "failed": float(failed.total)}


def _copies(images: Sequence[Image]) -> dict[str, PurePosixPath]:
    """Return the name of every photo's copy. Raises InputError on one that leads out, and on two that are the same."""
    copies: dict[str, PurePosixPath] = {}
    photos: dict[PurePosixPath, str] = {}
    for image in images:
        name = PurePosixPath(image.file_name)
        if name.is_absolute() or ".." in name.parts or "\0" in image.file_name:
            raise InputError(f"'{image.file_name}': the name leads out of the folder that is written; rename the photo")
        copy = name if name.suffix.lower() in (".jpg", ".jpeg") else PurePosixPath(f"{name}.jpg")
        other = photos.setdefault(copy, image.file_name)
        if other != image.file_name:
            raise InputError(f"'{other}' and '{image.file_name}' would both be drawn as '{copy}'; rename one of them")
        copies[image.file_name] = copy
    return copies


def _chosen(data: Annotations, space: str, per_class: int) -> Iterator[Image]:
    """Yield the images of which a class still lacks some."""
    classes = FaceClasses(named_space(space)) if space else None
    counts: Counter[int] = Counter()
    for image in sorted(data.images, key=lambda image: image.id):
        members = set(classes.of_image(image)) if classes else {0}
        if members and (not per_class or any(counts[index] < per_class for index in members)):
            counts.update(members)
            yield image


def _draw_one(image: Image, photos: Pictures, file: Path) -> ImageError | None:
    """Write one copy; return why the photo could not be decoded, if so."""
    try:
        picture = Picture.fromarray(decode(photos.read(image.file_name, image.sha256)))
    except ImageError as error:
        return error
    line = max(1, round(max(picture.size) / _LINE))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_LETTER * line)
    for face in image.faces:
        if face.original_box is not None:
            draw_box(picture, face.original_box, ORIGINAL, line)
        if face.box is not None:
            draw_box(picture, face.box, FRAME, line)
        if face.box is not None and face.score is not None:
            # Above the box; where the photo ends there, below it.
            x, y, _, height = face.box
            corner, anchor = ((x, y - line), "lb") if y > _LETTER * line else ((x, y + height + line), "lt")
            pen.text(corner, f"{face.score:.2f}", FRAME, font, anchor, stroke_width=line, stroke_fill="black")
        for x, y, visibility in face.keypoints or ():
            if visibility:
                pen.ellipse((x - line, y - line, x + line, y + line), fill=_POINT)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, "JPEG", quality=_QUALITY)
    return None
