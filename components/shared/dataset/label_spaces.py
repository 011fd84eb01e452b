"""Label spaces: pure functions from raw attributes to class indices. The only module with an encoding.

mask: 0 worn, 1 incorrect, 2 absent. gender: 0 male, 1 female. age: 0 below 30, 1 from 30 to 59, 2 from 60 on.
gender_age = 3*gender + age. mask_gender_age = 6*mask + 3*gender + age.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.dataset.ages import OLDEST, age_span
from components.shared.dataset.text import composed
from components.shared.dataset.vocabulary import SPELLINGS
from serving.runtime.card import Head
from serving.runtime.errors import InputError
from serving.runtime.validation import nearest

AGE_THRESHOLDS = (30, 60)
AGE_BAND = "age_band"
"""The attribute of a face whose class of age is known and whose age is not: one of the labels of `age`."""

_LABELS = {
    "mask": ("worn", "incorrect", "absent"),
    "gender": ("male", "female"),
    "age": ("<30", "30-59", ">=60"),
    "emotion": ("anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad"),
}
ATTRIBUTES = tuple(_LABELS)
"""The attributes whose classes are known."""


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """What a classifier predicts.

    Attributes:
        name: the name that `label_space` resolves.
        heads: the outputs of the model, one index each.
        class_labels: the classes that metrics count; their index runs over the heads, last head fastest.
        attributes: the raw attributes that are read, first one slowest.
        age_thresholds: lower bounds of the second and third age class, in years.
    """

    name: str
    heads: tuple[Head, ...]
    class_labels: tuple[str, ...]
    attributes: tuple[str, ...]
    age_thresholds: tuple[int, int] = AGE_THRESHOLDS

    def encode(self, attributes: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return one index per head, or None when an attribute that is needed is absent.

        Where `age` is absent AGE_BAND counts, unless `age_thresholds` are others than the official ones. Raises
        InputError on an invalid value.
        """
        indices = []
        for attribute in self.attributes:
            index = self._index(attribute, attributes)
            if index is None:
                return None
            indices.append(index)
        if len(self.heads) == len(indices):
            return tuple(indices)
        sizes = [len(_LABELS[attribute]) for attribute in self.attributes]
        return (int(np.ravel_multi_index(indices, sizes)),)

    @property
    def source_attributes(self) -> tuple[str, ...]:
        """All raw attributes that `encode` may look at: with `age` also AGE_BAND, which stands in for it."""
        return (*self.attributes, AGE_BAND) if "age" in self.attributes else self.attributes

    def _index(self, attribute: str, attributes: Mapping[str, Any]) -> int | None:
        labels = _LABELS[attribute] if len(self.attributes) > 1 else self.heads[0].labels
        value = attributes.get(attribute)
        if value is None and attribute == "age" and self.age_thresholds == AGE_THRESHOLDS:
            attribute, value = AGE_BAND, attributes.get(AGE_BAND)
        if value is None:
            return None
        canonical = canonical_value(attribute, value)
        if isinstance(canonical, int):
            return sum(canonical >= threshold for threshold in self.age_thresholds)
        if canonical not in labels:
            raise InputError(
                f"attribute '{attribute}': {value!r} is not a class of label space '{self.name}': {', '.join(labels)}"
            )
        return labels.index(str(canonical))

    def class_of(self, attributes: Mapping[str, Any]) -> int | None:
        """Return the class, None when an attribute that is needed is absent. Raises InputError on an invalid value."""
        if not self.heads:
            return 0
        indices = self.encode(attributes)
        return None if indices is None else self.class_index(indices)

    def attributes_of(self, index: int) -> dict[str, str]:
        """Return the attributes that a class stands for; its class of age, which is no age, as AGE_BAND."""
        singles = [self] if len(self.attributes) == 1 else [label_space(name) for name in self.attributes]
        parts = np.unravel_index(index, [len(single.class_labels) for single in singles])
        return {
            AGE_BAND if single.attributes == ("age",) else single.attributes[0]: single.class_labels[part]
            for single, part in zip(singles, parts, strict=True)
        }

    def class_index(self, head_indices: Sequence[int]) -> int:
        """Return the class of one index per head."""
        return int(np.ravel_multi_index(tuple(head_indices), [len(head.labels) for head in self.heads]))

    def class_probabilities(self, heads: Mapping[str, npt.NDArray[np.floating]]) -> npt.NDArray[np.floating]:
        """Return (N, len(class_labels)) class probabilities from one (N, K) array per head.

        Several heads are taken as independent: the probability of a class is the product over the heads.
        """
        joint = heads[self.heads[0].name]
        for head in self.heads[1:]:
            product = joint[:, :, None] * heads[head.name][:, None, :]
            joint = product.reshape(len(joint), product.shape[1] * product.shape[2])  # -1 is unclear without rows
        assert joint.shape[1] == len(self.class_labels), joint.shape
        return joint


def spelling(text: str) -> str:
    """Return a word as the vocabulary lists it: composed letters in lower case, underscores between words."""
    return re.sub(r"[\s-]+", "_", composed(text.strip()).lower())


_own_words: ContextVar[Mapping[str, Mapping[str, str | int]]] = ContextVar("own_words")


@contextmanager
def own_words(values: Mapping[str, Mapping[str, str | int]]) -> Iterator[None]:
    """Let `canonical_value` understand further spellings, by attribute, as long as the context lasts."""
    words = {attribute: {spelling(word): value for word, value in known.items()} for attribute, known in values.items()}
    token = _own_words.set(words)
    try:
        yield
    finally:
        _own_words.reset(token)


