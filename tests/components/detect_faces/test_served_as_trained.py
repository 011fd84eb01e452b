"""A composite answers for every face of a photo what the steps that prepare a training and predict say of it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_samples import DataSet, encoded
from PIL import Image as Picture
from tiny_detector import draw_faces
from tiny_model import build_model, card_facts

from components.predict.predict import predict
from components.register.composite import box_limits, find_detectors
from components.shared.dataset.annotations import write_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import read_predictions
from serving.runtime.composite import Composite
from serving.runtime.composite_card import CompositeCard
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model

CHAIN = ({"onnx": {"score": 0.9, "name": "strict"}}, {"onnx": {"score": 0.5, "name": "loose"}})


def turned(pixels: np.ndarray) -> bytes:
    """A JPEG whose EXIF orientation makes its pixels these."""
    exif, buffer = Picture.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Picture.fromarray(pixels).transpose(Picture.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


GROUP = draw_faces((240, 320), [(20, 20, 60, 60), (120, 30, 90, 80), (30, 130, 40, 50)], [240, 255, 235])
LARGE = draw_faces((900, 1300), [(100, 150, 211, 307), (700, 333, 170, 190)])
PHOTOS = {
    "group.png": (encoded(GROUP), 3),
    "group.jpg": (encoded(GROUP, "JPEG", quality=90), 3),
    "turned.jpg": (turned(GROUP), 3),
    "large.jpg": (encoded(LARGE, "JPEG", quality=90), 2),
    "turned and large.jpg": (turned(LARGE), 2),
    "border.png": (encoded(draw_faces((240, 320), [(280, 190, 40, 50), (0, 0, 30, 40)])), 2),
    "tiny and dim.png": (encoded(draw_faces((240, 320), [(250, 10, 8, 8), (20, 40, 60, 70)], [255, 180])), 1),
    "none.png": (encoded(draw_faces((240, 320), [])), 0),
}


@pytest.mark.parametrize(
    "crop", [{}, {"scale": 2.0}, {"mode": "square", "scale": 1.5}, {"eyes": [[0.3, 0.4], [0.7, 0.4]]}]
)
def test_a_composite_answers_what_predict_writes_of_the_faces_that_were_found(
    crop: dict[str, Any], tmp_path: Path
) -> None:
    data = DataSet(tmp_path, {name: photo for name, (photo, _) in PHOTOS.items()})
    annotations = data.choose(data.detect(*CHAIN), choose="all")
    write_annotations(annotations, tmp_path / "faces.json")
    heads = [head.model_dump(mode="json") for head in label_space("mask").heads]
    classifier = tmp_path / "classifier.onnx"
    classifier.write_bytes(build_model(card_facts(label_space="mask", heads=heads, crop=crop)))
    predict(classifier, data.images, tmp_path / "faces.json", tmp_path / "p.csv", split="all")
    table = read_predictions(tmp_path / "p.csv")

    folder = tmp_path / "chain-of-found"
    files = [folder / member / "model.onnx" for member in ("1-strict", "2-loose")]
    card = CompositeCard(
        name="people",
        detectors=tuple(one.member(f"models:/{one.name}/1") for one in find_detectors(folder)),
        heads=("models:/masks/1",),
        limits=box_limits({}),
    )
    models = [load_model(str(file)) for file in (*files, classifier)]
    composite = Composite(card, models, name="people", version="1", sha256="")
    for name, (photo, count) in PHOTOS.items():
        rows = [row for row, face in enumerate(table.faces) if face.path == name]
        (faces,) = composite.predict([(Photo(photo), [])])
        assert len(faces) == len(rows) == count, name
        by_box = sorted(((table.faces[row].box, table.heads["mask"][row]) for row in rows), key=lambda pair: pair[0])
        for face, (box, probabilities) in zip(sorted(faces, key=lambda face: face.box), by_box, strict=True):
            np.testing.assert_allclose(face.box, box, atol=0.006, err_msg=name)
            atol = 0.0 if face.box == box else 1e-3  # annotations hold hundredths of a pixel
            np.testing.assert_allclose(
                list(face.heads["mask"].values()), probabilities, rtol=0, atol=atol, err_msg=name
            )
