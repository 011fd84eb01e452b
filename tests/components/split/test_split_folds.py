import itertools
import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.persons import crossing_persons
from serving.runtime.errors import InputError

CELLS = {
    ("male", "<30"): 549,
    ("male", "30-59"): 410,
    ("male", "60"): 83,
    ("female", "<30"): 732,
    ("female", "30-59"): 817,
    ("female", "60"): 109,
}
AGES = {"<30": [18, 19, 19, 20, 20, 25], "30-59": [30, 45, 50, 55, 56, 58, 59], "60": [60]}


def field():
    """The 2,700 persons of the field: gender by age band."""
    numbers = itertools.count(1)
    persons = [
        (f"{next(numbers):06}", gender, AGES[band][at % len(AGES[band])])
        for (gender, band), count in CELLS.items()
        for at in range(count)
    ]
    random.Random(0).shuffle(persons)
    return persons


def band(age):
    return "<30" if age < 30 else "30-59" if age < 60 else "60"


@pytest.mark.parametrize("seed", [0, 1997])
def test_folds_of_the_2700_persons(divide, person_images, seed):
    """Each person is in one fold, the shares of band and gender are within 2 points across folds."""
    persons = field()
    report, data = divide(person_images(persons), mode="kfold", folds=5.0, k_index=4.0, seed=seed)
    fold_of = defaultdict(set)
    for image in data.images:
        fold_of[image.person].add(image.fold)
    assert len(fold_of) == 2700
    assert all(len(folds) == 1 for folds in fold_of.values())
    cells = Counter((next(iter(fold_of[who])), gender, band(age)) for who, gender, age in persons)
    sizes = Counter(fold for folds in fold_of.values() for fold in folds)
    assert sorted(sizes) == list(range(5))
    assert max(sizes.values()) - min(sizes.values()) <= 2
    for gender, age_band in CELLS:
        shares = [100 * cells[fold, gender, age_band] / sizes[fold] for fold in range(5)]
        assert max(shares) - min(shares) < 2
        assert (
            max(cells[fold, gender, age_band] for fold in range(5))
            - min(cells[fold, gender, age_band] for fold in range(5))
            <= 1
        )
    assert {image.split for image in data.images if image.fold == 4} == {"val"}
    assert {image.split for image in data.images if image.fold != 4} == {"train"}
    assert report.persons == {"train": 2700 - sizes[4], "val": sizes[4]}
    assert crossing_persons(data.images) == []
    assert data.info.leaks is report.leaks is False
    facts = data.info.split.record()
    assert (facts["mode"], facts["folds"], facts["k_index"]) == ("kfold", 5, 4)
    assert facts["fold_persons"] == [sizes[fold] for fold in range(5)]
    assert facts["fold_images"] == [7 * sizes[fold] for fold in range(5)]
    assert facts["strata"] == ["gender_age", "mask_gender_age"]


def test_every_person_is_in_one_val_fold_over_all_k(divide, person_images):
    """With one seed the folds are the same whichever of them is val."""
    images = person_images(field()[:100])
    seen = Counter()
    for k_index in range(4):
        _, data = divide(images, "mask", mode="kfold", folds=4, k_index=k_index, seed=5)
        seen.update({image.person for image in data.images if image.split == "val"})
    assert set(seen.values()) == {1}
    assert len(seen) == 100


def test_the_order_of_the_images_does_not_matter_and_the_seed_does(divide, person_images):
    images = person_images(field()[:60])
    folds = []
    for given_images, seed in [(images, 1), (random.Random(2).sample(images, len(images)), 1), (images, 2)]:
        _, data = divide(given_images, mode="kfold", folds=3, seed=seed, space="gender")
        folds.append({image.id: image.fold for image in data.images})
    assert folds[0] == folds[1] != folds[2]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    persons=st.lists(
        st.lists(st.sampled_from(["sad", "happy", "pain"]), min_size=1, max_size=5), min_size=8, max_size=40
    ),
    folds=st.integers(2, 6),
    seed=st.integers(0, 3),
)
def test_any_persons_are_each_in_one_fold(divide, persons, folds, seed):
    number = itertools.count(1)
    images = [
        Image(at := next(number), f"{at}.jpg", 9, 9, (Face(at, None, {"emotion": emotion}),), f"p{who}")
        for who, emotions in enumerate(persons)
        for emotion in emotions
    ]
    report, data = divide(images, "emotion", mode="kfold", folds=folds, seed=seed)
    assert all(len({i.fold for i in group}) == 1 for _, group in itertools.groupby(data.images, lambda i: i.person))
    assert {image.fold for image in data.images} == set(range(folds))
    assert not report.crossing_persons
    assert data.info.split.strata == ["emotion"]
    sizes = data.info.split.fold_images
    assert max(sizes) - min(sizes) <= 5 + 3


