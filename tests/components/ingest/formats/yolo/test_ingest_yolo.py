import zipfile

import pytest
from export_samples import jpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.ingest.formats.yolo.reader import YoloOptions, read_yolo
from components.ingest.formats.yolo.rows import parse_row
from components.ingest.ingest import ingest
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face, read_annotations
from components.shared.options import parse_options
from serving.runtime.errors import InputError

ROW = "0 0.5 0.5 0.2 0.4"
BOX = pytest.approx((0.4, 0.3, 0.2, 0.4))


@pytest.fixture
def found(tmp_path):
    def read(files, **options):
        for name, text in files.items():
            file = tmp_path / "raw" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes((text or "").encode())
        return read_yolo(Source(str(tmp_path / "raw")), parse_options(YoloOptions, options, "yolo"))

    return read


def splits(result):
    return {record.path: record.split for record in result.records}


@pytest.mark.parametrize(
    ("picture", "label", "split"),
    [
        ("images/a.jpg", "labels/a.txt", None),
        ("images/train/a.jpg", "labels/train/a.txt", "train"),
        ("images/val/a.b.JPG", "labels/val/a.b.txt", "val"),
        ("images/test/deep/a.png", "labels/test/deep/a.txt", "test"),
        ("valid/images/a.jpg", "valid/labels/a.txt", "val"),
        ("images/old/images/test/a.jpg", "images/old/labels/test/a.txt", "test"),
        ("train/a.jpg", "train/a.txt", "train"),
        ("a.jpg", "a.txt", None),
    ],
)
def test_layouts_without_a_yaml(found, picture, label, split):
    result = found({picture: "", label: ROW})
    (record,) = result.records
    assert (record.path, record.split, record.person, record.size) == (picture, split, None, None)
    assert record.faces == (Face(0, BOX, {}),)
    assert record.normalized
    assert not (result.dropped.total or result.skipped.total or result.notes.total)


@pytest.mark.parametrize(
    ("path", "train", "val"),
    [
        ("", "images/train", "images/val"),
        (".", "images/train/", "./images/val"),
        ("/home/somebody/data", "images/train", "images/val"),
        ("data", "/home/somebody/data/images/train", ["images/val"]),
        ("", "../images/train", "../images/val"),
        ("C:\\data", "images\\train", "images\\val"),
    ],
)
@pytest.mark.parametrize("folder", ["", "set/"])
def test_paths_of_a_yaml_from_another_machine(found, folder, path, train, val):
    result = found(
        {
            f"{folder}d.yaml": f"path: '{path}'\ntrain: {train!r}\nval: {val!r}\nnames: [face]\n".replace("\\\\", "\\"),
            f"{folder}images/train/a.jpg": "",
            f"{folder}images/val/b.jpg": "",
            f"{folder}images/extra/c.jpg": "",
            f"{folder}labels/train/a.txt": ROW,
            f"{folder}labels/val/b.txt": ROW,
        }
    )
    assert splits(result) == {f"{folder}images/train/a.jpg": "train", f"{folder}images/val/b.jpg": "val"}
    assert result.skipped.counts == {"in_no_split_of_the_yaml": 1}


def test_a_yaml_with_a_list_of_images_a_missing_split_and_one_folder_twice(found):
    result = found(
        {
            "d.yaml": "train: train.txt\nval: images/val\nvalidation: images/val\n"
            "test: [images/test, images/val]\nnc: 1\n",
            "train.txt": "./images/x/a.jpg\n/elsewhere/images/x/b.jpg\n\nimages/x/gone.jpg\n",
            **{f"images/{name}.jpg": "" for name in ("x/a", "x/b", "val/c")},
            **{f"labels/{name}.txt": ROW for name in ("x/a", "x/b", "val/c")},
        }
    )
    assert splits(result) == {"images/val/c.jpg": "val", "images/x/a.jpg": "train", "images/x/b.jpg": "train"}
    assert result.dropped.examples == {"missing_file": ["train.txt: images/x/gone.jpg"]}
    assert result.notes.examples == {
        "split_without_images": ["d.yaml: test: images/test"],
        "in_two_splits": ["images/val/c.jpg (val and test)"],
    }
    assert "d.yaml: test is val once more, and stays val: images/val" in result.layout


