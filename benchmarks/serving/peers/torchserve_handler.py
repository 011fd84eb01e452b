"""A handler of TorchServe: image files as they come, a batch at a time."""

from typing import Any

from benchmarks.serving.peers.work import Model


class Classifier:
    """Answers a batch of image files."""

    def initialize(self, context: Any) -> None:
        """Open the model."""
        self.model = Model()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        """Answer a batch."""
        pixels = [self.model.pixels(bytes(row.get("data") or row["body"])) for row in data]
        return [{"probabilities": row} for row in self.model.probabilities(pixels)]
