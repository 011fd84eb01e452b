"""Exported trees as ultralytics itself reads them: with its own checks, loaders and pictures."""

import io
import shutil
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from export_samples import EMOTIONS, export, mapper, store
from heic_pictures import heic
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from PIL import ImageDraw

from components.shared.dataset.annotations import Face, Image, Keypoint, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.choice import ExportOptions, Remarks, choose
from components.shared.dataset.export.faces import write_face_tree
from components.shared.dataset.export.readable import as_yolo_reads
from components.shared.dataset.export.yolo import export_yolo_detection, yolo_row
from components.shared.dataset.label_spaces import label_space
from serving.runtime.errors import InputError
from serving.runtime.image.decode import decode

SPACE = "mask:worn,absent"
COLORS = {"worn": (255, 0, 0), "absent": (0, 255, 0)}
INPUT = 160


@pytest.fixture(scope="module")
def yolo():
    """Its loaders and checks, without the network: the project's own door sets that."""
    import_module("components.train_yolo.library")
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import ClassificationDataset, YOLODataset
    from ultralytics.data.utils import (
        check_cls_dataset,
        check_det_dataset,
        load_dataset_cache_file,
        verify_image_label,
    )
    from ultralytics.utils.patches import imread

    import components.train_yolo.library  # noqa: F401

    return SimpleNamespace(
        get_cfg=get_cfg,
        ClassificationDataset=ClassificationDataset,
        YOLODataset=YOLODataset,
        check_cls_dataset=check_cls_dataset,
        check_det_dataset=check_det_dataset,
        load_dataset_cache_file=load_dataset_cache_file,
        verify_image_label=verify_image_label,
        imread=imread,
    )


def drawn(size, faces, kind="JPEG", orientation=1):
    """A dark photo, `size` wide and high when upright, with a rectangle in the color of its class for every face."""
    picture = Picture.new("RGB", size)
    draw = ImageDraw.Draw(picture)
    for (x, y, w, h), label in faces:
        draw.rectangle((x, y, x + w - 1, y + h - 1), fill=COLORS[label])
    turn = {3: Picture.Transpose.ROTATE_180, 6: Picture.Transpose.ROTATE_90}.get(orientation)
    exif = Picture.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    (picture if turn is None else picture.transpose(turn)).save(file, kind, exif=exif, quality=95)
    return file.getvalue()


def photo(number, name, size, faces, split, **how):
    found = tuple(Face(10 * number + at, box, {"mask": label}) for at, (box, label) in enumerate(faces))
    return Image(number, name, *size, found, split=split, sha256=None), drawn(size, faces, **how)


LANDSCAPE, PORTRAIT = (160, 120), (120, 160)


def photos():
    one, other = ((20, 30, 40, 50), "worn"), ((90, 40, 30, 60), "absent")
    yield photo(1, "plain.jpg", LANDSCAPE, [one], "train")
    yield photo(2, "turned.JPG", PORTRAIT, [other], "train", orientation=6)
    yield photo(3, "upside down.jpeg", LANDSCAPE, [other], "train", orientation=3)
    yield photo(4, "beyond.jpg", LANDSCAPE, [((-15, 90, 60, 60), "worn"), ((130, -9, 70, 40), "absent")], "train")
    yield photo(5, "nobody.jpg", LANDSCAPE, [], "train")
    yield photo(6, "two.png", LANDSCAPE, [one, other], "train", kind="PNG")
    yield photo(7, "얼굴.PNG", PORTRAIT, [one], "val", kind="PNG", orientation=6)
    yield photo(8, "all.jpg", LANDSCAPE, [((0, 0, 160, 120), "absent")], "val")
    yield photo(9, "test.jpg", LANDSCAPE, [one], "test")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return store(tmp_path_factory.mktemp("faces"), photos())


def seen(yolo, tree, split):
    """Yield what a training reads of every picture: pixels (h, w, 3), classes, boxes (left, top, right, bottom).

    Fails when one picture is dropped, or something is said about one.
    """
    facts = yolo.check_det_dataset(tree / "yolo-dataset.yaml")
    dataset = yolo.YOLODataset(facts[split], data=facts, task="detect", imgsz=INPUT, augment=False, batch_size=1)
    pictures = sorted(map(str, (tree / "images" / split).iterdir()))
    assert dataset.im_files == pictures
    scan = yolo.load_dataset_cache_file(tree / f"labels/{split}.cache")
    found, missing, _, corrupt, total = scan["results"]
    assert (found, missing, corrupt, total, scan["msgs"]) == (len(pictures), 0, 0, len(pictures), [])
    for at in range(len(pictures)):
        sample = dataset[at]
        pixels = sample["img"].numpy().transpose(1, 2, 0)
        boxes = sample["bboxes"].numpy() * np.tile(pixels.shape[1::-1], 2)
        middle, half = boxes[:, :2], boxes[:, 2:] / 2
        yield pixels, sample["cls"].numpy().ravel(), np.concatenate([middle - half, middle + half], axis=1)


