"""A training on faces that were cut out before."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from train_samples import config, same_weights

from components.shared.dataset.annotations import Annotations, read_annotations, write_annotations
from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from components.shared.dataset.crops import ANNOTATIONS
from components.shared.models.checkpoint import load_checkpoint
from components.train_classifier.train import train
from serving.runtime.errors import InputError


@pytest.fixture
def crops(dataset: Path, tmp_path: Path) -> Path:
    """Whole photos as crops, under other names, in another order and without labels and splits."""
    photos = ImageArchive(dataset / "images")
    folder = tmp_path / "crops"
    images = []
    with ArchiveWriter(folder) as writer:
        for image in reversed(read_annotations(dataset / "annotations.json").images):
            if image.file_name in photos:
                (face,) = image.faces
                writer.add(f"{face.id}.jpg", photos.read(image.file_name))
                bare = replace(face, attributes={})
                entry = replace(image, file_name=f"{face.id}.jpg", faces=(bare,), person=None, split=None)
                images.append(replace(entry, source=image.file_name, photo_sha256=image.sha256))
    write_annotations(Annotations(tuple(images)), folder / ANNOTATIONS)
    return folder


def test_faces_are_read_from_the_crops_alone(dataset: Path, tmp_path: Path, crops: Path) -> None:
    """Crops that show what the photos show give the same weights, without the photos."""
    annotations = dataset / "annotations.json"
    train(config(), dataset / "images", annotations, tmp_path / "from_photos")
    train(config(), tmp_path / "no photos", annotations, tmp_path / "from_crops", crops=crops)
    one, other = (load_checkpoint(tmp_path / name / "last.pt") for name in ("from_photos", "from_crops"))
    assert same_weights(one, other)
    assert one.dataset_digest != other.dataset_digest, "the crops are data of their own"
    recorded = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("from_photos", "from_crops")]
    assert [each["cropped"] for each in recorded] == [False, True]


def test_an_empty_folder_leaves_everything_as_it_was(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, crops in (("without", None), ("empty crops", tmp_path / "empty")):
        train(config(), dataset / "images", dataset / "annotations.json", tmp_path / name, crops=crops)
    one, other = (load_checkpoint(tmp_path / name / "last.pt") for name in ("without", "empty crops"))
    assert same_weights(one, other) and one.training_digest == other.training_digest


def test_a_face_without_a_crop_stops_the_training(dataset: Path, tmp_path: Path, crops: Path) -> None:
    content = read_annotations(crops / ANNOTATIONS)
    write_annotations(Annotations(content.images[:-1]), crops / ANNOTATIONS)
    with pytest.raises(InputError, match="face 1 of 0.jpg has no crop"):
        train(config(), dataset / "images", dataset / "annotations.json", tmp_path / "out", crops=crops)
