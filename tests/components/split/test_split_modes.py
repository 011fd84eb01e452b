import random
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kfp import dsl

from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.persons import crossing_persons
from components.split.component import split as split_component
from components.split.division import Task, classes_of_images
from components.split.options import SplitOptions
from components.split.split import MODES
from serving.runtime.errors import InputError

PERSONS = [(f"{at:03}", ["male", "female"][at % 2], [20, 45, 60][at // 2 % 3]) for at in range(100)]


def emotions(split=None, start=1, **counts):
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [
        Image(at, f"{label}/{at}.jpg", 9, 9, (Face(at, None, {"emotion": label}),), f"p{at % 17}", split)
        for at, label in enumerate(labels, start)
    ]


def by_class(data):
    return Counter((image.split, image.faces[0].attributes["emotion"]) for image in data.images)


def test_by_person_each_is_on_one_side_and_whole(divide, person_images):
    """The exact ratio within one person."""
    report, data = divide(person_images(PERSONS), mode="person")
    assert crossing_persons(data.images) == []
    assert report.persons == {"train": 60, "val": 20, "test": 20}
    assert set(Counter(image.person for image in data.images).values()) == {7}
    assert report.leaks is False
    assert data.info.split.mode == "person"


def test_all_for_training(divide, person_images):
    images = [
        *person_images(PERSONS[:50], "val"),
        *person_images(PERSONS[50:60], "test", 1000),
        *person_images(PERSONS[60:], None, 2000),
    ]
    images[0] = replace(images[0], faces=())
    images[1] = replace(images[1], trainable=False)
    report, _ = divide(images, mode="all")
    assert report.images == {"train": 90 * 7 - 2, "test": 70}
    assert (report.unlabeled, report.not_trainable) == (1, 1)
    assert report.leaks is False
    report, _ = divide(person_images(PERSONS), mode="all")
    assert report.images == {"train": 700}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.dictionaries(st.sampled_from(["anger", "happy", "sad"]), st.integers(1, 50), min_size=1),
    percent=st.integers(1, 99),
    seed=st.integers(0, 3),
)
def test_images_of_every_class_are_divided_by_floor(divide, counts, percent, seed):
    """Train has floor(n * r), val the rest."""
    _, data = divide(emotions(**counts), "emotion", percent / 100, 0, seed, mode="image")
    found = by_class(data)
    for label, number in counts.items():
        assert found["train", label] == number * (100 - percent) // 100
        assert found["val", label] == number - number * (100 - percent) // 100


def test_image_mode_leaks_and_says_so(divide, caplog):
    report, data = divide(emotions(sad=100, happy=53), "emotion", mode="image")
    assert by_class(data) == {
        ("train", "sad"): 60, ("val", "sad"): 20, ("test", "sad"): 20,
        ("train", "happy"): 31, ("val", "happy"): 10, ("test", "happy"): 12,
    }  # fmt: skip
    assert data.info.leaks is report.leaks is True
    assert "mode 'image' splits by image, ignoring identity: scores will be too good" in caplog.text
    assert report.crossing_persons == len(crossing_persons(data.images)) > 10
    assert data.info.split.mode == "image"


@pytest.mark.parametrize("mode", ["image", "image_kfold"])
def test_image_modes_leak_even_when_nobody_is_known(divide, mode):
    report, data = divide([replace(image, person=None) for image in emotions(sad=20)], "emotion", mode=mode)
    assert report.crossing_persons == 0
    assert data.info.leaks is report.leaks is True


def test_image_mode_keeps_a_given_test_set(divide):
    """No image is on two sides; the source is unchanged (asserted in `divide`)."""
    images = [*emotions(sad=50), *emotions("test", 100, sad=9)]
    report, data = divide(images, "emotion", mode="image")
    assert report.images == {"train": 40, "val": 10, "test": 9}
    assert {image.id for image in data.images if image.split == "test"} == {image.id for image in images[50:]}
    assert len({image.id for image in data.images}) == 59


def test_image_mode_does_not_depend_on_the_order_but_on_the_seed(divide):
    images = emotions(sad=40, happy=30)
    splits = []
    for given_images, seed in [(images, 1), (random.Random(2).sample(images, 70), 1), (images, 2)]:
        _, data = divide(given_images, "emotion", seed=seed, mode="image")
        splits.append({image.id: image.split for image in data.images})
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize("mode", ["person", "image", "all"])
def test_images_kept_out_of_training_get_no_split_in_train(divide, person_images, mode):
    images = [replace(image, trainable=int(image.person) % 5 > 0) for image in person_images(PERSONS)]
    report, data = divide(images, "gender", mode=mode)
    assert all(image.trainable for image in data.images if image.split == "train")
    held_back = [image for image in data.images if image.split is None]
    assert len(held_back) == report.not_trainable == data.info.split.not_trainable > 0
    assert not any(image.trainable for image in held_back)
    if mode != "all":
        assert any(not image.trainable for image in data.images if image.split == "val")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mode": "persons"},
            r"mode = 'persons': unknown name, did you mean 'person'\?; known: all, fold, image, image_kfold",
        ),
        (
            {"fold": 5},
            r"fold = 5: unknown key, did you mean 'folds'\?; known: folds, k_index, mode, test_list, train",
        ),
        ({"mode": "lists"}, "mode 'lists' needs 'train_list'"),
        ({"train_list": "x"}, "mode 'person' does not use train_list"),
        ({"mode": "all", "folds": 4, "k_index": 1}, "mode 'all' does not use folds, k_index"),
        ({"mode": "kfold", "folds": 1}, "folds = 1: Input should be greater than or equal to 2"),
        ({"mode": "kfold", "k_index": 5}, "'k_index' must be below 'folds': 0 to 4, got 5"),
        ({"mode": "kfold", "k_index": -1}, "k_index = -1: "),
        ({"mode": "kfold", "folds": 2.5}, "folds = 2.5: "),
    ],
)
def test_options_that_do_not_fit(divide, person_images, options, message):
    with pytest.raises(InputError, match=message):
        divide(person_images(PERSONS), **options)


