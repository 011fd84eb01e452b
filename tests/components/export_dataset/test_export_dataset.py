import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kfp import dsl
from PIL import Image as Picture

from components.export_dataset.component import export_dataset as export_component
from components.export_dataset.export_dataset import LAYOUTS, export_dataset
from components.export_dataset.names import class_folders
from components.export_dataset.yolo import yolo_row
from components.ingest.coco import CocoOptions, read_coco
from components.ingest.ingest import FORMATS, Format, ingest
from components.ingest.yolo import YoloOptions, read_yolo
from components.ingest.yolo_rows import parse_row
from components.shared.dataset.annotations import Annotations, Face, Image, read_annotations, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.label_spaces import label_space
from serving.runtime.errors import InputError

EMOTIONS = ["anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad"]
KOREAN = ["분노", "불안", "당황", "기쁨", "중립", "상처", "슬픔"]
SPLITS = ["train", "val", "test"]
BOX = (3.25, 4.5, 20.125, 1 / 3 + 9)


@pytest.fixture(autouse=True)
def formats(monkeypatch):
    monkeypatch.setitem(FORMATS, "coco", Format(CocoOptions, read_coco))
    monkeypatch.setitem(FORMATS, "yolo", Format(YoloOptions, read_yolo))


def jpeg(seed, width=40, height=30, orientation=1, kind="JPEG"):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    exif = Picture.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    Picture.fromarray(pixels).save(data, kind, exif=exif)
    return data.getvalue()


def photos():
    """Two persons per split and class, with Korean names, a rotated photo, equal names in all classes."""
    for at, (emotion, korean) in enumerate(zip(EMOTIONS, KOREAN, strict=True)):
        for number, split in enumerate(SPLITS):
            seed = 10 * at + number
            turned = number == 1
            name = f"{korean}/사진 & {split}.{'JPG' if number else 'png'}"
            size = (30, 40) if turned else (40, 30)
            image = Image(
                id=seed + 1,
                file_name=name,
                width=size[0],
                height=size[1],
                faces=(
                    Face(seed + 101, (3.25, 4.5, 20.125, 1 / 3 + 9), {"emotion": emotion, "age": 30, "votes": ["x"]}),
                ),
                person=f"p{seed}",
                split=split,
            )
            yield image, jpeg(seed, orientation=(1, 6, 3)[number], kind="JPEG" if number else "PNG")


def store(folder, pairs, info=None):
    pairs = list(pairs)
    with ArchiveWriter(folder / "images") as writer:
        for image, data in pairs:
            writer.add(image.file_name, data)
    write_annotations(Annotations(tuple(image for image, _ in pairs), info or {}), folder / "annotations.json")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return store(tmp_path_factory.mktemp("data"), photos())


def labelled(number, attributes, split="train", **more):
    """One image with one face, and its bytes."""
    face = Face(number, (1, 1, 9, 9), attributes)
    return Image(number, f"{number}.jpg", 40, 30, (face,), split=split, **more), jpeg(number)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def export(data, output, **arguments):
    return export_dataset(data / "images", data / "annotations.json", output, **arguments)


def again(tree, out, format_name, **options):
    """Read an exported tree; the images by the names they have in it."""
    ingest(str(tree), out / "images", out / "annotations.json", format=format_name, options=options)
    return {image.file_name: image for image in read_annotations(out / "annotations.json").images}


def mapper(tree):
    return json.loads((tree / "filename_mapper.json").read_text(encoding="utf-8"))


def originals(data):
    return {image.file_name: image for image in read_annotations(data / "annotations.json").images}


