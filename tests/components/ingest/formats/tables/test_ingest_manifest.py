import unicodedata

import pytest

from components.ingest.formats.tables.manifest import read_manifest
from components.ingest.formats.tables.manifest_columns import ManifestOptions
from components.shared.options import parse_options
from serving.runtime.errors import InputError


@pytest.fixture
def read(listing):
    """Read a table that lies beside the named files."""

    def run(table, files=("a.jpg", "b.jpg", "c.jpg"), name="manifest.csv", **options):
        data = table if isinstance(table, bytes) else table.encode()
        settings = parse_options(ManifestOptions, options, "manifest")
        return read_manifest(listing({name: data} | dict.fromkeys(files)), settings)

    return run


def facts(result):
    return [(r.path, r.person, r.split, [(f.box, f.attributes) for f in r.faces]) for r in result.records]


def test_usual_columns_are_found(read):
    result = read(
        "path,label,width,height,face_xmin,face_ymin,face_xmax,face_ymax,group,split,age,gender\n"
        "b.jpg,with_mask,640,480,10,20,40,60,g1,dev,31,Male\n"
        "a.jpg,without_mask,640,480,,,,,g1,TEST,,\n"
        "c.jpg,x,1,1,0.5,0.5,2,2,,train,60,female\n",
        no_box="keep",
    )
    assert facts(result) == [
        ("a.jpg", "g1", "test", [(None, {"label": "without_mask"})]),
        ("b.jpg", "g1", None, [((10, 20, 30, 40), {"label": "with_mask", "age": 31, "gender": "male"})]),
        ("c.jpg", None, "train", [((0.5, 0.5, 1.5, 1.5), {"label": "x", "age": 60, "gender": "female"})]),
    ]
    assert result.lost.counts == {"unknown_split": 1} and result.notes.counts == {"no_box": 1}
    assert result.layout == [
        "manifest.csv: columns: path = path, person = group, split = split, gender = gender, age = age, label = label, "
        "box (xyxy) = face_xmin,face_ymin,face_xmax,face_ymax; unused: width, height"
    ]
    assert result.dropped.total == result.skipped.total == 0


def test_width_and_height_are_not_taken_for_a_box(read):
    table = "path,x,y,width,height\na.jpg,3,4,640,480\n"
    with pytest.raises(InputError, match="x, y, width, height look like a box and are not read; .*'columns.box'"):
        read(table, files=("a.jpg",))
    result = read(table, files=("a.jpg",), columns={"box": "none"})
    assert result.records[0].faces[0].box is None and not result.lost.counts
    assert read("path,width,height\na.jpg,640,480\n", files=("a.jpg",)).records[0].faces[0].box is None
    named = read(
        "path,x,y,width,height\na.jpg,3,4,64,48\n",
        ("a.jpg",),
        columns={"box": ["x", "y", "width", "height"]},
        box_format="xywh",
    )
    assert named.records[0].faces[0].box == (3, 4, 64, 48)


@pytest.mark.parametrize(
    ("header", "box"),
    [
        ("xmin,ymin,xmax,ymax", (1, 2, 9, 18)),
        ("face_xmin,face_ymin,face_xmax,face_ymax", (1, 2, 9, 18)),
        ("x,y,w,h", (1, 2, 10, 20)),
    ],
)
def test_box_layouts(read, header, box):
    assert read(f"path,{header}\na.jpg,1,2,10,20\n").records[0].faces[0].box == box


def test_columns_labels_and_renaming(read):
    table = "file,who,part,wearing,mood\na.jpg,p,val,with_mask,Happy\nb.jpg,q,,normal,\n"
    options = {
        "columns": {"path": "file", "person": "who", "split": "part"},
        "labels": ["mood"],
        "rename": {"wearing": "mask"},
    }
    assert facts(read(table, **options)) == [
        ("a.jpg", "p", "val", [(None, {"mood": "Happy", "mask": "worn"})]),
        ("b.jpg", "q", None, [(None, {"mask": "absent"})]),
    ]


