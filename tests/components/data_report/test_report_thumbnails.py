"""Thumbnails and example faces: upright, cropped to the face, limited in number."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from report_pages import MASKS, image, jpeg, report, write

from components.data_report.examples import FACES, PER_CLASS, choose_examples
from components.data_report.statistics import statistics_of
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.label_spaces import label_space
from components.shared.report.thumbnails import SIDE, Thumbnails
from serving.runtime.errors import InputError


def test_thumbnails_stop_when_the_page_is_full(tmp_path: Path) -> None:
    write(tmp_path, [image(1)])
    one = image(1)
    thumbnails = Thumbnails(ImageArchive(tmp_path / "images"))
    uri = thumbnails.whole(one)
    assert uri is not None
    few = Thumbnails(ImageArchive(tmp_path / "images"), max_bytes=2 * len(uri) + 10)
    assert [few.whole(one) is not None for _ in range(4)] == [True, True, False, False] and not few.failed


def pixels(uri: str | None) -> np.ndarray:
    assert uri is not None
    return np.asarray(Picture.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_thumbnails_are_upright(orientation: int, tmp_path: Path) -> None:
    """However a photo lies in its file, its bright corner is shown at the top left."""
    turns = {1: (), 2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (2,), 7: (6,), 8: (4,)}
    upright = np.zeros((200, 300, 3), np.uint8)
    upright[:60, :60] = 255
    stored = Picture.fromarray(upright)
    for turn in turns[orientation]:
        stored = stored.transpose(Picture.Transpose(turn))
    exif = Picture.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=95, exif=exif)
    one = image(1, sha256=None, width=300, height=200, box=(200.0, 100.0, 60.0, 60.0))
    write(tmp_path, [one], contents={one.file_name: buffer.getvalue()})
    thumbnails = Thumbnails(ImageArchive(tmp_path / "images"))
    shown = pixels(thumbnails.whole(one))
    assert shown.shape == (SIDE * 2 // 3, SIDE, 3)
    assert shown[5:15, 5:15].min() > 200 and shown[-20:, -20:].max() < 60 and shown[5:15, -20:].max() < 60


def test_a_face_is_cut_out_with_its_box_drawn(tmp_path: Path) -> None:
    gray = io.BytesIO()
    Picture.new("RGB", (1000, 800), (128, 128, 128)).save(gray, "JPEG")
    box = (400.0, 300.0, 200.0, 100.0)
    one = image(1, sha256=None, width=1000, height=800, box=box)
    write(tmp_path, [one], contents={one.file_name: gray.getvalue()})
    shown = pixels(Thumbnails(ImageArchive(tmp_path / "images")).face(one, box))
    assert shown.shape == (SIDE, SIDE, 3)
    yellow = np.argwhere(shown[..., 0] - shown[..., 2] > 90)
    (top, left), (bottom, right) = yellow.min(axis=0), yellow.max(axis=0)
    # 360 pixels around the box's middle are shown on 120.
    assert np.allclose([left, right, top, bottom], [60 - 33.3, 60 + 33.3, 60 - 16.7, 60 + 16.7], atol=2)
    inside = shown[top + 6 : bottom - 5, left + 6 : right - 5]
    assert abs(inside - 128).max() < 30


def test_examples_show_different_persons_of_every_class() -> None:
    space = label_space("mask")
    images = [image(i, person=f"p{i // 7}", attributes={"mask": MASKS[i % 3]}) for i in range(1, 300)]
    images.append(image(300, attributes={}))
    classes_of = statistics_of(images, space).classes_of
    chosen = choose_examples(images, classes_of, space.class_labels)
    assert [label for label, _ in chosen] == [*MASKS, None]
    for label, faces in chosen[:3]:
        assert len({one.person for one, _ in faces}) == len(faces) == PER_CLASS
        assert {face.attributes["mask"] for _, face in faces} == {label}
    one_person = choose_examples([image(i, person="p") for i in range(1, 30)], dict.fromkeys(range(1, 30), 0), ["worn"])
    assert len({one.id for one, _ in one_person[0][1]}) == PER_CLASS


def test_the_number_of_examples_is_bounded() -> None:
    images = [image(i) for i in range(1, 1001)]
    for classes in (1, 10, 100, 500):
        chosen = choose_examples(images, {i: i % classes for i in range(1, 1001)}, [str(i) for i in range(classes)])
        assert sum(len(faces) for _, faces in chosen) <= FACES
        assert len(chosen) == min(classes, FACES) and all(faces for _, faces in chosen)


def test_images_of_another_data_set_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [image(1)], contents={"001.jpg": jpeg(seed=9)})
    with pytest.raises(InputError, match=r"images: '001\.jpg' is another picture"):
        report(tmp_path)
    assert not (tmp_path / "report").exists()
