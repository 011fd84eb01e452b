"""Crops of faces as pictures of their own: names, sizes, pixels, and annotations that follow."""

import hashlib
import io
import json
import logging
import math
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from components.crop_faces import crop_faces as module
from components.crop_faces.crop_faces import ANNOTATIONS, crop_faces
from components.shared.dataset.annotations import (
    Annotations,
    Face,
    Image,
    Keypoint,
    read_annotations,
    write_annotations,
)
from components.shared.dataset.archive import ArchiveWriter, ImageArchive
from components.train_classifier.augmentations.build import make_augmentation
from components.train_classifier.config.augmentation import AugmentationSpec
from components.train_classifier.config.training import IMAGENET
from serving.runtime.card import CropRule, InputSize
from serving.runtime.errors import InputError

HEIGHT, WIDTH = 200, 256
POINTS = ("left_eye", "right_eye", "nose")


def pixels(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(30, 220, (8, 9, 3), dtype=np.uint8)
    return np.asarray(Picture.fromarray(coarse).resize((width, height), Picture.Resampling.BICUBIC))


def encoded(picture: np.ndarray, kind: str = "PNG", orientation: int | None = None) -> bytes:
    buffer, options = io.BytesIO(), dict[str, Any]()
    if orientation:
        exif = Picture.Exif()
        exif[274] = orientation
        options["exif"] = exif
    Picture.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def dataset(folder: Path, photos: dict[str, tuple[bytes, list[Face]]], **fields: Any) -> tuple[Path, Path]:
    with ArchiveWriter(folder / "images") as writer:
        for name, (data, _) in photos.items():
            writer.add(name, data)
    images = tuple(
        Image(number, name, WIDTH, HEIGHT, tuple(faces), sha256=hashlib.sha256(data).hexdigest(), **fields)
        for number, (name, (data, faces)) in enumerate(photos.items(), start=1)
    )
    write_annotations(Annotations(images, keypoint_names=POINTS), folder / "in.json")
    return folder / "images", folder / "in.json"


def face(number: int, box: Any = (80.0, 60.0, 50.0, 60.0), **fields: Any) -> Face:
    return Face(number, box, {"mask": "worn"}, **fields)


def opened(folder: Path) -> dict[str, tuple[np.ndarray, Image]]:
    archive, data = ImageArchive(folder), read_annotations(folder / ANNOTATIONS)
    assert set(archive.names) == {image.file_name for image in data.images}
    read = {}
    for image in data.images:
        content = archive.read(image.file_name, image.sha256)
        picture = np.asarray(Picture.open(io.BytesIO(content)).convert("RGB"))
        assert picture.shape == (image.height, image.width, 3) and len(image.faces) == 1
        read[image.file_name] = (picture, image)
    return read


# --- names ---------------------------------------------------------------------------------------------------------


def test_names_mirror_the_photos(tmp_path: Path) -> None:
    data = encoded(pixels())
    faces = iter(range(1, 99))
    counts = {
        "one.jpg": 1,
        "deep/two.v1.2.JPG": 2,
        "a.b.jpeg": 1,
        "plain": 1,
        "a.png": 1,
        "a.webp": 1,
        "two_1.png": 1,
        "two.png": 2,
        "none.png": 0,
    }
    photos = {name: (data, [face(next(faces)) for _ in range(number)]) for name, number in counts.items()}
    report = crop_faces(*dataset(tmp_path, photos), tmp_path / "out", {})
    assert list(opened(tmp_path / "out")) == [
        "one.png",
        *("deep/two.v1.2_1.png", "deep/two.v1.2_2.png"),
        "a.b.png",
        "plain.png",
        "a.png",
        "a.webp.png",
        "two_1.png",
        *("two.png_1.png", "two.png_2.png"),
    ]
    assert (report.crops, report.images, report.without_face) == (10, 8, 1)
    info = json.loads((tmp_path / "out" / ANNOTATIONS).read_text())["info"]
    assert info["skipped_examples"] == {"no_face": ["none.png"]} and info["crops"]["lossless"]


# --- pixels and annotations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_native_crops_have_the_pixels_of_the_upright_photo(tmp_path: Path, kind: str, orientation: int) -> None:
    upright = pixels()
    stored = np.rot90(upright, {1: 0, 6: 1, 3: 2}[orientation])
    data = encoded(stored, kind, orientation)
    decoded = np.rot90(np.asarray(Picture.open(io.BytesIO(data)).convert("RGB")), -{1: 0, 6: 1, 3: 2}[orientation])
    crop_faces(*dataset(tmp_path, {"a.JPG": (data, [face(1, (80.25, 60.0, 50.0, 60.5))])}), tmp_path / "out", {})
    ((picture, image),) = opened(tmp_path / "out").values()
    np.testing.assert_array_equal(picture, decoded[29:151, 55:156])
    assert image.faces[0].box == pytest.approx((25.25, 31.0, 50.0, 60.5))


@pytest.mark.parametrize(
    "box",
    [
        *((-20.0, -30.0, 50.0, 60.0), (230.0, 150.0, 5.0, 5.0), (100.0, 100.0, 90.0, 30.0)),
        *((10.9, 10.9, 20.0, 20.0), (20.3, 40.7, 31.5, 12.1)),
    ],
)
def test_a_native_square_has_background_beyond_the_photo(tmp_path: Path, box: Any) -> None:
    picture = pixels()
    options = {"mode": "square", "background": 5, "scale": 1.5}
    crop_faces(*dataset(tmp_path, {"a.png": (encoded(picture), [face(1, box)])}), tmp_path / "out", options)
    ((crop, image),) = opened(tmp_path / "out").values()
    x, y, width, height = image.faces[0].box or ()
    assert (width, height) == pytest.approx(box[2:])
    half, (center_x, center_y) = max(box[2:]) * 0.75, (x + width / 2, y + height / 2)
    low, high = min(center_x, center_y) - half, max(center_x, center_y) + half
    assert low >= -1e-6 and image.width == image.height == math.ceil(high - 1e-6), "the square is in its crop"
    left, top = round(box[0] - x), round(box[1] - y)
    for row in range(0, image.height, 3):
        for column in range(0, image.width, 3):
            inside = 0 <= top + row < HEIGHT and 0 <= left + column < WIDTH
            expected = picture[top + row, left + column] if inside else (5, 5, 5)
            assert tuple(crop[row, column]) == tuple(expected)


@pytest.mark.parametrize(
    "options",
    [
        {"height": 96, "width": 72},
        {"height": 60, "width": 80, "mode": "square"},
        {"height": 60, "width": 80, "mode": "square", "padding_scale": 0.8},
        {"height": 64, "width": 64, "mode": "fit_inside", "scale": 1.2},
        {"height": 64.0, "width": 64.0, "mode": "short_side", "padding_scale": 0.7, "scale": 1.0},
        {"height": 80, "width": 60, "aspect": 4 / 3, "scale": 1.2},
        {"height": 80, "width": 60, "eyes": [[0.3, 0.4], [0.7, 0.4]]},
        {"mode": "rectangle", "scale": 1.0},
        {"aspect": 1.5},
    ],
)
@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_boxes_and_keypoints_are_where_the_crop_shows_them(tmp_path: Path, options: Any, angle: float) -> None:
    """Three dots in the photo, at the keypoints of the face, are found at its keypoints in the crop."""
    across, down = math.cos(angle) * 12, math.sin(angle) * 12
    points = {(105 - across, 80 - down): "eye", (105 + across, 80 + down): "eye", (105.0, 95.0): "nose"}
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for number, point in enumerate(points):
        dot = 255 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 12)
        photo = np.repeat(dot[:, :, None], 3, axis=2).astype(np.uint8)
        keypoints = tuple(Keypoint(*each, 2) for each in points)
        folder = tmp_path / str(number)
        entry = face(7, keypoints=keypoints, score=0.5)
        crop_faces(*dataset(folder, {"a.png": (encoded(photo), [entry])}), folder / "out", options)
        ((crop, image),) = opened(folder / "out").values()
        rows, columns = np.mgrid[: image.height, : image.width] + 0.5
        weight = crop[:, :, 0].astype(float)
        center = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
        (moved,) = image.faces
        assert moved.keypoints is not None and center == pytest.approx(moved.keypoints[number][:2], abs=0.7)
        assert moved.box is not None and (moved.id, moved.score, moved.attributes) == (7, 0.5, {"mask": "worn"})
        x0, y0, width, height = moved.box
        assert all(x0 <= point.x <= x0 + width and y0 <= point.y <= y0 + height for point in moved.keypoints)


