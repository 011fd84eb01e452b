"""Copies of photos with boxes and labels."""

import io
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from components.shared.prediction.annotate import annotated, copy_names, lines_of, write_copy
from serving.runtime.errors import InputError
from serving.runtime.predictor import FaceResult

EMOTION = {"anger": 0.125, "happy": 0.5, "기쁨": 0.25, "sad": 0.125}
YELLOW = (255, 212, 0)
BOX = (60.0, 50.0, 80.0, 100.0)


def face(box: tuple[float, float, float, float] | None, **heads: dict[str, float]) -> FaceResult:
    return FaceResult(box, 0.75, "box", heads or {"emotion": EMOTION})


def gray(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def yellow(picture: np.ndarray) -> np.ndarray:
    return (np.asarray(picture) == YELLOW).all(axis=2)


def test_the_most_probable_labels_come_first() -> None:
    assert lines_of(face(None)) == ["happy 0.50", "#2 0.25", "anger 0.12", "sad 0.12"]
    assert lines_of(face(None), 1) == ["happy 0.50"]
    assert lines_of(face(None, mask={"worn": 0.75, "absent": 0.25}, age={"<30": 0.5, ">=60": 0.5})) == [
        "worn 0.75", "<30 0.50"]  # fmt: skip
    assert lines_of(FaceResult(BOX, 0.75, "detector", {})) == ["0.75"]


@pytest.mark.parametrize(("height", "width"), [(24, 18), (48, 48), (240, 320), (512, 384), (3000, 2000)])
@pytest.mark.parametrize("share", [None, (0.3, 0.3, 0.4, 0.5), (0.0, 0.0, 1.0, 1.0), (0.8, 0.8, 0.4, 0.4)])
def test_text_is_inside_and_readable_at_any_size(
    height: int, width: int, share: tuple[float, float, float, float] | None
) -> None:
    box = share and (share[0] * width, share[1] * height, share[2] * width, share[3] * height)
    picture = annotated(gray(height, width), [face(box)])
    assert max(picture.size) >= 320 and picture.width * height == picture.height * width
    ground = yellow(annotated(gray(height, width), [face(None)]))
    rows = np.flatnonzero(ground.any(axis=1))
    assert len(rows) >= max(40, 0.08 * picture.height), "four lines of at least ten pixels"
    assert yellow(picture).any()


def test_a_box_is_drawn_where_it_is() -> None:
    found = yellow(annotated(gray(320, 240), [FaceResult(BOX, None, "box", {})]))
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (50, 149, 60, 139)


def test_texts_of_neighbors_lie_apart() -> None:
    boxes = [(40.0, 120.0, 60.0, 80.0), (60.0, 120.0, 60.0, 80.0)]
    together = yellow(annotated(gray(400, 400), [face(box) for box in boxes])).sum()
    alone = [yellow(annotated(gray(400, 400), [face(box)])).sum() for box in boxes]
    assert together > 0.9 * sum(alone)


def test_nothing_is_drawn_on_a_photo_without_a_face_nor_into_the_photo_itself() -> None:
    photo = gray(400, 300)
    assert np.array_equal(np.asarray(annotated(photo, [])), photo)
    annotated(photo, [face(BOX)])
    assert (photo == 128).all()


def test_copies_have_the_names_of_their_photos() -> None:
    names = copy_names(["a/1.jpg", "b/1.jpg", "b/1.png", "c.JPEG"])
    assert {name: str(copy) for name, copy in names.items()} == {
        "a/1.jpg": "a/1.jpg", "b/1.jpg": "b/1.jpg", "b/1.png": "b/1.png.jpg", "c.JPEG": "c.JPEG"}  # fmt: skip
    assert all(isinstance(copy, PurePosixPath) for copy in names.values())
    for paths, message in ((["1.png", "1.png.jpg"], "would both be copied to"), (["../1.jpg"], "leads out"),
                           (["/1.jpg"], "leads out")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            copy_names(paths)


def test_boxes_of_a_photo_that_is_decoded_smaller_are_where_they_are(tmp_path: Path) -> None:
    """A JPEG of more than 100 megapixels is decoded at 4/8."""
    side = 10_001
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", quality=30)
    box = (6000.0, 2000.0, 2000.0, 4000.0)
    write_copy(buffer.getvalue(), [FaceResult(box, None, "box", {})], tmp_path / "copy.jpg")
    with Image.open(tmp_path / "copy.jpg") as copy:
        assert copy.size == (5001, 5001)
        found = np.asarray(copy)[..., 2] < 100
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    edges = (rows[0], rows[-1], columns[0], columns[-1])
    assert all(abs(edge - at) <= 8 for edge, at in zip(edges, (1000, 3000, 3000, 4000), strict=True))
