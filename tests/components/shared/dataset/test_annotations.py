import hashlib
import json
import time

import pytest

from components.shared.dataset.annotations import (
    Annotations,
    DetectionRecord,
    Face,
    Image,
    Keypoint,
    digest,
    read_annotations,
    write_annotations,
)
from components.shared.dataset.info import DatasetInfo
from serving.runtime.errors import InputError, NotFoundError

SAMPLE = Annotations(
    images=(
        Image(
            1,
            "a/얼굴.jpg",
            384,
            512,
            (Face(1, (1, 2, 30.5, 40), {"mask": "worn", "age": 31}),),
            person="p1",
            split="val",
        ),
        Image(2, "b.png", 10, 20, (), fold=0, source="raw/b.png"),
        Image(7, "c.png", 10, 20, (Face(3, None, {}), Face(9, (0, 0, 1, 1), {"gender": "male"}))),
    ),
    info=DatasetInfo(leaks=False, dropped={"truncated": 2}, owner={"name": "somebody"}),
)


def test_round_trip_and_equal_bytes(tmp_path):
    write_annotations(SAMPLE, tmp_path / "new" / "a.json")
    again = read_annotations(tmp_path / "new" / "a.json")
    assert again == SAMPLE
    write_annotations(again, tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "new" / "a.json").read_bytes()
    assert digest(tmp_path / "b.json") == hashlib.sha256((tmp_path / "b.json").read_bytes()).hexdigest()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_the_order_of_keys_does_not_reach_the_file(tmp_path):
    for name, turn in [("a.json", 1), ("b.json", -1)]:
        facts = dict([("mask", "worn"), ("age", 31), ("gender", "male")][::turn])
        info = dict([("leaks", False), ("format", "profile")][::turn])
        write_annotations(
            Annotations((Image(1, "a.jpg", 2, 3, (Face(1, None, facts),)),), DatasetInfo.model_validate(info)),
            tmp_path / name,
        )
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_keypoints_and_scores_are_kept_and_absent_otherwise(tmp_path):
    points = (Keypoint(1.5, 2.0, 2), Keypoint(0.0, 0.0, 0))
    faces = (Face(1, None, {}, points, 0.75), Face(2, None, {}))
    data = Annotations((Image(1, "a.jpg", 4, 5, faces),), keypoint_names=("left_eye", "right_eye"))
    write_annotations(data, tmp_path / "a.json")
    assert read_annotations(tmp_path / "a.json") == data
    coco = json.loads((tmp_path / "a.json").read_text())
    assert coco["categories"] == [{"id": 1, "name": "face", "keypoints": ["left_eye", "right_eye"]}]
    first, second = coco["annotations"]
    assert (first["keypoints"], first["num_keypoints"], first["score"]) == ([1.5, 2.0, 2, 0.0, 0.0, 0], 1, 0.75)
    assert not {"keypoints", "num_keypoints", "score"} & second.keys()


def test_a_byte_order_mark_is_accepted(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(document()).encode())
    assert len(read_annotations(tmp_path / "a.json").images) == 2


def test_the_file_is_coco(tmp_path):
    write_annotations(SAMPLE, tmp_path / "a.json")
    coco = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert coco["categories"] == [{"id": 1, "name": "face"}]
    assert coco["images"][0] == {
        "id": 1, "file_name": "a/얼굴.jpg", "width": 384, "height": 512, "person": "p1", "split": "val",
    }  # fmt: skip
    first, second, third = coco["annotations"]
    assert first["bbox"] == [1.0, 2.0, 30.5, 40.0]
    assert first["area"] == 30.5 * 40
    assert first["category_id"] == 1
    assert first["iscrowd"] == 0
    assert first["image_id"] == 1
    assert "bbox" not in second
    assert third["attributes"] == {"gender": "male"}


def document():
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 4, "height": 5},
            {"id": 2, "file_name": "b.jpg", "width": 4, "height": 5},
        ],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "attributes": {}}],
        "categories": [{"id": 1, "name": "face"}],
    }


def set_in(part, key, value):
    def change(coco):
        coco[part][0][key] = value

    return change


