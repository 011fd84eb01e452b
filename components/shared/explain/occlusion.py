"""Where a model looked: how much a probability falls when a part of the face is covered."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from serving.runtime.errors import InputError
from serving.runtime.predictor import Classifier
from serving.runtime.session import BATCH
from serving.runtime.validation import known

PATCH = 0.25
STRIDE = 0.125
RUNS = 50
"""As many images the graph runs on for one crop with these two."""


def occlusion(
    model: Classifier,
    crop: NDArray[np.uint8],
    head: str,
    label: str,
    *,
    patch: float = PATCH,
    stride: float = STRIDE,
    color: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Return how much a label's probability falls where a crop is covered, float32 (h, w).

    A patch is moved over the crop, and the graph runs on the crop with that part in one color (Zeiler and Fergus,
    "Visualizing and Understanding Convolutional Networks", 2014). A pixel's value is the mean over the patches that
    cover it of the probability without the patch minus the one with it: above 0 where the label needs what is seen
    there, below 0 where that speaks against the label. The graph runs on
    1 + (ceil((1 - patch) / stride) + 1)^2 images, 50 as the defaults are.

    Args:
        model: a classifier.
        crop: what the model sees of a face, uint8 RGB of the height and width of its card's input.
        head: a head of the model.
        label: a label of that head.
        patch: sides of the patch as a share of the crop's height and width, above 0 and at most 1.
        stride: step of the patch likewise, above 0 and at most `patch`, so that every pixel is covered.
        color: RGB of the patch; by default the mean of the crop.

    Raises:
        InputError: the head or the label is unknown, the crop is not of the model's input, or a share or the color
            cannot be used.
    """
    column = _column(model, head, label)
    size = model.card.input
    if crop.shape != (size.height, size.width, 3) or crop.dtype != np.uint8:
        expected = f"({size.height}, {size.width}, 3)"
        raise InputError(f"model {model.name} looks at uint8 crops {expected}, got {crop.dtype} {crop.shape}")
    if not 0 < stride <= patch <= 1:
        raise InputError(f"patch {patch} and stride {stride}: expected 0 < stride <= patch <= 1")
    cover = crop.mean(axis=(0, 1)).round().astype(np.uint8) if color is None else _checked(color)
    spans = [_spans(side, patch, stride) for side in crop.shape[:2]]
    places = list(product(*spans))

    def probabilities(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return model.infer(images)[head][:, column].astype(np.float64)

    whole = float(probabilities(crop[None])[0])
    falls, counts = np.zeros(crop.shape[:2]), np.zeros(crop.shape[:2])
    for start in range(0, len(places), BATCH):
        part = places[start : start + BATCH]
        covered = np.repeat(crop[None], len(part), axis=0)
        for image, (rows, columns) in zip(covered, part, strict=True):
            image[rows, columns] = cover
        for (rows, columns), value in zip(part, probabilities(covered).tolist(), strict=True):
            falls[rows, columns] += whole - value
            counts[rows, columns] += 1
    return (falls / counts).astype(np.float32)


def _column(model: Classifier, head: str, label: str) -> int:
    labels = {one.name: one.labels for one in model.card.heads}
    if head not in labels:
        raise InputError(f"model {model.name} has no head '{head}'{known(head, labels)}")
    if label not in labels[head]:
        raise InputError(f"head '{head}' of model {model.name} has no label '{label}'{known(label, labels[head])}")
    return labels[head].index(label)


def _checked(color: Sequence[int]) -> NDArray[np.uint8]:
    values = np.asarray(color)
    if values.shape != (3,) or not np.all((values >= 0) & (values <= 255)):
        raise InputError(f"color {list(color)}: expected red, green and blue in 0..255")
    return values.astype(np.uint8)


def _spans(side: int, patch: float, stride: float) -> list[slice]:
    """Return where the patch lies along one side, from edge to edge, evenly."""
    length = max(1, round(patch * side))
    count = min(side - length, int(np.ceil((side - length) / (stride * side)))) + 1
    return [slice(start, start + length) for start in np.linspace(0, side - length, count).round().astype(int).tolist()]
