"""Raw data into the two artifacts of a data set: images in an archive, facts in annotations."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.ingest.class_folder import ClassFolderOptions, read_class_folders
from components.ingest.found import Found, Record, Tally
from components.ingest.manifest import ManifestOptions, read_manifest
from components.ingest.options import Options, parse_options
from components.ingest.profile import ProfileOptions, read_profiles
from components.shared.dataset.annotations import Annotations, Box, Face, Image, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.progress import progress
from serving.runtime.errors import ImageError, InputError
from serving.runtime.preprocess import decode, read_size
from serving.runtime.storage import Location, is_s3, read_many

_log = logging.getLogger(__name__)

DOWNLOADS = 16


@dataclass(frozen=True, slots=True)
class Format:
    """A layout of raw data: its options and the function that finds the images in a listing of paths."""

    options: type[Options]
    read: Callable[[Location, Sequence[str], Any], Found]


FORMATS = {
    "profile": Format(ProfileOptions, read_profiles),
    "class_folder": Format(ClassFolderOptions, read_class_folders),
    "manifest": Format(ManifestOptions, read_manifest),
}


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What came out: images, faces and persons (0 when unknown), and counts of what was left out, by reason."""

    images: int
    faces: int
    persons: int
    dropped: dict[str, int]
    skipped: dict[str, int]
    notes: dict[str, int]


def ingest(
    source: str,
    images: Path,
    annotations: Path,
    *,
    format: str = "profile",  # noqa: A002
    options: Mapping[str, Any] | None = None,
    source_digest: str = "",
    workers: int | None = None,
) -> IngestReport:
    """Read raw data from a folder or `s3://` and write the images and annotations artifacts.

    Every image is decoded once; one that cannot be used is left out and counted. Bytes go into the archive unchanged,
    under their path relative to the source, in the order of the paths. Boxes are clipped to their image.

    Args:
        source: a local folder or an `s3://bucket/prefix`.
        images: the folder of archives to write.
        annotations: the COCO file to write.
        format: one of FORMATS.
        options: the options of that format.
        source_digest: digest of the source's listing, recorded with the data when given.
        workers: threads that check images, by default one per core.

    Raises:
        InputError: an unknown format or option, nothing found, too many unusable images, or an output in the source.
        StorageError: the source cannot be read.
    """
    if format not in FORMATS:
        raise InputError(f"unknown format '{format}'; known: {', '.join(FORMATS)}")
    settings = parse_options(FORMATS[format].options, options or {}, format)
    _refuse_overlap(source, images, annotations)
    location = Location(source)
    with ArchiveWriter(images) as writer:
        paths = [entry.path for entry in location.list()]
        found = FORMATS[format].read(location, paths, settings)
        if not found.records:
            raise InputError(f"{source}: no image found in the format '{format}'. {_left_out(found)}")
        expected = len(found.records) + found.dropped.total
        _refuse_too_many(found.dropped, expected, settings.max_dropped, source)
        kept = list(_transfer(location, found, writer, workers or len(os.sched_getaffinity(0))))
        _refuse_too_many(found.dropped, expected, settings.max_dropped, source)
        info = _info(source, format, source_digest, kept, found)
        write_annotations(Annotations(tuple(kept), info), annotations)
    if not info["persons_known"]:
        _log.warning("%s: nothing tells which images show one person; each counts as a person of its own", source)
    report = IngestReport(
        images=info["counts"]["images"],
        faces=info["counts"]["faces"],
        persons=info["counts"]["persons"],
        dropped=info["dropped"],
        skipped=info["skipped"],
        notes=info["notes"],
    )
    _log.info(
        "%s: %d images, %d faces, %d persons. %s", source, report.images, report.faces, report.persons, _left_out(found)
    )
    return report


def _refuse_overlap(source: str, *outputs: Path) -> None:
    if is_s3(source):
        return
    folder = Path(source.removeprefix("file://")).resolve()
    for output in outputs:
        if output.resolve().is_relative_to(folder):
            raise InputError(f"{output}: the output lies in the source {source}; name a folder outside of it")


