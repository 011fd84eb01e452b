"""The splits of a cross-validation: one fold is test, the next val, the others train."""

from collections import Counter
from dataclasses import replace

import pytest
from kfp import dsl

from components.shared.dataset.annotations import Annotations, read_annotations, write_annotations
from components.shared.dataset.persons import crossing_persons
from components.split.component import split_folds, take_fold
from serving.runtime.errors import InputError


def persons(count):
    return [(f"{at:06}", ("male", "female")[at % 2], (20, 40, 60)[at // 2 % 3]) for at in range(count)]


@pytest.fixture
def folded(divide, person_images):
    """Annotations with folds, of `count` persons."""

    def call(count, folds, **options):
        return divide(person_images(persons(count)), "gender", mode="kfold", folds=folds, **options)[1]

    return call


@pytest.mark.parametrize("val", [True, False])
@pytest.mark.parametrize("folds", [3, 5])
def test_every_person_is_judged_once_by_what_never_saw_it(divide, folded, folds, val):
    """Over all folds each person is in one test set, and in train or val of the others."""
    data = folded(30, folds)
    judged, chosen = Counter(), Counter()
    for k_index in range(folds):
        report, taken = divide(data.images, "gender", info=data.info, mode="fold", k_index=k_index, val=val)
        sides = {}
        for image in taken.images:
            sides.setdefault(image.split, set()).add(image.person)
        assert {split: sorted(sides[split]) for split in sides} == {
            split: sorted({i.person for i in data.images if i.fold in range_})
            for split, range_ in {
                "test": {k_index},
                **({"val": {(k_index + 1) % folds}} if val else {}),
                "train": set(range(folds)) - {k_index} - ({(k_index + 1) % folds} if val else set()),
            }.items()
        }
        assert [image.fold for image in taken.images] == [image.fold for image in data.images]
        assert crossing_persons(taken.images) == [] and report.leaks is taken.info.leaks is False
        assert report.persons == {split: len(sides[split]) for split in report.persons}
        judged.update(sides["test"])
        chosen.update(sides.get("val", ()))
    assert set(judged.values()) == {1} and len(judged) == 30
    assert set(chosen.values()) == ({1} if val else set())


def test_which_fold_was_val_before_does_not_matter(divide, folded):
    outputs = []
    for k_index in (0, 2):
        data = folded(20, 4, k_index=k_index)
        outputs.append(divide(data.images, "gender", info=data.info, mode="fold", k_index=1)[1])
    assert outputs[0] == outputs[1]
    facts = outputs[0].info.split.record()
    assert (facts["mode"], facts["k_index"], facts["val"], facts["folds"]) == ("fold", 1, True, 4)


def test_images_without_a_fold_have_no_part(divide, person_images):
    """A test set that came with the data waits for the final model; what is kept out of training is judged."""
    images = [*person_images(persons(20)), *person_images([("999999", "male", 20)], "test", start=1000)]
    images[0] = replace(images[0], trainable=False)
    _, data = divide(images, "gender", mode="kfold", folds=3)
    for k_index in range(3):
        _, taken = divide(data.images, "gender", info=data.info, mode="fold", k_index=k_index, val=False)
        splits = {image.id: image.split for image in taken.images}
        assert all(splits[image.id] is None for image in images if image.person == "999999")
        assert splits[images[0].id] == ("test" if data.images[0].fold == k_index else None)


def test_folds_of_images_still_leak(divide, person_images):
    _, data = divide(person_images(persons(12)), "gender", mode="image_kfold", folds=3)
    report, taken = divide(data.images, "gender", info=data.info, mode="fold", k_index=2)
    assert report.leaks and report.crossing_persons > 6 and taken.info.leaks


@pytest.mark.parametrize(
    ("folds", "options", "message"),
    [
        (4, {"k_index": 4}, r"there is no fold 4: its images are in 4 folds, counted from 0"),
        (2, {"k_index": 0}, r"2 folds leave none to train on .* more folds, or use no val"),
        (3, {"k_index": -1}, r"k_index = -1: "),
        (3, {"k_index": 0, "folds": 3}, r"mode 'fold' does not use folds"),
    ],
)
def test_what_cannot_be_taken(divide, folded, folds, options, message):
    data = folded(20, folds)
    with pytest.raises(InputError, match=message):
        divide(data.images, "gender", info=data.info, mode="fold", **options)


def test_without_folds_there_is_nothing_to_take(divide, person_images):
    with pytest.raises(InputError, match="there is no fold 0: its images are in 0 folds"):
        divide(person_images(persons(10)), "gender", mode="fold")


def test_two_folds_are_enough_without_val(divide, folded):
    data = folded(20, 2)
    report, _ = divide(data.images, "gender", info=data.info, mode="fold", k_index=1, val=False)
    assert set(report.images) == {"train", "test"}


@pytest.mark.parametrize(("k_index", "judged"), [(-1, [0, 1, 2, 3]), (2, [2])])
def test_the_doors(tmp_path, person_images, k_index, judged):
    """`k_index` picks one fold, otherwise all are returned; the fold's annotations do not depend on it."""
    write_annotations(Annotations(tuple(person_images(persons(20)))), tmp_path / "a")
    paths = {name: dsl.Dataset(uri=str(tmp_path / name)) for name in ("a", "folds", "fold")}
    metrics = [dsl.Metrics(uri="") for _ in range(2)]
    found = split_folds.python_func(
        paths["a"], paths["folds"], metrics[0], label_space="gender", folds=4, k_index=k_index
    )
    assert found == judged
    assert {image.fold for image in read_annotations(tmp_path / "folds").images} == {0, 1, 2, 3}
    for checkpoint, splits in (("best", {"train", "val", "test"}), ("last", {"train", "test"})):
        (name,) = take_fold.python_func(
            paths["folds"], paths["fold"], metrics[1], fold=2, label_space="gender", checkpoint=checkpoint
        )
        assert name == "fold 2"
        taken = read_annotations(tmp_path / "fold").images
        assert {image.split for image in taken} == splits
        assert {image.fold for image in taken if image.split == "test"} == {2}
    assert metrics[1].metadata["test_persons"] == len({i.person for i in taken if i.split == "test"})
