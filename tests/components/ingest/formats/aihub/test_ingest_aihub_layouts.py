"""Every layout of AI Hub's emotion data, in every form of its names."""

import unicodedata
from collections import Counter

import pytest
from aihub_records import (
    ANN,
    FORMS,
    KOREAN,
    emotions,
    file_name,
    mangled,
    record,
)
from hypothesis import given
from hypothesis import strategies as st

from components.ingest.formats.aihub.names import EMOTIONS, FolderLabels, folder_labels, join_key, parse_name, repaired

# Layouts: place of a photo, place of its label file, emotion, split. {k} is the Korean word, {n} the file name.
LAYOUTS = {
    "a train": ("{e}/raw/train/{n}", "{e}/labeled/train/labels.json", "train"),
    "a validation": ("{e}/raw/validation/{n}", "{e}/labeled/validation/labels.json", "val"),
    "a test": ("test_set/{e}/{n}", "test_set/{e}.json", "test"),
    "b": ("test_set/test_{s}/{n}", "test_set/{k}.json", "test"),
    "c": ("images/{e}/{n}", "labels/{e}/labels.json", None),
    "c test": ("test_set/{e}/{n}", "test_set/{e}.json", "test"),
    "d": ("{e}/raw/train/EMOIMG_{k}_TRAIN_01/{n}", "{e}/labeled/train/img_emotion_training_data({k}).json", "train"),
    "e": (
        "[원천]EMOIMG_{k}_TRAIN_01/{n}",
        "[라벨]EMOIMG_{k}_TRAIN/img_emotion_training_data({k}).json",
        "train",
    ),
    "e validation": (
        "2.Validation/[원천]EMOIMG_{k}_VALID/{n}",
        "2.Validation/[라벨]EMOIMG_{k}_VALID/img_emotion_validation_data({k}).json",
        "val",
    ),
    "e image": ("image/{k}/{n}", "label/{k}/img_emotion_training_data({k}).json", "train"),
    "e sample": ("images/EMOIMG_{S}_SAMPLE/{n}", "labels/EMOIMG_{S}_SAMPLE/labels.json", None),
    "aliases": ("{s}/raw/train/{n}", "{s}/labeled/train/{k}.json", "train"),
    "sampled": ("images/train/{e}/{n}", "labels/train/{e}/{k}.json", "train"),
    "no folders": ("{n}", "labels.json", None),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_every_form_of_its_names(aihub, layout, form):
    photo, labels, split = LAYOUTS[layout]
    files, expected = {}, {}
    for number, (emotion, korean) in enumerate(KOREAN.items()):
        name = file_name(emotion, number=number)
        words = {"e": emotion, "k": korean, "s": emotion[:3], "S": emotion[:3].upper(), "n": name}
        path = FORMS[form](photo.format(**words))
        files[path] = None
        files.setdefault(FORMS[form](labels.format(**words)), []).append(record(name, emotion))
        expected[path] = emotion
    result = aihub(files)
    assert emotions(result) == expected
    assert [record.path for record in result.records] == sorted(expected)
    assert {record.split for record in result.records} == {split}
    assert {record.person for record in result.records} == {ANN}
    assert not result.dropped.total and not result.skipped.total and not result.notes.total


def test_counts_per_class_of_train_and_test(aihub):
    files = {}
    for emotion in EMOTIONS:
        for split, photo, labels, count in [
            ("train", f"{emotion}/raw/train", f"{emotion}/labeled/train/x.json", 3),
            ("test", f"test_set/{emotion}", f"test_set/{emotion}.json", 2),
        ]:
            names = [file_name(emotion, number=number + 10 * (split == "test")) for number in range(count)]
            files |= {f"{photo}/{name}": None for name in names}
            files[labels] = [record(name, emotion) for name in names]
    counts = Counter((record.split, record.faces[0].attributes["emotion"]) for record in aihub(files).records)
    assert counts == {("train", e): 3 for e in EMOTIONS} | {("test", e): 2 for e in EMOTIONS}


def test_what_lies_beside_the_photos(aihub):
    name = file_name("happy")
    result = aihub(
        {
            f"happy/raw/train/{name}": None,
            f"happy/raw/train/EMOIMG_기쁨_TRAIN_01/{unicodedata.normalize('NFD', name)}": None,
            "happy/raw/train/EMOIMG_기쁨_TRAIN_01.zip": b"PK",
            "happy/raw/train/Thumbs.db": b"",
            f"happy/raw/train/._{name}": b"\0",
            "happy/labeled/train/._x.json": b"\0\xff",
            "happy/labeled/train/x.json": [record(name, "happy")],
        }
    )
    assert emotions(result) == {f"happy/raw/train/{name}": "happy"}
    assert result.skipped.counts == {"hidden": 2, "not_an_image_name": 2, "second_file_of_a_name": 1}
    assert not result.dropped.total


def test_missing_emotions_are_named(aihub):
    files = {}
    for emotion in ("happy", "sad", "anger", "pain", "normal"):
        files[f"{emotion}/raw/train/{emotion}.jpg"] = None
        files[f"{emotion}/labeled/train/x.json"] = [record(f"{emotion}.jpg", emotion)]
    files |= {"test_set/happy/t.jpg": None, "test_set/happy.json": [record("t.jpg", "happy")]}
    result = aihub(files)
    assert result.notes.counts["missing_emotion"] == 6
    assert sorted(result.notes.examples["missing_emotion"]) == [
        "anger in test",
        "anxiety",
        "embarrass",
        "normal in test",
        "pain in test",
        "sad in test",
    ]
    assert len(result.records) == 6


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        ("emb", FolderLabels("embarrass", None)),
        ("EMB/Raw/Train", FolderLabels("embarrass", "train")),
        ("test_set/test_emb", FolderLabels("embarrass", "test")),
        ("test_set/EMOIMG_기쁨_TRAIN_01", FolderLabels("happy", "test")),
        ("EMOIMG_NEUTRAL_SAMPLE", FolderLabels("normal", None)),
        ("1.Training/[원천]EMOIMG_상처_TRAIN_02", FolderLabels("pain", "train")),
        ("happy/sad", FolderLabels("sad", None)),
        ("happy/sad or anger", FolderLabels("happy", None)),
        ("a happy train and test", FolderLabels("happy", None)),
        (
            "092.한국인_감정인식을_위한_복합_영상/01.데이터/2.Validation/라벨링데이터/슬픔_unzipped",
            FolderLabels("sad", "val"),
        ),
        ("unhappy/latest", FolderLabels(None, None)),
        ("", FolderLabels(None, None)),
    ],
)
def test_words_of_folders(folder, place):
    assert folder_labels(folder) == place
    assert folder_labels(unicodedata.normalize("NFD", folder)) == place


