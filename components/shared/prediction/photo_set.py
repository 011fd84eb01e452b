"""The photos that models run over: where their bytes are, and which faces of each are given."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from components.shared.dataset.annotations import Annotations, Image, named_points
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.prediction.inputs import images_of_split
from serving.runtime.image.placement import Box, Keypoints, eye_points

ALL = "all"


@dataclass(frozen=True, slots=True)
class GivenFace:
    """A face to classify.

    Attributes:
        id: no two faces of a set have the same.
        box: x, y, width, height in upright pixels; None for the whole photo.
        score: the score of the detector that found the face, None where none did.
        eyes: the points that models align faces by, empty where they are not known.
    """

    id: int
    box: Box | None
    score: float | None = None
    eyes: Keypoints = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GivenPhoto:
    """A photo to predict.

    Attributes:
        id: no two photos of a set have the same.
        path: its name in the set's pictures, as tables show it.
        faces: those that a classifier sees; detectors and composites find their own.
        sha256: of the file, in hex; None where it is not known.
        stamp: what changes with the file where `sha256` is not known, such as its size and time; may be empty.
    """

    id: int
    path: str
    faces: tuple[GivenFace, ...]
    sha256: str | None = None
    stamp: str = ""


@dataclass(frozen=True)
class PhotoSet:
    """Photos to predict, in the order of the results.

    Attributes:
        pictures: gives the bytes of a photo by its `path`; threads call it.
        photos: the photos.
        digest: names the data set, as `info.images_digest` of its annotations; "" where it is not known.
    """

    pictures: Pictures
    photos: Sequence[GivenPhoto]
    digest: str = ""

    def part(self, start: int, stop: int) -> Self:
        """Return the set of the photos from `start` up to `stop`."""
        return replace(self, photos=self.photos[start:stop])

    def faces(self) -> int:
        """Return how many faces are given."""
        return sum(len(photo.faces) for photo in self.photos)


def bare_photo_set(images: Path) -> PhotoSet:
    """Return all pictures of a folder with image archives, a folder tree or a ZIP archive, by name.

    Each is one face, the whole of it; photo and face have its number, from 1 on.

    Raises InputError when there is no picture.
    """
    pictures, names = find_pictures(images)
    archives = [images] if images.is_file() else sorted(images.glob("images-*.zip"))
    shared = " ".join(map(_stamp, archives))
    bare = [
        GivenPhoto(number, name, (GivenFace(number, None),), stamp=shared or _stamp(images / name))
        for number, name in enumerate(names, start=1)
    ]
    return PhotoSet(pictures, bare)


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def photo_set_of(pictures: Pictures, data: Annotations, split: str, *, may_be_empty: bool = False) -> PhotoSet:
    """Return the photos of a split with their annotated faces, by image id and face id.

    Args:
        pictures: where they are.
        data: the annotations.
        split: test, val, train, or all.
        may_be_empty: accept a split without an image.

    Raises InputError when the split is unknown or empty, or a picture is missing.
    """
    chosen = images_of_split(data, split, may_be_empty=may_be_empty)
    check_present(pictures, (image.file_name for image in chosen))
    photos = [_photo(image, data.keypoint_names) for image in chosen]
    return PhotoSet(pictures, photos, data.info.images_digest or "")


def _photo(image: Image, names: Sequence[str]) -> GivenPhoto:
    faces = tuple(
        GivenFace(face.id, face.box, face.score, eye_points(named_points(face, names)))
        for face in sorted(image.faces, key=lambda face: face.id)
    )
    return GivenPhoto(image.id, image.file_name, faces, image.sha256)
