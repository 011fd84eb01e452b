"""Raw data into the two artifacts of a data set: images in an archive, facts in annotations."""

import hashlib
import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.ingest.fingerprint import dhash
from components.ingest.formats.aihub import AihubOptions, read_aihub
from components.ingest.formats.class_folder import ClassFolderOptions, read_class_folders
from components.ingest.formats.coco import CocoOptions, read_coco
from components.ingest.formats.evaluation_folder import EvaluationOptions, read_evaluation
from components.ingest.formats.found import Found, FoundFace, Record
from components.ingest.formats.manifest import ManifestOptions, read_manifest
from components.ingest.formats.options import Options
from components.ingest.formats.profile import ProfileOptions, read_profiles
from components.ingest.formats.yolo import YoloOptions, read_yolo
from components.ingest.image_type import is_other_type
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Annotations, Box, Face, Image, count_images, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo
from components.shared.dataset.tally import Tally
from components.shared.options import parse_options
from components.shared.progress import progress
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.decode import decode
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, Header, read_header
from serving.runtime.output import check_output
from serving.runtime.storage import is_s3

_log = logging.getLogger(__name__)

# A picture is looked at in this size: decoded smaller, a resized copy no longer has nearly the same fingerprint.
_LOOK_PIXELS = 128
# Sums of fractions may miss an edge by this much.
_SAME_PIXELS = 1e-6


@dataclass(frozen=True, slots=True)
class Format:
    """A layout of raw data: its options and the function that finds the images in a source."""

    options: type[Options]
    read: Callable[[Source, Any], Found]


