"""AI Hub's emotion data: every layout, every encoding, every policy; nothing is lost without a count."""

import json
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components.ingest import ingest as ingest_step
from components.ingest.aihub import AihubOptions, read_aihub
from components.ingest.aihub_names import EMOTIONS, Place, composed, join_key, parse_name, place_of
from components.ingest.options import parse_options
from components.shared.dataset.annotations import read_annotations
from serving.runtime.errors import InputError

KOREAN = {
    "anger": "분노",
    "anxiety": "불안",
    "embarrass": "당황",
    "happy": "기쁨",
    "normal": "중립",
    "pain": "상처",
    "sad": "슬픔",
}
ANN, BEA = "a1" * 32, "b2" * 32
GOOD = {"minX": 10.0, "minY": 20.0, "maxX": 50.0, "maxY": 70.0}
INVERTED = {"minX": 50.0, "minY": 20.0, "maxX": 10.0, "maxY": 70.0}
OTHER = {"minX": 12.0, "minY": 26.0, "maxX": 58.0, "maxY": 60.0}


def file_name(emotion, *, person=ANN, number=1, background="오락&공연시설"):
    return f"{person}_여_30_{KOREAN[emotion]}_{background}_20201208114828-004-{number:03d}.jpg"


def annotator(emotion, box=GOOD):
    return {"boxes": box, "faceExp": KOREAN.get(emotion, emotion), "bg": "실외 자연환경"}


def record(name, emotion, votes=("", "", ""), boxes=(GOOD, GOOD, GOOD), **facts):
    votes = [vote or emotion for vote in votes]
    return {
        "filename": name,
        "gender": "여",
        "age": 30,
        "isProf": "일반인",
        "faceExp_uploader": KOREAN.get(emotion, emotion),
        "bg_uploader": "오락/공연시설",
        **{f"annot_{who}": annotator(vote, box) for who, vote, box in zip("ABC", votes, boxes, strict=True)},
        **facts,
    }


def published(name, emotion, votes, boxes):
    """The same facts under the names of the published schema."""
    return {
        "filename": name,
        "gender": "여",
        "age": 30,
        "faceExp_uploader": KOREAN[emotion],
        "bg_uploader": "오락/공연시설",
        **{
            f"faceBB_{who}": [{"boxes": [{**box, "label": KOREAN[vote]}], "entireLabel": "실외 자연환경"}]
            for who, vote, box in zip("ABC", votes, boxes, strict=True)
        },
    }


def text(records, encoding="utf-8"):
    return json.dumps(records, ensure_ascii=False).encode(encoding)


@pytest.fixture
def found(listing):
    def read(files, **options):
        contents = {name: text(data) if isinstance(data, list | dict) else data for name, data in files.items()}
        return read_aihub(listing(contents), parse_options(AihubOptions, options, "aihub"))

    return read


def emotions(result):
    return {record.path: record.faces[0].attributes["emotion"] for record in result.records}


def dropped(result):
    return result.dropped.counts


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


def mangled(name):
    """What a name in CP949 becomes when an unpacker takes it for CP437."""
    return name.encode("cp949").decode("cp437")


