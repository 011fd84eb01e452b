"""KServe's Python server with a custom model; a body that is no JSON reaches the model as bytes."""

from functools import cached_property
from typing import Any

from kserve import Model as KServeModel
from kserve import ModelServer

from benchmarks.serving.peers.work import PORT, WORKERS, Model


class Classifier(KServeModel):
    """Answers an image file."""

    def load(self) -> bool:
        """Say that it is ready. The worker processes get this object by pickle, so each opens the model itself."""
        self.ready = True
        return True

    @cached_property
    def model(self) -> Model:
        """The model, opened by the first request."""
        return Model()

    def predict(self, payload: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Answer an image file."""
        return {"predictions": self.model.probabilities([self.model.pixels(payload)])}


if __name__ == "__main__":
    classifier = Classifier("m")
    classifier.load()
    ModelServer(http_port=PORT, workers=WORKERS, enable_grpc=False).start([classifier])
