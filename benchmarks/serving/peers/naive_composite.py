"""A plain FastAPI handler that finds faces with OpenCV's YuNet and asks two models about each."""

import os
import threading
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import Body, FastAPI

from benchmarks.serving.peers.work import Model

SCALE = 1.3

app = FastAPI()
heads = [Model(file) for file in os.environ["BENCH_HEADS"].split(os.pathsep)]
local = threading.local()  # a detector cannot be used by two threads at once


@app.post("/predict")
def predict(data: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """Answer every face of an image file: its box and the probabilities of both models."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, "not an image"
    height, width = image.shape[:2]
    if not hasattr(local, "detector"):
        local.detector = cv2.FaceDetectorYN.create(os.environ["BENCH_DETECTOR"], "", (320, 320), 0.7, 0.3, 5000)
    local.detector.setInputSize((width, height))
    found = local.detector.detect(image)[1]
    faces = []
    for left, top, wide, high in (face[:4] for face in ([] if found is None else found)):
        side = SCALE * max(wide, high)
        x, y = left + wide / 2 - side / 2, top + high / 2 - side / 2
        cut = image[max(0, round(y)) : round(y + side), max(0, round(x)) : round(x + side), ::-1]
        sizes = {(head.width, head.height) for head in heads}
        inputs = {size: cv2.resize(cut, size, interpolation=cv2.INTER_AREA) for size in sizes}
        answers = [head.probabilities([inputs[head.width, head.height]])[0] for head in heads]
        faces.append({"box": [float(value) for value in (left, top, wide, high)], "heads": answers})
    return {"faces": faces}
