"""Every face of a data set as a picture of its own, in an image archive with annotations that follow."""

import logging
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from components.crop_faces.cut import CroppedFace, crop_face
from components.crop_faces.options import CropOptions
from components.shared.cache import cached_folder, library_versions
from components.shared.dataset.annotations import (
    Annotations,
    Image,
    count_images,
    digest,
    images_digest,
    read_annotations,
    write_annotations,
)
from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from components.shared.dataset.crops import ANNOTATIONS
from components.shared.dataset.info import CropInfo
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.dataset.tally import Tally
from components.shared.options import parse_options, whole_numbers
from components.shared.progress import progress
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.photo import Photo
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map
from serving.runtime.output import check_output, whole_folder

_RESULTS = 2
"""Counts the changes of what is written for equal inputs; older entries of the cache are not used then."""

_AHEAD = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropReport:
    """How many crops there are, of how many images, what failed by reason, and what is not as the rule says.

    `without_face` images have no face and so no crop. `unaligned` faces have no usable eye points, and were cut by
    their boxes though the rule has `eyes`.
    """

    crops: int
    images: int
    failed: dict[str, int]
    without_face: int
    unaligned: int


def crop_faces(
    images: Path, annotations: Path, output: Path, options: Mapping[str, Any], *, workers: int = 0
) -> CropReport:
    """Write the crops of all faces into a folder: image archives and `annotations.json`.

    A crop has the name of its photo with the suffix of its type, and `_1`, `_2`, ... before it where the photo has
    several faces. Image ids are new, face ids stay. A face without a box is its whole image. Equal inputs and options
    give equal bytes, and are not computed again where there is a cache. Photos outside image archives are those of
    before where the annotations have the same digests of them; without digests they are always cut.

    Args:
        images: folder with the image archives, a folder tree or a ZIP archive of photos.
        annotations: COCO JSON with the faces.
        output: the folder to write.
        options: see `CropOptions`.
        workers: threads; 0 takes one per CPU.

    Raises:
        InputError: an option is wrong, images are missing or are others than the annotations
            describe, the output exists, or too many faces failed.
    """
    check_output(output, images, annotations)
    parsed = parse_options(CropOptions, whole_numbers(options), "options of crop_faces")
    photos, _ = find_pictures(images)
    data = read_annotations(annotations)
    photos_digest = _digest(photos, data)
    key = {
        "annotations": digest(annotations),
        "images": photos_digest,
        "options": parsed.model_dump(mode="json"),
        "results": _RESULTS,
        "libraries": library_versions(("numpy", "pi-heif", "pillow", "simplejpeg")),
    }

    def make(folder: Path) -> dict[str, Any]:
        return asdict(_write(photos, data, folder, parsed, workers or usable_cpus()))

    if photos_digest is None:
        with whole_folder(output) as folder:
            report = CropReport(**make(folder))
    else:
        report = CropReport(**cached_folder("crop_faces", key, output, make))
    failed = sum(report.failed.values())
    _log.info("%d crops of %d images; %d faces could not be cropped", report.crops, report.images, failed)
    return report


def _digest(photos: Pictures, data: Annotations) -> str | None:
    """Return the digest of the photos: of a folder or ZIP, what the annotations say of each; None where they do not."""
    if isinstance(photos, ImageArchive):
        return photos.digest()
    return images_digest(data.images) if all(image.sha256 for image in data.images) else None


