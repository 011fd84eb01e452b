"""The detector predictor through a real graph whose faces are the green rectangles of drawn pictures."""

import io

import numpy as np
import pytest
from PIL import Image
from tiny_detector import POINT_SHARES, build_detector, draw_faces

from serving.runtime.detector import Detector, detect_many
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.photo import Photo
from serving.runtime.load import open_model


def green(**changes: object) -> Detector:
    model = open_model(build_detector(**changes), threads=1)  # type: ignore[arg-type]
    assert isinstance(model, Detector)
    return model


@pytest.fixture(scope="module")
def detector() -> Detector:
    return green()


def boxes_of(detector: Detector, photo: Photo, **changes: object) -> np.ndarray:
    return np.array([face.box for face in detector.detect([photo], **changes)[0]])  # type: ignore[arg-type]


def test_faces_have_box_score_and_points_in_pixels_of_the_photo(detector: Detector) -> None:
    pixels = draw_faces((300, 500), [(10, 20, 30, 40), (400, 200, 100, 100)], [180, 255])
    first, second = detector.predict([(Photo.of_pixels(pixels), ())])[0]
    assert (first.box, first.score, first.crop, first.heads) == ((400, 200, 100, 100), 1, "detector", {})
    assert second.box == (10, 20, 30, 40) and second.score == pytest.approx(180 / 255)
    expected = [(10 + 30 * x, 20 + 40 * y) for x, y in POINT_SHARES]
    np.testing.assert_allclose(list(second.keypoints.values()), expected, atol=1e-4)


def test_boxes_are_refused(detector: Detector) -> None:
    photo = Photo.of_pixels(draw_faces((40, 40), []))
    with pytest.raises(InputError, match="takes no boxes"):
        detector.predict([(photo, [(0, 0, 9, 9)])])


def test_many_photos_come_in_order_with_their_errors(detector: Detector) -> None:
    def encoded(count: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(draw_faces((64, 640), [(60 * i, 20, 30, 30) for i in range(count)])).save(file, "PNG")
        return file.getvalue()

    files = [encoded(count) for count in range(9)]
    files[4] = b"no image"
    results = list(detect_many(lambda photo: detector.detect([photo])[0], range(9), files.__getitem__, workers=3))
    assert [item for item, _ in results] == list(range(9))
    for count, faces in results:
        assert isinstance(faces, ImageError) if count == 4 else len(faces) == count  # type: ignore[arg-type]
