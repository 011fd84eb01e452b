import json
import math

import pytest

from components.ingest.formats.coco import CocoOptions, read_coco
from components.ingest.formats.listing import Record
from components.shared.dataset.annotations import Face
from components.shared.options import parse_options
from serving.runtime.errors import InputError

EMOTIONS = ["anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad"]
SEVEN = [{"id": number, "name": name} for number, name in enumerate(EMOTIONS, start=1)]


def coco(images=(), annotations=(), categories=SEVEN, info=None, encoding="utf-8", **more):
    document = {"images": list(images), "annotations": list(annotations), "categories": categories} | more
    if info is not None:
        document["info"] = info
    return json.dumps(document, ensure_ascii=False).encode(encoding)


def image(number=1, name="a.jpg", **more):
    return {"id": number, "file_name": name, "width": 40, "height": 30} | more


def face(image_id=1, category=4, bbox=(1, 2, 3.5, 4), **more):
    return {"id": 7, "image_id": image_id, "category_id": category, "bbox": list(bbox)} | more


@pytest.fixture
def found(listing):
    def read(files, **options):
        return read_coco(listing(files), parse_options(CocoOptions, options, "coco"))

    return read


HAPPY = Face(0, (1.0, 2.0, 3.5, 4.0), {"emotion": "happy"})


@pytest.mark.parametrize(
    ("file", "picture", "split"),
    [
        ("labels/train/annotation.json", "images/train/happy/a.jpg", "train"),
        ("labels/val/annotation.json", "images/val/happy/a.jpg", "val"),
        ("labels/annotation.json", "images/happy/a.jpg", None),
        ("annotation.json", "happy/a.jpg", None),
        ("annotation.json", "images/happy/a.jpg", None),
        ("annotations/instances_train.json", "images/train/happy/a.jpg", "train"),
        ("annotations/instances_val2017.json", "val2017/happy/a.jpg", "val"),
        ("annotations/instances_val2017.json", "images/val/happy/a.jpg", "val"),
        ("val2017/annotations.json", "val2017/happy/a.jpg", "val"),
        ("test.json", "test/happy/a.jpg", "test"),
        ("test.json", "images/test/happy/a.jpg", "test"),
        ("valid/_annotations.coco.json", "valid/happy/a.jpg", "val"),
        ("data/labels/test/annotation.json", "data/images/test/happy/a.jpg", "test"),
        ("test/train.json", "images/train/happy/a.jpg", "train"),
        ("annotations/train_val.json", "images/happy/a.jpg", None),
        ("pretraining/all.json", "images/happy/a.jpg", None),
    ],
)
def test_where_files_and_their_images_lie(found, file, picture, split):
    result = found({file: coco([image(name="happy/a.jpg")], [face()]), picture: None})
    assert result.records == [Record(picture, (HAPPY,), split=split, size=(30, 40))]
    assert not (result.dropped.total or result.skipped.total or result.notes.total)


def test_one_file_per_split_and_files_that_are_not_coco(found):
    result = found(
        {
            "labels/train/annotation.json": coco([image()], [face()]),
            "labels/val/annotation.json": coco([image()], [face(category=7)]),
            "labels/train/happy/x.json": b'[{"filename": "x"}]',
            "filename_mapper.json": b'{"images": []}',
            "images/train/a.jpg": None,
            "images/val/a.jpg": None,
            "images/val/extra.jpg": None,
        }
    )
    assert [(r.path, r.split, r.faces[0].attributes) for r in result.records] == [
        ("images/train/a.jpg", "train", {"emotion": "happy"}),
        ("images/val/a.jpg", "val", {"emotion": "sad"}),
    ]
    assert result.skipped.examples == {
        "not_coco": ["filename_mapper.json", "labels/train/happy/x.json"],
        "not_in_the_annotations": ["images/val/extra.jpg"],
    }


