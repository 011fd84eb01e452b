"""AI Hub's emotion data: photos and label records that do not meet, or say different things."""

import json

import pytest
from aihub_records import (
    ANN,
    BEA,
    GOOD,
    INVERTED,
    OTHER,
    boxes_of,
    dropped,
    emotions,
    file_name,
    published,
    record,
    text,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components.ingest.formats.aihub.reader import AihubOptions, read_aihub
from components.ingest.ingest import ingest
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import read_annotations
from serving.runtime.errors import InputError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("escaped", [False, True])
def test_encodings_of_label_files_give_the_same(aihub, encoding, escaped):
    name = file_name("sad", background="교통&이동수단(엘리베이터 포함)")
    data = json.dumps([record(name, "sad", votes=("pain", "알수없음", "sad"))], ensure_ascii=escaped)
    result = aihub({f"sad/raw/train/{name}": None, "sad/labeled/train/슬픔.json": data.encode(encoding)})
    (found_record,) = result.records
    assert found_record.person == ANN
    assert found_record.candidates[0] == ((10, 20, 40, 50),)
    assert found_record.faces[0].attributes == {
        "emotion": "sad",
        "uploader": "sad",
        "votes": ["pain", "unknown", "sad"],
        "gender": "female",
        "age": 30,
        "background": "오락/공연시설",
    }


def test_both_schemas_give_the_same(aihub):
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
    results = [aihub({f"anger/{name}": None, "anger.json": [form]}) for form in [*forms, as_lists, single, flat]]
    assert boxes_of(results[0]) == [(10, 20, 40, 50)]
    assert results[0].records[0].faces[0].attributes["votes"] == list(votes)
    for other in results[1:]:
        assert other.records == results[0].records
        assert other.notes.counts == results[0].notes.counts


def test_one_record_a_file(aihub):
    files = {f"happy/{n}.jpg": None for n in "ab"} | {f"happy/{n}.json": record(f"{n}.jpg", "happy") for n in "ab"}
    assert emotions(aihub(files)) == {"happy/a.jpg": "happy", "happy/b.jpg": "happy"}


def test_images_and_records_without_each_other(aihub):
    files = {"sad/here.jpg": None, "sad/alone.jpg": None, "pain/unlabeled.jpg": None}
    files["sad.json"] = [record("here.jpg", "sad"), record("gone.jpg", "sad"), {"age": 3}, "text"]
    result = aihub(files)
    assert emotions(result) == {"sad/here.jpg": "sad"}
    assert dropped(result) == {"no_label_record": 1, "no_label_file_of_the_emotion": 1}
    assert result.dropped.examples["no_label_file_of_the_emotion"] == ["pain/unlabeled.jpg"]
    assert result.notes.counts["record_without_an_image"] == 1
    assert result.notes.examples["record_without_an_image"] == ["gone.jpg"]
    assert result.notes.counts["record_without_a_file_name"] == 2


def test_the_same_name_in_two_emotions_and_two_splits(aihub):
    files = {"happy/raw/train/1.jpg": None, "sad/raw/train/1.jpg": None, "test_set/sad/1.jpg": None}
    files["happy/labeled/train/x.json"] = [record("1.jpg", "happy")]
    files["sad/labeled/train/x.json"] = [record("1.jpg", "sad", boxes=(OTHER,) * 3)]
    files["test_set/sad.json"] = [record("1.jpg", "pain")]
    result = aihub(files)
    assert emotions(result) == {
        "happy/raw/train/1.jpg": "happy",
        "sad/raw/train/1.jpg": "sad",
        "test_set/sad/1.jpg": "pain",
    }
    assert boxes_of(result) == [(10, 20, 40, 50), (12, 26, 46, 34), (10, 20, 40, 50)]
    assert result.notes.counts["folder_disagrees"] == 1


def test_boxes_beyond_the_photo_are_clipped_and_counted(tmp_path):
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
    images, annotations, options = tmp_path / "images", tmp_path / "annotations", {"max_dropped": 0.5}
    report = ingest(str(tmp_path / "raw"), images, annotations, format="aihub", options=options)
    assert report.counts.images == 2
    assert (report.notes["box_clipped"], report.lost) == (1, {"no_valid_box": 1})
    images = {image.file_name: image.faces[0].box for image in read_annotations(tmp_path / "annotations").images}
    assert images == {"sad/in.jpg": (10, 20, 40, 50), "sad/over.jpg": (0, 10, 60, 40)}


def test_a_record_is_also_found_in_another_emotion(aihub):
    files = {"sad/a.jpg": None, "sad/b.jpg": None, "happy/c.jpg": None}
    files["sad.json"] = [record("b.jpg", "sad")]
    files["happy.json"] = [record("a.jpg", "happy"), record("b.jpg", "happy"), record("c.jpg", "happy")]
    result = aihub(files)
    assert emotions(result) == {"happy/c.jpg": "happy", "sad/a.jpg": "happy", "sad/b.jpg": "sad"}
    assert result.notes.counts["record_of_another_emotion"] == 1
    assert result.notes.counts["folder_disagrees"] == 1
    assert result.notes.counts["record_without_an_image"] == 1


def test_duplicate_records(aihub):
    same = record("same.jpg", "sad")
    records = [same, same, record("two.jpg", "sad"), record("two.jpg", "pain")]
    result = aihub({"sad/same.jpg": None, "sad/two.jpg": None, "sad.json": records})
    assert emotions(result) == {"sad/same.jpg": "sad"}
    assert dropped(result) == {"contradicting_records": 1}
    assert result.notes.counts["duplicate_record"] == 1
    assert "record_without_an_image" not in result.notes.counts


def test_facts_come_from_the_record_and_else_from_the_name(aihub):
    name = file_name("sad", person=BEA)
    bare = {"filename": name, "faceExp_uploader": "슬픔", "annot_A": {"boxes": GOOD}}
    result = aihub({f"sad/{name}": None, "sad.json": [bare]})
    facts = result.records[0].faces[0].attributes
    assert (facts["gender"], facts["age"], facts["background"]) == ("female", 30, "오락/공연시설")
    assert result.records[0].person == BEA
    told = {**bare, "gender": "남", "age": "20대", "bg_uploader": "도심 환경"}
    facts = aihub({f"sad/{name}": None, "sad.json": [told]}).records[0].faces[0].attributes
    assert (facts["gender"], facts["age"], facts["background"]) == ("male", 20, "도심 환경")
    odd = aihub({f"sad/{name}": None, "sad.json": [{**bare, "gender": "?", "age": "old"}]})
    assert odd.notes.counts["unknown_gender"] == odd.notes.counts["unknown_age"] == 1


def test_a_name_that_does_not_follow_the_rule_has_no_person(aihub):
    result = aihub({"sad/IMG_1.jpg": None, "sad.json": [record("IMG_1.jpg", "sad")]})
    assert result.records[0].person is None
    assert result.notes.counts["name_without_a_person"] == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xff\x00\x81", "UTF-8 or CP949"),
        (b"[" * 100_000, "not valid JSON"),
        (text([record("a.jpg", "sad")])[:-40], "not valid JSON"),
    ],
)
def test_a_broken_label_file_is_named(aihub, data, message):
    with pytest.raises(InputError, match=rf"/data/faces/sad/labeled/train/x\.json: .*{message}"):
        aihub({"sad/raw/train/a.jpg": None, "sad/labeled/train/x.json": data})


