"""A person belongs to one split only."""

import pytest

from components.shared.dataset.annotations import Image
from components.shared.dataset.persons import crossing_persons, refuse_overlap, splits_of_persons
from serving.runtime.errors import InputError


def test_the_splits_of_a_person():
    facts = [("a", "train"), ("b", "val"), ("a", "test"), ("c", None), (None, "val"), (None, "train"), ("b", "val")]
    images = [
        Image(at, f"{at}.jpg", 9, 9, person=person, split=split) for at, (person, split) in enumerate(facts, start=1)
    ]
    assert splits_of_persons(images) == {"a": {"train", "test"}, "b": {"val"}}
    assert crossing_persons(images) == ["a"]


def test_an_overlap_names_persons_and_splits():
    refuse_overlap({"train": {"a", "b"}, "val": {"c"}, "test": set()})
    with pytest.raises(InputError, match="2 persons are in train and in test: a, b; a person belongs to one split"):
        refuse_overlap({"train": {"b", "a"}, "val": {"c"}, "test": {"a", "b", "d"}})
    many = {f"{at:02}" for at in range(30)}
    with pytest.raises(InputError, match="30 persons .* 18, 19, ...; a person"):
        refuse_overlap({"train": many, "val": many})