FORMS = {
    "composed": str,
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
    "mangled": mangled,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_items_1_and_7_every_layout_in_every_form_of_its_names(found, layout, form):
    photo, labels, split = LAYOUTS[layout]
    files, expected = {}, {}
    for number, (emotion, korean) in enumerate(KOREAN.items()):
        name = file_name(emotion, number=number)
        words = {"e": emotion, "k": korean, "s": emotion[:3], "S": emotion[:3].upper(), "n": name}
        path = FORMS[form](photo.format(**words))
        files[path] = None
        files.setdefault(FORMS[form](labels.format(**words)), []).append(record(name, emotion))
        expected[path] = emotion
    result = found(files)
    assert emotions(result) == expected
    assert [record.path for record in result.records] == sorted(expected)
    assert {record.split for record in result.records} == {split}
    assert {record.person for record in result.records} == {ANN}
    assert not result.dropped.total and not result.skipped.total and not result.notes.total


def test_item_1_counts_per_class_of_train_and_test(found):
    files = {}
    for emotion in EMOTIONS:
        for split, photo, labels, count in [
            ("train", f"{emotion}/raw/train", f"{emotion}/labeled/train/x.json", 3),
            ("test", f"test_set/{emotion}", f"test_set/{emotion}.json", 2),
        ]:
            names = [file_name(emotion, number=number + 10 * (split == "test")) for number in range(count)]
            files |= {f"{photo}/{name}": None for name in names}
            files[labels] = [record(name, emotion) for name in names]
    counts = Counter((record.split, record.faces[0].attributes["emotion"]) for record in found(files).records)
    assert counts == {("train", e): 3 for e in EMOTIONS} | {("test", e): 2 for e in EMOTIONS}


def test_item_4_what_lies_beside_the_photos(found):
    name = file_name("happy")
    result = found(
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


def test_item_6_missing_emotions_are_named(found):
    files = {}
    for emotion in ("happy", "sad", "anger", "pain", "normal"):
        files[f"{emotion}/raw/train/{emotion}.jpg"] = None
        files[f"{emotion}/labeled/train/x.json"] = [record(f"{emotion}.jpg", emotion)]
    files |= {"test_set/happy/t.jpg": None, "test_set/happy.json": [record("t.jpg", "happy")]}
    result = found(files)
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
        ("emb", Place("embarrass", None)),
        ("EMB/Raw/Train", Place("embarrass", "train")),
        ("test_set/test_emb", Place("embarrass", "test")),
        ("test_set/EMOIMG_기쁨_TRAIN_01", Place("happy", "test")),
        ("EMOIMG_NEUTRAL_SAMPLE", Place("normal", None)),
        ("1.Training/[원천]EMOIMG_상처_TRAIN_02", Place("pain", "train")),
        ("happy/sad", Place("sad", None)),
        ("happy/sad or anger", Place("happy", None)),
        ("a happy train and test", Place("happy", None)),
        ("092.한국인_감정인식을_위한_복합_영상/01.데이터/2.Validation/라벨링데이터/슬픔_unzipped", Place("sad", "val")),
        ("unhappy/latest", Place(None, None)),
        ("", Place(None, None)),
    ],
)
def test_item_7_words_of_folders(folder, place):
    assert place_of(folder) == place
    assert place_of(unicodedata.normalize("NFD", folder)) == place


@pytest.mark.parametrize("name", ["기쁨", "café°", "naïve", "íóúñ", "100 µm", "plain", "日本"])
def test_only_mangled_names_are_repaired(name):
    assert composed(name) == name
    if name == "기쁨":
        assert composed(mangled(name)) == name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("escaped", [False, True])
def test_item_8_encodings_of_label_files_give_the_same(found, encoding, escaped):
    name = file_name("sad", background="교통&이동수단(엘리베이터 포함)")
    data = json.dumps([record(name, "sad", votes=("pain", "알수없음", "sad"))], ensure_ascii=escaped)
    result = found({f"sad/raw/train/{name}": None, "sad/labeled/train/슬픔.json": data.encode(encoding)})
    (found_record,) = result.records
    assert found_record.person == ANN
    assert found_record.faces[0].box == (10, 20, 40, 50)
    assert found_record.faces[0].attributes == {
        "emotion": "sad",
        "uploader": "sad",
        "votes": ["pain", "unknown", "sad"],
        "gender": "female",
        "age": 30,
        "background": "오락/공연시설",
    }


def test_both_schemas_give_the_same(found):
    name, votes, boxes = file_name("anger"), ("normal", "anger", "pain"), (INVERTED, GOOD, OTHER)
    forms = [record(name, "anger", votes, boxes), published(name, "anger", votes, boxes)]
    as_lists = published(name, "anger", votes, boxes)
    single = published(name, "anger", votes, boxes)
    for who in "ABC":
        (part,) = as_lists[f"faceBB_{who}"]
        box = part["boxes"][0]
        part["boxes"] = [box[key] for key in ("maxX", "maxY", "minX", "minY", "label")]
        single[f"faceBB_{who}"] = {"boxes": box, "entireLabel": "실외 자연환경"}
    flat = {**forms[1], **{f"faceBB_{who}": forms[1][f"faceBB_{who}"][0]["boxes"] for who in "ABC"}}
    results = [found({f"anger/{name}": None, "anger.json": [form]}) for form in [*forms, as_lists, single, flat]]
    assert results[0].records[0].faces[0].box == (10, 20, 40, 50)
    assert results[0].records[0].faces[0].attributes["votes"] == list(votes)
    for other in results[1:]:
        assert other.records == results[0].records
        assert other.notes.counts == results[0].notes.counts