class Index:
    """What pycocotools' COCO builds when it loads a file, by its documented reading."""

    def __init__(self, file):
        document = json.loads(file.read_text(encoding="ascii"))
        assert type(document) is dict
        self.images = {image["id"]: image for image in document["images"]}
        self.categories = {category["id"]: category for category in document["categories"]}
        self.annotations = {annotation["id"]: annotation for annotation in document["annotations"]}
        self.of_image, self.of_category = defaultdict(list), defaultdict(list)
        for annotation in document["annotations"]:
            self.of_image[annotation["image_id"]].append(annotation)
            self.of_category[annotation["category_id"]].append(annotation["image_id"])
        assert len(self.images) == len(document["images"])
        assert len(self.annotations) == len(document["annotations"])


def test_item_16_every_image_gets_an_ascii_name_and_keeps_extension_and_bytes(data, tmp_path):
    export(data, tmp_path / "tree")
    names = {entry["name"]: entry["original"] for entry in mapper(tmp_path / "tree")["images"]}
    files = contents(tmp_path / "tree")
    pictures = {path for path in files if path.startswith("images/")}
    assert pictures == set(names)
    assert len(pictures) == 21
    archived = {image.file_name: content for image, content in photos()}
    for new, original in names.items():
        assert re.fullmatch(r"images/(train|val|test)/[a-z]+/[0-9a-f]{16}\.(jpg|png)", new)
        assert Path(new).suffix == Path(original).suffix.lower()
        assert files[new] == archived[original]


@pytest.mark.parametrize("layout", ["coco", "yolo_detection", "yolo_classification"])
def test_item_17_the_mapper_covers_every_image_with_split_and_class(data, tmp_path, layout):
    export(data, tmp_path / "tree", layout=layout)
    images = originals(data)
    entries = mapper(tmp_path / "tree")["images"]
    assert {entry["original"] for entry in entries} == images.keys()
    for entry in entries:
        image = images[entry["original"]]
        assert (entry["split"], entry["class"]) == (image.split, image.faces[0].attributes["emotion"])
        assert (tmp_path / "tree" / entry["name"]).is_file()


def test_item_18_one_coco_file_per_split_with_seven_categories(data, tmp_path):
    export(data, tmp_path / "tree")
    for split in SPLITS:
        document = json.loads((tmp_path / "tree/labels" / split / "annotation.json").read_text())
        assert [(c["id"], c["name"]) for c in document["categories"]] == list(enumerate(EMOTIONS, start=1))
        assert min(image["id"] for image in document["images"]) >= 1
        assert min(annotation["id"] for annotation in document["annotations"]) >= 1
        for image in document["images"]:
            assert re.fullmatch(r"[a-z]+/[0-9a-f]{16}\.(jpg|png)", image["file_name"])
            assert image["file_name"].split("/")[0] in EMOTIONS
            assert image["date_captured"] == "1970-01-01 00:00:00"


def test_item_19_it_loads_like_pycocotools_reads_it_with_one_annotation_per_image(data, tmp_path):
    export(data, tmp_path / "tree")
    for split in SPLITS:
        index = Index(tmp_path / "tree/labels" / split / "annotation.json")
        assert {len(index.of_image[image_id]) for image_id in index.images} == {1}
        assert index.of_category.keys() == index.categories.keys()
        for annotation in index.annotations.values():
            width, height = annotation["bbox"][2:]
            assert annotation["area"] == width * height
            assert annotation["iscrowd"] == 0
            name = index.categories[annotation["category_id"]]["name"]
            assert index.images[annotation["image_id"]]["file_name"].startswith(f"{name}/")


def test_item_20_sizes_and_boxes_are_those_of_the_upright_picture(data, tmp_path):
    export(data, tmp_path / "tree")
    export(data, tmp_path / "yolo", layout="yolo_detection")
    index = Index(tmp_path / "tree/labels/val/annotation.json")
    for image in index.images.values():
        with Picture.open(tmp_path / "tree/images/val" / image["file_name"]) as picture:
            assert picture.size == (40, 30)
            assert picture.getexif()[0x0112] == 6
        assert (image["width"], image["height"]) == (30, 40)
        assert index.of_image[image["id"]][0]["bbox"] == list(BOX)
    for frame in ("auto", "upright"):
        for format_name in ("coco", "yolo"):
            tree = tmp_path / ("tree" if format_name == "coco" else "yolo")
            images = again(tree, tmp_path / f"{format_name}-{frame}", format_name, box_frame=frame)
            sizes = {(image.split, image.width, image.height) for image in images.values()}
            assert sizes == {("train", 40, 30), ("val", 30, 40), ("test", 40, 30)}
            assert all(image.faces[0].box == pytest.approx(BOX, abs=1e-4) for image in images.values())