FORMATS = {
    "profile": Format(ProfileOptions, read_profiles),
    "aihub": Format(AihubOptions, read_aihub),
    "class_folder": Format(ClassFolderOptions, read_class_folders),
    "manifest": Format(ManifestOptions, read_manifest),
    "coco": Format(CocoOptions, read_coco),
    "yolo": Format(YoloOptions, read_yolo),
    "evaluation": Format(EvaluationOptions, read_evaluation),
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
    under their path relative to the source, in the order in which the source gives them. The annotations are in the
    order of the paths, so they do not tell whether images came loose or in archives. Boxes are clipped to their image.

    Args:
        source: a local folder or archive (`.zip`, `.tar`, `.tar.gz`, `.tgz`), or one in S3 (`s3://bucket/prefix`).
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
    settings = parse_options(FORMATS[format].options, options or {}, f"options of format '{format}'")
    if not is_s3(source):
        for output in (images, annotations):
            check_output(output, Path(source.removeprefix("file://")))
    with ArchiveWriter(images) as writer:
        files = Source(source)
        found = FORMATS[format].read(files, settings)
        found.skipped.update(files.skipped)
        found.dropped.update(files.dropped)
        files.dropped = found.dropped  # a damaged file in an archive is found when its turn comes
        if not found.records:
            raise InputError(f"{source}: no image found in the format '{format}'. {'; '.join(_left_out(found))}")
        expected = len(found.records) + found.dropped.total
        _refuse_too_many(found.dropped, expected, settings.max_dropped, source)
        kept = _transfer(files, found, settings, writer, workers or len(os.sched_getaffinity(0)))
        _refuse_too_many(found.dropped, expected, settings.max_dropped, source)
        info = _info(source, format, source_digest, kept, found)
        write_annotations(Annotations(tuple(kept), info), annotations)
    if not info.persons_known:
        _log.warning("%s: nothing tells which images show one person; each counts as a person of its own", source)
    report = IngestReport(
        images=len(kept),
        faces=sum(len(image.faces) for image in kept),
        persons=len({image.person for image in kept} - {None}),
        dropped=info.dropped,
        skipped=info.skipped,
        notes=info.notes,
    )
    _log.info("%s: %d images, %d faces, %d persons", source, report.images, report.faces, report.persons)
    for line in _left_out(found):
        _log.info("%s", line)
    return report


def _refuse_too_many(dropped: Tally, expected: int, limit: float, source: str) -> None:
    if dropped.total > limit * expected:
        raise InputError(
            f"{source}: {dropped.total} of {expected} images cannot be used, at most {limit:.0%} may be "
            f"(option 'max_dropped'): {dropped}"
        )


def _left_out(found: Found) -> list[str]:
    tallies = {"dropped": found.dropped, "skipped": found.skipped, "noted": found.notes}
    return [f"{name}: {line}" for name, tally in tallies.items() for line in tally.lines()] or ["nothing left out"]


def _transfer(source: Source, found: Found, options: Options, writer: ArchiveWriter, workers: int) -> list[Image]:
    """Copy every usable image into the archive and return the annotations, in the order of the file names."""
    images = []
    records = {record.path: record for record in found.records}
    checked = _check_all(source.stream(records), workers)
    for path, data, checks in progress(checked, "ingest", len(records)):
        if isinstance(checks, ImageError):
            found.dropped.add(checks.reason, path)
            continue
        height, width = checks.header.upright
        faces = _clipped_faces(records[path], checks.header, options.box_frame, found.notes)
        if is_other_type(path, data):
            found.notes.add("other_type_than_named", path)
        writer.add(path, data)
        image = Image(
            id=0,
            file_name=path,
            width=width,
            height=height,
            faces=tuple(Face(0, box, attributes) for box, attributes in faces),
            person=records[path].person,
            split=records[path].split,
            source=records[path].source or source.original(path),
            sha256=checks.sha256,
            dhash=checks.dhash,
        )
        images.append(image)
    return _numbered(sorted(images, key=lambda image: image.file_name))


def _numbered(images: Iterable[Image]) -> list[Image]:
    """Number images and faces from 1 on."""
    face_ids = itertools.count(1)
    return [
        replace(image, id=number, faces=tuple(replace(face, id=next(face_ids)) for face in image.faces))
        for number, image in enumerate(images, start=1)
    ]


@dataclass(frozen=True, slots=True)
class _Checks:
    """What one look at a usable image tells."""

    header: Header
    sha256: str
    dhash: str


def _check_all(pairs: Iterable[tuple[str, bytes]], workers: int) -> Iterator[tuple[str, bytes, _Checks | ImageError]]:
    """Check images on several threads (decoding runs outside the GIL), in order, with few of them in memory."""
    waiting: deque[tuple[str, bytes, Future[_Checks | ImageError]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path, data in pairs:
            waiting.append((path, data, pool.submit(_check, data)))
            if len(waiting) > 2 * workers:
                path, data, result = waiting.popleft()
                yield path, data, result.result()
        for path, data, result in waiting:
            yield path, data, result.result()


def _check(data: bytes) -> _Checks | ImageError:
    """Look at an image, or say why it cannot be used. A reduced decode still reads it all."""
    try:
        header = read_header(data, DEFAULT_MAX_PIXELS)
        pixels = decode(data, min_height=_LOOK_PIXELS, min_width=_LOOK_PIXELS)
    except ImageError as error:
        return error
    return _Checks(header, hashlib.sha256(data).hexdigest(), dhash(pixels))


def _clipped_faces(
    record: Record, header: Header, frame: str, notes: Tally
) -> Iterator[tuple[Box | None, dict[str, Any]]]:
    """Yield the faces with their boxes upright and clipped to the image.

    A box with nothing in the image is dropped: a single face stays and means the whole image, one of several goes.
    """
    height, width = header.upright
    if record.size is not None and record.size not in (header.upright, (header.height, header.width)):
        notes.add("size_differs", record.path)
    for face in record.faces:
        if face.box is None:
            yield None, face.attributes
            continue
        box = _upright(face, record, header, frame)
        x, y, box_width, box_height = box
        beyond = max(-x, -y, x + box_width - width, y + box_height - height)
        left, top = max(x, 0.0), max(y, 0.0)
        right, bottom = min(x + box_width, float(width)), min(y + box_height, float(height))
        if left >= right or top >= bottom:
            notes.add("box_outside", record.path)
            if len(record.faces) == 1:
                yield None, face.attributes
            continue
        if beyond > _SAME_PIXELS:
            notes.add("box_clipped", record.path)
        yield (left, top, right - left, bottom - top) if beyond > 0 else box, face.attributes


def _upright(face: FoundFace, record: Record, header: Header, frame: str) -> Box:
    """Return the box of a face in upright pixels."""
    assert face.box is not None
    stored = (header.height, header.width)
    in_stored = frame == "stored" or (frame == "auto" and record.size == stored != header.upright)
    height, width = stored if in_stored else header.upright
    x, y, box_width, box_height = face.box
    if face.normalized:
        x, y, box_width, box_height = x * width, y * height, box_width * width, box_height * height
    if not in_stored:
        return x, y, box_width, box_height
    left, top, right, bottom = header.rect_to_upright((x, y, x + box_width, y + box_height))
    return left, top, right - left, bottom - top


def _info(source: str, format_name: str, source_digest: str, images: Sequence[Image], found: Found) -> DatasetInfo:
    """Describe the data set. Of a local source only the folder's name is kept, so that equal data give equal bytes."""
    counts = count_images(images)
    return DatasetInfo(
        format=format_name,
        source=source if is_s3(source) else Path(source).resolve().name,
        leaks=False,
        persons_known=counts.persons > 0,
        counts=counts,
        dropped=found.dropped.counts,
        dropped_examples=found.dropped.examples,
        skipped=found.skipped.counts,
        skipped_examples=found.skipped.examples,
        notes=found.notes.counts,
        notes_examples=found.notes.examples,
        **({"source_digest": source_digest} if source_digest else {}),
    )
