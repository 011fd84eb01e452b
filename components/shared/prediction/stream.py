"""Models over many photos: in the order of the photos, in bounded memory, and where it was stopped it goes on.

The results come in parts of photos. Each finished part is a file in a folder of its own, so that a run that was killed
costs the part it was in; the next one reads the others and gives the same.
"""

import fcntl
import glob
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, starmap
from pathlib import Path

import msgspec

from components.shared.cache import library_versions
from components.shared.prediction.detect import search_photo
from components.shared.prediction.ensemble import Ensemble, Model
from components.shared.prediction.inputs import Failure, NotFiniteError, check_failures, check_finite
from components.shared.prediction.photo_set import GivenPhoto, PhotoSet
from components.shared.prediction.results import (
    BoxList,
    ModelFacts,
    PredictedPhoto,
    PredictedRow,
    table_of,
)
from components.shared.prediction.tables import Part
from components.shared.progress import progress
from serving.runtime.detector import Detector
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.photo import Photo
from serving.runtime.ordered_map import ordered_map
from serving.runtime.output import whole_file

PHOTOS_PER_PART = 256

_FORMAT = 2
"""Of the files of parts; another one is not read."""
_LIBRARIES = ("onnxruntime", "numpy", "pillow", "simplejpeg", "pi-heif")
_AHEAD = 2
_PHOTOS_PER_TURN = 16
"""Photos that a thread takes at a time; fewer where not every thread would get _LEAST_TURNS: the last may run alone."""
_LEAST_TURNS = 64
_log = logging.getLogger(__name__)