def test_one_record_a_file(found):
    files = {f"happy/{n}.jpg": None for n in "ab"} | {f"happy/{n}.json": record(f"{n}.jpg", "happy") for n in "ab"}
    assert emotions(found(files)) == {"happy/a.jpg": "happy", "happy/b.jpg": "happy"}


BOXES = [
    # boxes of A, B, C; first_valid; median; union; flaws
    ((GOOD, OTHER, OTHER), (10, 20, 40, 50), (12, 26, 46, 34), (10, 20, 48, 50), {}),
    ((INVERTED, GOOD, OTHER), (10, 20, 40, 50), (11, 23, 43, 42), (10, 20, 48, 50), {"inverted_box": 1}),
    ((None, {}, OTHER), (12, 26, 46, 34), (12, 26, 46, 34), (12, 26, 46, 34), {"missing_box": 2}),
    (
        ({"minX": 5, "minY": 5, "maxX": 5, "maxY": 9}, {"minX": "x", "minY": 0, "maxX": 1, "maxY": 1}, GOOD),
        (10, 20, 40, 50),
        (10, 20, 40, 50),
        (10, 20, 40, 50),
        {"empty_box": 1, "broken_box": 1},
    ),
    (
        ({"minX": -9, "minY": 1, "maxX": 0, "maxY": 9}, {**GOOD, "maxX": float("nan")}, {**GOOD, "minX": -3}),
        (-3, 20, 53, 50),
        (-3, 20, 53, 50),
        (-3, 20, 53, 50),
        {"box_beyond_the_corner": 1, "broken_box": 1},
    ),
    (({**GOOD, "maxX": 10**400}, GOOD, GOOD), (10, 20, 40, 50), (10, 20, 40, 50), (10, 20, 40, 50), {"broken_box": 1}),
]


@pytest.mark.parametrize(("boxes", "first", "median", "union", "flaws"), BOXES)
def test_item_9_boxes_of_three_annotators(found, boxes, first, median, union, flaws):
    files = {"happy/a.jpg": None, "happy.json": [record("a.jpg", "happy", boxes=boxes)]}
    for policy, expected in {"first_valid": first, "median": median, "union": union}.items():
        result = found(files, box_policy=policy)
        assert result.records[0].faces[0].box == pytest.approx(expected)
        assert {k: v for k, v in result.notes.counts.items() if k.endswith(("box", "corner"))} == flaws
    assert found(files).records == found(files, box_policy="first_valid").records


def test_items_9_to_11_an_image_without_a_valid_box_is_dropped_or_kept_whole(found):
    names = [f"{number}.jpg" for number in range(4)]
    bad = [(INVERTED, INVERTED, None), (None, None, None)]
    records = [record(name, "sad", boxes=boxes) for name, boxes in zip(names, [(GOOD,) * 3, *bad], strict=False)]
    records.append({"filename": names[3], "faceExp_uploader": "슬픔"})
    files = {f"sad/{name}": None for name in names} | {"sad.json": records}
    result = found(files)
    assert list(emotions(result)) == ["sad/0.jpg"]
    assert dropped(result) == {"no_valid_box": 3}
    assert result.dropped.examples["no_valid_box"] == ["sad/1.jpg", "sad/2.jpg", "sad/3.jpg"]
    assert result.notes.counts["inverted_box"] == 2
    kept = found(files, no_box="keep")
    assert [record.faces[0].box for record in kept.records] == [(10, 20, 40, 50), None, None, None]
    assert not kept.dropped.total
    assert kept.notes.counts["no_valid_box"] == 3
    assert "votes" not in kept.records[3].faces[0].attributes