def rectangles(pixels):
    """Return the label and the box (left, top, right, bottom) of every drawn face."""
    for label, color in COLORS.items():
        rows, columns = (np.abs(pixels.astype(int) - color) < 90).all(axis=2).nonzero()
        if len(rows):
            yield label, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def faces_where_drawn(yolo, tree, split, classes):
    """Return the number of boxes of a split, each of which is that of a drawn face of its class, to a pixel."""
    count = 0
    for pixels, categories, boxes in seen(yolo, tree, split):
        drawn_faces = list(rectangles(pixels))
        assert len(boxes) == len(drawn_faces)
        for label, drawn_box in drawn_faces:
            near = np.abs(boxes - drawn_box).max(axis=1) <= 1
            assert categories[near].tolist() == [classes[label]]
        count += len(boxes)
    return count


@pytest.mark.parametrize(
    ("option", "names", "classes"),
    [
        ("face", {0: "face"}, {"worn": 0, "absent": 0}),
        ("label_space", {0: "worn", 1: "absent"}, {"worn": 0, "absent": 1}),
    ],
)
def test_detection_trees(yolo, faces, tmp_path, option, names, classes):
    tree = tmp_path / "tree"
    report = export(faces, tree, layout="yolo_detection", label_space=SPACE, options={"classes": option})
    assert report.notes == {"background": 1}
    assert yolo.check_det_dataset(tree / "yolo-dataset.yaml")["names"] == names
    counts = {"train": 7, "val": 2, "test": 1}
    assert {split: faces_where_drawn(yolo, tree, split, classes) for split in counts} == counts
    shutil.move(tree, tmp_path / "another")
    assert faces_where_drawn(yolo, tmp_path / "another", "train", classes) == 7


def encoded(picture, kind, orientation=1, **how):
    file, exif = io.BytesIO(), Picture.Exif()
    exif[0x0112] = orientation
    picture.save(file, kind, exif=exif, **how)
    return file.getvalue()


def see_through(picture):
    clear = picture.convert("RGBA")
    clear.putalpha(Picture.new("L", picture.size, 200))
    return clear


PHOTO = Picture.open(io.BytesIO(drawn(LANDSCAPE, [((20, 30, 40, 50), "worn"), ((90, 40, 30, 60), "absent")], "PNG")))
JPEG = encoded(PHOTO, "JPEG", quality=95)
ODD_FILES = {
    "plain.jpeg": (JPEG, ".jpg"),
    "camera.JPE": (JPEG, ".jpg"),
    "no suffix": (JPEG, ".jpg"),
    "phone with a trailer.jpg": (JPEG + b"SEFT", ".jpg"),
    "without its end.jpg": (JPEG[:-2], ".png"),
    "for print.jpg": (encoded(PHOTO.convert("CMYK"), "JPEG", quality=95), ".png"),
    "gray.jpg": (encoded(PHOTO.convert("L"), "JPEG"), ".jpg"),
    "a png.jpg": (encoded(PHOTO, "PNG"), ".png"),
    "see-through.png": (encoded(see_through(PHOTO), "PNG"), ".png"),
    "colors.png": (encoded(PHOTO.quantize(8), "PNG"), ".png"),
    "deep.png": (cv2.imencode(".png", np.array(PHOTO).astype(np.uint16) * 257)[1].tobytes(), ".png"),
    "turned.webp": (encoded(PHOTO, "WEBP", 3, quality=95), ".webp"),
    "turned.heic": (heic(PHOTO, 6), ".png"),
    "turned.avif": (encoded(PHOTO, "AVIF", 3), ".png"),
    "scan.tiff": (encoded(PHOTO, "TIFF", 6), ".png"),
    "animation.gif": (encoded(PHOTO, "GIF"), ".png"),
    "x.ppm": (encoded(PHOTO, "PPM"), ".png"),
    "windows.bmp": (encoded(PHOTO, "BMP"), ".bmp"),
}


