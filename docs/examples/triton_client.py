"""Prints the likeliest labels of photos by head: python triton_client.py localhost:8080 MODEL PHOTO..."""

import sys
from pathlib import Path

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException


def classify(client: InferenceServerClient, model: str, photos: list[str]) -> None:
    """Print the three likeliest labels of each photo, taken whole, by each head of a classifier."""
    heads = [output["name"] for output in client.get_model_metadata(model)["outputs"] if "labels" in output]
    if not heads:
        raise SystemExit(f"{model} is no classifier; detectors and composites are asked by client.py, POST /predict")
    images = InferInput("images", [len(photos)], "BYTES")
    images.set_data_from_numpy(np.array([Path(photo).read_bytes() for photo in photos], dtype=object))
    wanted = [InferRequestedOutput(head, class_count=3) for head in heads]
    answer = client.infer(model, [images], outputs=wanted, timeout=5_000_000)
    for head in heads:
        for photo, labels in zip(photos, answer.as_numpy(head), strict=True):
            print(photo, head, *(label.decode() for label in labels))


address, name, *files = sys.argv[1:]
try:
    with InferenceServerClient(address) as server:
        classify(server, name, files)
except (InferenceServerException, OSError) as error:
    raise SystemExit(f"{address}: {error}") from None
