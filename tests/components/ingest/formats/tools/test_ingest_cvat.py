"""CVAT for images 1.1 as CVAT writes it for tasks and projects, and as it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_trees import picture, run, write_folder, write_zip
from tool_files import TASK

from components.ingest.formats.tools.cvat import CvatOptions, read_cvat
from components.shared.dataset.annotations import Keypoint
from components.shared.options import parse_options
from serving.runtime.errors import InputError

BOX = '<box label="happy" source="manual" occluded="0" xtl="1.00" ytl="2.00" xbr="11.00" ybr="22.00" z_order="0">'


def box(label="happy", corners=(1, 2, 11, 22), inner="", **more):
    places = zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)
    named = "".join(f' {key}="{value}"' for key, value in (("label", label), *places, *more.items()))
    return f"<box{named}>{inner}</box>"


def image(*shapes, name="a.jpg", **more):
    named = "".join(f' {key}="{value}"' for key, value in {"name": name, "width": 40, "height": 30, **more}.items())
    return f'<image id="0"{named}>{"".join(shapes)}</image>'


def cvat(*images):
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{"".join(images)}</annotations>'.encode()  # noqa: E501


@pytest.fixture
def found(listing):
    def read(files, **options):
        return read_cvat(listing(files), parse_options(CvatOptions, options, "cvat"))

    return read


def test_a_task(found):
    result = found({"annotations.xml": TASK, "images/a.jpg": None, "images/sub/b.jpg": None, "images/c.jpg": None})
    assert {record.path: [(face.box, face.attributes) for face in record.faces] for record in result.records} == {
        "images/a.jpg": [((1, 2, 10, 20), {"gender": "female", "age": 31, "occluded": 1}), ((20, 2, 10, 20), {})],
        "images/sub/b.jpg": [(None, {"gender": "male"})],
        "images/c.jpg": [],
    }
    assert all(record.size == (30, 40) and record.split is None for record in result.records)
    assert not result.lost.counts and not result.dropped.counts


def test_a_project_with_subsets(found):
    files = {f"images/{subset}/{name}": None for subset, name in
             (("Train", "a.jpg"), ("Validation", "a.jpg"), ("default", "b.jpg"), ("extra", "c.jpg"))}  # fmt: skip
    images = (
        image(box(), subset="Train", task_id="1"),
        image(box("sad"), subset="Validation", task_id="2"),
        image(box("sad"), name="b.jpg", subset="default"),
        image(box("sad"), name="c.jpg", subset="extra"),
    )
    result = found(files | {"annotations.xml": cvat(*images)})
    assert {record.path: (record.split, record.faces[0].attributes["label"]) for record in result.records} == {
        "images/Train/a.jpg": ("train", "happy"),
        "images/Validation/a.jpg": ("val", "sad"),
        "images/default/b.jpg": (None, "sad"),
        "images/extra/c.jpg": (None, "sad"),
    }
    assert result.lost.counts == {"unknown_split": 1}


def test_a_file_for_each_split(found):
    """What datumaro writes."""
    files = {f"{name}.xml": cvat(image(box(), name=f"{name[0]}.jpg")) for name in ("train", "val", "rest")}
    result = found(files | {f"images/{name}.jpg": None for name in "tvr"})
    assert {record.path[-5]: record.split for record in result.records} == {"t": "train", "v": "val", "r": None}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ('<polygon label="happy" points="1.0,2.0;11.0,2.0;6.5,22.0" occluded="0" z_order="0"/>', (1, 2, 10, 20)),
        ('<ellipse label="happy" cx="6.0" cy="12.0" rx="5.0" ry="10.0"/>', (1, 2, 10, 20)),
        ('<mask label="happy" rle="3, 5" left="1" top="2" width="10" height="20"/>', (1, 2, 10, 20)),
        (box(corners=(1, 7, 21, 17), rotation="90.00"), (6, 2, 10, 20)),
        (box(corners=(1, 2, 11, 22), rotation="180"), (1, 2, 10, 20)),
        ('<points label="happy" points="1.0,2.0;11.0,22.0"/>', (1, 2, 10, 20)),
        ('<skeleton label="happy"><points label="l" points="1,2"/><points label="r" points="11,22"/></skeleton>',
         (1, 2, 10, 20)),
    ],
)  # fmt: skip
def test_shapes_become_the_box_around_them(found, shape, expected):
    (record,) = found({"annotations.xml": cvat(image(shape)), "a.jpg": None}).records
    assert record.faces[0].box == pytest.approx(expected)
    assert record.faces[0].attributes == {"label": "happy"}


def test_points_belong_to_the_box_around_them(found):
    skeleton = (
        '<skeleton label="pose"><points label="nose" points="5,6" occluded="1"/>'
        '<points label="ear" points="0,0" outside="1"/></skeleton>'
    )
    shapes = (box("face"), box("face", (20, 2, 30, 22)), skeleton, '<points label="eyes" points="21,3;22,3"/>')
    result = found({"annotations.xml": cvat(image(*shapes)), "a.jpg": None})
    none = Keypoint(0, 0, 0)
    assert result.keypoint_names == ("nose", "ear", "eyes 1", "eyes 2")
    assert [face.keypoints for face in result.records[0].faces] == [
        (Keypoint(5, 6, 1), none, none, none),
        (none, none, Keypoint(21, 3, 2), Keypoint(22, 3, 2)),
    ]
    assert not result.lost.counts


@pytest.mark.parametrize(
    ("shape", "reason", "count"),
    [
        ('<polyline label="happy" points="1,2;3,4"/>', "unread_polyline", 1),
        ('<cuboid label="happy" xtl1="1"/>', "unread_cuboid", 1),
        ('<polygon label="happy" points="1,2;x,4;5,6"/>', "bad_box", 1),
        ('<mask label="happy" rle="3" left="1" top="2"/>', "bad_box", 1),
        ('<ellipse label="happy" cx="6.0"/>', "bad_box", 1),
        (box(corners=(11, 2, 1, 22)), "bad_box", 1),
        (box(corners=("nan", 2, 3, 4)), "bad_box", 1),
        (box(rotation="left"), "bad_box", 1),
        (box(label=""), "no_class", 1),
        (box(inner="<attribute>7</attribute>"), "attribute_without_a_name", 1),
        (box(inner='<attribute name="age">old</attribute>'), "bad_age", 1),
        ('<points label="eye" points="33,3"/>', "points_without_a_face", 1),
        ('<points label="eye" points="3"/>', "bad_points", 1),
        ('<points label="eye" points="5,5"/><points label="eye" points="6,5"/>', "point_twice", 1),
        (box("sad", (2, 2, 12, 22)) + '<points label="eye" points="5,5"/>', "points_in_several_faces", 1),
        (box("sad", (2, 2, 12, 22)) + '<tag label="sad"/>', "image_label_of_several_faces", 1),
        ('<tag label="sad"/><tag label="anger"/>', "contradicting_labels", 1),
        ('<skeleton label="pose"><points label="a" points="5,5;6,6"/></skeleton>', "bad_points", 1),
    ],
)
def test_what_is_not_read_of_a_face_is_lost(found, shape, reason, count):
    result = found({"annotations.xml": cvat(image(box("sad"), shape)), "a.jpg": None})
    assert result.lost.counts == {reason: count}
    assert result.records[0].faces[0].attributes["label"] == "sad"


@pytest.mark.parametrize(
    ("images", "dropped"),
    [
        ([image(box(), name="gone.jpg")], {"missing_file": 1}),
        ([image(box(), name="")], {"bad_image_entry": 1}),
        ([image(box()), image(box("sad"), name="a.jpg", task_id="2")], {"conflicting_entries": 1}),
        ([image('<polyline label="happy" points="1,2;3,4"/>')], {"every_face_lost": 1}),
    ],
)
def test_pictures_that_cannot_be_used_are_dropped(found, images, dropped):
    assert found({"annotations.xml": cvat(*images), "a.jpg": None}).dropped.counts == dropped


def test_equal_entries_and_equal_shapes_count_once(found):
    result = found({"annotations.xml": cvat(image(box(), box()), image(box(), box())), "a.jpg": None})
    assert [len(record.faces) for record in result.records] == [1]
    assert result.notes.counts == {"duplicate_entry": 1, "duplicate_shape": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<annotations><track id='0' label='face'><box frame='0'/></track></annotations>", "CVAT for images 1.1"),
        (b"<annotations><image", "annotations.xml: not an XML file"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "annotations.xml: defines XML entities"),
        (b"<annotation/>", "no XML file with <annotations>"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(found, data, message):
    with pytest.raises(InputError, match=message):
        found({"annotations.xml": data, "a.jpg": None})


def test_rename_and_attribute(found):
    inner = '<attribute name="state">with_mask</attribute><attribute name="how">glad</attribute>'
    files = {"annotations.xml": cvat(image(box("man", inner=inner), name=r"c:\x\a.jpg")), "pics/a.jpg": None}
    (record,) = found(files, attribute="who", rename={"state": "mask", "how": "mood"}, images="pics").records
    assert record.faces[0].attributes == {"who": "man", "mask": "worn", "mood": "glad"}


def test_an_export_as_it_is_downloaded(tmp_path):
    files = {"annotations.xml": cvat(image(box("sad"), width=20, height=24)), "images/a.jpg": picture()}
    packed = run(write_zip(tmp_path / "task.zip", files), tmp_path / "packed")
    assert run(write_folder(tmp_path / "raw", files), tmp_path / "loose")[0] == packed[0]
    assert packed[0][0].faces[0].box == (1, 2, 10, 20)
    assert packed[1].format == "cvat"


tags = st.sampled_from(["box", "polygon", "points", "tag", "mask", "ellipse", "skeleton", "polyline", "attribute", "x"])
keys = st.sampled_from(
    ["label", "points", "xtl", "ytl", "xbr", "ybr", "rotation", "cx", "cy", "rx", "ry", "left", "top", "width",
     "height", "name", "occluded", "outside"]
)  # fmt: skip
values = st.sampled_from(["", "1", "2,3", "1,2;3,4;5,1", "nan,1", "1e999", "9", "22", "행복", "face", "45", ",;,"])
shapes = st.recursive(
    st.just(""),
    lambda inner: st.lists(st.tuples(tags, st.dictionaries(keys, values), inner), max_size=4).map(
        lambda parts: "".join(
            f"<{tag}{''.join(f' {key}={value!r}' for key, value in named.items())}>{text}</{tag}>"
            for tag, named, text in parts
        )
    ),
    max_leaves=10,
)


@given(shapes, st.dictionaries(keys, values), st.sampled_from(["drop", "keep"]))
def test_an_image_of_anything_is_read_or_counted(make_listed_source, inner, named, no_box):
    more = "".join(f' {key}="{value}"' for key, value in named.items() if key != "name")
    data = cvat(f'<image name="a.jpg"{more}>{inner}</image>')
    result = read_cvat(make_listed_source({"annotations.xml": data, "a.jpg": None}), CvatOptions(no_box=no_box))
    assert len(result.records) + result.dropped.total == 1
    for record in result.records:
        assert all(face.box is None or min(face.box[2:]) > 0 for face in record.faces)
