"""The COCO tree, read by pycocotools and by our own reader."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from export_samples import (
    BOX,
    EMOTIONS,
    SPLITS,
    again,
    contents,
    data_sets,
    export,
    jpeg,
    labeled,
    mapper,
    originals,
    store,
)
from hypothesis import given, settings
from PIL import Image as Picture
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.label_spaces import label_space
from serving.runtime.errors import InputError


def opened(tree, split):
    """What pycocotools reads; the file is plain ASCII, because pycocotools leaves the encoding to the machine."""
    file = tree / "labels" / split / "annotation.json"
    assert file.read_bytes().isascii()
    return COCO(str(file))


def test_one_coco_file_per_split_with_seven_categories(data, tmp_path):
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


def test_pycocotools_reads_what_the_source_says(data, tmp_path):
    export(data, tmp_path / "tree")
    sources = originals(data)
    original_of = {entry["name"]: sources[entry["original"]] for entry in mapper(tmp_path / "tree")["images"]}
    read = []
    for split in SPLITS:
        coco = opened(tmp_path / "tree", split)
        assert coco.getCatIds() == list(range(1, 8))
        assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == EMOTIONS
        for image in coco.loadImgs(coco.getImgIds()):
            (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
            source = original_of[f"images/{split}/{image['file_name']}"]
            (face,) = source.faces
            assert (image["id"], image["width"], image["height"]) == (source.id, source.width, source.height)
            assert (annotation["id"], tuple(annotation["bbox"])) == (face.id, face.box)
            assert annotation["area"] == face.box[2] * face.box[3]
            assert annotation["iscrowd"] == 0
            assert EMOTIONS[annotation["category_id"] - 1] == face.attributes["emotion"]
            assert image["file_name"].startswith(f"{face.attributes['emotion']}/")
            assert image["id"] in coco.getImgIds(catIds=[annotation["category_id"]])
            read.append(source.file_name)
    assert sorted(read) == sorted(sources)


def average_precision(coco, detections):
    evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


def test_the_ground_truth_as_its_own_detections_scores_one(tmp_path):
    """With several faces of several classes in an image, and a face that has the whole picture as its box."""
    names = {1: ["happy", "sad", "sad"], 2: ["sad"], 3: ["happy", "pain"]}
    boxes = [(1.0, 2.0, 12.5, 11.0), (20.0, 3.0, 9.0, 14.25), (8.0, 18.0, 10.0, 10.0)]
    pairs = [
        (
            Image(
                number,
                f"{number}.jpg",
                40,
                30,
                tuple(
                    Face(10 * number + at, box, {"emotion": name})
                    for at, (name, box) in enumerate(zip(emotions, boxes, strict=False))
                ),
                split="val",
            ),
            jpeg(number),
        )
        for number, emotions in names.items()
    ]
    pairs.append((Image(4, "4.jpg", 40, 30, (Face(40, None, {"emotion": "anger"}),), split="val"), jpeg(4)))
    export(store(tmp_path / "data", pairs), tmp_path / "tree")
    coco = opened(tmp_path / "tree", "val")
    truth = coco.loadAnns(coco.getAnnIds())
    assert len(truth) == 7

    def detections(shift):
        return [
            {
                "image_id": one["image_id"],
                "category_id": one["category_id"],
                "bbox": [one["bbox"][0] + shift, *one["bbox"][1:]],
                "score": 0.5,
            }
            for one in truth
        ]

    assert average_precision(coco, detections(0)) == pytest.approx(1.0)
    assert average_precision(coco, detections(50)) == 0.0
    wrong = [detection | {"category_id": detection["category_id"] % 7 + 1} for detection in detections(0)]
    assert average_precision(coco, wrong) < 0.5


def test_sizes_and_boxes_are_those_of_the_upright_picture(data, tmp_path):
    export(data, tmp_path / "tree")
    export(data, tmp_path / "yolo", layout="yolo_detection")
    coco = opened(tmp_path / "tree", "val")
    for image in coco.imgs.values():
        with Picture.open(tmp_path / "tree/images/val" / image["file_name"]) as picture:
            assert picture.size == (40, 30)
            assert picture.getexif()[0x0112] == 6
        assert (image["width"], image["height"]) == (30, 40)
        assert coco.imgToAnns[image["id"]][0]["bbox"] == list(BOX)
    for frame in ("auto", "upright"):
        for format_name in ("coco", "yolo"):
            tree = tmp_path / ("tree" if format_name == "coco" else "yolo")
            images = again(tree, tmp_path / f"{format_name}-{frame}", format_name, box_frame=frame)
            sizes = {(image.split, image.width, image.height) for image in images.values()}
            assert sizes == {("train", 40, 30), ("val", 30, 40), ("test", 40, 30)}
            assert all(image.faces[0].box == pytest.approx(BOX, abs=1e-4) for image in images.values())


def test_the_coco_file_of_a_split_lists_exactly_the_images_on_disk(data, tmp_path):
    export(data, tmp_path / "tree")
    for split in SPLITS:
        folder = tmp_path / "tree/images" / split
        listed = [image["file_name"] for image in opened(tmp_path / "tree", split).imgs.values()]
        assert sorted(listed) == sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*"))
        assert sorted(child.name for child in folder.iterdir()) == EMOTIONS


@settings(max_examples=60, deadline=None)
@given(pairs=data_sets())
def test_the_coco_round_trip_is_exact(pairs, tmp_path_factory):
    """Label, box, split, person and all other facts of a labeled face come back; what is left out is counted."""
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


@pytest.mark.parametrize("space", ["mask", "gender_age", "mask_gender_age", "all", "age", "mood:좋음,나쁨"])
def test_other_label_spaces_come_back_exactly_too(tmp_path, space):
    facts = [
        {"mask": "worn", "gender": "male", "age": 18, "mood": "좋음"},
        {"mask": "absent", "gender": "female", "age": 60, "mood": "나쁨"},
    ]
    data = store(tmp_path / "data", [labeled(number + 1, attributes) for number, attributes in enumerate(facts)])
    export(data, tmp_path / "tree", label_space=space)
    document = json.loads((tmp_path / "tree/labels/train/annotation.json").read_text())
    assert [category["name"] for category in document["categories"]] == list(label_space(space).class_labels)
    assert all(path.isascii() for path in contents(tmp_path / "tree"))
    images = again(tmp_path / "tree", tmp_path / "out", "coco")
    assert sorted((i.faces[0].attributes for i in images.values()), key=lambda face: face["age"]) == facts
