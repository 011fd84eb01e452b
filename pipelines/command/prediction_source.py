"""What `facet predict` reads: photos of a folder, an archive or S3, those of an info.csv, or annotated faces."""

import codecs
import hashlib
import logging
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from components.ingest.faces import fitted_faces
from components.ingest.formats.coco.reader import CocoOptions, read_coco
from components.ingest.formats.listing import Listing, Options, Record
from components.ingest.formats.tables.manifest import read_manifest
from components.ingest.formats.tables.manifest_columns import ManifestOptions
from components.ingest.sources.source import ARCHIVES, Source
from components.shared.dataset.annotations import Face, named_points
from components.shared.dataset.answers import ID
from components.shared.dataset.tally import Tally
from components.shared.dataset.text import is_hidden, is_image_name, some
from components.shared.prediction.photo_set import GivenFace, GivenPhoto, PhotoSet, bare_photo_set
from components.shared.prediction.submission import SubmissionForm, parse_form
from components.shared.report.rendering import counted
from serving.runtime.errors import ImageError, InputError, NotFoundError
from serving.runtime.image.header import Header, read_header
from serving.runtime.image.placement import eye_points
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map
from serving.runtime.storage import Location

INFO = "info.csv"
"""The table of evaluation data."""

_IMAGES = "images"
_TABLES = (".csv", ".tsv")
_HEAD = 2**16
_OF_PHOTO = 2**18
"""Bytes that hold the header of a JPEG: EXIF data have at most 64 KiB."""
_EXPECTED = (
    "a folder or a ZIP archive of photos, an s3:// prefix, an info.csv with the column ImageID, a COCO file, or a "
    "table of faces (CSV) beside its photos"
)
_OTHERS = (
    "Other annotations (Pascal VOC, CVAT, LabelMe, Label Studio, YOLO) are read by `facet step ingest`, and what it "
    "writes is predicted by `facet step predict`"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundSource:
    """Photos to predict.

    Attributes:
        photos: the photos and, for classifiers, their faces.
        form: the table that names them, where an `info.csv` does; a photo is called by its `ImageID` then.
        lost: photos and faces that the source has or names and that cannot be used, by reason.
    """

    photos: PhotoSet
    form: SubmissionForm | None = None
    lost: Tally = field(default_factory=Tally)


def open_source(source: str) -> FoundSource:
    """Find the photos of a source.

    Of a folder, an archive or an `s3://` prefix every photo is one face, the whole of it; where `info.csv` is in it,
    with a column `ImageID`, only the photos that it names, in the folder `images` beside it or right there. A COCO file
    or a table of faces names photos in or below its own folder, and gives their boxes, in upright pixels.

    Raises:
        InputError: it is none of these, has no photo, or names photos that are not there.
        NotFoundError: there is no such file or folder.
        StorageError: it cannot be read.
    """
    location = Location(source)
    if not location.bucket:
        if not location.folder.exists():
            raise NotFoundError(f"{source}: there is no such file or folder; expected {_EXPECTED}")
        if any(location.folder.glob("images-*.zip")):  # what ingest wrote; its photos have names of their own
            return FoundSource(bare_photo_set(location.folder))
    if _is_one_file(location):
        return _of_file(location.parent.uri, location.name)
    files = Source(source)
    if INFO in files.paths and _names_pictures(files.read(INFO)[:_HEAD]):
        return _of_form(files, INFO)
    names = [path for path in files.paths if is_image_name(path) and not is_hidden(path)]
    if not names:
        raise InputError(f"{source}: no photo found in {counted(len(files.paths), 'file')}; expected {_EXPECTED}")
    others = [path for path in files.paths if not is_image_name(path) and not is_hidden(path)]
    if others:
        count = "1 file is no photo" if len(others) == 1 else f"{len(others)} files are no photos"
        _log.warning("%s: %s: %s", source, count, some(others))
    photos = [GivenPhoto(n, name, (GivenFace(n, None),)) for n, name in enumerate(names, start=1)]
    return FoundSource(_photo_set(files, {name: name for name in names}, photos), lost=files.dropped)


def _is_one_file(location: Location) -> bool:
    """Tell whether a location is a single file that is no archive."""
    if location.name.lower().endswith(tuple(ARCHIVES)):
        return False
    return [entry.path for entry in location.list()] == [""] if location.bucket else location.folder.is_file()


def _names_pictures(head: bytes) -> bool:
    """Tell whether the beginning of a table has a column `ImageID`."""
    first = head.removeprefix(codecs.BOM_UTF8).split(b"\n")[0].decode("utf-8", "replace")
    return ID.lower() in (cell.strip(' "\r').lower() for cell in first.replace(";", ",").replace("\t", ",").split(","))


class _Pictures:
    """Photos of a source by other names; see `components.shared.dataset.pictures.Pictures`."""

    def __init__(self, files: Source, paths: Mapping[str, str]) -> None:
        self.names = tuple(paths)
        self._files = files
        self._paths = paths

    def read(self, name: str, sha256: str | None = None) -> bytes:
        """Return the bytes of a photo; nothing is known about its digest."""
        try:
            return self._files.read(self._paths[name])
        except InputError as error:
            raise ImageError("truncated", str(error)) from error


def _photo_set(files: Source, paths: Mapping[str, str], photos: Sequence[GivenPhoto]) -> PhotoSet:
    stamp_of = _stamps(files)
    stamped = [replace(photo, stamp=stamp_of(paths[photo.path])) for photo in photos]
    return PhotoSet(_Pictures(files, paths), stamped)


def _stamps(files: Source) -> Callable[[str], str]:
    """Return what gives for each path what changes with its file; of a photo in an archive, with any visible file."""
    location = Location(files.uri)
    stamps = {}
    for entry in files.entries:
        changed = entry.etag
        if not location.bucket and not entry.fault:
            changed = str((location.folder / entry.path if entry.path else location.folder).stat().st_mtime_ns)
        stamps[entry.path] = f"{entry.size} {changed}"
    visible = sorted(item for item in stamps.items() if not is_hidden(item[0]))
    whole = hashlib.sha256(repr(visible).encode(errors="surrogateescape")).hexdigest()
    return lambda path: stamps.get(files.original(path) or path, whole)


def _of_file(folder: str, name: str) -> FoundSource:
    """Find the photos that a file names, in or below its folder."""
    files = Source(folder)
    if name not in files.paths:
        raise InputError(f"{folder}/{name}: cannot be read as a source; expected {_EXPECTED}")
    if name.lower().endswith(_TABLES):
        if _names_pictures(files.read(name)[:_HEAD]):
            return _of_form(files, name)
        options = ManifestOptions(manifest=name)
        return _of_listing(files, name, read_manifest(files, options), options)
    data = files.read(name)
    if data[:_HEAD].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{") and b'"images"' in data:
        coco = CocoOptions(annotations=name)
        return _of_listing(files, name, read_coco(files, coco), coco)
    raise InputError(
        f"{folder}/{name}: neither an archive nor a file that names photos; expected {_EXPECTED}. {_OTHERS}"
    )


def _of_form(files: Source, table: str) -> FoundSource:
    """Find the photos that an `info.csv` names."""
    form = parse_form(files.read_text(table), f"{files.uri}/{table}")
    beside = posixpath.dirname(table)
    present = set(files.paths)
    folders = (posixpath.join(beside, _IMAGES), beside)
    paths: dict[str, str] = {}
    missing = []
    for name in form.ids:
        found = next((path for folder in folders if (path := posixpath.join(folder, name)) in present), None)
        if found is None:
            missing.append(name)
        else:
            paths[name] = found
    if missing:
        raise InputError(
            f"{form.name}: {len(missing)} of {len(form.ids)} pictures are neither in the folder '{_IMAGES}' beside it "
            f"nor right there: {some(missing)}; put them there, or remove their rows"
        )
    unnamed = [
        path for path in files.paths if is_image_name(path) and not is_hidden(path) and path not in paths.values()
    ]
    if unnamed:
        _log.warning("%s: %d pictures have no row in it: %s", form.name, len(unnamed), some(unnamed))
    photos = [GivenPhoto(n, name, (GivenFace(n, None),)) for n, name in enumerate(paths, start=1)]
    return FoundSource(_photo_set(files, paths, photos), form)


def _of_listing(files: Source, name: str, listing: Listing, options: Options) -> FoundSource:
    """Return the photos that a reader of ingest has listed, with the boxes of their faces in upright pixels."""
    if not listing.records:
        raise InputError(f"{files.uri}/{name}: names no photo that is there: {listing.dropped or 'it has no rows'}")
    for line in listing.layout:
        _log.info("%s", line)
    numbers = count(1)
    photos = []
    for number, (record, faces) in enumerate(_faces(files, listing, options), start=1):
        given = tuple(_given(next(numbers), face, listing.keypoint_names) for face in faces)
        photos.append(GivenPhoto(number, record.path, given))
    faceless = [photo.path for photo in photos if not photo.faces]
    if faceless:
        _log.warning("%s: %d photos have no face, and so a classifier no row: %s", name, len(faceless), some(faceless))
    lost = Tally()
    for tally in (listing.dropped, listing.lost):
        lost.update(tally)
    if listing.notes.total:
        _log.info("noted: %s", listing.notes)
    return FoundSource(_photo_set(files, {photo.path: photo.path for photo in photos}, photos), lost=lost)


def _given(number: int, face: Face, names: Sequence[str]) -> GivenFace:
    return GivenFace(number, face.box, face.score, eye_points(named_points(face, names)))


def _faces(files: Source, listing: Listing, options: Options) -> Iterator[tuple[Record, tuple[Face, ...]]]:
    """Yield the records in the order of their paths, with their faces in upright pixels.

    The header of a photo says how it is turned, so those with boxes are opened: of a JPEG its beginning is read, which
    is enough for most. A photo that cannot be has its faces as they are: the prediction says what is wrong with it.
    """
    boxed = {record.path for record in listing.records if any(face.box or face.keypoints for face in record.faces)}
    boxed |= {record.path for record in listing.records if record.candidates}
    headers: dict[str, Header] = {}
    workers = usable_cpus()
    for (path, data), header in ordered_map(_header, files.heads(boxed, _OF_PHOTO), workers=workers, ahead=2 * workers):
        if header is not None and (header.jpeg or len(data) < _OF_PHOTO):
            headers[path] = header
    rest = files.stream(boxed - headers.keys())
    for (path, _), header in ordered_map(_header, rest, workers=workers, ahead=2 * workers):
        if header is not None:
            headers[path] = header
    for record in sorted(listing.records, key=lambda record: record.path):
        header = headers.get(record.path)
        yield record, fitted_faces(record, header, options, listing) if header else record.faces


def _header(item: tuple[str, bytes]) -> Header | None:
    try:
        return read_header(item[1])
    except ImageError:
        return None
