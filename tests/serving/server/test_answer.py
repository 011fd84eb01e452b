"""The answer about the faces of an image, as every protocol of the server sends it."""

import json

import numpy as np
from tiny_model import build_model

from serving.runtime.load import open_model
from serving.runtime.predictor import FaceResult
from serving.server.answer import answer


def test_an_answer_has_every_face_with_its_most_probable_labels() -> None:
    model = open_model(build_model(), name="faces", version="3", threads=1)
    third = float(np.float32(1) / 3)
    faces = [
        FaceResult((1.0, 2.0, 3.0, 4.5), 0.5, "box", {"hat": {"cap": 0.25, "none": 0.75}, "bow": {"a": third}}),
        FaceResult(None, None, "whole image", {}),
    ]
    assert answer(model, faces) == {
        "model": "faces",
        "version": "3",
        "faces": [
            {
                "box": (1.0, 2.0, 3.0, 4.5),
                "score": 0.5,
                "crop": "box",
                "heads": {
                    "hat": {"label": "none", "score": 0.75, "probabilities": {"cap": 0.25, "none": 0.75}},
                    "bow": {"label": "a", "score": 0.333333343, "probabilities": {"a": 0.333333343}},
                },
            },
            {"box": None, "score": None, "crop": "whole image", "heads": {}},
        ],
    }
    assert json.dumps(answer(model, [])) == '{"model": "faces", "version": "3", "faces": []}'