def test_an_image_that_two_different_folders_and_lists_hold_loses_a_split(found):
    result = found(
        {
            "d.yaml": "train: images\nval: val.txt\nnames: [face]",
            "val.txt": "images/b.jpg",
            **{f"images/{name}.jpg": "" for name in "ab"},
            **{f"labels/{name}.txt": ROW for name in "ab"},
        }
    )
    assert splits(result) == {"images/a.jpg": "train", "images/b.jpg": "train"}
    assert result.lost.examples == {"in_two_splits": ["images/b.jpg (train and val)"]}


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"images/train/happy/a.jpg": ""}, {}, "no label file.*class_folder"),
        (
            {"images/a.jpg": "", "images/b.jpg": "", "labels/a.txt": "", "labels/b.txt": " \n"},
            {},
            "no face in any image: 2 label files, all empty; expected a row 'class x_center y_center width height'",
        ),
        ({"a.yaml": "train: x\nnames: [a]", "b.yaml": "val: x\nnames: [a]"}, {}, r"\(a.yaml, b.yaml\).*'data'"),
        (
            {"a.yaml": "train: nowhere\nnames: [a]", "images/b.jpg": ""},
            {},
            "its folders contain no images.*: nowhere",
        ),
        ({"a.jpg": ""}, {"data": "d.yaml"}, "no file 'd.yaml'"),
        ({"d.yaml": "a: 1"}, {"data": "d.yaml"}, "d.yaml: no data set"),
        ({"d.yaml": "a: ["}, {"data": "d.yaml"}, "d.yaml: no data set"),
    ],
)
def test_what_stops_the_reader(found, files, options, message):
    with pytest.raises(InputError, match=message):
        found(files, **options)


@pytest.mark.parametrize(
    ("names", "options", "attributes"),
    [
        ("[face]", {}, {}),
        ("{0: face, 1: head}", {}, {"label": "face"}),
        ("[anger, anxiety, embarrass, happy, normal, pain, sad]", {}, {"emotion": "anger"}),
        ("[no_mask, mask]", {"attribute": "mask"}, {"mask": "absent"}),
        ("[cat]", {"names": ["dog", "cat"]}, {"label": "dog"}),
    ],
)
def test_what_classes_mean(found, names, options, attributes):
    rows = "".join(f"{number} 0.{number + 1} 0.5 0.2 0.4\n" for number in range(names.count(",") + 1))
    files = {"d.yaml": f"train: images\nnames: {names}", "images/a.jpg": "", "labels/a.txt": rows}
    assert found(files, **options).records[0].faces[0].attributes == attributes


def test_several_faces_background_missing_labels_and_bad_rows(found):
    files = {f"images/{name}.jpg": "" for name in ("two", "empty", "none", "bad", "some")}
    files |= {
        "labels/two.txt": f"{ROW}\n\n1 0.1 0.1 0.1 0.1\n{ROW}\n",
        "labels/empty.txt": "\n",
        "labels/bad.txt": "hello\n",
        "labels/some.txt": f"0 0.5\n{ROW}\n0 12 14 100 100\n",
        "labels/gone.txt": ROW,
        "labels/classes.txt": "face",
        "readme.md": "",
        "shot.png": "",
    }
    result = found(files)
    assert {record.path: len(record.faces) for record in result.records} == {
        "images/empty.jpg": 0,
        "images/none.jpg": 0,
        "images/some.jpg": 1,
        "images/two.jpg": 2,
    }
    assert result.dropped.counts == {"bad_label_file": 1, "missing_image": 1}
    assert result.notes.counts == {
        "background": 1,
        "duplicate_row": 1,
        "no_label_file": 1,
    }
    assert result.lost.counts == {"bad_row": 3, "class_without_name": 1}
    assert "1 of 5 images have no label file, which means background" in result.layout
    assert result.skipped.counts == {"not_an_image_name": 1, "not_below_images": 1}
    assert result.lost.examples["bad_row"][1] == "labels/some.txt, row 1: 2 columns, expected 5"
    skipped = found(files, background="skip")
    assert {record.path for record in skipped.records} == {"images/some.jpg", "images/two.jpg"}
    assert skipped.skipped.counts["background"] == skipped.skipped.counts["no_label_file"] == 1


