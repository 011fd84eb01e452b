"""Raw data into the two artifacts of a data set: the image archive and the annotations."""

import itertools
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.ingest.faces import fitted_faces
from components.ingest.formats.aihub.reader import AihubOptions, read_aihub
from components.ingest.formats.coco.reader import CocoOptions, read_coco
from components.ingest.formats.folders.class_folder import ClassFolderOptions, read_class_folders
from components.ingest.formats.folders.photos import PhotosOptions, read_photos
from components.ingest.formats.folders.profile import ProfileOptions, read_profiles
from components.ingest.formats.listing import Listing, Options
from components.ingest.formats.recognize import candidates, recognize
from components.ingest.formats.tables.evaluation import EvaluationOptions, read_evaluation
from components.ingest.formats.tables.fer2013 import Fer2013Options, read_fer2013
from components.ingest.formats.tables.manifest import read_manifest
from components.ingest.formats.tables.manifest_columns import ManifestOptions
from components.ingest.formats.tools.cvat import CvatOptions, read_cvat
from components.ingest.formats.tools.label_studio import LabelStudioOptions, read_label_studio
from components.ingest.formats.tools.labelme import LabelmeOptions, read_labelme
from components.ingest.formats.tools.voc import VocOptions, read_voc
from components.ingest.formats.yolo.reader import YoloOptions, read_yolo
from components.ingest.image_checks import ADVICE, check_image, is_other_type
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Annotations, Image, count_images, images_digest, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import Counts, DatasetInfo
from components.shared.dataset.label_spaces import own_words
from components.shared.dataset.tally import Tally
from components.shared.dataset.text import some
from components.shared.options import parse_options
from components.shared.progress import progress
from serving.runtime.errors import ImageError, InputError
from serving.runtime.ordered_map import ordered_map
from serving.runtime.output import check_output
from serving.runtime.storage import is_s3
from serving.runtime.validation import known

_log = logging.getLogger(__name__)

_SHOWN_VALUES = 20


@dataclass(frozen=True, slots=True)
class Format:
    """A layout of raw data: its options and its reader."""

    options: type[Options]
    read: Callable[[Source, Any], Listing]


FORMATS = {
    "profile": Format(ProfileOptions, read_profiles),
    "aihub": Format(AihubOptions, read_aihub),
    "class_folder": Format(ClassFolderOptions, read_class_folders),
    "manifest": Format(ManifestOptions, read_manifest),
    "coco": Format(CocoOptions, read_coco),
    "yolo": Format(YoloOptions, read_yolo),
    "fer2013": Format(Fer2013Options, read_fer2013),
    "evaluation": Format(EvaluationOptions, read_evaluation),
    "voc": Format(VocOptions, read_voc),
    "cvat": Format(CvatOptions, read_cvat),
    "labelme": Format(LabelmeOptions, read_labelme),
    "label_studio": Format(LabelStudioOptions, read_label_studio),
    "photos": Format(PhotosOptions, read_photos),
}
AUTO = "auto"
"""The format that is recognized from the source."""