def test_everything_else_of_image_and_face_is_kept(tmp_path: Path) -> None:
    keypoints = (Keypoint(0, 0, 0), Keypoint(110, 80, 1), Keypoint(105, 90, 2))
    entry = face(9, keypoints=keypoints, score=0.25)
    photos = {"a.png": (encoded(pixels()), [entry]), "b.png": (encoded(pixels(1)), [face(3, None)])}
    inputs = dataset(tmp_path, photos, person="p", split="val", fold=2, trainable=False, dhash="0" * 32)
    crop_faces(*inputs, tmp_path / "out", {})
    data = read_annotations(tmp_path / "out" / ANNOTATIONS)
    first, second = data.images
    for image, name in ((first, "a.png"), (second, "b.png")):
        assert (image.person, image.split, image.fold, image.trainable) == ("p", "val", 2, False)
        assert image.source == name and image.dhash is None
        assert image.photo_sha256 == hashlib.sha256(photos[name][0]).hexdigest() != image.sha256
    assert first.faces[0].keypoints == (Keypoint(0, 0, 0), Keypoint(55, 50, 1), Keypoint(50, 60, 2))
    assert second.faces[0].box is None and (second.width, second.height) == (WIDTH, HEIGHT)
    assert data.keypoint_names == POINTS and data.info.counts.faces == 2


