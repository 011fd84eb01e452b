"""How many faces of real photos the known detectors find: `FACET_PHOTOS` names their folder."""

import hashlib
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from detector_photos import LabeledPhoto, SearchedPhoto, found_faces, labeled_photos, scores_by_size, table

from components.shared.models.adopt import adopt, fetch_weights
from serving.runtime.card import DetectionThresholds
from serving.runtime.detector import Detector
from serving.runtime.image.photo import Photo
from serving.runtime.load import open_model
from serving.runtime.predictor import FaceResult

WEIGHTS = {"yunet": "weights/yunet/yunet_n_dynamic.onnx", "ultraface": "weights/linzaer_ultraface/version-RFB-320.onnx"}
TILE = 320


@pytest.fixture(scope="module")
def photos() -> Path:
    if not os.environ.get("FACET_PHOTOS"):
        pytest.skip("FACET_PHOTOS is not set")
    return Path(os.environ["FACET_PHOTOS"])


def adopted(photos: Path, name: str) -> Detector:
    weights = str(photos / WEIGHTS[name])
    model = open_model(adopt(fetch_weights(weights), weights, name=name).content, threads=1)
    assert isinstance(model, Detector)
    return model


def find(detector: Detector, photo: Photo, **changes: object) -> list[FaceResult]:
    return detector.detect([photo], **changes)[0]  # type: ignore[arg-type]


def halves(labeled: list[LabeledPhoto]) -> tuple[list[LabeledPhoto], list[LabeledPhoto]]:
    """Two halves without a common scene: the first is for choosing thresholds, the second for judging them."""
    first = [photo for photo in labeled if hashlib.sha256(photo.scene.encode()).digest()[0] % 2 == 0]
    return first, [photo for photo in labeled if photo not in first]


def above(one: SearchedPhoto, score: float) -> SearchedPhoto:
    """What a detector finds at a higher threshold: suppression lets no box of a lower score decide."""
    boxes = one.boxes
    kept = boxes.scores >= score
    labels = boxes.found_labels[kept]
    return replace(one, boxes=replace(boxes, found=boxes.found[kept], scores=boxes.scores[kept], found_labels=labels))


@pytest.mark.photos
def test_yunet_finds_nine_of_ten_faces_with_a_false_one_in_two_photos(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labeled = labeled_photos(photos)
    results = {}
    for name in WEIGHTS:
        detector = adopted(photos, name)
        for tile in (None, TILE):
            title = name if tile is None else f"{name}, tiles of {tile}"
            found = found_faces(partial(find, detector, tile=tile), labeled)
            results[title] = scores_by_size(found)
    with capsys.disabled():
        print("", *table(results), sep="\n")
    yunet = results["yunet"]["24 px and more"]
    assert yunet.recall >= 0.90 and yunet.false_positives <= 0.5
    for name in WEIGHTS:
        assert results[f"{name}, tiles of {TILE}"]["12 to 24 px"].recall > results[name]["12 to 24 px"].recall


@pytest.mark.photos
def test_the_threshold_of_yunet_is_the_highest_that_finds_nine_of_ten_faces_of_half_of_the_scenes(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = adopted(photos, "yunet")
    steps = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]
    low = DetectionThresholds(score=steps[0], nms_iou=detector.card.thresholds.nms_iou)
    choosing, judging = (
        {step: scores_by_size([above(one, step) for one in found])["24 px and more"] for step in steps}
        for half in halves(labeled_photos(photos))
        for found in [found_faces(partial(find, detector, thresholds=low), half)]
    )
    with capsys.disabled():
        print("\nthreshold: recall and false positives per photo on the half for choosing, and on the other")
        for step in steps:
            print(step, *(f"{one[step].recall:.3f} {one[step].false_positives:.3f}" for one in (choosing, judging)))
    chosen = detector.card.thresholds.score
    assert chosen == max(step for step in steps if choosing[step].recall >= 0.90)
    assert judging[chosen].recall >= 0.90 and judging[chosen].false_positives <= 0.5


@pytest.mark.photos
def test_yunet_finds_what_opencv_finds_with_it(photos: Path) -> None:
    detector = adopted(photos, "yunet")
    thresholds = DetectionThresholds(score=0.6, nms_iou=0.3)
    peer = cv2.FaceDetectorYN.create(str(photos / WEIGHTS["yunet"]), "", (320, 320), 0.6, 0.3, 5000)
    total, same = 0, 0
    for labeled in labeled_photos(photos)[::5]:
        pixels = cv2.imread(str(labeled.file))
        assert pixels is not None
        height, width = pixels.shape[:2]
        peer.setInputSize((width, height))
        rows = peer.detect(pixels)[1]
        expected = np.zeros((0, 15)) if rows is None else rows
        expected[:, 2:4] += expected[:, :2]
        expected[:, :4] = expected[:, :4].clip(0, [width, height, width, height])
        ours = [
            [x, y, x + w, y + h, *np.ravel(list(face.keypoints.values())), face.score]
            for face in find(detector, Photo.of_pixels(np.ascontiguousarray(pixels[..., ::-1])), thresholds=thresholds)
            for x, y, w, h in [face.box or ()]
        ]
        total += max(len(ours), len(expected))
        same += sum(any(np.allclose(face, row, atol=1e-2) for row in expected) for face in ours)
    # OpenCV rounds boxes to whole pixels before it compares them, so a few overlaps are on the other side of the limit.
    assert total > 300 and same >= 0.99 * total
