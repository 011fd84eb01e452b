"""Which class of a label space a face has."""

from collections.abc import Iterator

from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.label_spaces import LabelSpace
from serving.runtime.errors import InputError


class FaceClasses:
    """The classes of faces in a label space, worked out once per combination of facts: large data have few of these."""

    def __init__(self, space: LabelSpace) -> None:
        self._space = space
        self._known: dict[tuple[str | None, ...], int | str | None] = {}

    def __call__(self, face: Face) -> int | None:
        """Return the class, or None when a fact is missing. Raises InputError on one that cannot be understood."""
        facts = map(face.attributes.get, self._space.attributes)
        key = tuple(None if fact is None else str(fact) for fact in facts)
        if key not in self._known:
            self._known[key] = self._look_up(face)
        found = self._known[key]
        if isinstance(found, str):
            raise InputError(found)
        return found

    def _look_up(self, face: Face) -> int | str | None:
        """Return the class, None, or what is wrong with a fact."""
        try:
            indices = self._space.encode(face.attributes)
        except InputError as error:
            return str(error)
        return None if indices is None else self._space.class_index(indices)

    def of_image(self, image: Image) -> Iterator[int]:
        """Yield the class of every face that has one. Raises InputError naming the image, as for a face."""
        for face in image.faces:
            try:
                found = self(face)
            except InputError as error:
                raise InputError(f"image '{image.file_name}': {error}") from error
            if found is not None:
                yield found