def test_a_jpeg_is_asked_for_and_flagged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inputs = dataset(tmp_path, {"a.png": (encoded(pixels()), [face(1)])})
    crop_faces(*inputs, tmp_path / "out", {"format": "jpeg"})
    ((name, _),) = opened(tmp_path / "out").items()
    info = read_annotations(tmp_path / "out" / ANNOTATIONS).info
    assert name == "a.jpg" and info.crops is not None and not info.crops.lossless
    assert "other scores" in caplog.text


# --- training on crops ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [{}, {"mode": "square"}, {"mode": "short_side"}, {"eyes": ((0.3, 0.4), (0.7, 0.4))}])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_training_on_native_crops_sees_the_pixels_of_the_photos(tmp_path: Path, rule: Any, kind: str) -> None:
    """Exactly, since the rectangle of the crop rule and the filter's radius are inside the crop."""
    keypoints = (Keypoint(93, 82, 2), Keypoint(117, 78, 2), Keypoint(105, 95, 2))
    data, entry = encoded(pixels(), kind), face(1, keypoints=keypoints)
    crop_faces(*dataset(tmp_path, {"a.jpg": (data, [entry])}), tmp_path / "out", {})
    made = make_augmentation(AugmentationSpec(), InputSize(height=48, width=40), IMAGENET)
    crop = CropRule.model_validate(rule | {"scale": 1.2})
    ((_, image),) = opened(tmp_path / "out").values()
    (moved,) = image.faces
    seen = []
    for content, one in ((data, entry), (ImageArchive(tmp_path / "out").read(image.file_name), moved)):
        points = {name: point[:2] for name, point in zip(POINTS, one.keypoints or (), strict=True)}
        seen.append(made.eval_pixels(content, one.box, crop, keypoints=points).astype(int))
    assert np.abs(seen[0] - seen[1]).max() <= (1 if rule.get("eyes") else 0)


# --- repeatable, cached, bounded -----------------------------------------------------------------------------------


def many(tmp_path: Path) -> tuple[Path, Path]:
    faces = iter(range(1, 99))
    photos = {f"{n}.png": (encoded(pixels(n)), [face(next(faces)) for _ in range(n % 3 + 1)]) for n in range(12)}
    return dataset(tmp_path, photos)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    inputs = many(tmp_path)
    for name, workers in (("a", 1), ("b", 4)):
        crop_faces(*inputs, tmp_path / name, {"height": 32, "width": 32}, workers=workers)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_unchanged_inputs_are_not_cut_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACET_CACHE", str(tmp_path / "cache"))
    inputs = many(tmp_path)
    first = crop_faces(*inputs, tmp_path / "a", {})
    monkeypatch.setattr(module, "_write", None)
    assert crop_faces(*inputs, tmp_path / "b", {}) == first
    assert files(tmp_path / "a") == files(tmp_path / "b")
    with pytest.raises(TypeError):
        crop_faces(*inputs, tmp_path / "c", {"scale": 1.5})
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0" if name == "pillow" else version(name))
    with pytest.raises(TypeError):
        crop_faces(*inputs, tmp_path / "c", {})


