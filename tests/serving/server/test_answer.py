"""The answer about the faces of pictures, as every protocol of the server sends it."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from server_process import picture
from tiny_model import build_model

from serving.runtime.errors import ImageError
from serving.runtime.load import open_model
from serving.runtime.predictor import FaceResult, Predictor
from serving.server.answer import Picture, answers


def found(faces: Sequence[FaceResult], monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """A model that finds these faces in every picture."""
    model = open_model(build_model(), name="faces", version="3", threads=1)
    monkeypatch.setattr(model, "predict", lambda images, work: [list(faces) for _ in images])
    return model


def test_an_answer_has_every_face_with_its_most_probable_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    third = float(np.float32(1) / 3)
    faces = [
        FaceResult((1.0, 2.0, 3.0, 4.5), 0.5, "box", {"hat": {"cap": 0.25, "none": 0.75}, "bow": {"a": third}}),
        FaceResult(None, None, "whole image", {}),
    ]
    expected: dict[str, Any] = {
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
    assert answers(found(faces, monkeypatch), [Picture(b""), Picture(b"")]) == [expected, expected]


def test_without_a_face_the_list_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.dumps(answers(found([], monkeypatch), [Picture(b"")])) == (
        '[{"model": "faces", "version": "3", "faces": []}]'
    )


def test_a_bad_picture_among_several_is_named() -> None:
    model = open_model(build_model(), threads=1)
    with pytest.raises(ImageError, match=r"^file 2 \(b.jpg\): "):
        answers(model, [Picture(picture(), name="a.jpg"), Picture(b"no picture", name="b.jpg")])
