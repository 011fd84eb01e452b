"""The class of a face in a label space."""

from collections.abc import Iterator

from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.label_spaces import LabelSpace
from serving.runtime.errors import InputError


class FaceClasses:
    """The classes of faces in a label space, computed once per combination of attributes."""

    def __init__(self, space: LabelSpace) -> None:
        self._space = space
        self._cache: dict[tuple[str | None, ...], int | str | None] = {}

    def __call__(self, face: Face) -> int | None:
        """Return the class, or None when an attribute is missing. Raises InputError on an invalid one."""
        values = map(face.attributes.get, self._space.attributes)
        key = tuple(None if value is None else str(value) for value in values)
        if key not in self._cache:
            self._cache[key] = self._look_up(face)
        result = self._cache[key]
        if isinstance(result, str):
            raise InputError(result)
        return result

    def _look_up(self, face: Face) -> int | str | None:
        """Return the class, None, or the error of an attribute."""
        try:
            indices = self._space.encode(face.attributes)
        except InputError as error:
            return str(error)
        return None if indices is None else self._space.class_index(indices)

    def of_image(self, image: Image) -> Iterator[int]:
        """Yield the class of every face that has one. Raises InputError naming the image, as for a face."""
        for face in image.faces:
            try:
                result = self(face)
            except InputError as error:
                raise InputError(f"image '{image.file_name}': {error}") from error
            if result is not None:
                yield result
