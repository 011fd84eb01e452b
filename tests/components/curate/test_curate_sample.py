import math
import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.curate.sample import SampleOptions, sample
from components.shared.dataset.annotations import Face, Image, read_annotations
from serving.runtime.errors import InputError


def classes(images, split=None):
    return Counter(image.faces[0].attributes["emotion"] for image in images if split is None or image.split == split)


def emotions(counts, split=None, start=1):
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [
        Image(index, f"{label}/{index}.jpg", 9, 9, (Face(index, None, {"emotion": label}),), split=split)
        for index, label in enumerate(labels, start=start)
    ]


@settings(max_examples=60, deadline=None)
@given(
    counts=st.dictionaries(st.sampled_from(["anger", "happy", "sad", "pain"]), st.integers(1, 60), min_size=1),
    ratio=st.one_of(st.integers(1, 100).map(lambda percent: percent / 100), st.floats(0.001, 1)),
    seed=st.integers(0, 5),
)
def test_floor_of_the_share_of_every_class(counts, ratio, seed):
    outcome = sample(emotions(counts), SampleOptions(ratio=ratio, label_space="emotion", seed=seed))
    expected = {label: math.floor(number * Fraction(str(ratio))) for label, number in counts.items()}
    assert classes(outcome.images) == Counter(expected)
    assert outcome.dropped.counts.get("not_sampled", 0) == sum(counts.values()) - sum(expected.values())


def test_a_ratio_is_taken_as_it_is_written():
    """In binary fractions 0.29 * 100 is a little less than 29."""
    outcome = sample(emotions({"sad": 100}), SampleOptions(ratio=0.29, label_space="emotion"))
    assert len(outcome.images) == 29


def test_same_seed_same_bytes_another_seed_another_sample(run, tmp_path, emotion_images):
    images = emotion_images({"anger": 40, "happy": 31, "sad": 9})
    mixed = random.Random(1).sample(images, len(images))
    for index, (given_images, seed) in enumerate([(images, 3), (images, 3), (mixed, 3), (images, 4)]):
        run(given_images, {"sample": {"ratio": 0.5, "label_space": "emotion", "seed": seed}})
        assert (tmp_path / f"out{index}.json").exists()
    first, second, mixed_up, other = ((tmp_path / f"out{index}.json").read_bytes() for index in range(4))
    assert first == second == mixed_up
    chosen = [{image.id for image in read_annotations(tmp_path / f"out{index}.json").images} for index in (0, 3)]
    assert chosen[0] != chosen[1]
    assert len(chosen[0]) == len(chosen[1])
    assert first != other


def test_the_test_set_stays_whole(run, emotion_images):
    images = [
        *emotion_images({"anger": 20, "sad": 11}),
        *emotion_images({"anger": 7, "sad": 5}, split="test", start=100),
        *emotion_images({"anger": 6}, split="val", start=200),
    ]
    report, data = run(images, {"sample": {"ratio": 0.25, "label_space": "emotion"}})
    assert classes(data.images, "test") == {"anger": 7, "sad": 5}
    assert classes(data.images, "val") == {"anger": 6}
    assert Counter(image.split for image in data.images)[None] == 5 + 2
    assert report.dropped == {"not_sampled": 31 - 7}
    assert data.info.dropped == {"not_sampled": 24}
    assert len(data.info.dropped_examples["not_sampled"]) == 20


def test_a_fraction_of_an_already_split_set(run, emotion_images):
    """Every split is halved by class, and the labels of dropped images are dropped."""
    counts = {"anger": 13, "sad": 6}
    images = [
        *emotion_images(counts, "train"),
        *emotion_images(counts, "val", start=100),
        *emotion_images(counts, "test", start=200),
    ]
    _, data = run(
        images, {"sample": {"ratio": 0.5, "label_space": "emotion", "splits": ["train", "val", "test"], "seed": 1}}
    )
    for split in ("train", "val", "test"):
        assert classes(data.images, split) == {"anger": 6, "sad": 3}
    originals = {image.id: image for image in images}
    assert all(image == originals[image.id] for image in data.images)
    assert data.info.counts.faces == 27


def test_the_splits_are_drawn_independently(emotion_images):
    train = emotion_images({"sad": 40}, "train")
    val = [replace(image, id=image.id + 100, file_name=f"v/{image.file_name}", split="val") for image in train]
    options = SampleOptions(ratio=0.5, label_space="emotion", splits=("train", "val"))
    both = {image.id for image in sample([*train, *val], options).images}
    alone = {image.id for image in sample(val, options).images}
    assert {index for index in both if index > 100} == alone
    assert {index - 100 for index in alone} != {index for index in both if index < 100}


def test_a_smaller_sample_is_part_of_a_larger_one():
    images = emotions({"sad": 57, "happy": 33})
    chosen = [
        {image.id for image in sample(images, SampleOptions(ratio=ratio, label_space="emotion", seed=2)).images}
        for ratio in (0.1, 0.4, 0.9, 1.0)
    ]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]
    assert len(chosen[3]) == 90


def test_persons_are_drawn_whole(run, person_images):
    cells = {("male", 20): 11, ("female", 45): 8, ("male", 60): 3}
    persons = [
        (f"{index}", *cell)
        for cell, number in cells.items()
        for index in range(100 * len(cell[0]) + cell[1], 100 * len(cell[0]) + cell[1] + number)
    ]
    report, data = run(
        person_images(persons), {"sample": {"ratio": 0.5, "per": "person", "label_space": "mask_gender_age"}}
    )
    left = Counter(image.person for image in data.images)
    assert set(left.values()) == {7}
    gender_of = {who: (gender, age) for who, gender, age in persons}
    assert Counter(gender_of[who] for who in left) == {("male", 20): 5, ("female", 45): 4, ("male", 60): 1}
    assert report.persons == 10
    mixed, _ = run(
        random.Random(3).sample(person_images(persons), 7 * 22),
        {"sample": {"ratio": 0.5, "per": "person", "label_space": "mask_gender_age"}},
    )
    assert mixed.images == report.images


def test_images_without_a_label_are_a_class_of_their_own():
    images = [*emotions({"sad": 4}), *(Image(index, f"{index}", 9, 9) for index in range(10, 16))]
    outcome = sample(images, SampleOptions(ratio=0.5, label_space="emotion"))
    assert Counter(bool(image.faces) for image in outcome.images) == {True: 2, False: 3}


def test_a_label_that_is_no_class_names_its_image():
    with pytest.raises(InputError, match=r"image 'x.jpg': attribute 'mask'"):
        sample([Image(1, "x.jpg", 9, 9, (Face(1, None, {"mask": "odd"}),))], SampleOptions(ratio=1, label_space="mask"))


@pytest.mark.parametrize("per", ["class", "person"])
def test_the_order_of_the_images_does_not_matter(emotion_images, per):
    images = emotion_images({"sad": 30, "happy": 21}, per_person=3)
    options = SampleOptions(ratio=0.4, per=per, label_space="emotion", seed=6)
    chosen = [
        {image.id for image in sample(given_images, options).images}
        for given_images in (images, images[::-1], random.Random(4).sample(images, len(images)))
    ]
    assert chosen[0] == chosen[1] == chosen[2]
    assert len(chosen[0]) == {"class": 12 + 8, "person": (4 + 2) * 3}[per]
