"""The predictor of classification models: cut, resize and classify faces."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.runtime.card import WHOLE, ClassificationCard
from serving.runtime.errors import InputError
from serving.runtime.image.preprocess import Box, decode_crop_resize
from serving.runtime.predictor import Crop, FaceResult
from serving.runtime.session import Outputs, Session

# How far the probabilities of one head may sum from 1.
_SUM_TOLERANCE = 1e-3


class Classifier:
    """A loaded classifier, see `Predictor`.

    Args:
        session: the model.
        name: the name to serve it under.
        version: the version to serve it as.

    Raises:
        InputError: the graph is not what its card says.
    """

    def __init__(self, session: Session, *, name: str, version: str) -> None:
        assert isinstance(session.card, ClassificationCard), session.card.task
        self.card = session.card
        self.name = name
        self.version = version
        self.sha256 = session.sha256
        self._session = session
        for head, values in session.check_graph().items():
            if not np.all(values >= 0) or not np.allclose(values.sum(axis=1), 1, atol=_SUM_TOLERANCE):
                raise InputError(f"{session.source}: head '{head}' does not give probabilities that sum to 1")

    def predict(self, images: Sequence[tuple[bytes, Sequence[Box]]]) -> list[list[FaceResult]]:
        """Classify the boxes of each encoded image; without a box the whole image is one face, see `Predictor`."""
        faces = [(data, box) for data, boxes in images for box in boxes or (None,)]
        outputs = self.infer(self._pixels(faces))
        results = iter([self._result(row, box, outputs) for row, (_, box) in enumerate(faces)])
        return [[next(results) for _ in boxes or (None,)] for _, boxes in images]

    def infer(self, images: NDArray[np.uint8] | Sequence[bytes]) -> Outputs:
        """Return head name -> float32 (N, number of labels) probabilities; files are not cut, see `Predictor`."""
        pixels = images if isinstance(images, np.ndarray) else self._pixels([(data, None) for data in images])
        return self._session.run(pixels)

    def _pixels(self, faces: Sequence[tuple[bytes, Box | None]]) -> NDArray[np.uint8]:
        size = self.card.input
        pixels = np.empty((len(faces), size.height, size.width, 3), np.uint8)
        for row, (data, box) in enumerate(faces):
            pixels[row] = decode_crop_resize(data, box, self.card)
        return pixels

    def _result(self, row: int, box: Box | None, outputs: Outputs) -> FaceResult:
        frame = self.card.crop.frame
        crop: Crop = "box" if box and frame is None else "whole image" if frame in (None, WHOLE) else "frame"
        heads = {
            head.name: dict(zip(head.labels, outputs[head.name][row].tolist(), strict=True)) for head in self.card.heads
        }
        return FaceResult(box, None, crop, heads)
