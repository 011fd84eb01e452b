import itertools
import unicodedata

import numpy as np
import pytest

from components.shared.dataset.label_spaces import LABEL_SPACES, canonical_value, label_space, spelling
from components.shared.dataset.vocabulary import VOCABULARY
from serving.runtime.errors import InputError

MASKS = ("worn", "incorrect", "absent")
GENDERS = ("male", "female")
AGES = ((0, 0), (18, 0), (29, 0), (30, 1), (45, 1), (59, 1), (60, 2), (99, 2))
# 18 classes written out by hand: mask, gender, an age of the class, class text, index.
CLASSES = [
    ("worn", "male", 29, "worn/male/<30", 0),
    ("worn", "male", 30, "worn/male/30-59", 1),
    ("worn", "male", 60, "worn/male/>=60", 2),
    ("worn", "female", 29, "worn/female/<30", 3),
    ("worn", "female", 30, "worn/female/30-59", 4),
    ("worn", "female", 60, "worn/female/>=60", 5),
    ("incorrect", "male", 18, "incorrect/male/<30", 6),
    ("incorrect", "male", 59, "incorrect/male/30-59", 7),
    ("incorrect", "male", 61, "incorrect/male/>=60", 8),
    ("incorrect", "female", 18, "incorrect/female/<30", 9),
    ("incorrect", "female", 59, "incorrect/female/30-59", 10),
    ("incorrect", "female", 61, "incorrect/female/>=60", 11),
    ("absent", "male", 1, "absent/male/<30", 12),
    ("absent", "male", 44, "absent/male/30-59", 13),
    ("absent", "male", 70, "absent/male/>=60", 14),
    ("absent", "female", 1, "absent/female/<30", 15),
    ("absent", "female", 44, "absent/female/30-59", 16),
    ("absent", "female", 70, "absent/female/>=60", 17),
]


@pytest.mark.parametrize(("mask", "gender", "age", "text", "index"), CLASSES)
def test_all_eighteen_classes_in_every_head_form(mask, gender, age, text, index):
    face = {"mask": mask, "gender": gender, "age": age}
    m, g, a = index // 6, index % 6 // 3, index % 3
    joint, triple = label_space("mask_gender_age"), label_space("all")
    assert joint.encode(face) == (index,)
    assert triple.encode(face) == (m, g, a)
    assert joint.class_index((index,)) == triple.class_index((m, g, a)) == index
    assert joint.class_labels[index] == triple.class_labels[index] == text
    assert label_space("mask").encode(face) == (m,)
    assert label_space("gender").encode(face) == (g,)
    assert label_space("age").encode(face) == (a,)
    assert label_space("gender_age").encode(face) == (3 * g + a,)
    assert label_space("gender_age").class_labels[3 * g + a] == text.split("/", 1)[1]


@pytest.mark.parametrize(("age", "index"), AGES)
def test_age_boundaries(age, index):
    assert label_space("age").encode({"age": age}) == (index,)
    assert label_space("age").encode({"age": str(age)}) == (index,)


def test_age_thresholds_move_the_target_but_not_the_labels():
    space = label_space("mask_gender_age", age_thresholds=(30, 58))
    assert space.encode({"mask": "worn", "gender": "male", "age": 58}) == (2,)
    assert space.class_labels == label_space("mask_gender_age").class_labels
    with pytest.raises(InputError, match="ascending"):
        label_space("age", age_thresholds=(60, 30))


@pytest.mark.parametrize("name", [*LABEL_SPACES, "label:a,b,c", "age+mask"])
def test_class_indices_count_the_combinations_of_the_heads(name):
    space = label_space(name)
    combinations = itertools.product(*(range(len(head.labels)) for head in space.heads))
    assert list(map(space.class_index, combinations)) == list(range(len(space.class_labels)))


def test_head_forms():
    forms = {name: [(head.name, len(head.labels)) for head in label_space(name).heads] for name in LABEL_SPACES}
    assert forms == {
        "mask": [("mask", 3)],
        "gender": [("gender", 2)],
        "age": [("age", 3)],
        "gender_age": [("gender_age", 6)],
        "mask_gender_age": [("mask_gender_age", 18)],
        "all": [("mask", 3), ("gender", 2), ("age", 3)],
        "emotion": [("emotion", 7)],
    }
    assert label_space("emotion").class_labels == ("anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad")


