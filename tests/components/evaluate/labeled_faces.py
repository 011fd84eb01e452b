"""Labeled faces, predictions of them by a classifier, and pictures for them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions


def write_faces(
    folder: Path,
    space_name: str,
    attributes: Sequence[dict[str, Any]],
    guesses: Sequence[int],
    *,
    probabilities: Sequence[float] | None = None,
    boxes: Sequence[tuple[float, float, float, float] | None] | None = None,
    brightness: Sequence[float] | None = None,
    model: Path | None = None,
    **image_fields: Sequence[Any],
) -> tuple[Path, Path]:
    """Write predictions and annotations of one face an image and return their paths.

    `guesses` are classes, of the given probabilities or 0.9; the rest is spread over the other classes. `model` is
    the folder of the model that they are of. `image_fields` are fields of the images, such as `person`.
    """
    space = label_space(space_name)
    count, size = len(guesses), len(space.class_labels)
    boxes = boxes or [(0.0, 0.0, 40.0, 50.0)] * count
    images, faces = [], []
    for n in range(count):
        fields = {name: values[n] for name, values in image_fields.items()}
        images.append(Image(n + 1, f"{n}.png", 99, 99, (Face(n + 1, boxes[n], attributes[n]),), split="test", **fields))
        level = brightness[n] if brightness else None
        faces.append(PredictedFace(n + 1, n + 1, f"{n}.png", boxes[n], brightness=level))
    surest = np.array(probabilities if probabilities is not None else [0.9] * count)[:, None]
    values = np.where(np.eye(size)[list(guesses)] > 0, surest, (1 - surest) / (size - 1)).astype(np.float32)
    assert len(space.heads) == 1
    version = "v" if model is None else hashlib.sha256((model / "model.onnx").read_bytes()).hexdigest()[:12]
    write_annotations(Annotations(tuple(images)), folder / "a.json")
    write_predictions(Predictions(tuple(faces), {space.heads[0].name: values}, space, "m", version), folder / "p.csv")
    return folder / "p.csv", folder / "a.json"


def write_pictures(folder: Path, colors: Sequence[tuple[int, int, int]]) -> Path:
    """Write pictures 0.png, 1.png, ... of one color each and return their folder."""
    folder.mkdir()
    for n, color in enumerate(colors):
        Picture.new("RGB", (99, 99), color).save(folder / f"{n}.png")
    return folder
