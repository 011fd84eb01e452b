"""Faces per class, in every label space that has any."""

from collections import Counter
from collections.abc import Iterable

from components.shared.dataset.annotations import Image
from components.shared.dataset.label_spaces import LABEL_SPACES, LabelSpace, label_space
from serving.runtime.errors import InputError


def class_counts(images: Iterable[Image], extra: Iterable[str] = ()) -> dict[str, dict[str, int]]:
    """Count faces per class in every label space that has any: the built-in ones and those named in `extra`.

    An invalid value of an attribute counts as no label.
    """
    spaces: list[LabelSpace] = []
    for name in (*LABEL_SPACES, *extra):
        space = label_space(name)
        if all(space.class_labels != other.class_labels or space.attributes != other.attributes for other in spaces):
            spaces.append(space)
    read = list(dict.fromkeys(attribute for space in spaces for attribute in space.attributes))
    kinds: Counter[tuple[str | None, ...]] = Counter()
    for image in images:
        for face in image.faces:
            stated = (face.attributes.get(attribute) for attribute in read)
            kinds[tuple(None if value is None else str(value) for value in stated)] += 1
    counted = {}
    for space in spaces:
        counts = [0] * len(space.class_labels)
        for values, number in kinds.items():
            try:
                label = space.class_of(dict(zip(read, values, strict=True)))
            except InputError:
                continue
            if label is not None:
                counts[label] += number
        if any(counts):
            counted[space.name] = dict(zip(space.class_labels, counts, strict=True))
    return counted