@pytest.mark.parametrize(
    ("splits", "expected", "lost"),
    [
        (("dev", "dev", "dev"), [None, None, None], {}),
        (("all", "all", "all"), [None, None, None], {}),
        (("test", "test", "test"), ["test", "test", "test"], {}),
        (("", "", ""), [None, None, None], {}),
        (("dev", "dev", ""), [None, None, None], {"unknown_split": 2}),
        (("dev", "test", "dev"), [None, "test", None], {"unknown_split": 2}),
    ],
)
def test_a_split_that_every_row_shares_divides_nothing(read, splits, expected, lost):
    rows = "".join(f"{name}.jpg,x,{split}\n" for name, split in zip("abc", splits, strict=True))
    result = read(f"path,label,split\n{rows}")
    assert [record.split for record in result.records] == expected
    assert result.lost.counts == lost
    assert ("every row says the split 'dev'" in result.layout[0]) == (splits == ("dev", "dev", "dev"))


def test_years_say_more_than_a_group_of_ages(read):
    result = read("path,age_group,age\na.jpg,<30,31\nb.jpg,30-59,29\n")
    assert [record.faces[0].attributes for record in result.records] == [{"age": 31}, {"age": 29}]
    assert result.layout[0].endswith("unused: age_group")
    with pytest.raises(InputError, match="two label columns become one attribute: age_group = age, age_band = age"):
        read("path,age_group,age_band\na.jpg,<30,<30\n")


def test_two_columns_for_one_attribute_are_refused(read):
    with pytest.raises(InputError, match="two label columns become one attribute"):
        read("path,label,mask\na.jpg,normal,worn\n", rename={"label": "mask"})


def test_values_that_cannot_be_understood_are_lost_and_the_rest_of_their_row_stays(read):
    result = read("path,gender,age,split\na.jpg,x,20,train\nb.jpg,male,old,test\nc.jpg,male,25-35,1\n")
    assert facts(result) == [
        ("a.jpg", None, "train", [(None, {"age": 20})]),
        ("b.jpg", None, "test", [(None, {"gender": "male"})]),
        ("c.jpg", None, None, [(None, {"gender": "male"})]),
    ]
    assert result.lost.counts == {"bad_gender": 1, "bad_age": 2, "unknown_split": 1}
    assert result.lost.examples["bad_age"] == ["row 3: b.jpg (old)", "row 4: c.jpg (25-35)"]
    assert not result.dropped.counts and not result.skipped.counts


def test_rows_and_files_that_do_not_meet_are_counted(read):
    result = read(
        "path\na.jpg\na.jpg\n../secret.jpg\n/etc/passwd\ngone.jpg\n\n,\n./b.jpg\n",
        files=("a.jpg", "b.jpg", "c.jpg", ".hidden.jpg", "notes.txt"),
    )
    assert [record.path for record in result.records] == ["a.jpg", "b.jpg"]
    assert result.dropped.counts == {"missing_file": 3}
    assert result.notes.counts == {"duplicate_row": 1}
    assert result.skipped.counts == {"no_row": 1, "hidden": 1, "not_an_image_name": 1}


def test_rows_of_a_wrong_length_are_dropped(read):
    result = read("path,label\na.jpg,x,y\nb.jpg\nc.jpg,z\n")
    assert [record.path for record in result.records] == ["c.jpg"]
    assert result.dropped.counts == {"bad_row": 2}
    assert result.dropped.examples["bad_row"][0] == "manifest.csv: row 2 has 3 values, the header has 2"


def test_several_faces_of_a_picture(read):
    result = read("path,xmin,ymin,xmax,ymax,label\na.jpg,0,0,5,5,x\na.jpg,6,6,9,9,y\na.jpg,0,0,5,5,x\n")
    assert facts(result) == [("a.jpg", None, None, [((0, 0, 5, 5), {"label": "x"}), ((6, 6, 3, 3), {"label": "y"})])]
    assert result.notes.counts == {"duplicate_row": 1}


