"""Faces that were cut out before the training, joined to the annotations of their photos."""

from dataclasses import replace
from pathlib import Path

import pytest

from components.shared.dataset.annotations import Annotations, Face, Image, Keypoint, digest, write_annotations
from components.shared.dataset.crops import ANNOTATIONS, digest_with_crops, has_crops, on_crops, write_none
from components.shared.dataset.info import CropInfo, DatasetInfo
from serving.runtime.errors import InputError

PHOTO = Image(
    1,
    "group.jpg",
    640,
    480,
    (Face(7, (300.0, 100.0, 50.0, 60.0), {"mask": "worn"}), Face(9, (20.0, 30.0, 40.0, 50.0), {"mask": "absent"})),
    person="scene 3",
    split="train",
    fold=2,
    sha256="00",
)
TEST = Image(2, "test.jpg", 640, 480, (Face(11, (1.0, 1.0, 9.0, 9.0), {}),), split="test")
POINTS = (Keypoint(20.0, 30.0, 2),)


def crops(*faces: int) -> Annotations:
    """Crops of 70 x 80, in another order than the faces; their attributes are older than those of the photos."""
    images = tuple(
        Image(
            40 - face,
            f"{face}.png",
            70,
            80,
            (Face(face, (10.0, 10.0, 50.0, 60.0), {"mask": "old"}, POINTS),),
            sha256="ff",
            source="group.jpg",
            photo_sha256="00",
        )
        for face in faces
    )
    return Annotations(images, keypoint_names=("nose",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_annotations(crops(9, 7, 11), tmp_path / ANNOTATIONS)
    return tmp_path


def test_a_face_is_its_crop_with_the_split_and_labels_of_the_photo(folder: Path) -> None:
    joined = on_crops(Annotations((PHOTO, TEST)), folder)
    assert [image.file_name for image in joined.images] == ["7.png", "9.png"], "the test split is read from photos"
    assert joined.keypoint_names == ("nose",)
    for image, face in zip(joined.images, PHOTO.faces, strict=True):
        assert (image.width, image.height, image.sha256) == (70, 80, "ff")
        assert (image.person, image.split, image.fold) == ("scene 3", "train", 2)
        assert image.faces == (Face(face.id, (10.0, 10.0, 50.0, 60.0), face.attributes, POINTS),)


def test_a_face_without_a_crop_is_named(tmp_path: Path) -> None:
    write_annotations(crops(9), tmp_path / ANNOTATIONS)
    with pytest.raises(InputError, match=r"face 7 of group.jpg has no crop; cut the crops from the annotations"):
        on_crops(Annotations((PHOTO,)), tmp_path)


@pytest.mark.parametrize("other", [replace(PHOTO, sha256="01"), replace(PHOTO, sha256=None, source="raw/group.jpg")])
def test_a_crop_of_another_photo_is_refused(folder: Path, other: Image) -> None:
    with pytest.raises(InputError, match=r"face 7 of group.jpg: its crop 7.png is not known to show this photo"):
        on_crops(Annotations((other,)), folder)
    assert on_crops(Annotations((replace(PHOTO, sha256=None),)), folder).images


def test_faces_that_were_allowed_to_fail_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    info = DatasetInfo(crops=CropInfo(failed=(7,)))
    write_annotations(replace(crops(9), info=info), tmp_path / ANNOTATIONS)
    assert [image.file_name for image in on_crops(Annotations((PHOTO,)), tmp_path).images] == ["9.png"]
    assert "1 of 2 faces could not be cropped and are left out" in caplog.text


def test_a_folder_that_was_written_without_crops_holds_none(tmp_path: Path, folder: Path) -> None:
    empty = tmp_path / "empty"
    write_none(empty)
    assert list(empty.iterdir()), "an object store keeps no empty folders"
    assert [has_crops(one) for one in (None, empty, folder)] == [False, False, True]


def test_the_digest_of_the_data_covers_the_crops(tmp_path: Path, folder: Path) -> None:
    file = tmp_path / "faces.json"
    write_annotations(Annotations((PHOTO,)), file)
    assert digest_with_crops(file, None) == digest_with_crops(file, tmp_path / "none") == digest(file)
    first = digest_with_crops(file, folder)
    write_annotations(crops(7, 9), folder / ANNOTATIONS)
    assert len({first, digest_with_crops(file, folder), digest(file)}) == 3