OUTSIDE = {
    "pixels": ("0 20 15 10 10", "bad_row", r"labels/train/0.txt, row 2: 20 is no share from 0 to 1"),
    "beyond": ("0 1.3 0.5 0.2 0.2", "box_outside", "images/train/0.jpg"),
    "negative": ("0 -0.3 0.5 0.2 0.2", "box_outside", "images/train/0.jpg"),
    "negative size": ("0 0.5 0.5 -0.2 0.2", "bad_row", "labels/train/0.txt, row 2: the box is empty"),
    "not a number": ("0 nan 0.5 0.2 0.2", "bad_row", "labels/train/0.txt, row 2: nan is no share from 0 to 1"),
}


@pytest.mark.parametrize(("row", "reason", "example"), OUTSIDE.values(), ids=OUTSIDE)
def test_labels_outside_of_the_picture_are_lost_and_can_stop(tmp_path, row, reason, example):
    for at in range(4):
        picture, label = (tmp_path / f"raw/{kind}/train/{at}" for kind in ("images", "labels"))
        for file, data in ((picture.with_suffix(".jpg"), jpeg(at)), (label.with_suffix(".txt"), ROW.encode())):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    (tmp_path / "raw/labels/train/0.txt").write_text(f"{ROW}\n{row}\n")

    def read(**options):
        ingest(str(tmp_path / "raw"), tmp_path / "images", tmp_path / "all.json", format="yolo", options=options)
        return read_annotations(tmp_path / "all.json")

    with pytest.raises(InputError, match=f"1 of 5 faces, .*'max_dropped'.*: 1 {reason}"):
        read()
    assert not (tmp_path / "images").exists()
    data = read(max_dropped=0.5)
    assert data.info.lost_examples == {reason: [example]}
    assert [face.box for image in data.images for face in image.faces] == [pytest.approx((16, 9, 8, 12))] * 4


def test_a_box_that_reaches_beyond_the_picture_is_clipped(tmp_path):
    for name, data in (("images/a.jpg", jpeg(1)), ("labels/a.txt", b"0 1.0 0.5 0.3 0.2")):
        (tmp_path / "raw" / name).parent.mkdir(parents=True)
        (tmp_path / "raw" / name).write_bytes(data)
    ingest(str(tmp_path / "raw"), tmp_path / "images", tmp_path / "all.json", format="yolo")
    data = read_annotations(tmp_path / "all.json")
    assert data.images[0].faces[0].box == pytest.approx((34, 12, 6, 6))
    assert data.info.notes["box_clipped"] == 1


def test_nine_columns_that_end_with_zeros_are_not_a_polygon(found):
    files = {"images/a.jpg": "", "labels/a.txt": "0 0.500000 0.480000 0.310000 0.540000 0 0 0 0"}
    (record,) = found(files).records
    assert record.faces[0].box == pytest.approx((0.345, 0.21, 0.31, 0.54))
    assert found(files).notes.counts == {"extra_columns": 1}


def test_a_damaged_label_file_in_an_archive_does_not_make_background(tmp_path):
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        for name in ("a", "b"):
            archive.writestr(f"images/{name}.jpg", "")
            archive.writestr(f"labels/{name}.txt", ROW)
    content = (tmp_path / "raw.zip").read_bytes()
    at = content.index(ROW.encode())
    (tmp_path / "raw.zip").write_bytes(content[:at] + b"9" + content[at + 1 :])
    result = read_yolo(Source(str(tmp_path / "raw.zip")), YoloOptions())
    assert [record.path for record in result.records] == ["images/b.jpg"]
    assert result.dropped.examples == {"bad_label_file": ["images/a.jpg"]}


