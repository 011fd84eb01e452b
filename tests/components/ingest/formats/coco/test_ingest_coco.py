import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.ingest.formats.coco.reader import CocoOptions, read_coco
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
        ({"a.json": b"[]", "a.jpg": None}, {}, r"no COCO file.*a.json \(list\)"),
        ({"a.json": b'{"x": 1, "y": 2}'}, {}, r"no COCO file.*a.json \(keys x, y\)"),
        ({"a.xml": None, "a.jpg": None}, {}, "no COCO file.*no JSON file among a.jpg, a.xml"),
        ({"a.json": b'{"images": [], "annotations": [{"id": 1, "id": 2}]}'}, {}, "the key 'id' occurs twice.*1 and 2"),
        ({"labels/val/annotation.json": b'{"images": ['}, {}, "labels/val/annotation.json: not a JSON file.*repair it"),
        ({"a.json": b"\xff\xff"}, {}, "a.json: not a text in UTF-8 or CP949"),
        (
            {"a.json": coco([image(name="b.jpg")]), "x/b.jpg": None, "y/b.jpg": None},
            {},
            r"searched 'images', '\.'; name.*'images'",
        ),
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
    faces = [face(category=3), *(face(category=number, bbox=(9, 9, 1, 1)) for number in range(4, len(names) + 1))]
    result = found({"a.json": coco([image()], faces, categories), "a.jpg": None}, **options)
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
    assert [(r.person, r.split) for r in result.records] == [("p1", "val"), ("3", None), (None, None)]
    assert result.records[0].faces == (Face(0, HAPPY.box, facts),)
    assert result.records[1].faces == (Face(0, None, {"emotion": "sad"}),)
    assert result.lost.examples == {"unknown_split": ["train.json: c.jpg (new)"]}


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
    ]
    assert result.dropped.counts == {
        "bad_image_entry": 3,
        "every_face_lost": 1,
        "image_id_twice": 2,
        "missing_file": 2,
    }
    assert result.lost.counts == {
        "annotation_without_image": 3,
        "bad_box": 4,
        "iscrowd": 1,
        "no_box": 1,
        "unknown_category": 1,
    }
    assert result.notes.counts == {"no_annotation": 1, "no_size": 1}
    assert result.skipped.counts == {"not_in_the_annotations": 3}
    assert result.lost.examples["unknown_category"] == ["a.json: annotations[1] (9)"]


def test_a_category_counts_before_the_attributes_and_both_are_checked(found):
    annotations = [face(attributes={"emotion": "sad", "age": "old", "gender": "x"})]
    result = found({"a.json": coco([image()], annotations), "a.jpg": None})
    assert result.records[0].faces == (HAPPY,)
    assert result.lost.counts == {"bad_age": 1, "bad_gender": 1, "category_differs_from_attributes": 1}


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
    assert result.lost.counts == {"bad_keypoints": 2}


def test_keypoints_of_several_kinds_have_no_names(found):
    categories = [{"id": 4, "name": "face", "keypoints": ["nose"]}, {"id": 5, "name": "body", "keypoints": ["hip"]}]
    result = found({"a.json": coco([image()], [face()], categories), "a.jpg": ""})
    assert result.keypoint_names == () and result.lost.counts == {"keypoint_names_differ": 1}


@pytest.mark.parametrize("in_images", [1, 1.0, "1", " 1", "01"])
@pytest.mark.parametrize("in_annotations", [1, 1.0, "1", "1.0"])
def test_ids_are_read_in_any_type(found, in_images, in_annotations):
    seven = [entry | {"id": str(entry["id"])} for entry in SEVEN]
    for categories, category in ((SEVEN, "4"), (SEVEN, 4.0), (seven, 4), (seven, "4")):
        document = coco([image(in_images)], [face(in_annotations, category)], categories)
        result = found({"a.json": document, "a.jpg": None})
        assert result.records == [Record("a.jpg", (HAPPY,), size=(30, 40))]
        assert not (result.lost.total or result.dropped.total or result.notes.total)


