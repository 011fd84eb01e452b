"""Mosec: a process that decodes and one that computes batches; tuned, processes that do both for one picture."""

from typing import Any

from mosec import Server, Worker

from benchmarks.serving.peers.work import BATCH, WAIT_MS, WORKERS, Model


class Decoder(Worker):
    """From an image file to pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is."""
        return data

    def forward(self, data: bytes) -> Any:
        """Decode."""
        return self.model.pixels(data)


class Classifier(Worker):
    """From pixels to probabilities, in batches."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def forward(self, data: list[Any]) -> list[dict[str, Any]]:
        """Compute a batch."""
        return [{"probabilities": row} for row in self.model.probabilities(data)]


class Both(Decoder):
    """From an image file to probabilities."""

    def forward(self, data: bytes) -> Any:
        """Decode and compute."""
        return {"probabilities": self.model.probabilities([self.model.pixels(data)])[0]}


if __name__ == "__main__":
    server = Server()
    if BATCH > 1:
        server.append_worker(Decoder, num=WORKERS)
        server.append_worker(Classifier, num=WORKERS, max_batch_size=BATCH, max_wait_time=WAIT_MS)
    else:
        server.append_worker(Both, num=WORKERS)
    server.run()
