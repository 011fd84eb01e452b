"""Classes of faces, looked up once per combination of facts."""

from collections import Counter
from collections.abc import Iterable

from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.label_spaces import LABEL_SPACES, LabelSpace, label_space
from serving.runtime.errors import InputError


class Encoder:
    """The class of a face in a label space."""

    def __init__(self, space: LabelSpace) -> None:
        self.space = space
        self._known: dict[tuple[str | None, ...], int | None] = {}

    def __call__(self, face: Face) -> int | None:
        """Return the class, or None when a fact is missing. Raises InputError on one that cannot be understood."""
        facts = map(face.attributes.get, self.space.attributes)
        key = tuple(None if fact is None else str(fact) for fact in facts)
        if key not in self._known:
            indices = self.space.encode(face.attributes)
            self._known[key] = None if indices is None else self.space.class_index(indices)
        return self._known[key]

    def of_image(self, image: Image) -> int | None:
        """Return the class of the first face that has one. Raises InputError naming the image."""
        try:
            return next((found for face in image.faces if (found := self(face)) is not None), None)
        except InputError as error:
            raise InputError(f"image '{image.file_name}': {error}") from error


def class_counts(images: Iterable[Image], extra: Iterable[str] = ()) -> dict[str, dict[str, int]]:
    """Count faces per class in every label space that has any: the built-in ones and those named in `extra`.

    A fact that a label space cannot understand counts as no label here.
    """
    spaces = [label_space(name) for name in dict.fromkeys([*LABEL_SPACES, *extra]) if name != "all"]
    read = list(dict.fromkeys(attribute for space in spaces for attribute in space.attributes))
    kinds: Counter[tuple[str | None, ...]] = Counter()
    for image in images:
        for face in image.faces:
            found = [face.attributes.get(attribute) for attribute in read]
            kinds[tuple(None if value is None else str(value) for value in found)] += 1
    counted = {}
    for space in spaces:
        counts = [0] * len(space.class_labels)
        for values, number in kinds.items():
            try:
                indices = space.encode(dict(zip(read, values, strict=True)))
            except InputError:
                continue
            if indices is not None:
                counts[space.class_index(indices)] += number
        if any(counts):
            counted[space.name] = dict(zip(space.class_labels, counts, strict=True))
    return counted
