"""The data of a training: what is refused, what is written, and that ultralytics sees what serving sees."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from yolo_samples import EMOTIONS, SPACE, config, write_dataset

from components.shared.dataset.annotations import Annotations, Image, read_annotations, write_annotations
from components.shared.dataset.archive import ImageArchive
from components.train_yolo.data import Unpacked, check_loaded, labels_of, read_data, unpack
from components.train_yolo.trainers import new_trainer
from components.train_yolo.weights import read_description, start_description
from serving.runtime.card import ClassificationCard, Head, Normalization
from serving.runtime.errors import InputError
from serving.runtime.image.preprocess import decode_crop_resize


def changed(dataset: Path, target: Path, change: Any) -> Path:
    """The annotations with `change` done to each image; those for which it is None are left out."""
    content = read_annotations(dataset / "annotations.json")
    images = tuple(image for image in map(change, content.images) if image is not None)
    write_annotations(Annotations(images, content.info), target)
    return target


def without(split: str) -> Any:
    return lambda image: None if image.split == split else image


def no_faces(split: str) -> Any:
    return lambda image: replace(image, faces=()) if image.split == split else image


def outside(image: Image) -> Image:
    faces = tuple(replace(face, box=(200.0, 10.0, 20.0, 20.0)) for face in image.faces)
    return replace(image, faces=faces) if image.split == "val" else image


def unlabeled(image: Image) -> Image:
    return replace(image, faces=tuple(replace(face, attributes={}) for face in image.faces))


def unboxed(image: Image) -> Image:
    return replace(image, faces=tuple(replace(face, box=None) for face in image.faces))


def unboxed_train(image: Image) -> Image:
    return unboxed(image) if image.split == "train" else image


def half_labeled(image: Image) -> Image:
    """Every picture has a face without a label, which leaves it out."""
    first = image.faces[0] if image.faces else None
    return replace(image, faces=(first, replace(first, id=first.id + 1000, attributes={})) if first else ())


def strange(image: Image) -> Image:
    return replace(image, faces=tuple(replace(face, attributes={"emotion": "hungry"}) for face in image.faces))


@pytest.mark.parametrize(
    ("change", "entries", "message"),
    [
        (without("val"), {}, "the split val has 0 faces.*check that the annotations went through split"),
        (without("train"), {}, "the split train has 0 faces"),
        (no_faces("train"), {}, "the split train has 0 faces"),
        (no_faces("val"), {}, "the split val has 0 faces"),
        (outside, {}, r"val/17.jpg, face \d+: its box \(200, 10, 20, 20\) lies outside the picture, which is 96 x 80"),
        (unlabeled, {"label_space": SPACE}, "has 0 faces with a label of 'emotion:.*and label_space"),
        (unlabeled, {"task": "classify"}, "has 0 faces with a label of"),
        (unboxed, {}, "21 faces of the split train have no box; a detector needs boxes"),
        (unboxed, {"label_space": SPACE}, "21 faces of the split train have no box; a detector needs boxes"),
        (unboxed_train, {}, "21 faces of the split train have no box; a detector needs boxes"),
        (strange, {"task": "classify"}, "train/1.jpg, face 1: .*hungry"),
    ],
)
def test_unusable_data_is_one_message(
    change: Any, entries: dict[str, Any], message: str, dataset: Path, tmp_path: Path
) -> None:
    annotations = changed(dataset, tmp_path / "a.json", change)
    with pytest.raises(InputError, match=message):
        read_data(config(tmp_path, **entries), dataset / "images", annotations)


def test_a_split_without_usable_pictures_is_one_message(dataset: Path, tmp_path: Path) -> None:
    annotations = changed(dataset, tmp_path / "a.json", lambda image: half_labeled(image) if image.faces else None)
    options = config(tmp_path, label_space=SPACE)
    with pytest.raises(InputError, match="has 0 faces .*, and a training needs 2 or more: 23 unlabeled_face"):
        unpack(options, read_data(options, dataset / "images", annotations), tmp_path / "data")


def written(dataset: Path, folder: Path, **entries: Any) -> Unpacked:
    options = config(folder, **entries)
    return unpack(options, read_data(options, dataset / "images", dataset / "annotations.json"), folder / "data")


@pytest.mark.parametrize(("entries", "labels"), [({}, ("face",)), ({"label_space": SPACE}, EMOTIONS)])
def test_detection_has_five_columns_and_never_the_test_split(
    entries: dict[str, Any], labels: tuple[str, ...], dataset: Path, tmp_path: Path
) -> None:
    unpacked = written(dataset, tmp_path, **entries)
    assert unpacked.counts == {"images": {"train": 16, "val": 8}, "faces": {"train": 21, "val": 11}, "left_out": {}}
    rows = [
        line.split() for path in (tmp_path / "data/labels").rglob("*.txt") for line in path.read_text().splitlines()
    ]
    assert len(rows) == 32 and {len(row) for row in rows} == {5}
    assert {int(row[0]) for row in rows} == set(range(len(labels)))
    assert all(0 <= float(number) <= 1 for row in rows for number in row[1:])
    assert {path.name for path in (tmp_path / "data/images").iterdir()} == {"train", "val"}
    assert labels_of(unpacked.address) == dict(enumerate(labels))


def trainer(unpacked: Unpacked, folder: Path, **entries: Any) -> Any:
    options = config(folder, **entries)
    description = start_description(read_description(options.model), options.task, options.model)
    return new_trainer(options, description, unpacked.address, folder / "run", device="cpu", resume=False)


def test_a_picture_that_ultralytics_drops_is_named(dataset: Path, tmp_path: Path) -> None:
    unpacked = written(dataset, tmp_path)
    broken = sorted((tmp_path / "data/images/train").glob("*.jpg"))[3]
    broken.write_bytes(b"no picture")
    made = trainer(unpacked, tmp_path)
    made.model = made.get_model(cfg=read_description(config(tmp_path).model), weights=None)
    loaded = made.build_dataset(str(tmp_path / "data/images/train"), "train", 8)
    faces = sum(len(label["cls"]) for label in loaded.labels)
    with pytest.raises(InputError, match=r"cannot read 1 of 16 pictures of train: train/\d+.jpg"):
        check_loaded(unpacked.address, "train", loaded.im_files, faces)
    with pytest.raises(InputError, match="has loaded 0 faces of the split val, and there are 11"):
        check_loaded(unpacked.address, "val", [str(path) for path in (tmp_path / "data/images/val").iterdir()], 0)


def test_a_classifier_sees_exactly_what_serving_cuts(dataset: Path, tmp_path: Path) -> None:
    """ultralytics' validation scales a picture of the input's size by one, cuts nothing off, and divides by 255."""
    unpacked = written(dataset, tmp_path, task="classify")
    assert unpacked.counts == {"faces": {"train": 21, "val": 11}, "left_out": {"no_face": 1}}
    made = trainer(unpacked, tmp_path, task="classify")
    assert made.data["names"] == dict(enumerate(EMOTIONS))
    options = config(tmp_path, task="classify")
    card = ClassificationCard(
        name="x",
        input=options.input,
        crop=options.crop,
        label_space=SPACE,
        heads=(Head(name="emotion", labels=EMOTIONS),),
        normalization=Normalization(mean=(0, 0, 0), std=(1, 1, 1)),
        leaks=False,
        versions={},
        dataset_digest="",
        training_digest="",
    )
    loaded = made.build_dataset(str(tmp_path / "data/images/val"), "val")
    seen = sorted((np.asarray(sample["img"]).tobytes(), sample["cls"]) for sample in loaded)
    archive, expected = ImageArchive(dataset / "images"), []
    for image in read_annotations(dataset / "annotations.json").images:
        for face in image.faces if image.split == "val" else ():
            pixels = decode_crop_resize(archive.read(image.file_name), face.box, card)
            tensor = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) / 255
            expected.append((tensor.tobytes(), EMOTIONS.index(str(face.attributes["emotion"]))))
    assert seen == sorted(expected)


def test_a_detector_takes_no_crops(dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "crops", train=2, val=2)
    with pytest.raises(InputError, match="a detector is trained on whole photos"):
        read_data(config(tmp_path), dataset / "images", dataset / "annotations.json", tmp_path / "crops")