@pytest.mark.parametrize("value", ["face", "a-1", "0x1", "1e", True, None, [1], {"a": 1}])
def test_other_values_are_an_id_only_as_text(found, value):
    result = found({"a.json": coco([image(value), image(2, "b.jpg")], [face(value)]), "a.jpg": None, "b.jpg": None})
    if isinstance(value, str):
        assert result.records[0].faces == (HAPPY,) and not result.dropped.total
    else:
        assert result.dropped.counts == {"bad_image_entry": 1} and result.lost.counts == {"annotation_without_image": 1}


@pytest.mark.parametrize(("one", "other"), [("1", 1), (1.0, 1), ("1", "1"), ("01", 1)])
def test_one_id_of_two_pictures_is_neither(found, one, other):
    files = {"a.json": coco([image(one), image(other, "b.jpg")], [face(1), face("1")]), "a.jpg": None, "b.jpg": None}
    result = found(files)
    assert not result.records
    assert result.dropped.counts == {"image_id_twice": 2} and result.lost.counts == {"annotation_without_image": 2}


def test_an_entry_that_is_there_twice_is_one(found):
    result = found({"a.json": coco([image("1"), image(1)], [face()]), "a.jpg": None})
    assert result.records == [Record("a.jpg", (HAPPY,), size=(30, 40))]
    assert result.notes.counts == {"duplicate_image_entry": 1}


@pytest.mark.parametrize(
    ("bbox", "outcome"),
    [
        (["1", "2", "3.5", "4"], "box_of_texts"),
        ("[1, 2, 3.5, 4]", "box_of_texts"),
        ("1 2 3.5 4", "box_of_texts"),
        ({"x": 1, "y": 2, "width": 3.5, "height": 4}, "box_of_names"),
        ({"X": "1", "Y": 2, "W": 3.5, "H": 4}, "box_of_names"),
        ({"left": 1, "top": 2, "width": 3.5, "height": 4}, "box_of_names"),
        ({"xmin": 1, "ymin": 2, "xmax": 4.5, "ymax": 6}, "box_of_names"),
        ({"x1": 1, "y1": 2, "x2": 4.5, "y2": 6}, "box_of_names"),
        ({"xmin": 4.5, "ymin": 2, "xmax": 1, "ymax": 6}, "bad_box"),
        ({"x": 1, "y": 2}, "bad_box"),
        ([1, 2, 3.5], "bad_box"),
        ([1, 2, 3.5, 4, 5], "bad_box"),
        ([[1, 2, 3.5, 4]], "bad_box"),
        ([1, 2, 0, 4], "bad_box"),
        ([1, 2, 3.5, -4], "bad_box"),
        ([1, 2, None, 4], "bad_box"),
        ([1, 2, True, 4], "bad_box"),
        ([1, 2, "wide", 4], "bad_box"),
        ([1, 2, "nan", 4], "bad_box"),
        ([1, 2, math.inf, 4], "bad_box"),
        (7, "bad_box"),
        (None, "no_box"),
        ([], "no_box"),
        ({}, "no_box"),
        ("", "no_box"),
    ],
)
def test_boxes_are_read_where_they_mean_one_thing_and_else_lost(found, bbox, outcome):
    files = {
        "a.json": coco([image(), image(2, "b.jpg")], [face() | {"bbox": bbox}, face(2)]),
        "a.jpg": None,
        "b.jpg": None,
    }
    result = found(files)
    if outcome.startswith("box"):
        assert result.records[0].faces == (HAPPY,) and result.notes.counts == {outcome: 1}
    else:
        assert [record.path for record in result.records] == ["b.jpg"]
        assert (result.lost.counts, result.dropped.examples) == ({outcome: 1}, {"every_face_lost": ["a.jpg"]})
        kept = found(files, no_box="keep")
        assert kept.records[0].faces == (Face(0, None, {"emotion": "happy"}),)
        assert kept.notes.counts == {outcome: 1} and not kept.lost.total


def test_a_box_that_is_missing_is_the_one_around_the_outline(found):
    outlined = {key: value for key, value in face().items() if key != "bbox"} | {"segmentation": [[1, 2, 4.5, 2, 3, 6]]}
    result = found({"a.json": coco([image()], [outlined]), "a.jpg": None})
    assert result.records[0].faces == (HAPPY,) and result.notes.counts == {"box_of_segmentation": 1}


