"""From the raw folder to the trainer's folder: what holds over all data steps together."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from components.curate.curate import curate
from components.export_dataset.export_dataset import export_dataset
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from components.split.split import split
from pipelines.samples.aihub import draw_aihub_sample

SPLITS = ("train", "val", "test")


def digests(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Drawn AI Hub folders, then ingest, half of the training images, a split by person, and two exports."""
    top = tmp_path_factory.mktemp("chain")
    draw_aihub_sample(top / "raw", layout="folders", persons=32, seed=5)
    before = {name: digest for name, digest in digests(top).items() if name.startswith("raw/")}
    ingest(str(top / "raw"), top / "images", top / "all.json", format="aihub", options={"max_dropped": 0.1})
    archive = digests(top / "images")
    curate(top / "all.json", top / "half.json", [{"sample": {"ratio": 0.5, "label_space": "emotion", "seed": 1}}])
    split(top / "half.json", top / "split.json", label_space="emotion", val_ratio=0.2, test_ratio=0.0, seed=0)
    for layout in ("coco", "yolo_detection"):
        export_dataset(top / "images", top / "split.json", top / layout, layout=layout, label_space="emotion")
    assert {name: digest for name, digest in digests(top).items() if name.startswith("raw/")} == before
    assert digests(top / "images") == archive
    return top


def by_split(file):
    found = {split: [] for split in SPLITS}
    for image in read_annotations(file).images:
        found[image.split].append(image)
    return found


def emotions(images):
    return Counter(image.faces[0].attributes["emotion"] for image in images)


def test_half_of_every_training_class_stays_and_the_test_set_whole(chain):
    before, after = (read_annotations(chain / name).images for name in ("all.json", "half.json"))
    count = {
        (name, part): emotions(image for image in images if (image.split == "train") == (part == "train"))
        for name, images in (("before", before), ("after", after))
        for part in ("train", "rest")
    }
    assert count["after", "train"] == {label: total // 2 for label, total in count["before", "train"].items()}
    assert count["after", "rest"] == count["before", "rest"]


def test_no_image_and_no_person_is_in_two_splits(chain):
    parts = by_split(chain / "split.json")
    assert all(parts.values())
    for fact in (lambda image: image.file_name, lambda image: image.sha256, lambda image: image.person):
        sides = [{fact(image) for image in images} for images in parts.values()]
        assert None not in set.union(*sides)
        assert sum(map(len, sides)) == len(set.union(*sides))
    assert read_annotations(chain / "split.json").info.leaks is False


def test_the_detection_tree_has_a_test_split_of_the_same_pictures(chain):
    """Of every image of val and test, too, there is a picture and a label."""
    parts = by_split(chain / "split.json")
    entries = json.loads((chain / "yolo_detection/filename_mapper.json").read_text(encoding="utf-8"))["images"]
    originals = {entry["name"]: entry["original"] for entry in entries}
    for name in SPLITS:
        pictures = sorted((chain / "yolo_detection/images" / name).iterdir())
        labels = sorted((chain / "yolo_detection/labels" / name).iterdir())
        assert [picture.stem for picture in pictures] == [label.stem for label in labels]
        shown = {originals[str(picture.relative_to(chain / "yolo_detection"))] for picture in pictures}
        assert shown == {image.file_name for image in parts[name]}


def test_the_coco_file_of_a_split_lists_exactly_the_pictures_on_disk(chain):
    for name in SPLITS:
        document = json.loads((chain / "coco/labels" / name / "annotation.json").read_text())
        folder = chain / "coco/images" / name
        files = {file.relative_to(folder).as_posix() for file in folder.rglob("*.*")}
        assert {image["file_name"] for image in document["images"]} == files
        assert Counter(Path(file).parts[0] for file in files) == emotions(by_split(chain / "split.json")[name])