@pytest.mark.parametrize(
    ("annotations", "splits"),
    [
        ("a.json", {"x/1.jpg": None}),
        (["a.json", "b_test.json"], {"x/1.jpg": None, "x/2.jpg": "test"}),
        ({"val": "a.json", "train": "b_test.json"}, {"x/1.jpg": "val", "x/2.jpg": "train"}),
    ],
)
def test_files_and_images_by_option(found, annotations, splits):
    files = {
        "a.json": coco([image(name="1.jpg")], [face()]),
        "b_test.json": coco([image(name="2.jpg")], [face()]),
        "x/1.jpg": None,
        "x/2.jpg": None,
    }
    result = found(files, annotations=annotations, images="x/")
    assert {record.path: record.split for record in result.records} == splits


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"a.json": coco()}, {"annotations": "b.json"}, "no annotation file 'b.json'"),
        ({"a.json": b"[]"}, {"annotations": "a.json"}, "a.json: not COCO"),
        ({"a.json": b"[]", "a.jpg": None}, {}, "no COCO file"),
        ({"labels/val/annotation.json": b'{"images": ['}, {}, "labels/val/annotation.json: not a JSON file.*repair it"),
        ({"a.json": b"\xff\xff"}, {}, "a.json: not a text in UTF-8 or CP949"),
        ({"a.json": coco([image(name="b.jpg")]), "other/b.jpg": None}, {}, r"searched 'images', '\.'; name.*'images'"),
        ({"a.json": b'{"images": [], "annotations": [], "x": "\\ud800"}'}, {}, "surrogates not allowed"),
    ],
)
def test_what_stops_the_reader(found, files, options, message):
    with pytest.raises(InputError, match=message):
        found(files, **options)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_korean_names_in_any_encoding_composed_or_not(found, encoding):
    decomposed = "\u1112\u1161\u11ab.jpg"  # the same letters as 한.jpg
    korean = [
        {"id": n, "name": name} for n, name in enumerate(["분노", "불안", "당황", "기쁨", "중립", "상처", "슬픔"])
    ]
    result = found(
        {"a.json": coco([image(name="한.jpg")], [face(category=3)], korean, encoding=encoding), decomposed: None}
    )
    assert result.records == [Record(decomposed, (HAPPY,), size=(30, 40))]


@pytest.mark.parametrize(
    ("names", "options", "attributes"),
    [
        (EMOTIONS, {}, {"emotion": "embarrass"}),
        (EMOTIONS, {"attribute": "label"}, {"label": "embarrass"}),
        (["cat", "dog", "fox"], {}, {"label": "fox"}),
        (["with_mask", "without_mask", "incorrect_mask"], {"attribute": "mask"}, {"mask": "incorrect"}),
        (["anger", "anxiety", "embarrass"], {}, {"label": "embarrass"}),
        ([*EMOTIONS, "contempt"], {}, {"label": "embarrass"}),
    ],
)
def test_what_categories_mean(found, names, options, attributes):
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    result = found({"a.json": coco([image()], [face(category=3)], categories), "a.jpg": None}, **options)
    assert result.records[0].faces[0].attributes == attributes


def test_the_one_category_face_and_a_told_attribute(found):
    files = {"a.json": coco([image()], [face(category=1)], [{"id": 1, "name": "face"}]), "a.jpg": None}
    assert found(files).records[0].faces[0].attributes == {}
    told = {"a.json": coco([image()], [face(category=4)], info={"category_attribute": None}), "a.jpg": None}
    assert found(told).records[0].faces[0].attributes == {}
    assert found(told, attribute="emotion").records[0].faces[0].attributes == {"emotion": "happy"}


def test_our_own_fields_are_read(found):
    attributes = {"age": 33, "gender": "남", "votes": ["sad", "unknown"], "nothing": None, "emotion": "happy"}
    result = found(
        {
            "train.json": coco(
                [
                    image(person="p1", split="val"),
                    image(2, "b.jpg", person=3, split=None),
                    image(3, "c.jpg", split="new"),
                ],
                [face(attributes=attributes), face(2, 7, whole_image=True), face(3)],
            ),
            "a.jpg": None,
            "b.jpg": None,
            "c.jpg": None,
        }
    )
    facts = {"age": 33, "gender": "male", "votes": ["sad", "unknown"], "emotion": "happy"}
    assert [(r.person, r.split) for r in result.records] == [("p1", "val"), ("3", None), (None, "train")]
    assert result.records[0].faces == (Face(0, HAPPY.box, facts),)
    assert result.records[1].faces == (Face(0, None, {"emotion": "sad"}),)
    assert result.notes.counts == {"ignored_split_new": 1}


