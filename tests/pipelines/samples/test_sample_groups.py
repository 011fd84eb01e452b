"""Drawn group photos: every face in its box, and a detector that finds them."""

import io
from pathlib import Path

import dlib
import numpy as np
import pytest
from PIL import Image

from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.boxes import overlap
from pipelines.command.config import resolve
from pipelines.samples.groups import ANNOTATIONS, draw_groups
from serving.runtime.errors import InputError

PERSONS = 24


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "groups"
    assert draw_groups(folder, persons=PERSONS, seed=3) == len(list(folder.glob("images/*.jpg")))
    return folder


def test_the_seed_determines_the_bytes(drawn: Path, tmp_path: Path) -> None:
    draw_groups(tmp_path / "again", persons=PERSONS, seed=3)
    files = [path.relative_to(drawn) for path in drawn.rglob("*.*")]
    assert all((tmp_path / "again" / file).read_bytes() == (drawn / file).read_bytes() for file in files)


def test_every_person_is_in_one_photo_with_gender_and_age(drawn: Path) -> None:
    images = read_annotations(drawn / ANNOTATIONS).images
    faces = [face for image in images for face in image.faces]
    assert [face.id for face in faces] == list(range(1, PERSONS + 1))
    assert all(2 <= len(image.faces) <= 5 for image in images[:-1])
    genders = [face.attributes["gender"] for face in faces]
    assert genders.count("female") == genders.count("male") == PERSONS // 2
    bands = [(face.attributes["age"] >= 30) + (face.attributes["age"] >= 60) for face in faces]
    assert [bands.count(band) for band in range(3)] == [PERSONS // 3] * 3


def test_dlib_finds_every_face_where_the_annotations_say(drawn: Path) -> None:
    detector = dlib.get_frontal_face_detector()
    for image in read_annotations(drawn / ANNOTATIONS).images:
        found = detector(np.array(Image.open(io.BytesIO((drawn / image.file_name).read_bytes()))), 0)
        boxes = [(box.left(), box.top(), box.width(), box.height()) for box in found]
        assert len(boxes) == len(image.faces)
        assert all(face.box and max(overlap(face.box, box) for box in boxes) > 0.4 for face in image.faces)


def test_the_config_of_that_name_reads_them(drawn: Path, tmp_path: Path) -> None:
    config = resolve("drawn_groups", [], {})
    report = ingest(str(drawn), tmp_path / "images", tmp_path / "faces.json", format=config.format)
    assert report.counts.faces == PERSONS and not report.lost


def test_bad_arguments(drawn: Path) -> None:
    with pytest.raises(InputError, match="persons: expected at least 1, got 0"):
        draw_groups(drawn / "more", persons=0)
    with pytest.raises(InputError):
        draw_groups(drawn, persons=1)
