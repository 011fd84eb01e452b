"""Pascal VOC as its tools write it, and as they do not."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_trees import picture, run, write_folder, write_zip
from tool_files import thing, voc

from components.ingest.formats.tools.voc import VocOptions, read_voc
from components.ingest.ingest import ingest
from components.shared.options import parse_options
from serving.runtime.errors import InputError


@pytest.fixture
def found(listing):
    def read(files, **options):
        return read_voc(listing(files), parse_options(VocOptions, options, "voc"))

    return read


PASCAL = b"""<annotation>
\t<folder>VOC2007</folder><filename>000005.jpg</filename>
\t<source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation></source>
\t<owner><name>someone</name></owner><size><width>500</width><height>375</height><depth>3</depth></size>
\t<segmented>0</segmented>
\t<object><name>chair</name><pose>Rear</pose><truncated>0</truncated><difficult>1</difficult>
\t\t<bndbox><xmin>263</xmin><ymin>211</ymin><xmax>324</xmax><ymax>339</ymax></bndbox></object>
</annotation>"""
LABEL_IMG = """<annotation verified="yes">
\t<folder>images</folder><filename>얼굴.jpg</filename><path>C:\\Users\\kim\\images\\얼굴.jpg</path>
\t<source><database>Unknown</database></source><size><width>40</width><height>30</height><depth>3</depth></size>
\t<segmented>0</segmented><object><name>happy</name><pose>Unspecified</pose><truncated>0</truncated>
\t<difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>22</ymax></bndbox></object>
</annotation>""".encode()
CVAT_VOC = b"""<?xml version='1.0' encoding='utf-8'?>
<annotation><folder/><filename>people/a.jpg</filename><size><width>40</width><height>30</height><depth/></size>
<object><name>face</name><occluded>1</occluded><bndbox><xmin>1.5</xmin><ymin>2.25</ymin><xmax>11.5</xmax>
<ymax>22.25</ymax></bndbox><attributes><attribute><name>Gender</name><value>female</value></attribute>
<attribute><name>age</name><value>31</value></attribute><attribute><name>note</name><value/></attribute>
</attributes></object></annotation>"""
ROBOFLOW = b"""<annotation><folder></folder><filename>a_jpg.rf.0b1c.jpg</filename><path>a_jpg.rf.0b1c.jpg</path>
<source><database>roboflow.com</database></source><size><width>40</width><height>30</height><depth>3</depth></size>
<segmented>0</segmented><object><name>with_mask</name><pose>Unspecified</pose><truncated>0</truncated>
<difficult>0</difficult><occluded>0</occluded><polygon><x1>1</x1><y1>2</y1><x2>11</x2><y2>2</y2><x3>11</x3><y3>22</y3>
</polygon></object></annotation>"""


@pytest.mark.parametrize(
    ("files", "options", "path", "split", "box", "attributes"),
    [
        (
            {"VOC2007/Annotations/000005.xml": PASCAL, "VOC2007/JPEGImages/000005.jpg": None,
             "VOC2007/ImageSets/Main/val.txt": b"000005\n", "VOC2007/ImageSets/Main/chair_val.txt": b"000005  1\n",
             "VOC2007/ImageSets/Main/trainval.txt": b"000005\n", "VOC2007/ImageSets/Layout/train.txt": b"000005\n"},
            {"first_pixel": 1}, "VOC2007/JPEGImages/000005.jpg", "val", (262, 210, 62, 129),
            {"label": "chair", "difficult": 1, "pose": "Rear"},
        ),
        (
            {"x/Annotations/000005.xml": PASCAL, "x/JPEGImages/000005.jpg": None},
            {}, "x/JPEGImages/000005.jpg", None, (263, 211, 61, 128),
            {"label": "chair", "difficult": 1, "pose": "Rear"},
        ),
        ({"얼굴.jpg": None, "얼굴.xml": LABEL_IMG}, {}, "얼굴.jpg", None, (1, 2, 10, 20), {"label": "happy"}),
        (
            {"Annotations/people/a.xml": CVAT_VOC, "JPEGImages/people/a.jpg": None, "labelmap.txt": b"# label:color",
             "ImageSets/Main/Train.txt": b"people/a\n"},
            {}, "JPEGImages/people/a.jpg", "train", (1.5, 2.25, 10, 20),
            {"gender": "female", "age": 31, "occluded": 1},
        ),
        (
            {"valid/a_jpg.rf.0b1c.xml": ROBOFLOW, "valid/a_jpg.rf.0b1c.jpg": None},
            {"attribute": "mask"}, "valid/a_jpg.rf.0b1c.jpg", "val", (1, 2, 10, 20), {"mask": "worn"},
        ),
        (
            {"annotations/a.xml": voc(thing("face", more="<attribute>with_mask</attribute>")), "images/a.jpg": None},
            {"attribute": "mask"}, "images/a.jpg", None, (1, 2, 10, 20), {"mask": "worn"},
        ),
    ],
)  # fmt: skip
def test_files_of_tools(found, files, options, path, split, box, attributes):
    result = found(files, **options)
    (record,) = result.records
    assert (record.path, record.split) == (path, split)
    assert [face.box for face in record.faces] == [box]
    assert record.faces[0].attributes == attributes
    assert not result.lost.counts and not result.dropped.counts


@pytest.mark.parametrize(
    ("xml", "written", "pictures", "path", "noted"),
    [
        ("Annotations/a.xml", "a.jpg", ["JPEGImages/a.jpg"], "JPEGImages/a.jpg", {}),
        ("Annotations/a.xml", "a.jpg", ["JPEGImages/a.png"], "JPEGImages/a.png", {"other_extension": 1}),
        ("a.xml", "C:\\data\\a.jpg", ["a.jpg"], "a.jpg", {}),
        ("a.xml", "", ["a.jpg"], "a.jpg", {"no_file_name": 1}),
        ("a.xml", None, ["a.jpg"], "a.jpg", {"no_file_name": 1}),
        ("a.xml", "old name.jpg", ["a.jpg"], "a.jpg", {"file_name_differs": 1}),
        ("7.xml", "a.jpg", ["images/a.jpg"], "images/a.jpg", {"path_by_suffix": 1}),
        ("7.xml", "a.jpeg", ["images/a.jpg"], "images/a.jpg", {}),
        ("train/a.xml", "a.jpg", ["train/a.jpg", "valid/a.jpg"], "train/a.jpg", {}),
        ("labels/train/a.xml", "a.jpg", ["images/train/a.jpg", "images/valid/a.jpg"], "images/train/a.jpg", {}),
        ("a.xml", "a.png", ["a.jpg", "a.png"], "a.png", {}),
        ("xml/p1/f.xml", "f.jpg", ["pictures/p1/f.jpg", "pictures/p2/f.jpg", "xml/f.jpg"], "pictures/p1/f.jpg", {}),
        ("a.xml", "A.JPG", ["a.jpg"], "a.jpg", {"other_extension": 1}),
    ],
)
def test_the_picture_of_a_file(found, xml, written, pictures, path, noted):
    result = found({xml: voc(thing(), filename=written)} | dict.fromkeys(pictures))
    assert [record.path for record in result.records] == [path]
    assert result.notes.counts == noted
    assert result.skipped.total == len(pictures) - 1


@pytest.mark.parametrize(
    ("files", "dropped"),
    [
        ({"a.xml": voc(thing())}, {"missing_file": 1}),
        ({"c.xml": voc(thing(), filename="a.jpg"), "x/a.jpg": None, "y/a.jpg": None}, {"ambiguous_path": 1}),
        ({"c.xml": voc(thing(), filename="c"), "x/c.jpg": None, "y/c.jpg": None}, {"ambiguous_path": 1}),
        ({"a.xml": voc(thing(), filename="b.jpg"), "a.jpg": None, "b.jpg": None}, {"conflicting_file_name": 1}),
        ({"a.xml": b"<annotation><object>", "a.jpg": None}, {"unreadable_annotation_file": 1}),
        ({"a.xml": b"", "a.jpg": None}, {"unreadable_annotation_file": 1}),
        ({"a.xml": voc(thing(box=None)), "a.jpg": None, "b.xml": voc(thing(), filename="b.jpg"), "b.jpg": None},
         {"every_face_lost": 1}),
        ({"x/a.xml": voc(thing()), "y/a.xml": voc(thing("sad")), "a.jpg": None}, {"conflicting_entries": 1}),
        ({"Annotations/a.xml": voc(thing()), "a.jpg": None, "b.jpg": None, "ImageSets/Main/train.txt": b"a\nb.jpg\n"},
         {"listed_without_an_annotation_file": 1}),
    ],
)  # fmt: skip
def test_pictures_that_cannot_be_used_are_dropped(found, files, dropped):
    assert found(files).dropped.counts == dropped


BOMB = b'<!DOCTYPE a [<!ENTITY b "%s">%s]><annotation><filename>&b9;</filename></annotation>' % (
    b"x" * 10,
    b"".join(b'<!ENTITY b%d "%s">' % (n, (b"&b%d;" % (n - 1) if n > 1 else b"&b;") * 10) for n in range(1, 10)),
)
OUTSIDE = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><filename>&b;</filename></annotation>'


@pytest.mark.parametrize("data", [BOMB, OUTSIDE])
def test_entities_are_refused(found, data):
    result = found({"a.xml": data, "a.jpg": None})
    assert result.dropped.counts == {"unreadable_annotation_file": 1}
    assert "defines XML entities" in result.dropped.examples["unreadable_annotation_file"][0]


@pytest.mark.parametrize(
    ("faulty", "reason"),
    [
        (thing(box=None), "no_box"),
        (thing(box=(11, 2, 1, 22)), "bad_box"),
        (thing(box=(1, 2, 1, 22)), "bad_box"),
        (thing(box=(1, 2, 3)), "bad_box"),
        (thing(box=("one", 2, 3, 4)), "bad_box"),
        (thing(box=("nan", 2, 3, 4)), "bad_box"),
        (thing(box=(0, 2, "1e400", 4)), "bad_box"),
        (thing(box=(1, 2, 3, 4), more="<bndbox><xmin>1</xmin></bndbox>"), "several_boxes"),
        (thing(box=None, more="<robndbox><cx>3</cx></robndbox>"), "unread_robndbox"),
        (thing(None), "no_class"),
        (thing(more="<attributes><attribute><value>7</value></attribute></attributes>"), "attribute_without_a_name"),
        (thing(more="<attributes><attribute><name>age</name><value>old</value></attribute></attributes>"), "bad_age"),
        (thing(more="<attribute>one</attribute><attribute>two</attribute>"), "several_attributes_without_names"),
    ],
)  # fmt: skip
def test_what_is_not_read_of_a_face_is_lost(found, faulty, reason):
    result = found({"a.xml": voc(thing("sad", (2, 2, 9, 9)), faulty), "a.jpg": None})
    assert result.lost.counts == {reason: 1}
    faces = result.records[0].faces
    box_is_lost = reason in ("no_box", "bad_box", "several_boxes", "unread_robndbox")
    assert len(faces) == (1 if box_is_lost else 2)
    kept = found({"a.xml": voc(thing("sad", (2, 2, 9, 9)), faulty), "a.jpg": None}, no_box="keep")
    assert kept.lost.counts == ({} if reason in ("no_box", "bad_box") else {reason: 1})


def test_data_without_any_box_are_whole_pictures(found):
    result = found(
        {f"{n}.xml": voc(thing(n, None), filename=f"{n}.jpg") for n in "ab"} | {"a.jpg": None, "b.jpg": None}
    )
    assert [(face.box, face.attributes) for record in result.records for face in record.faces] == [
        (None, {"label": "a"}),
        (None, {"label": "b"}),
    ]
    assert any("every face is its whole picture" in line for line in result.layout)


def test_a_corner_at_0_contradicts_pixels_that_count_from_1(found):
    files = {"a.xml": voc(thing(box=(0, 2, 11, 22))), "a.jpg": None}
    assert found(files).records[0].faces[0].box == (0, 2, 11, 20)
    with pytest.raises(InputError, match=r"a\.xml: a box begins at 0.*first_pixel"):
        found(files, first_pixel=1)


def test_splits_that_contradict_each_other_are_lost(found):
    lists = {f"ImageSets/Main/{split}.txt": f"{names}".encode() for split, names in
             (("train", "a\nb\n"), ("val", "b\n"), ("extra", "a\n"))}  # fmt: skip
    files = {f"Annotations/{name}.xml": voc(thing(), filename=f"{name}.jpg") for name in "abc"}
    result = found(files | lists | {f"JPEGImages/{name}.jpg": None for name in "abc"})
    assert {record.path[-5]: record.split for record in result.records} == {"a": "train", "b": None, "c": None}
    assert result.lost.counts == {"several_splits": 1, "unknown_split": 1}
    assert result.notes.counts == {"in_no_list_of_a_split": 1}


@pytest.mark.parametrize(
    "data",
    [
        voc(thing("행복")).decode().encode("utf-8-sig"),
        b'<?xml version="1.0" encoding="euc-kr"?>' + voc(thing("행복")).decode().encode("euc-kr"),
        voc(thing("행복")).decode().encode("cp949"),
        ('<?xml version="1.0" encoding="utf-16"?>' + voc(thing("행복")).decode()).encode("utf-16"),
        voc(thing("행복")).replace(b"<annotation>", b'<annotation xmlns="urn:x" xmlns:y="urn:y" y:z="1">'),
    ],
)  # fmt: skip
def test_encodings_and_namespaces(found, data):
    assert found({"a.xml": data, "a.jpg": None}).records[0].faces[0].attributes == {"label": "행복"}


def test_a_source_without_such_a_file_says_so(found):
    for files in ({}, {"a.jpg": None}, {"a.xml": b"<annotations/>", "a.jpg": None}):
        with pytest.raises(InputError, match="no XML file with <annotation>"):
            found(files)


def test_a_folder_and_an_archive_give_the_same(tmp_path):
    files = {f"Annotations/{n}.xml": voc(thing("sad"), filename=f"{n}.jpg", size=(20, 24)) for n in "ab"}
    files |= {f"JPEGImages/{n}.jpg": picture(seed) for seed, n in enumerate("ab")}
    folder = write_folder(tmp_path / "raw", files)
    packed = write_zip(tmp_path / "packed" / "raw.zip", files)
    (first, _, names), (second, _, _) = (run(source, tmp_path / f"of {source.name}") for source in (folder, packed))
    assert first == second and names == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]


def test_a_damaged_file_in_an_archive_counts_as_a_lost_picture(tmp_path):
    files = {f"{n}.xml": voc(thing(f"damage {n}"), filename=f"{n}.jpg", size=(20, 24)) for n in "ab"}
    archive = write_zip(tmp_path / "raw.zip", files | {f"{n}.jpg": picture(seed) for seed, n in enumerate("ab")})
    archive.write_bytes(archive.read_bytes().replace(b"damage a", b"damage !"))
    images, info, _ = run(archive, tmp_path / "out", options={"max_dropped": 0.5})
    assert [image.file_name for image in images] == ["b.jpg"]
    assert info.dropped == {"unreadable_annotation_file": 1}


texts = st.sampled_from(["", "1", "-3", "nan", "1e999", "x", "행복", "0", " 7 ", "face"]) | st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="<&>\ufffe\uffff"), max_size=4
)
names = st.sampled_from(
    ["name", "bndbox", "xmin", "ymin", "xmax", "ymax", "size", "width", "height", "filename", "object", "attribute",
     "attributes", "value", "polygon", "x1", "y1", "point", "x", "difficult", "pose", "part"]
)  # fmt: skip
elements = st.recursive(
    texts,
    lambda children: st.lists(st.tuples(names, children), max_size=4).map(
        lambda parts: "".join(f"<{name}>{text}</{name}>" for name, text in parts)
    ),
    max_leaves=12,
)


@given(elements, st.sampled_from(["drop", "keep"]), st.lists(elements, max_size=2))
def test_a_file_of_anything_is_read_or_counted(make_listed_source, inner, no_box, objects):
    data = f"<annotation>{inner}{''.join(f'<object>{one}</object>' for one in objects)}</annotation>".encode()
    result = read_voc(make_listed_source({"a.xml": data, "a.jpg": None}), VocOptions(no_box=no_box))
    assert len(result.records) + result.dropped.total == 1
    for record in result.records:
        assert all(face.box is None or min(face.box[2:]) > 0 for face in record.faces)


@given(st.binary(max_size=60))
def test_a_file_of_any_bytes_is_dropped_or_no_voc(make_listed_source, data):
    files = {"a.xml": data, "a.jpg": None, "b.xml": voc(thing(), filename="b.jpg"), "b.jpg": None}
    result = read_voc(make_listed_source(files), VocOptions())
    assert [record.path for record in result.records] == ["b.jpg"]
    assert result.dropped.total + result.skipped.counts.get("not_voc", 0) == 1


def test_real_photos(tmp_path):
    if not os.environ.get("FACET_PHOTOS"):
        pytest.skip("FACET_PHOTOS is not set")
    source = Path(os.environ["FACET_PHOTOS"], "faces_det")
    options = {"attribute": "mask"}
    report = ingest(str(source), tmp_path / "images", tmp_path / "annotations.json", options=options)
    assert report.format == "voc"
    assert report.counts.images == len(list(source.glob("images/*.jpg")))
    stated = sum(file.read_text().count("<object>") for file in source.glob("annotations/*.xml"))
    unspecified = sum(file.read_text().count("<attribute>unspecified<") for file in source.glob("annotations/*.xml"))
    assert report.counts.faces == stated
    assert report.lost == {"bad_mask": unspecified} and not report.dropped