sides = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@settings(max_examples=300, deadline=None)
@given(sides, sides, st.integers(1, 12000), st.integers(1, 12000))
def test_item_21_coco_and_yolo_boxes_agree_within_a_pixel(across, down, width, height):
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
def test_item_21_rows(box, row):
    assert yolo_row(box, 100, 50) == row


def test_items_22_to_25_a_detection_data_set(data, tmp_path):
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


def test_item_28_the_coco_file_of_a_split_lists_exactly_the_images_on_disk(data, tmp_path):
    export(data, tmp_path / "tree")
    for split in SPLITS:
        folder = tmp_path / "tree/images" / split
        listed = [
            image["file_name"] for image in Index(tmp_path / "tree/labels" / split / "annotation.json").images.values()
        ]
        assert sorted(listed) == sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*"))
        assert sorted(child.name for child in folder.iterdir()) == EMOTIONS


sizes = st.sampled_from([(40, 30), (30, 40), (7, 64)])


@st.composite
def data_sets(draw):
    """Images with no, one or several faces, some without box, label, person or split."""
    images, face_id = [], 0
    for number in range(draw(st.integers(1, 5))):
        width, height = draw(sizes)
        faces = []
        for _ in range(draw(st.integers(0, 3))):
            face_id += 1
            left, top = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
            box = (left, top, draw(st.floats(1e-3, 1)) * (width - left), draw(st.floats(1e-3, 1)) * (height - top))
            attributes = draw(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "emotion": st.sampled_from(EMOTIONS),
                        "age": st.integers(0, 100),
                        "gender": st.sampled_from(["male", "female"]),
                        "votes": st.lists(st.sampled_from([*EMOTIONS, "unknown"]), max_size=3),
                        "background": st.text("가나 /&x", max_size=5),
                    },
                )
            )
            faces.append(Face(face_id, box, attributes))
        if len(faces) == 1 and draw(st.booleans()):
            faces = [replace(faces[0], box=None)]
        images.append(
            Image(
                id=number + 1,
                file_name=f"{draw(st.sampled_from(KOREAN))}/{number}.jpg",
                width=width,
                height=height,
                faces=tuple(faces),
                person=draw(st.sampled_from([None, "a", "사람", "3"])),
                split=draw(st.sampled_from([None, *SPLITS])),
            )
        )
    same = draw(st.booleans())
    return [(image, jpeg(0 if same else image.id, image.width, image.height)) for image in images]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=data_sets())
