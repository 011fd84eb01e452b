"""The detector predictor through a real graph whose faces are the green rectangles of drawn pictures."""

import io
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_detector import POINT_SHARES, build_detector, draw_faces

from serving.runtime.card import DetectionThresholds
from serving.runtime.detector import LABEL_HEAD, Detector
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.load import open_model
from serving.runtime.work import AbandonedError, Work

Boxes = list[tuple[int, int, int, int]]


def green(**changes: Any) -> Detector:
    model = open_model(build_detector(**changes), threads=1)
    assert isinstance(model, Detector)
    return model


@pytest.fixture(scope="module")
def detector() -> Detector:
    return green()


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def boxes_of(detector: Detector, photo: Photo, **changes: Any) -> np.ndarray:
    boxes = [face.box for face in detector.detect([photo], **changes)[0]]
    return np.array(sorted(box for box in boxes if box)).reshape(-1, 4)


def test_faces_have_box_score_and_points_in_pixels_of_the_photo(detector: Detector) -> None:
    pixels = draw_faces((300, 500), [(10, 20, 30, 40), (400, 200, 100, 100)], [180, 255])
    first, second = detector.predict([(Photo.of_pixels(pixels), ())])[0]
    assert (first.box, first.score, first.crop, first.heads) == ((400, 200, 100, 100), 1, "detector", {})
    assert second.box == (10, 20, 30, 40) and second.score == pytest.approx(180 / 255)
    expected = [(10 + 30 * x, 20 + 40 * y) for x, y in POINT_SHARES]
    np.testing.assert_allclose(list(second.keypoints.values()), expected, atol=1e-4)


def test_boxes_are_refused_and_no_photo_is_no_result(detector: Detector) -> None:
    photo = Photo.of_pixels(draw_faces((40, 40), []))
    with pytest.raises(InputError, match="takes no boxes"):
        detector.predict([(photo, [(0, 0, 9, 9)])])
    assert detector.detect([]) == [] and detector.detect([photo]) == [[]]


BORDER: Boxes = [(0, 0, 25, 30), (475, 0, 25, 30), (0, 270, 25, 30), (475, 270, 25, 30), (200, 0, 60, 20)]


@pytest.mark.parametrize("kind", [{}, {"stride": None, "side": (240, 320)}, {"color": "BGR"}, {"points": False}])
@pytest.mark.parametrize("shape", [(300, 500), (300, 40), (33, 500)])
def test_faces_at_the_border_are_found_whole_in_every_kind_of_input(kind: dict, shape: tuple[int, int]) -> None:
    boxes = [box for box in BORDER if box[0] + box[2] <= shape[1] and box[1] + box[3] <= shape[0]]
    found = boxes_of(green(**kind), Photo.of_pixels(draw_faces(shape, boxes)))
    np.testing.assert_allclose(found, sorted(boxes), atol=2.1)


def test_the_background_is_where_the_card_puts_the_photo() -> None:
    centered = green(stride=None, side=(240, 320), resize={"position": "center", "background": 9})
    boxes: Boxes = [(10, 10, 20, 20)]
    np.testing.assert_allclose(boxes_of(centered, Photo.of_pixels(draw_faces((100, 60), boxes))), boxes, atol=1)
    outputs = centered.infer([encoded(draw_faces((100, 60), boxes))])
    # 100 x 60 pixels fill 240 x 144 in the middle of 240 x 320.
    np.testing.assert_allclose(outputs["boxes"][0, 0], [88 + 24, 24, 88 + 72, 72], atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("tile", [None, 160])
def test_boxes_and_points_are_in_upright_pixels_for_every_exif_orientation(orientation: int, tile: int | None) -> None:
    detector = green(side=(160, 160))
    boxes: Boxes = [(40, 60, 64, 80), (200, 110, 64, 48)]
    stored = Image.fromarray(draw_faces((180, 280), boxes))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that store an upright picture so
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.asarray(stored), "JPEG", quality=95, exif=exif)
    np.testing.assert_allclose(boxes_of(detector, Photo(data), tile=tile), boxes, atol=4)
    faces = detector.detect([Photo(data)], tile=tile)[0]
    for face in faces:
        assert face.box is not None
        expected = [(face.box[0] + x * face.box[2], face.box[1] + y * face.box[3]) for x, y in POINT_SHARES]
        np.testing.assert_allclose(list(face.keypoints.values()), expected, atol=0.01)


def test_a_hundred_faces_of_a_group_photo_are_found_by_falling_score(detector: Detector) -> None:
    boxes: Boxes = [(15 + 60 * column, 12 + 40 * row, 24, 30) for row in range(10) for column in range(10)]
    levels = np.random.default_rng(3).permutation(np.arange(150, 250)).tolist()
    pixels = draw_faces((420, 620), boxes, levels)
    faces = detector.detect([Photo.of_pixels(pixels)])[0]
    assert [face.box for face in faces] == [boxes[index] for index in np.argsort(levels)[::-1]]
    few = DetectionThresholds(max_detections=7, score=200 / 255)
    assert detector.detect([Photo.of_pixels(pixels)], thresholds=few)[0] == faces[:7]
    strict = DetectionThresholds(score=200 / 255)
    found = detector.detect([Photo.of_pixels(pixels)], thresholds=strict)[0]
    assert found == faces[: sum(level >= 200 for level in levels)]


