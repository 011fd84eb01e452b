"""Tables as people and their tools write them: quotes, separators, names of columns, paths and spellings."""

import pytest

from components.ingest.formats.tables.manifest import read_manifest
from components.ingest.formats.tables.manifest_columns import ManifestOptions
from components.shared.options import parse_options
from serving.runtime.errors import InputError

FILES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")


@pytest.fixture
def read(listing):
    def run(table, files=FILES, name="manifest.csv", **options):
        data = table if isinstance(table, bytes) else table.encode()
        return read_manifest(listing({name: data} | dict.fromkeys(files)), parse_options(ManifestOptions, options, "m"))

    return run


def labels(result):
    return {record.path: record.faces[0].attributes for record in result.records}


# --- quotes ---------------------------------------------------------------------------------------------------------

CLASSES = {"a.jpg": {"label": "cat"}, "b.jpg": {"label": "dog"}, "c.jpg": {"label": "cat"}, "d.jpg": {"label": "dog"}}


@pytest.mark.parametrize(
    ("rows", "repaired"),
    [
        ("a.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog\n", 0),
        ('"a.jpg","cat"\n"b.jpg",dog\n"c.jpg", "cat"\nd.jpg,dog', 0),
        ('"a.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog\n', 1),
        ('a.jpg,"cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog\n', 1),
        ('a.jpg,cat\nb.jpg,"dog\nc.jpg,cat\nd.jpg,"dog"\n', 1),
        ('"a.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg",dog\n', 2),
        ('"a.jpg,cat"\nb.jpg,dog\n"c.jpg,cat"\r\nd.jpg,dog\n', 2),
        ('"a.jpg"x,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog\n', None),
    ],
)
def test_a_stray_quote_swallows_no_rows(read, rows, repaired):
    result = read(f"path,label\n{rows}")
    if repaired is None:
        assert labels(result) == {path: CLASSES[path] for path in FILES[1:]} and result.dropped.total == 1
    else:
        assert labels(result) == CLASSES and not result.dropped.counts
        assert result.notes.counts == ({"stray_quote": repaired} if repaired else {})


@pytest.mark.parametrize("at", [0, 57, 199])
@pytest.mark.parametrize("cell", ["path", "label"])
def test_of_two_hundred_rows_all_are_read(read, at, cell):
    files = [f"{number:03}.jpg" for number in range(200)]
    rows = [f"{name},{'cat' if number % 2 else 'dog'}" for number, name in enumerate(files)]
    rows[at] = f'"{rows[at]}' if cell == "path" else rows[at].replace(",", ',"')
    result = read("path,label\n" + "\n".join(rows), files)
    assert len(result.records) == 200 and result.notes.counts == {"stray_quote": 1} and not result.dropped.counts


def test_lines_that_could_be_one_row_or_two_are_lost(read):
    result = read('path,label\n"a.jpg,cat\nb.jpg",dog\nc.jpg,cat\n')
    assert [record.path for record in result.records] == ["c.jpg"]
    assert result.dropped.counts == {"bad_row": 2}
    assert result.dropped.examples["bad_row"][0] == "manifest.csv: row 2: a quote is not closed"


def test_a_line_that_cannot_be_read_is_lost_alone(read):
    result = read('path,label,person\na.jpg,cat,p\nb.jpg,"dog\nc.jpg,cat,q\nd.jpg,dog,"r\n')
    assert [record.path for record in result.records] == ["a.jpg", "c.jpg", "d.jpg"]
    assert result.dropped.counts == {"bad_row": 1} and result.notes.counts == {"stray_quote": 1}


def test_cells_of_several_lines_and_quotes_that_are_data(read):
    result = read(
        "path,note,label\n"
        'a.jpg,"two\nlines, ""quoted""",cat\n'
        "b.jpg,5\" wide,don't\n"
        'c.jpg,"x, y",cat\n'
        'd.jpg,"one\r\n\r\nthree",dog\n'
    )
    assert labels(result) == {
        "a.jpg": {"label": "cat"}, "b.jpg": {"label": "don't"}, "c.jpg": {"label": "cat"}, "d.jpg": {"label": "dog"},
    }  # fmt: skip
    assert not result.dropped.counts and not result.notes.counts


