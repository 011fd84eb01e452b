from dataclasses import replace

import pytest

from components.shared.dataset.annotations import Annotations, Face, Image, Keypoint, write_annotations
from components.shared.dataset.info import DatasetInfo
from components.shared.dataset.persons import crossing_persons
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import make_bucket, upload


@pytest.fixture
def other(tmp_path):
    def write(*images, info=None):
        write_annotations(Annotations(images, DatasetInfo.model_validate(info or {})), tmp_path / "other.json")
        return {"merge": {"annotations": str(tmp_path / "other.json")}}

    return write


def image(index, name, *faces, **fields):
    return Image(index, name, 100, 80, faces, **fields)


def test_images_are_matched_by_name_and_ids_stay_unique(run, other):
    mine = [image(5, "a.jpg", Face(9, None, {"emotion": "sad"})), image(2, "b.jpg", Face(3, None, {}))]
    operation = other(
        image(1, "b.jpg", Face(1, None, {"emotion": "happy"})),
        image(2, "z.jpg", Face(2, None, {})),
        image(5, "c.jpg", Face(9, None, {}), Face(4, (0, 0, 5, 5), {})),
    )
    report, data = run(mine, operation)
    assert [(i.id, i.file_name, [face.id for face in i.faces]) for i in data.images] == [
        (2, "b.jpg", [3]),
        (5, "a.jpg", [9]),
        (6, "c.jpg", [10, 11]),
        (7, "z.jpg", [12]),
    ]
    assert data.images[0].faces[0].attributes == {"emotion": "happy"}
    assert report.operations[0].counts == {"only_here": 1, "in_both": 1, "added_images": 2}
    assert report.faces == 5


def test_what_one_file_lacks_comes_from_the_other_and_mine_wins_a_conflict(run, other):
    mine = image(1, "a.jpg", Face(1, None, {"age": 30, "gender": "male"}), person="p", split="train", sha256="1" * 64)
    theirs = image(
        1, "a.jpg", Face(1, (1, 2, 30, 40), {"age": 31, "mask": "worn"}),
        person="q", split="train", fold=2, source="x.jpg", sha256="1" * 64, trainable=False,
    )  # fmt: skip
    report, data = run([mine], other(theirs))
    (merged,) = data.images
    assert merged == replace(
        mine,
        fold=2,
        source="x.jpg",
        trainable=False,
        faces=(Face(1, (1.0, 2.0, 30.0, 40.0), {"age": 30, "gender": "male", "mask": "worn"}),),
    )
    assert report.operations[0].counts == {
        "in_both": 1,
        "conflict_person": 1,
        "conflict_trainable": 1,
        "conflict_age": 1,
    }
    assert report.operations[0].examples["conflict_age"] == ["a.jpg"]


def test_several_faces_are_paired_by_their_boxes(run, other):
    mine = image(1, "a.jpg", Face(1, (0, 0, 20, 20), {"n": 1}), Face(2, (50, 50, 20, 20), {"n": 2}))
    theirs = image(
        1, "a.jpg",
        Face(1, (51, 51, 20, 20), {"m": 2}),
        Face(2, (80, 0, 10, 10), {"m": 3}),
        Face(3, (2, 0, 20, 20), {"m": 1}),
        Face(4, (55, 55, 20, 20), {"m": 4}),
    )  # fmt: skip
    report, data = run([mine], other(theirs))
    assert [(face.id, face.box, face.attributes) for face in data.images[0].faces] == [
        (1, (0, 0, 20, 20), {"n": 1, "m": 1}),
        (2, (50, 50, 20, 20), {"n": 2, "m": 2}),
        (3, (80, 0, 10, 10), {"m": 3}),
        (4, (55, 55, 20, 20), {"m": 4}),
    ]
    assert report.operations[0].counts == {"in_both": 1, "added_faces": 2, "conflict_box": 2}


def test_merging_with_itself_changes_nothing(run, other):
    images = [
        image(1, "a.jpg", Face(1, None, {"age": 3}), Face(2, (0, 0, 5, 5), {"mask": "worn"}), person="p"),
        image(2, "b.jpg"),
    ]
    report, data = run(images, other(*images))
    assert list(data.images) == images
    assert report.operations[0].counts == {"in_both": 2}


def test_other_images_are_refused(run, other):
    with pytest.raises(InputError, match=r"'a.jpg' is 100x80 here and 90x80 there"):
        run([image(1, "a.jpg")], other(replace(image(1, "a.jpg"), width=90)))
    with pytest.raises(InputError, match=r"'a.jpg' is another picture there"):
        run([image(1, "a.jpg", sha256="a")], other(image(1, "a.jpg", sha256="b")))


def test_a_leak_that_comes_in_is_known(run, other):
    _, data = run([image(1, "a.jpg")], other(image(1, "a.jpg"), info={"leaks": True}))
    assert data.info.leaks is True
    _, data = run([image(1, "a.jpg", person="p", split="train")], other(image(1, "b.jpg", person="p", split="test")))
    assert crossing_persons(data.images) == ["p"]
    assert data.info.leaks is True


def test_from_s3(run, s3, tmp_path):
    write_annotations(Annotations((image(4, "b.jpg"),)), tmp_path / "b.json")
    make_bucket("merge")
    upload(tmp_path / "b.json", "s3://merge/b.json")
    _, data = run([image(1, "a.jpg")], {"merge": {"annotations": "s3://merge/b.json"}})
    assert [i.file_name for i in data.images] == ["a.jpg", "b.jpg"]


def test_no_such_file(run):
    with pytest.raises(NotFoundError, match="operation 'merge': .*no such annotations file"):
        run([image(1, "a.jpg")], {"merge": {"annotations": "/nowhere/x.json"}})


def test_keypoints_and_scores_come_from_the_file_that_has_them(run, other):
    points = (Keypoint(1.0, 2.0, 2),)
    mine = replace(image(1, "a.jpg"), faces=(Face(1, None, {"mask": "worn"}),))
    theirs = replace(image(1, "a.jpg"), faces=(Face(1, None, {}, points, 0.5),))
    _, data = run([mine], other(theirs))
    assert data.images[0].faces == (Face(1, None, {"mask": "worn"}, points, 0.5),)
