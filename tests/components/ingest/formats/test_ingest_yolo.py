import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingest.formats.yolo import YoloOptions, parse_row, read_yolo
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face
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


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"images/train/happy/a.jpg": ""}, {}, "no label file.*class_folder"),
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
    files = {"d.yaml": f"train: images\nnames: {names}", "images/a.jpg": "", "labels/a.txt": ROW}
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
        "bad_row": 3,
        "duplicate_row": 1,
        "no_label_file": 1,
        "unknown_class": 1,
    }
    assert result.skipped.counts == {"not_an_image_name": 2, "not_below_images": 1}
    assert result.notes.examples["bad_row"][1] == "labels/some.txt, row 1: 2 columns, expected 5"
    skipped = found(files, background="skip")
    assert {record.path for record in skipped.records} == {"images/some.jpg", "images/two.jpg"}
    assert skipped.skipped.counts["background"] == skipped.skipped.counts["no_label_file"] == 1


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