def ingest(
    source: str,
    images: Path,
    annotations: Path,
    *,
    format: str = AUTO,  # noqa: A002
    options: Mapping[str, Any] | None = None,
    source_digest: str = "",
    workers: int | None = None,
) -> DatasetInfo:
    """Read raw data from a folder or `s3://` and write the images and annotations artifacts.

    Every image is decoded once; one that cannot be used is left out and counted. Bytes go into the archive unchanged,
    under their path relative to the source, in the order of the source. The annotations are in the order of the paths,
    so they are the same for loose images and for archives. Boxes are clipped to their image.

    Args:
        source: a local folder or archive (`.zip`, `.tar`, `.tar.gz`, `.tgz`), or one in S3 (`s3://bucket/prefix`).
        images: the folder of archives to write.
        annotations: the COCO file to write.
        format: one of FORMATS, or `auto`: the one that the source is recognized to have.
        options: the options of that format.
        source_digest: digest of the source's listing, recorded with the data when given.
        workers: threads that check images, by default one per core.

    Returns:
        What is recorded about the data: counts, and what was left out, by reason.

    Raises:
        InputError: an unknown or unrecognized format, an unknown option, no images, too many lost images or faces, or
            an output in the source.
        StorageError: the source cannot be read.
    """
    if format not in (AUTO, *FORMATS):
        raise InputError(f"unknown format '{format}'{known(format, (AUTO, *FORMATS))}")
    settings = None if format == AUTO else _settings(format, options)
    if not is_s3(source):
        for output in (images, annotations):
            check_output(output, Path(source.removeprefix("file://")))
    with ArchiveWriter(images) as writer:
        files = Source(source, settings.encoding if settings else _encoding(options))
        recognized = None if settings else recognize(files)
        format = recognized.format if recognized else format  # noqa: A001
        settings = settings or _settings(format, options)
        listing = _listing(files, format, settings)
        listing.layout[:0] = [f"format {recognized}"] if recognized else []
        _refuse_losses(listing, [len(record.faces) for record in listing.records], settings.max_dropped, source)
        kept = _transfer(files, listing, settings, writer, workers or len(os.sched_getaffinity(0)))
        _refuse_losses(listing, [len(image.faces) for image in kept], settings.max_dropped, source)
        counts = count_images(kept)
        info = _info(source, format, source_digest, counts, listing).changed(images_digest=images_digest(kept))
        write_annotations(Annotations(tuple(kept), info, listing.keypoint_names), annotations)
    if not counts.persons:
        _log.warning("%s: nothing tells which images show one person; each counts as a person of its own", source)
    _log.info("%s: %d images, %d faces, %d persons", source, counts.images, counts.faces, counts.persons)
    for line in _summary(kept, counts, listing):
        _log.info("%s", line)
    return info


def _settings(format_name: str, options: Mapping[str, Any] | None) -> Options:
    return parse_options(FORMATS[format_name].options, options or {}, f"options of format '{format_name}'")


def _encoding(options: Mapping[str, Any] | None) -> str | None:
    """Return the option that a source needs before its format is recognized."""
    encoding = {name: value for name, value in (options or {}).items() if name == "encoding"}
    return parse_options(Options, encoding, f"options of format '{AUTO}'").encoding


def _listing(source: Source, format_name: str, options: Options) -> Listing:
    """Read a source. An error also says what the source looks like, where that is another format."""
    try:
        with own_words(options.values):
            listing = FORMATS[format_name].read(source, options)
    except InputError as error:
        looks = _looks(source, format_name)
        if not looks:
            raise
        raise InputError(f"{error}. {looks.strip()}") from error
    listing.layout += [f"not in UTF-8 but read as: {line}" for line in source.read_as.lines()]
    listing.skipped.update(source.skipped)
    listing.dropped.update(source.dropped)
    source.dropped = listing.dropped  # a damaged file in an archive is noticed when it is read
    if not listing.records:
        left_out = "; ".join(_left_out(listing))
        raise InputError(
            f"{source.uri}: no image found in the format '{format_name}'. {_looks(source, format_name)}{left_out}"
        )
    return listing


def _looks(source: Source, format_name: str) -> str:
    found = candidates(source)
    if not found or format_name in (candidate.format for candidate in found):
        return ""
    return f"The source looks like {', or '.join(map(str, found))}. "


def _refuse_losses(listing: Listing, faces: Sequence[int], limit: float, source: str) -> None:
    """Raise InputError when too much is lost beside the images that are read, of which each has so many faces."""
    for what, lost, read in (
        ("images", listing.dropped, len(faces)),
        ("faces, or what the data say about them,", listing.lost, sum(faces)),
    ):
        if lost.total > limit * (read + lost.total):
            raise InputError(
                f"{source}: {lost.total} of {read + lost.total} {what} cannot be used, at most {limit:.0%} may be "
                f"(option 'max_dropped'): {'; '.join([str(lost), *_advice(lost)])}"
            )


