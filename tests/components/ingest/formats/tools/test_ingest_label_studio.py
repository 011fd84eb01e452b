"""Label Studio's exports as it writes them, and as it does not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_trees import picture, run, write_folder
from tool_files import MIN_ROW, UPLOAD, annotation, choice, export, region, task

from components.ingest.formats.tools.label_studio import LabelStudioOptions, read_label_studio
from components.shared.dataset.annotations import Keypoint
from components.shared.options import parse_options
from serving.runtime.errors import InputError


@pytest.fixture
def found(listing):
    def read(files, **options):
        contents = {name: export(*data) if isinstance(data, list) else data for name, data in files.items()}
        return read_label_studio(listing(contents), parse_options(LabelStudioOptions, options, "label_studio"))

    return read


def read_faces(result):
    return [
        (face.box and tuple(round(value, 6) for value in face.box), face.attributes)
        for record in result.records
        for face in record.faces
    ]


BOX = (0.1, 0.2, 0.3, 0.4)
MIN_BOX = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "original_width": 40, "original_height": 30}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([task(annotation(region()))], [(BOX, {"label": "happy"})]),
        ([task(annotation(region("face"), choice("happy", "emotion")))], [(BOX, {"emotion": "happy"})]),
        ([task(annotation(region("face"), choice("female", "gender", name="r1", x=10, y=20, width=30, height=40)))],
         [(BOX, {"gender": "female"})]),
        ([task(annotation(choice("happy")))], [(None, {"label": "happy"})]),
        ([task(annotation(choice("happy", "emotion"), choice("male", "gender")))],
         [(None, {"emotion": "happy", "gender": "male"})]),
        ([task(annotation(region(None, kind="rectangle"), region("happy", kind="labels")))],
         [(BOX, {"label": "happy"})]),
        ([task(annotation(region(kind="ellipselabels", x=25, y=40, radiusX=15, radiusY=20)))],
         [(BOX, {"label": "happy"})]),
        ([task(annotation(region(kind="polygonlabels", points=[[10, 20], [40, 20], [20, 60]])))],
         [(BOX, {"label": "happy"})]),
        ([MIN_ROW | {"label": [MIN_BOX | {"rectanglelabels": ["happy"]}]}], [(BOX, {"label": "happy"})]),
        ([MIN_ROW | {"choice": "happy"}], [(None, {"label": "happy"})]),
        ([MIN_ROW | {"emotion": "happy", "notes": "none"}], [(None, {"emotion": "happy"})]),
        ([MIN_ROW | {"tags": {"choices": ["happy"]}}], [(None, {"tags": "happy"})]),
        ([{"id": 1, "data": {"image": UPLOAD}, "completions": [annotation(region())]}], [(BOX, {"label": "happy"})]),
    ],
)  # fmt: skip
def test_exports(found, document, expected):
    result = found({"project-1-at-2024.json": document, "images/1a2b3c4d-a.jpg": None})
    assert read_faces(result) == expected
    assert result.records[0].normalized
    assert not result.lost.counts and not result.dropped.counts


def test_texts_of_a_row_that_may_be_data_or_choices(found):
    two = [MIN_BOX | {"rectanglelabels": ["face"]}, MIN_BOX | {"x": 60, "rectanglelabels": ["face"]}]
    row = MIN_ROW | {"label": two, "gender": ["male", "female"], "camera": "front", "mood": "glad"}
    result = found({"a.json": [row], "a.jpg": None})
    assert result.lost.counts == {"choice_of_an_unknown_region": 2}
    assert result.notes.examples["unread_column"] == ["camera", "mood"]
    row = MIN_ROW | {"mood": "glad", "camera": "front"}
    assert read_faces(found({"a.json": [row], "a.jpg": None}, rename={"mood": "state"})) == [(None, {"state": "glad"})]


def test_a_file_of_a_cloud_storage_is_one_annotation(found):
    document = annotation(region()) | {"task": {"id": 1, "data": {"image": "s3://bucket/faces/a.jpg"}}}
    result = found({"out/1": b"", "out/1.json": json.dumps(document).encode(), "faces/a.jpg": None})
    assert read_faces(result) == [(BOX, {"label": "happy"})]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (UPLOAD, "images/1a2b3c4d-a.jpg"),
        (UPLOAD, "photos/a.jpg"),
        ("/data/local-files/?d=photos/a.jpg", "photos/a.jpg"),
        ("/data/local-files/?d=mnt%2Fphotos%2Fa.jpg", "photos/a.jpg"),
        ("s3://bucket/photos/a.jpg", "photos/a.jpg"),
        ("https://example.org/photos/a.jpg?token=1", "photos/a.jpg"),
        ("photos\\a.jpg", "photos/a.jpg"),
        ("a.jpg", "photos/a.jpg"),
    ],
)
def test_addresses_of_pictures(found, written, path):
    result = found({"a.json": [task(annotation(region()), image=written)], path: None})
    assert [record.path for record in result.records] == [path]


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(90, (0.1, 0.2, 0.3, 0.4)), (180, (0.1, 0.2, 0.3, 0.4)), (-90, (0.1, 0.2, 0.3, 0.4))],
)
def test_a_turned_rectangle_becomes_the_box_around_it(found, degrees, expected):
    """The corner that x and y name stays; turned by a quarter, 16 x 9 of 40 x 30 pixels covers 9 x 16."""
    corner = {90: (0.4, 0.2), 180: (0.4, 0.6), -90: (0.1, 0.6)}[degrees]
    sides = (0.3, 0.4) if degrees == 180 else (0.4 * 30 / 40, 0.3 * 40 / 30)
    places = {"x": 100 * corner[0], "y": 100 * corner[1], "width": 100 * sides[0], "height": 100 * sides[1]}
    result = found({"a.json": [task(annotation(region(rotation=degrees, **places)))], "a.jpg": None})
    assert read_faces(result) == [(expected, {"label": "happy"})]
    assert result.notes.counts["turned_box"] == 1


def test_keypoints_belong_to_the_box_around_them(found):
    nose = region("nose", "k1", 20, 30, kind="keypointlabels", width=0.5)
    result = found({"a.json": [task(annotation(region("face"), nose))], "a.jpg": None})
    assert result.keypoint_names == ("nose",)
    assert result.records[0].faces[0].keypoints == (Keypoint(0.2, 0.3, 2),)


SHIFTED, FAR = region(x=12), region(x=60)


@pytest.mark.parametrize(
    ("annotations", "annotators", "x"),
    [
        ([annotation(region()), annotation(SHIFTED)], "agree", 0.1),
        ([annotation(region()), annotation(FAR)], "agree", None),
        ([annotation(region()), annotation(region("sad"))], "agree", None),
        ([annotation(region()), annotation(region(), region(name="r2", x=60))], "agree", None),
        ([annotation(region()), annotation(region(), choice("dark", "light"))], "agree", None),
        ([annotation(region()), annotation(FAR)], "first", 0.1),
        ([annotation(region()), annotation(FAR)], "last", 0.6),
        ([annotation(region()), annotation(FAR, ground_truth=True)], "agree", 0.6),
        ([annotation(region()), annotation(FAR, was_cancelled=True)], "agree", 0.1),
    ],
)
def test_several_annotators(found, annotations, annotators, x):
    result = found({"a.json": [task(*annotations)], "a.jpg": None}, annotators=annotators)
    assert [round(face.box[0], 6) for record in result.records for face in record.faces] == ([x] if x else [])
    assert result.dropped.counts == ({} if x else {"annotators_differ": 1})
    rows = [MIN_ROW | {"annotator": n, "label": [MIN_BOX | {"rectanglelabels": [name]}]} for n, name in
            enumerate(("happy", "sad"))]  # fmt: skip
    assert found({"a.json": rows, "a.jpg": None}).dropped.counts == {"annotators_differ": 1}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (region(x="left"), "bad_box"),
        (region(width=0), "bad_box"),
        (region(width=float("nan")), "bad_box"),
        (region(width=10**400), "bad_box"),
        (region(height=None), "bad_box"),
        (region(kind="polygonlabels", points=[[1, 2], [3]]), "bad_box"),
        (region(rotation="left"), "bad_box"),
        (region(kind="brushlabels", rle=[1, 2]), "unread_brush"),
        (region() | {"image_rotation": 90}, "turned_image"),
        (region(["happy", "sad"]), "several_labels"),
        (region([""]), "no_class"),
        ("text", "bad_result"),
        ({"id": "x", "type": "textarea", "from_name": "t", "value": {"text": ["a"]}}, "unread_textarea"),
        (region("nose", x=90, kind="keypointlabels"), "points_without_a_face"),
        (choice(["one", "two"], "gender"), "several_labels"),
        (choice("unclear", "gender"), "bad_gender"),
    ],
)
def test_what_is_not_read_of_a_face_is_lost(found, result, reason):
    if isinstance(result, dict):
        result = result | {"id": "r2"}
    got = found({"a.json": [task(annotation(region("sad", x=11), result))], "a.jpg": None})
    assert got.lost.counts == {reason: 1}
    assert got.records[0].faces[0].attributes == {"label": "sad"}


@pytest.mark.parametrize(
    ("tasks", "dropped", "skipped"),
    [
        ([task(annotation(region()), image="gone.jpg")], {"missing_file": 1}, {}),
        ([task(annotation(region()), data={"text": "no picture"})], {"task_without_an_image": 1}, {}),
        ([task()], {}, {"no_annotation": 1}),
        ([task(annotation(region(), was_cancelled=True))], {}, {"canceled_annotation": 1, "no_annotation": 1}),
        (["text"], {"bad_task": 1}, {}),
        ([task(annotation(region(width=0)))], {"every_face_lost": 1}, {}),
    ],
)
def test_pictures_that_are_not_used(found, tasks, dropped, skipped):
    good = task(annotation(region()), image="/data/upload/1/1a2b3c4d-b.jpg")
    result = found({"a.json": [good, *tasks], "a.jpg": None, "b.jpg": None})
    assert [record.path for record in result.records] == ["b.jpg"]
    assert result.dropped.counts == dropped
    assert {reason: count for reason, count in result.skipped.counts.items() if "not_in" not in reason} == skipped


def test_an_annotation_without_results_is_a_picture_without_faces(found):
    result = found({"a.json": [task(annotation())], "a.jpg": None})
    assert [(record.path, record.faces) for record in result.records] == [("a.jpg", ())]


@pytest.mark.parametrize("data", [b"", b"[{", b"[" * 100_000])
def test_a_broken_export_is_named(found, data):
    with pytest.raises(InputError, match=r"/data/faces/a\.json: not a JSON file"):
        found({"a.json": data, "a.jpg": None})


def test_a_source_without_an_export_says_so(found):
    for files in ({}, {"a.json": b"{}"}, {"a.json": b"[]"}, {"a.json": b'[{"data": 7}]'}):
        with pytest.raises(InputError, match="no JSON file of Label Studio"):
            found(files)


def test_an_export_with_its_pictures_is_recognized(tmp_path):
    files = {
        "project-1.json": export(task(annotation(region() | {"original_width": 20, "original_height": 24}))),
        "images/1a2b3c4d-a.jpg": picture(),
    }
    images, info, _ = run(write_folder(tmp_path / "raw", files), tmp_path / "out")
    assert info.format == "label_studio"
    assert images[0].faces[0].box == pytest.approx((2, 4.8, 6, 9.6))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["happy", ["happy"], [[1, 2], [3, 4], [5, 1]], "choices", "rectanglelabels", 10, 20]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(
        st.sampled_from(
            ["value", "type", "from_name", "id", "x", "y", "width", "height", "rotation", "points", "choices",
             "rectanglelabels", "keypointlabels", "radiusX", "radiusY", "original_width", "original_height", "result"]
        ), children),
    max_leaves=12,
)  # fmt: skip


@given(
    st.lists(json_values, max_size=3),
    st.dictionaries(st.sampled_from(["image", "label", "choice", "annotations", "data", "emotion"]), json_values),
    st.sampled_from(["agree", "first", "last"]),
)
def test_a_task_of_anything_is_read_or_counted(make_listed_source, results, row, annotators):
    for entry in (task(annotation(*results)), {"annotator": 1, "annotation_id": 1, "image": "a.jpg"} | row):
        source = make_listed_source({"a.json": json.dumps([entry]).encode(), "a.jpg": None})
        result = read_label_studio(source, LabelStudioOptions(annotators=annotators))
        assert len(result.records) + result.dropped.total + result.skipped.counts.get("no_annotation", 0) == 1
        for record in result.records:
            assert all(face.box is None or min(face.box[2:]) > 0 for face in record.faces)
            json.dumps([face.attributes for face in record.faces], ensure_ascii=False, allow_nan=False).encode()