def test_flaws_are_counted_by_reason_and_nothing_is_guessed(found):
    images = [
        image(1, "fine.jpg"),
        image(2, "missing.jpg"),
        image(2.5, "id.jpg"),
        image(3, ""),
        "text",
        image(4, "twice.jpg"),
        image(4, "again.jpg"),
        image(5, "empty.jpg"),
        image(6, "no_size.jpg", width=0),
        image(7, "../../etc/passwd.jpg"),
    ]
    annotations = [
        face(1),
        face(1, 9),
        face(1, bbox=[0, 0, -1, 5]),
        face(1, bbox=[0, 0, math.nan, 5]),
        face(1, bbox=[0, 0, 10**400, 5]),
        face(1, bbox=[]),
        face(1, iscrowd=1),
        face(4),
        face(6, bbox=["x", 0, 1, 1]),
        face(99),
        "text",
    ]
    names = ["fine", "twice", "again", "empty", "no_size", "id"]
    result = found({"a.json": coco(images, annotations), **dict.fromkeys(f"{name}.jpg" for name in names)})
    assert result.records == [
        Record("empty.jpg", (), size=(30, 40)),
        Record("fine.jpg", (HAPPY, Face(0, HAPPY.box, {})), size=(30, 40)),
        Record("no_size.jpg", (Face(0, None, {"emotion": "happy"}),)),
    ]
    assert result.dropped.counts == {"bad_image_entry": 3, "image_id_twice": 2, "missing_file": 2}
    assert result.notes.counts == {
        "annotation_without_image": 3,
        "bad_box": 4,
        "iscrowd": 1,
        "no_annotation": 1,
        "no_box": 1,
        "no_size": 1,
        "unknown_category": 1,
    }
    assert result.skipped.counts == {"not_in_the_annotations": 3}
    assert result.notes.examples["unknown_category"] == ["a.json: annotations[1] (9)"]


def test_a_category_counts_before_the_attributes_and_both_are_checked(found):
    annotations = [face(attributes={"emotion": "sad", "age": "old", "gender": "x"})]
    result = found({"a.json": coco([image()], annotations), "a.jpg": None})
    assert result.records[0].faces == (HAPPY,)
    assert result.notes.counts == {"bad_age": 1, "bad_gender": 1, "category_differs_from_attributes": 1}


def test_two_entries_of_one_picture_must_agree(found):
    """The same file name for two emotions is dropped, not given the label of either."""
    images = [image(1, "same.jpg"), image(2, "same.jpg"), image(3, "two.jpg"), image(4, "two.jpg")]
    annotations = [face(1), face(2), face(3, 1), face(4, 2)]
    result = found({"a.json": coco(images, annotations), "same.jpg": None, "two.jpg": None})
    assert result.records == [Record("same.jpg", (HAPPY,), size=(30, 40))]
    assert result.notes.counts == {"duplicate_file_name": 1}
    assert result.dropped.counts == {"conflicting_entries": 1}


@pytest.mark.parametrize(
    ("first", "second", "split"), [("train", "train", "train"), (None, "val", "val"), ("train", "val", "conflict")]
)
def test_a_picture_in_two_files(found, first, second, split):
    files = {
        "one.json": coco([image(split=first)], [face()]),
        "two.json": coco([image(split=second)], [face()]),
        "a.jpg": None,
    }
    result = found(files)
    assert [record.split for record in result.records] == ([] if split == "conflict" else [split])


def test_a_missing_image_is_not_taken_from_another_place(found):
    files = {
        "labels/train/annotation.json": coco([image(1, "a.jpg"), image(2, "b.jpg")], [face(1), face(2)]),
        "images/train/a.jpg": None,
        "b.jpg": None,
    }
    result = found(files)
    assert [record.path for record in result.records] == ["images/train/a.jpg"]
    assert result.dropped.examples == {"missing_file": ["labels/train/annotation.json: b.jpg"]}


def test_keypoints_and_scores_are_kept_and_named_by_their_category(found):
    categories = [{"id": 4, "name": "face", "keypoints": ["left_eye", "right_eye"]}]
    faces = [
        face(keypoints=[1, 2, 2, 0, 0, 0], score=0.5),
        face(keypoints=[1, 2], bbox=(9, 9, 1, 1)),
        face(keypoints=[1, 2, 9], bbox=(8, 9, 1, 1)),
    ]
    result = found({"a.json": coco([image()], faces, categories), "a.jpg": ""})
    assert result.keypoint_names == ("left_eye", "right_eye")
    first, *others = result.records[0].faces
    assert (first.keypoints, first.score) == (((1.0, 2.0, 2), (0.0, 0.0, 0)), 0.5)
    assert [(other.keypoints, other.score) for other in others] == [(None, None)] * 2
    assert result.notes.counts == {"bad_keypoints": 2}


def test_keypoints_of_several_kinds_have_no_names(found):
    categories = [{"id": 4, "name": "face", "keypoints": ["nose"]}, {"id": 5, "name": "body", "keypoints": ["hip"]}]
    result = found({"a.json": coco([image()], [face()], categories), "a.jpg": ""})
    assert result.keypoint_names == () and result.notes.counts["keypoint_names_differ"] == 1
