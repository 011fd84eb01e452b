"""LabelMe's files as its versions write them, and as they do not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_trees import picture, run, write_folder
from tool_files import VERSION_3, labelme, shape

from components.ingest.formats.tools.labelme import LabelmeOptions, read_labelme
from components.shared.dataset.annotations import Keypoint
from components.shared.options import parse_options
from serving.runtime.errors import InputError


@pytest.fixture
def found(listing):
    def read(files, **options):
        return read_labelme(listing(files), parse_options(LabelmeOptions, options, "labelme"))

    return read


@pytest.mark.parametrize(
    ("files", "path", "size", "split"),
    [
        ({"a.json": labelme(shape()), "a.jpg": None}, "a.jpg", (30, 40), None),
        ({"json/a.json": VERSION_3, "photos/a.jpg": None}, "photos/a.jpg", None, None),
        ({"train/labels/a.json": labelme(shape(), path="../images/a.jpg"), "train/images/a.jpg": None},
         "train/images/a.jpg", (30, 40), "train"),
        ({"7.json": labelme(shape(), path="C:\\x\\a.jpg"), "b/a.jpg": None}, "b/a.jpg", (30, 40), None),
        ({"a.json": labelme(shape(), path="old.jpg"), "a.png": None}, "a.png", (30, 40), None),
        ({"a.json": labelme(shape(), path=None, imageHeight="x"), "a.jpg": None}, "a.jpg", None, None),
        ({"a.json": "\ufeff".encode() + labelme(shape()), "a.jpg": None}, "a.jpg", (30, 40), None),
        ({"a.json": labelme(shape()), "a.jpg": None, "filename_mapper.json": b"{}"}, "a.jpg", (30, 40), None),
    ],
)  # fmt: skip
def test_files_of_versions(found, files, path, size, split):
    result = found(files)
    (record,) = result.records
    assert (record.path, record.size, record.split) == (path, size, split)
    assert [(face.box, face.attributes) for face in record.faces] == [((1, 2, 10, 20), {"label": "happy"})]
    assert not result.lost.counts and not result.dropped.counts


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("rectangle", [(1, 2), (11, 22)]),
        ("rectangle", [(11, 22), (1, 2)]),
        ("rectangle", [(1, 22), (11, 2)]),
        ("rectangle", [(1, 2), (11, 2), (11, 22), (1, 22)]),
        ("polygon", [(1, 2), (11, 2), (5, 22)]),
        ("oriented_rectangle", [(1, 12), (6, 2), (11, 12), (6, 22)]),
        ("mask", [(1, 2), (11, 22)]),
    ],
)
def test_shapes_become_the_box_around_them(found, kind, points):
    (record,) = found({"a.json": labelme(shape(points=points, kind=kind)), "a.jpg": None}).records
    assert record.faces[0].box == (1, 2, 10, 20)


def test_a_circle_is_its_center_and_a_point_on_it(found):
    (record,) = found({"a.json": labelme(shape(points=[(10, 10), (13, 14)], kind="circle")), "a.jpg": None}).records
    assert record.faces[0].box == (5, 5, 10, 10)


def test_points_belong_to_the_box_around_them(found):
    points = [shape(name, [at], "point") for name, at in (("nose", (5, 6)), ("ear", (25, 6)), ("nose", (26, 7)))]
    shapes = (shape("face"), shape("face", [(20, 2), (30, 22)]), *points)
    result = found({"a.json": labelme(*shapes), "a.jpg": None})
    assert result.keypoint_names == ("nose", "ear")
    assert [face.keypoints for face in result.records[0].faces] == [
        (Keypoint(5, 6, 2), Keypoint(0, 0, 0)),
        (Keypoint(26, 7, 2), Keypoint(25, 6, 2)),
    ]


@pytest.mark.parametrize(
    ("shapes", "flags", "expected", "lost"),
    [
        ([], {"happy": True, "sad": False}, [(None, {"label": "happy"})], {}),
        ([shape("face")], {"happy": True}, [((1, 2, 10, 20), {"label": "happy"})], {}),
        ([shape("face", flags={"blurred": True, "dark": False})], {}, [((1, 2, 10, 20), {"blurred": 1})], {}),
        ([shape("face"), shape("face", [(20, 2), (30, 22)])], {"happy": True},
         [((1, 2, 10, 20), {}), ((20, 2, 10, 20), {})], {"image_label_of_several_faces": 1}),
        ([shape("sad")], {"happy": True, "sad": True}, [((1, 2, 10, 20), {"label": "sad"})], {"several_flags": 1}),
        ([], {"happy": 1}, [], {}),
    ],
)  # fmt: skip
def test_flags(found, shapes, flags, expected, lost):
    result = found({"a.json": labelme(*shapes, flags=flags), "a.jpg": None})
    assert [(face.box, face.attributes) for face in result.records[0].faces] == expected
    assert result.lost.counts == lost


@pytest.mark.parametrize(
    ("faulty", "reason"),
    [
        (shape(kind="line"), "unread_line"),
        (shape(kind="linestrip"), "unread_linestrip"),
        (shape(kind=7), "unread_7"),
        (shape(points=[(1, 2)]), "bad_box"),
        (shape(points=[(1, 2), (1, 22)]), "bad_box"),
        (shape(points=[(1, 2), ("x", 22)]), "bad_box"),
        (shape(points=[(1, 2), [3, [4]]]), "bad_box"),
        (shape(points=[(1, 2), (float("nan"), 4)]), "bad_box"),
        (shape(points=[(1, 2), (10**400, 4)]), "bad_box"),
        (shape(points=[(1, 2)], kind="circle"), "bad_box"),
        (shape(points="text"), "bad_box"),
        ("text", "bad_shape"),
        (shape(""), "no_class"),
        (shape("nose", [(1, 2), (3, 4)], "point"), "bad_points"),
        (shape("nose", [(35, 25)], "point"), "points_without_a_face"),
    ],
)
def test_what_is_not_read_of_a_face_is_lost(found, faulty, reason):
    result = found({"a.json": labelme(shape("sad", [(2, 2), (9, 9)]), faulty), "a.jpg": None})
    assert result.lost.counts == {reason: 1}
    assert result.records[0].faces[0].attributes == {"label": "sad"}


@pytest.mark.parametrize(
    ("data", "dropped"),
    [
        (labelme(shape(), imageData="/9j/4AAQ"), {"only_in_imageData": 1}),
        (labelme(shape()), {"missing_file": 1}),
        (b"", {"unreadable_annotation_file": 1}),
        (b'{"shapes": [', {"unreadable_annotation_file": 1}),
        (b"[" * 100_000, {"unreadable_annotation_file": 1}),
    ],
)
def test_pictures_that_cannot_be_used_are_dropped(found, data, dropped):
    result = found({"a.json": data, "b.json": labelme(shape(), path="b.jpg"), "b.jpg": None})
    assert [record.path for record in result.records] == ["b.jpg"]
    assert result.dropped.counts == dropped


def test_a_source_without_such_a_file_says_so(found):
    for files in ({}, {"a.jpg": None}, {"a.json": b'{"shapes": {}}', "a.jpg": None}, {"a.json": b"[]"}):
        with pytest.raises(InputError, match="no JSON file with 'shapes'"):
            found(files)


def test_files_beside_their_pictures_are_recognized(tmp_path):
    files = {}
    for seed, name in enumerate("ab"):
        files |= {f"{name}.jpg": picture(seed), f"{name}.json": labelme(shape(), path=f"{name}.jpg", imageHeight=24,
                                                                         imageWidth=20)}  # fmt: skip
    images, info, _ = run(write_folder(tmp_path / "raw", files), tmp_path / "out")
    assert (
        info.format == "labelme" and info.layout[0] == "format labelme: 2 JSON files with 'shapes', beside 2 pictures"
    )
    assert [image.faces[0].box for image in images] == [(1, 2, 10, 20)] * 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["rectangle", "circle", "point", "polygon", "a.jpg", [[1, 2], [3, 4]], [[1, 2]]]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(
        st.sampled_from(["label", "points", "shape_type", "flags", "group_id", "happy"]), children),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["flags", "imagePath", "imageData", "imageHeight", "imageWidth"]), json_values),
    st.lists(json_values, max_size=3),
    st.sampled_from(["drop", "keep"]),
)
def test_a_file_of_anything_is_read_or_counted(make_listed_source, values, shapes, no_box):
    source = make_listed_source({"a.json": json.dumps({"shapes": shapes} | values).encode(), "a.jpg": None})
    result = read_labelme(source, LabelmeOptions(no_box=no_box))
    assert len(result.records) + result.dropped.total == 1
    for record in result.records:
        assert all(face.box is None or min(face.box[2:]) > 0 for face in record.faces)
        json.dumps([face.attributes for face in record.faces], ensure_ascii=False, allow_nan=False).encode()