# --- separators -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["", "{0}", "{0}{0}"])
def test_the_separator_is_told_from_the_table_and_empty_cells_behind_it_do_not_count(read, separator, end):
    text = f"path,label,split{end}\na.jpg,cat,train{end}\nb.jpg,dog,test\nc.jpg,dog,{end}\n"
    result = read(text.replace(",", separator).format(separator))
    assert [(record.path, record.split) for record in result.records] == [
        ("a.jpg", "train"), ("b.jpg", "test"), ("c.jpg", None),
    ]  # fmt: skip
    assert not result.dropped.counts


def test_separators_in_cells_do_not_mislead(read):
    assert labels(read("path;label\na.jpg;x, y\nb.jpg;x, z\n"))["b.jpg"] == {"label": "x, z"}
    assert labels(read("path,label\na.jpg,x;y\nb.jpg,z;w\n"))["b.jpg"] == {"label": "z;w"}
    assert labels(read("sep=;\r\npath;label\r\na.jpg;x,y\r\n"))["a.jpg"] == {"label": "x,y"}
    assert labels(read("path:label\na.jpg:x\n", separator=":"))["a.jpg"] == {"label": "x"}


def test_two_separators_that_fit_are_refused(read):
    table = "path;a,label;b\na.jpg;x,y;z\n"
    with pytest.raises(InputError, match="cannot tell what separates its cells, ',' or ';'; .*'separator'"):
        read(table)
    assert read(table, separator=";", columns={"path": "path"}).records


def test_nameless_columns_have_a_number(read):
    result = read(",path,label\n0,a.jpg,cat\n1,b.jpg,dog\n")
    assert labels(result) == {"a.jpg": {"label": "cat"}, "b.jpg": {"label": "dog"}}
    assert result.layout[0].endswith("unused: column 1")


# --- columns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["path", "Path", "File Name", "file_name", "filename", "FileName", "image_path", "img"]
)
@pytest.mark.parametrize("label", ["label", "Label", "Class", "class_name", "CATEGORY"])
@pytest.mark.parametrize("split", ["split", "Split", "subset", "SET"])
def test_usual_names_in_any_case(read, path, label, split):
    result = read(f"{path},score,{label},{split}\na.jpg,1.5,cat,Train\nb.jpg,2,dog,validation\n")
    assert [(r.path, r.split, r.faces[0].attributes) for r in result.records] == [
        ("a.jpg", "train", {"label": "cat"}), ("b.jpg", "val", {"label": "dog"}),
    ]  # fmt: skip
    expected = f"columns: path = {path}, split = {split}, label = {label}; unused: score"
    assert result.layout[0] == f"manifest.csv: {expected}"


