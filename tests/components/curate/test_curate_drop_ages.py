from collections import Counter

import pytest

from components.shared.dataset.annotations import Face, Image
from serving.runtime.errors import InputError


def people(*ages, split=None):
    return [
        Image(index, f"{index}.jpg", 9, 9, (Face(index, None, {"age": age}),), f"p{index}", split)
        for index, age in enumerate(ages, 1)
    ]


def out_of_training(data):
    return [image.faces[0].attributes["age"] for image in data.images if not image.trainable]


def test_ranges_include_their_ends_and_drop_nobody(run):
    report, data = run(
        people(29, 30, 34, 35, 55, 56, 57, 58, 59, 60), {"drop_ages": {"ranges": [[30, 34], [56.0, 58.0]]}}
    )
    assert out_of_training(data) == [30, 34, 56, 57, 58]
    assert len(data.images) == 10
    assert report.dropped == {}
    assert report.operations[0].counts == {"not_trainable": 5}
    assert report.operations[0].examples["not_trainable"] == ["2.jpg", "3.jpg", "6.jpg", "7.jpg", "8.jpg"]


def test_the_ages_of_the_field(run):
    """Of 2,430 training persons, the 40 aged 30 to 34 and the 350 aged 56 to 58 go, 2,040 stay."""
    train = people(*[20] * 1200, *[32] * 40, *[50] * 740, *[57] * 350, *[60] * 100, split="train")
    val = [
        Image(9000 + index, f"v{index}.jpg", 9, 9, (Face(9000 + index, None, {"age": 57}),), f"v{index}", "val")
        for index in range(270)
    ]
    _, data = run([*train, *val], {"drop_ages": {"ranges": [[30, 34], [56, 58]]}})
    assert Counter((image.split, image.trainable) for image in data.images) == {
        ("train", True): 2040,
        (None, False): 390,
        ("val", True): 270,
    }


@pytest.mark.parametrize("split", ["val", "test"])
def test_val_and_test_are_untouched(run, split):
    images = people(30, 57, split=split)
    report, data = run(images, {"drop_ages": {"ranges": [[30, 60]]}})
    assert list(data.images) == images
    assert report.operations[0].counts == {}


def test_ages_to_keep(run):
    _, data = run(people(17, 18, 29, 30, 40), {"drop_ages": {"keep": [[18, 29], [40, 40]]}})
    assert out_of_training(data) == [17, 30]


def test_without_an_age_nobody_is_concerned(run):
    images = [Image(1, "a", 9, 9, (Face(1, None, {}),)), Image(2, "b", 9, 9)]
    _, data = run(images, {"drop_ages": {"ranges": [[0, 150]]}})
    assert all(image.trainable for image in data.images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give 'ranges' or 'keep'"),
        ({"ranges": [[1, 2]], "keep": [[3, 4]]}, "give 'ranges' or 'keep'"),
        ({"ranges": [[34, 30]]}, r"the range \[34, 30\] is reversed"),
        ({"ranges": [[30]]}, r"ranges\.0\.1: is missing"),
        ({"ranges": [[30, 200]]}, "ranges.0.1 = 200: "),
        ({"ranges": [[30.5, 40]]}, "ranges.0.0 = 30.5: "),
    ],
)
def test_ranges_that_are_none(run, options, message):
    with pytest.raises(InputError, match=message):
        run(people(30), {"drop_ages": options})
