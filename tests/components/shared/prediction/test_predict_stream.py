"""Models over many photos in parts: what is killed goes on, and everything else changes nothing."""

import fcntl
import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from green_faces import green_photo, write_detector
from PIL import Image
from prediction_models import photo_bytes, write_blinded, write_classifier

from components.shared.prediction import stream
from components.shared.prediction.detect import detect
from components.shared.prediction.ensemble import open_models
from components.shared.prediction.photo_set import GivenFace, GivenPhoto, PhotoSet, bare_photo_set
from components.shared.prediction.stream import finished_parts, predict_stream, predicted_photos
from components.shared.prediction.tables import FoundFaces, write_table
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model

COUNT = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, two classifiers, a detector and a composite."""
    folder = tmp_path_factory.mktemp("stream")
    (folder / "photos").mkdir()
    for n in range(COUNT):
        boxes = [(10 + 7 * n, 20, 30, 40), (150, 60, 60 - n, 50)][: n % 3]
        (folder / f"photos/{n:02d}.png").write_bytes(green_photo(boxes, [255, 200][: len(boxes)]))
    write_classifier(folder / "a", "mask", 1)
    write_classifier(folder / "b", "mask", 2, height=24, width=24)
    write_classifier(folder / "composite/mask", "mask", 1)
    write_detector(folder / "detector")
    write_detector(folder / "composite/detector")
    (folder / "composite/composite.json").write_text(
        json.dumps({"task": "composite", "name": "door", "detectors": ["detector"], "heads": ["mask"]})
    )
    return folder


def addresses(folder: Path, names: str) -> list[str]:
    return [str(folder / name) for name in names.split("+")]


def write(folder: Path, names: str, output: Path, photos: PhotoSet | None = None, **options: object) -> bytes:
    model = open_models(addresses(folder, names), tta=["flip"] if "+" in names else [])
    photos = photos or bare_photo_set(folder / "photos")
    chosen = {"workers": 2, "max_failed": 0} | options
    with finished_parts(output) as parts:
        write_table(predict_stream(model, photos, parts=parts, **chosen), output)  # type: ignore[arg-type]
    return output.read_bytes()


@pytest.mark.parametrize("names", ["a", "a+b", "detector", "composite"])
def test_threads_and_parts_change_no_byte(
    names: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write(folder, names, tmp_path / "one.csv", workers=1)
    assert one == write(folder, names, tmp_path / "many.csv", workers=5)
    monkeypatch.setattr(stream, "PHOTOS_PER_PART", 2)
    assert one == write(folder, names, tmp_path / "parts.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"one.csv", "many.csv", "parts.csv"}, (
        "no folder of parts is left"
    )


_KILLED = """
import os, signal, sys
from pathlib import Path
from components.shared.prediction import stream
from components.shared.prediction.ensemble import open_models
from components.shared.prediction.photo_set import bare_photo_set
from components.shared.prediction.tables import write_table

folder, names, output = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
stream.PHOTOS_PER_PART = 2
model = open_models([str(folder / name) for name in names.split("+")], tta=["flip"] if "+" in names else [])

def until_killed(parts):
    for number, part in enumerate(parts):
        yield part
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)

with stream.finished_parts(output) as parts:
    done = stream.predict_stream(
        model, bare_photo_set(folder / "photos"), workers=1, max_failed=0, parts=parts
    )
    write_table(until_killed(done), output)
"""


@pytest.mark.parametrize("names", ["a+b", "detector", "composite"])
def test_what_was_killed_goes_on_where_it_ended_and_gives_the_same_bytes(
    names: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(folder), names, str(tmp_path / "x.csv")], timeout=60)
    assert killed.returncode == -9
    (kept,) = (tmp_path / ".x.csv.parts").iterdir()
    assert len(list(kept.glob("*.json"))) >= 3 and not (tmp_path / "x.csv").exists()
    photos, read = bare_photo_set(folder / "photos"), Counter[str]()

    class Counted:
        names = photos.pictures.names

        def read(self, name: str, sha256: str | None = None) -> bytes:
            read[name] += 1
            return photos.pictures.read(name, sha256)

    monkeypatch.setattr(stream, "PHOTOS_PER_PART", 2)
    counted = PhotoSet(Counted(), photos.photos)
    again = write(folder, names, tmp_path / "x.csv", counted)
    assert set(read.values()) == {1}, "each photo is read once, for all members and views"
    assert 0 < len(read) <= COUNT - 6, "those of finished parts are not read again"
    assert again == write(folder, names, tmp_path / "whole.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv", "whole.csv"}


def test_parts_of_other_models_options_and_photos_are_not_used(folder: Path, tmp_path: Path) -> None:
    photos, parts = bare_photo_set(folder / "photos"), tmp_path / "parts"
    parts.mkdir()
    options = {"workers": 1, "max_failed": 0, "parts": parts}
    other = PhotoSet(photos.pictures, photos.photos[:5])
    moved = PhotoSet(photos.pictures, [*photos.photos[:-1], _moved(photos)])
    seen = set()
    for names, tta, of in (("a", [], photos), ("a", ["flip"], photos), ("a+b", [], photos), ("a", [], other),
                           ("a", [], moved), ("detector", [], photos)):  # fmt: skip
        list(predict_stream(open_models(addresses(folder, names), tta=tta), of, **options))
        (key,) = [path.name for path in parts.iterdir()]
        seen.add(key)
    assert len(seen) == 6, "each has a folder of its own, and the last is kept"
    (parts / key / "000000.json").write_bytes(b"[{")
    assert list(predict_stream(open_models(addresses(folder, "detector")), photos, **options))
    json.loads((parts / key / "000000.json").read_bytes())


def _moved(photos: PhotoSet) -> GivenPhoto:
    return replace(photos.photos[-1], faces=(GivenFace(COUNT, (1.0, 1.0, 20.0, 20.0)),))


def test_a_photo_that_has_changed_is_another_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(photo_bytes(1))
    before = bare_photo_set(tmp_path).photos
    (tmp_path / "a.png").write_bytes(photo_bytes(2))
    assert before != bare_photo_set(tmp_path).photos


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    with (
        finished_parts(tmp_path / "x.csv"),
        pytest.raises(InputError, match="another process is writing it"),
        finished_parts(tmp_path / "x.csv"),
    ):
        pass


def test_a_folder_that_was_removed_just_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process has ended then, and has removed what is opened here."""
    lock, calls = fcntl.flock, Counter[str]()

    def late(descriptor: int, operation: int) -> None:
        if not calls["removed"]:
            (tmp_path / ".x.csv.parts").rmdir()
            calls["removed"] += 1
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with finished_parts(tmp_path / "x.csv") as parts:
        (parts / "0").mkdir()
        with pytest.raises(InputError, match="another process is writing it"), finished_parts(tmp_path / "x.csv"):
            pass
    assert calls["removed"] and not list(tmp_path.iterdir())