def predicted_photos(model: Model, photos: PhotoSet, *, workers: int) -> Iterator[PredictedPhoto]:
    """Yield what a model says of each photo, in their order, and show how far it is.

    A photo is read and decoded once, for all members and views. Every face is computed alone, on one of `workers`
    threads, so that no answer depends on the others or on `workers`: open the model with one thread, as `open_models`
    does. A composite answers exactly what the endpoint answers to a request with the photo alone, and
    so does a detector from its threshold on.

    Args:
        model: an ensemble, which sees the given faces, or a detector or composite, which find theirs.
        photos: the photos.
        workers: threads that decode and compute.
    """
    turn = min(_PHOTOS_PER_TURN, max(1, len(photos.photos) // (_LEAST_TURNS * workers)))
    turns = (photos.photos[start : start + turn] for start in range(0, len(photos.photos), turn))

    def predict(several: Sequence[GivenPhoto]) -> list[PredictedPhoto]:
        return [_predicted(model, photos, photo) for photo in several]

    done = ordered_map(predict, turns, workers=workers, ahead=_AHEAD * workers)
    yield from progress((photo for _, several in done for photo in several), "predict", len(photos.photos))


def _predicted(model: Model, photos: PhotoSet, given: GivenPhoto) -> PredictedPhoto:
    empty = PredictedPhoto(given.id, given.path, sha256=given.sha256)
    if isinstance(model, Ensemble) and not given.faces:
        return empty
    try:
        photo = Photo(photos.pictures.read(given.path, given.sha256))
        if isinstance(model, Ensemble):
            return _classified(model, photo, given, empty)
        if isinstance(model, Detector):
            served, by_label = search_photo(model, photo)
            kept = None if by_label is served else BoxList.of(by_label)
            return replace(empty, served=BoxList.of(served), by_label=kept)
        (found,) = model.predict([(photo, [])])
        for face in found:
            check_finite(face.heads, model.name)
        return replace(empty, rows=tuple(starmap(PredictedRow, enumerate(found, start=1))))
    except (ImageError, NotFiniteError) as error:
        count = len(given.faces) if isinstance(model, Ensemble) else 1
        return replace(empty, failures=(Failure.of(error),) * count)


def _classified(model: Ensemble, photo: Photo, given: GivenPhoto, empty: PredictedPhoto) -> PredictedPhoto:
    rows: list[PredictedRow] = []
    failures: list[Failure] = []
    for face in given.faces:
        try:
            rows.append(PredictedRow(face.id, model.classify(photo, face)))
        except InputError as error:
            failures.append(Failure.of(error))
    return replace(empty, rows=tuple(rows), failures=tuple(failures))


@contextmanager
def finished_parts(output: Path) -> Iterator[Path]:
    """Give the folder for the parts of an output, beside it; it stays when the block raises and goes when it ends.

    What a killed process has left of the output itself is removed.

    Raises InputError when another process writes the same output.
    """
    folder = output.with_name(f".{output.name}.parts")
    descriptor = _locked(folder, output)
    try:
        for left in output.parent.glob(f".{glob.escape(output.name)}.*.partial"):
            left.unlink()
        yield folder
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _locked(folder: Path, output: Path) -> int:
    """Return the folder, open and locked; where another process removes it just before that, it is made again."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(
                f"{output}: another process is writing it; wait for that, or name another output"
            ) from None
        except FileNotFoundError:
            pass
        os.close(descriptor)


def predict_stream(
    model: Model, photos: PhotoSet, *, workers: int, max_failed: int, parts: Path, lost: int = 0
) -> Iterator[Part]:
    """Yield what a model says of the photos in parts of PHOTOS_PER_PART, in their order: the rows of one table.

    A part that is finished lies in `parts`. Called again with the same model and photos it yields those first and
    computes the rest: the results are the same as without an interruption. Parts of other models or photos are removed.

    Args:
        model: see `predicted_photos`, as `photos` and `workers`.
        photos: the photos.
        workers: threads.
        max_failed: how many faces may fail, of a model that finds its own how many photos; checked at the end, so that
            the message names all, and a run with a larger limit has them finished.
        parts: the folder of `finished_parts`.
        lost: how many of those that may fail were lost before.

    Raises:
        InputError: too many faces failed, or photos are others than the annotations describe.
    """
    own = parts / _key(model, photos)
    for other in parts.iterdir():
        if other != own:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    own.mkdir(exist_ok=True)
    facts = ModelFacts.of(model, photos.digest)
    failed: list[tuple[str, Failure]] = []
    for part in _parts(model, photos, own, workers):
        failed += [(photo.path, failure) for photo in part for failure in photo.failures]
        yield table_of(facts, part)
    total = photos.faces() if isinstance(model, Ensemble) else len(photos.photos)
    check_failures(failed, max_failed, total, "faces" if isinstance(model, Ensemble) else "photos", lost=lost)


def _parts(model: Model, photos: PhotoSet, folder: Path, workers: int) -> Iterator[list[PredictedPhoto]]:
    count = 0
    while (part := _read(_file(folder, count))) is not None:
        yield part
        count += 1
    start = count * PHOTOS_PER_PART
    if count and start < len(photos.photos):
        _log.info("%d of %d photos are finished; the others follow", start, len(photos.photos))
    rest = predicted_photos(model, photos.part(start, len(photos.photos)), workers=workers)
    while part := list(islice(rest, PHOTOS_PER_PART)):
        with whole_file(_file(folder, count)) as partial:
            partial.write_bytes(msgspec.json.encode(part))
        yield part
        count += 1


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"


def _read(path: Path) -> list[PredictedPhoto] | None:
    """Return a finished part; None where there is none, or it is damaged: then it is made again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[PredictedPhoto])
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _key(model: Model, photos: PhotoSet) -> str:
    """Return the name of the parts' folder: a sha256 over all that the results depend on."""
    facts = {"format": _FORMAT, "photos": PHOTOS_PER_PART, "libraries": library_versions(_LIBRARIES)}
    digest = hashlib.sha256(msgspec.json.encode([facts, model.name, model.version, model.sha256, photos.digest]))
    for photo in photos.photos:
        digest.update(msgspec.json.encode(photo))
    return digest.hexdigest()