@pytest.mark.parametrize(
    ("size", "read"),
    [
        ((40, 30), (30, 40)),
        (("40", "30"), (30, 40)),
        ((40.0, "30.0"), (30, 40)),
        (("wide", 30), None),
        ((None, 30), None),
    ],
)
def test_sizes_in_any_type(found, size, read):
    entry = image(width=size[0], height=size[1])
    assert found({"a.json": coco([entry], [face()]), "a.jpg": None}).records[0].size == read


def without_box(*annotations):
    return [{key: value for key, value in entry.items() if key != "bbox"} for entry in annotations]


def test_annotations_of_which_none_has_a_box_are_whole_pictures(found):
    files = {
        "train.json": coco([image()], without_box(face())),
        "test.json": coco([image(2, "b.jpg"), image(3, "c.jpg")], without_box(face(2), face(2), face(3), face(3, 5))),
    } | dict.fromkeys(["a.jpg", "b.jpg", "c.jpg"])
    result = found(files)
    whole = Face(0, None, {"emotion": "happy"})
    assert [(record.path, record.faces) for record in result.records] == [("a.jpg", (whole,)), ("b.jpg", (whole,))]
    assert "no annotation has a box: every face is its whole picture" in result.layout
    assert result.lost.counts == {"several_labels_without_a_box": 2}
    assert result.dropped.examples == {"every_face_lost": ["c.jpg"]}
    assert result.notes.counts == {"duplicate_annotation": 1}


def test_one_box_in_any_file_makes_the_missing_ones_lost(found):
    files = {
        "train.json": coco([image()], without_box(face())),
        "test.json": coco([image(2, "b.jpg")], [face(2)]),
        "a.jpg": None,
        "b.jpg": None,
    }
    result = found(files)
    assert [record.path for record in result.records] == ["b.jpg"] and result.lost.counts == {"no_box": 1}


def test_in_our_own_annotations_a_face_without_a_box_is_its_picture(found):
    ours = {"format": "manifest", "counts": {"images": 2}}
    whole, boxed = without_box(face(1, 1, attributes={"age": 9})), [face(2, 1)]
    files = {"a.json": coco([image(), image(2, "b.jpg")], whole + boxed, [{"id": 1, "name": "face"}], ours)}
    result = found(files | {"a.jpg": None, "b.jpg": None})
    assert [record.faces for record in result.records] == [(Face(0, None, {"age": 9}),), (Face(0, HAPPY.box, {}),)]
    assert not result.lost.total


@pytest.mark.parametrize(
    ("categories", "counts"),
    [
        ([*SEVEN, {"id": 4, "name": "sad"}], {"category_id_twice": 1}),
        ([*SEVEN, {"id": "4", "name": "sad"}], {"category_id_twice": 1}),
        ([*SEVEN, {"id": 4, "name": "happy"}], {}),
        ([*SEVEN, {"id": None, "name": "sad"}], {}),
        ([entry for entry in SEVEN if entry["id"] != 4], {"unknown_category": 1}),
        ([entry for entry in SEVEN if entry["id"] != 4] + [{"id": 4}], {"unknown_category": 1}),
        ([], {"unknown_category": 2}),
        (None, {"unknown_category": 2}),
    ],
)
def test_an_id_of_several_names_or_none_is_a_lost_label(found, categories, counts):
    faces = [face(), face(category=5, bbox=(9, 9, 3, 3))]
    result = found({"a.json": coco([image()], faces, categories), "a.jpg": None}, attribute="emotion")
    assert result.lost.counts == counts
    assert len(result.records[0].faces) == 2
    if "category_id_twice" in counts:
        assert result.lost.examples["category_id_twice"] == ["a.json: annotations[0] (4: happy, sad)"]


def test_several_categories_without_any_names_are_lost_labels(found):
    files = {"a.json": coco([image()], [face(), face(category=5, bbox=(9, 9, 3, 3))], []), "a.jpg": None}
    assert found(files).lost.counts == {"unknown_category": 2}
    one = {"a.json": coco([image()], [face()], []), "a.jpg": None}
    assert not found(one).lost.total and found(one).records[0].faces[0].attributes == {}