def test_small_faces_of_a_large_photo_are_found_in_tiles_and_once() -> None:
    detector = green(side=(96, 96))
    places = [(37 + 231 * n % 1900, 11 + 173 * n % 1400) for n in range(20)]
    small: Boxes = [(x, y, 18, 18) for x, y in places if not (880 < x < 1620 and 480 < y < 1120)]
    large = (900, 500, 700, 600)
    pixels = draw_faces((1500, 2000), [large, *small], [255] + [132] * len(small))
    photo = Photo.of_pixels(pixels)
    np.testing.assert_allclose(boxes_of(detector, photo), [large], atol=20)  # scaled down, the small ones vanish
    found = boxes_of(detector, photo, tile=96)
    assert len(found) == 1 + len(small)
    np.testing.assert_allclose(found[found[:, 2] < 100], sorted(small), atol=6)


def test_a_tile_enlarges_and_must_not_be_tiny(detector: Detector) -> None:
    pixels = draw_faces((100, 200), [(50, 50, 12, 12)])
    seen: list[tuple[int, ...]] = []
    run = detector._session.run
    detector._session.run = lambda pixels, work=None: (seen.append(pixels.shape), run(pixels, work))[1]  # type: ignore
    try:
        assert len(boxes_of(detector, Photo.of_pixels(pixels), tile=320)) == 1
    finally:
        detector._session.run = run  # type: ignore[method-assign]
    assert sorted(seen) == [(1, 128, 224, 3), (1, 224, 416, 3)], "as it is, and at 640 / 320"
    with pytest.raises(InputError, match="tile: 31 pixels; expected 32 or more"):
        detector.detect([Photo.of_pixels(pixels)], tile=31)


@pytest.mark.parametrize("shape", [(60, 40), (100, 200), (500, 320), (3, 90)])
@pytest.mark.parametrize("tile", [None, 64])
def test_small_photos_are_enlarged_where_the_card_says_so(shape: tuple[int, int], tile: int | None) -> None:
    enlarging = green(side=(320, 320), resize={"position": "center", "stride": 32, "enlarge": True, "background": 114})
    box = (shape[1] // 4, shape[0] // 4, max(1, shape[1] // 3), max(1, shape[0] // 3))
    seen: list[tuple[int, ...]] = []
    run = enlarging._session.run
    enlarging._session.run = lambda pixels, work=None: (seen.append(pixels.shape), run(pixels, work))[1]  # type: ignore
    found = boxes_of(enlarging, Photo.of_pixels(draw_faces(shape, [box])), tile=tile)
    # The green of an enlarged rectangle fades over a pixel of the photo.
    np.testing.assert_allclose(found, [box], atol=2.5)
    assert all(max(size[1:3]) == 320 and not size[1] % 32 and not size[2] % 32 for size in seen)


@pytest.mark.parametrize("size", [(1, 1), (5, 5), (1, 3000), (3000, 1), (7, 640)])
def test_photos_without_a_face_and_of_any_shape_are_searched(detector: Detector, size: tuple[int, int]) -> None:
    for tile in (None, 64):
        assert detector.detect([Photo.of_pixels(np.zeros((*size, 3), np.uint8))], tile=tile) == [[]]


def test_a_five_pixel_photo_of_nothing_but_a_face_is_one_face(detector: Detector) -> None:
    assert boxes_of(detector, Photo.of_pixels(draw_faces((5, 5), [(0, 0, 5, 5)]))).tolist() == [[0, 0, 5, 5]]


def test_photos_of_different_sizes_give_what_each_gives_alone() -> None:
    detector = green(side=(128, 128))
    rng = np.random.default_rng(1)
    photos = []
    for _ in range(24):
        height, width = rng.integers(20, 200, 2).tolist()
        corner = int(rng.integers(0, width - 10)), int(rng.integers(0, height - 10))
        photos.append(draw_faces((height, width), [(*corner, 10, 10)]))
    together = detector.detect([Photo.of_pixels(pixels) for pixels in photos], tile=100)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda pixels: detector.detect([Photo.of_pixels(pixels)], tile=100)[0], photos))
    assert together == alone and all(len(faces) == 1 for faces in alone)


def test_a_detector_of_several_labels_gives_their_scores_as_a_head() -> None:
    (face,) = green(labels=["worn", "absent"]).detect([Photo.of_pixels(draw_faces((64, 64), [(9, 9, 20, 20)]))])[0]
    assert face.heads == {LABEL_HEAD: {"worn": 1, "absent": 0.5}} and face.score == 1


def test_infer_gives_the_outputs_of_files_in_one_input_size(detector: Detector) -> None:
    files = [encoded(draw_faces(size, [(4, 6, 20, 10)])) for size in ((40, 40), (100, 33))]
    outputs = detector.infer(files)
    assert {name: values.shape[0] for name, values in outputs.items()} == {"boxes": 2, "scores": 2, "points": 2}
    np.testing.assert_allclose(outputs["boxes"][:, 0], [[4, 6, 24, 16]] * 2)
    assert len(detector.infer([])["boxes"]) == 0
    with pytest.raises(InputError, match=r"\(n, 640, 640, 3\), or smaller ones of multiples of 32, got uint8 \(1, 40"):
        detector.infer(np.zeros((1, 40, 64, 3), np.uint8))


def test_nobody_waiting_ends_the_work_between_batches(detector: Detector) -> None:
    photos = [Photo.of_pixels(draw_faces((40, 40), []))]
    with pytest.raises(AbandonedError):
        detector.detect(photos, work=Work(abandoned=True))


def test_files_are_decoded_one_at_a_time() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1200, 1200)).save(buffer, "PNG")
    model = green(side=(256, 256))
    tracemalloc.start()
    model.infer([buffer.getvalue()] * 12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 1200 * 1200 * 3
