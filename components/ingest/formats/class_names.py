"""The attribute that the class names of a data set are values of."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from components.ingest.formats.listing import Listing
from components.shared.dataset.label_spaces import canonical_value, known_value, label_space

FACE = "face"
_EMOTIONS = set(label_space("emotion").class_labels)
_CLOSED = ("mask", "gender", "age")


@dataclass(frozen=True, slots=True)
class ClassNames:
    """The attribute that classes are values of, None when there is none, and the value of each class name."""

    attribute: str | None
    values: dict[str, str | int]


def class_names(names: Iterable[str], used: Collection[str], attribute: str | None, listing: Listing) -> ClassNames:
    """Map class names to values of an attribute.

    Without an `attribute`, the names that are `used`, those of classes with faces, tell it: they are `emotion` when all
    are emotions and the seven are among the names, no attribute when there is only `face`, and `label` otherwise. A
    name that is not a value of a known attribute gets none. Names that differ in case only are one class, noted.
    """
    names = list(dict.fromkeys(names))
    attribute = attribute or _guessed(names, [name for name in names if name in used] or names)
    if attribute is None:
        return ClassNames(None, {})
    values = {name: value for name in names if (value := known_value(attribute, name)) is not None}
    return ClassNames(attribute, merged_spellings(values, {}, listing))


def _guessed(names: Iterable[str], used: Iterable[str]) -> str | None:
    if {name.strip().lower() for name in used} <= {FACE}:
        return None
    emotions = {canonical_value("emotion", name) for name in used} <= _EMOTIONS
    return "emotion" if emotions and {canonical_value("emotion", name) for name in names} >= _EMOTIONS else "label"


def merged_spellings(
    values: Mapping[str, str | int], counts: Mapping[str, int], listing: Listing
) -> dict[str, str | int]:
    """Return the values of class names with one spelling for those that differ in case only, noted.

    It is that of the name with the largest count, or else of the first one.
    """
    spelling: dict[str, str | int] = {}
    for name in sorted(values, key=lambda name: -counts.get(name, 0)):
        spelling.setdefault(str(values[name]).casefold(), values[name])
    merged = {name: spelling[str(value).casefold()] for name, value in values.items()}
    for name, value in merged.items():
        if value != values[name]:
            listing.notes.add("spelling_of_class", f"{name} is read as {value}", counts.get(name, 1))
    return merged


def is_known_value(attribute: str, name: str) -> bool:
    """Tell whether a name is a value of the attribute; of one of your own, whether it is an emotion or a mask state."""
    for known in (attribute,) if attribute in (*_CLOSED, "emotion") else ("emotion", "mask"):
        value = known_value(known, name)
        if value is not None and (known != "emotion" or value in _EMOTIONS):
            return True
    return False
