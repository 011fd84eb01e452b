"""The attribute that the class names of a detection data set are values of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.shared.dataset.label_spaces import canonical_value, label_space
from serving.runtime.errors import InputError

FACE = "face"
_EMOTIONS = set(label_space("emotion").class_labels)


@dataclass(frozen=True, slots=True)
class ClassNames:
    """The attribute that classes are values of, None when there is none, and the value of each class."""

    attribute: str | None
    values: dict[Any, str | int]


def class_names(names: Mapping[Any, str], attribute: str | None) -> ClassNames:
    """Map classes to values of an attribute.

    Without an `attribute`, exactly the seven emotions are `emotion`, the one class `face` is no attribute, and
    everything else is `label`. A class that is not a value of a known attribute gets none.
    """
    if attribute is None:
        if {name.strip().lower() for name in names.values()} <= {FACE}:
            return ClassNames(None, {})
        attribute = "emotion" if {canonical_value("emotion", name) for name in names.values()} == _EMOTIONS else "label"
    values: dict[Any, str | int] = {}
    for key, name in names.items():
        try:
            values[key] = canonical_value(attribute, name)
        except InputError:
            continue
    return ClassNames(attribute, values)