def test_items_12_and_13_images_and_records_without_each_other(found):
    files = {"sad/here.jpg": None, "sad/alone.jpg": None, "pain/unlabelled.jpg": None}
    files["sad.json"] = [record("here.jpg", "sad"), record("gone.jpg", "sad"), {"age": 3}, "text"]
    result = found(files)
    assert emotions(result) == {"sad/here.jpg": "sad"}
    assert dropped(result) == {"no_label_record": 1, "no_label_file_of_the_emotion": 1}
    assert result.dropped.examples["no_label_file_of_the_emotion"] == ["pain/unlabelled.jpg"]
    assert result.notes.counts["record_without_an_image"] == 1
    assert result.notes.examples["record_without_an_image"] == ["gone.jpg"]
    assert result.notes.counts["record_without_a_file_name"] == 2


def test_item_14_the_same_name_in_two_emotions_and_two_splits(found):
    files = {"happy/raw/train/1.jpg": None, "sad/raw/train/1.jpg": None, "test_set/sad/1.jpg": None}
    files["happy/labeled/train/x.json"] = [record("1.jpg", "happy")]
    files["sad/labeled/train/x.json"] = [record("1.jpg", "sad", boxes=(OTHER,) * 3)]
    files["test_set/sad.json"] = [record("1.jpg", "pain")]
    result = found(files)
    assert emotions(result) == {
        "happy/raw/train/1.jpg": "happy",
        "sad/raw/train/1.jpg": "sad",
        "test_set/sad/1.jpg": "pain",
    }
    assert [record.faces[0].box for record in result.records] == [(10, 20, 40, 50), (12, 26, 46, 34), (10, 20, 40, 50)]
    assert result.notes.counts["folder_disagrees"] == 1


def test_item_11_boxes_beyond_the_photo_are_clipped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setitem(ingest_step.FORMATS, "aihub", ingest_step.Format(AihubOptions, read_aihub))
    boxes = {
        "in.jpg": GOOD,
        "over.jpg": {"minX": -5, "minY": 10, "maxX": 90, "maxY": 50},
        "off.jpg": {"minX": 200, "minY": 10, "maxX": 290, "maxY": 50},
    }
    (tmp_path / "raw" / "sad").mkdir(parents=True)
    for name in boxes:
        Image.new("RGB", (60, 80), "white").save(tmp_path / "raw" / "sad" / name)
    records = [record(name, "sad", boxes=(box, None, None)) for name, box in boxes.items()]
    (tmp_path / "raw" / "sad.json").write_bytes(text(records))
    report = ingest_step.ingest(str(tmp_path / "raw"), tmp_path / "images", tmp_path / "annotations", format="aihub")
    assert report.images == 3
    assert (report.notes["box_clipped"], report.notes["box_outside"]) == (1, 1)
    images = {image.file_name: image.faces[0].box for image in read_annotations(tmp_path / "annotations").images}
    assert images == {"sad/in.jpg": (10, 20, 40, 50), "sad/over.jpg": (0, 10, 60, 40), "sad/off.jpg": None}


def test_a_record_is_also_found_in_another_emotion(found):
    files = {"sad/a.jpg": None, "sad/b.jpg": None, "happy/c.jpg": None}
    files["sad.json"] = [record("b.jpg", "sad")]
    files["happy.json"] = [record("a.jpg", "happy"), record("b.jpg", "happy"), record("c.jpg", "happy")]
    result = found(files)
    assert emotions(result) == {"happy/c.jpg": "happy", "sad/a.jpg": "happy", "sad/b.jpg": "sad"}
    assert result.notes.counts["record_of_another_emotion"] == 1
    assert result.notes.counts["folder_disagrees"] == 1
    assert result.notes.counts["record_without_an_image"] == 1


def test_duplicate_records(found):
    same = record("same.jpg", "sad")
    records = [same, same, record("two.jpg", "sad"), record("two.jpg", "pain")]
    result = found({"sad/same.jpg": None, "sad/two.jpg": None, "sad.json": records})
    assert emotions(result) == {"sad/same.jpg": "sad"}
    assert dropped(result) == {"contradicting_records": 1}
    assert result.notes.counts["duplicate_record"] == 1
    assert "record_without_an_image" not in result.notes.counts