def test_the_coco_round_trip_is_exact(pairs, tmp_path_factory):
    """Label, box, split, person and all other facts of a labelled face come back; what is left out is counted."""
    folder = tmp_path_factory.mktemp("round")
    data = store(folder / "data", pairs)
    wanted = {
        image.file_name: replace(image, faces=tuple(face for face in image.faces if "emotion" in face.attributes))
        for image, _ in pairs
    }
    wanted = {name: image for name, image in wanted.items() if image.faces}
    if not wanted:
        with pytest.raises(InputError, match="no image to export as coco"):
            export(data, folder / "tree")
        assert not (folder / "tree").exists()
        return
    report = export(data, folder / "tree")
    entries = mapper(folder / "tree")
    images = again(folder / "tree", folder / "out", "coco")
    assert {entry["original"]: entry["name"] for entry in entries["images"]}.keys() == wanted.keys()
    assert sorted(images) == sorted(entry["name"] for entry in entries["images"])
    for entry in entries["images"]:
        image, original = images[entry["name"]], wanted[entry["original"]]
        assert (image.width, image.height) == (original.width, original.height)
        assert (image.split, image.person) == (original.split, original.person)
        assert [(f.box, f.attributes) for f in image.faces] == [(f.box, f.attributes) for f in original.faces]
    assert sum(report.left_out.values()) == len(pairs) - len(wanted)
    shutil.rmtree(folder)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_inputs_give_equal_bytes_and_inputs_stay(data, tmp_path, layout):
    before = contents(data)
    export(data, tmp_path / "one", layout=layout)
    time.sleep(0.01)
    shutil.copytree(data, tmp_path / "elsewhere")
    export(tmp_path / "elsewhere", tmp_path / "deep/two", layout=layout)
    assert contents(tmp_path / "one") == contents(tmp_path / "deep/two")
    assert contents(data) == before
    assert not list(tmp_path.rglob("*partial*"))


def test_the_same_file_name_in_two_classes_keeps_both_even_with_equal_bytes(tmp_path):
    pairs = [
        (Image(n, f"{KOREAN[n]}/같은.jpg", 40, 30, (Face(n, None, {"emotion": EMOTIONS[n]}),), split="train"), jpeg(1))
        for n in (1, 2, 3)
    ]
    data = store(tmp_path / "data", pairs)
    for layout in ("coco", "yolo_classification"):
        export(data, tmp_path / layout, layout=layout)
        entries = mapper(tmp_path / layout)["images"]
        assert [(entry["original"], entry["class"]) for entry in entries] == sorted(
            (image.file_name, image.faces[0].attributes["emotion"]) for image, _ in pairs
        )
        stems = [Path(entry["name"]).stem for entry in entries]
        assert sorted(stems) == [stems[0][:16], f"{stems[0][:16]}-2", f"{stems[0][:16]}-3"]
    images = again(tmp_path / "coco", tmp_path / "out", "coco")
    assert sorted(image.faces[0].attributes["emotion"] for image in images.values()) == EMOTIONS[1:4]
    assert all(image.faces[0].box is None for image in images.values())


def test_digests_that_begin_alike_are_told_apart(tmp_path):
    names = ["a.jpg", "b.png"]
    pairs = [
        (
            Image(n + 1, name, 40, 30, (Face(n + 1, (1, 1, 9, 9), {}),), split="train", sha256="ab" * 31 + f"{n:02d}"),
            jpeg(n),
        )
        for n, name in enumerate(names)
    ]
    export(store(tmp_path / "data", pairs), tmp_path / "tree", layout="yolo_detection")
    new = [entry["name"] for entry in mapper(tmp_path / "tree")["images"]]
    assert new == [f"images/train/{'ab' * 8}.jpg", f"images/train/{'ab' * 8}-2.png"]
    assert (tmp_path / "tree/labels/train" / f"{'ab' * 8}-2.txt").is_file()


def test_a_classification_tree_is_read_back_as_class_folders(data, tmp_path):
    export(data, tmp_path / "tree", layout="yolo_classification")
    assert sorted(contents(tmp_path / "tree"))[0] == "filename_mapper.json"
    images = again(tmp_path / "tree", tmp_path / "out", "class_folder", attribute="emotion")
    for entry in mapper(tmp_path / "tree")["images"]:
        image, original = images[entry["name"]], originals(data)[entry["original"]]
        assert image.split == original.split
        assert image.faces[0].attributes == {"emotion": original.faces[0].attributes["emotion"]}