@pytest.mark.parametrize(
    ("row", "keypoints", "kind", "box"),
    [
        ("3 0.5 0.5 0.2 0.4", None, "box", (0.4, 0.3, 0.2, 0.4)),
        ("3 0.5 0.5 0.2 0.4 0.9", None, "box", (0.4, 0.3, 0.2, 0.4)),
        ("3 0.5 0.5 0.2 0.4 0 0 0 0", None, "extra", (0.4, 0.3, 0.2, 0.4)),
        ("3 0.5 0.5 0.2 0.4 0.1 0.2 0.3 0.4", (2, 2), "box", (0.4, 0.3, 0.2, 0.4)),
        ("3 0.5 0.5 0.2 0.4 0.1 0.2 1 0.3 0.4 2", (2, 3), "box", (0.4, 0.3, 0.2, 0.4)),
        ("3 0.5 0.5 0.2 0.4", (2, 2), "box", (0.4, 0.3, 0.2, 0.4)),
        ("3 0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7", None, "polygon", (0.4, 0.3, 0.2, 0.4)),
        ("3 0.4 0.5 0.5 0.3 0.6 0.7", None, "polygon", (0.4, 0.3, 0.2, 0.4)),
        ("3 0.5 0.3 0.6 0.5 0.5 0.7 0.4 0.5", None, "polygon", (0.4, 0.3, 0.2, 0.4)),
        ("3.0 0.0 0.5 0.2 0.4", None, "box", (-0.1, 0.3, 0.2, 0.4)),
    ],
)
def test_a_row_is_a_box_or_a_polygon(row, keypoints, kind, box):
    parsed = parse_row(row, keypoints)
    assert (parsed.category, parsed.kind, parsed.box) == (3, kind, pytest.approx(box))


@pytest.mark.parametrize(
    ("row", "shape", "keypoints", "score"),
    [
        ("3 0.5 0.5 0.2 0.4", None, None, None),
        ("3 0.5 0.5 0.2 0.4 0.9", None, None, 0.9),
        ("3 0.5 0.5 0.2 0.4 0 0 0 0", None, None, None),
        ("3 0.5 0.5 0.2 0.4 0.1 0.2 -1 -1", (2, 2), ((0.1, 0.2, 2), (-1.0, -1.0, 0)), None),
        ("3 0.5 0.5 0.2 0.4 0.1 0.2 1 0.3 0.4 2", (2, 3), ((0.1, 0.2, 1), (0.3, 0.4, 2)), None),
    ],
)
def test_keypoints_and_confidences_of_rows_are_kept(row, shape, keypoints, score):
    parsed = parse_row(row, shape)
    assert (parsed.keypoints, parsed.score) == (keypoints, score)


@pytest.mark.parametrize(
    ("row", "keypoints"),
    [
        ("", None),
        ("face 0.5 0.5 0.2 0.4", None),
        ("0 0.5 0.5 0.2", None),
        ("0 0.5 0.5 0 0.4", None),
        ("0 0.5 0.5 -0.2 0.4", None),
        ("-1 0.5 0.5 0.2 0.4", None),
        ("0.5 0.5 0.5 0.2 0.4", None),
        ("inf 0.5 0.5 0.2 0.4", None),
        ("nan 0.5 0.5 0.2 0.4", None),
        ("0 nan 0.5 0.2 0.4", None),
        ("0 inf 0.5 0.2 0.4", None),
        ("0 320 240 100 100", None),
        ("0 0.5 0.5 0.2 0.4 1.57", None),
        ("0 0.5 0.5 0.2 0.4 -0.5", None),
        ("0 0.5 0.5 0.2 0.4 0.1 0.2 0.3", None),
        ("0 0.5 0.5 0.2 0.4 0.1 0.2 0.3", (2, 2)),
        ("0 0.5 0.5 0.5 0.5 0.5 0.5", None),
    ],
)
def test_bad_rows(row, keypoints):
    with pytest.raises(ValueError):
        parse_row(row, keypoints)


@given(st.text(alphabet="0123456789.-+einfa \t/", max_size=60))
def test_no_text_breaks_the_row_parser(text):
    try:
        left, top, width, height = parse_row(text, None).box
    except ValueError:
        return
    assert width > 0
    assert height > 0
    assert max(map(abs, (left, top, width, height))) <= 8


@pytest.mark.parametrize(
    "text",
    [
        "a: 2024-13-45",
        "a: !!bool x",
        "a: !!int ''",
        "a: !!timestamp x",
        "a: 2024-01-01 99:99:99",
        "&a [*a]",
        "a: 1e9999",
    ],
)
def test_a_stray_yaml_of_any_content_is_no_data_set(found, text):
    result = found({"ci.yaml": text, "images/a.jpg": "", "labels/a.txt": ROW})
    assert [record.path for record in result.records] == ["images/a.jpg"]
    with pytest.raises(InputError, match="ci.yaml: no data set"):
        found({}, data="ci.yaml")