def own_value(attribute: str, text: str) -> str | int | None:
    """Return the value that `own_words` gives a word; None without one."""
    words = _own_words.get({}).get(attribute)
    return words.get(spelling(text)) if words else None


def canonical_value(attribute: str, value: Any) -> str | int:
    """Return the value as it is stored: the one spelling of a mask state, gender or emotion, an age as an integer.

    They are understood as the vocabulary has them, Korean in composed and in decomposed letters. A range of ages within
    one age class is the age in its middle, or the first one where there is no last: 24 for `20-29`, 60 for `60+`. An
    emotion outside of the seven comes back in lower case: a named list may hold it. Values of other attributes come
    back as composed (NFC) text. Raises InputError on an invalid value, and on ages of more than one age class.
    """
    text = composed(str(value).strip())
    own = own_value(attribute, text)
    text = text if own is None else composed(str(own).strip())
    if attribute == "age":
        return _age(value, text)
    if attribute == "emotion":
        return SPELLINGS["emotion"].get(text.lower(), text.lower())
    if attribute in SPELLINGS:
        known = SPELLINGS[attribute]
        key = spelling(text)
        if key not in known:
            raise InputError(f"attribute '{attribute}': {value!r} is not known; known: {', '.join(sorted(known))}")
        return known[key]
    return text


def known_value(attribute: str, value: Any) -> str | int | None:
    """Return the canonical value, None for an invalid one."""
    try:
        return canonical_value(attribute, value)
    except InputError:
        return None


def _age(value: Any, text: str) -> int:
    span = None if isinstance(value, bool) else age_span(text)
    if span is None:
        raise InputError(f"attribute 'age': {value!r} is not an age; write whole years from 0 to {OLDEST}")
    first, last = span
    if any(first < bound <= last for bound in AGE_THRESHOLDS):
        bounds = " and ".join(map(str, AGE_THRESHOLDS))
        raise InputError(f"attribute 'age': {value!r} are ages of more than one class; the classes part at {bounds}")
    return first if last == OLDEST else (first + last) // 2


def _joint_labels(attributes: Sequence[str]) -> tuple[str, ...]:
    return tuple(map("/".join, itertools.product(*(_LABELS[attribute] for attribute in attributes))))


_COMBINATIONS = {
    "mask": ("mask",),
    "gender": ("gender",),
    "age": ("age",),
    "gender_age": ("gender", "age"),
    "mask_gender_age": ("mask", "gender", "age"),
    "all": ("mask", "gender", "age"),
    "emotion": ("emotion",),
}
LABEL_SPACES = tuple(_COMBINATIONS)


def label_space(name: str, age_thresholds: tuple[int, int] = AGE_THRESHOLDS) -> LabelSpace:
    """Return the label space called `name`.

    `name` is one of LABEL_SPACES; attributes with a head each, such as `gender+age`, whose classes are their
    combinations; or a named list `attribute:class_a,class_b,...` of at least two classes. `age_thresholds` moves the
    bounds of the age classes, their labels stay. Raises InputError on another name.
    """
    if not 0 < age_thresholds[0] < age_thresholds[1]:
        raise InputError(f"age thresholds must be positive and ascending, got {age_thresholds}")
    if name in _COMBINATIONS:
        attributes = _COMBINATIONS[name]
        classes = _joint_labels(attributes)
        heads = _heads(attributes) if name == "all" else (Head(name=name, labels=classes),)
        return LabelSpace(name, heads, classes, attributes, age_thresholds)
    if "+" in name and ":" not in name:
        attributes = tuple(part.strip() for part in name.split("+"))
        for attribute in attributes:
            if attribute not in _LABELS or attributes.count(attribute) > 1:
                wrong = "occurs twice" if attribute in _LABELS else f"must be one of {', '.join(_LABELS)}"
                raise InputError(f"label space '{name}': '{attribute}' {wrong}")
        return LabelSpace(
            "+".join(attributes), _heads(attributes), _joint_labels(attributes), attributes, age_thresholds
        )
    return _named_list(name)


FACE = LabelSpace("face", (), ("face",), ())
"""Every face in the one class of a detector. No classifier predicts it, so `label_space` does not know its name."""


def space_of_faces(name: str) -> LabelSpace:
    """Return the label space called `name`, FACE for "". Raises InputError as `label_space`."""
    return label_space(name) if name else FACE


def _heads(attributes: Sequence[str]) -> tuple[Head, ...]:
    return tuple(Head(name=attribute, labels=_LABELS[attribute]) for attribute in attributes)


def _named_list(name: str) -> LabelSpace:
    attribute, colon, listed = name.partition(":")
    attribute = attribute.strip()
    if not colon or not re.fullmatch(r"[A-Za-z_]\w*", attribute):
        raise InputError(
            f"unknown label space '{name}'{nearest(name, LABEL_SPACES)}; known: {', '.join(LABEL_SPACES)}, "
            "heads side by side as 'gender+age', "
            "or a list 'attribute:class_a,class_b,...'"
        )
    if attribute == "age":
        raise InputError(
            f"label space '{name}': ages are grouped by the label space 'age', a list of them is not known"
        )
    classes = tuple(str(canonical_value(attribute, text)) for text in listed.split(",") if text.strip())
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise InputError(f"label space '{name}' needs at least two different classes after the colon")
    heads = (Head(name=attribute, labels=classes),)
    return LabelSpace(f"{attribute}:{','.join(classes)}", heads, classes, (attribute,))
