"""How the probabilities of several views, folds or models become those of one.

`mean` is the mean of the probabilities, `log_mean` their geometric mean, which is divided by its sum: the mean of their
logarithms. For two labels that came from one sigmoid the latter is the sigmoid of the mean logit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.predictions import PredictedFace, Predictions
from serving.runtime.errors import InputError
from serving.runtime.validation import known

LOWEST = 1e-7
"""Probabilities below count as this one in `log_mean`: one model that rules a label out does not decide alone."""

JOINED = ("mask", "gender_age")
"""The label spaces whose models together give `JOINT`."""
JOINT = "mask_gender_age"

Floats = NDArray[np.floating[Any]]
_EXAMPLES = 5


def _mean(stacked: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.tensordot(weights, stacked, axes=1)
    return total


def _log_mean(stacked: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    product = np.exp(np.tensordot(weights, np.log(np.maximum(stacked, LOWEST)), axes=1))
    total: NDArray[np.float64] = product / product.sum(axis=-1, keepdims=True)
    return total


RULES: Mapping[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "mean": _mean,
    "log_mean": _log_mean,
}
"""Name of a rule -> the rule, of (M, N, K) probabilities and M weights that sum to 1."""


def check_rule(rule: str) -> None:
    """Raise InputError for an unknown rule."""
    if rule not in RULES:
        raise InputError(f"combine: unknown rule '{rule}'{known(rule, RULES)}")


def combine_probabilities(rule: str, probabilities: Sequence[Floats], weights: Sequence[float] | None = None) -> Floats:
    """Return the probabilities (N, K) that several of them, each (N, K), make together.

    One alone stays as it is, to the last bit; several are combined in float64.

    Args:
        rule: one of RULES.
        probabilities: of the same faces and labels.
        weights: how much each of them counts, by default all the same; they are divided by their sum.

    Raises:
        InputError: the rule is unknown, there is nothing to combine, shapes differ, or a weight is not a number above
            0 or missing.
    """
    check_rule(rule)
    shapes = sorted({values.shape for values in probabilities})
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise InputError(f"expected probabilities (N, K) of one shape to combine, got {shapes or 'none'}")
    given = np.array([1.0] * len(probabilities) if weights is None else weights, np.float64)
    if given.shape != (len(probabilities),) or not np.all(np.isfinite(given) & (given > 0)):
        raise InputError(f"weights: expected {len(probabilities)} numbers above 0, got {list(weights or ())}")
    if len(probabilities) == 1:
        return probabilities[0]
    return RULES[rule](np.stack([values.astype(np.float64) for values in probabilities]), given / given.sum())


def joint_probabilities(mask: Floats, gender_age: Floats) -> Floats:
    """Return (N, 18) probabilities of 6*mask + 3*gender + age from (N, 3) and (N, 6): the two are independent."""
    joint: Floats = (mask[:, :, None].astype(np.float64) * gender_age[:, None, :]).reshape(len(mask), -1)
    return joint


def join_mask_gender_age(mask: Predictions, gender_age: Predictions) -> Predictions:
    """Return the 18 classes of two tables about the same faces, in the order of `mask`.

    Faces are joined by the ids of their image and of the face and its path, never by their place in the table.

    Raises:
        InputError: the tables have other label spaces, a face is in one of them only or twice, or the tables are of
            different data sets.
    """
    for table, expected in zip((mask, gender_age), JOINED, strict=True):
        if table.space.name != expected:
            raise InputError(f"expected predictions of label space '{expected}', got those of '{table.space.name}'")
    if mask.images_digest and gender_age.images_digest and mask.images_digest != gender_age.images_digest:
        raise InputError("the predictions of mask and of gender and age are of different data sets; predict the same")
    rows = _rows(gender_age)
    ours = _rows(mask)
    _check_same(ours, rows)
    order = [rows[key] for key in ours]
    heads = joint_probabilities(mask.heads["mask"], gender_age.heads["gender_age"][order]).astype(np.float32)
    name, version = joined_name([mask.model, gender_age.model]), f"{mask.version}+{gender_age.version}"
    return Predictions(mask.faces, {JOINT: heads}, label_space(JOINT), name, version, mask.images_digest)


def joined_name(names: Sequence[str]) -> str:
    """Return the name of several models together: each of their names once, in alphabetical order."""
    return "+".join(sorted(set(names)))


def _rows(table: Predictions) -> dict[tuple[object, ...], int]:
    rows: dict[tuple[object, ...], int] = {}
    for row, face in enumerate(table.faces):
        key = _key(face)
        if key in rows:
            raise InputError(f"{face.path}: face {face.face_id} occurs twice in the predictions of {table.model}")
        rows[key] = row
    return rows


def _key(face: PredictedFace) -> tuple[object, ...]:
    return face.image_id, face.face_id, face.path


def _check_same(ours: Mapping[tuple[object, ...], int], theirs: Mapping[tuple[object, ...], int]) -> None:
    for missing, where in ((ours.keys() - theirs.keys(), "gender and age"), (theirs.keys() - ours.keys(), "mask")):
        if missing:
            examples = ", ".join(f"{path} face {face}" for _, face, path in sorted(missing, key=str)[:_EXAMPLES])
            raise InputError(
                f"{len(missing)} faces are missing in the predictions of {where} ({examples}); predict the same faces "
                "with both models"
            )
