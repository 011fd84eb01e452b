"""LitServe with an image in a form, as in its example of an image classifier."""

from typing import Any

import litserve
from fastapi import Request

from benchmarks.serving.peers.work import BATCH, PORT, WAIT_MS, WORKERS, Model


class Classifier(litserve.LitAPI):
    """Answers an image file in the field `content` of a form."""

    def setup(self, device: str) -> None:
        """Open the model."""
        self.model = Model()

    def decode_request(self, request: Request) -> Any:
        """Decode the image. What LitServe hands over is the form; the annotation tells it to read one."""
        return self.model.pixels(request["content"].file.read())

    def predict(self, pixels: Any) -> list[list[float]]:
        """Answer a batch, or one picture where LitServe makes none."""
        return self.model.probabilities(pixels if BATCH > 1 else [pixels])

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return what becomes the answer's JSON."""
        return {"probabilities": output if BATCH > 1 else output[0]}


if __name__ == "__main__":
    api = Classifier(max_batch_size=BATCH, batch_timeout=WAIT_MS / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