def test_a_trainer_reads_every_type_of_photo_as_we_do(yolo, tmp_path):
    pairs = []
    for at, (name, (data, _)) in enumerate(ODD_FILES.items(), start=1):
        height, width = decode(data).shape[:2]
        face = Face(at, (width / 4, height / 4, width / 2, height / 2), {})
        pairs.append((Image(at, name, width, height, (face,), split=("train", "val")[at % 2]), data))
    pairs.append((Image(98, "tiny.png", 9, 30, (), split="train"), encoded(PHOTO.resize((9, 30)), "PNG")))
    pairs.append((Image(99, "held out.jpg", *LANDSCAPE, (), split="test"), JPEG))
    data, tree, remarks = store(tmp_path / "data", pairs), tmp_path / "tree", Remarks()
    splits = ("train", "val")
    chosen = choose(read_annotations(data / "annotations.json"), None, ExportOptions(), remarks, splits)
    archive = ImageArchive(data / "images")
    kept, paths = export_yolo_detection(tree, chosen, archive, None, remarks, splits=splits, convert=as_yolo_reads)
    assert {name: path[-5:].partition(".")[2] for name, path in paths.items()} == {
        name: suffix[1:] for name, (_, suffix) in ODD_FILES.items()
    }
    assert (remarks.left_out.examples, remarks.notes.counts) == ({"too_small_for_yolo": ["tiny.png"]}, {})
    assert sum(len(boxes) for split in splits for _, _, boxes in seen(yolo, tree, split)) == len(kept) == len(ODD_FILES)
    facts = yolo.check_det_dataset(tree / "yolo-dataset.yaml")
    assert "test" not in facts
    for choice in kept:
        expected = decode(archive.read(choice.image.file_name)).astype(int)
        assert np.abs(yolo.imread(tree / paths[choice.image.file_name])[..., ::-1] - expected).max() <= 3


def test_a_picture_that_cannot_be_converted_is_named(tmp_path):
    data = store(tmp_path / "data", [(Image(1, "broken.jpg", 40, 30, (), split="train"), JPEG[:-400])])
    chosen = choose(read_annotations(data / "annotations.json"), None, ExportOptions(), Remarks())
    with pytest.raises(InputError, match=r"data/images: 'broken.jpg': the JPEG is damaged or cut short"):
        export_yolo_detection(
            tmp_path / "tree", chosen, ImageArchive(data / "images"), None, Remarks(), convert=as_yolo_reads
        )


sides = st.integers(10, 9000)
corners = st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5)).map(sorted)


@settings(max_examples=300, deadline=None)
@given(
    boxes=st.lists(st.tuples(corners, corners), max_size=4), width=st.integers(10, 9000), height=st.integers(10, 9000)
)
def test_no_label_is_thrown_out(yolo, label_file, boxes, width, height):
    """Whatever the box, its row is accepted: 5 columns, shares from 0 to 1, and back within a pixel."""
    boxes = [(x[0] * width, y[0] * height, (x[1] - x[0]) * width, (y[1] - y[0]) * height) for x, y in boxes]
    rows = {row: box for box in boxes if (row := yolo_row(box, width, height)) is not None}
    label_file.with_suffix(".txt").write_text("".join(f"{row}\n" for row in rows))
    result = yolo.verify_image_label((label_file, label_file.with_suffix(".txt"), "", False, 1, 0, 0, False))
    labels, message = result[1], result[-1]
    assert message == ""
    assert labels.shape == (len(rows), 5)
    assert ((labels >= 0) & (labels <= 1)).all()
    for row, box in rows.items():
        center, size = np.array(row.split()[1:], float).reshape(2, 2) * (width, height)
        ends = np.clip([box[:2], np.add(box[:2], box[2:])], 0, (width, height))
        assert np.abs([center - size / 2 - ends[0], center + size / 2 - ends[1]]).max() < 1


@pytest.fixture(scope="module")
def label_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("label") / "photo.jpg"
    file.write_bytes(JPEG)
    return file


def classified(yolo, root, split):
    """The class of every picture of a split by its name, as a training reads them."""
    dataset = yolo.ClassificationDataset(str(root / split), yolo.get_cfg(overrides={"imgsz": 32}), prefix=split)
    assert len(dataset) == len([*(root / split).rglob("*.*")])
    assert all(dataset[at]["img"].shape == (3, 32, 32) for at in range(len(dataset)))
    return {path.rpartition("/")[2]: index for path, index, *_ in dataset.samples}