@pytest.mark.parametrize("space", ["mask", "gender_age", "mask_gender_age", "all", "age", "mood:좋음,나쁨"])
def test_other_label_spaces_come_back_exactly_too(tmp_path, space):
    facts = [
        {"mask": "worn", "gender": "male", "age": 18, "mood": "좋음"},
        {"mask": "absent", "gender": "female", "age": 60, "mood": "나쁨"},
    ]
    data = store(tmp_path / "data", [labelled(number + 1, attributes) for number, attributes in enumerate(facts)])
    export(data, tmp_path / "tree", label_space=space)
    document = json.loads((tmp_path / "tree/labels/train/annotation.json").read_text())
    assert [category["name"] for category in document["categories"]] == list(label_space(space).class_labels)
    assert all(path.isascii() for path in contents(tmp_path / "tree"))
    images = again(tmp_path / "tree", tmp_path / "out", "coco")
    assert sorted((i.faces[0].attributes for i in images.values()), key=lambda face: face["age"]) == facts


def test_class_folders():
    labels = label_space("mask_gender_age").class_labels
    assert class_folders(EMOTIONS) == EMOTIONS
    assert class_folders(labels)[:3] == ["worn_male_below_30", "worn_male_30-59", "worn_male_from_60"]
    assert len(set(class_folders(labels))) == 18
    assert class_folders(["좋음", "Sad", "sad", "..", "fine"]) == [
        "class_00",
        "class_01",
        "class_02",
        "class_03",
        "fine",
    ]


def test_what_is_left_out_is_counted_and_named(tmp_path):
    happy, sad = {"emotion": "happy"}, {"emotion": "sad"}
    both = Image(8, "8.jpg", 40, 30, (Face(80, (1, 1, 9, 9), happy), Face(81, (9, 9, 9, 9), sad)), split="val")
    half = Image(9, "9.jpg", 40, 30, (Face(90, (1, 1, 9, 9), {}), Face(91, (9, 9, 9, 9), sad)), split="val")
    pairs = [
        labelled(1, happy),
        labelled(2, {}),
        labelled(3, {"emotion": "bored"}),
        labelled(4, sad, split=None),
        labelled(5, sad, split=None, trainable=False),
        (Image(6, "6.jpg", 40, 30, (), split="test"), jpeg(6)),
        (Image(7, "7.jpg", 40, 30, (Face(70, None, happy),), split="test"), jpeg(7)),
        (both, jpeg(8)),
        (half, jpeg(9)),
    ]
    data = store(tmp_path / "data", pairs)
    coco = export(data, tmp_path / "coco")
    assert coco.images == {"train": 2, "val": 2, "test": 1}
    assert coco.faces == 6
    assert coco.left_out == {"no_face": 1, "not_trainable": 1, "unlabelled": 2}
    assert coco.notes == {"class_without_images": 16, "several_classes": 1, "unlabelled_face": 1, "unsplit_to_train": 1}
    assert mapper(tmp_path / "coco")["left_out"] == {
        "no_face": ["6.jpg"],
        "not_trainable": ["5.jpg"],
        "unlabelled": ["2.jpg", "3.jpg"],
    }
    skipped = export(data, tmp_path / "skipped", options={"unsplit": "skip"})
    assert skipped.left_out == coco.left_out | {"unsplit": 1}
    classes = export(data, tmp_path / "classes", layout="yolo_classification")
    assert classes.left_out == coco.left_out | {"several_classes": 1}
    boxes = export(data, tmp_path / "boxes", layout="yolo_detection")
    assert boxes.left_out == {"no_box": 1, "not_trainable": 1}
    assert boxes.notes == {"background": 1, "unsplit_to_train": 1}
    assert sorted(file.read_text().count("\n") for file in (tmp_path / "boxes").glob("labels/*/*.txt")) == [
        0,
        *[1] * 4,
        2,
        2,
    ]