@pytest.mark.parametrize(
    ("names", "used", "attribute"),
    [
        (["emotions-x1", *EMOTIONS], range(1, 8), "emotion"),
        (["emotions-x1", *EMOTIONS], [1, 4], "emotion"),
        (["emotions-x1", *EMOTIONS], range(8), "label"),
        (["faces", "face"], [1], None),
        (["animals", "cat", "dog"], [1, 2], "label"),
        (["none", "happy", "sad"], [1, 2], "label"),
    ],
)
def test_categories_without_faces_do_not_tell_the_attribute(found, names, used, attribute):
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    faces = [face(category=number, bbox=(number, 2, 3, 4)) for number in used]
    result = found({"a.json": coco([image()], faces, categories), "a.jpg": None})
    assert {key for entry in result.records[0].faces for key in entry.attributes} == (
        {attribute} if attribute else set()
    )
    if 0 not in used:
        assert any(f"without faces: {names[0]}" in line for line in result.layout)


def test_the_attribute_is_one_for_all_files(found):
    """A small file that happens to have none of the odd categories is no emotion set of its own."""
    categories = [*SEVEN, {"id": 8, "name": "contempt"}]
    files = {
        "train.json": coco([image()], [face(category=8)], categories),
        "test.json": coco([image(2, "b.jpg")], [face(2)], categories),
    }
    result = found(files | {"a.jpg": None, "b.jpg": None})
    assert [set(record.faces[0].attributes) for record in result.records] == [{"label"}, {"label"}]


def test_files_that_differ_in_what_their_categories_are(found):
    files = {
        "train.json": coco([image()], [face()], info={"category_attribute": "emotion"}),
        "test.json": coco([image(2, "b.jpg")], [face(2)]),
    } | {"a.jpg": None, "b.jpg": None}
    with pytest.raises(InputError, match="'category_attribute'.*emotion, none.*'attribute'"):
        found(files)
    assert len(found(files, attribute="emotion").records) == 2


def test_one_name_with_two_ids_or_two_spellings_is_one_class(found):
    categories = [
        {"id": 1, "name": "cat"},
        {"id": 2, "name": "Cat"},
        {"id": 3, "name": "cat"},
        {"id": 4, "name": "dog"},
    ]
    faces = [face(category=number, bbox=(number, 2, 3, 4)) for number in range(1, 5)]
    result = found({"a.json": coco([image()], faces, categories), "a.jpg": None})
    assert [entry.attributes["label"] for entry in result.records[0].faces] == ["cat", "cat", "cat", "dog"]
    assert result.notes.examples == {"spelling_of_class": ["Cat is read as cat"]}


@pytest.mark.parametrize(
    ("written", "note"),
    [
        ("happy/a.jpg", ""),
        ("happy\\a.jpg", "path_by_suffix"),
        ("images\\happy\\a.jpg", "path_by_suffix"),
        ("images/happy/a.jpg", "path_by_suffix"),
        ("images/images/happy/a.jpg", "path_by_suffix"),
        ("./happy/a.jpg", ""),
        ("Happy/A.JPG", "path_by_case"),
        ("/home/ann/set/images/happy/a.jpg", "path_by_suffix"),
        ("C:\\Users\\ann\\happy\\a.jpg", "path_by_suffix"),
        ("/data/local-files/?d=set/images/happy/a.jpg", "path_by_suffix"),
        ("https://host/bucket/happy/a.jpg?sig=1", "path_by_suffix"),
        ("happy%2Fa.jpg", ""),
        ("a.jpg", "path_by_suffix"),
    ],
)
@pytest.mark.parametrize("file", ["annotations/all.json", "annotations/instances_train.json", "all.json"])
def test_names_of_images_as_programs_write_them(found, file, written, note):
    files = {file: coco([image(name=written)], [face()]), "images/happy/a.jpg": None, "images/happy/b.jpg": None}
    result = found(files)
    assert [(record.path, record.faces) for record in result.records] == [("images/happy/a.jpg", (HAPPY,))]
    assert set(result.notes.counts) <= ({note, "path_by_suffix"} if note else {"path_by_suffix"})