def test_a_name_that_is_no_name_is_not_written_out(found):
    """Aliases of aliases are small in memory and endless as text."""
    bomb = "\n".join(["b0: &b0 [x, x]", *(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]" for n in range(1, 12))])
    files = {"d.yaml": f"{bomb}\ntrain: images\nnames: [*b11, cat]", "images/a.jpg": "", "labels/a.txt": f"1{ROW[1:]}"}
    assert found(files).records[0].faces[0].attributes == {"label": "cat"}


THREE = {
    "images/a.jpg": "",
    "labels/a.txt": "0 0.1 0.5 0.2 0.4\n1 0.2 0.5 0.2 0.4\n2 0.3 0.5 0.2 0.4\n",
}


def labels(result):
    return [face.attributes.get("label") for record in result.records for face in record.faces]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("[no, yes, off]", ["no", "yes", "off"]),
        ("[1e3, ~, 2024-01-01]", ["1e3", "~", "2024-01-01"]),
        ("[010, 0x1f, 1_000]", ["010", "0x1f", "1_000"]),
        ("[true, null, .5]", ["true", "null", ".5"]),
        ("['no', \"yes\", on]", ["no", "yes", "on"]),
        ("{0: no, 1: y, 2: n}", ["no", "y", "n"]),
        ("{'0': a, '1': b, '2': c}", ["a", "b", "c"]),
        ("{a: 0, b: 1, c: 2}", ["a", "b", "c"]),
        ("\n  0: a\n  2: c\n  1: b", ["a", "b", "c"]),
        ("\n- a\n- b\n- c", ["a", "b", "c"]),
        ("a, b, c", ["a", "b", "c"]),
        ("{0: a, 1: a, 2: A}", ["a", "a", "a"]),
    ],
)
def test_names_of_a_yaml_are_read_as_they_are_written(found, names, expected):
    result = found(THREE | {"data.yaml": f"train: images\nnc: 3\nnames: {names}\n"})
    assert labels(result) == expected
    assert not result.lost.total


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "a\nb\nc\n"),
        ("labels/classes.txt", "a\r\nb\r\nc"),
        ("obj.names", "a\nb\nc\n\n"),
        ("data/faces.names", "a\nb\nc"),
        ("train/_darknet.labels", "a\nb\nc"),
        ("predefined_classes.txt", "a\nb\nc"),
        ("Labels.TXT", "a\nb\nc"),
        ("data.yaml", "names: [a, b, c]"),
        ("data.yml", "nc: 3\nnames: [a, b, c]\npath: ."),
    ],
)
def test_names_in_the_files_of_other_tools(found, file, text):
    result = found(THREE | {file: text})
    assert labels(result) == ["a", "b", "c"]
    assert f"class names: from {file}" in result.layout
    assert "label is the class: a 1, b 1, c 1" in result.layout
    assert not (result.lost.total or result.dropped.total or result.skipped.total)


def test_a_darknet_data_set(found):
    files = {
        "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n",
        "obj.names": "cat\ndog\n",
        "train.txt": "data/obj_train_data/a.jpg\n",
        "valid.txt": "data/obj_train_data/b.jpg\n",
        "obj_train_data/a.jpg": "",
        "obj_train_data/b.jpg": "",
        "obj_train_data/a.txt": ROW,
        "obj_train_data/b.txt": f"1{ROW[1:]}",
    }
    result = found(files)
    assert splits(result) == {"obj_train_data/a.jpg": "train", "obj_train_data/b.jpg": "val"}
    assert labels(result) == ["cat", "dog"] and not (result.lost.total or result.dropped.total)


def test_roboflows_darknet_export(found):
    files = {f"{split}/{name}": text for split in ("train", "valid") for name, text in
             (("a.jpg", ""), ("a.txt", f"1{ROW[1:]}"), ("_darknet.labels", "cat\ndog\n"))}  # fmt: skip
    result = found(files | {"README.roboflow.txt": "Exported"})
    assert splits(result) == {"train/a.jpg": "train", "valid/a.jpg": "val"} and labels(result) == ["dog", "dog"]
    assert not (result.lost.total or result.dropped.total)
    assert result.skipped.examples == {"not_an_image_name": ["README.roboflow.txt"]}


