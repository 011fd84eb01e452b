"""Drawn portraits with their 68 points, and shape predictors that learned them."""

from pathlib import Path
from unittest.mock import patch

import dlib
import numpy as np
from PIL import Image

from components.shared.drawing import Points
from pipelines.samples.drawing import face
from pipelines.samples.drawing.expression import EXPRESSIONS
from pipelines.samples.drawing.pen import Pen, arc
from pipelines.samples.drawing.person import draw_person, jaw_line

EYE_CORNERS_AND_NOSE = [45, 42, 36, 39, 33]


def portrait(seed: int) -> tuple[Image.Image, Points]:
    """A portrait of 160 x 192 pixels, and its points (68, 2) in the order of iBUG."""
    pens: list[Pen] = []

    def pen(*arguments, **options):
        pens.append(Pen(*arguments, **options))
        return pens[-1]

    rng = np.random.default_rng(seed)
    person = draw_person(bool(seed % 2), seed % 3, rng)
    with patch.object(face, "Pen", pen):
        picture, _ = face.draw_portrait(person, EXPRESSIONS["normal"], rng)
    jaw = np.array(jaw_line(person))[::-1][np.linspace(0, 24, 17).round().astype(int)].tolist()
    left, right = 48 - person.eye_gap, 48 + person.eye_gap
    points = [
        *jaw,
        *[(left + x, 59 - 1.6 * (abs(x) < 6)) for x in (-7, -3, 1, 4, 6)],
        *[(right - x, 59 - 1.6 * (abs(x) < 6)) for x in (6, 4, 1, -3, -7)],
        *[(48, y) for y in (66, 69, 72, 75)],
        *[(48 + x, 80) for x in (-4, -2, 0, 2, 4)],
        *[(x, y) for eye in (left, right) for x, y in arc(eye, 66, 5.6, 3.2, 180, 480, 5)],
        *arc(48, 88, 8.5, 3, 180, 510, 11),
        *arc(48, 88, 7, 1.5, 180, 495, 7),
    ]
    placed = np.array(pens[0].place(points)) * face.PORTRAIT[0] / pens[0].image.width - 0.5
    return picture, placed


def train(file: Path, order: list[int], pictures: int = 24) -> Path:
    """Train a shape predictor for some of the 68 points on the boxes that dlib's detector draws."""
    options = dlib.shape_predictor_training_options()
    options.tree_depth, options.cascade_depth, options.num_trees_per_cascade_level = 3, 8, 60
    options.oversampling_amount, options.feature_pool_size, options.num_threads = 8, 150, 2
    options.nu, options.random_seed = 0.15, "0"
    detector = dlib.get_frontal_face_detector()
    grays, shapes = [], []
    for seed in range(pictures):
        picture, points = portrait(seed)
        gray = np.asarray(picture.convert("L"))
        box = detector.run(gray, 1, -1.0)[0][0]
        grays.append(gray)
        parts = [dlib.point(round(x), round(y)) for x, y in points[order].tolist()]
        shapes.append([dlib.full_object_detection(box, parts)])
    dlib.train_shape_predictor(grays, shapes, options).save(str(file))
    return file


def error(points: Points, truth: Points) -> float:
    """The mean distance of 68 points as a share of the distance between the centers of the eyes."""
    eyes = np.linalg.norm(truth[36:42].mean(axis=0) - truth[42:48].mean(axis=0))
    return float(np.linalg.norm(points - truth, axis=1).mean() / eyes)
