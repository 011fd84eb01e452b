import hashlib
import json
import time

import pytest

from components.shared.dataset.annotations import Annotations, Face, Image, digest, read_annotations, write_annotations
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
    info={"leaks": False, "dropped": {"truncated": 2}},
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
        write_annotations(Annotations((Image(1, "a.jpg", 2, 3, (Face(1, None, facts),)),), info), tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


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
    (lambda coco: coco.pop("images"), "'images' is missing"),
    (lambda coco: coco.update(annotations={}), "'annotations' is missing or not a list"),
    (lambda coco: coco.update(info=[]), "'info'"),
    (lambda coco: coco["images"].append(3), r"images\[2\]"),
    (set_in("images", "id", 0), "'id' must be an integer from 1 on"),
    (set_in("images", "id", True), "'id' must be an integer from 1 on"),
    (set_in("images", "id", 2), "image id 2 occurs twice"),
    (set_in("images", "file_name", ""), "image 1: 'file_name'"),
    (set_in("images", "file_name", "b.jpg"), "same file_name"),
    (set_in("images", "width", 0), "image 1: 'width'"),
    (set_in("images", "height", 4.5), "image 1: 'height'"),
    (set_in("images", "split", "dev"), "image 1: 'split'"),
    (set_in("images", "person", 3), "image 1: 'person'"),
    (set_in("images", "fold", -1), "image 1: 'fold'"),
    (set_in("annotations", "image_id", 9), "annotation 1: 'image_id' 9 is no image"),
    (set_in("annotations", "image_id", [1]), "annotation 1: 'image_id'"),
    (set_in("annotations", "category_id", 2), "annotation 1: 'category_id'"),
    (set_in("annotations", "bbox", [0, 0, 0, 1]), "annotation 1: 'bbox'"),
    (set_in("annotations", "bbox", [0, 0, 1, -1]), "annotation 1: 'bbox'"),
    (set_in("annotations", "bbox", [0, 0, 1]), "annotation 1: 'bbox'"),
    (set_in("annotations", "bbox", [float("nan"), 0, 1, 1]), "annotation 1: 'bbox'"),
    (set_in("annotations", "attributes", []), "annotation 1: 'attributes'"),
    (lambda coco: coco["annotations"].append(dict(coco["annotations"][0])), "annotation 1 occurs twice"),
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


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\x00", b"PK\3\4 a zip"])
def test_not_json(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match="not a JSON file"):
        read_annotations(tmp_path / "a.json")


def test_no_file_and_no_object(tmp_path):
    with pytest.raises(NotFoundError, match="no such annotations file"):
        read_annotations(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="expected a COCO object"):
        read_annotations(tmp_path / "a.json")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_annotations(SAMPLE, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_annotations(Annotations((), {"loss": float("nan")}), path)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_many_images_take_seconds(tmp_path):
    faces = {"mask": "worn", "gender": "female", "age": 31}
    images = tuple(
        Image(i, f"{i:06d}/mask1.jpg", 384, 512, (Face(i, (1.0, 2.0, 3.0, 4.0), faces),), person=str(i))
        for i in range(1, 30_001)
    )
    start = time.process_time()
    write_annotations(Annotations(images, {}), tmp_path / "a.json")
    again = read_annotations(tmp_path / "a.json")
    assert time.process_time() - start < 5
    assert again.images == images
