"""The choice of faces: boxes go into the annotations, and every image is kept or listed."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from face_samples import GREEN, SIZE, DataSet, image, png
from html_page import Page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.detect_faces.assign import assign
from components.detect_faces.choose import choose_faces
from components.detect_faces.config import ChooseOptions
from components.detect_faces.detect import detect_faces
from components.detect_faces.detections import read_detections
from components.detect_faces.fallback import Fallback
from components.detect_faces.report import LEGEND, NOT_FOUND, ORIGINAL, marks
from components.detect_faces.result import Chooser
from components.shared.dataset.annotations import (
    Annotations,
    DetectionRecord,
    Face,
    Image,
    Keypoint,
    images_digest,
    read_annotations,
    write_annotations,
)
from components.shared.report.thumbnails import FRAME
from serving.runtime.errors import InputError

BOX, OTHER = (20, 20, 50, 60), (200, 100, 40, 40)
LABEL = {"gender": "male"}


def one(tmp_path: Path, *faces: Any, found: list, levels: list[int] | None = None, **facts: Any) -> DataSet:
    """A data set of one image, in which detection finds faces."""
    return DataSet(tmp_path, {"1.png": png(found, levels)}, [image(1, *faces, **facts)])


def chosen(data: DataSet, *chain: Any, **options: Any) -> Image | None:
    """What became of the first image."""
    result = data.choose(data.detect(*(chain or [GREEN])), **options)
    return next((image for image in result.images if image.id == 1), None)


def listed(data: DataSet) -> dict[str, Any]:
    content = json.loads(data.listing.read_text())
    return {entry["image"]: entry for entry in content["dropped"] + content["unsure"]}


def test_a_face_without_a_box_gets_the_one_that_was_found(tmp_path: Path) -> None:
    data = one(tmp_path, None, found=[BOX], person="p", split="train", source="raw/a.png")
    result = chosen(data)
    assert result is not None and result.detection == DetectionRecord("green", 1)
    (face,) = result.faces
    assert (face.id, face.box, face.attributes, face.score, face.original_box) == (100, BOX, LABEL, 1.0, None)
    assert face.keypoints is not None and face.keypoints[0] == Keypoint(35.0, 44.0, 2)
    assert (result.person, result.split, result.source) == ("p", "train", "raw/a.png")
    written = read_annotations(tmp_path / "chosen.json")
    assert written.keypoint_names == ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    assert written.info.detection is not None and written.info.detection.methods == {"green": 1}
    assert not listed(data) and data.metrics["method/green"] == 1


def test_a_found_box_replaces_the_annotated_one_which_is_kept(tmp_path: Path) -> None:
    annotated = (24.0, 22.0, 50.0, 60.0)
    result = chosen(one(tmp_path, annotated, found=[BOX, OTHER]))
    assert result is not None
    assert [(face.box, face.original_box) for face in result.faces] == [(BOX, annotated)]
    assert result.detection == DetectionRecord("green", 2), "the other face is no doubt: the annotated box says which"
    again = DataSet(tmp_path / "again", {"1.png": png([OTHER])}, [result])
    moved = chosen(again, choose="score")
    assert moved is not None
    assert [(face.box, face.original_box) for face in moved.faces] == [(OTHER, annotated)], "the first box stays"


def test_all_keeps_other_faces_without_a_label(tmp_path: Path) -> None:
    result = chosen(one(tmp_path, None, found=[BOX, OTHER], levels=[255, 200]), choose="all")
    assert result is not None
    assert [(face.id, face.box, face.attributes) for face in result.faces] == [(100, BOX, LABEL), (101, OTHER, {})]
    assert result.detection == DetectionRecord("green", 2)


def test_an_image_with_no_annotated_face_gets_faces_under_all_alone(tmp_path: Path) -> None:
    data = one(tmp_path, found=[BOX])
    kept, filled = chosen(data), chosen(data, choose="all")
    assert kept is not None and filled is not None
    assert (kept.faces, kept.detection) == ((), DetectionRecord("none", 1))
    assert [(face.id, face.box) for face in filled.faces] == [(1, BOX)]


UNSURE = [
    ([None], [BOX, OTHER], {}, ["several_faces"]),
    ([None], [BOX], {"near_threshold": 0.6}, ["low_score"]),
    ([None], [BOX, (150, 50, 6, 6)], {}, ["implausible"]),
    ([BOX, OTHER], [BOX], {}, ["unmatched"]),
    ([None, None], [BOX, OTHER], {"choose": "all"}, ["several_without_box"]),
]


@pytest.mark.parametrize(("faces", "found", "options", "reasons"), UNSURE)
def test_an_image_says_why_its_boxes_may_be_wrong(
    faces: list, found: list, options: dict, reasons: list[str], tmp_path: Path
) -> None:
    data = one(tmp_path, *faces, found=found)
    result = chosen(data, **options)
    assert result is not None and result.detection is not None
    assert list(result.detection.unsure) == reasons
    entry = listed(data)["1.png"]
    assert (entry["reasons"], entry["dropped"], entry["found"]) == (reasons, False, result.detection.found)
    assert len(entry["implausible"]) == ("implausible" in reasons)
    assert all(data.metrics[f"unsure/{reason}"] == 1 for reason in reasons)


def people() -> list[Image]:
    """Two photos of one person that detection finds, one that it does not, and one of nobody known."""
    return [image(number, None, person="p" if number < 4 else None) for number in range(1, 5)]


PEOPLE = {"1.png": png([(20, 20, 50, 60)]), "2.png": png([(40, 40, 70, 80)]), "3.png": png([]), "4.png": png([])}


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("drop", {}),
        ("person_mean", {3: ("person_mean", (30, 30, 60, 70)), 4: ("center", (75, 48, 144, 98))}),
        ("whole_image", {3: ("whole_image", None), 4: ("whole_image", None)}),
    ],
)
def test_a_face_that_was_not_found_goes_to_the_fallback(fallback: str, expected: dict, tmp_path: Path) -> None:
    data = DataSet(tmp_path, PEOPLE, people())
    result = data.choose(data.detect(GREEN), fallback=fallback)
    assert {image.id for image in result.images} == {1, 2, *expected}
    for entry in result.images[2:]:
        method, box = expected[entry.id]
        assert entry.detection == DetectionRecord(method, 0, ("no_face",))
        assert entry.faces[0].box == (box and pytest.approx(box)) and entry.faces[0].score is None
        assert data.metrics[f"method/{method}"] >= 1
    for name in ("3.png", "4.png"):
        assert listed(data)[name]["reasons"] == ["no_face"] and listed(data)[name]["dropped"] == (not expected)
        assert [face["id"] for face in listed(data)[name]["dropped_faces"]] == (
            [] if expected else [int(name[0]) * 100]
        )
    assert data.metrics["dropped"] == data.metrics["dropped_faces"] == 2 - len(expected)
    assert result.info.dropped == ({} if expected else {"no_face": 2})
    assert result.info.lost == ({} if expected else {"face_not_found": 2})
    assert result.info.counts.images == 2 + len(expected)


def test_table_then_detector_then_the_persons_other_images_then_the_center(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("path,s_X,s_Y,e_X,e_Y\n1.png,200,100,240,140\n")
    pictures = {"1.png": png([BOX]), "2.png": png([BOX]), "3.png": png([]), "4.png": png([])}
    persons = ("p", "p", "p", "alone")
    data = DataSet(tmp_path, pictures, [image(number, None, person=who) for number, who in enumerate(persons, start=1)])
    found = data.detect({"table": str(table)}, GREEN)
    result = data.choose(found, fallback="person_mean", center=(0.25, 0.2, 0.75, 0.8))
    assert [one.detection and one.detection.method for one in result.images] == [
        "table",
        "green",
        "person_mean",
        "center",
    ]
    mean = tuple((first + second) / 2 for first, second in zip(OTHER, BOX, strict=True))
    for one, box in zip(result.images, (OTHER, BOX, mean, (75, 40, 150, 120)), strict=True):
        assert one.faces[0].box == pytest.approx(box)
    counts = {name: count for name, count in data.metrics.items() if name.startswith("method/")}
    assert counts == {"method/table": 1, "method/green": 1, "method/person_mean": 1, "method/center": 1}


def test_the_mean_box_fits_pictures_of_another_size(tmp_path: Path) -> None:
    images = [image(1, None, person="p"), image(2, None, person="p", height=400, width=600)]
    data = DataSet(tmp_path, {"1.png": png([(30, 20, 60, 40)]), "2.png": png([], size=(400, 600))}, images)
    result = data.choose(data.detect(GREEN), fallback="person_mean")
    assert result.images[1].faces[0].box == pytest.approx((60, 40, 120, 80))


def test_the_center_is_a_parameter(tmp_path: Path) -> None:
    result = chosen(one(tmp_path, None, found=[]), fallback="person_mean", center=[0.1, 0.2, 0.6, 0.7])
    assert result is not None and result.faces[0].box == pytest.approx((30, 40, 150, 100))


@pytest.mark.parametrize("fallback", ["drop", "person_mean", "whole_image"])
def test_of_several_annotated_faces_only_those_that_were_found_change(fallback: str, tmp_path: Path) -> None:
    far = (100.0, 10.0, 30.0, 30.0)
    data = one(tmp_path, BOX, far, None, found=[BOX], person="p")
    result = chosen(data, fallback=fallback)
    assert result is not None and result.detection == DetectionRecord("green", 1, ("unmatched",))
    kept = [100] if fallback == "drop" else [100, 101]
    assert [face.id for face in result.faces] == kept
    assert [face.box for face in result.faces][1:] == [far] * (len(kept) - 1), "its own box is better than a guess"
    assert [face["id"] for face in listed(data)["1.png"]["dropped_faces"]] == [
        number for number in (100, 101, 102) if number not in kept
    ]
    assert data.metrics["dropped_faces"] == 3 - len(kept)


def test_with_the_annotations_in_the_chain_a_face_keeps_its_box(tmp_path: Path) -> None:
    far = (100.0, 10.0, 30.0, 30.0)
    images = [image(1, BOX, far), image(2, far)]
    data = DataSet(tmp_path, {"1.png": png([BOX]), "2.png": png([])}, images)
    result = data.choose(data.detect(GREEN, "annotations"))
    assert [face.box for face in result.images[0].faces] == [BOX, far]
    assert result.images[1].faces == images[1].faces
    assert [entry.detection and entry.detection.method for entry in result.images] == ["green", "annotations"]


def test_pictures_that_cannot_be_decoded_are_dropped_and_listed_up_to_a_limit(tmp_path: Path) -> None:
    data = DataSet(tmp_path, {"1.png": png([BOX]), "2.png": b"no picture"}, [image(1, None), image(2, None)])
    found = data.detect(GREEN, max_failed=1)
    with pytest.raises(InputError, match=r"(?s)cannot be decoded.*2.png.*max_failed"):
        data.choose(found)
    result = data.choose(found, max_failed=1, fallback="whole_image")
    assert [entry.id for entry in result.images] == [1]
    entry = listed(data)["2.png"]
    assert (entry["reasons"], entry["dropped"]) == (["unreadable"], True) and "not an image" in entry["message"].lower()
    text = " ".join(" ".join(Page(data.report.read_text()).text).split())
    assert f"1 image: the picture cannot be decoded 2.png: {entry['message']}" in text and "not shown" not in text


def test_the_colors_tell_a_replaced_box_from_a_face_that_was_not_found(tmp_path: Path) -> None:
    moved, gone = (24.0, 22.0, 50.0, 60.0), (100.0, 10.0, 30.0, 30.0)
    images = [image(1, moved, gone), image(2, gone)]
    data = DataSet(tmp_path, {"1.png": png([BOX]), "2.png": png([])}, images)
    record, found = read_detections([data.detect(GREEN)])
    options = ChooseOptions()
    chooser = Chooser(options, record.thresholds, (), Fallback(options, own_boxes=False, found=[]), 1000)
    drawn = [
        marks(chooser.result(entry, faces, assign(entry.faces, faces.plausible, options.choose, options.min_iou)))
        for entry, faces in zip(images, found, strict=True)
    ]
    assert drawn == [[(moved, ORIGINAL), (gone, NOT_FOUND), (BOX, FRAME)], [(gone, NOT_FOUND)]]
    assert len({color for color, _ in LEGEND}) == len(LEGEND) and (NOT_FOUND, "annotated, not found") in LEGEND


@pytest.mark.parametrize(
    ("annotated", "options", "line"),
    [
        (True, {}, "1 of 4 annotated faces kept, in 1 of 3 images (green 1); left out: 2 images (no_face 1, "
         "unreadable 1) with 2 faces, and 1 faces of other images; see the listing"),
        (True, {"fallback": "whole_image"}, "3 of 4 annotated faces kept, in 2 of 3 images (green 1, whole_image 1); "
         "left out: 1 images (unreadable 1) with 1 faces, and 0 faces of other images; see the listing"),
        (False, {"choose": "all"}, "1 of 3 faces, one of each photo, kept and 1 others, in 1 of 3 images (green 1); "
         "left out: 2 images (no_face 1, unreadable 1) with 2 faces, and 0 faces of other images; see the listing"),
    ],
)  # fmt: skip
def test_a_line_of_the_log_says_what_was_kept_and_left_out(
    annotated: bool, options: dict, line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    images = [image(1, BOX, (100.0, 10.0, 30.0, 30.0)), image(2, None), image(3, None)] if annotated else []
    data = DataSet(tmp_path, {"1.png": png([BOX, OTHER]), "2.png": png([]), "3.png": b"no picture"}, images)
    found = data.detect(GREEN, max_failed=1)
    assert "3 images: 2 plausible faces, 1 images without one, 1 images cannot be decoded" in caplog.messages
    data.choose(found, max_failed=1, **options)
    assert line in caplog.messages


def test_keypoints_of_the_annotations_stay(tmp_path: Path) -> None:
    face = Face(1, BOX, LABEL, keypoints=(Keypoint(30, 30, 2),))
    data = one(tmp_path, face, found=[BOX])
    assert data.annotations is not None
    write_annotations(Annotations((image(1, face),), keypoint_names=("nose_tip",)), data.annotations)
    result = data.choose(data.detect(GREEN))
    assert (result.keypoint_names, result.images[0].faces[0].keypoints) == (("nose_tip",), face.keypoints)


MADE = st.lists(
    st.tuples(
        st.lists(st.sampled_from([None, BOX, OTHER]), max_size=3),
        st.lists(st.sampled_from([BOX, OTHER, (120, 20, 6, 6)]), max_size=3, unique=True),
        st.sampled_from([None, "p"]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=MADE,
    fallback=st.sampled_from(["drop", "person_mean", "whole_image"]),
    choose=st.sampled_from(["score", "largest", "best_iou", "all"]),
)
def test_every_image_and_every_annotated_face_is_kept_or_listed(
    made: list, fallback: str, choose: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pictures = {f"{number}.png": png(found) for number, (_, found, _) in enumerate(made, start=1)}
    images = [image(number, *faces, person=person) for number, (faces, _, person) in enumerate(made, start=1)]
    data = DataSet(tmp_path_factory.mktemp("set"), pictures, images)
    found = data.detect(GREEN)
    try:
        result = data.choose(found, fallback=fallback, choose=choose)
    except InputError as error:
        assert "no image is left" in str(error) and fallback == "drop" and all(entry.faces for entry in images)
        return
    kept = {entry.id: {face.id for face in entry.faces} for entry in result.images}
    for entry in images:
        told = listed(data).get(entry.file_name)
        if entry.id not in kept:
            assert told is not None and told["dropped"] and told["reasons"]
        gone = {face.id for face in entry.faces} - kept.get(entry.id, set())
        assert gone == {face["id"] for face in (told["dropped_faces"] if told else [])}
    assert len(result.images) + data.metrics["dropped"] == len(images)
    lost = sum(len({face.id for face in entry.faces} - kept.get(entry.id, set())) for entry in images)
    assert data.metrics["dropped_faces"] == sum(result.info.lost.values()) == lost
    methods = [value for name, value in data.metrics.items() if name.startswith("method/")]
    assert sum(methods) == len(result.images)
    ids = [face.id for entry in result.images for face in entry.faces]
    assert len(ids) == len(set(ids))


def test_shards_are_gathered_and_must_be_those_of_the_annotations(tmp_path: Path) -> None:
    images = [image(number, None) for number in range(1, 4)]
    pictures = {f"{number}.png": png([BOX]) for number in range(1, 4)}
    data = DataSet(tmp_path, pictures, images)
    parts = [data.detect(GREEN, shard=shard, per=2) for shard in range(2)]
    assert len(data.choose(*parts).images) == 3 and len(data.choose(*reversed(parts)).images) == 3
    with pytest.raises(InputError, match=r"1 images were not searched: 3.png"):
        data.choose(parts[0])
    with pytest.raises(InputError, match=r"is in .* already"):
        data.choose(*parts, parts[1])
    other = data.detect(GREEN, name="other", min_side=20)
    with pytest.raises(InputError, match="other detectors or options"):
        data.choose(parts[0], other)
    with pytest.raises(InputError, match="detections: no file; expected those that detect_faces wrote"):
        data.choose()
    assert data.annotations is not None
    with pytest.raises(InputError, match=r"line 1 is not of a file of detect_faces"):
        data.choose(data.annotations)
    changed = [image(number, None, data=b"x") for number in range(1, 4)]
    write_annotations(Annotations(tuple(changed)), data.annotations)
    with pytest.raises(InputError, match="3 images were other pictures"):
        data.choose(*parts)


def test_no_output_overwrites_another(tmp_path: Path) -> None:
    data = one(tmp_path, None, found=[BOX])
    found, out = data.detect(GREEN), tmp_path / "out.json"
    for outputs in ((out, out, tmp_path / "page"), (out, tmp_path / "listing", out)):
        with pytest.raises(InputError, match="would overwrite another output"):
            choose_faces(data.images, [found], *outputs, annotations=data.annotations)
    assert not out.exists()


def test_equal_inputs_give_equal_files(tmp_path: Path) -> None:
    data = DataSet(tmp_path, PEOPLE, people())
    found = data.detect(GREEN)
    outputs = []
    for _ in range(2):
        data.choose(found, fallback="person_mean")
        outputs.append([path.read_bytes() for path in (data.listing, data.report, tmp_path / "chosen.json")])
    assert outputs[0] == outputs[1]


def test_photos_without_annotations_become_annotations(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name, data in {"a/1.png": png([BOX, OTHER]), "a/2.png": png([]), "b/1.png": png([OTHER])}.items():
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(data)
    chain = DataSet(tmp_path, {}).adopt(GREEN)
    detect_faces(photos, chain, tmp_path / "found.jsonl")
    files = [tmp_path / name for name in ("out.json", "listing.json", "page.html")]
    metrics = choose_faces(photos, [tmp_path / "found.jsonl"], *files, options={"choose": "all"})
    result = read_annotations(files[0])
    assert [(entry.file_name, len(entry.faces), entry.width) for entry in result.images] == [
        ("a/1.png", 2, SIZE[1]),
        ("b/1.png", 1, SIZE[1]),
    ]
    sha256 = hashlib.sha256(png([OTHER])).hexdigest()
    assert result.images[1].sha256 == sha256 and result.images[0].faces[1].attributes == {}
    assert metrics["dropped"] == 1 and json.loads(files[1].read_text())["dropped"][0]["image"] == "a/2.png"
    everything = [*result.images, Image(2, "a/2.png", 1, 1, sha256=hashlib.sha256(png([])).hexdigest())]
    assert result.info.images_digest == images_digest(everything)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("added", "1 images were not searched: b/2.png"),
        ("cut", "1 images were not searched: b/1.png"),
        ("removed", "1 searched images are not in the data: b/1.png"),
    ],
)
def test_photos_without_annotations_must_be_those_that_were_searched(change: str, message: str, tmp_path: Path) -> None:
    photos, found = tmp_path / "photos", tmp_path / "found.jsonl"
    (photos / "b").mkdir(parents=True)
    for name in ("a.png", "b/1.png"):
        (photos / name).write_bytes(png([BOX]))
    detect_faces(photos, DataSet(tmp_path, {}).adopt(GREEN), found)
    if change == "added":
        (photos / "b/2.png").write_bytes(png([BOX]))
    elif change == "cut":
        found.write_text("".join(found.read_text().splitlines(keepends=True)[:-1]))
    else:
        (photos / "b/1.png").unlink()
    files = [tmp_path / name for name in ("out.json", "listing.json", "page.html")]
    with pytest.raises(InputError, match=message):
        choose_faces(photos, [found], *files)
    assert not any(file.exists() for file in files)


def test_the_page_shows_every_class_and_every_doubt_within_its_size(tmp_path: Path) -> None:
    boxes = [BOX, OTHER]
    pictures = {f"{number}.png": png(boxes[: 1 + number % 2]) for number in range(1, 31)}
    images = [
        image(number, Face(number, None, {"gender": "male" if number % 3 else "female"})) for number in range(1, 31)
    ]
    data = DataSet(tmp_path, pictures, images)
    data.choose(data.detect(GREEN), label_space="gender", per_class=4)
    page = Page(data.report.read_text())
    assert not page.faults
    text = " ".join(" ".join(page.text).split())
    assert "15 images: one of several found faces was chosen" in text
    assert "male, 20 images" in text and "16 more are not shown" in text and "6 more are not shown" in text
    assert len(page.sources) == 15 + 4 + 4 and all(source.startswith("data:image/jpeg") for source in page.sources)
    with pytest.raises(InputError, match="label_space"):
        data.choose(data.detect(GREEN), label_space="gendre")