@pytest.mark.parametrize("name", ["기쁨", "café°", "naïve", "íóúñ", "100 µm", "plain", "日本"])
def test_only_mangled_names_are_repaired(name):
    assert repaired(name) == name
    if name == "기쁨":
        assert repaired(mangled(name)) == name


words = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1, max_size=6)
backgrounds = st.lists(words, min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([" ", "&", "_", "("]).map(lambda joint: joint.join(parts))
)


@given(
    person=st.text("0123456789abcdef", min_size=1, max_size=64),
    gender=st.sampled_from("남여"),
    age=st.integers(0, 99),
    emotion=words,
    background=backgrounds,
    form=st.sampled_from(["composed", "decomposed"]),
    extension=st.sampled_from(["jpg", "JPG", "jpeg", "png"]),
)
def test_names_are_understood_in_every_form(person, gender, age, emotion, background, form, extension):
    name = f"{person}_{gender}_{age}_{emotion}_{background}_20201208114828-004-001.{extension}"
    facts = parse_name(FORMS[form](name))
    assert facts is not None
    assert (facts.person, facts.age, facts.background) == (person, age, background.replace("&", "/"))
    assert facts.gender == {"남": "male", "여": "female"}[gender]
    spelled = name.replace("&", "/")
    assert join_key(FORMS[form](spelled)) == join_key(name) == name
    assert join_key(f"기쁨/{name}") in (name, f"기쁨&{name}")


@given(st.text(max_size=40))
def test_any_name_and_any_folder_is_read_without_a_crash(name):
    parse_name(name)
    join_key(name)
    folder_labels(name)