def _left_out(listing: Listing) -> list[str]:
    tallies = {
        "lost images": listing.dropped,
        "lost faces, labels, boxes": listing.lost,
        "not part of the data": listing.skipped,
        "noted": listing.notes,
    }
    lines = [f"{name}: {line}" for name, tally in tallies.items() for line in tally.lines()]
    return [*lines, *_advice(listing.dropped)] or ["nothing left out"]


def _advice(lost: Tally) -> list[str]:
    return [f"{reason}: {ADVICE[reason]}" for reason in sorted(lost.counts) if reason in ADVICE]


def _summary(images: Sequence[Image], counts: Counts, listing: Listing) -> Iterator[str]:
    """Yield how the source was understood, the table of what was read and lost, and the reasons."""
    yield from listing.layout
    for attribute, values in _values(images).items():
        shown = some([f"{value} {count}" for value, count in values.most_common()], _SHOWN_VALUES)
        yield f"{attribute}: {shown}"
    splits = Counter(image.split or "none" for image in images)
    if splits.keys() != {"none"}:
        yield f"splits: {', '.join(f'{name} {count}' for name, count in splits.most_common())}"
    yield f"{'':8}{'read':>10}{'lost':>10}{'not part of the data':>22}"
    yield f"{'images':8}{counts.images:10,}{listing.dropped.total:10,}{listing.skipped.total:22,}"
    yield f"{'faces':8}{counts.faces:10,}{listing.lost.total:10,}"
    yield from _left_out(listing)


def _values(images: Iterable[Image]) -> dict[str, Counter[Any]]:
    """Count the values of every attribute."""
    values: dict[str, Counter[Any]] = defaultdict(Counter)
    for image in images:
        for face in image.faces:
            for attribute, value in face.attributes.items():
                if isinstance(value, str | int):
                    values[attribute][value] += 1
    return values


def _transfer(source: Source, listing: Listing, options: Options, writer: ArchiveWriter, workers: int) -> list[Image]:
    """Copy every usable image into the archive and return the annotations, in the order of the file names."""
    images = []
    records = {record.path: record for record in listing.records}
    # Decoding runs outside the GIL; few images are in memory.
    checked = ordered_map(lambda item: check_image(item[1]), source.stream(records), workers=workers, ahead=2 * workers)
    for (path, data), checks in progress(checked, "ingest", len(records)):
        if isinstance(checks, ImageError):
            listing.dropped.add(checks.reason, path)
            continue
        record = records[path]
        faces = fitted_faces(record, checks.header, options, listing)
        if record.faces and not faces:
            listing.dropped.add("every_face_lost", path)
            continue
        height, width = checks.header.upright
        if is_other_type(path, data):
            listing.notes.add("other_type_than_named", path)
        if checks.warning:
            listing.notes.add("decoder_warning", path)
        writer.add(path, data)
        image = Image(
            id=0,
            file_name=path,
            width=width,
            height=height,
            faces=faces,
            person=record.person,
            split=record.split,
            source=record.source or source.original(path),
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


def _info(source: str, format_name: str, source_digest: str, counts: Counts, listing: Listing) -> DatasetInfo:
    """Describe the data set. Of a local source only the folder's name is kept, so that equal data give equal bytes."""
    info = DatasetInfo(
        format=format_name,
        source=source if is_s3(source) else Path(source).resolve().name,
        leaks=False,
        persons_known=counts.persons > 0,
        counts=counts,
        layout=tuple(listing.layout),
        dropped=listing.dropped.counts,
        dropped_examples=listing.dropped.examples,
        lost=listing.lost.counts,
        lost_examples=listing.lost.examples,
        skipped=listing.skipped.counts,
        skipped_examples=listing.skipped.examples,
        notes=listing.notes.counts,
        notes_examples=listing.notes.examples,
    )
    return info.changed(source_digest=source_digest) if source_digest else info