@pytest.mark.parametrize("written", ["놀람", "알수없음", "湲곗겏", "", None, 7])
def test_item_15_an_unknown_emotion_is_reported(found, written):
    odd = record("odd.jpg", "sad", faceExp_uploader=written)
    files = {"sad/a.jpg": None, "sad/odd.jpg": None, "sad.json": [record("a.jpg", "sad"), odd]}
    result = found(files)
    assert emotions(result) == {"sad/a.jpg": "sad"}
    assert dropped(result) == {"unknown_emotion" if written else "no_emotion": 1}
    assert str(written or "") in next(iter(result.dropped.examples.values()))[0]
    by_votes = found(files, label_policy="majority")
    assert emotions(by_votes) == {"sad/a.jpg": "sad", "sad/odd.jpg": "sad"}
    assert "uploader" not in by_votes.records[1].faces[0].attributes
    assert by_votes.notes.counts["unknown_emotion_of_the_uploader"] == 1


VOTES = [
    # votes; emotion of a majority of 1, 2, 3; unanimous emotion
    (("happy", "happy", "happy"), "happy", "happy", "happy", "happy"),
    (("happy", "sad", "happy"), "happy", "happy", None, None),
    (("happy", "sad", "pain"), None, None, None, None),
    (("happy", "알수없음", "happy"), "happy", "happy", None, None),
    (("happy", "unknown", ""), "happy", None, None, None),
    (("happy", "알 수 없음", "sad"), None, None, None, None),
    (("알수없음", "알수없음", "알수없음"), None, None, None, None),
    (("happy", "놀람", "놀람"), "happy", None, None, None),
    (("HAPPY", "Happy", "기쁨"), "happy", "happy", "happy", "happy"),
]


@pytest.mark.parametrize(("votes", "one", "two", "three", "unanimous"), VOTES)
def test_label_policies(found, votes, one, two, three, unanimous):
    entry = record("a.jpg", "anger")
    for who, vote in zip("ABC", votes, strict=True):
        entry[f"annot_{who}"]["faceExp"] = KOREAN.get(vote, vote)
    files = {"a.jpg": None, "x.json": [entry]}
    assert emotions(found(files)) == {"a.jpg": "anger"}
    for options, expected in [
        ({"label_policy": "majority", "min_votes": 1}, one),
        ({"label_policy": "majority"}, two),
        ({"label_policy": "majority", "min_votes": 3}, three),
        ({"label_policy": "unanimous"}, unanimous),
    ]:
        result = found(files, **options)
        assert emotions(result) == ({"a.jpg": expected} if expected else {})
        reason = "not_unanimous" if options["label_policy"] == "unanimous" else "no_majority"
        assert dropped(result) == ({} if expected else {reason: 1})


def test_votes_that_are_no_emotion_are_counted(found):
    entry = record("a.jpg", "sad", votes=("놀람", "알수없음", "sad"))
    del entry["annot_C"]
    result = found({"sad/a.jpg": None, "sad.json": [entry]})
    assert result.records[0].faces[0].attributes["votes"] == ["unknown", "unknown", "unknown"]
    assert result.notes.counts["vote_for_an_unknown_emotion"] == 1
    assert result.notes.counts["missing_vote"] == 1


@pytest.mark.parametrize(
    ("policy", "kept", "reasons"),
    [("label", "sad", {}), ("folder", "happy", {}), ("drop", None, {"folder_disagrees": 1})],
)
def test_a_folder_that_disagrees_with_the_label(found, policy, kept, reasons):
    files = {"happy/a.jpg": None, "happy/b.jpg": None}
    files["happy.json"] = [record("a.jpg", "sad"), record("b.jpg", "happy")]
    result = found(files, folder_policy=policy)
    assert emotions(result) == {"happy/b.jpg": "happy"} | ({"happy/a.jpg": kept} if kept else {})
    assert dropped(result) == reasons
    assert result.notes.counts.get("folder_disagrees", 0) == (policy != "drop")
    if kept:
        assert result.records[0].faces[0].attributes["uploader"] == "sad"


