"""Which box and which emotion of three annotators and an uploader counts."""

import pytest
from aihub_records import GOOD, INVERTED, KOREAN, OTHER, boxes_of, dropped, emotions, record, text
from PIL import Image

from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from serving.runtime.errors import InputError

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
        ({**GOOD, "maxX": float("nan")}, {**GOOD, "minX": -3}, None),
        (-3, 20, 53, 50),
        (-3, 20, 53, 50),
        (-3, 20, 53, 50),
        {"broken_box": 1, "missing_box": 1},
    ),
    (({**GOOD, "maxX": 10**400}, GOOD, GOOD), (10, 20, 40, 50), (10, 20, 40, 50), (10, 20, 40, 50), {"broken_box": 1}),
]


@pytest.mark.parametrize(("boxes", "first", "median", "union", "flaws"), BOXES)
def test_boxes_of_three_annotators(aihub, boxes, first, median, union, flaws):
    files = {"happy/a.jpg": None, "happy.json": [record("a.jpg", "happy", boxes=boxes)]}
    for policy, expected in {"first_valid": first, "median": median, "union": union}.items():
        result = aihub(files, box_policy=policy)
        assert boxes_of(result)[0] == pytest.approx(expected)
        assert {k: v for k, v in result.notes.counts.items() if k.endswith("box")} == flaws
    assert aihub(files).records == aihub(files, box_policy="first_valid").records


def test_an_image_without_a_valid_box_is_dropped_or_kept_whole(aihub):
    names = [f"{number}.jpg" for number in range(4)]
    bad = [(INVERTED, INVERTED, None), (None, None, None)]
    records = [record(name, "sad", boxes=boxes) for name, boxes in zip(names, [(GOOD,) * 3, *bad], strict=False)]
    records.append({"filename": names[3], "faceExp_uploader": "슬픔"})
    files = {f"sad/{name}": None for name in names} | {"sad.json": records}
    result = aihub(files)
    assert list(emotions(result)) == ["sad/0.jpg"]
    assert dropped(result) == {"no_valid_box": 3}
    assert result.dropped.examples["no_valid_box"] == ["sad/1.jpg", "sad/2.jpg", "sad/3.jpg"]
    assert result.notes.counts["inverted_box"] == 2
    kept = aihub(files, no_box="keep")
    assert boxes_of(kept) == [(10, 20, 40, 50), None, None, None]
    assert not kept.dropped.total
    assert kept.notes.counts["no_valid_box"] == 3
    assert "votes" not in kept.records[3].faces[0].attributes


BESIDE = {"minX": 61, "minY": 10, "maxX": 99, "maxY": 50}
BEFORE = {"minX": -30, "minY": 10, "maxX": -1, "maxY": 50}
CORNER = {"minX": 50, "minY": 70, "maxX": 90, "maxY": 110}  # a sixteenth of it is in the picture


@pytest.mark.parametrize(
    ("boxes", "policy", "expected"),
    [
        ((BESIDE, OTHER, GOOD), "first_valid", (12, 26, 46, 34)),
        ((BEFORE, None, GOOD), "first_valid", (10, 20, 40, 50)),
        ((CORNER, BESIDE, GOOD), "first_valid", (10, 20, 40, 50)),
        ((BESIDE, OTHER, GOOD), "union", (10, 20, 48, 50)),
        (([BESIDE, GOOD], OTHER, OTHER), "first_valid", (10, 20, 40, 50)),
        ((BESIDE, BEFORE, CORNER), "first_valid", None),
        ((BESIDE, BEFORE, CORNER), "union", None),
    ],
)
@pytest.mark.parametrize("no_box", ["drop", "keep"])
def test_a_box_beside_the_photo_does_not_count(tmp_path, boxes, policy, expected, no_box):
    (tmp_path / "raw" / "sad").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (60, 80), "white").save(tmp_path / "raw" / "sad" / name)
    labels = [record("a.jpg", "sad", boxes=boxes), record("b.jpg", "sad")]
    (tmp_path / "raw" / "sad.json").write_bytes(text(labels))
    options = {"box_policy": policy, "no_box": no_box, "max_dropped": 0.5}
    info = ingest(str(tmp_path / "raw"), tmp_path / "images", tmp_path / "a.json", format="aihub", options=options)
    result = {image.file_name: image.faces[0].box for image in read_annotations(tmp_path / "a.json").images}
    if expected is None and no_box == "drop":
        assert result.keys() == {"sad/b.jpg"}
        assert (info.lost, info.dropped) == ({"no_valid_box": 1}, {"every_face_lost": 1})
    else:
        assert result["sad/a.jpg"] == expected
        assert (info.lost, info.dropped) == ({}, {})
        assert ("no_valid_box" in info.notes) == (expected is None)


