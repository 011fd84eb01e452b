"""New names and the table that tells the original ones."""

import hashlib
import re
from pathlib import Path

import pytest
from export_samples import EMOTIONS, KOREAN, again, contents, export, jpeg, mapper, originals, photos, store
from hypothesis import given
from hypothesis import strategies as st

from components.shared.dataset.annotations import Face, Image
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.files import ascii_names, class_folders
from components.shared.dataset.label_spaces import label_space
from serving.runtime.errors import InputError


def test_every_image_gets_an_ascii_name_and_keeps_extension_and_bytes(data, tmp_path):
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
def test_the_mapper_covers_every_image_with_split_and_class(data, tmp_path, layout):
    export(data, tmp_path / "tree", layout=layout)
    images = originals(data)
    entries = mapper(tmp_path / "tree")["images"]
    assert {entry["original"] for entry in entries} == images.keys()
    for entry in entries:
        image = images[entry["original"]]
        assert (entry["split"], entry["class"]) == (image.split, image.faces[0].attributes["emotion"])
        assert (tmp_path / "tree" / entry["name"]).is_file()


def test_equal_names_and_bytes_in_two_classes_are_both_exported(tmp_path):
    pairs = [
        (
            Image(
                n, f"{KOREAN[EMOTIONS[n]]}/같은.jpg", 40, 30, (Face(n, None, {"emotion": EMOTIONS[n]}),), split="train"
            ),
            jpeg(1),
        )
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


def test_digests_that_begin_alike_are_told_apart(data):
    images = [Image(n, name, 40, 30, sha256="ab" * 31 + f"{n:02d}") for n, name in enumerate(["a.jpg", "b.png"])]
    assert ascii_names(images, ImageArchive(data / "images")) == {0: f"{'ab' * 8}.jpg", 1: f"{'ab' * 8}-2.png"}


def test_equal_pictures_are_told_apart(tmp_path):
    pairs = [
        (Image(n, name, 40, 30, (Face(n, (1, 1, 9, 9), {}),), split="train"), jpeg(0))
        for n, name in enumerate(["a.jpg", "b.png"], start=1)
    ]
    export(store(tmp_path / "data", pairs), tmp_path / "tree", layout="yolo_detection")
    first, second = (Path(entry["name"]) for entry in mapper(tmp_path / "tree")["images"])
    assert second.stem == f"{first.stem}-2"
    assert (tmp_path / "tree/labels/train" / f"{second.stem}.txt").is_file()


@pytest.mark.parametrize("layout", ["coco", "yolo_detection", "yolo_classification"])
def test_another_picture_of_the_same_name_is_not_exported(layout, tmp_path):
    faces = (Face(1, (1, 1, 9, 9), {"emotion": "sad"}),)
    image = Image(1, "a.jpg", 40, 30, faces, split="train", sha256=hashlib.sha256(jpeg(1)).hexdigest())
    with pytest.raises(InputError, match=r"images: 'a\.jpg' is another picture than .* in the annotations"):
        export(store(tmp_path / "data", [(image, jpeg(2))]), tmp_path / "tree", layout=layout)
    assert not (tmp_path / "tree").exists()
    export(store(tmp_path / "same", [(image, jpeg(1))]), tmp_path / "tree", layout=layout)
    assert [entry["sha256"] for entry in mapper(tmp_path / "tree")["images"]] == [image.sha256]


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


@given(
    st.lists(st.sampled_from(["class_00", "CLASS_01", "class__00", "a/b", "a_b", "A_b", "좋음", "슬픔"]), unique=True)
)
def test_no_two_classes_share_a_folder(labels):
    folders = class_folders(labels)
    assert len({folder.lower() for folder in folders}) == len(labels)
    assert all(folder.isascii() for folder in folders)