def test_a_name_that_several_pictures_have_is_none_of_them(found):
    images = [image(1, "/home/ann/1.jpg"), image(2, "/home/ann/b/2.jpg")]
    files = {"a.json": coco(images, [face(1), face(2)]), "x/1.jpg": None, "y/1.jpg": None, "b/2.jpg": None}
    result = found(files)
    assert [record.path for record in result.records] == ["b/2.jpg"]
    assert result.dropped.counts == {"ambiguous_path": 1}


def test_a_file_of_one_split_takes_no_picture_of_another(found):
    files = {
        "labels/train.json": coco([image(1, "/home/a.jpg"), image(2, "/home/b.jpg")], [face(1), face(2)]),
        "images/train/a.jpg": None,
        "images/val/b.jpg": None,
    }
    result = found(files)
    assert [record.path for record in result.records] == ["images/train/a.jpg"]
    assert result.dropped.counts == {"missing_file": 1}


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 12), st.sampled_from([10**400, 1e308]),
    st.floats(), st.text("019.,-x[] ", max_size=6),
    st.lists(st.integers(-2, 5), max_size=5), st.dictionaries(st.sampled_from(["x", "y", "w", "h"]), st.integers(0, 9)),
)  # fmt: skip
FACE_LOST = {"annotation_without_image", "bad_box", "no_box", "iscrowd", "several_labels_without_a_box"}
LABEL_LOST = {"unknown_category", "no_category", "category_id_twice"}
OTHER_LOST = {"bad_keypoints", "bad_score", "bad_attributes", "unknown_split"}
FACE_KEYS = ["image_id", "category_id", "bbox", "iscrowd", "score", "keypoints", "attributes"]
PICTURE_KEYS = ["id", "file_name", "width", "split", "person"]


def damage(entries, keys, most):
    return st.lists(st.tuples(st.integers(0, entries - 1), st.sampled_from(keys), JUNK), max_size=most)


def total(tally, reasons):
    return sum(tally.counts.get(reason, 0) for reason in reasons)


@given(damage(8, FACE_KEYS, 6), damage(4, PICTURE_KEYS, 3), damage(7, ["id", "name"], 2), st.sets(st.integers(0, 3)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_face_and_picture_of_a_damaged_file_is_read_or_lost(found, faces, pictures, categories, gone):
    images = [image(number, f"{number}.jpg") for number in range(4)]
    annotations = [face(number // 2, number % 7 + 1, bbox=(number, 2, 3, 4)) for number in range(8)]
    named = [dict(entry) for entry in SEVEN]
    for entries, changes in ((annotations, faces), (images, pictures), (named, categories)):
        for index, key, junk in changes:
            entries[index][key] = junk
    there = {f"{number}.jpg" for number in range(4)} - gone
    files = {"a.json": coco(images, annotations, named), "other.jpg": None, **dict.fromkeys(there)}
    try:
        result = found(files)
    except InputError as error:
        assert "images that the COCO files name are missing" in str(error)
        return
    refused = result.dropped.examples.get("every_face_lost", []) + result.dropped.examples.get(
        "conflicting_entries", []
    )
    read = {record.path for record in result.records}
    assert read | {*refused, *result.skipped.examples["not_in_the_annotations"]} == there | {"other.jpg"}
    entries = total(result.dropped, {"bad_image_entry", "image_id_twice", "missing_file", "ambiguous_path"})
    if "conflicting_entries" not in result.dropped.counts:
        merged = total(result.notes, {"duplicate_image_entry", "duplicate_file_name"})
        assert len(images) == len(read) + len(refused) + entries + merged
    assert result.lost.counts.keys() <= FACE_LOST | LABEL_LOST | OTHER_LOST
    kept = [entry for record in result.records for entry in record.faces]
    if not entries and not total(result.notes, {"duplicate_file_name"}) and len(there) == 4:
        assert len(annotations) == len(kept) + total(result.lost, FACE_LOST)
    assert sum(not {"emotion", "label"} & entry.attributes.keys() for entry in kept) <= total(result.lost, LABEL_LOST)
