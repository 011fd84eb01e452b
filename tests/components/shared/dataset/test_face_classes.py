"""The class of a face, looked up once per combination of facts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import LABEL_SPACES, label_space
from serving.runtime.errors import InputError

VALUES = st.one_of(
    st.none(),
    st.integers(-1, 200),
    st.floats(0, 99),
    st.booleans(),
    st.sampled_from(["worn", "Worn", "male", "여", "30"]),
)


def image(*facts):
    return Image(1, "a.jpg", 9, 9, tuple(Face(at, None, attributes) for at, attributes in enumerate(facts, start=1)))


@given(
    name=st.sampled_from(LABEL_SPACES),
    faces=st.lists(st.dictionaries(st.sampled_from(["mask", "gender", "age", "emotion"]), VALUES), max_size=9),
)
def test_it_is_what_the_label_space_says(name, faces):
    """The faces have few values, so most are looked up when they are known already."""
    space = label_space(name)
    class_of = FaceClasses(space)
    for attributes in faces * 2:
        try:
            indices = space.encode(attributes)
        except InputError:
            with pytest.raises(InputError):
                class_of(Face(1, None, attributes))
        else:
            expected = None if indices is None else space.class_index(indices)
            assert class_of(Face(1, None, attributes)) == expected


def test_the_classes_of_an_image_leave_out_faces_without_one():
    class_of = FaceClasses(label_space("mask"))
    assert list(class_of.of_image(image({"mask": "absent"}, {}, {"mask": "worn"}))) == [2, 0]
    assert list(class_of.of_image(image())) == []


def test_a_fact_that_is_none_names_the_image_every_time():
    class_of = FaceClasses(label_space("mask"))
    for _ in range(2):
        with pytest.raises(InputError, match="image 'a.jpg': attribute 'mask': 'scarf' is not known"):
            list(class_of.of_image(image({"mask": "scarf"})))
    assert next(class_of.of_image(image({"mask": "worn"}, {"mask": "scarf"}))) == 0