def test_every_mode_divides_200_000_images_in_seconds(person_images, tmp_path):
    images = person_images([(f"{at:05}", ["male", "female"][at % 2], 18 + at % 43) for at in range(28_572)])
    space = label_space("mask_gender_age")
    ratios = {"val": 0.2, "test": 0.2}
    (tmp_path / "train.txt").write_text(
        "".join(f"{image.person}\n" for image in images[: 20_000 * 7]), encoding="utf-8"
    )
    classes = classes_of_images(images, space, tmp_path)
    for mode, divide_by in MODES.items():
        lists = {"train_list": str(tmp_path / "train.txt")} if mode == "lists" else {}
        if mode == "fold":
            images = [replace(image, fold=int(image.person) % 5) for image in images]
        start = time.process_time()
        options = SplitOptions(mode=mode, **lists)
        division = divide_by(Task(tmp_path, images, images, classes, space, ratios, 0, options))
        seconds = time.process_time() - start
        assert seconds < 15, (mode, seconds)
        assert len(division.splits) == (140_000 if mode == "lists" else 200_004)


def test_the_door_takes_options(tmp_path, person_images):
    write_annotations(Annotations(tuple(person_images(PERSONS))), tmp_path / "in.json")
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    split_component.python_func(
        annotations=dsl.Dataset(uri=str(tmp_path / "in.json")),
        split_annotations=dsl.Dataset(uri=str(tmp_path / "out.json")),
        metrics=metrics,
        options={"mode": "image_kfold", "folds": 4.0, "k_index": 3.0},
    )
    assert metrics.metadata["leaks"] == 1.0
    assert metrics.metadata["val_images"] == 175.0
    assert metrics.metadata["not_trainable"] == metrics.metadata["unlisted"] == 0.0
    assert all(type(value) is float for value in metrics.metadata.values())


def test_without_a_label_space_every_image_is_divided_by_person(divide):
    """For a detector a photo without labels, or without a face, is data like any other."""
    boxes = [(), ((1, 1, 3, 3),), ((1, 1, 3, 3), (5, 5, 3, 3))]
    images = [
        Image(n, f"{n}.jpg", 9, 9, tuple(Face(10 * n + k, box, {}) for k, box in enumerate(boxes[n % 3])), f"p{n // 2}")
        for n in range(1, 121)
    ]
    report, data = divide(images, space="")
    assert Counter(image.split for image in data.images) == {"train": 72, "val": 24, "test": 24}
    assert not crossing_persons(data.images) and (report.unlabeled, report.label_space) == (0, "face")
    assert all(
        any(not image.faces for image in data.images if image.split == name) for name in ("train", "val", "test")
    )
    with pytest.raises(InputError, match="is labeled in 'mask'"):
        divide(images, space="mask")
