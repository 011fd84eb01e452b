"""YOLO trees: what is in them, and that they come back."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from export_samples import EMOTIONS, SPLITS, again, contents, data_sets, export, jpeg, mapper, originals, store
from heic_pictures import heic
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from components.ingest.formats.yolo.reader import parse_row
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.export.yolo import yolo_row

sides = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@settings(max_examples=300, deadline=None)
@given(sides, sides, st.integers(1, 12000), st.integers(1, 12000))
def test_coco_and_yolo_boxes_agree_within_a_pixel(across, down, width, height):
    left, right, top, bottom = across[0] * width, across[1] * width, down[0] * height, down[1] * height
    row = yolo_row((left, top, right - left, bottom - top), width, height)
    if row is None:
        assert right - left <= 1e-9 * width or bottom - top <= 1e-9 * height
        return
    assert re.fullmatch(r"0( [01]\.\d{6}){4}", row)
    assert max(float(share) for share in row.split()) <= 1
    x, y, w, h = parse_row(row, None).box
    back = (x * width, y * height, (x + w) * width, (y + h) * height)
    assert back == pytest.approx((left, top, right, bottom), abs=0.03)


@pytest.mark.parametrize(
    ("box", "row"),
    [
        ((10, 20, 40, 30), "0 0.300000 0.700000 0.400000 0.600000"),
        ((0, 0, 100, 50), "0 0.500000 0.500000 1.000000 1.000000"),
        ((-10, -10, 30, 20), "0 0.100000 0.100000 0.200000 0.200000"),
        ((90, 40, 50, 50), "0 0.950000 0.900000 0.100000 0.200000"),
        ((100, 0, 5, 5), None),
        ((0, -9, 5, 5), None),
        (None, None),
    ],
)
def test_rows(box, row):
    assert yolo_row(box, 100, 50) == row


def test_a_detection_data_set(data, tmp_path):
    report = export(data, tmp_path / "tree", layout="yolo_detection")
    files = contents(tmp_path / "tree")
    for split in SPLITS:
        pictures = {Path(path).stem for path in files if Path(path).parent == Path(f"images/{split}")}
        labels = {Path(path).stem for path in files if Path(path).parent == Path(f"labels/{split}")}
        assert pictures == labels
        assert len(pictures) == report.images[split] == 7
    assert len(files) == 2 * 21 + 2
    facts = yaml.safe_load(files["yolo-dataset.yaml"])
    assert facts == {
        "path": "",
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "names": {0: "face"},
    }
    for path, text in files.items():
        if path.startswith("labels/"):
            (row,) = text.decode("ascii").splitlines()
            columns = row.split(" ")
            assert len(columns) == 5
            assert columns[0] == "0"
            assert all(re.fullmatch(r"[01]\.\d{6}", column) and float(column) <= 1 for column in columns[1:])
    images = again(tmp_path / "tree", tmp_path / "out", "yolo")
    assert len(images) == 21
    for entry in mapper(tmp_path / "tree")["images"]:
        image, original = images[entry["name"]], originals(data)[entry["original"]]
        assert (image.split, image.width, image.height) == (original.split, original.width, original.height)
        assert image.faces[0].attributes == {}
        assert image.faces[0].box == pytest.approx(original.faces[0].box, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(pairs=data_sets())
def test_the_yolo_round_trip_is_within_a_pixel(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("round")
    data = store(folder / "data", pairs)
    wanted = {image.file_name: image for image, _ in pairs if all(face.box for face in image.faces)}
    if not any(image.faces for image in wanted.values()):
        return
    report = export(data, folder / "tree", layout="yolo_detection")
    images = again(folder / "tree", folder / "out", "yolo")
    entries = mapper(folder / "tree")["images"]
    assert {entry["original"] for entry in entries} == wanted.keys()
    assert report.left_out == ({"no_box": len(pairs) - len(wanted)} if len(wanted) < len(pairs) else {})
    for entry in entries:
        image, original = images[entry["name"]], wanted[entry["original"]]
        assert image.split == original.split or (image.split, original.split) == ("train", None)
        # Equal rows are one face to every reader of the format.
        boxes = {yolo_row(face.box, original.width, original.height): face.box for face in original.faces}
        for face, box in zip(image.faces, boxes.values(), strict=True):
            assert face.box == pytest.approx(box, abs=1e-3)
    shutil.rmtree(folder)


@st.composite
def label_files(draw):
    """Rows of normalized boxes of emotions inside the picture, for a few pictures of given sizes."""
    pictures = []
    for _ in range(draw(st.integers(1, 4))):
        rows = []
        for _ in range(draw(st.integers(1, 3))):
            (left, right), (top, bottom) = draw(sides), draw(sides)
            width, height = max(right - left, 1e-3), max(bottom - top, 1e-3)
            center = min(left + width / 2, 1 - width / 2), min(top + height / 2, 1 - height / 2)
            rows.append((draw(st.integers(0, 6)), *center, width, height))
        pictures.append((draw(st.sampled_from([(40, 30), (30, 40), (7, 64)])), rows))
    return pictures


@settings(max_examples=30, deadline=None)
@given(pictures=label_files())
def test_yolo_to_coco_keeps_boxes_within_a_pixel_and_classes(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    raw = folder / "raw"
    for part in ("images/train", "labels/train"):
        (raw / part).mkdir(parents=True)
    (raw / "d.yaml").write_text(f"train: images/train\nval: images/train\nnames: {EMOTIONS}\n")
    expected = {}
    for at, (size, rows) in enumerate(pictures):
        (raw / f"images/train/{at}.jpg").write_bytes(jpeg(at, *size))
        lines = list(dict.fromkeys(f"{row[0]} " + " ".join(f"{share:.6f}" for share in row[1:]) for row in rows))
        (raw / f"labels/train/{at}.txt").write_text("\n".join(lines))
        expected[f"images/train/{at}.jpg"] = [
            (
                EMOTIONS[int(row[0])],
                [(float(c) - float(s) / 2) * side for c, s, side in zip(row[1:3], row[3:], size, strict=True)]
                + [float(s) * side for s, side in zip(row[3:], size, strict=True)],
            )
            for row in map(str.split, lines)
        ]
    ingest(str(raw), folder / "images", folder / "annotations.json", format="yolo")
    export(folder, folder / "tree")
    coco = COCO(str(folder / "tree/labels/train/annotation.json"))
    names = {f"images/train/{image['file_name']}": image["id"] for image in coco.imgs.values()}
    entries = mapper(folder / "tree")["images"]
    assert {entry["original"] for entry in entries} == expected.keys()
    for entry in entries:
        annotations = coco.imgToAnns[names[entry["name"]]]
        assert len(annotations) == len(expected[entry["original"]])
        for annotation, (emotion, box) in zip(annotations, expected[entry["original"]], strict=True):
            assert EMOTIONS[annotation["category_id"] - 1] == emotion
            assert annotation["bbox"] == pytest.approx(box, abs=1e-3)
    shutil.rmtree(folder)


def test_a_classification_tree_is_read_back_as_class_folders(data, tmp_path):
    export(data, tmp_path / "tree", layout="yolo_classification")
    assert sorted(contents(tmp_path / "tree"))[0] == "filename_mapper.json"
    images = again(tmp_path / "tree", tmp_path / "out", "class_folder", attribute="emotion")
    for entry in mapper(tmp_path / "tree")["images"]:
        image, original = images[entry["name"]], originals(data)[entry["original"]]
        assert image.split == original.split
        assert image.faces[0].attributes == {"emotion": original.faces[0].attributes["emotion"]}


def test_pictures_that_trainers_skip_keep_their_bytes_and_are_noted(tmp_path):
    happy = {"emotion": "happy"}
    pictures = {"a.heic": heic(np.zeros((30, 40, 3), np.uint8)), "b.jpg": jpeg(2, 9, 30), "c.jpg": jpeg(3)}
    pairs = [
        (Image(at, name, *((9, 30) if at == 2 else (40, 30)), (Face(at, (0, 0, 9, 9), happy),), split="train"), data)
        for at, (name, data) in enumerate(pictures.items(), start=1)
    ]
    data = store(tmp_path / "data", pairs)
    for layout in ("yolo_detection", "yolo_classification"):
        report = export(data, tmp_path / layout, layout=layout)
        assert {name: report.notes.get(name) for name in ("suffix_unknown_to_yolo", "too_small_for_yolo")} == {
            "suffix_unknown_to_yolo": 1,
            "too_small_for_yolo": 1,
        }
        assert set(pictures.values()) <= set(contents(tmp_path / layout).values())