@pytest.mark.parametrize("written", ["놀람", "알수없음", "湲곗겏", "", None, 7])
def test_an_unknown_emotion_is_reported(aihub, written):
    odd = record("odd.jpg", "sad", faceExp_uploader=written)
    files = {"sad/a.jpg": None, "sad/odd.jpg": None, "sad.json": [record("a.jpg", "sad"), odd]}
    result = aihub(files)
    assert emotions(result) == {"sad/a.jpg": "sad"}
    assert dropped(result) == {"unknown_emotion" if written else "no_emotion": 1}
    assert str(written or "") in next(iter(result.dropped.examples.values()))[0]
    by_votes = aihub(files, label_policy="majority")
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
def test_label_policies(aihub, votes, one, two, three, unanimous):
    entry = record("a.jpg", "anger")
    for who, vote in zip("ABC", votes, strict=True):
        entry[f"annot_{who}"]["faceExp"] = KOREAN.get(vote, vote)
    files = {"a.jpg": None, "x.json": [entry]}
    assert emotions(aihub(files)) == {"a.jpg": "anger"}
    for options, expected in [
        ({"label_policy": "majority", "min_votes": 1}, one),
        ({"label_policy": "majority"}, two),
        ({"label_policy": "majority", "min_votes": 3}, three),
        ({"label_policy": "unanimous"}, unanimous),
    ]:
        result = aihub(files, **options)
        assert emotions(result) == ({"a.jpg": expected} if expected else {})
        reason = "not_unanimous" if options["label_policy"] == "unanimous" else "no_majority"
        assert dropped(result) == ({} if expected else {reason: 1})


def test_votes_that_are_no_emotion_are_counted(aihub):
    entry = record("a.jpg", "sad", votes=("놀람", "알수없음", "sad"))
    del entry["annot_C"]
    result = aihub({"sad/a.jpg": None, "sad.json": [entry]})
    assert result.records[0].faces[0].attributes["votes"] == ["unknown", "unknown", "unknown"]
    assert result.notes.counts["vote_for_an_unknown_emotion"] == 1
    assert result.notes.counts["missing_vote"] == 1


@pytest.mark.parametrize(
    ("policy", "kept", "reasons"),
    [("label", "sad", {}), ("folder", "happy", {}), ("drop", None, {"folder_disagrees": 1})],
)
def test_a_folder_that_disagrees_with_the_label(aihub, policy, kept, reasons):
    files = {"happy/a.jpg": None, "happy/b.jpg": None}
    files["happy.json"] = [record("a.jpg", "sad"), record("b.jpg", "happy")]
    result = aihub(files, folder_policy=policy)
    assert emotions(result) == {"happy/b.jpg": "happy"} | ({"happy/a.jpg": kept} if kept else {})
    assert dropped(result) == reasons
    assert result.notes.counts.get("folder_disagrees", 0) == (policy != "drop")
    if kept:
        assert result.records[0].faces[0].attributes["uploader"] == "sad"


@pytest.mark.parametrize(
    "options", [{"label_policy": "vote"}, {"min_votes": 0}, {"min_votes": 4}, {"box_policy": "mean"}, {"folder": "x"}]
)
def test_wrong_options_are_named(aihub, options):
    with pytest.raises(InputError, match=f"{next(iter(options))} = "):
        aihub({}, **options)
