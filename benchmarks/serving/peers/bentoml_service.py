"""A BentoML service whose only input is an image, sent as the body."""

import bentoml
from PIL.Image import Image

from benchmarks.serving.peers.work import WORKERS, Model


@bentoml.service(workers=WORKERS)
class Classifier:
    """Answers an image file."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api
    def predict(self, image: Image, /) -> dict[str, list[float]]:
        """Answer an image."""
        return {"probabilities": self.model.probabilities([self.model.pixels_of(image)])[0]}
