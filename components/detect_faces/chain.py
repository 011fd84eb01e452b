"""The chain of detectors: what adopt_detectors wrote, opened, and the search through one photo."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from components.detect_faces.config import DetectOptions
from components.detect_faces.detections import FoundFace, FoundFaces
from components.detect_faces.members import OPEN, Finder
from components.detect_faces.plausible import found_face
from components.shared.chain_file import ChainMember, read_chain
from components.shared.dataset.annotations import Image
from serving.runtime.image.photo import Photo


class Chain:
    """Open detectors in order; threads may use it at once."""

    def __init__(self, members: Sequence[ChainMember], finders: Sequence[Finder]) -> None:
        self._members = [(member.name, finder) for member, finder in zip(members, finders, strict=True)]

    def find(self, image: Image, photo: Photo, limits: DetectOptions) -> FoundFaces:
        """Find the faces of an image with the first detector that finds a plausible one.

        Raises ImageError when the image cannot be used.
        """
        height, width = photo.upright
        faces: list[FoundFace] = []
        finder = ""
        for name, detector in self._members:
            found = [found_face(face, name, (height, width), limits) for face in detector.find(image, photo)]
            faces += found
            if not all(face.implausible for face in found):
                finder = name
                break
        return FoundFaces(image.file_name, image.sha256, height, width, finder, tuple(faces))


@contextmanager
def open_chain(folder: Path, images: Sequence[Image], workers: int) -> Iterator[Chain]:
    """Open the detectors of a folder; when the block ends they are closed. Raises as `read_chain`.

    Args:
        folder: what adopt_detectors wrote.
        images: all images of the data set.
        workers: the number of threads that will search.
    """
    members = read_chain(folder).members
    with ExitStack() as stack:
        finders = [OPEN[member.kind](member, folder / member.file, images, workers, stack) for member in members]
        yield Chain(members, finders)