@pytest.mark.parametrize(
    "second",
    ["a.jpg,0,0,5,5,y,p,test", "a.jpg,6,6,9,9,x,q,test", "a.jpg,6,6,9,9,x,p,train"],
    ids=["label", "person", "split"],
)
def test_rows_that_contradict_each_other_drop_their_picture(read, second):
    result = read(
        f"path,xmin,ymin,xmax,ymax,label,person,split\na.jpg,0,0,5,5,x,p,test\n{second}\nb.jpg,0,0,5,5,x,p,test\n"
    )
    assert [record.path for record in result.records] == ["b.jpg"]
    assert result.dropped.counts == {"conflicting_rows": 1}


def test_a_face_whose_box_is_missing_or_cannot_be_read_is_lost(read):
    table = "path,x,y,w,h\na.jpg,1,2,3,\nb.jpg,nan,2,3,4\nc.jpg,1,2,3,four\nd.jpg,,,,\ne.jpg,1,2,3,4\ne.jpg,,,,\n"
    files = tuple(f"{name}.jpg" for name in "abcde")
    result = read(table, files)
    assert facts(result) == [("e.jpg", None, None, [((1, 2, 3, 4), {})])]
    assert result.lost.counts == {"box_unreadable": 3, "no_box": 2}
    assert result.dropped.counts == {"every_face_lost": 4}
    kept = read(table, files, no_box="keep")
    assert [record.faces[0].box for record in kept.records] == [None] * 4
    assert kept.notes.counts == {"box_unreadable": 3, "no_box": 2} and kept.dropped.counts == {"conflicting_rows": 1}


def test_quotes_byte_order_mark_and_names_of_other_languages(read):
    result = read('\ufeffpath,label\n"얼굴, eins.jpg","a ""b"""\n'.encode(), files=("얼굴, eins.jpg",))
    assert facts(result) == [("얼굴, eins.jpg", None, None, [(None, {"label": 'a "b"'})])]


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("what,label\na.jpg,x\n", {}, "no column of paths.*Found: what, label"),
        ("path,label\na.jpg,x\n", {"columns": {"person": "who"}}, "no column 'who'. Found: path, label"),
        ("path,label\na.jpg,x\n", {"labels": ["mask"]}, "no column 'mask'"),
        ("path,label\na.jpg,x\n", {"columns": {"box": ["a", "b", "c", "d"]}}, "no column 'a'"),
        ("path,path\na.jpg,x\n", {}, "two columns have the same name"),
        ("path\n", {}, "the table has no rows"),
        ("", {}, "the table has no rows"),
        (b"path\n\xff\xfe.jpg\n", {}, "not a text in UTF-8 or CP949, GB18030"),
        ("path\na.jpg\n", {"manifest": "other.csv"}, "no table 'other.csv'"),
        (
            "path\na.jpg\n",
            {"colums": {}},
            "colums = {}: unknown key, did you mean 'columns'.*known: box_format, box_frame, columns, encoding",
        ),
        ("path\na.jpg\n", {"columns": {"group": "g"}}, "columns.group = 'g': unknown key"),
        ("path\na.jpg\n", {"columns": {"box": ["x", "y"]}}, "columns.box.* = "),
        ("path\na.jpg\n", {"box_format": "yolo"}, "box_format = 'yolo': "),
    ],
)
def test_mistakes_are_named(read, table, options, message):
    with pytest.raises(InputError, match=message):
        read(table, **options)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_table_of_korean_names_in_any_encoding(read, encoding, form):
    table = "path,emotion,person\n얼굴/하나.jpg,기쁨,김철수\n"
    if encoding != "cp949":
        table = unicodedata.normalize(form, table)
    result = read(table.encode(encoding), files=("얼굴/하나.jpg",))
    assert facts(result) == [("얼굴/하나.jpg", "김철수", None, [(None, {"emotion": "happy"})])]