def _refuse_too_many(dropped: Tally, expected: int, limit: float, source: str) -> None:
    if dropped.total > limit * expected:
        raise InputError(
            f"{source}: {dropped.total} of {expected} images cannot be used, at most {limit:.0%} may be "
            f"(option 'max_dropped'): {dropped}"
        )


def _left_out(found: Found) -> str:
    tallies = {"dropped": found.dropped, "skipped": found.skipped, "noted": found.notes}
    return ". ".join(f"{name}: {tally}" for name, tally in tallies.items() if tally.total) or "nothing left out"


def _transfer(location: Location, found: Found, writer: ArchiveWriter, workers: int) -> Iterator[Image]:
    """Copy every usable image into the archive and yield its annotation."""
    image_id = face_id = 0
    stream = read_many(location, [record.path for record in found.records], workers=DOWNLOADS)
    checked = _check_all(stream, workers)
    for record, (path, data, size) in zip(found.records, progress(checked, "ingest", len(found.records)), strict=True):
        assert path == record.path, (path, record.path)
        if isinstance(size, ImageError):
            found.dropped.add(size.reason, path)
            continue
        height, width = size
        image_id += 1
        faces = []
        for box, attributes in _clipped_faces(record, width, height, found.notes):
            face_id += 1
            faces.append(Face(face_id, box, attributes))
        writer.add(path, data)
        yield Image(image_id, path, width, height, tuple(faces), record.person, record.split)


def _check_all(
    pairs: Iterable[tuple[str, bytes]], workers: int
) -> Iterator[tuple[str, bytes, tuple[int, int] | ImageError]]:
    """Check images on several threads (decoding runs outside the GIL), in order, with few of them in memory."""
    waiting: deque[tuple[str, bytes, Future[tuple[int, int] | ImageError]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path, data in pairs:
            waiting.append((path, data, pool.submit(_check, data)))
            if len(waiting) > 2 * workers:
                path, data, result = waiting.popleft()
                yield path, data, result.result()
        for path, data, result in waiting:
            yield path, data, result.result()


def _check(data: bytes) -> tuple[int, int] | ImageError:
    """Return the upright (height, width), or why the image cannot be used. A reduced decode still reads it all."""
    try:
        size = read_size(data)
        decode(data, min_height=1, min_width=1)
    except ImageError as error:
        return error
    return size


def _clipped_faces(
    record: Record, width: int, height: int, notes: Tally
) -> Iterator[tuple[Box | None, dict[str, Any]]]:
    """Yield the faces with their boxes clipped to the image.

    A box with nothing in the image is dropped: a single face stays and means the whole image, one of several goes.
    """
    for face in record.faces:
        if face.box is None:
            yield None, face.attributes
            continue
        x, y, box_width, box_height = face.box
        left, top = max(x, 0.0), max(y, 0.0)
        right, bottom = min(x + box_width, float(width)), min(y + box_height, float(height))
        if left >= right or top >= bottom:
            notes.add("box_outside", record.path)
            if len(record.faces) == 1:
                yield None, face.attributes
            continue
        clipped = (left, top, right - left, bottom - top)
        if clipped != face.box:
            notes.add("box_clipped", record.path)
        yield clipped, face.attributes


def _info(source: str, format_name: str, source_digest: str, images: Sequence[Image], found: Found) -> dict[str, Any]:
    """Facts about the data set. Of a local source only the folder's name is kept: bytes must not tell its place."""
    persons = {image.person for image in images if image.person is not None}
    info: dict[str, Any] = {
        "format": format_name,
        "source": source if is_s3(source) else Path(source).resolve().name,
        "leaks": False,
        "persons_known": bool(persons),
        "counts": {
            "images": len(images),
            "faces": sum(len(image.faces) for image in images),
            "persons": len(persons),
            "images_without_person": sum(image.person is None for image in images),
        },
    }
    if source_digest:
        info["source_digest"] = source_digest
    for name, tally in {"dropped": found.dropped, "skipped": found.skipped, "notes": found.notes}.items():
        info[name] = tally.counts
        info[f"{name}_examples"] = tally.examples
    return info
