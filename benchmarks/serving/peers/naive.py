"""A plain FastAPI handler, run by `uvicorn`: FastAPI calls it in its pool of threads."""

from typing import Annotated

from fastapi import Body, FastAPI

from benchmarks.serving.peers.work import Model

app = FastAPI()
model = Model()


@app.post("/predict")
def predict(data: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, list[float]]:
    """Answer an image file."""
    return {"probabilities": model.probabilities([model.pixels(data)])[0]}
