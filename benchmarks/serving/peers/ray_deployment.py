"""A deployment of Ray Serve that batches what its requests decode."""

from typing import Any

from ray import serve
from starlette.requests import Request

from benchmarks.serving.peers.work import BATCH, WAIT_MS, WORKERS, Model


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=100)
class _Classifier:
    """Answers image files."""

    def __init__(self) -> None:
        self.model = Model()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_MS / 1000)
    async def batch(self, pixels: list[Any]) -> list[list[float]]:
        """Compute a batch."""
        return self.model.probabilities(pixels)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer a request."""
        return {"probabilities": await self.batch(self.model.pixels(await request.body()))}


app: Any = _Classifier
app = app.bind()