@pytest.mark.parametrize(
    ("header", "cells", "box"),
    [
        ("x1,y1,x2,y2", "1,2,10,20", (1, 2, 9, 18)),
        ("X1,Y1,X2,Y2", "1,2,10,20", (1, 2, 9, 18)),
        ("left,top,right,bottom", "1,2,10,20", (1, 2, 9, 18)),
        ("Left,Top,Width,Height", "1,2,10,20", (1, 2, 10, 20)),
        ("x_min,y_min,x_max,y_max", "1,2,10,20", (1, 2, 9, 18)),
        ("xmin,xmax,ymin,ymax", "1,10,2,20", (1, 2, 9, 18)),
        ("bbox_x,bbox_y,bbox_w,bbox_h", "1,2,10,20", (1, 2, 10, 20)),
        ("bbox_x,bbox_y,bbox_width,bbox_height", "1,2,10,20", (1, 2, 10, 20)),
        ("face_x1,face_y1,face_x2,face_y2", "1,2,10,20", (1, 2, 9, 18)),
        ("xtl,ytl,xbr,ybr", "1,2,10,20", (1, 2, 9, 18)),
        ("bbox", '"[10, 20, 5, 6]"', (10, 20, 5, 6)),
        ("Bounding Box", "10 20 5 6", (10, 20, 5, 6)),
    ],
)
def test_boxes_under_their_usual_names(read, header, cells, box):
    result = read(f"path,{header}\na.jpg,{cells}\n")
    assert result.records[0].faces[0].box == box and result.layout[0].endswith("unused: none")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,xmin,ymin,xmax,ymaxx\na.jpg,1,2,3,4\n", "xmin, ymin, xmax look like a box.*'columns.box'"),
        ("path,cx,cy,w,h\na.jpg,1,2,3,4\n", "look like a box.*'columns.box'"),
        ("path,x,y,width,height\na.jpg,1,2,3,4\n", "look like a box.*'columns.box'"),
        ("path,bbox\na.jpg,1 2 30 40\n", "two corners or a corner and a size.*'box_format'"),
        ("path,x1,y1,x2,y2,xmin,ymin,xmax,ymax\na.jpg,1,2,3,4,1,2,3,4\n", "could both be the box.*'columns.box'"),
        ("path,file_name,label\na.jpg,a.jpg,x\n", "path and file_name could both be the path; .*'columns.path'"),
        ("path,split,subset\na.jpg,train,train\n", "split and subset could both be the split; .*'columns.split'"),
        ("path,person,subject\na.jpg,p,q\n", "could both be the person; .*'columns.person'"),
        ("path,class,label\na.jpg,p,q\n", "two label columns become one attribute: class = label, label = label"),
        ("path,class\na.jpg,p\n", None),
    ],
)
def test_what_could_be_two_things_is_refused_naming_the_option(read, table, message):
    if message is None:
        assert read(table).records
        return
    with pytest.raises(InputError, match=message):
        read(table)


def test_landmarks_are_no_box(read):
    header = ",".join(f"x{number},y{number}" for number in range(1, 6))
    assert read(f"path,{header}\na.jpg,{','.join('7' * 10)}\n").records[0].faces[0].box is None


def test_boxes_in_shares_of_the_picture(read):
    table = "path,x1,y1,x2,y2\na.jpg,0.1,0.2,0.5,0.6\nb.jpg,0,0,1,1\n"
    assert [record.normalized for record in read(table).records] == [True, True]
    assert [record.normalized for record in read(table + "c.jpg,0,0,2,2\n").records] == [False] * 3


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "files", "notes"),
    [
        ("C:\\data\\images\\{}", "images/{}", {"path_by_suffix": 2}),
        ("/home/x/images/{}", "images/{}", {"path_by_suffix": 2}),
        ("{}", "images/{}", {"path_by_suffix": 2}),
        ("images\\{}", "images/{}", {}),
        ("Images/{}", "images/{}", {"path_by_case": 2}),
    ],
)
def test_paths_of_another_machine(read, written, files, notes):
    table = "path,label\n" + "".join(f"{written.format(name)},x\n" for name in ("1.jpg", "2.jpg"))
    result = read(table, [files.format(name) for name in ("1.jpg", "2.jpg")])
    assert len(result.records) == 2 and result.notes.counts == notes and not result.dropped.counts


@pytest.mark.parametrize("column", ["id", "image_id", "Name", "ImageID"])
def test_names_without_a_suffix(read, column):
    result = read(f"{column},label\n0001,x\n0002,y\n", ("images/0001.jpg", "images/0002.png"))
    assert labels(result) == {"images/0001.jpg": {"label": "x"}, "images/0002.png": {"label": "y"}}


def test_pictures_beside_the_table_and_in_a_named_folder(read):
    files = ("train/a.jpg", "train/faces/a.jpg", "a.jpg")
    table = "path,label\na.jpg,x\n"
    assert labels(read(table, files)) == {"a.jpg": {"label": "x"}}
    assert list(labels(read(table, files, "train/t.csv", manifest="train/t.csv"))) == ["train/a.jpg"]
    assert list(labels(read(table, files, "train/t.csv", manifest="train/t.csv", images="faces"))) == [
        "train/faces/a.jpg"
    ]
    assert list(labels(read(table, files, images="train/faces"))) == ["train/faces/a.jpg"]
    with pytest.raises(InputError, match="no folder 'gone'; see the option 'images'"):
        read(table, files, images="gone")