@pytest.mark.parametrize("digests", [True, False])
def test_a_folder_of_photos_is_cut_again_unless_its_digests_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: bool
) -> None:
    monkeypatch.setenv("FACET_CACHE", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    (photos / "deep" / "a.png").write_bytes(encoded(pixels()))
    sha256 = hashlib.sha256(encoded(pixels())).hexdigest() if digests else None
    images = (Image(1, "deep/a.png", WIDTH, HEIGHT, (face(1),), sha256=sha256),)
    write_annotations(Annotations(images), tmp_path / "in.json")
    crop_faces(photos, tmp_path / "in.json", tmp_path / "a", {})
    assert list(opened(tmp_path / "a")) == ["deep/a.png"]
    if digests:
        monkeypatch.setattr(module, "_write", None)
    else:
        (photos / "deep" / "a.png").write_bytes(encoded(pixels(1)))
    crop_faces(photos, tmp_path / "in.json", tmp_path / "b", {})
    assert (files(tmp_path / "a") == files(tmp_path / "b")) == digests


def test_a_damaged_member_of_a_zip_of_photos_counts_as_failed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(name, encoded(pixels()))
    content = (tmp_path / "photos.zip").read_bytes()
    (tmp_path / "photos.zip").write_bytes(content[:200] + bytes(100) + content[300:])
    images = tuple(Image(number, f"{'ab'[number - 1]}.png", WIDTH, HEIGHT, (face(number),)) for number in (1, 2))
    write_annotations(Annotations(images), tmp_path / "in.json")
    report = crop_faces(tmp_path / "photos.zip", tmp_path / "in.json", tmp_path / "out", {"max_failed": 1})
    assert (report.failed, report.crops) == ({"truncated": 1}, 1)


def test_faces_that_cannot_be_cropped_are_counted_listed_and_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    photos = {
        "good.png": (encoded(pixels()), [face(1), face(2, (900.0, 10.0, 5.0, 5.0))]),
        "cut.png": (encoded(pixels())[:-500], [face(3)]),
        "empty.png": (b"", [face(4), face(5)]),
        "other.png": (encoded(pixels(0, 50, 60)), [face(6, (5.0, 5.0, 9.0, 9.0))]),
    }
    inputs = dataset(tmp_path, photos)
    with pytest.raises(InputError, match=r"5 of 6 faces could not be cropped: 2 box .*max_failed=5"):
        crop_faces(*inputs, tmp_path / "none", {"max_failed": 4})
    assert not (tmp_path / "none").exists()
    report = crop_faces(*inputs, tmp_path / "out", {"max_failed": 5})
    assert report.failed == {"box": 2, "truncated": 1, "empty": 2} and report.crops == 1
    assert "1 crops of 1 images; 5 faces could not be cropped" in caplog.messages
    assert list(opened(tmp_path / "out")) == ["good_1.png"]
    info = read_annotations(tmp_path / "out" / ANNOTATIONS).info
    assert info.crops is not None and info.crops.failed == (2, 3, 4, 5, 6)
    assert info.lost == report.failed and "cut.png, face 3" in info.lost_examples["truncated"][0]


def test_faces_without_eyes_are_counted(tmp_path: Path) -> None:
    keypoints = (Keypoint(93, 82, 2), Keypoint(117, 78, 2), Keypoint(105, 95, 2))
    photos = {"a.png": (encoded(pixels()), [face(1, keypoints=keypoints), face(2)])}
    options = {"height": 40, "width": 40, "eyes": [[0.3, 0.4], [0.7, 0.4]]}
    assert crop_faces(*dataset(tmp_path, photos), tmp_path / "out", options).unaligned == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 40}, "height and width come together"),
        ({"mode": "square", "padding_scale": 0.8}, "padding_scale scales faces to a size"),
        ({"mode": "short_side"}, "mode short_side scales faces to a size"),
        ({"eyes": [[0.3, 0.4], [0.7, 0.4]]}, "eyes scales faces to a size"),
        ({"heigth": 40}, "heigth"),
        ({"format": "gif"}, "png"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        crop_faces(*dataset(tmp_path, {"a.png": (encoded(pixels()), [face(1)])}), tmp_path / "out", options)


def test_images_of_another_data_set_are_refused(tmp_path: Path) -> None:
    images, _ = dataset(tmp_path / "a", {"a.png": (encoded(pixels()), [face(1)])})
    _, annotations = dataset(tmp_path / "b", {"b.png": (encoded(pixels()), [face(1)])})
    with pytest.raises(InputError, match="1 images of the annotations are not in the image archive"):
        crop_faces(images, annotations, tmp_path / "out", {})
    with pytest.raises(InputError, match="would overwrite the input"):
        crop_faces(images, annotations, images / "out", {})