BROKEN = [
    (lambda coco: coco.pop("images"), "missing required field `images`"),
    (lambda coco: coco.update(annotations={}), r"Expected `array`, got `object` - at `\$.annotations`"),
    (lambda coco: coco.update(info=[]), "info: expected a mapping"),
    (lambda coco: coco.update(info={"dropped": {"a": "b"}}), "info: dropped.a = 'b'"),
    (lambda coco: coco.update(info={"split": 7}), "info: split = 7"),
    (lambda coco: coco["images"].append(3), r"\$.images\[2\]"),
    (set_in("images", "id", 0), r"`int` >= 1 - at `\$.images\[0\].id`"),
    (set_in("images", "id", True), r"`int`, got `bool` - at `\$.images\[0\].id`"),
    (set_in("images", "id", 2), "image id 2 occurs twice"),
    (set_in("images", "file_name", ""), r"length >= 1 - at `\$.images\[0\].file_name`"),
    (set_in("images", "file_name", "b.jpg"), "file_name 'b.jpg' occurs twice"),
    (set_in("images", "width", 0), r"\$.images\[0\].width`"),
    (set_in("images", "height", 4.5), r"\$.images\[0\].height`"),
    (set_in("images", "split", "dev"), r"\$.images\[0\].split`"),
    (set_in("images", "person", 3), r"\$.images\[0\].person`"),
    (set_in("images", "fold", -1), r"\$.images\[0\].fold`"),
    (set_in("annotations", "image_id", 9), "annotation 1: no image has the 'image_id' 9"),
    (set_in("annotations", "image_id", [1]), r"\$.annotations\[0\].image_id`"),
    (set_in("annotations", "category_id", 2), r"\$.annotations\[0\].category_id`"),
    (set_in("annotations", "bbox", [0, 0, 0, 1]), r"> 0.0 - at `\$.annotations\[0\].bbox\[2\]`"),
    (set_in("annotations", "bbox", [0, 0, 1, -1]), r"> 0.0 - at `\$.annotations\[0\].bbox\[3\]`"),
    (set_in("annotations", "bbox", [0, 0, 1]), r"length 4.* - at `\$.annotations\[0\].bbox`"),
    (set_in("annotations", "bbox", [float("nan"), 0, 1, 1]), "not a JSON file"),
    (set_in("annotations", "keypoints", [1, 2]), "annotation 1: 'keypoints'"),
    (set_in("annotations", "keypoints", [1, 2, 3]), "annotation 1: 'keypoints'"),
    (set_in("annotations", "score", "high"), r"\$.annotations\[0\].score`"),
    (set_in("annotations", "attributes", []), r"\$.annotations\[0\].attributes`"),
    (lambda coco: coco["annotations"].append(dict(coco["annotations"][0])), "annotation id 1 occurs twice"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_a_broken_file_is_named_with_its_record(tmp_path, change, message):
    path = tmp_path / "broken.json"
    coco = document()
    path.write_text(json.dumps(coco))
    read_annotations(path)
    change(coco)
    path.write_text(json.dumps(coco))
    with pytest.raises(InputError, match=message) as error:
        read_annotations(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe\x00", b"PK\3\4 a zip", b'{"images": [{"file_name": "\\ud800"}]}']
)
def test_a_file_that_is_not_json_is_refused(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match="not a JSON file"):
        read_annotations(tmp_path / "a.json")


def test_a_missing_file_and_a_list_are_refused(tmp_path):
    with pytest.raises(NotFoundError, match="no such annotations file"):
        read_annotations(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="Expected `object`, got `array`"):
        read_annotations(tmp_path / "a.json")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_annotations(SAMPLE, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_annotations(Annotations((), DatasetInfo.model_validate({"loss": float("nan")})), path)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_many_images_take_seconds(tmp_path):
    faces = {"mask": "worn", "gender": "female", "age": 31}
    images = tuple(
        Image(i, f"{i:06d}/mask1.jpg", 384, 512, (Face(i, (1.0, 2.0, 3.0, 4.0), faces),), person=str(i))
        for i in range(1, 30_001)
    )
    start = time.process_time()
    write_annotations(Annotations(images), tmp_path / "a.json")
    again = read_annotations(tmp_path / "a.json")
    assert time.process_time() - start < 5
    assert again.images == images


def test_how_faces_were_found_is_kept_and_absent_where_no_detector_ran(tmp_path) -> None:
    found = DetectionRecord("yunet", 2, ("low_score",))
    face = Face(1, (1.0, 2.0, 3.0, 4.0), {}, score=0.7, original_box=(0.5, 2.0, 3.0, 4.0))
    images = (Image(1, "1.jpg", 9, 9, (face,), detection=found), Image(2, "2.jpg", 9, 9, (Face(2, None, {}),)))
    write_annotations(Annotations(images), tmp_path / "a.json")
    assert read_annotations(tmp_path / "a.json").images == images
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["images"][0]["detection"] == {"method": "yunet", "found": 2, "unsure": ["low_score"]}
    assert document["annotations"][0]["original_bbox"] == [0.5, 2.0, 3.0, 4.0]
    assert "detection" not in document["images"][1] and "original_bbox" not in document["annotations"][1]
