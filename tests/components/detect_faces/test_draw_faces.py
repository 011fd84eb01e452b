"""Copies of photos with their faces drawn."""

import io
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from face_samples import GREEN, SIZE, DataSet, encoded, image, png
from PIL import Image as Picture

from components.detect_faces import draw as module
from components.detect_faces.draw import draw_faces
from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from serving.runtime.errors import InputError

BOX = (60, 40, 100, 80)


def drawn(file: Path) -> np.ndarray:
    return np.asarray(Picture.open(file).convert("RGB")).astype(int)


def test_a_photo_is_copied_with_its_boxes(tmp_path: Path) -> None:
    data = DataSet(tmp_path, {"1.png": png([BOX]), "2.png": png([])}, [image(1, (80, 50, 90, 80)), image(2)])
    data.choose(data.detect(GREEN))
    before = (tmp_path / "images" / "images-00000.zip").read_bytes()
    counts = draw_faces(data.images, tmp_path / "chosen.json", tmp_path / "drawn")
    assert counts == {"drawn": 2, "failed": 0}
    assert sorted(file.name for file in (tmp_path / "drawn").iterdir()) == ["1.png.jpg", "2.png.jpg"]
    pixels = drawn(tmp_path / "drawn" / "1.png.jpg")
    assert pixels.shape == (*SIZE, 3)
    yellow, blue = pixels[80, 60], pixels[70, 169]
    assert yellow[:2].min() > 140 and yellow[2] < 100, "the box that was found"
    assert blue[2] > 140 and blue[2] > blue[0] + 50, "the box that it had before"
    assert (tmp_path / "images" / "images-00000.zip").read_bytes() == before


def test_a_folder_tree_of_turned_photos_keeps_its_names(tmp_path: Path) -> None:
    exif = Picture.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos/a").mkdir(parents=True)
    (tmp_path / "photos/a/1.JPG").write_bytes(encoded(np.zeros((40, 60, 3), np.uint8), "JPEG", exif=exif))
    write_annotations(Annotations((Image(1, "a/1.JPG", 40, 60, (Face(1, (5, 5, 20, 30), {}),)),)), tmp_path / "a.json")
    draw_faces(tmp_path / "photos", tmp_path / "a.json", tmp_path / "drawn")
    pixels = drawn(tmp_path / "drawn/a/1.JPG")
    assert pixels.shape == (60, 40, 3) and pixels[20, 5].max() > 100 and pixels[20, 30].max() < 60


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataSet(tmp_path, {"1.png": png([]), "2.png": png([])}, [image(1), image(2)])
    drawing = threading.Event()

    def draw_slowly(photo: Image, _: object, file: Path) -> None:
        if photo.id == 2:
            drawing.set()
            time.sleep(0.3)
            file.mkdir(parents=True)

    def interrupted(results: Iterator[object], *_: object) -> Iterator[object]:
        yield next(results)
        drawing.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_draw_one", draw_slowly)
    monkeypatch.setattr(module, "progress", interrupted)
    before = set(tmp_path.iterdir())
    assert data.annotations is not None
    with pytest.raises(KeyboardInterrupt):
        draw_faces(data.images, data.annotations, tmp_path / "drawn")
    while any(thread.name.startswith("ordered-map") for thread in threading.enumerate()):
        time.sleep(0.01)
    assert set(tmp_path.iterdir()) == before


def test_the_first_photos_of_every_class_are_drawn(tmp_path: Path) -> None:
    genders = ["male", "male", "male", "female", None, "female"]
    faces = [Face(number, None, {"gender": gender} if gender else {}) for number, gender in enumerate(genders, start=1)]
    images = [image(face.id, face) for face in faces]
    data = DataSet(tmp_path, {entry.file_name: png([]) for entry in images}, images)
    assert data.annotations is not None
    for name, options, expected in [
        ("all", {}, "123456"),
        ("first", {"per_class": 2}, "12"),
        ("classes", {"per_class": 2, "label_space": "gender"}, "1246"),
    ]:
        draw_faces(data.images, data.annotations, tmp_path / name, **options)
        assert "".join(sorted(file.name[0] for file in (tmp_path / name).iterdir())) == expected


def test_no_copy_takes_the_name_of_another(tmp_path: Path) -> None:
    entries = [replace(image(number, BOX), file_name=name) for number, name in enumerate(["a.png", "a.png.jpg"], 1)]
    data = DataSet(tmp_path, {entry.file_name: png([BOX]) for entry in entries}, entries)
    assert data.annotations is not None
    with pytest.raises(InputError, match=r"'a.png' and 'a.png.jpg' would both be drawn as 'a.png.jpg'; rename one"):
        draw_faces(data.images, data.annotations, tmp_path / "drawn")
    assert not (tmp_path / "drawn").exists()


def test_what_cannot_be_drawn_is_counted_and_names_stay_inside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = DataSet(tmp_path, {"1.png": png([BOX]), "2.png": b"no picture"}, [image(1, BOX), image(2, None)])
    assert data.annotations is not None
    assert draw_faces(data.images, data.annotations, tmp_path / "drawn") == {"drawn": 1, "failed": 1}
    assert "1 of 2 photos could not be drawn: 1 not_an_image (2.png)" in caplog.text
    with pytest.raises(InputError, match="already exists"):
        draw_faces(data.images, data.annotations, tmp_path / "drawn")
    with pytest.raises(InputError, match="would overwrite"):
        draw_faces(data.images, data.annotations, data.images / "drawn")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("in.jpg", "a/../../out.jpg"):
            archive.writestr(name, encoded(np.zeros((9, 9, 3), np.uint8), "JPEG"))
    (tmp_path / "bad.zip").write_bytes(buffer.getvalue())
    write_annotations(Annotations((Image(1, "a/../../out.jpg", 9, 9),)), tmp_path / "bad.json")
    with pytest.raises(InputError, match="leads out of the folder"):
        draw_faces(tmp_path / "bad.zip", tmp_path / "bad.json", tmp_path / "other")
    assert not (tmp_path / "out.jpg").exists() and not (tmp_path / "other").exists()