def test_numbers_that_are_none_are_failures(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, level in (("a", 40), ("b", 255), ("c", 90)):
        Image.new("RGB", (60, 60), (0, level, 0) if name != "b" else "white").save(tmp_path / f"photos/{name}.png")
    write_blinded(tmp_path / "one", "mask")
    write_classifier(tmp_path / "other", "mask", 3)
    write_blinded(tmp_path / "composite/mask", "mask")
    write_detector(tmp_path / "composite/detector")
    (tmp_path / "composite/composite.json").write_text(
        json.dumps({"task": "composite", "name": "door", "detectors": ["detector"], "heads": ["mask"]})
    )
    photos = bare_photo_set(tmp_path / "photos")
    for names in ("one", "one+other"):
        done = list(predicted_photos(open_models(addresses(tmp_path, names)), photos, workers=2))
        assert [len(photo.rows) for photo in done] == [1, 0, 1]
        (failure,) = done[1].failures
        assert failure.reason == "not_finite" and "head 'mask' that are not numbers" in failure.message
    boxes = tmp_path / "found"
    boxes.mkdir()
    (boxes / "a.png").write_bytes(green_photo([(10, 20, 30, 40)], [255]))
    composite = open_models(addresses(tmp_path, "composite"))
    ((face,),) = [photo.rows for photo in predicted_photos(composite, bare_photo_set(boxes), workers=1)]
    composite.predict = lambda images: [[replace(face.face, heads={"mask": {"worn": math.nan}})]]
    (photo,) = predicted_photos(composite, bare_photo_set(boxes), workers=1)
    assert not photo.rows and [failure.reason for failure in photo.failures] == ["not_finite"]


def test_a_composite_gives_the_faces_of_the_endpoint_and_photos_without_any(folder: Path) -> None:
    photos, served = bare_photo_set(folder / "photos"), load_model(str(folder / "composite"))
    done = list(predicted_photos(open_models(addresses(folder, "composite")), photos, workers=2))
    assert [photo.path for photo in done] == [photo.path for photo in photos.photos]
    for photo in done:
        (faces,) = served.predict([(Photo((folder / "photos" / photo.path).read_bytes()), [])])
        assert [row.face for row in photo.rows] == faces
        assert [row.face_id for row in photo.rows] == list(range(1, len(faces) + 1))
    assert {len(photo.rows) for photo in done} == {0, 1, 2}


def test_a_detector_gives_the_table_of_the_step(folder: Path, tmp_path: Path) -> None:
    (model,) = [open_models(addresses(folder, "detector"))]
    table, _ = detect(model, folder / "photos", None, split="all", workers=2, max_failed=0)
    (part,) = predict_stream(model, bare_photo_set(folder / "photos"), workers=2, max_failed=0, parts=tmp_path)
    assert not isinstance(part, FoundFaces) and part.task == "detection"
    for one, other in zip(part.images, table.images, strict=True):
        assert one.path == other.path
        for name in ("boxes", "scores", "labels"):
            values = getattr(other.served, name)
            np.testing.assert_array_equal(getattr(one.served, name), values)
            assert getattr(one.served, name).dtype == values.dtype


def test_failures_are_counted_at_the_end_and_the_next_run_has_everything_else(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for n in range(4):
        (tmp_path / f"photos/{n}.png").write_bytes(photo_bytes(n))
    (tmp_path / "photos/1.png").write_bytes(b"no picture")
    for names, noun in (("a", "faces"), ("composite", "photos")):
        photos, output = bare_photo_set(tmp_path / "photos"), tmp_path / f"{names}.csv"
        with pytest.raises(InputError, match=f"1 of 4 {noun} could not .*not_an_image 1.*max_failed=1"):
            write(folder, names, output, photos)
        assert not output.exists()
        lines = write(folder, names, output, photos, max_failed=1).decode().splitlines()
        assert {line.split(",")[2] for line in lines[1:]} == {"0.png", "2.png", "3.png"}