def test_lists_of_images_without_a_yaml_are_the_splits(found):
    pictures = {f"images/{name}.jpg": "" for name in "abc"} | {f"labels/{name}.txt": ROW for name in "abc"}
    result = found(pictures | {"train.txt": "images/a.jpg\n/x/images/b.jpg", "sets/val.txt": "./images/c.jpg\n"})
    assert splits(result) == {"images/a.jpg": "train", "images/b.jpg": "train", "images/c.jpg": "val"}


@pytest.mark.parametrize(
    ("files", "lost"),
    [
        ({}, 3),
        ({"data.yaml": "train: images\nnc: 3\n"}, 3),
        ({"data.yaml": "train: images\nnames: []\n"}, 3),
        ({"data.yaml": "train: images\nnames: [a, b]\n"}, 1),
        ({"data.yaml": "train: images\nnames: {0: a, 2: }\n"}, 2),
        ({"classes.txt": "a\n\nc\n"}, 1),
    ],
)
def test_faces_whose_class_has_no_name_are_lost_labels(found, files, lost, caplog):
    result = found(THREE | files)
    assert result.lost.counts == {"class_without_name": lost}
    assert len(result.records[0].faces) == 3
    assert (lost == 3) == any("class names: none found" in line for line in result.layout)
    assert (lost == 3) == ("name the classes with the option 'names'" in caplog.text)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"data.yaml": "train: images\nnames:\n\t- a\n"},
            "data.yaml: describes a data set and cannot be read: .*line 3",
        ),
        ({"data.yaml": "train: images\nnames: [a, b\n"}, "data.yaml: describes a data set and cannot be read"),
        ({"data.yaml": "train: images\nnames: {0: a, 0: b}"}, "the key '0' has two values: a, b"),
        ({"data.yaml": "train: images\nnames: [a]\nnames: [b]"}, "the key 'names' has two values"),
        ({"data.yaml": "train: images\nnames: {0: a, 00: b}"}, "class 0 has two names, 'a' and 'b'"),
        (
            {"data.yaml": "names: [a, b, c]", "classes.txt": "a\nc\nb"},
            "class 1 is 'b' in data.yaml and 'c' in classes.txt",
        ),
        (
            {"x/classes.txt": "a\nb\nc", "y/classes.txt": "b\na\nc"},
            "class 0 is 'a' in x/classes.txt and 'b' in y/classes",
        ),
    ],
)
def test_names_that_cannot_be_told_are_refused(found, files, message):
    with pytest.raises(InputError, match=message):
        found(THREE | files)


def test_files_of_names_may_differ_where_no_face_is(found):
    result = found(
        THREE | {"data.yaml": "names: [a, b, c]", "labels/classes.txt": "a\nb\nc\nd\n", "classes.txt": "a\nb"}
    )
    assert labels(result) == ["a", "b", "c"]


def test_a_number_of_classes_that_differs_is_told(found, caplog):
    result = found(THREE | {"data.yaml": "train: images\nnc: 4\nnames: [a, b, c]"})
    assert "data.yaml: states 4 classes, there are names of 3" in result.layout
    assert "states 4 classes" in caplog.text


@pytest.mark.parametrize(
    ("names", "used", "attribute"),
    [
        (["root", "anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad"], [1, 4], "emotion"),
        (["root", "anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad"], [0, 4], "label"),
        (["root", "face"], [1], None),
    ],
)
def test_classes_without_faces_do_not_tell_the_attribute(found, names, used, attribute):
    rows = "".join(f"{number} 0.{number + 1} 0.5 0.2 0.4\n" for number in used)
    result = found({"images/a.jpg": "", "labels/a.txt": rows}, names=names)
    assert {key for face in result.records[0].faces for key in face.attributes} == ({attribute} if attribute else set())


@pytest.mark.parametrize(
    ("picture", "label", "split"),
    [
        ("JPEGImages/a.jpg", "labels/a.txt", None),
        ("Images/Train/a.jpg", "Labels/Train/a.txt", "train"),
        ("images/val/A.JPG", "labels/val/a.TXT", "val"),
        ("Train/images/a.jpg", "Train/labels/a.txt", "train"),
        ("val_set/images/a.jpg", "val_set/labels/a.txt", "val"),
        ("images/train2017/a.jpg", "labels/train2017/a.txt", "train"),
    ],
)
def test_folders_in_other_words_and_cases(found, picture, label, split):
    result = found({picture: "", label: ROW})
    assert splits(result) == {picture: split} and len(result.records[0].faces) == 1
    assert not (result.dropped.total or result.skipped.total)