def test_attributes_side_by_side():
    space = label_space(" gender + age", age_thresholds=(30, 58))
    assert space.name == "gender+age" and label_space(space.name).attributes == ("gender", "age")
    assert [(head.name, head.labels) for head in space.heads] == [
        ("gender", ("male", "female")),
        ("age", ("<30", "30-59", ">=60")),
    ]
    assert space.encode({"gender": "female", "age": 58}) == (1, 2)
    assert space.encode({"gender": "female"}) is None
    assert space.class_labels == label_space("gender_age").class_labels
    everything = label_space("mask+gender+age")
    assert (everything.heads, everything.class_labels) == (label_space("all").heads, label_space("all").class_labels)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gender+aeg", "'aeg' must be one of mask, gender, age"),
        ("age+age", "'age' occurs twice"),
        ("age+", "'' must be one of"),
    ],
)
def test_what_cannot_stand_side_by_side(name, message):
    with pytest.raises(InputError, match=message):
        label_space(name)


def test_class_probabilities_of_all_are_the_products_at_the_formula_index():
    rng = np.random.default_rng(0)
    heads = {
        name: rng.dirichlet(np.ones(k), size=5).astype(np.float32)
        for name, k in [("mask", 3), ("gender", 2), ("age", 3)]
    }
    got = label_space("all").class_probabilities(heads)
    assert got.shape == (5, 18)
    for m in range(3):
        for g in range(2):
            for a in range(3):
                expected = heads["mask"][:, m] * heads["gender"][:, g] * heads["age"][:, a]
                np.testing.assert_allclose(got[:, 6 * m + 3 * g + a], expected, rtol=1e-6)
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-5)
    single = {"mask": heads["mask"]}
    assert np.array_equal(label_space("mask").class_probabilities(single), heads["mask"])


@pytest.mark.parametrize("missing", ["mask", "gender", "age"])
@pytest.mark.parametrize("name", ["all", "mask_gender_age"])
def test_an_absent_attribute_gives_no_label(name, missing):
    face = {"mask": "worn", "gender": "male", "age": 20}
    assert label_space(name).encode({k: v for k, v in face.items() if k != missing}) is None
    assert label_space(name).encode({**face, missing: None}) is None


@pytest.mark.parametrize(
    ("attribute", "raw", "stored"),
    [
        ("mask", "with_mask", "worn"),
        ("mask", "With Mask", "worn"),
        ("mask", "incorrect_mask", "incorrect"),
        ("mask", "mask_weared_incorrect", "incorrect"),
        ("mask", "without_mask", "absent"),
        ("mask", "normal", "absent"),
        ("gender", "FEMALE", "female"),
        ("gender", " Male ", "male"),
        ("age", "60", 60),
        ("age", 60.0, 60),
        ("emotion", "Happy", "happy"),
        ("label", "Any Text", "Any Text"),
    ],
)
def test_canonical_values(attribute, raw, stored):
    value = canonical_value(attribute, raw)
    assert value == stored
    assert type(value) is type(stored)


@pytest.mark.parametrize(
    ("attribute", "raw"),
    [
        ("mask", "half"),
        ("mask", 0),
        ("gender", "x"),
        ("gender", ""),
        ("age", "old"),
        ("age", "31.5"),
        ("age", -1),
        ("age", True),
        ("age", "nan"),
        ("age", "inf"),
        ("age", 500),
    ],
)
def test_values_that_cannot_be_understood_name_the_attribute(attribute, raw):
    with pytest.raises(InputError, match=f"attribute '{attribute}'"):
        canonical_value(attribute, raw)
    with pytest.raises(InputError, match=f"attribute '{attribute}'"):
        label_space(attribute).encode({attribute: raw})


# Class, Korean word, three letters that folders of a delivery are called by.
EMOTIONS = [
    ("anger", "분노", "ang"),
    ("anxiety", "불안", "anx"),
    ("embarrass", "당황", "emb"),
    ("happy", "기쁨", "hap"),
    ("normal", "중립", "nor"),
    ("pain", "상처", "pai"),
    ("sad", "슬픔", "sad"),
]


@pytest.mark.parametrize(("index", "emotion", "korean", "short"), [(i, *row) for i, row in enumerate(EMOTIONS)])
def test_the_seven_emotions_under_all_their_names(index, emotion, korean, short):
    names = [emotion, emotion.upper(), f" {emotion.title()} ", short, short.upper(), f"test_{short}", korean]
    names.append(unicodedata.normalize("NFD", korean))
    assert [canonical_value("emotion", name) for name in names] == [emotion] * len(names)
    assert {label_space("emotion").encode({"emotion": name}) for name in names} == {(index,)}


@pytest.mark.parametrize("name", ["neutral", "surprise", "fear", "disgust", "angry", "contempt", "놀람"])
def test_emotions_of_other_taxonomies_stay_what_they_are(name):
    assert canonical_value("emotion", name.upper()) == name
    assert label_space(f"emotion:happy,{name}").encode({"emotion": name}) == (1,)
    with pytest.raises(InputError, match="is not a class of label space 'emotion'"):
        label_space("emotion").encode({"emotion": name})


def test_a_named_list_of_aliases_holds_the_classes_they_stand_for():
    assert label_space("emotion:분노,emb,neutral").class_labels == ("anger", "embarrass", "neutral")