def test_facts_come_from_the_record_and_else_from_the_name(found):
    name = file_name("sad", person=BEA)
    bare = {"filename": name, "faceExp_uploader": "슬픔", "annot_A": {"boxes": GOOD}}
    result = found({f"sad/{name}": None, "sad.json": [bare]})
    facts = result.records[0].faces[0].attributes
    assert (facts["gender"], facts["age"], facts["background"]) == ("female", 30, "오락/공연시설")
    assert result.records[0].person == BEA
    told = {**bare, "gender": "남", "age": "20대", "bg_uploader": "도심 환경"}
    facts = found({f"sad/{name}": None, "sad.json": [told]}).records[0].faces[0].attributes
    assert (facts["gender"], facts["age"], facts["background"]) == ("male", 20, "도심 환경")
    odd = found({f"sad/{name}": None, "sad.json": [{**bare, "gender": "?", "age": "old"}]})
    assert odd.notes.counts["unknown_gender"] == odd.notes.counts["unknown_age"] == 1


def test_a_name_that_does_not_follow_the_rule_has_no_person(found):
    result = found({"sad/IMG_1.jpg": None, "sad.json": [record("IMG_1.jpg", "sad")]})
    assert result.records[0].person is None
    assert result.notes.counts["name_without_a_person"] == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[{", "no valid JSON"),
        (b"", "no valid JSON"),
        (b"\xff\xfe\x00\x81", "UTF-8 or CP949"),
        (b"[" * 100_000, "no valid JSON"),
        (text([record("a.jpg", "sad")])[:-40], "no valid JSON"),
    ],
)
def test_a_broken_label_file_is_named(found, data, message):
    with pytest.raises(InputError, match=rf"/data/faces/sad/labeled/train/x\.json: .*{message}"):
        found({"sad/raw/train/a.jpg": None, "sad/labeled/train/x.json": data})


@pytest.mark.parametrize("data", [{}, {"images": []}, 7, "text", None])
def test_json_that_is_no_label_file_is_counted(found, data):
    content = json.dumps(data).encode()
    files = {"sad/a.jpg": None, "sad.json": [record("a.jpg", "sad")], "mapper.json": content}
    result = found(files)
    assert emotions(result) == {"sad/a.jpg": "sad"}
    assert result.skipped.counts == {"json_without_label_records": 1}


def test_text_that_no_file_can_hold_is_repaired(found):
    data = b'[{"filename":"a.jpg","faceExp_uploader":"sad","bg_uploader":"\\ud800","annot_A":{"boxes":%s}}]'
    result = found({"sad/a.jpg": None, "sad.json": data % text(GOOD)})
    assert result.records[0].faces[0].attributes["background"] == "?"


def test_nothing_in_the_source(found):
    assert not found({}).records
    result = found({"sad.json": [record("a.jpg", "sad")]})
    assert not result.records and result.notes.counts == {"record_without_an_image": 1}


@pytest.mark.parametrize(
    "options", [{"label_policy": "vote"}, {"min_votes": 0}, {"min_votes": 4}, {"box_policy": "mean"}, {"folder": "x"}]
)
def test_wrong_options_are_named(found, options):
    with pytest.raises(InputError, match=f"'{next(iter(options))}'"):
        found({}, **options)


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
    place_of(name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["기쁨", "sad"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["boxes", "minX", "minY", "maxX", "maxY", "faceExp", "label", "bg", "x"]), children
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["gender", "age", "faceExp_uploader", "bg_uploader", "annot_A", "annot_B", "faceBB_A", "faceBB_C"]
        ),
        json_values,
    ),
    st.sampled_from(["first_valid", "median", "union"]),
)
def test_a_record_of_anything_is_a_record_or_counted(values, box_policy):
    class Source:
        uri = "/data"
        paths = ("sad.json", "sad/a.jpg")

        def read(self, path):
            return json.dumps([{"filename": "a.jpg", **values}]).encode()

    result = read_aihub(Source(), AihubOptions(box_policy=box_policy))
    assert len(result.records) + result.dropped.total == 1
    for found_record in result.records:
        _, _, width, height = found_record.faces[0].box
        assert width > 0 and height > 0
        json.dumps(found_record.faces[0].attributes, ensure_ascii=False, allow_nan=False).encode()