def test_classification_trees(yolo, data, tmp_path):
    export(data, tmp_path / "tree", layout="yolo_classification")
    shutil.move(tmp_path / "tree", tmp_path / "moved")
    root = tmp_path / "moved/images"
    facts = yolo.check_cls_dataset(root)
    assert list(facts["names"].values()) == EMOTIONS
    entries = {entry["name"]: entry for entry in mapper(tmp_path / "moved")["images"]}
    for split in ("train", "val", "test"):
        expected = {
            path.rpartition("/")[2]: EMOTIONS.index(entry["class"])
            for path, entry in entries.items()
            if entry["split"] == split
        }
        assert len(expected) == 7
        assert classified(yolo, root, split) == expected


def test_trees_of_faces(yolo, tmp_path):
    """Classes are numbered in the order of the label space, which is not that of the alphabet."""
    space = label_space("mask")
    colors = dict(zip(space.class_labels, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), strict=True))
    worn, absent, unknown = (
        Face(number, (x, 20, 30, 40), attributes, keypoints=(Keypoint(x + 15.0, 40.0, 2), Keypoint(0.0, 0.0, 0)))
        for number, x, attributes in ((1, 10, {"mask": "worn"}), (2, 60, {"mask": "absent"}), (3, 110, {}))
    )
    picture = Picture.new("RGB", LANDSCAPE)
    for face in (worn, absent):
        picture.paste(colors[face.attributes["mask"]], tuple(map(int, (*face.box[:2], face.box[0] + 30, 60))))
    photo = encoded(picture, "JPEG", quality=95)
    pairs = [
        (Image(1, "all.jpg", *LANDSCAPE, (worn, absent, unknown), split="train"), photo),
        (Image(2, "val.jpg", *LANDSCAPE, (replace(absent, id=4),), split="val"), photo),
        (
            Image(4, "whole.png", 30, 30, (Face(6, None, {"mask": "incorrect"}),), split="val"),
            encoded(Picture.new("RGB", (30, 30), colors["incorrect"]), "PNG"),
        ),
        (Image(5, "nobody.jpg", *LANDSCAPE, (), split="train"), photo),
    ]
    data, tree, remarks = store(tmp_path / "data", pairs), tmp_path / "tree", Remarks()

    def cut(file, box, points):
        assert points == ({} if box is None else {"nose": (box[0] + 15, 40)})
        pixels = decode(file)
        x, y, w, h = map(int, box or (0, 0, *pixels.shape[1::-1]))
        return pixels[y : y + h, x : x + w]

    chosen = choose(read_annotations(data / "annotations.json"), space, ExportOptions(), remarks)
    counts = write_face_tree(
        tree, chosen, ImageArchive(data / "images"), space.class_labels, cut, remarks, keypoint_names=("nose", "chin")
    )
    assert counts == {
        "train": {"worn": 1, "incorrect": 0, "absent": 1},
        "val": {"worn": 0, "incorrect": 1, "absent": 1},
    }
    assert remarks.left_out.counts == {"unlabeled_face": 1, "no_face": 1}
    root = tree / "images"
    assert yolo.check_cls_dataset(root)["names"] == {0: "00_worn", 1: "01_incorrect", 2: "02_absent"}
    for split, total in (("train", 2), ("val", 2)):
        read = classified(yolo, root, split)
        assert len(read) == total
        for file in (root / split).rglob("*.png"):
            color = colors[space.class_labels[read[file.name]]]
            assert np.abs(decode(file.read_bytes()).mean(axis=(0, 1)) - color).max() < 10


def test_a_face_that_cannot_be_cut_is_named(tmp_path):
    image = Image(1, "a.jpg", *LANDSCAPE, (Face(7, (500, 0, 9, 9), {"mask": "worn"}),), split="train")
    data, space = store(tmp_path / "data", [(image, JPEG)]), label_space("mask")

    def cut(file, box, points):
        raise InputError("the box lies outside the image")

    chosen = choose(read_annotations(data / "annotations.json"), space, ExportOptions(), Remarks())
    with pytest.raises(InputError, match=r"data/images: 'a.jpg', face 7: the box lies outside the image"):
        write_face_tree(tmp_path / "tree", chosen, ImageArchive(data / "images"), space.class_labels, cut, Remarks())
