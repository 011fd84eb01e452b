"""A face as JSON, for answers and for files."""

from collections.abc import Iterable, Mapping
from typing import Any

from serving.runtime.predictor import FaceResult


def face_json(face: FaceResult) -> dict[str, Any]:
    """Return `{"box", "score", "crop", "heads"}`.

    Each head has its most probable label, that label's score, and all probabilities. A face whose eyes or other points
    were found also has `keypoints`, `{name: [x, y]}` in upright pixels. One whose mask was judged also has `notify`,
    `notify_reason` and `notify_confidence`, see `Notice`.
    """
    described: dict[str, Any] = {
        "box": face.box,
        "score": face.score,
        "crop": face.crop,
        "heads": {name: _head(probabilities) for name, probabilities in face.heads.items()},
    }
    if face.keypoints:
        described["keypoints"] = dict(face.keypoints)
    if (notice := face.notice) is not None:
        described |= {
            "notify": notice.notify,
            "notify_reason": notice.reason,
            "notify_confidence": notice.confidence,
        }
    return described


def rounded(values: Iterable[float]) -> list[float]:
    """Round float32 numbers to the 9 significant digits that identify each of them."""
    return [float(f"{value:.9g}") for value in values]


def _head(probabilities: Mapping[str, float]) -> dict[str, Any]:
    values = dict(zip(probabilities, rounded(probabilities.values()), strict=True))
    best = max(values, key=values.__getitem__)
    return {"label": best, "score": values[best], "probabilities": values}
