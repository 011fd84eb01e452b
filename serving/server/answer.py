"""The answer of the server about the faces of one image, independent of the protocol that carries it."""

from collections.abc import Sequence
from typing import Any

from serving.runtime.face_json import face_json
from serving.runtime.predictor import FaceResult, Predictor


def answer(model: Predictor, faces: Sequence[FaceResult]) -> dict[str, Any]:
    """Return `{"model", "version", "faces"}`, each face as `face_json` describes it."""
    return {"model": model.name, "version": model.version, "faces": [face_json(face) for face in faces]}
