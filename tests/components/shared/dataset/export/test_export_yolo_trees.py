"""YOLO trees: what a trainer reads in them, and that they come back."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from export_samples import EMOTIONS, SPLITS, again, contents, data_sets, export, jpeg, mapper, originals, store
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from pycocotools.coco import COCO

from components.ingest.formats.yolo.reader import parse_row
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.export.yolo import yolo_row

sides = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


def as_a_trainer_reads(tree, split):
    """Boxes (x, y, width, height in pixels) by image, read by the rules of a plain YOLO detection trainer.

    It finds a label by replacing the last `/images/` of a path, throws out an image that Pillow cannot verify, that is
    smaller than 10 pixels or whose label has another number of columns, a share outside of 0 to 1 or an unknown class,
    and folds equal rows into one. Photos are turned upright before the shares are taken.
    """
    facts = yaml.safe_load((tree / "yolo-dataset.yaml").read_text())
    pictures = sorted((tree / facts["path"] / facts[split]).iterdir())
    found = {}
    for picture in pictures:
        before, after = str(picture).rsplit("/images/", 1)
        label = Path(f"{before}/labels/{after.rsplit('.', 1)[0]}.txt")
        with Picture.open(picture) as stored:
            stored.verify()
            width, height = stored.size[::-1] if stored.getexif().get(0x0112, 1) in (5, 6, 7, 8) else stored.size
        assert min(width, height) > 9
        assert picture.suffix[1:].lower() in ("bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp")
        rows = [row.split() for row in label.read_text().splitlines() if row]
        values = np.array(rows, dtype=np.float32).reshape(-1, 5)
        assert (values >= 0).all() and (values[:, 1:] <= 1).all()
        assert (values[:, 0] < len(facts["names"])).all()
        assert len(np.unique(values, axis=0)) == len(values)
        center, size = values[:, 1:3] * (width, height), values[:, 3:] * (width, height)
        found[str(picture.relative_to(tree))] = np.concatenate([center - size / 2, size], axis=1)
    return found


def test_a_plain_detection_trainer_drops_no_image(tmp_path):
    boxes = {
        "one": [(3.25, 4.5, 20.125, 9.5)],
        "corners": [(0, 0, 10, 10), (30, 20, 10, 10)],
        "whole": [(0, 0, 40, 30)],
        "beyond": [(-9, -9, 60, 45), (35, 25, 20, 20)],
        "thin": [(5, 5, 1e-7, 12)],
        "nobody": [],
    }
    pairs = []
    for at, (name, faces) in enumerate(boxes.items(), start=1):
        size = (30, 40) if at == 1 else (40, 30)
        faces = tuple(Face(10 * at + n, box, {}) for n, box in enumerate(faces))
        pairs.append((Image(at, f"{name}.jpg", *size, faces, split="train"), jpeg(at, orientation=6 if at == 1 else 1)))
    export(store(tmp_path / "data", pairs), tmp_path / "tree", layout="yolo_detection")
    read = as_a_trainer_reads(tmp_path / "tree", "train")
    assert len(read) == len(boxes)
    for entry in mapper(tmp_path / "tree")["images"]:
        expected = np.array(boxes[entry["original"].removesuffix(".jpg")], float).reshape(-1, 4)
        corners = np.concatenate([expected[:, :2], expected[:, :2] + expected[:, 2:]], axis=1)
        limits = [30, 40, 30, 40] if entry["original"] == "one.jpg" else [40, 30, 40, 30]
        clipped = np.clip(corners, 0, limits)
        got = read[entry["name"]]
        assert np.allclose(np.concatenate([got[:, :2], got[:, :2] + got[:, 2:]], axis=1), clipped, atol=0.01)


def test_the_sample_as_a_trainer_reads_it(data, tmp_path):
    export(data, tmp_path / "tree", layout="yolo_detection")
    for split in SPLITS:
        assert [boxes.shape for boxes in as_a_trainer_reads(tmp_path / "tree", split).values()] == [(1, 4)] * 7


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