def test_pictures_of_a_split_that_the_yaml_names_wrongly_are_dropped(found):
    files = {
        "data.yaml": "train: images/train\nval: images/valid\nnames: [face]",
        "images/train/a.jpg": "",
        "images/val/b.jpg": "",
        "labels/train/a.txt": ROW,
        "labels/val/b.txt": ROW,
    }
    result = found(files)
    assert result.dropped.examples == {"in_no_split_of_the_yaml": ["images/val/b.jpg"]}
    assert result.skipped.examples == {"label_of_a_skipped_image": ["labels/val/b.txt"]}


def test_a_label_file_beside_a_missing_image_counts(found):
    result = found({"train/a.jpg": "", "train/a.txt": ROW, "train/b.txt": ROW, "train/notes.txt": "hello"})
    assert result.dropped.examples == {"missing_image": ["train/b.txt"]}
    assert result.skipped.examples == {"not_an_image_name": ["train/notes.txt"]}


def test_a_pose_data_set_without_its_shape_is_no_set_of_outlines(found):
    row = "0 0.5 0.5 0.2 0.4 0.45 0.4 0.55 0.4 0.5 0.5\n"
    files = {f"images/{name}.jpg": "" for name in "abc"} | {f"labels/{name}.txt": row for name in "abc"}
    with pytest.raises(InputError, match="keypoints.*'kpt_shape'"):
        found(files)
    assert found(files, kpt_shape=[3, 2]).records[0].faces[0].box == BOX


BAD_ROWS = ["", "x", "0", "0 0.5", "0 0.5 0.5 -0.2 0.4", "0 5 5 2 2", "a 0.1 0.1 0.1 0.1", "0 nan 0.5 0.2 0.4"]
ROWS = [*BAD_ROWS, "9 0.5 0.5 0.2 0.4", "0 0.4 0.3 0.6 0.3 0.6 0.7", "0 0.5 0.5 0.2 0.4 7", "1 0.9 0.9 0.1 0.1 0.5"]
DAMAGED = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(ROWS)), max_size=6)


def is_row(text):
    try:
        return parse_row(text, None) is not None
    except ValueError:
        return False


@given(DAMAGED, st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)), st.integers(0, 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_every_row_and_picture_of_a_damaged_data_set_is_read_or_lost(listing, damage, gone, unlabeled, names):
    rows = [[f"{number} 0.5 0.5 0.{image + 1} 0.4" for number in range(2)] for image in range(4)]
    for index, text in damage:
        rows[index // 2][index % 2] = text
    files = {f"images/{image}.jpg": None for image in range(4) if image not in gone}
    texts = {f"labels/{image}.txt": "\n".join(rows[image]) for image in range(4) if image not in unlabeled}
    files |= {name: text.encode() for name, text in texts.items()}
    files["data.yaml"] = f"names: {['cat', 'dog', 'fox'][:names]}".encode()
    source = listing(files)
    source.stream = lambda paths: [(path, files[path]) for path in sorted(paths)]
    try:
        result = read_yolo(source, YoloOptions())
    except InputError as error:
        assert "no label file" in str(error) or "label files, all empty" in str(error)
        return
    dropped = [int(path[7]) for path in result.dropped.examples.get("bad_label_file", [])]
    stated = [row for image in range(4) if image not in gone | unlabeled for row in rows[image] if row.strip()]
    read = [face for record in result.records for face in record.faces]
    assert len(stated) == len(read) + result.lost.counts.get("bad_row", 0) + result.notes.counts.get("duplicate_row", 0)
    assert len(result.records) + len(dropped) == 4 - len(gone)
    assert result.dropped.counts.get("missing_image", 0) == len(gone - unlabeled)
    without_name = sum(not face.attributes for face in read)
    is_stated = names or len({row.split()[0] for row in stated if is_row(row)}) > 1
    assert result.lost.counts.get("class_without_name", 0) == (without_name if is_stated else 0)
