import pytest

from components.shared.dataset.annotations import Face, Image
from serving.runtime.errors import InputError

BOX = (0.0, 0.0, 50.0, 40.0)


def image(index, *faces, **fields):
    return Image(index, f"{index}.jpg", 100, 100, faces, **fields)


def left(data):
    return [i.id for i in data.images]


def test_faces_without_a_box(run):
    images = [
        image(1, Face(1, BOX, {})),
        image(2, Face(2, None, {})),
        image(3, Face(3, None, {}), Face(4, BOX, {})),
        image(4),
    ]
    report, data = run(images, {"drop": {"reasons": ["no_box"]}})
    assert left(data) == [1, 3]
    assert [face.id for face in data.images[1].faces] == [4]
    assert report.operations[0].counts == {"no_box_faces": 2, "no_box": 2}
    assert data.info.dropped_examples == {"no_box": ["2.jpg", "4.jpg"]}


@pytest.mark.parametrize(("min_box", "expected"), [(40, [1, 2, 3]), (40.5, [2, 3]), (1000, [2, 3])])
def test_small_boxes(run, min_box, expected):
    images = [image(1, Face(1, BOX, {})), image(2, Face(2, None, {})), image(3)]
    assert left(run(images, {"drop": {"reasons": ["small_box"], "min_box": min_box}})[1]) == expected


def test_images_without_a_label(run):
    images = [image(1, Face(1, None, {"mask": "worn"})), image(2, Face(2, None, {"age": 3})), image(3)]
    report, data = run(images, {"drop": {"reasons": ["unlabeled"], "label_space": "mask"}})
    assert left(data) == [1]
    assert report.dropped == {"unlabeled": 2}


@pytest.mark.parametrize(("min_agree", "expected"), [(1, [1, 2, 3, 5]), (2, [1, 2, 5]), (3, [1, 5])])
def test_annotators_who_disagree(run, min_agree, expected):
    votes = [["sad"] * 3, ["sad", "pain", "sad"], ["unknown", "sad", "happy"], ["happy", "happy", "happy"]]
    images = [
        image(index, Face(index, None, {"emotion": "sad", "votes": face_votes}))
        for index, face_votes in enumerate(votes, 1)
    ]
    images.append(image(5, Face(5, None, {"emotion": "sad"})))
    _, data = run(images, {"drop": {"reasons": ["disagreement"], "min_agree": float(min_agree)}})
    assert left(data) == expected


def test_of_exact_duplicates_the_copy_that_a_score_rests_on_stays(run):
    images = [
        image(1, Face(1, None, {"mask": "worn"}), split="train", sha256="a"),
        image(2, Face(2, None, {"mask": "worn"}), split="test", sha256="a"),
        image(3, Face(3, None, {"mask": "worn"}), split="val", sha256="a"),
        image(4, split=None, sha256="b"),
        image(5, split="train", sha256="b"),
        image(6, Face(6, None, {"mask": "worn"}), sha256="c"),
        image(7, Face(7, None, {"mask": "absent"}), sha256="c"),
        image(8, sha256="d"),
        image(9),
        image(10),
    ]
    report, data = run(images, {"drop": {"reasons": ["duplicate"]}})
    assert left(data) == [2, 5, 6, 8, 9, 10]
    assert report.operations[0].counts == {"duplicate_groups": 3, "duplicate_label_conflict": 1, "duplicate": 4}
    assert report.operations[0].examples["duplicate_label_conflict"] == ["6.jpg"]


def test_near_duplicates(run):
    base = int("5a" * 16, 16)
    images = [
        image(1, split="train", dhash=f"{base:032x}"),
        image(2, split="val", dhash=f"{base ^ 0b111:032x}"),
        image(3, split="train", dhash=f"{base ^ ((1 << 60) - 1):032x}"),
        image(4, split="train"),
    ]
    report, data = run(images, {"drop": {"reasons": ["near_duplicate"]}})
    assert left(data) == [2, 3, 4]
    assert report.dropped == {"near_duplicate": 1}
    _, data = run(images, {"drop": {"reasons": ["near_duplicate"], "max_distance": 2}})
    assert left(data) == [1, 2, 3, 4]


def test_an_image_counts_under_the_first_reason_that_concerns_it(run):
    images = [
        image(1, Face(1, None, {}), sha256="a"),
        image(2, Face(2, BOX, {}), sha256="a"),
        image(3, Face(3, BOX, {"mask": "worn"}), sha256="a"),
    ]
    options = {"reasons": ["no_box", "unlabeled", "duplicate"], "label_space": "mask"}
    report, data = run(images, {"drop": options})
    assert report.dropped == {"no_box": 1, "unlabeled": 1}
    assert left(data) == [3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reasons": []}, r"reasons = \[\]: "),
        ({}, "reasons: is missing"),
        (
            {"reasons": ["blurry"]},
            "known: disagreement, duplicate, near_duplicate, no_box, small_box, unlabeled",
        ),
        ({"reasons": ["small_box"]}, "reason 'small_box' needs the option 'min_box'"),
        ({"reasons": ["unlabeled"]}, "reason 'unlabeled' needs the option 'label_space'"),
        ({"reasons": ["unlabeled"], "label_space": "masks"}, "unknown label space 'masks'"),
    ],
)
def test_options_that_do_not_fit(run, options, message):
    with pytest.raises(InputError, match=message):
        run([image(1)], {"drop": options})


def test_votes_that_are_no_list_are_none(run):
    images = [
        image(index, Face(index, None, {"emotion": "sad", "votes": votes})) for index, votes in enumerate([3, "sad"], 1)
    ]
    _, data = run(images, {"drop": {"reasons": ["disagreement"]}})
    assert left(data) == [1, 2]
