"""The class of a face in a label space."""

from collections.abc import Iterator

from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.label_spaces import LabelSpace
from serving.runtime.errors import InputError


class FaceClasses:
    """The classes of faces in a label space, computed once per combination of attributes."""

    def __init__(self, space: LabelSpace) -> None:
        self._space = space
        self._classes: dict[tuple[str | None, ...], int | None] = {}

    def __call__(self, face: Face) -> int | None:
        """Return the class, or None when an attribute is missing. Raises InputError on an invalid one."""
        values = map(face.attributes.get, self._space.source_attributes)
        key = tuple(None if value is None else str(value) for value in values)
        if key not in self._classes:
            self._classes[key] = self._space.class_of(face.attributes)
        return self._classes[key]

    def of_image(self, image: Image) -> Iterator[int]:
        """Yield the class of every face that has one. Raises InputError naming the image, as for a face."""
        for face in image.faces:
            try:
                result = self(face)
            except InputError as error:
                raise InputError(f"image '{image.file_name}': {error}") from error
            if result is not None:
                yield result