def test_profile_lists(tmp_path):
    pairs = [
        labelled(1, {}, "train", person="b"),
        labelled(2, {}, "train", person="a-1"),
        labelled(3, {}, "val", person="a"),
        labelled(4, {}, None, person="a"),
        labelled(5, {}, None, person="c"),
        labelled(6, {}, "test"),
    ]
    report = export(store(tmp_path / "data", pairs), tmp_path / "lists", layout="profile_lists")
    assert {name: text.decode() for name, text in contents(tmp_path / "lists").items()} == {
        "train.txt": "a-1\nb\nc\n",
        "val.txt": "a\n",
        "test.txt": "",
    }
    assert report.images == {"train": 3, "val": 1}
    assert report.left_out == {"no_person": 1, "unsplit": 1}


def test_lists_are_disjoint_or_refused(tmp_path):
    pairs = [labelled(1, {}, "train", person="x"), labelled(2, {}, "val", person="x")]
    data = store(tmp_path / "data", pairs)
    with pytest.raises(InputError, match=r"1 persons have images in more than one split \(x\)"):
        export(data, tmp_path / "lists", layout="profile_lists")
    nobody = store(tmp_path / "nobody", [labelled(1, {}, "train")])
    with pytest.raises(InputError, match="no image has a person"):
        export(nobody, tmp_path / "lists", layout="profile_lists")
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "voc"}, "unknown layout 'voc'; known: coco, yolo_detection, yolo_classification, profile_lists"),
        ({"label_space": "hats"}, "unknown label space 'hats'"),
        ({"options": {"unsplit": "val"}}, "'unsplit'"),
        ({"options": {"unplit": "skip"}}, "'unplit'.*Known options: unsplit"),
        ({"label_space": "mask"}, "no image to export as coco.*'unlabelled': 21"),
    ],
)
def test_wrong_arguments_are_named_and_leave_nothing(data, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        export(data, tmp_path / "tree", **arguments)
    assert not list(tmp_path.iterdir())


def test_an_output_in_the_input_or_in_use_is_refused_and_nothing_is_deleted(data, tmp_path):
    before = contents(data)
    (tmp_path / "link").symlink_to(data / "images")
    for output in (data / "images", data / "images/tree", data, data / "annotations.json", tmp_path / "link/tree"):
        with pytest.raises(InputError, match="lies in the images|already exists"):
            export(data, output)
    assert contents(data) == before


def test_an_image_that_is_not_in_the_archive_leaves_no_tree(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    images = (*originals(data).values(), replace(labelled(500, {"emotion": "sad"})[0], sha256="0" * 64))
    write_annotations(Annotations(images, {}), tmp_path / "data/annotations.json")
    with pytest.raises(InputError, match=r"no image '500.jpg' in the archive"):
        export(tmp_path / "data", tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_killed_export_leaves_no_tree(data, tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from components.export_dataset import class_tree as module\n"
        "from components.export_dataset.export_dataset import export_dataset\n"
        "write = module.write_images\n"
        "def slow(*arguments):\n"
        "    write(*arguments); print('written', flush=True); time.sleep(60)\n"
        "module.write_images = slow\n"
        "export_dataset(*map(Path, sys.argv[1:]))\n"
    )
    arguments = [sys.executable, "-c", program, data / "images", data / "annotations.json", tmp_path / "tree"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "tree").exists()
    assert export(data, tmp_path / "tree").faces == 21


def test_the_door(data, tmp_path):
    dataset = dsl.Dataset(uri=str(tmp_path / "out" / "dataset"))
    metrics = dsl.Metrics(uri=str(tmp_path / "out" / "metrics"))
    export_component.python_func(
        images=dsl.Dataset(uri=str(data / "images")),
        annotations=dsl.Dataset(uri=str(data / "annotations.json")),
        dataset=dataset,
        metrics=metrics,
        layout="yolo_classification",
    )
    assert (tmp_path / "out/dataset/filename_mapper.json").is_file()
    assert metrics.metadata["images"] == metrics.metadata["faces"] == 21.0
    assert metrics.metadata["val_images"] == 7.0
    assert metrics.metadata["left_out"] == 0.0
    assert all(type(value) is float for value in metrics.metadata.values())
