"""What every kind of model offers to the server and to the steps: the protocol, and its results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.runtime.card import ModelCard
from serving.runtime.image.preprocess import Box
from serving.runtime.session import Outputs

Crop = Literal["box", "frame", "whole image"]
"""What was cut for a face: the box in the request, the fixed part that the card names, or everything."""


@dataclass(frozen=True, slots=True)
class FaceResult:
    """One face of an image.

    Attributes:
        box: in upright pixels; None for the whole image.
        score: the detector's, in 0..1; None where no detector ran.
        crop: what the heads saw.
        heads: head name -> label -> probability, labels in the order of the card.
    """

    box: Box | None
    score: float | None
    crop: Crop
    heads: dict[str, dict[str, float]]


class Predictor(Protocol):
    """A loaded model; several threads may use it at once."""

    @property
    def card(self) -> ModelCard:
        """The model's card."""

    @property
    def name(self) -> str:
        """The name that it is served under."""

    @property
    def version(self) -> str:
        """The version that it is served as."""

    @property
    def sha256(self) -> str:
        """The digest of the model file."""

    def predict(self, images: Sequence[tuple[bytes, Sequence[Box]]]) -> list[list[FaceResult]]:
        """Find or classify the faces of encoded images; the faces' boxes are given for each image.

        Raises:
            ImageError: an image cannot be used.
            InputError: a box cannot be used.
        """

    def infer(self, images: NDArray[np.uint8] | Sequence[bytes]) -> Outputs:
        """Return the outputs of the graph for prepared pixels (N, height, width, 3), or for whole image files.

        Raises:
            ImageError: an image cannot be used.
            InputError: the array has another type or shape.
        """
