"""Points of faces: found or given faces, marked by dlib, as annotations, as a table and drawn."""

import json
import logging
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from components.landmarks.faces import FaceLandmarks, Gray, Landmarker
from components.landmarks.options import LandmarkOptions
from components.landmarks.outputs import PointTable, draw_faces, png_names
from components.landmarks.point_names import POINT_NAMES
from components.landmarks.record import LandmarkReport, Marked, failures, record_faces
from components.landmarks.weights import fetch_weights
from components.shared.dataset.annotations import (
    Annotations,
    Image,
    count_images,
    read_annotations,
    write_annotations,
)
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.options import parse_options, whole_numbers
from components.shared.progress import progress
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.decode import decode_with_header
from serving.runtime.image.header import Pixels
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map
from serving.runtime.output import check_outputs, whole_file, whole_folder, write_text

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the results go: COCO JSON, CSV, a folder with one of each mode, and the JSON of the report."""

    annotations: Path
    coordinates: Path
    pictures: Path
    listing: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """All four."""
        return self.annotations, self.coordinates, self.pictures, self.listing


def landmarks(
    images: Path, annotations: Path | None, outputs: Outputs, options: Mapping[str, Any], *, workers: int = 0
) -> LandmarkReport:
    """Mark the faces of every picture with points; whatever else the annotations say stays.

    Threads each work on a picture, and few pictures are in memory at a time.

    Args:
        images: folder with the image archives, a folder tree or a ZIP archive of pictures.
        annotations: COCO JSON of the images; None makes new annotations of the faces that are found.
        outputs: where the results go.
        options: see `LandmarkOptions`.
        workers: threads; 0 takes one per CPU.

    Raises:
        InputError: an option is wrong, the weights are not those of a shape predictor, images are missing or are others
            than the annotations describe, or more than `max_failed` pictures cannot be used.
    """
    chosen = parse_options(LandmarkOptions, whole_numbers(options), "options of landmarks")
    check_outputs(outputs.paths, images, *([annotations] if annotations else []))
    photos, data = _read(images, annotations, chosen)
    names = png_names(image.file_name for image in data.images) if chosen.pictures else {}
    workers = workers or usable_cpus()
    report = LandmarkReport()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        weights, points = fetch_weights(chosen.weights, scratch)
        landmarker = Landmarker(weights, upsample=chosen.upsample, threshold=chosen.threshold)
        folder = stack.enter_context(whole_folder(outputs.pictures))
        partial = stack.enter_context(whole_file(outputs.coordinates))
        table = PointTable(stack.enter_context(partial.open("w", encoding="utf-8", newline="")), points)

        def mark(image: Image) -> Marked | InputError:
            try:
                encoded = photos.read(image.file_name, image.sha256)
            except ImageError as error:
                return error
            try:
                pixels, gray = _decode(encoded)
                faces = _faces(landmarker, gray, image, chosen)
            except InputError as error:
                return error
            if names:
                draw_faces(folder, names[image.file_name], pixels, gray, faces, chosen.pictures)
            return Marked(gray.shape[0], gray.shape[1], faces)

        # Closed before the folder is removed: a thread that still drew would make it again.
        marked = stack.enter_context(closing(ordered_map(mark, data.images, workers=workers, ahead=2 * workers)))
        shown = progress(marked, "landmarks", len(data.images))
        kept = tuple(record_faces(shown, data, chosen, table, report))
        _check_failures(report)
        info = data.info.changed(counts=count_images(kept))
        write_annotations(Annotations(kept, info, POINT_NAMES[points]), outputs.annotations)
        write_text(outputs.listing, json.dumps(_listing(report), indent=1, ensure_ascii=False) + "\n")
    return report


def _read(images: Path, annotations: Path | None, options: LandmarkOptions) -> tuple[Pictures, Annotations]:
    """Open the pictures; without annotations an image is a name whose size, 0, is not known yet."""
    if annotations is not None:
        data, (pictures, _) = read_annotations(annotations), find_pictures(images)
        check_present(pictures, (image.file_name for image in data.images))
        return pictures, data
    if options.faces == "given":
        raise InputError("faces = 'given' are those of the annotations, and there are none: pass annotations")
    pictures, names = find_pictures(images)
    return pictures, Annotations(tuple(Image(number, name, 0, 0) for number, name in enumerate(names, start=1)))


def _decode(encoded: bytes) -> tuple[Pixels, Gray]:
    """Return a picture, upright, as RGB (H, W, 3) and gray (H, W)."""
    pixels, header, _ = decode_with_header(encoded)
    if pixels.shape[:2] != header.upright:
        raise ImageError("too_large", f"of {header.upright[0]} x {header.upright[1]} pixels; save it smaller")
    return pixels, np.asarray(Picture.fromarray(pixels).convert("L"))


def _faces(landmarker: Landmarker, gray: Gray, image: Image, options: LandmarkOptions) -> list[FaceLandmarks]:
    """Return the faces that are found, or one for every face of the image: without a box the best that is found."""
    if options.faces == "found":
        return landmarker.find(gray)
    height, width = gray.shape
    faces = []
    for face in image.faces:
        if face.box is not None:
            faces.append(landmarker.locate(gray, face.box, options.boxes))
        else:
            found = landmarker.find(gray)[:1]
            faces += found or [landmarker.locate(gray, (0.0, 0.0, float(width), float(height)), "face")]
    return faces


def _check_failures(report: LandmarkReport) -> None:
    """Raise InputError when all pictures failed, otherwise log those that did."""
    if not report.failed:
        return
    if len(report.failed) == report.images:
        raise InputError(f"{failures(report)}; repair these pictures or name others")
    _log.warning("%s", failures(report))


def _listing(report: LandmarkReport) -> dict[str, Any]:
    return {"several_faces": report.several_faces, "no_face": report.no_face, "failed": report.failed}
