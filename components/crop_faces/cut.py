"""One face of a photo as a picture of its own, and its annotation in that picture."""

import hashlib
import io
import math
import zlib
from dataclasses import dataclass, replace

from PIL import Image as Picture

from components.crop_faces.options import CropOptions
from components.shared.dataset.annotations import Box, Face, Image, Keypoint, named_points
from serving.runtime.card import InputSize
from serving.runtime.errors import InputError
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, Pixels
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Placement, place
from serving.runtime.image.preprocess import cut_placed

# Of zlib's strategies the fastest for photos, and at this level the smallest too.
_PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}
# What a rule without a size cuts does not depend on it.
_ANY_SIZE = InputSize(height=4096, width=4096)
_FULL_COLOR = 0  # chroma is not subsampled


@dataclass(frozen=True, slots=True)
class CroppedFace:
    """The file of a crop, its image entry but for id and name, and whether the face was placed by its eyes."""

    data: bytes
    image: Image
    aligned: bool


def crop_face(photo: Photo, image: Image, face: Face, names: tuple[str, ...], options: CropOptions) -> CroppedFace:
    """Cut a face out of its photo; box and keypoints follow, everything else of image and face is kept.

    `names` are those of the keypoints. Raises ImageError when the photo cannot be used, InputError when the box cannot.
    """
    placement, size = _placement(photo.upright, face, names, options)
    pixels = cut_placed(photo, placement, size, options.min_decode)
    data = _encoded(pixels, options)
    crop = replace(
        image,
        width=size.width,
        height=size.height,
        faces=(_moved(face, placement, size),),
        source=image.source or image.file_name,
        sha256=hashlib.sha256(data).hexdigest(),
        photo_sha256=hashlib.sha256(photo.data).hexdigest(),
        dhash=None,
    )
    return CroppedFace(data, crop, placement.aligned)


def _placement(
    upright: tuple[int, int], face: Face, names: tuple[str, ...], options: CropOptions
) -> tuple[Placement, InputSize]:
    """Return what the crop shows, and its size."""
    if options.size is not None:
        points = named_points(face, names)
        return place(upright, face.box, options.rule, options.size, points), options.size
    placement = place(upright, face.box, options.rule, _ANY_SIZE)
    left, top, right, bottom = placement.rect
    x, y = math.floor(left), math.floor(top)
    width, height = math.ceil(right) - x, math.ceil(bottom) - y
    if options.mode == "square":
        width = height = max(width, height)
    if width * height > DEFAULT_MAX_PIXELS:
        raise InputError(f"the crop would have {width} x {height} pixels; at most {DEFAULT_MAX_PIXELS} are written")
    whole = replace(placement, rect=(float(x), float(y), float(x + width), float(y + height)))
    return whole, InputSize.model_construct(height=height, width=width)


def _encoded(pixels: Pixels, options: CropOptions) -> bytes:
    buffer = io.BytesIO()
    if options.format == "png":
        Picture.fromarray(pixels).save(buffer, "PNG", **_PNG)
    else:
        Picture.fromarray(pixels).save(buffer, "JPEG", quality=options.quality, subsampling=_FULL_COLOR)
    return buffer.getvalue()


def _moved(face: Face, placement: Placement, size: InputSize) -> Face:
    """Return the face with its box and its labeled keypoints in pixels of the crop."""
    points = face.keypoints and tuple(_moved_point(point, placement, size) for point in face.keypoints)
    return replace(face, box=None if face.box is None else _moved_box(face.box, placement, size), keypoints=points)


def _moved_point(point: Keypoint, placement: Placement, size: InputSize) -> Keypoint:
    if not point.visibility:
        return point
    x, y = placement.to_input((point.x, point.y), size)
    return Keypoint(x, y, point.visibility)


def _moved_box(box: Box, placement: Placement, size: InputSize) -> Box:
    """Return the smallest upright box around the corners of a box, in pixels of the crop."""
    x, y, width, height = box
    corners = [placement.to_input((left, top), size) for left in (x, x + width) for top in (y, y + height)]
    across, down = zip(*corners, strict=True)
    return min(across), min(down), max(across) - min(across), max(down) - min(down)