def _write(photos: Pictures, data: Annotations, folder: Path, options: CropOptions, workers: int) -> CropReport:
    check_present(photos, (image.file_name for image in data.images))
    failed, without_crop, unaligned, crops = Tally(max_examples=None), list[int](), 0, list[Image]()
    names = crop_names(data.images, options.format)
    jobs = progress([image for image in data.images if image.faces], "crop_faces")

    def cut(image: Image) -> list[CroppedFace | InputError]:
        try:
            encoded = photos.read(image.file_name, image.sha256)
        except ImageError as error:
            return [error for _ in image.faces]
        return list(_crops(encoded, image, data.keypoint_names, options))

    with ArchiveWriter(folder) as writer:
        for image, results in ordered_map(cut, jobs, workers=workers, ahead=_AHEAD * workers):
            for name, face, result in zip(names[image.id], image.faces, results, strict=True):
                if isinstance(result, InputError):
                    reason = result.reason if isinstance(result, ImageError) else "box"
                    failed.add(reason, f"{image.file_name}, face {face.id}: {result}")
                    without_crop.append(face.id)
                    continue
                writer.add(name, result.data)
                crops.append(replace(result.image, id=len(crops) + 1, file_name=name))
                unaligned += options.eyes is not None and not result.aligned
    _check_failures(failed, options.max_failed, len(crops))
    empty = [image.file_name for image in data.images if not image.faces]
    made = CropInfo(
        options=options.model_dump(mode="json"), lossless=options.format == "png", failed=tuple(without_crop)
    )
    write_annotations(_annotations(data, crops, failed, empty, made), folder / ANNOTATIONS)
    if unaligned:
        _log.warning("%d of %d faces have no usable eye points and were cut by their boxes", unaligned, len(crops))
    if options.format == "jpeg":
        _log.warning("the crops are JPEGs: compressed once more, they give other scores than the photos")
    return CropReport(len(crops), len({image.source for image in crops}), failed.counts, len(empty), unaligned)


def _crops(
    data: bytes, image: Image, names: tuple[str, ...], options: CropOptions
) -> Iterator[CroppedFace | InputError]:
    """Yield the crop of every face of an image, or why there is none."""
    photo = Photo(data)
    for face in image.faces:
        try:
            if photo.upright != (image.height, image.width):
                sizes = (f"{width} x {height}" for height, width in (photo.upright, (image.height, image.width)))
                raise InputError(f"the image has {next(sizes)} pixels, but its annotations are for {next(sizes)}")
            yield crop_face(photo, image, face, names, options)
        except InputError as error:
            yield error


def crop_names(images: Sequence[Image], suffix: str) -> dict[int, list[str]]:
    """Return the names of the crops of every image by its id, all different.

    Photos that differ in their suffix only, or whose names look like those of numbered crops, keep their suffix in the
    name.
    """
    extension = {"png": "png", "jpeg": "jpg"}[suffix]
    taken: set[str] = set()
    names = {}
    for image in images:
        stem = posixpath.splitext(image.file_name)[0]
        stems = chain((stem, image.file_name), (f"{image.file_name}-{number}" for number in count(2)))
        for candidate in stems:
            numbered = [f"{candidate}_{number}" for number in range(1, len(image.faces) + 1)]
            of_image = [f"{name}.{extension}" for name in (numbered if len(image.faces) > 1 else [candidate])]
            if taken.isdisjoint(of_image):
                break
        taken.update(of_image)
        names[image.id] = of_image
    return names


def _check_failures(failed: Tally, max_failed: int, cropped: int) -> None:
    if not failed.total:
        return
    message = f"{failed.total} of {failed.total + cropped} faces could not be cropped: {failed}"
    if failed.total > max_failed or not cropped:
        raise InputError(f"{message}; repair or remove these images, or allow so many with max_failed={failed.total}")
    _log.warning("%s", message)


def _annotations(data: Annotations, crops: list[Image], failed: Tally, empty: list[str], made: CropInfo) -> Annotations:
    """Return the annotations of the crops, with what was done and what was left out in their info."""
    lost = Tally(dict(data.info.lost), dict(data.info.lost_examples), max_examples=None)
    lost.update(failed)
    skipped = Tally(dict(data.info.skipped), dict(data.info.skipped_examples), max_examples=None)
    for name in empty:
        skipped.add("no_face", name)
    info = data.info.changed(
        images_digest=images_digest(crops),
        counts=count_images(crops).record(),
        crops=made.record(),
        lost=lost.counts,
        lost_examples=lost.examples,
        skipped=skipped.counts,
        skipped_examples=skipped.examples,
    )
    return Annotations(tuple(crops), info, data.keypoint_names)
