"""Views of a face: what is written, and which pixels they show."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from prediction_models import classifier_bytes, photo_bytes

from components.shared.prediction.ensemble import Ensemble
from components.shared.prediction.photo_set import GivenFace
from components.shared.prediction.views import IDENTITY, View, crop_view, parse_views
from serving.runtime.card import ClassificationCard
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.image.preprocess import decode_crop_resize
from serving.runtime.load import open_model
from serving.runtime.predictor import Classifier

EYES = {"left_eye": (30.0, 40.0), "right_eye": (45.0, 45.0)}
BOX = (20.0, 24.0, 30.0, 40.0)


def card(**crop: object) -> ClassificationCard:
    model = open_model(classifier_bytes("mask", crop={"scale": 1.3, "min_decode": 1.0, "frame": None} | crop))
    assert isinstance(model, Classifier)
    return model.card


def test_the_face_itself_is_there_once_and_nothing_else_by_default() -> None:
    assert parse_views([]) == (IDENTITY,)
    views = parse_views(["flip", "scale:1.1", "multiply:0.9", "rotate:-90"])
    assert views == (IDENTITY, View("flip"), View("scale", 1.1), View("multiply", 0.9), View("rotate", 270.0))
    assert [str(view) for view in views] == ["identity", "flip", "scale:1.1", "multiply:0.9", "rotate:270.0"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (["False"], "unknown view 'False'"),
        (["true"], "unknown view 'true'"),
        ([""], "unknown view ''"),
        (["flips"], "unknown view 'flips'.*flip"),
        (["identity"], "'identity' is always there, once"),
        (["scale:1"], "'scale:1' is the face as it is, which is always there, once"),
        (["multiply:1.0"], "is the face as it is"),
        (["rotate:360"], "is the face as it is"),
        (["flip", "flip"], "'flip' occurs twice"),
        (["rotate:180", "rotate:-180"], "'rotate:-180' occurs twice"),
        (["scale:1.1", "scale:1.10"], "'scale:1.10' occurs twice"),
        (["flip:1"], "flip takes no number"),
        (["scale"], "expected a factor from 0.25 to 4 after the colon, such as scale:1.1"),
        (["scale:-1"], "expected a factor"),
        (["multiply:nan"], "expected a factor"),
        (["multiply:1e999"], "expected a factor"),
        (["rotate:inf"], "expected degrees"),
    ],
)
def test_what_is_no_view(written: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_views(written)


RULES = [
    {},
    {"mode": "square"},
    {"mode": "fit_inside"},
    {"mode": "short_side"},
    {"mode": "rectangle"},
    {"eyes": ((0.3, 0.4), (0.7, 0.4))},
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("box", [BOX, None], ids=["box", "whole"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_pixels_of_every_view_under_every_crop_rule(rule: dict, box: tuple | None, kind: str) -> None:
    own, data = card(**rule), photo_bytes(1, (120, 90), kind)
    points = EYES if "eyes" in rule else None

    def seen(view: View) -> np.ndarray:
        pixels, _ = crop_view(view, Photo(data), box, own, points)
        assert pixels.shape == (40, 32, 3) and pixels.dtype == np.uint8
        return pixels

    face = decode_crop_resize(data, box, own, keypoints=points)
    np.testing.assert_array_equal(seen(IDENTITY), face)
    np.testing.assert_array_equal(seen(View("flip")), face[:, ::-1])
    np.testing.assert_array_equal(seen(View("rotate", 180.0)), face[::-1, ::-1])
    np.testing.assert_array_equal(seen(View("multiply", 2.0)), np.minimum(2 * face.astype(int), 255))
    np.testing.assert_array_equal(seen(View("multiply", 0.5)), np.rint(face / 2))
    nearer = seen(View("scale", 0.5))
    assert np.abs(nearer.astype(int) - face).mean() > 2, "half as much of the photo is shown"


def test_a_scale_is_cut_again_from_the_photo_as_a_model_of_that_scale_cuts() -> None:
    data = photo_bytes(2, (240, 180), "JPEG")
    own, wider = card(), card(scale=1.3 * 1.25)
    pixels, _ = crop_view(View("scale", 1.25), Photo(data), BOX, own)
    np.testing.assert_array_equal(pixels, decode_crop_resize(data, BOX, wider))


def test_a_whole_photo_and_a_face_placed_by_its_eyes_are_scaled_around_the_middle_of_the_input() -> None:
    rings = np.zeros((120, 96, 3), np.uint8)
    rings[30:90, 24:72] = 200
    buffer = io.BytesIO()
    Picture.fromarray(rings).save(buffer, "PNG")
    pixels, _ = crop_view(View("scale", 0.5), Photo(buffer.getvalue()), None, card())
    assert (pixels[1:-1, 1:-1] == 200).all(), "the inner half of each side"
    same, _ = crop_view(View("scale", 2.0), Photo(buffer.getvalue()), None, card())
    np.testing.assert_array_equal(same, decode_crop_resize(buffer.getvalue(), None, card()))
    eyes = card(eyes=((0.3, 0.5), (0.7, 0.5)))
    points = {"left_eye": (36.0, 60.0), "right_eye": (60.0, 60.0)}
    _, placed = crop_view(View("scale", 0.5), Photo(buffer.getvalue()), BOX, eyes, points)
    assert placed.aligned and placed.rect[2] - placed.rect[0] == pytest.approx(0.5 * 24 / 0.4)
    assert placed.center == pytest.approx((48.0, 60.0))


def test_a_frame_has_no_scale() -> None:
    model = open_model(classifier_bytes("mask", crop={"scale": 1.0, "min_decode": 1.0, "frame": (0.1, 0.1, 0.9, 0.9)}))
    assert isinstance(model, Classifier)
    with pytest.raises(InputError, match="'tiny_mask' cuts the same frame out of every photo"):
        Ensemble([model], tta=["flip", "scale:1.1"])
    Ensemble([model], tta=["flip", "rotate:180"])


def test_views_change_nothing_for_a_face_that_they_leave_as_it_is() -> None:
    """A model that sees no difference between the views gives what it gives without them."""
    model = open_model(classifier_bytes("mask"))
    assert isinstance(model, Classifier)
    symmetric = np.asarray(Picture.open(io.BytesIO(photo_bytes(3, (40, 32)))).convert("RGB"))
    symmetric = np.concatenate([symmetric[:, :16], symmetric[:, 15::-1]], axis=1)
    photo, face = Photo.of_pixels(np.ascontiguousarray(symmetric)), GivenFace(1, None)
    alone = Ensemble([model]).classify(photo, face)
    for rule in ("mean", "log_mean"):
        flipped = Ensemble([model], tta=["flip"], combine=rule).classify(photo, face)
        for label, value in alone.heads["mask"].items():
            assert flipped.heads["mask"][label] == pytest.approx(value, abs=1e-7)
    other = GivenFace(1, (2.0, 2.0, 20.0, 30.0))
    assert (
        Ensemble([model], tta=["flip"]).classify(photo, other).heads != Ensemble([model]).classify(photo, other).heads
    )