@pytest.mark.parametrize("data", [{}, {"images": []}, 7, "text", None])
def test_json_that_is_no_label_file_is_counted(aihub, data):
    content = json.dumps(data).encode()
    files = {"sad/a.jpg": None, "sad.json": [record("a.jpg", "sad")], "mapper.json": content}
    result = aihub(files)
    assert emotions(result) == {"sad/a.jpg": "sad"}
    assert result.skipped.counts == {"json_without_label_records": 1}


def test_text_that_no_file_can_hold_is_repaired(aihub):
    data = b'[{"filename":"a.jpg","faceExp_uploader":"sad","bg_uploader":"\\ud800","annot_A":{"boxes":%s}}]'
    result = aihub({"sad/a.jpg": None, "sad.json": data % text(GOOD)})
    assert result.records[0].faces[0].attributes["background"] == "?"


def test_nothing_in_the_source(aihub):
    assert not aihub({}).records
    result = aihub({"sad.json": [record("a.jpg", "sad")]})
    assert not result.records and result.notes.counts == {"record_without_an_image": 1}


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
    class OneRecord(Source):
        def __init__(self):
            self.uri = "/data"
            self.paths = ("sad.json", "sad/a.jpg")

        def read(self, path):
            return json.dumps([{"filename": "a.jpg", **values}]).encode()

    result = read_aihub(OneRecord(), AihubOptions(box_policy=box_policy))
    assert len(result.records) + result.dropped.total == 1
    for listed in result.records:
        _, _, width, height = boxes_of(result)[0]
        assert width > 0 and height > 0
        json.dumps(listed.faces[0].attributes, ensure_ascii=False, allow_nan=False).encode()