def test_emotions_are_stratified_together_with_age_and_gender(divide):
    rng = random.Random(0)
    images = []
    for who in range(300):
        gender, age = rng.choice(["male", "female"]), rng.choice([10, 20, 30, 50, 60])
        for _ in range(rng.randint(2, 7)):
            facts = {"emotion": rng.choice(["sad", "happy", "anger"]), "gender": gender, "age": age}
            images.append(
                Image(len(images) + 1, f"{len(images)}.jpg", 9, 9, (Face(len(images) + 1, None, facts),), f"p{who}")
            )
    _, data = divide(images, "emotion:sad,happy,anger", mode="kfold", folds=5)
    for of in (lambda facts: facts["emotion"], lambda facts: (facts["gender"], band(facts["age"]))):
        counts = Counter((image.fold, of(image.faces[0].attributes)) for image in data.images)
        for label in {label for _, label in counts}:
            shares = [counts[fold, label] / data.info.split.fold_images[fold] for fold in range(5)]
            assert max(shares) - min(shares) < 0.02


def test_a_given_test_set_stays_and_has_no_fold(divide, person_images):
    persons = field()[:50]
    images = [*person_images(persons[:40], "val"), *person_images(persons[40:], "test", start=1000)]
    report, data = divide(images, "gender", mode="kfold")
    assert {image.fold for image in data.images if image.split == "test"} == {None}
    assert report.persons == {"train": 32, "val": 8, "test": 10}
    assert data.info.split.given == ["test"]


def test_persons_shared_with_a_given_test_set_are_told(divide, person_images, caplog):
    images = person_images(field()[:40])
    images[0] = replace(images[0], split="test")
    report, data = divide(images, "gender", mode="kfold")
    assert report.crossing_persons == 1
    assert data.info.leaks is report.leaks is True
    assert "too good" in caplog.text


def test_images_kept_out_of_training_have_a_fold_and_are_val_at_their_turn(divide, person_images):
    persons = field()[:50]
    out = {who for who, _, _ in persons[::3]}
    images = [replace(image, trainable=image.person not in out) for image in person_images(persons)]
    report, data = divide(images, "gender", mode="kfold")
    assert {image.fold for image in data.images} == set(range(5))
    held_back = [image for image in data.images if image.split is None]
    assert all(not image.trainable and image.fold != 0 for image in held_back)
    assert any(not image.trainable for image in data.images if image.split == "val")
    assert report.not_trainable == data.info.split.not_trainable == len(held_back) > 0
    assert all(image.trainable for image in data.images if image.split == "train")


def test_a_class_of_fewer_persons_than_folds_is_no_obstacle(divide, person_images):
    persons = [("a", "male", 60), ("b", "male", 60), *((f"{at}", "female", 20) for at in range(20))]
    _, data = divide(person_images(persons), mode="kfold")
    assert len({image.fold for image in data.images if image.person in "ab"}) == 2


def test_an_earlier_fold_is_forgotten_by_another_mode(divide, person_images):
    _, data = divide(person_images(field()[:100]), "gender", mode="kfold")
    _, data = divide(data.images, "gender", info=data.info)
    assert {image.fold for image in data.images} == {None}
    assert data.info.split.mode == "person"


def test_folds_of_images_leak_and_say_so(divide, person_images, caplog):
    """Classes are dealt evenly, persons are on both sides."""
    space = label_space("mask_gender_age")
    report, data = divide(person_images(field()[:101]), mode="image_kfold", folds=5, k_index=1)
    assert data.info.leaks is report.leaks is True
    assert report.crossing_persons > 50
    assert "too good" in caplog.text
    sizes = data.info.split.fold_images
    assert sum(sizes) == 707
    assert max(sizes) - min(sizes) <= 1
    counts = Counter((image.fold, space.encode(image.faces[0].attributes)) for image in data.images)
    for label in {label for _, label in counts}:
        assert max(counts[fold, label] for fold in range(5)) - min(counts[fold, label] for fold in range(5)) <= 1
    assert {image.split for image in data.images if image.fold == 1} == {"val"}


def test_too_few_for_the_folds(divide, person_images):
    with pytest.raises(InputError, match="3 persons cannot fill 5 folds; ask for fewer folds"):
        divide(person_images(field()[:3]), "gender", mode="kfold")
    with pytest.raises(InputError, match="7 images cannot fill 8 folds"):
        divide(person_images(field()[:1]), "mask", mode="image_kfold", folds=8)