@pytest.mark.parametrize(
    ("name", "gender"), [("남", "male"), ("여", "female"), (unicodedata.normalize("NFD", "여"), "female")]
)
def test_genders_in_korean(name, gender):
    assert canonical_value("gender", name) == gender


def test_text_of_other_attributes_is_composed():
    assert canonical_value("label", unicodedata.normalize("NFD", "기쁨")) == "기쁨"


def test_named_lists():
    space = label_space("label: with_mask , without_mask")
    assert space.name == "label:with_mask,without_mask"
    assert space.encode({"label": "without_mask"}) == (1,)
    assert space.encode({}) is None
    with pytest.raises(InputError, match="is not a class of label space"):
        space.encode({"label": "incorrect_mask"})
    assert label_space("mask:with_mask,absent").encode({"mask": "normal"}) == (1,)
    assert label_space(space.name) == space


@pytest.mark.parametrize("name", ["masks", "", "label:a", "label:a,a", ":a,b", "la-bel:a,b", "age:20,30"])
def test_bad_names_are_refused(name):
    with pytest.raises(InputError, match="label space"):
        label_space(name)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError) as error:
        label_space("masks")
    assert all(name in str(error.value) for name in LABEL_SPACES)


@pytest.mark.parametrize("name", ["age", "gender_age", "mask_gender_age", "all", "gender+age"])
def test_the_class_of_age_stands_in_for_an_unknown_age(name):
    space = label_space(name)
    known = {"mask": "worn", "gender": "female"}
    for band, age in [("<30", 29), ("30-59", 30), (">=60", 60)]:
        assert space.class_of(known | {"age_band": band}) == space.class_of(known | {"age": age})
    assert space.class_of(known | {"age": 20, "age_band": ">=60"}) == space.class_of(known | {"age": 20})
    assert space.class_of(known) is space.class_of(known | {"age_band": None}) is None
    assert label_space(name, (30, 58)).class_of(known | {"age_band": "<30"}) is None, "bounds of its own need ages"
    with pytest.raises(InputError, match="'age_band': '20s' is not a class .*<30, 30-59, >=60"):
        space.encode(known | {"age_band": "20s"})


@pytest.mark.parametrize(
    ("written", "age"),
    [
        ("31", 31), ("31.0", 31), ("만 31세", 31), ("31 years old", 31), ("31y", 31), ("31살", 31),
        ("20대", 24), ("20s", 24), ("20's", 24), ("60대", 64), ("10대", 14), ("teens", 16),
        ("20-29", 24), ("20 ~ 29", 24), ("20–29", 24), ("20세-29세", 24), ("30 to 59", 44), ("(15, 20)", 17),
        ("[20, 30)", 24), ("(29, 40]", 35), ("0-2", 1), ("3-9", 6), ("00-29", 14), ("(0, 2)", 1), ("60-100", 80),
        ("60+", 60), (">=60", 60), ("≥ 60", 60), ("60 이상", 60), ("60세 이상", 60), ("60 and over", 60),
        ("more than 60", 61), ("more than 70", 71), (">59", 60), ("over 65", 66), ("<30", 14), ("30 미만", 14),
        ("under 18", 8), ("29세 이하", 14), ("up to 12", 6), ("30-59", 44),
    ],
)  # fmt: skip
def test_ages_and_ranges_of_one_age_class(written, age):
    assert canonical_value("age", written) == age


@pytest.mark.parametrize("written", ["25-32", "20-60", "(20, 30]", "more than 20", "<40", "18+", "50-60", "0-150"])
def test_ages_of_two_classes_are_not_guessed(written):
    with pytest.raises(InputError, match="are ages of more than one class; the classes part at 30 and 60"):
        canonical_value("age", written)


@pytest.mark.parametrize("written", ["29-20", "20,29", "(20-29", "25대", "160", "60-200", "2-", "-", "2-9-30", "20 30"])
def test_what_is_no_age_is_refused(written):
    with pytest.raises(InputError, match="is not an age"):
        canonical_value("age", written)


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("gender", "male", ["Man", "M", "BOY", "men", "남", "남자", "남성", "남아", "男性"]),
        ("gender", "female", ["Woman", "F", "Girl", "여", "여자", "여성", "女"]),
        ("mask", "worn", ["With Mask", "with-mask", "착용", "Mask_Worn"]),
        ("mask", "absent", ["No Mask", "미착용", "NoMask"]),
    ],
)
def test_the_vocabulary(attribute, value, words):
    assert {canonical_value(attribute, word) for word in words} == {value}


def test_no_spelling_has_two_values():
    for values in VOCABULARY.values():
        words = [word for spellings in values.values() for word in spellings]
        assert len(set(words)) == len(words) and words == [spelling(word) for word in words]