def test_a_path_of_several_files_is_lost(read):
    result = read("path,label\n/x/1.jpg,cat\n2.jpg,dog\n", ("a/1.jpg", "b/1.jpg", "2.jpg"))
    assert list(labels(result)) == ["2.jpg"] and result.dropped.counts == {"ambiguous_path": 1}


# --- spellings ------------------------------------------------------------------------------------------------------


def test_one_class_in_several_cases_is_one(read):
    table = "path,label\na.jpg,Cat\nb.jpg,cat\nc.jpg,cat\nd.jpg,DOG\n"
    result = read(table)
    assert [face["label"] for face in labels(result).values()] == ["cat", "cat", "cat", "DOG"]
    assert result.notes.counts == {"spelling_of_class": 1}
    assert [face["label"] for face in labels(read(table, label_case="keep")).values()] == ["Cat", "cat", "cat", "DOG"]


def test_values_as_people_write_them(read):
    result = read(
        "파일명,성별,나이,감정\na.jpg,남성,20대,기쁨\nb.jpg,W,30s,슬픔\nc.jpg,F,60+,neutral\nd.jpg,Man,5,분노\n"
    )
    assert labels(result) == {
        "a.jpg": {"gender": "male", "age": 24, "emotion": "happy"},
        "b.jpg": {"age": 34, "emotion": "sad"},
        "c.jpg": {"gender": "female", "age": 60, "emotion": "neutral"},
        "d.jpg": {"gender": "male", "age": 5, "emotion": "anger"},
    }
    assert result.lost.counts == {"bad_gender": 1}


# --- one-hot --------------------------------------------------------------------------------------------------------


def test_one_hot_columns_are_one_class(read):
    result = read("filename, cat, dog\na.jpg, 1, 0\nb.jpg, 0, 1\nc.jpg, 1, 1\nd.jpg, 0, 0\n")
    assert labels(result) == {"a.jpg": {"label": "cat"}, "b.jpg": {"label": "dog"}, "c.jpg": {}, "d.jpg": {}}
    assert result.lost.counts == {"several_classes": 1, "no_class": 1}
    assert "label = the one of cat, dog that is 1" in result.layout[0]


def test_one_hot_columns_of_a_known_attribute(read):
    assert labels(read("filename,Mask,No Mask\na.jpg,1,0\nb.jpg,0,1\n")) == {
        "a.jpg": {"mask": "worn"}, "b.jpg": {"mask": "absent"},
    }  # fmt: skip


def test_several_ones_in_most_rows_are_not_one_class(read):
    table = "filename,smile,glasses\na.jpg,1,1\nb.jpg,1,1\nc.jpg,0,1\n"
    with pytest.raises(InputError, match="several ones in smile, glasses.*'labels'"):
        read(table)
    assert labels(read(table, labels=["smile", "glasses"]))["c.jpg"] == {"smile": "0", "glasses": "1"}


def test_flags_beside_a_label_are_not_its_classes(read):
    result = read("path,gender,smile,glasses\na.jpg,male,1,1\nb.jpg,female,0,1\n")
    assert labels(result) == {"a.jpg": {"gender": "male"}, "b.jpg": {"gender": "female"}}


def test_the_tables_that_roboflow_writes_into_the_splits(listing):
    files = {f"{split}/_classes.csv": b"filename, cat, dog\n1.jpg, 1, 0\n" for split in ("train", "valid", "test")}
    files |= {f"{split}/1.jpg": None for split in ("train", "valid", "test")}
    result = read_manifest(listing(files), ManifestOptions())
    assert [(record.path, record.split) for record in result.records] == [
        ("test/1.jpg", "test"), ("train/1.jpg", "train"), ("valid/1.jpg", "val"),
    ]  # fmt: skip


def test_the_only_table_is_the_manifest(read):
    assert read("path,label\na.jpg,x\n", name="faces.csv").records
    with pytest.raises(InputError, match=r"name one of one.csv, two.csv with the option 'manifest'"):
        read("path\na.jpg\n", (*FILES, "two.csv"), name="one.csv")
